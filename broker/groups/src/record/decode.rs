use foz_records::{
    DecodeError, GroupCoordinatorKey, GroupMetadataValue, Message, OffsetCommitValue,
};

use super::Entry;
use crate::consumer::ConsumerRecord;
use crate::offsets::{OffsetAndMetadata, OffsetChange, OffsetKey};

/// Reads a record. `None` for a key of a kind this crate does not keep (share and streams groups have their
/// own): another version may have written it.
pub(crate) fn decode(key: &[u8], value: Option<&[u8]>) -> Result<Option<Entry>, DecodeError> {
    let offset_key = match GroupCoordinatorKey::decode(key)? {
        Some(GroupCoordinatorKey::OffsetCommit(key)) => OffsetKey {
            group_id: key.group,
            topic: key.topic,
            partition: key.partition,
        },
        // Kafka before 0.9 wrote these. The value's versions begin with the one they had.
        Some(GroupCoordinatorKey::LegacyOffsetCommit(key)) => OffsetKey {
            group_id: key.group,
            topic: key.topic,
            partition: key.partition,
        },
        Some(GroupCoordinatorKey::GroupMetadata(key)) => {
            let value = value.map(GroupMetadataValue::decode_prefixed).transpose()?;
            let group_id = key.group;
            return Ok(Some(Entry::Group { group_id, value }));
        }
        _ => {
            let record = ConsumerRecord::decode(key, value)?;
            return Ok(record.map(|(group_id, record)| Entry::Consumer { group_id, record }));
        }
    };
    let value = value.map(OffsetCommitValue::decode_prefixed).transpose()?;
    let value = value.map(offset_of);
    let key = offset_key;
    Ok(Some(Entry::Offset(OffsetChange { key, value })))
}

fn offset_of(value: OffsetCommitValue) -> OffsetAndMetadata {
    let expires = |timestamp_ms: &i64| *timestamp_ms != -1;
    OffsetAndMetadata {
        offset: value.offset,
        leader_epoch: value.leader_epoch,
        metadata: value.metadata,
        commit_timestamp_ms: value.commit_timestamp,
        expire_timestamp_ms: Some(value.expire_timestamp).filter(expires),
        topic_id: value.topic_id,
        place: 0,
    }
}
