//! ListTransactions (66): the transactional ids that this broker coordinates.

use foz_transactions::{ListTransactions, Request, Response};
use kafka_protocol::messages::{ListTransactionsRequest, ListTransactionsResponse};

use super::transactions;
use crate::authorizer::{Operation, Resource};
use crate::blocking::blocking;
use crate::request::RequestContext;

pub(crate) async fn handle(
    context: RequestContext,
    request: ListTransactionsRequest,
) -> Option<ListTransactionsResponse> {
    // A pattern may take milliseconds to compile.
    let request = blocking(move || ListTransactions::from(request)).await;
    let request = Request::ListTransactions(request);
    let mut response = match transactions::ask(&context, request).await? {
        Response::ListTransactions(response) => response,
        other => unreachable!("the coordinator answered {other:?}"),
    };
    response.transaction_states.retain(|state| {
        let resource = Resource::TransactionalId(&state.transactional_id);
        context.allows(Operation::Describe, &resource)
    });
    Some(response)
}
