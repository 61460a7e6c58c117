//! One pass over a log.

use std::fs;
use std::ops::ControlFlow;
use std::sync::Arc;

use foz_protocol::batch::{BatchHeader, HEADER_LENGTH};
use foz_protocol::record::RecordError;

use super::batch_reader::BatchReader;
use super::choice::{Cleanable, LogSummary};
use super::cleaned_segment::{CleanedSegment, IndexBytes};
use super::offset_map::{Full, OffsetMap};
use super::rules::{Fate, Judge, JudgeError, put_keys, read_marker};
use super::swap::remove_cleaned;
use super::transactions::{AbortedTransaction, TransactionScan, Transactions};
use super::{Compacted, CompactionError, CompactionIo, CompactionLimits, Proceed};
use crate::batch_scanner::Scanned;
use crate::config::LogConfig;
use crate::file_steps::FileSteps;
use crate::partition_log::{ClosedSegments, MoveStage, PartitionLog};
use crate::segment::{BATCH_BYTES_MAX, Segment};

/// Positions in an index are 32 bits wide, and Kafka reads them as signed ones.
const SEGMENT_BYTES_MAX: u64 = i32::MAX as u64;
/// The caller is asked when this much was read or written.
const ASK_BYTES: u64 = 64 << 10;

/// A pass that is under way.
pub(crate) struct Pass<'a> {
    log: &'a PartitionLog,
    config: Arc<LogConfig>,
    now_ms: i64,
    /// A copy is read that may have what came before a tombstone, and not the tombstone yet. Told before anything is
    /// looked at: what goes in this pass had its horizon before the copy was begun.
    keeps_horizons: bool,
    steps: FileSteps<'a>,
    proceed: Proceed<'a>,
    /// Since the caller was asked.
    io: CompactionIo,
    done: Compacted,
    buffer: Vec<u8>,
}

/// What the part that was never compacted tells.
struct Dirty {
    map: OffsetMap,
    aborted: Vec<AbortedTransaction>,
    /// Behind the last one that the map tells of.
    end_offset: i64,
}

impl<'a> Pass<'a> {
    pub(crate) fn new(
        log: &'a PartitionLog,
        now_ms: i64,
        steps: FileSteps<'a>,
        proceed: Proceed<'a>,
    ) -> Self {
        Self {
            log,
            config: log.config(),
            now_ms,
            keeps_horizons: log.move_stage() != MoveStage::None,
            steps,
            proceed,
            io: CompactionIo::default(),
            done: Compacted::default(),
            buffer: Vec::new(),
        }
    }

    pub(crate) fn run(mut self, limits: CompactionLimits) -> Result<Compacted, CompactionError> {
        let closed = self.log.closed_segments();
        let result = self.try_run(&closed, limits);
        // What was read may have been cut or removed in the meantime: no damage then.
        match result {
            Err(CompactionError::Read(_) | CompactionError::Storage(_))
                if !self.log.still_has(&closed) && !self.log.has_failed() =>
            {
                Err(CompactionError::Disturbed)
            }
            Err(error) => Err(error),
            Ok(()) => Ok(self.done),
        }
    }

    fn try_run(
        &mut self,
        closed: &ClosedSegments,
        limits: CompactionLimits,
    ) -> Result<(), CompactionError> {
        self.done.compacted_offset = self.log.compacted_offset();
        // Before anything is looked at: a batch that its producer appends later is not the last one now.
        let producers = self.log.last_of_producers();
        let summaries = self.log.summarize(closed, &self.config)?;
        let summary = self.log.summary(closed, &summaries);
        let Some(cleanable) = summary.cleanable(&self.config, self.now_ms) else {
            return Ok(());
        };
        let (aborted, stable_offset) = self.find_aborted(closed, cleanable.first_dirty_offset)?;
        let summary = LogSummary {
            stable_offset: stable_offset.min(summary.stable_offset),
            ..summary
        };
        let Some(cleanable) = summary.cleanable(&self.config, self.now_ms) else {
            return Ok(());
        };
        let dirty = self.read_dirty(closed, cleanable, aborted, limits)?;
        let groups = summary.groups(&self.config, dirty.end_offset);
        let mut judge = Judge::new(
            &dirty.map,
            dirty.end_offset - 1,
            self.now_ms,
            self.config.delete_retention_ms,
            &producers,
            &dirty.aborted,
        );
        if self.keeps_horizons {
            judge.keep_horizons();
        }
        for group in groups {
            self.compact_group(closed, &closed.segments[group], &mut judge)?;
        }
        self.log.set_compacted_offset(closed, dirty.end_offset)?;
        self.done.compacted_offset = dirty.end_offset;
        Ok(())
    }

    /// The transactions that were aborted, from `from_offset` on, and the offset below which none is open.
    ///
    /// A marker may lie far behind the batches, in what is appended to now: headers are all that is read.
    fn find_aborted(
        &mut self,
        closed: &ClosedSegments,
        from_offset: i64,
    ) -> Result<(Vec<AbortedTransaction>, i64), CompactionError> {
        let mut scan = TransactionScan::default();
        // What may still be lost with the power is not the end of a transaction.
        let upper = self.log.high_watermark().min(self.log.flushed_offset());
        let mut scanned_to = from_offset;
        for segment in closed.since(from_offset).chain([&closed.active]) {
            let Some(first) = segment.find(from_offset)? else {
                continue;
            };
            let mut scanner = segment.scan(first.position, first.header.base_offset)?;
            while let Some(batch) = scanner.next().map_err(|error| segment.read_error(error))? {
                let header = &batch.header;
                if header.last_offset() >= upper || scan.is_full() {
                    return Ok(scan.finish(scanned_to));
                }
                if header.is_control() {
                    // What a start has not checked yet (ADR 0026) may be among them.
                    let bytes = segment.read_checked_batch(&batch)?;
                    let marker =
                        read_marker(header, &bytes).map_err(|error| malformed(&batch, error))?;
                    if let Some(marker) = marker {
                        scan.marker(header, marker);
                    }
                } else {
                    scan.data(header);
                }
                scanned_to = header.next_offset();
                self.ask(closed, HEADER_LENGTH as u64, 0)?;
            }
        }
        // A gap at the end is no reason to stop before it.
        Ok(scan.finish(upper.max(scanned_to)))
    }

    fn read_dirty(
        &mut self,
        closed: &ClosedSegments,
        cleanable: Cleanable,
        aborted: Vec<AbortedTransaction>,
        limits: CompactionLimits,
    ) -> Result<Dirty, CompactionError> {
        let from_offset = cleanable.first_dirty_offset;
        // No offset holds more than one key.
        let keys_max = (cleanable.end_offset - from_offset).unsigned_abs();
        let mut map = OffsetMap::new(limits.map_bytes, keys_max);
        self.done.map_bytes = map.bytes();
        let (mut end_offset, mut is_full) = (from_offset, false);
        let mut transactions = Transactions::new(&aborted);
        'segments: for segment in closed.since(from_offset) {
            if segment.base_offset >= cleanable.end_offset {
                break;
            }
            let Some(first) = segment.find(from_offset)? else {
                continue;
            };
            let mut reader = self.reader(segment, first.position, first.header.base_offset);
            while let Some((batch, bytes)) = reader.next()? {
                let put = put_keys(
                    &mut map,
                    &mut transactions,
                    &batch.header,
                    bytes,
                    from_offset,
                );
                match put.map_err(|error| malformed(&batch, error))? {
                    Ok(()) => end_offset = batch.header.next_offset(),
                    Err(Full) => {
                        is_full = true;
                        break 'segments;
                    }
                }
                self.ask(closed, batch.header.total_length() as u64, 0)?;
            }
            self.buffer = reader.into_buffer();
        }
        drop(transactions);
        if !is_full {
            // A gap may follow the last batch.
            end_offset = cleanable.end_offset;
        } else if end_offset == from_offset {
            return Err(CompactionError::MapTooSmall {
                map_bytes: map.bytes(),
                offset: from_offset,
            });
        }
        Ok(Dirty {
            map,
            aborted,
            end_offset,
        })
    }

    /// Writes what stays of these segments into one, which takes their places.
    fn compact_group(
        &mut self,
        closed: &ClosedSegments,
        before: &[Arc<Segment>],
        judge: &mut Judge<'_>,
    ) -> Result<(), CompactionError> {
        let base_offset = before[0].base_offset;
        if before.iter().all(|segment| segment.size() == 0) {
            // Nothing comes of nothing, and no segment that is written is empty.
            return Ok(());
        }
        let written = self.write_group(closed, before, judge);
        if written.is_err() {
            // Else the next start does.
            let _ = remove_cleaned(&mut self.steps, self.log.directory(), base_offset);
        }
        let Some((cleaned, indexes)) = written? else {
            return Ok(());
        };
        let modified = before.last().and_then(|last| {
            let written = fs::metadata(last.path()).and_then(|file| file.modified());
            written.ok()
        });
        let replaces = before[0].transaction_index.exists();
        let finished = cleaned.finish(&mut self.steps, indexes, modified, replaces);
        let replaced = finished
            .map_err(CompactionError::from)
            .and_then(|finished| {
                let counts = (
                    before.iter().map(|segment| segment.size()).sum::<u64>(),
                    finished.size,
                    before.len(),
                );
                self.log
                    .replace_segments(closed, before, finished, &mut self.steps)?;
                Ok(counts)
            });
        if replaced.is_err() {
            let _ = remove_cleaned(&mut self.steps, self.log.directory(), base_offset);
        }
        let (bytes_before, bytes_after, segments) = replaced?;
        self.done.bytes_before += bytes_before;
        self.done.bytes_after += bytes_after;
        self.done.segments_before += segments;
        self.done.segments_after += 1;
        Ok(())
    }

    /// `None` when everything stays as it is, in one segment.
    fn write_group(
        &mut self,
        closed: &ClosedSegments,
        before: &[Arc<Segment>],
        judge: &mut Judge<'_>,
    ) -> Result<Option<(CleanedSegment, IndexBytes)>, CompactionError> {
        let base_offset = before[0].base_offset;
        let mut indexes = IndexBytes::default();
        // A single segment is copied from the first change on: most of a log that is compacted over and over is
        // as it was.
        let mut cleaned: Option<CleanedSegment> = None;
        if before.len() > 1 {
            cleaned = Some(self.create(base_offset)?);
        }
        let last = before.iter().rposition(|segment| segment.size() > 0);
        for (n, segment) in before.iter().enumerate() {
            let is_last_segment = Some(n) == last;
            let mut aborted = segment.transaction_index.cursor();
            let mut reader = self.reader(segment, 0, segment.base_offset);
            while let Some((batch, bytes)) = reader.next()? {
                let length = bytes.len() as u64;
                let ends_segment = is_last_segment && batch.position + length >= segment.size();
                let fate = judge
                    .judge(&batch.header, bytes, ends_segment)
                    .map_err(|error| judged(&batch, error))?;
                let fate = match fate {
                    // A codec at another level than the producer's, or a delete horizon: it would not be read again.
                    Fate::Rewrite(bytes) if bytes.len() > BATCH_BYTES_MAX => Fate::Keep,
                    fate => fate,
                };
                if fate != Fate::Keep && cleaned.is_none() {
                    let mut created = self.create(base_offset)?;
                    self.copy(closed, segment, batch.position, &mut created)?;
                    cleaned = Some(created);
                }
                let (header, bytes) = match &fate {
                    Fate::Drop => {
                        self.ask(closed, length, 0)?;
                        continue;
                    }
                    Fate::Keep => (batch.header, bytes),
                    Fate::Rewrite(bytes) => {
                        let header = BatchHeader::parse(bytes).expect("it was just made");
                        (header, bytes.as_slice())
                    }
                };
                let position = cleaned
                    .as_ref()
                    .map_or(batch.position, CleanedSegment::size);
                if position + bytes.len() as u64 > SEGMENT_BYTES_MAX {
                    return Err(CompactionError::TooLarge { base_offset });
                }
                indexes.add(base_offset, &header, position, &self.config);
                if header.is_control()
                    && header.record_count > 0
                    && let Some(aborted) = aborted.seek(header.last_offset())?
                {
                    indexes.add_aborted(&aborted);
                }
                let mut written = 0;
                if let Some(cleaned) = &mut cleaned {
                    cleaned.write(&mut self.steps, bytes)?;
                    written = bytes.len() as u64;
                }
                self.ask(closed, length, written)?;
            }
            self.buffer = reader.into_buffer();
        }
        Ok(cleaned.map(|cleaned| (cleaned, indexes)))
    }

    fn create(&mut self, base_offset: i64) -> Result<CleanedSegment, CompactionError> {
        let directory = self.log.directory();
        Ok(CleanedSegment::create(
            &mut self.steps,
            directory,
            base_offset,
        )?)
    }

    /// What lies before `end`, which was judged and stays.
    fn copy(
        &mut self,
        closed: &ClosedSegments,
        segment: &Arc<Segment>,
        end: u64,
        into: &mut CleanedSegment,
    ) -> Result<(), CompactionError> {
        let mut reader = BatchReader::new(segment, 0, segment.base_offset, Vec::new());
        while into.size() < end
            && let Some((_, bytes)) = reader.next()?
        {
            into.write(&mut self.steps, bytes)?;
            self.ask(closed, bytes.len() as u64, bytes.len() as u64)?;
        }
        Ok(())
    }

    fn reader(&mut self, segment: &Arc<Segment>, position: u64, offset: i64) -> BatchReader {
        let buffer = std::mem::take(&mut self.buffer);
        BatchReader::new(segment, position, offset, buffer)
    }

    fn ask(
        &mut self,
        closed: &ClosedSegments,
        read_bytes: u64,
        written_bytes: u64,
    ) -> Result<(), CompactionError> {
        self.done.read_bytes += read_bytes;
        self.done.written_bytes += written_bytes;
        self.io.read_bytes += read_bytes;
        self.io.written_bytes += written_bytes;
        if self.io.read_bytes + self.io.written_bytes < ASK_BYTES {
            return Ok(());
        }
        // It may have been deleted meanwhile: nobody has use for the rest of the pass.
        if !self.log.is_unchanged(closed) {
            return Err(CompactionError::Disturbed);
        }
        match (self.proceed)(std::mem::take(&mut self.io)) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(CompactionError::Stopped),
        }
    }
}

fn judged(batch: &Scanned, error: JudgeError) -> CompactionError {
    match error {
        JudgeError::Record(error) => malformed(batch, error),
        JudgeError::Build(source) => CompactionError::Rewrite {
            offset: batch.header.base_offset,
            source,
        },
    }
}

/// Its CRC is right: what lies there is what came.
fn malformed(batch: &Scanned, source: RecordError) -> CompactionError {
    CompactionError::Malformed {
        offset: batch.header.base_offset,
        source,
    }
}
