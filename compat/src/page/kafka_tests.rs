//! Kafka's own integration tests: how many of each class pass.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::Result;

use super::{counted, table};
use crate::kafka_tests::Tables;
use crate::kafka_tests::excuses::Excuse;
use crate::kafka_tests::row::{Outcome, Row};

const HEAD: &str = "\
## Kafka's integration tests

Those of its clients, from its published jar. `make compat` runs them on Foz and fails when one that Kafka passes does
not, but for the [excused](../compat/excuses.tsv); `race` is for tests that may end either way. On Kafka they are run
through the same stand-in, where those that ask for a broker's inside fail.
";

pub(super) fn render(repository: &Path) -> Result<String> {
    let tables = Tables::read(&repository.join("compat"))?;
    let classes: BTreeSet<&str> = tables
        .baseline
        .iter()
        .map(|row| row.class.as_str())
        .collect();
    let rows: Vec<Counts> = classes
        .into_iter()
        .map(|class| Counts::of(class, &tables.baseline, &tables.excuses))
        .collect();
    let kafka: usize = rows.iter().map(|counts| counts.kafka).sum();
    let foz: usize = rows.iter().map(|counts| counts.foz).sum();
    let rows = rows.into_iter().map(|counts| {
        let excused = counts.excused.iter();
        let excused: Vec<String> = excused
            .map(|(why, count)| format!("{count} {why}"))
            .collect();
        [
            counts.class.to_owned(),
            counts.kafka.to_string(),
            counts.foz.to_string(),
            excused.join("; "),
        ]
    });
    let run = table(["class", "Kafka passes", "Foz passes", "excused"], rows);
    let left_out = tables
        .excuses
        .iter()
        .filter(|excuse| excuse.is_whole_class());
    let left_out = left_out.map(|excuse| [excuse.class.clone(), excuse.reason.clone()]);
    let left_out = table(["not run", "why"], left_out);
    let sum = format!(
        "Of {} that Kafka passes Foz passes {foz}.",
        counted(kafka, "test")
    );
    Ok(format!("{HEAD}\n{sum}\n\n{run}\n{left_out}"))
}

#[derive(Debug, PartialEq, Eq)]
struct Counts<'a> {
    class: &'a str,
    kafka: usize,
    foz: usize,
    /// How many each reason excuses.
    excused: BTreeMap<&'a str, usize>,
}

impl<'a> Counts<'a> {
    fn of(class: &'a str, baseline: &[Row], excuses: &'a [Excuse]) -> Self {
        let passed = baseline
            .iter()
            .filter(|row| row.class == class && row.outcome == Outcome::Passed);
        let mut counts = Self {
            class,
            kafka: 0,
            foz: 0,
            excused: BTreeMap::new(),
        };
        for row in passed {
            counts.kafka += 1;
            match excuses.iter().find(|excuse| excuse.names(row)) {
                None => counts.foz += 1,
                Some(excuse) => *counts.excused.entry(&excuse.reason).or_default() += 1,
            }
        }
        counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka_tests::excuses::read_excuses;
    use crate::kafka_tests::row::read_rows;

    #[test]
    fn what_kafka_passes_counts_for_foz_unless_it_is_excused() {
        let baseline = read_rows(
            "class\tmethod\ttest\tresult\treason\nA\ta\ta x\tpassed\nA\ta\ta y\tpassed\nA\tb\tb\tpassed\n\
             A\tc\tc\tfailed\twhy\nB\ta\ta\tpassed\n",
        )
        .unwrap();
        let excuses =
            read_excuses("class\ttest\treason\nA\ta\tlater: z\nB\ta\tlater: z\n").unwrap();
        let counts = Counts::of("A", &baseline, &excuses);
        let excused = BTreeMap::from([("later: z", 2)]);
        assert_eq!(
            counts,
            Counts {
                class: "A",
                kafka: 3,
                foz: 1,
                excused
            }
        );
    }
}
