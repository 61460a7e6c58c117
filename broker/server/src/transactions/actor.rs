//! The task that owns one coordinator.

use std::collections::{HashMap, VecDeque};
use std::ops::ControlFlow;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use foz_transactions::{
    AppendError, AppendToken, Coordinator, Effect, Now, ProducerIdToken, Record, Request,
    RequestContext as TransactionContext, Response, TransactionConfig, WaiterId,
};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use kafka_protocol::ResponseError;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, MissedTickBehavior};
use tracing::warn;
use uuid::Uuid;

use super::Followed;
use super::figures::Share;
use super::load::{Load, load};
use super::markers::{Outcomes, Reported, send};
use crate::broker::Broker;
use crate::coordinator::Counted;
use crate::coordinator_log::{CoordinatorLog, Led, NotWritten};
use crate::handlers::leadership::LedIn;
use crate::partition::{Partition, monotonic_ms, wall_clock_ms};
use crate::request::{Listener, RequestContext};

/// Requests that may wait for one coordinator. More are refused as COORDINATOR_NOT_AVAILABLE.
const QUEUE_MAX: usize = 10_000;
/// How often its figures are told: to count, every id is looked at.
const FIGURES_INTERVAL: Duration = Duration::from_secs(10);

/// A running coordinator; dropping the handle makes it resign.
#[derive(Debug)]
pub(super) struct ActorHandle {
    led: Led,
    partition: Arc<Partition>,
    queue: mpsc::Sender<Asked>,
}

/// What goes back to who asked; none when the connection is to be closed.
type Answer = Option<Response>;

#[derive(Debug)]
pub(super) struct Asked {
    context: TransactionContext,
    request: Request,
    answer: oneshot::Sender<Answer>,
}

impl ActorHandle {
    /// Loads the transactions from the partition and begins to coordinate. `followed` has the image by which this broker
    /// leads, or a newer one.
    pub(super) fn start(
        broker: Arc<Broker>,
        topic_id: Uuid,
        log: CoordinatorLog,
        followed: Followed,
    ) -> Self {
        let (queue, asked) = mpsc::channel(QUEUE_MAX);
        let led = (topic_id, log.leader_epoch);
        let partition = Arc::clone(&log.partition);
        tokio::spawn(run(broker, log, followed, asked));
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
    ) -> oneshot::Receiver<Answer> {
        let (answer, answered) = oneshot::channel();
        let is_client = context.client.listener == Listener::Clients;
        let context = TransactionContext {
            waiter: 0,
            api_version: context.version,
            connection: is_client.then_some(context.client.number),
        };
        let asked = Asked {
            context,
            request,
            answer,
        };
        if let Err(TrySendError::Full(asked)) = self.queue.try_send(asked) {
            asked.refuse(ResponseError::CoordinatorNotAvailable);
        }
        answered
    }
}

impl Asked {
    pub(super) fn refuse(self, error: ResponseError) {
        let response = self.request.error_response(self.context.api_version, error);
        // A client that has gone needs no answer.
        let _ = self.answer.send(Some(response));
    }
}

pub(super) fn now() -> Now {
    Now {
        monotonic_ms: monotonic_ms(),
        wall_ms: wall_clock_ms(),
    }
}

async fn run(
    broker: Arc<Broker>,
    log: CoordinatorLog,
    followed: Followed,
    mut queue: mpsc::Receiver<Asked>,
) {
    let figures = broker.metrics.transactions.clone();
    let loading = Counted::new(&figures.loading);
    let config = || followed.config.borrow().clone();
    let loaded = load(&broker, &log, config, &mut queue).await;
    drop(loading);
    let (coordinator, effects) = match loaded {
        Load::Done(coordinator, effects) => (coordinator, effects),
        Load::Resigned => return,
        Load::Failed => {
            drop((broker, log, followed));
            let _failed = Counted::new(&figures.failed);
            return refuse_all(queue).await;
        }
    };
    let active = Counted::new(&figures.active);
    let (reports, reported) = mpsc::unbounded_channel();
    let actor = Actor {
        broker,
        log,
        followed,
        waiting: HashMap::new(),
        waiters_made: 0,
        appending: FuturesUnordered::new(),
        allocating: FuturesUnordered::new(),
        reports,
        reported,
        share: Share::of(figures),
    };
    actor.serve(*coordinator, effects, &mut queue).await;
    drop(active);
    // Until the next leader epoch begins here, or this broker hears that it leads no longer.
    refuse_all(queue).await;
}

/// For as long as this broker leads the partition in that epoch, as in Kafka.
async fn refuse_all(mut queue: mpsc::Receiver<Asked>) {
    while let Some(asked) = queue.recv().await {
        asked.refuse(ResponseError::NotCoordinator);
    }
}

type Later<T> = FuturesUnordered<Pin<Box<dyn Future<Output = T> + Send>>>;

struct Actor {
    broker: Arc<Broker>,
    log: CoordinatorLog,
    followed: Followed,
    waiting: HashMap<WaiterId, oneshot::Sender<Answer>>,
    waiters_made: WaiterId,
    appending: Later<(AppendToken, Result<(), NotWritten>)>,
    allocating: Later<(ProducerIdToken, Option<i64>)>,
    /// What becomes of markers. Of each partition of an ended transaction there is one at most.
    reports: Outcomes,
    reported: mpsc::UnboundedReceiver<Reported>,
    share: Share,
}

impl Actor {
    /// Until the coordinator has resigned.
    async fn serve(
        mut self,
        mut coordinator: Coordinator,
        effects: Vec<Effect>,
        queue: &mut mpsc::Receiver<Asked>,
    ) {
        let mut config = self.followed.config.subscribe();
        let mut figures = tokio::time::interval(FIGURES_INTERVAL);
        figures.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut done = self.carry_out(&mut coordinator, effects);
        while done.is_continue() {
            let timer = sleep_until(coordinator.next_deadline());
            let effects = tokio::select! {
                asked = queue.recv() => match asked {
                    None => break,
                    // Its place is taken by another, or will be: what is left waits for that one.
                    Some(asked) if queue.is_closed() => {
                        asked.refuse(ResponseError::NotCoordinator);
                        continue;
                    }
                    Some(asked) => {
                        follow(&mut coordinator, &mut config);
                        self.take(&mut coordinator, asked)
                    }
                },
                Some((token, outcome)) = self.appending.next() => match append_outcome(outcome) {
                    ControlFlow::Continue(outcome) => coordinator.on_append(token, outcome, now()),
                    ControlFlow::Break(()) => break,
                },
                Some((token, producer_id)) = self.allocating.next() => {
                    coordinator.on_producer_id(token, producer_id, now())
                }
                Some((token, outcomes)) = self.reported.recv() => {
                    coordinator.on_markers(token, &outcomes, now())
                }
                () = timer => {
                    // What expires by a value that was raised meanwhile is not to go.
                    follow(&mut coordinator, &mut config);
                    coordinator.on_timer(now())
                }
                Ok(()) = config.changed() => {
                    coordinator.configure(config.borrow().clone(), now());
                    continue;
                }
                _ = figures.tick() => {
                    self.share.update(&coordinator);
                    continue;
                }
            };
            done = self.carry_out(&mut coordinator, effects);
        }
        // Whoever waits for what is not to come is told NOT_COORDINATOR.
        for effect in coordinator.resign() {
            if let Effect::Reply { waiter, response } = effect {
                self.answer(waiter, Some(response));
            }
        }
    }

    fn take(&mut self, coordinator: &mut Coordinator, asked: Asked) -> Vec<Effect> {
        let Asked {
            mut context,
            request,
            answer,
        } = asked;
        self.waiters_made += 1;
        context.waiter = self.waiters_made;
        self.waiting.insert(context.waiter, answer);
        coordinator.handle(&context, request, now())
    }

    /// Breaks off when the coordinator has to resign. What fails at once is told at once: nothing may be built on it.
    fn carry_out(
        &mut self,
        coordinator: &mut Coordinator,
        effects: Vec<Effect>,
    ) -> ControlFlow<()> {
        let mut effects = VecDeque::from(effects);
        while let Some(effect) = effects.pop_front() {
            let at_once = match effect {
                Effect::Reply { waiter, response } => {
                    self.answer(waiter, Some(response));
                    continue;
                }
                Effect::Close { waiter } => {
                    self.answer(waiter, None);
                    continue;
                }
                Effect::Append { token, records } => match self.append(token, &records) {
                    Ok(()) => continue,
                    Err(error) => coordinator.on_append(token, append_outcome(Err(error))?, now()),
                },
                Effect::AwaitCommitted { token } => {
                    let committed = self.log.all_committed();
                    let outcome = async move { (token, committed.await) };
                    self.appending.push(Box::pin(outcome));
                    continue;
                }
                Effect::AllocateProducerId { token } => {
                    self.allocate_producer_id(token);
                    continue;
                }
                Effect::SendMarkers(markers) => {
                    let image = self.followed.image.load_full();
                    let token = markers.token;
                    let not_sent = send(&self.broker, &image, &markers, &self.reports);
                    coordinator.on_markers(token, &not_sent, now())
                }
            };
            for effect in at_once.into_iter().rev() {
                effects.push_front(effect);
            }
        }
        ControlFlow::Continue(())
    }

    fn answer(&mut self, waiter: WaiterId, answer: Answer) {
        if let Some(waiting) = self.waiting.remove(&waiter) {
            // A client that has gone needs no answer.
            let _ = waiting.send(answer);
        }
    }

    fn append(&mut self, token: AppendToken, records: &[Record]) -> Result<(), NotWritten> {
        let records: Vec<_> = records.iter().map(Record::encode).collect();
        let committed = self.log.committed(self.log.append(&records, None)?);
        self.appending
            .push(Box::pin(async move { (token, committed.await) }));
        Ok(())
    }

    fn allocate_producer_id(&mut self, token: ProducerIdToken) {
        let broker = Arc::clone(&self.broker);
        self.allocating.push(Box::pin(async move {
            let allocated = broker.producer_ids.next(&broker).await;
            if let Err(failed) = &allocated {
                warn!(
                    reason = failed.message,
                    "no producer id for a transactional id"
                );
            }
            (token, allocated.ok())
        }));
    }
}

/// A client that has set a config is answered by a broker that knows it.
fn follow(coordinator: &mut Coordinator, config: &mut watch::Receiver<TransactionConfig>) {
    if config.has_changed().unwrap_or(false) {
        let config = config.borrow_and_update().clone();
        coordinator.configure(config, now());
    }
}

/// Breaks off where nobody can know whether the records will be there.
fn append_outcome(outcome: Result<(), NotWritten>) -> ControlFlow<(), Result<(), AppendError>> {
    ControlFlow::Continue(match outcome {
        Ok(()) => Ok(()),
        Err(NotWritten::Lost) => return ControlFlow::Break(()),
        Err(NotWritten::NotAvailable) => Err(AppendError::NotAvailable),
        Err(NotWritten::Refused(_)) => Err(AppendError::TooLarge),
    })
}

async fn sleep_until(deadline_ms: Option<i64>) {
    let Some(deadline_ms) = deadline_ms else {
        return std::future::pending().await;
    };
    let left_ms = deadline_ms.saturating_sub(monotonic_ms());
    let left = Duration::from_millis(u64::try_from(left_ms).unwrap_or(0));
    // One that is out of reach is as good as none.
    match Instant::now().checked_add(left) {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
