use super::harness::*;
use crate::consumer::ConsumerRecord;
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
    let change = harness.resolve(&outcome.to_resolve).unwrap();
    assert_eq!(harness.group.epochs(), (2, 1));
    assert!(matches!(change.records[0], ConsumerRecord::Regex { .. }));
    assert!(harness.group.is_subscribed_to("other"));
    assert_eq!(told(&harness.ok(&request("a", 1))).unwrap().len(), 2);

    // New topics are looked at after a while.
    harness.set_topic("oysters", 3, 1);
    harness.advance(9_999);
    assert_eq!(harness.beat(&request("a", 2)).unwrap().to_resolve, []);
    harness.advance(1);
    let to_resolve = harness.beat(&request("a", 2)).unwrap().to_resolve;
    harness.resolve(&to_resolve).unwrap();
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
            let change = harness.resolve(&["o.*".into()]).unwrap();
            // It is known to be right again, and nothing else.
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
    assert_eq!(harness.resolve(&["o.*".into()]).unwrap().records, []);
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
            100 => harness.resolve(&to_resolve).map(|_| ()),
            _ => harness.resolve(&[]).map(|_| ()),
        };
        assert_eq!(failed.is_err(), limit == 100);
        harness.config.batch_bytes_max = usize::MAX;
        harness.advance(9_999);
        assert_eq!(harness.beat(&request("a", 1)).unwrap().to_resolve, []);
        harness.advance(1);
        let again = harness.beat(&request("a", 1)).unwrap().to_resolve;
        assert_eq!(again, to_resolve);
    }
    harness.resolve(&to_resolve).unwrap();
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
