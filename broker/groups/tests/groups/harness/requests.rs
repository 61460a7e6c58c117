//! What members send, most of it for one group.

use bytes::Bytes;
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use kafka_protocol::messages::*;
use kafka_protocol::protocol::StrBytes;

pub(crate) const GROUP: &str = "group";

pub(crate) fn text(string: &str) -> StrBytes {
    StrBytes::from_string(string.to_owned())
}

pub(crate) fn group_id(string: &str) -> GroupId {
    GroupId(text(string))
}

/// ConsumerProtocolSubscription 0 with one topic and no user data.
pub(crate) fn subscription(topic: &str) -> Bytes {
    let mut bytes = vec![0, 0, 0, 0, 0, 1, 0, topic.len() as u8];
    bytes.extend(topic.as_bytes());
    bytes.extend([0xff; 4]);
    Bytes::from(bytes)
}

pub(crate) fn join_request(member_id: &str) -> JoinGroupRequest {
    JoinGroupRequest::default()
        .with_group_id(group_id(GROUP))
        .with_session_timeout_ms(10_000)
        .with_rebalance_timeout_ms(60_000)
        .with_member_id(text(member_id))
        .with_protocol_type(text("consumer"))
        .with_protocols(protocols(&["range"]))
}

pub(crate) fn protocols(names: &[&str]) -> Vec<JoinGroupRequestProtocol> {
    let protocols = names.iter().map(|name| {
        JoinGroupRequestProtocol::default()
            .with_name(text(name))
            .with_metadata(subscription("orders"))
    });
    protocols.collect()
}

pub(crate) fn sync_request(
    member_id: &str,
    generation: i32,
    assigned: &[(&str, &str)],
) -> SyncGroupRequest {
    let assignments = assigned.iter().map(|(member_id, assignment)| {
        SyncGroupRequestAssignment::default()
            .with_member_id(text(member_id))
            .with_assignment(Bytes::from(assignment.as_bytes().to_vec()))
    });
    SyncGroupRequest::default()
        .with_group_id(group_id(GROUP))
        .with_generation_id(generation)
        .with_member_id(text(member_id))
        .with_protocol_type(Some(text("consumer")))
        .with_protocol_name(Some(text("range")))
        .with_assignments(assignments.collect())
}

pub(crate) fn heartbeat_request(member_id: &str, generation: i32) -> HeartbeatRequest {
    HeartbeatRequest::default()
        .with_group_id(group_id(GROUP))
        .with_member_id(text(member_id))
        .with_generation_id(generation)
}

pub(crate) fn leave_request(member_ids: &[&str]) -> LeaveGroupRequest {
    let members = member_ids
        .iter()
        .map(|id| MemberIdentity::default().with_member_id(text(id)));
    LeaveGroupRequest::default()
        .with_group_id(group_id(GROUP))
        .with_members(members.collect())
}

/// Commits `offset` with `metadata` for partition 0 of `topic`.
pub(crate) fn commit_request(
    member_id: &str,
    generation: i32,
    topic: &str,
    offset: i64,
) -> OffsetCommitRequest {
    let partition = OffsetCommitRequestPartition::default()
        .with_partition_index(0)
        .with_committed_offset(offset)
        .with_committed_leader_epoch(4)
        .with_committed_metadata(Some(text("metadata")));
    let topic = OffsetCommitRequestTopic::default()
        .with_name(TopicName(text(topic)))
        .with_partitions(vec![partition]);
    OffsetCommitRequest::default()
        .with_group_id(group_id(GROUP))
        .with_generation_id_or_member_epoch(generation)
        .with_member_id(text(member_id))
        .with_topics(vec![topic])
}
