use std::collections::BTreeSet;
use std::sync::Arc;

use crate::record::Record;
use crate::response::Response;
use crate::transaction::TopicPartition;

/// Names the one who waits for a reply; chosen by the caller, unique among open requests.
pub type WaiterId = u64;

/// Names an append, so that its outcome can be reported to [`crate::Coordinator::on_append`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AppendToken(pub u64);

/// Names a wish for a producer id, for [`crate::Coordinator::on_producer_id`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProducerIdToken(pub u64);

/// Names one sending of the markers of a transaction, for [`crate::Coordinator::on_markers`]. No other has it,
/// also none of the coordinator that comes next: markers may wait in queues that outlive theirs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MarkerToken {
    /// Of the coordinator that sends.
    pub coordinator_epoch: i32,
    /// Which transaction of this coordinator ends.
    pub end: u64,
    /// Which sending of that end.
    pub send: u64,
}

/// What the caller is to do, in this order.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Send the response to the waiter, encoded at the version its request had.
    Reply {
        /// The waiter of the request.
        waiter: WaiterId,
        /// Already fit for the request's version.
        response: Response,
    },
    /// Close the connection of the waiter without an answer: what it sent is older than what its client sent
    /// over a newer connection.
    Close {
        /// The waiter of the request.
        waiter: WaiterId,
    },
    /// Append the records as one batch to this coordinator's partition, then report the outcome once: success
    /// after the high watermark passed the batch. Appends keep their order.
    Append {
        /// Comes back with the outcome.
        token: AppendToken,
        /// At least one.
        records: Vec<Record>,
    },
    /// Report success once the high watermark has passed everything that was replayed. Only the loader says
    /// so, before any append.
    AwaitCommitted {
        /// Comes back with the outcome.
        token: AppendToken,
    },
    /// Report a producer id that nobody ever had, or that there is none to be had now; within
    /// `request.timeout.ms`, since a client waits for it.
    AllocateProducerId {
        /// Comes back with the id.
        token: ProducerIdToken,
    },
    /// Have the leader of each partition write the marker, and report what became of each, together or one by one.
    ///
    /// What is reported as failed must not arrive later: before `transaction.version` 2 it would end the next
    /// transaction of the same epoch. So markers of one coordinator epoch reach a leader over one connection,
    /// which is as good as it gets: ADR 0027 names what is left.
    SendMarkers(SendMarkers),
}

/// The end of a transaction, to be written to partitions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SendMarkers {
    /// Comes back with the outcomes. Another one when partitions that failed are tried again.
    pub token: MarkerToken,
    /// For the log.
    pub transactional_id: Arc<str>,
    /// Whose transaction ends.
    pub producer_id: i64,
    /// From version 2 on one more than that of the transaction's own batches.
    pub producer_epoch: i16,
    /// The leader epoch of the coordinator's partition.
    pub coordinator_epoch: i32,
    /// Or abort.
    pub commit: bool,
    /// The `transaction.version` that the transaction follows.
    pub transaction_version: i16,
    /// At least one.
    pub partitions: BTreeSet<TopicPartition>,
}

/// What became of a marker on one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MarkerOutcome {
    /// It is committed there.
    Written,
    /// The partition was deleted: an image that is at least as new as the one by which it was added does not
    /// have it. An older one may not have it yet.
    PartitionGone,
    /// The leader answered with this error, or none could be reached (NOT_LEADER_OR_FOLLOWER).
    Failed(kafka_protocol::ResponseError),
}
