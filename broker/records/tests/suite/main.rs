//! The messages against Kafka's own bytes, against their schemas and against bytes that lie.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]
#![allow(
    dead_code,
    unreachable_pub,
    clippy::disallowed_names,
    reason = "the generator is used in part, and Kafka named the test messages"
)]

mod golden;
#[path = "../../generator/json.rs"]
mod json;
mod limits;
mod round_trips;
#[path = "../../generator/schema.rs"]
mod schema;
mod schema_errors;
#[path = "../../generator/versions.rs"]
mod versions;

/// What is made of Kafka's own test messages, and of ours, which have what the others lack.
mod test_messages {
    include!(concat!(env!("OUT_DIR"), "/test_messages.rs"));
}
