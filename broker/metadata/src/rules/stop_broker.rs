//! A broker wants to stop, and hands over first.

use super::draft::Draft;
use super::partition_change::change_partitions_on;
use super::{Decided, check_broker_epoch};
use crate::image::Image;
use crate::record::{BrokerFenceRecord, Fact};

/// How far a controlled shutdown is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StopState {
    /// How many partitions the broker still leads, because no other member of their ISR may.
    pub leads: usize,
}

/// Moves leadership away from a broker and takes it out of every ISR in which another member stays.
///
/// Asked again, it moves what has become possible since. A broker that is fenced leads nothing: nothing
/// changes.
///
/// The order of the records allows them to be split over several batches.
pub fn stop_broker(image: &Image, node_id: i32, epoch: i64) -> Decided<StopState> {
    check_broker_epoch(image, node_id, epoch)?;
    let mut draft = Draft::new(image);
    if let Some(broker) = image.broker(node_id).filter(|broker| broker.can_lead()) {
        draft.write(Fact::BrokerFence(BrokerFenceRecord {
            stopping: true,
            ..BrokerFenceRecord::of(broker)
        }));
    }
    if image.is_alive(node_id) {
        let after = draft.image().clone();
        change_partitions_on(&mut draft, &after, node_id, |change| {
            change.leaves_isr_to_others(&after, node_id);
        });
    }
    let leads = draft.image().partitions_led_by(node_id).count();
    Ok(draft.decide(StopState { leads }))
}
