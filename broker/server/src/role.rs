//! The role `broker`: its start, what it says to the quorum, its stop.

mod checking;
mod compaction;
mod deletion;
mod disk_watch;
mod due_partitions;
mod housekeeping;
mod image_applier;
mod lease;
mod lease_freshness;
mod load_report;
mod log_moves;
mod membership;
mod observer;
mod offline_replicas;
mod registration;
mod retention;
mod space_keeper;
mod start;
mod stop_cost;
mod stop_wish;

pub(crate) use lease_freshness::LeaseFreshness;
pub(crate) use start::{BrokerAsking, BrokerHandle, start_broker};
