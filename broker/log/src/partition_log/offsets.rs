//! Finding offsets by time and by leader epoch.

use std::sync::Arc;

use foz_protocol::record::{Records, record_bytes};

use super::PartitionLog;
use crate::batch_scanner::Scanned;
use crate::error::ReadError;
use crate::segment::Segment;
use crate::validate::DECOMPRESSED_BYTES_MAX;

/// A record found by its timestamp.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimestampAndOffset {
    /// The record's timestamp in ms.
    pub timestamp_ms: i64,
    /// The record's offset.
    pub offset: i64,
    /// Epoch of the leader that wrote it.
    pub leader_epoch: i32,
}

impl PartitionLog {
    /// The first record below `upper_bound_offset` whose timestamp is `timestamp_ms` or later
    /// (ListOffsets with a timestamp); `None` when there is none.
    ///
    /// # Errors
    /// [`ReadError`] but never `OffsetOutOfRange`.
    pub fn offset_for_timestamp(
        &self,
        timestamp_ms: i64,
        upper_bound_offset: i64,
    ) -> Result<Option<TimestampAndOffset>, ReadError> {
        self.between_changes(|| self.find_timestamp(timestamp_ms, upper_bound_offset))
    }

    fn find_timestamp(
        &self,
        timestamp_ms: i64,
        upper_bound_offset: i64,
    ) -> Result<Option<TimestampAndOffset>, ReadError> {
        self.check_readable()?;
        let start = self.log_start_offset();
        for segment in self.segments_from(start) {
            if segment.base_offset >= upper_bound_offset {
                break;
            }
            let max = segment.max_timestamp()?;
            if max.is_none_or(|max| max.timestamp_ms < timestamp_ms) {
                continue;
            }
            let found = find_timestamp(&segment, timestamp_ms, start)?;
            if let Some(found) = found {
                return Ok((found.offset < upper_bound_offset).then_some(found));
            }
        }
        Ok(None)
    }

    /// The first record with the greatest timestamp below `upper_bound_offset` (ListOffsets with
    /// -3, KIP-734); `None` for an empty log or one without timestamps.
    ///
    /// # Errors
    /// [`ReadError`] but never `OffsetOutOfRange`.
    pub fn offset_of_max_timestamp(
        &self,
        upper_bound_offset: i64,
    ) -> Result<Option<TimestampAndOffset>, ReadError> {
        self.between_changes(|| self.find_max_timestamp(upper_bound_offset))
    }

    fn find_max_timestamp(
        &self,
        upper_bound_offset: i64,
    ) -> Result<Option<TimestampAndOffset>, ReadError> {
        self.check_readable()?;
        let start = self.log_start_offset();
        let mut greatest: Option<(i64, Arc<Segment>)> = None;
        for segment in self.segments_from(start) {
            let is_whole = segment.base_offset < upper_bound_offset;
            let Some(max) = segment.max_timestamp()?.filter(|_| is_whole) else {
                continue;
            };
            if greatest
                .as_ref()
                .is_none_or(|(ms, _)| max.timestamp_ms > *ms)
            {
                greatest = Some((max.timestamp_ms, segment));
            }
        }
        let Some((timestamp_ms, segment)) = greatest else {
            return Ok(None);
        };
        match find_timestamp(&segment, timestamp_ms, start)? {
            Some(found) if found.offset < upper_bound_offset => Ok(Some(found)),
            // What is greatest is not visible yet: look at every batch that is.
            _ => self.scan_for_max_timestamp(start, upper_bound_offset),
        }
    }

    /// The greatest leader epoch known that is not above `epoch`, and where it ends
    /// (OffsetsForLeaderEpoch, KIP-279); `None` when the log cannot say.
    #[must_use]
    pub fn end_offset_for_epoch(&self, epoch: i32) -> Option<(i32, i64)> {
        self.epochs
            .read()
            .end_offset_for(epoch, self.log_end_offset())
    }

    /// The leader epoch that wrote `offset`.
    #[must_use]
    pub fn leader_epoch_at(&self, offset: i64) -> Option<i32> {
        self.epochs.read().epoch_at(offset)
    }

    fn scan_for_max_timestamp(
        &self,
        start: i64,
        upper_bound_offset: i64,
    ) -> Result<Option<TimestampAndOffset>, ReadError> {
        let mut greatest: Option<(i64, Arc<Segment>)> = None;
        for segment in self.segments_from(start) {
            let mut scanner = segment.scan(0, segment.base_offset)?;
            while let Some(batch) = scanner.next().map_err(|error| segment.read_error(error))? {
                if batch.header.last_offset() >= upper_bound_offset {
                    break;
                }
                let ms = batch.header.max_timestamp;
                let has_records = batch.header.record_count > 0;
                let visible = batch.header.last_offset() >= start && ms >= 0 && has_records;
                if visible && greatest.as_ref().is_none_or(|(greatest, _)| ms > *greatest) {
                    greatest = Some((ms, Arc::clone(&segment)));
                }
            }
        }
        match greatest {
            Some((timestamp_ms, segment)) => find_timestamp(&segment, timestamp_ms, start),
            None => Ok(None),
        }
    }

    pub(super) fn segments_from(&self, offset: i64) -> Vec<Arc<Segment>> {
        let segments = self.segments.read();
        let floor = segments
            .range(..=offset)
            .next_back()
            .map_or(offset, |(base, _)| *base);
        segments
            .range(floor..)
            .map(|(_, segment)| Arc::clone(segment))
            .collect()
    }
}

/// The first record at `start_offset` or later whose timestamp is `timestamp_ms` or later.
fn find_timestamp(
    segment: &Segment,
    timestamp_ms: i64,
    start_offset: i64,
) -> Result<Option<TimestampAndOffset>, ReadError> {
    // Every batch up to the one that an entry names has timestamps at most the entry's.
    let entry = match timestamp_ms.checked_sub(1) {
        Some(before) => segment.time_index.floor_if_readable(before)?,
        None => None,
    };
    let from_offset = entry.map_or(start_offset, |entry| entry.offset.max(start_offset));
    let Some(first) = segment.find(from_offset)? else {
        return Ok(None);
    };
    let mut scanner = segment.scan(first.position, first.header.base_offset)?;
    while let Some(batch) = scanner.next().map_err(|error| segment.read_error(error))? {
        if batch.header.max_timestamp < timestamp_ms {
            continue;
        }
        if let Some(found) = find_record(segment, &batch, timestamp_ms, start_offset)? {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

fn find_record(
    segment: &Segment,
    batch: &Scanned,
    timestamp_ms: i64,
    start_offset: i64,
) -> Result<Option<TimestampAndOffset>, ReadError> {
    let header = &batch.header;
    let leader_epoch = header.partition_leader_epoch;
    let has_all_records = header.record_count == header.last_offset_delta.saturating_add(1);
    if header.is_log_append_time() && header.base_offset >= start_offset && has_all_records {
        // All records have the batch's timestamp.
        let (timestamp_ms, offset) = (header.max_timestamp, header.base_offset);
        return Ok(Some(TimestampAndOffset {
            timestamp_ms,
            offset,
            leader_epoch,
        }));
    }
    let malformed = |source| ReadError::Malformed {
        offset: header.base_offset,
        source,
    };
    let whole = segment.read_checked_batch(batch)?;
    let bytes = record_bytes(header, &whole, DECOMPRESSED_BYTES_MAX).map_err(malformed)?;
    for record in Records::new(header, &bytes) {
        let record = record.map_err(malformed)?;
        let (ms, offset) = (record.timestamp(header), record.offset(header));
        if ms >= timestamp_ms && offset >= start_offset {
            return Ok(Some(TimestampAndOffset {
                timestamp_ms: ms,
                offset,
                leader_epoch,
            }));
        }
    }
    Ok(None)
}
