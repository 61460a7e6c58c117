//! What the handle, the service and the transport ask of the quorum's thread.

use bytes::Bytes;
use raft::eraftpb::Message;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use crate::error::{ChangeVotersError, ProposeError, TransferError};
use crate::joining::JoinAnswer;
use crate::status::Member;
use crate::storage::{SnapshotMeta, StorageError};

#[derive(Debug)]
pub(crate) enum Command {
    /// A member opened a stream to this one.
    Met(Member),
    /// A message of another member. The permit is its share of [`INBOUND_KIB_MAX`].
    Message(Box<Message>, OwnedSemaphorePermit),
    Propose(Proposal),
    ConfirmLeadership(oneshot::Sender<bool>),
    Transfer {
        to: Option<i32>,
        answer: oneshot::Sender<Result<(), TransferError>>,
    },
    /// A controller asks to become a voter.
    Join {
        member: Member,
        /// The node ids in its `controller.quorum.voters`.
        configured: Vec<i32>,
        /// It was removed, and only asks whether it may come back.
        renew: bool,
        answer: oneshot::Sender<JoinAnswer>,
    },
    /// Take a node out of the group.
    RemoveVoter {
        node_id: i32,
        answer: oneshot::Sender<Result<(), ChangeVotersError>>,
    },
    /// A node that was removed may come back.
    AddVoter {
        node_id: i32,
        answer: oneshot::Sender<Result<(), ChangeVotersError>>,
    },
    /// Stand for election now; only a hint.
    Campaign,
    /// The transport lost the connection to a member, or dropped messages to it.
    Unreachable(u64),
    /// A member took the transport's connection.
    Connected(u64),
    /// Nothing listens where a member is to be.
    Refused(u64),
    /// A member opened a stream of messages to this one, and it ended.
    StreamOpened(u64),
    StreamClosed(u64),
    /// A snapshot that was being sent arrived, or did not.
    SnapshotSent {
        to: u64,
        arrived: bool,
    },
    /// The snapshot that was being written beside this thread.
    SnapshotWritten(Result<SnapshotMeta, StorageError>),
    Stop,
}

#[derive(Debug)]
pub(crate) struct Proposal {
    pub(crate) term: u64,
    pub(crate) data: Bytes,
    pub(crate) answer: oneshot::Sender<Result<u64, ProposeError>>,
    /// Its share of [`PROPOSED_KIB_MAX`], held until the answer.
    pub(crate) permit: OwnedSemaphorePermit,
}

/// One batch; an entry must fit in one message of the transport.
pub(crate) const PROPOSAL_BYTES_MAX: usize = 4 << 20;
/// All batches that are not yet answered. Each counts as 1 KiB at least.
pub(crate) const PROPOSED_KIB_MAX: usize = 64 << 10;
/// All messages received and not yet seen by the thread. Each counts as 1 KiB at least.
pub(crate) const INBOUND_KIB_MAX: usize = 32 << 10;

/// The share of such a budget that some bytes take.
pub(crate) fn kib(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(1024).max(1)).unwrap_or(u32::MAX)
}
