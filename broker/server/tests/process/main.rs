//! Real `foz-broker` processes on loopback, killed and stopped and started again.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod broker_keys;
mod catching_up;
mod compaction;
mod connections;
mod controllers;
mod deleted_topics;
mod deleting_records;
mod deposed_leader;
mod directories;
mod disks;
mod durability;
mod elections;
mod failing_directory;
mod features;
mod figures;
mod follower_fetching;
mod full_disk;
mod groups;
mod identity;
mod internal_topics;
mod late_fetches;
mod lifecycle;
mod log_moves;
mod newest_end;
mod older_directories;
mod quorum_members;
mod reassignments;
mod rebalances;
mod replicated_metadata;
mod replication;
mod replication_listener;
mod resent_batches;
mod stopping;
mod testbed;
mod topics;
mod transaction_coordinators;
mod transaction_faults;
mod transactional_offsets;
mod transactions;
mod unchecked_logs;
mod unregistering;
mod versions;
mod wire;
mod wrong_broker;
