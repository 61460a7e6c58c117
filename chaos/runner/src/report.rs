//! What a run comes to, for people.

use std::fmt;

use crate::fault_log::FaultLog;
use crate::outage::Spread;

/// Everything that a run showed.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) subject: &'static str,
    pub(crate) seed: u64,
    pub(crate) seconds: u64,
    pub(crate) faults: FaultLog,
    pub(crate) acked: u64,
    pub(crate) failed: u64,
    /// What the runner itself saw go wrong.
    pub(crate) wrong: Vec<String>,
    /// What the judge found.
    pub(crate) verdict: Verdict,
    /// The command that does it again.
    pub(crate) again: String,
}

/// Of the judge.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    pub(crate) anomalies: u64,
    /// How many of each kind.
    pub(crate) kinds: Vec<(String, u64)>,
    pub(crate) text: String,
}

impl Report {
    /// Whether the promise was kept.
    pub(crate) fn is_clean(&self) -> bool {
        self.wrong.is_empty() && self.verdict.anomalies == 0
    }
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let log = &self.faults;
        let loaded = log
            .faults
            .iter()
            .filter(|fault| fault.loaded_leader)
            .count();
        writeln!(
            out,
            "{} seed {}: {} faults in {} s, {loaded} of them on a loaded leader; {} records acknowledged, \
             {} unknown",
            self.subject,
            self.seed,
            log.faults.len(),
            self.seconds,
            self.acked,
            self.failed
        )?;
        for (kind, tally) in log.tallies() {
            writeln!(
                out,
                "  {:26} {:4}, {:4} on a loaded leader",
                kind.name(),
                tally.faults,
                tally.on_loaded_leader
            )?;
        }
        times(out, "healed to written again", &log.recoveries_us)?;
        times(out, "and to all in sync", &log.resyncs_us)?;
        if !self.verdict.text.is_empty() {
            writeln!(out, "{}", self.verdict.text.trim_end())?;
        }
        for wrong in &self.wrong {
            writeln!(out, "WRONG: {wrong}")?;
        }
        let outcome = if self.is_clean() { "CLEAN" } else { "FAILED" };
        write!(out, "{outcome}; again: {}", self.again)
    }
}

fn times(out: &mut fmt::Formatter<'_>, what: &str, us: &[u64]) -> fmt::Result {
    match Spread::of(us) {
        Some(spread) => writeln!(
            out,
            "  {what}: p50 {} ms, p99 {} ms, max {} ms of {}",
            spread.p50 / 1_000,
            spread.p99 / 1_000,
            spread.max / 1_000,
            us.len()
        ),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(wrong: Vec<String>, anomalies: u64) -> Report {
        Report {
            subject: "foz",
            seed: 7,
            seconds: 60,
            faults: FaultLog {
                recoveries_us: vec![2_000, 5_000],
                ..FaultLog::default()
            },
            acked: 1234,
            failed: 0,
            wrong,
            verdict: Verdict {
                anomalies,
                ..Verdict::default()
            },
            again: "foz-chaos run --seed 7".to_owned(),
        }
    }

    #[test]
    fn one_thing_wrong_is_a_failure_that_names_its_repetition() {
        let clean = report(Vec::new(), 0);
        assert!(clean.is_clean());
        let text = clean.to_string();
        assert!(
            text.contains("p50 2 ms") && text.ends_with("CLEAN; again: foz-chaos run --seed 7")
        );
        assert!(
            report(vec!["b1 ended".to_owned()], 0)
                .to_string()
                .contains("FAILED")
        );
        assert!(!report(Vec::new(), 1).is_clean());
    }
}
