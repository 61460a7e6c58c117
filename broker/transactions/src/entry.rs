use std::collections::BTreeSet;

use kafka_protocol::ResponseError;

use crate::effect::MarkerToken;
use crate::transaction::{TopicPartition, Transaction};

/// A transactional id.
#[derive(Debug, Default)]
pub(crate) struct Entry {
    /// As the log has it below the high watermark; none while the first record is under way.
    pub(crate) committed: Option<Transaction>,
    /// A record of it is being written, or a producer id is awaited for one: nothing else may change it.
    pub(crate) is_changing: bool,
    /// When the open transaction is over its timeout, in monotonic milliseconds.
    pub(crate) abort_deadline_ms: Option<i64>,
    /// Of the decided transaction.
    pub(crate) markers: Option<Markers>,
    pub(crate) newest: Option<Spokesman>,
}

/// Which connection spoke last for a producer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Spokesman {
    producer_id: i64,
    producer_epoch: i16,
    connection: u64,
}

/// The markers of a transaction that ends.
#[derive(Debug)]
pub(crate) struct Markers {
    pub(crate) token: MarkerToken,
    /// Have none yet, as far as is known.
    pub(crate) missing: BTreeSet<TopicPartition>,
    /// Of these, those to be tried again at `retry_ms`.
    pub(crate) failed: BTreeSet<TopicPartition>,
    pub(crate) retry_ms: Option<i64>,
    pub(crate) attempts: u32,
    /// Partitions that refuse the marker for good.
    pub(crate) is_stuck: bool,
}

impl Entry {
    /// The state that requests are judged by, when nothing is on its way to change it.
    ///
    /// Kafka counts a decided transaction as on its way to completion, whatever the request says of it.
    pub(crate) fn settled(&self) -> Result<&Transaction, ResponseError> {
        let current = self.committed.as_ref().filter(|_| !self.is_changing);
        current
            .filter(|transaction| !transaction.state.is_prepared())
            .ok_or(ResponseError::ConcurrentTransactions)
    }

    /// The state, when it belongs to this producer.
    pub(crate) fn of_producer(
        &self,
        producer_id: i64,
        producer_epoch: i16,
    ) -> Result<&Transaction, ResponseError> {
        let current = self.committed.as_ref();
        let current = current
            .filter(|transaction| transaction.producer_id == producer_id)
            .ok_or(ResponseError::InvalidProducerIdMapping)?;
        if current.producer_epoch != producer_epoch {
            return Err(ResponseError::ProducerFenced);
        }
        Ok(current)
    }

    /// Before version 2 transactions of one producer share an epoch, so a request that was held up could act on
    /// a later one (Jepsen, Bufstream 0.1.0). Whoever gave it up and asked again opened a newer connection for
    /// that; what then comes over the older one is refused. Connections that never spoke for this producer and
    /// epoch are not compared.
    pub(crate) fn hears_from(
        &mut self,
        producer_id: i64,
        producer_epoch: i16,
        connection: Option<u64>,
    ) -> bool {
        let Some(connection) = connection else {
            return true;
        };
        if self.of_producer(producer_id, producer_epoch).is_err() {
            return true;
        }
        let is_same = |newest: &&Spokesman| {
            newest.producer_id == producer_id && newest.producer_epoch == producer_epoch
        };
        let newest = self.newest.as_ref().filter(is_same);
        if newest.is_some_and(|newest| connection < newest.connection) {
            return false;
        }
        self.newest = Some(Spokesman {
            producer_id,
            producer_epoch,
            connection,
        });
        true
    }
}
