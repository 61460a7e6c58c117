//! What Apache Kafka passes and Foz does not.

use std::collections::BTreeMap;

use crate::kafka_tests::excuses::Excuse;
use crate::kafka_tests::row::{Outcome, Row};

/// How a run on Foz compares with the baseline.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Comparison {
    /// Tests that Kafka passes.
    pub(crate) expected: usize,
    /// Of these, those that Foz passes.
    pub(crate) passed: usize,
    /// Of the rest, how many each reason excuses.
    pub(crate) excused: BTreeMap<String, usize>,
    /// What must not be, one sentence each.
    pub(crate) problems: Vec<String>,
}

/// Compares rows of the same classes.
pub(crate) fn compare(baseline: &[Row], found: &[Row], excuses: &[Excuse]) -> Comparison {
    let mut comparison = Comparison::default();
    let expected = baseline.iter().filter(|row| row.outcome == Outcome::Passed);
    for row in expected.clone() {
        comparison.expected += 1;
        let excuse = excuses.iter().find(|excuse| excuse.names(row));
        let ours = found
            .iter()
            .find(|ours| (&ours.class, &ours.test) == (&row.class, &row.test));
        let has_passed = ours.is_some_and(|ours| ours.outcome == Outcome::Passed);
        let name = format!("{}.{}", row.class, row.test);
        match (has_passed, excuse) {
            (true, None) => comparison.passed += 1,
            (true, Some(excuse)) if excuse.is_race() => comparison.passed += 1,
            (true, Some(excuse)) => {
                comparison.passed += 1;
                comparison.problems.push(format!(
                    "{name} passes and is excused by {:?}: take the excuse out",
                    excuse.reason
                ));
            }
            (false, Some(excuse)) => {
                *comparison.excused.entry(excuse.reason.clone()).or_default() += 1;
            }
            (false, None) => comparison.problems.push(match ours {
                Some(ours) => format!("{name} {}: {}", ours.outcome.name(), ours.reason),
                None => format!("{name} was not run"),
            }),
        }
    }
    for excuse in excuses {
        if !excuse.is_whole_class() && !expected.clone().any(|row| excuse.names(row)) {
            comparison.problems.push(format!(
                "{}.{} is excused, and Kafka passes no test of that name",
                excuse.class, excuse.test
            ));
        }
    }
    comparison
}

/// Classes that are neither in the baseline nor left out, and those that are both or not there at all.
pub(crate) fn unaccounted(classes: &[String], baseline: &[Row], excuses: &[Excuse]) -> Vec<String> {
    let is_known = |class: &String| baseline.iter().any(|row| &row.class == class);
    let is_left_out = |class: &String| {
        excuses
            .iter()
            .any(|excuse| excuse.is_whole_class() && &excuse.class == class)
    };
    let mut problems = Vec::new();
    for class in classes {
        match (is_known(class), is_left_out(class)) {
            (false, false) => problems.push(format!(
                "{class} has neither a baseline nor an excuse for all of it"
            )),
            (true, true) => problems.push(format!(
                "{class} has a baseline, and an excuse for all of it"
            )),
            _ => {}
        }
    }
    let named = baseline.iter().map(|row| &row.class);
    let named = named.chain(excuses.iter().map(|excuse| &excuse.class));
    for class in named {
        let problem = format!("{class} is no class of Kafka's tests");
        if !classes.contains(class) && !problems.contains(&problem) {
            problems.push(problem);
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka_tests::excuses::read_excuses;
    use crate::kafka_tests::row::read_rows;

    fn row(test: &str, outcome: Outcome) -> Row {
        Row {
            class: "CloseTest".to_owned(),
            method: test.to_owned(),
            test: test.to_owned(),
            outcome,
            reason: "because".to_owned(),
        }
    }

    fn excuses(lines: &str) -> Vec<Excuse> {
        read_excuses(&format!("class\ttest\treason\n{lines}")).unwrap()
    }

    #[test]
    fn what_kafka_passes_foz_must_pass() {
        let baseline = [
            row("a", Outcome::Passed),
            row("b", Outcome::Passed),
            row("c", Outcome::Passed),
            row("d", Outcome::Internal),
        ];
        let found = [row("a", Outcome::Passed), row("b", Outcome::Failed)];
        let comparison = compare(&baseline, &found, &[]);
        assert_eq!((comparison.expected, comparison.passed), (3, 1));
        assert_eq!(
            comparison.problems,
            ["CloseTest.b failed: because", "CloseTest.c was not run"]
        );
    }

    #[test]
    fn an_excuse_counts_as_long_as_the_test_fails() {
        let baseline = [row("a", Outcome::Passed), row("b", Outcome::Passed)];
        let excuses = excuses("CloseTest\ta\tlater: x\nCloseTest\tb\tlater: x\n");
        let fails = [row("a", Outcome::Failed), row("b", Outcome::Hung)];
        let comparison = compare(&baseline, &fails, &excuses);
        assert_eq!(comparison.problems, [""; 0]);
        assert_eq!(
            comparison.excused,
            BTreeMap::from([("later: x".to_owned(), 2)])
        );
        let shrinks = [row("a", Outcome::Passed), row("b", Outcome::Hung)];
        let problems = compare(&baseline, &shrinks, &excuses).problems;
        assert_eq!(problems.len(), 1);
        assert!(
            problems[0].contains("CloseTest.a passes and is excused"),
            "{problems:?}"
        );
    }

    #[test]
    fn a_race_may_end_either_way() {
        let baseline = [row("a", Outcome::Passed), row("b", Outcome::Passed)];
        let found = [row("a", Outcome::Passed), row("b", Outcome::Failed)];
        let excuses = excuses("CloseTest\ta\trace: x\nCloseTest\tb\trace: x\n");
        let comparison = compare(&baseline, &found, &excuses);
        assert_eq!(comparison.problems, [""; 0]);
        assert_eq!((comparison.expected, comparison.passed), (2, 1));
        assert_eq!(comparison.excused.values().sum::<usize>(), 1);
    }

    #[test]
    fn an_excuse_for_what_kafka_does_not_pass_is_none() {
        let baseline = [row("a", Outcome::Failed)];
        let problems = compare(&baseline, &[], &excuses("CloseTest\ta\tlater: x\n")).problems;
        assert!(problems[0].contains("Kafka passes no test"), "{problems:?}");
    }

    #[test]
    fn every_class_is_accounted_for_once() {
        let classes = ["CloseTest", "OpenTest"].map(str::to_owned);
        let baseline = [row("a", Outcome::Passed)];
        let left_out = excuses("OpenTest\t*\tlater: x\n");
        assert_eq!(unaccounted(&classes, &baseline, &left_out), [""; 0]);
        assert!(unaccounted(&classes, &baseline, &[])[0].contains("OpenTest has neither"));
        let both = excuses("OpenTest\t*\tlater: x\nCloseTest\t*\tlater: x\n");
        assert!(
            unaccounted(&classes, &baseline, &both)[0].contains("CloseTest has a baseline, and")
        );
        let problems = unaccounted(&classes[1..], &baseline, &left_out);
        assert_eq!(problems, ["CloseTest is no class of Kafka's tests"]);
    }

    /// What a person changed by hand is found before a run of a quarter of an hour.
    #[test]
    fn the_tables_of_this_repository_agree() {
        let baseline = read_rows(include_str!("../../baseline.tsv")).unwrap();
        let excuses = read_excuses(include_str!("../../excuses.tsv")).unwrap();
        let mut classes: Vec<String> = baseline.iter().map(|row| row.class.clone()).collect();
        classes.extend(excuses.iter().map(|excuse| excuse.class.clone()));
        assert_eq!(unaccounted(&classes, &baseline, &excuses), [""; 0]);
        let nothing_passes = compare(&baseline, &[], &excuses);
        let unnamed = |problem: &&String| problem.contains("Kafka passes no test");
        assert_eq!(
            Vec::from_iter(nothing_passes.problems.iter().filter(unnamed)),
            [""; 0]
        );
    }
}
