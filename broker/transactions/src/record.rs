//! The records of `__transaction_state`, byte for byte as Kafka writes them.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use foz_records::transaction_log_value::PartitionsSchema;
use foz_records::{
    CoordinatorKey, DecodeError, Message, TransactionCoordinatorKey, TransactionLogKey,
    TransactionLogValue,
};

use crate::transaction::{NO_PRODUCER_EPOCH, TopicPartition, Transaction, TransactionState};

/// Why nothing here fails to be encoded: the values have what their versions have, `InitProducerId`
/// refuses ids that are too long, and names of topics that there are have at most 249 bytes.
const FITS: &str = "strings are measured where requests come in";

/// Why a record cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// The bytes are not what the schema says.
    #[error(transparent)]
    Malformed(#[from] DecodeError),
    /// No transaction is recorded in such a state.
    #[error("TransactionLogValue: TransactionStatus is {status}; 0 to 5 are known")]
    UnknownState {
        /// As read.
        status: i8,
    },
}

/// One record of `__transaction_state`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The key.
    pub transactional_id: Arc<str>,
    /// `None` is a tombstone.
    pub value: Option<Transaction>,
    /// Of `TransactionLogValue`: 0 or 1.
    pub value_version: i16,
}

impl Record {
    /// The bytes of the key and of the value.
    pub fn encode(&self) -> (Bytes, Option<Bytes>) {
        let key = TransactionLogKey {
            transactional_id: Arc::clone(&self.transactional_id),
        };
        let encode = |transaction: &Transaction| {
            let value = value_of(transaction, self.value_version);
            value.encode_prefixed(self.value_version).expect(FITS)
        };
        (
            key.encode_key().expect(FITS),
            self.value.as_ref().map(encode),
        )
    }

    /// Reads a record; `None` for a key of a kind that is not known: a later version may have written it.
    ///
    /// # Errors
    /// The record is not what its schema says, its value has a version that is not known, or there is no such
    /// state.
    pub fn decode(key: &[u8], value: Option<&[u8]>) -> Result<Option<Self>, RecordError> {
        let Some(TransactionCoordinatorKey::TransactionLog(key)) =
            TransactionCoordinatorKey::decode(key)?
        else {
            return Ok(None);
        };
        let value_version = match value {
            Some([high, low, ..]) => i16::from_be_bytes([*high, *low]),
            _ => 0,
        };
        let value = value
            .map(TransactionLogValue::decode_prefixed)
            .transpose()?;
        Ok(Some(Self {
            transactional_id: key.transactional_id,
            value: value.map(transaction_of).transpose()?,
            value_version,
        }))
    }
}

fn value_of(transaction: &Transaction, value_version: i16) -> TransactionLogValue {
    let mut topics: Vec<PartitionsSchema> = Vec::new();
    // They come sorted by topic.
    for TopicPartition { topic, partition } in &transaction.partitions {
        match topics.last_mut().filter(|last| last.topic == *topic) {
            Some(last) => last.partition_ids.push(*partition),
            None => topics.push(PartitionsSchema {
                topic: Arc::clone(topic),
                partition_ids: vec![*partition],
            }),
        }
    }
    let mut value = TransactionLogValue {
        producer_id: transaction.producer_id,
        producer_epoch: transaction.producer_epoch,
        transaction_timeout_ms: transaction.transaction_timeout_ms,
        transaction_status: transaction.state.id(),
        // As Kafka has it: null, not empty, where there was no transaction.
        transaction_partitions: Some(topics)
            .filter(|_| transaction.state != TransactionState::Empty),
        transaction_last_update_timestamp_ms: transaction.last_update_timestamp_ms,
        transaction_start_timestamp_ms: transaction.start_timestamp_ms,
        client_transaction_version: transaction.client_transaction_version,
        ..TransactionLogValue::default()
    };
    if value_version >= 1 {
        value.previous_producer_id = transaction.previous_producer_id;
        value.next_producer_id = transaction.next_producer_id;
    }
    value
}

fn transaction_of(value: TransactionLogValue) -> Result<Transaction, RecordError> {
    let status = value.transaction_status;
    let state = TransactionState::from_id(status).ok_or(RecordError::UnknownState { status })?;
    let topics = value.transaction_partitions.unwrap_or_default();
    let partitions: BTreeSet<TopicPartition> = topics
        .into_iter()
        .flat_map(
            |PartitionsSchema {
                 topic,
                 partition_ids,
             }| {
                let of_topic = move |partition| TopicPartition {
                    topic: Arc::clone(&topic),
                    partition,
                };
                partition_ids.into_iter().map(of_topic)
            },
        )
        .collect();
    Ok(Transaction {
        producer_id: value.producer_id,
        previous_producer_id: value.previous_producer_id,
        next_producer_id: value.next_producer_id,
        producer_epoch: value.producer_epoch,
        last_producer_epoch: NO_PRODUCER_EPOCH,
        transaction_timeout_ms: value.transaction_timeout_ms,
        state,
        partitions,
        start_timestamp_ms: value.transaction_start_timestamp_ms,
        last_update_timestamp_ms: value.transaction_last_update_timestamp_ms,
        client_transaction_version: value.client_transaction_version,
    })
}

#[cfg(test)]
mod tests;
