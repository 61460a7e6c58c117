//! Voters: how many controllers there are to be now, on the way from one number to another. Pure.
//!
//! - A controller that is added joins the quorum by itself, once its pod runs. So to grow is to name it in the
//!   ConfigMap, and to raise the StatefulSet.
//! - To shrink, those with the highest numbers are removed from the quorum, one after the other, each time only while
//!   all that stay are ready and vote. The StatefulSet shrinks when none of them can vote any more, all at once, so
//!   that its number is always one that a person may ask for. To raise the number again lets them in again.
//! - What the quorum does not tell now is not guessed: nothing shrinks then. And while there has never been a quorum,
//!   nothing changes at all: its founders must agree on who they are.
//! - How many there were is read from the ConfigMap, which nobody has a reason to edit. So a StatefulSet that a hand
//!   has scaled is put right, and no voter goes with it. Should a hand edit the ConfigMap all the same, no pod that
//!   votes goes for that.
//! - A Cluster that is made anew over the volumes of one that was deleted begins with as many controllers as have
//!   volumes: a majority of those that voted must be there before anything can change. The rest is scaling.

use std::collections::BTreeSet;

use foz_crd::ClusterStatus;

use crate::cluster::build::voters_named_in;
use crate::cluster::observed::{Observed, QuorumView};
use crate::cluster::owned::{ObjectKey, Owned};
use crate::cluster::plan::Action;
use crate::cluster::validate::{ControllerCount, ValidatedCluster};
use crate::conditions::Finding;
use crate::names::{CONTROLLER_NODE_ID_BASE, Role};

/// Where the controllers are on their way.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Voters {
    /// How many places the StatefulSet and the ConfigMap have now.
    pub(super) controllers: ControllerCount,
    /// What to ask of the quorum.
    pub(super) actions: Vec<Action>,
    /// What is under way.
    pub(super) progressing: Option<Finding>,
}

/// Decides it.
pub(super) fn voters(
    cluster: &ValidatedCluster,
    observed: &Observed,
    status: &ClusterStatus,
) -> Voters {
    let wanted = cluster.controllers;
    let told = observed.quorum.told();
    let has_formed =
        status.cluster_id.is_some() || told.is_some_and(|view| !view.cluster_id.is_empty());
    let mut before = before(cluster, observed).unwrap_or(wanted);
    if has_formed {
        before = before.max(ControllerCount::at_least(kept(observed, wanted.get())));
    }
    let stays = |message: String| Voters {
        controllers: before,
        actions: Vec::new(),
        progressing: Some(Finding::new("ControllersScaling", message)),
    };
    let (from, to) = (before.get(), wanted.get());
    if from != to && !has_formed {
        return stays(format!(
            "the controllers become {to} when the {from} that there are have formed a quorum"
        ));
    }
    let view = observed.quorum.current();
    let Some(view) = view.filter(|view| !view.voters.voters.is_empty()) else {
        if to < from {
            return stays(format!(
                "to go from {from} controllers to {to} waits for the metadata quorum, which does not answer"
            ));
        }
        return Voters {
            controllers: wanted,
            actions: Vec::new(),
            progressing: None,
        };
    };
    let mut actions = Vec::new();
    let back: Vec<i32> = (0..to)
        .map(|ordinal| CONTROLLER_NODE_ID_BASE + ordinal)
        .filter(|node_id| view.voters.removed.contains(node_id))
        .collect();
    if !back.is_empty() {
        actions.push(Action::AddVoters(back));
    }
    let leaving = leaving(view, from, to);
    let Some(&next) = leaving.last() else {
        let missing = (0..to).find(|ordinal| !votes(view, *ordinal));
        let message = missing.filter(|_| from != to || !actions.is_empty());
        let message = message.map(|ordinal| {
            let pod = cluster.name.pod(Role::Controller, ordinal);
            format!("the controllers become {to}: {pod} does not vote yet")
        });
        return Voters {
            controllers: wanted,
            actions,
            progressing: message.map(|message| Finding::new("ControllersScaling", message)),
        };
    };
    let pod = cluster.name.pod(Role::Controller, next);
    let message = match holds_up(cluster, observed, view) {
        Some(why) => format!("to go from {from} controllers to {to} waits: {why}"),
        None => {
            actions.push(Action::RemoveVoter {
                node_id: CONTROLLER_NODE_ID_BASE + next,
                pod: pod.clone(),
            });
            format!(
                "the controllers become {to}: {pod} leaves the quorum, {} to go",
                leaving.len()
            )
        }
    };
    Voters {
        controllers: before.max(wanted),
        actions,
        progressing: Some(Finding::new("ControllersScaling", message)),
    }
}

/// How many there were, as far as anything tells; `None` for a Cluster that is new.
fn before(cluster: &ValidatedCluster, observed: &Observed) -> Option<ControllerCount> {
    let key = ObjectKey {
        kind: Owned::ConfigMap,
        name: cluster.name.of_role(Role::Controller),
    };
    let named = observed.live.get(&key).and_then(voters_named_in);
    let running = || {
        let set = observed.sets.get(&Role::Controller)?;
        Some(set.replicas)
    };
    let kept = || Some(observed.controller_volumes);
    let count = named.or_else(running).or_else(kept);
    let count = count.filter(|count| *count > 0)?;
    Some(ControllerCount::at_least(count))
}

/// How many places no StatefulSet may go below, whatever a ConfigMap says: that of the last pod which votes or is about
/// to, and those that there are while nobody tells who does.
fn kept(observed: &Observed, to: i32) -> i32 {
    let told = observed.quorum.told().map(|view| &view.voters);
    let Some(told) = told.filter(|told| !told.voters.is_empty()) else {
        let set = observed.sets.get(&Role::Controller);
        return set.map_or(0, |set| set.replicas);
    };
    let members = told.voters.union(&told.learners);
    let places = members.map(|node_id| node_id - CONTROLLER_NODE_ID_BASE);
    let has_pod = |ordinal: &i32| observed.pods.contains_key(&(Role::Controller, *ordinal));
    let last = places.filter(|ordinal| *ordinal >= to && has_pod(ordinal));
    last.max().map_or(0, |ordinal| ordinal + 1)
}

/// The places above the wanted ones whose controllers vote, are about to, or could: ascending.
fn leaving(view: &QuorumView, from: i32, to: i32) -> BTreeSet<i32> {
    let members = view.voters.voters.union(&view.voters.learners);
    let members = members.map(|node_id| node_id - CONTROLLER_NODE_ID_BASE);
    let places = (to..from).filter(|ordinal| {
        let node_id = CONTROLLER_NODE_ID_BASE + ordinal;
        !view.voters.removed.contains(&node_id)
    });
    members
        .filter(|ordinal| *ordinal >= to)
        .chain(places)
        .collect()
}

/// Why nobody is removed now, if so: all that stay must be there, and nobody else may stop meanwhile.
fn holds_up(cluster: &ValidatedCluster, observed: &Observed, view: &QuorumView) -> Option<String> {
    let name = |ordinal| cluster.name.pod(Role::Controller, ordinal);
    let mut granted = view.grants.keys().copied();
    if let Some(node_id) = granted.find(|node_id| *node_id >= CONTROLLER_NODE_ID_BASE) {
        let pod = name(node_id - CONTROLLER_NODE_ID_BASE);
        return Some(format!("{pod} may be restarted"));
    }
    let is_there = |ordinal: i32| {
        let pod = observed.pods.get(&(Role::Controller, ordinal));
        pod.is_some_and(|pod| pod.ready && pod.running && !pod.deleting)
    };
    (0..cluster.controllers.get()).find_map(|ordinal| {
        if !votes(view, ordinal) {
            Some(format!("{} does not vote", name(ordinal)))
        } else if !is_there(ordinal) {
            Some(format!("{} is not ready", name(ordinal)))
        } else {
            None
        }
    })
}

fn votes(view: &QuorumView, ordinal: i32) -> bool {
    let node_id = CONTROLLER_NODE_ID_BASE + ordinal;
    view.voters.voters.contains(&node_id)
}
