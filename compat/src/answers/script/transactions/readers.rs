//! What readers see of transactions that are committed, aborted and open.

use anyhow::Result;
use bytes::Bytes;
use foz_protocol::batch::Batches;
use foz_protocol::codec::Compression;
use foz_protocol::record::{BatchBuilder, RecordToWrite, Records, record_bytes};
use foz_records::list_offsets_request::{
    ListOffsetsPartition as NewerPartition, ListOffsetsRequest as NewerRequest,
    ListOffsetsTopic as NewerTopic,
};
use foz_records::list_offsets_response::ListOffsetsResponse;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::{
    ApiKey, BrokerId, FetchRequest, FetchResponse, ListOffsetsRequest, ProduceRequest,
};
use uuid::Uuid;

use super::super::{TIMEOUT_MS, topic};
use super::markers::describing;
use super::{Asker, END_VERSION, Producer, TIME_MS, create, producing, topic_data};

const READ: &str = "read";
const TOPIC_IDS_FROM: i16 = 13;
const PRODUCE_VERSION: i16 = 11;
const BYTES_MAX: i32 = 1 << 20;

pub(super) fn ask(asker: &mut Asker) -> Result<()> {
    let id = create(asker, READ, 1)?;
    produce(asker, &plain("before")?)?;
    let mut reader = Producer::init(asker, "reader")?;
    let mut sequence = 0;
    for (value, is_committed) in [("aborted", false), ("committed", true)] {
        write(asker, &reader, sequence, value)?;
        reader.end(asker, END_VERSION, is_committed)?;
        sequence += 1;
    }
    seen(asker, id, "none is open", &[0, 1, 3, 4])?;
    // Begins after `open`, and ends before it.
    let mut open = Producer::init(asker, "open")?;
    write(asker, &open, 0, "open")?;
    write(asker, &reader, sequence, "aborted within")?;
    reader.end(asker, END_VERSION, false)?;
    produce(asker, &plain("behind")?)?;
    seen(asker, id, "one is open", &[0, 2, 5, 6, 9])?;
    open.end(asker, END_VERSION, true)?;
    seen(asker, id, "all have ended", &[0, 5, 6, 10])
}

fn plain(value: &str) -> Result<ProduceRequest> {
    let mut builder = BatchBuilder::new(Compression::None);
    builder.push(&RecordToWrite {
        timestamp_ms: TIME_MS,
        value: Some(value.as_bytes()),
        ..RecordToWrite::default()
    });
    let records = Bytes::from(builder.build()?);
    Ok(producing(topic_data(0, records).with_name(topic(READ))))
}

fn write(asker: &mut Asker, producer: &Producer, sequence: i32, value: &str) -> Result<()> {
    producer.add(asker, &[(READ, &[0])])?;
    let records = producer.batch(sequence, value)?;
    produce(asker, &producer.producing(READ, 0, records))
}

/// Keeps no answer.
fn produce(asker: &mut Asker, request: &ProduceRequest) -> Result<()> {
    asker.until(PRODUCE_VERSION, request, |answer| {
        let mut partitions = answer
            .responses
            .iter()
            .flat_map(|it| &it.partition_responses);
        partitions.all(|partition| partition.error_code == 0)
    })?;
    Ok(())
}

fn seen(asker: &mut Asker, id: Uuid, when: &str, offsets: &[i64]) -> Result<()> {
    for isolation_level in [0, 1] {
        for offset in offsets {
            let what = format!("{when}, from {offset}, isolation {isolation_level}");
            let versions = match *offset {
                0 => vec![4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18],
                _ => vec![4, 11, 12, 13, 18],
            };
            for version in versions {
                let request = fetching(version, id, *offset).with_isolation_level(isolation_level);
                asker.ask_shown(&what, version, &request, show)?;
            }
        }
        for timestamp in [-1, -2, -3, -4, TIME_MS, TIME_MS + 1, TIME_MS + 2] {
            let what = format!("{when}, isolation {isolation_level}, {timestamp}");
            asker.ask_each(&what, 2..=10, |_| {
                let of = ListOffsetsPartition::default().with_timestamp(timestamp);
                let of = ListOffsetsTopic::default()
                    .with_name(topic(READ))
                    .with_partitions(vec![of]);
                ListOffsetsRequest::default()
                    .with_replica_id(BrokerId(-1))
                    .with_isolation_level(isolation_level)
                    .with_topics(vec![of])
            })?;
            newer(asker, &what, isolation_level, timestamp)?;
        }
    }
    asker.ask_shown(when, 0, &describing(READ, &[0]), |answer| {
        // A broker may keep them in any order.
        for partition in answer.topics.iter_mut().flat_map(|it| &mut it.partitions) {
            partition
                .active_producers
                .sort_by_key(|it| it.producer_id.0);
        }
        Ok(())
    })
}

fn newer(asker: &mut Asker, what: &str, isolation_level: i8, timestamp: i64) -> Result<()> {
    let of = NewerPartition {
        timestamp,
        ..NewerPartition::default()
    };
    let request = NewerRequest {
        replica_id: -1,
        isolation_level,
        topics: vec![NewerTopic {
            name: READ.into(),
            partitions: vec![of],
        }],
        timeout_ms: TIMEOUT_MS,
    };
    asker.ask_newer::<_, ListOffsetsResponse>(ApiKey::ListOffsets, what, 11, &request)
}

fn fetching(version: i16, id: Uuid, offset: i64) -> FetchRequest {
    let partition = FetchPartition::default()
        .with_fetch_offset(offset)
        .with_partition_max_bytes(BYTES_MAX);
    let of = FetchTopic::default().with_partitions(vec![partition]);
    let of = match version >= TOPIC_IDS_FROM {
        true => of.with_topic_id(id),
        false => of.with_topic(topic(READ)),
    };
    FetchRequest::default()
        .with_max_wait_ms(0)
        .with_min_bytes(0)
        .with_max_bytes(BYTES_MAX)
        .with_topics(vec![of])
}

/// Producer ids, and the times of markers, are in the records themselves.
fn show(answer: &mut FetchResponse) -> Result<()> {
    for topic in &mut answer.responses {
        for partition in &mut topic.partitions {
            if let Some(records) = &partition.records {
                partition.records = Some(Bytes::from(described(records)?));
            }
        }
    }
    Ok(())
}

fn described(records: &[u8]) -> Result<String> {
    let mut out = Vec::new();
    for batch in Batches::new(records) {
        let (header, batch) = batch?;
        header.check_crc(batch)?;
        let bytes = record_bytes(&header, batch, records.len())?;
        for record in Records::new(&header, &bytes) {
            let record = record?;
            let offset = record.offset(&header);
            if header.is_control() {
                // A version and a type; a version and the coordinator's epoch (KIP-98).
                out.push(format!(
                    "{offset} marker {:?} {:?} of epoch {}, sequence {}",
                    record.key, record.value, header.producer_epoch, header.base_sequence
                ));
            } else {
                let value = String::from_utf8_lossy(record.value.unwrap_or_default());
                out.push(format!(
                    "{offset} {value} of epoch {}, sequence {}, transactional {}",
                    header.producer_epoch,
                    header.base_sequence,
                    header.is_transactional()
                ));
            }
        }
    }
    Ok(out.join("; "))
}
