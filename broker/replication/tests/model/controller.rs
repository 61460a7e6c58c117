//! What the controller does, and what happens to nodes.

use super::*;

impl World {
    pub(super) fn commit(&mut self, change: impl FnOnce(&mut Metadata)) {
        let mut next = self.truth().clone();
        change(&mut next);
        next.assignment.partition_epoch += 1;
        self.history.push(next);
    }

    pub(super) fn alter(
        &mut self,
        from: i32,
        broker_epoch: i64,
        proposal: &IsrProposal,
    ) -> ProposalOutcome {
        let truth = self.truth();
        let assignment = &truth.assignment;
        if truth.may_join(from) != Some(broker_epoch) {
            return ProposalOutcome::refused(ErrorCode::StaleBrokerEpoch);
        }
        if proposal.leader_epoch != assignment.leader_epoch {
            return ProposalOutcome::refused(ErrorCode::FencedLeaderEpoch);
        }
        if proposal.partition_epoch != assignment.partition_epoch {
            return ProposalOutcome::refused(ErrorCode::InvalidUpdateVersion);
        }
        assert_eq!(assignment.leader, from, "one leader in each epoch");
        let is_eligible = |&(id, epoch): &(i32, i64)| matches!(truth.may_join(id), Some(it) if epoch == -1 || it == epoch);
        if !proposal.new_isr.iter().all(is_eligible) {
            return ProposalOutcome::refused(ErrorCode::IneligibleReplica);
        }
        let isr: Vec<i32> = proposal.new_isr.iter().map(|&(id, _)| id).collect();
        assert!(isr.contains(&from));
        // The same members make a new epoch, too.
        self.counts.isr_changes += usize::from(isr != assignment.isr);
        self.commit(|metadata| metadata.assignment.isr = isr);
        let assignment = &self.truth().assignment;
        ProposalOutcome::Committed {
            leader_epoch: assignment.leader_epoch,
            partition_epoch: assignment.partition_epoch,
            isr: assignment.isr.clone(),
        }
    }

    pub(super) fn elect(&mut self, leader: i32) {
        if self.truth().assignment.leader == leader {
            return;
        }
        self.counts.elections += usize::from(leader >= 0);
        self.commit(|metadata| {
            metadata.assignment.leader = leader;
            metadata.assignment.leader_epoch += 1;
        });
    }

    /// The controller takes the node for dead, which it may not be.
    pub(super) fn fence(&mut self, id: i32) {
        if !self.truth().alive.contains_key(&id) {
            return;
        }
        self.commit(|metadata| {
            metadata.alive.remove(&id);
            if metadata.assignment.isr.len() > 1 {
                metadata.assignment.isr.retain(|&member| member != id);
            }
        });
        if self.truth().assignment.leader == id {
            self.elect_anyone();
        }
    }

    pub(super) fn elect_anyone(&mut self) {
        let truth = self.truth();
        let mut able = truth
            .assignment
            .isr
            .iter()
            .filter(|member| truth.alive.contains_key(member));
        let leader = able.next().copied().unwrap_or(-1);
        self.elect(leader);
    }

    pub(super) fn unfence(&mut self, id: i32) {
        let node = &self.nodes[id as usize];
        if !node.up || self.truth().alive.contains_key(&id) {
            return;
        }
        let broker_epoch = node.broker_epoch;
        self.commit(|metadata| {
            metadata.alive.insert(id, broker_epoch);
        });
        if self.truth().assignment.leader < 0 {
            self.elect_anyone();
        }
    }

    pub(super) fn move_leadership(&mut self, id: i32) {
        let truth = self.truth();
        if truth.assignment.isr.contains(&id) && truth.alive.contains_key(&id) {
            self.elect(id);
        }
    }

    /// The process ends. The log stays, unless the node is out of the ISR: then the end of it may go.
    pub(super) fn crash(&mut self, id: i32, how: u8) {
        if !self.nodes[id as usize].up {
            return;
        }
        self.counts.crashes += 1;
        if how.is_multiple_of(2) {
            self.fence(id);
        }
        let may_lose = !self.truth().assignment.isr.contains(&id);
        let node = self.node(id);
        node.up = false;
        node.role = Role::None;
        node.correlation_id = 0;
        node.answered_ms = None;
        node.leader_epoch = -1;
        node.seen = 0;
        // The checkpoint of the high watermark lags.
        node.high_watermark -= node.high_watermark.min(i64::from(how % 4));
        if may_lose && how.is_multiple_of(4) {
            let keeps = node.log.len() - node.log.len().min(1 + usize::from(how / 4 % 8));
            node.log.truncate(keeps);
            node.high_watermark = node.high_watermark.min(keeps as i64);
            self.counts.older_disks += 1;
        }
    }

    /// It comes back with another broker epoch, and registers: fenced until it has caught up with the
    /// metadata, with no place in the ISR that it was out of.
    pub(super) fn restart(&mut self, id: i32) {
        if self.nodes[id as usize].up {
            return;
        }
        self.fence(id);
        let broker_epoch = self.next_broker_epoch;
        self.next_broker_epoch += 1;
        let versions = self.history.len();
        let node = self.node(id);
        node.up = true;
        node.broker_epoch = broker_epoch;
        // A registered broker knows the metadata before it does anything. It never led the epoch that
        // it finds: whoever leads is alive, and it was fenced.
        node.seen = versions - 1;
        self.learn(id, 1);
    }
}
