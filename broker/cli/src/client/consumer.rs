//! A consumer without a group: it reads given partitions from given offsets.

use std::collections::BTreeMap;
use std::time::Duration;

use foz_protocol::error::ErrorCode;
use foz_protocol::fetch::IsolationLevel;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::fetch_response::PartitionData;
use kafka_protocol::messages::{ApiKey, BrokerId, FetchRequest, FetchResponse, TopicName};
use kafka_protocol::protocol::StrBytes;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use super::error::check;
use super::fetched::read_batches;
use super::retry::Retry;
use super::{Client, ClientError, OffsetAt, Target};
use crate::message::ReceivedMessage;

/// The last version that names topics rather than giving their ids.
const FETCH_VERSION_MAX: i16 = 12;

/// How a consumer behaves.
#[derive(Debug, Clone, Copy)]
pub struct ConsumerConfig {
    /// How long a broker may hold an answer back while there is nothing new.
    pub max_wait: Duration,
    /// Bytes of one answer.
    pub max_bytes: i32,
    /// Bytes of one partition in it.
    pub partition_max_bytes: i32,
    /// How long a partition may be without a leader that answers.
    pub leader_timeout: Duration,
    /// Which records of transactions are read.
    pub isolation_level: IsolationLevel,
}

impl Default for ConsumerConfig {
    fn default() -> Self {
        Self {
            max_wait: Duration::from_millis(500),
            max_bytes: 50 << 20,
            partition_max_bytes: 1 << 20,
            leader_timeout: Duration::from_secs(30),
            isolation_level: IsolationLevel::default(),
        }
    }
}

/// What a poll brought.
#[derive(Debug, Default)]
pub struct Polled {
    /// In order in each partition.
    pub messages: Vec<ReceivedMessage>,
    /// Partitions whose position had been deleted and that go on at their first offset: topic,
    /// partition, offset before, offset now.
    pub jumped: Vec<(String, i32, i64, i64)>,
}

#[derive(Debug, Clone, Copy)]
struct Position {
    offset: i64,
    /// Of what is to be read.
    end: i64,
    busy: bool,
}

type Fetched = (Vec<(String, i32)>, Result<FetchResponse, ClientError>);

/// Reads partitions; leaders may move.
#[derive(Debug)]
pub struct Consumer {
    client: Client,
    config: ConsumerConfig,
    positions: BTreeMap<(String, i32), Position>,
    fetches: JoinSet<Fetched>,
    trouble: Option<Retry>,
}

impl Consumer {
    /// Reads nothing until [`Self::assign`].
    #[must_use]
    pub fn new(client: &Client, config: ConsumerConfig) -> Self {
        Self {
            client: client.with_own_connections(),
            config,
            positions: BTreeMap::new(),
            fetches: JoinSet::new(),
            trouble: None,
        }
    }

    /// Reads `partition` of `topic` from `offset` on.
    pub fn assign(&mut self, topic: &str, partition: i32, offset: i64) {
        let position = Position {
            offset,
            end: i64::MAX,
            busy: false,
        };
        self.positions
            .insert((topic.to_owned(), partition), position);
    }

    /// Reads nothing any more; what was asked for and has not come yet is dropped.
    pub fn unassign_all(&mut self) {
        self.positions.clear();
        self.fetches.abort_all();
        self.fetches = JoinSet::new();
    }

    /// Every partition has been read to its end: the high watermark, or the last stable offset.
    #[must_use]
    pub fn is_at_end(&self) -> bool {
        self.positions
            .values()
            .all(|position| position.offset >= position.end)
    }

    /// Waits for messages until `deadline`; empty when there were none.
    ///
    /// # Errors
    /// [`ClientError`] that trying again does not help against.
    pub async fn poll(&mut self, deadline: Instant) -> Result<Polled, ClientError> {
        self.start_fetches().await?;
        let next = timeout_at(deadline, self.fetches.join_next()).await;
        let Ok(Some(done)) = next else {
            return Ok(Polled::default());
        };
        let (asked, answer) = done.map_err(|error| ClientError::Invalid(error.to_string()))?;
        for key in &asked {
            if let Some(position) = self.positions.get_mut(key) {
                position.busy = false;
            }
        }
        let mut polled = Polled::default();
        match answer {
            Ok(response) => self.take_response(&response, &mut polled).await?,
            Err(error) if error.is_retriable() => self.recover(error).await?,
            Err(error) => return Err(error),
        }
        Ok(polled)
    }

    /// Asks each leader that is not answering already for its partitions.
    async fn start_fetches(&mut self) -> Result<(), ClientError> {
        let cluster = self.client.cluster();
        let mut by_leader: BTreeMap<i32, Vec<(String, i32)>> = BTreeMap::new();
        let mut leaderless = None;
        for ((topic, partition), position) in &self.positions {
            if position.busy {
                continue;
            }
            match cluster.leader(topic, *partition) {
                Some(leader) => by_leader
                    .entry(leader)
                    .or_default()
                    .push((topic.clone(), *partition)),
                None => leaderless = Some(super::offsets::no_leader(topic, *partition)),
            }
        }
        for (leader, keys) in by_leader {
            let request = self.request(&keys);
            for key in &keys {
                if let Some(position) = self.positions.get_mut(key) {
                    position.busy = true;
                }
            }
            let client = self.client.clone();
            self.fetches.spawn(async move {
                let target = Target::Node(leader);
                let answer = client
                    .request(target, ApiKey::Fetch, FETCH_VERSION_MAX, &request)
                    .await;
                (keys, answer)
            });
        }
        match leaderless {
            Some(error) => self.recover(error).await,
            None => Ok(()),
        }
    }

    fn request(&self, keys: &[(String, i32)]) -> FetchRequest {
        let cluster = self.client.cluster();
        let mut request = FetchRequest::default()
            .with_replica_id(BrokerId(-1))
            .with_max_wait_ms(self.config.max_wait.as_millis() as i32)
            .with_min_bytes(1)
            .with_isolation_level(self.config.isolation_level as i8)
            .with_max_bytes(self.config.max_bytes)
            .with_session_epoch(-1);
        for (topic, partition) in keys {
            let Some(position) = self.positions.get(&(topic.clone(), *partition)) else {
                continue;
            };
            let entry = FetchPartition::default()
                .with_partition(*partition)
                .with_current_leader_epoch(cluster.leader_epoch(topic, *partition))
                .with_fetch_offset(position.offset)
                .with_partition_max_bytes(self.config.partition_max_bytes);
            let name = TopicName(StrBytes::from_string(topic.clone()));
            match request
                .topics
                .last_mut()
                .filter(|topic| topic.topic == name)
            {
                Some(topic) => topic.partitions.push(entry),
                None => request.topics.push(
                    FetchTopic::default()
                        .with_topic(name)
                        .with_partitions(vec![entry]),
                ),
            }
        }
        request
    }

    async fn take_response(
        &mut self,
        response: &FetchResponse,
        polled: &mut Polled,
    ) -> Result<(), ClientError> {
        check(response.error_code, None, || "reading".to_owned())?;
        let mut trouble = None;
        for topic in &response.responses {
            let name = topic.topic.0.to_string();
            for data in &topic.partitions {
                let key = (name.clone(), data.partition_index);
                if ErrorCode::from(data.error_code) == ErrorCode::OffsetOutOfRange {
                    self.jump(&key, polled).await?;
                    continue;
                }
                let what = || format!("reading {}-{}", key.0, key.1);
                match check(data.error_code, None, what) {
                    Ok(()) => self.take_partition(&key, data, polled)?,
                    Err(error) if error.is_retriable() => trouble = Some(error),
                    Err(error) => return Err(error),
                }
            }
        }
        match trouble {
            Some(error) => self.recover(error).await,
            None => {
                self.trouble = None;
                Ok(())
            }
        }
    }

    fn take_partition(
        &mut self,
        key: &(String, i32),
        data: &PartitionData,
        polled: &mut Polled,
    ) -> Result<(), ClientError> {
        let Some(position) = self.positions.get_mut(key) else {
            return Ok(());
        };
        position.end = match self.config.isolation_level {
            IsolationLevel::ReadUncommitted => data.high_watermark,
            IsolationLevel::ReadCommitted => data.last_stable_offset,
        };
        let records = data.records.clone().unwrap_or_default();
        let aborted = data.aborted_transactions.as_deref().unwrap_or_default();
        let (from, messages) = (position.offset, &mut polled.messages);
        position.offset = read_batches(key, &records, aborted, from, messages)?;
        Ok(())
    }

    /// The position is gone (retention, or a topic made again): go on at the first offset.
    async fn jump(&mut self, key: &(String, i32), polled: &mut Polled) -> Result<(), ClientError> {
        let (topic, partition) = key;
        let first = match self
            .client
            .offsets(topic, &[*partition], OffsetAt::Earliest)
            .await
        {
            Ok(first) => first,
            Err(error) if error.is_retriable() => return self.recover(error).await,
            Err(error) => return Err(error),
        };
        let Some(position) = self.positions.get_mut(key) else {
            return Ok(());
        };
        let first = first.get(partition).copied().unwrap_or(0);
        polled
            .jumped
            .push((topic.clone(), *partition, position.offset, first));
        position.offset = first;
        Ok(())
    }

    /// Learns who leads now, and waits a little; gives up when this has gone on for too long.
    async fn recover(&mut self, error: ClientError) -> Result<(), ClientError> {
        let retry = self
            .trouble
            .get_or_insert_with(|| Retry::within(self.config.leader_timeout));
        if !retry.pause().await {
            return Err(error);
        }
        let topics: Vec<&str> = self
            .positions
            .keys()
            .map(|(topic, _)| topic.as_str())
            .collect();
        // A failure shows in the next try.
        let _ = self.client.refresh(Some(&topics)).await;
        Ok(())
    }
}
