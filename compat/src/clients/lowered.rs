//! Transactions once more, with the feature `transaction.version` lowered: then clients that know version 2 (KIP-890)
//! speak as those before them did, and the broker keeps their transactions by the older rules.
//!
//! It is of the whole cluster, so that this comes when all others are done.

use anyhow::Result;

use super::client::Prepared;
use super::outcome::Outcome;
use super::tools::{Story, read_stories};

/// One client of each of the libraries that know version 2.
pub(crate) const CLIENTS: [&str; 3] = ["java-4.3", "confluent-kafka", "franz-go"];
/// Downwards, as they come.
pub(crate) const LEVELS: [u8; 2] = [1, 0];
/// The first of them make the topic that the others read.
const CASES: [&str; 7] = [
    "create-topic",
    "create-partitions",
    "produce-none",
    "transactions",
    "transaction-open",
    "transaction-offsets",
    "transaction-fenced",
];
/// What it is raised to again: what a new cluster has.
const USUAL: u8 = 2;

/// What tells these cases from those at the usual level.
pub(crate) fn suffix(level: u8) -> String {
    format!("-v{level}")
}

/// The cases that are of transactions, with the suffixes of all levels.
pub(crate) fn cases() -> Vec<String> {
    let mut cases: Vec<String> = LEVELS
        .into_iter()
        .flat_map(|level| CASES.map(|case| format!("{case}{}", suffix(level))))
        .filter(|case| case.starts_with("transaction"))
        .collect();
    cases.sort_unstable();
    cases
}

/// Lowers it to each level, has `client` run some cases of those of the clients that are told apart here, and raises it
/// again. `tell` takes a story of the tools. Where a level cannot be set, nothing runs at it.
///
/// # Errors
/// Something cannot be started.
pub(crate) fn run(
    prepared: &[Prepared],
    tell: impl Fn(&Story) -> Result<Vec<Outcome>>,
    clients: impl Fn(Vec<&Prepared>, &[&str], &str) -> Result<Vec<Outcome>>,
) -> Result<Vec<Outcome>> {
    let of_these = |client: &&Prepared| CLIENTS.contains(&client.name());
    let wanted: Vec<&Prepared> = prepared.iter().filter(of_these).collect();
    let mut outcomes = Vec::new();
    if wanted.is_empty() {
        return Ok(outcomes);
    }
    for level in LEVELS {
        let set = tell(&story("downgrade", level)?)?;
        let is_set = set.iter().all(Outcome::has_passed);
        outcomes.extend(set);
        if is_set {
            outcomes.extend(clients(wanted.clone(), &CASES, &suffix(level))?);
        }
    }
    outcomes.extend(tell(&story("upgrade", USUAL)?)?);
    Ok(outcomes)
}

/// The second step is taken again until it is so.
fn story(action: &str, level: u8) -> Result<Story> {
    let text = format!(
        "== transaction.version {level}\n\
         $ kafka-features {action} --feature transaction.version={level}\n\
         > transaction\\.version was {action}d to {level}\n\
         $ kafka-features describe\n\
         > ^Feature: transaction\\.version\\s.*FinalizedVersionLevel: {level}\\s\n"
    );
    Ok(read_stories(&text)?.remove(0))
}

#[cfg(test)]
mod tests {
    use regex::Regex;

    use super::*;
    use crate::clients::client;
    use crate::clients::expected;
    use crate::clients::tools::Step;

    #[test]
    fn its_clients_and_cases_are_some_of_all() {
        for name in CLIENTS {
            assert!(client::CLIENTS.iter().any(|it| it.name == name), "{name}");
        }
        for case in CASES {
            assert!(expected::CASES.contains(&case), "{case}");
        }
        assert_eq!(cases().len(), 8);
    }

    #[test]
    fn a_level_that_was_set_is_looked_up() {
        let story = story("downgrade", 1).unwrap();
        assert_eq!(story.name, "transaction.version 1");
        let [set, shown] = &story.steps[..] else {
            panic!("{story:?}");
        };
        let says = |step: &Step, text: &str| Regex::new(&step.wanted[0]).unwrap().is_match(text);
        assert!(says(set, "transaction.version was downgraded to 1.\n"));
        let line = "Feature: transaction.version\tSupportedMinVersion: 0\tSupportedMaxVersion: 2\t\
                    FinalizedVersionLevel: 1\tEpoch: 12\n";
        assert!(says(shown, line));
        assert!(!says(shown, &line.replace("Level: 1", "Level: 2")));
    }
}
