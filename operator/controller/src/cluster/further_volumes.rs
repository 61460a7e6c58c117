//! Which volumes brokers have, where that is not what their Cluster says. Pure.
//!
//! - A volume that brokers have stays, though the Cluster does not name it any more: the replicas on it would be lost.
//!   The schema refuses such an edit; an object that was stored before it did, or is made again over volumes that are
//!   there, comes to us. What brokers have is said by their StatefulSet, and by the claims while there is none.
//! - One that is added is in no pod, and in no `log.dirs`, before the StatefulSet has a claim template for it: a pod with
//!   a mount that nothing is mounted at cannot be made. See [`super::volumes::claim_templates`].
//! - Kubernetes then goes through the pods in the order of their numbers, and no further than the first that lacks a
//!   volume: it tries to add one to it, in vain (kubernetes/kubernetes#141876). A pod behind it that goes, or is still to
//!   come, is not made before that one has been restarted. The [roll](super::roll) goes by that.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use serde_json::Value;

use crate::cluster::observed::{Observed, PodState, SetState};
use crate::cluster::owned::{ObjectKey, Owned};
use crate::cluster::plan::Plan;
use crate::cluster::validate::{ValidatedCluster, VolumeSpec};
use crate::conditions::Finding;
use crate::names::Role;
use crate::volume_id::VolumeId;

/// Adds the volumes that stay, and says which these are; and keeps the classes of those that are there.
pub(super) fn keep(cluster: &mut ValidatedCluster, observed: &Observed) -> Vec<Finding> {
    let live = live_of_brokers(cluster, observed).map(of_templates);
    let live = live.unwrap_or_default();
    let mut findings = Vec::new();
    for (id, has) in there(observed, &live) {
        let wanted = match id {
            VolumeId::FIRST => Some(&mut cluster.broker_volume),
            _ => cluster.further_volumes.get_mut(&id),
        };
        let Some(wanted) = wanted else {
            let message = format!(
                "spec.storage.volumes does not name volume {id}, and brokers have it: it stays, for the replicas on it would be lost; name it again: {{id: {id}, size: {}{}}}",
                has.size.0,
                class_words(has.class_name.as_deref())
            );
            findings.push(Finding::new("VolumeStays", message));
            cluster.further_volumes.insert(id, has);
            continue;
        };
        // Volumes that are made again may be of another class. What is there keeps its own, and new brokers get the same: nobody
        // could mend that, as the schema lets nobody change a class.
        if live.contains_key(&id) {
            wanted.class_name = has.class_name;
        }
    }
    findings
}

fn class_words(class_name: Option<&str>) -> String {
    class_name
        .map(|class| format!(", className: {class}"))
        .unwrap_or_default()
}

/// The Cluster with the volumes alone that the StatefulSet has claim templates for; all of them where there is none. While
/// a pod lacks one, no broker may be evicted.
pub(super) fn as_live(cluster: &ValidatedCluster, observed: &Observed) -> ValidatedCluster {
    let mut cluster = cluster.clone();
    if let Some(live) = live_of_brokers(&cluster, observed) {
        let live = of_templates(live);
        cluster
            .further_volumes
            .retain(|id, _| live.contains_key(id));
    }
    let mut pods = observed.pods.iter();
    cluster.brokers_stay = pods.any(|((role, _), pod)| {
        let mut further = cluster.further_volumes.keys();
        *role == Role::Broker && further.any(|id| !pod.volumes.contains(id))
    });
    cluster
}

/// The volumes that a StatefulSet has claim templates for.
pub(super) fn of_templates(set: &Value) -> BTreeMap<VolumeId, VolumeSpec> {
    let templates = set["spec"]["volumeClaimTemplates"].as_array();
    let volume = |template: &Value| {
        let id = VolumeId::of_template(template["metadata"]["name"].as_str()?)?;
        let spec = &template["spec"];
        let size = spec["resources"]["requests"]["storage"].as_str()?;
        let class_name = spec["storageClassName"].as_str().map(str::to_owned);
        let size = Quantity(size.to_owned());
        Some((id, VolumeSpec { size, class_name }))
    };
    templates.into_iter().flatten().filter_map(volume).collect()
}

/// Says which pods Kubernetes does not make yet. That the one before them does not go on by itself is told by the
/// [roll](super::roll), which there is none of while the Cluster is paused.
pub(super) fn report(cluster: &ValidatedCluster, observed: &Observed, plan: &mut Plan) {
    let Some(set) = observed.sets.get(&Role::Broker) else {
        return;
    };
    let pod = |ordinal: &i32| observed.pods.get(&(Role::Broker, *ordinal));
    let lacks = |ordinal: &i32| pod(ordinal).is_some_and(|pod| !lacking(set, pod).is_empty());
    let Some(first) = (0..set.replicas).find(lacks) else {
        return;
    };
    let is_ready = |pod: &PodState| pod.ready || !cluster.paused;
    let waits = |ordinal: &i32| !pod(ordinal).is_some_and(is_ready);
    let waiting = (first + 1..set.replicas).filter(waits);
    let waiting: Vec<String> = waiting
        .map(|it| cluster.name.pod(Role::Broker, it))
        .collect();
    if waiting.is_empty() {
        return;
    }
    let message = format!(
        "Kubernetes makes no pod behind {first}, which has to be restarted with its new volumes first: {}",
        waiting.join(", "),
        first = cluster.name.pod(Role::Broker, first),
    );
    if cluster.paused {
        let message = format!("{message}; nothing is restarted while spec.paused is true");
        plan.degraded
            .push(Finding::new("PodsWaitForVolumes", message));
    } else {
        plan.progressing
            .push(Finding::new("PodsWaitForVolumes", message));
    }
}

/// The volumes of the newest claim templates that a pod was made without.
#[must_use]
pub fn lacking(set: &SetState, pod: &PodState) -> Vec<VolumeId> {
    if pod.deleting {
        return Vec::new();
    }
    set.volumes.difference(&pod.volumes).copied().collect()
}

/// The volumes that there are, as the StatefulSet has them, or else the first claim.
fn there(
    observed: &Observed,
    live: &BTreeMap<VolumeId, VolumeSpec>,
) -> BTreeMap<VolumeId, VolumeSpec> {
    let mut there = live.clone();
    for ((role, _, id), claim) in &observed.claims {
        // One that no volume was ever made for holds nothing.
        let holds = !claim.deleting && !claim.is_pending() && !claim.requested.is_empty();
        if *role == Role::Broker && holds {
            there.entry(*id).or_insert_with(|| VolumeSpec {
                size: Quantity(claim.requested.clone()),
                class_name: claim.class_name.clone(),
            });
        }
    }
    there
}

fn live_of_brokers<'observed>(
    cluster: &ValidatedCluster,
    observed: &'observed Observed,
) -> Option<&'observed Value> {
    observed.live.get(&ObjectKey {
        kind: Owned::StatefulSet,
        name: cluster.name.of_role(Role::Broker),
    })
}
