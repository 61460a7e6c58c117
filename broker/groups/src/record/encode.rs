use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use foz_records::group_metadata_value::MemberMetadata;
use foz_records::{
    CoordinatorKey, GroupMetadataKey, GroupMetadataValue, Message, OffsetCommitKey,
    OffsetCommitValue,
};

use crate::effect::Record;
use crate::group::Group;
use crate::offsets::{OffsetAndMetadata, OffsetChange, OffsetKey};

/// The version of `GroupMetadataValue` that Kafka writes, whose older releases do not read 4.
const GROUP_VALUE_VERSION: i16 = 3;

/// Why nothing here fails to be encoded: the values have what their versions have, and requests with
/// strings that are too long are refused, by `validate` of `coordinator/join_group.rs`, and by
/// `validate_commit` and `refuse` of `coordinator/offset_commit.rs`.
const FITS: &str = "strings are measured where requests come in";

/// The record of an offset, or its tombstone.
pub(crate) fn offset_record(change: &OffsetChange) -> Record {
    Record {
        key: offset_key(&change.key),
        value: change.value.as_ref().map(offset_value),
    }
}

/// The record of a group with the given assignments (missing ones are empty).
pub(crate) fn group_record(group: &Group, assignments: &BTreeMap<Arc<str>, Bytes>) -> Record {
    let protocol_name = group.protocol_name.as_deref().unwrap_or("");
    let members = group.members.values().map(|member| MemberMetadata {
        member_id: member.id.clone(),
        group_instance_id: member.instance_id.clone(),
        client_id: member.client_id.clone(),
        client_host: member.client_host.clone(),
        rebalance_timeout: member.rebalance_timeout_ms,
        session_timeout: member.session_timeout_ms,
        subscription: member.metadata(protocol_name),
        assignment: assignments.get(&member.id).cloned().unwrap_or_default(),
    });
    let value = GroupMetadataValue {
        protocol_type: group.protocol_type.clone().unwrap_or_default(),
        generation: group.generation,
        protocol: group.protocol_name.clone(),
        leader: group.leader.clone(),
        current_state_timestamp: group.state_timestamp_ms.unwrap_or(-1),
        members: members.collect(),
    };
    Record {
        key: group_key(&group.id),
        value: Some(value.encode_prefixed(GROUP_VALUE_VERSION).expect(FITS)),
    }
}

/// The tombstone of a group.
pub(crate) fn group_tombstone(group_id: &Arc<str>) -> Record {
    Record {
        key: group_key(group_id),
        value: None,
    }
}

fn offset_value(offset: &OffsetAndMetadata) -> Bytes {
    // Only version 1 has the expiry time; it lacks the leader epoch and the topic id.
    let version = if offset.expire_timestamp_ms.is_some() {
        1
    } else {
        4
    };
    let value = OffsetCommitValue {
        offset: offset.offset,
        leader_epoch: offset.leader_epoch,
        metadata: offset.metadata.clone(),
        commit_timestamp: offset.commit_timestamp_ms,
        expire_timestamp: offset.expire_timestamp_ms.unwrap_or(-1),
        topic_id: offset.topic_id,
    };
    value.encode_prefixed(version).expect(FITS)
}

fn offset_key(key: &OffsetKey) -> Bytes {
    let key = OffsetCommitKey {
        group: key.group_id.clone(),
        topic: key.topic.clone(),
        partition: key.partition,
    };
    key.encode_key().expect(FITS)
}

fn group_key(group_id: &Arc<str>) -> Bytes {
    let group = group_id.clone();
    GroupMetadataKey { group }.encode_key().expect(FITS)
}
