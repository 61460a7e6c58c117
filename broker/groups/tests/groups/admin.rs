use foz_groups::{GroupState, Request, Response, Route, merge, partition_for, split};
use kafka_protocol::ResponseError;
use kafka_protocol::messages::offset_delete_request::{
    OffsetDeleteRequestPartition, OffsetDeleteRequestTopic,
};
use kafka_protocol::messages::*;

use crate::harness::*;

fn delete(harness: &mut Harness, names: &[&str]) -> Vec<(String, i16)> {
    let names = names.iter().map(|name| group_id(name)).collect();
    let request = DeleteGroupsRequest::default().with_groups_names(names);
    match harness.call(2, Request::DeleteGroups(request)) {
        Response::DeleteGroups(response) => {
            let results = response.results.into_iter();
            results
                .map(|result| (result.group_id.to_string(), result.error_code))
                .collect()
        }
        other => panic!("{other:?}"),
    }
}

fn delete_offsets(harness: &mut Harness, group: &str, topics: &[&str]) -> (i16, Vec<i16>) {
    let topics = topics.iter().map(|name| {
        let partitions =
            [0, 1].map(|index| OffsetDeleteRequestPartition::default().with_partition_index(index));
        OffsetDeleteRequestTopic::default()
            .with_name(TopicName(text(name)))
            .with_partitions(partitions.to_vec())
    });
    let request = OffsetDeleteRequest::default()
        .with_group_id(group_id(group))
        .with_topics(topics.collect());
    match harness.call(0, Request::OffsetDelete(request)) {
        Response::OffsetDelete(response) => {
            let partitions = response.topics.iter().flat_map(|topic| &topic.partitions);
            (
                response.error_code,
                partitions.map(|partition| partition.error_code).collect(),
            )
        }
        other => panic!("{other:?}"),
    }
}

fn list(harness: &mut Harness, states: &[&str], types: &[&str]) -> Vec<(String, String, String)> {
    let request = ListGroupsRequest::default()
        .with_states_filter(states.iter().map(|state| text(state)).collect())
        .with_types_filter(types.iter().map(|name| text(name)).collect());
    match harness.call(5, Request::ListGroups(request)) {
        Response::ListGroups(response) => {
            let groups = response.groups.into_iter().map(|group| {
                assert_eq!(group.group_type.as_str(), "classic");
                let protocol_type = group.protocol_type.to_string();
                (
                    group.group_id.to_string(),
                    protocol_type,
                    group.group_state.to_string(),
                )
            });
            groups.collect()
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn only_an_empty_group_can_be_deleted() {
    let mut harness = Harness::new();
    let ids = harness.stable(1);
    assert_eq!(harness.commit(&ids[0], 1, "orders", 3), 0);
    let non_empty = ResponseError::NonEmptyGroup.code();
    let not_found = ResponseError::GroupIdNotFound.code();
    assert_eq!(
        delete(&mut harness, &[GROUP, "other", GROUP]),
        [
            (GROUP.to_owned(), non_empty),
            ("other".to_owned(), not_found)
        ]
    );
    assert_eq!(harness.leave(&ids[0]), 0);
    assert_eq!(delete(&mut harness, &[GROUP]), [(GROUP.to_owned(), 0)]);
    assert_eq!(harness.state(), "Dead");
    assert_eq!(harness.offsets(), []);
    assert_eq!(
        delete(&mut harness, &[GROUP]),
        [(GROUP.to_owned(), not_found)]
    );
    harness.restart();
    assert_eq!(harness.state(), "Dead");
    assert_eq!(harness.offsets(), []);
}

#[test]
fn offsets_in_use_cannot_be_deleted() {
    let mut harness = Harness::new();
    let ids = harness.stable(1);
    assert_eq!(harness.commit(&ids[0], 1, "orders", 3), 0);
    assert_eq!(harness.commit(&ids[0], 1, "old", 4), 0);
    let subscribed = ResponseError::GroupSubscribedToTopic.code();
    assert_eq!(
        delete_offsets(&mut harness, GROUP, &["orders", "old"]),
        (0, vec![subscribed, subscribed, 0, 0])
    );
    assert_eq!(harness.offsets(), [("orders".to_owned(), 0, 3)]);
    // Nothing is left to delete, which is no error and no append.
    assert_eq!(
        delete_offsets(&mut harness, GROUP, &["old"]),
        (0, vec![0, 0])
    );

    assert_eq!(harness.leave(&ids[0]), 0);
    assert_eq!(
        delete_offsets(&mut harness, GROUP, &["orders"]),
        (0, vec![0, 0])
    );
    assert_eq!(harness.offsets(), []);
}

#[test]
fn offset_delete_errors() {
    let mut harness = Harness::new();
    let error = ResponseError::GroupIdNotFound.code();
    assert_eq!(
        delete_offsets(&mut harness, GROUP, &["orders"]),
        (error, vec![])
    );
    let error = ResponseError::InvalidGroupId.code();
    assert_eq!(
        delete_offsets(&mut harness, "", &["orders"]),
        (error, vec![])
    );
    // Of members that are no consumers nobody knows what they use.
    harness.send(
        3,
        Request::JoinGroup(join_request("").with_protocol_type(text("connect"))),
    );
    let error = ResponseError::NonEmptyGroup.code();
    assert_eq!(
        delete_offsets(&mut harness, GROUP, &["orders"]),
        (error, vec![])
    );
}

#[test]
fn describe_tells_protocol_and_members_of_a_stable_group() {
    let mut harness = Harness::new();
    let ids = harness.stable(2);
    let (state, protocol, members) = harness.describe();
    assert_eq!((state.as_str(), protocol.as_str()), ("Stable", "range"));
    let expected: Vec<(String, String)> = ids.iter().map(|id| (id.clone(), id.clone())).collect();
    assert_eq!(members, expected);

    let request = DescribeGroupsRequest::default().with_groups(vec![group_id(GROUP)]);
    let Response::DescribeGroups(response) = harness.call(6, Request::DescribeGroups(request))
    else {
        panic!("no DescribeGroups response");
    };
    let member = &response.groups[0].members[0];
    assert_eq!(response.groups[0].protocol_type.as_str(), "consumer");
    assert_eq!(
        (member.client_id.as_str(), member.client_host.as_str()),
        ("client", "/192.0.2.1")
    );
    assert_eq!(member.member_metadata, subscription("orders"));
    assert_eq!(response.groups[0].authorized_operations, i32::MIN);

    harness.leave(&ids[0]);
    let (state, protocol, members) = harness.describe();
    assert_eq!(
        (state.as_str(), protocol.as_str(), members.len()),
        ("PreparingRebalance", "", 1)
    );
}

#[test]
fn a_group_that_is_not_there_is_dead() {
    let mut harness = Harness::new();
    for (api_version, error_code) in [(0, 0), (5, 0), (6, ResponseError::GroupIdNotFound.code())] {
        let request = DescribeGroupsRequest::default().with_groups(vec![group_id("x")]);
        let response = harness.call(api_version, Request::DescribeGroups(request));
        let Response::DescribeGroups(response) = response else {
            panic!("{response:?}")
        };
        let group = &response.groups[0];
        assert_eq!(
            (group.group_state.as_str(), group.error_code),
            ("Dead", error_code)
        );
        assert_eq!(group.error_message.is_some(), api_version >= 6);
    }
}

#[test]
fn lists_by_state_and_type() {
    let mut harness = Harness::new();
    harness.stable(1);
    let simple = commit_request("", -1, "orders", 1).with_group_id(group_id("simple"));
    harness.call(9, Request::OffsetCommit(simple));
    let stable = (GROUP.to_owned(), "consumer".to_owned(), "Stable".to_owned());
    let empty = ("simple".to_owned(), String::new(), "Empty".to_owned());
    let both = [stable.clone(), empty.clone()];
    for (states, types, expected) in [
        (&[][..], &[][..], &both[..]),
        (&["Stable", "Empty"], &["Classic"], &both),
        (&[" stable "], &[], &[stable]),
        (&["EMPTY"], &["consumer", "classic"], &[empty]),
        (&["Dead"], &[], &[]),
        (&["nonsense"], &[], &[]),
        (&[], &["consumer"], &[]),
        (&[], &["nonsense"], &[]),
    ] {
        assert_eq!(
            list(&mut harness, states, types),
            expected,
            "{states:?} {types:?}"
        );
    }
    let counts = harness.coordinator.counts();
    assert_eq!(counts.classic(GroupState::Stable), 1);
    assert_eq!(counts.classic(GroupState::Empty), 1);
    assert_eq!(counts.by_protocol(), [("classic", 2), ("consumer", 0)]);
    assert_eq!(counts.classic_rebalances, 1);
    for api_version in 0..=4 {
        harness.call(
            api_version,
            Request::ListGroups(ListGroupsRequest::default()),
        );
    }
}

#[test]
fn a_request_for_many_groups_is_cut_by_partition_and_put_together() {
    let names: Vec<String> = (0..100).map(|index| format!("group-{index}")).collect();
    let request = DescribeGroupsRequest::default()
        .with_groups(names.iter().map(|name| group_id(name)).collect())
        .with_include_authorized_operations(true);
    let parts = split(Request::DescribeGroups(request), 5, 50);
    let mut answers = Vec::new();
    for (route, part) in parts {
        let Request::DescribeGroups(part) = part else {
            panic!("{part:?}")
        };
        assert!(part.include_authorized_operations);
        for name in &part.groups {
            assert_eq!(route, Route::Partition(partition_for(name, 50)));
        }
        answers.push(Harness::new().call(5, Request::DescribeGroups(part)));
    }
    let empty = Response::DescribeGroups(DescribeGroupsResponse::default());
    let Response::DescribeGroups(whole) = merge(answers, empty.clone()) else {
        panic!()
    };
    let mut told: Vec<String> = whole
        .groups
        .iter()
        .map(|group| group.group_id.to_string())
        .collect();
    told.sort_unstable();
    let mut names = names;
    names.sort_unstable();
    assert_eq!(told, names);
    assert_eq!(merge(Vec::new(), empty.clone()), empty);

    let no_groups = Request::DeleteGroups(DeleteGroupsRequest::default());
    assert_eq!(split(no_groups, 2, 50), []);
    let list = Request::ListGroups(ListGroupsRequest::default());
    assert_eq!(split(list.clone(), 5, 50), [(Route::Every, list)]);
    let join = Request::JoinGroup(join_request(""));
    assert_eq!(
        split(join.clone(), 5, 50),
        [(Route::Partition(partition_for(GROUP, 50)), join)]
    );
}

#[test]
fn a_refused_request_is_answered_in_its_own_form() {
    let error = ResponseError::NotCoordinator;
    let commit = Request::OffsetCommit(commit_request("", -1, "orders", 1));
    let Response::OffsetCommit(response) = commit.error_response(9, error) else {
        panic!()
    };
    assert_eq!(response.topics[0].partitions[0].error_code, error.code());
    let beat = Request::Heartbeat(heartbeat_request("m", 1));
    for (error, error_code) in [
        (
            ResponseError::NotCoordinator,
            ResponseError::NotCoordinator.code(),
        ),
        (ResponseError::CoordinatorLoadInProgress, 0),
    ] {
        let Response::Heartbeat(response) = beat.error_response(4, error) else {
            panic!()
        };
        assert_eq!(response.error_code, error_code);
    }
}
