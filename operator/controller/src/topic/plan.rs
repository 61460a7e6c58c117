//! Plan: what to do about a topic, with a reason for each. Pure.

use foz_crd::TopicStatus;
use foz_crd::topic::{AdoptionPolicy, DeletionPolicy};

use crate::conditions::Finding;
use crate::config_diff::{self, ConfigDiff};
use crate::quorum::view::TopicView;
use crate::topic::validate::ValidatedTopic;

/// The world around a Topic, as one pass sees it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Observed {
    /// The object is being deleted.
    pub deleting: bool,
    /// It carries our finalizer.
    pub finalizer: bool,
    /// Its Cluster.
    pub cluster: ClusterState,
    /// The older object that names the same topic, or on deletion any other: its name.
    pub rival: Option<String>,
    /// The topic in the cluster; `None` while the quorum is not followed.
    pub live: Option<Option<TopicView>>,
    /// Brokers that are alive and can take partitions.
    pub brokers_alive: usize,
    /// Brokers that the Cluster is to have.
    pub brokers_wanted: i32,
    /// The replication factor of topics that do not say theirs, where the operator knows it.
    pub default_replication_factor: Option<i32>,
}

/// The Cluster that a Topic names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum ClusterState {
    /// There is none, or it is being deleted.
    #[default]
    Missing,
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
    /// Delete the topic of this id.
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

/// Decides what to do about a Topic that is to be there.
#[must_use]
pub fn plan(
    topic: &ValidatedTopic,
    cluster: &str,
    observed: &Observed,
    status: &TopicStatus,
) -> Plan {
    match observed.cluster {
        ClusterState::Missing => {
            let message = format!(
                "spec.clusterRef.name is {cluster}, and there is no such Cluster in this namespace; make it, or correct the reference in a new Topic"
            );
            return Plan::blocked("ClusterNotFound", message);
        }
        ClusterState::Paused => {
            return Plan::blocked(
                "ClusterPaused",
                format!("Cluster {cluster} is paused: nothing is changed"),
            );
        }
        ClusterState::Suspended => {
            return Plan::blocked(
                "ClusterSuspended",
                format!("Cluster {cluster} is suspended: the topic is there again when it runs"),
            );
        }
        ClusterState::Present => {}
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
        Some(live) => keep(topic, live, status),
    };
    if !observed.finalizer && !plan.actions.is_empty() {
        plan.actions.insert(0, Action::AddFinalizer);
    } else if !observed.finalizer && plan.blocked.is_empty() {
        plan.actions.push(Action::AddFinalizer);
    }
    plan
}

/// Decides what to do about a Topic that is being deleted. Whatever happens, the object is let go as
/// soon as nothing can be done any more: a namespace must not hang.
#[must_use]
pub fn plan_deletion(
    topic_name: &str,
    policy: DeletionPolicy,
    observed: &Observed,
    status: &TopicStatus,
) -> Plan {
    let let_go = |left_alone: Option<String>| Plan {
        actions: vec![Action::RemoveFinalizer],
        left_alone,
        ..Plan::default()
    };
    if !observed.finalizer {
        return Plan::default();
    }
    let Some(id) = status
        .topic_id
        .as_ref()
        .filter(|_| policy == DeletionPolicy::Delete)
    else {
        return if status.creating
            && policy == DeletionPolicy::Delete
            && observed.cluster != ClusterState::Missing
        {
            deletion_of_what_may_be_ours(observed, let_go)
        } else {
            let_go(None)
        };
    };
    if observed.cluster == ClusterState::Missing {
        return let_go(Some(format!(
            "topic {topic_name} is left as it is: its Cluster is gone"
        )));
    }
    if let Some(rival) = &observed.rival {
        return let_go(Some(format!(
            "topic {topic_name} is left as it is: Topic object {rival} names it too"
        )));
    }
    match &observed.live {
        None => Plan::blocked(
            "WaitingForQuorum",
            format!("topic {topic_name} is deleted as soon as the metadata quorum answers"),
        ),
        Some(None) => let_go(None),
        Some(Some(live)) if live.id_text() == *id => Plan {
            actions: vec![Action::Delete(live.id.clone()), Action::RemoveFinalizer],
            ..Plan::default()
        },
        Some(Some(live)) => let_go(Some(format!(
            "topic {topic_name} is left as it is: it has the id {}, and this object's had {id}; somebody made it anew",
            live.id_text()
        ))),
    }
}

/// The object was deleted before we knew whether the topic was made.
fn deletion_of_what_may_be_ours(
    observed: &Observed,
    let_go: impl Fn(Option<String>) -> Plan,
) -> Plan {
    match &observed.live {
        None => Plan::blocked(
            "WaitingForQuorum",
            "the topic is deleted as soon as the metadata quorum answers",
        ),
        Some(Some(live)) if observed.rival.is_none() => Plan {
            actions: vec![Action::Delete(live.id.clone()), Action::RemoveFinalizer],
            ..Plan::default()
        },
        Some(_) => let_go(None),
    }
}

/// Brokers that are still to come are waited for. Where the Cluster has not enough of them the quorum is
/// asked all the same, and says so.
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
    let alive = i32::try_from(observed.brokers_alive).unwrap_or(i32::MAX);
    if alive == 0 || (alive < needed && needed <= observed.brokers_wanted) {
        let message = format!(
            "waits for brokers of Cluster {cluster}: {alive} are alive, and each partition is to be on {needed}"
        );
        return Plan::blocked("WaitingForBrokers", message);
    }
    Plan {
        actions: vec![Action::Create {
            again: status.topic_id.is_some(),
            replication_factor: factor.unwrap_or(-1),
        }],
        ..Plan::default()
    }
}

fn keep(topic: &ValidatedTopic, live: &TopicView, status: &TopicStatus) -> Plan {
    let mut plan = Plan::default();
    let id = live.id_text();
    let is_known = status.topic_id.as_deref() == Some(&id);
    let adopts = topic.adoption_policy == AdoptionPolicy::Adopt && !live.internal;
    if !is_known && (status.creating || adopts) {
        plan.actions.push(Action::Claim {
            id,
            adopted: !status.creating,
        });
    } else if let (false, Some(before)) = (is_known, &status.topic_id) {
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
    let factor = live.replication_factor;
    if let Some(wanted) = topic.replication_factor.filter(|wanted| *wanted != factor) {
        plan.refused.push(Finding::new(
            "ReplicationFactorFixed",
            format!(
                "spec.replicationFactor is {wanted}, and the topic has {factor}: this version cannot change it on a topic that exists; set it to {factor}"
            ),
        ));
    }
    let managed = &status.managed_config_keys;
    let diff = config_diff::diff(&topic.config, managed, &live.config);
    if !diff.is_empty() {
        let keys = config_diff::managed(&topic.config, managed, &live.config);
        if keys.iter().any(|key| !managed.contains(key)) {
            plan.actions.push(Action::RecordManagedKeys(keys));
        }
        plan.actions.push(Action::AlterConfigs(diff));
    }
    plan
}
