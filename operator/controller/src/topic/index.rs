//! Which Topic objects name which topic of which Cluster. Pure.

use std::collections::{BTreeMap, HashMap};

use foz_crd::Topic;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt as _;

use crate::names::ClusterName;

/// A Topic object that names a topic. The order is that of precedence: the older one wins, and of two
/// of the same second the one whose uid comes first.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Claimant {
    /// When the object was made.
    pub created: Timestamp,
    /// Its uid.
    pub uid: String,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// It is being deleted.
    pub deleting: bool,
}

/// Every Topic object.
#[derive(Debug, Default)]
pub struct TopicIndex {
    clusters: HashMap<ClusterName, BTreeMap<String, Vec<Claimant>>>,
    objects: HashMap<(String, String), (ClusterName, String)>,
}

impl TopicIndex {
    /// Takes in an object, new or changed.
    pub fn insert(&mut self, topic: &Topic) {
        let namespace = topic.namespace().unwrap_or_default();
        let name = topic.name_any();
        self.remove(&namespace, &name);
        let cluster = cluster_of(topic);
        let claimant = claimant(topic);
        let topics = self.clusters.entry(cluster.clone()).or_default();
        let claimants = topics.entry(topic.topic_name().to_owned()).or_default();
        claimants.push(claimant);
        claimants.sort();
        self.objects
            .insert((namespace, name), (cluster, topic.topic_name().to_owned()));
    }

    /// Takes out an object, and says which topic of which Cluster it named.
    pub fn remove(&mut self, namespace: &str, name: &str) -> Option<(ClusterName, String)> {
        let (cluster, topic) = self
            .objects
            .remove(&(namespace.to_owned(), name.to_owned()))?;
        if let Some(topics) = self.clusters.get_mut(&cluster) {
            if let Some(claimants) = topics.get_mut(&topic) {
                let is_it = |it: &Claimant| it.name == name && it.namespace == namespace;
                claimants.retain(|claimant| !is_it(claimant));
                if claimants.is_empty() {
                    topics.remove(&topic);
                }
            }
            if topics.is_empty() {
                self.clusters.remove(&cluster);
            }
        }
        Some((cluster, topic))
    }

    /// Every object that names a topic, in the order of precedence.
    pub fn claimants(&self, cluster: &ClusterName, topic: &str) -> impl Iterator<Item = &Claimant> {
        self.clusters
            .get(cluster)
            .and_then(|topics| topics.get(topic))
            .into_iter()
            .flatten()
    }

    /// Every Cluster that an object names.
    #[must_use]
    pub fn clusters(&self) -> Vec<ClusterName> {
        self.clusters.keys().cloned().collect()
    }

    /// The objects of a Cluster.
    pub fn objects(&self, cluster: &ClusterName) -> impl Iterator<Item = &Claimant> {
        let topics = self
            .clusters
            .get(cluster)
            .into_iter()
            .flat_map(BTreeMap::values);
        topics.flatten()
    }
}

/// The Cluster that a Topic names, in its own namespace or in another.
#[must_use]
pub fn cluster_of(topic: &Topic) -> ClusterName {
    let reference = &topic.spec.cluster_ref;
    let own = || topic.namespace().unwrap_or_default();
    ClusterName {
        namespace: reference.namespace.clone().unwrap_or_else(own),
        name: reference.name.clone(),
    }
}

/// A Topic object as one that names a topic.
#[must_use]
pub fn claimant(topic: &Topic) -> Claimant {
    Claimant {
        created: topic
            .creation_timestamp()
            .map_or(Timestamp::MAX, |time| time.0),
        uid: topic.uid().unwrap_or_default(),
        namespace: topic.namespace().unwrap_or_default(),
        name: topic.name_any(),
        deleting: topic.metadata.deletion_timestamp.is_some(),
    }
}

#[cfg(test)]
mod tests {
    use super::{TopicIndex, cluster_of};
    use foz_crd::Topic;
    use serde_json::json;

    fn topic(object: &str, name: &str, created: &str) -> Topic {
        serde_json::from_value(json!({
            "apiVersion": "foz.dev/v1alpha1", "kind": "Topic",
            "metadata": {"namespace": "kafka", "name": object, "uid": object, "creationTimestamp": created},
            "spec": {"clusterRef": {"name": "demo"}, "topicName": name},
        }))
        .expect("a Topic")
    }

    #[test]
    fn the_older_one_comes_first_and_ties_are_broken() {
        let mut index = TopicIndex::default();
        let old = topic("z", "orders", "2026-01-01T00:00:00Z");
        index.insert(&topic("b", "orders", "2026-01-02T00:00:00Z"));
        index.insert(&old);
        index.insert(&topic("a", "orders", "2026-01-02T00:00:00Z"));
        let names = |index: &TopicIndex| {
            index
                .claimants(&cluster_of(&old), "orders")
                .map(|claimant| claimant.name.clone())
                .collect::<Vec<_>>()
        };
        assert_eq!(names(&index), ["z", "a", "b"]);
        assert_eq!(
            index.remove("kafka", "z"),
            Some((cluster_of(&old), "orders".into()))
        );
        assert_eq!(index.remove("kafka", "z"), None);
        assert_eq!(names(&index), ["a", "b"]);
    }

    /// Topics of several namespaces may name one topic of one Cluster, and have one name themselves.
    #[test]
    fn objects_of_several_namespaces_are_kept_apart() {
        let in_namespace = |namespace: &str, created: &str| {
            let mut topic = topic("orders", "orders", created);
            topic.metadata.namespace = Some(namespace.into());
            topic.spec.cluster_ref.namespace = Some("kafka".into());
            topic
        };
        let mut index = TopicIndex::default();
        let younger = in_namespace("team-a", "2026-01-03T00:00:00Z");
        index.insert(&younger);
        index.insert(&in_namespace("team-b", "2026-01-02T00:00:00Z"));
        index.insert(&topic("orders", "orders", "2026-01-04T00:00:00Z"));
        let cluster = cluster_of(&younger);
        assert_eq!(cluster.namespace, "kafka");
        let namespaces = |index: &TopicIndex| {
            let claimants = index.claimants(&cluster, "orders");
            claimants.map(|it| it.namespace.clone()).collect::<Vec<_>>()
        };
        assert_eq!(namespaces(&index), ["team-b", "team-a", "kafka"]);
        index.remove("team-b", "orders");
        assert_eq!(namespaces(&index), ["team-a", "kafka"]);
        assert_eq!(index.objects(&cluster).count(), 2);
    }

    #[test]
    fn an_object_that_names_another_topic_now_is_found_there_only() {
        let mut index = TopicIndex::default();
        index.insert(&topic("a", "orders", "2026-01-01T00:00:00Z"));
        index.insert(&topic("a", "bills", "2026-01-03T00:00:00Z"));
        let cluster = cluster_of(&topic("a", "x", "2026-01-01T00:00:00Z"));
        assert_eq!(index.claimants(&cluster, "orders").count(), 0);
        assert_eq!(index.claimants(&cluster, "bills").count(), 1);
        let names = index.objects(&cluster).map(|it| &*it.name);
        assert_eq!(names.collect::<Vec<_>>(), ["a"]);
        index.remove("kafka", "a");
        assert_eq!(index.objects(&cluster).count(), 0);
    }
}
