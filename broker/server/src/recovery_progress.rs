//! How far the recovery of the logs has come, for whoever waits for the broker.

use std::collections::BTreeMap;
use std::fmt;

use parking_lot::Mutex;

/// Counts partitions.
#[derive(Debug, Default)]
pub(crate) struct RecoveryProgress {
    /// By directory: opened, of how many. One is there when its first log is done.
    directories: Mutex<BTreeMap<usize, (usize, usize)>>,
}

impl RecoveryProgress {
    /// Of the directory with this number.
    pub(crate) fn tell(&self, directory: usize, opened: usize, total: usize) {
        let mut directories = self.directories.lock();
        let known = directories.entry(directory).or_default();
        // Threads tell it in any order.
        *known = (known.0.max(opened), total);
    }
}

impl fmt::Display for RecoveryProgress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let directories = self.directories.lock();
        let opened: usize = directories.values().map(|(opened, _)| opened).sum();
        match directories.values().map(|(_, total)| total).sum() {
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
        progress.tell(0, 2, 7);
        progress.tell(0, 1, 7);
        assert_eq!(progress.to_string(), "recovered 2 of 7 logs");
        progress.tell(1, 3, 5);
        assert_eq!(progress.to_string(), "recovered 5 of 12 logs");
    }
}
