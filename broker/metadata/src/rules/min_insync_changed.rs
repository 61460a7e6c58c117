//! What a new `min.insync.replicas` means to the partitions that have it.

use std::sync::Arc;

use super::draft::Draft;
use super::min_insync::{min_insync_replicas, partition_min_insync};
use super::partition_change::change_partitions;
use crate::image::{Image, Resource, Topic};

/// Goes with the config in one batch.
///
/// * A leader that waits for fewer replicas from now on may acknowledge without those that were eligible, so
///   they are so no more. Nor is a member without room waited for, where those with room are enough from now on.
/// * A leader that has to wait for more must know it before it takes anybody out of the ISR: who leaves then
///   stays eligible, and must not miss what is acknowledged later. A new partition epoch refuses what it
///   proposes until it has seen this batch.
pub(super) fn min_insync_changed(draft: &mut Draft, before: &Image, resource: &Resource) {
    let after = draft.image().clone();
    let topics: Vec<Arc<Topic>> = match resource {
        Resource::Topic(name) => after.topic(name).cloned().into_iter().collect(),
        Resource::DefaultBroker => after.topics().cloned().collect(),
        Resource::Broker(_) | Resource::Group(_) => Vec::new(),
    };
    for topic in topics {
        let min_before = min_insync_replicas(before, &topic);
        let min_after = min_insync_replicas(&after, &topic);
        if min_before == min_after {
            continue;
        }
        change_partitions(draft, &after, vec![topic], |change, _, partition| {
            let rises = partition_min_insync(min_before, partition)
                < partition_min_insync(min_after, partition);
            if rises && partition.isr.len() > 1 {
                change.new_epoch();
                return true;
            }
            let is_short = |id: &i32| after.broker(*id).is_some_and(|it| it.short_of_space);
            !partition.elr.is_empty() || partition.isr.iter().any(is_short)
        });
    }
}
