//! Roll: which pod is to be restarted next, and why, or why none is. Pure.
//!
//! What holds for it:
//! - It is decided anew in every pass from what is seen; nothing is remembered. So edits in the middle of a roll,
//!   a roll back, and an operator that takes over from another need nothing of their own: a pod that somebody else
//!   made anew comes from the newest template, and counts as done.
//! - One step at a time. While a pod that is not to be restarted is away, or another node may stop, nobody else is
//!   asked to. [`Step::Release`] stops nothing.
//! - A process that serves is stopped with the quorum's grant alone, or because a person insists
//!   (`foz.dev/force-restart` on the pod).
//! - A pod that loses a volume by being restarted is restarted when nothing is lost by that: see [`volume`].
//! - No pod is stopped that Kubernetes would not make anew: while one lacks a volume of the newest template, none behind
//!   it, and those that are missing there are not waited for. See [`crate::cluster::further_volumes`].
//! - A pod that does not come up from the newest template stops the roll: one is affected, not all.
//!
//! Start with [`roll`]; [`input`] is what it sees, [`node`] what it makes of each pod.

pub mod input;
mod node;
mod stuck;
#[cfg(test)]
mod tests;
pub mod volume;
mod waiting;

use k8s_openapi::jiff::SignedDuration;

use crate::cluster::observed::QuorumView;
use crate::cluster::roll::input::RollInput;
use crate::cluster::roll::node::{Node, nodes};
use crate::cluster::roll::stuck::stuck;
use crate::cluster::roll::volume::LostVolume;
pub use crate::cluster::roll::waiting::{PodWait, VolumeWait, Waiting};
use crate::conditions::Finding;
use crate::names::Role;

/// kube-proxy writes the endpoints of Services once a second at most. After a change that it has just written it would
/// go on sending clients that start to a broker that has gone meanwhile. Pods tell times in whole seconds: one of them
/// is added.
const JUST_READY: SignedDuration = SignedDuration::from_secs(2);

/// The state of a roll.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Roll {
    /// The pods that are to be restarted still, in the order in which it is tried; those that are held last.
    pub left: Vec<String>,
    /// What now.
    pub next: Next,
    /// Pods that come back when a person acts, and not before.
    pub stuck: Option<Finding>,
}

/// What a roll does now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// No pod is to be restarted.
    Nothing,
    /// This, and nothing else in this pass.
    Do(Step),
    /// What is seen next decides.
    Wait(Waiting),
}

/// One step of a roll.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Delete a pod that serves nobody, without a grant.
    Replace {
        /// Its name.
        pod: String,
        /// Its uid: no other pod of that name is deleted.
        uid: String,
        /// Why.
        reason: String,
        /// The volumes that it loses.
        volumes: Vec<LostVolume>,
    },
    /// Ask the quorum for a grant, and delete the pod while it has one.
    Restart {
        /// The node.
        node_id: i32,
        /// The process that may stop: see [`input::RollInput::process`].
        incarnation: String,
        /// Its pod.
        pod: String,
        /// The pod's uid: no other pod of that name is deleted.
        uid: String,
        /// Why.
        reason: String,
        /// A person wants it whatever it costs.
        insist: bool,
        /// The volumes that it loses.
        volumes: Vec<LostVolume>,
    },
    /// End a grant that nobody needs any more.
    Release {
        /// The node that has it.
        node_id: i32,
        /// The grant.
        grant_epoch: i64,
        /// Why.
        reason: String,
    },
}

impl Roll {
    /// What it does and what it waits for, for the conditions: what is under way, and what needs a person.
    #[must_use]
    pub fn findings(&self) -> (Vec<Finding>, Vec<Finding>) {
        let mut under_way = Vec::new();
        let mut needs_a_person = Vec::new();
        let mut left = self.left.clone();
        let mut when = "to be restarted";
        match &self.next {
            Next::Nothing | Next::Do(Step::Release { .. }) => {}
            Next::Do(Step::Replace { pod, reason, .. } | Step::Restart { pod, reason, .. }) => {
                let message = format!("{pod} restarts: {reason}");
                under_way.push(Finding::new("Rolling", message));
            }
            Next::Wait(waiting) => {
                let finding = waiting.finding();
                if waiting.needs_a_person() {
                    needs_a_person.push(finding);
                } else {
                    under_way.push(finding);
                }
                if let Waiting::Held(held) = waiting {
                    left.retain(|pod| !held.contains(pod));
                    when = "to be restarted after that";
                }
            }
        }
        if !left.is_empty() {
            let message = format!("{when}: {}", left.join(", "));
            under_way.push(Finding::new("Rolling", message));
        }
        needs_a_person.extend(self.stuck.clone());
        (under_way, needs_a_person)
    }
}

/// Decides the next step of a roll.
#[must_use]
pub fn roll(input: &RollInput) -> Roll {
    let nodes = nodes(input);
    let due = in_order(&nodes);
    let held = nodes.iter().filter(|node| node.is_due() && node.held);
    let left = due
        .iter()
        .copied()
        .chain(held)
        .map(|node| node.name.clone());
    let left = left.collect();
    let due: Vec<_> = due
        .into_iter()
        .filter(|node| !is_behind(node, &nodes))
        .collect();
    let next = next(input, &nodes, &due);
    let stuck = stuck(&nodes, &next);
    Roll { left, next, stuck }
}

/// The nodes that are to be restarted and are not held: those that do not serve, then brokers, then controllers,
/// and last the active one.
fn in_order<'node, 'input>(nodes: &'node [Node<'input>]) -> Vec<&'node Node<'input>> {
    let mut due: Vec<_> = nodes
        .iter()
        .filter(|node| node.is_due() && !node.held)
        .collect();
    due.sort_by_key(|node| {
        let serves = node.serves();
        // Brokers that do not serve may do so for want of controllers.
        let role = serves == (node.role == Role::Controller);
        (serves, role, node.is_active, node.ordinal)
    });
    due
}

/// Kubernetes would not make it anew before another that lacks a volume.
fn is_behind(node: &Node<'_>, nodes: &[Node<'_>]) -> bool {
    let mut before = nodes
        .iter()
        .filter(|other| other.role == node.role && other.ordinal < node.ordinal);
    before.any(|other| !other.lacks.is_empty())
}

fn next(input: &RollInput, nodes: &[Node<'_>], due: &[&Node<'_>]) -> Next {
    if let Some(step) = forced(input, due).or_else(|| without_grant(nodes, due)) {
        return Next::Do(step);
    }
    let stopped = stopped(nodes).filter(|_| !due.is_empty());
    if let Some(quorum) = &input.quorum
        && let Some(step) = under_way(quorum, nodes, stopped.is_some())
    {
        return Next::Do(step);
    }
    if due.is_empty() {
        return held(nodes);
    }
    if let Some(role) = unknown_template(input) {
        return Next::Wait(Waiting::Template(role));
    }
    // What fails itself is not spared: it cannot get worse.
    let failing: Vec<&Node<'_>> = due.iter().copied().filter(|node| node.fails()).collect();
    let due = match stopped {
        Some(stopped) if failing.is_empty() => return Next::Wait(stopped),
        Some(_) => failing.as_slice(),
        None => due,
    };
    let Some(quorum) = input.quorum.as_ref().filter(|it| it.active_node_id >= 0) else {
        return Next::Wait(Waiting::Quorum);
    };
    if let Some(waiting) = away(nodes).or_else(|| granted(quorum, nodes)) {
        return Next::Wait(waiting);
    }
    let is_broker = |node: &&Node<'_>| node.role == Role::Broker && node.serves();
    if due.iter().any(is_broker)
        && let Some(pod) = just_ready(input)
    {
        let wait = PodWait::JustReady;
        return Next::Wait(Waiting::Pod { pod, wait });
    }
    first_allowed(input, nodes, due)
}

/// Nobody else is left.
fn held(nodes: &[Node<'_>]) -> Next {
    let held = nodes.iter().filter(|node| node.is_due() && node.held);
    let held: Vec<String> = held.map(|node| node.name.clone()).collect();
    if held.is_empty() {
        Next::Nothing
    } else {
        Next::Wait(Waiting::Held(held))
    }
}

/// A broker whose pod became ready just now, while another is about to go.
fn just_ready(input: &RollInput) -> Option<String> {
    let mut brokers = input.pods.iter().filter(|((role, _), pod)| {
        let ready = |since| input.now.duration_since(since) < JUST_READY;
        *role == Role::Broker && pod.ready_since.is_some_and(ready)
    });
    brokers
        .next()
        .map(|(&(role, ordinal), _)| input.name.pod(role, ordinal))
}

/// A person wants these pods stopped: one after the other, and not held up by any that is away.
fn forced(input: &RollInput, due: &[&Node<'_>]) -> Option<Step> {
    let node = due.iter().find(|node| node.is_forced())?;
    let quorum = input.quorum.as_ref();
    let answers = quorum.is_some_and(|quorum| quorum.active_node_id >= 0);
    Some(if answers {
        node.restart(true)
    } else {
        node.replace("; the quorum does not answer")
    })
}

/// A pod whose process does not run loses nothing by being replaced. Where the newest template is known to be
/// bad for its role, only one that will not come up by itself: it cannot get worse.
fn without_grant(nodes: &[Node<'_>], due: &[&Node<'_>]) -> Option<Step> {
    let is_bad = |role: Role| {
        let mut of_role = nodes.iter().filter(|node| node.role == role && !node.held);
        of_role.any(Node::fails)
    };
    let may_replace = |node: &&&Node<'_>| {
        let keeps_volumes = node.volumes.is_empty();
        let comes_back = node.waits_for_volume.is_none();
        keeps_volumes
            && comes_back
            && !node.runs()
            && (node.trouble().is_some() || !is_bad(node.role))
    };
    let node = due.iter().find(may_replace)?;
    Some(node.replace("; its container does not run"))
}

/// What an operator has begun: it may have been another one, or this one may not have heard the answer.
fn under_way(quorum: &QuorumView, nodes: &[Node<'_>], stopped: bool) -> Option<Step> {
    quorum.grants.iter().find_map(|(node_id, grant)| {
        let node = nodes.iter().find(|node| node.node_id == *node_id)?;
        if node.pod.is_none() || node.is_leaving() {
            return None;
        }
        let release = |reason: &str| Step::Release {
            node_id: *node_id,
            grant_epoch: grant.grant_epoch,
            reason: reason.to_owned(),
        };
        let is_here = node.is_process(grant);
        if !is_here || !grant.is_operators() {
            // The quorum sees by itself when a broker is back, and knows nothing of a controller's processes.
            let is_back = node.role == Role::Controller && !is_here && node.serves();
            return is_back.then(|| release("it is back"));
        }
        if node.is_due() && !node.held && !stopped {
            // The grant was given when all others were there; asked again, it is not weighed again.
            let others = nodes.iter().filter(|other| other.node_id != *node_id);
            if node.keeps_volume.is_some() {
                return Some(release("it keeps its volume"));
            }
            if is_behind(node, nodes) {
                return Some(release("Kubernetes would not make it anew yet"));
            }
            if node.waits_for_volume.is_some() {
                return Some(release("it would not get the volume that it lacks"));
            }
            let mut away = others.filter(|other| !other.serves() && !is_to_come(other, nodes));
            return Some(match away.next() {
                None => node.restart(false),
                Some(other) => release(&format!("{} is away", other.name)),
            });
        }
        // The registered process may also be one that is gone, while the next one starts.
        if !node.serves() {
            return None;
        }
        Some(release(if node.held {
            "its pod is held"
        } else if stopped {
            "the roll has stopped"
        } else {
            "it is not to be restarted any more"
        }))
    })
}

/// Kubernetes has not said yet which template is the newest: a pod might be restarted twice.
fn unknown_template(input: &RollInput) -> Option<Role> {
    let is_unknown = |role: &Role| {
        let set = input.sets.get(role);
        set.is_none_or(|set| set.update_revision.is_none())
    };
    Role::ALL.into_iter().find(is_unknown)
}

/// A pod of the newest template that does not come up.
fn stopped(nodes: &[Node<'_>]) -> Option<Waiting> {
    let node = nodes.iter().find(|node| node.fails() && !node.held)?;
    Some(Waiting::Stopped {
        pod: node.name.clone(),
        trouble: node.failure(),
    })
}

/// It is missing, and comes when another has been restarted.
fn is_to_come(node: &Node<'_>, nodes: &[Node<'_>]) -> bool {
    node.pod.is_none() && is_behind(node, nodes)
}

/// A pod that is not to be restarted, and is not there.
fn away(nodes: &[Node<'_>]) -> Option<Waiting> {
    let others = nodes.iter().filter(|node| !node.held && !node.is_due());
    let others = others.filter(|node| !is_to_come(node, nodes));
    let mut away = others.filter_map(|node| Some((node, node.away()?)));
    away.next().map(|(node, wait)| Waiting::Pod {
        pod: node.name.clone(),
        wait,
    })
}

/// Somebody may stop already.
fn granted(quorum: &QuorumView, nodes: &[Node<'_>]) -> Option<Waiting> {
    let (node_id, grant) = quorum.grants.iter().next()?;
    let node = nodes.iter().find(|node| node.node_id == *node_id);
    Some(Waiting::Grant {
        node: node.map_or_else(|| format!("node {node_id}"), |node| node.name.clone()),
        reason: grant.reason.clone(),
    })
}

/// The first that the quorum has not denied a moment ago: a partition that is in a bad way holds up the brokers
/// that have it, and no others. Controllers wait until no broker is left, but for those that are held.
fn first_allowed(input: &RollInput, nodes: &[Node<'_>], due: &[&Node<'_>]) -> Next {
    let is_left = |node: &Node<'_>| node.is_due() && !node.held && is_behind(node, nodes);
    let mut brokers_are_left = nodes.iter().any(is_left);
    let mut denied: Vec<(String, String)> = Vec::new();
    let mut waits_for_volume = None;
    for node in due {
        if let Some(message) = &node.keeps_volume {
            brokers_are_left |= node.role == Role::Broker;
            denied.push((node.name.clone(), message.clone()));
            continue;
        }
        if let Some(waiting) = &node.waits_for_volume {
            brokers_are_left |= node.role == Role::Broker;
            waits_for_volume.get_or_insert_with(|| waiting.clone());
            continue;
        }
        if node.is_unknown_broker {
            return Next::Do(node.replace("; the quorum does not know it, so it has nothing"));
        }
        if node.role == Role::Controller && node.serves() && brokers_are_left {
            break;
        }
        match input.denied.get(&node.node_id) {
            Some(denial) if Some(&denial.incarnation) == node.process.as_ref() => {
                brokers_are_left |= node.role == Role::Broker;
                denied.push((node.name.clone(), denial.message.clone()));
            }
            _ => return Next::Do(node.restart(false)),
        }
    }
    // Of a claim that cannot be made nothing else tells; of a denial there is an Event.
    let cannot_be_made = waits_for_volume.as_ref().filter(|it| it.needs_a_person());
    if !denied.is_empty() && cannot_be_made.is_none() {
        return Next::Wait(Waiting::Denied(denied));
    }
    waits_for_volume.map_or_else(|| held(nodes), Next::Wait)
}
