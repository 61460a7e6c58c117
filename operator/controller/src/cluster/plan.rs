//! Plan: from what is wanted and what is to what to do, with a reason for each. Pure.

use std::collections::BTreeMap;

use foz_crd::ClusterStatus;
use foz_crd::balancing::ScalingStatus;
use serde_json::Value;

use crate::apply::compare::{Difference, difference};
use crate::cluster::build::{Desired, desired};
use crate::cluster::defaults::with_defaults;
use crate::cluster::feature_levels::finalize;
use crate::cluster::observed::{Observed, PodState, QuorumState};
use crate::cluster::owned::{ObjectKey, Owned};
use crate::cluster::roll::input::RollInput;
use crate::cluster::roll::{Next, roll};
use crate::cluster::scaling::even::even_out;
use crate::cluster::scaling::progress::end;
use crate::cluster::scaling::{Scaling, Step, scaling};
use crate::cluster::validate::ValidatedCluster;
use crate::cluster::volumes::{self, Templates};
use crate::cluster::voters::voters;
use crate::cluster::{further_volumes, missing_pods, suspend};
use crate::conditions::Finding;
use crate::config_diff::{self, ConfigDiff};
use crate::events::Notice;
use crate::names::Role;

/// One thing to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Make an object, or make it right.
    Apply {
        /// Which.
        key: ObjectKey,
        /// All fields that the operator sets.
        manifest: Value,
        /// A merge patch to send first: see [`Difference::ForeignEntries`].
        patch_first: Option<Value>,
        /// It is not there as far as we know.
        missing: bool,
        /// It gives the Cluster brokers that it never had, or takes some away.
        scaled: Option<Scaled>,
        /// What differs.
        reason: String,
    },
    /// Delete a StatefulSet and leave its pods, so that it can be made with other claim templates.
    Orphan {
        /// Which.
        name: String,
        /// No other of that name.
        uid: String,
        /// Why.
        reason: String,
    },
    /// Grow the volumes of a role.
    ExpandVolumes {
        /// Their claims.
        claims: Vec<String>,
        /// To this size.
        size: String,
    },
    /// Write down in the status which config keys are ours, before they are set.
    RecordManagedKeys(Vec<String>),
    /// Change settings of all brokers.
    AlterConfigs(ConfigDiff),
    /// Tell the quorum the failure domains of brokers.
    AssignRacks(BTreeMap<i32, String>),
    /// What a change of the number of brokers needs, or uneven ones.
    Scale(Step),
    /// Say that every node knows this level of `foz.version`.
    FinalizeFeatureLevel(i32),
    /// Let controllers that were removed from the quorum come back.
    AddVoters(Vec<i32>),
    /// Take a controller out of the quorum.
    RemoveVoter {
        /// Which.
        node_id: i32,
        /// Its pod.
        pod: String,
    },
}

impl Action {
    /// For metrics.
    #[must_use]
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Apply { missing: true, .. } => "create",
            Self::Apply { missing: false, .. } => "apply",
            Self::Orphan { .. } => "orphan_pods",
            Self::ExpandVolumes { .. } => "expand_volumes",
            Self::RecordManagedKeys(_) => "record_managed_keys",
            Self::AlterConfigs(_) => "alter_configs",
            Self::AssignRacks(_) => "assign_racks",
            Self::Scale(step) => step.label(),
            Self::FinalizeFeatureLevel(_) => "finalize_feature_level",
            Self::AddVoters(_) => "add_voters",
            Self::RemoveVoter { .. } => "remove_voter",
        }
    }
}

/// Brokers that are added or taken away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scaled {
    /// How many there are.
    pub from: i32,
    /// How many there will be.
    pub to: i32,
}

/// What a pass does and what it found.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Plan {
    /// In the order in which they are to be done. None of them takes a pod down.
    pub actions: Vec<Action>,
    /// What the next restart is decided from, after the actions; `None` when no pod is to be restarted.
    pub roll: Option<RollInput>,
    /// What is under way.
    pub progressing: Vec<Finding>,
    /// What needs a person.
    pub degraded: Vec<Finding>,
    /// How many brokers there are to be now.
    pub brokers: i32,
    /// How many there will be: what the settings of the Cluster are for.
    pub staying: i32,
    /// How far scaling has got.
    pub scaling: Option<ScalingStatus>,
    /// What has ended since the last pass.
    pub notices: Vec<Notice>,
}

/// Decides what to do.
#[must_use]
pub fn plan(cluster: &ValidatedCluster, observed: &Observed, status: &ClusterStatus) -> Plan {
    let mut cluster = cluster.clone();
    let kept = further_volumes::keep(&mut cluster, observed);
    let cluster = &cluster;
    if cluster.suspended && !cluster.paused {
        let mut plan = plan_suspended(cluster, observed, status);
        plan.degraded.extend(kept);
        return plan;
    }
    let scaling = scaling(cluster, observed, status);
    let view = observed.quorum.current();
    let mut plan = Plan {
        brokers: scaling.brokers,
        staying: scaling.staying,
        degraded: scaling.degraded.clone(),
        progressing: scaling.progressing.clone(),
        scaling: match view {
            Some(view) => scaling.status(&cluster.name, view),
            None => status.scaling.clone(),
        },
        notices: view
            .and_then(|view| end(status, view))
            .into_iter()
            .collect(),
        ..Plan::default()
    };
    let voters = voters(cluster, observed, status);
    let with_brokers = |brokers: i32| ValidatedCluster {
        brokers,
        controllers: voters.controllers,
        ..cluster.clone()
    };
    let mut now = with_brokers(scaling.brokers);
    keep_restarted_for(&mut now, observed);
    pods_trouble(&now, observed, &mut plan);
    missing_pods::report(&now, observed, &mut plan);
    volumes::report(&now, observed, &mut plan);
    further_volumes::report(&now, observed, &mut plan);
    plan.degraded.extend(kept);
    if cluster.paused {
        let message = "spec.paused is true: nothing is changed";
        plan.progressing.insert(0, Finding::new("Paused", message));
        further_volumes::report_evictions(&now, observed, &mut plan);
        return plan;
    }
    let steps = scaling.steps.iter().cloned();
    plan.actions.extend(steps.map(Action::Scale));
    objects(&now, observed, status, &mut plan);
    volumes::grow(&now, observed, &mut plan);
    settings(&with_brokers(scaling.staying), observed, status, &mut plan);
    racks(observed, &mut plan);
    plan.actions.extend(voters.actions);
    plan.progressing.extend(voters.progressing);
    plan.roll = roll_input(&now, observed, status, &plan);
    further_volumes::report_evictions(&now, observed, &mut plan);
    if is_calm(&scaling, &plan) {
        let even = even_out(cluster, observed);
        plan.actions.extend(even.step.map(Action::Scale));
        plan.progressing.extend(even.progressing);
    }
    let is_at_ease = is_calm(&scaling, &plan);
    plan.actions.extend(finalize(observed, is_at_ease));
    plan
}

/// Nothing but that no pod runs, and that all else is right. Whoever scales, rolls or moves waits.
fn plan_suspended(cluster: &ValidatedCluster, observed: &Observed, status: &ClusterStatus) -> Plan {
    let mut plan = Plan {
        scaling: status.scaling.clone(),
        ..Plan::default()
    };
    let mut now = ValidatedCluster {
        stopped: suspend::stopped(cluster, observed),
        controllers: voters(cluster, observed, status).controllers,
        ..cluster.clone()
    };
    keep_restarted_for(&mut now, observed);
    volumes::report(&now, observed, &mut plan);
    objects(&now, observed, status, &mut plan);
    volumes::grow(&now, observed, &mut plan);
    plan
}

/// No broker comes, goes or restarts.
fn is_calm(scaling: &Scaling, plan: &Plan) -> bool {
    let changes_a_set = plan.actions.iter().any(|action| match action {
        Action::Apply { key, .. } => key.kind == Owned::StatefulSet,
        Action::Orphan { .. } => true,
        _ => false,
    });
    scaling.is_calm() && plan.roll.is_none() && !changes_a_set
}

fn objects(
    cluster: &ValidatedCluster,
    observed: &Observed,
    status: &ClusterStatus,
    plan: &mut Plan,
) {
    let mut waiting = Vec::new();
    let mut now = further_volumes::as_live(cluster, observed);
    let awaits_volumes = now.further_volumes.len() < cluster.further_volumes.len();
    let templates =
        |role: Role, live: &Value| volumes::claim_templates(cluster, observed, status, role, live);
    // Whoever is evicted while there is no set, or one that has more volumes, might not come back.
    let live = observed.live.get(&set_of_brokers(cluster));
    let leaves = live.is_some_and(|live| is_leaving(live, &cluster.uid));
    now.brokers_stay |= leaves && further_volumes::is_one_lacked(cluster, observed);
    let set = live.filter(|_| !leaves);
    now.brokers_stay |= set.is_some_and(|live| {
        let templates = templates(Role::Broker, live);
        !cluster.stopped.contains(&Role::Broker)
            && matches!(templates, Templates::Change { adds: true, .. })
    });
    for Desired { key, mut manifest } in desired(&now) {
        // An operator that has just begun asks first: brokers that are added would be made without the volumes, and restarted.
        let asks_first = awaits_volumes && observed.quorum == QuorumState::Unknown;
        if asks_first && key == set_of_brokers(cluster) {
            volumes::keep_fewer_replicas(&mut manifest, observed);
        }
        let Some(live) = observed.live.get(&key) else {
            let reason = "is missing".to_owned();
            plan.actions.push(Action::Apply {
                key,
                manifest,
                patch_first: None,
                missing: true,
                scaled: None,
                reason,
            });
            continue;
        };
        if is_leaving(live, &cluster.uid) {
            waiting.push(key.to_string());
            continue;
        }
        if let Some(role) = volumes::role_of(cluster, &key) {
            match templates(role, live) {
                Templates::Change { uid, reason, .. } => {
                    let name = key.name;
                    plan.actions.push(Action::Orphan { name, uid, reason });
                    continue;
                }
                Templates::Stay(None) => {}
                Templates::Stay(Some(why)) => {
                    let finding = Finding::new("VolumeTemplateWaits", why);
                    plan.progressing.push(finding);
                }
            }
            volumes::keep_claim_templates(&mut manifest, live);
        }
        let accepted = observed.accepted.get(&key);
        if accepted.is_some_and(|accepted| accepted.is_of(&manifest, live)) {
            continue;
        }
        let (path, patch_first) = match difference(&manifest, live) {
            Difference::None => continue,
            Difference::Fields(path) => (path, None),
            Difference::ForeignEntries { path, patch } => (path, Some(patch)),
        };
        let of_set = || suspend::reason(&manifest, live);
        let reason = volumes::role_of(cluster, &key).and_then(|_| of_set());
        let reason = reason.unwrap_or_else(|| format!("{path} differs"));
        let is_of_brokers = key == set_of_brokers(cluster);
        let scaled = is_of_brokers.then(|| scaled(&manifest, observed)).flatten();
        plan.actions.push(Action::Apply {
            key,
            manifest,
            patch_first,
            missing: false,
            scaled,
            reason,
        });
    }
    if !waiting.is_empty() {
        let message = format!(
            "waits until these are gone, to make them anew: {}",
            waiting.join(", ")
        );
        plan.progressing
            .push(Finding::new("WaitingForDeletion", message));
    }
}

fn set_of_brokers(cluster: &ValidatedCluster) -> ObjectKey {
    ObjectKey {
        kind: Owned::StatefulSet,
        name: cluster.name.of_role(Role::Broker),
    }
}

/// Brokers that the quorum knows already were taken away by a hand: to bring them back is a correction.
fn scaled(manifest: &Value, observed: &Observed) -> Option<Scaled> {
    let from = observed.sets.get(&Role::Broker)?.replicas;
    let to = i32::try_from(manifest["spec"]["replicas"].as_i64()?).ok()?;
    let view = observed.quorum.told();
    let knows_all = view
        .and_then(|view| view.brokers.keys().last())
        .is_some_and(|last| *last >= to - 1);
    let is_scaled = to < from || (from < to && !knows_all);
    // With none it was suspended.
    (from > 0 && to > 0 && is_scaled).then_some(Scaled { from, to })
}

/// It is being deleted, or belongs to another object (a Cluster of the same name that is gone): Kubernetes
/// collects it, and it is made anew then.
fn is_leaving(live: &Value, uid: &str) -> bool {
    let metadata = &live["metadata"];
    let owners = metadata["ownerReferences"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    let of_another = |owner: &Value| owner["controller"] == true && owner["uid"] != uid;
    !metadata["deletionTimestamp"].is_null() || owners.iter().any(of_another)
}

/// What a restart is decided from, where any is to be thought of.
fn roll_input(
    cluster: &ValidatedCluster,
    observed: &Observed,
    status: &ClusterStatus,
    plan: &Plan,
) -> Option<RollInput> {
    let mut input = RollInput::new(cluster, observed, status);
    for (role, set) in &mut input.sets {
        let name = cluster.name.of_role(*role);
        let is_about_to_change = plan.actions.iter().any(|action| match action {
            Action::Apply { key, .. } => key.kind == Owned::StatefulSet && key.name == name,
            Action::Orphan { name: orphaned, .. } => *orphaned == name,
            _ => false,
        });
        let key = ObjectKey {
            kind: Owned::StatefulSet,
            name,
        };
        let live = observed.live.get(&key);
        if is_about_to_change || live.is_none_or(|live| is_leaving(live, &cluster.uid)) {
            set.update_revision = None;
        }
    }
    (roll(&input).next != Next::Nothing).then_some(input)
}

/// The annotation that asked for a restart may be taken away again; in the template its value stays, since taking it
/// out would restart every pod once more. Pods remember it while there is no StatefulSet.
fn keep_restarted_for(cluster: &mut ValidatedCluster, observed: &Observed) {
    for role in Role::ALL {
        let of_pods = || {
            let mut pods = observed.pods.iter().filter(|((of, _), _)| *of == role);
            pods.find_map(|(_, pod)| pod.restarted_for.clone())
        };
        let live = match observed.sets.get(&role) {
            Some(set) => set.restarted_for.clone(),
            None => of_pods(),
        };
        if let Some(live) = live {
            cluster.restarted_for.entry(role).or_insert(live);
        }
    }
}

fn settings(
    cluster: &ValidatedCluster,
    observed: &Observed,
    status: &ClusterStatus,
    plan: &mut Plan,
) {
    let Some(view) = observed.quorum.current() else {
        return;
    };
    let (managed, live) = (&status.managed_config_keys, &view.broker_config);
    let config = with_defaults(&cluster.config, cluster.brokers, managed, live);
    let diff = config_diff::diff(&config, managed, live);
    if diff.is_empty() {
        return;
    }
    let keys = config_diff::managed(&config, managed, live);
    if keys.iter().any(|key| !managed.contains(key)) {
        plan.actions.push(Action::RecordManagedKeys(keys));
    }
    plan.actions.push(Action::AlterConfigs(diff));
}

/// The zone of the node that a broker's pod is on. A broker that is not registered has no rack yet.
fn racks(observed: &Observed, plan: &mut Plan) {
    let Some(view) = observed.quorum.current() else {
        return;
    };
    let rack = |(&(role, ordinal), pod): (&(Role, i32), &PodState)| {
        let zone = observed.zones.get(pod.node.as_ref()?)?;
        let broker = view
            .brokers
            .get(&ordinal)
            .filter(|_| role == Role::Broker)?;
        (broker.rack.as_ref() != Some(zone)).then(|| (ordinal, zone.clone()))
    };
    let racks: BTreeMap<i32, String> = observed.pods.iter().filter_map(rack).collect();
    if !racks.is_empty() {
        plan.actions.push(Action::AssignRacks(racks));
    }
}

fn pods_trouble(cluster: &ValidatedCluster, observed: &Observed, plan: &mut Plan) {
    for (&(role, ordinal), pod) in &observed.pods {
        if let Some((reason, message)) = &pod.trouble {
            let name = cluster.name.pod(role, ordinal);
            let message = format!("{name}: {reason}: {message}");
            plan.degraded.push(Finding::new("PodFailing", message));
        }
    }
}
