//! Who waits for a partition to move on.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

/// Tasks to wake when something changed. A waiter registers, checks its condition, and only then waits,
/// so that no change between check and wait is missed.
#[derive(Debug, Default)]
pub(crate) struct Waiters {
    waiting: Mutex<Vec<Arc<Notify>>>,
}

impl Waiters {
    /// `waiter` is woken once, at the next change.
    pub(crate) fn register(&self, waiter: &Arc<Notify>) {
        let mut waiting = self.waiting.lock();
        // Those that gave up hold no reference any more; sweep before the list would grow.
        if waiting.len() == waiting.capacity() {
            waiting.retain(|waiter| Arc::strong_count(waiter) > 1);
        }
        waiting.push(Arc::clone(waiter));
    }

    /// Wakes all.
    pub(crate) fn wake(&self) {
        let woken = std::mem::take(&mut *self.waiting.lock());
        for waiter in woken {
            waiter.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_change_between_check_and_wait_is_not_missed() {
        let waiters = Waiters::default();
        let waiter = Arc::new(Notify::new());
        waiters.register(&waiter);
        waiters.wake();
        waiter.notified().await;
    }

    #[test]
    fn those_who_gave_up_are_swept() {
        let waiters = Waiters::default();
        for _ in 0..1000 {
            waiters.register(&Arc::new(Notify::new()));
        }
        assert!(waiters.waiting.lock().len() < 10);
    }
}
