//! A deterministic simulator: a cluster of Foz on virtual time, from one seed.
//!
//! Three controllers (the real `raft` crate and the real rules of `foz-metadata`), three or four brokers (the real
//! decisions of `foz-replication`), producers, consumers, and what lies between them: a network that loses, delays,
//! repeats and reorders, disks that lose what was not flushed, processes that die and stand still. What is thin here
//! stands for the shells: `broker/quorum`, `broker/controller` and `broker/server`, whose wiring it follows.
//!
//! What holds:
//! - One seed, one run: one thread, one queue of events ordered by time and by the order of putting, one generator of
//!   chance, no map without an order. Two runs have the same trace.
//! - After every event, [`run`] checks that there is one leader for each term and each leader epoch, that committed
//!   Raft entries are the same on all controllers, that logs are equal below the high watermark, which never goes
//!   back, and that whoever the controllers could elect has all that was ever committed. The last holds as long as
//!   fewer than `min.insync.replicas` lose what they did not flush at once; when it is more, that is noticed exactly,
//!   and only then is the partition let off until its replicas agree again.
//! - When the faults are over, everything becomes whole: all in sync, all logs equal, nobody without an answer.
//!
//! Start reading at `world.rs`, then `checks/partition.rs`; the bugs that show that the checks can fail are in
//! `mutation.rs`.

mod broker;
mod chance;
mod checks;
mod clients;
mod context;
mod controller;
mod message;
mod mutation;
mod network;
mod queue;
mod run;
mod scenario;
mod summary;
mod trace;
mod world;

pub use mutation::Mutation;
pub use run::{Outcome, run, run_keeping};
pub use summary::Summary;
