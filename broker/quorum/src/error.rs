//! What can go wrong, as a caller sees it.

use std::path::PathBuf;
use std::sync::Arc;

use crate::config::{ConfigError, Voter};
use crate::meta_properties::MetaPropertiesError;
use crate::storage::StorageError;

/// Why a controller refuses to start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration cannot work.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// `meta.properties` cannot be read or written.
    #[error(transparent)]
    MetaProperties(#[from] MetaPropertiesError),
    /// The volume is another node's.
    #[error(
        "{path}: this volume belongs to node {found}, and this is node {expected}; give each node its own volume",
        path = path.display()
    )]
    WrongNode {
        /// The file that says so.
        path: PathBuf,
        /// `node.id` there.
        found: i32,
        /// `node.id` of the configuration.
        expected: i32,
    },
    /// `meta.properties` and the quorum's own files come from two clusters.
    #[error(
        "{path}: says cluster {found}, but the quorum's files beside it are of cluster {expected}",
        path = path.display()
    )]
    MixedVolume {
        /// The file.
        path: PathBuf,
        /// `cluster.id` there.
        found: String,
        /// The cluster of the snapshot.
        expected: String,
    },
    /// The only controller lost its state: to begin anew would lose the metadata silently.
    #[error(
        "{path}: this volume belongs to cluster {cluster_id}, but the quorum's files are gone; restore them, or remove the file to found a new, empty cluster",
        path = path.display()
    )]
    StateLost {
        /// `meta.properties`.
        path: PathBuf,
        /// `cluster.id` there.
        cluster_id: String,
    },
    /// The quorum's files cannot be used.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The state machine refused its snapshot.
    #[error("the metadata snapshot at index {index} cannot be restored: {reason}")]
    Restore {
        /// Raft index of the snapshot.
        index: u64,
        /// What the state machine said.
        reason: String,
    },
    /// Raft refused the state on disk, or no thread could be started.
    #[error("the quorum cannot start: {0}")]
    Raft(String),
}

/// Why a quorum that had started is no more. The process should end: see [`crate::Quorum::failure`].
#[derive(Debug, Clone, thiserror::Error)]
pub enum QuorumFailure {
    /// Most of the configured controllers are of another cluster.
    #[error(
        "this volume belongs to cluster {found}, but the controllers {peers:?} are of cluster {expected}"
    )]
    WrongCluster {
        /// The cluster of this volume.
        found: String,
        /// The cluster of the others.
        expected: String,
        /// Their node ids.
        peers: Vec<i32>,
    },
    /// The quorum has gone on without this volume.
    #[error(
        "the quorum of cluster {cluster_id} no longer has node {node_id} with directory {directory_id}: another volume took its place; empty this one to join again"
    )]
    Removed {
        /// The cluster.
        cluster_id: String,
        /// This node.
        node_id: i32,
        /// This volume.
        directory_id: String,
    },
    /// It was removed, and may come back, which takes a new name in Raft: the next start joins anew.
    #[error(
        "node {node_id} was removed from the quorum of cluster {cluster_id} and is to join again: what it had is set aside in {aside}, and it starts anew",
        aside = aside.display()
    )]
    Renewed {
        /// The cluster.
        cluster_id: String,
        /// This node.
        node_id: i32,
        /// Its old log and snapshots, of no use any more.
        aside: PathBuf,
    },
    /// The disk failed. What was not yet durable is in doubt, so nothing is tried again.
    #[error("{0}")]
    Storage(Arc<StorageError>),
    /// Starting, once the quorum was found, did not work.
    #[error("{0}")]
    Start(Arc<StartError>),
    /// The state machine refused the leader's snapshot.
    #[error("the leader's metadata snapshot at index {index} cannot be restored: {reason}")]
    Restore {
        /// Raft index of the snapshot.
        index: u64,
        /// What was wrong.
        reason: String,
    },
    /// An invariant of Raft does not hold; the log has the details.
    #[error("the quorum's thread ended unexpectedly: {0}")]
    Broken(String),
}

/// Why a proposal was not acknowledged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    /// This controller does not lead in that term. Nothing was written.
    #[error("this controller is not the leader{}", .leader.as_ref().map(|l| format!("; {}@{} is", l.node_id, l.address)).unwrap_or_default())]
    NotLeader {
        /// Who leads, when known.
        leader: Option<Voter>,
    },
    /// The batch has no effect and never will: the state machine rejected it, or another leader's
    /// entry took its place.
    #[error("the batch was superseded and has no effect")]
    Superseded,
    /// Leadership ended before the outcome was known: the batch may take effect or not.
    #[error("leadership was lost before the outcome was known")]
    LeadershipLost,
    /// Too much is waiting to be committed. Nothing was written; try again.
    #[error("too many proposals are waiting to be committed")]
    Busy,
    /// A batch of this size does not fit in a message. Nothing was written.
    #[error("a batch of {bytes} bytes is larger than {bytes_max}")]
    TooLarge {
        /// The batch.
        bytes: usize,
        /// The bound.
        bytes_max: usize,
    },
    /// The quorum was stopped or failed: the batch may take effect or not.
    #[error("the quorum has stopped")]
    Stopped,
}

/// Why the voters were not changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChangeVotersError {
    /// This controller does not lead.
    #[error("this controller is not the leader")]
    NotLeader,
    /// The controller to be removed leads: it hands leadership over first.
    #[error("node {node_id} leads the quorum; it hands leadership over before it is removed")]
    IsLeader {
        /// This controller.
        node_id: i32,
    },
    /// It cannot be done now; nothing was changed.
    #[error("{0}")]
    Refused(String),
    /// Too many others wait for the same.
    #[error("too many changes of the voters wait already")]
    Busy,
    /// Leadership ended, or the quorum was stopped, before the outcome was known: it may take effect or not.
    #[error("leadership was lost before the change of the voters was known to be committed")]
    UnknownOutcome,
}

/// Why leadership was not handed over.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TransferError {
    /// This controller has no leadership to hand over.
    #[error("this controller is not the leader")]
    NotLeader,
    /// The target cannot lead.
    #[error("node {node_id} is not another voter of the quorum")]
    UnknownVoter {
        /// The target that was asked for.
        node_id: i32,
    },
    /// There is no other voter, or none that answers.
    #[error("no other voter answers")]
    NoTarget,
    /// The target did not take over within two election timeouts; this controller may still lead.
    #[error("nobody took over in time")]
    TimedOut,
    /// The quorum was stopped or failed.
    #[error("the quorum has stopped")]
    Stopped,
}
