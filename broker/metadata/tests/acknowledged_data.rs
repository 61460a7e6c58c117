//! Whatever is acknowledged survives, as long as fewer than min.insync.replicas replicas lose data at once.
//!
//! The rules run against a small model of replication: brokers that see the metadata late, leaders that do
//! not know that they were replaced, followers that copy logs, machines that crash with and without their
//! unflushed data, disks that are exchanged. Nothing in the model is timed, so every interleaving is possible.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "acknowledged_data/world.rs"]
mod world;

use foz_metadata::rules::ElectionKind;
use proptest::prelude::*;

use world::{NODES, Step, World};

fn step(has_unclean_elections: bool) -> impl Strategy<Value = Step> {
    let node = || 0..NODES;
    prop_oneof![
        4 => (node(), any::<bool>(), 0..=4usize)
            .prop_map(|(node, power_loss, keeps)| Step::Crash { node, power_loss, keeps }),
        6 => node().prop_map(|node| Step::Fence { node }),
        8 => (node(), prop::bool::weighted(0.1), prop::bool::weighted(0.1))
            .prop_map(|(node, new_disk, answer_lost)| Step::Register { node, new_disk, answer_lost }),
        10 => node().prop_map(|node| Step::Unfence { node }),
        2 => node().prop_map(|node| Step::Stop { node }),
        20 => (node(), 1..4usize).prop_map(|(node, batches)| Step::See { node, batches }),
        16 => node().prop_map(|node| Step::Append { node }),
        30 => (node(), node(), 0..4usize)
            .prop_map(|(leader, follower, records)| Step::Fetch { leader, follower, records }),
        16 => node().prop_map(|node| Step::Acknowledge { node }),
        16 => (node(), node(), prop::bool::weighted(0.2))
            .prop_map(|(leader, member, answer_lost)| Step::Join { leader, member, answer_lost }),
        6 => (node(), node(), prop::bool::weighted(0.2))
            .prop_map(|(leader, member, answer_lost)| Step::Leave { leader, member, answer_lost }),
        1 => Just(Step::Elect(if has_unclean_elections {
            ElectionKind::Unclean
        } else {
            ElectionKind::Preferred
        })),
        1 => Just(Step::Tick),
        1 => (1..4usize).prop_map(|min_insync| Step::SetMinInsync { min_insync }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_was_acknowledged_is_on_every_clean_leader(
        replicas in 1..=3usize,
        min_insync in 1..=3usize,
        steps in prop::collection::vec(step(false), 1..300),
    ) {
        let mut world = World::new(replicas, min_insync);
        for step in steps {
            world.take(step);
        }
    }

    #[test]
    fn after_unclean_elections_the_state_is_sound_again(
        replicas in 1..=3usize,
        min_insync in 1..=3usize,
        steps in prop::collection::vec(step(true), 1..300),
    ) {
        let mut world = World::new(replicas, min_insync);
        for step in steps {
            world.take(step);
        }
    }
}
