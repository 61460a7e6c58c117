//! What the network does to messages.

use super::*;

impl World {
    pub(super) fn deliver(&mut self, which: usize, how: u8) {
        if self.messages.is_empty() {
            return;
        }
        let which = which % self.messages.len();
        let message = match how {
            // Lost. (A proposal is lost by giving it up.)
            200..=219
                if !matches!(
                    self.messages[which],
                    Message::Propose { .. } | Message::Answer { .. }
                ) =>
            {
                self.messages.remove(which);
                return;
            }
            // Again later. (Nobody answers a proposal twice.)
            220..=239 if !matches!(self.messages[which], Message::Answer { .. }) => {
                self.messages[which].clone()
            }
            _ => self.messages.remove(which),
        };
        match message {
            Message::Fetch {
                to,
                fetch,
                leader_epoch,
                last_fetched_epoch,
                correlation_id,
                after_ms,
            } => {
                let records_max = match how {
                    u8::MAX => usize::MAX / 2,
                    _ => 1 + usize::from(how % 3),
                };
                self.serve(
                    to,
                    fetch,
                    leader_epoch,
                    last_fetched_epoch,
                    correlation_id,
                    records_max,
                );
                self.confirm(to, fetch.node_id, leader_epoch, after_ms);
            }
            Message::Fetched {
                to,
                correlation_id,
                answered_ms,
                answer,
                records,
            } => {
                let node = self.node(to);
                if node.up && node.correlation_id == correlation_id {
                    node.correlation_id = 0;
                    node.answered_ms = Some(answered_ms);
                    self.follow(to, &answer, &records);
                }
            }
            Message::Propose {
                from,
                broker_epoch,
                proposal,
                given_up_ms,
            } => {
                let outcome = self.alter(from, broker_epoch, &proposal);
                if given_up_ms.is_none() {
                    self.messages.push(Message::Answer {
                        to: from,
                        broker_epoch,
                        proposal,
                        outcome,
                    });
                } else if matches!(outcome, ProposalOutcome::Committed { .. }) {
                    self.counts.late_proposals += 1;
                }
            }
            Message::Answer {
                to,
                broker_epoch,
                proposal,
                outcome,
            } => {
                if self.is_incarnation(to, broker_epoch) {
                    self.lead(to, |leader, local, _, now_ms| {
                        leader.answered(&proposal, outcome, local, now_ms)
                    });
                }
            }
        }
    }

    pub(super) fn is_incarnation(&self, id: i32, broker_epoch: i64) -> bool {
        let node = &self.nodes[id as usize];
        node.up && node.broker_epoch == broker_epoch
    }

    /// The leader hears nothing of its proposal, which may be anywhere.
    pub(super) fn give_up(&mut self, which: usize) {
        let open: Vec<usize> = (0..self.messages.len())
            .filter(|&at| {
                matches!(
                    self.messages[at],
                    Message::Propose {
                        given_up_ms: None,
                        ..
                    } | Message::Answer { .. }
                )
            })
            .collect();
        if open.is_empty() {
            return;
        }
        let at = open[which % open.len()];
        let now_ms = self.now_ms;
        let (id, broker_epoch, proposal) = match &mut self.messages[at] {
            Message::Propose {
                from,
                broker_epoch,
                proposal,
                given_up_ms,
            } => {
                *given_up_ms = Some(now_ms);
                (*from, *broker_epoch, proposal.clone())
            }
            Message::Answer {
                to,
                broker_epoch,
                proposal,
                ..
            } => {
                let lost = (*to, *broker_epoch, proposal.clone());
                self.messages.remove(at);
                lost
            }
            _ => return,
        };
        self.counts.unknown_outcomes += 1;
        if self.is_incarnation(id, broker_epoch) {
            self.lead(id, |leader, local, _, now_ms| {
                leader.answered(&proposal, ProposalOutcome::Unknown, local, now_ms)
            });
        }
    }
}
