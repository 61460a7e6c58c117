//! Pods that Kubernetes cannot make, for want of quota or because something refuses them: its words are told. Pure.

use crate::cluster::observed::{Observed, SetState};
use crate::cluster::plan::Plan;
use crate::cluster::validate::ValidatedCluster;
use crate::conditions::Finding;
use crate::world::warnings::Warning;

/// The reason of the StatefulSet controller's Event.
const FAILED_CREATE: &str = "FailedCreate";

/// Tells of pods that cannot be made.
pub(super) fn report(cluster: &ValidatedCluster, observed: &Observed, plan: &mut Plan) {
    for (&role, set) in &observed.sets {
        for ordinal in 0..set.replicas {
            let pod = cluster.name.pod(role, ordinal);
            let is_there = observed.pods.contains_key(&(role, ordinal));
            let mut words = set.warnings.iter().filter_map(|it| words(it, &pod));
            if let Some(words) = words.next().filter(|_| !is_there) {
                let message = format!("{pod} cannot be made: {words}");
                plan.degraded.push(Finding::new("PodNotCreated", message));
            }
        }
    }
}

/// What the warning is about is there: it was made since.
#[must_use]
pub fn is_over(warning: &Warning, pods: &[String], claims: &[String]) -> bool {
    match claim(warning) {
        Some(claim) => claims.iter().any(|it| it == claim),
        None => pods.iter().any(|pod| words(warning, pod).is_some()),
    }
}

/// Why a claim could not be made. It may be for a pod that is there: one that lacks the volume.
#[must_use]
pub fn unmade<'set>(set: &'set SetState, name: &str) -> Option<&'set str> {
    let mut warnings = set.warnings.iter();
    let about = warnings.find(|warning| claim(warning) == Some(name))?;
    Some(about.message.as_str())
}

/// The claim that could not be made. Kubernetes puts words before messages that it has put together from several.
fn claim(warning: &Warning) -> Option<&str> {
    let (_, rest) = warning.message.split_once("create Claim ")?;
    let (claim, _) = rest.split_once(' ')?;
    (warning.reason == FAILED_CREATE).then_some(claim)
}

fn words<'warning>(warning: &'warning Warning, pod: &str) -> Option<&'warning str> {
    let is_about = warning.message.contains(&format!("Pod {pod} in"));
    (warning.reason == FAILED_CREATE && is_about).then_some(warning.message.as_str())
}

#[cfg(test)]
mod tests {
    use super::{is_over, unmade};
    use crate::cluster::observed::SetState;
    use crate::world::warnings::Warning;

    fn warning(message: &str) -> Warning {
        Warning {
            reason: "FailedCreate".into(),
            message: message.into(),
            at: k8s_openapi::jiff::Timestamp::UNIX_EPOCH,
        }
    }

    fn of_claim(ordinal: i32) -> String {
        format!(
            "create Claim data-1-demo-broker-{ordinal} for Pod demo-broker-{ordinal} in StatefulSet demo-broker failed error: exceeded quota"
        )
    }

    /// Of a pod that is there, it is about a volume that is still to be added to it.
    #[test]
    fn a_claim_that_could_not_be_made_is_over_when_there_is_one() {
        let pods = ["demo-broker-0".to_owned()];
        let claims = |claim: &str| [claim.to_owned()];
        let about = warning(&of_claim(0));
        assert!(!is_over(&about, &pods, &claims("data-demo-broker-0")));
        assert!(is_over(&about, &[], &claims("data-1-demo-broker-0")));
        let pod = "create Pod demo-broker-0 in StatefulSet demo-broker failed error: no";
        assert!(is_over(&warning(pod), &pods, &[]));
        let other = pod.replace("broker-0", "broker-1");
        assert!(!is_over(&warning(&other), &pods, &claims("demo-broker-1")));
    }

    /// Kubernetes tries several in one second, and after ten messages puts words before them.
    #[test]
    fn each_claim_has_its_own_words() {
        let combined = format!("(combined from similar events): {}", of_claim(2));
        let set = SetState {
            warnings: vec![warning(&of_claim(1)), warning(&combined)],
            ..SetState::default()
        };
        assert_eq!(unmade(&set, "data-1-demo-broker-0"), None);
        let words = unmade(&set, "data-1-demo-broker-1");
        assert_eq!(words, Some(of_claim(1).as_str()));
        assert_eq!(
            unmade(&set, "data-1-demo-broker-2"),
            Some(combined.as_str())
        );
        assert!(is_over(
            &set.warnings[1],
            &[],
            &["data-1-demo-broker-2".to_owned()]
        ));
    }
}
