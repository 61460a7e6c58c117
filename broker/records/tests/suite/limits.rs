//! What does not fit, what lies and what comes from later versions.

use bytes::Bytes;
use foz_protocol::shape::REQUEST_ELEMENTS_MAX;
use foz_protocol::wire::WireError;
use foz_records::*;
use uuid::Uuid;

use crate::test_messages::NullableStructMessage;
use crate::test_messages::nullable_struct_message::MyStruct;

fn cause<T: std::fmt::Debug>(result: Result<T, DecodeError>) -> WireError {
    match result {
        Err(DecodeError::Field { cause, .. }) => cause,
        other => panic!("{other:?} is no bad field"),
    }
}

fn unwritable<T: std::fmt::Debug>(result: Result<T, EncodeError>) -> Unwritable {
    match result {
        Err(EncodeError::Field { cause, .. }) => cause,
        other => panic!("{other:?} is no bad field"),
    }
}

#[test]
fn versions_that_there_are_not() {
    for version in [-1i16, 5] {
        let bytes = [&version.to_be_bytes()[..], &[0; 30]].concat();
        let unknown = DecodeError::UnknownVersion {
            message: "OffsetCommitValue",
            version,
            least: 0,
            most: 4,
        };
        assert_eq!(OffsetCommitValue::decode_prefixed(&bytes), Err(unknown));
        assert_eq!(
            unknown.to_string(),
            format!("OffsetCommitValue has version {version}; known are 0 to 4")
        );
        let unknown = EncodeError::UnknownVersion {
            message: "OffsetCommitValue",
            version,
            least: 0,
            most: 4,
        };
        assert_eq!(OffsetCommitValue::default().encode(version), Err(unknown));
    }
    assert!(OffsetCommitRequest::decode(1, &[0; 30]).is_err());
}

#[test]
fn later_versions_of_the_consumer_protocol_are_read_as_the_latest_known() {
    let subscription = ConsumerProtocolSubscription {
        topics: vec!["orders".into()],
        generation_id: 7,
        rack_id: Some("rack-1".into()),
        ..Default::default()
    };
    let mut bytes = subscription.encode_prefixed(3).unwrap().to_vec();
    bytes[1] = 9;
    bytes.extend(b"a field of version 4");
    let read = ConsumerProtocolSubscription::decode_prefixed_or_newer(&bytes);
    assert_eq!(read, Ok(subscription));
    assert!(ConsumerProtocolSubscription::decode_prefixed(&bytes).is_err());
    assert!(ConsumerProtocolSubscription::decode_prefixed_or_newer(&[0xff, 0xff, 0, 0]).is_err());
    assert!(ConsumerProtocolSubscription::decode_prefixed_or_newer(&[0]).is_err());
}

#[test]
fn what_a_version_lacks_is_dropped_only_where_kafka_drops_it() {
    let offset = OffsetCommitValue {
        offset: 42,
        leader_epoch: 5,
        topic_id: Uuid::from_u128(1),
        ..Default::default()
    };
    let read = OffsetCommitValue::decode_prefixed(&offset.encode_prefixed(1).unwrap());
    let without = OffsetCommitValue {
        leader_epoch: -1,
        topic_id: Uuid::nil(),
        ..offset
    };
    assert_eq!(read, Ok(without));

    let transaction = TransactionLogValue {
        client_transaction_version: 2,
        ..Default::default()
    };
    let error = transaction.encode_prefixed(0).unwrap_err();
    assert_eq!(
        error.to_string(),
        "TransactionLogValue of version 0: ClientTransactionVersion is set, \
         which this version has no place for"
    );
    assert!(transaction.encode_prefixed(1).is_ok());
}

#[test]
fn null_where_it_must_not_be() {
    let request = OffsetFetchRequest {
        topics: None,
        ..Default::default()
    };
    assert_eq!(
        unwritable(request.encode(1)),
        Unwritable::Null { field: "Topics" }
    );
    assert_eq!(
        cause(OffsetFetchRequest::decode(1, b"\x00\x01g\xff\xff\xff\xff")),
        WireError::Null { field: "Topics" }
    );
    assert!(OffsetFetchRequest::decode(2, b"\x00\x01g\xff\xff\xff\xff").is_ok());
}

#[test]
fn strings_that_are_too_long() {
    for version in [3, 4] {
        let mut offset = OffsetCommitValue {
            metadata: "a".repeat(STRING_BYTES_MAX).into(),
            ..Default::default()
        };
        let bytes = offset.encode_prefixed(version).unwrap();
        assert_eq!(
            OffsetCommitValue::decode_prefixed(&bytes).as_ref(),
            Ok(&offset)
        );
        offset.metadata = "a".repeat(STRING_BYTES_MAX + 1).into();
        assert_eq!(
            unwritable(offset.encode_prefixed(version)),
            Unwritable::TooLong {
                field: "metadata",
                length: 32_768,
                most: 32_767
            }
        );
    }
    // A compact length of 32768.
    let mut bytes = vec![0, 4];
    bytes.extend([0; 12]);
    bytes.extend([0x81, 0x80, 0x02]);
    bytes.extend([b'a'; 40_000]);
    assert!(matches!(
        cause(OffsetCommitValue::decode_prefixed(&bytes)),
        WireError::Length {
            field: "metadata",
            length: 32_768,
            ..
        }
    ));
}

#[test]
fn arrays_that_lie_about_their_length() {
    let error = cause(ListOffsetsRequest::decode(
        1,
        &[0, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff],
    ));
    assert!(matches!(
        error,
        WireError::Length {
            field: "Topics",
            length: 0x7fff_ffff,
            ..
        }
    ));
}

#[test]
fn what_clients_send_has_a_bound_and_records_do_not() {
    let topic = |partitions| offset_fetch_request::OffsetFetchRequestTopic {
        name: "orders".into(),
        partition_indexes: vec![0; partitions],
    };
    let request = |partitions| OffsetFetchRequest {
        topics: Some(vec![topic(partitions)]),
        ..Default::default()
    };
    // The topic is an element too.
    let most = request(REQUEST_ELEMENTS_MAX - 1);
    let bytes = most.encode(7).unwrap();
    assert_eq!(OffsetFetchRequest::decode(7, &bytes), Ok(most));
    let bytes = request(REQUEST_ELEMENTS_MAX).encode(7).unwrap();
    assert!(matches!(
        cause(OffsetFetchRequest::decode(7, &bytes)),
        WireError::Length {
            field: "PartitionIndexes",
            ..
        }
    ));

    let subscription = |topics| ConsumerProtocolSubscription {
        topics: vec!["".into(); topics],
        ..Default::default()
    };
    let most = subscription(REQUEST_ELEMENTS_MAX);
    let bytes = most.encode(0).unwrap();
    assert_eq!(ConsumerProtocolSubscription::decode(0, &bytes), Ok(most));
    let bytes = subscription(REQUEST_ELEMENTS_MAX + 1).encode(0).unwrap();
    assert_eq!(
        cause(ConsumerProtocolSubscription::decode(0, &bytes)).to_string(),
        "the length of Topics is 250001: \
         with it there are more elements in all than such a message may have"
    );

    let transaction = TransactionLogValue {
        transaction_partitions: Some(vec![transaction_log_value::PartitionsSchema {
            topic: "orders".into(),
            partition_ids: vec![7; 2 * REQUEST_ELEMENTS_MAX],
        }]),
        ..Default::default()
    };
    let bytes = transaction.encode_prefixed(1).unwrap();
    assert_eq!(
        TransactionLogValue::decode_prefixed(&bytes),
        Ok(transaction)
    );
}

#[test]
fn tags_count_as_elements_of_a_request() {
    let tags = REQUEST_ELEMENTS_MAX + 1;
    // No topics, then as many empty fields of tag 9.
    let mut bytes = vec![0];
    bytes.extend([
        tags as u8 | 0x80,
        (tags >> 7) as u8 | 0x80,
        (tags >> 14) as u8,
    ]);
    bytes.extend([9, 0].repeat(tags));
    assert!(matches!(
        cause(DescribeLogDirsRequest::decode(2, &bytes)),
        WireError::Length {
            field: "the tagged fields",
            length: 250_001,
            ..
        }
    ));
    bytes[1] -= 1;
    assert!(DescribeLogDirsRequest::decode(2, &bytes).is_ok());
}

#[test]
fn tagged_fields_of_later_versions_are_passed_over() {
    let epoch = ConsumerGroupMetadataValue {
        epoch: 10,
        metadata_hash: 7,
    };
    let mut bytes = epoch.encode_prefixed(0).unwrap().to_vec();
    assert_eq!(bytes[6], 1);
    bytes[6] = 2;
    bytes.extend([99, 3, 1, 2, 3]);
    assert_eq!(
        ConsumerGroupMetadataValue::decode_prefixed(&bytes),
        Ok(epoch)
    );
    // A known one must have the length of its value.
    let longer = [0, 0, 0, 0, 0, 10, 1, 0, 9, 0, 0, 0, 0, 0, 0, 0, 7, 1];
    assert_eq!(
        cause(ConsumerGroupMetadataValue::decode_prefixed(&longer)),
        WireError::Trailing {
            what: "a tagged field",
            bytes: 1
        }
    );
}

#[test]
fn which_bytes_make_a_structure_null() {
    let read = |prefix: u8| {
        let bytes = [&[prefix][..], b"\x00\x01a\x00\x00\x00\x07", &[0; 6]].concat();
        NullableStructMessage::decode(0, &bytes).map(|message| message.nullable_struct)
    };
    let structure = MyStruct {
        my_string: "a".into(),
        my_int: 7,
    };
    for prefix in [0, 1, 2, 0x7f] {
        assert_eq!(read(prefix), Ok(Some(structure.clone())), "{prefix}");
    }
    // The rest is then read as the next structure.
    assert_eq!(read(0x80), Ok(None));
    assert_eq!(read(0xff), Ok(None));

    // As a tagged field it is a varint, and 0 is the null.
    let read = |prefix: u8| {
        let field = [0, 8, prefix, 2, b'c', 0, 0, 0, 3, 0];
        let bytes = [&[0xff, 0xff, 1][..], &field].concat();
        NullableStructMessage::decode(1, &bytes).map(|message| message.nullable_struct3)
    };
    for prefix in [1, 2] {
        assert_eq!(read(prefix).unwrap().unwrap().my_int, 3, "{prefix}");
    }
    // Then there is more in the field than a null.
    assert!(read(0).is_err());
}

#[test]
fn any_byte_but_zero_is_true() {
    let markers = WriteTxnMarkersRequest {
        markers: vec![write_txn_markers_request::WritableTxnMarker {
            transaction_result: true,
            ..Default::default()
        }],
    };
    let mut bytes = markers.encode(1).unwrap().to_vec();
    assert_eq!(bytes[11], 1);
    bytes[11] = 0xff;
    assert_eq!(WriteTxnMarkersRequest::decode(1, &bytes), Ok(markers));
}

#[test]
fn keys_say_which_they_are() {
    let key = GroupMetadataKey { group: "g".into() };
    let bytes = key.encode_key().unwrap();
    assert_eq!(bytes, Bytes::from_static(b"\x00\x02\x00\x01g"));
    assert_eq!(
        GroupCoordinatorKey::decode(&bytes),
        Ok(Some(GroupCoordinatorKey::GroupMetadata(key)))
    );
    let key = ConsumerGroupRegularExpressionKey {
        group_id: "g".into(),
        regular_expression: "o.*".into(),
    };
    assert_eq!(
        GroupCoordinatorKey::decode(&key.encode_key().unwrap()),
        Ok(Some(GroupCoordinatorKey::ConsumerGroupRegularExpression(
            key
        )))
    );
    let key = TransactionLogKey {
        transactional_id: "tx-1".into(),
    };
    assert_eq!(
        TransactionCoordinatorKey::decode(&key.encode_key().unwrap()),
        Ok(Some(TransactionCoordinatorKey::TransactionLog(key)))
    );
    // Share groups have 10 to 15, streams groups 17 and 19 to 23; nobody has the others.
    for other in [10i16, 15, 17, 23, 9, 18, i16::MAX, -1] {
        let bytes = other.to_be_bytes();
        assert_eq!(GroupCoordinatorKey::decode(&bytes), Ok(None));
        assert_eq!(record_type(&bytes), Ok(other));
    }
    assert!(record_type(&[0]).is_err());
    assert_eq!(
        GroupCoordinatorKey::decode(&[0]).unwrap_err().to_string(),
        "the key: the type of the record needs 2 bytes, 1 are left"
    );
    assert_eq!(
        GroupCoordinatorKey::decode(b"\x00\x02\x00\x05g")
            .unwrap_err()
            .to_string(),
        "GroupMetadataKey: group needs 5 bytes, 1 are left"
    );
}
