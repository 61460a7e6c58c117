//! ElectLeaders, where every leader is the only one there can be. Elections that change something are in
//! `crate::elections`.

use foz_protocol::error::ErrorCode;
use kafka_protocol::messages::ElectLeadersRequest;
use kafka_protocol::messages::elect_leaders_request::TopicPartitions;

use super::connection::{Connection, error, topic_name, versions_of};

/// Before it, only preferred leaders can be asked for, and there is no error of the whole request.
const ELECTION_TYPES_FROM: i16 = 1;
const PREFERRED: i8 = 0;
const UNCLEAN: i8 = 1;

pub(super) fn check(connection: &mut Connection) {
    connection.create_topic("elected", 2);
    for version in versions_of::<ElectLeadersRequest>() {
        every_partition_has_its_own_outcome(connection, version, PREFERRED);
        all_that_need_no_election_are_left_out(connection, version, PREFERRED);
        if version >= ELECTION_TYPES_FROM {
            every_partition_has_its_own_outcome(connection, version, UNCLEAN);
            all_that_need_no_election_are_left_out(connection, version, UNCLEAN);
            other_elections_are_refused(connection, version);
        }
    }
}

fn named(topics: &[(&str, &[i32])]) -> Option<Vec<TopicPartitions>> {
    let topics = topics.iter().map(|(name, partitions)| {
        TopicPartitions::default()
            .with_topic(topic_name(name))
            .with_partitions(partitions.to_vec())
    });
    Some(topics.collect())
}

fn request(election_type: i8, topics: Option<Vec<TopicPartitions>>) -> ElectLeadersRequest {
    ElectLeadersRequest::default()
        .with_election_type(election_type)
        .with_topic_partitions(topics)
        .with_timeout_ms(10_000)
}

fn every_partition_has_its_own_outcome(connection: &mut Connection, version: i16, kind: i8) {
    let topics: &[(&str, &[i32])] = &[("elected", &[1, 7, -1, 0, 1]), ("nowhere", &[0])];
    let response = connection.call(version, &request(kind, named(topics)));
    assert_eq!(error(response.error_code), ErrorCode::None);
    let outcomes: Vec<_> = response
        .replica_election_results
        .iter()
        .flat_map(|topic| {
            let results = topic.partition_result.iter();
            results.map(|it| (topic.topic.as_str(), it.partition_id, error(it.error_code)))
        })
        .collect();
    let (unneeded, unknown) = (
        ErrorCode::ElectionNotNeeded,
        ErrorCode::UnknownTopicOrPartition,
    );
    let expected = [
        ("elected", 1, unneeded),
        ("elected", 7, unknown),
        ("elected", -1, unknown),
        ("elected", 0, unneeded),
        ("nowhere", 0, unknown),
    ];
    assert_eq!(outcomes, expected, "{version}");
    let none = connection.call(version, &request(kind, named(&[])));
    assert_eq!(error(none.error_code), ErrorCode::None);
    assert!(none.replica_election_results.is_empty(), "{version}");
}

fn all_that_need_no_election_are_left_out(connection: &mut Connection, version: i16, kind: i8) {
    let response = connection.call(version, &request(kind, None));
    assert_eq!(error(response.error_code), ErrorCode::None);
    assert!(response.replica_election_results.is_empty(), "{version}");
}

fn other_elections_are_refused(connection: &mut Connection, version: i16) {
    for kind in [2, -1] {
        let response = connection.call(version, &request(kind, named(&[("elected", &[0])])));
        let refused = ErrorCode::InvalidRequest;
        assert_eq!(error(response.error_code), refused, "{kind}");
        let result = &response.replica_election_results[0].partition_result[0];
        assert_eq!(error(result.error_code), refused);
    }
}
