//! Internal topics get the replicas that there were no brokers for when they were made.

use std::collections::BTreeMap;

use super::Decided;
use super::draft::Draft;
use super::partition_change::{PartitionChange, TopicSettings};
use super::placement::Placement;
use super::replicas::internal_replication_factor;
use crate::image::Image;
use crate::record::Fact;

/// How many partitions one call gives replicas to: all of their data is copied.
pub const PARTITIONS_RAISED_PER_CALL_MAX: usize = 100;

/// Appends replicas to partitions of internal topics that have fewer than `offsets.topic.replication.factor`, or
/// `transaction.state.log.replication.factor`, as far as brokers that live allow; the answer is how many partitions got some. The new replicas are not in sync yet, and
/// count for `min.insync.replicas` at once: on brokers that are away they could keep the partition from being written
/// to. What is being reassigned waits until that is complete.
/// `properties` are those of the controller.
pub fn raise_internal_topics(
    image: &Image,
    properties: &BTreeMap<String, String>,
) -> Decided<usize> {
    let mut placement = Placement::new(image, 0).only_on_living();
    let mut draft = Draft::new(image);
    let mut raised = 0;
    for topic in image.topics().filter(|topic| topic.internal) {
        let factor = internal_replication_factor(image, properties, &topic.name);
        let settings = TopicSettings::in_metadata(image, topic);
        let mut partitions = topic.partitions.clone();
        for (index, partition) in topic.indexed_partitions() {
            let has_enough = partition.replicas.len() >= factor || partition.is_reassigning();
            if has_enough || raised == PARTITIONS_RAISED_PER_CALL_MAX {
                continue;
            }
            let at = usize::try_from(index).expect("indexes are counted from 0");
            let replicas = placement.extend(&partitions, at, factor);
            if replicas == partition.replicas {
                continue;
            }
            partitions[at].replicas.clone_from(&replicas);
            let mut changed = PartitionChange::new(settings, index, partition);
            changed.set_replicas(replicas);
            if let Some(record) = changed.end(image) {
                draft.write(Fact::PartitionChange(record));
                raised += 1;
            }
        }
    }
    Ok(draft.decide(raised))
}
