//! Reads a partition from its start, record by record, for those who keep their state in it.

use foz_protocol::batch::Batches;
use foz_protocol::record::{Records, record_bytes};

use super::Partition;

/// Read at once.
const STEP_BYTES: usize = 1 << 20;
/// What one batch may take when it is decompressed.
const DECOMPRESSED_BYTES_MAX: usize = 64 << 20;

impl Partition {
    /// Gives the key and value of every record below the high watermark, in order; records without a
    /// key and control batches are left out. Returns how many there were.
    pub(crate) fn replay(
        &self,
        mut take: impl FnMut(&[u8], Option<&[u8]>),
    ) -> Result<usize, String> {
        let end = self.high_watermark();
        let mut offset = self.log.log_start_offset();
        let mut count = 0;
        while offset < end {
            let bytes = self
                .log
                .read(offset, STEP_BYTES, end, true)
                .map_err(|error| error.to_string())?;
            if bytes.is_empty() {
                break;
            }
            for batch in Batches::new(&bytes) {
                let (header, batch) = batch.map_err(|error| error.to_string())?;
                offset = header.next_offset();
                if header.is_control() {
                    continue;
                }
                let records = record_bytes(&header, batch, DECOMPRESSED_BYTES_MAX)
                    .map_err(|error| error.to_string())?;
                for record in Records::new(&header, &records) {
                    let record = record.map_err(|error| error.to_string())?;
                    if let Some(key) = record.key {
                        take(key, record.value);
                        count += 1;
                    }
                }
            }
        }
        Ok(count)
    }
}
