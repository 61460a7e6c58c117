//! Checking what a start after a crash has put off, while the log is in service (ADR 0026).
//!
//! Until it is done, a checkpoint of its own says where the check is, so that the next start goes on there, and reads check
//! what they give. What is flushed is told apart from it: nothing of that is ever taken for a torn tail.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use super::PartitionLog;
use crate::batch_scanner::{BatchScanner, CHECK_CHUNK_BYTES};
use crate::error::{ReadError, StorageError};
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
    /// a start, until the damage is [cut off](crate::LogDirectory::quarantine) or retention has removed it. What the disk cannot
    /// read is damage too. Any other error is to be tried again, but for [`ReadError::Unusable`].
    pub fn check_next(&self, max_bytes: u64) -> Result<Checked, ReadError> {
        let bytes = self.undisturbed(|| self.check_step(max_bytes))?;
        Ok(Checked {
            bytes,
            is_done: !self.has_unchecked_batches(),
        })
    }

    /// Everything below was whole when it was looked at, and nobody has found damage there since; `None`: all that is here.
    pub(crate) fn checked_offset(&self) -> Option<i64> {
        // A crash may move the start of the log back to this one.
        let log_start = self.durable_log_start_offset();
        let Range { start, end } = self.unchecked.range();
        let start = start.max(log_start);
        let unchecked = (start < end).then_some(start);
        let damaged = self.damaged_from().map(|from| from.max(log_start));
        unchecked.into_iter().chain(damaged).min()
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
        self.check_in(&segment, unchecked, max_bytes)
            .or_else(|error| self.unless_gone(&segment, error))
    }

    /// What a failure to read this segment means.
    fn unless_gone(&self, segment: &Arc<Segment>, error: ReadError) -> Result<u64, ReadError> {
        match error {
            // Retention or compaction may have taken the file away: then the next step finds what there is.
            ReadError::Storage(error)
                if error.source.kind() == io::ErrorKind::NotFound && !self.has(segment) =>
            {
                Ok(0)
            }
            ReadError::Storage(error) if is_unreadable(&error, segment) => {
                Err(ReadError::Corrupt {
                    offset: self.unchecked_offsets().start,
                    file: error.path,
                    position: 0,
                    reason: format!("it cannot be read there: {}", error.source),
                })
            }
            error => Err(error),
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
                    // For the next step, however far away an index entry is.
                    segment.remember_read_end(next_offset, scanner.position());
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

/// A sector is gone; no other part of the log says so.
fn is_unreadable(error: &StorageError, segment: &Segment) -> bool {
    let eio = rustix::io::Errno::IO.raw_os_error();
    error.path == segment.path() && error.source.raw_os_error() == Some(eio)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::FileHandles;
    use crate::error::StorageContext;
    use crate::partition_log::new_log::new_log;

    #[test]
    fn a_file_that_others_took_away_is_no_failure() {
        let data = tempfile::tempdir().unwrap();
        let log = new_log(data.path());
        let segment = log.first_segment();
        let failed = |kind: io::ErrorKind| {
            let failed = Err::<(), _>(io::Error::from(kind)).at("open", segment.path());
            log.unless_gone(&segment, failed.unwrap_err().into())
        };
        assert!(failed(io::ErrorKind::NotFound).is_err(), "it is still ours");
        let other = Arc::new(Segment::create(&FileHandles::new(4), data.path(), 0).unwrap());
        log.segments.write().insert(0, other);
        assert_eq!(failed(io::ErrorKind::NotFound).unwrap(), 0);
        assert!(failed(io::ErrorKind::PermissionDenied).is_err());
        log.segments.write().clear();
        assert_eq!(failed(io::ErrorKind::NotFound).unwrap(), 0);
    }
}
