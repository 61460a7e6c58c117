//! Where replicas go.

use std::collections::BTreeMap;

use foz_metadata::image::Image;
use foz_metadata::rules::{NewTopic, assign_racks};
use proptest::prelude::*;

use crate::support::{cluster, commit, create, new_topic};

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
