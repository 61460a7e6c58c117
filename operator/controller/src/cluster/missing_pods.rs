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

/// What the warning is about is there: it was made since.
#[must_use]
pub fn is_over(set: &SetState, pod: &str, is_claimed: impl FnOnce(&str) -> bool) -> bool {
    match unmade_claim(set) {
        Some((claim, _)) => is_claimed(claim),
        None => words(set, pod).is_some(),
    }
}

/// The claim that could not be made, and why. It may be for a pod that is there: one that lacks the volume.
#[must_use]
pub fn unmade_claim(set: &SetState) -> Option<(&str, &str)> {
    let warning = set.warning.as_ref();
    let message = &warning.filter(|it| it.reason == FAILED_CREATE)?.message;
    let (claim, _) = message.strip_prefix("create Claim ")?.split_once(' ')?;
    Some((claim, message.as_str()))
}

fn words<'set>(set: &'set SetState, pod: &str) -> Option<&'set str> {
    let warning = set.warning.as_ref()?;
    let is_about = warning.message.contains(&format!("Pod {pod} in"));
    (warning.reason == FAILED_CREATE && is_about).then_some(warning.message.as_str())
}

#[cfg(test)]
mod tests {
    use super::{is_over, unmade_claim};
    use crate::cluster::observed::SetState;
    use crate::world::warnings::Warning;

    fn warned(message: &str) -> SetState {
        let warning = Warning {
            reason: "FailedCreate".into(),
            message: message.into(),
            at: k8s_openapi::jiff::Timestamp::UNIX_EPOCH,
        };
        SetState {
            warning: Some(warning),
            ..SetState::default()
        }
    }

    /// Of a pod that is there, it is about a volume that is still to be added to it.
    #[test]
    fn a_claim_that_could_not_be_made_is_over_when_there_is_one() {
        let words = "create Claim data-1-demo-broker-0 for Pod demo-broker-0 in StatefulSet demo-broker failed error: exceeded quota";
        let set = warned(words);
        assert_eq!(unmade_claim(&set), Some(("data-1-demo-broker-0", words)));
        assert!(!is_over(&set, "demo-broker-0", |_| false));
        assert!(is_over(&set, "demo-broker-0", |claim| {
            claim == "data-1-demo-broker-0"
        }));
        let pod = warned("create Pod demo-broker-0 in StatefulSet demo-broker failed error: no");
        assert_eq!(unmade_claim(&pod), None);
        assert!(is_over(&pod, "demo-broker-0", |_| false));
        assert!(!is_over(&pod, "demo-broker-1", |_| true));
    }
}
