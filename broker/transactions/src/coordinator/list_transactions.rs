use kafka_protocol::ResponseError;
use kafka_protocol::messages::list_transactions_response::TransactionState;
use kafka_protocol::messages::{ListTransactionsResponse, TransactionalId};
use kafka_protocol::protocol::StrBytes;

use super::Coordinator;
use crate::filter::ListTransactions;
use crate::now::Now;
use crate::response::Response;

impl Coordinator {
    pub(super) fn list_transactions(&self, request: &ListTransactions, now: Now) -> Response {
        if !self.loading.is_empty() {
            let error = ResponseError::CoordinatorLoadInProgress;
            let response = ListTransactionsResponse::default();
            return Response::ListTransactions(response.with_error_code(error.code()));
        }
        let filter = match &request.filter {
            Ok(filter) => filter,
            Err(error) => {
                let response = ListTransactionsResponse::default();
                return Response::ListTransactions(response.with_error_code(error.code()));
            }
        };
        let known = self.entries.iter();
        let known = known.filter_map(|(id, entry)| Some((id, entry.committed.as_ref()?)));
        let taken = known.filter(|(id, transaction)| filter.takes(id, transaction, now.wall_ms));
        let states = taken.map(|(id, transaction)| {
            TransactionState::default()
                .with_transactional_id(TransactionalId(StrBytes::from_string(id.to_string())))
                .with_producer_id(transaction.producer_id.into())
                .with_transaction_state(StrBytes::from_static_str(transaction.state.name()))
        });
        let response = ListTransactionsResponse::default()
            .with_transaction_states(states.collect())
            .with_unknown_state_filters(filter.unknown_states.clone());
        Response::ListTransactions(response)
    }
}
