//! A broker says that its disk has no room, or has some again.

use super::draft::Draft;
use super::partition_change::change_partitions_on;
use super::{Decided, check_broker_epoch};
use crate::image::Image;
use crate::record::{BrokerFenceRecord, Fact};

/// Without room a broker hands over what it leads to members of the ISR that have room, and leaves where these are the
/// minimum without it: it could not take what acks=all waits for. Where no member has room the leader stays: it serves
/// what there is. With room it may take over at once from a leader without, and comes back into the other ISRs once it
/// has caught up.
///
/// The order of the records allows them to be split over several batches: what is not changed yet is with the next
/// change of that partition, at the latest when its leader proposes another ISR.
pub fn report_space(image: &Image, node_id: i32, epoch: i64, short_of_space: bool) -> Decided<()> {
    check_broker_epoch(image, node_id, epoch)?;
    let mut draft = Draft::new(image);
    if let Some(broker) = image.broker(node_id)
        && broker.short_of_space != short_of_space
    {
        let fact = Fact::BrokerFence(BrokerFenceRecord {
            short_of_space,
            ..BrokerFenceRecord::of(broker)
        });
        let after = draft.preview(&fact);
        change_partitions_on(&mut draft, &after, node_id, |_| {});
        // Last: a controller that takes over in between hears the same from the broker, and does it again.
        draft.write(fact);
    }
    Ok(draft.decide(()))
}
