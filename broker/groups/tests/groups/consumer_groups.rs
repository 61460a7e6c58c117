//! Groups of KIP-848 in a coordinator: among classic ones, with offsets, over restarts and failed appends. Their own
//! rules are tested beside `consumer.rs`.

mod batches;
mod failures;
mod offsets;

use std::collections::BTreeSet;
use std::sync::Arc;

use foz_groups::{
    AppendError, ConsumerGroupConfig, ConsumerGroupState, GroupConfig, MigrationPolicy, Request,
    Response, WaiterId,
};
use foz_protocol::batch::HEADER_LENGTH;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::consumer_group_describe_response::DescribedGroup;
use kafka_protocol::messages::consumer_group_heartbeat_request::TopicPartitions;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::offset_delete_request::{
    OffsetDeleteRequestPartition, OffsetDeleteRequestTopic,
};
use kafka_protocol::messages::offset_fetch_request::OffsetFetchRequestGroup;
use kafka_protocol::messages::*;
use uuid::Uuid;

use crate::harness::*;

const CONSUMER: &str = "consumer";
const ORDERS: u128 = 1;

const INCONSISTENT: i16 = ResponseError::InconsistentGroupProtocol.code();
const LOADING: i16 = ResponseError::CoordinatorLoadInProgress.code();
const NOT_AVAILABLE: i16 = ResponseError::CoordinatorNotAvailable.code();
const NOT_FOUND: i16 = ResponseError::GroupIdNotFound.code();
const STALE: i16 = ResponseError::StaleMemberEpoch.code();
const UNKNOWN_MEMBER: i16 = ResponseError::UnknownMemberId.code();

fn harness() -> Harness {
    let mut harness = Harness::new();
    harness.set_topics(&[("orders", ORDERS, 2), ("other", 2, 1)]);
    harness
}

fn request(member_id: &str, epoch: i32) -> ConsumerGroupHeartbeatRequest {
    ConsumerGroupHeartbeatRequest::default()
        .with_group_id(group_id(GROUP))
        .with_member_id(text(member_id))
        .with_member_epoch(epoch)
        .with_rebalance_timeout_ms(-1)
        .with_subscribed_topic_names(None)
        .with_topic_partitions(None)
}

fn join(member_id: &str) -> ConsumerGroupHeartbeatRequest {
    request(member_id, 0)
        .with_rebalance_timeout_ms(60_000)
        .with_subscribed_topic_names(Some(vec![TopicName(text("orders"))]))
        .with_topic_partitions(Some(vec![]))
}

fn owning(member_id: &str, epoch: i32, partitions: &[i32]) -> ConsumerGroupHeartbeatRequest {
    let topic = TopicPartitions::default()
        .with_topic_id(Uuid::from_u128(ORDERS))
        .with_partitions(partitions.to_vec());
    request(member_id, epoch).with_topic_partitions(Some(vec![topic]))
}

fn send(harness: &mut Harness, request: ConsumerGroupHeartbeatRequest) -> WaiterId {
    harness.send(1, Request::ConsumerGroupHeartbeat(request))
}

fn told(harness: &mut Harness, waiter: WaiterId) -> ConsumerGroupHeartbeatResponse {
    match harness.take(waiter) {
        Response::ConsumerGroupHeartbeat(response) => response,
        other => panic!("{other:?}"),
    }
}

fn beat(
    harness: &mut Harness,
    request: ConsumerGroupHeartbeatRequest,
) -> ConsumerGroupHeartbeatResponse {
    let waiter = send(harness, request);
    told(harness, waiter)
}

/// The epoch of one that is taken.
fn epoch(harness: &mut Harness, request: ConsumerGroupHeartbeatRequest) -> i32 {
    let response = beat(harness, request);
    assert_eq!(response.error_code, 0, "{response:?}");
    response.member_epoch
}

fn error(harness: &mut Harness, request: ConsumerGroupHeartbeatRequest) -> i16 {
    beat(harness, request).error_code
}

fn described(harness: &mut Harness) -> DescribedGroup {
    let request = ConsumerGroupDescribeRequest::default().with_group_ids(vec![group_id(GROUP)]);
    match harness.call(1, Request::ConsumerGroupDescribe(request)) {
        Response::ConsumerGroupDescribe(mut response) => response.groups.remove(0),
        other => panic!("{other:?}"),
    }
}

/// Type and state of every group that the filters let pass.
fn listed(harness: &mut Harness, states: &[&str], types: &[&str]) -> Vec<(String, String)> {
    let texts = |texts: &[&str]| texts.iter().map(|name| text(name)).collect();
    let request = ListGroupsRequest::default()
        .with_states_filter(texts(states))
        .with_types_filter(texts(types));
    let Response::ListGroups(response) = harness.call(5, Request::ListGroups(request)) else {
        panic!("no list")
    };
    let groups = response.groups.into_iter();
    groups
        .map(|group| {
            assert_eq!(group.protocol_type.as_str(), "consumer");
            (group.group_type.to_string(), group.group_state.to_string())
        })
        .collect()
}

fn delete(harness: &mut Harness) -> i16 {
    let request = DeleteGroupsRequest::default().with_groups_names(vec![group_id(GROUP)]);
    match harness.call(2, Request::DeleteGroups(request)) {
        Response::DeleteGroups(response) => response.results[0].error_code,
        other => panic!("{other:?}"),
    }
}

/// The error of the group.
fn fetched(harness: &mut Harness, member_id: Option<&str>, epoch: i32) -> i16 {
    let group = OffsetFetchRequestGroup::default()
        .with_group_id(group_id(GROUP))
        .with_member_id(member_id.map(text))
        .with_member_epoch(epoch)
        .with_topics(None);
    let request = OffsetFetchRequest::default().with_groups(vec![group]);
    match harness.call(9, Request::OffsetFetch(request)) {
        Response::OffsetFetch(response) => response.groups[0].error_code,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_group_lives_is_listed_and_described_and_survives_a_restart() {
    let mut harness = harness();
    let joined = beat(&mut harness, join("a"));
    assert_eq!((joined.error_code, joined.member_epoch), (0, 1));
    let assigned = joined.assignment.unwrap().topic_partitions;
    assert_eq!(assigned.len(), 1);
    assert_eq!(assigned[0].topic_id, Uuid::from_u128(ORDERS));
    assert_eq!(assigned[0].partitions, [0, 1]);
    for _ in 0..2 {
        let group = described(&mut harness);
        assert_eq!(
            (group.error_code, group.group_state.as_str()),
            (0, "Stable")
        );
        assert_eq!((group.group_epoch, group.members.len()), (1, 1));
        let assignment = &group.members[0].assignment.topic_partitions[0];
        assert_eq!(assignment.topic_name.as_str(), "orders");
        let stable = vec![(CONSUMER.to_owned(), "Stable".to_owned())];
        assert_eq!(listed(&mut harness, &[], &[]), stable);
        assert_eq!(listed(&mut harness, &["stable"], &["Consumer"]), stable);
        assert_eq!(listed(&mut harness, &["Empty"], &[]), []);
        assert_eq!(listed(&mut harness, &[], &["classic"]), []);
        assert_eq!(epoch(&mut harness, request("a", 1)), 1);
        harness.restart();
    }
    assert_eq!(delete(&mut harness), ResponseError::NonEmptyGroup.code());
    let before = harness.coordinator.counts();
    assert_eq!(before.by_protocol(), [("classic", 0), ("consumer", 1)]);
    assert_eq!(before.consumer(ConsumerGroupState::Stable), 1);
    assert_eq!(epoch(&mut harness, request("a", -1)), -1);
    let after = harness.coordinator.counts();
    assert_eq!(after.consumer(ConsumerGroupState::Empty), 1);
    assert_eq!(after.consumer_rebalances, before.consumer_rebalances + 1);
    assert_eq!(described(&mut harness).group_state.as_str(), "Empty");
    assert_eq!(delete(&mut harness), 0);
    assert_eq!(described(&mut harness).error_code, NOT_FOUND);
    harness.restart();
    assert_eq!(listed(&mut harness, &[], &[]), []);
}

#[test]
fn requests_for_the_other_kind_of_group_find_none() {
    let mut config = GroupConfig::default();
    config.consumer.migration_policy = MigrationPolicy::Disabled;
    let mut harness = Harness::with_config(config);
    harness.set_topics(&[("orders", ORDERS, 2)]);
    for unknown in [request("a", 1), request("a", -1)] {
        assert_eq!(error(&mut harness, unknown), NOT_FOUND);
    }
    // What is wrong with the request itself comes first.
    let nobody = error(&mut harness, request("", 1));
    assert_eq!(nobody, ResponseError::InvalidRequest.code());
    assert_eq!(listed(&mut harness, &[], &[]), []);
    epoch(&mut harness, join("a"));
    assert_eq!(harness.state(), "Dead");
    let describe = DescribeGroupsRequest::default().with_groups(vec![group_id(GROUP)]);
    let Response::DescribeGroups(response) = harness.call(6, Request::DescribeGroups(describe))
    else {
        panic!("no description")
    };
    assert_eq!(response.groups[0].error_code, NOT_FOUND);
    let message = response.groups[0].error_message.as_deref();
    assert_eq!(message, Some("Group group is not a classic group."));
    assert_eq!(harness.heartbeat("a", 1), UNKNOWN_MEMBER);
    let waiter = harness.join(join_request(""));
    assert_eq!(harness.joined(waiter).error_code, INCONSISTENT);
    let waiter = harness.sync("a", 1, &[]);
    assert_eq!(harness.synced(waiter).error_code, UNKNOWN_MEMBER);
    assert_eq!(epoch(&mut harness, request("a", 1)), 1);
}

#[test]
fn an_empty_group_changes_its_kind_and_keeps_its_offsets() {
    let mut harness = harness();
    let ids = harness.stable(1);
    assert_eq!(harness.commit(&ids[0], 1, "orders", 7), 0);
    for refused in [join("a"), request("a", 1)] {
        assert_eq!(error(&mut harness, refused), NOT_FOUND);
    }
    assert_eq!(described(&mut harness).error_code, NOT_FOUND);
    assert_eq!(harness.leave(&ids[0]), 0);
    let offsets = harness.offsets();
    assert_eq!(offsets.len(), 1);
    // To a consumer group …
    for _ in 0..2 {
        assert_eq!(epoch(&mut harness, join("a")), 1);
        let stable = vec![(CONSUMER.to_owned(), "Stable".to_owned())];
        for _ in 0..2 {
            assert_eq!(listed(&mut harness, &[], &[]), stable);
            assert_eq!(harness.offsets(), offsets);
            harness.restart();
        }
        // … and back.
        assert_eq!(epoch(&mut harness, request("a", -1)), -1);
        let ids = harness.stable(1);
        for _ in 0..2 {
            assert_eq!(listed(&mut harness, &[], &["consumer"]), []);
            assert_eq!(harness.state(), "Stable");
            assert_eq!(harness.offsets(), offsets);
            harness.restart();
        }
        assert_eq!(harness.leave(&ids[0]), 0);
    }
}

fn request_to_leave() -> ConsumerGroupHeartbeatRequest {
    request("a", -1)
}

#[test]
fn a_group_whose_last_records_are_not_committed_is_loading() {
    let mut harness = harness();
    assert_eq!(epoch(&mut harness, join("a")), 1);
    harness.confirms = false;
    harness.now.monotonic_ms += 1_000;
    harness.now.wall_ms += 1_000;
    send(&mut harness, join("b"));
    harness.restart_with_tail(1);
    harness.replies.clear();
    assert_eq!(error(&mut harness, request("a", 1)), LOADING);
    let describing = described(&mut harness);
    assert_eq!(describing.error_code, LOADING);
    harness.confirm();
    harness.confirms = true;
    assert_eq!(described(&mut harness).members.len(), 2);
    assert_eq!(described(&mut harness).group_epoch, 2);
    assert_eq!(epoch(&mut harness, request("a", 1)), 1);
    // Its sessions have begun: who stays silent is out.
    harness.advance(60_000);
    assert_eq!(described(&mut harness).group_state.as_str(), "Empty");
}

/// The change from one kind to the other was appended, and is not known to be committed when the next coordinator
/// loads the partition.
#[test]
fn a_group_may_change_its_kind_while_its_coordinator_does() {
    let mut harness = harness();
    let ids = harness.stable(1);
    assert_eq!(harness.commit(&ids[0], 1, "orders", 7), 0);
    assert_eq!(harness.leave(&ids[0]), 0);
    let offsets = harness.offsets();
    for round in 0..2 {
        // To a consumer group …
        harness.confirms = false;
        send(&mut harness, join("a"));
        harness.restart_with_tail(1);
        assert_eq!(error(&mut harness, request("a", 1)), LOADING);
        harness.confirms = true;
        while harness.confirm() {}
        assert_eq!(epoch(&mut harness, request("a", 1)), 1, "{round}");
        let stable = vec![(CONSUMER.to_owned(), "Stable".to_owned())];
        assert_eq!(listed(&mut harness, &[], &[]), stable);
        assert_eq!(harness.offsets(), offsets);
        // … whose last member leaves, is deleted and made anew …
        assert_eq!(epoch(&mut harness, request("a", -1)), -1);
        harness.confirms = false;
        let request_to_delete =
            DeleteGroupsRequest::default().with_groups_names(vec![group_id(GROUP)]);
        harness.send(2, Request::DeleteGroups(request_to_delete));
        send(&mut harness, join("b"));
        harness.restart_with_tail(2);
        harness.confirms = true;
        while harness.confirm() {}
        assert_eq!(epoch(&mut harness, request("b", 1)), 1);
        assert_eq!(harness.offsets(), []);
        assert_eq!(harness.commit("b", 1, "orders", 7), 0);
        assert_eq!(epoch(&mut harness, request("b", -1)), -1);
        // … and back: in one tail with the first generation.
        harness.confirms = false;
        let joining = harness.send(3, Request::JoinGroup(join_request("")));
        harness.advance(3_000);
        let member_id = harness.joined(joining).member_id.to_string();
        harness.sync(&member_id, 1, &[(&member_id, "all")]);
        assert_eq!(harness.pending.len(), 2);
        harness.restart_with_tail(2);
        harness.confirms = true;
        while harness.confirm() {}
        assert_eq!(listed(&mut harness, &[], &["consumer"]), []);
        assert_eq!(harness.heartbeat(&member_id, 1), 0);
        assert_eq!(harness.offsets(), offsets);
        assert_eq!(harness.leave(&member_id), 0);
    }
}

#[test]
fn silent_members_are_fenced_also_after_a_restart() {
    let mut harness = harness();
    for restarts in [false, true] {
        epoch(&mut harness, join("a"));
        if restarts {
            harness.restart();
        }
        harness.advance(44_999);
        assert_eq!(described(&mut harness).members.len(), 1);
        harness.advance(1);
        assert_eq!(described(&mut harness).members.len(), 0);
        assert_eq!(error(&mut harness, request("a", 1)), UNKNOWN_MEMBER);
    }
}

#[test]
fn regular_expressions_are_resolved_by_the_caller() {
    let mut harness = harness();
    let regex = join("a")
        .with_subscribed_topic_names(Some(vec![]))
        .with_subscribed_topic_regex(Some(text("o.*")));
    assert_eq!(epoch(&mut harness, regex), 1);
    let (group, regexes) = harness.to_resolve.pop().unwrap();
    assert_eq!((&*group, &regexes[..]), (GROUP, &[Arc::from("o.*")][..]));
    let matched: BTreeSet<Arc<str>> = ["orders", "other"].map(Arc::from).into();
    let matches = [(regexes[0].clone(), matched)];
    let nobody: Arc<str> = Arc::from("nobody");
    let now = harness.now;
    assert_eq!(
        harness.coordinator.on_resolved(&nobody, &matches, 1, now),
        []
    );
    let effects = harness.coordinator.on_resolved(&group, &matches, 1, now);
    harness.absorb(effects);
    harness.advance(1_000);
    let told = beat(&mut harness, request("a", 1));
    assert_eq!(told.member_epoch, 2);
    assert_eq!(told.assignment.unwrap().topic_partitions.len(), 2);
    harness.restart();
    let topics = &described(&mut harness).members[0]
        .assignment
        .topic_partitions;
    assert_eq!(topics.len(), 2);
}

#[test]
fn topics_that_grow_are_assigned_with_the_next_heartbeat() {
    let mut harness = harness();
    assert_eq!(epoch(&mut harness, join("a")), 1);
    harness.set_topics(&[("orders", ORDERS, 3)]);
    harness.advance(1_000);
    let told = beat(&mut harness, request("a", 1));
    assert_eq!(told.member_epoch, 2);
    assert_eq!(
        told.assignment.unwrap().topic_partitions[0].partitions,
        [0, 1, 2]
    );
}

#[test]
fn an_admin_takes_members_out() {
    let mut harness = harness();
    epoch(
        &mut harness,
        join("a").with_instance_id(Some(text("instance"))),
    );
    epoch(&mut harness, join("b"));
    let identity = |member_id: &str, instance_id: Option<&str>| {
        MemberIdentity::default()
            .with_member_id(text(member_id))
            .with_group_instance_id(instance_id.map(text))
    };
    let members = vec![
        identity("c", None),
        identity("b", Some("instance")),
        identity("", Some("nobody")),
        identity("", Some("instance")),
        identity("b", None),
    ];
    let request = LeaveGroupRequest::default()
        .with_group_id(group_id(GROUP))
        .with_members(members);
    let Response::LeaveGroup(response) = harness.call(5, Request::LeaveGroup(request)) else {
        panic!("no answer")
    };
    let errors = response.members.iter().map(|member| member.error_code);
    let fenced = ResponseError::FencedInstanceId.code();
    assert_eq!(
        Vec::from_iter(errors),
        [UNKNOWN_MEMBER, fenced, UNKNOWN_MEMBER, 0, 0]
    );
    assert_eq!(described(&mut harness).group_state.as_str(), "Empty");
    harness.restart();
    assert_eq!(described(&mut harness).group_state.as_str(), "Empty");
}

#[test]
fn a_config_counts_from_when_it_is_told() {
    let mut harness = harness();
    epoch(&mut harness, join("a"));
    let mut config = GroupConfig::default();
    config.consumer.session_timeout_ms = 1_000;
    config.consumer.heartbeat_interval_ms = 100;
    harness.coordinator.on_config_changed(config);
    assert_eq!(
        beat(&mut harness, request("a", 1)).heartbeat_interval_ms,
        100
    );
    harness.advance(1_000);
    assert_eq!(error(&mut harness, request("a", 1)), UNKNOWN_MEMBER);
}

#[test]
fn a_group_may_have_a_config_of_its_own() {
    let mut harness = harness();
    epoch(&mut harness, join("a"));
    epoch(&mut harness, join("a").with_group_id(group_id("tuned")));
    let of_all = GroupConfig::default();
    let tuned = ConsumerGroupConfig {
        session_timeout_ms: 1_000,
        heartbeat_interval_ms: 100,
        ..of_all.consumer.clone()
    };
    let config = GroupConfig {
        consumer_by_group: Arc::new([("tuned".into(), tuned)].into()),
        ..of_all
    };
    harness.coordinator.on_config_changed(config);
    let of_tuned = || request("a", 1).with_group_id(group_id("tuned"));
    let interval = |harness: &mut Harness, request| beat(harness, request).heartbeat_interval_ms;
    assert_eq!(interval(&mut harness, of_tuned()), 100);
    assert_eq!(interval(&mut harness, request("a", 1)), 5_000);
    harness.advance(1_000);
    assert_eq!(error(&mut harness, of_tuned()), UNKNOWN_MEMBER);
    assert_eq!(interval(&mut harness, request("a", 1)), 5_000);
}

/// Both groups of a request are told when the newest change of either is committed.
#[test]
fn descriptions_wait_for_the_changes_of_their_own_groups_alone() {
    let mut harness = harness();
    harness.confirms = false;
    send(&mut harness, join("a"));
    send(&mut harness, join("a").with_group_id(group_id("later")));
    let describe = |name: &str| {
        let request = ConsumerGroupDescribeRequest::default().with_group_ids(vec![group_id(name)]);
        Request::ConsumerGroupDescribe(request)
    };
    let first = harness.send(1, describe(GROUP));
    let later = harness.send(1, describe("later"));
    harness.confirm();
    assert_eq!(
        (harness.is_open(first), harness.is_open(later)),
        (false, true)
    );
    harness.confirm();
    assert!(!harness.is_open(later));
}
