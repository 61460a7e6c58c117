//! The metadata quorums of the Clusters: one task each follows the events of one, as long as the
//! Cluster lives; calls that change something carry the operator epoch.

mod alter;
mod features;
mod follow;
mod gathering;
pub mod rebalance;
mod restart;
mod topics;
pub mod view;
mod voters;

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use foz_api::v1::admin_client::AdminClient;
use foz_api::v1::alter_configs_request::Resource as AlterResource;
use foz_api::v1::alter_configs_response::Result as AlterResult;
use foz_api::v1::create_topics_request::NewTopic;
use foz_api::v1::create_topics_response::Result as CreateResult;
use foz_api::v1::list_deleted_topics_response::DeletedTopic;
use foz_api::v1::{AcquireOperatorEpochRequest, TopicRef};
use foz_api::{ActiveController, CallError};
use parking_lot::{Mutex, RwLock};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::cluster::observed::{QuorumState, QuorumView};
use crate::names::ClusterName;
use crate::quorum::gathering::Gathering;
pub use crate::quorum::restart::{RestartAnswer, RestartQuestion};
pub use crate::quorum::topics::Deletion;
use crate::quorum::view::{Room, TopicView, View};
use crate::trigger::Triggers;

/// A pass does not wait for a quorum that does not answer: it comes again.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);

/// Why a call came to nothing.
#[derive(Debug, Clone, thiserror::Error)]
pub enum QuorumError {
    /// There is nobody to call.
    #[error("the metadata quorum is not reachable")]
    NotReachable,
    /// No answer in time. The call may have been carried out.
    #[error("the metadata quorum did not answer within {} s", CALL_TIMEOUT.as_secs())]
    TimedOut,
    /// Another operator has taken over.
    #[error("this operator is not the one that acts any more")]
    NotTheOperator,
    /// No process can have such an id.
    #[error("{0:?} names no process: right are 32 hexadecimal digits")]
    NoProcess(String),
    /// The call failed.
    #[error(transparent)]
    Call(#[from] CallError),
}

/// Every quorum that is followed.
#[derive(Debug)]
pub struct Quorums {
    followed: Mutex<HashMap<ClusterName, Followed>>,
    triggers: Triggers,
    /// Ends with the leadership: every task ends with it.
    term: CancellationToken,
    holder: String,
    counts_pause: Duration,
}

#[derive(Debug)]
struct Followed {
    uid: String,
    quorum: Arc<Quorum>,
    addresses: watch::Sender<Vec<String>>,
    end: CancellationToken,
}

/// One quorum.
#[derive(Debug)]
pub struct Quorum {
    state: RwLock<State>,
    /// Brokers, settings of all of them or grants have changed in the view.
    changed: Notify,
    creations: Gathering<NewTopic, CreateResult>,
    alterations: Gathering<AlterResource, AlterResult>,
    deletions: Gathering<TopicRef, Deletion>,
    /// By name.
    lookups: Gathering<String, Vec<DeletedTopic>>,
    epoch: tokio::sync::Mutex<Option<i64>>,
    term: CancellationToken,
    holder: String,
    /// Many topics may change at once; a Cluster's counts need not follow each.
    counts_pause: Duration,
}

#[derive(Debug, Default)]
struct State {
    client: Option<Arc<ActiveController>>,
    view: View,
    active_node_id: i32,
    contact: Contact,
}

#[derive(Debug, Default)]
enum Contact {
    #[default]
    Never,
    Followed,
    Reconnecting,
    Lost(String),
}

impl Quorums {
    /// `holder` is who the quorums are told we are. A Cluster gets a pass for its counts at most once in `counts_pause`.
    #[must_use]
    pub fn new(
        triggers: Triggers,
        term: CancellationToken,
        holder: String,
        counts_pause: Duration,
    ) -> Self {
        Self {
            followed: Mutex::default(),
            triggers,
            term,
            holder,
            counts_pause,
        }
    }

    /// The quorum of a Cluster, if it is followed.
    #[must_use]
    pub fn get(&self, name: &ClusterName) -> Option<Arc<Quorum>> {
        self.followed
            .lock()
            .get(name)
            .map(|followed| Arc::clone(&followed.quorum))
    }

    /// Follows the quorum of a Cluster from now on, at these addresses of controllers. A Cluster made
    /// anew under the same name has another uid, and its quorum may be another one.
    pub fn follow(&self, name: &ClusterName, uid: &str, addresses: Vec<String>) {
        let mut all = self.followed.lock();
        if let Some(followed) = all.get(name).filter(|followed| followed.uid == uid) {
            followed.addresses.send_if_modified(|known| {
                let changed = *known != addresses;
                *known = addresses;
                changed
            });
            return;
        }
        let quorum = Arc::new(Quorum::new(
            self.term.clone(),
            self.holder.clone(),
            self.counts_pause,
        ));
        let (sender, receiver) = watch::channel(addresses);
        let end = self.term.child_token();
        let task = follow::run(
            name.clone(),
            Arc::clone(&quorum),
            receiver,
            self.triggers.clone(),
        );
        tokio::spawn(end.clone().run_until_cancelled_owned(task));
        let followed = Followed {
            uid: uid.to_owned(),
            quorum,
            addresses: sender,
            end,
        };
        if let Some(before) = all.insert(name.clone(), followed) {
            before.end.cancel();
        }
    }

    /// The Cluster is gone.
    pub fn forget(&self, name: &ClusterName) {
        if let Some(followed) = self.followed.lock().remove(name) {
            followed.end.cancel();
        }
    }

    /// Forgets the Clusters that are gone.
    pub fn retain(&self, lives: impl Fn(&ClusterName) -> bool) {
        self.followed.lock().retain(|name, followed| {
            let lives = lives(name);
            if !lives {
                followed.end.cancel();
            }
            lives
        });
    }
}

impl Quorum {
    fn new(term: CancellationToken, holder: String, counts_pause: Duration) -> Self {
        Self {
            state: RwLock::default(),
            changed: Notify::new(),
            creations: Gathering::default(),
            alterations: Gathering::default(),
            deletions: Gathering::default(),
            lookups: Gathering::default(),
            epoch: tokio::sync::Mutex::new(None),
            term,
            holder,
            counts_pause,
        }
    }

    /// What a pass over the Cluster needs.
    #[must_use]
    pub fn state(&self) -> QuorumState {
        let state = self.state.read();
        let view = || {
            let view = &state.view;
            Box::new(QuorumView {
                cluster_id: view.cluster_id.clone(),
                active_node_id: state.active_node_id,
                brokers: view.brokers.clone(),
                grants: view.grants.clone(),
                broker_config: view.broker_config.clone(),
                replicas: view.replicas.clone(),
                moving: view.moving,
                offline_replicas: view.offline_replicas.clone(),
                rebalances: view.rebalances.clone(),
                voters: view.voters.clone(),
                features: view.features.clone(),
                topics: i64::try_from(view.topics.len()).unwrap_or(i64::MAX),
                partitions: view.partitions,
                offline: view.offline,
                under_replicated: view.under_replicated,
            })
        };
        match &state.contact {
            Contact::Never => QuorumState::Unknown,
            Contact::Followed => QuorumState::Followed(view()),
            Contact::Reconnecting => QuorumState::Reconnecting(view()),
            Contact::Lost(error) => QuorumState::Lost(error.clone()),
        }
    }

    /// A topic as it is now; `None` while the quorum is not followed.
    #[must_use]
    pub fn topic(&self, name: &str) -> Option<Option<TopicView>> {
        let state = self.state.read();
        matches!(state.contact, Contact::Followed).then(|| state.view.topics.get(name).cloned())
    }

    /// The partitions that a broker has and no other has in sync, by name; `None` while the quorum is not followed.
    #[must_use]
    pub fn only_copies(&self, node_id: i32) -> Option<Vec<String>> {
        let state = self.state.read();
        matches!(state.contact, Contact::Followed).then(|| state.view.only_copies(node_id))
    }

    /// The topic whose partitions have most replicas, and how many these are; of several the one whose name comes
    /// first.
    #[must_use]
    pub fn widest_topic(&self) -> Option<(String, i32)> {
        let state = self.state.read();
        let topics = state.view.topics.iter();
        let widest = topics.max_by_key(|(name, topic)| (topic.replicas_max, Reverse(*name)));
        widest.map(|(name, topic)| (name.clone(), topic.replicas_max))
    }

    /// Brokers that get new replicas, as far as is known.
    #[must_use]
    pub fn room(&self) -> Room {
        self.state.read().view.room()
    }

    /// Calls the active controller with the operator epoch. The epoch is acquired once; when the quorum
    /// says that a newer one exists it is acquired again only while we still hold the Lease: two
    /// operators would otherwise take turns.
    ///
    /// # Errors
    /// See [`QuorumError`].
    pub async fn change<T, F, Fut>(&self, call: F) -> Result<T, QuorumError>
    where
        F: Fn(AdminClient<Channel>, i64) -> Fut,
        Fut: Future<Output = Result<T, Status>>,
    {
        let attempt = async {
            let client = self
                .state
                .read()
                .client
                .clone()
                .ok_or(QuorumError::NotReachable)?;
            let mut acquired_before = true;
            loop {
                let epoch = self.epoch(&client, &mut acquired_before).await?;
                let result = client
                    .call(|channel| call(AdminClient::new(channel), epoch))
                    .await;
                match result {
                    Err(CallError::Answered(status)) if status.code() == Code::Aborted => {
                        let mut known = self.epoch.lock().await;
                        if *known == Some(epoch) {
                            *known = None;
                        }
                        // An epoch that is refused as soon as it is handed out has a rival.
                        if self.term.is_cancelled() || !acquired_before {
                            return Err(QuorumError::NotTheOperator);
                        }
                    }
                    result => return Ok(result?),
                }
            }
        };
        tokio::time::timeout(CALL_TIMEOUT, attempt)
            .await
            .unwrap_or(Err(QuorumError::TimedOut))
    }

    /// Asks the active controller without changing anything.
    ///
    /// # Errors
    /// See [`QuorumError`].
    pub async fn read<T, F, Fut>(&self, call: F) -> Result<T, QuorumError>
    where
        F: Fn(AdminClient<Channel>) -> Fut,
        Fut: Future<Output = Result<T, Status>>,
    {
        let client = self.state.read().client.clone();
        let client = client.ok_or(QuorumError::NotReachable)?;
        let answer = client.call(|channel| call(AdminClient::new(channel)));
        match tokio::time::timeout(CALL_TIMEOUT, answer).await {
            Ok(answer) => Ok(answer?),
            Err(_) => Err(QuorumError::TimedOut),
        }
    }

    async fn epoch(
        &self,
        client: &ActiveController,
        acquired_before: &mut bool,
    ) -> Result<i64, QuorumError> {
        let mut known = self.epoch.lock().await;
        if let Some(epoch) = *known {
            return Ok(epoch);
        }
        if self.term.is_cancelled() {
            return Err(QuorumError::NotTheOperator);
        }
        *acquired_before = false;
        let request = AcquireOperatorEpochRequest {
            holder: self.holder.clone(),
        };
        let acquire = |channel| {
            let request = request.clone();
            async move {
                AdminClient::new(channel)
                    .acquire_operator_epoch(request)
                    .await
            }
        };
        let epoch = client.call(acquire).await?.into_inner().operator_epoch;
        *known = Some(epoch);
        Ok(epoch)
    }
}
