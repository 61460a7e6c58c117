//! Tells a client that asked the wrong broker which one leads (KIP-951).

use std::collections::BTreeSet;

use foz_metadata::Image;
use foz_protocol::error::ErrorCode;
use foz_protocol::fetch::FetchTopicResponse;
use foz_protocol::leader::{LeaderIdAndEpoch, NodeEndpoint};
use foz_protocol::produce::ProduceTopicResponse;
use foz_protocol::topic::TopicRef;

use super::topic_view;

/// Fills in the hints of one response and collects the addresses it must carry.
pub(super) struct LeaderHints<'a> {
    image: &'a Image,
    named: BTreeSet<i32>,
}

impl<'a> LeaderHints<'a> {
    pub(super) fn new(image: &'a Image) -> Self {
        Self {
            image,
            named: BTreeSet::new(),
        }
    }

    /// For partitions that answered `NOT_LEADER_OR_FOLLOWER`.
    pub(super) fn fill_produce(&mut self, mut topic: ProduceTopicResponse) -> ProduceTopicResponse {
        for partition in &mut topic.partitions {
            partition.current_leader = self.hint(&topic.topic, partition.index, partition.error);
        }
        topic
    }

    /// For partitions that answered `NOT_LEADER_OR_FOLLOWER` or `FENCED_LEADER_EPOCH`.
    pub(super) fn fill_fetch(&mut self, mut topic: FetchTopicResponse) -> FetchTopicResponse {
        for partition in &mut topic.partitions {
            partition.current_leader =
                self.hint(&topic.topic, partition.partition, partition.error);
        }
        topic
    }

    /// The brokers that were named.
    pub(super) fn endpoints(&self) -> Vec<NodeEndpoint> {
        self.named
            .iter()
            .filter_map(|node_id| self.image.broker(*node_id))
            .map(|broker| NodeEndpoint {
                node_id: broker.node_id,
                host: broker.host.clone(),
                port: i32::from(broker.port),
                rack: self.image.rack(broker.node_id).map(ToOwned::to_owned),
            })
            .collect()
    }

    fn hint(&mut self, topic: &TopicRef, index: i32, error: ErrorCode) -> Option<LeaderIdAndEpoch> {
        if !matches!(
            error,
            ErrorCode::NotLeaderOrFollower | ErrorCode::FencedLeaderEpoch
        ) {
            return None;
        }
        let topic = topic_view::find(self.image, topic).ok()?;
        let partition = topic.partition(index)?;
        if !self.image.is_alive(partition.leader) {
            return None;
        }
        self.named.insert(partition.leader);
        Some(LeaderIdAndEpoch {
            leader_id: partition.leader,
            leader_epoch: partition.leader_epoch,
        })
    }
}
