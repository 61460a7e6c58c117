//! Plans carried out batch by batch, with moves that end in any order.

use std::collections::{BTreeMap, BTreeSet};

use foz_balance::{
    Broker, Cluster, Estimate, Goal, Limits, Move, MoveState, Observed, Thresholds, move_state,
    next_batch, plan,
};
use proptest::prelude::*;

#[path = "made/clusters.rs"]
#[allow(dead_code)]
mod clusters;
#[path = "made/judge.rs"]
#[allow(dead_code)]
mod judge;

use clusters::{Numbers, Shape};
use judge::World;

const MOVES_PER_BROKER: usize = 2;

struct Run {
    world: World,
    moves: Vec<Move>,
    running: BTreeSet<usize>,
}

impl Run {
    fn states(&self) -> Vec<MoveState> {
        let mut world = self.world.clone();
        let state = |(position, one): (usize, &Move)| {
            let replicas = world.partition_mut(one).replicas.clone();
            let runs = self.running.contains(&position);
            let observed = Observed {
                replicas: if runs {
                    one.to.iter().copied().chain(one.removing()).collect()
                } else {
                    replicas.clone()
                },
                adding_replicas: one.adding().filter(|_| runs).collect(),
                removing_replicas: one.removing().filter(|_| runs).collect(),
                leader: replicas.first().copied(),
                in_sync_count: replicas.len(),
                min_insync_replicas: 1,
            };
            move_state(one, Some(&observed), 0)
        };
        self.moves.iter().enumerate().map(state).collect()
    }

    /// Racks and busy brokers, with all that runs.
    fn assert_bearable(&self, best_racks: &[usize]) {
        let mut busy: BTreeMap<i32, usize> = BTreeMap::new();
        for position in &self.running {
            let one = &self.moves[*position];
            *busy.entry(one.from[0]).or_default() += 1;
            one.adding()
                .for_each(|node_id| *busy.entry(node_id).or_default() += 1);
        }
        assert!(
            busy.values().all(|moves| *moves <= MOVES_PER_BROKER),
            "{busy:?}"
        );
        for (partition, best) in self.world.partitions.iter().zip(best_racks) {
            let racks = self.world.in_racks(&partition.replicas).len();
            assert!(racks >= *best, "{partition:?}: {racks} of {best}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn every_plan_ends(seed: u64) {
        let mut numbers = Numbers(seed);
        let shape = Shape {
            brokers: 6 + numbers.below(6) as i32,
            racks: numbers.below(4) as i32,
            partitions: 40,
            replication_factor: 1 + numbers.below(3) as usize,
            empty_brokers: 2,
            skew: 1 + numbers.below(4),
            equal_partitions: false,
        };
        let mut brokers = clusters::brokers(&shape);
        for broker in &mut brokers {
            broker.capacity_bytes = Some(1 << 40);
        }
        let world = World { brokers, partitions: clusters::partitions(&shape, &mut numbers) };
        let last: BTreeSet<i32> = (shape.brokers - 2..shape.brokers).collect();
        let first = BTreeSet::from([0]);
        let goal = match numbers.below(3) {
            0 => Goal::Full,
            1 => Goal::AddedBrokers(last),
            _ => Goal::DrainBrokers(first.clone()),
        };
        let drained = if matches!(goal, Goal::DrainBrokers(_)) { first } else { BTreeSet::new() };
        let left = |broker: &&Broker| !drained.contains(&broker.node_id);
        let possible = world.racks_of(world.brokers.iter().filter(left).map(|broker| broker.node_id));
        let best_racks: Vec<usize> = world
            .partitions
            .iter()
            .map(|at| world.in_racks(&at.replicas).len().min(possible))
            .collect();
        let of = |world: &World| {
            let cluster = Cluster::new(world.brokers.clone(), world.partitions.clone());
            plan(&cluster.expect("valid"), &goal, &Thresholds::default()).expect("possible")
        };
        let moves = of(&world).moves;
        let end = world.after(&moves);
        let mut run = Run { world, moves, running: BTreeSet::new() };
        let limits = Limits {
            moves_per_broker: MOVES_PER_BROKER,
            bytes_per_broker: 300 << 20,
            moves: 5,
            order_moves: 3,
            free_bytes: BTreeMap::new(),
            replica_bytes_max: BTreeMap::new(),
        };
        let mut rounds = 0;
        loop {
            rounds += 1;
            let states = run.states();
            let batch = next_batch(&run.moves, &states, &limits);
            prop_assert!(batch.lacking_room.is_empty());
            for position in batch.begin {
                prop_assert!(run.running.insert(position), "begun twice");
                if run.moves[position].adding().next().is_none() {
                    run.running.remove(&position);
                    let one = run.moves[position].clone();
                    run.world.partition_mut(&one).replicas.clone_from(&one.to);
                }
            }
            run.assert_bearable(&best_racks);
            let running: Vec<usize> = run.running.iter().copied().collect();
            let Some(ended) = running.get(numbers.below(running.len().max(1) as u64) as usize) else {
                break;
            };
            run.running.remove(ended);
            let one = run.moves[*ended].clone();
            run.world.partition_mut(&one).replicas.clone_from(&one.to);
        }
        prop_assert!(rounds <= run.moves.len() + 1);
        prop_assert_eq!(&run.world.partitions, &end.partitions);
        let estimate = Estimate::new(&run.moves, &run.states(), 0);
        prop_assert_eq!(estimate.done_moves, run.moves.len());
        prop_assert_eq!(estimate.left_seconds, Some(0));
        prop_assert_eq!(of(&run.world).moves, []);
    }
}

/// Two full disks and one with room for one: the second move waits for what the first frees.
#[test]
fn moves_wait_for_those_that_make_room() {
    let shape = Shape {
        brokers: 3,
        racks: 0,
        partitions: 9,
        replication_factor: 1,
        empty_brokers: 0,
        skew: 1,
        equal_partitions: true,
    };
    let gibibyte = 1 << 30;
    let mut brokers = clusters::brokers(&shape);
    let mut partitions = clusters::partitions(&shape, &mut Numbers(1));
    // Broker 0 has eight and room for nine, broker 1 one of eight and room for ten, broker 2 nothing.
    let sizes = [1, 1, 1, 1, 1, 1, 1, 1, 8];
    for (partition, size) in partitions.iter_mut().zip(sizes) {
        partition.bytes = size * gibibyte;
        partition.replicas = vec![i32::from(size == 8)];
    }
    for broker in &mut brokers {
        broker.capacity_bytes = Some(11 * gibibyte);
    }
    let cluster = Cluster::new(brokers.clone(), partitions.clone()).expect("valid");
    let plan = plan(&cluster, &Goal::Full, &Thresholds::default()).expect("possible");
    let mut world = World {
        brokers,
        partitions,
    };
    assert!(!plan.moves.is_empty());
    for one in &plan.moves {
        for node_id in one.adding() {
            let used = world.bytes(node_id) + one.bytes;
            assert!(used <= world.limit_bytes(node_id, 90), "{one:?}");
        }
        world.partition_mut(one).replicas.clone_from(&one.to);
    }
}
