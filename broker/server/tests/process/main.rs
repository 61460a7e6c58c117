//! Real `foz-broker` processes on loopback, killed and stopped and started again.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod connections;
mod controllers;
mod durability;
mod figures;
mod groups;
mod identity;
mod lifecycle;
mod replication;
mod testbed;
mod topics;
mod versions;
mod wire;
