use std::collections::BTreeMap;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::describe_transactions_response::{TopicData, TransactionState};
use kafka_protocol::messages::{
    DescribeTransactionsRequest, DescribeTransactionsResponse, TopicName, TransactionalId,
};
use kafka_protocol::protocol::StrBytes;

use super::Coordinator;
use crate::entry::Entry;
use crate::response::Response;
use crate::transaction::Transaction;

impl Coordinator {
    pub(super) fn describe_transactions(&self, request: &DescribeTransactionsRequest) -> Response {
        let states = request.transactional_ids.iter().map(|id| {
            match self.described(id) {
                Ok((entry, current)) => describe(entry, current),
                Err(error) => TransactionState::default().with_error_code(error.code()),
            }
            .with_transactional_id(id.clone())
        });
        let response = DescribeTransactionsResponse::default();
        Response::DescribeTransactions(response.with_transaction_states(states.collect()))
    }

    fn described(&self, id: &TransactionalId) -> Result<(&Entry, &Transaction), ResponseError> {
        if id.is_empty() {
            return Err(ResponseError::InvalidRequest);
        }
        let entry = self.entry(id)?;
        let known = entry.and_then(|entry| Some((entry, entry.committed.as_ref()?)));
        known.ok_or(ResponseError::TransactionalIdNotFound)
    }
}

fn describe(entry: &Entry, current: &Transaction) -> TransactionState {
    // While a transaction ends, Kafka tells the partitions that it waits for.
    let missing = entry.markers.iter().flat_map(|end| end.missing.keys());
    let is_open = entry.markers.is_none();
    let added = current.partitions.iter().filter(|_| is_open);
    let mut topics: BTreeMap<&str, Vec<i32>> = BTreeMap::new();
    for partition in missing.chain(added) {
        let of_topic = topics.entry(&partition.topic).or_default();
        of_topic.push(partition.partition);
    }
    let topics = topics.into_iter().map(|(topic, partitions)| {
        TopicData::default()
            .with_topic(TopicName(StrBytes::from_string(topic.to_owned())))
            .with_partitions(partitions)
    });
    TransactionState::default()
        .with_transaction_state(StrBytes::from_static_str(current.state.name()))
        .with_transaction_timeout_ms(current.transaction_timeout_ms)
        .with_transaction_start_time_ms(current.start_timestamp_ms)
        .with_producer_id(current.producer_id.into())
        .with_producer_epoch(current.producer_epoch)
        .with_topics(topics.collect())
}
