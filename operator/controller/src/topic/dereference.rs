//! Dereference: all that a pass over a Topic reads, from memory.

use foz_crd::{Cluster, Topic};
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt as _;

use crate::cluster::defaults;
use crate::cluster::observed::QuorumState;
use crate::context::Context;
use crate::quorum::view::Room;
use crate::topic::FINALIZER;
use crate::topic::index::{claimant, cluster_of};
use crate::topic::plan::{ClusterState, Observed};
use crate::trigger::Triggers;
use crate::world::Found;

/// How long the deletion of a topic waits for brokers that live and do not hear of it. It is committed by then: they
/// will, and the object of a namespace that is deleted must not hang.
const BROKERS_WAITED_FOR_SECONDS: i64 = 60;

/// Reads the world around a Topic.
#[must_use]
pub fn dereference(
    topic: &Topic,
    context: &Context,
    triggers: &Triggers,
    now: Timestamp,
) -> Observed {
    let cluster = cluster_of(topic);
    let namespace = topic.namespace().unwrap_or_default();
    let deleting_since = topic.metadata.deletion_timestamp.as_ref();
    let deleting = deleting_since.is_some();
    let found = context.clusters.find(&cluster);
    let found_cluster = match &found {
        Found::Cluster(guarded) => guarded.0.as_ref().ok(),
        Found::Nothing | Found::NotYet | Found::Unwatched => None,
    };
    let own = claimant(topic);
    let index = triggers.index().read();
    // Whoever may not have a topic of the Cluster keeps nobody from having it.
    let is_allowed = |of: &str| found_cluster.is_none_or(|found| found.allows(of));
    let mut others = index
        .claimants(&cluster, topic.topic_name())
        .filter(|other| other.uid != own.uid && is_allowed(&other.namespace));
    // The one whose deletion is under way still decides; but the topic is not deleted from under one
    // that stays.
    let rival = if deleting {
        others.find(|other| !other.deleting)
    } else {
        others.find(|other| **other < own)
    };
    let rival = rival.map(|rival| match &rival.namespace {
        other if *other == namespace => rival.name.clone(),
        other => format!("{other}/{}", rival.name),
    });
    let quorum = context.quorums.get(&cluster);
    let live = quorum
        .as_ref()
        .and_then(|quorum| quorum.topic(topic.topic_name()));
    let told = quorum.as_ref().filter(|_| live == Some(None));
    let told = told.map(|quorum| quorum.state());
    let (brokers_wanted, default_replication_factor) = match (found_cluster, told) {
        (Some(found), Some(told)) => for_a_new_topic(found, &told),
        (Some(found), None) => (found.spec.replicas, None),
        _ => (0, None),
    };
    Observed {
        uid: own.uid,
        cluster: state_of(&found, &namespace),
        deleting,
        deletion_is_overdue: deleting_since.is_some_and(|since| {
            now.as_second() - since.0.as_second() >= BROKERS_WAITED_FOR_SECONDS
        }),
        finalizer: topic
            .finalizers()
            .iter()
            .any(|finalizer| finalizer == FINALIZER),
        rival,
        live,
        room: quorum.map_or_else(Room::default, |quorum| quorum.room()),
        brokers_wanted,
        default_replication_factor,
        namespace,
    }
}

fn state_of(found: &Found, namespace: &str) -> ClusterState {
    let guarded = match found {
        Found::Cluster(guarded) => guarded,
        Found::NotYet => return ClusterState::Unseen,
        Found::Nothing | Found::Unwatched => return ClusterState::Missing,
    };
    match &guarded.0 {
        Ok(found) if found.metadata.deletion_timestamp.is_some() => ClusterState::Missing,
        Ok(found) if !found.allows(namespace) => ClusterState::NotAllowed,
        Ok(found) if found.spec.paused => ClusterState::Paused,
        Ok(found) if found.spec.suspend => ClusterState::Suspended,
        Ok(_) => ClusterState::Present,
        // Whether it allows others cannot be read.
        Err(_) if guarded.namespace().as_deref() != Some(namespace) => ClusterState::Unseen,
        Err(_) => ClusterState::Present,
    }
}

/// How many brokers there are to be, and the replication factor of topics that do not say theirs. Both as
/// the Cluster has them, not as the quorum has them yet: a Topic that is applied together with its Cluster,
/// or with more brokers, must not come out smaller because its pass was the first.
fn for_a_new_topic(cluster: &Cluster, told: &QuorumState) -> (i32, Option<i32>) {
    let managed = cluster.status.as_ref();
    let managed = managed.map_or(&[][..], |status| &status.managed_config_keys);
    let Some(view) = told.told() else {
        return (cluster.spec.replicas, None);
    };
    // Those that are to go take no more topics.
    let mut staying = view.brokers.iter().filter(|(_, broker)| !broker.cordoned);
    let last = staying.next_back().map_or(0, |(node_id, _)| node_id + 1);
    let brokers = cluster.spec.replicas.max(last);
    let config = &cluster.spec.config;
    let factor = defaults::replication_factor(config, brokers, managed, &view.broker_config);
    (brokers, factor)
}
