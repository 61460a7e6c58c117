//! The clients: what became of each case.

use std::path::Path;

use anyhow::Result;

use super::{read, table};
use crate::clients::client::{CLIENTS, Client};
use crate::clients::expected::{CASES, Expected, read_expected};
use crate::clients::outcome::Verdict;

const HEAD: &str = "\
## Clients

Each runs the same cases on three brokers ([what they ask](../compat/clients/README.md)) in every `make test`, which fails
when a case does not become what is said here.
";

pub(super) fn render(repository: &Path) -> Result<String> {
    let sources = repository.join("compat/clients");
    let expected = read_expected(&read(repository, "compat/clients/expected.tsv")?)?;
    let mut versions = Vec::new();
    for client in &CLIENTS {
        let passed = CASES
            .iter()
            .filter(|case| mark(&expected, client, case) == PASSED);
        let cells = [
            client.name.to_owned(),
            client.version(&sources)?,
            passed.count().to_string(),
        ];
        versions.push(cells);
    }
    let versions = table(["client", "version", "cases that pass"], versions);
    let cases = CASES.map(|case| {
        let marks = CLIENTS.iter().map(|client| mark(&expected, client, case));
        let marks: Vec<&str> = marks.collect();
        [case.to_owned(), marks.join(" | ")]
    });
    let names = CLIENTS.each_ref().map(|client| client.name).join(" | ");
    let cases = table(["case", &names], cases).replacen(
        "|-|-|",
        &format!("|-|{}", "-|".repeat(CLIENTS.len())),
        1,
    );
    Ok(format!(
        "{HEAD}\n{versions}\n{PASSED} passes, {SKIPPED} is nothing that the client can do, {FAILED} does not work.\n\n{cases}\n{}",
        reasons(&expected)
    ))
}

const PASSED: &str = "✓";
const SKIPPED: &str = "–";
const FAILED: &str = "✗";

fn mark(expected: &[Expected], client: &Client, case: &str) -> &'static str {
    let row = expected
        .iter()
        .find(|row| row.of == client.name && row.case == case);
    match row.map(|row| row.verdict) {
        None | Some(Verdict::Passed) => PASSED,
        Some(Verdict::Skipped) => SKIPPED,
        Some(Verdict::Failed) => FAILED,
    }
}

/// Why, a line for each client and reason.
fn reasons(expected: &[Expected]) -> String {
    let mut lines: Vec<(&str, &str, Vec<&str>)> = Vec::new();
    for row in expected {
        if !CLIENTS.iter().any(|client| client.name == row.of) {
            continue;
        }
        let same = lines
            .iter_mut()
            .find(|(of, reason, _)| (*of, *reason) == (row.of.as_str(), row.reason.as_str()));
        match same {
            Some((_, _, cases)) => cases.push(&row.case),
            None => lines.push((&row.of, &row.reason, vec![&row.case])),
        }
    }
    let lines = lines
        .iter()
        .map(|(of, reason, cases)| format!("- {of}: {reason} ({})\n", cases.join(", ")));
    lines.collect()
}
