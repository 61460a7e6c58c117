//! How much processor time plans for a large cluster take, and what they come to: 100 brokers in three racks with 100,002 replicas.

#![allow(clippy::print_stdout)]

use std::collections::BTreeSet;
use std::time::Duration;

use foz_balance::{Cluster, Goal, Spread, SpreadOf, Thresholds, plan};

#[path = "../tests/made/clusters.rs"]
#[allow(dead_code)]
mod clusters;

use clusters::{Numbers, Shape};

fn main() {
    let even = Shape {
        brokers: 100,
        racks: 3,
        partitions: 33_334,
        replication_factor: 3,
        empty_brokers: 0,
        skew: 1,
        equal_partitions: false,
    };
    let added = Shape {
        brokers: 110,
        empty_brokers: 10,
        ..even
    };
    let skewed = Shape { skew: 5, ..even };
    let without_racks = Shape { racks: 0, ..skewed };
    let many_racks = Shape { racks: 7, ..skewed };
    let wide = Shape {
        racks: 3,
        replication_factor: 5,
        partitions: 20_000,
        ..skewed
    };
    let single = Shape {
        replication_factor: 1,
        partitions: 100_000,
        ..skewed
    };
    let named = |from: i32, count: i32| -> BTreeSet<i32> { (from..from + count).collect() };
    let cases = [
        ("add 10", &added, Goal::AddedBrokers(named(100, 10))),
        ("drain 5", &even, Goal::DrainBrokers(named(95, 5))),
        ("full, even at random", &even, Goal::Full),
        ("full, skewed 5:1", &skewed, Goal::Full),
        ("full, skewed, no racks", &without_racks, Goal::Full),
        ("full, skewed, 7 racks", &many_racks, Goal::Full),
        ("full, skewed, 5 replicas", &wide, Goal::Full),
        ("full, skewed, 1 replica", &single, Goal::Full),
        ("full, 10 are empty", &added, Goal::Full),
    ];
    for (name, shape, goal) in cases {
        let partitions = clusters::partitions(shape, &mut Numbers(1));
        let cluster = Cluster::new(clusters::brokers(shape), partitions).expect("valid");
        let begin = processor_time();
        let plan = plan(&cluster, &goal, &Thresholds::default()).expect("possible");
        let taken = processor_time() - begin;
        println!(
            "{name}: {} ms, {} moves, {} replicas, {} GiB",
            taken.as_millis(),
            plan.moves.len(),
            plan.copied_replicas(),
            plan.copied_bytes() >> 30
        );
        print("  before", &plan.before);
        print("  after ", &plan.after);
    }
}

/// What this thread has run, whatever else the machine does; Linux only.
fn processor_time() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux has it");
    let nanos = text
        .split_whitespace()
        .next()
        .expect("a number comes first");
    Duration::from_nanos(nanos.parse().expect("a number comes first"))
}

fn print(when: &str, spread: &Spread) {
    let of = |of: SpreadOf, shift: u32| {
        let SpreadOf { least, mean, most } = of;
        let percent = (most - least) * 100 / mean.max(1);
        let [least, mean, most] = [least, mean, most].map(|number| number >> shift);
        format!("{least}..{mean}..{most} ({percent} %)")
    };
    println!(
        "{when}: replicas {}, GiB {}, leaders {}, MiB/s {}",
        of(spread.replicas, 0),
        of(spread.bytes, 30),
        of(spread.leaders, 0),
        of(spread.traffic, 20)
    );
}
