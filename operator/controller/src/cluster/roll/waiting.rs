//! Why a roll does nothing now.

use crate::conditions::Finding;
use crate::names::Role;

/// What a roll waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Waiting {
    /// Kubernetes has not said yet which template of a role is the newest.
    Template(Role),
    /// The quorum does not answer, and pods that serve are to be restarted.
    Quorum,
    /// A pod that is not to be restarted is not there.
    Pod {
        /// Which.
        pod: String,
        /// What of it.
        wait: PodWait,
    },
    /// A node may stop; it may not be back in every ISR.
    Grant {
        /// Its pod, or the node where there is none.
        node: String,
        /// Why it may.
        reason: String,
    },
    /// The quorum has denied the restart of each of these pods: with why.
    Denied(Vec<(String, String)>),
    /// A pod does not come up from the newest template.
    Stopped {
        /// Which.
        pod: String,
        /// What Kubernetes says of it.
        trouble: String,
    },
    /// All that are left are held.
    Held(Vec<String>),
}

/// What is missing of a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PodWait {
    /// Kubernetes has not made it.
    Missing,
    /// It is on its way out.
    Leaving,
    /// It is not ready.
    NotReady,
    /// It is ready, and its broker has no lease.
    NoLease,
    /// It became ready just now.
    JustReady,
}

impl Waiting {
    /// It does not go on by itself.
    #[must_use]
    pub const fn needs_a_person(&self) -> bool {
        matches!(self, Self::Stopped { .. })
    }

    /// For the conditions.
    #[must_use]
    pub fn finding(&self) -> Finding {
        match self {
            Self::Template(role) => Finding::new(
                "RollWaitsForTemplate",
                format!(
                    "restarts wait until Kubernetes has seen the newest template of the {}s",
                    role.as_str()
                ),
            ),
            Self::Quorum => Finding::new(
                "RollWaitsForQuorum",
                "restarts wait for the metadata quorum, which does not answer; a pod with the annotation foz.dev/force-restart is restarted all the same",
            ),
            Self::Pod { pod, wait } => {
                let what = match wait {
                    PodWait::Missing => "does not exist; the events of its StatefulSet say why",
                    PodWait::Leaving => "is being deleted",
                    PodWait::NotReady => "is not ready",
                    PodWait::NoLease => "has no lease of the quorum",
                    PodWait::JustReady => "became ready just now",
                };
                Finding::new("RollWaitsForPod", format!("restarts wait: {pod} {what}"))
            }
            Self::Grant { node, reason } => Finding::new(
                "RollWaitsForGrant",
                format!("restarts wait until {node} is back, which may stop: {reason}"),
            ),
            Self::Denied(denied) => {
                let each: Vec<String> = denied
                    .iter()
                    .map(|(pod, message)| format!("{pod}: {message}"))
                    .collect();
                Finding::new("RestartDenied", each.join("; "))
            }
            Self::Stopped { pod, trouble } => Finding::new(
                "RollStopped",
                format!(
                    "no more pods are restarted, for {pod} does not come up from the newest template: {trouble}; it goes on when the spec is mended, when {pod} comes up, or when {pod} is held"
                ),
            ),
            Self::Held(pods) => Finding::new(
                "RestartHeld",
                format!("to be restarted, and held: {}", pods.join(", ")),
            ),
        }
    }
}
