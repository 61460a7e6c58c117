//! What is known not to pass, and the comparison with what came.

use anyhow::{Context, Result, bail};

use crate::clients::lowered;
use crate::clients::outcome::{Outcome, Verdict};

/// Every client tells what became of each of these.
pub(crate) const CASES: [&str; 34] = [
    "commits",
    "consume-by-offset",
    "consume-by-time",
    "create-partitions",
    "create-topic",
    "delete-records",
    "delete-topic",
    "greatest-time",
    "group-admin",
    "group-changes",
    "group-cooperative-sticky",
    "group-migration",
    "group-new-protocol",
    "group-new-range",
    "group-new-regex",
    "group-new-static",
    "group-range",
    "group-roundrobin",
    "group-static",
    "group-sticky",
    "idempotent",
    "list-offsets",
    "offset-out-of-range",
    "produce-gzip",
    "produce-lz4",
    "produce-none",
    "produce-snappy",
    "produce-zstd",
    "too-large",
    "topic-configs",
    "transaction-fenced",
    "transaction-offsets",
    "transaction-open",
    "transactions",
];
/// How a skipped case begins of which the server does not advertise what it needs.
const LACKS: &str = "the server has no ";

/// A row of `expected.tsv`: the client (or `tools`), the case, what becomes of it, why.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Expected {
    pub(crate) of: String,
    pub(crate) case: String,
    pub(crate) verdict: Verdict,
    pub(crate) reason: String,
}

impl Expected {
    /// Whether it speaks of this case.
    pub(crate) fn names(&self, outcome: &Outcome) -> bool {
        (&self.of, &self.case) == (&outcome.of, &outcome.case)
    }
}

/// # Errors
/// Names the line that is no row.
pub(crate) fn read_expected(text: &str) -> Result<Vec<Expected>> {
    let lines = text.lines().enumerate();
    let rows = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    rows.map(|(number, line)| {
        read_row(line).with_context(|| format!("expected.tsv:{}", number + 1))
    })
    .collect()
}

fn read_row(line: &str) -> Result<Expected> {
    let columns: Vec<&str> = line.split('\t').collect();
    let [of, case, verdict, reason] = columns[..] else {
        bail!("{line:?} has not four columns: client, case, skipped or failed, reason");
    };
    let verdict = match verdict {
        "skipped" => Verdict::Skipped,
        "failed" => Verdict::Failed,
        other => bail!("{other:?} is neither skipped nor failed"),
    };
    if reason.trim().is_empty() {
        bail!("{of}, {case}: no reason");
    }
    Ok(Expected {
        of: of.to_owned(),
        case: case.to_owned(),
        verdict,
        reason: reason.to_owned(),
    })
}

/// What is not as it should be, a line each. `is_whole`: all clients and tools were run.
pub(crate) fn compare(
    outcomes: &[Outcome],
    expected: &[Expected],
    has: &[String],
    is_whole: bool,
) -> Vec<String> {
    let mut problems = Vec::new();
    for outcome in outcomes {
        let row = expected.iter().find(|row| row.names(outcome));
        let lacks = outcome.detail.strip_prefix(LACKS);
        let is_lacking = lacks.is_some_and(|feature| !has.iter().any(|it| it == feature));
        let is_right = match row {
            // What a client cannot do is not asked before the server can.
            _ if outcome.verdict == Verdict::Skipped && is_lacking => true,
            Some(row) => row.verdict == outcome.verdict,
            None => outcome.has_passed(),
        };
        if !is_right {
            let hint = match row {
                Some(row) if outcome.has_passed() => {
                    format!(
                        "; expected.tsv says {}: take the row out",
                        row.verdict.name()
                    )
                }
                Some(row) => format!("; expected.tsv says {}", row.verdict.name()),
                None => String::new(),
            };
            problems.push(format!("{outcome}{hint}"));
        }
    }
    problems.extend(missing(outcomes));
    if is_whole {
        for row in expected {
            let is_there = outcomes.iter().any(|outcome| row.names(outcome));
            if !is_there {
                problems.push(format!(
                    "expected.tsv has {}, {}, which is no case: take the row out",
                    row.of, row.case
                ));
            }
        }
    }
    problems
}

/// Cases of which a client told nothing: its program ended early, or was written without them.
fn missing(outcomes: &[Outcome]) -> Vec<String> {
    let mut clients: Vec<&str> = outcomes.iter().map(|outcome| outcome.of.as_str()).collect();
    clients.retain(|of| *of != crate::clients::tools::OF);
    clients.sort_unstable();
    clients.dedup();
    let mut problems = Vec::new();
    for client in clients {
        let tells = |case: &str| {
            outcomes
                .iter()
                .any(|outcome| outcome.of == client && outcome.case == case)
        };
        let mut wanted: Vec<String> = CASES.map(str::to_owned).into();
        if lowered::CLIENTS.contains(&client) {
            wanted.extend(lowered::cases());
        }
        wanted.retain(|case| !tells(case));
        let absent = wanted;
        if !absent.is_empty() {
            problems.push(format!("{client} told nothing of {}", absent.join(", ")));
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(of: &str, case: &str, verdict: Verdict, detail: &str) -> Outcome {
        Outcome {
            of: of.to_owned(),
            case: case.to_owned(),
            verdict,
            detail: detail.to_owned(),
        }
    }

    fn all_passed(of: &str) -> Vec<Outcome> {
        CASES
            .into_iter()
            .map(|case| outcome(of, case, Verdict::Passed, ""))
            .collect()
    }

    fn problems(outcomes: &[Outcome], table: &str, has: &[&str]) -> Vec<String> {
        let has: Vec<String> = has.iter().map(|it| (*it).to_owned()).collect();
        compare(outcomes, &read_expected(table).unwrap(), &has, true)
    }

    #[test]
    fn a_case_passes_or_has_a_row_that_says_what_becomes_of_it() {
        let mut outcomes = all_passed("franz");
        assert_eq!(problems(&outcomes, "", &[]), Vec::<String>::new());
        outcomes[0].verdict = Verdict::Failed;
        outcomes[0].detail = "why".to_owned();
        assert_eq!(
            problems(&outcomes, "", &[]),
            ["franz\tcommits\tfailed\twhy"]
        );
        assert!(problems(&outcomes, "franz\tcommits\tfailed\tbroken", &[]).is_empty());
        let wrong = problems(&outcomes, "franz\tcommits\tskipped\tcannot", &[]);
        assert_eq!(
            wrong,
            ["franz\tcommits\tfailed\twhy; expected.tsv says skipped"]
        );
    }

    #[test]
    fn a_row_of_what_passes_or_is_no_case_is_to_be_taken_out() {
        let outcomes = all_passed("franz");
        let found = problems(&outcomes, "franz\tcommits\tfailed\tbroken", &[]);
        assert_eq!(
            found,
            ["franz\tcommits\tpassed\t; expected.tsv says failed: take the row out"]
        );
        let found = problems(&outcomes, "franz\tno-case\tfailed\tbroken", &[]);
        assert_eq!(
            found,
            ["expected.tsv has franz, no-case, which is no case: take the row out"]
        );
    }

    #[test]
    fn what_the_server_does_not_advertise_needs_no_row_until_it_does() {
        let mut outcomes = all_passed("franz");
        let lacks = "the server has no transactions";
        for each in &mut outcomes {
            if each.case.starts_with("transaction") {
                each.verdict = Verdict::Skipped;
                each.detail = lacks.to_owned();
            }
        }
        assert!(problems(&outcomes, "", &[]).is_empty());
        assert_eq!(problems(&outcomes, "", &["transactions"]).len(), 4);
    }

    #[test]
    fn a_client_that_ends_early_is_noticed() {
        let mut outcomes = all_passed("franz");
        outcomes.truncate(CASES.len() - 2);
        assert_eq!(
            problems(&outcomes, "", &[]),
            ["franz told nothing of transaction-open, transactions"]
        );
    }

    #[test]
    fn some_clients_tell_of_lowered_levels_too() {
        let mut outcomes = all_passed("franz-go");
        assert_eq!(
            problems(&outcomes, "", &[]),
            [format!(
                "franz-go told nothing of {}",
                lowered::cases().join(", ")
            )]
        );
        let told = lowered::cases().into_iter();
        outcomes.extend(told.map(|case| outcome("franz-go", &case, Verdict::Passed, "")));
        assert!(problems(&outcomes, "", &[]).is_empty());
    }

    #[test]
    fn a_line_that_is_no_row_is_named() {
        for (wrong, says) in [
            ("franz\tcommits\tfailed", "four columns"),
            ("franz\tcommits\tpassed\twhy", "neither skipped nor failed"),
            ("franz\tcommits\tfailed\t ", "no reason"),
        ] {
            let error = format!(
                "{:#}",
                read_expected(&format!("# head\n{wrong}")).unwrap_err()
            );
            assert!(
                error.starts_with("expected.tsv:2") && error.contains(says),
                "{error}"
            );
        }
    }
}
