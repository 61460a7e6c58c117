//! DeleteRecords.

use foz_protocol::error::ErrorCode;
use kafka_protocol::messages::delete_records_request::{
    DeleteRecordsPartition, DeleteRecordsTopic,
};
use kafka_protocol::messages::{DeleteRecordsRequest, FindCoordinatorRequest};

use super::connection::{Connection, batch, error, eventually, text, topic_name, versions_of};

const GROUPS: &str = "__consumer_offsets";

/// Topics, partitions and offsets.
type Asked<'a> = &'a [(&'a str, &'a [(i32, i64)])];

pub(crate) fn delete_request(timeout_ms: i32, asked: Asked) -> DeleteRecordsRequest {
    let topics = asked.iter().map(|(name, partitions)| {
        let partitions = partitions.iter().map(|(index, offset)| {
            DeleteRecordsPartition::default()
                .with_partition_index(*index)
                .with_offset(*offset)
        });
        DeleteRecordsTopic::default()
            .with_name(topic_name(name))
            .with_partitions(partitions.collect())
    });
    DeleteRecordsRequest::default()
        .with_timeout_ms(timeout_ms)
        .with_topics(topics.collect())
}

/// Topic, partition, error, low watermark.
pub(crate) fn delete(
    connection: &mut Connection,
    version: i16,
    asked: Asked,
) -> Vec<(String, i32, ErrorCode, i64)> {
    let response = connection.call(version, &delete_request(10_000, asked));
    let mut answers = Vec::new();
    for topic in &response.topics {
        for it in &topic.partitions {
            let error = error(it.error_code);
            answers.push((
                topic.name.to_string(),
                it.partition_index,
                error,
                it.low_watermark,
            ));
        }
    }
    answers
}

pub(super) fn check(connection: &mut Connection) {
    let compacted = [("cleanup.policy", "compact")];
    connection.create_on("compacted-only", &[0], &compacted);
    connection.create_on(
        "both-policies",
        &[0],
        &[("cleanup.policy", "compact,delete")],
    );
    for name in ["compacted-only", "both-policies"] {
        eventually(|| connection.latest_offset(name, 0));
    }
    // With it the groups' topic is made.
    let find = FindCoordinatorRequest::default().with_coordinator_keys(vec![text("deleting")]);
    connection.call(4, &find);
    eventually(|| {
        let refused = delete(connection, 2, &[(GROUPS, &[(0, -1)])]);
        let expected = (GROUPS.to_owned(), 0, ErrorCode::InvalidTopicException, -1);
        if refused == [expected] {
            Ok(())
        } else {
            Err(refused)
        }
    });
    for version in versions_of::<DeleteRecordsRequest>() {
        each(connection, version);
    }
}

fn each(connection: &mut Connection, version: i16) {
    let name = format!("without-records-{version}");
    let topic = connection.create_topic(&name, 2);
    for _ in 0..10 {
        connection.produce(&topic, 0, batch(1, &["a"]));
    }
    let mut one = |offset| {
        let mut answers = delete(connection, version, &[(&name, &[(0, offset)])]);
        let (_, _, error, low_watermark) = answers.pop().unwrap();
        assert!(answers.is_empty());
        (error, low_watermark)
    };
    let refused = (ErrorCode::OffsetOutOfRange, -1);
    for offset in [11, i64::MAX, -2, i64::MIN] {
        assert_eq!(one(offset), refused, "{version}: {offset}");
    }
    assert_eq!(one(0), (ErrorCode::None, 0));
    assert_eq!(one(3), (ErrorCode::None, 3));
    assert_eq!(one(3), (ErrorCode::None, 3), "again");
    assert_eq!(one(1), (ErrorCode::None, 3), "it never goes back");
    let many = delete(
        connection,
        version,
        &[
            ("nowhere", &[(0, 1)]),
            (&name, &[(0, 4), (7, 0), (1, -1)]),
            ("compacted-only", &[(0, -2)]),
            ("both-policies", &[(0, 0)]),
            (&name, &[(0, 5)]),
        ],
    );
    let unknown = ErrorCode::UnknownTopicOrPartition;
    let expected = [
        ("both-policies", 0, ErrorCode::None, 0),
        ("compacted-only", 0, ErrorCode::PolicyViolation, -1),
        ("nowhere", 0, unknown, -1),
        (&name, 0, ErrorCode::None, 5),
        (&name, 1, ErrorCode::None, 0),
        (&name, 7, unknown, -1),
    ];
    let expected = expected.map(|(name, n, error, mark)| (name.to_owned(), n, error, mark));
    assert_eq!(
        many, expected,
        "{version}: of what is named twice the last one counts"
    );
    assert_eq!(delete(connection, version, &[]), []);
    assert_eq!(delete(connection, version, &[(&name, &[])]), []);
    let mut all = delete(connection, version, &[(&name, &[(0, -1)])]);
    assert_eq!(all.pop(), Some((name.clone(), 0, ErrorCode::None, 10)));
    assert_eq!(connection.latest_offset(&name, 0), Ok(10));
    assert_eq!(connection.produce(&topic, 0, batch(1, &["b"])), 10);
}
