//! Everything that the operator sees of Kubernetes, kept current by watches: a pass reads from memory.
//!
//! One [`World`] covers one namespace, or all. Only what carries the operator's `managed-by` label is
//! watched, and what nobody reads is dropped before it is kept.

mod clusters;
mod follow;
pub mod warnings;

use std::sync::Arc;

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{
    ConfigMap, Node, PersistentVolumeClaim, Pod, Service, ServiceAccount,
};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::core::PartialObjectMeta;
use kube::runtime::reflector::store::{Store, WriterDropped};
use kube::runtime::reflector::{Lookup, ObjectRef};
use kube::{Resource, ResourceExt as _};
use serde::Serialize;
use serde_json::Value;

use crate::cluster::owned::{ObjectKey, Owned};
use crate::cluster::storage_classes::StorageClasses;
use crate::names::{ClusterName, ZONE_LABEL};
use crate::trigger::{GuardedCluster, GuardedRebalance, GuardedTopic};
use crate::world::warnings::Warnings;

pub use clusters::{Clusters, Found};
pub use follow::{Shared, Sources, follow, follow_nodes, follow_storage_classes};

/// A node, of which only the labels are read.
pub type NodeLabels = PartialObjectMeta<Node>;

/// What the watches of one namespace, or of all, have seen.
#[derive(Debug)]
pub struct World {
    /// Clusters.
    pub clusters: Store<GuardedCluster>,
    /// Topics.
    pub topics: Store<GuardedTopic>,
    /// Rebalances.
    pub rebalances: Store<GuardedRebalance>,
    /// Pods of Clusters.
    pub pods: Store<Pod>,
    /// Claims of Clusters.
    pub claims: Store<PersistentVolumeClaim>,
    /// StatefulSets of Clusters.
    pub stateful_sets: Store<StatefulSet>,
    /// What Kubernetes warns of.
    pub warnings: Warnings,
    config_maps: Store<ConfigMap>,
    disruption_budgets: Store<PodDisruptionBudget>,
    network_policies: Store<NetworkPolicy>,
    service_accounts: Store<ServiceAccount>,
    services: Store<Service>,
    shared: Shared,
}

impl World {
    /// Waits until every watch has told what there is. Nodes and storage classes are not waited
    /// for: the operator may not be allowed to see them. Brokers then have no rack, and get no further volume. Nor, for
    /// long, are warnings.
    ///
    /// # Errors
    /// When a watch has ended.
    pub async fn wait_until_complete(&self) -> Result<(), WriterDropped> {
        self.clusters.wait_until_ready().await?;
        self.topics.wait_until_ready().await?;
        self.rebalances.wait_until_ready().await?;
        self.pods.wait_until_ready().await?;
        self.claims.wait_until_ready().await?;
        self.stateful_sets.wait_until_ready().await?;
        self.config_maps.wait_until_ready().await?;
        self.disruption_budgets.wait_until_ready().await?;
        self.network_policies.wait_until_ready().await?;
        self.service_accounts.wait_until_ready().await?;
        self.services.wait_until_ready().await?;
        self.warnings.wait_until_listed().await;
        Ok(())
    }

    /// The Cluster of this name.
    #[must_use]
    pub fn cluster(&self, name: &ClusterName) -> Option<Arc<GuardedCluster>> {
        get(&self.clusters, &name.namespace, &name.name)
    }

    /// An owned object as it is.
    #[must_use]
    pub fn owned(&self, namespace: &str, key: &ObjectKey) -> Option<Value> {
        match key.kind {
            Owned::ConfigMap => manifest(&self.config_maps, namespace, &key.name),
            Owned::NetworkPolicy => manifest(&self.network_policies, namespace, &key.name),
            Owned::PodDisruptionBudget => manifest(&self.disruption_budgets, namespace, &key.name),
            Owned::Service => manifest(&self.services, namespace, &key.name),
            Owned::ServiceAccount => manifest(&self.service_accounts, namespace, &key.name),
            Owned::StatefulSet => manifest(&self.stateful_sets, namespace, &key.name),
        }
    }

    /// The ordinals of all pods that are called after a StatefulSet, be it there or not.
    #[must_use]
    pub fn ordinals(&self, namespace: &str, set: &str) -> Vec<i32> {
        let ordinal = |pod: &Arc<Pod>| {
            let metadata = &pod.metadata;
            let name = metadata.name.as_deref()?;
            let (of, ordinal) = name.rsplit_once('-')?;
            let is_of = of == set && metadata.namespace.as_deref() == Some(namespace);
            is_of.then(|| ordinal.parse().ok()).flatten()
        };
        self.pods.state().iter().filter_map(ordinal).collect()
    }

    /// A node of this name is there; `None` where we may not see nodes.
    #[must_use]
    pub fn has_node(&self, node: &str) -> Option<bool> {
        let nodes = &self.shared.nodes;
        let sees_any = !nodes.is_empty();
        sees_any.then(|| nodes.get(&ObjectRef::new(node)).is_some())
    }

    /// The zone of a node, where it has one and we may see it.
    #[must_use]
    pub fn zone(&self, node: &str) -> Option<String> {
        let node = self.shared.nodes.get(&ObjectRef::new(node))?;
        node.metadata.labels.as_ref()?.get(ZONE_LABEL).cloned()
    }

    /// The storage classes; none where we may not see them.
    #[must_use]
    pub fn storage_classes(&self) -> StorageClasses {
        let classes = self.shared.storage_classes.state();
        let classes = classes.iter();
        classes
            .map(|class| (class.name_any(), (&**class).into()))
            .collect()
    }
}

/// An object by its name.
#[must_use]
pub fn get<K>(store: &Store<K>, namespace: &str, name: &str) -> Option<Arc<K>>
where
    K: Lookup<DynamicType = ()> + Clone + 'static,
{
    store.get(&ObjectRef::new(name).within(namespace))
}

fn manifest<K>(store: &Store<K>, namespace: &str, name: &str) -> Option<Value>
where
    K: Resource<DynamicType = ()> + Serialize + Clone + 'static,
{
    let object = get(store, namespace, name)?;
    Some(serde_json::to_value(&*object).expect("an object of Kubernetes is JSON"))
}
