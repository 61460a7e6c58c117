//! Kafka's wire format without any I/O.
//!
//! Bytes from the network are checked here once and become types that cannot be wrong: no input
//! makes this crate panic or ask for memory that the bytes at hand do not justify.
//!
//! - [`batch`]: a record batch is stored as it came, so everything else treats it as bytes with a
//!   header. Start here. [`record`] looks inside one and makes new ones, [`codec`] compresses.
//! - [`frame`] is the way of a request in and of a response out; [`apis`] is the table of what is
//!   answered, [`error`] the codes of what went wrong. [`produce`] and [`fetch`] are read and written
//!   by hand, so that records are never copied; all other messages are `kafka-protocol`'s, and
//!   [`shape`] checks their lengths first.
//! - [`wire`] reads and writes Kafka's primitive types.

pub mod apis;
pub mod batch;
pub mod codec;
pub mod error;
pub mod fetch;
pub mod frame;
pub mod leader;
pub mod produce;
pub mod record;
pub mod shape;
pub mod topic;
pub mod wire;
