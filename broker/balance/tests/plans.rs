//! What holds for every plan, on small clusters of every kind: with racks and without, cordoned and dead brokers,
//! disks that are full, partitions of all sizes.

use std::collections::BTreeSet;

use foz_balance::{
    CannotDrainReason, Cluster, Goal, InvalidCluster, Plan, Refusal, Thresholds, plan,
};
use proptest::prelude::*;

#[path = "made/clusters.rs"]
#[allow(dead_code)]
mod clusters;
#[path = "made/judge.rs"]
mod judge;

use clusters::{Numbers, Shape};
use judge::{World, fewest_copies};

fn thresholds() -> Thresholds {
    Thresholds {
        least_bytes: 1 << 20,
        ..Thresholds::default()
    }
}

const DISK_LIMIT_PERCENT: u64 = 90;

fn planned(world: &World, goal: &Goal) -> Result<Plan, Refusal> {
    let cluster = Cluster::new(world.brokers.clone(), world.partitions.clone());
    plan(&cluster.expect("valid"), goal, &thresholds())
}

/// Anything can be: replicas anywhere, racks of any size, some brokers cordoned or dead, disks of any size.
fn wild(numbers: &mut Numbers) -> World {
    let broker_count = 1 + numbers.below(10) as i32;
    let shape = Shape {
        brokers: broker_count,
        racks: numbers.below(4) as i32,
        partitions: numbers.below(50) as i32,
        replication_factor: 1 + numbers.below(5) as usize,
        empty_brokers: numbers.below(3).min(broker_count as u64 - 1) as i32,
        skew: 1 + numbers.below(6),
        equal_partitions: numbers.one_in(2),
    };
    let mut brokers = clusters::brokers(&shape);
    let mut partitions = clusters::partitions(&shape, numbers);
    let filled = (shape.brokers - shape.empty_brokers) as u64;
    for partition in &mut partitions {
        if numbers.one_in(4) {
            // Without regard for racks.
            let wanted = 1 + numbers.below(filled.min(5)) as usize;
            let mut all: Vec<i32> = (0..filled as i32).collect();
            partition.replicas.clear();
            while partition.replicas.len() < wanted {
                let at = numbers.below(all.len() as u64) as usize;
                partition.replicas.push(all.swap_remove(at));
            }
        }
        if numbers.one_in(10) {
            partition.bytes = 0;
        }
    }
    let sized = numbers.one_in(3);
    let total: u64 = partitions
        .iter()
        .map(|at| at.bytes * at.replicas.len() as u64)
        .sum();
    for broker in &mut brokers {
        broker.cordoned = numbers.one_in(8);
        broker.alive = !numbers.one_in(12);
        if numbers.one_in(8) {
            broker.rack = Some(format!("rack-{}", numbers.below(3)));
        }
        if sized {
            let share = total / broker_count as u64;
            broker.capacity_bytes = Some(share + numbers.below(share * 2 + 1));
        }
    }
    World {
        brokers,
        partitions,
    }
}

fn some_brokers(world: &World, numbers: &mut Numbers) -> BTreeSet<i32> {
    let named = |_: &&foz_balance::Broker| numbers.one_in(4);
    let brokers: Vec<_> = world.brokers.iter().filter(named).collect();
    brokers.into_iter().map(|broker| broker.node_id).collect()
}

fn assert_nothing_left(world: &World, plan: &Plan, goal: &Goal) {
    let again = planned(&world.after(&plan.moves), goal).expect("it was possible before");
    assert_eq!(again.moves, [], "{goal:?}");
    assert_eq!(again.before, plan.after);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    #[test]
    fn full_plans_are_valid_and_final(seed: u64) {
        let world = wild(&mut Numbers(seed));
        let plan = planned(&world, &Goal::Full).expect("a full plan is always possible");
        world.assert_valid(&plan.moves, &BTreeSet::new(), DISK_LIMIT_PERCENT);
        for one in &plan.moves {
            let dead = one.from.iter().any(|node_id| !world.broker(*node_id).alive);
            prop_assert!(!dead, "would wait for a broker that is dead: {one:?}");
        }
        assert_nothing_left(&world, &plan, &Goal::Full);
        let after = world.after(&plan.moves);
        for partition in &after.partitions {
            prop_assert!(!after.racks_could_be_better(partition, DISK_LIMIT_PERCENT), "{partition:?}");
        }
    }

    /// Either no two brokers differ by more than the threshold, or nothing can get from the one to the other, not
    /// even through others.
    #[test]
    fn full_plans_are_even_or_cannot_be(seed: u64) {
        let mut world = wild(&mut Numbers(seed));
        for broker in &mut world.brokers {
            broker.capacity_bytes = None;
            broker.cordoned = false;
        }
        let plan = planned(&world, &Goal::Full).expect("a full plan is always possible");
        let after = world.after(&plan.moves);
        let alive: Vec<i32> = world
            .brokers
            .iter()
            .filter(|broker| broker.alive)
            .map(|broker| broker.node_id)
            .collect();
        let counts: Vec<usize> = alive.iter().map(|node_id| after.count(*node_id)).collect();
        let mean = counts.iter().sum::<usize>() / counts.len().max(1);
        let tolerance = (mean * 8).div_ceil(100).max(1);
        for giver in &alive {
            let reachable = after.reachable(*giver, DISK_LIMIT_PERCENT);
            for getter in &alive {
                let even = after.count(*giver) <= after.count(*getter) + tolerance;
                prop_assert!(even || !reachable.contains(getter), "{giver} to {getter}");
            }
        }
    }

    #[test]
    fn added_brokers_are_filled_and_nothing_else_moves(seed: u64) {
        let mut numbers = Numbers(seed);
        let mut world = wild(&mut numbers);
        let added = some_brokers(&world, &mut numbers);
        for broker in world.brokers.iter_mut().filter(|broker| added.contains(&broker.node_id)) {
            broker.cordoned = false;
            broker.alive = true;
        }
        let goal = Goal::AddedBrokers(added.clone());
        let plan = planned(&world, &goal).expect("they can all get replicas");
        world.assert_valid(&plan.moves, &BTreeSet::new(), DISK_LIMIT_PERCENT);
        for one in &plan.moves {
            prop_assert!(one.adding().all(|node_id| added.contains(&node_id)), "{one:?}");
            prop_assert!(one.removing().all(|node_id| !added.contains(&node_id)), "{one:?}");
            prop_assert!(one.to.iter().any(|node_id| added.contains(node_id)), "{one:?}");
        }
        assert_nothing_left(&world, &plan, &goal);
        let after = world.after(&plan.moves);
        let equal = world.brokers.iter().all(|broker| !broker.cordoned && broker.capacity_bytes.is_none());
        let alive = || world.brokers.iter().filter(|broker| broker.alive).map(|broker| broker.node_id);
        let mean = alive().map(|node_id| after.count(node_id)).sum::<usize>() / alive().count().max(1);
        for getter in added.iter().filter(|_| equal) {
            for giver in alive().filter(|node_id| !added.contains(node_id)) {
                let uneven = after.count(*getter) < mean && after.count(giver) > after.count(*getter) + 1;
                let way = |partition: &_| after.may_go(partition, giver, *getter, DISK_LIMIT_PERCENT);
                prop_assert!(!uneven || !after.partitions.iter().any(way), "{giver} to {getter}");
            }
        }
    }

    #[test]
    fn drained_brokers_are_empty_and_nothing_else_moves(seed: u64) {
        let mut numbers = Numbers(seed);
        let world = wild(&mut numbers);
        let drained = some_brokers(&world, &mut numbers);
        let goal = Goal::DrainBrokers(drained.clone());
        let on_drained: usize = drained.iter().map(|node_id| world.count(*node_id)).sum();
        match planned(&world, &goal) {
            Ok(plan) => {
                world.assert_valid(&plan.moves, &drained, DISK_LIMIT_PERCENT);
                let after = world.after(&plan.moves);
                prop_assert!(drained.iter().all(|node_id| after.count(*node_id) == 0));
                prop_assert_eq!(plan.copied_replicas(), on_drained);
                for one in &plan.moves {
                    prop_assert!(one.from.iter().any(|node_id| drained.contains(node_id)));
                }
                assert_nothing_left(&world, &plan, &goal);
            }
            Err(Refusal::CannotDrain(refused)) => {
                prop_assert!(!refused.is_empty());
                for refused in refused {
                    let name = (refused.topic, refused.partition);
                    let mut partitions = world.partitions.iter();
                    let partition = partitions.find(|at| (at.topic, at.partition) == name).expect("listed");
                    let possible = world.brokers.iter().map(|broker| broker.node_id).filter(|node_id| {
                        !drained.contains(node_id)
                            && (partition.replicas.contains(node_id)
                                || world.may_receive(*node_id, &drained))
                    });
                    let possible = possible.count();
                    match refused.reason {
                        CannotDrainReason::TooFewBrokers { replicas, brokers } => {
                            prop_assert_eq!(replicas, partition.replicas.len());
                            prop_assert_eq!(brokers, possible);
                            prop_assert!(brokers < replicas);
                        }
                        CannotDrainReason::NothingToCopyFrom => {
                            prop_assert!(partition.replicas.iter().all(|id| !world.broker(*id).alive));
                        }
                        CannotDrainReason::NoRoom { bytes } => {
                            prop_assert_eq!(bytes, partition.bytes);
                            prop_assert!(world.brokers.iter().any(|broker| broker.capacity_bytes.is_some()));
                        }
                    }
                }
            }
            Err(other) => prop_assert!(false, "{other}"),
        }
    }

    #[test]
    fn the_order_of_input_means_nothing(seed: u64) {
        let mut numbers = Numbers(seed);
        let world = wild(&mut numbers);
        let drained = Goal::DrainBrokers(some_brokers(&world, &mut numbers));
        let mut mixed = world.clone();
        for at in (1..mixed.partitions.len()).rev() {
            mixed.partitions.swap(at, numbers.below(at as u64 + 1) as usize);
        }
        mixed.brokers.reverse();
        for goal in [Goal::Full, drained] {
            prop_assert_eq!(planned(&world, &goal), planned(&mixed, &goal));
        }
    }

    /// Where partitions are many and alike, even counts need no more copies than any plan must make.
    #[test]
    fn few_copies_are_made(seed: u64) {
        let mut numbers = Numbers(seed);
        let racks = numbers.below(5) as i32;
        let shape = Shape {
            brokers: racks.max(1) * (2 + numbers.below(3) as i32) + i32::from(racks == 0) * 4,
            racks,
            partitions: 300,
            replication_factor: 1 + numbers.below(3) as usize,
            empty_brokers: racks * numbers.below(2) as i32,
            skew: 1 + numbers.below(6),
            equal_partitions: true,
        };
        let world = World { brokers: clusters::brokers(&shape), partitions: clusters::partitions(&shape, &mut numbers) };
        let counts = |world: &World| -> Vec<usize> {
            (0..shape.brokers).map(|node_id| world.count(node_id)).collect()
        };
        let mean = counts(&world).iter().sum::<usize>() / shape.brokers as usize;
        let tolerance = (mean * 8 / 100).max(1);
        let plan = planned(&world, &Goal::Full).expect("possible");
        // Where a partition has one replica in each rack, none can leave its rack.
        let locked = shape.replication_factor as i32 == racks && plan.before.partitions_lacking_racks == 0;
        let groups: Vec<Vec<usize>> = if locked {
            let rack = |rack: i32| (rack..shape.brokers).step_by(racks as usize);
            (0..racks).map(|at| rack(at).map(|node_id| world.count(node_id)).collect()).collect()
        } else {
            vec![counts(&world)]
        };
        let fewest = fewest_copies(&groups, tolerance);
        let copied = plan.copied_replicas();
        prop_assert!(copied * 10 <= fewest * 11 + 10, "{copied} copies, {fewest} needed: {shape:?}");
        let after = world.after(&plan.moves);
        let spread = |of: Vec<usize>| of.iter().max().unwrap() - of.iter().min().unwrap();
        let replicas = spread(counts(&after));
        prop_assert!(replicas <= (mean / 10).max(1), "{replicas} of {mean}: {shape:?}");
        let leaders = spread((0..shape.brokers).map(|node_id| after.leads(node_id)).collect());
        let mean_leaders = shape.partitions as usize / shape.brokers as usize;
        prop_assert!(leaders <= (mean_leaders / 10).max(1), "{leaders} of {mean_leaders}: {shape:?}");
        prop_assert_eq!(plan.after.replicas.most - plan.after.replicas.least, replicas as u64);

        // Brokers that are new: the mean is what they lack, and no copy goes elsewhere. The last replica of one may be
        // where racks keep it: once in some 10,000 clusters.
        let added: BTreeSet<i32> = (shape.brokers - shape.empty_brokers..shape.brokers).collect();
        let plan = planned(&world, &Goal::AddedBrokers(added.clone())).expect("possible");
        let after = world.after(&plan.moves);
        let filled: usize = added.iter().map(|node_id| after.count(*node_id)).sum();
        prop_assert_eq!(plan.copied_replicas(), filled, "{:?}", shape);
        prop_assert!(filled + 1 >= added.len() * mean, "{filled} of {mean} each: {shape:?}");
        for node_id in added {
            prop_assert!(after.count(node_id) <= mean, "{} of {mean}: {shape:?}", after.count(node_id));
            // A tenth of the mean, which is no whole number, or one.
            let (partitions, brokers) = (shape.partitions as usize, shape.brokers as usize);
            let off = (after.leads(node_id) * brokers).abs_diff(partitions);
            prop_assert!(off <= (partitions / 10).max(brokers), "{off} / {brokers} off: {shape:?}");
        }
    }
}

#[test]
fn the_fewest_copies_are_counted_right() {
    let fewest = |counts: &[usize], tolerance| fewest_copies(&[counts.to_vec()], tolerance);
    assert_eq!(fewest(&[], 1), 0);
    assert_eq!(fewest(&[5, 5, 5], 1), 0);
    assert_eq!(fewest(&[6, 5, 5], 1), 0);
    assert_eq!(fewest(&[9, 0, 0], 0), 6);
    assert_eq!(fewest(&[9, 0, 0], 3), 4);
    assert_eq!(fewest(&[10, 10, 10, 0], 1), 7);
    assert_eq!(fewest_copies(&[vec![10, 4], vec![8, 6]], 2), 2);
}

fn three_brokers() -> World {
    let shape = Shape {
        brokers: 3,
        racks: 0,
        partitions: 4,
        replication_factor: 3,
        empty_brokers: 0,
        skew: 1,
        equal_partitions: true,
    };
    World {
        brokers: clusters::brokers(&shape),
        partitions: clusters::partitions(&shape, &mut Numbers(1)),
    }
}

#[test]
fn a_drain_that_cannot_be_says_why_for_each_partition() {
    let mut world = three_brokers();
    world.partitions[2].replicas = vec![1, 2];
    let goal = Goal::DrainBrokers(BTreeSet::from([2]));
    let refusal = planned(&world, &goal).expect_err("three replicas on two brokers");
    assert_eq!(
        refusal.to_string(),
        "3 partitions cannot be moved off; the first: partition 0 of topic 0: it has 3 replicas, and only 2 \
         brokers could have them"
    );
    world
        .partitions
        .retain(|partition| partition.replicas.len() == 2);
    let plan = planned(&world, &goal).expect("one of two");
    assert_eq!(plan.moves[0].to, [1, 0]);
}

#[test]
fn a_drain_needs_something_to_copy_from() {
    let mut world = three_brokers();
    world.partitions.truncate(2);
    world.partitions[0].replicas = vec![2];
    world.partitions[1].replicas = vec![2, 1];
    world.brokers[2].alive = false;
    let goal = Goal::DrainBrokers(BTreeSet::from([2]));
    let refusal = planned(&world, &goal).expect_err("one has no other replica");
    let Refusal::CannotDrain(refused) = refusal else {
        panic!("{refusal}");
    };
    assert_eq!(refused.len(), 1);
    assert_eq!(refused[0].reason, CannotDrainReason::NothingToCopyFrom);
    // The one with another replica goes, and the living one leads.
    world.partitions.remove(0);
    let plan = planned(&world, &goal).expect("the other has one");
    assert_eq!(plan.moves[0].adding().collect::<Vec<_>>(), [0]);
}

#[test]
fn a_drain_needs_room() {
    let mut world = three_brokers();
    world.partitions.truncate(1);
    world.partitions[0].replicas = vec![2];
    for broker in &mut world.brokers {
        broker.capacity_bytes = Some(world.partitions[0].bytes);
    }
    let goal = Goal::DrainBrokers(BTreeSet::from([2]));
    let refusal = planned(&world, &goal).expect_err("a tenth of each disk stays free");
    assert!(
        refusal.to_string().contains("has room on its disk"),
        "{refusal}"
    );
    world.brokers[1].capacity_bytes = Some(world.partitions[0].bytes * 2);
    let plan = planned(&world, &goal).expect("one disk is large enough");
    assert_eq!(plan.moves[0].to, [1]);
}

#[test]
fn a_rack_that_is_lost_is_replaced_as_well_as_can_be() {
    let mut world = three_brokers();
    let mut more = world.brokers.clone();
    for broker in &mut more {
        broker.node_id += 3;
    }
    world.brokers.extend(more);
    let racks = ["a", "b", "c", "a", "b", "b"];
    for (broker, rack) in world.brokers.iter_mut().zip(racks) {
        broker.rack = Some(rack.to_owned());
    }
    let drained = BTreeSet::from([2]);
    let plan = planned(&world, &Goal::DrainBrokers(drained.clone())).expect("possible");
    world.assert_valid(&plan.moves, &drained, DISK_LIMIT_PERCENT);
    assert_eq!(plan.moves.len(), 4);
    assert_eq!(plan.after.partitions_lacking_racks, 0, "two racks are left");
}

#[test]
fn wrong_goals_are_refused() {
    let mut world = three_brokers();
    let one = |node_id| BTreeSet::from([node_id]);
    let refused = |world: &World, goal| planned(world, &goal).expect_err("refused");
    let unknown = Refusal::UnknownBroker { node_id: 9 };
    assert_eq!(refused(&world, Goal::AddedBrokers(one(9))), unknown);
    assert_eq!(refused(&world, Goal::DrainBrokers(one(9))), unknown);
    world.brokers[1].cordoned = true;
    world.brokers[2].alive = false;
    let cordoned = Refusal::Cordoned { node_id: 1 };
    assert_eq!(refused(&world, Goal::AddedBrokers(one(1))), cordoned);
    let dead = Refusal::NotAlive { node_id: 2 };
    assert_eq!(refused(&world, Goal::AddedBrokers(one(2))), dead);
}

#[test]
fn nothing_is_planned_for_nothing() {
    let empty = World {
        brokers: Vec::new(),
        partitions: Vec::new(),
    };
    let nobody = BTreeSet::new();
    let goals = [
        Goal::Full,
        Goal::AddedBrokers(nobody.clone()),
        Goal::DrainBrokers(nobody),
    ];
    for goal in goals {
        assert_eq!(planned(&empty, &goal).expect("fine").moves, []);
        let mut all_dead = three_brokers();
        for broker in &mut all_dead.brokers {
            broker.alive = false;
        }
        assert_eq!(planned(&all_dead, &goal).expect("fine").moves, []);
    }
}

/// No sum overflows, however large the partitions say they are.
#[test]
fn huge_partitions_are_only_numbers() {
    let mut world = three_brokers();
    for partition in &mut world.partitions {
        partition.bytes = u64::MAX;
        partition.bytes_in_per_second = u64::MAX;
        partition.bytes_out_per_second = u64::MAX;
        partition.replicas = vec![0, 1];
    }
    world.brokers[0].capacity_bytes = Some(u64::MAX);
    world.brokers[1].capacity_bytes = Some(1);
    let plan = planned(&world, &Goal::Full).expect("fine");
    assert_eq!(plan.after.bytes.most, u64::MAX);
}

#[test]
fn a_larger_disk_gets_more() {
    let mut world = three_brokers();
    world.partitions.clear();
    let shape = Shape {
        brokers: 3,
        racks: 0,
        partitions: 120,
        replication_factor: 1,
        empty_brokers: 2,
        skew: 1,
        equal_partitions: true,
    };
    world.partitions = clusters::partitions(&shape, &mut Numbers(1));
    for (broker, tebibytes) in world.brokers.iter_mut().zip([1, 1, 2]) {
        broker.capacity_bytes = Some(tebibytes << 40);
    }
    let plan = planned(&world, &Goal::Full).expect("fine");
    let after = world.after(&plan.moves);
    let counts = [0, 1, 2].map(|node_id| after.count(node_id));
    assert!(
        counts[2] >= 56 && counts[0].abs_diff(counts[1]) <= 4,
        "{counts:?}"
    );
}

#[test]
fn lists_that_do_not_fit_are_refused() {
    let invalid = |change: fn(&mut World)| {
        let mut world = three_brokers();
        change(&mut world);
        Cluster::new(world.brokers, world.partitions).expect_err("invalid")
    };
    assert_eq!(
        invalid(|world| world.brokers[2].node_id = 1),
        InvalidCluster::RepeatedBroker { node_id: 1 }
    );
    assert_eq!(
        invalid(|world| world.partitions[3].partition = 1),
        InvalidCluster::RepeatedPartition {
            topic: 0,
            partition: 1
        }
    );
    assert_eq!(
        invalid(|world| world.partitions[3].replicas.clear()),
        InvalidCluster::NoReplicas {
            topic: 0,
            partition: 3
        }
    );
    assert_eq!(
        invalid(|world| world.partitions[3].replicas = vec![1, 2, 1]),
        InvalidCluster::RepeatedReplica {
            topic: 0,
            partition: 3,
            node_id: 1
        }
    );
    assert_eq!(
        invalid(|world| world.partitions[3].replicas = vec![1, 4]),
        InvalidCluster::UnknownBroker {
            topic: 0,
            partition: 3,
            node_id: 4
        }
    );
}
