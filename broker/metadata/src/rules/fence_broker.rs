//! A broker's lease ended, or began.

use super::draft::Draft;
use super::partition_change::change_partitions_on;
use super::{Decided, check_broker_epoch};
use crate::image::{Broker, Image};
use crate::record::{BrokerFenceRecord, Fact};

/// Takes a broker out: it leaves every ISR and leads nothing from then on. Where it was the last member, it
/// becomes eligible to lead again, and until then there may be no leader. `epoch` says which registration is
/// meant.
///
/// The order of the records allows them to be split over several batches: the broker counts as alive until
/// all of them are there, so a controller that takes over in between fences it again.
pub fn fence_broker(image: &Image, node_id: i32, epoch: i64) -> Decided<()> {
    check_broker_epoch(image, node_id, epoch)?;
    let mut draft = Draft::new(image);
    if let Some(broker) = image.broker(node_id).filter(|broker| !broker.fenced) {
        let fence = fact(broker, true);
        let after = draft.preview(&fence);
        change_partitions_on(&mut draft, &after, node_id, |change| {
            change.leaves_isr(node_id);
        });
        draft.write(fence);
    }
    Ok(draft.decide(()))
}

/// Lets a broker in: it leads again what nobody else does, if it may. The caller knows that it has a lease
/// and has caught up.
///
/// The order of the records allows them to be split over several batches; should the later ones be lost,
/// [`elect_unclean_where_allowed`](super::elect_unclean_where_allowed) makes up for them.
pub fn unfence_broker(image: &Image, node_id: i32, epoch: i64) -> Decided<()> {
    check_broker_epoch(image, node_id, epoch)?;
    let mut draft = Draft::new(image);
    if let Some(broker) = image.broker(node_id).filter(|broker| broker.fenced) {
        draft.write(fact(broker, false));
        let after = draft.image().clone();
        change_partitions_on(&mut draft, &after, node_id, |_| {});
    }
    Ok(draft.decide(()))
}

fn fact(broker: &Broker, fenced: bool) -> Fact {
    Fact::BrokerFence(BrokerFenceRecord {
        fenced,
        ..BrokerFenceRecord::of(broker)
    })
}
