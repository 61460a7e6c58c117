//! The listener of the nodes hears followers and nobody else, the listener of the clients hears none. What is
//! not as it should be gets Kafka's error code, and moves neither the high watermark nor the ISR.

use foz_protocol::error::ErrorCode;
use kafka_protocol::messages::fetch_request::ReplicaState;
use kafka_protocol::messages::fetch_response::PartitionData;
use kafka_protocol::messages::{
    ApiKey, ApiVersionsRequest, BrokerId, FetchRequest, InitProducerIdRequest, MetadataRequest,
    OffsetForLeaderEpochRequest, ProduceRequest,
};
use kafka_protocol::protocol::Request;

use crate::testbed::{Node, Testbed, sorted};
use crate::versions::connection::{
    Answered, Connection, Topic, batch, error, eventually, from_offset, produce_request, values,
    versions_of,
};
use crate::versions::fetching::{fetch, only};

const CURRENT_EPOCH_FROM: i16 = 9;
const DIVERGING_EPOCH_FROM: i16 = 12;
const REPLICA_STATE_FROM: i16 = 15;
const NODE_ENDPOINTS_FROM: i16 = 16;
const NOBODY: i32 = -1;
/// What nodes speak with each other.
const NODES_SPEAK: i16 = 18;

/// What a node that says it is a follower sends.
#[derive(Debug, Clone, Copy)]
struct Asks {
    node_id: i32,
    /// Older than any registration.
    broker_epoch: i64,
    leader_epoch: i32,
    offset: i64,
    last_fetched_epoch: i32,
}

/// Broker 1 as it was before its registration, following leader epoch 0 with three records.
const STALE: Asks = Asks {
    node_id: 1,
    broker_epoch: 0,
    leader_epoch: 0,
    offset: 3,
    last_fetched_epoch: 0,
};

fn request(version: i16, topic: &Topic, asks: Asks) -> FetchRequest {
    let mut request = fetch(version, topic, &[(0, asks.offset)]);
    let partition = &mut request.topics[0].partitions[0];
    if version >= CURRENT_EPOCH_FROM {
        partition.current_leader_epoch = asks.leader_epoch;
    }
    if version >= DIVERGING_EPOCH_FROM {
        partition.last_fetched_epoch = asks.last_fetched_epoch;
    }
    if version >= REPLICA_STATE_FROM {
        let state = ReplicaState::default()
            .with_replica_id(BrokerId(asks.node_id))
            .with_replica_epoch(asks.broker_epoch);
        request.with_replica_state(state)
    } else {
        request.with_replica_id(BrokerId(asks.node_id))
    }
}

/// What a partition answers to a follower's fetch; that is to be no records, and no waiting.
fn refused(broker: &Node, version: i16, topic: &Topic, asks: Asks) -> PartitionData {
    let answered = Answered::default();
    let request = request(version, topic, asks).with_max_wait_ms(60_000);
    let response = Connection::open_as_node(broker, &answered).call(version, &request);
    let partition = only(&response).clone();
    assert!(values(partition.records.as_ref()).is_empty());
    if partition.current_leader.leader_id != NOBODY && version >= NODE_ENDPOINTS_FROM {
        let [node] = &response.node_endpoints[..] else {
            panic!("{response:?}");
        };
        assert_eq!(node.node_id, partition.current_leader.leader_id);
    }
    partition
}

#[test]
fn who_is_no_follower_changes_nothing() {
    let mut testbed = Testbed::start(1, 3);
    let answered = Answered::default();
    let mut connection = Connection::open(&testbed.brokers[0], &answered);
    let min_insync = [("min.insync.replicas", "2")];
    let orders = connection.create_on("orders", &[0, 1], &min_insync);
    let moved = connection.create_on("moved", &[1, 0], &[]);
    for name in ["orders", "moved"] {
        connection.await_partition(name, |it| sorted(&it.isr_nodes) == [0, 1]);
    }
    eventually(|| connection.latest_offset("orders", 0));
    connection.produce(&orders, 0, batch(1, &["a", "b"]));
    drop(connection);

    // One in sync is too few for the high watermark to move: 2 is committed, 3 is the end.
    testbed.brokers[1].kill();
    let leader = &testbed.brokers[0];
    let mut connection = Connection::open(leader, &answered);
    for name in ["orders", "moved"] {
        connection.await_partition(name, |it| sorted(&it.isr_nodes) == [0] && it.leader_id == 0);
    }
    let unsafe_one = produce_request(9, &orders, 1, &[(0, Some(batch(1, &["c"])))]);
    let written = connection.call(9, &unsafe_one).responses[0].partition_responses[0].clone();
    assert_eq!(
        (error(written.error_code), written.base_offset),
        (ErrorCode::None, 2)
    );

    for version in versions_of::<FetchRequest>() {
        pretenders_are_refused(&mut connection, version, &orders);
        followers_are_checked(leader, version, &orders);
        old_leader_epochs_are_fenced(leader, version, &moved);
        other_nodes_do_not_lead(&testbed.brokers[2], version, &orders);
    }
    topics_and_partitions_are_checked(leader, &orders);
    sessions_are_checked(leader, &orders);
    assert_eq!(
        connection.latest_offset("orders", 0),
        Ok(2),
        "not committed"
    );
    let isr = connection.await_partition("orders", |_| true).isr_nodes;
    assert_eq!(sorted(&isr), [0]);
    drop(connection);

    // The true one is heard, and the same fetches are refused while it follows.
    testbed.brokers[1].spawn();
    testbed.brokers[1].wait_ready();
    let leader = &testbed.brokers[0];
    let mut connection = Connection::open(leader, &answered);
    connection.await_partition("orders", |it| sorted(&it.isr_nodes) == [0, 1]);
    eventually(|| match connection.latest_offset("orders", 0) {
        Ok(3) => Ok(()),
        other => Err(other),
    });
    followers_are_checked(leader, NODES_SPEAK, &orders);
    let response = connection.call(12, &fetch(12, &orders, &[(0, 0)]));
    assert_eq!(
        values(only(&response).records.as_ref()),
        from_offset(0, &["a", "b", "c"])
    );
    let isr = connection.await_partition("orders", |_| true).isr_nodes;
    assert_eq!(sorted(&isr), [0, 1]);
}

/// Kafka's answer to who has no right to CLUSTER_ACTION; it does not tell which topics there are.
fn pretenders_are_refused(connection: &mut Connection, version: i16, orders: &Topic) {
    for topic in [orders, &Topic::unknown()] {
        for node_id in [0, 1, 7, i32::MAX] {
            let asks = Asks { node_id, ..STALE };
            let request = request(version, topic, asks).with_max_wait_ms(60_000);
            let response = connection.call(version, &request);
            let partition = only(&response);
            let expected = ErrorCode::TopicAuthorizationFailed;
            assert_eq!(error(partition.error_code), expected, "{version}");
            assert!(values(partition.records.as_ref()).is_empty());
        }
    }
}

fn followers_are_checked(leader: &Node, version: i16, orders: &Topic) {
    let check = |asks: Asks, expected: ErrorCode| {
        let partition = refused(leader, version, orders, asks);
        assert_eq!(error(partition.error_code), expected, "{version} {asks:?}");
    };
    // KIP-903: what an earlier incarnation has says nothing about this one. -1 is no incarnation at all.
    let stale = ErrorCode::NotLeaderOrFollower;
    for broker_epoch in [0, -1, i64::MIN] {
        check(
            Asks {
                broker_epoch,
                ..STALE
            },
            stale,
        );
    }
    for node_id in [0, 2, 7, i32::MAX] {
        let stranger = Asks { node_id, ..STALE };
        // The node's metadata may be newer than the leader's: it is to try again.
        let newer = if version >= CURRENT_EPOCH_FROM {
            ErrorCode::UnknownLeaderEpoch
        } else {
            ErrorCode::NotLeaderOrFollower
        };
        check(stranger, newer);
        let leader_epoch = -1;
        check(
            Asks {
                leader_epoch,
                ..stranger
            },
            ErrorCode::NotLeaderOrFollower,
        );
    }
    if version >= CURRENT_EPOCH_FROM {
        let of_epoch = |leader_epoch| Asks {
            leader_epoch,
            ..STALE
        };
        check(of_epoch(1), ErrorCode::UnknownLeaderEpoch);
        check(of_epoch(i32::MAX), ErrorCode::UnknownLeaderEpoch);
        check(of_epoch(-2), ErrorCode::FencedLeaderEpoch);
    }
    if version >= DIVERGING_EPOCH_FROM {
        // Records of an epoch that this leader has never seen are not its records: cut to its own end.
        let diverging = Asks {
            last_fetched_epoch: 5,
            ..STALE
        };
        let partition = refused(leader, version, orders, diverging);
        assert_eq!(error(partition.error_code), ErrorCode::None);
        let end = &partition.diverging_epoch;
        assert_eq!((end.epoch, end.end_offset), (0, 3));
        // The same for records beyond its end, even where the offset alone would be nonsense.
        for offset in [4, i64::MAX] {
            let partition = refused(leader, version, orders, Asks { offset, ..STALE });
            let end = &partition.diverging_epoch;
            assert_eq!((end.epoch, end.end_offset), (0, 3), "{offset}");
        }
    }
}

/// This broker took over: who follows epoch 0 is told of epoch 1, and by whom it is led.
fn old_leader_epochs_are_fenced(leader: &Node, version: i16, moved: &Topic) {
    if version < CURRENT_EPOCH_FROM {
        return;
    }
    let asks = Asks {
        offset: 0,
        last_fetched_epoch: -1,
        ..STALE
    };
    let partition = refused(leader, version, moved, asks);
    let expected = ErrorCode::FencedLeaderEpoch;
    assert_eq!(error(partition.error_code), expected, "{version}");
    if version >= NODE_ENDPOINTS_FROM {
        let hint = &partition.current_leader;
        assert_eq!((hint.leader_id, hint.leader_epoch), (BrokerId(0), 1));
    }
}

fn other_nodes_do_not_lead(other: &Node, version: i16, orders: &Topic) {
    let partition = refused(other, version, orders, STALE);
    let expected = ErrorCode::NotLeaderOrFollower;
    assert_eq!(error(partition.error_code), expected, "{version}");
    if version >= NODE_ENDPOINTS_FROM {
        let hint = &partition.current_leader;
        assert_eq!((hint.leader_id, hint.leader_epoch), (BrokerId(0), 0));
    }
}

fn topics_and_partitions_are_checked(leader: &Node, orders: &Topic) {
    let partition = refused(leader, NODES_SPEAK, &Topic::unknown(), STALE);
    assert_eq!(error(partition.error_code), ErrorCode::UnknownTopicId);
    let answered = Answered::default();
    for index in [9, -1, i32::MAX] {
        let mut request = request(NODES_SPEAK, orders, STALE);
        request.topics[0].partitions[0].partition = index;
        let mut connection = Connection::open_as_node(leader, &answered);
        let response = connection.call(NODES_SPEAK, &request);
        let expected = ErrorCode::UnknownTopicOrPartition;
        assert_eq!(error(only(&response).error_code), expected, "{index}");
    }
}

fn sessions_are_checked(leader: &Node, orders: &Topic) {
    let answered = Answered::default();
    let mut connection = Connection::open_as_node(leader, &answered);
    let of_session = request(NODES_SPEAK, orders, STALE)
        .with_session_id(7)
        .with_session_epoch(1);
    let response = connection.call(NODES_SPEAK, &of_session);
    let expected = ErrorCode::FetchSessionIdNotFound;
    assert_eq!(error(response.error_code), expected);
    assert!(response.responses.is_empty());
    // One that began here is nobody's on the listener of the clients, and lives on.
    let begun = request(NODES_SPEAK, orders, STALE).with_session_epoch(0);
    let session_id = connection.call(NODES_SPEAK, &begun).session_id;
    assert_ne!(session_id, 0);
    let next = request(NODES_SPEAK, orders, STALE)
        .with_session_id(session_id)
        .with_session_epoch(1);
    let mut client = Connection::open(leader, &answered);
    for request in [
        next.clone(),
        next.clone().with_replica_state(ReplicaState::default()),
    ] {
        let response = client.call(NODES_SPEAK, &request);
        assert_eq!(error(response.error_code), expected);
    }
    let response = connection.call(NODES_SPEAK, &next);
    assert_eq!(response.session_id, session_id);
}

#[test]
fn nothing_but_what_brokers_ask_is_heard() {
    let testbed = Testbed::start(1, 1);
    let broker = &testbed.brokers[0];
    let answered = Answered::default();
    let orders = Connection::open(broker, &answered).create_topic("orders", 1);
    is_closed_for(broker, 3, &ApiVersionsRequest::default());
    is_closed_for(broker, 0, &ApiVersionsRequest::default());
    is_closed_for(broker, 12, &MetadataRequest::default().with_topics(None));
    is_closed_for(broker, 0, &InitProducerIdRequest::default());
    is_closed_for(broker, 4, &OffsetForLeaderEpochRequest::default());
    let records = batch(1, &["a"]);
    for acks in [-1, 0, 1] {
        let produced = produce_request(9, &orders, acks, &[(0, Some(records.clone()))]);
        is_closed_for::<ProduceRequest>(broker, 9, &produced);
    }
    for version in versions_of::<FetchRequest>() {
        is_closed_for(broker, version, &fetch(version, &orders, &[(0, 0)]));
        // Kafka's own tools say -2.
        let tool = Asks {
            node_id: -2,
            ..STALE
        };
        is_closed_for(broker, version, &request(version, &orders, tool));
    }
    for (key, version) in [(ApiKey::ApiVersions as i16, 99), (77, 0), (-1, -1)] {
        let mut connection = Connection::open_as_node(broker, &answered);
        connection.send_header(key, version);
        assert!(connection.is_closed(), "{key} {version}");
    }
    let mut connection = Connection::open(broker, &answered);
    assert_eq!(connection.latest_offset("orders", 0), Ok(0));
}

fn is_closed_for<R: Request + std::fmt::Debug>(broker: &Node, version: i16, request: &R) {
    let answered = Answered::default();
    let mut connection = Connection::open_as_node(broker, &answered);
    connection.send(version, request);
    assert!(connection.is_closed(), "{version} {request:?}");
}
