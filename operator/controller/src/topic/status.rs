//! Status: from what a pass saw and did to what people read. Pure.

use foz_crd::TopicStatus;
use k8s_openapi::jiff::Timestamp;

use crate::cluster::validate::InvalidField;
use crate::conditions::{Finding, Findings};
use crate::config_diff;
use crate::quorum::view::TopicView;
use crate::topic::plan::{Observed, Plan};
use crate::topic::validate::ValidatedTopic;

/// What came of the actions of a pass.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outcome {
    /// What failed or was refused, and keeps the topic from being as it should be.
    pub failed: Vec<Finding>,
    /// Settings that were refused, while the topic serves.
    pub refused: Vec<Finding>,
    /// The topic as an action left it.
    pub topic: Option<TopicView>,
    /// The id that this object answers for.
    pub topic_id: Option<String>,
    /// Whether the topic may have been made without our knowing; `None` for as before.
    pub creating: Option<bool>,
    /// The config keys that are ours, as written down by an action.
    pub managed: Option<Vec<String>>,
}

/// The status of a Topic whose fields are all right.
#[must_use]
pub fn status(
    topic: &ValidatedTopic,
    generation: Option<i64>,
    observed: &Observed,
    plan: &Plan,
    outcome: &Outcome,
    previous: &TopicStatus,
    now: Timestamp,
) -> TopicStatus {
    let waits = plan
        .blocked
        .first()
        .is_some_and(|finding| finding.reason == "WaitingForQuorum");
    if waits && previous.topic_id.is_some() && previous.observed_generation == generation {
        // Nothing is known that was not known before: what was said stays.
        return previous.clone();
    }
    let live = outcome
        .topic
        .as_ref()
        .or_else(|| observed.live.as_ref().and_then(Option::as_ref));
    // What is not this object's is not counted as its own.
    let live = live.filter(|_| plan.blocked.is_empty());
    let managed = outcome
        .managed
        .as_ref()
        .unwrap_or(&previous.managed_config_keys);
    let managed = match live {
        Some(live) if outcome.failed.is_empty() => {
            config_diff::managed(&topic.config, managed, &live.config)
        }
        _ => managed.clone(),
    };
    TopicStatus {
        observed_generation: generation,
        conditions: findings(topic, live, plan, outcome).conditions(
            &previous.conditions,
            generation,
            now,
        ),
        topic_name: Some(topic.name.clone()),
        topic_id: outcome
            .topic_id
            .clone()
            .or_else(|| previous.topic_id.clone()),
        creating: outcome.creating.unwrap_or(previous.creating),
        partitions: live.map(|live| live.partitions).or(previous.partitions),
        replication_factor: live
            .map(|live| live.replication_factor)
            .or(previous.replication_factor),
        offline_partitions: live
            .map(|live| live.offline)
            .or(previous.offline_partitions),
        under_replicated_partitions: live
            .map(|live| live.under_replicated)
            .or(previous.under_replicated_partitions),
        managed_config_keys: managed,
    }
}

/// The status of a Topic with fields that are wrong: what there is stays as it is.
#[must_use]
pub fn invalid(
    wrong: &[InvalidField],
    generation: Option<i64>,
    previous: &TopicStatus,
    now: Timestamp,
) -> TopicStatus {
    let sentences: Vec<String> = wrong.iter().map(ToString::to_string).collect();
    let finding = Finding::new("InvalidSpec", sentences.join("; "));
    blocked(vec![finding], generation, previous, now)
}

/// The status of a Topic of which nothing is done, as while its deletion waits.
#[must_use]
pub fn blocked(
    findings: Vec<Finding>,
    generation: Option<i64>,
    previous: &TopicStatus,
    now: Timestamp,
) -> TopicStatus {
    let findings = Findings {
        not_ready: findings.clone(),
        ready_message: String::new(),
        progressing: Vec::new(),
        degraded: findings,
    };
    TopicStatus {
        observed_generation: generation,
        conditions: findings.conditions(&previous.conditions, generation, now),
        ..previous.clone()
    }
}

fn findings(
    topic: &ValidatedTopic,
    live: Option<&TopicView>,
    plan: &Plan,
    outcome: &Outcome,
) -> Findings {
    let mut not_ready = plan.blocked.clone();
    not_ready.extend(outcome.failed.iter().cloned());
    // Such waiting is no person's business: the Cluster says what is wrong with it.
    let waits = |finding: &&Finding| {
        matches!(
            finding.reason,
            "WaitingForQuorum" | "WaitingForBrokers" | "ClusterPaused" | "ClusterSuspended"
        )
    };
    let progressing = not_ready.iter().filter(waits).cloned().collect();
    let mut degraded: Vec<Finding> = not_ready
        .iter()
        .filter(|finding| !waits(finding))
        .cloned()
        .collect();
    degraded.extend(plan.refused.iter().chain(&outcome.refused).cloned());
    if let Some(live) = live.filter(|live| live.offline > 0) {
        let message = format!(
            "{} of {} partitions have no leader: nobody can write to them or read from them",
            live.offline, live.partitions
        );
        not_ready.push(Finding::new("OfflinePartitions", message.clone()));
        degraded.push(Finding::new("OfflinePartitions", message));
    }
    let ready_message = live.map_or_else(
        || format!("topic {} exists", topic.name),
        |live| {
            format!(
                "partitions: {}, replication factor: {}",
                live.partitions, live.replication_factor
            )
        },
    );
    Findings {
        not_ready,
        ready_message,
        progressing,
        degraded,
    }
}
