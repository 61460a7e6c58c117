//! `foz-judge [--json] FILE…`: judges histories, merged by time. Exit status 0: passed; 1: anomalies, or not
//! everything could be judged; 2: the files cannot be read.

#![allow(clippy::disallowed_methods)] // the library is pure; this program is what reads files

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::process::ExitCode;

use anyhow::{Context, bail};
use foz_judge::{Checker, Event, Merge, Report, Settings};

/// Of a line that is shown as evidence.
const LINE_SHOWN_MAX: usize = 160;
/// Anomalies of each kind that are shown with their lines.
const SHOWN_MAX: u64 = 10;

fn main() -> ExitCode {
    let (options, files): (Vec<String>, Vec<String>) = std::env::args()
        .skip(1)
        .partition(|argument| argument.starts_with("--"));
    let known = ["--json", "--write-cycles"];
    if files.is_empty()
        || options
            .iter()
            .any(|option| !known.contains(&option.as_str()))
    {
        eprintln!("usage: foz-judge [--json] [--write-cycles] FILE…");
        return ExitCode::from(2);
    }
    let has = |option: &str| options.iter().any(|given| given == option);
    let settings = Settings {
        write_cycles: has("--write-cycles"),
    };
    match judge(&files, settings, has("--json")) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("foz-judge: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn judge(files: &[String], settings: Settings, json: bool) -> anyhow::Result<bool> {
    let mut checker = Checker::new(settings);
    let mut torn = Vec::new();
    for (source, line) in history(files)? {
        match line? {
            Line::Event(event) => checker.observe(&event),
            Line::Torn => torn.push(source),
        }
    }
    let report = checker.finish();
    let mut out = std::io::stdout().lock();
    if json {
        serde_json::to_writer_pretty(&mut out, &report)?;
        writeln!(out)?;
        return Ok(report.passed());
    }
    for source in torn {
        writeln!(
            out,
            "note: the last line of {} is cut off and was left out",
            files[source]
        )?;
    }
    show(&mut out, &report, files)?;
    write!(out, "{report}")?;
    Ok(report.passed())
}

/// The anomalies, each with the lines that prove it.
fn show(out: &mut impl Write, report: &Report, files: &[String]) -> anyhow::Result<()> {
    let mut shown = BTreeMap::new();
    let anomalies: Vec<_> = report
        .anomalies
        .iter()
        .filter(|anomaly| {
            let count: &mut u64 = shown.entry(anomaly.kind).or_default();
            *count += 1;
            *count <= SHOWN_MAX
        })
        .collect();
    let mut lines: BTreeMap<u32, String> = anomalies
        .iter()
        .flat_map(|anomaly| anomaly.events.iter().map(|event| (*event, String::new())))
        .collect();
    if let Some(last) = lines.keys().next_back().copied() {
        let mut in_source = vec![0_u64; files.len()];
        let mut number = 0;
        for (source, line) in history(files)? {
            let Line::Event(event) = line? else { continue };
            number += 1;
            in_source[source] += 1;
            if number > last {
                break;
            }
            if let Some(text) = lines.get_mut(&number) {
                let json: String = event.to_json().chars().take(LINE_SHOWN_MAX).collect();
                *text = format!("{}:{} {json}", files[source], in_source[source]);
            }
        }
    }
    for anomaly in anomalies {
        writeln!(out, "{anomaly}")?;
        for event in &anomaly.events {
            writeln!(out, "    {}", lines[event])?;
        }
    }
    Ok(())
}

enum Line {
    Event(Event),
    /// A last line without end: its writer was killed.
    Torn,
}

/// The events of all files in order of time, each with the number of its file.
fn history(
    files: &[String],
) -> anyhow::Result<impl Iterator<Item = (usize, anyhow::Result<Line>)>> {
    let sources = files
        .iter()
        .map(|name| {
            let file = File::open(name).with_context(|| format!("open {name}"))?;
            Ok(lines(name.clone(), BufReader::with_capacity(1 << 20, file)))
        })
        .collect::<anyhow::Result<Vec<_>>>()?;
    Ok(Merge::new(sources).map(|(source, event)| {
        let line = match event {
            Ok(event) => Ok(Line::Event(event)),
            Err(None) => Ok(Line::Torn),
            Err(Some(error)) => Err(error),
        };
        (source, line)
    }))
}

/// The events of one file; an error of none is a torn last line.
fn lines(
    name: String,
    mut file: BufReader<File>,
) -> impl Iterator<Item = Result<Event, Option<anyhow::Error>>> {
    let mut number = 0_u64;
    let mut line = Vec::new();
    std::iter::from_fn(move || {
        line.clear();
        number += 1;
        let mut next = || -> anyhow::Result<Option<Result<Event, Option<anyhow::Error>>>> {
            if file.read_until(b'\n', &mut line)? == 0 {
                return Ok(None);
            }
            match Event::from_json(&line) {
                Ok(event) => Ok(Some(Ok(event))),
                Err(_) if line.last() != Some(&b'\n') => Ok(Some(Err(None))),
                Err(error) => bail!("{error}"),
            }
        };
        next()
            .with_context(|| format!("{name}, line {number}"))
            .unwrap_or_else(|error| Some(Err(Some(error))))
    })
}
