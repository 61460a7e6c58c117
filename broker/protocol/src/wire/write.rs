use bytes::{BufMut, BytesMut};

/// Appends an UNSIGNED_VARINT.
#[inline]
pub fn put_unsigned_varint(out: &mut impl BufMut, value: u32) {
    put_unsigned_varlong(out, u64::from(value));
}

/// Appends a VARINT (zigzag).
#[inline]
pub fn put_varint(out: &mut impl BufMut, value: i32) {
    put_unsigned_varint(out, ((value << 1) ^ (value >> 31)) as u32);
}

/// Appends a VARLONG (zigzag).
#[inline]
pub fn put_varlong(out: &mut impl BufMut, value: i64) {
    put_unsigned_varlong(out, ((value << 1) ^ (value >> 63)) as u64);
}

/// Bytes that [`put_varint`] appends.
#[must_use]
pub fn varint_length(value: i32) -> usize {
    varlong_length(i64::from(value))
}

/// Bytes that [`put_varlong`] appends.
#[must_use]
pub fn varlong_length(value: i64) -> usize {
    let zigzag = ((value << 1) ^ (value >> 63)) as u64;
    (64 - (zigzag | 1).leading_zeros() as usize).div_ceil(7)
}

/// Appends a STRING or COMPACT_STRING, null where `value` is `None`.
///
/// # Panics
/// When a string of more than 32,767 bytes meets a version that is not flexible.
pub fn put_nullable_string(out: &mut BytesMut, flexible: bool, value: Option<&str>) {
    match (flexible, value) {
        (true, None) => put_unsigned_varint(out, 0),
        (true, Some(text)) => {
            put_unsigned_varint(out, text.len() as u32 + 1);
            out.put_slice(text.as_bytes());
        }
        (false, None) => out.put_i16(-1),
        (false, Some(text)) => {
            assert!(
                text.len() <= i16::MAX as usize,
                "a STRING holds at most 32767 bytes"
            );
            out.put_i16(text.len() as i16);
            out.put_slice(text.as_bytes());
        }
    }
}

/// Appends the length of an array or of bytes, null where `length` is `None`.
pub fn put_nullable_length(out: &mut BytesMut, flexible: bool, length: Option<usize>) {
    match (flexible, length) {
        (true, None) => put_unsigned_varint(out, 0),
        (true, Some(length)) => put_unsigned_varint(out, length as u32 + 1),
        (false, None) => out.put_i32(-1),
        (false, Some(length)) => out.put_i32(length as i32),
    }
}

/// Appends the end of a structure that has no tagged fields, in a flexible version.
pub fn put_no_tagged_fields(out: &mut BytesMut, flexible: bool) {
    if flexible {
        out.put_u8(0);
    }
}

#[inline]
fn put_unsigned_varlong(out: &mut impl BufMut, mut value: u64) {
    while value >= 0x80 {
        out.put_u8(value as u8 | 0x80);
        value >>= 7;
    }
    out.put_u8(value as u8);
}
