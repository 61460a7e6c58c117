use kafka_protocol::ResponseError;

use super::harness::*;
use crate::consumer::{ConsumerGroupState, ConsumerRecord};
use crate::response::wire;

#[test]
fn a_static_member_comes_back_to_its_partitions() {
    let mut harness = Harness::new();
    harness.ok(&join_as("i", "a"));
    harness.advance(1_000);
    let of_i = |member_id, epoch| request(member_id, epoch).with_instance_id(Some(wire("i")));
    assert_eq!(harness.refused(&join_as("i", "b")), UNRELEASED_INSTANCE_ID);
    assert_eq!(harness.refused(&of_i("b", 1)), FENCED_INSTANCE_ID);
    assert_eq!(harness.refused(&of_i("b", -1)), FENCED_INSTANCE_ID);
    let unheard_of = request("a", 1).with_instance_id(Some(wire("j")));
    assert_eq!(harness.refused(&unheard_of), UNKNOWN_MEMBER_ID);
    // The same process, whose first answer was lost.
    assert_eq!(harness.ok(&join_as("i", "a")).member_epoch, 1);

    assert_eq!(harness.ok(&of_i("a", -2)).member_epoch, -2);
    assert_eq!(harness.refused(&of_i("a", 1)), FENCED_MEMBER_EPOCH);
    let outcome = harness.beat(&join_as("i", "b")).unwrap();
    assert_eq!(outcome.response.member_epoch, 1);
    assert_eq!(told(&outcome.response), Some(orders(&[0, 1, 2, 3])));
    assert_eq!(harness.group.epochs(), (1, 1));
    assert_eq!(harness.group.members().len(), 1);
    assert_eq!(harness.refused(&of_i("a", 1)), FENCED_INSTANCE_ID);
    // The deadline of the one that went is gone, too.
    assert_eq!(harness.deadlines.len(), 1);

    // Away for too long.
    harness.ok(&of_i("b", -2));
    assert_eq!(harness.advance(10_000).len(), 1);
    assert_eq!(harness.group.state(), ConsumerGroupState::Empty);
}

#[test]
fn a_static_member_that_leaves_for_good_is_gone() {
    let mut harness = Harness::new();
    harness.ok(&join_as("i", "a"));
    let leave = request("a", -1).with_instance_id(Some(wire("i")));
    harness.ok(&leave);
    assert_eq!(harness.group.state(), ConsumerGroupState::Empty);
    assert_eq!(harness.refused(&leave), UNKNOWN_MEMBER_ID);
    harness.ok(&join_as("i", "b"));
}

#[test]
fn a_full_group_takes_no_new_member_but_the_next_process_of_an_old_one() {
    let mut harness = Harness::new();
    harness.config.max_size = 1;
    harness.ok(&join_as("i", "a"));
    let code = harness.refused(&join("b", &["orders"]));
    assert_eq!(code, ResponseError::GroupMaxSizeReached.code());
    harness.ok(&request("a", -2).with_instance_id(Some(wire("i"))));
    harness.ok(&join_as("i", "c"));
    assert_eq!(harness.group.members().len(), 1);
}

#[test]
fn who_is_away_has_revoked_what_it_was_asked_to() {
    let mut harness = Harness::new();
    harness.ok(&join_as("i", "a"));
    harness.advance(1_000);
    harness.ok(&join("b", &["orders"]));
    harness.ok(&request("a", 1));
    harness.ok(&request("a", -2).with_instance_id(Some(wire("i"))));
    assert_eq!(told(&harness.ok(&request("b", 2))), Some(orders(&[2, 3])));
    // Nobody waits for it but its session.
    assert_eq!(harness.advance(3_000).len(), 0);
    let response = harness.ok(&join_as("i", "c"));
    assert_eq!(
        (response.member_epoch, told(&response)),
        (2, Some(orders(&[0, 1])))
    );
    assert_eq!(harness.group.target("c"), Some(&orders(&[0, 1])));
    // It reads them from the start, as far as commits are concerned.
    let assigned = &harness.group.members()["c"].current.assigned;
    assert!(
        assigned
            .values()
            .flat_map(|of_topic| of_topic.values())
            .all(|epoch| *epoch == 0)
    );
}

/// Its join hangs, it gives up and leaves for a while over another connection: what comes late is not to bring it
/// back, or the next process has to wait for the end of its session.
#[test]
fn a_join_that_comes_after_its_member_went_away_is_refused() {
    let mut harness = Harness::new();
    harness.ok(&join_as("i", "a"));
    harness.connection = 2;
    harness.ok(&request("a", -2).with_instance_id(Some(wire("i"))));
    harness.connection = 1;
    let unavailable = ResponseError::CoordinatorNotAvailable.code();
    assert_eq!(harness.refused(&join_as("i", "a")), unavailable);
    harness.connection = 3;
    assert_eq!(harness.ok(&join_as("i", "b")).member_epoch, 1);
}

#[test]
fn a_request_that_is_refused_tells_of_its_connection_too() {
    let mut harness = Harness::new();
    harness.ok(&join_as("i", "a"));
    harness.connection = 2;
    assert_eq!(
        harness.refused(&request("a", 7).with_instance_id(Some(wire("i")))),
        FENCED_MEMBER_EPOCH
    );
    harness.connection = 1;
    let unavailable = ResponseError::CoordinatorNotAvailable.code();
    assert_eq!(harness.refused(&join_as("i", "a")), unavailable);
    // It was not told anything over that connection yet.
    harness.connection = 2;
    let at_its_epoch = request("a", 1).with_instance_id(Some(wire("i")));
    assert_eq!(
        told(&harness.ok(&at_its_epoch)),
        Some(orders(&[0, 1, 2, 3]))
    );
    assert_eq!(told(&harness.ok(&at_its_epoch)), None);

    // Nor is it forgotten when the next process is refused.
    let away = request("a", -2).with_instance_id(Some(wire("i")));
    harness.ok(&away);
    harness.connection = 3;
    harness.config.batch_bytes_max = 100;
    harness.refused(&join_as("i", "b"));
    harness.config.batch_bytes_max = 1_048_588;
    harness.connection = 1;
    assert_eq!(harness.refused(&join_as("i", "a")), unavailable);
    harness.connection = 3;
    harness.ok(&join_as("i", "b"));
    // The one that went has no connection any more.
    assert_eq!(
        Vec::from_iter(harness.group.connections.keys()),
        [&"b".into()]
    );
}

/// No consumer does it: its own member id, with the instance of another that is away.
#[test]
fn what_a_member_had_is_free_when_it_takes_anothers_place() {
    let mut harness = Harness::new();
    harness.set_topic("other", 2, 2);
    harness.ok(&join_as("i", "a"));
    let joins = join("b", &[]).with_subscribed_topic_regex(Some(wire("ot.*")));
    let to_resolve = harness.beat(&joins).unwrap().to_resolve;
    harness.resolve(&to_resolve);
    harness.advance(1_000);
    harness.ok(&joins);
    assert!(!harness.group.target("b").unwrap().is_empty());
    harness.ok(&request("a", -2).with_instance_id(Some(wire("i"))));
    let (epoch, _) = harness.group.epochs();

    let outcome = harness.beat(&join_as("i", "b")).unwrap();
    assert_eq!(harness.group.epochs().0, epoch + 1);
    let forgotten = ConsumerRecord::Regex {
        regex: "ot.*".into(),
        resolved: None,
    };
    assert!(outcome.records.contains(&forgotten), "{outcome:?}");
    assert!(!harness.group.is_subscribed_to("other"));
    assert_eq!(told(&outcome.response), Some(orders(&[0, 1, 2, 3])));
    assert_eq!(harness.group.members().len(), 1);
}
