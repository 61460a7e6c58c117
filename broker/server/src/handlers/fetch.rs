//! Fetch (1): whole batches from an offset on, waiting for more where there is too little.
//!
//! Consumers read what is committed, from the leader or (KIP-392) from a follower. Followers come in on the
//! replication listener, read to the end of the log, and thereby say how far they are. Both may keep
//! incremental sessions (KIP-227).

mod fetching;
mod pass;

use std::time::Duration;

use foz_protocol::error::ErrorCode;
use foz_protocol::fetch::{
    FetchPartitionResponse, FetchRequest, FetchResponse, FetchTopicResponse,
};
use foz_protocol::frame::BodyError;
use foz_protocol::topic::TopicRef;
use tokio::time::{Instant, timeout_at};
use uuid::Uuid;

use self::fetching::{Fetching, Passed};
use super::leader_hint::LeaderHints;
use crate::dispatch::{Answer, Call, NotARequest, Pending};
use crate::net::budget::Reserved;
use crate::partition::monotonic_ms;
use crate::request::{Listener, RequestContext};

/// Kafka's broker setting `fetch.max.bytes`.
const RESPONSE_BYTES_MAX: usize = 55 * 1024 * 1024;
/// A response may be smaller than the client allows: while memory is short, this is what each gets.
const RESPONSE_BYTES_LEAST: usize = 1024 * 1024;
/// No client may hold a request longer.
const WAIT_MAX: Duration = Duration::from_secs(300);
/// The version from which topics have ids (KIP-516).
const TOPIC_IDS_FROM: i16 = 13;
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
    let number = *context.client.requests_begun.borrow();
    Ok(Box::pin(async move {
        match answer(&context, &request, number).await {
            Some((response, held)) => Answer::Reply {
                segments: response.encode(version, correlation_id),
                held,
            },
            None => Answer::Close,
        }
    }))
}

/// `number` of the client's requests. `None`: it is a follower's, who has gone.
async fn answer(
    context: &RequestContext,
    request: &FetchRequest,
    number: u64,
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
    if is_follower {
        let nodes = broker.image().brokers().count();
        broker.node_budgets.grow_to_nodes(nodes);
    }
    let mut fetching = Fetching::new(context, request, asker, &begun);
    let mut newest = context.client.requests_begun.subscribe();
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
        let Passed {
            bytes,
            has_news,
            again_at,
        } = fetching.pass(&image, room);
        // Memory is held for what will be written, not while waiting for more.
        held.shrink(bytes);
        // With less room than was asked for, more than this would not fit either.
        let is_full = room < bytes_max && bytes > 0;
        let enough = bytes >= bytes_min || is_full || has_news || begun.partitions.is_empty();
        let waits_no_more = context.client.gone.is_cancelled()
            || (is_follower && *newest.borrow() > number)
            || Instant::now() >= deadline;
        if enough || waits_no_more {
            if !is_follower {
                broker.metrics.fetched_bytes.inc_by(bytes as u64);
            }
            let mut answers = fetching.answers(&image);
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
        fetching.drop_records();
        drop(held);
        let until = again_at.map_or(deadline, |again_at| deadline.min(again_at));
        tokio::select! {
            _ = timeout_at(until, fetching.moved()) => {}
            _ = newest.wait_for(|newest| *newest > number), if is_follower => {}
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
