//! Reads a segment from front to back, a batch at a time, each of them checked.

use std::os::unix::fs::FileExt;
use std::sync::Arc;

use foz_protocol::batch::{BatchError, BatchHeader, HEADER_LENGTH};

use crate::batch_scanner::{ScanError, Scanned};
use crate::error::{ReadError, StorageContext};
use crate::segment::{BATCH_BYTES_MAX, Segment};

/// Read at once, and kept in memory; a greater batch takes as much as it needs for as long as it is looked at.
pub(super) const READ_CHUNK_BYTES: usize = 1 << 20;

#[derive(Debug)]
pub(super) struct BatchReader {
    segment: Arc<Segment>,
    /// Where the next batch begins.
    position: u64,
    next_offset: i64,
    end: u64,
    buffer: Vec<u8>,
    buffer_position: u64,
}

impl BatchReader {
    /// `position` is where a batch begins, `next_offset` the offset that it has at least. The buffer is one of
    /// a reader before.
    pub(super) fn new(
        segment: &Arc<Segment>,
        position: u64,
        next_offset: i64,
        mut buffer: Vec<u8>,
    ) -> Self {
        buffer.clear();
        Self {
            segment: Arc::clone(segment),
            position,
            next_offset,
            end: segment.size(),
            buffer,
            buffer_position: position,
        }
    }

    pub(super) fn into_buffer(self) -> Vec<u8> {
        self.buffer
    }

    /// Nothing comes after the batch that was given last.
    pub(super) fn is_at_end(&self) -> bool {
        self.position >= self.end
    }

    /// The next batch, and where it lies.
    pub(super) fn next(&mut self) -> Result<Option<(Scanned, &[u8])>, ReadError> {
        if self.is_at_end() {
            return Ok(None);
        }
        let position = self.position;
        self.fill(HEADER_LENGTH)?;
        let header = BatchHeader::parse(self.held()).map_err(|error| self.bad(error))?;
        let length = header.total_length();
        if length > BATCH_BYTES_MAX {
            return Err(self.bad(BatchError::Length(header.batch_length)));
        }
        self.fill(length)?;
        let scanned = Scanned { position, header };
        self.segment.check_place(&scanned, self.next_offset)?;
        header
            .check_crc(&self.held()[..length])
            .map_err(|error| self.bad(error))?;
        self.position += length as u64;
        self.next_offset = header.next_offset();
        let from = (position - self.buffer_position) as usize;
        Ok(Some((scanned, &self.buffer[from..from + length])))
    }

    /// What is in memory of what comes next.
    fn held(&self) -> &[u8] {
        let from = (self.position - self.buffer_position) as usize;
        self.buffer.get(from..).unwrap_or_default()
    }

    /// Has at least so many bytes in memory.
    fn fill(&mut self, wanted: usize) -> Result<(), ReadError> {
        if self.held().len() >= wanted {
            return Ok(());
        }
        let available = self.end - self.position;
        if wanted as u64 > available {
            return Err(self.bad(BatchError::Truncated {
                needed: wanted,
                available: available as usize,
            }));
        }
        let length = available.min(wanted.max(READ_CHUNK_BYTES) as u64) as usize;
        self.buffer.resize(length, 0);
        self.buffer.shrink_to(READ_CHUNK_BYTES);
        self.buffer_position = self.position;
        let file = self.segment.file()?;
        if let Err(error) = file.read_exact_at(&mut self.buffer, self.position) {
            self.buffer.clear();
            return Err(error).at("read", self.segment.path())?;
        }
        Ok(())
    }

    fn bad(&self, error: BatchError) -> ReadError {
        self.segment.read_error(ScanError::Bad {
            position: self.position,
            offset: self.next_offset,
            error,
        })
    }
}
