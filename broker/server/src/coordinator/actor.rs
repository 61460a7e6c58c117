//! The task that owns one coordinator.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use foz_groups::{
    AppendError, AppendToken, CommittedOffsets, CompleteTransaction, Coordinator, Effect, Now,
    Record, Request, RequestContext as GroupContext, Response, TooLarge, TransactionalProducer,
    WaiterId,
};
use foz_log::{TransactionMarker, VerificationGuard};
use foz_protocol::error::ErrorCode;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use kafka_protocol::ResponseError;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::spawn_blocking;
use tokio::time::MissedTickBehavior;
use tracing::warn;
use uuid::Uuid;

use super::Followed;
use super::counted::{Counted, CountedGroups, Counts};
use super::load::{Load, Loaded, gone_topics, load};
use super::regexes::resolve;
use crate::authorizer::{Operation, Resource};
use crate::coordinator_log::{CoordinatorLog, InTransaction, Led, NotWritten};
use crate::handlers::leadership::LedIn;
use crate::partition::{Partition, Produced, wall_clock_ms};
use crate::request::RequestContext;

/// Requests that may wait for one coordinator. More are refused as `COORDINATOR_NOT_AVAILABLE`.
const QUEUE_MAX: usize = 10_000;
/// A count looks at every member.
const COUNT_INTERVAL: Duration = Duration::from_secs(10);
/// Of warnings that groups are too large for a batch.
const REPORT_INTERVAL: Duration = Duration::from_secs(60);

/// A running coordinator; dropping the handle makes it resign.
#[derive(Debug)]
pub(super) struct ActorHandle {
    led: Led,
    partition: Arc<Partition>,
    queue: mpsc::Sender<Message>,
}

pub(super) enum Message {
    Ask(Box<Asked>),
    TopicsDeleted(Arc<[String]>),
    CommittedOffsets {
        offsets_max: usize,
        answer: oneshot::Sender<CommittedOffsets>,
    },
}

/// Who asked.
struct Asker {
    context: RequestContext,
    /// Of the transaction that the request belongs to, where it begins in this partition.
    guard: Option<VerificationGuard>,
}

pub(super) struct Asked {
    context: GroupContext,
    asker: Asker,
    request: Request,
    answer: oneshot::Sender<Response>,
}

impl ActorHandle {
    /// Loads the groups from the partition and begins to coordinate. `followed` has the image by which this
    /// broker leads, or a newer one; the handle is told of topics that are deleted after it.
    pub(super) fn start(
        topic_id: Uuid,
        log: CoordinatorLog,
        followed: watch::Receiver<Arc<Followed>>,
        counts: Counts,
    ) -> Self {
        let (queue, messages) = mpsc::channel(QUEUE_MAX);
        let led = (topic_id, log.leader_epoch);
        let partition = Arc::clone(&log.partition);
        tokio::spawn(run(log, followed, messages, counts));
        Self {
            led,
            partition,
            queue,
        }
    }

    pub(super) fn led(&self) -> Led {
        self.led
    }

    /// What its answers depend on.
    pub(super) fn led_in(&self) -> LedIn {
        LedIn {
            partition: Arc::clone(&self.partition),
            leader_epoch: self.led.1,
        }
    }

    /// The answer never comes when the coordinator has resigned.
    pub(super) fn ask(
        &self,
        context: &RequestContext,
        request: Request,
        guard: Option<VerificationGuard>,
    ) -> oneshot::Receiver<Response> {
        let (answer, answered) = oneshot::channel();
        let asker = Asker {
            context: context.clone(),
            guard,
        };
        let context = GroupContext {
            waiter: 0,
            api_version: context.version,
            connection: context.client.number,
            client_id: context.client_id.clone(),
            client_host: format!("/{}", context.client.peer.ip()),
            member_uuid: Uuid::new_v4(),
        };
        let asked = Box::new(Asked {
            context,
            asker,
            request,
            answer,
        });
        if let Err(TrySendError::Full(Message::Ask(asked))) =
            self.queue.try_send(Message::Ask(asked))
        {
            asked.refuse(ResponseError::CoordinatorNotAvailable);
        }
        answered
    }

    /// Not answered by one that is loading, has resigned or has too much to do.
    pub(super) fn committed_offsets(
        &self,
        offsets_max: usize,
    ) -> oneshot::Receiver<CommittedOffsets> {
        let (answer, answered) = oneshot::channel();
        let asked = Message::CommittedOffsets {
            offsets_max,
            answer,
        };
        // The answer is dropped with what is not taken.
        let _ = self.queue.try_send(asked);
        answered
    }

    pub(super) fn topics_deleted(&self, names: Arc<[String]>) {
        if self.queue.try_send(Message::TopicsDeleted(names)).is_err() {
            warn!(
                "offsets of deleted topics stay until they expire: the coordinator is overloaded"
            );
        }
    }
}

impl Asked {
    pub(super) fn refuse(self, error: ResponseError) {
        // A client that has gone needs no answer.
        let _ = self
            .answer
            .send(self.request.error_response(self.context.api_version, error));
    }
}

async fn run(
    log: CoordinatorLog,
    followed: watch::Receiver<Arc<Followed>>,
    mut messages: mpsc::Receiver<Message>,
    counts: Counts,
) {
    let clock = Clock {
        origin: Instant::now(),
    };
    loop {
        let config = followed.borrow().config.clone();
        let loading = Counted::new(&counts.loading);
        let load = load(&log, config, &mut messages, clock, &counts.load_times).await;
        drop(loading);
        let loaded = match load {
            Load::Done(loaded) => loaded,
            Load::Resigned => return,
            Load::Failed => {
                drop((log, followed));
                let _failed = Counted::new(&counts.failed);
                return refuse_all(messages).await;
            }
        };
        let _active = Counted::new(&counts.active);
        let mut actor = Actor {
            log: log.clone(),
            clock,
            followed: followed.clone(),
            waiting: HashMap::new(),
            waiters_made: 0,
            appending: FuturesUnordered::new(),
            resolving: FuturesUnordered::new(),
            reported: None,
            counted: CountedGroups::new(&counts),
        };
        match actor.serve(*loaded, &mut messages).await {
            Ended::Resigned => return,
            // With the leadership, this coordinator ends for good.
            Ended::Reload if log.partition.led() != Some(log.leader_epoch) => {}
            Ended::Reload => warn!(
                partition = log.partition.name(),
                "groups are loaded again: it is not known whether the change of a consumer group was written"
            ),
        }
    }
}

/// Why a coordinator serves no longer.
enum Ended {
    Resigned,
    /// What it holds is not what the log has.
    Reload,
}

/// For a partition that could not be loaded, for as long as this broker leads it in that epoch, as in Kafka.
async fn refuse_all(mut messages: mpsc::Receiver<Message>) {
    while let Some(message) = messages.recv().await {
        if let Message::Ask(asked) = message {
            asked.refuse(ResponseError::NotCoordinator);
        }
    }
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Clock {
    origin: Instant,
}

impl Clock {
    pub(super) fn now(self) -> Now {
        Now {
            monotonic_ms: self.origin.elapsed().as_millis() as i64,
            wall_ms: wall_clock_ms(),
        }
    }

    fn at(self, monotonic_ms: i64) -> tokio::time::Instant {
        (self.origin + Duration::from_millis(u64::try_from(monotonic_ms).unwrap_or(0))).into()
    }
}

type Outcome = (AppendToken, Result<(), AppendError>);
type Later<T> = FuturesUnordered<std::pin::Pin<Box<dyn Future<Output = T> + Send>>>;

/// What the regular expressions of a group match, in a version of the topics.
struct Resolved {
    group_id: Arc<str>,
    matches: Vec<(Arc<str>, BTreeSet<Arc<str>>)>,
    version: u64,
}

enum Event {
    Message(Option<Message>),
    Appended(AppendToken, Result<(), AppendError>),
    Resolved(Resolved),
    Timer,
    Expiry,
    Count,
}

struct Actor {
    log: CoordinatorLog,
    clock: Clock,
    followed: watch::Receiver<Arc<Followed>>,
    waiting: HashMap<WaiterId, oneshot::Sender<Response>>,
    waiters_made: WaiterId,
    appending: Later<Outcome>,
    resolving: Later<Resolved>,
    /// When a group was last said to be too large.
    reported: Option<Instant>,
    counted: CountedGroups,
}

impl Actor {
    async fn serve(&mut self, loaded: Loaded, messages: &mut mpsc::Receiver<Message>) -> Ended {
        let Loaded {
            mut coordinator,
            mut effects,
            topics_deleted,
        } = loaded;
        let followed = Arc::clone(&self.followed.borrow_and_update());
        coordinator.on_topics_changed(Arc::clone(&followed.topics));
        coordinator.on_config_changed(followed.config.clone());
        let gone = gone_topics(&coordinator, &followed.image, &topics_deleted);
        drop(followed);
        let gone: Vec<&str> = gone.iter().map(String::as_str).collect();
        effects.extend(coordinator.on_topics_deleted(&gone, self.clock.now()));
        let mut looked_for_expired = tokio::time::Instant::now();
        let mut counting = tokio::time::interval(COUNT_INTERVAL);
        counting.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut done = self.carry_out(&mut coordinator, effects, None);
        while done.is_continue() {
            let deadline = coordinator
                .next_deadline()
                .map(|deadline| self.clock.at(deadline));
            let timer = async {
                match deadline {
                    Some(deadline) => tokio::time::sleep_until(deadline).await,
                    None => std::future::pending().await,
                }
            };
            // A shorter interval counts with the next event: there is one whenever groups are counted.
            let until_expiry = self
                .expiry_interval()
                .saturating_sub(looked_for_expired.elapsed());
            let event = tokio::select! {
                message = messages.recv() => Event::Message(message),
                Some((token, outcome)) = self.appending.next() => Event::Appended(token, outcome),
                Some(resolved) = self.resolving.next() => Event::Resolved(resolved),
                () = timer => Event::Timer,
                () = tokio::time::sleep(until_expiry) => Event::Expiry,
                _ = counting.tick() => Event::Count,
            };
            self.follow(&mut coordinator);
            let mut asker = None;
            let now = self.clock.now();
            let effects = match event {
                Event::Message(None) => {
                    self.resign(coordinator);
                    return Ended::Resigned;
                }
                // Its place is taken by another, or will be: what is left waits for that one.
                Event::Message(Some(Message::Ask(asked))) if messages.is_closed() => {
                    asked.refuse(ResponseError::NotCoordinator);
                    continue;
                }
                Event::Message(Some(message)) => self.take(&mut coordinator, message, &mut asker),
                Event::Appended(token, outcome) => coordinator.on_append(token, outcome, now),
                Event::Resolved(Resolved {
                    group_id,
                    matches,
                    version,
                }) => coordinator.on_resolved(&group_id, &matches, version, now),
                Event::Timer => coordinator.on_timer(now),
                Event::Expiry => {
                    looked_for_expired = tokio::time::Instant::now();
                    coordinator.expire_offsets(now)
                }
                Event::Count => {
                    self.counted.tell(coordinator.counts());
                    Vec::new()
                }
            };
            done = self.carry_out(&mut coordinator, effects, asker.as_ref());
        }
        self.resign(coordinator);
        Ended::Reload
    }

    fn expiry_interval(&self) -> Duration {
        let config = &self.followed.borrow().config;
        Duration::from_millis(config.offsets_retention_check_interval_ms.unsigned_abs())
    }

    /// Whoever waits for what is not to come is told NOT_COORDINATOR.
    fn resign(&mut self, coordinator: Coordinator) {
        for effect in coordinator.resign() {
            if let Effect::Reply { waiter, response } = effect {
                self.reply(waiter, response);
            }
        }
        self.waiting.clear();
    }

    /// A client that has made a topic, or a config, is answered by a broker that knows it.
    fn follow(&mut self, coordinator: &mut Coordinator) {
        if self.followed.has_changed().unwrap_or(false) {
            let followed = Arc::clone(&self.followed.borrow_and_update());
            coordinator.on_topics_changed(Arc::clone(&followed.topics));
            coordinator.on_config_changed(followed.config.clone());
        }
    }

    fn take(
        &mut self,
        coordinator: &mut Coordinator,
        message: Message,
        asker: &mut Option<Asker>,
    ) -> Vec<Effect> {
        let now = self.clock.now();
        match message {
            Message::Ask(asked) => {
                let Asked {
                    mut context,
                    asker: from,
                    request,
                    answer,
                } = *asked;
                self.waiters_made += 1;
                context.waiter = self.waiters_made;
                self.waiting.insert(context.waiter, answer);
                *asker = Some(from);
                coordinator.handle(&context, request, now)
            }
            Message::TopicsDeleted(names) => {
                let names: Vec<&str> = names.iter().map(String::as_str).collect();
                coordinator.on_topics_deleted(&names, now)
            }
            Message::CommittedOffsets {
                offsets_max,
                answer,
            } => {
                // Whoever asked may have lost patience.
                let _ = answer.send(coordinator.committed_offsets(offsets_max));
                Vec::new()
            }
        }
    }

    /// Breaks off when the coordinator is to be loaded again. An append that fails at once is told at once:
    /// nothing may be built on it.
    fn carry_out(
        &mut self,
        coordinator: &mut Coordinator,
        effects: Vec<Effect>,
        asker: Option<&Asker>,
    ) -> ControlFlow<()> {
        let mut effects = VecDeque::from(effects);
        while let Some(effect) = effects.pop_front() {
            match effect {
                Effect::Reply { waiter, response } => self.reply(waiter, response),
                Effect::Append { token, .. } | Effect::AppendMarker { token, .. }
                    if !coordinator.is_under_way(token) => {}
                Effect::Append {
                    token,
                    records,
                    producer,
                } => {
                    let guard = asker.and_then(|asker| asker.guard);
                    let appended = self.append(&records, producer, guard);
                    self.appended(coordinator, token, appended, &mut effects);
                }
                Effect::AppendMarker { token, transaction } => {
                    let appended = self.append_marker(transaction);
                    self.appended(coordinator, token, appended, &mut effects);
                }
                Effect::AwaitCommitted { token } => self.await_committed(token),
                Effect::Resolve { group_id, regexes } => {
                    let asker = asker.map(|asker| &asker.context);
                    self.resolve(group_id, regexes, asker);
                }
                Effect::Report {
                    group_id,
                    too_large,
                } => self.report(&group_id, &too_large),
                Effect::Reload => return ControlFlow::Break(()),
            }
        }
        ControlFlow::Continue(())
    }

    /// It may come with each heartbeat.
    fn report(&mut self, group_id: &str, too_large: &TooLarge) {
        let is_due = |last: Instant| last.elapsed() >= REPORT_INTERVAL;
        if self.reported.is_none_or(is_due) {
            self.reported = Some(Instant::now());
            let partition = self.log.partition.name();
            warn!(
                partition,
                group_id, "a consumer group goes on as it is: {too_large}"
            );
        }
    }

    fn reply(&mut self, waiter: WaiterId, response: Response) {
        if let Some(answer) = self.waiting.remove(&waiter) {
            // A client that has gone needs no answer.
            let _ = answer.send(response);
        }
    }

    /// On another thread: there may be many topics, and many expressions.
    fn resolve(
        &mut self,
        group_id: Arc<str>,
        regexes: Vec<Arc<str>>,
        asker: Option<&RequestContext>,
    ) {
        let topics = Arc::clone(&self.followed.borrow().topics);
        let asker = asker.cloned();
        let version = topics.version();
        let matching = spawn_blocking(move || {
            let may_describe = |name: &str| {
                let asker = asker.as_ref();
                asker.is_some_and(|asker| asker.allows(Operation::Describe, &Resource::Topic(name)))
            };
            resolve(regexes, &topics, may_describe)
        });
        self.resolving.push(Box::pin(async move {
            Resolved {
                group_id,
                // The group is to hear of it whatever came of it.
                matches: matching.await.unwrap_or_default(),
                version,
            }
        }));
    }

    /// Waits for what was in the log when the coordinator was loaded, and whatever it has appended by now.
    fn await_committed(&mut self, token: AppendToken) {
        let committed = self.log.all_committed();
        self.appending.push(Box::pin(async move {
            (token, committed.await.map_err(append_error))
        }));
    }

    fn append(
        &self,
        records: &[Record],
        producer: Option<TransactionalProducer>,
        guard: Option<VerificationGuard>,
    ) -> Result<Produced, NotWritten> {
        let records = records.iter();
        let records: Vec<_> = records
            .map(|it| (it.key.clone(), it.value.clone()))
            .collect();
        let transaction = producer.map(|producer| InTransaction {
            producer_id: producer.id,
            producer_epoch: producer.epoch,
            guard,
        });
        self.log.append(&records, transaction)
    }

    fn append_marker(&self, transaction: CompleteTransaction) -> Result<Produced, NotWritten> {
        let marker = TransactionMarker {
            producer_id: transaction.producer.id,
            producer_epoch: transaction.producer.epoch,
            coordinator_epoch: transaction.coordinator_epoch,
            is_commit: transaction.is_commit,
        };
        self.log
            .append_marker(marker, transaction.transaction_version)
    }

    fn appended(
        &mut self,
        coordinator: &mut Coordinator,
        token: AppendToken,
        appended: Result<Produced, NotWritten>,
        effects: &mut VecDeque<Effect>,
    ) {
        match appended {
            Ok(produced) => {
                let committed = self.log.committed(produced);
                self.appending.push(Box::pin(async move {
                    (token, committed.await.map_err(append_error))
                }));
            }
            Err(error) => {
                let undone =
                    coordinator.on_append(token, Err(append_error(error)), self.clock.now());
                let is_append = |effect: &Effect| {
                    matches!(effect, Effect::Append { .. } | Effect::AppendMarker { .. })
                };
                debug_assert!(
                    !undone.iter().any(is_append),
                    "it would come before those that were handed out earlier"
                );
                for effect in undone.into_iter().rev() {
                    effects.push_front(effect);
                }
            }
        }
    }
}
fn append_error(error: NotWritten) -> AppendError {
    use AppendError::Refused;
    match error {
        NotWritten::Lost => AppendError::NotCoordinator,
        NotWritten::NotAvailable => AppendError::NotAvailable,
        NotWritten::Refused(code) => match code {
            ErrorCode::InvalidProducerEpoch => Refused(ResponseError::InvalidProducerEpoch),
            ErrorCode::InvalidTxnState => Refused(ResponseError::InvalidTxnState),
            ErrorCode::TransactionCoordinatorFenced => {
                Refused(ResponseError::TransactionCoordinatorFenced)
            }
            // A producer id or an epoch that there cannot be.
            ErrorCode::InvalidRecord => Refused(ResponseError::InvalidRecord),
            _ => AppendError::TooLarge,
        },
    }
}
