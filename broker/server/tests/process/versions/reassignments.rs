//! AlterPartitionReassignments and ListPartitionReassignments, where there is only one broker. Moves that copy
//! something are in `crate::reassignments`.

use foz_protocol::error::ErrorCode;
use kafka_protocol::messages::alter_partition_reassignments_request::{
    ReassignablePartition, ReassignableTopic,
};
use kafka_protocol::messages::list_partition_reassignments_request::ListPartitionReassignmentsTopics;
use kafka_protocol::messages::{
    AlterPartitionReassignmentsRequest, BrokerId, ListPartitionReassignmentsRequest,
};

use super::connection::{Connection, error, topic_name, versions_of};

const FACTOR_CHANGE_FROM: i16 = 1;

pub(super) fn check(connection: &mut Connection) {
    connection.create_topic("reassigned", 2);
    for version in versions_of::<AlterPartitionReassignmentsRequest>() {
        every_partition_has_its_own_outcome(connection, version);
    }
    for version in versions_of::<ListPartitionReassignmentsRequest>() {
        nothing_is_under_way(connection, version);
    }
}

fn every_partition_has_its_own_outcome(connection: &mut Connection, version: i16) {
    let wanted = |index: i32, replicas: Option<&[i32]>| {
        let ids = |ids: &[i32]| ids.iter().copied().map(BrokerId).collect();
        ReassignablePartition::default()
            .with_partition_index(index)
            .with_replicas(replicas.map(ids))
    };
    let of = |name: &str, partitions: Vec<ReassignablePartition>| {
        ReassignableTopic::default()
            .with_name(topic_name(name))
            .with_partitions(partitions)
    };
    let topics = vec![
        of(
            "reassigned",
            vec![
                wanted(1, Some(&[0])),
                wanted(7, Some(&[0])),
                wanted(0, Some(&[9])),
            ],
        ),
        of("nowhere", vec![wanted(0, None)]),
    ];
    let request = AlterPartitionReassignmentsRequest::default()
        .with_timeout_ms(10_000)
        .with_allow_replication_factor_change(version < FACTOR_CHANGE_FROM)
        .with_topics(topics);
    let response = connection.call(version, &request);
    assert_eq!(error(response.error_code), ErrorCode::None);
    let outcomes: Vec<_> = response
        .responses
        .iter()
        .flat_map(|topic| {
            let results = topic.partitions.iter();
            results.map(|it| {
                (
                    topic.name.as_str(),
                    it.partition_index,
                    error(it.error_code),
                )
            })
        })
        .collect();
    let unknown = ErrorCode::UnknownTopicOrPartition;
    let expected = [
        ("reassigned", 1, ErrorCode::None),
        ("reassigned", 7, unknown),
        ("reassigned", 0, ErrorCode::InvalidReplicaAssignment),
        ("nowhere", 0, unknown),
    ];
    assert_eq!(outcomes, expected, "{version}");
    assert_eq!(
        response.allow_replication_factor_change,
        version < FACTOR_CHANGE_FROM
    );
    let none = connection.call(version, &request.with_topics(Vec::new()));
    assert_eq!(error(none.error_code), ErrorCode::None);
    assert!(none.responses.is_empty(), "{version}");
}

fn nothing_is_under_way(connection: &mut Connection, version: i16) {
    let named = ListPartitionReassignmentsTopics::default()
        .with_name(topic_name("reassigned"))
        .with_partition_indexes(vec![0, 1, 7]);
    let unknown = ListPartitionReassignmentsTopics::default()
        .with_name(topic_name("nowhere"))
        .with_partition_indexes(vec![0]);
    for topics in [None, Some(Vec::new()), Some(vec![named, unknown])] {
        let request = ListPartitionReassignmentsRequest::default()
            .with_timeout_ms(10_000)
            .with_topics(topics);
        let response = connection.call(version, &request);
        assert_eq!(error(response.error_code), ErrorCode::None);
        assert!(response.topics.is_empty(), "{version}: {response:?}");
    }
}
