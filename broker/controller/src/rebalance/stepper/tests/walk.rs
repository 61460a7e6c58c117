//! Anything may come between, in any order: when it is over, the drain comes to its end.

use super::random::Random;
use super::*;

const WALKS: u64 = 400;
const STEPS: u64 = 40;

fn node(random: &mut Random) -> i32 {
    random.below(7) as i32
}

/// Broker 6 is registered and has nothing at first; 4 and 5 are drained.
fn event(world: &mut World, random: &mut Random, number: u64) {
    match random.below(11) {
        0 => {
            let node_id = node(random);
            let alive = world.image.alive_brokers().count();
            if world.image.is_alive(node_id) && alive > 3 {
                world.die(node_id);
            }
        }
        1 => {
            let node_id = node(random);
            if !world.image.is_alive(node_id) {
                world.come_back(node_id);
            }
        }
        2 => {
            let node_id = node(random);
            if ![4, 5].contains(&node_id) {
                world.set_cordoned(node_id, random.below(2) == 0);
            }
        }
        3 => {
            let others: Vec<i32> = world.image.brokers().map(|it| it.node_id).collect();
            let at = random.below(world.image.partition_count() as u64) as usize;
            let (topic, index, partition) = world.image.partitions().nth(at).unwrap();
            let (name, mut to) = (topic.name.to_string(), partition.target_replicas());
            let new = others[random.below(others.len() as u64) as usize];
            if !to.contains(&new) && !world.image.is_cordoned(new) {
                to[0] = new;
                world.reassign(&name, index, &to);
            }
        }
        4 => {
            let names: Vec<String> = world.image.topic_names().map(str::to_owned).collect();
            if names.len() > 1 && random.below(2) == 0 {
                world.delete(&names[random.below(names.len() as u64) as usize]);
            } else if (0..7).filter(|id| world.may_get(*id)).count() >= 3 {
                world.create(&format!("new-{number}"), 3, 3);
            }
        }
        5 => world.stepper = None,
        6 => {
            let at = random.below(world.image.partition_count() as u64) as usize;
            let (topic, index, partition) = world.image.partitions().nth(at).unwrap();
            let holder = random.below(partition.replicas.len() as u64) as usize;
            let (name, node_id) = (topic.name.to_string(), partition.replicas[holder]);
            if world.image.is_alive(node_id) {
                world.fail_disk(node_id, &name, &[index]);
            }
        }
        _ => world.catch_up(),
    }
}

#[test]
fn whatever_comes_between_a_drain_ends_when_all_is_well() {
    for seed in 0..WALKS {
        let mut random = Random(seed);
        let mut world = World::new(7);
        world.limits.away = Duration::from_secs(3);
        world.limits.moves_per_broker = 2;
        world.set_cordoned(6, true);
        world.create("a", 8, 3);
        world.create("b", 8, 3);
        world.set_cordoned(6, false);
        world.drain(&[4, 5]);
        for number in 0..STEPS {
            event(&mut world, &mut random, number);
            if world.is_running() {
                world.step();
            }
            let running = world.image.running_rebalance().map(|it| it.id);
            for (_, _, partition) in world.image.partitions() {
                let id = partition.rebalance_id;
                assert!(id == 0 || running == Some(id), "seed {seed}");
                let new = |id: &i32| !partition.original_replicas().contains(id);
                let to = partition.target_replicas();
                let onto_drained = to.iter().any(|id| [4, 5].contains(id) && new(id));
                assert!(!onto_drained, "seed {seed}: {partition:?}");
            }
        }
        for node_id in 0..7 {
            if world.image.is_alive(node_id) {
                world.die(node_id);
            }
            world.join(node_id);
            world.set_cordoned(node_id, [4, 5].contains(&node_id));
        }
        world.catch_up();
        world.run(|_, _| {});
        assert_eq!(world.state(), RebalanceState::Completed, "seed {seed}");
        assert_eq!((world.held(4), world.held(5)), (0, 0), "seed {seed}");
        world.catch_up();
        for (topic, index, partition) in world.image.partitions() {
            let name = format!("seed {seed}: {}-{index}", topic.name);
            assert_eq!(partition.isr.len(), 3, "{name} {partition:?}");
        }
    }
}
