//! One segment as readers see it: a log file, its indexes, and how far they are valid.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use foz_protocol::batch::{BatchError, BatchHeader, Batches};
use parking_lot::Mutex;
use rustix::buffer::spare_capacity;

use crate::atomic_file::remove_if_exists;
use crate::batch_scanner::{BatchScanner, HEADER_CHUNK_BYTES, ScanError, Scanned};
use crate::error::{ReadError, StorageContext, StorageError};
use crate::file_handles::{FileHandles, LazyFile};
use crate::index::{OffsetPosition, SparseIndex, TimestampOffset, newer};
use crate::names::{
    LOG_SUFFIX, OFFSET_INDEX_SUFFIX, SEGMENT_SUFFIXES, TIME_INDEX_SUFFIX, TRANSACTION_INDEX_SUFFIX,
    offset_file,
};
#[cfg(test)]
use crate::reading_files::bad_sectors;
use crate::transaction_index::TransactionIndex;

mod sound_end;
mod writeback;

/// The greatest batch that is appended or read back, and the most that one read gives: no request that brought one can have been larger
/// (Kafka's `socket.request.max.bytes`), so a greater length is damage.
pub(crate) const BATCH_BYTES_MAX: usize = 100 << 20;

/// Consumers of one segment whose places are remembered.
const READ_ENDS: usize = 4;

/// Read at once to find a batch: with the default `index.interval.bytes` an index entry is about as
/// near.
const FIND_CHUNK_BYTES: usize = 4 << 10;

/// Everything but `size` and `max_timestamp` stays as it is.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) base_offset: i64,
    pub(crate) offset_index: SparseIndex<OffsetPosition>,
    pub(crate) time_index: SparseIndex<TimestampOffset>,
    pub(crate) transaction_index: TransactionIndex,
    log: LazyFile,
    /// Bytes of whole batches; the file may be longer (allocated ahead, or a failed write).
    size: AtomicU64,
    /// Up to here the kernel was told to write what it holds, see [`Self::begin_writeback`].
    writeback_begun: AtomicU64,
    /// Where the latest reads ended: a consumer goes on there.
    read_ends: Mutex<[Option<OffsetPosition>; READ_ENDS]>,
    max_timestamp: Mutex<MaxTimestamp>,
}

/// The greatest timestamp so far.
#[derive(Debug, Clone, Copy)]
enum MaxTimestamp {
    /// Nobody has asked the files.
    Unknown,
    /// `None` where no record has one.
    Known(Option<TimestampOffset>),
}

/// Of memory; a kernel reads no less. Larger ones are several of these.
pub(crate) const PAGE_BYTES: u64 = 4096;

/// What of a segment was missing or could not be what it should: it is empty, and must be made anew.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Unusable {
    /// That of offsets or that of timestamps.
    pub(crate) indexes: bool,
    /// It was there, and is none. One that is missing has no entries.
    pub(crate) transaction_index: bool,
}

/// How much a reader relies on what is in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trust {
    /// Written and checked a while ago at most.
    Recent,
    /// Each batch is checked against its CRC: it may have lain on the disk for years.
    Checked,
}

impl Segment {
    /// New and empty. A file of that name can only be the rest of an attempt that failed, and empty: the
    /// log ends here.
    pub(crate) fn create(
        handles: &Arc<FileHandles>,
        directory: &Path,
        base_offset: i64,
    ) -> Result<Self, StorageError> {
        let path = offset_file(directory, base_offset, LOG_SUFFIX);
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .at("create", &path)?;
        if file.metadata().at("read", &path)?.len() > 0 {
            // Whatever led here, nobody's records are emptied.
            let source = io::Error::new(io::ErrorKind::AlreadyExists, "it is there and holds data");
            return Err(source).at("create", &path);
        }
        let index_path = |suffix| offset_file(directory, base_offset, suffix);
        Ok(Self {
            base_offset,
            offset_index: SparseIndex::new(handles, index_path(OFFSET_INDEX_SUFFIX), base_offset),
            time_index: SparseIndex::new(handles, index_path(TIME_INDEX_SUFFIX), base_offset),
            transaction_index: TransactionIndex::new(handles, index_path(TRANSACTION_INDEX_SUFFIX)),
            log: LazyFile::new(handles, path),
            size: AtomicU64::new(0),
            writeback_begun: AtomicU64::new(0),
            read_ends: Mutex::new([None; READ_ENDS]),
            max_timestamp: Mutex::new(MaxTimestamp::Unknown),
        })
    }

    /// A segment that holds something has its index files, whether they have entries or not: one that is missing is
    /// noticed. An empty one needs none, and many partitions are empty for long.
    pub(crate) fn create_indexes(&self) -> Result<(), StorageError> {
        self.offset_index.create()?;
        self.time_index.create()
    }

    /// From existing files, with an index of aborted transactions or without one.
    pub(crate) fn open(
        handles: &Arc<FileHandles>,
        directory: &Path,
        base_offset: i64,
        has_transaction_index: bool,
    ) -> Result<(Self, Unusable), StorageError> {
        let path = offset_file(directory, base_offset, LOG_SUFFIX);
        let size = fs::metadata(&path).at("read", &path)?.len();
        let offset_path = offset_file(directory, base_offset, OFFSET_INDEX_SUFFIX);
        let time_path = offset_file(directory, base_offset, TIME_INDEX_SUFFIX);
        let (mut offset_index, mut time_index) = (None, None);
        if size > 0 {
            offset_index = SparseIndex::open(handles, offset_path.clone(), base_offset)?;
            time_index = SparseIndex::open(handles, time_path.clone(), base_offset)?;
        }
        let transaction_path = offset_file(directory, base_offset, TRANSACTION_INDEX_SUFFIX);
        let transaction_index = match has_transaction_index {
            true => TransactionIndex::open(handles, transaction_path.clone(), base_offset)?,
            false => Some(TransactionIndex::new(handles, transaction_path.clone())),
        };
        let unusable = Unusable {
            indexes: size > 0 && (offset_index.is_none() || time_index.is_none()),
            transaction_index: transaction_index.is_none(),
        };
        let segment = Self {
            base_offset,
            offset_index: offset_index
                .unwrap_or_else(|| SparseIndex::new(handles, offset_path, base_offset)),
            time_index: time_index
                .unwrap_or_else(|| SparseIndex::new(handles, time_path, base_offset)),
            transaction_index: transaction_index
                .unwrap_or_else(|| TransactionIndex::new(handles, transaction_path)),
            log: LazyFile::new(handles, path),
            size: AtomicU64::new(size),
            writeback_begun: AtomicU64::new(size),
            read_ends: Mutex::new([None; READ_ENDS]),
            max_timestamp: Mutex::new(MaxTimestamp::Unknown),
        };
        Ok((segment, unusable))
    }

    /// By files that are open and about to get their names.
    pub(crate) fn pinned(
        handles: &Arc<FileHandles>,
        path: PathBuf,
        base_offset: i64,
        size: u64,
        log: File,
        indexes: (
            SparseIndex<OffsetPosition>,
            SparseIndex<TimestampOffset>,
            TransactionIndex,
        ),
    ) -> Self {
        let (offset_index, time_index, transaction_index) = indexes;
        Self {
            base_offset,
            offset_index,
            time_index,
            transaction_index,
            log: LazyFile::pinned(handles, path, log),
            size: AtomicU64::new(size),
            writeback_begun: AtomicU64::new(size),
            read_ends: Mutex::new([None; READ_ENDS]),
            max_timestamp: Mutex::new(MaxTimestamp::Unknown),
        }
    }

    /// The same segment once `directory` is the name of the directory that it is in.
    pub(crate) fn renamed(&self, handles: &Arc<FileHandles>, directory: &Path) -> Self {
        let path = |suffix| offset_file(directory, self.base_offset, suffix);
        Self {
            base_offset: self.base_offset,
            offset_index: self
                .offset_index
                .renamed(handles, path(OFFSET_INDEX_SUFFIX)),
            time_index: self.time_index.renamed(handles, path(TIME_INDEX_SUFFIX)),
            transaction_index: self
                .transaction_index
                .renamed(handles, path(TRANSACTION_INDEX_SUFFIX)),
            log: LazyFile::new(handles, path(LOG_SUFFIX)),
            size: AtomicU64::new(self.size()),
            writeback_begun: AtomicU64::new(self.writeback_begun.load(Ordering::Acquire)),
            read_ends: Mutex::new([None; READ_ENDS]),
            max_timestamp: Mutex::new(*self.max_timestamp.lock()),
        }
    }

    /// Its files stay open for as long as this lives, whatever becomes of their names.
    pub(crate) fn pin(&self) -> Result<(), StorageError> {
        self.log.pin().at("open", self.path())?;
        self.offset_index.pin()?;
        self.time_index.pin()?;
        self.transaction_index.pin()
    }

    /// Its files have their names.
    pub(crate) fn unpin(&self) {
        self.log.unpin();
        self.offset_index.unpin();
        self.time_index.unpin();
        self.transaction_index.unpin();
    }

    pub(crate) fn path(&self) -> &Path {
        self.log.path()
    }

    pub(crate) fn file(&self) -> Result<Arc<File>, StorageError> {
        self.log.open().at("open", self.path())
    }

    pub(crate) fn size(&self) -> u64 {
        self.size.load(Ordering::Acquire)
    }

    /// Publishes what was written (or cut off) to readers.
    pub(crate) fn set_size(&self, size: u64) {
        self.size.store(size, Ordering::Release);
    }

    pub(crate) fn set_max_timestamp(&self, max: Option<TimestampOffset>) {
        *self.max_timestamp.lock() = MaxTimestamp::Known(max);
    }

    /// The greatest timestamp, with the last offset of the batch that has it.
    pub(crate) fn max_timestamp(&self) -> Result<Option<TimestampOffset>, StorageError> {
        if let MaxTimestamp::Known(max) = *self.max_timestamp.lock() {
            return Ok(max);
        }
        let found = self.find_max_timestamp()?;
        let mut known = self.max_timestamp.lock();
        // Whoever writes to the segment knows better.
        if let MaxTimestamp::Known(max) = *known {
            return Ok(max);
        }
        *known = MaxTimestamp::Known(found);
        Ok(found)
    }

    /// The time index speaks of the batches up to the last one that the offset index has. Those behind it are asked, for
    /// the entry that closes the index may never have been written.
    fn find_max_timestamp(&self) -> Result<Option<TimestampOffset>, StorageError> {
        if self.size() == 0 {
            return Ok(None);
        }
        let mut max = self.time_index.last()?;
        let from = match self.offset_index.last()? {
            Some(indexed) if u64::from(indexed.position) < self.size() => {
                u64::from(indexed.position)
            }
            // An index that lies, or none.
            _ => 0,
        };
        let mut scanner = self.scan(from, self.base_offset)?;
        loop {
            match scanner.next() {
                Ok(Some(batch)) => max = newer(max, &batch.header),
                // Damage is found by who reads it.
                Ok(None) | Err(ScanError::Bad { .. }) => return Ok(max),
                Err(ScanError::Io(source)) => return Err(source).at("read", self.path()),
            }
        }
    }

    /// Walks over the headers from the batch at `position` on, which holds `offset`.
    pub(crate) fn scan(&self, position: u64, offset: i64) -> Result<BatchScanner, StorageError> {
        Ok(BatchScanner::new(
            self.file()?,
            position,
            offset,
            self.size(),
            HEADER_CHUNK_BYTES,
        ))
    }

    /// As [`Self::scan`], from the begin to `end`, where batches end.
    pub(crate) fn scan_to(&self, end: u64) -> Result<BatchScanner, StorageError> {
        let file = self.file()?;
        let scanner = BatchScanner::new(file, 0, self.base_offset, end, HEADER_CHUNK_BYTES);
        Ok(scanner)
    }

    /// Where to begin to look for `offset`.
    pub(crate) fn position_near(&self, offset: i64) -> Result<u64, StorageError> {
        let read_end = self
            .read_ends
            .lock()
            .iter()
            .flatten()
            .find(|e| e.offset == offset)
            .copied();
        match read_end {
            Some(end) => Ok(u64::from(end.position)),
            None => self.indexed_position(offset),
        }
    }

    fn indexed_position(&self, offset: i64) -> Result<u64, StorageError> {
        let floor = self.offset_index.floor_if_readable(offset)?;
        Ok(floor.map_or(0, |floor| u64::from(floor.position)))
    }

    /// The first batch that ends at `offset` or after it.
    pub(crate) fn find(&self, offset: i64) -> Result<Option<Scanned>, ReadError> {
        let from = self.position_near(offset)?;
        match self.find_from(from, offset) {
            // An index that lies is no reason to fail: the log itself knows.
            Err(ReadError::Corrupt { .. }) | Ok(None) if from > 0 => self.find_from(0, offset),
            found => found,
        }
    }

    fn find_from(&self, position: u64, offset: i64) -> Result<Option<Scanned>, ReadError> {
        let base = self.base_offset;
        let file = self.file()?;
        let mut scanner = BatchScanner::new(file, position, base, self.size(), FIND_CHUNK_BYTES);
        let mut next_offset = base;
        loop {
            let found = scanner.next();
            if let Ok(Some(batch)) = &found {
                self.check_place(batch, next_offset)?;
                next_offset = batch.header.next_offset();
            }
            match found {
                Ok(None) => return Ok(None),
                Ok(Some(batch)) if batch.header.last_offset() >= offset => {
                    return Ok(Some(batch));
                }
                Ok(Some(_)) => {}
                Err(error) => return Err(self.read_error(error)),
            }
        }
    }

    /// Where the batches end that lie before `position`, at which `offset` or a later one comes. Compaction may have left a
    /// gap behind them: a log that ended within it would end earlier after a crash, and look as if it had lost something.
    pub(crate) fn end_before(&self, position: u64, offset: i64) -> Result<i64, ReadError> {
        let from = self.indexed_position(offset.saturating_sub(1))?;
        match self.end_between(from, position) {
            // As in `find`.
            Err(ReadError::Corrupt { .. }) | Ok(None) if from > 0 => self.end_between(0, position),
            found => found,
        }
        .map(|end| end.unwrap_or(self.base_offset))
    }

    /// `None` where no batch ends at `to`.
    fn end_between(&self, from: u64, to: u64) -> Result<Option<i64>, ReadError> {
        let mut scanner = self.scan(from, self.base_offset)?;
        let mut end_offset = None;
        while let Some(batch) = scanner.next().map_err(|error| self.read_error(error))? {
            if batch.position >= to {
                return Ok(end_offset.filter(|_| batch.position == to));
            }
            end_offset = Some(batch.header.next_offset());
        }
        Ok(end_offset)
    }

    /// Whole batches from `first` on, all below `upper_bound_offset`, together at most `max_bytes`
    /// unless `minimum_one_batch` and the first one alone is larger. With [`Trust::Checked`] a damaged one is
    /// never among them.
    pub(crate) fn read(
        &self,
        first: &Scanned,
        max_bytes: usize,
        upper_bound_offset: i64,
        minimum_one_batch: bool,
        trust: Trust,
    ) -> Result<Bytes, ReadError> {
        let first_bytes = first.header.total_length();
        // What a damaged header says of the last offset is no reason to serve nothing for ever.
        let is_beyond = first.header.last_offset() >= upper_bound_offset;
        if (is_beyond && trust == Trust::Recent) || (first_bytes > max_bytes && !minimum_one_batch)
        {
            return Ok(Bytes::new());
        }
        let max_bytes = max_bytes.min(BATCH_BYTES_MAX);
        let available = self.size().saturating_sub(first.position);
        let wanted = available.min(max_bytes.max(first_bytes) as u64) as usize;
        let bytes = self.read_bytes(first.position, first.header.base_offset, wanted)?;
        let mut whole = 0;
        let mut offset = first.header.base_offset;
        for parsed in Batches::new(&bytes) {
            let position = first.position + whole as u64;
            match parsed {
                Ok((header, batch)) => {
                    self.check_place(&Scanned { position, header }, offset)?;
                    if trust == Trust::Checked
                        && let Err(error) = header.check_crc(batch)
                    {
                        if whole > 0 {
                            break;
                        }
                        return Err(self.corrupt(position, offset, error.to_string()));
                    }
                    if header.last_offset() >= upper_bound_offset {
                        break;
                    }
                    whole += batch.len();
                    offset = header.next_offset();
                }
                Err(BatchError::Truncated { .. }) => break,
                Err(error) => return Err(self.corrupt(position, offset, error.to_string())),
            }
        }
        if whole > 0 {
            self.remember_read_end(offset, first.position + whole as u64);
        }
        Ok(bytes.slice(..whole))
    }

    /// Whoever goes on there finds it without an index.
    pub(crate) fn remember_read_end(&self, offset: i64, position: u64) {
        let mut ends = self.read_ends.lock();
        ends.rotate_right(1);
        ends[0] = Some(OffsetPosition {
            offset,
            position: position as u32,
        });
    }

    /// The bytes of one batch.
    pub(crate) fn read_batch(&self, batch: &Scanned) -> Result<Bytes, ReadError> {
        let header = &batch.header;
        self.read_bytes(batch.position, header.base_offset, header.total_length())
    }

    /// Those of a batch that is whole.
    pub(crate) fn read_checked_batch(&self, batch: &Scanned) -> Result<Bytes, ReadError> {
        let bytes = self.read_batch(batch)?;
        let (position, offset) = (batch.position, batch.header.base_offset);
        match batch.header.check_crc(&bytes) {
            Ok(()) => Ok(bytes),
            Err(error) => Err(self.corrupt(position, offset, error.to_string())),
        }
    }

    /// `offset` is that of the first record there.
    fn read_bytes(&self, position: u64, offset: i64, length: usize) -> Result<Bytes, ReadError> {
        if length > BATCH_BYTES_MAX {
            let reason = format!("{length} bytes at once, a batch has at most {BATCH_BYTES_MAX}");
            return Err(self.corrupt(position, offset, reason));
        }
        if length == 0 {
            return Ok(Bytes::new());
        }
        let file = self.file()?;
        let mut bytes = Vec::with_capacity(length);
        while bytes.len() < length {
            let at = position + bytes.len() as u64;
            #[cfg(test)]
            bad_sectors::check(&file, at, length - bytes.len()).at("read", self.path())?;
            match rustix::io::pread(&file, spare_capacity(&mut bytes), at) {
                Ok(0) => {
                    let reason = "the file is shorter than it was".to_owned();
                    return Err(self.corrupt(at, offset, reason));
                }
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error).at("read", self.path()).map_err(Into::into),
            }
        }
        // The allocator may have given more than was asked for, and then more was read.
        bytes.truncate(length);
        Ok(Bytes::from(bytes))
    }

    /// Header of the first batch.
    pub(crate) fn first_batch(&self) -> Result<Option<BatchHeader>, ReadError> {
        if self.size() == 0 {
            // Many partitions are empty for long: no file is opened for them.
            return Ok(None);
        }
        match self.scan(0, self.base_offset)?.next() {
            Ok(first) => Ok(first.map(|batch| batch.header)),
            Err(error) => Err(self.read_error(error)),
        }
    }

    pub(crate) fn write(&self, bytes: &[u8], position: u64) -> Result<(), StorageError> {
        self.file()?
            .write_all_at(bytes, position)
            .at("write", self.path())
    }

    /// Where reads ended is not where batches begin once others have taken their place.
    pub(crate) fn forget_read_ends(&self) {
        *self.read_ends.lock() = [None; READ_ENDS];
    }

    pub(crate) fn file_length(&self) -> Result<u64, StorageError> {
        Ok(fs::metadata(self.path()).at("read", self.path())?.len())
    }

    /// What is no file in the first place has no length that says so.
    pub(crate) fn is_empty_file(&self) -> Result<bool, StorageError> {
        let metadata = fs::metadata(self.path()).at("read", self.path())?;
        Ok(metadata.is_file() && metadata.len() == 0)
    }

    /// Reads find what the disk has. Pages that a flush could not write stay in memory as if they had been
    /// written, until the kernel needs the room: those go. Where it does not work, nothing is lost by it.
    pub(crate) fn drop_page_cache(&self) {
        if let Ok(file) = self.file() {
            let _ = rustix::fs::fadvise(&*file, 0, None, rustix::fs::Advice::DontNeed);
        }
    }

    /// The file gets exactly the length of its batches.
    pub(crate) fn trim(&self) -> Result<(), StorageError> {
        let file = self.file()?;
        if file.metadata().at("read", self.path())?.len() == self.size() {
            return Ok(());
        }
        file.set_len(self.size()).at("truncate", self.path())
    }

    pub(crate) fn flush(&self) -> Result<(), StorageError> {
        let file = self.file()?;
        self.log.flush(&file).at("flush", self.path())
    }

    pub(crate) fn flush_indexes(&self) -> Result<(), StorageError> {
        self.offset_index.flush()?;
        self.time_index.flush()?;
        self.transaction_index.flush()
    }

    /// Removes the files. Readers that have them open go on.
    pub(crate) fn remove_files(&self) -> Result<(), StorageError> {
        let directory = self.path().parent().unwrap_or(Path::new("."));
        for suffix in SEGMENT_SUFFIXES {
            remove_if_exists(&offset_file(directory, self.base_offset, suffix))?;
        }
        Ok(())
    }

    pub(crate) fn read_error(&self, error: ScanError) -> ReadError {
        match error {
            ScanError::Io(source) => {
                let path = self.path().to_path_buf();
                StorageError {
                    action: "read",
                    path,
                    source,
                }
                .into()
            }
            ScanError::Bad {
                position,
                offset,
                error,
            } => self.corrupt(position, offset, error.to_string()),
        }
    }

    /// A batch whose offsets cannot be where it lies must not be served: the CRC does not cover its base
    /// offset. Gaps are fine, compaction leaves them.
    pub(crate) fn check_place(&self, batch: &Scanned, next_offset: i64) -> Result<(), ReadError> {
        let header = &batch.header;
        let farthest = self.base_offset.saturating_add(i64::from(i32::MAX));
        if header.base_offset >= next_offset
            && header.last_offset_delta >= 0
            && header.last_offset() <= farthest
        {
            return Ok(());
        }
        let reason = format!(
            "the batch says it covers offsets {}..={}, {next_offset} or more comes next",
            header.base_offset,
            header.last_offset()
        );
        Err(self.corrupt(batch.position, next_offset, reason))
    }

    fn corrupt(&self, position: u64, offset: i64, reason: String) -> ReadError {
        let file = self.path().to_path_buf();
        ReadError::Corrupt {
            file,
            position,
            offset,
            reason,
        }
    }
}
