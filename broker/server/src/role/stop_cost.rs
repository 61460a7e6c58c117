//! What a broker leaves behind that stops without a grant, as far as its own metadata says. Pure.

use foz_metadata::Image;
use foz_metadata::rules::{effective_min_insync, min_insync_replicas};

/// How many are named.
const NAMED_MAX: usize = 10;

/// Partitions, as `topic-3`, that will have fewer in-sync replicas than they need; at most [`NAMED_MAX`].
pub(super) fn left_short(image: &Image, node_id: i32) -> Vec<String> {
    let own = image
        .partitions_on(node_id)
        .filter(|(_, _, partition)| partition.isr.contains(&node_id));
    let short = own.filter(|(topic, _, partition)| {
        let min_insync = min_insync_replicas(image, topic);
        let needed = effective_min_insync(min_insync, partition.replicas.len());
        let others = partition.isr.iter().filter(|id| **id != node_id);
        others.filter(|id| image.can_lead(**id)).count() < needed
    });
    short
        .map(|(topic, index, _)| format!("{}-{index}", topic.name))
        .take(NAMED_MAX)
        .collect()
}
