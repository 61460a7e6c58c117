//! Leadership goes back to where placement put it.

use std::collections::BTreeMap;

use super::Decided;
use super::draft::Draft;
use super::partition_change::{PartitionChange, TopicSettings};
use crate::config::Resolver;
use crate::image::Image;
use crate::record::Fact;

/// How many leaders one call moves, as in Kafka: clients of each have to find the new one.
pub const LEADERS_BALANCED_PER_CALL_MAX: usize = 1000;

/// Makes preferred leaders lead that are in sync and may; the answer is how many. Nothing happens while
/// `auto.leader.rebalance.enable` is false. `properties` are those of the controller.
pub fn balance_leaders(image: &Image, properties: &BTreeMap<String, String>) -> Decided<usize> {
    let mut draft = Draft::new(image);
    let is_enabled = Resolver::new(image, -1, properties)
        .broker("auto.leader.rebalance.enable")
        .is_none_or(|found| found.is_true());
    if !is_enabled {
        return Ok(draft.decide(0));
    }
    let records: Vec<_> = image
        .partitions()
        .filter_map(|(topic, index, partition)| {
            let preferred = partition.preferred_leader();
            let should_move = partition.leader != preferred
                && partition.isr.contains(&preferred)
                && image.can_take_over(preferred);
            if !should_move {
                return None;
            }
            let settings = TopicSettings::in_metadata(image, topic);
            let mut changed = PartitionChange::new(settings, index, partition);
            changed.prefer(preferred);
            changed.end(image)
        })
        .take(LEADERS_BALANCED_PER_CALL_MAX)
        .collect();
    let moved = records.len();
    for record in records {
        draft.write(Fact::PartitionChange(record));
    }
    Ok(draft.decide(moved))
}
