//! Making the log durable, now and then or for good.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use foz_canary::{Canary, sings};

use super::{CHANGE_FAILED, CLOSED, CLOSED_SHORT, DELETED, FLUSH_FAILED, PartitionLog};
use crate::disk_operations::DiskOperation;
use crate::error::StorageError;
use crate::names::{SNAPSHOT_SUFFIX, offset_file};
use crate::partition_metadata::PARTITION_METADATA_FILE;
use crate::segment::Segment;

impl PartitionLog {
    /// Makes everything that was appended before this call durable, and returns the offset up to
    /// which that is. Blocks; calls at the same time wait for each other and share work.
    ///
    /// # Errors
    /// [`StorageError`]: the log takes no more writes and flushes from then on. What the kernel has
    /// dropped cannot be flushed again, so the next process must recover it. But for [what goes by](StorageError::is_passing):
    /// nothing is in doubt then, and the flush is to be tried again.
    pub fn flush(&self) -> Result<i64, StorageError> {
        let wanted = self.log_end_offset();
        let done =
            || self.flushed_offset() >= wanted && !self.directory_changed.load(Ordering::Acquire);
        self.flush_unless(done, Self::flush_all)
    }

    /// Makes the segments durable that nothing is appended to any more, and with them what the next
    /// recovery needs to begin behind them; and all that the opening after a kill has found and not flushed. One segment after
    /// the other: what is done counts at once, and who wants to change the log waits for one. Returns the offset up to which
    /// the log is durable. Blocks.
    ///
    /// # Errors
    /// As [`Self::flush`].
    pub fn flush_backlog(&self) -> Result<i64, StorageError> {
        // Of what is appended and closed meanwhile somebody else tells.
        let opened_end = self.opened_end_offset.load(Ordering::Acquire);
        let wanted = self.active_base_offset().max(opened_end);
        let done = || self.flushed_offset() >= wanted || !self.has_backlog();
        loop {
            let flushed = self.flush_unless(done, Self::flush_next_segment)?;
            if done() || self.is_deleted() {
                return Ok(flushed);
            }
        }
    }

    /// Has the kernel begin to write what was appended last, without waiting for it. Called every second, it leaves little to
    /// write for a stop, and for a flush of everything that the kernel decides on by itself.
    pub fn begin_writeback(&self) {
        let segments = self.segments.read();
        let last = segments.last_key_value().map(|(_, it)| Arc::clone(it));
        drop(segments);
        if let Some(last) = last {
            last.begin_writeback();
        }
    }

    /// There is something for [`Self::flush_backlog`] to do: closed segments, or what an opening has left.
    #[must_use]
    pub fn has_backlog(&self) -> bool {
        let flushed = self.flushed_offset();
        flushed < self.active_base_offset() || self.is_opening_unflushed(flushed)
    }

    /// What the opening found is not all flushed yet.
    fn is_opening_unflushed(&self, flushed_offset: i64) -> bool {
        flushed_offset < self.opened_end_offset.load(Ordering::Acquire)
    }

    /// Where the segment begins that is appended to.
    fn active_base_offset(&self) -> i64 {
        let segments = self.segments.read();
        let (base_offset, _) = segments.last_key_value().expect("a log has a segment");
        *base_offset
    }

    fn flush_unless(
        &self,
        done: impl Fn() -> bool,
        flush: impl FnOnce(&Self) -> Result<i64, StorageError>,
    ) -> Result<i64, StorageError> {
        if done() {
            return Ok(self.flushed_offset());
        }
        let _flushing = self.flushing.lock();
        match self.usability.load(Ordering::Acquire) {
            FLUSH_FAILED => return Err(self.failed_before("flush")),
            CHANGE_FAILED => {
                return Err(self.failed_before("truncation, reset or compaction"));
            }
            DELETED => return Ok(self.flushed_offset()),
            _ => {}
        }
        // The flush that this one waited for may have taken it along.
        if done() {
            return Ok(self.flushed_offset());
        }
        flush(self)
    }

    pub(super) fn failed_before(&self, what: &str) -> StorageError {
        StorageError {
            action: "flush",
            path: self.directory.clone(),
            source: io::Error::other(format!("an earlier {what} failed and is not tried again")),
        }
    }

    /// The lock for flushing is held.
    fn flush_all(&self) -> Result<i64, StorageError> {
        // What producers wait for. Closed segments take as long as they are large.
        let _under_way = self.handles.operations().begin(DiskOperation::Flush);
        let end = self.log_end_offset();
        self.flush_up_to(end, i64::MAX)
    }

    /// The lock for flushing is held. The segment with the first record that is not flushed; the last one whole, as far as it is
    /// written.
    fn flush_next_segment(&self) -> Result<i64, StorageError> {
        let flushed = self.flushed_offset();
        let segments = self.segments.read();
        let next = segments.range(flushed + 1..).next().map(|(base, _)| *base);
        drop(segments);
        match next {
            Some(next) => self.flush_up_to(next, next),
            None => self.flush_up_to(self.log_end_offset(), i64::MAX),
        }
    }

    /// Flushes the segments that begin before `before`, whose records end at `end`.
    fn flush_up_to(&self, end: i64, before: i64) -> Result<i64, StorageError> {
        match self.flush_files(before) {
            Ok(()) => {
                self.flushed_offset.fetch_max(end, Ordering::AcqRel);
                Ok(self.flushed_offset())
            }
            Err(_) if sings(Canary::FailedFlushIgnored) => Ok(self
                .flushed_offset
                .fetch_max(end, Ordering::AcqRel)
                .max(end)),
            // What is in the log is not in doubt: something small beside it could not be written, or nothing be opened.
            Err(error) if error.is_passing() => Err(error),
            Err(error) => {
                self.usability.store(FLUSH_FAILED, Ordering::Release);
                Err(error)
            }
        }
    }

    /// Takes no more appends, and leaves the files as a clean stop should: trimmed, with a producer snapshot at the end.
    /// Reading goes on. Nothing of it is durable before [`Self::flush_closed_log`].
    pub(crate) fn close(&self) -> Result<(), StorageError> {
        let _flushing = self.flushing.lock();
        let mut writer = self.writer.lock();
        if self.check_usable().is_err() {
            return Ok(());
        }
        if self.has_changed() {
            writer
                .active
                .seal()
                .and_then(|()| self.write_snapshot(&writer))
                .inspect_err(|error| self.closing_failed(error))?;
        }
        self.usability.store(CLOSED, Ordering::Release);
        Ok(())
    }

    /// After [`Self::close`]: what a clean stop counts on is durable.
    pub(crate) fn flush_closed_log(&self) -> Result<(), StorageError> {
        let _flushing = self.flushing.lock();
        match self.usability.load(Ordering::Acquire) {
            CLOSED if self.has_changed() => {}
            // The records themselves are made durable all the same.
            CLOSED_SHORT => return self.flush_all().map(|_| ()),
            _ => return Ok(()),
        }
        // What failed may have been a flush: it must not be tried again and then succeed.
        self.flush_last_segment()
            .inspect_err(|error| self.closing_failed(error))
    }

    fn closing_failed(&self, error: &StorageError) {
        let usability = match error.is_passing() {
            true => CLOSED_SHORT,
            false => FLUSH_FAILED,
        };
        self.usability.store(usability, Ordering::Release);
    }

    /// Not only what [`Self::flush_files`] makes durable.
    fn flush_last_segment(&self) -> Result<(), StorageError> {
        self.flush_snapshot(self.log_end_offset())?;
        let last = self
            .segments
            .read()
            .last_key_value()
            .map(|(_, it)| Arc::clone(it));
        last.expect("a log has a segment").flush_indexes()?;
        self.write_changed_epochs()?;
        self.directory_changed.store(true, Ordering::Release);
        self.flush_all().map(|_| ())
    }

    /// Whether there were any. The directory is to be flushed then.
    pub(super) fn write_changed_epochs(&self) -> Result<bool, StorageError> {
        if !self.epochs_changed.swap(false, Ordering::AcqRel) {
            return Ok(false);
        }
        let epochs = self.epochs.read().clone();
        epochs.write(&self.directory).inspect_err(|_| {
            self.epochs_changed.store(true, Ordering::Release);
        })?;
        Ok(true)
    }

    fn flush_files(&self, before: i64) -> Result<(), StorageError> {
        let flushed = self.flushed_offset();
        let (segments, active_base_offset): (Vec<_>, i64) = {
            let segments = self.segments.read();
            let floor = segments
                .range(..flushed.max(1))
                .next_back()
                .map_or(i64::MIN, |(base, _)| *base);
            let active = segments.last_key_value().map_or(0, |(base, _)| *base);
            let unflushed = segments.range(floor..).map(|(_, it)| Arc::clone(it));
            let unflushed = unflushed.filter(|it| it.base_offset < before);
            (unflushed.collect(), active)
        };
        // Before the files, so that a change during the flush is flushed by the next one.
        let directory_changed = self.directory_changed.swap(false, Ordering::AcqRel);
        let parent_changed = self.parent_changed.swap(false, Ordering::AcqRel);
        let changed = (directory_changed, parent_changed);
        self.flush_each(&segments, active_base_offset, changed)
            .inspect_err(|_| {
                // The epochs may have been written anew by then.
                self.directory_changed.store(true, Ordering::Release);
                self.parent_changed
                    .fetch_or(parent_changed, Ordering::AcqRel);
            })
    }

    fn flush_each(
        &self,
        segments: &[Arc<Segment>],
        active_base_offset: i64,
        (mut directory_changed, parent_changed): (bool, bool),
    ) -> Result<(), StorageError> {
        let mut has_closed = false;
        for segment in segments {
            segment.flush()?;
            if segment.base_offset < active_base_offset {
                has_closed = true;
                segment.flush_indexes()?;
                self.flush_snapshot(segment.base_offset)?;
            }
        }
        if has_closed {
            self.flush_snapshot(active_base_offset)?;
            // Recovery finds the epochs of the last segment in its batches, but not older ones.
            directory_changed |= self.write_changed_epochs()?;
        }
        if parent_changed {
            self.handles
                .flush_file(&self.directory.join(PARTITION_METADATA_FILE))?;
        }
        if directory_changed {
            self.handles.flush_directory(&self.directory)?;
        }
        if parent_changed && let Some(parent) = self.directory.parent() {
            self.handles.flush_directory(parent)?;
        }
        Ok(())
    }

    /// Recovery goes back to the newest one that is whole. There is none where the log begins.
    fn flush_snapshot(&self, offset: i64) -> Result<(), StorageError> {
        let snapshot = offset_file(&self.directory, offset, SNAPSHOT_SUFFIX);
        match self.handles.flush_file(&snapshot) {
            Err(error) if error.source.kind() == io::ErrorKind::NotFound => Ok(()),
            flushed => flushed,
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::recovery::{OpenState, PageCache};
    use crate::{FileHandles, TopicPartition};

    /// The process before may have made the files, and the directory, right before it was killed.
    #[test]
    fn what_a_kill_left_is_flushed_with_its_names() {
        let data = tempfile::tempdir().unwrap();
        let handles = FileHandles::new(4);
        let orders = || TopicPartition::new("orders", 0);
        let config = || Arc::default();
        let created =
            PartitionLog::create(data.path(), orders(), Uuid::nil(), config(), &handles, 0);
        let directory = created.unwrap().directory().to_path_buf();
        let first = offset_file(&directory, 0, crate::names::LOG_SUFFIX);
        for (records, recovery_point, is_due) in [
            (0, 0, [false; 3]),
            (2, 0, [true; 3]),
            (2, 1, [true, false, false]),
            (2, 2, [false; 3]),
        ] {
            std::fs::write(&first, batches(records)).unwrap();
            let state = OpenState {
                page_cache: PageCache::Survived,
                recovery_point,
                ..OpenState::default()
            };
            let opened = PartitionLog::open(
                &directory,
                orders(),
                Uuid::nil(),
                config(),
                &handles,
                state,
                0,
            );
            let (log, _) = opened.unwrap();
            assert_eq!(log.log_end_offset(), records);
            handles.flushes.beside.lock().clear();
            assert_eq!(log.flush_backlog().unwrap(), records);
            if records == 0 {
                // There is nothing to flush, and nothing is lost: who appends flushes it.
                assert!(log.parent_changed.load(Ordering::Acquire));
                continue;
            }
            let flushed = std::mem::take(&mut *handles.flushes.beside.lock());
            let metadata = directory.join(PARTITION_METADATA_FILE);
            let paths = [&*directory, &*metadata, data.path()];
            let found = paths.map(|path| flushed.iter().any(|it| it == path));
            assert_eq!(found, is_due, "{records} {recovery_point}");
        }
    }

    fn batches(count: i64) -> Vec<u8> {
        use foz_protocol::batch;
        use foz_protocol::codec::Compression;
        use foz_protocol::record::{BatchBuilder, RecordToWrite};
        let batch = |offset| {
            let mut builder = BatchBuilder::new(Compression::None);
            builder.push(&RecordToWrite::default());
            let mut bytes = builder.build().unwrap();
            batch::assign(&mut bytes, offset, 0);
            bytes
        };
        (0..count).flat_map(batch).collect()
    }
}
