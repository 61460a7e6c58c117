use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::BytesMut;
use foz_transactions::{
    AppendError, AppendToken, Coordinator, Effect, Loader, MarkerOutcome, Now, ProducerIdToken,
    Record, Request, RequestContext, Response, SendMarkers, TopicPartition, Transaction,
    TransactionConfig, TransactionState, WaiterId,
};
use kafka_protocol::ResponseError;
use kafka_protocol::messages::add_partitions_to_txn_request::{
    AddPartitionsToTxnTopic, AddPartitionsToTxnTransaction,
};
use kafka_protocol::messages::describe_transactions_response::TransactionState as Described;
use kafka_protocol::messages::*;
use kafka_protocol::protocol::{Encodable, StrBytes};

pub(crate) const ID: &str = "id";
pub(crate) const TIMEOUT_MS: i32 = 60_000;
/// The first producer id that is handed out.
pub(crate) const FIRST: i64 = 4_000;

/// A coordinator with a log and a clock made of numbers.
pub(crate) struct Harness {
    pub(crate) coordinator: Coordinator,
    pub(crate) config: TransactionConfig,
    pub(crate) coordinator_epoch: i32,
    pub(crate) now: Now,
    /// What was confirmed, in order, as it is read back: what a restart finds.
    pub(crate) log: Vec<Record>,
    pub(crate) pending: VecDeque<(AppendToken, Vec<Record>)>,
    /// What is in the log and not committed, when a coordinator is loaded.
    tail: Vec<Record>,
    tail_token: Option<AppendToken>,
    /// Confirm appends as soon as they are handed out.
    pub(crate) confirms: bool,
    /// Hand out producer ids at once.
    pub(crate) allocates: bool,
    /// Report markers as written at once.
    pub(crate) writes_markers: bool,
    pub(crate) wanted_ids: VecDeque<ProducerIdToken>,
    /// Markers sent and not reported.
    pub(crate) markers: Vec<SendMarkers>,
    /// All that were ever sent.
    pub(crate) sent: Vec<SendMarkers>,
    pub(crate) open: BTreeMap<WaiterId, i16>,
    pub(crate) replies: BTreeMap<WaiterId, Response>,
    pub(crate) closed: Vec<WaiterId>,
    /// The highest number of a connection so far.
    pub(crate) newest_connection: u64,
    next_waiter: WaiterId,
    pub(crate) next_producer_id: i64,
}

pub(crate) fn text(string: &str) -> StrBytes {
    StrBytes::from_string(string.to_owned())
}

pub(crate) fn transactional_id(string: &str) -> TransactionalId {
    TransactionalId(text(string))
}

pub(crate) fn partition(topic: &str, partition: i32) -> TopicPartition {
    TopicPartition {
        topic: Arc::from(topic),
        partition,
    }
}

pub(crate) fn init_request(expected: Option<(i64, i16)>) -> InitProducerIdRequest {
    let (producer_id, producer_epoch) = expected.unwrap_or((-1, -1));
    InitProducerIdRequest::default()
        .with_transactional_id(Some(transactional_id(ID)))
        .with_transaction_timeout_ms(TIMEOUT_MS)
        .with_producer_id(producer_id.into())
        .with_producer_epoch(producer_epoch)
}

fn topics(partitions: &[i32]) -> Vec<AddPartitionsToTxnTopic> {
    topics_named("orders", partitions)
}

pub(crate) fn topics_named(name: &str, partitions: &[i32]) -> Vec<AddPartitionsToTxnTopic> {
    let topic = AddPartitionsToTxnTopic::default()
        .with_name(TopicName(text(name)))
        .with_partitions(partitions.to_vec());
    vec![topic]
}

/// Partitions of the topic `orders`; up to version 3.
pub(crate) fn client_add(producer: (i64, i16), partitions: &[i32]) -> Request {
    let request = AddPartitionsToTxnRequest::default()
        .with_v3_and_below_transactional_id(transactional_id(ID))
        .with_v3_and_below_producer_id(producer.0.into())
        .with_v3_and_below_producer_epoch(producer.1)
        .with_v3_and_below_topics(topics(partitions));
    Request::AddPartitionsToTxn(request)
}

pub(crate) fn add_transaction(
    id: &str,
    producer: (i64, i16),
    verify_only: bool,
    partitions: &[i32],
) -> AddPartitionsToTxnTransaction {
    AddPartitionsToTxnTransaction::default()
        .with_transactional_id(transactional_id(id))
        .with_producer_id(producer.0.into())
        .with_producer_epoch(producer.1)
        .with_verify_only(verify_only)
        .with_topics(topics(partitions))
}

/// From version 4 on.
pub(crate) fn broker_add(transactions: Vec<AddPartitionsToTxnTransaction>) -> Request {
    let request = AddPartitionsToTxnRequest::default().with_transactions(transactions);
    Request::AddPartitionsToTxn(request)
}

pub(crate) fn end_request(producer: (i64, i16), commit: bool) -> Request {
    let request = EndTxnRequest::default()
        .with_transactional_id(transactional_id(ID))
        .with_producer_id(producer.0.into())
        .with_producer_epoch(producer.1)
        .with_committed(commit);
    Request::EndTxn(request)
}

/// A record with partitions 0 and 1 of `orders` where its state has any.
pub(crate) fn transaction(state: TransactionState, producer: (i64, i16)) -> Transaction {
    let has_partitions = state == TransactionState::Ongoing || state.is_prepared();
    let partitions = if has_partitions { 0..2 } else { 0..0 };
    Transaction {
        producer_id: producer.0,
        previous_producer_id: producer.0,
        next_producer_id: -1,
        producer_epoch: producer.1,
        last_producer_epoch: -1,
        transaction_timeout_ms: TIMEOUT_MS,
        state,
        partitions: partitions.map(|index| partition("orders", index)).collect(),
        start_timestamp_ms: 1_700_000_000_000,
        last_update_timestamp_ms: 1_700_000_000_000,
        client_transaction_version: 2,
    }
}

impl Harness {
    pub(crate) fn new() -> Self {
        Self::with_config(TransactionConfig::default())
    }

    pub(crate) fn with_config(config: TransactionConfig) -> Self {
        let now = Now {
            monotonic_ms: 5_000,
            wall_ms: 1_700_000_000_000,
        };
        let (coordinator, effects) = Loader::new().finish(config.clone(), 3, 0, now);
        assert_eq!(effects, []);
        Self {
            coordinator,
            config,
            coordinator_epoch: 3,
            now,
            log: Vec::new(),
            pending: VecDeque::new(),
            tail: Vec::new(),
            tail_token: None,
            confirms: true,
            allocates: true,
            writes_markers: true,
            wanted_ids: VecDeque::new(),
            markers: Vec::new(),
            sent: Vec::new(),
            open: BTreeMap::new(),
            replies: BTreeMap::new(),
            closed: Vec::new(),
            newest_connection: 0,
            next_waiter: 1,
            next_producer_id: FIRST,
        }
    }

    /// The state of [`ID`] as if it had been loaded so.
    pub(crate) fn loaded(transaction: Transaction) -> Self {
        Self::loaded_with(TransactionConfig::default(), transaction)
    }

    pub(crate) fn loaded_with(config: TransactionConfig, transaction: Transaction) -> Self {
        let mut harness = Self::with_config(config);
        harness.writes_markers = false;
        harness.log = vec![record(ID, Some(transaction))];
        harness.restart();
        harness
    }

    pub(crate) fn send(&mut self, api_version: i16, request: Request) -> WaiterId {
        self.send_over(None, api_version, request)
    }

    pub(crate) fn send_over(
        &mut self,
        connection: Option<u64>,
        api_version: i16,
        request: Request,
    ) -> WaiterId {
        let context = RequestContext {
            waiter: self.next_waiter,
            api_version,
            connection,
        };
        self.next_waiter += 1;
        self.newest_connection = self.newest_connection.max(connection.unwrap_or(0));
        self.open.insert(context.waiter, api_version);
        let effects = self.coordinator.handle(&context, request, self.now);
        self.absorb(effects);
        context.waiter
    }

    pub(crate) fn call(&mut self, api_version: i16, request: Request) -> Response {
        let waiter = self.send(api_version, request);
        self.take(waiter)
    }

    pub(crate) fn take(&mut self, waiter: WaiterId) -> Response {
        self.replies.remove(&waiter).expect("an answer")
    }

    pub(crate) fn is_open(&self, waiter: WaiterId) -> bool {
        self.open.contains_key(&waiter)
    }

    pub(crate) fn absorb(&mut self, effects: Vec<Effect>) {
        let mut effects = VecDeque::from(effects);
        loop {
            while let Some(effect) = effects.pop_front() {
                match effect {
                    Effect::Reply { waiter, response } => {
                        let api_version = self.open.remove(&waiter).expect("one reply per waiter");
                        encode(&response, api_version);
                        self.replies.insert(waiter, response);
                    }
                    Effect::Close { waiter } => {
                        self.open.remove(&waiter).expect("one reply per waiter");
                        self.closed.push(waiter);
                    }
                    Effect::Append { token, records } => {
                        assert!(!records.is_empty());
                        self.pending.push_back((token, records));
                    }
                    Effect::AwaitCommitted { token } => {
                        assert!(self.pending.is_empty(), "it comes before any append");
                        let tail = std::mem::take(&mut self.tail);
                        assert!(!tail.is_empty());
                        self.tail_token = Some(token);
                        self.pending.push_back((token, tail));
                    }
                    Effect::AllocateProducerId { token } => self.wanted_ids.push_back(token),
                    Effect::SendMarkers(markers) => {
                        assert!(!markers.partitions.is_empty());
                        self.sent.push(markers.clone());
                        self.markers.push(markers);
                    }
                }
            }
            if self.allocates && !self.wanted_ids.is_empty() {
                effects.extend(self.allocate_effects());
            } else if self.confirms && !self.pending.is_empty() {
                effects.extend(self.confirm_effects());
            } else if self.writes_markers && !self.markers.is_empty() {
                let markers = self.markers.remove(0);
                effects.extend(self.report_effects(&markers, MarkerOutcome::Written));
            } else {
                return;
            }
        }
    }

    /// Hands out the producer id that was asked for first.
    pub(crate) fn allocate(&mut self) {
        let effects = self.allocate_effects();
        self.absorb(effects);
    }

    pub(crate) fn refuse_producer_id(&mut self) {
        if let Some(token) = self.wanted_ids.pop_front() {
            let effects = self.coordinator.on_producer_id(token, None, self.now);
            self.absorb(effects);
        }
    }

    /// The same outcome for all partitions of what was sent first.
    pub(crate) fn report(&mut self, outcome: MarkerOutcome) {
        let markers = self.markers.remove(0);
        let effects = self.report_effects(&markers, outcome);
        self.absorb(effects);
    }

    pub(crate) fn report_one(
        &mut self,
        markers: &SendMarkers,
        partition: TopicPartition,
        outcome: MarkerOutcome,
    ) {
        let outcomes = [(partition, outcome)];
        let effects = self
            .coordinator
            .on_markers(markers.token, &outcomes, self.now);
        self.absorb(effects);
    }

    /// Confirms the oldest append; false when there is none.
    pub(crate) fn confirm(&mut self) -> bool {
        let any = !self.pending.is_empty();
        let effects = self.confirm_effects();
        self.absorb(effects);
        any
    }

    /// Fails the oldest append; false when there is none.
    pub(crate) fn fail(&mut self, error: AppendError) -> bool {
        let can_fail = |(token, _): &(AppendToken, Vec<Record>)| self.tail_token != Some(*token);
        if !self.pending.front().is_some_and(can_fail) {
            return false;
        }
        let (token, _) = self.pending.pop_front().expect("seen above");
        let effects = self.coordinator.on_append(token, Err(error), self.now);
        self.absorb(effects);
        true
    }

    /// Lets time pass, stopping at each deadline on the way.
    pub(crate) fn advance(&mut self, duration_ms: i64) {
        let end_ms = self.now.monotonic_ms + duration_ms;
        for _ in 0..100_000 {
            let deadline_ms = self.coordinator.next_deadline().filter(|ms| *ms <= end_ms);
            let Some(deadline_ms) = deadline_ms else {
                self.move_clock_to(end_ms);
                return;
            };
            self.move_clock_to(deadline_ms.max(self.now.monotonic_ms));
            let effects = self.coordinator.on_timer(self.now);
            self.absorb(effects);
        }
        panic!("the timers never come to rest");
    }

    /// Resigns and loads again from what was confirmed; what was under way is lost.
    pub(crate) fn restart(&mut self) {
        self.restart_with_tail(0);
    }

    /// The same, but the first `kept` appends that were under way are in the log, and not committed yet.
    pub(crate) fn restart_with_tail(&mut self, kept: usize) {
        let (fresh, _) = Loader::new().finish(self.config.clone(), 0, 0, self.now);
        let effects = std::mem::replace(&mut self.coordinator, fresh).resign();
        self.absorb(effects);
        assert!(
            self.open.is_empty(),
            "left without an answer: {:?}",
            self.open
        );
        let kept = self.pending.drain(..).take(kept);
        self.tail_token = None;
        self.tail = kept
            .flat_map(|(_, records)| records)
            .map(|record| read_back(&record))
            .collect();
        self.pending.clear();
        self.wanted_ids.clear();
        self.markers.clear();
        self.coordinator_epoch += 1;
        let mut loader = Loader::new();
        for record in &self.log {
            let (key, value) = record.encode();
            let replayed = loader.replay(&key, value.as_deref());
            replayed.expect("a record of our own");
        }
        for record in &self.tail {
            let (key, value) = record.encode();
            let replayed = loader.replay_uncommitted(&key, value.as_deref());
            replayed.expect("a record of our own");
        }
        let (coordinator, effects) = loader.finish(
            self.config.clone(),
            self.coordinator_epoch,
            self.newest_connection,
            self.now,
        );
        self.coordinator = coordinator;
        self.absorb(effects);
    }

    /// Error, producer id and epoch.
    pub(crate) fn init(&mut self, expected: Option<(i64, i16)>) -> (i16, i64, i16) {
        let request = Request::InitProducerId(init_request(expected));
        let waiter = self.send(5, request);
        self.initialized(waiter)
    }

    pub(crate) fn initialized(&mut self, waiter: WaiterId) -> (i16, i64, i16) {
        match self.take(waiter) {
            Response::InitProducerId(response) => (
                response.error_code,
                response.producer_id.0,
                response.producer_epoch,
            ),
            other => panic!("{other:?}"),
        }
    }

    /// The error of the only partition, or of the first.
    pub(crate) fn added(&mut self, waiter: WaiterId) -> i16 {
        match self.take(waiter) {
            Response::AddPartitionsToTxn(mut response) => {
                let topics = match response.results_by_transaction.first_mut() {
                    Some(result) => &result.topic_results,
                    None => &response.results_by_topic_v3_and_below,
                };
                topics[0].results_by_partition[0].partition_error_code
            }
            Response::AddOffsetsToTxn(response) => response.error_code,
            other => panic!("{other:?}"),
        }
    }

    /// As a client that follows version 0 or 1 does it.
    pub(crate) fn add_v3(&mut self, producer: (i64, i16), partitions: &[i32]) -> i16 {
        let waiter = self.send(3, client_add(producer, partitions));
        self.added(waiter)
    }

    /// As a leader does it for a client that follows version 2.
    pub(crate) fn add_v5(&mut self, producer: (i64, i16), partitions: &[i32]) -> i16 {
        let request = broker_add(vec![add_transaction(ID, producer, false, partitions)]);
        let waiter = self.send(5, request);
        self.added(waiter)
    }

    /// Error, producer id and epoch; the latter two are -1 up to version 4.
    pub(crate) fn end(
        &mut self,
        api_version: i16,
        producer: (i64, i16),
        commit: bool,
    ) -> (i16, i64, i16) {
        let waiter = self.send(api_version, end_request(producer, commit));
        self.ended(waiter)
    }

    pub(crate) fn ended(&mut self, waiter: WaiterId) -> (i16, i64, i16) {
        match self.take(waiter) {
            Response::EndTxn(response) => (
                response.error_code,
                response.producer_id.0,
                response.producer_epoch,
            ),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn describe(&mut self, id: &str) -> Described {
        let ids = vec![transactional_id(id)];
        let request = DescribeTransactionsRequest::default().with_transactional_ids(ids);
        match self.call(0, Request::DescribeTransactions(request)) {
            Response::DescribeTransactions(response) => response.transaction_states[0].clone(),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn state(&mut self) -> String {
        self.describe(ID).transaction_state.to_string()
    }

    /// The last record of [`ID`] that is committed.
    pub(crate) fn last(&self) -> &Transaction {
        let record = self.log.last().expect("a record");
        record.value.as_ref().expect("no tombstone")
    }

    pub(crate) fn move_clock_to(&mut self, monotonic_ms: i64) {
        self.now.wall_ms += monotonic_ms - self.now.monotonic_ms;
        self.now.monotonic_ms = monotonic_ms;
    }

    fn allocate_effects(&mut self) -> Vec<Effect> {
        let Some(token) = self.wanted_ids.pop_front() else {
            return Vec::new();
        };
        let producer_id = self.next_producer_id;
        self.next_producer_id += 1;
        self.coordinator
            .on_producer_id(token, Some(producer_id), self.now)
    }

    fn report_effects(&mut self, markers: &SendMarkers, outcome: MarkerOutcome) -> Vec<Effect> {
        let partitions = markers.partitions.iter().cloned();
        let outcomes: Vec<_> = partitions.map(|partition| (partition, outcome)).collect();
        self.coordinator
            .on_markers(markers.token, &outcomes, self.now)
    }

    fn confirm_effects(&mut self) -> Vec<Effect> {
        let Some((token, records)) = self.pending.pop_front() else {
            return Vec::new();
        };
        self.log
            .extend(records.into_iter().map(|record| read_back(&record)));
        self.coordinator.on_append(token, Ok(()), self.now)
    }
}

pub(crate) fn record(id: &str, value: Option<Transaction>) -> Record {
    Record {
        transactional_id: Arc::from(id),
        value,
        value_version: 1,
    }
}

/// As it is once it went through its bytes.
fn read_back(record: &Record) -> Record {
    let (key, value) = record.encode();
    let read = Record::decode(&key, value.as_deref()).expect("a record of our own");
    read.expect("of a kind of our own")
}

pub(crate) const fn code(error: ResponseError) -> i16 {
    error.code()
}

/// A response that cannot be encoded at its version would never reach the client.
fn encode(response: &Response, api_version: i16) {
    let mut buf = BytesMut::new();
    let encoded = match response {
        Response::InitProducerId(response) => response.encode(&mut buf, api_version),
        Response::AddPartitionsToTxn(response) => response.encode(&mut buf, api_version),
        Response::AddOffsetsToTxn(response) => response.encode(&mut buf, api_version),
        Response::EndTxn(response) => response.encode(&mut buf, api_version),
        Response::DescribeTransactions(response) => response.encode(&mut buf, api_version),
        Response::ListTransactions(response) => response.encode(&mut buf, api_version),
    };
    encoded.unwrap_or_else(|error| panic!("{response:?} at version {api_version}: {error}"));
}
