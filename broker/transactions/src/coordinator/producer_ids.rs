use std::sync::Arc;

use kafka_protocol::ResponseError;

use super::Coordinator;
use crate::asker::Asker;
use crate::effect::{Effect, ProducerIdToken};
use crate::now::Now;
use crate::transaction::Transaction;

/// What waits for a producer id. Its transactional id does not change meanwhile.
#[derive(Debug)]
pub(crate) struct Awaited {
    pub(crate) transactional_id: Arc<str>,
    pub(crate) purpose: Purpose,
    pub(crate) asker: Asker,
}

/// What the producer id is for.
#[derive(Debug)]
pub(crate) enum Purpose {
    /// A transactional id that nobody had.
    New { timeout_ms: i32 },
    /// A producer whose epochs are used up.
    Rotate {
        last_producer_epoch: i16,
        timeout_ms: i32,
    },
    /// The last transaction of a producer id: the next one takes over when it is complete.
    End { decided: Box<Transaction> },
}

impl Coordinator {
    /// Takes a producer id that was asked for; none when there is none to be had now, which changes nothing. An
    /// unknown token is ignored.
    pub fn on_producer_id(
        &mut self,
        token: ProducerIdToken,
        producer_id: Option<i64>,
        now: Now,
    ) -> Vec<Effect> {
        let mut effects = Vec::new();
        let Some(awaited) = self.awaited.remove(&token) else {
            return effects;
        };
        let id = awaited.transactional_id;
        let Some(producer_id) = producer_id else {
            // Clients try again, as with Kafka, whose broker has no block of ids then.
            let error = ResponseError::CoordinatorLoadInProgress;
            self.answer(awaited.asker, Err(error), &mut effects);
            self.release(&id, now);
            return effects;
        };
        let entry = self.entries.get(&id);
        let committed = entry.and_then(|entry| entry.committed.as_ref());
        let next = match (awaited.purpose, committed) {
            (Purpose::End { decided }, _) => Transaction {
                next_producer_id: producer_id,
                ..*decided
            },
            (
                Purpose::Rotate {
                    last_producer_epoch,
                    timeout_ms,
                },
                Some(current),
            ) => current.rotated(producer_id, last_producer_epoch, timeout_ms, now.wall_ms),
            (Purpose::New { timeout_ms } | Purpose::Rotate { timeout_ms, .. }, _) => {
                Transaction::new(producer_id, timeout_ms, now.wall_ms)
            }
        };
        self.append(&id, next, awaited.asker, now, &mut effects);
        effects
    }

    pub(super) fn await_producer_id(
        &mut self,
        transactional_id: &Arc<str>,
        purpose: Purpose,
        asker: Asker,
        effects: &mut Vec<Effect>,
    ) {
        let token = ProducerIdToken(self.next_token());
        let entry = self
            .entries
            .entry(Arc::clone(transactional_id))
            .or_default();
        entry.is_changing = true;
        let awaited = Awaited {
            transactional_id: Arc::clone(transactional_id),
            purpose,
            asker,
        };
        self.awaited.insert(token, awaited);
        effects.push(Effect::AllocateProducerId { token });
    }
}
