//! Produce, read and written by hand: records stay where they lie in the frame.
//!
//! Schema: Kafka's `ProduceRequest.json` and `ProduceResponse.json`, versions 3 to 13. Flexible from
//! 9, leader hints from 10 (KIP-951), topic ids from 13 (KIP-516).

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::protocol::StrBytes;
use uuid::Uuid;

use crate::error::ErrorCode;
use crate::frame::{LENGTH_BYTES, put_response_header, set_length, slice_string};
use crate::leader::{LeaderIdAndEpoch, NodeEndpoint, put_node_endpoints};
use crate::topic::TopicRef;
use crate::wire::{
    Reader, WireError, put_no_tagged_fields, put_nullable_length, put_nullable_string,
    put_unsigned_varint,
};

const FLEXIBLE_FROM: i16 = 9;
const TOPIC_IDS_FROM: i16 = 13;
/// Partitions that one request may name. A cluster has at most some 200,000.
pub const PRODUCE_PARTITIONS_MAX: usize = 250_000;

/// A Produce request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProduceRequest {
    /// `None` outside of transactions.
    pub transactional_id: Option<StrBytes>,
    /// -1 all in-sync replicas, 0 no answer, 1 the leader alone; others are
    /// `INVALID_REQUIRED_ACKS`.
    pub acks: i16,
    /// How long to wait for the replicas, in ms.
    pub timeout_ms: i32,
    /// In the order of the wire; a topic may come more than once.
    pub topics: Vec<ProduceTopic>,
}

/// A topic of a Produce request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProduceTopic {
    /// Name or id.
    pub topic: TopicRef,
    /// Its partitions.
    pub partitions: Vec<ProducePartition>,
}

/// A partition of a Produce request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProducePartition {
    /// Its index.
    pub index: i32,
    /// Batches as they came, a slice of the frame; nothing of them has been checked.
    pub records: Option<Bytes>,
}

impl ProduceRequest {
    /// Reads the body of a request of version 3 to 13.
    ///
    /// # Errors
    /// [`WireError`]; Kafka closes the connection.
    pub fn parse(version: i16, body: &Bytes) -> Result<Self, WireError> {
        let flexible = version >= FLEXIBLE_FROM;
        let mut reader = Reader::new(body);
        let transactional_id = reader.nullable_string(flexible, "transactional_id")?;
        let transactional_id = transactional_id.map(|id| slice_string(body, id));
        let acks = reader.i16("acks")?;
        let timeout_ms = reader.i32("timeout_ms")?;
        // A topic takes at least its name's length and its array's length.
        let count = reader.array_length(flexible, 2, "topic_data")?;
        let mut budget = PRODUCE_PARTITIONS_MAX;
        spend(&mut budget, count, "topic_data")?;
        let mut topics = Vec::with_capacity(count);
        for _ in 0..count {
            topics.push(parse_topic(version, body, &mut reader, &mut budget)?);
        }
        reader.skip_tagged_fields(flexible)?;
        Ok(Self {
            transactional_id,
            acks,
            timeout_ms,
            topics,
        })
    }
}

fn parse_topic(
    version: i16,
    body: &Bytes,
    reader: &mut Reader<'_>,
    budget: &mut usize,
) -> Result<ProduceTopic, WireError> {
    let flexible = version >= FLEXIBLE_FROM;
    let topic = if version >= TOPIC_IDS_FROM {
        TopicRef::Id(Uuid::from_bytes(reader.uuid("topic_id")?))
    } else {
        TopicRef::Name(slice_string(body, reader.string(flexible, "name")?))
    };
    // A partition takes at least its index and its records' length.
    let count = reader.array_length(flexible, 5, "partition_data")?;
    spend(budget, count, "partition_data")?;
    let mut partitions = Vec::with_capacity(count);
    for _ in 0..count {
        let index = reader.i32("index")?;
        let records = reader.nullable_bytes(flexible, "records")?;
        let records = records.map(|records| body.slice_ref(records));
        reader.skip_tagged_fields(flexible)?;
        partitions.push(ProducePartition { index, records });
    }
    reader.skip_tagged_fields(flexible)?;
    Ok(ProduceTopic { topic, partitions })
}

/// Takes `count` from what a request may still name.
pub(crate) fn spend(
    budget: &mut usize,
    count: usize,
    field: &'static str,
) -> Result<(), WireError> {
    match budget.checked_sub(count) {
        Some(left) => {
            *budget = left;
            Ok(())
        }
        None => Err(WireError::Length {
            field,
            length: count as i64,
            rule: "a request names at most 250000 topics and partitions in all",
        }),
    }
}

/// A Produce response.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProduceResponse {
    /// Topics as the request named them.
    pub topics: Vec<ProduceTopicResponse>,
    /// How long the client was held back for its quota, in ms.
    pub throttle_time_ms: i32,
    /// Where the leaders named in the partitions are; from version 10.
    pub node_endpoints: Vec<NodeEndpoint>,
}

/// A topic of a Produce response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProduceTopicResponse {
    /// As in the request.
    pub topic: TopicRef,
    /// Its partitions.
    pub partitions: Vec<ProducePartitionResponse>,
}

/// A partition of a Produce response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProducePartitionResponse {
    /// As in the request.
    pub index: i32,
    /// `None` when the records are written.
    pub error: ErrorCode,
    /// Offset of the first record, -1 with an error.
    pub base_offset: i64,
    /// The broker's clock, where the topic uses it; else -1.
    pub log_append_time_ms: i64,
    /// Where the log starts, -1 with an error; from version 5.
    pub log_start_offset: i64,
    /// Records that made the batch fail, by their index in it; from version 8 (KIP-467).
    pub record_errors: Vec<(i32, Option<String>)>,
    /// What was wrong; from version 8.
    pub error_message: Option<String>,
    /// The leader, when it is another one; from version 10.
    pub current_leader: Option<LeaderIdAndEpoch>,
}

impl ProducePartitionResponse {
    /// The records are written.
    #[must_use]
    pub fn written(
        index: i32,
        base_offset: i64,
        log_append_time_ms: i64,
        log_start_offset: i64,
    ) -> Self {
        Self {
            index,
            error: ErrorCode::None,
            base_offset,
            log_append_time_ms,
            log_start_offset,
            record_errors: Vec::new(),
            error_message: None,
            current_leader: None,
        }
    }

    /// The records are not written.
    #[must_use]
    pub fn failed(index: i32, error: ErrorCode, error_message: Option<String>) -> Self {
        Self {
            error,
            error_message,
            ..Self::written(index, -1, -1, -1)
        }
    }
}

impl ProduceResponse {
    /// Encodes the whole frame.
    #[must_use]
    pub fn encode(&self, version: i16, correlation_id: i32) -> Bytes {
        let flexible = version >= FLEXIBLE_FROM;
        let partitions: usize = self.topics.iter().map(|topic| topic.partitions.len()).sum();
        let mut out = BytesMut::with_capacity(64 + 64 * self.topics.len() + 48 * partitions);
        put_response_header(&mut out, i16::from(flexible), correlation_id);
        put_nullable_length(&mut out, flexible, Some(self.topics.len()));
        for topic in &self.topics {
            topic.put(version, &mut out);
        }
        out.put_i32(self.throttle_time_ms);
        put_node_endpoints(&mut out, flexible, version >= 10, &self.node_endpoints);
        let length = out.len() - LENGTH_BYTES;
        set_length(&mut out, length);
        out.freeze()
    }
}

impl ProduceTopicResponse {
    fn put(&self, version: i16, out: &mut BytesMut) {
        let flexible = version >= FLEXIBLE_FROM;
        self.topic.put(flexible, out);
        put_nullable_length(out, flexible, Some(self.partitions.len()));
        for partition in &self.partitions {
            partition.put(version, out);
        }
        put_no_tagged_fields(out, flexible);
    }
}

impl ProducePartitionResponse {
    fn put(&self, version: i16, out: &mut BytesMut) {
        let flexible = version >= FLEXIBLE_FROM;
        out.put_i32(self.index);
        out.put_i16(self.error.code());
        out.put_i64(self.base_offset);
        out.put_i64(self.log_append_time_ms);
        if version >= 5 {
            out.put_i64(self.log_start_offset);
        }
        if version >= 8 {
            put_nullable_length(out, flexible, Some(self.record_errors.len()));
            for (batch_index, message) in &self.record_errors {
                out.put_i32(*batch_index);
                put_nullable_string(out, flexible, message.as_deref());
                put_no_tagged_fields(out, flexible);
            }
            put_nullable_string(out, flexible, self.error_message.as_deref());
        }
        match self.current_leader {
            Some(leader) if version >= 10 => {
                put_unsigned_varint(out, 1);
                leader.put_tagged(0, out);
            }
            _ => put_no_tagged_fields(out, flexible),
        }
    }
}
