use std::collections::BTreeMap;
use std::sync::Arc;

use super::config::ConsumerGroupConfig;
use super::group::ConsumerGroup;
use super::record::{ConsumerRecord, TargetEpoch};
use super::topics::Topics;
use super::turn::Turn;
use crate::assignor::{Assignor, AssignorGroup, AssignorMember, Partitions};
use crate::now::Now;

/// After a target that fits in no batch, the next one is not tried for so long.
const RETRY_INTERVAL_MS: i64 = 10_000;

/// Assigns anew when the group has moved on since the last time, and the time for it has come; says whether it
/// did.
pub(super) fn update(turn: &mut Turn<'_>, config: &ConsumerGroupConfig, now: Now) -> bool {
    let epoch = turn.group.epoch.epoch;
    if turn.group.target_epoch.epoch >= epoch || !is_due(turn.group, config, now) {
        return false;
    }
    let assignor = turn.group.preferred_assignor(config);
    let changed = changed_targets(turn.group, assignor, turn.topics);
    for (member_id, partitions) in changed {
        turn.write(ConsumerRecord::Target {
            member_id,
            partitions: Some(partitions),
        });
    }
    turn.write(ConsumerRecord::TargetEpoch(Some(TargetEpoch {
        epoch,
        timestamp_ms: now.wall_ms,
    })));
    true
}

/// A wall clock that was set back is not to hold a group up.
pub(super) fn is_due(group: &ConsumerGroup, config: &ConsumerGroupConfig, now: Now) -> bool {
    let last = group.target_epoch;
    let has_just_failed = group
        .target_failed_ms
        .is_some_and(|failed_ms| now.monotonic_ms - failed_ms < RETRY_INTERVAL_MS);
    let since_ms = now.wall_ms.saturating_sub(last.timestamp_ms);
    let has_waited =
        last.timestamp_ms == 0 || since_ms < 0 || since_ms >= config.assignment_interval_ms.into();
    // Without any target no member has an epoch.
    last.epoch == 0 || (has_waited && !has_just_failed)
}

/// The targets of the members that are not to have what they had.
fn changed_targets(
    group: &ConsumerGroup,
    assignor: Assignor,
    topics: &Topics,
) -> Vec<(Arc<str>, Partitions)> {
    let nothing = Partitions::new();
    let mut subscriptions = BTreeMap::new();
    let mut members = Vec::with_capacity(group.members.len());
    for (member_id, member) in &group.members {
        let metadata = &member.metadata;
        // Equal sets of names are one in a group: five thousand names are not compared for each member.
        let names = Arc::as_ptr(&metadata.subscribed_topics);
        let subscription = (names, &metadata.subscribed_regex);
        let topic_ids = subscriptions
            .entry(subscription)
            .or_insert_with(|| Arc::new(group.topic_ids(metadata, topics)));
        members.push(AssignorMember {
            id: member_id,
            instance_id: member.metadata.instance_id.as_deref(),
            topic_ids: topic_ids.clone(),
            assigned: group.target.get(member_id).unwrap_or(&nothing),
        });
    }
    let topic_ids = subscriptions.values().flat_map(|topic_ids| &**topic_ids);
    let partition_counts = topic_ids.filter_map(|id| Some((*id, topics.partition_count(id)?)));
    let partition_counts = partition_counts.collect();
    let assigned = assignor.assign(&AssignorGroup {
        members,
        partition_counts,
    });
    let targets = group.members.keys().zip(assigned);
    targets
        .filter(|(member_id, partitions)| group.target.get(*member_id) != Some(partitions))
        .map(|(member_id, partitions)| (member_id.clone(), partitions))
        .collect()
}
