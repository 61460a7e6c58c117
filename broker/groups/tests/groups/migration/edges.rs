//! What members of either protocol may do in a group that changes from one to the other.

use foz_groups::{AppendError, GroupConfig, MigrationPolicy, Request, Response};
use foz_records::{ConsumerProtocolAssignment, Message};
use kafka_protocol::ResponseError;
use kafka_protocol::messages::*;

use super::members::*;
use crate::harness::*;

const INCONSISTENT: i16 = ResponseError::InconsistentGroupProtocol.code();
const INVALID_REQUEST: i16 = ResponseError::InvalidRequest.code();
const NOT_AVAILABLE: i16 = ResponseError::CoordinatorNotAvailable.code();
const NOT_FOUND: i16 = ResponseError::GroupIdNotFound.code();
const UNKNOWN_MEMBER: i16 = ResponseError::UnknownMemberId.code();

/// In that order of preference; it has nothing.
fn join_with(member_id: &str, names: &[&str]) -> JoinGroupRequest {
    let subscription = &classic_join("", &[]).protocols[0].metadata;
    let protocols = names.iter().map(|name| {
        join_group_request::JoinGroupRequestProtocol::default()
            .with_name(text(name))
            .with_metadata(subscription.clone())
    });
    join_request(member_id).with_protocols(protocols.collect())
}

fn with_instance(request: JoinGroupRequest, instance_id: &str) -> JoinGroupRequest {
    request.with_group_instance_id(Some(text(instance_id)))
}

fn joined_code(harness: &mut Harness, request: JoinGroupRequest) -> i16 {
    let waiter = harness.join(request);
    harness.joined(waiter).error_code
}

fn configure(harness: &mut Harness, change: impl FnOnce(&mut GroupConfig)) {
    change(&mut harness.config);
    let config = harness.config.clone();
    harness.coordinator.on_config_changed(config);
}

#[test]
fn a_member_id_that_fits_in_no_record_is_refused() {
    let mut harness = harness();
    assert_eq!(beat(&mut harness, native_join("new")).error_code, 0);
    for (length, expected) in [(32_767, 0), (32_768, INVALID_REQUEST)] {
        let request = classic_join(&"x".repeat(length), &[]);
        assert_eq!(joined_code(&mut harness, request), expected, "{length}");
    }
}

/// Each was told the protocol that it likes best; the group has one.
#[test]
fn who_syncs_when_the_group_has_just_become_classic_is_to_join_again() {
    let mut harness = harness();
    assert_eq!(beat(&mut harness, native_join("new")).error_code, 0);
    let preferences = [["range", "sticky"], ["sticky", "range"]];
    let ids = preferences.map(|names| {
        let id = harness.member_id(join_with("", &names));
        assert_eq!(joined_code(&mut harness, join_with(&id, &names)), 0);
        id
    });
    assert_eq!(beat(&mut harness, owning("new", 1, &[])).member_epoch, 3);
    let told = [0, 1].map(|index| {
        let waiter = harness.join(join_with(&ids[index], &preferences[index]));
        let joined = harness.joined(waiter);
        assert_eq!(joined.generation_id, 3);
        joined.protocol_name.expect("a protocol")
    });
    assert_ne!(told[0], told[1]);
    assert_eq!(beat(&mut harness, heartbeat("new", -1)).error_code, 0);
    assert_eq!(group_type(&mut harness), ["classic"]);
    for (id, name) in ids.iter().zip(told) {
        let request = sync_request(id, 3, &[]).with_protocol_name(Some(name));
        let waiter = harness.send(5, Request::SyncGroup(request));
        assert_eq!(harness.synced(waiter).error_code, REBALANCE);
    }
}

#[test]
fn a_member_need_not_know_the_protocol_of_the_last_generation() {
    let mut harness = harness();
    let both = ["range", "sticky"];
    let first = harness.member_id(join_with("", &both));
    let waiter = harness.join(join_with(&first, &both));
    harness.advance(3_000);
    let joined = harness.joined(waiter);
    assert_eq!(joined.protocol_name.as_deref(), Some("range"));
    let second = harness.member_id(join_with("", &["sticky"]));
    let waiter = harness.join(join_with(&second, &["sticky"]));
    assert!(harness.is_open(waiter));
    assert_eq!(beat(&mut harness, native_join("new")).error_code, 0);
    assert_eq!(harness.joined(waiter).error_code, REBALANCE);
}

/// It waits in the classic group that never was.
#[test]
fn who_joins_a_group_that_has_not_become_classic_after_all_joins_again() {
    let mut harness = harness();
    let (ids, has, generation) = mixed_group(&mut harness);
    harness.confirms = false;
    let leaving = send_beat(&mut harness, heartbeat("new", -1));
    let waiter = harness.join(classic_join(&ids[0], &has[&ids[0]]));
    assert!(harness.is_open(waiter));
    assert!(harness.fail(AppendError::NotAvailable));
    assert_eq!(harness.joined(waiter).error_code, NOT_AVAILABLE);
    harness.take(leaving);
    harness.confirms = true;
    assert_eq!(group_type(&mut harness), ["consumer"]);
    for id in &ids {
        assert_eq!(harness.heartbeat(id, generation), 0);
    }
    let member = owning("new", generation, &has["new"]);
    assert_eq!(beat(&mut harness, member).error_code, 0);
}

/// They say nothing of what they have: it is nothing, since they gave it up before they joined.
#[test]
fn members_that_stop_to_read_before_they_join_share_with_those_of_kip_848() {
    let mut harness = harness();
    let joined = beat(&mut harness, native_join("new"));
    assert_eq!(assigned(&joined).map(|all| all.len()), Some(4));
    let id = harness.member_id(join_request(""));
    let mut generation = 0;
    let (mut epoch, mut native) = (1, vec![0, 1, 2, 3]);
    for round in 0..4 {
        let told = beat(&mut harness, owning("new", epoch, &native));
        assert_eq!(told.error_code, 0);
        epoch = told.member_epoch;
        native = assigned(&told).unwrap_or(native);
        let waiter = harness.join(join_request(&id));
        let joined = harness.joined(waiter);
        assert_eq!(joined.protocol_name.as_deref(), Some("range"));
        generation = joined.generation_id;
        let waiter = harness.sync(&id, generation, &[]);
        let assignment = harness.synced(waiter).assignment;
        // Told in the version that it speaks.
        assert_eq!(assignment[..2], [0, 0]);
        let assignment = ConsumerProtocolAssignment::decode_prefixed_or_newer(&assignment);
        let topics = assignment.expect("an assignment").assigned_partitions;
        let reads = topics.into_iter().flat_map(|topic| topic.partitions);
        let mut all = Vec::from_iter(reads.chain(native.iter().copied()));
        all.sort_unstable();
        all.dedup();
        // In between, what one has let go of waits for the other.
        let expected = if round == 1 { 2 } else { 4 };
        assert_eq!(all.len(), expected, "{all:?} in round {round}");
    }
    assert_eq!((epoch, generation, native.len()), (2, 2, 2));
    assert_eq!(harness.heartbeat(&id, generation), 0);
}

#[test]
fn no_member_of_the_classic_protocol_joins_again_once_the_policy_forbids_it() {
    let mut harness = harness();
    let (ids, has, generation) = mixed_group(&mut harness);
    configure(&mut harness, |config| {
        config.consumer.migration_policy = MigrationPolicy::Disabled;
    });
    let request = classic_join(&ids[0], &has[&ids[0]]);
    assert_eq!(joined_code(&mut harness, request), INCONSISTENT);
    // What it has it may go on with.
    assert_eq!(harness.heartbeat(&ids[0], generation), 0);
    assert_eq!(harness.commit(&ids[0], generation, "orders", 1), 0);
}

#[test]
fn the_next_process_of_a_static_member_needs_no_room_of_its_own() {
    let mut harness = harness();
    configure(&mut harness, |config| config.consumer.max_size = 2);
    let instances = ["one", "two"];
    let waiting = instances.map(|id| harness.join(with_instance(classic_join("", &[]), id)));
    while harness.is_open(waiting[0]) {
        harness.advance(1_000);
    }
    let joined = waiting.map(|waiter| harness.joined(waiter));
    let ids = joined.each_ref().map(|joined| joined.member_id.to_string());
    let leader = ids.iter().position(|id| **id == *joined[0].leader);
    let leader = leader.expect("one leads");
    let assigned_to: [(&str, &[i32]); 2] = [(&ids[0], &[0, 1]), (&ids[1], &[2, 3])];
    assign_as(
        &mut harness,
        (&ids[leader], Some(instances[leader])),
        1,
        &assigned_to,
    );

    let joining =
        |id: &str, instance_id: &str| native_join(id).with_instance_id(Some(text(instance_id)));
    let taken = beat(&mut harness, joining("new", "one"));
    assert_eq!(assigned(&taken), Some(vec![0, 1]), "at once, and no more");
    assert_eq!(harness.heartbeat(&ids[0], 1), UNKNOWN_MEMBER);
    assert_eq!(
        harness.heartbeat(&ids[1], 1),
        0,
        "nothing changes for others"
    );
    assert_eq!(group_type(&mut harness), ["consumer"]);
    let refused = beat(&mut harness, joining("third", "three")).error_code;
    assert_eq!(refused, ResponseError::GroupMaxSizeReached.code());
    let request = classic_join("", &[]);
    let full = ResponseError::GroupMaxSizeReached.code();
    assert_eq!(
        joined_code(&mut harness, request),
        full,
        "before it has an id"
    );
}

/// It has not been through a rebalance yet.
#[test]
fn a_static_member_may_come_back_with_the_other_protocol_before_the_first_generation() {
    let mut harness = harness();
    let waiter = harness.join(with_instance(classic_join("", &[]), "one"));
    assert!(harness.is_open(waiter));
    let joining = native_join("new").with_instance_id(Some(text("one")));
    let joined = beat(&mut harness, joining);
    assert_eq!(harness.joined(waiter).error_code, REBALANCE);
    assert_eq!((joined.error_code, joined.member_epoch), (0, 1));
    assert_eq!(assigned(&joined), Some(vec![0, 1, 2, 3]));
}

#[test]
fn a_member_changes_its_protocol_under_its_own_id() {
    let mut harness = harness();
    let (ids, has, generation) = mixed_group(&mut harness);
    let told = beat(&mut harness, native_join(&ids[0]));
    assert_eq!(told.error_code, 0);
    assert_eq!(harness.heartbeat(&ids[0], generation), UNKNOWN_MEMBER);
    // It no longer has to join and to sync in time.
    for _ in 0..15 {
        harness.advance(5_000);
        harness.heartbeat(&ids[1], generation);
        beat(&mut harness, heartbeat("new", generation));
        assert_eq!(
            beat(&mut harness, heartbeat(&ids[0], generation)).error_code,
            0
        );
    }
    let back = rejoined(&mut harness, &ids[0], &[]);
    assert_eq!(back, generation);
    let told = synced(&mut harness, &ids[0], back);
    assert_eq!(told.as_ref(), Ok(&has[&ids[0]]));
    assert_eq!(group_type(&mut harness), ["consumer"]);
}

#[test]
fn members_of_both_protocols_are_taken_out_at_once() {
    let mut harness = harness();
    let (ids, _, generation) = mixed_group(&mut harness);
    let request = Request::LeaveGroup(leave_request(&[&ids[0], "new", "nobody"]));
    let Response::LeaveGroup(left) = harness.call(5, request) else {
        panic!("no answer")
    };
    let codes = Vec::from_iter(left.members.iter().map(|member| member.error_code));
    assert_eq!(codes, [0, 0, UNKNOWN_MEMBER]);
    assert_eq!(group_type(&mut harness), ["classic"]);
    assert_eq!(harness.heartbeat(&ids[1], generation), REBALANCE);
}

#[test]
fn the_next_coordinator_finds_a_group_that_went_there_and_back() {
    let mut harness = harness();
    let (ids, has, generation) = mixed_group(&mut harness);
    assert_eq!(harness.commit(&ids[0], generation, "orders", 8), 0);
    harness.confirms = false;
    send_beat(&mut harness, heartbeat("new", -1));
    send_beat(&mut harness, native_join("newer"));
    assert_eq!(harness.pending.len(), 2);
    harness.restart_with_tail(2);
    harness.confirms = true;
    harness.confirm();
    assert_eq!(group_type(&mut harness), ["consumer"]);
    for id in &ids {
        assert_eq!(harness.heartbeat(id, generation), REBALANCE);
        let epoch = rejoined(&mut harness, id, &has[id]);
        assert!(epoch >= generation);
    }
    assert_eq!(harness.offsets(), [("orders".to_owned(), 0, 8)]);
}

#[test]
fn a_change_of_protocol_that_fits_in_no_batch_is_not_made() {
    const SMALL: usize = 300;
    let mut harness = harness();
    let all = harness.config.consumer.batch_bytes_max;
    configure(&mut harness, |config| {
        config.consumer.batch_bytes_max = SMALL
    });
    classic_group(&mut harness);
    let refused = beat(&mut harness, native_join("new"));
    assert_eq!(refused.error_code, NOT_FOUND);
    assert!(
        refused
            .error_message
            .expect("a reason")
            .contains("max.message.bytes")
    );
    assert_eq!(group_type(&mut harness), ["classic"]);

    let mut harness = self::harness();
    let (ids, has, generation) = mixed_group(&mut harness);
    configure(&mut harness, |config| {
        config.consumer.batch_bytes_max = SMALL
    });
    assert_eq!(beat(&mut harness, heartbeat("new", -1)).error_code, 0);
    assert_eq!(group_type(&mut harness), ["consumer"]);
    configure(&mut harness, |config| config.consumer.batch_bytes_max = all);
    // With the next change.
    for id in &ids {
        assert_eq!(harness.heartbeat(id, generation), REBALANCE);
        rejoined(&mut harness, id, &has[id]);
    }
    assert_eq!(group_type(&mut harness), ["classic"]);
}

/// The assignment is committed, or not, when nobody waits for it any more.
#[test]
fn a_group_may_become_another_while_its_leaders_assignment_is_written() {
    for is_written in [true, false] {
        let mut harness = harness();
        let [first, second] = in_the_middle_of_a_rebalance(&mut harness);
        harness.confirms = false;
        let assigned_to: [(&str, &[i32]); 2] = [(&first, &[0, 1]), (&second, &[])];
        let request = assigning(&first, 2, &assigned_to);
        let waiter = harness.send(5, Request::SyncGroup(request));
        let joining = send_beat(&mut harness, native_join("new"));
        assert_eq!(harness.synced(waiter).error_code, REBALANCE);
        if is_written {
            harness.confirm();
        } else {
            harness.fail(AppendError::NotAvailable);
        }
        harness.confirms = true;
        harness.confirm();
        let Response::ConsumerGroupHeartbeat(joined) = harness.take(joining) else {
            panic!("no answer")
        };
        assert_eq!(assigned(&joined), Some(vec![]), "the first reads all still");
        assert_eq!(group_type(&mut harness), ["consumer"]);
        assert_eq!(harness.heartbeat(&first, 2), REBALANCE);
    }
}
