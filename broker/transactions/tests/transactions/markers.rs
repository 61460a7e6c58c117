use foz_transactions::{AppendError, MarkerOutcome, MarkerToken, TransactionState};
use kafka_protocol::ResponseError as E;

use crate::harness::*;

use TransactionState::{Ongoing, PrepareAbort, PrepareCommit};

fn ending() -> Harness {
    let mut harness = Harness::loaded(transaction(Ongoing, (10, 7)));
    assert_eq!(harness.end(5, (10, 7), true), (0, 10, 8));
    harness
}

#[test]
fn a_transaction_is_complete_when_every_partition_has_its_marker() {
    let mut harness = ending();
    let markers = harness.markers.remove(0);
    let written = MarkerOutcome::Written;
    harness.report_one(&markers, partition("orders", 1), written);
    assert_eq!(harness.state(), "PrepareCommit");
    let left = &harness.describe(ID).topics;
    assert_eq!(left.len(), 1);
    assert_eq!(left[0].partitions, [0]);
    // Told twice, and of one that takes no part.
    harness.report_one(&markers, partition("orders", 1), written);
    harness.report_one(&markers, partition("orders", 9), written);
    assert_eq!(harness.state(), "PrepareCommit");
    harness.report_one(&markers, partition("orders", 0), written);
    assert_eq!(harness.state(), "CompleteCommit");
    let records = harness.log.len();
    harness.report_one(&markers, partition("orders", 0), written);
    assert_eq!(harness.log.len(), records);
}

#[test]
fn a_deleted_partition_is_not_waited_for() {
    let mut harness = ending();
    harness.report(MarkerOutcome::PartitionGone);
    assert_eq!(harness.state(), "CompleteCommit");
}

#[test]
fn what_may_pass_is_tried_again_for_the_partitions_that_failed() {
    for error in [
        E::UnknownTopicOrPartition,
        E::NotLeaderOrFollower,
        E::RequestTimedOut,
        E::NotEnoughReplicas,
        E::NotEnoughReplicasAfterAppend,
        E::KafkaStorageError,
        E::UnsupportedVersion,
        E::UnknownServerError,
    ] {
        let mut harness = ending();
        let markers = harness.markers.remove(0);
        harness.report_one(
            &markers,
            partition("orders", 1),
            MarkerOutcome::Failed(error),
        );
        assert_eq!(harness.markers, [], "not at once");
        harness.advance(50);
        assert_eq!(harness.markers.len(), 1, "{error}");
        let again = harness.markers[0].clone();
        let only = [partition("orders", 1)];
        assert!(
            again.partitions.iter().eq(&only),
            "the other has no outcome yet"
        );
        assert_eq!(again.producer_epoch, markers.producer_epoch);
        harness.report(MarkerOutcome::Written);
        assert_eq!(harness.state(), "PrepareCommit");
        harness.report_one(&markers, partition("orders", 0), MarkerOutcome::Written);
        assert_eq!(harness.state(), "CompleteCommit");
        assert_eq!(harness.coordinator.counts().stuck, 0);
    }
}

#[test]
fn what_fails_meanwhile_goes_along() {
    let mut harness = ending();
    let markers = harness.markers.remove(0);
    let failed = MarkerOutcome::Failed(E::NotLeaderOrFollower);
    harness.report_one(&markers, partition("orders", 0), failed);
    harness.advance(40);
    harness.report_one(&markers, partition("orders", 1), failed);
    harness.advance(10);
    assert_eq!(harness.markers[0].partitions.len(), 2);
    assert_eq!(harness.markers.len(), 1);
    // Both together were one time.
    harness.report(failed);
    harness.advance(99);
    assert_eq!(harness.markers, []);
    harness.advance(1);
    assert_eq!(harness.markers.len(), 1);
}

#[test]
fn what_is_refused_meanwhile_goes_along() {
    let mut harness = ending();
    let markers = harness.markers.remove(0);
    let refused = MarkerOutcome::Failed(E::InvalidProducerEpoch);
    harness.report_one(&markers, partition("orders", 0), refused);
    harness.advance(59_990);
    harness.report_one(&markers, partition("orders", 1), refused);
    harness.advance(10);
    assert_eq!(harness.markers[0].partitions.len(), 2);
    harness.advance(120_000);
    assert_eq!(harness.markers.len(), 1);
}

#[test]
fn the_longer_it_fails_the_less_often_it_is_tried() {
    let mut harness = ending();
    let mut waited_ms = Vec::new();
    for _ in 0..8 {
        harness.report(MarkerOutcome::Failed(E::NotLeaderOrFollower));
        let from_ms = harness.now.monotonic_ms;
        while harness.markers.is_empty() {
            harness.advance(50);
        }
        waited_ms.push(harness.now.monotonic_ms - from_ms);
    }
    assert_eq!(waited_ms, [50, 100, 200, 400, 800, 1_000, 1_000, 1_000]);
}

#[test]
fn a_partition_that_knows_better_stops_the_end() {
    for error in [E::InvalidProducerEpoch, E::TransactionCoordinatorFenced] {
        let mut harness = ending();
        let markers = harness.markers.remove(0);
        let refused = MarkerOutcome::Failed(error);
        harness.report_one(&markers, partition("orders", 0), refused);
        harness.report_one(&markers, partition("orders", 1), MarkerOutcome::Written);
        for _ in 0..3 {
            assert_eq!(harness.coordinator.counts().stuck, 1);
            harness.advance(59_999);
            assert_eq!(harness.markers, []);
            assert_eq!(harness.state(), "PrepareCommit");
            let concurrent = code(E::ConcurrentTransactions);
            assert_eq!(harness.add_v5((10, 8), &[0]), concurrent);
            harness.advance(1);
            let again = &harness.markers[0].partitions;
            assert!(again.iter().eq(&[partition("orders", 0)]));
            assert_eq!(harness.coordinator.counts().stuck, 1);
            harness.report(refused);
        }
        // Its topic is deleted.
        harness.advance(60_000);
        harness.report(MarkerOutcome::PartitionGone);
        assert_eq!(harness.state(), "CompleteCommit");
        assert_eq!(harness.coordinator.counts().stuck, 0);
        harness.advance(120_000);
        assert_eq!(harness.markers, []);
    }
}

#[test]
fn the_next_coordinator_tries_again_what_was_refused() {
    let mut harness = ending();
    harness.report(MarkerOutcome::Failed(E::InvalidProducerEpoch));
    harness.restart();
    assert_eq!(harness.coordinator.counts().stuck, 0);
    assert_eq!(harness.markers[0].partitions.len(), 2);
    harness.report(MarkerOutcome::Written);
    assert_eq!(harness.state(), "CompleteCommit");
}

#[test]
fn what_is_refused_waits_longer_than_what_failed() {
    let mut harness = ending();
    let markers = harness.markers.remove(0);
    let refused = MarkerOutcome::Failed(E::InvalidProducerEpoch);
    let failed = MarkerOutcome::Failed(E::NotLeaderOrFollower);
    harness.report_one(&markers, partition("orders", 0), refused);
    harness.report_one(&markers, partition("orders", 1), failed);
    harness.advance(50);
    let again = harness.markers.remove(0);
    assert!(again.partitions.iter().eq(&[partition("orders", 1)]));
    // What was refused and then only fails is stuck no more.
    harness.advance(59_950);
    let late = harness.markers.remove(0);
    assert!(late.partitions.iter().eq(&[partition("orders", 0)]));
    harness.report_one(&late, partition("orders", 0), failed);
    assert_eq!(harness.coordinator.counts().stuck, 0);
    harness.advance(100);
    harness.report(MarkerOutcome::Written);
    assert_eq!(harness.state(), "PrepareCommit");
    harness.report_one(&again, partition("orders", 1), MarkerOutcome::Written);
    assert_eq!(harness.state(), "CompleteCommit");
}

/// Else a second copy would be under way when the end is complete, and end the next transaction of the epoch.
#[test]
fn only_the_outcome_of_the_last_send_counts() {
    let mut harness = Harness::loaded(transaction(Ongoing, (10, 7)));
    assert_eq!(harness.end(3, (10, 7), true).0, 0);
    let failed = MarkerOutcome::Failed(E::NotLeaderOrFollower);
    let first = harness.markers[0].clone();
    harness.report(failed);
    harness.advance(50);
    let second = harness.markers.remove(0);
    assert_ne!(second.token, first.token);
    // Told once more, and told otherwise.
    let outcomes = [failed, MarkerOutcome::Written, MarkerOutcome::PartitionGone];
    for (index, outcome) in [0, 1]
        .into_iter()
        .flat_map(|index| outcomes.map(|of| (index, of)))
    {
        harness.report_one(&first, partition("orders", index), outcome);
    }
    harness.advance(10_000);
    assert_eq!(harness.markers, [], "the second has no outcome yet");
    assert_eq!(harness.state(), "PrepareCommit");
    harness.report_one(&second, partition("orders", 0), MarkerOutcome::Written);
    harness.report_one(&second, partition("orders", 1), MarkerOutcome::Written);
    assert_eq!(harness.state(), "CompleteCommit");
    assert_eq!(harness.add_v3((10, 7), &[0]), 0);
    assert_eq!(harness.markers, []);
}

/// Markers may wait in queues that outlive their coordinator.
#[test]
fn reports_for_a_former_coordinator_are_none_for_the_next() {
    let mut harness = ending();
    let former = harness.markers[0].clone();
    harness.restart();
    let token = harness.markers[0].token;
    assert_eq!(
        (token.end, token.send),
        (former.token.end, former.token.send)
    );
    for outcome in [MarkerOutcome::Written, MarkerOutcome::PartitionGone] {
        for index in 0..2 {
            harness.report_one(&former, partition("orders", index), outcome);
        }
    }
    assert_eq!(harness.state(), "PrepareCommit");
    assert_eq!(harness.describe(ID).topics[0].partitions, [0, 1]);
    harness.report(MarkerOutcome::Written);
    assert_eq!(harness.state(), "CompleteCommit");
}

#[test]
fn completion_that_was_not_written_is_written_again() {
    let mut harness = ending();
    harness.confirms = false;
    let markers = harness.markers[0].clone();
    harness.report(MarkerOutcome::Written);
    for _ in 0..3 {
        assert!(harness.fail(AppendError::NotAvailable));
        assert!(harness.pending.is_empty(), "not at once");
        harness.report_one(&markers, partition("orders", 0), MarkerOutcome::Written);
        assert!(harness.pending.is_empty(), "nor when it is told again");
        harness.advance(1_000);
        assert_eq!(harness.pending.len(), 1);
        assert_eq!(harness.state(), "PrepareCommit");
    }
    assert_eq!(harness.markers, [], "no marker is sent again");
    harness.confirm();
    assert_eq!(harness.state(), "CompleteCommit");
}

#[test]
fn every_end_of_an_id_is_one_of_its_own() {
    let mut harness = ending();
    let first = harness.markers[0].clone();
    harness.report(MarkerOutcome::Written);
    assert_eq!(harness.add_v5((10, 8), &[0, 1]), 0);
    assert_eq!(harness.end(5, (10, 8), false), (0, 10, 9));
    // A late report of the first end, and one of none.
    harness.report_one(&first, partition("orders", 0), MarkerOutcome::Written);
    harness.report_one(&first, partition("orders", 1), MarkerOutcome::Written);
    let outcomes = [(partition("orders", 0), MarkerOutcome::Written)];
    let token = MarkerToken {
        end: u64::MAX,
        ..first.token
    };
    let effects = harness
        .coordinator
        .on_markers(token, &outcomes, harness.now);
    assert_eq!(effects, []);
    assert_eq!(harness.state(), "PrepareAbort");
    assert_eq!(harness.describe(ID).topics[0].partitions, [0, 1]);
}

#[test]
fn what_failed_goes_along_with_what_was_refused() {
    let mut harness = ending();
    let failed = MarkerOutcome::Failed(E::NotLeaderOrFollower);
    let markers = harness.markers.remove(0);
    let refused = MarkerOutcome::Failed(E::InvalidProducerEpoch);
    harness.report_one(&markers, partition("orders", 0), refused);
    harness.advance(59_990);
    // Its retry would be due in 50 ms, but in 10 ms it goes along with the one that was refused.
    harness.report_one(&markers, partition("orders", 1), failed);
    harness.advance(10);
    assert_eq!(harness.markers[0].partitions.len(), 2);
    harness.report(MarkerOutcome::Written);
    harness.advance(40);
    assert_eq!(harness.state(), "CompleteCommit");
    assert_eq!(harness.add_v5((10, 8), &[0]), 0);
    assert_eq!(harness.end(5, (10, 8), true), (0, 10, 9));
    harness.advance(10);
    harness.report(failed);
    harness.advance(49);
    assert_eq!(harness.markers, [], "its own retry is due later");
    harness.advance(1);
    harness.report(MarkerOutcome::Written);
    assert_eq!(harness.state(), "CompleteCommit");
}

#[test]
fn a_coordinator_that_is_loaded_sends_what_may_be_missing() {
    for (state, commit) in [(PrepareCommit, true), (PrepareAbort, false)] {
        let mut harness = Harness::loaded(transaction(state, (10, 7)));
        let markers = harness.markers[0].clone();
        assert_eq!(markers.commit, commit);
        assert_eq!(markers.partitions.len(), 2);
        assert_eq!(markers.coordinator_epoch, harness.coordinator_epoch);
        assert_eq!((markers.producer_id, markers.producer_epoch), (10, 7));
        harness.report(MarkerOutcome::Written);
        let complete = if commit {
            "CompleteCommit"
        } else {
            "CompleteAbort"
        };
        assert_eq!(harness.state(), complete);
    }
    // Without any partition the record alone is missing.
    let mut loaded = transaction(PrepareAbort, (10, 7));
    loaded.partitions.clear();
    let mut harness = Harness::loaded(loaded);
    assert_eq!(harness.markers, []);
    assert_eq!(harness.state(), "CompleteAbort");
}
