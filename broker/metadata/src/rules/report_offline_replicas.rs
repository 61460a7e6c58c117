//! A broker says that it cannot use logs that it has: their directory has failed.

use std::collections::BTreeSet;

use uuid::Uuid;

use super::deleted_replicas::{Lost, change_deleted_on};
use super::draft::Draft;
use super::partition_change::change_partitions;
use super::{Decided, check_broker_epoch};
use crate::image::Image;

/// What a broker cannot use.
#[derive(Debug, Clone)]
pub struct ReportOfflineReplicas {
    /// Who says so.
    pub node_id: i32,
    /// Its registration: the next one says again what the broker can use.
    pub broker_epoch: i64,
    /// By topic id and index.
    pub replicas: BTreeSet<(Uuid, i32)>,
}

/// These replicas are offline until the broker registers anew: they leave ISR and ELR, lead nothing and are let into no ISR.
/// Also those that nobody counted on: what this registration fetched before must bring none of them into an ISR.
///
/// What is not known, or not on that broker, is passed over: a topic may be gone meanwhile, or a replica moved. Of a
/// deleted topic it is remembered. To say the same again changes nothing.
pub fn report_offline_replicas(image: &Image, request: &ReportOfflineReplicas) -> Decided<()> {
    let node_id = request.node_id;
    check_broker_epoch(image, node_id, request.broker_epoch)?;
    let mut draft = Draft::new(image);
    let topics = image.topics_on(node_id);
    change_partitions(
        &mut draft,
        image,
        topics,
        |change, (topic_id, _, index), partition| {
            let is_meant = partition.replicas.contains(&node_id)
                && request.replicas.contains(&(topic_id, index));
            if is_meant {
                change.goes_offline(node_id);
            }
            is_meant
        },
    );
    change_deleted_on(&mut draft, node_id, |(topic_id, _, index), _| {
        request
            .replicas
            .contains(&(topic_id, index))
            .then_some(Lost::Use)
    });
    Ok(draft.decide(()))
}
