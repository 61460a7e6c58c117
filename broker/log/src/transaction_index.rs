//! `<offset>.txnindex`: the aborted transactions whose markers are in a segment, by their markers' offsets (Kafka's
//! `TransactionIndex`). Only a segment with such a marker has one.
//!
//! An entry is 34 bytes: an INT16 version, the producer's id, the offset of the transaction's first record, that of its marker,
//! and the last stable offset as the marker left it, all INT64.
//!
//! It is no hint: what is missing from it would be served as if it had been committed. So an entry is written before the marker
//! that it is about, and counts after it; a start makes those anew that lie where it walks, and doubts a file that cannot be one.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, Ordering};

use crate::atomic_file;
use crate::error::{StorageContext, StorageError};
use crate::file_handles::{FileHandles, LazyFile};
use crate::reading_files::read_exact_at;

const VERSION: i16 = 0;
const ENTRY_BYTES: usize = 34;

/// Entries that are read at once.
const CHUNK_ENTRIES: u32 = 256;

/// Of [`TransactionIndex::last_marker_offset`], where there is no entry.
const NO_OFFSET: i64 = -1;

/// A transaction that was aborted, on one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AbortedTransaction {
    /// Whose transaction.
    pub producer_id: i64,
    /// Where it begins.
    pub first_offset: i64,
    /// Where its marker is.
    pub marker_offset: i64,
    /// Before this everything was decided once the marker was there, whatever the high watermark was.
    pub last_stable_offset: i64,
}

/// One file. One writer at a time; readers need no lock.
#[derive(Debug)]
pub(crate) struct TransactionIndex {
    file: LazyFile,
    /// Where it does not there are no entries.
    exists: AtomicBool,
    entries: AtomicU32,
    last_marker_offset: AtomicI64,
}

/// A walk over the entries of an index.
#[derive(Debug)]
pub(crate) struct Cursor<'a> {
    index: &'a TransactionIndex,
    read: VecDeque<AbortedTransaction>,
    /// The first entry that was not read.
    next: u32,
}

impl AbortedTransaction {
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.extend(VERSION.to_be_bytes());
        for field in [
            self.producer_id,
            self.first_offset,
            self.marker_offset,
            self.last_stable_offset,
        ] {
            out.extend(field.to_be_bytes());
        }
    }

    /// `None` where these bytes are no entry.
    fn decode(bytes: &[u8]) -> Option<Self> {
        let (version, mut rest) = bytes.split_first_chunk::<2>()?;
        let mut field = || {
            let (field, after) = rest.split_first_chunk::<8>()?;
            rest = after;
            Some(i64::from_be_bytes(*field))
        };
        let entry = Self {
            producer_id: field()?,
            first_offset: field()?,
            marker_offset: field()?,
            last_stable_offset: field()?,
        };
        let is_one = i16::from_be_bytes(*version) == VERSION
            && entry.producer_id >= 0
            && (0..entry.marker_offset).contains(&entry.first_offset)
            && entry.last_stable_offset <= entry.marker_offset.saturating_add(1);
        is_one.then_some(entry)
    }
}

impl TransactionIndex {
    /// Without entries, and without a file until there is one.
    pub(crate) fn new(handles: &Arc<FileHandles>, path: PathBuf) -> Self {
        Self::with_file(LazyFile::new(handles, path), None, NO_OFFSET)
    }

    /// `None` when the file cannot be the index of a segment that begins at `base_offset`, or the disk does not give it: all of
    /// it is looked at.
    pub(crate) fn open(
        handles: &Arc<FileHandles>,
        path: PathBuf,
        base_offset: i64,
    ) -> Result<Option<Self>, StorageError> {
        let length = fs::metadata(&path).at("read", &path)?.len();
        let entries = u32::try_from(length / ENTRY_BYTES as u64).ok();
        let Some(entries) = entries.filter(|_| length.is_multiple_of(ENTRY_BYTES as u64)) else {
            return Ok(None);
        };
        let index = Self::with_file(LazyFile::new(handles, path), Some(entries), NO_OFFSET);
        let mut last = base_offset - 1;
        let mut at = 0;
        while at < entries {
            let chunk = match index.read_chunk(at, entries) {
                Ok(Some(chunk)) => chunk,
                Ok(None) => return Ok(None),
                Err(error) if error.is_of_disk() => return Ok(None),
                Err(error) => return Err(error),
            };
            for entry in &chunk {
                if entry.marker_offset <= last {
                    return Ok(None);
                }
                last = entry.marker_offset;
            }
            at += chunk.len() as u32;
        }
        if entries > 0 {
            index.last_marker_offset.store(last, Ordering::Release);
        }
        Ok(Some(index))
    }

    /// By a file with `entries` that is open and about to get the name `path`.
    pub(crate) fn pinned(
        handles: &Arc<FileHandles>,
        path: PathBuf,
        file: File,
        entries: u32,
        last_marker_offset: Option<i64>,
    ) -> Self {
        let file = LazyFile::pinned(handles, path, file);
        Self::with_file(file, Some(entries), last_marker_offset.unwrap_or(NO_OFFSET))
    }

    /// The same index once `path` is the name of its file.
    pub(crate) fn renamed(&self, handles: &Arc<FileHandles>, path: PathBuf) -> Self {
        let entries = self.exists().then(|| self.len());
        let last = self.last_marker_offset.load(Ordering::Acquire);
        Self::with_file(LazyFile::new(handles, path), entries, last)
    }

    fn with_file(file: LazyFile, entries: Option<u32>, last_marker_offset: i64) -> Self {
        Self {
            file,
            exists: AtomicBool::new(entries.is_some()),
            entries: AtomicU32::new(entries.unwrap_or_default()),
            last_marker_offset: AtomicI64::new(last_marker_offset),
        }
    }

    pub(crate) fn len(&self) -> u32 {
        self.entries.load(Ordering::Acquire)
    }

    pub(crate) fn exists(&self) -> bool {
        self.exists.load(Ordering::Acquire)
    }

    /// Of the last entry.
    pub(crate) fn last_marker_offset(&self) -> Option<i64> {
        let last = self.last_marker_offset.load(Ordering::Acquire);
        (last != NO_OFFSET).then_some(last)
    }

    /// See [`LazyFile::pin`].
    pub(crate) fn pin(&self) -> Result<(), StorageError> {
        match self.exists() {
            true => self.file.pin().at("open", self.file.path()),
            false => Ok(()),
        }
    }

    /// See [`LazyFile::unpin`].
    pub(crate) fn unpin(&self) {
        self.file.unpin();
    }

    /// Writes the next entry. It counts with [`Self::publish`]: what does not is overwritten by the next one, or goes with
    /// [`Self::trim`].
    pub(crate) fn write_ahead(&self, entry: &AbortedTransaction) -> Result<(), StorageError> {
        let mut bytes = Vec::with_capacity(ENTRY_BYTES);
        entry.encode(&mut bytes);
        self.create()?;
        self.open_file()?
            .write_all_at(&bytes, position(self.len()))
            .at("write", self.file.path())
    }

    /// The marker of the entry that was written last is in the log, or is about to be told of.
    pub(crate) fn publish(&self, entry: &AbortedTransaction) {
        self.last_marker_offset
            .store(entry.marker_offset, Ordering::Release);
        self.entries.fetch_add(1, Ordering::Release);
    }

    /// The file gets exactly the length of its entries.
    pub(crate) fn trim(&self) -> Result<(), StorageError> {
        if !self.exists() {
            return Ok(());
        }
        let file = self.open_file()?;
        let length = position(self.len());
        if file.metadata().at("read", self.file.path())?.len() == length {
            return Ok(());
        }
        file.set_len(length).at("truncate", self.file.path())
    }

    /// Makes these the only entries: all of them are durable at once, or none.
    pub(crate) fn replace(&self, entries: &[AbortedTransaction]) -> Result<(), StorageError> {
        let mut bytes = Vec::with_capacity(entries.len() * ENTRY_BYTES);
        entries.iter().for_each(|entry| entry.encode(&mut bytes));
        atomic_file::replace(self.file.path(), &bytes)?;
        self.exists.store(true, Ordering::Release);
        self.entries.store(entries.len() as u32, Ordering::Release);
        let last = entries.last().map_or(NO_OFFSET, |it| it.marker_offset);
        self.last_marker_offset.store(last, Ordering::Release);
        Ok(())
    }

    /// The log is walked over from `offset` on: only entries with markers before it count, until [`Self::go_on_with`] says what
    /// comes behind them.
    pub(crate) fn keep_before(&self, offset: i64) -> Result<(), StorageError> {
        let entries = self.first_from(offset)?;
        self.set_entries(entries)
    }

    /// These come behind those that count, and there are no others. Nothing is written where the file has them, unless what is in
    /// memory of it need not be on the disk.
    pub(crate) fn go_on_with(
        &self,
        entries: &[AbortedTransaction],
        is_written_there: bool,
    ) -> Result<(), StorageError> {
        if entries.is_empty() && !self.exists() {
            return Ok(());
        }
        if !(is_written_there && self.has_behind(entries)) {
            self.write_behind(entries)?;
        }
        if let Some(last) = entries.last() {
            let last = last.marker_offset;
            self.last_marker_offset.store(last, Ordering::Release);
            let count = entries.len() as u32;
            self.entries.fetch_add(count, Ordering::Release);
        }
        self.trim()
    }

    /// The only entries from now on, whether the disk gives those that there are or not.
    pub(crate) fn become_these(&self, entries: &[AbortedTransaction]) -> Result<(), StorageError> {
        let (len, last) = (self.len(), self.last_marker_offset.load(Ordering::Acquire));
        self.set_entries(0)?;
        self.go_on_with(entries, true).inspect_err(|_| {
            // What may not be in the file any more is not to be missed.
            self.entries.store(len, Ordering::Release);
            self.last_marker_offset.store(last, Ordering::Release);
        })
    }

    fn has_behind(&self, entries: &[AbortedTransaction]) -> bool {
        let from = self.len();
        let chunks = entries.chunks(CHUNK_ENTRIES as usize).enumerate();
        let mut same = chunks.map(|(n, chunk)| {
            let at = from + n as u32 * CHUNK_ENTRIES;
            let read = self.read_chunk(at, at + chunk.len() as u32);
            // What the disk does not give is written anew.
            read.is_ok_and(|read| read.as_deref() == Some(chunk))
        });
        same.all(|same| same)
    }

    fn write_behind(&self, entries: &[AbortedTransaction]) -> Result<(), StorageError> {
        let mut bytes = Vec::with_capacity(entries.len() * ENTRY_BYTES);
        entries.iter().for_each(|entry| entry.encode(&mut bytes));
        self.create()?;
        let (file, from) = (self.open_file()?, position(self.len()));
        // What is written over in part is read before.
        file.set_len(from).at("truncate", self.file.path())?;
        file.write_all_at(&bytes, from)
            .at("write", self.file.path())
    }

    /// The disk gives all entries, and each of them can be one.
    pub(crate) fn is_readable(&self) -> bool {
        let (mut at, entries) = (0, self.len());
        while at < entries {
            match self.read_chunk(at, entries) {
                Ok(Some(chunk)) => at += chunk.len() as u32,
                _ => return false,
            }
        }
        true
    }

    /// Adds those that overlap with the offsets from `from` to before `to`. Whether there are no more behind this segment.
    pub(crate) fn collect(
        &self,
        from: i64,
        to: i64,
        found: &mut Vec<AbortedTransaction>,
    ) -> Result<bool, StorageError> {
        if self.last_marker_offset().is_none_or(|last| last < from) {
            return Ok(false);
        }
        let mut at = self.first_from(from)?;
        while let Some(chunk) = self.next_chunk(at)? {
            for entry in &chunk {
                if entry.first_offset < to {
                    found.push(*entry);
                }
                // What begins before `to` had its end by then.
                if entry.last_stable_offset >= to {
                    return Ok(true);
                }
            }
            at += chunk.len() as u32;
        }
        Ok(false)
    }

    /// Some entries from the one at `at` on; `None` behind the last one.
    fn next_chunk(&self, at: u32) -> Result<Option<Vec<AbortedTransaction>>, StorageError> {
        let entries = self.len();
        if at >= entries {
            return Ok(None);
        }
        let chunk = self.read_chunk(at, entries)?;
        chunk.ok_or_else(|| self.damaged(at)).map(Some)
    }

    pub(crate) fn cursor(&self) -> Cursor<'_> {
        Cursor {
            index: self,
            read: VecDeque::new(),
            next: 0,
        }
    }

    pub(crate) fn flush(&self) -> Result<(), StorageError> {
        if !self.exists() {
            return Ok(());
        }
        let file = self.open_file()?;
        self.file.flush(&file).at("flush", self.file.path())
    }

    /// How many entries have their markers before `offset`.
    fn first_from(&self, offset: i64) -> Result<u32, StorageError> {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = low + (high - low) / 2;
            let entry = self.read_chunk(middle, middle + 1)?;
            let entry = entry.and_then(|chunk| chunk.first().copied());
            if entry.ok_or_else(|| self.damaged(middle))?.marker_offset < offset {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Ok(low)
    }

    /// Only the first so many count.
    fn set_entries(&self, entries: u32) -> Result<(), StorageError> {
        let last = match entries.checked_sub(1) {
            Some(last) => self.next_chunk(last)?.map(|chunk| chunk[0].marker_offset),
            None => None,
        };
        self.entries.store(entries, Ordering::Release);
        self.last_marker_offset
            .store(last.unwrap_or(NO_OFFSET), Ordering::Release);
        Ok(())
    }

    /// Of the entries from `at` to before `to` as many as are read at once; `None` where one is none.
    fn read_chunk(
        &self,
        at: u32,
        to: u32,
    ) -> Result<Option<Vec<AbortedTransaction>>, StorageError> {
        let count = (to - at).min(CHUNK_ENTRIES) as usize;
        let mut bytes = vec![0; count * ENTRY_BYTES];
        read_exact_at(&*self.open_file()?, &mut bytes, position(at))
            .at("read", self.file.path())?;
        let entries = bytes.chunks_exact(ENTRY_BYTES);
        Ok(entries.map(AbortedTransaction::decode).collect())
    }

    /// It was looked at when it was opened, so somebody has changed it since. The next start makes it anew.
    fn damaged(&self, entry: u32) -> StorageError {
        let reason = format!("what should be entry {entry} of a transaction index is none");
        StorageError {
            action: "read",
            path: self.file.path().to_path_buf(),
            source: io::Error::new(io::ErrorKind::InvalidData, reason),
        }
    }

    fn create(&self) -> Result<(), StorageError> {
        if !self.exists() {
            File::create(self.file.path()).at("create", self.file.path())?;
            self.exists.store(true, Ordering::Release);
        }
        Ok(())
    }

    fn open_file(&self) -> Result<Arc<File>, StorageError> {
        self.file.open().at("open", self.file.path())
    }
}

impl Cursor<'_> {
    /// The transaction whose marker is at `offset`; offsets rise from call to call.
    pub(crate) fn seek(&mut self, offset: i64) -> Result<Option<AbortedTransaction>, StorageError> {
        loop {
            while let Some(entry) = self.read.front() {
                if entry.marker_offset >= offset {
                    return Ok(Some(*entry).filter(|entry| entry.marker_offset == offset));
                }
                self.read.pop_front();
            }
            let Some(chunk) = self.index.next_chunk(self.next)? else {
                return Ok(None);
            };
            self.next += chunk.len() as u32;
            self.read = chunk.into();
        }
    }
}

fn position(entry: u32) -> u64 {
    u64::from(entry) * ENTRY_BYTES as u64
}

#[cfg(test)]
mod tests;
