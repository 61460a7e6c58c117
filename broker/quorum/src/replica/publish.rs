//! What the quorum's thread tells the handle.

use raft::StateRole;

use super::Replica;
use crate::config::Voter;
use crate::state_machine::StateMachine;
use crate::status::{Leadership, Member, MemberStatus, QuorumStatus};

impl<S: StateMachine> Replica<S> {
    /// Tells the watchers what changed.
    pub(super) fn publish(&self) {
        let raft = &self.node.raft;
        let leadership = Leadership {
            term: raft.term,
            leader: self.voter(raft.leader_id),
            is_self: self.leads(),
        };
        let status = QuorumStatus {
            term: raft.term,
            last_index: raft.raft_log.last_index(),
            committed: raft.raft_log.committed,
            applied: self.applied.index,
            snapshot_index: self.node.store().newest_snapshot().index,
            first_index: self.node.store().first(),
            is_voter: self.conf_state.voters.contains(&self.raft_id)
                && self.conf_state.voters_outgoing.is_empty(),
            stands_still: false,
            members: self.members(),
            retired: self.stay_out(),
        };
        self.outputs
            .status
            .send_if_modified(|old| replace_if_other(old, status));
        self.outputs
            .leadership
            .send_if_modified(|old| replace_if_other(old, leadership));
    }

    fn members(&self) -> Vec<MemberStatus> {
        let raft = &self.node.raft;
        let leads = raft.state == StateRole::Leader;
        let status = |member: &Member| {
            let progress = raft.prs().get(member.raft_id).filter(|_| leads);
            MemberStatus {
                member: member.clone(),
                is_voter: self.conf_state.voters.contains(&member.raft_id),
                matched: progress.map(|progress| progress.matched),
                is_active: progress
                    .map(|progress| progress.recent_active || member.raft_id == self.raft_id),
            }
        };
        let mut members: Vec<MemberStatus> = self.membership.members.values().map(status).collect();
        members.sort_by_key(|status| (status.member.node_id, status.member.raft_id));
        members
    }

    /// Where a member listens: as configured, else as it said when it joined.
    pub(super) fn voter(&self, raft_id: u64) -> Option<Voter> {
        let member = self.membership.members.get(&raft_id)?;
        let address = self
            .config
            .address_of(member.node_id)
            .unwrap_or(&member.address);
        Some(Voter {
            node_id: member.node_id,
            address: address.to_owned(),
        })
    }
}

fn replace_if_other<T: PartialEq>(old: &mut T, new: T) -> bool {
    let is_other = *old != new;
    *old = new;
    is_other
}
