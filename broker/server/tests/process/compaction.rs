//! Compacted topics as clients see them, on brokers that are killed while they compact.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use foz_cli::client::{Client, ConfigChange, Consumer, ConsumerConfig, Producer, ProducerConfig};
use foz_cli::message::Message;
use foz_protocol::codec::Compression;
use foz_protocol::error::ErrorCode;
use foz_protocol::record::{BatchBuilder, RecordToWrite};
use kafka_protocol::messages::metadata_response::MetadataResponsePartition;
use tokio::time::Instant;

use crate::newest_end::await_isr;
use crate::reassignments::{await_on, reassign};
use crate::testbed::{Node, PATIENCE, Testbed};
use crate::versions::connection::{
    Answered, Connection, batch, error, eventually, produce_request,
};

const TOPIC: &str = "orders";
const KEYS: usize = 20;
/// With this a round over all keys is a third of the smallest segment there is.
const VALUE_BYTES: usize = 16 << 10;
const COMPACTED: [(&str, &str); 3] = [
    ("cleanup.policy", "compact"),
    ("segment.bytes", "1048576"),
    ("min.cleanable.dirty.ratio", "0.01"),
];

/// Offsets and values.
type Found = BTreeMap<String, Vec<(i64, String)>>;

/// Compaction looks for work all the time.
fn eager(brokers: usize) -> Testbed {
    let mut testbed = Testbed::prepare(1, brokers);
    for broker in &testbed.brokers {
        broker.configure("log.cleaner.backoff.ms=20");
    }
    testbed.controllers[0].configure("auto.leader.rebalance.enable=false");
    testbed.start_all();
    testbed
}

fn keyed(key: &str, value: &str) -> Message {
    let padded = format!("{value:<VALUE_BYTES$}");
    Message {
        key: Some(Bytes::from(key.to_owned())),
        value: Some(Bytes::from(padded)),
        ..Message::default()
    }
}

/// Each key gets the number of each round as its value, and a segment of other keys follows.
async fn write(client: &Client, rounds: std::ops::Range<usize>) {
    let config = ProducerConfig::default();
    let mut producer = Producer::new(client.clone(), config).await.unwrap();
    for round in rounds.clone() {
        for key in 0..KEYS {
            let message = keyed(&format!("key-{key}"), &round.to_string());
            producer.send(TOPIC, message).await.unwrap();
        }
        producer.flush().await.unwrap();
    }
    for n in 0..80 {
        let message = keyed(&format!("other-{}-{n}", rounds.end), "");
        producer.send(TOPIC, message).await.unwrap();
        producer.flush().await.unwrap();
    }
}

/// All that a consumer gets from the begin to the high watermark.
async fn read(client: &Client) -> Found {
    let deadline = Instant::now() + PATIENCE;
    let mut consumer = Consumer::new(client, ConsumerConfig::default());
    consumer.assign(TOPIC, 0, 0);
    let mut found = Found::new();
    let mut last_offset = -1;
    while !consumer.is_at_end() {
        assert!(Instant::now() < deadline, "{last_offset} was the last one");
        for message in consumer.poll(deadline).await.unwrap().messages {
            assert!(message.offset > last_offset);
            last_offset = message.offset;
            let text = |bytes: Option<Bytes>| String::from_utf8(bytes.unwrap().to_vec()).unwrap();
            let value = text(message.value).trim_end().to_owned();
            let values = found.entry(text(message.key)).or_default();
            values.push((message.offset, value));
        }
    }
    found
}

/// Waits until of each key only the record of the last round is left.
async fn await_compacted(client: &Client, newest_round: usize, nodes: &[Node]) -> Found {
    let newest = newest_round.to_string();
    await_found(client, nodes, |found| {
        let of_keys = (0..KEYS).map(|key| found.get(&format!("key-{key}")));
        let is_right = |values: &Vec<(i64, String)>| values.len() == 1 && values[0].1 == newest;
        of_keys
            .into_iter()
            .all(|values| values.is_some_and(is_right))
    })
    .await
}

/// Reads until it is so: a leader that was killed tells of what is committed up to where it knew it, until a follower
/// says more.
async fn await_found(client: &Client, nodes: &[Node], wanted: impl Fn(&Found) -> bool) -> Found {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let found = read(client).await;
        if wanted(&found) {
            return found;
        }
        let logs: Vec<String> = nodes.iter().map(Node::log).collect();
        assert!(Instant::now() < deadline, "{found:?}\n{}", logs.join("\n"));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn metric(node: &Node, name: &str) -> f64 {
    let metrics = node.http("/metrics").unwrap();
    let line = metrics.lines().find(|line| line.starts_with(name));
    let value = line.and_then(|line| line.rsplit_once(' '));
    value.unwrap_or_else(|| panic!("{name}")).1.parse().unwrap()
}

fn create(testbed: &Testbed, replicas: &[i32]) {
    let answered = Answered::default();
    let mut connection = Connection::open(&testbed.brokers[0], &answered);
    connection.create_on(TOPIC, replicas, &COMPACTED);
    await_isr(&testbed.brokers[0], 0, replicas);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_newest_record_of_each_key_is_left_whoever_is_killed() {
    let mut testbed = eager(2);
    tokio::task::block_in_place(|| create(&testbed, &[0, 1]));
    let client = testbed.client().await;
    write(&client, 0..8).await;
    let first = await_compacted(&client, 7, &testbed.brokers).await;
    // A pass is counted a moment after its last log is seen.
    tokio::task::block_in_place(|| {
        for name in ["passes_total", "freed_bytes_total"] {
            let name = format!("foz_compaction_{name}");
            eventually(|| match metric(&testbed.brokers[0], &name) {
                count if count >= 1.0 => Ok(()),
                count => Err(count),
            });
        }
    });
    for broker in &testbed.brokers {
        assert!(metric(broker, "foz_compaction_failures_total") < 0.5);
    }

    // In the middle of passes, some of them.
    for round in 8..12 {
        write(&client, round..round + 1).await;
        tokio::task::block_in_place(|| {
            testbed.brokers[0].kill();
            testbed.brokers[0].spawn();
            testbed.brokers[0].wait_ready();
            Connection::open(&testbed.brokers[1], &Answered::default())
                .await_partition(TOPIC, |it| it.isr_nodes.len() == 2);
        });
    }
    let client = testbed.client().await;
    let second = await_compacted(&client, 11, &testbed.brokers).await;
    for (key, values) in first.iter().filter(|(key, _)| key.starts_with("other")) {
        assert_eq!(&second[key], values, "nothing came after it");
    }

    // What is left is there after a kill of all, and on the other one.
    tokio::task::block_in_place(|| {
        testbed.brokers.iter_mut().for_each(Node::kill);
        testbed.brokers.iter_mut().for_each(Node::spawn);
        testbed.wait_ready();
    });
    let client = testbed.client().await;
    await_found(&client, &testbed.brokers, |found| *found == second).await;
    let leader = tokio::task::block_in_place(|| {
        let answered = Answered::default();
        let mut connection = Connection::open(&testbed.brokers[0], &answered);
        let is_whole = |it: &MetadataResponsePartition| it.isr_nodes.len() == 2;
        connection.await_partition(TOPIC, is_whole).leader_id.0
    });
    testbed.brokers[leader as usize].kill();
    let client = testbed.client().await;
    await_found(&client, &testbed.brokers, |found| *found == second).await;
}

/// At the pace that is allowed the pass would take minutes.
#[tokio::test(flavor = "multi_thread")]
async fn a_stop_waits_for_no_pass_and_the_next_start_makes_another() {
    let mut testbed = eager(1);
    let slow = "log.cleaner.io.max.bytes.per.second";
    tokio::task::block_in_place(|| {
        assert!(testbed.brokers[0].stop());
        testbed.brokers[0].configure(&format!("{slow}=10000"));
        testbed.brokers[0].spawn();
        testbed.wait_ready();
        create(&testbed, &[0]);
    });
    let client = testbed.client().await;
    write(&client, 0..8).await;
    let before = read(&client).await;
    tokio::task::block_in_place(|| {
        let broker = &mut testbed.brokers[0];
        eventually(|| match metric(broker, "foz_compaction_due_bytes") {
            due if due > 1e5 => Ok(()),
            due => Err(due),
        });
        assert!(metric(broker, "foz_compaction_passes_total") < 0.5);
        let begin = Instant::now();
        assert!(broker.stop());
        assert!(begin.elapsed() < Duration::from_secs(10));
        let log = broker.directory.join("data").join("orders-0");
        for entry in std::fs::read_dir(log).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            assert!(!name.ends_with(".cleaned"), "{name}");
        }
        broker.spawn();
        broker.wait_ready();
    });
    let client = testbed.client().await;
    assert_eq!(read(&client).await, before);
    tokio::task::block_in_place(|| {
        let broker = &mut testbed.brokers[0];
        assert!(broker.stop());
        broker.configure(&format!("{slow}=100000000"));
        broker.spawn();
        broker.wait_ready();
    });
    let client = testbed.client().await;
    await_compacted(&client, 7, &testbed.brokers).await;
}

/// A topic that was compacted once has gaps for ever. Whoever gets a replica of it later gets them too.
#[tokio::test(flavor = "multi_thread")]
async fn a_new_replica_takes_the_gaps_of_a_topic_that_is_compacted_no_more() {
    let testbed = eager(2);
    tokio::task::block_in_place(|| create(&testbed, &[0]));
    let client = testbed.client().await;
    write(&client, 0..8).await;
    let before = await_compacted(&client, 7, &testbed.brokers).await;
    let delete = ConfigChange::Set("cleanup.policy".to_owned(), "delete".to_owned());
    client.alter_topic_configs(TOPIC, &[delete]).await.unwrap();
    tokio::task::block_in_place(|| {
        assert_eq!(reassign(&testbed, Some(&[1])), ErrorCode::None);
        await_on(&testbed, &[1]);
    });
    let client = testbed.client().await;
    assert_eq!(read(&client).await, before);
}

#[test]
fn a_record_without_a_key_is_refused() {
    let testbed = Testbed::start(1, 1);
    let answered = Answered::default();
    let mut connection = Connection::open(&testbed.brokers[0], &answered);
    let topic = connection.create_on(TOPIC, &[0], &COMPACTED);
    await_isr(&testbed.brokers[0], 0, &[0]);
    let packed = |keys: &[Option<&[u8]>]| {
        let mut builder = BatchBuilder::new(Compression::Gzip);
        for key in keys {
            builder.push(&RecordToWrite {
                key: *key,
                value: Some(b"1"),
                ..RecordToWrite::default()
            });
        }
        Bytes::from(builder.build().unwrap())
    };
    for (records, expected, wrong) in [
        (batch(1, &["no key"]), ErrorCode::InvalidRecord, &[0][..]),
        (
            packed(&[Some(b"a"), None, Some(b"b"), None]),
            ErrorCode::InvalidRecord,
            &[1, 3],
        ),
        (packed(&[Some(b"a")]), ErrorCode::None, &[]),
    ] {
        let request = produce_request(9, &topic, -1, &[(0, Some(records))]);
        let response = connection.call(9, &request);
        let told = &response.responses[0].partition_responses[0];
        assert_eq!(error(told.error_code), expected);
        if expected == ErrorCode::InvalidRecord {
            let message = told.error_message.as_ref().unwrap();
            assert!(message.contains("needs one"), "{message}");
            let named: Vec<i32> = told.record_errors.iter().map(|it| it.batch_index).collect();
            assert_eq!(named, wrong);
            let reason = told.record_errors[0].batch_index_error_message.as_ref();
            assert!(reason.unwrap().contains("cleanup.policy=compact"));
        }
    }
    assert_eq!(connection.latest_offset(TOPIC, 0), Ok(1));
}
