//! Making batches: for internal topics, for clients, for tests.

use bytes::BufMut;

use crate::batch::{CRC_COVERED_FROM, HEADER_LENGTH, LOG_OVERHEAD, MAGIC};
use crate::codec::{CodecError, Compression};
use crate::wire::{put_varint, put_varlong, varint_length, varlong_length};

const TRANSACTIONAL: i16 = 0x10;
const CONTROL: i16 = 0x20;

/// A record on its way into a batch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RecordToWrite<'a> {
    /// Milliseconds since the epoch.
    pub timestamp_ms: i64,
    /// `None` is a null key.
    pub key: Option<&'a [u8]>,
    /// `None` is a null value.
    pub value: Option<&'a [u8]>,
    /// In this order on the wire.
    pub headers: &'a [(&'a str, Option<&'a [u8]>)],
}

/// Why a batch cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// A batch without records has no offset.
    #[error("a batch needs at least one record")]
    Empty,
    /// `batch_length` is an INT32.
    #[error("the batch would take {0} bytes, 2147483647 is the most")]
    TooLarge(usize),
    /// The codec refused.
    #[error(transparent)]
    Codec(#[from] CodecError),
}

/// Collects records and makes one v2 batch of them.
#[derive(Debug, Clone)]
pub struct BatchBuilder {
    compression: Compression,
    base_offset: i64,
    partition_leader_epoch: i32,
    producer_id: i64,
    producer_epoch: i16,
    base_sequence: i32,
    flags: i16,
    record_count: i32,
    base_timestamp: i64,
    max_timestamp: i64,
    records: Vec<u8>,
}

impl BatchBuilder {
    /// An empty batch at offset 0 without a producer id.
    #[must_use]
    pub fn new(compression: Compression) -> Self {
        Self {
            compression,
            base_offset: 0,
            partition_leader_epoch: -1,
            producer_id: -1,
            producer_epoch: -1,
            base_sequence: -1,
            flags: 0,
            record_count: 0,
            base_timestamp: -1,
            max_timestamp: -1,
            records: Vec::new(),
        }
    }

    /// Where the batch lies; a leader sets this itself for what clients produce.
    #[must_use]
    pub fn at(mut self, base_offset: i64, partition_leader_epoch: i32) -> Self {
        self.base_offset = base_offset;
        self.partition_leader_epoch = partition_leader_epoch;
        self
    }

    /// The fields of an idempotent producer (KIP-98).
    #[must_use]
    pub fn idempotent(mut self, producer_id: i64, producer_epoch: i16, base_sequence: i32) -> Self {
        self.producer_id = producer_id;
        self.producer_epoch = producer_epoch;
        self.base_sequence = base_sequence;
        self
    }

    /// Part of a transaction; needs [`Self::idempotent`] too.
    #[must_use]
    pub fn transactional(mut self) -> Self {
        self.flags |= TRANSACTIONAL;
        self
    }

    /// A marker of the broker's own.
    #[must_use]
    pub fn control(mut self) -> Self {
        self.flags |= CONTROL;
        self
    }

    /// Appends a record.
    pub fn push(&mut self, record: &RecordToWrite<'_>) {
        if self.record_count == 0 {
            self.base_timestamp = record.timestamp_ms;
            self.max_timestamp = record.timestamp_ms;
        }
        self.max_timestamp = self.max_timestamp.max(record.timestamp_ms);
        let timestamp_delta = record.timestamp_ms.wrapping_sub(self.base_timestamp);
        let offset_delta = self.record_count;
        self.record_count += 1;

        let out = &mut self.records;
        put_varint(
            out,
            body_length(record, timestamp_delta, offset_delta) as i32,
        );
        out.put_i8(0);
        put_varlong(out, timestamp_delta);
        put_varint(out, offset_delta);
        put_nullable(out, record.key);
        put_nullable(out, record.value);
        put_varint(out, record.headers.len() as i32);
        for (key, value) in record.headers {
            put_nullable(out, Some(key.as_bytes()));
            put_nullable(out, *value);
        }
    }

    /// How many records it holds.
    #[must_use]
    pub fn record_count(&self) -> i32 {
        self.record_count
    }

    /// No records yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.record_count == 0
    }

    /// Bytes of the batch if it were not compressed.
    #[must_use]
    pub fn uncompressed_length(&self) -> usize {
        HEADER_LENGTH + self.records.len()
    }

    /// The batch, with its CRC.
    ///
    /// # Errors
    /// [`BuildError`].
    pub fn build(&self) -> Result<Vec<u8>, BuildError> {
        if self.record_count == 0 {
            return Err(BuildError::Empty);
        }
        let packed;
        let payload = match self.compression {
            Compression::None => &self.records,
            codec => {
                packed = codec.compress(&self.records)?;
                &packed
            }
        };
        let total = HEADER_LENGTH + payload.len();
        let batch_length =
            i32::try_from(total - LOG_OVERHEAD).map_err(|_| BuildError::TooLarge(total))?;

        let mut out = Vec::with_capacity(total);
        out.put_i64(self.base_offset);
        out.put_i32(batch_length);
        out.put_i32(self.partition_leader_epoch);
        out.put_i8(MAGIC);
        out.put_u32(0);
        out.put_i16(i16::from(self.compression.id()) | self.flags);
        out.put_i32(self.record_count - 1);
        out.put_i64(self.base_timestamp);
        out.put_i64(self.max_timestamp);
        out.put_i64(self.producer_id);
        out.put_i16(self.producer_epoch);
        out.put_i32(self.base_sequence);
        out.put_i32(self.record_count);
        out.put_slice(payload);
        let crc = crc32c::crc32c(&out[CRC_COVERED_FROM..]);
        out[17..21].copy_from_slice(&crc.to_be_bytes());
        Ok(out)
    }
}

/// What the length in front of the record counts.
fn body_length(record: &RecordToWrite<'_>, timestamp_delta: i64, offset_delta: i32) -> usize {
    let headers: usize = record
        .headers
        .iter()
        .map(|(key, value)| nullable_length(Some(key.as_bytes())) + nullable_length(*value))
        .sum();
    1 + varlong_length(timestamp_delta)
        + varint_length(offset_delta)
        + nullable_length(record.key)
        + nullable_length(record.value)
        + varint_length(record.headers.len() as i32)
        + headers
}

fn nullable_length(bytes: Option<&[u8]>) -> usize {
    bytes.map_or(1, |bytes| varint_length(bytes.len() as i32) + bytes.len())
}

fn put_nullable(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    match bytes {
        None => put_varint(out, -1),
        Some(bytes) => {
            put_varint(out, bytes.len() as i32);
            out.put_slice(bytes);
        }
    }
}
