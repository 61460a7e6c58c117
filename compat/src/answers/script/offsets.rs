//! Offsets that groups commit.

use anyhow::Result;
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

use super::{Asker, NOWHERE, ORDERS, group, text, topic};

/// Has offsets and no members.
const SIMPLE: &str = "simple";
const GROUPS_FROM: i16 = 8;

pub(super) fn ask(asker: &mut Asker) -> Result<()> {
    committed(asker)?;
    fetched(asker)?;
    deleted(asker)
}

fn committed(asker: &mut Asker) -> Result<()> {
    let of = |name: &str, of_topic: &str, partition: i32, offset: i64, metadata: Option<&str>| {
        let partition = OffsetCommitRequestPartition::default()
            .with_partition_index(partition)
            .with_committed_offset(offset)
            .with_committed_metadata(metadata.map(text));
        let of_topic = OffsetCommitRequestTopic::default()
            .with_name(topic(of_topic))
            .with_partitions(vec![partition]);
        OffsetCommitRequest::default()
            .with_group_id(group(name))
            .with_generation_id_or_member_epoch(-1)
            .with_topics(vec![of_topic])
    };
    let long = "m".repeat(5000);
    for (what, name, of_topic, partition, offset, metadata) in [
        ("an offset", SIMPLE, ORDERS, 0, 5, Some("note")),
        ("without metadata", SIMPLE, ORDERS, 1, 6, None),
        ("an unknown topic", SIMPLE, NOWHERE, 0, 5, None),
        ("an unknown partition", SIMPLE, ORDERS, 99, 5, None),
        ("a negative offset", SIMPLE, ORDERS, 2, -5, None),
        (
            "metadata too long",
            SIMPLE,
            ORDERS,
            2,
            5,
            Some(long.as_str()),
        ),
        ("a group without a name", "", ORDERS, 0, 5, None),
    ] {
        asker.ask_each(what, 2..=9, |_| {
            of(name, of_topic, partition, offset, metadata)
        })?;
    }
    asker.ask_each("a stranger", 2..=9, |_| {
        of(SIMPLE, ORDERS, 0, 5, None)
            .with_generation_id_or_member_epoch(3)
            .with_member_id(text("stranger"))
    })?;
    asker.ask_each("a generation of no group", 2..=9, |_| {
        of("no-group", ORDERS, 0, 5, None)
            .with_generation_id_or_member_epoch(3)
            .with_member_id(text("stranger"))
    })?;
    asker.ask_each("no topics", [2, 9], |_| {
        of(SIMPLE, ORDERS, 0, 5, None).with_topics(vec![])
    })
}

fn fetched(asker: &mut Asker) -> Result<()> {
    let of = |version: i16, name: &str, topics: Option<&[(&str, &[i32])]>| {
        if version >= GROUPS_FROM {
            let topics = topics.map(|topics| {
                let topics = topics.iter().map(|(name, partitions)| {
                    OffsetFetchRequestTopics::default()
                        .with_name(topic(name))
                        .with_partition_indexes(partitions.to_vec())
                });
                topics.collect()
            });
            let of_group = OffsetFetchRequestGroup::default()
                .with_group_id(group(name))
                .with_topics(topics);
            return OffsetFetchRequest::default().with_groups(vec![of_group]);
        }
        let topics = topics.map(|topics| {
            let topics = topics.iter().map(|(name, partitions)| {
                OffsetFetchRequestTopic::default()
                    .with_name(topic(name))
                    .with_partition_indexes(partitions.to_vec())
            });
            topics.collect()
        });
        OffsetFetchRequest::default()
            .with_group_id(group(name))
            .with_topics(topics)
    };
    for (what, name, topics) in [
        ("two partitions", SIMPLE, &[(ORDERS, &[0, 1][..])][..]),
        ("a partition without an offset", SIMPLE, &[(ORDERS, &[2])]),
        ("an unknown topic", SIMPLE, &[(NOWHERE, &[0])]),
        ("an unknown partition", SIMPLE, &[(ORDERS, &[99])]),
        ("an unknown group", "no-group", &[(ORDERS, &[0])]),
        ("a group without a name", "", &[(ORDERS, &[0])]),
        ("no topics", SIMPLE, &[]),
    ] {
        asker.ask_each(what, 1..=9, |version| of(version, name, Some(topics)))?;
    }
    asker.ask_each("all", 2..=9, |version| of(version, SIMPLE, None))?;
    asker.ask_each("all of an unknown group", 2..=9, |version| {
        of(version, "no-group", None)
    })?;
    asker.ask_each("stable ones", 7..=9, |version| {
        of(version, SIMPLE, None).with_require_stable(true)
    })?;
    let stranger = OffsetFetchRequestGroup::default()
        .with_group_id(group(SIMPLE))
        .with_member_id(Some(text("stranger")))
        .with_member_epoch(3)
        .with_topics(None);
    asker.ask(
        "a stranger",
        9,
        &OffsetFetchRequest::default().with_groups(vec![stranger]),
    )?;
    Ok(())
}

fn deleted(asker: &mut Asker) -> Result<()> {
    let of = |name: &str, of_topic: &str, partition: i32| {
        let partition = OffsetDeleteRequestPartition::default().with_partition_index(partition);
        let of_topic = OffsetDeleteRequestTopic::default()
            .with_name(topic(of_topic))
            .with_partitions(vec![partition]);
        OffsetDeleteRequest::default()
            .with_group_id(group(name))
            .with_topics(vec![of_topic])
    };
    for (what, name, of_topic, partition) in [
        ("an offset", SIMPLE, ORDERS, 0),
        ("an offset that is gone", SIMPLE, ORDERS, 0),
        ("an unknown topic", SIMPLE, NOWHERE, 0),
        ("an unknown partition", SIMPLE, ORDERS, 99),
        ("an unknown group", "no-group", ORDERS, 0),
        ("a group without a name", "", ORDERS, 0),
    ] {
        asker.ask(what, 0, &of(name, of_topic, partition))?;
    }
    Ok(())
}
