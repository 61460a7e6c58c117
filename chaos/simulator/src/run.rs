//! Runs the schedule of a seed.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::mutation::Mutation;
use crate::trace::Trace;
use crate::world::World;

/// What came of a schedule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// Which one.
    pub seed: u64,
    /// Events, all of them.
    pub events: usize,
    /// Events without the ticks and heartbeats of Raft.
    pub steps: usize,
    /// How often a partition got another leader.
    pub leader_changes: usize,
    /// Terms in which the quorum had a leader.
    pub terms: usize,
    /// Records that producers were told are safe.
    pub acknowledged: usize,
    /// Faults put in.
    pub faults: usize,
    /// Disks that lost something.
    pub losses: usize,
    /// Logs that were cut to the leader's.
    pub truncations: usize,
    /// How often only its broker epoch kept a follower out of the ISR that lacks something committed.
    pub kept_out: usize,
    /// How often more was lost at once than `min.insync.replicas` promises to bear.
    pub beyond: usize,
    /// The same for the same seed.
    pub digest: u64,
    /// What must never be; `None`: all is well.
    pub violation: Option<String>,
}

/// Runs one schedule. The same seed and the same bug give the same outcome.
#[must_use]
pub fn run(seed: u64, mutation: Option<Mutation>) -> Outcome {
    run_keeping(seed, mutation, 0).0
}

/// As [`run`], with the last lines of the trace.
#[must_use]
pub fn run_keeping(seed: u64, mutation: Option<Mutation>, lines: usize) -> (Outcome, Vec<String>) {
    let trace = if lines == 0 {
        Trace::silent()
    } else {
        Trace::keeping(lines)
    };
    let mut world = World::new(seed, mutation, trace);
    let ended = catch_unwind(AssertUnwindSafe(|| {
        loop {
            match world.step() {
                Ok(true) => {}
                Ok(false) => return None,
                Err(wrong) => return Some(wrong),
            }
        }
    }));
    let violation = ended.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|it| (*it).to_owned()));
        Some(format!("a panic: {}", text.unwrap_or_default()))
    });
    let (counted, counts) = (world.checks().counts, world.counts);
    let outcome = Outcome {
        seed,
        events: counts.events,
        steps: counts.steps,
        leader_changes: counted.leader_changes,
        terms: counted.terms,
        acknowledged: counted.acknowledged,
        faults: counts.faults,
        losses: counts.losses,
        truncations: counted.truncations,
        kept_out: counted.kept_out,
        beyond: counted.beyond,
        digest: world.digest(),
        violation,
    };
    (outcome, world.trace.into_lines())
}
