//! The batch that ends a transaction on a partition: one control record, which says how it ended.

use bytes::Bytes;
use foz_protocol::batch::BatchHeader;
use foz_protocol::codec::Compression;
use foz_protocol::record::{
    BatchBuilder, BuildError, RecordError, RecordToWrite, Records, record_bytes,
};
use foz_records::{ControlRecordTypeSchema, EndTxnMarker, Message};

use crate::batch_scanner::HEADER_CHUNK_BYTES;
use crate::validate::DECOMPRESSED_BYTES_MAX;

/// Markers have no sequence.
const NO_SEQUENCE: i32 = -1;

/// What is larger is none, whoever looks at it. Kafka's take 78.
const MARKER_BYTES_MAX: usize = HEADER_CHUNK_BYTES;

/// Where the value of a marker does not tell.
const NO_COORDINATOR_EPOCH: i32 = -1;

/// How a coordinator ends a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TransactionMarker {
    /// Whose transaction.
    pub producer_id: i64,
    /// In which epoch; with `transaction.version` 2 one more than the transaction's records have.
    pub producer_epoch: i16,
    /// Leader epoch of the coordinator's partition of `__transaction_state`.
    pub coordinator_epoch: i32,
    /// Else it is aborted.
    pub is_commit: bool,
}

/// What a control record is about (Kafka's `ControlRecordType`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ControlType {
    Abort,
    Commit,
    /// Not about a transaction, or from a later version.
    Other,
}

impl ControlType {
    /// From the key of a control record: a version and a type, both INT16.
    pub(crate) fn parse(key: Option<&[u8]>) -> Self {
        let schema = key.map(ControlRecordTypeSchema::decode_prefixed_or_newer);
        match schema {
            Some(Ok(ControlRecordTypeSchema { r#type: 0 })) => Self::Abort,
            Some(Ok(ControlRecordTypeSchema { r#type: 1 })) => Self::Commit,
            _ => Self::Other,
        }
    }
}

impl TransactionMarker {
    /// The whole batch. Base offset and leader epoch are still to be set.
    pub(crate) fn to_batch(self, now_ms: i64) -> Result<Vec<u8>, BuildError> {
        let r#type = i16::from(self.is_commit);
        let key = prefixed(&ControlRecordTypeSchema { r#type });
        let coordinator_epoch = self.coordinator_epoch;
        let value = prefixed(&EndTxnMarker { coordinator_epoch });
        let mut builder = BatchBuilder::new(Compression::None)
            .idempotent(self.producer_id, self.producer_epoch, NO_SEQUENCE)
            .transactional()
            .control();
        builder.push(&RecordToWrite {
            timestamp_ms: now_ms,
            key: Some(&key),
            value: Some(&value),
            headers: &[],
        });
        builder.build()
    }

    /// What the control batch `batch` says; `None` where it ends no transaction, or where compaction has left nothing of it but
    /// its header.
    ///
    /// # Errors
    /// The batch holds no record that can be read.
    pub fn read(header: &BatchHeader, batch: &[u8]) -> Result<Option<Self>, RecordError> {
        if batch.len() > MARKER_BYTES_MAX {
            return Ok(None);
        }
        let bytes = record_bytes(header, batch, DECOMPRESSED_BYTES_MAX)?;
        let Some(record) = Records::new(header, &bytes).next().transpose()? else {
            return Ok(None);
        };
        let is_commit = match ControlType::parse(record.key) {
            ControlType::Abort => false,
            ControlType::Commit => true,
            ControlType::Other => return Ok(None),
        };
        let value = record.value.map(EndTxnMarker::decode_prefixed_or_newer);
        let coordinator_epoch = match value {
            Some(Ok(value)) => value.coordinator_epoch,
            _ => NO_COORDINATOR_EPOCH,
        };
        Ok(Some(Self {
            producer_id: header.producer_id,
            producer_epoch: header.producer_epoch,
            coordinator_epoch,
            is_commit,
        }))
    }
}

/// Behind its version.
fn prefixed(message: &impl Message) -> Bytes {
    let encoded = message.encode_prefixed(0);
    encoded.expect("version 0 has all of its fields")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_kafkas() {
        for (key, expected) in [
            (Some(&[0, 0, 0, 0][..]), ControlType::Abort),
            (Some(&[0, 0, 0, 1]), ControlType::Commit),
            (Some(&[0, 0, 0, 2]), ControlType::Other),
            (Some(&[0, 0, 1, 0]), ControlType::Other),
            // A later version says more, behind the same.
            (Some(&[0, 3, 0, 1, 9]), ControlType::Commit),
            (Some(&[0, 0, 0]), ControlType::Other),
            (Some(&[]), ControlType::Other),
            (None, ControlType::Other),
        ] {
            assert_eq!(ControlType::parse(key), expected, "{key:?}");
        }
    }

    fn control(key: &[u8], value: Option<&[u8]>) -> Vec<u8> {
        let mut builder = BatchBuilder::new(Compression::None)
            .idempotent(7, 3, NO_SEQUENCE)
            .transactional()
            .control();
        builder.push(&RecordToWrite {
            key: Some(key),
            value,
            ..RecordToWrite::default()
        });
        builder.build().unwrap()
    }

    fn read(batch: &[u8]) -> Option<TransactionMarker> {
        let header = BatchHeader::parse(batch).unwrap();
        assert!(header.is_control() && header.is_transactional());
        assert_eq!(header.base_sequence, NO_SEQUENCE);
        TransactionMarker::read(&header, batch).unwrap()
    }

    #[test]
    fn what_is_written_is_read() {
        for is_commit in [true, false] {
            let marker = TransactionMarker {
                producer_id: 4711,
                producer_epoch: 12,
                coordinator_epoch: 258,
                is_commit,
            };
            assert_eq!(read(&marker.to_batch(99).unwrap()), Some(marker));
        }
    }

    #[test]
    fn a_marker_counts_whatever_its_value_and_others_do_not() {
        let found = read(&control(&[0, 0, 0, 1], None)).unwrap();
        assert_eq!((found.is_commit, found.coordinator_epoch), (true, -1));
        let later = control(&[0, 0, 0, 0], Some(&[0, 9, 0, 0, 1, 2, 7, 7]));
        let found = read(&later).unwrap();
        assert_eq!((found.is_commit, found.coordinator_epoch), (false, 258));
        assert_eq!(read(&control(&[0, 0, 0, 5], Some(&[0; 6]))), None);
        assert_eq!(read(&control(&[], None)), None);
    }
}
