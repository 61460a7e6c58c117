//! Figures of many schedules.

use crate::run::Outcome;

/// Sums and medians.
#[derive(Debug, Default)]
pub struct Summary {
    events: Vec<usize>,
    steps: Vec<usize>,
    leader_changes: Vec<usize>,
    terms: Vec<usize>,
    acknowledged: usize,
    faults: usize,
    losses: usize,
    truncations: usize,
    kept_out: usize,
    beyond: usize,
    violations: Vec<(u64, String)>,
}

impl Summary {
    /// Counts a schedule in.
    pub fn add(&mut self, outcome: &Outcome) {
        self.events.push(outcome.events);
        self.steps.push(outcome.steps);
        self.leader_changes.push(outcome.leader_changes);
        self.terms.push(outcome.terms);
        self.acknowledged += outcome.acknowledged;
        self.faults += outcome.faults;
        self.losses += outcome.losses;
        self.truncations += outcome.truncations;
        self.kept_out += usize::from(outcome.kept_out > 0);
        self.beyond += usize::from(outcome.beyond > 0);
        if let Some(violation) = &outcome.violation {
            self.violations.push((outcome.seed, violation.clone()));
        }
    }

    /// Schedules counted.
    #[must_use]
    pub fn schedules(&self) -> usize {
        self.events.len()
    }

    /// Of events in a schedule, those without ticks and heartbeats of Raft.
    #[must_use]
    pub fn steps_median(&self) -> usize {
        median(&self.steps)
    }

    /// Of leader changes in a schedule.
    #[must_use]
    pub fn leader_changes_median(&self) -> usize {
        median(&self.leader_changes)
    }

    /// Seeds with what was wrong.
    #[must_use]
    pub fn violations(&self) -> &[(u64, String)] {
        &self.violations
    }
}

impl std::fmt::Display for Summary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "schedules               {}", self.schedules())?;
        writeln!(f, "events, median          {}", median(&self.events))?;
        writeln!(f, "  without Raft's idling {}", self.steps_median())?;
        writeln!(
            f,
            "leader changes, median  {}",
            self.leader_changes_median()
        )?;
        writeln!(f, "Raft terms, median      {}", median(&self.terms))?;
        writeln!(f, "records acknowledged    {}", self.acknowledged)?;
        writeln!(f, "faults                  {}", self.faults)?;
        writeln!(f, "disks that lost data    {}", self.losses)?;
        writeln!(f, "logs cut to the leader  {}", self.truncations)?;
        writeln!(f, "saved by broker epochs  {}", self.kept_out)?;
        writeln!(f, "more lost than borne in {}", self.beyond)?;
        write!(f, "violations              {}", self.violations.len())
    }
}

fn median(values: &[usize]) -> usize {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    sorted.get(sorted.len() / 2).copied().unwrap_or_default()
}
