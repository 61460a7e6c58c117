//! OffsetCommit, OffsetFetch and OffsetDelete.

use foz_protocol::error::ErrorCode;
use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::offset_delete_request::{
    OffsetDeleteRequestPartition, OffsetDeleteRequestTopic,
};
use kafka_protocol::messages::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};
use kafka_protocol::messages::{OffsetCommitRequest, OffsetDeleteRequest, OffsetFetchRequest};
use kafka_protocol::protocol::StrBytes;

use super::super::connection::{
    Connection, error, group_id, nearest, text, topic_name, versions_of,
};

pub(super) const TOPIC: &str = "consumed";
const LEADER_EPOCHS_FROM: i16 = 6;
const SEVERAL_GROUPS_FROM: i16 = 8;

pub(super) fn check(connection: &mut Connection) {
    for version in versions_of::<OffsetDeleteRequest>() {
        offsets_are_deleted(connection, version);
    }
}

/// The group's member commits offset 5 of partition 0.
pub(super) fn a_member_commits(
    connection: &mut Connection,
    version: i16,
    group: &str,
    member: &StrBytes,
) {
    let commits = [
        (member.clone(), 1, ErrorCode::None),
        (member.clone(), 7, ErrorCode::IllegalGeneration),
        (text("nobody"), 1, ErrorCode::UnknownMemberId),
        // One that assigns itself must not disturb a group with members.
        (StrBytes::default(), -1, ErrorCode::UnknownMemberId),
    ];
    for (member, generation, expected) in commits {
        let committed = commit(connection, version, group, member, generation);
        assert_eq!(
            committed,
            [(0, expected), (9, ErrorCode::UnknownTopicOrPartition)]
        );
    }
    let fetched = fetch(connection, version, group, Some(&[0, 1]));
    assert_eq!(fetched, [(0, 5), (1, -1)], "{version}");
}

/// They are there when the last member has left, and all can be asked for.
pub(super) fn offsets_outlive_members(connection: &mut Connection, version: i16, group: &str) {
    assert_eq!(fetch(connection, version, group, Some(&[0])), [(0, 5)]);
    if nearest::<OffsetFetchRequest>(version) >= 2 {
        assert_eq!(fetch(connection, version, group, None), [(0, 5)]);
    }
}

/// A group that is not there has no offsets; a generation of it cannot commit.
pub(super) fn unknown_groups_are_refused(connection: &mut Connection, version: i16, group: &str) {
    assert_eq!(fetch(connection, version, group, Some(&[0])), [(0, -1)]);
    let committed = commit(connection, version, group, text("nobody"), 1);
    let expected = if nearest::<OffsetCommitRequest>(version) >= 9 {
        ErrorCode::GroupIdNotFound
    } else {
        ErrorCode::IllegalGeneration
    };
    assert_eq!(committed[0], (0, expected), "{version}");
}

fn offsets_are_deleted(connection: &mut Connection, version: i16) {
    let group = "forgetful";
    super::wait_for_coordinator(connection, group);
    // The error of the group stands alone.
    for topic in [TOPIC, "nowhere"] {
        let missing = delete(connection, version, group, topic, &[0]);
        assert_eq!(missing, Err(ErrorCode::GroupIdNotFound));
    }
    let committed = commit(connection, 9, group, StrBytes::default(), -1);
    assert_eq!(committed[0], (0, ErrorCode::None));
    let mut delete = |topic, partitions| delete(connection, version, group, topic, partitions);
    let unknown = ErrorCode::UnknownTopicOrPartition;
    assert_eq!(
        delete(TOPIC, &[0, 9]),
        Ok(vec![(0, ErrorCode::None), (9, unknown)])
    );
    assert_eq!(delete("nowhere", &[0]), Ok(vec![(0, unknown)]));
    assert_eq!(fetch(connection, 9, group, Some(&[0])), [(0, -1)]);
}

/// Partitions and their errors, or the error of the whole request.
fn delete(
    connection: &mut Connection,
    version: i16,
    group: &str,
    topic: &str,
    partitions: &[i32],
) -> Result<Vec<(i32, ErrorCode)>, ErrorCode> {
    let partitions = partitions
        .iter()
        .map(|partition| OffsetDeleteRequestPartition::default().with_partition_index(*partition));
    let topic = OffsetDeleteRequestTopic::default()
        .with_name(topic_name(topic))
        .with_partitions(partitions.collect());
    let request = OffsetDeleteRequest::default()
        .with_group_id(group_id(group))
        .with_topics(vec![topic]);
    let response = connection.call(version, &request);
    if response.error_code != 0 {
        assert!(response.topics.is_empty());
        return Err(error(response.error_code));
    }
    let [topic] = &response.topics[..] else {
        panic!("one topic was named: {response:?}");
    };
    let partitions = topic.partitions.iter();
    Ok(partitions
        .map(|deleted| (deleted.partition_index, error(deleted.error_code)))
        .collect())
}

/// Commits offset 5 of partition 0 and of one that does not exist.
pub(super) fn commit(
    connection: &mut Connection,
    version: i16,
    group: &str,
    member: StrBytes,
    generation: i32,
) -> Vec<(i32, ErrorCode)> {
    let version = nearest::<OffsetCommitRequest>(version);
    let partitions = [0, 9].map(|index| {
        let partition = OffsetCommitRequestPartition::default()
            .with_partition_index(index)
            .with_committed_offset(5)
            .with_committed_metadata(Some(text("note")));
        if version >= LEADER_EPOCHS_FROM {
            partition.with_committed_leader_epoch(3)
        } else {
            partition
        }
    });
    let topic = OffsetCommitRequestTopic::default()
        .with_name(topic_name(TOPIC))
        .with_partitions(partitions.to_vec());
    let request = OffsetCommitRequest::default()
        .with_group_id(group_id(group))
        .with_generation_id_or_member_epoch(generation)
        .with_member_id(member)
        .with_topics(vec![topic]);
    let response = connection.call(version, &request);
    let [topic] = &response.topics[..] else {
        panic!("one topic was named: {response:?}");
    };
    assert_eq!(topic.name, topic_name(TOPIC));
    topic
        .partitions
        .iter()
        .map(|partition| (partition.partition_index, error(partition.error_code)))
        .collect()
}

/// Partitions and offsets, or all that the group has.
fn fetch(
    connection: &mut Connection,
    version: i16,
    group: &str,
    partitions: Option<&[i32]>,
) -> Vec<(i32, i64)> {
    let version = nearest::<OffsetFetchRequest>(version);
    let request = OffsetFetchRequest::default().with_require_stable(version >= 7);
    let request = if version >= SEVERAL_GROUPS_FROM {
        let topics = partitions.map(|partitions| {
            let topic = OffsetFetchRequestTopics::default()
                .with_name(topic_name(TOPIC))
                .with_partition_indexes(partitions.to_vec());
            vec![topic]
        });
        let wanted = OffsetFetchRequestGroup::default()
            .with_group_id(group_id(group))
            .with_topics(topics);
        request.with_groups(vec![wanted])
    } else {
        let topics = partitions.map(|partitions| {
            let topic = OffsetFetchRequestTopic::default()
                .with_name(topic_name(TOPIC))
                .with_partition_indexes(partitions.to_vec());
            vec![topic]
        });
        request.with_group_id(group_id(group)).with_topics(topics)
    };
    let response = connection.call(version, &request);
    assert_eq!(error(response.error_code), ErrorCode::None);
    if version < SEVERAL_GROUPS_FROM {
        assert!(response.groups.is_empty());
        return response
            .topics
            .iter()
            .flat_map(|topic| &topic.partitions)
            .map(|found| {
                assert_eq!(error(found.error_code), ErrorCode::None);
                let epoch = if version >= 5 {
                    found.committed_leader_epoch
                } else {
                    -1
                };
                note_fits(version, found.committed_offset, epoch, &found.metadata);
                (found.partition_index, found.committed_offset)
            })
            .collect();
    }
    let [answered] = &response.groups[..] else {
        panic!("one group was named: {response:?}");
    };
    assert_eq!(answered.group_id, group_id(group));
    assert_eq!(error(answered.error_code), ErrorCode::None);
    answered
        .topics
        .iter()
        .flat_map(|topic| &topic.partitions)
        .map(|found| {
            assert_eq!(error(found.error_code), ErrorCode::None);
            let epoch = found.committed_leader_epoch;
            note_fits(version, found.committed_offset, epoch, &found.metadata);
            (found.partition_index, found.committed_offset)
        })
        .collect()
}

/// What was committed with an offset comes back with it.
fn note_fits(version: i16, offset: i64, leader_epoch: i32, metadata: &Option<StrBytes>) {
    let is_committed = offset >= 0;
    let note = if is_committed { "note" } else { "" };
    assert_eq!(*metadata, Some(text(note)), "{version}");
    // Commits of the same round carry an epoch only from their version 6 on.
    let has_epoch = is_committed && version >= LEADER_EPOCHS_FROM;
    assert_eq!(leader_epoch, if has_epoch { 3 } else { -1 }, "{version}");
}
