//! One number says how even is even: for the plan of the beginning, for those on the way, and for whether to begin.

use foz_balance::UnevenOf;
use foz_metadata::rules::{StartRebalance, StartedRebalance, start_rebalance};

use super::random::Random;
use super::*;

const WALKS: u64 = 150;

impl World {
    /// Each broker tells; each partition has what is drawn for it.
    fn tell_drawn(&mut self, random: &mut Random) {
        self.tell(1 << 44, || LoadedPartition {
            bytes: (1 + random.below(9)) << (26 + random.below(7)),
            bytes_in_per_second: random.below(60) << 20,
            bytes_out_per_second: random.below(20) << 21,
        });
    }

    /// As one who looks from time to time: whether there is a reason to begin.
    fn reason(&self) -> Option<UnevenOf> {
        let goal = RebalanceGoal::Full;
        let planned = plan(&self.image, &self.loads, &goal, self.threshold_percent);
        planned.expect("possible").uneven().map(|it| it.of)
    }
}

/// Topics and loads are drawn, and so is the threshold; brokers join with nothing. When a rebalance is over and nothing
/// has happened since, nobody begins another.
#[test]
fn whatever_the_threshold_a_cluster_at_rest_stays_at_rest() {
    let mut begun = [0; 3];
    for seed in 0..WALKS {
        let mut random = Random(seed);
        let mut world = World::new(3 + random.below(3) as i32);
        world.threshold_percent = (1 + random.below(100) / (1 + random.below(20))) as u32;
        for number in 0..6 {
            match random.below(6) {
                0 => world.join(10 + number),
                // Only loads are others.
                1..=3 if number > 1 => {}
                _ => world.create(
                    &format!("t{number}"),
                    1 + random.below(12) as i32,
                    1 + random.below(3) as i32,
                ),
            }
            if world.image.partition_count() == 0 {
                continue;
            }
            world.tell_drawn(&mut random);
            let Some(of) = world.reason() else {
                continue;
            };
            begun[of as usize] += 1;
            world.start(RebalanceGoal::Full);
            let threshold_percent = world.threshold_percent;
            world.run(|world, number| {
                assert_eq!(world.rebalance().threshold_percent, threshold_percent);
                if number % 4 == 3 {
                    // Another controller, which is told all loads at once.
                    world.stepper = None;
                }
            });
            assert_eq!(world.state(), RebalanceState::Completed);
            for _ in 0..3 {
                assert_eq!(world.reason(), None, "seed {seed}");
                let goal = RebalanceGoal::Full;
                let planned = plan(&world.image, &world.loads, &goal, threshold_percent);
                let request = StartRebalance {
                    goal,
                    planned: planned.expect("possible").summary(),
                    threshold_percent,
                    operator_epoch: 0,
                };
                let answer = start_rebalance(&world.image, &request).unwrap().answer;
                assert_eq!(answer, StartedRebalance::NothingToDo, "seed {seed}");
            }
        }
    }
    // Walks in which nothing is a reason would show nothing.
    assert!(begun.iter().all(|count| *count >= 10), "{begun:?}");
}

#[test]
fn a_wider_threshold_moves_less() {
    let moved = |threshold_percent| {
        let mut world = World::new(4);
        world.create("t", 60, 2);
        world.tell_drawn(&mut Random(7));
        world.join(4);
        world.tell_drawn(&mut Random(7));
        world.threshold_percent = threshold_percent;
        world.start(RebalanceGoal::Full);
        world.run(|_, _| {});
        let counts: Vec<usize> = (0..5).map(|id| world.held(id)).collect();
        let differ = counts.iter().max().unwrap() - counts.iter().min().unwrap();
        (world.rebalance().progress.moves_done, differ)
    };
    let (usual, narrow, wide) = (moved(0), moved(2), moved(60));
    assert_eq!(usual, moved(10));
    assert!(
        narrow.0 > usual.0 && usual.0 > wide.0,
        "{narrow:?} {usual:?} {wide:?}"
    );
    assert!(
        narrow.1 <= usual.1 && usual.1 < wide.1,
        "{narrow:?} {usual:?} {wide:?}"
    );
}

/// The others seem to have more than their share.
#[test]
fn bytes_are_no_reason_while_a_broker_has_not_told_its_own() {
    let mut world = World::new(3);
    world.create_on("t", &[&[0], &[1], &[2]]);
    let tell = |world: &mut World, node_id: i32, bytes: u64| {
        let id = (world.topic("t").id, node_id);
        let load = LoadedPartition {
            bytes,
            ..LoadedPartition::default()
        };
        let report = Report {
            node_id,
            partitions: vec![(id, load)],
            ..Report::default()
        };
        world.loads.report(1, &world.image, report);
    };
    world.create_on("u", &[&[0], &[1], &[2]]);
    tell(&mut world, 0, 100 << 30);
    tell(&mut world, 1, 100 << 30);
    assert_eq!(world.reason(), None);
    tell(&mut world, 2, 100 << 30);
    assert_eq!(world.reason(), None);
    // Replicas are known without anybody telling.
    world.create_on("v", &[&[0], &[0], &[0], &[0]]);
    world.loads = Loads::default();
    assert_eq!(world.reason(), Some(UnevenOf::Replicas));
}
