//! Several replicas of one partition with logs in memory, a controller that elects cleanly, and a network
//! that delays, loses, repeats and reorders. Whatever happens, what a leader once called committed stays
//! as it is; and once everything works again, all replicas are in sync and equal.

#[path = "model/world.rs"]
mod world;

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, TestRunner};
use world::{Counts, World};

fn schedules(steps: std::ops::Range<usize>) -> impl Strategy<Value = (usize, Vec<(u8, u8, u8)>)> {
    (
        1..=3_usize,
        proptest::collection::vec(any::<(u8, u8, u8)>(), steps),
    )
}

fn run(min_insync: usize, schedule: &[(u8, u8, u8)]) -> Counts {
    let mut world = World::new(3, min_insync);
    for &(what, who, how) in schedule {
        world.step(what, who, how);
        world.check();
    }
    world.heal();
    world.counts
}

proptest! {
    #![proptest_config(Config { max_shrink_iters: 20_000, ..Config::default() })]

    #[test]
    fn what_is_committed_stays((min_insync, schedule) in schedules(50..1_500)) {
        run(min_insync, &schedule);
    }
}

/// The schedules above reach what they are for.
#[test]
fn schedules_are_eventful() {
    let mut runner = TestRunner::deterministic();
    let mut all = Vec::new();
    for _ in 0..200 {
        let (min_insync, schedule) = schedules(1_400..1_500)
            .new_tree(&mut runner)
            .expect("a strategy without filters")
            .current();
        all.push(run(min_insync, &schedule));
    }
    let median = |of: fn(&Counts) -> usize| {
        let mut values: Vec<usize> = all.iter().map(of).collect();
        values.sort_unstable();
        values[values.len() / 2]
    };
    let total = |of: fn(&Counts) -> usize| all.iter().map(of).sum::<usize>();
    println_counts(&all);
    assert!(median(|it| it.elections) >= 5);
    assert!(median(|it| it.committed) >= 30);
    assert!(median(|it| it.isr_changes) >= 3);
    assert!(total(|it| it.truncated) >= 100);
    assert!(total(|it| it.unknown_outcomes) >= 100);
    assert!(total(|it| it.late_proposals) >= 30);
    assert!(total(|it| it.older_disks) >= 100);
    assert!(total(|it| it.confirmed) >= 100);
}

#[expect(
    clippy::print_stdout,
    reason = "figures of a test, seen with --nocapture"
)]
fn println_counts(all: &[Counts]) {
    let sum = all.iter().fold(Counts::default(), |sum, it| sum.plus(it));
    println!("{} schedules: {sum:?}", all.len());
}
