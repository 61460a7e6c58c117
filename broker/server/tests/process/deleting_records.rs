//! Records that are deleted on request (DeleteRecords) stay away: whoever is killed, comes back or leads next; and a
//! topic that is to keep less keeps less at once.

use std::time::{Duration, Instant};

use foz_cli::client::ConfigChange;
use foz_protocol::error::ErrorCode;
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::{BrokerId, DeleteRecordsRequest, ListOffsetsRequest};
use rustix::process::Signal;

use crate::newest_end::{REPLICAS, await_isr, restart};
use crate::reassignments::{await_on, reassign};
use crate::testbed::{Node, Testbed};
use crate::versions::connection::{
    Answered, Connection, Topic, batch, error, eventually, topic_name,
};
use crate::versions::deleting_records::{delete, delete_request};
use crate::versions::fetching::{fetch, only};

const EARLIEST: i64 = -2;
/// Less than any request waits for, on a machine that is busy.
const AT_ONCE: Duration = Duration::from_secs(5);
const VERSION: i16 = 2;
/// From which on a replica answers consumers that does not lead.
const FETCH: i16 = 11;

/// Broker 0 leads, 1 and 2 follow, and ten records are committed.
fn three() -> (Testbed, Topic) {
    let mut testbed = Testbed::prepare(1, 3);
    testbed.controllers[0].configure("auto.leader.rebalance.enable=false");
    testbed.start_all();
    let topic = {
        let answered = Answered::default();
        let mut connection = Connection::open(&testbed.brokers[0], &answered);
        let topic = connection.create_on("orders", &REPLICAS, &[]);
        await_isr(&testbed.brokers[0], 0, &REPLICAS);
        eventually(|| connection.latest_offset("orders", 0));
        for _ in 0..10 {
            connection.produce(&topic, 0, batch(1, &["a"]));
        }
        topic
    };
    (testbed, topic)
}

fn delete_before(broker: &Node, offset: i64) -> (ErrorCode, i64) {
    let answered = Answered::default();
    let mut connection = Connection::open(broker, &answered);
    let answers = delete(&mut connection, VERSION, &[("orders", &[(0, offset)])]);
    let [(_, 0, error, low_watermark)] = &answers[..] else {
        panic!("{answers:?}");
    };
    (*error, *low_watermark)
}

/// By time: the first record at or after `timestamp`, or the begin.
fn first(broker: &Node, timestamp: i64) -> i64 {
    let answered = Answered::default();
    let mut connection = Connection::open(broker, &answered);
    let partition = ListOffsetsPartition::default()
        .with_partition_index(0)
        .with_timestamp(timestamp);
    let topic = ListOffsetsTopic::default()
        .with_name(topic_name("orders"))
        .with_partitions(vec![partition]);
    let request = ListOffsetsRequest::default()
        .with_replica_id(BrokerId(-1))
        .with_topics(vec![topic]);
    eventually(|| {
        let response = connection.call(7, &request);
        let found = &response.topics[0].partitions[0];
        match error(found.error_code) {
            ErrorCode::None => Ok(found.offset),
            error => Err(error),
        }
    })
}

/// Waits until this replica, whatever its role, begins at `start`.
fn await_start(broker: &Node, topic: &Topic, start: i64) {
    let answered = Answered::default();
    let mut connection = Connection::open(broker, &answered);
    eventually(|| {
        let response = connection.call(FETCH, &fetch(FETCH, topic, &[(0, start - 1)]));
        let before = only(&response);
        match (error(before.error_code), before.log_start_offset) {
            (ErrorCode::OffsetOutOfRange, found) if found == start => Ok(()),
            other => Err(other),
        }
    });
}

fn is_led(broker: &Node, by: &[i32]) -> i32 {
    let answered = Answered::default();
    let mut connection = Connection::open(broker, &answered);
    let led = connection.await_partition("orders", |it| by.contains(&it.leader_id.0));
    led.leader_id.0
}

#[test]
fn they_stay_away_when_the_leader_is_killed_right_after_the_answer() {
    let (mut testbed, topic) = three();
    let began = Instant::now();
    assert_eq!(delete_before(&testbed.brokers[0], 6), (ErrorCode::None, 6));
    testbed.brokers[0].kill();
    assert!(began.elapsed() < AT_ONCE, "{:?}", began.elapsed());
    let leader = is_led(&testbed.brokers[1], &[1, 2]);
    let leader = &testbed.brokers[leader as usize];
    assert_eq!(first(leader, EARLIEST), 6);
    assert_eq!(first(leader, 1), 6, "by time");
    await_start(leader, &topic, 6);
    // The one that was killed begins there too, by itself and for those that follow.
    testbed.brokers[0].spawn();
    testbed.wait_ready();
    await_start(&testbed.brokers[0], &topic, 6);
    await_isr(
        &testbed.brokers[1],
        is_led(&testbed.brokers[1], &[1, 2]),
        &REPLICAS,
    );
}

/// Each broker leads one and follows in two, and whatever one writes down of all its partitions, the leaders of the others
/// hear of it.
#[test]
fn idle_partitions_of_three_leaders_are_answered_at_once() {
    let mut testbed = Testbed::prepare(1, 3);
    testbed.controllers[0].configure("auto.leader.rebalance.enable=false");
    testbed.start_all();
    let topics = [
        ("of-zero", [0, 1, 2]),
        ("of-one", [1, 2, 0]),
        ("of-two", [2, 0, 1]),
    ];
    const ROUNDS: i64 = 20;
    for (leader, (topic, replicas)) in topics.iter().enumerate() {
        let answered = Answered::default();
        let mut connection = Connection::open(&testbed.brokers[leader], &answered);
        let created = connection.create_on(topic, replicas, &[]);
        connection.await_partition(topic, |it| it.isr_nodes.len() == 3);
        for _ in 0..ROUNDS {
            connection.produce(&created, 0, batch(1, &["a"]));
        }
    }
    for before in 1..=ROUNDS {
        let began = Instant::now();
        std::thread::scope(|scope| {
            for (broker, (topic, _)) in testbed.brokers.iter().zip(topics) {
                scope.spawn(move || {
                    let answered = Answered::default();
                    let mut connection = Connection::open(broker, &answered);
                    let answers = delete(&mut connection, VERSION, &[(topic, &[(0, before)])]);
                    let expected = (topic.to_owned(), 0, ErrorCode::None, before);
                    assert_eq!(answers, [expected]);
                });
            }
        });
        assert!(began.elapsed() < AT_ONCE, "{:?}", began.elapsed());
    }
}

#[test]
fn they_stay_away_when_all_are_killed_right_after_the_answer() {
    let (mut testbed, topic) = three();
    assert_eq!(
        delete_before(&testbed.brokers[0], -1),
        (ErrorCode::None, 10)
    );
    testbed.brokers.iter_mut().for_each(Node::kill);
    testbed.brokers.iter_mut().for_each(Node::spawn);
    testbed.wait_ready();
    for broker in &testbed.brokers {
        await_start(broker, &topic, 10);
    }
    let leader = is_led(&testbed.brokers[0], &REPLICAS);
    let leader = &testbed.brokers[leader as usize];
    assert_eq!(first(leader, EARLIEST), 10);
    let answered = Answered::default();
    let offset = Connection::open(leader, &answered).produce(&topic, 0, batch(1, &["b"]));
    assert_eq!(offset, 10);
}

#[test]
fn who_is_away_is_not_waited_for_and_deletes_when_it_is_back() {
    let (mut testbed, topic) = three();
    // It stands still, and nobody knows yet.
    testbed.brokers[2].signal(Signal::STOP);
    let answered = Answered::default();
    let mut connection = Connection::open(&testbed.brokers[0], &answered);
    let request = delete_request(300, &[("orders", &[(0, 4)])]);
    let response = connection.call(VERSION, &request);
    let late = &response.topics[0].partitions[0];
    assert_eq!(error(late.error_code), ErrorCode::RequestTimedOut);
    assert_eq!(late.low_watermark, 0);
    assert_eq!(
        first(&testbed.brokers[0], EARLIEST),
        4,
        "here it is deleted"
    );
    // As soon as it is known not to be alive, whoever waits is answered.
    let asked = Instant::now();
    assert_eq!(delete_before(&testbed.brokers[0], 5), (ErrorCode::None, 5));
    assert!(
        asked.elapsed() < Duration::from_secs(9),
        "it was waited for"
    );
    testbed.brokers[2].signal(Signal::CONT);
    await_isr(&testbed.brokers[0], 0, &REPLICAS);
    await_start(&testbed.brokers[2], &topic, 5);

    // It is behind what is deleted meanwhile, and knows that what it has is committed.
    assert!(testbed.brokers[2].stop());
    let mut connection = Connection::open(&testbed.brokers[0], &answered);
    for _ in 0..10 {
        connection.produce(&topic, 0, batch(1, &["b"]));
    }
    drop(connection);
    assert_eq!(
        delete_before(&testbed.brokers[0], 15),
        (ErrorCode::None, 15)
    );
    testbed.brokers[2].spawn();
    testbed.wait_ready();
    await_isr(&testbed.brokers[0], 0, &REPLICAS);
    await_start(&testbed.brokers[2], &topic, 15);
    // What it had is gone, and no copy of it was kept.
    let log = testbed.brokers[2].directory.join("data/orders-0");
    for entry in std::fs::read_dir(log).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(!name.contains("quarantined"), "{name}");
    }
    let waited = Instant::now();
    assert_eq!(
        delete_before(&testbed.brokers[0], 16),
        (ErrorCode::None, 16)
    );
    await_start(&testbed.brokers[2], &topic, 16);
    assert!(waited.elapsed() < Duration::from_secs(5));

    // Who does not lead deletes nothing.
    let refused = (ErrorCode::NotLeaderOrFollower, -1);
    assert_eq!(delete_before(&testbed.brokers[1], 17), refused);
    // Who goes on in time is waited for.
    testbed.brokers[1].signal(Signal::STOP);
    let mut connection = Connection::open(&testbed.brokers[0], &answered);
    let request = delete_request(60_000, &[("orders", &[(0, 17)])]);
    connection.send(VERSION, &request);
    testbed.brokers[1].signal(Signal::CONT);
    let response = connection.receive::<DeleteRecordsRequest>(VERSION);
    let told = &response.topics[0].partitions[0];
    assert_eq!(
        (error(told.error_code), told.low_watermark),
        (ErrorCode::None, 17)
    );
}

/// It copies from where the log begins, and is killed in the middle.
#[test]
fn a_new_replica_begins_where_the_log_begins() {
    let (mut testbed, topic) = three();
    assert_eq!(reassign(&testbed, Some(&[0, 1])), ErrorCode::None);
    await_on(&testbed, &[0, 1]);
    assert_eq!(delete_before(&testbed.brokers[0], 7), (ErrorCode::None, 7));
    assert_eq!(reassign(&testbed, Some(&[0, 2])), ErrorCode::None);
    await_on(&testbed, &[0, 2]);
    await_start(&testbed.brokers[2], &topic, 7);
    testbed.brokers[2].kill();
    testbed.brokers[2].spawn();
    testbed.wait_ready();
    restart(&mut testbed.controllers[0]);
    await_start(&testbed.brokers[2], &topic, 7);
}

/// And not when `log.retention.check.interval.ms` is over.
#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_is_to_keep_less_keeps_less_at_once() {
    let testbed = Testbed::start(1, 1);
    let broker = &testbed.brokers[0];
    let topic = tokio::task::block_in_place(|| {
        let answered = Answered::default();
        let mut connection = Connection::open(broker, &answered);
        let topic = connection.create_on("orders", &[0], &[]);
        eventually(|| connection.latest_offset("orders", 0));
        connection.produce(&topic, 0, batch(1, &["a", "b", "c"]));
        topic
    });
    let client = testbed.client().await;
    let set = async |key: &str, value: &str| {
        let change = ConfigChange::Set(key.to_owned(), value.to_owned());
        let began = Instant::now();
        client
            .alter_topic_configs("orders", &[change])
            .await
            .unwrap();
        began
    };
    // By age, the records are of 1970.
    let began = set("retention.ms", "1").await;
    tokio::task::block_in_place(|| await_start(broker, &topic, 3));
    assert!(
        began.elapsed() < Duration::from_secs(5),
        "{:?}",
        began.elapsed()
    );
    set("retention.ms", "-1").await;
    tokio::task::block_in_place(|| {
        let answered = Answered::default();
        let mut connection = Connection::open(broker, &answered);
        assert_eq!(connection.produce(&topic, 0, batch(1, &["d"])), 3);
    });
    // By size: nothing is kept, not even what is appended to.
    let began = set("retention.bytes", "0").await;
    tokio::task::block_in_place(|| await_start(broker, &topic, 4));
    assert!(
        began.elapsed() < Duration::from_secs(5),
        "{:?}",
        began.elapsed()
    );
    set("retention.bytes", "-1").await;
    // By a policy that deletes nothing, and does then.
    tokio::task::block_in_place(|| {
        let answered = Answered::default();
        let mut connection = Connection::open(broker, &answered);
        assert_eq!(connection.produce(&topic, 0, batch(1, &["e"])), 4);
    });
    set("cleanup.policy", "compact").await;
    set("retention.ms", "1").await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    tokio::task::block_in_place(|| assert_eq!(first(broker, EARLIEST), 4));
    let began = set("cleanup.policy", "delete").await;
    tokio::task::block_in_place(|| await_start(broker, &topic, 5));
    assert!(
        began.elapsed() < Duration::from_secs(5),
        "{:?}",
        began.elapsed()
    );
}
