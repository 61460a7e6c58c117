//! Reads a partition from its start, record by record, for those who keep their state in it.

use foz_log::TransactionMarker;
use foz_protocol::batch::Batches;
use foz_protocol::record::{Records, record_bytes};

use super::Partition;

/// Read at once.
const STEP_BYTES: usize = 1 << 20;
/// What one batch may take when it is decompressed.
const DECOMPRESSED_BYTES_MAX: usize = 64 << 20;

/// One record or marker.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Replayed<'a> {
    pub(crate) offset: i64,
    /// The high watermark had passed it when the replay began.
    pub(crate) is_committed: bool,
    /// In whose transaction it is, or which one it ends.
    pub(crate) transaction_of: Option<i64>,
    pub(crate) content: Content<'a>,
}

/// What there was to read.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ReplayedLog {
    pub(crate) records: usize,
    /// Of record batches, as they lie on disk.
    pub(crate) bytes: u64,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Content<'a> {
    Record {
        key: &'a [u8],
        value: Option<&'a [u8]>,
    },
    /// Of the end of a transaction.
    Marker { is_commit: bool },
}

impl Partition {
    /// Gives every record and marker that this broker has when it begins to lead in `leader_epoch`, in order, until
    /// `take` refuses one; records without a key and other control batches are left out. Returns what there was.
    ///
    /// Those above the high watermark stay for as long as this broker leads in that epoch.
    pub(crate) fn replay(
        &self,
        leader_epoch: i32,
        take: impl FnMut(Replayed<'_>) -> Result<(), String>,
    ) -> Result<ReplayedLog, String> {
        // Another epoch may have cut the log meanwhile.
        let leads = || {
            let leads = self.led() == Some(leader_epoch);
            leads.then_some(()).ok_or("no longer the leader".to_owned())
        };
        leads()?;
        let replayed = self.replay_all(take)?;
        leads()?;
        Ok(replayed)
    }

    fn replay_all(
        &self,
        mut take: impl FnMut(Replayed<'_>) -> Result<(), String>,
    ) -> Result<ReplayedLog, String> {
        // In this order: what is below the first is below the second.
        let high_watermark = self.high_watermark();
        let end = self.log().log_end_offset();
        let mut offset = self.log_start_offset();
        let mut replayed = ReplayedLog::default();
        while offset < end {
            let bytes = self
                .read_log(|log| log.read(offset, STEP_BYTES, end, true))
                .map_err(|read| {
                    self.cannot_read(offset, &read);
                    self.read_failed(&read);
                    read.reason.to_string()
                })?;
            if bytes.is_empty() {
                break;
            }
            for batch in Batches::new(&bytes) {
                let (header, batch) = batch.map_err(|error| error.to_string())?;
                offset = header.next_offset();
                replayed.bytes += batch.len() as u64;
                let is_committed = offset <= high_watermark;
                let transaction_of = header.is_transactional().then_some(header.producer_id);
                if header.is_control() {
                    let marker = TransactionMarker::read(&header, batch);
                    if let Some(marker) = marker.map_err(|error| error.to_string())? {
                        let is_commit = marker.is_commit;
                        take(Replayed {
                            offset: header.base_offset,
                            is_committed,
                            transaction_of,
                            content: Content::Marker { is_commit },
                        })?;
                    }
                    continue;
                }
                let records = record_bytes(&header, batch, DECOMPRESSED_BYTES_MAX)
                    .map_err(|error| error.to_string())?;
                for record in Records::new(&header, &records) {
                    let record = record.map_err(|error| error.to_string())?;
                    if let Some(key) = record.key {
                        take(Replayed {
                            offset: record.offset(&header),
                            is_committed,
                            transaction_of,
                            content: Content::Record {
                                key,
                                value: record.value,
                            },
                        })?;
                        replayed.records += 1;
                    }
                }
            }
        }
        Ok(replayed)
    }
}
