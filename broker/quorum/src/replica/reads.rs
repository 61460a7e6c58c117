//! Confirmations of leadership: each round covers all calls that were made before it began.

use tokio::sync::oneshot;

/// At most one round is under way; what comes meanwhile shares the next one.
#[derive(Debug, Default)]
pub(super) struct Reads {
    waiting: Vec<oneshot::Sender<bool>>,
    under_way: Vec<oneshot::Sender<bool>>,
    /// Names the round under way to Raft.
    round: u64,
}

impl Reads {
    /// Asks for a confirmation.
    pub(super) fn wait(&mut self, answer: oneshot::Sender<bool>) {
        self.waiting.push(answer);
    }

    /// Begins a round, when there is reason to: the context of the read index to ask for.
    pub(super) fn begin(&mut self) -> Option<Vec<u8>> {
        if self.waiting.is_empty() || !self.under_way.is_empty() {
            return None;
        }
        std::mem::swap(&mut self.waiting, &mut self.under_way);
        self.round += 1;
        Some(self.round.to_be_bytes().to_vec())
    }

    /// A majority answered since the round of this context began.
    pub(super) fn confirmed(&mut self, context: &[u8]) {
        if context == self.round.to_be_bytes() {
            answer(self.under_way.drain(..), true);
        }
    }

    /// This controller leads no more; or it does not lead at all.
    pub(super) fn leadership_lost(&mut self) {
        answer(
            self.under_way.drain(..).chain(self.waiting.drain(..)),
            false,
        );
    }
}

fn answer(answers: impl Iterator<Item = oneshot::Sender<bool>>, is_leader: bool) {
    for answer in answers {
        // An error: nobody waits for the answer any more.
        let _ = answer.send(is_leader);
    }
}
