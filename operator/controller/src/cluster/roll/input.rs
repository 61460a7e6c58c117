//! What a roll sees.

use std::collections::{BTreeMap, BTreeSet};

use foz_crd::cluster::PendingRestart;

use crate::cluster::observed::PodState;
use crate::names::{ClusterName, Role};

/// The world as a roll sees it.
#[derive(Debug, Clone)]
pub struct RollInput {
    /// Names the pods.
    pub name: ClusterName,
    /// The pods that are there.
    pub pods: BTreeMap<(Role, i32), RollPod>,
    /// The StatefulSets.
    pub sets: BTreeMap<Role, RollSet>,
    /// What the quorum tells now; `None` while it does not answer.
    pub quorum: Option<RollQuorum>,
    /// Config keys that wait for processes to go.
    pub config_pending_restart: Vec<PendingRestart>,
    /// Names of pods that are left alone, and not waited for.
    pub hold: BTreeSet<String>,
    /// By node id: what the quorum has denied lately. Forgotten after a while, as a question is worth asking again.
    pub denied: BTreeMap<i32, Denial>,
}

/// A StatefulSet.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RollSet {
    /// How many pods it should have.
    pub replicas: i32,
    /// The revision of the newest template, when Kubernetes has seen it. `None` also while the set is about to
    /// be changed.
    pub update_revision: Option<String>,
    /// The image of the newest template.
    pub image: Option<String>,
    /// What the newest template says of `foz.dev/restart` on the Cluster.
    pub restarted_for: Option<String>,
}

/// A pod.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RollPod {
    /// What every pass sees of it.
    pub state: PodState,
    /// Its image.
    pub image: Option<String>,
    /// What its template said of `foz.dev/restart` on the Cluster.
    pub restarted_for: Option<String>,
    /// How often its container has been started anew.
    pub container_restarts: i32,
    /// Somebody has put `foz.dev/restart` on it: restart it when that does no harm.
    pub restart_asked: bool,
    /// Somebody has put `foz.dev/force-restart` on it: restart it whatever it costs.
    pub force_asked: bool,
}

/// The part of the metadata quorum's view that a roll needs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RollQuorum {
    /// The node id of the active controller; -1 while there is none.
    pub active_node_id: i32,
    /// Registered brokers by node id.
    pub brokers: BTreeMap<i32, RollBroker>,
    /// Who may stop, by node id.
    pub grants: BTreeMap<i32, RollGrant>,
}

/// A registered broker.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RollBroker {
    /// Hexadecimal; another one with every start of the process.
    pub incarnation: String,
    /// Without a lease.
    pub fenced: bool,
}

/// A restart grant.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RollGrant {
    /// The process that may stop, hexadecimal.
    pub incarnation: String,
    /// Never given to another grant.
    pub grant_epoch: i64,
    /// 0: the process itself has asked, or a hand.
    pub operator_epoch: i64,
    /// Why.
    pub reason: String,
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
                Some(pod.state.uid.replace('-', ""))
            }
        }
    }
}
