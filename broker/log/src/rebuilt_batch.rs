//! Batches that are made anew from the header and the records of another one.

use foz_protocol::batch::{BatchHeader, CRC_COVERED_FROM, HEADER_LENGTH, LOG_OVERHEAD, MAGIC};
use foz_protocol::codec::Compression;
use foz_protocol::record::{BuildError, RecordError, record_bytes};

use crate::config::StoredCompression;

/// The bits of the attributes that name the codec.
pub(crate) const COMPRESSION_MASK: i16 = 0x07;

/// Why a batch cannot be made anew.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RebuildError {
    #[error(transparent)]
    Record(#[from] RecordError),
    #[error(transparent)]
    Build(#[from] BuildError),
}

/// The same records in another codec. They are not looked at.
pub(crate) fn with_compression(
    header: &BatchHeader,
    batch: &[u8],
    compression: StoredCompression,
    decompressed_bytes_max: usize,
) -> Result<Vec<u8>, RebuildError> {
    let records = record_bytes(header, batch, decompressed_bytes_max)?;
    let header = BatchHeader {
        attributes: (header.attributes & !COMPRESSION_MASK) | i16::from(compression.codec.id()),
        ..*header
    };
    Ok(build(&header, &records, compression.level)?)
}

/// `records` lie one after the other, and are compressed as the header's attributes say; length and CRC are made to fit.
pub(crate) fn build(
    header: &BatchHeader,
    records: &[u8],
    level: Option<i32>,
) -> Result<Vec<u8>, BuildError> {
    let packed;
    let payload: &[u8] = match header.compression() {
        Some(codec) if codec != Compression::None && !records.is_empty() => {
            packed = codec.compress_at(level, records)?;
            &packed
        }
        _ => records,
    };
    let total = HEADER_LENGTH + payload.len();
    let batch_length =
        i32::try_from(total - LOG_OVERHEAD).map_err(|_| BuildError::TooLarge(total))?;
    let mut out = Vec::with_capacity(total);
    out.extend(header.base_offset.to_be_bytes());
    out.extend(batch_length.to_be_bytes());
    out.extend(header.partition_leader_epoch.to_be_bytes());
    out.extend(MAGIC.to_be_bytes());
    out.extend([0; 4]);
    out.extend(header.attributes.to_be_bytes());
    out.extend(header.last_offset_delta.to_be_bytes());
    out.extend(header.base_timestamp.to_be_bytes());
    out.extend(header.max_timestamp.to_be_bytes());
    out.extend(header.producer_id.to_be_bytes());
    out.extend(header.producer_epoch.to_be_bytes());
    out.extend(header.base_sequence.to_be_bytes());
    out.extend(header.record_count.to_be_bytes());
    out.extend_from_slice(payload);
    let crc = crc32c::crc32c(&out[CRC_COVERED_FROM..]);
    out[17..CRC_COVERED_FROM].copy_from_slice(&crc.to_be_bytes());
    Ok(out)
}
