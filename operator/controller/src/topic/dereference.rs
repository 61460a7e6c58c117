//! Dereference: all that a pass over a Topic reads, from memory.

use foz_crd::Topic;
use kube::ResourceExt as _;

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
    let state = match context
        .world
        .cluster(&cluster)
        .as_deref()
        .map(|guarded| &guarded.0)
    {
        None => ClusterState::Missing,
        Some(Ok(found)) if found.metadata.deletion_timestamp.is_some() => ClusterState::Missing,
        Some(Ok(found)) if found.spec.paused => ClusterState::Paused,
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
    Observed {
        deleting,
        finalizer: topic
            .finalizers()
            .iter()
            .any(|finalizer| finalizer == FINALIZER),
        cluster: state,
        rival: rival.map(|rival| rival.name.clone()),
        live: quorum
            .as_ref()
            .and_then(|quorum| quorum.topic(topic.topic_name())),
        brokers_alive: quorum.map_or(0, |quorum| quorum.brokers_alive()),
    }
}
