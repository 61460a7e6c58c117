//! Proposals that wait to be applied.

use std::collections::VecDeque;

use tokio::sync::{OwnedSemaphorePermit, oneshot};

use crate::command::Proposal;
use crate::error::ProposeError;

/// In the order of their indexes, which is the order in which they were made.
#[derive(Debug, Default)]
pub(super) struct Proposals {
    waiting: VecDeque<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    index: u64,
    term: u64,
    answer: oneshot::Sender<Result<u64, ProposeError>>,
    _permit: OwnedSemaphorePermit,
}

impl Proposals {
    /// A proposal is in the log at an index.
    pub(super) fn push(&mut self, index: u64, proposal: Proposal) {
        let Proposal {
            term,
            answer,
            permit,
            ..
        } = proposal;
        assert!(self.waiting.back().is_none_or(|last| last.index < index));
        self.waiting.push_back(Waiting {
            index,
            term,
            answer,
            _permit: permit,
        });
    }

    /// The entry at an index was applied; `accepted` says what the state machine answered.
    pub(super) fn applied(&mut self, index: u64, term: u64, accepted: bool) {
        while self
            .waiting
            .front()
            .is_some_and(|first| first.index <= index)
        {
            let Some(first) = self.waiting.pop_front() else {
                return;
            };
            let is_it = first.index == index && first.term == term;
            let answer = if is_it && accepted {
                Ok(index)
            } else {
                Err(ProposeError::Superseded)
            };
            // An error: nobody waits for the answer any more.
            let _ = first.answer.send(answer);
        }
    }

    /// What becomes of them is now another leader's to decide.
    pub(super) fn leadership_lost(&mut self) {
        for waiting in self.waiting.drain(..) {
            // An error: nobody waits for the answer any more.
            let _ = waiting.answer.send(Err(ProposeError::LeadershipLost));
        }
    }
}

impl Proposal {
    /// Nothing was written.
    pub(super) fn refuse(self, error: ProposeError) {
        // An error: nobody waits for the answer any more.
        let _ = self.answer.send(Err(error));
    }
}
