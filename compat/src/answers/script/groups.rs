//! Groups of either protocol and their members.

use anyhow::{Context, Result};
use bytes::Bytes;
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use kafka_protocol::messages::{
    ConsumerGroupDescribeRequest, ConsumerGroupHeartbeatRequest, DeleteGroupsRequest,
    DescribeGroupsRequest, FindCoordinatorRequest, HeartbeatRequest, JoinGroupRequest,
    LeaveGroupRequest, ListGroupsRequest, SyncGroupRequest,
};
use kafka_protocol::protocol::StrBytes;

use super::{Asker, ORDERS, group, text, topic};

const CLASSIC: &str = "classic";
const MODERN: &str = "modern";
const NOBODY: &str = "nobody";

pub(super) fn ask(asker: &mut Asker) -> Result<()> {
    coordinators(asker)?;
    strangers(asker)?;
    classic(asker)?;
    modern(asker)?;
    listed(asker)
}

fn coordinators(asker: &mut Asker) -> Result<()> {
    let of = |version: i16, kind: i8, key: &str| {
        let request = FindCoordinatorRequest::default();
        let request = if version >= 1 {
            request.with_key_type(kind)
        } else {
            request
        };
        if version >= 4 {
            request.with_coordinator_keys(vec![text(key)])
        } else {
            request.with_key(text(key))
        }
    };
    asker.until(0, &of(0, 0, CLASSIC), |answer| answer.error_code == 0)?;
    let describe = DescribeGroupsRequest::default().with_groups(vec![group(CLASSIC)]);
    asker.until(0, &describe, |answer| {
        answer.groups.iter().all(|group| group.error_code == 0)
    })?;
    asker.ask_each("a group", 0..=6, |version| of(version, 0, CLASSIC))?;
    asker.ask_each("a group without a name", 0..=6, |version| {
        of(version, 0, "")
    })?;
    asker.ask_each("an unknown kind", 1..=6, |version| of(version, 9, "x"))?;
    asker.ask_each("no keys", 4..=6, |version| {
        of(version, 0, "x").with_coordinator_keys(vec![])
    })?;
    asker.ask_each("two keys", 4..=6, |version| {
        of(version, 0, "x").with_coordinator_keys(vec![text(CLASSIC), text("other")])
    })
}

pub(super) fn joining(version: i16, name: &str, member: &StrBytes) -> JoinGroupRequest {
    let protocol = JoinGroupRequestProtocol::default()
        .with_name(text("range"))
        .with_metadata(Bytes::from_static(&[
            0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff,
        ]));
    let request = JoinGroupRequest::default()
        .with_group_id(group(name))
        .with_session_timeout_ms(30_000)
        .with_member_id(member.clone())
        .with_protocol_type(text("consumer"))
        .with_protocols(vec![protocol]);
    if version >= 1 {
        request.with_rebalance_timeout_ms(30_000)
    } else {
        request
    }
}

fn leaving(version: i16, name: &str, member: &StrBytes) -> LeaveGroupRequest {
    let request = LeaveGroupRequest::default().with_group_id(group(name));
    if version >= 3 {
        let member = MemberIdentity::default().with_member_id(member.clone());
        request.with_members(vec![member])
    } else {
        request.with_member_id(member.clone())
    }
}

/// Of groups that are not, and members that nobody knows.
fn strangers(asker: &mut Asker) -> Result<()> {
    let stranger = text("stranger");
    let beat = |name: &str| {
        HeartbeatRequest::default()
            .with_group_id(group(name))
            .with_generation_id(1)
            .with_member_id(stranger.clone())
    };
    let sync = |version: i16, name: &str| {
        let request = SyncGroupRequest::default()
            .with_group_id(group(name))
            .with_generation_id(1)
            .with_member_id(stranger.clone());
        if version >= 5 {
            request
                .with_protocol_type(Some(text("consumer")))
                .with_protocol_name(Some(text("range")))
        } else {
            request
        }
    };
    for (what, name) in [
        ("of an unknown group", NOBODY),
        ("of a group without a name", ""),
    ] {
        asker.ask_each(what, 0..=9, |version| joining(version, name, &stranger))?;
        asker.ask_each(what, 0..=4, |_| beat(name))?;
        asker.ask_each(what, 0..=5, |version| sync(version, name))?;
        asker.ask_each(what, 0..=5, |version| leaving(version, name, &stranger))?;
        asker.ask_each(what, 0..=2, |_| {
            DeleteGroupsRequest::default().with_groups_names(vec![group(name)])
        })?;
        asker.ask_each(what, 0..=6, |_| {
            DescribeGroupsRequest::default().with_groups(vec![group(name)])
        })?;
        asker.ask_each(what, 0..=1, |_| {
            ConsumerGroupDescribeRequest::default().with_group_ids(vec![group(name)])
        })?;
    }
    asker.ask("without a protocol", 5, &sync(4, NOBODY))?;
    for (what, timeout) in [
        ("a session too short", 1),
        ("a session too long", 10_000_000),
    ] {
        asker.ask_each(what, [0, 5, 9], |version| {
            joining(version, NOBODY, &text("")).with_session_timeout_ms(timeout)
        })?;
    }
    asker.ask_each("no protocols", [0, 5, 9], |version| {
        joining(version, NOBODY, &text("")).with_protocols(vec![])
    })?;
    asker.ask_each("no protocol type", [0, 5, 9], |version| {
        joining(version, NOBODY, &text("")).with_protocol_type(text(""))
    })
}

/// A group of one member, from its first request to its last.
fn classic(asker: &mut Asker) -> Result<()> {
    for version in 0..=9 {
        let name = format!("{CLASSIC}-{version}");
        let mut joined = asker
            .ask(
                "the first of a group",
                version,
                &joining(version, &name, &text("")),
            )?
            .context("no answer")?;
        if version >= 4 {
            let member = joined.member_id.clone();
            joined = asker
                .ask(
                    "with the id it was given",
                    version,
                    &joining(version, &name, &member),
                )?
                .context("no answer")?;
        }
        let member = joined.member_id.clone();
        asker.ask(
            "with another protocol type",
            version,
            &joining(version, &name, &text("")).with_protocol_type(text("connect")),
        )?;
        let sync_version = version.min(5);
        let what = |what: &str| format!("{what}, {name}");
        let assignment = SyncGroupRequestAssignment::default()
            .with_member_id(member.clone())
            .with_assignment(Bytes::from_static(b"mine"));
        let sync = SyncGroupRequest::default()
            .with_group_id(group(&name))
            .with_generation_id(joined.generation_id)
            .with_member_id(member.clone())
            .with_assignments(vec![assignment]);
        let sync = if sync_version >= 5 {
            sync.with_protocol_type(Some(text("consumer")))
                .with_protocol_name(Some(text("range")))
        } else {
            sync
        };
        asker.ask(
            &what("of another generation"),
            sync_version,
            &sync.clone().with_generation_id(99),
        )?;
        asker.ask(&what("the leader's"), sync_version, &sync)?;
        let beat = HeartbeatRequest::default()
            .with_group_id(group(&name))
            .with_generation_id(joined.generation_id)
            .with_member_id(member.clone());
        let beat_version = version.min(4);
        asker.ask(&what("of a member"), beat_version, &beat)?;
        asker.ask(
            &what("of another generation"),
            beat_version,
            &beat.clone().with_generation_id(99),
        )?;
        asker.ask(
            &what("of a stranger"),
            beat_version,
            &beat.with_member_id(text("stranger")),
        )?;
        let describe = DescribeGroupsRequest::default().with_groups(vec![group(&name)]);
        asker.ask(&what("of a member"), version.min(6), &describe)?;
        let delete = DeleteGroupsRequest::default().with_groups_names(vec![group(&name)]);
        asker.ask(&what("not empty"), version.min(2), &delete)?;
        if version == 9 {
            let list = ListGroupsRequest::default().with_states_filter(vec![text("Stable")]);
            asker.ask("stable ones", 5, &list)?;
            let modern = ConsumerGroupDescribeRequest::default().with_group_ids(vec![group(&name)]);
            asker.ask("a classic group", 1, &modern)?;
            let beat = heartbeat(&name, "m", 0);
            asker.ask("a classic group with a member", 1, &beat)?;
        }
        asker.ask(
            &what("a member"),
            version.min(5),
            &leaving(version.min(5), &name, &member),
        )?;
        asker.ask(
            &what("a member that left"),
            version.min(5),
            &leaving(version.min(5), &name, &member),
        )?;
        asker.ask(&what("empty"), version.min(6), &describe)?;
        asker.ask(&what("empty"), version.min(2), &delete)?;
    }
    Ok(())
}

pub(super) fn heartbeat(name: &str, member: &str, epoch: i32) -> ConsumerGroupHeartbeatRequest {
    ConsumerGroupHeartbeatRequest::default()
        .with_group_id(group(name))
        .with_member_id(text(member))
        .with_member_epoch(epoch)
        .with_rebalance_timeout_ms(30_000)
        .with_subscribed_topic_names(Some(vec![topic(ORDERS)]))
        .with_topic_partitions(Some(vec![]))
}

fn modern(asker: &mut Asker) -> Result<()> {
    for version in 0..=1 {
        let name = format!("{MODERN}-{version}");
        let first = heartbeat(&name, "member", 0);
        for (what, request) in [
            ("no name", heartbeat("", "member", 0)),
            ("no member id", heartbeat(&name, "", 0)),
            ("a stranger", heartbeat(&name, "stranger", 3)),
            ("a stranger who leaves", heartbeat(&name, "stranger", -1)),
            (
                "no rebalance timeout",
                first.clone().with_rebalance_timeout_ms(-1),
            ),
            ("no topics", first.clone().with_subscribed_topic_names(None)),
            (
                "partitions at once",
                first.clone().with_topic_partitions(None),
            ),
            (
                "an unknown assignor",
                first.clone().with_server_assignor(Some(text("best"))),
            ),
            (
                "an empty instance id",
                first.clone().with_instance_id(Some(text(""))),
            ),
            ("an empty rack", first.clone().with_rack_id(Some(text("")))),
            ("an epoch that is none", heartbeat(&name, "member", -9)),
        ] {
            asker.ask(what, version, &request)?;
        }
        if version >= 1 {
            let regex = first.clone().with_subscribed_topic_names(None);
            asker.ask(
                "a wrong regex",
                version,
                &regex.with_subscribed_topic_regex(Some(text("("))),
            )?;
        }
        let joined = asker
            .ask("the first of a group", version, &first)?
            .context("no answer")?;
        let (member, epoch) = match version {
            0 => (
                joined
                    .member_id
                    .map(|id| id.to_string())
                    .unwrap_or_default(),
                joined.member_epoch,
            ),
            _ => ("member".to_owned(), joined.member_epoch),
        };
        let again = ConsumerGroupHeartbeatRequest::default()
            .with_group_id(group(&name))
            .with_member_id(text(&member));
        asker.ask("a member", version, &again.clone().with_member_epoch(epoch))?;
        asker.ask(
            "an epoch too new",
            version,
            &again.clone().with_member_epoch(epoch + 5),
        )?;
        asker.ask(
            "a member that joins again",
            version,
            &heartbeat(&name, &member, 0),
        )?;
        let describe = ConsumerGroupDescribeRequest::default().with_group_ids(vec![group(&name)]);
        asker.ask("a member", version, &describe)?;
        let old = DescribeGroupsRequest::default().with_groups(vec![group(&name)]);
        asker.ask(&format!("a modern group, {name}"), 6, &old)?;
        asker.ask(
            &format!("of a modern group, {name}"),
            9,
            &joining(9, &name, &text("x")),
        )?;
        let delete = DeleteGroupsRequest::default().with_groups_names(vec![group(&name)]);
        asker.ask(&format!("not empty, {name}"), 2, &delete)?;
        asker.ask("a member leaves", version, &again.with_member_epoch(-1))?;
        asker.ask("empty", version, &describe)?;
        asker.ask(&format!("empty, {name}"), 2, &delete)?;
    }
    Ok(())
}

fn listed(asker: &mut Asker) -> Result<()> {
    asker.ask_each("all", 0..=5, |_| ListGroupsRequest::default())?;
    for state in ["Empty", "stable", "Nonsense"] {
        asker.ask_each(&format!("in state {state}"), 4..=5, |_| {
            ListGroupsRequest::default().with_states_filter(vec![text(state)])
        })?;
    }
    for kind in ["classic", "Consumer", "nonsense"] {
        let request = ListGroupsRequest::default().with_types_filter(vec![text(kind)]);
        asker.ask(&format!("of type {kind}"), 5, &request)?;
    }
    Ok(())
}
