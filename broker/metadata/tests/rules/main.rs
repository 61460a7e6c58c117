//! What each command answers, to good requests and to bad ones: a file per command.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod acquire_operator_epoch;
mod allocate_producer_ids;
mod alter_configs;
mod apply;
mod create_partitions;
mod create_topics;
mod delete_topics;
mod fence_broker;
mod found_cluster;
mod lost_disk;
mod placement;
mod register_broker;
mod replication;
mod support;
