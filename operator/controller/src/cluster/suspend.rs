//! Suspend and resume: no pod runs, and everything else stays. Pure.
//!
//! All brokers are asked to stop at once, and the controllers when no broker is left: a broker that stops needs them.
//! Nothing is remembered: back to false, the StatefulSets have their pods again, on the volumes that they had.

use std::collections::BTreeSet;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use serde_json::Value;

use crate::cluster::observed::Observed;
use crate::cluster::validate::ValidatedCluster;
use crate::conditions::{Finding, Findings, READY, find};
use crate::events::Notice;
use crate::names::Role;

/// Why a suspended Cluster is not ready.
pub const SUSPENDED: &str = "Suspended";

/// The roles of which no pod is to run.
#[must_use]
pub fn stopped(cluster: &ValidatedCluster, observed: &Observed) -> BTreeSet<Role> {
    if !cluster.suspended {
        return BTreeSet::new();
    }
    let has_pods = |role: Role| observed.pods.keys().any(|(of, _)| *of == role);
    let brokers = observed.sets.get(&Role::Broker);
    let are_wanted = brokers.is_some_and(|set| set.replicas > 0);
    let mut stopped = BTreeSet::from([Role::Broker]);
    if !are_wanted && !has_pods(Role::Broker) {
        stopped.insert(Role::Controller);
    }
    stopped
}

/// Why the number of pods in a StatefulSet changes, where that is the reason.
pub(super) fn reason(manifest: &Value, live: &Value) -> Option<String> {
    let none = |object: &Value| object["spec"]["replicas"] == 0;
    match (none(manifest), none(live)) {
        (true, false) => Some("spec.suspend is true".to_owned()),
        (false, true) => Some("spec.suspend is not true".to_owned()),
        _ => None,
    }
}

/// What a status says of a Cluster that is suspended. That its quorum does not answer is as it should be.
pub(super) fn findings(
    cluster: &ValidatedCluster,
    observed: &Observed,
    progressing: &[Finding],
    degraded: Vec<Finding>,
) -> Findings {
    let message = "spec.suspend is true: no broker runs, and volumes and Services stay; set it to false to go on where it was";
    let left: Vec<String> = observed
        .pods
        .keys()
        .map(|(role, ordinal)| cluster.name.pod(*role, *ordinal))
        .collect();
    let mut under_way = Vec::new();
    if !left.is_empty() {
        let message = format!(
            "brokers stop, and then controllers; still there: {}",
            left.join(", ")
        );
        under_way.push(Finding::new("Suspending", message));
    }
    under_way.extend(progressing.iter().cloned());
    Findings {
        not_ready: vec![Finding::new(SUSPENDED, message)],
        ready_message: String::new(),
        progressing: under_way,
        degraded,
    }
}

/// It was suspended as far as its conditions tell.
#[must_use]
pub fn was_suspended(conditions: &[Condition]) -> bool {
    find(conditions, READY).is_some_and(|ready| ready.reason == SUSPENDED)
}

/// The Events of a change.
#[must_use]
pub fn notices(before: &[Condition], now: &[Condition]) -> Option<Notice> {
    match (was_suspended(before), was_suspended(now)) {
        (false, true) => {
            let note = "brokers stop, then controllers; volumes and Services stay";
            Some(Notice::done(SUSPENDED, note))
        }
        (true, false) => Some(Notice::done(
            "Resumed",
            "controllers and brokers start on their volumes",
        )),
        _ => None,
    }
}
