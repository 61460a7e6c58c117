//! Partitions in which something is to be done now, and not with the next round.

use std::collections::BTreeSet;

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::Key;

/// Each partition once, so there are never more than are held.
#[derive(Debug, Default)]
pub(crate) struct DuePartitions {
    due: Mutex<BTreeSet<Key>>,
    added: Notify,
}

impl DuePartitions {
    pub(crate) fn add(&self, key: Key) {
        self.due.lock().insert(key);
        self.added.notify_one();
    }

    /// Those that were added since the last call.
    pub(crate) fn take(&self) -> BTreeSet<Key> {
        std::mem::take(&mut *self.due.lock())
    }

    /// How many nobody took yet.
    pub(crate) fn count(&self) -> usize {
        self.due.lock().len()
    }

    /// Waits until some were added that nobody took.
    pub(crate) async fn added(&self) {
        while self.due.lock().is_empty() {
            self.added.notified().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[tokio::test]
    async fn each_is_taken_once() {
        let due = DuePartitions::default();
        let key = |n| (Uuid::from_u128(n), 0);
        due.add(key(1));
        due.add(key(2));
        due.add(key(1));
        assert_eq!(due.count(), 2);
        due.added().await;
        assert_eq!(due.take(), [key(1), key(2)].into());
        assert_eq!((due.take().len(), due.count()), (0, 0));
        let waiting = tokio::time::timeout(std::time::Duration::from_millis(10), due.added());
        assert!(
            waiting.await.is_err(),
            "the notice of what was taken counts for nothing"
        );
    }
}
