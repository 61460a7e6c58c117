//! Writes and flushes that are under way, so that somebody can see when a disk does not come back.
//!
//! A disk that hangs says nothing: whoever writes to it stands still in the kernel, and cannot be asked. So
//! each operation notes when it began, in memory and without a lock, and whoever watches reads that.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Operations that are seen at once. When all of these stand still, what the others do tells nothing new.
const SLOTS: usize = 64;
/// Of a slot: nothing is under way.
const FREE: u64 = 0;

/// What is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiskOperation {
    /// Into the page cache, new segments included: the kernel lets it wait only when it cannot go on.
    Write,
    /// To the disk itself: as much as had gathered.
    Flush,
}

/// The operations of one data directory.
#[derive(Debug)]
pub struct DiskOperations {
    origin: Instant,
    /// When it began in ms from `origin`, and which it is: see [`Self::begin`].
    slots: [AtomicU64; SLOTS],
    /// Where the next one looks first, so that few meet.
    next: AtomicUsize,
}

/// An operation is under way while this lives.
#[derive(Debug)]
pub struct UnderWay<'a>(Option<&'a AtomicU64>);

impl Default for DiskOperations {
    fn default() -> Self {
        Self {
            origin: Instant::now(),
            slots: std::array::from_fn(|_| AtomicU64::new(FREE)),
            next: AtomicUsize::new(0),
        }
    }
}

impl DiskOperations {
    /// To be called right before the operation, with its locks held: who waits for a lock is not waiting for the
    /// disk, and would take a place away.
    pub fn begin(&self, operation: DiskOperation) -> UnderWay<'_> {
        self.begin_at(self.now_ms(), operation)
    }

    /// For how long the oldest that has not come back has been under way. Never blocks.
    #[must_use]
    pub fn longest(&self, operation: DiskOperation) -> Option<Duration> {
        self.longest_at(self.now_ms(), operation)
            .map(Duration::from_millis)
    }

    fn begin_at(&self, now_ms: u64, operation: DiskOperation) -> UnderWay<'_> {
        let began = (now_ms << 2) | operation.bits();
        let first = self.next.fetch_add(1, Ordering::Relaxed);
        let slot = (0..SLOTS)
            .map(|step| &self.slots[first.wrapping_add(step) % SLOTS])
            .find(|slot| {
                let taken =
                    slot.compare_exchange(FREE, began, Ordering::Relaxed, Ordering::Relaxed);
                taken.is_ok()
            });
        UnderWay(slot)
    }

    fn longest_at(&self, now_ms: u64, operation: DiskOperation) -> Option<u64> {
        let oldest = self
            .slots
            .iter()
            .map(|slot| slot.load(Ordering::Relaxed))
            .filter(|began| began & 0b11 == operation.bits())
            .map(|began| began >> 2)
            .min()?;
        Some(now_ms.saturating_sub(oldest))
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.origin.elapsed().as_millis()).unwrap_or(0)
    }
}

impl DiskOperation {
    /// Never 0, so that what began in the first millisecond is not [`FREE`].
    fn bits(self) -> u64 {
        match self {
            Self::Write => 1,
            Self::Flush => 2,
        }
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        if let Some(slot) = self.0 {
            slot.store(FREE, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_of_each_kind_counts_until_it_is_done() {
        let operations = DiskOperations::default();
        let (write, flush) = (DiskOperation::Write, DiskOperation::Flush);
        let seen = |now_ms| {
            let of = |operation| operations.longest_at(now_ms, operation);
            (of(write), of(flush))
        };
        assert_eq!(seen(0), (None, None));
        let first = operations.begin_at(0, write);
        assert_eq!(seen(0), (Some(0), None));
        let second = operations.begin_at(30, write);
        let flushing = operations.begin_at(70, flush);
        assert_eq!(seen(100), (Some(100), Some(30)));
        drop(first);
        assert_eq!(seen(100), (Some(70), Some(30)));
        drop(second);
        assert_eq!(seen(100), (None, Some(30)));
        // Two threads need not agree on what time it is.
        assert_eq!(seen(60), (None, Some(0)));
        drop(flushing);
        assert_eq!(seen(100), (None, None));
    }

    #[test]
    fn more_than_can_be_seen_go_on_unseen() {
        let operations = DiskOperations::default();
        for _ in 0..2 {
            let all: Vec<_> = (0..2 * SLOTS)
                .map(|_| operations.begin(DiskOperation::Flush))
                .collect();
            assert!(operations.longest(DiskOperation::Flush).is_some());
            drop(all);
            assert_eq!(operations.longest(DiskOperation::Flush), None, "none stays");
        }
    }
}
