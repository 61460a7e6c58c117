//! Producers whose transactions the coordinator is being asked about (KIP-890).
//!
//! The first batch of a transaction on a partition is appended only where the coordinator knows that the partition is part of
//! it: otherwise nobody would ever end it there. Between the question and the append a marker may end that very transaction;
//! so each question has a guard, and what ends the transaction ends the guard. Kept in memory alone: who leads anew asks anew.
//!
//! Pure, but for the numbers of guards: a log that is opened again must not take one that was given before.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};

use foz_protocol::batch::BatchHeader;

use crate::producer_state::is_behind;

/// Producers that are remembered for one partition. Beyond it the oldest question is forgotten, and what it was about is
/// refused.
const VERIFICATIONS_MAX: usize = 10_000;

/// Guards that were given by this process.
static GIVEN: AtomicU64 = AtomicU64::new(0);

/// What a batch has to bring along that begins a transaction. Never the same one twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VerificationGuard(u64);

impl VerificationGuard {
    fn new() -> Self {
        Self(GIVEN.fetch_add(1, Ordering::Relaxed))
    }
}

/// Of one producer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Verification {
    pub(crate) guard: VerificationGuard,
    pub(crate) producer_epoch: i16,
    /// The least sequence that was asked about: one behind it must not come before it, or it could never come at all.
    pub(crate) lowest_sequence: i32,
    /// Each of its transactions has an epoch of its own (`transaction.version` 2).
    pub(crate) has_epoch_per_transaction: bool,
    since_ms: i64,
}

/// All of one partition.
#[derive(Debug, Default, Clone)]
pub(crate) struct Verifications {
    by_producer: HashMap<i64, Verification>,
}

impl Verifications {
    pub(crate) fn get(&self, producer_id: i64) -> Option<&Verification> {
        self.by_producer.get(&producer_id)
    }

    /// The coordinator is about to be asked about `batch`. The same guard for all batches until one of them is appended.
    pub(crate) fn begin(
        &mut self,
        batch: &BatchHeader,
        has_epoch_per_transaction: bool,
        now_ms: i64,
    ) -> VerificationGuard {
        let (epoch, sequence) = (batch.producer_epoch, batch.base_sequence);
        if let Some(known) = self.by_producer.get_mut(&batch.producer_id) {
            if epoch > known.producer_epoch {
                (known.producer_epoch, known.lowest_sequence) = (epoch, sequence);
            } else if epoch == known.producer_epoch && is_behind(sequence, known.lowest_sequence) {
                known.lowest_sequence = sequence;
            }
            return known.guard;
        }
        if self.by_producer.len() >= VERIFICATIONS_MAX {
            let oldest = self.by_producer.iter().min_by_key(|(_, it)| it.since_ms);
            if let Some(id) = oldest.map(|(id, _)| *id) {
                self.by_producer.remove(&id);
            }
        }
        let guard = VerificationGuard::new();
        let begun = Verification {
            guard,
            producer_epoch: epoch,
            lowest_sequence: sequence,
            has_epoch_per_transaction,
            since_ms: now_ms,
        };
        self.by_producer.insert(batch.producer_id, begun);
        guard
    }

    /// `batch` is in the log. It began the transaction, or it is the marker that ended it: unless that marker is of the
    /// transaction before, and the next one, which has its epoch, is being asked about already (KAFKA-18575).
    pub(crate) fn appended(&mut self, batch: &BatchHeader) {
        if !batch.is_transactional() || self.by_producer.is_empty() {
            return;
        }
        let is_of_next = self.get(batch.producer_id).is_some_and(|it| {
            it.has_epoch_per_transaction
                && batch.is_control()
                && it.producer_epoch == batch.producer_epoch
        });
        if !is_of_next {
            self.by_producer.remove(&batch.producer_id);
        }
    }

    /// Forgets those that came to nothing for `expiration_ms`.
    pub(crate) fn expire(&mut self, now_ms: i64, expiration_ms: i64) {
        self.by_producer
            .retain(|_, it| now_ms.saturating_sub(it.since_ms) < expiration_ms);
    }

    /// What was in the log is no more. Guards that were given count for nothing from now on.
    pub(crate) fn clear(&mut self) {
        self.by_producer = HashMap::new();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::producer_state::tests::{batch, marker_batch, transactional};

    #[test]
    fn a_guard_is_the_same_until_something_is_appended_and_then_never_again() {
        let mut verifications = Verifications::default();
        let first = verifications.begin(&batch(1, 0, 5, 1, 0), false, 0);
        assert_eq!(verifications.begin(&batch(1, 0, 7, 1, 0), false, 1), first);
        assert_ne!(verifications.begin(&batch(2, 0, 7, 1, 0), false, 1), first);
        // Others do not matter, nor what belongs to no transaction.
        verifications.appended(&transactional(3, 0, 5, 0));
        verifications.appended(&batch(1, 0, 5, 1, 0));
        assert_eq!(verifications.get(1).unwrap().guard, first);
        verifications.appended(&transactional(1, 0, 5, 0));
        assert_eq!(verifications.get(1), None);
        let second = verifications.begin(&batch(1, 0, 6, 1, 0), false, 2);
        assert_ne!(second, first);
        verifications.clear();
        assert_eq!(verifications.get(1), None);
        let third = verifications.begin(&batch(1, 0, 6, 1, 0), false, 3);
        assert!(third != second && third != first);
    }

    #[test]
    fn the_lowest_sequence_of_the_newest_epoch_counts() {
        let mut verifications = Verifications::default();
        let mut lowest = |epoch, sequence| {
            verifications.begin(&batch(1, epoch, sequence, 1, 0), true, 0);
            let known = verifications.get(1).unwrap();
            (known.producer_epoch, known.lowest_sequence)
        };
        assert_eq!(lowest(3, 5), (3, 5));
        assert_eq!(lowest(3, 7), (3, 5));
        assert_eq!(lowest(3, 4), (3, 4));
        assert_eq!(lowest(2, 1), (3, 4));
        assert_eq!(lowest(4, 9), (4, 9));
        // Sequences go round.
        assert_eq!(lowest(4, i32::MAX), (4, i32::MAX));
        assert_eq!(lowest(4, 0), (4, i32::MAX));
    }

    #[test]
    fn a_marker_ends_what_it_is_about_and_not_what_comes_next() {
        for (has_epoch_per_transaction, marker_epoch, stays) in [
            (false, 3, false),
            (false, 4, false),
            (true, 2, false),
            // The transaction before had epoch 2, the marker and the next one have 3.
            (true, 3, true),
            (true, 4, false),
        ] {
            let mut verifications = Verifications::default();
            verifications.begin(&batch(1, 3, 0, 1, 0), has_epoch_per_transaction, 0);
            verifications.appended(&marker_batch(1, marker_epoch, 9));
            let is_there = verifications.get(1).is_some();
            assert_eq!(
                is_there, stays,
                "{has_epoch_per_transaction} {marker_epoch}"
            );
        }
    }

    #[test]
    fn what_comes_to_nothing_is_forgotten() {
        let mut verifications = Verifications::default();
        verifications.begin(&batch(1, 0, 0, 1, 0), false, 100);
        verifications.expire(199, 100);
        assert!(verifications.get(1).is_some());
        verifications.expire(200, 100);
        assert!(verifications.get(1).is_none());
        for id in 0..=VERIFICATIONS_MAX as i64 {
            verifications.begin(&batch(id, 0, 0, 1, 0), false, 1000 - i64::from(id == 1));
        }
        assert_eq!(verifications.by_producer.len(), VERIFICATIONS_MAX);
        assert!(verifications.get(1).is_none() && verifications.get(0).is_some());
    }
}
