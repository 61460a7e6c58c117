//! What a Rebalance asks of its Cluster, and in which order Rebalances get their turn.

use std::collections::BTreeSet;

use foz_crd::rebalance::{RebalanceMode, RebalancePhase};
use foz_crd::{Rebalance, RebalanceStatus};
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt as _;

use crate::context::Context;
use crate::names::ClusterName;
use crate::rebalance::FINALIZER;

/// A Rebalance among those of its Cluster. The order is that in which they get their turn: the one that runs first, then
/// the older one, and of two of the same second the one whose uid comes first.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Claim {
    waits: bool,
    created: Timestamp,
    /// Its uid.
    pub uid: String,
    /// Its name.
    pub name: String,
    approved: bool,
    deleting: bool,
    /// It is being deleted, and we have not let it go: what runs for it is to be cancelled first.
    cancels: bool,
    phase: Option<Phase>,
    drains: Option<BTreeSet<i32>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Running,
    Completed,
    Ended,
    NotBegun,
}

impl Claim {
    /// Of an object, with the newest status that is known of it.
    #[must_use]
    pub fn of(rebalance: &Rebalance, status: Option<&RebalanceStatus>) -> Self {
        let phase = status.and_then(|status| status.phase);
        let drains = rebalance.spec.mode == RebalanceMode::DrainBrokers;
        let deleting = rebalance.metadata.deletion_timestamp.is_some();
        let is_ours = rebalance.finalizers().iter().any(|it| it == FINALIZER);
        Self {
            waits: phase != Some(RebalancePhase::Running),
            created: rebalance
                .creation_timestamp()
                .map_or(Timestamp::MAX, |time| time.0),
            uid: rebalance.uid().unwrap_or_default(),
            name: rebalance.name_any(),
            approved: rebalance.spec.approved,
            deleting,
            cancels: deleting && is_ours && phase == Some(RebalancePhase::Running),
            phase: phase.map(|phase| match phase {
                RebalancePhase::Running => Phase::Running,
                RebalancePhase::Completed => Phase::Completed,
                RebalancePhase::Cancelled | RebalancePhase::Failed => Phase::Ended,
                RebalancePhase::Planned | RebalancePhase::Refused => Phase::NotBegun,
            }),
            drains: drains.then(|| rebalance.spec.brokers.iter().copied().collect()),
        }
    }

    /// The brokers that are to be empty because of it: from the moment when the quorum has a plan for that, until the
    /// object is gone.
    #[must_use]
    pub fn drains(&self) -> Option<&BTreeSet<i32>> {
        let drains = matches!(self.phase, Some(Phase::Running | Phase::Completed));
        self.drains
            .as_ref()
            .filter(|_| self.approved && drains && !self.deleting)
    }

    /// It is to be carried out, and has not ended. One that is deleted ends when it has been cancelled: who began the
    /// same before that would be told of what is about to be cancelled.
    #[must_use]
    pub fn is_pending(&self) -> bool {
        let ended = matches!(self.phase, Some(Phase::Completed | Phase::Ended));
        self.approved && !ended && (!self.deleting || self.cancels)
    }
}

/// Those of all Rebalances of a Cluster.
#[must_use]
pub fn claims(cluster: &ClusterName, context: &Context) -> Vec<Claim> {
    let all = context.world.rebalances.state();
    let readable = all.iter().filter_map(|guarded| guarded.0.as_ref().ok());
    readable
        .filter(|rebalance| cluster_of(rebalance) == *cluster)
        .map(|rebalance| {
            let told = rebalance.status.as_ref();
            let status = context.rebalance_statuses.newer(rebalance, told);
            Claim::of(rebalance, status.as_ref())
        })
        .collect()
}

/// The Cluster that a Rebalance is of.
#[must_use]
pub fn cluster_of(rebalance: &Rebalance) -> ClusterName {
    ClusterName {
        namespace: rebalance.namespace().unwrap_or_default(),
        name: rebalance.spec.cluster_ref.name.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::{Claim, FINALIZER};
    use foz_crd::{Rebalance, RebalanceStatus};
    use serde_json::json;

    fn claim(name: &str, created: &str, phase: &str) -> Claim {
        let rebalance: Rebalance = serde_json::from_value(json!({
            "apiVersion": "foz.dev/v1alpha1", "kind": "Rebalance",
            "metadata": {"namespace": "kafka", "name": name, "uid": name, "creationTimestamp": created},
            "spec": {"clusterRef": {"name": "demo"}, "mode": "DrainBrokers", "brokers": [1, 2], "approved": true},
        }))
        .expect("a Rebalance");
        let status: RebalanceStatus = match phase {
            "" => RebalanceStatus::default(),
            phase => serde_json::from_value(json!({"phase": phase})).expect("a status"),
        };
        Claim::of(&rebalance, Some(&status))
    }

    #[test]
    fn who_runs_comes_first_and_then_the_older_one() {
        let mut all = [
            claim("b", "2026-01-02T00:00:00Z", ""),
            claim("a", "2026-01-02T00:00:00Z", "Planned"),
            claim("runs", "2026-01-03T00:00:00Z", "Running"),
            claim("old", "2026-01-01T00:00:00Z", ""),
        ];
        all.sort();
        let names: Vec<&str> = all.iter().map(|claim| claim.name.as_str()).collect();
        assert_eq!(names, ["runs", "old", "a", "b"]);
    }

    #[test]
    fn one_that_is_deleted_is_waited_for_until_it_has_been_cancelled() {
        let deleted = |phase: &str, finalizers: &[&str]| {
            let rebalance: Rebalance = serde_json::from_value(json!({
                "apiVersion": "foz.dev/v1alpha1", "kind": "Rebalance",
                "metadata": {
                    "namespace": "kafka", "name": "a", "uid": "a", "finalizers": finalizers,
                    "deletionTimestamp": "2026-01-01T00:00:00Z",
                },
                "spec": {"clusterRef": {"name": "demo"}, "mode": "Full", "approved": true},
            }))
            .expect("a Rebalance");
            let status = serde_json::from_value(json!({"phase": phase})).expect("a status");
            Claim::of(&rebalance, Some(&status)).is_pending()
        };
        assert!(deleted("Running", &[FINALIZER]));
        assert!(!deleted("Planned", &[FINALIZER]));
        // We have let it go, and somebody else has not.
        assert!(!deleted("Running", &["example.com/audit"]));
    }

    #[test]
    fn brokers_stay_drained_after_the_last_replica_has_left() {
        let found = |phase| {
            let claim = claim("a", "2026-01-01T00:00:00Z", phase);
            (claim.drains().is_some(), claim.is_pending())
        };
        assert_eq!(found(""), (false, true));
        assert_eq!(found("Planned"), (false, true));
        // It may be carried out once something has changed.
        assert_eq!(found("Refused"), (false, true));
        assert_eq!(found("Running"), (true, true));
        assert_eq!(found("Completed"), (true, false));
        assert_eq!(found("Cancelled"), (false, false));
    }
}
