//! Fetch (1): whole batches from an offset on, waiting for more where there is too little.
//!
//! Consumers read what is committed, from the leader or (KIP-392) from a follower. Followers come in on the
//! replication listener, read to the end of the log, and thereby say how far they are. Both may keep
//! incremental sessions (KIP-227).

use std::sync::Arc;
use std::time::Duration;

use foz_metadata::Image;
use foz_protocol::error::ErrorCode;
use foz_protocol::fetch::{
    FetchPartition, FetchPartitionResponse, FetchRequest, FetchResponse, FetchTopicResponse,
};
use foz_protocol::frame::BodyError;
use foz_protocol::topic::TopicRef;
use foz_replication::{Begun, ReplicaSelector};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};
use uuid::Uuid;

use super::leader_hint::LeaderHints;
use super::topic_view;
use crate::authorizer::{Operation, Resource};
use crate::dispatch::{Answer, Call, NotARequest, Pending};
use crate::net::budget::Reserved;
use crate::partition::{
    ConsumerRead, FollowerAnswer, FollowerRead, Partition, Read, ReadError, monotonic_ms,
};
use crate::request::{Listener, RequestContext};

/// Kafka's broker setting `fetch.max.bytes`.
const RESPONSE_BYTES_MAX: usize = 55 * 1024 * 1024;
/// A response may be smaller than the client allows: while memory is short, this is what each gets.
const RESPONSE_BYTES_LEAST: usize = 1024 * 1024;
/// No client may hold a request longer.
const WAIT_MAX: Duration = Duration::from_secs(300);
/// The version from which topics have ids (KIP-516).
const TOPIC_IDS_FROM: i16 = 13;
/// The version from which consumers may read from followers (KIP-392); others take a follower for a leader.
const FOLLOWER_FETCHING_FROM: i16 = 11;
/// The only class of `replica.selector.class` that there is, in whatever package: Kafka's, or a port of it.
const RACK_AWARE: &str = "RackAwareReplicaSelector";
/// Ordinary consumers; brokers and tools say who they are (a replica id from 0).
const CONSUMER: i32 = -1;

pub(crate) fn start(call: Call) -> Result<Pending, NotARequest> {
    let version = call.context.version;
    let request = FetchRequest::parse(version, &call.body)
        .map_err(|error| call.malformed(BodyError::from(error)))?;
    let is_consumer = request.replica_id <= CONSUMER;
    if is_consumer && call.context.client.listener == Listener::Replication {
        return Err(NotARequest::NotBetweenNodes { api: call.api });
    }
    let Call {
        context,
        correlation_id,
        ..
    } = call;
    Ok(Box::pin(async move {
        match answer(&context, &request).await {
            Some((response, held)) => Answer::Reply {
                segments: response.encode(version, correlation_id),
                held,
            },
            None => Answer::Close,
        }
    }))
}

/// `None`: it is a follower's, who has gone.
async fn answer(
    context: &RequestContext,
    request: &FetchRequest,
) -> Option<(FetchResponse, Option<Reserved>)> {
    let broker = &context.broker;
    let asker = Asker::of(context, request);
    let is_follower = matches!(asker, Asker::Follower { .. });
    let uses_topic_ids = context.version >= TOPIC_IDS_FROM;
    let begun = broker
        .fetch_sessions
        .begin(request, is_follower, uses_topic_ids, monotonic_ms());
    let begun = match begun {
        Ok(begun) => begun,
        Err(error) => return Some((refused(error), None)),
    };
    let bytes_max = usize::try_from(request.max_bytes)
        .unwrap_or(0)
        .min(RESPONSE_BYTES_MAX);
    let bytes_min = usize::try_from(request.min_bytes)
        .unwrap_or(0)
        .min(bytes_max);
    let wait = Duration::from_millis(u64::try_from(request.max_wait_ms).unwrap_or(0)).min(WAIT_MAX);
    let deadline = Instant::now() + wait;
    let mut is_new = true;
    loop {
        let mut held = broker
            .budgets(context.client.listener)
            .responses
            .reserve_some(bytes_max, RESPONSE_BYTES_LEAST)
            .await;
        // What it says is old by now: it may have come again, on another connection, and said more.
        if is_follower && context.client.gone.is_cancelled() {
            return None;
        }
        let room = bytes_max.min(held.bytes());
        let image = broker.image();
        let moved = Arc::new(Notify::new());
        let mut read = Reading {
            context,
            image: &image,
            moved: &moved,
            asker,
            begun: &begun,
            is_new,
            rack: &request.rack_id,
            room,
            has_news: false,
            bytes: 0,
        };
        let mut answers: Vec<(TopicRef, FetchPartitionResponse)> = begun
            .partitions
            .iter()
            .map(|(topic, wanted)| (topic.clone(), read.partition(topic, wanted)))
            .collect();
        let (bytes, has_news) = (read.bytes, read.has_news);
        is_new = false;
        // Memory is held for what will be written, not while waiting for more.
        held.shrink(bytes);
        // With less room than was asked for, more than this would not fit either.
        let is_full = room < bytes_max && bytes > 0;
        let enough = bytes >= bytes_min || is_full || has_news || begun.partitions.is_empty();
        if enough || Instant::now() >= deadline || context.client.gone.is_cancelled() {
            if !is_follower {
                broker.metrics.fetched_bytes.inc_by(bytes as u64);
            }
            // Any number does: session ids only have to be hard to mix up.
            let random = Uuid::new_v4().as_fields().0;
            let finished =
                broker
                    .fetch_sessions
                    .finish(&begun, &mut answers, random, monotonic_ms());
            let session_id = match finished {
                Ok(session_id) => session_id,
                Err(error) => return Some((refused(error), Some(held))),
            };
            let mut hints = LeaderHints::new(broker, &image);
            let topics = by_topic(answers)
                .into_iter()
                .map(|topic| hints.fill_fetch(topic))
                .collect();
            let response = FetchResponse {
                throttle_time_ms: 0,
                error: ErrorCode::None,
                session_id,
                topics,
                node_endpoints: hints.endpoints(),
            };
            return Some((response, Some(held)));
        }
        drop(answers);
        drop(held);
        tokio::select! {
            _ = timeout_at(deadline, moved.notified()) => {}
            () = context.client.gone.cancelled() => {}
        }
    }
}

fn refused(error: ErrorCode) -> FetchResponse {
    FetchResponse {
        throttle_time_ms: 0,
        error,
        session_id: 0,
        topics: Vec::new(),
        node_endpoints: Vec::new(),
    }
}

/// Partitions of one topic that follow each other share its entry.
fn by_topic(answers: Vec<(TopicRef, FetchPartitionResponse)>) -> Vec<FetchTopicResponse> {
    let mut topics: Vec<FetchTopicResponse> = Vec::new();
    for (topic, partition) in answers {
        match topics.last_mut().filter(|last| last.topic == topic) {
            Some(last) => last.partitions.push(partition),
            None => topics.push(FetchTopicResponse {
                topic,
                partitions: vec![partition],
            }),
        }
    }
    topics
}

/// Who fetches.
#[derive(Debug, Clone, Copy)]
enum Asker {
    Consumer,
    Follower {
        node_id: i32,
        broker_epoch: i64,
    },
    /// Says that it is a follower where no follower is heard.
    Pretender,
}

impl Asker {
    fn of(context: &RequestContext, request: &FetchRequest) -> Self {
        match (request.replica_id > CONSUMER, context.client.listener) {
            (false, _) => Self::Consumer,
            (true, Listener::Replication) => Self::Follower {
                node_id: request.replica_id,
                broker_epoch: request.replica_epoch,
            },
            (true, Listener::Clients) => Self::Pretender,
        }
    }
}

/// One pass over everything that was asked for.
struct Reading<'a> {
    context: &'a RequestContext,
    image: &'a Image,
    moved: &'a Arc<Notify>,
    asker: Asker,
    begun: &'a Begun,
    /// The first pass over this request.
    is_new: bool,
    /// The consumer's; empty for none.
    rack: &'a str,
    room: usize,
    /// Something that the asker should hear of at once: an error, a leader to go to, records that are
    /// committed by now.
    has_news: bool,
    bytes: usize,
}

impl Reading<'_> {
    fn partition(&mut self, topic: &TopicRef, wanted: &FetchPartition) -> FetchPartitionResponse {
        let partition = match self.find(topic, wanted.partition) {
            Ok(partition) => partition,
            Err(error) => return self.failed(wanted.partition, error),
        };
        partition.moved.register(self.moved);
        let bytes_max = usize::try_from(wanted.partition_max_bytes)
            .unwrap_or(0)
            .min(self.room);
        // A batch larger than every limit must get through, or the reader is stuck (KIP-74).
        let at_least_one = self.bytes == 0;
        let read = match self.asker {
            Asker::Follower {
                node_id,
                broker_epoch,
            } => {
                partition.grown.register(self.moved);
                let wanted = FollowerRead {
                    node_id,
                    broker_epoch,
                    offset: wanted.fetch_offset,
                    leader_epoch: wanted.current_leader_epoch,
                    last_fetched_epoch: wanted.last_fetched_epoch,
                    log_start_offset: wanted.log_start_offset,
                    bytes_max,
                    at_least_one,
                    is_new: self.is_new,
                    after_ms: self.begun.after_ms,
                };
                partition.read_for_follower(&wanted, self.image, monotonic_ms())
            }
            Asker::Consumer | Asker::Pretender => {
                let reader = ConsumerRead {
                    offset: wanted.fetch_offset,
                    leader_epoch: wanted.current_leader_epoch,
                    bytes_max,
                    at_least_one,
                    rack: self.rack,
                    selector: self.selector(),
                    may_read_from_follower: self.context.version >= FOLLOWER_FETCHING_FROM,
                };
                partition.read(&reader, self.image).map(to_consumer)
            }
        };
        match read {
            Ok(FollowerAnswer {
                read,
                diverging_epoch,
                is_urgent,
            }) => {
                let bytes: usize = read.records.iter().map(bytes::Bytes::len).sum();
                self.bytes += bytes;
                self.room = self.room.saturating_sub(bytes);
                // KIP-1166: nothing else would tell the follower of an idle partition.
                let is_committed = read.high_watermark > wanted.high_watermark;
                self.has_news |= diverging_epoch.is_some()
                    || read.preferred_read_replica.is_some()
                    || is_committed
                    || is_urgent;
                FetchPartitionResponse {
                    diverging_epoch,
                    preferred_read_replica: read.preferred_read_replica.unwrap_or(-1),
                    ..FetchPartitionResponse::read(
                        wanted.partition,
                        read.high_watermark,
                        read.log_start_offset,
                        read.records,
                    )
                }
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

    fn find(&self, topic: &TopicRef, index: i32) -> Result<Arc<Partition>, ErrorCode> {
        if matches!(self.asker, Asker::Pretender) {
            // As from Kafka without the right to CLUSTER_ACTION, whether there is such a topic or not.
            return Err(ErrorCode::TopicAuthorizationFailed);
        }
        let known = topic_view::find(self.image, topic)?;
        let is_consumer = matches!(self.asker, Asker::Consumer);
        if is_consumer
            && !self
                .context
                .allows(Operation::Read, &Resource::Topic(&known.name))
        {
            return Err(ErrorCode::TopicAuthorizationFailed);
        }
        self.context.broker.partitions.find(&known, index)
    }

    fn selector(&self) -> ReplicaSelector {
        if self.rack.is_empty() {
            return ReplicaSelector::Leader;
        }
        let class = self.context.broker.config("replica.selector.class");
        let class = class.as_ref().and_then(|it| it.value.as_deref());
        if class.is_some_and(|class| class.ends_with(RACK_AWARE)) {
            ReplicaSelector::RackAware
        } else {
            ReplicaSelector::Leader
        }
    }

    fn failed(&mut self, partition: i32, error: ErrorCode) -> FetchPartitionResponse {
        self.has_news = true;
        FetchPartitionResponse::failed(partition, error)
    }
}

/// A consumer is told of neither.
fn to_consumer(read: Read) -> FollowerAnswer {
    FollowerAnswer {
        read,
        diverging_epoch: None,
        is_urgent: false,
    }
}
