//! How the group grows and shrinks while this replica leads.

use std::collections::{BTreeMap, BTreeSet};

use raft::INVALID_ID;
use raft::eraftpb::ConfChangeV2;
use tokio::sync::oneshot;

use super::Replica;
use crate::error::ChangeVotersError;
use crate::joining::{JoinAnswer, JoinStep, JoinView, Joining, judge, next_join_step};
use crate::leaving::{LeaveView, RemoveStep, next_remove_step};
use crate::state_machine::StateMachine;

/// Removals that wait; more than there are controllers.
const REMOVALS_MAX: usize = 16;
/// A voter this far behind what is committed counts as caught up: some entries are always on their way.
const CAUGHT_UP_ENTRIES_MAX: u64 = 100;

/// What is asked of the leader about its voters. It ends with the leadership.
#[derive(Debug, Default)]
pub(super) struct VoterChanges {
    removals: Vec<Removal>,
    /// Node ids that were removed and may come back.
    readmitted: BTreeSet<i32>,
    /// By node id, the Raft id under which a controller has asked last to be let in.
    asking: BTreeMap<i32, u64>,
}

#[derive(Debug)]
struct Removal {
    node_id: i32,
    answer: oneshot::Sender<Result<(), ChangeVotersError>>,
}

impl VoterChanges {
    pub(super) fn leadership_lost(&mut self) {
        self.readmitted.clear();
        self.asking.clear();
        for removal in self.removals.drain(..) {
            removal.answer(Err(ChangeVotersError::UnknownOutcome));
        }
    }
}

impl Removal {
    fn answer(self, answer: Result<(), ChangeVotersError>) {
        // An error: nobody waits for the answer any more.
        let _ = self.answer.send(answer);
    }
}

impl<S: StateMachine> Replica<S> {
    /// A controller asks to be let in.
    pub(super) fn join(&mut self, joining: Joining<'_>) -> JoinAnswer {
        if !self.leads() {
            return JoinAnswer::NotLeader;
        }
        let readmitted = &self.voter_changes.readmitted;
        let answer = judge(&self.membership, &self.conf_state, readmitted, joining);
        if answer != JoinAnswer::Welcome {
            return answer;
        }
        let members = &self.membership.members;
        let asking = &mut self.voter_changes.asking;
        asking.retain(|_, raft_id| members.contains_key(raft_id));
        asking.insert(joining.member.node_id, joining.member.raft_id);
        let raft = &self.node.raft;
        let answering = raft.prs().iter().filter(|(_, it)| it.recent_active);
        let matched = answering.map(|(id, it)| (*id, it.matched)).collect();
        let step = next_join_step(
            &JoinView {
                conf_state: &self.conf_state,
                membership: &self.membership,
                change_pending: raft.has_pending_conf(),
                committed: raft.raft_log.committed,
                matched: &matched,
                asking: &self.voter_changes.asking,
            },
            joining,
        );
        if let JoinStep::Propose(change) = step {
            self.propose_members(change);
        }
        answer
    }

    pub(super) fn remove_voter(
        &mut self,
        node_id: i32,
        answer: oneshot::Sender<Result<(), ChangeVotersError>>,
    ) {
        let removal = Removal { node_id, answer };
        if !self.leads() {
            return removal.answer(Err(ChangeVotersError::NotLeader));
        }
        self.voter_changes.readmitted.remove(&node_id);
        let waiting = &mut self.voter_changes.removals;
        waiting.retain(|waiting| !waiting.answer.is_closed());
        if waiting.len() >= REMOVALS_MAX {
            return removal.answer(Err(ChangeVotersError::Busy));
        }
        waiting.push(removal);
        self.carry_on_removals();
    }

    /// A node that was removed may come back.
    pub(super) fn add_voter(&mut self, node_id: i32) -> Result<(), ChangeVotersError> {
        if !self.leads() {
            return Err(ChangeVotersError::NotLeader);
        }
        if self.membership.retired.contains(&node_id) {
            self.voter_changes.readmitted.insert(node_id);
        }
        Ok(())
    }

    /// The node ids of those who were removed and may not come back, as far as this replica knows.
    pub(super) fn stay_out(&self) -> Vec<i32> {
        let retired = self.membership.retired.iter().copied();
        let readmitted = &self.voter_changes.readmitted;
        retired.filter(|it| !readmitted.contains(it)).collect()
    }

    /// The next step of the first removal. Cheap while there is none.
    pub(super) fn carry_on_removals(&mut self) {
        while let Some(first) = self.voter_changes.removals.first() {
            let node_id = first.node_id;
            let raft = &self.node.raft;
            let step = next_remove_step(
                &LeaveView {
                    conf_state: &self.conf_state,
                    membership: &self.membership,
                    change_pending: raft.has_pending_conf(),
                    raft_id: self.raft_id,
                    living: &self.living_voters(),
                },
                node_id,
            );
            let answer = match step {
                RemoveStep::Wait => return,
                RemoveStep::Propose(change) => return self.propose_members(change),
                RemoveStep::Done => Ok(()),
                RemoveStep::IsLeader => Err(ChangeVotersError::IsLeader { node_id }),
                RemoveStep::Refused(why) => Err(ChangeVotersError::Refused(why)),
            };
            self.voter_changes.removals.remove(0).answer(answer);
        }
    }

    /// When it was removed by an entry of a leader before it: it has no vote, and leads on for no good.
    pub(super) fn resign_if_removed(&mut self) {
        let raft = &self.node.raft;
        let state = &self.conf_state;
        let votes = |id: &u64| state.voters.contains(id) || state.voters_outgoing.contains(id);
        if votes(&self.raft_id) {
            return;
        }
        let living = self.living_voters().into_iter();
        let furthest = living.max_by_key(|id| raft.prs().get(*id).map(|it| it.matched));
        tracing::info!("was removed from the quorum that it leads, and leads no more");
        if let Some(next) = furthest {
            self.node.transfer_leader(next);
        }
        let raft = &mut self.node.raft;
        raft.become_follower(raft.term, INVALID_ID);
    }

    /// Raft ids.
    fn living_voters(&self) -> BTreeSet<u64> {
        let raft = &self.node.raft;
        let committed = raft.raft_log.committed;
        let lives = |raft_id: &u64| {
            let progress = raft.prs().get(*raft_id);
            *raft_id == self.raft_id
                || progress.is_some_and(|it| {
                    it.recent_active
                        && it.matched.saturating_add(CAUGHT_UP_ENTRIES_MAX) >= committed
                })
        };
        self.conf_state
            .voters
            .iter()
            .copied()
            .filter(lives)
            .collect()
    }

    fn propose_members(&mut self, change: ConfChangeV2) {
        // An error: leadership is being handed over; whoever asked asks again.
        let _ = self.node.propose_conf_change(Vec::new(), change);
    }
}
