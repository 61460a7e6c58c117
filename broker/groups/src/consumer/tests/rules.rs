use std::sync::Arc;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::{ConsumerGroupHeartbeatRequest, TopicName};
use uuid::Uuid;

use super::harness::*;
use crate::assignor::{Assignor, Partitions};
use crate::consumer::{
    ConsumerGroupState, ConsumerRecord, ConsumerTimer, GroupEpoch, MemberState, TargetEpoch, Topic,
    Topics,
};
use crate::processor_time::processor_ms;
use crate::response::wire;

fn epoch_of(harness: &Harness, member_id: &str) -> i32 {
    harness.group.members()[member_id].current.epoch
}

#[test]
fn partitions_pass_from_member_to_member_in_steps() {
    let mut harness = Harness::new();
    let response = harness.ok(&join("a", &["orders"]));
    assert_eq!(response.member_epoch, 1);
    assert_eq!(response.heartbeat_interval_ms, 5_000);
    assert_eq!(told(&response), Some(orders(&[0, 1, 2, 3])));

    harness.advance(1_000);
    let response = harness.ok(&join("b", &["orders"]));
    // Nothing is free yet.
    assert_eq!(
        (response.member_epoch, told(&response)),
        (2, Some(orders(&[])))
    );
    assert_eq!(harness.group.state(), ConsumerGroupState::Reconciling);

    // The first is to let go, and stays at its epoch till it has.
    let response = harness.ok(&request("a", 1));
    assert_eq!(
        (response.member_epoch, told(&response)),
        (1, Some(orders(&[0, 1])))
    );
    for owned in [&[0, 1, 2, 3][..], &[0, 1, 2]] {
        let still = request("a", 1).with_topic_partitions(Some(wire_partitions(&orders(owned))));
        let response = harness.ok(&still);
        assert_eq!((response.member_epoch, told(&response)), (1, None));
        assert_eq!(told(&harness.ok(&request("b", 2))), None);
    }

    let revoked = request("a", 1).with_topic_partitions(Some(wire_partitions(&orders(&[0, 1]))));
    let response = harness.ok(&revoked);
    assert_eq!((response.member_epoch, told(&response)), (2, None));
    let response = harness.ok(&request("b", 2));
    assert_eq!(
        (response.member_epoch, told(&response)),
        (2, Some(orders(&[2, 3])))
    );
    assert_eq!(harness.group.state(), ConsumerGroupState::Stable);

    // Who has nothing to do writes nothing, and is told its assignment when it asks for all.
    let outcome = harness.beat(&request("b", 2)).unwrap();
    assert_eq!(
        (outcome.records, outcome.response.assignment),
        (vec![], None)
    );
    let all = full("b", 2, &["orders"], &orders(&[2, 3]));
    assert_eq!(told(&harness.ok(&all)), Some(orders(&[2, 3])));
}

#[test]
fn requests_that_make_no_sense_are_refused() {
    let first = || join("a", &["orders"]);
    let invalid: Vec<ConsumerGroupHeartbeatRequest> = vec![
        first().with_group_id(Default::default()),
        first().with_member_id(wire("")),
        first().with_member_id(wire(&"x".repeat(40_000))),
        first().with_instance_id(Some(wire(""))),
        first().with_rack_id(Some(wire(""))),
        first().with_rebalance_timeout_ms(-1),
        first().with_rebalance_timeout_ms(-2),
        request("a", 2).with_rebalance_timeout_ms(i32::MIN),
        first().with_topic_partitions(None),
        first().with_topic_partitions(Some(wire_partitions(&orders(&[0])))),
        first().with_subscribed_topic_names(None),
        first().with_subscribed_topic_names(Some(vec![TopicName(wire(&"x".repeat(40_000)))])),
        request("a", -2),
        request("a", -3),
        request("a", i32::MIN),
    ];
    let mut harness = two_members();
    for request in invalid {
        let code = harness.refused(&request);
        assert_eq!(code, ResponseError::InvalidRequest.code(), "{request:?}");
    }
    let regex = first().with_subscribed_topic_regex(Some(wire(&"o".repeat(5_000))));
    let code = harness.refused(&regex);
    assert_eq!(code, ResponseError::InvalidRegularExpression.code());
    let assignor = first().with_server_assignor(Some(wire("sticky")));
    let code = harness.refused(&assignor);
    assert_eq!(code, ResponseError::UnsupportedAssignor.code());
    harness.config.assignors = vec![Assignor::Range];
    let assignor = first().with_server_assignor(Some(wire("uniform")));
    let code = harness.refused(&assignor);
    assert_eq!(code, ResponseError::UnsupportedAssignor.code());
}

#[test]
fn before_version_1_the_coordinator_makes_member_ids() {
    let mut harness = Harness::new();
    let response = harness.beat_at(0, &join("", &["orders"])).unwrap().response;
    let member_id = response.member_id.unwrap();
    assert!(harness.group.members().contains_key(&*member_id));
    for epoch in [1, -1] {
        let refused = harness.beat_at(0, &request("", epoch)).unwrap_err();
        assert_eq!(refused.error, ResponseError::InvalidRequest);
    }
}

#[test]
fn epochs_that_are_not_the_members_are_fenced() {
    let mut harness = two_members();
    assert_eq!(harness.refused(&request("a", 3)), FENCED_MEMBER_EPOCH);
    // It may not have heard of epoch 2, and has nothing but what is its own.
    for (owned, is_taken) in [
        (None, false),
        (Some(orders(&[0, 1, 2])), false),
        (Some(orders(&[0])), true),
        (Some(orders(&[])), true),
    ] {
        let owned = owned.as_ref().map(wire_partitions);
        let request = request("a", 1).with_topic_partitions(owned);
        if is_taken {
            assert_eq!(harness.ok(&request).member_epoch, 2);
        } else {
            assert_eq!(harness.refused(&request), FENCED_MEMBER_EPOCH);
        }
    }
    for unknown in [request("d", 2), request("d", -1)] {
        assert_eq!(harness.refused(&unknown), UNKNOWN_MEMBER_ID);
    }
}

#[test]
fn what_a_member_sent_before_it_connected_anew_is_refused() {
    let mut harness = two_members();
    harness.connection = 2;
    harness.ok(&request("a", 2));
    harness.connection = 1;
    // Each would free partitions that the member reads.
    let nothing = Partitions::new();
    for late in [
        join("a", &["orders"]),
        full("a", 2, &["orders"], &nothing),
        request("a", -1),
    ] {
        let code = harness.refused(&late);
        assert_eq!(
            code,
            ResponseError::CoordinatorNotAvailable.code(),
            "{late:?}"
        );
    }
    // Who connects anew is told all: it may have missed its fencing.
    harness.connection = 3;
    let response = harness.ok(&request("a", 2));
    assert_eq!(told(&response), Some(orders(&[0, 1])));
    assert_eq!(told(&harness.ok(&request("a", 2))), None);
    // Others are none of its business, nor is a member that has gone and come again.
    harness.ok(&request("b", 2));
    harness.ok(&request("a", -1));
    harness.connection = 1;
    harness.ok(&join("a", &["orders"]));
}

#[test]
fn a_member_that_was_fenced_comes_back_with_nothing() {
    let mut harness = two_members();
    // It has heard of its fencing from nobody but itself: it has let go of all.
    let response = harness.ok(&join("a", &["orders"]));
    assert_eq!(response.member_epoch, 2);
    assert_eq!(told(&response), Some(orders(&[0, 1])));
    let batches = harness.advance(10_000);
    assert_eq!(batches.len(), 2);
    assert_eq!(harness.group.state(), ConsumerGroupState::Empty);
    assert_eq!(harness.refused(&request("a", 2)), UNKNOWN_MEMBER_ID);
    let (epoch, _) = harness.group.epochs();
    let response = harness.ok(&join("a", &["orders"]));
    assert_eq!(response.member_epoch, epoch + 1);
    assert_eq!(told(&response), Some(orders(&[0, 1, 2, 3])));
}

#[test]
fn targets_wait_for_each_other() {
    let mut harness = Harness::new();
    harness.ok(&join("a", &["orders"]));
    harness.advance(999);
    let response = harness.ok(&join("b", &["orders"]));
    assert_eq!(
        (response.member_epoch, told(&response)),
        (1, Some(orders(&[])))
    );
    assert_eq!(harness.group.epochs(), (2, 1));
    assert_eq!(harness.group.state(), ConsumerGroupState::Assigning);
    harness.advance(1);
    harness.ok(&request("b", 1));
    assert_eq!(harness.group.epochs(), (2, 2));

    // A wall clock that is set back holds nobody up.
    harness.now.wall_ms -= 1_000_000;
    harness.ok(&join("c", &["orders"]));
    assert_eq!(harness.group.epochs(), (3, 3));

    harness.config.assignment_interval_ms = 0;
    harness.ok(&join("d", &["orders"]));
    assert_eq!(harness.group.epochs(), (4, 4));
}

#[test]
fn who_joins_an_empty_group_need_not_wait() {
    let mut harness = Harness::new();
    harness.ok(&join("a", &["orders"]));
    let outcome = harness.beat(&request("a", -1)).unwrap();
    assert_eq!(outcome.response.member_epoch, -1);
    let last = outcome.records.last().unwrap();
    let follows = TargetEpoch {
        epoch: 2,
        timestamp_ms: 0,
    };
    assert_eq!(*last, ConsumerRecord::TargetEpoch(Some(follows)));
    assert_eq!(harness.group.state(), ConsumerGroupState::Empty);
    let response = harness.ok(&join("b", &["orders"]));
    assert_eq!(told(&response), Some(orders(&[0, 1, 2, 3])));
}

#[test]
fn a_member_without_topics_is_a_member() {
    let mut harness = Harness::new();
    let response = harness.ok(&join("a", &[]));
    assert_eq!(
        (response.member_epoch, told(&response)),
        (1, Some(orders(&[])))
    );
    assert_eq!(harness.group.state(), ConsumerGroupState::Stable);
    harness.advance(1_000);
    // A topic that does not exist yet.
    let later = request("a", 1).with_subscribed_topic_names(Some(vec![TopicName(wire("later"))]));
    assert_eq!(harness.ok(&later).member_epoch, 2);
    harness.set_topic("later", 5, 1);
    harness.advance(1_000);
    let response = harness.ok(&request("a", 2));
    assert_eq!(response.member_epoch, 3);
    assert_eq!(told(&response).unwrap().len(), 1);
}

#[test]
fn what_happens_to_topics_makes_the_group_assign_anew() {
    let mut harness = Harness::new();
    harness.ok(&join("a", &["orders"]));
    let mut epoch = 1;
    let changes = [
        ("other", Some((2, 1, "rack")), false),
        ("orders", Some((1, 5, "rack")), true),
        ("orders", Some((1, 5, "elsewhere")), true),
        ("orders", Some((3, 5, "elsewhere")), true),
        ("orders", None, true),
        ("other", None, false),
    ];
    for (name, made_of, matters) in changes {
        harness.advance(1_000);
        match made_of {
            Some(made_of) => harness.made_of.insert(name, made_of),
            None => harness.made_of.remove(name),
        };
        harness.make_topics();
        let nothing = Partitions::new();
        harness.ok(&full("a", epoch, &["orders"], &nothing));
        epoch += i32::from(matters);
        assert_eq!(harness.group.epochs().0, epoch, "{name} {made_of:?}");
        assert_eq!(epoch_of(&harness, "a"), epoch);
    }
}

#[test]
fn a_member_that_does_not_revoke_in_time_is_fenced() {
    let mut harness = Harness::new();
    harness.ok(&join("a", &["orders"]));
    harness.advance(1_000);
    harness.ok(&join("b", &["orders"]));
    harness.ok(&request("a", 1));
    harness.advance(2_999);
    // Beating is not enough.
    harness.ok(&request("a", 1));
    harness.ok(&request("b", 2));
    assert_eq!(harness.advance(1).len(), 1);
    assert_eq!(harness.refused(&request("a", 1)), UNKNOWN_MEMBER_ID);
    let response = harness.ok(&request("b", 2));
    assert_eq!(told(&response), Some(orders(&[0, 1, 2, 3])));

    // Who has revoked is not.
    let harness = two_members();
    let revocation = |(_, timer): &&(_, ConsumerTimer)| *timer == ConsumerTimer::Revocation;
    assert_eq!(harness.deadlines.keys().find(revocation), None);
}

#[test]
fn most_members_decide_on_the_assignor() {
    let mut harness = Harness::new();
    let wants =
        |member_id, name| join(member_id, &["orders"]).with_server_assignor(Some(wire(name)));
    let mut assignor = |request: &ConsumerGroupHeartbeatRequest| {
        harness.ok(request);
        harness
            .group
            .describe(&harness.topics, &harness.config)
            .assignor_name
    };
    assert_eq!(&*assignor(&join("a", &["orders"])), "uniform");
    assert_eq!(&*assignor(&wants("b", "range")), "range");
    assert_eq!(&*assignor(&wants("c", "uniform")), "uniform");
    assert_eq!(&*assignor(&wants("d", "range")), "range");
    assert_eq!(&*assignor(&request("d", -1)), "uniform");
}

#[test]
fn what_a_member_no_longer_subscribes_to_is_taken_from_it_at_once() {
    let mut harness = Harness::new();
    harness.set_topic("other", 2, 2);
    let both = harness.ok(&join("a", &["orders", "other"]));
    let both = told(&both).unwrap();
    // The next target has to wait.
    let names = Some(vec![TopicName(wire("orders"))]);
    let response = harness.ok(&request("a", 1).with_subscribed_topic_names(names));
    assert_eq!(harness.group.epochs(), (2, 1));
    assert_eq!(told(&response), Some(orders(&[0, 1, 2, 3])));
    let member = &harness.group.members()["a"];
    assert_eq!(member.current.state, MemberState::UnrevokedPartitions);
    harness.advance(1_000);
    let still = request("a", 1).with_topic_partitions(Some(wire_partitions(&both)));
    assert_eq!(harness.ok(&still).member_epoch, 1);
    let revoked = orders(&[0, 1, 2, 3]);
    let revoked = request("a", 1).with_topic_partitions(Some(wire_partitions(&revoked)));
    assert_eq!(harness.ok(&revoked).member_epoch, 2);
    assert_eq!(harness.group.state(), ConsumerGroupState::Stable);
}

#[test]
fn a_group_is_described() {
    let mut harness = two_members();
    harness.ok(&join_as("i", "c").with_rack_id(Some(wire("r"))));
    let described = harness.group.describe(&harness.topics, &harness.config);
    assert_eq!(&*described.group_state, "Assigning");
    assert_eq!((described.group_epoch, described.assignment_epoch), (3, 2));
    let [a, _, c] = &described.members[..] else {
        panic!("{described:?}")
    };
    assert_eq!((a.member_epoch, a.member_type), (2, 1));
    let topic = &a.assignment.topic_partitions[0];
    assert_eq!(
        (&*topic.topic_name.0, &topic.partitions[..]),
        ("orders", &[0, 1][..])
    );
    assert_eq!(a.target_assignment, a.assignment);
    assert_eq!(c.instance_id.as_deref(), Some("i"));
    assert_eq!(c.rack_id.as_deref(), Some("r"));
    assert_eq!(c.assignment.topic_partitions, []);
    assert_eq!(&*c.client_host, "/192.0.2.1");
    assert_eq!(&*c.subscribed_topic_names[0].0, "orders");
}

#[test]
fn a_partition_that_the_member_itself_has_revoked_comes_back_to_it() {
    let mut harness = Harness::new();
    harness.ok(&join("a", &["orders"]));
    harness.advance(1_000);
    harness.ok(&join("b", &["orders"]));
    assert_eq!(told(&harness.ok(&request("a", 1))), Some(orders(&[0, 1])));
    // The other goes before it has got anything.
    harness.ok(&request("b", -1));
    harness.advance(1_000);
    let revoked = request("a", 1).with_topic_partitions(Some(wire_partitions(&orders(&[0, 1]))));
    let response = harness.ok(&revoked);
    assert_eq!(
        (response.member_epoch, told(&response)),
        (3, Some(orders(&[0, 1, 2, 3])))
    );
    assert_eq!(harness.group.state(), ConsumerGroupState::Stable);
}

#[test]
fn a_target_that_is_older_than_the_subscription_gives_nothing_of_what_was_left() {
    let mut harness = Harness::new();
    harness.set_topic("other", 2, 2);
    harness.ok(&join("a", &["orders", "other"]));
    let names = Some(vec![TopicName(wire("orders"))]);
    harness.ok(&request("a", 1).with_subscribed_topic_names(names));
    let revoked = orders(&[0, 1, 2, 3]);
    let revoked = request("a", 1).with_topic_partitions(Some(wire_partitions(&revoked)));
    assert_eq!(told(&harness.ok(&revoked)), None);
    assert_eq!(harness.group.epochs(), (2, 1));
}

#[test]
fn the_end_of_a_revocation_is_no_matter_to_who_has_revoked() {
    let mut harness = two_members();
    let Harness { group, topics, .. } = &mut harness;
    for member_id in ["a", "unheard-of"] {
        assert_eq!(group.end_revocation(member_id, topics).records, []);
    }
}

#[test]
fn members_that_name_the_same_topics_share_their_names() {
    let mut harness = Harness::new();
    harness.set_topic("other", 2, 1);
    let shared = |harness: &Harness, one: &str, other: &str| {
        let members = harness.group.members();
        let names = |id: &str| &members[id].metadata.subscribed_topics;
        Arc::ptr_eq(names(one), names(other))
    };
    harness.ok(&join("a", &["orders", "other"]));
    harness.ok(&join("b", &["other", "orders"]));
    harness.ok(&join("c", &["orders"]));
    assert!(shared(&harness, "a", "b"));
    assert!(!shared(&harness, "a", "c"));
    harness.ok(&join("c", &["orders", "other"]));
    assert!(shared(&harness, "a", "c"));
    // Those of one are in use as long as anyone has them.
    for (member_id, is_subscribed) in [("a", true), ("b", true), ("c", false)] {
        harness.ok(&request(member_id, -1));
        assert_eq!(harness.group.is_subscribed_to("other"), is_subscribed);
    }
}

/// Of a thousand members and five thousand topics, neither the target nor a beat goes through all topics of each
/// member. Unoptimised the target took 57 ms, and a hundred beats 4.
#[test]
fn five_thousand_topics_of_a_thousand_members_are_looked_at_once() {
    const TOPICS: usize = 5_000;
    let mut harness = Harness::new();
    let names = Vec::from_iter((0..TOPICS).map(|number| format!("topic-{number:04}")));
    let topics = names.iter().enumerate().map(|(number, name)| {
        let id = Uuid::from_u128(100 + number as u128);
        let topic = Topic::new(name, id, &[vec!["rack"]]);
        (Arc::from(name.as_str()), topic)
    });
    harness.topics = Topics::new(100, topics);
    let names = Vec::from_iter(names.iter().map(String::as_str));
    harness.ok(&join("member-000", &names));
    let metadata = harness.group.members()["member-000"].metadata.clone();
    for number in 1..1_000 {
        harness.group.apply(&ConsumerRecord::Member {
            member_id: Arc::from(format!("member-{number:03}")),
            metadata: Some(metadata.clone()),
        });
    }
    harness.advance(1_000);
    let again = |member_id: &str| {
        let join = join(member_id, &[]).with_subscribed_topic_names(None);
        join.with_subscribed_topic_regex(Some(wire("")))
    };
    // As if it had just come: the group assigns anew.
    let epoch = harness.group.epoch;
    let next = GroupEpoch {
        epoch: epoch.epoch + 1,
        ..epoch
    };
    harness.group.apply(&ConsumerRecord::Epoch(Some(next)));
    let started_ms = processor_ms();
    harness.ok(&again("member-001"));
    let target_ms = processor_ms() - started_ms;
    assert_eq!(harness.group.epochs(), (2, 2));
    assert_eq!(harness.group.target("member-999").unwrap().len(), 5);
    let started_ms = processor_ms();
    for number in 0..100 {
        // Each has to wait for what the first has to let go of.
        let member_id = format!("member-{:03}", 2 + number);
        harness.ok(&again(&member_id));
    }
    let beats_ms = processor_ms() - started_ms;
    assert!(
        target_ms < 1_000 && beats_ms < 200,
        "{target_ms} ms, {beats_ms} ms"
    );
}

/// The first target is for the first of them, the next for all.
#[test]
fn a_thousand_members_come_to_rest_with_two_targets() {
    const MEMBERS: usize = 1_000;
    let mut harness = Harness::new();
    harness.set_topic("orders", 1, 4 * MEMBERS);
    let mut epochs = vec![0; MEMBERS];
    let mut owned = vec![Partitions::new(); MEMBERS];
    let mut targets = 0;
    for _ in 0..6 {
        for member in 0..MEMBERS {
            let member_id = format!("member-{member}");
            let request = full(&member_id, epochs[member], &["orders"], &owned[member]);
            let outcome = harness.beat(&request).unwrap();
            let is_target =
                |record: &&ConsumerRecord| matches!(record, ConsumerRecord::TargetEpoch(_));
            targets += outcome.records.iter().filter(is_target).count();
            epochs[member] = outcome.response.member_epoch;
            owned[member] = told(&outcome.response).unwrap();
        }
        harness.advance(1_000);
    }
    assert_eq!(targets, 2);
    assert_eq!(harness.group.state(), ConsumerGroupState::Stable);
    for owned in &owned {
        assert_eq!(
            owned
                .values()
                .map(|partitions| partitions.len())
                .sum::<usize>(),
            4
        );
    }
}
