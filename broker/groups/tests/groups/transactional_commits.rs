//! Offsets that are committed in transactions, and the markers that end those.

mod members;
mod takeovers;

use foz_groups::{
    AppendError, CompleteTransaction, Request, Response, TransactionalProducer, WaiterId,
};
use kafka_protocol::ResponseError;
use kafka_protocol::messages::offset_delete_request::{
    OffsetDeleteRequestPartition, OffsetDeleteRequestTopic,
};
use kafka_protocol::messages::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};
use kafka_protocol::messages::txn_offset_commit_request::{
    TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic,
};
use kafka_protocol::messages::{
    ConsumerGroupHeartbeatRequest, DeleteGroupsRequest, OffsetDeleteRequest, OffsetFetchRequest,
    TopicName, TxnOffsetCommitRequest,
};

use crate::harness::*;

const NONE: i16 = 0;
const UNSTABLE: i16 = ResponseError::UnstableOffsetCommit.code();
const LOADING: i16 = ResponseError::CoordinatorLoadInProgress.code();
const NOT_AVAILABLE: i16 = ResponseError::CoordinatorNotAvailable.code();
const ILLEGAL_GENERATION: i16 = ResponseError::IllegalGeneration.code();
const UNKNOWN_MEMBER: i16 = ResponseError::UnknownMemberId.code();
const FENCED_INSTANCE: i16 = ResponseError::FencedInstanceId.code();
const RETENTION_MS: i64 = 7 * 24 * 60 * 60 * 1_000;
const VERSION: i16 = 5;
const ONE: i64 = 4_001;
const OTHER: i64 = 4_002;

/// Commits for partition 0 of `topic`, for nobody in particular.
pub(crate) fn txn_commit(producer_id: i64, topic: &str, offset: i64) -> TxnOffsetCommitRequest {
    let partition = TxnOffsetCommitRequestPartition::default()
        .with_committed_offset(offset)
        .with_committed_leader_epoch(3)
        .with_committed_metadata(Some(text("of a transaction")));
    let topic = TxnOffsetCommitRequestTopic::default()
        .with_name(TopicName(text(topic)))
        .with_partitions(vec![partition]);
    TxnOffsetCommitRequest::default()
        .with_transactional_id(kafka_protocol::messages::TransactionalId(text("id")))
        .with_group_id(group_id(GROUP))
        .with_producer_id(producer_id.into())
        .with_producer_epoch(7)
        .with_generation_id(-1)
        .with_topics(vec![topic])
}

pub(crate) fn marker(producer_id: i64, is_commit: bool) -> Request {
    let producer = TransactionalProducer {
        id: producer_id,
        epoch: 8,
    };
    Request::CompleteTransaction(CompleteTransaction {
        offsets_partition: 0,
        producer,
        coordinator_epoch: 2,
        transaction_version: 2,
        is_commit,
    })
}

/// Of the only partition.
pub(crate) fn error(response: &Response) -> i16 {
    match response {
        Response::TxnOffsetCommit(response) => response.topics[0].partitions[0].error_code,
        Response::CompleteTransaction(Ok(())) => NONE,
        Response::CompleteTransaction(Err(error)) => error.code(),
        other => panic!("{other:?}"),
    }
}

fn commit(harness: &mut Harness, version: i16, request: TxnOffsetCommitRequest) -> i16 {
    error(&harness.call(version, Request::TxnOffsetCommit(request)))
}

fn end(harness: &mut Harness, producer_id: i64, is_commit: bool) -> i16 {
    error(&harness.call(2, marker(producer_id, is_commit)))
}

pub(crate) fn fetch_request(topic: &str, require_stable: bool) -> Request {
    let topic = OffsetFetchRequestTopics::default()
        .with_name(TopicName(text(topic)))
        .with_partition_indexes(vec![0]);
    let group = OffsetFetchRequestGroup::default()
        .with_group_id(group_id(GROUP))
        .with_topics(Some(vec![topic]));
    let request = OffsetFetchRequest::default().with_groups(vec![group]);
    Request::OffsetFetch(request.with_require_stable(require_stable))
}

/// The offset, -1 for none, or the error of the group or of the partition.
pub(crate) fn told(response: &Response) -> Result<i64, i16> {
    let Response::OffsetFetch(response) = response else {
        panic!("{response:?}")
    };
    let group = &response.groups[0];
    if group.error_code != NONE {
        return Err(group.error_code);
    }
    let partition = &group.topics[0].partitions[0];
    match partition.error_code {
        NONE => Ok(partition.committed_offset),
        error => {
            assert_eq!(partition.committed_offset, -1);
            Err(error)
        }
    }
}

fn fetch(harness: &mut Harness, topic: &str, require_stable: bool) -> Result<i64, i16> {
    told(&harness.call(9, fetch_request(topic, require_stable)))
}

fn stable(harness: &mut Harness) -> Result<i64, i16> {
    fetch(harness, "orders", true)
}

/// Whether it is stable or not.
fn any(harness: &mut Harness) -> Result<i64, i16> {
    fetch(harness, "orders", false)
}

#[test]
fn offsets_are_in_force_when_their_transaction_is_committed_and_never_when_it_is_aborted() {
    for version in 0..=5 {
        let mut harness = Harness::new();
        assert_eq!(harness.commit("", -1, "orders", 5), NONE);
        for (is_commit, offset, before) in [(false, 8, 5), (true, 9, 5), (false, 11, 9)] {
            let request = txn_commit(ONE, "orders", offset);
            assert_eq!(commit(&mut harness, version, request), NONE);
            for restarts in [false, true] {
                if restarts {
                    harness.restart();
                }
                assert_eq!(any(&mut harness), Ok(before), "{version}");
                assert_eq!(stable(&mut harness), Err(UNSTABLE));
                // What takes part in nothing is stable.
                assert_eq!(fetch(&mut harness, "other", true), Ok(-1));
            }
            assert_eq!(end(&mut harness, ONE, is_commit), NONE);
            let after = if is_commit { offset } else { before };
            for restarts in [false, true] {
                if restarts {
                    harness.restart();
                }
                assert_eq!(any(&mut harness), Ok(after), "{version}");
                assert_eq!(stable(&mut harness), Ok(after));
            }
        }
    }
}

/// Of version 7, which has a place for it in each partition, too; and of all offsets of a group.
#[test]
fn what_is_unstable_is_said_of_each_partition() {
    let mut harness = Harness::new();
    harness.commit("", -1, "orders", 5);
    harness.commit("", -1, "other", 6);
    commit(&mut harness, VERSION, txn_commit(ONE, "orders", 8));
    commit(&mut harness, VERSION, txn_commit(ONE, "new", 1));
    let topics = ["orders", "other", "new"].map(|name| {
        OffsetFetchRequestTopic::default()
            .with_name(TopicName(text(name)))
            .with_partition_indexes(vec![0])
    });
    let request = OffsetFetchRequest::default()
        .with_group_id(group_id(GROUP))
        .with_topics(Some(topics.to_vec()))
        .with_require_stable(true);
    let Response::OffsetFetch(response) = harness.call(7, Request::OffsetFetch(request)) else {
        panic!()
    };
    let partitions = response.topics.iter().map(|topic| &topic.partitions[0]);
    let told: Vec<_> = partitions
        .map(|it| (it.committed_offset, it.error_code))
        .collect();
    assert_eq!(told, [(-1, UNSTABLE), (6, NONE), (-1, UNSTABLE)]);
    let group = OffsetFetchRequestGroup::default()
        .with_group_id(group_id(GROUP))
        .with_topics(None);
    let request = OffsetFetchRequest::default()
        .with_groups(vec![group])
        .with_require_stable(true);
    let Response::OffsetFetch(response) = harness.call(8, Request::OffsetFetch(request)) else {
        panic!()
    };
    let topics = response.groups[0].topics.iter();
    let told: Vec<_> = topics
        .map(|topic| (topic.name.to_string(), topic.partitions[0].error_code))
        .collect();
    let expected = [("orders".to_owned(), UNSTABLE), ("other".to_owned(), NONE)];
    assert_eq!(told, expected);
}

/// As in Kafka: compaction keeps the record that was written last.
#[test]
fn an_offset_that_was_committed_later_is_not_replaced_by_a_transaction_that_ends_after_it() {
    for restarts in [false, true] {
        let mut harness = Harness::new();
        commit(&mut harness, VERSION, txn_commit(ONE, "orders", 8));
        commit(&mut harness, VERSION, txn_commit(OTHER, "orders", 9));
        assert_eq!(harness.commit("", -1, "orders", 3), NONE);
        commit(&mut harness, VERSION, txn_commit(OTHER, "other", 1));
        if restarts {
            harness.restart();
        }
        assert_eq!(end(&mut harness, ONE, true), NONE);
        assert_eq!(any(&mut harness), Ok(3));
        assert_eq!(stable(&mut harness), Err(UNSTABLE), "the other is open");
        commit(&mut harness, VERSION, txn_commit(OTHER, "orders", 10));
        assert_eq!(end(&mut harness, OTHER, true), NONE);
        assert_eq!(stable(&mut harness), Ok(10));
        assert_eq!(fetch(&mut harness, "other", true), Ok(1));
    }
}

#[test]
fn markers_for_nothing_are_written_and_harm_nothing() {
    let mut harness = Harness::new();
    harness.commit("", -1, "orders", 5);
    let before = harness.log.len();
    for is_commit in [true, false, true] {
        assert_eq!(end(&mut harness, ONE, is_commit), NONE);
    }
    assert_eq!(harness.log.len(), before + 3);
    assert_eq!(stable(&mut harness), Ok(5));
}

/// The transaction's coordinator must not take it for ended before.
#[test]
fn a_marker_is_acknowledged_and_counts_when_it_is_committed() {
    let mut harness = Harness::new();
    commit(&mut harness, VERSION, txn_commit(ONE, "orders", 8));
    harness.confirms = false;
    let ended = harness.send(2, marker(ONE, true));
    assert!(harness.is_open(ended));
    assert_eq!(stable(&mut harness), Err(UNSTABLE));
    assert_eq!(any(&mut harness), Ok(-1));
    harness.confirm();
    assert_eq!(error(&harness.take(ended)), NONE);
    assert_eq!(stable(&mut harness), Ok(8));
}

#[test]
fn a_marker_that_is_not_written_leaves_the_transaction_open() {
    let fenced = ResponseError::TransactionCoordinatorFenced;
    let not_coordinator = ResponseError::NotCoordinator.code();
    for (failure, told) in [
        (AppendError::NotAvailable, NOT_AVAILABLE),
        (AppendError::NotCoordinator, not_coordinator),
        (AppendError::Refused(fenced), fenced.code()),
    ] {
        let mut harness = Harness::new();
        commit(&mut harness, VERSION, txn_commit(ONE, "orders", 8));
        harness.fails_once = Some(failure);
        assert_eq!(end(&mut harness, ONE, true), told);
        assert_eq!(stable(&mut harness), Err(UNSTABLE));
        assert_eq!(end(&mut harness, ONE, true), NONE);
        assert_eq!(stable(&mut harness), Ok(8));
    }
}

#[test]
fn an_offset_that_is_not_written_is_in_no_transaction() {
    let fenced = ResponseError::InvalidProducerEpoch;
    let mut harness = Harness::new();
    harness.fails_once = Some(AppendError::Refused(fenced));
    let request = txn_commit(ONE, "orders", 8);
    assert_eq!(commit(&mut harness, VERSION, request), fenced.code());
    assert_eq!(stable(&mut harness), Ok(-1));
    assert_eq!(end(&mut harness, ONE, true), NONE);
    assert_eq!(stable(&mut harness), Ok(-1));
    assert_eq!(harness.state(), "Dead");
}

/// Who takes over must not read what is before it.
#[test]
fn who_asks_for_stable_offsets_waits_for_those_on_their_way_to_the_log() {
    let mut harness = Harness::new();
    harness.confirms = false;
    let commit = Request::TxnOffsetCommit(txn_commit(ONE, "orders", 8));
    let committed = harness.send(VERSION, commit.clone());
    let fetched = harness.send(9, fetch_request("orders", true));
    assert!(harness.is_open(fetched));
    harness.confirm();
    assert_eq!(error(&harness.take(committed)), NONE);
    assert_eq!(told(&harness.take(fetched)), Err(UNSTABLE));
    // One that nobody waits for any longer may be there yet, and its transaction be committed.
    let late = harness.send(VERSION, commit.clone());
    harness.advance(5_000);
    assert_eq!(error(&harness.take(late)), NOT_AVAILABLE);
    let ended = harness.send(2, marker(ONE, false));
    let again = harness.send(VERSION, commit);
    while harness.pending.len() > 1 {
        harness.confirm();
    }
    assert_eq!(error(&harness.take(ended)), NONE);
    harness.advance(5_000);
    assert_eq!(error(&harness.take(again)), NOT_AVAILABLE);
    assert_eq!(stable(&mut harness), Err(UNSTABLE));
    harness.confirm();
    assert_eq!(stable(&mut harness), Err(UNSTABLE));
}

#[test]
fn offsets_that_are_deleted_do_not_come_back_with_a_transaction() {
    fn delete_offsets(harness: &mut Harness) {
        let partition = OffsetDeleteRequestPartition::default().with_partition_index(0);
        let topic = OffsetDeleteRequestTopic::default()
            .with_name(TopicName(text("orders")))
            .with_partitions(vec![partition]);
        let request = OffsetDeleteRequest::default()
            .with_group_id(group_id(GROUP))
            .with_topics(vec![topic]);
        let Response::OffsetDelete(response) = harness.call(0, Request::OffsetDelete(request))
        else {
            panic!()
        };
        assert_eq!(response.error_code, NONE);
    }
    fn delete_group(harness: &mut Harness) {
        let request = DeleteGroupsRequest::default().with_groups_names(vec![group_id(GROUP)]);
        let Response::DeleteGroups(response) = harness.call(2, Request::DeleteGroups(request))
        else {
            panic!()
        };
        assert_eq!(response.results[0].error_code, NONE);
        assert_eq!(harness.state(), "Dead");
    }
    fn delete_topic(harness: &mut Harness) {
        assert!(harness.coordinator.committed_topics().contains("orders"));
        let effects = (harness.coordinator).on_topics_deleted(&["orders"], harness.now);
        harness.absorb(effects);
    }
    for delete in [delete_offsets, delete_group, delete_topic] {
        for had_one in [false, true] {
            for restarts in [false, true] {
                let mut harness = Harness::new();
                if had_one {
                    harness.commit("", -1, "orders", 5);
                }
                commit(&mut harness, VERSION, txn_commit(ONE, "orders", 8));
                commit(&mut harness, VERSION, txn_commit(OTHER, "orders", 9));
                delete(&mut harness);
                if restarts {
                    harness.restart();
                }
                assert_eq!(stable(&mut harness), Ok(-1));
                assert_eq!(end(&mut harness, ONE, true), NONE);
                assert_eq!(stable(&mut harness), Ok(-1));
                // What comes after it counts.
                commit(&mut harness, VERSION, txn_commit(OTHER, "orders", 10));
                assert_eq!(end(&mut harness, OTHER, true), NONE);
                assert_eq!(stable(&mut harness), Ok(10));
            }
        }
    }
}

#[test]
fn a_group_goes_with_offsets_that_are_aborted_unless_something_else_keeps_it() {
    let mut harness = Harness::new();
    commit(&mut harness, VERSION, txn_commit(ONE, "orders", 8));
    assert_eq!(harness.state(), "Empty");
    harness.restart();
    assert_eq!(harness.state(), "Empty");
    end(&mut harness, ONE, false);
    assert_eq!(harness.state(), "Dead");
    harness.commit("", -1, "other", 1);
    commit(&mut harness, VERSION, txn_commit(ONE, "orders", 8));
    end(&mut harness, ONE, false);
    assert_eq!(harness.state(), "Empty");
}

#[test]
fn nothing_expires_that_a_transaction_may_be_about_to_replace() {
    let mut harness = Harness::new();
    harness.commit("", -1, "orders", 5);
    harness.commit("", -1, "other", 6);
    commit(&mut harness, VERSION, txn_commit(ONE, "orders", 8));
    harness.advance(RETENTION_MS);
    let effects = harness.coordinator.expire_offsets(harness.now);
    harness.absorb(effects);
    assert_eq!(any(&mut harness), Ok(5));
    assert_eq!(fetch(&mut harness, "other", true), Ok(-1));
    end(&mut harness, ONE, true);
    assert_eq!(stable(&mut harness), Ok(8));
    let effects = harness.coordinator.expire_offsets(harness.now);
    harness.absorb(effects);
    assert_eq!(harness.state(), "Dead", "as old as the commit");
    // Alone it keeps its group.
    commit(&mut harness, VERSION, txn_commit(ONE, "orders", 8));
    harness.advance(RETENTION_MS);
    let effects = harness.coordinator.expire_offsets(harness.now);
    harness.absorb(effects);
    assert_eq!(harness.state(), "Empty");
}

#[test]
fn metadata_that_is_too_large_is_refused_for_its_partition_alone() {
    let mut harness = Harness::new();
    let mut request = txn_commit(ONE, "orders", 8);
    let mut large = txn_commit(ONE, "other", 9).topics.remove(0);
    large.partitions[0].committed_metadata = Some(text(&"m".repeat(4_097)));
    request.topics.push(large);
    let Response::TxnOffsetCommit(response) =
        harness.call(VERSION, Request::TxnOffsetCommit(request.clone()))
    else {
        panic!()
    };
    let errors = response
        .topics
        .iter()
        .map(|topic| topic.partitions[0].error_code);
    let too_large = ResponseError::OffsetMetadataTooLarge.code();
    assert_eq!(Vec::from_iter(errors), [NONE, too_large]);
    end(&mut harness, ONE, true);
    assert_eq!(stable(&mut harness), Ok(8));
    // Without any other there is nothing to write.
    let before = harness.log.len();
    request.topics.remove(0);
    assert_eq!(commit(&mut harness, VERSION, request), too_large);
    assert_eq!(harness.log.len(), before);
}
