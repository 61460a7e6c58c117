//! A disk of several of a broker fails, and the broker goes on.

use super::*;

#[test]
fn a_target_whose_disk_fails_is_given_up_at_once() {
    let mut world = World::new(5);
    world.create_on("t", &[&[0, 1, 2]]);
    world.tell_loads(1000);
    world.drain(&[0]);
    world.step();
    let target = world.topic("t").partitions[0].adding_replicas.clone();
    world.fail_disk(target[0], "t", &[0]);
    let step = world.step();
    assert_eq!(step.request.call_off.len(), 1);
    // The broker has other disks.
    world.run(|_, _| {});
    assert_eq!(world.state(), RebalanceState::Completed);
    assert_eq!(world.held(0), 0);
    let partition = &world.topic("t").partitions[0];
    assert_eq!((partition.isr.len(), partition.offline.len()), (3, 0));
}

#[test]
fn a_partition_that_lacks_a_replica_stays_as_it_is() {
    let mut world = World::new(3);
    world.create("t", 40, 3);
    world.fail_disk(1, "t", &[3, 7]);
    world.join(3);
    world.tell_loads(1000);
    world.start(RebalanceGoal::AddedBrokers([3].into()));
    world.run(|_, _| {});
    assert_eq!(world.state(), RebalanceState::Completed);
    assert_eq!(world.held(3), 30);
    for (index, partition) in world.topic("t").partitions.iter().enumerate() {
        let is_without = [3, 7].contains(&index);
        assert_eq!(partition.offline == [1], is_without, "{partition:?}");
        assert!(!is_without || !partition.replicas.contains(&3));
    }
}

#[test]
fn a_replica_that_fails_during_a_move_does_not_keep_it_going() {
    let mut world = World::new(3);
    world.create("t", 40, 3);
    world.join(3);
    world.tell_loads(1000);
    world.start(RebalanceGoal::AddedBrokers([3].into()));
    world.step();
    let mut partitions = (0..).zip(&world.topic("t").partitions);
    let moving = partitions.find_map(|(index, it)| it.is_reassigning().then_some((index, it)));
    let (index, partition) = moving.expect("a move has begun");
    let mut target = partition.target_replicas().into_iter();
    let stays = target.find(|id| *id != 3).expect("three replicas");
    world.fail_disk(stays, "t", &[index]);
    // One that was planned for, and has not begun.
    let partitions = (0..).zip(&world.topic("t").partitions);
    let whole = partitions.filter(|(_, it)| !it.is_reassigning() && it.replicas.contains(&stays));
    let whole: Vec<i32> = whole.map(|(index, _)| index).collect();
    world.fail_disk(stays, "t", &whole);
    world.run(|_, _| {});
    assert_eq!(world.state(), RebalanceState::Completed);
    let partition = &world.topic("t").partitions[index as usize];
    assert!(!partition.is_reassigning() && !partition.replicas.contains(&3));
}

#[test]
fn a_drain_waits_for_a_replica_that_stays_and_says_so() {
    let mut world = World::new(4);
    world.create_on("t", &[&[0, 1, 2]]);
    world.tell_loads(1000);
    world.fail_disk(1, "t", &[0]);
    world.drain(&[0]);
    assert_eq!(
        world.wait(),
        "t-0 waits for broker 1, which cannot use its replica: a disk has failed there"
    );
    world.restart(1);
    world.run(|_, _| {});
    assert_eq!(world.state(), RebalanceState::Completed);
    assert_eq!((world.held(0), world.held(3)), (0, 1));
}

#[test]
fn a_single_replica_on_a_failed_disk_cannot_be_drained() {
    let mut world = World::new(2);
    world.create_on("t", &[&[0]]);
    world.tell_loads(1000);
    world.fail_disk(0, "t", &[0]);
    world.set_cordoned(0, true);
    let goal = RebalanceGoal::DrainBrokers([0].into());
    let why = plan(&world.image, &world.loads, &goal, 0).expect_err("nothing to copy from");
    assert!(
        why.contains("can use it, so there is nothing to copy from"),
        "{why}"
    );
}
