//! What producers with an id wrote last (KIP-98): duplicates are known, gaps are refused, and transactions that are open.
//!
//! Pure: offsets and the time come in, decisions come out.

use std::collections::{HashMap, VecDeque};

use foz_canary::{Canary, sings};
use foz_protocol::batch::BatchHeader;

use crate::error::AppendError;
use crate::transaction_index::AbortedTransaction;
use crate::transaction_marker::TransactionMarker;
use crate::verifications::{Verification, VerificationGuard};

/// A client may have this many batches under way on one connection, so this many can come again.
pub(crate) const BATCHES_PER_PRODUCER_MAX: usize = 5;

/// Producers remembered for one partition. Beyond it those that were silent longest are forgotten, a tenth at a time, but
/// for those with an open transaction; a producer that is not known may go on with any sequence.
pub(crate) const PRODUCERS_PER_PARTITION_MAX: usize = 10_000;

/// As long as a request may be under way, by a client's defaults (`request.timeout.ms`).
const UNDER_WAY_MAX_MS: i64 = 30_000;

/// From this `transaction.version` on each transaction has an epoch of its own, which its marker raises (KIP-890).
const EPOCH_PER_TRANSACTION_FROM: i16 = 2;

/// Of a producer that no coordinator has ended a transaction of.
const NO_COORDINATOR_EPOCH: i32 = -1;

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
    /// Of its last batch or marker; a snapshot tells only that of a batch.
    pub(crate) last_offset: i64,
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

/// What is known of a batch besides what it says.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Circumstances<'a> {
    /// A coordinator wrote it: such batches have no sequences.
    pub(crate) is_of_coordinator: bool,
    /// How long ago the leader took over; `None` where it is not to be asked.
    pub(crate) leads_for_ms: Option<i64>,
    /// What the coordinator was asked about this producer.
    pub(crate) verification: Option<&'a Verification>,
    /// What came with the batch.
    pub(crate) guard: Option<VerificationGuard>,
}

/// A transaction that a marker has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct EndedTransaction {
    pub(crate) producer_id: i64,
    pub(crate) first_offset: i64,
    pub(crate) marker_offset: i64,
    pub(crate) is_commit: bool,
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
    pub(crate) fn check(
        &self,
        batch: &BatchHeader,
        known: Circumstances<'_>,
    ) -> Result<Sequence, AppendError> {
        let producer = self.by_id.get(&batch.producer_id);
        if sings(Canary::DuplicateSequenceAccepted) && producer.is_some() {
            return Ok(Sequence::Next);
        }
        if let Some(appended) = producer.and_then(|it| it.find_duplicate(batch))
            && !known.is_of_coordinator
        {
            return Ok(Sequence::Duplicate(*appended));
        }
        // Before everything else that may be wrong, for after this error a client goes on (KAFKA-19690).
        self.check_epoch(batch.producer_id, batch.producer_epoch)?;
        let has_transaction = self.has_open_transaction(batch.producer_id, batch.producer_epoch);
        if batch.is_transactional() && !has_transaction && !known.is_verified() {
            return Err(AppendError::NoTransaction {
                producer_id: batch.producer_id,
            });
        }
        if !known.is_of_coordinator {
            let sequence = check_sequence(batch, producer, known)?;
            if sequence != Sequence::Next {
                return Ok(sequence);
            }
        }
        let is_open = producer.is_some_and(|it| it.current_transaction_first_offset.is_some());
        if is_open && !batch.is_transactional() {
            return Err(AppendError::OutsideTransaction {
                producer_id: batch.producer_id,
            });
        }
        Ok(Sequence::Next)
    }

    /// Whether the coordinator is to be asked before `batch` is appended, which is transactional.
    pub(crate) fn needs_verification(&self, batch: &BatchHeader) -> Result<bool, AppendError> {
        self.check_epoch(batch.producer_id, batch.producer_epoch)?;
        let producer = self.by_id.get(&batch.producer_id);
        // What comes again when its transaction is over begins none: a question about it would keep what comes next back.
        let is_late = producer.is_some_and(|it| {
            let expected = it.next_sequence(batch.producer_epoch);
            let has_sequence = batch.base_sequence >= 0;
            has_sequence
                && it.epoch == batch.producer_epoch
                && is_behind(batch.base_sequence, expected)
        });
        let is_open = self.has_open_transaction(batch.producer_id, batch.producer_epoch);
        Ok(!is_late && !is_open)
    }

    /// Whether a coordinator's marker may be appended by a leader.
    pub(crate) fn check_marker(
        &self,
        marker: &TransactionMarker,
        transaction_version: i16,
    ) -> Result<(), AppendError> {
        let (producer_id, found) = (marker.producer_id, marker.producer_epoch);
        let Some(producer) = self.by_id.get(&producer_id) else {
            return Ok(());
        };
        // A coordinator that was loaded anew, or heard no answer, sends the same again (KAFKA-19999).
        let is_again = producer.current_transaction_first_offset.is_none() || found == i16::MAX;
        let is_old = if transaction_version >= EPOCH_PER_TRANSACTION_FROM {
            found < producer.epoch || found == producer.epoch && !is_again
        } else {
            found < producer.epoch
        };
        if is_old {
            return Err(AppendError::InvalidProducerEpoch {
                producer_id,
                current: producer.epoch,
                found,
            });
        }
        if marker.coordinator_epoch < producer.coordinator_epoch {
            return Err(AppendError::CoordinatorFenced {
                producer_id,
                current: producer.coordinator_epoch,
                found: marker.coordinator_epoch,
            });
        }
        Ok(())
    }

    /// `batch` holds data, has its final offsets and is in the log. Where a transaction begins with it, returns its offset.
    pub(crate) fn record(&mut self, batch: &BatchHeader) -> Option<i64> {
        if !batch.has_producer_id() || batch.is_control() {
            return None;
        }
        let appended = AppendedBatch::of(batch);
        let producer = self.of(batch);
        if producer.batches.len() == BATCHES_PER_PRODUCER_MAX {
            producer.batches.pop_front();
        }
        producer.batches.push_back(appended);
        producer.last_timestamp_ms = batch.max_timestamp;
        producer.last_offset = appended.last_offset;
        let begins =
            batch.is_transactional() && producer.current_transaction_first_offset.is_none();
        if begins {
            producer.current_transaction_first_offset = Some(batch.base_offset);
        }
        begins.then_some(batch.base_offset)
    }

    /// Which transaction ends when `marker` is in the log as `batch`.
    pub(crate) fn ended_by(
        &self,
        batch: &BatchHeader,
        marker: &TransactionMarker,
    ) -> Option<EndedTransaction> {
        let producer = self.by_id.get(&batch.producer_id)?;
        Some(EndedTransaction {
            producer_id: batch.producer_id,
            first_offset: producer.current_transaction_first_offset?,
            marker_offset: batch.last_offset(),
            is_commit: marker.is_commit,
        })
    }

    /// `batch` is the control batch of `marker` and is in the log. Whoever has it takes it as it is: the leader has judged it.
    pub(crate) fn record_marker(
        &mut self,
        batch: &BatchHeader,
        marker: &TransactionMarker,
    ) -> Option<EndedTransaction> {
        let ended = self.ended_by(batch, marker);
        let producer = self.of(batch);
        producer.current_transaction_first_offset = None;
        producer.coordinator_epoch = marker.coordinator_epoch;
        producer.last_timestamp_ms = batch.max_timestamp;
        producer.last_offset = batch.last_offset();
        ended
    }

    /// `batch` is what compaction leaves of a marker whose transaction is gone: it still tells the epoch of a producer that is
    /// known by older ones.
    pub(crate) fn record_emptied_marker(&mut self, batch: &BatchHeader) {
        let known = self.by_id.get(&batch.producer_id);
        if known.is_some_and(|it| it.epoch < batch.producer_epoch) {
            self.of(batch).last_offset = batch.last_offset();
        }
    }

    fn check_epoch(&self, producer_id: i64, found: i16) -> Result<(), AppendError> {
        match self.by_id.get(&producer_id) {
            Some(producer) if found < producer.epoch => Err(AppendError::InvalidProducerEpoch {
                producer_id,
                current: producer.epoch,
                found,
            }),
            _ => Ok(()),
        }
    }

    fn has_open_transaction(&self, producer_id: i64, epoch: i16) -> bool {
        let producer = self.by_id.get(&producer_id);
        producer
            .is_some_and(|it| it.epoch == epoch && it.current_transaction_first_offset.is_some())
    }

    /// Whoever wrote `batch`, in its epoch.
    fn of(&mut self, batch: &BatchHeader) -> &mut Producer {
        if self.by_id.len() >= PRODUCERS_PER_PARTITION_MAX
            && !self.by_id.contains_key(&batch.producer_id)
        {
            self.forget_silent(PRODUCERS_PER_PARTITION_MAX / 10);
        }
        let producer = self
            .by_id
            .entry(batch.producer_id)
            .or_insert_with(|| Producer {
                epoch: batch.producer_epoch,
                batches: VecDeque::new(),
                last_timestamp_ms: batch.max_timestamp,
                last_offset: batch.last_offset(),
                coordinator_epoch: NO_COORDINATOR_EPOCH,
                current_transaction_first_offset: None,
                has_earlier_batches: false,
            });
        if producer.epoch != batch.producer_epoch {
            producer.epoch = batch.producer_epoch;
            producer.batches.clear();
            producer.has_earlier_batches = false;
        }
        producer
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

    /// Whether there were any.
    pub(crate) fn forget_transactions(&mut self) -> bool {
        let producers = self.by_id.values_mut();
        let ended = producers.filter_map(|it| it.current_transaction_first_offset.take());
        ended.count() > 0
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

    /// A transaction that were forgotten would never end here.
    fn forget_silent(&mut self, count: usize) {
        let has_none = |it: &(&i64, &Producer)| it.1.current_transaction_first_offset.is_none();
        let candidates = self.by_id.iter().filter(has_none);
        let mut ids: Vec<_> = candidates.map(|(id, it)| (it.last_offset, *id)).collect();
        ids.sort_unstable();
        for (_, id) in ids.into_iter().take(count) {
            self.by_id.remove(&id);
        }
    }
}

impl EndedTransaction {
    /// What the transaction index says of it; `None` where it was committed.
    pub(crate) fn aborted(&self, last_stable_offset: i64) -> Option<AbortedTransaction> {
        (!self.is_commit).then_some(AbortedTransaction {
            producer_id: self.producer_id,
            first_offset: self.first_offset,
            marker_offset: self.marker_offset,
            last_stable_offset,
        })
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
        let first = self.batches.front()?;
        is_behind(batch.base_sequence, expected).then(|| first.first_offset())
    }

    /// The first one of an epoch is 0, also where a marker began that epoch.
    fn next_sequence(&self, epoch: i16) -> i32 {
        match self.batches.back() {
            Some(last) if epoch == self.epoch => last.last_sequence.checked_add(1).unwrap_or(0),
            _ => 0,
        }
    }
}

impl Circumstances<'_> {
    fn is_verified(&self) -> bool {
        let wanted = self.verification.map(|it| it.guard);
        wanted.is_some() && wanted == self.guard
    }
}

fn check_sequence(
    batch: &BatchHeader,
    producer: Option<&Producer>,
    known: Circumstances<'_>,
) -> Result<Sequence, AppendError> {
    let found = batch.base_sequence;
    let out_of_order = |expected| {
        Err(AppendError::OutOfOrderSequence {
            producer_id: batch.producer_id,
            expected,
            found,
        })
    };
    let verification = known
        .verification
        .filter(|it| it.producer_epoch == batch.producer_epoch);
    let Some(producer) = producer else {
        // The batches before may be under way to the leader before, which refuses them: they come here then, and
        // would be out of order for ever, and fail. (Kafka has that; KAFKA-15591 mends it where the log is new.)
        let leads_for_ms = known.leads_for_ms;
        let may_come = leads_for_ms.is_some_and(|ms| (0..UNDER_WAY_MAX_MS).contains(&ms));
        if may_come && found > 0 {
            return Err(AppendError::EarlierMayCome {
                producer_id: batch.producer_id,
                found,
            });
        }
        return match verification {
            // Each transaction begins at 0: what came before is missing.
            Some(it) if it.has_epoch_per_transaction && found != 0 => out_of_order(0),
            Some(it) if is_behind(it.lowest_sequence, found) => out_of_order(it.lowest_sequence),
            // The state may have expired or been deleted, so any sequence may begin.
            _ => Ok(Sequence::Next),
        };
    };
    if let Some(it) = verification
        && is_behind(it.lowest_sequence, found)
    {
        return out_of_order(it.lowest_sequence);
    }
    let expected = producer.next_sequence(batch.producer_epoch);
    if expected == found {
        return Ok(Sequence::Next);
    }
    match producer.earlier_than(batch, expected) {
        Some(upper_bound_offset) => Ok(Sequence::Earlier { upper_bound_offset }),
        None => out_of_order(expected),
    }
}

/// Whether one sequence comes before another: they go round from the greatest one to 0.
pub(crate) fn is_behind(sequence: i32, other: i32) -> bool {
    let distance = other.wrapping_sub(sequence) & i32::MAX;
    (1..=i32::MAX / 2).contains(&distance)
}

#[cfg(test)]
pub(crate) mod tests;
