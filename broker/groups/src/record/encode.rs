use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};

use super::{STRING_BYTES_MAX, TOPIC_ID_TAG};
use crate::effect::Record;
use crate::group::Group;
use crate::offsets::{OffsetAndMetadata, OffsetChange, OffsetKey};

/// The record of an offset, or its tombstone.
pub(crate) fn offset_record(change: &OffsetChange) -> Record {
    let value = change.value.as_ref().map(|offset| {
        // Only version 1 has the expiry time; it lacks the leader epoch and the topic id.
        match offset.expire_timestamp_ms {
            Some(expire_timestamp_ms) => offset_value_1(offset, expire_timestamp_ms),
            None => offset_value_4(offset),
        }
    });
    Record {
        key: offset_key(&change.key),
        value,
    }
}

/// The record of a group with the given assignments (missing ones are empty).
pub(crate) fn group_record(group: &Group, assignments: &BTreeMap<Arc<str>, Bytes>) -> Record {
    let mut buf = BytesMut::new();
    buf.put_i16(3);
    put_string(&mut buf, group.protocol_type.as_deref().unwrap_or(""));
    buf.put_i32(group.generation);
    put_nullable_string(&mut buf, group.protocol_name.as_deref());
    put_nullable_string(&mut buf, group.leader.as_deref());
    buf.put_i64(group.state_timestamp_ms.unwrap_or(-1));
    put_length(&mut buf, group.members.len());
    for member in group.members.values() {
        put_string(&mut buf, &member.id);
        put_nullable_string(&mut buf, member.instance_id.as_deref());
        put_string(&mut buf, &member.client_id);
        put_string(&mut buf, &member.client_host);
        buf.put_i32(member.rebalance_timeout_ms);
        buf.put_i32(member.session_timeout_ms);
        put_bytes(
            &mut buf,
            &member.metadata(group.protocol_name.as_deref().unwrap_or("")),
        );
        put_bytes(
            &mut buf,
            assignments.get(&member.id).map_or(&[], |bytes| bytes),
        );
    }
    Record {
        key: group_key(&group.id),
        value: Some(buf.freeze()),
    }
}

/// The tombstone of a group.
pub(crate) fn group_tombstone(group_id: &str) -> Record {
    Record {
        key: group_key(group_id),
        value: None,
    }
}

fn offset_value_1(offset: &OffsetAndMetadata, expire_timestamp_ms: i64) -> Bytes {
    let mut buf = BytesMut::with_capacity(28 + offset.metadata.len());
    buf.put_i16(1);
    buf.put_i64(offset.offset);
    put_string(&mut buf, &offset.metadata);
    buf.put_i64(offset.commit_timestamp_ms);
    buf.put_i64(expire_timestamp_ms);
    buf.freeze()
}

fn offset_value_4(offset: &OffsetAndMetadata) -> Bytes {
    let mut buf = BytesMut::with_capacity(45 + offset.metadata.len());
    buf.put_i16(4);
    buf.put_i64(offset.offset);
    buf.put_i32(offset.leader_epoch);
    put_varint(&mut buf, offset.metadata.len() + 1);
    buf.put_slice(offset.metadata.as_bytes());
    buf.put_i64(offset.commit_timestamp_ms);
    if offset.topic_id.is_nil() {
        put_varint(&mut buf, 0);
    } else {
        put_varint(&mut buf, 1);
        put_varint(&mut buf, TOPIC_ID_TAG as usize);
        put_varint(&mut buf, 16);
        buf.put_slice(offset.topic_id.as_bytes());
    }
    buf.freeze()
}

fn offset_key(key: &OffsetKey) -> Bytes {
    let mut buf = BytesMut::with_capacity(10 + key.group_id.len() + key.topic.len());
    buf.put_i16(1);
    put_string(&mut buf, &key.group_id);
    put_string(&mut buf, &key.topic);
    buf.put_i32(key.partition);
    buf.freeze()
}

fn group_key(group_id: &str) -> Bytes {
    let mut buf = BytesMut::with_capacity(4 + group_id.len());
    buf.put_i16(2);
    put_string(&mut buf, group_id);
    buf.freeze()
}

/// # Panics
/// When the string is longer than [`STRING_BYTES_MAX`]; requests with such strings are refused.
fn put_string(buf: &mut BytesMut, string: &str) {
    assert!(
        string.len() <= STRING_BYTES_MAX,
        "a string of {} bytes in a record",
        string.len()
    );
    buf.put_i16(string.len() as i16);
    buf.put_slice(string.as_bytes());
}

fn put_varint(buf: &mut BytesMut, mut value: usize) {
    while value >= 0x80 {
        buf.put_u8((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    buf.put_u8(value as u8);
}

fn put_nullable_string(buf: &mut BytesMut, string: Option<&str>) {
    match string {
        Some(string) => put_string(buf, string),
        None => buf.put_i16(-1),
    }
}

fn put_bytes(buf: &mut BytesMut, bytes: &[u8]) {
    put_length(buf, bytes.len());
    buf.put_slice(bytes);
}

fn put_length(buf: &mut BytesMut, length: usize) {
    buf.put_i32(i32::try_from(length).expect("a request frame is below 2 GiB"));
}
