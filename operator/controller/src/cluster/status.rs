//! Status: from what a pass saw and did to what people read. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use foz_crd::ClusterStatus;
use foz_crd::cluster::PendingRestart;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;

use crate::cluster::defaults::with_defaults;
use crate::cluster::observed::{Observed, QuorumState, QuorumView};
use crate::cluster::plan::Plan;
use crate::cluster::roll::Roll;
use crate::cluster::suspend;
use crate::cluster::validate::{InvalidField, ValidatedCluster};
use crate::conditions::{Finding, Findings, whole_seconds};
use crate::config_diff;
use crate::names::{CONTROLLER_NODE_ID_BASE, REPLACE_VOLUME_ANNOTATION, RESTART_ANNOTATION, Role};

/// A broker that restarts is back in every ISR within seconds, and a follower that a slow disk held up
/// catches up by itself: only what lasts longer needs a person. It is what Kafka gives a follower to catch
/// up before it counts as out of sync (`replica.lag.time.max.ms`).
const UNDER_REPLICATION_TOLERATED: Duration = Duration::from_secs(30);

/// What came of the actions of a pass.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outcome {
    /// What failed, to be shown.
    pub degraded: Vec<Finding>,
    /// What is not done yet, and why.
    pub progressing: Vec<Finding>,
    /// Config keys that were set or deleted and take effect when brokers restart.
    pub needs_restart: BTreeSet<String>,
    /// Config keys that were deleted.
    pub deleted: BTreeSet<String>,
    /// Where the restarts of pods have got to; `None` when none is to be restarted.
    pub roll: Option<Roll>,
}

/// The status of a Cluster whose fields are all right.
#[must_use]
pub fn status(
    cluster: &ValidatedCluster,
    generation: Option<i64>,
    observed: &Observed,
    plan: &Plan,
    outcome: &Outcome,
    previous: &ClusterStatus,
    now: Timestamp,
) -> ClusterStatus {
    let pods = |role: Role| observed.pods.iter().filter(move |((of, _), _)| *of == role);
    let ready = |role: Role| pods(role).filter(|(_, pod)| pod.ready).count();
    let count = |number: usize| i32::try_from(number).unwrap_or(i32::MAX);
    let view = observed.quorum.told();
    let pending = pending_restart(view, outcome, previous);
    let under_replicated_since = if cluster.suspended && !cluster.paused {
        None
    } else {
        under_replicated_since(view, previous, now)
    };
    // What is not known yet is not judged: an operator that has just taken over asks first.
    let suspended = cluster.suspended && !cluster.paused;
    let asking = observed.quorum == QuorumState::Unknown
        && previous.cluster_id.is_some()
        && !suspended
        && !suspend::was_suspended(&previous.conditions);
    let (observed_generation, conditions) = if asking {
        (previous.observed_generation, previous.conditions.clone())
    } else {
        let tolerated = tolerated_for(under_replicated_since.as_ref(), now).is_some();
        let mut findings = findings(cluster, observed, plan, outcome, previous, &pending);
        if let Some(finding) = view.and_then(under_replication).filter(|_| !suspended) {
            if tolerated {
                findings.progressing.push(finding);
            } else {
                findings.degraded.push(finding);
            }
        }
        (
            generation,
            findings.conditions(&previous.conditions, generation, now),
        )
    };
    let seen = |of: fn(&QuorumView) -> i64, before: Option<i64>| view.map(of).or(before);
    ClusterStatus {
        observed_generation,
        conditions,
        replicas: count(pods(Role::Broker).count()),
        ready_replicas: count(ready(Role::Broker)),
        ready_controllers: count(ready(Role::Controller)),
        selector: Some(selector(cluster)),
        cluster_id: cluster_id(view, previous),
        bootstrap: Some(cluster.name.bootstrap_address()),
        active_controller: active_controller(cluster, view)
            .filter(|_| !suspended || pods(Role::Controller).count() > 0)
            .or_else(|| previous.active_controller.clone().filter(|_| asking)),
        version: view.and_then(version).or_else(|| previous.version.clone()),
        topics: seen(|view| view.topics, previous.topics),
        partitions: seen(|view| view.partitions, previous.partitions),
        offline_partitions: seen(|view| view.offline, previous.offline_partitions),
        under_replicated_partitions: seen(
            |view| view.under_replicated,
            previous.under_replicated_partitions,
        ),
        offline_replicas: seen(
            |view| view.offline_replicas.values().sum(),
            previous.offline_replicas,
        ),
        under_replicated_since,
        scaling: plan.scaling.clone(),
        managed_config_keys: managed_keys(cluster, plan.staying, view, outcome, previous),
        config_pending_restart: pending,
    }
}

/// When a pass has to come although nothing happens: under-replication that lasts becomes a person's
/// business. `None` when time alone changes nothing.
#[must_use]
pub fn look_again_after(status: &ClusterStatus, now: Timestamp) -> Option<Duration> {
    tolerated_for(status.under_replicated_since.as_ref(), now)
}

/// The status of a Cluster with fields that are wrong: what runs goes on running as it is.
#[must_use]
pub fn invalid(
    wrong: &[InvalidField],
    generation: Option<i64>,
    previous: &ClusterStatus,
    now: Timestamp,
) -> ClusterStatus {
    let sentences: Vec<String> = wrong.iter().map(ToString::to_string).collect();
    let finding = Finding::new("InvalidSpec", sentences.join("; "));
    let findings = Findings {
        not_ready: vec![finding.clone()],
        ready_message: String::new(),
        progressing: Vec::new(),
        degraded: vec![finding],
    };
    ClusterStatus {
        observed_generation: generation,
        conditions: findings.conditions(&previous.conditions, generation, now),
        ..previous.clone()
    }
}

fn findings(
    cluster: &ValidatedCluster,
    observed: &Observed,
    plan: &Plan,
    outcome: &Outcome,
    previous: &ClusterStatus,
    pending: &[PendingRestart],
) -> Findings {
    if cluster.suspended && !cluster.paused {
        let failed = plan.degraded.iter().chain(&outcome.degraded);
        let failed = failed.cloned().collect();
        return suspend::findings(cluster, observed, &plan.progressing, failed);
    }
    let mut not_ready = Vec::new();
    let (rolling, mut degraded) = outcome
        .roll
        .as_ref()
        .map(Roll::findings)
        .unwrap_or_default();
    let mut progressing = rolling;
    degraded.extend(plan.degraded.iter().cloned());
    let wanted = [
        (Role::Controller, cluster.controllers.get()),
        (Role::Broker, plan.brokers),
    ];
    let mut counts = Vec::new();
    for (role, wanted) in wanted {
        let in_role = |(of, ordinal): &(Role, i32)| *of == role && *ordinal < wanted;
        let ready = observed
            .pods
            .iter()
            .filter(|(key, pod)| in_role(key) && pod.ready)
            .count();
        let sentence = format!("{ready} of {wanted} {}s are ready", role.as_str());
        if i32::try_from(ready).unwrap_or(i32::MAX) < wanted {
            not_ready.push(Finding::new("PodsNotReady", sentence.clone()));
        }
        counts.push(sentence);
    }
    match &observed.quorum {
        QuorumState::Followed(view) | QuorumState::Reconnecting(view) => {
            other_cluster(view, previous, &mut degraded);
            if view.offline > 0 {
                let message = format!(
                    "{} of {} partitions have no leader: nobody can write to them or read from them",
                    view.offline, view.partitions
                );
                degraded.push(Finding::new("OfflinePartitions", message));
            }
            degraded.extend(offline_replicas(cluster, view));
        }
        QuorumState::Unknown | QuorumState::Lost(_) if previous.cluster_id.is_none() => {
            let mut message = "the controllers have not formed a quorum yet".to_owned();
            if let QuorumState::Lost(error) = &observed.quorum {
                message = format!("{message}: {error}");
            }
            not_ready.push(Finding::new("QuorumForming", message));
        }
        QuorumState::Unknown => {}
        QuorumState::Lost(error) => {
            let message = format!("the metadata quorum does not answer: {error}");
            not_ready.push(Finding::new("QuorumUnavailable", message.clone()));
            degraded.push(Finding::new("QuorumUnavailable", message));
        }
    }
    if !not_ready.is_empty() && !cluster.paused {
        let sentences: Vec<&str> = not_ready
            .iter()
            .map(|finding| finding.message.as_str())
            .collect();
        progressing.push(Finding::new("Starting", sentences.join("; ")));
    }
    progressing.extend(plan.progressing.iter().cloned());
    if !pending.is_empty() {
        let keys: Vec<&str> = pending.iter().map(|pending| pending.key.as_str()).collect();
        let message = format!("takes effect when the brokers restart: {}", keys.join(", "));
        progressing.push(Finding::new("ConfigNeedsRestart", message));
    }
    progressing.extend(outcome.progressing.iter().cloned());
    degraded.extend(outcome.degraded.iter().cloned());
    Findings {
        not_ready,
        ready_message: counts.join(", "),
        progressing,
        degraded,
    }
}

/// While the quorum is silent, what it told last stands. A time that has not come yet is of a clock that
/// was set back since.
fn under_replicated_since(
    view: Option<&QuorumView>,
    previous: &ClusterStatus,
    now: Timestamp,
) -> Option<Time> {
    let before = previous.under_replicated_since.clone();
    match view {
        None => before,
        Some(view) if view.under_replicated == 0 => None,
        Some(_) => before
            .filter(|since| since.0 <= now)
            .or(Some(Time(whole_seconds(now)))),
    }
}

/// How much longer under-replication is nobody's business; `None` when it is, and when there is none.
fn tolerated_for(since: Option<&Time>, now: Timestamp) -> Option<Duration> {
    let lasted = now.duration_since(since?.0);
    let lasted = Duration::try_from(lasted).unwrap_or_default();
    UNDER_REPLICATION_TOLERATED
        .checked_sub(lasted)
        .filter(|left| !left.is_zero())
}

fn under_replication(view: &QuorumView) -> Option<Finding> {
    let count = view.under_replicated;
    let down: Vec<String> = view
        .brokers
        .iter()
        .filter(|(_, broker)| broker.fenced)
        .map(|(node_id, _)| node_id.to_string())
        .collect();
    let down = match down.as_slice() {
        [] => String::new(),
        ids => format!("; brokers that are down: {}", ids.join(", ")),
    };
    let message = format!(
        "{count} of {} partitions have fewer in-sync replicas than replicas{down}",
        view.partitions
    );
    (count > 0).then(|| Finding::new("UnderReplicated", message))
}

/// Brokers of which a disk has failed.
fn offline_replicas(cluster: &ValidatedCluster, view: &QuorumView) -> Option<Finding> {
    let of_broker = |(node_id, count): (&i32, &i64)| {
        let pod = cluster.name.pod(Role::Broker, *node_id);
        format!("{pod} cannot use {count} of its replicas")
    };
    let brokers: Vec<String> = view.offline_replicas.iter().map(of_broker).collect();
    let message = format!(
        "{}: a disk has failed, and its log says which; a restart of the pod ({RESTART_ANNOTATION}) tries the disk again, {REPLACE_VOLUME_ANNOTATION}=NUMBER on the pod gives it an empty one, which is filled from the others",
        brokers.join(", ")
    );
    (!brokers.is_empty()).then(|| Finding::new("ReplicasOffline", message))
}

/// The id lives on the controllers' volumes. Another one than before means other volumes.
fn other_cluster(view: &QuorumView, previous: &ClusterStatus, degraded: &mut Vec<Finding>) {
    if let Some(before) = previous
        .cluster_id
        .as_ref()
        .filter(|id| **id != view.cluster_id)
    {
        let message = format!(
            "the controllers say that they are cluster {}, and they were cluster {before}: their volumes have been exchanged",
            view.cluster_id
        );
        degraded.push(Finding::new("ClusterIdChanged", message));
    }
}

fn cluster_id(view: Option<&QuorumView>, previous: &ClusterStatus) -> Option<String> {
    let told = || {
        view.map(|view| view.cluster_id.clone())
            .filter(|id| !id.is_empty())
    };
    previous.cluster_id.clone().or_else(told)
}

fn active_controller(cluster: &ValidatedCluster, view: Option<&QuorumView>) -> Option<String> {
    let ordinal = view?.active_node_id - CONTROLLER_NODE_ID_BASE;
    (ordinal >= 0).then(|| cluster.name.pod(Role::Controller, ordinal))
}

/// One version, or all of them while they differ.
fn version(view: &QuorumView) -> Option<String> {
    let living = view.brokers.values().filter(|broker| !broker.fenced);
    let versions: BTreeSet<&str> = living.map(|broker| broker.version.as_str()).collect();
    let versions: Vec<&str> = versions
        .into_iter()
        .filter(|version| !version.is_empty())
        .collect();
    (!versions.is_empty()).then(|| versions.join(", "))
}

fn selector(cluster: &ValidatedCluster) -> String {
    let labels = cluster.name.selector(Role::Broker);
    let pairs: Vec<String> = labels
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    pairs.join(",")
}

fn managed_keys(
    cluster: &ValidatedCluster,
    brokers: i32,
    view: Option<&QuorumView>,
    outcome: &Outcome,
    previous: &ClusterStatus,
) -> Vec<String> {
    let Some(view) = view else {
        return previous.managed_config_keys.clone();
    };
    if cluster.paused || cluster.suspended {
        return previous.managed_config_keys.clone();
    }
    let managed = &previous.managed_config_keys;
    let mut left = view.broker_config.clone();
    left.retain(|key, _| !outcome.deleted.contains(key));
    let config = with_defaults(&cluster.config, brokers, managed, &left);
    config_diff::managed(&config, managed, &left)
}

/// A key waits until every process is gone that was started before it changed.
fn pending_restart(
    view: Option<&QuorumView>,
    outcome: &Outcome,
    previous: &ClusterStatus,
) -> Vec<PendingRestart> {
    let Some(view) = view else {
        return previous.config_pending_restart.clone();
    };
    let now: BTreeMap<String, String> = view
        .brokers
        .iter()
        .map(|(node_id, broker)| (node_id.to_string(), broker.incarnation.clone()))
        .collect();
    let mut pending: BTreeMap<String, BTreeMap<String, String>> = previous
        .config_pending_restart
        .iter()
        .map(|pending| (pending.key.clone(), pending.incarnations.clone()))
        .collect();
    for incarnations in pending.values_mut() {
        incarnations.retain(|node_id, incarnation| now.get(node_id) == Some(incarnation));
    }
    pending.extend(
        outcome
            .needs_restart
            .iter()
            .map(|key| (key.clone(), now.clone())),
    );
    let waits = pending
        .into_iter()
        .filter(|(_, incarnations)| !incarnations.is_empty());
    waits
        .map(|(key, incarnations)| PendingRestart { key, incarnations })
        .collect()
}
