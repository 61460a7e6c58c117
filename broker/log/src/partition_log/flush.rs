//! Making the log durable, now and then or for good.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use foz_canary::{Canary, sings};

use super::{CHANGE_FAILED, CLOSED, DELETED, FLUSH_FAILED, PartitionLog, Writer};
use crate::atomic_file::{flush_directory, flush_file};
use crate::error::StorageError;
use crate::partition_metadata::PARTITION_METADATA_FILE;

impl PartitionLog {
    /// Makes everything that was appended before this call durable, and returns the offset up to
    /// which that is. Blocks; calls at the same time wait for each other and share work.
    ///
    /// # Errors
    /// [`StorageError`]: the log takes no more writes and flushes from then on. What the kernel has
    /// dropped cannot be flushed again, so the process must stop and recover.
    pub fn flush(&self) -> Result<i64, StorageError> {
        let wanted = self.log_end_offset();
        let done =
            || self.flushed_offset() >= wanted && !self.directory_changed.load(Ordering::Acquire);
        if done() {
            return Ok(self.flushed_offset());
        }
        let _flushing = self.flushing.lock();
        let failed_before = |what: &str| {
            Err(StorageError {
                action: "flush",
                path: self.directory.clone(),
                source: io::Error::other(format!(
                    "an earlier {what} failed and is not tried again"
                )),
            })
        };
        match self.usability.load(Ordering::Acquire) {
            FLUSH_FAILED => return failed_before("flush"),
            CHANGE_FAILED => return failed_before("truncation or reset"),
            DELETED => return Ok(self.flushed_offset()),
            _ => {}
        }
        // The flush that this one waited for may have taken it along.
        if done() {
            return Ok(self.flushed_offset());
        }
        self.flush_all()
    }

    /// The lock for flushing is held.
    fn flush_all(&self) -> Result<i64, StorageError> {
        let end = self.log_end_offset();
        match self.flush_files() {
            Ok(()) => {
                self.flushed_offset.fetch_max(end, Ordering::AcqRel);
                Ok(self.flushed_offset())
            }
            Err(_) if sings(Canary::FailedFlushIgnored) => Ok(self
                .flushed_offset
                .fetch_max(end, Ordering::AcqRel)
                .max(end)),
            Err(error) => {
                self.usability.store(FLUSH_FAILED, Ordering::Release);
                Err(error)
            }
        }
    }

    /// Leaves the files as a clean stop should: trimmed, flushed, with a producer snapshot at the
    /// end. Nothing can be appended afterwards; reading goes on.
    pub(crate) fn close_cleanly(&self) -> Result<(), StorageError> {
        let _flushing = self.flushing.lock();
        let mut writer = self.writer.lock();
        if self.check_usable().is_err() {
            return Ok(());
        }
        if self.changed.load(Ordering::Acquire) {
            // What failed may have been a flush: it must not be tried again and then succeed.
            self.close_files(&mut writer)
                .inspect_err(|_| self.usability.store(FLUSH_FAILED, Ordering::Release))?;
        }
        self.usability.store(CLOSED, Ordering::Release);
        Ok(())
    }

    fn close_files(&self, writer: &mut Writer) -> Result<(), StorageError> {
        writer.active.seal()?;
        if let Some(snapshot) = self.write_snapshot(writer)? {
            flush_file(&snapshot)?;
        }
        writer.active.segment.flush()?;
        writer.active.segment.flush_indexes()?;
        self.write_changed_epochs()?;
        self.directory_changed.store(true, Ordering::Release);
        self.flush_all().map(|_| ())
    }

    fn write_changed_epochs(&self) -> Result<(), StorageError> {
        if !self.epochs_changed.swap(false, Ordering::AcqRel) {
            return Ok(());
        }
        let epochs = self.epochs.read().clone();
        epochs.write(&self.directory).inspect_err(|_| {
            self.epochs_changed.store(true, Ordering::Release);
        })
    }

    fn flush_files(&self) -> Result<(), StorageError> {
        let flushed = self.flushed_offset();
        let segments: Vec<_> = {
            let segments = self.segments.read();
            let floor = segments
                .range(..flushed.max(1))
                .next_back()
                .map_or(i64::MIN, |(base, _)| *base);
            segments
                .range(floor..)
                .map(|(_, segment)| Arc::clone(segment))
                .collect()
        };
        // Before the files, so that a change during the flush is flushed by the next one.
        let directory_changed = self.directory_changed.swap(false, Ordering::AcqRel);
        let parent_changed = self.parent_changed.swap(false, Ordering::AcqRel);
        for (n, segment) in segments.iter().enumerate() {
            segment.flush()?;
            if n + 1 < segments.len() {
                segment.flush_indexes()?;
            }
        }
        if segments.len() > 1 {
            // Recovery finds the epochs of the last segment in its batches, but not older ones.
            self.write_changed_epochs()?;
        }
        if parent_changed {
            flush_file(&self.directory.join(PARTITION_METADATA_FILE))?;
        }
        if directory_changed {
            flush_directory(&self.directory)?;
        }
        if parent_changed && let Some(parent) = self.directory.parent() {
            flush_directory(parent)?;
        }
        Ok(())
    }
}
