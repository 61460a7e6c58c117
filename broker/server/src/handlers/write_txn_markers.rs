//! WriteTxnMarkers (27, KIP-98, KIP-1228): ends transactions on the partitions that this broker leads, as their coordinators
//! decided. It comes from other brokers, and from tools that abort a hanging transaction (KIP-664).
//!
//! Answered when the markers are safe on all replicas in sync. What may work later is told so that the coordinator sends it again;
//! INVALID_PRODUCER_EPOCH and TRANSACTION_COORDINATOR_FENCED end it for good, so a leader says them only when nobody else leads.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use foz_groups::{CompleteTransaction, Request, Response, TransactionalProducer};
use foz_log::TransactionMarker;
use foz_protocol::error::ErrorCode;
use foz_records::write_txn_markers_request::{WritableTxnMarker, WriteTxnMarkersRequest};
use foz_records::write_txn_markers_response::{
    WritableTxnMarkerPartitionResult, WritableTxnMarkerResult, WritableTxnMarkerTopicResult,
    WriteTxnMarkersResponse,
};
use futures::future::join_all;
use kafka_protocol::ResponseError;
use tokio::time::Instant;

use super::leadership::{CONFIRMATION_MAX, LedIn};
use crate::authorizer::{Operation, Resource};
use crate::internal_topics::CONSUMER_OFFSETS;
use crate::partition::{Partition, ProduceError, Produced, monotonic_ms};
use crate::request::RequestContext;

/// Kafka's `request.timeout.ms`. The coordinator asks again. The coordinator of groups gives an append up earlier, after
/// `offsets.commit.timeout.ms`; its copies do no harm, since all come before the acknowledgement.
const ACKNOWLEDGED_MAX: Duration = Duration::from_secs(30);

pub(crate) async fn handle(
    context: RequestContext,
    request: WriteTxnMarkersRequest,
) -> WriteTxnMarkersResponse {
    let asked_ms = monotonic_ms();
    let may = |operation| context.allows(operation, &Resource::Cluster);
    let is_allowed = may(Operation::Alter) || may(Operation::ClusterAction);
    let mut written: Vec<Written> = Vec::new();
    for marker in &request.markers {
        for (topic, index) in partitions(marker) {
            let outcome = match is_allowed {
                true => write(&context, marker, topic, index),
                false => Err(ErrorCode::ClusterAuthorizationFailed.into()),
            };
            written.push(Written {
                producer_id: marker.producer_id,
                topic: Arc::clone(topic),
                index,
                outcome,
            });
        }
    }
    let refusals = written.iter().filter_map(|it| it.outcome.as_ref().err());
    refusals
        .filter_map(|it| it.if_led_in.as_ref())
        .for_each(|led| led.ask_followers(&context.broker, asked_ms));
    let answers = written.into_iter().map(|it| {
        let context = &context;
        async move {
            let error = finish(it.outcome, context, asked_ms).await;
            (it.producer_id, it.topic, it.index, error)
        }
    });
    let mut by_producer = ByProducer::new();
    for (producer_id, topic, index, error) in join_all(answers).await {
        let topics = by_producer.entry(producer_id).or_default();
        topics.entry(topic).or_default().insert(index, error);
    }
    response(by_producer)
}

/// As in Kafka, of what is named twice the last one counts.
type ByProducer = BTreeMap<i64, BTreeMap<Arc<str>, BTreeMap<i32, ErrorCode>>>;

/// A marker on one partition.
struct Written {
    producer_id: i64,
    topic: Arc<str>,
    index: i32,
    outcome: Outcome,
}

type Outcome = Result<Taken, Refusal>;

enum Taken {
    InLog(Arc<Partition>, Produced),
    /// For the coordinator of the groups, who is to lead in this epoch.
    ByGroups(LedIn, CompleteTransaction),
}

struct Refusal {
    error: ErrorCode,
    /// It is true only of what the leader in this epoch has.
    if_led_in: Option<LedIn>,
}

impl From<ErrorCode> for Refusal {
    fn from(error: ErrorCode) -> Self {
        Self {
            error,
            if_led_in: None,
        }
    }
}

async fn finish(outcome: Outcome, context: &RequestContext, asked_ms: i64) -> ErrorCode {
    let (error, led) = match outcome {
        Ok(Taken::ByGroups(led, transaction)) => {
            let error = complete(context, transaction).await;
            let led = is_final(error).then_some(led);
            if let Some(led) = &led {
                led.ask_followers(&context.broker, asked_ms);
            }
            (error, led)
        }
        Ok(Taken::InLog(partition, produced)) => {
            let safe = partition.acknowledged(&produced);
            return match tokio::time::timeout(ACKNOWLEDGED_MAX, safe).await {
                Ok(Ok(())) => ErrorCode::None,
                Ok(Err(error)) => error,
                Err(_) => ErrorCode::RequestTimedOut,
            };
        }
        Err(Refusal { error, if_led_in }) => (error, if_led_in),
    };
    let Some(led) = led else {
        return error;
    };
    let deadline = Instant::now() + CONFIRMATION_MAX;
    match led.confirm(&context.broker, asked_ms, deadline).await {
        Ok(()) => error,
        Err(_) => ErrorCode::NotLeaderOrFollower,
    }
}

/// Whoever keeps the offsets of groups writes the marker, and makes those of the transaction count, or forgets them.
async fn complete(context: &RequestContext, transaction: CompleteTransaction) -> ErrorCode {
    let coordinators = &context.broker.coordinators;
    let completed = coordinators.ask(context, Request::CompleteTransaction(transaction));
    match tokio::time::timeout(ACKNOWLEDGED_MAX, completed).await {
        Ok(Response::CompleteTransaction(Ok(()))) => ErrorCode::None,
        Ok(Response::CompleteTransaction(Err(error))) => match error {
            // As in Kafka: not what the coordinator of a transaction expects.
            ResponseError::CoordinatorNotAvailable
            | ResponseError::CoordinatorLoadInProgress
            | ResponseError::NotCoordinator => ErrorCode::NotLeaderOrFollower,
            other => ErrorCode::from_code(other.code()).unwrap_or(ErrorCode::UnknownServerError),
        },
        Ok(other) => unreachable!("the coordinator answered {other:?}"),
        Err(_) => ErrorCode::RequestTimedOut,
    }
}

/// Each once.
fn partitions(marker: &WritableTxnMarker) -> BTreeSet<(&Arc<str>, i32)> {
    let named = marker.topics.iter().flat_map(|topic| {
        let indexes = topic.partition_indexes.iter();
        indexes.map(|index| (&topic.name, *index))
    });
    named.collect()
}

/// To the log of the partition; to one of `__consumer_offsets` by the coordinator of its groups, who alone writes there.
fn write(context: &RequestContext, marker: &WritableTxnMarker, topic: &str, index: i32) -> Outcome {
    let image = context.broker.image();
    let known = image
        .topic(topic)
        .ok_or(ErrorCode::UnknownTopicOrPartition)?;
    let partition = context.broker.partitions.find(known, index)?;
    if topic == CONSUMER_OFFSETS {
        let leader_epoch = partition.led().ok_or(ErrorCode::NotLeaderOrFollower)?;
        let transaction = CompleteTransaction {
            offsets_partition: index,
            producer: TransactionalProducer {
                id: marker.producer_id,
                epoch: marker.producer_epoch,
            },
            coordinator_epoch: marker.coordinator_epoch,
            transaction_version: i16::from(marker.transaction_version),
            is_commit: marker.transaction_result,
        };
        let led = LedIn {
            partition,
            leader_epoch,
        };
        return Ok(Taken::ByGroups(led, transaction));
    }
    let to_write = TransactionMarker {
        producer_id: marker.producer_id,
        producer_epoch: marker.producer_epoch,
        coordinator_epoch: marker.coordinator_epoch,
        is_commit: marker.transaction_result,
    };
    match partition.append_marker(to_write, i16::from(marker.transaction_version)) {
        Ok(produced) => Ok(Taken::InLog(partition, produced)),
        Err(ProduceError::NotLeader) => Err(ErrorCode::NotLeaderOrFollower.into()),
        Err(ProduceError::Acks(error)) => Err(error.into()),
        Err(ProduceError::NoRoom) => Err(ErrorCode::KafkaStorageError.into()),
        Err(ProduceError::TooFewHaveRoom) => Err(ErrorCode::NotEnoughReplicas.into()),
        Err(ProduceError::Append {
            leader_epoch,
            error: reason,
        }) => {
            let error = reason.error_code();
            tracing::info!(topic, index, %reason, "a marker is refused");
            let if_led_in = is_final(error).then_some(LedIn {
                partition,
                leader_epoch,
            });
            Err(Refusal { error, if_led_in })
        }
    }
}

/// The coordinator does not send the marker again.
fn is_final(error: ErrorCode) -> bool {
    matches!(
        error,
        ErrorCode::InvalidProducerEpoch | ErrorCode::TransactionCoordinatorFenced
    )
}

fn response(by_producer: ByProducer) -> WriteTxnMarkersResponse {
    let partitions = |partitions: BTreeMap<i32, ErrorCode>| {
        let results = partitions.into_iter();
        results
            .map(
                |(partition_index, error)| WritableTxnMarkerPartitionResult {
                    partition_index,
                    error_code: error.code(),
                },
            )
            .collect()
    };
    let markers = by_producer.into_iter().map(|(producer_id, topics)| {
        let topics = topics
            .into_iter()
            .map(|(name, results)| WritableTxnMarkerTopicResult {
                name,
                partitions: partitions(results),
            });
        WritableTxnMarkerResult {
            producer_id,
            topics: topics.collect(),
        }
    });
    WriteTxnMarkersResponse {
        markers: markers.collect(),
    }
}
