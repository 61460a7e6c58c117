//! Which volumes brokers have, where that is not what their Cluster says. Pure.
//!
//! - A volume that brokers have stays, and stays in its class, though the Cluster does not name it any more: the replicas
//!   on it would be lost. One that none ever had, because its class is not there for example, may be taken back: see
//!   [`is_held`].
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
use crate::cluster::roll::{Next, Waiting, roll};
use crate::cluster::storage_classes::awaited;
use crate::cluster::validate::{ValidatedCluster, VolumeSpec};
use crate::cluster::volumes::may_add_without_set;
use crate::conditions::Finding;
use crate::names::Role;
use crate::volume_id::VolumeId;

/// Adds the volumes that stay, and says which these are; and keeps the classes of those that are there.
pub(super) fn keep(cluster: &mut ValidatedCluster, observed: &Observed) -> Vec<Finding> {
    let live = live_of_brokers(cluster, observed).map(of_templates);
    let live = live.unwrap_or_default();
    let is_made_again = live.is_empty() && !has_pods(observed);
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
        // A claim names the class that was the default when it was made; a template that names none stays so.
        let is_default = wanted.class_name.is_none() && !live.contains_key(&id);
        // What is there keeps its class, and new brokers get the same.
        if is_made_again || is_default || wanted.class_name == has.class_name {
            continue;
        }
        // Of the first volume the schema lets nobody change it.
        if id != VolumeId::FIRST {
            let message = format!(
                "volume {id} stays in the class that brokers have it in; write it again: {{id: {id}, size: {}{}}}",
                wanted.size.0,
                class_words(has.class_name.as_deref())
            );
            findings.push(Finding::new("VolumeStays", message));
        }
        wanted.class_name = has.class_name;
    }
    findings
}

fn class_words(class_name: Option<&str>) -> String {
    class_name
        .map(|class| format!(", className: {class}"))
        .unwrap_or_default()
}

/// The Cluster with the volumes alone that the StatefulSet has claim templates for. Where there is none: all of them, or
/// those that hold something, while its pods are there and none may be added. While a pod lacks one, no broker may be
/// evicted.
pub(super) fn as_live(cluster: &ValidatedCluster, observed: &Observed) -> ValidatedCluster {
    let mut now = cluster.clone();
    let live = live_of_brokers(cluster, observed).map(of_templates);
    if let Some(live) = &live {
        now.further_volumes.retain(|id, _| live.contains_key(id));
    } else if has_pods(observed) && !may_add_without_set(cluster, observed) {
        now.further_volumes.retain(|id, _| is_held(observed, *id));
    }
    let live = live.unwrap_or_default();
    // One that is taken back is in the templates still.
    let further = now.further_volumes.keys().chain(live.keys());
    now.brokers_stay = lacked(observed, further);
    now
}

/// Whether a broker runs without a volume that the Cluster names.
pub(super) fn is_one_lacked(cluster: &ValidatedCluster, observed: &Observed) -> bool {
    lacked(observed, cluster.further_volumes.keys())
}

fn lacked<'ids>(observed: &Observed, mut ids: impl Iterator<Item = &'ids VolumeId>) -> bool {
    ids.any(|id| {
        let mut pods = observed.pods.iter();
        pods.any(|((role, _), pod)| *role == Role::Broker && !pod.volumes.contains(id))
    })
}

/// The class of a volume that is to be asked for, and that is not there.
pub(super) fn awaited_class(cluster: &ValidatedCluster, observed: &Observed) -> Option<String> {
    let mut further = cluster.further_volumes.iter();
    further.find_map(|(id, volume)| {
        let awaited = awaited(&observed.storage_classes, volume.class_name.as_deref());
        awaited.filter(|_| !is_held(observed, *id))
    })
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

/// Says that no broker may be evicted, and why not: node drains wait for that.
pub(super) fn report_evictions(cluster: &ValidatedCluster, observed: &Observed, plan: &mut Plan) {
    let mut pods = observed.pods.iter().rev();
    let last = pods.find_map(|((role, ordinal), pod)| {
        let set = observed.sets.get(role).filter(|_| *role == Role::Broker)?;
        let lacks = set.volumes.difference(&pod.volumes).next()?;
        Some((cluster.name.pod(*role, *ordinal), lacks))
    });
    if let Some((pod, lacks)) = last {
        let message = format!("no broker may be evicted until {pod} has volume {lacks}");
        let next = plan.roll.as_ref().map(|input| roll(input).next);
        let is_stopped = |next: &Next| match next {
            Next::Wait(waiting) => waiting.needs_a_person() || matches!(waiting, Waiting::Held(_)),
            Next::Nothing | Next::Do(_) => false,
        };
        let needs_a_person = cluster.paused || next.as_ref().is_some_and(is_stopped);
        let finding = Finding::new("EvictionsWait", message);
        if needs_a_person {
            plan.degraded.push(finding);
        } else {
            plan.progressing.push(finding);
        }
    } else if cluster.paused && allows_no_eviction(cluster, observed) {
        let message = "no broker may be evicted while spec.paused is true: the disruption budget is as volumes that were added needed it";
        plan.degraded.push(Finding::new("EvictionsWait", message));
    }
}

fn allows_no_eviction(cluster: &ValidatedCluster, observed: &Observed) -> bool {
    let budget = observed.live.get(&ObjectKey {
        kind: Owned::PodDisruptionBudget,
        name: cluster.name.of_role(Role::Broker),
    });
    budget.is_some_and(|budget| budget["spec"]["maxUnavailable"] == 0)
}

/// The volumes of the newest claim templates that a pod was made without.
#[must_use]
pub fn lacking(set: &SetState, pod: &PodState) -> Vec<VolumeId> {
    if pod.deleting {
        return Vec::new();
    }
    set.volumes.difference(&pod.volumes).copied().collect()
}

/// The volumes that hold something, as the StatefulSet has them, or else the first claim.
fn there(
    observed: &Observed,
    live: &BTreeMap<VolumeId, VolumeSpec>,
) -> BTreeMap<VolumeId, VolumeSpec> {
    let mut there = live.clone();
    there.retain(|id, _| is_held(observed, *id));
    let of_brokers = observed
        .claims
        .iter()
        .filter(|((role, ..), claim)| *role == Role::Broker && !claim.deleting);
    let (hold, others): (Vec<_>, Vec<_>) = of_brokers.partition(|(_, claim)| claim.holds());
    for ((_, _, id), claim) in hold.into_iter().chain(others) {
        if is_held(observed, *id) {
            there.entry(*id).or_insert_with(|| VolumeSpec {
                size: Quantity(claim.requested.clone()),
                class_name: claim.class_name.clone(),
            });
        }
    }
    there
}

/// Replicas may be on a volume of a broker: one was made for a claim, or a broker runs with it. The first volume always
/// counts: there is no broker without.
fn is_held(observed: &Observed, id: VolumeId) -> bool {
    let mut claims = observed.claims.iter();
    let mut pods = observed.pods.iter();
    let of_volume = |role: Role, of: VolumeId| role == Role::Broker && of == id;
    id == VolumeId::FIRST
        || claims.any(|((role, _, of), claim)| of_volume(*role, *of) && claim.holds())
        || pods.any(|((role, _), pod)| {
            *role == Role::Broker && pod.running && pod.volumes.contains(&id)
        })
}

fn has_pods(observed: &Observed) -> bool {
    observed.pods.keys().any(|(role, _)| *role == Role::Broker)
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
