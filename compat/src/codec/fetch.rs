//! Fetch, which the broker reads and writes by hand.

use anyhow::Result;
use bytes::Bytes;
use foz_protocol::error::ErrorCode;
use foz_protocol::fetch::{
    AbortedTransaction, EpochEndOffset, FetchPartition, FetchPartitionResponse, FetchRequest,
    FetchResponse, FetchTopicResponse, IsolationLevel,
};
use foz_protocol::frame::decode_response;
use foz_protocol::leader::{LeaderIdAndEpoch, NodeEndpoint};
use kafka_protocol::messages::BrokerId;
use kafka_protocol::messages::fetch_request::{
    FetchPartition as TheirPartition, FetchRequest as TheirRequest, FetchTopic, ForgottenTopic,
    ReplicaState,
};
use kafka_protocol::messages::fetch_response::{FetchResponse as TheirResponse, PartitionData};

use super::{Head, encode, text, topic_of, topic_ref};

/// Where the replica stands in a tagged field of its own (KIP-903).
const REPLICA_STATE_FROM: i16 = 15;

/// Read by the broker; written by `kafka-protocol`, as followers do.
pub(super) fn request(head: &Head, body: &Bytes) -> Result<Bytes> {
    let ours = FetchRequest::parse(head.version, body)?;
    let topics = ours.topics.iter().map(|topic| {
        let (name, id) = topic_of(&topic.topic);
        FetchTopic::default()
            .with_topic(name)
            .with_topic_id(id)
            .with_partitions(topic.partitions.iter().map(partition).collect())
    });
    let forgotten = ours.forgotten_topics.iter().map(|topic| {
        let (name, id) = topic_of(&topic.topic);
        ForgottenTopic::default()
            .with_topic(name)
            .with_topic_id(id)
            .with_partitions(topic.partitions.clone())
    });
    let committed = ours.isolation_level == IsolationLevel::ReadCommitted;
    let theirs = TheirRequest::default()
        .with_max_wait_ms(ours.max_wait_ms)
        .with_min_bytes(ours.min_bytes)
        .with_max_bytes(ours.max_bytes)
        .with_isolation_level(i8::from(committed))
        .with_session_id(ours.session_id)
        .with_session_epoch(ours.session_epoch)
        .with_topics(topics.collect())
        .with_forgotten_topics_data(forgotten.collect())
        .with_rack_id(ours.rack_id.clone())
        .with_cluster_id(ours.cluster_id.clone());
    let theirs = if head.version < REPLICA_STATE_FROM {
        theirs.with_replica_id(BrokerId(ours.replica_id))
    } else {
        let state = ReplicaState::default()
            .with_replica_id(BrokerId(ours.replica_id))
            .with_replica_epoch(ours.replica_epoch);
        theirs.with_replica_state(state)
    };
    encode(head.version, &theirs)
}

fn partition(ours: &FetchPartition) -> TheirPartition {
    TheirPartition::default()
        .with_partition(ours.partition)
        .with_current_leader_epoch(ours.current_leader_epoch)
        .with_fetch_offset(ours.fetch_offset)
        .with_last_fetched_epoch(ours.last_fetched_epoch)
        .with_log_start_offset(ours.log_start_offset)
        .with_partition_max_bytes(ours.partition_max_bytes)
        .with_replica_directory_id(ours.replica_directory_id)
        .with_high_watermark(ours.high_watermark)
}

/// Read by `kafka-protocol`, as followers do; written by the broker.
pub(super) fn response(head: &Head, body: &Bytes) -> Result<Bytes> {
    let theirs: TheirResponse = decode_response(head.version, body.clone())?;
    let topics = theirs.responses.iter().map(|topic| FetchTopicResponse {
        topic: topic_ref(&topic.topic, topic.topic_id, head.version),
        partitions: topic.partitions.iter().map(answered).collect(),
    });
    let endpoints = theirs.node_endpoints.iter().map(|endpoint| NodeEndpoint {
        node_id: endpoint.node_id.0,
        host: endpoint.host.to_string(),
        port: endpoint.port,
        rack: text(endpoint.rack.as_ref()),
    });
    let ours = FetchResponse {
        throttle_time_ms: theirs.throttle_time_ms,
        error: ErrorCode::from(theirs.error_code),
        session_id: theirs.session_id,
        topics: topics.collect(),
        node_endpoints: endpoints.collect(),
    };
    let frame = ours.encode(head.version, head.correlation_id).concat();
    Ok(Bytes::from(frame))
}

fn answered(theirs: &PartitionData) -> FetchPartitionResponse {
    let epoch = &theirs.diverging_epoch;
    let leader = &theirs.current_leader;
    let aborted = theirs.aborted_transactions.as_ref().map(|aborted| {
        let aborted = aborted.iter().map(|aborted| AbortedTransaction {
            producer_id: aborted.producer_id.0,
            first_offset: aborted.first_offset,
        });
        aborted.collect()
    });
    FetchPartitionResponse {
        partition: theirs.partition_index,
        error: ErrorCode::from(theirs.error_code),
        high_watermark: theirs.high_watermark,
        last_stable_offset: theirs.last_stable_offset,
        log_start_offset: theirs.log_start_offset,
        diverging_epoch: (*epoch != Default::default()).then_some(EpochEndOffset {
            epoch: epoch.epoch,
            end_offset: epoch.end_offset,
        }),
        current_leader: (*leader != Default::default()).then_some(LeaderIdAndEpoch {
            leader_id: leader.leader_id.0,
            leader_epoch: leader.leader_epoch,
        }),
        aborted_transactions: aborted,
        preferred_read_replica: theirs.preferred_read_replica.0,
        records: theirs.records.iter().cloned().collect(),
    }
}
