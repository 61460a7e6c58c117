use foz_transactions::{Request, Response, TransactionState};
use kafka_protocol::ResponseError as E;
use kafka_protocol::messages::{AddOffsetsToTxnRequest, GroupId};

use crate::harness::*;

use TransactionState::{
    CompleteAbort, CompleteCommit, Empty, Ongoing, PrepareAbort, PrepareCommit,
};

fn add_offsets(producer: (i64, i16)) -> Request {
    let request = AddOffsetsToTxnRequest::default()
        .with_transactional_id(transactional_id(ID))
        .with_producer_id(producer.0.into())
        .with_producer_epoch(producer.1)
        .with_group_id(GroupId(text("group")));
    Request::AddOffsetsToTxn {
        request,
        offsets_partition: 17,
    }
}

/// The same rules for clients that add, for leaders that add for them, and for offsets.
#[test]
fn who_may_add_partitions() {
    let mine = (10, 7);
    let cases = [
        (Empty, mine, 0, "Ongoing"),
        (Ongoing, mine, 0, "Ongoing"),
        (CompleteCommit, mine, 0, "Ongoing"),
        (CompleteAbort, mine, 0, "Ongoing"),
        (Empty, (11, 7), code(E::InvalidProducerIdMapping), "Empty"),
        (Empty, (10, 6), code(E::ProducerFenced), "Empty"),
        (Empty, (10, 8), code(E::ProducerFenced), "Empty"),
        (
            Ongoing,
            (11, 7),
            code(E::InvalidProducerIdMapping),
            "Ongoing",
        ),
        (Ongoing, (10, 6), code(E::ProducerFenced), "Ongoing"),
        (
            PrepareCommit,
            mine,
            code(E::ConcurrentTransactions),
            "PrepareCommit",
        ),
        (
            PrepareAbort,
            mine,
            code(E::ConcurrentTransactions),
            "PrepareAbort",
        ),
        // What is under way comes first (KAFKA-18660).
        (
            PrepareAbort,
            (11, 0),
            code(E::ConcurrentTransactions),
            "PrepareAbort",
        ),
        (
            PrepareAbort,
            (10, 1),
            code(E::ConcurrentTransactions),
            "PrepareAbort",
        ),
    ];
    for (state, producer, error, then) in cases {
        let one = || vec![add_transaction(ID, producer, false, &[5])];
        let requests = [
            (3, client_add(producer, &[5])),
            (4, broker_add(one())),
            (5, broker_add(one())),
            (4, add_offsets(producer)),
        ];
        for (api_version, request) in requests {
            let case = format!("{state:?}, {producer:?}, {request:?}");
            let mut harness = Harness::loaded(transaction(state, (10, 7)));
            let waiter = harness.send(api_version, request);
            assert_eq!(harness.added(waiter), error, "{case}");
            assert_eq!(harness.state(), then, "{case}");
            assert_eq!(harness.log.len(), if error == 0 { 2 } else { 1 }, "{case}");
        }
    }
}

#[test]
fn an_id_that_is_empty_or_unknown_is_refused() {
    let mut harness = Harness::new();
    assert_eq!(
        harness.add_v3((10, 7), &[0]),
        code(E::InvalidProducerIdMapping)
    );
    for verify_only in [false, true] {
        for (id, error) in [("", E::InvalidRequest), (ID, E::InvalidProducerIdMapping)] {
            let one = vec![add_transaction(id, (10, 7), verify_only, &[0])];
            let waiter = harness.send(5, broker_add(one));
            assert_eq!(harness.added(waiter), code(error), "{id} {verify_only}");
        }
    }
}

#[test]
fn old_clients_are_told_the_error_they_know() {
    for (api_version, error) in [
        (0, E::InvalidProducerEpoch),
        (1, E::InvalidProducerEpoch),
        (2, E::ProducerFenced),
        (3, E::ProducerFenced),
    ] {
        let mut harness = Harness::loaded(transaction(Empty, (10, 7)));
        let waiter = harness.send(api_version, client_add((10, 6), &[0]));
        assert_eq!(harness.added(waiter), code(error), "{api_version}");
        let waiter = harness.send(api_version, add_offsets((10, 6)));
        assert_eq!(harness.added(waiter), code(error), "{api_version}");
    }
}

#[test]
fn a_transaction_begins_with_its_first_partition() {
    let mut harness = Harness::loaded(transaction(CompleteCommit, (10, 7)));
    harness.move_clock_to(harness.now.monotonic_ms + 1_000);
    let began_ms = harness.now.wall_ms;
    assert_eq!(harness.add_v5((10, 7), &[3]), 0);
    assert_eq!(harness.last().start_timestamp_ms, began_ms);
    assert_eq!(harness.last().client_transaction_version, 2);
    harness.move_clock_to(harness.now.monotonic_ms + 1_000);
    assert_eq!(harness.add_v3((10, 7), &[4, 5]), 0);
    let waiter = harness.send(3, add_offsets((10, 7)));
    assert_eq!(harness.added(waiter), 0);
    let last = harness.last();
    assert_eq!(last.start_timestamp_ms, began_ms);
    assert_eq!(last.last_update_timestamp_ms, began_ms + 1_000);
    assert_eq!(last.client_transaction_version, 0);
    let partitions: Vec<_> = last.partitions.iter().cloned().collect();
    let orders = |index| partition("orders", index);
    let offsets = partition("__consumer_offsets", 17);
    assert_eq!(partitions, [offsets, orders(3), orders(4), orders(5)]);
}

#[test]
fn partitions_that_are_known_need_no_record() {
    let mut harness = Harness::loaded(transaction(Ongoing, (10, 7)));
    harness.confirms = false;
    assert_eq!(harness.add_v5((10, 7), &[0]), 0);
    assert_eq!(harness.add_v5((10, 7), &[1, 0]), 0);
    assert!(harness.pending.is_empty());
    let waiter = harness.send(
        5,
        broker_add(vec![add_transaction(ID, (10, 7), false, &[1, 2])]),
    );
    assert_eq!(harness.pending.len(), 1);
    // Also those known already have to wait now.
    assert_eq!(
        harness.add_v5((10, 7), &[0]),
        code(E::ConcurrentTransactions)
    );
    harness.confirm();
    assert_eq!(harness.added(waiter), 0);
}

#[test]
fn a_topic_that_cannot_be_is_refused() {
    for (length, error) in [(249, 0), (250, code(E::InvalidTopicException))] {
        let name = "t".repeat(length);
        for api_version in [3, 5] {
            let mut harness = Harness::loaded(transaction(Empty, (10, 7)));
            let topics = topics_named(&name, &[0]);
            let request = if api_version == 3 {
                let Request::AddPartitionsToTxn(request) = client_add((10, 7), &[]) else {
                    panic!("another request");
                };
                Request::AddPartitionsToTxn(request.with_v3_and_below_topics(topics))
            } else {
                let one = add_transaction(ID, (10, 7), false, &[]);
                broker_add(vec![one.with_topics(topics)])
            };
            let waiter = harness.send(api_version, request);
            assert_eq!(harness.added(waiter), error, "{length}");
            let state = if error == 0 { "Ongoing" } else { "Empty" };
            assert_eq!(harness.state(), state, "{length}");
        }
    }
}

#[test]
fn nothing_begins_with_no_partition() {
    let mut harness = Harness::loaded(transaction(Empty, (10, 7)));
    let waiter = harness.send(3, client_add((10, 7), &[]));
    assert!(!harness.is_open(waiter));
    assert_eq!(harness.state(), "Empty");
    let waiter = harness.send(5, broker_add(Vec::new()));
    match harness.take(waiter) {
        Response::AddPartitionsToTxn(response) => {
            assert_eq!(response.results_by_transaction, []);
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn one_request_of_a_broker_names_several_transactions() {
    let mut harness = Harness::loaded(transaction(Empty, (10, 7)));
    harness
        .log
        .push(record("other", Some(transaction(Ongoing, (20, 1)))));
    harness.restart();
    harness.confirms = false;
    let transactions = vec![
        add_transaction("other", (20, 1), true, &[1, 2]),
        add_transaction(ID, (10, 7), false, &[3]),
        add_transaction("nobody", (30, 0), false, &[4]),
        add_transaction("other", (20, 1), false, &[5]),
        // The first of the same id is under way.
        add_transaction(ID, (10, 7), false, &[6]),
    ];
    let waiter = harness.send(5, broker_add(transactions));
    assert!(harness.confirm());
    assert!(harness.is_open(waiter), "the second append is under way");
    assert!(harness.confirm());
    let Response::AddPartitionsToTxn(response) = harness.take(waiter) else {
        panic!("another response");
    };
    let told: Vec<(String, Vec<i16>)> = response
        .results_by_transaction
        .iter()
        .map(|result| {
            let partitions = result.topic_results[0].results_by_partition.iter();
            let errors = partitions.map(|partition| partition.partition_error_code);
            (result.transactional_id.to_string(), errors.collect())
        })
        .collect();
    let expected = [
        ("other", vec![0, code(E::TransactionAbortable)]),
        (ID, vec![0]),
        ("nobody", vec![code(E::InvalidProducerIdMapping)]),
        ("other", vec![0]),
        (ID, vec![code(E::ConcurrentTransactions)]),
    ];
    let expected = expected.map(|(id, errors)| (id.to_owned(), errors));
    assert_eq!(told, expected);
}

#[test]
fn what_a_leader_verifies() {
    let mine = (10, 7);
    let cases = [
        (Ongoing, mine, 0, 0),
        (Ongoing, mine, 9, code(E::TransactionAbortable)),
        (Empty, mine, 0, code(E::TransactionAbortable)),
        (CompleteCommit, mine, 0, code(E::TransactionAbortable)),
        (PrepareCommit, mine, 0, code(E::ConcurrentTransactions)),
        (PrepareAbort, mine, 0, code(E::ConcurrentTransactions)),
        (Ongoing, (11, 7), 0, code(E::InvalidProducerIdMapping)),
        (Ongoing, (10, 6), 0, code(E::ProducerFenced)),
        // The state is looked at last.
        (PrepareAbort, (10, 6), 0, code(E::ProducerFenced)),
    ];
    for (state, producer, index, error) in cases {
        let mut harness = Harness::loaded(transaction(state, mine));
        let one = vec![add_transaction(ID, producer, true, &[index])];
        let waiter = harness.send(4, broker_add(one));
        assert_eq!(
            harness.added(waiter),
            error,
            "{state:?} {producer:?} {index}"
        );
        assert_eq!(harness.log.len(), 1);
    }
}

#[test]
fn a_leader_verifies_while_a_record_is_under_way() {
    let mut harness = Harness::loaded(transaction(Ongoing, (10, 7)));
    harness.confirms = false;
    harness.send(3, client_add((10, 7), &[2]));
    for (index, error) in [(0, 0), (2, code(E::TransactionAbortable))] {
        let one = vec![add_transaction(ID, (10, 7), true, &[index])];
        let waiter = harness.send(4, broker_add(one));
        assert_eq!(harness.added(waiter), error, "{index}");
    }
}
