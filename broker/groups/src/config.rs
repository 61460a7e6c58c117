use std::collections::BTreeMap;
use std::sync::Arc;

use crate::consumer::ConsumerGroupConfig;

/// Limits and times of the group coordinator, with Kafka's names and defaults.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupConfig {
    /// `group.min.session.timeout.ms`
    pub group_min_session_timeout_ms: i32,
    /// `group.max.session.timeout.ms`
    pub group_max_session_timeout_ms: i32,
    /// `group.initial.rebalance.delay.ms`: how long the first rebalance of an empty group waits for
    /// more members; each new member extends it, up to the rebalance timeout.
    pub group_initial_rebalance_delay_ms: i32,
    /// `group.max.size`: members of one group.
    pub group_max_size: usize,
    /// `foz.group.max.pending.members`: member ids of one group that were handed out (KIP-394) and
    /// not yet used. Kafka has no bound here; without one a client that never comes back with its
    /// id grows the broker's memory.
    pub group_max_pending_members: usize,
    /// `offset.metadata.max.bytes`: longest metadata string of one committed offset.
    pub offset_metadata_max_bytes: usize,
    /// `offsets.commit.timeout.ms`: how long a reply waits for its batch to be committed.
    pub offsets_commit_timeout_ms: i32,
    /// `offsets.retention.check.interval.ms`: how often [`crate::Coordinator::expire_offsets`] is to be called.
    pub offsets_retention_check_interval_ms: i64,
    /// `offsets.retention.minutes`, in milliseconds.
    pub offsets_retention_ms: i64,
    /// Of consumer groups (KIP-848).
    pub consumer: ConsumerGroupConfig,
    /// In the place of that, by group id: where a group has configs of its own.
    pub consumer_by_group: Arc<BTreeMap<Arc<str>, ConsumerGroupConfig>>,
}

impl GroupConfig {
    /// What counts for a consumer group.
    #[must_use]
    pub fn consumer_of(&self, group_id: &str) -> &ConsumerGroupConfig {
        self.consumer_by_group
            .get(group_id)
            .unwrap_or(&self.consumer)
    }
}

impl Default for GroupConfig {
    fn default() -> Self {
        Self {
            group_min_session_timeout_ms: 6_000,
            group_max_session_timeout_ms: 1_800_000,
            group_initial_rebalance_delay_ms: 3_000,
            group_max_size: i32::MAX as usize,
            group_max_pending_members: 10_000,
            offset_metadata_max_bytes: 4_096,
            offsets_commit_timeout_ms: 5_000,
            offsets_retention_check_interval_ms: 10 * 60 * 1_000,
            offsets_retention_ms: 7 * 24 * 60 * 60 * 1_000,
            consumer: ConsumerGroupConfig::default(),
            consumer_by_group: Arc::default(),
        }
    }
}
