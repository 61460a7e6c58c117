use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use foz_protocol::wire::{put_nullable_length, put_nullable_string, put_unsigned_varint};
use uuid::Uuid;

use crate::error::Unwritable;
use crate::message::Structure;

/// Longest string, in flexible versions too: Kafka writes and reads none that is longer.
pub const STRING_BYTES_MAX: usize = i16::MAX as usize;

/// Most bytes in a field, and elements in an array: Kafka's lengths are `int`s, and a compact one is
/// one more than the length.
const LENGTH_MAX: usize = i32::MAX as usize - 1;

/// Writes the fields of one version of a message.
#[derive(Debug)]
pub struct Encoder {
    out: BytesMut,
    version: i16,
    is_flexible: bool,
}

impl Encoder {
    pub(crate) fn new(out: BytesMut, version: i16, is_flexible: bool) -> Self {
        Self {
            out,
            version,
            is_flexible,
        }
    }

    pub(crate) fn into_bytes(self) -> BytesMut {
        self.out
    }

    /// Version of the message.
    #[must_use]
    pub fn version(&self) -> i16 {
        self.version
    }

    /// A field that is not null.
    ///
    /// # Errors
    /// It is too long.
    pub fn value<T: Writable>(&mut self, value: &T, field: &'static str) -> Result<(), Unwritable> {
        value.write(self, field)
    }

    /// A field that may be null.
    ///
    /// # Errors
    /// As for [`Self::value`].
    pub fn nullable<T: NullableWritable>(
        &mut self,
        value: Option<&T>,
        field: &'static str,
    ) -> Result<(), Unwritable> {
        match value {
            None => T::write_null(self),
            Some(value) => return value.write_not_null(self, field),
        }
        Ok(())
    }

    /// A structure that may be null, as a tagged field: there it has a varint in front.
    ///
    /// # Errors
    /// As for [`Self::value`].
    pub fn nullable_tagged<T: Structure>(
        &mut self,
        value: Option<&T>,
        _field: &'static str,
    ) -> Result<(), Unwritable> {
        put_unsigned_varint(&mut self.out, u32::from(value.is_some()));
        value.map_or(Ok(()), |value| Structure::write(value, self))
    }

    /// Begins the tagged fields at the end of a structure.
    #[must_use]
    pub fn tagged_fields(&self) -> TaggedFields {
        TaggedFields {
            version: self.version,
            fields: Vec::new(),
        }
    }

    /// Ends a structure with its tagged fields, if the version has such.
    ///
    /// # Errors
    /// They are too long.
    pub fn end(&mut self, tagged: &TaggedFields) -> Result<(), Unwritable> {
        if !self.is_flexible {
            assert!(tagged.fields.is_empty(), "the generator tags where it may");
            return Ok(());
        }
        put_unsigned_varint(&mut self.out, tagged.fields.len() as u32);
        for (tag, bytes) in &tagged.fields {
            put_unsigned_varint(&mut self.out, *tag);
            let length = fitting(bytes.len(), LENGTH_MAX, "a tagged field")?;
            put_unsigned_varint(&mut self.out, length as u32);
            self.out.put_slice(bytes);
        }
        Ok(())
    }

    fn length(&mut self, length: usize, field: &'static str) -> Result<(), Unwritable> {
        let length = fitting(length, LENGTH_MAX, field)?;
        put_nullable_length(&mut self.out, self.is_flexible, Some(length));
        Ok(())
    }
}

/// Tagged fields on their way, in the order of their tags.
#[derive(Debug)]
pub struct TaggedFields {
    version: i16,
    fields: Vec<(u32, BytesMut)>,
}

impl TaggedFields {
    /// Adds a field, which `write` writes.
    ///
    /// # Errors
    /// What `write` returns.
    pub fn add(
        &mut self,
        tag: u32,
        write: impl FnOnce(&mut Encoder) -> Result<(), Unwritable>,
    ) -> Result<(), Unwritable> {
        let mut field = Encoder::new(BytesMut::new(), self.version, true);
        write(&mut field)?;
        self.fields.push((tag, field.out));
        Ok(())
    }
}

/// The value of a field that is null in other versions only.
///
/// # Errors
/// It is null.
pub fn required<'a, T>(value: Option<&'a T>, field: &'static str) -> Result<&'a T, Unwritable> {
    value.ok_or(Unwritable::Null { field })
}

/// A type of field.
pub trait Writable {
    /// Writes it.
    ///
    /// # Errors
    /// It is too long.
    fn write(&self, encoder: &mut Encoder, field: &'static str) -> Result<(), Unwritable>;
}

/// A type of field that can be null.
pub trait NullableWritable: Writable {
    /// Writes null in its place.
    fn write_null(encoder: &mut Encoder);

    /// Writes it where it could be null.
    ///
    /// # Errors
    /// It is too long.
    fn write_not_null(&self, encoder: &mut Encoder, field: &'static str) -> Result<(), Unwritable> {
        self.write(encoder, field)
    }
}

impl Writable for bool {
    fn write(&self, encoder: &mut Encoder, _field: &'static str) -> Result<(), Unwritable> {
        encoder.out.put_u8(u8::from(*self));
        Ok(())
    }
}

impl Writable for i8 {
    fn write(&self, encoder: &mut Encoder, _field: &'static str) -> Result<(), Unwritable> {
        encoder.out.put_i8(*self);
        Ok(())
    }
}

impl Writable for i16 {
    fn write(&self, encoder: &mut Encoder, _field: &'static str) -> Result<(), Unwritable> {
        encoder.out.put_i16(*self);
        Ok(())
    }
}

impl Writable for u16 {
    fn write(&self, encoder: &mut Encoder, _field: &'static str) -> Result<(), Unwritable> {
        encoder.out.put_u16(*self);
        Ok(())
    }
}

impl Writable for i32 {
    fn write(&self, encoder: &mut Encoder, _field: &'static str) -> Result<(), Unwritable> {
        encoder.out.put_i32(*self);
        Ok(())
    }
}

impl Writable for u32 {
    fn write(&self, encoder: &mut Encoder, _field: &'static str) -> Result<(), Unwritable> {
        encoder.out.put_u32(*self);
        Ok(())
    }
}

impl Writable for i64 {
    fn write(&self, encoder: &mut Encoder, _field: &'static str) -> Result<(), Unwritable> {
        encoder.out.put_i64(*self);
        Ok(())
    }
}

impl Writable for f64 {
    fn write(&self, encoder: &mut Encoder, _field: &'static str) -> Result<(), Unwritable> {
        encoder.out.put_f64(*self);
        Ok(())
    }
}

impl Writable for Uuid {
    fn write(&self, encoder: &mut Encoder, _field: &'static str) -> Result<(), Unwritable> {
        encoder.out.put_slice(self.as_bytes());
        Ok(())
    }
}

impl Writable for Arc<str> {
    fn write(&self, encoder: &mut Encoder, field: &'static str) -> Result<(), Unwritable> {
        fitting(self.len(), STRING_BYTES_MAX, field)?;
        put_nullable_string(&mut encoder.out, encoder.is_flexible, Some(self));
        Ok(())
    }
}

impl NullableWritable for Arc<str> {
    fn write_null(encoder: &mut Encoder) {
        put_nullable_string(&mut encoder.out, encoder.is_flexible, None);
    }
}

impl Writable for Bytes {
    fn write(&self, encoder: &mut Encoder, field: &'static str) -> Result<(), Unwritable> {
        encoder.length(self.len(), field)?;
        encoder.out.put_slice(self);
        Ok(())
    }
}

impl NullableWritable for Bytes {
    fn write_null(encoder: &mut Encoder) {
        put_nullable_length(&mut encoder.out, encoder.is_flexible, None);
    }
}

impl<T: Writable> Writable for Vec<T> {
    fn write(&self, encoder: &mut Encoder, field: &'static str) -> Result<(), Unwritable> {
        encoder.length(self.len(), field)?;
        self.iter()
            .try_for_each(|element| element.write(encoder, field))
    }
}

impl<T: Writable> NullableWritable for Vec<T> {
    fn write_null(encoder: &mut Encoder) {
        put_nullable_length(&mut encoder.out, encoder.is_flexible, None);
    }
}

impl<T: Structure> Writable for T {
    fn write(&self, encoder: &mut Encoder, _field: &'static str) -> Result<(), Unwritable> {
        Structure::write(self, encoder)
    }
}

impl<T: Structure> NullableWritable for T {
    fn write_null(encoder: &mut Encoder) {
        encoder.out.put_i8(-1);
    }

    fn write_not_null(
        &self,
        encoder: &mut Encoder,
        _field: &'static str,
    ) -> Result<(), Unwritable> {
        encoder.out.put_i8(1);
        Structure::write(self, encoder)
    }
}

fn fitting(length: usize, most: usize, field: &'static str) -> Result<usize, Unwritable> {
    if length > most {
        return Err(Unwritable::TooLong {
            field,
            length,
            most,
        });
    }
    Ok(length)
}
