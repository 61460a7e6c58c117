//! Where a damaged segment is to end.

use super::{PAGE_BYTES, Segment};
use crate::batch_scanner::ScanError;
use crate::error::{StorageContext, StorageError, says_disk_failed};
use crate::reading_files::read_exact_at;

impl Segment {
    /// Where the batches end, in the file and in offsets, that lie before the one that holds `offset`, one after the other from
    /// the beginning on, as far as they are not damaged. What the disk does not give is damaged.
    pub(crate) fn sound_end(&self, offset: i64) -> Result<(u64, i64), StorageError> {
        let mut before = self.size();
        loop {
            let (position, end_offset) = self.walk_to(offset, before)?;
            match self.can_be_cut_at(position)? {
                true => return Ok((position, end_offset)),
                false => before = position / PAGE_BYTES * PAGE_BYTES,
            }
        }
    }

    /// As far as they end at `before` or earlier.
    fn walk_to(&self, offset: i64, before: u64) -> Result<(u64, i64), StorageError> {
        let mut scanner = self.scan(0, self.base_offset)?;
        let mut end = (0, self.base_offset);
        loop {
            let batch = match scanner.next() {
                Ok(Some(batch)) => batch,
                Ok(None) | Err(ScanError::Bad { .. }) => return Ok(end),
                Err(ScanError::Io(error)) if says_disk_failed(&error) => return Ok(end),
                Err(ScanError::Io(error)) => return Err(error).at("read", self.path()),
            };
            let is_before = batch.header.last_offset() < offset && scanner.position() <= before;
            if !is_before || self.check_place(&batch, end.1).is_err() {
                return Ok(end);
            }
            end = (scanner.position(), batch.header.next_offset());
        }
    }

    /// The kernel reads a page that it is to write, or to cut, in part.
    fn can_be_cut_at(&self, position: u64) -> Result<bool, StorageError> {
        let from = position / PAGE_BYTES * PAGE_BYTES;
        let length = PAGE_BYTES.min(self.file_length()?.saturating_sub(from));
        if from == position || length == 0 {
            return Ok(true);
        }
        match read_exact_at(&*self.file()?, &mut vec![0; length as usize], from) {
            Err(error) if says_disk_failed(&error) => Ok(false),
            read => read.map(|()| true).at("read", self.path()),
        }
    }
}
