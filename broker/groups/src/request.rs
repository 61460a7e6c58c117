use kafka_protocol::messages::{
    ConsumerGroupDescribeRequest, ConsumerGroupHeartbeatRequest, DeleteGroupsRequest,
    DescribeGroupsRequest, HeartbeatRequest, JoinGroupRequest, LeaveGroupRequest,
    ListGroupsRequest, OffsetCommitRequest, OffsetDeleteRequest, OffsetFetchRequest,
    SyncGroupRequest, TxnOffsetCommitRequest,
};
use uuid::Uuid;

use crate::effect::WaiterId;
use crate::transaction::CompleteTransaction;

/// A request of the group APIs, decoded.
#[derive(Debug, Clone, PartialEq)]
pub enum Request {
    /// Versions 0-9.
    JoinGroup(JoinGroupRequest),
    /// Versions 0-5.
    SyncGroup(SyncGroupRequest),
    /// Versions 0-4.
    Heartbeat(HeartbeatRequest),
    /// Versions 0-5.
    LeaveGroup(LeaveGroupRequest),
    /// Versions 2-9. Topics and partitions that do not exist are for the caller to take out and
    /// answer with UNKNOWN_TOPIC_OR_PARTITION. A `topic_id` that the caller fills in is stored, at
    /// any version.
    OffsetCommit(OffsetCommitRequest),
    /// Versions 1-9. Offsets that were stored with another topic id than the one that the caller
    /// fills in (from version 8 on) are not told: they belong to a former topic of that name.
    OffsetFetch(OffsetFetchRequest),
    /// Versions 0-6.
    DescribeGroups(DescribeGroupsRequest),
    /// Versions 0-5.
    ListGroups(ListGroupsRequest),
    /// Versions 0-2.
    DeleteGroups(DeleteGroupsRequest),
    /// Version 0. As with OffsetCommit the caller checks that topics and partitions exist.
    OffsetDelete(OffsetDeleteRequest),
    /// Versions 0-1 (KIP-848). That a regular expression compiles, the caller checks before, and answers
    /// INVALID_REGULAR_EXPRESSION.
    ConsumerGroupHeartbeat(ConsumerGroupHeartbeatRequest),
    /// Versions 0-1.
    ConsumerGroupDescribe(ConsumerGroupDescribeRequest),
    /// Versions 0-5. As with OffsetCommit the caller checks that topics and partitions exist; and that the partition of
    /// this coordinator takes part in the transaction.
    TxnOffsetCommit(TxnOffsetCommitRequest),
    /// A marker for this partition, from WriteTxnMarkers.
    CompleteTransaction(CompleteTransaction),
}

impl Request {
    /// The groups that it names.
    pub(crate) fn group_ids(&self) -> Box<dyn Iterator<Item = &str> + '_> {
        let one = |group_id| Box::new(std::iter::once(group_id));
        match self {
            Self::JoinGroup(request) => one(request.group_id.as_str()),
            Self::SyncGroup(request) => one(request.group_id.as_str()),
            Self::Heartbeat(request) => one(request.group_id.as_str()),
            Self::LeaveGroup(request) => one(request.group_id.as_str()),
            Self::OffsetCommit(request) => one(request.group_id.as_str()),
            Self::OffsetDelete(request) => one(request.group_id.as_str()),
            // Up to version 7 one group, from 8 on a list.
            Self::OffsetFetch(request) => {
                let groups = request.groups.iter().map(|group| group.group_id.as_str());
                Box::new(groups.chain([request.group_id.as_str()]))
            }
            Self::DescribeGroups(request) => {
                Box::new(request.groups.iter().map(|group_id| group_id.as_str()))
            }
            Self::DeleteGroups(request) => {
                let names = request.groups_names.iter();
                Box::new(names.map(|group_id| group_id.as_str()))
            }
            Self::ConsumerGroupHeartbeat(request) => one(request.group_id.as_str()),
            Self::ConsumerGroupDescribe(request) => {
                Box::new(request.group_ids.iter().map(|group_id| group_id.as_str()))
            }
            Self::TxnOffsetCommit(request) => one(request.group_id.as_str()),
            // What is loading it follows in the log.
            Self::ListGroups(_) | Self::CompleteTransaction(_) => Box::new(std::iter::empty()),
        }
    }
}

/// What the coordinator needs to know of a request besides its body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestContext {
    /// Who is to get the reply.
    pub waiter: WaiterId,
    /// The version the request was decoded at.
    pub api_version: i16,
    /// Numbers the connection that the client itself has opened, in the order in which this broker accepted
    /// them, from 1: who forwards requests passes that number on, never the one of its own connection.
    pub connection: u64,
    /// From the request header; empty when null.
    pub client_id: String,
    /// Kafka shows it with a leading slash: `/192.0.2.7`.
    pub client_host: String,
    /// A fresh random number: it becomes part of the member id if the request needs a new one.
    pub member_uuid: Uuid,
}
