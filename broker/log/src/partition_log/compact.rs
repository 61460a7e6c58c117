//! Compaction as the log sees it: what may be compacted, and new segments in the places of old ones.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::{CHANGE_FAILED, MoveStage, PartitionLog, USABLE};
use crate::atomic_file::{self, read_small, remove_if_exists};
use crate::compaction::{
    Compacted, CompactionError, CompactionLimits, CompactionNeed, FinishedSegment, LastOfProducer,
    LogSummary, Pass, Proceed, SegmentSummary, give_name, prepare_names,
};
use crate::config::LogConfig;
use crate::error::{ReadError, StorageError};
use crate::file_steps::FileSteps;
use crate::index::{Entry, OffsetPosition, TimestampOffset};
use crate::names::{SNAPSHOT_SUFFIX, offset_file};
use crate::producer_snapshot;
use crate::recovery::list_snapshots;
use crate::segment::Segment;

/// Who holds a segment that a pass has replaced, but for readers: the list of what it found.
const HELD_BY_PASS: usize = 1;

/// The segments as a pass found them.
#[derive(Debug)]
pub(crate) struct ClosedSegments {
    pub(crate) segments: Vec<Arc<Segment>>,
    pub(crate) active: Arc<Segment>,
    /// Of [`PartitionLog::changes`].
    changes: u64,
}

impl PartitionLog {
    /// How much there is to compact; `None` where there is nothing, or the topic is not compacted. To be asked from
    /// time to time: it opens files only where `min.compaction.lag.ms` or `max.compaction.lag.ms` is set.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn compaction_need(&self, now_ms: i64) -> Result<Option<CompactionNeed>, ReadError> {
        let config = self.config();
        if !config.cleanup_compact || self.check_usable().is_err() {
            return Ok(None);
        }
        let closed = self.closed_segments();
        let summaries = self.summarize(&closed, &config)?;
        let summary = self.summary(&closed, &summaries);
        let Some(cleanable) = summary.cleanable(&config, now_ms) else {
            return Ok(None);
        };
        let dirty_ratio = cleanable.dirty_ratio();
        let mut is_overdue = false;
        if config.max_compaction_lag_ms < i64::MAX {
            let before_ms = now_ms.saturating_sub(config.max_compaction_lag_ms);
            for segment in closed.since(cleanable.first_dirty_offset) {
                if segment.base_offset < cleanable.end_offset
                    && let Some(first) = segment.first_batch()?
                {
                    is_overdue |= (0..before_ms).contains(&first.max_timestamp);
                }
            }
        }
        Ok(Some(CompactionNeed {
            dirty_ratio,
            dirty_bytes: cleanable.dirty_bytes,
            is_due: dirty_ratio > config.min_cleanable_dirty_ratio,
            is_overdue,
        }))
    }

    /// Compacts what was never compacted, whether that is much or little, and whatever `cleanup.policy` says: both
    /// are the caller's to ask. Blocks for as long as it takes; appends and reads go on meanwhile. `proceed` is
    /// asked between batches.
    ///
    /// # Errors
    /// [`CompactionError`]. Where the log had to stop ([`Self::has_failed`]) only a start finds out what there is.
    pub fn compact(
        &self,
        limits: CompactionLimits,
        now_ms: i64,
        proceed: Proceed<'_>,
    ) -> Result<Compacted, CompactionError> {
        let steps = FileSteps::new(self.handles.operations());
        self.compact_in_steps(limits, now_ms, proceed, steps)
    }

    /// Like [`Self::compact`].
    pub(crate) fn compact_in_steps<'a>(
        &'a self,
        limits: CompactionLimits,
        now_ms: i64,
        proceed: Proceed<'a>,
        steps: FileSteps<'a>,
    ) -> Result<Compacted, CompactionError> {
        let _compacting = self.compacting.try_lock().ok_or(CompactionError::Busy)?;
        if self.move_stage() == MoveStage::Ending {
            return Err(CompactionError::Busy);
        }
        if self.check_usable().is_err() {
            return Err(CompactionError::Disturbed);
        }
        // What is not flushed may be gone after a crash, and what it took the place of with it.
        self.flush_backlog()?;
        Pass::new(self, now_ms, steps, proceed).run(limits)
    }

    /// Up to here the log was compacted.
    #[must_use]
    pub fn compacted_offset(&self) -> i64 {
        self.compacted_offset.load(Ordering::Acquire)
    }

    pub(crate) fn closed_segments(&self) -> ClosedSegments {
        let changes = self.changes.load(Ordering::Acquire);
        let mut segments: Vec<_> = self.segments.read().values().cloned().collect();
        let active = segments.pop().expect("a log has a segment");
        ClosedSegments {
            segments,
            active,
            changes,
        }
    }

    /// Timestamps are asked only where they matter: they are in files.
    pub(crate) fn summarize(
        &self,
        closed: &ClosedSegments,
        config: &LogConfig,
    ) -> Result<Vec<SegmentSummary>, StorageError> {
        let is_asked = config.min_compaction_lag_ms > 0;
        let summarize = |segment: &Arc<Segment>| -> Result<SegmentSummary, StorageError> {
            Ok(SegmentSummary {
                base_offset: segment.base_offset,
                size_bytes: segment.size(),
                offset_index_bytes: u64::from(segment.offset_index.len())
                    * OffsetPosition::BYTES as u64,
                time_index_bytes: u64::from(segment.time_index.len())
                    * TimestampOffset::BYTES as u64,
                newest_ms: if is_asked {
                    self.newest_ms(segment, i64::MAX)?
                } else {
                    i64::MIN
                },
            })
        };
        closed.segments.iter().map(summarize).collect()
    }

    pub(crate) fn summary<'s>(
        &self,
        closed: &ClosedSegments,
        summaries: &'s [SegmentSummary],
    ) -> LogSummary<'s> {
        let stable_offset = self
            .last_stable_offset()
            .min(self.flushed_offset())
            // What nobody has looked at may say anything of its keys.
            .min(self.checked_offset().unwrap_or(i64::MAX));
        LogSummary {
            closed: summaries,
            active_base_offset: closed.active.base_offset,
            log_start_offset: self.log_start_offset(),
            compacted_offset: self.compacted_offset(),
            stable_offset,
        }
    }

    pub(crate) fn last_of_producers(&self) -> HashMap<i64, LastOfProducer> {
        let writer = self.writer.lock();
        let producers = writer.producers.iter();
        let last = producers.map(|(id, producer)| {
            let last = match producer.batches.front() {
                Some(batch) => LastOfProducer::Data {
                    first_last_offset: batch.last_offset,
                },
                None => LastOfProducer::Marker {
                    epoch: producer.epoch,
                },
            };
            (*id, last)
        });
        last.collect()
    }

    /// Nothing of what a pass found was cut or removed.
    pub(crate) fn still_has(&self, closed: &ClosedSegments) -> bool {
        let first = closed.segments.first().unwrap_or(&closed.active);
        self.is_unchanged(closed) && self.first_base_offset() == first.base_offset
    }

    /// It was not cut, begun anew, closed or deleted since.
    pub(crate) fn is_unchanged(&self, closed: &ClosedSegments) -> bool {
        closed.changes.is_multiple_of(2)
            && self.changes.load(Ordering::Acquire) == closed.changes
            && self.check_usable().is_ok()
    }

    /// `finished` takes the places of the segments in `before`.
    pub(crate) fn replace_segments(
        &self,
        closed: &ClosedSegments,
        before: &[Arc<Segment>],
        finished: FinishedSegment,
        steps: &mut FileSteps<'_>,
    ) -> Result<(), CompactionError> {
        // Neither a flush nor retention nor a cut must find files gone in the middle of it. Who appends does not
        // wait: nothing is appended to these.
        let _flushing = self.flushing.lock();
        let is_there = {
            let segments = self.segments.read();
            before.iter().all(|segment| {
                let there = segments.get(&segment.base_offset);
                there.is_some_and(|there| Arc::ptr_eq(there, segment))
            })
        };
        if !is_there || !self.is_unchanged(closed) {
            return Err(CompactionError::Disturbed);
        }
        let base_offset = before[0].base_offset;
        self.end_transactions_in_snapshot(base_offset)?;
        let new = [Arc::new(finished.into_segment(&self.handles))];
        self.exchange(before, &new);
        // A file that cannot be opened now, or a name for which there is no room, is nothing that a log stops for.
        let prepared =
            pin_held(before).and_then(|()| prepare_names(steps, &self.directory, base_offset));
        if let Err(error) = prepared {
            self.exchange(&new, before);
            before.iter().for_each(|old| old.unpin());
            return Err(error.into());
        }
        self.changed.store(true, Ordering::Release);
        let later: Vec<i64> = before[1..].iter().map(|it| it.base_offset).collect();
        let swapped = give_name(steps, &self.directory, base_offset, &later);
        if swapped.is_err() {
            // Memory and files may say different things.
            let _ = self.usability.compare_exchange(
                USABLE,
                CHANGE_FAILED,
                Ordering::AcqRel,
                Ordering::Acquire,
            );
        }
        swapped?;
        new[0].unpin();
        Ok(())
    }

    /// What is compacted lies before the last stable offset, so each transaction that was open where the segment begins has
    /// ended since, and its marker may be about to go: whoever counts from the snapshot there would never see it end. Where the
    /// marker stays nothing is missing, for what it aborts before the segment is gone, and what comes after begins it anew.
    fn end_transactions_in_snapshot(&self, base_offset: i64) -> Result<(), StorageError> {
        let path = offset_file(&self.directory, base_offset, SNAPSHOT_SUFFIX);
        let bytes = match read_small(&path) {
            Ok(Some(bytes)) => bytes,
            Ok(None) => return Ok(()),
            // Whoever needs it counts from an older one.
            Err(error) if error.is_of_disk() => return remove_if_exists(&path),
            Err(error) => return Err(error),
        };
        match producer_snapshot::without_transactions(&bytes) {
            Some(without) => atomic_file::replace(&path, &without),
            None => Ok(()),
        }
    }

    /// Readers find these instead of those.
    fn exchange(&self, old: &[Arc<Segment>], new: &[Arc<Segment>]) {
        let mut segments = self.segments.write();
        for segment in old {
            segments.remove(&segment.base_offset);
        }
        for segment in new {
            segments.insert(segment.base_offset, Arc::clone(segment));
        }
    }

    /// After everything up to `offset` was replaced.
    pub(crate) fn set_compacted_offset(
        &self,
        closed: &ClosedSegments,
        offset: i64,
    ) -> Result<(), CompactionError> {
        let unchanged = || {
            let flushing = self.flushing.lock();
            match self.is_unchanged(closed) {
                true => Ok(flushing),
                false => Err(CompactionError::Disturbed),
            }
        };
        let snapshots = {
            let _flushing = unchanged()?;
            list_snapshots(&self.directory)?
        };
        // Also of segments that stayed as they were. Who waits for a flush waits for one of them.
        for at in snapshots.into_iter().filter(|at| *at < offset) {
            let _flushing = unchanged()?;
            self.end_transactions_in_snapshot(at)?;
        }
        let _flushing = unchanged()?;
        self.compacted_offset.fetch_max(offset, Ordering::AcqRel);
        Ok(())
    }
}

impl ClosedSegments {
    /// Those that hold `offset` or what comes behind it.
    pub(crate) fn since(&self, offset: i64) -> impl Iterator<Item = &Arc<Segment>> {
        let after = self
            .segments
            .partition_point(|segment| segment.base_offset <= offset);
        self.segments[after.saturating_sub(1)..].iter()
    }
}

/// Nobody else finds these any more; who has found them reads on when their names are gone.
fn pin_held(old: &[Arc<Segment>]) -> Result<(), StorageError> {
    let held = |segment: &&Arc<Segment>| Arc::strong_count(segment) > HELD_BY_PASS;
    old.iter()
        .filter(held)
        .try_for_each(|segment| segment.pin())
}
