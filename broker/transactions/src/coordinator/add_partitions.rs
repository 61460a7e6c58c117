use std::collections::BTreeSet;
use std::sync::Arc;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::add_partitions_to_txn_request::{
    AddPartitionsToTxnTopic, AddPartitionsToTxnTransaction,
};
use kafka_protocol::messages::add_partitions_to_txn_response::AddPartitionsToTxnTopicResult;
use kafka_protocol::messages::{AddOffsetsToTxnRequest, AddPartitionsToTxnRequest};

use super::Coordinator;
use crate::asker::Asker;
use crate::effect::Effect;
use crate::now::Now;
use crate::request::RequestContext;
use crate::response::{self, topic_results_by};
use crate::transaction::{TopicPartition, TransactionState, bumps_epoch};

/// The topic of committed offsets.
const OFFSETS_TOPIC: &str = "__consumer_offsets";

/// Longest name that a topic may have, as in Kafka.
const TOPIC_NAME_BYTES_MAX: usize = 249;

/// Partitions that are to take part in a transaction.
struct Adding<'a> {
    transactional_id: &'a str,
    producer_id: i64,
    producer_epoch: i16,
    partitions: BTreeSet<TopicPartition>,
    client_transaction_version: i16,
}

impl Coordinator {
    pub(super) fn add_partitions(
        &mut self,
        context: &RequestContext,
        request: &AddPartitionsToTxnRequest,
        now: Now,
        effects: &mut Vec<Effect>,
    ) {
        let waiter = context.waiter;
        let transactions = response::transactions(request, context.api_version);
        let batch = transactions.clone();
        self.batches.open(waiter, context.api_version, batch);
        for (index, transaction) in transactions.iter().enumerate() {
            if transaction.verify_only {
                let topics = self.verify_partitions(transaction);
                self.batches.answer_with(waiter, index, topics, effects);
                continue;
            }
            let asker = Asker::AddPartitions { waiter, index };
            let adding = Adding {
                transactional_id: &transaction.transactional_id,
                producer_id: transaction.producer_id.0,
                producer_epoch: transaction.producer_epoch,
                partitions: partitions_of(&transaction.topics),
                // Version 4 and later come from brokers, for clients that follow transaction.version 2.
                client_transaction_version: if context.api_version >= 4 { 2 } else { 0 },
            };
            self.add(context, &adding, asker, now, effects);
        }
        self.batches.send_if_complete(waiter, effects);
    }

    /// Committed offsets take part in a transaction as any partition does.
    pub(super) fn add_offsets(
        &mut self,
        context: &RequestContext,
        request: &AddOffsetsToTxnRequest,
        offsets_partition: i32,
        now: Now,
        effects: &mut Vec<Effect>,
    ) {
        let partition = TopicPartition {
            topic: Arc::from(OFFSETS_TOPIC),
            partition: offsets_partition,
        };
        let adding = Adding {
            transactional_id: &request.transactional_id,
            producer_id: request.producer_id.0,
            producer_epoch: request.producer_epoch,
            partitions: BTreeSet::from([partition]),
            // Clients that follow version 2 do not ask for this.
            client_transaction_version: 0,
        };
        let asker = Asker::AddOffsets {
            waiter: context.waiter,
            api_version: context.api_version,
        };
        self.add(context, &adding, asker, now, effects);
    }

    fn add(
        &mut self,
        context: &RequestContext,
        adding: &Adding<'_>,
        asker: Asker,
        now: Now,
        effects: &mut Vec<Effect>,
    ) {
        let waiter = context.waiter;
        let is_heard = bumps_epoch(adding.client_transaction_version)
            || self.hears_from(
                adding.transactional_id,
                adding.producer_id,
                adding.producer_epoch,
                context.connection,
            );
        if !is_heard {
            self.batches.drop(waiter);
            effects.push(Effect::Close { waiter });
            return;
        }
        if let Err(error) = self.try_add(adding, asker, now, effects) {
            self.answer(asker, Err(error), effects);
        }
    }

    fn try_add(
        &mut self,
        adding: &Adding<'_>,
        asker: Asker,
        now: Now,
        effects: &mut Vec<Effect>,
    ) -> Result<(), ResponseError> {
        if adding.transactional_id.is_empty() {
            return Err(ResponseError::InvalidRequest);
        }
        let mut topics = adding.partitions.iter().map(|partition| &partition.topic);
        if topics.any(|topic| topic.len() > TOPIC_NAME_BYTES_MAX) {
            return Err(ResponseError::InvalidTopicException);
        }
        let entry = self.entry(adding.transactional_id)?;
        let entry = entry.ok_or(ResponseError::InvalidProducerIdMapping)?;
        // First (KAFKA-18660): what is under way may bring the producer id that the request has already.
        entry.settled()?;
        let current = entry.of_producer(adding.producer_id, adding.producer_epoch)?;
        let has_all = current.state == TransactionState::Ongoing
            && adding.partitions.is_subset(&current.partitions);
        // Nothing begins with no partition.
        if has_all || adding.partitions.is_empty() {
            let outcome = Ok((current.producer_id, current.producer_epoch));
            self.answer(asker, outcome, effects);
            return Ok(());
        }
        let version = adding.client_transaction_version;
        let next = current.with_partitions(&adding.partitions, version, now.wall_ms);
        let id: Arc<str> = Arc::from(adding.transactional_id);
        self.append(&id, next, asker, now, effects);
        Ok(())
    }

    /// For a leader that is about to append (KIP-890). What is under way is not looked at: the leader looks
    /// once more when it appends.
    fn verify_partitions(
        &self,
        transaction: &AddPartitionsToTxnTransaction,
    ) -> Vec<AddPartitionsToTxnTopicResult> {
        match self.verified(transaction) {
            Err(error) => response::topic_results(&transaction.topics, Some(error)),
            Ok(partitions) => topic_results_by(&transaction.topics, |topic, partition| {
                let topic = Arc::from(topic);
                let is_added = partitions.contains(&TopicPartition { topic, partition });
                (!is_added).then_some(ResponseError::TransactionAbortable)
            }),
        }
    }

    fn verified(
        &self,
        transaction: &AddPartitionsToTxnTransaction,
    ) -> Result<&BTreeSet<TopicPartition>, ResponseError> {
        if transaction.transactional_id.is_empty() {
            return Err(ResponseError::InvalidRequest);
        }
        let entry = self.entry(&transaction.transactional_id)?;
        let entry = entry.ok_or(ResponseError::InvalidProducerIdMapping)?;
        let current = entry.of_producer(transaction.producer_id.0, transaction.producer_epoch)?;
        if current.state.is_prepared() {
            return Err(ResponseError::ConcurrentTransactions);
        }
        Ok(&current.partitions)
    }
}

fn partitions_of(topics: &[AddPartitionsToTxnTopic]) -> BTreeSet<TopicPartition> {
    let partitions = topics.iter().flat_map(|topic| {
        let name: Arc<str> = Arc::from(topic.name.as_str());
        topic
            .partitions
            .iter()
            .map(move |&partition| TopicPartition {
                topic: Arc::clone(&name),
                partition,
            })
    });
    partitions.collect()
}
