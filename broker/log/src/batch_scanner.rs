//! Walks over the batches of a file with a bounded buffer, whatever their lengths claim.

use std::fs::File;
use std::io;
use std::sync::Arc;

use foz_protocol::batch::{BatchError, BatchHeader, CRC_COVERED_FROM, HEADER_LENGTH};

use crate::reading_files::read_exact_at;

/// Read at once where only headers matter: small, so that the records of large batches are skipped.
pub(crate) const HEADER_CHUNK_BYTES: usize = 16 << 10;
/// Read at once where every byte is checked.
pub(crate) const CHECK_CHUNK_BYTES: usize = 256 << 10;

/// A batch and where it lies.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scanned {
    pub(crate) position: u64,
    pub(crate) header: BatchHeader,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum ScanError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("{error}")]
    Bad {
        position: u64,
        /// The offset that comes next.
        offset: i64,
        error: BatchError,
    },
}

#[derive(Debug)]
pub(crate) struct BatchScanner {
    file: Arc<File>,
    position: u64,
    /// The offset that comes next.
    offset: i64,
    end: u64,
    chunk_bytes: usize,
    buffer: Vec<u8>,
    buffer_position: u64,
}

impl BatchScanner {
    /// `from` is where the batch begins that holds `offset`, `end` is where the last one should end.
    pub(crate) fn new(
        file: Arc<File>,
        from: u64,
        offset: i64,
        end: u64,
        chunk_bytes: usize,
    ) -> Self {
        Self {
            file,
            position: from,
            offset,
            end,
            chunk_bytes,
            buffer: Vec::new(),
            buffer_position: from,
        }
    }

    /// The next batch, which lies within the file as a whole; `None` at the end.
    pub(crate) fn next(&mut self) -> Result<Option<Scanned>, ScanError> {
        let position = self.position;
        if position >= self.end {
            return Ok(None);
        }
        let available = self.end - position;
        let wanted = available.min(HEADER_LENGTH as u64) as usize;
        let offset = self.offset;
        let bad = |error| ScanError::Bad {
            position,
            offset,
            error,
        };
        let bytes = match self.bytes(position, wanted) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                // The file is shorter than it was.
                return Err(bad(BatchError::Truncated {
                    needed: wanted,
                    available: 0,
                }));
            }
            read => read?,
        };
        let header = BatchHeader::parse(bytes).map_err(bad)?;
        let needed = header.total_length();
        if needed as u64 > available {
            return Err(bad(BatchError::Truncated {
                needed,
                available: available as usize,
            }));
        }
        self.position += needed as u64;
        self.offset = header.next_offset();
        Ok(Some(Scanned { position, header }))
    }

    /// Where the next batch begins.
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    /// Reads this much at once from now on.
    pub(crate) fn set_chunk_bytes(&mut self, chunk_bytes: usize) {
        self.chunk_bytes = chunk_bytes;
    }

    /// Checks the CRC of a batch that [`Self::next`] has just given.
    pub(crate) fn check_crc(&mut self, batch: &Scanned) -> Result<(), ScanError> {
        let end = batch.position + batch.header.total_length() as u64;
        let mut at = batch.position + CRC_COVERED_FROM as u64;
        let mut computed = 0;
        let bad = |error| ScanError::Bad {
            position: batch.position,
            offset: batch.header.base_offset,
            error,
        };
        while at < end {
            let length = (end - at).min(self.chunk_bytes as u64) as usize;
            let bytes = match self.bytes(at, length) {
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    // The file is shorter than it was.
                    return Err(bad(BatchError::Truncated {
                        needed: batch.header.total_length(),
                        available: (at - batch.position) as usize,
                    }));
                }
                read => read?,
            };
            computed = crc32c::crc32c_append(computed, bytes);
            at += length as u64;
        }
        if computed == batch.header.crc {
            return Ok(());
        }
        Err(bad(BatchError::Crc {
            stored: batch.header.crc,
            computed,
        }))
    }

    /// The bytes of a batch that [`Self::next`] has just given, whole or not; `None` where they are more than are read at once.
    pub(crate) fn bytes_of(&mut self, batch: &Scanned) -> Result<Option<&[u8]>, ScanError> {
        let length = batch.header.total_length();
        if length > self.chunk_bytes {
            return Ok(None);
        }
        Ok(Some(self.bytes(batch.position, length)?))
    }

    /// `length` is at most a chunk and lies before `end`.
    fn bytes(&mut self, at: u64, length: usize) -> io::Result<&[u8]> {
        let held = self.buffer_position..self.buffer_position + self.buffer.len() as u64;
        if at < held.start || at + length as u64 > held.end {
            let chunk = (self.end - at).min(self.chunk_bytes.max(length) as u64) as usize;
            self.fill(at, chunk).or_else(|error| match chunk > length {
                // What cannot be read may lie behind what is asked for.
                true => self.fill(at, length),
                false => Err(error),
            })?;
        }
        let from = (at - self.buffer_position) as usize;
        Ok(&self.buffer[from..from + length])
    }

    fn fill(&mut self, at: u64, length: usize) -> io::Result<()> {
        self.buffer.resize(length, 0);
        self.buffer_position = at;
        let read = read_exact_at(&self.file, &mut self.buffer, at);
        if read.is_err() {
            self.buffer.clear();
        }
        read
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use foz_protocol::codec::Compression;
    use foz_protocol::record::{BatchBuilder, RecordToWrite};

    fn file_with(batches: &[Vec<u8>]) -> (tempfile::TempDir, Arc<File>, u64) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        std::fs::write(&path, batches.concat()).unwrap();
        let length = batches.concat().len() as u64;
        (dir, Arc::new(File::open(path).unwrap()), length)
    }

    fn batch(value_bytes: usize, base_offset: i64) -> Vec<u8> {
        let value = vec![7; value_bytes];
        let mut builder = BatchBuilder::new(Compression::None).at(base_offset, 0);
        builder.push(&RecordToWrite {
            value: Some(&value),
            ..RecordToWrite::default()
        });
        builder.build().unwrap()
    }

    #[test]
    fn batches_larger_than_the_buffer_are_walked_and_checked() {
        let batches = [batch(10, 0), batch(5000, 1), batch(70_000, 2), batch(1, 3)];
        let (_dir, file, end) = file_with(&batches);
        let mut scanner = BatchScanner::new(file, 0, 0, end, 1000);
        let mut position = 0;
        for (n, batch) in batches.iter().enumerate() {
            let scanned = scanner.next().unwrap().unwrap();
            assert_eq!(
                (scanned.position, scanned.header.base_offset),
                (position, n as i64)
            );
            let bytes = scanner.bytes_of(&scanned).unwrap().map(<[u8]>::to_vec);
            assert_eq!(bytes, (batch.len() <= 1000).then(|| batch.clone()));
            scanner.check_crc(&scanned).unwrap();
            position += batch.len() as u64;
        }
        assert!(scanner.next().unwrap().is_none());
        assert!(scanner.buffer.capacity() <= 2000);
    }

    #[test]
    fn a_length_beyond_the_file_allocates_nothing() {
        let mut lying = batch(10, 0);
        lying[8..12].copy_from_slice(&i32::MAX.to_be_bytes());
        let (_dir, file, end) = file_with(&[lying]);
        let mut scanner = BatchScanner::new(file, 0, 0, end, 1000);
        let Err(ScanError::Bad {
            position: 0,
            offset: 0,
            error: BatchError::Truncated { .. },
        }) = scanner.next()
        else {
            panic!("the batch does not fit");
        };
        assert!(scanner.buffer.capacity() <= 2000);
    }
}
