//! ConsumerGroupHeartbeat and ConsumerGroupDescribe (KIP-848).

use foz_protocol::error::ErrorCode;
use kafka_protocol::messages::consumer_group_describe_response::DescribedGroup;
use kafka_protocol::messages::{
    ConsumerGroupDescribeRequest, ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse,
    DescribeGroupsRequest, ListGroupsRequest,
};

use super::super::connection::{
    Connection, Topic, error, eventually, group_id, text, topic_name, versions_of,
};
use super::{committed, delete, join_request, wait_for_coordinator};

/// READ, DELETE and DESCRIBE.
const GROUP_OPERATIONS: i32 = 1 << 3 | 1 << 6 | 1 << 8;
/// From this version on members make their ids themselves, and may subscribe to a regular expression.
const MEMBER_ID_FROM: i16 = 1;

pub(super) fn check(connection: &mut Connection, topic: &Topic) {
    for version in versions_of::<ConsumerGroupHeartbeatRequest>() {
        a_group_lives(connection, version, topic);
        bad_requests_are_refused(connection, version);
        if version >= MEMBER_ID_FROM {
            regular_expressions_match(connection, version, topic);
            expressions_of_exponential_time_hold_up_nobody(connection, version, topic);
        }
    }
}

fn a_group_lives(connection: &mut Connection, version: i16, topic: &Topic) {
    let group = format!("consumer-group-{version}");
    wait_for_coordinator(connection, &group);
    let unknown = describe(connection, version, &group);
    assert_eq!(error(unknown.error_code), ErrorCode::GroupIdNotFound);
    assert_eq!(unknown.authorized_operations, i32::MIN);

    let joined = connection.call(version, &join(version, &group));
    assert_eq!(error(joined.error_code), ErrorCode::None, "{joined:?}");
    assert_eq!(
        (joined.member_epoch, joined.heartbeat_interval_ms),
        (1, 5_000)
    );
    let member = joined.member_id.clone().unwrap().to_string();
    assert!(!member.is_empty());
    assert_eq!(assigned(&joined), [(topic.id, vec![0, 1])]);
    let beaten = connection.call(version, &request(&group, &member, 1));
    assert_eq!(error(beaten.error_code), ErrorCode::None);
    assert_eq!((beaten.member_epoch, beaten.assignment), (1, None));

    let described = describe(connection, version, &group);
    assert_eq!(error(described.error_code), ErrorCode::None);
    assert_eq!(described.group_state, text("Stable"));
    assert_eq!(described.assignor_name, text("uniform"));
    assert_eq!((described.group_epoch, described.assignment_epoch), (1, 1));
    assert_eq!(described.authorized_operations, GROUP_OPERATIONS);
    let [described] = &described.members[..] else {
        panic!("{described:?}");
    };
    assert_eq!(described.client_host, text("/127.0.0.1"));
    assert_eq!(described.member_id, text(&member));
    assert_eq!(described.member_type, if version >= 1 { 1 } else { -1 });
    for assignment in [&described.assignment, &described.target_assignment] {
        let [described] = &assignment.topic_partitions[..] else {
            panic!("{assignment:?}");
        };
        assert_eq!(described.topic_name, topic_name(&topic.name));
        assert_eq!(described.partitions, [0, 1]);
    }
    let classic = DescribeGroupsRequest::default().with_groups(vec![group_id(&group)]);
    let classic = connection.call(6, &classic).groups.remove(0);
    assert_eq!(error(classic.error_code), ErrorCode::GroupIdNotFound);
    assert_eq!(types(connection, &group), ["consumer"]);

    for (member, epoch, expected) in [
        (member.as_str(), 1, ErrorCode::None),
        (&member, 2, ErrorCode::StaleMemberEpoch),
        ("nobody", 1, ErrorCode::UnknownMemberId),
    ] {
        assert_eq!(commit(connection, &group, member, epoch), expected);
    }
    let left = connection.call(version, &request(&group, &member, -1));
    assert_eq!(
        (error(left.error_code), left.member_epoch),
        (ErrorCode::None, -1)
    );
    let described = describe(connection, version, &group);
    assert_eq!(described.group_state, text("Empty"));
    assert_eq!(delete(connection, 2, &group), ErrorCode::None);
    assert_eq!(types(connection, &group), [""; 0]);
}

fn bad_requests_are_refused(connection: &mut Connection, version: i16) {
    let group = format!("bad-consumer-group-{version}");
    for asked in [&group, ""] {
        wait_for_coordinator(connection, asked);
    }
    let refused = |connection: &mut Connection, request: &ConsumerGroupHeartbeatRequest| {
        let response = connection.call(version, request);
        assert_eq!(response.assignment, None);
        if error(response.error_code) != ErrorCode::None {
            let message = response.error_message.as_deref();
            assert!(
                message.is_some_and(|message| !message.is_empty()),
                "{response:?}"
            );
        }
        error(response.error_code)
    };
    for epoch in [-1, 1] {
        let unknown = request(&group, "nobody", epoch);
        assert_eq!(refused(connection, &unknown), ErrorCode::GroupIdNotFound);
    }
    let mut bad = vec![
        (
            join(version, &group).with_group_id(group_id("")),
            ErrorCode::InvalidRequest,
        ),
        (
            join(version, &group).with_rebalance_timeout_ms(-1),
            ErrorCode::InvalidRequest,
        ),
        (
            join(version, &group).with_topic_partitions(None),
            ErrorCode::InvalidRequest,
        ),
        (
            join(version, &group).with_member_epoch(-3),
            ErrorCode::InvalidRequest,
        ),
        (
            join(version, &group).with_server_assignor(Some(text("unheard-of"))),
            ErrorCode::UnsupportedAssignor,
        ),
    ];
    if version >= MEMBER_ID_FROM {
        bad.push((
            join(version, &group).with_member_id(text("")),
            ErrorCode::InvalidRequest,
        ));
        let longest = "a".repeat(4_097);
        for regex in ["(", "a)|(b", "(?:a{1000}){1000}", "[", &longest] {
            let with_regex = join(version, &group).with_subscribed_topic_regex(Some(text(regex)));
            bad.push((with_regex, ErrorCode::InvalidRegularExpression));
        }
    }
    for (request, expected) in bad {
        assert_eq!(refused(connection, &request), expected, "{request:?}");
    }
    assert_eq!(types(connection, &group), [""; 0]);

    let joined = connection.call(version, &join(version, &group));
    let member = joined.member_id.unwrap().to_string();
    for (member, epoch, expected) in [
        (member.as_str(), 2, ErrorCode::FencedMemberEpoch),
        ("nobody", 1, ErrorCode::UnknownMemberId),
    ] {
        let request = request(&group, member, epoch);
        assert_eq!(refused(connection, &request), expected);
    }
    // A member of the classic protocol comes in, once it has an id.
    let classic = join_request(9, &group, text(""), None);
    let classic = connection.call(9, &classic);
    assert_eq!(error(classic.error_code), ErrorCode::MemberIdRequired);
    let left = connection.call(version, &request(&group, &member, -1));
    assert_eq!(error(left.error_code), ErrorCode::None);
}

fn regular_expressions_match(connection: &mut Connection, version: i16, topic: &Topic) {
    let group = format!("regex-consumer-group-{version}");
    wait_for_coordinator(connection, &group);
    let regex = format!("{}|unheard.*of", topic.name);
    let joining = join(version, &group)
        .with_subscribed_topic_names(Some(vec![]))
        .with_subscribed_topic_regex(Some(text(&regex)));
    let joined = connection.call(version, &joining);
    assert_eq!(error(joined.error_code), ErrorCode::None);
    let member = joined.member_id.unwrap().to_string();
    let mut epoch = joined.member_epoch;
    eventually(|| {
        let beaten = connection.call(version, &request(&group, &member, epoch));
        assert_eq!(error(beaten.error_code), ErrorCode::None);
        epoch = beaten.member_epoch;
        match &assigned(&beaten)[..] {
            [(id, partitions)] if *id == topic.id && *partitions == [0, 1] => Ok(()),
            _ => Err(format!("{beaten:?}")),
        }
    });
    let left = connection.call(version, &request(&group, &member, -1));
    assert_eq!(error(left.error_code), ErrorCode::None);
}

/// Whoever goes back and tries the next way would not end with this topic before the sun does.
fn expressions_of_exponential_time_hold_up_nobody(
    connection: &mut Connection,
    version: i16,
    topic: &Topic,
) {
    let longest = "a".repeat(249);
    if connection.topic(12, &longest).error_code != 0 {
        connection.create_topic(&longest, 1);
    }
    let group = format!("slow-regex-consumer-group-{version}");
    let other = format!("beside-slow-regex-consumer-group-{version}");
    for group in [&group, &other] {
        wait_for_coordinator(connection, group);
    }
    let beside = &mut connection.another();
    let joined = beside.call(version, &join(version, &other));
    assert_eq!(error(joined.error_code), ErrorCode::None);
    let neighbour = joined.member_id.unwrap().to_string();

    let regex = format!("(a+)+b|(a|aa)+c|(.*a){{25}}d|{}", topic.name);
    let joining = join(version, &group)
        .with_subscribed_topic_names(Some(vec![]))
        .with_subscribed_topic_regex(Some(text(&regex)));
    let joined = connection.call(version, &joining);
    assert_eq!(error(joined.error_code), ErrorCode::None);
    let member = joined.member_id.unwrap().to_string();
    let mut epoch = joined.member_epoch;
    eventually(|| {
        let beaten = beside.call(version, &request(&other, &neighbour, 1));
        assert_eq!(error(beaten.error_code), ErrorCode::None);
        let beaten = connection.call(version, &request(&group, &member, epoch));
        assert_eq!(error(beaten.error_code), ErrorCode::None);
        epoch = beaten.member_epoch;
        match &assigned(&beaten)[..] {
            [(id, _)] if *id == topic.id => Ok(()),
            _ => Err(format!("{beaten:?}")),
        }
    });
    // Each over the connection that it came by.
    for (connection, group, member) in [(connection, &group, &member), (beside, &other, &neighbour)]
    {
        let left = connection.call(version, &request(group, member, -1));
        assert_eq!(error(left.error_code), ErrorCode::None);
    }
}

fn request(group: &str, member: &str, epoch: i32) -> ConsumerGroupHeartbeatRequest {
    ConsumerGroupHeartbeatRequest::default()
        .with_group_id(group_id(group))
        .with_member_id(text(member))
        .with_member_epoch(epoch)
        .with_rebalance_timeout_ms(-1)
        .with_subscribed_topic_names(None)
        .with_topic_partitions(None)
}

fn join(version: i16, group: &str) -> ConsumerGroupHeartbeatRequest {
    let member = if version >= MEMBER_ID_FROM {
        "member"
    } else {
        ""
    };
    request(group, member, 0)
        .with_rebalance_timeout_ms(10_000)
        .with_subscribed_topic_names(Some(vec![topic_name(committed::TOPIC)]))
        .with_topic_partitions(Some(vec![]))
}

fn assigned(response: &ConsumerGroupHeartbeatResponse) -> Vec<(uuid::Uuid, Vec<i32>)> {
    let assignment = response.assignment.iter();
    let topics = assignment.flat_map(|assignment| &assignment.topic_partitions);
    topics
        .map(|topic| (topic.topic_id, topic.partitions.clone()))
        .collect()
}

fn describe(connection: &mut Connection, version: i16, group: &str) -> DescribedGroup {
    let request = ConsumerGroupDescribeRequest::default()
        .with_group_ids(vec![group_id(group)])
        .with_include_authorized_operations(true);
    let mut response = connection.call(version, &request);
    let described = response.groups.remove(0);
    assert_eq!(described.group_id, group_id(group));
    described
}

/// Its type, if it is listed.
fn types(connection: &mut Connection, group: &str) -> Vec<String> {
    let response = eventually(|| {
        let response = connection.call(5, &ListGroupsRequest::default());
        match error(response.error_code) {
            ErrorCode::None => Ok(response),
            error => Err(error),
        }
    });
    let groups = response.groups.into_iter();
    let groups = groups.filter(|listed| listed.group_id == group_id(group));
    groups.map(|listed| listed.group_type.to_string()).collect()
}

fn commit(connection: &mut Connection, group: &str, member: &str, epoch: i32) -> ErrorCode {
    committed::commit(connection, 9, group, text(member), epoch)[0].1
}
