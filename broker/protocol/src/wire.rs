//! Reading Kafka's primitive types from untrusted bytes.
//!
//! Every length is checked against the bytes that are left before anything is sliced or allocated,
//! and every error names the field. Types: <https://kafka.apache.org/protocol#protocol_types>.

mod read;
mod write;

pub use read::Reader;
pub use write::{
    put_no_tagged_fields, put_nullable_length, put_nullable_string, put_unsigned_varint,
    put_varint, put_varlong, varint_length, varlong_length,
};

/// Why bytes are not what a field should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// The bytes end before the field does.
    #[error("{field} needs {needed} bytes, {available} are left")]
    Truncated {
        /// The field at fault.
        field: &'static str,
        /// Bytes that the field would take.
        needed: usize,
        /// Bytes left.
        available: usize,
    },
    /// A length below zero (or below -1 where null is allowed), or more elements than could fit.
    #[error("the length of {field} is {length}: {rule}")]
    Length {
        /// The field at fault.
        field: &'static str,
        /// Its length on the wire.
        length: i64,
        /// What would be right.
        rule: &'static str,
    },
    /// A varint longer than its type.
    #[error("{field} is a varint of more than {bits} bits")]
    Varint {
        /// The field at fault.
        field: &'static str,
        /// Bits of the type.
        bits: u32,
    },
    /// A string that is not UTF-8.
    #[error("{field} is not valid UTF-8")]
    Utf8 {
        /// The field at fault.
        field: &'static str,
    },
    /// Null where the schema does not allow it.
    #[error("{field} is null, which it must not be")]
    Null {
        /// The field at fault.
        field: &'static str,
    },
    /// A number that has no meaning.
    #[error("{field} is {value}: {rule}")]
    Value {
        /// The field at fault.
        field: &'static str,
        /// Its value.
        value: i64,
        /// What would be right.
        rule: &'static str,
    },
    /// Bytes after the end.
    #[error("{bytes} bytes are left over after {what}")]
    Trailing {
        /// What ended too early.
        what: &'static str,
        /// How many bytes.
        bytes: usize,
    },
}

#[cfg(test)]
mod tests;
