//! Plan: what to do about a Rebalance, with a reason for each. Pure.

use foz_crd::RebalanceStatus;
use foz_crd::rebalance::RebalancePhase;

use crate::cluster::observed::QuorumView;
use crate::cluster::scaling::wording;
use crate::conditions::Finding;
use crate::quorum::rebalance::{Goal, RebalanceState, RebalanceView};
use crate::topic::plan::ClusterState;

/// The world around a Rebalance, as one pass sees it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Observed {
    /// The object is being deleted.
    pub deleting: bool,
    /// It carries our finalizer.
    pub finalizer: bool,
    /// It may be carried out.
    pub approved: bool,
    /// Its Cluster.
    pub cluster: ClusterState,
    /// What the quorum tells now; `None` while it is not followed.
    pub view: Option<QuorumView>,
    /// How many brokers the Cluster is to have, where that is fewer than the quorum knows.
    pub scales_down_to: Option<i32>,
    /// The Rebalance whose turn comes before this one's.
    pub ahead: Option<String>,
    /// The plan in the status is of replicas where they are now; or the refusal is.
    pub plan_is_current: bool,
    /// Why the quorum did not begin it when it was asked a moment ago.
    pub refused: Option<String>,
}

/// One thing to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Deletion has to pass by us.
    AddFinalizer,
    /// Let the object go.
    RemoveFinalizer,
    /// Ask what would be moved.
    MakePlan,
    /// Write down that it is about to begin: if the answer is lost, what runs for this goal is this object's.
    RecordStart,
    /// Begin.
    Start,
    /// Stop it.
    Cancel(i64),
}

impl Action {
    /// For metrics.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::AddFinalizer => "add_finalizer",
            Self::RemoveFinalizer => "remove_finalizer",
            Self::MakePlan => "plan_rebalance",
            Self::RecordStart => "record_start",
            Self::Start => "start_rebalance",
            Self::Cancel(_) => "cancel_rebalance",
        }
    }
}

/// What a pass does and what it found.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Plan {
    /// In this order; each needs the one before it to have succeeded.
    pub actions: Vec<Action>,
    /// What it waits for, which comes by itself.
    pub waits: Option<Finding>,
    /// What keeps it from being carried out, and needs a person.
    pub blocked: Option<Finding>,
    /// How it goes on, or how it ended; `None` for as before.
    pub phase: Option<RebalancePhase>,
    /// What the brokers carry out for it.
    pub rebalance: Option<RebalanceView>,
    /// Why it ended.
    pub why: Option<String>,
}

impl Plan {
    fn waits(reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            waits: Some(Finding::new(reason, message)),
            ..Self::default()
        }
    }

    fn ended(phase: RebalancePhase, why: impl Into<String>) -> Self {
        Self {
            phase: Some(phase),
            why: Some(why.into()),
            ..Self::default()
        }
    }
}

/// Decides what to do about a Rebalance that is to be there.
#[must_use]
pub fn plan(goal: &Goal, cluster: &str, observed: &Observed, status: &RebalanceStatus) -> Plan {
    use RebalancePhase::{Cancelled, Completed, Failed, Planned, Refused, Running};
    if let Some(Completed | Cancelled | Failed) = status.phase {
        // Nothing is left to be cancelled.
        let let_go = observed.finalizer.then_some(Action::RemoveFinalizer);
        return Plan {
            actions: let_go.into_iter().collect(),
            ..Plan::default()
        };
    }
    match observed.cluster {
        // It is of its own namespace.
        ClusterState::Missing | ClusterState::NotAllowed | ClusterState::Unseen => {
            let message = format!(
                "spec.clusterRef.name is {cluster}, and there is no such Cluster in this namespace"
            );
            return Plan {
                blocked: Some(Finding::new("ClusterNotFound", message)),
                ..Plan::default()
            };
        }
        ClusterState::Paused => {
            let message = format!("Cluster {cluster} is paused: nothing is changed");
            return Plan::waits("ClusterPaused", message);
        }
        ClusterState::Suspended => {
            let message = format!("Cluster {cluster} is suspended: it goes on when that runs");
            return Plan::waits("ClusterSuspended", message);
        }
        ClusterState::Present => {}
    }
    let Some(view) = &observed.view else {
        let message = format!("waits for the metadata quorum of Cluster {cluster}");
        return Plan::waits("WaitingForQuorum", message);
    };
    let plan = match status.phase {
        Some(Running) => return carry_on(goal, observed, view, status),
        _ if !observed.approved => Plan::default(),
        Some(Planned | Refused) | None => begin(goal, observed, view, status),
        Some(Completed | Cancelled | Failed) => Plan::default(),
    };
    with_newest_plan(plan, observed, view)
}

/// A plan of replicas that are on their way would be of no use.
fn with_newest_plan(mut plan: Plan, observed: &Observed, view: &QuorumView) -> Plan {
    let is_still = view.rebalancing().is_none() && view.moving == 0;
    let has_one = plan.actions.contains(&Action::MakePlan);
    if !observed.plan_is_current && is_still && !has_one {
        plan.actions.insert(0, Action::MakePlan);
    }
    plan
}

/// It is approved and has not begun.
fn begin(goal: &Goal, observed: &Observed, view: &QuorumView, status: &RebalanceStatus) -> Plan {
    if let Some(brokers) = observed.scales_down_to {
        let message = format!("begins when the Cluster has been scaled down to {brokers} brokers");
        return Plan::waits("WaitingForScaling", message);
    }
    if let Some(ahead) = &observed.ahead {
        let message = format!("begins when Rebalance {ahead} has ended or is deleted");
        return Plan::waits("WaitingForRebalance", message);
    }
    let other = view.rebalancing();
    if let Some(other) = other.filter(|other| other.goal.as_ref() != Some(goal)) {
        let message = format!("begins when this has ended: {}", wording::progress(other));
        return Plan::waits("WaitingForRebalance", message);
    }
    // Nothing stands in the way but what the quorum says.
    let is_refused = status.phase == Some(RebalancePhase::Refused) && observed.plan_is_current;
    if is_refused {
        return Plan::default();
    }
    if let Some(why) = &observed.refused {
        return Plan::waits("StartRefused", why.clone());
    }
    let needs_plan = status.plan.is_none() || !observed.plan_is_current;
    let mut actions = Vec::new();
    if let Goal::DrainBrokers(_) = goal {
        // Whether it can be is all that is asked: the Cluster's pass does the rest.
        actions.push(Action::MakePlan);
        actions.push(Action::RecordStart);
    } else {
        if needs_plan && other.is_none() {
            actions.push(Action::MakePlan);
        }
        if !observed.finalizer {
            actions.push(Action::AddFinalizer);
        }
        actions.extend([Action::RecordStart, Action::Start]);
    }
    Plan {
        actions,
        ..Plan::default()
    }
}

/// It has begun, as far as is known.
fn carry_on(goal: &Goal, observed: &Observed, view: &QuorumView, status: &RebalanceStatus) -> Plan {
    if let Goal::DrainBrokers(brokers) = goal {
        let is_empty = |node_id: &i32| {
            let broker = view.brokers.get(node_id);
            view.replicas_on(*node_id) == 0 && broker.is_none_or(|broker| broker.cordoned)
        };
        if brokers.iter().all(is_empty) {
            let brokers = wording::brokers(brokers);
            let why =
                format!("nothing is left on {brokers}; deleting this lets replicas go there again");
            return Plan::ended(RebalancePhase::Completed, why);
        }
        // Together with others perhaps: there is one drain.
        let newest = view.rebalances.last_key_value().map(|(_, newest)| newest);
        let ours = newest.filter(|newest| {
            let drained = newest.goal.as_ref().and_then(Goal::drained);
            drained.is_some_and(|drained| !drained.is_disjoint(brokers))
        });
        let failed = ours.filter(|it| it.state == RebalanceState::Failed);
        return Plan {
            rebalance: ours.filter(|it| it.runs()).cloned(),
            blocked: failed.map(|it| Finding::new("DrainRefused", it.message.clone())),
            ..Plan::default()
        };
    }
    let Some(id) = status.rebalance_id else {
        // Whoever wrote down that it begins has not heard the answer.
        if let Some(why) = &observed.refused {
            return Plan::waits("StartRefused", why.clone());
        }
        return Plan {
            actions: vec![Action::Start],
            ..Plan::default()
        };
    };
    let Some(found) = view.rebalances.get(&id) else {
        let is_over = view.rebalances.keys().any(|other| *other > id);
        return if is_over {
            let why = "another rebalance has taken its place";
            Plan::ended(RebalancePhase::Cancelled, why)
        } else {
            // The event that tells of it is on its way.
            Plan::default()
        };
    };
    let phase = match found.state {
        RebalanceState::Running => None,
        RebalanceState::Completed => Some(RebalancePhase::Completed),
        RebalanceState::Cancelled => Some(RebalancePhase::Cancelled),
        RebalanceState::Failed => Some(RebalancePhase::Failed),
    };
    let why = match (phase, found.message.as_str()) {
        (None, _) => None,
        (Some(RebalancePhase::Completed), "") => Some(format!(
            "{} moved, {} copied",
            wording::partitions(found.moves_done),
            wording::bytes(found.bytes_done)
        )),
        (Some(_), "") => Some(format!(
            "{} had been moved, and stay where they are",
            wording::partitions(found.moves_done)
        )),
        (Some(_), why) => Some(why.to_owned()),
    };
    Plan {
        phase,
        why,
        rebalance: Some(found.clone()),
        ..Plan::default()
    }
}

/// Decides what to do about a Rebalance that is being deleted. Whatever happens, the object is let go as soon as nothing
/// can be done any more: a namespace must not hang.
#[must_use]
pub fn plan_deletion(goal: Option<&Goal>, observed: &Observed, status: &RebalanceStatus) -> Plan {
    let let_go = |first: Option<Action>| Plan {
        actions: first.into_iter().chain([Action::RemoveFinalizer]).collect(),
        ..Plan::default()
    };
    if !observed.finalizer {
        return Plan::default();
    }
    let runs = status.phase == Some(RebalancePhase::Running);
    if observed.cluster == ClusterState::Missing || !runs {
        return let_go(None);
    }
    let Some(view) = &observed.view else {
        let message = "it is cancelled as soon as the metadata quorum answers";
        return Plan::waits("WaitingForQuorum", message);
    };
    let is_ours = |running: &&RebalanceView| match status.rebalance_id {
        Some(id) => running.id == id,
        None => goal.is_some() && running.goal.as_ref() == goal,
    };
    let running = view.rebalancing().filter(is_ours);
    let_go(running.map(|running| Action::Cancel(running.id)))
}
