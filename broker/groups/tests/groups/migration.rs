//! A group with members goes from the classic protocol to KIP-848, and back.

mod edges;
mod members;
mod model;
mod transactions;

use std::collections::BTreeMap;

use foz_groups::{AppendError, GroupConfig, MigrationPolicy, Request, Response};
use foz_records::consumer_protocol_subscription::TopicPartition as OwnedPartitions;
use foz_records::{ConsumerProtocolSubscription, Message};
use kafka_protocol::ResponseError;
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::*;

use crate::harness::*;
use members::*;

const FULL: i16 = ResponseError::GroupMaxSizeReached.code();
const ILLEGAL_GENERATION: i16 = ResponseError::IllegalGeneration.code();
const INCONSISTENT: i16 = ResponseError::InconsistentGroupProtocol.code();
const MEMBER_ID_REQUIRED: i16 = ResponseError::MemberIdRequired.code();
const NOT_AVAILABLE: i16 = ResponseError::CoordinatorNotAvailable.code();
const NOT_FOUND: i16 = ResponseError::GroupIdNotFound.code();
const UNKNOWN_MEMBER: i16 = ResponseError::UnknownMemberId.code();

#[test]
fn a_classic_group_becomes_one_of_kip_848_and_nobody_loses_a_partition() {
    let mut harness = harness();
    let (ids, has, generation) = mixed_group(&mut harness);
    assert!(has["new"].len() == 1 || has["new"].len() == 2);
    // Who does not speak KIP-848 commits with its generation, at any version.
    assert_eq!(harness.commit(&ids[0], generation, "orders", 7), 0);
    // One that has not heard of its new generation commits what it has had since the old one.
    assert!(has[&ids[0]].contains(&0));
    assert_eq!(harness.commit(&ids[0], 1, "orders", 8), 0);
    assert_eq!(harness.commit(&ids[1], 1, "orders", 9), ILLEGAL_GENERATION);
    assert_eq!(harness.commit(&ids[0], 3, "orders", 9), ILLEGAL_GENERATION);
    // So it is after a restart.
    harness.restart();
    for id in &ids {
        assert_eq!(harness.heartbeat(id, generation), 0);
        assert_eq!(synced(&mut harness, id, generation).as_ref(), Ok(&has[id]));
        assert_eq!(harness.heartbeat(id, 1), ILLEGAL_GENERATION);
    }
    assert_eq!(harness.heartbeat("new", generation), UNKNOWN_MEMBER);
    assert_eq!(harness.offsets(), [("orders".to_owned(), 0, 8)]);
}

#[test]
fn when_the_last_that_speaks_kip_848_has_gone_the_group_is_classic_again() {
    for leaves in [true, false] {
        let mut harness = harness();
        let (ids, _, generation) = mixed_group(&mut harness);
        assert_eq!(harness.commit(&ids[0], generation, "orders", 8), 0);
        if leaves {
            assert_eq!(beat(&mut harness, heartbeat("new", -1)).error_code, 0);
        } else {
            for _ in 0..9 {
                harness.advance(5_000);
                for id in &ids {
                    harness.heartbeat(id, generation);
                }
            }
        }
        assert_eq!(group_type(&mut harness), ["classic"], "{leaves}");
        assert_eq!(
            beat(&mut harness, heartbeat("new", 2)).error_code,
            NOT_FOUND
        );
        // They hear of it, commit what they still read, join, and are given all by a leader of their own.
        for id in &ids {
            assert_eq!(harness.heartbeat(id, generation), REBALANCE);
            assert_eq!(harness.commit(id, generation, "orders", 9), 0);
        }
        let waiting = Vec::from_iter(ids.iter().map(|id| harness.join(classic_join(id, &[]))));
        for waiter in waiting {
            let joined = harness.joined(waiter);
            assert_eq!(joined.error_code, 0);
            assert_eq!(joined.generation_id, generation + 1);
        }
        assert_eq!(harness.offsets(), [("orders".to_owned(), 0, 9)]);
        harness.restart();
        assert_eq!(group_type(&mut harness), ["classic"]);
        assert_eq!(harness.reloads, 0);
    }
}

#[test]
fn the_policy_says_which_way_a_group_may_go() {
    for (policy, may_upgrade, may_downgrade) in [
        (MigrationPolicy::Bidirectional, true, true),
        (MigrationPolicy::Upgrade, true, false),
        (MigrationPolicy::Downgrade, false, true),
        (MigrationPolicy::Disabled, false, false),
    ] {
        let mut harness = with_policy(policy);
        classic_group(&mut harness);
        let joined = beat(&mut harness, native_join("new")).error_code;
        assert_eq!(
            joined,
            if may_upgrade { 0 } else { NOT_FOUND },
            "{policy:?}"
        );

        let mut harness = with_policy(policy);
        assert_eq!(beat(&mut harness, native_join("new")).error_code, 0);
        let waiter = harness.join(classic_join("", &[]));
        let joined = harness.joined(waiter);
        if policy == MigrationPolicy::Disabled {
            assert_eq!(joined.error_code, INCONSISTENT);
            continue;
        }
        assert_eq!(joined.error_code, MEMBER_ID_REQUIRED);
        assert_eq!(rejoined(&mut harness, &joined.member_id, &[]), 2);
        assert_eq!(beat(&mut harness, heartbeat("new", -1)).error_code, 0);
        let expected = if may_downgrade { "classic" } else { "consumer" };
        assert_eq!(group_type(&mut harness), [expected], "{policy:?}");
    }
}

#[test]
fn what_would_be_lost_or_cannot_be_read_is_not_taken() {
    let mut harness = harness();
    classic_group_with(&mut harness, Some(b"mine"));
    let refused = beat(&mut harness, native_join("new"));
    assert_eq!(refused.error_code, NOT_FOUND);
    assert!(refused.error_message.unwrap().contains("data of its own"));
    assert_eq!(group_type(&mut harness), ["classic"]);

    let mut harness = self::harness();
    harness.stable(1);
    let refused = beat(&mut harness, native_join("new"));
    assert_eq!(refused.error_code, NOT_FOUND);
    assert!(refused.error_message.unwrap().contains("malformed"));
    assert_eq!(group_type(&mut harness), ["classic"]);
}

/// Whoever waits for the rebalance of the classic group is to join again.
#[test]
fn a_group_may_become_another_in_the_middle_of_a_rebalance() {
    let mut harness = harness();
    let ids = classic_group(&mut harness);
    let waiting = harness.join(classic_join(&ids[0], &[0]));
    let third = harness.member_id(classic_join("", &[]));
    let third_waiting = harness.join(classic_join(&third, &[]));
    assert!(harness.is_open(waiting) || harness.is_open(third_waiting));
    assert_eq!(beat(&mut harness, native_join("new")).error_code, 0);
    for waiter in [waiting, third_waiting] {
        let told = harness.joined(waiter).error_code;
        assert!([0, REBALANCE].contains(&told), "{told}");
    }
    assert_eq!(group_type(&mut harness), ["consumer"]);
    assert!(rejoined(&mut harness, &ids[0], &[0, 1]) >= 1);
}

/// Either way.
#[test]
fn a_change_of_protocol_that_cannot_be_written_has_not_been() {
    let mut harness = harness();
    let ids = classic_group(&mut harness);
    harness.fails = Some(AppendError::NotAvailable);
    assert_eq!(
        beat(&mut harness, native_join("new")).error_code,
        NOT_AVAILABLE
    );
    harness.fails = None;
    assert_eq!(group_type(&mut harness), ["classic"]);
    for id in &ids {
        assert_eq!(harness.heartbeat(id, 1), 0);
    }

    let mut harness = self::harness();
    let (ids, has, generation) = mixed_group(&mut harness);
    harness.fails = Some(AppendError::NotAvailable);
    let leaving = beat(&mut harness, heartbeat("new", -1));
    assert_eq!(leaving.error_code, NOT_AVAILABLE);
    harness.fails = None;
    assert_eq!(group_type(&mut harness), ["consumer"]);
    for id in &ids {
        assert_eq!(harness.heartbeat(id, generation), 0);
        assert_eq!(synced(&mut harness, id, generation).as_ref(), Ok(&has[id]));
    }
    assert_eq!(
        beat(&mut harness, heartbeat("new", generation)).error_code,
        0
    );
    assert_eq!(beat(&mut harness, heartbeat("new", -1)).error_code, 0);
    assert_eq!(group_type(&mut harness), ["classic"]);
    assert_eq!(harness.reloads, 0);
}

#[test]
fn classic_members_that_do_not_join_or_sync_in_time_are_fenced() {
    let mut harness = harness();
    let ids = classic_group(&mut harness);
    assert_eq!(beat(&mut harness, native_join("new")).error_code, 0);
    // One never joins, though it beats; the other joins and never asks what it got.
    assert_eq!(harness.heartbeat(&ids[0], 1), REBALANCE);
    let generation = rejoined(&mut harness, &ids[1], &[2, 3]);
    for _ in 0..12 {
        harness.advance(5_000);
        harness.heartbeat(&ids[0], 1);
        harness.heartbeat(&ids[1], generation);
        beat(&mut harness, heartbeat("new", 2));
    }
    for id in &ids {
        assert_eq!(harness.heartbeat(id, generation), UNKNOWN_MEMBER);
    }
    assert_eq!(group_type(&mut harness), ["consumer"]);
}

/// A rolling restart of static members, one by one.
#[test]
fn a_static_member_comes_back_with_the_other_protocol() {
    let mut harness = harness();
    let with_instance = |request: JoinGroupRequest, instance: &str| {
        request.with_group_instance_id(Some(text(instance)))
    };
    let waiter = harness.join(with_instance(classic_join("", &[]), "one"));
    harness.advance(3_000);
    let id = harness.joined(waiter).member_id.to_string();
    let assignment = sync_group_request::SyncGroupRequestAssignment::default()
        .with_member_id(text(&id))
        .with_assignment(assignment_of(&[0, 1, 2, 3], None));
    let request = sync_request(&id, 1, &[])
        .with_protocol_name(Some(text("cooperative-sticky")))
        .with_group_instance_id(Some(text("one")))
        .with_assignments(vec![assignment]);
    let waiter = harness.send(5, Request::SyncGroup(request));
    assert_eq!(harness.synced(waiter).error_code, 0);

    // It has all of its partitions from the start, under its new id.
    let joining = native_join("new").with_instance_id(Some(text("one")));
    let joined = beat(&mut harness, joining);
    assert_eq!(joined.error_code, 0);
    assert_eq!(
        assigned(&joined).map(|partitions| partitions.len()),
        Some(4)
    );
    assert_eq!(harness.heartbeat(&id, 1), UNKNOWN_MEMBER);
    assert_eq!(group_type(&mut harness), ["consumer"]);

    // And back: it is the last that spoke KIP-848.
    let waiter = harness.join(with_instance(classic_join("", &[]), "one"));
    let back = harness.joined(waiter);
    assert_eq!(back.error_code, 0);
    assert_eq!(group_type(&mut harness), ["classic"]);
    let gone = beat(&mut harness, heartbeat("new", joined.member_epoch));
    assert_eq!(gone.error_code, NOT_FOUND);
}

/// A cooperative member reads on while it joins, and while it revokes.
#[test]
fn what_a_member_may_read_still_is_given_to_nobody_when_the_group_becomes_another() {
    // It has heard what it is to revoke, or nobody was assigned anything and the rebalance began anew.
    for is_revoking in [true, false] {
        let mut harness = harness();
        let [first, second] = in_the_middle_of_a_rebalance(&mut harness);
        let mut keeps = vec![0, 1, 2, 3];
        if is_revoking {
            assign(
                &mut harness,
                &first,
                2,
                &[(&first, &[0, 1]), (&second, &[])],
            );
            keeps = vec![0, 1];
        } else {
            assert_eq!(harness.leave(&second), 0);
        }
        let joined = beat(&mut harness, native_join("new"));
        assert_eq!(assigned(&joined), Some(vec![]));
        let epoch = joined.member_epoch;
        assert_eq!(harness.heartbeat(&first, 2), REBALANCE);
        let told = assigned(&beat(&mut harness, owning("new", epoch, &[]))).unwrap_or_default();
        assert_eq!(told, [0; 0], "{is_revoking}: the first has it still");
        // What it reads it may commit, whatever it is to read.
        assert_eq!(harness.commit(&first, 2, "orders", 5), 0);

        // It hears what it keeps, revokes the rest, and joins again without.
        for owned in [&[0, 1, 2, 3][..], &[0, 1], &[0, 1]] {
            let generation = rejoined(&mut harness, &first, owned);
            let kept = synced(&mut harness, &first, generation).unwrap();
            assert!(kept.iter().all(|partition| keeps.contains(partition)));
        }
        let told = assigned(&beat(&mut harness, owning("new", epoch, &[]))).unwrap();
        assert!(!told.is_empty() && told.iter().all(|partition| [2, 3].contains(partition)));
        assert_eq!(harness.offsets(), [("orders".to_owned(), 0, 5)]);
    }
}

/// Two members claim the same partitions, and none is assigned any: who joined later has them.
#[test]
fn of_two_that_say_they_have_a_partition_the_later_has_it() {
    let mut harness = harness();
    let join = |id: &str, generation_id: i32| {
        let owned = OwnedPartitions {
            topic: "orders".into(),
            partitions: vec![0, 1, 2, 3],
        };
        let subscription = ConsumerProtocolSubscription {
            topics: vec!["orders".into()],
            owned_partitions: vec![owned],
            generation_id,
            ..ConsumerProtocolSubscription::default()
        };
        let protocol = JoinGroupRequestProtocol::default()
            .with_name(text("cooperative-sticky"))
            .with_metadata(subscription.encode_prefixed(2).expect("it is short"));
        join_request(id).with_protocols(vec![protocol])
    };
    let ids = [0, 1].map(|_| harness.member_id(classic_join("", &[])));
    let later = usize::from(ids[0] < ids[1]);
    for (index, id) in ids.iter().enumerate() {
        harness.join(join(id, if index == later { 7 } else { 6 }));
    }
    harness.advance(3_000);
    assert_eq!(beat(&mut harness, native_join("new")).error_code, 0);
    let request = ConsumerGroupDescribeRequest::default().with_group_ids(vec![group_id(GROUP)]);
    let described = harness.call(1, Request::ConsumerGroupDescribe(request));
    let Response::ConsumerGroupDescribe(described) = described else {
        panic!("{described:?}")
    };
    for member in &described.groups[0].members {
        let topics = &member.assignment.topic_partitions;
        let count: usize = topics.iter().map(|topic| topic.partitions.len()).sum();
        let has_them = *member.member_id == *ids[later];
        assert_eq!(
            count,
            if has_them { 4 } else { 0 },
            "{}",
            &*member.member_id
        );
    }
}

/// Members that have not come to the last target have no generation in common.
#[test]
fn a_group_that_is_rebalancing_is_classic_again_once_it_has_come_to_an_end() {
    let mut harness = harness();
    let (ids, mut has, generation) = mixed_group(&mut harness);
    assert_eq!(
        beat(&mut harness, native_join("newer")).member_epoch,
        generation + 1
    );
    for id in ["new", "newer"] {
        assert_eq!(beat(&mut harness, heartbeat(id, -1)).error_code, 0);
    }
    assert_eq!(group_type(&mut harness), ["consumer"]);
    let mut last = generation;
    for id in &ids {
        assert_eq!(group_type(&mut harness), ["consumer"]);
        assert_eq!(harness.heartbeat(id, generation), REBALANCE);
        last = rejoined(&mut harness, id, &has[id]);
        if let Ok(told) = synced(&mut harness, id, last) {
            has.insert(id.clone(), told);
        }
    }
    assert_eq!(group_type(&mut harness), ["classic"]);
    assert!(last > generation + 1);
    for id in &ids {
        // None of them loses anything.
        assert_eq!(harness.commit(id, last, "orders", 8), 0);
        assert_eq!(harness.heartbeat(id, last), REBALANCE);
    }
}

/// The policy keeps it what it is, and nobody is left whose heartbeat would find the next target.
#[test]
fn classic_members_alone_in_a_group_of_kip_848_read_all_there_is() {
    let mut harness = with_policy(MigrationPolicy::Upgrade);
    let (ids, mut has, mut generation) = mixed_group(&mut harness);
    assert_eq!(beat(&mut harness, heartbeat("new", -1)).error_code, 0);
    assert_eq!(group_type(&mut harness), ["consumer"]);
    let mut generations = BTreeMap::from([0, 1].map(|index| (ids[index].clone(), generation)));
    let mut settle = |harness: &mut Harness, count: usize| {
        for _ in 0..4 {
            for id in &ids {
                if harness.heartbeat(id, generations[id]) == REBALANCE {
                    generation = rejoined(harness, id, &has[id]);
                    generations.insert(id.clone(), generation);
                    has.insert(id.clone(), synced(harness, id, generation).unwrap());
                }
            }
        }
        let mut all = Vec::from_iter(ids.iter().flat_map(|id| has[id].clone()));
        all.sort_unstable();
        assert_eq!(all, Vec::from_iter(0..count as i32));
        for id in &ids {
            assert_eq!(harness.heartbeat(id, generation), 0);
        }
    };
    settle(&mut harness, 4);
    // And what comes later.
    harness.set_topics(&[("orders", ORDERS, 6)]);
    settle(&mut harness, 6);
}

#[test]
fn a_group_too_large_for_the_other_protocol_keeps_its_own() {
    let mut config = GroupConfig::default();
    config.consumer.max_size = 1;
    let mut harness = Harness::with_config(config);
    harness.set_topics(&[("orders", ORDERS, 4)]);
    classic_group(&mut harness);
    let refused = beat(&mut harness, native_join("new"));
    assert_eq!(refused.error_code, NOT_FOUND);
    assert!(
        refused
            .error_message
            .unwrap()
            .contains("group.consumer.max.size")
    );
    assert_eq!(group_type(&mut harness), ["classic"]);

    // As many as there may be: the group becomes another for a member that finds no room.
    let mut config = GroupConfig::default();
    config.consumer.max_size = 2;
    let mut harness = Harness::with_config(config);
    harness.set_topics(&[("orders", ORDERS, 4)]);
    let ids = classic_group(&mut harness);
    assert_eq!(beat(&mut harness, native_join("new")).error_code, FULL);
    assert_eq!(group_type(&mut harness), ["classic"]);
    assert_eq!(harness.heartbeat(&ids[0], 1), 0);

    let mut config = GroupConfig {
        group_max_size: 1,
        ..GroupConfig::default()
    };
    config.consumer.assignment_interval_ms = 0;
    let mut harness = Harness::with_config(config);
    harness.set_topics(&[("orders", ORDERS, 4)]);
    assert_eq!(beat(&mut harness, native_join("new")).error_code, 0);
    let ids = [0, 1].map(|_| {
        let id = harness.member_id(classic_join("", &[]));
        rejoined(&mut harness, &id, &[]);
        id
    });
    assert_eq!(beat(&mut harness, heartbeat("new", -1)).error_code, 0);
    assert_eq!(group_type(&mut harness), ["consumer"]);
    // One less is not too many; it has to hear of what there is to read first.
    assert_eq!(harness.leave(&ids[0]), 0);
    assert_eq!(harness.heartbeat(&ids[1], 3), REBALANCE);
    let generation = rejoined(&mut harness, &ids[1], &[]);
    assert!(generation > 3);
    assert_eq!(group_type(&mut harness), ["classic"]);
    assert_eq!(harness.heartbeat(&ids[1], generation), REBALANCE);
}

/// The batch is whole in the log of the next coordinator, or not in it.
#[test]
fn a_coordinator_that_dies_while_a_group_becomes_another_leaves_it_one_or_the_other() {
    for (kept, is_upgraded) in [(0, false), (1, true)] {
        let mut harness = harness();
        let ids = classic_group(&mut harness);
        assert_eq!(harness.commit(&ids[0], 1, "orders", 8), 0);
        harness.confirms = false;
        let waiter = harness.send(1, Request::ConsumerGroupHeartbeat(native_join("new")));
        assert!(harness.is_open(waiter));
        harness.restart_with_tail(kept);
        if is_upgraded {
            assert!(harness.is_loading());
            let told = harness.commit(&ids[0], 1, "orders", 9);
            assert_eq!(told, ResponseError::CoordinatorLoadInProgress.code());
        }
        harness.confirms = true;
        harness.confirm();
        assert_eq!(
            group_type(&mut harness),
            [if is_upgraded { "consumer" } else { "classic" }]
        );
        for id in &ids {
            assert_eq!(
                harness.heartbeat(id, 1),
                if is_upgraded { REBALANCE } else { 0 }
            );
        }
        assert_eq!(harness.offsets(), [("orders".to_owned(), 0, 8)]);
        // The one that spoke KIP-848 says it all again.
        let joined = beat(&mut harness, native_join("new"));
        assert_eq!((joined.error_code, joined.member_epoch), (0, 2));
        assert_eq!(group_type(&mut harness), ["consumer"]);
    }
    for (kept, is_downgraded) in [(0, false), (1, true)] {
        let mut harness = harness();
        let (ids, has, generation) = mixed_group(&mut harness);
        assert_eq!(harness.commit(&ids[0], generation, "orders", 8), 0);
        harness.confirms = false;
        let leaving = heartbeat("new", -1);
        harness.send(1, Request::ConsumerGroupHeartbeat(leaving));
        harness.restart_with_tail(kept);
        harness.confirms = true;
        harness.confirm();
        assert_eq!(
            group_type(&mut harness),
            [if is_downgraded { "classic" } else { "consumer" }]
        );
        for id in &ids {
            assert_eq!(harness.commit(id, generation, "other", 8), 0);
            if is_downgraded {
                // Nobody has yet what the one that has gone had.
                assert_eq!(harness.heartbeat(id, generation), REBALANCE);
            } else {
                assert_eq!(harness.heartbeat(id, generation), 0);
                assert_eq!(synced(&mut harness, id, generation).as_ref(), Ok(&has[id]));
            }
        }
        let offsets = ["orders", "other"].map(|topic| (topic.to_owned(), 0, 8));
        assert_eq!(harness.offsets(), offsets);
    }
}

/// It says that its member has nothing; the member has said something else since.
#[test]
fn a_join_that_comes_late_frees_nothing() {
    let mut harness = harness();
    let (ids, has, generation) = mixed_group(&mut harness);
    harness.connection = 2;
    assert_eq!(rejoined(&mut harness, &ids[0], &has[&ids[0]]), generation);
    harness.connection = 1;
    let waiter = harness.join(classic_join(&ids[0], &[]));
    assert_eq!(harness.joined(waiter).error_code, NOT_AVAILABLE);
    // A heartbeat may come over any connection.
    assert_eq!(harness.heartbeat(&ids[0], generation), 0);
    assert_eq!(
        synced(&mut harness, &ids[0], generation).as_ref(),
        Ok(&has[&ids[0]])
    );
}
