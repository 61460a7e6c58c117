//! ListOffsets.

use foz_protocol::error::ErrorCode;
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::{ApiKey, BrokerId, ListOffsetsRequest};

use super::connection::{Connection, batch, error, topic_name, versions_of};

const LEADER_EPOCHS_FROM: i16 = 4;

pub(super) fn check(connection: &mut Connection) {
    let topic = connection.create_topic("listed", 2);
    connection.produce(&topic, 0, batch(1_000, &["a"]));
    connection.produce(&topic, 0, batch(3_000, &["b"]));
    connection.produce(&topic, 0, batch(2_000, &["c"]));
    for version in versions_of::<ListOffsetsRequest>() {
        offsets_are_found(connection, version);
        epochs_are_checked(connection, version);
        unknown_partitions_are_refused(connection, version);
        partitions_that_are_named_twice_are_refused(connection, version);
    }
    the_newest_version_is_answered(connection);
}

/// It differs by one more question alone (KIP-1023).
fn the_newest_version_is_answered(connection: &mut Connection) {
    use foz_records::list_offsets_request::{
        ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic,
    };
    use foz_records::list_offsets_response::ListOffsetsResponse;

    let none = ErrorCode::None;
    let cases = [
        ("listed", -1, none, 3, 0),
        ("listed", -2, none, 0, 0),
        ("listed", -3, none, 1, 0),
        ("listed", -6, none, -1, -1),
        ("listed", -7, ErrorCode::UnsupportedVersion, -1, -1),
        ("listed", 1_001, none, 1, 0),
        ("nowhere", -1, ErrorCode::UnknownTopicOrPartition, -1, -1),
    ];
    for (topic, timestamp, expected, offset, leader_epoch) in cases {
        let partition = ListOffsetsPartition {
            timestamp,
            ..ListOffsetsPartition::default()
        };
        let request = ListOffsetsRequest {
            replica_id: -1,
            topics: vec![ListOffsetsTopic {
                name: topic.into(),
                partitions: vec![partition],
            }],
            timeout_ms: 1_000,
            ..ListOffsetsRequest::default()
        };
        let key = ApiKey::ListOffsets;
        let response: ListOffsetsResponse = connection.call_newer(key, 11, &request);
        let answer = &response.topics[0].partitions[0];
        let found = (error(answer.error_code), answer.offset, answer.leader_epoch);
        assert_eq!(found, (expected, offset, leader_epoch), "{timestamp}");
    }
}

fn request(version: i16, topic: &str, partition: ListOffsetsPartition) -> ListOffsetsRequest {
    let topic = ListOffsetsTopic::default()
        .with_name(topic_name(topic))
        .with_partitions(vec![partition]);
    let request = ListOffsetsRequest::default()
        .with_replica_id(BrokerId(-1))
        .with_topics(vec![topic]);
    let request = if version >= 2 {
        request.with_isolation_level(1)
    } else {
        request
    };
    if version >= 10 {
        request.with_timeout_ms(1_000)
    } else {
        request
    }
}

fn offsets_are_found(connection: &mut Connection, version: i16) {
    // What is asked for, the least version that may ask it, offset and timestamp.
    let found = [
        (-1, 1, 3, -1),
        (-2, 1, 0, -1),
        (0, 1, 0, 1_000),
        (1_001, 1, 1, 3_000),
        (3_000, 1, 1, 3_000),
        (3_001, 1, -1, -1),
        (-3, 7, 1, 3_000),
        (-4, 8, 0, -1),
        (-5, 9, -1, -1),
        (-6, 11, -1, -1),
        (-7, i16::MAX, -1, -1),
    ];
    for (wanted, since, offset, timestamp) in found {
        let partition = ListOffsetsPartition::default().with_timestamp(wanted);
        let response = connection.call(version, &request(version, "listed", partition));
        assert_eq!(response.topics[0].name, topic_name("listed"));
        let answer = &response.topics[0].partitions[0];
        let what = format!("version {version}, timestamp {wanted}");
        if version < since {
            let refused = ErrorCode::UnsupportedVersion;
            assert_eq!(error(answer.error_code), refused, "{what}");
            continue;
        }
        assert_eq!(error(answer.error_code), ErrorCode::None, "{what}");
        assert_eq!(answer.partition_index, 0);
        assert_eq!(
            (answer.offset, answer.timestamp),
            (offset, timestamp),
            "{what}"
        );
        let epoch = if version >= LEADER_EPOCHS_FROM && offset >= 0 {
            0
        } else {
            -1
        };
        assert_eq!(answer.leader_epoch, epoch, "{what}");
    }
    // A partition without records has its ends, and no greatest timestamp.
    for (wanted, offset) in [(-1, 0), (-2, 0), (0, -1), (-3, -1)] {
        if wanted == -3 && version < 7 {
            continue;
        }
        let partition = ListOffsetsPartition::default()
            .with_partition_index(1)
            .with_timestamp(wanted);
        let response = connection.call(version, &request(version, "listed", partition));
        let answer = &response.topics[0].partitions[0];
        assert_eq!(error(answer.error_code), ErrorCode::None);
        assert_eq!((answer.partition_index, answer.offset), (1, offset));
    }
}

fn epochs_are_checked(connection: &mut Connection, version: i16) {
    if version < LEADER_EPOCHS_FROM {
        return;
    }
    let cases = [
        (0, ErrorCode::None),
        (1, ErrorCode::UnknownLeaderEpoch),
        (-2, ErrorCode::FencedLeaderEpoch),
    ];
    for (epoch, expected) in cases {
        let partition = ListOffsetsPartition::default()
            .with_timestamp(-1)
            .with_current_leader_epoch(epoch);
        let response = connection.call(version, &request(version, "listed", partition));
        let answer = &response.topics[0].partitions[0];
        assert_eq!(error(answer.error_code), expected, "{version}");
    }
}

fn unknown_partitions_are_refused(connection: &mut Connection, version: i16) {
    for (topic, index) in [("nowhere", 0), ("listed", 9)] {
        let partition = ListOffsetsPartition::default()
            .with_partition_index(index)
            .with_timestamp(-1);
        let response = connection.call(version, &request(version, topic, partition));
        let answer = &response.topics[0].partitions[0];
        let unknown = ErrorCode::UnknownTopicOrPartition;
        assert_eq!(error(answer.error_code), unknown, "{version}");
        assert_eq!((answer.offset, answer.timestamp), (-1, -1));
    }
}

fn partitions_that_are_named_twice_are_refused(connection: &mut Connection, version: i16) {
    let asked = |index| {
        ListOffsetsPartition::default()
            .with_partition_index(index)
            .with_timestamp(-2)
    };
    let mut request = request(version, "listed", asked(0));
    request.topics[0].partitions.push(asked(1));
    // Also where the topic is named twice.
    request.topics.push(request.topics[0].clone());
    request.topics[1].partitions.truncate(1);
    let response = connection.call(version, &request);
    let answers = response.topics.iter().flat_map(|topic| &topic.partitions);
    let answers: Vec<_> = answers
        .map(|it| (it.partition_index, error(it.error_code), it.offset))
        .collect();
    let refused = (0, ErrorCode::InvalidRequest, -1);
    let expected = [refused, (1, ErrorCode::None, 0), refused];
    assert_eq!(answers, expected, "{version}");
}
