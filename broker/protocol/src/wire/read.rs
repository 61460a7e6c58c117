use super::WireError;

/// A cursor over untrusted bytes.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Starts at the first byte.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// What has not been read.
    #[must_use]
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Bytes left.
    #[must_use]
    pub fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// Takes `length` bytes.
    ///
    /// # Errors
    /// [`WireError::Truncated`].
    #[inline]
    pub fn take(&mut self, length: usize, field: &'static str) -> Result<&'a [u8], WireError> {
        match self.rest.split_at_checked(length) {
            Some((taken, rest)) => {
                self.rest = rest;
                Ok(taken)
            }
            None => Err(WireError::Truncated {
                field,
                needed: length,
                available: self.rest.len(),
            }),
        }
    }

    #[inline]
    fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], WireError> {
        match self.rest.split_first_chunk::<N>() {
            Some((taken, rest)) => {
                self.rest = rest;
                Ok(*taken)
            }
            None => Err(WireError::Truncated {
                field,
                needed: N,
                available: self.rest.len(),
            }),
        }
    }

    /// INT8.
    ///
    /// # Errors
    /// [`WireError::Truncated`], as for every type of a fixed size.
    #[inline]
    pub fn i8(&mut self, field: &'static str) -> Result<i8, WireError> {
        Ok(i8::from_be_bytes(self.array(field)?))
    }

    /// INT16.
    ///
    /// # Errors
    /// [`WireError::Truncated`].
    #[inline]
    pub fn i16(&mut self, field: &'static str) -> Result<i16, WireError> {
        Ok(i16::from_be_bytes(self.array(field)?))
    }

    /// INT32.
    ///
    /// # Errors
    /// [`WireError::Truncated`].
    #[inline]
    pub fn i32(&mut self, field: &'static str) -> Result<i32, WireError> {
        Ok(i32::from_be_bytes(self.array(field)?))
    }

    /// INT64.
    ///
    /// # Errors
    /// [`WireError::Truncated`].
    #[inline]
    pub fn i64(&mut self, field: &'static str) -> Result<i64, WireError> {
        Ok(i64::from_be_bytes(self.array(field)?))
    }

    /// UUID: 16 bytes.
    ///
    /// # Errors
    /// [`WireError::Truncated`].
    #[inline]
    pub fn uuid(&mut self, field: &'static str) -> Result<[u8; 16], WireError> {
        self.array(field)
    }

    /// UNSIGNED_VARINT of 32 bits.
    ///
    /// # Errors
    /// [`WireError::Truncated`], [`WireError::Varint`].
    #[inline]
    pub fn unsigned_varint(&mut self, field: &'static str) -> Result<u32, WireError> {
        let value = self.unsigned_varlong_of(field, 32)?;
        Ok(value as u32)
    }

    /// VARINT: zigzag, 32 bits.
    ///
    /// # Errors
    /// [`WireError::Truncated`], [`WireError::Varint`].
    #[inline]
    pub fn varint(&mut self, field: &'static str) -> Result<i32, WireError> {
        let raw = self.unsigned_varint(field)?;
        Ok(((raw >> 1) as i32) ^ -((raw & 1) as i32))
    }

    /// VARLONG: zigzag, 64 bits.
    ///
    /// # Errors
    /// [`WireError::Truncated`], [`WireError::Varint`].
    #[inline]
    pub fn varlong(&mut self, field: &'static str) -> Result<i64, WireError> {
        let raw = self.unsigned_varlong_of(field, 64)?;
        Ok(((raw >> 1) as i64) ^ -((raw & 1) as i64))
    }

    #[inline]
    fn unsigned_varlong_of(&mut self, field: &'static str, bits: u32) -> Result<u64, WireError> {
        let mut value = 0u64;
        let mut shift = 0;
        for (at, byte) in self.rest.iter().enumerate() {
            let part = u64::from(byte & 0x7f);
            let room = bits - shift;
            if room < 7 && part >> room != 0 {
                return Err(WireError::Varint { field, bits });
            }
            value |= part << shift;
            if byte & 0x80 == 0 {
                self.rest = &self.rest[at + 1..];
                return Ok(value);
            }
            shift += 7;
            if shift >= bits {
                return Err(WireError::Varint { field, bits });
            }
        }
        let available = self.rest.len();
        Err(WireError::Truncated {
            field,
            needed: available + 1,
            available,
        })
    }

    /// The length in front of a string, bytes or array: `None` is null. Compact lengths are
    /// varints of length + 1 (KIP-482); the others are INT16 for strings and INT32 for the rest.
    #[inline]
    fn nullable_length(
        &mut self,
        kind: LengthKind,
        field: &'static str,
    ) -> Result<Option<usize>, WireError> {
        let length = match kind {
            LengthKind::Compact => i64::from(self.unsigned_varint(field)?) - 1,
            LengthKind::Int16 => i64::from(self.i16(field)?),
            LengthKind::Int32 => i64::from(self.i32(field)?),
        };
        match length {
            -1 => Ok(None),
            length if length < 0 => Err(WireError::Length {
                field,
                length,
                rule: "-1 (null) is the least",
            }),
            length => Ok(Some(length as usize)),
        }
    }

    /// NULLABLE_STRING, or COMPACT_NULLABLE_STRING when `flexible`.
    ///
    /// # Errors
    /// [`WireError::Truncated`], [`WireError::Length`], [`WireError::Utf8`].
    pub fn nullable_string(
        &mut self,
        flexible: bool,
        field: &'static str,
    ) -> Result<Option<&'a str>, WireError> {
        let kind = if flexible {
            LengthKind::Compact
        } else {
            LengthKind::Int16
        };
        let Some(length) = self.nullable_length(kind, field)? else {
            return Ok(None);
        };
        let bytes = self.take(length, field)?;
        std::str::from_utf8(bytes)
            .map(Some)
            .map_err(|_| WireError::Utf8 { field })
    }

    /// STRING, or COMPACT_STRING when `flexible`.
    ///
    /// # Errors
    /// As [`Self::nullable_string`], and [`WireError::Null`].
    pub fn string(&mut self, flexible: bool, field: &'static str) -> Result<&'a str, WireError> {
        self.nullable_string(flexible, field)?
            .ok_or(WireError::Null { field })
    }

    /// NULLABLE_BYTES or NULLABLE_RECORDS, or their compact forms when `flexible`.
    ///
    /// # Errors
    /// [`WireError::Truncated`], [`WireError::Length`].
    pub fn nullable_bytes(
        &mut self,
        flexible: bool,
        field: &'static str,
    ) -> Result<Option<&'a [u8]>, WireError> {
        let kind = if flexible {
            LengthKind::Compact
        } else {
            LengthKind::Int32
        };
        let Some(length) = self.nullable_length(kind, field)? else {
            return Ok(None);
        };
        self.take(length, field).map(Some)
    }

    /// The number of elements of a nullable array whose elements take at least
    /// `element_bytes_min` bytes each, so that a number that cannot be true is refused before
    /// memory is asked for.
    ///
    /// # Errors
    /// [`WireError::Truncated`], [`WireError::Length`].
    pub fn nullable_array_length(
        &mut self,
        flexible: bool,
        element_bytes_min: usize,
        field: &'static str,
    ) -> Result<Option<usize>, WireError> {
        let kind = if flexible {
            LengthKind::Compact
        } else {
            LengthKind::Int32
        };
        let Some(length) = self.nullable_length(kind, field)? else {
            return Ok(None);
        };
        if length.saturating_mul(element_bytes_min.max(1)) > self.rest.len() {
            let rule = "so many elements do not fit into the bytes that are left";
            return Err(WireError::Length {
                field,
                length: length as i64,
                rule,
            });
        }
        Ok(Some(length))
    }

    /// As [`Self::nullable_array_length`] for an array that must not be null.
    ///
    /// # Errors
    /// As [`Self::nullable_array_length`], and [`WireError::Null`].
    pub fn array_length(
        &mut self,
        flexible: bool,
        element_bytes_min: usize,
        field: &'static str,
    ) -> Result<usize, WireError> {
        self.nullable_array_length(flexible, element_bytes_min, field)?
            .ok_or(WireError::Null { field })
    }

    /// The tagged fields that end every structure of a flexible version (KIP-482): `known` gets
    /// each tag with its bytes. Does nothing when not `flexible`.
    ///
    /// # Errors
    /// [`WireError::Truncated`], [`WireError::Varint`], and what `known` returns.
    pub fn tagged_fields(
        &mut self,
        flexible: bool,
        mut known: impl FnMut(u32, &'a [u8]) -> Result<(), WireError>,
    ) -> Result<(), WireError> {
        if !flexible {
            return Ok(());
        }
        for _ in 0..self.unsigned_varint("the number of tagged fields")? {
            let tag = self.unsigned_varint("the tag of a tagged field")?;
            let length = self.unsigned_varint("the length of a tagged field")?;
            let value = self.take(length as usize, "a tagged field")?;
            known(tag, value)?;
        }
        Ok(())
    }

    /// Passes over tagged fields without looking at them.
    ///
    /// # Errors
    /// [`WireError::Truncated`], [`WireError::Varint`].
    pub fn skip_tagged_fields(&mut self, flexible: bool) -> Result<(), WireError> {
        self.tagged_fields(flexible, |_, _| Ok(()))
    }

    /// Everything must have been read.
    ///
    /// # Errors
    /// [`WireError::Trailing`].
    pub fn finish(&self, what: &'static str) -> Result<(), WireError> {
        match self.rest.len() {
            0 => Ok(()),
            bytes => Err(WireError::Trailing { what, bytes }),
        }
    }
}

#[derive(Clone, Copy)]
enum LengthKind {
    Compact,
    Int16,
    Int32,
}
