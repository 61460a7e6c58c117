//! Brokers that are short of room get some: what was deleted first goes first, before its time.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::Decided;
use super::draft::Draft;
use super::purge_deleted_topics::purge;
use crate::image::{DeletedTopic, Image, Partition};

/// How many one call purges: brokers remove the files of each.
pub const DELETED_TOPICS_FREED_PER_CALL_MAX: usize = 1000;

/// Purges the oldest deleted topics, `topics_max` at most, of which a broker that is short of room keeps a replica; the
/// answer is what goes. To be asked again only when the brokers have told anew how much room they have: they need a while
/// to remove the files, and who purged all at once would purge too much.
///
/// The order of the records allows them to be split over several batches.
pub fn free_for_room(
    image: &Image,
    short_of_room: &BTreeSet<i32>,
    topics_max: usize,
) -> Decided<Vec<Arc<DeletedTopic>>> {
    let mut draft = Draft::new(image);
    let frees = |deleted: &&Arc<DeletedTopic>| {
        let mut partitions = deleted.topic.partitions.iter();
        // Whose directory cannot be used gets no room by it.
        let is_on = |it: &Partition, id: &i32| it.replicas.contains(id) && !it.offline.contains(id);
        partitions.any(|it| short_of_room.iter().any(|id| is_on(it, id)))
    };
    let oldest = if short_of_room.is_empty() {
        Vec::new()
    } else {
        image.deleted_topics_oldest_first()
    };
    let freed: Vec<_> = oldest
        .into_iter()
        .filter(frees)
        .take(topics_max.min(DELETED_TOPICS_FREED_PER_CALL_MAX))
        .cloned()
        .collect();
    for deleted in &freed {
        purge(&mut draft, deleted.topic.id);
    }
    Ok(draft.decide(freed))
}
