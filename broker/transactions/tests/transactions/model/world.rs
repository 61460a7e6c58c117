use std::collections::{BTreeMap, BTreeSet};

use foz_transactions::{AppendError, Request, TransactionConfig, TransactionState, WaiterId};
use kafka_protocol::ResponseError as E;

use super::leaders::{Answer, Leaders};
use super::{CLIENTS, Calm, DAY_MS, Step};
use crate::harness::*;

/// Another transactional id, which shares requests of leaders with the one that is looked at.
const OTHER: &str = "other";
const OTHER_PRODUCER: (i64, i16) = (20, 1);

const RETRIABLE: [i16; 4] = [
    E::CoordinatorLoadInProgress.code(),
    E::CoordinatorNotAvailable.code(),
    E::NotCoordinator.code(),
    E::ConcurrentTransactions.code(),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Init { expected: Option<(i64, i16)> },
    Write { partition: i32 },
    End { commit: bool },
}

/// What a client asks for until it has an answer. Copies may be under way.
#[derive(Debug, Clone, Copy)]
struct Message {
    client: usize,
    incarnation: u64,
    sequence: u64,
    connection: u64,
    has_own_epochs: bool,
    kind: Kind,
    producer: (i64, i16),
    /// The transaction, as the client counts them.
    tag: u32,
}

#[derive(Debug, Clone, Copy, Default)]
struct Client {
    /// Follows transaction.version 2.
    has_own_epochs: bool,
    incarnation: u64,
    connection: u64,
    producer: Option<(i64, i16)>,
    /// Of the transaction it writes to.
    tag: Option<u32>,
    asks: Option<Message>,
    /// The last copy may be under way.
    awaits: bool,
    /// Got an error that ends its work.
    is_out: bool,
}

pub(super) struct World {
    pub(super) harness: Harness,
    clients: [Client; CLIENTS],
    next_number: u64,
    next_tag: u32,
    network: Vec<Message>,
    held_up: Vec<Message>,
    asked: BTreeMap<WaiterId, Message>,
    pub(super) leaders: Leaders,
    /// The number of the newest connection when the coordinator was loaded.
    connections_before: u64,
    /// Transactions that their client wanted to be committed.
    pub(super) wanted: BTreeSet<u32>,
    /// Transactions whose client was told.
    pub(super) told: BTreeMap<u32, bool>,
    /// What became of a transaction, by the marker of any partition.
    pub(super) ended: BTreeMap<u32, bool>,
    /// What process was told that it has this producer id and epoch.
    holders: BTreeMap<(i64, i16), u64>,
}

impl World {
    pub(super) fn new(
        calm: Calm,
        level: i16,
        own_epochs: [bool; CLIENTS],
        first_epoch: i16,
    ) -> Self {
        let config = TransactionConfig {
            transaction_version: level,
            ..TransactionConfig::default()
        };
        // Also where epochs run out.
        let loaded = transaction(TransactionState::Empty, (10, first_epoch));
        let mut harness = Harness::loaded_with(config, loaded);
        let other = transaction(TransactionState::Empty, OTHER_PRODUCER);
        harness.log.push(record(OTHER, Some(other)));
        harness.restart();
        harness.confirms = calm.confirms;
        harness.allocates = calm.confirms;
        let clients = own_epochs.map(|has_own_epochs| Client {
            has_own_epochs,
            ..Client::default()
        });
        let mut world = Self {
            harness,
            clients,
            next_number: 1,
            next_tag: 1,
            network: Vec::new(),
            held_up: Vec::new(),
            asked: BTreeMap::new(),
            leaders: Leaders::new(),
            connections_before: 0,
            wanted: BTreeSet::new(),
            told: BTreeMap::new(),
            ended: BTreeMap::new(),
            holders: BTreeMap::new(),
        };
        for client in 0..if calm.has_one_process { 1 } else { CLIENTS } {
            world.start(client, None);
        }
        world
    }

    fn number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number
    }

    pub(super) fn take_step(&mut self, step: Step) {
        match step {
            Step::Write { client, partition } => self.write(client, partition),
            Step::End { client, commit } => self.end(client, commit),
            Step::AskAgain { client, is_held_up } => self.ask_again(client, is_held_up),
            Step::GiveUp { client } => {
                let connection = self.number();
                let of = &mut self.clients[client];
                let is_writing = |asks: &Message| matches!(asks.kind, Kind::Write { .. });
                if of.asks.as_ref().is_some_and(is_writing) {
                    of.asks = None;
                    of.connection = connection;
                    self.end(client, false);
                }
            }
            Step::Start { client } => self.start(client, None),
            Step::Recover { client } => {
                let of = &self.clients[client];
                let is_idle = of.tag.is_none() && of.asks.is_none();
                if let (true, Some(producer)) = (of.is_out || is_idle, of.producer) {
                    self.start(client, Some(producer));
                }
            }
            Step::Deliver { index } => self.deliver(index),
            Step::DeliverLate { index } => {
                if !self.held_up.is_empty() {
                    let index = index % self.held_up.len();
                    let message = self.held_up.swap_remove(index);
                    self.handle(message);
                }
            }
            Step::Allocate => self.harness.allocate(),
            Step::RefuseProducerId => self.harness.refuse_producer_id(),
            Step::Confirm => {
                self.harness.confirm();
            }
            Step::Fail => {
                self.harness.fail(AppendError::NotAvailable);
            }
            Step::Mark { index, answer } => self.mark(index, answer),
            Step::MarkLate { index } => self.mark_late(index),
            Step::Report { index } => self.report(index),
            Step::ReportAgain { index } => self.report_again(index),
            Step::Settle => self.settle(),
            Step::Delete { partition } => self.leaders.delete(partition),
            Step::Verify { client, partition } => self.verify(client, partition),
            Step::Finalize { level } => {
                self.harness.config.transaction_version = level;
                let config = self.harness.config.clone();
                self.harness.coordinator.configure(config, self.harness.now);
            }
            Step::Follow { client } => {
                let of = &mut self.clients[client];
                if of.tag.is_none() && of.asks.is_none() {
                    of.has_own_epochs = !of.has_own_epochs;
                }
            }
            Step::Advance { duration_ms } if duration_ms < DAY_MS => {
                self.harness.advance(duration_ms);
            }
            // At one stroke: timers may come late.
            Step::Advance { duration_ms } => {
                let end_ms = self.harness.now.monotonic_ms + duration_ms;
                self.harness.move_clock_to(end_ms);
                self.harness.advance(0);
            }
            Step::Restart { kept } => self.restart(kept),
        }
        self.hear();
    }

    fn start(&mut self, client: usize, expected: Option<(i64, i16)>) {
        let incarnation = match expected {
            Some(_) => self.clients[client].incarnation,
            None => self.number(),
        };
        let connection = self.number();
        self.clients[client] = Client {
            has_own_epochs: self.clients[client].has_own_epochs,
            incarnation,
            connection,
            producer: expected,
            ..Client::default()
        };
        self.ask(client, Kind::Init { expected });
    }

    fn write(&mut self, client: usize, partition: i32) {
        let of = &mut self.clients[client];
        if of.asks.is_some() || of.is_out || self.leaders.is_gone(partition) {
            return;
        }
        if of.tag.is_none() {
            of.tag = Some(self.next_tag);
            self.next_tag += 1;
        }
        self.ask(client, Kind::Write { partition });
    }

    fn end(&mut self, client: usize, commit: bool) {
        let of = &self.clients[client];
        // Without a transaction only an abort is sent, by who may doubt it.
        let may_end = of.tag.is_some() || of.has_own_epochs && !commit;
        if of.asks.is_none() && !of.is_out && may_end {
            if commit {
                self.wanted.extend(of.tag);
            }
            self.ask(client, Kind::End { commit });
        }
    }

    fn ask(&mut self, client: usize, kind: Kind) {
        let sequence = self.number();
        let of = &mut self.clients[client];
        of.asks = Some(Message {
            client,
            incarnation: of.incarnation,
            sequence,
            connection: of.connection,
            has_own_epochs: of.has_own_epochs,
            kind,
            producer: of.producer.unwrap_or((-1, -1)),
            tag: of.tag.unwrap_or(0),
        });
        of.awaits = true;
        self.network.extend(of.asks);
    }

    fn ask_again(&mut self, client: usize, is_held_up: bool) {
        let connection = self.number();
        let of = &mut self.clients[client];
        let Some(asks) = &mut of.asks else {
            return;
        };
        if is_held_up {
            let sequence = asks.sequence;
            let copies = self
                .network
                .extract_if(.., |copy| copy.sequence == sequence);
            self.held_up.extend(copies);
        }
        if of.awaits {
            of.connection = connection;
        }
        asks.connection = of.connection;
        of.awaits = true;
        self.network.push(*asks);
    }

    fn deliver(&mut self, index: usize) {
        if self.network.is_empty() {
            return;
        }
        let message = self.network.remove(index % self.network.len());
        self.handle(message);
    }

    fn handle(&mut self, message: Message) {
        let Message {
            connection,
            producer,
            has_own_epochs,
            ..
        } = message;
        let (connection, api_version, request) = match message.kind {
            Kind::Init { expected } => {
                let request = Request::InitProducerId(init_request(expected));
                (Some(connection), 4, request)
            }
            // The leader asks before it appends.
            Kind::Write { partition } if has_own_epochs => {
                let one = add_transaction(ID, producer, false, &[partition]);
                let other = add_transaction(OTHER, OTHER_PRODUCER, false, &[partition]);
                (None, 5, broker_add(vec![one, other]))
            }
            Kind::Write { partition } => (Some(connection), 3, client_add(producer, &[partition])),
            Kind::End { commit } => {
                let api_version = if has_own_epochs { 5 } else { 3 };
                (Some(connection), api_version, end_request(producer, commit))
            }
        };
        let waiter = self.harness.send_over(connection, api_version, request);
        self.asked.insert(waiter, message);
    }

    /// Nothing changes by it, and what is said to be in a transaction is in the one that is open.
    fn verify(&mut self, client: usize, partition: i32) {
        let Some(producer) = self.clients[client].producer else {
            return;
        };
        let records = self.harness.log.len();
        let one = add_transaction(ID, producer, true, &[partition]);
        let waiter = self.harness.send(4, broker_add(vec![one]));
        if self.harness.added(waiter) == 0 {
            let described = self.harness.describe(ID);
            let found = (described.producer_id.0, described.producer_epoch);
            assert_eq!(described.transaction_state.as_str(), "Ongoing");
            assert_eq!(found, producer);
            let mut topics = described.topics.iter();
            assert!(topics.any(|topic| topic.partitions.contains(&partition)));
        }
        assert_eq!(self.harness.log.len(), records);
    }

    /// Also where the broker stays the same: what is on its way over connections that live on reaches the next
    /// coordinator, as late as it likes.
    fn restart(&mut self, kept: usize) {
        let markers = std::mem::take(&mut self.harness.markers);
        self.leaders.forget_coordinator(markers);
        self.connections_before = self.next_number;
        self.harness.newest_connection = self.next_number;
        self.harness.restart_with_tail(kept);
    }

    fn hear(&mut self) {
        for waiter in std::mem::take(&mut self.harness.closed) {
            let message = self.asked.remove(&waiter).expect("a question");
            let client = &self.clients[message.client];
            assert!(
                client.incarnation != message.incarnation
                    || client.connection > message.connection
                    || message.connection <= self.connections_before,
                "the newest connection of {client:?} was closed"
            );
        }
        let waiters: Vec<WaiterId> = self.harness.replies.keys().copied().collect();
        for waiter in waiters {
            let Some(message) = self.asked.remove(&waiter) else {
                panic!("an answer to no question");
            };
            let (mut error, producer_id, producer_epoch) = match message.kind {
                Kind::Init { .. } => self.harness.initialized(waiter),
                Kind::Write { .. } => (self.harness.added(waiter), -1, -1),
                Kind::End { .. } => self.harness.ended(waiter),
            };
            let client = self.clients[message.client];
            let is_current = client.incarnation == message.incarnation
                && client.connection == message.connection
                && client
                    .asks
                    .is_some_and(|asks| asks.sequence == message.sequence);
            if let (Kind::Write { partition }, 0) = (message.kind, error) {
                // The client itself writes only what it still wants; a leader has the batch already.
                if is_current || message.has_own_epochs {
                    error = self
                        .leaders
                        .append(partition, message.producer, message.tag);
                }
            }
            if is_current {
                self.answer(message, error, (producer_id, producer_epoch));
            }
        }
    }

    fn answer(&mut self, message: Message, error: i16, producer: (i64, i16)) {
        let client = &mut self.clients[message.client];
        client.awaits = false;
        if RETRIABLE.contains(&error) {
            return;
        }
        client.asks = None;
        match (message.kind, error) {
            (Kind::Init { .. }, 0) => self.hold(message.client, producer),
            (Kind::Write { .. }, 0) => {}
            (Kind::End { commit }, 0) => {
                if client.tag.take().is_some() {
                    note(&mut self.told, message.tag, commit);
                }
                if message.has_own_epochs {
                    self.hold(message.client, producer);
                }
            }
            (Kind::End { commit: true }, error) if error == E::InvalidTxnState.code() => {
                note(&mut self.told, message.tag, false);
                client.is_out = true;
            }
            _ => client.is_out = true,
        }
        self.check_told();
    }

    fn hold(&mut self, client: usize, producer: (i64, i16)) {
        let incarnation = self.clients[client].incarnation;
        let holder = *self.holders.entry(producer).or_insert(incarnation);
        assert_eq!(holder, incarnation, "two processes have {producer:?}");
        self.clients[client].producer = Some(producer);
    }

    pub(super) fn check_told(&self) {
        for (tag, commit) in &self.told {
            let ended = self.ended.get(tag).unwrap_or(commit);
            assert_eq!(ended, commit, "transaction {tag} ended otherwise than told");
        }
    }

    /// Nothing is open any more, and what was written to has ended.
    fn check_ended(&self) {
        let hanging = self.leaders.hanging();
        assert!(hanging.is_empty(), "{hanging:?} hang");
        for tag in self.told.keys() {
            let has_ended = self.ended.contains_key(tag);
            let is_written = self.leaders.has_written(*tag);
            assert!(has_ended || !is_written, "transaction {tag} never ended");
        }
    }

    /// Delivers, confirms and answers what is under way.
    fn settle(&mut self) {
        let before = (self.harness.confirms, self.harness.allocates);
        self.harness.confirms = true;
        self.harness.allocates = true;
        self.harness.absorb(Vec::new());
        while !self.network.is_empty() {
            self.deliver(0);
            self.hear();
        }
        self.report_all();
        while !self.harness.markers.is_empty() {
            self.mark(0, Answer::Written);
            self.report_all();
        }
        self.hear();
        (self.harness.confirms, self.harness.allocates) = before;
    }

    /// Nothing fails or is sent any more.
    pub(super) fn come_to_rest(&mut self) {
        self.harness.confirms = true;
        self.harness.allocates = true;
        self.network.append(&mut self.held_up);
        for _ in 0..20 {
            self.settle();
            self.mark_held_up();
            self.harness.advance(10_000);
            self.hear();
        }
        let unanswered = &self.harness.open;
        assert!(unanswered.is_empty(), "never answered: {unanswered:?}");
        assert_eq!(self.harness.coordinator.counts().stuck, 0);
        let state = self.harness.state();
        // It may have expired.
        let is_at_rest = matches!(
            state.as_str(),
            "" | "Empty" | "CompleteCommit" | "CompleteAbort"
        );
        assert!(is_at_rest, "{state}");
        while !self.leaders.late_markers.is_empty() {
            self.mark_late(0);
        }
        self.report_all();
        self.check_ended();
    }
}

pub(super) fn note(outcomes: &mut BTreeMap<u32, bool>, tag: u32, commit: bool) {
    let before = *outcomes.entry(tag).or_insert(commit);
    assert_eq!(before, commit, "transaction {tag} ended both ways");
}
