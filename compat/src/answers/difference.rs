//! `answers.txt.zst`, what Apache Kafka answered; `differences.tsv`, where Foz answers otherwise, and why.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, bail, ensure};

use super::shown::Lines;

const HEADER: &str = "count\trequest\tfield\tkafka\tfoz\treason";
/// Every reason begins with one of these. What is a bug goes out when it is mended; `kafka: ` says where Kafka is odd.
const KINDS: [&str; 4] = ["on purpose: ", "later: ", "bug: ", "kafka: "];
/// Stands for any text in a row of `differences.tsv`.
const ANY: char = '*';
const ANY_NUMBER: &str = "*";
/// Of a field that one of them does not have.
const MISSING: &str = "-";

/// Of an element that only one of them has.
const PRESENT: &str = "<element>";

/// Answers by the names of their requests.
pub(crate) type Answers = BTreeMap<String, Lines>;

/// Where two answers differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Difference {
    request: String,
    field: String,
    kafka: String,
    foz: String,
}

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            request,
            field,
            kafka,
            foz,
        } = self;
        write!(f, "{request}\t{field}\t{kafka}\t{foz}")
    }
}

/// A row of `differences.tsv`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Explained {
    /// `*` in the file: any number but none, of what each new key or API adds to.
    count: Option<usize>,
    request: String,
    field: String,
    kafka: String,
    foz: String,
    reason: String,
}

impl Explained {
    fn speaks_of(&self, difference: &Difference) -> bool {
        is_like(&self.request, &difference.request)
            && is_like(&self.field, &difference.field)
            && is_like(&self.kafka, &difference.kafka)
            && is_like(&self.foz, &difference.foz)
    }
}

/// Writes answers as a file.
pub(crate) fn write_answers(answers: &Answers) -> String {
    let mut out = String::new();
    for (request, lines) in answers {
        out.push_str(&format!("# {request}\n"));
        for (field, value) in lines {
            out.push_str(&format!("{field}\t{value}\n"));
        }
    }
    out
}

/// Reads what [`write_answers`] wrote.
///
/// # Errors
/// Names the line that is wrong.
pub(crate) fn read_answers(text: &str) -> Result<Answers> {
    let mut answers = Answers::new();
    let mut current = None;
    for line in text.lines() {
        if let Some(request) = line.strip_prefix("# ") {
            ensure!(!answers.contains_key(request), "twice: {line:?}");
            current = Some(answers.entry(request.to_owned()).or_default());
            continue;
        }
        let (field, value) = line
            .split_once('\t')
            .with_context(|| format!("no field and value: {line:?}"))?;
        let lines = current
            .as_mut()
            .with_context(|| format!("of no request: {line:?}"))?;
        lines.insert(field.to_owned(), value.to_owned());
    }
    Ok(answers)
}

/// Reads `differences.tsv`.
///
/// # Errors
/// Names the line that is wrong.
pub(crate) fn read_explained(text: &str) -> Result<Vec<Explained>> {
    let mut lines = text.lines();
    ensure!(
        lines.next() == Some(HEADER),
        "the first line must be {HEADER:?}"
    );
    lines
        .map(|line| {
            let words: Vec<&str> = line.split('\t').collect();
            let [count, request, field, kafka, foz, reason] = words[..] else {
                bail!("not {HEADER:?}: {line:?}");
            };
            ensure!(
                KINDS
                    .iter()
                    .any(|kind| reason.len() > kind.len() && reason.starts_with(kind)),
                "a reason begins with one of {KINDS:?} and says more: {line:?}"
            );
            Ok(Explained {
                count: match count {
                    ANY_NUMBER => None,
                    _ => Some(
                        count
                            .parse()
                            .with_context(|| format!("the count of {line:?}"))?,
                    ),
                },
                request: request.to_owned(),
                field: field.to_owned(),
                kafka: kafka.to_owned(),
                foz: foz.to_owned(),
                reason: reason.to_owned(),
            })
        })
        .collect()
}

/// Every field of every answer that is not the same. Of an array's element that one of them lacks whole, the element.
pub(crate) fn differences(kafka: &Answers, foz: &Answers) -> Vec<Difference> {
    let none = Lines::new();
    let requests: BTreeSet<&String> = kafka.keys().chain(foz.keys()).collect();
    let mut differences = Vec::new();
    for request in requests {
        let theirs = kafka.get(request).unwrap_or(&none);
        let ours = foz.get(request).unwrap_or(&none);
        let mut seen = BTreeSet::new();
        let fields: BTreeSet<&String> = theirs.keys().chain(ours.keys()).collect();
        for field in fields {
            let (field, kafka, foz) = match (theirs.get(field), ours.get(field)) {
                (Some(kafka), Some(foz)) => (field.as_str(), kafka.as_str(), foz.as_str()),
                (Some(kafka), None) => match lacking(field, ours) {
                    Some(element) => (element, PRESENT, MISSING),
                    None => (field.as_str(), kafka.as_str(), MISSING),
                },
                (None, Some(foz)) => match lacking(field, theirs) {
                    Some(element) => (element, MISSING, PRESENT),
                    None => (field.as_str(), MISSING, foz.as_str()),
                },
                (None, None) => continue,
            };
            if kafka != foz && seen.insert(field) {
                differences.push(Difference {
                    request: request.clone(),
                    field: field.to_owned(),
                    kafka: kafka.to_owned(),
                    foz: foz.to_owned(),
                });
            }
        }
    }
    differences
}

/// The outermost element on the way to the field of which there is nothing in these lines.
fn lacking<'a>(field: &'a str, lines: &Lines) -> Option<&'a str> {
    let ends = field.match_indices(']').map(|(at, _)| at + 1);
    let mut elements = ends.map(|end| &field[..end]);
    elements.find(|element| !lines.keys().any(|line| line.starts_with(element)))
}

/// Differences that no row speaks of, and rows that speak of more or fewer than they count.
pub(crate) fn unexplained(differences: &[Difference], explained: &[Explained]) -> Vec<String> {
    let mut counts = vec![0; explained.len()];
    let mut problems = Vec::new();
    for difference in differences {
        match explained.iter().position(|row| row.speaks_of(difference)) {
            Some(row) => counts[row] += 1,
            None => problems.push(difference.to_string()),
        }
    }
    for (row, count) in explained.iter().zip(counts) {
        let is_right = row.count.map_or(count > 0, |expected| expected == count);
        if !is_right {
            let expected = row.count.map_or("some".to_owned(), |it| it.to_string());
            problems.push(format!(
                "{count} differences, not {expected}, are: {}\t{}\t{}\t{}\t{}",
                row.request, row.field, row.kafka, row.foz, row.reason
            ));
        }
    }
    problems
}

/// Whether the text is the pattern, in which `*` is any text.
fn is_like(pattern: &str, text: &str) -> bool {
    let Some((first, rest)) = pattern.split_once(ANY) else {
        return pattern == text;
    };
    let Some(text) = text.strip_prefix(first) else {
        return false;
    };
    text.char_indices()
        .map(|(at, _)| at)
        .chain([text.len()])
        .any(|at| is_like(rest, &text[at..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answers(text: &str) -> Answers {
        read_answers(text).unwrap()
    }

    #[test]
    fn differences_are_found_and_must_be_explained_as_often_as_they_are() {
        let kafka = answers("# a v1\nerror\t3\nonly\tx\nsame\t1\n# b v1\nerror\t0\n");
        let foz = answers("# a v1\nerror\t6\nmore\ty\nsame\t1\n# b v1\nerror\t0\n");
        let found = differences(&kafka, &foz);
        let shown: Vec<String> = found.iter().map(ToString::to_string).collect();
        assert_eq!(
            shown,
            ["a v1\terror\t3\t6", "a v1\tmore\t-\ty", "a v1\tonly\tx\t-"]
        );
        assert_eq!(unexplained(&found, &[]).len(), 3);
        let rows = |count: &str| {
            let text = format!("{HEADER}\n{count}\ta *\t*o*\t*\t*\tlater: soon\n");
            read_explained(&text).unwrap()
        };
        assert_eq!(unexplained(&found, &rows("3")), Vec::<String>::new());
        let too_many = unexplained(&found, &rows("4"));
        assert!(
            too_many.len() == 1 && too_many[0].starts_with("3 differences, not 4"),
            "{too_many:?}"
        );
        assert_eq!(unexplained(&found, &rows("*")), Vec::<String>::new());
        let none = unexplained(&[], &rows("*"));
        assert!(
            none.len() == 1 && none[0].starts_with("0 differences, not some"),
            "{none:?}"
        );
        assert!(differences(&kafka, &kafka).is_empty());
        assert_eq!(differences(&kafka, &answers("")).len(), 4);
    }

    #[test]
    fn an_element_that_is_missing_is_one_difference() {
        let kafka = answers("# a\nt[x].name\tx\nt[x].p[0].id\t0\nt[y].name\ty\n");
        let foz = answers("# a\nt[y].name\ty\nt[y].p[1].id\t1\nt[y].p[1].more\t1\n");
        let shown: Vec<String> = differences(&kafka, &foz)
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(
            shown,
            ["a\tt[x]\t<element>\t-", "a\tt[y].p[1]\t-\t<element>"]
        );
    }

    #[test]
    fn a_star_is_any_text() {
        for (pattern, text, is) in [
            ("a", "a", true),
            ("a", "ab", false),
            ("a*", "ab", true),
            ("*b", "ab", true),
            ("a*c*", "abcd", true),
            ("a*d", "abc", false),
            ("*", "", true),
        ] {
            assert_eq!(is_like(pattern, text), is, "{pattern} {text}");
        }
    }

    #[test]
    fn what_is_written_is_read_and_a_wrong_line_is_named() {
        let text = "# a v1\nerror\t3\n";
        assert_eq!(write_answers(&answers(text)), text);
        for wrong in ["error\t3\n", "# a\nerror\n", "# a\n# a\n"] {
            assert!(read_answers(wrong).is_err(), "{wrong:?}");
        }
        let right = "1\ta\tb\tc\td\tlater: soon";
        assert_eq!(
            read_explained(&format!("{HEADER}\n{right}\n"))
                .unwrap()
                .len(),
            1
        );
        for wrong in [
            "1\ta\tb\tc\td\tlater: ",
            "1\ta\tb\tc\td\tsoon",
            "x\ta\tb\tc\td\tlater: soon",
            "1\ta",
        ] {
            assert!(
                read_explained(&format!("{HEADER}\n{wrong}\n")).is_err(),
                "{wrong:?}"
            );
        }
        assert!(read_explained(right).is_err());
    }

    #[test]
    fn the_tables_of_this_repository_can_be_read() {
        let kept = crate::compressed::decompress(include_bytes!("../../answers.txt.zst")).unwrap();
        let kafka = read_answers(&kept).unwrap();
        let explained = read_explained(include_str!("../../differences.tsv")).unwrap();
        // Each row names a request that was asked.
        for row in explained {
            let asked = kafka.keys().any(|request| is_like(&row.request, request));
            assert!(asked && row.count != Some(0), "{row:?}");
        }
    }
}
