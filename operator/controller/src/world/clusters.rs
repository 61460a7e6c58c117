//! The Clusters of all namespaces that the operator looks after: a Topic may name one of another namespace.

use std::sync::Arc;

use futures::FutureExt as _;
use kube::runtime::reflector::Store;

use crate::names::ClusterName;
use crate::trigger::GuardedCluster;
use crate::world::get;

/// A store for each namespace, or one for all.
#[derive(Debug, Clone)]
pub struct Clusters(Vec<(Option<String>, Store<GuardedCluster>)>);

/// What is known of a Cluster.
#[derive(Debug, Clone)]
pub enum Found {
    /// It is there.
    Cluster(Arc<GuardedCluster>),
    /// There is none.
    Nothing,
    /// The watch of its namespace has not told yet.
    NotYet,
    /// The operator does not look after its namespace.
    Unwatched,
}

impl Clusters {
    /// Looks into these, each of a namespace, or of all.
    #[must_use]
    pub fn new(stores: Vec<(Option<String>, Store<GuardedCluster>)>) -> Self {
        Self(stores)
    }

    /// The Cluster of this name.
    #[must_use]
    pub fn find(&self, name: &ClusterName) -> Found {
        let is_of = |of: &Option<String>| of.as_ref().is_none_or(|of| *of == name.namespace);
        let Some((_, store)) = self.0.iter().find(|(of, _)| is_of(of)) else {
            return Found::Unwatched;
        };
        match get(store, &name.namespace, &name.name) {
            Some(cluster) => Found::Cluster(cluster),
            // A watch that has ended tells nothing either.
            None if store
                .wait_until_ready()
                .now_or_never()
                .is_some_and(|told| told.is_ok()) =>
            {
                Found::Nothing
            }
            None => Found::NotYet,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Clusters, Found};
    use crate::names::ClusterName;
    use crate::trigger::GuardedCluster;
    use kube::runtime::reflector::store;
    use kube::runtime::watcher::Event;
    use serde_json::json;

    #[test]
    fn what_is_not_known_yet_is_not_missing() {
        let (told, mut writer) = store::<GuardedCluster>();
        let (silent, _writer) = store::<GuardedCluster>();
        let clusters = Clusters::new(vec![(Some("a".into()), told), (Some("b".into()), silent)]);
        let find = |namespace: &str| {
            clusters.find(&ClusterName {
                namespace: namespace.into(),
                name: "demo".into(),
            })
        };
        assert!(matches!(find("a"), Found::NotYet));
        writer.apply_watcher_event(&Event::Init);
        writer.apply_watcher_event(&Event::InitDone);
        assert!(matches!(find("a"), Found::Nothing));
        assert!(matches!(find("b"), Found::NotYet));
        assert!(matches!(find("c"), Found::Unwatched));
        let cluster = serde_json::from_value(json!({
            "apiVersion": "foz.dev/v1alpha1", "kind": "Cluster",
            "metadata": {"name": "demo", "namespace": "a"}, "spec": {"storage": {"size": "1Gi"}},
        }))
        .expect("a Cluster");
        writer.apply_watcher_event(&Event::Apply(cluster));
        assert!(matches!(find("a"), Found::Cluster(_)));
    }
}
