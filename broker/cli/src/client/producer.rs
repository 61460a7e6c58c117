//! An idempotent producer with acks=all.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use foz_protocol::codec::Compression;
use foz_protocol::error::ErrorCode;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::produce_response::PartitionProduceResponse;
use kafka_protocol::messages::{
    ApiKey, InitProducerIdRequest, ProduceRequest, ProduceResponse, ProducerId, TopicName,
};
use kafka_protocol::protocol::StrBytes;
use tokio::task::JoinSet;

use super::batches::{Batches, TopicPartition};
use super::error::check;
use super::retry::Retry;
use super::topics::UNKNOWN_TOPIC_GRACE;
use super::{Client, ClientError, Target};
use crate::message::Message;
use crate::partitioner::partition_of_key;

/// acks=all.
const ALL_IN_SYNC_REPLICAS: i16 = -1;
/// The last version that names topics rather than giving their ids.
const PRODUCE_VERSION_MAX: i16 = 12;
/// Messages without a key stay with a partition for so many, so that batches fill (KIP-480).
const STICKY_MESSAGES: u64 = 500;

/// How a producer behaves.
#[derive(Debug, Clone, Copy)]
pub struct ProducerConfig {
    /// Of its batches.
    pub compression: Compression,
    /// Bytes, before compression, that fill a batch.
    pub batch_bytes: usize,
    /// Bytes that may wait before [`Producer::send`] sends them itself.
    pub buffer_bytes: usize,
    /// How long a message may take until it is acknowledged, with all retries.
    pub delivery_timeout: Duration,
}

impl Default for ProducerConfig {
    fn default() -> Self {
        Self {
            compression: Compression::None,
            batch_bytes: 128 << 10,
            buffer_bytes: 8 << 20,
            delivery_timeout: Duration::from_secs(30),
        }
    }
}

/// Sends messages; what [`Self::flush`] reports was acknowledged by all in-sync replicas.
#[derive(Debug)]
pub struct Producer {
    client: Client,
    config: ProducerConfig,
    batches: Batches,
    keyless: HashMap<String, u64>,
    acknowledged: u64,
}

impl Producer {
    /// Gets a producer id from the cluster.
    ///
    /// # Errors
    /// [`ClientError`] when there is none within the delivery timeout.
    pub async fn new(client: Client, config: ProducerConfig) -> Result<Self, ClientError> {
        let retry = Retry::within(config.delivery_timeout);
        let producer = retry.run(async || init_producer_id(&client).await).await?;
        Ok(Self {
            batches: Batches::new(config.compression, config.batch_bytes, producer),
            client,
            config,
            keyless: HashMap::new(),
            acknowledged: 0,
        })
    }

    /// Messages acknowledged so far.
    #[must_use]
    pub fn acknowledged(&self) -> u64 {
        self.acknowledged
    }

    /// Takes a message; sends when enough wait.
    ///
    /// # Errors
    /// [`ClientError`] when the topic does not exist, the partition does not, or sending failed.
    pub async fn send(&mut self, topic: &str, message: Message) -> Result<(), ClientError> {
        let partition_count = self.partition_count(topic).await?;
        let partition = self.partition_of(topic, partition_count, &message)?;
        self.batches
            .push((topic.to_owned(), partition), &message, now_ms())?;
        if self.batches.bytes() >= self.config.buffer_bytes {
            self.flush().await?;
        }
        Ok(())
    }

    /// Sends all that waits and returns when all of it is acknowledged.
    ///
    /// # Errors
    /// The first error that trying again does not help against, or the last one at the deadline.
    pub async fn flush(&mut self) -> Result<(), ClientError> {
        self.batches.seal_all()?;
        let mut retry = Retry::within(self.config.delivery_timeout);
        while self.batches.heads().next().is_some() {
            match self.send_heads().await? {
                None => retry = Retry::within(self.config.delivery_timeout),
                Some(error) => {
                    if !retry.pause().await {
                        return Err(error);
                    }
                    self.refresh_topics().await;
                }
            }
        }
        Ok(())
    }

    /// Sends the oldest batch of each partition, one request to each leader at the same time. Returns
    /// an error that is worth another try.
    async fn send_heads(&mut self) -> Result<Option<ClientError>, ClientError> {
        let (by_leader, mut again) = self.requests();
        let mut requests = JoinSet::new();
        for (leader, (request, sent)) in by_leader {
            let client = self.client.clone();
            requests.spawn(async move {
                let target = Target::Node(leader);
                let answer = client
                    .request(target, ApiKey::Produce, PRODUCE_VERSION_MAX, &request)
                    .await;
                (sent, answer)
            });
        }
        while let Some(done) = requests.join_next().await {
            let (sent, answer) = done.map_err(|error| ClientError::Invalid(error.to_string()))?;
            match answer {
                Ok(response) => again = self.take_response(&sent, &response)?.or(again),
                Err(error) if error.is_retriable() => again = Some(error),
                Err(error) => return Err(error),
            }
        }
        Ok(again)
    }

    fn requests(&self) -> (Requests, Option<ClientError>) {
        let cluster = self.client.cluster();
        let mut again = None;
        let mut by_leader = Requests::new();
        for (to, batch) in self.batches.heads() {
            let Some(leader) = cluster.leader(&to.0, to.1) else {
                again = Some(super::offsets::no_leader(&to.0, to.1));
                continue;
            };
            let (request, sent) = by_leader.entry(leader).or_insert_with(|| {
                let request = ProduceRequest::default()
                    .with_acks(ALL_IN_SYNC_REPLICAS)
                    .with_timeout_ms(30_000);
                (request, Vec::new())
            });
            let data = PartitionProduceData::default()
                .with_index(to.1)
                .with_records(Some(batch.bytes.clone()));
            let name = TopicName(StrBytes::from_string(to.0.clone()));
            match request
                .topic_data
                .last_mut()
                .filter(|topic| topic.name == name)
            {
                Some(topic) => topic.partition_data.push(data),
                None => request.topic_data.push(
                    TopicProduceData::default()
                        .with_name(name)
                        .with_partition_data(vec![data]),
                ),
            }
            sent.push((to.clone(), batch.record_count));
        }
        (by_leader, again)
    }

    fn take_response(
        &mut self,
        sent: &[(TopicPartition, i32)],
        response: &ProduceResponse,
    ) -> Result<Option<ClientError>, ClientError> {
        let mut again = None;
        for (to, record_count) in sent {
            let Some(answer) = answer_for(response, to) else {
                let what = format!("writing to {}-{}", to.0, to.1);
                return Err(ClientError::Invalid(format!(
                    "{what}: the answer does not mention it"
                )));
            };
            match ErrorCode::from(answer.error_code) {
                // Written by an earlier try whose answer was lost.
                ErrorCode::None | ErrorCode::DuplicateSequenceNumber => {
                    self.batches.written(to);
                    self.acknowledged += u64::from(record_count.unsigned_abs());
                }
                ErrorCode::MessageTooLarge if self.batches.split(to)? => {}
                _ => {
                    let message = answer.error_message.as_deref();
                    let what = || format!("writing to {}-{}", to.0, to.1);
                    match check(answer.error_code, message, what) {
                        Err(error) if error.is_retriable() => again = Some(error),
                        refused => refused?,
                    }
                }
            }
        }
        Ok(again)
    }

    async fn refresh_topics(&self) {
        let topics: Vec<&str> = self
            .batches
            .heads()
            .map(|((topic, _), _)| topic.as_str())
            .collect();
        // A failure shows in the next try.
        let _ = self.client.refresh(Some(&topics)).await;
    }

    async fn partition_count(&self, topic: &str) -> Result<i32, ClientError> {
        let known = |client: &Client| {
            let cluster = client.cluster();
            cluster
                .topics
                .get(topic)
                .map(|topic| topic.partitions.len() as i32)
        };
        match known(&self.client) {
            Some(count) if count > 0 => Ok(count),
            _ => {
                let partitions = self
                    .client
                    .partitions_of(topic, UNKNOWN_TOPIC_GRACE)
                    .await?;
                Ok(partitions.len() as i32)
            }
        }
    }

    fn partition_of(
        &mut self,
        topic: &str,
        partition_count: i32,
        message: &Message,
    ) -> Result<i32, ClientError> {
        match (message.partition, &message.key) {
            (Some(partition), _) if (0..partition_count).contains(&partition) => Ok(partition),
            (Some(partition), _) => Err(no_such_partition(topic, partition, partition_count)),
            (None, Some(key)) => Ok(partition_of_key(key, partition_count)),
            (None, None) => {
                // The first partition depends on the clock, so that short runs spread too.
                let first = || u64::from(now_ms().unsigned_abs() as u32) * STICKY_MESSAGES;
                let sent = self.keyless.entry(topic.to_owned()).or_insert_with(first);
                *sent += 1;
                Ok((*sent / STICKY_MESSAGES % partition_count.unsigned_abs() as u64) as i32)
            }
        }
    }
}

/// For each leader its request, and what is in it.
type Requests = BTreeMap<i32, (ProduceRequest, Vec<(TopicPartition, i32)>)>;

pub(crate) fn no_such_partition(topic: &str, partition: i32, count: i32) -> ClientError {
    ClientError::Invalid(format!(
        "topic {topic} has no partition {partition}: it has {count}, 0 to {}",
        count - 1
    ))
}

fn answer_for<'a>(
    response: &'a ProduceResponse,
    (topic, partition): &TopicPartition,
) -> Option<&'a PartitionProduceResponse> {
    let topics = response
        .responses
        .iter()
        .filter(|it| it.name.0.as_str() == topic);
    topics
        .flat_map(|it| &it.partition_responses)
        .find(|it| it.index == *partition)
}

async fn init_producer_id(client: &Client) -> Result<(i64, i16), ClientError> {
    let request = InitProducerIdRequest::default()
        .with_transactional_id(None)
        .with_transaction_timeout_ms(i32::MAX)
        .with_producer_id(ProducerId(-1))
        .with_producer_epoch(-1);
    let response = client
        .request(Target::Any, ApiKey::InitProducerId, 4, &request)
        .await?;
    check(response.error_code, None, || {
        "asking for a producer id".to_owned()
    })?;
    Ok((response.producer_id.0, response.producer_epoch))
}

fn now_ms() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
