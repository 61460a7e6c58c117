//! Requests that were held up on the way: Jepsen found in Bufstream 0.1.0, and in Kafka's protocol, that they
//! end a later transaction.

use foz_transactions::{MarkerOutcome, Request, TransactionState};
use kafka_protocol::messages::{AddOffsetsToTxnRequest, GroupId};

use crate::harness::*;

use TransactionState::{Empty, Ongoing};

/// The old way: all over one epoch. Connection 11 got stuck, so the client opened connection 12.
fn next_transaction() -> Harness {
    let mut harness = Harness::loaded(transaction(Ongoing, (10, 7)));
    harness.writes_markers = true;
    let add = harness.send_over(Some(11), 3, client_add((10, 7), &[0]));
    assert_eq!(harness.added(add), 0);
    let end = harness.send_over(Some(12), 3, end_request((10, 7), true));
    assert_eq!(harness.ended(end).0, 0);
    let add = harness.send_over(Some(12), 3, client_add((10, 7), &[0, 1]));
    assert_eq!(harness.added(add), 0);
    assert_eq!(harness.state(), "Ongoing");
    harness
}

fn add_offsets() -> Request {
    let request = AddOffsetsToTxnRequest::default()
        .with_transactional_id(transactional_id(ID))
        .with_producer_id(10.into())
        .with_producer_epoch(7)
        .with_group_id(GroupId(text("group")));
    Request::AddOffsetsToTxn {
        request,
        offsets_partition: 0,
    }
}

/// What may have been held up, with its version.
fn late() -> [(i16, Request); 5] {
    [
        (3, end_request((10, 7), true)),
        (3, end_request((10, 7), false)),
        (4, end_request((10, 7), true)),
        (3, client_add((10, 7), &[9])),
        (3, add_offsets()),
    ]
}

#[test]
fn what_comes_over_an_older_connection_is_not_taken_for_news() {
    for (api_version, request) in late() {
        let mut harness = next_transaction();
        let records = harness.log.len();
        let waiter = harness.send_over(Some(11), api_version, request.clone());
        assert_eq!(harness.closed, [waiter], "{request:?}");
        assert_eq!(harness.state(), "Ongoing", "{request:?}");
        assert_eq!(harness.log.len(), records, "{request:?}");
        // The client goes on over its own connection.
        let end = harness.send_over(Some(12), 3, end_request((10, 7), false));
        assert_eq!(harness.ended(end).0, 0);
        assert_eq!(harness.state(), "CompleteAbort");
    }
}

#[test]
fn a_request_that_is_refused_speaks_for_its_connection_too() {
    let mut harness = Harness::loaded(transaction(Ongoing, (10, 7)));
    harness.confirms = false;
    harness.send_over(Some(11), 3, end_request((10, 7), true));
    let again = harness.send_over(Some(12), 3, end_request((10, 7), true));
    assert_eq!(harness.ended(again).0, 51);
    let late = harness.send_over(Some(11), 3, end_request((10, 7), true));
    assert_eq!(harness.closed, [late]);
}

#[test]
fn connections_are_compared_only_for_one_producer_and_epoch() {
    let mut harness = next_transaction();
    // Another producer takes over, with a connection that it has had for long.
    assert_eq!(harness.init(None).0, 51);
    assert_eq!(harness.init(None), (0, 10, 9));
    let add = harness.send_over(Some(3), 3, client_add((10, 9), &[0]));
    assert_eq!(harness.added(add), 0);
    // The former one is told that it is fenced, whatever it comes over.
    let late = harness.send_over(Some(11), 3, end_request((10, 7), true));
    assert_eq!(harness.ended(late).0, 90);
    let late = harness.send_over(Some(15), 3, end_request((10, 7), true));
    assert_eq!(harness.ended(late).0, 90);
    let end = harness.send_over(Some(3), 3, end_request((10, 9), true));
    assert_eq!(harness.ended(end).0, 0);
    assert_eq!(harness.closed, []);
}

#[test]
fn brokers_have_no_place_in_the_order() {
    let mut harness = Harness::loaded(transaction(Empty, (10, 7)));
    let one = || broker_add(vec![add_transaction(ID, (10, 7), false, &[0])]);
    // Nor has what they send over a connection that was given a number.
    for (api_version, connection) in [(4, None), (5, None), (4, Some(12)), (5, Some(11))] {
        let waiter = harness.send_over(connection, api_version, one());
        assert_eq!(harness.added(waiter), 0);
    }
    let refused = broker_add(vec![
        add_transaction(ID, (10, 7), false, &[1]),
        add_transaction(ID, (10, 7), false, &[2]),
    ]);
    harness.send_over(Some(1), 5, refused);
    assert_eq!(harness.closed, []);
}

#[test]
fn an_epoch_for_each_transaction_needs_no_order() {
    let mut harness = Harness::loaded(transaction(Ongoing, (10, 7)));
    let end = harness.send_over(Some(12), 5, end_request((10, 7), true));
    assert_eq!(harness.ended(end), (0, 10, 8));
    harness.report(MarkerOutcome::Written);
    let late = harness.send_over(Some(11), 5, end_request((10, 7), true));
    assert_eq!(harness.ended(late), (0, 10, 8));
    assert_eq!(harness.add_v5((10, 8), &[0]), 0);
    let late = harness.send_over(Some(11), 5, end_request((10, 7), true));
    assert_eq!(harness.ended(late).0, 90);
    assert_eq!(harness.state(), "Ongoing");
}

/// Also where the leader stays and only its epoch grows: the connections live on.
#[test]
fn what_was_sent_before_the_coordinator_was_loaded_is_not_taken_for_news() {
    for (api_version, request) in late() {
        let mut harness = next_transaction();
        harness.restart();
        let records = harness.log.len();
        let held_up = harness.send_over(Some(11), api_version, request.clone());
        // Nobody knows that the client has this one now.
        let end = harness.send_over(Some(12), 3, end_request((10, 7), false));
        assert_eq!(harness.closed, [held_up, end], "{request:?}");
        assert_eq!(harness.state(), "Ongoing", "{request:?}");
        assert_eq!(harness.log.len(), records, "{request:?}");
        // It connects and asks again.
        let end = harness.send_over(Some(13), 3, end_request((10, 7), false));
        assert_eq!(harness.ended(end).0, 0);
        assert_eq!(harness.state(), "CompleteAbort");
    }
}

#[test]
fn a_coordinator_that_was_loaded_closes_only_what_could_be_news() {
    let mut harness = next_transaction();
    harness.restart();
    // Of another producer or epoch, of a broker, with an epoch for each transaction.
    let other = harness.send_over(Some(11), 3, end_request((10, 6), true));
    assert_eq!(harness.ended(other).0, 90);
    let other = harness.send_over(Some(11), 3, client_add((9, 7), &[0]));
    assert_eq!(harness.added(other), 49);
    assert_eq!(harness.add_v5((10, 7), &[2]), 0);
    let end = harness.send_over(Some(11), 5, end_request((10, 7), true));
    assert_eq!(harness.ended(end), (0, 10, 8));
    assert_eq!(harness.closed, []);
}

/// On a new cluster the coordinator is younger than the connections of its clients.
#[test]
fn who_was_initialised_by_this_coordinator_may_speak_over_a_connection_from_before_it() {
    let mut harness = Harness::loaded(transaction(Empty, (10, 7)));
    harness.writes_markers = true;
    harness.newest_connection = 20;
    harness.restart();
    let before = harness.send_over(Some(11), 3, client_add((10, 7), &[0]));
    assert_eq!(harness.closed, [before]);
    assert_eq!(harness.init(Some((10, 7))), (0, 10, 8));
    let add = harness.send_over(Some(12), 3, client_add((10, 8), &[0]));
    assert_eq!(harness.added(add), 0);
    let late = harness.send_over(Some(11), 3, client_add((10, 8), &[1]));
    assert_eq!(harness.closed, [before, late]);
    harness.restart();
    let again = harness.send_over(Some(12), 3, end_request((10, 8), true));
    assert_eq!(harness.closed, [before, late, again]);
    let end = harness.send_over(Some(21), 3, end_request((10, 8), true));
    assert_eq!(harness.ended(end).0, 0);
}

/// KIP-360: the producer may have heard of it the first time, and have spoken.
#[test]
fn an_epoch_that_is_told_once_more_is_not_new() {
    let mut harness = Harness::loaded(transaction(Empty, (10, 7)));
    assert_eq!(harness.init(Some((10, 7))), (0, 10, 8));
    let end = harness.send_over(Some(12), 3, end_request((10, 8), true));
    assert_eq!(harness.ended(end).0, 48);
    assert_eq!(harness.init(Some((10, 7))), (0, 10, 8));
    let late = harness.send_over(Some(11), 3, client_add((10, 8), &[0]));
    assert_eq!(harness.closed, [late]);
}
