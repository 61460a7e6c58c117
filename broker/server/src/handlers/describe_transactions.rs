//! DescribeTransactions (65): where transactions are, and which partitions take part in them.

use foz_transactions::{Request, Response};
use kafka_protocol::ResponseError;
use kafka_protocol::messages::describe_transactions_response::TransactionState;
use kafka_protocol::messages::{DescribeTransactionsRequest, DescribeTransactionsResponse};

use super::transactions;
use crate::authorizer::{Operation, Resource};
use crate::request::RequestContext;

/// Ids that the client may not see are refused one by one; topics that it may not see are left out.
pub(crate) async fn handle(
    context: RequestContext,
    mut request: DescribeTransactionsRequest,
) -> Option<DescribeTransactionsResponse> {
    let mut refused = Vec::new();
    request.transactional_ids.retain(|id| {
        let is_allowed = context.allows(Operation::Describe, &Resource::TransactionalId(id));
        if !is_allowed {
            let error = ResponseError::TransactionalIdAuthorizationFailed;
            let state = TransactionState::default().with_transactional_id(id.clone());
            refused.push(state.with_error_code(error.code()));
        }
        is_allowed
    });
    let request = Request::DescribeTransactions(request);
    let mut response = match transactions::ask(&context, request).await? {
        Response::DescribeTransactions(response) => response,
        other => unreachable!("the coordinator answered {other:?}"),
    };
    for state in &mut response.transaction_states {
        state
            .topics
            .retain(|it| context.allows(Operation::Describe, &Resource::Topic(&it.topic)));
    }
    response.transaction_states.extend(refused);
    Some(response)
}
