//! Nodes, network, clock: takes one event after the other, and lets the checks look after each.

mod faults;
mod nodes;

use std::collections::BTreeMap;

use crate::broker::Broker;
use crate::chance::Chance;
use crate::checks::{Checks, Wrong};
use crate::clients::Clients;
use crate::context::{Context, Observation, Outbox, Timer};
use crate::controller::{Controller, founding_store, is_snapshot, node_id};
use crate::message::Message;
use crate::mutation::Mutation;
use crate::network::Network;
use crate::queue::Queue;
use crate::scenario::{CLIENTS, Scenario};
use crate::trace::Trace;
use faults::Fault;
pub(crate) use nodes::BrokerNode;
use nodes::ControllerNode;

/// So long after the faults, clients send nothing new.
const CLIENTS_END_AFTER_MS: i64 = 3_000;
/// So long after the faults, an administrator elects where too much was lost for anybody to be elected.
const HELP_AFTER_MS: i64 = 10_000;
/// So long after the faults, everything has to be as if there had been none.
const WHOLE_AFTER_MS: i64 = 40_000;
const LOOK_WHOLE_MS: i64 = 500;
/// More events than that in one schedule: something does not come to an end.
const EVENTS_MAX: usize = 400_000;

#[derive(Debug)]
enum What {
    Timer(Timer),
    Message {
        from: i32,
        message: Message,
    },
    /// A snapshot of Raft arrived at its target, or did not.
    SnapshotSent {
        to: u64,
        arrived: bool,
    },
}

#[derive(Debug)]
enum Event {
    /// Of a node, in one life of it.
    Node {
        to: i32,
        life: u32,
        what: What,
    },
    /// Something goes wrong.
    NextFault,
    /// Of a fault that began before: these controllers end now, too.
    EndControllers {
        ids: Vec<i32>,
    },
    /// Something is put right.
    Over(Fault),
    ClientsEnd,
    LookWhole,
}

pub(crate) struct World {
    now_ms: i64,
    queue: Queue<Event>,
    chance: Chance,
    scenario: Scenario,
    network: Network,
    controllers: BTreeMap<i32, ControllerNode>,
    brokers: BTreeMap<i32, BrokerNode>,
    clients: Clients,
    checks: Checks,
    pub(crate) trace: Trace,
    pub(crate) counts: WorldCounts,
    /// What controllers saw when they started.
    started: Vec<(i32, Vec<Observation>)>,
    is_over: bool,
}

#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct WorldCounts {
    /// All, ticks and heartbeats of Raft among them.
    pub(crate) events: usize,
    /// Without ticks and heartbeats of Raft.
    pub(crate) steps: usize,
    pub(crate) faults: usize,
    pub(crate) losses: usize,
}

impl World {
    pub(crate) fn new(seed: u64, mutation: Option<Mutation>, trace: Trace) -> Self {
        let mut chance = Chance::new(seed);
        let scenario = Scenario::of(&mut chance, mutation);
        let mut world = Self {
            now_ms: 0,
            queue: Queue::new(),
            network: Network::default(),
            controllers: BTreeMap::new(),
            brokers: BTreeMap::new(),
            clients: Clients::default(),
            checks: Checks::default(),
            trace,
            counts: WorldCounts::default(),
            started: Vec::new(),
            is_over: false,
            chance,
            scenario,
        };
        world.trace.line(|| format!("{:?}", world.scenario));
        world.begin();
        world
    }

    fn begin(&mut self) {
        for id in self.scenario.controller_ids() {
            self.controllers
                .insert(id, ControllerNode::new(founding_store()));
            self.start_controller(id);
        }
        for id in self.scenario.broker_ids() {
            let directory = self.chance.id();
            self.brokers.insert(id, BrokerNode::new(directory));
            self.start_broker(id);
        }
        self.with_clients(|clients, ctx| *clients = Clients::start(ctx));
        self.queue.put(3_000, Event::NextFault);
        let end_ms = self.scenario.faults_end_ms;
        self.queue
            .put(end_ms + CLIENTS_END_AFTER_MS, Event::ClientsEnd);
        self.queue
            .put(end_ms + CLIENTS_END_AFTER_MS, Event::LookWhole);
    }

    /// Takes the next event. False: the schedule is over.
    pub(crate) fn step(&mut self) -> Result<bool, Wrong> {
        let Some((at_ms, event)) = self.queue.pop() else {
            return Err("nothing happens any more".to_owned());
        };
        self.now_ms = at_ms;
        self.trace.now(at_ms);
        self.counts.events += 1;
        if self.counts.events > EVENTS_MAX {
            return Err(format!("{EVENTS_MAX} events, and no end"));
        }
        match event {
            Event::Node { to, life, what } => self.happen(to, life, what)?,
            Event::NextFault => self.next_fault(),
            Event::EndControllers { ids } => self.end_voters(&ids),
            Event::Over(fault) => self.fault_over(fault),
            Event::ClientsEnd => self.clients.end(),
            Event::LookWhole => self.look_whole()?,
        }
        for (id, observations) in std::mem::take(&mut self.started) {
            for observation in observations {
                self.checks.observe(id, observation, &self.brokers)?;
            }
        }
        self.checks.look_at_partitions(&self.brokers)?;
        Ok(!self.is_over)
    }

    fn look_whole(&mut self) -> Result<(), Wrong> {
        let whole = self.is_whole();
        let last_ms = self.scenario.faults_end_ms + WHOLE_AFTER_MS;
        match whole {
            Ok(()) => self.is_over = true,
            Err(wrong) if self.now_ms > last_ms => {
                return Err(format!("{WHOLE_AFTER_MS} ms after the last fault: {wrong}"));
            }
            Err(_) => {
                if self.now_ms > self.scenario.faults_end_ms + HELP_AFTER_MS
                    && self.checks.needs_help()
                {
                    let to = self.active_controller();
                    self.send(CLIENTS, to, Message::ElectUnclean);
                }
                self.queue
                    .put(self.now_ms + LOOK_WHOLE_MS, Event::LookWhole);
            }
        }
        Ok(())
    }

    fn is_whole(&self) -> Result<(), Wrong> {
        if !self.clients.are_done() {
            return Err("a producer waits for an answer".to_owned());
        }
        self.checks.is_whole(&self.brokers)?;
        let offset = self.checks.newest.offset();
        let applied = |node: &ControllerNode| node.image_offset() == Some(offset);
        if !self.controllers.values().all(applied) {
            return Err(format!("not every controller has applied {offset}"));
        }
        Ok(())
    }

    fn happen(&mut self, to: i32, life: u32, what: What) -> Result<(), Wrong> {
        if let Some(until_ms) = self.paused_until(to)
            && until_ms > self.now_ms
        {
            self.queue.put(until_ms, Event::Node { to, life, what });
            return Ok(());
        }
        let is_idle = match &what {
            What::Timer(timer) => *timer == Timer::RaftTick,
            What::Message { message, .. } => message.is_raft_heartbeat(),
            What::SnapshotSent { .. } => false,
        };
        self.counts.steps += usize::from(!is_idle);
        if !is_idle {
            self.trace
                .event(to, life, &format_what(&what, self.trace.is_on()));
        }
        if let What::Message { from, message } = &what
            && (!self.is_running(to)
                || (life != self.life(to) && !matches!(message, Message::Raft(_))))
        {
            self.nobody_listens(*from, to, message);
            return Ok(());
        }
        if matches!(what, What::Timer(_)) && life != self.life(to) {
            return Ok(());
        }
        if to == CLIENTS {
            self.clients_take(what);
            Ok(())
        } else if self.controllers.contains_key(&to) {
            self.controller_takes(to, what)
        } else {
            self.broker_takes(to, what)
        }
    }

    fn clients_take(&mut self, what: What) {
        self.with_clients(|clients, ctx| match what {
            What::Timer(timer) => clients.remember(timer, ctx),
            What::Message { message, .. } => clients.hear(message, ctx),
            What::SnapshotSent { .. } => {}
        });
    }

    fn with_clients(&mut self, act: impl FnOnce(&mut Clients, &mut Context<'_>)) {
        let mut out = self.outbox();
        let mut ctx = context(
            &self.scenario,
            &mut self.chance,
            &mut out,
            self.now_ms,
            CLIENTS,
        );
        act(&mut self.clients, &mut ctx);
        self.drain(CLIENTS, out);
    }

    fn with_broker(&mut self, id: i32, act: impl FnOnce(&mut Broker, &mut Context<'_>)) {
        let mut out = self.outbox();
        let mut ctx = context(&self.scenario, &mut self.chance, &mut out, self.now_ms, id);
        if let Some(process) = self
            .brokers
            .get_mut(&id)
            .and_then(|node| node.process.as_mut())
        {
            act(process, &mut ctx);
        }
        self.drain(id, out);
    }

    fn controller_takes(&mut self, id: i32, what: What) -> Result<(), Wrong> {
        let mut out = self.outbox();
        let mut ctx = context(&self.scenario, &mut self.chance, &mut out, self.now_ms, id);
        let Some(controller) = self
            .controllers
            .get_mut(&id)
            .and_then(|node| node.process.as_mut())
        else {
            return Ok(());
        };
        match what {
            What::Timer(timer) => controller.remember(timer, &mut ctx),
            What::Message { from, message } => controller.hear(from, message, &mut ctx),
            What::SnapshotSent { to, arrived } => controller.snapshot_sent(to, arrived, &mut ctx),
        }
        let controller: &Controller = controller;
        if self.checks.look_at_controller(controller)? {
            let image = &self.checks.newest;
            for (id, node) in &mut self.brokers {
                if let Some(broker) = image.broker(*id) {
                    node.registered(broker.incarnation);
                }
            }
        }
        self.finish(id, out)
    }

    fn broker_takes(&mut self, id: i32, what: What) -> Result<(), Wrong> {
        let mut out = self.outbox();
        let mut ctx = context(&self.scenario, &mut self.chance, &mut out, self.now_ms, id);
        let Some(broker) = self
            .brokers
            .get_mut(&id)
            .and_then(|node| node.process.as_mut())
        else {
            return Ok(());
        };
        match what {
            What::Timer(timer) => broker.remember(timer, &mut ctx),
            What::Message { from, message } => broker.hear(from, message, &mut ctx),
            What::SnapshotSent { .. } => {}
        }
        let has_stopped = broker.has_stopped;
        self.finish(id, out)?;
        if has_stopped {
            self.broker_stopped(id);
        }
        Ok(())
    }

    /// The checks hear what was observed before anybody else does anything.
    fn finish(&mut self, id: i32, mut out: Outbox) -> Result<(), Wrong> {
        let observations = std::mem::take(&mut out.observations);
        self.drain(id, out);
        if observations.is_empty() {
            return Ok(());
        }
        self.checks.look_at_partitions(&self.brokers)?;
        for observation in observations {
            self.checks.observe(id, observation, &self.brokers)?;
        }
        Ok(())
    }

    fn outbox(&self) -> Outbox {
        Outbox {
            notes: self.trace.is_on().then(Vec::new),
            ..Outbox::default()
        }
    }

    /// What a node left to be done goes on its way.
    fn drain(&mut self, from: i32, out: Outbox) {
        for note in out.notes.into_iter().flatten() {
            self.trace.note(from, &note);
        }
        let life = self.life(from);
        for (after_ms, timer) in out.timers {
            let event = Event::Node {
                to: from,
                life,
                what: What::Timer(timer),
            };
            self.queue.put(self.now_ms + after_ms.max(1), event);
        }
        for (to, message) in out.messages {
            self.send(from, to, message);
        }
    }

    fn send(&mut self, from: i32, to: i32, message: Message) {
        let arrivals = self.network.arrivals(
            (from, to),
            &message,
            &self.scenario,
            &mut self.chance,
            self.now_ms,
        );
        if let Message::Raft(raft) = &message
            && is_snapshot(raft)
        {
            let (arrived, target) = (!arrivals.is_empty(), raft.to);
            let event = Event::Node {
                to: node_id(raft.from),
                life: self.life(from),
                what: What::SnapshotSent {
                    to: target,
                    arrived,
                },
            };
            self.queue.put(self.now_ms + 10, event);
        }
        let life = self.life(to);
        let mut arrivals = arrivals.into_iter();
        let Some(first_ms) = arrivals.next() else {
            return;
        };
        for again_ms in arrivals {
            let message = message.clone();
            let what = What::Message { from, message };
            self.queue.put(again_ms, Event::Node { to, life, what });
        }
        let what = What::Message { from, message };
        self.queue.put(first_ms, Event::Node { to, life, what });
    }

    /// The machine lives, the process does not, or is another one.
    fn nobody_listens(&mut self, from: i32, to: i32, message: &Message) {
        if self.is_silent(to) {
            return;
        }
        if let Some(what) = message.unanswered() {
            self.send(to, from, Message::Refused { what });
        }
    }

    /// Of all events, and of all chance that was taken.
    pub(crate) fn digest(&mut self) -> u64 {
        self.trace.mix(self.chance.number());
        self.trace.digest()
    }

    pub(crate) fn checks(&self) -> &Checks {
        &self.checks
    }
}

impl std::fmt::Debug for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("World")
            .field("now_ms", &self.now_ms)
            .finish_non_exhaustive()
    }
}

fn context<'a>(
    scenario: &'a Scenario,
    chance: &'a mut Chance,
    out: &'a mut Outbox,
    now_ms: i64,
    me: i32,
) -> Context<'a> {
    Context {
        now_ms,
        me,
        scenario,
        chance,
        out,
    }
}

/// In full only where somebody reads it.
fn format_what(what: &What, is_read: bool) -> String {
    if !is_read {
        return String::new();
    }
    match what {
        What::Message { from, message } => {
            let mut text = format!("{message:?}");
            if let Some((end, _)) = text.char_indices().nth(400) {
                text.truncate(end);
            }
            format!("from {from}: {text}")
        }
        What::Timer(timer) => format!("{timer:?}"),
        What::SnapshotSent { to, arrived } => format!("snapshot for {to}, arrived: {arrived}"),
    }
}
