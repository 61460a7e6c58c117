use foz_groups::{AppendError, Request, Response};
use kafka_protocol::ResponseError;
use kafka_protocol::messages::leave_group_request::MemberIdentity;

use crate::harness::*;

const FENCED: i16 = ResponseError::FencedInstanceId.code();

fn static_request(
    instance_id: &str,
    member_id: &str,
) -> kafka_protocol::messages::JoinGroupRequest {
    join_request(member_id).with_group_instance_id(Some(text(instance_id)))
}

/// A Stable group of the static members `a` (leader) and `b`.
fn stable(harness: &mut Harness) -> (String, String) {
    let a = harness.join(static_request("a", ""));
    let b = harness.join(static_request("b", ""));
    harness.advance(6_000);
    let (a, b) = (harness.joined(a), harness.joined(b));
    assert_eq!(a.leader, a.member_id);
    let assigned = [
        (a.member_id.as_str(), "for-a"),
        (b.member_id.as_str(), "for-b"),
    ];
    let follower = harness.sync(&b.member_id, 1, &[]);
    let leader = harness.sync(&a.member_id, 1, &assigned);
    assert_eq!(harness.synced(leader).error_code, 0);
    assert_eq!(harness.synced(follower).error_code, 0);
    (a.member_id.to_string(), b.member_id.to_string())
}

#[test]
fn a_static_member_needs_no_second_join_and_is_named_after_its_instance() {
    let mut harness = Harness::new();
    let (a, _) = stable(&mut harness);
    assert!(a.starts_with("a-"), "{a}");
}

#[test]
fn a_restarted_follower_gets_its_assignment_back_without_a_rebalance() {
    let mut harness = Harness::new();
    let (a, b) = stable(&mut harness);
    let waiter = harness.join(static_request("b", ""));
    let response = harness.joined(waiter);
    assert_eq!((response.error_code, response.generation_id), (0, 1));
    assert_ne!(response.member_id.as_str(), b);
    assert_eq!(
        (response.leader.as_str(), response.skip_assignment),
        (a.as_str(), false)
    );
    assert_eq!(harness.state(), "Stable");
    let sync = harness.sync(&response.member_id, 1, &[]);
    assert_eq!(&harness.synced(sync).assignment[..], b"for-b");
    // The old process is fenced where it names its instance, and unknown where it does not.
    let old = heartbeat_request(&b, 1).with_group_instance_id(Some(text("b")));
    let Response::Heartbeat(answer) = harness.call(4, Request::Heartbeat(old)) else {
        panic!()
    };
    assert_eq!(answer.error_code, FENCED);
    assert_eq!(
        harness.heartbeat(&b, 1),
        ResponseError::UnknownMemberId.code()
    );
    let old = commit_request(&b, 1, "t", 1).with_group_instance_id(Some(text("b")));
    let Response::OffsetCommit(answer) = harness.call(9, Request::OffsetCommit(old)) else {
        panic!()
    };
    assert_eq!(answer.topics[0].partitions[0].error_code, FENCED);
    // And so it is after a restart of the broker.
    let members = harness.describe();
    harness.restart();
    assert_eq!(harness.describe(), members);
}

#[test]
fn a_restarted_leader_is_told_to_skip_the_assignment() {
    let mut harness = Harness::new();
    let (a, _) = stable(&mut harness);
    let waiter = harness.join(static_request("a", ""));
    let response = harness.joined(waiter);
    assert_eq!(response.leader, response.member_id);
    assert!(response.skip_assignment);
    assert_eq!(response.members.len(), 2);

    // A client that cannot be told believes that the former leader still leads.
    let former = response.member_id;
    let waiter = harness.send(8, Request::JoinGroup(static_request("a", "")));
    let response = harness.joined(waiter);
    assert_eq!((response.leader, response.members.len()), (former, 0));
    assert!(!response.skip_assignment);
    assert_ne!(response.member_id.as_str(), a);
}

#[test]
fn the_answer_waits_for_the_log_and_a_failure_changes_nothing() {
    let mut harness = Harness::new();
    let (_, b) = stable(&mut harness);
    let before = harness.describe();
    harness.confirms = false;
    let waiter = harness.join(static_request("b", ""));
    assert!(harness.is_open(waiter));
    assert!(harness.fail(AppendError::NotAvailable));
    let response = harness.joined(waiter);
    assert_eq!(
        response.error_code,
        ResponseError::CoordinatorNotAvailable.code()
    );
    assert_eq!(harness.describe(), before);
    assert_eq!(harness.heartbeat(&b, 1), 0);
}

#[test]
fn a_rebalance_that_overtakes_the_append_answers_the_member() {
    for confirmed in [true, false] {
        let mut harness = Harness::new();
        let (a, _) = stable(&mut harness);
        harness.confirms = false;
        let waiter = harness.join(static_request("b", ""));
        let leader = harness.join(static_request("a", &a));
        // Both have joined, so generation 2 begins although the append is still under way.
        let b = harness.joined(waiter);
        assert_eq!((b.error_code, b.generation_id), (0, 2));
        assert_eq!(harness.joined(leader).generation_id, 2);
        if confirmed {
            assert!(harness.confirm());
        } else {
            assert!(harness.fail(AppendError::NotCoordinator));
        }
        assert_eq!(harness.state(), "CompletingRebalance");
        assert_eq!(harness.heartbeat(&b.member_id, 2), 0);
    }
}

#[test]
fn a_changed_protocol_makes_a_rebalance_all_the_same() {
    let mut harness = Harness::new();
    let names = ["range", "sticky"];
    let request = |instance_id, member_id, names: &[&str]| {
        static_request(instance_id, member_id).with_protocols(protocols(names))
    };
    let a = harness.join(request("a", "", &names));
    harness.advance(3_000);
    let a = harness.joined(a).member_id.to_string();
    harness.sync(&a, 1, &[]);
    let a = harness.join(request("a", "", &["sticky"]));
    let response = harness.joined(a);
    assert_eq!(response.protocol_name.as_deref(), Some("sticky"));
    assert_eq!(response.generation_id, 2);
}

#[test]
fn a_second_process_with_the_same_instance_fences_the_first_while_it_waits() {
    let mut harness = Harness::new();
    let (a, _) = stable(&mut harness);
    // The leader rejoins and waits for b; another process takes its instance.
    let first = harness.join(static_request("a", &a));
    let second = harness.join(static_request("a", ""));
    let fenced = harness.joined(first);
    assert_eq!(
        (fenced.error_code, fenced.member_id.as_str()),
        (FENCED, a.as_str())
    );
    assert!(harness.is_open(second));
    let stale = harness.join(static_request("a", &a));
    assert_eq!(harness.joined(stale).error_code, FENCED);

    // The same during the sync phase: who waits for the assignment is fenced.
    let mut harness = Harness::new();
    let a = harness.join(static_request("a", ""));
    let b = harness.join(static_request("b", ""));
    harness.advance(6_000);
    harness.joined(a);
    let b = harness.joined(b).member_id.to_string();
    let first = harness.sync(&b, 1, &[]);
    let second = harness.join(static_request("b", ""));
    assert_eq!(harness.synced(first).error_code, FENCED);
    assert!(harness.is_open(second));
    assert_eq!(harness.state(), "PreparingRebalance");
}

#[test]
fn a_static_member_that_does_not_rejoin_keeps_its_place_until_its_session_ends() {
    let mut harness = Harness::new();
    let (a, b) = stable(&mut harness);
    let waiter = harness.join(static_request("a", &a).with_session_timeout_ms(60_000));
    for _ in 0..12 {
        harness.advance(5_000);
        harness.heartbeat(&b, 1);
    }
    let response = harness.joined(waiter);
    assert_eq!((response.generation_id, response.members.len()), (2, 2));
    harness.sync(&a, 2, &[]);
    harness.advance(10_000);
    let request = heartbeat_request(&b, 2).with_group_instance_id(Some(text("b")));
    let Response::Heartbeat(answer) = harness.call(4, Request::Heartbeat(request)) else {
        panic!()
    };
    assert_eq!(answer.error_code, ResponseError::UnknownMemberId.code());
}

#[test]
fn when_nobody_rejoins_in_time_static_members_are_waited_for_again() {
    let mut harness = Harness::new();
    let a = harness.join(static_request("a", ""));
    harness.advance(3_000);
    let a = harness.joined(a).member_id.to_string();
    harness.sync(&a, 1, &[]);
    // A rebalance timeout of 0 must not make the coordinator spin.
    let request = |id: &str| static_request("a", id).with_rebalance_timeout_ms(0);
    let a = harness.join(request(""));
    let a = harness.joined(a).member_id.to_string();
    // A dynamic member joins and leaves again: nobody has joined, the group waits for `a`.
    let newcomer = harness.member_id(join_request("").with_rebalance_timeout_ms(0));
    let waiter = harness.join(join_request(&newcomer).with_rebalance_timeout_ms(0));
    assert_eq!(harness.leave(&newcomer), 0);
    assert_eq!(
        harness.joined(waiter).error_code,
        ResponseError::UnknownMemberId.code()
    );
    for _ in 0..20 {
        harness.advance(1_000);
        assert_eq!(
            harness.heartbeat(&a, 1),
            ResponseError::RebalanceInProgress.code()
        );
    }
    let waiter = harness.join(request(&a));
    assert_eq!(harness.joined(waiter).generation_id, 2);
}

#[test]
fn an_instance_can_be_removed_without_its_member_id() {
    let mut harness = Harness::new();
    let (a, _) = stable(&mut harness);
    let member = |instance_id: &str, member_id: &str| {
        MemberIdentity::default()
            .with_member_id(text(member_id))
            .with_group_instance_id(Some(text(instance_id)))
    };
    let members = vec![member("b", ""), member("c", ""), member("a", "stale")];
    let request = leave_request(&[]).with_members(members);
    let Response::LeaveGroup(response) = harness.call(4, Request::LeaveGroup(request)) else {
        panic!("no LeaveGroup response");
    };
    let errors: Vec<i16> = response
        .members
        .iter()
        .map(|member| member.error_code)
        .collect();
    assert_eq!(errors, [0, ResponseError::UnknownMemberId.code(), FENCED]);
    let waiter = harness.join(static_request("a", &a));
    assert_eq!(harness.joined(waiter).members.len(), 1);
}
