use foz_groups::{GroupConfig, Request, Response};
use kafka_protocol::ResponseError;
use kafka_protocol::messages::JoinGroupRequest;

use crate::harness::*;

fn error_of(harness: &mut Harness, api_version: i16, request: JoinGroupRequest) -> i16 {
    match harness.call(api_version, Request::JoinGroup(request)) {
        Response::JoinGroup(response) => response.error_code,
        other => panic!("{other:?}"),
    }
}

#[test]
fn refusals() {
    let long = "x".repeat(40_000);
    let cases = [
        (
            ResponseError::InvalidGroupId,
            join_request("").with_group_id(group_id("")),
        ),
        (
            ResponseError::InvalidGroupId,
            join_request("").with_group_id(group_id(&long)),
        ),
        (
            ResponseError::InvalidSessionTimeout,
            join_request("").with_session_timeout_ms(5_999),
        ),
        (
            ResponseError::InvalidSessionTimeout,
            join_request("").with_session_timeout_ms(1_800_001),
        ),
        (
            ResponseError::InvalidSessionTimeout,
            join_request("").with_session_timeout_ms(-1),
        ),
        (ResponseError::UnknownMemberId, join_request("nobody")),
        (
            ResponseError::InconsistentGroupProtocol,
            join_request("").with_protocol_type(text("")),
        ),
        (
            ResponseError::InconsistentGroupProtocol,
            join_request("").with_protocols(vec![]),
        ),
        (
            ResponseError::InvalidRequest,
            join_request("").with_protocol_type(text(&long)),
        ),
        (
            ResponseError::InvalidRequest,
            join_request("").with_protocols(protocols(&[&long])),
        ),
        (
            ResponseError::InvalidRequest,
            join_request("").with_group_instance_id(Some(text(&long))),
        ),
    ];
    for (error, request) in cases {
        let mut harness = Harness::new();
        assert_eq!(
            error_of(&mut harness, 9, request.clone()),
            error.code(),
            "{request:?}"
        );
        assert_eq!(
            harness.state(),
            "Dead",
            "a refused request left a group behind"
        );
        assert_eq!(harness.coordinator.next_deadline(), None);
    }
}

#[test]
fn refusals_of_a_group_with_members() {
    let mut harness = Harness::new();
    let ids = harness.stable(2);
    let other_type = join_request("").with_protocol_type(text("connect"));
    let other_protocol = join_request("").with_protocols(protocols(&["sticky"]));
    let unknown_instance = join_request(&ids[0]).with_group_instance_id(Some(text("i")));
    for (error, request) in [
        (ResponseError::InconsistentGroupProtocol, other_type),
        (ResponseError::InconsistentGroupProtocol, other_protocol),
        (ResponseError::UnknownMemberId, join_request("nobody")),
        (ResponseError::UnknownMemberId, unknown_instance),
    ] {
        assert_eq!(
            error_of(&mut harness, 9, request.clone()),
            error.code(),
            "{request:?}"
        );
    }
    assert_eq!(harness.state(), "Stable");

    let pending = harness.member_id(join_request(""));
    let request = join_request(&pending).with_group_instance_id(Some(text("i")));
    assert_eq!(
        error_of(&mut harness, 9, request),
        ResponseError::UnknownServerError.code()
    );
}

#[test]
fn a_new_member_gets_an_id_and_has_to_come_back_with_it() {
    let mut harness = Harness::new();
    let waiter = harness.send_as("my-app", 4, Request::JoinGroup(join_request("")));
    let response = harness.joined(waiter);
    assert_eq!(response.error_code, ResponseError::MemberIdRequired.code());
    assert_eq!(
        response.member_id.as_str(),
        "my-app-00000000-0000-0000-0000-000000000001"
    );
    assert_eq!(harness.state(), "Empty");

    // It never comes back: the id is forgotten with its session.
    harness.advance(10_000);
    let waiter = harness.join(join_request(&response.member_id));
    assert_eq!(
        harness.joined(waiter).error_code,
        ResponseError::UnknownMemberId.code()
    );
    assert_eq!(harness.state(), "Dead");
    let id = harness.member_id(join_request(""));
    assert_eq!(harness.leave(&id), 0);
    assert_eq!(harness.state(), "Dead");
}

#[test]
fn before_version_4_a_new_member_joins_at_once() {
    for api_version in 0..=3 {
        let mut harness = Harness::new();
        let waiter = harness.send(api_version, Request::JoinGroup(join_request("")));
        assert!(harness.is_open(waiter));
        harness.advance(3_000);
        let response = harness.joined(waiter);
        assert_eq!((response.error_code, response.generation_id), (0, 1));
        assert_eq!(response.leader, response.member_id);
        assert_eq!(response.members.len(), 1);
        assert_eq!(response.members[0].metadata, subscription("orders"));
        assert_eq!(response.protocol_name.as_deref(), Some("range"));
    }
}

#[test]
fn version_0_rebalances_as_long_as_its_session() {
    let mut harness = Harness::new();
    let first = harness.send(0, Request::JoinGroup(join_request("")));
    harness.advance(3_000);
    let first = harness.joined(first).member_id.to_string();
    harness.call(0, Request::SyncGroup(sync_request(&first, 1, &[])));
    let second = harness.send(0, Request::JoinGroup(join_request("")));
    harness.heartbeat(&first, 1);
    harness.advance(9_000);
    harness.heartbeat(&first, 1);
    assert!(harness.is_open(second));
    harness.advance(1_000);
    assert_eq!(harness.joined(second).generation_id, 2);
}

#[test]
fn only_the_leader_learns_the_members() {
    let mut harness = Harness::new();
    let ids: Vec<String> = (0..3)
        .map(|_| harness.member_id(join_request("")))
        .collect();
    let waiters: Vec<u64> = ids
        .iter()
        .map(|id| harness.join(join_request(id)))
        .collect();
    harness.advance(6_000);
    for (id, waiter) in ids.iter().zip(waiters) {
        let response = harness.joined(waiter);
        assert_eq!(response.member_id.as_str(), id);
        assert_eq!(response.leader.as_str(), ids[0]);
        assert_eq!(response.protocol_type.as_deref(), Some("consumer"));
        assert_eq!(response.members.len(), if *id == ids[0] { 3 } else { 0 });
        assert!(!response.skip_assignment);
    }
}

#[test]
fn most_votes_among_what_all_support_win() {
    let mut harness = Harness::new();
    let preferences: [&[&str]; 3] = [
        &["own", "sticky", "range"],
        &["range", "sticky"],
        &["range", "other", "sticky"],
    ];
    let waiters: Vec<u64> = preferences
        .iter()
        .map(|names| {
            let request = join_request("").with_protocols(protocols(names));
            harness.send(3, Request::JoinGroup(request))
        })
        .collect();
    harness.advance(6_000);
    for waiter in waiters {
        assert_eq!(
            harness.joined(waiter).protocol_name.as_deref(),
            Some("range")
        );
    }
}

#[test]
fn the_first_rebalance_waits_for_more_members_but_not_for_ever() {
    let mut harness = Harness::new();
    let request = || join_request("").with_rebalance_timeout_ms(8_000);
    let first = harness.send(3, Request::JoinGroup(request()));
    // Each newcomer buys another delay, until the rebalance timeout is used up.
    let mut waited_ms = 0;
    let mut others = Vec::new();
    while harness.is_open(first) {
        others.push(harness.send(3, Request::JoinGroup(request())));
        harness.advance(1_000);
        waited_ms += 1_000;
    }
    assert_eq!(waited_ms, 8_000);
    assert_eq!(harness.joined(first).members.len(), 1 + others.len());

    // Alone, it waits for one delay.
    let mut harness = Harness::new();
    let first = harness.send(3, Request::JoinGroup(request()));
    harness.advance(2_999);
    assert!(harness.is_open(first));
    harness.advance(1);
    assert_eq!(harness.joined(first).generation_id, 1);
}

#[test]
fn a_repeated_join_is_answered_from_the_generation_at_hand() {
    let mut harness = Harness::new();
    let ids = harness.stable(2);
    // A follower with the same metadata: nothing changes.
    let waiter = harness.join(join_request(&ids[1]));
    let response = harness.joined(waiter);
    assert_eq!((response.error_code, response.generation_id), (0, 1));
    assert_eq!(response.leader.as_str(), ids[0]);
    assert_eq!(response.members, []);
    assert_eq!(harness.state(), "Stable");

    // The leader wants a new assignment; the follower's changed metadata is as good a reason.
    for (index, request) in [
        (0, join_request(&ids[0])),
        (
            1,
            join_request(&ids[1]).with_protocols(protocols(&["range", "sticky"])),
        ),
    ] {
        let mut harness = Harness::new();
        harness.stable(2);
        let waiter = harness.join(request);
        assert!(harness.is_open(waiter));
        assert_eq!(harness.state(), "PreparingRebalance");
        let other = harness.join(join_request(&ids[1 - index]));
        assert_eq!(harness.joined(waiter).generation_id, 2);
        assert_eq!(harness.joined(other).generation_id, 2);
        // Before the assignment a lost answer is given again, to the leader with the members.
        let again = harness.join(join_request(&ids[1 - index]));
        let again = harness.joined(again);
        assert_eq!(again.generation_id, 2);
        assert_eq!(again.members.len(), if index == 0 { 0 } else { 2 });
    }
}

#[test]
fn who_asks_twice_is_answered_twice() {
    let mut harness = Harness::new();
    let ids = harness.stable(2);
    let first = harness.join(join_request(&ids[0]));
    let second = harness.join(join_request(&ids[0]));
    assert_eq!(
        harness.joined(first).error_code,
        ResponseError::RebalanceInProgress.code()
    );
    assert!(harness.is_open(second));
    harness.join(join_request(&ids[1]));
    assert_eq!(harness.joined(second).error_code, 0);
}

#[test]
fn a_repeated_protocol_counts_once() {
    let mut harness = Harness::new();
    let request = join_request("").with_protocols(protocols(&["range", "range", "sticky"]));
    let first = harness.send(3, Request::JoinGroup(request.clone()));
    let second = harness.send(3, Request::JoinGroup(request));
    harness.advance(6_000);
    assert_eq!(
        harness.joined(first).protocol_name.as_deref(),
        Some("range")
    );
    assert_eq!(harness.joined(second).error_code, 0);
}

#[test]
fn without_a_delay_the_first_member_need_not_wait() {
    let config = GroupConfig {
        group_initial_rebalance_delay_ms: 0,
        ..GroupConfig::default()
    };
    let mut harness = Harness::with_config(config);
    let waiter = harness.send(3, Request::JoinGroup(join_request("")));
    harness.advance(0);
    assert_eq!(harness.joined(waiter).generation_id, 1);
}
