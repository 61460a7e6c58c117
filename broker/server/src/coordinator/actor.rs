//! The task that owns one coordinator.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use foz_groups::{
    AppendError, AppendToken, Coordinator, Effect, GroupConfig, Now, Record, Request,
    RequestContext as GroupContext, Response, WaiterId,
};
use foz_metadata::Image;
use foz_protocol::codec::Compression;
use foz_protocol::error::ErrorCode;
use foz_protocol::record::{BatchBuilder, RecordToWrite};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use kafka_protocol::ResponseError;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};
use tracing::{error, warn};
use uuid::Uuid;

use super::counted::{Counted, Counts};
use super::load::{Load, Loaded, gone_topics, load};
use crate::partition::{Partition, ProduceError, wall_clock_ms};
use crate::request::RequestContext;

/// Requests that may wait for one coordinator. More are refused as `COORDINATOR_NOT_AVAILABLE`.
const QUEUE_MAX: usize = 10_000;
/// Kafka's `offsets.retention.check.interval.ms`.
const EXPIRY_INTERVAL: Duration = Duration::from_secs(600);

/// A running coordinator; dropping the handle makes it resign.
#[derive(Debug)]
pub(super) struct ActorHandle {
    topic_id: Uuid,
    leader_epoch: i32,
    queue: mpsc::Sender<Message>,
}

pub(super) enum Message {
    Ask(Box<Asked>),
    TopicsDeleted(Arc<[String]>),
}

pub(super) struct Asked {
    context: GroupContext,
    request: Request,
    answer: oneshot::Sender<Response>,
}

impl ActorHandle {
    /// Loads the groups from the partition and begins to coordinate. `image` is the one by which this
    /// broker leads; the handle is told of topics that are deleted after it.
    pub(super) fn start(
        partition: Arc<Partition>,
        (topic_id, leader_epoch): (Uuid, i32),
        config: GroupConfig,
        image: Arc<Image>,
        counts: Counts,
    ) -> Self {
        let (queue, messages) = mpsc::channel(QUEUE_MAX);
        let led = Led {
            partition,
            leader_epoch,
        };
        tokio::spawn(run(led, config, image, messages, counts));
        Self {
            topic_id,
            leader_epoch,
            queue,
        }
    }

    /// The topic's id and the leader epoch.
    pub(super) fn leads(&self) -> (Uuid, i32) {
        (self.topic_id, self.leader_epoch)
    }

    /// The answer never comes when the coordinator has resigned.
    pub(super) fn ask(
        &self,
        context: &RequestContext,
        request: Request,
    ) -> oneshot::Receiver<Response> {
        let (answer, answered) = oneshot::channel();
        let context = GroupContext {
            waiter: 0,
            api_version: context.version,
            client_id: context.client_id.clone(),
            client_host: format!("/{}", context.client.peer.ip()),
            member_uuid: Uuid::new_v4(),
        };
        let asked = Box::new(Asked {
            context,
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

/// What a coordinator may write to: the partition, in the leader epoch that it coordinates for. After
/// it, another coordinator may have loaded what is there, so nothing may be added.
#[derive(Clone)]
pub(super) struct Led {
    pub(super) partition: Arc<Partition>,
    pub(super) leader_epoch: i32,
}

async fn run(
    led: Led,
    config: GroupConfig,
    image: Arc<Image>,
    mut messages: mpsc::Receiver<Message>,
    counts: Counts,
) {
    let clock = Clock {
        origin: Instant::now(),
    };
    let loading = Counted::new(&counts.loading);
    let load = load(&led, config, &mut messages, clock).await;
    drop(loading);
    let loaded = match load {
        Load::Done(loaded) => loaded,
        Load::Resigned => return,
        Load::Failed => {
            drop((led, image));
            let _failed = Counted::new(&counts.failed);
            return refuse_all(messages).await;
        }
    };
    let _active = Counted::new(&counts.active);
    let Loaded {
        mut coordinator,
        mut effects,
        topics_deleted,
    } = *loaded;
    let gone = gone_topics(&coordinator, &image, &topics_deleted);
    let gone: Vec<&str> = gone.iter().map(String::as_str).collect();
    effects.extend(coordinator.on_topics_deleted(&gone, clock.now()));
    drop(image);
    let mut actor = Actor {
        led,
        clock,
        waiting: HashMap::new(),
        waiters_made: 0,
        appending: FuturesUnordered::new(),
    };
    actor.serve(coordinator, effects, messages).await;
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

struct Actor {
    led: Led,
    clock: Clock,
    waiting: HashMap<WaiterId, oneshot::Sender<Response>>,
    waiters_made: WaiterId,
    appending: FuturesUnordered<std::pin::Pin<Box<dyn Future<Output = Outcome> + Send>>>,
}

impl Actor {
    async fn serve(
        &mut self,
        mut coordinator: Coordinator,
        effects: Vec<Effect>,
        mut messages: mpsc::Receiver<Message>,
    ) {
        let mut expiry = tokio::time::interval(EXPIRY_INTERVAL);
        expiry.tick().await;
        self.carry_out(effects);
        loop {
            let deadline = coordinator
                .next_deadline()
                .map(|deadline| self.clock.at(deadline));
            let timer = async {
                match deadline {
                    Some(deadline) => tokio::time::sleep_until(deadline).await,
                    None => std::future::pending().await,
                }
            };
            let effects = tokio::select! {
                message = messages.recv() => match message {
                    None => break,
                    // Its place is taken by another, or will be: what is left waits for that one.
                    Some(Message::Ask(asked)) if messages.is_closed() => {
                        asked.refuse(ResponseError::NotCoordinator);
                        continue;
                    }
                    Some(message) => self.take(&mut coordinator, message),
                },
                Some((token, outcome)) = self.appending.next() => {
                    coordinator.on_append(token, outcome, self.clock.now())
                }
                () = timer => coordinator.on_timer(self.clock.now()),
                _ = expiry.tick() => coordinator.expire_offsets(self.clock.now()),
            };
            self.carry_out(effects);
        }
        self.carry_out(coordinator.resign());
    }

    fn take(&mut self, coordinator: &mut Coordinator, message: Message) -> Vec<Effect> {
        let now = self.clock.now();
        match message {
            Message::Ask(asked) => {
                let Asked {
                    mut context,
                    request,
                    answer,
                } = *asked;
                self.waiters_made += 1;
                context.waiter = self.waiters_made;
                self.waiting.insert(context.waiter, answer);
                coordinator.handle(&context, request, now)
            }
            Message::TopicsDeleted(names) => {
                let names: Vec<&str> = names.iter().map(String::as_str).collect();
                coordinator.on_topics_deleted(&names, now)
            }
        }
    }

    fn carry_out(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Reply { waiter, response } => {
                    if let Some(answer) = self.waiting.remove(&waiter) {
                        // A client that has gone needs no answer.
                        let _ = answer.send(response);
                    }
                }
                Effect::Append { token, records } => self.append(token, &records),
                Effect::AwaitCommitted { token } => self.await_committed(token),
            }
        }
    }

    /// Waits for what was in the log when the coordinator was loaded, and whatever it has appended by now.
    fn await_committed(&mut self, token: AppendToken) {
        let Led {
            partition,
            leader_epoch,
        } = self.led.clone();
        self.appending.push(Box::pin(async move {
            let committed = partition.all_acknowledged(leader_epoch).await;
            (token, committed.map_err(|_| AppendError::NotCoordinator))
        }));
    }

    fn append(&mut self, token: AppendToken, records: &[Record]) {
        let appended = batch_of(records).and_then(|batch| {
            self.led
                .partition
                .append_in_epoch(self.led.leader_epoch, batch)
                .map_err(|error| append_error(&error))
        });
        let partition = Arc::clone(&self.led.partition);
        self.appending.push(Box::pin(async move {
            let outcome = match appended {
                // Without a limit of its own: the outcome is open until it is committed, or the leadership
                // is lost and the coordinator with it. Who waits for it does so for a limited time.
                Ok(produced) => match partition.acknowledged(&produced).await {
                    // Committed, with as many replicas as it takes; some of them have left since.
                    Ok(()) | Err(ErrorCode::NotEnoughReplicasAfterAppend) => Ok(()),
                    Err(_) => Err(AppendError::NotCoordinator),
                },
                Err(error) => Err(error),
            };
            (token, outcome)
        }));
    }
}

fn batch_of(records: &[Record]) -> Result<BytesMut, AppendError> {
    let timestamp_ms = wall_clock_ms();
    let mut builder = BatchBuilder::new(Compression::None);
    for record in records {
        builder.push(&RecordToWrite {
            timestamp_ms,
            key: Some(&record.key),
            value: record.value.as_deref(),
            headers: &[],
        });
    }
    let built = builder.build().map_err(|error| {
        error!(%error, "records of a group make no batch");
        AppendError::TooLarge
    })?;
    Ok(BytesMut::from(built.as_slice()))
}

fn append_error(error: &ProduceError) -> AppendError {
    match error {
        ProduceError::NotLeader => AppendError::NotCoordinator,
        ProduceError::Append { error, .. }
            if error.error_code() == ErrorCode::NotLeaderOrFollower =>
        {
            AppendError::NotCoordinator
        }
        ProduceError::Append { error, .. } if error.error_code() == ErrorCode::MessageTooLarge => {
            AppendError::TooLarge
        }
        ProduceError::Acks(_)
        | ProduceError::NoRoom
        | ProduceError::TooFewHaveRoom
        | ProduceError::Append { .. } => AppendError::NotAvailable,
    }
}
