//! `min.insync.replicas` of the controllers' properties files becomes metadata.

use std::collections::BTreeMap;

use super::Decided;
use super::draft::Draft;
use super::min_insync::MIN_INSYNC_REPLICAS;
use super::min_insync_changed::min_insync_changed;
use crate::image::{Image, Resource};
use crate::record::{ConfigRecord, Fact, ResourceKind};

/// Writes `min.insync.replicas` as the default of all brokers, when the controller's properties say it and
/// nobody has set it.
///
/// Who is eligible to lead follows from how many replicas a leader waits for. Were the two numbers read from
/// two files, a leader could acknowledge with fewer than the controller believes, and a replica without
/// those records could be elected. Kafka does the same when ELR is turned on. For the active controller, when
/// it takes over.
///
/// It is a change of the minimum like any other: a leader must know it before it takes anybody out of the
/// ISR. The config comes first, should the records be split over several batches: whoever knows the new epoch
/// of a partition knows the new minimum.
pub fn pin_min_insync_replicas(
    image: &Image,
    properties: &BTreeMap<String, String>,
) -> Decided<()> {
    let mut draft = Draft::new(image);
    if let Some(value) = properties.get(MIN_INSYNC_REPLICAS)
        && image
            .config(&Resource::DefaultBroker, MIN_INSYNC_REPLICAS)
            .is_none()
    {
        draft.write(Fact::Config(ConfigRecord {
            kind: ResourceKind::Broker.into(),
            name: String::new(),
            key: MIN_INSYNC_REPLICAS.to_owned(),
            value: Some(value.trim().to_owned()),
        }));
        min_insync_changed(&mut draft, image, &Resource::DefaultBroker);
    }
    Ok(draft.decide(()))
}
