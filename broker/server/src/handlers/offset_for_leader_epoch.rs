//! OffsetForLeaderEpoch (23, KIP-101, KIP-320): where an epoch ended, so that a consumer finds out
//! whether what it read is still there.

use foz_protocol::error::ErrorCode;
use kafka_protocol::messages::offset_for_leader_epoch_request::OffsetForLeaderPartition;
use kafka_protocol::messages::offset_for_leader_epoch_response::{
    EpochEndOffset, OffsetForLeaderTopicResult,
};
use kafka_protocol::messages::{OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse};

use crate::authorizer::{Operation, Resource};
use crate::request::RequestContext;

pub(crate) async fn handle(
    context: RequestContext,
    request: OffsetForLeaderEpochRequest,
) -> OffsetForLeaderEpochResponse {
    let topics = request
        .topics
        .iter()
        .map(|topic| {
            let name = topic.topic.as_str();
            let partitions = topic
                .partitions
                .iter()
                .map(|wanted| answer(wanted.partition, end_of_epoch(&context, name, wanted)))
                .collect();
            OffsetForLeaderTopicResult::default()
                .with_topic(topic.topic.clone())
                .with_partitions(partitions)
        })
        .collect();
    OffsetForLeaderEpochResponse::default().with_topics(topics)
}

fn end_of_epoch(
    context: &RequestContext,
    topic: &str,
    wanted: &OffsetForLeaderPartition,
) -> Result<(i32, i64), ErrorCode> {
    if !context.allows(Operation::Describe, &Resource::Topic(topic)) {
        return Err(ErrorCode::TopicAuthorizationFailed);
    }
    let image = context.broker.image();
    let topic = image
        .topic(topic)
        .ok_or(ErrorCode::UnknownTopicOrPartition)?;
    context
        .broker
        .partitions
        .find(topic, wanted.partition)?
        .end_of_epoch(wanted.leader_epoch, wanted.current_leader_epoch)
}

fn answer(partition: i32, found: Result<(i32, i64), ErrorCode>) -> EpochEndOffset {
    let (error, (epoch, end_offset)) = match found {
        Ok(found) => (ErrorCode::None, found),
        Err(error) => (error, (-1, -1)),
    };
    EpochEndOffset::default()
        .with_error_code(error.code())
        .with_partition(partition)
        .with_leader_epoch(epoch)
        .with_end_offset(end_offset)
}
