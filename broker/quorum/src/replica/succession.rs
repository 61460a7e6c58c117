//! What the quorum's thread does when the leader's process has ended: see [`crate::succession`].

use std::time::Duration;

use raft::eraftpb::{Message, MessageType};
use raft::{INVALID_ID, Raft, StateRole, Storage};

use super::Replica;
use crate::state_machine::StateMachine;
use crate::succession::{Candidacy, Stance, Turn};

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

    /// Another member says something. The answer is whether Raft hears it: not while this replica asks for the
    /// same votes and goes first.
    pub(super) fn hears(&mut self, message: &Message) -> bool {
        let kind = message.get_msg_type();
        let is_for_votes = matches!(
            kind,
            MessageType::MsgRequestPreVote | MessageType::MsgRequestVote
        );
        let now = self.began.elapsed();
        let raft = &mut self.node.raft;
        let Some(candidacy) = self.candidacy.as_mut().filter(|_| is_for_votes) else {
            return true;
        };
        let mine = Stance {
            last_term: raft.raft_log.last_term(),
            last_index: raft.raft_log.last_index(),
            raft_id: self.raft_id,
        };
        let its = Stance {
            last_term: message.log_term,
            last_index: message.index,
            raft_id: message.from,
        };
        if !its.may_win_against(&mine) {
            // Raft refuses it the vote: there is nothing to wait for.
            return true;
        }
        let is_rival = kind == MessageType::MsgRequestPreVote
            && raft.state == StateRole::PreCandidate
            && message.term == raft.term + 1;
        if is_rival && mine.goes_before(&its) {
            return false;
        }
        if is_rival {
            raft.become_follower(raft.term, INVALID_ID);
        }
        candidacy.give_way(now);
        true
    }

    /// Asks those for their votes who have not answered. Only when all that the question says is on the disk.
    pub(super) fn ask_again(&self) {
        for question in unanswered(&self.node.raft) {
            self.transport.send(question);
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

/// Raft asks for each vote once. The question or the answer may be lost with a connection, or a member may not
/// have noticed the leader's end yet: then everybody would wait for another election timeout. A member that is
/// asked twice answers the same.
fn unanswered<T: Storage>(raft: &Raft<T>) -> Vec<Message> {
    let (kind, term) = match raft.state {
        StateRole::PreCandidate => (MessageType::MsgRequestPreVote, raft.term + 1),
        StateRole::Candidate => (MessageType::MsgRequestVote, raft.term),
        StateRole::Follower | StateRole::Leader => return Vec::new(),
    };
    let (commit, commit_term) = raft.raft_log.commit_info();
    let question = |to| {
        let mut question = Message {
            to,
            from: raft.id,
            term,
            log_term: raft.raft_log.last_term(),
            index: raft.raft_log.last_index(),
            commit,
            commit_term,
            ..Message::default()
        };
        question.set_msg_type(kind);
        question
    };
    let members = raft.prs();
    let voters = members.conf().voters().ids();
    let silent = voters
        .iter()
        .filter(|id| *id != raft.id && !members.votes().contains_key(id));
    silent.map(question).collect()
}

#[cfg(test)]
mod tests {
    use raft::storage::MemStorage;

    use super::*;

    fn follower(id: u64) -> Raft<MemStorage> {
        let config = raft::Config {
            id,
            check_quorum: true,
            pre_vote: true,
            ..raft::Config::default()
        };
        let store = MemStorage::new_with_conf_state((vec![1, 2, 3], vec![]));
        Raft::new(&config, store, &crate::raft_log::logger()).unwrap()
    }

    fn hup() -> Message {
        let mut hup = Message::default();
        hup.set_msg_type(MessageType::MsgHup);
        hup
    }

    fn kinds(messages: &[Message]) -> Vec<(u64, MessageType)> {
        messages
            .iter()
            .map(|it| (it.to, it.get_msg_type()))
            .collect()
    }

    #[test]
    fn a_candidate_whose_every_first_question_and_answer_is_lost_still_wins() {
        let (mut one, mut two) = (follower(1), follower(2));
        assert_eq!(unanswered(&one), []);
        one.step(hup()).unwrap();
        for kind in [MessageType::MsgRequestPreVote, MessageType::MsgRequestVote] {
            // What Raft itself says now is lost.
            let lost = std::mem::take(&mut one.msgs);
            let again = unanswered(&one);
            let mut both = kinds(&again);
            both.sort_by_key(|(to, _)| *to);
            assert_eq!(both, [(2, kind), (3, kind)]);
            for question in &lost {
                assert!(again.contains(question), "{question:?} in {again:?}");
            }
            // The first answer is lost, too.
            for is_lost in [true, false] {
                let mut questions = unanswered(&one).into_iter();
                two.step(questions.find(|it| it.to == 2).unwrap()).unwrap();
                let answers = std::mem::take(&mut two.msgs);
                assert_eq!(answers.len(), 1);
                for answer in answers.into_iter().filter(|_| !is_lost) {
                    one.step(answer).unwrap();
                }
            }
        }
        assert_eq!(one.state, StateRole::Leader);
        assert_eq!(unanswered(&one), []);
    }

    #[test]
    fn who_answered_is_not_asked_again() {
        let (mut one, mut two) = (follower(1), follower(2));
        one.step(hup()).unwrap();
        one.become_candidate();
        two.become_candidate();
        let mut questions = unanswered(&one).into_iter();
        two.step(questions.find(|it| it.to == 2).unwrap()).unwrap();
        for answer in std::mem::take(&mut two.msgs) {
            assert!(answer.reject);
            one.step(answer).unwrap();
        }
        assert_eq!(kinds(&unanswered(&one)), [(3, MessageType::MsgRequestVote)]);
    }
}
