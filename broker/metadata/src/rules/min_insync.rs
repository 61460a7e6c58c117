//! How many members an ISR must have before its partition acknowledges acks=all.

use std::collections::BTreeMap;

use crate::config::Resolver;
use crate::image::{DeletedTopic, Image, Partition, Resource, Topic};

pub(super) const MIN_INSYNC_REPLICAS: &str = "min.insync.replicas";

/// `min.insync.replicas` of a topic as the metadata alone says it, so that the controllers and every
/// broker agree: what is set on the topic, else on the default of all brokers, else 1. Properties files do
/// not count; see [`pin_min_insync_replicas`](super::pin_min_insync_replicas).
#[must_use]
pub fn min_insync_replicas(image: &Image, topic: &Topic) -> usize {
    let resource = Resource::Topic(topic.name.clone());
    or_default(image, image.config(&resource, MIN_INSYNC_REPLICAS))
}

/// As above, of a topic that is deleted.
pub(super) fn min_insync_replicas_of_deleted(image: &Image, deleted: &DeletedTopic) -> usize {
    let set = deleted.configs.get(MIN_INSYNC_REPLICAS);
    or_default(image, set.map(String::as_str))
}

fn or_default(image: &Image, set: Option<&str>) -> usize {
    set.or_else(|| image.config(&Resource::DefaultBroker, MIN_INSYNC_REPLICAS))
        .and_then(|value| value.trim().parse().ok())
        .unwrap_or(1)
}

/// What [`min_insync_replicas`] comes to for a partition with so many replicas: with two replicas, three
/// can never be in sync.
#[must_use]
pub fn effective_min_insync(min_insync_replicas: usize, replicas: usize) -> usize {
    min_insync_replicas.min(replicas).max(1)
}

/// What [`min_insync_replicas`] comes to for a partition as it is. Replicas that a reassignment brings do not count
/// before it is complete: a topic that gets more of them, or moves, could else not be written to until the first of
/// them has copied everything.
#[must_use]
pub fn partition_min_insync(min_insync_replicas: usize, partition: &Partition) -> usize {
    effective_min_insync(min_insync_replicas, partition.original_replica_count())
}

/// Whether `unclean.leader.election.enable` is true for a topic. `properties` are those of the controller.
pub(super) fn allows_unclean_election(
    image: &Image,
    properties: &BTreeMap<String, String>,
    topic: &Topic,
) -> bool {
    Resolver::new(image, -1, properties)
        .topic(&topic.name, "unclean.leader.election.enable")
        .is_some_and(|found| found.is_true())
}
