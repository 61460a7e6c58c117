//! What became of each canary, for people.

use std::fmt::{self, Write};
use std::path::Path;
use std::time::Duration;

use foz_canary::Canary;

use super::CanariesConfig;
use crate::report::Report;

/// Of a sentence.
const SHOWN_MAX: usize = 90;

/// Of one canary, or of the broker without any.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Outcome {
    canary: Option<Canary>,
    /// What was found.
    found: Option<String>,
    seconds: u64,
    /// Of the last run.
    seed: u64,
    runs: usize,
    faults: usize,
    acked: u64,
    last_fault: &'static str,
}

impl Outcome {
    pub(super) fn new(canary: Option<Canary>) -> Self {
        Self {
            canary,
            found: None,
            seconds: 0,
            seed: 0,
            runs: 0,
            faults: 0,
            acked: 0,
            last_fault: "",
        }
    }

    /// One more run.
    pub(super) fn add(&mut self, report: &Report, folder: &Path, elapsed: Duration) {
        self.runs += 1;
        self.seconds = elapsed.as_secs();
        self.seed = report.seed;
        self.faults += report.faults.faults.len();
        self.acked += report.acked;
        self.last_fault = report
            .faults
            .faults
            .last()
            .map_or("", |fault| fault.kind.name());
        if !report.is_clean() {
            // Where the run was on this machine is of no interest.
            let folder = format!("{}/", folder.display());
            self.found = Some(found(report, &folder));
        }
    }

    /// A canary was caught, the broker without any was not.
    pub(super) fn is_right(&self) -> bool {
        self.found.is_some() == self.canary.is_some()
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.canary.map_or("no canary", Canary::name);
        let found = self.found.as_deref().unwrap_or("nothing is wrong");
        let right = if self.is_right() { "right" } else { "WRONG" };
        write!(
            out,
            "{right}: {name}: {found}, after {} s and {} faults in {} runs",
            self.seconds, self.faults, self.runs
        )
    }
}

fn found(report: &Report, folder: &str) -> String {
    let mut kinds = report.verdict.kinds.clone();
    kinds.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let mut found: Vec<String> = kinds
        .iter()
        .map(|(kind, count)| format!("{kind} {count}"))
        .collect();
    if let Some(first) = report.wrong.first() {
        let line = first.lines().next().unwrap_or_default();
        let line = line.replace(folder, "");
        found.push(line.chars().take(SHOWN_MAX).collect());
    }
    if found.is_empty() {
        found.push("not everything could be judged".to_owned());
    }
    found.join(", ")
}

/// Markdown.
pub(super) fn table(config: &CanariesConfig, outcomes: &[Outcome]) -> String {
    let mut text = String::from(
        "| canary | what is wrong with it | caught by | after | faults | runs | last seed | last fault |\n\
         | --- | --- | --- | --- | --- | --- | --- | --- |\n",
    );
    for outcome in outcomes {
        let (name, about) = outcome.canary.map_or(("none", "nothing"), |canary| {
            (canary.name(), canary.about())
        });
        let missed = if outcome.canary.is_some() {
            "**not caught**"
        } else {
            "nothing to catch"
        };
        let found = outcome.found.as_deref().unwrap_or(missed);
        let _ = writeln!(
            text,
            "| {name} | {about} | {} | {} s | {} | {} | {} | {} |",
            found.replace('|', "/"),
            outcome.seconds,
            outcome.faults,
            outcome.runs,
            outcome.seed,
            outcome.last_fault
        );
    }
    let right = outcomes.iter().filter(|outcome| outcome.is_right()).count();
    let _ = writeln!(
        text,
        "\n{right} of {} as they should be. Seeds from {}, {} s of faults in a run, at most {} s for a canary, \
         {} records a second.",
        outcomes.len(),
        config.seed,
        config.round.as_secs(),
        config.limit.as_secs(),
        config.setting.rate
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault_log::FaultLog;
    use crate::report::Verdict;

    fn report(kinds: &[(&str, u64)], wrong: &[&str]) -> Report {
        Report {
            subject: "foz",
            seed: 7,
            seconds: 60,
            faults: FaultLog::default(),
            acked: 10,
            failed: 0,
            wrong: wrong.iter().map(|wrong| (*wrong).to_owned()).collect(),
            verdict: Verdict {
                anomalies: kinds.iter().map(|(_, count)| count).sum(),
                kinds: kinds
                    .iter()
                    .map(|(kind, count)| ((*kind).to_owned(), *count))
                    .collect(),
                text: String::new(),
            },
            again: String::new(),
        }
    }

    #[test]
    fn a_canary_is_to_be_caught_and_the_broker_is_not() {
        let canary = Canary::ALL.first().copied();
        for (canary, report, right) in [
            (canary, report(&[("lost-write", 3)], &[]), true),
            (canary, report(&[], &["b1 ended\nits log"]), true),
            (canary, report(&[], &[]), false),
            (None, report(&[("lost-write", 3)], &[]), false),
            (None, report(&[], &[]), true),
        ] {
            let mut outcome = Outcome::new(canary);
            outcome.add(&report, Path::new("/runs"), Duration::from_secs(9));
            assert_eq!(outcome.is_right(), right, "{outcome}");
        }
    }

    #[test]
    fn what_was_found_most_often_comes_first() {
        let mut outcome = Outcome::new(None);
        let found = report(
            &[("duplicate", 2), ("reordered", 5)],
            &["/runs/b1 ended\nits log"],
        );
        let folder = Path::new("/runs");
        outcome.add(&report(&[], &[]), folder, Duration::from_secs(60));
        outcome.add(&found, folder, Duration::from_secs(90));
        assert_eq!(
            outcome.found.as_deref(),
            Some("reordered 5, duplicate 2, b1 ended")
        );
        assert_eq!((outcome.runs, outcome.seconds, outcome.acked), (2, 90, 20));
    }
}
