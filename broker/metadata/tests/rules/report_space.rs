//! Brokers whose disks have no room.

use std::collections::BTreeMap;

use foz_metadata::image::{Image, NO_LEADER};
use foz_metadata::rules::{
    ErrorCode, NewTopic, ResourceName, balance_leaders, elect_unclean_where_allowed, report_space,
};

use crate::support::{
    alter, cluster, commit, create, epoch, fence, new_topic, partition, propose, replicated,
    restart, set, state, stop, unfence,
};

fn report(image: &mut Image, node_id: i32, short_of_space: bool) {
    let decision = report_space(image, node_id, epoch(image, node_id), short_of_space).unwrap();
    commit(image, decision);
}

#[test]
fn who_has_no_room_hands_over_and_comes_back_when_it_has() {
    let mut image = replicated("2");
    assert_eq!(partition(&image).leader, 0);
    report(&mut image, 0, true);
    assert_eq!(state(&image), (&[1, 2][..], &[][..], &[][..], 1));
    let refused = propose(&mut image, &[1, 2, 0]).unwrap_err();
    assert_eq!(refused.code, ErrorCode::IneligibleReplica);
    assert!(refused.message.contains("no room"), "{refused}");
    report(&mut image, 0, false);
    assert_eq!(state(&image), (&[1, 2][..], &[][..], &[][..], 1));
    propose(&mut image, &[1, 2, 0]).unwrap();
    assert_eq!(state(&image), (&[1, 2, 0][..], &[][..], &[][..], 1));
}

#[test]
fn who_has_no_room_leaves_only_where_its_copy_is_not_needed() {
    let mut image = replicated("2");
    report(&mut image, 0, true);
    assert_eq!(state(&image), (&[1, 2][..], &[][..], &[][..], 1));
    // One with room is not enough to acknowledge anything: that leads, and the other stays with what it has.
    report(&mut image, 1, true);
    assert_eq!(state(&image), (&[1, 2][..], &[][..], &[][..], 2));
    report(&mut image, 2, true);
    assert_eq!(state(&image), (&[1, 2][..], &[][..], &[][..], 2));
    report(&mut image, 1, false);
    assert_eq!(state(&image), (&[1, 2][..], &[][..], &[][..], 1));
    report(&mut image, 0, false);
    propose(&mut image, &[1, 2, 0]).unwrap();
    assert_eq!(state(&image), (&[1, 0][..], &[][..], &[][..], 1));
    // The lag takes out who stayed, as anybody.
    report(&mut image, 0, true);
    propose(&mut image, &[1]).unwrap();
    assert_eq!(state(&image), (&[1][..], &[0][..], &[][..], 1));
}

#[test]
fn a_minimum_of_one_is_reached_by_one_with_room() {
    let mut image = replicated("1");
    for node_id in [0, 1] {
        report(&mut image, node_id, true);
    }
    assert_eq!(state(&image), (&[2][..], &[][..], &[][..], 2));
    report(&mut image, 2, true);
    assert_eq!(state(&image), (&[2][..], &[][..], &[][..], 2));
    report(&mut image, 1, false);
    assert_eq!(partition(&image).leader, 2, "it is not in sync");
    propose(&mut image, &[2, 1]).unwrap();
    assert_eq!(state(&image), (&[1][..], &[][..], &[][..], 1));
}

#[test]
fn without_room_anywhere_a_broker_that_restarts_comes_back() {
    let mut image = replicated("2");
    for node_id in 0..3 {
        report(&mut image, node_id, true);
    }
    propose(&mut image, &[1, 2, 0]).unwrap();
    assert_eq!(state(&image).0, [1, 2, 0]);
    fence(&mut image, 1);
    restart(&mut image, 1, true);
    report(&mut image, 1, true);
    unfence(&mut image, 1);
    propose(&mut image, &[2, 0, 1]).unwrap();
    assert_eq!(state(&image), (&[2, 0, 1][..], &[][..], &[][..], 2));
}

/// That counts for more than that it cannot take anything now.
#[test]
fn who_restarts_without_room_comes_back_until_somebody_in_sync_has_some() {
    let mut image = replicated("2");
    for node_id in 0..3 {
        report(&mut image, node_id, true);
    }
    assert_eq!(state(&image).0, [1, 2]);
    fence(&mut image, 1);
    restart(&mut image, 1, true);
    report(&mut image, 1, true);
    unfence(&mut image, 1);
    report(&mut image, 0, false);
    propose(&mut image, &[2, 0, 1]).unwrap();
    assert_eq!(state(&image), (&[2, 0, 1][..], &[][..], &[][..], 0));
    fence(&mut image, 1);
    restart(&mut image, 1, true);
    report(&mut image, 1, true);
    unfence(&mut image, 1);
    let refused = propose(&mut image, &[2, 0, 1]).unwrap_err();
    assert_eq!(refused.code, ErrorCode::IneligibleReplica);
}

#[test]
fn who_has_no_room_leaves_when_fewer_are_enough() {
    let mut image = replicated("2");
    for node_id in [0, 1] {
        report(&mut image, node_id, true);
    }
    assert_eq!(state(&image), (&[1, 2][..], &[][..], &[][..], 2));
    let topic = ResourceName::Topic("t".to_owned());
    let fewer = set("min.insync.replicas", "1");
    let decision = alter(&image, topic, &[fewer]).unwrap();
    commit(&mut image, decision);
    assert_eq!(state(&image), (&[2][..], &[][..], &[][..], 2));
}

#[test]
fn an_unclean_election_takes_one_with_room_before_one_without() {
    for (short, expected) in [(0, 1), (1, 0)] {
        let mut image = replicated("1");
        for node_id in [1, 0, 2] {
            fence(&mut image, node_id);
        }
        assert_eq!(state(&image).0, [] as [i32; 0]);
        for node_id in [0, 1] {
            restart(&mut image, node_id, true);
            report(&mut image, node_id, node_id == short);
            unfence(&mut image, node_id);
        }
        assert_eq!(partition(&image).leader, NO_LEADER);
        let unclean = set("unclean.leader.election.enable", "true");
        let topic = ResourceName::Topic("t".to_owned());
        let decision = alter(&image, topic, &[unclean]).unwrap();
        commit(&mut image, decision);
        let decision = elect_unclean_where_allowed(&image, &BTreeMap::new()).unwrap();
        commit(&mut image, decision);
        assert_eq!(partition(&image).leader, expected);
    }
}

#[test]
fn a_preferred_leader_without_room_is_not_preferred() {
    let mut image = replicated("3");
    report(&mut image, 0, true);
    assert_eq!(state(&image), (&[0, 1, 2][..], &[][..], &[][..], 1));
    let balanced = balance_leaders(&image, &BTreeMap::new()).unwrap();
    assert_eq!((balanced.answer, balanced.records), (0, vec![]));
    report(&mut image, 0, false);
    let balanced = balance_leaders(&image, &BTreeMap::new()).unwrap();
    commit(&mut image, balanced);
    assert_eq!(partition(&image).leader, 0);
}

#[test]
fn of_those_eligible_one_with_room_leads_first() {
    let mut image = replicated("3");
    for node_id in [1, 2, 0] {
        fence(&mut image, node_id);
    }
    assert_eq!(state(&image).1, [0, 1, 2]);
    // A registration knows nothing of the disk: the first beat tells, before the broker is unfenced.
    for node_id in 0..3 {
        restart(&mut image, node_id, true);
        report(&mut image, node_id, node_id != 2);
    }
    unfence(&mut image, 0);
    assert_eq!(partition(&image).leader, 0, "better than nobody");
    propose(&mut image, &[0]).unwrap();
    unfence(&mut image, 2);
    propose(&mut image, &[0, 2]).unwrap();
    assert_eq!(partition(&image).leader, 2);
    assert_ne!(partition(&image).leader, NO_LEADER);
}

#[test]
fn who_is_about_to_stop_takes_nothing_over() {
    let mut image = replicated("1");
    report(&mut image, 1, true);
    report(&mut image, 2, true);
    assert_eq!(state(&image).0, [0]);
    stop(&mut image, 0);
    assert_eq!(partition(&image).leader, 0);
    let broker = image.broker(1).unwrap();
    assert!(broker.can_lead() && !broker.can_take_over());
    // What one record says of a broker takes nothing else back.
    stop(&mut image, 1);
    fence(&mut image, 1);
    assert!(image.broker(1).unwrap().short_of_space);
    unfence(&mut image, 1);
    let broker = image.broker(1).unwrap();
    assert!(broker.stopping && broker.short_of_space);
}

#[test]
fn new_partitions_go_to_who_has_room() {
    let mut image = cluster(4);
    report(&mut image, 0, true);
    let topic = |name, replication_factor| NewTopic {
        partitions: 12,
        replication_factor,
        ..new_topic(name)
    };
    create(&mut image, topic("orders", 3));
    for (_, _, partition) in image.partitions() {
        assert!(!partition.replicas.contains(&0), "{partition:?}");
    }
    // There are no more brokers: it gets replicas, as if it was away.
    create(&mut image, topic("everywhere", 4));
    for (_, _, partition) in image.partitions() {
        assert!(!partition.isr.contains(&0), "{partition:?}");
    }
    // Without room anywhere topics are made as ever.
    for node_id in 1..4 {
        report(&mut image, node_id, true);
    }
    create(&mut image, topic("late", 4));
    let late = image.topic("late").unwrap();
    for partition in &late.partitions {
        assert_eq!(partition.isr.len(), 4, "{partition:?}");
    }
}

#[test]
fn the_report_of_an_older_registration_does_not_count() {
    let mut image = replicated("2");
    let old = epoch(&image, 0);
    fence(&mut image, 0);
    restart(&mut image, 0, true);
    let refused = report_space(&image, 0, old, true).unwrap_err();
    assert_eq!(refused.code, ErrorCode::StaleBrokerEpoch);
    let decision = report_space(&image, 0, epoch(&image, 0), false).unwrap();
    assert_eq!(decision.records, [], "nothing is new");
}
