//! What each command answers, to good requests and to bad ones: a file per command.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod acquire_operator_epoch;
mod acquire_restart;
mod allocate_producer_ids;
mod alter_configs;
mod alter_partition_reassignments;
mod apply;
mod change_replication_factor;
mod cordon;
mod create_partitions;
mod create_topics;
mod delete_topics;
mod deleted_topics;
mod directories;
mod end_restart;
mod fence_broker;
mod found_cluster;
mod lost_disk;
mod offline_replicas;
mod placement;
mod rebalance;
mod register_broker;
mod replication;
mod report_space;
mod support;
mod unregister_broker;
