use std::collections::BTreeSet;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopics,
};
use kafka_protocol::messages::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions,
    OffsetFetchResponseTopic, OffsetFetchResponseTopics,
};
use kafka_protocol::messages::{OffsetFetchRequest, OffsetFetchResponse};
use kafka_protocol::protocol::StrBytes;

use super::{Coordinator, waiter_of};
use crate::append::Deferred;
use crate::effect::{AppendToken, Effect};
use crate::member::Waiter;
use crate::offsets::OffsetAndMetadata;
use crate::request::RequestContext;
use crate::response::{Response, wire, wire_topic_name};

/// First version that names several groups (KIP-709).
const BATCH_VERSION: i16 = 8;

impl Coordinator {
    pub(super) fn offset_fetch(
        &mut self,
        context: &RequestContext,
        request: OffsetFetchRequest,
        effects: &mut Vec<Effect>,
    ) {
        let waiter = waiter_of(context);
        self.fetch_before(AppendToken::MAX, waiter, request, effects);
    }

    /// Answers, or waits for one of the appends that were handed out before this one.
    pub(super) fn fetch_before(
        &mut self,
        token: AppendToken,
        waiter: Waiter,
        request: OffsetFetchRequest,
        effects: &mut Vec<Effect>,
    ) {
        // KIP-447: who asks for stable offsets takes over from another, whose last commit may
        // still be on its way to the log; wait for that rather than answer from before it. But not for
        // one that took too long: its client was told so, and no other was told that it is in force.
        let open = if request.require_stable {
            let of_groups = request.groups.iter().map(|group| &group.group_id);
            let group_ids = of_groups.chain([&request.group_id]);
            group_ids
                .filter_map(|group_id| self.appends.last_on_offsets_of(group_id, token))
                .max()
        } else {
            None
        };
        // Whether the epoch of a member is the right one is told when that is committed.
        let of_members = request
            .groups
            .iter()
            .filter(|group| group.member_id.is_some());
        let open = of_members
            .filter_map(|group| self.appends.last_on_consumer_group(&group.group_id, token))
            .filter(|under_way| !under_way.is_timed_out)
            .map(|under_way| under_way.token)
            .chain(open)
            .max();
        match open {
            Some(token) => {
                self.appends
                    .defer(token, Deferred::OffsetFetch { waiter, request });
            }
            None => {
                let response = self.fetch(waiter.api_version, &request);
                effects.push(Effect::Reply {
                    waiter: waiter.id,
                    response,
                });
            }
        }
    }

    /// The acknowledged offsets; -1 for what was never committed. A group that does not exist has
    /// none, which is no error.
    fn fetch(&self, api_version: i16, request: &OffsetFetchRequest) -> Response {
        let response = OffsetFetchResponse::default();
        Response::OffsetFetch(if api_version >= BATCH_VERSION {
            let groups = request.groups.iter();
            let groups = groups.map(|group| self.fetch_group(group, request.require_stable));
            response.with_groups(groups.collect())
        } else {
            response.with_topics(self.fetch_single(request))
        })
    }

    fn fetch_group(
        &self,
        request: &OffsetFetchRequestGroup,
        require_stable: bool,
    ) -> OffsetFetchResponseGroup {
        let group_id = request.group_id.as_str();
        let response = OffsetFetchResponseGroup::default().with_group_id(request.group_id.clone());
        if let Some(group) = self.consumer_groups.get(group_id)
            && let Err(error) =
                group.check_fetch(request.member_id.as_deref(), request.member_epoch)
        {
            return response.with_error_code(error.code());
        }
        let unstable = match require_stable {
            true => self.unstable(group_id),
            false => Unstable::new(),
        };
        let topics = match &request.topics {
            Some(topics) => topics
                .iter()
                .map(|topic| self.fetch_topic(group_id, topic, &unstable))
                .collect(),
            None => self.fetch_all(group_id, &unstable),
        };
        response.with_topics(topics)
    }

    fn fetch_topic(
        &self,
        group_id: &str,
        topic: &OffsetFetchRequestTopics,
        unstable: &Unstable<'_>,
    ) -> OffsetFetchResponseTopics {
        let partitions = topic.partition_indexes.iter().map(|partition| {
            if unstable.contains(&(topic.name.as_str(), *partition)) {
                return unstable_response(*partition);
            }
            let offset = self.offsets.get(group_id, &topic.name, *partition);
            let offset = offset.filter(|offset| offset.is_of_topic(topic.topic_id));
            partition_response(*partition, offset)
        });
        OffsetFetchResponseTopics::default()
            .with_name(topic.name.clone())
            .with_topic_id(topic.topic_id)
            .with_partitions(partitions.collect())
    }

    /// As in Kafka, what is only in transactions yet is not named.
    fn fetch_all(&self, group_id: &str, unstable: &Unstable<'_>) -> Vec<OffsetFetchResponseTopics> {
        let topics = self.offsets.group(group_id).into_iter().flatten();
        let topics = topics.map(|(topic, partitions)| {
            let partitions = partitions.iter().map(|(partition, offset)| {
                match unstable.contains(&(&**topic, *partition)) {
                    true => unstable_response(*partition),
                    false => partition_response(*partition, Some(offset)),
                }
            });
            OffsetFetchResponseTopics::default()
                .with_name(wire_topic_name(topic))
                .with_partitions(partitions.collect())
        });
        topics.collect()
    }

    /// Offsets that a transaction may be about to replace. One that is still on its way to the log is here only when its
    /// client waits for it no more, or came later: it may be there all the same.
    fn unstable(&self, group_id: &str) -> Unstable<'_> {
        let pending = self.offsets.pending().keys_of_group(group_id);
        let under_way = self.appends.pending_keys_of(group_id);
        let keys = pending.chain(under_way);
        keys.map(|key| (&*key.topic, key.partition)).collect()
    }

    /// Up to version 7 one group, with types of its own.
    fn fetch_single(&self, request: &OffsetFetchRequest) -> Vec<OffsetFetchResponseTopic> {
        let topics = request.topics.as_ref().map(|topics| {
            let topics = topics.iter().map(|topic| {
                OffsetFetchRequestTopics::default()
                    .with_name(topic.name.clone())
                    .with_partition_indexes(topic.partition_indexes.clone())
            });
            topics.collect()
        });
        let group = OffsetFetchRequestGroup::default()
            .with_group_id(request.group_id.clone())
            .with_topics(topics);
        let group = self.fetch_group(&group, request.require_stable);
        let topics = group.topics.into_iter().map(|topic| {
            let partitions = topic.partitions.into_iter().map(|partition| {
                OffsetFetchResponsePartition::default()
                    .with_partition_index(partition.partition_index)
                    .with_committed_offset(partition.committed_offset)
                    .with_committed_leader_epoch(partition.committed_leader_epoch)
                    .with_metadata(partition.metadata)
                    .with_error_code(partition.error_code)
            });
            OffsetFetchResponseTopic::default()
                .with_name(topic.name)
                .with_partitions(partitions.collect())
        });
        topics.collect()
    }
}

/// Topics and partitions.
type Unstable<'a> = BTreeSet<(&'a str, i32)>;

fn unstable_response(partition: i32) -> OffsetFetchResponsePartitions {
    partition_response(partition, None).with_error_code(ResponseError::UnstableOffsetCommit.code())
}

fn partition_response(
    partition: i32,
    committed: Option<&OffsetAndMetadata>,
) -> OffsetFetchResponsePartitions {
    let response = OffsetFetchResponsePartitions::default().with_partition_index(partition);
    match committed {
        Some(committed) => response
            .with_committed_offset(committed.offset)
            .with_committed_leader_epoch(committed.leader_epoch)
            .with_metadata(Some(wire(&committed.metadata))),
        None => response
            .with_committed_offset(-1)
            .with_committed_leader_epoch(-1)
            .with_metadata(Some(StrBytes::default())),
    }
}
