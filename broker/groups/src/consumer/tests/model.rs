//! Random interleavings of what members, topics, time, the wire and the log can do, against what must hold
//! whatever happens.
//!
//! Requests are lost or come late; those of one connection come in the order in which they were sent. A process
//! that gives up waiting connects anew and sends again, and hears no answer to what it has sent before; but that
//! may come to the coordinator, whenever.

mod steps;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::{ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse};
use proptest::prelude::*;
use uuid::Uuid;

use super::harness::*;
use crate::assignor::Partitions;
use crate::consumer::{
    CommitApi, ConsumerGroup, ConsumerGroupState, ConsumerRecord, ConsumerTimer,
};
use crate::response::wire;
use steps::{ASSIGNORS, CLIENTS, RACKS, REGEXES, Step, TOPICS, steps};

#[derive(Debug, Clone, Default)]
struct Client {
    /// Makes the member id; a new one for each process.
    process: usize,
    connection: u64,
    epoch: i32,
    topics: usize,
    regex: usize,
    assignor: usize,
    /// What it reads.
    owned: Partitions,
    /// What it is to read, until it does.
    told: Option<Partitions>,
    /// The coordinator has let go of it, and it has not learnt so yet.
    is_fenced: bool,
    /// Grows while the coordinator does not know it.
    fences: u64,
    /// An answer that was given after the last of them it has heard: it is no longer fenced once it has what that
    /// told.
    has_heard_since: bool,
    /// The request whose answer it waits for.
    awaits: Option<u64>,
    /// What the coordinator knows of it, when all requests have come.
    reported: Option<(usize, usize, Partitions)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Sent {
    client: usize,
    number: u64,
}

struct Answer {
    to: Sent,
    response: ConsumerGroupHeartbeatResponse,
    /// How often the client had been fenced when it was given.
    fences: u64,
}

/// The connection it came over, and what came.
type Asked = (u64, Sent, ConsumerGroupHeartbeatRequest);

struct World {
    harness: Harness,
    /// What is committed.
    log: Vec<ConsumerRecord>,
    pending: VecDeque<(Vec<ConsumerRecord>, Option<Answer>)>,
    clients: Vec<Client>,
    /// What the coordinator has asked for.
    resolving: Option<Vec<Arc<str>>>,
    /// By connection.
    wires: BTreeMap<u64, VecDeque<(Sent, ConsumerGroupHeartbeatRequest)>>,
    connections: u64,
    processes: usize,
    next_number: u64,
    next_topic_id: u128,
    /// What replaying the log, and the batches under way, gives.
    replayed: ConsumerGroup,
}

fn member_id(process: usize) -> String {
    format!("process-{process}")
}

fn minus(one: &Partitions, other: &Partitions) -> Partitions {
    let mut rest = one.clone();
    for (topic_id, partitions) in other {
        if let Some(rest) = rest.get_mut(topic_id) {
            rest.retain(|partition| !partitions.contains(partition));
        }
    }
    rest.retain(|_, partitions| !partitions.is_empty());
    rest
}

fn union(one: &Partitions, other: &Partitions) -> Partitions {
    let mut union = one.clone();
    for (topic_id, partitions) in other {
        union.entry(*topic_id).or_default().extend(partitions);
    }
    union
}

/// Whether the request says something of its member that the group does not know.
fn is_news(group: &ConsumerGroup, request: &ConsumerGroupHeartbeatRequest) -> bool {
    let Some(member) = group.members().get(request.member_id.as_str()) else {
        return true;
    };
    let known = &member.metadata;
    let names = request.subscribed_topic_names.as_ref();
    let names = names.map(|names| names.iter().map(|name| Arc::from(name.as_str())));
    let names = names.map(BTreeSet::from_iter);
    let regex = request.subscribed_topic_regex.as_deref();
    let assignor = request.server_assignor.as_deref();
    names.is_some_and(|names| names != *known.subscribed_topics)
        || regex.is_some_and(|regex| regex != known.subscribed_regex.as_deref().unwrap_or(""))
        || assignor.is_some_and(|name| Some(name) != known.assignor.map(|known| known.name()))
}

impl World {
    fn new() -> Self {
        let mut world = Self {
            harness: Harness::new(),
            log: Vec::new(),
            pending: VecDeque::new(),
            clients: vec![Client::default(); CLIENTS],
            resolving: None,
            wires: BTreeMap::new(),
            connections: 0,
            processes: 0,
            next_number: 1,
            next_topic_id: 10,
            replayed: replayed(&[]),
        };
        world.harness.set_topic("other", 2, 3);
        for client in 0..CLIENTS {
            world.clients[client].topics = 1 + client % 2;
            world.start(client);
        }
        world
    }

    /// A new process of the client.
    fn start(&mut self, client: usize) {
        self.processes += 1;
        self.connections += 1;
        self.clients[client] = Client {
            process: self.processes,
            connection: self.connections,
            topics: self.clients[client].topics,
            regex: self.clients[client].regex,
            assignor: self.clients[client].assignor,
            ..Client::default()
        };
    }

    fn take_step(&mut self, step: &Step) {
        match *step {
            Step::Beat { client } => self.beat(client),
            Step::TimeOut { client } => self.time_out(client),
            Step::TakeUp { client } => self.take_up(client),
            Step::Subscribe {
                client,
                topics,
                regex,
            } => {
                self.clients[client].topics = topics;
                self.clients[client].regex = regex;
            }
            Step::Vote { client, assignor } => self.clients[client].assignor = assignor,
            Step::Resolve => self.resolve(),
            Step::Leave {
                client,
                is_for_good,
            } => {
                let is_static = client >= 2;
                let epoch = if is_static && !is_for_good { -2 } else { -1 };
                let request = request(&member_id(self.clients[client].process), epoch);
                self.send(client, request);
                self.start(client);
            }
            Step::Crash { client } => self.start(client),
            Step::EndSession { client } => {
                let member_id = Arc::from(member_id(self.clients[client].process));
                let Harness { now, deadlines, .. } = &mut self.harness;
                if let Some(deadline) = deadlines.get_mut(&(member_id, ConsumerTimer::Session)) {
                    *deadline = now.monotonic_ms;
                }
                self.advance(0);
            }
            Step::Deliver { client } => {
                let connection = self.clients[client].connection;
                if let Some(asked) = self.take_request_over(connection) {
                    self.deliver(&asked);
                }
            }
            Step::DeliverLate { wire } => {
                if let Some(asked) = self.take_request(wire) {
                    self.deliver(&asked);
                }
            }
            Step::LoseRequest { wire } => {
                self.take_request(wire);
            }
            Step::Commit { is_answer_lost } => self.commit(is_answer_lost),
            Step::Advance { duration_ms } => self.advance(duration_ms),
            Step::Topic {
                name,
                partitions,
                is_new,
            } => self.set_topic(TOPICS[name], partitions, is_new),
            Step::DeleteTopic { name } => {
                self.harness.made_of.remove(TOPICS[name]);
                self.harness.make_topics();
            }
            Step::Rack { name, rack } => {
                if let Some(made_of) = self.harness.made_of.get_mut(TOPICS[name]) {
                    made_of.2 = RACKS[rack];
                    self.harness.make_topics();
                }
            }
            Step::MaxSize { members } => self.harness.config.max_size = members,
            Step::Limit { bytes } => self.harness.config.batch_bytes_max = bytes,
            Step::Restart { kept } => {
                let kept = kept.min(self.pending.len());
                for (records, _) in self.pending.drain(..).take(kept) {
                    self.log.extend(records);
                }
                self.replayed = replayed(&self.log);
                self.resolving = None;
                // What was sent to the one before.
                self.wires.clear();
                self.harness.restart(&self.log);
            }
        }
        self.check();
    }

    fn set_topic(&mut self, name: &'static str, partitions: usize, is_new: bool) {
        let old = self.harness.made_of.get(name).copied();
        let (id, partitions) = match old {
            Some((id, old, _)) if !is_new => (id, old.max(partitions)),
            _ => {
                self.next_topic_id += 1;
                (self.next_topic_id, partitions)
            }
        };
        self.harness.set_topic(name, id, partitions);
    }

    fn send(&mut self, client: usize, request: ConsumerGroupHeartbeatRequest) -> u64 {
        let request = if client >= 2 {
            request.with_instance_id(Some(wire(&format!("instance-{client}"))))
        } else {
            request
        };
        let number = self.next_number;
        self.next_number += 1;
        let connection = self.clients[client].connection;
        let wire = self.wires.entry(connection).or_default();
        wire.push_back((Sent { client, number }, request));
        number
    }

    fn beat(&mut self, client: usize) {
        let Client {
            process,
            epoch,
            topics,
            regex,
            assignor,
            owned,
            told,
            awaits,
            reported,
            ..
        } = self.clients[client].clone();
        if awaits.is_some() {
            return;
        }
        // What it is about to take up it does not let another have.
        let owned = union(&owned, &told.unwrap_or_default());
        let names = TOPICS.iter().enumerate();
        let names = names.filter(|(number, _)| topics & (1 << number) != 0);
        let names = Vec::from_iter(names.map(|(_, name)| *name));
        let mut request = full(&member_id(process), epoch, &names, &owned);
        request.subscribed_topic_regex = Some(wire(REGEXES[regex].0));
        request.server_assignor = ASSIGNORS[assignor].map(wire);
        if let Some((reported_topics, reported_regex, reported_owned)) = reported {
            request.rebalance_timeout_ms = -1;
            request.server_assignor = None;
            if reported_topics == topics {
                request.subscribed_topic_names = None;
            }
            if reported_regex == regex {
                request.subscribed_topic_regex = None;
            }
            if reported_owned == owned {
                request.topic_partitions = None;
            }
        }
        let number = self.send(client, request);
        let client = &mut self.clients[client];
        client.awaits = Some(number);
        client.reported = Some((topics, regex, owned));
    }

    fn time_out(&mut self, client: usize) {
        let client = &mut self.clients[client];
        if client.awaits.take().is_some() {
            client.reported = None;
            self.connections += 1;
            client.connection = self.connections;
        }
    }

    fn take_up(&mut self, client: usize) {
        let client = &mut self.clients[client];
        let Some(told) = client.told.clone() else {
            return;
        };
        let revoked = minus(&client.owned, &told);
        if revoked.is_empty() {
            client.owned = told;
            client.told = None;
            client.is_fenced &= !client.has_heard_since;
        } else {
            client.owned = minus(&client.owned, &revoked);
        }
    }

    fn take_request(&mut self, index: usize) -> Option<Asked> {
        self.wires.retain(|_, wire| !wire.is_empty());
        let count = self.wires.len().max(1);
        let connection = *self.wires.keys().nth(index % count)?;
        self.take_request_over(connection)
    }

    fn take_request_over(&mut self, connection: u64) -> Option<Asked> {
        let (sent, request) = self.wires.get_mut(&connection)?.pop_front()?;
        Some((connection, sent, request))
    }

    fn deliver(&mut self, (connection, sent, request): &Asked) {
        let to = *sent;
        let before = self.harness.group.clone();
        self.harness.connection = *connection;
        let fences = self.clients[to.client].fences;
        match self.harness.beat(request) {
            Ok(outcome) => {
                let answer = Answer {
                    to,
                    response: outcome.response,
                    fences,
                };
                self.append(outcome.records, Some(answer));
                if !outcome.to_resolve.is_empty() {
                    assert_eq!(self.resolving, None, "asked for twice");
                    self.resolving = Some(outcome.to_resolve);
                }
            }
            // A refusal need not wait for what it is due to.
            Err(refused) => {
                assert!(self.harness.group == before, "a refusal changed the group");
                if refused.error == ResponseError::UnknownServerError {
                    assert!(is_news(&before, request), "{request:?} is not to blame");
                }
                self.hear(&Answer {
                    to,
                    response: refused.response(),
                    fences,
                });
            }
        }
    }

    fn advance(&mut self, duration_ms: i64) {
        for records in self.harness.advance(duration_ms) {
            self.append(records, None);
        }
    }

    fn resolve(&mut self) {
        if let Some(regexes) = self.resolving.take() {
            for change in self.harness.resolve(&regexes).batches {
                self.append(change.records, None);
            }
        }
    }

    fn append(&mut self, records: Vec<ConsumerRecord>, answer: Option<Answer>) {
        for record in &records {
            self.replayed.apply(record);
        }
        self.pending.push_back((records, answer));
    }

    fn commit(&mut self, is_answer_lost: bool) {
        let Some((records, answer)) = self.pending.pop_front() else {
            return;
        };
        self.log.extend(records);
        if let Some(answer) = answer.filter(|_| !is_answer_lost) {
            self.hear(&answer);
        }
    }

    fn hear(&mut self, answer: &Answer) {
        let Answer {
            to: sent,
            response,
            fences,
        } = answer;
        let client = &mut self.clients[sent.client];
        if client.awaits != Some(sent.number) {
            return;
        }
        client.awaits = None;
        let rejoins = [
            ResponseError::FencedMemberEpoch,
            ResponseError::UnknownMemberId,
        ];
        let waits = [
            ResponseError::UnreleasedInstanceId,
            ResponseError::GroupMaxSizeReached,
        ];
        match response.error_code {
            0 => {
                assert!(response.member_epoch > 0, "{response:?}");
                assert!(response.member_epoch >= client.epoch, "an epoch went back");
                client.epoch = response.member_epoch;
                client.has_heard_since = *fences == client.fences;
                if let Some(told) = told(response) {
                    client.told = Some(told);
                } else if client.told.is_none() {
                    // It has reason to believe that it may go on.
                    client.is_fenced &= !client.has_heard_since;
                }
            }
            code if rejoins.iter().any(|error| error.code() == code) => {
                *client = Client {
                    process: client.process,
                    connection: client.connection,
                    topics: client.topics,
                    regex: client.regex,
                    assignor: client.assignor,
                    ..Client::default()
                };
            }
            code if waits.iter().any(|error| error.code() == code) => {
                assert_eq!(client.epoch, 0);
                client.reported = None;
            }
            // The end of it, in Java.
            code if code == ResponseError::UnknownServerError.code() => self.start(sent.client),
            code if code == ResponseError::CoordinatorNotAvailable.code() => {
                panic!("it was sent over the newest connection")
            }
            code if code == ResponseError::FencedInstanceId.code() => self.start(sent.client),
            _ => panic!("{response:?}"),
        }
    }

    fn check(&mut self) {
        let group = &self.harness.group;
        let (epoch, target_epoch) = group.epochs();
        assert!(target_epoch <= epoch);
        let mut owners: BTreeMap<(Uuid, i32), &str> = BTreeMap::new();
        for (member_id, member) in group.members() {
            assert!(member.current.epoch <= target_epoch);
            for (topic_id, partition) in member.current.owned() {
                let other = owners.insert((*topic_id, partition), member_id);
                assert_eq!(other, None, "two owners of {partition} of {topic_id}");
            }
        }
        for client in &mut self.clients {
            let member_id = member_id(client.process);
            let api = CommitApi::OffsetCommit(9);
            let commit_rule = group.check_commit(api, &member_id, None, client.epoch);
            let is_member = group.members().contains_key(&*member_id);
            if client.epoch > 0 && !is_member {
                client.is_fenced = true;
                client.fences += 1;
                client.has_heard_since = false;
            }
            if client.is_fenced {
                continue;
            }
            for (topic_id, partitions) in &client.owned {
                for partition in partitions {
                    let owner = owners.get(&(*topic_id, *partition)).copied();
                    assert_eq!(
                        owner,
                        Some(&*member_id),
                        "who else may read {partition} of {topic_id}"
                    );
                    let rule = commit_rule.expect("who reads is a member");
                    let checked = rule.check(topic_id, *partition);
                    assert_eq!(checked, Ok(()), "who reads may commit");
                }
            }
        }
        assert!(self.replayed == *group, "the records tell another group");
    }

    /// No more faults: members beat, take up and beat.
    fn come_to_rest(&mut self) {
        self.harness.config.batch_bytes_max = usize::MAX;
        self.harness.config.max_size = usize::MAX;
        for _ in 0..20 {
            for client in 0..CLIENTS {
                self.time_out(client);
                self.beat(client);
            }
            while let Some(asked) = self.take_request(0) {
                self.deliver(&asked);
                self.check();
            }
            self.resolve();
            self.check();
            while !self.pending.is_empty() {
                self.commit(false);
                self.check();
            }
            for client in 0..CLIENTS {
                self.take_up(client);
                self.take_up(client);
            }
            self.check();
            self.advance(2_000);
            self.check();
        }
        let group = self.harness.group.clone();
        assert_eq!(group.state(), ConsumerGroupState::Stable);
        assert_eq!(group.members().len(), CLIENTS, "members that are no more");
        for client in 0..CLIENTS {
            self.beat(client);
        }
        while let Some(asked) = self.take_request(0) {
            self.deliver(&asked);
        }
        assert!(
            self.pending
                .drain(..)
                .all(|(records, _)| records.is_empty())
        );
        let mut owned = BTreeSet::new();
        let mut subscribed = 0;
        for client in &self.clients {
            subscribed |= client.topics | REGEXES[client.regex].1;
            assert_eq!(client.told, None);
            assert_eq!(
                Some(&client.owned),
                group.target(&member_id(client.process))
            );
            for (topic_id, partitions) in &client.owned {
                for partition in partitions {
                    assert!(owned.insert((*topic_id, *partition)), "read twice");
                }
            }
        }
        let mut exist = BTreeSet::new();
        for (number, name) in TOPICS.iter().enumerate() {
            if let Some((id, count, _)) = self.harness.made_of.get(name)
                && subscribed & (1 << number) != 0
            {
                let id = Uuid::from_u128(*id);
                exist.extend((0..*count as i32).map(|partition| (id, partition)));
            }
        }
        assert_eq!(owned, exist, "what is read is not what there is");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, ..ProptestConfig::default() })]

    #[test]
    fn no_partition_is_read_twice_and_none_is_left(steps in steps()) {
        let mut world = World::new();
        for step in &steps {
            world.take_step(step);
        }
        world.come_to_rest();
    }
}
