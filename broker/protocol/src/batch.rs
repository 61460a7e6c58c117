//! The v2 record batch as it lies on disk and on the wire, read without being copied.
//!
//! Only the 61-byte header is looked at. The CRC covers the bytes from `attributes` on, so base offset
//! and partition leader epoch can be patched without touching it
//! (<https://kafka.apache.org/documentation/#recordbatch>).

use crate::codec::Compression;

/// Base offset and length: what stands before the bytes that `batch_length` counts.
pub const LOG_OVERHEAD: usize = 12;
/// The whole header, up to the first record.
pub const HEADER_LENGTH: usize = 61;
/// The only magic that Kafka 4 accepts (KIP-724).
pub const MAGIC: i8 = 2;
/// Where the bytes covered by the CRC begin.
pub const CRC_COVERED_FROM: usize = 21;

const COMPRESSION_MASK: i16 = 0x07;
const TIMESTAMP_TYPE_MASK: i16 = 0x08;
const TRANSACTIONAL_MASK: i16 = 0x10;
const CONTROL_MASK: i16 = 0x20;
const DELETE_HORIZON_MASK: i16 = 0x40;

/// The header of one batch, in wire order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchHeader {
    /// Offset of the first record.
    pub base_offset: i64,
    /// Bytes after this field.
    pub batch_length: i32,
    /// Epoch of the leader that appended it; patched by the leader.
    pub partition_leader_epoch: i32,
    /// CRC-32C of everything from `attributes` on.
    pub crc: u32,
    /// Compression, timestamp type, transactional, control and delete-horizon bits.
    pub attributes: i16,
    /// Offset of the last record, relative to `base_offset`.
    pub last_offset_delta: i32,
    /// Timestamp of the first record in ms, or the delete horizon (KIP-534).
    pub base_timestamp: i64,
    /// Greatest timestamp in the batch in ms.
    pub max_timestamp: i64,
    /// -1 for a producer that is not idempotent.
    pub producer_id: i64,
    /// -1 for a producer that is not idempotent.
    pub producer_epoch: i16,
    /// Sequence of the first record, -1 for a producer that is not idempotent.
    pub base_sequence: i32,
    /// Number of records.
    pub record_count: i32,
}

/// Why bytes are not a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// Fewer bytes than the header or `batch_length` ask for: a torn or truncated batch.
    #[error("batch needs {needed} bytes, {available} are there")]
    Truncated {
        /// Bytes that the batch would take.
        needed: usize,
        /// Bytes given.
        available: usize,
    },
    /// `batch_length` is smaller than a header without records.
    #[error("batch_length is {0}, at least 49 is right")]
    Length(i32),
    /// An older or unknown format.
    #[error("magic is {0}, 2 is right")]
    Magic(i8),
    /// The bytes changed since they were made.
    #[error("CRC-32C is {computed:#010x}, the header says {stored:#010x}")]
    Crc {
        /// What the header says.
        stored: u32,
        /// What the bytes give.
        computed: u32,
    },
    /// Fields that contradict each other.
    #[error("{field} is {value}: {rule}")]
    Contradiction {
        /// The field at fault.
        field: &'static str,
        /// Its value.
        value: i64,
        /// What would be right.
        rule: &'static str,
    },
}

impl BatchHeader {
    /// Reads the header at the start of `bytes`, which may hold more than one batch.
    ///
    /// # Errors
    /// [`BatchError::Truncated`] for less than a header, [`BatchError::Length`] and
    /// [`BatchError::Magic`] for what cannot be a v2 batch.
    pub fn parse(bytes: &[u8]) -> Result<Self, BatchError> {
        let Some(header) = bytes.first_chunk::<HEADER_LENGTH>() else {
            return Err(BatchError::Truncated {
                needed: HEADER_LENGTH,
                available: bytes.len(),
            });
        };
        let batch_length = i32_at(header, 8);
        if batch_length < (HEADER_LENGTH - LOG_OVERHEAD) as i32 {
            return Err(BatchError::Length(batch_length));
        }
        let magic = header[16] as i8;
        if magic != MAGIC {
            return Err(BatchError::Magic(magic));
        }
        Ok(Self {
            base_offset: i64_at(header, 0),
            batch_length,
            partition_leader_epoch: i32_at(header, 12),
            crc: i32_at(header, 17) as u32,
            attributes: i16_at(header, 21),
            last_offset_delta: i32_at(header, 23),
            base_timestamp: i64_at(header, 27),
            max_timestamp: i64_at(header, 35),
            producer_id: i64_at(header, 43),
            producer_epoch: i16_at(header, 51),
            base_sequence: i32_at(header, 53),
            record_count: i32_at(header, 57),
        })
    }

    /// Bytes of the whole batch, header included.
    #[must_use]
    pub fn total_length(&self) -> usize {
        LOG_OVERHEAD + self.batch_length as usize
    }

    /// Offset of the last record. It saturates: the CRC does not cover the base offset, so a
    /// damaged disk can hold any.
    #[must_use]
    pub fn last_offset(&self) -> i64 {
        self.base_offset
            .saturating_add(i64::from(self.last_offset_delta))
    }

    /// The offset after the batch.
    #[must_use]
    pub fn next_offset(&self) -> i64 {
        self.last_offset().saturating_add(1)
    }

    /// Sequence of the last record; sequences wrap from `i32::MAX` to 0.
    #[must_use]
    pub fn last_sequence(&self) -> i32 {
        if self.base_sequence < 0 {
            return self.base_sequence;
        }
        let last = i64::from(self.base_sequence) + i64::from(self.last_offset_delta);
        (last % (i64::from(i32::MAX) + 1)) as i32
    }

    /// How the records are compressed; `None` for a number nobody has given a meaning.
    #[must_use]
    pub fn compression(&self) -> Option<Compression> {
        Compression::from_id((self.attributes & COMPRESSION_MASK) as u8)
    }

    /// The broker's clock made the timestamps.
    #[must_use]
    pub fn is_log_append_time(&self) -> bool {
        self.attributes & TIMESTAMP_TYPE_MASK != 0
    }

    /// Part of a transaction.
    #[must_use]
    pub fn is_transactional(&self) -> bool {
        self.attributes & TRANSACTIONAL_MASK != 0
    }

    /// A marker that the broker wrote, not data.
    #[must_use]
    pub fn is_control(&self) -> bool {
        self.attributes & CONTROL_MASK != 0
    }

    /// `base_timestamp` is a delete horizon (KIP-534).
    #[must_use]
    pub fn has_delete_horizon(&self) -> bool {
        self.attributes & DELETE_HORIZON_MASK != 0
    }

    /// Made by an idempotent producer.
    #[must_use]
    pub fn has_producer_id(&self) -> bool {
        self.producer_id >= 0
    }

    /// Checks the CRC over `batch`, which must be exactly this batch's bytes.
    ///
    /// # Errors
    /// [`BatchError::Truncated`] and [`BatchError::Crc`].
    pub fn check_crc(&self, batch: &[u8]) -> Result<(), BatchError> {
        let needed = self.total_length();
        let Some(covered) = batch.get(CRC_COVERED_FROM..needed) else {
            return Err(BatchError::Truncated {
                needed,
                available: batch.len(),
            });
        };
        let computed = crc32c::crc32c(covered);
        if computed == self.crc {
            Ok(())
        } else {
            Err(BatchError::Crc {
                stored: self.crc,
                computed,
            })
        }
    }

    /// The rules that a batch from a producer must keep besides its CRC.
    ///
    /// # Errors
    /// [`BatchError::Contradiction`] for a header that contradicts itself.
    pub fn check_produced(&self) -> Result<(), BatchError> {
        let contradiction =
            |field, value, rule| Err(BatchError::Contradiction { field, value, rule });
        if self.record_count <= 0 {
            return contradiction(
                "record_count",
                i64::from(self.record_count),
                "a produced batch holds at least one record",
            );
        }
        if self.last_offset_delta != self.record_count - 1 {
            return contradiction(
                "last_offset_delta",
                i64::from(self.last_offset_delta),
                "it must be record_count - 1",
            );
        }
        if self.compression().is_none() {
            return contradiction(
                "attributes",
                i64::from(self.attributes),
                "compression must be 0 (none), 1 (gzip), 2 (snappy), 3 (lz4) or 4 (zstd)",
            );
        }
        if self.is_control() {
            return contradiction(
                "attributes",
                i64::from(self.attributes),
                "a client must not write control batches",
            );
        }
        if self.has_producer_id() && (self.producer_epoch < 0 || self.base_sequence < 0) {
            return contradiction(
                "producer_epoch",
                i64::from(self.producer_epoch),
                "an idempotent producer's epoch and base_sequence must not be negative",
            );
        }
        if self.is_transactional() && !self.has_producer_id() {
            return contradiction(
                "producer_id",
                self.producer_id,
                "a transactional batch needs a producer id",
            );
        }
        Ok(())
    }
}

/// Sets what the leader decides: base offset and leader epoch. The CRC does not cover them.
///
/// # Panics
/// When `batch` is shorter than a header.
pub fn assign(batch: &mut [u8], base_offset: i64, partition_leader_epoch: i32) {
    batch[0..8].copy_from_slice(&base_offset.to_be_bytes());
    batch[12..16].copy_from_slice(&partition_leader_epoch.to_be_bytes());
}

/// Sets the broker's clock as the timestamp of every record (`message.timestamp.type=LogAppendTime`)
/// and renews the CRC.
///
/// # Panics
/// When `batch` is shorter than a header.
pub fn assign_log_append_time(batch: &mut [u8], timestamp_ms: i64) {
    let attributes = i16_at(batch, 21) | TIMESTAMP_TYPE_MASK;
    batch[21..23].copy_from_slice(&attributes.to_be_bytes());
    batch[35..43].copy_from_slice(&timestamp_ms.to_be_bytes());
    let crc = crc32c::crc32c(&batch[CRC_COVERED_FROM..]);
    batch[17..21].copy_from_slice(&crc.to_be_bytes());
}

/// Walks over whole batches that lie one after the other; stops with an error at what is not one.
#[derive(Debug, Clone)]
pub struct Batches<'a> {
    rest: &'a [u8],
}

impl<'a> Batches<'a> {
    /// `bytes` begin at a batch.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// What has not been walked over yet.
    #[must_use]
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }
}

impl<'a> Iterator for Batches<'a> {
    type Item = Result<(BatchHeader, &'a [u8]), BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let parsed = BatchHeader::parse(self.rest).and_then(|header| {
            let needed = header.total_length();
            match self.rest.split_at_checked(needed) {
                Some((batch, rest)) => Ok((header, batch, rest)),
                None => Err(BatchError::Truncated {
                    needed,
                    available: self.rest.len(),
                }),
            }
        });
        match parsed {
            Ok((header, batch, rest)) => {
                self.rest = rest;
                Some(Ok((header, batch)))
            }
            Err(error) => {
                self.rest = &[];
                Some(Err(error))
            }
        }
    }
}

fn i16_at(bytes: &[u8], at: usize) -> i16 {
    i16::from_be_bytes([bytes[at], bytes[at + 1]])
}

fn i32_at(bytes: &[u8], at: usize) -> i32 {
    i32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn i64_at(bytes: &[u8], at: usize) -> i64 {
    let mut raw = [0; 8];
    raw.copy_from_slice(&bytes[at..at + 8]);
    i64::from_be_bytes(raw)
}
