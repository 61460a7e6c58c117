//! Opening a partition: what is on disk becomes segments, producers and epochs that can be trusted.
//!
//! After a clean stop the files are taken as they are. Otherwise the log is walked from the recovery
//! point on: everything before it had been flushed, so damage there is an error; what comes after is
//! the tail that a crash may have torn, and is cut off at the first batch that is not whole. How much a
//! crash may have torn depends on whether the page cache survived it: `written.rs`. What it cannot have torn is checked later:
//! `partition_log/check.rs`.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::atomic_file::{read_small, remove_if_exists};
use crate::batch_scanner::ScanError;
use crate::compaction;
use crate::error::{OpenError, StorageContext, StorageError};
use crate::file_handles::FileHandles;
use crate::file_steps::FileSteps;
use crate::index::{IndexBuilder, newer};
use crate::leader_epochs::LeaderEpochs;
use crate::names::{
    CLEANED_SUFFIX, DELETED_SUFFIX, LOG_SUFFIX, OFFSET_INDEX_SUFFIX, SNAPSHOT_SUFFIX, SWAP_SUFFIX,
    TEMPORARY_SUFFIX, TIME_INDEX_SUFFIX, TRANSACTION_INDEX_SUFFIX, offset_file, parse_offset_file,
};
use crate::producer_snapshot;
use crate::producer_state::Producers;
use crate::reset;
use crate::segment::Segment;
use crate::unstable_transactions::UnstableTransactions;

mod indexes;
mod producers;
#[cfg(test)]
mod tests;
mod walk;
mod written;

pub(crate) use indexes::Indexes;
pub(crate) use producers::ProducerWalk;
pub use written::PageCache;

/// What the data directory knows about a partition before it is opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct OpenState {
    /// The data directory was stopped in good order.
    pub clean_shutdown: bool,
    /// What became of what had been written and not flushed.
    pub page_cache: PageCache,
    /// Everything below was flushed.
    pub recovery_point: i64,
    /// Everything below was whole when it was looked at; `None`: as far as it was flushed.
    pub checked_offset: Option<i64>,
    /// First offset that may be read.
    pub log_start_offset: i64,
    /// As of the last checkpoint.
    pub high_watermark: i64,
    /// Up to here the log was compacted.
    pub compacted_offset: i64,
    /// What is damaged is cut off even where it had been flushed, and a copy of it is kept. Everything is
    /// checked.
    pub keep_damaged: bool,
}

/// Something that was not as a clean stop leaves it, and what was done about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// Bytes after the last whole batch were cut off; a crash may have torn them. Zeros alone are no
    /// finding: they are space allocated ahead.
    TailTruncated {
        /// The segment that was cut.
        file: PathBuf,
        /// Where it ends now.
        position: u64,
        /// Bytes that were cut off, those of later segments included.
        bytes: u64,
        /// Offset that the next record gets.
        log_end_offset: i64,
        /// Why the bytes are not a batch.
        reason: String,
    },
    /// Data that no crash can have taken is damaged or gone, and was asked to be cut off so that it can
    /// be fetched again from another replica.
    Quarantined {
        /// The segment at fault.
        file: PathBuf,
        /// Where it ends now.
        position: u64,
        /// Offset from which on the log must be fetched again.
        log_end_offset: i64,
        /// What was wrong there.
        reason: String,
        /// Offsets below this one had been there.
        recovery_offset: i64,
        /// Copies of what was cut off; nobody removes them.
        kept: Vec<PathBuf>,
    },
    /// The log begins anew, empty: a reset had been begun before the stop.
    Reset {
        /// The partition's directory.
        directory: PathBuf,
        /// Where it begins, and ends for now.
        log_start_offset: i64,
    },
    /// A file could be made anew from the log.
    Rebuilt {
        /// Which file.
        file: PathBuf,
        /// What was wrong with it.
        reason: String,
    },
}

impl Finding {
    pub(crate) fn is_reset(&self) -> bool {
        matches!(self, Self::Reset { .. })
    }
}

/// What opening gives.
#[derive(Debug)]
pub(crate) struct Recovered {
    /// At least one.
    pub(crate) segments: BTreeMap<i64, Arc<Segment>>,
    pub(crate) active_index: IndexBuilder,
    pub(crate) producers: Producers,
    pub(crate) transactions: UnstableTransactions,
    pub(crate) epochs: LeaderEpochs,
    /// The epochs on disk are others.
    pub(crate) epochs_changed: bool,
    /// Everything below is flushed.
    pub(crate) flushed_offset: i64,
    /// Offsets whose batches are still to be checked against their CRC; perhaps none.
    pub(crate) unchecked: Range<i64>,
    /// The files are as a clean stop left them.
    pub(crate) is_clean: bool,
    pub(crate) log_start_offset: i64,
    /// It starts here at least after any crash.
    pub(crate) durable_log_start_offset: i64,
    pub(crate) log_end_offset: i64,
    pub(crate) findings: Vec<Finding>,
}

pub(crate) fn open(
    directory: &Path,
    handles: &Arc<FileHandles>,
    state: OpenState,
    index_interval_bytes: u32,
) -> Result<Recovered, OpenError> {
    if let Some(offset) = reset::read_mark(directory)? {
        return carry_out_reset(directory, handles, offset);
    }
    let mut files = list(directory)?;
    if files.has_compaction_rest {
        let mut steps = FileSteps::new(handles.operations());
        compaction::finish_interrupted(&mut steps, directory, state.keep_damaged)?;
        files = list(directory)?;
    }
    let mut recovery = Recovery {
        directory,
        handles,
        state,
        index_interval_bytes,
        snapshots: files.snapshots,
        findings: Vec::new(),
        epochs: LeaderEpochs::default(),
        epochs_known: true,
        is_unflushed: false,
        without_transaction_index: Vec::new(),
    };
    recovery.read_epochs()?;
    let segments = recovery.open_segments(&files.bases, &files.transaction_indexes)?;
    recovery.run(segments)
}

/// Whatever else the files and the checkpoints say.
fn carry_out_reset(
    directory: &Path,
    handles: &Arc<FileHandles>,
    offset: i64,
) -> Result<Recovered, OpenError> {
    let mut steps = FileSteps::new(handles.operations());
    compaction::remove_interrupted(&mut steps, directory)?;
    let segment = reset::carry_out(directory, handles, offset)?;
    Ok(Recovered {
        segments: BTreeMap::from([(offset, Arc::new(segment))]),
        active_index: IndexBuilder::default(),
        producers: Producers::default(),
        transactions: UnstableTransactions::default(),
        epochs: LeaderEpochs::default(),
        epochs_changed: false,
        flushed_offset: offset,
        unchecked: offset..offset,
        is_clean: false,
        log_start_offset: offset,
        durable_log_start_offset: offset,
        log_end_offset: offset,
        findings: vec![Finding::Reset {
            directory: directory.to_path_buf(),
            log_start_offset: offset,
        }],
    })
}

/// The newest snapshot that can be read and is not above `offset`, with its own offset.
pub(crate) fn newest_snapshot(
    directory: &Path,
    snapshots: impl DoubleEndedIterator<Item = i64>,
    offset: i64,
    findings: &mut Vec<Finding>,
) -> Result<Option<(i64, Producers)>, StorageError> {
    for at in snapshots.rev().filter(|at| *at <= offset) {
        let path = offset_file(directory, at, SNAPSHOT_SUFFIX);
        let bytes = match read_small(&path) {
            Ok(Some(bytes)) => bytes,
            Ok(None) => continue,
            // The log knows all that it says.
            Err(error) if error.is_of_disk() => {
                let reason = error.to_string();
                findings.push(Finding::Rebuilt { file: path, reason });
                continue;
            }
            Err(error) => return Err(error),
        };
        match producer_snapshot::decode(&bytes) {
            Ok(producers) => return Ok(Some((at, producers))),
            Err(reason) => findings.push(Finding::Rebuilt { file: path, reason }),
        }
    }
    Ok(None)
}

/// Whether a segment is empty that is not the last one: the rest of a roll that failed, or a loss.
fn has_hollow(segments: &[Arc<Segment>]) -> bool {
    segments
        .split_last()
        .is_some_and(|(_, closed)| closed.iter().any(|segment| segment.size() == 0))
}

/// Offsets of the snapshots in `directory`, rising.
pub(crate) fn list_snapshots(directory: &Path) -> Result<Vec<i64>, StorageError> {
    Ok(list(directory)?.snapshots)
}

struct Files {
    bases: Vec<i64>,
    snapshots: Vec<i64>,
    /// Base offsets of the segments with an index of aborted transactions.
    transaction_indexes: Vec<i64>,
    /// Compaction was interrupted, or is at work now.
    has_compaction_rest: bool,
}

/// Also removes what an interrupted step left behind.
fn list(directory: &Path) -> Result<Files, StorageError> {
    let mut files = Files {
        bases: Vec::new(),
        snapshots: Vec::new(),
        transaction_indexes: Vec::new(),
        has_compaction_rest: false,
    };
    let mut companions = Vec::new();
    for entry in fs::read_dir(directory).at("list", directory)? {
        let path = entry.at("list", directory)?.path();
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
            continue;
        };
        if name.ends_with(TEMPORARY_SUFFIX) || name.ends_with(DELETED_SUFFIX) {
            remove_if_exists(&path)?;
            continue;
        }
        if name.ends_with(CLEANED_SUFFIX) || name.ends_with(SWAP_SUFFIX) {
            files.has_compaction_rest = true;
            continue;
        }
        match parse_offset_file(name) {
            Some((base, LOG_SUFFIX)) => files.bases.push(base),
            Some((offset, SNAPSHOT_SUFFIX)) => files.snapshots.push(offset),
            Some((base, TRANSACTION_INDEX_SUFFIX)) => {
                files.transaction_indexes.push(base);
                companions.push((base, path));
            }
            Some((base, OFFSET_INDEX_SUFFIX | TIME_INDEX_SUFFIX)) => companions.push((base, path)),
            _ => {}
        }
    }
    files.bases.sort_unstable();
    files.snapshots.sort_unstable();
    files.transaction_indexes.sort_unstable();
    for (base, path) in companions {
        if files.bases.binary_search(&base).is_err() {
            remove_if_exists(&path)?;
        }
    }
    Ok(files)
}

struct Recovery<'a> {
    directory: &'a Path,
    handles: &'a Arc<FileHandles>,
    state: OpenState,
    index_interval_bytes: u32,
    snapshots: Vec<i64>,
    findings: Vec<Finding>,
    epochs: LeaderEpochs,
    /// Otherwise all batches are asked.
    epochs_known: bool,
    /// What was found is to be flushed later, or there was no room to write down its epochs.
    is_unflushed: bool,
    /// Base offsets of segments whose index of aborted transactions cannot be used: as long as it is not made anew it is empty.
    without_transaction_index: Vec<i64>,
}

/// What the segments hold.
struct Contents {
    /// Nothing was missing.
    is_clean: bool,
    segments: Vec<Arc<Segment>>,
    active_index: IndexBuilder,
    producers: Producers,
    transactions: UnstableTransactions,
    log_end_offset: i64,
    /// Where the last batch ends whose records nobody looked at.
    unchecked_to: i64,
}

impl Recovery<'_> {
    fn read_epochs(&mut self) -> Result<(), OpenError> {
        match LeaderEpochs::read(self.directory) {
            Ok(Some(epochs)) => self.epochs = epochs,
            Ok(None) => self.epochs_known = false,
            Err(OpenError::Malformed { file, reason }) => {
                self.epochs_known = false;
                self.findings.push(Finding::Rebuilt { file, reason });
            }
            Err(other) => return Err(other),
        }
        Ok(())
    }

    fn open_segments(
        &mut self,
        bases: &[i64],
        transaction_indexes: &[i64],
    ) -> Result<Vec<Arc<Segment>>, OpenError> {
        let mut segments = Vec::with_capacity(bases.len());
        for base in bases {
            let has_aborted = transaction_indexes.binary_search(base).is_ok();
            let opened = Segment::open(self.handles, self.directory, *base, has_aborted)?;
            let (segment, unusable) = opened;
            if unusable.indexes && segment.size() > 0 {
                self.rebuild_indexes(&segment, bases.last() == Some(base))?;
            }
            segments.push(Arc::new(segment));
            if unusable.transaction_index {
                self.without_transaction_index.push(*base);
            }
        }
        if segments.is_empty() {
            let base = self.state.log_start_offset;
            segments.push(Arc::new(Segment::create(
                self.handles,
                self.directory,
                base,
            )?));
        }
        Ok(segments)
    }

    /// For a segment that is perhaps not walked. What cannot be scanned is left to those who are to
    /// judge it.
    fn rebuild_indexes(&mut self, segment: &Segment, is_last: bool) -> Result<(), OpenError> {
        let mut rebuilt = Indexes::default();
        let mut scanner = segment.scan(0, segment.base_offset)?;
        while let Ok(Some(batch)) = scanner.next() {
            rebuilt.add(&batch.header, batch.position, self.index_interval_bytes);
        }
        rebuilt.store(segment, is_last)?;
        if !is_last {
            // What lies before the recovery point no later flush takes along.
            segment.flush_indexes()?;
        }
        let file = offset_file(self.directory, segment.base_offset, OFFSET_INDEX_SUFFIX);
        let reason = "an index was missing or had an impossible length".to_owned();
        self.findings.push(Finding::Rebuilt { file, reason });
        Ok(())
    }

    /// Those of the segments that begin before `offset`: a walk does not go over all of them.
    fn rebuild_transaction_indexes(
        &mut self,
        segments: &[Arc<Segment>],
        offset: i64,
    ) -> Result<(), OpenError> {
        for base_offset in std::mem::take(&mut self.without_transaction_index) {
            let file = offset_file(self.directory, base_offset, TRANSACTION_INDEX_SUFFIX);
            let reason = "it cannot be a transaction index".to_owned();
            if base_offset < offset {
                let to = segments.partition_point(|it| it.base_offset <= base_offset);
                self.rebuild_transaction_index(&segments[..to])?;
            } else {
                // The walk makes it anew, in a place that the disk gives.
                remove_if_exists(&file)?;
            }
            self.findings.push(Finding::Rebuilt { file, reason });
        }
        Ok(())
    }

    /// That of the last one of `segments`. The transactions that end there may begin before. Where anything is damaged nobody
    /// can say what was aborted behind it.
    fn rebuild_transaction_index(&mut self, segments: &[Arc<Segment>]) -> Result<(), OpenError> {
        let last = segments.last().expect("there is one");
        let (snapshots, base) = (self.snapshots.iter().copied(), last.base_offset);
        let found = newest_snapshot(self.directory, snapshots, base, &mut self.findings)?;
        let mut walk = ProducerWalk::new(found);
        let mut aborted = Vec::new();
        let is_before = |segment: &Arc<Segment>| segment.base_offset <= walk.from;
        let floor = segments.partition_point(is_before).max(1) - 1;
        for segment in &segments[floor..] {
            aborted.clear();
            let mut scanner = segment.scan(0, segment.base_offset)?;
            let mut offset = segment.base_offset;
            loop {
                let scanned = self.unless_bad(scanner.next(), segment)?;
                let Some(batch) = scanned else {
                    break;
                };
                let is_in_place = segment.check_place(&batch, offset);
                is_in_place.map_err(|reason| self.corrupt(segment, batch.position, reason))?;
                offset = batch.header.next_offset();
                let ended = walk.add(&mut scanner, &batch);
                aborted.extend(self.unless_bad(ended, segment)?);
            }
        }
        last.transaction_index.replace(&aborted)?;
        Ok(())
    }

    fn unless_bad<T>(
        &self,
        scanned: Result<T, ScanError>,
        segment: &Segment,
    ) -> Result<T, OpenError> {
        match scanned {
            Ok(scanned) => Ok(scanned),
            Err(ScanError::Bad {
                position, error, ..
            }) => Err(self.corrupt(segment, position, error)),
            Err(ScanError::Io(source)) => Err(source).at("read", segment.path())?,
        }
    }

    fn corrupt(&self, segment: &Segment, position: u64, reason: impl Display) -> OpenError {
        OpenError::Corrupt {
            file: segment.path().to_path_buf(),
            position,
            reason: reason.to_string(),
            recovery_offset: self.state.known_offset(),
        }
    }

    fn run(mut self, segments: Vec<Arc<Segment>>) -> Result<Recovered, OpenError> {
        let contents = if self.state.clean_shutdown && self.epochs_known {
            self.take_as_is(&segments)?
        } else {
            None
        };
        match contents {
            Some(contents) => {
                self.rebuild_transaction_indexes(&segments, contents.log_end_offset)?;
                self.finish(contents)
            }
            None => {
                let contents = self.walk(segments)?;
                self.finish(contents)
            }
        }
    }

    /// `None` when something is missing or not as it should be: then the log is walked.
    fn take_as_is(&mut self, segments: &[Arc<Segment>]) -> Result<Option<Contents>, OpenError> {
        let Some(last) = segments.last() else {
            return Ok(None);
        };
        let entry = last.offset_index.last()?;
        let from = entry.map_or(0, |entry| u64::from(entry.position));
        let mut indexed = entry.map(|entry| entry.offset);
        let mut end_offset = last.base_offset;
        // The entry that closes the time index is missing where it was made anew.
        let last_time_entry = last.time_index.last()?;
        let mut max_timestamp = last_time_entry;
        let mut scanner = last.scan(from, last.base_offset)?;
        loop {
            let header = match scanner.next() {
                Ok(None) => break,
                Ok(Some(batch)) => batch.header,
                Err(ScanError::Bad { .. }) => return Ok(None),
                Err(ScanError::Io(source)) => return Err(source).at("read", last.path())?,
            };
            let is_indexed = indexed
                .take()
                .is_none_or(|offset| offset == header.last_offset());
            if !is_indexed || header.base_offset < end_offset || header.last_offset_delta < 0 {
                return Ok(None);
            }
            end_offset = header.next_offset();
            max_timestamp = newer(max_timestamp, &header);
        }
        // Whatever the mark of a clean stop says: what was there and is not was lost.
        if indexed.is_some() || end_offset < self.state.known_offset() {
            return Ok(None);
        }
        if has_hollow(segments) {
            return Ok(None);
        }
        let snapshots = self.snapshots.iter().copied();
        let found = newest_snapshot(self.directory, snapshots, end_offset, &mut self.findings)?;
        let producers = match found {
            Some((at, producers)) if at == end_offset => producers,
            None if end_offset == segments[0].base_offset => Producers::default(),
            _ => return Ok(None),
        };
        Ok(Some(Contents {
            is_clean: true,
            segments: segments.to_vec(),
            active_index: IndexBuilder::resume(last.size() - from, last_time_entry, max_timestamp),
            transactions: UnstableTransactions::of(&producers),
            producers,
            log_end_offset: end_offset,
            unchecked_to: end_offset,
        }))
    }

    fn finish(mut self, mut contents: Contents) -> Result<Recovered, OpenError> {
        let first = contents.segments[0].base_offset;
        let log_start_offset = self.state.log_start_offset.max(first);
        if contents.log_end_offset < log_start_offset {
            // Records up to the start were deleted on request, so what is left is nothing.
            for segment in contents.segments {
                segment.remove_files()?;
            }
            let segment = Segment::create(self.handles, self.directory, log_start_offset)?;
            contents = Contents {
                is_clean: false,
                segments: vec![Arc::new(segment)],
                active_index: IndexBuilder::default(),
                producers: Producers::default(),
                transactions: UnstableTransactions::default(),
                log_end_offset: log_start_offset,
                unchecked_to: log_start_offset,
            };
        }
        let (end, segments) = (contents.log_end_offset, contents.segments);
        // What was flushed and not walked is as unchecked as it was.
        let checked_from = match self.state.keep_damaged && !contents.is_clean {
            true => 0,
            false => contents.unchecked_to.max(self.state.recovery_point),
        };
        // An epoch that has written nothing yet begins right at the end.
        let cut = self.epochs.truncate_from_end(end + 1);
        let moved = self.epochs.truncate_from_start(log_start_offset);
        // Snapshots of a longer log would be taken for ones of the log as it goes on.
        for at in self
            .snapshots
            .iter()
            .filter(|at| !(contents.is_clean && **at == end))
        {
            if segments.iter().all(|segment| segment.base_offset != *at) {
                remove_if_exists(&offset_file(self.directory, *at, SNAPSHOT_SUFFIX))?;
            }
        }
        Ok(Recovered {
            segments: segments.into_iter().map(|s| (s.base_offset, s)).collect(),
            active_index: contents.active_index,
            producers: contents.producers,
            transactions: contents.transactions,
            epochs: self.epochs,
            epochs_changed: cut || moved || !contents.is_clean,
            flushed_offset: match self.is_unflushed {
                true => self.state.recovery_point.min(end),
                false => end,
            },
            unchecked: self.state.checked_to().max(log_start_offset)..checked_from.min(end),
            is_clean: contents.is_clean,
            log_start_offset,
            durable_log_start_offset: match self.state.is_flushed_later() {
                // The process before may have removed segments, and not flushed that.
                true => self.state.log_start_offset.min(log_start_offset),
                false => log_start_offset,
            },
            log_end_offset: end,
            findings: self.findings,
        })
    }
}
