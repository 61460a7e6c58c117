//! Making the log shorter: retention and DeleteRecords from the front, truncation from the end,
//! deletion of the whole.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use uuid::Uuid;

use super::{DELETED, PartitionLog, Writer};
use crate::active_segment::ActiveSegment;
use crate::atomic_file::{flush_directory, remove_if_exists};
use crate::error::{OpenError, ReadError, StorageContext, StorageError};
use crate::names::{SNAPSHOT_SUFFIX, delete_directory_name, offset_file};
use crate::recovery::{Indexes, list_snapshots, newest_snapshot};
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
        let config = self.config();
        let mut writer = self.writer.lock();
        if self.check_usable().is_err() {
            return Ok(0);
        }
        writer
            .producers
            .expire(now_ms, config.producer_id_expiration_ms);

        let segments: Vec<_> = self.segments.read().values().cloned().collect();
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
                    let age = now_ms.saturating_sub(self.newest_ms(segment, now_ms)?);
                    age > retention_ms
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
        if expired == segments.len() && expired > 0 {
            // The end of the log must stay known, so an empty segment takes over.
            self.roll(&mut writer, now_ms)?;
            // Before the old ones go: without any segment the offsets would begin again.
            flush_directory(&self.directory)?;
        }
        self.remove_segments(&segments[..expired])?;
        Ok(expired)
    }

    /// Moves the start of the log to `offset` (DeleteRecords). Returns the start as it is now.
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

    /// Cuts off everything from `offset` on; a batch that holds `offset` goes as a whole. The
    /// recovery point on disk must not be above `offset` when a crash comes, so use
    /// [`crate::LogDirectory::truncate`].
    ///
    /// # Errors
    /// [`OpenError`].
    pub(crate) fn truncate_to(&self, offset: i64, now_ms: i64) -> Result<(), OpenError> {
        let mut writer = self.writer.lock();
        let _flushing = self.flushing.lock();
        if offset >= self.log_end_offset() {
            return Ok(());
        }
        let offset = offset.max(self.log_start_offset());
        let kept = self
            .segment_of(offset)
            .unwrap_or_else(|| self.first_segment());
        let malformed = |error: ReadError| OpenError::Malformed {
            file: kept.path().to_path_buf(),
            reason: error.to_string(),
        };
        let cut = kept.find(offset).map_err(malformed)?;
        let (position, end) = match cut {
            Some(batch) => (batch.position, batch.header.base_offset.min(offset)),
            None => (kept.size(), offset),
        };
        // Readers first: what they may see ends before files change.
        self.high_watermark.fetch_min(end, Ordering::AcqRel);
        self.log_end_offset.store(end, Ordering::Release);
        self.flushed_offset.fetch_min(end, Ordering::AcqRel);
        let later = self.segments.write().split_off(&(kept.base_offset + 1));
        for segment in later.values() {
            segment.remove_files()?;
        }
        kept.forget_read_ends();
        kept.set_size(position);
        kept.trim()?;
        for at in list_snapshots(&self.directory)?
            .into_iter()
            .filter(|at| *at > end)
        {
            remove_if_exists(&offset_file(&self.directory, at, SNAPSHOT_SUFFIX))?;
        }
        if self.epochs.write().truncate_from_end(end) {
            self.epochs_changed.store(true, Ordering::Release);
        }
        self.changed.store(true, Ordering::Release);
        self.directory_changed.store(true, Ordering::Release);
        self.resume_writer(&mut writer, kept, end, now_ms)
    }

    /// Takes the partition away: from then on it is neither read nor written, and its files go. A
    /// crash in between leaves a directory that the next start removes.
    ///
    /// # Errors
    /// [`StorageError`].
    pub(crate) fn delete(&self, unique: Uuid) -> Result<(), StorageError> {
        let _writer = self.writer.lock();
        let _flushing = self.flushing.lock();
        self.usability.store(DELETED, Ordering::Release);
        let parent = self.directory.parent().unwrap_or(std::path::Path::new("."));
        let doomed = parent.join(delete_directory_name(&self.partition, unique));
        fs::rename(&self.directory, &doomed).at("rename", &self.directory)?;
        flush_directory(parent)?;
        fs::remove_dir_all(&doomed).at("remove", &doomed)
    }

    /// Rebuilds what the writer knows from the log as it is now.
    fn resume_writer(
        &self,
        writer: &mut Writer,
        segment: Arc<Segment>,
        end_offset: i64,
        now_ms: i64,
    ) -> Result<(), OpenError> {
        let snapshots = list_snapshots(&self.directory)?.into_iter();
        let mut findings = Vec::new();
        let found = newest_snapshot(&self.directory, snapshots, end_offset, &mut findings)?;
        let (from, mut producers) = found.unwrap_or_default();
        let interval_bytes = self.config().index_interval_bytes;
        let mut indexes = Indexes::default();
        for walked in self.segments_from(from) {
            let is_active = walked.base_offset == segment.base_offset;
            let mut scanner = walked.scan(0)?;
            loop {
                let next = scanner.next().map_err(|error| OpenError::Malformed {
                    file: walked.path().to_path_buf(),
                    reason: error.to_string(),
                });
                let Some(batch) = next? else { break };
                if batch.header.base_offset >= from {
                    producers.record(&batch.header);
                }
                if is_active {
                    indexes.add(&batch.header, batch.position, interval_bytes);
                }
            }
        }
        indexes.store(&segment, true)?;
        let first = segment
            .first_batch()
            .map_err(|error| OpenError::Malformed {
                file: segment.path().to_path_buf(),
                reason: error.to_string(),
            })?;
        let allocated = segment.size();
        writer.producers = producers;
        writer.active =
            ActiveSegment::new(segment, indexes.builder, first.as_ref(), now_ms, allocated);
        Ok(())
    }

    /// The greatest timestamp, or when the file was last written where records have none.
    fn newest_ms(&self, segment: &Segment, now_ms: i64) -> Result<i64, StorageError> {
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

    fn remove_segments(&self, expired: &[Arc<Segment>]) -> Result<(), StorageError> {
        if expired.is_empty() {
            return Ok(());
        }
        // A flush must not find files gone that it is about to flush.
        let _flushing = self.flushing.lock();
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

    fn set_log_start_offset(&self, offset: i64) {
        let before = self.log_start_offset.fetch_max(offset, Ordering::AcqRel);
        self.changed.fetch_or(before < offset, Ordering::AcqRel);
        if before < offset && self.epochs.write().truncate_from_start(offset) {
            self.epochs_changed.store(true, Ordering::Release);
        }
    }
}
