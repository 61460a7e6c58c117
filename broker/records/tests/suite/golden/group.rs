use bytes::Bytes;
use foz_records::*;
use uuid::Uuid;

use super::{Case, ID, key, prefixed};
use consumer_group_current_member_assignment_value::TopicPartitions;
use consumer_group_member_metadata_value::{ClassicMemberMetadata, ClassicProtocol};
use consumer_group_partition_metadata_value::{PartitionMetadata, TopicMetadata};
use consumer_group_target_assignment_member_value::TopicPartition;
use group_metadata_value::MemberMetadata;

pub(super) fn cases() -> Vec<Case> {
    let mut cases = vec![key(
        "LegacyOffsetCommitKey",
        LegacyOffsetCommitKey {
            group: "g".into(),
            topic: "orders".into(),
            partition: 7,
        },
    )];
    for v in 0..=4 {
        cases.push(prefixed("OffsetCommitValue full", v, offset(v)));
        let empty = OffsetCommitValue::default();
        cases.push(prefixed("OffsetCommitValue empty", v, empty));
        cases.push(prefixed("GroupMetadataValue full", v, classic_group(v)));
        let empty = GroupMetadataValue {
            protocol: None,
            leader: None,
            ..Default::default()
        };
        cases.push(prefixed("GroupMetadataValue empty", v, empty));
    }
    cases.extend([
        key("key of offset", offset_key()),
        prefixed("offset", 4, offset(4)),
        key("key of expiring offset", offset_key()),
        prefixed("expiring offset", 1, offset(1)),
        key("key of classic group", group_key()),
        prefixed("classic group", 3, classic_group(3)),
        key("key of empty classic group", group_key()),
        prefixed("empty classic group", 3, empty_classic_group()),
        key("key of classic group tombstone", group_key()),
    ]);
    cases.extend(consumer_groups());
    cases
}

fn consumer_groups() -> Vec<Case> {
    let metadata_key = || ConsumerGroupMetadataKey {
        group_id: "g".into(),
    };
    let epoch = |metadata_hash| ConsumerGroupMetadataValue {
        epoch: 10,
        metadata_hash,
    };
    let member_key = || ConsumerGroupMemberMetadataKey {
        group_id: "g".into(),
        member_id: "m-1".into(),
    };
    let target_epoch_key = || ConsumerGroupTargetAssignmentMetadataKey {
        group_id: "g".into(),
    };
    let target_epoch = |assignment_timestamp| ConsumerGroupTargetAssignmentMetadataValue {
        assignment_epoch: 10,
        assignment_timestamp,
    };
    let target_key = ConsumerGroupTargetAssignmentMemberKey {
        group_id: "g".into(),
        member_id: "m-1".into(),
    };
    let target = ConsumerGroupTargetAssignmentMemberValue {
        topic_partitions: vec![TopicPartition {
            topic_id: ID,
            partitions: vec![0, 5],
        }],
    };
    let current_key = || ConsumerGroupCurrentMemberAssignmentKey {
        group_id: "g".into(),
        member_id: "m-1".into(),
    };
    let regex_key = ConsumerGroupRegularExpressionKey {
        group_id: "g".into(),
        regular_expression: "o.*".into(),
    };
    let regex = ConsumerGroupRegularExpressionValue {
        topics: vec!["orders".into()],
        version: 99,
        timestamp: 1_700_000_000_123,
    };
    let old_key = ConsumerGroupPartitionMetadataKey {
        group_id: "g".into(),
    };
    vec![
        key("key of consumer group epoch", metadata_key()),
        prefixed("consumer group epoch", 0, epoch(-12_345_678_901)),
        key("key of consumer group epoch without hash", metadata_key()),
        prefixed("consumer group epoch without hash", 0, epoch(0)),
        key("key of member", member_key()),
        prefixed("member", 0, member()),
        key("key of classic member", member_key()),
        prefixed("classic member", 0, classic_member()),
        prefixed(
            "member of nothing",
            0,
            ConsumerGroupMemberMetadataValue::default(),
        ),
        key("key of target epoch", target_epoch_key()),
        prefixed("target epoch", 0, target_epoch(1_700_000_000_123)),
        key("key of target epoch without time", target_epoch_key()),
        prefixed("target epoch without time", 0, target_epoch(0)),
        key("key of target", target_key),
        prefixed("target", 0, target),
        key("key of current", current_key()),
        prefixed("current", 0, current()),
        key("key of no current", current_key()),
        prefixed("no current", 0, no_current()),
        prefixed("current without epochs", 0, current_without_epochs()),
        key("key of regex", regex_key),
        prefixed("regex", 0, regex),
        key("key of old metadata tombstone", old_key),
        prefixed(
            "ConsumerGroupPartitionMetadataValue full",
            0,
            old_metadata(),
        ),
    ]
}

fn offset_key() -> OffsetCommitKey {
    OffsetCommitKey {
        group: "g".into(),
        topic: "orders".into(),
        partition: 7,
    }
}

fn offset(v: i16) -> OffsetCommitValue {
    OffsetCommitValue {
        offset: 42,
        leader_epoch: if v >= 3 { 5 } else { -1 },
        metadata: "mé".into(),
        commit_timestamp: 1_700_000_000_123,
        expire_timestamp: if v == 1 { 1_700_000_009_999 } else { -1 },
        topic_id: if v >= 4 { ID } else { Uuid::nil() },
    }
}

fn group_key() -> GroupMetadataKey {
    GroupMetadataKey { group: "g".into() }
}

fn empty_classic_group() -> GroupMetadataValue {
    GroupMetadataValue {
        protocol_type: "consumer".into(),
        generation: 4,
        protocol: None,
        leader: None,
        current_state_timestamp: -1,
        members: vec![],
    }
}

fn classic_group(v: i16) -> GroupMetadataValue {
    GroupMetadataValue {
        protocol_type: "consumer".into(),
        generation: 3,
        protocol: Some("range".into()),
        leader: Some("m-1".into()),
        current_state_timestamp: if v >= 2 { 1_700_000_000_500 } else { -1 },
        members: vec![MemberMetadata {
            member_id: "m-1".into(),
            group_instance_id: (v >= 3).then(|| "i-1".into()),
            client_id: "c".into(),
            client_host: "/10.0.0.2".into(),
            rebalance_timeout: if v >= 1 { 300_000 } else { -1 },
            session_timeout: 45_000,
            subscription: Bytes::from_static(&[1, 2, 3]),
            assignment: Bytes::from_static(&[9]),
        }],
    }
}

fn member() -> ConsumerGroupMemberMetadataValue {
    ConsumerGroupMemberMetadataValue {
        instance_id: Some("i-1".into()),
        rack_id: Some("rack-1".into()),
        client_id: "c".into(),
        client_host: "/10.0.0.2".into(),
        subscribed_topic_names: vec!["orders".into(), "péages".into()],
        subscribed_topic_regex: Some("o.*".into()),
        rebalance_timeout_ms: 300_000,
        server_assignor: Some("uniform".into()),
        classic_member_metadata: None,
    }
}

fn classic_member() -> ConsumerGroupMemberMetadataValue {
    ConsumerGroupMemberMetadataValue {
        instance_id: None,
        rack_id: None,
        subscribed_topic_names: vec!["orders".into()],
        // Kafka has the empty one for none.
        subscribed_topic_regex: Some("".into()),
        server_assignor: None,
        classic_member_metadata: Some(ClassicMemberMetadata {
            session_timeout_ms: 45_000,
            supported_protocols: vec![ClassicProtocol {
                name: "range".into(),
                metadata: Bytes::from_static(&[1, 2]),
            }],
        }),
        ..member()
    }
}

fn current() -> ConsumerGroupCurrentMemberAssignmentValue {
    ConsumerGroupCurrentMemberAssignmentValue {
        member_epoch: 8,
        previous_member_epoch: 7,
        state: 1,
        assigned_partitions: vec![TopicPartitions {
            topic_id: ID,
            partitions: vec![0, 5],
            assignment_epochs: Some(vec![4, 8]),
        }],
        partitions_pending_revocation: vec![TopicPartitions {
            topic_id: ID,
            partitions: vec![9],
            assignment_epochs: Some(vec![3]),
        }],
    }
}

fn no_current() -> ConsumerGroupCurrentMemberAssignmentValue {
    ConsumerGroupCurrentMemberAssignmentValue {
        member_epoch: 1,
        previous_member_epoch: -1,
        ..Default::default()
    }
}

fn current_without_epochs() -> ConsumerGroupCurrentMemberAssignmentValue {
    let of = |partition, assignment_epochs| TopicPartitions {
        topic_id: ID,
        partitions: vec![partition],
        assignment_epochs,
    };
    ConsumerGroupCurrentMemberAssignmentValue {
        member_epoch: 1,
        // Not to be there is to be empty, and null is written: the schema's default is no "null".
        assigned_partitions: vec![of(1, Some(vec![])), of(2, None)],
        ..Default::default()
    }
}

fn old_metadata() -> ConsumerGroupPartitionMetadataValue {
    ConsumerGroupPartitionMetadataValue {
        topics: vec![TopicMetadata {
            topic_id: ID,
            topic_name: "orders".into(),
            num_partitions: 2,
            partition_metadata: vec![PartitionMetadata {
                partition: 1,
                racks: vec!["rack-1".into(), "rack-2".into()],
            }],
        }],
    }
}
