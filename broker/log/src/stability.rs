//! How far a log is decided, for readers who want no record of a transaction that may still be aborted (`read_committed`).
//!
//! Readers take no lock, and writers only where there are transactions.

use std::sync::atomic::{AtomicI64, Ordering};

use parking_lot::Mutex;

use crate::producer_state::EndedTransaction;
use crate::transaction_index::AbortedTransaction;
use crate::unstable_transactions::UnstableTransactions;

/// Of [`Stability::first_unstable_offset`].
const ALL_STABLE: i64 = i64::MAX;

/// Of [`Stability::last_aborted_offset`].
const NONE_ABORTED: i64 = -1;

/// Of one log.
#[derive(Debug)]
pub(crate) struct Stability {
    transactions: Mutex<UnstableTransactions>,
    /// What `transactions` says.
    first_unstable_offset: AtomicI64,
    /// No marker of an aborted transaction lies behind it.
    last_aborted_offset: AtomicI64,
}

impl Stability {
    pub(crate) fn new(
        transactions: UnstableTransactions,
        last_aborted_offset: Option<i64>,
    ) -> Self {
        let first_unstable_offset = transactions.first_unstable_offset();
        Self {
            transactions: Mutex::new(transactions),
            first_unstable_offset: AtomicI64::new(first_unstable_offset.unwrap_or(ALL_STABLE)),
            last_aborted_offset: AtomicI64::new(last_aborted_offset.unwrap_or(NONE_ABORTED)),
        }
    }

    /// Of another log that holds the same.
    pub(crate) fn copy_of(&self) -> Self {
        Self::new(self.transactions.lock().clone(), self.last_aborted_offset())
    }

    /// To be asked after the high watermark: what is published before the end of the log is seen then.
    pub(crate) fn first_unstable_offset(&self) -> Option<i64> {
        let first = self.first_unstable_offset.load(Ordering::Acquire);
        (first != ALL_STABLE).then_some(first)
    }

    /// No marker of an aborted transaction lies behind it.
    pub(crate) fn last_aborted_offset(&self) -> Option<i64> {
        let last = self.last_aborted_offset.load(Ordering::Acquire);
        (last != NONE_ABORTED).then_some(last)
    }

    /// To be called before the end of the log is told to anybody.
    pub(crate) fn began(&self, first_offset: i64) {
        self.change(|transactions| transactions.began(first_offset));
    }

    /// What the transaction index is to say when `ended` has its marker; `None` where it was committed.
    pub(crate) fn aborted(&self, ended: &EndedTransaction) -> Option<AbortedTransaction> {
        let transactions = self.transactions.lock();
        ended.aborted(transactions.last_stable_offset_after(ended))
    }

    /// To be called before the end of the log is told to anybody.
    pub(crate) fn ended(&self, ended: &EndedTransaction) {
        if !ended.is_commit {
            self.last_aborted_offset
                .fetch_max(ended.marker_offset, Ordering::AcqRel);
        }
        self.change(|transactions| transactions.ended(ended));
    }

    pub(crate) fn high_watermark_is(&self, high_watermark: i64) {
        if self.first_unstable_offset().is_some() {
            self.change(|transactions| transactions.high_watermark_is(high_watermark));
        }
    }

    /// The log ends at `end_offset` now.
    pub(crate) fn cut_to(
        &self,
        end_offset: i64,
        remaining: impl FnOnce(&UnstableTransactions) -> UnstableTransactions,
    ) {
        self.last_aborted_offset
            .fetch_min(end_offset - 1, Ordering::AcqRel);
        self.change(|transactions| *transactions = remaining(transactions));
    }

    /// The log holds what the other one does.
    pub(crate) fn become_as(&self, other: &Self) {
        let others = other.transactions.lock().clone();
        self.change(|transactions| *transactions = others);
        let last = other.last_aborted_offset.load(Ordering::Acquire);
        self.last_aborted_offset.fetch_max(last, Ordering::AcqRel);
    }

    fn change(&self, change: impl FnOnce(&mut UnstableTransactions)) {
        let mut transactions = self.transactions.lock();
        change(&mut transactions);
        let first = transactions.first_unstable_offset();
        self.first_unstable_offset
            .store(first.unwrap_or(ALL_STABLE), Ordering::Release);
    }
}
