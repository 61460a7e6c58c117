use foz_transactions::{Request, Response, Route, TransactionState, merge, split};
use kafka_protocol::ResponseError as E;
use kafka_protocol::messages::{
    DescribeTransactionsRequest, ListTransactionsRequest, ListTransactionsResponse,
};

use crate::harness::*;

use TransactionState::{CompleteAbort, CompleteCommit, Empty, Ongoing, PrepareCommit};

/// One id in each of four states.
fn four() -> Harness {
    let mut harness = Harness::new();
    harness.writes_markers = false;
    let states = [
        ("orders-1", Ongoing, 10),
        ("orders-2", Empty, 11),
        ("ORDERS-3", CompleteCommit, 12),
        ("payments", PrepareCommit, 13),
    ];
    for (id, state, producer_id) in states {
        let mut value = transaction(state, (producer_id, 7));
        if state == Empty {
            value.start_timestamp_ms = -1;
        }
        harness.log.push(record(id, Some(value)));
    }
    harness.move_clock_to(harness.now.monotonic_ms + 5_000);
    harness.restart();
    harness
}

fn list(harness: &mut Harness, request: ListTransactionsRequest) -> ListTransactionsResponse {
    match harness.call(2, Request::ListTransactions(request.into())) {
        Response::ListTransactions(response) => response,
        other => panic!("{other:?}"),
    }
}

#[test]
fn lists_by_state_producer_duration_and_pattern() {
    let all = ListTransactionsRequest::default;
    let names = |states: &[&str]| states.iter().map(|state| text(state)).collect();
    let pattern = |pattern: &str| all().with_transactional_id_pattern(Some(text(pattern)));
    let cases: Vec<(ListTransactionsRequest, &[&str])> = vec![
        (all(), &["ORDERS-3", "orders-1", "orders-2", "payments"]),
        (all().with_state_filters(names(&["Ongoing"])), &["orders-1"]),
        (
            all().with_state_filters(names(&["Empty", "PrepareCommit"])),
            &["orders-2", "payments"],
        ),
        (all().with_state_filters(names(&["Dead"])), &[]),
        (all().with_state_filters(names(&["Nonsense"])), &[]),
        (
            all().with_producer_id_filters(vec![11.into(), 12.into(), 99.into()]),
            &["ORDERS-3", "orders-2"],
        ),
        (
            all().with_duration_filter(4_999),
            &["ORDERS-3", "orders-1", "orders-2", "payments"],
        ),
        // Kafka counts what never began from 1970.
        (all().with_duration_filter(5_000), &["orders-2"]),
        (
            all().with_duration_filter(-1),
            &["ORDERS-3", "orders-1", "orders-2", "payments"],
        ),
        (
            pattern(""),
            &["ORDERS-3", "orders-1", "orders-2", "payments"],
        ),
        (pattern("orders-.*"), &["orders-1", "orders-2"]),
        (pattern("orders"), &[]),
        (pattern("order|orders-1"), &["orders-1"]),
        (pattern("(?i)orders-[23]"), &["ORDERS-3", "orders-2"]),
        (pattern("(?x) orders -1 # the first"), &["orders-1"]),
        (pattern("orders-1#"), &[]),
        (
            pattern("orders-.*").with_state_filters(names(&["Empty"])),
            &["orders-2"],
        ),
    ];
    for (request, expected) in cases {
        let mut harness = four();
        let response = list(&mut harness, request.clone());
        assert_eq!(response.error_code, 0, "{request:?}");
        let ids = response.transaction_states.iter();
        let ids: Vec<&str> = ids.map(|state| state.transactional_id.as_str()).collect();
        assert_eq!(ids, expected, "{request:?}");
    }
    let mut harness = four();
    let response = list(
        &mut harness,
        all().with_producer_id_filters(vec![13.into()]),
    );
    let only = &response.transaction_states[0];
    assert_eq!(only.producer_id.0, 13);
    assert_eq!(only.transaction_state.as_str(), "PrepareCommit");
}

#[test]
fn names_that_are_no_states_are_told() {
    let mut harness = four();
    let names = ["Ongoing", "ongoing", "Dead", "PrepareEpochFence", "x"];
    let request = ListTransactionsRequest::default();
    let request = request.with_state_filters(names.map(text).to_vec());
    let response = list(&mut harness, request.clone());
    assert_eq!(response.unknown_state_filters, ["ongoing", "x"].map(text));
    assert_eq!(response.transaction_states.len(), 1);
    // The same where no coordinator is asked.
    match Request::ListTransactions(request.into()).empty_response() {
        Response::ListTransactions(response) => {
            assert_eq!(response.unknown_state_filters, ["ongoing", "x"].map(text));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn patterns_that_are_none_or_too_large_are_refused() {
    let mut harness = four();
    let long = "a".repeat(1_000_000);
    for pattern in ["(", "a)|(b", "[z-a]", "a{1000}{1000}{1000}", &long] {
        let request = ListTransactionsRequest::default();
        let request = request.with_transactional_id_pattern(Some(text(pattern)));
        let response = list(&mut harness, request.clone());
        let refused = code(E::InvalidRegularExpression);
        assert_eq!(
            response.error_code,
            refused,
            "{}",
            &pattern[..pattern.len().min(20)]
        );
        assert_eq!(response.transaction_states, []);
        match Request::ListTransactions(request.into()).empty_response() {
            Response::ListTransactions(response) => assert_eq!(response.error_code, refused),
            other => panic!("{other:?}"),
        }
    }
    // What takes exponential time elsewhere.
    let slow = ListTransactionsRequest::default();
    let slow = slow.with_transactional_id_pattern(Some(text("(o*)*(r*)*x")));
    assert_eq!(list(&mut harness, slow).transaction_states, []);
}

#[test]
fn describes_what_is_known() {
    let mut harness = four();
    let described = harness.describe("orders-1");
    assert_eq!(described.error_code, 0);
    assert_eq!(described.transaction_state.as_str(), "Ongoing");
    assert_eq!(described.transaction_timeout_ms, TIMEOUT_MS);
    assert_eq!(described.transaction_start_time_ms, 1_700_000_000_000);
    assert_eq!((described.producer_id.0, described.producer_epoch), (10, 7));
    assert_eq!(described.topics.len(), 1);
    assert_eq!(described.topics[0].topic.as_str(), "orders");
    assert_eq!(described.topics[0].partitions, [0, 1]);
    assert_eq!(harness.describe("").error_code, code(E::InvalidRequest));
    let not_found = code(E::TransactionalIdNotFound);
    assert_eq!(harness.describe("nobody").error_code, not_found);
    let counts = harness.coordinator.counts();
    let count = |state| counts.by_state.get(&state).copied();
    let found = [Ongoing, Empty, PrepareCommit, CompleteAbort].map(count);
    assert_eq!(found, [Some(1), Some(1), Some(1), None]);
}

#[test]
fn requests_for_several_coordinators_are_cut_and_put_together() {
    let ids: Vec<String> = (0..20).map(|index| format!("id-{index}")).collect();
    let partition_for = |id: &str| id.len() as i32;
    let named = ids.iter().map(|id| transactional_id(id)).collect();
    let describe = DescribeTransactionsRequest::default().with_transactional_ids(named);
    let transactions = ids.iter().map(|id| add_transaction(id, (1, 0), true, &[0]));
    let requests = [
        (0, Request::DescribeTransactions(describe)),
        (5, broker_add(transactions.collect())),
    ];
    for (api_version, request) in requests {
        let empty = request.empty_response();
        let parts = split(request, api_version, partition_for);
        let routes: Vec<Route> = parts.iter().map(|(route, _)| *route).collect();
        assert_eq!(routes, [Route::Partition(4), Route::Partition(5)]);
        let answers = parts.into_iter().map(|(_, part)| {
            let mut harness = Harness::new();
            harness.call(api_version, part)
        });
        let count = match merge(answers.collect(), empty) {
            Response::DescribeTransactions(response) => response.transaction_states.len(),
            Response::AddPartitionsToTxn(response) => response.results_by_transaction.len(),
            other => panic!("{other:?}"),
        };
        assert_eq!(count, ids.len());
    }
    let whole = |api_version, request: Request| {
        let parts = split(request.clone(), api_version, partition_for);
        assert_eq!(parts.len(), 1);
        assert_eq!(parts[0].1, request);
        parts[0].0
    };
    assert_eq!(whole(3, client_add((1, 0), &[0])), Route::Partition(2));
    assert_eq!(whole(5, end_request((1, 0), true)), Route::Partition(2));
    let init = Request::InitProducerId(init_request(None));
    assert_eq!(whole(5, init), Route::Partition(2));
    let list = Request::ListTransactions(ListTransactionsRequest::default().into());
    assert_eq!(whole(2, list), Route::Every);
    assert_eq!(split(broker_add(Vec::new()), 5, partition_for), []);
}

#[test]
fn part_of_a_list_is_no_list() {
    let list = Request::ListTransactions(ListTransactionsRequest::default().into());
    let refused = list.error_response(2, E::CoordinatorLoadInProgress);
    let whole = four().call(2, list.clone());
    let merged = merge(vec![whole.clone(), refused.clone()], list.empty_response());
    assert_eq!(merged, refused);
    let merged = merge(vec![whole.clone(), whole], list.empty_response());
    match merged {
        Response::ListTransactions(response) => assert_eq!(response.transaction_states.len(), 8),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_request_that_reaches_no_coordinator_is_refused_whole() {
    let one = || vec![add_transaction(ID, (10, 7), false, &[0])];
    let describe = DescribeTransactionsRequest::default();
    let describe = describe.with_transactional_ids(vec![transactional_id(ID)]);
    let requests = [
        (5, Request::InitProducerId(init_request(None))),
        (3, client_add((10, 7), &[0])),
        (5, broker_add(one())),
        (5, end_request((10, 7), true)),
        (0, Request::DescribeTransactions(describe)),
        (
            2,
            Request::ListTransactions(ListTransactionsRequest::default().into()),
        ),
    ];
    let error = E::NotCoordinator;
    for (api_version, request) in requests {
        let mut harness = Harness::new();
        let told = match request.error_response(api_version, error) {
            Response::InitProducerId(response) => response.error_code,
            Response::EndTxn(response) => response.error_code,
            Response::ListTransactions(response) => response.error_code,
            Response::DescribeTransactions(response) => response.transaction_states[0].error_code,
            response @ Response::AddPartitionsToTxn(_) => {
                harness.replies.insert(0, response);
                harness.added(0)
            }
            other @ Response::AddOffsetsToTxn(_) => panic!("{other:?}"),
        };
        assert_eq!(told, code(error), "{request:?}");
    }
}
