use std::sync::Arc;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::EndTxnRequest;

use super::Coordinator;
use super::producer_ids::Purpose;
use crate::asker::Asker;
use crate::effect::Effect;
use crate::entry::Entry;
use crate::now::Now;
use crate::request::RequestContext;
use crate::transaction::{Transaction, TransactionState, bumps_epoch, is_epoch_exhausted};

/// What the end of a transaction comes to.
#[derive(Debug, PartialEq, Eq)]
enum End {
    /// It is decided so.
    Decide,
    /// It ended so before, and the client did not hear of it.
    Repeat {
        producer_id: i64,
        producer_epoch: i16,
    },
}

impl Coordinator {
    pub(super) fn end_transaction(
        &mut self,
        context: &RequestContext,
        request: &EndTxnRequest,
        now: Now,
        effects: &mut Vec<Effect>,
    ) {
        let asker = Asker::EndTxn {
            waiter: context.waiter,
            api_version: context.api_version,
        };
        let transactional_id = request.transactional_id.as_str();
        // From version 5 on the client follows transaction.version 2 (KIP-890).
        let version = if context.api_version >= 5 { 2 } else { 0 };
        if !bumps_epoch(version)
            && !self.hears_from(
                transactional_id,
                request.producer_id.0,
                request.producer_epoch,
                context.connection,
            )
        {
            effects.push(Effect::Close {
                waiter: context.waiter,
            });
            return;
        }
        match self.decide_end(request, version) {
            Err(error) => self.answer(asker, Err(error), effects),
            Ok(End::Repeat {
                producer_id,
                producer_epoch,
            }) => self.answer(asker, Ok((producer_id, producer_epoch)), effects),
            Ok(End::Decide) => {
                let id: Arc<str> = Arc::from(transactional_id);
                let ended =
                    |current: &Transaction| current.ended(request.committed, version, now.wall_ms);
                self.end(&id, ended, asker, now, effects);
            }
        }
    }

    /// Aborts the open transaction so that whoever has it is fenced.
    pub(super) fn fence(
        &mut self,
        transactional_id: &Arc<str>,
        asker: Asker,
        now: Now,
        effects: &mut Vec<Effect>,
    ) {
        let version = self.config.transaction_version;
        let fenced = |current: &Transaction| current.fenced(version, now.wall_ms);
        self.end(transactional_id, fenced, asker, now, effects);
    }

    /// Whether this is the newest connection that speaks for the producer.
    pub(super) fn hears_from(
        &mut self,
        transactional_id: &str,
        producer_id: i64,
        producer_epoch: i16,
        connection: Option<u64>,
    ) -> bool {
        let entry = self.entries.get_mut(transactional_id);
        let before = self.connections_before;
        entry.is_none_or(|entry| entry.hears_from(producer_id, producer_epoch, connection, before))
    }

    fn decide_end(&self, request: &EndTxnRequest, version: i16) -> Result<End, ResponseError> {
        let transactional_id = request.transactional_id.as_str();
        if transactional_id.is_empty() {
            return Err(ResponseError::InvalidRequest);
        }
        let entry = self.entry(transactional_id)?;
        let entry = entry.ok_or(ResponseError::InvalidProducerIdMapping)?;
        let producer = (request.producer_id.0, request.producer_epoch);
        if bumps_epoch(version) {
            decide_with_own_epoch(entry, producer, request.committed)
        } else {
            decide_with_shared_epoch(entry, producer, request.committed)
        }
    }

    /// Writes the decision. With an epoch for each transaction the last one of a producer id needs the next id.
    fn end(
        &mut self,
        transactional_id: &Arc<str>,
        decide: impl FnOnce(&Transaction) -> Transaction,
        asker: Asker,
        now: Now,
        effects: &mut Vec<Effect>,
    ) {
        let entry = self.entries.get(transactional_id);
        let current = entry.and_then(|entry| entry.committed.as_ref());
        let current = current.expect("only what exists is ended");
        let next = decide(current);
        let is_last = is_epoch_exhausted(current.producer_epoch);
        if bumps_epoch(next.client_transaction_version) && is_last {
            let decided = Box::new(next);
            self.await_producer_id(transactional_id, Purpose::End { decided }, asker, effects);
        } else {
            self.append(transactional_id, next, asker, now, effects);
        }
    }
}

/// Versions 0 and 1: a producer's transactions share its epoch, so a repeated request is known only by the
/// result.
fn decide_with_shared_epoch(
    entry: &Entry,
    (producer_id, producer_epoch): (i64, i16),
    commit: bool,
) -> Result<End, ResponseError> {
    entry.of_producer(producer_id, producer_epoch)?;
    let current = entry.settled()?;
    match current.state {
        TransactionState::Ongoing => Ok(End::Decide),
        state if ended_so(state, commit) => Ok(repeat(current)),
        _ => Err(ResponseError::InvalidTxnState),
    }
}

/// Version 2: the epoch tells a repeated request, which has the one before, from a new one.
fn decide_with_own_epoch(
    entry: &Entry,
    (producer_id, producer_epoch): (i64, i16),
    commit: bool,
) -> Result<End, ResponseError> {
    // First (KAFKA-18464): what is under way may bring the producer id that the request has already.
    let current = entry.settled()?;
    let is_complete = ended_so(current.state, true) || ended_so(current.state, false);
    // The epoch was bumped by the end of a transaction, and not by another producer that follows an older version.
    let has_bumped = is_complete && bumps_epoch(current.client_transaction_version);
    let is_current = producer_id == current.producer_id;
    let has_last_epoch = producer_epoch.checked_add(1) == Some(current.producer_epoch);
    let is_of_predecessor = !is_current
        && producer_id == current.previous_producer_id
        && producer_epoch == i16::MAX - 1
        && current.producer_epoch == 0;
    let is_repeated = has_bumped && (is_of_predecessor || is_current && has_last_epoch);
    if !is_current && !is_repeated {
        return Err(ResponseError::InvalidProducerIdMapping);
    }
    if is_repeated {
        return if ended_so(current.state, commit) {
            Ok(repeat(current))
        } else {
            Err(ResponseError::InvalidTxnState)
        };
    }
    if producer_epoch != current.producer_epoch {
        return Err(ResponseError::ProducerFenced);
    }
    // A client that does not know whether its first batch arrived aborts what may never have begun.
    if current.state == TransactionState::Ongoing || !commit {
        Ok(End::Decide)
    } else {
        Err(ResponseError::InvalidTxnState)
    }
}

fn ended_so(state: TransactionState, commit: bool) -> bool {
    if commit {
        state == TransactionState::CompleteCommit
    } else {
        state == TransactionState::CompleteAbort
    }
}

fn repeat(current: &Transaction) -> End {
    End::Repeat {
        producer_id: current.producer_id,
        producer_epoch: current.producer_epoch,
    }
}
