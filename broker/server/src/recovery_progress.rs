//! How far the recovery of the logs has come, for whoever waits for the broker.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Counts partitions.
#[derive(Debug, Default)]
pub(crate) struct RecoveryProgress {
    opened: AtomicUsize,
    /// 0 until the first one is done.
    total: AtomicUsize,
}

impl RecoveryProgress {
    pub(crate) fn tell(&self, opened: usize, total: usize) {
        // Threads tell it in any order.
        self.opened.fetch_max(opened, Ordering::AcqRel);
        self.total.store(total, Ordering::Release);
    }
}

impl fmt::Display for RecoveryProgress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let opened = self.opened.load(Ordering::Acquire);
        match self.total.load(Ordering::Acquire) {
            0 => f.write_str("no log recovered yet"),
            total => write!(f, "recovered {opened} of {total} logs"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_how_far_it_has_come() {
        let progress = RecoveryProgress::default();
        assert_eq!(progress.to_string(), "no log recovered yet");
        progress.tell(2, 7);
        progress.tell(1, 7);
        assert_eq!(progress.to_string(), "recovered 2 of 7 logs");
    }
}
