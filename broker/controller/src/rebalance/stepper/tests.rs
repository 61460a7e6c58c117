//! What may come between the steps of a rebalance.

mod failed_disk;
mod large;
mod random;
mod threshold;
mod walk;
mod world;

use foz_metadata::image::RebalanceState;
use foz_metadata::rules::{
    AcquireRestart, QuorumHealth, Unavailable, acquire_restart, progress_rebalance,
    unregister_broker,
};

use super::*;
use crate::rebalance::loads::{Disk, LoadedPartition, Report};
use world::World;

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
fn a_broker_without_room_on_its_disk_is_waited_for() {
    let mut world = World::new(4);
    world.create_on("t", &[&[0, 1, 2]]);
    world.tell_loads(1000);
    world.report_space(3, true);
    world.drain(&[0]);
    assert_eq!(world.wait(), "broker 3 has no room on its disk");
    assert_eq!((world.held(0), world.held(3)), (1, 0), "nothing begins");
    world.report_space(3, false);
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
    assert!(plan(&world.image, &world.loads, &world.rebalance().goal, 0).is_err());
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
    let full = Disk {
        bytes_total: 1 << 40,
        bytes_free: 1 << 30,
        roomiest_bytes_total: 1 << 40,
        roomiest_bytes_free: 1 << 30,
        ..Disk::default()
    };
    // Room enough, and nowhere all of it on one disk.
    let many = Disk {
        bytes_total: 1 << 20,
        bytes_free: 1 << 20,
        roomiest_bytes_total: 1050,
        roomiest_bytes_free: 1050,
        ..Disk::default()
    };
    for disk in [full, many] {
        let report = Report {
            node_id: 3,
            disk: Some(disk),
            ..Report::default()
        };
        world.loads.report(1, &world.image, report);
        assert_eq!(
            world.wait(),
            "broker 3 has too little room on its disk for the 1000 bytes of t-0"
        );
    }
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
