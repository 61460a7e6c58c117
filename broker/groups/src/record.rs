//! The records of `__consumer_offsets`, byte for byte as Kafka writes them.
//!
//! Schemas: `group-coordinator/src/main/resources/common/message/*.json` in Kafka. Written are
//! `OffsetCommitKey` 1, `OffsetCommitValue` 4 (1 when it carries an expiry time),
//! `GroupMetadataKey` 2 and `GroupMetadataValue` 3, as Kafka 4.4 does. Read are all versions up to
//! 4 of the values.

mod decode;
mod encode;

use std::sync::Arc;

use bytes::Bytes;

pub(crate) use decode::decode;
pub(crate) use encode::{group_record, group_tombstone, offset_record};

use crate::offsets::OffsetChange;

/// Longest string the records can hold: its length is an i16.
pub(crate) const STRING_BYTES_MAX: usize = i16::MAX as usize;

/// The tagged field of `OffsetCommitValue` that holds the topic id.
const TOPIC_ID_TAG: u32 = 0;

/// Why a record of `__consumer_offsets` cannot be understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// The bytes end before a field does, or a length is negative.
    #[error("{what} is cut short or has a bad length")]
    Malformed {
        /// Name of the schema.
        what: &'static str,
    },
    /// A string is not UTF-8.
    #[error("{what} has a string that is not UTF-8")]
    NotUtf8 {
        /// Name of the schema.
        what: &'static str,
    },
    /// The value's version is not known; its key's is.
    #[error("{what} has version {version}; known are 0 to {known}")]
    UnknownVersion {
        /// Name of the schema.
        what: &'static str,
        /// As read.
        version: i16,
        /// The highest version that can be read.
        known: i16,
    },
}

/// What a record says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Entry {
    Offset(OffsetChange),
    Group {
        group_id: Arc<str>,
        value: Option<GroupMetadata>,
    },
}

/// `GroupMetadataValue`: a group as it was when its last generation was assigned, or ended empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct GroupMetadata {
    pub(crate) protocol_type: Arc<str>,
    pub(crate) generation: i32,
    pub(crate) protocol: Option<Arc<str>>,
    pub(crate) leader: Option<Arc<str>>,
    /// -1 when unknown.
    pub(crate) current_state_timestamp_ms: i64,
    pub(crate) members: Vec<MemberMetadata>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MemberMetadata {
    pub(crate) member_id: Arc<str>,
    pub(crate) group_instance_id: Option<Arc<str>>,
    pub(crate) client_id: Arc<str>,
    pub(crate) client_host: Arc<str>,
    /// -1 when unknown (version 0).
    pub(crate) rebalance_timeout_ms: i32,
    pub(crate) session_timeout_ms: i32,
    pub(crate) subscription: Bytes,
    pub(crate) assignment: Bytes,
}

#[cfg(test)]
mod tests;
