//! A log moves to another data directory of the broker (AlterReplicaLogDirs, KIP-113), while it is used.
//!
//! [`LogDirectory::begin_move`] makes a copy in the other directory, called `topic-N.<unique>-future`, or goes on with
//! the one that an earlier process began. [`LogMove::copy`] follows the log like a replica: batches go through the same
//! checks, what is cut off the log is cut off the copy. [`LogDirectory::finish_move`] keeps writers out, copies what is
//! left, and renames the log to `topic-N.<unique>-moved`: that one renaming decides. Then the copy gets the log's name.
//! [`crate::finish_moves`] does at a start what a crash has left undone.
//!
//! Invariants:
//! - There is never a moment, nor is there one after a crash, with two logs of that name or with none that has
//!   everything: the copy is flushed, and the checkpoints of its directory speak of it, before the renaming.
//! - A copy is served to nobody, and lost without loss.
//! - What is damaged is not copied.
//!
//! Start reading at `progress.rs` for the course of a move, `copying.rs` for a step of it, `log_directory/swap.rs` for its
//! end and `unfinished.rs` for a start.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use uuid::Uuid;

use crate::names::TopicPartition;
use crate::partition_log::{MoveStage, PartitionLog};

mod alignment;
mod copying;
mod error;
mod progress;
#[cfg(test)]
mod tests;
pub(crate) mod unfinished;

pub(crate) use copying::AppendedToCopy;
pub use error::MoveError;
pub(crate) use progress::MISSING_BYTES_MAX;
pub use progress::{MoveAct, MoveProgress, Seen};

/// The copy of a log that is to be moved here.
#[derive(Debug)]
pub struct FutureLog {
    pub(crate) log: Arc<PartitionLog>,
    /// What tells this copy from every other one.
    pub(crate) unique: Uuid,
    /// Up to here the log was compacted when it was copied; compaction goes on, and what it does later is not in the copy.
    compacted_offset: AtomicI64,
}

/// A move that is under way. One for each log at a time: the log keeps what the copy needs for as long as this is held.
#[derive(Debug)]
pub struct LogMove {
    pub(crate) source: Arc<PartitionLog>,
    pub(crate) future: Arc<FutureLog>,
    _claim: Claim,
}

/// A log that is being moved, by whoever has this.
#[derive(Debug)]
pub(crate) struct Claim(Arc<PartitionLog>);

/// What became of [`crate::LogDirectory::finish_move`].
#[derive(Debug)]
pub enum Finished {
    /// The log in its new place.
    Moved(Arc<PartitionLog>),
    /// Nothing has happened: there is something to copy, or to wait for, first.
    NotYet(&'static str),
}

impl FutureLog {
    pub(crate) fn new(log: Arc<PartitionLog>, unique: Uuid, compacted_offset: i64) -> Self {
        Self {
            log,
            unique,
            compacted_offset: AtomicI64::new(compacted_offset),
        }
    }

    /// Of which partition.
    #[must_use]
    pub fn partition(&self) -> &TopicPartition {
        self.log.partition()
    }

    /// The topic's id.
    #[must_use]
    pub fn topic_id(&self) -> Uuid {
        self.log.topic_id()
    }

    /// Up to here it is copied.
    #[must_use]
    pub fn log_end_offset(&self) -> i64 {
        self.log.log_end_offset()
    }

    /// Up to here no power failure takes it.
    #[must_use]
    pub fn flushed_offset(&self) -> i64 {
        self.log.flushed_offset()
    }

    /// See [`PartitionLog::has_failed`].
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.log.has_failed()
    }

    /// Bytes of all segments.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        self.log.size_bytes()
    }

    pub(crate) fn compacted_offset(&self) -> i64 {
        self.compacted_offset.load(Ordering::Acquire)
    }

    pub(crate) fn set_compacted_offset(&self, offset: i64) {
        self.compacted_offset.store(offset, Ordering::Release);
    }
}

impl LogMove {
    pub(crate) fn new(claim: Claim, future: Arc<FutureLog>) -> Self {
        Self {
            source: Arc::clone(&claim.0),
            future,
            _claim: claim,
        }
    }

    /// What is moved.
    #[must_use]
    pub fn source(&self) -> &Arc<PartitionLog> {
        &self.source
    }

    /// Where it is copied to.
    #[must_use]
    pub fn future(&self) -> &Arc<FutureLog> {
        &self.future
    }
}

impl Claim {
    /// `None` where somebody has it.
    pub(crate) fn of(source: &Arc<PartitionLog>) -> Option<Self> {
        source.claim_for_move().then(|| Self(Arc::clone(source)))
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.0.set_move_stage(MoveStage::None);
    }
}
