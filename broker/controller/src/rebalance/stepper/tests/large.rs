//! 100 brokers with 100,000 replicas: what the task that runs rules spends on a step, and the thread beside it.

use super::*;

/// For the rule of a step that begins as many moves as may begin at once, and for applying what it wrote.
const MOST_RULE_TIME: Duration = Duration::from_millis(100);
/// For a step that does not plan. It is taken at most a few times in a second.
const MOST_STEP_TIME: Duration = Duration::from_millis(200);

/// What the kernel says that this thread has run; Linux only.
fn processor_time() -> Option<Duration> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    let nanos = text.split_whitespace().next()?.parse().ok()?;
    Some(Duration::from_nanos(nanos))
}

fn timed<T>(what: &str, most: Duration, work: impl FnOnce() -> T) -> T {
    let before = processor_time();
    let done = work();
    if let (Some(before), Some(after)) = (before, processor_time()) {
        let taken = after - before;
        assert!(taken <= most, "{what} took {taken:?}");
    }
    done
}

#[test]
fn a_step_in_a_large_cluster_holds_nobody_up() {
    let mut world = World::new(100);
    for number in 0..34 {
        world.create(&format!("t{number}"), 1_000, 3);
    }
    world.tell_loads(1 << 20);
    world.drain(&[95, 96, 97, 98, 99]);
    let rebalance = world.rebalance().clone();
    let mut stepper = Stepper::new(&rebalance, world.limits.clone());
    for number in 0..3 {
        let most = MOST_STEP_TIME * if number == 0 { 5 } else { 1 };
        let step = timed("a step", most, || {
            stepper.step(&world.image, &world.loads, &rebalance, world.now)
        });
        let decision = timed("its rule", MOST_RULE_TIME, || {
            progress_rebalance(&world.image, &step.request).unwrap()
        });
        timed("applying it", MOST_RULE_TIME, || world.commit(decision));
        world.now += Duration::from_secs(1);
        if number == 1 {
            world.catch_up();
        }
    }
    assert!(world.image.reassigning_partitions().count() > 100);
}
