//! A small Kafka client: connections, metadata, admin calls, a producer and a consumer.
//!
//! ```no_run
//! # async fn example() -> Result<(), foz_cli::client::ClientError> {
//! use foz_cli::client::{Client, ClientConfig, Producer, ProducerConfig};
//! use foz_cli::message::Message;
//!
//! let client = Client::connect(ClientConfig::new(["localhost:9092"])).await?;
//! let mut producer = Producer::new(client, ProducerConfig::default()).await?;
//! producer.send("orders", Message::of("one")).await?;
//! producer.flush().await?;
//! # Ok(())
//! # }
//! ```

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::{ApiKey, MetadataRequest, TopicName};
use kafka_protocol::protocol::{Request, StrBytes};
use tokio::time::timeout;

use connection::Connection;

mod admin;
mod assignor;
mod batches;
mod connection;
mod consumer;
mod delete_records;
mod error;
mod fetched;
mod group;
mod metadata;
mod offsets;
mod producer;
mod retry;
mod topics;

pub use admin::{ConfigChange, ConfigEntry, CreatedTopic, NewTopic};
pub use consumer::{Consumer, ConsumerConfig, Polled};
pub use delete_records::DELETE_ALL;
pub use error::ClientError;
pub use group::{GroupMember, Membership};
pub use metadata::{Cluster, Partition, Topic};
pub use offsets::OffsetAt;
pub use producer::{Producer, ProducerConfig};
pub use retry::Retry;
pub use topics::UNKNOWN_TOPIC_GRACE;

/// How a client behaves.
#[derive(Debug, Clone)]
pub struct ClientConfig {
    /// `host:port` of some brokers; one that answers is enough.
    pub bootstrap: Vec<String>,
    /// What the brokers' logs call us.
    pub client_id: String,
    /// How long a connection may take.
    pub connect_timeout: Duration,
    /// How long an answer may take.
    pub request_timeout: Duration,
}

impl ClientConfig {
    /// With limits that suit a person at a terminal.
    pub fn new<S: Into<String>>(bootstrap: impl IntoIterator<Item = S>) -> Self {
        Self {
            bootstrap: bootstrap.into_iter().map(Into::into).collect(),
            client_id: "foz".to_owned(),
            connect_timeout: Duration::from_secs(5),
            request_timeout: Duration::from_secs(30),
        }
    }
}

/// Whom a request is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// Any broker.
    Any,
    /// The broker that takes changes; any broker when it is not known.
    Controller,
    /// This broker.
    Node(i32),
}

/// A connection that is idle, or none. Whoever uses it takes it out and puts it back only after a
/// whole answer: a request that is dropped half-way drops its connection too.
type Slot = Arc<tokio::sync::Mutex<Option<Connection>>>;

/// A client of one cluster; clones share connections and metadata.
#[derive(Debug, Clone)]
pub struct Client {
    config: Arc<ClientConfig>,
    slots: Arc<Mutex<HashMap<String, Slot>>>,
    cluster: Arc<Mutex<Arc<Cluster>>>,
}

impl Client {
    /// Connects to the first bootstrap server that answers and learns who the brokers are.
    ///
    /// # Errors
    /// [`ClientError::Bootstrap`] when none answers.
    pub async fn connect(config: ClientConfig) -> Result<Self, ClientError> {
        let client = Self {
            config: Arc::new(config),
            slots: Arc::default(),
            cluster: Arc::default(),
        };
        client.refresh(Some(&[])).await?;
        Ok(client)
    }

    /// The same client with connections of its own, so that a long poll holds up nobody else.
    #[must_use]
    pub fn with_own_connections(&self) -> Self {
        Self {
            slots: Arc::default(),
            ..self.clone()
        }
    }

    /// The same client with another limit for answers.
    #[must_use]
    pub fn with_request_timeout(&self, request_timeout: Duration) -> Self {
        let config = ClientConfig {
            request_timeout,
            ..ClientConfig::clone(&self.config)
        };
        Self {
            config: Arc::new(config),
            ..self.clone()
        }
    }

    /// What was last learnt of the cluster.
    #[must_use]
    pub fn cluster(&self) -> Arc<Cluster> {
        Arc::clone(&self.cluster.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Asks for the brokers and for `topics` (`None` is all), and remembers the answer; what is known
    /// of other topics stays. A topic that does not exist comes with its error and is not created.
    ///
    /// # Errors
    /// [`ClientError`] when no broker answers.
    pub async fn refresh(&self, topics: Option<&[&str]>) -> Result<Arc<Cluster>, ClientError> {
        let asked_for_all = topics.is_none();
        let topics = topics.map(|names| {
            let name = |name: &&str| TopicName(StrBytes::from_string((*name).to_owned()));
            names
                .iter()
                .map(|it| MetadataRequestTopic::default().with_name(Some(name(it))))
                .collect()
        });
        let request = MetadataRequest::default()
            .with_topics(topics)
            .with_allow_auto_topic_creation(false);
        let response = self
            .request(Target::Any, ApiKey::Metadata, i16::MAX, &request)
            .await?;
        let mut learnt = Cluster::from_response(&response);
        let mut cluster = self.cluster.lock().unwrap_or_else(PoisonError::into_inner);
        if !asked_for_all {
            for (name, topic) in &cluster.topics {
                learnt
                    .topics
                    .entry(name.clone())
                    .or_insert_with(|| topic.clone());
            }
        }
        *cluster = Arc::new(learnt);
        Ok(Arc::clone(&cluster))
    }

    /// Sends one request, in the greatest version that both sides know and at most `version_max`.
    ///
    /// # Errors
    /// [`ClientError`] when there is no answer; what the answer says is the caller's to look at.
    pub async fn request<T: Request>(
        &self,
        target: Target,
        api: ApiKey,
        version_max: i16,
        request: &T,
    ) -> Result<T::Response, ClientError> {
        let cluster = self.cluster();
        let address = |node: i32| cluster.brokers.get(&node);
        let node = match target {
            Target::Any => None,
            Target::Controller => address(cluster.controller_id),
            Target::Node(node) => Some(address(node).ok_or_else(|| ClientError::Connect {
                address: format!("broker {node}"),
                reason: "the cluster does not know its address at the moment".to_owned(),
            })?),
        };
        if let Some(address) = node {
            return self.request_at(address, api, version_max, request).await;
        }
        self.request_anywhere(&cluster, api, version_max, request)
            .await
    }

    /// Tries the known brokers and then the bootstrap servers, until one answers.
    async fn request_anywhere<T: Request>(
        &self,
        cluster: &Cluster,
        api: ApiKey,
        version_max: i16,
        request: &T,
    ) -> Result<T::Response, ClientError> {
        let mut last = None;
        // Bootstrap servers first: that address worked for the user; advertised ones may not.
        for address in self.config.bootstrap.iter().chain(cluster.brokers.values()) {
            match self.request_at(address, api, version_max, request).await {
                Err(error) if error.is_retriable() => last = Some(error),
                answered => return answered,
            }
        }
        let last = last.unwrap_or_else(|| ClientError::Invalid("no address is given".to_owned()));
        let addresses = self.config.bootstrap.join(", ");
        Err(ClientError::Bootstrap {
            addresses,
            last: Box::new(last),
        })
    }

    async fn request_at<T: Request>(
        &self,
        address: &str,
        api: ApiKey,
        version_max: i16,
        request: &T,
    ) -> Result<T::Response, ClientError> {
        let slot = {
            let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(slots.entry(address.to_owned()).or_default())
        };
        let mut slot = slot.lock().await;
        let mut connection = match slot.take() {
            Some(connection) => connection,
            None => {
                let config = &self.config;
                Connection::open(address, &config.client_id, config.connect_timeout).await?
            }
        };
        let limit = self.config.request_timeout;
        let answer = timeout(limit, connection.request(api, version_max, request)).await;
        let answer = answer.map_err(|_| ClientError::TimedOut {
            what: format!("{api:?} at {address}"),
            after: limit,
        })??;
        *slot = Some(connection);
        Ok(answer)
    }
}
