//! DescribeQuorum (55, KIP-595, KIP-836, KIP-853): the controllers and who follows them, as the active one sees it. An
//! offset of the metadata's log is the number of its entries up to there.

use foz_api::v1::describe_quorum_response::{Controller, Observer, Replication};
use foz_api::v1::{self as api};
use foz_protocol::error::ErrorCode;
use kafka_protocol::messages::describe_quorum_response::{
    Listener, Node, PartitionData, ReplicaState, TopicData,
};
use kafka_protocol::messages::{
    BrokerId, DescribeQuorumRequest, DescribeQuorumResponse, TopicName,
};
use kafka_protocol::protocol::StrBytes;
use uuid::Uuid;

use super::text;
use crate::admin;
use crate::authorizer::{Operation, Resource};
use crate::request::RequestContext;

const METADATA_TOPIC: &str = "__cluster_metadata";
const METADATA_PARTITION: i32 = 0;
/// Kafka's usual name for the listener of its controllers. Here they listen for the other nodes alone.
const LISTENER: &str = "CONTROLLER";

/// Earlier versions have no times.
const TIMES_FROM: i16 = 1;
/// Earlier versions have neither directories nor addresses nor error messages.
const DIRECTORIES_FROM: i16 = 2;

pub(crate) async fn handle(
    context: RequestContext,
    request: DescribeQuorumRequest,
) -> DescribeQuorumResponse {
    let version = context.version;
    let refused = |error: i16, message: Option<String>| {
        let message = message.filter(|_| version >= DIRECTORIES_FROM);
        DescribeQuorumResponse::default()
            .with_error_code(error)
            .with_error_message(message.map(text))
    };
    if !context.allows(Operation::Describe, &Resource::Cluster) {
        return refused(ErrorCode::ClusterAuthorizationFailed.code(), None);
    }
    if !asks_for_metadata(&request) {
        return unknown_partitions(version, &request);
    }
    match admin::quorum(&context.broker).await {
        Ok(quorum) => described(version, &quorum),
        Err(failed) => refused(failed.error.code(), Some(failed.message)),
    }
}

fn asks_for_metadata(request: &DescribeQuorumRequest) -> bool {
    let [topic] = &request.topics[..] else {
        return false;
    };
    let [partition] = &topic.partitions[..] else {
        return false;
    };
    topic.topic_name.0.as_str() == METADATA_TOPIC && partition.partition_index == METADATA_PARTITION
}

fn unknown_partitions(version: i16, request: &DescribeQuorumRequest) -> DescribeQuorumResponse {
    let error = ErrorCode::UnknownTopicOrPartition;
    let message = (version >= DIRECTORIES_FROM).then(|| text(error.message()));
    let topics = request.topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|partition| {
            PartitionData::default()
                .with_partition_index(partition.partition_index)
                .with_error_code(error.code())
                .with_error_message(message.clone())
        });
        TopicData::default()
            .with_topic_name(topic.topic_name.clone())
            .with_partitions(partitions.collect())
    });
    DescribeQuorumResponse::default().with_topics(topics.collect())
}

fn described(version: i16, quorum: &api::DescribeQuorumResponse) -> DescribeQuorumResponse {
    let controller = |it: &Controller| {
        replica(
            version,
            it.node_id,
            &it.directory_id,
            it.replication.as_ref(),
        )
    };
    let observer = |it: &Observer| {
        replica(
            version,
            it.node_id,
            &it.directory_id,
            it.replication.as_ref(),
        )
    };
    let learners = quorum.learners.iter().map(controller);
    let partition = PartitionData::default()
        .with_partition_index(METADATA_PARTITION)
        .with_leader_id(BrokerId(quorum.active_node_id))
        .with_leader_epoch(i32::try_from(quorum.term).unwrap_or(i32::MAX))
        .with_high_watermark(quorum.committed_entries)
        .with_current_voters(quorum.voters.iter().map(controller).collect())
        .with_observers(
            learners
                .chain(quorum.observers.iter().map(observer))
                .collect(),
        );
    let topic = TopicData::default()
        .with_topic_name(TopicName(StrBytes::from_static_str(METADATA_TOPIC)))
        .with_partitions(vec![partition]);
    let response = DescribeQuorumResponse::default().with_topics(vec![topic]);
    if version < DIRECTORIES_FROM {
        return response;
    }
    let mut nodes: Vec<Node> = quorum.voters.iter().map(node).collect();
    // While a volume takes the place of another, a node votes with both.
    nodes.dedup_by_key(|node| node.node_id);
    response.with_nodes(nodes)
}

fn replica(
    version: i16,
    node_id: i32,
    directory_id: &[u8],
    replication: Option<&Replication>,
) -> ReplicaState {
    let state = ReplicaState::default()
        .with_replica_id(BrokerId(node_id))
        .with_log_end_offset(replication.map_or(-1, |it| it.log_end));
    let state = if version >= TIMES_FROM {
        state
            .with_last_fetch_timestamp(replication.map_or(-1, |it| it.heard_ms))
            .with_last_caught_up_timestamp(replication.map_or(-1, |it| it.caught_up_ms))
    } else {
        state
    };
    if version >= DIRECTORIES_FROM {
        state.with_replica_directory_id(Uuid::from_slice(directory_id).unwrap_or_default())
    } else {
        state
    }
}

fn node(voter: &Controller) -> Node {
    let (host, port) = voter
        .address
        .rsplit_once(':')
        .unwrap_or((&voter.address, ""));
    let listener = Listener::default()
        .with_name(StrBytes::from_static_str(LISTENER))
        .with_host(text(host))
        .with_port(port.parse().unwrap_or_default());
    Node::default()
        .with_node_id(BrokerId(voter.node_id))
        .with_listeners(vec![listener])
}
