//! Machines: processes that start, end and stand still, and the disks that stay.

use std::collections::BTreeSet;

use uuid::Uuid;

use super::{Event, World, context};
use crate::broker::{Broker, Disk, Log, Role};
use crate::controller::{Controller, Store};
use crate::message::Message;
use crate::scenario::CLIENTS;

/// How a process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Death {
    /// The kernel closes its connections and keeps its pages.
    Killed,
    /// Nobody is told, and what was not flushed may be gone.
    PowerLost,
}

#[derive(Debug)]
pub(super) struct ControllerNode {
    pub(super) process: Option<Controller>,
    pub(super) store: Option<Store>,
    life: u32,
    is_silent: bool,
    paused_until_ms: i64,
}

#[derive(Debug)]
pub(crate) struct BrokerNode {
    pub(super) process: Option<Broker>,
    disk: Option<Disk>,
    /// Of the kernel.
    boot: u64,
    life: u32,
    is_silent: bool,
    paused_until_ms: i64,
    /// An older state of the disk.
    pub(super) backup: Option<Disk>,
    loss: Option<Loss>,
}

/// What the disk held may be gone.
#[derive(Debug)]
struct Loss {
    /// And not only in the eyes of the controllers.
    really: bool,
    /// Processes that began on the disk as it is now: when one of them is registered, the controllers know.
    incarnations: BTreeSet<Uuid>,
}

impl ControllerNode {
    pub(super) fn new(store: Store) -> Self {
        Self {
            process: None,
            store: Some(store),
            life: 0,
            is_silent: false,
            paused_until_ms: 0,
        }
    }

    pub(super) fn image_offset(&self) -> Option<i64> {
        let process = self.process.as_ref()?;
        Some(process.replica.image.offset())
    }
}

impl BrokerNode {
    pub(super) fn new(directory: Uuid) -> Self {
        Self {
            process: None,
            disk: Some(Disk::empty(directory)),
            boot: 1,
            life: 0,
            is_silent: false,
            paused_until_ms: 0,
            backup: None,
            loss: None,
        }
    }

    fn disk(&self) -> Option<&Disk> {
        let running = self.process.as_ref().map(|process| &process.disk);
        running.or(self.disk.as_ref())
    }

    pub(crate) fn log(&self, partition: i32) -> Option<&Log> {
        self.disk()?.logs.get(&partition)
    }

    pub(crate) fn role(&self, partition: i32) -> Option<&Role> {
        self.process.as_ref()?.roles.get(&partition)
    }

    /// Whether it may have lost something that the controllers do not know of, and whether it really did.
    pub(crate) fn loss(&self) -> Option<bool> {
        self.loss.as_ref().map(|loss| loss.really)
    }

    pub(crate) fn life(&self) -> u32 {
        self.life
    }

    pub(super) fn is_running(&self) -> bool {
        self.process.is_some()
    }

    pub(super) fn lose(&mut self, really: bool) {
        let before = self.loss.as_ref().is_some_and(|loss| loss.really);
        self.loss = Some(Loss {
            really: really || before,
            incarnations: BTreeSet::new(),
        });
    }

    /// The controllers have registered this incarnation.
    pub(crate) fn registered(&mut self, incarnation: Uuid) {
        self.loss
            .take_if(|loss| loss.incarnations.contains(&incarnation));
    }
}

impl World {
    pub(super) fn life(&self, id: i32) -> u32 {
        if id == CLIENTS {
            return 0;
        }
        let broker = self.brokers.get(&id).map(|node| node.life);
        let controller = self.controllers.get(&id).map(|node| node.life);
        broker.or(controller).unwrap_or_default()
    }

    pub(super) fn is_running(&self, id: i32) -> bool {
        let broker = self.brokers.get(&id).is_some_and(BrokerNode::is_running);
        let controller = self.controllers.get(&id);
        id == CLIENTS || broker || controller.is_some_and(|node| node.process.is_some())
    }

    pub(super) fn is_silent(&self, id: i32) -> bool {
        let broker = self.brokers.get(&id).is_some_and(|node| node.is_silent);
        let controller = self.controllers.get(&id);
        broker || controller.is_some_and(|node| node.is_silent)
    }

    pub(super) fn paused_until(&self, id: i32) -> Option<i64> {
        let broker = self.brokers.get(&id).map(|node| node.paused_until_ms);
        broker.or_else(|| self.controllers.get(&id).map(|node| node.paused_until_ms))
    }

    pub(super) fn pause(&mut self, id: i32, until_ms: i64) {
        if let Some(node) = self.brokers.get_mut(&id) {
            node.paused_until_ms = until_ms;
        }
        if let Some(node) = self.controllers.get_mut(&id) {
            node.paused_until_ms = until_ms;
        }
    }

    pub(super) fn start_controller(&mut self, id: i32) {
        let mut out = self.outbox();
        let Some(node) = self.controllers.get_mut(&id) else {
            return;
        };
        let Some(store) = node.store.take() else {
            return;
        };
        node.life += 1;
        node.is_silent = false;
        node.paused_until_ms = 0;
        let mut ctx = context(&self.scenario, &mut self.chance, &mut out, self.now_ms, id);
        ctx.note(|| "starts".to_owned());
        node.process = Some(Controller::start(store, &mut ctx));
        // What a starting controller applies again is compared when it next takes an event.
        self.started
            .push((id, std::mem::take(&mut out.observations)));
        self.drain(id, out);
    }

    pub(super) fn end_controller(&mut self, id: i32, death: Death) {
        let Some(node) = self.controllers.get_mut(&id) else {
            return;
        };
        let Some(process) = node.process.take() else {
            return;
        };
        let mut streams = process.streams();
        let peers = self.scenario.controller_ids().filter(|peer| *peer != id);
        streams.extend(peers.map(|peer| (peer, Message::ProcessEnded)));
        node.store = Some(process.into_store(self.chance.permille(500)));
        node.life += 1;
        node.is_silent = death == Death::PowerLost;
        self.trace.note(id, &format!("ends: {death:?}"));
        self.hang_up(id, streams, death);
    }

    pub(super) fn start_broker(&mut self, id: i32) {
        let mut out = self.outbox();
        let Some(node) = self.brokers.get_mut(&id) else {
            return;
        };
        let Some(disk) = node.disk.take() else {
            return;
        };
        node.life += 1;
        node.is_silent = false;
        node.paused_until_ms = 0;
        let mut ctx = context(&self.scenario, &mut self.chance, &mut out, self.now_ms, id);
        ctx.note(|| "starts".to_owned());
        let process = Broker::start(disk, node.boot, &mut ctx);
        if let Some(loss) = &mut node.loss {
            loss.incarnations.insert(process.incarnation());
        }
        node.process = Some(process);
        self.drain(id, out);
    }

    pub(super) fn end_broker(&mut self, id: i32, death: Death) {
        let Some(node) = self.brokers.get_mut(&id) else {
            return;
        };
        let mut streams = Vec::new();
        if let Some(process) = node.process.take() {
            streams = process.streams();
            let mut disk = process.into_disk();
            for log in disk.logs.values_mut() {
                log.process_ended();
            }
            node.disk = Some(disk);
            node.life += 1;
        }
        node.is_silent = death == Death::PowerLost;
        if death == Death::PowerLost {
            node.boot += 1;
            let mut lost = 0;
            for log in node.disk.iter_mut().flat_map(|disk| disk.logs.values_mut()) {
                lost += usize::from(log.power_lost(&mut self.chance));
            }
            // Where all is flushed before it is acknowledged, nothing that counts is lost.
            node.lose(!self.scenario.flushes_each);
            self.counts.losses += lost.min(1);
        }
        self.trace.note(id, &format!("ends: {death:?}"));
        self.hang_up(id, streams, death);
    }

    /// A stop in good order is done.
    pub(super) fn broker_stopped(&mut self, id: i32) {
        let Some(node) = self.brokers.get_mut(&id) else {
            return;
        };
        if let Some(process) = &mut node.process {
            process.close();
        }
        self.end_broker(id, Death::Killed);
        let away_ms = self.chance.between(50, 3_000);
        let over = super::Fault::Down { id };
        self.queue.put(self.now_ms + away_ms, Event::Over(over));
    }

    /// The disk is another one: an empty one, or an older state of it.
    pub(super) fn replace_disk(&mut self, id: i32, disk: Disk) {
        if let Some(node) = self.brokers.get_mut(&id)
            && node.process.is_none()
        {
            node.disk = Some(disk);
            node.lose(true);
            self.counts.losses += 1;
        }
    }

    pub(super) fn back_up(&mut self, id: i32) {
        if let Some(node) = self.brokers.get_mut(&id) {
            let mut copy = node.disk().cloned();
            if let Some(disk) = &mut copy {
                // A copy is another mount: no kernel vouches for it.
                disk.boot = 0;
                for log in disk.logs.values_mut() {
                    log.process_ended();
                }
            }
            node.backup = copy;
        }
    }

    /// The kernel of a process that ended closes its connections.
    fn hang_up(&mut self, id: i32, streams: Vec<(i32, Message)>, death: Death) {
        if death == Death::Killed {
            for (to, message) in streams {
                self.send(id, to, message);
            }
        }
    }
}
