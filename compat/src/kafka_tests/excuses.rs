//! `excuses.tsv`: which tests Foz need not pass, and why.
//!
//! Each line has a class, a test and a reason. The test is a method, or a method and what tells its invocations apart
//! (`testClose combined`); `*` leaves the whole class out: it is not run.

use anyhow::{Result, bail};

use crate::kafka_tests::row::Row;

const HEADER: &str = "class\ttest\treason";
const WHOLE_CLASS: &str = "*";
/// Every reason begins with one of these.
const KINDS: [&str; 3] = ["later: ", "broker-internal: ", RACE];
/// The test may pass: which of two things comes first decides it, and either is right.
const RACE: &str = "race: ";

/// One line of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Excuse {
    pub(crate) class: String,
    pub(crate) test: String,
    pub(crate) reason: String,
}

impl Excuse {
    /// Whether it speaks of this row.
    pub(crate) fn names(&self, row: &Row) -> bool {
        self.class == row.class
            && row
                .test
                .strip_prefix(&self.test)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', ',']))
    }

    /// Whether it holds, too, when the test passes.
    pub(crate) fn is_race(&self) -> bool {
        self.reason.starts_with(RACE)
    }

    /// Whether the class is not run.
    pub(crate) fn is_whole_class(&self) -> bool {
        self.test == WHOLE_CLASS
    }
}

/// Reads the table.
///
/// # Errors
/// Names the line that is wrong, and what would be right.
pub(crate) fn read_excuses(text: &str) -> Result<Vec<Excuse>> {
    let mut lines = text.lines();
    if lines.next() != Some(HEADER) {
        bail!("the first line must be {HEADER:?}");
    }
    let mut excuses: Vec<Excuse> = Vec::new();
    for line in lines {
        let words: Vec<&str> = line.split('\t').collect();
        let [class, test, reason] = words[..] else {
            bail!("not a class, a test and a reason: {line:?}");
        };
        if !KINDS.iter().any(|kind| {
            reason
                .strip_prefix(kind)
                .is_some_and(|rest| !rest.is_empty())
        }) {
            bail!("a reason begins with one of {KINDS:?} and says more: {line:?}");
        }
        let excuse = Excuse {
            class: class.to_owned(),
            test: test.to_owned(),
            reason: reason.to_owned(),
        };
        let twice = excuses.iter().any(|other| {
            other.class == excuse.class && (other.test == excuse.test || other.is_whole_class())
        });
        if twice {
            bail!("excused twice: {line:?}");
        }
        excuses.push(excuse);
    }
    Ok(excuses)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka_tests::row::Outcome;

    fn excuse(test: &str) -> Excuse {
        let text = format!("{HEADER}\nCloseTest\t{test}\tlater: transactions\n");
        read_excuses(&text).unwrap().remove(0)
    }

    fn row(class: &str, test: &str) -> Row {
        Row {
            class: class.to_owned(),
            method: String::new(),
            test: test.to_owned(),
            outcome: Outcome::Failed,
            reason: String::new(),
        }
    }

    #[test]
    fn a_method_excuses_its_invocations_and_no_other_method() {
        let method = excuse("testClose");
        for test in ["testClose", "testClose combined, a=b", "testClose, a"] {
            assert!(method.names(&row("CloseTest", test)), "{test}");
        }
        for (class, test) in [
            ("CloseTest", "testCloseAgain combined"),
            ("OpenTest", "testClose"),
        ] {
            assert!(!method.names(&row(class, test)), "{class} {test}");
        }
        let combined = excuse("testClose combined");
        assert!(combined.names(&row("CloseTest", "testClose combined, a=b")));
        assert!(!combined.names(&row("CloseTest", "testClose isolated, a=b")));
        assert!(excuse("*").is_whole_class() && !combined.is_whole_class());
        assert!(!combined.is_race());
    }

    #[test]
    fn a_wrong_line_is_named() {
        let right = "CloseTest\ttestClose\tlater: transactions";
        for wrong in [
            "CloseTest\ttestClose",
            "CloseTest\ttestClose\t",
            "CloseTest\ttestClose\tlater: ",
            "CloseTest\ttestClose\tno time",
            right,
        ] {
            let text = format!("{HEADER}\n{right}\n{wrong}\n");
            let error = read_excuses(&text).unwrap_err().to_string();
            assert!(error.contains(&format!("{wrong:?}")), "{error}");
        }
        let text = format!("{HEADER}\nCloseTest\t*\tlater: a\n{right}\n");
        assert!(
            read_excuses(&text)
                .unwrap_err()
                .to_string()
                .contains("twice")
        );
        assert!(
            read_excuses("")
                .unwrap_err()
                .to_string()
                .contains("first line")
        );
    }
}
