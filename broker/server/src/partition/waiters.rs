//! Who waits for a partition to move on.

use std::collections::BTreeSet;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use tokio::sync::Notify;

/// Tasks to wake when something changed. A waiter registers, checks its condition, and only then waits,
/// so that no change between check and wait is missed.
#[derive(Debug, Default)]
pub(crate) struct Waiters {
    waiting: Mutex<Vec<Waiting>>,
}

/// Not held: who gave up is gone, in how many partitions' lists it may stand.
#[derive(Debug)]
enum Waiting {
    Task(Weak<Notify>),
    /// For the partition with this number among those that a fetch asks for.
    Fetch(Weak<FetchWaiter>, usize),
}

/// A fetch that waits for any of its partitions, and hears which of them it is: it need not look at all.
#[derive(Debug, Default)]
pub(crate) struct FetchWaiter {
    woken: Notify,
    moved: Mutex<Vec<usize>>,
}

impl Waiters {
    /// `waiter` is woken once, at the next change.
    pub(crate) fn register(&self, waiter: &Arc<Notify>) {
        self.add(Waiting::Task(Arc::downgrade(waiter)));
    }

    /// As [`register`](Self::register), for one partition of a fetch.
    pub(crate) fn register_fetch(&self, waiter: &Arc<FetchWaiter>, number: usize) {
        self.add(Waiting::Fetch(Arc::downgrade(waiter), number));
    }

    /// Wakes all.
    pub(crate) fn wake(&self) {
        let woken = std::mem::take(&mut *self.waiting.lock());
        for waiting in woken {
            match waiting {
                Waiting::Task(waiter) => {
                    if let Some(waiter) = waiter.upgrade() {
                        waiter.notify_one();
                    }
                }
                Waiting::Fetch(waiter, number) => {
                    if let Some(waiter) = waiter.upgrade() {
                        waiter.moved.lock().push(number);
                        waiter.woken.notify_one();
                    }
                }
            }
        }
    }

    fn add(&self, new: Waiting) {
        let mut waiting = self.waiting.lock();
        // Some gave up, and a fetch comes again and again: sweep before the list would grow.
        if waiting.len() == waiting.capacity() {
            waiting.retain(|old| old.is_awaited() && !old.is_same(&new));
        }
        waiting.push(new);
    }
}

impl FetchWaiter {
    /// Waits until one of the partitions has moved on.
    pub(crate) async fn notified(&self) {
        self.woken.notified().await;
    }

    /// Counts as moved, and wakes nobody.
    pub(crate) fn add_moved(&self, number: usize) {
        self.moved.lock().push(number);
    }

    /// The numbers of those that have since the last call, each once.
    pub(crate) fn take_moved(&self) -> BTreeSet<usize> {
        self.moved.lock().drain(..).collect()
    }
}

impl Waiting {
    fn is_awaited(&self) -> bool {
        match self {
            Self::Task(waiter) => waiter.strong_count() > 0,
            Self::Fetch(waiter, _) => waiter.strong_count() > 0,
        }
    }

    fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Fetch(waiter, number), Self::Fetch(other_waiter, other_number)) => {
                number == other_number && waiter.ptr_eq(other_waiter)
            }
            _ => false,
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

    #[tokio::test]
    async fn a_fetch_hears_which_partitions_moved() {
        let partitions = [(); 3].map(|()| Waiters::default());
        let waiter = Arc::default();
        for (number, partition) in partitions.iter().enumerate() {
            partition.register_fetch(&waiter, number);
        }
        partitions[2].wake();
        partitions[0].wake();
        waiter.notified().await;
        assert_eq!(waiter.take_moved(), [0, 2].into());
        partitions[0].wake();
        assert!(waiter.take_moved().is_empty(), "not registered again");
        partitions[1].wake();
        waiter.notified().await;
        assert_eq!(waiter.take_moved(), [1].into());
    }

    #[test]
    fn those_who_gave_up_are_swept() {
        let (one, other) = (Waiters::default(), Waiters::default());
        for _ in 0..1000 {
            one.register(&Arc::new(Notify::new()));
            // It stands in both lists.
            let waiter = Arc::default();
            one.register_fetch(&waiter, 0);
            other.register_fetch(&waiter, 1);
        }
        assert!(one.waiting.lock().len() < 10);
        assert!(other.waiting.lock().len() < 10);
    }

    #[test]
    fn a_fetch_that_comes_again_stands_in_the_list_once() {
        let waiters = Waiters::default();
        let waiter = Arc::default();
        for _ in 0..1000 {
            waiters.register_fetch(&waiter, 0);
        }
        assert!(waiters.waiting.lock().len() < 10);
    }
}
