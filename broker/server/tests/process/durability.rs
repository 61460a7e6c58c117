//! What was acknowledged is there, whatever was killed.

use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use foz_cli::client::{Client, OffsetAt, Producer, ProducerConfig};
use foz_cli::message::{Message, ReceivedMessage};
use foz_protocol::codec::Compression;

use crate::testbed::{Testbed, read_all, topic};

/// Of sizes from nothing to a megabyte, with null keys, empty keys, null values and headers.
fn message(number: usize) -> Message {
    let value = format!("{number}:")
        .into_bytes()
        .into_iter()
        .cycle()
        .take(size(number));
    Message {
        key: match number % 10 {
            digit if digit.is_multiple_of(3) => None,
            1 => Some(Bytes::new()),
            digit => Some(Bytes::from(format!("key-{digit}"))),
        },
        value: (!number.is_multiple_of(11)).then(|| value.collect()),
        headers: (0..number % 3)
            .map(|n| {
                (
                    format!("h{n}"),
                    (n > 0).then(|| Bytes::from(format!("{number}"))),
                )
            })
            .collect(),
        // Older ones would be gone by retention.ms.
        timestamp_ms: Some(started_ms() + number as i64),
        partition: Some((number % 6) as i32),
    }
}

fn size(number: usize) -> usize {
    match number {
        _ if number % 500 == 1 => 1_000_000,
        _ if number % 50 == 1 => 20_000,
        _ if number.is_multiple_of(7) => 0,
        _ => number % 1_000,
    }
}

fn started_ms() -> i64 {
    static STARTED_MS: OnceLock<i64> = OnceLock::new();
    *STARTED_MS.get_or_init(|| {
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap()
            .as_millis() as i64
    })
}

/// By a producer for each chunk, the codecs in turn.
async fn produce(client: &Client, numbers: std::ops::Range<usize>, chunk: usize) {
    let numbers: Vec<usize> = numbers.collect();
    for (codec, chunk) in Compression::ALL.iter().cycle().zip(numbers.chunks(chunk)) {
        let config = ProducerConfig {
            compression: *codec,
            ..ProducerConfig::default()
        };
        let mut producer = Producer::new(client.clone(), config).await.unwrap();
        for number in chunk {
            producer.send("orders", message(*number)).await.unwrap();
        }
        producer.flush().await.unwrap();
        assert_eq!(producer.acknowledged(), chunk.len() as u64);
    }
}

fn check(received: &[ReceivedMessage], count: usize) {
    let mut by_partition: BTreeMap<i32, Vec<&ReceivedMessage>> = BTreeMap::new();
    for message in received {
        by_partition
            .entry(message.partition)
            .or_default()
            .push(message);
    }
    for partition in 0..6 {
        let expected = (0..count).filter(|number| number % 6 == partition as usize);
        let messages = by_partition.remove(&partition).unwrap_or_default();
        let mut came = messages.iter();
        for (offset, number) in expected.enumerate() {
            let message = message(number);
            let received = came
                .next()
                .unwrap_or_else(|| panic!("message {number} is missing"));
            assert_eq!(received.offset, offset as i64, "message {number}");
            assert_eq!(received.key, message.key, "message {number}");
            assert_eq!(received.value, message.value, "message {number}");
            assert_eq!(received.headers, message.headers, "message {number}");
            assert_eq!(
                Some(received.timestamp_ms),
                message.timestamp_ms,
                "message {number}"
            );
        }
        assert!(
            came.next().is_none(),
            "partition {partition} holds more than was produced"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_messages_of_every_kind_come_back() {
    let testbed = Testbed::start(1, 2);
    let client = testbed.client().await;
    client.create_topic(&topic("orders", 6)).await.unwrap();
    produce(&client, 0..10_000, 500).await;
    check(&read_all(&client, "orders").await, 10_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn acknowledged_messages_survive_kill_of_each_and_of_all() {
    let mut testbed = Testbed::start(3, 3);
    let client = testbed.client().await;
    client.create_topic(&topic("orders", 6)).await.unwrap();
    produce(&client, 0..300, 20).await;
    check(&read_all(&client, "orders").await, 300);

    for index in 0..3 {
        testbed.brokers[index].kill();
        testbed.brokers[index].spawn();
        testbed.brokers[index].wait_ready();
        testbed.controllers[index].kill();
        testbed.controllers[index].spawn();
        testbed.controllers[index].wait_ready();
    }
    let client = testbed.client().await;
    check(&read_all(&client, "orders").await, 300);
    produce(&client, 300..400, 20).await;

    testbed.nodes().for_each(|node| node.kill());
    testbed.nodes().for_each(|node| node.spawn());
    testbed.wait_ready();
    let client = testbed.client().await;
    check(&read_all(&client, "orders").await, 400);
    produce(&client, 400..420, 20).await;
    check(&read_all(&client, "orders").await, 420);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clean_stop_leaves_the_mark_and_the_data() {
    let mut testbed = Testbed::start(1, 1);
    let client = testbed.client().await;
    client.create_topic(&topic("orders", 6)).await.unwrap();
    produce(&client, 0..60, 20).await;
    assert!(testbed.brokers[0].stop());
    let data = testbed.brokers[0].directory.join("data");
    assert!(data.join(".kafka_cleanshutdown").exists());
    assert!(testbed.controllers[0].stop());
    testbed.nodes().for_each(|node| node.spawn());
    testbed.wait_ready();
    assert!(
        !data.join(".kafka_cleanshutdown").exists(),
        "a crash from now on must be seen as one"
    );
    let client = testbed.client().await;
    check(&read_all(&client, "orders").await, 60);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_topic_keeps_for_ever_is_there_after_a_restart() {
    let mut testbed = Testbed::start(1, 1);
    let client = testbed.client().await;
    let mut kept = topic("kept", 1);
    kept.configs
        .insert("retention.ms".to_owned(), "-1".to_owned());
    client.create_topic(&kept).await.unwrap();
    let mut producer = Producer::new(client.clone(), ProducerConfig::default())
        .await
        .unwrap();
    let old = Message {
        timestamp_ms: Some(1_000_000_000_000),
        ..Message::of("of 2001")
    };
    producer.send("kept", old).await.unwrap();
    producer.flush().await.unwrap();
    for _ in 0..3 {
        // Cleanly, so that the checkpoints are there from which retention takes what it may delete.
        assert!(testbed.brokers[0].stop());
        testbed.brokers[0].spawn();
        testbed.brokers[0].wait_ready();
        let client = testbed.client().await;
        assert_eq!(read_all(&client, "kept").await.len(), 1);
        let first = client
            .offsets("kept", &[0], OffsetAt::Earliest)
            .await
            .unwrap();
        assert_eq!(first[&0], 0, "nothing was deleted");
    }
}
