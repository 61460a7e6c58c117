//! Status: from what a pass saw and did to what people read. Pure.

use foz_crd::TopicStatus;
use k8s_openapi::jiff::Timestamp;

use crate::cluster::validate::InvalidField;
use crate::conditions::{Finding, Findings};
use crate::config_diff;
use crate::quorum::view::{Factor, TopicView};
use crate::topic::plan::{Observed, Plan};
use crate::topic::replication_factor::{Step, step};
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
    /// The replication factor that the quorum was asked for, and did not refuse.
    pub replication_factor_asked: Option<i32>,
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
    let under_way = UnderWay::of(topic, live, outcome, previous);
    TopicStatus {
        observed_generation: generation,
        conditions: findings(topic, live, plan, outcome, under_way).conditions(
            &previous.conditions,
            generation,
            now,
        ),
        topic_name: Some(topic.name.clone()),
        topic_id: outcome
            .topic_id
            .clone()
            .or_else(|| previous.topic_id.clone()),
        partitions: live.map(|live| live.partitions).or(previous.partitions),
        replication_factor: live
            .map(|live| live.replication_factor)
            .or(previous.replication_factor),
        replication_factor_under_way: under_way.to,
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

/// The reason of a deletion that goes on.
const DELETING: &str = "Deleting";

/// The status of a Topic of which nothing is done, as while its deletion waits.
#[must_use]
pub fn blocked(
    findings: Vec<Finding>,
    generation: Option<i64>,
    previous: &TopicStatus,
    now: Timestamp,
) -> TopicStatus {
    let (progressing, degraded) = findings
        .iter()
        .cloned()
        .partition(|finding: &Finding| is_waiting(&finding));
    let findings = Findings {
        not_ready: findings,
        ready_message: String::new(),
        progressing,
        degraded,
    };
    TopicStatus {
        observed_generation: generation,
        conditions: findings.conditions(&previous.conditions, generation, now),
        ..previous.clone()
    }
}

/// What becomes of the replication factor.
#[derive(Debug, Clone, Copy)]
struct UnderWay {
    step: Step,
    /// What partitions are on their way to, as this object has asked for.
    to: Option<i32>,
}

/// The reason of a replication factor that is on its way.
const CHANGING: &str = "ReplicationFactorChanging";

impl UnderWay {
    fn of(
        topic: &ValidatedTopic,
        live: Option<&TopicView>,
        outcome: &Outcome,
        previous: &TopicStatus,
    ) -> Self {
        let before = previous.replication_factor_under_way;
        let (Some(wanted), Some(live)) = (topic.replication_factor, live) else {
            let to = before.filter(|_| live.is_none());
            return Self {
                step: Step::AsWanted,
                to,
            };
        };
        let asked = outcome.replication_factor_asked;
        let step = step(wanted, asked.or(before), &live.factors);
        let to = match step {
            Step::AsWanted | Step::Elsewhere { .. } => None,
            Step::UnderWay { .. } => Some(wanted),
            // Refused: what was under way before goes on.
            Step::Ask => asked.or(before),
        };
        Self { step, to }
    }

    /// The spec is not yet what is.
    fn finding(self, topic: &ValidatedTopic, live: Option<&TopicView>) -> Option<Finding> {
        let (live, wanted) = (live?, topic.replication_factor?);
        let has = |factor: &&Factor| factor.now == wanted && factor.target == wanted;
        let done = match self.step {
            Step::UnderWay { done } => done,
            // The metadata tells of it in a moment.
            Step::Ask if self.to == Some(wanted) => {
                let factors = live.factors.iter().filter(has);
                factors.map(|factor| factor.partitions).sum()
            }
            Step::Ask | Step::AsWanted | Step::Elsewhere { .. } => return None,
        };
        let message = format!(
            "{done} of {} partitions have replication factor {wanted}, the others are on their way to it",
            live.partitions
        );
        Some(Finding::new(CHANGING, message))
    }

    fn elsewhere(self, topic: &ValidatedTopic) -> Option<Finding> {
        let Step::Elsewhere { partitions } = self.step else {
            return None;
        };
        let message = format!(
            "partitions that somebody else is bringing to another number of replicas: {partitions}; when that is over they \
             are brought to spec.replicationFactor, which is {}",
            topic.replication_factor?
        );
        Some(Finding::new("ReassignmentUnderWay", message))
    }
}

/// Such waiting is no person's business: it ends by itself, or the Cluster says what is wrong with it.
fn is_waiting(finding: &&Finding) -> bool {
    matches!(
        finding.reason,
        "WaitingForQuorum"
            | "WaitingForBrokers"
            | "WaitingForCluster"
            | "ClusterPaused"
            | "ClusterSuspended"
            | CHANGING
            | DELETING
    )
}

fn findings(
    topic: &ValidatedTopic,
    live: Option<&TopicView>,
    plan: &Plan,
    outcome: &Outcome,
    under_way: UnderWay,
) -> Findings {
    let mut not_ready = plan.blocked.clone();
    not_ready.extend(outcome.failed.iter().cloned());
    not_ready.extend(plan.waits.iter().cloned());
    if plan.waits.is_empty() {
        not_ready.extend(under_way.finding(topic, live));
    }
    let mut progressing: Vec<Finding> = not_ready.iter().filter(is_waiting).cloned().collect();
    progressing.extend(under_way.elsewhere(topic));
    let mut degraded: Vec<Finding> = not_ready
        .iter()
        .filter(|finding| !is_waiting(finding))
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
