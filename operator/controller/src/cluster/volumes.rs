//! Volumes: growing them, the claim templates of brokers that are still to come, and what the storage says. Pure.
//!
//! Claims are grown one by one, for Kubernetes lets nobody change the claim templates of a StatefulSet. So that a broker
//! which is added later gets the new size, the StatefulSet is made anew around its pods: deleted with its pods
//! orphaned, and applied with the new templates. The pods' template stays what it was, and with it the revision: the
//! pods are adopted again and none is restarted. Whoever stops in between leaves pods without a StatefulSet, which the
//! next pass makes: see [`without_set`]. A volume that is added comes the same way, and the pods' template with it: they are
//! restarted after that, one by one. See [`super::further_volumes`].

use foz_crd::ClusterStatus;
use foz_crd::quantity::quantity_millis;
use serde_json::{Value, json};

use crate::cluster::further_volumes::{self, of_templates};
use crate::cluster::observed::{ClaimState, Observed, PodState, SetState};
use crate::cluster::owned::{ObjectKey, Owned};
use crate::cluster::plan::{Action, Plan};
use crate::cluster::roll::input::RollInput;
use crate::cluster::roll::volume::{has, meant};
use crate::cluster::roll::{Next, Step, roll};
use crate::cluster::unreachable_volumes;
use crate::cluster::validate::{ValidatedCluster, VolumeSpec};
use crate::conditions::Finding;
use crate::names::{REPLACE_VOLUME_ANNOTATION, Role};
use crate::volume_id::VolumeId;

/// What becomes of the claim templates of a StatefulSet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Templates {
    /// They are right, or stay as they are for now; then why.
    Stay(Option<String>),
    /// The StatefulSet is made anew around its pods.
    Change {
        /// No other StatefulSet of this name is meant.
        uid: String,
        /// Why.
        reason: String,
        /// Not all pods will have the volumes of the next templates.
        adds: bool,
    },
}

/// What is to become of the claim templates.
#[derive(Default)]
struct Changes {
    /// In words.
    words: Vec<String>,
    /// Volumes are added.
    adds: bool,
    /// Volumes that hold nothing are taken out again, or are to be of another class.
    takes_back: bool,
}

/// Decides what becomes of the claim templates. A pod that goes while there is no StatefulSet would not come back, so
/// nothing is done while one is restarted or about to be.
pub(super) fn claim_templates(
    cluster: &ValidatedCluster,
    observed: &Observed,
    status: &ClusterStatus,
    role: Role,
    live: &Value,
) -> Templates {
    let changes = changes(cluster, role, live);
    if changes.words.is_empty() {
        return Templates::Stay(None);
    }
    let words = changes.words.join(", ");
    // Who takes a volume back does it because restarts wait for that volume.
    let waits = if changes.takes_back {
        under_way(cluster, observed, status, role)
    } else {
        let unwell = || unwell(cluster, observed).filter(|_| changes.adds);
        in_the_way(cluster, observed, status, role).or_else(unwell)
    };
    let classes = || further_volumes::awaited_class(cluster, observed);
    let waits = waits.or_else(|| classes().filter(|_| changes.adds || changes.takes_back));
    if let Some(waits) = waits {
        let name = cluster.name.of_role(role);
        return Templates::Stay(Some(format!(
            "StatefulSet {name} is made anew around its pods when {waits}: {words}"
        )));
    }
    Templates::Change {
        uid: live["metadata"]["uid"]
            .as_str()
            .unwrap_or_default()
            .to_owned(),
        reason: words,
        adds: changes.adds || changes.takes_back,
    }
}

/// Of a Cluster that names all volumes that hold something, in the classes that they have: see [`further_volumes::keep`].
fn changes(cluster: &ValidatedCluster, role: Role, live: &Value) -> Changes {
    let live = of_templates(live);
    let mut changes = Changes::default();
    if live.is_empty() {
        return changes;
    }
    let wanted = cluster.volumes_of(role);
    for (id, wanted) in &wanted {
        let size = &wanted.size.0;
        let Some(has) = live.get(id) else {
            changes.adds = true;
            changes.words.push(format!("volume {id} ({size}) is added"));
            continue;
        };
        if *id != VolumeId::FIRST && has.class_name != wanted.class_name {
            changes.takes_back = true;
            let class = |spec: &VolumeSpec| {
                let name = spec.class_name.as_ref();
                name.map_or_else(|| "the default".to_owned(), Clone::clone)
            };
            changes.words.push(format!(
                "volume {id}, which holds nothing, is to be of StorageClass {} in place of {}",
                class(wanted),
                class(has)
            ));
        }
        if value(&has.size.0) < value(size) {
            let of = match *id {
                VolumeId::FIRST => "new volumes".to_owned(),
                _ => format!("new volumes {id}"),
            };
            let has = &has.size.0;
            let words = format!("{of} are to have {size} in place of {has}");
            changes.words.push(words);
        }
    }
    for id in live.keys().filter(|id| !wanted.contains_key(id)) {
        changes.takes_back = true;
        let words = format!("volume {id}, which holds nothing, is taken back");
        changes.words.push(words);
    }
    changes
}

/// Whether a StatefulSet of brokers that is not there may be made with volumes that are added: its pods were there before.
pub(super) fn may_add_without_set(cluster: &ValidatedCluster, observed: &Observed) -> bool {
    let mut pods = observed
        .pods
        .iter()
        .filter(|((role, _), _)| *role == Role::Broker);
    let goes = pods.any(|(_, pod)| pod.deleting);
    let stops = || {
        observed
            .quorum
            .told()
            .is_some_and(|it| !it.grants.is_empty())
    };
    !goes
        && !stops()
        && unwell(cluster, observed).is_none()
        && further_volumes::awaited_class(cluster, observed).is_none()
}

/// What is not well with the brokers. None of them is made anew before those of smaller numbers have been restarted with a
/// volume that is added, and the quorum would deny that for want of one that does not serve: so all have to, before.
fn unwell(cluster: &ValidatedCluster, observed: &Observed) -> Option<String> {
    let set = observed.sets.get(&Role::Broker)?;
    // While none is to run, nobody is in the way of anybody.
    if set.replicas == 0 {
        return None;
    }
    let Some(quorum) = observed.quorum.current() else {
        return Some("the metadata quorum answers".to_owned());
    };
    // While there is no set, its last pod may be away too.
    let known = quorum.brokers.keys().rfind(|id| **id < cluster.brokers);
    let last = known.map_or(0, |id| id + 1);
    for ordinal in 0..set.replicas.max(last) {
        let name = cluster.name.pod(Role::Broker, ordinal);
        if cluster.hold.contains(&name) {
            return Some(format!("{name} is off spec.hold"));
        }
        let pod = observed.pods.get(&(Role::Broker, ordinal));
        if pod.is_none_or(|pod| !pod.ready || !pod.running) {
            return Some(format!("{name} is ready"));
        }
        let broker = quorum.brokers.get(&ordinal);
        if broker.is_none_or(|broker| broker.fenced) {
            return Some(format!("{name} has a lease of the quorum"));
        }
    }
    let lack = quorum.under_replicated;
    (lack > 0).then(|| format!("every replica is in sync ({lack} partitions lack some)"))
}

fn in_the_way(
    cluster: &ValidatedCluster,
    observed: &Observed,
    status: &ClusterStatus,
    role: Role,
) -> Option<String> {
    let set = observed.sets.get(&role)?;
    if set.update_revision.is_none() {
        return Some("Kubernetes has seen its newest template".to_owned());
    }
    for ordinal in 0..set.replicas {
        let pod = observed.pods.get(&(role, ordinal));
        if pod.is_none_or(|pod| pod.deleting) {
            return Some(format!("{} is back", cluster.name.pod(role, ordinal)));
        }
    }
    let left = roll(&RollInput::new(cluster, observed, status)).left;
    if !left.is_empty() {
        return Some(format!("these are restarted: {}", left.join(", ")));
    }
    stopping(observed)
}

/// A pod is restarted just now. Others may have to be, and wait.
fn under_way(
    cluster: &ValidatedCluster,
    observed: &Observed,
    status: &ClusterStatus,
    role: Role,
) -> Option<String> {
    let mut pods = observed.pods.iter().filter(|((of, _), _)| *of == role);
    if let Some(((_, ordinal), _)) = pods.find(|(_, pod)| pod.deleting) {
        return Some(format!("{} is back", cluster.name.pod(role, *ordinal)));
    }
    if let Next::Do(Step::Restart { pod, .. } | Step::Replace { pod, .. }) =
        roll(&RollInput::new(cluster, observed, status)).next
    {
        return Some(format!("{pod} is restarted"));
    }
    stopping(observed)
}

fn stopping(observed: &Observed) -> Option<String> {
    let quorum = observed.quorum.told()?;
    let stopping = quorum.grants.keys().next()?;
    Some(format!("node {stopping}, which may stop, is back"))
}

/// While there is no StatefulSet, its pods say how many there are to be and what they were restarted for: nobody is
/// taken down by what the next one says.
#[must_use]
pub fn without_set<'pod>(pods: impl Iterator<Item = (i32, &'pod PodState)>) -> Option<SetState> {
    let mut replicas = 0;
    let mut restarted_for = None;
    for (ordinal, pod) in pods.filter(|(_, pod)| !pod.deleting) {
        replicas = replicas.max(ordinal + 1);
        restarted_for = restarted_for.or_else(|| pod.restarted_for.clone());
    }
    (replicas > 0).then(|| SetState {
        replicas,
        restarted_for,
        ..SetState::default()
    })
}

/// Grows claims, and says how that goes.
pub(super) fn grow(cluster: &ValidatedCluster, observed: &Observed, plan: &mut Plan) {
    let volumes = |role| {
        cluster
            .volumes_of(role)
            .into_iter()
            .map(move |it| (role, it))
    };
    for (role, (id, volume)) in Role::ALL.into_iter().flat_map(volumes) {
        let wanted = &volume.size.0;
        // A volume that somebody grew further is left as it is.
        let is_too_small =
            |claim: &ClaimState| !claim.deleting && value(&claim.requested) < value(wanted);
        let claims = observed.claims.iter();
        let too_small = claims
            .filter(|((of, _, volume), claim)| (*of, *volume) == (role, id) && is_too_small(claim));
        let claims: Vec<String> = too_small
            .map(|((_, ordinal, _), _)| cluster.name.claim(role, *ordinal, id))
            .collect();
        if !claims.is_empty() {
            let size = wanted.clone();
            plan.actions.push(Action::ExpandVolumes { claims, size });
        }
    }
}

/// What of the volumes is under way, and what needs a person. Told also of a Cluster that is paused.
pub(super) fn report(cluster: &ValidatedCluster, observed: &Observed, plan: &mut Plan) {
    unclear(cluster, observed, plan);
    unreachable_volumes::report(cluster, observed, plan);
    let mut growing = Vec::new();
    for ((role, ordinal, id), claim) in &observed.claims {
        let name = cluster.name.claim(*role, *ordinal, *id);
        if let Some(finding) = gone(cluster, observed, (*role, *ordinal, *id), claim) {
            plan.degraded.push(finding);
            continue;
        }
        let Some(capacity) = &claim.capacity else {
            if let Some(finding) = of_another_class(cluster, (*role, *id), &name, claim) {
                plan.degraded.push(finding);
            } else if let Some(warning) = claim.warning.as_ref().filter(|_| claim.is_pending()) {
                let message = format!(
                    "{name} ({}) has no volume: {}: {}",
                    claim.requested, warning.reason, warning.message
                );
                plan.degraded.push(Finding::new("VolumeMissing", message));
            }
            continue;
        };
        if value(capacity) >= value(&claim.requested) {
            continue;
        }
        let sizes = format!("{name} from {capacity} to {}", claim.requested);
        if let Some(words) = failure(claim) {
            let message = format!("{sizes} does not grow: {words}");
            plan.degraded
                .push(Finding::new("VolumeResizeFailed", message));
        } else {
            let words = claim.answers.iter().map(|it| format!(" ({})", it.words()));
            growing.push(format!("{sizes}{}", words.collect::<String>()));
        }
    }
    if !growing.is_empty() {
        let message = format!("volumes grow: {}", growing.join(", "));
        plan.progressing
            .push(Finding::new("VolumesGrowing", message));
    }
}

/// A claim that was made before its class was put right: Kubernetes leaves it, and what it is of cannot be changed.
fn of_another_class(
    cluster: &ValidatedCluster,
    (role, id): (Role, VolumeId),
    name: &str,
    claim: &ClaimState,
) -> Option<Finding> {
    let volumes = cluster.volumes_of(role);
    let wanted = volumes.get(&id).filter(|_| id != VolumeId::FIRST)?;
    let (wanted, has) = (wanted.class_name.as_ref()?, claim.class_name.as_ref()?);
    (claim.is_pending() && !claim.deleting && wanted != has).then(|| {
        let message = format!(
            "{name} has no volume, and is of StorageClass {has} where {wanted} is wanted: delete it, it holds nothing, and Kubernetes makes another"
        );
        Finding::new("VolumeMissing", message)
    })
}

/// Pods that are to get an empty volume, and it is not said which.
fn unclear(cluster: &ValidatedCluster, observed: &Observed, plan: &mut Plan) {
    for (&(role, ordinal), pod) in &observed.pods {
        let has = has(pod, &observed.claims, role, ordinal);
        let Some(value) = &pod.replace_asked else {
            continue;
        };
        if meant(value, &has).is_none() {
            let ids: Vec<String> = has.iter().map(ToString::to_string).collect();
            let message = format!(
                "{REPLACE_VOLUME_ANNOTATION} on pod {} is {value:?}; right are numbers of its volumes ({}) with commas between, or all",
                cluster.name.pod(role, ordinal),
                ids.join(", ")
            );
            let finding = Finding::new("ReplaceVolumeUnclear", message);
            plan.degraded.push(finding);
        }
    }
}

/// The volume is gone, or goes. What to do is said, and what it costs.
fn gone(
    cluster: &ValidatedCluster,
    observed: &Observed,
    (role, ordinal, id): (Role, i32, VolumeId),
    claim: &ClaimState,
) -> Option<Finding> {
    let name = cluster.name.claim(role, ordinal, id);
    let pod_name = cluster.name.pod(role, ordinal);
    let pod = observed.pods.get(&(role, ordinal));
    let has = pod.map(|pod| has(pod, &observed.claims, role, ordinal));
    let annotation = match has {
        Some(has) if has.len() > 1 => format!("{REPLACE_VOLUME_ANNOTATION}={id}"),
        _ => REPLACE_VOLUME_ANNOTATION.to_owned(),
    };
    if claim.deleting {
        let message = format!(
            "{name} is being deleted: {pod_name} loses its volume with its next restart, and is filled from the others then; the annotation {annotation} on the pod does that at once, where nothing is lost by it"
        );
        return Some(Finding::new("VolumeDeleting", message));
    }
    if claim.phase.as_deref() == Some("Lost") {
        let message = format!(
            "the volume of {name} does not exist any more; the annotation {annotation} on pod {pod_name} gives it an empty one, to be filled from the others"
        );
        return Some(Finding::new("VolumeLost", message));
    }
    None
}

/// Why the storage does not grow a volume, in its own words.
fn failure(claim: &ClaimState) -> Option<String> {
    let answer = claim.answers.iter().find(|answer| answer.failed);
    let warning = claim.warning.as_ref();
    answer
        .map(super::observed::StorageAnswer::words)
        .or_else(|| Some(format!("{}: {}", warning?.reason, warning?.message)))
}

/// Whether the live claim templates are kept in a manifest that is about to be applied.
pub(super) fn keep_claim_templates(manifest: &mut Value, live: &Value) {
    let templates = &live["spec"]["volumeClaimTemplates"];
    if templates.is_array() {
        manifest["spec"]["volumeClaimTemplates"] = templates.clone();
    }
}

/// No pods are added to those that there are to be.
pub(super) fn keep_fewer_replicas(manifest: &mut Value, observed: &Observed) {
    let live = observed
        .sets
        .get(&Role::Broker)
        .map(|set| i64::from(set.replicas));
    let replicas = &mut manifest["spec"]["replicas"];
    if live.is_some_and(|live| Some(live) < replicas.as_i64()) {
        *replicas = json!(live);
    }
}

/// The role of a StatefulSet.
pub(super) fn role_of(cluster: &ValidatedCluster, key: &ObjectKey) -> Option<Role> {
    let is_of = |role: &Role| cluster.name.of_role(*role) == key.name;
    Role::ALL
        .into_iter()
        .find(is_of)
        .filter(|_| key.kind == Owned::StatefulSet)
}

/// The merge patch that grows a claim.
#[must_use]
pub fn expansion(size: &str) -> Value {
    json!({"spec": {"resources": {"requests": {"storage": size}}}})
}

fn value(text: &str) -> i128 {
    quantity_millis(text).unwrap_or_default()
}
