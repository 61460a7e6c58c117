//! What all handlers share.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use arc_swap::ArcSwap;
use foz_api::ActiveController;
use foz_api::v1::admin_client::AdminClient;
use foz_api::v1::create_topics_request::NewTopic;
use foz_api::v1::{self as api};
use foz_metadata::Image;
use foz_metadata::config::{Effective, Resolver, Source};
use foz_replication::SessionCache;
use tokio::sync::watch;
use tracing::{info, warn};

use crate::admin;
use crate::authorizer::Authorizer;
use crate::coordinator::Coordinators;
use crate::group_lag::GroupLags;
use crate::internal_topics::{CONSUMER_OFFSETS, TRANSACTION_STATE};
use crate::metrics::Metrics;
use crate::net::budget::Budgets;
use crate::partition::Partitions;
use crate::producer_ids::ProducerIds;
use crate::replication::Fetchers;
use crate::request::Listener;
use crate::role::LeaseFreshness;
use crate::transactions::Transactions;

/// For topics made on the way (auto-creation, internal topics).
const CREATE_TIMEOUT_MS: i32 = 5_000;

/// One running broker.
#[derive(Debug)]
pub(crate) struct Broker {
    /// For tasks that it starts.
    pub(crate) me: Weak<Self>,
    pub(crate) node_id: i32,
    /// Of the registration; grows when the broker has to register again.
    pub(crate) epoch: Arc<AtomicI64>,
    /// What the quorum had committed when it took this process in; -1 before. See
    /// [`ImageApplier`](crate::role::ImageApplier).
    pub(crate) registered_offset: watch::Sender<i64>,
    /// The broker's own properties file, as far as it is broker configuration.
    pub(crate) statics: BTreeMap<String, String>,
    pub(crate) request_bytes_max: usize,
    /// `connections.max.idle.ms`; `None` is no limit.
    pub(crate) connection_idle_max: Option<Duration>,
    /// How many connections of clients were accepted so far: the number of the newest one.
    pub(crate) client_connections: AtomicU64,
    pub(crate) client_budgets: Budgets,
    pub(crate) node_budgets: Budgets,
    pub(crate) authorizer: Box<dyn Authorizer>,
    pub(crate) controllers: Arc<ActiveController>,
    pub(crate) partitions: Partitions,
    pub(crate) fetchers: Fetchers,
    pub(crate) fetch_sessions: SessionCache,
    pub(crate) coordinators: Coordinators,
    pub(crate) group_lags: GroupLags,
    pub(crate) transactions: Transactions,
    pub(crate) producer_ids: ProducerIds,
    pub(crate) metrics: Metrics,
    /// The metadata as last applied here, partitions included.
    pub(crate) image: ArcSwap<Image>,
    /// Its offset, for those who wait for it.
    pub(crate) applied_offset: watch::Sender<i64>,
    /// Whether the quorum has lately confirmed that this process holds its lease.
    pub(crate) lease: Arc<LeaseFreshness>,
    /// The quorum has counted this process as alive at least once.
    pub(crate) alive: watch::Sender<bool>,
}

impl Broker {
    pub(crate) fn me(&self) -> Arc<Self> {
        let me = self.me.upgrade();
        me.expect("whoever calls it holds the broker")
    }

    /// What those who come by this listener may take of the memory.
    pub(crate) fn budgets(&self, listener: Listener) -> &Budgets {
        match listener {
            Listener::Clients => &self.client_budgets,
            Listener::Replication => &self.node_budgets,
        }
    }

    /// The metadata now; keep it for the whole of one answer.
    pub(crate) fn image(&self) -> Arc<Image> {
        self.image.load_full()
    }

    /// The epoch of this broker's registration.
    pub(crate) fn epoch(&self) -> i64 {
        self.epoch.load(Ordering::Acquire)
    }

    /// The effective value of a broker key.
    pub(crate) fn config(&self, key: &str) -> Option<Effective> {
        Resolver::new(&self.image(), self.node_id, &self.statics).broker(key)
    }

    /// A key that is true or false.
    pub(crate) fn config_bool(&self, key: &str) -> bool {
        self.config(key)
            .is_some_and(|effective| effective.is_true())
    }

    /// A key that is a number; the tables hold a default for each.
    pub(crate) fn config_number(&self, key: &str) -> i64 {
        self.config(key)
            .and_then(|effective| effective.as_i64())
            .expect("the key is in the table, with a number")
    }

    /// As far as its file or a request says it.
    pub(crate) fn number_that_is_set(&self, key: &str) -> Option<i32> {
        let found = self.config(key)?;
        let number = i32::try_from(found.as_i64()?).ok();
        number.filter(|_| found.source != Source::Default)
    }

    /// Makes topics that a client's request asked for in passing. What could not be made stays unknown,
    /// and the client asks again.
    pub(crate) async fn create_topics_for_clients(&self, topics: Vec<NewTopic>) {
        let names: Vec<String> = topics.iter().map(|topic| topic.name.clone()).collect();
        let request = api::CreateTopicsRequest {
            topics,
            validate_only: false,
            operator_epoch: 0,
        };
        let answer = admin::change(self, CREATE_TIMEOUT_MS, |channel| {
            let request = request.clone();
            async move { AdminClient::new(channel).create_topics(request).await }
        })
        .await;
        let Ok(answer) = answer else { return };
        for (name, result) in names.iter().zip(answer.results) {
            match admin::outcome(result.outcome) {
                (0, _) => info!(topic = name, "created for a client"),
                (code, reason) => warn!(topic = name, code, ?reason, "not created for a client"),
            }
        }
    }

    /// Makes the topic that holds the groups.
    pub(crate) async fn create_consumer_offsets(&self) {
        let sources = [("segment.bytes", "offsets.topic.segment.bytes")];
        self.create_internal_topic(CONSUMER_OFFSETS, "offsets.topic.num.partitions", &sources)
            .await;
    }

    /// Makes the topic that holds the transactions.
    pub(crate) async fn create_transaction_state(&self) {
        let partitions = "transaction.state.log.num.partitions";
        let sources = [
            ("segment.bytes", "transaction.state.log.segment.bytes"),
            ("min.insync.replicas", "transaction.state.log.min.isr"),
        ];
        self.create_internal_topic(TRANSACTION_STATE, partitions, &sources)
            .await;
    }

    /// `sources` are configs of the topic and the broker keys that they are taken from.
    async fn create_internal_topic(&self, name: &str, partitions: &str, sources: &[(&str, &str)]) {
        let constants = [
            ("cleanup.policy".to_owned(), "compact".to_owned()),
            ("compression.type".to_owned(), "producer".to_owned()),
        ];
        let sourced = sources
            .iter()
            .map(|(key, source)| ((*key).to_owned(), self.config_number(source).to_string()));
        self.create_topics_for_clients(vec![NewTopic {
            name: name.to_owned(),
            partitions: self.config_number(partitions) as i32,
            // As its key says, and as far as there are brokers: the controller knows best.
            replication_factor: -1,
            config: constants.into_iter().chain(sourced).collect(),
            internal: true,
            ..NewTopic::default()
        }])
        .await;
    }
}
