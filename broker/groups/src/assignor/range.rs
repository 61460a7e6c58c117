use std::collections::BTreeMap;

use uuid::Uuid;

use super::{AssignorGroup, AssignorMember, Partitions};

/// A topic that is handed out from its first partition to its last.
struct Cut {
    partition_count: usize,
    subscriber_count: usize,
    next_subscriber: usize,
}

pub(super) fn assign(group: &AssignorGroup<'_>) -> Vec<Partitions> {
    let mut order = Vec::from_iter(0..group.members.len());
    order.sort_by_key(|index| position(&group.members[*index]));
    let mut cuts: BTreeMap<Uuid, Cut> = BTreeMap::new();
    for topic_id in group.members.iter().flat_map(|member| &*member.topic_ids) {
        let Some(partition_count) = group.partition_counts.get(topic_id) else {
            continue;
        };
        let cut = cuts.entry(*topic_id).or_insert(Cut {
            partition_count: usize::try_from(*partition_count).unwrap_or(0),
            subscriber_count: 0,
            next_subscriber: 0,
        });
        cut.subscriber_count += 1;
    }
    let mut assignment = vec![Partitions::new(); group.members.len()];
    for index in order {
        for topic_id in &*group.members[index].topic_ids {
            let Some(cut) = cuts.get_mut(topic_id) else {
                continue;
            };
            let start = cut.start();
            cut.next_subscriber += 1;
            let partitions = start..cut.start();
            if !partitions.is_empty() {
                let partitions = partitions.map(|partition| partition as i32).collect();
                assignment[index].insert(*topic_id, partitions);
            }
        }
    }
    assignment
}

/// Static members come first: their instance ids stay when their member ids change.
fn position<'a>(member: &AssignorMember<'a>) -> (bool, &'a str) {
    match member.instance_id {
        Some(instance_id) => (false, instance_id),
        None => (true, member.id),
    }
}

impl Cut {
    /// Where the next subscriber's range begins: those before it have the larger ones.
    fn start(&self) -> usize {
        let quota = self.partition_count / self.subscriber_count;
        let larger = self.partition_count % self.subscriber_count;
        quota * self.next_subscriber + self.next_subscriber.min(larger)
    }
}
