//! Checking what a start after a crash has put off, while the log is in service (ADR 0026).
//!
//! Until it is done, the recovery point stays where the check is, so that a crash has the next start begin there again, and
//! reads check what they give.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use super::PartitionLog;
use crate::batch_scanner::{BatchScanner, CHECK_CHUNK_BYTES};
use crate::error::ReadError;
use crate::segment::Segment;

/// What a step of a check did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Checked {
    /// Read.
    pub bytes: u64,
    /// Nothing is left to be checked.
    pub is_done: bool,
}

impl PartitionLog {
    /// There are batches that a start after a crash has not checked yet.
    #[must_use]
    pub fn has_unchecked_batches(&self) -> bool {
        !self.unchecked_offsets().is_empty()
    }

    /// Checks the next of them, until that were `max_bytes`. Blocks. To be called until it is done.
    ///
    /// # Errors
    /// [`ReadError::Corrupt`]: from that offset on the log is not what was written. It is the same the next time, also after
    /// a start, until the damage is [cut off](crate::LogDirectory::quarantine) or retention has removed it. Any other error is
    /// to be tried again, but for [`ReadError::Unusable`].
    pub fn check_next(&self, max_bytes: u64) -> Result<Checked, ReadError> {
        let bytes = self.undisturbed(|| self.check_step(max_bytes))?;
        Ok(Checked {
            bytes,
            is_done: !self.has_unchecked_batches(),
        })
    }

    /// Everything below is on the disk, and was whole when it was looked at: the next recovery begins here.
    pub(crate) fn recovery_point(&self) -> i64 {
        // In this order: what is flushed and not in the range any more was checked.
        let flushed = self.flushed_offset();
        let unchecked = self.unchecked_offsets();
        match unchecked.is_empty() {
            true => flushed,
            false => flushed.min(unchecked.start),
        }
    }

    /// Whether a read from `offset` on may meet one of them.
    pub(super) fn may_be_unchecked(&self, offset: i64) -> bool {
        let unchecked = self.unchecked_offsets();
        !unchecked.is_empty() && offset < unchecked.end
    }

    fn unchecked_offsets(&self) -> Range<i64> {
        let Range { start, end } = self.unchecked.range();
        start.max(self.log_start_offset())..end
    }

    /// Returns how many bytes were read.
    fn check_step(&self, max_bytes: u64) -> Result<u64, ReadError> {
        self.check_readable()?;
        let unchecked = self.unchecked_offsets();
        if unchecked.is_empty() {
            return Ok(0);
        }
        let segment = self
            .segment_of(unchecked.start)
            .unwrap_or_else(|| self.first_segment());
        match self.check_in(&segment, unchecked, max_bytes) {
            // Retention or compaction may have taken the file away: then the next step finds what there is.
            Err(ReadError::Storage(error))
                if error.source.kind() == io::ErrorKind::NotFound && !self.has(&segment) =>
            {
                Ok(0)
            }
            checked => checked,
        }
    }

    fn check_in(
        &self,
        segment: &Arc<Segment>,
        unchecked: Range<i64>,
        max_bytes: u64,
    ) -> Result<u64, ReadError> {
        let mut bytes = 0;
        if let Some(first) = segment.find(unchecked.start)? {
            let mut next_offset = first.header.base_offset;
            let mut scanner = BatchScanner::new(
                segment.file()?,
                first.position,
                next_offset,
                segment.size(),
                CHECK_CHUNK_BYTES,
            );
            while let Some(batch) = scanner.next().map_err(|error| segment.read_error(error))? {
                segment.check_place(&batch, next_offset)?;
                scanner
                    .check_crc(&batch)
                    .map_err(|error| segment.read_error(error))?;
                next_offset = batch.header.next_offset();
                bytes += batch.header.total_length() as u64;
                self.unchecked.checked_up_to(next_offset);
                if next_offset >= unchecked.end || bytes >= max_bytes {
                    return Ok(bytes);
                }
            }
        }
        let after = self.segment_after(segment);
        let next_offset = after.map_or(unchecked.end, |after| after.base_offset);
        self.unchecked.checked_up_to(next_offset);
        Ok(bytes)
    }

    fn has(&self, segment: &Arc<Segment>) -> bool {
        let segments = self.segments.read();
        let found = segments.get(&segment.base_offset);
        found.is_some_and(|found| Arc::ptr_eq(found, segment))
    }
}
