//! A broker's lease ended, or began.

use super::draft::Draft;
use super::election::elect_on;
use super::{Decided, check_broker_epoch};
use crate::image::Image;
use crate::record::{BrokerFenceRecord, Fact};

/// Takes a broker out: it leads nothing from then on. What has no other replica in sync has no leader.
/// `epoch` says which registration is meant.
///
/// The order of the records allows them to be split over several batches.
pub fn fence_broker(image: &Image, node_id: i32, epoch: i64) -> Decided<()> {
    set_fenced(image, node_id, epoch, true)
}

/// Lets a broker in: it leads again what nobody else does. The caller knows that it has a lease and has
/// caught up.
///
/// The order of the records allows them to be split over several batches.
pub fn unfence_broker(image: &Image, node_id: i32, epoch: i64) -> Decided<()> {
    set_fenced(image, node_id, epoch, false)
}

fn set_fenced(image: &Image, node_id: i32, epoch: i64, fenced: bool) -> Decided<()> {
    check_broker_epoch(image, node_id, epoch)?;
    let mut draft = Draft::new(image);
    if image.is_alive(node_id) == fenced {
        draft.write(Fact::BrokerFence(BrokerFenceRecord {
            node_id,
            epoch,
            fenced,
        }));
        elect_on(&mut draft, node_id);
    }
    Ok(draft.decide(()))
}
