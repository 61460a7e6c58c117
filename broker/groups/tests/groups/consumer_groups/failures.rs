//! What is not written, or not committed.

use super::*;

#[test]
fn what_is_not_committed_is_not_told() {
    let mut harness = harness();
    harness.confirms = false;
    let joining = send(&mut harness, join("a"));
    let again = send(&mut harness, request("a", 1));
    let describe = ConsumerGroupDescribeRequest::default().with_group_ids(vec![group_id(GROUP)]);
    let describing = harness.send(1, Request::ConsumerGroupDescribe(describe));
    let waiting = [joining, again, describing];
    assert!(waiting.iter().all(|waiter| harness.is_open(*waiter)));
    assert!(harness.confirm());
    assert!(!waiting.iter().any(|waiter| harness.is_open(*waiter)));
    assert_eq!(told(&mut harness, again).member_epoch, 1);

    // What takes too long is told to those who wait, and to whoever asks while it does.
    let leaving = send(&mut harness, request("a", -1));
    harness.advance(5_000);
    assert_eq!(told(&mut harness, leaving).error_code, NOT_AVAILABLE);
    let joining = send(&mut harness, join("b"));
    assert!(harness.is_open(joining));
    harness.advance(5_000);
    assert_eq!(told(&mut harness, joining).error_code, NOT_AVAILABLE);
    assert_eq!(error(&mut harness, request("b", 3)), NOT_AVAILABLE);
    while harness.confirm() {}
    harness.confirms = true;
    assert_eq!(epoch(&mut harness, request("b", 3)), 3);
}

#[test]
fn a_change_that_cannot_be_written_is_as_if_it_had_not_been() {
    let mut harness = harness();
    assert_eq!(epoch(&mut harness, join("a")), 1);
    harness.advance(1_000);
    harness.fails = Some(AppendError::NotAvailable);
    assert_eq!(error(&mut harness, join("b")), NOT_AVAILABLE);
    assert_eq!(error(&mut harness, request("a", -1)), NOT_AVAILABLE);
    // What changes nothing needs no append.
    assert_eq!(epoch(&mut harness, request("a", 1)), 1);
    harness.fails = None;
    assert_eq!(described(&mut harness).members.len(), 1);
    assert_eq!(epoch(&mut harness, request("a", 1)), 1);
    assert_eq!(epoch(&mut harness, join("b")), 2);

    // One that failed to be deleted is there still.
    for member_id in ["a", "b"] {
        epoch(&mut harness, request(member_id, -1));
    }
    harness.fails = Some(AppendError::NotAvailable);
    assert_eq!(delete(&mut harness), NOT_AVAILABLE);
    harness.fails = None;
    assert_eq!(described(&mut harness).group_state.as_str(), "Empty");

    // Nor is it there when it could not be made.
    assert_eq!(delete(&mut harness), 0);
    harness.fails = Some(AppendError::TooLarge);
    assert_ne!(error(&mut harness, join("a")), 0);
    harness.fails = None;
    assert_eq!(listed(&mut harness, &[], &[]), []);
    assert_eq!(harness.reloads, 0);
}

/// A partition that takes no writes for a while does not touch the groups of the classic protocol in it.
#[test]
fn a_failed_change_of_a_consumer_group_leaves_classic_groups_alone() {
    let mut harness = harness();
    let classic = join_request("").with_group_id(group_id("classic"));
    let joining = harness.send(3, Request::JoinGroup(classic));
    assert_eq!(epoch(&mut harness, join("a")), 1);
    harness.fails = Some(AppendError::NotAvailable);
    assert_eq!(error(&mut harness, join("b")), NOT_AVAILABLE);
    harness.fails = None;
    assert!(harness.is_open(joining));
    harness.advance(3_000);
    let joined = harness.joined(joining);
    assert_eq!((joined.error_code, joined.generation_id), (0, 1));
    let beat = heartbeat_request(&joined.member_id, 1).with_group_id(group_id("classic"));
    match harness.call(4, Request::Heartbeat(beat)) {
        Response::Heartbeat(response) => assert_eq!(response.error_code, 0),
        other => panic!("{other:?}"),
    }
    assert_eq!(harness.reloads, 0);
}

/// The member is as it was, and is fenced once that can be written.
#[test]
fn a_member_that_cannot_be_fenced_is_tried_again() {
    let mut harness = harness();
    assert_eq!(epoch(&mut harness, join("a")), 1);
    assert_eq!(epoch(&mut harness, join("b")), 1);
    harness.fails = Some(AppendError::NotAvailable);
    // Both at one moment: the second is built on the first, and is not even tried.
    harness.advance(45_000);
    assert_eq!(described(&mut harness).members.len(), 2);
    harness.advance(5_000);
    assert_eq!(described(&mut harness).members.len(), 2);
    harness.fails = None;
    harness.advance(499);
    harness.advance(1);
    assert_eq!(described(&mut harness).members.len(), 0);
    assert_eq!(harness.reloads, 0);
    harness.restart();
    assert_eq!(described(&mut harness).members.len(), 0);
}

/// The log and the coordinator never part.
#[test]
fn what_is_built_on_a_failed_change_is_not_written() {
    let mut harness = harness();
    for member_id in ["a", "b", "c"] {
        assert_eq!(epoch(&mut harness, join(member_id)), 1);
    }
    harness.advance(44_000);
    assert_eq!(epoch(&mut harness, request("c", 1)), 3);
    // Two sessions end at one moment.
    harness.fails_once = Some(AppendError::NotAvailable);
    harness.advance(1_000);
    assert_eq!(harness.fails_once, None);
    let group = described(&mut harness);
    assert_eq!(group.members.len(), 3);
    harness.restart();
    assert_eq!(described(&mut harness), group);
    assert_eq!(harness.reloads, 0);
}

#[test]
fn a_name_that_cannot_be_taken_stays_with_the_group_that_has_it() {
    let mut harness = harness();
    // A classic one that has offsets.
    assert_eq!(harness.commit("", -1, "orders", 7), 0);
    harness.fails = Some(AppendError::NotAvailable);
    assert_eq!(error(&mut harness, join("a")), NOT_AVAILABLE);
    let empty = |kind: &str| vec![(kind.to_owned(), "Empty".to_owned())];
    assert_eq!(described(&mut harness).error_code, NOT_FOUND);
    assert_eq!(harness.offsets().len(), 1);
    let counts = harness.coordinator.counts();
    assert_eq!(counts.by_protocol(), [("classic", 1), ("consumer", 0)]);
    harness.fails = None;
    assert_eq!(epoch(&mut harness, join("a")), 1);
    assert_eq!(epoch(&mut harness, request("a", -1)), -1);
    assert_eq!(listed(&mut harness, &[], &[]), empty(CONSUMER));
    // One of KIP-848 that has become empty.
    harness.fails = Some(AppendError::NotAvailable);
    let joining = harness.send(3, Request::JoinGroup(join_request("")));
    assert_eq!(harness.joined(joining).error_code, NOT_AVAILABLE);
    assert_eq!(listed(&mut harness, &[], &[]), empty(CONSUMER));
    harness.fails = None;
    harness.advance(120_000);
    assert_eq!(epoch(&mut harness, join("b")), 3);
    assert_eq!(fetched(&mut harness, None, -1), 0);
    assert_eq!(harness.reloads, 0);
}

/// The partition is lost: what came after may be in the log.
#[test]
fn what_fails_with_the_leadership_is_loaded_again() {
    let mut harness = harness();
    harness.confirms = false;
    let joining = send(&mut harness, join("a"));
    let again = send(&mut harness, request("a", 1));
    assert!(harness.fail(AppendError::NotCoordinator));
    assert_eq!(harness.reloads, 1);
    for waiter in [joining, again] {
        let error_code = told(&mut harness, waiter).error_code;
        assert_eq!(error_code, ResponseError::NotCoordinator.code());
    }
}
