use std::collections::BTreeMap;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::add_partitions_to_txn_request::AddPartitionsToTxnTransaction;
use kafka_protocol::messages::add_partitions_to_txn_response::{
    AddPartitionsToTxnResult, AddPartitionsToTxnTopicResult,
};

use crate::effect::{Effect, WaiterId};
use crate::response;

/// Who is to hear what becomes of a change, and in which form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asker {
    /// The coordinator itself, or somebody who has given up.
    Nobody,
    InitProducerId {
        waiter: WaiterId,
        api_version: i16,
    },
    /// Of a producer that has to ask again when the transaction it found is aborted.
    InitProducerIdAgain {
        waiter: WaiterId,
        api_version: i16,
    },
    /// One transaction of a request that may name several.
    AddPartitions {
        waiter: WaiterId,
        index: usize,
    },
    AddOffsets {
        waiter: WaiterId,
        api_version: i16,
    },
    EndTxn {
        waiter: WaiterId,
        api_version: i16,
    },
}

impl Asker {
    pub(crate) fn is_nobody(&self) -> bool {
        *self == Self::Nobody
    }
}

/// The requests that wait for several transactions, by waiter.
#[derive(Debug, Default)]
pub(crate) struct Batches(BTreeMap<WaiterId, Batch>);

#[derive(Debug)]
struct Batch {
    api_version: i16,
    transactions: Vec<AddPartitionsToTxnTransaction>,
    results: Vec<Option<AddPartitionsToTxnResult>>,
}

impl Batches {
    /// Every transaction of it must be answered, at once or later.
    pub(crate) fn open(
        &mut self,
        waiter: WaiterId,
        api_version: i16,
        transactions: Vec<AddPartitionsToTxnTransaction>,
    ) {
        let results = vec![None; transactions.len()];
        let batch = Batch {
            api_version,
            transactions,
            results,
        };
        self.0.insert(waiter, batch);
    }

    /// One answer for the partitions of a transaction.
    pub(crate) fn answer(
        &mut self,
        waiter: WaiterId,
        index: usize,
        error: Option<ResponseError>,
        effects: &mut Vec<Effect>,
    ) {
        let Some(batch) = self.0.get(&waiter) else {
            return;
        };
        let error = error.and_then(|error| response::told(error, batch.api_version, 2));
        let topics = response::topic_results(&batch.transactions[index].topics, error);
        self.answer_with(waiter, index, topics, effects);
    }

    pub(crate) fn answer_with(
        &mut self,
        waiter: WaiterId,
        index: usize,
        topics: Vec<AddPartitionsToTxnTopicResult>,
        effects: &mut Vec<Effect>,
    ) {
        let Some(batch) = self.0.get_mut(&waiter) else {
            return;
        };
        batch.results[index] = Some(response::result_of(&batch.transactions[index], topics));
        self.send_if_complete(waiter, effects);
    }

    /// To be called when a batch may have had no transaction at all.
    pub(crate) fn send_if_complete(&mut self, waiter: WaiterId, effects: &mut Vec<Effect>) {
        let is_complete = |batch: &Batch| {
            batch
                .results
                .iter()
                .all(|result: &Option<_>| result.is_some())
        };
        if !self.0.get(&waiter).is_some_and(is_complete) {
            return;
        }
        if let Some(batch) = self.0.remove(&waiter) {
            let results = batch.results.into_iter().flatten().collect();
            let response = response::add_partitions(batch.api_version, results);
            effects.push(Effect::Reply { waiter, response });
        }
    }

    /// Its connection is closed: nobody waits any more.
    pub(crate) fn drop(&mut self, waiter: WaiterId) {
        self.0.remove(&waiter);
    }
}
