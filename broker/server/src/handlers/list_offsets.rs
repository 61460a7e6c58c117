//! ListOffsets (2): the offset for a timestamp, or one end of the log.

use std::sync::Arc;
use std::time::Duration;

use foz_protocol::error::ErrorCode;
use kafka_protocol::messages::list_offsets_request::ListOffsetsPartition;
use kafka_protocol::messages::list_offsets_response::{
    ListOffsetsPartitionResponse, ListOffsetsTopicResponse,
};
use kafka_protocol::messages::{ListOffsetsRequest, ListOffsetsResponse};
use tokio::time::Instant;

use crate::authorizer::{Operation, Resource};
use crate::partition::OffsetQuery;
use crate::request::RequestContext;

/// KIP-207.
const OFFSET_NOT_AVAILABLE_FROM: i16 = 5;
const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
/// KIP-734.
const MAX_TIMESTAMP: i64 = -3;
/// KIP-405: without tiers everything is local.
const EARLIEST_LOCAL: i64 = -4;
/// KIP-1005: nothing is tiered.
const LATEST_TIERED: i64 = -5;
/// KIP-1023: nothing waits for an upload.
const EARLIEST_PENDING_UPLOAD: i64 = -6;

/// What asks for something else than a time, and the first version in which it may. Any other negative
/// timestamp is refused, as Kafka does.
const SENTINELS: [(i64, i16); 6] = [
    (LATEST, 1),
    (EARLIEST, 1),
    (MAX_TIMESTAMP, 7),
    (EARLIEST_LOCAL, 8),
    (LATEST_TIERED, 9),
    (EARLIEST_PENDING_UPLOAD, 11),
];

/// How long an answer waits for the quorum to confirm that this broker still leads. One that was stopped or
/// cut off for a while does not know of its successor, whose end clients may have seen: what KIP-207 is about,
/// before the leader knows that it changed.
const CONFIRMATION_MAX: Duration = Duration::from_secs(1);

/// Before this version an answer carries no epoch.
const LEADER_EPOCH_FROM: i16 = 4;

pub(crate) async fn handle(
    context: RequestContext,
    request: ListOffsetsRequest,
) -> ListOffsetsResponse {
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in &request.topics {
        let name = topic.name.as_str();
        let allowed = context.allows(Operation::Describe, &Resource::Topic(name));
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for wanted in &topic.partitions {
            let found = if allowed {
                find(&context, name, wanted).await
            } else {
                Err(ErrorCode::TopicAuthorizationFailed)
            };
            partitions.push(answer(context.version, wanted.partition_index, found));
        }
        topics.push(
            ListOffsetsTopicResponse::default()
                .with_name(topic.name.clone())
                .with_partitions(partitions),
        );
    }
    ListOffsetsResponse::default().with_topics(topics)
}

/// Offset, timestamp and leader epoch of what was asked for.
struct Found {
    offset: i64,
    timestamp_ms: i64,
    leader_epoch: i32,
}

const NOTHING: Found = Found {
    offset: -1,
    timestamp_ms: -1,
    leader_epoch: -1,
};

async fn find(
    context: &RequestContext,
    topic: &str,
    wanted: &ListOffsetsPartition,
) -> Result<Found, ErrorCode> {
    if !may_ask(context.version, wanted.timestamp) {
        return Err(ErrorCode::UnsupportedVersion);
    }
    let image = context.broker.image();
    let topic = image
        .topic(topic)
        .ok_or(ErrorCode::UnknownTopicOrPartition)?;
    let partition = context
        .broker
        .partitions
        .find(topic, wanted.partition_index)?;
    let query = match wanted.timestamp {
        LATEST => OffsetQuery::Latest,
        EARLIEST | EARLIEST_LOCAL => OffsetQuery::Earliest,
        MAX_TIMESTAMP => OffsetQuery::MaxTimestamp,
        LATEST_TIERED | EARLIEST_PENDING_UPLOAD => return Ok(NOTHING),
        timestamp => OffsetQuery::Timestamp(timestamp),
    };
    let epoch = wanted.current_leader_epoch;
    let deadline = Instant::now() + CONFIRMATION_MAX;
    let found = loop {
        // A search by time reads index and records from disk.
        let searched = Arc::clone(&partition);
        let found = tokio::task::spawn_blocking(move || searched.find_offset(query, epoch))
            .await
            .map_err(|_| ErrorCode::UnknownServerError)??;
        // After the end was read: this process may have been stopped in between.
        let lease = &context.broker.lease;
        if query != OffsetQuery::Latest || partition.leads_alone() || lease.is_fresh() {
            break found;
        }
        if !lease.renewed(deadline).await {
            return Err(ErrorCode::OffsetNotAvailable);
        }
    };
    Ok(found.map_or(NOTHING, |found| Found {
        offset: found.offset,
        timestamp_ms: found.timestamp_ms,
        leader_epoch: found.leader_epoch,
    }))
}

fn may_ask(version: i16, timestamp: i64) -> bool {
    timestamp >= 0
        || SENTINELS
            .iter()
            .any(|(sentinel, since)| *sentinel == timestamp && version >= *since)
}

fn answer(
    version: i16,
    index: i32,
    found: Result<Found, ErrorCode>,
) -> ListOffsetsPartitionResponse {
    let found = found.map_err(|error| match error {
        ErrorCode::OffsetNotAvailable if version < OFFSET_NOT_AVAILABLE_FROM => {
            ErrorCode::LeaderNotAvailable
        }
        error => error,
    });
    let (error, found) = match found {
        Ok(found) => (ErrorCode::None, found),
        Err(error) => (error, NOTHING),
    };
    let leader_epoch = if version >= LEADER_EPOCH_FROM {
        found.leader_epoch
    } else {
        -1
    };
    ListOffsetsPartitionResponse::default()
        .with_partition_index(index)
        .with_error_code(error.code())
        .with_timestamp(found.timestamp_ms)
        .with_offset(found.offset)
        .with_leader_epoch(leader_epoch)
}
