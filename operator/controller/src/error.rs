//! Why a pass has to come again.

use std::time::Duration;

use crate::hash::fingerprint;
use crate::quorum::QuorumError;

const RETRY_MIN: Duration = Duration::from_millis(500);
const RETRY_MAX: Duration = Duration::from_secs(60);

/// Why a pass failed, in part or whole.
#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    /// The API server refused, or was not reached.
    #[error("{object}: {}", describe(.error))]
    Kubernetes {
        /// What it was about.
        object: String,
        /// What the API server said.
        error: Box<kube::Error>,
    },
    /// An object of that name is somebody else's.
    #[error(
        "{0} exists already and belongs to something else; delete it, or give the Cluster another name"
    )]
    NameTaken(String),
    /// A call to the metadata quorum failed.
    #[error(transparent)]
    Quorum(#[from] QuorumError),
}

impl ReconcileError {
    /// About an object.
    #[must_use]
    pub fn kubernetes(object: String, error: kube::Error) -> Self {
        Self::Kubernetes {
            object,
            error: Box::new(error),
        }
    }

    /// CamelCase, for conditions.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Kubernetes { .. } => "ApplyFailed",
            Self::NameTaken(_) => "NameTaken",
            Self::Quorum(_) => "QuorumCallFailed",
        }
    }

    /// For metrics.
    #[must_use]
    pub const fn metric_label(&self) -> &'static str {
        match self {
            Self::Kubernetes { .. } => "kubernetes",
            Self::NameTaken(_) => "name_taken",
            Self::Quorum(_) => "quorum",
        }
    }
}

/// The sentence of the API server, without the wrapping.
fn describe(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message.clone(),
        other => other.to_string(),
    }
}

/// When to try again after `failures` in a row: twice as long each time, up to a minute, and a little
/// differently for each object, so that they do not all come at once.
#[must_use]
pub fn retry_after(uid: &str, failures: u32) -> Duration {
    let doubled = RETRY_MIN
        .saturating_mul(1 << failures.saturating_sub(1).min(10))
        .min(RETRY_MAX);
    let spread = fingerprint(format!("{uid}/{failures}").as_bytes()) % 400;
    let permille = u32::try_from(800 + spread).unwrap_or(1000);
    doubled.saturating_mul(permille) / 1000
}

#[cfg(test)]
mod tests {
    use super::retry_after;
    use std::time::Duration;

    #[test]
    fn waits_grow_to_a_minute_and_differ_between_objects() {
        for failures in 1..100 {
            let wait = retry_after("u", failures);
            assert!(
                wait >= Duration::from_millis(400) && wait <= Duration::from_secs(72),
                "{wait:?}"
            );
        }
        assert!(retry_after("u", 1) < Duration::from_millis(600));
        assert!(retry_after("u", 30) >= Duration::from_secs(48));
        assert_ne!(retry_after("u", 5), retry_after("v", 5));
        assert_eq!(retry_after("u", 5), retry_after("u", 5));
    }
}
