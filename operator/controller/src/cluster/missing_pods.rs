//! Pods that Kubernetes cannot make, for want of quota or because something refuses them: its words are told. Pure.

use crate::cluster::observed::{Observed, SetState};
use crate::cluster::plan::Plan;
use crate::cluster::validate::ValidatedCluster;
use crate::conditions::Finding;

/// The reason of the StatefulSet controller's Event.
const FAILED_CREATE: &str = "FailedCreate";

/// Tells of pods that cannot be made.
pub(super) fn report(cluster: &ValidatedCluster, observed: &Observed, plan: &mut Plan) {
    for (&role, set) in &observed.sets {
        for ordinal in 0..set.replicas {
            let pod = cluster.name.pod(role, ordinal);
            let is_there = observed.pods.contains_key(&(role, ordinal));
            let words = words(set, &pod).filter(|_| !is_there);
            if let Some(words) = words {
                let message = format!("{pod} cannot be made: {words}");
                plan.degraded.push(Finding::new("PodNotCreated", message));
            }
        }
    }
}

/// The warning is about a pod that is there: it was made since.
#[must_use]
pub fn is_over(set: &SetState, pod: &str) -> bool {
    words(set, pod).is_some()
}

fn words<'set>(set: &'set SetState, pod: &str) -> Option<&'set str> {
    let warning = set.warning.as_ref()?;
    let is_about = warning.message.contains(&format!("Pod {pod} in"));
    (warning.reason == FAILED_CREATE && is_about).then_some(warning.message.as_str())
}
