//! What happens to the applications, from the run's seed.

use crate::seed::Choices;

/// Apart from the choices of the brokers' faults, which begin with the seed itself.
const SALT: u64 = 0x776f_7264_7321;

/// One fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ApplicationFault {
    /// After all outputs are written to again.
    pub(super) after_ms: u64,
    pub(super) kind: ApplicationFaultKind,
    /// Which application; `None` is all.
    pub(super) index: Option<u8>,
    /// Until it is healed.
    pub(super) hold_ms: u64,
}

/// What is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum ApplicationFaultKind {
    /// SIGKILL; it comes back with its state.
    Kill,
    /// SIGKILL; it comes back without, and restores it from the changelog.
    KillAndEmpty,
    /// SIGSTOP, mostly for longer than its session: it comes back as one that has been replaced.
    Stop,
}

impl ApplicationFaultKind {
    /// In reports.
    pub(super) fn name(self) -> &'static str {
        match self {
            ApplicationFaultKind::Kill => "kill-application",
            ApplicationFaultKind::KillAndEmpty => "kill-application-empty-state",
            ApplicationFaultKind::Stop => "stop-application",
        }
    }
}

/// All faults of a seed, without end. Kinds are dealt like cards.
#[derive(Debug)]
pub(super) struct ApplicationPlan {
    choices: Choices,
    applications: u8,
    deck: Vec<ApplicationFaultKind>,
}

impl ApplicationPlan {
    pub(super) fn new(seed: u64, applications: u8) -> Self {
        assert!(applications > 0, "a plan needs applications");
        Self {
            choices: Choices::of(seed ^ SALT),
            applications,
            deck: Vec::new(),
        }
    }

    fn deal(&mut self) -> ApplicationFaultKind {
        use ApplicationFaultKind::{Kill, KillAndEmpty, Stop};
        if self.deck.is_empty() {
            self.deck = vec![Kill, Kill, KillAndEmpty, Stop];
            self.choices.shuffle(&mut self.deck);
        }
        self.deck.pop().expect("it was filled just now")
    }
}

impl Iterator for ApplicationPlan {
    type Item = ApplicationFault;

    fn next(&mut self) -> Option<ApplicationFault> {
        let kind = self.deal();
        let hold_ms = match kind {
            // The session is 6 s.
            ApplicationFaultKind::Stop => self.choices.between(4_000, 10_000),
            _ => self.choices.between(0, 3_000),
        };
        let index = self.choices.between(0, u64::from(self.applications) - 1) as u8;
        Some(ApplicationFault {
            after_ms: self.choices.between(0, 4_000),
            kind,
            index: (!self.choices.chance(25)).then_some(index),
            hold_ms,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn a_seed_is_a_plan_with_every_kind_for_each_application_and_for_all() {
        let faults = |seed| -> Vec<_> { ApplicationPlan::new(seed, 2).take(200).collect() };
        assert_eq!(faults(3), faults(3));
        assert_ne!(faults(3), faults(4));
        let mut times: BTreeMap<(ApplicationFaultKind, Option<u8>), usize> = BTreeMap::new();
        for fault in faults(3) {
            *times.entry((fault.kind, fault.index)).or_default() += 1;
        }
        assert_eq!(times.len(), 9, "{times:?}");
    }
}
