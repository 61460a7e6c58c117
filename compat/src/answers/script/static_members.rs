//! Members that keep their place by an instance id (KIP-345), in groups of both protocols; and what members commit.

use anyhow::{Context, Result};
use bytes::Bytes;
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::offset_fetch_request::OffsetFetchRequestGroup;
use kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use kafka_protocol::messages::{
    ConsumerGroupDescribeRequest, ConsumerGroupHeartbeatRequest, DeleteGroupsRequest,
    DescribeGroupsRequest, HeartbeatRequest, LeaveGroupRequest, OffsetCommitRequest,
    OffsetFetchRequest, SyncGroupRequest,
};
use kafka_protocol::protocol::StrBytes;

use super::groups::{heartbeat, joining};
use super::{Asker, ORDERS, group, text, topic};

const INSTANCE: &str = "instance";
/// The first versions with instance ids.
const JOIN_FROM: i16 = 5;
const COMMIT_FROM: i16 = 7;
/// The first one in which members are removed by name.
const LEAVE_FROM: i16 = 3;
const LONGEST_INSTANCE: usize = 249;
/// A member leaves, and its instance comes back (KIP-848).
const LEAVES_FOR_A_WHILE: i32 = -2;
const LEAVES: i32 = -1;

pub(super) fn ask(asker: &mut Asker) -> Result<()> {
    wrong_instances(asker)?;
    for version in JOIN_FROM..=9 {
        classic(asker, version)?;
    }
    dynamic_commits(asker)?;
    for version in 0..=1 {
        modern(asker, version)?;
    }
    Ok(())
}

fn instance(name: &str) -> Option<StrBytes> {
    Some(text(name))
}

pub(super) fn syncing(
    version: i16,
    name: &str,
    generation: i32,
    member: &StrBytes,
) -> SyncGroupRequest {
    let assignment = SyncGroupRequestAssignment::default()
        .with_member_id(member.clone())
        .with_assignment(Bytes::from_static(b"mine"));
    let request = SyncGroupRequest::default()
        .with_group_id(group(name))
        .with_generation_id(generation)
        .with_member_id(member.clone())
        .with_assignments(vec![assignment]);
    if version >= 5 {
        request
            .with_protocol_type(Some(text("consumer")))
            .with_protocol_name(Some(text("range")))
    } else {
        request
    }
}

fn beating(name: &str, generation: i32, member: &StrBytes) -> HeartbeatRequest {
    HeartbeatRequest::default()
        .with_group_id(group(name))
        .with_generation_id(generation)
        .with_member_id(member.clone())
}

fn leaving(name: &str, member: &str, of: Option<&str>) -> LeaveGroupRequest {
    let identity = MemberIdentity::default()
        .with_member_id(text(member))
        .with_group_instance_id(of.map(text));
    LeaveGroupRequest::default()
        .with_group_id(group(name))
        .with_members(vec![identity])
}

fn committing(name: &str, generation: i32, member: &str) -> OffsetCommitRequest {
    let partition = OffsetCommitRequestPartition::default().with_committed_offset(3);
    let of_topic = OffsetCommitRequestTopic::default()
        .with_name(topic(ORDERS))
        .with_partitions(vec![partition]);
    OffsetCommitRequest::default()
        .with_group_id(group(name))
        .with_generation_id_or_member_epoch(generation)
        .with_member_id(text(member))
        .with_topics(vec![of_topic])
}

/// Of groups that are not.
fn wrong_instances(asker: &mut Asker) -> Result<()> {
    let long = "i".repeat(LONGEST_INSTANCE + 1);
    for (what, id) in [
        ("an empty instance id", ""),
        ("an instance id with a slash", "a/b"),
        ("an instance id of a dot", "."),
        ("an instance id too long", long.as_str()),
    ] {
        asker.ask_each(what, JOIN_FROM..=9, |version| {
            joining(version, "wrong-instances", &text("")).with_group_instance_id(instance(id))
        })?;
        asker.ask_each(&format!("{what}, of a consumer"), 0..=1, |_| {
            heartbeat("wrong-instances", "member", 0).with_instance_id(instance(id))
        })?;
    }
    let stranger = text("stranger");
    let name = "no-static-group";
    asker.ask_each("an instance of no group", JOIN_FROM..=9, |version| {
        joining(version, name, &stranger).with_group_instance_id(instance(INSTANCE))
    })?;
    asker.ask_each("an instance of no group", 3..=5, |version| {
        syncing(version, name, 1, &stranger).with_group_instance_id(instance(INSTANCE))
    })?;
    asker.ask_each("an instance of no group", 3..=4, |_| {
        beating(name, 1, &stranger).with_group_instance_id(instance(INSTANCE))
    })?;
    asker.ask_each("an instance of no group", LEAVE_FROM..=5, |_| {
        leaving(name, "", Some(INSTANCE))
    })?;
    asker.ask_each("an instance of no group", COMMIT_FROM..=9, |_| {
        committing(name, 1, "stranger").with_group_instance_id(instance(INSTANCE))
    })
}

/// Who asks in a classic group, and as of when.
#[derive(Debug, Clone, Copy)]
struct Asked<'a> {
    version: i16,
    name: &'a str,
    when: &'a str,
    generation: i32,
}

fn classic(asker: &mut Asker, version: i16) -> Result<()> {
    let name = format!("static-{version}");
    let what = |what: &str| format!("{what}, {name}");
    let by_instance = |member: &str| {
        joining(version, &name, &text(member)).with_group_instance_id(instance(INSTANCE))
    };
    let joined = asker
        .ask("the first of an instance", version, &by_instance(""))?
        .context("no answer")?;
    let old = joined.member_id.clone();
    let asked = Asked {
        version,
        name: &name,
        when: "at first",
        generation: joined.generation_id,
    };
    synced_and_beating(asker, &asked, &old)?;
    commits(asker, &asked, &old)?;
    let describe = DescribeGroupsRequest::default().with_groups(vec![group(&name)]);
    asker.ask_each(&what("a static member"), 0..=6, |_| describe.clone())?;
    // Its process starts again, and knows its instance id alone.
    let joined = asker
        .ask("an instance again", version, &by_instance(""))?
        .context("no answer")?;
    let new = joined.member_id.clone();
    for (case, request) in [
        ("the member before", by_instance(&old)),
        ("the member with its instance", by_instance(&new)),
        ("a stranger with the instance", by_instance("stranger")),
        (
            "a stranger with another instance",
            by_instance("stranger").with_group_instance_id(instance("other")),
        ),
        (
            "an instance with another protocol type",
            by_instance("").with_protocol_type(text("connect")),
        ),
    ] {
        asker.ask(case, version, &request)?;
    }
    let asked = Asked {
        when: "once fenced",
        generation: joined.generation_id,
        ..asked
    };
    synced_and_beating(asker, &asked, &old)?;
    commits(asker, &asked, &old)?;
    let other = JoinGroupRequestProtocol::default()
        .with_name(text("roundrobin"))
        .with_metadata(Bytes::from_static(&[
            0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff,
        ]));
    asker.ask(
        "an instance with another protocol",
        version,
        &by_instance("").with_protocols(vec![other]),
    )?;
    asker.ask(&what("with another protocol"), 6, &describe)?;
    left(asker, version.min(5), &name, &old)?;
    asker.ask(&what("the instance has left"), 6, &describe)?;
    let delete = DeleteGroupsRequest::default().with_groups_names(vec![group(&name)]);
    asker.ask(&what("the instance has left"), 2, &delete)?;
    Ok(())
}

fn synced_and_beating(asker: &mut Asker, asked: &Asked<'_>, member: &StrBytes) -> Result<()> {
    let Asked {
        version,
        name,
        when,
        generation,
    } = *asked;
    let stranger = text("stranger");
    for (case, member, of, generation) in [
        ("the instance", member, Some(INSTANCE), generation),
        (
            "a generation too new",
            member,
            Some(INSTANCE),
            generation + 1,
        ),
        ("another member", &stranger, Some(INSTANCE), generation),
        ("another instance", member, Some("other"), generation),
        ("no instance", member, None, generation),
    ] {
        let what = format!("{case}, {name}, {when}");
        let sync_version = version.min(5);
        let sync =
            syncing(sync_version, name, generation, member).with_group_instance_id(of.map(text));
        asker.ask(&what, sync_version, &sync)?;
        let beat = beating(name, generation, member).with_group_instance_id(of.map(text));
        asker.ask_each(&what, 3..=4, |_| beat.clone())?;
    }
    Ok(())
}

fn commits(asker: &mut Asker, asked: &Asked<'_>, member: &StrBytes) -> Result<()> {
    let Asked {
        name,
        when,
        generation,
        ..
    } = *asked;
    let member: &str = member;
    for (case, member, of, generation) in [
        ("the instance", member, Some(INSTANCE), generation),
        (
            "a generation too new",
            member,
            Some(INSTANCE),
            generation + 1,
        ),
        (
            "a generation before",
            member,
            Some(INSTANCE),
            generation - 1,
        ),
        ("another member", "stranger", Some(INSTANCE), generation),
        ("another instance", member, Some("other"), generation),
        ("no instance", member, None, generation),
        ("an instance without a member", "", Some(INSTANCE), -1),
        ("nobody", "", None, -1),
    ] {
        let what = format!("{case}, {name}, {when}");
        asker.ask_each(&what, COMMIT_FROM..=9, |_| {
            committing(name, generation, member).with_group_instance_id(of.map(text))
        })?;
    }
    Ok(())
}

fn left(asker: &mut Asker, version: i16, name: &str, fenced: &str) -> Result<()> {
    for (case, member, of) in [
        ("a stranger with the instance", "stranger", Some(INSTANCE)),
        ("another instance", "", Some("other")),
        ("a fenced member", fenced, None),
        ("a fenced member of the instance", fenced, Some(INSTANCE)),
        ("neither member nor instance", "", None),
        ("the instance", "", Some(INSTANCE)),
        ("an instance that left", "", Some(INSTANCE)),
    ] {
        let request = leaving(name, member, of);
        asker.ask(&format!("{case}, {name}"), version, &request)?;
    }
    Ok(())
}

/// Of a classic member without an instance id.
fn dynamic_commits(asker: &mut Asker) -> Result<()> {
    let name = "committing";
    let joined = asker.until(3, &joining(3, name, &text("")), |answer| {
        answer.error_code == 0
    })?;
    let (member, generation) = (joined.member_id.clone(), joined.generation_id);
    for (case, member, generation) in [
        ("while the group rebalances", &*member, generation),
        ("nobody while the group rebalances", "", -1),
    ] {
        asker.ask_each(case, 2..=9, |_| committing(name, generation, member))?;
    }
    let sync = syncing(2, name, generation, &member);
    asker.until(2, &sync, |answer| answer.error_code == 0)?;
    for (case, member, generation) in [
        ("a member", &*member, generation),
        ("a member, a generation too new", &*member, generation + 1),
        ("a member, a generation before", &*member, generation - 1),
        ("a member without its generation", &*member, -1),
        ("a stranger of a group with members", "stranger", generation),
        ("nobody of a group with members", "", -1),
        ("a generation and no member", "", generation),
    ] {
        asker.ask_each(case, 2..=9, |_| committing(name, generation, member))?;
    }
    asker.until(3, &leaving(name, &member, None), |_| true)?;
    asker.ask_each("a member that left", 2..=9, |_| {
        committing(name, generation, &member)
    })
}

fn modern(asker: &mut Asker, version: i16) -> Result<()> {
    let name = format!("static-modern-{version}");
    let what = |what: &str| format!("{what}, {name}");
    let first = |member: &str| heartbeat(&name, member, 0).with_instance_id(instance(INSTANCE));
    let again = |member: &str, epoch: i32, of: Option<&str>| {
        ConsumerGroupHeartbeatRequest::default()
            .with_group_id(group(&name))
            .with_member_id(text(member))
            .with_member_epoch(epoch)
            .with_instance_id(of.map(text))
    };
    let joined = asker
        .ask("the first of an instance", version, &first("one"))?
        .context("no answer")?;
    let epoch = joined.member_epoch;
    let is_static = Some(INSTANCE);
    for (case, request) in [
        ("the instance", again("one", epoch, is_static)),
        ("the member without its instance", again("one", epoch, None)),
        (
            "another member of the instance",
            again("two", epoch, is_static),
        ),
        (
            "another instance of the member",
            again("one", epoch, Some("other")),
        ),
        (
            "an instance with an epoch too new",
            again("one", epoch + 1, is_static),
        ),
        ("an instance that is not released", first("two")),
        (
            "another member leaves for a while",
            again("two", LEAVES_FOR_A_WHILE, is_static),
        ),
        (
            "an unknown instance leaves for a while",
            again("one", LEAVES_FOR_A_WHILE, Some("other")),
        ),
        (
            "a member without instance leaves for a while",
            again("one", LEAVES_FOR_A_WHILE, None),
        ),
        (
            "another member of the instance leaves",
            again("two", LEAVES, is_static),
        ),
        ("an epoch of minus three", again("one", -3, is_static)),
    ] {
        asker.ask(case, version, &request)?;
    }
    modern_commits(asker, &name, "one", epoch)?;
    let describe = ConsumerGroupDescribeRequest::default().with_group_ids(vec![group(&name)]);
    asker.ask("a static member", version, &describe)?;
    asker.ask(
        "the instance leaves for a while",
        version,
        &again("one", LEAVES_FOR_A_WHILE, is_static),
    )?;
    asker.ask("while an instance is away", version, &describe)?;
    for (case, request) in [
        ("the instance that is away", again("one", epoch, is_static)),
        (
            "the instance that is away leaves again",
            again("one", LEAVES_FOR_A_WHILE, is_static),
        ),
        (
            "nobody while an instance is away",
            again("two", epoch, None),
        ),
    ] {
        asker.ask(case, version, &request)?;
    }
    let joined = asker
        .ask("the instance comes back", version, &first("two"))?
        .context("no answer")?;
    for (case, request) in [
        (
            "the instance that came back",
            again("two", joined.member_epoch, is_static),
        ),
        (
            "the member that was replaced",
            again("one", epoch, is_static),
        ),
        (
            "the member that was replaced, without its instance",
            again("one", epoch, None),
        ),
    ] {
        asker.ask(case, version, &request)?;
    }
    asker.ask("after an instance came back", version, &describe)?;
    let offset = committing(&name, epoch, "one");
    asker.ask(&what("the member that was replaced"), 9, &offset)?;
    for (case, request) in [
        (
            "the replaced member leaves",
            again("one", LEAVES, is_static),
        ),
        ("the instance leaves", again("two", LEAVES, is_static)),
        ("the instance leaves twice", again("two", LEAVES, is_static)),
        (
            "the instance comes back too late",
            again("two", joined.member_epoch, is_static),
        ),
    ] {
        asker.ask(case, version, &request)?;
    }
    asker.ask("the instance has left", version, &describe)?;
    let delete = DeleteGroupsRequest::default().with_groups_names(vec![group(&name)]);
    asker.ask(&what("the instance has left"), 2, &delete)?;
    Ok(())
}

fn modern_commits(asker: &mut Asker, name: &str, member: &str, epoch: i32) -> Result<()> {
    for (case, member, epoch) in [
        ("a member", member, epoch),
        ("an epoch too new", member, epoch + 1),
        ("an epoch before", member, epoch - 1),
        ("a member without its epoch", member, -1),
        ("a stranger", "stranger", epoch),
        ("nobody", "", -1),
        ("an epoch and no member", "", epoch),
    ] {
        let what = format!("{case}, {name}");
        asker.ask_each(&what, 2..=9, |_| committing(name, epoch, member))?;
        let of_group = OffsetFetchRequestGroup::default()
            .with_group_id(group(name))
            .with_member_id(Some(text(member)))
            .with_member_epoch(epoch)
            .with_topics(None);
        asker.ask(
            &what,
            9,
            &OffsetFetchRequest::default().with_groups(vec![of_group]),
        )?;
    }
    let other = committing(name, epoch, member).with_group_instance_id(instance("other"));
    asker.ask(&format!("another instance, {name}"), 9, &other)?;
    Ok(())
}
