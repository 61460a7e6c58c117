//! The rules that change the metadata: one file for each command.
//!
//! A rule is a plain function. It gets the image (committed and pending batches applied), the command,
//! and what chance the command needs (ids, a seed); it returns the records to replicate and the answer
//! to give once they are committed, or a [`Refusal`]. A command that has nothing to change returns no
//! records. Only the active controller runs rules; everybody else applies their records.

mod acquire_operator_epoch;
mod acquire_restart;
mod allocate_producer_ids;
mod alter_configs;
mod alter_partition_reassignments;
mod alter_partitions;
mod assign_racks;
mod balance_leaders;
mod cancel_rebalance;
mod change_replication_factor;
mod cordon;
mod create_partitions;
mod create_topics;
mod delete_topics;
mod deleted_replicas;
mod directories;
mod draft;
mod elect_leaders;
mod elect_unclean_where_allowed;
mod election;
mod end_restart;
mod expire_deleted_topics;
mod feature_levels;
mod fence_broker;
mod found_cluster;
mod free_for_room;
mod group_configs;
mod min_insync;
mod min_insync_changed;
mod named_once;
mod partition_change;
mod pin_min_insync_replicas;
mod placement;
mod progress_rebalance;
mod protection;
mod purge_deleted_topics;
mod raise_internal_topics;
mod reassignment;
mod rebalance;
mod refusal;
mod register_broker;
mod replicas;
mod report_offline_replicas;
mod report_space;
mod restore_topic;
mod start_rebalance;
mod stop_broker;
mod unregister_broker;
mod update_features;

pub use acquire_operator_epoch::acquire_operator_epoch;
pub use acquire_restart::{
    AcquireRestart, Answer, DeniedReason, QuorumHealth, UNPROTECTED_NAMED_MAX, Unavailable,
    acquire_restart,
};
pub use allocate_producer_ids::{PRODUCER_IDS_PER_BLOCK, ProducerIdBlock, allocate_producer_ids};
pub use alter_configs::{
    AlterConfigs, AlterResource, ConfigChange, ConfigOperation, KeyEffect, ResourceName,
    alter_configs,
};
pub use alter_partition_reassignments::{
    AlterPartitionReassignments, Reassignment, ReassignmentResult, alter_partition_reassignments,
};
pub use alter_partitions::{AlterPartitions, IsrChange, PartitionState, alter_partitions};
pub use assign_racks::assign_racks;
pub use balance_leaders::{LEADERS_BALANCED_PER_CALL_MAX, balance_leaders};
pub use cancel_rebalance::cancel_rebalance;
pub use change_replication_factor::{
    ChangeReplicationFactor, ReplicationFactorChange, change_replication_factor,
};
pub use cordon::cordon;
pub use create_partitions::{CreatePartitions, Increase, create_partitions};
pub use create_topics::{CreateTopics, NewTopic, PARTITIONS_PER_REQUEST_MAX, create_topics};
pub use delete_topics::{
    DELETED_PARTITIONS_MAX, DELETED_TOPICS_MAX, DeleteTopics, TopicRef, delete_topics,
};
pub use directories::{DataDirectory, LogInDoubt};
pub use elect_leaders::{ElectLeaders, ElectionKind, ElectionResult, elect_leaders};
pub use elect_unclean_where_allowed::{ELECTIONS_PER_CALL_MAX, elect_unclean_where_allowed};
pub use end_restart::{end_restart, end_restarts_done};
pub use expire_deleted_topics::{
    DELETED_TOPICS_EXPIRED_PER_CALL_MAX, EXPIRE_ACTIVE_MS_MIN, expire_deleted_topics,
    over_deleted_topics,
};
pub use feature_levels::{FOZ_VERSION, FOZ_VERSION_FEATURE, FOZ_VERSION_MAX, foz_version};
pub use fence_broker::{fence_broker, unfence_broker};
pub use found_cluster::found_cluster;
pub use free_for_room::{DELETED_TOPICS_FREED_PER_CALL_MAX, free_for_room};
pub use min_insync::{effective_min_insync, min_insync_replicas, partition_min_insync};
pub use pin_min_insync_replicas::pin_min_insync_replicas;
pub use progress_rebalance::{
    ProgressRebalance, RebalanceEnd, RebalanceMove, RebalanceStep, progress_rebalance,
    waits_for_offline,
};
pub use purge_deleted_topics::{DeletedTopicRef, PurgeDeletedTopics, Purged, purge_deleted_topics};
pub use raise_internal_topics::{PARTITIONS_RAISED_PER_CALL_MAX, raise_internal_topics};
pub use refusal::{ErrorCode, Refusal};
pub use register_broker::{RegisterBroker, register_broker};
pub use report_offline_replicas::{ReportOfflineReplicas, report_offline_replicas};
pub use report_space::report_space;
pub use restore_topic::{RestoreTopic, restore_topic};
pub use start_rebalance::{PlannedRebalance, StartRebalance, StartedRebalance, start_rebalance};
pub use stop_broker::{StopState, stop_broker};
pub use unregister_broker::unregister_broker;
pub use update_features::{
    ControllerFeatures, FeatureUpdate, UpdateFeatures, UpgradeType, found_features,
    update_features, wants_features,
};

use crate::image::Image;
use crate::record::Record;

/// What a rule decided.
#[derive(Debug, Clone, PartialEq)]
pub struct Decision<A> {
    /// To be replicated in this order; none when nothing changes.
    pub records: Vec<Record>,
    /// True once the records are committed.
    pub answer: A,
}

/// A decision, or why there is none.
pub type Decided<A> = Result<Decision<A>, Refusal>;

/// A caller that says it is the operator must be the newest one. 0: the caller does not say so.
pub fn check_operator_epoch(image: &Image, operator_epoch: i64) -> Result<(), Refusal> {
    let newest = image.operator_epoch();
    if operator_epoch == 0 || operator_epoch == newest {
        return Ok(());
    }
    let reason = if operator_epoch < newest {
        format!("{} acquired epoch {newest} since", image.operator_holder())
    } else {
        format!("the newest one handed out is {newest}")
    };
    Err(Refusal::new(
        ErrorCode::StaleOperatorEpoch,
        format!("operator epoch {operator_epoch} does not count: {reason}"),
    ))
}

/// The caller must be the registered incarnation of the broker.
fn check_broker_epoch(image: &Image, node_id: i32, broker_epoch: i64) -> Result<(), Refusal> {
    match image.broker(node_id) {
        None => Err(Refusal::new(
            ErrorCode::BrokerIdNotRegistered,
            format!("broker {node_id} is not registered"),
        )),
        Some(broker) if broker.epoch != broker_epoch => Err(Refusal::new(
            ErrorCode::StaleBrokerEpoch,
            format!(
                "broker {node_id} is registered with epoch {}, not {broker_epoch}",
                broker.epoch
            ),
        )),
        Some(_) => Ok(()),
    }
}
