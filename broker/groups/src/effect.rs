use std::sync::Arc;

use bytes::Bytes;

use crate::consumer::TooLarge;
use crate::response::Response;
use crate::transaction::{CompleteTransaction, TransactionalProducer};

/// Names the one who waits for a reply; chosen by the caller, unique among open requests.
pub type WaiterId = u64;

/// Names an append, so that its outcome can be reported to [`crate::Coordinator::on_append`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AppendToken(pub u64);

impl AppendToken {
    /// Of no append, and later than all.
    pub(crate) const MAX: Self = Self(u64::MAX);
}

/// What the caller is to do, in this order. An append that is known at once to have failed is to be reported at
/// once, before what comes after it; others of the same call may be off then, see
/// [`crate::Coordinator::is_under_way`].
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Send the response to the waiter, encoded at the version its request had.
    Reply {
        /// The waiter of the request.
        waiter: WaiterId,
        /// Already fit for the request's version.
        response: Response,
    },
    /// Append the records as one batch to this coordinator's partition, then report the outcome
    /// once: success after the high watermark passed the batch. Appends keep their order.
    Append {
        /// Comes back with the outcome.
        token: AppendToken,
        /// At least one.
        records: Vec<Record>,
        /// Where they are part of a transaction: whose. Only in answer to a TxnOffsetCommit, at once.
        producer: Option<TransactionalProducer>,
    },
    /// Append the marker that ends a transaction, as [`Self::Append`] does records.
    AppendMarker {
        /// Comes back with the outcome.
        token: AppendToken,
        /// How it ends.
        transaction: CompleteTransaction,
    },
    /// Report success once the high watermark has passed everything that was replayed. Only the loader says
    /// so, before any append.
    AwaitCommitted {
        /// Comes back with the outcome.
        token: AppendToken,
    },
    /// Match the regular expressions against the names of all topics that who sent the request may describe, off
    /// this thread; then report what they match to [`crate::Coordinator::on_resolved`], whatever came of it.
    Resolve {
        /// Whose members subscribe to them.
        group_id: Arc<str>,
        /// At least one.
        regexes: Vec<Arc<str>>,
    },
    /// Tell whoever runs the broker: a group goes on without something that fits in no batch.
    Report {
        /// Whose.
        group_id: Arc<str>,
        /// What.
        too_large: TooLarge,
    },
    /// The coordinator holds what is in no log: let it resign and load it again, and carry out nothing more of
    /// what it has said.
    Reload,
}

/// One record of `__consumer_offsets`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// `OffsetCommitKey`, `GroupMetadataKey` or one of `ConsumerGroup…Key`, with its version in front.
    pub key: Bytes,
    /// The value of the same name with its version in front; `None` is a tombstone.
    pub value: Option<Bytes>,
}
