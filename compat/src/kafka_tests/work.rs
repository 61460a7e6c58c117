//! Which tests one JVM runs.

use std::collections::BTreeSet;

use crate::kafka_tests::excuses::Excuse;
use crate::kafka_tests::row::{Outcome, Row};
use crate::kit::short_name;

/// Most excused tests wait until a time limit of theirs ends; so few in one JVM let the waits overlap.
const EXCUSED_METHODS_MAX: usize = 4;

/// A class, or some methods of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Work {
    /// With its package.
    pub(crate) class: String,
    /// All when it is empty.
    pub(crate) methods: BTreeSet<String>,
    /// Names its folder and its log, and no other's of the same run.
    pub(crate) name: String,
}

impl Work {
    pub(crate) fn whole(class: &str) -> Self {
        Self {
            class: class.to_owned(),
            methods: BTreeSet::new(),
            name: short_name(class).to_owned(),
        }
    }
}

/// What a run on Foz consists of. What Kafka does not pass is not run.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Agenda {
    /// Those with most methods first, so that the last to end is a short one.
    pub(crate) expected: Vec<Work>,
    /// Methods all of whose invocations are excused.
    pub(crate) excused: Vec<Work>,
}

/// Sorts the methods of `classes`, given by their full names.
pub(crate) fn agenda(classes: &[String], baseline: &[Row], excuses: &[Excuse]) -> Agenda {
    let mut agenda = Agenda::default();
    for class in classes {
        let (mut expected, mut excused) = (BTreeSet::new(), BTreeSet::new());
        let is_passed =
            |row: &&Row| row.class == short_name(class) && row.outcome == Outcome::Passed;
        for row in baseline.iter().filter(is_passed) {
            let is_excused = excuses.iter().any(|excuse| excuse.names(row));
            let methods = if is_excused {
                &mut excused
            } else {
                &mut expected
            };
            methods.insert(row.method.clone());
        }
        let excused: Vec<String> = excused.difference(&expected).cloned().collect();
        for (index, methods) in excused.chunks(EXCUSED_METHODS_MAX).enumerate() {
            agenda.excused.push(Work {
                class: class.clone(),
                methods: methods.iter().cloned().collect(),
                name: format!("{}-excused-{}", short_name(class), index + 1),
            });
        }
        if !expected.is_empty() {
            agenda.expected.push(Work {
                methods: expected,
                ..Work::whole(class)
            });
        }
    }
    agenda
        .expected
        .sort_by_key(|work| std::cmp::Reverse(work.methods.len()));
    agenda
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka_tests::excuses::read_excuses;
    use crate::kafka_tests::row::read_rows;

    fn methods(work: &Work) -> Vec<&str> {
        work.methods.iter().map(String::as_str).collect()
    }

    #[test]
    fn what_kafka_passes_is_run_and_what_is_excused_apart() {
        let baseline = read_rows(
            "class\tmethod\ttest\tresult\treason\n\
             CloseTest\ttestOne\ttestOne a\tpassed\n\
             CloseTest\ttestOne\ttestOne b\tpassed\n\
             CloseTest\ttestTwo\ttestTwo\tfailed\tno\n\
             CloseTest\ttestThree\ttestThree a\tpassed\n\
             CloseTest\ttestThree\ttestThree b\tpassed\n\
             OpenTest\ttestOne\ttestOne\tpassed\n\
             OpenTest\ttestTwo\ttestTwo\tpassed\n",
        )
        .unwrap();
        let excuses = read_excuses(
            "class\ttest\treason\nCloseTest\ttestOne a\tlater: x\nCloseTest\ttestThree\tlater: x\n",
        )
        .unwrap();
        let classes = ["a.CloseTest", "a.OpenTest", "a.NewTest"].map(str::to_owned);
        let agenda = agenda(&classes, &baseline, &excuses);
        let [open, close] = &agenda.expected[..] else {
            panic!("{agenda:?}");
        };
        assert_eq!(
            (open.class.as_str(), open.name.as_str()),
            ("a.OpenTest", "OpenTest")
        );
        assert_eq!(methods(open), ["testOne", "testTwo"]);
        assert_eq!(methods(close), ["testOne"]);
        let [excused] = &agenda.excused[..] else {
            panic!("{agenda:?}");
        };
        assert_eq!(excused.name, "CloseTest-excused-1");
        assert_eq!(methods(excused), ["testThree"]);
    }

    #[test]
    fn many_excused_methods_are_spread() {
        let lines: Vec<String> = (0..9)
            .map(|test| format!("CloseTest\ttest{test}\ttest{test}\tpassed\n"))
            .collect();
        let baseline = read_rows(&format!(
            "class\tmethod\ttest\tresult\treason\n{}",
            lines.concat()
        ))
        .unwrap();
        let lines: Vec<String> = (0..9)
            .map(|test| format!("CloseTest\ttest{test}\tlater: x\n"))
            .collect();
        let excuses = read_excuses(&format!("class\ttest\treason\n{}", lines.concat())).unwrap();
        let agenda = agenda(&["a.CloseTest".to_owned()], &baseline, &excuses);
        let sizes: Vec<usize> = agenda
            .excused
            .iter()
            .map(|work| work.methods.len())
            .collect();
        assert_eq!(sizes, [4, 4, 1]);
        let names: BTreeSet<&str> = agenda
            .excused
            .iter()
            .map(|work| work.name.as_str())
            .collect();
        assert_eq!(names.len(), 3);
        assert!(agenda.expected.is_empty());
    }
}
