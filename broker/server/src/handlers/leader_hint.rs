//! Tells a client that asked the wrong broker which one leads (KIP-951).

use std::collections::BTreeSet;

use foz_metadata::Image;
use foz_protocol::error::ErrorCode;
use foz_protocol::fetch::FetchTopicResponse;
use foz_protocol::leader::{LeaderIdAndEpoch, NodeEndpoint};
use foz_protocol::produce::ProduceTopicResponse;
use foz_protocol::topic::TopicRef;

use super::topic_view;
use crate::broker::Broker;

/// Fills in the hints of one response and collects the addresses it must carry.
pub(super) struct LeaderHints<'a> {
    broker: &'a Broker,
    image: &'a Image,
    named: BTreeSet<i32>,
}

impl<'a> LeaderHints<'a> {
    pub(super) fn new(broker: &'a Broker, image: &'a Image) -> Self {
        Self {
            broker,
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
        let node_id = self.broker.node_id;
        let topic = topic_view::find(self.image, topic).ok()?;
        let assigned = topic.partition(index)?;
        let partition = self.broker.partitions.find(&topic, index);
        let known = partition.ok().and_then(|it| it.leader(node_id));
        // A replica changes its role before clients are shown the image that says so. What the image says
        // of this broker meanwhile is what the client has just learned to be wrong.
        let of_image = Some((assigned.leader, assigned.leader_epoch));
        let (leader_id, leader_epoch) =
            known.or(of_image.filter(|(leader_id, _)| *leader_id != node_id))?;
        if !self.image.is_alive(leader_id) {
            return None;
        }
        self.named.insert(leader_id);
        Some(LeaderIdAndEpoch {
            leader_id,
            leader_epoch,
        })
    }
}
