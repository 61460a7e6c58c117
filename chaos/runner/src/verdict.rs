//! Lets the judge read what the clients and the runner wrote.

use std::fmt::Write;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use anyhow::{Context, Error, Result};
use foz_judge::{Checker, Event, Merge, Report, Settings};

use crate::report::Verdict;

/// Anomalies that are shown; `foz-judge` shows all, with the lines that prove them.
const SHOWN_MAX: usize = 20;

/// Judges histories, merged by time.
pub(crate) fn judge(files: &[&Path]) -> Result<Report> {
    let sources = files
        .iter()
        .map(|file| events(file))
        .collect::<Result<Vec<_>>>()?;
    let mut checker = Checker::new(Settings::default());
    for (_, event) in Merge::new(sources) {
        checker.observe(&event?);
    }
    Ok(checker.finish())
}

/// What it comes to.
pub(crate) fn verdict(report: &Report) -> Verdict {
    let incomplete = report.incomplete.len() as u64;
    let counts = &report.anomaly_counts;
    Verdict {
        anomalies: counts.values().sum::<u64>() + incomplete,
        kinds: counts
            .iter()
            .map(|(kind, count)| (kind.to_string(), *count))
            .collect(),
        text: text(report),
    }
}

/// For people: the first anomalies, then the judge's own summary.
fn text(report: &Report) -> String {
    let mut text = String::new();
    for anomaly in report.anomalies.iter().take(SHOWN_MAX) {
        let _ = writeln!(text, "{anomaly}");
    }
    let _ = write!(text, "{report}");
    text
}

fn events(file: &Path) -> Result<impl Iterator<Item = Result<Event, Error>> + use<>> {
    let name = file.display().to_string();
    let opened = File::open(file).with_context(|| name.clone())?;
    let lines = BufReader::with_capacity(1 << 20, opened).lines();
    Ok((1_u64..).zip(lines).map(move |(number, line)| {
        let event = line
            .map_err(Error::from)
            .and_then(|line| Ok(Event::from_json(line.as_bytes())?));
        event.with_context(|| format!("{name}, line {number}"))
    }))
}
