//! Dereference: all that a pass over a Cluster reads, from memory.

use std::collections::BTreeSet;
use std::time::Instant;

use foz_crd::Cluster;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt as _;
use serde_json::Value;

use crate::cluster::missing_pods;
use crate::cluster::observed::{ClaimState, Observed, PodState, QuorumState, SetState, claims_of};
use crate::cluster::owned::{ObjectKey, Owned};
use crate::cluster::validate::ControllerCount;
use crate::cluster::volumes::without_set;
use crate::context::Context;
use crate::names::{CONTROLLER_NODE_ID_BASE, ClusterName, Role};
use crate::rebalance::claim::{Claim, claims};
use crate::volume_id::VolumeId;
use crate::world::get;
use crate::world::warnings::Warned;

/// Reads the world around a Cluster. Objects are looked up by the names that they have or would have.
#[must_use]
pub fn dereference(cluster: &Cluster, context: &Context) -> Observed {
    let name = ClusterName {
        namespace: cluster.namespace().unwrap_or_default(),
        name: cluster.name_any(),
    };
    let world = &context.world;
    let mut observed = Observed {
        now: Timestamp::now(),
        storage_classes: world.storage_classes(),
        quorum: context
            .quorums
            .get(&name)
            .map_or(QuorumState::Unknown, |quorum| quorum.state()),
        ..Observed::default()
    };
    let uid = cluster.uid().unwrap_or_default();
    if let Some(view) = observed.quorum.current() {
        let now = Instant::now();
        observed.denied = context.denials.recent(&uid, view, now).0;
        observed.asked = context.asked.recent(&uid, view, now).0;
        observed.look_is_due = context.looks.due_in(&uid, now).is_zero();
    }
    rebalances(&name, context, &mut observed);
    for role in Role::ALL {
        let set_name = name.of_role(role);
        let set = get(&world.stateful_sets, &name.namespace, &set_name);
        if let Some(set) = &set {
            let warnings = &world.warnings;
            let set = SetState {
                warnings: warnings.all_about(Warned::StatefulSet, &name.namespace, &set_name),
                ..SetState::from(&**set)
            };
            observed.sets.insert(role, set);
        }
        let running = observed.sets.get(&role).map_or(0, |set| set.replicas);
        let wanted = match role {
            Role::Broker => cluster.spec.replicas,
            Role::Controller => cluster.spec.controllers.replicas,
        };
        // Pods that no StatefulSet speaks for any more, or not as long as they last.
        let others = if set.is_none() || cluster.spec.suspend {
            world.ordinals(&name.namespace, &set_name)
        } else {
            Vec::new()
        };
        let last = others.iter().max().map_or(0, |ordinal| ordinal + 1);
        let known = match role {
            Role::Broker => registered(&observed),
            Role::Controller => 0,
        };
        if role == Role::Controller && set.is_none() {
            observed.controller_volumes = controller_volumes(&name, context);
        }
        let volumes = volumes(cluster, role, observed.sets.get(&role));
        let places = wanted.max(running).max(last).max(known);
        for ordinal in 0..CONTROLLER_NODE_ID_BASE {
            let pod = get(&world.pods, &name.namespace, &name.pod(role, ordinal));
            // Beyond those that there are to be are those that stop.
            if ordinal >= places && pod.is_none() {
                break;
            }
            if let Some(pod) = &pod {
                let mut state = PodState::from(&**pod);
                state.deleting |= context.deleted.contains(&state.uid);
                observed.pods.insert((role, ordinal), state);
            }
            for volume in &volumes {
                if let Some(claim) = claim(&name, role, ordinal, *volume, context) {
                    observed.claims.insert((role, ordinal, *volume), claim);
                }
            }
        }
        if let Some(set) = observed.sets.get_mut(&role) {
            let pods = observed.pods.keys().filter(|(of, _)| *of == role);
            let pods: Vec<String> = pods.map(|(_, it)| name.pod(role, *it)).collect();
            let claims = observed.claims.keys().filter(|(of, ..)| *of == role);
            let claims: Vec<String> = claims
                .map(|(_, it, id)| name.claim(role, *it, *id))
                .collect();
            // What Kubernetes could not make once, it has made since.
            let (over, last) = std::mem::take(&mut set.warnings)
                .into_iter()
                .partition(|warning| missing_pods::is_over(warning, &pods, &claims));
            set.warnings = last;
            let of = (
                Warned::StatefulSet,
                name.namespace.as_str(),
                set_name.as_str(),
            );
            world.warnings.forget(of, &over);
        } else {
            let of_role = observed.pods.iter().filter(|((of, _), _)| *of == role);
            let pods = of_role.map(|((_, ordinal), pod)| (*ordinal, pod));
            if let Some(set) = without_set(pods) {
                observed.sets.insert(role, set);
            }
        }
    }
    for (place, pod) in &observed.pods {
        let mut claims = claims_of(&observed.claims, place.0, place.1);
        let may_go = pod.replace_asked.is_some() || claims.any(|(_, claim)| claim.deleting);
        let quorum = context.quorums.get(&name);
        let copies = quorum.filter(|_| may_go && place.0 == Role::Broker);
        if let Some(copies) = copies.and_then(|quorum| quorum.only_copies(place.1)) {
            observed.only_copies.insert(place.1, copies);
        }
    }
    let running = observed
        .sets
        .get(&Role::Broker)
        .map_or(0, |set| set.replicas);
    if running.max(registered(&observed)) > cluster.spec.replicas {
        let quorum = context.quorums.get(&name);
        observed.widest_topic = quorum.and_then(|quorum| quorum.widest_topic());
    }
    observed.broker_services =
        broker_services(&name, &uid, cluster.spec.replicas.max(running), context);
    for key in keys(&name, &observed, cluster.spec.replicas) {
        if let Some(accepted) = context.memory.get(&name.namespace, &key) {
            observed.accepted.insert(key.clone(), accepted);
        }
        if let Some(live) = world.owned(&name.namespace, &key) {
            observed.live.insert(key, live);
        }
    }
    for node in observed.pods.values().filter_map(|pod| pod.node.as_ref()) {
        if let Some(zone) = world.zone(node) {
            observed.zones.insert(node.clone(), zone);
        }
    }
    observed
}

/// Those that pods of a role may have. While no StatefulSet says so, they may have any.
fn volumes(cluster: &Cluster, role: Role, set: Option<&SetState>) -> BTreeSet<VolumeId> {
    let wanted = cluster.spec.storage.volumes.iter();
    let wanted = wanted.filter_map(|volume| VolumeId::new(volume.id));
    match (role, set) {
        (Role::Controller, _) => [VolumeId::FIRST].into(),
        (Role::Broker, None) => VolumeId::all().collect(),
        (Role::Broker, Some(set)) => {
            let live = set.volumes.iter().copied();
            [VolumeId::FIRST]
                .into_iter()
                .chain(live)
                .chain(wanted)
                .collect()
        }
    }
}

fn claim(
    name: &ClusterName,
    role: Role,
    ordinal: i32,
    volume: VolumeId,
    context: &Context,
) -> Option<ClaimState> {
    let (world, claim) = (&context.world, name.claim(role, ordinal, volume));
    let found = get(&world.claims, &name.namespace, &claim)?;
    let mut state = ClaimState::from(&*found);
    state.deleting |= context.deleted.contains(&state.uid);
    let node = state.node.as_ref();
    state.node_is_gone = node.is_some_and(|node| world.has_node(node) == Some(false));
    state.warning = world
        .warnings
        .about(Warned::PersistentVolumeClaim, &name.namespace, &claim);
    Some(state)
}

/// Those of a Cluster that was there before, if there was one.
fn controller_volumes(name: &ClusterName, context: &Context) -> i32 {
    let places = 0..ControllerCount::MAX;
    let kept = places.filter(|ordinal| {
        let claim = claim(name, Role::Controller, *ordinal, VolumeId::FIRST, context);
        // A claim that no volume was ever made for holds nothing.
        claim.is_some_and(|claim| !claim.deleting && !claim.is_pending())
    });
    kept.last().map_or(0, |ordinal| ordinal + 1)
}

/// How many brokers there would be if every one that the quorum knows was among them.
fn registered(observed: &Observed) -> i32 {
    let last = observed
        .quorum
        .told()
        .and_then(|view| view.brokers.keys().last());
    last.map_or(0, |node_id| node_id + 1)
}

/// What Rebalances ask of the Cluster.
fn rebalances(name: &ClusterName, context: &Context, observed: &mut Observed) {
    let mut pending: Vec<Claim> = Vec::new();
    for claim in claims(name, context) {
        observed.drains.extend(claim.drains().into_iter().flatten());
        if claim.is_pending() {
            pending.push(claim);
        }
    }
    let first = pending.into_iter().min();
    observed.rebalance_pending = first.map(|claim| claim.name);
}

/// The Services of this Cluster's brokers from this number on, of which there is none without the one before it.
fn broker_services(name: &ClusterName, uid: &str, first: i32, context: &Context) -> BTreeSet<i32> {
    let service = |ordinal: i32| {
        let key = ObjectKey {
            kind: Owned::Service,
            name: name.pod(Role::Broker, ordinal),
        };
        Some((ordinal, context.world.owned(&name.namespace, &key)?))
    };
    let is_ours = |live: &Value| {
        let metadata = &live["metadata"];
        let is_deleted = || {
            let uid = metadata["uid"].as_str();
            uid.is_some_and(|uid| context.deleted.contains(uid))
        };
        let owners = metadata["ownerReferences"].as_array();
        let mut owners = owners.into_iter().flatten();
        owners.any(|owner| owner["uid"] == uid)
            && metadata["deletionTimestamp"].is_null()
            && !is_deleted()
    };
    (first..CONTROLLER_NODE_ID_BASE)
        .map_while(service)
        .filter(|(_, live)| is_ours(live))
        .map(|(ordinal, _)| ordinal)
        .collect()
}

/// Every object that the Cluster has or would have. More names than that do no harm.
fn keys(name: &ClusterName, observed: &Observed, replicas: i32) -> Vec<ObjectKey> {
    let running = observed
        .sets
        .get(&Role::Broker)
        .map_or(0, |set| set.replicas);
    let brokers = replicas.max(running).max(registered(observed));
    let mut keys = Vec::new();
    for role in Role::ALL {
        for kind in [
            Owned::ConfigMap,
            Owned::NetworkPolicy,
            Owned::PodDisruptionBudget,
            Owned::ServiceAccount,
            Owned::StatefulSet,
        ] {
            keys.push(ObjectKey {
                kind,
                name: name.of_role(role),
            });
        }
        keys.push(ObjectKey {
            kind: Owned::Service,
            name: name.headless(role),
        });
    }
    keys.push(ObjectKey {
        kind: Owned::Service,
        name: name.bootstrap(),
    });
    let services = (0..brokers.min(CONTROLLER_NODE_ID_BASE)).map(|ordinal| ObjectKey {
        kind: Owned::Service,
        name: name.pod(Role::Broker, ordinal),
    });
    keys.extend(services);
    keys
}
