//! What idempotent producers wrote last (KIP-98): duplicates are known, gaps are refused.
//!
//! Pure: offsets and the time come in, decisions come out.

use std::collections::{HashMap, VecDeque};

use foz_canary::{Canary, sings};
use foz_protocol::batch::BatchHeader;

use crate::error::AppendError;

/// A client may have this many batches under way on one connection, so this many can come again.
pub(crate) const BATCHES_PER_PRODUCER_MAX: usize = 5;

/// Producers remembered for one partition. Beyond it those that were silent longest are forgotten,
/// a tenth at a time; a producer that is not known may go on with any sequence.
pub(crate) const PRODUCERS_PER_PARTITION_MAX: usize = 10_000;

/// A batch that was appended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct AppendedBatch {
    pub(crate) last_sequence: i32,
    pub(crate) last_offset: i64,
    /// Records in the batch less one.
    pub(crate) offset_delta: i32,
    pub(crate) timestamp_ms: i64,
}

impl AppendedBatch {
    pub(crate) fn first_offset(&self) -> i64 {
        self.last_offset - i64::from(self.offset_delta)
    }
}

/// One producer on one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Producer {
    pub(crate) epoch: i16,
    /// The newest last; all of `epoch`.
    pub(crate) batches: VecDeque<AppendedBatch>,
    pub(crate) last_timestamp_ms: i64,
    pub(crate) coordinator_epoch: i32,
    pub(crate) current_transaction_first_offset: Option<i64>,
}

/// What to do with a batch of an idempotent producer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Sequence {
    Next,
    Duplicate(AppendedBatch),
}

/// All producers of one partition.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Producers {
    by_id: HashMap<i64, Producer>,
}

impl Producers {
    pub(crate) fn len(&self) -> usize {
        self.by_id.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&i64, &Producer)> {
        self.by_id.iter()
    }

    /// Whether `batch`, which carries a producer id, may be appended.
    pub(crate) fn check(&self, batch: &BatchHeader) -> Result<Sequence, AppendError> {
        let Some(producer) = self.by_id.get(&batch.producer_id) else {
            // The state may have expired or been deleted, so any sequence may begin.
            return Ok(Sequence::Next);
        };
        if sings(Canary::DuplicateSequenceAccepted) {
            return Ok(Sequence::Next);
        }
        if let Some(appended) = producer.find_duplicate(batch) {
            return Ok(Sequence::Duplicate(*appended));
        }
        if batch.producer_epoch < producer.epoch {
            return Err(AppendError::InvalidProducerEpoch {
                producer_id: batch.producer_id,
                current: producer.epoch,
                found: batch.producer_epoch,
            });
        }
        let expected = producer.next_sequence(batch.producer_epoch);
        match expected {
            Some(expected) if expected != batch.base_sequence => {
                Err(AppendError::OutOfOrderSequence {
                    producer_id: batch.producer_id,
                    expected,
                    found: batch.base_sequence,
                })
            }
            _ => Ok(Sequence::Next),
        }
    }

    /// `batch` has its final offsets and is in the log.
    pub(crate) fn record(&mut self, batch: &BatchHeader) {
        if !batch.has_producer_id() || batch.is_control() {
            return;
        }
        if self.by_id.len() >= PRODUCERS_PER_PARTITION_MAX
            && !self.by_id.contains_key(&batch.producer_id)
        {
            self.forget_silent(PRODUCERS_PER_PARTITION_MAX / 10);
        }
        let appended = AppendedBatch {
            last_sequence: batch.last_sequence(),
            last_offset: batch.last_offset(),
            offset_delta: batch.last_offset_delta,
            timestamp_ms: batch.max_timestamp,
        };
        let producer = self
            .by_id
            .entry(batch.producer_id)
            .or_insert_with(|| Producer {
                epoch: batch.producer_epoch,
                batches: VecDeque::new(),
                last_timestamp_ms: batch.max_timestamp,
                coordinator_epoch: -1,
                current_transaction_first_offset: None,
            });
        if producer.epoch != batch.producer_epoch {
            producer.epoch = batch.producer_epoch;
            producer.batches.clear();
        }
        if producer.batches.len() == BATCHES_PER_PRODUCER_MAX {
            producer.batches.pop_front();
        }
        producer.batches.push_back(appended);
        producer.last_timestamp_ms = batch.max_timestamp;
    }

    /// Puts back what a snapshot holds.
    pub(crate) fn insert(&mut self, producer_id: i64, producer: Producer) {
        self.by_id.insert(producer_id, producer);
    }

    /// Forgets producers that wrote nothing for `expiration_ms`.
    pub(crate) fn expire(&mut self, now_ms: i64, expiration_ms: i64) {
        self.by_id.retain(|_, producer| {
            producer.current_transaction_first_offset.is_some()
                || now_ms.saturating_sub(producer.last_timestamp_ms) < expiration_ms
        });
        if self.by_id.is_empty() {
            self.by_id.shrink_to_fit();
        }
    }

    fn forget_silent(&mut self, count: usize) {
        let last_offset = |p: &Producer| p.batches.back().map_or(-1, |b| b.last_offset);
        let mut ids: Vec<_> = self
            .by_id
            .iter()
            .map(|(id, p)| (last_offset(p), *id))
            .collect();
        ids.sort_unstable();
        for (_, id) in ids.into_iter().take(count) {
            self.by_id.remove(&id);
        }
    }
}

impl Producer {
    fn find_duplicate(&self, batch: &BatchHeader) -> Option<&AppendedBatch> {
        let same = |appended: &&AppendedBatch| {
            appended.last_sequence == batch.last_sequence()
                && appended.offset_delta == batch.last_offset_delta
        };
        self.batches
            .iter()
            .find(same)
            .filter(|_| self.epoch == batch.producer_epoch)
    }

    /// `None` when any sequence may come.
    fn next_sequence(&self, epoch: i16) -> Option<i32> {
        if epoch != self.epoch {
            return Some(0);
        }
        let last = self.batches.back()?.last_sequence;
        Some(last.checked_add(1).unwrap_or(0))
    }
}

#[cfg(test)]
mod tests;
