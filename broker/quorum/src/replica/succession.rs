//! What the quorum's thread does when the leader's process has ended: see [`crate::succession`].

use std::time::Duration;

use raft::eraftpb::MessageType;
use raft::{INVALID_ID, StateRole};

use super::Replica;
use crate::state_machine::StateMachine;
use crate::succession::{Candidacy, Turn};

impl<S: StateMachine> Replica<S> {
    /// The process of a member has ended. If it led, the wait for it to be heard of again is over.
    pub(super) fn ended(&mut self, raft_id: u64) {
        let raft = &mut self.node.raft;
        if raft.state != StateRole::Follower || raft.leader_id != raft_id {
            return;
        }
        let term = raft.term;
        tracing::info!(
            leader = format!("{raft_id:016x}"),
            term,
            "the process of the quorum's leader has ended"
        );
        // The same term: a vote that was given in it stays given.
        raft.become_follower(term, INVALID_ID);
        let voters = &self.conf_state.voters;
        let now = self.began.elapsed();
        self.candidacy = Candidacy::new(term, self.raft_id, raft_id, voters, now);
    }

    /// When this replica may have to stand for election.
    pub(super) fn candidacy_at(&self) -> Option<Duration> {
        self.candidacy.as_ref().map(Candidacy::at)
    }

    pub(super) fn heard(&mut self, kind: MessageType) {
        let now = self.began.elapsed();
        if let Some(candidacy) = &mut self.candidacy
            && matches!(
                kind,
                MessageType::MsgRequestPreVote | MessageType::MsgRequestVote
            )
        {
            candidacy.give_way(now);
        }
    }

    pub(super) fn stand_if_due(&mut self) {
        let now = self.began.elapsed();
        let raft = &self.node.raft;
        let has_leader = raft.leader_id != INVALID_ID;
        let Some(candidacy) = &mut self.candidacy else {
            return;
        };
        match candidacy.turn(raft.term, has_leader, now) {
            Turn::Wait => {}
            Turn::Stand => self.campaign(),
            Turn::Over => self.candidacy = None,
        }
    }
}
