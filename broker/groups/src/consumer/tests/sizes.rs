//! What fits in no batch.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::TopicName;

use super::harness::*;
use crate::consumer::record::batch_bytes;
use crate::consumer::{ConsumerGroupState, ConsumerRecord, MemberState, TooLarge};
use crate::response::wire;

const TOO_LARGE: i16 = ResponseError::UnknownServerError.code();

#[test]
fn a_target_that_is_too_large_is_left_out_and_harms_nobody() {
    let mut harness = two_members();
    harness.advance(9_000);
    harness.ok(&request("b", 2));
    harness.set_topic("orders", 1, 1_000);
    harness.config.batch_bytes_max = 2_000;
    let outcome = harness.beat(&request("a", 2)).unwrap();
    let Some(TooLarge::Target {
        epoch: 3,
        kept_epoch: 2,
        bytes,
        bytes_max: 2_000,
    }) = outcome.too_large
    else {
        panic!("{outcome:?}")
    };
    assert!(bytes > 2_000);
    assert_eq!(outcome.response.member_epoch, 2);
    assert!(
        matches!(outcome.records[..], [ConsumerRecord::Epoch(Some(_))]),
        "{outcome:?}"
    );
    assert_eq!(harness.group.state(), ConsumerGroupState::Assigning);
    assert_eq!(harness.group.target("a"), Some(&orders(&[0, 1])));

    // The assignor does not run at every beat.
    for wait_ms in [5_000, 4_999] {
        harness.advance(wait_ms);
        for member_id in ["a", "b"] {
            let outcome = harness.beat(&request(member_id, 2)).unwrap();
            assert_eq!((outcome.records, outcome.too_large), (vec![], None));
        }
    }
    // Who comes has nothing, for now.
    let response = harness.ok(&join("c", &["orders"]));
    assert_eq!(
        (response.member_epoch, told(&response)),
        (2, Some(orders(&[])))
    );
    harness.advance(1);
    assert!(harness.beat(&request("a", 2)).unwrap().too_large.is_some());
    harness.ok(&request("b", 2));

    harness.config.batch_bytes_max = 1_048_588;
    for member_id in ["c", "b", "a"] {
        harness.advance(3_333);
        assert_eq!(harness.ok(&request(member_id, 2)).member_epoch, 2);
    }
    harness.advance(1);
    harness.ok(&request("b", 2));
    assert_eq!(harness.group.epochs(), (4, 4));
    assert_eq!(harness.group.target_failed_ms, None);
}

/// What a member lets go of, others get, whatever becomes of the next target.
#[test]
fn a_target_that_is_too_large_holds_no_revocation_up() {
    let mut harness = Harness::new();
    harness.ok(&join("a", &["orders"]));
    harness.advance(1_000);
    harness.ok(&join("b", &["orders"]));
    harness.ok(&request("a", 1));
    harness.advance(1_000);
    harness.set_topic("orders", 1, 1_000);
    harness.config.batch_bytes_max = 2_000;
    let revoked = request("a", 1).with_topic_partitions(Some(wire_partitions(&orders(&[0, 1]))));
    let outcome = harness.beat(&revoked).unwrap();
    assert!(outcome.too_large.is_some());
    assert_eq!(outcome.response.member_epoch, 2);
    assert_eq!(told(&harness.ok(&request("b", 2))), Some(orders(&[2, 3])));
}

/// Java's consumer takes the refusal for the end: it has to be its own doing.
#[test]
fn a_request_that_asks_for_too_much_is_refused_and_keeps_the_member() {
    let mut harness = two_members();
    harness.advance(9_000);
    harness.config.batch_bytes_max = 3_000;
    // Topics that do not exist count in the record of the member.
    let names = (0..300).map(|number| TopicName(wire(&format!("topic-{number:05}"))));
    let names = Vec::from_iter(names);
    let many = request("b", 2).with_subscribed_topic_names(Some(names.clone()));
    let late = join("c", &[]).with_subscribed_topic_names(Some(names));
    for refused in [many, late] {
        assert_eq!(harness.refused(&refused), TOO_LARGE);
    }
    assert_eq!(harness.group.epochs(), (2, 2));
    // The one is alive, the other never was a member.
    assert_eq!(harness.advance(9_000).len(), 1);
    assert_eq!(harness.deadlines.len(), 1);
    assert_eq!(harness.group.members().keys().next().unwrap().as_ref(), "b");
}

#[test]
fn one_that_is_alone_is_told_that_its_target_is_too_large() {
    let mut harness = Harness::new();
    harness.set_topic("large", 2, 1_000);
    harness.config.batch_bytes_max = 4_000;
    for _ in 0..2 {
        assert_eq!(harness.refused(&join("a", &["large"])), TOO_LARGE);
        assert!(harness.group.is_unused());
    }
    harness.ok(&join("a", &["orders"]));
    harness.advance(1_000);
    let names = Some(vec![TopicName(wire("large"))]);
    let change = request("a", 1).with_subscribed_topic_names(names);
    assert_eq!(harness.refused(&change), TOO_LARGE);
    // It has not asked for what the topic becomes.
    harness.set_topic("orders", 1, 1_000);
    let all = full("a", 1, &["orders"], &orders(&[0, 1, 2, 3]));
    let outcome = harness.beat(&all.with_rack_id(Some(wire("elsewhere"))));
    let outcome = outcome.unwrap();
    assert!(matches!(outcome.too_large, Some(TooLarge::Target { .. })));
    assert_eq!(outcome.response.member_epoch, 1);
    assert_eq!(told(&outcome.response), Some(orders(&[0, 1, 2, 3])));
}

/// The topic's `max.message.bytes` can be lowered under what a member has.
#[test]
fn a_member_whose_step_is_too_large_stays_where_it_is() {
    let mut harness = Harness::new();
    harness.ok(&join("a", &["orders"]));
    harness.advance(1_000);
    harness.ok(&join("b", &["orders"]));
    harness.config.batch_bytes_max = 70;
    for request in [
        request("a", 1),
        full("a", 1, &["orders"], &orders(&[0, 1, 2, 3])),
    ] {
        let outcome = harness.beat(&request).unwrap();
        assert!(
            matches!(outcome.too_large, Some(TooLarge::Step { .. })),
            "{outcome:?}"
        );
        assert_eq!(outcome.records, []);
        assert_eq!(outcome.response.member_epoch, 1);
        let member = &harness.group.members()["a"];
        assert_eq!(member.current.state, MemberState::Stable);
    }
    // Not even the epoch of the group.
    harness.set_topic("orders", 1, 5);
    let outcome = harness.beat(&request("a", 1)).unwrap();
    assert_eq!((outcome.records, harness.group.epochs()), (vec![], (2, 2)));
    harness.config.batch_bytes_max = 1_048_588;
    assert_eq!(told(&harness.ok(&request("a", 1))).unwrap().len(), 1);
    assert_eq!(harness.group.epochs().0, 3);
}

/// A member that comes back cannot be told of an epoch that it has none of.
#[test]
fn a_static_member_that_cannot_come_back_is_refused() {
    let mut harness = Harness::new();
    harness.ok(&join_as("i", "a"));
    harness.ok(&request("a", -2).with_instance_id(Some(wire("i"))));
    harness.config.batch_bytes_max = 100;
    for member_id in ["a", "b"] {
        assert_eq!(harness.refused(&join_as("i", member_id)), TOO_LARGE);
    }
    harness.config.batch_bytes_max = 1_048_588;
    let response = harness.ok(&join_as("i", "b"));
    assert_eq!(told(&response), Some(orders(&[0, 1, 2, 3])));
}

/// To the byte: what a batch holds is not refused for a bound that is above it.
#[test]
fn a_batch_may_be_full() {
    let mut harness = Harness::new();
    let unused = harness.group.clone();
    let records = harness.beat(&join("a", &["orders"])).unwrap().records;
    let bytes = batch_bytes(&records, unused.id());
    let bounds = records.iter().map(|record| record.bytes_max(unused.id()));
    assert!(bytes < bounds.sum());
    for (bytes_max, is_taken) in [(bytes - 1, false), (bytes, true)] {
        harness.group = unused.clone();
        harness.config.batch_bytes_max = bytes_max;
        assert_eq!(harness.beat(&join("a", &["orders"])).is_ok(), is_taken);
    }
}
