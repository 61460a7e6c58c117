//! What every pass shares.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kube::{Client, Resource, ResourceExt as _};
use parking_lot::Mutex;

use crate::apply::Memory;
use crate::cluster::denials::Denials;
use crate::cluster::scaling::asked::Asked;
use crate::cluster::scaling::looks::Looks;
use crate::events::Events;
use crate::metrics::Metrics;
use crate::quorum::Quorums;
use crate::rebalance::planned::Planned;
use crate::trigger::Triggers;
use crate::world::{Clusters, World};

use foz_crd::{ClusterStatus, RebalanceStatus, TopicStatus};

/// What every pass of one scope shares, as long as this replica acts.
pub struct Context {
    /// The API server.
    pub client: Client,
    /// What the watches have seen.
    pub world: World,
    /// The Clusters of all namespaces that are looked after.
    pub clusters: Clusters,
    /// The metadata quorums.
    pub quorums: Arc<Quorums>,
    /// Who names which topic, and who needs a pass.
    pub triggers: Triggers,
    /// Publishes Events.
    pub events: Events,
    /// Counts.
    pub metrics: Arc<Metrics>,
    /// The image of Clusters that name none.
    pub broker_image: String,
    /// What the API server made of objects that we applied.
    pub memory: Memory,
    /// Statuses of Clusters that we wrote.
    pub cluster_statuses: Latest<ClusterStatus>,
    /// Statuses of Topics that we wrote.
    pub topic_statuses: Latest<TopicStatus>,
    /// How lately statuses were written.
    pub pace: Pace,
    /// Passes that failed in a row.
    pub failures: Failures,
    /// What was refused lately.
    pub refusals: Refusals,
    /// What the quorums denied lately.
    pub denials: Denials,
    /// What the quorums answered lately when they were asked to move replicas.
    pub asked: Asked,
    /// When they were last asked whether brokers are uneven.
    pub looks: Looks,
    /// Pods and Services that we deleted lately.
    pub deleted: Deleted,
    /// Statuses of Rebalances that we wrote.
    pub rebalance_statuses: Latest<RebalanceStatus>,
    /// For which places of replicas the plans in the statuses of Rebalances are.
    pub planned: Planned,
}

impl std::fmt::Debug for Context {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Context")
            .field("world", &self.world)
            .finish_non_exhaustive()
    }
}

/// The statuses that were written last. The watch tells of a write after a while; a pass in between
/// would see the status of before it and decide again what was decided.
#[derive(Debug)]
pub struct Latest<Status>(Mutex<HashMap<String, (u64, Status)>>);

impl<Status> Default for Latest<Status> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<Status: Clone> Latest<Status> {
    /// The newer of what the watch tells and what was written.
    pub fn newer<K: Resource>(&self, object: &K, told: Option<&Status>) -> Option<Status> {
        let uid = object.uid().unwrap_or_default();
        let mut written = self.0.lock();
        match (written.get(&uid), version(object)) {
            (Some((version, status)), Some(told_version)) if told_version < *version => {
                Some(status.clone())
            }
            (Some(_), Some(_)) => {
                written.remove(&uid);
                told.cloned()
            }
            _ => told.cloned(),
        }
    }

    /// This is what was written, as `object` came back.
    pub fn wrote<K: Resource>(&self, object: &K, status: Status) {
        if let (Some(uid), Some(version)) = (object.uid(), version(object)) {
            self.0.lock().insert(uid, (version, status));
        }
    }

    /// The object of this uid is gone.
    pub fn forget(&self, uid: &str) {
        self.0.lock().remove(uid);
    }
}

/// Resource versions of one kind can be compared as numbers (KEP-5504). One that is no number is of an
/// API server of another make: then the watch is believed.
fn version<K: Resource>(object: &K) -> Option<u64> {
    object.resource_version()?.parse().ok()
}

/// When statuses were written last, by the uid of the object: one in which only numbers moved can wait a moment.
#[derive(Debug)]
pub struct Pace {
    /// Between two writes of one status in which only numbers move.
    pause: Duration,
    written: Mutex<HashMap<String, Instant>>,
}

impl Pace {
    /// With this much between two writes of one status in which only numbers move.
    #[must_use]
    pub fn new(pause: Duration) -> Self {
        Self {
            pause,
            written: Mutex::default(),
        }
    }

    /// A status is written now.
    pub fn wrote(&self, uid: &str) {
        let mut written = self.written.lock();
        written.retain(|_, at| at.elapsed() < self.pause);
        written.insert(uid.to_owned(), Instant::now());
    }

    /// How long numbers that moved have to wait, if at all.
    #[must_use]
    pub fn wait(&self, uid: &str) -> Option<Duration> {
        let since = self.written.lock().get(uid)?.elapsed();
        let left = self.pause.checked_sub(since);
        left.filter(|left| !left.is_zero())
    }
}

/// How long it is remembered that an object was deleted: longer than a watch takes to tell of it.
const DELETION_REMEMBERED: Duration = Duration::from_secs(3600);

/// Objects that were deleted lately, by their uid, which is never given to another. The watch tells after a while; a
/// pass in between would delete the object again.
#[derive(Debug, Default)]
pub struct Deleted(Mutex<HashMap<String, Instant>>);

impl Deleted {
    /// The API server has taken the deletion, or has no such object any more.
    pub fn remember(&self, uid: &str) {
        let mut deleted = self.0.lock();
        deleted.retain(|_, at| at.elapsed() < DELETION_REMEMBERED);
        deleted.insert(uid.to_owned(), Instant::now());
    }

    /// It is on its way out, or gone.
    #[must_use]
    pub fn contains(&self, uid: &str) -> bool {
        self.0.lock().contains_key(uid)
    }
}

/// How often in a row a pass over an object failed.
#[derive(Debug, Default)]
pub struct Failures(Mutex<HashMap<(String, String), u32>>);

impl Failures {
    /// One more; says how many it are.
    pub fn count(&self, kind: &str, uid: &str) -> u32 {
        *self
            .0
            .lock()
            .entry((kind.to_owned(), uid.to_owned()))
            .and_modify(|count| *count += 1)
            .or_insert(1)
    }

    /// A pass succeeded.
    pub fn clear(&self, kind: &str, uid: &str) {
        self.0.lock().remove(&(kind.to_owned(), uid.to_owned()));
    }
}

/// How long a refusal counts.
pub const REFUSAL_COUNTS: Duration = Duration::from_secs(600);

/// What the API server refused lately, by the question: it is not asked again for a while.
#[derive(Debug, Default)]
pub struct Refusals(Mutex<HashMap<String, (Instant, String)>>);

impl Refusals {
    /// The answer, if it was given lately.
    #[must_use]
    pub fn recent(&self, question: &str) -> Option<String> {
        let mut answers = self.0.lock();
        answers.retain(|_, (asked, _)| asked.elapsed() < REFUSAL_COUNTS);
        answers.get(question).map(|(_, answer)| answer.clone())
    }

    /// This was the answer.
    pub fn remember(&self, question: &str, answer: String) {
        self.0
            .lock()
            .insert(question.to_owned(), (Instant::now(), answer));
    }
}

#[cfg(test)]
mod tests {
    use super::Latest;
    use foz_crd::{Topic, TopicStatus};
    use serde_json::json;

    fn topic(version: &str) -> Topic {
        serde_json::from_value(json!({
            "apiVersion": "foz.dev/v1alpha1", "kind": "Topic",
            "metadata": {"name": "a", "uid": "u", "resourceVersion": version},
            "spec": {"clusterRef": {"name": "demo"}},
        }))
        .expect("a Topic")
    }

    #[test]
    fn what_was_written_counts_until_the_watch_has_told_it() {
        let status = |id: &str| TopicStatus {
            topic_id: Some(id.into()),
            ..TopicStatus::default()
        };
        let latest = Latest::default();
        latest.wrote(&topic("9"), status("new"));
        let newer = |version: &str| {
            latest
                .newer(&topic(version), Some(&status("told")))
                .and_then(|status| status.topic_id)
        };
        assert_eq!(newer("7").as_deref(), Some("new"));
        assert_eq!(newer("10").as_deref(), Some("told"));
        assert_eq!(newer("8").as_deref(), Some("told"));
    }
}
