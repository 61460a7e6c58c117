//! The watches: each keeps a store current and says which Cluster or Topic needs a pass.

use std::collections::{HashMap, HashSet};
use std::fmt::Debug;
use std::sync::Arc;

use foz_crd::Cluster;
use futures::StreamExt as _;
use k8s_openapi::api::core::v1::{Container, PersistentVolumeClaim, Pod, PodSpec};
use k8s_openapi::api::storage::v1::StorageClass;
use kube::core::NamespaceResourceScope;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::reflector::store::Writer;
use kube::runtime::reflector::{Store, store};
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client, Resource, ResourceExt as _};
use parking_lot::Mutex;
use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

use crate::names::{
    ANNOTATION_PREFIX, CONTAINER, ClusterName, INSTANCE_LABEL, MANAGED_BY_SELECTOR,
};
use crate::rebalance::claim::cluster_of;
use crate::trigger::{GuardedCluster, GuardedRebalance, GuardedTopic, Triggers};
use crate::world::{NodeLabels, World, warnings};

/// The annotation in which kubectl keeps a copy of the whole object.
const LAST_APPLIED_ANNOTATION: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// What the watches run with.
#[derive(Clone)]
pub struct Sources {
    /// The API server.
    pub client: Client,
    /// One namespace, or all.
    pub namespace: Option<String>,
    /// Where to say which object needs a pass.
    pub triggers: Triggers,
    /// Ends the watches.
    pub term: CancellationToken,
}

impl Debug for Sources {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Sources")
            .field("namespace", &self.namespace)
            .finish_non_exhaustive()
    }
}

/// What has no namespace, and all watches of namespaces share.
#[derive(Debug, Clone)]
pub struct Shared {
    /// See [`follow_nodes`].
    pub nodes: Store<NodeLabels>,
    /// See [`follow_storage_classes`].
    pub storage_classes: Store<StorageClass>,
}

/// What a Topic or a Rebalance has to know of its Cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Facts {
    uid: Option<String>,
    deleting: bool,
    paused: bool,
    suspended: bool,
    replicas: i32,
    allowed_namespaces: Vec<String>,
}

/// What a watch saw.
enum Seen<'object, K> {
    /// The object is new, or has changed.
    Changed(&'object K),
    /// The object is gone, or does not carry the label any more.
    Gone(&'object K),
    /// The whole list has been told (again): what was missed in between is not known.
    Listed,
}

/// Starts all watches; Clusters are kept in `clusters`. `ended` is told of a Cluster that is gone.
pub fn follow(
    sources: &Sources,
    clusters: (Store<GuardedCluster>, Writer<GuardedCluster>),
    shared: Shared,
    ended: impl Fn(&ClusterName) + Send + Sync + 'static,
) -> World {
    let all_clusters = clusters.0.clone();
    World {
        clusters: follow_clusters(sources, clusters, ended),
        topics: follow_topics(sources),
        warnings: warnings::follow(sources, &all_clusters),
        rebalances: follow_rebalances(sources),
        pods: follow_labelled(sources, &all_clusters, trim_pod),
        claims: follow_labelled::<PersistentVolumeClaim>(sources, &all_clusters, |_| {}),
        stateful_sets: follow_labelled(sources, &all_clusters, |_| {}),
        config_maps: follow_labelled(sources, &all_clusters, |_| {}),
        disruption_budgets: follow_labelled(sources, &all_clusters, |_| {}),
        network_policies: follow_labelled(sources, &all_clusters, |_| {}),
        service_accounts: follow_labelled(sources, &all_clusters, |_| {}),
        services: follow_labelled(sources, &all_clusters, |_| {}),
        shared,
    }
}

/// Starts the watch of nodes, which all namespaces share. `changed` is told when a node's labels may
/// have changed.
pub fn follow_nodes(
    client: &Client,
    term: &CancellationToken,
    changed: impl Fn() + Send + 'static,
) -> Store<NodeLabels> {
    let (reader, writer) = store();
    let zone = |node: &NodeLabels| node.labels().get(crate::names::ZONE_LABEL).cloned();
    let mut zones: HashMap<String, Option<String>> = HashMap::new();
    let trim = |node: &mut NodeLabels| {
        node.metadata.annotations = None;
    };
    let stream = watcher(
        Api::<NodeLabels>::all(client.clone()),
        watcher::Config::default(),
    );
    let task = keep(stream, writer, trim, move |seen| match seen {
        // Nodes report about themselves all the time.
        Seen::Changed(node) => {
            let zone = zone(node);
            if zones.insert(node.name_any(), zone.clone()) != Some(zone) {
                changed();
            }
        }
        Seen::Gone(_) => {}
        Seen::Listed => changed(),
    });
    tokio::spawn(term.clone().run_until_cancelled_owned(task));
    reader
}

/// Starts the watch of storage classes, which all namespaces share. `changed` is told when there may be others.
pub fn follow_storage_classes(
    client: &Client,
    term: &CancellationToken,
    changed: impl Fn() + Send + 'static,
) -> Store<StorageClass> {
    let (reader, writer) = store();
    let stream = watcher(
        Api::<StorageClass>::all(client.clone()),
        watcher::Config::default(),
    );
    let task = keep(stream, writer, |_| {}, move |_| changed());
    tokio::spawn(term.clone().run_until_cancelled_owned(task));
    reader
}

fn follow_clusters(
    sources: &Sources,
    (reader, writer): (Store<GuardedCluster>, Writer<GuardedCluster>),
    ended: impl Fn(&ClusterName) + Send + Sync + 'static,
) -> Store<GuardedCluster> {
    let triggers = sources.triggers.clone();
    let listed = reader.clone();
    let scope = sources.namespace.clone();
    // Only a change of these is a pass for the Topics: the Cluster's counts change with every topic.
    let known: Mutex<HashMap<ClusterName, Facts>> = Mutex::default();
    let facts = |guarded: &GuardedCluster| {
        let spec = guarded.0.as_ref().ok().map(|cluster| &cluster.spec);
        let metadata = guarded.meta();
        Facts {
            uid: metadata.uid.clone(),
            deleting: metadata.deletion_timestamp.is_some(),
            paused: spec.is_some_and(|spec| spec.paused),
            suspended: spec.is_some_and(|spec| spec.suspend),
            replicas: spec.map_or(0, |spec| spec.replicas),
            allowed_namespaces: spec.map_or(Vec::new(), |spec| spec.allowed_namespaces.clone()),
        }
    };
    let seen = move |seen: Seen<'_, GuardedCluster>| match seen {
        Seen::Changed(cluster) => {
            let name = name_of(cluster);
            triggers.cluster(&name);
            let facts = facts(cluster);
            if known.lock().insert(name.clone(), facts.clone()) != Some(facts) {
                triggers.topics(&name);
                triggers.rebalances(&name);
            }
        }
        Seen::Gone(cluster) => {
            let name = name_of(cluster);
            known.lock().remove(&name);
            ended(&name);
            triggers.topics(&name);
            triggers.rebalances(&name);
        }
        Seen::Listed => {
            let now: HashMap<_, _> = listed
                .state()
                .iter()
                .map(|cluster| (name_of(&**cluster), facts(cluster)))
                .collect();
            let before = std::mem::replace(&mut *known.lock(), now.clone());
            for name in before.keys().filter(|name| !now.contains_key(*name)) {
                ended(name);
                triggers.topics(name);
                triggers.rebalances(name);
            }
            for name in now.keys() {
                triggers.rebalanced(name);
            }
            // Also those of Clusters that there are not: that was not known before.
            let named = triggers.index().read().clusters();
            let is_ours =
                |name: &&ClusterName| scope.as_ref().is_none_or(|it| *it == name.namespace);
            for name in named.iter().filter(is_ours) {
                triggers.topics(name);
            }
        }
    };
    let api = api::<GuardedCluster>(sources);
    let stream = watcher(api, watcher::Config::default());
    spawn(sources, keep(stream, writer, |_| {}, seen));
    reader
}

fn follow_topics(sources: &Sources) -> Store<GuardedTopic> {
    let (reader, writer) = store::<GuardedTopic>();
    let triggers = sources.triggers.clone();
    let listed = reader.clone();
    let forget = {
        let triggers = triggers.clone();
        move |namespace: &str, name: &str| triggers.index().write().remove(namespace, name)
    };
    let mut known: HashSet<(String, String)> = HashSet::new();
    let seen = move |seen: Seen<'_, GuardedTopic>| match seen {
        Seen::Changed(guarded) => {
            let key = (guarded.namespace().unwrap_or_default(), guarded.name_any());
            let before = forget(&key.0, &key.1);
            known.insert(key.clone());
            if let Ok(topic) = &guarded.0 {
                triggers.index().write().insert(topic);
            }
            // Rivals have to know when one begins to be deleted, or is there at all.
            let news = before.is_none() || guarded.meta().deletion_timestamp.is_some();
            if let Some(topic) = guarded.0.as_ref().ok().filter(|_| news) {
                triggers.topic(&crate::topic::index::cluster_of(topic), topic.topic_name());
            }
            triggers.topic_object(&key.0, &key.1);
        }
        Seen::Gone(guarded) => {
            let key = (guarded.namespace().unwrap_or_default(), guarded.name_any());
            known.remove(&key);
            // The next in precedence takes its place.
            if let Some((cluster, topic)) = forget(&key.0, &key.1) {
                triggers.topic(&cluster, &topic);
            }
        }
        Seen::Listed => {
            let objects = listed.state();
            let key = |object: &Arc<GuardedTopic>| {
                (object.namespace().unwrap_or_default(), object.name_any())
            };
            let now: HashSet<(String, String)> = objects.iter().map(key).collect();
            for key in known.difference(&now) {
                forget(&key.0, &key.1);
            }
            known = now;
            for object in &objects {
                if let Ok(topic) = &object.0 {
                    triggers.index().write().insert(topic);
                }
            }
            for (namespace, name) in &known {
                triggers.topic_object(namespace, name);
            }
        }
    };
    let api = api::<GuardedTopic>(sources);
    let stream = watcher(api, watcher::Config::default());
    spawn(sources, keep(stream, writer, |_| {}, seen));
    reader
}

fn follow_rebalances(sources: &Sources) -> Store<GuardedRebalance> {
    let (reader, writer) = store::<GuardedRebalance>();
    let triggers = sources.triggers.clone();
    let listed = reader.clone();
    let key =
        |object: &GuardedRebalance| (object.namespace().unwrap_or_default(), object.name_any());
    let mut known: HashSet<(String, String)> = HashSet::new();
    let seen = move |seen: Seen<'_, GuardedRebalance>| match seen {
        Seen::Changed(guarded) => {
            let (namespace, name) = key(guarded);
            known.insert((namespace.clone(), name.clone()));
            let before = triggers.remove_rebalance(&namespace, &name);
            let now = guarded.0.as_ref().ok().map(cluster_of);
            if let Some(cluster) = &now {
                triggers.insert_rebalance(cluster, &name);
                triggers.rebalanced(cluster);
            }
            if let Some(before) = before.filter(|before| Some(before) != now.as_ref()) {
                triggers.rebalanced(&before);
            }
        }
        Seen::Gone(guarded) => {
            let (namespace, name) = key(guarded);
            known.remove(&(namespace.clone(), name.clone()));
            if let Some(cluster) = triggers.remove_rebalance(&namespace, &name) {
                triggers.rebalanced(&cluster);
            }
        }
        Seen::Listed => {
            let objects = listed.state();
            let now: HashSet<(String, String)> = objects.iter().map(|it| key(it)).collect();
            for (namespace, name) in known.difference(&now) {
                if let Some(cluster) = triggers.remove_rebalance(namespace, name) {
                    triggers.rebalanced(&cluster);
                }
            }
            known = now;
            for object in &objects {
                if let Ok(rebalance) = &object.0 {
                    let cluster = cluster_of(rebalance);
                    triggers.insert_rebalance(&cluster, &rebalance.name_any());
                    triggers.rebalanced(&cluster);
                }
            }
        }
    };
    let api = api::<GuardedRebalance>(sources);
    let stream = watcher(api, watcher::Config::default());
    spawn(sources, keep(stream, writer, |_| {}, seen));
    reader
}

/// Watches what the operator made of one kind; a change is a pass for the Cluster it belongs to.
fn follow_labelled<K>(
    sources: &Sources,
    clusters: &Store<GuardedCluster>,
    trim: fn(&mut K),
) -> Store<K>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + Debug
        + DeserializeOwned
        + Send
        + Sync
        + 'static,
{
    let (reader, writer) = store();
    let triggers = sources.triggers.clone();
    let clusters = clusters.clone();
    let seen = move |seen: Seen<'_, K>| match seen {
        Seen::Changed(object) | Seen::Gone(object) => {
            for name in owners(object) {
                triggers.cluster(&name);
            }
        }
        Seen::Listed => {
            for cluster in clusters.state() {
                triggers.cluster(&name_of(&*cluster));
            }
        }
    };
    let config = watcher::Config::default().labels(MANAGED_BY_SELECTOR);
    let stream = watcher(api::<K>(sources), config);
    spawn(sources, keep(stream, writer, trim, seen));
    reader
}

/// The Clusters that an object may belong to: by its owner reference and by its label, since a hand may
/// have changed either.
fn owners<K: Resource<DynamicType = ()>>(object: &K) -> Vec<ClusterName> {
    let namespace = object.meta().namespace.clone().unwrap_or_default();
    let references = object
        .meta()
        .owner_references
        .as_deref()
        .unwrap_or_default();
    let kind = Cluster::kind(&());
    let owner = references
        .iter()
        .filter(|owner| owner.kind == kind)
        .map(|owner| &owner.name);
    let label = object
        .meta()
        .labels
        .as_ref()
        .and_then(|labels| labels.get(INSTANCE_LABEL));
    let mut names: Vec<&String> = owner.chain(label).collect();
    names.dedup();
    names
        .into_iter()
        .map(|name| ClusterName {
            namespace: namespace.clone(),
            name: name.clone(),
        })
        .collect()
}

/// Keeps a store current with a watch, until it is cancelled. The watch mends itself.
async fn keep<K>(
    stream: impl futures::Stream<Item = watcher::Result<Event<K>>> + Send,
    mut writer: Writer<K>,
    trim: impl Fn(&mut K),
    mut seen: impl FnMut(Seen<'_, K>),
) where
    K: Resource<DynamicType = ()> + Clone + 'static,
{
    let mut stream = std::pin::pin!(stream.default_backoff());
    while let Some(event) = stream.next().await {
        let event = match event {
            Ok(event) => event.modify(|object| {
                object.meta_mut().managed_fields = None;
                if let Some(annotations) = &mut object.meta_mut().annotations {
                    annotations.remove(LAST_APPLIED_ANNOTATION);
                }
                trim(object);
            }),
            Err(failure) => {
                let kind = K::kind(&());
                warn!(%kind, error = %failure, "a watch was interrupted");
                continue;
            }
        };
        writer.apply_watcher_event(&event);
        match &event {
            Event::Apply(object) => seen(Seen::Changed(object)),
            Event::Delete(object) => seen(Seen::Gone(object)),
            Event::InitDone => seen(Seen::Listed),
            Event::Init | Event::InitApply(_) => {}
        }
    }
    error!(kind = %K::kind(&()), "a watch ended");
}

pub(super) fn spawn(sources: &Sources, task: impl Future<Output = ()> + Send + 'static) {
    tokio::spawn(sources.term.clone().run_until_cancelled_owned(task));
}

pub(super) fn api<K>(sources: &Sources) -> Api<K>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
{
    match &sources.namespace {
        Some(namespace) => Api::namespaced(sources.client.clone(), namespace),
        None => Api::all(sources.client.clone()),
    }
}

fn name_of<K: Resource>(object: &K) -> ClusterName {
    ClusterName {
        namespace: object.meta().namespace.clone().unwrap_or_default(),
        name: object.meta().name.clone().unwrap_or_default(),
    }
}

/// Of a pod's spec only the node, the image and its claims are read, and of its annotations the operator's own.
fn trim_pod(pod: &mut Pod) {
    if let Some(annotations) = &mut pod.metadata.annotations {
        annotations.retain(|key, _| key.starts_with(ANNOTATION_PREFIX));
    }
    if let Some(spec) = &mut pod.spec {
        let node_name = spec.node_name.take();
        let mut containers = std::mem::take(&mut spec.containers);
        containers.retain(|container| container.name == CONTAINER);
        let image = |container: Container| Container {
            name: container.name,
            image: container.image,
            ..Container::default()
        };
        let mut volumes = spec.volumes.take();
        if let Some(volumes) = &mut volumes {
            volumes.retain(|volume| volume.persistent_volume_claim.is_some());
        }
        *spec = PodSpec {
            volumes,
            node_name,
            containers: containers.into_iter().map(image).collect(),
            ..PodSpec::default()
        };
    }
}

#[cfg(test)]
mod tests {
    use super::trim_pod;
    use crate::cluster::observed::PodState;
    use serde_json::json;

    /// A cluster may have thousands of pods, each of some kilobytes.
    #[test]
    fn what_is_dropped_of_a_pod_is_not_read() {
        let whole = json!({
            "metadata": {
                "name": "demo-broker-0", "uid": "u",
                "annotations": {"foz.dev/restart": "", "foz.dev/restarted-for": "x", "a": "b"},
            },
            "spec": {
                "nodeName": "node-1",
                "containers": [{"name": "foz", "image": "foz:1", "command": ["foz-broker"]}, {"name": "injected"}],
                "volumes": [
                    {"name": "data-1", "persistentVolumeClaim": {"claimName": "data-1-demo-broker-0"}},
                    {"name": "tmp", "emptyDir": {}},
                ],
            },
        });
        let mut pod = serde_json::from_value(whole).expect("a pod");
        let before = PodState::from(&pod);
        trim_pod(&mut pod);
        assert_eq!(PodState::from(&pod), before);
        assert!(before.restart_asked && before.image.is_some());
        let left = serde_json::to_string(&pod).expect("JSON");
        assert_eq!(before.volumes.len(), 1);
        for dropped in ["command", "injected", "\"a\"", "emptyDir"] {
            assert!(!left.contains(dropped), "{left}");
        }
    }
}
