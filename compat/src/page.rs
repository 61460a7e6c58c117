//! `docs/compatibility.md`: what works with Foz, from the tables that tests are compared with.
//!
//! Nothing in it is said by the page alone: versions are those that the broker advertises, and a test fails where one is
//! not answered; what passes is what a run compares with, which fails where it does not.

mod apis;
mod clients;
mod kafka_tests;
mod tools;

use std::path::Path;

use anyhow::{Context, Result};

const FILE: &str = "docs/compatibility.md";

/// # Errors
/// A table cannot be read, or the page cannot be written.
pub(crate) fn write(repository: &Path) -> Result<()> {
    foz_e2e::folders::write(repository.join(FILE), render(repository)?)
}

fn render(repository: &Path) -> Result<String> {
    let parts = [
        HEAD.to_owned(),
        apis::render(repository)?,
        clients::render(repository)?,
        tools::render(repository)?,
        kafka_tests::render(repository)?,
    ];
    Ok(parts.join("\n"))
}

const HEAD: &str = "\
# Compatibility

What Foz answers, and what was run against it. This page is written by `cargo run -p foz-compat -- page` from the tables
that tests are compared with; a test fails when it differs. What is not there at all is in [limits.md](limits.md).
";

fn read(repository: &Path, name: &str) -> Result<String> {
    let path = repository.join(name);
    std::fs::read_to_string(&path).with_context(|| path.display().to_string())
}

/// A table of Markdown.
fn table<const COLUMNS: usize>(
    head: [&str; COLUMNS],
    rows: impl IntoIterator<Item = [String; COLUMNS]>,
) -> String {
    let line = |cells: &[String]| format!("| {} |\n", cells.join(" | ").replace('\n', " "));
    let mut table = line(&head.map(str::to_owned));
    table += &format!("|{}\n", "-|".repeat(COLUMNS));
    for row in rows {
        table += &line(&row);
    }
    table
}

/// `is_one` for one of them: `1 test`, `2 tests`.
fn counted(count: usize, one: &str) -> String {
    match count {
        1 => format!("1 {one}"),
        _ => format!("{count} {one}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_what_the_tables_say() {
        let repository = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let found = read(repository, FILE).unwrap_or_default();
        assert!(
            found == render(repository).unwrap(),
            "{FILE} differs from the tables; write it anew: cargo run -p foz-compat -- page"
        );
    }
}
