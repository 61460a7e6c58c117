//! Members of both protocols.

use std::collections::BTreeMap;

use bytes::Bytes;
use foz_groups::{GroupConfig, MigrationPolicy, Request, Response, WaiterId};
use foz_records::consumer_protocol_assignment::TopicPartition as AssignedPartitions;
use foz_records::consumer_protocol_subscription::TopicPartition as OwnedPartitions;
use foz_records::{ConsumerProtocolAssignment, ConsumerProtocolSubscription, Message};
use kafka_protocol::ResponseError;
use kafka_protocol::messages::consumer_group_heartbeat_request::TopicPartitions;
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::*;
use uuid::Uuid;

use crate::harness::*;

pub(super) const ORDERS: u128 = 1;
pub(super) const PARTITIONS: i32 = 4;
pub(super) const REBALANCE: i16 = ResponseError::RebalanceInProgress.code();

pub(super) fn harness() -> Harness {
    with_policy(MigrationPolicy::Bidirectional)
}

pub(super) fn with_policy(policy: MigrationPolicy) -> Harness {
    let mut config = GroupConfig::default();
    config.consumer.migration_policy = policy;
    config.consumer.assignment_interval_ms = 0;
    let mut harness = Harness::with_config(config);
    harness.set_topics(&[("orders", ORDERS, PARTITIONS as usize)]);
    harness
}

pub(super) fn subscription_with(owned: &[i32]) -> Bytes {
    let owned = OwnedPartitions {
        topic: "orders".into(),
        partitions: owned.to_vec(),
    };
    let subscription = ConsumerProtocolSubscription {
        topics: vec!["orders".into()],
        owned_partitions: vec![owned],
        ..ConsumerProtocolSubscription::default()
    };
    subscription.encode_prefixed(1).expect("it is short")
}

pub(super) fn assignment_of(partitions: &[i32], user_data: Option<&'static [u8]>) -> Bytes {
    let assigned = AssignedPartitions {
        topic: "orders".into(),
        partitions: partitions.to_vec(),
    };
    let assignment = ConsumerProtocolAssignment {
        assigned_partitions: vec![assigned],
        user_data: user_data.map(Bytes::from_static),
    };
    assignment.encode_prefixed(1).expect("it is short")
}

/// Joins with a cooperative assignor.
pub(super) fn classic_join(member_id: &str, owned: &[i32]) -> JoinGroupRequest {
    let protocol = JoinGroupRequestProtocol::default()
        .with_name(text("cooperative-sticky"))
        .with_metadata(subscription_with(owned));
    join_request(member_id).with_protocols(vec![protocol])
}

/// A stable classic group of two members with two partitions each.
pub(super) fn classic_group(harness: &mut Harness) -> Vec<String> {
    classic_group_with(harness, None)
}

pub(super) fn classic_group_with(
    harness: &mut Harness,
    user_data: Option<&'static [u8]>,
) -> Vec<String> {
    let ids = [0, 1].map(|_| harness.member_id(classic_join("", &[])));
    let waiting = ids.each_ref().map(|id| harness.join(classic_join(id, &[])));
    while harness.is_open(waiting[0]) {
        harness.advance(1_000);
    }
    let joined = waiting.map(|waiter| harness.joined(waiter));
    let leader = joined[0].leader.to_string();
    let assignments = ids.iter().zip([[0, 1], [2, 3]]).map(|(id, partitions)| {
        sync_group_request::SyncGroupRequestAssignment::default()
            .with_member_id(text(id))
            .with_assignment(assignment_of(&partitions, user_data))
    });
    let request = sync_request(&leader, 1, &[])
        .with_protocol_name(Some(text("cooperative-sticky")))
        .with_assignments(assignments.collect());
    let waiter = harness.send(5, Request::SyncGroup(request));
    assert_eq!(harness.synced(waiter).error_code, 0);
    for id in ids.iter().filter(|id| **id != leader) {
        assert_eq!(synced(harness, id, 1).expect("an assignment").len(), 2);
    }
    assert_eq!(group_type(harness), ["classic"]);
    Vec::from(ids)
}

/// What a member of the classic protocol is told to read.
pub(super) fn synced(
    harness: &mut Harness,
    member_id: &str,
    generation: i32,
) -> Result<Vec<i32>, i16> {
    let request = sync_request(member_id, generation, &[])
        .with_protocol_name(Some(text("cooperative-sticky")));
    let waiter = harness.send(5, Request::SyncGroup(request));
    let response = harness.synced(waiter);
    if response.error_code != 0 {
        return Err(response.error_code);
    }
    let assignment = ConsumerProtocolAssignment::decode_prefixed_or_newer(&response.assignment)
        .expect("an assignment");
    let topics = assignment.assigned_partitions.into_iter();
    Ok(topics.flat_map(|topic| topic.partitions).collect())
}

/// Joins again with what it has, and gives the generation.
pub(super) fn rejoined(harness: &mut Harness, member_id: &str, owned: &[i32]) -> i32 {
    let waiter = harness.join(classic_join(member_id, owned));
    let response = harness.joined(waiter);
    assert_eq!(response.error_code, 0, "{response:?}");
    assert_eq!(
        response.protocol_name.as_deref(),
        Some("cooperative-sticky")
    );
    response.generation_id
}

pub(super) fn heartbeat(member_id: &str, epoch: i32) -> ConsumerGroupHeartbeatRequest {
    ConsumerGroupHeartbeatRequest::default()
        .with_group_id(group_id(GROUP))
        .with_member_id(text(member_id))
        .with_member_epoch(epoch)
        .with_rebalance_timeout_ms(-1)
        .with_subscribed_topic_names(None)
        .with_topic_partitions(None)
}

pub(super) fn native_join(member_id: &str) -> ConsumerGroupHeartbeatRequest {
    heartbeat(member_id, 0)
        .with_rebalance_timeout_ms(60_000)
        .with_subscribed_topic_names(Some(vec![TopicName(text("orders"))]))
        .with_topic_partitions(Some(vec![]))
}

pub(super) fn owning(
    member_id: &str,
    epoch: i32,
    partitions: &[i32],
) -> ConsumerGroupHeartbeatRequest {
    let topic = TopicPartitions::default()
        .with_topic_id(Uuid::from_u128(ORDERS))
        .with_partitions(partitions.to_vec());
    heartbeat(member_id, epoch).with_topic_partitions(Some(vec![topic]))
}

pub(super) fn beat(
    harness: &mut Harness,
    request: ConsumerGroupHeartbeatRequest,
) -> ConsumerGroupHeartbeatResponse {
    match harness.call(1, Request::ConsumerGroupHeartbeat(request)) {
        Response::ConsumerGroupHeartbeat(response) => response,
        other => panic!("{other:?}"),
    }
}

pub(super) fn send_beat(harness: &mut Harness, request: ConsumerGroupHeartbeatRequest) -> WaiterId {
    harness.send(1, Request::ConsumerGroupHeartbeat(request))
}

pub(super) fn assigned(response: &ConsumerGroupHeartbeatResponse) -> Option<Vec<i32>> {
    let topics = &response.assignment.as_ref()?.topic_partitions;
    let partitions = topics.iter().flat_map(|topic| &topic.partitions);
    Some(partitions.copied().collect())
}

pub(super) fn group_type(harness: &mut Harness) -> Vec<String> {
    let list = Request::ListGroups(ListGroupsRequest::default());
    let Response::ListGroups(response) = harness.call(5, list) else {
        panic!("no list")
    };
    let groups = response.groups.iter();
    groups.map(|group| group.group_type.to_string()).collect()
}

/// Two classic members and one that speaks KIP-848; each has what it is to have in the end, by its id.
pub(super) fn mixed_group(harness: &mut Harness) -> (Vec<String>, BTreeMap<String, Vec<i32>>, i32) {
    let ids = classic_group(harness);
    let joined = beat(harness, native_join("new"));
    assert_eq!((joined.error_code, joined.member_epoch), (0, 2));
    // All partitions are taken still.
    assert_eq!(assigned(&joined), Some(vec![]));
    assert_eq!(group_type(harness), ["consumer"]);
    let mut has = BTreeMap::from([(ids[0].clone(), vec![0, 1]), (ids[1].clone(), vec![2, 3])]);
    let mut generations = BTreeMap::from([(ids[0].clone(), 1), (ids[1].clone(), 1)]);
    for _ in 0..4 {
        for id in &ids {
            if harness.heartbeat(id, generations[id]) == REBALANCE {
                let generation = rejoined(harness, id, &has[id]);
                generations.insert(id.clone(), generation);
                has.insert(
                    id.clone(),
                    synced(harness, id, generation).expect("an assignment"),
                );
            }
        }
    }
    for id in &ids {
        assert_eq!(generations[id], 2);
        assert_eq!(harness.heartbeat(id, 2), 0);
    }
    let told = assigned(&beat(harness, owning("new", 2, &[]))).expect("news");
    has.insert("new".to_owned(), told);
    let mut all = has.values().flatten().copied().collect::<Vec<_>>();
    all.sort_unstable();
    assert_eq!(all, [0, 1, 2, 3], "{has:?}");
    (ids, has, 2)
}

/// Gives each member what is named, in generation `generation`.
pub(super) fn assign(
    harness: &mut Harness,
    leader: &str,
    generation: i32,
    assigned: &[(&str, &[i32])],
) {
    assign_as(harness, (leader, None), generation, assigned);
}

/// The same, by a static member.
pub(super) fn assign_as(
    harness: &mut Harness,
    (leader, instance_id): (&str, Option<&str>),
    generation: i32,
    assigned: &[(&str, &[i32])],
) {
    let request = assigning(leader, generation, assigned);
    let request = request.with_group_instance_id(instance_id.map(text));
    let waiter = harness.send(5, Request::SyncGroup(request));
    assert_eq!(harness.synced(waiter).error_code, 0);
}

pub(super) fn assigning(
    leader: &str,
    generation: i32,
    assigned: &[(&str, &[i32])],
) -> SyncGroupRequest {
    let assignments = assigned.iter().map(|(id, partitions)| {
        sync_group_request::SyncGroupRequestAssignment::default()
            .with_member_id(text(id))
            .with_assignment(assignment_of(partitions, None))
    });
    sync_request(leader, generation, &[])
        .with_protocol_name(Some(text("cooperative-sticky")))
        .with_assignments(assignments.collect())
}

/// The first has all partitions, and the second has joined; both wait for an assignment in generation 2. The leader
/// is the first.
pub(super) fn in_the_middle_of_a_rebalance(harness: &mut Harness) -> [String; 2] {
    let first = harness.member_id(classic_join("", &[]));
    let waiter = harness.join(classic_join(&first, &[]));
    harness.advance(3_000);
    assert_eq!(harness.joined(waiter).error_code, 0);
    assign(harness, &first, 1, &[(&first, &[0, 1, 2, 3])]);
    let second = harness.member_id(classic_join("", &[]));
    let second_waiting = harness.join(classic_join(&second, &[]));
    let first_waiting = harness.join(classic_join(&first, &[0, 1, 2, 3]));
    for waiter in [first_waiting, second_waiting] {
        let joined = harness.joined(waiter);
        assert_eq!((joined.error_code, joined.generation_id), (0, 2));
        assert_eq!(*joined.leader, *first);
    }
    [first, second]
}
