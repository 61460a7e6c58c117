//! Nothing fails any more: whoever was denied gets a grant at last.

use foz_metadata::rules::{AcquireRestart, Answer};
use uuid::Uuid;

use super::world::{CONTROLLERS, World, id};

/// Rounds in which everybody does what is due.
const ROUNDS_MAX: usize = 6;

impl World {
    /// Everything becomes well, and then every broker restarts.
    pub(crate) fn become_well(&mut self) {
        let asked: Vec<bool> = self.brokers.iter().map(|it| it.wants_to_stop).collect();
        // Those that got a grant and did not use it run into their time limit.
        for node in 0..self.brokers.len() {
            self.time_is_over(node);
        }
        for at in 0..CONTROLLERS {
            self.controllers[at].is_up = false;
            self.start_controller(at);
        }
        for _ in 0..ROUNDS_MAX {
            self.round();
        }
        self.assert_well();
        let count = self.brokers.len();
        let nodes = self.random.some_of(count, count);
        for node in nodes
            .into_iter()
            .map(|node_id| usize::try_from(node_id).unwrap())
        {
            self.restart(node);
            self.seen.granted_at_last += usize::from(asked[node]);
        }
        if self.random.percent(50) {
            self.everything_stops();
        }
    }

    /// Every process is told to end, so that each is granted as one that insists. What is granted then ends without
    /// any time limit once they are back.
    fn everything_stops(&mut self) {
        let count = self.brokers.len();
        for node_id in self.random.some_of(count, count) {
            let node = usize::try_from(node_id).unwrap();
            let incarnation = Uuid::from_u128(self.brokers[node].incarnation);
            let request = AcquireRestart {
                insist: true,
                ..Self::request(node_id, incarnation)
            };
            let granted = (0..50).find_map(|_| self.ask(&request));
            let is_granted = matches!(granted, Some(Answer::Granted { .. }));
            assert!(is_granted, "{granted:?}");
            self.stop(node);
        }
        assert_eq!(self.image.grants().count(), count);
        for _ in 0..ROUNDS_MAX {
            self.round();
        }
        self.assert_well();
        self.seen.stopped_together += 1;
    }

    fn round(&mut self) {
        for node in 0..self.brokers.len() {
            self.lease_ends(node);
            self.start(node, true);
            self.unfence(node);
        }
        for at in 0..self.covers.len() {
            self.joins_at(at, usize::MAX);
        }
        self.end_done();
    }

    fn assert_well(&self) {
        assert_eq!(self.image.grants().count(), 0);
        for (_, _, partition) in self.image.partitions() {
            assert!(!partition.is_reassigning(), "{partition:?}");
            assert_eq!(
                partition.isr.len(),
                partition.replicas.len(),
                "{partition:?}"
            );
        }
        assert!(self.image.brokers().all(|broker| broker.can_lead()));
    }

    /// A roll, of which every answer may be lost a few times.
    fn restart(&mut self, node: usize) {
        let incarnation = Uuid::from_u128(self.brokers[node].incarnation);
        let request = Self::request(id(node), incarnation);
        let granted = (0..50).find_map(|_| self.ask(&request));
        let is_granted = matches!(granted, Some(Answer::Granted { .. }));
        assert!(is_granted, "{granted:?} {:?}", self.covers);
        self.stop(node);
        for _ in 0..2 {
            self.round();
        }
        self.assert_well();
        self.seen.restarted_when_well += 1;
    }
}
