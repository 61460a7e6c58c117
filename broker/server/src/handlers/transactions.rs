//! What the APIs of transactions share: the way to the coordinator.

use foz_transactions::{Request, Response};
use kafka_protocol::ResponseError;

use crate::authorizer::{Operation, Resource};
use crate::request::RequestContext;

/// The coordinator's answer; none when the connection is to be closed.
pub(super) async fn ask(context: &RequestContext, request: Request) -> Option<Response> {
    context.broker.transactions.ask(context, request).await
}

/// Why this client may not change what the transactional id does.
pub(super) fn refusal(context: &RequestContext, transactional_id: &str) -> Option<ResponseError> {
    let resource = Resource::TransactionalId(transactional_id);
    let is_allowed = context.allows(Operation::Write, &resource);
    (!is_allowed).then_some(ResponseError::TransactionalIdAuthorizationFailed)
}

/// As [`ask`], or what it is refused for.
pub(super) async fn ask_or_refuse(
    context: &RequestContext,
    request: Request,
    refusal: Option<ResponseError>,
) -> Option<Response> {
    match refusal {
        None => ask(context, request).await,
        Some(error) => Some(request.error_response(context.version, error)),
    }
}
