//! Offsets that are committed in transactions, by groups without members and with them.

use anyhow::{Context, Result};
use kafka_protocol::messages::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopics,
};
use kafka_protocol::messages::{OffsetFetchRequest, TxnOffsetCommitRequest};

use super::super::groups::{heartbeat, joining};
use super::super::static_members::syncing;
use super::super::{NOWHERE, group, text, topic};
use super::{ADD_VERSION, Asker, END_VERSION, EPOCHS_FROM, LEDGER, Producer};

/// From this version on members say who they are (KIP-447).
const MEMBERS_FROM: i16 = 3;
/// Kafka's default of `offset.metadata.max.bytes` is 4096.
const METADATA_TOO_LONG: usize = 5_000;
const CLASSIC: &str = "txn-classic";
const MODERN: &str = "txn-modern";

pub(super) fn ask(asker: &mut Asker) -> Result<()> {
    for version in 0..=5 {
        committed(asker, version)?;
        let stranger = Producer::init(asker, &format!("not-added-{version}"))?;
        let group = format!("not-added-{version}");
        asker.ask(
            "a group that was not added",
            version,
            &stranger.committing(&group, LEDGER, 0, 1),
        )?;
        asker.ask(
            &format!("a group that was not added, v{version}"),
            0,
            &stranger.describing(),
        )?;
    }
    of_members(asker)
}

fn fetching(name: &str, is_stable: bool) -> OffsetFetchRequest {
    let topics = OffsetFetchRequestTopics::default()
        .with_name(topic(LEDGER))
        .with_partition_indexes(vec![0, 1]);
    let of_group = OffsetFetchRequestGroup::default()
        .with_group_id(group(name))
        .with_topics(Some(vec![topics]));
    OffsetFetchRequest::default()
        .with_groups(vec![of_group])
        .with_require_stable(is_stable)
}

fn with_metadata(
    request: TxnOffsetCommitRequest,
    metadata: Option<&str>,
) -> TxnOffsetCommitRequest {
    let mut request = request;
    for of_topic in &mut request.topics {
        for partition in &mut of_topic.partitions {
            partition.committed_metadata = metadata.map(text);
        }
    }
    request
}

fn committed(asker: &mut Asker, version: i16) -> Result<()> {
    let name = format!("offsets-{version}");
    let mut producer = Producer::init(asker, &name)?;
    let end_version = match version >= EPOCHS_FROM {
        true => EPOCHS_FROM,
        false => END_VERSION,
    };
    for (outcome, is_committed) in [("committed", true), ("aborted", false)] {
        if version < EPOCHS_FROM {
            producer.add_offsets(asker, &name)?;
        }
        let what = |what: &str| format!("{what}, {name}, to be {outcome}");
        let of =
            |partition: i32, offset: i64| producer.committing(&name, LEDGER, partition, offset);
        let mut both = of(0, 5);
        let more = of(99, 5).topics.remove(0).partitions;
        both.topics[0].partitions.extend(more);
        let long = "m".repeat(METADATA_TOO_LONG);
        for (case, request) in [
            (
                "an unknown topic",
                producer.committing(&name, NOWHERE, 0, 1),
            ),
            ("an unknown partition", of(99, 1)),
            ("a negative offset", of(1, -5)),
            ("metadata too long", with_metadata(of(0, 5), Some(&long))),
            ("a group without a name", of(0, 5).with_group_id(group(""))),
            ("no topics", of(0, 5).with_topics(vec![])),
            ("without metadata", with_metadata(of(0, 4), None)),
            ("an unknown partition beside a known one", both),
            ("an offset", of(0, 10 + i64::from(version))),
        ] {
            asker.ask(&what(case), version, &request)?;
        }
        if version >= MEMBERS_FROM {
            let request = of(0, 7)
                .with_generation_id(3)
                .with_member_id(text("stranger"));
            asker.ask(&what("a stranger"), version, &request)?;
            let instance = request.with_group_instance_id(Some(text("instance")));
            asker.ask(&what("a stranger's instance"), version, &instance)?;
            asker.ask(
                &what("a generation without a member"),
                version,
                &of(0, 7).with_generation_id(3),
            )?;
        }
        for is_stable in [true, false] {
            asker.ask(
                &what(&format!("open, stable {is_stable}")),
                8,
                &fetching(&name, is_stable),
            )?;
        }
        asker.ask(&what("open"), 0, &producer.describing())?;
        producer.end(asker, end_version, is_committed)?;
        asker.ask(&what("ended"), 8, &fetching(&name, true))?;
    }
    Ok(())
}

/// Members of each protocol, static ones too, commit with what they know of their group.
fn of_members(asker: &mut Asker) -> Result<()> {
    let join = joining(9, CLASSIC, &text("")).with_group_instance_id(Some(text("instance")));
    let joined = asker.until(9, &join, |answer| answer.error_code == 0)?;
    let (member, generation) = (joined.member_id.clone(), joined.generation_id);
    let sync =
        syncing(5, CLASSIC, generation, &member).with_group_instance_id(Some(text("instance")));
    asker.until(5, &sync, |answer| answer.error_code == 0)?;
    let beat = heartbeat(MODERN, "member", 0);
    let epoch = asker
        .until(1, &beat, |answer| answer.error_code == 0)?
        .member_epoch;
    let mut producer = Producer::init(asker, "offsets-of-members")?;
    producer.add_offsets(asker, CLASSIC)?;
    producer.add_offsets(asker, MODERN)?;
    let instance = Some("instance");
    for (what, name, member, of_instance, generation) in [
        ("a classic member", CLASSIC, &*member, instance, generation),
        (
            "no instance of a static member",
            CLASSIC,
            &*member,
            None,
            generation,
        ),
        (
            "a generation too new",
            CLASSIC,
            &*member,
            instance,
            generation + 1,
        ),
        (
            "a generation before",
            CLASSIC,
            &*member,
            instance,
            generation - 1,
        ),
        ("a fenced instance", CLASSIC, "other", instance, generation),
        (
            "an unknown instance",
            CLASSIC,
            &*member,
            Some("other"),
            generation,
        ),
        (
            "a stranger of a classic group",
            CLASSIC,
            "other",
            None,
            generation,
        ),
        ("a classic group's nobody", CLASSIC, "", None, -1),
        (
            "a classic member without its generation",
            CLASSIC,
            &*member,
            instance,
            -1,
        ),
        ("a modern member", MODERN, "member", None, epoch),
        ("an epoch too new", MODERN, "member", None, epoch + 1),
        ("an epoch before", MODERN, "member", None, epoch - 1),
        ("a stranger of a modern group", MODERN, "other", None, epoch),
        ("a modern group's nobody", MODERN, "", None, -1),
        (
            "a modern member without its epoch",
            MODERN,
            "member",
            None,
            -1,
        ),
    ] {
        asker.ask_each(&format!("{what}, of members"), MEMBERS_FROM..=5, |_| {
            producer
                .committing(name, LEDGER, 0, 3)
                .with_generation_id(generation)
                .with_member_id(text(member))
                .with_group_instance_id(of_instance.map(text))
        })?;
    }
    producer.end(asker, ADD_VERSION, true)?;
    for name in [CLASSIC, MODERN] {
        asker.ask(&format!("ended, {name}"), 8, &fetching(name, true))?;
    }
    let left = heartbeat(MODERN, "member", -1);
    asker.until(1, &left, |_| true).context("leaving")?;
    Ok(())
}
