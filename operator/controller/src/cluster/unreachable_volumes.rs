//! Pods that cannot run where their volumes are. Pure.

use k8s_openapi::jiff::SignedDuration;

use crate::cluster::observed::{ClaimState, Observed, PodState, claims_of};
use crate::cluster::plan::Plan;
use crate::cluster::roll::volume::has;
use crate::cluster::validate::ValidatedCluster;
use crate::conditions::Finding;
use crate::names::{REPLACE_VOLUME_ANNOTATION, Role};
use crate::volume_id::VolumeId;

/// Kubernetes makes the claims of a new pod one right after the other.
const MADE_TOGETHER: SignedDuration = SignedDuration::from_secs(60);

/// Tells of each such pod, and of which volumes.
pub(super) fn report(cluster: &ValidatedCluster, observed: &Observed, plan: &mut Plan) {
    let pods = observed.pods.iter();
    let findings = pods.filter_map(|(place, pod)| finding(cluster, observed, *place, pod));
    plan.degraded.extend(findings);
}

/// One for the pod: the scheduler does not say which of several volumes is in the way, and each may have what nobody wants
/// to lose.
fn finding(
    cluster: &ValidatedCluster,
    observed: &Observed,
    (role, ordinal): (Role, i32),
    pod: &PodState,
) -> Option<Finding> {
    let trouble = pod.trouble.as_ref();
    let (_, words) = trouble.filter(|(_, words)| is_elsewhere(words))?;
    let of_pod = || {
        // One that has no volume yet is nowhere, and of one that goes something else is told.
        let is_somewhere = |claim: &ClaimState| {
            !claim.deleting && !matches!(claim.phase.as_deref(), Some("Pending" | "Lost"))
        };
        let claims = claims_of(&observed.claims, role, ordinal);
        claims.filter(move |(_, claim)| is_somewhere(claim))
    };
    // Where a node is gone, what was there is in the way.
    let is_gone = of_pod().any(|(_, claim)| claim.node_is_gone);
    let claims = of_pod().filter(|(_, claim)| claim.node_is_gone == is_gone);
    let claims: Vec<(VolumeId, &ClaimState)> = claims.collect();
    let pod_name = cluster.name.pod(role, ordinal);
    let name = |id: VolumeId| cluster.name.claim(role, ordinal, id);
    let message = match claims.as_slice() {
        [] => return None,
        [(id, claim)] => {
            let annotation = match has(pod, &observed.claims, role, ordinal).len() {
                1 => REPLACE_VOLUME_ANNOTATION.to_owned(),
                _ => format!("{REPLACE_VOLUME_ANNOTATION}={id}"),
            };
            format!(
                "{pod_name} cannot run where its volume {} is ({}): {words}; it runs when the node is back, and the annotation {annotation} on the pod gives up what is on the volume, where nothing is lost by that",
                name(*id),
                node(claim)
            )
        }
        several => {
            let places = several.iter();
            let places = places.map(|(id, claim)| format!("{} ({})", name(*id), node(claim)));
            let places: Vec<String> = places.collect();
            let newest = made_last(several).map(|id| {
                let name = name(id);
                format!("; {name} was made last, and holds least where it was added just now")
            });
            format!(
                "{pod_name} cannot run where all of its volumes are, {}: {words}; it runs when one node can reach all of them, and the annotation {REPLACE_VOLUME_ANNOTATION} on the pod, with the number of one of them, gives up what is on that one, where nothing is lost by that{}",
                places.join(", "),
                newest.unwrap_or_default()
            )
        }
    };
    Some(Finding::new("VolumeUnreachable", message))
}

/// As the scheduler says it ("volume node affinity conflict", "didn't match PersistentVolume's node affinity").
fn is_elsewhere(words: &str) -> bool {
    words.contains("node affinity conflict") || words.contains("PersistentVolume's node affinity")
}

fn node(claim: &ClaimState) -> String {
    match (&claim.node, claim.node_is_gone) {
        (Some(node), true) => format!("node {node}, which is not there any more"),
        (Some(node), false) => format!("node {node}"),
        (None, _) => "another node".to_owned(),
    }
}

/// The one that was made long after all others: for a volume that was added.
fn made_last(claims: &[(VolumeId, &ClaimState)]) -> Option<VolumeId> {
    let by_time = claims.iter().map(|(id, claim)| Some((claim.created?, *id)));
    let mut by_time: Vec<_> = by_time.collect::<Option<_>>()?;
    by_time.sort_unstable();
    let [.., (before, _), (last, id)] = by_time.as_slice() else {
        return None;
    };
    (last.duration_since(*before) > MADE_TOGETHER).then_some(*id)
}
