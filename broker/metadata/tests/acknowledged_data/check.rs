//! What must hold in the model, whatever happened.

use foz_metadata::image::NO_LEADER;

use super::{NODES, TOPIC, World, at, common_prefix, id, min_insync};

impl World {
    /// What must hold after every step.
    pub(super) fn check(&mut self) {
        let Some(partition) = self.image().partition(TOPIC, 0).cloned() else {
            return;
        };
        let min_insync = min_insync(self.image(), &partition);
        let is_sound = |node_id: &i32| self.nodes[at(*node_id)].is_intact;
        let in_sync = partition.isr.iter().copied().filter(is_sound).count();
        if in_sync >= min_insync {
            let (isr, elr) = (&partition.isr, &partition.elr);
            self.lost
                .retain(|node| isr.contains(&id(*node)) || elr.contains(&id(*node)));
            let nodes = &self.nodes;
            self.lost.retain(|node| !nodes[*node].is_intact);
            self.bearable_below = min_insync;
        }
        self.bearable_below = self.bearable_below.min(min_insync);
        self.is_beyond |= self.lost.len() >= self.bearable_below;
        if self.is_beyond {
            let epoch_now = partition.leader_epoch;
            let knows = |node| {
                let seen = self.seen(node);
                seen.is_some_and(|seen| seen.leader_epoch == epoch_now)
            };
            let all_know = (0..NODES).all(|node| !self.nodes[node].is_up || knows(node));
            if in_sync < min_insync || self.lost.len() >= min_insync || !all_know {
                return;
            }
            // From here on it counts again, with what is left.
            for node_id in &partition.isr {
                let log = &self.nodes[at(*node_id)].log;
                let left = common_prefix(log, &self.acknowledged);
                self.acknowledged.truncate(left);
            }
            self.is_beyond = false;
        }
        for node_id in partition.isr.iter().chain(&partition.elr) {
            let node = &self.nodes[at(*node_id)];
            assert!(
                !node.is_intact || node.log.starts_with(&self.acknowledged),
                "broker {node_id} of {partition:?} has {:?} of {:?}",
                node.log,
                self.acknowledged
            );
        }
        if partition.leader != NO_LEADER {
            assert!(partition.isr.contains(&partition.leader));
        }
    }
}
