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
    /// All that are left are held, or are not made before one that is.
    Held(Vec<String>),
    /// A pod lacks a volume that it would not get: see [`VolumeWait`].
    Volume {
        /// Which pod.
        pod: String,
        /// The claim of the volume.
        claim: String,
        /// What is wrong with it.
        wait: VolumeWait,
    },
}

/// What is missing of a volume that a pod is to get with its restart. Kubernetes makes the claims while the pod still runs,
/// so it is known before the pod is stopped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VolumeWait {
    /// There is no claim, or one that goes; why Kubernetes cannot make it, where it says so.
    Unclaimed(Option<String>),
    /// The claim has no volume, and may never get one; why.
    Pending(String),
    /// The claim's volume does not exist any more.
    Lost,
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
        match self {
            Self::Stopped { .. } => true,
            // Of a claim that is there something is told otherwise: see [`crate::cluster::volumes`].
            Self::Volume { wait, .. } => matches!(wait, VolumeWait::Unclaimed(Some(_))),
            _ => false,
        }
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
            Self::Volume { pod, claim, wait } => {
                let what = match wait {
                    VolumeWait::Unclaimed(None) => {
                        "is not made yet; the Events of its StatefulSet may say why".to_owned()
                    }
                    VolumeWait::Unclaimed(Some(words)) => format!("cannot be made: {words}"),
                    VolumeWait::Pending(words) => format!("has no volume: {words}"),
                    VolumeWait::Lost => "has lost its volume".to_owned(),
                };
                Finding::new(
                    "RollWaitsForVolume",
                    format!(
                        "{pod} is not restarted, and none behind it, for its claim {claim} {what}"
                    ),
                )
            }
        }
    }
}
