//! Produce, which the broker reads and writes by hand.

use anyhow::Result;
use bytes::Bytes;
use foz_protocol::error::ErrorCode;
use foz_protocol::frame::decode_response;
use foz_protocol::leader::{LeaderIdAndEpoch, NodeEndpoint};
use foz_protocol::produce::{
    ProducePartition, ProducePartitionResponse, ProduceRequest, ProduceResponse,
    ProduceTopicResponse,
};
use kafka_protocol::messages::TransactionalId;
use kafka_protocol::messages::produce_request::{
    PartitionProduceData, ProduceRequest as TheirRequest, TopicProduceData,
};
use kafka_protocol::messages::produce_response::{
    PartitionProduceResponse, ProduceResponse as TheirResponse,
};

use super::{Head, encode, text, topic_of, topic_ref};

/// Read by the broker; written by `kafka-protocol`, since only clients write it.
pub(super) fn request(head: &Head, body: &Bytes) -> Result<Bytes> {
    let ours = ProduceRequest::parse(head.version, body)?;
    let topics = ours.topics.iter().map(|topic| {
        let (name, id) = topic_of(&topic.topic);
        TopicProduceData::default()
            .with_name(name)
            .with_topic_id(id)
            .with_partition_data(topic.partitions.iter().map(partition).collect())
    });
    let theirs = TheirRequest::default()
        .with_transactional_id(ours.transactional_id.clone().map(TransactionalId))
        .with_acks(ours.acks)
        .with_timeout_ms(ours.timeout_ms)
        .with_topic_data(topics.collect());
    encode(head.version, &theirs)
}

fn partition(ours: &ProducePartition) -> PartitionProduceData {
    PartitionProduceData::default()
        .with_index(ours.index)
        .with_records(ours.records.clone())
}

/// Read by `kafka-protocol`; written by the broker.
pub(super) fn response(head: &Head, body: &Bytes) -> Result<Bytes> {
    let theirs: TheirResponse = decode_response(head.version, body.clone())?;
    let topics = theirs.responses.iter().map(|topic| ProduceTopicResponse {
        topic: topic_ref(&topic.name, topic.topic_id, head.version),
        partitions: topic.partition_responses.iter().map(answered).collect(),
    });
    let endpoints = theirs.node_endpoints.iter().map(|endpoint| NodeEndpoint {
        node_id: endpoint.node_id.0,
        host: endpoint.host.to_string(),
        port: endpoint.port,
        rack: text(endpoint.rack.as_ref()),
    });
    let ours = ProduceResponse {
        topics: topics.collect(),
        throttle_time_ms: theirs.throttle_time_ms,
        node_endpoints: endpoints.collect(),
    };
    Ok(ours.encode(head.version, head.correlation_id))
}

fn answered(theirs: &PartitionProduceResponse) -> ProducePartitionResponse {
    let errors = theirs.record_errors.iter().map(|error| {
        let message = text(error.batch_index_error_message.as_ref());
        (error.batch_index, message)
    });
    let leader = &theirs.current_leader;
    ProducePartitionResponse {
        index: theirs.index,
        error: ErrorCode::from(theirs.error_code),
        base_offset: theirs.base_offset,
        log_append_time_ms: theirs.log_append_time_ms,
        log_start_offset: theirs.log_start_offset,
        record_errors: errors.collect(),
        error_message: text(theirs.error_message.as_ref()),
        current_leader: (*leader != Default::default()).then_some(LeaderIdAndEpoch {
            leader_id: leader.leader_id.0,
            leader_epoch: leader.leader_epoch,
        }),
    }
}
