//! What the judge says at the end.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use crate::anomaly::{Anomaly, Kind};
use crate::availability::Availability;

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Up to 100 of each kind.
    pub anomalies: Vec<Anomaly>,
    /// All of each kind.
    pub anomaly_counts: BTreeMap<Kind, u64>,
    /// Why a clean result proves less than it seems: what could not be judged, and what never recovered.
    pub incomplete: Vec<String>,
    pub counts: Counts,
    pub availability: Availability,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    pub events: u64,
    pub sent: u64,
    pub acknowledged: u64,
    /// Failed, and certainly not written.
    pub failed: u64,
    /// Timed out, or never answered.
    pub unknown: u64,
    /// Of those, read all the same.
    pub unknown_found: u64,
    /// Records that polls returned.
    pub polled: u64,
    /// Records of the final reads.
    pub read_finally: u64,
    pub replicas_compared: u64,
    pub faults: u64,
    /// Promised, and removed by retention.
    pub deleted: u64,
    /// Further copies of values whose producer is not idempotent.
    pub duplicates_allowed: u64,
}

impl Report {
    /// Nothing is wrong, and everything was judged.
    pub fn passed(&self) -> bool {
        self.anomaly_counts.is_empty() && self.incomplete.is_empty()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = &self.counts;
        writeln!(
            f,
            "{} events: {} sent, {} acknowledged, {} failed, {} unknown ({} of them found)",
            counts.events,
            counts.sent,
            counts.acknowledged,
            counts.failed,
            counts.unknown,
            counts.unknown_found
        )?;
        writeln!(
            f,
            "{} polled, {} read finally, {} replicas compared, {} deleted, {} duplicates allowed",
            counts.polled,
            counts.read_finally,
            counts.replicas_compared,
            counts.deleted,
            counts.duplicates_allowed
        )?;
        if let Some(wait) = self
            .availability
            .longest_waits
            .iter()
            .max_by_key(|wait| wait.wait_us)
        {
            let (name, ms) = (
                format!("{}-{}", wait.topic, wait.partition),
                wait.wait_us / 1000,
            );
            writeln!(
                f,
                "longest wait for an acknowledgement: {ms} ms, {name} at {} us",
                wait.from_us
            )?;
        }
        for fault in &self.availability.faults {
            writeln!(
                f,
                "fault {}: {} times, {} on a loaded leader; {} partitions recovered, {} did not; \
                 p50 {} ms, p99 {} ms, max {} ms",
                fault.kind,
                fault.faults,
                fault.on_loaded_leader,
                fault.recovered,
                fault.not_recovered,
                fault.p50_us / 1000,
                fault.p99_us / 1000,
                fault.max_us / 1000
            )?;
        }
        for says in &self.incomplete {
            writeln!(f, "INCOMPLETE {says}")?;
        }
        for (kind, count) in &self.anomaly_counts {
            writeln!(f, "ANOMALIES {kind}: {count}")?;
        }
        let verdict = if self.passed() { "PASSED" } else { "FAILED" };
        writeln!(
            f,
            "{verdict}: {} anomalies",
            self.anomaly_counts.values().sum::<u64>()
        )
    }
}
