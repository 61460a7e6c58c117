//! Damage in what a broker that was killed checks only when it serves again.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use foz_cli::client::{Client, Consumer, ConsumerConfig, NewTopic, Producer, ProducerConfig};
use foz_cli::message::Message;
use foz_protocol::batch::Batches;
use foz_protocol::error::ErrorCode;

use crate::testbed::{Node, PATIENCE, Testbed, read_all, until};

const TOPIC: &str = "orders";
const COUNT: usize = 200;

fn value(number: usize) -> Bytes {
    Bytes::from(format!("{number:01000}"))
}

/// One batch for each record.
async fn fill(client: &Client, replicas: i16) {
    let topic = NewTopic {
        name: TOPIC.to_owned(),
        partitions: Some(1),
        replication_factor: Some(replicas),
        configs: BTreeMap::new(),
    };
    client.create_topic(&topic).await.unwrap();
    let mut producer = Producer::new(client.clone(), ProducerConfig::default())
        .await
        .unwrap();
    for number in 0..COUNT {
        let message = Message {
            value: Some(value(number)),
            ..Message::default()
        };
        producer.send(TOPIC, message).await.unwrap();
        producer.flush().await.unwrap();
    }
}

fn log_file(broker: &Node) -> PathBuf {
    broker
        .directory
        .join(format!("data/{TOPIC}-0/00000000000000000000.log"))
}

fn checkpointed(broker: &Node, file: &str) -> i64 {
    let text = std::fs::read_to_string(broker.directory.join("data").join(file));
    let of_partition = |line: &str| line.strip_prefix(&format!("{TOPIC} 0 "))?.parse().ok();
    let text = text.unwrap_or_default();
    text.lines().find_map(of_partition).unwrap_or(0)
}

/// Until what is committed is what the next start goes by.
async fn until_checkpointed(broker: &Node) {
    until("the high watermark is written down", || {
        checkpointed(broker, "replication-offset-checkpoint") >= COUNT as i64
    })
    .await;
    let flushed = checkpointed(broker, "recovery-point-offset-checkpoint");
    assert!(flushed < 10, "nothing has flushed it: {flushed}");
}

/// Flips a bit of a record in the middle. Returns its offset.
fn damage(log: &Path) -> i64 {
    let mut bytes = std::fs::read(log).unwrap();
    let mut position = 0;
    for (n, batch) in Batches::new(&bytes.clone()).enumerate() {
        let (header, batch) = batch.unwrap();
        if n == COUNT / 2 {
            bytes[position + batch.len() / 2] ^= 1;
            std::fs::write(log, &bytes).unwrap();
            return header.base_offset;
        }
        position += batch.len();
    }
    panic!("{position} bytes are not enough");
}

fn says(broker: &Node, gauge: &str, value: u32) -> bool {
    let metrics = broker.http("/metrics").unwrap_or_default();
    metrics.contains(&format!("\n{gauge} {value}\n"))
}

async fn read_one(client: &Client, offset: i64) -> Option<Bytes> {
    let mut consumer = Consumer::new(client, ConsumerConfig::default());
    consumer.assign(TOPIC, 0, offset);
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(1);
    loop {
        match consumer.poll(deadline).await {
            Ok(polled) => match polled.messages.into_iter().next() {
                Some(message) => return message.value,
                None if tokio::time::Instant::now() >= deadline => return None,
                None => {}
            },
            Err(error) => {
                assert_eq!(error.code(), Some(ErrorCode::KafkaStorageError), "{error}");
                return None;
            }
        }
    }
}

/// Nobody else has it: the rest is served on, the damage never is, and it is known again after each start.
#[tokio::test(flavor = "multi_thread")]
async fn a_single_replica_serves_all_but_the_damage() {
    let mut testbed = Testbed::prepare(1, 1);
    testbed.brokers[0].configure("foz.flush.single.replica=false");
    testbed.start_all();
    fill(&testbed.client().await, 1).await;
    let broker = &mut testbed.brokers[0];
    until_checkpointed(broker).await;
    broker.kill();
    let offset = damage(&log_file(broker));
    let bytes = std::fs::read(log_file(broker)).unwrap();
    // After a kill, and after a clean stop.
    for round in 1..=2 {
        let broker = &mut testbed.brokers[0];
        broker.spawn();
        broker.wait_ready();
        let found = "found while checking after a crash";
        let broker = &testbed.brokers[0];
        until("it is found", || {
            broker.log().matches(found).count() == round
        })
        .await;
        until("it is told", || {
            // What is behind the damage is not checked.
            says(broker, "foz_damaged_logs", 1) && says(broker, "foz_unchecked_logs", 1)
        })
        .await;
        let client = testbed.client().await;
        assert_eq!(read_one(&client, offset).await, None, "{round}");
        for number in [0, offset - 1, offset + 1, COUNT as i64 - 1] {
            let read = read_one(&client, number).await;
            assert_eq!(read, Some(value(number as usize)), "{round}");
        }
        let mut producer = Producer::new(client.clone(), ProducerConfig::default())
            .await
            .unwrap();
        producer.send(TOPIC, Message::of("more")).await.unwrap();
        producer.flush().await.unwrap();
        assert_eq!(producer.acknowledged(), 1);
        let broker = &mut testbed.brokers[0];
        assert!(broker.stop(), "{}", broker.log());
        let flushed = checkpointed(broker, "recovery-point-offset-checkpoint");
        assert_eq!(flushed, COUNT as i64 + round as i64);
        let checked = checkpointed(broker, "checked-offset-checkpoint");
        assert_eq!(checked, offset, "what is behind it is not called whole");
    }
    let now = std::fs::read(log_file(&testbed.brokers[0])).unwrap();
    assert_eq!(now[..bytes.len()], bytes, "and nothing of it is lost");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_fetches_it_again() {
    let mut testbed = Testbed::start(1, 3);
    let client = testbed.client().await;
    fill(&client, 3).await;
    let cluster = client.refresh(Some(&[TOPIC])).await.unwrap();
    let leader = cluster.topics[TOPIC].partitions[&0].leader as usize;
    let follower = (leader + 1) % 3;
    let broker = &mut testbed.brokers[follower];
    until_checkpointed(broker).await;
    broker.kill();
    let log = log_file(broker);
    let damaged = damage(&log);
    let whole = std::fs::read(log_file(&testbed.brokers[leader])).unwrap();
    assert!(damaged > 0 && std::fs::read(&log).unwrap() != whole);
    let broker = &mut testbed.brokers[follower];
    broker.spawn();
    broker.wait_ready();
    let broker = &testbed.brokers[follower];
    until("it is whole", || std::fs::read(&log).unwrap() == whole).await;
    let quarantined = log.with_extension("log.quarantined");
    assert!(quarantined.exists());
    let said = broker.log();
    assert!(
        said.contains("found while checking after a crash"),
        "{said}"
    );
    until("it is told", || {
        says(broker, "foz_damaged_logs", 0) && says(broker, "foz_unchecked_logs", 0)
    })
    .await;
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while client.refresh(Some(&[TOPIC])).await.unwrap().topics[TOPIC].partitions[&0]
        .isr
        .len()
        < 3
    {
        assert!(
            tokio::time::Instant::now() < deadline,
            "it is in sync again"
        );
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert_eq!(read_all(&client, TOPIC).await.len(), COUNT);
    for broker in &mut testbed.brokers {
        assert!(broker.stop(), "{}", broker.log());
        let flushed = checkpointed(broker, "recovery-point-offset-checkpoint");
        assert_eq!(flushed, COUNT as i64);
    }
}

/// Nobody appends anything, and nobody asks for it.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_kill_left_is_flushed_once_the_broker_serves() {
    let mut testbed = Testbed::prepare(1, 1);
    testbed.brokers[0].configure("foz.flush.single.replica=false");
    testbed.start_all();
    fill(&testbed.client().await, 1).await;
    let broker = &mut testbed.brokers[0];
    until_checkpointed(broker).await;
    broker.kill();
    broker.spawn();
    broker.wait_ready();
    let client = testbed.client().await;
    assert_eq!(read_all(&client, TOPIC).await.len(), COUNT);
    until("it is flushed, and that is written down", || {
        let file = "recovery-point-offset-checkpoint";
        checkpointed(&testbed.brokers[0], file) == COUNT as i64
    })
    .await;
}
