//! Rebalances between all the other commands.

use foz_metadata::image::{RebalanceGoal, RebalanceState};
use foz_metadata::rules::{
    PlannedRebalance, ProgressRebalance, RebalanceEnd, RebalanceMove, StartRebalance,
    StartedRebalance, cancel_rebalance, progress_rebalance, start_rebalance,
};

use super::Cluster;

impl Cluster {
    pub(crate) fn start_rebalance(&mut self, drained: &[i32]) {
        let request = StartRebalance {
            goal: match drained {
                [] => RebalanceGoal::Full,
                drained => RebalanceGoal::DrainBrokers(drained.iter().copied().collect()),
            },
            planned: PlannedRebalance::Moves { moves: 1, bytes: 1 },
            threshold_percent: 0,
            operator_epoch: 0,
        };
        let decided = start_rebalance(&self.image, &request);
        let started = self.commit_if_allowed(decided).unwrap();
        let running = self.image.running_rebalance();
        if let StartedRebalance::Started { rebalance_id, .. } = started {
            let running = running.unwrap();
            assert_eq!((running.id, &running.goal), (rebalance_id, &request.goal));
        }
    }

    pub(crate) fn step_rebalance(&mut self, at: usize, target: &[i32], end: bool) {
        let image = self.image.clone();
        let Some((topic, index, partition)) = image.partitions().nth(at) else {
            return;
        };
        let rebalance_id = image.rebalance().map_or(0, |it| it.id);
        let mut step = ProgressRebalance {
            rebalance_id,
            end: end.then_some(RebalanceEnd::Completed),
            ..ProgressRebalance::default()
        };
        if target.is_empty() {
            step.call_off = vec![(topic.id, index)];
        } else {
            step.begin = vec![RebalanceMove {
                topic_id: topic.id,
                index,
                from: partition.replicas.clone(),
                to: target.to_vec(),
            }];
        }
        let decided = progress_rebalance(&image, &step);
        let done = self.commit_if_allowed(decided).unwrap();
        let after = self.image.partition(&topic.name, index).unwrap();
        if done.begun > 0 {
            assert_eq!(after.target_replicas(), target);
        }
        if image.running_rebalance().is_none() {
            assert_eq!(self.image, image);
        }
        if done.has_ended {
            let rebalance = self.image.rebalance().unwrap();
            assert_eq!(rebalance.state, RebalanceState::Completed);
        }
    }

    pub(crate) fn cancel_rebalance(&mut self) {
        let was_running = self.image.running_rebalance().map(|it| it.id);
        let decided = cancel_rebalance(&self.image, was_running.unwrap_or(1), 0);
        let is_cancelled = self.commit_if_allowed(decided).unwrap();
        assert_eq!(is_cancelled, was_running.is_some());
        assert!(self.image.running_rebalance().is_none());
    }
}
