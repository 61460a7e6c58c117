//! What the JVM of the tests says happens, and the rows that come of it.

use std::collections::BTreeMap;

use crate::kafka_tests::row::{Outcome, Row};

/// What a row's reason is when only the second of two tries passed.
pub(crate) const SECOND_TRY: &str = "at the second try";

/// All that happened to the tests of one class.
#[derive(Debug, Default)]
pub(crate) struct Events {
    /// By method and by the number of the invocation, which is that of the row among its equals.
    invocations: BTreeMap<(String, String), Event>,
}

#[derive(Debug)]
struct Event {
    outcome: Outcome,
    reason: String,
}

impl Events {
    /// Reads what a JVM wrote (see `compat/java/Rows.java`). Its last line may be cut off, and a test that was begun
    /// may have no end: the JVM may have been killed.
    pub(crate) fn read(text: &str) -> Self {
        let mut events = Self::default();
        let complete = text.rfind('\n').map_or("", |end| &text[..end]);
        for line in complete.lines() {
            let words: Vec<&str> = line.split('\t').collect();
            let [method, display, what, reason] = words[..] else {
                continue;
            };
            let key = (method.to_owned(), display.to_owned());
            let event = Event {
                outcome: Outcome::parse(what).unwrap_or(Outcome::Hung),
                reason: reason.to_owned(),
            };
            events.invocations.insert(key, event);
        }
        events
    }

    /// Takes over what passed in another try.
    pub(crate) fn retried(&mut self, again: Self) {
        for (key, event) in again.invocations {
            if event.outcome == Outcome::Passed
                && let Some(before) = self.invocations.get_mut(&key)
                && before.outcome != Outcome::Passed
            {
                before.outcome = Outcome::Passed;
                SECOND_TRY.clone_into(&mut before.reason);
            }
        }
    }

    /// One row for each invocation, in the order of methods and display names.
    pub(crate) fn rows(&self, class: &str) -> Vec<Row> {
        let mut equals: BTreeMap<String, usize> = BTreeMap::new();
        let rows = self.invocations.iter().map(|((method, display), event)| {
            let name = without_number(display);
            let count = equals.entry(name.clone()).or_default();
            *count += 1;
            let test = match count {
                1 => name,
                _ => format!("{name} #{count}"),
            };
            Row {
                class: class.to_owned(),
                method: method.clone(),
                test,
                outcome: event.outcome,
                reason: event.reason.clone(),
            }
        });
        rows.collect()
    }
}

/// `testClose [2] combined` to `testClose combined`: which of a test's invocations is the second differs from run to
/// run.
fn without_number(display: &str) -> String {
    let Some((before, rest)) = display.split_once(" [") else {
        return display.to_owned();
    };
    match rest.split_once("] ") {
        Some((number, after)) if number.parse::<u32>().is_ok() => format!("{before} {after}"),
        _ => display.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(display: &str, what: &str) -> String {
        format!("testClose\t{display}\t{what}\tbecause\n")
    }

    fn outcomes(events: &Events) -> Vec<(String, Outcome)> {
        let rows = events.rows("CloseTest").into_iter();
        rows.map(|row| (row.test, row.outcome)).collect()
    }

    #[test]
    fn a_test_is_what_was_said_last_of_it() {
        let text = line("testClose [1] combined", "started")
            + &line("testClose [1] combined", "passed")
            + &line("testClose [2] isolated", "started")
            + &line("testClose [2] isolated", "failed");
        assert_eq!(
            outcomes(&Events::read(&text)),
            [
                ("testClose combined".to_owned(), Outcome::Passed),
                ("testClose isolated".to_owned(), Outcome::Failed)
            ]
        );
    }

    #[test]
    fn a_test_without_an_end_hung() {
        let text = line("testClose [1] combined", "started");
        let cut = format!("{text}testClose\ttestClose [1] combined\tpass");
        for text in [text, cut] {
            assert_eq!(
                outcomes(&Events::read(&text)),
                [("testClose combined".to_owned(), Outcome::Hung)]
            );
        }
        assert_eq!(outcomes(&Events::read("")), []);
    }

    #[test]
    fn invocations_of_one_name_are_told_apart() {
        let text =
            line("testClose [1] combined", "passed") + &line("testClose [2] combined", "failed");
        assert_eq!(
            outcomes(&Events::read(&text)),
            [
                ("testClose combined".to_owned(), Outcome::Passed),
                ("testClose combined #2".to_owned(), Outcome::Failed)
            ]
        );
    }

    #[test]
    fn only_a_number_is_left_out_of_a_name() {
        assert_eq!(without_number("test [12] a [3] b"), "test a [3] b");
        assert_eq!(without_number("test [x] a"), "test [x] a");
        assert_eq!(without_number("test"), "test");
    }

    #[test]
    fn a_second_try_only_makes_things_better() {
        let mut events = Events::read(
            &(line("testClose [1] combined", "failed") + &line("testClose [2] isolated", "passed")),
        );
        events.retried(Events::read(
            &(line("testClose [1] combined", "passed") + &line("testClose [2] isolated", "failed")),
        ));
        let rows = events.rows("CloseTest");
        assert_eq!(rows[0].outcome, Outcome::Passed);
        assert_eq!(rows[0].reason, SECOND_TRY);
        assert_eq!(rows[1].outcome, Outcome::Passed);
    }
}
