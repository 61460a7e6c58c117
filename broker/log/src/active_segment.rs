//! The segment at the end of a log, as its only writer sees it.

use std::sync::Arc;

use foz_protocol::batch::BatchHeader;
use rustix::fs::FallocateFlags;

use crate::config::LogConfig;
use crate::error::StorageError;
use crate::index::{Entry, IndexBuilder, OffsetPosition, TimestampOffset};
use crate::segment::Segment;

/// Space is allocated ahead in steps that double from the first to the last of these, so that a
/// partition with little traffic takes little.
pub(crate) const ALLOCATION_FIRST_BYTES: u64 = 64 << 10;
const ALLOCATION_LAST_BYTES: u64 = 16 << 20;

/// What decides whether a segment is full. A copy runs ahead of the segment itself.
struct Fill {
    base_offset: i64,
    size: u64,
    first_timestamp_ms: Option<i64>,
    created_ms: i64,
    jitter_seed: u32,
    index_builder: IndexBuilder,
    offset_entries: u32,
    time_entries: u32,
}

impl Fill {
    fn must_roll(
        &self,
        bytes: u64,
        newest_ms: Option<i64>,
        last_offset: i64,
        config: &LogConfig,
        now_ms: i64,
    ) -> bool {
        let relative = last_offset - self.base_offset;
        self.size > 0
            && (self.size + bytes > config.segment_bytes
                || self.size > i32::MAX as u64 - bytes.min(i32::MAX as u64)
                || relative > i64::from(i32::MAX)
                || self.waited_ms(newest_ms, now_ms) > self.segment_ms_max(config)
                || self.indexes_full(config))
    }

    fn add(&mut self, header: &BatchHeader, interval_bytes: u32) {
        let (offset, time) = self.index_builder.add(header, self.size, interval_bytes);
        self.offset_entries += u32::from(offset.is_some());
        self.time_entries += u32::from(time.is_some());
        self.size += header.total_length() as u64;
        self.first_timestamp_ms.get_or_insert(header.max_timestamp);
    }

    /// Record time where there is one, so that replayed old data rolls as it did when it was new.
    fn waited_ms(&self, newest_ms: Option<i64>, now_ms: i64) -> i64 {
        match (self.first_timestamp_ms, newest_ms) {
            (Some(first), Some(newest)) if first >= 0 => newest.saturating_sub(first),
            _ => now_ms.saturating_sub(self.created_ms),
        }
    }

    fn segment_ms_max(&self, config: &LogConfig) -> i64 {
        let most = config.segment_ms_max();
        let jitter = i64::from(self.jitter_seed).checked_rem(config.segment_jitter_ms.min(most));
        most - jitter.unwrap_or(0)
    }

    fn indexes_full(&self, config: &LogConfig) -> bool {
        let entries_max = |bytes: usize| config.segment_index_bytes / bytes as u32;
        // The time index needs room for one more entry when the segment is closed.
        self.offset_entries >= entries_max(OffsetPosition::BYTES)
            || self.time_entries + 1 >= entries_max(TimestampOffset::BYTES)
    }
}

#[derive(Debug)]
pub(crate) struct ActiveSegment {
    pub(crate) segment: Arc<Segment>,
    index_builder: IndexBuilder,
    /// Greatest timestamp of the first batch: `segment.ms` counts from it.
    first_timestamp_ms: Option<i64>,
    created_ms: i64,
    /// What part of `segment.jitter.ms` the segment takes: another one than its neighbours, and the same on each replica.
    jitter_seed: u32,
    allocated_bytes: u64,
    next_allocation_bytes: u64,
}

impl ActiveSegment {
    /// `first` is the header of the first batch, if there is one; `allocated_bytes` is the length of
    /// the file.
    pub(crate) fn new(
        segment: Arc<Segment>,
        index_builder: IndexBuilder,
        first: Option<&BatchHeader>,
        now_ms: i64,
        allocated_bytes: u64,
    ) -> Self {
        segment.set_max_timestamp(index_builder.max_timestamp());
        Self {
            jitter_seed: jitter_seed(&segment),
            segment,
            index_builder,
            first_timestamp_ms: first.map(|header| header.max_timestamp),
            created_ms: now_ms,
            allocated_bytes,
            next_allocation_bytes: ALLOCATION_FIRST_BYTES,
        }
    }

    /// Goes on in `segment`, which is the same under another name.
    pub(crate) fn renamed(&self, segment: Arc<Segment>) -> Self {
        Self {
            jitter_seed: jitter_seed(&segment),
            segment,
            index_builder: self.index_builder.clone(),
            ..*self
        }
    }

    /// A new segment must begin before `batches`, `bytes` long together, are appended.
    pub(crate) fn must_roll(
        &self,
        batches: &[BatchHeader],
        bytes: u64,
        last_offset: i64,
        config: &LogConfig,
        now_ms: i64,
    ) -> bool {
        let newest = batches.iter().map(|header| header.max_timestamp).max();
        self.fill()
            .must_roll(bytes, newest, last_offset, config, now_ms)
    }

    /// How many of `batches`, each of which may begin a segment, go into this one: all those that a
    /// leader would have put into it, had it appended them one by one. At least one where it is empty.
    pub(crate) fn room_for(
        &self,
        batches: &[BatchHeader],
        config: &LogConfig,
        now_ms: i64,
    ) -> usize {
        let mut fill = self.fill();
        for (n, header) in batches.iter().enumerate() {
            let bytes = header.total_length() as u64;
            let newest = Some(header.max_timestamp);
            if fill.must_roll(bytes, newest, header.last_offset(), config, now_ms) {
                return n;
            }
            fill.add(header, config.index_interval_bytes);
        }
        batches.len()
    }

    fn fill(&self) -> Fill {
        Fill {
            base_offset: self.segment.base_offset,
            size: self.segment.size(),
            first_timestamp_ms: self.first_timestamp_ms,
            created_ms: self.created_ms,
            jitter_seed: self.jitter_seed,
            index_builder: self.index_builder.clone(),
            offset_entries: self.segment.offset_index.len(),
            time_entries: self.segment.time_index.len(),
        }
    }

    /// Writes `batches`, which lie one after the other in `bytes` and have their final offsets.
    /// When it fails, readers and the next append see the log as it was.
    pub(crate) fn append(
        &mut self,
        bytes: &[u8],
        batches: &[BatchHeader],
        config: &LogConfig,
    ) -> Result<(), StorageError> {
        let position = self.segment.size();
        let end = position + bytes.len() as u64;
        if position == 0 {
            self.segment.create_indexes()?;
        }
        if config.flush_before_acknowledge {
            self.allocate(end, config.segment_bytes)?;
        }
        if let Err(error) = self.segment.write(bytes, position) {
            self.drop_rest_of_failed_write();
            return Err(error);
        }
        if self.first_timestamp_ms.is_none() {
            self.first_timestamp_ms = batches.first().map(|header| header.max_timestamp);
        }
        self.segment.set_size(end);
        self.index(batches, position, config.index_interval_bytes);
        Ok(())
    }

    /// After a crash, recovery would take whole batches of it for part of the log if they happened to
    /// follow the next one.
    fn drop_rest_of_failed_write(&mut self) {
        match self.segment.trim() {
            Ok(()) => self.allocated_bytes = self.segment.size(),
            Err(error) => tracing::warn!(%error, "the rest of a failed write stays"),
        }
    }

    fn index(&mut self, batches: &[BatchHeader], mut position: u64, interval_bytes: u32) {
        for header in batches {
            let (offset, time) = self.index_builder.add(header, position, interval_bytes);
            // The batch is in the log: an index that misses an entry is slower, not wrong.
            if let Some(Err(error)) = offset.map(|e| self.segment.offset_index.append(e)) {
                tracing::warn!(%error, "an index entry was left out");
            }
            if let Some(Err(error)) = time.map(|e| self.segment.time_index.append(e)) {
                tracing::warn!(%error, "an index entry was left out");
            }
            position += header.total_length() as u64;
        }
        self.segment
            .set_max_timestamp(self.index_builder.max_timestamp());
    }

    /// A flush after a write within allocated space has no new file length to record.
    fn allocate(&mut self, end: u64, segment_bytes: u64) -> Result<(), StorageError> {
        if end <= self.allocated_bytes {
            return Ok(());
        }
        let ahead = self.allocated_bytes + self.next_allocation_bytes;
        let target = ahead.min(segment_bytes).max(end);
        let length = target - self.allocated_bytes;
        let file = self.segment.file()?;
        let flags = FallocateFlags::empty();
        match rustix::fs::fallocate(&file, flags, self.allocated_bytes, length) {
            Ok(()) => {
                self.next_allocation_bytes =
                    (self.next_allocation_bytes * 2).min(ALLOCATION_LAST_BYTES);
                self.allocated_bytes = target;
            }
            // A file system that cannot, or a full one: the write itself tells.
            Err(error) => tracing::debug!(%error, "no space is allocated ahead"),
        }
        Ok(())
    }

    /// Nothing more is appended, or not for now: the files become what Kafka leaves behind.
    pub(crate) fn seal(&mut self) -> Result<(), StorageError> {
        if self.segment.size() > 0 {
            // Recovery may have had no room for them.
            self.segment.create_indexes()?;
        }
        let time_index = &self.segment.time_index;
        self.index_builder
            .time_index_ends_with(time_index.last_if_readable()?);
        if let Some(entry) = self.index_builder.time_entry() {
            time_index.append(entry)?;
        }
        self.segment.transaction_index.trim()?;
        self.segment.trim()?;
        self.allocated_bytes = self.segment.size();
        self.next_allocation_bytes = ALLOCATION_FIRST_BYTES;
        Ok(())
    }
}

/// Of the partition and the base offset.
fn jitter_seed(segment: &Segment) -> u32 {
    (segment.path().iter().rev().take(2)).fold(0, |seed, name| {
        crc32c::crc32c_append(seed, name.as_encoded_bytes())
    })
}
