//! What happens when a batch does not reach the log, or late, or out of turn.

use foz_groups::{AppendError, AppendToken, Request, Response};
use kafka_protocol::ResponseError;
use kafka_protocol::messages::DeleteGroupsRequest;

use crate::harness::*;

const NOT_AVAILABLE: i16 = ResponseError::CoordinatorNotAvailable.code();

fn commit_error(response: &Response) -> i16 {
    match response {
        Response::OffsetCommit(response) => response.topics[0].partitions[0].error_code,
        other => panic!("{other:?}"),
    }
}

fn delete_request() -> Request {
    let names = vec![group_id(GROUP)];
    Request::DeleteGroups(DeleteGroupsRequest::default().with_groups_names(names))
}

#[test]
fn each_failure_has_kafkas_error() {
    for (failure, error) in [
        (
            AppendError::NotAvailable,
            ResponseError::CoordinatorNotAvailable,
        ),
        (AppendError::NotCoordinator, ResponseError::NotCoordinator),
        (AppendError::TooLarge, ResponseError::UnknownServerError),
    ] {
        let mut harness = Harness::new();
        harness.confirms = false;
        let request = Request::OffsetCommit(commit_request("", -1, "orders", 1));
        let waiter = harness.send(9, request);
        assert!(harness.fail(failure));
        assert_eq!(commit_error(&harness.take(waiter)), error.code());
        assert_eq!(harness.offsets(), []);
        assert_eq!(harness.state(), "Dead");
    }
}

#[test]
fn an_assignment_that_is_not_in_the_log_is_not_given_out() {
    let mut harness = Harness::new();
    let ids: Vec<String> = (0..2)
        .map(|_| harness.member_id(join_request("")))
        .collect();
    let waiters: Vec<u64> = ids
        .iter()
        .map(|id| harness.join(join_request(id)))
        .collect();
    harness.advance(6_000);
    waiters
        .into_iter()
        .for_each(|waiter| assert_eq!(harness.joined(waiter).error_code, 0));

    harness.confirms = false;
    let follower = harness.sync(&ids[1], 1, &[]);
    let leader = harness.sync(&ids[0], 1, &[(ids[1].as_str(), "a")]);
    assert!(harness.is_open(leader) && harness.is_open(follower));
    assert_eq!(harness.state(), "CompletingRebalance");
    // The leader repeats itself, with another assignment: there is one batch all the same.
    let again = harness.sync(&ids[0], 1, &[(ids[1].as_str(), "b")]);
    assert_eq!(
        harness.synced(leader).error_code,
        ResponseError::RebalanceInProgress.code()
    );
    assert_eq!(harness.pending.len(), 1);

    assert!(harness.fail(AppendError::NotAvailable));
    assert_eq!(harness.synced(again).error_code, NOT_AVAILABLE);
    assert_eq!(harness.synced(follower).error_code, NOT_AVAILABLE);
    let (state, _, members) = harness.describe();
    assert_eq!(state, "PreparingRebalance");
    assert!(members.iter().all(|(_, assignment)| assignment.is_empty()));
}

#[test]
fn an_assignment_that_a_rebalance_overtook_is_not_put_in_force() {
    let mut harness = Harness::new();
    let ids = harness.stable(2);
    let waiters: Vec<u64> = ids
        .iter()
        .map(|id| harness.join(join_request(id)))
        .collect();
    waiters
        .into_iter()
        .for_each(|waiter| assert_eq!(harness.joined(waiter).generation_id, 2));
    harness.confirms = false;
    let leader = harness.sync(&ids[0], 2, &[(ids[1].as_str(), "late")]);
    harness.send(3, Request::JoinGroup(join_request("")));
    assert_eq!(
        harness.synced(leader).error_code,
        ResponseError::RebalanceInProgress.code()
    );
    assert!(harness.confirm());
    let (state, _, members) = harness.describe();
    assert_eq!(state, "PreparingRebalance");
    assert!(members.iter().all(|(_, assignment)| assignment.is_empty()));
}

#[test]
fn the_last_to_leave_hears_of_a_failed_append_but_has_left() {
    let mut harness = Harness::new();
    let ids = harness.stable(1);
    harness.confirms = false;
    let waiter = harness.send(5, Request::LeaveGroup(leave_request(&[&ids[0]])));
    assert!(harness.is_open(waiter));
    assert!(harness.fail(AppendError::NotAvailable));
    let Response::LeaveGroup(response) = harness.take(waiter) else {
        panic!()
    };
    assert_eq!(
        (response.error_code, response.members.len()),
        (NOT_AVAILABLE, 0)
    );
    assert_eq!(harness.state(), "Empty");
}

#[test]
fn a_failed_deletion_leaves_the_group_and_its_offsets() {
    let mut harness = Harness::new();
    assert_eq!(harness.commit("", -1, "orders", 3), 0);
    harness.confirms = false;
    let waiter = harness.send(2, delete_request());
    assert_eq!(harness.offsets(), [("orders".to_owned(), 0, 3)]);
    assert!(harness.fail(AppendError::NotAvailable));
    let Response::DeleteGroups(response) = harness.take(waiter) else {
        panic!()
    };
    assert_eq!(response.results[0].error_code, NOT_AVAILABLE);
    assert_eq!(harness.state(), "Empty");
    assert_eq!(harness.offsets(), [("orders".to_owned(), 0, 3)]);
}

#[test]
fn a_deletion_takes_commits_under_way_with_it() {
    let mut harness = Harness::new();
    let ids = harness.stable(1);
    harness.confirms = false;
    let commit = commit_request(&ids[0], 1, "orders", 3);
    let commit = harness.send(9, Request::OffsetCommit(commit));
    harness.send(5, Request::LeaveGroup(leave_request(&[&ids[0]])));
    let deletion = harness.send(2, delete_request());
    while harness.confirm() {}
    assert_eq!(commit_error(&harness.take(commit)), 0);
    let Response::DeleteGroups(response) = harness.take(deletion) else {
        panic!()
    };
    assert_eq!(response.results[0].error_code, 0);
    for _ in 0..2 {
        assert_eq!(harness.state(), "Dead");
        assert_eq!(harness.offsets(), []);
        harness.restart();
    }
}

#[test]
fn who_joins_while_a_deletion_is_under_way_joins_a_new_group() {
    for deleted in [true, false] {
        let mut harness = Harness::new();
        assert_eq!(harness.commit("", -1, "orders", 3), 0);
        harness.confirms = false;
        harness.send(2, delete_request());
        let waiter = harness.send(3, Request::JoinGroup(join_request("")));
        if deleted {
            harness.confirm();
        } else {
            harness.fail(AppendError::NotAvailable);
        }
        harness.advance(3_000);
        assert_eq!(harness.joined(waiter).generation_id, 1);
        assert_eq!(harness.offsets().len(), if deleted { 0 } else { 1 });
    }
}

#[test]
fn outcomes_out_of_turn_take_effect_in_log_order() {
    let mut harness = Harness::new();
    harness.confirms = false;
    let request = |offset| Request::OffsetCommit(commit_request("", -1, "orders", offset));
    let first = harness.send(9, request(1));
    let second = harness.send(9, request(2));
    let (first_append, _) = harness.pending.pop_front().unwrap();
    let (second_append, _) = harness.pending.pop_front().unwrap();

    let effects = harness
        .coordinator
        .on_append(second_append, Ok(()), harness.now);
    assert_eq!(effects, []);
    assert!(harness.is_open(first) && harness.is_open(second));
    let effects = harness
        .coordinator
        .on_append(first_append, Ok(()), harness.now);
    harness.absorb(effects);
    assert!(!harness.is_open(first) && !harness.is_open(second));
    assert_eq!(harness.offsets(), [("orders".to_owned(), 0, 2)]);

    // Reports that come again, or of nothing, are ignored.
    for token in [first_append, second_append, AppendToken(99)] {
        let error = Err(AppendError::TooLarge);
        assert_eq!(harness.coordinator.on_append(token, error, harness.now), []);
    }
}
