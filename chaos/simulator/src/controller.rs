//! A controller: a member of the quorum, and the active controller while it leads.

mod active;
mod replica;
mod store;

use std::collections::BTreeMap;

use crate::context::{Context, Timer};
use crate::message::{Denied, Frame, Message};
pub(crate) use active::topic_id;
use active::{Active, Around, LOOK_MS, refuse};
use replica::{Input, TICK_MS, raft_id};
pub(crate) use replica::{Replica, is_snapshot, node_id};
pub(crate) use store::Store;

/// Batches in one go to an observer.
const FRAMES_MAX: usize = 16;

/// A running process.
#[derive(Debug)]
pub(crate) struct Controller {
    pub(crate) replica: Replica,
    active: Option<Active>,
    /// By stream: the observer, and the offset that it was sent.
    observers: BTreeMap<u64, (i32, i64)>,
    /// Lease streams, by node.
    lease_streams: BTreeMap<u64, i32>,
}

/// An empty disk of a founder.
pub(crate) fn founding_store() -> Store {
    Store::founded(replica::voters())
}

impl Controller {
    pub(crate) fn start(store: Store, ctx: &mut Context<'_>) -> Self {
        let first_tick_ms = ctx.chance.between(1, TICK_MS);
        ctx.remind(first_tick_ms, Timer::RaftTick);
        Self {
            replica: Replica::new(ctx.me, store, ctx),
            active: None,
            observers: BTreeMap::new(),
            lease_streams: BTreeMap::new(),
        }
    }

    pub(crate) fn into_store(self, keeps_frame: bool) -> Store {
        self.replica.into_store(keeps_frame)
    }

    /// Streams that somebody has with it.
    pub(crate) fn streams(&self) -> Vec<(i32, Message)> {
        let watches = self.observers.iter().map(|(stream, (node_id, _))| {
            let stream = *stream;
            (*node_id, Message::WatchClosed { stream })
        });
        let leases = self.lease_streams.iter().map(|(stream, node_id)| {
            let (stream, result) = (*stream, Err(Denied::NotActive));
            (*node_id, Message::BeatAnswer { stream, result })
        });
        watches.chain(leases).collect()
    }

    pub(crate) fn remember(&mut self, timer: Timer, ctx: &mut Context<'_>) {
        match timer {
            Timer::RaftTick => {
                ctx.remind(TICK_MS, Timer::RaftTick);
                self.replica.tick(ctx);
            }
            Timer::Stand => self.replica.stand(ctx),
            Timer::QuorumFlushed => self.replica.flushed(ctx),
            Timer::SnapshotWritten => self.replica.snapshot_written(),
            Timer::Look { term } => {
                if let Some(active) = self.active.as_mut().filter(|it| it.term == term) {
                    active.look(ctx);
                    ctx.remind(LOOK_MS, timer);
                }
            }
            _ => {}
        }
        self.settle(ctx);
    }

    pub(crate) fn snapshot_sent(&mut self, to: u64, arrived: bool, ctx: &mut Context<'_>) {
        self.replica.take(Input::SnapshotSent { to, arrived }, ctx);
        self.settle(ctx);
    }

    pub(crate) fn hear(&mut self, from: i32, message: Message, ctx: &mut Context<'_>) {
        match message {
            Message::Raft(message) => self.replica.take(Input::Message(message), ctx),
            Message::ProcessEnded => self.replica.take(Input::Ended(raft_id(from)), ctx),
            Message::Beat(beat) => {
                let stream = beat.stream;
                self.lease_streams.insert(stream, from);
                let result = self
                    .active_around(|active, around| active.beat(from, &beat, around, ctx.now_ms));
                let result = result.unwrap_or(Err(Denied::NotActive));
                ctx.send(from, Message::BeatAnswer { stream, result });
            }
            Message::BeatsClosed { stream } => {
                self.lease_streams.remove(&stream);
                let is_observing = self.is_observing(from);
                if let Some(active) = &mut self.active {
                    active.leases.closed(from, stream, is_observing, ctx.now());
                    active.stopped_hearing(from);
                    active.look(ctx);
                }
            }
            Message::Watch {
                stream,
                from_offset,
            } => self.watch(from, stream, from_offset, ctx),
            Message::WatchClosed { stream } => {
                self.observers.remove(&stream);
                if !self.is_observing(from)
                    && let Some(active) = &mut self.active
                {
                    active.leases.stopped_observing(from, ctx.now());
                    active.look(ctx);
                }
            }
            call => self.call(from, call, ctx),
        }
        self.settle(ctx);
    }

    fn call(&mut self, from: i32, call: Message, ctx: &mut Context<'_>) {
        let copy = call.clone();
        let taken = self.active_around(|active, around| active.call(from, call, around));
        if taken != Some(true) {
            refuse(from, &copy, ctx);
        }
    }

    fn is_observing(&self, node_id: i32) -> bool {
        self.observers.values().any(|(node, _)| *node == node_id)
    }

    fn active_around<A>(&mut self, act: impl FnOnce(&mut Active, &Around<'_>) -> A) -> Option<A> {
        let Self {
            replica,
            active,
            observers,
            ..
        } = self;
        let observing = |node_id: i32| observers.values().any(|(node, _)| *node == node_id);
        let around = Around {
            committed: &replica.image,
            observing: &observing,
        };
        active.as_mut().map(|active| act(active, &around))
    }

    fn watch(&mut self, from: i32, stream: u64, from_offset: i64, ctx: &mut Context<'_>) {
        let newest = self.replica.image.offset();
        if self.active.is_none() || from_offset > newest {
            ctx.send(from, Message::WatchClosed { stream });
            return;
        }
        let at = if from_offset >= 0 && self.batches_after(from_offset).is_some() {
            from_offset
        } else {
            let frame = Frame::Snapshot(Box::new(self.replica.image.clone()));
            ctx.send(from, Message::Metadata { stream, frame });
            newest
        };
        self.observers.insert(stream, (from, at));
        self.feed(ctx);
    }

    /// `None`: the first of them is not kept any more.
    fn batches_after(&self, offset: i64) -> Option<usize> {
        let replica = &self.replica;
        let missing = usize::try_from(replica.image.offset() - offset).ok()?;
        replica.history.len().checked_sub(missing)
    }

    /// Sends what observers do not have yet.
    fn feed(&mut self, ctx: &mut Context<'_>) {
        let streams: Vec<(u64, (i32, i64))> =
            self.observers.iter().map(|(id, it)| (*id, *it)).collect();
        for (stream, (node_id, at)) in streams {
            let Some(first) = self.batches_after(at) else {
                self.observers.remove(&stream);
                ctx.send(node_id, Message::WatchClosed { stream });
                continue;
            };
            let batches = self.replica.history.iter().skip(first).take(FRAMES_MAX);
            let mut reached = at;
            for batch in batches {
                reached = batch.offset();
                let frame = Frame::Batch(batch.clone());
                ctx.send(node_id, Message::Metadata { stream, frame });
            }
            self.observers.insert(stream, (node_id, reached));
        }
    }

    /// What the quorum did becomes known to all who wait for it.
    fn settle(&mut self, ctx: &mut Context<'_>) {
        loop {
            let outcomes = std::mem::take(&mut self.replica.outcomes);
            let term = self.replica.led_term();
            let mut again = std::collections::VecDeque::new();
            match (self.active.take(), term) {
                (Some(mut active), Some(term)) if active.term == term => {
                    again = active.settle(&outcomes, &self.replica.image, ctx);
                    self.active = Some(active);
                }
                (active, term) => {
                    if let Some(active) = active {
                        active.resign(&outcomes, &self.replica.image, ctx);
                        self.dismiss(ctx);
                    }
                    if let Some(term) = term {
                        ctx.note(|| format!("became the active controller in term {term}"));
                        self.active = Some(Active::new(term, &self.replica.image, ctx.now_ms));
                        ctx.remind(1, Timer::Look { term });
                    }
                }
            }
            for (from, message) in again {
                self.call(from, message, ctx);
            }
            let proposals = self
                .active
                .as_mut()
                .map(|active| std::mem::take(&mut active.proposals))
                .unwrap_or_default();
            if proposals.is_empty() && self.replica.outcomes.is_empty() {
                break;
            }
            for proposal in proposals {
                self.replica.take(proposal, ctx);
            }
        }
        self.feed(ctx);
    }

    /// Streams are of the active controller only.
    fn dismiss(&mut self, ctx: &mut Context<'_>) {
        for (to, message) in self.streams() {
            ctx.send(to, message);
        }
        self.observers.clear();
        self.lease_streams.clear();
    }
}
