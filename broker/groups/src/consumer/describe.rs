use std::collections::BTreeMap;
use std::sync::Arc;

use kafka_protocol::messages::TopicName;
use kafka_protocol::messages::consumer_group_describe_response::{
    Assignment, DescribedGroup, Member, TopicPartitions,
};
use uuid::Uuid;

use super::config::ConsumerGroupConfig;
use super::group::ConsumerGroup;
use super::member::ConsumerMember;
use super::topics::Topics;
use crate::response::{wire, wire_group_id};

/// `MemberType` of those that speak the classic protocol, and of those that speak that of KIP-848.
const CLASSIC_MEMBER_TYPE: i8 = 0;
const CONSUMER_MEMBER_TYPE: i8 = 1;

impl ConsumerGroup {
    /// For ConsumerGroupDescribe, versions 0-1. It may tell what is not committed yet: to be sent as a
    /// heartbeat's response is. `authorized_operations` is for the caller to fill in.
    pub fn describe(&self, topics: &Topics, config: &ConsumerGroupConfig) -> DescribedGroup {
        let members = self.members.iter();
        let members = members.map(|(id, member)| self.describe_member(id, member, topics));
        DescribedGroup::default()
            .with_group_id(wire_group_id(&self.id))
            .with_group_state(wire(self.state().name()))
            .with_group_epoch(self.epoch.epoch)
            .with_assignment_epoch(self.target_epoch.epoch)
            .with_assignor_name(wire(self.preferred_assignor(config).name()))
            .with_members(members.collect())
    }

    fn describe_member(&self, id: &Arc<str>, member: &ConsumerMember, topics: &Topics) -> Member {
        let ConsumerMember { metadata, current } = member;
        let names = metadata.subscribed_topics.iter();
        let names = names.map(|name| TopicName(wire(name)));
        let assigned = current.assigned.iter();
        let assigned = assigned.map(|(id, partitions)| (id, partitions.keys().copied().collect()));
        let target = self.target.get(id).into_iter().flatten();
        let target = target.map(|(id, partitions)| (id, partitions.iter().copied().collect()));
        // Kafka says nothing with an empty text.
        let regex = wire(metadata.subscribed_regex.as_deref().unwrap_or_default());
        Member::default()
            .with_member_id(wire(id))
            .with_instance_id(metadata.instance_id.as_deref().map(wire))
            .with_rack_id(metadata.rack_id.as_deref().map(wire))
            .with_member_epoch(current.epoch)
            .with_client_id(wire(&metadata.client_id))
            .with_client_host(wire(&metadata.client_host))
            .with_subscribed_topic_names(names.collect())
            .with_subscribed_topic_regex(Some(regex))
            .with_assignment(assignment(assigned, topics))
            .with_target_assignment(assignment(target, topics))
            .with_member_type(match metadata.classic {
                Some(_) => CLASSIC_MEMBER_TYPE,
                None => CONSUMER_MEMBER_TYPE,
            })
    }
}

/// Topics that are gone have no name to be told by.
fn assignment<'a>(
    partitions: impl Iterator<Item = (&'a Uuid, Vec<i32>)>,
    topics: &Topics,
) -> Assignment {
    let named = partitions.filter_map(|(id, partitions)| {
        let name = topics.name(id)?;
        let described = TopicPartitions::default()
            .with_topic_id(*id)
            .with_topic_name(TopicName(wire(name)))
            .with_partitions(partitions);
        Some((name.clone(), described))
    });
    let by_name: BTreeMap<Arc<str>, TopicPartitions> = named.collect();
    Assignment::default().with_topic_partitions(by_name.into_values().collect())
}
