//! Cutting off the end of logs, and beginning them anew, so that no checkpoint claims more than the files hold.

use std::path::PathBuf;
use std::time::Duration;

use parking_lot::MutexGuard;

use super::{Checkpoints, LogDirectory};
use crate::checkpoint::Offsets;
use crate::error::{OpenError, StorageError};
use crate::names::TopicPartition;
use crate::partition_log::{Change, Cut, PartitionLog};

/// So long all checkpoints of the directory wait at once for the flush of one log. Who waits for that flush is before the next
/// one of that log: the lock is given on in turn once it was held for longer than a millisecond.
const PATIENCE: Duration = Duration::from_millis(100);

impl LogDirectory {
    /// Cuts off everything of `log` from `offset` on; a batch that holds `offset` goes as a whole.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn truncate(&self, log: &PartitionLog, offset: i64, now_ms: i64) -> Result<(), OpenError> {
        let (mut written, change) = self.change(log)?;
        match change.cut_at(offset)? {
            Some(cut) => self.cut_off(&mut written, log, change, cut, now_ms),
            None => {
                change.forget_leaders_without_records();
                Ok(())
            }
        }
    }

    /// Everything in `log` goes: it begins anew, empty, at `offset`, which may be any (Kafka's
    /// `truncateFullyAndStartAt`). A crash leaves the log as it was or the new one.
    ///
    /// # Errors
    /// [`OpenError`]; unless it is [`OpenError::Unusable`] the log has stopped.
    pub fn reset(&self, log: &PartitionLog, offset: i64, now_ms: i64) -> Result<(), OpenError> {
        let (mut written, change) = self.change(log)?;
        change.reset(offset.max(0), now_ms, || {
            self.write_checkpoints(&mut written, None)
        })
    }

    /// Cuts off everything of `log` from `from_offset` on, or from an earlier damaged batch of the same
    /// segment on, so that it can be fetched again from another replica. Copies of the segments that are
    /// cut or go are kept with the suffix `.quarantined`: these are returned, none where the log ends before
    /// `from_offset`. A batch that the disk does not give is damaged, and is left out of the copy.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn quarantine(
        &self,
        log: &PartitionLog,
        from_offset: i64,
        now_ms: i64,
    ) -> Result<Vec<PathBuf>, OpenError> {
        let (mut written, change) = self.change(log)?;
        let Some(cut) = change.cut_at_damage(from_offset)? else {
            return Ok(Vec::new());
        };
        let kept = change.keep_copies(&cut)?;
        self.cut_off(&mut written, log, change, cut, now_ms)?;
        Ok(kept)
    }

    /// Nobody else writes checkpoints meanwhile.
    fn change<'a>(
        &self,
        log: &'a PartitionLog,
    ) -> Result<(MutexGuard<'_, Checkpoints>, Change<'a>), OpenError> {
        loop {
            // Before the log's own locks, as everybody does.
            let written = self.written.lock();
            if let Some(change) = log.change_within(PATIENCE)? {
                return Ok((written, change));
            }
        }
    }

    fn cut_off(
        &self,
        written: &mut Checkpoints,
        log: &PartitionLog,
        change: Change<'_>,
        cut: Cut,
        now_ms: i64,
    ) -> Result<(), OpenError> {
        let start = log.log_start_offset();
        if cut.end_offset < start {
            // The log starts within the first batch that goes, so nothing is left.
            return change.reset(start, now_ms, || self.write_checkpoints(written, None));
        }
        self.lower_checkpoints(written, log.partition(), cut.end_offset)?;
        change.cut_off(cut, now_ms)
    }

    /// Before anything is cut off: what says that it was flushed must not outlive it, or a crash in
    /// between would look like a loss.
    fn lower_checkpoints(
        &self,
        written: &mut Checkpoints,
        partition: &TopicPartition,
        end_offset: i64,
    ) -> Result<(), StorageError> {
        let is_above = |offsets: &Offsets| offsets.get(partition).is_some_and(|o| *o > end_offset);
        if is_above(&written.recovery_points)
            || is_above(&written.high_watermarks)
            || is_above(&written.compacted_offsets)
        {
            self.write_checkpoints(written, Some((partition, end_offset)))?;
        }
        Ok(())
    }
}
