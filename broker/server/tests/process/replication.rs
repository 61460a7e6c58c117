//! Partitions with several replicas: who leads may change, what was acknowledged may not.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use foz_cli::client::{Client, NewTopic, Producer, ProducerConfig};
use foz_cli::message::Message;
use foz_protocol::error::ErrorCode;

use crate::groups::{commit, committed};
use crate::testbed::{PATIENCE, Testbed, pause, read_all};
use crate::versions::connection::{Answered, Connection, Topic, eventually};
use crate::versions::fetching::{fetch, only};

const TOPIC: &str = "orders";
/// From this version of Fetch on a replica answers consumers that does not lead.
const FOLLOWERS_ANSWER: i16 = 11;
const PARTITIONS: i32 = 3;

fn replicated(name: &str, min_insync: &str) -> NewTopic {
    NewTopic {
        name: name.to_owned(),
        partitions: Some(PARTITIONS),
        replication_factor: Some(3),
        configs: BTreeMap::from([("min.insync.replicas".to_owned(), min_insync.to_owned())]),
    }
}

async fn produce(client: &Client, numbers: std::ops::Range<i32>) {
    let config = ProducerConfig::default();
    let mut producer = Producer::new(client.clone(), config).await.unwrap();
    let count = numbers.len() as u64;
    for number in numbers {
        let message = Message {
            value: Some(Bytes::from(number.to_string())),
            partition: Some(number % PARTITIONS),
            ..Message::default()
        };
        producer.send(TOPIC, message).await.unwrap();
    }
    producer.flush().await.unwrap();
    assert_eq!(producer.acknowledged(), count);
}

async fn check(client: &Client, count: i32) {
    let mut numbers: Vec<i32> = read_all(client, TOPIC)
        .await
        .into_iter()
        .map(|it| {
            std::str::from_utf8(&it.value.unwrap())
                .unwrap()
                .parse()
                .unwrap()
        })
        .collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (0..count).collect::<Vec<_>>());
}

/// Three brokers that are in sync, with so many messages.
async fn three_with(count: i32, min_insync: &str) -> (Testbed, Client) {
    let testbed = Testbed::start(1, 3);
    let client = testbed.client().await;
    client
        .create_topic(&replicated(TOPIC, min_insync))
        .await
        .unwrap();
    produce(&client, 0..count).await;
    await_isr(&client, 3).await;
    (testbed, client)
}

/// Waits until every replica knows that so many messages are committed. Who takes over while fewer than
/// `min.insync.replicas` are in sync cannot find out.
fn await_high_watermarks(testbed: &Testbed, messages: i64) {
    for broker in &testbed.brokers {
        let answered = Answered::default();
        let mut connection = Connection::open(broker, &answered);
        let id = connection.topic(13, TOPIC).topic_id;
        let topic = Topic {
            name: TOPIC.to_owned(),
            id,
        };
        eventually(|| {
            let known = (0..PARTITIONS).map(|index| {
                let request = fetch(FOLLOWERS_ANSWER, &topic, &[(index, 0)]);
                only(&connection.call(FOLLOWERS_ANSWER, &request)).high_watermark
            });
            let known: Vec<i64> = known.collect();
            match known.iter().sum::<i64>() {
                sum if sum == messages => Ok(()),
                _ => Err(known),
            }
        });
    }
}

/// Waits until every partition has so many replicas in sync.
async fn await_isr(client: &Client, members: usize) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let isr: Vec<usize> = match client.refresh(Some(&[TOPIC])).await {
            Ok(cluster) => {
                let topic = cluster.topics.get(TOPIC);
                let partitions = topic.map(|it| it.partitions.values());
                partitions
                    .into_iter()
                    .flatten()
                    .map(|it| it.isr.len())
                    .collect()
            }
            Err(_) => Vec::new(),
        };
        if isr.len() == PARTITIONS as usize && isr.iter().all(|it| *it == members) {
            return;
        }
        assert!(Instant::now() < deadline, "in sync: {isr:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// The segments of a broker, by partition and name.
fn segments(data: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    for index in 0..PARTITIONS {
        let directory = data.join(format!("{TOPIC}-{index}"));
        for entry in std::fs::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|it| it == "log") {
                let name = path.strip_prefix(data).unwrap().display().to_string();
                found.insert(name, std::fs::read(&path).unwrap());
            }
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn every_replica_has_the_same_bytes_after_each_leader_was_killed() {
    let (mut testbed, client) = three_with(300, "2").await;
    for index in 0..3 {
        await_isr(&client, 3).await;
        testbed.brokers[index].kill();
        let (from, to) = (300 + 30 * index as i32, 330 + 30 * index as i32);
        produce(&client, from..to).await;
        check(&client, to).await;
        testbed.brokers[index].spawn();
        testbed.brokers[index].wait_ready();
    }
    await_isr(&client, 3).await;
    check(&client, 390).await;
    stop_and_compare(&mut testbed);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_hands_leadership_over_first() {
    let (mut testbed, client) = three_with(30, "2").await;
    let broker = &mut testbed.brokers[0];
    assert!(broker.stop(), "{}", broker.log());
    assert!(
        broker.log().contains("leadership was handed over"),
        "{}",
        broker.log()
    );
    produce(&client, 30..60).await;
    check(&client, 60).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn too_few_in_sync_refuse_acks_all_and_serve_again_when_they_are_back() {
    let (mut testbed, client) = three_with(30, "3").await;
    await_high_watermarks(&testbed, 30);
    testbed.brokers[2].kill();
    await_isr(&client, 2).await;
    let config = ProducerConfig {
        delivery_timeout: Duration::from_secs(2),
        ..ProducerConfig::default()
    };
    let mut producer = Producer::new(client.clone(), config).await.unwrap();
    let message = Message {
        value: Some(Bytes::from_static(b"30")),
        partition: Some(0),
        ..Message::default()
    };
    let refused = async {
        producer.send(TOPIC, message).await?;
        producer.flush().await
    };
    let refused = refused.await.unwrap_err();
    assert_eq!(
        refused.code(),
        Some(ErrorCode::NotEnoughReplicas),
        "{refused}"
    );
    check(&client, 30).await;
    testbed.brokers[2].spawn();
    testbed.brokers[2].wait_ready();
    await_isr(&client, 3).await;
    produce(&client, 30..60).await;
    check(&client, 60).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn topics_are_made_and_grow_while_a_broker_is_away_and_it_copies_them_when_it_is_back() {
    let mut testbed = Testbed::start(1, 3);
    testbed.brokers[2].kill();
    let client = testbed.client().await;
    let deadline = Instant::now() + PATIENCE;
    while client.refresh(None).await.unwrap().brokers.len() > 2 {
        assert!(Instant::now() < deadline, "it is not fenced");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let topic = NewTopic {
        partitions: Some(1),
        ..replicated(TOPIC, "2")
    };
    client.create_topic(&topic).await.unwrap();
    client.create_partitions(TOPIC, PARTITIONS).await.unwrap();
    await_isr(&client, 2).await;
    produce(&client, 0..300).await;
    commit(&client, "group", 42).await;
    testbed.brokers[2].spawn();
    testbed.brokers[2].wait_ready();
    await_isr(&client, 3).await;
    produce(&client, 300..330).await;

    // One of those that had everything from the beginning goes.
    testbed.brokers[0].kill();
    await_isr(&client, 2).await;
    produce(&client, 330..360).await;
    check(&client, 360).await;
    assert_eq!(committed(&client, "group").await.0, 42);
    testbed.brokers[0].spawn();
    testbed.brokers[0].wait_ready();
    await_isr(&client, 3).await;
    stop_and_compare(&mut testbed);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_emptied_disk_is_filled_again_and_never_leads_before() {
    let (mut testbed, client) = three_with(300, "2").await;
    testbed.brokers[1].kill();
    std::fs::remove_dir_all(testbed.brokers[1].directory.join("data")).unwrap();
    testbed.brokers[1].spawn();
    testbed.brokers[1].wait_ready();
    check(&client, 300).await;
    await_isr(&client, 3).await;
    check(&client, 300).await;
    // What it got is all there is: it alone goes on.
    testbed.brokers[0].kill();
    testbed.brokers[2].kill();
    let deadline = Instant::now() + PATIENCE;
    while testbed
        .client()
        .await
        .refresh(Some(&[TOPIC]))
        .await
        .is_err()
    {
        assert!(Instant::now() < deadline);
        pause();
    }
    check(&testbed.client().await, 300).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_once_on_the_same_boot_nothing_is_lost() {
    let mut testbed = Testbed::start(3, 3);
    let client = testbed.client().await;
    client.create_topic(&replicated(TOPIC, "2")).await.unwrap();
    produce(&client, 0..300).await;
    for _ in 0..2 {
        testbed.nodes().for_each(|node| node.kill());
        testbed.nodes().for_each(|node| node.spawn());
        testbed.wait_ready();
        check(&testbed.client().await, 300).await;
    }
    for broker in &testbed.brokers {
        let log = broker.log();
        let is_whole = !log.contains("log is offline") && !log.contains("has less than it had");
        assert!(is_whole, "{log}");
    }
    let client = testbed.client().await;
    await_isr(&client, 3).await;
    produce(&client, 300..330).await;
    check(&client, 330).await;
}

/// 10 kB each, to one partition, in segments of 1 MiB.
async fn fill(client: &Client, count: usize) {
    let mut topic = replicated(TOPIC, "2");
    let segment_bytes = ("segment.bytes".to_owned(), (1 << 20).to_string());
    topic.configs.extend([segment_bytes]);
    client.create_topic(&topic).await.unwrap();
    let config = ProducerConfig::default();
    let mut producer = Producer::new(client.clone(), config).await.unwrap();
    for number in 0..count {
        let message = Message {
            value: Some(Bytes::from(format!("{number:010000}"))),
            partition: Some(0),
            ..Message::default()
        };
        producer.send(TOPIC, message).await.unwrap();
    }
    producer.flush().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_batch_is_fetched_again_and_never_served() {
    const COUNT: usize = 300;
    let mut testbed = Testbed::start(1, 3);
    let client = testbed.client().await;
    fill(&client, COUNT).await;
    await_isr(&client, 3).await;
    let cluster = client.refresh(Some(&[TOPIC])).await.unwrap();
    let leader = cluster.topics[TOPIC].partitions[&0].leader as usize;
    let data = testbed.brokers[leader].directory.join("data");
    let path = data
        .join(format!("{TOPIC}-0"))
        .join("00000000000000000000.log");
    let mut bytes = std::fs::read(&path).unwrap();
    assert!(bytes.len() < 1 << 20, "the first segment is closed");
    bytes[5_000] ^= 1;
    std::fs::write(&path, bytes).unwrap();

    check_filled(&client, COUNT).await;
    let deadline = Instant::now() + PATIENCE;
    while !testbed.brokers[leader]
        .log()
        .contains("damaged data was set aside")
    {
        assert!(
            Instant::now() < deadline,
            "{}",
            testbed.brokers[leader].log()
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    await_isr(&client, 3).await;
    stop_and_compare(&mut testbed);
    assert!(path.with_extension("log.quarantined").exists());
}

async fn check_filled(client: &Client, count: usize) {
    let read = read_all(client, TOPIC).await;
    assert_eq!(read.len(), count);
    for (number, message) in read.iter().enumerate() {
        assert!(message.value.as_deref() == Some(format!("{number:010000}").as_bytes()));
    }
}

fn stop_and_compare(testbed: &mut Testbed) {
    for broker in &mut testbed.brokers {
        assert!(broker.stop(), "{}", broker.log());
    }
    let all: Vec<_> = testbed
        .brokers
        .iter()
        .map(|broker| segments(&broker.directory.join("data")))
        .collect();
    assert!(all[0].values().map(Vec::len).sum::<usize>() > 0);
    assert!(all[0] == all[1] && all[1] == all[2], "replicas differ");
}

/// What a checkpoint of a broker says of the first partition.
fn checkpointed(data: &Path, file: &str) -> i64 {
    let text = std::fs::read_to_string(data.join(file)).unwrap_or_default();
    let of_partition = |line: &str| {
        let offset = line.strip_prefix(&format!("{TOPIC} 0 "))?;
        offset.parse().ok()
    };
    text.lines().find_map(of_partition).unwrap_or(0)
}

/// The newest batch is checked before the log is opened. A tail that a crash tore may be cut off, this may not: cut off and
/// forgotten, the others would follow a leader that has less than they have.
#[tokio::test(flavor = "multi_thread")]
async fn damage_that_recovery_finds_after_a_kill_is_fetched_again() {
    let near_the_end = |length| length - 2_000;
    damage_is_fetched_again_after_a_kill(near_the_end, "log is offline").await;
}

/// What is committed is checked when the log is in service.
#[tokio::test(flavor = "multi_thread")]
async fn damage_that_is_found_soon_after_a_kill_is_fetched_again() {
    let in_the_middle = |length| length / 2;
    damage_is_fetched_again_after_a_kill(in_the_middle, "found while checking after a crash").await;
}

async fn damage_is_fetched_again_after_a_kill(place: impl Fn(usize) -> usize, said: &str) {
    const COUNT: usize = 300;
    let mut testbed = Testbed::start(1, 3);
    let client = testbed.client().await;
    fill(&client, COUNT).await;
    await_isr(&client, 3).await;
    // On every replica closed segments are flushed, so recovery walks the active one.
    let deadline = Instant::now() + PATIENCE;
    for broker in &testbed.brokers {
        let data = broker.directory.join("data");
        let at = |file| checkpointed(&data, file);
        while at("recovery-point-offset-checkpoint") == 0
            || at("replication-offset-checkpoint") < COUNT as i64
        {
            assert!(Instant::now() < deadline, "{}", broker.log());
            pause();
        }
    }
    let cluster = client.refresh(Some(&[TOPIC])).await.unwrap();
    let leader = cluster.topics[TOPIC].partitions[&0].leader as usize;
    let [second, third] = [(leader + 1) % 3, (leader + 2) % 3];
    testbed.brokers[third].kill();
    await_isr(&client, 2).await;

    let data = testbed.brokers[leader].directory.join("data");
    let directory = data.join(format!("{TOPIC}-0"));
    let entries = std::fs::read_dir(&directory).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let logs = paths.filter(|path| path.extension().is_some_and(|it| it == "log"));
    let active = logs.max().unwrap();
    let mut bytes = std::fs::read(&active).unwrap();
    let at = place(bytes.len());
    bytes[at] ^= 1;
    std::fs::write(&active, bytes).unwrap();
    testbed.brokers[leader].kill();
    await_isr(&client, 1).await;
    testbed.brokers[second].kill();
    // Alone: it must not lead with what it has left.
    for index in [leader, second, third] {
        testbed.brokers[index].spawn();
        testbed.brokers[index].wait_ready();
    }
    // All but the end of a log is looked at while it serves, so the ISR may be whole before the damage is known.
    let deadline = Instant::now() + PATIENCE;
    while !active.with_extension("log.quarantined").exists() {
        assert!(
            Instant::now() < deadline,
            "{}",
            testbed.brokers[leader].log()
        );
        pause();
    }
    let client = testbed.client().await;
    await_isr(&client, 3).await;
    check_filled(&client, COUNT).await;
    stop_and_compare(&mut testbed);
    let log = testbed.brokers[leader].log();
    assert!(log.contains(said), "{log}");
}

/// What producers hold is given back when followers have fetched it, so followers must not wait for it.
#[tokio::test(flavor = "multi_thread")]
async fn producers_that_fill_the_memory_do_not_hold_up_the_followers() {
    const PRODUCERS: i32 = 24;
    const EACH: i32 = 5;
    let mut testbed = Testbed::prepare(1, 3);
    for broker in &testbed.brokers {
        broker.configure("socket.request.max.bytes=2097152");
        // The least there is: 8 MiB beside the greatest request.
        broker.configure("foz.memory.budget.bytes=10485760");
    }
    testbed.start_all();
    let client = testbed.client().await;
    client.create_topic(&replicated(TOPIC, "2")).await.unwrap();
    await_isr(&client, 3).await;
    let producing = (0..PRODUCERS).map(|number| {
        let client = client.clone();
        async move {
            let config = ProducerConfig::default();
            let mut producer = Producer::new(client, config).await.unwrap();
            for _ in 0..EACH {
                let message = Message {
                    value: Some(Bytes::from(vec![b'x'; 900_000])),
                    partition: Some(number % PARTITIONS),
                    ..Message::default()
                };
                producer.send(TOPIC, message).await.unwrap();
                producer.flush().await.unwrap();
            }
        }
    });
    let all = futures::future::join_all(producing);
    tokio::time::timeout(PATIENCE, all).await.unwrap();
    let read = read_all(&client, TOPIC).await;
    assert_eq!(read.len(), (PRODUCERS * EACH) as usize);
}

/// What waits for a disk waits for the disk alone, not for what other partitions wait for.
#[tokio::test(flavor = "multi_thread")]
async fn flushed_before_acknowledged_on_three_replicas_is_quick() {
    const COUNT: i32 = 40;
    let testbed = Testbed::start(1, 3);
    let client = testbed.client().await;
    let mut topic = replicated(TOPIC, "2");
    let flush = ("flush.messages".to_owned(), "1".to_owned());
    topic.configs.extend([flush]);
    client.create_topic(&topic).await.unwrap();
    await_isr(&client, 3).await;
    produce(&client, 0..3).await;
    let began = Instant::now();
    for number in 3..3 + COUNT {
        produce(&client, number..number + 1).await;
    }
    let each = began.elapsed() / COUNT as u32;
    // Half a second is how long a leader lets a follower wait for news.
    assert!(each < Duration::from_millis(150), "{each:?} for each");
    check(&client, 3 + COUNT).await;
}

/// The metadata still says that it leads, and its disk has lost half of what it acknowledged.
#[tokio::test(flavor = "multi_thread")]
async fn a_broker_leads_nothing_before_it_is_registered() {
    let (mut testbed, client) = three_with(300, "2").await;
    // Nobody can fence it meanwhile.
    testbed.controllers[0].kill();
    testbed.brokers[0].kill();
    let data = testbed.brokers[0].directory.join("data");
    for (name, bytes) in segments(&data) {
        let half = bytes.len() as u64 / 2;
        let file = std::fs::File::options().write(true).open(data.join(name));
        file.unwrap().set_len(half).unwrap();
    }
    let properties = data.join("meta.properties");
    let text = std::fs::read_to_string(&properties).unwrap();
    let other = text
        .lines()
        .map(|line| match line.split_once('=') {
            Some(("foz.boot.id", _)) => "foz.boot.id=another\n".to_owned(),
            _ => format!("{line}\n"),
        })
        .collect::<String>();
    assert_ne!(text, other);
    std::fs::write(&properties, other).unwrap();
    testbed.brokers[0].spawn();
    pause();
    testbed.controllers[0].spawn();
    testbed.wait_ready();
    await_isr(&client, 3).await;
    check(&client, 300).await;
}
