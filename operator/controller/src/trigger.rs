//! Which objects need a pass: every watch sends here, and the controllers take from here.

use std::sync::Arc;

use foz_crd::{Cluster, Topic};
use kube::core::DeserializeGuard;
use kube::runtime::reflector::ObjectRef;
use parking_lot::RwLock;
use tokio::sync::mpsc::UnboundedSender;

use crate::names::ClusterName;
use crate::topic::index::TopicIndex;

/// A Cluster as it is watched: one that cannot be read does not end the watch of the others.
pub type GuardedCluster = DeserializeGuard<Cluster>;
/// A Topic as it is watched.
pub type GuardedTopic = DeserializeGuard<Topic>;

/// The queues of the two controllers. They are not bounded, and need not be: a controller takes each
/// reference out at once and keeps one for each object.
#[derive(Debug, Clone)]
pub struct Triggers {
    clusters: UnboundedSender<ObjectRef<GuardedCluster>>,
    topics: UnboundedSender<ObjectRef<GuardedTopic>>,
    index: Arc<RwLock<TopicIndex>>,
}

impl Triggers {
    /// Sends to these queues.
    #[must_use]
    pub fn new(
        clusters: UnboundedSender<ObjectRef<GuardedCluster>>,
        topics: UnboundedSender<ObjectRef<GuardedTopic>>,
        index: Arc<RwLock<TopicIndex>>,
    ) -> Self {
        Self {
            clusters,
            topics,
            index,
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

    /// The index of Topics.
    #[must_use]
    pub fn index(&self) -> &RwLock<TopicIndex> {
        &self.index
    }
}
