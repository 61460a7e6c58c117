//! Where replicas go.

use std::collections::BTreeMap;

use foz_metadata::image::{Image, Partition};
use foz_metadata::rules::{CreatePartitions, Increase, NewTopic, assign_racks, create_partitions};
use proptest::prelude::*;

use crate::support::{
    cluster, commit, cordon_brokers, create, fence, grant, new_topic, refusal_of, stop,
};

/// Brokers in so many racks, taking turns.
fn in_racks(brokers: i32, racks: i32) -> Image {
    let mut image = cluster(brokers);
    let names = (0..brokers).map(|node_id| (node_id, format!("rack-{}", node_id % racks)));
    let decision = assign_racks(&image, &names.collect(), 0).unwrap();
    commit(&mut image, decision);
    image
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 100,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn replicas_are_on_as_many_racks_as_there_are_and_spread_over_brokers(
        per_rack in 1..4i32,
        racks in 1..4i32,
        replication_factor in 1..4i32,
        topics in prop::collection::vec(1..30i32, 1..6),
    ) {
        let brokers = per_rack * racks;
        let replication_factor = replication_factor.min(brokers);
        let mut image = in_racks(brokers, racks);
        for (position, partitions) in topics.into_iter().enumerate() {
            create(
                &mut image,
                NewTopic { partitions, replication_factor, ..new_topic(&format!("t{position}")) },
            );
        }
        for (_, _, partition) in image.partitions() {
            let mut in_rack = BTreeMap::<_, usize>::new();
            for node_id in &partition.replicas {
                *in_rack.entry(node_id % racks).or_default() += 1;
            }
            let expected = usize::try_from(racks.min(replication_factor)).unwrap();
            prop_assert_eq!(in_rack.len(), expected, "{:?}", &partition.replicas);
            let spread = in_rack.values().max().unwrap() - in_rack.values().min().unwrap();
            prop_assert!(spread <= 1, "{:?}", &partition.replicas);
        }
        let counts: Vec<_> = (0..brokers).map(|node_id| image.replica_count(node_id)).collect();
        let spread = counts.iter().max().unwrap() - counts.iter().min().unwrap();
        prop_assert!(spread <= 3, "{:?}", counts);
    }
}

/// What becomes of a broker before topics are made.
fn befalls(image: &mut Image, node_id: i32, what: u8) {
    match what {
        0 => fence(image, node_id),
        1 => {
            stop(image, node_id);
        }
        2 => {
            grant(image, node_id);
        }
        3 => cordon_brokers(image, &[node_id], true),
        // It came late, or was away, and was cordoned then.
        4 => {
            fence(image, node_id);
            cordon_brokers(image, &[node_id], true);
        }
        _ => {}
    }
}

fn increase(image: &mut Image, name: &str, count: i32) {
    let request = CreatePartitions {
        topics: vec![Increase {
            name: name.to_owned(),
            count,
            assignments: vec![],
        }],
        validate_only: false,
        operator_epoch: 0,
        seed: 5,
    };
    let decision = create_partitions(image, &request).unwrap();
    commit(image, decision).remove(0).unwrap();
}

/// What a new partition has to be, whoever is away.
fn check_new(image: &Image, racks: i32, partition: &Partition, replication_factor: i32) {
    let what = format!("{partition:?}");
    let replicas = &partition.replicas;
    let mut distinct = replicas.clone();
    distinct.sort_unstable();
    distinct.dedup();
    assert_eq!(
        distinct.len(),
        usize::try_from(replication_factor).unwrap(),
        "{what}"
    );
    assert!(!replicas.iter().any(|id| image.is_cordoned(*id)), "{what}");
    let (living, away): (Vec<i32>, Vec<i32>) = replicas.iter().partition(|id| image.can_lead(**id));
    assert_eq!((&partition.isr, &partition.never_in_sync), (&living, &away));
    assert_eq!(partition.leader, living[0], "{what}");
    let rack = |id: i32| id % racks;
    let is_open = |id: i32| !image.is_cordoned(id);
    let free: Vec<i32> = image
        .brokers()
        .map(|broker| broker.node_id)
        .filter(|id| is_open(*id) && !replicas.contains(id))
        .collect();
    let in_rack = |of: i32| replicas.iter().filter(|id| rack(**id) == rack(of)).count();
    for replica in replicas {
        for free in &free {
            // No rack has two more than another that has room.
            assert!(in_rack(*replica) <= in_rack(*free) + 1, "{what}");
            // Who is away takes nobody's place.
            let is_worse = away.contains(replica) && image.can_lead(*free);
            assert!(!is_worse || rack(*replica) != rack(*free), "{what}");
        }
    }
}

fn spread(counts: impl Iterator<Item = usize> + Clone) -> usize {
    counts.clone().max().unwrap_or_default() - counts.min().unwrap_or_default()
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 500,
        failure_persistence: None,
        ..ProptestConfig::default()
     })]

    #[test]
    fn whoever_is_away_partitions_begin_with_a_leader_and_are_spread(
        brokers in 1..9i32,
        racks in 1..9i32,
        fates in prop::collection::vec(0..9u8, 9),
        topics in prop::collection::vec((1..20i32, 1..20i32, 1..5i32), 1..5),
    ) {
        let mut image = in_racks(brokers, racks);
        for (node_id, fate) in (0..brokers).zip(fates) {
            befalls(&mut image, node_id, fate);
        }
        let open: Vec<i32> = (0..brokers).filter(|id| !image.is_cordoned(*id)).collect();
        let living: Vec<i32> = open.iter().copied().filter(|id| image.can_lead(*id)).collect();
        let open_count = i32::try_from(open.len()).unwrap();
        for (position, (partitions, more, replication_factor)) in topics.into_iter().enumerate() {
            let name = format!("t{position}");
            let new = NewTopic { partitions, replication_factor, ..new_topic(&name) };
            if living.is_empty() || replication_factor > open_count {
                refusal_of(&image, new);
                continue;
            }
            create(&mut image, new);
            increase(&mut image, &name, partitions + more);
            let topic = image.topic(&name).unwrap();
            for partition in &topic.partitions {
                check_new(&image, racks, partition, replication_factor);
            }
            let led = living.iter().map(|id| {
                topic.partitions.iter().filter(|it| it.leader == *id).count()
            });
            // It lasts until those that are away are back: that these lead their share then comes first.
            let led_within = if living.len() == open.len() { 1 } else { 2 };
            prop_assert!(spread(led.clone()) <= led_within, "{:?}", led.collect::<Vec<_>>());
            if racks == 1 || racks >= brokers {
                let held = |id: &i32| {
                    let on_it = topic.partitions.iter().filter(|it| it.replicas.contains(id));
                    on_it.count()
                };
                prop_assert!(spread(living.iter().map(held)) <= 2);
                let away = open.iter().filter(|id| !living.contains(id));
                prop_assert!(spread(away.map(held)) <= 1);
            }
        }
    }

    /// As a roll finds it: three copies on three brokers, or four on four, and so on.
    #[test]
    fn who_is_away_while_topics_are_made_leads_as_much_as_others_once_it_is_back(
        brokers in 2..7i32,
        away in 1..6i32,
        topics in prop::collection::vec((1..20i32, 1..20i32), 1..5),
    ) {
        let mut image = cluster(brokers);
        for node_id in 0..away.min(brokers - 1) {
            fence(&mut image, node_id);
        }
        for (position, (partitions, more)) in topics.into_iter().enumerate() {
            let name = format!("t{position}");
            let replication_factor = brokers;
            create(&mut image, NewTopic { partitions, replication_factor, ..new_topic(&name) });
            increase(&mut image, &name, partitions + more);
            let topic = image.topic(&name).unwrap();
            let preferred = (0..brokers).map(|id| {
                topic.partitions.iter().filter(|it| it.preferred_leader() == id).count()
            });
            prop_assert!(spread(preferred.clone()) <= 1, "{:?}", preferred.collect::<Vec<_>>());
        }
        let preferred = (0..brokers).map(|id| image.preferred_count(id));
        prop_assert!(spread(preferred.clone()) <= 1, "{:?}", preferred.collect::<Vec<_>>());
    }
}

#[test]
fn the_followers_of_one_leader_differ() {
    let mut image = cluster(4);
    create(
        &mut image,
        NewTopic {
            partitions: 12,
            replication_factor: 2,
            ..new_topic("t")
        },
    );
    for leader in 0..4 {
        let mut followers: Vec<_> = image
            .partitions_led_by(leader)
            .map(|(_, _, partition)| partition.replicas[1])
            .collect();
        followers.sort_unstable();
        followers.dedup();
        // That all have as many replicas comes first, so not each of the three others need be one.
        assert!(followers.len() >= 2, "of broker {leader}: {followers:?}");
    }
}
