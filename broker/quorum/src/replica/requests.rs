//! What is asked of the quorum's thread from outside of Raft.

use raft::INVALID_ID;

use super::Replica;
use crate::command::Proposal;
use crate::error::{ProposeError, TransferError};
use crate::state_machine::StateMachine;

impl<S: StateMachine> Replica<S> {
    pub(super) fn propose(&mut self, proposal: Proposal) {
        let term = self.node.raft.term;
        if !self.leads() || proposal.term != term {
            let leader = self
                .voter(self.node.raft.leader_id)
                .filter(|_| !self.leads());
            proposal.refuse(ProposeError::NotLeader { leader });
            return;
        }
        // An error: leadership is being handed over.
        match self.node.propose(Vec::new(), proposal.data.to_vec()) {
            Ok(()) => self
                .proposals
                .push(self.node.raft.raft_log.last_index(), proposal),
            Err(_) => proposal.refuse(ProposeError::NotLeader { leader: None }),
        }
    }

    pub(super) fn transfer(&mut self, to: Option<i32>) -> Result<(), TransferError> {
        if !self.leads() {
            return Err(TransferError::NotLeader);
        }
        let progress = self.node.raft.prs();
        let others = self
            .conf_state
            .voters
            .iter()
            .filter(|id| **id != self.raft_id);
        let mut candidates = others.filter_map(|id| Some((*id, progress.get(*id)?)));
        let target = match to {
            Some(node_id) => candidates
                .find(|(id, _)| {
                    self.membership
                        .members
                        .get(id)
                        .is_some_and(|m| m.node_id == node_id)
                })
                .map(|(id, _)| id)
                .ok_or(TransferError::UnknownVoter { node_id })?,
            None => candidates
                .filter(|(_, progress)| progress.recent_active)
                .max_by_key(|(_, progress)| progress.matched)
                .map(|(id, _)| id)
                .ok_or(TransferError::NoTarget)?,
        };
        self.node.transfer_leader(target);
        Ok(())
    }

    pub(super) fn campaign(&mut self) {
        if self.node.raft.leader_id == INVALID_ID {
            // An error: it may not stand for election now.
            let _ = self.node.campaign();
        }
    }
}
