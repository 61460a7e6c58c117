//! Partitions to which something has happened, for passes that have nothing to do at all the others.

use std::sync::atomic::{AtomicBool, Ordering, fence};

use parking_lot::Mutex;

use super::Key;

/// Those that one kind of pass is to look at.
#[derive(Debug, Default)]
pub(crate) struct Touched(Mutex<Vec<Key>>);

/// Of a partition: it is among them. So who touches it again and again takes no lock.
#[derive(Debug, Default)]
pub(super) struct IsTouched(AtomicBool);

impl Touched {
    pub(super) fn add(&self, is_touched: &IsTouched, key: impl FnOnce() -> Key) {
        // Either what happened before is seen by whoever forgets this, or that it is forgotten is seen here.
        fence(Ordering::SeqCst);
        // Mostly it is among them: then nobody's cache is disturbed.
        if !is_touched.0.load(Ordering::Acquire) && !is_touched.0.swap(true, Ordering::AcqRel) {
            self.0.lock().push(key());
        }
    }

    /// Those that were added since the last call, each once. Each is to [be forgotten](IsTouched::forget) before any is
    /// looked at.
    pub(super) fn take(&self) -> Vec<Key> {
        let mut keys = std::mem::take(&mut *self.0.lock());
        // A partition that was given up and came back is another, with a mark of its own.
        keys.sort_unstable();
        keys.dedup();
        keys
    }
}

impl IsTouched {
    /// What happens from now on adds it again.
    pub(super) fn forget(&self) {
        self.0.store(false, Ordering::Release);
        fence(Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn each_is_there_once_until_it_is_looked_at() {
        let touched = Touched::default();
        let marks = [IsTouched::default(), IsTouched::default()];
        let key = |n: usize| (Uuid::from_u128(n as u128), 0);
        for n in [0, 1, 0, 0] {
            touched.add(&marks[n], || key(n));
        }
        assert_eq!(touched.take(), [key(0), key(1)]);
        // Not looked at yet: whoever took it will see this, too.
        touched.add(&marks[0], || key(0));
        assert!(touched.take().is_empty());
        marks[0].forget();
        touched.add(&marks[0], || key(0));
        assert_eq!(touched.take(), [key(0)]);
        for mark in [IsTouched::default(), IsTouched::default()] {
            touched.add(&mark, || key(3));
        }
        assert_eq!(touched.take(), [key(3)], "given up and made anew");
    }
}
