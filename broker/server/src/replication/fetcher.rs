//! One fetcher: follows partitions of one leader's broker over one connection, in an incremental fetch
//! session (KIP-227).

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use foz_protocol::error::ErrorCode;
use foz_protocol::fetch::{EpochEndOffset, FetchPartition};
use foz_replication::{
    FINAL_EPOCH, FetchedPartition, SessionClient, SessionRequest, TopicIdPartition,
};
use kafka_protocol::messages::fetch_request::{
    FetchPartition as WirePartition, FetchTopic, ForgottenTopic, ReplicaState,
};
use kafka_protocol::messages::fetch_response::PartitionData;
use kafka_protocol::messages::{BrokerId, FetchRequest, FetchResponse};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};
use uuid::Uuid;

use super::connection::NodeConnection;
use super::throttle::{self, Rate};
use crate::broker::Broker;
use crate::partition::{Followed, Key, Partition};

/// What nodes speak with each other. A newer one only after a feature level says that all can.
const FETCH_VERSION: i16 = 18;
/// Between two attempts to reach the leader's broker.
const RECONNECT_PAUSE: Duration = Duration::from_millis(100);
/// A partition whose disk is slower than this does not hold up the others.
const FLUSH_WAIT_MAX: Duration = Duration::from_millis(20);
/// The first pause where the leader's broker does not know yet that it leads; each one after it is twice as
/// long, up to `replica.fetch.backoff.ms`.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
/// What there is no room for is asked for again: less than a leader without room waits for who says that it still leads.
const WITHOUT_ROOM: Duration = Duration::from_millis(300);
/// How long changes of what is followed are gathered.
const GATHERING: Duration = Duration::from_millis(5);
/// Between two fetches that end early for such a change, at least: each costs a look at all that is followed.
const BETWEEN_NUDGES: Duration = Duration::from_millis(100);
/// A leader that was asked for something else answers at once. A connection on which it does not is dead.
const NUDGED_ANSWER_MAX: Duration = Duration::from_millis(500);

/// What a fetcher is to fetch.
#[derive(Debug, Default)]
pub(super) struct Assigned {
    partitions: Mutex<BTreeMap<Key, Arc<Partition>>>,
    /// To look at again: new, or with another leader epoch.
    news: Mutex<BTreeSet<Key>>,
    changed: Notify,
}

impl Assigned {
    pub(super) fn add(&self, partition: Arc<Partition>) {
        let key = partition.key();
        self.partitions.lock().insert(key, partition);
        self.news.lock().insert(key);
        self.changed.notify_one();
    }

    pub(super) fn renew(&self, key: Key) {
        self.news.lock().insert(key);
        self.changed.notify_one();
    }

    pub(super) fn partition(&self, key: Key) -> Option<Arc<Partition>> {
        self.partitions.lock().get(&key).cloned()
    }

    fn has_news(&self) -> bool {
        !self.news.lock().is_empty()
    }

    /// Whether none is left.
    pub(super) fn remove(&self, key: Key) -> bool {
        let mut partitions = self.partitions.lock();
        partitions.remove(&key);
        self.news.lock().insert(key);
        partitions.is_empty()
    }
}

/// Fetches until `stop`.
pub(super) async fn run(
    broker: Arc<Broker>,
    leader: i32,
    assigned: Arc<Assigned>,
    stop: CancellationToken,
) {
    let mut fetcher = Fetcher {
        broker,
        leader,
        assigned,
        session: SessionClient::new(),
        partition_max_bytes: 0,
        throttled_rate: None,
        paused: BTreeMap::new(),
        pauses: BTreeMap::new(),
        flushing: BTreeSet::new(),
        nudged_at: None,
        said: String::new(),
    };
    // A write that was begun is carried out: nothing below awaits in the middle of one.
    tokio::select! {
        () = stop.cancelled() => {}
        () = fetcher.fetch() => {}
    }
    debug!(leader, "fetcher ended");
}

struct Fetcher {
    broker: Arc<Broker>,
    leader: i32,
    assigned: Arc<Assigned>,
    session: SessionClient,
    /// `replica.fetch.max.bytes`.
    partition_max_bytes: i32,
    throttled_rate: Rate,
    paused: BTreeMap<Key, Instant>,
    /// The last pause of those that were not fetched since.
    pauses: BTreeMap<Key, Duration>,
    /// Appended, and not yet on the disk as the partition wants it.
    flushing: BTreeSet<Key>,
    /// When a fetch was ended early last.
    nudged_at: Option<Instant>,
    /// The same is said once.
    said: String,
}

impl Fetcher {
    async fn fetch(&mut self) {
        loop {
            let mut connection = match self.connect().await {
                Ok(connection) => connection,
                Err(reason) => {
                    self.say(reason);
                    tokio::time::sleep(RECONNECT_PAUSE).await;
                    continue;
                }
            };
            loop {
                self.choose().await;
                if self.session.is_empty() {
                    self.wait_for_work().await;
                    continue;
                }
                match self.exchange(&mut connection).await {
                    Ok(answer) => {
                        self.said.clear();
                        self.take(answer).await;
                    }
                    Err(error) => {
                        self.session.failed();
                        self.say(error.to_string());
                        tokio::time::sleep(RECONNECT_PAUSE).await;
                        break;
                    }
                }
            }
        }
    }

    /// One request and its answer. Partitions that come meanwhile must not wait for news of others: the leader
    /// answers at once when it is asked for something else.
    async fn exchange(&mut self, connection: &mut NodeConnection) -> io::Result<FetchResponse> {
        let asked = self.session.request();
        let wait = self.wait_max();
        connection
            .send(FETCH_VERSION, &self.request(&asked, wait))
            .await?;
        let assigned = Arc::clone(&self.assigned);
        let mut nudged_at: Option<Instant> = None;
        let mut nudge_at = None;
        loop {
            let given_up_at = nudged_at.map(|at| at + NUDGED_ANSWER_MAX);
            tokio::select! {
                biased;
                begun = connection.answer_begins(wait) => {
                    begun?;
                    let answer = connection.receive::<FetchRequest>().await?;
                    if nudged_at.is_some() {
                        // Without it the next exchange finds that answers are missing, and begins anew.
                        let _ = tokio::time::timeout(NUDGED_ANSWER_MAX, connection.receive::<FetchRequest>()).await;
                    }
                    return Ok(answer);
                }
                () = until(given_up_at) => {
                    return Err(io::Error::new(io::ErrorKind::TimedOut, "not answered when asked again"));
                }
                () = until(nudge_at) => {
                    nudge_at = None;
                    if assigned.has_news() {
                        connection.send(FETCH_VERSION, &self.nudge()).await?;
                        nudged_at = Some(Instant::now());
                        self.nudged_at = nudged_at;
                    }
                }
                () = assigned.changed.notified(), if nudged_at.is_none() && nudge_at.is_none() => {
                    // Changes come in numbers: topics are made, a broker dies or comes back.
                    let gathered_at = Instant::now() + GATHERING;
                    let earliest = self.nudged_at.map(|at| at + BETWEEN_NUDGES);
                    nudge_at = Some(earliest.map_or(gathered_at, |at| at.max(gathered_at)));
                }
            }
        }
    }

    /// Asks for nothing, in no session.
    fn nudge(&self) -> FetchRequest {
        FetchRequest::default()
            .with_replica_state(self.replica_state())
            .with_session_epoch(FINAL_EPOCH)
            .with_max_bytes(0)
    }

    fn replica_state(&self) -> ReplicaState {
        ReplicaState::default()
            .with_replica_id(BrokerId(self.broker.node_id))
            .with_replica_epoch(self.broker.epoch())
    }

    /// How long the leader may wait for something new.
    fn wait_max(&self) -> Duration {
        if self.session.has_more() {
            // What was forgotten and is wanted again cannot go in one request.
            return Duration::ZERO;
        }
        let configured = self.broker.config_number("replica.fetch.wait.max.ms");
        let configured = Duration::from_millis(configured.unsigned_abs());
        let nearest = self.paused.values().min();
        let pause = nearest.map(|until| until.saturating_duration_since(Instant::now()));
        let flush = (!self.flushing.is_empty()).then_some(FLUSH_WAIT_MAX);
        [Some(configured), pause, flush]
            .into_iter()
            .flatten()
            .min()
            .unwrap_or_default()
    }

    async fn connect(&self) -> Result<NodeConnection, String> {
        let client_id = format!("broker-{}-fetcher", self.broker.node_id);
        NodeConnection::open_to(&self.broker, self.leader, &client_id)
            .await
            .map_err(|error| error.to_string())
    }

    /// Brings the session up to date with where each partition is.
    async fn choose(&mut self) {
        self.partition_max_bytes = self.limit("replica.fetch.max.bytes");
        self.throttled_rate = throttle::rate(&self.broker);
        self.wait_for_flushes().await;
        let now = Instant::now();
        let due: Vec<Key> = self
            .paused
            .iter()
            .filter(|(_, until)| **until <= now)
            .map(|(key, _)| *key)
            .collect();
        for key in due {
            self.paused.remove(&key);
            self.want(key);
        }
        let flushed: Vec<Key> = self.flushing.iter().copied().collect();
        for key in flushed {
            self.want(key);
        }
        let news = std::mem::take(&mut *self.assigned.news.lock());
        for key in news {
            self.paused.remove(&key);
            self.pauses.remove(&key);
            self.want(key);
        }
    }

    fn want(&mut self, key: Key) {
        let at = session_key(key);
        let partition = self.assigned.partition(key);
        let position = partition
            .as_ref()
            .and_then(|it| it.fetch_position())
            .filter(|position| position.leader == self.leader);
        let (Some(partition), Some(position)) = (partition, position) else {
            self.flushing.remove(&key);
            self.session.forget(&at);
            return;
        };
        // What is fetched from here on says that everything before is safe.
        if !partition.is_durable() {
            self.flushing.insert(key);
            self.session.forget(&at);
            return;
        }
        self.flushing.remove(&key);
        let throttle = &self.broker.fetchers.throttle;
        if let Some(pause) = throttle.pause(&self.broker, self.throttled_rate, key) {
            self.paused.insert(key, Instant::now() + pause);
            self.session.forget(&at);
            return;
        }
        // What has no room is thrown away, so no more is asked for than tells that the leader lives, and what it deletes.
        let partition_max_bytes = match partition.has_room() {
            true => self.partition_max_bytes,
            false => 1,
        };
        let how = FetchPartition {
            partition: key.1,
            current_leader_epoch: position.leader_epoch,
            fetch_offset: position.offset,
            last_fetched_epoch: position.last_fetched_epoch,
            log_start_offset: position.log_start_offset,
            partition_max_bytes,
            replica_directory_id: Uuid::nil(),
            high_watermark: position.high_watermark,
        };
        self.session.want(at, how);
    }

    async fn wait_for_flushes(&self) {
        let deadline = Instant::now() + FLUSH_WAIT_MAX;
        for key in &self.flushing {
            let partition = self.assigned.partition(*key);
            let Some(partition) = partition else { continue };
            loop {
                let waiter = Arc::new(Notify::new());
                partition.moved.register(&waiter);
                if partition.is_durable() {
                    break;
                }
                if tokio::time::timeout_at(deadline, waiter.notified())
                    .await
                    .is_err()
                {
                    return;
                }
            }
        }
    }

    async fn wait_for_work(&self) {
        let next = self.paused.values().min().copied();
        let pause = async {
            match next {
                _ if !self.flushing.is_empty() => tokio::time::sleep(FLUSH_WAIT_MAX).await,
                Some(until) => tokio::time::sleep_until(until).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = self.assigned.changed.notified() => {}
            () = pause => {}
        }
    }

    fn limit(&self, key: &str) -> i32 {
        i32::try_from(self.broker.config_number(key)).unwrap_or(i32::MAX)
    }

    fn request(&self, asked: &SessionRequest, wait: Duration) -> FetchRequest {
        let mut topics: BTreeMap<Uuid, Vec<WirePartition>> = BTreeMap::new();
        for (at, how) in &asked.to_send {
            let partition = WirePartition::default()
                .with_partition(at.partition)
                .with_current_leader_epoch(how.current_leader_epoch)
                .with_fetch_offset(how.fetch_offset)
                .with_last_fetched_epoch(how.last_fetched_epoch)
                .with_log_start_offset(how.log_start_offset)
                .with_partition_max_bytes(how.partition_max_bytes)
                .with_high_watermark(how.high_watermark);
            topics.entry(at.topic_id).or_default().push(partition);
        }
        let mut forgotten: BTreeMap<Uuid, Vec<i32>> = BTreeMap::new();
        for at in &asked.forgotten {
            forgotten.entry(at.topic_id).or_default().push(at.partition);
        }
        let topics = topics.into_iter().map(|(id, partitions)| {
            FetchTopic::default()
                .with_topic_id(id)
                .with_partitions(partitions)
        });
        let forgotten = forgotten.into_iter().map(|(id, partitions)| {
            ForgottenTopic::default()
                .with_topic_id(id)
                .with_partitions(partitions)
        });
        FetchRequest::default()
            .with_replica_state(self.replica_state())
            .with_max_wait_ms(i32::try_from(wait.as_millis()).unwrap_or(i32::MAX))
            .with_min_bytes(self.limit("replica.fetch.min.bytes"))
            .with_max_bytes(self.limit("replica.fetch.response.max.bytes"))
            .with_session_id(asked.session_id)
            .with_session_epoch(asked.session_epoch)
            .with_topics(topics.collect())
            .with_forgotten_topics_data(forgotten.collect())
    }

    async fn take(&mut self, answer: FetchResponse) {
        let error = ErrorCode::from(answer.error_code);
        let partitions: Vec<(Key, PartitionData)> = answer
            .responses
            .into_iter()
            .flat_map(|topic| {
                let id = topic.topic_id;
                topic
                    .partitions
                    .into_iter()
                    .map(move |it| ((id, it.partition_index), it))
            })
            .collect();
        let named = partitions.iter().map(|(key, _)| session_key(*key));
        let problem =
            self.session
                .answered(error, answer.session_id, named, answer.throttle_time_ms);
        if let Err(problem) = problem {
            debug!(leader = self.leader, %problem, "fetch session begins anew");
            // One that answers wrongly for ever must not be asked without end.
            tokio::time::sleep(FIRST_PAUSE).await;
            return;
        }
        // Writes go to the page cache, but a full one makes them wait for the disk.
        let lacks_room = tokio::task::block_in_place(|| {
            let taken = partitions.into_iter();
            let taken = taken.map(|(key, data)| self.take_partition(key, data));
            taken.fold(false, |before, lacks_room| before | lacks_room)
        });
        if lacks_room {
            self.rest_without_room().await;
        }
    }

    /// The leader sends records of one partition after the other, to be thrown away, so all rest that have no room: one
    /// fetch for all tells that this broker lives, and who leads. They stay in the session while that has nothing else:
    /// what tells the leader when a fetch was made is a session that goes on.
    async fn rest_without_room(&mut self) {
        let partitions = self.assigned.partitions.lock().clone();
        let has_room = |at: &TopicIdPartition| {
            let partition = partitions.get(&(at.topic_id, at.partition));
            partition.is_some_and(|partition| partition.has_room())
        };
        let wanted = self.session.all_wanted().copied();
        let (with_room, without): (Vec<_>, Vec<_>) = wanted.partition(has_room);
        if with_room.is_empty() {
            tokio::time::sleep(WITHOUT_ROOM).await;
            return;
        }
        for at in without {
            let until = Instant::now() + WITHOUT_ROOM;
            self.paused.insert((at.topic_id, at.partition), until);
            self.session.forget(&at);
        }
    }

    /// Whether there was no room for it.
    fn take_partition(&mut self, key: Key, data: PartitionData) -> bool {
        let at = session_key(key);
        let Some(asked) = self.session.wanted(&at).copied() else {
            return false;
        };
        let Some(partition) = self.assigned.partition(key) else {
            return false;
        };
        let diverging = Some(&data.diverging_epoch).filter(|it| it.epoch >= 0);
        let fetched = FetchedPartition {
            request_leader_epoch: asked.current_leader_epoch,
            request_offset: asked.fetch_offset,
            error: ErrorCode::from(data.error_code),
            high_watermark: data.high_watermark,
            log_start_offset: data.log_start_offset,
            diverging_epoch: diverging.map(|it| EpochEndOffset {
                epoch: it.epoch,
                end_offset: it.end_offset,
            }),
            current_leader_epoch: data.current_leader.leader_epoch,
        };
        let records = data.records.unwrap_or_default();
        let throttle = &self.broker.fetchers.throttle;
        throttle.fetched(&self.broker, self.throttled_rate, key, records.len());
        match partition.take(&fetched, &records) {
            Followed::On => {
                self.pauses.remove(&key);
                self.want(key);
            }
            // It stays in the session: by the next request it mostly is on the disk.
            Followed::OnceFlushed => {
                self.flushing.insert(key);
            }
            Followed::Later if !records.is_empty() && !partition.has_room() => {
                return true;
            }
            Followed::Later => {
                debug!(partition = partition.name(), error = ?fetched.error, "fetched again after a pause");
                self.pause(key, fetched.error);
                self.session.forget(&at);
            }
            Followed::NoMore => self.session.forget(&at),
        }
        false
    }

    fn pause(&mut self, key: Key, error: ErrorCode) {
        let longest = self.broker.config_number("replica.fetch.backoff.ms");
        let longest = Duration::from_millis(longest.unsigned_abs());
        let pause = match error {
            // Its broker hears of the change a moment later than this one, and producers wait for it.
            ErrorCode::UnknownLeaderEpoch
            | ErrorCode::NotLeaderOrFollower
            | ErrorCode::UnknownTopicId
            | ErrorCode::UnknownTopicOrPartition => match self.pauses.get(&key) {
                Some(last) => (*last * 2).min(longest),
                None => FIRST_PAUSE.min(longest),
            },
            _ => longest,
        };
        self.pauses.insert(key, pause);
        self.paused.insert(key, Instant::now() + pause);
    }

    fn say(&mut self, reason: String) {
        if self.said != reason {
            if self.said.is_empty() {
                info!(
                    leader = self.leader,
                    reason, "leader not reached; trying again"
                );
            } else {
                warn!(
                    leader = self.leader,
                    reason, "leader not reached; trying again"
                );
            }
            self.said = reason;
        }
    }
}

/// Never where there is no such moment.
async fn until(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

fn session_key((topic_id, partition): Key) -> TopicIdPartition {
    TopicIdPartition {
        topic_id,
        partition,
    }
}
