//! The segment that takes the place of others: written beside them, and part of nothing yet.

use std::fs::File;
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use foz_protocol::batch::BatchHeader;

use super::swap::cleaned_file;
use crate::config::LogConfig;
use crate::error::{StorageContext, StorageError};
use crate::file_handles::FileHandles;
use crate::file_steps::FileSteps;
use crate::index::{Entry, IndexBuilder, OffsetPosition, SparseIndex, TimestampOffset};
use crate::names::{
    LOG_SUFFIX, OFFSET_INDEX_SUFFIX, TIME_INDEX_SUFFIX, TRANSACTION_INDEX_SUFFIX, offset_file,
};
use crate::segment::Segment;
use crate::transaction_index::{AbortedTransaction, TransactionIndex};

/// Written at once.
const WRITE_CHUNK_BYTES: usize = 1 << 20;
/// The kernel is told to begin writing when this much came since the last time: otherwise the flush at the end
/// would give the disk a whole segment at once, and who produces would wait behind it.
const WRITEBACK_BYTES: u64 = 8 << 20;

/// The entries of the indexes, as they lie in the files.
#[derive(Debug, Default)]
pub(super) struct IndexBytes {
    builder: IndexBuilder,
    offsets: Vec<u8>,
    times: Vec<u8>,
    last_time: Option<TimestampOffset>,
    aborted: Vec<u8>,
    aborted_entries: u32,
    last_marker_offset: Option<i64>,
}

impl IndexBytes {
    pub(super) fn add(
        &mut self,
        base_offset: i64,
        header: &BatchHeader,
        position: u64,
        config: &LogConfig,
    ) {
        let (offset, time) = self
            .builder
            .add(header, position, config.index_interval_bytes);
        // More would be no damage, but memory. An index that ends early is searched from its end on.
        let has_room = |bytes: &[u8]| bytes.len() < config.segment_index_bytes as usize;
        if let Some(entry) = offset.filter(|_| has_room(&self.offsets)) {
            entry.encode(base_offset, &mut self.offsets);
        }
        if let Some(entry) = time.filter(|_| has_room(&self.times)) {
            entry.encode(base_offset, &mut self.times);
            self.last_time = Some(entry);
        }
    }

    /// A transaction whose marker stays.
    pub(super) fn add_aborted(&mut self, aborted: &AbortedTransaction) {
        aborted.encode(&mut self.aborted);
        self.aborted_entries += 1;
        self.last_marker_offset = Some(aborted.marker_offset);
    }

    /// The greatest timestamp comes last, whether there is room or not: after a start this alone tells it.
    fn end(&mut self, base_offset: i64) {
        let max = self.builder.max_timestamp();
        if let Some(entry) = max.filter(|_| max != self.last_time) {
            entry.encode(base_offset, &mut self.times);
        }
    }
}

/// Being written.
#[derive(Debug)]
pub(super) struct CleanedSegment {
    directory: PathBuf,
    base_offset: i64,
    path: PathBuf,
    file: File,
    written: u64,
    writeback_begun: u64,
    buffer: Vec<u8>,
}

/// Written and flushed.
#[derive(Debug)]
pub(crate) struct FinishedSegment {
    pub(super) directory: PathBuf,
    pub(super) base_offset: i64,
    pub(super) size: u64,
    log: File,
    offset_index: (File, u32),
    time_index: (File, u32),
    transaction_index: Option<WrittenTransactionIndex>,
    max_timestamp: Option<TimestampOffset>,
}

#[derive(Debug)]
struct WrittenTransactionIndex {
    file: File,
    entries: u32,
    last_marker_offset: Option<i64>,
}

impl CleanedSegment {
    pub(super) fn create(
        steps: &mut FileSteps<'_>,
        directory: &Path,
        base_offset: i64,
    ) -> Result<Self, StorageError> {
        let path = cleaned_file(directory, base_offset, LOG_SUFFIX);
        Ok(Self {
            directory: directory.to_path_buf(),
            base_offset,
            file: steps.create(&path)?,
            path,
            written: 0,
            writeback_begun: 0,
            buffer: Vec::with_capacity(WRITE_CHUNK_BYTES),
        })
    }

    /// Bytes so far.
    pub(super) fn size(&self) -> u64 {
        self.written + self.buffer.len() as u64
    }

    pub(super) fn write(
        &mut self,
        steps: &mut FileSteps<'_>,
        batch: &[u8],
    ) -> Result<(), StorageError> {
        if self.buffer.len() + batch.len() > WRITE_CHUNK_BYTES {
            self.write_out(steps)?;
        }
        if batch.len() > WRITE_CHUNK_BYTES {
            steps.write(&self.file, &self.path, batch, self.written)?;
            self.written += batch.len() as u64;
        } else {
            self.buffer.extend_from_slice(batch);
        }
        Ok(())
    }

    /// Everything is durable afterwards, under names that a start removes. `modified`: when records without a
    /// timestamp were written. With `replaces_transaction_index` there is one, whether it has entries or not: its name is taken.
    pub(super) fn finish(
        mut self,
        steps: &mut FileSteps<'_>,
        mut indexes: IndexBytes,
        modified: Option<SystemTime>,
        replaces_transaction_index: bool,
    ) -> Result<FinishedSegment, StorageError> {
        self.write_out(steps)?;
        indexes.end(self.base_offset);
        let offset_index = self.write_index(steps, OFFSET_INDEX_SUFFIX, &indexes.offsets)?;
        let time_index = self.write_index(steps, TIME_INDEX_SUFFIX, &indexes.times)?;
        let transaction_index = if replaces_transaction_index || indexes.aborted_entries > 0 {
            Some(WrittenTransactionIndex {
                file: self.write_index(steps, TRANSACTION_INDEX_SUFFIX, &indexes.aborted)?,
                entries: indexes.aborted_entries,
                last_marker_offset: indexes.last_marker_offset,
            })
        } else {
            // An attempt before this one may have left one.
            let path = cleaned_file(&self.directory, self.base_offset, TRANSACTION_INDEX_SUFFIX);
            if path.exists() {
                steps.remove(&path)?;
            }
            None
        };
        if let Some(modified) = modified {
            self.file.set_modified(modified).at("write", &self.path)?;
        }
        steps.flush(&self.file, &self.path)?;
        Ok(FinishedSegment {
            directory: self.directory,
            base_offset: self.base_offset,
            size: self.written,
            log: self.file,
            offset_index: (
                offset_index,
                (indexes.offsets.len() / OffsetPosition::BYTES) as u32,
            ),
            time_index: (
                time_index,
                (indexes.times.len() / TimestampOffset::BYTES) as u32,
            ),
            transaction_index,
            max_timestamp: indexes.builder.max_timestamp(),
        })
    }

    fn write_index(
        &self,
        steps: &mut FileSteps<'_>,
        suffix: &str,
        bytes: &[u8],
    ) -> Result<File, StorageError> {
        let path = cleaned_file(&self.directory, self.base_offset, suffix);
        let file = steps.create(&path)?;
        steps.write(&file, &path, bytes, 0)?;
        steps.flush(&file, &path)?;
        Ok(file)
    }

    fn write_out(&mut self, steps: &mut FileSteps<'_>) -> Result<(), StorageError> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        steps.write(&self.file, &self.path, &self.buffer, self.written)?;
        self.written += self.buffer.len() as u64;
        self.buffer.clear();
        if self.written - self.writeback_begun >= WRITEBACK_BYTES {
            let length = NonZeroU64::new(self.written - self.writeback_begun);
            let advice = rustix::fs::Advice::DontNeed;
            let _ = rustix::fs::fadvise(&self.file, self.writeback_begun, length, advice);
            self.writeback_begun = self.written;
        }
        Ok(())
    }
}

impl FinishedSegment {
    /// As readers are to find it, by the files that are open: their names are still others.
    pub(crate) fn into_segment(self, handles: &Arc<FileHandles>) -> Segment {
        let path = |suffix| offset_file(&self.directory, self.base_offset, suffix);
        let (file, entries) = self.offset_index;
        let offset_index = SparseIndex::pinned(
            handles,
            path(OFFSET_INDEX_SUFFIX),
            self.base_offset,
            entries,
            file,
        );
        let (file, entries) = self.time_index;
        let time_index = SparseIndex::pinned(
            handles,
            path(TIME_INDEX_SUFFIX),
            self.base_offset,
            entries,
            file,
        );
        let transaction_path = path(TRANSACTION_INDEX_SUFFIX);
        let transaction_index = match self.transaction_index {
            None => TransactionIndex::new(handles, transaction_path),
            Some(it) => TransactionIndex::pinned(
                handles,
                transaction_path,
                it.file,
                it.entries,
                it.last_marker_offset,
            ),
        };
        let segment = Segment::pinned(
            handles,
            path(LOG_SUFFIX),
            self.base_offset,
            self.size,
            self.log,
            (offset_index, time_index, transaction_index),
        );
        segment.set_max_timestamp(self.max_timestamp);
        segment
    }
}
