//! Who is hit.

use foz_metadata::image::NO_LEADER;

use crate::world::{ControllerNode, World};

/// Of a partition that has a leader.
pub(super) struct InSync {
    /// One of the followers in the ISR.
    pub(super) follower: i32,
    /// The ISR without that one and without the leader.
    pub(super) others: Vec<i32>,
}

impl World {
    pub(super) fn nodes(&self) -> Vec<i32> {
        let brokers = self.scenario.broker_ids();
        brokers.chain(self.scenario.controller_ids()).collect()
    }

    /// Rather one that leads.
    pub(super) fn some_broker(&mut self) -> i32 {
        let topic = self.checks.newest.topics().next().cloned();
        let index = self.some_partition();
        let leader = topic
            .and_then(|topic| Some(topic.partition(index)?.leader))
            .filter(|leader| *leader >= 0);
        match leader {
            Some(leader) if self.chance.permille(500) => leader,
            _ => self.chance.below(self.scenario.brokers) as i32,
        }
    }

    /// Rather the active one.
    pub(super) fn some_controller(&mut self) -> i32 {
        if self.chance.permille(500) {
            return self.active_controller();
        }
        let ids: Vec<i32> = self.scenario.controller_ids().collect();
        self.chance.pick(&ids).copied().unwrap_or_default()
    }

    pub(in crate::world) fn active_controller(&self) -> i32 {
        let leads = |node: &ControllerNode| {
            let process = node.process.as_ref();
            process.is_some_and(|process| process.replica.led_term().is_some())
        };
        let mut nodes = self.controllers.iter();
        let found = nodes.find(|(_, node)| leads(node)).map(|(id, _)| *id);
        found.unwrap_or(self.scenario.controller_ids().start)
    }

    /// `None`: nobody follows in the ISR.
    pub(super) fn some_follower_in_sync(&mut self) -> Option<InSync> {
        let index = self.some_partition();
        let partition = self.checks.newest.topics().next()?.partition(index)?;
        let leader = partition.leader;
        if leader == NO_LEADER {
            return None;
        }
        let mut others = partition.isr.clone();
        others.retain(|id| *id != leader);
        let follower = self.chance.pick(&others).copied()?;
        others.retain(|id| *id != follower);
        Some(InSync { follower, others })
    }

    fn some_partition(&mut self) -> i32 {
        let last = i64::from(self.scenario.partitions) - 1;
        self.chance.between(0, last) as i32
    }
}
