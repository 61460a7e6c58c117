//! Acts that wait for their time.

use crate::fault::{Act, Fault, Script};

/// One act of one fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Due {
    pub(crate) at_us: u64,
    pub(crate) fault: u64,
    pub(crate) pick: u64,
    pub(crate) act: Act,
}

/// In the order of their time; of the same time, in the order in which they were put in.
#[derive(Debug, Default)]
pub(crate) struct Schedule {
    waiting: Vec<Due>,
}

impl Schedule {
    /// Puts all acts of a fault that begins now in.
    pub(crate) fn begin(&mut self, fault: &Fault, script: &Script, now_us: u64) {
        for (after_ms, act) in &script.acts {
            self.put(Due {
                at_us: now_us + after_ms * 1_000,
                fault: fault.id,
                pick: fault.pick,
                act: act.clone(),
            });
        }
    }

    /// Puts one act in: a new one, or one that could not be done yet. Acts of its fault that come after it
    /// stay after it.
    pub(crate) fn put(&mut self, due: Due) {
        let at = self
            .waiting
            .partition_point(|other| other.at_us <= due.at_us);
        self.waiting.insert(at, due);
    }

    /// The next act whose time has come.
    pub(crate) fn pop(&mut self, now_us: u64) -> Option<Due> {
        let first = self.waiting.first()?;
        (first.at_us <= now_us).then(|| self.waiting.remove(0))
    }

    /// Whether this fault has acts left.
    pub(crate) fn holds(&self, fault: u64) -> bool {
        self.waiting.iter().any(|due| due.fault == fault)
    }

    /// Makes all that waits due now, in the same order.
    pub(crate) fn hurry(&mut self, now_us: u64) {
        for due in &mut self.waiting {
            due.at_us = due.at_us.min(now_us);
        }
    }

    /// Whether nothing is left.
    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::NodeName;

    fn due(at_us: u64, act: Act) -> Due {
        Due {
            at_us,
            fault: 1,
            pick: 0,
            act,
        }
    }

    #[test]
    fn acts_come_at_their_time_and_in_their_order() {
        let (kill, start) = (
            Act::Kill(NodeName::Broker(0)),
            Act::Start(NodeName::Broker(0)),
        );
        let mut schedule = Schedule::default();
        schedule.put(due(20, start.clone()));
        schedule.put(due(10, kill.clone()));
        schedule.put(due(10, Act::Mend));
        assert_eq!(schedule.pop(9), None);
        assert_eq!(schedule.pop(10).unwrap().act, kill);
        assert_eq!(schedule.pop(10).unwrap().act, Act::Mend);
        assert_eq!(schedule.pop(10), None);
        assert!(schedule.holds(1) && !schedule.holds(2));
        schedule.hurry(11);
        assert_eq!(schedule.pop(11).unwrap().act, start);
        assert!(schedule.is_empty());
    }
}
