//! Whether replicas are to be moved so that brokers have equally many. Pure.
//!
//! Only numbers of replicas are looked at here: they are what every event tells. Bytes and traffic the active controller
//! knows: it is asked from time to time ([`looks`](crate::cluster::scaling::looks)) whether any broker is far from its
//! share, and weighs that and the plan itself. It may find nothing to do where numbers differ, and is then not asked
//! again until they change, or until the next look.

use std::collections::BTreeSet;

use foz_crd::balancing::RebalancePolicyMode;

use crate::cluster::observed::{Observed, QuorumView};
use crate::cluster::scaling::asked::Answer;
use crate::cluster::scaling::{Step, refused, wording};
use crate::cluster::validate::ValidatedCluster;
use crate::conditions::Finding;
use crate::names::Role;
use crate::quorum::rebalance::Goal;

/// What there is to be done about uneven brokers.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Even {
    /// Begin.
    pub step: Option<Step>,
    /// Why not.
    pub progressing: Option<Finding>,
}

/// Decides it, for a Cluster in which nothing else is under way.
#[must_use]
pub fn even_out(cluster: &ValidatedCluster, observed: &Observed) -> Even {
    let view = observed.quorum.current();
    let Some(view) = view.filter(|view| is_calm(cluster, observed, view)) else {
        return Even::default();
    };
    let goals = goals(view, cluster.rebalance.threshold);
    if cluster.rebalance.mode == RebalancePolicyMode::Manual {
        let suggestion = goals.first().map(|goal| suggestion(goal, view));
        return Even {
            progressing: suggestion,
            step: None,
        };
    }
    let answer = |goal: &Goal| observed.asked.get(goal);
    let goal = goals
        .into_iter()
        .find(|goal| answer(goal) != Some(&Answer::NothingToDo));
    match goal.as_ref().map(|goal| (goal, answer(goal))) {
        Some((goal, Some(Answer::Refused(why)))) => Even {
            progressing: Some(refused(goal, why).1),
            step: None,
        },
        Some((goal, _)) => Even {
            step: Some(Step::Start(goal.clone())),
            progressing: None,
        },
        None => Even {
            step: observed.look_is_due.then_some(Step::Start(Goal::Full)),
            progressing: None,
        },
    }
}

/// Every broker is there, nobody moves anything, and nobody is about to.
fn is_calm(cluster: &ValidatedCluster, observed: &Observed, view: &QuorumView) -> bool {
    let is_there = |node_id: i32| match view.brokers.get(&node_id) {
        Some(broker) => !broker.fenced,
        // One that does not come up by itself is not waited for.
        None => observed
            .pods
            .get(&(Role::Broker, node_id))
            .is_some_and(|pod| pod.trouble.is_some()),
    };
    view.active_node_id >= 0
        && view.rebalancing().is_none()
        && view.moving == 0
        && view.offline == 0
        && view.grants.is_empty()
        && observed.rebalance_pending.is_none()
        && (0..cluster.brokers).all(is_there)
}

/// What would help, in the order in which it is tried: brokers that have next to nothing are filled first, which moves
/// least.
fn goals(view: &QuorumView, threshold: i32) -> Vec<Goal> {
    let takes_replicas = view
        .brokers
        .iter()
        .filter(|(_, broker)| !broker.cordoned && !broker.fenced);
    let counts: Vec<(i32, i128)> = takes_replicas
        .map(|(node_id, _)| (*node_id, i128::from(view.replicas_on(*node_id))))
        .collect();
    let Ok(brokers) = i128::try_from(counts.len()) else {
        return Vec::new();
    };
    if brokers < 2 {
        return Vec::new();
    }
    let total: i128 = counts.iter().map(|(_, count)| count).sum();
    let threshold = i128::from(threshold);
    // Compared as products: the average is seldom a whole number. What rounding makes uneven is even.
    let is_low =
        |count: i128| count * brokers * 100 < total * (100 - threshold) && count < total / brokers;
    let is_high = |count: i128| {
        count * brokers * 100 > total * (100 + threshold) && count > (total + brokers - 1) / brokers
    };
    let added: BTreeSet<i32> = counts
        .iter()
        .filter(|(_, count)| is_low(*count) && count * 2 * brokers < total)
        .map(|(node_id, _)| *node_id)
        .collect();
    let mut goals = Vec::new();
    if !added.is_empty() {
        goals.push(Goal::AddedBrokers(added));
    }
    let is_uneven = counts
        .iter()
        .any(|(_, count)| is_low(*count) || is_high(*count));
    if is_uneven {
        goals.push(Goal::Full);
    }
    goals
}

fn suggestion(goal: &Goal, view: &QuorumView) -> Finding {
    let on = |node_id: &i32| view.replicas_on(*node_id);
    let brokers = view.brokers.keys();
    let counts: Vec<String> = brokers
        .map(|node_id| format!("broker {node_id} has {}", on(node_id)))
        .collect();
    let would = match goal {
        Goal::AddedBrokers(added) => {
            let ids: Vec<String> = added.iter().map(ToString::to_string).collect();
            format!(
                "a Rebalance with mode AddedBrokers and brokers [{}] would move some onto {}",
                ids.join(", "),
                wording::brokers(added)
            )
        }
        Goal::Full | Goal::DrainBrokers(_) => {
            "a Rebalance with mode Full would even them out".to_owned()
        }
    };
    let message = format!("replicas are uneven, {}: {would}", counts.join(", "));
    Finding::new("RebalanceSuggested", message)
}
