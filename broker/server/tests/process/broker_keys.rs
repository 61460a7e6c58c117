//! Keys of brokers do what they say, when they say it.

use std::fs;
use std::time::{Duration, Instant};

use foz_protocol::error::ErrorCode;
use kafka_protocol::messages::IncrementalAlterConfigsRequest;
use kafka_protocol::messages::incremental_alter_configs_request::{
    AlterConfigsResource, AlterableConfig,
};

use crate::testbed::{Node, PATIENCE, Testbed, pause};
use crate::versions::connection::{Answered, Connection, batch, error, eventually, text};

const BROKER: i8 = 4;

/// On the default of all brokers.
fn set(connection: &mut Connection, key: &str, value: &str) -> (ErrorCode, String) {
    let change = AlterableConfig::default()
        .with_name(text(key))
        .with_value(Some(text(value)));
    let resource = AlterConfigsResource::default()
        .with_resource_type(BROKER)
        .with_resource_name(text(""))
        .with_configs(vec![change]);
    let request = IncrementalAlterConfigsRequest::default().with_resources(vec![resource]);
    let response = connection.call(1, &request);
    let result = &response.responses[0];
    let message = result.error_message.as_ref().map(ToString::to_string);
    (error(result.error_code), message.unwrap_or_default())
}

fn is_served(broker: &Node, answered: &Answered) -> bool {
    !Connection::open(broker, answered).is_closed_at_once()
}

#[test]
fn the_number_of_connections_can_be_changed_at_once() {
    let testbed = Testbed::start(1, 1);
    let (broker, answered) = (&testbed.brokers[0], Answered::default());
    let mut connection = Connection::open(broker, &answered);
    for (most, another_is_served) in [("1", false), ("2", true), ("1", false)] {
        let (code, message) = set(&mut connection, "max.connections", most);
        assert_eq!(code, ErrorCode::None, "{message}");
        // A connection that was closed counts until the broker has seen that.
        eventually(|| match is_served(broker, &answered) {
            served if served == another_is_served => Ok(()),
            served => Err(served),
        });
    }
    let (code, message) = set(&mut connection, "max.connections", "0");
    assert_eq!(code, ErrorCode::InvalidConfig, "{message}");
    assert!(message.contains("at least 1"), "{message}");
    let (code, message) = set(&mut connection, "connections.max.idle.ms", "1");
    assert_eq!(code, ErrorCode::InvalidConfig, "{message}");
    let expected = "it is set in each broker's properties file";
    assert!(message.contains(expected), "{message}");
}

#[test]
fn the_file_says_what_counts_at_the_start_and_what_does_not_is_said_once() {
    let mut testbed = Testbed::prepare(1, 1);
    let broker = &testbed.brokers[0];
    broker.configure("num.recovery.threads.per.data.dir=1");
    broker.configure("replica.high.watermark.checkpoint.interval.ms=50");
    // Of the metadata the first says 1, and nothing of the second.
    broker.configure("min.insync.replicas=2");
    broker.configure("num.partitions=9");
    testbed.start_all();
    let (broker, answered) = (&testbed.brokers[0], Answered::default());
    let log = broker.log();
    let told: Vec<&str> = log
        .lines()
        .filter(|line| line.contains("the metadata counts"))
        .collect();
    let [told] = told[..] else {
        panic!("{told:?} in {log}");
    };
    for part in ["WARN", "min.insync.replicas", "in_file", "in_metadata"] {
        assert!(told.contains(part), "{told} lacks {part}");
    }

    let mut connection = Connection::open(broker, &answered);
    let orders = connection.create_topic("orders", 1);
    let checkpoint = broker.directory.join("data/replication-offset-checkpoint");
    // Kafka's default of 5 s would not come in time so often.
    let began = Instant::now();
    for written in 1..=8 {
        connection.produce(&orders, 0, batch(1, &["a"]));
        let line = format!("orders 0 {written}\n");
        let deadline = Instant::now() + PATIENCE;
        while !fs::read_to_string(&checkpoint).is_ok_and(|found| found.contains(&line)) {
            assert!(Instant::now() < deadline, "{line} is not in the checkpoint");
            pause();
        }
    }
    let took = began.elapsed();
    assert!(took < Duration::from_secs(20), "took {took:?}");
}
