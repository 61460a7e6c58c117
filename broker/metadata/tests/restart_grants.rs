//! A restart grant never takes a partition below its minimum where the ISR allowed better, and never blocks for good.
//!
//! The rules that the active controller runs, over a million steps of everything that happens around grants, in any
//! order: two operators of which one is old, brokers and controllers that are asked to end, answers that are lost,
//! crashes, followers that lag, reassignments that begin, change and are called off, partitions that are made while
//! brokers are away, time limits. After every step:
//!
//! * What was protected still is, unless the step was a failure: a partition with its minimum of members in sync
//!   besides all granted nodes still has it. So whoever stops by a grant leaves the minimum behind.
//! * A grant is written only where that holds with it, or where no ISR could protect the partition: then
//!   it is named, and one replica goes at a time.
//! * At most one controller has a grant, and the others are a majority.
//! * A broker with a grant leads nothing that another member of the ISR can lead.
//!
//! Now and then everything becomes well. Then every grant ends, every reassignment is complete, and every
//! broker gets its grant, one after the other, those that were denied before too. And every other time the whole
//! cluster is stopped and started: none of the grants outlasts that.
//!
//! Each test is a cluster of another shape with a quarter of the steps; they run side by side.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "restart_grants/check.rs"]
mod check;
#[path = "restart_grants/random.rs"]
mod random;
#[path = "restart_grants/well.rs"]
mod well;
#[path = "restart_grants/world.rs"]
mod world;

use world::{Shape, World};

const STEPS: usize = 250_001;
/// From one time when everything is well to the next.
const STEPS_OF_EPISODE: usize = 500;

fn walk(seed: u64, shape: &Shape) -> World {
    let mut world = World::new(seed, shape);
    let mut taken = 0;
    while taken < STEPS {
        for _ in 0..STEPS_OF_EPISODE {
            world.step();
            taken += 1;
        }
        world.become_well();
    }
    assert_eq!(world.seen.steps, taken);
    world
}

#[test]
fn three_brokers() {
    let world = walk(
        1,
        &Shape {
            brokers: 3,
            topics: &[(3, 2, 2), (3, 1, 1)],
        },
    );
    world.seen.assert_all();
}

#[test]
fn five_brokers() {
    let world = walk(
        2,
        &Shape {
            brokers: 5,
            topics: &[(3, 2, 2), (5, 3, 1)],
        },
    );
    world.seen.assert_all();
}

#[test]
fn what_cannot_be_protected_beside_what_can() {
    let world = walk(
        3,
        &Shape {
            brokers: 4,
            topics: &[(2, 2, 1), (1, 1, 1), (3, 2, 1)],
        },
    );
    world.seen.assert_all();
}

#[test]
fn two_replicas_of_each_partition() {
    let world = walk(
        4,
        &Shape {
            brokers: 6,
            topics: &[(2, 1, 3)],
        },
    );
    world.seen.assert_all();
}
