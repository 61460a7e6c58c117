//! FindCoordinator and the group APIs: one whole life of a group in each version.

use bytes::Bytes;
use foz_protocol::error::ErrorCode;
use kafka_protocol::messages::describe_groups_response::DescribedGroup;
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use kafka_protocol::messages::{
    BrokerId, DeleteGroupsRequest, DescribeGroupsRequest, FindCoordinatorRequest, HeartbeatRequest,
    JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest, ListGroupsRequest, SyncGroupRequest,
};
use kafka_protocol::protocol::StrBytes;

use super::connection::{Connection, error, eventually, group_id, nearest, text, versions_of};

mod committed;
mod consumer_groups;

const PROTOCOL_TYPE: &str = "consumer";
const PROTOCOL: &str = "range";
const METADATA: &[u8] = &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
const ASSIGNMENT: &[u8] = b"assignment";
const STATIC_MEMBERS_FROM: i16 = 5;

pub(super) fn check(connection: &mut Connection) {
    let topic = connection.create_topic(committed::TOPIC, 2);
    coordinators_are_found(connection);
    // Every API of groups has at most as many versions as JoinGroup.
    for version in versions_of::<JoinGroupRequest>() {
        a_group_lives(connection, version);
        unknown_groups_are_refused(connection, version);
        if version >= STATIC_MEMBERS_FROM {
            a_static_member_comes_back(connection, version);
        }
    }
    several_groups_are_asked_for_at_once(connection);
    committed::check(connection);
    consumer_groups::check(connection, &topic);
}

fn coordinators_are_found(connection: &mut Connection) {
    for version in versions_of::<FindCoordinatorRequest>() {
        eventually(|| match find(connection, version, "found", 0) {
            (ErrorCode::None, node_id) => {
                assert_eq!(node_id, 0);
                Ok(())
            }
            (error, _) => Err(error),
        });
        let refused = find(connection, version, "", 0).0;
        assert_eq!(refused, ErrorCode::InvalidGroupId, "{version}");
        if version >= 1 {
            eventually(|| match find(connection, version, "transaction", 1) {
                (ErrorCode::None, 0) => Ok(()),
                other => Err(other),
            });
            let refused = find(connection, version, "share:0:0", 2).0;
            assert_eq!(refused, ErrorCode::InvalidRequest, "{version}");
        }
        if version >= 4 {
            let keys = vec![text("a"), text(""), text("b")];
            let request = FindCoordinatorRequest::default().with_coordinator_keys(keys.clone());
            let response = connection.call(version, &request);
            let answered: Vec<StrBytes> = response
                .coordinators
                .iter()
                .map(|found| found.key.clone())
                .collect();
            assert_eq!(answered, keys);
        }
    }
}

fn find(connection: &mut Connection, version: i16, key: &str, key_type: i8) -> (ErrorCode, i32) {
    let request = FindCoordinatorRequest::default().with_key_type(key_type);
    let request = if version >= 4 {
        request.with_coordinator_keys(vec![text(key)])
    } else {
        request.with_key(text(key))
    };
    let response = connection.call(version, &request);
    let (code, node_id, port) = match &response.coordinators[..] {
        [found] if version >= 4 => (found.error_code, found.node_id, found.port),
        _ => (response.error_code, response.node_id, response.port),
    };
    let is_found = error(code) == ErrorCode::None;
    let own = i32::from(connection.broker.kafka_port);
    assert_eq!(port, if is_found { own } else { -1 }, "{version}");
    assert_eq!(node_id, BrokerId(if is_found { 0 } else { -1 }));
    (error(code), node_id.0)
}

/// Waits until the coordinator of a group has loaded.
pub(super) fn wait_for_coordinator(connection: &mut Connection, group: &str) {
    let request = DescribeGroupsRequest::default().with_groups(vec![group_id(group)]);
    eventually(|| {
        let response = connection.call(5, &request);
        match error(response.groups[0].error_code) {
            ErrorCode::None => Ok(()),
            error => Err(error),
        }
    });
}

fn a_group_lives(connection: &mut Connection, version: i16) {
    let group = format!("group-{version}");
    wait_for_coordinator(connection, &group);
    let joined = join(connection, version, &group, None);
    assert_eq!(joined.generation_id, 1);
    assert_eq!(joined.leader, joined.member_id);
    assert_eq!(joined.protocol_name, Some(text(PROTOCOL)));
    let is_named = joined.protocol_type == Some(text(PROTOCOL_TYPE));
    assert_eq!(is_named, version >= 7);
    let [member] = &joined.members[..] else {
        panic!("{joined:?}");
    };
    assert_eq!(member.member_id, joined.member_id);
    assert_eq!(member.metadata, METADATA);
    let member = &joined.member_id;
    sync(connection, version, &group, member, None);
    assert_eq!(
        beat(connection, version, &group, member, 1),
        ErrorCode::None
    );
    let stale = beat(connection, version, &group, member, 7);
    assert_eq!(stale, ErrorCode::IllegalGeneration);

    let described = describe(connection, version, &group);
    assert_eq!(error(described.error_code), ErrorCode::None);
    assert_eq!(described.group_state, text("Stable"));
    assert_eq!(described.protocol_type, text(PROTOCOL_TYPE));
    assert_eq!(described.protocol_data, text(PROTOCOL));
    assert_eq!(described.members.len(), 1);
    assert_eq!(described.members[0].member_id, *member);
    assert_eq!(described.members[0].client_id, text("test"));
    assert_eq!(described.members[0].client_host, text("/127.0.0.1"));
    assert_eq!(described.members[0].member_assignment, ASSIGNMENT);
    let operations = described.authorized_operations;
    assert_eq!(
        operations > 0,
        nearest::<DescribeGroupsRequest>(version) >= 3
    );
    is_listed(connection, version, &group, "Stable");

    committed::a_member_commits(connection, version, &group, member);
    assert_eq!(
        delete(connection, version, &group),
        ErrorCode::NonEmptyGroup
    );
    assert_eq!(leave(connection, version, &group, member), ErrorCode::None);
    let gone = ErrorCode::UnknownMemberId;
    assert_eq!(leave(connection, version, &group, member), gone);
    assert_eq!(beat(connection, version, &group, member, 1), gone);
    assert_eq!(
        describe(connection, version, &group).group_state,
        text("Empty")
    );
    is_listed(connection, version, &group, "Empty");
    committed::offsets_outlive_members(connection, version, &group);
    assert_eq!(delete(connection, version, &group), ErrorCode::None);
}

fn unknown_groups_are_refused(connection: &mut Connection, version: i16) {
    // The group of before, which was deleted.
    let group = format!("group-{version}");
    let unknown = ErrorCode::UnknownMemberId;
    assert_eq!(
        beat(connection, version, &group, &text("nobody"), 1),
        unknown
    );
    assert_eq!(leave(connection, version, &group, &text("nobody")), unknown);
    let missing = ErrorCode::GroupIdNotFound;
    assert_eq!(delete(connection, version, &group), missing);
    let described = describe(connection, version, &group);
    let told = if nearest::<DescribeGroupsRequest>(version) >= 6 {
        missing
    } else {
        ErrorCode::None
    };
    assert_eq!(error(described.error_code), told, "{version}");
    assert_eq!(described.group_state, text("Dead"));
    let request = join_request(version, &group, text("nobody"), None);
    let response = connection.call(version, &request);
    assert_eq!(error(response.error_code), unknown, "{version}");
    let request = join_request(version, "", StrBytes::default(), None);
    let response = connection.call(version, &request);
    assert_eq!(error(response.error_code), ErrorCode::InvalidGroupId);
    committed::unknown_groups_are_refused(connection, version, &group);
}

/// KIP-345: after a restart without its member id it gets its place back without a rebalance.
fn a_static_member_comes_back(connection: &mut Connection, version: i16) {
    let group = format!("static-{version}");
    let instance = text("instance");
    wait_for_coordinator(connection, &group);
    let first = join(connection, version, &group, Some(&instance));
    let members = &first.members;
    assert_eq!(members[0].group_instance_id, Some(instance.clone()));
    sync(
        connection,
        version,
        &group,
        &first.member_id,
        Some(&instance),
    );
    let request = join_request(version, &group, StrBytes::default(), Some(instance.clone()));
    let second = connection.call(version, &request);
    assert_eq!(error(second.error_code), ErrorCode::None, "{version}");
    assert_eq!(second.generation_id, first.generation_id);
    assert_ne!(second.member_id, first.member_id);
    // From version 9 on the leader is told that it has nothing to assign.
    assert_eq!(second.skip_assignment, version >= 9);
    let fenced = {
        let request = HeartbeatRequest::default()
            .with_group_id(group_id(&group))
            .with_generation_id(first.generation_id)
            .with_member_id(first.member_id)
            .with_group_instance_id(Some(instance.clone()));
        connection.call(nearest::<HeartbeatRequest>(version), &request)
    };
    assert_eq!(error(fenced.error_code), ErrorCode::FencedInstanceId);
    let described = describe(connection, version, &group);
    let told = &described.members[0].group_instance_id;
    assert_eq!(*told, Some(instance.clone()), "{version}");
    // An administrator removes it by its instance id (KIP-571).
    let identity = MemberIdentity::default().with_group_instance_id(Some(instance));
    let request = LeaveGroupRequest::default()
        .with_group_id(group_id(&group))
        .with_members(vec![identity]);
    let response = connection.call(nearest::<LeaveGroupRequest>(version), &request);
    assert_eq!(error(response.error_code), ErrorCode::None);
    assert_eq!(error(response.members[0].error_code), ErrorCode::None);
    assert_eq!(delete(connection, version, &group), ErrorCode::None);
}

/// They belong to different coordinators, whose answers are put together.
fn several_groups_are_asked_for_at_once(connection: &mut Connection) {
    let names: Vec<String> = (0..5).map(|index| format!("several-{index}")).collect();
    for name in &names {
        wait_for_coordinator(connection, name);
    }
    let ids: Vec<_> = names.iter().map(|name| group_id(name)).collect();
    for version in versions_of::<DescribeGroupsRequest>() {
        let request = DescribeGroupsRequest::default().with_groups(ids.clone());
        let response = connection.call(version, &request);
        let mut answered: Vec<_> = response
            .groups
            .into_iter()
            .map(|group| group.group_id)
            .collect();
        answered.sort();
        assert_eq!(answered, ids);
    }
    for version in versions_of::<DeleteGroupsRequest>() {
        let request = DeleteGroupsRequest::default().with_groups_names(ids.clone());
        let response = connection.call(version, &request);
        let mut answered: Vec<_> = response
            .results
            .into_iter()
            .map(|result| {
                assert_eq!(error(result.error_code), ErrorCode::GroupIdNotFound);
                result.group_id
            })
            .collect();
        answered.sort();
        assert_eq!(answered, ids);
    }
}

fn join_request(
    version: i16,
    group: &str,
    member: StrBytes,
    instance: Option<StrBytes>,
) -> JoinGroupRequest {
    let protocol = JoinGroupRequestProtocol::default()
        .with_name(text(PROTOCOL))
        .with_metadata(Bytes::from_static(METADATA));
    let request = JoinGroupRequest::default()
        .with_group_id(group_id(group))
        .with_session_timeout_ms(10_000)
        .with_member_id(member)
        .with_group_instance_id(instance)
        .with_protocol_type(text(PROTOCOL_TYPE))
        .with_protocols(vec![protocol]);
    let request = match version {
        0 => request,
        _ => request.with_rebalance_timeout_ms(10_000),
    };
    if version >= 8 {
        request.with_reason(Some(text("a test")))
    } else {
        request
    }
}

/// Joins alone; from version 4 on a new member is told its id first (KIP-394).
fn join(
    connection: &mut Connection,
    version: i16,
    group: &str,
    instance: Option<&StrBytes>,
) -> JoinGroupResponse {
    let request = join_request(version, group, StrBytes::default(), instance.cloned());
    let mut response = connection.call(version, &request);
    if version >= 4 && instance.is_none() {
        assert_eq!(error(response.error_code), ErrorCode::MemberIdRequired);
        let nothing_chosen = (version < 7).then(|| text(""));
        assert_eq!(response.protocol_name, nothing_chosen, "{version}");
        let request = join_request(version, group, response.member_id, None);
        response = connection.call(version, &request);
    }
    assert_eq!(error(response.error_code), ErrorCode::None, "{version}");
    assert!(!response.skip_assignment);
    response
}

/// The leader assigns to itself.
fn sync(
    connection: &mut Connection,
    version: i16,
    group: &str,
    member: &StrBytes,
    instance: Option<&StrBytes>,
) {
    let version = nearest::<SyncGroupRequest>(version);
    let assignment = SyncGroupRequestAssignment::default()
        .with_member_id(member.clone())
        .with_assignment(Bytes::from_static(ASSIGNMENT));
    let request = SyncGroupRequest::default()
        .with_group_id(group_id(group))
        .with_generation_id(1)
        .with_member_id(member.clone())
        .with_group_instance_id(instance.cloned())
        .with_assignments(vec![assignment]);
    let unnamed = request.clone();
    let request = if version >= 5 {
        // KIP-559: from here on the protocol must be named.
        let response = connection.call(version, &unnamed);
        let refused = ErrorCode::InconsistentGroupProtocol;
        assert_eq!(error(response.error_code), refused);
        request
            .with_protocol_type(Some(text(PROTOCOL_TYPE)))
            .with_protocol_name(Some(text(PROTOCOL)))
    } else {
        request
    };
    let response = connection.call(version, &request);
    assert_eq!(error(response.error_code), ErrorCode::None, "{version}");
    assert_eq!(response.assignment, ASSIGNMENT);
    if version >= 5 {
        assert_eq!(response.protocol_type, Some(text(PROTOCOL_TYPE)));
        assert_eq!(response.protocol_name, Some(text(PROTOCOL)));
    }
}

fn beat(
    connection: &mut Connection,
    version: i16,
    group: &str,
    member: &StrBytes,
    generation: i32,
) -> ErrorCode {
    let request = HeartbeatRequest::default()
        .with_group_id(group_id(group))
        .with_generation_id(generation)
        .with_member_id(member.clone());
    let response = connection.call(nearest::<HeartbeatRequest>(version), &request);
    error(response.error_code)
}

/// Up to version 2 one member leaves and its error is the answer's.
fn leave(connection: &mut Connection, version: i16, group: &str, member: &StrBytes) -> ErrorCode {
    let version = nearest::<LeaveGroupRequest>(version);
    let request = LeaveGroupRequest::default().with_group_id(group_id(group));
    if version < 3 {
        let request = request.with_member_id(member.clone());
        return error(connection.call(version, &request).error_code);
    }
    let identity = MemberIdentity::default().with_member_id(member.clone());
    let identity = if version >= 5 {
        identity.with_reason(Some(text("a test")))
    } else {
        identity
    };
    let response = connection.call(version, &request.with_members(vec![identity]));
    assert_eq!(error(response.error_code), ErrorCode::None);
    assert_eq!(response.members[0].member_id, *member);
    error(response.members[0].error_code)
}

fn describe(connection: &mut Connection, version: i16, group: &str) -> DescribedGroup {
    let version = nearest::<DescribeGroupsRequest>(version);
    let request = DescribeGroupsRequest::default()
        .with_groups(vec![group_id(group)])
        .with_include_authorized_operations(version >= 3);
    let mut response = connection.call(version, &request);
    let described = response.groups.remove(0);
    assert_eq!(described.group_id, group_id(group));
    described
}

fn is_listed(connection: &mut Connection, version: i16, group: &str, state: &str) {
    let version = nearest::<ListGroupsRequest>(version);
    let mut list = |states: &[&str], types: &[&str]| {
        let request = ListGroupsRequest::default()
            .with_states_filter(states.iter().copied().map(text).collect())
            .with_types_filter(types.iter().copied().map(text).collect());
        let response = eventually(|| {
            let response = connection.call(version, &request);
            match error(response.error_code) {
                ErrorCode::None => Ok(response),
                error => Err(error),
            }
        });
        let mut groups = response.groups.into_iter();
        groups.find(|listed| listed.group_id == group_id(group))
    };
    let listed = list(&[], &[]).unwrap();
    assert_eq!(listed.protocol_type, text(PROTOCOL_TYPE), "{version}");
    if version >= 4 {
        assert_eq!(listed.group_state, text(state));
        assert!(list(&[state], &[]).is_some());
        assert!(list(&["Dead"], &[]).is_none());
    }
    if version >= 5 {
        assert_eq!(listed.group_type, text("classic"));
        assert!(list(&[], &["classic"]).is_some());
        assert!(list(&[], &["consumer"]).is_none());
    }
}

fn delete(connection: &mut Connection, version: i16, group: &str) -> ErrorCode {
    let request = DeleteGroupsRequest::default().with_groups_names(vec![group_id(group)]);
    let response = connection.call(nearest::<DeleteGroupsRequest>(version), &request);
    assert_eq!(response.results[0].group_id, group_id(group));
    error(response.results[0].error_code)
}
