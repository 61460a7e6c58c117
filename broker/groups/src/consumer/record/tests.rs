use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use foz_protocol::batch::HEADER_LENGTH;
use foz_protocol::codec::Compression;
use foz_protocol::record::{BatchBuilder, RecordToWrite};
use foz_records::consumer_group_current_member_assignment_value::TopicPartitions;
use foz_records::{
    ConsumerGroupCurrentMemberAssignmentValue, ConsumerGroupMemberMetadataValue, Message,
};
use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::assignor::Assignor;
use crate::consumer::classic::ClassicMember;
use crate::consumer::member::{EpochPartitions, MemberState};
use crate::member::Protocol;

fn text() -> impl Strategy<Value = Arc<str>> {
    "[a-zé.*-]{0,12}".prop_map(Arc::from)
}

fn name() -> impl Strategy<Value = Arc<str>> {
    "[a-z]{1,12}".prop_map(Arc::from)
}

fn names() -> impl Strategy<Value = BTreeSet<Arc<str>>> {
    prop::collection::btree_set(name(), 0..4)
}

fn topic_id() -> impl Strategy<Value = Uuid> {
    any::<u128>().prop_map(Uuid::from_u128)
}

fn partitions() -> impl Strategy<Value = Partitions> {
    let of_topic = prop::collection::btree_set(any::<i32>(), 1..5);
    prop::collection::btree_map(topic_id(), of_topic, 0..4)
}

fn epoch_partitions() -> impl Strategy<Value = EpochPartitions> {
    let of_topic = prop::collection::btree_map(any::<i32>(), any::<i32>(), 1..5);
    prop::collection::btree_map(topic_id(), of_topic, 0..4)
}

fn metadata() -> impl Strategy<Value = MemberMetadata> {
    let option = || prop::option::of(name());
    let assignor = prop::option::of(prop::sample::select(Assignor::ALL.to_vec()));
    let ids = (option(), option(), option());
    let protocol = (name(), prop::collection::vec(any::<u8>(), 0..20));
    let protocol = protocol.prop_map(|(name, metadata)| Protocol {
        name,
        metadata: metadata.into(),
    });
    let protocols = prop::collection::vec(protocol, 0..3);
    let classic = (any::<i32>(), protocols).prop_map(|(session_timeout_ms, protocols)| {
        Arc::new(ClassicMember {
            session_timeout_ms,
            protocols,
        })
    });
    let classic = prop::option::of(classic);
    let times = (any::<i32>(), classic);
    (ids, text(), text(), times, names(), assignor).prop_map(
        |(ids, client_id, client_host, times, subscribed_topics, assignor)| {
            let (rebalance_timeout_ms, classic) = times;
            MemberMetadata {
                instance_id: ids.0,
                rack_id: ids.1,
                client_id,
                client_host,
                rebalance_timeout_ms,
                subscribed_topics: Arc::new(subscribed_topics),
                subscribed_regex: ids.2,
                assignor,
                classic,
            }
        },
    )
}

fn current() -> impl Strategy<Value = CurrentAssignment> {
    let states = [
        MemberState::Stable,
        MemberState::UnrevokedPartitions,
        MemberState::UnreleasedPartitions,
        MemberState::Unknown,
    ];
    let state = prop::sample::select(states.to_vec());
    let epochs = (any::<i32>(), any::<i32>());
    (epochs, state, epoch_partitions(), epoch_partitions()).prop_map(
        |(epochs, state, assigned, pending_revocation)| CurrentAssignment {
            epoch: epochs.0,
            previous_epoch: epochs.1,
            state,
            assigned,
            pending_revocation,
        },
    )
}

fn records() -> impl Strategy<Value = ConsumerRecord> {
    let epoch = (any::<i32>(), any::<u64>()).prop_map(|(epoch, metadata_hash)| GroupEpoch {
        epoch,
        metadata_hash,
    });
    let target_epoch = (any::<i32>(), any::<i64>()).prop_map(|(epoch, timestamp_ms)| TargetEpoch {
        epoch,
        timestamp_ms,
    });
    let resolved = (names(), any::<u64>(), any::<i64>());
    let resolved = resolved.prop_map(|(topics, version, timestamp_ms)| ResolvedRegex {
        topics,
        version,
        timestamp_ms,
    });
    prop_oneof![
        prop::option::of(epoch).prop_map(ConsumerRecord::Epoch),
        prop::option::of(target_epoch).prop_map(ConsumerRecord::TargetEpoch),
        (text(), prop::option::of(metadata())).prop_map(|(member_id, metadata)| {
            ConsumerRecord::Member {
                member_id,
                metadata,
            }
        }),
        (text(), prop::option::of(partitions())).prop_map(|(member_id, partitions)| {
            ConsumerRecord::Target {
                member_id,
                partitions,
            }
        }),
        (text(), prop::option::of(current())).prop_map(|(member_id, assignment)| {
            ConsumerRecord::Current {
                member_id,
                assignment,
            }
        }),
        (text(), prop::option::of(resolved))
            .prop_map(|(regex, resolved)| ConsumerRecord::Regex { regex, resolved }),
    ]
}

/// As the server makes it of them.
fn batch(records: &[ConsumerRecord], group_id: &Arc<str>) -> Vec<u8> {
    let mut builder = BatchBuilder::new(Compression::None);
    for record in records {
        let record = record.encode(group_id);
        builder.push(&RecordToWrite {
            timestamp_ms: 1_700_000_000_000,
            key: Some(&record.key),
            value: record.value.as_deref(),
            headers: &[],
        });
    }
    builder.build().unwrap().as_slice().to_vec()
}

fn check_sizes(records: &[ConsumerRecord], group_id: &Arc<str>) {
    let bytes = batch(records, group_id).len();
    assert_eq!(batch_bytes(records, group_id), bytes);
    let bounds = records.iter().map(|record| record.bytes_max(group_id));
    let bound = HEADER_LENGTH + bounds.sum::<usize>();
    assert!(bytes <= bound, "{bytes} of {bound}");
}

proptest! {
    #[test]
    fn records_are_read_as_they_were_written(record in records(), group_id in text()) {
        let encoded = record.encode(&group_id);
        let decoded = ConsumerRecord::decode(&encoded.key, encoded.value.as_deref()).unwrap();
        prop_assert_eq!(decoded, Some((group_id, record)));
    }

    #[test]
    fn sizes_are_those_of_the_batch(records in prop::collection::vec(records(), 1..20), group_id in text()) {
        check_sizes(&records, &group_id);
        // Each by itself, too: what one has to spare is not to hide what another lacks.
        for record in records {
            check_sizes(&[record], &group_id);
        }
    }
}

/// Every length in them takes several bytes.
#[test]
fn sizes_are_those_of_large_batches() {
    let long = |text: &str| Arc::<str>::from(text.repeat(30_000));
    let topics = (0..3u128).map(Uuid::from_u128);
    let partitions = Partitions::from_iter(topics.map(|id| (id, (0..20_000).collect())));
    let epochs = |partitions: &BTreeSet<i32>| partitions.iter().map(|it| (*it, 7)).collect();
    let held = EpochPartitions::from_iter(partitions.iter().map(|(id, of)| (*id, epochs(of))));
    let target = |member_id, partitions| ConsumerRecord::Target {
        member_id,
        partitions,
    };
    let large = [
        target(long("a"), Some(partitions)),
        ConsumerRecord::Current {
            member_id: long("b"),
            assignment: Some(CurrentAssignment {
                assigned: held.clone(),
                pending_revocation: held,
                ..CurrentAssignment::default()
            }),
        },
        ConsumerRecord::Regex {
            regex: long("r"),
            resolved: Some(ResolvedRegex {
                topics: BTreeSet::from([long("s"), long("t")]),
                ..ResolvedRegex::default()
            }),
        },
        ConsumerRecord::Member {
            member_id: long("c"),
            metadata: Some(MemberMetadata {
                client_id: long("d"),
                client_host: long("e"),
                subscribed_topics: Arc::new(BTreeSet::from([long("f")])),
                ..MemberMetadata::default()
            }),
        },
    ];
    for record in &large {
        check_sizes(std::slice::from_ref(record), &long("g"));
    }
    let mut many = Vec::from(large);
    many.extend((0..9_000).map(|number| target(Arc::from(format!("{number}")), None)));
    check_sizes(&many, &long("g"));
}

/// What a member of one partition costs its group's target: a bound that is far above refuses what fits.
#[test]
fn the_bound_of_a_target_is_close() {
    let partitions = Partitions::from_iter((0..100u128).map(|id| {
        let id = Uuid::from_u128(id);
        (id, BTreeSet::from([0]))
    }));
    let target = ConsumerRecord::Target {
        member_id: "member".into(),
        partitions: Some(partitions),
    };
    let bytes = batch_bytes(std::slice::from_ref(&target), &"group".into());
    let bound = HEADER_LENGTH + target.bytes_max("group");
    assert!(bound < bytes * 5 / 4, "{bytes} of {bound}");
}

/// A member says so that it does not speak the classic protocol: the default is that it does.
#[test]
fn members_are_not_classic() {
    let record = ConsumerRecord::Member {
        member_id: "member".into(),
        metadata: Some(MemberMetadata::default()),
    };
    let value = record.encode(&"group".into()).value.unwrap();
    let value = ConsumerGroupMemberMetadataValue::decode_prefixed(&value).unwrap();
    assert_eq!(value.classic_member_metadata, None);
    assert_eq!(value.server_assignor, None);
}

#[test]
fn partitions_without_epochs_have_the_members() {
    let topic_id = Uuid::from_u128(1);
    let key = ConsumerRecord::Current {
        member_id: "member".into(),
        assignment: None,
    };
    let key = key.encode(&"group".into()).key;
    for (epochs, member_epoch, expected) in [
        (None, 5, 5),
        (Some(vec![3]), 5, 5),
        (Some(vec![3, 4]), 5, 3),
        // One that is away.
        (None, -2, 0),
    ] {
        let value = ConsumerGroupCurrentMemberAssignmentValue {
            member_epoch,
            assigned_partitions: vec![TopicPartitions {
                topic_id,
                partitions: vec![0, 1],
                assignment_epochs: epochs,
            }],
            ..Default::default()
        };
        let value = value.encode_prefixed(0).unwrap();
        let decoded = ConsumerRecord::decode(&key, Some(&value)).unwrap().unwrap();
        let ConsumerRecord::Current {
            assignment: Some(current),
            ..
        } = decoded.1
        else {
            panic!("{decoded:?}")
        };
        let of_topic: &BTreeMap<i32, i32> = &current.assigned[&topic_id];
        assert_eq!(of_topic[&0], expected);
    }
}

#[test]
fn other_records_are_none_of_ours() {
    // OffsetCommit, GroupMetadata, and a type from the future.
    for key in [
        &b"\x00\x01\x00\x01g\x00\x01t\x00\x00\x00\x00"[..],
        b"\x00\x02\x00\x01g",
        b"\x01\x00",
    ] {
        assert_eq!(ConsumerRecord::decode(key, None).unwrap(), None);
    }
    // A key, a version and a value that are cut short, and a version from the future.
    assert!(ConsumerRecord::decode(b"\x00\x03\x00\x09g", None).is_err());
    for value in [
        &b"\x00"[..],
        b"\x00\x00\x00",
        b"\x00\x01\x00\x00\x00\x01\x00",
    ] {
        let decoded = ConsumerRecord::decode(b"\x00\x03\x00\x01g", Some(value));
        assert!(decoded.is_err(), "{decoded:?}");
    }
}
