//! Partitions that producers write to, on their way to the coordinators of their transactions (KIP-890).

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use foz_groups::partition_for;
use foz_metadata::Image;
use foz_metadata::image::NO_LEADER;
use kafka_protocol::messages::add_partitions_to_txn_request::AddPartitionsToTxnTransaction;
use kafka_protocol::messages::{
    AddPartitionsToTxnRequest, AddPartitionsToTxnResponse, TopicName, TransactionalId,
};
use kafka_protocol::{ResponseError, protocol::StrBytes};
use tokio::sync::oneshot;

use crate::broker::Broker;
use crate::internal_topics::TRANSACTION_STATE;
use crate::node_queues::{Asked, NodeQueues};
use crate::replication::NodeConnection;

/// What nodes speak with each other. A newer one only after a feature level says that all can.
const VERSION: i16 = 5;
/// The producer's connection waits meanwhile.
const ANSWER_MAX: Duration = Duration::from_secs(30);

/// Of a transaction, or of a topic, besides names and partitions.
const LEAST_BYTES: usize = 16;
const PARTITION_BYTES: usize = 4;

/// Errors of partitions that cannot be written to.
pub(crate) type Refused = HashMap<(TopicName, i32), ResponseError>;

/// Those who ask: produce requests, of which each connection of a client has one at most, and commits of offsets, of which it has
/// as many as it may have requests under way.
pub(super) type AddingQueues = NodeQueues<Adding>;

/// A transaction with the partitions that are about to be written to.
#[derive(Debug)]
pub(super) struct Adding {
    transaction: AddPartitionsToTxnTransaction,
    answer: oneshot::Sender<Refused>,
}

/// Has the partitions take part in the transaction, or, where it says `verify_only`, asks whether they do.
pub(crate) async fn add(
    broker: &Arc<Broker>,
    transaction: AddPartitionsToTxnTransaction,
) -> Refused {
    let leader = coordinator(&broker.image(), &transaction.transactional_id);
    let Some(leader) = leader else {
        return all(&transaction, ResponseError::CoordinatorNotAvailable);
    };
    let (answer, answered) = oneshot::channel();
    let adding = Adding {
        transaction: transaction.clone(),
        answer,
    };
    broker.transactions.adding.ask(broker, leader, adding);
    match tokio::time::timeout(ANSWER_MAX, answered).await {
        Ok(Ok(refused)) => refused,
        Ok(Err(_)) | Err(_) => all(&transaction, ResponseError::NetworkException),
    }
}

fn coordinator(image: &Image, transactional_id: &str) -> Option<i32> {
    let topic = image.topic(TRANSACTION_STATE)?;
    let index = partition_for(transactional_id, topic.partitions.len() as i32);
    let leader = topic.partition(index)?.leader;
    (leader != NO_LEADER).then_some(leader)
}

fn all(transaction: &AddPartitionsToTxnTransaction, error: ResponseError) -> Refused {
    let topics = transaction.topics.iter();
    let partitions = topics.flat_map(|topic| {
        let partitions = topic.partitions.iter();
        partitions.map(|partition| ((topic.name.clone(), *partition), error))
    });
    partitions.collect()
}

impl Asked for Adding {
    type Answer = Result<HashMap<TransactionalId, Refused>, ResponseError>;

    const PURPOSE: &'static str = "transactions";
    const MAY_COME_TWICE: bool = true;

    fn bytes(&self) -> usize {
        let topics = self.transaction.topics.iter();
        let topics =
            topics.map(|it| LEAST_BYTES + it.name.len() + PARTITION_BYTES * it.partitions.len());
        LEAST_BYTES + self.transaction.transactional_id.len() + topics.sum::<usize>()
    }

    fn is_given_up(&self) -> bool {
        self.answer.is_closed()
    }

    /// Results name the transactional id alone, and a producer that was replaced asks under the id of its successor.
    fn alone(&self) -> StrBytes {
        self.transaction.transactional_id.0.clone()
    }

    async fn ask(connection: &mut NodeConnection, together: &[Self]) -> io::Result<Self::Answer> {
        let transactions = together.iter().map(|adding| adding.transaction.clone());
        let request =
            AddPartitionsToTxnRequest::default().with_transactions(transactions.collect());
        Ok(refused_of(
            connection.call(VERSION, &request, ANSWER_MAX).await?,
        ))
    }

    fn tell(self, answer: Option<&Self::Answer>) {
        let refused = match answer {
            None => all(&self.transaction, ResponseError::NetworkException),
            Some(Err(error)) => all(&self.transaction, *error),
            Some(Ok(by_id)) => match by_id.get(&self.transaction.transactional_id) {
                Some(refused) => refused.clone(),
                None => all(&self.transaction, ResponseError::UnknownServerError),
            },
        };
        // A client that has gone does not mind.
        let _ = self.answer.send(refused);
    }
}

fn refused_of(
    response: AddPartitionsToTxnResponse,
) -> Result<HashMap<TransactionalId, Refused>, ResponseError> {
    if let Some(error) = ResponseError::try_from_code(response.error_code) {
        return Err(error);
    }
    let results = response.results_by_transaction.into_iter().map(|result| {
        let topics = result.topic_results.into_iter();
        let refused = topics.flat_map(|topic| {
            let name = topic.name;
            let partitions = topic.results_by_partition.into_iter();
            partitions.filter_map(move |partition| {
                let error = ResponseError::try_from_code(partition.partition_error_code)?;
                Some(((name.clone(), partition.partition_index), error))
            })
        });
        (result.transactional_id, refused.collect())
    });
    Ok(results.collect())
}
