//! The regular expressions of consumer groups: never on the thread of a coordinator.

use std::collections::BTreeSet;
use std::sync::Arc;

use foz_groups::Topics;
use regex::bytes::{Regex, RegexBuilder};

/// Memory that one compiled expression may take; its time is linear in the length of a topic's name.
const COMPILED_BYTES_MAX: usize = 1 << 20;

/// Matches the whole name of a topic, as Kafka's does.
pub(crate) fn compile(regex: &str) -> Result<Regex, regex::Error> {
    // By itself first: `a)|(b` is none.
    build(regex)?;
    build(&format!(r"\A(?:{regex})\z"))
}

/// The topics that each expression matches, of those that `may_describe` lets pass. One that does not compile, as
/// it may have in the broker that took it, matches nothing.
pub(super) fn resolve(
    regexes: Vec<Arc<str>>,
    topics: &Topics,
    may_describe: impl Fn(&str) -> bool,
) -> Vec<(Arc<str>, BTreeSet<Arc<str>>)> {
    let visible: Vec<&Arc<str>> = topics.names().filter(|name| may_describe(name)).collect();
    let matches = regexes.into_iter().map(|regex| {
        let compiled = compile(&regex).ok();
        let matched = visible.iter().filter(|name| {
            let compiled = compiled.as_ref();
            compiled.is_some_and(|compiled| compiled.is_match(name.as_bytes()))
        });
        let matched = matched.map(|name| Arc::clone(name)).collect();
        (regex, matched)
    });
    matches.collect()
}

/// Names of topics are ASCII, and classes of Unicode are large (`\w` in Kafka's RE2/J is of ASCII, too). What makes
/// sense as Unicode only is taken as that.
fn build(regex: &str) -> Result<Regex, regex::Error> {
    let build = |unicode| {
        let mut builder = RegexBuilder::new(regex);
        builder.size_limit(COMPILED_BYTES_MAX).unicode(unicode);
        builder.build()
    };
    build(false).or_else(|_| build(true))
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use foz_groups::Topic;
    use uuid::Uuid;

    use super::*;

    fn matched(regex: &str) -> Vec<String> {
        let names = ["orders", "orders-eu", "payments", "__consumer_offsets"];
        let topics = names.iter().zip(1..).map(|(name, id)| {
            let topic = Topic::new(name, Uuid::from_u128(id), &[vec![]]);
            (Arc::from(*name), topic)
        });
        let topics = Topics::new(1, topics);
        let may_describe = |name: &str| name != "payments";
        let resolved = resolve(vec![Arc::from(regex)], &topics, may_describe);
        assert_eq!(*resolved[0].0, *regex);
        resolved[0].1.iter().map(|name| name.to_string()).collect()
    }

    #[test]
    fn the_whole_name_has_to_match_and_be_visible() {
        for (regex, expected) in [
            ("orders", &["orders"][..]),
            ("orders.*", &["orders", "orders-eu"]),
            ("orders|x", &["orders"]),
            ("rders", &[]),
            ("payments", &[]),
            (".*", &["__consumer_offsets", "orders", "orders-eu"]),
            ("(?i)ORDERS", &["orders"]),
            // It does not compile.
            ("(", &[]),
        ] {
            assert_eq!(matched(regex), expected, "{regex}");
        }
    }

    #[test]
    fn what_is_no_expression_or_too_large_a_one_does_not_compile() {
        for regex in ["(", "a)|(b", "[", "a{1000000}", "(?:(?:a{100}){100}){100}"] {
            assert!(compile(regex).is_err(), "{regex}");
        }
        for regex in [
            "",
            "a|b",
            "(a+)+$",
            "[a-z]{1,20}",
            r"[\w.-]{1,249}",
            r"\p{L}+",
            "[é]",
        ] {
            assert!(compile(regex).is_ok(), "{regex}");
        }
    }

    /// Whoever goes back and tries the next way takes some 2 to the power of 240 steps for each of these names.
    #[test]
    fn what_has_exponentially_many_ways_takes_no_longer_than_other_expressions() {
        const TOPICS: u128 = 10_000;
        let name = |n| format!("{}{n:04}-", "a".repeat(244));
        let topics = (0..TOPICS).map(|n| {
            let name: Arc<str> = Arc::from(name(n));
            let topic = Topic::new(&name, Uuid::from_u128(n + 1), &[vec![]]);
            (name, topic)
        });
        let topics = Topics::new(1, topics.chain([one("aaab")]));
        let regexes = [
            "(a+)+b",
            "(a|aa)+b",
            "(.*a){25}b",
            "((a*)*)*b",
            "a{0,200}(a|aa)*b",
        ];
        let (resolved, done) = mpsc::channel();
        // Not waited for should it never end.
        std::thread::spawn(move || {
            let regexes = regexes.map(Arc::from).to_vec();
            resolved.send(resolve(regexes, &topics, |_| true))
        });
        let resolved = done.recv_timeout(Duration::from_secs(30)).unwrap();
        for (regex, matched) in resolved {
            let expected = if *regex == *"(.*a){25}b" { 0 } else { 1 };
            assert_eq!(matched.len(), expected, "{regex}");
        }
    }

    fn one(name: &str) -> (Arc<str>, Topic) {
        (
            Arc::from(name),
            Topic::new(name, Uuid::from_u128(u128::MAX), &[vec![]]),
        )
    }
}
