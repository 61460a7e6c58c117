use std::sync::Arc;

use bytes::{Buf, Bytes};
use uuid::Uuid;

use super::{Entry, GroupMetadata, MemberMetadata, RecordError, TOPIC_ID_TAG};
use crate::offsets::{OffsetAndMetadata, OffsetChange, OffsetKey};

/// Highest version of both values; 4 is the first with tagged fields (KIP-915). A version that
/// comes later adds only such, so unknown ones are skipped.
const VALUE_VERSION_MAX: i16 = 4;

/// Reads a record. `None` for a key of a kind this crate does not know (consumer, share and
/// streams groups have their own): a later version may have written it.
pub(crate) fn decode(key: &[u8], value: Option<&[u8]>) -> Result<Option<Entry>, RecordError> {
    let mut key = Reader {
        bytes: key,
        what: "key",
        flexible: false,
    };
    match key.i16()? {
        0 | 1 => {
            key.what = "OffsetCommitKey";
            let key = OffsetKey {
                group_id: key.string()?,
                topic: key.string()?,
                partition: key.i32()?,
            };
            let value = value.map(offset_value).transpose()?;
            Ok(Some(Entry::Offset(OffsetChange { key, value })))
        }
        2 => {
            key.what = "GroupMetadataKey";
            let group_id = key.string()?;
            let value = value.map(group_value).transpose()?;
            Ok(Some(Entry::Group { group_id, value }))
        }
        _ => Ok(None),
    }
}

fn offset_value(value: &[u8]) -> Result<OffsetAndMetadata, RecordError> {
    let (mut reader, version) = Reader::of_value(value, "OffsetCommitValue")?;
    let offset = reader.i64()?;
    let leader_epoch = if version >= 3 { reader.i32()? } else { -1 };
    let metadata = reader.string()?;
    let commit_timestamp_ms = reader.i64()?;
    let expire_timestamp_ms = if version == 1 { reader.i64()? } else { -1 };
    let mut topic_id = Uuid::nil();
    for (tag, bytes) in reader.tagged_fields()? {
        if tag == TOPIC_ID_TAG {
            topic_id = Uuid::from_slice(bytes).map_err(|_| reader.malformed())?;
        }
    }
    Ok(OffsetAndMetadata {
        offset,
        leader_epoch,
        metadata,
        commit_timestamp_ms,
        expire_timestamp_ms: (expire_timestamp_ms != -1).then_some(expire_timestamp_ms),
        topic_id,
    })
}

fn group_value(value: &[u8]) -> Result<GroupMetadata, RecordError> {
    let (mut reader, version) = Reader::of_value(value, "GroupMetadataValue")?;
    let protocol_type = reader.string()?;
    let generation = reader.i32()?;
    let protocol = reader.nullable_string()?;
    let leader = reader.nullable_string()?;
    let current_state_timestamp_ms = if version >= 2 { reader.i64()? } else { -1 };
    let member_count = reader.array_length()?;
    let mut members = Vec::new();
    for _ in 0..member_count {
        members.push(MemberMetadata {
            member_id: reader.string()?,
            group_instance_id: if version >= 3 {
                reader.nullable_string()?
            } else {
                None
            },
            client_id: reader.string()?,
            client_host: reader.string()?,
            rebalance_timeout_ms: if version >= 1 { reader.i32()? } else { -1 },
            session_timeout_ms: reader.i32()?,
            subscription: reader.bytes()?,
            assignment: reader.bytes()?,
        });
        reader.tagged_fields()?;
    }
    Ok(GroupMetadata {
        protocol_type,
        generation,
        protocol,
        leader,
        current_state_timestamp_ms,
        members,
    })
}

struct Reader<'a> {
    bytes: &'a [u8],
    what: &'static str,
    /// Lengths are varints plus one, and structs end with tagged fields (KIP-482).
    flexible: bool,
}

impl<'a> Reader<'a> {
    fn of_value(bytes: &'a [u8], what: &'static str) -> Result<(Self, i16), RecordError> {
        let mut reader = Self {
            bytes,
            what,
            flexible: false,
        };
        let version = reader.i16()?;
        if !(0..=VALUE_VERSION_MAX).contains(&version) {
            return Err(RecordError::UnknownVersion {
                what,
                version,
                known: VALUE_VERSION_MAX,
            });
        }
        reader.flexible = version >= 4;
        Ok((reader, version))
    }

    fn malformed(&self) -> RecordError {
        RecordError::Malformed { what: self.what }
    }

    fn i16(&mut self) -> Result<i16, RecordError> {
        self.bytes.try_get_i16().map_err(|_| self.malformed())
    }

    fn i32(&mut self) -> Result<i32, RecordError> {
        self.bytes.try_get_i32().map_err(|_| self.malformed())
    }

    fn i64(&mut self) -> Result<i64, RecordError> {
        self.bytes.try_get_i64().map_err(|_| self.malformed())
    }

    fn varint(&mut self) -> Result<u32, RecordError> {
        let mut value = 0u32;
        for shift in (0..35).step_by(7) {
            let byte = self.bytes.try_get_u8().map_err(|_| self.malformed())?;
            value |= u32::from(byte & 0x7f).checked_shl(shift).unwrap_or(0);
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(self.malformed())
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], RecordError> {
        let taken = self.bytes.get(..length).ok_or(self.malformed())?;
        self.bytes.advance(length);
        Ok(taken)
    }

    /// `None` for null.
    fn flexible_length(&mut self) -> Result<Option<usize>, RecordError> {
        Ok((self.varint()? as usize).checked_sub(1))
    }

    fn nullable_string(&mut self) -> Result<Option<Arc<str>>, RecordError> {
        let length = if self.flexible {
            self.flexible_length()?
        } else {
            match self.i16()? {
                -1 => None,
                length => Some(usize::try_from(length).map_err(|_| self.malformed())?),
            }
        };
        let Some(length) = length else {
            return Ok(None);
        };
        let bytes = self.take(length)?;
        let string = std::str::from_utf8(bytes);
        string
            .map(|string| Some(Arc::from(string)))
            .map_err(|_| RecordError::NotUtf8 { what: self.what })
    }

    fn string(&mut self) -> Result<Arc<str>, RecordError> {
        self.nullable_string()?.ok_or(self.malformed())
    }

    fn array_length(&mut self) -> Result<usize, RecordError> {
        if self.flexible {
            return self.flexible_length()?.ok_or(self.malformed());
        }
        usize::try_from(self.i32()?).map_err(|_| self.malformed())
    }

    fn bytes(&mut self) -> Result<Bytes, RecordError> {
        let length = self.array_length()?;
        Ok(Bytes::copy_from_slice(self.take(length)?))
    }

    fn tagged_fields(&mut self) -> Result<Vec<(u32, &'a [u8])>, RecordError> {
        let mut fields = Vec::new();
        let count = if self.flexible { self.varint()? } else { 0 };
        for _ in 0..count {
            let tag = self.varint()?;
            let length = self.varint()? as usize;
            fields.push((tag, self.take(length)?));
        }
        Ok(fields)
    }
}
