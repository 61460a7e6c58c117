//! What was in the log when the coordinator was loaded, and may not be committed; and what takes too long to be.

use foz_groups::{AppendError, Request, Response};
use kafka_protocol::ResponseError;
use kafka_protocol::messages::offset_fetch_request::OffsetFetchRequestGroup;
use kafka_protocol::messages::{
    DeleteGroupsRequest, DescribeGroupsRequest, ListGroupsRequest, OffsetFetchRequest,
};

use crate::harness::*;

const LOADING: i16 = ResponseError::CoordinatorLoadInProgress.code();
const UNKNOWN_MEMBER: i16 = ResponseError::UnknownMemberId.code();
const NOT_AVAILABLE: i16 = ResponseError::CoordinatorNotAvailable.code();
/// `offsets.commit.timeout.ms`
const COMMIT_TIMEOUT_MS: i64 = 5_000;

fn fetch_request(group: &str, require_stable: bool) -> Request {
    let group = OffsetFetchRequestGroup::default()
        .with_group_id(group_id(group))
        .with_topics(None);
    let request = OffsetFetchRequest::default().with_groups(vec![group]);
    Request::OffsetFetch(request.with_require_stable(require_stable))
}

/// The error, or the offset of the only partition.
fn fetched(response: &Response) -> Result<Option<i64>, i16> {
    let Response::OffsetFetch(response) = response else {
        panic!("{response:?}");
    };
    let group = &response.groups[0];
    if group.error_code != 0 {
        return Err(group.error_code);
    }
    let topic = group.topics.first();
    Ok(topic.map(|topic| topic.partitions[0].committed_offset))
}

fn commit_of(group: &str, offset: i64) -> Request {
    let request = commit_request("", -1, "orders", offset);
    Request::OffsetCommit(request.with_group_id(group_id(group)))
}

fn commit_error(response: &Response) -> i16 {
    match response {
        Response::OffsetCommit(response) => response.topics[0].partitions[0].error_code,
        other => panic!("{other:?}"),
    }
}

fn fetch(harness: &mut Harness, group: &str) -> Result<Option<i64>, i16> {
    fetched(&harness.call(8, fetch_request(group, false)))
}

fn listed(harness: &mut Harness) -> Vec<String> {
    let Response::ListGroups(response) =
        harness.call(5, Request::ListGroups(ListGroupsRequest::default()))
    else {
        panic!()
    };
    assert_eq!(response.error_code, 0);
    let groups = response.groups.iter();
    groups.map(|group| group.group_id.to_string()).collect()
}

/// "quiet" has committed 1; "busy" too, and its 2 is in the log above the high watermark, with the first offset
/// of "new".
fn loaded_with_a_tail() -> Harness {
    let mut harness = Harness::new();
    for group in ["quiet", "busy"] {
        assert_eq!(commit_error(&harness.call(9, commit_of(group, 1))), 0);
    }
    harness.confirms = false;
    harness.send(9, commit_of("busy", 2));
    harness.send(9, commit_of("new", 3));
    harness.restart_with_tail(2);
    harness
}

#[test]
fn groups_without_uncommitted_records_are_served_at_once() {
    let mut harness = loaded_with_a_tail();
    assert_eq!(fetch(&mut harness, "quiet"), Ok(Some(1)));
    let stable = harness.call(8, fetch_request("quiet", true));
    assert_eq!(fetched(&stable), Ok(Some(1)), "it waits for nothing");
    assert_eq!(listed(&mut harness), ["busy", "quiet"]);
    // Too few are in sync, so it cannot write; it is not loading.
    let refused = harness.send(9, commit_of("quiet", 9));
    harness.fail_newest(AppendError::NotAvailable);
    assert_eq!(commit_error(&harness.take(refused)), NOT_AVAILABLE);
    assert_eq!(fetch(&mut harness, "quiet"), Ok(Some(1)));
}

#[test]
fn groups_with_uncommitted_records_load_until_those_are_committed() {
    let mut harness = loaded_with_a_tail();
    for group in ["busy", "new"] {
        assert_eq!(fetch(&mut harness, group), Err(LOADING));
        assert_eq!(commit_error(&harness.call(9, commit_of(group, 9))), LOADING);
        let names = vec![group_id("quiet"), group_id(group)];
        let described = DescribeGroupsRequest::default().with_groups(names.clone());
        let Response::DescribeGroups(response) =
            harness.call(5, Request::DescribeGroups(described))
        else {
            panic!()
        };
        assert_eq!(response.groups[1].error_code, LOADING);
        let deleted = DeleteGroupsRequest::default().with_groups_names(names);
        let Response::DeleteGroups(response) = harness.call(2, Request::DeleteGroups(deleted))
        else {
            panic!()
        };
        assert_eq!(response.results[1].error_code, LOADING);
    }
    // Time does not help, and expiry leaves them alone.
    harness.advance(60_000);
    harness.now.wall_ms += harness.config.offsets_retention_ms;
    let effects = harness.coordinator.expire_offsets(harness.now);
    harness.absorb(effects);
    assert_eq!(harness.pending.len(), 2, "quiet is old");
    assert_eq!(harness.pending[1].1.len(), 2, "its offset and itself");
    harness.fail_newest(AppendError::NotAvailable);

    assert!(harness.confirm());
    assert_eq!(fetch(&mut harness, "busy"), Ok(Some(2)));
    assert_eq!(fetch(&mut harness, "new"), Ok(Some(3)));
    assert_eq!(fetch(&mut harness, "quiet"), Ok(Some(1)));
    assert_eq!(listed(&mut harness), ["busy", "new", "quiet"]);
}

#[test]
fn what_other_groups_append_meanwhile_takes_effect_after_it() {
    let mut harness = loaded_with_a_tail();
    let waiter = harness.send(9, commit_of("quiet", 7));
    let (tail, _) = harness.pending.pop_front().unwrap();
    let (append, _) = harness.pending.pop_front().unwrap();
    let early = harness.coordinator.on_append(append, Ok(()), harness.now);
    assert_eq!(early, []);
    let effects = harness.coordinator.on_append(tail, Ok(()), harness.now);
    harness.absorb(effects);
    assert_eq!(commit_error(&harness.take(waiter)), 0);
    assert_eq!(fetch(&mut harness, "quiet"), Ok(Some(7)));
    assert_eq!(fetch(&mut harness, "busy"), Ok(Some(2)));
}

#[test]
fn members_of_a_group_that_loads_stay_and_go_on() {
    let mut harness = Harness::new();
    let ids = harness.stable(2);
    assert_eq!(harness.commit(&ids[0], 1, "orders", 1), 0);
    harness.confirms = false;
    let commit = commit_request(&ids[0], 1, "orders", 2);
    harness.send(9, Request::OffsetCommit(commit));
    harness.restart_with_tail(1);
    // Longer than their sessions: they cannot be blamed.
    harness.advance(120_000);
    assert_eq!(harness.heartbeat(&ids[0], 1), 0);
    harness.confirms = true;
    assert!(harness.confirm());
    assert_eq!(harness.describe().2.len(), 2);
    assert_eq!(harness.heartbeat(&ids[0], 1), 0);
    assert_eq!(harness.commit(&ids[0], 1, "orders", 3), 0);
    // Now the sessions count.
    harness.advance(11_000);
    assert_eq!(harness.heartbeat(&ids[1], 1), UNKNOWN_MEMBER);
}

#[test]
fn an_uncommitted_generation_and_an_uncommitted_deletion_come_true() {
    let mut harness = Harness::new();
    let ids = harness.stable(1);
    assert_eq!(harness.commit(&ids[0], 1, "orders", 1), 0);
    harness.confirms = false;
    harness.send(5, Request::LeaveGroup(leave_request(&[&ids[0]])));
    harness.restart_with_tail(1);
    while harness.confirm() {}
    assert_eq!(harness.state(), "Empty");

    let names = DeleteGroupsRequest::default().with_groups_names(vec![group_id(GROUP)]);
    harness.send(2, Request::DeleteGroups(names));
    harness.restart_with_tail(1);
    while harness.confirm() {}
    assert_eq!(harness.state(), "Dead");
    assert_eq!(harness.offsets(), []);
}

#[test]
fn topics_of_uncommitted_offsets_are_known() {
    let mut harness = Harness::new();
    harness.confirms = false;
    harness.send(9, commit_of("new", 3));
    harness.restart_with_tail(1);
    assert!(harness.coordinator.committed_topics().contains("orders"));
    let effects = harness
        .coordinator
        .on_topics_deleted(&["orders"], harness.now);
    harness.absorb(effects);
    while harness.confirm() {}
    assert_eq!(fetch(&mut harness, "new"), Ok(None));
}

#[test]
fn a_commit_is_waited_for_so_long_and_counts_once_it_is_committed() {
    let mut harness = Harness::new();
    assert_eq!(commit_error(&harness.call(9, commit_of(GROUP, 1))), 0);
    harness.confirms = false;
    let waiter = harness.send(9, commit_of(GROUP, 2));
    harness.advance(COMMIT_TIMEOUT_MS - 1);
    assert!(harness.is_open(waiter));
    let reader = harness.send(8, fetch_request(GROUP, true));
    assert!(
        harness.is_open(reader),
        "the commit may be in at any moment"
    );
    harness.advance(1);
    assert_eq!(commit_error(&harness.take(waiter)), NOT_AVAILABLE);
    assert_eq!(fetched(&harness.take(reader)), Ok(Some(1)));
    // Nobody waits for it any more.
    let stable = harness.call(8, fetch_request(GROUP, true));
    assert_eq!(fetched(&stable), Ok(Some(1)));
    assert_eq!(harness.coordinator.next_deadline(), None);
    assert!(harness.confirm());
    assert_eq!(fetch(&mut harness, GROUP), Ok(Some(2)));
}

#[test]
fn who_fetches_stable_offsets_waits_for_the_commit_before_one_that_failed() {
    let mut harness = Harness::new();
    harness.confirms = false;
    harness.send(9, commit_of(GROUP, 1));
    let failed = harness.send(9, commit_of(GROUP, 2));
    let reader = harness.send(8, fetch_request(GROUP, true));
    harness.send(9, commit_of(GROUP, 3));
    let (last, _) = harness.pending.pop_back().unwrap();
    harness.fail_newest(AppendError::NotAvailable);
    assert_eq!(commit_error(&harness.take(failed)), NOT_AVAILABLE);
    assert!(harness.is_open(reader));
    assert!(harness.confirm());
    assert_eq!(fetched(&harness.take(reader)), Ok(Some(1)));
    let effects = harness.coordinator.on_append(last, Ok(()), harness.now);
    harness.absorb(effects);
    assert_eq!(fetch(&mut harness, GROUP), Ok(Some(3)));
}

#[test]
fn an_assignment_that_takes_too_long_is_given_up() {
    let mut harness = Harness::new();
    let id = harness.member_id(join_request(""));
    let waiter = harness.join(join_request(&id));
    harness.advance(3_000);
    assert_eq!(harness.joined(waiter).generation_id, 1);
    harness.confirms = false;
    let leader = harness.sync(&id, 1, &[(&id, "late")]);
    harness.advance(COMMIT_TIMEOUT_MS);
    assert_eq!(harness.synced(leader).error_code, NOT_AVAILABLE);
    assert_eq!(harness.state(), "PreparingRebalance");
    // It comes to be committed after all; the rebalance goes on.
    assert!(harness.confirm());
    assert_eq!(harness.state(), "PreparingRebalance");
    let waiter = harness.join(join_request(&id));
    assert_eq!(harness.joined(waiter).generation_id, 2);
    harness.confirms = true;
    let leader = harness.sync(&id, 2, &[(&id, "new")]);
    assert_eq!(harness.synced(leader).assignment, "new");
    harness.restart();
    assert_eq!(harness.heartbeat(&id, 2), 0);
}

#[test]
fn a_deletion_that_takes_too_long_happens_later() {
    let mut harness = Harness::new();
    assert_eq!(commit_error(&harness.call(9, commit_of(GROUP, 1))), 0);
    harness.confirms = false;
    let names = DeleteGroupsRequest::default().with_groups_names(vec![group_id(GROUP)]);
    let waiter = harness.send(2, Request::DeleteGroups(names));
    harness.advance(COMMIT_TIMEOUT_MS);
    let Response::DeleteGroups(response) = harness.take(waiter) else {
        panic!()
    };
    assert_eq!(response.results[0].error_code, NOT_AVAILABLE);
    assert_eq!(fetch(&mut harness, GROUP), Ok(Some(1)), "not committed");
    assert!(harness.confirm());
    assert_eq!(fetch(&mut harness, GROUP), Ok(None));
    assert_eq!(harness.state(), "Dead");
}
