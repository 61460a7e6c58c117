use std::sync::Arc;

use foz_records::STRING_BYTES_MAX;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::InitProducerIdRequest;

use super::Coordinator;
use super::producer_ids::Purpose;
use crate::asker::Asker;
use crate::effect::Effect;
use crate::now::Now;
use crate::request::RequestContext;
use crate::transaction::{
    NO_PRODUCER_EPOCH, NO_PRODUCER_ID, Transaction, TransactionState, is_epoch_exhausted,
};

/// What a producer that starts or recovers gets.
#[derive(Debug, PartialEq, Eq)]
enum Init {
    /// The next epoch.
    Bump { last_producer_epoch: i16 },
    /// The epoch that it was given already and did not hear of.
    Again,
    /// A new producer id.
    Rotate { last_producer_epoch: i16 },
    /// Nothing before the open transaction is aborted.
    Fence,
}

impl Coordinator {
    pub(super) fn init_producer_id(
        &mut self,
        context: &RequestContext,
        request: &InitProducerIdRequest,
        now: Now,
        effects: &mut Vec<Effect>,
    ) {
        let asker = Asker::InitProducerId {
            waiter: context.waiter,
            api_version: context.api_version,
        };
        if let Err(error) = self.try_init_producer_id(context, request, asker, now, effects) {
            self.answer(asker, Err(error), effects);
        }
    }

    fn try_init_producer_id(
        &mut self,
        context: &RequestContext,
        request: &InitProducerIdRequest,
        asker: Asker,
        now: Now,
        effects: &mut Vec<Effect>,
    ) -> Result<(), ResponseError> {
        let expected = expected_producer(request)?;
        let transactional_id = request
            .transactional_id
            .as_ref()
            .map_or("", |id| id.as_str());
        // A longer one fits into a request, and into no record.
        if transactional_id.is_empty() || transactional_id.len() > STRING_BYTES_MAX {
            return Err(ResponseError::InvalidRequest);
        }
        let timeout_ms = request.transaction_timeout_ms;
        if timeout_ms <= 0 || timeout_ms > self.config.transaction_max_timeout_ms {
            return Err(ResponseError::InvalidTransactionTimeout);
        }
        let id: Arc<str> = Arc::from(transactional_id);
        let Some(entry) = self.entry(transactional_id)? else {
            // Also for a producer that had one before: its id has expired.
            let purpose = Purpose::New { timeout_ms };
            self.await_producer_id(&id, purpose, asker, effects);
            return Ok(());
        };
        let current = entry.settled()?;
        let next = match decide(current, expected)? {
            Init::Bump {
                last_producer_epoch,
            } => current.initialized(last_producer_epoch, timeout_ms, now.wall_ms),
            Init::Again => current.initialized_again(timeout_ms, now.wall_ms),
            Init::Rotate {
                last_producer_epoch,
            } => {
                let purpose = Purpose::Rotate {
                    last_producer_epoch,
                    timeout_ms,
                };
                self.await_producer_id(&id, purpose, asker, effects);
                return Ok(());
            }
            Init::Fence => {
                let asker = Asker::InitProducerIdAgain {
                    waiter: context.waiter,
                    api_version: context.api_version,
                };
                self.fence(&id, asker, now, effects);
                return Ok(());
            }
        };
        self.append(&id, next, asker, now, effects);
        Ok(())
    }
}

/// KIP-360: the producer id and epoch that the caller holds; both or none.
fn expected_producer(request: &InitProducerIdRequest) -> Result<Option<(i64, i16)>, ResponseError> {
    match (request.producer_id.0, request.producer_epoch) {
        (NO_PRODUCER_ID, NO_PRODUCER_EPOCH) => Ok(None),
        (NO_PRODUCER_ID, _) | (_, NO_PRODUCER_EPOCH) => Err(ResponseError::InvalidRequest),
        expected => Ok(Some(expected)),
    }
}

fn decide(current: &Transaction, expected: Option<(i64, i16)>) -> Result<Init, ResponseError> {
    let is_exhausted = is_epoch_exhausted(current.producer_epoch);
    let is_open = current.state == TransactionState::Ongoing;
    let bump = |last_producer_epoch| match (is_open, is_exhausted) {
        (true, _) => Init::Fence,
        (false, true) => Init::Rotate {
            last_producer_epoch,
        },
        (false, false) => Init::Bump {
            last_producer_epoch,
        },
    };
    let Some((producer_id, producer_epoch)) = expected else {
        return Ok(bump(NO_PRODUCER_EPOCH));
    };
    let is_current = producer_id == current.producer_id;
    if is_current && producer_epoch == current.producer_epoch {
        return Ok(bump(producer_epoch));
    }
    // The producer id may have changed with the answer that was lost.
    let is_predecessor = producer_id == current.previous_producer_id;
    let is_last = producer_epoch == current.last_producer_epoch;
    if is_last && (is_current || is_predecessor) {
        return Ok(Init::Again);
    }
    Err(ResponseError::ProducerFenced)
}
