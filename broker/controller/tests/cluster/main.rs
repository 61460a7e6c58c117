//! Controllers in this process, on loopback and real files, with brokers that only pretend to have logs.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod brokers;
mod controllers;
mod fake_broker;
mod many_topics;
mod support;
mod takeover;
mod watch;
