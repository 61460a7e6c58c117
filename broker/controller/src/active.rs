//! The task that runs the rules while this controller leads.

mod command;
mod duties;
mod free_room;
mod liveness;
mod rebalance;
mod restarts;
mod stopping;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use foz_metadata::Image;
use foz_metadata::record::{Batch, Record};
use foz_metadata::rules::{Decided, found_cluster, pin_min_insync_replicas};
use foz_quorum::{Leadership, ProposeError, Quorum};
use futures::StreamExt;
use futures::future::{BoxFuture, OptionFuture};
use futures::stream::FuturesOrdered;
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, Interval, MissedTickBehavior};
use uuid::Uuid;

use crate::applied::AppliedOffsets;
use crate::config::ControllerConfig;
use crate::handovers::Handovers;
use crate::leases::{Beat, Leases, STALL};
use crate::metadata::Metadata;
use crate::metrics::{Elections, Metrics};
use crate::observers::Observers;
use crate::rebalance::Loads;
use crate::replica_times::ReplicaTimes;
use crate::stop_wishes::StopWishes;

use command::Done;
pub(crate) use command::{AnyCommand, NotDone, command};
use duties::Duties;
use liveness::{Confirmed, alive};
use rebalance::Rebalancing;
use restarts::Restarts;
use stopping::Stops;
pub(crate) use stopping::{ALL_ASKED_TO_END, ASKED_TO_END};

/// Commands that wait to be decided; more are answered with [`NotDone::Busy`].
pub(crate) const COMMANDS_WAITING_MAX: usize = 1024;
/// Beats and closed streams that wait to be seen.
pub(crate) const LEASE_MESSAGES_MAX: usize = 1024;
/// Batches proposed and not yet committed.
const IN_FLIGHT_MAX: usize = 1024;
/// What the quorum takes as one entry.
const BATCH_BYTES_MAX: usize = 4 << 20;
/// Where a decision may be split, its batches have this many records. A change of a partition has some 60
/// bytes with three replicas; here it may have 400.
const RECORDS_PER_SPLIT_BATCH: usize = 10_000;
/// How often leases are looked at.
const LOOK: Duration = Duration::from_millis(50);

/// What others send to the task.
pub(crate) enum Message {
    /// Decide a command.
    Run(Box<dyn AnyCommand>),
    /// As `Run`, and the records may be split over several batches: the rule says that half of them do no harm.
    RunInParts(Box<dyn AnyCommand>),
    /// Decide the registration of a node. It need not wait for the lease of a process that is known to have
    /// ended.
    Register(Newcomer, Box<dyn AnyCommand>),
}

/// A process of a node that registers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Newcomer {
    pub(crate) node_id: i32,
    pub(crate) incarnation: Uuid,
    /// The newest registration that one of its disks was part of; -1: none.
    pub(crate) disk_epoch: i64,
}

/// What lease streams send to the task.
pub(crate) enum LeaseMessage {
    Beat(Beat, oneshot::Sender<Result<LeaseState, NotDone>>),
    /// (node id, stream)
    Closed(i32, u64),
    /// The last stream of the metadata of a node closed.
    StoppedObserving(i32),
}

/// The answer to a beat.
#[derive(Debug, Clone)]
pub(crate) struct LeaseState {
    pub(crate) committed_offset: i64,
    pub(crate) is_fenced: bool,
    /// Up to where what the beat says of the disk is decided; `None`: it is not.
    pub(crate) space_offset: Option<i64>,
    /// Why a broker that wants to stop may not.
    pub(crate) denied: Option<Arc<str>>,
}

/// What the task works with.
pub(crate) struct Shared {
    pub(crate) config: ControllerConfig,
    pub(crate) quorum: Quorum,
    /// Of the quorum: a controller that has not answered for so long is not there.
    pub(crate) election_timeout: Duration,
    pub(crate) metadata: Arc<Metadata>,
    pub(crate) applied: AppliedOffsets,
    pub(crate) handovers: Handovers,
    /// Controllers that are asking to stop; of brokers the task itself knows.
    pub(crate) controllers_asking: watch::Sender<StopWishes>,
    pub(crate) observers: Observers,
    /// By Raft id. As all that follows, what this controller has heard of while it was active.
    pub(crate) controller_times: Mutex<ReplicaTimes<u64>>,
    /// By node id.
    pub(crate) broker_times: Mutex<ReplicaTimes<i32>>,
    /// What brokers told this controller while it was active.
    pub(crate) loads: Mutex<Loads>,
    /// By the newest rebalance here.
    pub(crate) copied_bytes_per_second: AtomicU64,
    /// Held by whoever plans a rebalance for a caller.
    pub(crate) planning: tokio::sync::Mutex<()>,
    pub(crate) metrics: Metrics,
}

/// Where the task hears from others.
pub(crate) struct Inbox {
    pub(crate) messages: mpsc::Receiver<Message>,
    pub(crate) leases: mpsc::Receiver<LeaseMessage>,
    /// Sent because this controller became active, and received before this task knew of it.
    pub(crate) early: Option<Message>,
}

/// Runs until the quorum has stopped or nobody can send any more.
pub(crate) async fn run(shared: Arc<Shared>, mut inbox: Inbox) {
    let mut leadership = shared.quorum.leadership();
    while let Some(term) = wait_until_active(&mut leadership, &mut inbox).await {
        tracing::info!(
            node_id = shared.config.node_id,
            term,
            "became the active controller"
        );
        let mut active = Active::new(shared.clone(), term);
        active.found();
        if let Some(message) = inbox.early.take() {
            active.take(message);
        }
        let is_over = active.lead(&mut leadership, &mut inbox).await.is_err();
        shared.applied.clear();
        shared.controller_times.lock().clear();
        shared.broker_times.lock().clear();
        shared.handovers.clear();
        tracing::info!(
            node_id = shared.config.node_id,
            term,
            "is no longer the active controller"
        );
        active.resign();
        if is_over {
            return;
        }
    }
}

/// The term in which this controller leads; what is asked meanwhile is refused. `None`: the end.
async fn wait_until_active(
    leadership: &mut watch::Receiver<Leadership>,
    inbox: &mut Inbox,
) -> Option<u64> {
    loop {
        if let Some(term) = led_term(&leadership.borrow_and_update()) {
            return Some(term);
        }
        tokio::select! {
            // What is asked because this controller became active must not be refused.
            biased;
            changed = leadership.changed() => changed.ok()?,
            message = inbox.messages.recv() => {
                let message = message?;
                // It may have become so just after the look at it above.
                if let Some(term) = led_term(&leadership.borrow_and_update()) {
                    inbox.early = Some(message);
                    return Some(term);
                }
                match message {
                    Message::Run(command)
                    | Message::RunInParts(command)
                    | Message::Register(_, command) => command.refuse(NotDone::NotActive),
                }
            },
            message = inbox.leases.recv() => match message? {
                LeaseMessage::Beat(_, answer) => {
                    // An error: the stream ended meanwhile.
                    let _ = answer.send(Err(NotDone::NotActive));
                }
                LeaseMessage::Closed(..) | LeaseMessage::StoppedObserving(_) => {}
            },
        }
    }
}

fn led_term(leadership: &Leadership) -> Option<u64> {
    leadership.is_self.then_some(leadership.term)
}

/// Nobody needs the task any more.
struct Over;

/// One term of this controller.
struct Active {
    shared: Arc<Shared>,
    term: u64,
    /// Committed and proposed batches applied: what the next command is decided on.
    pending: Image,
    /// The leases count from here.
    began: Instant,
    leases: Leases,
    stops: Stops,
    /// Under way since a lease ended.
    confirmation: Option<BoxFuture<'static, Confirmed>>,
    duties: Duties,
    restarts: Restarts,
    rebalancing: Rebalancing,
    in_flight: FuturesOrdered<BoxFuture<'static, Settled>>,
    /// A batch was not committed, so the ones after it will not be either: no command is decided until
    /// all of them are known to be lost, and `pending` starts again from what is committed.
    is_in_doubt: bool,
}

/// A decision whose outcome is known.
struct Settled {
    /// `None`: it had no records, so its outcome is that of the ones before it.
    outcome: Option<Result<(), NotDone>>,
    /// Of the image that the decision is true of.
    offset: i64,
    proposed: Instant,
    elections: Elections,
    done: Option<Done>,
}

impl Active {
    fn new(shared: Arc<Shared>, term: u64) -> Self {
        let pending = Image::clone(&shared.metadata.image());
        let ControllerConfig {
            lease,
            reconnect_grace,
            ..
        } = shared.config;
        let leases = Leases::new(
            lease,
            reconnect_grace,
            STALL,
            alive(&pending),
            Duration::ZERO,
        );
        Self {
            shared,
            term,
            pending,
            began: Instant::now(),
            leases,
            stops: Stops::default(),
            confirmation: None,
            duties: Duties::new(Instant::now()),
            restarts: Restarts::default(),
            rebalancing: Rebalancing::default(),
            in_flight: FuturesOrdered::new(),
            is_in_doubt: false,
        }
    }

    /// The first active controller of a cluster writes its id into the metadata; each writes what its
    /// properties say that all must agree on.
    fn found(&mut self) {
        let Some(cluster_id) = self.shared.quorum.cluster_id().borrow().clone() else {
            tracing::error!("this controller leads a quorum that has no cluster id");
            return;
        };
        self.run_own("found the cluster", |image| {
            found_cluster(image, &cluster_id)
        });
        let shared = self.shared.clone();
        self.run_own("write min.insync.replicas", |image| {
            pin_min_insync_replicas(image, &shared.config.properties)
        });
    }

    /// Works until leadership is lost.
    async fn lead(
        &mut self,
        leadership: &mut watch::Receiver<Leadership>,
        inbox: &mut Inbox,
    ) -> Result<(), Over> {
        let mut look = every(LOOK);
        loop {
            let has_room = !self.is_in_doubt && self.in_flight.len() < IN_FLIGHT_MAX;
            tokio::select! {
                changed = leadership.changed() => {
                    changed.map_err(|_| Over)?;
                    if led_term(&leadership.borrow_and_update()) != Some(self.term) {
                        return Ok(());
                    }
                }
                Some(settled) = self.in_flight.next() => self.settle(settled),
                Some(confirmed) = OptionFuture::from(self.confirmation.as_mut()) => {
                    self.confirmed(confirmed);
                }
                Some(worked) = OptionFuture::from(self.rebalancing.work.as_mut()) => {
                    self.rebalance_worked(worked);
                }
                _ = look.tick() => {
                    self.look_at_leases();
                    self.look_at_controllers();
                    self.do_duties();
                    self.end_restarts();
                    self.rebalance();
                }
                message = inbox.leases.recv() => self.hear(message.ok_or(Over)?),
                message = inbox.messages.recv(), if has_room => {
                    self.take(message.ok_or(Over)?);
                }
            }
        }
    }

    fn take(&mut self, message: Message) {
        match message {
            Message::Run(command) => self.decide(command),
            Message::RunInParts(command) => self.decide_in_parts(command),
            Message::Register(newcomer, command) => {
                self.free_node_id(newcomer);
                self.decide(command);
            }
        }
    }

    /// Answers what is under way as it turns out, while this controller goes on.
    fn resign(mut self) {
        tokio::spawn(async move {
            while let Some(settled) = self.in_flight.next().await {
                self.settle(settled);
            }
        });
    }

    /// One batch, or a caller could be told of half a change.
    fn decide(&mut self, command: Box<dyn AnyCommand>) {
        let (records, done) = command.decide(&self.pending);
        self.propose(vec![records], done);
    }

    /// The caller hears of the last batch.
    fn decide_in_parts(&mut self, command: Box<dyn AnyCommand>) {
        let (records, done) = command.decide(&self.pending);
        self.propose(split(&records), done);
    }

    /// Runs a rule of the controller's own accord. Such decisions may be split over several batches.
    fn run_own<A>(
        &mut self,
        what: &'static str,
        rule: impl FnOnce(&Image) -> Decided<A>,
    ) -> Option<A> {
        match rule(&self.pending) {
            Ok(decision) => {
                let done = Box::new(move |outcome: Result<i64, NotDone>| {
                    if let Err(error) = outcome {
                        tracing::warn!(%error, "could not {what}");
                    }
                });
                self.propose(split(&decision.records), done);
                Some(decision.answer)
            }
            Err(refusal) => {
                tracing::error!(%refusal, "could not {what}");
                None
            }
        }
    }

    /// Proposes batches that follow each other; `done` hears of the last one.
    fn propose(&mut self, parts: Vec<Vec<Record>>, done: Done) {
        let mut parts: VecDeque<_> = parts.into_iter().filter(|part| !part.is_empty()).collect();
        let Some(last) = parts.pop_back() else {
            let offset = self.pending.offset();
            return self.expect(None, offset, Elections::default(), Some(done));
        };
        for records in parts {
            if let Err(error) = self.propose_batch(records, None) {
                return done(Err(error.0));
            }
        }
        if let Err((error, Some(done))) = self.propose_batch(last, Some(done)) {
            done(Err(error));
        }
    }

    fn propose_batch(
        &mut self,
        records: Vec<Record>,
        done: Option<Done>,
    ) -> Result<(), (NotDone, Option<Done>)> {
        let term = i64::try_from(self.term).expect("terms are counted from 0, one at a time");
        let batch = Batch {
            follows: self.pending.offset(),
            term,
            records,
        };
        let bytes = batch.encode_to_bytes();
        if bytes.len() > BATCH_BYTES_MAX {
            let too_large = NotDone::TooLarge {
                bytes: bytes.len(),
                bytes_max: BATCH_BYTES_MAX,
            };
            return Err((too_large, done));
        }
        let elections = Elections::count(&self.pending, &batch.records);
        self.pending = self
            .pending
            .apply(&batch)
            .expect("a decision follows what it is based on");
        let committed = Box::pin(self.shared.quorum.propose(self.term, bytes));
        self.expect(Some(committed), batch.offset(), elections, done);
        Ok(())
    }

    fn expect(
        &mut self,
        committed: Option<BoxFuture<'static, Result<u64, ProposeError>>>,
        offset: i64,
        elections: Elections,
        done: Option<Done>,
    ) {
        let proposed = Instant::now();
        self.in_flight.push_back(Box::pin(async move {
            let outcome = match committed {
                Some(committed) => Some(committed.await.map(|_| ()).map_err(NotDone::from)),
                None => None,
            };
            Settled {
                outcome,
                offset,
                proposed,
                elections,
                done,
            }
        }));
    }

    fn settle(&mut self, settled: Settled) {
        let Settled {
            outcome,
            offset,
            proposed,
            elections,
            done,
        } = settled;
        let outcome = match outcome {
            Some(Ok(())) => {
                self.shared
                    .metrics
                    .commit_seconds
                    .observe(proposed.elapsed().as_secs_f64());
                self.shared.metrics.add(&elections);
                elections.warn();
                Ok(offset)
            }
            Some(Err(error)) => {
                self.is_in_doubt = true;
                Err(error)
            }
            None if self.is_in_doubt => Err(NotDone::NotActive),
            None => Ok(offset),
        };
        if let Some(done) = done {
            done(outcome);
        }
        if self.is_in_doubt && self.in_flight.is_empty() {
            self.pending = Image::clone(&self.shared.metadata.image());
            // What was decided for them may be lost.
            self.stops.image_replaced();
            self.restarts.image_replaced();
            self.rebalancing.image_replaced();
            self.is_in_doubt = false;
        }
    }
}

fn split(records: &[Record]) -> Vec<Vec<Record>> {
    let parts = records.chunks(RECORDS_PER_SPLIT_BATCH);
    parts.map(<[Record]>::to_vec).collect()
}

fn every(period: Duration) -> Interval {
    let mut interval = tokio::time::interval(period);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}
