//! Reading batches.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use foz_canary::{Canary, sings};

use super::{
    CHANGE_FAILED, CHANGE_FAILED_TEXT, DELETED, FLUSH_FAILED, FLUSH_FAILED_TEXT, PartitionLog,
};
use crate::error::ReadError;
use crate::segment::{Segment, Trust};

impl PartitionLog {
    /// Whole batches from the one that holds `offset` on (which may begin before it), all of them
    /// below `upper_bound_offset`, together at most `max_bytes` long; with `minimum_one_batch` the
    /// first one comes even if it is longer. They come from one segment, so there may be more.
    ///
    /// # Errors
    /// [`ReadError::OffsetOutOfRange`] for an offset before the log's start or after its end.
    pub fn read(
        &self,
        offset: i64,
        max_bytes: usize,
        upper_bound_offset: i64,
        minimum_one_batch: bool,
    ) -> Result<Bytes, ReadError> {
        self.undisturbed(|| self.try_read(offset, max_bytes, upper_bound_offset, minimum_one_batch))
    }

    fn try_read(
        &self,
        offset: i64,
        max_bytes: usize,
        upper_bound_offset: i64,
        minimum_one_batch: bool,
    ) -> Result<Bytes, ReadError> {
        self.check_readable()?;
        let end = self.log_end_offset();
        self.check_range(offset, end)?;
        let upper_bound_offset = upper_bound_offset.min(end);
        if offset >= upper_bound_offset {
            return Ok(Bytes::new());
        }
        let read =
            self.read_from_segments(offset, max_bytes, upper_bound_offset, minimum_one_batch);
        match read {
            // Retention may have removed the file between two of our steps.
            Err(ReadError::Storage(error)) if error.source.kind() == io::ErrorKind::NotFound => {
                self.check_readable()?;
                self.check_range(offset, end)?;
                Err(ReadError::Storage(error))
            }
            other => other,
        }
    }

    fn read_from_segments(
        &self,
        offset: i64,
        max_bytes: usize,
        upper_bound_offset: i64,
        minimum_one_batch: bool,
    ) -> Result<Bytes, ReadError> {
        let mut next = self.segment_of(offset);
        while let Some(segment) = next {
            let after = self.segment_after(&segment);
            if let Some(first) = segment.find(offset)? {
                let is_doubtful = after.is_some() || self.may_be_unchecked(offset);
                let trust = if is_doubtful && !sings(Canary::DamageServed) {
                    Trust::Checked
                } else {
                    Trust::Recent
                };
                return segment.read(
                    &first,
                    max_bytes,
                    upper_bound_offset,
                    minimum_one_batch,
                    trust,
                );
            }
            // Compaction leaves gaps at the end of segments.
            next = after;
        }
        Ok(Bytes::new())
    }

    pub(super) fn check_range(&self, offset: i64, end: i64) -> Result<(), ReadError> {
        let start = self.log_start_offset();
        if (start..=end).contains(&offset) {
            return Ok(());
        }
        Err(ReadError::OffsetOutOfRange { offset, start, end })
    }

    pub(super) fn check_readable(&self) -> Result<(), ReadError> {
        match self.usability.load(Ordering::Acquire) {
            DELETED => Err(ReadError::Unusable(self.partition.to_string(), "deleted")),
            // What readers saw may be gone after the restart that must follow.
            FLUSH_FAILED => Err(ReadError::Unusable(
                self.partition.to_string(),
                FLUSH_FAILED_TEXT,
            )),
            CHANGE_FAILED => Err(ReadError::Unusable(
                self.partition.to_string(),
                CHANGE_FAILED_TEXT,
            )),
            _ => Ok(()),
        }
    }

    /// The last segment that begins at `offset` or before it.
    pub(super) fn segment_of(&self, offset: i64) -> Option<Arc<Segment>> {
        self.segments
            .read()
            .range(..=offset)
            .next_back()
            .map(|(_, segment)| Arc::clone(segment))
    }

    pub(super) fn segment_after(&self, segment: &Segment) -> Option<Arc<Segment>> {
        let segments = self.segments.read();
        segments
            .range(segment.base_offset + 1..)
            .next()
            .map(|(_, segment)| Arc::clone(segment))
    }
}
