//! Clients that ask a broker which does not lead, or that know another leader epoch: they are told who leads
//! (KIP-951), and never get an answer about other records than they mean (KIP-320).

use std::time::{Duration, Instant};

use foz_protocol::error::ErrorCode;
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::offset_for_leader_epoch_request::{
    OffsetForLeaderPartition, OffsetForLeaderTopic,
};
use kafka_protocol::messages::{
    BrokerId, FetchRequest, ListOffsetsRequest, OffsetForLeaderEpochRequest, ProduceRequest,
};

use rustix::process::Signal;

use crate::elections::{PREFERRED, elect};
use crate::testbed::{Testbed, sorted};
use crate::versions::connection::{
    Answered, Connection, Topic, batch, error, eventually, from_offset, produce_request,
    topic_name, values, versions_of,
};
use crate::versions::fetching::{fetch, only};

const PRODUCE_HINTS_FROM: i16 = 10;
const FETCH_HINTS_FROM: i16 = 16;
const FETCH_EPOCHS_FROM: i16 = 9;
const FOLLOWER_FETCHING_FROM: i16 = 11;
const REPLICA_ID_FROM: i16 = 3;
const LIST_OFFSETS_EPOCHS_FROM: i16 = 4;
/// Of the leader: the first one went away.
const NOW: i32 = 1;
/// A broker that is silent for less counts as alive; it beats every half second.
const LEASE: Duration = Duration::from_millis(1500);

/// Broker 1 leads in epoch 1, broker 0 follows; broker 2 has no replica. Two records are of epoch 0, one of
/// epoch 1.
fn moved() -> (Testbed, Topic) {
    let mut testbed = Testbed::prepare(1, 3);
    testbed.controllers[0].configure("auto.leader.rebalance.enable=false");
    testbed.start_all();
    let answered = Answered::default();
    let mut connection = Connection::open(&testbed.brokers[0], &answered);
    let topic = connection.create_on("orders", &[0, 1], &[]);
    connection.await_partition("orders", |it| sorted(&it.isr_nodes) == [0, 1]);
    eventually(|| connection.latest_offset("orders", 0));
    connection.produce(&topic, 0, batch(1, &["a", "b"]));
    drop(connection);
    testbed.brokers[0].kill();
    let mut connection = Connection::open(&testbed.brokers[1], &answered);
    connection.await_partition("orders", |it| it.leader_id == 1);
    eventually(|| connection.latest_offset("orders", 0));
    connection.produce(&topic, 0, batch(1, &["c"]));
    drop(connection);
    testbed.brokers[0].spawn();
    testbed.brokers[0].wait_ready();
    for broker in &testbed.brokers {
        Connection::open(broker, &answered).await_partition("orders", |it| {
            it.leader_id == 1 && sorted(&it.isr_nodes) == [0, 1]
        });
    }
    (testbed, topic)
}

#[test]
fn who_asks_the_wrong_broker_is_told_the_right_one() {
    let (testbed, topic) = moved();
    let answered = Answered::default();
    let port = i32::from(testbed.brokers[1].kafka_port);
    for broker in [&testbed.brokers[0], &testbed.brokers[2]] {
        let mut connection = Connection::open(broker, &answered);
        for version in versions_of::<ProduceRequest>() {
            for acks in [-1, 1] {
                let records = Some(batch(1, &["x"]));
                let request = produce_request(version, &topic, acks, &[(0, records)]);
                let response = connection.call(version, &request);
                let refused = &response.responses[0].partition_responses[0];
                let expected = ErrorCode::NotLeaderOrFollower;
                assert_eq!(error(refused.error_code), expected, "{version}");
                assert_eq!(refused.base_offset, -1);
                let nodes = &response.node_endpoints;
                if version < PRODUCE_HINTS_FROM {
                    assert!(nodes.is_empty());
                    continue;
                }
                let hint = &refused.current_leader;
                assert_eq!((hint.leader_id, hint.leader_epoch), (BrokerId(1), NOW));
                assert_eq!(nodes.len(), 1, "{nodes:?}");
                assert_eq!((nodes[0].node_id, nodes[0].port), (BrokerId(1), port));
            }
        }
        // Of acks=0 nobody would hear: the connection is closed, as Kafka does.
        let mut nobody = connection.another();
        let records = Some(batch(1, &["x"]));
        nobody.send(9, &produce_request(9, &topic, 0, &[(0, records)]));
        assert!(nobody.is_closed());
    }
    // Nor is anything waited for that will not come: a consumer that does not know of followers, or asks
    // where there is no replica.
    for version in versions_of::<FetchRequest>() {
        for broker in [&testbed.brokers[0], &testbed.brokers[2]] {
            let has_replica = broker.kafka_port == testbed.brokers[0].kafka_port;
            if has_replica && version >= FOLLOWER_FETCHING_FROM {
                continue;
            }
            let mut connection = Connection::open(broker, &answered);
            let request = fetch(version, &topic, &[(0, 0)]).with_max_wait_ms(60_000);
            let response = connection.call(version, &request);
            let refused = only(&response);
            let expected = ErrorCode::NotLeaderOrFollower;
            assert_eq!(error(refused.error_code), expected, "{version}");
            let nodes = &response.node_endpoints;
            if version < FETCH_HINTS_FROM {
                assert!(nodes.is_empty());
                continue;
            }
            let hint = &refused.current_leader;
            assert_eq!((hint.leader_id, hint.leader_epoch), (BrokerId(1), NOW));
            assert_eq!(nodes.len(), 1, "{nodes:?}");
            assert_eq!((nodes[0].node_id, nodes[0].port), (BrokerId(1), port));
        }
    }
    let mut leader = Connection::open(&testbed.brokers[1], &answered);
    assert_eq!(
        leader.latest_offset("orders", 0),
        Ok(3),
        "nothing was written"
    );
}

/// A poll that began at the leader: who cannot go on at what is a follower now is told at once.
#[test]
fn long_polls_end_when_the_leadership_moves() {
    let (testbed, topic) = moved();
    let answered = Answered::default();
    let last = *versions_of::<FetchRequest>().end();
    let polls = [
        (
            FOLLOWER_FETCHING_FROM - 1,
            -1,
            ErrorCode::NotLeaderOrFollower,
        ),
        (FETCH_HINTS_FROM - 1, NOW, ErrorCode::FencedLeaderEpoch),
        (last, NOW, ErrorCode::FencedLeaderEpoch),
        (last, -1, ErrorCode::None),
    ];
    let begun: Vec<_> = polls
        .into_iter()
        .map(|(version, epoch, expected)| {
            let mut request = fetch(version, &topic, &[(0, 3)]).with_max_wait_ms(60_000);
            request.topics[0].partitions[0].current_leader_epoch = epoch;
            let mut connection = Connection::open(&testbed.brokers[1], &answered);
            connection.send(version, &request);
            (connection, version, expected)
        })
        .collect();
    let elected = elect(&testbed, PREFERRED, Some(&[("orders", &[0])]));
    assert_eq!(elected, [("orders".to_owned(), 0, ErrorCode::None)]);
    let mut leader = Connection::open(&testbed.brokers[0], &answered);
    for (mut connection, version, expected) in begun {
        if expected == ErrorCode::None {
            // It goes on at the follower, until that has something committed.
            eventually(|| leader.latest_offset("orders", 0));
            leader.produce(&topic, 0, batch(1, &["d"]));
        }
        let response = connection.receive::<FetchRequest>(version);
        let polled = only(&response);
        assert_eq!(error(polled.error_code), expected, "{version}");
        if expected == ErrorCode::None {
            assert_eq!(values(polled.records.as_ref()), from_offset(3, &["d"]));
        } else if version >= FETCH_HINTS_FROM {
            let hint = &polled.current_leader;
            let moved = (BrokerId(0), NOW + 1);
            assert_eq!((hint.leader_id, hint.leader_epoch), moved);
            assert_eq!(response.node_endpoints[0].node_id, BrokerId(0));
        }
    }
}

/// It waits for a follower that has stopped, and is not left to its timeout: the next leader takes the record
/// again, and knows by its sequence whether it has it.
#[test]
fn a_producer_that_waits_is_told_when_the_leadership_moves() {
    let mut testbed = Testbed::prepare(1, 4);
    testbed.controllers[0].configure("auto.leader.rebalance.enable=false");
    testbed.start_all();
    let answered = Answered::default();
    let mut connection = Connection::open(&testbed.brokers[2], &answered);
    let topic = connection.create_on("orders", &[3, 0, 1], &[]);
    connection.await_partition("orders", |it| sorted(&it.isr_nodes) == [0, 1, 3]);
    drop(connection);
    testbed.brokers[3].kill();
    let answers = |testbed: &Testbed, isr: &[i32]| {
        for broker in [0, 2] {
            let mut connection = Connection::open(&testbed.brokers[broker], &answered);
            connection.await_partition("orders", |it| {
                it.leader_id == 0 && sorted(&it.isr_nodes) == isr
            });
        }
    };
    answers(&testbed, &[0, 1]);
    testbed.brokers[3].spawn();
    testbed.brokers[3].wait_ready();
    answers(&testbed, &[0, 1, 3]);

    testbed.brokers[1].signal(Signal::STOP);
    let began = Instant::now();
    let mut producer = Connection::open(&testbed.brokers[0], &answered);
    let version = *versions_of::<ProduceRequest>().end();
    let records = Some(batch(1, &["a"]));
    producer.send(
        version,
        &produce_request(version, &topic, -1, &[(0, records)]),
    );
    let elected = elect(&testbed, PREFERRED, Some(&[("orders", &[0])]));
    assert_eq!(elected, [("orders".to_owned(), 0, ErrorCode::None)]);
    let response = producer.receive::<ProduceRequest>(version);
    let outcome = &response.responses[0].partition_responses[0];
    if error(outcome.error_code) == ErrorCode::None {
        // This machine is so slow that nobody waits for the follower any longer.
        assert!(began.elapsed() > LEASE, "{outcome:?}");
        return;
    }
    let expected = ErrorCode::NotLeaderOrFollower;
    assert_eq!(error(outcome.error_code), expected);
    let hint = &outcome.current_leader;
    assert_eq!((hint.leader_id, hint.leader_epoch), (BrokerId(3), NOW + 1));
    assert_eq!(response.node_endpoints[0].node_id, BrokerId(3));
}

#[test]
fn every_broker_checks_the_leader_epoch_that_a_client_knows() {
    let (testbed, topic) = moved();
    let answered = Answered::default();
    let [follower, leader, other] = [0, 1, 2].map(|at| &testbed.brokers[at]);
    let (behind, ahead) = (ErrorCode::FencedLeaderEpoch, ErrorCode::UnknownLeaderEpoch);
    let wrong = ErrorCode::NotLeaderOrFollower;
    // What the leader, the follower and the other one say to a client that knows this epoch.
    let of_leader = [
        (-1, [ErrorCode::None, wrong, wrong]),
        (NOW, [ErrorCode::None, wrong, wrong]),
        (0, [behind, behind, wrong]),
        (NOW + 1, [ahead, ahead, wrong]),
        (i32::MAX, [ahead, ahead, wrong]),
    ];
    for (epoch, expected) in of_leader {
        for (broker, expected) in [leader, follower, other].into_iter().zip(expected) {
            let mut connection = Connection::open(broker, &answered);
            let port = broker.kafka_port;
            for version in versions_of::<OffsetForLeaderEpochRequest>() {
                // A follower's id makes no difference: what is asked for is no secret.
                for replica_id in [-1, -2, 0, 7] {
                    let (error, end) = end_of_epoch(&mut connection, version, replica_id, epoch, 0);
                    assert_eq!(error, expected, "{port} {version} {epoch}");
                    let found = if error == ErrorCode::None {
                        (0, 2)
                    } else {
                        (-1, -1)
                    };
                    assert_eq!(end, found);
                }
            }
            for version in versions_of::<ListOffsetsRequest>() {
                if version >= LIST_OFFSETS_EPOCHS_FROM {
                    let error = latest(&mut connection, version, epoch);
                    assert_eq!(error, expected, "{port} {version} {epoch}");
                }
            }
        }
    }
    // Followers serve consumers that know the epoch in which they follow.
    for version in versions_of::<FetchRequest>().filter(|it| *it >= FETCH_EPOCHS_FROM) {
        let may_follow = version >= FOLLOWER_FETCHING_FROM;
        let of_follower = [
            (-1, if may_follow { ErrorCode::None } else { wrong }),
            (NOW, if may_follow { ErrorCode::None } else { wrong }),
            (0, behind),
            (NOW + 1, ahead),
        ];
        for (epoch, expected) in of_follower {
            let mut request = fetch(version, &topic, &[(0, 0)]);
            request.topics[0].partitions[0].current_leader_epoch = epoch;
            let response = Connection::open(follower, &answered).call(version, &request);
            assert_eq!(
                error(only(&response).error_code),
                expected,
                "{version} {epoch}"
            );
        }
    }
}

#[test]
fn epochs_end_where_the_next_ones_begin() {
    let (testbed, _) = moved();
    let answered = Answered::default();
    let mut leader = Connection::open(&testbed.brokers[1], &answered);
    for version in versions_of::<OffsetForLeaderEpochRequest>() {
        let cases = [
            (0, (0, 2)),
            (NOW, (NOW, 3)),
            (NOW + 1, (-1, -1)),
            (i32::MAX, (-1, -1)),
            (-1, (-1, -1)),
            (i32::MIN, (-1, -1)),
        ];
        for (epoch, expected) in cases {
            let (error, end) = end_of_epoch(&mut leader, version, -1, NOW, epoch);
            assert_eq!(
                (error, end),
                (ErrorCode::None, expected),
                "{version} {epoch}"
            );
        }
    }
}

fn end_of_epoch(
    connection: &mut Connection,
    version: i16,
    replica_id: i32,
    current_leader_epoch: i32,
    leader_epoch: i32,
) -> (ErrorCode, (i32, i64)) {
    let partition = OffsetForLeaderPartition::default()
        .with_partition(0)
        .with_current_leader_epoch(current_leader_epoch)
        .with_leader_epoch(leader_epoch);
    let topic = OffsetForLeaderTopic::default()
        .with_topic(topic_name("orders"))
        .with_partitions(vec![partition]);
    let request = OffsetForLeaderEpochRequest::default().with_topics(vec![topic]);
    let request = if version >= REPLICA_ID_FROM {
        request.with_replica_id(BrokerId(replica_id))
    } else {
        request
    };
    let response = connection.call(version, &request);
    let found = &response.topics[0].partitions[0];
    assert_eq!(found.partition, 0);
    let end = (found.leader_epoch, found.end_offset);
    (error(found.error_code), end)
}

fn latest(connection: &mut Connection, version: i16, current_leader_epoch: i32) -> ErrorCode {
    let partition = ListOffsetsPartition::default()
        .with_partition_index(0)
        .with_current_leader_epoch(current_leader_epoch)
        .with_timestamp(-1);
    let topic = ListOffsetsTopic::default()
        .with_name(topic_name("orders"))
        .with_partitions(vec![partition]);
    let request = ListOffsetsRequest::default()
        .with_replica_id(BrokerId(-1))
        .with_topics(vec![topic]);
    let response = connection.call(version, &request);
    error(response.topics[0].partitions[0].error_code)
}
