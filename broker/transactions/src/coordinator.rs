use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kafka_protocol::ResponseError;

use crate::append::{AppendError, Appends, Change};
use crate::asker::{Asker, Batches};
use crate::config::TransactionConfig;
use crate::effect::{AppendToken, Effect, ProducerIdToken};
use crate::entry::Entry;
use crate::now::Now;
use crate::request::{Request, RequestContext};
use crate::response::{self, Response};
use crate::transaction::TransactionState;

mod abort_timed_out;
mod add_partitions;
mod change;
mod describe_transactions;
mod end_transaction;
mod expiry;
mod init_producer_id;
mod list_transactions;
mod load;
mod markers;
mod producer_ids;

pub use load::Loader;

use producer_ids::Awaited;

/// The coordinator of the transactional ids of one partition of `__transaction_state`. Made by a [`Loader`].
///
/// A producer is initialised; the reply comes once the record is confirmed:
/// ```
/// use foz_transactions::{Effect, Loader, Now, Request, RequestContext, TransactionConfig};
/// use kafka_protocol::messages::{InitProducerIdRequest, TransactionalId};
/// use kafka_protocol::protocol::StrBytes;
///
/// let now = Now { monotonic_ms: 0, wall_ms: 1_700_000_000_000 };
/// let (mut coordinator, _) = Loader::new().finish(TransactionConfig::default(), 0, 0, now);
/// let request = InitProducerIdRequest::default()
///     .with_transactional_id(Some(TransactionalId(StrBytes::from_static_str("id"))))
///     .with_transaction_timeout_ms(60_000)
///     .with_producer_id((-1).into())
///     .with_producer_epoch(-1);
/// let context = RequestContext { waiter: 1, api_version: 5, connection: Some(1) };
/// let effects = coordinator.handle(&context, Request::InitProducerId(request), now);
/// let [Effect::AllocateProducerId { token }] = &effects[..] else { panic!("{effects:?}") };
/// let effects = coordinator.on_producer_id(*token, Some(4000), now);
/// let [Effect::Append { token, records }] = &effects[..] else { panic!("{effects:?}") };
/// assert_eq!(records.len(), 1);
/// // The record is appended, the high watermark has passed it:
/// let effects = coordinator.on_append(*token, Ok(()), now);
/// assert!(matches!(effects[..], [Effect::Reply { waiter: 1, .. }]));
/// ```
#[derive(Debug)]
pub struct Coordinator {
    config: TransactionConfig,
    /// The leader epoch of its partition: it fences markers of former coordinators.
    coordinator_epoch: i32,
    /// The number of the newest connection when this coordinator was loaded.
    connections_before: u64,
    entries: BTreeMap<Arc<str>, Entry>,
    appends: Appends,
    batches: Batches,
    awaited: BTreeMap<ProducerIdToken, Awaited>,
    /// The ids whose transaction ends, by the number of the end.
    ends: BTreeMap<u64, Arc<str>>,
    /// When something of an end is to be tried again.
    retries: BTreeSet<(i64, Arc<str>)>,
    /// When open transactions are over their timeout.
    aborts: BTreeSet<(i64, Arc<str>)>,
    next_abort_check_ms: i64,
    next_expiry_check_ms: i64,
    next_token: u64,
    /// Ids with records that were there already and are not committed yet: see `load.rs`.
    loading: BTreeSet<Arc<str>>,
}

/// How many transactional ids there are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    /// In a state; none where it is missing.
    pub by_state: BTreeMap<TransactionState, usize>,
    /// With a decided transaction that a partition refused the marker of. They are tried again once a minute, and by the next
    /// coordinator.
    pub stuck: usize,
}

impl Coordinator {
    /// Takes a request. Its reply is among the effects of this call or of a later one.
    ///
    /// The transactional ids it names must belong to this partition: see [`crate::split`].
    pub fn handle(&mut self, context: &RequestContext, request: Request, now: Now) -> Vec<Effect> {
        let mut effects = Vec::new();
        match request {
            Request::InitProducerId(request) => {
                self.init_producer_id(context, &request, now, &mut effects);
            }
            Request::AddPartitionsToTxn(request) => {
                self.add_partitions(context, &request, now, &mut effects);
            }
            Request::AddOffsetsToTxn {
                request,
                offsets_partition,
            } => self.add_offsets(context, &request, offsets_partition, now, &mut effects),
            Request::EndTxn(request) => self.end_transaction(context, &request, now, &mut effects),
            Request::DescribeTransactions(request) => effects.push(Effect::Reply {
                waiter: context.waiter,
                response: self.describe_transactions(&request),
            }),
            Request::ListTransactions(request) => effects.push(Effect::Reply {
                waiter: context.waiter,
                response: self.list_transactions(&request, now),
            }),
        }
        effects
    }

    /// When [`Self::on_timer`] is to be called next, in monotonic milliseconds; may lie in the past.
    pub fn next_deadline(&self) -> Option<i64> {
        let of_retries = self.retries.first().map(|(ms, _)| *ms);
        let of_aborts = self.aborts.first().map(|(ms, _)| *ms);
        let of_aborts = of_aborts.map(|ms| ms.max(self.next_abort_check_ms));
        let of_expiry = (!self.entries.is_empty()).then_some(self.next_expiry_check_ms);
        let deadlines = [
            self.appends.next_deadline(),
            of_retries,
            of_aborts,
            of_expiry,
        ];
        deadlines.into_iter().flatten().min()
    }

    /// Acts on every deadline that has passed. Calling it early or late does no harm.
    pub fn on_timer(&mut self, now: Now) -> Vec<Effect> {
        let mut effects = Vec::new();
        // Kafka: REQUEST_TIMED_OUT, told as this one, which clients know to be worth another try.
        let error = ResponseError::CoordinatorNotAvailable;
        for asker in self.appends.time_out(now.monotonic_ms) {
            self.answer(asker, Err(error), &mut effects);
        }
        self.retry_ends(now, &mut effects);
        if self.next_abort_check_ms <= now.monotonic_ms {
            let interval_ms = self
                .config
                .transaction_abort_timed_out_transaction_cleanup_interval_ms;
            self.next_abort_check_ms = now.monotonic_ms.saturating_add(interval_ms);
            self.abort_timed_out(now, &mut effects);
        }
        if self.next_expiry_check_ms <= now.monotonic_ms {
            let interval_ms = self
                .config
                .transaction_remove_expired_transaction_cleanup_interval_ms;
            self.next_expiry_check_ms = now.monotonic_ms.saturating_add(interval_ms);
            self.expire_transactional_ids(now, &mut effects);
        }
        effects
    }

    /// Takes the outcome of an append: success once the high watermark has passed its batch. An
    /// unknown token is ignored.
    pub fn on_append(
        &mut self,
        token: AppendToken,
        outcome: Result<(), AppendError>,
        now: Now,
    ) -> Vec<Effect> {
        let mut effects = Vec::new();
        let Some(pending) = self.appends.take(token) else {
            return effects;
        };
        match (pending.change, outcome) {
            (
                Change::Set {
                    transactional_id,
                    next,
                },
                Ok(()),
            ) => {
                self.answer(pending.asker, Ok(next.after_completion()), &mut effects);
                if let Some(entry) = self.entries.get_mut(&transactional_id) {
                    entry.hand_out(&next);
                }
                self.set(transactional_id, *next, now, &mut effects);
            }
            (
                Change::Set {
                    transactional_id, ..
                },
                Err(error),
            ) => {
                self.answer(pending.asker, Err(error.response_error()), &mut effects);
                self.release(&transactional_id, now);
            }
            (Change::Expire(transactional_ids), Ok(())) => {
                for transactional_id in transactional_ids {
                    self.entries.remove(&transactional_id);
                }
            }
            (Change::Expire(transactional_ids), Err(_)) => {
                for transactional_id in transactional_ids {
                    self.release(&transactional_id, now);
                }
            }
            (Change::Inherited(tail), Ok(())) => self.take_over(tail, now, &mut effects),
            // When it never will be committed, this coordinator has nothing more to say of its ids.
            (Change::Inherited(_), Err(_)) => {}
        }
        effects
    }

    /// Other configuration from now on. What was begun under the old one keeps the times it was given.
    pub fn configure(&mut self, config: TransactionConfig, now: Now) {
        let abort_ms = config.transaction_abort_timed_out_transaction_cleanup_interval_ms;
        let expiry_ms = config.transaction_remove_expired_transaction_cleanup_interval_ms;
        let latest = |interval_ms: i64| now.monotonic_ms.saturating_add(interval_ms);
        self.next_abort_check_ms = self.next_abort_check_ms.min(latest(abort_ms));
        self.next_expiry_check_ms = self.next_expiry_check_ms.min(latest(expiry_ms));
        self.config = config;
    }

    /// Ends this coordinator, because another broker leads the partition or none does: everyone who
    /// waits is told NOT_COORDINATOR. Outcomes that come later are of no interest. Those of appends and producer ids
    /// must not reach the coordinator that comes next, whose tokens begin anew; those of markers may.
    pub fn resign(mut self) -> Vec<Effect> {
        let mut effects = Vec::new();
        let of_ids = std::mem::take(&mut self.awaited).into_values();
        let of_ids: Vec<Asker> = of_ids.map(|awaited| awaited.asker).collect();
        let of_appends = std::mem::take(&mut self.appends).into_askers();
        for asker in of_ids.into_iter().chain(of_appends) {
            self.answer(asker, Err(ResponseError::NotCoordinator), &mut effects);
        }
        effects
    }

    /// For metrics. Looks at every transactional id.
    pub fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for entry in self.entries.values() {
            if let Some(committed) = &entry.committed {
                *counts.by_state.entry(committed.state).or_default() += 1;
            }
            let markers = entry.markers.as_ref();
            if markers.is_some_and(|markers| markers.missing.values().any(|it| it.is_refused)) {
                counts.stuck += 1;
            }
        }
        counts
    }

    /// The number of transactional ids whose last records are not known to be committed.
    pub fn loading_count(&self) -> usize {
        self.loading.len()
    }

    /// The transactional id, when it may be spoken of.
    fn entry(&self, transactional_id: &str) -> Result<Option<&Entry>, ResponseError> {
        if self.loading.contains(transactional_id) {
            return Err(ResponseError::CoordinatorLoadInProgress);
        }
        Ok(self.entries.get(transactional_id))
    }

    fn next_token(&mut self) -> u64 {
        self.next_token += 1;
        self.next_token
    }

    fn answer(
        &mut self,
        asker: Asker,
        outcome: Result<(i64, i16), ResponseError>,
        effects: &mut Vec<Effect>,
    ) {
        let (waiter, response): (_, Response) = match asker {
            Asker::Nobody => return,
            Asker::AddPartitions { waiter, index } => {
                self.batches.answer(waiter, index, outcome.err(), effects);
                return;
            }
            Asker::InitProducerId {
                waiter,
                api_version,
            } => (waiter, response::init_producer_id(api_version, outcome)),
            Asker::InitProducerIdAgain {
                waiter,
                api_version,
            } => {
                let error = outcome
                    .err()
                    .unwrap_or(ResponseError::ConcurrentTransactions);
                (waiter, response::init_producer_id(api_version, Err(error)))
            }
            Asker::AddOffsets {
                waiter,
                api_version,
            } => (waiter, response::add_offsets(api_version, outcome)),
            Asker::EndTxn {
                waiter,
                api_version,
            } => (waiter, response::end(api_version, outcome)),
        };
        effects.push(Effect::Reply { waiter, response });
    }
}
