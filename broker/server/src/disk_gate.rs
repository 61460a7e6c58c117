//! What all who write to the data directory know of its room.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU8, Ordering};

use tokio::sync::Notify;

use crate::disk_space::Space;

/// Asked before each write, so it costs one load.
#[derive(Debug, Default)]
pub(crate) struct DiskGate {
    space: AtomicU8,
    was_refused: AtomicBool,
    /// Bytes that may be written before somebody is to look again.
    unlooked: AtomicI64,
    /// Woken when somebody is to look at once.
    pub(crate) look: Notify,
}

impl DiskGate {
    pub(crate) fn space(&self) -> Space {
        match self.space.load(Ordering::Acquire) {
            0 => Space::Roomy,
            1 => Space::Low,
            _ => Space::Full,
        }
    }

    /// What somebody saw who looked after [`Self::take_refusal`].
    pub(crate) fn set(&self, space: Space) {
        self.space.swap(space as u8, Ordering::AcqRel);
        if self.was_refused.load(Ordering::Acquire) {
            // Meanwhile: that is newer.
            self.space.store(Space::Full as u8, Ordering::Release);
        }
    }

    /// Somebody is to look when so many bytes have been written, or by the clock if that comes first.
    pub(crate) fn look_after(&self, bytes: i64) {
        self.unlooked.store(bytes, Ordering::Release);
    }

    /// Records were appended.
    pub(crate) fn wrote(&self, bytes: usize) {
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        let before = self.unlooked.fetch_sub(bytes, Ordering::AcqRel);
        if before > 0 && before <= bytes {
            self.look.notify_one();
        }
    }

    /// Whether records may be written: of the brokers' own topics as long as there is any room.
    pub(crate) fn takes(&self, is_internal: bool) -> bool {
        let most = match is_internal {
            true => Space::Low,
            false => Space::Roomy,
        };
        self.space() <= most
    }

    /// A write found no room. Nothing is written until somebody has looked.
    pub(crate) fn refuse(&self) {
        self.was_refused.store(true, Ordering::Release);
        self.space.swap(Space::Full as u8, Ordering::AcqRel);
        self.look.notify_one();
    }

    /// Whether one did since this was asked last.
    pub(crate) fn take_refusal(&self) -> bool {
        self.was_refused.swap(false, Ordering::AcqRel)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_brokers_own_topics_go_on_for_longest() {
        let gate = DiskGate::default();
        for (space, takes) in [
            (Space::Roomy, (true, true)),
            (Space::Low, (false, true)),
            (Space::Full, (false, false)),
        ] {
            gate.set(space);
            assert_eq!((gate.takes(false), gate.takes(true)), takes, "{space:?}");
            assert_eq!(gate.space(), space);
        }
        gate.set(Space::Roomy);
        assert!(!gate.take_refusal());
        gate.refuse();
        assert!(!gate.takes(true));
        // Whoever looked before that knows nothing of it.
        gate.set(Space::Roomy);
        assert!(!gate.takes(true));
        assert!(gate.take_refusal() && !gate.take_refusal());
        gate.set(Space::Roomy);
        assert!(gate.takes(false));
    }

    #[tokio::test(start_paused = true)]
    async fn who_writes_a_lot_is_looked_after_at_once() {
        let gate = DiskGate::default();
        let wakes =
            || tokio::time::timeout(std::time::Duration::from_secs(1), gate.look.notified());
        gate.wrote(1_000);
        assert!(wakes().await.is_err(), "nobody looks yet");
        gate.look_after(1_000);
        gate.wrote(999);
        assert!(wakes().await.is_err());
        gate.wrote(1);
        wakes().await.unwrap();
        gate.wrote(usize::MAX);
        assert!(wakes().await.is_err(), "once");
    }
}
