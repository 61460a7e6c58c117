//! What the log held above its high watermark when the coordinator was loaded.

use foz_transactions::{MarkerOutcome, Request, Response, TransactionState};
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
