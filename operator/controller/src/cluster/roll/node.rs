//! A place for a pod, and what a roll makes of it.

use crate::cluster::further_volumes::lacking;
use crate::cluster::missing_pods::unmade;
use crate::cluster::observed::{PodState, SetState};
use crate::cluster::roll::input::RollInput;
use crate::cluster::roll::volume::{self, LostVolume};
use crate::cluster::roll::{PodWait, Step, VolumeWait, Waiting};
use crate::cluster::storage_classes::may_not_come;
use crate::names::Role;
use crate::quorum::view::GrantView;
use crate::volume_id::VolumeId;

/// A container that is started so often without getting ready will not get there: one start may have met something
/// that is gone.
const STARTS_TOLERATED: i32 = 2;
/// Nothing else is known of it.
const OUT_OF_DATE: &str = "its template is out of date";

/// A place for a pod, with the pod that is there.
#[derive(Debug)]
pub(super) struct Node<'input> {
    pub(super) role: Role,
    pub(super) ordinal: i32,
    pub(super) node_id: i32,
    /// The pod's name.
    pub(super) name: String,
    pub(super) pod: Option<&'input PodState>,
    /// See [`RollInput::process`].
    pub(super) process: Option<String>,
    /// It is the active controller.
    pub(super) is_active: bool,
    /// A broker that the quorum, which answers, does not know.
    pub(super) is_unknown_broker: bool,
    pub(super) held: bool,
    /// The volumes that it loses when it is restarted.
    pub(super) volumes: Vec<LostVolume>,
    /// Why it must not lose them.
    pub(super) keeps_volume: Option<String>,
    /// The volumes that its pod was made without, and that one from the newest template has.
    pub(super) lacks: Vec<VolumeId>,
    /// Why it would not get one of these.
    pub(super) waits_for_volume: Option<Waiting>,
    /// Its pod is of the newest template; `None` when that is not known.
    newest: Option<bool>,
    /// A broker without a lease.
    fenced: bool,
    /// Why it is to be restarted; empty when it is not.
    reasons: Vec<String>,
}

/// Every place that the sets have. A controller that was removed from the quorum is none of them: it never gets ready,
/// gets no grant, and goes with its place.
pub(super) fn nodes(input: &RollInput) -> Vec<Node<'_>> {
    let removed = input.quorum.as_ref().map(|view| &view.voters.removed);
    let is_removed =
        |node: &Node<'_>| removed.is_some_and(|removed| removed.contains(&node.node_id));
    let mut nodes = Vec::new();
    for (&role, set) in &input.sets {
        let of_role = (0..set.replicas).map(|ordinal| node(input, role, ordinal, set));
        nodes.extend(of_role.filter(|node| !is_removed(node)));
    }
    nodes
}

fn node<'input>(
    input: &'input RollInput,
    role: Role,
    ordinal: i32,
    set: &SetState,
) -> Node<'input> {
    let name = input.name.pod(role, ordinal);
    let node_id = role.node_id_base() + ordinal;
    let pod = input.pods.get(&(role, ordinal));
    let quorum = input.quorum.as_ref();
    let of_brokers = quorum.filter(|_| role == Role::Broker);
    let broker = of_brokers.map(|quorum| quorum.brokers.get(&node_id));
    let newest = pod
        .zip(set.update_revision.as_ref())
        .map(|(pod, newest)| pod.revision.as_ref() == Some(newest));
    let volumes = volume::lost(input, role, ordinal);
    let first = volumes.first();
    let mut node = Node {
        keeps_volume: first.and_then(|_| volume::refusal(input, role, node_id)),
        volumes,
        waits_for_volume: None,
        lacks: pod.map(|pod| lacking(set, pod)).unwrap_or_default(),
        held: input.hold.contains(&name),
        process: input.process(role, ordinal),
        is_active: quorum.is_some_and(|quorum| quorum.active_node_id == node_id),
        is_unknown_broker: broker == Some(None),
        fenced: broker.flatten().is_some_and(|broker| broker.fenced),
        reasons: Vec::new(),
        role,
        ordinal,
        node_id,
        name,
        pod,
        newest,
    };
    node.reasons = reasons(input, &node, set);
    let waits = |id: &VolumeId| waits_for_volume(input, &node, set, *id);
    node.waits_for_volume = node.lacks.iter().find_map(waits);
    node
}

/// Why a pod may not get a volume that it lacks: it would not come back. What is not known to come is waited for.
fn waits_for_volume(
    input: &RollInput,
    node: &Node<'_>,
    set: &SetState,
    id: VolumeId,
) -> Option<Waiting> {
    let claim = input.name.claim(node.role, node.ordinal, id);
    let found = input.claims.get(&(node.role, node.ordinal, id));
    let wait = match found.filter(|claim| !claim.deleting) {
        None => VolumeWait::Unclaimed(unmade(set, &claim).map(str::to_owned)),
        Some(found) if found.phase.as_deref() == Some("Bound") => return None,
        Some(found) if found.phase.as_deref() == Some("Lost") => {
            // A person wants another in its place.
            let mut lost = node.volumes.iter();
            if lost.any(|lost| lost.delete && lost.claim == claim) {
                return None;
            }
            VolumeWait::Lost
        }
        Some(found) => VolumeWait::Pending(may_not_come(&input.storage_classes, found)?),
    };
    let pod = node.name.clone();
    Some(Waiting::Volume { pod, claim, wait })
}

/// Why a pod is to be restarted. One that is on its way out is restarted already.
fn reasons(input: &RollInput, node: &Node<'_>, set: &SetState) -> Vec<String> {
    let Some(pod) = node.pod.filter(|pod| !pod.deleting) else {
        return Vec::new();
    };
    let mut reasons = Vec::new();
    if !node.lacks.is_empty() {
        reasons.push(format!("it lacks volume {}", numbers(&node.lacks)));
    }
    if node.newest == Some(false) {
        let changed = template_changed(pod, set);
        // The volume is that.
        if node.lacks.is_empty() || changed != OUT_OF_DATE {
            reasons.push(changed);
        }
    }
    let keys = pending_keys(input, node);
    if !keys.is_empty() {
        reasons.push(format!("config waits for a restart: {}", keys.join(", ")));
    }
    if pod.restart_asked {
        reasons.push("foz.dev/restart is on the pod".to_owned());
    }
    let has = volume::has(pod, &input.claims, node.role, node.ordinal);
    let asked: Vec<VolumeId> = volume::asked(pod, &has).into_iter().collect();
    if !asked.is_empty() {
        let of_several = match has.len() {
            1 => String::new(),
            _ => format!(" for volume {}", numbers(&asked)),
        };
        reasons.push(format!("foz.dev/replace-volume is on the pod{of_several}"));
    }
    if pod.force_asked {
        reasons.push("foz.dev/force-restart is on the pod".to_owned());
    }
    reasons
}

fn numbers(volumes: &[VolumeId]) -> String {
    let numbers: Vec<String> = volumes.iter().map(ToString::to_string).collect();
    numbers.join(", ")
}

fn template_changed(pod: &PodState, set: &SetState) -> String {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    if pod.image != set.image {
        return format!("image {} to {}", text(&pod.image), text(&set.image));
    }
    if set.restarted_for.is_some() && pod.restarted_for != set.restarted_for {
        return format!("foz.dev/restart is {}", text(&set.restarted_for));
    }
    OUT_OF_DATE.to_owned()
}

/// A process that does not run, or has no lease, starts with the new values anyway or has done so. It must not
/// count here: one that never gets as far as to register would be replaced without end.
fn pending_keys<'input>(input: &'input RollInput, node: &Node<'_>) -> Vec<&'input str> {
    let lives = node.role == Role::Broker && node.runs() && !node.fenced;
    let Some(process) = node.process.as_ref().filter(|_| lives) else {
        return Vec::new();
    };
    let node_id = node.node_id.to_string();
    let pending = input
        .config_pending_restart
        .iter()
        .filter(|pending| pending.incarnations.get(&node_id) == Some(process));
    pending.map(|pending| pending.key.as_str()).collect()
}

impl Node<'_> {
    /// It is to be restarted.
    pub(super) fn is_due(&self) -> bool {
        !self.reasons.is_empty()
    }

    pub(super) fn is_forced(&self) -> bool {
        self.pod.is_some_and(|pod| pod.force_asked)
    }

    pub(super) fn is_leaving(&self) -> bool {
        self.pod.is_some_and(|pod| pod.deleting)
    }

    /// The container's process runs.
    pub(super) fn runs(&self) -> bool {
        self.pod.is_some_and(|pod| pod.running)
    }

    /// Somebody may miss it.
    pub(super) fn serves(&self) -> bool {
        self.away().is_none() && !self.is_unknown_broker
    }

    pub(super) fn trouble(&self) -> Option<&(String, String)> {
        self.pod?.trouble.as_ref()
    }

    /// It does not come up, from the newest template.
    pub(super) fn fails(&self) -> bool {
        let is_newest = self.newest == Some(true) && !self.is_leaving();
        is_newest && self.pod.is_some_and(|pod| !pod.ready && cannot_start(pod))
    }

    pub(super) fn failure(&self) -> String {
        match (self.trouble(), self.pod) {
            (Some((reason, message)), _) if message.is_empty() => reason.clone(),
            (Some((reason, message)), _) => format!("{reason}: {message}"),
            (None, pod) => {
                let restarts = pod.map_or(0, |pod| pod.container_restarts);
                format!("its container has ended {restarts} times and is not ready")
            }
        }
    }

    /// Why it is not there, if it is not.
    pub(super) fn away(&self) -> Option<PodWait> {
        let Some(pod) = self.pod else {
            return Some(PodWait::Missing);
        };
        if pod.deleting {
            Some(PodWait::Leaving)
        } else if !pod.ready || !pod.running {
            Some(PodWait::NotReady)
        } else if self.fenced {
            Some(PodWait::NoLease)
        } else {
            None
        }
    }

    /// The grant is for the process that is there now.
    pub(super) fn is_process(&self, grant: &GrantView) -> bool {
        self.process.as_ref() == Some(&grant.incarnation)
    }

    pub(super) fn replace(&self, more: &str) -> Step {
        Step::Replace {
            pod: self.name.clone(),
            uid: self.uid(),
            reason: format!("{}{more}", self.reasons.join("; ")),
            volumes: self.volumes.clone(),
        }
    }

    /// With a grant; without one for a broker that the quorum does not know, to which it gives none.
    pub(super) fn restart(&self, insist: bool) -> Step {
        let Some(incarnation) = self.process.clone() else {
            return self.replace("; the quorum does not know it, so it has nothing");
        };
        Step::Restart {
            node_id: self.node_id,
            incarnation,
            pod: self.name.clone(),
            uid: self.uid(),
            reason: self.reasons.join("; "),
            insist,
            volumes: self.volumes.clone(),
        }
    }

    fn uid(&self) -> String {
        self.pod.map(|pod| pod.uid.clone()).unwrap_or_default()
    }
}

fn cannot_start(pod: &PodState) -> bool {
    pod.trouble.is_some() || pod.container_restarts >= STARTS_TOLERATED
}
