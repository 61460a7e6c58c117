//! The active controller: runs the rules of `foz-metadata` against committed and pending state, as `foz-controller` does.

use std::collections::{BTreeMap, VecDeque};

use foz_controller::leases::{self, LEASE, Leases, RECONNECT_GRACE, STALL, Wish};
use foz_metadata::Image;
use foz_metadata::record::{Batch, Record};
use foz_metadata::rules::{
    AlterPartitions, CreateTopics, Decided, Decision, ElectLeaders, ElectionKind, ErrorCode,
    NewTopic, PartitionState, RegisterBroker, alter_partitions, balance_leaders, create_topics,
    elect_leaders, elect_unclean_where_allowed, fence_broker, found_cluster, register_broker,
    stop_broker, unfence_broker,
};
use uuid::Uuid;

use super::replica::{Input, NotCommitted, Outcome};
use crate::context::{Context, duration};
use crate::message::{Beat, BeatAnswer, Denied, Message};
use crate::mutation::Mutation;
use crate::scenario::{CLUSTER_ID, TOPIC};

pub(crate) const LOOK_MS: i64 = 100;
const ELECT_EVERY_MS: i64 = 2_000;
const BALANCE_EVERY_MS: i64 = 3_000;
/// A broker that is slow holds up a handover for no longer than this.
const VISIBLE_WITHIN_MS: i64 = 500;
/// Commands that wait while it is not known what was committed.
const WAITING_MAX: usize = 100;

/// What the rest of the controller knows, that a decision may need.
pub(crate) struct Around<'a> {
    pub(crate) committed: &'a Image,
    /// Node ids with a stream of the metadata.
    pub(crate) observing: &'a dyn Fn(i32) -> bool,
}

/// One term of an active controller.
#[derive(Debug)]
pub(crate) struct Active {
    pub(crate) term: u64,
    pending: Image,
    pub(crate) leases: Leases,
    stops: BTreeMap<i32, Stop>,
    handovers: BTreeMap<i32, Handover>,
    /// What brokers last said that they applied.
    applied: BTreeMap<i32, i64>,
    in_flight: VecDeque<InFlight>,
    next_ticket: u64,
    is_in_doubt: bool,
    waiting: VecDeque<(i32, Message)>,
    elect_at_ms: i64,
    balance_at_ms: i64,
    /// For the quorum.
    pub(crate) proposals: Vec<Input>,
}

#[derive(Debug, Clone, Copy)]
struct Stop {
    epoch: i64,
    offset: i64,
    leads: usize,
}

#[derive(Debug, Clone, Copy)]
struct Handover {
    epoch: i64,
    number: u64,
    /// Offset, and when it was committed.
    committed: Option<(i64, i64)>,
}

#[derive(Debug)]
struct InFlight {
    /// `None`: no records, so what became of the ones before counts.
    ticket: Option<u64>,
    result: Option<Result<(), NotCommitted>>,
    offset: i64,
    done: Done,
}

/// What to do once the outcome is known.
#[derive(Debug)]
enum Done {
    Nothing,
    Registered {
        to: i32,
        call: u64,
        result: Result<i64, ErrorCode>,
    },
    Altered {
        to: i32,
        call: u64,
        results: Result<Vec<Result<PartitionState, ErrorCode>>, ErrorCode>,
    },
    HandedOver {
        node_id: i32,
        number: u64,
    },
}

impl Active {
    pub(crate) fn new(term: u64, committed: &Image, now_ms: i64) -> Self {
        let now = duration(now_ms);
        let leases = Leases::new(LEASE, RECONNECT_GRACE, STALL, alive(committed), now);
        let mut active = Self {
            term,
            pending: committed.clone(),
            leases,
            stops: BTreeMap::new(),
            handovers: BTreeMap::new(),
            applied: BTreeMap::new(),
            in_flight: VecDeque::new(),
            next_ticket: 0,
            is_in_doubt: false,
            waiting: VecDeque::new(),
            elect_at_ms: now_ms,
            balance_at_ms: now_ms + BALANCE_EVERY_MS,
            proposals: Vec::new(),
        };
        active.run_own(|image| found_cluster(image, CLUSTER_ID));
        active
    }

    /// A call that changes metadata.
    pub(crate) fn call(&mut self, from: i32, message: Message, around: &Around<'_>) -> bool {
        if self.is_in_doubt {
            let has_room = self.waiting.len() < WAITING_MAX;
            if has_room {
                self.waiting.push_back((from, message));
            }
            return has_room;
        }
        match message {
            Message::Register { call, request } => self.register(from, call, &request, around),
            Message::AlterPartitions { call, request } => self.alter(from, call, &request),
            Message::ElectPreferred => self.elect(ElectionKind::Preferred),
            Message::ElectUnclean => self.elect(ElectionKind::Unclean),
            _ => return false,
        }
        true
    }

    fn elect(&mut self, kind: ElectionKind) {
        let request = ElectLeaders {
            kind,
            partitions: None,
            operator_epoch: 0,
        };
        self.run_own(|image| elect_leaders(image, &request));
    }

    fn register(&mut self, from: i32, call: u64, request: &RegisterBroker, around: &Around<'_>) {
        let node_id = request.node_id;
        if let Some(broker) = self.pending.broker(node_id)
            && !broker.fenced
            && self.leases.is_disconnected(node_id)
            && !(around.observing)(node_id)
        {
            let epoch = broker.epoch;
            self.fence(node_id, epoch);
        }
        let (records, result) = taken(register_broker(&self.pending, request));
        self.propose(
            records,
            Done::Registered {
                to: from,
                call,
                result,
            },
        );
    }

    fn alter(&mut self, from: i32, call: u64, request: &AlterPartitions) {
        let (records, results) = taken(alter_partitions(&self.pending, request));
        let codes = |results: Vec<Result<PartitionState, _>>| {
            let codes = results
                .into_iter()
                .map(|it| it.map_err(|refusal: foz_metadata::rules::Refusal| refusal.code));
            codes.collect()
        };
        let results = results.map(codes);
        self.propose(
            records,
            Done::Altered {
                to: from,
                call,
                results,
            },
        );
    }

    pub(crate) fn beat(
        &mut self,
        node_id: i32,
        beat: &Beat,
        around: &Around<'_>,
        now_ms: i64,
    ) -> Result<BeatAnswer, Denied> {
        match self.pending.broker(node_id) {
            Some(broker) if broker.epoch == beat.epoch => {}
            Some(_) => return Err(Denied::Refused(ErrorCode::StaleBrokerEpoch)),
            None => return Err(Denied::Refused(ErrorCode::BrokerIdNotRegistered)),
        }
        let committed = around.committed;
        let wish = leases::Beat {
            node_id,
            epoch: beat.epoch,
            stream: beat.stream,
            applied_offset: beat.applied_offset,
            is_stopping: beat.is_stopping,
            is_insisting: false,
            is_leaving: beat.is_leaving,
            is_short_of_space: false,
        };
        let wish = self.leases.beat(wish, committed.offset(), duration(now_ms));
        match (wish, self.pending.is_alive(node_id)) {
            (Wish::Unfence, false) if !self.is_in_doubt && !beat.is_stopping => {
                self.run_own(|image| unfence_broker(image, node_id, beat.epoch));
                self.elect_at_ms = now_ms;
            }
            (Wish::Fence, true) => {
                self.fence(node_id, beat.epoch);
                self.elect_at_ms = now_ms;
            }
            _ => {}
        }
        if beat.is_stopping {
            self.hand_over(node_id, beat.epoch);
        }
        if self.pending.is_alive(node_id) {
            self.applied.insert(node_id, beat.applied_offset);
        }
        Ok(BeatAnswer {
            is_fenced: !committed.is_alive(node_id),
            may_stop: beat.is_stopping && self.may_stop(node_id, beat.epoch, now_ms),
        })
    }

    fn may_stop(&self, node_id: i32, epoch: i64, now_ms: i64) -> bool {
        let handover = self
            .handovers
            .get(&node_id)
            .filter(|it| it.epoch == epoch)
            .and_then(|it| it.committed);
        handover.is_some_and(|(offset, since_ms)| {
            now_ms >= since_ms + VISIBLE_WITHIN_MS
                || self.applied.values().all(|applied| *applied >= offset)
        })
    }

    fn hand_over(&mut self, node_id: i32, epoch: i64) {
        let before = self.stops.get(&node_id).filter(|stop| stop.epoch == epoch);
        let before = before.copied();
        let is_done = before.is_some_and(|stop| {
            !self.pending.can_lead(node_id)
                && (stop.leads == 0 || stop.offset == self.pending.offset())
        });
        if is_done || self.is_in_doubt {
            return;
        }
        let Ok(decision) = stop_broker(&self.pending, node_id, epoch) else {
            return;
        };
        let leads = decision.answer.leads;
        if before.is_none() || !decision.records.is_empty() {
            let number = self.handovers.get(&node_id).map_or(0, |it| it.number + 1);
            let handover = Handover {
                epoch,
                number,
                committed: None,
            };
            self.handovers.insert(node_id, handover);
            self.propose(decision.records, Done::HandedOver { node_id, number });
        }
        let offset = self.pending.offset();
        let stop = Stop {
            epoch,
            offset,
            leads,
        };
        self.stops.insert(node_id, stop);
    }

    /// Fences whose lease has ended, and does what is due.
    pub(crate) fn look(&mut self, ctx: &mut Context<'_>) {
        let now_ms = ctx.now_ms;
        self.leases.cover(alive(&self.pending), ctx.now());
        for (node_id, epoch) in self.leases.expired(ctx.now()) {
            ctx.note(|| format!("the lease of broker {node_id} ended"));
            self.fence(node_id, epoch);
            self.elect_at_ms = now_ms;
        }
        if self.is_in_doubt {
            return;
        }
        if self.elect_at_ms <= now_ms {
            self.elect_at_ms = now_ms + ELECT_EVERY_MS;
            self.run_own(|image| elect_unclean_where_allowed(image, &BTreeMap::new()));
        }
        if self.balance_at_ms <= now_ms {
            self.balance_at_ms = now_ms + BALANCE_EVERY_MS;
            self.run_own(|image| balance_leaders(image, &BTreeMap::new()));
        }
        self.create_topic(ctx);
    }

    fn create_topic(&mut self, ctx: &mut Context<'_>) {
        let scenario = ctx.scenario;
        // Some replicas are made while their brokers are still to come. The checks count losses from the beginning on, so
        // that the ISR has its minimum then.
        let brokers = || self.pending.brokers();
        let leaders = brokers().filter(|broker| broker.can_lead()).count();
        let enough =
            brokers().count() >= scenario.replication_factor && leaders >= scenario.min_insync;
        if self.pending.topic(TOPIC).is_some() || !enough {
            return;
        }
        let mut config: BTreeMap<String, String> = BTreeMap::new();
        config.insert(
            "min.insync.replicas".to_owned(),
            scenario.min_insync.to_string(),
        );
        if scenario.has(Mutation::UncleanElection) {
            config.insert(
                "unclean.leader.election.enable".to_owned(),
                "true".to_owned(),
            );
        }
        let topic = NewTopic {
            name: TOPIC.to_owned(),
            id: topic_id(),
            partitions: scenario.partitions,
            replication_factor: scenario.replication_factor as i32,
            config,
            ..NewTopic::default()
        };
        let request = CreateTopics {
            topics: vec![topic],
            validate_only: false,
            operator_epoch: 0,
            seed: ctx.chance.number(),
        };
        self.run_own(|image| create_topics(image, &BTreeMap::new(), &request));
    }

    fn fence(&mut self, node_id: i32, epoch: i64) {
        self.applied.remove(&node_id);
        let broker = self.pending.broker(node_id);
        let is_known = broker.is_some_and(|broker| broker.epoch == epoch);
        if is_known && self.pending.is_alive(node_id) && !self.is_in_doubt {
            self.run_own(|image| fence_broker(image, node_id, epoch));
        }
    }

    pub(crate) fn stopped_hearing(&mut self, node_id: i32) {
        self.applied.remove(&node_id);
    }

    fn run_own<A>(&mut self, rule: impl FnOnce(&Image) -> Decided<A>) {
        if let Ok(decision) = rule(&self.pending) {
            self.propose(decision.records, Done::Nothing);
        }
    }

    fn propose(&mut self, records: Vec<Record>, done: Done) {
        let mut in_flight = InFlight {
            ticket: None,
            result: None,
            offset: self.pending.offset(),
            done,
        };
        if !records.is_empty() {
            let batch = Batch {
                follows: self.pending.offset(),
                term: self.term as i64,
                records,
            };
            self.pending = self
                .pending
                .apply(&batch)
                .expect("a decision follows what it is based on");
            self.next_ticket += 1;
            in_flight.ticket = Some(self.next_ticket);
            in_flight.offset = batch.offset();
            self.proposals.push(Input::Propose {
                term: self.term,
                ticket: self.next_ticket,
                data: batch.encode_to_bytes().to_vec(),
            });
        }
        self.in_flight.push_back(in_flight);
    }

    /// Takes in what became of proposals, and answers those who wait.
    pub(crate) fn settle(
        &mut self,
        outcomes: &[Outcome],
        committed: &Image,
        ctx: &mut Context<'_>,
    ) -> VecDeque<(i32, Message)> {
        for outcome in outcomes {
            let mut in_flight = self.in_flight.iter_mut();
            if let Some(it) = in_flight.find(|it| it.ticket == Some(outcome.ticket)) {
                it.result = Some(outcome.result);
            }
        }
        while let Some(first) = self.in_flight.front() {
            let result = match (first.ticket, first.result) {
                (Some(_), None) => break,
                (Some(_), Some(Ok(()))) => Ok(first.offset),
                (Some(_), Some(Err(error))) => {
                    self.is_in_doubt = true;
                    Err(denied(error))
                }
                (None, _) if self.is_in_doubt => Err(Denied::NotActive),
                (None, _) => Ok(first.offset),
            };
            if let Some(it) = self.in_flight.pop_front() {
                self.answer(it.done, result, ctx);
            }
        }
        if self.is_in_doubt && self.in_flight.is_empty() {
            self.pending = committed.clone();
            self.stops.clear();
            self.is_in_doubt = false;
            return std::mem::take(&mut self.waiting);
        }
        VecDeque::new()
    }

    /// Leadership is lost: what is under way has an unknown outcome.
    pub(crate) fn resign(mut self, outcomes: &[Outcome], committed: &Image, ctx: &mut Context<'_>) {
        let rest = self.settle(outcomes, committed, ctx);
        for it in std::mem::take(&mut self.in_flight) {
            let error = if it.ticket.is_some() {
                Denied::UnknownOutcome
            } else {
                Denied::NotActive
            };
            self.answer(it.done, Err(error), ctx);
        }
        for (from, message) in rest.into_iter().chain(self.waiting) {
            refuse(from, &message, ctx);
        }
    }

    fn answer(&mut self, done: Done, result: Result<i64, Denied>, ctx: &mut Context<'_>) {
        match done {
            Done::Nothing => {}
            Done::Registered {
                to,
                call,
                result: decided,
            } => {
                let result = result.and_then(|offset| {
                    let epoch = decided.map_err(Denied::Refused)?;
                    Ok((epoch, offset))
                });
                ctx.send(to, Message::Registered { call, result });
            }
            Done::Altered { to, call, results } => {
                let result = result.and_then(|_| results.map_err(Denied::Refused));
                ctx.send(to, Message::PartitionsAltered { call, result });
            }
            Done::HandedOver { node_id, number } => {
                let handover = self.handovers.get_mut(&node_id);
                if let (Some(it), Ok(offset)) = (handover, result)
                    && it.number == number
                {
                    it.committed = Some((offset, ctx.now_ms));
                }
            }
        }
    }
}

/// This controller is not active.
pub(crate) fn refuse(to: i32, message: &Message, ctx: &mut Context<'_>) {
    let denied = Denied::NotActive;
    match message {
        Message::Register { call, .. } => {
            let (call, result) = (*call, Err(denied));
            ctx.send(to, Message::Registered { call, result });
        }
        Message::AlterPartitions { call, .. } => {
            let (call, result) = (*call, Err(denied));
            ctx.send(to, Message::PartitionsAltered { call, result });
        }
        _ => {}
    }
}

pub(crate) fn topic_id() -> Uuid {
    Uuid::from_u128(7)
}

fn taken<A>(decided: Decided<A>) -> (Vec<Record>, Result<A, ErrorCode>) {
    match decided {
        Ok(Decision { records, answer }) => (records, Ok(answer)),
        Err(refusal) => (Vec::new(), Err(refusal.code)),
    }
}

fn denied(error: NotCommitted) -> Denied {
    match error {
        NotCommitted::NotLeader => Denied::NotActive,
        NotCommitted::Unknown => Denied::UnknownOutcome,
    }
}

fn alive(image: &Image) -> impl Iterator<Item = (i32, i64)> {
    image
        .alive_brokers()
        .map(|broker| (broker.node_id, broker.epoch))
}
