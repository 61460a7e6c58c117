//! What is acknowledged survives, and what may be lost is lost only so:
//!
//! * As long as fewer than `min.insync.replicas` replicas lose data at once, nothing is.
//! * With more, the last leader may lead again, without what its own loss of power took.
//! * Nobody leads without the disk that it had, before it has been in sync again: not with
//!   `min.insync.replicas=1`, and not when all disks are lost. Only a single replica does.
//! * An election by will throws away what that leader does not have; it is not one without its disk while
//!   another could lead. From then on all of this holds again.
//!
//! The rules run against a small model of replication: brokers that see the metadata late, leaders that do
//! not know that they were replaced, followers that copy logs, machines that crash with and without their
//! unflushed data, disks that are exchanged, replicas that move to other brokers. Nothing in the model is timed, so every interleaving is possible.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "acknowledged_data/world.rs"]
mod world;

use foz_metadata::rules::ElectionKind;
use proptest::prelude::*;

use world::{Disk, NODES, Step, World};

const CASES: u32 = 2000;
const STEPS_MAX: usize = 120;
const DIRECTORIES_MAX: usize = 3;

fn step(elections: ElectionKind) -> impl Strategy<Value = Step> {
    let node = || 0..NODES;
    let power_loss = || prop::bool::weighted(0.5);
    let directory = || 0..DIRECTORIES_MAX;
    let disk = || {
        prop_oneof![
            16 => Just(Disk::Same),
            2 => Just(Disk::Empty),
            2 => Just(Disk::Older),
            1 => Just(Disk::TakenOut),
            3 => Just(Disk::Failed),
            1 => (0..4usize).prop_map(|loses| Disk::Damaged { loses }),
            1 => Just(Disk::Missing),
        ]
    };
    // Mostly one thing at a time; a process may register once more, too.
    let disks = || {
        let same = prop_oneof![Just(Disk::Untouched), Just(Disk::Same)];
        let next = prop_oneof![12 => same, 4 => disk()];
        prop_oneof![
            1 => Just([Disk::Untouched; 2]),
            8 => (disk(), next).prop_map(|(disk, next)| [disk, next]),
        ]
    };
    prop_oneof![
        6 => Just(Step::Flow),
        4 => (node(), power_loss(), 0..4usize)
            .prop_map(|(node, power_loss, loses)| Step::Crash { node, power_loss, loses }),
        4 => (node(), power_loss(), 0..4usize, directory(), disks())
            .prop_map(|(node, power_loss, loses, directory, disks)| Step::Restart { node, power_loss, loses, directory, disks }),
        2 => (node(), directory()).prop_map(|(node, directory)| Step::Copy { node, directory }),
        10 => node().prop_map(|node| Step::Fence { node }),
        12 => (node(), directory(), disks(), prop::bool::weighted(0.1))
            .prop_map(|(node, directory, disks, answer_lost)| Step::Register { node, directory, disks, answer_lost }),
        14 => node().prop_map(|node| Step::Unfence { node }),
        4 => (node(), directory()).prop_map(|(node, directory)| Step::Fail { node, directory }),
        4 => node().prop_map(|node| Step::Report { node }),
        2 => node().prop_map(|node| Step::Stop { node }),
        4 => (node(), any::<bool>()).prop_map(|(node, is_short)| Step::Space { node, is_short }),
        16 => (node(), prop_oneof![1..4usize, Just(100)])
            .prop_map(|(node, batches)| Step::See { node, batches }),
        12 => node().prop_map(|node| Step::Append { node }),
        24 => (node(), node(), 0..4usize)
            .prop_map(|(leader, follower, records)| Step::Fetch { leader, follower, records }),
        12 => node().prop_map(|node| Step::Acknowledge { node }),
        12 => (node(), node(), prop::bool::weighted(0.2))
            .prop_map(|(leader, member, answer_lost)| Step::Join { leader, member, answer_lost }),
        6 => (node(), node(), prop::bool::weighted(0.2))
            .prop_map(|(leader, member, answer_lost)| Step::Leave { leader, member, answer_lost }),
        4 => Just(Step::Elect(elections)),
        2 => node().prop_map(|node| Step::MakeAnew { node }),
        1 => Just(Step::Tick),
        1 => (1..4usize).prop_map(|min_insync| Step::SetMinInsync { min_insync }),
        4 => (node(), 0..4usize).prop_map(|(first, count)| Step::Reassign { first, count }),
    ]
}

/// What happens to a directory of node 1 while its broker is down, and to the next one.
fn restart(directory: usize, disks: [Disk; 2]) -> Step {
    Step::Restart {
        node: 1,
        power_loss: false,
        loses: 0,
        directory,
        disks,
    }
}

/// Half of what brokers do is done by the one that leads.
fn aimed_at_leader(mut step: Step, world: &World) -> Step {
    match &mut step {
        Step::Append { node } | Step::Acknowledge { node } => *node = world.leader_or(*node),
        Step::Fetch { leader, .. } | Step::Join { leader, .. } | Step::Leave { leader, .. } => {
            *leader = world.leader_or(*leader);
        }
        _ => {}
    }
    step
}

/// Switches on the bug that the environment asks for, which these properties must find.
#[cfg(feature = "canaries")]
fn choose_canary() {
    if let Ok(name) = std::env::var(foz_canary::VARIABLE) {
        foz_canary::choose(&name).unwrap();
    }
}

fn run(replicas: usize, min_insync: usize, directories: usize, steps: Vec<(Step, bool)>) {
    #[cfg(feature = "canaries")]
    choose_canary();
    let mut world = World::new(replicas, min_insync, directories);
    for (step, at_leader) in steps {
        let step = if at_leader {
            aimed_at_leader(step, &world)
        } else {
            step
        };
        world.take(step);
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: CASES,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn what_was_acknowledged_is_on_every_clean_leader(
        replicas in prop::sample::select(vec![1, 2, 3, 3, 3]),
        min_insync in prop::sample::select(vec![1, 1, 2, 2, 3]),
        directories in 1..=DIRECTORIES_MAX,
        steps in prop::collection::vec(
            (step(ElectionKind::Preferred), any::<bool>()),
            1..STEPS_MAX,
        ),
    ) {
        run(replicas, min_insync, directories, steps);
    }

    #[test]
    fn after_unclean_elections_what_is_acknowledged_survives_again(
        replicas in prop::sample::select(vec![1, 2, 3, 3, 3]),
        min_insync in prop::sample::select(vec![1, 1, 2, 2, 3]),
        directories in 1..=DIRECTORIES_MAX,
        steps in prop::collection::vec((step(ElectionKind::Unclean), any::<bool>()), 1..STEPS_MAX),
    ) {
        run(replicas, min_insync, directories, steps);
    }
}

/// Found by the properties above, once in many thousands of their cases.
#[test]
fn a_cancelled_reassignment_leaves_as_many_copies_as_were_promised() {
    let steps = [
        Step::Fence { node: 0 },
        Step::Reassign { first: 2, count: 3 },
        Step::Flow,
        Step::Reassign { first: 0, count: 0 },
        Step::Restart {
            node: 1,
            power_loss: true,
            loses: 1,
            directory: 0,
            disks: [Disk::Same, Disk::Untouched],
        },
    ];
    run(2, 2, 1, steps.map(|step| (step, false)).into());
}

/// One of its directories dies, its replica is made anew in another, that one dies and the first comes back: for a while, or
/// for good. In between the replica may be marked for the second one, both may be back for once, and the process may
/// register more than once.
#[test]
fn a_log_that_was_made_anew_elsewhere_does_not_come_back() {
    let same = [Disk::Same; 2];
    for (replicas, directories) in [(2, 2), (3, 3)] {
        let all = 0..directories;
        let failing = || all.clone().map(Some).chain([None]);
        let backs = [Disk::Same, Disk::Older];
        let gones = [Disk::Failed, Disk::TakenOut, Disk::Empty, Disk::Older];
        let between = [vec![], vec![same], vec![[Disk::Untouched; 2]]];
        for first in all.clone() {
            for failing in failing() {
                for disks in backs.map(|back| gones.map(|gone| [back, gone])).concat() {
                    for between in &between {
                        let mut steps = vec![Step::Flow];
                        let copies = all.clone();
                        steps.extend(copies.map(|directory| Step::Copy { node: 1, directory }));
                        steps.push(Step::MakeAnew { node: 1 });
                        steps.extend([0, 2, 3].map(|member| Step::Leave {
                            leader: 1,
                            member,
                            answer_lost: false,
                        }));
                        steps.extend([Step::Append { node: 1 }, Step::Acknowledge { node: 1 }]);
                        if let Some(directory) = failing {
                            steps.push(Step::Fail { node: 1, directory });
                            steps.push(Step::Report { node: 1 });
                        }
                        steps.extend(between.iter().map(|disks| restart(first, *disks)));
                        steps.push(restart(first, disks));
                        steps.push(restart(first, [Disk::Untouched; 2]));
                        steps.extend([Step::Flow, Step::Flow, restart(first, same), Step::Flow]);
                        let steps = steps.into_iter().map(|step| (step, false));
                        run(replicas, 1, directories, steps.collect());
                    }
                }
            }
        }
    }
}
