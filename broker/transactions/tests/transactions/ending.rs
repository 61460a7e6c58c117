use foz_transactions::{AppendError, MarkerOutcome, Transaction, TransactionState};
use kafka_protocol::ResponseError as E;

use crate::harness::*;

use TransactionState::{
    CompleteAbort, CompleteCommit, Empty, Ongoing, PrepareAbort, PrepareCommit,
};

const NONE: i16 = 0;

/// Up to version 4 the epoch must be the current one, and a repeated request is known by its result.
#[test]
fn how_a_transaction_ends_when_transactions_share_an_epoch() {
    let mine = (10, 7);
    let (mapping, fenced) = (code(E::InvalidProducerIdMapping), code(E::ProducerFenced));
    let (concurrent, invalid) = (code(E::ConcurrentTransactions), code(E::InvalidTxnState));
    let cases = [
        (Ongoing, mine, true, NONE, "PrepareCommit"),
        (Ongoing, mine, false, NONE, "PrepareAbort"),
        (Ongoing, (11, 7), true, mapping, "Ongoing"),
        (Ongoing, (10, 6), true, fenced, "Ongoing"),
        (Ongoing, (10, 8), true, fenced, "Ongoing"),
        (Empty, mine, true, invalid, "Empty"),
        (Empty, mine, false, invalid, "Empty"),
        (CompleteCommit, mine, true, NONE, "CompleteCommit"),
        (CompleteCommit, mine, false, invalid, "CompleteCommit"),
        (CompleteAbort, mine, false, NONE, "CompleteAbort"),
        (CompleteAbort, mine, true, invalid, "CompleteAbort"),
        (CompleteAbort, (10, 6), false, fenced, "CompleteAbort"),
        (PrepareCommit, mine, true, concurrent, "PrepareCommit"),
        (PrepareAbort, mine, false, concurrent, "PrepareAbort"),
        (PrepareCommit, mine, false, concurrent, "PrepareCommit"),
        // Who it is comes before what is under way.
        (PrepareCommit, (10, 6), true, fenced, "PrepareCommit"),
        (PrepareCommit, (11, 7), true, mapping, "PrepareCommit"),
    ];
    for (state, producer, commit, error, then) in cases {
        for api_version in 0..=4 {
            let case = format!("{state:?}, {producer:?}, {commit}, version {api_version}");
            let mut harness = Harness::loaded(transaction(state, mine));
            let told = match api_version {
                0..2 if error == fenced => code(E::InvalidProducerEpoch),
                _ => error,
            };
            let answer = harness.end(api_version, producer, commit);
            assert_eq!(answer.0, told, "{case}");
            assert_eq!(harness.state(), then, "{case}");
        }
    }
}

/// From version 5 on the epoch tells a repeated request from the next one (KIP-890).
#[test]
fn how_a_transaction_ends_when_each_has_its_epoch() {
    let refused = |error: E| (code(error), -1, -1);
    let (invalid, fenced) = (refused(E::InvalidTxnState), refused(E::ProducerFenced));
    let (mapping, concurrent) = (
        refused(E::InvalidProducerIdMapping),
        refused(E::ConcurrentTransactions),
    );
    let (current, repeated) = ((10, 7), (10, 6));
    let bumped = (NONE, 10, 8);
    let again = (NONE, 10, 7);
    let cases = [
        (Ongoing, current, true, bumped, "PrepareCommit"),
        (Ongoing, current, false, bumped, "PrepareAbort"),
        (Ongoing, repeated, true, fenced, "Ongoing"),
        (Ongoing, repeated, false, fenced, "Ongoing"),
        (Ongoing, (10, 8), false, fenced, "Ongoing"),
        (Ongoing, (11, 7), true, mapping, "Ongoing"),
        (Empty, current, false, bumped, "CompleteAbort"),
        (Empty, current, true, invalid, "Empty"),
        (Empty, repeated, false, fenced, "Empty"),
        (Empty, repeated, true, fenced, "Empty"),
        (CompleteAbort, repeated, false, again, "CompleteAbort"),
        (CompleteAbort, current, false, bumped, "CompleteAbort"),
        (CompleteAbort, repeated, true, invalid, "CompleteAbort"),
        (CompleteAbort, current, true, invalid, "CompleteAbort"),
        (CompleteCommit, repeated, false, invalid, "CompleteCommit"),
        (CompleteCommit, current, false, bumped, "CompleteAbort"),
        (CompleteCommit, repeated, true, again, "CompleteCommit"),
        (CompleteCommit, current, true, invalid, "CompleteCommit"),
        (CompleteCommit, (10, 5), true, fenced, "CompleteCommit"),
        (CompleteCommit, (10, 8), true, fenced, "CompleteCommit"),
        (CompleteCommit, (11, 6), true, mapping, "CompleteCommit"),
        // What is under way comes first (KAFKA-18464).
        (PrepareCommit, repeated, true, concurrent, "PrepareCommit"),
        (PrepareAbort, repeated, false, concurrent, "PrepareAbort"),
        (PrepareAbort, (11, 0), false, concurrent, "PrepareAbort"),
    ];
    for (state, producer, commit, answer, then) in cases {
        let case = format!("{state:?}, {producer:?}, {commit}");
        let mut harness = Harness::loaded(transaction(state, current));
        assert_eq!(harness.end(5, producer, commit), answer, "{case}");
        assert_eq!(harness.state(), then, "{case}");
    }
}

#[test]
fn the_epoch_of_another_producers_transaction_is_told_to_nobody() {
    // It ended by version 1: epoch 7 was not reached by the end of a transaction at epoch 6.
    for commit in [true, false] {
        let state = if commit {
            CompleteCommit
        } else {
            CompleteAbort
        };
        let loaded = Transaction {
            client_transaction_version: 0,
            ..transaction(state, (10, 7))
        };
        let mut harness = Harness::loaded(loaded);
        let fenced = (code(E::ProducerFenced), -1, -1);
        assert_eq!(harness.end(5, (10, 6), commit), fenced);
    }
}

#[test]
fn an_empty_or_unknown_id_is_refused() {
    let mut harness = Harness::new();
    for api_version in [4, 5] {
        let (error, ..) = harness.end(api_version, (10, 7), true);
        assert_eq!(error, code(E::InvalidProducerIdMapping));
        let foz_transactions::Request::EndTxn(request) = end_request((10, 7), true) else {
            panic!("another request");
        };
        let request = request.with_transactional_id(transactional_id(""));
        let waiter = harness.send(api_version, foz_transactions::Request::EndTxn(request));
        assert_eq!(harness.ended(waiter).0, code(E::InvalidRequest));
    }
}

#[test]
fn the_client_hears_of_the_decision_before_the_markers_are_written() {
    for (api_version, version, epoch, answer) in [(4, 0, 7, (0, -1, -1)), (5, 2, 8, (0, 10, 8))] {
        let mut harness = Harness::loaded(transaction(Ongoing, (10, 7)));
        harness.confirms = false;
        let waiter = harness.send(api_version, end_request((10, 7), true));
        assert!(harness.is_open(waiter));
        assert_eq!(harness.markers, [], "nothing is decided yet");
        harness.confirm();
        assert_eq!(harness.ended(waiter), answer);
        let markers = harness.markers[0].clone();
        assert_eq!((markers.producer_id, markers.producer_epoch), (10, epoch));
        assert_eq!(markers.transaction_version, version);
        assert_eq!(markers.coordinator_epoch, harness.coordinator_epoch);
        assert!(markers.commit);
        assert_eq!(markers.partitions.len(), 2);
        assert_eq!(harness.state(), "PrepareCommit");
        harness.report(MarkerOutcome::Written);
        assert_eq!(harness.state(), "PrepareCommit", "it is not written yet");
        harness.confirm();
        assert_eq!(harness.state(), "CompleteCommit");
        assert_eq!(harness.last().producer_epoch, epoch);
        assert!(harness.last().partitions.is_empty());
    }
}

#[test]
fn while_the_decision_is_under_way_everybody_waits() {
    let concurrent = code(E::ConcurrentTransactions);
    for api_version in [4, 5] {
        let mut harness = Harness::loaded(transaction(Ongoing, (10, 7)));
        harness.confirms = false;
        harness.send(api_version, end_request((10, 7), true));
        assert_eq!(harness.end(4, (10, 7), true).0, concurrent);
        assert_eq!(harness.end(4, (10, 7), false).0, concurrent);
        assert_eq!(harness.end(5, (10, 7), true).0, concurrent);
        assert_eq!(harness.end(5, (10, 8), false).0, concurrent);
        assert_eq!(harness.add_v3((10, 7), &[0]), concurrent);
        assert_eq!(harness.add_v5((10, 8), &[0]), concurrent);
        assert_eq!(harness.init(None).0, concurrent);
        assert_eq!(harness.pending.len(), 1);
    }
}

#[test]
fn an_abort_of_what_never_began_is_complete_at_once() {
    let mut harness = Harness::loaded(transaction(Empty, (10, 7)));
    harness.confirms = false;
    let waiter = harness.send(5, end_request((10, 7), false));
    harness.confirm();
    assert_eq!(harness.ended(waiter), (0, 10, 8));
    assert_eq!(harness.markers, []);
    assert_eq!(harness.state(), "PrepareAbort");
    assert_eq!(harness.last().start_timestamp_ms, harness.now.wall_ms);
    harness.confirm();
    assert_eq!(harness.state(), "CompleteAbort");
}

#[test]
fn the_last_transaction_of_a_producer_id_hands_over_to_the_next() {
    const MAX: i16 = i16::MAX - 1;
    for commit in [true, false] {
        let mut harness = Harness::loaded(transaction(Ongoing, (10, MAX)));
        assert_eq!(harness.end(5, (10, MAX), commit), (0, FIRST, 0));
        let markers = harness.markers[0].clone();
        assert_eq!(
            (markers.producer_id, markers.producer_epoch),
            (10, i16::MAX)
        );
        assert_eq!(harness.describe(ID).producer_id.0, 10);
        // The client uses what it was told while it is not in force yet.
        assert_eq!(
            harness.add_v5((FIRST, 0), &[0]),
            code(E::ConcurrentTransactions)
        );
        assert_eq!(
            harness.end(5, (10, MAX), commit).0,
            code(E::ConcurrentTransactions)
        );
        harness.restart();
        let resent = harness.markers[0].clone();
        assert_eq!((resent.producer_id, resent.producer_epoch), (10, i16::MAX));
        harness.report(MarkerOutcome::Written);
        for _ in 0..2 {
            assert_eq!(harness.describe(ID).producer_id.0, FIRST);
            // A repeated request, also after a restart; a request for the other result.
            assert_eq!(harness.end(5, (10, MAX), commit), (0, FIRST, 0));
            let other = harness.end(5, (10, MAX), !commit);
            assert_eq!(other.0, code(E::InvalidTxnState));
            harness.restart();
        }
        assert_eq!(harness.add_v5((FIRST, 0), &[0]), 0);
        assert_eq!(
            harness.end(5, (10, MAX), commit).0,
            code(E::InvalidProducerIdMapping)
        );
    }
}

#[test]
fn the_next_producer_id_is_kept_whatever_the_level_is() {
    const MAX: i16 = i16::MAX - 1;
    let config = foz_transactions::TransactionConfig {
        transaction_version: 0,
        ..foz_transactions::TransactionConfig::default()
    };
    let mut harness = Harness::loaded_with(config, transaction(Ongoing, (10, MAX)));
    assert_eq!(harness.end(5, (10, MAX), true), (0, FIRST, 0));
    harness.restart();
    harness.report(MarkerOutcome::Written);
    assert_eq!(harness.add_v5((FIRST, 0), &[0]), 0);
}

#[test]
fn without_a_next_producer_id_nothing_is_decided() {
    const MAX: i16 = i16::MAX - 1;
    let mut harness = Harness::loaded(transaction(Ongoing, (10, MAX)));
    harness.allocates = false;
    let waiter = harness.send(5, end_request((10, MAX), true));
    let concurrent = code(E::ConcurrentTransactions);
    assert_eq!(harness.end(5, (10, MAX), false).0, concurrent);
    harness.refuse_producer_id();
    let loading = (code(E::CoordinatorLoadInProgress), -1, -1);
    assert_eq!(harness.ended(waiter), loading);
    assert_eq!(harness.state(), "Ongoing");
    harness.allocates = true;
    assert_eq!(harness.end(5, (10, MAX), true), (0, FIRST, 0));
}

#[test]
fn a_decision_that_was_not_written_was_not_taken() {
    for api_version in [4, 5] {
        let mut harness = Harness::loaded(transaction(Ongoing, (10, 7)));
        harness.confirms = false;
        let waiter = harness.send(api_version, end_request((10, 7), true));
        harness.fail(AppendError::NotAvailable);
        assert_eq!(harness.ended(waiter).0, code(E::CoordinatorNotAvailable));
        assert_eq!(harness.state(), "Ongoing");
        assert_eq!(harness.markers, []);
        harness.confirms = true;
        assert_eq!(harness.end(api_version, (10, 7), false).0, 0);
        assert!(!harness.markers[0].commit);
    }
}
