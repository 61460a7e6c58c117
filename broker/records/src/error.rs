use foz_protocol::wire::WireError;

/// Why bytes are not the message that they should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The version is none that the schema has.
    #[error("{message} has version {version}; known are {least} to {most}")]
    UnknownVersion {
        /// Name of the schema.
        message: &'static str,
        /// As read.
        version: i16,
        /// The lowest version that can be read.
        least: i16,
        /// The highest version that can be read.
        most: i16,
    },
    /// A field is cut short or has a value that it must not have.
    #[error("{message}: {cause}")]
    Field {
        /// Name of the schema.
        message: &'static str,
        /// The field, and what is wrong with it.
        cause: WireError,
    },
}

/// Why a message cannot be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// The version is none that the schema has.
    #[error("{message} has no version {version}; there are {least} to {most}")]
    UnknownVersion {
        /// Name of the schema.
        message: &'static str,
        /// As asked for.
        version: i16,
        /// The lowest version.
        least: i16,
        /// The highest version.
        most: i16,
    },
    /// A field does not fit into the version.
    #[error("{message} of version {version}: {cause}")]
    Field {
        /// Name of the schema.
        message: &'static str,
        /// As asked for.
        version: i16,
        /// The field, and why not.
        cause: Unwritable,
    },
}

/// Why a field cannot be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unwritable {
    /// The version has no place for it, and it must not be dropped.
    #[error("{field} is set, which this version has no place for")]
    NotInVersion {
        /// Name of the field.
        field: &'static str,
    },
    /// Null where the version does not allow it.
    #[error("{field} is null, which it must not be in this version")]
    Null {
        /// Name of the field.
        field: &'static str,
    },
    /// Longer than its length can say.
    #[error("{field} has a length of {length}; {most} is the most")]
    TooLong {
        /// Name of the field.
        field: &'static str,
        /// Bytes of a string or of bytes, elements of an array.
        length: usize,
        /// What would fit.
        most: usize,
    },
}
