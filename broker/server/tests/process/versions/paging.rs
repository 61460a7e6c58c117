//! DescribeTopicPartitions (KIP-966): pages that a cursor continues.

use foz_protocol::error::ErrorCode;
use kafka_protocol::messages::describe_topic_partitions_request::{Cursor, TopicRequest};
use kafka_protocol::messages::{BrokerId, DescribeTopicPartitionsRequest};

use super::connection::{Connection, error, topic_name, versions_of};

const NAMES: [&str; 4] = ["paged-d", "paged-a", "paged-nowhere", "paged-b"];

pub(super) fn check(connection: &mut Connection) {
    connection.create_topic("paged-a", 3);
    connection.create_topic("paged-b", 2);
    connection.create_topic("paged-d", 1);
    for version in versions_of::<DescribeTopicPartitionsRequest>() {
        for limit in 1..8 {
            every_partition_comes_once(connection, version, limit);
        }
        all_topics_come_without_names(connection, version);
        partitions_are_described(connection, version);
        wrong_cursors_are_refused(connection, version);
    }
}

fn request(names: &[&str], limit: i32, cursor: Option<Cursor>) -> DescribeTopicPartitionsRequest {
    let topics = names
        .iter()
        .map(|name| TopicRequest::default().with_name(topic_name(name)));
    DescribeTopicPartitionsRequest::default()
        .with_topics(topics.collect())
        .with_response_partition_limit(limit)
        .with_cursor(cursor)
}

fn every_partition_comes_once(connection: &mut Connection, version: i16, limit: i32) {
    let mut came = Vec::new();
    let mut cursor = None;
    for _ in 0..10 {
        let response = connection.call(version, &request(&NAMES, limit, cursor.take()));
        let mut partitions = 0;
        for topic in &response.topics {
            let name = topic.name.clone().unwrap().to_string();
            if error(topic.error_code) != ErrorCode::None {
                let unknown = ErrorCode::UnknownTopicOrPartition;
                assert_eq!(error(topic.error_code), unknown);
                came.push((name, -1));
                continue;
            }
            partitions += topic.partitions.len();
            let indexes = topic.partitions.iter();
            came.extend(indexes.map(|found| (name.clone(), found.partition_index)));
        }
        assert!(partitions <= limit as usize, "{partitions} of {limit}");
        match response.next_cursor {
            Some(next) => {
                cursor = Some(
                    Cursor::default()
                        .with_topic_name(next.topic_name)
                        .with_partition_index(next.partition_index),
                );
            }
            None => break,
        }
    }
    assert_eq!(cursor, None, "the pages come to an end");
    let expected = [
        ("paged-a", 0),
        ("paged-a", 1),
        ("paged-a", 2),
        ("paged-b", 0),
        ("paged-b", 1),
        ("paged-d", 0),
        ("paged-nowhere", -1),
    ];
    let expected = expected.map(|(name, index)| (name.to_owned(), index));
    assert_eq!(came, expected, "limit {limit}");
}

fn all_topics_come_without_names(connection: &mut Connection, version: i16) {
    let response = connection.call(version, &request(&[], 2_000, None));
    let names: Vec<_> = response.topics.iter().map(|topic| &topic.name).collect();
    assert!(names.is_sorted());
    assert!(names.contains(&&Some(topic_name("paged-b"))));
    // From a cursor on, what lies before it is left out; the topic of it may be gone.
    for name in ["paged-b", "paged-az"] {
        let cursor = Cursor::default().with_topic_name(topic_name(name));
        let response = connection.call(version, &request(&[], 2, Some(cursor)));
        let first = response.topics[0].name.clone();
        assert_eq!(first, Some(topic_name("paged-b")));
    }
}

fn partitions_are_described(connection: &mut Connection, version: i16) {
    let response = connection.call(version, &request(&["paged-d"], 10, None));
    let topic = &response.topics[0];
    assert!(!topic.topic_id.is_nil() && !topic.is_internal);
    assert!(topic.topic_authorized_operations > 0);
    let partition = &topic.partitions[0];
    assert_eq!(error(partition.error_code), ErrorCode::None);
    assert_eq!(partition.leader_id, BrokerId(0));
    assert_eq!(partition.replica_nodes, [BrokerId(0)]);
    assert_eq!(partition.isr_nodes, [BrokerId(0)]);
    assert!(partition.offline_replicas.is_empty());
    let response = connection.call(version, &request(&["no spaces"], 10, None));
    let illegal = ErrorCode::InvalidTopicException;
    assert_eq!(error(response.topics[0].error_code), illegal);
}

fn wrong_cursors_are_refused(connection: &mut Connection, version: i16) {
    let mut ask = |names: &[&str], from: &str, partition| {
        let cursor = Cursor::default()
            .with_topic_name(topic_name(from))
            .with_partition_index(partition);
        let response = connection.call(version, &request(names, 10, Some(cursor)));
        assert_eq!(response.next_cursor, None);
        let topics = response.topics.into_iter();
        let told = topics.map(|it| (it.name.unwrap().to_string(), error(it.error_code)));
        told.collect::<Vec<_>>()
    };
    let told = |names: &[&str], error| -> Vec<_> {
        names.iter().map(|it| ((*it).to_owned(), error)).collect()
    };
    let invalid = told(&NAMES, ErrorCode::InvalidRequest);
    // It is among the topics that are named.
    for from in ["paged-z", "paged-c", ""] {
        assert_eq!(ask(&NAMES, from, 0), invalid, "{from}");
    }
    assert_eq!(ask(&NAMES, "paged-b", -1), invalid);
    assert_eq!(
        ask(&["paged-d"], "paged-d", 0),
        told(&["paged-d"], ErrorCode::None)
    );
    // Nothing is named that could be refused.
    assert_eq!(ask(&[], "paged-b", -1), []);
    assert_eq!(ask(&[], "zzz", 0), []);
}
