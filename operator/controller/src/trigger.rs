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

/// The queues of the controllers of one namespace, or of all. They are not bounded, and need not be: a controller takes
/// each reference out at once and keeps one for each object.
#[derive(Debug)]
pub struct Queues {
    /// `None` for all.
    pub namespace: Option<String>,
    /// To the controller of Clusters.
    pub clusters: UnboundedSender<ObjectRef<GuardedCluster>>,
    /// To the controller of Topics.
    pub topics: UnboundedSender<ObjectRef<GuardedTopic>>,
    /// To the controller of Rebalances.
    pub rebalances: UnboundedSender<ObjectRef<GuardedRebalance>>,
}

/// The queues of all namespaces: a Topic may be of a Cluster in another one.
#[derive(Debug, Clone)]
pub struct Triggers {
    queues: Arc<[Queues]>,
    index: Arc<RwLock<TopicIndex>>,
    /// By Cluster: the names of its Rebalances, all in its namespace.
    rebalances_of: Arc<Mutex<HashMap<ClusterName, BTreeSet<String>>>>,
}

impl Triggers {
    /// Sends to these queues.
    #[must_use]
    pub fn new(queues: Vec<Queues>) -> Self {
        Self {
            queues: queues.into(),
            index: Arc::default(),
            rebalances_of: Arc::default(),
        }
    }

    /// A Cluster needs a pass. A queue nobody takes from is that of a controller that has ended.
    pub fn cluster(&self, name: &ClusterName) {
        if let Some(queues) = self.queues(&name.namespace) {
            let cluster = ObjectRef::new(&name.name).within(&name.namespace);
            let _ = queues.clusters.send(cluster);
        }
    }

    /// A Topic object needs a pass.
    pub fn topic_object(&self, namespace: &str, name: &str) {
        if let Some(queues) = self.queues(namespace) {
            let _ = queues.topics.send(ObjectRef::new(name).within(namespace));
        }
    }

    /// Every Topic object that names this topic of a Cluster needs a pass.
    pub fn topic(&self, cluster: &ClusterName, topic: &str) {
        for object in self.index.read().claimants(cluster, topic) {
            self.topic_object(&object.namespace, &object.name);
        }
    }

    /// Every Topic object of a Cluster needs a pass.
    pub fn topics(&self, cluster: &ClusterName) {
        for object in self.index.read().objects(cluster) {
            self.topic_object(&object.namespace, &object.name);
        }
    }

    /// Every Rebalance of a Cluster needs a pass.
    pub fn rebalances(&self, cluster: &ClusterName) {
        let Some(queues) = self.queues(&cluster.namespace) else {
            return;
        };
        let all = self.rebalances_of.lock();
        for name in all.get(cluster).into_iter().flatten() {
            let object = ObjectRef::new(name).within(&cluster.namespace);
            let _ = queues.rebalances.send(object);
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

    fn queues(&self, namespace: &str) -> Option<&Queues> {
        let is_of = |of: &Option<String>| of.as_deref().is_none_or(|of| of == namespace);
        self.queues.iter().find(|queues| is_of(&queues.namespace))
    }

    /// The index of Topics.
    #[must_use]
    pub fn index(&self) -> &RwLock<TopicIndex> {
        &self.index
    }
}
