use std::sync::Arc;

use bytes::Bytes;
use foz_records::consumer_group_current_member_assignment_value::TopicPartitions;
use foz_records::consumer_group_member_metadata_value::ClassicMemberMetadata;
use foz_records::{
    ConsumerGroupCurrentMemberAssignmentValue, ConsumerGroupMemberMetadataValue,
    ConsumerGroupMetadataValue, ConsumerGroupRegularExpressionValue,
    ConsumerGroupTargetAssignmentMemberValue, ConsumerGroupTargetAssignmentMetadataValue,
    DecodeError, GroupCoordinatorKey as Key, Message,
};

use super::{ConsumerRecord, GroupEpoch, TargetEpoch};
use crate::assignor::{Assignor, Partitions};
use crate::consumer::classic::ClassicMember;
use crate::consumer::member::{CurrentAssignment, EpochPartitions, MemberMetadata, MemberState};
use crate::consumer::regex::ResolvedRegex;
use crate::member::Protocol;

impl ConsumerRecord {
    /// Reads a record, and the id of its group. `None` for one of another kind.
    pub fn decode(
        key: &[u8],
        value: Option<&[u8]>,
    ) -> Result<Option<(Arc<str>, Self)>, DecodeError> {
        let record = match Key::decode(key)? {
            Some(Key::ConsumerGroupMetadata(key)) => {
                let epoch = value_of(value, |value: ConsumerGroupMetadataValue| GroupEpoch {
                    epoch: value.epoch,
                    metadata_hash: value.metadata_hash.cast_unsigned(),
                })?;
                (key.group_id, Self::Epoch(epoch))
            }
            Some(Key::ConsumerGroupMemberMetadata(key)) => {
                let record = Self::Member {
                    member_id: key.member_id,
                    metadata: value_of(value, metadata)?,
                };
                (key.group_id, record)
            }
            Some(Key::ConsumerGroupTargetAssignmentMetadata(key)) => {
                let target_epoch =
                    |value: ConsumerGroupTargetAssignmentMetadataValue| TargetEpoch {
                        epoch: value.assignment_epoch,
                        timestamp_ms: value.assignment_timestamp,
                    };
                let epoch = value_of(value, target_epoch)?;
                (key.group_id, Self::TargetEpoch(epoch))
            }
            Some(Key::ConsumerGroupTargetAssignmentMember(key)) => {
                let record = Self::Target {
                    member_id: key.member_id,
                    partitions: value_of(value, target)?,
                };
                (key.group_id, record)
            }
            Some(Key::ConsumerGroupCurrentMemberAssignment(key)) => {
                let record = Self::Current {
                    member_id: key.member_id,
                    assignment: value_of(value, current)?,
                };
                (key.group_id, record)
            }
            Some(Key::ConsumerGroupRegularExpression(key)) => {
                let record = Self::Regex {
                    regex: key.regular_expression,
                    resolved: value_of(value, resolved)?,
                };
                (key.group_id, record)
            }
            _ => return Ok(None),
        };
        Ok(Some(record))
    }
}

fn value_of<M: Message, T>(
    value: Option<&[u8]>,
    convert: impl FnOnce(M) -> T,
) -> Result<Option<T>, DecodeError> {
    let value = value.map(M::decode_prefixed).transpose()?;
    Ok(value.map(convert))
}

/// An assignor that is not known here, a Java class of Kafka's, is one that nobody asks for.
fn metadata(value: ConsumerGroupMemberMetadataValue) -> MemberMetadata {
    let assignor = value.server_assignor;
    MemberMetadata {
        instance_id: value.instance_id,
        rack_id: value.rack_id,
        client_id: value.client_id,
        client_host: value.client_host,
        rebalance_timeout_ms: value.rebalance_timeout_ms,
        subscribed_topics: Arc::new(value.subscribed_topic_names.into_iter().collect()),
        subscribed_regex: value
            .subscribed_topic_regex
            .filter(|regex| !regex.is_empty()),
        assignor: assignor.and_then(|name| Assignor::by_name(&name)),
        classic: value
            .classic_member_metadata
            .map(|classic| Arc::new(classic_member(classic))),
    }
}

/// Copied, so that a member does not keep its record alive.
fn classic_member(value: ClassicMemberMetadata) -> ClassicMember {
    let protocols = value.supported_protocols.into_iter();
    let protocols = protocols.map(|protocol| Protocol {
        name: protocol.name,
        metadata: Bytes::copy_from_slice(&protocol.metadata),
    });
    ClassicMember {
        session_timeout_ms: value.session_timeout_ms,
        protocols: protocols.collect(),
    }
}

fn target(value: ConsumerGroupTargetAssignmentMemberValue) -> Partitions {
    let topics = value.topic_partitions.into_iter();
    let topics = topics.filter(|topic| !topic.partitions.is_empty());
    let topics = topics.map(|topic| (topic.topic_id, topic.partitions.into_iter().collect()));
    topics.collect()
}

fn current(value: ConsumerGroupCurrentMemberAssignmentValue) -> CurrentAssignment {
    let epoch = value.member_epoch;
    CurrentAssignment {
        epoch,
        previous_epoch: value.previous_member_epoch,
        state: MemberState::from_code(value.state),
        assigned: partitions(value.assigned_partitions, epoch),
        pending_revocation: partitions(value.partitions_pending_revocation, epoch),
    }
}

/// Kafka before 4.3 writes no epochs of partitions, and later ones take the member's for them.
fn partitions(topics: Vec<TopicPartitions>, member_epoch: i32) -> EpochPartitions {
    let mut partitions = EpochPartitions::new();
    for topic in topics
        .into_iter()
        .filter(|topic| !topic.partitions.is_empty())
    {
        let count = topic.partitions.len();
        let epochs = topic
            .assignment_epochs
            .filter(|epochs| epochs.len() == count);
        let epochs = epochs.unwrap_or_else(|| vec![member_epoch.max(0); count]);
        let of_topic = partitions.entry(topic.topic_id).or_default();
        of_topic.extend(topic.partitions.into_iter().zip(epochs));
    }
    partitions
}

fn resolved(value: ConsumerGroupRegularExpressionValue) -> ResolvedRegex {
    ResolvedRegex {
        topics: value.topics.into_iter().collect(),
        version: value.version.cast_unsigned(),
        timestamp_ms: value.timestamp,
    }
}
