//! One file for each API. Those of groups share one, which only passes on to the coordinator, and so do those that are
//! about one thing that is not there.
//!
//! A handler gets a decoded request and the context, asks the authorizer, and answers in Kafka's terms.

pub(crate) mod acls;
pub(crate) mod add_offsets_to_txn;
pub(crate) mod add_partitions_to_txn;
pub(crate) mod alter_configs;
pub(crate) mod alter_partition_reassignments;
pub(crate) mod alter_replica_log_dirs;
pub(crate) mod api_versions;
pub(crate) mod client_quotas;
pub(crate) mod consumer_groups;
pub(crate) mod create_partitions;
pub(crate) mod create_topics;
pub(crate) mod delegation_tokens;
pub(crate) mod delete_records;
pub(crate) mod delete_topics;
pub(crate) mod describe_cluster;
pub(crate) mod describe_configs;
pub(crate) mod describe_log_dirs;
pub(crate) mod describe_producers;
pub(crate) mod describe_quorum;
pub(crate) mod describe_topic_partitions;
pub(crate) mod describe_transactions;
pub(crate) mod elect_leaders;
pub(crate) mod end_txn;
pub(crate) mod fetch;
pub(crate) mod find_coordinator;
pub(crate) mod groups;
pub(crate) mod incremental_alter_configs;
pub(crate) mod init_producer_id;
pub(crate) mod list_config_resources;
pub(crate) mod list_offsets;
pub(crate) mod list_partition_reassignments;
pub(crate) mod list_transactions;
pub(crate) mod metadata;
pub(crate) mod offset_for_leader_epoch;
pub(crate) mod produce;
pub(crate) mod raft_voters;
pub(crate) mod txn_offset_commit;
pub(crate) mod unregister_broker;
pub(crate) mod update_features;
pub(crate) mod user_scram_credentials;
pub(crate) mod write_txn_markers;

mod authorized_operations;
mod config_changes;
mod leader_hint;
pub(crate) mod leadership;
mod topic_view;
mod transactions;

use kafka_protocol::protocol::StrBytes;

/// Protocol strings take the bytes over.
fn text(string: impl Into<String>) -> StrBytes {
    StrBytes::from_string(string.into())
}
