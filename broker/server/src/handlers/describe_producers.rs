//! DescribeProducers (61, KIP-664): the producers that a replica remembers, so that hanging transactions are found.

use foz_log::ActiveProducer;
use foz_protocol::error::ErrorCode;
use kafka_protocol::messages::describe_producers_request::TopicRequest;
use kafka_protocol::messages::describe_producers_response::{
    PartitionResponse, ProducerState, TopicResponse,
};
use kafka_protocol::messages::{DescribeProducersRequest, DescribeProducersResponse, ProducerId};

use super::text;
use crate::authorizer::{Operation, Resource};
use crate::request::RequestContext;

/// Where there is none.
const NO_OFFSET: i64 = -1;

pub(crate) async fn handle(
    context: RequestContext,
    request: DescribeProducersRequest,
) -> DescribeProducersResponse {
    let topics = request.topics.iter().map(|topic| {
        let described = topic.partition_indexes.iter().map(|index| {
            let producers = describe(&context, topic, *index);
            answer(*index, producers)
        });
        TopicResponse::default()
            .with_name(topic.name.clone())
            .with_partitions(described.collect())
    });
    DescribeProducersResponse::default().with_topics(topics.collect())
}

/// A follower tells of its own log, as in Kafka.
fn describe(
    context: &RequestContext,
    topic: &TopicRequest,
    index: i32,
) -> Result<Vec<ActiveProducer>, ErrorCode> {
    let name: &str = &topic.name;
    if !context.allows(Operation::Read, &Resource::Topic(name)) {
        return Err(ErrorCode::TopicAuthorizationFailed);
    }
    let image = context.broker.image();
    let known = image
        .topic(name)
        .ok_or(ErrorCode::UnknownTopicOrPartition)?;
    let partition = context.broker.partitions.find(known, index)?;
    Ok(partition.active_producers())
}

fn answer(index: i32, producers: Result<Vec<ActiveProducer>, ErrorCode>) -> PartitionResponse {
    let (error, message, producers) = match producers {
        Ok(producers) => (ErrorCode::None, None, producers),
        Err(error) => (error, Some(text(error.message())), Vec::new()),
    };
    let states = producers.iter().map(|it| {
        ProducerState::default()
            .with_producer_id(ProducerId(it.producer_id))
            .with_producer_epoch(i32::from(it.producer_epoch))
            .with_last_sequence(it.last_sequence)
            .with_last_timestamp(it.last_timestamp_ms)
            .with_coordinator_epoch(it.coordinator_epoch)
            .with_current_txn_start_offset(it.current_transaction_first_offset.unwrap_or(NO_OFFSET))
    });
    PartitionResponse::default()
        .with_partition_index(index)
        .with_error_code(error.code())
        .with_error_message(message)
        .with_active_producers(states.collect())
}
