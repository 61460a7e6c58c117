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

/// As long as a request may be under way, by a client's defaults (`request.timeout.ms`).
const UNDER_WAY_MAX_MS: i64 = 30_000;

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
    /// `header` has its final offsets.
    pub(crate) fn of(header: &BatchHeader) -> Self {
        Self {
            last_sequence: header.last_sequence(),
            last_offset: header.last_offset(),
            offset_delta: header.last_offset_delta,
            timestamp_ms: header.max_timestamp,
        }
    }

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
    /// There may be batches before `batches` that are known to the log alone: a snapshot holds only the last one.
    pub(crate) has_earlier_batches: bool,
}

/// What to do with a batch of an idempotent producer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Sequence {
    Next,
    Duplicate(AppendedBatch),
    /// Its sequence is over, and the log has to be asked for a duplicate: see [`Producers::insert_earlier`].
    Earlier {
        /// The batch would end before this offset.
        upper_bound_offset: i64,
    },
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

    /// Whether `batch`, which carries a producer id, may be appended by a leader that took over so long ago.
    pub(crate) fn check(
        &self,
        batch: &BatchHeader,
        leads_for_ms: Option<i64>,
    ) -> Result<Sequence, AppendError> {
        let Some(producer) = self.by_id.get(&batch.producer_id) else {
            // The batches before may be under way to the leader before, which refuses them: they come here then, and
            // would be out of order for ever, and fail. (Kafka has that; KAFKA-15591 mends it where the log is new.)
            let may_come = leads_for_ms.is_some_and(|ms| (0..UNDER_WAY_MAX_MS).contains(&ms));
            if may_come && batch.base_sequence > 0 {
                return Err(AppendError::EarlierMayCome {
                    producer_id: batch.producer_id,
                    found: batch.base_sequence,
                });
            }
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
                if let Some(upper_bound_offset) = producer.earlier_than(batch, expected) {
                    return Ok(Sequence::Earlier { upper_bound_offset });
                }
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
        let appended = AppendedBatch::of(batch);
        let producer = self
            .by_id
            .entry(batch.producer_id)
            .or_insert_with(|| Producer {
                epoch: batch.producer_epoch,
                batches: VecDeque::new(),
                last_timestamp_ms: batch.max_timestamp,
                coordinator_epoch: -1,
                current_transaction_first_offset: None,
                has_earlier_batches: false,
            });
        if producer.epoch != batch.producer_epoch {
            producer.epoch = batch.producer_epoch;
            producer.batches.clear();
            producer.has_earlier_batches = false;
        }
        if producer.batches.len() == BATCHES_PER_PRODUCER_MAX {
            producer.batches.pop_front();
        }
        producer.batches.push_back(appended);
        producer.last_timestamp_ms = batch.max_timestamp;
    }

    /// `earlier` is what the log holds of a producer's epoch before the batches that are known here, rising.
    pub(crate) fn insert_earlier(&mut self, producer_id: i64, earlier: &VecDeque<AppendedBatch>) {
        let Some(producer) = self.by_id.get_mut(&producer_id) else {
            return;
        };
        producer.has_earlier_batches = false;
        let room = BATCHES_PER_PRODUCER_MAX - producer.batches.len();
        for batch in earlier.iter().rev().take(room) {
            producer.batches.push_front(*batch);
        }
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

    /// Where the first known batch begins, if `batch` would come before it and may be in the log.
    fn earlier_than(&self, batch: &BatchHeader, expected: i32) -> Option<i64> {
        let is_known_whole =
            !self.has_earlier_batches || self.batches.len() == BATCHES_PER_PRODUCER_MAX;
        if is_known_whole || batch.producer_epoch != self.epoch {
            return None;
        }
        // Sequences go round from the greatest one to 0.
        let behind = expected.wrapping_sub(batch.base_sequence) & i32::MAX;
        let first = self.batches.front()?;
        (behind <= i32::MAX / 2).then(|| first.first_offset())
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
