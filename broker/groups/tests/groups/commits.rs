use foz_groups::{Request, Response};
use kafka_protocol::ResponseError;
use kafka_protocol::messages::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};
use kafka_protocol::messages::{OffsetFetchRequest, OffsetFetchResponse, TopicName};
use uuid::Uuid;

use crate::harness::*;

fn fetched(
    harness: &mut Harness,
    api_version: i16,
    request: OffsetFetchRequest,
) -> OffsetFetchResponse {
    match harness.call(api_version, Request::OffsetFetch(request)) {
        Response::OffsetFetch(response) => response,
        other => panic!("{other:?}"),
    }
}

fn committed(harness: &mut Harness, api_version: i16, request: Request) -> i16 {
    match harness.call(api_version, request) {
        Response::OffsetCommit(response) => response.topics[0].partitions[0].error_code,
        other => panic!("{other:?}"),
    }
}

#[test]
fn commit_errors() {
    let mut harness = Harness::new();
    let ids = harness.stable(2);
    let good = || commit_request(&ids[0], 1, "orders", 1);
    for (error, api_version, request) in [
        (
            ResponseError::IllegalGeneration,
            9,
            good().with_generation_id_or_member_epoch(2),
        ),
        (
            ResponseError::IllegalGeneration,
            9,
            good().with_generation_id_or_member_epoch(-1),
        ),
        (
            ResponseError::UnknownMemberId,
            9,
            good().with_member_id(text("nobody")),
        ),
        (
            ResponseError::UnknownMemberId,
            9,
            good().with_group_instance_id(Some(text("i"))),
        ),
        // One without a generation must not disturb a group with members.
        (
            ResponseError::UnknownMemberId,
            9,
            commit_request("", -1, "orders", 1),
        ),
        (
            ResponseError::GroupIdNotFound,
            9,
            good().with_group_id(group_id("other")),
        ),
        (
            ResponseError::IllegalGeneration,
            8,
            good().with_group_id(group_id("other")),
        ),
        (
            ResponseError::InvalidGroupId,
            9,
            commit_request("", -1, "orders", 1).with_group_id(group_id(&"g".repeat(40_000))),
        ),
        (
            ResponseError::UnknownTopicOrPartition,
            9,
            commit_request(&ids[0], 1, &"t".repeat(250), 1),
        ),
    ] {
        let told = committed(
            &mut harness,
            api_version,
            Request::OffsetCommit(request.clone()),
        );
        assert_eq!(told, error.code(), "{request:?}");
    }
    assert_eq!(harness.offsets(), []);
    assert_eq!(committed(&mut harness, 9, Request::OffsetCommit(good())), 0);
}

#[test]
fn too_much_metadata_is_refused_for_its_partition_alone() {
    let mut harness = Harness::new();
    let mut request = commit_request("", -1, "orders", 1);
    let partition = request.topics[0].partitions[0].clone();
    let metadata = |index: i32, metadata: String| {
        partition
            .clone()
            .with_partition_index(index)
            .with_committed_metadata(Some(text(&metadata)))
    };
    request.topics[0].partitions = vec![
        metadata(0, "m".repeat(4_096)),
        metadata(1, "m".repeat(4_097)),
        // Kafka counts UTF-16 units, not bytes.
        metadata(2, "é".repeat(4_096)),
        partition
            .clone()
            .with_partition_index(3)
            .with_committed_metadata(None),
    ];
    let Response::OffsetCommit(response) = harness.call(9, Request::OffsetCommit(request.clone()))
    else {
        panic!("no OffsetCommit response");
    };
    let errors: Vec<i16> = response.topics[0]
        .partitions
        .iter()
        .map(|p| p.error_code)
        .collect();
    assert_eq!(
        errors,
        [0, ResponseError::OffsetMetadataTooLarge.code(), 0, 0]
    );
    let indexes: Vec<i32> = harness
        .offsets()
        .into_iter()
        .map(|(_, index, _)| index)
        .collect();
    assert_eq!(indexes, [0, 2, 3]);

    request.topics[0].partitions = vec![metadata(1, "m".repeat(4_097))];
    let error_code = committed(&mut harness, 9, Request::OffsetCommit(request));
    assert_eq!(error_code, ResponseError::OffsetMetadataTooLarge.code());
}

#[test]
fn a_consumer_that_assigns_itself_needs_no_group() {
    for api_version in 2..=9 {
        let mut harness = Harness::new();
        let mut request = commit_request("", -1, "orders", 12);
        if api_version < 6 {
            request.topics[0].partitions[0].committed_leader_epoch = -1;
        }
        assert_eq!(
            committed(&mut harness, api_version, Request::OffsetCommit(request)),
            0
        );
        assert_eq!(harness.state(), "Empty");
        harness.restart();
        assert_eq!(harness.state(), "Empty");
        assert_eq!(harness.offsets(), [("orders".to_owned(), 0, 12)]);
    }
}

#[test]
fn commits_keep_a_member_alive() {
    let mut harness = Harness::new();
    let ids = harness.stable(1);
    for offset in 0..5 {
        harness.advance(9_000);
        assert_eq!(harness.commit(&ids[0], 1, "orders", offset), 0);
    }
    assert_eq!(harness.heartbeat(&ids[0], 1), 0);
}

#[test]
fn fetch_tells_offsets_of_every_version_and_what_was_never_committed() {
    let mut harness = Harness::new();
    assert_eq!(harness.commit("", -1, "orders", 12), 0);
    for api_version in 1..=7 {
        let topic = OffsetFetchRequestTopic::default()
            .with_name(TopicName(text("orders")))
            .with_partition_indexes(vec![0, 1]);
        let request = OffsetFetchRequest::default()
            .with_group_id(group_id(GROUP))
            .with_topics(Some(vec![topic]));
        let response = fetched(&mut harness, api_version, request.clone());
        let known = &response.topics[0].partitions[0];
        assert_eq!((known.committed_offset, known.error_code), (12, 0));
        assert_eq!(
            (known.committed_leader_epoch, known.metadata.as_deref()),
            (4, Some("metadata"))
        );
        let unknown = &response.topics[0].partitions[1];
        assert_eq!((unknown.committed_offset, unknown.error_code), (-1, 0));
        assert_eq!(
            (unknown.committed_leader_epoch, unknown.metadata.as_deref()),
            (-1, Some(""))
        );

        let missing = fetched(
            &mut harness,
            api_version,
            request.with_group_id(group_id("other")),
        );
        assert_eq!(missing.error_code, 0);
        assert_eq!(missing.topics[0].partitions[0].committed_offset, -1);
        if api_version >= 2 {
            let all = OffsetFetchRequest::default()
                .with_group_id(group_id(GROUP))
                .with_topics(None);
            let all = fetched(&mut harness, api_version, all);
            assert_eq!((all.topics.len(), all.topics[0].partitions.len()), (1, 1));
        }
    }
    for api_version in 8..=9 {
        let topic = OffsetFetchRequestTopics::default()
            .with_name(TopicName(text("orders")))
            .with_partition_indexes(vec![0, 1]);
        let named = OffsetFetchRequestGroup::default()
            .with_group_id(group_id(GROUP))
            .with_topics(Some(vec![topic]));
        let all = OffsetFetchRequestGroup::default()
            .with_group_id(group_id(GROUP))
            .with_topics(None);
        let other = all.clone().with_group_id(group_id("other"));
        let request = OffsetFetchRequest::default().with_groups(vec![named, all, other]);
        let response = fetched(&mut harness, api_version, request);
        let offsets: Vec<Vec<i64>> = response
            .groups
            .iter()
            .map(|group| {
                let partitions = group.topics.iter().flat_map(|topic| &topic.partitions);
                partitions
                    .map(|partition| partition.committed_offset)
                    .collect()
            })
            .collect();
        assert_eq!(offsets, [vec![12, -1], vec![12], vec![]]);
    }
}

#[test]
fn an_offset_is_visible_only_after_its_append() {
    let mut harness = Harness::new();
    harness.confirms = false;
    let request = commit_request("", -1, "orders", 1);
    let waiter = harness.send(9, Request::OffsetCommit(request));
    assert!(harness.is_open(waiter));
    assert_eq!(harness.offsets(), []);
    harness.confirm();
    assert!(!harness.is_open(waiter));
    assert_eq!(harness.offsets(), [("orders".to_owned(), 0, 1)]);
}

#[test]
fn who_requires_stable_offsets_waits_for_a_commit_under_way() {
    let mut harness = Harness::new();
    harness.confirms = false;
    harness.send(
        9,
        Request::OffsetCommit(commit_request("", -1, "orders", 1)),
    );
    let other = commit_request("", -1, "orders", 9).with_group_id(group_id("other"));
    harness.send(9, Request::OffsetCommit(other));
    let request = || {
        let all = OffsetFetchRequestGroup::default()
            .with_group_id(group_id(GROUP))
            .with_topics(None);
        let request = OffsetFetchRequest::default().with_groups(vec![all]);
        Request::OffsetFetch(request.with_require_stable(true))
    };
    let waiter = harness.send(9, request());
    assert!(harness.is_open(waiter));
    harness.confirm();
    let Response::OffsetFetch(response) = harness.take(waiter) else {
        panic!()
    };
    assert_eq!(
        response.groups[0].topics[0].partitions[0].committed_offset,
        1
    );
    // The other group's commit, still under way, is no concern of this one's.
    let Response::OffsetFetch(_) = harness.call(9, request()) else {
        panic!()
    };
}

#[test]
fn offsets_of_a_former_topic_of_the_same_name_are_not_told() {
    let mut harness = Harness::new();
    let mut request = commit_request("", -1, "orders", 7);
    request.topics[0].topic_id = Uuid::from_u128(1);
    assert_eq!(
        committed(&mut harness, 9, Request::OffsetCommit(request)),
        0
    );
    harness.restart();
    for (topic_id, offset) in [(0, 7), (1, 7), (2, -1)] {
        let topic = OffsetFetchRequestTopics::default()
            .with_name(TopicName(text("orders")))
            .with_topic_id(Uuid::from_u128(topic_id))
            .with_partition_indexes(vec![0]);
        let group = OffsetFetchRequestGroup::default()
            .with_group_id(group_id(GROUP))
            .with_topics(Some(vec![topic]));
        let request = OffsetFetchRequest::default().with_groups(vec![group]);
        let response = fetched(&mut harness, 9, request);
        assert_eq!(
            response.groups[0].topics[0].partitions[0].committed_offset,
            offset
        );
    }
}
