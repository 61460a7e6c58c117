//! Many runs together: one line of JSON for each, and their sum as a table.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::fault_log::FaultLog;

/// One run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RunLine {
    pub(crate) subject: String,
    pub(crate) seed: u64,
    pub(crate) seconds: u64,
    pub(crate) faults: FaultTotals,
    pub(crate) acked: u64,
    pub(crate) unknown: u64,
    /// What the runner saw.
    pub(crate) wrong: u64,
    /// What the judge found, and what it could not judge.
    pub(crate) anomalies: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) canary: Option<String>,
}

/// By kind: all, and those on a loaded leader.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FaultTotals(BTreeMap<String, (u64, u64)>);

impl FaultTotals {
    /// Of one run.
    pub(crate) fn of(log: &FaultLog) -> Self {
        let tallies = log.tallies().into_iter();
        let total = |(kind, tally): (crate::fault::Kind, crate::fault_log::Tally)| {
            let counts = (tally.faults as u64, tally.on_loaded_leader as u64);
            (kind.name().to_owned(), counts)
        };
        Self(tallies.map(total).collect())
    }

    fn add(&mut self, other: &Self) {
        for (kind, (all, loaded)) in &other.0 {
            let sum = self.0.entry(kind.clone()).or_default();
            sum.0 += all;
            sum.1 += loaded;
        }
    }

    fn all(&self) -> (u64, u64) {
        let add = |sum: (u64, u64), more: &(u64, u64)| (sum.0 + more.0, sum.1 + more.1);
        self.0.values().fold((0, 0), add)
    }
}

impl RunLine {
    /// Adds the line to a file.
    pub(crate) fn append_to(&self, file: &Path) -> Result<()> {
        let line = serde_json::to_string(self)? + "\n";
        let mut file = File::options().create(true).append(true).open(file)?;
        Ok(file.write_all(line.as_bytes())?)
    }
}

/// The sum of these files, one table for each subject; runs with a canary are counted apart.
pub(crate) fn sum(files: &[PathBuf]) -> Result<String> {
    let mut runs = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(file).with_context(|| file.display().to_string())?;
        for line in text.lines() {
            let run: RunLine = serde_json::from_str(line).with_context(|| line.to_owned())?;
            runs.push(run);
        }
    }
    Ok(table(&runs))
}

fn table(runs: &[RunLine]) -> String {
    let mut sums: BTreeMap<String, (RunLine, u64, u64)> = BTreeMap::new();
    for run in runs {
        let name = match &run.canary {
            Some(canary) => format!("{} with canary {canary}", run.subject),
            None => run.subject.clone(),
        };
        let (sum, count, failed) = sums.entry(name).or_default();
        sum.seconds += run.seconds;
        sum.acked += run.acked;
        sum.unknown += run.unknown;
        sum.wrong += run.wrong;
        sum.anomalies += run.anomalies;
        sum.faults.add(&run.faults);
        *count += 1;
        *failed += u64::from(run.wrong + run.anomalies > 0);
    }
    let mut text = String::new();
    for (name, (sum, count, failed)) in sums {
        let (faults, loaded) = sum.faults.all();
        let _ = writeln!(
            text,
            "{name}: {count} runs, {failed} failed; {} minutes; {} records acknowledged, {} unknown; \
             {faults} faults, {loaded} on a loaded leader; {} anomalies, {} otherwise wrong",
            sum.seconds / 60,
            sum.acked,
            sum.unknown,
            sum.anomalies,
            sum.wrong
        );
        for (kind, (all, loaded)) in &sum.faults.0 {
            let _ = writeln!(text, "  {kind:26} {all:5}, {loaded:5} on a loaded leader");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(seed: u64, anomalies: u64, canary: Option<&str>) -> RunLine {
        let faults = BTreeMap::from([("kill-leader".to_owned(), (3, 2))]);
        RunLine {
            subject: "foz".to_owned(),
            seed,
            faults: FaultTotals(faults),
            acked: 100,
            anomalies,
            canary: canary.map(str::to_owned),
            ..RunLine::default()
        }
    }

    #[test]
    fn runs_add_up_and_canaries_are_kept_apart() {
        let text = table(&[
            run(1, 0, None),
            run(2, 5, None),
            run(3, 9, Some("early-ack")),
        ]);
        assert!(text.contains("foz: 2 runs, 1 failed;"), "{text}");
        assert!(text.contains("200 records acknowledged"));
        assert!(text.contains("6 faults, 4 on a loaded leader; 5 anomalies"));
        assert!(text.contains("foz with canary early-ack: 1 runs, 1 failed;"));
    }

    #[test]
    fn a_line_comes_back_as_it_was_written() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("runs.jsonl");
        run(1, 0, None).append_to(&file).unwrap();
        run(2, 1, None).append_to(&file).unwrap();
        assert!(sum(&[file]).unwrap().contains("2 runs, 1 failed"));
    }
}
