mod heterogeneous;
mod homogeneous;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use uuid::Uuid;

use super::{AssignorGroup, Partitions};

/// No member's index: the partition is free.
const FREE: usize = usize::MAX;

pub(super) fn assign(group: &AssignorGroup<'_>) -> Vec<Partitions> {
    if group.members.is_empty() {
        return Vec::new();
    }
    let first = &group.members[0].topic_ids;
    let same =
        |topic_ids: &Arc<BTreeSet<Uuid>>| Arc::ptr_eq(topic_ids, first) || topic_ids == first;
    let mut owners = Owners::kept(group);
    if group.members.iter().all(|member| same(&member.topic_ids)) {
        homogeneous::fill(group, &mut owners);
    } else {
        heterogeneous::fill(group, &mut owners);
    }
    owners.into_assignment(group)
}

/// The topics that someone subscribes to, and for each partition the index of the member that has it.
struct Owners {
    topics: BTreeMap<Uuid, Vec<usize>>,
}

impl Owners {
    /// What members were assigned and still subscribe to; all else is free.
    fn kept(group: &AssignorGroup<'_>) -> Self {
        let mut topics: BTreeMap<Uuid, Vec<usize>> = BTreeMap::new();
        for topic_id in group.members.iter().flat_map(|member| &*member.topic_ids) {
            if let Some(count) = group.partition_counts.get(topic_id) {
                let free = || vec![FREE; usize::try_from(*count).unwrap_or(0)];
                topics.entry(*topic_id).or_insert_with(free);
            }
        }
        for (index, member) in group.members.iter().enumerate() {
            for (topic_id, partitions) in member.assigned {
                if !member.topic_ids.contains(topic_id) {
                    continue;
                }
                let Some(owners) = topics.get_mut(topic_id) else {
                    continue;
                };
                for partition in partitions {
                    let slot = usize::try_from(*partition).ok();
                    if let Some(owner) = slot.and_then(|slot| owners.get_mut(slot))
                        && *owner == FREE
                    {
                        *owner = index;
                    }
                }
            }
        }
        Self { topics }
    }

    fn into_assignment(self, group: &AssignorGroup<'_>) -> Vec<Partitions> {
        let mut assignment = vec![Partitions::new(); group.members.len()];
        for (topic_id, owners) in self.topics {
            for (partition, owner) in owners.into_iter().enumerate() {
                debug_assert_ne!(
                    owner, FREE,
                    "partition {partition} of {topic_id} is left over"
                );
                let partitions = assignment[owner].entry(topic_id).or_default();
                partitions.insert(partition as i32);
            }
        }
        assignment
    }
}
