//! When a disk that does not come back counts as hanging. Pure: what is under way comes in.
//!
//! Who writes to such a disk stands still, and with it whoever waits for the partition; but the process lives,
//! and its beats say so. Others lead only when the quorum hears of it. Slow is not hanging: a flush of a busy
//! disk takes a second, and of much that had gathered many.

use std::time::Duration;

/// A write goes into memory; it waits only when the kernel has no room for it, because the disk takes nothing.
const WRITE_MAX: Duration = Duration::from_secs(10);
/// A flush takes as long as what had gathered is large. CockroachDB gives up a disk after 20 s; this costs no
/// more than a change of leaders, but a disk that all brokers share must not cost them all of these at once.
const FLUSH_MAX: Duration = Duration::from_secs(30);

/// What the lease thread has seen.
#[derive(Debug, Default)]
pub(super) struct DiskWatch {
    /// Looks in a row at something that took too long.
    late_looks: u32,
}

/// What is new.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Seen {
    /// Something has been under way for so long.
    Hangs(Duration),
    /// It has come back.
    Answers,
}

impl DiskWatch {
    /// To be called with every beat, with how long the oldest write and the oldest flush have been under way.
    ///
    /// One look does not count: a process that was stopped for a while finds its writes old when it goes on, and
    /// done with the next.
    pub(super) fn look(
        &mut self,
        write: Option<Duration>,
        flush: Option<Duration>,
    ) -> Option<Seen> {
        let late = [(write, WRITE_MAX), (flush, FLUSH_MAX)]
            .into_iter()
            .filter_map(|(under_way, max)| under_way.filter(|under_way| *under_way > max))
            .max();
        let hung = self.hangs();
        self.late_looks = match late {
            Some(_) => self.late_looks.saturating_add(1),
            None => 0,
        };
        match late {
            Some(under_way) if !hung && self.hangs() => Some(Seen::Hangs(under_way)),
            None if hung => Some(Seen::Answers),
            _ => None,
        }
    }

    /// Nobody is to be led from here.
    pub(super) fn hangs(&self) -> bool {
        self.late_looks >= 2
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn s(seconds: u64) -> Option<Duration> {
        Some(Duration::from_secs(seconds))
    }

    #[test]
    fn slow_is_not_hanging() {
        let mut watch = DiskWatch::default();
        for (write, flush) in [(None, None), (s(10), s(30)), (s(1), s(29)), (None, s(11))] {
            for _ in 0..3 {
                assert_eq!(watch.look(write, flush), None, "{write:?} {flush:?}");
                assert!(!watch.hangs());
            }
        }
    }

    #[test]
    fn a_disk_hangs_when_two_looks_say_so_and_answers_when_it_comes_back() {
        for (write, flush, told) in [(s(11), None, 11), (None, s(31), 31), (s(11), s(31), 31)] {
            let mut watch = DiskWatch::default();
            for _ in 0..2 {
                assert_eq!(watch.look(write, flush), None);
                assert!(!watch.hangs());
                let seen = watch.look(write, flush);
                assert_eq!(seen, Some(Seen::Hangs(Duration::from_secs(told))));
                assert_eq!(watch.look(write, flush), None, "said once");
                assert!(watch.hangs());
                assert_eq!(watch.look(s(1), None), Some(Seen::Answers));
                assert!(!watch.hangs());
                assert_eq!(watch.look(None, None), None, "said once");
            }
        }
    }

    #[test]
    fn a_process_that_was_stopped_does_not_take_its_own_sleep_for_a_disk() {
        let mut watch = DiskWatch::default();
        for _ in 0..3 {
            assert_eq!(watch.look(s(60), s(60)), None);
            assert_eq!(watch.look(None, s(1)), None);
        }
    }
}
