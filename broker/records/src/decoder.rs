use std::sync::Arc;

use bytes::Bytes;
use foz_protocol::wire::{Reader, WireError};
use uuid::Uuid;

use crate::encoder::STRING_BYTES_MAX;
use crate::message::Structure;

/// Elements that an array has room for before they are read; more grow it as they come.
const PREALLOCATED_ELEMENTS_MAX: usize = 1024;

const TOO_MANY_ELEMENTS: &str =
    "with it there are more elements in all than such a message may have";

/// Reads the fields of one version of a message.
#[derive(Debug)]
pub struct Decoder<'a> {
    reader: Reader<'a>,
    version: i16,
    is_flexible: bool,
    elements_left: usize,
}

impl<'a> Decoder<'a> {
    pub(crate) fn new(
        bytes: &'a [u8],
        version: i16,
        is_flexible: bool,
        elements_max: usize,
    ) -> Self {
        Self {
            reader: Reader::new(bytes),
            version,
            is_flexible,
            elements_left: elements_max,
        }
    }

    /// Version of the message.
    #[must_use]
    pub fn version(&self) -> i16 {
        self.version
    }

    /// A field that is not null.
    ///
    /// # Errors
    /// It is cut short, or is null, or has a value that it must not have.
    pub fn value<T: Value>(&mut self, field: &'static str) -> Result<T, WireError> {
        T::read(self, field)
    }

    /// A field that may be null.
    ///
    /// # Errors
    /// As for [`Self::value`].
    pub fn nullable<T: Nullable>(&mut self, field: &'static str) -> Result<Option<T>, WireError> {
        T::read_nullable(self, field)
    }

    /// A structure that may be null, as a tagged field: there it has a varint in front.
    ///
    /// # Errors
    /// As for [`Self::value`].
    pub fn nullable_tagged<T: Structure>(
        &mut self,
        field: &'static str,
    ) -> Result<Option<T>, WireError> {
        match self.reader.unsigned_varint(field)? {
            0 => Ok(None),
            _ => T::read(self).map(Some),
        }
    }

    /// The tagged fields at the end of a structure, if the version has such: `known` gets each tag
    /// with a decoder of the field, and says whether it read it.
    ///
    /// # Errors
    /// A field is cut short, or is longer than its value; and what `known` returns.
    pub fn tagged_fields(
        &mut self,
        mut known: impl FnMut(u32, &mut Decoder<'a>) -> Result<bool, WireError>,
    ) -> Result<(), WireError> {
        let (version, is_flexible) = (self.version, self.is_flexible);
        let mut elements_left = self.elements_left;
        let mut count = 0;
        self.reader.tagged_fields(is_flexible, |tag, bytes| {
            count += 1;
            elements_left = elements_left.checked_sub(1).ok_or(WireError::Length {
                field: "the tagged fields",
                length: count,
                rule: TOO_MANY_ELEMENTS,
            })?;
            let mut field = Decoder::new(bytes, version, is_flexible, elements_left);
            if known(tag, &mut field)? {
                field.reader.finish("a tagged field")?;
                elements_left = field.elements_left;
            }
            Ok(())
        })?;
        self.elements_left = elements_left;
        Ok(())
    }
}

/// A type of field.
pub trait Value: Sized {
    /// Reads one that is not null.
    ///
    /// # Errors
    /// It is cut short, or is null, or has a value that it must not have.
    fn read(decoder: &mut Decoder<'_>, field: &'static str) -> Result<Self, WireError>;
}

/// A type of field that can be null.
pub trait Nullable: Value {
    /// Reads one, or null.
    ///
    /// # Errors
    /// As for [`Value::read`].
    fn read_nullable(
        decoder: &mut Decoder<'_>,
        field: &'static str,
    ) -> Result<Option<Self>, WireError>;
}

impl Value for bool {
    fn read(decoder: &mut Decoder<'_>, field: &'static str) -> Result<Self, WireError> {
        Ok(decoder.reader.i8(field)? != 0)
    }
}

impl Value for i8 {
    fn read(decoder: &mut Decoder<'_>, field: &'static str) -> Result<Self, WireError> {
        decoder.reader.i8(field)
    }
}

impl Value for i16 {
    fn read(decoder: &mut Decoder<'_>, field: &'static str) -> Result<Self, WireError> {
        decoder.reader.i16(field)
    }
}

impl Value for u16 {
    fn read(decoder: &mut Decoder<'_>, field: &'static str) -> Result<Self, WireError> {
        Ok(decoder.reader.i16(field)?.cast_unsigned())
    }
}

impl Value for i32 {
    fn read(decoder: &mut Decoder<'_>, field: &'static str) -> Result<Self, WireError> {
        decoder.reader.i32(field)
    }
}

impl Value for u32 {
    fn read(decoder: &mut Decoder<'_>, field: &'static str) -> Result<Self, WireError> {
        Ok(decoder.reader.i32(field)?.cast_unsigned())
    }
}

impl Value for i64 {
    fn read(decoder: &mut Decoder<'_>, field: &'static str) -> Result<Self, WireError> {
        decoder.reader.i64(field)
    }
}

impl Value for f64 {
    fn read(decoder: &mut Decoder<'_>, field: &'static str) -> Result<Self, WireError> {
        let bits = decoder.reader.i64(field)?.cast_unsigned();
        Ok(Self::from_bits(bits))
    }
}

impl Value for Uuid {
    fn read(decoder: &mut Decoder<'_>, field: &'static str) -> Result<Self, WireError> {
        decoder.reader.uuid(field).map(Self::from_bytes)
    }
}

impl Value for Arc<str> {
    fn read(decoder: &mut Decoder<'_>, field: &'static str) -> Result<Self, WireError> {
        not_null(Self::read_nullable(decoder, field)?, field)
    }
}

impl Nullable for Arc<str> {
    fn read_nullable(
        decoder: &mut Decoder<'_>,
        field: &'static str,
    ) -> Result<Option<Self>, WireError> {
        match decoder.reader.nullable_string(decoder.is_flexible, field)? {
            // A compact length could say more, but Kafka refuses it.
            Some(text) if text.len() > STRING_BYTES_MAX => Err(WireError::Length {
                field,
                length: text.len() as i64,
                rule: "a string has at most 32767 bytes",
            }),
            text => Ok(text.map(Arc::from)),
        }
    }
}

impl Value for Bytes {
    fn read(decoder: &mut Decoder<'_>, field: &'static str) -> Result<Self, WireError> {
        not_null(Self::read_nullable(decoder, field)?, field)
    }
}

impl Nullable for Bytes {
    fn read_nullable(
        decoder: &mut Decoder<'_>,
        field: &'static str,
    ) -> Result<Option<Self>, WireError> {
        let bytes = decoder.reader.nullable_bytes(decoder.is_flexible, field)?;
        Ok(bytes.map(Self::copy_from_slice))
    }
}

impl<T: Value> Value for Vec<T> {
    fn read(decoder: &mut Decoder<'_>, field: &'static str) -> Result<Self, WireError> {
        not_null(Self::read_nullable(decoder, field)?, field)
    }
}

impl<T: Value> Nullable for Vec<T> {
    fn read_nullable(
        decoder: &mut Decoder<'_>,
        field: &'static str,
    ) -> Result<Option<Self>, WireError> {
        // Every element takes a byte at least.
        let is_flexible = decoder.is_flexible;
        let Some(length) = decoder
            .reader
            .nullable_array_length(is_flexible, 1, field)?
        else {
            return Ok(None);
        };
        let left = decoder.elements_left.checked_sub(length);
        decoder.elements_left = left.ok_or(WireError::Length {
            field,
            length: length as i64,
            rule: TOO_MANY_ELEMENTS,
        })?;
        let mut elements = Self::with_capacity(length.min(PREALLOCATED_ELEMENTS_MAX));
        for _ in 0..length {
            elements.push(T::read(decoder, field)?);
        }
        Ok(Some(elements))
    }
}

impl<T: Structure> Value for T {
    fn read(decoder: &mut Decoder<'_>, _field: &'static str) -> Result<Self, WireError> {
        <T as Structure>::read(decoder)
    }
}

impl<T: Structure> Nullable for T {
    fn read_nullable(
        decoder: &mut Decoder<'_>,
        field: &'static str,
    ) -> Result<Option<Self>, WireError> {
        match decoder.reader.i8(field)? {
            ..0 => Ok(None),
            _ => <T as Structure>::read(decoder).map(Some),
        }
    }
}

fn not_null<T>(value: Option<T>, field: &'static str) -> Result<T, WireError> {
    value.ok_or(WireError::Null { field })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_tagged_field_holds_counts_for_all() {
        // One field, of tag 0 and two bytes, and behind it as many.
        let read = |elements_max| {
            let bytes = [1, 0, 3, 3, 1, 0, 3, 1, 0];
            let mut decoder = Decoder::new(&bytes, 0, true, elements_max);
            let mut tagged: Vec<bool> = Vec::new();
            decoder.tagged_fields(|_, field| {
                tagged = field.value("tagged")?;
                Ok(true)
            })?;
            let behind: Vec<bool> = decoder.value("behind")?;
            Ok((tagged, behind))
        };
        // The field itself is one.
        assert_eq!(read(5), Ok((vec![true, false], vec![true, false])));
        assert!(matches!(
            read(4),
            Err(WireError::Length {
                field: "behind",
                length: 2,
                ..
            })
        ));
        assert!(matches!(
            read(2),
            Err(WireError::Length {
                field: "tagged",
                length: 2,
                ..
            })
        ));
    }
}
