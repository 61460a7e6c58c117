//! Partitions move to other brokers, and get fewer or more replicas, while clients use them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use bytes::Bytes;
use foz_api::v1::CordonBrokersRequest;
use foz_api::v1::admin_client::AdminClient;
use foz_cli::client::{Client, Producer, ProducerConfig};
use foz_cli::message::Message;
use foz_protocol::error::ErrorCode;
use kafka_protocol::messages::alter_partition_reassignments_request::{
    ReassignablePartition, ReassignableTopic,
};
use kafka_protocol::messages::incremental_alter_configs_request::{
    AlterConfigsResource, AlterableConfig,
};
use kafka_protocol::messages::list_partition_reassignments_request::ListPartitionReassignmentsTopics;
use kafka_protocol::messages::{
    AlterPartitionReassignmentsRequest, BrokerId, IncrementalAlterConfigsRequest,
    ListPartitionReassignmentsRequest,
};

use crate::groups::{commit, committed, coordinator};
use crate::testbed::{Testbed, pause, read_all, sorted, topic};
use crate::versions::connection::{
    Answered, Connection, Topic, batch, error, eventually, text, topic_name, values,
};
use crate::versions::fetching::{fetch, only};

const TOPIC: &str = "orders";
/// It answers for the others.
const ASKED: usize = 1;
const MIN_INSYNC_2: [(&str, &str); 1] = [("min.insync.replicas", "2")];
const BROKER: i8 = 4;
const OF_TOPIC: i8 = 2;

/// Topic, index, all replicas, those that come and those that go.
type Ongoing = (String, i32, Vec<i32>, Vec<i32>, Vec<i32>);

pub(crate) fn target(topic: &str, partitions: &[(i32, Option<&[i32]>)]) -> ReassignableTopic {
    let partitions = partitions.iter().map(|(index, replicas)| {
        let ids = |ids: &[i32]| ids.iter().copied().map(BrokerId).collect();
        ReassignablePartition::default()
            .with_partition_index(*index)
            .with_replicas(replicas.map(ids))
    });
    ReassignableTopic::default()
        .with_name(topic_name(topic))
        .with_partitions(partitions.collect())
}

/// The outcome of each partition.
fn alter(
    testbed: &Testbed,
    allow_replication_factor_change: bool,
    topics: Vec<ReassignableTopic>,
) -> Vec<ErrorCode> {
    let request = AlterPartitionReassignmentsRequest::default()
        .with_timeout_ms(10_000)
        .with_allow_replication_factor_change(allow_replication_factor_change)
        .with_topics(topics);
    let answered = Answered::default();
    let response = Connection::open(&testbed.brokers[ASKED], &answered).call(1, &request);
    assert_eq!(error(response.error_code), ErrorCode::None, "{response:?}");
    let partitions = response.responses.iter().flat_map(|it| &it.partitions);
    partitions
        .map(|it| {
            assert_eq!(it.error_code == 0, it.error_message.is_none(), "{it:?}");
            error(it.error_code)
        })
        .collect()
}

pub(crate) fn reassign(testbed: &Testbed, replicas: Option<&[i32]>) -> ErrorCode {
    let outcomes = alter(testbed, true, vec![target(TOPIC, &[(0, replicas)])]);
    let [outcome] = outcomes[..] else {
        panic!("{outcomes:?}");
    };
    outcome
}

/// What is under way; `None` asks for everything.
fn list(testbed: &Testbed, named: Option<&[(&str, &[i32])]>) -> Vec<Ongoing> {
    let topics = |named: &[(&str, &[i32])]| {
        let topics = named.iter().map(|(name, indexes)| {
            ListPartitionReassignmentsTopics::default()
                .with_name(topic_name(name))
                .with_partition_indexes(indexes.to_vec())
        });
        topics.collect()
    };
    let request = ListPartitionReassignmentsRequest::default()
        .with_timeout_ms(10_000)
        .with_topics(named.map(topics));
    let answered = Answered::default();
    let response = Connection::open(&testbed.brokers[ASKED], &answered).call(0, &request);
    assert_eq!(error(response.error_code), ErrorCode::None);
    let ids = |ids: &[BrokerId]| -> Vec<i32> { ids.iter().map(|id| id.0).collect() };
    let mut ongoing = Vec::new();
    for topic in &response.topics {
        for it in &topic.partitions {
            let (adding, removing) = (ids(&it.adding_replicas), ids(&it.removing_replicas));
            let replicas = ids(&it.replicas);
            let name = topic.name.to_string();
            ongoing.push((name, it.partition_index, replicas, adding, removing));
        }
    }
    ongoing
}

/// Waits until these are the replicas, all in sync, and the first of them leads.
pub(crate) fn await_on(testbed: &Testbed, replicas: &[i32]) {
    await_led(testbed, replicas, replicas[0]);
}

fn await_led(testbed: &Testbed, replicas: &[i32], leader: i32) {
    let mut isr = replicas.to_vec();
    isr.sort_unstable();
    let answered = Answered::default();
    Connection::open(&testbed.brokers[ASKED], &answered).await_partition(TOPIC, |it| {
        let now: Vec<i32> = it.replica_nodes.iter().map(|id| id.0).collect();
        now == replicas && sorted(&it.isr_nodes) == isr && it.leader_id.0 == leader
    });
    assert_eq!(list(testbed, None), []);
}

/// Makes the topic with one partition and waits until all replicas are in sync.
fn create(testbed: &Testbed, replicas: &[i32], configs: &[(&str, &str)]) -> Topic {
    let answered = Answered::default();
    let mut connection = Connection::open(&testbed.brokers[ASKED], &answered);
    let topic = connection.create_on(TOPIC, replicas, configs);
    await_on(testbed, replicas);
    topic
}

/// Writes one record to the broker that leads.
fn produce(testbed: &Testbed, leader: usize, topic: &Topic, value: &str) {
    let answered = Answered::default();
    let mut connection = Connection::open(&testbed.brokers[leader], &answered);
    eventually(|| connection.latest_offset(TOPIC, 0));
    connection.produce(topic, 0, batch(1, &[value]));
}

/// What this broker has of the partition, under whatever name.
fn directories(testbed: &Testbed, broker: usize) -> Vec<String> {
    let data = testbed.brokers[broker].directory.join("data");
    let entries = std::fs::read_dir(data).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.starts_with("orders-0")).collect()
}

/// The rest of a deleted log goes with the next checkpoint.
fn await_no_log(testbed: &Testbed, broker: usize) {
    eventually(|| match directories(testbed, broker) {
        left if left.is_empty() => Ok(()),
        left => Err(left),
    });
}

/// Sets a key, or takes it back.
fn configure(testbed: &Testbed, of: i8, name: &str, key: &str, value: Option<&str>) {
    let change = AlterableConfig::default()
        .with_name(text(key))
        .with_config_operation(i8::from(value.is_none()))
        .with_value(value.map(text));
    let resource = AlterConfigsResource::default()
        .with_resource_type(of)
        .with_resource_name(text(name))
        .with_configs(vec![change]);
    let request = IncrementalAlterConfigsRequest::default().with_resources(vec![resource]);
    let answered = Answered::default();
    let response = Connection::open(&testbed.brokers[ASKED], &answered).call(1, &request);
    let outcome = &response.responses[0];
    assert_eq!(error(outcome.error_code), ErrorCode::None, "{outcome:?}");
}

/// Writes numbers, each after the one before was acknowledged, until `done`; the first 5,000 at once. Returns how many.
async fn write_until(client: &Client, written: &AtomicU32, done: impl Fn() -> bool) -> u32 {
    let config = ProducerConfig::default();
    let mut producer = Producer::new(client.clone(), config).await.unwrap();
    for number in 0.. {
        let message = Message {
            value: Some(Bytes::from(number.to_string())),
            ..Message::default()
        };
        producer.send(TOPIC, message).await.unwrap();
        if number >= 5_000 {
            producer.flush().await.unwrap();
            written.store(number + 1, Ordering::Release);
            if done() {
                break;
            }
        }
    }
    written.load(Ordering::Acquire)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_moves_while_it_is_written() {
    let testbed = Arc::new(Testbed::start(1, 4));
    tokio::task::block_in_place(|| create(&testbed, &[0, 1, 2], &MIN_INSYNC_2));
    let written = Arc::new(AtomicU32::new(0));
    let moving = tokio::task::spawn_blocking({
        let (testbed, written) = (Arc::clone(&testbed), Arc::clone(&written));
        move || {
            let await_more = || {
                let wanted = written.load(Ordering::Acquire) + 20;
                eventually(|| match written.load(Ordering::Acquire) {
                    enough if enough >= wanted => Ok(()),
                    too_few => Err(too_few),
                });
            };
            await_more();
            for (replicas, left) in [(&[1, 2, 3][..], 0), (&[0, 3], 1)] {
                assert_eq!(reassign(&testbed, Some(replicas)), ErrorCode::None);
                await_on(&testbed, replicas);
                await_no_log(&testbed, left);
                await_more();
            }
        }
    });
    let client = testbed.client().await;
    let count = write_until(&client, &written, || moving.is_finished()).await;
    moving.await.unwrap();
    // All of it is read from where it is now.
    let mut read = BTreeMap::new();
    for message in read_all(&client, TOPIC).await {
        let value = String::from_utf8(message.value.unwrap().to_vec()).unwrap();
        *read.entry(value.parse::<u32>().unwrap()).or_insert(0) += 1;
    }
    let expected: BTreeMap<u32, i32> = (0..count).map(|number| (number, 1)).collect();
    assert!(read == expected, "{} of {count} numbers", read.len());
}

#[test]
fn a_move_that_is_cancelled_half_way_leaves_nothing_behind() {
    let testbed = Testbed::start(1, 4);
    let topic = create(&testbed, &[0, 1, 2], &MIN_INSYNC_2);
    let value = "x".repeat(256 << 10);
    for _ in 0..12 {
        produce(&testbed, 0, &topic, &value);
    }
    // Broker 3 gets one answer, and the next one in a quarter of an hour.
    let rate = "follower.replication.throttled.rate";
    configure(&testbed, BROKER, "3", rate, Some("1000"));
    let replicas = "follower.replication.throttled.replicas";
    configure(&testbed, OF_TOPIC, TOPIC, replicas, Some("0:3"));
    let moving = [(TOPIC.to_owned(), 0, vec![1, 2, 3, 0], vec![3], vec![0])];
    // The answer may have been lost: the same again changes nothing.
    for _ in 0..2 {
        assert_eq!(reassign(&testbed, Some(&[1, 2, 3])), ErrorCode::None);
        assert_eq!(list(&testbed, None), moving);
    }
    let log = "data/orders-0/00000000000000000000.log";
    let log = testbed.brokers[3].directory.join(log);
    let size = || std::fs::metadata(&log).map_or(0, |file| file.len());
    eventually(|| {
        if size() > 0 {
            Ok(())
        } else {
            Err("nothing is copied")
        }
    });
    for _ in 0..100 {
        pause();
    }
    assert!(
        size() < 2 << 20,
        "{} bytes in spite of the throttle",
        size()
    );
    produce(&testbed, 0, &topic, "in between");
    assert_eq!(
        list(&testbed, Some(&[(TOPIC, &[7, 0]), ("nowhere", &[0])])),
        moving
    );
    assert_eq!(list(&testbed, Some(&[(TOPIC, &[])])), []);
    assert_eq!(list(&testbed, Some(&[])), []);

    assert_eq!(reassign(&testbed, None), ErrorCode::None);
    // In the order of the replicas that were there together, as in Kafka.
    await_led(&testbed, &[1, 2, 0], 0);
    await_no_log(&testbed, 3);
    produce(&testbed, 0, &topic, "after");
    assert_eq!(
        reassign(&testbed, None),
        ErrorCode::NoReassignmentInProgress
    );

    // Without the throttle it comes to its end.
    assert_eq!(reassign(&testbed, Some(&[1, 2, 3])), ErrorCode::None);
    configure(&testbed, BROKER, "3", rate, None);
    await_on(&testbed, &[1, 2, 3]);
    await_no_log(&testbed, 0);
    let answered = Answered::default();
    let mut connection = Connection::open(&testbed.brokers[1], &answered);
    assert_eq!(eventually(|| connection.latest_offset(TOPIC, 0)), 14);
}

#[test]
fn replicas_are_taken_away_and_come_back() {
    let testbed = Testbed::start(1, 3);
    let topic = create(&testbed, &[0, 1, 2], &[]);
    produce(&testbed, 0, &topic, "with three");
    let refused = alter(&testbed, false, vec![target(TOPIC, &[(0, Some(&[0, 1]))])]);
    assert_eq!(refused, [ErrorCode::InvalidReplicationFactor]);
    assert_eq!(reassign(&testbed, Some(&[0, 1])), ErrorCode::None);
    await_on(&testbed, &[0, 1]);
    await_no_log(&testbed, 2);
    produce(&testbed, 0, &topic, "with two");
    assert_eq!(reassign(&testbed, Some(&[0, 1, 2])), ErrorCode::None);
    await_on(&testbed, &[0, 1, 2]);
    produce(&testbed, 0, &topic, "with three again");
    // What came back has all of it.
    assert_eq!(reassign(&testbed, Some(&[2])), ErrorCode::None);
    await_on(&testbed, &[2]);
    await_no_log(&testbed, 0);
    await_no_log(&testbed, 1);
    produce(&testbed, 2, &topic, "alone");
    assert_eq!(
        read(&testbed, 2, &topic),
        ["with three", "with two", "with three again", "alone"]
    );
}

fn read(testbed: &Testbed, broker: usize, topic: &Topic) -> Vec<String> {
    let answered = Answered::default();
    let mut connection = Connection::open(&testbed.brokers[broker], &answered);
    let response = connection.call(12, &fetch(12, topic, &[(0, 0)]));
    let partition = only(&response);
    assert_eq!(error(partition.error_code), ErrorCode::None);
    let values = values(partition.records.as_ref());
    values.into_iter().map(|(_, value)| value).collect()
}

/// Metadata that was lost must not take the data with it, so as with Kafka somebody has to look.
#[test]
fn a_broker_that_lost_its_replica_while_it_was_away_sets_the_log_aside() {
    let mut testbed = Testbed::start(1, 3);
    let topic = create(&testbed, &[0, 1, 2], &[]);
    produce(&testbed, 0, &topic, "before");
    testbed.brokers[2].kill();
    assert_eq!(reassign(&testbed, Some(&[0, 1])), ErrorCode::None);
    await_on(&testbed, &[0, 1]);
    produce(&testbed, 0, &topic, "meanwhile");
    testbed.brokers[2].spawn();
    testbed.brokers[2].wait_ready();
    let left = directories(&testbed, 2);
    assert!(left.len() == 1 && left[0].ends_with("-stray"), "{left:?}");
    let answered = Answered::default();
    let mut connection = Connection::open(&testbed.brokers[2], &answered);
    let response = connection.call(12, &fetch(12, &topic, &[(0, 0)]));
    let refused = error(only(&response).error_code);
    assert_eq!(refused, ErrorCode::NotLeaderOrFollower);

    assert_eq!(reassign(&testbed, Some(&[0, 2])), ErrorCode::None);
    await_on(&testbed, &[0, 2]);
    assert!(directories(&testbed, 2).contains(&"orders-0".to_owned()));
}

#[test]
fn a_broker_that_is_down_is_waited_for() {
    let mut testbed = Testbed::start(1, 3);
    let topic = create(&testbed, &[0, 1], &[]);
    produce(&testbed, 0, &topic, "before");
    testbed.brokers[2].kill();
    assert_eq!(reassign(&testbed, Some(&[2, 1])), ErrorCode::None);
    // The controller forgets nothing.
    testbed.controllers[0].kill();
    testbed.controllers[0].spawn();
    testbed.controllers[0].wait_ready();
    testbed.brokers[2].spawn();
    testbed.brokers[2].wait_ready();
    await_on(&testbed, &[2, 1]);
    await_no_log(&testbed, 0);
    assert_eq!(read(&testbed, 2, &topic), ["before"]);
}

/// Coordinators go where their partitions go.
#[tokio::test(flavor = "multi_thread")]
async fn committed_offsets_move_with_their_partitions() {
    const PARTITIONS: i32 = 4;
    let mut testbed = Testbed::prepare(1, 4);
    for broker in &testbed.brokers {
        broker.configure(&format!("offsets.topic.num.partitions={PARTITIONS}"));
    }
    testbed.start_all();
    let client = testbed.client().await;
    client.create_topic(&topic(TOPIC, 1)).await.unwrap();
    let groups: Vec<String> = (0..8).map(|number| format!("group-{number}")).collect();
    let mut offset = 0;
    for group in &groups {
        commit(&client, group, offset).await;
    }
    for replicas in [[1, 2, 3], [3, 0, 1], [0, 2, 1]] {
        tokio::task::block_in_place(|| {
            let all: Vec<_> = (0..PARTITIONS)
                .map(|it| (it, Some(&replicas[..])))
                .collect();
            let outcomes = alter(&testbed, true, vec![target("__consumer_offsets", &all)]);
            assert_eq!(outcomes, [ErrorCode::None; PARTITIONS as usize]);
        });
        for group in &groups {
            assert_eq!(committed(&client, group).await.0, offset, "{group}");
            commit(&client, group, offset + 1).await;
        }
        offset += 1;
        tokio::task::block_in_place(|| {
            eventually(|| match list(&testbed, None) {
                moving if moving.is_empty() => Ok(()),
                moving => Err(moving),
            });
        });
        for group in &groups {
            assert_eq!(committed(&client, group).await.0, offset, "{group}");
            assert!(replicas.contains(&coordinator(&client, group).await));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_is_refused_in_kafkas_terms() {
    let testbed = Testbed::start(1, 4);
    tokio::task::block_in_place(|| create(&testbed, &[0, 1], &[]));
    let address = format!("http://127.0.0.1:{}", testbed.controllers[0].grpc_port);
    let mut admin = AdminClient::connect(address).await.unwrap();
    let cordon = CordonBrokersRequest {
        node_ids: vec![3],
        cordoned: true,
        operator_epoch: 0,
    };
    admin.cordon_brokers(cordon).await.unwrap();
    tokio::task::block_in_place(|| {
        let refused = ErrorCode::InvalidReplicaAssignment;
        for (replicas, expected) in [
            (Some(&[][..]), refused),
            (Some(&[1, 1]), refused),
            (Some(&[1, -1]), refused),
            (Some(&[1, 9]), refused),
            (Some(&[1, 3]), refused),
            (None, ErrorCode::NoReassignmentInProgress),
            (Some(&[0, 1]), ErrorCode::None),
        ] {
            assert_eq!(reassign(&testbed, replicas), expected, "{replicas:?}");
            await_on(&testbed, &[0, 1]);
        }
        assert_eq!(alter(&testbed, true, Vec::new()), []);
        let (unknown, twice) = (
            ErrorCode::UnknownTopicOrPartition,
            ErrorCode::InvalidRequest,
        );
        let topics = vec![
            target("nowhere", &[(0, Some(&[0])), (1, None)]),
            target(TOPIC, &[(1, Some(&[0])), (0, Some(&[2, 1]))]),
        ];
        let outcomes = alter(&testbed, true, topics);
        assert_eq!(outcomes, [unknown, unknown, unknown, ErrorCode::None]);
        await_on(&testbed, &[2, 1]);
        let topics = vec![
            target(TOPIC, &[(0, Some(&[0, 1]))]),
            target(TOPIC, &[(0, Some(&[1]))]),
        ];
        assert_eq!(alter(&testbed, true, topics), [twice, twice]);
        await_on(&testbed, &[2, 1]);
    });
}
