//! Produce (0): appended when the request is read, or when the coordinator of its transaction has been asked; answered
//! when the records are safe.

mod verifying;

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use foz_log::{AppendError, VerificationGuard};
use foz_metadata::Image;
use foz_metadata::image::Topic;
use foz_protocol::error::ErrorCode;
use foz_protocol::frame::BodyError;
use foz_protocol::produce::{
    ProducePartitionResponse, ProduceRequest, ProduceResponse, ProduceTopicResponse,
};
use foz_protocol::topic::TopicRef;
use futures::future::join_all;
use tokio::time::Instant;

use super::leader_hint::LeaderHints;
use super::leadership::{CONFIRMATION_MAX, LedIn};
use super::topic_view;
use crate::authorizer::{Operation, Resource};
use crate::broker::Broker;
use crate::dispatch::{Answer, Begun, Call, NotARequest, Pending, ReadOn};
use crate::partition::{Partition, ProduceError, Produced, monotonic_ms};
use crate::request::RequestContext;
use verifying::Verified;

const ACKS_NONE: i16 = 0;

pub(crate) fn start(call: Call) -> Result<Begun, NotARequest> {
    let request = ProduceRequest::parse(call.context.version, &call.body)
        .map_err(|error| call.malformed(BodyError::from(error)))?;
    let Call {
        context,
        correlation_id,
        ..
    } = call;
    let (verified, verifying) = verifying::begin(&context, &request);
    Ok(match verifying {
        None => Begun::Now(append_all(context, correlation_id, request, verified)),
        Some(verifying) => Begun::First(Box::pin(async move {
            let verified = verifying.finish(&context, verified).await;
            ReadOn(append_all(context, correlation_id, request, verified))
        })),
    })
}

fn append_all(
    context: RequestContext,
    correlation_id: i32,
    request: ProduceRequest,
    mut verified: Verified,
) -> Pending {
    let version = context.version;
    let asked_ms = monotonic_ms();
    let image = context.broker.image();
    let acks = request.acks;
    let limit = Duration::from_millis(u64::try_from(request.timeout_ms).unwrap_or(0));
    let topics = request.topics.into_iter().enumerate();
    let topics: Vec<Appending> = topics
        .map(|(topic_index, topic)| {
            let verified = |index: i32| verified.take(topic_index, index);
            Appending::start(&context, &image, acks, topic, verified)
        })
        .collect();
    Box::pin(async move {
        if acks == ACKS_NONE {
            // Nobody waits for an answer; a client that did something wrong learns it by the
            // connection being closed, as with Kafka.
            let failed = topics.iter().any(Appending::has_failed);
            return if failed {
                Answer::Close
            } else {
                Answer::Nothing
            };
        }
        let wait = Wait {
            broker: &context.broker,
            asked_ms,
            limit,
        };
        let topics = join_all(topics.into_iter().map(|topic| topic.finish(&wait))).await;
        // The leadership may have moved since the records came.
        let image = context.broker.image();
        let mut hints = LeaderHints::new(&context.broker, &image);
        let topics = topics
            .into_iter()
            .map(|topic| hints.fill_produce(topic))
            .collect();
        let response = ProduceResponse {
            topics,
            throttle_time_ms: 0,
            node_endpoints: hints.endpoints(),
        };
        Answer::Reply {
            segments: vec![response.encode(version, correlation_id)],
            held: None,
        }
    })
}

/// A topic of the request, its partitions appended to or refused.
struct Appending {
    topic: TopicRef,
    partitions: Vec<(i32, Appended)>,
}

type Appended = Result<(Arc<Partition>, Produced), Refusal>;

struct Refusal {
    error: ErrorCode,
    message: Option<String>,
    /// Which records are wrong, and why (KIP-467).
    records: Vec<(i32, Option<String>)>,
    /// It is true only of what the leader in this epoch has.
    if_led_in: Option<LedIn>,
}

/// How an answer is waited for.
struct Wait<'a> {
    broker: &'a Broker,
    asked_ms: i64,
    limit: Duration,
}

impl Refusal {
    fn because(error: ErrorCode, why: String) -> Self {
        Self {
            message: Some(why),
            ..error.into()
        }
    }
}

impl From<ErrorCode> for Refusal {
    fn from(error: ErrorCode) -> Self {
        Self {
            error,
            message: None,
            records: Vec::new(),
            if_led_in: None,
        }
    }
}

impl Appending {
    fn start(
        context: &RequestContext,
        image: &Image,
        acks: i16,
        topic: foz_protocol::produce::ProduceTopic,
        mut verified: impl FnMut(i32) -> Result<Option<VerificationGuard>, Refusal>,
    ) -> Self {
        let known = check_topic(context, image, &topic.topic);
        let partitions = topic
            .partitions
            .into_iter()
            .map(|partition| {
                let index = partition.index;
                let appended = match &known {
                    Ok(known) => verified(index).and_then(|guard| {
                        append(context, image, known, acks, guard, index, partition.records)
                    }),
                    Err(error) => Err(Refusal::from(*error)),
                };
                (index, appended)
            })
            .collect();
        Self {
            topic: topic.topic,
            partitions,
        }
    }

    fn has_failed(&self) -> bool {
        self.partitions
            .iter()
            .any(|(_, appended)| appended.is_err())
    }

    async fn finish(self, wait: &Wait<'_>) -> ProduceTopicResponse {
        let waiting = self
            .partitions
            .into_iter()
            .map(|(index, appended)| async move {
                match appended {
                    Ok((partition, produced)) => {
                        acknowledged(index, &partition, produced, wait.limit).await
                    }
                    Err(refusal) => {
                        let refusal = confirmed(refusal, wait).await;
                        ProducePartitionResponse {
                            record_errors: refusal.records,
                            ..ProducePartitionResponse::failed(
                                index,
                                refusal.error,
                                refusal.message,
                            )
                        }
                    }
                }
            });
        ProduceTopicResponse {
            topic: self.topic,
            partitions: join_all(waiting).await,
        }
    }
}

fn check_topic(
    context: &RequestContext,
    image: &Image,
    topic: &TopicRef,
) -> Result<Arc<Topic>, ErrorCode> {
    let known = topic_view::find(image, topic)?;
    if !context.allows(Operation::Write, &Resource::Topic(&known.name)) {
        return Err(ErrorCode::TopicAuthorizationFailed);
    }
    if known.internal {
        // Kafka lets its own admin client alone write to internal topics.
        return Err(ErrorCode::InvalidTopicException);
    }
    Ok(known)
}

fn append(
    context: &RequestContext,
    image: &Image,
    topic: &Topic,
    acks: i16,
    guard: Option<VerificationGuard>,
    index: i32,
    records: Option<Bytes>,
) -> Appended {
    let partition = context.broker.partitions.find(topic, index)?;
    let records = records
        .filter(|records| !records.is_empty())
        .ok_or_else(|| {
            let why = format!("{}-{index}: the request holds no record batch", topic.name);
            Refusal::because(ErrorCode::InvalidRecord, why)
        })?;
    let bytes = records.len();
    // The frame is shared by all partitions of the request; the log patches its own copy.
    match partition.append_verified(image, acks, guard, BytesMut::from(records)) {
        Ok(produced) => {
            context.broker.metrics.produced_bytes.inc_by(bytes as u64);
            context.broker.metrics.produced_batches.inc();
            Ok((partition, produced))
        }
        Err(error) => Err(refusal_of(&partition, error)),
    }
}

fn refusal_of(partition: &Arc<Partition>, error: ProduceError) -> Refusal {
    match error {
        ProduceError::NotLeader => ErrorCode::NotLeaderOrFollower.into(),
        ProduceError::Acks(error) => error.into(),
        ProduceError::NoRoom => Refusal::because(
            ErrorCode::KafkaStorageError,
            format!(
                "{}: this broker's disk has no room: less than foz.disk.reserve.bytes is free, or it refuses to write",
                partition.name()
            ),
        ),
        ProduceError::TooFewHaveRoom => Refusal::because(
            ErrorCode::NotEnoughReplicas,
            format!(
                "{}: fewer than min.insync.replicas of the replicas in sync have room on their disks",
                partition.name()
            ),
        ),
        ProduceError::Append {
            leader_epoch,
            error: reason,
        } => {
            let error = reason.error_code();
            let if_led_in = speaks_of_producer(error).then(|| LedIn {
                partition: Arc::clone(partition),
                leader_epoch,
            });
            Refusal {
                error,
                message: Some(reason.to_string()),
                records: rejected(reason),
                if_led_in,
            }
        }
    }
}

fn rejected(reason: AppendError) -> Vec<(i32, Option<String>)> {
    match reason {
        AppendError::RejectedRecords { records, .. } => {
            let records = records.into_iter();
            records
                .map(|it| (it.batch_index, Some(it.reason)))
                .collect()
        }
        _ => Vec::new(),
    }
}

/// What is said of a producer by what was appended before.
fn speaks_of_producer(error: ErrorCode) -> bool {
    matches!(
        error,
        ErrorCode::OutOfOrderSequenceNumber | ErrorCode::InvalidProducerEpoch
    )
}

/// A leader that was stopped or cut off lacks what its successor acknowledged, so it would find a gap where none
/// is; and a client that hears of a gap right after what was acknowledged takes a new epoch and sends all that is
/// in flight again (KIP-360), where the successor cannot know it for what it has. Such a word counts only
/// when it is known that nobody else leads; else the client looks for the leader, and sends the same again.
async fn confirmed(refusal: Refusal, wait: &Wait<'_>) -> Refusal {
    let Some(led) = &refusal.if_led_in else {
        return refusal;
    };
    led.ask_followers(wait.broker, wait.asked_ms);
    let deadline = Instant::now() + CONFIRMATION_MAX;
    match led.confirm(wait.broker, wait.asked_ms, deadline).await {
        Ok(()) => refusal,
        Err(_) => ErrorCode::NotLeaderOrFollower.into(),
    }
}

async fn acknowledged(
    index: i32,
    partition: &Partition,
    produced: Produced,
    limit: Duration,
) -> ProducePartitionResponse {
    match tokio::time::timeout(limit, partition.acknowledged(&produced)).await {
        Ok(Ok(())) => ProducePartitionResponse::written(
            index,
            produced.base_offset,
            produced.log_append_time_ms.unwrap_or(-1),
            partition.log_start_offset(),
        ),
        Ok(Err(error)) => ProducePartitionResponse::failed(index, error, None),
        Err(_) => ProducePartitionResponse::failed(index, ErrorCode::RequestTimedOut, None),
    }
}
