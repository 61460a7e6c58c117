//! Transactions that keep the last stable offset back: those that are open, and those whose end not every replica has yet.
//!
//! Pure. A start finds the open ones in the snapshot of producers, and of the others only those that it walks over, as in
//! Kafka: the end of a transaction that is in the log was decided by its coordinator for good, and whoever loses the marker
//! is sent the same one again.

use std::collections::{BTreeMap, BTreeSet};

use foz_canary::{Canary, sings};

use crate::producer_state::{EndedTransaction, Producers};

/// Of one partition. A transaction is known by its first offset.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct UnstableTransactions {
    open: BTreeSet<i64>,
    /// Where their markers are that are not known to be below the high watermark.
    unreplicated: BTreeMap<i64, i64>,
}

impl UnstableTransactions {
    /// Those that are open.
    pub(crate) fn of(producers: &Producers) -> Self {
        let first_offsets = producers.iter().map(|(_, producer)| producer);
        let open = first_offsets.filter_map(|producer| producer.current_transaction_first_offset);
        Self {
            open: open.collect(),
            unreplicated: BTreeMap::new(),
        }
    }

    /// The log was cut to `end_offset`, and these are its producers now.
    pub(crate) fn after_cut(&self, producers: &Producers, end_offset: i64) -> Self {
        let mut unreplicated = self.unreplicated.clone();
        unreplicated.retain(|_, marker_offset| *marker_offset < end_offset);
        Self {
            unreplicated,
            ..Self::of(producers)
        }
    }

    pub(crate) fn began(&mut self, first_offset: i64) {
        self.open.insert(first_offset);
    }

    pub(crate) fn ended(&mut self, ended: &EndedTransaction) {
        self.open.remove(&ended.first_offset);
        self.unreplicated
            .insert(ended.first_offset, ended.marker_offset);
    }

    /// Where everything before is decided once `ended` has its end: what an entry of the transaction index says, whatever the
    /// high watermark is.
    pub(crate) fn last_stable_offset_after(&self, ended: &EndedTransaction) -> i64 {
        let mut others = self.open.iter().filter(|it| **it != ended.first_offset);
        others.next().copied().unwrap_or(ended.marker_offset + 1)
    }

    /// What lies before `high_watermark` every replica in sync has.
    pub(crate) fn high_watermark_is(&mut self, high_watermark: i64) {
        self.unreplicated
            .retain(|_, marker_offset| *marker_offset >= high_watermark);
    }

    /// Nothing is undecided before it.
    pub(crate) fn first_unstable_offset(&self) -> Option<i64> {
        let unreplicated = match sings(Canary::LsoIgnoresUnreplicatedMarkers) {
            true => None,
            false => self.unreplicated.keys().next(),
        };
        let open = self.open.first();
        open.into_iter().chain(unreplicated).min().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(first_offset: i64, marker_offset: i64) -> EndedTransaction {
        EndedTransaction {
            producer_id: 1,
            first_offset,
            marker_offset,
            is_commit: false,
        }
    }

    #[test]
    fn a_transaction_is_unstable_until_its_marker_is_below_the_high_watermark() {
        let mut transactions = UnstableTransactions::default();
        assert_eq!(transactions.first_unstable_offset(), None);
        transactions.began(3);
        transactions.began(7);
        assert_eq!(transactions.first_unstable_offset(), Some(3));
        assert_eq!(transactions.last_stable_offset_after(&ended(3, 9)), 7);
        transactions.ended(&ended(3, 9));
        assert_eq!(transactions.first_unstable_offset(), Some(3));
        transactions.high_watermark_is(9);
        assert_eq!(transactions.first_unstable_offset(), Some(3));
        transactions.high_watermark_is(10);
        assert_eq!(transactions.first_unstable_offset(), Some(7));
        assert_eq!(transactions.last_stable_offset_after(&ended(7, 10)), 11);
        transactions.ended(&ended(7, 10));
        transactions.began(12);
        transactions.high_watermark_is(11);
        assert_eq!(transactions.first_unstable_offset(), Some(12));
    }

    #[test]
    fn a_cut_takes_the_ends_that_lie_behind_it() {
        let mut transactions = UnstableTransactions::default();
        transactions.began(3);
        transactions.ended(&ended(3, 5));
        transactions.began(4);
        transactions.ended(&ended(4, 6));
        let cut = transactions.after_cut(&Producers::default(), 6);
        assert_eq!(cut.first_unstable_offset(), Some(3));
        let cut = transactions.after_cut(&Producers::default(), 5);
        assert_eq!(cut.first_unstable_offset(), None);
    }
}
