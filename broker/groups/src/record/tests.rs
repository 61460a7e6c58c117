//! The golden bytes were written by Apache Kafka 4.3.1's own GroupCoordinatorRecordHelpers and
//! GroupCoordinatorRecordSerde (the values of older versions by MessageUtil with its classes).

use std::collections::BTreeMap;

use bytes::Bytes;
use foz_protocol::wire::WireError;
use foz_records::DecodeError;
use foz_records::group_metadata_value::MemberMetadata;
use uuid::Uuid;

use super::*;
use crate::group::{Group, GroupState};
use crate::member::{Member, Protocol};
use crate::offsets::{OffsetAndMetadata, OffsetKey};

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(hex: &str) -> Vec<u8> {
    (0..hex.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap())
        .collect()
}

fn change(group_id: &str, topic: &str, at: i32, value: Option<OffsetAndMetadata>) -> OffsetChange {
    let key = OffsetKey {
        group_id: group_id.into(),
        topic: topic.into(),
        partition: at,
    };
    OffsetChange { key, value }
}

fn offset(offset: i64, leader_epoch: i32, metadata: &str) -> OffsetAndMetadata {
    OffsetAndMetadata {
        offset,
        leader_epoch,
        metadata: metadata.into(),
        commit_timestamp_ms: 1_700_000_000_123,
        expire_timestamp_ms: None,
        topic_id: Uuid::nil(),
        place: 0,
    }
}

fn member(id: &str, instance_id: Option<&str>, client: (&str, &str), times: (i32, i32)) -> Member {
    Member {
        id: id.into(),
        instance_id: instance_id.map(Arc::from),
        client_id: client.0.into(),
        client_host: client.1.into(),
        rebalance_timeout_ms: times.0,
        session_timeout_ms: times.1,
        protocols: vec![Protocol {
            name: "range".into(),
            metadata: Bytes::from_static(&[1, 2, 3]),
        }],
        assignment: Bytes::new(),
        awaiting_join: None,
        awaiting_sync: None,
        is_new: false,
    }
}

#[test]
fn offsets_have_kafkas_bytes() {
    let with_id = OffsetAndMetadata {
        topic_id: Uuid::from_bytes(std::array::from_fn(|at| at as u8 + 1)),
        ..offset(42, -1, "")
    };
    let expiring = OffsetAndMetadata {
        expire_timestamp_ms: Some(1_700_000_009_999),
        // Version 1 has no place for it.
        leader_epoch: -1,
        ..offset(42, 3, "m")
    };
    let key = "000100086d792d67726f757000066f726465727300000007";
    for (change, key, value) in [
        (
            change(
                "my-group",
                "orders",
                7,
                Some(offset(1_234_567_890_123, 5, "notiz-é")),
            ),
            key,
            Some("00040000011f71fb04cb00000005096e6f74697a2dc3a90000018bcfe5687b00"),
        ),
        (
            change("my-group", "orders", 7, Some(with_id)),
            key,
            Some(
                "0004000000000000002affffffff010000018bcfe5687b0100100102030405060708090a0b0c0d0e0f10",
            ),
        ),
        (
            change("g", "t", 0, Some(expiring)),
            "000100016700017400000000",
            Some("0001000000000000002a00016d0000018bcfe5687b0000018bcfe58f0f"),
        ),
        (change("my-group", "orders", 7, None), key, None),
    ] {
        let record = offset_record(&change);
        assert_eq!(hex(&record.key), key);
        assert_eq!(record.value.as_deref().map(hex).as_deref(), value);
        let entry = decode(&record.key, record.value.as_deref()).unwrap();
        assert_eq!(entry, Some(Entry::Offset(change)));
    }
}

#[test]
fn groups_have_kafkas_bytes() {
    let mut group = Group::new("my-group".into(), 1_700_000_000_500);
    group.generation = 3;
    group.protocol_name = Some("range".into());
    let client = ("client-a", "/127.0.0.1");
    group.add(
        member("client-a-1", None, client, (300_000, 45_000)),
        "consumer",
    );
    let client = ("client-b", "/10.0.0.2");
    group.add(
        member("inst-1-2", Some("inst-1"), client, (60_000, 10_000)),
        "consumer",
    );
    let assignments = BTreeMap::from([(Arc::from("client-a-1"), Bytes::from_static(&[9, 8]))]);
    let record = group_record(&group, &assignments);
    assert_eq!(hex(&record.key), "000200086d792d67726f7570");
    assert_eq!(
        hex(&record.value.unwrap()),
        "00030008636f6e73756d657200000003000572616e6765000a636c69656e742d612d310000018bcfe569f4\
         00000002000a636c69656e742d612d31ffff0008636c69656e742d61000a2f3132372e302e302e31000493e0\
         0000afc80000000301020300000002\
         09080008696e73742d312d320006696e73742d310008636c69656e742d6200092f31302e302e302e32\
         0000ea60000027100000000301020300000000"
    );

    let mut empty = Group::new("my-group".into(), 1_700_000_000_600);
    empty.generation = 4;
    empty.protocol_type = Some("consumer".into());
    assert_eq!(empty.state, GroupState::Empty);
    let record = group_record(&empty, &BTreeMap::new());
    assert_eq!(
        hex(&record.value.unwrap()),
        "00030008636f6e73756d657200000004ffffffff0000018bcfe56a5800000000"
    );

    let tombstone = group_tombstone(&"my-group".into());
    assert_eq!(
        (hex(&tombstone.key).as_str(), tombstone.value),
        ("000200086d792d67726f7570", None)
    );
}

#[test]
fn reads_every_version_of_a_group() {
    for (version, value) in [
        "00000008636f6e73756d657200000003000572616e676500026d310000000100026d3100016300022f68\
         0000afc8000000030102030000000109",
        "00010008636f6e73756d657200000003000572616e676500026d310000000100026d3100016300022f68\
         000493e00000afc8000000030102030000000109",
        "00020008636f6e73756d657200000003000572616e676500026d310000018bcfe569f40000000100026d31\
         00016300022f68000493e00000afc8000000030102030000000109",
        "00030008636f6e73756d657200000003000572616e676500026d310000018bcfe569f40000000100026d31\
         0002693100016300022f68000493e00000afc8000000030102030000000109",
        "000409636f6e73756d6572000000030672616e6765036d310000018bcfe569f402036d310369310263\
         032f68000493e00000afc80401020302090000",
    ]
    .iter()
    .enumerate()
    {
        let entry = decode(b"\x00\x02\x00\x01g", Some(&unhex(value)))
            .unwrap()
            .unwrap();
        let Entry::Group {
            group_id,
            value: Some(group),
        } = entry
        else {
            panic!("{entry:?}")
        };
        assert_eq!(&*group_id, "g");
        assert_eq!((&*group.protocol_type, group.generation), ("consumer", 3));
        assert_eq!(
            (group.protocol.as_deref(), group.leader.as_deref()),
            (Some("range"), Some("m1"))
        );
        let timestamp_ms = if version >= 2 { 1_700_000_000_500 } else { -1 };
        assert_eq!(group.current_state_timestamp, timestamp_ms);
        let expected = MemberMetadata {
            member_id: "m1".into(),
            group_instance_id: (version >= 3).then(|| "i1".into()),
            client_id: "c".into(),
            client_host: "/h".into(),
            rebalance_timeout: if version >= 1 { 300_000 } else { -1 },
            session_timeout: 45_000,
            subscription: Bytes::from_static(&[1, 2, 3]),
            assignment: Bytes::from_static(&[9]),
        };
        assert_eq!(group.members, [expected], "version {version}");
    }
}

#[test]
fn reads_every_version_of_an_offset() {
    for (version, value) in [
        "0000000000000000002a00016d0000018bcfe5687b",
        "0001000000000000002a00016d0000018bcfe5687bffffffffffffffff",
        "0002000000000000002a00016d0000018bcfe5687b",
        "0003000000000000002a0000000500016d0000018bcfe5687b",
        "0004000000000000002a00000005026d0000018bcfe5687b00",
    ]
    .iter()
    .enumerate()
    {
        let leader_epoch = if version >= 3 { 5 } else { -1 };
        let expected = change("g", "t", 0, Some(offset(42, leader_epoch, "m")));
        for key_version in [0u8, 1] {
            let key = [0, key_version, 0, 1, b'g', 0, 1, b't', 0, 0, 0, 0];
            let entry = decode(&key, Some(&unhex(value))).unwrap();
            assert_eq!(
                entry,
                Some(Entry::Offset(expected.clone())),
                "version {version}"
            );
        }
    }
}

#[test]
fn unknown_kinds_are_skipped_and_unknown_tags_too() {
    // StreamsGroupMetadataKey (17), and a kind that does not exist yet.
    assert_eq!(
        decode(b"\x00\x11\x00\x01g", Some(b"\x00\x00\x00\x00\x00\x01")),
        Ok(None)
    );
    assert_eq!(decode(b"\x7f\xff", None), Ok(None));
    let with_tag_9 = unhex("0004000000000000002a00000005026d0000018bcfe5687b01090155");
    let key = b"\x00\x01\x00\x01g\x00\x01t\x00\x00\x00\x00";
    let expected = Entry::Offset(change("g", "t", 0, Some(offset(42, 5, "m"))));
    assert_eq!(decode(key, Some(&with_tag_9)), Ok(Some(expected)));
}

#[test]
fn damaged_records_are_errors() {
    let key = b"\x00\x02\x00\x01g";
    let whole = unhex(
        "000409636f6e73756d6572000000030672616e6765036d310000018bcfe569f402036d310369310263\
         032f68000493e00000afc80401020302090000",
    );
    for length in 0..whole.len() {
        assert!(
            decode(key, Some(&whole[..length])).is_err(),
            "cut to {length}"
        );
    }
    for length in 0..key.len() {
        assert!(decode(&key[..length], None).is_err(), "key cut to {length}");
    }
    assert_eq!(
        decode(key, Some(b"\x00\x05")),
        Err(DecodeError::UnknownVersion {
            message: "GroupMetadataValue",
            version: 5,
            least: 0,
            most: 4
        })
    );
    assert_eq!(
        decode(b"\x00\x02\x00\x01\xff", None),
        Err(DecodeError::Field {
            message: "GroupMetadataKey",
            cause: WireError::Utf8 { field: "group" }
        })
    );
    // Counts and lengths that promise more than there is must not be believed.
    let many = unhex("00030008636f6e73756d657200000003ffffffff00000000000000007fffffff");
    assert!(decode(key, Some(&many)).is_err());
}

proptest::proptest! {
    #[test]
    fn no_bytes_make_the_decoder_panic(
        kind in 0i16..4,
        key in proptest::collection::vec(proptest::num::u8::ANY, 0..40),
        version in 0i16..6,
        value in proptest::collection::vec(proptest::num::u8::ANY, 0..80),
    ) {
        let key = [&kind.to_be_bytes()[..], &key].concat();
        let value = [&version.to_be_bytes()[..], &value].concat();
        let _ = decode(&key, Some(&value));
        let _ = decode(b"\x00\x02\x00\x01g", Some(&value));
        let _ = decode(b"\x00\x01\x00\x01g\x00\x01t\x00\x00\x00\x00", Some(&value));
    }
}
