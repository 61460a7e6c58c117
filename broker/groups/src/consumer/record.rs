mod decode;
mod encode;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use super::member::{CurrentAssignment, MemberMetadata};
use super::regex::ResolvedRegex;
use crate::assignor::Partitions;

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
    /// What it takes in a batch at most, beside the group id.
    pub(super) fn bytes_max(&self) -> usize {
        const RECORD: usize = 64;
        const TOPIC: usize = 40;
        let text = |text: &str| text.len() + 5;
        let body = match self {
            Self::Epoch(_) | Self::TargetEpoch(_) => 16,
            Self::Member {
                member_id,
                metadata,
            } => {
                let of_metadata = metadata.as_ref().map_or(0, |metadata| {
                    let texts = [&metadata.client_id, &metadata.client_host].into_iter();
                    let texts = texts.chain(&metadata.instance_id).chain(&metadata.rack_id);
                    let texts = texts.chain(&metadata.subscribed_topics);
                    let texts = texts.chain(&metadata.subscribed_regex);
                    RECORD + texts.map(|string| text(string)).sum::<usize>()
                });
                text(member_id) + of_metadata
            }
            Self::Target {
                member_id,
                partitions,
            } => {
                let topics = partitions.iter().flatten();
                let topics = topics.map(|(_, partitions)| TOPIC + 4 * partitions.len());
                text(member_id) + topics.sum::<usize>()
            }
            Self::Current {
                member_id,
                assignment,
            } => {
                let maps = assignment
                    .iter()
                    .flat_map(|current| [&current.assigned, &current.pending_revocation]);
                let topics = maps.flatten();
                let topics = topics.map(|(_, partitions)| TOPIC + 8 * partitions.len());
                text(member_id) + topics.sum::<usize>()
            }
            Self::Regex { regex, resolved } => {
                let topics = resolved.iter().flat_map(|resolved| &resolved.topics);
                text(regex) + topics.map(|topic| text(topic)).sum::<usize>()
            }
        };
        RECORD + body
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
