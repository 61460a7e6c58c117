//! The judge while a run goes on: a run that only asks whether something is wrong ends when it is.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use anyhow::{Context, Result};
use foz_judge::{Checker, Event, Report, Settings};

/// Reads the clients' history as it grows.
#[derive(Debug)]
pub(crate) struct Live {
    name: String,
    history: BufReader<File>,
    /// A line whose end is not written yet.
    begun: Vec<u8>,
    checker: Checker,
}

impl Live {
    /// From its begin.
    pub(crate) fn open(history: &Path) -> Result<Self> {
        let name = history.display().to_string();
        let file = File::open(history).with_context(|| name.clone())?;
        Ok(Self {
            name,
            history: BufReader::with_capacity(1 << 20, file),
            begun: Vec::new(),
            checker: Checker::new(Settings::default()),
        })
    }

    /// What is certain by what is written so far.
    pub(crate) fn look(&mut self) -> Result<Report> {
        loop {
            self.history.read_until(b'\n', &mut self.begun)?;
            if self.begun.last() != Some(&b'\n') {
                return Ok(self.checker.so_far());
            }
            let event = Event::from_json(&self.begun).with_context(|| self.name.clone())?;
            self.checker.observe(&event);
            self.begun.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_history_is_judged_as_it_grows_also_in_the_middle_of_a_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("history");
        let mut file = File::create(&path).unwrap();
        let lines = [
            r#"{"send":{"t_us":1,"client":3,"topic":"t","partition":0,"values":[7,8]}}"#,
            r#"{"ack":{"t_us":9,"client":3,"topic":"t","partition":0,"values":[7],"offsets":[0]}}"#,
            r#"{"ack":{"t_us":10,"client":3,"topic":"t","partition":0,"values":[8],"offsets":[0]}}"#,
        ]
        .map(|line| line.to_owned() + "\n");
        let mut live = Live::open(&path).unwrap();
        assert!(live.look().unwrap().passed());
        let (begin, end) = lines[2].split_at(30);
        write!(file, "{}{}{begin}", lines[0], lines[1]).unwrap();
        let report = live.look().unwrap();
        assert_eq!((report.counts.acknowledged, report.passed()), (1, true));
        write!(file, "{end}").unwrap();
        let report = live.look().unwrap();
        assert_eq!((report.counts.acknowledged, report.passed()), (2, false));
    }
}
