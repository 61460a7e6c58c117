//! EndTxn (26): a transaction is committed or aborted. Answered when that is decided; the markers follow.

use foz_transactions::{Request, Response};
use kafka_protocol::messages::{EndTxnRequest, EndTxnResponse};

use super::transactions;
use crate::request::RequestContext;

pub(crate) async fn handle(
    context: RequestContext,
    request: EndTxnRequest,
) -> Option<EndTxnResponse> {
    let refusal = transactions::refusal(&context, &request.transactional_id);
    let request = Request::EndTxn(request);
    match transactions::ask_or_refuse(&context, request, refusal).await? {
        Response::EndTxn(response) => Some(response),
        other => unreachable!("the coordinator answered {other:?}"),
    }
}
