//! What the rules of a rebalance share: how its moves under way are called off, and how it ends.

use uuid::Uuid;

use super::draft::Draft;
use super::partition_change::{PartitionChange, TopicSettings};
use super::reassignment::cancel;
use crate::image::{Partition, Rebalance, RebalanceState, Topic};
use crate::record::Fact;

/// Writes how a rebalance ended. Its moves under way are called off, but for those that `passes_on` gives to another
/// rebalance.
pub(super) fn end_rebalance(
    draft: &mut Draft,
    rebalance: &Rebalance,
    state: RebalanceState,
    message: String,
    passes_on: impl Fn(&Partition) -> Option<i64>,
) {
    let moved: Vec<_> = draft.image().partitions_moved_by(rebalance.id).collect();
    for (topic_id, index) in moved {
        change(
            draft,
            topic_id,
            index,
            |changed, _, partition| match passes_on(partition) {
                Some(next) => changed.moved_by(next),
                None => call_off(changed, partition),
            },
        );
    }
    let ended = Rebalance {
        state,
        message,
        ..rebalance.clone()
    };
    draft.write(Fact::Rebalance(ended.to_record()));
}

/// Changes one partition as told. False: it is gone, or nothing is different.
pub(super) fn change(
    draft: &mut Draft,
    topic_id: Uuid,
    index: i32,
    how: impl FnOnce(&mut PartitionChange<'_>, &Topic, &Partition),
) -> bool {
    let image = draft.image();
    let found = image
        .topic_by_id(topic_id)
        .and_then(|topic| Some((topic, topic.partition(index)?)));
    let Some((topic, partition)) = found else {
        return false;
    };
    let mut changed =
        PartitionChange::new(TopicSettings::in_metadata(image, topic), index, partition);
    how(&mut changed, topic, partition);
    let record = changed.end(image);
    let is_different = record.is_some();
    if let Some(record) = record {
        draft.write(Fact::PartitionChange(record));
    }
    is_different
}

/// The partition goes back to where it was. Where too few but new replicas have what was acknowledged, it goes on, and is
/// nobody's from now on.
pub(super) fn call_off(changed: &mut PartitionChange<'_>, partition: &Partition) {
    // No loss is worth the end of a rebalance, even where one is allowed.
    match cancel(partition, changed.settings().min_insync_replicas(), false) {
        Ok(before) => changed.reassign(before),
        Err(_) => changed.moved_by(0),
    }
}
