//! Groups whose records cannot be read or written, and what counts for those that nobody asks for.

use bytes::BytesMut;
use foz_groups::{Request, Response};
use kafka_protocol::ResponseError;
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::offset_fetch_request::OffsetFetchRequestGroup;
use kafka_protocol::messages::{
    ConsumerGroupHeartbeatRequest, GroupId, JoinGroupRequest, JoinGroupResponse, ListGroupsRequest,
    OffsetFetchRequest, TopicName,
};
use kafka_protocol::protocol::StrBytes;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::request::{Client, Listener, RequestContext};

/// Of a topic that there is, so that it stays.
const KEY: &[u8] = b"\x00\x01\x00\x05group\x00\x12__consumer_offsets\x00\x00\x00\x00";
const OFFSET: &[u8] =
    b"\x00\x00\x00\x00\x00\x00\x00\x00\x00\x2a\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00";

fn append(world: &World, value: &[u8]) {
    let partition = world.partitions().get(TOPIC_ID, 0).unwrap();
    let mut builder = BatchBuilder::new(Compression::None);
    builder.push(&RecordToWrite {
        timestamp_ms: 5,
        key: Some(KEY),
        value: Some(value),
        ..RecordToWrite::default()
    });
    let batch = BytesMut::from(&builder.build().unwrap()[..]);
    partition.append(&world.image, 1, batch).unwrap();
    partition.log().flush().unwrap();
    partition.flushed();
}

/// Loading, active and failed.
fn counts(world: &World) -> [i64; 3] {
    let counts = &world.broker.metrics.group_coordinators;
    [&counts.loading, &counts.active, &counts.failed].map(prometheus::IntGauge::get)
}

/// Until no coordinator loads.
pub(super) async fn coordinate(world: &World) -> [i64; 3] {
    let changes = Changes::default();
    let coordinators = &world.broker.coordinators;
    coordinators.apply(&world.broker, &world.image, &changes);
    loop {
        tokio::time::sleep(Duration::from_millis(10)).await;
        let counts = counts(world);
        if counts[0] == 0 && counts[1] + counts[2] == 1 {
            return counts;
        }
    }
}

pub(super) fn context(world: &World, version: i16) -> RequestContext {
    let peer = "127.0.0.1:1".parse().unwrap();
    let client = Client::anonymous(peer, Listener::Clients, 1, CancellationToken::new());
    RequestContext {
        broker: Arc::clone(&world.broker),
        client: Arc::new(client),
        client_id: String::new(),
        version,
    }
}

async fn ask(world: &World, version: i16, request: Request) -> Response {
    let context = context(world, version);
    world.broker.coordinators.ask(&context, request).await
}

/// The error, or the group's offset.
async fn fetched(world: &World) -> Result<Option<i64>, i16> {
    let group = OffsetFetchRequestGroup::default()
        .with_group_id(GroupId(StrBytes::from_static_str("group")))
        .with_topics(None);
    let request = OffsetFetchRequest::default().with_groups(vec![group]);
    let Response::OffsetFetch(response) = ask(world, 8, Request::OffsetFetch(request)).await else {
        panic!("no answer to an OffsetFetch")
    };
    let group = &response.groups[0];
    match group.error_code {
        0 => Ok(group
            .topics
            .first()
            .map(|topic| topic.partitions[0].committed_offset)),
        error_code => Err(error_code),
    }
}

/// Leads once more, in the next epoch.
pub(super) fn lead_again(world: &mut World, leader_epoch: i32) {
    world.change(PartitionChangeRecord {
        leader: Some(0),
        leader_epoch: Some(leader_epoch),
        ..PartitionChangeRecord::default()
    });
}

/// The older offset of the same key must not be served.
#[tokio::test]
async fn a_record_that_cannot_be_read_fails_the_load_until_the_next_leader_epoch() {
    let mut world = World::new();
    world.create_topic_named("__consumer_offsets", &[0]);
    append(&world, OFFSET);
    assert_eq!(coordinate(&world).await, [0, 1, 0]);
    assert_eq!(fetched(&world).await, Ok(Some(42)));

    let mut newer = OFFSET.to_vec();
    newer[1] = 9;
    append(&world, &newer);
    lead_again(&mut world, 1);
    assert_eq!(coordinate(&world).await, [0, 0, 1]);
    let not_coordinator = ResponseError::NotCoordinator.code();
    for _ in 0..2 {
        assert_eq!(fetched(&world).await, Err(not_coordinator));
    }
    let list = Request::ListGroups(ListGroupsRequest::default());
    let Response::ListGroups(listed) = ask(&world, 4, list).await else {
        panic!("no answer to a ListGroups")
    };
    assert_eq!((listed.error_code, listed.groups), (0, vec![]));

    // The record is gone, as if a version that can read it had written another.
    let partition = world.partitions().get(TOPIC_ID, 0).unwrap();
    partition.log().advance_log_start_offset(2).unwrap();
    assert_eq!(coordinate(&world).await, [0, 0, 1], "not in this epoch");
    let read = &world.broker.metrics.group_coordinators.load_times;
    assert!(read.scraped()[2] < 1.5, "what failed is not told of");
    append(&world, OFFSET);
    lead_again(&mut world, 2);
    assert_eq!(coordinate(&world).await, [0, 1, 0]);
    assert_eq!(fetched(&world).await, Ok(Some(42)));

    world.broker.coordinators.stop();
    while counts(&world) != [0, 0, 0] {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn who_reads_the_metrics_learns_what_was_loaded_and_how_long_it_took() {
    let mut world = World::new();
    world.create_topic_named("__consumer_offsets", &[0]);
    let load_times = world.broker.metrics.group_coordinators.load_times.clone();
    let [max_ms, avg_ms, records, bytes] = load_times.scraped();
    assert!(max_ms.is_nan() && avg_ms.is_nan());
    assert_eq!((records, bytes), (0.0, 0.0));

    append(&world, OFFSET);
    append(&world, OFFSET);
    coordinate(&world).await;
    let partition = world.partitions().get(TOPIC_ID, 0).unwrap();
    let size_bytes = partition.log().size_bytes() as f64;
    let [max_ms, avg_ms, records, bytes] = load_times.scraped();
    assert_eq!((records, bytes), (2.0, size_bytes));
    assert!(0.0 < avg_ms && avg_ms <= max_ms && max_ms < 60_000.0);

    lead_again(&mut world, 1);
    coordinate(&world).await;
    let [_, _, records, bytes] = load_times.scraped();
    assert_eq!((records, bytes), (4.0, 2.0 * size_bytes));
}

/// Joins a group of KIP-848; the error and the epoch.
async fn joined(world: &World, member_id: &'static str) -> (i16, i32) {
    let request = ConsumerGroupHeartbeatRequest::default()
        .with_group_id(GroupId(StrBytes::from_static_str("new")))
        .with_member_id(StrBytes::from_static_str(member_id))
        .with_rebalance_timeout_ms(60_000)
        .with_subscribed_topic_names(Some(vec![TopicName(StrBytes::from_static_str("orders"))]))
        .with_topic_partitions(Some(Vec::new()));
    let request = Request::ConsumerGroupHeartbeat(request);
    let Response::ConsumerGroupHeartbeat(response) = ask(world, 1, request).await else {
        panic!("no answer to a ConsumerGroupHeartbeat")
    };
    (response.error_code, response.member_epoch)
}

async fn joined_classic(world: &World, member_id: StrBytes) -> JoinGroupResponse {
    let protocol =
        JoinGroupRequestProtocol::default().with_name(StrBytes::from_static_str("range"));
    let request = JoinGroupRequest::default()
        .with_group_id(GroupId(StrBytes::from_static_str("classic")))
        .with_session_timeout_ms(10_000)
        .with_rebalance_timeout_ms(10_000)
        .with_member_id(member_id)
        .with_protocol_type(StrBytes::from_static_str("consumer"))
        .with_protocols(vec![protocol]);
    let Response::JoinGroup(response) = ask(world, 9, Request::JoinGroup(request)).await else {
        panic!("no answer to a JoinGroup")
    };
    response
}

/// A group that cannot be changed is no reason to load the others of its partition again.
#[tokio::test]
async fn too_few_replicas_refuse_changes_and_leave_all_groups_as_they_are() {
    let mut world = World::new();
    world.create_topic_named("__consumer_offsets", &[0, 1]);
    world.change(PartitionChangeRecord {
        isr: Some(NodeIds::from(vec![0])),
        ..PartitionChangeRecord::default()
    });
    let (broker, topic) = (ResourceKind::Broker, ResourceKind::Topic);
    world.configure(broker, "", "group.initial.rebalance.delay.ms", Some("0"));
    append(&world, OFFSET);
    assert_eq!(coordinate(&world).await, [0, 1, 0]);
    assert_eq!(joined(&world, "a").await, (0, 1));
    // A member id that is in no record.
    let member_id = joined_classic(&world, StrBytes::default()).await.member_id;

    let min_insync = "min.insync.replicas";
    world.configure(topic, "__consumer_offsets", min_insync, Some("2"));
    for _ in 0..5 {
        let not_available = ResponseError::CoordinatorNotAvailable.code();
        assert_eq!(joined(&world, "b").await, (not_available, 0));
        assert_eq!(fetched(&world).await, Ok(Some(42)));
    }
    let classic = joined_classic(&world, member_id).await;
    assert_eq!((classic.error_code, classic.generation_id), (0, 1));
    world.configure(topic, "__consumer_offsets", min_insync, Some("1"));
    assert_eq!(joined(&world, "b").await.0, 0);
}

/// The one that counts is that of the moment, also for groups that nobody asks for.
#[tokio::test(start_paused = true)]
async fn offsets_are_kept_for_as_long_as_is_said_now() {
    for (retention_minutes, expected) in [("10080", None), ("2147483647", Some(42))] {
        let mut world = World::new();
        world.create_topic_named("__consumer_offsets", &[0]);
        // Committed in 1970.
        append(&world, OFFSET);
        assert_eq!(coordinate(&world).await, [0, 1, 0]);
        let key = "offsets.retention.minutes";
        world.configure(ResourceKind::Broker, "", key, Some(retention_minutes));
        let coordinators = &world.broker.coordinators;
        coordinators.apply(&world.broker, &world.image, &Changes::default());
        tokio::time::sleep(Duration::from_secs(601)).await;
        assert_eq!(fetched(&world).await, Ok(expected));
    }
}
