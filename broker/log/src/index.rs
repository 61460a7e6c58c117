//! The sparse indexes beside a segment: `.index` (offset to position) and `.timeindex` (timestamp to
//! offset), in Kafka's formats.
//!
//! They are hints: what they say is checked against the log where it is used, and they are rebuilt
//! from the log when they are missing.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use foz_protocol::batch::BatchHeader;
use parking_lot::Mutex;

use crate::atomic_file::remove_if_exists;
use crate::error::{StorageContext, StorageError};
use crate::file_handles::{FileHandles, LazyFile};
use crate::reading_files::read_exact_at;

/// Entries that a search reads at once when it has come near.
const SEARCH_BLOCK_ENTRIES: u32 = 256;

/// Offset of the last record of a batch, and the batch's byte position in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OffsetPosition {
    pub(crate) offset: i64,
    pub(crate) position: u32,
}

/// The greatest timestamp so far, and the last offset of the batch that brought it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TimestampOffset {
    pub(crate) timestamp_ms: i64,
    pub(crate) offset: i64,
}

/// An entry of fixed size; keys rise from entry to entry. Offsets are stored relative to the
/// segment's base offset.
pub(crate) trait Entry: Copy {
    const BYTES: usize;
    fn key(&self) -> i64;
    fn encode(&self, base_offset: i64, out: &mut Vec<u8>);
    /// `bytes` are exactly [`Self::BYTES`].
    fn decode(base_offset: i64, bytes: &[u8]) -> Self;
}

impl Entry for OffsetPosition {
    const BYTES: usize = 8;

    fn key(&self) -> i64 {
        self.offset
    }

    fn encode(&self, base_offset: i64, out: &mut Vec<u8>) {
        out.extend(((self.offset - base_offset) as i32).to_be_bytes());
        out.extend(self.position.to_be_bytes());
    }

    fn decode(base_offset: i64, bytes: &[u8]) -> Self {
        Self {
            offset: base_offset.saturating_add(i64::from(u32_at(bytes, 0) as i32)),
            position: u32_at(bytes, 4),
        }
    }
}

impl Entry for TimestampOffset {
    const BYTES: usize = 12;

    fn key(&self) -> i64 {
        self.timestamp_ms
    }

    fn encode(&self, base_offset: i64, out: &mut Vec<u8>) {
        out.extend(self.timestamp_ms.to_be_bytes());
        out.extend(((self.offset - base_offset) as i32).to_be_bytes());
    }

    fn decode(base_offset: i64, bytes: &[u8]) -> Self {
        let high = u64::from(u32_at(bytes, 0));
        let low = u64::from(u32_at(bytes, 4));
        Self {
            timestamp_ms: ((high << 32) | low) as i64,
            offset: base_offset.saturating_add(i64::from(u32_at(bytes, 8) as i32)),
        }
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// Decides which batches get entries, as Kafka does: one in each index when more than
/// `index.interval.bytes` came since the last one.
#[derive(Debug, Clone, Default)]
pub(crate) struct IndexBuilder {
    bytes_since_entry: u64,
    max_timestamp: Option<TimestampOffset>,
    last_time_entry_ms: Option<i64>,
}

impl IndexBuilder {
    /// Goes on where the indexes of a closed log end. `max_timestamp` is that of all its batches.
    pub(crate) fn resume(
        bytes_since_entry: u64,
        last_time_entry: Option<TimestampOffset>,
        max_timestamp: Option<TimestampOffset>,
    ) -> Self {
        Self {
            bytes_since_entry,
            max_timestamp,
            last_time_entry_ms: last_time_entry.map(|entry| entry.timestamp_ms),
        }
    }

    /// The entries for a batch that lies at `position`.
    pub(crate) fn add(
        &mut self,
        batch: &BatchHeader,
        position: u64,
        interval_bytes: u32,
    ) -> (Option<OffsetPosition>, Option<TimestampOffset>) {
        let offset = batch.last_offset();
        self.max_timestamp = newer(self.max_timestamp, batch);
        let due = self.bytes_since_entry > u64::from(interval_bytes);
        let entries = if due {
            self.bytes_since_entry = 0;
            (
                Some(OffsetPosition {
                    offset,
                    position: position as u32,
                }),
                self.time_entry(),
            )
        } else {
            (None, None)
        };
        self.bytes_since_entry += batch.total_length() as u64;
        entries
    }

    /// An entry for the greatest timestamp, unless the last entry says it: due at regular distances
    /// and when the segment is closed.
    pub(crate) fn time_entry(&mut self) -> Option<TimestampOffset> {
        let max = self.max_timestamp?;
        if self
            .last_time_entry_ms
            .is_some_and(|last| max.timestamp_ms <= last)
        {
            return None;
        }
        self.last_time_entry_ms = Some(max.timestamp_ms);
        Some(max)
    }

    /// The last entry that the time index really has: one that could not be written is due again.
    pub(crate) fn time_index_ends_with(&mut self, entry: Option<TimestampOffset>) {
        self.last_time_entry_ms = entry.map(|entry| entry.timestamp_ms);
    }

    pub(crate) fn max_timestamp(&self) -> Option<TimestampOffset> {
        self.max_timestamp
    }
}

/// The greatest timestamp once `batch` has come behind those whose greatest is `max`.
pub(crate) fn newer(max: Option<TimestampOffset>, batch: &BatchHeader) -> Option<TimestampOffset> {
    let timestamp_ms = batch.max_timestamp;
    // Compaction leaves headers without records: nothing is found there.
    let counts = timestamp_ms >= 0 && batch.record_count > 0;
    if counts && max.is_none_or(|max| timestamp_ms > max.timestamp_ms) {
        let offset = batch.last_offset();
        return Some(TimestampOffset {
            timestamp_ms,
            offset,
        });
    }
    max
}

/// One index file. One writer at a time; readers need no lock.
#[derive(Debug)]
pub(crate) struct SparseIndex<E> {
    file: LazyFile,
    /// Where it does not there are no entries.
    exists: AtomicBool,
    base_offset: i64,
    entries: AtomicU32,
    /// `None` until somebody asked, or when there are no entries.
    last: Mutex<Option<E>>,
    /// That was said.
    is_unreadable: AtomicBool,
}

impl<E: Entry> SparseIndex<E> {
    /// An empty index, without a file until [`Self::create`].
    pub(crate) fn new(handles: &Arc<FileHandles>, path: PathBuf, base_offset: i64) -> Self {
        Self::with_entries(handles, path, base_offset, None)
    }

    /// Makes the file, unless this index has one. What another left under that name is overwritten.
    pub(crate) fn create(&self) -> Result<(), StorageError> {
        if !self.exists.load(Ordering::Acquire) {
            File::create(self.file.path()).at("create", self.file.path())?;
            self.exists.store(true, Ordering::Release);
        }
        Ok(())
    }

    /// `None` when the file is missing or cannot be an index.
    pub(crate) fn open(
        handles: &Arc<FileHandles>,
        path: PathBuf,
        base_offset: i64,
    ) -> Result<Option<Self>, StorageError> {
        let length = match fs::metadata(&path) {
            Ok(metadata) => metadata.len(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).at("read", &path),
        };
        let entries = u32::try_from(length / E::BYTES as u64).ok();
        Ok(entries
            .filter(|_| length.is_multiple_of(E::BYTES as u64))
            .map(|entries| Self::with_entries(handles, path, base_offset, Some(entries))))
    }

    /// By a file that is open and about to get the name `path`.
    pub(crate) fn pinned(
        handles: &Arc<FileHandles>,
        path: PathBuf,
        base_offset: i64,
        entries: u32,
        file: File,
    ) -> Self {
        let file = LazyFile::pinned(handles, path, file);
        Self::with_file(file, base_offset, Some(entries))
    }

    /// The same index once `path` is the name of its file.
    pub(crate) fn renamed(&self, handles: &Arc<FileHandles>, path: PathBuf) -> Self {
        Self {
            file: LazyFile::new(handles, path),
            exists: AtomicBool::new(self.exists.load(Ordering::Acquire)),
            base_offset: self.base_offset,
            entries: AtomicU32::new(self.len()),
            last: Mutex::new(*self.last.lock()),
            is_unreadable: AtomicBool::new(false),
        }
    }

    fn with_entries(
        handles: &Arc<FileHandles>,
        path: PathBuf,
        base_offset: i64,
        entries: Option<u32>,
    ) -> Self {
        Self::with_file(LazyFile::new(handles, path), base_offset, entries)
    }

    fn with_file(file: LazyFile, base_offset: i64, entries: Option<u32>) -> Self {
        Self {
            file,
            exists: AtomicBool::new(entries.is_some()),
            base_offset,
            entries: AtomicU32::new(entries.unwrap_or_default()),
            last: Mutex::new(None),
            is_unreadable: AtomicBool::new(false),
        }
    }

    pub(crate) fn len(&self) -> u32 {
        self.entries.load(Ordering::Acquire)
    }

    /// See [`LazyFile::pin`].
    pub(crate) fn pin(&self) -> Result<(), StorageError> {
        self.file.pin().at("open", self.file.path())
    }

    /// See [`LazyFile::unpin`].
    pub(crate) fn unpin(&self) {
        self.file.unpin();
    }

    pub(crate) fn append(&self, entry: E) -> Result<(), StorageError> {
        let mut bytes = Vec::with_capacity(E::BYTES);
        entry.encode(self.base_offset, &mut bytes);
        let at = u64::from(self.len()) * E::BYTES as u64;
        // A log that was recovered without room for its indexes has none.
        self.create()?;
        let file = self.open_file()?;
        let written = file.write_all_at(&bytes, at);
        if written.is_err() {
            // Half an entry would make the next start doubt all of them.
            let _ = file.set_len(at);
        }
        written.at("write", self.file.path())?;
        *self.last.lock() = Some(entry);
        self.entries.fetch_add(1, Ordering::Release);
        Ok(())
    }

    /// Makes these the only entries.
    pub(crate) fn replace(&self, entries: &[E]) -> Result<(), StorageError> {
        if entries.is_empty() && !self.exists.load(Ordering::Acquire) {
            return Ok(());
        }
        self.create()?;
        let mut bytes = Vec::with_capacity(entries.len() * E::BYTES);
        entries
            .iter()
            .for_each(|entry| entry.encode(self.base_offset, &mut bytes));
        let file = self.open_file()?;
        // What is written over in part is read before.
        file.set_len(0).at("truncate", self.file.path())?;
        file.write_all_at(&bytes, 0).at("write", self.file.path())?;
        *self.last.lock() = None;
        self.entries.store(entries.len() as u32, Ordering::Release);
        self.is_unreadable.store(false, Ordering::Release);
        Ok(())
    }

    /// Leaves no entries, which takes no room. Without its file the next start makes the index anew.
    pub(crate) fn clear(&self, keeps_file: bool) -> Result<(), StorageError> {
        *self.last.lock() = None;
        self.entries.store(0, Ordering::Release);
        self.is_unreadable.store(false, Ordering::Release);
        if !self.exists.load(Ordering::Acquire) {
            return Ok(());
        }
        if keeps_file {
            return self
                .open_file()?
                .set_len(0)
                .at("truncate", self.file.path());
        }
        self.exists.store(false, Ordering::Release);
        remove_if_exists(self.file.path())
    }

    pub(crate) fn last(&self) -> Result<Option<E>, StorageError> {
        let entries = self.len();
        let mut last = self.last.lock();
        if last.is_none() && entries > 0 {
            *last = Some(self.read(entries - 1)?);
        }
        Ok(*last)
    }

    /// The last entry whose key is at most `key`.
    pub(crate) fn floor(&self, key: i64) -> Result<Option<E>, StorageError> {
        if let Some(last) = self.last()?
            && last.key() <= key
        {
            return Ok(Some(last));
        }
        // Invariant: entries before `low` have keys at most `key`, those from `high` on greater ones.
        let (mut low, mut high) = (0, self.len());
        if high == 0 {
            return Ok(None);
        }
        while high - low > SEARCH_BLOCK_ENTRIES {
            let middle = low + (high - low) / 2;
            if self.read(middle)?.key() <= key {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        let from = low.saturating_sub(1);
        let mut bytes = vec![0; (high - from) as usize * E::BYTES];
        let at = u64::from(from) * E::BYTES as u64;
        read_exact_at(&*self.open_file()?, &mut bytes, at).at("read", self.file.path())?;
        let entries = bytes
            .chunks_exact(E::BYTES)
            .map(|bytes| E::decode(self.base_offset, bytes));
        Ok(entries.take_while(|entry| entry.key() <= key).last())
    }

    /// As [`Self::floor`], and `None` where the disk does not give the index: the log itself knows.
    pub(crate) fn floor_if_readable(&self, key: i64) -> Result<Option<E>, StorageError> {
        self.if_readable(|| self.floor(key))
    }

    /// As [`Self::last`], and `None` where the disk does not give it.
    pub(crate) fn last_if_readable(&self) -> Result<Option<E>, StorageError> {
        self.if_readable(|| self.last())
    }

    /// A disk may take seconds to say that it does not give something, so it is asked once.
    fn if_readable(
        &self,
        look: impl FnOnce() -> Result<Option<E>, StorageError>,
    ) -> Result<Option<E>, StorageError> {
        if self.is_unreadable.load(Ordering::Acquire) {
            return Ok(None);
        }
        match look() {
            Err(error) if error.is_of_disk() => {
                if !self.is_unreadable.swap(true, Ordering::AcqRel) {
                    tracing::warn!(%error, "an index cannot be read: its log is searched instead, which takes longer");
                }
                Ok(None)
            }
            found => found,
        }
    }

    pub(crate) fn flush(&self) -> Result<(), StorageError> {
        if !self.exists.load(Ordering::Acquire) {
            return Ok(());
        }
        let file = self.open_file()?;
        self.file.flush(&file).at("flush", self.file.path())
    }

    fn read(&self, entry: u32) -> Result<E, StorageError> {
        let mut bytes = vec![0; E::BYTES];
        let at = u64::from(entry) * E::BYTES as u64;
        read_exact_at(&*self.open_file()?, &mut bytes, at).at("read", self.file.path())?;
        Ok(E::decode(self.base_offset, &bytes))
    }

    fn open_file(&self) -> Result<Arc<File>, StorageError> {
        self.file.open().at("open", self.file.path())
    }
}

#[cfg(test)]
mod tests {
    use foz_protocol::codec::Compression;
    use foz_protocol::record::{BatchBuilder, RecordToWrite};

    use super::*;
    use proptest::prelude::*;

    fn entry(n: i64) -> OffsetPosition {
        OffsetPosition {
            offset: 100 + n * 3,
            position: n as u32 * 10,
        }
    }

    #[test]
    fn bytes_are_kafkas() {
        let mut bytes = Vec::new();
        OffsetPosition {
            offset: 107,
            position: 0x0102_0304,
        }
        .encode(100, &mut bytes);
        assert_eq!(bytes, [0, 0, 0, 7, 1, 2, 3, 4]);
        let mut bytes = Vec::new();
        let time = TimestampOffset {
            timestamp_ms: 0x0102_0304_0506_0708,
            offset: 109,
        };
        time.encode(100, &mut bytes);
        assert_eq!(bytes, [1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0, 9]);
        assert_eq!(TimestampOffset::decode(100, &bytes), time);
    }

    /// As compaction leaves them.
    #[test]
    fn a_header_without_records_is_found_by_no_timestamp() {
        let mut builder = BatchBuilder::new(Compression::None);
        builder.push(&RecordToWrite {
            timestamp_ms: 5,
            ..RecordToWrite::default()
        });
        let header = BatchHeader::parse(&builder.build().unwrap()).unwrap();
        let empty = BatchHeader {
            record_count: 0,
            ..header
        };
        let mut index = IndexBuilder::default();
        index.add(&empty, 0, 0);
        assert_eq!(index.max_timestamp(), None);
        index.add(&header, 61, 0);
        let max = index.max_timestamp().unwrap();
        assert_eq!((max.timestamp_ms, max.offset), (5, 0));
    }

    #[test]
    fn floor_finds_what_a_scan_finds() {
        let dir = tempfile::tempdir().unwrap();
        let handles = FileHandles::new(4);
        proptest!(ProptestConfig::with_cases(40), |(count in 0_i64..2000, key in 90_i64..6200)| {
            let path = dir.path().join("i");
            let index = SparseIndex::new(&handles, path.clone(), 100);
            prop_assert_eq!((index.floor(key).unwrap(), index.last().unwrap()), (None, None));
            index.create().unwrap();
            let entries: Vec<_> = (0..count).map(entry).collect();
            index.replace(&entries).unwrap();
            let expected = entries.iter().rev().find(|e| e.offset <= key).copied();
            prop_assert_eq!(index.floor(key).unwrap(), expected);
            prop_assert_eq!(index.last().unwrap(), entries.last().copied());
            index.append(entry(5000)).unwrap();
            let again = SparseIndex::<OffsetPosition>::open(&handles, path, 100).unwrap().unwrap();
            prop_assert_eq!(again.len(), count as u32 + 1);
            prop_assert_eq!(again.last().unwrap(), Some(entry(5000)));
        });
    }

    #[test]
    fn what_cannot_be_an_index_is_not_opened() {
        let dir = tempfile::tempdir().unwrap();
        let handles = FileHandles::new(4);
        let path = dir.path().join("i");
        let open = || SparseIndex::<TimestampOffset>::open(&handles, path.clone(), 0).unwrap();
        assert!(open().is_none());
        fs::write(&path, [0; 13]).unwrap();
        assert!(open().is_none());
        fs::write(&path, [0; 24]).unwrap();
        assert_eq!(open().unwrap().len(), 2);
    }
}
