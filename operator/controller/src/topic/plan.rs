//! Plan: what to do about a topic, with a reason for each. Pure.

mod deletion;

use foz_crd::TopicStatus;
use foz_crd::topic::{AdoptionPolicy, DeletionPolicy};

pub use deletion::plan_deletion;

use crate::conditions::Finding;
use crate::config_diff::{self, ConfigDiff};
use crate::quorum::view::{Room, TopicView};
use crate::topic::replication_factor::{Step, step};
use crate::topic::topic_id::is_made_by;
use crate::topic::validate::{RestoreDeleted, ValidatedTopic};

/// The world around a Topic, as one pass sees it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Observed {
    /// Of the object.
    pub uid: String,
    /// Its namespace.
    pub namespace: String,
    /// The object is being deleted.
    pub deleting: bool,
    /// So long ago that brokers which have not heard of it are not waited for any more.
    pub deletion_is_overdue: bool,
    /// It carries our finalizer.
    pub finalizer: bool,
    /// Its Cluster.
    pub cluster: ClusterState,
    /// The older object that names the same topic, or on deletion any other: its name, with its namespace if that is
    /// another.
    pub rival: Option<String>,
    /// The topic in the cluster; `None` while the quorum is not followed.
    pub live: Option<Option<TopicView>>,
    /// Brokers that can have its partitions.
    pub room: Room,
    /// Brokers that the Cluster is to have.
    pub brokers_wanted: i32,
    /// The replication factor of topics that do not say theirs, where the operator knows it.
    pub default_replication_factor: Option<i32>,
}

/// The Cluster that a Topic names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum ClusterState {
    /// There is none, or it is being deleted, or the operator does not look after its namespace.
    #[default]
    Missing,
    /// It is not known yet whether there is one.
    Unseen,
    /// It is in another namespace, and does not allow Topics of this one.
    NotAllowed,
    /// It must not be changed.
    Paused,
    /// No broker of it runs.
    Suspended,
    /// It is there.
    Present,
}

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Deletion has to pass by us.
    AddFinalizer,
    /// Let the object go.
    RemoveFinalizer,
    /// Make the topic.
    Create {
        /// Somebody deleted it.
        again: bool,
        /// On how many brokers each partition is; -1 for what the quorum says.
        replication_factor: i32,
    },
    /// Bring a deleted topic of its name back.
    Restore(RestoreDeleted),
    /// Bring each partition to so many replicas.
    ChangeReplicationFactor {
        /// Of the topic, 16 bytes.
        id: Vec<u8>,
        /// Of the partition that has fewest.
        from: i32,
        /// Of all.
        to: i32,
    },
    /// The topic is this object's from now on.
    Claim {
        /// Its id in Kafka's way of writing.
        id: String,
        /// It was not made by this object.
        adopted: bool,
    },
    /// Make it so many partitions.
    AddPartitions(i32),
    /// Write down which config keys are ours, before they are set.
    RecordManagedKeys(Vec<String>),
    /// Change its settings.
    AlterConfigs(ConfigDiff),
    /// Delete the topic of this id, if it is there, and find out whether all brokers know.
    Delete(Vec<u8>),
}

impl Action {
    /// For metrics.
    #[must_use]
    pub const fn label(&self) -> &'static str {
        match self {
            Self::AddFinalizer => "add_finalizer",
            Self::RemoveFinalizer => "remove_finalizer",
            Self::Create { .. } => "create",
            Self::Restore(_) => "restore",
            Self::ChangeReplicationFactor { .. } => "change_replication_factor",
            Self::Claim { .. } => "claim",
            Self::AddPartitions(_) => "add_partitions",
            Self::RecordManagedKeys(_) => "record_managed_keys",
            Self::AlterConfigs(_) => "alter_configs",
            Self::Delete(_) => "delete",
        }
    }
}

/// What a pass does and what it found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// In this order; each needs the one before it to have succeeded.
    pub actions: Vec<Action>,
    /// Why the topic is not as it should be: then nobody may rely on it.
    pub blocked: Vec<Finding>,
    /// What is waited for, while the topic serves as it is.
    pub waits: Vec<Finding>,
    /// What of the spec is refused, while the topic serves.
    pub refused: Vec<Finding>,
    /// Worth an Event: the topic is left where the object asked for its deletion.
    pub left_alone: Option<String>,
}

impl Plan {
    fn blocked(reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            blocked: vec![Finding::new(reason, message)],
            ..Self::default()
        }
    }
}

/// Decides what to do about a Topic that is to be there. `cluster` is the name of its Cluster, with the namespace if that
/// is another.
#[must_use]
pub fn plan(
    topic: &ValidatedTopic,
    cluster: &str,
    observed: &Observed,
    status: &TopicStatus,
) -> Plan {
    if let Some(finding) = without_cluster(cluster, observed, status) {
        return Plan {
            blocked: vec![finding],
            ..Plan::default()
        };
    }
    if let Some(rival) = &observed.rival {
        let message = format!(
            "topic {} is that of the older Topic object {rival}; delete one of the two objects",
            topic.name
        );
        return Plan::blocked("NameConflict", message);
    }
    let Some(live) = &observed.live else {
        let message = format!("waits for the metadata quorum of Cluster {cluster}");
        return Plan::blocked("WaitingForQuorum", message);
    };
    let mut plan = match live {
        None => create(topic, cluster, observed, status),
        Some(live) => keep(topic, cluster, live, observed, status),
    };
    // An object that leaves its topic behind can go whenever it likes.
    let holds = topic.deletion_policy == DeletionPolicy::Delete;
    if holds && !observed.finalizer && (!plan.actions.is_empty() || plan.blocked.is_empty()) {
        plan.actions.insert(0, Action::AddFinalizer);
    }
    plan
}

/// Why nothing can be done for want of the Cluster.
fn without_cluster(cluster: &str, observed: &Observed, status: &TopicStatus) -> Option<Finding> {
    // Whether there is a Cluster is the business of those whom it allows.
    let is_stranger = cluster.contains('/') && status.topic_id.is_none();
    let (reason, message) = match observed.cluster {
        ClusterState::Missing if !is_stranger => (
            "ClusterNotFound",
            format!(
                "there is no Cluster {cluster}; make it, or correct spec.clusterRef in a new Topic"
            ),
        ),
        ClusterState::Missing | ClusterState::NotAllowed => (
            "NamespaceNotAllowed",
            format!(
                "no Cluster {cluster} allows Topics of namespace {0}, so nothing is done for this one: the Cluster's \
                 spec.allowedNamespaces has to name {0}",
                observed.namespace
            ),
        ),
        ClusterState::Unseen => (
            "WaitingForCluster",
            format!("Cluster {cluster} has not been seen yet"),
        ),
        ClusterState::Paused => (
            "ClusterPaused",
            format!("Cluster {cluster} is paused: nothing is changed"),
        ),
        ClusterState::Suspended => (
            "ClusterSuspended",
            format!("Cluster {cluster} is suspended: the topic is there again when it runs"),
        ),
        ClusterState::Present => return None,
    };
    Some(Finding::new(reason, message))
}

/// Brokers that are still to come are waited for; those that are only away for a moment get their replicas all the same,
/// as long as one is there to lead. Where the Cluster has not enough of them the quorum is asked all the same, and says
/// so.
fn create(
    topic: &ValidatedTopic,
    cluster: &str,
    observed: &Observed,
    status: &TopicStatus,
) -> Plan {
    let factor = topic
        .replication_factor
        .or(observed.default_replication_factor);
    let needed = factor.unwrap_or(1);
    // What was deleted has its replicas.
    let is_new = topic.restore_deleted.is_none();
    if observed.room.alive == 0 || (is_new && observed.waits_for_brokers(needed)) {
        return Plan {
            blocked: vec![observed.waiting(cluster, needed)],
            ..Plan::default()
        };
    }
    let action = match &topic.restore_deleted {
        Some(which) => Action::Restore(which.clone()),
        None => Action::Create {
            again: status.topic_id.is_some(),
            replication_factor: factor.unwrap_or(-1),
        },
    };
    Plan {
        actions: vec![action],
        ..Plan::default()
    }
}

impl Observed {
    /// There are not enough brokers, and there will be.
    fn waits_for_brokers(&self, needed: i32) -> bool {
        let brokers = i32::try_from(self.room.brokers).unwrap_or(i32::MAX);
        brokers < needed && needed <= self.brokers_wanted
    }

    fn waiting(&self, cluster: &str, needed: i32) -> Finding {
        let message = if self.waits_for_brokers(needed) {
            format!(
                "waits for brokers of Cluster {cluster}: {} have registered, and each partition is to be on {needed}",
                self.room.brokers
            )
        } else {
            format!(
                "waits for brokers of Cluster {cluster}: none is alive that could lead partitions"
            )
        };
        Finding::new("WaitingForBrokers", message)
    }
}

fn keep(
    topic: &ValidatedTopic,
    cluster: &str,
    live: &TopicView,
    observed: &Observed,
    status: &TopicStatus,
) -> Plan {
    let mut plan = Plan::default();
    let id = live.id_text();
    let before = status.topic_id.as_deref();
    let is_known = before == Some(&id);
    // The answer to its creation was lost, or could not be written down.
    let is_made = is_made_by(&observed.uid, before, &live.id);
    let adopts = topic.adoption_policy == AdoptionPolicy::Adopt && !live.internal;
    if !is_known && (is_made || adopts) {
        plan.actions.push(Action::Claim {
            id,
            adopted: !is_made,
        });
    } else if let (false, Some(before)) = (is_known, before) {
        let message = format!(
            "topic {} has the id {id}, and this object's had {before}: somebody deleted it and made it anew; it is left alone. To take it over, set spec.adoptionPolicy to Adopt",
            topic.name
        );
        return Plan::blocked("TopicReplaced", message);
    } else if !is_known {
        let message = format!(
            "topic {} exists and was not made by this object; it is left alone. To take it over, set spec.adoptionPolicy to Adopt",
            topic.name
        );
        return Plan::blocked("TopicExists", message);
    }
    let (settings, lowers) = (settings(topic, live, status), lowers(topic, live));
    // A lower min.insync.replicas makes room for fewer replicas; and new partitions get as many replicas as the others
    // are to have.
    let (first, last) = if lowers {
        (settings, vec![])
    } else {
        (vec![], settings)
    };
    plan.actions.extend(first);
    replicas(topic, cluster, live, observed, status, &mut plan);
    if let Some(wanted) = topic.partitions.filter(|wanted| *wanted > live.partitions) {
        plan.actions.push(Action::AddPartitions(wanted));
    }
    if let Some(wanted) = topic.partitions.filter(|wanted| *wanted < live.partitions) {
        plan.refused.push(Finding::new(
            "PartitionsDecrease",
            format!(
                "spec.partitions is {wanted}, and the topic has {}: partitions cannot be taken away; set it to {}",
                live.partitions, live.partitions
            ),
        ));
    }
    plan.actions.extend(last);
    plan
}

/// Partitions lose replicas.
fn lowers(topic: &ValidatedTopic, live: &TopicView) -> bool {
    let wanted = topic.replication_factor.unwrap_or(i32::MAX);
    live.factors.iter().any(|factor| factor.target > wanted)
}

fn replicas(
    topic: &ValidatedTopic,
    cluster: &str,
    live: &TopicView,
    observed: &Observed,
    status: &TopicStatus,
    plan: &mut Plan,
) {
    let Some(wanted) = topic.replication_factor else {
        return;
    };
    if step(wanted, status.replication_factor_under_way, &live.factors) != Step::Ask {
        return;
    }
    let raises = live.factors.iter().any(|factor| factor.target < wanted);
    if raises && observed.waits_for_brokers(wanted) {
        plan.waits.push(observed.waiting(cluster, wanted));
        return;
    }
    plan.actions.push(Action::ChangeReplicationFactor {
        id: live.id.clone(),
        from: live.replication_factor,
        to: wanted,
    });
}

fn settings(topic: &ValidatedTopic, live: &TopicView, status: &TopicStatus) -> Vec<Action> {
    let managed = &status.managed_config_keys;
    let diff = config_diff::diff(&topic.config, managed, &live.config);
    let mut actions = Vec::new();
    if !diff.is_empty() {
        let keys = config_diff::managed(&topic.config, managed, &live.config);
        if keys.iter().any(|key| !managed.contains(key)) {
            actions.push(Action::RecordManagedKeys(keys));
        }
        actions.push(Action::AlterConfigs(diff));
    }
    actions
}
