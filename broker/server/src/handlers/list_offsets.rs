//! ListOffsets (2): the offset for a timestamp, or one end of the log.

use std::collections::HashSet;
use std::sync::Arc;

use foz_protocol::error::ErrorCode;
use foz_protocol::fetch::IsolationLevel;
use foz_records::list_offsets_request::{ListOffsetsPartition, ListOffsetsRequest};
use foz_records::list_offsets_response::{
    ListOffsetsPartitionResponse, ListOffsetsResponse, ListOffsetsTopicResponse,
};
use tokio::time::Instant;

use super::leadership::{CONFIRMATION_MAX, LedIn, Unconfirmed};
use crate::authorizer::{Operation, Resource};
use crate::broker::Broker;
use crate::partition::{OffsetQuery, monotonic_ms};
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

/// Before this version an answer carries no epoch.
const LEADER_EPOCH_FROM: i16 = 4;

pub(crate) async fn handle(
    context: RequestContext,
    request: ListOffsetsRequest,
) -> ListOffsetsResponse {
    let asked_ms = monotonic_ms();
    let twice = named_twice(&request);
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in &request.topics {
        let name: &str = &topic.name;
        let allowed = context.allows(Operation::Describe, &Resource::Topic(name));
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for wanted in &topic.partitions {
            let found = if !allowed {
                Err(ErrorCode::TopicAuthorizationFailed)
            } else if twice.contains(&(name, wanted.partition_index)) {
                Err(ErrorCode::InvalidRequest)
            } else {
                find(&context, name, wanted, request.isolation_level).await
            };
            partitions.push((wanted.partition_index, found));
        }
        topics.push((topic.name.clone(), partitions));
    }
    topics
        .iter()
        .flat_map(|(_, partitions)| partitions)
        .filter_map(|(_, found)| found.as_ref().ok()?.newest_in.as_ref())
        .for_each(|led| led.ask_followers(&context.broker, asked_ms));
    let deadline = Instant::now() + CONFIRMATION_MAX;
    let mut answers = Vec::with_capacity(topics.len());
    for (name, found) in topics {
        let mut partitions = Vec::with_capacity(found.len());
        for (index, found) in found {
            let confirmed = match found {
                Ok(found) => confirm(&context.broker, found, asked_ms, deadline).await,
                Err(error) => Err(error),
            };
            partitions.push(answer(context.version, index, confirmed));
        }
        answers.push(ListOffsetsTopicResponse { name, partitions });
    }
    ListOffsetsResponse {
        throttle_time_ms: 0,
        topics: answers,
    }
}

/// Offset, timestamp and leader epoch of what was asked for.
struct Found {
    offset: i64,
    timestamp_ms: i64,
    leader_epoch: i32,
    /// It is the newest end, as the leader in this epoch had it.
    newest_in: Option<LedIn>,
}

const NOTHING: Found = Found {
    offset: -1,
    timestamp_ms: -1,
    leader_epoch: -1,
    newest_in: None,
};

async fn find(
    context: &RequestContext,
    topic: &str,
    wanted: &ListOffsetsPartition,
    isolation_level: i8,
) -> Result<Found, ErrorCode> {
    let isolation_level = match isolation_level {
        0 => IsolationLevel::ReadUncommitted,
        1 => IsolationLevel::ReadCommitted,
        _ => return Err(ErrorCode::InvalidRequest),
    };
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
    let searched = Arc::clone(&partition);
    // A search by time reads index and records from disk.
    let find = move || searched.find_offset(query, isolation_level, epoch);
    let found = tokio::task::spawn_blocking(find)
        .await
        .map_err(|_| ErrorCode::UnknownServerError)??;
    Ok(found.map_or(NOTHING, |found| Found {
        offset: found.offset,
        timestamp_ms: found.timestamp_ms,
        leader_epoch: found.leader_epoch,
        newest_in: (query == OffsetQuery::Latest).then_some(LedIn {
            partition,
            leader_epoch: found.leader_epoch,
        }),
    }))
}

/// A leader that was stopped or cut off for a while does not know of its successor, whose newer end clients
/// may have seen: what KIP-207 is about, before the leader knows that it changed. So a newest end is told only
/// when it is known that nobody else leads.
async fn confirm(
    broker: &Broker,
    found: Found,
    asked_ms: i64,
    deadline: Instant,
) -> Result<Found, ErrorCode> {
    let Some(led) = &found.newest_in else {
        return Ok(found);
    };
    match led.confirm(broker, asked_ms, deadline).await {
        Ok(()) => Ok(found),
        Err(Unconfirmed::Over) => Err(ErrorCode::NotLeaderOrFollower),
        Err(Unconfirmed::Unknown) => Err(ErrorCode::OffsetNotAvailable),
    }
}

/// Partitions that a request names more than once, as Kafka refuses them: an answer could not say which
/// question it is for.
fn named_twice(request: &ListOffsetsRequest) -> HashSet<(&str, i32)> {
    let mut once = HashSet::new();
    let named = request.topics.iter().flat_map(|topic| {
        let indexes = topic.partitions.iter().map(|it| it.partition_index);
        indexes.map(|index| (&*topic.name, index))
    });
    named.filter(|named| !once.insert(*named)).collect()
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
    ListOffsetsPartitionResponse {
        partition_index: index,
        error_code: error.code(),
        timestamp: found.timestamp_ms,
        offset: found.offset,
        leader_epoch,
    }
}
