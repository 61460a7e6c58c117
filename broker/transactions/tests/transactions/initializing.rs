use foz_transactions::{AppendError, Request, TransactionConfig, TransactionState};
use kafka_protocol::ResponseError as E;
use kafka_protocol::messages::InitProducerIdRequest;

use crate::harness::*;

use TransactionState::{
    CompleteAbort, CompleteCommit, Empty, Ongoing, PrepareAbort, PrepareCommit,
};

#[test]
fn a_new_transactional_id_gets_a_producer_id_and_epoch_0() {
    let mut harness = Harness::new();
    assert_eq!(harness.init(None), (0, FIRST, 0));
    assert_eq!(harness.log.len(), 1);
    let last = harness.last().clone();
    let expected = foz_transactions::Transaction {
        start_timestamp_ms: -1,
        client_transaction_version: 0,
        ..transaction(Empty, (FIRST, 0))
    };
    assert_eq!(last, expected);
    assert_eq!(harness.log[0].value_version, 1);
}

#[test]
fn a_producer_that_remembers_more_than_the_coordinator_gets_a_new_id() {
    let mut harness = Harness::new();
    assert_eq!(harness.init(Some((77, 5))), (0, FIRST, 0));
}

#[test]
fn what_no_producer_may_ask_is_refused() {
    let max_ms = TransactionConfig::default().transaction_max_timeout_ms;
    let asked = init_request(None);
    let cases: Vec<(&str, InitProducerIdRequest, E)> = vec![
        (
            "an empty id",
            asked
                .clone()
                .with_transactional_id(Some(transactional_id(""))),
            E::InvalidRequest,
        ),
        (
            "an id that no record can hold",
            asked
                .clone()
                .with_transactional_id(Some(transactional_id(&"a".repeat(32_768)))),
            E::InvalidRequest,
        ),
        (
            "no id",
            asked.clone().with_transactional_id(None),
            E::InvalidRequest,
        ),
        (
            "an epoch without an id",
            asked.clone().with_producer_epoch(3),
            E::InvalidRequest,
        ),
        (
            "an id without an epoch",
            asked.clone().with_producer_id(3.into()),
            E::InvalidRequest,
        ),
        (
            "no time",
            asked.clone().with_transaction_timeout_ms(0),
            E::InvalidTransactionTimeout,
        ),
        (
            "less than no time",
            asked.clone().with_transaction_timeout_ms(-1),
            E::InvalidTransactionTimeout,
        ),
        (
            "too much time",
            asked.clone().with_transaction_timeout_ms(max_ms + 1),
            E::InvalidTransactionTimeout,
        ),
    ];
    for (name, request, error) in cases {
        let mut harness = Harness::new();
        let waiter = harness.send(5, Request::InitProducerId(request));
        assert_eq!(harness.initialized(waiter), (code(error), -1, -1), "{name}");
        assert_eq!(harness.log, [], "{name}");
    }
    let longest = asked.with_transaction_timeout_ms(max_ms);
    let mut harness = Harness::new();
    let waiter = harness.send(5, Request::InitProducerId(longest));
    assert_eq!(harness.initialized(waiter), (0, FIRST, 0));
    let longest = transactional_id(&"a".repeat(32_767));
    let longest = init_request(None).with_transactional_id(Some(longest));
    let mut harness = Harness::new();
    let waiter = harness.send(5, Request::InitProducerId(longest));
    assert_eq!(harness.initialized(waiter), (0, FIRST, 0));
}

/// A last epoch is in no record: it comes from how the state was reached.
fn at(state: TransactionState, producer: (i64, i16), last: i16) -> Harness {
    if last < 0 {
        return Harness::loaded(transaction(state, producer));
    }
    assert_eq!(last, producer.1 - 1);
    let before = (producer.0, last);
    if state == Empty {
        let mut harness = Harness::loaded(transaction(Empty, before));
        assert_eq!(harness.init(Some(before)), (0, producer.0, producer.1));
        return harness;
    }
    let mut harness = Harness::loaded(transaction(Ongoing, before));
    let told = harness.end(5, before, state == CompleteCommit);
    assert_eq!(told, (0, producer.0, producer.1));
    harness.report(foz_transactions::MarkerOutcome::Written);
    assert_eq!(harness.state(), state.name());
    harness
}

/// By state, last epoch, and what the producer says it has: the answer, and the state then.
#[test]
fn a_known_transactional_id_is_given_on_as_kip_360_says() {
    const P: i64 = 10;
    const MAX: i16 = i16::MAX - 1;
    let fenced = (code(E::ProducerFenced), -1, -1);
    let concurrent = (code(E::ConcurrentTransactions), -1, -1);
    let cases = [
        // Whoever comes without anything takes over.
        (Empty, 7, -1, None, (0, P, 8), "Empty"),
        (CompleteCommit, 7, -1, None, (0, P, 8), "Empty"),
        (CompleteAbort, 7, 6, None, (0, P, 8), "Empty"),
        (Empty, MAX - 1, -1, None, (0, P, MAX), "Empty"),
        // Whoever has the current epoch goes on.
        (Empty, 7, -1, Some((P, 7)), (0, P, 8), "Empty"),
        (CompleteCommit, 7, 6, Some((P, 7)), (0, P, 8), "Empty"),
        // Whoever did not hear of it is told again.
        (Empty, 7, 6, Some((P, 6)), (0, P, 7), "Empty"),
        (CompleteAbort, 7, 6, Some((P, 6)), (0, P, 7), "Empty"),
        (
            Empty,
            MAX,
            MAX - 1,
            Some((P, MAX - 1)),
            (0, P, MAX),
            "Empty",
        ),
        // Anybody else is fenced.
        (Empty, 7, -1, Some((P, 6)), fenced, "Empty"),
        (Empty, 7, 6, Some((P, 5)), fenced, "Empty"),
        (Empty, 7, 6, Some((P, 8)), fenced, "Empty"),
        (Empty, 7, 6, Some((P + 1, 7)), fenced, "Empty"),
        (Empty, 7, 6, Some((P + 1, 6)), fenced, "Empty"),
        (Empty, MAX, -1, Some((P, MAX - 1)), fenced, "Empty"),
        // Epochs that are used up.
        (Empty, MAX, -1, None, (0, FIRST, 0), "Empty"),
        (CompleteAbort, i16::MAX, -1, None, (0, FIRST, 0), "Empty"),
        (Empty, MAX, -1, Some((P, MAX)), (0, FIRST, 0), "Empty"),
        // An open transaction is aborted first, and only by who may.
        (Ongoing, 7, -1, None, concurrent, "PrepareAbort"),
        (Ongoing, 7, -1, Some((P, 7)), concurrent, "PrepareAbort"),
        (Ongoing, 7, -1, Some((P, 6)), fenced, "Ongoing"),
        (Ongoing, 7, -1, Some((P + 1, 7)), fenced, "Ongoing"),
        // One that ends is waited for.
        (PrepareCommit, 7, -1, None, concurrent, "PrepareCommit"),
        (
            PrepareAbort,
            7,
            -1,
            Some((P, 7)),
            concurrent,
            "PrepareAbort",
        ),
        (
            PrepareAbort,
            7,
            -1,
            Some((P, 1)),
            concurrent,
            "PrepareAbort",
        ),
    ];
    for (state, epoch, last, expected, answer, then) in cases {
        let case = format!("{state:?} at epoch {epoch}, last {last}, asked with {expected:?}");
        let mut harness = at(state, (P, epoch), last);
        assert_eq!(harness.init(expected), answer, "{case}");
        assert_eq!(harness.state(), then, "{case}");
    }
}

#[test]
fn a_producer_whose_id_changed_with_a_lost_answer_is_told_the_new_one_again() {
    const MAX: i16 = i16::MAX - 1;
    let mut harness = Harness::loaded(transaction(Empty, (10, MAX)));
    assert_eq!(harness.init(Some((10, MAX))), (0, FIRST, 0));
    for _ in 0..2 {
        assert_eq!(harness.init(Some((10, MAX))), (0, FIRST, 0));
    }
    let fenced = (code(E::ProducerFenced), -1, -1);
    assert_eq!(harness.init(Some((10, MAX - 1))), fenced);
    assert_eq!(harness.init(Some((FIRST, 0))), (0, FIRST, 1));
    assert_eq!(harness.init(Some((10, MAX))), fenced);
}

/// Else what became of its transaction would be lost with the answer to `EndTxn`.
#[test]
fn who_writes_has_heard_of_its_epoch() {
    for api_version in [3, 5] {
        let mut harness = Harness::loaded(transaction(Empty, (10, 7)));
        harness.writes_markers = true;
        // The first copy is held up, the second is answered.
        assert_eq!(harness.init(Some((10, 7))), (0, 10, 8));
        let fenced = (code(E::ProducerFenced), -1, -1);
        if api_version == 3 {
            assert_eq!(harness.add_v3((10, 8), &[0]), 0);
        } else {
            assert_eq!(harness.add_v5((10, 8), &[0]), 0);
        }
        assert_eq!(harness.init(Some((10, 7))), fenced);
        assert_eq!(harness.state(), "Ongoing");
        let told = harness.end(api_version, (10, 8), true);
        assert_eq!(told.0, 0);
        assert_eq!(harness.init(Some((10, 7))), fenced);
        assert_eq!(harness.state(), "CompleteCommit");
        assert_eq!(harness.end(api_version, (10, 8), true), told);
    }
}

#[test]
fn old_clients_are_told_the_error_they_know() {
    for (api_version, error) in [
        (0, E::InvalidProducerEpoch),
        (3, E::InvalidProducerEpoch),
        (4, E::ProducerFenced),
        (5, E::ProducerFenced),
    ] {
        let mut harness = Harness::loaded(transaction(Empty, (10, 7)));
        // Versions that cannot say it are decoded without; the rule is the same.
        let request = Request::InitProducerId(init_request(Some((10, 3))));
        let waiter = harness.send(api_version, request);
        assert_eq!(harness.initialized(waiter).0, code(error), "{api_version}");
    }
}

#[test]
fn a_producer_that_takes_over_an_open_transaction_fences_the_one_before_it() {
    // By the level of transaction.version: epoch in the markers, epoch that is told in the end.
    for (level, marker_epoch, marker_version, told) in [(0, 8, 0, 9), (1, 8, 0, 9), (2, 8, 2, 9)] {
        let config = TransactionConfig {
            transaction_version: level,
            ..TransactionConfig::default()
        };
        let mut harness = Harness::loaded_with(config, transaction(Ongoing, (10, 7)));
        let concurrent = (code(E::ConcurrentTransactions), -1, -1);
        assert_eq!(harness.init(None), concurrent);
        assert_eq!(harness.init(None), concurrent);
        let markers = harness.markers[0].clone();
        assert_eq!(harness.markers.len(), 1);
        assert!(!markers.commit);
        assert_eq!(markers.producer_epoch, marker_epoch, "level {level}");
        assert_eq!(markers.transaction_version, marker_version, "level {level}");
        harness.report(foz_transactions::MarkerOutcome::Written);
        assert_eq!(harness.state(), "CompleteAbort");
        assert_eq!(harness.init(None), (0, 10, told), "level {level}");
        // The one before it.
        let fenced = code(E::ProducerFenced);
        assert_eq!(harness.add_v3((10, 7), &[0]), fenced);
        assert_eq!(harness.end(3, (10, 7), true).0, fenced);
        assert_eq!(harness.end(5, (10, 7), true).0, fenced);
    }
}

#[test]
fn the_last_epoch_can_still_be_fenced() {
    const MAX: i16 = i16::MAX - 1;
    for level in [0, 2] {
        let config = TransactionConfig {
            transaction_version: level,
            ..TransactionConfig::default()
        };
        let mut harness = Harness::loaded_with(config, transaction(Ongoing, (10, MAX)));
        harness.init(None);
        assert_eq!(harness.markers[0].producer_id, 10);
        assert_eq!(harness.markers[0].producer_epoch, i16::MAX);
        harness.report(foz_transactions::MarkerOutcome::Written);
        // Version 2 has the next id already, and uses it up by one more epoch.
        let epoch = if level == 0 { 0 } else { 1 };
        assert_eq!(harness.init(None), (0, FIRST, epoch), "level {level}");
    }
}

#[test]
fn while_a_producer_id_is_awaited_nobody_else_gets_in() {
    let mut harness = Harness::new();
    harness.allocates = false;
    let first = harness.send(5, Request::InitProducerId(init_request(None)));
    let concurrent = (code(E::ConcurrentTransactions), -1, -1);
    assert_eq!(harness.init(None), concurrent);
    let not_found = code(E::TransactionalIdNotFound);
    assert_eq!(harness.describe(ID).error_code, not_found);
    assert!(harness.is_open(first));
    harness.allocate();
    assert_eq!(harness.initialized(first), (0, FIRST, 0));
}

#[test]
fn without_a_producer_id_nothing_changes_and_the_client_tries_again() {
    let loading = (code(E::CoordinatorLoadInProgress), -1, -1);
    let mut harness = Harness::new();
    harness.allocates = false;
    let waiter = harness.send(5, Request::InitProducerId(init_request(None)));
    harness.refuse_producer_id();
    assert_eq!(harness.initialized(waiter), loading);
    assert_eq!(harness.coordinator.next_deadline(), None, "nothing is left");

    let mut harness = Harness::loaded(transaction(Empty, (10, i16::MAX - 1)));
    harness.allocates = false;
    let waiter = harness.send(5, Request::InitProducerId(init_request(None)));
    harness.refuse_producer_id();
    assert_eq!(harness.initialized(waiter), loading);
    harness.allocates = true;
    assert_eq!(harness.init(None), (0, FIRST, 0));
}

#[test]
fn a_failed_append_leaves_the_id_as_it_was() {
    for (append_error, error) in [
        (AppendError::NotAvailable, E::CoordinatorNotAvailable),
        (AppendError::NotCoordinator, E::NotCoordinator),
        (AppendError::TooLarge, E::UnknownServerError),
    ] {
        let mut harness = Harness::loaded(transaction(Empty, (10, 7)));
        harness.confirms = false;
        let waiter = harness.send(5, Request::InitProducerId(init_request(None)));
        assert!(harness.fail(append_error));
        assert_eq!(harness.initialized(waiter), (code(error), -1, -1));
        harness.confirms = true;
        assert_eq!(harness.init(None), (0, 10, 8));
    }
    let mut harness = Harness::new();
    harness.confirms = false;
    let waiter = harness.send(5, Request::InitProducerId(init_request(None)));
    harness.fail(AppendError::NotAvailable);
    assert_eq!(
        harness.initialized(waiter).0,
        code(E::CoordinatorNotAvailable)
    );
    assert_eq!(harness.coordinator.next_deadline(), None, "nothing is left");
}

#[test]
fn a_fence_that_failed_is_tried_again_with_the_same_epoch() {
    let mut harness = Harness::loaded(transaction(Ongoing, (10, 7)));
    harness.confirms = false;
    for _ in 0..3 {
        let waiter = harness.send(5, Request::InitProducerId(init_request(None)));
        harness.fail(AppendError::NotAvailable);
        assert_eq!(
            harness.initialized(waiter).0,
            code(E::CoordinatorNotAvailable)
        );
        assert_eq!(harness.describe(ID).producer_epoch, 7);
    }
    harness.confirms = true;
    harness.init(None);
    assert_eq!(harness.markers[0].producer_epoch, 8);
}
