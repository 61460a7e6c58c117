//! Which objects need a pass: every watch sends here, and the controllers take from here.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use foz_crd::{Cluster, Rebalance, Topic};
use kube::core::DeserializeGuard;
use kube::runtime::reflector::ObjectRef;
use parking_lot::{Mutex, RwLock};
use tokio::sync::mpsc::UnboundedSender;

use crate::names::ClusterName;
use crate::topic::index::TopicIndex;

/// A Cluster as it is watched: one that cannot be read does not end the watch of the others.
pub type GuardedCluster = DeserializeGuard<Cluster>;
/// A Topic as it is watched.
pub type GuardedTopic = DeserializeGuard<Topic>;

/// A Rebalance as it is watched.
pub type GuardedRebalance = DeserializeGuard<Rebalance>;

/// The queues of the controllers. They are not bounded, and need not be: a controller takes each
/// reference out at once and keeps one for each object.
#[derive(Debug, Clone)]
pub struct Triggers {
    clusters: UnboundedSender<ObjectRef<GuardedCluster>>,
    topics: UnboundedSender<ObjectRef<GuardedTopic>>,
    rebalances: UnboundedSender<ObjectRef<GuardedRebalance>>,
    index: Arc<RwLock<TopicIndex>>,
    /// By Cluster: the names of its Rebalances, all in its namespace.
    rebalances_of: Arc<Mutex<HashMap<ClusterName, BTreeSet<String>>>>,
}

impl Triggers {
    /// Sends to these queues.
    #[must_use]
    pub fn new(
        clusters: UnboundedSender<ObjectRef<GuardedCluster>>,
        topics: UnboundedSender<ObjectRef<GuardedTopic>>,
        rebalances: UnboundedSender<ObjectRef<GuardedRebalance>>,
        index: Arc<RwLock<TopicIndex>>,
    ) -> Self {
        Self {
            clusters,
            topics,
            rebalances,
            index,
            rebalances_of: Arc::default(),
        }
    }

    /// A Cluster needs a pass. A queue nobody takes from is that of a controller that has ended.
    pub fn cluster(&self, name: &ClusterName) {
        let _ = self
            .clusters
            .send(ObjectRef::new(&name.name).within(&name.namespace));
    }

    /// A Topic object needs a pass.
    pub fn topic_object(&self, namespace: &str, name: &str) {
        let _ = self.topics.send(ObjectRef::new(name).within(namespace));
    }

    /// Every Topic object that names this topic of a Cluster needs a pass.
    pub fn topic(&self, cluster: &ClusterName, topic: &str) {
        for object in self.index.read().claimants(cluster, topic) {
            self.topic_object(&cluster.namespace, &object.name);
        }
    }

    /// Every Topic object of a Cluster needs a pass.
    pub fn topics(&self, cluster: &ClusterName) {
        for object in self.index.read().objects(cluster) {
            self.topic_object(&cluster.namespace, object);
        }
    }

    /// Every Rebalance of a Cluster needs a pass.
    pub fn rebalances(&self, cluster: &ClusterName) {
        let all = self.rebalances_of.lock();
        for name in all.get(cluster).into_iter().flatten() {
            let object = ObjectRef::new(name).within(&cluster.namespace);
            let _ = self.rebalances.send(object);
        }
    }

    /// A Cluster needs a pass, and every Rebalance of it: where replicas are has changed, or one of the Rebalances.
    pub fn rebalanced(&self, cluster: &ClusterName) {
        self.cluster(cluster);
        self.rebalances(cluster);
    }

    /// There is a Rebalance of this Cluster.
    pub fn insert_rebalance(&self, cluster: &ClusterName, name: &str) {
        let mut all = self.rebalances_of.lock();
        let names = all.entry(cluster.clone()).or_default();
        names.insert(name.to_owned());
    }

    /// A Rebalance is gone. Says which Cluster it was of.
    pub fn remove_rebalance(&self, namespace: &str, name: &str) -> Option<ClusterName> {
        let mut all = self.rebalances_of.lock();
        let mut of_namespace = all.iter_mut().filter(|(it, _)| it.namespace == namespace);
        let (cluster, names) = of_namespace.find(|(_, names)| names.contains(name))?;
        let cluster = cluster.clone();
        names.remove(name);
        if names.is_empty() {
            all.remove(&cluster);
        }
        Some(cluster)
    }

    /// The index of Topics.
    #[must_use]
    pub fn index(&self) -> &RwLock<TopicIndex> {
        &self.index
    }
}
