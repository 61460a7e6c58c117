//! What became of one case of one client, or of one story of the tools.

use std::fmt;

use serde::Deserialize;

/// As the clients' programs print it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Verdict {
    Passed,
    Skipped,
    Failed,
}

/// One row of the result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// The client, or `tools`.
    pub(crate) of: String,
    pub(crate) case: String,
    pub(crate) verdict: Verdict,
    /// Why it did not pass.
    pub(crate) detail: String,
}

impl Outcome {
    pub(crate) fn has_passed(&self) -> bool {
        self.verdict == Verdict::Passed
    }
}

impl Verdict {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Verdict::Passed => "passed",
            Verdict::Skipped => "skipped",
            Verdict::Failed => "failed",
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Outcome {
            of, case, detail, ..
        } = self;
        write!(f, "{of}\t{case}\t{}\t{detail}", self.verdict.name())
    }
}

/// Of all rows, sorted.
pub(crate) fn table(outcomes: &[Outcome]) -> String {
    let mut lines: Vec<String> = outcomes
        .iter()
        .map(|outcome| outcome.to_string().replace('\n', " | ") + "\n")
        .collect();
    lines.sort();
    lines.concat()
}
