use bytes::Bytes;

use crate::response::Response;

/// Names the one who waits for a reply; chosen by the caller, unique among open requests.
pub type WaiterId = u64;

/// Names an append, so that its outcome can be reported to [`crate::Coordinator::on_append`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AppendToken(pub u64);

impl AppendToken {
    /// Of no append, and later than all.
    pub(crate) const MAX: Self = Self(u64::MAX);
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
    /// Append the records as one batch to this coordinator's partition, then report the outcome
    /// once: success after the high watermark passed the batch. Appends keep their order.
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
}

/// One record of `__consumer_offsets`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// `OffsetCommitKey` or `GroupMetadataKey`, with its version in front.
    pub key: Bytes,
    /// `OffsetCommitValue` or `GroupMetadataValue` with its version in front; `None` is a tombstone.
    pub value: Option<Bytes>,
}
