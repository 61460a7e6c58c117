//! What has no leader gets one, now that it may.

use std::collections::BTreeMap;

use super::Decided;
use super::draft::Draft;
use super::election::has_candidate;
use super::partition_change::{PartitionChange, TopicSettings};
use crate::image::{Image, NO_LEADER};
use crate::record::Fact;

/// How many partitions one call elects leaders for.
pub const ELECTIONS_PER_CALL_MAX: usize = 10_000;

/// Elects where there is no leader, for instance since `unclean.leader.election.enable` became true; the answer
/// is how many were elected. An election that could be clean all along is made up for too: the batch with it
/// may have been lost when another controller took over. `properties` are those of the controller.
pub fn elect_unclean_where_allowed(
    image: &Image,
    properties: &BTreeMap<String, String>,
) -> Decided<usize> {
    let mut draft = Draft::new(image);
    let records: Vec<_> = image
        .partitions()
        .filter(|(_, _, partition)| {
            partition.leader == NO_LEADER && has_candidate(image, partition)
        })
        .filter_map(|(topic, index, partition)| {
            let settings = TopicSettings::of(image, properties, topic);
            PartitionChange::new(settings, index, partition).end(image)
        })
        .take(ELECTIONS_PER_CALL_MAX)
        .collect();
    let elected = records.len();
    for record in records {
        draft.write(Fact::PartitionChange(record));
    }
    Ok(draft.decide(elected))
}
