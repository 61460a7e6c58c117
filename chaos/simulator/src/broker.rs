//! A broker's process: membership, metadata, partitions. It is wired as `foz-server` wires the same parts.

mod disk;
mod following;
mod isr_changes;
mod leading;
mod log;
mod membership;
mod metadata;
mod serving;

use std::collections::BTreeMap;

use foz_metadata::Image;
use foz_metadata::image::Partition as Assigned;
use foz_replication::{IsrProposal, Leader};
use uuid::Uuid;

use crate::context::{Context, Timer};
use crate::message::{Message, Unanswered};
use crate::mutation::Mutation;
pub(crate) use disk::Disk;
use following::Fetcher;
use isr_changes::Carrying;
use leading::Parked;
pub(crate) use log::{Log, Record};
use membership::Membership;
use metadata::Watch;
use serving::Produced;

/// How long a follower that has not caught up may stay in the ISR.
pub(crate) const LAG_TIME_MAX_MS: i64 = 4_000;
const TICK_MS: i64 = 500;

/// What it does in a partition.
#[derive(Debug)]
pub(crate) enum Role {
    Idle,
    Leads(Box<Leader>),
    Follows { leader: i32, epoch: i32 },
}

#[derive(Debug)]
pub(crate) struct Broker {
    node_id: i32,
    boot: u64,
    incarnation: Uuid,
    log_intact: bool,
    pub(crate) disk: Disk,
    pub(crate) image: Image,
    /// Of its registration; -1: none yet.
    pub(crate) epoch: i64,
    membership: Membership,
    watch: Watch,
    /// Its registration is in the image: what that says of partitions is for this process.
    has_roles: bool,
    assigned: BTreeMap<i32, Assigned>,
    pub(crate) roles: BTreeMap<i32, Role>,
    fetchers: BTreeMap<i32, Fetcher>,
    parked: Vec<Parked>,
    produced: Vec<Produced>,
    proposals: Vec<(i32, IsrProposal)>,
    carrying: Option<Carrying>,
    /// Flushes under way, and how far they go.
    flushing: BTreeMap<i32, i64>,
    /// Something moved that others wait for.
    has_moved: bool,
    /// It may end: its logs are to be closed in good order.
    pub(crate) has_stopped: bool,
}

impl Broker {
    pub(crate) fn start(mut disk: Disk, boot: u64, ctx: &mut Context<'_>) -> Self {
        let log_intact = ctx.has(Mutation::LostDiskCounts) || disk.open(boot);
        if ctx.has(Mutation::ProducerStateLost) {
            for log in disk.logs.values_mut() {
                log.forget_producers();
            }
        }
        let mut broker = Self {
            node_id: ctx.me,
            boot,
            incarnation: ctx.chance.id(),
            log_intact,
            disk,
            image: Image::default(),
            epoch: -1,
            membership: Membership::default(),
            watch: Watch::default(),
            has_roles: ctx.has(Mutation::LeadsBeforeRegistration),
            assigned: BTreeMap::new(),
            roles: BTreeMap::new(),
            fetchers: BTreeMap::new(),
            parked: Vec::new(),
            produced: Vec::new(),
            proposals: Vec::new(),
            carrying: None,
            flushing: BTreeMap::new(),
            has_moved: false,
            has_stopped: false,
        };
        broker.open_watch(ctx);
        broker.register(ctx);
        ctx.remind(TICK_MS, Timer::Tick);
        broker
    }

    pub(crate) fn hear(&mut self, from: i32, message: Message, ctx: &mut Context<'_>) {
        match message {
            Message::Registered { call, result } => self.registered(call, result, ctx),
            Message::BeatAnswer { stream, result } => self.beat_answered(stream, result, ctx),
            Message::Metadata { stream, frame } => self.take_frame(stream, frame, ctx),
            Message::WatchClosed { stream } => self.watch_broke(stream, ctx),
            Message::PartitionsAltered { call, result } => self.altered(call, result, ctx),
            Message::Fetch(fetch) => self.fetch_asked(from, fetch, ctx),
            Message::Fetched {
                correlation,
                partitions,
            } => self.fetched(from, correlation, &partitions, ctx),
            Message::Produce {
                call,
                partition,
                producer,
                sequence,
            } => {
                let produce = serving::Produce {
                    from,
                    call,
                    partition,
                    producer,
                    sequence,
                };
                self.produce(&produce, ctx);
            }
            Message::Consume {
                call,
                partition,
                offset,
            } => self.consume(from, call, partition, offset, ctx),
            Message::Describe => self.describe(from, ctx),
            Message::Refused { what } => self.refused(from, what, ctx),
            _ => {}
        }
        self.wake(ctx);
    }

    fn refused(&mut self, from: i32, what: Unanswered, ctx: &mut Context<'_>) {
        match what {
            Unanswered::Fetch(correlation) => self.fetch_over(from, correlation, ctx),
            Unanswered::Call(call) => self.call_failed(call, ctx),
            Unanswered::Stream(stream) => {
                self.watch_broke(stream, ctx);
                self.lease_broke(stream, ctx);
            }
            Unanswered::Client(_) => {}
        }
    }

    pub(crate) fn remember(&mut self, timer: Timer, ctx: &mut Context<'_>) {
        match timer {
            Timer::Membership { attempt } => self.membership_due(attempt, ctx),
            Timer::Beat { stream } => self.beat_due(stream, ctx),
            Timer::Watch { stream } => self.watch_due(stream, ctx),
            Timer::Tick => {
                ctx.remind(TICK_MS, Timer::Tick);
                self.tick(ctx);
            }
            Timer::Flush { partition } => self.flush_due(partition, ctx),
            Timer::Flushed { partition } => self.flushed(partition, ctx),
            Timer::AltersOver { call } => self.alters_over(call, ctx),
            Timer::AltersAgain => self.alters_again(ctx),
            Timer::FetchOver {
                leader,
                correlation,
            } => self.fetch_over(leader, correlation, ctx),
            Timer::FetchAgain { leader } => self.fetch(leader, ctx),
            Timer::ParkedOver => self.answer_parked(ctx),
            _ => {}
        }
        self.wake(ctx);
    }

    pub(crate) fn incarnation(&self) -> Uuid {
        self.incarnation
    }

    /// The process ends; what is left is the disk.
    pub(crate) fn into_disk(self) -> Disk {
        self.disk
    }

    /// As at the end of a stop in good order.
    pub(crate) fn close(&mut self) {
        for log in self.disk.logs.values_mut() {
            log.flushed(log.end());
            log.write_checkpoint();
        }
        self.disk.clean_stop = Some(self.epoch);
    }

    /// Those who wait for something look again.
    fn wake(&mut self, ctx: &mut Context<'_>) {
        while std::mem::take(&mut self.has_moved) {
            self.answer_parked(ctx);
            self.answer_produced(ctx);
        }
        self.carry(ctx);
    }
}
