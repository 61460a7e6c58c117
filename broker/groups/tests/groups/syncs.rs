use foz_groups::{Request, Response};
use kafka_protocol::ResponseError;
use kafka_protocol::messages::leave_group_request::MemberIdentity;

use crate::harness::*;

/// Two members that joined generation 1 and have not synced.
fn joined(harness: &mut Harness) -> Vec<String> {
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
    ids
}

#[test]
fn sync_refusals() {
    let mut harness = Harness::new();
    let ids = joined(&mut harness);
    let good = || sync_request(&ids[1], 1, &[]);
    for (error, request) in [
        (
            ResponseError::InvalidGroupId,
            good().with_group_id(group_id("")),
        ),
        (
            ResponseError::UnknownMemberId,
            good().with_group_id(group_id("other")),
        ),
        (
            ResponseError::UnknownMemberId,
            good().with_member_id(text("nobody")),
        ),
        (
            ResponseError::UnknownMemberId,
            good().with_group_instance_id(Some(text("i"))),
        ),
        (
            ResponseError::IllegalGeneration,
            good().with_generation_id(0),
        ),
        (
            ResponseError::IllegalGeneration,
            good().with_generation_id(2),
        ),
        (
            ResponseError::InconsistentGroupProtocol,
            good().with_protocol_type(Some(text("x"))),
        ),
        (
            ResponseError::InconsistentGroupProtocol,
            good().with_protocol_name(Some(text("x"))),
        ),
        (
            ResponseError::InconsistentGroupProtocol,
            good().with_protocol_type(None),
        ),
        (
            ResponseError::InconsistentGroupProtocol,
            good().with_protocol_name(None),
        ),
    ] {
        let waiter = harness.send(5, Request::SyncGroup(request.clone()));
        assert_eq!(
            harness.synced(waiter).error_code,
            error.code(),
            "{request:?}"
        );
    }
    // Below version 5 the protocol need not be named.
    let request = good().with_protocol_type(None).with_protocol_name(None);
    let waiter = harness.send(4, Request::SyncGroup(request));
    assert!(harness.is_open(waiter));
}

#[test]
fn followers_wait_for_the_leader_and_late_ones_do_not() {
    let mut harness = Harness::new();
    let ids = joined(&mut harness);
    let follower = harness.sync(&ids[1], 1, &[]);
    assert!(harness.is_open(follower));
    assert_eq!(harness.state(), "CompletingRebalance");
    let assigned = [
        (ids[0].as_str(), "a0"),
        (ids[1].as_str(), "a1"),
        ("nobody", "x"),
    ];
    let leader = harness.sync(&ids[0], 1, &assigned);
    for (waiter, assignment) in [(leader, "a0"), (follower, "a1")] {
        let response = harness.synced(waiter);
        assert_eq!(
            (response.error_code, &response.assignment[..]),
            (0, assignment.as_bytes())
        );
        assert_eq!(response.protocol_type.as_deref(), Some("consumer"));
        assert_eq!(response.protocol_name.as_deref(), Some("range"));
    }
    assert_eq!(harness.state(), "Stable");
    let again = harness.sync(&ids[1], 1, &[(ids[1].as_str(), "other")]);
    assert_eq!(&harness.synced(again).assignment[..], b"a1");
}

#[test]
fn whom_the_leader_leaves_out_gets_nothing() {
    let mut harness = Harness::new();
    let ids = joined(&mut harness);
    let follower = harness.sync(&ids[1], 1, &[]);
    let leader = harness.sync(&ids[0], 1, &[(ids[0].as_str(), "all")]);
    assert_eq!(&harness.synced(leader).assignment[..], b"all");
    let follower = harness.synced(follower);
    assert_eq!((follower.error_code, follower.assignment.len()), (0, 0));
}

#[test]
fn who_does_not_sync_in_time_is_out() {
    let mut harness = Harness::new();
    let ids = joined(&mut harness);
    let leader = harness.sync(&ids[0], 1, &[]);
    assert_eq!(harness.synced(leader).error_code, 0);
    for _ in 0..11 {
        harness.advance(5_000);
        assert_eq!(harness.heartbeat(&ids[0], 1), 0);
        assert_eq!(harness.heartbeat(&ids[1], 1), 0);
    }
    harness.advance(5_000);
    assert_eq!(
        harness.heartbeat(&ids[0], 1),
        ResponseError::RebalanceInProgress.code()
    );
    assert_eq!(
        harness.heartbeat(&ids[1], 1),
        ResponseError::UnknownMemberId.code()
    );
}

#[test]
fn a_rebalance_sends_waiting_followers_back_to_join() {
    let mut harness = Harness::new();
    let ids = joined(&mut harness);
    let follower = harness.sync(&ids[1], 1, &[]);
    let newcomer = harness.send(3, Request::JoinGroup(join_request("")));
    assert_eq!(
        harness.synced(follower).error_code,
        ResponseError::RebalanceInProgress.code()
    );
    let early = harness.sync(&ids[0], 1, &[]);
    assert_eq!(
        harness.synced(early).error_code,
        ResponseError::RebalanceInProgress.code()
    );
    assert!(harness.is_open(newcomer));
}

#[test]
fn a_repeated_sync_supersedes_the_first() {
    let mut harness = Harness::new();
    let ids = joined(&mut harness);
    let first = harness.sync(&ids[1], 1, &[]);
    let second = harness.sync(&ids[1], 1, &[]);
    assert_eq!(
        harness.synced(first).error_code,
        ResponseError::RebalanceInProgress.code()
    );
    harness.sync(&ids[0], 1, &[(ids[1].as_str(), "a")]);
    assert_eq!(&harness.synced(second).assignment[..], b"a");
}

#[test]
fn heartbeat_errors() {
    let mut harness = Harness::new();
    let ids = harness.stable(1);
    let good = || heartbeat_request(&ids[0], 1);
    for (error, request) in [
        (
            ResponseError::InvalidGroupId,
            good().with_group_id(group_id("")),
        ),
        (
            ResponseError::UnknownMemberId,
            good().with_group_id(group_id("other")),
        ),
        (
            ResponseError::UnknownMemberId,
            good().with_member_id(text("")),
        ),
        (
            ResponseError::UnknownMemberId,
            good().with_group_instance_id(Some(text("i"))),
        ),
        (
            ResponseError::IllegalGeneration,
            good().with_generation_id(0),
        ),
        (
            ResponseError::IllegalGeneration,
            good().with_generation_id(2),
        ),
    ] {
        let Response::Heartbeat(response) = harness.call(4, Request::Heartbeat(request.clone()))
        else {
            panic!("no Heartbeat response");
        };
        assert_eq!(response.error_code, error.code(), "{request:?}");
    }
    assert_eq!(harness.heartbeat(&ids[0], 1), 0);
    let pending = harness.member_id(join_request(""));
    assert_eq!(
        harness.heartbeat(&pending, 1),
        ResponseError::UnknownMemberId.code()
    );
}

#[test]
fn leave_errors_and_batches() {
    let mut harness = Harness::new();
    let ids = harness.stable(3);
    let pending = harness.member_id(join_request(""));
    let request = leave_request(&[&ids[1], "nobody", &pending, ""]);
    let Response::LeaveGroup(response) = harness.call(5, Request::LeaveGroup(request)) else {
        panic!("no LeaveGroup response");
    };
    let unknown = ResponseError::UnknownMemberId.code();
    let errors: Vec<i16> = response
        .members
        .iter()
        .map(|member| member.error_code)
        .collect();
    assert_eq!(
        (response.error_code, errors),
        (0, vec![0, unknown, 0, unknown])
    );
    assert_eq!(harness.state(), "PreparingRebalance");
    assert_eq!(harness.leave(&ids[1]), unknown);

    for (error, request) in [
        (
            ResponseError::InvalidGroupId,
            leave_request(&[]).with_group_id(group_id("")),
        ),
        (ResponseError::UnknownMemberId, {
            let member = MemberIdentity::default().with_member_id(text("m"));
            leave_request(&[])
                .with_group_id(group_id("other"))
                .with_members(vec![member])
        }),
    ] {
        let Response::LeaveGroup(response) = harness.call(3, Request::LeaveGroup(request)) else {
            panic!("no LeaveGroup response");
        };
        let told = response
            .members
            .first()
            .map_or(response.error_code, |m| m.error_code);
        assert_eq!(told, error.code());
    }
}

#[test]
fn before_version_3_the_one_members_error_is_the_responses() {
    for api_version in 0..=2 {
        let mut harness = Harness::new();
        let ids = harness.stable(1);
        for (member_id, error_code) in [
            ("nobody", ResponseError::UnknownMemberId.code()),
            (ids[0].as_str(), 0),
        ] {
            let request = leave_request(&[]).with_member_id(text(member_id));
            let response = harness.call(api_version, Request::LeaveGroup(request));
            let Response::LeaveGroup(response) = response else {
                panic!("{response:?}")
            };
            assert_eq!(
                (response.error_code, response.members.len()),
                (error_code, 0)
            );
        }
        assert_eq!(harness.state(), "Empty");
    }
}

#[test]
fn who_leaves_while_it_waits_is_answered() {
    let mut harness = Harness::new();
    let ids = joined(&mut harness);
    let syncing = harness.sync(&ids[1], 1, &[]);
    assert_eq!(harness.leave(&ids[1]), 0);
    assert_eq!(
        harness.synced(syncing).error_code,
        ResponseError::UnknownMemberId.code()
    );
    let joining = harness.join(join_request(&ids[0]));
    assert_eq!(harness.joined(joining).generation_id, 2);
}
