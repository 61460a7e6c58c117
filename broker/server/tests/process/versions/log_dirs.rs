//! DescribeLogDirs and AlterReplicaLogDirs.

use foz_protocol::error::ErrorCode;
use kafka_protocol::messages::alter_replica_log_dirs_request::{
    AlterReplicaLogDir, AlterReplicaLogDirTopic,
};
use kafka_protocol::messages::describe_log_dirs_request::DescribableLogDirTopic;
use kafka_protocol::messages::{AlterReplicaLogDirsRequest, ApiKey, DescribeLogDirsRequest};

use super::connection::{Connection, batch, error, text, topic_name, versions_of};

const ROOM_FROM: i16 = 4;

pub(super) fn check(connection: &mut Connection) {
    let topic = connection.create_topic("sized", 2);
    let records = batch(1, &["one", "two"]);
    let size = records.len() as i64;
    connection.produce(&topic, 1, records);
    for version in versions_of::<DescribeLogDirsRequest>() {
        let both = sizes(connection, version, Some(&[("sized", &[1, 0, 7])]));
        let named = |index, size| ("sized".to_owned(), index, size);
        assert_eq!(both, [named(0, 0), named(1, size)], "{version}");
        let one = sizes(
            connection,
            version,
            Some(&[("sized", &[1]), ("nowhere", &[0])]),
        );
        assert_eq!(one, [named(1, size)], "{version}");
        assert_eq!(sizes(connection, version, Some(&[])), [], "{version}");
        let all = sizes(connection, version, None);
        assert!(all.contains(&named(1, size)), "{version}: {all:?}");
    }
    the_newest_version_is_answered(connection, size);
    for version in versions_of::<AlterReplicaLogDirsRequest>() {
        replicas_are_where_they_are(connection, version);
    }
}

/// It tells of directories that get no new logs (KIP-1066), which Foz does not have.
fn the_newest_version_is_answered(connection: &mut Connection, size: i64) {
    use foz_records::describe_log_dirs_request::{DescribableLogDirTopic, DescribeLogDirsRequest};
    use foz_records::describe_log_dirs_response::DescribeLogDirsResponse;

    let topic = DescribableLogDirTopic {
        topic: "sized".into(),
        partitions: vec![1, 7],
    };
    let topics = Some(vec![topic]);
    let request = DescribeLogDirsRequest { topics };
    let key = ApiKey::DescribeLogDirs;
    let response: DescribeLogDirsResponse = connection.call_newer(key, 5, &request);
    assert_eq!(error(response.error_code), ErrorCode::None);
    let [directory] = &response.results[..] else {
        panic!("{response:?}");
    };
    assert!(!directory.is_cordoned && directory.usable_bytes > 0);
    let [partition] = &directory.topics[0].partitions[..] else {
        panic!("{directory:?}");
    };
    assert_eq!(
        (partition.partition_index, partition.partition_size),
        (1, size)
    );
}

fn replicas_are_where_they_are(connection: &mut Connection, version: i16) {
    let of = |path: &str, topics: &[(&str, &[i32])]| {
        let topics = topics.iter().map(|(name, indexes)| {
            AlterReplicaLogDirTopic::default()
                .with_name(topic_name(name))
                .with_partitions(indexes.to_vec())
        });
        AlterReplicaLogDir::default()
            .with_path(text(path))
            .with_topics(topics.collect())
    };
    let here = connection.broker.directory.join("data");
    let here = here.to_str().unwrap();
    let dirs = vec![
        of(here, &[("sized", &[1, 7]), ("nowhere", &[0])]),
        of("/elsewhere", &[("sized", &[0])]),
    ];
    let request = AlterReplicaLogDirsRequest::default().with_dirs(dirs);
    let response = connection.call(version, &request);
    let topics = response.results.iter();
    let outcomes: Vec<_> = topics
        .flat_map(|topic| {
            let partitions = topic.partitions.iter();
            partitions.map(|it| {
                (
                    topic.topic_name.as_str(),
                    it.partition_index,
                    error(it.error_code),
                )
            })
        })
        .collect();
    let unknown = ErrorCode::UnknownTopicOrPartition;
    let expected = [
        ("nowhere", 0, unknown),
        ("sized", 0, ErrorCode::LogDirNotFound),
        ("sized", 1, ErrorCode::None),
        ("sized", 7, unknown),
    ];
    assert_eq!(outcomes, expected, "{version}");
}

/// Of each log: topic, index, bytes.
fn sizes(
    connection: &mut Connection,
    version: i16,
    asked: Option<&[(&str, &[i32])]>,
) -> Vec<(String, i32, i64)> {
    let topics = |asked: &[(&str, &[i32])]| {
        let topics = asked.iter().map(|(name, indexes)| {
            DescribableLogDirTopic::default()
                .with_topic(topic_name(name))
                .with_partitions(indexes.to_vec())
        });
        topics.collect()
    };
    let request = DescribeLogDirsRequest::default().with_topics(asked.map(topics));
    let response = connection.call(version, &request);
    assert_eq!(error(response.error_code), ErrorCode::None);
    let [directory] = &response.results[..] else {
        panic!("{response:?}");
    };
    assert_eq!(error(directory.error_code), ErrorCode::None);
    let data = connection.broker.directory.join("data");
    assert_eq!(directory.log_dir.as_str(), data.to_str().unwrap());
    let (total, usable) = (directory.total_bytes, directory.usable_bytes);
    if version >= ROOM_FROM {
        assert!(0 < usable && usable <= total, "{usable} of {total}");
    } else {
        assert_eq!((total, usable), (-1, -1));
    }
    let topics = directory.topics.iter();
    topics
        .flat_map(|topic| {
            let partitions = topic.partitions.iter();
            partitions.map(|it| {
                assert_eq!((it.offset_lag, it.is_future_key), (0, false));
                let name = topic.name.to_string();
                (name, it.partition_index, it.partition_size)
            })
        })
        .collect()
}
