//! The clients: what became of each case.

use std::path::Path;

use anyhow::Result;

use super::{read, table};
use crate::clients::client::{CLIENTS, Client};
use crate::clients::expected::{CASES, Expected, read_expected};
use crate::clients::lowered;
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
    let cases = marks(&expected, &CASES, &CLIENTS.each_ref());
    let lowered_cases = lowered::cases();
    let lowered_cases: Vec<&str> = lowered_cases.iter().map(String::as_str).collect();
    let is_lowered = |client: &&Client| lowered::CLIENTS.contains(&client.name);
    let lowered_clients: Vec<&Client> = CLIENTS.iter().filter(is_lowered).collect();
    let lowered = marks(&expected, &lowered_cases, &lowered_clients);
    Ok(format!(
        "{HEAD}\n{versions}\n{PASSED} passes, {SKIPPED} is nothing that the client can do, {FAILED} does not work.\n\n{cases}\n\
         {LOWERED}\n{lowered}\n{}",
        reasons(&expected)
    ))
}

const LOWERED: &str = "\
Then `kafka-features` lowers `transaction.version` from 2 to 1 (`-v1`) and to 0 (`-v0`), at which these clients, too,
speak as those before KIP-890 did:
";

/// A row for each case, a column for each client.
fn marks(expected: &[Expected], cases: &[&str], clients: &[&Client]) -> String {
    let rows = cases.iter().map(|case| {
        let marks = clients.iter().map(|client| mark(expected, client, case));
        let marks: Vec<&str> = marks.collect();
        [(*case).to_owned(), marks.join(" | ")]
    });
    let names: Vec<&str> = clients.iter().map(|client| client.name).collect();
    let line = format!("|-|{}", "-|".repeat(clients.len()));
    table(["case", &names.join(" | ")], rows).replacen("|-|-|", &line, 1)
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
