use bytes::Bytes;
use kafka_protocol::protocol::StrBytes;
use uuid::Uuid;

use super::{FLEXIBLE_FROM, TOPIC_IDS_FROM};
use crate::frame::slice_string;
use crate::produce::spend;
use crate::topic::TopicRef;
use crate::wire::{Reader, WireError};

/// Topics and partitions that one request may name. A cluster has at most some 200,000 partitions.
pub const FETCH_PARTITIONS_MAX: usize = 250_000;

/// Which records a consumer sees.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum IsolationLevel {
    /// All below the high watermark.
    #[default]
    ReadUncommitted,
    /// All below the last stable offset, and what was aborted (KIP-98).
    ReadCommitted,
}

/// A Fetch request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchRequest {
    /// The follower that asks; -1 is a consumer.
    pub replica_id: i32,
    /// The follower's broker epoch; -1 is a consumer, or a version below 15.
    pub replica_epoch: i64,
    /// How long to wait for `min_bytes`, in ms.
    pub max_wait_ms: i32,
    /// Bytes that make the wait end.
    pub min_bytes: i32,
    /// Bytes that the response should not exceed, its first batch aside.
    pub max_bytes: i32,
    /// Which records are seen.
    pub isolation_level: IsolationLevel,
    /// 0 for none, or to begin one.
    pub session_id: i32,
    /// -1 for no session (the last request of one), 0 to begin one.
    pub session_epoch: i32,
    /// In a session: what is new or changed; else everything.
    pub topics: Vec<FetchTopic>,
    /// What leaves the session.
    pub forgotten_topics: Vec<ForgottenTopic>,
    /// The consumer's rack; empty when it has none.
    pub rack_id: StrBytes,
    /// The cluster that the client means, if it says so.
    pub cluster_id: Option<StrBytes>,
}

/// A topic of a Fetch request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchTopic {
    /// Name or id.
    pub topic: TopicRef,
    /// Its partitions.
    pub partitions: Vec<FetchPartition>,
}

/// A partition of a Fetch request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FetchPartition {
    /// Its index.
    pub partition: i32,
    /// The leader epoch that the client knows; -1 for none (KIP-320).
    pub current_leader_epoch: i32,
    /// The first offset to read.
    pub fetch_offset: i64,
    /// The epoch of the record before it; -1 for none.
    pub last_fetched_epoch: i32,
    /// The follower's log start offset; -1 for consumers.
    pub log_start_offset: i64,
    /// Bytes that this partition should not exceed, its first batch aside.
    pub partition_max_bytes: i32,
    /// The follower's directory (KIP-853); nil when it does not say.
    pub replica_directory_id: Uuid,
    /// The follower's high watermark (KIP-1166); `i64::MAX` when it does not say.
    pub high_watermark: i64,
}

/// Partitions that leave a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForgottenTopic {
    /// Name or id.
    pub topic: TopicRef,
    /// Its partitions.
    pub partitions: Vec<i32>,
}

impl FetchRequest {
    /// Reads the body of a request of version 4 to 18.
    ///
    /// # Errors
    /// [`WireError`]; Kafka closes the connection.
    pub fn parse(version: i16, body: &Bytes) -> Result<Self, WireError> {
        let flexible = version >= FLEXIBLE_FROM;
        let reader = &mut Reader::new(body);
        let mut budget = FETCH_PARTITIONS_MAX;
        let mut request = Self {
            replica_id: if version <= 14 {
                reader.i32("replica_id")?
            } else {
                -1
            },
            replica_epoch: -1,
            max_wait_ms: reader.i32("max_wait_ms")?,
            min_bytes: reader.i32("min_bytes")?,
            max_bytes: reader.i32("max_bytes")?,
            isolation_level: parse_isolation_level(reader.i8("isolation_level")?)?,
            session_id: if version >= 7 {
                reader.i32("session_id")?
            } else {
                0
            },
            session_epoch: if version >= 7 {
                reader.i32("session_epoch")?
            } else {
                -1
            },
            topics: parse_topics(version, body, reader, &mut budget)?,
            forgotten_topics: Vec::new(),
            rack_id: StrBytes::new(),
            cluster_id: None,
        };
        if version >= 7 {
            request.forgotten_topics = parse_forgotten_topics(version, body, reader, &mut budget)?;
        }
        if version >= 11 {
            request.rack_id = slice_string(body, reader.string(flexible, "rack_id")?);
        }
        reader.tagged_fields(flexible, |tag, value| {
            let mut value = Reader::new(value);
            match tag {
                0 => {
                    let id = value.nullable_string(true, "cluster_id")?;
                    request.cluster_id = id.map(|id| slice_string(body, id));
                }
                1 if version >= 15 => {
                    request.replica_id = value.i32("replica_id")?;
                    request.replica_epoch = value.i64("replica_epoch")?;
                }
                _ => {}
            }
            Ok(())
        })?;
        Ok(request)
    }
}

fn parse_isolation_level(raw: i8) -> Result<IsolationLevel, WireError> {
    match raw {
        0 => Ok(IsolationLevel::ReadUncommitted),
        1 => Ok(IsolationLevel::ReadCommitted),
        _ => Err(WireError::Value {
            field: "isolation_level",
            value: i64::from(raw),
            rule: "0 (read_uncommitted) or 1 (read_committed) is right",
        }),
    }
}

fn parse_topic_ref(
    version: i16,
    body: &Bytes,
    reader: &mut Reader<'_>,
) -> Result<TopicRef, WireError> {
    if version >= TOPIC_IDS_FROM {
        return Ok(TopicRef::Id(Uuid::from_bytes(reader.uuid("topic_id")?)));
    }
    let name = reader.string(version >= FLEXIBLE_FROM, "topic")?;
    Ok(TopicRef::Name(slice_string(body, name)))
}

fn parse_topics(
    version: i16,
    body: &Bytes,
    reader: &mut Reader<'_>,
    budget: &mut usize,
) -> Result<Vec<FetchTopic>, WireError> {
    let flexible = version >= FLEXIBLE_FROM;
    // A topic takes at least its name's length and its array's length.
    let count = reader.array_length(flexible, 2, "topics")?;
    spend(budget, count, "topics")?;
    let mut topics = Vec::with_capacity(count);
    for _ in 0..count {
        let topic = parse_topic_ref(version, body, reader)?;
        // A partition takes at least an index, an offset and a number of bytes.
        let count = reader.array_length(flexible, 16, "partitions")?;
        spend(budget, count, "partitions")?;
        let mut partitions = Vec::with_capacity(count);
        for _ in 0..count {
            partitions.push(parse_partition(version, reader)?);
        }
        reader.skip_tagged_fields(flexible)?;
        topics.push(FetchTopic { topic, partitions });
    }
    Ok(topics)
}

fn parse_partition(version: i16, reader: &mut Reader<'_>) -> Result<FetchPartition, WireError> {
    let mut partition = FetchPartition {
        partition: reader.i32("partition")?,
        current_leader_epoch: if version >= 9 {
            reader.i32("current_leader_epoch")?
        } else {
            -1
        },
        fetch_offset: reader.i64("fetch_offset")?,
        last_fetched_epoch: if version >= 12 {
            reader.i32("last_fetched_epoch")?
        } else {
            -1
        },
        log_start_offset: if version >= 5 {
            reader.i64("log_start_offset")?
        } else {
            -1
        },
        partition_max_bytes: reader.i32("partition_max_bytes")?,
        replica_directory_id: Uuid::nil(),
        high_watermark: i64::MAX,
    };
    reader.tagged_fields(version >= FLEXIBLE_FROM, |tag, value| {
        let mut value = Reader::new(value);
        match tag {
            0 if version >= 17 => {
                let id = value.uuid("replica_directory_id")?;
                partition.replica_directory_id = Uuid::from_bytes(id);
            }
            1 if version >= 18 => partition.high_watermark = value.i64("high_watermark")?,
            _ => {}
        }
        Ok(())
    })?;
    Ok(partition)
}

fn parse_forgotten_topics(
    version: i16,
    body: &Bytes,
    reader: &mut Reader<'_>,
    budget: &mut usize,
) -> Result<Vec<ForgottenTopic>, WireError> {
    let flexible = version >= FLEXIBLE_FROM;
    let count = reader.array_length(flexible, 2, "forgotten_topics_data")?;
    spend(budget, count, "forgotten_topics_data")?;
    let mut topics = Vec::with_capacity(count);
    for _ in 0..count {
        let topic = parse_topic_ref(version, body, reader)?;
        let count = reader.array_length(flexible, 4, "forgotten partitions")?;
        spend(budget, count, "forgotten partitions")?;
        let mut partitions = Vec::with_capacity(count);
        for _ in 0..count {
            partitions.push(reader.i32("a forgotten partition")?);
        }
        reader.skip_tagged_fields(flexible)?;
        topics.push(ForgottenTopic { topic, partitions });
    }
    Ok(topics)
}
