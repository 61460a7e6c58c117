use std::collections::BTreeMap;

use kafka_protocol::ResponseError;

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
    /// Which end of this coordinator it is.
    pub(crate) end: u64,
    /// How often some of them were sent.
    pub(crate) sends: u64,
    /// Those that are not known to be written.
    pub(crate) missing: BTreeMap<TopicPartition, Marker>,
    /// When those that failed, or the record that all are written, are tried again.
    pub(crate) retry_ms: Option<i64>,
    pub(crate) attempts: u32,
    /// When those that were refused are tried again.
    pub(crate) refused_retry_ms: Option<i64>,
}

/// A marker that is not known to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Marker {
    pub(crate) stage: Stage,
    /// So it was by the last outcome.
    pub(crate) is_refused: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Goes with the next send.
    ToSend,
    /// Went with this send, whose outcome is open.
    Sent(u64),
    /// Waits for longer than what may pass by itself.
    Refused,
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

    /// This coordinator is the one that gives the producer its epoch, with `next`, unless it has had that before. Nobody can
    /// have spoken for it, so any connection may be the first to do so.
    pub(crate) fn hand_out(&mut self, next: &Transaction) {
        let producer = |it: &Transaction| (it.producer_id, it.producer_epoch);
        let committed = self.committed.as_ref();
        if committed.is_none_or(|known| producer(known) != producer(next)) {
            self.newest = Some(Spokesman {
                producer_id: next.producer_id,
                producer_epoch: next.producer_epoch,
                connection: 0,
            });
        }
    }

    /// Before version 2 transactions of one producer share an epoch, so a request that was held up could act on
    /// a later one (Jepsen, Bufstream 0.1.0). Whoever gave it up and asked again opened a newer connection for
    /// that; what then comes over the older one is refused. Connections that never spoke for this producer and
    /// epoch are not compared, but who spoke before this coordinator was loaded nobody knows: of the connections
    /// up to `connections_before` any may be the older one.
    pub(crate) fn hears_from(
        &mut self,
        producer_id: i64,
        producer_epoch: i16,
        connection: Option<u64>,
        connections_before: u64,
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
        let is_older = match newest {
            Some(newest) => connection < newest.connection,
            None => connection <= connections_before,
        };
        if is_older {
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
