//! Dereference: all that a pass over a Topic reads, from memory.

use foz_crd::{Cluster, Topic};
use kube::ResourceExt as _;

use crate::cluster::defaults;
use crate::cluster::observed::QuorumState;
use crate::context::Context;
use crate::topic::FINALIZER;
use crate::topic::index::{claimant, cluster_of};
use crate::topic::plan::{ClusterState, Observed};
use crate::trigger::Triggers;

/// Reads the world around a Topic.
#[must_use]
pub fn dereference(topic: &Topic, context: &Context, triggers: &Triggers) -> Observed {
    let cluster = cluster_of(topic);
    let deleting = topic.metadata.deletion_timestamp.is_some();
    let found = context.world.cluster(&cluster);
    let found = found.as_deref().map(|guarded| &guarded.0);
    let state = match found {
        None => ClusterState::Missing,
        Some(Ok(found)) if found.metadata.deletion_timestamp.is_some() => ClusterState::Missing,
        Some(Ok(found)) if found.spec.paused => ClusterState::Paused,
        Some(Ok(found)) if found.spec.suspend => ClusterState::Suspended,
        Some(_) => ClusterState::Present,
    };
    let own = claimant(topic);
    let index = triggers.index().read();
    let mut others = index
        .claimants(&cluster, topic.topic_name())
        .filter(|other| other.uid != own.uid);
    // The one whose deletion is under way still decides; but the topic is not deleted from under one
    // that stays.
    let rival = if deleting {
        others.find(|other| !other.deleting)
    } else {
        others.find(|other| **other < own)
    };
    let quorum = context.quorums.get(&cluster);
    let live = quorum
        .as_ref()
        .and_then(|quorum| quorum.topic(topic.topic_name()));
    let told = quorum.as_ref().filter(|_| live == Some(None));
    let told = told.map(|quorum| quorum.state());
    let (brokers_wanted, default_replication_factor) = match (found, told) {
        (Some(Ok(found)), Some(told)) => for_a_new_topic(found, &told),
        _ => (0, None),
    };
    Observed {
        deleting,
        finalizer: topic
            .finalizers()
            .iter()
            .any(|finalizer| finalizer == FINALIZER),
        cluster: state,
        rival: rival.map(|rival| rival.name.clone()),
        live,
        brokers_alive: quorum.map_or(0, |quorum| quorum.brokers_alive()),
        brokers_wanted,
        default_replication_factor,
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
