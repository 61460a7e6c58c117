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

/// Replicas whose broker is fenced or gone, or cannot use their logs.
pub(super) fn offline_replicas(image: &Image, partition: &Partition) -> Vec<BrokerId> {
    broker_ids(
        partition
            .replicas
            .iter()
            .copied()
            .filter(|id| !image.is_alive(*id) || partition.offline.contains(id)),
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

#[cfg(test)]
mod tests {
    use foz_metadata::record::{Batch, Fact, RegisterBrokerRecord};

    use super::*;

    #[test]
    fn a_replica_without_its_log_is_as_one_without_its_broker() {
        let id = || vec![1; 16].into();
        let of_broker = |node_id: i32| {
            let register = Fact::RegisterBroker(RegisterBrokerRecord {
                node_id,
                epoch: 1,
                incarnation: id(),
                ..RegisterBrokerRecord::default()
            });
            let unfence = Fact::BrokerFence(foz_metadata::record::BrokerFenceRecord {
                node_id,
                epoch: 1,
                ..Default::default()
            });
            [register.into(), unfence.into()]
        };
        let batch = Batch {
            follows: 0,
            term: 1,
            records: (0..2).flat_map(of_broker).collect(),
        };
        let image = Image::default().apply(&batch).unwrap();
        let mut partition = Partition {
            replicas: vec![0, 1, 2],
            isr: vec![1],
            leader: 1,
            leader_epoch: 1,
            partition_epoch: 1,
            elr: Vec::new(),
            last_known_elr: Vec::new(),
            never_in_sync: Vec::new(),
            adding_replicas: Vec::new(),
            removing_replicas: Vec::new(),
            rebalance_id: 0,
            offline: Vec::new(),
        };
        assert_eq!(offline_replicas(&image, &partition), [BrokerId(2)]);
        partition.offline = vec![0];
        let shown = offline_replicas(&image, &partition);
        assert_eq!(shown, [BrokerId(0), BrokerId(2)]);
    }
}
