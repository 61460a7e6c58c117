//! What waits for the log: outcomes late, never, twice, and the end of the coordinator.

use foz_transactions::{
    AppendToken, ProducerIdToken, Request, TransactionConfig, TransactionState,
};
use kafka_protocol::ResponseError as E;

use crate::harness::*;

use TransactionState::{Empty, Ongoing};

#[test]
fn nobody_waits_for_longer_than_the_request_timeout() {
    let mut harness = Harness::loaded(transaction(Ongoing, (10, 7)));
    harness.confirms = false;
    let waiter = harness.send(5, end_request((10, 7), true));
    harness.advance(29_999);
    assert!(harness.is_open(waiter));
    harness.advance(1);
    let not_available = code(E::CoordinatorNotAvailable);
    assert_eq!(harness.ended(waiter), (not_available, -1, -1));
    // Its outcome is open: nobody else decides meanwhile.
    let concurrent = code(E::ConcurrentTransactions);
    assert_eq!(harness.end(5, (10, 7), false).0, concurrent);
    harness.writes_markers = true;
    harness.confirms = true;
    harness.confirm();
    assert_eq!(harness.end(5, (10, 7), true), (0, 10, 8));
}

#[test]
fn each_waits_for_as_long_as_it_waits() {
    let mut harness = Harness::loaded(transaction(Empty, (10, 7)));
    harness.confirms = false;
    let first = harness.send(3, client_add((10, 7), &[0]));
    harness.advance(20_000);
    let second = harness.send(5, Request::InitProducerId(init_request_of("second")));
    harness.advance(10_000);
    assert_eq!(harness.added(first), code(E::CoordinatorNotAvailable));
    assert!(harness.is_open(second));
    harness.confirm();
    harness.advance(20_000);
    let (error, ..) = harness.initialized(second);
    assert_eq!(error, code(E::CoordinatorNotAvailable));
    harness.confirm();
    assert_eq!(harness.describe("second").error_code, 0);
}

fn init_request_of(id: &str) -> kafka_protocol::messages::InitProducerIdRequest {
    init_request(None).with_transactional_id(Some(transactional_id(id)))
}

#[test]
fn ids_do_not_wait_for_each_other() {
    let mut harness = Harness::new();
    harness.confirms = false;
    let ids = ["a", "b", "c"];
    let waiters = ids.map(|id| {
        let request = Request::InitProducerId(init_request_of(id));
        harness.send(5, request)
    });
    assert_eq!(harness.pending.len(), 3);
    // The last of them is reported first.
    let (token, _) = harness.pending.pop_back().expect("three");
    let effects = harness.coordinator.on_append(token, Ok(()), harness.now);
    harness.absorb(effects);
    assert_eq!(harness.initialized(waiters[2]), (0, FIRST + 2, 0));
    assert!(harness.is_open(waiters[0]) && harness.is_open(waiters[1]));
}

#[test]
fn outcomes_of_nothing_are_ignored() {
    let mut harness = Harness::loaded(transaction(Empty, (10, 7)));
    let now = harness.now;
    let unknown = AppendToken(u64::MAX);
    assert_eq!(harness.coordinator.on_append(unknown, Ok(()), now), []);
    let unknown = ProducerIdToken(u64::MAX);
    assert_eq!(
        harness.coordinator.on_producer_id(unknown, Some(1), now),
        []
    );
    harness.confirms = false;
    harness.send(3, client_add((10, 7), &[0]));
    let token = harness.pending[0].0;
    harness.confirm();
    assert_eq!(harness.coordinator.on_append(token, Ok(()), now), []);
    assert_eq!(harness.state(), "Ongoing");
}

#[test]
fn whoever_waits_is_told_when_the_coordinator_resigns() {
    let mut harness = Harness::loaded(transaction(Ongoing, (10, 7)));
    harness
        .log
        .push(record("other", Some(transaction(Empty, (20, 1)))));
    harness.restart();
    harness.confirms = false;
    harness.allocates = false;
    let end = harness.send(5, end_request((10, 7), true));
    let awaits_id = harness.send(5, Request::InitProducerId(init_request_of("new")));
    // One part is settled, the other is not.
    let add = harness.send(
        5,
        broker_add(vec![
            add_transaction("other", (20, 1), false, &[0]),
            add_transaction("nobody", (30, 0), false, &[0]),
        ]),
    );
    harness.restart();
    let not_coordinator = code(E::NotCoordinator);
    assert_eq!(harness.ended(end).0, not_coordinator);
    assert_eq!(harness.initialized(awaits_id), (not_coordinator, -1, -1));
    assert_eq!(harness.added(add), not_coordinator);
}

#[test]
fn an_idle_coordinator_sleeps() {
    let mut harness = Harness::new();
    assert_eq!(harness.coordinator.next_deadline(), None);
    harness.init(None);
    let hour_ms = 60 * 60 * 1_000;
    let deadline_ms = harness.coordinator.next_deadline().expect("expiry");
    assert_eq!(deadline_ms, harness.now.monotonic_ms + hour_ms);
}

#[test]
fn shorter_intervals_take_effect_at_once() {
    let mut harness = Harness::loaded(transaction(Ongoing, (10, 7)));
    let mut config = harness.config.clone();
    config.transaction_abort_timed_out_transaction_cleanup_interval_ms = 100;
    config.transaction_remove_expired_transaction_cleanup_interval_ms = 500;
    harness.coordinator.configure(config, harness.now);
    harness.advance(i64::from(TIMEOUT_MS) + 100);
    assert_eq!(harness.state(), "PrepareAbort");
}

#[test]
fn records_have_the_version_that_the_level_says() {
    for (level, value_version) in [(0, 0), (1, 1), (2, 1)] {
        let config = TransactionConfig {
            transaction_version: level,
            ..TransactionConfig::default()
        };
        let mut harness = Harness::with_config(config);
        harness.writes_markers = true;
        assert_eq!(harness.init(None), (0, FIRST, 0));
        assert_eq!(harness.add_v3((FIRST, 0), &[0]), 0);
        assert_eq!(harness.end(3, (FIRST, 0), true).0, 0);
        assert_eq!(harness.state(), "CompleteCommit");
        let versions: Vec<i16> = harness
            .log
            .iter()
            .map(|record| record.value_version)
            .collect();
        assert_eq!(versions, [value_version; 4], "level {level}");
    }
}

#[test]
fn states_have_kafkas_ids() {
    let states = TransactionState::ALL.map(|state| (state.id(), state.name()));
    let expected = [
        (0, "Empty"),
        (1, "Ongoing"),
        (2, "PrepareCommit"),
        (3, "PrepareAbort"),
        (4, "CompleteCommit"),
        (5, "CompleteAbort"),
    ];
    assert_eq!(states, expected);
    for state in TransactionState::ALL {
        assert_eq!(TransactionState::from_id(state.id()), Some(state));
    }
    // Dead and PrepareEpochFence are in no record.
    for id in [-1, 6, 7, i8::MAX] {
        assert_eq!(TransactionState::from_id(id), None);
    }
}
