use std::sync::Arc;

use bytes::Bytes;
use foz_records::consumer_group_current_member_assignment_value::TopicPartitions;
use foz_records::consumer_group_member_metadata_value::{ClassicMemberMetadata, ClassicProtocol};
use foz_records::consumer_group_target_assignment_member_value::TopicPartition;
use foz_records::{
    ConsumerGroupCurrentMemberAssignmentKey, ConsumerGroupCurrentMemberAssignmentValue,
    ConsumerGroupMemberMetadataKey, ConsumerGroupMemberMetadataValue, ConsumerGroupMetadataKey,
    ConsumerGroupMetadataValue, ConsumerGroupRegularExpressionKey,
    ConsumerGroupRegularExpressionValue, ConsumerGroupTargetAssignmentMemberKey,
    ConsumerGroupTargetAssignmentMemberValue, ConsumerGroupTargetAssignmentMetadataKey,
    ConsumerGroupTargetAssignmentMetadataValue, CoordinatorKey, Message,
};

use super::{ConsumerRecord, GroupEpoch, TargetEpoch};
use crate::assignor::Partitions;
use crate::consumer::classic::ClassicMember;
use crate::consumer::member::{CurrentAssignment, EpochPartitions, MemberMetadata};
use crate::consumer::regex::ResolvedRegex;
use crate::effect::Record;

/// All values have one version.
const VALUE_VERSION: i16 = 0;

/// Why nothing here fails to be encoded: the values have what their versions have, and requests with
/// strings that are too long are refused, by `validate` of `consumer/validate.rs`.
const FITS: &str = "strings are measured where requests come in";

impl ConsumerRecord {
    /// Its bytes, as Kafka writes them.
    pub fn encode(&self, group_id: &Arc<str>) -> Record {
        let group_id = group_id.clone();
        match self {
            Self::Epoch(epoch) => Record {
                key: key(&ConsumerGroupMetadataKey { group_id }),
                value: epoch.as_ref().map(|epoch| value(&epoch_value(epoch))),
            },
            Self::Member {
                member_id,
                metadata,
            } => Record {
                key: key(&ConsumerGroupMemberMetadataKey {
                    group_id,
                    member_id: member_id.clone(),
                }),
                value: metadata
                    .as_ref()
                    .map(|metadata| value(&metadata_value(metadata))),
            },
            Self::TargetEpoch(epoch) => Record {
                key: key(&ConsumerGroupTargetAssignmentMetadataKey { group_id }),
                value: epoch
                    .as_ref()
                    .map(|epoch| value(&target_epoch_value(epoch))),
            },
            Self::Target {
                member_id,
                partitions,
            } => Record {
                key: key(&ConsumerGroupTargetAssignmentMemberKey {
                    group_id,
                    member_id: member_id.clone(),
                }),
                value: partitions
                    .as_ref()
                    .map(|partitions| value(&target_value(partitions))),
            },
            Self::Current {
                member_id,
                assignment,
            } => Record {
                key: key(&ConsumerGroupCurrentMemberAssignmentKey {
                    group_id,
                    member_id: member_id.clone(),
                }),
                value: assignment
                    .as_ref()
                    .map(|current| value(&current_value(current))),
            },
            Self::Regex { regex, resolved } => Record {
                key: key(&ConsumerGroupRegularExpressionKey {
                    group_id,
                    regular_expression: regex.clone(),
                }),
                value: resolved
                    .as_ref()
                    .map(|resolved| value(&resolved_value(resolved))),
            },
        }
    }
}

fn key(key: &impl CoordinatorKey) -> Bytes {
    key.encode_key().expect(FITS)
}

fn value(value: &impl Message) -> Bytes {
    value.encode_prefixed(VALUE_VERSION).expect(FITS)
}

fn epoch_value(epoch: &GroupEpoch) -> ConsumerGroupMetadataValue {
    ConsumerGroupMetadataValue {
        epoch: epoch.epoch,
        metadata_hash: epoch.metadata_hash.cast_signed(),
    }
}

fn metadata_value(metadata: &MemberMetadata) -> ConsumerGroupMemberMetadataValue {
    ConsumerGroupMemberMetadataValue {
        instance_id: metadata.instance_id.clone(),
        rack_id: metadata.rack_id.clone(),
        client_id: metadata.client_id.clone(),
        client_host: metadata.client_host.clone(),
        subscribed_topic_names: metadata.subscribed_topics.iter().cloned().collect(),
        subscribed_topic_regex: metadata.subscribed_regex.clone(),
        rebalance_timeout_ms: metadata.rebalance_timeout_ms,
        server_assignor: metadata.assignor.map(|assignor| Arc::from(assignor.name())),
        classic_member_metadata: metadata.classic.as_deref().map(classic_value),
    }
}

fn classic_value(classic: &ClassicMember) -> ClassicMemberMetadata {
    let protocols = classic.protocols.iter();
    let protocols = protocols.map(|protocol| ClassicProtocol {
        name: protocol.name.clone(),
        metadata: protocol.metadata.clone(),
    });
    ClassicMemberMetadata {
        session_timeout_ms: classic.session_timeout_ms,
        supported_protocols: protocols.collect(),
    }
}

fn target_epoch_value(epoch: &TargetEpoch) -> ConsumerGroupTargetAssignmentMetadataValue {
    ConsumerGroupTargetAssignmentMetadataValue {
        assignment_epoch: epoch.epoch,
        assignment_timestamp: epoch.timestamp_ms,
    }
}

fn target_value(partitions: &Partitions) -> ConsumerGroupTargetAssignmentMemberValue {
    let topics = partitions
        .iter()
        .map(|(topic_id, partitions)| TopicPartition {
            topic_id: *topic_id,
            partitions: partitions.iter().copied().collect(),
        });
    ConsumerGroupTargetAssignmentMemberValue {
        topic_partitions: topics.collect(),
    }
}

fn current_value(current: &CurrentAssignment) -> ConsumerGroupCurrentMemberAssignmentValue {
    ConsumerGroupCurrentMemberAssignmentValue {
        member_epoch: current.epoch,
        previous_member_epoch: current.previous_epoch,
        state: current.state.code(),
        assigned_partitions: topics_value(&current.assigned),
        partitions_pending_revocation: topics_value(&current.pending_revocation),
    }
}

fn topics_value(partitions: &EpochPartitions) -> Vec<TopicPartitions> {
    let topics = partitions
        .iter()
        .map(|(topic_id, partitions)| TopicPartitions {
            topic_id: *topic_id,
            partitions: partitions.keys().copied().collect(),
            assignment_epochs: Some(partitions.values().copied().collect()),
        });
    topics.collect()
}

fn resolved_value(resolved: &ResolvedRegex) -> ConsumerGroupRegularExpressionValue {
    ConsumerGroupRegularExpressionValue {
        topics: resolved.topics.iter().cloned().collect(),
        version: resolved.version.cast_signed(),
        timestamp: resolved.timestamp_ms,
    }
}
