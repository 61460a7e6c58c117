//! What a roll sees.

use std::collections::{BTreeMap, BTreeSet};

use foz_crd::ClusterStatus;
use foz_crd::cluster::PendingRestart;
use k8s_openapi::jiff::Timestamp;

use crate::cluster::observed::{Claims, Observed, PodState, QuorumView, SetState};
use crate::cluster::storage_classes::StorageClasses;
use crate::cluster::validate::ValidatedCluster;
use crate::names::{ClusterName, Role};

/// The world as a roll sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct RollInput {
    /// When it was looked.
    pub now: Timestamp,
    /// Names the pods.
    pub name: ClusterName,
    /// The pods that are there.
    pub pods: BTreeMap<(Role, i32), PodState>,
    /// The StatefulSets. The newest template of one that is about to be changed is not known.
    pub sets: BTreeMap<Role, SetState>,
    /// What the quorum tells now; `None` while it does not answer.
    pub quorum: Option<QuorumView>,
    /// Config keys that wait for processes to go.
    pub config_pending_restart: Vec<PendingRestart>,
    /// Names of pods that are left alone, and not waited for.
    pub hold: BTreeSet<String>,
    /// By node id: what the quorum has denied lately. Forgotten after a while, as a question is worth asking again.
    pub denied: BTreeMap<i32, Denial>,
    /// The claims of the pods' volumes.
    pub claims: Claims,
    /// The storage classes; none where we may not see them.
    pub storage_classes: StorageClasses,
    /// By node id: partitions that no other broker has in sync. Of those alone whose volume may go.
    pub only_copies: BTreeMap<i32, Vec<String>>,
}

/// The quorum has said no.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denial {
    /// To this process.
    pub incarnation: String,
    /// And why.
    pub message: String,
}

impl RollInput {
    /// What a pass saw.
    #[must_use]
    pub fn new(cluster: &ValidatedCluster, observed: &Observed, status: &ClusterStatus) -> Self {
        Self {
            now: observed.now,
            name: cluster.name.clone(),
            pods: observed.pods.clone(),
            sets: observed.sets.clone(),
            quorum: observed.quorum.current().cloned(),
            config_pending_restart: status.config_pending_restart.clone(),
            hold: cluster.hold.clone(),
            denied: observed.denied.clone(),
            claims: observed.claims.clone(),
            storage_classes: observed.storage_classes.clone(),
            only_copies: observed.only_copies.clone(),
        }
    }

    /// What tells the process in a pod from the one before and the one after: the incarnation of a broker as it is
    /// registered, and of a controller, which registers nowhere, the pod's uid as 32 hexadecimal digits. `None` for
    /// a broker that the quorum does not know, and while it does not answer.
    #[must_use]
    pub fn process(&self, role: Role, ordinal: i32) -> Option<String> {
        match role {
            Role::Broker => {
                let broker = self.quorum.as_ref()?.brokers.get(&ordinal)?;
                Some(broker.incarnation.clone())
            }
            Role::Controller => {
                let pod = self.pods.get(&(role, ordinal))?;
                Some(pod.uid.replace('-', ""))
            }
        }
    }
}
