//! TxnOffsetCommit: offsets of a transaction in each version, and what is refused.

use foz_protocol::error::ErrorCode;
use kafka_protocol::messages::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopics,
};
use kafka_protocol::messages::txn_offset_commit_request::{
    TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic,
};
use kafka_protocol::messages::{
    AddOffsetsToTxnRequest, GroupId, ListTransactionsRequest, OffsetFetchRequest, ProducerId,
    TxnOffsetCommitRequest,
};

use super::connection::{Connection, error, eventually, group_id, text, topic_name, versions_of};
use super::groups::wait_for_coordinator;
use super::transaction_coordinators::{Producer, await_coordinator};

const TOPIC: &str = "txn-offsets";
const GROUP: &str = "txn-offsets";
/// Whose transactions are left open.
const OPEN_GROUP: &str = "open-txn-offsets";
const FETCH_VERSION: i16 = 8;
const MEMBERS_FROM: i16 = 3;
const ABORTABLE_FROM: i16 = 4;
/// KIP-890.
const ADDS_FROM: i16 = 5;

pub(super) fn check(connection: &mut Connection) {
    connection.create_topic(TOPIC, 1);
    await_coordinator(connection, "any");
    let all = ListTransactionsRequest::default();
    eventually(|| match error(connection.call(0, &all).error_code) {
        ErrorCode::None => Ok(()),
        other => Err(other),
    });
    for group in [GROUP, OPEN_GROUP] {
        wait_for_coordinator(connection, group);
    }
    // One that is newer than the coordinators (ADR 0027).
    let connection = &mut connection.another();
    let mut committed = -1;
    for version in versions_of::<TxnOffsetCommitRequest>() {
        committed = offsets_are_committed(connection, version, committed);
        what_is_wrong_is_said(connection, version);
        what_takes_part_in_no_transaction_is_refused(connection, version);
    }
    assert_eq!(fetched(connection, OPEN_GROUP, false), Ok(-1));
}

/// For the partition with this index.
pub(crate) fn commit_request(
    producer: &Producer,
    group: &str,
    topic: &str,
    index: i32,
    offset: i64,
) -> TxnOffsetCommitRequest {
    let partition = TxnOffsetCommitRequestPartition::default()
        .with_partition_index(index)
        .with_committed_offset(offset)
        .with_committed_metadata(Some(text("note")));
    let topic = TxnOffsetCommitRequestTopic::default()
        .with_name(topic_name(topic))
        .with_partitions(vec![partition]);
    TxnOffsetCommitRequest::default()
        .with_transactional_id(producer.transactional_id.clone())
        .with_group_id(group_id(group))
        .with_producer_id(producer.id)
        .with_producer_epoch(producer.epoch)
        .with_generation_id(-1)
        .with_topics(vec![topic])
}

pub(crate) fn add_request(producer: &Producer, group: &str) -> AddOffsetsToTxnRequest {
    AddOffsetsToTxnRequest::default()
        .with_transactional_id(producer.transactional_id.clone())
        .with_producer_id(producer.id)
        .with_producer_epoch(producer.epoch)
        .with_group_id(group_id(group))
}

pub(crate) fn fetch_request(group: &str, topic: &str, require_stable: bool) -> OffsetFetchRequest {
    let topic = OffsetFetchRequestTopics::default()
        .with_name(topic_name(topic))
        .with_partition_indexes(vec![0]);
    let group = OffsetFetchRequestGroup::default()
        .with_group_id(group_id(group))
        .with_topics(Some(vec![topic]));
    OffsetFetchRequest::default()
        .with_groups(vec![group])
        .with_require_stable(require_stable)
}

/// The offset of partition 0, or the error of the group or of the partition.
pub(crate) fn fetch(
    connection: &mut Connection,
    group: &str,
    topic: &str,
    require_stable: bool,
) -> Result<i64, ErrorCode> {
    let request = fetch_request(group, topic, require_stable);
    let response = connection.call(FETCH_VERSION, &request);
    let group = &response.groups[0];
    if group.error_code != 0 {
        return Err(error(group.error_code));
    }
    let partition = &group.topics[0].partitions[0];
    match error(partition.error_code) {
        ErrorCode::None => Ok(partition.committed_offset),
        other => Err(other),
    }
}

fn fetched(
    connection: &mut Connection,
    group: &str,
    require_stable: bool,
) -> Result<i64, ErrorCode> {
    fetch(connection, group, TOPIC, require_stable)
}

/// The error of each partition.
fn commit(
    connection: &mut Connection,
    version: i16,
    request: &TxnOffsetCommitRequest,
) -> Vec<(i32, ErrorCode)> {
    let response = connection.call(version, request);
    let topics = response.topics.iter();
    let partitions = topics.flat_map(|topic| &topic.partitions);
    partitions
        .map(|it| (it.partition_index, error(it.error_code)))
        .collect()
}

/// Up to version 4 a producer says so by itself.
fn add(connection: &mut Connection, version: i16, producer: &Producer, group: &str) {
    if version >= ADDS_FROM {
        return;
    }
    let request = add_request(producer, group);
    eventually(|| match error(connection.call(3, &request).error_code) {
        ErrorCode::None => Ok(()),
        other => Err(other),
    });
}

/// One is, and one is not. Returns what is committed then.
fn offsets_are_committed(connection: &mut Connection, version: i16, before: i64) -> i64 {
    let mut producer = Producer::init(connection, &format!("txn-offsets-{version}"));
    let mut expected = before;
    for committed in [true, false] {
        add(connection, version, &producer, GROUP);
        let offset = i64::from(version) * 10 + i64::from(committed);
        let request = commit_request(&producer, GROUP, TOPIC, 0, offset);
        eventually(|| match commit(connection, version, &request)[..] {
            [(0, ErrorCode::None)] => Ok(()),
            ref other => Err(other.to_vec()),
        });
        let unstable = Err(ErrorCode::UnstableOffsetCommit);
        assert_eq!(fetched(connection, GROUP, true), unstable, "{version}");
        assert_eq!(fetched(connection, GROUP, false), Ok(expected));
        let end_version = if version >= ADDS_FROM { 5 } else { 4 };
        let ended = producer.end(connection, end_version, committed);
        assert_eq!(error(ended.error_code), ErrorCode::None);
        if version >= ADDS_FROM {
            (producer.id, producer.epoch) = (ended.producer_id, ended.producer_epoch);
        }
        if committed {
            expected = offset;
        }
        let told = eventually(|| fetched(connection, GROUP, true));
        assert_eq!(told, expected, "{version}");
    }
    expected
}

fn what_is_wrong_is_said(connection: &mut Connection, version: i16) {
    let producer = Producer::init(connection, &format!("not-txn-offsets-{version}"));
    add(connection, version, &producer, OPEN_GROUP);
    let good = |index: i32| commit_request(&producer, OPEN_GROUP, TOPIC, index, 1);
    let mut commit = |request: &TxnOffsetCommitRequest| commit(connection, version, request);
    let unknown = ErrorCode::UnknownTopicOrPartition;
    let nowhere = commit_request(&producer, OPEN_GROUP, "nowhere", 0, 1);
    assert_eq!(commit(&nowhere), [(0, unknown)]);
    // A topic is named once.
    let mut both = good(0);
    let missing = good(9).topics.remove(0).partitions;
    both.topics[0].partitions.extend(missing);
    assert_eq!(commit(&both), [(0, ErrorCode::None), (9, unknown)]);
    let mut large = good(0);
    let partition = &mut large.topics[0].partitions[0];
    partition.committed_metadata = Some(text(&"m".repeat(4_097)));
    let too_large = ErrorCode::OffsetMetadataTooLarge;
    assert_eq!(commit(&large), [(0, too_large)], "{version}");
    let mut refused = |request: TxnOffsetCommitRequest| commit(&request)[0].1;
    let nobodys = good(0).with_group_id(GroupId(text("")));
    assert_eq!(refused(nobodys), ErrorCode::InvalidGroupId);
    let strangers = good(0).with_producer_id(ProducerId(producer.id.0 + 1_000));
    assert_eq!(refused(strangers), ErrorCode::InvalidProducerIdMapping);
    let newer = good(0).with_producer_epoch(producer.epoch + 1);
    assert_eq!(refused(newer), ErrorCode::InvalidProducerEpoch, "{version}");
    let none = good(0).with_producer_id(ProducerId(-1));
    assert_eq!(refused(none), ErrorCode::InvalidProducerIdMapping);
    if version >= MEMBERS_FROM {
        let members = good(0).with_generation_id(3).with_member_id(text("nobody"));
        assert_eq!(refused(members), ErrorCode::UnknownMemberId);
    }
    assert!(commit(&good(0).with_topics(Vec::new())).is_empty());
}

/// Nobody would ever end it.
fn what_takes_part_in_no_transaction_is_refused(connection: &mut Connection, version: i16) {
    let producer = Producer::init(connection, &format!("no-txn-offsets-{version}"));
    let request = commit_request(&producer, OPEN_GROUP, TOPIC, 0, 1);
    let expected = match version {
        ..ABORTABLE_FROM => ErrorCode::InvalidTxnState,
        ABORTABLE_FROM => ErrorCode::TransactionAbortable,
        _ => ErrorCode::None,
    };
    assert_eq!(commit(connection, version, &request), [(0, expected)]);
}
