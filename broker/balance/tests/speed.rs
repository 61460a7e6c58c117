//! Plans for 100 brokers with 100,002 replicas, in processor time, so that a busy machine fails nothing.

use std::collections::BTreeSet;
use std::time::Duration;

use foz_balance::{Cluster, Goal, Plan, Thresholds, plan};

#[path = "made/clusters.rs"]
#[allow(dead_code)]
mod clusters;

use clusters::{Numbers, Shape};

/// For one plan. The crate is compiled with optimisation for tests, too; see the workspace.
const MOST_TIME: Duration = Duration::from_secs(1);

const LARGE: Shape = Shape {
    brokers: 100,
    racks: 3,
    partitions: 33_334,
    replication_factor: 3,
    empty_brokers: 0,
    skew: 1,
    equal_partitions: false,
};

/// What the kernel says that this thread has run; Linux only.
fn processor_time() -> Option<Duration> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    let nanos = text.split_whitespace().next()?.parse().ok()?;
    Some(Duration::from_nanos(nanos))
}

fn planned(shape: &Shape, goal: &Goal) -> Plan {
    let partitions = clusters::partitions(shape, &mut Numbers(1));
    let cluster = Cluster::new(clusters::brokers(shape), partitions).expect("valid");
    let before = processor_time();
    let plan = plan(&cluster, goal, &Thresholds::default()).expect("possible");
    if let (Some(before), Some(after)) = (before, processor_time()) {
        let taken = after - before;
        assert!(taken <= MOST_TIME, "{goal:?} took {taken:?}");
    }
    plan
}

#[test]
fn ten_brokers_are_added() {
    let shape = Shape {
        brokers: 110,
        empty_brokers: 10,
        ..LARGE
    };
    let plan = planned(&shape, &Goal::AddedBrokers((100..110).collect()));
    // Two of the three racks have 37 brokers then, one 36; each keeps its third of all replicas.
    assert_eq!(plan.after.replicas.least, 33_334 / 37);
    assert!(plan.copied_replicas() <= 10 * (33_334 * 3 / 110));
}

#[test]
fn five_brokers_are_drained() {
    let drained: BTreeSet<i32> = (95..100).collect();
    let plan = planned(&LARGE, &Goal::DrainBrokers(drained));
    assert!(plan.copied_replicas() > 4_500);
    assert_eq!(plan.after.partitions_lacking_racks, 0);
}

#[test]
fn everything_is_skewed() {
    let shape = Shape { skew: 5, ..LARGE };
    let plan = planned(&shape, &Goal::Full);
    for (spread, percent) in [
        (plan.after.replicas, 10),
        (plan.after.bytes, 15),
        (plan.after.leaders, 10),
        (plan.after.traffic, 25),
    ] {
        let off = (spread.most - spread.least) * 100;
        assert!(off <= spread.mean * percent + 100, "{spread:?}");
    }
}
