//! A cluster that does what a rebalance says, as far as nothing comes between.

mod large;

use std::collections::BTreeMap;

use foz_metadata::image::{RebalanceState, Topic};
use foz_metadata::record::Batch;
use foz_metadata::rules::{
    AcquireRestart, AlterPartitionReassignments, AlterPartitions, CreateTopics, Decision,
    DeleteTopics, IsrChange, NewTopic, QuorumHealth, Reassignment, RegisterBroker, StartRebalance,
    StartedRebalance, TopicRef, Unavailable, acquire_restart, alter_partition_reassignments,
    alter_partitions, cordon, create_topics, delete_topics, fence_broker, found_cluster,
    progress_rebalance, register_broker, start_rebalance, unfence_broker, unregister_broker,
};
use uuid::Uuid;

use super::*;
use crate::rebalance::loads::{Disk, LoadedPartition, Report};

struct World {
    image: Image,
    loads: Loads,
    limits: RebalanceLimits,
    stepper: Option<Stepper>,
    now: Duration,
    /// The highest number of moves of its own at once.
    most_under_way: usize,
}

impl World {
    fn new(brokers: i32) -> Self {
        let mut world = Self {
            image: Image::default(),
            loads: Loads::default(),
            limits: RebalanceLimits {
                loads_wait: Duration::ZERO,
                ..RebalanceLimits::default()
            },
            stepper: None,
            now: Duration::ZERO,
            most_under_way: 0,
        };
        let decision = found_cluster(&world.image, "cluster-1").unwrap();
        world.commit(decision);
        (0..brokers).for_each(|node_id| world.join(node_id));
        world
    }

    fn commit<A>(&mut self, decision: Decision<A>) -> A {
        if !decision.records.is_empty() {
            let batch = Batch {
                follows: self.image.offset(),
                term: 1,
                records: decision.records,
            };
            self.image = self.image.apply(&batch).unwrap();
        }
        decision.answer
    }

    fn join(&mut self, node_id: i32) {
        let request = RegisterBroker {
            node_id,
            incarnation: Uuid::from_u128(self.image.offset() as u128),
            directory_ids: vec![Uuid::from_u128(100 + node_id as u128)],
            cluster_id: String::new(),
            host: "localhost".to_owned(),
            port: 9092,
            rack: None,
            version: "1".to_owned(),
            replication_host: "localhost".to_owned(),
            replication_port: 9091,
            disk_epoch: self.image.broker(node_id).map_or(-1, |it| it.epoch),
            log_intact: true,
        };
        let epoch = self.commit(register_broker(&self.image, &request).unwrap());
        self.commit(unfence_broker(&self.image, node_id, epoch).unwrap());
    }

    fn epoch(&self, node_id: i32) -> i64 {
        self.image.broker(node_id).unwrap().epoch
    }

    fn die(&mut self, node_id: i32) {
        let decision = fence_broker(&self.image, node_id, self.epoch(node_id)).unwrap();
        self.commit(decision);
    }

    fn come_back(&mut self, node_id: i32) {
        let decision = unfence_broker(&self.image, node_id, self.epoch(node_id)).unwrap();
        self.commit(decision);
    }

    fn set_cordoned(&mut self, node_id: i32, cordoned: bool) {
        let decision = cordon(&self.image, &[node_id].into(), cordoned, 0).unwrap();
        self.commit(decision);
    }

    fn create(&mut self, name: &str, partitions: i32, replication_factor: i32) {
        self.create_with(NewTopic {
            partitions,
            replication_factor,
            config: BTreeMap::from([("min.insync.replicas".to_owned(), "2".to_owned())]),
            ..named(name)
        });
    }

    fn create_on(&mut self, name: &str, assignments: &[&[i32]]) {
        self.create_with(NewTopic {
            partitions: -1,
            replication_factor: -1,
            assignments: assignments.iter().map(|it| it.to_vec()).collect(),
            ..named(name)
        });
    }

    fn create_with(&mut self, topic: NewTopic) {
        let request = CreateTopics {
            topics: vec![topic],
            validate_only: false,
            operator_epoch: 0,
            seed: 1,
        };
        let decision = create_topics(&self.image, &BTreeMap::new(), &request).unwrap();
        self.commit(decision).remove(0).unwrap();
    }

    fn delete(&mut self, name: &str) {
        let request = DeleteTopics {
            topics: vec![TopicRef {
                name: name.to_owned(),
                id: None,
            }],
            operator_epoch: 0,
        };
        let decision = delete_topics(&self.image, &BTreeMap::new(), &request).unwrap();
        self.commit(decision).remove(0).unwrap();
    }

    /// Somebody else moves a partition.
    fn reassign(&mut self, topic: &str, index: i32, replicas: &[i32]) {
        let request = AlterPartitionReassignments {
            partitions: vec![Reassignment {
                topic: topic.to_owned(),
                index,
                replicas: Some(replicas.to_vec()),
            }],
            allow_replication_factor_change: false,
            operator_epoch: 0,
        };
        let decision = alter_partition_reassignments(&self.image, &request).unwrap();
        self.commit(decision).remove(0).2.unwrap();
    }

    /// Each of so many bytes, and disks of a terabyte.
    fn tell_loads(&mut self, bytes: u64) {
        let load = LoadedPartition {
            bytes,
            ..LoadedPartition::default()
        };
        let all = self.image.partitions();
        let mut partitions: Vec<_> = all
            .map(|(topic, index, _)| ((topic.id, index), load))
            .collect();
        for broker in self.image.brokers() {
            let report = Report {
                node_id: broker.node_id,
                partitions: std::mem::take(&mut partitions),
                disk: Some(Disk {
                    bytes_total: 1 << 40,
                    bytes_free: 1 << 40,
                }),
                copies: Vec::new(),
            };
            self.loads.report(1, &self.image, report);
        }
    }

    fn drain(&mut self, node_ids: &[i32]) {
        for node_id in node_ids {
            self.set_cordoned(*node_id, true);
        }
        self.start(RebalanceGoal::DrainBrokers(
            node_ids.iter().copied().collect(),
        ));
    }

    fn start(&mut self, goal: RebalanceGoal) {
        let planned = plan(&self.image, &self.loads, &goal).unwrap();
        let request = StartRebalance {
            goal,
            planned: planned.summary(),
            operator_epoch: 0,
        };
        let started = self.commit(start_rebalance(&self.image, &request).unwrap());
        assert!(
            matches!(started, StartedRebalance::Started { .. }),
            "{started:?}"
        );
    }

    fn rebalance(&self) -> &Rebalance {
        self.image.rebalance().unwrap()
    }

    /// What one step does; a second passes.
    fn step(&mut self) -> Step {
        let rebalance = self.rebalance().clone();
        let limits = self.limits.clone();
        let stepper = self
            .stepper
            .get_or_insert_with(|| Stepper::new(&rebalance, limits));
        let step = stepper.step(&self.image, &self.loads, &rebalance, self.now);
        self.commit(progress_rebalance(&self.image, &step.request).unwrap());
        let own = self.image.partitions_moved_by(rebalance.id).count();
        self.most_under_way = self.most_under_way.max(own);
        self.now += Duration::from_secs(1);
        step
    }

    /// Whoever is alive gets in sync.
    fn catch_up(&mut self) {
        let behind: Vec<_> = self
            .image
            .partitions()
            .filter(|(_, _, it)| it.leader >= 0 && it.isr.len() < it.replicas.len())
            .map(|(topic, index, it)| (topic.id, index, it.clone()))
            .collect();
        for (topic_id, index, partition) in behind {
            let alive = partition.replicas.iter().copied();
            let alive = alive.filter(|id| self.image.can_lead(*id) || partition.isr.contains(id));
            let request = AlterPartitions {
                broker_id: partition.leader,
                broker_epoch: self.epoch(partition.leader),
                partitions: vec![IsrChange {
                    topic_id,
                    index,
                    leader_epoch: partition.leader_epoch,
                    partition_epoch: partition.partition_epoch,
                    new_isr: alive.map(|id| (id, self.epoch(id))).collect(),
                }],
            };
            let decision = alter_partitions(&self.image, &request).unwrap();
            self.commit(decision).remove(0).unwrap();
        }
    }

    fn is_running(&self) -> bool {
        self.image.running_rebalance().is_some()
    }

    /// To its end; what came between is done by `between`, before each step.
    fn run(&mut self, mut between: impl FnMut(&mut Self, usize)) {
        for number in 0..300 {
            if !self.is_running() {
                return;
            }
            between(self, number);
            let before = self.rebalance().progress;
            self.step();
            let after = self.rebalance().progress;
            assert!(
                after.moves_done >= before.moves_done,
                "{before:?} {after:?}"
            );
            assert!(after.moves_done <= after.moves_total, "{after:?}");
            assert!(after.bytes_done <= after.bytes_total, "{after:?}");
            self.catch_up();
        }
        panic!("it does not end: {:?}", self.rebalance());
    }

    /// To a step after which it waits, and why.
    fn wait(&mut self) -> String {
        for _ in 0..20 {
            self.step();
            self.catch_up();
            if !self.rebalance().message.is_empty() {
                return self.rebalance().message.clone();
            }
        }
        panic!("it does not wait: {:?}", self.rebalance());
    }

    fn held(&self, node_id: i32) -> usize {
        self.image.replica_count(node_id)
    }

    fn state(&self) -> RebalanceState {
        self.rebalance().state
    }

    fn topic(&self, name: &str) -> &Topic {
        self.image.topic(name).unwrap()
    }
}

fn named(name: &str) -> NewTopic {
    let id = name
        .bytes()
        .fold(1, |id: u128, byte| id.wrapping_mul(257) + u128::from(byte));
    NewTopic {
        name: name.to_owned(),
        id: Uuid::from_u128(id),
        ..NewTopic::default()
    }
}

#[test]
fn a_drain_ends_with_empty_brokers_and_whole_partitions() {
    let mut world = World::new(5);
    world.create("t", 40, 3);
    world.tell_loads(1000);
    let there = world.held(3) + world.held(4);
    world.drain(&[3, 4]);
    let total = world.rebalance().progress;
    assert!(total.bytes_total == there as u64 * 1000, "{total:?}");
    world.limits.moves_per_broker = 2;
    world.run(|_, _| {});
    assert_eq!(world.state(), RebalanceState::Completed);
    assert_eq!((world.held(3), world.held(4)), (0, 0));
    assert!((3..=6).contains(&world.most_under_way), "few at a time");
    for partition in &world.topic("t").partitions {
        assert_eq!((partition.replicas.len(), partition.isr.len()), (3, 3));
    }
    let progress = world.rebalance().progress;
    assert_eq!(progress.moves_done, total.moves_total);
    assert_eq!(progress.bytes_done, total.bytes_total);
    assert_eq!(progress.seconds_left, Some(0));
}

#[test]
fn a_new_broker_gets_its_share_of_replicas_and_leaders() {
    let mut world = World::new(3);
    world.create("t", 40, 3);
    world.tell_loads(1000);
    world.join(3);
    world.tell_loads(1000);
    world.start(RebalanceGoal::AddedBrokers([3].into()));
    world.run(|_, _| {});
    assert_eq!(world.state(), RebalanceState::Completed);
    assert_eq!(world.held(3), 30);
    let leads = world.image.partitions_led_by(3).count();
    assert!((9..=11).contains(&leads), "{leads}");
}

#[test]
fn it_is_planned_once_where_nothing_happens() {
    let mut world = World::new(4);
    world.create("t", 40, 3);
    world.tell_loads(1000);
    world.drain(&[3]);
    world.limits.moves_per_broker = 1;
    world.step();
    let planned_at = |world: &World| world.stepper.as_ref().unwrap().planned_at;
    let first = planned_at(&world);
    for _ in 0..10 {
        world.catch_up();
        world.step();
        assert_eq!(planned_at(&world), first);
    }
}

#[test]
fn another_controller_goes_on() {
    let mut world = World::new(4);
    world.create("t", 30, 3);
    world.tell_loads(1000);
    world.drain(&[3]);
    world.limits.moves_per_broker = 1;
    let total = world.rebalance().progress.moves_total;
    world.run(|world, number| {
        if number % 3 == 2 {
            // It knows nothing but the image.
            (world.stepper, world.loads) = (None, Loads::default());
            let restored = Image::decode(&world.image.encode()).unwrap();
            assert_eq!(restored, world.image);
        }
    });
    assert_eq!(world.state(), RebalanceState::Completed);
    assert_eq!(world.held(3), 0);
    // Those that ended just when the controller changed are not counted.
    let done = world.rebalance().progress.moves_done;
    assert!(done <= total && done > total / 3, "{done} of {total}");
}

#[test]
fn a_target_that_dies_is_given_up_after_a_while() {
    let mut world = World::new(5);
    world.create_on("t", &[&[0, 1, 2], &[1, 2, 0]]);
    world.tell_loads(1000);
    world.drain(&[0]);
    world.step();
    let target = |world: &World| world.topic("t").partitions[0].adding_replicas.clone();
    let first = target(&world);
    assert_eq!(first.len(), 1);
    world.die(first[0]);
    let waits = world.wait();
    assert_eq!(
        waits,
        format!("t-0 waits for broker {}, which is not alive", first[0])
    );
    assert_eq!(target(&world), first, "it may be back in a moment");
    world.now += world.limits.away;
    world.run(|_, _| {});
    assert_eq!(world.state(), RebalanceState::Completed);
    assert_eq!((world.held(0), world.held(first[0])), (0, 0));
}

#[test]
fn a_broker_that_restarts_with_a_grant_is_waited_for() {
    let mut world = World::new(4);
    world.create_on("t", &[&[0, 1, 2]]);
    world.tell_loads(1000);
    let request = AcquireRestart {
        node_id: 3,
        incarnation: world.image.broker(3).unwrap().incarnation,
        reason: "a new image".to_owned(),
        operator_epoch: 0,
        unavailable: Unavailable::Allow,
        insist: false,
    };
    let quorum = QuorumHealth::default();
    let decision = acquire_restart(&world.image, &request, &quorum).unwrap();
    world.commit(decision);
    world.die(3);
    world.drain(&[0]);
    assert_eq!(world.wait(), "broker 3 is restarting");
    world.join(3);
    world.run(|_, _| {});
    assert_eq!((world.held(0), world.held(3)), (0, 1));
}

#[test]
fn a_source_that_is_dead_is_drained_all_the_same() {
    let mut world = World::new(4);
    world.create("t", 20, 3);
    world.die(3);
    world.drain(&[3]);
    world.run(|_, _| {});
    assert_eq!(world.state(), RebalanceState::Completed);
    assert_eq!(world.held(3), 0);
    // It can go for good, also while somebody still wants it drained.
    let decision = unregister_broker(&world.image, 3, 0).unwrap();
    world.commit(decision);
    assert!(plan(&world.image, &world.loads, &world.rebalance().goal).is_err());
}

#[test]
fn a_broker_that_is_unregistered_meanwhile_is_drained() {
    let mut world = World::new(5);
    world.create_on("t", &[&[0, 1, 2]]);
    world.die(4);
    world.drain(&[0, 4]);
    let decision = unregister_broker(&world.image, 4, 0).unwrap();
    world.commit(decision);
    world.run(|_, _| {});
    assert_eq!(world.state(), RebalanceState::Completed);
    assert_eq!(world.held(0), 0);
}

#[test]
fn what_cannot_be_waits_and_says_why() {
    let mut world = World::new(4);
    world.create("t", 12, 3);
    world.drain(&[3]);
    world.die(0);
    let waits = world.wait();
    assert!(
        waits.starts_with("the drain of broker 3 is not possible: t-"),
        "{waits}"
    );
    assert!(
        waits.contains("it has 3 replicas, and only 2 brokers could have them"),
        "{waits}"
    );
    assert!(waits.contains("more partitions"), "{waits}");
    let total = world.rebalance().progress.moves_total;
    assert!(total > 0, "what was planned at first");
    world.come_back(0);
    world.catch_up();
    world.run(|_, _| {});
    assert_eq!(world.state(), RebalanceState::Completed);
    assert_eq!(world.rebalance().message, "");
    assert_eq!(world.held(3), 0);
}

#[test]
fn a_partition_below_its_minimum_is_held_back() {
    let mut world = World::new(6);
    world.create("t", 1, 3);
    let replicas = world.topic("t").partitions[0].replicas.clone();
    world.drain(&[replicas[0]]);
    world.die(replicas[1]);
    world.die(replicas[2]);
    assert_eq!(world.wait(), "t-0 has 1 of 3 replicas in sync, and needs 2");
    assert_eq!(world.image.reassigning_partitions().count(), 0);
    world.come_back(replicas[1]);
    world.catch_up();
    world.step();
    assert_eq!(world.image.reassigning_partitions().count(), 1);
    // It ends when the other one is back, too, or its time is over.
    world.come_back(replicas[2]);
    world.catch_up();
    world.run(|_, _| {});
    assert_eq!(world.held(replicas[0]), 0);
}

#[test]
fn topics_come_and_go_meanwhile() {
    let mut world = World::new(4);
    world.create("a", 10, 3);
    world.create("b", 10, 3);
    world.tell_loads(1000);
    world.drain(&[3]);
    world.limits.moves_per_broker = 1;
    world.run(|world, number| match number {
        2 => world.delete("a"),
        3 => world.create("c", 10, 3),
        _ => {}
    });
    assert_eq!(world.state(), RebalanceState::Completed);
    assert_eq!(world.held(3), 0);
    assert!(world.image.topic("a").is_none());
}

#[test]
fn moves_of_others_are_left_alone_and_waited_for() {
    let mut world = World::new(5);
    world.create_on("t", &[&[0, 1, 2], &[0, 1, 2], &[0, 1, 2]]);
    world.reassign("t", 0, &[1, 2, 3]);
    world.drain(&[0]);
    world.step();
    // In the middle of it somebody takes over one of its moves.
    let own: Vec<_> = world
        .image
        .partitions_moved_by(world.rebalance().id)
        .collect();
    assert_eq!(own.len(), 2);
    world.reassign("t", 1, &[4, 3, 0]);
    let moving = |world: &World, index| world.image.partition("t", index).unwrap().clone();
    for _ in 0..3 {
        world.step();
        assert_eq!(moving(&world, 0).target_replicas(), [1, 2, 3]);
        assert_eq!(moving(&world, 1).target_replicas(), [4, 3, 0]);
    }
    world.run(|_, _| {});
    // Theirs ended where they wanted; then what was still to be drained left broker 0.
    assert_eq!(moving(&world, 0).replicas, [1, 2, 3]);
    assert_eq!(world.held(0), 0);
    let mut kept = moving(&world, 1).replicas;
    kept.retain(|id| [3, 4].contains(id));
    assert_eq!(kept.len(), 2);

    // Somebody else's move is all that is left.
    world.set_cordoned(0, false);
    world.create_on("u", &[&[0, 1, 2]]);
    world.reassign("u", 0, &[1, 2, 3]);
    world.stepper = None;
    world.drain(&[0]);
    world.step();
    assert_eq!(
        world.rebalance().message,
        "u-0 is being moved by somebody else"
    );
    world.run(|_, _| {});
    assert_eq!(world.held(0), 0);
}

#[test]
fn a_target_that_is_cordoned_meanwhile_gets_nothing() {
    let mut world = World::new(5);
    world.create_on("t", &[&[0, 1, 2]]);
    world.drain(&[0]);
    world.step();
    let target = world.topic("t").partitions[0].adding_replicas[0];
    world.set_cordoned(target, true);
    world.run(|_, _| {});
    assert_eq!(world.state(), RebalanceState::Completed);
    assert_eq!((world.held(0), world.held(target)), (0, 0));
}

#[test]
fn what_contradicts_it_ends_it() {
    let mut world = World::new(4);
    world.create("t", 12, 3);
    world.drain(&[3]);
    world.step();
    world.set_cordoned(3, false);
    world.step();
    assert_eq!(world.state(), RebalanceState::Failed);
    assert!(
        world
            .rebalance()
            .message
            .contains("broker 3 is not cordoned any more")
    );
    assert_eq!(world.image.reassigning_partitions().count(), 0);

    let mut world = World::new(3);
    world.create("t", 12, 3);
    world.join(3);
    world.start(RebalanceGoal::AddedBrokers([3].into()));
    world.step();
    world.set_cordoned(3, true);
    world.step();
    assert_eq!(world.state(), RebalanceState::Failed);
    assert!(world.rebalance().message.contains("broker 3 was cordoned"));
    assert_eq!(world.held(3), 0);
}

#[test]
fn new_brokers_that_are_away_are_waited_for() {
    let mut world = World::new(3);
    world.create("t", 12, 3);
    world.join(3);
    world.join(4);
    world.start(RebalanceGoal::AddedBrokers([3, 4].into()));
    world.die(4);
    assert_eq!(world.wait(), "broker 4 is not alive");
    assert!(world.held(3) > 0);
    assert_eq!(world.held(4), 0);
    world.come_back(4);
    world.run(|_, _| {});
    assert_eq!(world.state(), RebalanceState::Completed);
    assert!(world.held(4) > 0);
}

#[test]
fn a_disk_without_room_is_named() {
    let mut world = World::new(4);
    world.create_on("t", &[&[0, 1, 2]]);
    world.tell_loads(1000);
    world.drain(&[0]);
    let full = Report {
        node_id: 3,
        disk: Some(Disk {
            bytes_total: 1 << 40,
            bytes_free: 1 << 30,
        }),
        ..Report::default()
    };
    world.loads.report(1, &world.image, full);
    assert_eq!(
        world.wait(),
        "broker 3 has too little room on its disk for the 1000 bytes of t-0"
    );
    world.tell_loads(1000);
    world.run(|_, _| {});
    assert_eq!(world.held(0), 0);
}

#[test]
fn what_is_copied_counts_before_a_move_is_done() {
    let mut world = World::new(4);
    world.create_on("t", &[&[0, 1, 2]]);
    world.tell_loads(1000);
    world.drain(&[0]);
    world.step();
    let topic_id = world.topic("t").id;
    for (bytes, left) in [(250, None), (500, Some(4)), (500, Some(5))] {
        let report = Report {
            node_id: 3,
            copies: vec![crate::rebalance::CopiedPartition {
                topic_id,
                index: 0,
                bytes,
            }],
            ..Report::default()
        };
        world.loads.report(1, &world.image, report);
        if left.is_some() {
            world.now += Duration::from_secs(1);
        }
        world.step();
        let progress = world.rebalance().progress;
        assert_eq!((progress.bytes_total, progress.bytes_done), (1000, bytes));
        assert!(progress.seconds_left.is_some() || left.is_none());
    }
}

#[test]
fn the_first_plan_waits_for_loads_but_not_for_long() {
    let mut world = World::new(4);
    world.create("t", 12, 3);
    world.drain(&[3]);
    world.limits.loads_wait = Duration::from_secs(5);
    for _ in 0..5 {
        world.step();
        assert_eq!(world.image.reassigning_partitions().count(), 0);
    }
    world.step();
    assert!(world.image.reassigning_partitions().count() > 0);
    // Told: no wait.
    world.stepper = None;
    world.tell_loads(1000);
    world.catch_up();
    world.step();
    assert!(world.stepper.as_ref().unwrap().plan.is_some());
}

#[test]
fn loads_that_never_rest_do_not_keep_it_going() {
    let mut world = World::new(4);
    world.create("t", 40, 1);
    let heavy = |world: &mut World, number: usize| {
        let ids: Vec<_> = world
            .image
            .partitions()
            .map(|(topic, index, it)| ((topic.id, index), it.replicas[0]))
            .collect();
        // All that is heavy is always on one broker.
        let loaded = ids.into_iter().map(|(id, on)| {
            let bytes = match on == (number % 4) as i32 {
                true => 100 << 30,
                false => 1 << 30,
            };
            let load = LoadedPartition {
                bytes,
                ..LoadedPartition::default()
            };
            (id, load)
        });
        let report = Report {
            node_id: 0,
            partitions: loaded.collect(),
            ..Report::default()
        };
        world.loads.report(1, &world.image, report);
    };
    heavy(&mut world, 0);
    world.start(RebalanceGoal::Full);
    world.run(heavy);
    assert_eq!(world.state(), RebalanceState::Completed);
    assert_eq!(world.stepper.unwrap().plans, PLANS_MAX);
}
