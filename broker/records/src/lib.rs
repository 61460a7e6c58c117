//! Messages that are Kafka's by its own schemas: the records of `__consumer_offsets` and
//! `__transaction_state`, the transaction marker's key and value, the consumer protocol's metadata, and the requests
//! and responses whose newest versions `kafka-protocol` lacks.
//!
//! `schema/` holds Kafka's files, unchanged. The build script in `generator/` makes from each a
//! module with a structure of the same name, which is a [`Message`]; start there. A new message is a
//! new file in `schema/`.
//!
//! Invariants:
//! - The bytes are Kafka's: golden ones, made by Kafka's classes, are in `tests/suite/golden`.
//! - No input makes decoding panic or ask for memory that the bytes at hand do not justify, so requests
//!   need no table in [`foz_protocol::shape`].
//! - Encoding fails where a value would be lost, as a field that the version lacks.
//!
//! `Default` gives what Kafka's classes have when nothing is set, which is not always the obvious: a
//! `ConsumerGroupMemberMetadataValue` has the metadata of a classic member, and a member that speaks the
//! consumer protocol says `None`.
//!
//! Strings are `Arc<str>`, since whoever reads a record keeps its names. Unknown tagged fields are
//! passed over and do not survive a re-encoding.

extern crate self as foz_records;

mod decoder;
mod encoder;
mod error;
mod message;

pub use decoder::{Decoder, Nullable, Value};
pub use encoder::{Encoder, NullableWritable, STRING_BYTES_MAX, TaggedFields, Writable, required};
pub use error::{DecodeError, EncodeError, Unwritable};
pub use message::{CoordinatorKey, Message, Structure, record_type};

include!(concat!(env!("OUT_DIR"), "/messages.rs"));
