//! What the replicas of deleted topics still have: whoever lost something must not lead after a restoration as if it had
//! all.

use super::draft::Draft;
use super::partition_change::{PartitionChange, Replica, TopicSettings};
use super::reassignment::Reassigned;
use crate::image::Partition;
use crate::record::Fact;

/// What a broker has no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lost {
    /// Nothing.
    Nothing,
    /// Perhaps the end of what it had.
    End,
    /// The use of it, and perhaps the end.
    Use,
    /// Perhaps all of it.
    Disk,
    /// It is gone for good.
    Broker,
}

/// Writes down what a broker lost of deleted topics, as `lost` says of each replica; nothing where that is known already, or
/// where it says nothing.
pub(super) fn change_deleted_on(
    draft: &mut Draft,
    node_id: i32,
    lost: impl Fn(Replica<'_>, &Partition) -> Option<Lost>,
) {
    let image = draft.image().clone();
    for deleted in image.deleted_topics() {
        let settings = TopicSettings::of_deleted(&image, deleted);
        for (index, partition) in deleted.topic.indexed_partitions() {
            if !partition.replicas.contains(&node_id) {
                continue;
            }
            let replica = (deleted.topic.id, &*deleted.topic.name, index);
            let Some(lost) = lost(replica, partition) else {
                continue;
            };
            let mut changed = PartitionChange::new(settings, index, partition);
            changed.comes_back(node_id);
            match lost {
                Lost::Nothing => {}
                Lost::End => changed.lost_data(node_id),
                Lost::Use => changed.goes_offline(node_id),
                Lost::Disk => changed.lost_disk(node_id),
                Lost::Broker => {
                    changed.lost_disk(node_id);
                    // A partition has a replica at least; of the last one it is known that it has nothing.
                    if partition.replicas.len() > 1 {
                        changed.reassign(without(partition, node_id));
                    }
                }
            }
            if let Some(record) = changed.end_of_deleted() {
                draft.write(Fact::PartitionChange(record));
            }
        }
    }
}

fn without(partition: &Partition, node_id: i32) -> Reassigned {
    let others = |list: &[i32]| list.iter().copied().filter(|id| *id != node_id).collect();
    Reassigned {
        replicas: others(&partition.replicas),
        adding: others(&partition.adding_replicas),
        removing: others(&partition.removing_replicas),
    }
}
