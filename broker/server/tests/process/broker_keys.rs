//! Keys of brokers do what they say, when they say it.

use std::collections::BTreeSet;
use std::fs;
use std::time::{Duration, Instant};

use foz_protocol::batch::Batches;
use foz_protocol::codec::Compression;
use foz_protocol::error::ErrorCode;
use kafka_protocol::messages::incremental_alter_configs_request::{
    AlterConfigsResource, AlterableConfig,
};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::offset_fetch_request::OffsetFetchRequestTopic;
use kafka_protocol::messages::{
    FindCoordinatorRequest, IncrementalAlterConfigsRequest, MetadataRequest, OffsetCommitRequest,
    OffsetFetchRequest, TopicName,
};

use crate::testbed::{Node, PATIENCE, Testbed, pause};
use crate::versions::connection::{
    Answered, Connection, Topic, batch, error, eventually, group_id, produce_request, text,
    topic_name, values,
};
use crate::versions::fetching::{fetch, only};

const BROKER: i8 = 4;

/// On the default of all brokers.
pub(crate) fn set(connection: &mut Connection, key: &str, value: &str) -> (ErrorCode, String) {
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

/// The partitions of a topic that Metadata makes in passing, and the replicas of each.
fn made_in_passing(connection: &mut Connection, name: &'static str) -> (usize, usize) {
    let wanted = MetadataRequestTopic::default().with_name(Some(TopicName(text(name))));
    let request = MetadataRequest::default()
        .with_topics(Some(vec![wanted]))
        .with_allow_auto_topic_creation(true);
    let made = connection.call(9, &request);
    assert_eq!(error(made.topics[0].error_code), ErrorCode::None);
    let partitions = &made.topics[0].partitions;
    (partitions.len(), partitions[0].replica_nodes.len())
}

/// As Kafka's AutoTopicCreationTest has it.
#[test]
fn a_topic_made_in_passing_is_as_the_file_of_the_broker_says() {
    let mut testbed = Testbed::prepare(1, 2);
    testbed.controllers[0].configure("num.partitions=3");
    testbed.brokers[0].configure("num.partitions=5");
    testbed.brokers[0].configure("default.replication.factor=2");
    testbed.start_all();
    let answered = Answered::default();
    let mut first = Connection::open(&testbed.brokers[0], &answered);
    let mut second = Connection::open(&testbed.brokers[1], &answered);
    assert_eq!(made_in_passing(&mut first, "of-its-file"), (5, 2));
    assert_eq!(made_in_passing(&mut second, "of-the-controller"), (3, 1));
    let done = set(&mut first, "num.partitions", "4");
    assert_eq!(done, (ErrorCode::None, String::new()));
    assert_eq!(made_in_passing(&mut first, "of-the-metadata"), (4, 2));
}

/// What Metadata says of a topic that may not be there, and whether it is there afterwards.
fn asked_in_passing(
    connection: &mut Connection,
    name: &str,
    is_allowed: bool,
) -> (ErrorCode, bool) {
    let wanted = MetadataRequestTopic::default().with_name(Some(topic_name(name)));
    let request = MetadataRequest::default()
        .with_topics(Some(vec![wanted]))
        .with_allow_auto_topic_creation(is_allowed);
    let told = error(connection.call(12, &request).topics[0].error_code);
    (told, is_there(connection, name))
}

fn is_there(connection: &mut Connection, name: &str) -> bool {
    let all = connection.call(12, &MetadataRequest::default().with_topics(None));
    let mut names = all.topics.iter().filter_map(|topic| topic.name.as_ref());
    names.any(|found| &*found.0 == name)
}

#[test]
fn topics_are_made_in_passing_only_where_the_broker_and_the_client_allow_it() {
    const KEY: &str = "auto.create.topics.enable";
    let unknown = (ErrorCode::UnknownTopicOrPartition, false);
    let made = (ErrorCode::None, true);
    let mut testbed = Testbed::prepare(1, 2);
    testbed.brokers[1].configure("auto.create.topics.enable=false");
    testbed.start_all();
    let answered = Answered::default();
    let by_default = &mut Connection::open(&testbed.brokers[0], &answered);
    let by_its_file = &mut Connection::open(&testbed.brokers[1], &answered);
    assert_eq!(asked_in_passing(by_its_file, "asked", true), unknown);
    assert_eq!(asked_in_passing(by_default, "asked", false), unknown);
    let asked = Topic {
        name: "asked".to_owned(),
        ..Topic::unknown()
    };
    let request = produce_request(9, &asked, -1, &[(0, Some(batch(1, &["a"])))]);
    let refused = by_default.call(9, &request);
    let refused = error(refused.responses[0].partition_responses[0].error_code);
    assert_eq!(refused, ErrorCode::UnknownTopicOrPartition);
    let illegal = (ErrorCode::InvalidTopicException, false);
    assert_eq!(asked_in_passing(by_default, "no spaces", true), illegal);
    assert!(!is_there(by_default, "asked"));
    assert_eq!(asked_in_passing(by_default, "asked", true), made);

    let done = set(by_default, KEY, "false");
    assert_eq!(done, (ErrorCode::None, String::new()));
    let mut asked = 0;
    // The broker learns of it a moment after who asked.
    eventually(|| {
        asked += 1;
        let name = format!("asked-{asked}");
        match asked_in_passing(by_default, &name, true) {
            found if found == unknown => Ok(()),
            other => Err(other),
        }
    });
    let done = set(by_default, KEY, "true");
    assert_eq!(done, (ErrorCode::None, String::new()));
    // What was said to all brokers counts more than the file of one.
    for (connection, name) in [
        (by_default, "once-more"),
        (by_its_file, "in-spite-of-its-file"),
    ] {
        eventually(|| match asked_in_passing(connection, name, true) {
            found if found == made => Ok(()),
            other => Err(other),
        });
    }
}

#[test]
fn the_number_of_fetchers_can_be_changed_while_they_fetch() {
    const KEY: &str = "num.replica.fetchers";
    const PARTITIONS: i32 = 16;
    let testbed = Testbed::start(1, 2);
    let (leader, answered) = (&testbed.brokers[0], Answered::default());
    let mut connection = Connection::open(leader, &answered);
    let orders = connection.create_replicated_topic("orders", PARTITIONS, 2);
    let await_followers = |connection: &mut Connection| {
        eventually(|| {
            let found = connection.topic(12, "orders").partitions;
            let followed = found.iter().filter(|it| it.isr_nodes.len() == 2);
            match followed.count() == PARTITIONS as usize {
                true => Ok(found),
                false => Err(found),
            }
        })
    };
    let led = await_followers(&mut connection).into_iter();
    let led = led.filter(|it| it.leader_id.0 == 0);
    let led: Vec<i32> = led.map(|it| it.partition_index).collect();
    let mut write = |value| {
        for partition in &led {
            // With acks=all: who does not follow any more is waited for until this fails.
            connection.produce(&orders, *partition, batch(1, &[value]));
        }
    };
    let mut other = Connection::open(leader, &answered);
    write("by one");
    let by_one = leader.connections_of_nodes();
    for (count, value) in [(3, "by three"), (5, "by five"), (1, "by one again")] {
        // One after the other goes to the next fetcher.
        let fetchers: BTreeSet<i32> = led.iter().map(|partition| partition % count).collect();
        assert!(count == 1 || fetchers.len() > 1, "{led:?}");
        let done = set(&mut other, KEY, &count.to_string());
        assert_eq!(done, (ErrorCode::None, String::new()));
        // While they begin anew.
        write(value);
        let expected = by_one + fetchers.len() - 1;
        eventually(|| match leader.connections_of_nodes() {
            found if found == expected => Ok(()),
            found => Err((count, expected, found)),
        });
        write(value);
    }
    await_followers(&mut other);
}

/// Of each batch of the first partition.
fn codecs(connection: &mut Connection, topic: &Topic) -> Vec<Option<Compression>> {
    let response = connection.call(12, &fetch(12, topic, &[(0, 0)]));
    let records = only(&response).records.clone().unwrap();
    let batches = Batches::new(&records).map(Result::unwrap);
    batches.map(|(header, _)| header.compression()).collect()
}

#[test]
fn batches_are_stored_in_the_codec_that_the_topic_has_by_then() {
    let mut testbed = Testbed::start(1, 1);
    let answered = Answered::default();
    let mut connection = Connection::open(&testbed.brokers[0], &answered);
    let orders = connection.create_topic("orders", 1);
    let mut expected = vec![Some(Compression::None)];
    connection.produce(&orders, 0, batch(1, &["as it came"]));
    let wanted = [
        ("zstd", Compression::Zstd),
        ("gzip", Compression::Gzip),
        ("uncompressed", Compression::None),
    ];
    for (name, codec) in wanted {
        let done = set(&mut connection, "compression.type", name);
        assert_eq!(done, (ErrorCode::None, String::new()));
        expected.push(Some(codec));
        // The broker learns of it a moment after who asked.
        let offset = eventually(|| {
            let offset = connection.produce(&orders, 0, batch(1, &["in its codec"]));
            let last = codecs(&mut connection, &orders).pop().flatten();
            (last == Some(codec)).then_some(offset).ok_or(last)
        });
        assert!(offset >= expected.len() as i64 - 1);
    }
    let mut before = codecs(&mut connection, &orders);
    drop(connection);
    assert!(testbed.brokers[0].stop());
    testbed.brokers[0].spawn();
    testbed.brokers[0].wait_ready();
    let mut connection = Connection::open(&testbed.brokers[0], &answered);
    assert_eq!(codecs(&mut connection, &orders), before);
    before.dedup();
    assert_eq!(before, expected);
    let records = connection.call(12, &fetch(12, &orders, &[(0, 0)]));
    let found = values(only(&records).records.as_ref());
    assert!(
        found
            .iter()
            .skip(1)
            .all(|(_, value)| value == "in its codec"),
        "{found:?}"
    );
}

#[test]
fn how_often_it_is_looked_for_expired_offsets_can_be_changed_while_groups_are_coordinated() {
    const GROUP: &str = "readers";
    /// The last version in which a commit says how long it is kept.
    const RETENTION: i16 = 4;
    let testbed = Testbed::start(1, 1);
    let answered = Answered::default();
    let mut connection = Connection::open(&testbed.brokers[0], &answered);
    connection.create_topic("orders", 1);
    let partition = OffsetCommitRequestPartition::default().with_committed_offset(5);
    let topic = OffsetCommitRequestTopic::default()
        .with_name(topic_name("orders"))
        .with_partitions(vec![partition]);
    let commit = OffsetCommitRequest::default()
        .with_group_id(group_id(GROUP))
        .with_generation_id_or_member_epoch(-1)
        .with_retention_time_ms(1)
        .with_topics(vec![topic]);
    eventually(|| {
        let find = FindCoordinatorRequest::default().with_coordinator_keys(vec![text(GROUP)]);
        connection.call(4, &find);
        let answer = connection.call(RETENTION, &commit);
        match error(answer.topics[0].partitions[0].error_code) {
            ErrorCode::None => Ok(()),
            error => Err(error),
        }
    });
    let topic = OffsetFetchRequestTopic::default()
        .with_name(topic_name("orders"))
        .with_partition_indexes(vec![0]);
    let fetch = OffsetFetchRequest::default()
        .with_group_id(group_id(GROUP))
        .with_topics(Some(vec![topic]));
    let mut committed = || {
        let answer = connection.call(5, &fetch);
        answer.topics[0].partitions[0].committed_offset
    };
    pause();
    assert_eq!(committed(), 5, "it is looked for them every ten minutes");
    let mut other = Connection::open(&testbed.brokers[0], &answered);
    let (code, message) = set(&mut other, "offsets.retention.check.interval.ms", "100");
    assert_eq!(code, ErrorCode::None, "{message}");
    eventually(|| match committed() {
        -1 => Ok(()),
        offset => Err(offset),
    });
}
