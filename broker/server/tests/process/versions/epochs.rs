//! OffsetForLeaderEpoch, on a partition that has had two leaderships.

use foz_protocol::error::ErrorCode;
use kafka_protocol::messages::offset_for_leader_epoch_request::{
    OffsetForLeaderPartition, OffsetForLeaderTopic,
};
use kafka_protocol::messages::offset_for_leader_epoch_response::EpochEndOffset;
use kafka_protocol::messages::{
    BrokerId, FetchRequest, MetadataRequest, OffsetForLeaderEpochRequest,
};

use super::connection::{
    Answered, Connection, Topic, batch, error, eventually, topic_name, versions_of,
};
use super::fetching::fetch;
use crate::testbed::Testbed;

const TOPIC: &str = "epochs";

/// Two records in the first epoch; then the broker is started anew.
pub(super) fn prepare(testbed: &mut Testbed, answered: &Answered) {
    let mut connection = Connection::open(&testbed.brokers[0], answered);
    let topic = connection.create_topic(TOPIC, 1);
    connection.produce(&topic, 0, batch(1, &["a", "b"]));
    drop(connection);
    testbed.brokers[0].kill();
    testbed.brokers[0].spawn();
    testbed.wait_ready();
}

pub(super) fn check(connection: &mut Connection) {
    eventually(|| connection.latest_offset(TOPIC, 0));
    let metadata = connection.call(12, &MetadataRequest::default().with_topics(None));
    let found = metadata
        .topics
        .iter()
        .find(|topic| topic.name == Some(topic_name(TOPIC)))
        .unwrap();
    let topic = Topic {
        name: TOPIC.to_owned(),
        id: found.topic_id,
    };
    let now = found.partitions[0].leader_epoch;
    assert!(now > 0, "a new start is a new leadership");
    connection.produce(&topic, 0, batch(1, &["c"]));
    for version in versions_of::<OffsetForLeaderEpochRequest>() {
        let mut ask = |name, partition, current, epoch| {
            end_of_epoch(connection, version, name, partition, current, epoch)
        };
        let first = ask(TOPIC, 0, -1, 0);
        assert_eq!(error(first.error_code), ErrorCode::None);
        assert_eq!((first.leader_epoch, first.end_offset), (0, 2), "{version}");
        let last = ask(TOPIC, 0, now, now);
        assert_eq!((last.leader_epoch, last.end_offset), (now, 3));
        let future = ask(TOPIC, 0, now, now + 1);
        assert_eq!(error(future.error_code), ErrorCode::None);
        assert_eq!((future.leader_epoch, future.end_offset), (-1, -1));
        let refusals = [
            (TOPIC, 0, 0, ErrorCode::FencedLeaderEpoch),
            (TOPIC, 0, now + 1, ErrorCode::UnknownLeaderEpoch),
            (TOPIC, 9, -1, ErrorCode::UnknownTopicOrPartition),
            ("nowhere", 0, -1, ErrorCode::UnknownTopicOrPartition),
        ];
        for (name, partition, current, expected) in refusals {
            let refused = ask(name, partition, current, 0);
            assert_eq!(error(refused.error_code), expected, "{version}");
            assert_eq!((refused.leader_epoch, refused.end_offset), (-1, -1));
        }
    }
    // A consumer from before the restart learns of it.
    let version = *versions_of::<FetchRequest>().end();
    let mut request = fetch(version, &topic, &[(0, 2)]);
    request.topics[0].partitions[0].current_leader_epoch = 0;
    let response = connection.call(version, &request);
    let partition = &response.responses[0].partitions[0];
    let fenced = ErrorCode::FencedLeaderEpoch;
    assert_eq!(error(partition.error_code), fenced);
    assert_eq!(partition.current_leader.leader_epoch, now);
}

fn end_of_epoch(
    connection: &mut Connection,
    version: i16,
    topic: &str,
    partition: i32,
    current_leader_epoch: i32,
    leader_epoch: i32,
) -> EpochEndOffset {
    let partition = OffsetForLeaderPartition::default()
        .with_partition(partition)
        .with_current_leader_epoch(current_leader_epoch)
        .with_leader_epoch(leader_epoch);
    let topic = OffsetForLeaderTopic::default()
        .with_topic(topic_name(topic))
        .with_partitions(vec![partition]);
    let request = OffsetForLeaderEpochRequest::default().with_topics(vec![topic]);
    let request = if version >= 3 {
        request.with_replica_id(BrokerId(-1))
    } else {
        request
    };
    let response = connection.call(version, &request);
    response.topics[0].partitions[0].clone()
}
