//! The number is asked for, and the brokers are found.

use std::collections::{BTreeMap, BTreeSet};

use foz_metadata::image::{Image, Partition};
use foz_metadata::rules::{
    ChangeReplicationFactor, Decision, ErrorCode, NewTopic, Refusal, ReplicationFactorChange,
    ResourceName, assign_racks, change_replication_factor, partition_min_insync, unregister_broker,
};
use proptest::prelude::*;
use uuid::Uuid;

use crate::support::{
    alter, alter_broker_default, cluster, commit, cordon_brokers, create, fence, grant, moving,
    new_topic, partition, partition_on, propose, reassign, replicated, restart, set, state, stop,
    unfence,
};

fn request(topics: &[(&str, i32)]) -> ChangeReplicationFactor {
    let topics = topics.iter();
    ChangeReplicationFactor {
        topics: topics
            .map(|(name, replication_factor)| ReplicationFactorChange {
                name: (*name).to_owned(),
                id: None,
                replication_factor: *replication_factor,
            })
            .collect(),
        validate_only: false,
        operator_epoch: 0,
    }
}

fn decide(image: &Image, topics: &[(&str, i32)]) -> Decision<Vec<Result<(), Refusal>>> {
    change_replication_factor(image, &request(topics)).unwrap()
}

/// Changes the topic `t`, and asks a second time.
fn change(image: &mut Image, replication_factor: i32) {
    let decision = decide(image, &[("t", replication_factor)]);
    commit(image, decision).remove(0).unwrap();
    let again = decide(image, &[("t", replication_factor)]);
    assert_eq!(again.records, [], "asked again it is no other change");
    assert_eq!(again.answer, [Ok(())]);
}

fn refusal(image: &Image, replication_factor: i32) -> (ErrorCode, String) {
    let decision = decide(image, &[("t", replication_factor)]);
    assert_eq!(decision.records, [], "a refused topic writes nothing");
    let refusal = decision.answer.into_iter().next().unwrap().unwrap_err();
    (refusal.code, refusal.message)
}

fn all_copied(image: &mut Image) {
    let all = partition(image).replicas.clone();
    propose(image, &all).unwrap();
}

#[test]
fn more_replicas_are_copied_and_the_leader_stays() {
    let mut image = partition_on(4, &[1], "1");
    change(&mut image, 3);
    let (replicas, adding, removing) = moving(&image);
    assert_eq!((replicas[0], replicas.len()), (1, 3));
    assert_eq!((adding, removing), (&replicas[1..], &[][..]));
    assert_eq!(state(&image), (&[1][..], &[][..], &[][..], 1));
    let epoch = partition(&image).leader_epoch;
    all_copied(&mut image);
    let done = partition(&image);
    assert!(!done.is_reassigning() && done.replicas.len() == 3);
    assert_eq!((done.leader, done.leader_epoch), (1, epoch));
}

/// Nobody could write to it else until the first copy is there.
#[test]
fn its_minimum_grows_only_when_the_new_replicas_are_there() {
    let mut image = partition_on(3, &[0], "2");
    let min_insync = |image: &Image| partition_min_insync(2, partition(image));
    assert_eq!(min_insync(&image), 1);
    change(&mut image, 3);
    assert_eq!((min_insync(&image), state(&image).0), (1, &[0][..]));
    propose(&mut image, &[0, 2]).unwrap();
    assert_eq!(min_insync(&image), 1);
    // One of two that have everything leaves: nobody is eligible beside the one that goes on.
    propose(&mut image, &[0]).unwrap();
    assert_eq!(state(&image).1, []);
    propose(&mut image, &[0, 1, 2]).unwrap();
    assert_eq!(min_insync(&image), 2);
    // And it falls when the last of those that go has gone.
    propose(&mut image, &[0]).unwrap();
    reassign(&mut image, Some(&[1])).unwrap();
    assert_eq!(min_insync(&image), 2);
    propose(&mut image, &[0, 1]).unwrap();
    assert_eq!((min_insync(&image), moving(&image).0), (1, &[1][..]));
}

#[test]
fn fewer_replicas_are_there_at_once_where_the_others_are_in_sync() {
    let mut image = partition_on(3, &[2, 0, 1], "1");
    change(&mut image, 1);
    assert_eq!(moving(&image), (&[2][..], &[][..], &[][..]));
    assert_eq!(state(&image), (&[2][..], &[][..], &[][..], 2));
}

#[test]
fn who_is_out_of_sync_goes_first_then_who_is_cordoned_and_the_leader_last() {
    let mut image = partition_on(4, &[0, 1, 2, 3], "1");
    propose(&mut image, &[0, 1, 3]).unwrap();
    cordon_brokers(&mut image, &[0, 1], true);
    let after = |factor| {
        let mut image = image.clone();
        change(&mut image, factor);
        partition(&image).replicas.clone()
    };
    assert_eq!(after(3), [0, 1, 3]);
    assert_eq!(after(2), [0, 3]);
    assert_eq!(after(1), [0], "it leads");

    // The preferred leader is away: who leads now takes its place.
    let mut image = replicated("1");
    fence(&mut image, 0);
    assert_eq!(partition(&image).leader, 1);
    change(&mut image, 2);
    assert_eq!(moving(&image), (&[1, 2][..], &[][..], &[][..]));
    assert_eq!(partition(&image).leader, 1);
}

#[test]
fn who_alone_has_everything_stays_though_nobody_leads() {
    let mut image = replicated("2");
    fence(&mut image, 0);
    fence(&mut image, 1);
    fence(&mut image, 2);
    let (isr, elr, last_known, _) = state(&image);
    let sure = partition(&image).sure_to_have_all();
    assert!(isr.is_empty() && sure == if elr.is_empty() { last_known } else { elr });
    let sure = sure[0];
    alter_topic(&mut image, "min.insync.replicas", "1");
    change(&mut image, 1);
    assert_eq!(partition(&image).target_replicas(), [sure]);
}

fn alter_topic(image: &mut Image, key: &str, value: &str) {
    let name = ResourceName::Topic("t".to_owned());
    let decision = alter(image, name, &[set(key, value)]).unwrap();
    commit(image, decision);
}

#[test]
fn a_doubled_rack_gives_first_and_an_empty_one_gets_first() {
    let mut image = partition_on(5, &[0, 1, 2], "1");
    let racks = [(0, "x"), (1, "y"), (2, "x"), (3, "y"), (4, "z")];
    let racks: BTreeMap<i32, String> = racks.map(|(id, rack)| (id, rack.to_owned())).into();
    let decision = assign_racks(&image, &racks, 0).unwrap();
    commit(&mut image, decision);
    let mut less = image.clone();
    change(&mut less, 2);
    assert_eq!(partition(&less).replicas, [0, 1]);
    change(&mut image, 4);
    assert_eq!(moving(&image).1, [4]);
    // A rack counts also while the broker in it is away.
    let mut away = less;
    fence(&mut away, 1);
    fence(&mut away, 4);
    unfence(&mut away, 4);
    change(&mut away, 3);
    assert_eq!(moving(&away).1, [4]);
}

#[test]
fn a_change_is_turned_round_half_way() {
    let mut image = partition_on(3, &[1], "2");
    change(&mut image, 3);
    let (first, second) = (moving(&image).1[0], moving(&image).1[1]);
    propose(&mut image, &[1, second]).unwrap();
    assert!(partition(&image).is_reassigning());
    let mut half = image.clone();
    // Who has copied everything stays.
    change(&mut half, 2);
    assert_eq!(partition(&half).replicas, [1, second]);
    assert_ne!(first, second);
    // Back to 1 although min.insync.replicas is 2: it was no more before.
    change(&mut image, 1);
    assert_eq!(moving(&image), (&[1][..], &[][..], &[][..]));
    change(&mut image, 3);
    all_copied(&mut image);
    let (code, message) = refusal(&image, 1);
    assert_eq!(code, ErrorCode::InvalidReplicationFactor);
    assert_eq!(
        message,
        "replication factor 1 of topic \"t\" is below its min.insync.replicas, which is 2: \
         set that to 1 on the topic first"
    );
}

#[test]
fn who_was_about_to_go_is_taken_back_rather_than_somebody_new() {
    let mut image = partition_on(6, &[3, 4, 5], "1");
    grant(&mut image, 3);
    change(&mut image, 1);
    // 3 may stop, and does not lead any more.
    let target = partition(&image).target_replicas();
    assert_eq!(target, [partition(&image).leader]);
    change(&mut image, 3);
    let after: BTreeSet<i32> = partition(&image)
        .target_replicas()
        .iter()
        .copied()
        .collect();
    assert!(after.contains(&4) && after.contains(&5), "{after:?}");
}

#[test]
fn a_move_of_somebody_else_goes_on_with_another_number() {
    let mut image = partition_on(6, &[0, 1, 2], "1");
    reassign(&mut image, Some(&[3, 1, 2])).unwrap();
    cordon_brokers(&mut image, &[0], true);
    let mut less = image.clone();
    change(&mut image, 4);
    let target = partition(&image).target_replicas();
    assert_eq!((&target[..3], target.len()), (&[3, 1, 2][..], 4));
    assert_ne!(target[3], 0, "that one is cordoned");
    assert_eq!(partition(&image).removing_replicas, [0]);
    // The leader is on its way out; who is not in sync yet goes.
    change(&mut less, 2);
    assert_eq!(partition(&less).target_replicas(), [1, 2]);
    // A number that the move has already is no change.
    let decision = decide(&image, &[("t", 4)]);
    assert_eq!(decision.records, []);
}

#[test]
fn more_than_there_are_brokers_is_refused_with_the_numbers() {
    let mut image = replicated("1");
    let (code, message) = refusal(&image, 4);
    assert_eq!(code, ErrorCode::InvalidReplicationFactor);
    assert_eq!(
        message,
        "replication factor 4 of topic \"t\" is too many: the cluster has only 3 brokers; it can be at most 3"
    );
    cordon_brokers(&mut image, &[2], true);
    let (_, message) = refusal(&image, 4);
    assert_eq!(
        message,
        "replication factor 4 of topic \"t\" is too many: the cluster has only 2 brokers that are not \
         cordoned (cordoned are [2]); it can be at most 2"
    );
    assert_eq!(moving(&image).1, []);
    for factor in [0, -1, i32::MIN] {
        let (code, message) = refusal(&image, factor);
        assert_eq!(code, ErrorCode::InvalidReplicationFactor);
        assert!(message.ends_with("must be at least 1"), "{message}");
    }
}

#[test]
fn who_is_away_gets_a_replica_only_where_nobody_else_can() {
    let mut image = partition_on(5, &[0, 1], "2");
    fence(&mut image, 1);
    fence(&mut image, 3);
    stop(&mut image, 2);
    change(&mut image, 3);
    assert_eq!(partition(&image).target_replicas(), [0, 1, 4]);
    change(&mut image, 5);
    let (replicas, adding, _) = moving(&image);
    assert_eq!((replicas.len(), adding.len()), (5, 3));
    // Nothing more is asked of the partition than before, and who is there already copies.
    assert_eq!(partition_min_insync(2, partition(&image)), 2);
    propose(&mut image, &[0, 4]).unwrap();
    assert!(partition(&image).is_reassigning());
    for node_id in [1, 3] {
        unfence(&mut image, node_id);
    }
    fence(&mut image, 2);
    restart(&mut image, 2, true);
    unfence(&mut image, 2);
    all_copied(&mut image);
    assert!(!partition(&image).is_reassigning());
}

#[test]
fn min_insync_counts_wherever_it_is_set() {
    let mut image = cluster(3);
    alter_broker_default(&mut image, "min.insync.replicas", "2");
    create(
        &mut image,
        NewTopic {
            assignments: vec![vec![0, 1, 2]],
            ..new_topic("t")
        },
    );
    assert!(refusal(&image, 1).1.contains("which is 2"));
    change(&mut image, 2);
    alter_topic(&mut image, "min.insync.replicas", "1");
    change(&mut image, 1);
    // Towards the minimum is no harm.
    alter_topic(&mut image, "min.insync.replicas", "3");
    change(&mut image, 2);
}

#[test]
fn each_topic_is_answered_for_itself() {
    let mut image = replicated("1");
    create(
        &mut image,
        NewTopic {
            partitions: 2,
            replication_factor: 1,
            ..new_topic("u")
        },
    );
    let decision = decide(&image, &[("t", 9), ("none", 1), ("u", 3)]);
    let codes: Vec<_> = decision
        .answer
        .iter()
        .map(|result| result.as_ref().map_err(|refusal| refusal.code).err())
        .collect();
    assert_eq!(
        codes,
        [
            Some(ErrorCode::InvalidReplicationFactor),
            Some(ErrorCode::UnknownTopicOrPartition),
            None
        ]
    );
    assert_eq!(decision.records.len(), 2);

    let twice = decide(&image, &[("u", 2), ("u", 3)]);
    assert!(twice.records.is_empty() && twice.answer.iter().all(Result::is_err));
    let mut other = request(&[("u", 3)]);
    other.topics[0].id = Some(Uuid::from_u128(1));
    let decision = change_replication_factor(&image, &other).unwrap();
    let code = decision.answer[0].as_ref().map_err(|refusal| refusal.code);
    assert_eq!(
        (code, decision.records.len()),
        (Err(ErrorCode::UnknownTopicId), 0)
    );
    let only_tried = ChangeReplicationFactor {
        validate_only: true,
        ..request(&[("u", 3)])
    };
    let decision = change_replication_factor(&image, &only_tried).unwrap();
    assert_eq!((decision.records, decision.answer), (vec![], vec![Ok(())]));
    let stale = ChangeReplicationFactor {
        operator_epoch: 7,
        ..request(&[("u", 3)])
    };
    let refused = change_replication_factor(&image, &stale).unwrap_err();
    assert_eq!(refused.code, ErrorCode::StaleOperatorEpoch);
}

/// Ten thousand partitions are one request, and what is beyond them another.
#[test]
fn a_large_topic_is_changed_by_asking_again() {
    let mut image = cluster(4);
    for name in ["t", "u"] {
        create(
            &mut image,
            NewTopic {
                partitions: 9_000,
                replication_factor: 1,
                ..new_topic(name)
            },
        );
    }
    let mut changed = Vec::new();
    loop {
        let decision = decide(&image, &[("t", 3), ("u", 3)]);
        assert!(decision.answer.iter().all(Result::is_ok));
        if decision.records.is_empty() {
            break;
        }
        changed.push(decision.records.len());
        commit(&mut image, decision);
    }
    assert_eq!(changed, [10_000, 8_000]);
    // Leaders are where they were, and copies are even.
    let counts: Vec<usize> = (0..4).map(|id| image.replica_count(id)).collect();
    let (least, most) = (counts.iter().min().unwrap(), counts.iter().max().unwrap());
    assert!(most - least <= 4, "{counts:?}");
}

/// What a change may make of a partition.
fn check_target(before: &Image, was: &Partition, is: &Partition, factor: usize) {
    let target = is.target_replicas();
    let what = format!("{was:?} -> {is:?}");
    assert_eq!(target.len(), factor, "{what}");
    let distinct: BTreeSet<_> = target.iter().collect();
    assert_eq!(distinct.len(), factor, "{what}");
    let new = |id: &&i32| !was.replicas.contains(id);
    for id in target.iter().filter(new) {
        assert!(
            before.broker(*id).is_some() && !before.is_cordoned(*id),
            "{what}"
        );
    }
    let asked_for_fewer = was.target_replicas().len() > factor;
    if asked_for_fewer {
        assert!(
            target.iter().all(|id| was.target_replicas().contains(id)),
            "{what}"
        );
        let led = was.target_replicas().contains(&was.leader);
        assert!(!led || target.contains(&was.leader), "{what}");
        // Nobody in sync goes while somebody stays who is not; the leader is in sync.
        let in_sync = |id: &&i32| was.sure_to_have_all().contains(id);
        let kept = target.iter().filter(in_sync).count();
        let had = was.target_replicas().iter().filter(in_sync).count();
        assert_eq!(kept, had.min(factor), "{what}");
    } else {
        assert!(target.starts_with(&was.target_replicas()), "{what}");
        let rack = |id: i32| {
            before
                .rack(id)
                .map_or_else(|| id.to_string(), str::to_owned)
        };
        for at in was.target_replicas().len()..factor {
            // Who came before it.
            let (there, added) = (&target[..at], target[at]);
            let badness = |id: i32| {
                let in_rack = there.iter().filter(|other| rack(**other) == rack(id));
                (in_rack.count(), !before.can_lead(id))
            };
            for spare in before.brokers().map(|broker| broker.node_id) {
                let is_open = !before.is_cordoned(spare) && !target.contains(&spare);
                assert!(
                    !is_open || badness(added) <= badness(spare),
                    "{what}: {added} where {spare} was free"
                );
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    /// Brokers with racks, some cordoned, some away, some gone; a topic with what came of earlier changes.
    #[test]
    fn any_change_from_any_state_is_a_good_one(
        brokers in 2..8i32,
        racks in prop::collection::vec(0..4usize, 8),
        partitions in 1..6i32,
        first in 1..4i32,
        min_insync in 1..4i32,
        steps in prop::collection::vec((0..8u8, 0..8i32, 1..7i32), 1..25),
    ) {
        let mut image = cluster(brokers);
        let names = (0..brokers).filter_map(|id| match racks[usize::try_from(id).unwrap()] {
            0 => None,
            rack => Some((id, format!("rack-{rack}"))),
        });
        let decision = assign_racks(&image, &names.collect(), 0).unwrap();
        commit(&mut image, decision);
        create(&mut image, NewTopic {
            partitions,
            replication_factor: first.min(brokers),
            config: [("min.insync.replicas".to_owned(), min_insync.to_string())].into(),
            ..new_topic("t")
        });
        for (step, node_id, factor) in steps {
            let is_known = image.broker(node_id).is_some();
            match step {
                0 if is_known => fence(&mut image, node_id),
                1 if is_known => unfence(&mut image, node_id),
                2 => cordon_brokers(&mut image, &[node_id], factor > 2),
                3 if partition(&image).leader >= 0 => {
                    let all = partition(&image).replicas.clone();
                    let members: Vec<i32> = all
                        .into_iter()
                        .filter(|id| *id == partition(&image).leader || id % 7 < factor)
                        .collect();
                    let _ = propose(&mut image, &members);
                }
                4 => {
                    if let Ok(decision) = unregister_broker(&image, node_id, 0) {
                        commit(&mut image, decision);
                    }
                }
                _ => {
                    let before = image.clone();
                    let decision = decide(&image, &[("t", factor)]);
                    prop_assert_eq!(&decision, &decide(&image, &[("t", factor)]));
                    let answer = commit(&mut image, decision).remove(0);
                    let factor = usize::try_from(factor).unwrap();
                    if let Err(refusal) = answer {
                        prop_assert_eq!(refusal.code, ErrorCode::InvalidReplicationFactor);
                        prop_assert_eq!(&image, &before);
                        continue;
                    }
                    let was = before.topic("t").unwrap();
                    for (index, is) in image.topic("t").unwrap().indexed_partitions() {
                        let was = was.partition(index).unwrap();
                        if was.target_replicas().len() == factor {
                            prop_assert_eq!(was, is);
                            continue;
                        }
                        check_target(&before, was, is, factor);
                        let least = usize::try_from(min_insync).unwrap().min(was.original_replicas().len());
                        prop_assert!(factor >= least, "{:?} -> {:?}", was, is);
                    }
                    prop_assert_eq!(decide(&image, &[("t", i32::try_from(factor).unwrap())]).records, vec![]);
                }
            }
        }
    }
}
