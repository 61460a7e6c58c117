use std::collections::BTreeSet;
use std::sync::Arc;

use kafka_protocol::ResponseError;

use super::harness::*;
use crate::consumer::{ConsumerRecord, Resolution, TooLarge};
use crate::response::wire;

#[test]
fn a_regular_expression_matches_nothing_till_it_is_resolved() {
    let mut harness = Harness::new();
    harness.set_topic("other", 2, 1);
    let names = |name: &str| Some(wire(name));
    let first = join("a", &[]).with_subscribed_topic_regex(names("o.*"));
    let outcome = harness.beat(&first).unwrap();
    assert_eq!(told(&outcome.response), Some(orders(&[])));
    assert_eq!(outcome.to_resolve, ["o.*".into()]);
    // It is asked for once.
    assert_eq!(harness.beat(&request("a", 1)).unwrap().to_resolve, []);
    harness.advance(1_000);
    let resolution = harness.resolve(&outcome.to_resolve);
    assert_eq!(harness.group.epochs(), (2, 1));
    assert!(matches!(
        resolution.batches[0].records[0],
        ConsumerRecord::Regex { .. }
    ));
    assert!(harness.group.is_subscribed_to("other"));
    assert_eq!(told(&harness.ok(&request("a", 1))).unwrap().len(), 2);

    // New topics are looked at after a while.
    harness.set_topic("oysters", 3, 1);
    harness.advance(9_999);
    assert_eq!(harness.beat(&request("a", 2)).unwrap().to_resolve, []);
    harness.advance(1);
    let to_resolve = harness.beat(&request("a", 2)).unwrap().to_resolve;
    harness.resolve(&to_resolve);
    assert_eq!(told(&harness.ok(&request("a", 2))).unwrap().len(), 3);

    // Nothing new: only after a long time.
    for (duration_ms, is_due) in [(10_000, false), (590_000, true), (10_000, false)] {
        for _ in 0..duration_ms / 5_000 {
            harness.advance(5_000);
            harness.ok(&request("a", 3).with_topic_partitions(None));
        }
        let is_asked = harness.group.is_resolving;
        assert_eq!(is_asked, is_due, "{duration_ms}");
        if is_asked {
            let resolution = harness.resolve(&["o.*".into()]);
            // It is known to be right again, and nothing else.
            let [change] = &resolution.batches[..] else {
                panic!("{resolution:?}")
            };
            assert_eq!(change.records.len(), 1);
        }
    }
    assert_eq!(harness.group.epochs(), (3, 3));

    // The last that subscribes to it takes it along.
    let outcome = harness.beat(&request("a", 3).with_subscribed_topic_regex(names("")));
    let forgotten = ConsumerRecord::Regex {
        regex: "o.*".into(),
        resolved: None,
    };
    let outcome = outcome.unwrap();
    assert!(outcome.records.contains(&forgotten));
    assert_eq!(harness.group.epochs(), (4, 4));
    assert!(!harness.group.is_subscribed_to("orders"));
    // What comes late of it changes nothing.
    assert_eq!(harness.resolve(&["o.*".into()]), Resolution::default());
}

#[test]
fn a_regular_expression_that_is_resolved_serves_who_comes_later() {
    let mut harness = Harness::new();
    let joins = |member_id| join(member_id, &[]).with_subscribed_topic_regex(Some(wire("o.*")));
    let to_resolve = harness.beat(&joins("a")).unwrap().to_resolve;
    // It cannot be, or does not fit in a batch: asked for again, in time.
    for limit in [usize::MAX, 100] {
        harness.config.batch_bytes_max = limit;
        let failed = match limit {
            100 => harness.resolve(&to_resolve),
            _ => harness.resolve(&[]),
        };
        assert_eq!(failed.batches.len(), 0);
        assert_eq!(failed.too_large.len(), usize::from(limit == 100));
        harness.config.batch_bytes_max = usize::MAX;
        harness.advance(5_000);
        assert_eq!(harness.beat(&request("a", 1)).unwrap().to_resolve, []);
        harness.advance(4_999);
        assert_eq!(harness.beat(&request("a", 1)).unwrap().to_resolve, []);
        harness.advance(1);
        let again = harness.beat(&request("a", 1)).unwrap().to_resolve;
        assert_eq!(again, to_resolve);
    }
    harness.resolve(&to_resolve);
    harness.advance(1_000);
    harness.ok(&request("a", 1));
    harness.advance(1_000);
    let outcome = harness.beat(&joins("b")).unwrap();
    assert_eq!(outcome.to_resolve, []);
    assert_eq!(
        harness.group.target("b").map(|target| target.len()),
        Some(1)
    );
    // One of two goes: it is in use still.
    let outcome = harness.beat(&request("a", -1)).unwrap();
    assert!(
        !outcome
            .records
            .iter()
            .any(|record| matches!(record, ConsumerRecord::Regex { .. }))
    );
    harness.ok(&request("b", -1));
    assert!(harness.group.resolved.is_empty());
    assert!(!harness.group.is_subscribed_to("orders"));
}

/// Members of one group, each with an expression of its own.
fn joined_by(regexes: &[&str]) -> (Harness, Vec<Arc<str>>) {
    let mut harness = Harness::new();
    harness.set_topic("other", 2, 1);
    harness.set_topic("third", 3, 1);
    for regex in regexes {
        let request = join(regex, &[]).with_subscribed_topic_regex(Some(wire(regex)));
        harness.beat(&request).unwrap();
    }
    let regexes = regexes.iter().map(|regex| Arc::from(*regex));
    (harness, regexes.collect())
}

#[test]
fn an_expression_that_matches_too_much_holds_no_other_up() {
    let (mut harness, regexes) = joined_by(&["o.*", "t.*"]);
    let many = (0..20).map(|number| Arc::from(format!("other-{number:010}")));
    let matches = [
        (regexes[0].clone(), BTreeSet::from_iter(many)),
        (regexes[1].clone(), BTreeSet::from(["third".into()])),
    ];
    harness.config.batch_bytes_max = 300;
    let resolve = |harness: &mut Harness, matches: &[_]| {
        let Harness {
            group,
            topics,
            config,
            now,
            ..
        } = harness;
        group.resolve(matches, topics.version(), topics, config, *now)
    };
    let resolution = resolve(&mut harness, &matches);
    let [TooLarge::Regex { regex, bytes, .. }] = &resolution.too_large[..] else {
        panic!("{resolution:?}")
    };
    assert!(**regex == *"o.*" && *bytes > 300, "{resolution:?}");
    assert_eq!(resolution.batches.len(), 1);
    assert!(harness.group.is_subscribed_to("third"));
    assert!(!harness.group.is_subscribed_to("other-0000000000"));
    // It would match no less: till names come it is not asked for again.
    let beat = |harness: &mut Harness| {
        for regex in ["o.*", "t.*"] {
            let epoch = harness.group.members()[regex].current.epoch;
            let outcome = harness.beat(&request(regex, epoch)).unwrap();
            if !outcome.to_resolve.is_empty() {
                return outcome.to_resolve;
            }
        }
        Vec::new()
    };
    for _ in 0..6 {
        harness.advance(5_000);
        assert_eq!(beat(&mut harness), []);
    }
    harness.set_topic("oysters", 4, 1);
    assert_eq!(beat(&mut harness), regexes);
    harness.config.batch_bytes_max = usize::MAX;
    let resolution = resolve(&mut harness, &matches);
    assert_eq!(resolution.too_large, []);
    assert!(harness.group.is_subscribed_to("other-0000000000"));
    assert!(harness.group.too_large_regexes.is_empty());
}

#[test]
fn expressions_are_resolved_in_several_batches_if_need_be() {
    let (mut harness, regexes) = joined_by(&["o.*", "or.*", "ot.*", "t.*", "x.*"]);
    let before = harness.group.clone();
    harness.config.batch_bytes_max = 400;
    let resolution = harness.resolve(&regexes);
    assert_eq!(resolution.too_large, []);
    let batches = resolution.batches.into_iter().map(|change| change.records);
    let batches = Vec::from_iter(batches);
    assert!(batches.len() > 1, "{batches:?}");
    assert!(batches[0].len() > 2, "{batches:?}");
    // Whoever loads the group between two of them has a group that knows it has changed.
    let mut loaded = before;
    for batch in &batches {
        assert!(matches!(batch.last(), Some(ConsumerRecord::Epoch(Some(_)))));
        let epoch = loaded.epochs().0;
        for record in batch {
            loaded.apply(record);
        }
        assert_eq!(loaded.epochs().0, epoch + 1);
    }
    assert!(loaded == harness.group);
    assert_eq!(harness.group.resolved.len(), 5);
}

#[test]
fn only_names_that_come_make_expressions_be_resolved_anew() {
    let (mut harness, regexes) = joined_by(&["o.*"]);
    harness.resolve(&regexes);
    let beat = |harness: &mut Harness| {
        let mut to_resolve = Vec::new();
        for _ in 0..2 {
            harness.advance(5_000);
            to_resolve.extend(harness.beat(&join("o.*", &[])).unwrap().to_resolve);
        }
        to_resolve
    };
    harness.set_topic("other", 2, 5);
    assert_eq!(beat(&mut harness), []);
    harness.made_of.get_mut("other").unwrap().2 = "elsewhere";
    harness.make_topics();
    assert_eq!(beat(&mut harness), []);
    harness.made_of.remove("third");
    harness.make_topics();
    assert_eq!(beat(&mut harness), []);
    harness.set_topic("third", 9, 1);
    assert_eq!(beat(&mut harness), regexes);
}

#[test]
fn a_group_has_so_many_expressions_and_no_more() {
    let mut harness = Harness::new();
    let joins = |member: &str, regex: &str| {
        join(member, &[]).with_subscribed_topic_regex(Some(wire(regex)))
    };
    for number in 0..1_000 {
        harness.ok(&joins(&format!("{number}"), &format!("o{number}")));
    }
    let invalid = ResponseError::InvalidRegularExpression.code();
    assert_eq!(harness.refused(&joins("late", "other")), invalid);
    // One that others have is no other, and who is the last to let go of one may bring one.
    harness.ok(&joins("late", "o5"));
    let change = |member| request(member, 1).with_subscribed_topic_regex(Some(wire("other")));
    assert_eq!(harness.refused(&change("5")), invalid);
    harness.ok(&change("6"));
    assert_eq!(harness.group.regexes.len(), 1_000);
}
