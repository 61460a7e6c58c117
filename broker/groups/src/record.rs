//! The records of `__consumer_offsets`, byte for byte as Kafka writes them.
//!
//! Written are `OffsetCommitKey` with `OffsetCommitValue` 4 (1 when it carries an expiry time), and
//! `GroupMetadataKey` with `GroupMetadataValue` 3, as Kafka 4.3.1 does. Read are all versions. The records of
//! consumer groups are in `consumer/record.rs`.

mod decode;
mod encode;

use std::sync::Arc;

use foz_records::GroupMetadataValue;

pub(crate) use decode::decode;
pub(crate) use encode::{group_record, group_tombstone, offset_record};

use crate::consumer::ConsumerRecord;
use crate::offsets::OffsetChange;

/// What a record says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Entry {
    Offset(OffsetChange),
    Group {
        group_id: Arc<str>,
        /// A group as it was when its last generation was assigned, or ended empty.
        value: Option<GroupMetadataValue>,
    },
    Consumer {
        group_id: Arc<str>,
        record: ConsumerRecord,
    },
}

#[cfg(test)]
mod tests;
