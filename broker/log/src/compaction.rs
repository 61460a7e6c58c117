//! Log compaction (`cleanup.policy=compact`): of each key the newest record stays.
//!
//! [`PartitionLog::compact`](crate::PartitionLog::compact) makes one pass over a log, on the thread that calls it.
//! It reads what was never compacted into a map from keys to their newest offsets, as far as the map's memory
//! goes, and then walks over the log from its begin up to there and writes what stays into new segments, which
//! take the places of the old ones. Nobody waits for it: appends and reads go on, and only while new files take
//! the names of old ones is the lock held that flushes and truncations need too.
//!
//! Invariants:
//! - No record goes for one that may itself go again: only what is below the high watermark, flushed, and of no
//!   open transaction is read into the map, and only in segments that nothing is appended to.
//! - A batch is checked before it is copied, dropped or made anew: what is damaged never gets a CRC that is right.
//! - A crash leaves of each group of segments the old ones or the new one (`swap.rs`), and the checkpoint
//!   `cleaner-offset-checkpoint` only ever says less than is true: another pass finds the same again.
//! - Readers who hold a segment that was replaced read on in its files.
//! - Memory is the map, one batch with what it is made into, two buffers, and the entries of two indexes.
//!
//! Start reading at `rules.rs` for what stays, `choice.rs` for what is looked at, `pass.rs` for the course of it.

use std::ops::ControlFlow;
use std::path::Path;

use foz_protocol::record::{BuildError, RecordError};

use crate::error::{ReadError, StorageError, says_no_room};
use crate::file_steps::FileSteps;

mod batch_reader;
mod choice;
mod cleaned_segment;
mod offset_map;
mod pass;
mod rewrite;
mod rules;
mod swap;
#[cfg(test)]
mod tests;
mod transactions;

pub(crate) use choice::{LogSummary, SegmentSummary};
pub(crate) use cleaned_segment::FinishedSegment;
pub(crate) use pass::Pass;
pub(crate) use rules::LastOfProducer;
pub(crate) use swap::{finish_interrupted, remove_interrupted};

use swap::{carry_out, decide, prepare, take_back};

/// What a pass may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CompactionLimits {
    /// `log.cleaner.dedupe.buffer.size`: bytes of the map, 24 for each key in nine tenths of it. A log whose new
    /// part holds more keys takes several passes.
    pub map_bytes: usize,
}

/// What was read and written since the last time that was asked.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct CompactionIo {
    /// From segments.
    pub read_bytes: u64,
    /// Into new ones.
    pub written_bytes: u64,
}

/// Asked between batches whether to go on. Whoever wants to slow compaction down takes time to answer.
pub type Proceed<'a> = &'a mut dyn FnMut(CompactionIo) -> ControlFlow<()>;

/// How much there is to compact.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CompactionNeed {
    /// The part of the bytes that may be compacted and never were.
    pub dirty_ratio: f64,
    /// Those bytes.
    pub dirty_bytes: u64,
    /// `min.cleanable.dirty.ratio` is passed.
    pub is_due: bool,
    /// `max.compaction.lag.ms` is passed, whatever the ratio.
    pub is_overdue: bool,
}

/// What a pass did.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Compacted {
    /// The log is compacted up to here.
    pub compacted_offset: i64,
    /// Bytes of the segments that were replaced.
    pub bytes_before: u64,
    /// Bytes of those that took their places.
    pub bytes_after: u64,
    /// How many were replaced.
    pub segments_before: usize,
    /// How many took their places.
    pub segments_after: usize,
    /// Everything that was read.
    pub read_bytes: u64,
    /// Everything that was written, but for indexes.
    pub written_bytes: u64,
    /// Memory of the map.
    pub map_bytes: usize,
}

/// Why a pass ended early. The log is whole, unless it says that it failed ([`crate::PartitionLog::has_failed`]);
/// what was replaced by then stays so.
#[derive(Debug, thiserror::Error)]
pub enum CompactionError {
    /// The caller asked for it.
    #[error("compaction was told to stop")]
    Stopped,
    /// The log was cut, begun anew, closed or deleted meanwhile, or retention took what was looked at.
    #[error("the log changed while it was compacted")]
    Disturbed,
    /// Another pass is at work on this log, or it is about to move.
    #[error("the log is being compacted already, or is about to move")]
    Busy,
    /// What is there cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A batch is as it was written, and its content is not what its header says: a client sent it so. No damage: every
    /// replica has it, and it stays.
    #[error("the records of the batch at offset {offset} cannot be read: {source}")]
    Malformed {
        /// Its base offset.
        offset: i64,
        /// Why.
        #[source]
        source: RecordError,
    },
    /// A batch cannot be made anew.
    #[error("the batch at offset {offset} cannot be made anew: {source}")]
    Rewrite {
        /// Its base offset.
        offset: i64,
        /// Why.
        #[source]
        source: BuildError,
    },
    /// Batches that got a delete horizon are a little longer, and so may be what holds nothing else.
    #[error("the segment at offset {base_offset} would take more than 2147483647 bytes")]
    TooLarge {
        /// Of the segment.
        base_offset: i64,
    },
    /// Not even the keys of one batch fit into the map.
    #[error(
        "a map of {map_bytes} bytes (log.cleaner.dedupe.buffer.size) does not hold the keys of the batch at offset {offset}"
    )]
    MapTooSmall {
        /// Bytes of the map.
        map_bytes: usize,
        /// What was to be compacted first.
        offset: i64,
    },
    /// The disk or the file system refused.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl CompactionError {
    /// The disk is full: it is worth another try when there is room.
    #[must_use]
    pub fn is_out_of_space(&self) -> bool {
        matches!(self, Self::Storage(error) if says_no_room(&error.source))
    }
}

/// What can still be done without being a change: when it fails, nothing has happened.
pub(crate) fn prepare_names(
    steps: &mut FileSteps<'_>,
    directory: &Path,
    base_offset: i64,
) -> Result<(), StorageError> {
    let prepared = prepare(steps, directory, base_offset);
    if prepared.is_err() {
        // Else the next start does.
        let _ = take_back(steps, directory, base_offset);
    }
    prepared
}

/// The new segment counts from the first of its steps on, and has its name after the last one.
///
/// `later`: see [`swap::carry_out`].
pub(crate) fn give_name(
    steps: &mut FileSteps<'_>,
    directory: &Path,
    base_offset: i64,
    later: &[i64],
) -> Result<(), StorageError> {
    decide(steps, directory, base_offset)?;
    carry_out(steps, directory, base_offset, later)
}
