//! Fetch (1): whole batches from an offset on, waiting for more where there is too little.
//!
//! Every fetch is answered as a full one (session id 0): a broker without sessions is what a client
//! must expect anyway when a broker's cache of sessions is full (KIP-227).

use std::sync::Arc;
use std::time::Duration;

use foz_metadata::Image;
use foz_protocol::error::ErrorCode;
use foz_protocol::fetch::{
    FetchPartition, FetchPartitionResponse, FetchRequest, FetchResponse, FetchTopic,
    FetchTopicResponse,
};
use foz_protocol::frame::BodyError;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use super::leader_hint::LeaderHints;
use super::topic_view;
use crate::authorizer::{Operation, Resource};
use crate::dispatch::{Answer, Call, NotARequest, Pending};
use crate::net::budget::Reserved;
use crate::partition::{Partition, ReadError};
use crate::request::RequestContext;

/// Kafka's broker setting `fetch.max.bytes`.
const RESPONSE_BYTES_MAX: usize = 55 * 1024 * 1024;
/// A response may be smaller than the client allows: while memory is short, this is what each gets.
const RESPONSE_BYTES_LEAST: usize = 1024 * 1024;
/// No client may hold a request longer.
const WAIT_MAX: Duration = Duration::from_secs(300);
/// Ordinary consumers; brokers and tools say who they are (a replica id from 0).
const CONSUMER: i32 = -1;

pub(crate) fn start(call: Call) -> Result<Pending, NotARequest> {
    let version = call.context.version;
    let request = FetchRequest::parse(version, &call.body)
        .map_err(|error| call.malformed(BodyError::from(error)))?;
    let Call {
        context,
        correlation_id,
        ..
    } = call;
    Ok(Box::pin(async move {
        let (response, held) = answer(&context, &request).await;
        Answer::Reply {
            segments: response.encode(version, correlation_id),
            held,
        }
    }))
}

async fn answer(
    context: &RequestContext,
    request: &FetchRequest,
) -> (FetchResponse, Option<Reserved>) {
    if let Some(error) = session_error(request) {
        return (response(error, Vec::new(), Vec::new()), None);
    }
    let bytes_max = usize::try_from(request.max_bytes)
        .unwrap_or(0)
        .min(RESPONSE_BYTES_MAX);
    let bytes_min = usize::try_from(request.min_bytes)
        .unwrap_or(0)
        .min(bytes_max);
    let wait = Duration::from_millis(u64::try_from(request.max_wait_ms).unwrap_or(0)).min(WAIT_MAX);
    let deadline = Instant::now() + wait;
    let budget = &context.broker.response_budget;
    loop {
        let mut held = budget.reserve_some(bytes_max, RESPONSE_BYTES_LEAST).await;
        let room = bytes_max.min(held.bytes());
        let image = context.broker.image();
        let moved = Arc::new(Notify::new());
        let mut read = Reading {
            context,
            image: &image,
            moved: &moved,
            room,
            failed: false,
            bytes: 0,
        };
        let topics: Vec<FetchTopicResponse> = request
            .topics
            .iter()
            .map(|topic| read.topic(topic, request.replica_id))
            .collect();
        let (bytes, failed) = (read.bytes, read.failed);
        // Memory is held for what will be written, not while waiting for more.
        held.shrink(bytes);
        // With less room than was asked for, more than this would not fit either.
        let is_full = room < bytes_max && bytes > 0;
        let enough = bytes >= bytes_min || is_full || failed || request.topics.is_empty();
        if enough || Instant::now() >= deadline || context.client.gone.is_cancelled() {
            context.broker.metrics.fetched_bytes.inc_by(bytes as u64);
            let mut hints = LeaderHints::new(&image);
            let topics = topics
                .into_iter()
                .map(|topic| hints.fill_fetch(topic))
                .collect();
            return (
                response(ErrorCode::None, topics, hints.endpoints()),
                Some(held),
            );
        }
        drop(topics);
        drop(held);
        tokio::select! {
            _ = timeout_at(deadline, moved.notified()) => {}
            () = context.client.gone.cancelled() => {}
        }
    }
}

fn session_error(request: &FetchRequest) -> Option<ErrorCode> {
    // Epochs 0 and -1 ask for a full fetch, with or without a new session; any other belongs to a
    // session, and there is none here.
    (request.session_epoch > 0).then_some(ErrorCode::FetchSessionIdNotFound)
}

fn response(
    error: ErrorCode,
    topics: Vec<FetchTopicResponse>,
    node_endpoints: Vec<foz_protocol::leader::NodeEndpoint>,
) -> FetchResponse {
    FetchResponse {
        throttle_time_ms: 0,
        error,
        session_id: 0,
        topics,
        node_endpoints,
    }
}

/// One pass over everything that was asked for.
struct Reading<'a> {
    context: &'a RequestContext,
    image: &'a Image,
    moved: &'a Arc<Notify>,
    room: usize,
    /// A partition answered with an error: the client hears of it at once.
    failed: bool,
    bytes: usize,
}

impl Reading<'_> {
    fn topic(&mut self, topic: &FetchTopic, replica_id: i32) -> FetchTopicResponse {
        let known = topic_view::find(self.image, &topic.topic).and_then(|known| {
            match self
                .context
                .allows(Operation::Read, &Resource::Topic(&known.name))
            {
                true => Ok(known),
                false => Err(ErrorCode::TopicAuthorizationFailed),
            }
        });
        let partitions = topic
            .partitions
            .iter()
            .map(|wanted| {
                let read = known.clone().and_then(|known| {
                    let partitions = &self.context.broker.partitions;
                    let partition = partitions.find(&known, wanted.partition)?;
                    // Nobody follows partitions with a single replica.
                    if replica_id > CONSUMER {
                        return Err(ErrorCode::NotLeaderOrFollower);
                    }
                    Ok(partition)
                });
                match read {
                    Ok(partition) => self.partition(&partition, wanted),
                    Err(error) => self.failed(wanted.partition, error),
                }
            })
            .collect();
        FetchTopicResponse {
            topic: topic.topic.clone(),
            partitions,
        }
    }

    fn partition(
        &mut self,
        partition: &Partition,
        wanted: &FetchPartition,
    ) -> FetchPartitionResponse {
        partition.moved.register(self.moved);
        let limit = usize::try_from(wanted.partition_max_bytes)
            .unwrap_or(0)
            .min(self.room);
        // A batch larger than every limit must get through, or the consumer is stuck (KIP-74).
        let at_least_one = self.bytes == 0;
        match partition.read(
            wanted.fetch_offset,
            wanted.current_leader_epoch,
            limit,
            at_least_one,
        ) {
            Ok(read) => {
                let bytes: usize = read.records.iter().map(bytes::Bytes::len).sum();
                self.bytes += bytes;
                self.room = self.room.saturating_sub(bytes);
                FetchPartitionResponse::read(
                    wanted.partition,
                    read.high_watermark,
                    read.log_start_offset,
                    read.records,
                )
            }
            Err(ReadError {
                error,
                high_watermark,
                log_start_offset,
            }) => FetchPartitionResponse {
                high_watermark,
                log_start_offset,
                ..self.failed(wanted.partition, error)
            },
        }
    }

    fn failed(&mut self, partition: i32, error: ErrorCode) -> FetchPartitionResponse {
        self.failed = true;
        FetchPartitionResponse::failed(partition, error)
    }
}
