//! The program `foz`, and the small Kafka client under it.
//!
//! - [`client`] is the client: [`client::Client`] keeps connections and metadata,
//!   [`client::Producer`] and [`client::Consumer`] move messages, the admin calls are methods of the
//!   client. It works against any Kafka 4 broker, and other crates' tests use it.
//! - [`args`] is the command line; [`commands`] has one file for each command.
//! - [`partitioner`], [`format`], [`table`] and [`duration`] are the pure parts.
//!
//! Promises: what a command reports as written was acknowledged by all in-sync replicas; a message is
//! written once however often it was sent; an error is one sentence that says what was tried and what
//! to do; standard output carries nothing but what was asked for.

pub mod args;
pub mod client;
pub mod commands;
pub mod duration;
pub mod format;
pub mod message;
pub mod partitioner;
pub mod table;
