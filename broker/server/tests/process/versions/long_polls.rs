//! A fetch that waits: for the first record, for enough bytes, or for its time to end.

use std::time::{Duration, Instant};

use kafka_protocol::messages::{FetchRequest, FetchResponse};

use super::connection::{Connection, Topic, batch, from_offset, values, versions_of};
use super::fetching::fetch;
use crate::testbed::pause;

/// Longer than anything here takes.
const LONG_MS: i32 = 60_000;
const SHORT_MS: i32 = 100;
const SHORT: Duration = Duration::from_millis(SHORT_MS as u64);

pub(super) fn check(connection: &mut Connection) {
    let topic = connection.create_topic("awaited", 2);
    let mut producer = connection.another();
    for (end, version) in (0..).zip(versions_of::<FetchRequest>()) {
        a_produce_wakes(connection, &mut producer, version, &topic, end);
    }
    enough_bytes_are_waited_for(connection, &mut producer, &topic);
    time_ends_the_wait(connection, &topic);
    a_client_that_goes_holds_nothing(connection, &topic);
}

fn a_produce_wakes(
    connection: &mut Connection,
    producer: &mut Connection,
    version: i16,
    topic: &Topic,
    end: i64,
) {
    let request = fetch(version, topic, &[(0, end), (1, 0)]).with_max_wait_ms(LONG_MS);
    connection.send(version, &request);
    // So that the fetch is there first.
    pause();
    let produced = Instant::now();
    assert_eq!(producer.produce(topic, 0, batch(1, &["a"])), end);
    let response = connection.receive::<FetchRequest>(version);
    assert!(produced.elapsed() < Duration::from_secs(10), "{version}");
    assert_eq!(first_values(&response), from_offset(end, &["a"]));
}

fn enough_bytes_are_waited_for(
    connection: &mut Connection,
    producer: &mut Connection,
    topic: &Topic,
) {
    let end = connection.latest_offset(&topic.name, 0).unwrap();
    let version = *versions_of::<FetchRequest>().end();
    let one = batch(1, &["b"]);
    let request = fetch(version, topic, &[(0, end), (1, 0)])
        .with_max_wait_ms(LONG_MS)
        .with_min_bytes(one.len() as i32 + 1);
    connection.send(version, &request);
    producer.produce(topic, 0, one.clone());
    // The second comes late, to another partition; an answer before it would lack it.
    std::thread::park_timeout(SHORT);
    producer.produce(topic, 1, one);
    let response = connection.receive::<FetchRequest>(version);
    assert_eq!(first_values(&response), from_offset(end, &["b"]));
    let second = &response.responses[0].partitions[1];
    assert_eq!(values(second.records.as_ref()), from_offset(0, &["b"]));
}

fn time_ends_the_wait(connection: &mut Connection, topic: &Topic) {
    let end = connection.latest_offset(&topic.name, 0).unwrap();
    for version in versions_of::<FetchRequest>() {
        let request = fetch(version, topic, &[(0, end)]).with_max_wait_ms(SHORT_MS);
        let began = Instant::now();
        let response = connection.call(version, &request);
        assert!(began.elapsed() >= SHORT, "{version}: {:?}", began.elapsed());
        assert_eq!(first_values(&response), []);
    }
    // What there is comes then, although it is not enough.
    let version = *versions_of::<FetchRequest>().end();
    let request = fetch(version, topic, &[(0, end - 1)])
        .with_max_wait_ms(SHORT_MS)
        .with_min_bytes(1 << 20);
    let began = Instant::now();
    let response = connection.call(version, &request);
    assert!(began.elapsed() >= SHORT);
    assert_eq!(first_values(&response), from_offset(end - 1, &["b"]));
}

fn a_client_that_goes_holds_nothing(connection: &mut Connection, topic: &Topic) {
    let end = connection.latest_offset(&topic.name, 0).unwrap();
    let version = *versions_of::<FetchRequest>().end();
    for _ in 0..20 {
        let request = fetch(version, topic, &[(0, end)]).with_max_wait_ms(LONG_MS);
        connection.another().send(version, &request);
    }
    let request = fetch(version, topic, &[(0, end - 1)]);
    let response = connection.call(version, &request);
    assert_eq!(first_values(&response), from_offset(end - 1, &["b"]));
}

fn first_values(response: &FetchResponse) -> Vec<(i64, String)> {
    values(response.responses[0].partitions[0].records.as_ref())
}
