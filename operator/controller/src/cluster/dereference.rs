//! Dereference: all that a pass over a Cluster reads, from memory.

use std::time::Instant;

use foz_crd::Cluster;
use kube::ResourceExt as _;

use crate::cluster::observed::{ClaimState, Observed, PodState, QuorumState, SetState};
use crate::cluster::owned::{ObjectKey, Owned};
use crate::context::Context;
use crate::names::{CONTROLLER_NODE_ID_BASE, ClusterName, Role};
use crate::world::get;

/// Reads the world around a Cluster. Objects are looked up by the names that they have or would have.
#[must_use]
pub fn dereference(cluster: &Cluster, context: &Context) -> Observed {
    let name = ClusterName {
        namespace: cluster.namespace().unwrap_or_default(),
        name: cluster.name_any(),
    };
    let world = &context.world;
    let mut observed = Observed {
        quorum: context
            .quorums
            .get(&name)
            .map_or(QuorumState::Unknown, |quorum| quorum.state()),
        ..Observed::default()
    };
    if let Some(view) = observed.quorum.current() {
        let uid = cluster.uid().unwrap_or_default();
        observed.denied = context.denials.recent(&uid, view, Instant::now()).0;
    }
    for role in Role::ALL {
        let set = get(&world.stateful_sets, &name.namespace, &name.of_role(role));
        if let Some(set) = &set {
            observed.sets.insert(role, SetState::from(&**set));
        }
        let running = observed.sets.get(&role).map_or(0, |set| set.replicas);
        let wanted = match role {
            Role::Broker => cluster.spec.replicas,
            Role::Controller => cluster.spec.controllers.replicas,
        };
        for ordinal in 0..wanted.max(running).min(CONTROLLER_NODE_ID_BASE) {
            let pod = get(&world.pods, &name.namespace, &name.pod(role, ordinal));
            if let Some(pod) = &pod {
                let mut state = PodState::from(&**pod);
                state.deleting |= context.deleted.contains(&state.uid);
                observed.pods.insert((role, ordinal), state);
            }
            let claim = get(&world.claims, &name.namespace, &name.claim(role, ordinal));
            if let Some(claim) = &claim {
                observed
                    .claims
                    .insert((role, ordinal), ClaimState::from(&**claim));
            }
        }
    }
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

/// Every object that the Cluster has or would have. More names than that do no harm.
fn keys(name: &ClusterName, observed: &Observed, replicas: i32) -> Vec<ObjectKey> {
    let running = observed
        .sets
        .get(&Role::Broker)
        .map_or(0, |set| set.replicas);
    let registered = observed
        .quorum
        .told()
        .and_then(|view| view.brokers.keys().last().copied());
    let brokers = replicas
        .max(running)
        .max(registered.map_or(0, |node_id| node_id + 1));
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
