use super::{AssignorGroup, AssignorMember, Partitions};

pub(super) fn assign(group: &AssignorGroup<'_>) -> Vec<Partitions> {
    let mut order = Vec::from_iter(0..group.members.len());
    order.sort_by_key(|index| position(&group.members[*index]));
    let mut ranks = vec![0; order.len()];
    for (rank, index) in order.iter().enumerate() {
        ranks[*index] = rank;
    }
    let mut subscriptions = group.subscriptions();
    for subscription in &mut subscriptions {
        subscription.members.sort_by_key(|index| ranks[*index]);
    }
    let mut assignment = vec![Partitions::new(); group.members.len()];
    for (topic_id, positions) in group.subscribed_topics(&subscriptions) {
        let partition_count = group.partition_count(&topic_id);
        let subscribers = positions
            .iter()
            .map(|position| &subscriptions[*position].members);
        let subscriber_count = subscribers.clone().map(Vec::len).sum::<usize>();
        // Who comes after so many gets none.
        let firsts = subscribers.flat_map(|members| members.iter().take(partition_count));
        let mut firsts = Vec::from_iter(firsts.copied());
        if positions.len() > 1 {
            firsts.sort_by_key(|index| ranks[*index]);
        }
        let mut start = 0;
        for (rank, index) in firsts.into_iter().take(partition_count).enumerate() {
            // Those before it have the larger ranges.
            let is_larger = rank < partition_count % subscriber_count;
            let end = start + partition_count / subscriber_count + usize::from(is_larger);
            if start < end {
                let partitions = (start..end).map(|partition| partition as i32);
                assignment[index].insert(topic_id, partitions.collect());
            }
            start = end;
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
