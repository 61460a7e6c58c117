//! What the log held when the coordinator was loaded: above its high watermark, and what is no record.

use foz_transactions::{Loader, MarkerOutcome, Request, Response, TransactionState};
use kafka_protocol::ResponseError as E;
use kafka_protocol::messages::ListTransactionsRequest;

use crate::harness::*;

use TransactionState::{Empty, Ongoing};

#[test]
fn what_is_not_committed_is_not_told() {
    let mut harness = Harness::loaded(transaction(Ongoing, (10, 7)));
    harness
        .log
        .push(record("other", Some(transaction(Ongoing, (20, 1)))));
    harness.restart();
    harness.confirms = false;
    harness.send(5, end_request((10, 7), true));
    harness.restart_with_tail(1);
    let loading = code(E::CoordinatorLoadInProgress);
    assert_eq!(harness.coordinator.loading_count(), 1);
    assert_eq!(harness.markers, [], "nothing is decided");
    assert_eq!(harness.init(None).0, loading);
    assert_eq!(harness.end(4, (10, 7), true).0, loading);
    assert_eq!(harness.end(5, (10, 7), false).0, loading);
    assert_eq!(harness.add_v3((10, 7), &[0]), loading);
    assert_eq!(harness.add_v5((10, 7), &[0]), loading);
    let verify = broker_add(vec![add_transaction(ID, (10, 7), true, &[0])]);
    let waiter = harness.send(4, verify);
    assert_eq!(harness.added(waiter), loading);
    assert_eq!(harness.describe(ID).error_code, loading);
    match harness.call(
        2,
        Request::ListTransactions(ListTransactionsRequest::default().into()),
    ) {
        Response::ListTransactions(response) => assert_eq!(response.error_code, loading),
        other => panic!("{other:?}"),
    }
    // The others are served.
    assert_eq!(harness.add_v5((20, 1), &[0]), loading);
    let add = broker_add(vec![add_transaction("other", (20, 1), false, &[0])]);
    let waiter = harness.send(5, add);
    assert_eq!(harness.added(waiter), 0);
    assert_eq!(harness.describe("other").error_code, 0);
    harness.advance(300_000);
    assert_eq!(
        harness.describe(ID).error_code,
        loading,
        "however long it takes"
    );

    while harness.confirm() {}
    assert_eq!(harness.coordinator.loading_count(), 0);
    assert!(harness.markers.iter().any(|markers| markers.commit));
    assert_eq!(harness.state(), "PrepareCommit");
}

#[test]
fn what_a_former_coordinator_decided_is_done_when_it_is_committed() {
    let mut harness = Harness::loaded(transaction(Ongoing, (10, 7)));
    harness.confirms = false;
    let waiter = harness.send(5, end_request((10, 7), true));
    harness.restart_with_tail(1);
    // The client does not know, and asks again.
    assert_eq!(harness.ended(waiter).0, code(E::NotCoordinator));
    harness.confirms = true;
    harness.confirm();
    assert_eq!(
        harness.end(5, (10, 7), true).0,
        code(E::ConcurrentTransactions)
    );
    harness.report(MarkerOutcome::Written);
    assert_eq!(harness.end(5, (10, 7), true), (0, 10, 8));
    assert_eq!(harness.add_v5((10, 8), &[0]), 0);
}

#[test]
fn what_was_lost_was_not_decided() {
    let mut harness = Harness::loaded(transaction(Ongoing, (10, 7)));
    harness.confirms = false;
    let waiter = harness.send(5, end_request((10, 7), true));
    harness.restart();
    assert_eq!(harness.ended(waiter).0, code(E::NotCoordinator));
    harness.confirms = true;
    assert_eq!(harness.state(), "Ongoing");
    assert_eq!(harness.end(5, (10, 7), false), (0, 10, 8));
    assert!(harness.sent.iter().all(|markers| !markers.commit));
}

#[test]
fn an_id_that_comes_or_goes_above_the_high_watermark_is_loading_too() {
    let mut harness = Harness::new();
    harness.confirms = false;
    let waiter = harness.send(5, Request::InitProducerId(init_request(None)));
    harness.restart_with_tail(1);
    assert_eq!(harness.initialized(waiter).0, code(E::NotCoordinator));
    assert_eq!(harness.init(None).0, code(E::CoordinatorLoadInProgress));
    harness.confirms = true;
    harness.confirm();
    assert_eq!(harness.init(None), (0, FIRST, 1));

    let mut harness = Harness::loaded(transaction(Empty, (10, 7)));
    harness.confirms = false;
    harness.advance(8 * 24 * 60 * 60 * 1_000);
    harness.restart_with_tail(1);
    assert_eq!(harness.init(None).0, code(E::CoordinatorLoadInProgress));
    harness.confirms = true;
    harness.confirm();
    assert_eq!(harness.init(None), (0, FIRST, 0));
}

#[test]
fn the_last_of_several_records_counts() {
    let mut harness = Harness::new();
    for epoch in 0..5 {
        harness
            .log
            .push(record(ID, Some(transaction(Empty, (10, epoch)))));
    }
    harness.restart();
    assert_eq!(harness.describe(ID).producer_epoch, 4);
    harness.log.push(record(ID, None));
    harness.restart();
    let not_found = code(E::TransactionalIdNotFound);
    assert_eq!(harness.describe(ID).error_code, not_found);
}

#[test]
fn a_record_that_cannot_be_read_ends_the_load() {
    let (key, value) = record(ID, Some(transaction(Ongoing, (10, 7)))).encode();
    let value = value.unwrap();
    let mut newer = value.to_vec();
    newer[1] = 2;
    let mut dead = value.to_vec();
    dead[16] = 6;
    let cases: [(&[u8], &[u8], &str); 4] = [
        (&key, &newer, "TransactionLogValue has version 2"),
        (&key, &dead, "TransactionLogValue: TransactionStatus is 6;"),
        (&key, &value[..9], "TransactionLogValue: ProducerId"),
        (&key[..3], &value, "TransactionLogKey: TransactionalId"),
    ];
    for (key, value, cause) in cases {
        let told = |error: foz_transactions::RecordError| error.to_string();
        let error = Loader::new().replay(key, Some(value)).map_err(told);
        assert!(error.as_ref().unwrap_err().starts_with(cause), "{error:?}");
        let uncommitted = Loader::new().replay_uncommitted(key, Some(value));
        assert_eq!(uncommitted.map_err(told), error);
    }
}

#[test]
fn records_of_unknown_types_are_passed_over_and_counted() {
    let mut loader = Loader::new();
    for _ in 0..2 {
        loader.replay(b"\x00\x01id", Some(b"anything")).unwrap();
    }
    loader.replay_uncommitted(b"\x00\x01", None).unwrap();
    loader.replay_uncommitted(b"\x01\x00", None).unwrap();
    let (key, _) = record(ID, None).encode();
    loader.replay(&key, None).unwrap();
    let skipped = loader.skipped().iter();
    let skipped: Vec<(i16, usize)> = skipped.map(|(of, count)| (*of, *count)).collect();
    assert_eq!(skipped, [(1, 3), (256, 1)]);
}
