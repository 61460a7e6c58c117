//! How a partition looks to clients: who leads it, and which replicas are not there.

use std::sync::Arc;

use foz_metadata::Image;
use foz_metadata::image::{NO_LEADER, Partition, Topic};
use foz_protocol::error::ErrorCode;
use foz_protocol::topic::TopicRef;
use kafka_protocol::messages::BrokerId;

/// `LEADER_NOT_AVAILABLE` while nobody that is alive leads the partition.
pub(super) fn partition_error(image: &Image, partition: &Partition) -> ErrorCode {
    if leader(image, partition).0 == NO_LEADER {
        ErrorCode::LeaderNotAvailable
    } else {
        ErrorCode::None
    }
}

/// The leader, or [`NO_LEADER`] while nobody that is alive leads the partition.
pub(super) fn leader(image: &Image, partition: &Partition) -> BrokerId {
    BrokerId(if image.is_alive(partition.leader) {
        partition.leader
    } else {
        NO_LEADER
    })
}

/// Replicas whose broker is fenced or gone.
pub(super) fn offline_replicas(image: &Image, partition: &Partition) -> Vec<BrokerId> {
    broker_ids(
        partition
            .replicas
            .iter()
            .copied()
            .filter(|id| !image.is_alive(*id)),
    )
}

/// As the protocol carries them.
pub(super) fn broker_ids(ids: impl IntoIterator<Item = i32>) -> Vec<BrokerId> {
    ids.into_iter().map(BrokerId).collect()
}

/// The topic that a request names.
pub(super) fn find(image: &Image, topic: &TopicRef) -> Result<Arc<Topic>, ErrorCode> {
    match topic {
        TopicRef::Name(name) => image
            .topic(name)
            .cloned()
            .ok_or(ErrorCode::UnknownTopicOrPartition),
        TopicRef::Id(id) => image
            .topic_by_id(*id)
            .cloned()
            .ok_or(ErrorCode::UnknownTopicId),
    }
}
