//! The records inside a batch: read in place, written by [`BatchBuilder`].
//!
//! A record is a length and then varints, so records can only be walked over in order
//! (<https://kafka.apache.org/documentation/#record>). What comes out of [`Records`] borrows from
//! the bytes that went in. No input makes it panic or ask for memory.

use std::borrow::Cow;

use crate::batch::{BatchError, BatchHeader, HEADER_LENGTH};
use crate::codec::CodecError;
use crate::wire::{Reader, WireError};

mod builder;

pub use builder::{BatchBuilder, BuildError, RecordToWrite};

/// The least bytes of a record: length, attributes, five varints of one byte.
const RECORD_BYTES_MIN: usize = 7;
/// The least bytes of a header: two lengths.
const HEADER_BYTES_MIN: usize = 2;

/// Why the records of a batch cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The batch around them is not one.
    #[error(transparent)]
    Batch(#[from] BatchError),
    /// They cannot be decompressed.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// Compressed with a codec that nobody has given a meaning.
    #[error("attributes {0:#06x} name no known compression: 0 to 4 are right")]
    UnknownCompression(i16),
    /// A field of a record is not what it should be.
    #[error("record {index}: {source}")]
    Field {
        /// Which record, from 0.
        index: i32,
        /// What is wrong.
        source: WireError,
    },
    /// Offsets of records rise within those of their batch.
    #[error("record {index} has the offset delta {offset_delta}: right are {least} to {most}")]
    OffsetDelta {
        /// Which record, from 0.
        index: i32,
        /// What it says.
        offset_delta: i32,
        /// After the record before it.
        least: i32,
        /// The batch's last one.
        most: i32,
    },
    /// The header's number of records is not the number that is there.
    #[error("record_count is {record_count}, but after record {read} {rest} bytes are left")]
    Count {
        /// What the header says.
        record_count: i32,
        /// Records that were there.
        read: i32,
        /// Bytes left.
        rest: usize,
    },
}

/// One record, borrowed from its batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    /// Offset minus the batch's base offset.
    pub offset_delta: i32,
    /// Timestamp minus the batch's base timestamp, in ms.
    pub timestamp_delta: i64,
    /// `None` is a null key.
    pub key: Option<&'a [u8]>,
    /// `None` is a null value: a tombstone on a compacted topic.
    pub value: Option<&'a [u8]>,
    /// The headers, already checked.
    pub headers: Headers<'a>,
}

impl Record<'_> {
    /// The record's offset in its partition.
    #[must_use]
    pub fn offset(&self, batch: &BatchHeader) -> i64 {
        batch.base_offset.wrapping_add(i64::from(self.offset_delta))
    }

    /// The record's timestamp in ms: the batch's greatest where the broker's clock made them.
    #[must_use]
    pub fn timestamp(&self, batch: &BatchHeader) -> i64 {
        if batch.is_log_append_time() {
            batch.max_timestamp
        } else {
            batch.base_timestamp.wrapping_add(self.timestamp_delta)
        }
    }
}

/// One header of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header<'a> {
    /// UTF-8 by convention; a broker passes on what it gets.
    pub key: &'a [u8],
    /// `None` is null.
    pub value: Option<&'a [u8]>,
}

/// The headers of a record, read as one walks over them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Headers<'a> {
    count: usize,
    bytes: &'a [u8],
}

impl<'a> Headers<'a> {
    /// How many.
    #[must_use]
    pub fn len(&self) -> usize {
        self.count
    }

    /// None at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// In the order of the wire; a key may come more than once.
    pub fn iter(&self) -> impl Iterator<Item = Header<'a>> + use<'a> {
        let mut reader = Reader::new(self.bytes);
        (0..self.count).map_while(move |_| read_header(&mut reader).ok())
    }
}

/// The bytes of `batch` (exactly one batch) after its header, decompressed to at most `max` bytes.
///
/// # Errors
/// [`RecordError::Batch`], [`RecordError::Codec`], [`RecordError::UnknownCompression`]. The CRC is
/// not checked here.
pub fn record_bytes<'a>(
    header: &BatchHeader,
    batch: &'a [u8],
    max: usize,
) -> Result<Cow<'a, [u8]>, RecordError> {
    let needed = header.total_length();
    let Some(packed) = batch.get(HEADER_LENGTH..needed) else {
        return Err(BatchError::Truncated {
            needed,
            available: batch.len(),
        }
        .into());
    };
    match header.compression() {
        None => Err(RecordError::UnknownCompression(header.attributes)),
        Some(crate::codec::Compression::None) => Ok(Cow::Borrowed(packed)),
        Some(codec) => Ok(Cow::Owned(codec.decompress(packed, max)?)),
    }
}

/// Walks over the records of one batch; after an error it ends.
#[derive(Debug, Clone)]
pub struct Records<'a> {
    reader: Reader<'a>,
    record_count: i32,
    read: i32,
    least_offset_delta: i32,
    last_offset_delta: i32,
    ended: bool,
}

impl<'a> Records<'a> {
    /// `bytes` are what [`record_bytes`] gives: the records without the batch's header, not
    /// compressed.
    #[must_use]
    pub fn new(header: &BatchHeader, bytes: &'a [u8]) -> Self {
        Self {
            reader: Reader::new(bytes),
            record_count: header.record_count,
            read: 0,
            least_offset_delta: 0,
            last_offset_delta: header.last_offset_delta,
            ended: false,
        }
    }

    /// What has not been walked over yet: who filters records copies the bytes in between.
    #[must_use]
    pub fn rest(&self) -> &'a [u8] {
        self.reader.rest()
    }

    fn end(&mut self) -> Option<Result<Record<'a>, RecordError>> {
        self.ended = true;
        let rest = self.reader.remaining();
        (rest != 0 || self.record_count < 0).then_some(Err(RecordError::Count {
            record_count: self.record_count,
            read: self.read,
            rest,
        }))
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<Record<'a>, RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        if self.read >= self.record_count {
            return self.end();
        }
        if self.reader.remaining() == 0 {
            self.ended = true;
            return Some(Err(RecordError::Count {
                record_count: self.record_count,
                read: self.read,
                rest: 0,
            }));
        }
        match read_record(&mut self.reader) {
            Ok(record) => {
                let (least, most) = (self.least_offset_delta, self.last_offset_delta);
                let (index, offset_delta) = (self.read, record.offset_delta);
                if offset_delta < least || offset_delta > most {
                    self.ended = true;
                    return Some(Err(RecordError::OffsetDelta {
                        index,
                        offset_delta,
                        least,
                        most,
                    }));
                }
                self.least_offset_delta = offset_delta.saturating_add(1);
                self.read += 1;
                Some(Ok(record))
            }
            Err(source) => {
                self.ended = true;
                Some(Err(RecordError::Field {
                    index: self.read,
                    source,
                }))
            }
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let fit = self.reader.remaining() / RECORD_BYTES_MIN;
        let left = (self.record_count.max(0) - self.read).max(0) as usize;
        (0, Some(fit.min(left) + 1))
    }
}

fn read_record<'a>(outer: &mut Reader<'a>) -> Result<Record<'a>, WireError> {
    let length = outer.varint("the length of a record")?;
    let mut reader = Reader::new(take_signed(outer, length, "a record")?);
    reader.i8("the attributes of a record")?;
    let timestamp_delta = reader.varlong("timestamp_delta")?;
    let offset_delta = reader.varint("offset_delta")?;
    let key = read_nullable(&mut reader, "key")?;
    let value = read_nullable(&mut reader, "value")?;
    let headers = read_headers(&mut reader)?;
    reader.finish("a record")?;
    Ok(Record {
        offset_delta,
        timestamp_delta,
        key,
        value,
        headers,
    })
}

fn read_headers<'a>(reader: &mut Reader<'a>) -> Result<Headers<'a>, WireError> {
    let count = reader.varint("the number of headers")?;
    if count < 0 || count as usize > reader.remaining() / HEADER_BYTES_MIN {
        return Err(WireError::Length {
            field: "headers",
            length: i64::from(count),
            rule: "it must be 0 or more, and they must fit into the record",
        });
    }
    let bytes = reader.rest();
    for _ in 0..count {
        read_header(reader)?;
    }
    let bytes = &bytes[..bytes.len() - reader.remaining()];
    Ok(Headers {
        count: count as usize,
        bytes,
    })
}

fn read_header<'a>(reader: &mut Reader<'a>) -> Result<Header<'a>, WireError> {
    let length = reader.varint("the length of a header key")?;
    let key = take_signed(reader, length, "a header key")?;
    let value = read_nullable(reader, "a header value")?;
    Ok(Header { key, value })
}

#[inline]
fn read_nullable<'a>(
    reader: &mut Reader<'a>,
    field: &'static str,
) -> Result<Option<&'a [u8]>, WireError> {
    match reader.varint(field)? {
        -1 => Ok(None),
        length => take_signed(reader, length, field).map(Some),
    }
}

#[inline]
fn take_signed<'a>(
    reader: &mut Reader<'a>,
    length: i32,
    field: &'static str,
) -> Result<&'a [u8], WireError> {
    match usize::try_from(length) {
        Ok(length) => reader.take(length, field),
        Err(_) => Err(WireError::Length {
            field,
            length: i64::from(length),
            rule: "it must not be negative (-1 only where null is allowed)",
        }),
    }
}
