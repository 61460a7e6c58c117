//! DescribeQuorum, AddRaftVoter and RemoveRaftVoter.

use foz_protocol::error::ErrorCode;
use kafka_protocol::messages::add_raft_voter_request::Listener;
use kafka_protocol::messages::describe_quorum_request::{PartitionData, TopicData};
use kafka_protocol::messages::describe_quorum_response::{
    PartitionData as Described, ReplicaState,
};
use kafka_protocol::messages::{
    AddRaftVoterRequest, BrokerId, DescribeQuorumRequest, DescribeQuorumResponse,
    RemoveRaftVoterRequest,
};
use uuid::Uuid;

use super::connection::{Connection, error, eventually, text, topic_name, versions_of};

const CONTROLLER: i32 = 1000;
/// KIP-836.
const TIMES_FROM: i16 = 1;
/// KIP-853.
const DIRECTORIES_FROM: i16 = 2;

pub(super) fn check(connection: &mut Connection) {
    for version in versions_of::<DescribeQuorumRequest>() {
        the_quorum_is_described(connection, version);
        other_partitions_are_unknown(connection, version);
    }
    let voter = voters(connection).remove(0);
    for version in versions_of::<AddRaftVoterRequest>() {
        who_votes_is_not_added(connection, version);
    }
    for version in versions_of::<RemoveRaftVoterRequest>() {
        only_a_voter_with_its_directory_is_removed(connection, version, &voter);
    }
}

pub(crate) fn describe(
    connection: &mut Connection,
    version: i16,
    topics: &[(&str, &[i32])],
) -> DescribeQuorumResponse {
    let topics = topics.iter().map(|(name, partitions)| {
        let partitions = partitions.iter();
        let partitions =
            partitions.map(|index| PartitionData::default().with_partition_index(*index));
        TopicData::default()
            .with_topic_name(topic_name(name))
            .with_partitions(partitions.collect())
    });
    let request = DescribeQuorumRequest::default().with_topics(topics.collect());
    connection.call(version, &request)
}

/// The one partition that the metadata has.
pub(crate) fn metadata(connection: &mut Connection, version: i16) -> Described {
    let mut response = describe(connection, version, &[("__cluster_metadata", &[0])]);
    assert_eq!(error(response.error_code), ErrorCode::None, "{version}");
    let mut topic = response.topics.remove(0);
    assert_eq!(topic.topic_name, topic_name("__cluster_metadata"));
    let partition = topic.partitions.remove(0);
    assert_eq!(error(partition.error_code), ErrorCode::None, "{version}");
    partition
}

pub(crate) fn voters(connection: &mut Connection) -> Vec<ReplicaState> {
    metadata(connection, DIRECTORIES_FROM).current_voters
}

fn the_quorum_is_described(connection: &mut Connection, version: i16) {
    // The broker's first beat may be on its way.
    let found = eventually(|| {
        let found = metadata(connection, version);
        match found.observers.len() {
            1 => Ok(found),
            _ => Err(Box::new(found)),
        }
    });
    assert_eq!(found.leader_id, BrokerId(CONTROLLER));
    assert!(found.leader_epoch > 0 && found.high_watermark > 0);
    let [voter] = &found.current_voters[..] else {
        panic!("{found:?}");
    };
    let [observer] = &found.observers[..] else {
        panic!("{found:?}");
    };
    assert_eq!(voter.replica_id, BrokerId(CONTROLLER));
    assert_eq!(observer.replica_id, BrokerId(0));
    assert!(voter.log_end_offset >= found.high_watermark, "{found:?}");
    assert!((1..=voter.log_end_offset).contains(&observer.log_end_offset));
    for replica in [voter, observer] {
        let times = [
            replica.last_fetch_timestamp,
            replica.last_caught_up_timestamp,
        ];
        if version >= TIMES_FROM {
            // After 2020, by anybody's clock.
            assert!(times.iter().all(|it| *it > 1_577_836_800_000), "{times:?}");
        } else {
            assert_eq!(times, [-1, -1]);
        }
        let has_directory = !replica.replica_directory_id.is_nil();
        assert_eq!(has_directory, version >= DIRECTORIES_FROM, "{replica:?}");
    }
    let nodes = describe(connection, version, &[("__cluster_metadata", &[0])]).nodes;
    if version < DIRECTORIES_FROM {
        assert!(nodes.is_empty());
        return;
    }
    assert_eq!(nodes.len(), 1);
    assert_eq!(nodes[0].node_id, BrokerId(CONTROLLER));
    assert_eq!(nodes[0].listeners[0].name, text("CONTROLLER"));
    assert_eq!(nodes[0].listeners[0].host, text("127.0.0.1"));
    assert!(nodes[0].listeners[0].port > 0);
}

fn other_partitions_are_unknown(connection: &mut Connection, version: i16) {
    let many: Vec<i32> = (0..100_000).collect();
    let wrong: &[&[(&str, &[i32])]] = &[
        &[("orders", &[0])],
        &[("__cluster_metadata", &[1])],
        &[("__cluster_metadata", &[-1])],
        &[("__cluster_metadata", &[0, 1])],
        &[("__cluster_metadata", &[0]), ("", &[0])],
        &[("__cluster_metadata", &many)],
    ];
    for topics in wrong {
        let response = describe(connection, version, topics);
        assert_eq!(error(response.error_code), ErrorCode::None, "{version}");
        assert_eq!(response.topics.len(), topics.len());
        for (answered, (name, partitions)) in response.topics.iter().zip(*topics) {
            assert_eq!(answered.topic_name, topic_name(name));
            let indexes = answered.partitions.iter().map(|it| it.partition_index);
            assert!(indexes.eq(partitions.iter().copied()));
            let unknown = ErrorCode::UnknownTopicOrPartition;
            let mut codes = answered.partitions.iter().map(|it| error(it.error_code));
            assert!(codes.all(|code| code == unknown), "{version}");
        }
    }
    assert!(describe(connection, version, &[]).topics.is_empty());
}

fn who_votes_is_not_added(connection: &mut Connection, version: i16) {
    let listener = Listener::default()
        .with_name(text("CONTROLLER"))
        .with_host(text("127.0.0.1"))
        .with_port(u16::MAX);
    let voter = AddRaftVoterRequest::default()
        .with_cluster_id(None)
        .with_timeout_ms(1_000)
        .with_voter_id(CONTROLLER)
        .with_listeners(vec![listener]);
    let elsewhere = voter.clone().with_cluster_id(Some(text("another")));
    let cases = [
        (voter.clone(), ErrorCode::DuplicateVoter),
        (elsewhere, ErrorCode::InconsistentClusterId),
        (voter.clone().with_voter_id(-1), ErrorCode::InvalidRequest),
        // Nobody runs it.
        (voter.with_voter_id(1009), ErrorCode::RequestTimedOut),
    ];
    for (request, expected) in cases {
        let response = connection.call(version, &request);
        assert_eq!(error(response.error_code), expected, "{request:?}");
        assert!(response.error_message.is_some());
    }
}

fn only_a_voter_with_its_directory_is_removed(
    connection: &mut Connection,
    version: i16,
    voter: &ReplicaState,
) {
    let last = RemoveRaftVoterRequest::default()
        .with_cluster_id(None)
        .with_voter_id(CONTROLLER)
        .with_voter_directory_id(voter.replica_directory_id);
    let other = Uuid::from_u128(42);
    let cases = [
        (
            last.clone().with_voter_directory_id(other),
            ErrorCode::VoterNotFound,
        ),
        (
            last.clone().with_voter_directory_id(Uuid::nil()),
            ErrorCode::VoterNotFound,
        ),
        (last.clone().with_voter_id(1009), ErrorCode::VoterNotFound),
        (last.clone().with_voter_id(-1), ErrorCode::InvalidRequest),
        (
            last.with_cluster_id(Some(text(""))),
            ErrorCode::InconsistentClusterId,
        ),
    ];
    for (request, expected) in cases {
        let response = connection.call(version, &request);
        assert_eq!(error(response.error_code), expected, "{request:?}");
        assert!(response.error_message.is_some());
    }
    assert_eq!(voters(connection).len(), 1);
}
