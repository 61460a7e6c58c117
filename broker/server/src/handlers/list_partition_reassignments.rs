//! ListPartitionReassignments (46, KIP-455): what is under way, of all partitions or of those that are named. What is
//! named and not there, or not moving, is left out.

use foz_metadata::image::{Partition, Topic};
use foz_protocol::error::ErrorCode;
use kafka_protocol::messages::list_partition_reassignments_response::{
    OngoingPartitionReassignment, OngoingTopicReassignment,
};
use kafka_protocol::messages::{
    BrokerId, ListPartitionReassignmentsRequest, ListPartitionReassignmentsResponse, TopicName,
};

use super::text;
use crate::authorizer::{Operation, Resource};
use crate::request::RequestContext;

pub(crate) async fn handle(
    context: RequestContext,
    request: ListPartitionReassignmentsRequest,
) -> ListPartitionReassignmentsResponse {
    if !context.allows(Operation::Describe, &Resource::Cluster) {
        return refused(&request, ErrorCode::ClusterAuthorizationFailed);
    }
    let image = context.broker.image();
    let topics: Vec<_> = match &request.topics {
        None => image
            .topics()
            .filter_map(|topic| ongoing(topic, topic.indexed_partitions()))
            .collect(),
        Some(named) => named
            .iter()
            .filter_map(|named| {
                let topic = image.topic(&named.name)?;
                let indexes = named.partition_indexes.iter();
                let partitions =
                    indexes.filter_map(|index| Some((*index, topic.partition(*index)?)));
                ongoing(topic, partitions)
            })
            .collect(),
    };
    ListPartitionReassignmentsResponse::default().with_topics(topics)
}

/// `None` where nothing moves.
fn ongoing<'a>(
    topic: &Topic,
    partitions: impl Iterator<Item = (i32, &'a Partition)>,
) -> Option<OngoingTopicReassignment> {
    let partitions: Vec<_> = partitions
        .filter(|(_, partition)| partition.is_reassigning())
        .map(|(index, partition)| {
            OngoingPartitionReassignment::default()
                .with_partition_index(index)
                .with_replicas(ids(&partition.replicas))
                .with_adding_replicas(ids(&partition.adding_replicas))
                .with_removing_replicas(ids(&partition.removing_replicas))
        })
        .collect();
    (!partitions.is_empty()).then(|| {
        OngoingTopicReassignment::default()
            .with_name(TopicName(text(&*topic.name)))
            .with_partitions(partitions)
    })
}

/// As Kafka, with the names that were asked for and nothing about them.
fn refused(
    request: &ListPartitionReassignmentsRequest,
    error: ErrorCode,
) -> ListPartitionReassignmentsResponse {
    let topics = request.topics.iter().flatten().map(|topic| {
        let partitions = topic
            .partition_indexes
            .iter()
            .map(|index| OngoingPartitionReassignment::default().with_partition_index(*index));
        OngoingTopicReassignment::default()
            .with_name(topic.name.clone())
            .with_partitions(partitions.collect())
    });
    ListPartitionReassignmentsResponse::default()
        .with_error_code(error.code())
        .with_topics(topics.collect())
}

fn ids(node_ids: &[i32]) -> Vec<BrokerId> {
    node_ids.iter().copied().map(BrokerId).collect()
}
