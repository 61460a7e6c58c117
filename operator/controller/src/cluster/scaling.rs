//! Scaling: how many brokers there are to be now, and what has to happen before there may be fewer. Pure.
//!
//! What holds for it:
//! - It is decided anew in every pass from what is seen; nothing is remembered but answers that count for a while
//!   ([`asked`]). So edits in the middle, a number that is raised again, and an operator that takes over from another
//!   need nothing of their own.
//! - The operator owns all cordons. Cordoned are the brokers that are to go, those whose number is `spec.replicas` or
//!   more, and those of approved Rebalances with mode DrainBrokers, and no others. What is cordoned is drained.
//! - The StatefulSet shrinks from its top, by brokers of which the quorum tells that they are cordoned and hold nothing:
//!   nothing can come to them any more.
//! - A broker is unregistered once its pod is gone and its lease has ended.
//! - While the quorum does not answer nothing is taken away, and nothing is moved.
//! - Replicas are evened out only while nothing else is under way ([`even`]).
//!
//! Start with [`scaling`].

pub mod asked;
pub mod even;
pub mod looks;
pub mod progress;
#[cfg(test)]
mod tests;
pub mod wording;

use std::collections::BTreeSet;

use foz_crd::ClusterStatus;

use crate::cluster::observed::{Observed, QuorumView};
use crate::cluster::scaling::asked::Answer;
use crate::cluster::scaling::progress::Leaving;
use crate::cluster::validate::ValidatedCluster;
use crate::conditions::Finding;
use crate::names::Role;
use crate::quorum::rebalance::{Goal, RebalanceView};

const MIN_INSYNC_REPLICAS: &str = "min.insync.replicas";

/// What scaling comes to in a pass.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Scaling {
    /// How many brokers there are to be now.
    pub brokers: i32,
    /// How many there will be when all is done that is under way: what new topics are made for.
    pub staying: i32,
    /// What to do, in this order.
    pub steps: Vec<Step>,
    /// What is under way.
    pub progressing: Vec<Finding>,
    /// What needs a person.
    pub degraded: Vec<Finding>,
    /// Brokers that are to go, or are going.
    pub leaving: Option<Leaving>,
    /// Brokers that are cordoned and hold replicas.
    pub draining: BTreeSet<i32>,
}

/// One thing to do about brokers and their replicas.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// These get no new replicas, or get some again.
    Cordon {
        /// Node ids.
        brokers: BTreeSet<i32>,
        /// Or not any more.
        cordoned: bool,
    },
    /// Begin to move replicas.
    Start(Goal),
    /// Stop that.
    Cancel {
        /// Which.
        rebalance_id: i64,
        /// Why.
        reason: String,
    },
    /// Forget a broker that is gone.
    Unregister(i32),
    /// Take the Service away of a broker that is gone.
    RemoveService(i32),
}

impl Step {
    /// For metrics.
    #[must_use]
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Cordon { .. } => "cordon",
            Self::Start(_) => "start_rebalance",
            Self::Cancel { .. } => "cancel_rebalance",
            Self::Unregister(_) => "unregister_broker",
            Self::RemoveService(_) => "remove_service",
        }
    }
}

/// Decides how many brokers there are to be, and what is to be done about their replicas.
#[must_use]
pub fn scaling(
    cluster: &ValidatedCluster,
    observed: &Observed,
    previous: &ClusterStatus,
) -> Scaling {
    let wanted = cluster.brokers;
    let running = running(observed);
    let Some(view) = observed.quorum.current() else {
        return without_quorum(wanted, observed);
    };
    // A broker that holds something has to run, whatever became of the set; one that holds nothing need not.
    let holds = view
        .brokers
        .keys()
        .rev()
        .find(|id| view.replicas_on(**id) > 0);
    let present = running.max(holds.map_or(0, |node_id| node_id + 1));
    let refusal = (wanted < present)
        .then(|| refusal(cluster, observed, view, present, previous))
        .flatten();
    let staying = if refusal.is_some() { present } else { wanted };
    let mut brokers = staying.max(present);
    while brokers > staying && may_go(brokers - 1, running, view) {
        brokers -= 1;
    }
    let cordoned = to_be_cordoned(staying, observed, view);
    let draining: BTreeSet<i32> = cordoned
        .iter()
        .copied()
        .filter(|node_id| view.replicas_on(*node_id) > 0)
        .collect();
    let mut scaling = Scaling {
        brokers,
        staying,
        leaving: Leaving::new(staying, present, observed, view, previous),
        draining,
        ..Scaling::default()
    };
    scaling.degraded.extend(refusal);
    scaling.cordons_and_drains(&cordoned, observed, view);
    scaling.forget_who_is_gone(running, observed, view);
    scaling.tell(&cluster.name, view);
    scaling
}

/// What people read when the quorum does not move replicas; whether it needs one of them.
#[must_use]
pub fn refused(goal: &Goal, why: &str) -> (bool, Finding) {
    match goal {
        Goal::DrainBrokers(drained) => {
            let brokers = wording::brokers(drained);
            let message = format!("partitions cannot be moved off {brokers}: {why}");
            (true, Finding::new("DrainRefused", message))
        }
        Goal::AddedBrokers(_) | Goal::Full => (false, Finding::new("RebalanceRefused", why)),
    }
}

/// Never fewer than run, or, while there is no StatefulSet, than the quorum knew: the partitions of one that is taken
/// away would be offline.
fn without_quorum(wanted: i32, observed: &Observed) -> Scaling {
    let brokers = match observed.sets.get(&Role::Broker) {
        Some(set) => wanted.max(set.replicas),
        None => {
            let told = observed.quorum.told();
            let last = told.and_then(|view| view.brokers.keys().last());
            let known = last.map_or(0, |node_id| node_id + 1);
            wanted.max(known).max(running(observed))
        }
    };
    let mut scaling = Scaling {
        brokers,
        staying: brokers,
        ..Scaling::default()
    };
    if wanted < brokers {
        let message = format!(
            "spec.replicas is {wanted}, and {brokers} brokers run: nothing is moved while the metadata quorum does not answer"
        );
        scaling
            .progressing
            .push(Finding::new("ScalingWaitsForQuorum", message));
    }
    scaling
}

/// As many as the StatefulSet has; while it is made anew, as many as have pods.
fn running(observed: &Observed) -> i32 {
    let ordinals = || {
        let pods = observed.pods.keys().rev();
        let mut brokers = pods.filter(|(role, _)| *role == Role::Broker);
        brokers.next().map_or(0, |(_, ordinal)| ordinal + 1)
    };
    let set = observed.sets.get(&Role::Broker);
    set.map_or_else(ordinals, |set| set.replicas)
}

/// Why so many brokers cannot do without the others, if they cannot.
fn refusal(
    cluster: &ValidatedCluster,
    observed: &Observed,
    view: &QuorumView,
    present: i32,
    previous: &ClusterStatus,
) -> Option<Finding> {
    let wanted = cluster.brokers;
    let drained = observed.drains.range(..wanted).count();
    let left = wanted.saturating_sub(i32::try_from(drained).unwrap_or(i32::MAX));
    let as_left = match drained {
        0 => format!("{left} brokers would be left"),
        _ => format!(
            "{left} brokers would be left, as Rebalances empty {}",
            wording::brokers(&observed.drains.range(..wanted).copied().collect())
        ),
    };
    let refused = |what: String, mend: String| {
        let message = format!(
            "spec.replicas is {wanted}, and {present} brokers run; {as_left}, and {what}: {mend}, or set replicas back to {present}"
        );
        Some(Finding::new("ScaleDownRefused", message))
    };
    if let Some((topic, replicas)) = observed.widest_topic.as_ref().filter(|it| it.1 > left) {
        let what = format!("topic {topic} has {replicas} replicas of each partition");
        return refused(what, format!("lower its replication factor to {left}"));
    }
    let min_insync = view.broker_config.get(MIN_INSYNC_REPLICAS);
    let min_insync = min_insync.and_then(|value| value.trim().parse::<i32>().ok());
    // What the operator set by itself it takes back by itself.
    let managed = &previous.managed_config_keys;
    let is_ours = managed.iter().any(|key| key == MIN_INSYNC_REPLICAS);
    if let Some(min_insync) = min_insync.filter(|it| *it > left && !is_ours) {
        let what = format!("{MIN_INSYNC_REPLICAS} of the brokers is {min_insync}");
        return refused(what, format!("lower it to {left}"));
    }
    None
}

/// Nothing would be missed of it, and nothing can come to it any more. One that never registered has nothing; one
/// beyond the set does not run any more, or not for long.
fn may_go(node_id: i32, running: i32, view: &QuorumView) -> bool {
    let is_safe = match view.brokers.get(&node_id) {
        None => true,
        Some(broker) => broker.cordoned || (node_id >= running && broker.fenced),
    };
    view.replicas_on(node_id) == 0 && is_safe
}

fn to_be_cordoned(staying: i32, observed: &Observed, view: &QuorumView) -> BTreeSet<i32> {
    let is_to_go = |node_id: &i32| *node_id >= staying || observed.drains.contains(node_id);
    let registered = view.brokers.keys().copied();
    registered.filter(is_to_go).collect()
}

impl Scaling {
    /// No broker goes, and none is emptied.
    #[must_use]
    pub fn is_calm(&self) -> bool {
        self.steps.is_empty() && self.leaving.is_none() && self.draining.is_empty()
    }

    fn cordons_and_drains(
        &mut self,
        cordoned: &BTreeSet<i32>,
        observed: &Observed,
        view: &QuorumView,
    ) {
        let is_cordoned = |node_id: &i32| {
            let broker = view.brokers.get(node_id);
            broker.is_some_and(|broker| broker.cordoned)
        };
        let missing: BTreeSet<i32> = cordoned
            .iter()
            .copied()
            .filter(|node_id| !is_cordoned(node_id))
            .collect();
        let too_many: BTreeSet<i32> = view
            .brokers
            .keys()
            .copied()
            .filter(|node_id| is_cordoned(node_id) && !cordoned.contains(node_id))
            .collect();
        if !missing.is_empty() {
            self.steps.push(Step::Cordon {
                brokers: missing,
                cordoned: true,
            });
        }
        self.drain(cordoned, observed, view);
        if !too_many.is_empty() {
            self.steps.push(Step::Cordon {
                brokers: too_many,
                cordoned: false,
            });
        }
    }

    /// One drain for all that are to be emptied. One that runs goes on as long as it empties all of them and none that
    /// is to stay.
    fn drain(&mut self, cordoned: &BTreeSet<i32>, observed: &Observed, view: &QuorumView) {
        let running = view.rebalancing();
        let drains = running.and_then(|it| Some((it, it.goal.as_ref()?.drained()?)));
        let stays =
            |node_id: &&i32| view.brokers.contains_key(node_id) && !cordoned.contains(node_id);
        let of_staying: Option<(&RebalanceView, BTreeSet<i32>)> = drains
            .map(|(it, drained)| (it, drained.iter().filter(stays).copied().collect()))
            .filter(|(_, staying): &(_, BTreeSet<i32>)| !staying.is_empty());
        let goes_on = drains.is_some_and(|(_, drained)| self.draining.is_subset(drained));
        let begins = !self.draining.is_empty() && (!goes_on || of_staying.is_some());
        if begins {
            let goal = Goal::DrainBrokers(self.draining.clone());
            match observed.asked.get(&goal) {
                // The one that is begun takes the place of the one that runs.
                None => return self.steps.push(Step::Start(goal)),
                Some(Answer::NothingToDo) => {}
                Some(Answer::Refused(why)) => self.degraded.push(refused(&goal, why).1),
            }
        }
        if let Some((running, staying)) = of_staying {
            self.steps.push(Step::Cancel {
                rebalance_id: running.id,
                reason: match staying.len() {
                    1 => format!("{} stays", wording::brokers(&staying)),
                    _ => format!("{} stay", wording::brokers(&staying)),
                },
            });
        }
    }

    /// Their volumes stay.
    fn forget_who_is_gone(&mut self, running: i32, observed: &Observed, view: &QuorumView) {
        let runs = self.brokers.max(running);
        let has_pod = |node_id: i32| observed.pods.contains_key(&(Role::Broker, node_id));
        // A drain that names it would go on about a broker that nobody knows.
        let drained = view
            .rebalancing()
            .and_then(|running| running.goal.as_ref()?.drained());
        let is_drained = |node_id: i32| drained.is_some_and(|drained| drained.contains(&node_id));
        let beyond = view.brokers.range(runs..);
        let gone = beyond.filter(|(node_id, broker)| {
            broker.fenced
                && view.replicas_on(**node_id) == 0
                && !has_pod(**node_id)
                && !is_drained(**node_id)
        });
        self.steps
            .extend(gone.map(|(node_id, _)| Step::Unregister(*node_id)));
        // From the highest number down: those that are left have no gap, or they would not be found.
        let services = observed.broker_services.range(runs..).rev();
        let is_gone = |node_id: &i32| !view.brokers.contains_key(node_id) && !has_pod(*node_id);
        let left = services.copied().take_while(is_gone);
        self.steps.extend(left.map(Step::RemoveService));
    }
}
