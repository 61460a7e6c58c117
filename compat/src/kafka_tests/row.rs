//! What became of one test, and the lines of the files that say it.

use anyhow::{Context, Result, bail};

/// The first line of every file of rows.
const HEADER: &str = "class\tmethod\ttest\tresult\treason";

/// What became of one invocation of a test.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Row {
    /// Without its package: the names are different enough.
    pub(crate) class: String,
    pub(crate) method: String,
    /// Begins with the method and names the invocation: `testClose combined, MetadataVersion=…`.
    pub(crate) test: String,
    pub(crate) outcome: Outcome,
    /// Why it did not pass, or that it took two tries.
    pub(crate) reason: String,
}

/// How a test ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Passed,
    Failed,
    /// It asked for something inside a broker's process.
    Internal,
    /// By itself: an assumption did not hold, or it is disabled.
    Skipped,
    /// It did not end within the limit of its class.
    Hung,
}

impl Outcome {
    const ALL: [(Outcome, &'static str); 5] = [
        (Outcome::Passed, "passed"),
        (Outcome::Failed, "failed"),
        (Outcome::Internal, "internal"),
        (Outcome::Skipped, "skipped"),
        (Outcome::Hung, "hung"),
    ];

    pub(crate) fn name(self) -> &'static str {
        let found = Self::ALL.iter().find(|(outcome, _)| *outcome == self);
        found.map_or("", |(_, name)| name)
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        let found = Self::ALL.iter().find(|(_, name)| *name == text);
        found.map(|(outcome, _)| *outcome)
    }
}

/// A file of rows, in the order of their classes and tests.
pub(crate) fn write_rows(rows: &[Row]) -> String {
    let mut lines: Vec<String> = rows
        .iter()
        .map(|row| {
            let words = [
                row.class.as_str(),
                &row.method,
                &row.test,
                row.outcome.name(),
                &row.reason,
            ];
            words.join("\t").trim_end().to_owned()
        })
        .collect();
    lines.sort();
    lines.insert(0, HEADER.to_owned());
    lines.join("\n") + "\n"
}

/// Reads what [`write_rows`] wrote.
///
/// # Errors
/// Names the line that is none.
pub(crate) fn read_rows(text: &str) -> Result<Vec<Row>> {
    let mut lines = text.lines();
    if lines.next() != Some(HEADER) {
        bail!("the first line must be {HEADER:?}");
    }
    lines
        .map(|line| {
            let mut words = line.split('\t');
            let mut next = || words.next();
            let row = (|| {
                Some(Row {
                    class: next()?.to_owned(),
                    method: next()?.to_owned(),
                    test: next()?.to_owned(),
                    outcome: Outcome::parse(next()?)?,
                    reason: next().unwrap_or_default().to_owned(),
                })
            })();
            row.with_context(|| format!("not a class, a method, a test and a result: {line:?}"))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(test: &str, outcome: Outcome, reason: &str) -> Row {
        Row {
            class: "CloseTest".to_owned(),
            method: "testClose".to_owned(),
            test: test.to_owned(),
            outcome,
            reason: reason.to_owned(),
        }
    }

    #[test]
    fn rows_are_read_as_they_were_written() {
        let rows: Vec<Row> = Outcome::ALL
            .iter()
            .zip(["a", "b", "c", "d", "e"])
            .map(|((outcome, _), test)| row(test, *outcome, "because"))
            .chain([row("f", Outcome::Passed, "")])
            .collect();
        assert_eq!(read_rows(&write_rows(&rows)).unwrap(), rows);
        assert_eq!(read_rows(&write_rows(&[])).unwrap(), []);
    }

    #[test]
    fn rows_are_sorted() {
        let rows = [row("b", Outcome::Passed, ""), row("a", Outcome::Failed, "")];
        let text = write_rows(&rows);
        assert_eq!(
            text,
            format!("{HEADER}\nCloseTest\ttestClose\ta\tfailed\nCloseTest\ttestClose\tb\tpassed\n")
        );
    }

    #[test]
    fn what_is_no_row_is_named() {
        for line in ["CloseTest", "CloseTest\tm\tt\tperhaps", ""] {
            let error = read_rows(&format!("{HEADER}\n{line}\n")).unwrap_err();
            assert!(error.to_string().contains(&format!("{line:?}")), "{error}");
        }
        let error = read_rows("class,method\n").unwrap_err();
        assert!(error.to_string().contains("first line"), "{error}");
    }
}
