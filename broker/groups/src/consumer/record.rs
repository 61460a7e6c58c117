mod decode;
mod encode;
mod size;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use super::member::{CurrentAssignment, MemberMetadata};
use super::regex::ResolvedRegex;
use crate::assignor::Partitions;

pub(super) use size::batch_bytes;

/// A record of a consumer group, with what Kafka's schemas of the same names hold; `None` is a tombstone. The
/// group id is known beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConsumerRecord {
    /// `ConsumerGroupMetadata` (key 3)
    Epoch(Option<GroupEpoch>),
    /// `ConsumerGroupMemberMetadata` (key 5)
    Member {
        /// Part of the key.
        member_id: Arc<str>,
        /// The value.
        metadata: Option<MemberMetadata>,
    },
    /// `ConsumerGroupTargetAssignmentMetadata` (key 6)
    TargetEpoch(Option<TargetEpoch>),
    /// `ConsumerGroupTargetAssignmentMember` (key 7)
    Target {
        /// Part of the key.
        member_id: Arc<str>,
        /// The value.
        partitions: Option<Partitions>,
    },
    /// `ConsumerGroupCurrentMemberAssignment` (key 8)
    Current {
        /// Part of the key.
        member_id: Arc<str>,
        /// The value.
        assignment: Option<CurrentAssignment>,
    },
    /// `ConsumerGroupRegularExpression` (key 16)
    Regex {
        /// Part of the key.
        regex: Arc<str>,
        /// The value.
        resolved: Option<ResolvedRegex>,
    },
}

impl ConsumerRecord {
    /// It removes what its key had.
    pub(crate) fn is_tombstone(&self) -> bool {
        match self {
            Self::Epoch(value) => value.is_none(),
            Self::Member { metadata, .. } => metadata.is_none(),
            Self::TargetEpoch(value) => value.is_none(),
            Self::Target { partitions, .. } => partitions.is_none(),
            Self::Current { assignment, .. } => assignment.is_none(),
            Self::Regex { resolved, .. } => resolved.is_none(),
        }
    }
}

/// What the members and topics of a group are counted by.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct GroupEpoch {
    /// From 1.
    pub epoch: i32,
    /// Of the subscribed topics (KIP-1101): when it differs, they have changed.
    pub metadata_hash: u64,
}

/// Which epoch the target assignment is of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TargetEpoch {
    /// 0 where there was none yet.
    pub epoch: i32,
    /// When it was made (wall clock), so that the next one waits its time; 0 when that is not known.
    pub timestamp_ms: i64,
}
