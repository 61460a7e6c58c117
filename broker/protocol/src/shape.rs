//! Checks the lengths in a request before `kafka-protocol` decodes it.
//!
//! That crate asks for the memory of an array as soon as it has read its length, so a frame of
//! twenty bytes could ask for hundreds of gigabytes and end the process. Here every length is
//! measured against the bytes that are there, and the number of elements has a bound. The tables
//! hold only what takes room on the wire: Kafka's `*Request.json`, without meaning or nullability,
//! which the decoder checks.

use kafka_protocol::messages::ApiKey;

use crate::wire::{Reader, WireError};

mod tables;

/// Elements of arrays and tagged fields that one request may have in all. The decoder makes up to
/// some 150 bytes of each, so this keeps a request below 40 MB whatever it says; the largest honest
/// ones name each of a cluster's 200,000 partitions.
pub const REQUEST_ELEMENTS_MAX: usize = 250_000;

/// What a field takes on the wire.
#[derive(Debug, Clone, Copy)]
enum Kind {
    /// So many bytes.
    Fixed(usize),
    String,
    Bytes,
    /// Elements of one unnamed field.
    ArrayOf(&'static Kind),
    /// Elements that are structures.
    Array(&'static [Field]),
    /// A byte, and a structure when it is 1.
    Optional(&'static [Field]),
}

/// A field and the versions that have it.
#[derive(Debug, Clone, Copy)]
struct Field {
    name: &'static str,
    kind: Kind,
    from: i16,
    to: i16,
}

/// The fields of a request; flexible from a version on.
#[derive(Debug, Clone, Copy)]
struct Shape {
    flexible_from: i16,
    fields: &'static [Field],
}

/// Checks the lengths in the body of a request.
///
/// # Errors
/// [`WireError`]: the first field that does not fit.
pub fn check_request_shape(key: i16, version: i16, body: &[u8]) -> Result<(), WireError> {
    let shape = ApiKey::try_from(key).ok().and_then(tables::shape_of);
    match shape {
        Some(shape) => Walk::over(shape, version, body).map(|_| ()),
        // Not in the table: none of its fields has a length.
        None => Ok(()),
    }
}

struct Walk<'a> {
    reader: Reader<'a>,
    version: i16,
    flexible: bool,
    elements_left: usize,
}

impl<'a> Walk<'a> {
    /// Walks over `body` and returns what is left behind it.
    fn over(shape: &Shape, version: i16, body: &'a [u8]) -> Result<&'a [u8], WireError> {
        let mut walk = Walk {
            reader: Reader::new(body),
            version,
            flexible: version >= shape.flexible_from,
            elements_left: REQUEST_ELEMENTS_MAX,
        };
        walk.structure(shape.fields)?;
        Ok(walk.reader.rest())
    }

    fn structure(&mut self, fields: &[Field]) -> Result<(), WireError> {
        for field in fields {
            if (field.from..=field.to).contains(&self.version) {
                self.field(&field.kind, field.name)?;
            }
        }
        let mut tags = 0;
        self.reader.tagged_fields(self.flexible, |_, _| {
            tags += 1;
            Ok(())
        })?;
        self.spend(tags, "the tagged fields")
    }

    fn field(&mut self, kind: &Kind, name: &'static str) -> Result<(), WireError> {
        match kind {
            Kind::Fixed(length) => self.reader.take(*length, name).map(|_| ()),
            Kind::String => self.reader.nullable_string(self.flexible, name).map(|_| ()),
            Kind::Bytes => self.reader.nullable_bytes(self.flexible, name).map(|_| ()),
            Kind::ArrayOf(element) => self.elements(name, |walk| walk.field(element, name)),
            Kind::Array(fields) => self.elements(name, |walk| walk.structure(fields)),
            Kind::Optional(fields) => match self.reader.i8(name)? {
                1 => self.structure(fields),
                _ => Ok(()),
            },
        }
    }

    fn elements(
        &mut self,
        name: &'static str,
        element: impl Fn(&mut Self) -> Result<(), WireError>,
    ) -> Result<(), WireError> {
        let length = self
            .reader
            .nullable_array_length(self.flexible, 1, name)?
            .unwrap_or(0);
        self.spend(length, name)?;
        (0..length).try_for_each(|_| element(self))
    }

    fn spend(&mut self, elements: usize, name: &'static str) -> Result<(), WireError> {
        match self.elements_left.checked_sub(elements) {
            Some(left) => {
                self.elements_left = left;
                Ok(())
            }
            None => Err(WireError::Length {
                field: name,
                length: elements as i64,
                rule: "a request has at most 250000 elements in all",
            }),
        }
    }
}

#[cfg(test)]
mod tests;
