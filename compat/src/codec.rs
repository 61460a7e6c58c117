//! Every API's requests and responses, read and written as the broker does it; what only a client reads or writes,
//! by `kafka-protocol`.

mod fetch;
mod produce;

use std::fmt::Debug;

use anyhow::{Context, Result};
use bytes::{Bytes, BytesMut};
use foz_protocol::frame;
use foz_protocol::topic::TopicRef;
use foz_records::Message;
use kafka_protocol::messages::{
    AddOffsetsToTxnRequest, AddPartitionsToTxnRequest, AddRaftVoterRequest,
    AlterClientQuotasRequest, AlterConfigsRequest, AlterPartitionReassignmentsRequest,
    AlterReplicaLogDirsRequest, AlterUserScramCredentialsRequest, ApiKey, ApiVersionsRequest,
    ConsumerGroupDescribeRequest, ConsumerGroupHeartbeatRequest, CreateAclsRequest,
    CreateDelegationTokenRequest, CreatePartitionsRequest, CreateTopicsRequest, DeleteAclsRequest,
    DeleteGroupsRequest, DeleteRecordsRequest, DeleteTopicsRequest, DescribeAclsRequest,
    DescribeClientQuotasRequest, DescribeClusterRequest, DescribeConfigsRequest,
    DescribeDelegationTokenRequest, DescribeGroupsRequest, DescribeProducersRequest,
    DescribeQuorumRequest, DescribeTopicPartitionsRequest, DescribeTransactionsRequest,
    DescribeUserScramCredentialsRequest, ElectLeadersRequest, EndTxnRequest,
    ExpireDelegationTokenRequest, FindCoordinatorRequest, HeartbeatRequest,
    IncrementalAlterConfigsRequest, InitProducerIdRequest, JoinGroupRequest, LeaveGroupRequest,
    ListConfigResourcesRequest, ListGroupsRequest, ListPartitionReassignmentsRequest,
    ListTransactionsRequest, MetadataRequest, OffsetCommitRequest, OffsetDeleteRequest,
    OffsetFetchRequest, OffsetForLeaderEpochRequest, RemoveRaftVoterRequest,
    RenewDelegationTokenRequest, SyncGroupRequest, TopicName, TxnOffsetCommitRequest,
    UnregisterBrokerRequest, UpdateFeaturesRequest,
};
use kafka_protocol::protocol::{Encodable, Request as RequestMessage, StrBytes};
use uuid::Uuid;

use foz_records::describe_log_dirs_request::DescribeLogDirsRequest;
use foz_records::describe_log_dirs_response::DescribeLogDirsResponse;
use foz_records::list_offsets_request::ListOffsetsRequest;
use foz_records::list_offsets_response::ListOffsetsResponse;
use foz_records::write_txn_markers_request::WriteTxnMarkersRequest;
use foz_records::write_txn_markers_response::WriteTxnMarkersResponse;

/// What a frame says besides its body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) key: ApiKey,
    pub(crate) version: i16,
    pub(crate) correlation_id: i32,
}

/// Reads a body, and writes it again: the body of a request, or the response's frame with its length.
type ReadAndWrite = fn(&Head, &Bytes) -> Result<Bytes>;

/// How the messages of one API are read and written.
#[derive(Debug)]
pub(crate) struct Codec {
    pub(crate) key: i16,
    pub(crate) request: ReadAndWrite,
    pub(crate) response: ReadAndWrite,
    /// Whether tagged fields that nobody knows are written again.
    pub(crate) keeps_unknown_tags: bool,
}

/// By key.
pub(crate) const CODECS: &[Codec] = &[
    Codec {
        key: ApiKey::Produce as i16,
        request: produce::request,
        response: produce::response,
        keeps_unknown_tags: false,
    },
    Codec {
        key: ApiKey::Fetch as i16,
        request: fetch::request,
        response: fetch::response,
        keeps_unknown_tags: false,
    },
    ours::<ListOffsetsRequest, ListOffsetsResponse>(ApiKey::ListOffsets),
    theirs::<MetadataRequest>(),
    theirs::<OffsetCommitRequest>(),
    theirs::<OffsetFetchRequest>(),
    theirs::<FindCoordinatorRequest>(),
    theirs::<JoinGroupRequest>(),
    theirs::<HeartbeatRequest>(),
    theirs::<LeaveGroupRequest>(),
    theirs::<SyncGroupRequest>(),
    theirs::<DescribeGroupsRequest>(),
    theirs::<ListGroupsRequest>(),
    theirs::<ApiVersionsRequest>(),
    theirs::<CreateTopicsRequest>(),
    theirs::<DeleteTopicsRequest>(),
    theirs::<DeleteRecordsRequest>(),
    theirs::<InitProducerIdRequest>(),
    theirs::<OffsetForLeaderEpochRequest>(),
    theirs::<AddPartitionsToTxnRequest>(),
    theirs::<AddOffsetsToTxnRequest>(),
    theirs::<EndTxnRequest>(),
    ours::<WriteTxnMarkersRequest, WriteTxnMarkersResponse>(ApiKey::WriteTxnMarkers),
    theirs::<TxnOffsetCommitRequest>(),
    theirs::<DescribeAclsRequest>(),
    theirs::<CreateAclsRequest>(),
    theirs::<DeleteAclsRequest>(),
    theirs::<DescribeConfigsRequest>(),
    theirs::<AlterConfigsRequest>(),
    theirs::<AlterReplicaLogDirsRequest>(),
    ours::<DescribeLogDirsRequest, DescribeLogDirsResponse>(ApiKey::DescribeLogDirs),
    theirs::<CreatePartitionsRequest>(),
    theirs::<CreateDelegationTokenRequest>(),
    theirs::<RenewDelegationTokenRequest>(),
    theirs::<ExpireDelegationTokenRequest>(),
    theirs::<DescribeDelegationTokenRequest>(),
    theirs::<DeleteGroupsRequest>(),
    theirs::<ElectLeadersRequest>(),
    theirs::<IncrementalAlterConfigsRequest>(),
    theirs::<AlterPartitionReassignmentsRequest>(),
    theirs::<ListPartitionReassignmentsRequest>(),
    theirs::<OffsetDeleteRequest>(),
    theirs::<DescribeClientQuotasRequest>(),
    theirs::<AlterClientQuotasRequest>(),
    theirs::<DescribeUserScramCredentialsRequest>(),
    theirs::<AlterUserScramCredentialsRequest>(),
    theirs::<DescribeQuorumRequest>(),
    theirs::<UpdateFeaturesRequest>(),
    theirs::<DescribeClusterRequest>(),
    theirs::<DescribeProducersRequest>(),
    theirs::<UnregisterBrokerRequest>(),
    theirs::<DescribeTransactionsRequest>(),
    theirs::<ListTransactionsRequest>(),
    theirs::<ConsumerGroupHeartbeatRequest>(),
    theirs::<ConsumerGroupDescribeRequest>(),
    theirs::<ListConfigResourcesRequest>(),
    theirs::<DescribeTopicPartitionsRequest>(),
    theirs::<AddRaftVoterRequest>(),
    theirs::<RemoveRaftVoterRequest>(),
];

impl Codec {
    /// The one of this API.
    pub(crate) fn of(key: ApiKey) -> Result<&'static Self> {
        let found = CODECS.iter().find(|codec| codec.key == key as i16);
        found.with_context(|| format!("{key:?} has no row in CODECS"))
    }
}

/// Of `kafka-protocol`: what goes through `Call::answer` of the broker.
const fn theirs<Q>() -> Codec
where
    Q: RequestMessage + Debug,
    Q::Response: Debug,
{
    Codec {
        key: Q::KEY,
        request: |head, body| {
            let message = frame::decode_body::<Q>(head.version, body.clone())?;
            encode(head.version, &message)
        },
        response: |head, body| {
            let message = frame::decode_response::<Q::Response>(head.version, body.clone())?;
            Ok(frame::encode_response(
                head.version,
                head.correlation_id,
                &message,
            )?)
        },
        keeps_unknown_tags: true,
    }
}

/// Of `foz-records`: what goes through `Call::answer_record` of the broker.
const fn ours<Q, A>(key: ApiKey) -> Codec
where
    Q: Message + Debug,
    A: Message + Debug,
{
    Codec {
        key: key as i16,
        request: |head, body| {
            let message = Q::decode(head.version, body)?;
            Ok(message.encode(head.version)?)
        },
        response: |head, body| {
            let message = A::decode(head.version, body)?;
            let body = message.encode(head.version)?;
            Ok(frame::response_of(
                head.key,
                head.version,
                head.correlation_id,
                &body,
            ))
        },
        keeps_unknown_tags: false,
    }
}

fn encode(version: i16, message: &impl Encodable) -> Result<Bytes> {
    let mut out = BytesMut::new();
    message.encode(&mut out, version)?;
    Ok(out.freeze())
}

/// A topic as a request of the hot path names it, in `kafka-protocol`'s two fields.
fn topic_of(topic: &TopicRef) -> (TopicName, Uuid) {
    match topic {
        TopicRef::Name(name) => (TopicName(name.clone()), Uuid::nil()),
        TopicRef::Id(id) => (TopicName::default(), *id),
    }
}

/// The way back. Ids come with version 13 of both Produce and Fetch.
fn topic_ref(name: &TopicName, id: Uuid, version: i16) -> TopicRef {
    if version >= 13 {
        TopicRef::Id(id)
    } else {
        TopicRef::Name(name.0.clone())
    }
}

fn text(text: Option<&StrBytes>) -> Option<String> {
    text.map(ToString::to_string)
}
