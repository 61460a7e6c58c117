use foz_groups::{Request, Response};
use kafka_protocol::ResponseError;

use crate::harness::*;

const REBALANCING: i16 = ResponseError::RebalanceInProgress.code();

#[test]
fn a_third_member_makes_two_rebalance() {
    let mut harness = Harness::new();
    let mut ids = harness.stable(2);

    // The third member's join makes everyone join again; heartbeats tell.
    ids.push(harness.member_id(join_request("")));
    let third = harness.join(join_request(&ids[2]));
    assert_eq!(harness.state(), "PreparingRebalance");
    assert_eq!(harness.heartbeat(&ids[0], 1), REBALANCING);
    assert_eq!(harness.heartbeat(&ids[1], 1), REBALANCING);

    // Before they give up their partitions they commit.
    assert_eq!(harness.commit(&ids[1], 1, "orders", 10), 0);

    let first = harness.join(join_request(&ids[0]));
    assert!(harness.is_open(first));
    let second = harness.join(join_request(&ids[1]));
    let leader = harness.joined(first);
    assert_eq!((leader.generation_id, leader.members.len()), (2, 3));
    assert_eq!(harness.joined(second).generation_id, 2);
    assert_eq!(harness.joined(third).generation_id, 2);
    // Now it is too late to commit until the assignment is known.
    assert_eq!(harness.commit(&ids[1], 2, "orders", 11), REBALANCING);

    let followers: Vec<u64> = ids[1..].iter().map(|id| harness.sync(id, 2, &[])).collect();
    let assigned: Vec<(&str, &str)> = ids
        .iter()
        .map(String::as_str)
        .zip(["0", "1", "2"])
        .collect();
    let leader = harness.sync(&ids[0], 2, &assigned);
    assert_eq!(&harness.synced(leader).assignment[..], b"0");
    for (waiter, assignment) in followers.into_iter().zip(["1", "2"]) {
        assert_eq!(
            &harness.synced(waiter).assignment[..],
            assignment.as_bytes()
        );
    }
    for id in &ids {
        assert_eq!(harness.heartbeat(id, 2), 0);
        assert_eq!(
            harness.heartbeat(id, 1),
            ResponseError::IllegalGeneration.code()
        );
    }
    assert_eq!(harness.offsets(), [("orders".to_owned(), 0, 10)]);
}

#[test]
fn a_dead_member_is_noticed_by_its_session() {
    let mut harness = Harness::new();
    let ids = harness.stable(2);
    harness.advance(9_999);
    assert_eq!(harness.heartbeat(&ids[0], 1), 0);
    harness.advance(1);
    assert_eq!(harness.heartbeat(&ids[0], 1), REBALANCING);
    assert_eq!(
        harness.heartbeat(&ids[1], 1),
        ResponseError::UnknownMemberId.code()
    );
    // Alone, it is served as soon as it joins.
    let waiter = harness.join(join_request(&ids[0]));
    let response = harness.joined(waiter);
    assert_eq!((response.generation_id, response.members.len()), (2, 1));
}

#[test]
fn a_dead_leader_is_replaced() {
    let mut harness = Harness::new();
    let ids = harness.stable(2);
    harness.advance(5_000);
    assert_eq!(harness.heartbeat(&ids[1], 1), 0);
    harness.advance(5_000);
    assert_eq!(harness.heartbeat(&ids[1], 1), REBALANCING);
    let waiter = harness.join(join_request(&ids[1]));
    let response = harness.joined(waiter);
    assert_eq!(
        (response.leader.as_str(), response.members.len()),
        (ids[1].as_str(), 1)
    );
}

#[test]
fn who_heartbeats_but_does_not_rejoin_is_left_behind() {
    let mut harness = Harness::new();
    let ids = harness.stable(2);
    let first = harness.join(join_request(&ids[0]));
    for _ in 0..12 {
        assert!(harness.is_open(first));
        harness.advance(5_000);
        harness.heartbeat(&ids[1], 1);
    }
    let response = harness.joined(first);
    assert_eq!((response.generation_id, response.members.len()), (2, 1));
    assert_eq!(
        harness.heartbeat(&ids[1], 1),
        ResponseError::UnknownMemberId.code()
    );
}

#[test]
fn a_new_member_that_died_while_it_waited_goes_too() {
    let mut harness = Harness::new();
    let ids = harness.stable(1);
    // The old member keeps the join phase open by a long rebalance timeout and heartbeats.
    let long = |id: &str| join_request(id).with_rebalance_timeout_ms(1_000_000);
    let first = harness.join(long(&ids[0]));
    assert_eq!(harness.joined(first).generation_id, 2);
    let leader = harness.sync(&ids[0], 2, &[]);
    assert_eq!(harness.synced(leader).error_code, 0);
    let newcomer = harness.send(3, Request::JoinGroup(long("")));
    for _ in 0..60 {
        assert!(harness.is_open(newcomer));
        harness.advance(5_000);
        harness.heartbeat(&ids[0], 2);
    }
    assert_eq!(
        harness.joined(newcomer).error_code,
        ResponseError::UnknownMemberId.code()
    );
}

#[test]
fn the_last_member_leaves_an_empty_group_with_its_offsets() {
    let mut harness = Harness::new();
    let ids = harness.stable(2);
    assert_eq!(harness.commit(&ids[0], 1, "orders", 5), 0);
    assert_eq!(harness.leave(&ids[0]), 0);
    assert_eq!(harness.leave(&ids[1]), 0);
    assert_eq!(harness.state(), "Empty");
    harness.restart();
    assert_eq!(harness.state(), "Empty");
    assert_eq!(harness.offsets(), [("orders".to_owned(), 0, 5)]);
    // The next generation goes on from there.
    let waiter = harness.send(3, Request::JoinGroup(join_request("")));
    harness.advance(3_000);
    assert_eq!(harness.joined(waiter).generation_id, 3);
}

#[test]
fn after_a_restart_members_go_on_without_a_rebalance() {
    let mut harness = Harness::new();
    let ids = harness.stable(3);
    assert_eq!(harness.commit(&ids[2], 1, "orders", 77), 0);
    let before = harness.describe();
    harness.advance(9_000);
    harness.restart();
    assert_eq!(harness.describe(), before);
    assert_eq!(harness.offsets(), [("orders".to_owned(), 0, 77)]);
    // A whole session from the load on.
    harness.advance(9_999);
    for id in &ids {
        assert_eq!(harness.heartbeat(id, 1), 0);
    }
    let again = harness.sync(&ids[1], 1, &[]);
    assert_eq!(&harness.synced(again).assignment[..], ids[1].as_bytes());
    harness.advance(10_000);
    assert_eq!(harness.state(), "Empty");
}

#[test]
fn everyone_who_waits_is_told_when_the_coordinator_moves() {
    let mut harness = Harness::new();
    let ids = harness.stable(2);
    let joining = harness.join(join_request(&ids[0]));
    harness.confirms = false;
    let request = commit_request("", -1, "orders", 1).with_group_id(group_id("simple"));
    let committing = harness.send(9, Request::OffsetCommit(request));
    harness.restart();
    assert_eq!(
        harness.joined(joining).error_code,
        ResponseError::NotCoordinator.code()
    );
    let Response::OffsetCommit(response) = harness.take(committing) else {
        panic!()
    };
    let error_code = response.topics[0].partitions[0].error_code;
    assert_eq!(error_code, ResponseError::NotCoordinator.code());
}

#[test]
fn cooperative_members_agree_on_a_protocol_while_they_are_rolled() {
    let mut harness = Harness::new();
    let both = protocols(&["cooperative-sticky", "range"]);
    let old = harness.send(3, Request::JoinGroup(join_request("")));
    harness.advance(3_000);
    let old = harness.joined(old).member_id.to_string();
    harness.sync(&old, 1, &[]);

    // First bounce: a member that knows both joins one that knows range only.
    let new = harness.member_id(join_request("").with_protocols(both.clone()));
    let new_join = harness.join(join_request(&new).with_protocols(both.clone()));
    let old_join = harness.join(join_request(&old));
    assert_eq!(
        harness.joined(new_join).protocol_name.as_deref(),
        Some("range")
    );
    assert_eq!(
        harness.joined(old_join).protocol_name.as_deref(),
        Some("range")
    );
    let syncs = [harness.sync(&new, 2, &[]), harness.sync(&old, 2, &[])];
    syncs
        .into_iter()
        .for_each(|waiter| assert_eq!(harness.synced(waiter).error_code, 0));

    // Second bounce: the old one is gone, so the preference of the new one counts.
    assert_eq!(harness.leave(&old), 0);
    let waiter = harness.join(join_request(&new).with_protocols(both));
    let response = harness.joined(waiter);
    assert_eq!(
        response.protocol_name.as_deref(),
        Some("cooperative-sticky")
    );
}
