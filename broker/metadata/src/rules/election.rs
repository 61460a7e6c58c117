//! Who leads a partition.

use uuid::Uuid;

use super::draft::Draft;
use crate::image::{Image, NO_LEADER, Partition};
use crate::record::{Fact, PartitionChangeRecord, id_bytes};

/// The leader that a partition should have: the one it has while that is alive and in sync, else the
/// first replica that is, else none. A replica that is not in sync never leads.
pub(super) fn elect(image: &Image, partition: &Partition) -> i32 {
    let can_lead = |node_id: i32| partition.isr.contains(&node_id) && image.is_alive(node_id);
    if can_lead(partition.leader) {
        return partition.leader;
    }
    partition
        .replicas
        .iter()
        .copied()
        .find(|node_id| can_lead(*node_id))
        .unwrap_or(NO_LEADER)
}

/// Elects again where a node is a replica and the leader is not the one that should be.
pub(super) fn elect_on(draft: &mut Draft, node_id: i32) {
    let changes: Vec<PartitionChangeRecord> = draft
        .image()
        .partitions_on(node_id)
        .filter_map(|(topic, index, partition)| {
            let leader = elect(draft.image(), partition);
            (leader != partition.leader).then(|| leader_change(topic.id, index, partition, leader))
        })
        .collect();
    for change in changes {
        draft.write(Fact::PartitionChange(change));
    }
}

/// The leader epoch grows also when the partition loses its leader, as in Kafka.
fn leader_change(
    topic_id: Uuid,
    index: i32,
    partition: &Partition,
    leader: i32,
) -> PartitionChangeRecord {
    PartitionChangeRecord {
        topic_id: id_bytes(topic_id),
        index,
        partition_epoch: partition.partition_epoch + 1,
        leader: Some(leader),
        leader_epoch: Some(partition.leader_epoch + 1),
        ..PartitionChangeRecord::default()
    }
}
