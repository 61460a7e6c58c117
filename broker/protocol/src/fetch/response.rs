use bytes::{BufMut, Bytes, BytesMut};

use super::FLEXIBLE_FROM;
use crate::error::ErrorCode;
use crate::frame::{LENGTH_BYTES, put_response_header, set_length};
use crate::leader::{LeaderIdAndEpoch, NodeEndpoint, put_node_endpoints};
use crate::topic::TopicRef;
use crate::wire::{put_no_tagged_fields, put_nullable_length, put_unsigned_varint};

/// A Fetch response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchResponse {
    /// How long the client was held back for its quota, in ms.
    pub throttle_time_ms: i32,
    /// What is wrong with the request as a whole; from version 7.
    pub error: ErrorCode,
    /// 0 for none; from version 7.
    pub session_id: i32,
    /// In a session: what has news; else everything that was asked for.
    pub topics: Vec<FetchTopicResponse>,
    /// Where the leaders named in the partitions are; from version 16.
    pub node_endpoints: Vec<NodeEndpoint>,
}

/// A topic of a Fetch response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchTopicResponse {
    /// As in the request.
    pub topic: TopicRef,
    /// Its partitions.
    pub partitions: Vec<FetchPartitionResponse>,
}

/// A partition of a Fetch response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchPartitionResponse {
    /// As in the request.
    pub partition: i32,
    /// What is wrong with this partition.
    pub error: ErrorCode,
    /// -1 with an error.
    pub high_watermark: i64,
    /// Equal to the high watermark without open transactions; -1 with an error.
    pub last_stable_offset: i64,
    /// -1 with an error; from version 5.
    pub log_start_offset: i64,
    /// Where the follower's log leaves the leader's; from version 12.
    pub diverging_epoch: Option<EpochEndOffset>,
    /// The leader, when it is another one; from version 12.
    pub current_leader: Option<LeaderIdAndEpoch>,
    /// `None` for read_uncommitted.
    pub aborted_transactions: Option<Vec<AbortedTransaction>>,
    /// Where to read from instead; -1 for here; from version 11 (KIP-392).
    pub preferred_read_replica: i32,
    /// Batches, one after the other.
    pub records: Vec<Bytes>,
}

/// The end of an epoch in the leader's log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EpochEndOffset {
    /// The epoch.
    pub epoch: i32,
    /// The offset after its last record.
    pub end_offset: i64,
}

/// A transaction whose records a read_committed consumer skips.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AbortedTransaction {
    /// Its producer.
    pub producer_id: i64,
    /// Its first record.
    pub first_offset: i64,
}

impl FetchPartitionResponse {
    /// A partition that can be read.
    #[must_use]
    pub fn read(
        partition: i32,
        high_watermark: i64,
        log_start_offset: i64,
        records: Vec<Bytes>,
    ) -> Self {
        Self {
            partition,
            error: ErrorCode::None,
            high_watermark,
            last_stable_offset: high_watermark,
            log_start_offset,
            diverging_epoch: None,
            current_leader: None,
            aborted_transactions: None,
            preferred_read_replica: -1,
            records,
        }
    }

    /// A partition that cannot be read.
    #[must_use]
    pub fn failed(partition: i32, error: ErrorCode) -> Self {
        Self {
            error,
            ..Self::read(partition, -1, -1, Vec::new())
        }
    }

    /// Bytes of its records.
    #[must_use]
    pub fn record_bytes(&self) -> usize {
        self.records.iter().map(Bytes::len).sum()
    }
}

impl FetchResponse {
    /// The whole frame, to be written in this order. Segments are never empty.
    #[must_use]
    pub fn encode(self, version: i16, correlation_id: i32) -> Vec<Bytes> {
        let flexible = version >= FLEXIBLE_FROM;
        let partitions: usize = self.topics.iter().map(|topic| topic.partitions.len()).sum();
        let mut segments = Segments {
            headers: BytesMut::with_capacity(64 + 64 * self.topics.len() + 80 * partitions),
            records: Vec::with_capacity(partitions),
        };
        let out = &mut segments.headers;
        put_response_header(out, i16::from(flexible), correlation_id);
        out.put_i32(self.throttle_time_ms);
        if version >= 7 {
            out.put_i16(self.error.code());
            out.put_i32(self.session_id);
        }
        put_nullable_length(out, flexible, Some(self.topics.len()));
        for topic in self.topics {
            topic.put(version, &mut segments);
        }
        let out = &mut segments.headers;
        put_node_endpoints(out, flexible, version >= 16, &self.node_endpoints);
        segments.finish()
    }
}

/// All bytes but the records in one buffer, and where the records belong in it.
struct Segments {
    headers: BytesMut,
    records: Vec<(usize, Bytes)>,
}

impl Segments {
    fn finish(mut self) -> Vec<Bytes> {
        let records: usize = self.records.iter().map(|(_, records)| records.len()).sum();
        let length = self.headers.len() - LENGTH_BYTES + records;
        set_length(&mut self.headers, length);
        let headers = self.headers.freeze();
        let mut segments = Vec::with_capacity(2 * self.records.len() + 1);
        let mut from = 0;
        for (at, records) in self.records {
            if from < at {
                segments.push(headers.slice(from..at));
                from = at;
            }
            segments.push(records);
        }
        // The last partition is followed by tagged fields in flexible versions only.
        if from < headers.len() {
            segments.push(headers.slice(from..));
        }
        segments
    }
}

impl FetchTopicResponse {
    fn put(self, version: i16, segments: &mut Segments) {
        let flexible = version >= FLEXIBLE_FROM;
        self.topic.put(flexible, &mut segments.headers);
        put_nullable_length(&mut segments.headers, flexible, Some(self.partitions.len()));
        for partition in self.partitions {
            partition.put(version, segments);
        }
        put_no_tagged_fields(&mut segments.headers, flexible);
    }
}

impl FetchPartitionResponse {
    fn put(self, version: i16, segments: &mut Segments) {
        let flexible = version >= FLEXIBLE_FROM;
        let out = &mut segments.headers;
        out.put_i32(self.partition);
        out.put_i16(self.error.code());
        out.put_i64(self.high_watermark);
        out.put_i64(self.last_stable_offset);
        if version >= 5 {
            out.put_i64(self.log_start_offset);
        }
        let aborted = self.aborted_transactions.as_deref();
        put_nullable_length(out, flexible, aborted.map(<[_]>::len));
        for transaction in aborted.unwrap_or_default() {
            out.put_i64(transaction.producer_id);
            out.put_i64(transaction.first_offset);
            put_no_tagged_fields(out, flexible);
        }
        if version >= 11 {
            out.put_i32(self.preferred_read_replica);
        }
        put_nullable_length(out, flexible, Some(self.record_bytes()));
        let at = out.len();
        let records = self
            .records
            .into_iter()
            .filter(|records| !records.is_empty());
        segments
            .records
            .extend(records.map(|records| (at, records)));
        if flexible {
            put_hints(
                &mut segments.headers,
                self.diverging_epoch,
                self.current_leader,
            );
        }
    }
}

fn put_hints(
    out: &mut BytesMut,
    diverging_epoch: Option<EpochEndOffset>,
    current_leader: Option<LeaderIdAndEpoch>,
) {
    let count = u32::from(diverging_epoch.is_some()) + u32::from(current_leader.is_some());
    put_unsigned_varint(out, count);
    if let Some(diverging) = diverging_epoch {
        put_unsigned_varint(out, 0);
        put_unsigned_varint(out, 4 + 8 + 1);
        out.put_i32(diverging.epoch);
        out.put_i64(diverging.end_offset);
        put_no_tagged_fields(out, true);
    }
    if let Some(leader) = current_leader {
        leader.put_tagged(1, out);
    }
}
