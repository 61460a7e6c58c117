//! TxnOffsetCommit (28, KIP-98, KIP-447): offsets that a group commits in a transaction, in force once that is committed.
//!
//! As with records, the coordinator of the transaction is asked first whether the group's partition of `__consumer_offsets`
//! takes part (KIP-890); otherwise nobody would ever end the transaction there. From version 5 on it does so by that.

use std::sync::Arc;
use std::time::Duration;

use foz_groups::{Request, Response, partition_for};
use foz_log::VerificationGuard;
use foz_protocol::batch::BatchHeader;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::add_partitions_to_txn_request::{
    AddPartitionsToTxnTopic, AddPartitionsToTxnTransaction,
};
use kafka_protocol::messages::txn_offset_commit_response::{
    TxnOffsetCommitResponsePartition, TxnOffsetCommitResponseTopic,
};
use kafka_protocol::messages::{TopicName, TxnOffsetCommitRequest, TxnOffsetCommitResponse};
use kafka_protocol::protocol::StrBytes;
use tokio::time::Instant;

use super::groups::partition_error;
use crate::authorizer::{Operation, Resource};
use crate::internal_topics::CONSUMER_OFFSETS;
use crate::partition::{Partition, ProduceError};
use crate::request::RequestContext;
use crate::transactions;

/// From this version on the partition takes part by itself: the producer follows `transaction.version` 2.
const ADDS_FROM: i16 = 5;
/// From this version on the producer knows TRANSACTION_ABORTABLE.
const ABORTABLE_FROM: i16 = 4;

pub(crate) async fn handle(
    context: RequestContext,
    mut request: TxnOffsetCommitRequest,
) -> TxnOffsetCommitResponse {
    if let Some(error) = refusal(&context, &request) {
        return refused(&context, request, error);
    }
    let mut unknown = take_unknown(&context, &mut request);
    if request.topics.is_empty() {
        return merge(TxnOffsetCommitResponse::default(), unknown);
    }
    let verified = verify(&context, &request).await;
    // A topic that was deleted meanwhile has had its offsets forgotten: what came now would be there for one of the same name.
    unknown.extend(take_unknown(&context, &mut request));
    let response = match verified {
        _ if request.topics.is_empty() => TxnOffsetCommitResponse::default(),
        Err(error) => refused(&context, request, error),
        Ok(guard) => {
            let coordinators = &context.broker.coordinators;
            let request = Request::TxnOffsetCommit(request);
            let answer = coordinators.ask_in_transaction(&context, request, guard);
            answered(answer.await)
        }
    };
    merge(response, unknown)
}

/// Why nothing of it is committed.
fn refusal(context: &RequestContext, request: &TxnOffsetCommitRequest) -> Option<ResponseError> {
    let group = Resource::Group(&request.group_id);
    super::transactions::refusal(context, &request.transactional_id).or_else(|| {
        if !context.allows(Operation::Read, &group) {
            Some(ResponseError::GroupAuthorizationFailed)
        } else if request.group_id.is_empty() {
            Some(ResponseError::InvalidGroupId)
        } else {
            None
        }
    })
}

fn refused(
    context: &RequestContext,
    request: TxnOffsetCommitRequest,
    error: ResponseError,
) -> TxnOffsetCommitResponse {
    let request = Request::TxnOffsetCommit(request);
    answered(request.error_response(context.version, error))
}

fn answered(response: Response) -> TxnOffsetCommitResponse {
    match response {
        Response::TxnOffsetCommit(response) => response,
        other => unreachable!("the coordinator answered {other:?}"),
    }
}

/// Partitions that do not exist, or that the client may not read.
fn take_unknown(
    context: &RequestContext,
    request: &mut TxnOffsetCommitRequest,
) -> Vec<TxnOffsetCommitResponseTopic> {
    let mut unknown = Vec::new();
    for topic in &mut request.topics {
        let mut answers = Vec::new();
        topic.partitions.retain(|partition| {
            let error = partition_error(context, &topic.name, partition.partition_index);
            answers.extend(error.map(|error| {
                TxnOffsetCommitResponsePartition::default()
                    .with_partition_index(partition.partition_index)
                    .with_error_code(error.code())
            }));
            error.is_none()
        });
        if !answers.is_empty() {
            unknown.push(
                TxnOffsetCommitResponseTopic::default()
                    .with_name(topic.name.clone())
                    .with_partitions(answers),
            );
        }
    }
    request.topics.retain(|topic| !topic.partitions.is_empty());
    unknown
}

/// A topic of which some partitions were refused is named once.
fn merge(
    mut response: TxnOffsetCommitResponse,
    unknown: Vec<TxnOffsetCommitResponseTopic>,
) -> TxnOffsetCommitResponse {
    for topic in unknown {
        let mut known = response.topics.iter_mut();
        match known.find(|answered| answered.name == topic.name) {
            Some(answered) => answered.partitions.extend(topic.partitions),
            None => response.topics.push(topic),
        }
    }
    response
}

/// The guard with which the transaction begins in the group's partition; none where it is open there already.
async fn verify(
    context: &RequestContext,
    request: &TxnOffsetCommitRequest,
) -> Result<Option<VerificationGuard>, ResponseError> {
    let broker = &context.broker;
    let image = broker.image();
    let topic = image
        .topic(CONSUMER_OFFSETS)
        .ok_or(ResponseError::CoordinatorNotAvailable)?;
    let index = partition_for(&request.group_id, topic.partitions.len() as i32);
    let partition = broker.partitions.find(topic, index);
    let partition = partition.map_err(|_| ResponseError::NotCoordinator)?;
    let is_asked =
        adds(context.version) || broker.config_bool("transaction.partition.verification.enable");
    let number = |key: &str| Duration::from_millis(broker.config_number(key).unsigned_abs());
    let backoff = number("add.partitions.to.txn.retry.backoff.ms");
    let retry_until = Instant::now() + number("add.partitions.to.txn.retry.backoff.max.ms");
    let name = TopicName(StrBytes::from_static_str(CONSUMER_OFFSETS));
    loop {
        let Some(guard) = begin(&partition, request, context.version)? else {
            return Ok(None);
        };
        if !is_asked {
            return Ok(Some(guard));
        }
        let asked = to_ask(request, &name, index, context.version);
        let refused = transactions::add(broker, asked).await;
        match refused.get(&(name.clone(), index)) {
            None => return Ok(Some(guard)),
            // The transaction before is still ending; its marker may end this guard, too.
            Some(ResponseError::ConcurrentTransactions)
                if adds(context.version) && Instant::now() < retry_until =>
            {
                tokio::time::sleep(backoff).await;
            }
            Some(error) => return Err(told(*error, context.version)),
        }
    }
}

const fn adds(version: i16) -> bool {
    version >= ADDS_FROM
}

fn begin(
    partition: &Arc<Partition>,
    request: &TxnOffsetCommitRequest,
    version: i16,
) -> Result<Option<VerificationGuard>, ResponseError> {
    let begun = partition.begin_verification(&header(request), adds(version));
    begun.map_err(|error| match error {
        ProduceError::Append { error, .. } => {
            let error = error.error_code();
            ResponseError::try_from_code(error.code()).unwrap_or(ResponseError::UnknownServerError)
        }
        _ => ResponseError::NotCoordinator,
    })
}

/// Of the batch that the coordinator of the group is to write, as far as it is known before: whose it is.
fn header(request: &TxnOffsetCommitRequest) -> BatchHeader {
    BatchHeader {
        base_offset: 0,
        batch_length: 0,
        partition_leader_epoch: -1,
        crc: 0,
        attributes: 0,
        last_offset_delta: 0,
        base_timestamp: -1,
        max_timestamp: -1,
        producer_id: request.producer_id.0,
        producer_epoch: request.producer_epoch,
        // The producer did not number it.
        base_sequence: -1,
        record_count: 1,
    }
}

fn to_ask(
    request: &TxnOffsetCommitRequest,
    name: &TopicName,
    index: i32,
    version: i16,
) -> AddPartitionsToTxnTransaction {
    let topic = AddPartitionsToTxnTopic::default()
        .with_name(name.clone())
        .with_partitions(vec![index]);
    AddPartitionsToTxnTransaction::default()
        .with_transactional_id(request.transactional_id.clone())
        .with_producer_id(request.producer_id)
        .with_producer_epoch(request.producer_epoch)
        .with_verify_only(!adds(version))
        .with_topics(vec![topic])
}

/// What a producer hears of the errors of its transaction's coordinator: of that version, and nothing that has it look for
/// the coordinator of the group, who is the right one.
fn told(error: ResponseError, version: i16) -> ResponseError {
    use ResponseError::*;
    match error {
        NetworkException
        | CoordinatorNotAvailable
        | NotCoordinator
        // It has not heard of a partition that is new.
        | UnknownTopicOrPartition
        | OperationNotAttempted => CoordinatorLoadInProgress,
        ConcurrentTransactions if !adds(version) => CoordinatorLoadInProgress,
        ProducerFenced => InvalidProducerEpoch,
        TransactionAbortable if version < ABORTABLE_FROM => InvalidTxnState,
        // Nothing that a producer knows.
        ClusterAuthorizationFailed => InvalidTxnState,
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn producers_hear_what_their_version_knows() {
        use ResponseError::*;
        for (error, version, expected) in [
            (NotCoordinator, 5, CoordinatorLoadInProgress),
            (NetworkException, 0, CoordinatorLoadInProgress),
            (ConcurrentTransactions, 4, CoordinatorLoadInProgress),
            (ConcurrentTransactions, 5, ConcurrentTransactions),
            (ProducerFenced, 5, InvalidProducerEpoch),
            (TransactionAbortable, 3, InvalidTxnState),
            (TransactionAbortable, 4, TransactionAbortable),
            (InvalidProducerIdMapping, 0, InvalidProducerIdMapping),
        ] {
            assert_eq!(
                told(error, version),
                expected,
                "{error:?} in version {version}"
            );
        }
    }
}
