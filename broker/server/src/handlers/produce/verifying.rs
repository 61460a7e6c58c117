//! Whether partitions that a producer writes to take part in its transaction (KIP-890): before the first batch of a
//! transaction is appended to a partition, its coordinator is asked; otherwise nobody would ever end the transaction there.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use foz_log::VerificationGuard;
use foz_protocol::batch::BatchHeader;
use foz_protocol::error::ErrorCode;
use foz_protocol::produce::ProduceRequest;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::add_partitions_to_txn_request::{
    AddPartitionsToTxnTopic, AddPartitionsToTxnTransaction,
};
use kafka_protocol::messages::{TopicName, TransactionalId};
use kafka_protocol::protocol::StrBytes;
use tokio::time::Instant;

use super::{Refusal, check_topic, refusal_of};
use crate::authorizer::{Operation, Resource};
use crate::partition::Partition;
use crate::request::RequestContext;
use crate::transactions;

/// From this version on what is written to takes part by itself: the producer follows `transaction.version` 2.
const ADDS_FROM: i16 = 12;
/// From this version on the producer knows TRANSACTION_ABORTABLE.
const ABORTABLE_FROM: i16 = 11;

/// What is known before a request is appended.
#[derive(Default)]
pub(super) struct Verified {
    /// By the index of the topic in the request, and that of the partition.
    partitions: HashMap<(usize, i32), Result<VerificationGuard, Refusal>>,
    /// The whole request is refused.
    refused: Option<ErrorCode>,
}

/// The transactional batches of a request.
pub(super) struct Verifying {
    transactional_id: StrBytes,
    producer_id: i64,
    producer_epoch: i16,
    partitions: Vec<Written>,
}

/// The first batch for a partition.
struct Written {
    topic_index: usize,
    topic: TopicName,
    index: i32,
    partition: Arc<Partition>,
    header: BatchHeader,
}

impl Verified {
    /// Taken out: each partition comes once, or its second batch has no guard.
    pub(super) fn take(
        &mut self,
        topic_index: usize,
        index: i32,
    ) -> Result<Option<VerificationGuard>, Refusal> {
        if let Some(error) = self.refused {
            return Err(error.into());
        }
        self.partitions.remove(&(topic_index, index)).transpose()
    }

    fn refuse(error: ErrorCode) -> Self {
        Self {
            refused: Some(error),
            ..Self::default()
        }
    }
}

/// What has to be asked of the coordinator first, and what is known without.
pub(super) fn begin(
    context: &RequestContext,
    request: &ProduceRequest,
) -> (Verified, Option<Verifying>) {
    let batches = transactional_batches(request);
    if batches.is_empty() {
        return (Verified::default(), None);
    }
    let may_write =
        |id: &StrBytes| context.allows(Operation::Write, &Resource::TransactionalId(id));
    let transactional_id = request.transactional_id.as_ref();
    // Without an id nobody can say that it is allowed.
    let Some(transactional_id) = transactional_id.filter(|id| may_write(id)) else {
        let error = ErrorCode::TransactionalIdAuthorizationFailed;
        return (Verified::refuse(error), None);
    };
    let partitions = written(context, request, &batches);
    let Some(first) = partitions.first() else {
        return (Verified::default(), None);
    };
    let producer = |header: &BatchHeader| (header.producer_id, header.producer_epoch);
    let (producer_id, producer_epoch) = producer(&first.header);
    let mut headers = partitions.iter().map(|written| &written.header);
    if headers.any(|header| producer(header) != (producer_id, producer_epoch)) {
        return (Verified::refuse(ErrorCode::InvalidProducerIdMapping), None);
    }
    let verifying = Verifying {
        transactional_id: transactional_id.clone(),
        producer_id,
        producer_epoch,
        partitions,
    };
    let verified = verifying.begin(context.version);
    let is_asked = adds(context.version)
        || context
            .broker
            .config_bool("transaction.partition.verification.enable");
    let has_guards = verified.partitions.values().any(Result::is_ok);
    (verified, (has_guards && is_asked).then_some(verifying))
}

const fn adds(version: i16) -> bool {
    version >= ADDS_FROM
}

/// By the index of the topic in the request, and that of the partition. What is not a batch is refused when it is appended.
fn transactional_batches(request: &ProduceRequest) -> Vec<(usize, i32, BatchHeader)> {
    let topics = request.topics.iter().enumerate();
    let batches = topics.flat_map(|(topic_index, topic)| {
        topic.partitions.iter().filter_map(move |produced| {
            let header = BatchHeader::parse(produced.records.as_deref()?).ok()?;
            let is_transactional = header.is_transactional() && header.has_producer_id();
            is_transactional.then_some((topic_index, produced.index, header))
        })
    });
    batches.collect()
}

/// What is not for a partition that is here, or not allowed, is refused when it is appended.
fn written(
    context: &RequestContext,
    request: &ProduceRequest,
    batches: &[(usize, i32, BatchHeader)],
) -> Vec<Written> {
    let image = context.broker.image();
    let find = |(topic_index, index, header): &(usize, i32, BatchHeader)| {
        let topic = &request.topics[*topic_index].topic;
        let known = check_topic(context, &image, topic).ok()?;
        let partition = context.broker.partitions.find(&known, *index).ok()?;
        Some(Written {
            topic_index: *topic_index,
            topic: TopicName(StrBytes::from_string(known.name.to_string())),
            index: *index,
            partition,
            header: *header,
        })
    };
    batches.iter().filter_map(find).collect()
}

impl Verifying {
    /// Asks the coordinator, again for a moment where the transaction before is still ending.
    pub(super) async fn finish(self, context: &RequestContext, begun: Verified) -> Verified {
        let number = |key: &str| {
            let number = context.broker.config_number(key);
            Duration::from_millis(number.unsigned_abs())
        };
        let backoff = number("add.partitions.to.txn.retry.backoff.ms");
        let retry_until = Instant::now() + number("add.partitions.to.txn.retry.backoff.max.ms");
        let mut verified = begun;
        loop {
            let asked = self.to_ask(context.version, &verified);
            if asked.topics.is_empty() {
                return verified;
            }
            let refused = transactions::add(&context.broker, asked).await;
            let is_ending = refused
                .values()
                .any(|error| *error == ResponseError::ConcurrentTransactions);
            if is_ending && adds(context.version) && Instant::now() < retry_until {
                tokio::time::sleep(backoff).await;
                // The marker of the transaction before may have ended these guards.
                verified = self.begin(context.version);
                continue;
            }
            for written in &self.partitions {
                let Some(error) = refused.get(&(written.topic.clone(), written.index)) else {
                    continue;
                };
                let key = (written.topic_index, written.index);
                if let Some(verified) = verified.partitions.get_mut(&key)
                    && verified.is_ok()
                {
                    *verified = Err(told(*error, context.version));
                }
            }
            return verified;
        }
    }

    fn begin(&self, version: i16) -> Verified {
        let mut verified = Verified::default();
        for written in &self.partitions {
            let begun =
                Partition::begin_verification(&written.partition, &written.header, adds(version));
            let key = (written.topic_index, written.index);
            match begun {
                Ok(Some(guard)) => verified.partitions.insert(key, Ok(guard)),
                Ok(None) => None,
                Err(error) => {
                    let refusal = refusal_of(&written.partition, error);
                    verified.partitions.insert(key, Err(refusal))
                }
            };
        }
        verified
    }

    fn to_ask(&self, version: i16, verified: &Verified) -> AddPartitionsToTxnTransaction {
        let mut topics: BTreeMap<TopicName, Vec<i32>> = BTreeMap::new();
        for written in &self.partitions {
            let key = (written.topic_index, written.index);
            if verified.partitions.get(&key).is_some_and(Result::is_ok) {
                let of_topic = topics.entry(written.topic.clone()).or_default();
                of_topic.push(written.index);
            }
        }
        let topics = topics.into_iter().map(|(name, partitions)| {
            AddPartitionsToTxnTopic::default()
                .with_name(name)
                .with_partitions(partitions)
        });
        AddPartitionsToTxnTransaction::default()
            .with_transactional_id(TransactionalId(self.transactional_id.clone()))
            .with_producer_id(self.producer_id.into())
            .with_producer_epoch(self.producer_epoch)
            .with_verify_only(!adds(version))
            .with_topics(topics.collect())
    }
}

/// What a producer hears: of that version, and not made for the errors of coordinators.
fn told(error: ResponseError, version: i16) -> Refusal {
    let not_verified = |error: ResponseError| {
        let why = format!(
            "it is not known whether the partition takes part in the transaction: {error:?}"
        );
        // Every producer sends it again after that, and to the same leader.
        Refusal::because(ErrorCode::NotEnoughReplicas, why)
    };
    match error {
        ResponseError::NetworkException
        | ResponseError::CoordinatorLoadInProgress
        | ResponseError::CoordinatorNotAvailable
        | ResponseError::NotCoordinator
        // The coordinator has not heard of a partition that is new.
        | ResponseError::UnknownTopicOrPartition
        | ResponseError::OperationNotAttempted => not_verified(error),
        ResponseError::ConcurrentTransactions if !adds(version) => not_verified(error),
        ResponseError::ProducerFenced => ErrorCode::InvalidProducerEpoch.into(),
        ResponseError::TransactionAbortable if version < ABORTABLE_FROM => {
            ErrorCode::InvalidTxnState.into()
        }
        // Nothing that a producer knows.
        ResponseError::ClusterAuthorizationFailed => ErrorCode::InvalidTxnState.into(),
        other => ErrorCode::from_code(other.code())
            .unwrap_or(ErrorCode::UnknownServerError)
            .into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn producers_hear_what_their_version_knows() {
        use ResponseError::*;
        for (error, version, expected) in [
            (NotCoordinator, 12, ErrorCode::NotEnoughReplicas),
            (NetworkException, 9, ErrorCode::NotEnoughReplicas),
            (OperationNotAttempted, 12, ErrorCode::NotEnoughReplicas),
            (ConcurrentTransactions, 11, ErrorCode::NotEnoughReplicas),
            (
                ConcurrentTransactions,
                12,
                ErrorCode::ConcurrentTransactions,
            ),
            (ProducerFenced, 12, ErrorCode::InvalidProducerEpoch),
            (TransactionAbortable, 10, ErrorCode::InvalidTxnState),
            (TransactionAbortable, 11, ErrorCode::TransactionAbortable),
            (
                InvalidProducerIdMapping,
                3,
                ErrorCode::InvalidProducerIdMapping,
            ),
        ] {
            let told = told(error, version).error;
            assert_eq!(told, expected, "{error:?} in version {version}");
        }
    }
}
