use super::*;

/// Made by Kafka 4.3.1's `TransactionLog.keyToBytes` and `valueToBytes`, as foz-records has them.
const KEY: &str = "0000000474782d31";
const VALUES: [(&str, i16, &str); 6] = [
    (
        "transaction at TV_0",
        0,
        "00000000000000001267000c0000ea60020000000100066f726465727300000001000000030000018bcfe5687b0000018bcfe56864",
    ),
    (
        "empty transaction at TV_0",
        0,
        "0000000000000000126700000000ea6000ffffffff0000018bcfe5687bffffffffffffffff",
    ),
    (
        "transaction at TV_1",
        1,
        "00010000000000001267000c0000ea600202076f72646572730200000003000000018bcfe5687b0000018bcfe5686403000800000000000012660108000000000000126802020001",
    ),
    (
        "empty transaction at TV_1",
        1,
        "0001000000000000126700000000ea6000000000018bcfe5687bffffffffffffffff0102020001",
    ),
    (
        "transaction at TV_2",
        1,
        "00010000000000001267000c0000ea600202076f72646572730200000003000000018bcfe5687b0000018bcfe5686403000800000000000012660108000000000000126802020002",
    ),
    (
        "empty transaction at TV_2",
        1,
        "0001000000000000126700000000ea6000000000018bcfe5687bffffffffffffffff0102020002",
    ),
];

fn bytes(hex: &str) -> Vec<u8> {
    let digits = |index| u8::from_str_radix(&hex[index..index + 2], 16).unwrap();
    (0..hex.len()).step_by(2).map(digits).collect()
}

fn decoded(value: &str) -> Record {
    let value = bytes(value);
    Record::decode(&bytes(KEY), Some(&value)).unwrap().unwrap()
}

#[test]
fn bytes_are_kafkas() {
    for (name, value_version, hex) in VALUES {
        let record = decoded(hex);
        assert_eq!(&*record.transactional_id, "tx-1", "{name}");
        assert_eq!(record.value_version, value_version, "{name}");
        let (key, value) = record.encode();
        assert_eq!(key, bytes(KEY), "{name}");
        assert_eq!(value.unwrap(), bytes(hex), "{name}");
    }
}

#[test]
fn what_is_read_is_what_kafka_wrote() {
    let prepared = decoded(VALUES[4].2).value.unwrap();
    let orders = TopicPartition {
        topic: Arc::from("orders"),
        partition: 3,
    };
    let expected = Transaction {
        producer_id: 4711,
        previous_producer_id: 4710,
        next_producer_id: 4712,
        producer_epoch: 12,
        last_producer_epoch: -1,
        transaction_timeout_ms: 60_000,
        state: TransactionState::PrepareCommit,
        partitions: BTreeSet::from([orders]),
        start_timestamp_ms: 1_700_000_000_100,
        last_update_timestamp_ms: 1_700_000_000_123,
        client_transaction_version: 2,
    };
    assert_eq!(prepared, expected);
    // Version 0 has no producer ids but the current one.
    let old = decoded(VALUES[0].2).value.unwrap();
    let expected = Transaction {
        previous_producer_id: -1,
        next_producer_id: -1,
        client_transaction_version: 0,
        ..expected
    };
    assert_eq!(old, expected);
}

#[test]
fn partitions_of_a_topic_are_told_together() {
    let mut transaction = decoded(VALUES[4].2).value.unwrap();
    let partitions = [("b", 2), ("a", 7), ("b", 0), ("a", 1)];
    let partitions = partitions.map(|(topic, partition)| TopicPartition {
        topic: Arc::from(topic),
        partition,
    });
    transaction.partitions = BTreeSet::from(partitions);
    let value = value_of(&transaction, 1);
    let topics = value.transaction_partitions.unwrap();
    let told = topics
        .iter()
        .map(|topic| (&*topic.topic, &topic.partition_ids[..]));
    assert_eq!(
        told.collect::<Vec<_>>(),
        [("a", &[1, 7][..]), ("b", &[0, 2])]
    );
    let record = Record {
        transactional_id: Arc::from("é"),
        value: Some(transaction),
        value_version: 1,
    };
    let (key, value) = record.encode();
    assert_eq!(Record::decode(&key, value.as_deref()), Ok(Some(record)));
}

#[test]
fn a_record_without_a_value_is_a_tombstone() {
    let tombstone = Record {
        transactional_id: Arc::from("tx-1"),
        value: None,
        value_version: 0,
    };
    assert_eq!(tombstone.encode(), (Bytes::from(bytes(KEY)), None));
    assert_eq!(Record::decode(&bytes(KEY), None), Ok(Some(tombstone)));
}

#[test]
fn what_is_no_record_is_refused() {
    let key = bytes(KEY);
    let value = bytes(VALUES[4].2);
    for end in 0..value.len() {
        let cut = Record::decode(&key, Some(&value[..end]));
        assert!(
            matches!(cut, Err(RecordError::Malformed(_))),
            "{end}: {cut:?}"
        );
    }
    for end in 0..key.len() {
        let cut = Record::decode(&key[..end], Some(&value));
        assert!(
            matches!(cut, Err(RecordError::Malformed(_))),
            "{end}: {cut:?}"
        );
    }
    let mut newer = value.clone();
    newer[1] = 2;
    let unknown = Record::decode(&key, Some(&newer));
    assert!(
        matches!(unknown, Err(RecordError::Malformed(_))),
        "{unknown:?}"
    );
    // Behind version, producer id, epoch and timeout. Dead is in no record.
    let mut dead = value.clone();
    assert_eq!(dead[16], TransactionState::PrepareCommit.id() as u8);
    dead[16] = 6;
    let refused = Record::decode(&key, Some(&dead)).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "TransactionLogValue: TransactionStatus is 6; 0 to 5 are known"
    );
    // A key of a kind that comes later.
    let mut other = key;
    other[1] = 1;
    assert_eq!(Record::decode(&other, Some(&value)), Ok(None));
}
