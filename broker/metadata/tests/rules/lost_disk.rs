//! A broker that comes back without its disk leads nothing that others may still have.

use std::collections::BTreeMap;

use foz_metadata::image::{Image, NO_LEADER};
use foz_metadata::record::{Fact, Record, UnregisterBrokerRecord};
use foz_metadata::rules::{
    DataDirectory, Decision, ElectLeaders, ElectionKind, NewTopic, RegisterBroker, ResourceName,
    elect_leaders, elect_unclean_where_allowed, raise_internal_topics, register_broker,
};
use uuid::Uuid;

use crate::support::{
    alter, cluster, commit, create, epoch, fence, new_topic, partition, propose, registration,
    replicated, restart, set, state, unfence,
};

type Change = fn(&mut RegisterBroker);

const EMPTIED: Change = |request| {
    let node_id = u128::try_from(request.node_id).unwrap();
    let directory_id = 10_000 * (node_id + 1) + request.incarnation.as_u128();
    request.directories[0].id = Uuid::from_u128(directory_id);
    request.directories[0].disk_epoch = -1;
};

const LOST: [Change; 4] = [
    EMPTIED,
    // Another one, of which nobody can say what it has.
    |request| request.directories[0].id = Uuid::from_u128(7),
    // Two others.
    |request| {
        let other = &mut request.directories[0];
        other.id = Uuid::from_u128(7);
        let another = DataDirectory {
            id: Uuid::from_u128(8),
            ..other.clone()
        };
        request.directories.push(another);
    },
    // An older state of the right one.
    |request| request.directories[0].disk_epoch -= 1,
];

/// Another process of the node, with the right disk and all that was on it, but for `change`.
fn register(image: &mut Image, node_id: i32, change: Change) {
    let known = image.broker(node_id).unwrap().clone();
    let mut request = registration(node_id, known.incarnation.as_u128() + 1);
    request.directories[0].id = known.directories[0].id;
    request.directories[0].disk_epoch = known.epoch;
    request.directories[0].intact = true;
    change(&mut request);
    let decision = register_broker(image, &request).unwrap();
    commit(image, decision);
}

fn elect_by_hand(image: &mut Image) {
    let request = ElectLeaders {
        kind: ElectionKind::Unclean,
        partitions: Some(vec![("t".to_owned(), 0)]),
        operator_epoch: 0,
    };
    let decision = elect_leaders(image, &request).unwrap();
    commit(image, decision).remove(0).2.unwrap();
}

fn tick(image: &mut Image) -> usize {
    let decision = elect_unclean_where_allowed(image, &BTreeMap::new()).unwrap();
    commit(image, decision)
}

/// Broker 0 was alone in sync and is fenced; the others are alive, and a little late.
fn led_by_one() -> Image {
    let mut image = replicated("1");
    propose(&mut image, &[0]).unwrap();
    fence(&mut image, 0);
    assert_eq!(state(&image), (&[][..], &[0][..], &[0][..], NO_LEADER));
    image
}

#[test]
fn an_isr_of_one_that_lost_its_disk_does_not_lead_again() {
    for lost in LOST {
        let mut image = led_by_one();
        register(&mut image, 0, lost);
        unfence(&mut image, 0);
        assert_eq!(state(&image), (&[][..], &[][..], &[][..], NO_LEADER));
        assert_eq!(partition(&image).never_in_sync, [0]);
        assert_eq!(tick(&mut image), 0);
        let leader_epoch = partition(&image).leader_epoch;
        restart_all(&mut image);
        assert_eq!(partition(&image).leader_epoch, leader_epoch, "nobody leads");
    }
    let mut image = led_by_one();
    register(&mut image, 0, |request| {
        request.directories[0].intact = false
    });
    assert_eq!(state(&image), (&[][..], &[][..], &[0][..], NO_LEADER));
    unfence(&mut image, 0);
    assert_eq!(partition(&image).leader, 0, "only its end is in doubt");
}

fn restart_all(image: &mut Image) {
    for node_id in 0..3 {
        fence(image, node_id);
        register(image, node_id, |_| {});
        unfence(image, node_id);
    }
}

#[test]
fn an_unclean_election_prefers_replicas_that_did_not_lose_their_disks() {
    let without_disk = || {
        let mut image = led_by_one();
        register(&mut image, 0, EMPTIED);
        unfence(&mut image, 0);
        Image::decode(&image.encode()).unwrap()
    };
    let mut image = without_disk();
    elect_by_hand(&mut image);
    assert_eq!(state(&image), (&[1][..], &[][..], &[][..], 1));
    assert_eq!(partition(&image).never_in_sync, [0]);
    propose(&mut image, &[1, 0]).unwrap();
    assert_eq!(partition(&image).never_in_sync, []);

    let mut image = without_disk();
    fence(&mut image, 1);
    let key = "unclean.leader.election.enable";
    let topic = ResourceName::Topic("t".to_owned());
    let decision = alter(&image, topic, &[set(key, "true")]).unwrap();
    commit(&mut image, decision);
    assert_eq!(tick(&mut image), 1);
    assert_eq!(partition(&image).leader, 2);

    // Nobody else is there, and somebody wants a leader all the same.
    let mut image = without_disk();
    fence(&mut image, 1);
    fence(&mut image, 2);
    assert_eq!(tick(&mut image), 0);
    elect_by_hand(&mut image);
    assert_eq!(state(&image), (&[0][..], &[][..], &[][..], 0));
    assert_eq!(partition(&image).never_in_sync, []);
}

#[test]
fn of_replicas_that_were_never_in_sync_the_one_that_is_so_for_longest_has_most() {
    let mut image = led_by_one();
    for node_id in [2, 1, 0, 2] {
        fence(&mut image, node_id);
        register(&mut image, node_id, EMPTIED);
        unfence(&mut image, node_id);
    }
    assert_eq!(partition(&image).never_in_sync, [1, 0, 2]);
    elect_by_hand(&mut image);
    assert_eq!(partition(&image).leader, 1);
    assert_eq!(partition(&image).never_in_sync, [0, 2]);
}

#[test]
fn a_single_replica_leads_again_with_what_there_is() {
    for lost in LOST {
        let mut image = cluster(3);
        let assignments = vec![vec![0]];
        let topic = NewTopic {
            assignments,
            ..new_topic("t")
        };
        create(&mut image, topic);
        fence(&mut image, 0);
        for _ in 0..2 {
            register(&mut image, 0, lost);
            assert_eq!(state(&image), (&[][..], &[][..], &[0][..], NO_LEADER));
        }
        unfence(&mut image, 0);
        assert_eq!(state(&image), (&[0][..], &[][..], &[][..], 0));
        assert_eq!(partition(&image).never_in_sync, []);
    }
}

#[test]
fn replicas_that_were_added_are_others() {
    let mut image = cluster(1);
    let topic = NewTopic {
        internal: true,
        ..new_topic("t")
    };
    create(&mut image, topic);
    let decision = register_broker(&image, &registration(1, 1)).unwrap();
    commit(&mut image, decision);
    unfence(&mut image, 1);
    let decision = raise_internal_topics(&image, &BTreeMap::new()).unwrap();
    commit(&mut image, decision);
    assert_eq!(partition(&image).never_in_sync, [1]);
    fence(&mut image, 0);
    register(&mut image, 0, EMPTIED);
    unfence(&mut image, 0);
    assert_eq!(state(&image), (&[][..], &[][..], &[][..], NO_LEADER));
    elect_by_hand(&mut image);
    assert_eq!(partition(&image).leader, 1, "it may have copied a lot");
}

/// All three are down; 1 and 2 had everything, and 2 led last.
fn all_down() -> Image {
    let mut image = replicated("2");
    for node_id in 0..3 {
        fence(&mut image, node_id);
    }
    assert_eq!(state(&image), (&[][..], &[1, 2][..], &[2][..], NO_LEADER));
    image
}

#[test]
fn an_eligible_replica_that_lost_its_disk_is_not_eligible_and_the_others_are() {
    for (node_id, elr, last_known_elr) in [(1, [2], &[2][..]), (2, [1], &[][..])] {
        let mut image = all_down();
        register(&mut image, node_id, EMPTIED);
        unfence(&mut image, node_id);
        let expected = (&[][..], &elr[..], last_known_elr, NO_LEADER);
        assert_eq!(state(&image), expected);
        restart(&mut image, elr[0], true);
        unfence(&mut image, elr[0]);
        assert_eq!(state(&image), (&elr[..], &[][..], &[][..], elr[0]));
    }
}

/// Of those that are left nobody knows which one has most.
#[test]
fn without_the_disk_of_the_last_leader_replicas_whose_end_is_in_doubt_wait() {
    for order in [[1, 2], [2, 1]] {
        let mut image = all_down();
        for node_id in order {
            match node_id {
                2 => register(&mut image, 2, EMPTIED),
                _ => register(&mut image, 1, |request| {
                    request.directories[0].intact = false
                }),
            }
        }
        for node_id in [2, 1] {
            unfence(&mut image, node_id);
        }
        assert_eq!(state(&image), (&[][..], &[][..], &[][..], NO_LEADER));
        elect_by_hand(&mut image);
        assert_eq!(partition(&image).leader, 1);
    }
}

#[test]
fn a_disk_exchanged_between_two_registrations_is_lost_and_so_is_the_one_put_back() {
    let mut image = led_by_one();
    let right_epoch = epoch(&image, 0);
    register(&mut image, 0, |request| {
        request.directories[0].intact = false
    });
    assert_eq!(partition(&image).last_known_elr, [0]);
    register(&mut image, 0, EMPTIED);
    assert_eq!(partition(&image).last_known_elr, []);
    let mut request = registration(0, 9);
    (
        request.directories[0].disk_epoch,
        request.directories[0].intact,
    ) = (right_epoch, true);
    let decision = register_broker(&image, &request).unwrap();
    commit(&mut image, decision);
    unfence(&mut image, 0);
    assert_eq!(state(&image), (&[][..], &[][..], &[][..], NO_LEADER));
    assert_eq!(partition(&image).never_in_sync, [0]);
}

#[test]
fn a_clean_registration_after_a_lost_disk_gives_nothing_back() {
    let mut image = led_by_one();
    register(&mut image, 0, EMPTIED);
    for log_intact in [true, false] {
        let change: Change = match log_intact {
            true => |_| {},
            false => |request| request.directories[0].intact = false,
        };
        register(&mut image, 0, change);
        unfence(&mut image, 0);
        fence(&mut image, 0);
    }
    unfence(&mut image, 0);
    assert_eq!(state(&image), (&[][..], &[][..], &[][..], NO_LEADER));
    assert_eq!(partition(&image).never_in_sync, [0]);
}

#[test]
fn nobody_vouches_for_the_disk_of_an_unregistered_broker() {
    let mut image = led_by_one();
    let known = image.broker(0).unwrap().clone();
    let unregistered = Fact::UnregisterBroker(UnregisterBrokerRecord {
        node_id: 0,
        epoch: known.epoch,
    });
    let decision = Decision {
        records: vec![Record::from(unregistered)],
        answer: (),
    };
    commit(&mut image, decision);
    let mut request = registration(0, 2);
    (
        request.directories[0].disk_epoch,
        request.directories[0].intact,
    ) = (known.epoch, true);
    let decision = register_broker(&image, &request).unwrap();
    commit(&mut image, decision);
    unfence(&mut image, 0);
    assert_eq!(state(&image), (&[][..], &[][..], &[][..], NO_LEADER));
}

#[test]
fn a_process_that_goes_on_with_another_directory_leads_no_more() {
    let mut image = replicated("1");
    propose(&mut image, &[0]).unwrap();
    let mut request = registration(0, 1);
    request.directories[0].id = Uuid::from_u128(7);
    let decision = register_broker(&image, &request).unwrap();
    commit(&mut image, decision);
    unfence(&mut image, 0);
    assert_eq!(state(&image), (&[][..], &[][..], &[][..], NO_LEADER));
}

#[test]
fn a_registration_in_doubt_that_nobody_heard_of_loses_no_disk() {
    let mut image = led_by_one();
    let disk_epoch = epoch(&image, 0);
    for incarnation in 2..5 {
        let mut request = registration(0, incarnation);
        request.directories[0].disk_epoch = disk_epoch;
        let decision = register_broker(&image, &request).unwrap();
        commit(&mut image, decision);
        assert_eq!(partition(&image).last_known_elr, [0]);
    }
    unfence(&mut image, 0);
    assert_eq!(partition(&image).leader, 0);
}
