//! The history that the clients wrote, as far as the runner reads it itself.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::Path;

use anyhow::{Context, Result};
use foz_judge::Event;

use crate::outage::AckTimes;

/// Where the final read of each partition ended.
pub(crate) fn final_ends(history: &Path) -> Result<BTreeMap<(String, i32), i64>> {
    let mut ends = BTreeMap::new();
    each(history, "final_read", |event| {
        if let Event::FinalRead(read) = event {
            let end = ends.entry((read.topic, read.partition)).or_insert(0);
            *end = read.end_offset.max(*end);
        }
    })?;
    Ok(ends)
}

/// When each partition was acknowledged.
pub(crate) fn ack_times(history: &Path) -> Result<AckTimes> {
    let mut times = AckTimes::new();
    each(history, "ack", |event| {
        if let Event::Ack(ack) = event {
            times
                .entry((ack.topic, ack.partition))
                .or_default()
                .push(ack.t_us);
        }
    })?;
    Ok(times)
}

/// Writes events, one on each line.
pub(crate) fn write(path: &Path, events: &[Event]) -> Result<()> {
    let mut file = BufWriter::new(File::create(path)?);
    for event in events {
        writeln!(file, "{}", event.to_json())?;
    }
    Ok(file.flush()?)
}

/// The events of one kind; lines of other kinds are not parsed.
fn each(history: &Path, kind: &str, mut visit: impl FnMut(Event)) -> Result<()> {
    let start = format!("{{\"{kind}\":");
    let file = File::open(history).with_context(|| history.display().to_string())?;
    for line in BufReader::with_capacity(1 << 20, file).lines() {
        let line = line?;
        if line.starts_with(&start) {
            let event = Event::from_json(line.as_bytes()).with_context(|| shorten(&line))?;
            visit(event);
        }
    }
    Ok(())
}

fn shorten(line: &str) -> String {
    line.chars().take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_and_times_are_found_among_other_lines() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("history");
        let lines = [
            r#"{"send":{"t_us":1,"client":3,"topic":"t","partition":0,"values":[7]}}"#,
            r#"{"ack":{"t_us":9,"client":3,"topic":"t","partition":0,"values":[7],"offsets":[0]}}"#,
            r#"{"final_read":{"t_us":20,"topic":"t","partition":0,"begin_offset":0,"end_offset":1,"records":{"offsets":[0],"values":[7]}}}"#,
            r#"{"final_read":{"t_us":21,"topic":"t","partition":0,"begin_offset":1,"end_offset":5,"records":{"offsets":[],"values":[]}}}"#,
        ];
        std::fs::write(&path, lines.join("\n")).unwrap();
        let key = ("t".to_owned(), 0);
        assert_eq!(final_ends(&path).unwrap()[&key], 5);
        assert_eq!(ack_times(&path).unwrap()[&key], [9]);
    }
}
