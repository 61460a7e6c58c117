//! How long a connection may live.

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use bytes::Bytes;
use foz_protocol::frame;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::{ApiKey, FetchRequest, FetchResponse, TopicName};
use kafka_protocol::protocol::StrBytes;

use crate::testbed::{Testbed, topic};
use crate::wire::read_frame;

const IDLE_MAX: Duration = Duration::from_millis(400);
/// Of one fetch: much longer than a connection may be idle.
const WAIT_MS: i32 = 1_500;

#[tokio::test(flavor = "multi_thread")]
async fn idle_connections_are_closed_and_those_that_wait_for_an_answer_are_not() {
    let mut testbed = Testbed::start(1, 1);
    testbed.brokers[0].stop();
    testbed.brokers[0].configure(&format!("connections.max.idle.ms={}", IDLE_MAX.as_millis()));
    testbed.brokers[0].spawn();
    testbed.wait_ready();
    let client = testbed.client().await;
    client.create_topic(&topic("orders", 1)).await.unwrap();
    let mut stream = testbed.brokers[0].connect();
    let asked = Instant::now();
    stream.write_all(&long_poll()).unwrap();
    let answer = Bytes::from(read_frame(&mut stream));
    assert!(asked.elapsed() >= Duration::from_millis(WAIT_MS as u64));
    let (_, body) = frame::parse_response(ApiKey::Fetch, 12, &answer).unwrap();
    let response: FetchResponse = frame::decode_response(12, body).unwrap();
    assert_eq!(response.responses[0].partitions[0].error_code, 0);

    let answered = Instant::now();
    let mut rest = Vec::new();
    assert_eq!(stream.read_to_end(&mut rest).unwrap_or(0), 0);
    let lived = answered.elapsed();
    assert!(lived < Duration::from_secs(10), "lived for {lived:?}");

    let mut unused = testbed.brokers[0].connect();
    let opened = Instant::now();
    assert_eq!(unused.read_to_end(&mut rest).unwrap_or(0), 0);
    let lived = opened.elapsed();
    assert!(
        (IDLE_MAX / 2..Duration::from_secs(10)).contains(&lived),
        "lived for {lived:?}"
    );
}

fn long_poll() -> Bytes {
    let partition = FetchPartition::default().with_partition_max_bytes(1_000);
    let topic = FetchTopic::default()
        .with_topic(TopicName(StrBytes::from_static_str("orders")))
        .with_partitions(vec![partition]);
    let request = FetchRequest::default()
        .with_max_wait_ms(WAIT_MS)
        .with_min_bytes(1)
        .with_max_bytes(1_000)
        .with_topics(vec![topic]);
    frame::encode_request(12, 1, "test", &request).unwrap()
}
