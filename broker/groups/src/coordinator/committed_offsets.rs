use std::sync::Arc;

use super::Coordinator;
use crate::lag::{CommittedOffset, CommittedOffsets, GroupOffsets, Room, is_label};
use crate::offsets::{OffsetAndMetadata, TopicOffsets};

impl Coordinator {
    /// What is in force of every group, with members or without, up to so many offsets; for metrics. What a transaction has
    /// not committed yet is not in force. Groups that are loading are left for when it is known what they have.
    pub fn committed_offsets(&self, offsets_max: usize) -> CommittedOffsets {
        let mut committed = CommittedOffsets::default();
        let mut room = Room::of(offsets_max);
        let group_ids = self.offsets.group_ids();
        for group_id in group_ids.filter(|group_id| !self.loading.contains(*group_id)) {
            let Some(topics) = self.offsets.group(group_id) else {
                continue;
            };
            let partitions = topics.values().flat_map(|partitions| partitions.values());
            let count = partitions.filter(|offset| is_position(offset)).count();
            if count == 0 {
                continue;
            } else if !is_label(group_id) {
                committed.left_out.group_id += count;
            } else if !room.takes(count) {
                committed.left_out.limit += count;
            } else {
                committed.groups.push(GroupOffsets {
                    group_id: Arc::clone(group_id),
                    offsets: offsets_of(topics, count),
                });
            }
        }
        committed
    }
}

fn offsets_of(topics: &TopicOffsets, count: usize) -> Vec<CommittedOffset> {
    let mut offsets = Vec::with_capacity(count);
    for (topic, partitions) in topics {
        let positions = partitions.iter().filter(|(_, offset)| is_position(offset));
        offsets.extend(positions.map(|(partition, offset)| CommittedOffset {
            topic: Arc::clone(topic),
            topic_id: offset.topic_id,
            partition: *partition,
            offset: offset.offset,
        }));
    }
    offsets
}

/// Kafka takes any number for an offset; clients read a negative one as none.
fn is_position(offset: &OffsetAndMetadata) -> bool {
    offset.offset >= 0
}
