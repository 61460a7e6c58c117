//! The part of a log that a start after a crash has not checked against its CRCs yet.

use std::ops::Range;
use std::sync::atomic::{AtomicI64, Ordering};

/// Offsets. What is left only shrinks: what is appended was checked, and its offsets are never below the end of the range,
/// for a cut lowers that.
#[derive(Debug)]
pub(crate) struct Unchecked {
    from: AtomicI64,
    to: AtomicI64,
}

impl Unchecked {
    pub(crate) fn new(range: Range<i64>) -> Self {
        Self {
            from: AtomicI64::new(range.start),
            to: AtomicI64::new(range.end),
        }
    }

    /// What is left of it; perhaps nothing.
    pub(crate) fn range(&self) -> Range<i64> {
        self.from.load(Ordering::Acquire)..self.to.load(Ordering::Acquire)
    }

    /// The batches from the begin of the range up to `offset` are whole.
    pub(crate) fn checked_up_to(&self, offset: i64) {
        self.from.fetch_max(offset, Ordering::AcqRel);
    }

    /// The log ends at `offset`.
    pub(crate) fn cut_at(&self, offset: i64) {
        self.to.fetch_min(offset, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_only_shrinks() {
        let unchecked = Unchecked::new(10..50);
        unchecked.checked_up_to(20);
        unchecked.checked_up_to(15);
        assert_eq!(unchecked.range(), 20..50);
        unchecked.cut_at(40);
        unchecked.cut_at(60);
        assert_eq!(unchecked.range(), 20..40);
        // A check that was at work while the log was cut.
        unchecked.checked_up_to(45);
        assert!(unchecked.range().is_empty());
        unchecked.cut_at(0);
        assert!(unchecked.range().is_empty());
    }
}
