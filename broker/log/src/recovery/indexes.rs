//! The indexes of a segment, made anew.

use foz_protocol::batch::BatchHeader;

use crate::error::StorageError;
use crate::index::{IndexBuilder, OffsetPosition, TimestampOffset};
use crate::segment::Segment;

/// Indexes of a segment as a walk finds them.
#[derive(Default)]
pub(crate) struct Indexes {
    pub(crate) builder: IndexBuilder,
    offsets: Vec<OffsetPosition>,
    times: Vec<TimestampOffset>,
}

impl Indexes {
    pub(crate) fn add(&mut self, header: &BatchHeader, position: u64, interval_bytes: u32) {
        let (offset, time) = self.builder.add(header, position, interval_bytes);
        self.offsets.extend(offset);
        self.times.extend(time);
    }

    /// Where there is no room the segment goes without: indexes are hints.
    pub(crate) fn store(&mut self, segment: &Segment, is_last: bool) -> Result<(), StorageError> {
        match self.try_store(segment, is_last) {
            Err(error) if error.is_shortage() => {
                tracing::warn!(%error, "searches in a segment without its indexes take longer");
                segment.offset_index.clear(is_last)?;
                segment.time_index.clear(is_last)?;
                self.builder.time_index_ends_with(None);
                Ok(())
            }
            stored => stored,
        }
    }

    fn try_store(&mut self, segment: &Segment, is_last: bool) -> Result<(), StorageError> {
        if !is_last {
            self.times.extend(self.builder.time_entry());
        }
        if segment.size() > 0 {
            segment.create_indexes()?;
        }
        segment.offset_index.replace(&self.offsets)?;
        segment.time_index.replace(&self.times)
    }
}
