//! A transaction that hangs: a leader has a record of it, and no coordinator knows that it takes part (KIP-664).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, anyhow, ensure};
use bytes::Bytes;
use foz_protocol::codec::Compression;
use foz_protocol::error::ErrorCode;
use foz_protocol::frame;
use foz_protocol::record::{BatchBuilder, RecordToWrite};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{
    ApiKey, InitProducerIdRequest, MetadataRequest, ProduceRequest, TopicName, TransactionalId,
};
use kafka_protocol::protocol::{Request, StrBytes};

use crate::clients::exchange::exchange;

const CLIENT_ID: &str = "hanging";
const LIMIT: Duration = Duration::from_secs(30);
const METADATA_VERSION: i16 = 9;
const INIT_VERSION: i16 = 4;
/// The newest whose partitions nobody adds to the transaction for the producer (KIP-890).
const PRODUCE_VERSION: i16 = 10;
/// `find-hanging` looks for those older than a quarter of an hour.
const AGE: Duration = Duration::from_secs(60 * 60);
const TIMEOUT_MS: i32 = 20_000;
const ALL_IN_SYNC: i16 = -1;

/// Writes the record into the topic's first partition.
///
/// # Errors
/// The topic has no leader; the leader takes no record of a partition that was not added, unless
/// `transaction.partition.verification.enable` is false.
pub(super) fn hang(bootstrap: &str, topic: &str) -> Result<()> {
    let first = bootstrap.split(',').next().unwrap_or_default();
    let leader = leader(first, topic).context("Metadata")?;
    // Who has no transactional id gets a producer id of which no coordinator knows.
    let request = InitProducerIdRequest::default()
        .with_transactional_id(None)
        .with_transaction_timeout_ms(TIMEOUT_MS);
    let producer = ask(&leader, INIT_VERSION, &request).context("InitProducerId")?;
    succeeded(producer.error_code).context("InitProducerId")?;
    let id = (producer.producer_id.0, producer.producer_epoch);
    let written = ask(&leader, PRODUCE_VERSION, &producing(topic, id)?).context("Produce")?;
    let mut partitions = written
        .responses
        .iter()
        .flat_map(|it| &it.partition_responses);
    let partition = partitions.next().context("Produce: no partition")?;
    succeeded(partition.error_code).context("Produce")
}

/// Where the leader of the topic's first partition listens.
fn leader(address: &str, topic: &str) -> Result<String> {
    let wanted = MetadataRequestTopic::default().with_name(Some(topic_name(topic)));
    let request = MetadataRequest::default()
        .with_topics(Some(vec![wanted]))
        .with_allow_auto_topic_creation(false);
    let found = ask(address, METADATA_VERSION, &request)?;
    let described = found.topics.first().context("no topic")?;
    succeeded(described.error_code)?;
    let mut partitions = described.partitions.iter();
    let partition = partitions
        .find(|it| it.partition_index == 0)
        .context("no partition 0")?;
    succeeded(partition.error_code)?;
    let mut brokers = found.brokers.iter();
    let leader = brokers
        .find(|it| it.node_id == partition.leader_id)
        .with_context(|| format!("no broker {}", partition.leader_id.0))?;
    Ok(format!("{}:{}", leader.host, leader.port))
}

fn producing(topic: &str, (producer_id, epoch): (i64, i16)) -> Result<ProduceRequest> {
    let mut builder = BatchBuilder::new(Compression::None)
        .idempotent(producer_id, epoch, 0)
        .transactional();
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
    builder.push(&RecordToWrite {
        timestamp_ms: i64::try_from((now - AGE).as_millis())?,
        value: Some(b"hangs"),
        ..RecordToWrite::default()
    });
    let partition = PartitionProduceData::default()
        .with_index(0)
        .with_records(Some(Bytes::from(builder.build()?)));
    let data = TopicProduceData::default()
        .with_name(topic_name(topic))
        .with_partition_data(vec![partition]);
    let id = StrBytes::from_string(format!("{CLIENT_ID}-{topic}"));
    Ok(ProduceRequest::default()
        .with_transactional_id(Some(TransactionalId(id)))
        .with_acks(ALL_IN_SYNC)
        .with_timeout_ms(TIMEOUT_MS)
        .with_topic_data(vec![data]))
}

fn topic_name(name: &str) -> TopicName {
    TopicName(StrBytes::from_string(name.to_owned()))
}

fn succeeded(code: i16) -> Result<()> {
    let error = ErrorCode::from(code);
    ensure!(error == ErrorCode::None, "{error:?}");
    Ok(())
}

/// Over a connection of its own.
fn ask<Q: Request>(address: &str, version: i16, request: &Q) -> Result<Q::Response> {
    const CORRELATION_ID: i32 = 1;
    let key = ApiKey::try_from(Q::KEY).map_err(|()| anyhow!("key {}", Q::KEY))?;
    let frame = frame::encode_request(version, CORRELATION_ID, CLIENT_ID, request)?;
    let answer = exchange(address, &frame, LIMIT)?;
    let (_, body) = frame::parse_response(key, version, &answer.into())?;
    Ok(frame::decode_response(version, body)?)
}
