mod heterogeneous;
mod homogeneous;

use std::collections::BTreeMap;

use uuid::Uuid;

use super::{AssignorGroup, Partitions, Subscription};

/// No member's index: the partition is free.
const FREE: usize = usize::MAX;

pub(super) fn assign(group: &AssignorGroup<'_>) -> Vec<Partitions> {
    let subscriptions = group.subscriptions();
    let Some((first, others)) = subscriptions.split_first() else {
        return Vec::new();
    };
    let subscribed = group.subscribed_topics(&subscriptions);
    let mut owners = Owners::kept(group, &subscribed);
    let is_same = |other: &Subscription| other.topic_ids == first.topic_ids;
    if others.iter().all(is_same) {
        homogeneous::fill(group, &mut owners);
    } else {
        heterogeneous::fill(group, &subscriptions, &subscribed, &mut owners);
    }
    owners.into_assignment(group)
}

/// The topics that someone subscribes to, and for each partition the index of the member that has it.
struct Owners {
    topics: BTreeMap<Uuid, Vec<usize>>,
}

impl Owners {
    /// What members were assigned and still subscribe to; all else is free.
    fn kept(group: &AssignorGroup<'_>, subscribed: &BTreeMap<Uuid, Vec<usize>>) -> Self {
        let free = |topic_id: &Uuid| (*topic_id, vec![FREE; group.partition_count(topic_id)]);
        let mut topics: BTreeMap<Uuid, Vec<usize>> = subscribed.keys().map(free).collect();
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
