//! A follower that missed much, while clients use its leader.

use std::time::{Duration, Instant};

use foz_protocol::error::ErrorCode;
use kafka_protocol::messages::{FetchRequest, FetchResponse};

use crate::late_fetches::{LONG_WAIT_MS, NODES_SPEAK, fetch_of};
use crate::testbed::{Testbed, pause, sorted};
use crate::versions::connection::{
    Answered, Connection, Topic, batch, error, eventually, produce_request,
};
use crate::versions::fetching::only;

const MEBIBYTE: usize = 1 << 20;
/// What `foz_replication::CatchUpPace` gives at once.
const AT_LEISURE_BYTES: usize = MEBIBYTE;
/// How long the follower seems to write what it got.
const WRITES_FOR: Duration = Duration::from_millis(100);
/// It waits for twice as long.
const PAUSE: Duration = Duration::from_millis(200);
/// Over which it is counted what clients do, and some.
const UNTIL_QUIET: Duration = Duration::from_millis(2_500);
const TRIES: usize = 10;

fn fetch_behind(topic: &Topic, offset: i64) -> FetchRequest {
    let mut request = fetch_of(1, topic, offset, LONG_WAIT_MS)
        .with_min_bytes(1)
        .with_max_bytes(100 << 20);
    request.topics[0].partitions[0].partition_max_bytes = 100 << 20;
    request
}

fn pass(duration: Duration) {
    let began = Instant::now();
    while began.elapsed() < duration {
        pause();
    }
}

/// Of records, for the one partition of `topic`.
fn bytes_of(response: &FetchResponse, topic: &Topic) -> usize {
    let topics = &response.responses;
    let topic = topics.iter().find(|it| it.topic_id == topic.id);
    let partition = &topic.unwrap().partitions[0];
    assert_eq!(error(partition.error_code), ErrorCode::None);
    partition.records.as_ref().map_or(0, |it| it.len())
}

#[test]
fn it_gets_little_at_a_time_and_all_when_clients_are_quiet() {
    let mut testbed = Testbed::start(1, 2);
    let answered = Answered::default();
    let mut follower = testbed.brokers.pop().unwrap();
    let leader = &testbed.brokers[0];
    let mut client = Connection::open(leader, &answered);
    let topic = client.create_on("orders", &[0, 1], &[]);
    eventually(|| client.latest_offset("orders", 0));
    follower.kill();
    client.await_partition("orders", |it| it.isr_nodes.len() == 1);
    let value = "x".repeat(MEBIBYTE / 4);
    for _ in 0..64 {
        client.produce(&topic, 0, batch(1, &[&value]));
    }

    let mut node = Connection::open_as_node(leader, &answered);
    let mut offset = 0;
    let mut fetch = |node: &mut Connection<'_>| {
        let began = Instant::now();
        let response = node.call(NODES_SPEAK, &fetch_behind(&topic, offset));
        let partition = only(&response);
        assert_eq!(error(partition.error_code), ErrorCode::None);
        let bytes = partition.records.as_ref().map_or(0, |it| it.len());
        assert!(bytes > 0, "the answer waits for records");
        offset += bytes as i64 / (MEBIBYTE as i64 / 4);
        (bytes, began.elapsed())
    };
    let (bytes, _) = fetch(&mut node);
    assert!(bytes <= AT_LEISURE_BYTES, "{bytes}");
    pass(WRITES_FOR);
    // A client in between: it is there all the while.
    client.produce(&topic, 0, batch(1, &[&value]));
    let (bytes, waited) = fetch(&mut node);
    assert!(bytes <= AT_LEISURE_BYTES, "{bytes}");
    assert!(waited >= PAUSE, "{waited:?}");

    // Nobody else wants anything.
    for _ in 0..TRIES {
        pass(UNTIL_QUIET);
        let (bytes, _) = fetch(&mut node);
        if bytes > AT_LEISURE_BYTES {
            return;
        }
    }
    panic!("it is held back where no client is");
}

#[test]
fn what_others_wait_for_comes_first_and_large_batches_come_too() {
    let mut testbed = Testbed::start(1, 2);
    let answered = Answered::default();
    let mut follower = testbed.brokers.pop().unwrap();
    let leader = &testbed.brokers[0];
    let mut client = Connection::open(leader, &answered);
    let large = [("max.message.bytes", "8388608")];
    let orders = client.create_on("orders", &[0, 1], &large);
    // Producers wait for the follower here.
    let both = [("min.insync.replicas", "2")];
    let payments = client.create_on("payments", &[0, 1], &both);
    for topic in ["orders", "payments"] {
        client.await_partition(topic, |it| sorted(&it.isr_nodes) == [0, 1]);
    }
    follower.kill();
    for topic in ["orders", "payments"] {
        client.await_partition(topic, |it| it.isr_nodes.len() == 1);
    }
    let produce = |client: &mut Connection<'_>, topic: &Topic, bytes: usize| {
        let records = batch(1, &[&"x".repeat(bytes)]);
        let response = client.call(9, &produce_request(9, topic, 1, &[(0, Some(records))]));
        let written = &response.responses[0].partition_responses[0];
        assert_eq!(error(written.error_code), ErrorCode::None);
    };
    produce(&mut client, &orders, 3 * AT_LEISURE_BYTES);
    for _ in 0..4 {
        produce(&mut client, &payments, AT_LEISURE_BYTES / 2);
    }

    let mut node = Connection::open_as_node(leader, &answered);
    let mut request = fetch_behind(&orders, 0);
    request.topics.extend(fetch_behind(&payments, 0).topics);
    let response = node.call(NODES_SPEAK, &request);
    let bytes = |topic: &Topic| bytes_of(&response, topic);
    assert!(bytes(&payments) > 2 * AT_LEISURE_BYTES, "all of it");
    assert!(bytes(&orders) > 3 * AT_LEISURE_BYTES, "one batch");
}

#[test]
fn partitions_come_one_after_the_other_the_least_lacking_first() {
    let mut testbed = Testbed::start(1, 2);
    let answered = Answered::default();
    let mut follower = testbed.brokers.pop().unwrap();
    let leader = &testbed.brokers[0];
    let mut client = Connection::open(leader, &answered);
    let topics = ["much", "some", "little"].map(|name| client.create_on(name, &[0, 1], &[]));
    for topic in &topics {
        eventually(|| client.latest_offset(&topic.name, 0));
    }
    follower.kill();
    for topic in &topics {
        client.await_partition(&topic.name, |it| it.isr_nodes.len() == 1);
    }
    let value = "x".repeat(AT_LEISURE_BYTES / 8);
    for (topic, batches) in topics.iter().zip([32, 16, 1]) {
        for _ in 0..batches {
            client.produce(topic, 0, batch(1, &[&value]));
        }
    }

    let mut node = Connection::open_as_node(leader, &answered);
    let mut request = fetch_behind(&topics[0], 0);
    for topic in &topics[1..] {
        request.topics.extend(fetch_behind(topic, 0).topics);
    }
    let response = node.call(NODES_SPEAK, &request);
    let [much, some, little] = topics.each_ref().map(|topic| bytes_of(&response, topic));
    assert!(little > AT_LEISURE_BYTES / 8, "all of it: {little}");
    assert!(some > AT_LEISURE_BYTES / 2, "what is left: {some}");
    assert_eq!(much, 0, "its turn comes");
}
