//! Batches that lose records, or get a delete horizon. Offsets, sequences, epochs and the codec stay.

use foz_protocol::batch::BatchHeader;
use foz_protocol::record::{BuildError, RecordError};
use foz_protocol::wire::{Reader, put_varint, put_varlong, varlong_length};

use crate::rebuilt_batch::{COMPRESSION_MASK, RebuildError, build};

const DELETE_HORIZON_MASK: i16 = 0x40;
const NO_TIMESTAMP: i64 = -1;

/// The records that stay of one batch.
#[derive(Debug, Clone, Copy)]
pub(super) struct Kept<'a> {
    /// As they lay in the batch, one after the other.
    pub(super) bytes: &'a [u8],
    pub(super) count: i32,
    /// The greatest timestamp among them.
    pub(super) max_timestamp: i64,
}

/// The batch with these records and no others.
pub(super) fn with_records(header: &BatchHeader, kept: Kept<'_>) -> Result<Vec<u8>, BuildError> {
    let header = BatchHeader {
        max_timestamp: kept.max_timestamp,
        record_count: kept.count,
        ..*header
    };
    build(&header, kept.bytes, None)
}

/// The same with a delete horizon (KIP-534): it takes the place of the base timestamp, which the records'
/// timestamps count from.
pub(super) fn with_delete_horizon(
    header: &BatchHeader,
    kept: Kept<'_>,
    delete_horizon_ms: i64,
) -> Result<Vec<u8>, RebuildError> {
    // What is added to each delta.
    let shift = header.base_timestamp.wrapping_sub(delete_horizon_ms);
    let mut records = Vec::with_capacity(kept.bytes.len() + kept.count.max(0) as usize * 8);
    let mut reader = Reader::new(kept.bytes);
    for index in 0..kept.count {
        shift_timestamp(&mut reader, shift, &mut records)
            .map_err(|source| RecordError::Field { index, source })?;
    }
    let header = BatchHeader {
        attributes: header.attributes | DELETE_HORIZON_MASK,
        base_timestamp: delete_horizon_ms,
        max_timestamp: kept.max_timestamp,
        record_count: kept.count,
        ..*header
    };
    Ok(build(&header, &records, None)?)
}

/// A batch of which nothing is left but what its header says. There is no horizon: nothing waits for it.
pub(super) fn without_records(header: &BatchHeader) -> Result<Vec<u8>, BuildError> {
    let header = BatchHeader {
        attributes: header.attributes & !(COMPRESSION_MASK | DELETE_HORIZON_MASK),
        base_timestamp: NO_TIMESTAMP,
        record_count: 0,
        ..*header
    };
    build(&header, &[], None)
}

fn shift_timestamp(
    reader: &mut Reader<'_>,
    shift: i64,
    out: &mut Vec<u8>,
) -> Result<(), foz_protocol::wire::WireError> {
    let length = reader.varint("the length of a record")?;
    let body = reader.take(length.max(0) as usize, "a record")?;
    let mut rest = Reader::new(body);
    let attributes = rest.i8("the attributes of a record")?;
    let delta = rest.varlong("timestamp_delta")?.wrapping_add(shift);
    let after = rest.rest();
    put_varint(out, (1 + varlong_length(delta) + after.len()) as i32);
    out.push(attributes as u8);
    put_varlong(out, delta);
    out.extend_from_slice(after);
    Ok(())
}
