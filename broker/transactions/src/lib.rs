//! Kafka's transaction coordinator, as a pure core.
//!
//! One [`Coordinator`] stands for one partition of `__transaction_state`. It takes requests, timers, producer
//! ids, the outcome of appends and of markers, and returns [`Effect`]s. It reads no clock, draws no number and
//! touches no log.
//!
//! Invariants:
//! - A transaction ends once. The decision holds when its record is committed, and only then markers are sent
//!   and the client is told; whoever asks meanwhile is told CONCURRENT_TRANSACTIONS.
//! - A transactional id has at most one record under way. A failed append leaves it as it was.
//! - Every waiter gets exactly one reply, or its connection is closed; also when the coordinator resigns.
//! - Nobody waits for an append for longer than `request.timeout.ms`. What is committed later is in force then,
//!   although its client was told that it is not known: it asks again and hears the outcome.
//! - What was in the log above the high watermark when the coordinator was loaded is neither told nor passed
//!   over until it is committed: its ids are loading, all others are served.
//! - Records have Kafka's bytes; those that a level of `transaction.version` cannot hold are of the version that can.
//! - A decided transaction is complete when every partition has its marker, of which one copy at most is under
//!   way. Replaying the records in a [`Loader`] sends those again that may be missing.
//! - Before `transaction.version` 2 a request ends or extends a transaction only over the newest connection that
//!   spoke for its producer, accepted since the coordinator was loaded: see ADR 0027.
//!
//! Start reading at `coordinator.rs`, then `transaction.rs` (what a transaction is) and
//! `coordinator/end_transaction.rs` (how it ends, and what a repeated request is told).

mod append;
mod asker;
mod config;
mod coordinator;
mod effect;
mod entry;
mod filter;
mod now;
mod record;
mod request;
mod response;
mod routing;
mod transaction;

pub use append::AppendError;
pub use config::TransactionConfig;
pub use coordinator::{Coordinator, Counts, Loader};
pub use effect::{
    AppendToken, Effect, MarkerOutcome, MarkerToken, ProducerIdToken, SendMarkers, WaiterId,
};
pub use filter::ListTransactions;
pub use now::Now;
pub use record::{Record, RecordError};
pub use request::{Request, RequestContext};
pub use response::Response;
pub use routing::{Route, merge, split};
pub use transaction::{TopicPartition, Transaction, TransactionState};
