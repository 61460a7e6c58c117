//! Making the log shorter from the front (retention, DeleteRecords), and deleting the whole.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::{CLOSED, DELETED, PartitionLog};
use crate::atomic_file::flush_directory;
use crate::burial_mark::BurialMark;
use crate::config::LogConfig;
use crate::error::{ReadError, StorageContext, StorageError, unless_short};
use crate::segment::Segment;

impl PartitionLog {
    /// Removes old segments by `retention.ms` and `retention.bytes` (where `cleanup.policy` has
    /// `delete`) and those before the log's start, and forgets producers that were silent for
    /// `producer.id.expiration.ms`. Never removes what is not below the high watermark. To be called
    /// from time to time. Returns how many segments went.
    ///
    /// # Errors
    /// [`StorageError`].
    pub fn apply_retention(&self, now_ms: i64) -> Result<usize, StorageError> {
        // A flush must not find files gone that it is about to flush.
        let _flushing = self.flushing.lock();
        let mut writer = self.writer.lock();
        if self.check_usable().is_err() {
            return Ok(0);
        }
        let config = self.config();
        let expiration_ms = config.producer_id_expiration_ms;
        writer.producers.expire(now_ms, expiration_ms);
        writer.verifications.expire(now_ms, expiration_ms);
        let mut expired = self.expired_segments(&config, now_ms)?;
        let count = expired.len();
        let everything = count > 0 && count == self.segment_count();
        if everything && let Err(error) = self.roll(&mut writer, now_ms) {
            // A full disk may have room for it when the others are gone.
            let others: Vec<_> = expired.drain(..count - 1).collect();
            if others.is_empty() {
                return Err(error);
            }
            self.remove_segments(&others)?;
            self.roll(&mut writer, now_ms)?;
        }
        // What is left is file work that nobody who appends need wait for.
        drop(writer);
        if everything {
            // The end of the log must stay known: without any segment the offsets would begin again.
            flush_directory(&self.directory)?;
        }
        self.remove_segments(&expired)?;
        Ok(count)
    }

    /// Moves the start of the log to `offset` (DeleteRecords). Returns the start as it is now. A crash may move it
    /// back until [`crate::LogDirectory::checkpoint_log_starts`]; whole segments go with [`Self::apply_retention`].
    ///
    /// # Errors
    /// [`ReadError::OffsetOutOfRange`] for an offset above the high watermark.
    pub fn advance_log_start_offset(&self, offset: i64) -> Result<i64, ReadError> {
        let _writer = self.writer.lock();
        self.check_readable()?;
        let (start, end) = (self.log_start_offset(), self.high_watermark());
        if offset > end || offset < 0 {
            return Err(ReadError::OffsetOutOfRange { offset, start, end });
        }
        self.set_log_start_offset(offset);
        Ok(self.log_start_offset())
    }

    /// Where the log starts at least, whatever crashes: what a replica may promise of what was deleted.
    #[must_use]
    pub fn durable_log_start_offset(&self) -> i64 {
        self.durable_log_start_offset.load(Ordering::Acquire)
    }

    /// The checkpoint, or the files, say that the log starts at `offset` or behind.
    pub(crate) fn log_start_is_durable(&self, offset: i64) {
        self.durable_log_start_offset
            .fetch_max(offset, Ordering::AcqRel);
    }

    /// Closes and flushes it for a time out of service; what it is to be opened with. Where a clean close finds no room,
    /// the records themselves are flushed, and the opening recovers the rest.
    ///
    /// # Errors
    /// [`StorageError`]; nothing is in doubt where that is a [shortage](StorageError::is_shortage).
    pub(crate) fn close_for_burial(&self) -> Result<BurialMark, StorageError> {
        if self.has_failed_flush() {
            return Err(self.failed_before("flush"));
        }
        let _short = unless_short(self.close())?;
        let flushed = unless_short(self.flush_closed_log())?;
        if flushed.is_err() {
            self.flush_closed_log()?;
        }
        Ok(BurialMark {
            is_clean: self.usability.load(Ordering::Acquire) == CLOSED,
            checked_offset: self.checked_offset(),
            recovery_point: self.flushed_offset(),
            log_start_offset: self.log_start_offset(),
            high_watermark: self.high_watermark().min(self.log_end_offset()),
            compacted_offset: self.compacted_offset(),
            grace_ends_at_ms: i64::MAX,
        })
    }

    /// From now on it is neither read nor written, and nobody is at work in its directory.
    pub(crate) fn retire(&self) {
        let _flushing = self.flushing.lock();
        let _writer = self.writer.lock();
        self.usability.store(DELETED, Ordering::Release);
    }

    /// The oldest segments, as far as none of them is to be kept.
    pub(super) fn expired_segments(
        &self,
        config: &LogConfig,
        now_ms: i64,
    ) -> Result<Vec<Arc<Segment>>, StorageError> {
        let mut segments: Vec<_> = self.segments.read().values().cloned().collect();
        let mut excess = match config.retention_bytes.filter(|_| config.cleanup_delete) {
            Some(max) => self.size_bytes().saturating_sub(max),
            None => 0,
        };
        let mut expired = 0;
        for (n, segment) in segments.iter().enumerate() {
            let end = segments
                .get(n + 1)
                .map_or(self.log_end_offset(), |next| next.base_offset);
            if segment.size() == 0 || end > self.high_watermark() {
                break;
            }
            let is_last = n + 1 == segments.len();
            let before_start = end <= self.log_start_offset() && !is_last;
            let too_old = match config.retention_ms.filter(|_| config.cleanup_delete) {
                Some(retention_ms) => {
                    let is_old = |newest_ms| now_ms.saturating_sub(newest_ms) > retention_ms;
                    is_old(self.newest_ms(segment, now_ms)?)
                        && self.newest_ms_by_batches(segment)?.is_none_or(is_old)
                }
                None => false,
            };
            let too_much = excess > 0 && excess >= segment.size();
            if !(before_start || too_old || too_much) {
                break;
            }
            excess = excess.saturating_sub(segment.size());
            expired = n + 1;
        }
        segments.truncate(expired);
        Ok(segments)
    }

    /// The greatest timestamp, or when the file was last written where records have none.
    pub(super) fn newest_ms(&self, segment: &Segment, now_ms: i64) -> Result<i64, StorageError> {
        if let Some(max) = segment.max_timestamp()? {
            return Ok(max.timestamp_ms);
        }
        let modified = fs::metadata(segment.path()).and_then(|file| file.modified());
        let modified = modified.at("read", segment.path())?;
        let since = modified.duration_since(std::time::UNIX_EPOCH).ok();
        Ok(since
            .and_then(|since| i64::try_from(since.as_millis()).ok())
            .unwrap_or(now_ms))
    }

    /// Asked before records go for their age, because an index is a hint. `None` where the index is right
    /// or the batches do not tell.
    fn newest_ms_by_batches(&self, segment: &Segment) -> Result<Option<i64>, StorageError> {
        let Some(max) = segment.max_timestamp()? else {
            return Ok(None);
        };
        if let Ok(Some(batch)) = segment.find(max.offset)
            && batch.header.last_offset() == max.offset
            && batch.header.max_timestamp == max.timestamp_ms
        {
            return Ok(None);
        }
        tracing::warn!(
            file = %segment.path().display(),
            timestamp_ms = max.timestamp_ms,
            offset = max.offset,
            "the time index is wrong; the batches are asked"
        );
        let mut newest_ms = None;
        let mut scanner = segment.scan(0, segment.base_offset)?;
        while let Ok(Some(batch)) = scanner.next() {
            if batch.header.record_count > 0 {
                newest_ms = newest_ms.max(Some(batch.header.max_timestamp));
            }
        }
        Ok(newest_ms)
    }

    /// The lock for flushing is held.
    pub(super) fn remove_segments(&self, expired: &[Arc<Segment>]) -> Result<(), StorageError> {
        if expired.is_empty() {
            return Ok(());
        }
        {
            let mut segments = self.segments.write();
            for segment in expired {
                segments.remove(&segment.base_offset);
            }
        }
        // Readers learn of the new start before files go.
        self.set_log_start_offset(self.first_segment().base_offset);
        self.changed.store(true, Ordering::Release);
        self.directory_changed.store(true, Ordering::Release);
        expired
            .iter()
            .try_for_each(|segment| segment.remove_files())
    }

    pub(super) fn set_log_start_offset(&self, offset: i64) {
        let before = self.log_start_offset.fetch_max(offset, Ordering::AcqRel);
        self.changed.fetch_or(before < offset, Ordering::AcqRel);
        if before < offset && self.epochs.write().truncate_from_start(offset) {
            self.epochs_changed.store(true, Ordering::Release);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::partition_log::new_log::new_log;

    #[test]
    fn retention_that_waits_for_a_flush_holds_up_no_append() {
        let data = tempfile::tempdir().unwrap();
        let log = new_log(data.path());
        let flushing = log.flushing.lock();
        std::thread::scope(|scope| {
            let retention = scope.spawn(|| log.apply_retention(1));
            // Long enough for it to have taken what it takes.
            std::thread::park_timeout(Duration::from_millis(100));
            let append = log.writer.try_lock_for(Duration::from_secs(5));
            assert!(append.is_some() && !retention.is_finished());
            drop((append, flushing));
            retention.join().unwrap().unwrap();
        });
    }
}
