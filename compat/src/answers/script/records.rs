//! Records, their offsets and their producers.

use anyhow::{Context, Result};
use bytes::Bytes;
use foz_protocol::codec::Compression;
use foz_protocol::record::{BatchBuilder, RecordToWrite};
use kafka_protocol::messages::delete_records_request::{
    DeleteRecordsPartition, DeleteRecordsTopic,
};
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::offset_for_leader_epoch_request::{
    OffsetForLeaderPartition, OffsetForLeaderTopic,
};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{
    BrokerId, DeleteRecordsRequest, FetchRequest, InitProducerIdRequest, ListOffsetsRequest,
    MetadataRequest, OffsetForLeaderEpochRequest, ProduceRequest, ProducerId,
};
use uuid::Uuid;

use super::{Asker, NOWHERE, ORDERS, TIMEOUT_MS, topic};

const TOPIC_IDS_FROM: i16 = 13;
/// Any time does; both brokers are asked for it.
const TIME_MS: i64 = 1_500_000_000_000;

pub(super) fn ask(asker: &mut Asker) -> Result<()> {
    let named = MetadataRequestTopic::default().with_name(Some(topic(ORDERS)));
    let request = MetadataRequest::default().with_topics(Some(vec![named]));
    let metadata = asker.until(12, &request, |_| true)?;
    let id = metadata.topics.first().context("no topic")?.topic_id;
    produced(asker, id)?;
    fetched(asker, id)?;
    listed(asker)?;
    epochs(asker)?;
    deleted(asker)?;
    producers(asker)?;
    two_batches(asker, id)
}

fn batch(values: &[&str]) -> Result<Bytes> {
    let mut builder = BatchBuilder::new(Compression::None);
    for (number, value) in (0..).zip(values) {
        builder.push(&RecordToWrite {
            timestamp_ms: TIME_MS + number,
            key: None,
            value: Some(value.as_bytes()),
            headers: &[],
        });
    }
    Ok(Bytes::from(builder.build()?))
}

/// The batch with another byte.
fn bent(batch: &Bytes, at: usize) -> Bytes {
    let mut bytes = batch.to_vec();
    bytes[at] ^= 1;
    Bytes::from(bytes)
}

fn producing(
    version: i16,
    id: Uuid,
    name: &str,
    partition: i32,
    records: Option<Bytes>,
) -> ProduceRequest {
    let data = PartitionProduceData::default()
        .with_index(partition)
        .with_records(records);
    let data = TopicProduceData::default().with_partition_data(vec![data]);
    let data = match (version >= TOPIC_IDS_FROM, name == ORDERS) {
        (false, _) => data.with_name(topic(name)),
        (true, true) => data.with_topic_id(id),
        (true, false) => data.with_topic_id(Uuid::from_u128(7)),
    };
    ProduceRequest::default()
        .with_acks(-1)
        .with_timeout_ms(TIMEOUT_MS)
        .with_topic_data(vec![data])
}

/// Last, since only one of them may take both.
fn two_batches(asker: &mut Asker, id: Uuid) -> Result<()> {
    let good = batch(&["a"])?;
    let both = Bytes::from([&good[..], &good[..]].concat());
    asker.ask_each("two batches", [3, 9, 13], |version| {
        producing(version, id, ORDERS, 0, Some(both.clone()))
    })
}

fn produced(asker: &mut Asker, id: Uuid) -> Result<()> {
    let of = |version: i16, name: &str, partition: i32, records: Option<Bytes>| {
        producing(version, id, name, partition, records)
    };
    let good = batch(&["a", "b"])?;
    asker.ask_each("two records", 3..=13, |version| {
        of(version, ORDERS, 0, Some(good.clone()))
    })?;
    let versions = [3, 7, 8, 9, 10, 12, 13];
    for (what, name, partition, records) in [
        ("an unknown topic", NOWHERE, 0, Some(good.clone())),
        ("an unknown partition", ORDERS, 99, Some(good.clone())),
        ("a negative partition", ORDERS, -1, Some(good.clone())),
        ("no records", ORDERS, 0, Some(Bytes::new())),
        ("a wrong checksum", ORDERS, 0, Some(bent(&good, 20))),
        (
            "a record other than its checksum",
            ORDERS,
            0,
            Some(bent(&good, good.len() - 2)),
        ),
        ("magic 3", ORDERS, 0, Some(bent(&good, 16))),
        (
            "half a batch",
            ORDERS,
            0,
            Some(good.slice(..good.len() / 2)),
        ),
    ] {
        asker.ask_each(what, versions, |version| {
            of(version, name, partition, records.clone())
        })?;
    }
    for acks in [1, 2, -2] {
        asker.ask_each(&format!("acks {acks}"), [3, 9, 13], |version| {
            of(version, ORDERS, 1, Some(good.clone())).with_acks(acks)
        })?;
    }
    asker.ask_each("no topics", [3, 9, 13], |version| {
        of(version, ORDERS, 0, None).with_topic_data(vec![])
    })?;
    let mut unknown = BatchBuilder::new(Compression::None).idempotent(9999, 0, 5);
    unknown.push(&RecordToWrite {
        timestamp_ms: TIME_MS,
        value: Some(b"x"),
        ..RecordToWrite::default()
    });
    let unknown = Bytes::from(unknown.build()?);
    asker.ask(
        "an unknown producer in the middle",
        12,
        &of(12, ORDERS, 2, Some(unknown)),
    )?;
    let mut known = BatchBuilder::new(Compression::None).idempotent(9998, 1, 0);
    known.push(&RecordToWrite {
        timestamp_ms: TIME_MS,
        value: Some(b"x"),
        ..RecordToWrite::default()
    });
    let known = Bytes::from(known.build()?);
    asker.ask(
        "the first of a producer",
        12,
        &of(12, ORDERS, 2, Some(known.clone())),
    )?;
    asker.ask(
        "the first of a producer again",
        12,
        &of(12, ORDERS, 2, Some(known)),
    )?;
    for (what, epoch, sequence) in [
        ("a gap", 1, 5),
        ("an old epoch", 0, 1),
        ("a new epoch in the middle", 2, 5),
    ] {
        let mut builder = BatchBuilder::new(Compression::None).idempotent(9998, epoch, sequence);
        builder.push(&RecordToWrite {
            timestamp_ms: TIME_MS,
            value: Some(b"x"),
            ..RecordToWrite::default()
        });
        let records = Bytes::from(builder.build()?);
        asker.ask(
            &format!("a producer with {what}"),
            12,
            &of(12, ORDERS, 2, Some(records)),
        )?;
    }
    Ok(())
}

fn fetched(asker: &mut Asker, id: Uuid) -> Result<()> {
    let of = |version: i16, name: &str, partition: FetchPartition| {
        let asked = FetchTopic::default().with_partitions(vec![partition]);
        let asked = match (version >= TOPIC_IDS_FROM, name == ORDERS) {
            (false, _) => asked.with_topic(topic(name)),
            (true, true) => asked.with_topic_id(id),
            (true, false) => asked.with_topic_id(Uuid::from_u128(7)),
        };
        FetchRequest::default()
            .with_max_wait_ms(0)
            .with_min_bytes(0)
            .with_max_bytes(1 << 20)
            .with_topics(vec![asked])
    };
    let from = |partition: i32, offset: i64| {
        FetchPartition::default()
            .with_partition(partition)
            .with_fetch_offset(offset)
            .with_partition_max_bytes(100)
    };
    asker.ask_each("the first batch", 4..=18, |version| {
        of(version, ORDERS, from(0, 0))
    })?;
    asker.ask_each("read committed", 4..=18, |version| {
        of(version, ORDERS, from(0, 0)).with_isolation_level(1)
    })?;
    let versions = [4, 6, 7, 11, 12, 13, 18];
    for (what, name, partition, offset) in [
        ("the second record", ORDERS, 0, 1),
        ("the end", ORDERS, 0, 26),
        ("behind the end", ORDERS, 0, 1000),
        ("a negative offset", ORDERS, 0, -1),
        ("an unknown partition", ORDERS, 99, 0),
        ("an unknown topic", NOWHERE, 0, 0),
    ] {
        asker.ask_each(what, versions, |version| {
            of(version, name, from(partition, offset))
        })?;
    }
    for (what, epoch) in [("an epoch too new", 99), ("the epoch", 0)] {
        asker.ask_each(what, [9, 12, 13, 18], |version| {
            of(version, ORDERS, from(0, 0).with_current_leader_epoch(epoch))
        })?;
    }
    asker.ask_each("a diverging epoch", [12, 18], |version| {
        of(version, ORDERS, from(0, 5).with_last_fetched_epoch(7))
    })?;
    for (what, session, epoch) in [
        ("an unknown session", 77, 1),
        ("a session's wrong epoch", 0, 5),
        ("a session's end", 77, -1),
    ] {
        asker.ask_each(what, [7, 12, 18], |version| {
            of(version, ORDERS, from(0, 0))
                .with_session_id(session)
                .with_session_epoch(epoch)
        })?;
    }
    Ok(())
}

fn listed(asker: &mut Asker) -> Result<()> {
    let of = |name: &str, partition: i32, timestamp: i64, epoch: i32| {
        let asked = ListOffsetsPartition::default()
            .with_partition_index(partition)
            .with_timestamp(timestamp)
            .with_current_leader_epoch(epoch);
        let asked = ListOffsetsTopic::default()
            .with_name(topic(name))
            .with_partitions(vec![asked]);
        ListOffsetsRequest::default()
            .with_replica_id(BrokerId(-1))
            .with_topics(vec![asked])
    };
    for (what, timestamp) in [
        ("the end", -1),
        ("the start", -2),
        ("the greatest timestamp", -3),
        ("the local start", -4),
        ("the tiered end", -5),
        ("a special time that is none", -9),
        ("a time", TIME_MS + 1),
        ("a time before all", 0),
        ("a time behind all", TIME_MS * 2),
    ] {
        asker.ask_each(what, 1..=10, |_| of(ORDERS, 0, timestamp, -1))?;
    }
    asker.ask_each("an unknown topic", 1..=10, |_| of(NOWHERE, 0, -1, -1))?;
    asker.ask_each("an unknown partition", 1..=10, |_| of(ORDERS, 99, -1, -1))?;
    asker.ask_each("an epoch too new", 4..=10, |_| of(ORDERS, 0, -1, 99))?;
    asker.ask_each("read committed", 2..=10, |_| {
        of(ORDERS, 0, -1, -1).with_isolation_level(1)
    })?;
    Ok(())
}

fn epochs(asker: &mut Asker) -> Result<()> {
    let of = |name: &str, partition: i32, current: i32, epoch: i32| {
        let asked = OffsetForLeaderPartition::default()
            .with_partition(partition)
            .with_current_leader_epoch(current)
            .with_leader_epoch(epoch);
        let asked = OffsetForLeaderTopic::default()
            .with_topic(topic(name))
            .with_partitions(vec![asked]);
        OffsetForLeaderEpochRequest::default().with_topics(vec![asked])
    };
    for (what, name, partition, current, epoch) in [
        ("the epoch", ORDERS, 0, -1, 0),
        ("an epoch that was never", ORDERS, 0, -1, 7),
        ("a negative epoch", ORDERS, 0, -1, -1),
        ("a current epoch too new", ORDERS, 0, 9, 0),
        ("an unknown topic", NOWHERE, 0, -1, 0),
        ("an unknown partition", ORDERS, 99, -1, 0),
    ] {
        asker.ask_each(what, 2..=4, |_| of(name, partition, current, epoch))?;
    }
    Ok(())
}

fn deleted(asker: &mut Asker) -> Result<()> {
    let of = |name: &str, partition: i32, offset: i64| {
        let asked = DeleteRecordsPartition::default()
            .with_partition_index(partition)
            .with_offset(offset);
        let asked = DeleteRecordsTopic::default()
            .with_name(topic(name))
            .with_partitions(vec![asked]);
        DeleteRecordsRequest::default()
            .with_topics(vec![asked])
            .with_timeout_ms(TIMEOUT_MS)
    };
    for (what, name, partition, offset) in [
        ("before the third", ORDERS, 0, 2),
        ("before the second, which is gone", ORDERS, 0, 1),
        ("behind the end", ORDERS, 0, 1000),
        ("a negative offset", ORDERS, 0, -2),
        ("all of a partition", ORDERS, 1, -1),
        ("an unknown topic", NOWHERE, 0, 0),
        ("an unknown partition", ORDERS, 99, 0),
    ] {
        asker.ask_each(what, 0..=2, |_| of(name, partition, offset))?;
    }
    Ok(())
}

fn producers(asker: &mut Asker) -> Result<()> {
    let plain = InitProducerIdRequest::default()
        .with_transactional_id(None)
        .with_transaction_timeout_ms(60_000);
    // Kafka fetches its first block of ids when the first is asked for.
    asker.until(0, &plain, |answer| answer.error_code == 0)?;
    asker.ask_each("a producer", 0..=5, |_| plain.clone())?;
    let again = |id: i64, epoch: i16| {
        plain
            .clone()
            .with_producer_id(ProducerId(id))
            .with_producer_epoch(epoch)
    };
    asker.ask_each("a producer that has an id", 3..=5, |_| again(5, 0))?;
    asker.ask_each("an id without an epoch", 3..=5, |_| again(5, -1))?;
    asker.ask_each("an epoch without an id", 3..=5, |_| again(-1, 1))?;
    Ok(())
}
