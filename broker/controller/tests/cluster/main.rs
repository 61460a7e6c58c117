//! Controllers in this process, on loopback and real files, with brokers that only pretend to have logs.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod alter_partitions;
mod brokers;
mod controllers;
mod deleted_topics;
mod duties;
mod elect_leaders;
mod failover;
mod fake_broker;
mod features;
mod many_topics;
mod offline_replicas;
mod reassignments;
mod rebalances;
mod replication_factor;
mod restarts;
mod space;
mod stopping;
mod support;
mod takeover;
mod voters;
mod watch;
mod watcher;
