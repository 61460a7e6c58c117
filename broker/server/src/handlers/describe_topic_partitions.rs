//! DescribeTopicPartitions (75, KIP-966): topics in pages, with their eligible leader replicas.

use foz_metadata::image::{Partition, Topic};
use foz_metadata::{Image, topic_name};
use foz_protocol::error::ErrorCode;
use kafka_protocol::messages::describe_topic_partitions_response::{
    Cursor, DescribeTopicPartitionsResponsePartition, DescribeTopicPartitionsResponseTopic,
};
use kafka_protocol::messages::{
    DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse, TopicName,
};

use super::{authorized_operations, text, topic_view};
use crate::authorizer::{Operation, Resource};
use crate::request::RequestContext;

/// `max.request.partition.size.limit` of Kafka.
const PARTITIONS_MAX: usize = 2000;

pub(crate) async fn handle(
    context: RequestContext,
    request: DescribeTopicPartitionsRequest,
) -> DescribeTopicPartitionsResponse {
    if let Some(error) = cursor_error(&request) {
        return refused(&request, error);
    }
    let image = context.broker.image();
    let mut names: Vec<String> = if request.topics.is_empty() {
        image.topics().map(|topic| topic.name.to_string()).collect()
    } else {
        request
            .topics
            .iter()
            .map(|topic| topic.name.to_string())
            .collect()
    };
    names.sort();
    names.dedup();
    let start = match &request.cursor {
        Some(cursor) => (cursor.topic_name.to_string(), cursor.partition_index),
        None => (String::new(), 0),
    };
    let limit = usize::try_from(request.response_partition_limit)
        .unwrap_or(0)
        .clamp(1, PARTITIONS_MAX);
    let mut page = Page {
        image: &image,
        context: &context,
        room: limit,
        topics: Vec::new(),
    };
    let mut next = None;
    for name in names.iter().filter(|name| **name >= start.0) {
        let first = if *name == start.0 { start.1 } else { 0 };
        if let Some(stopped_at) = page.add(name, first, request.topics.is_empty()) {
            next = Some((name.clone(), stopped_at));
            break;
        }
    }
    DescribeTopicPartitionsResponse::default()
        .with_topics(page.topics)
        .with_next_cursor(next.map(|(name, partition)| {
            Cursor::default()
                .with_topic_name(TopicName(text(name)))
                .with_partition_index(partition)
        }))
}

/// What is wrong with where the page begins. A topic that is not among those that are named would end in a page without
/// any, as if all had been told.
fn cursor_error(request: &DescribeTopicPartitionsRequest) -> Option<ErrorCode> {
    let cursor = request.cursor.as_ref()?;
    let mut named = request.topics.iter();
    let is_named = request.topics.is_empty() || named.any(|it| it.name == cursor.topic_name);
    (!is_named || cursor.partition_index < 0).then_some(ErrorCode::InvalidRequest)
}

/// The response has no place for an error but its topics: as in Kafka, it is empty where none is named.
fn refused(
    request: &DescribeTopicPartitionsRequest,
    error: ErrorCode,
) -> DescribeTopicPartitionsResponse {
    let topics = request.topics.iter();
    let topics = topics.map(|topic| failed(&topic.name, error)).collect();
    DescribeTopicPartitionsResponse::default().with_topics(topics)
}

fn failed(name: &str, error: ErrorCode) -> DescribeTopicPartitionsResponseTopic {
    DescribeTopicPartitionsResponseTopic::default()
        .with_error_code(error.code())
        .with_name(Some(TopicName(text(name))))
        .with_topic_authorized_operations(authorized_operations::NOT_ASKED)
}

struct Page<'a> {
    image: &'a Image,
    context: &'a RequestContext,
    room: usize,
    topics: Vec<DescribeTopicPartitionsResponseTopic>,
}

impl Page<'_> {
    /// Adds a topic from partition `first`; `Some` is the partition at which the page was full.
    fn add(&mut self, name: &str, first: i32, all_topics: bool) -> Option<i32> {
        if self.room == 0 {
            return Some(first);
        }
        if !self
            .context
            .allows(Operation::Describe, &Resource::Topic(name))
        {
            // Without a list, what may not be seen is not named either.
            if !all_topics {
                self.topics
                    .push(failed(name, ErrorCode::TopicAuthorizationFailed));
            }
            return None;
        }
        let Some(topic) = self.image.topic(name) else {
            let error = match topic_name::validate(name) {
                Ok(()) => ErrorCode::UnknownTopicOrPartition,
                Err(_) => ErrorCode::InvalidTopicException,
            };
            self.topics.push(failed(name, error));
            return None;
        };
        let from = usize::try_from(first).unwrap_or(0);
        let taken: Vec<_> = topic
            .indexed_partitions()
            .skip(from)
            .take(self.room)
            .map(|(index, partition)| self.partition(index, partition))
            .collect();
        self.room -= taken.len();
        let reached = from + taken.len();
        self.topics.push(self.topic(topic, taken));
        (reached < topic.partitions.len()).then_some(reached as i32)
    }

    fn topic(
        &self,
        topic: &Topic,
        partitions: Vec<DescribeTopicPartitionsResponsePartition>,
    ) -> DescribeTopicPartitionsResponseTopic {
        DescribeTopicPartitionsResponseTopic::default()
            .with_name(Some(TopicName(text(&*topic.name))))
            .with_topic_id(topic.id)
            .with_is_internal(topic.internal)
            .with_partitions(partitions)
            .with_topic_authorized_operations(authorized_operations::bits(
                self.context,
                &Resource::Topic(&topic.name),
                true,
            ))
    }

    fn partition(
        &self,
        index: i32,
        partition: &Partition,
    ) -> DescribeTopicPartitionsResponsePartition {
        let ids = |ids: &[i32]| topic_view::broker_ids(ids.iter().copied());
        // Without a leader too there is no error here, as in Kafka: the leader says it all.
        DescribeTopicPartitionsResponsePartition::default()
            .with_partition_index(index)
            .with_leader_id(topic_view::leader(self.image, partition))
            .with_leader_epoch(partition.leader_epoch)
            .with_replica_nodes(ids(&partition.replicas))
            .with_isr_nodes(ids(&partition.isr))
            .with_eligible_leader_replicas(Some(ids(&partition.elr)))
            .with_last_known_elr(Some(ids(&partition.last_known_elr)))
            .with_offline_replicas(topic_view::offline_replicas(self.image, partition))
    }
}

#[cfg(test)]
mod tests {
    use kafka_protocol::messages::describe_topic_partitions_request::{
        Cursor as RequestCursor, TopicRequest,
    };

    use super::*;

    #[test]
    fn a_page_begins_at_a_topic_that_is_named_and_a_partition_that_can_be() {
        let invalid = Some(ErrorCode::InvalidRequest);
        for (names, cursor, expected) in [
            (&["a", "b"][..], None, None),
            (&["a", "b"], Some(("b", 0)), None),
            (&["a", "b"], Some(("b", 99)), None),
            (&["a", "b"], Some(("b", -1)), invalid),
            (&["a", "b"], Some(("z", 0)), invalid),
            (&["a", "c"], Some(("b", 0)), invalid),
            (&[], Some(("z", 0)), None),
            (&[], Some(("z", -1)), invalid),
        ] {
            let name = |name: &str| TopicName(text(name));
            let topics = names.iter();
            let topics = topics.map(|it| TopicRequest::default().with_name(name(it)));
            let from = cursor.map(|(topic, partition)| {
                RequestCursor::default()
                    .with_topic_name(name(topic))
                    .with_partition_index(partition)
            });
            let request = DescribeTopicPartitionsRequest::default()
                .with_topics(topics.collect())
                .with_cursor(from);
            assert_eq!(cursor_error(&request), expected, "{names:?} {cursor:?}");
            let told = refused(&request, ErrorCode::InvalidRequest).topics;
            let told = told.iter().filter_map(|it| it.name.as_ref());
            let told: Vec<&str> = told.map(|name| name.as_str()).collect();
            assert_eq!(told, names);
        }
    }
}
