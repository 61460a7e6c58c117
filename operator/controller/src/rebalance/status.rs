//! Status: from what a pass saw and did to what people read. Pure.

use foz_api::v1::plan_rebalance_response::Plan as PlanTold;
use foz_api::v1::plan_rebalance_response::{BrokerLoad as LoadTold, Move};
use foz_crd::RebalanceStatus;
use foz_crd::rebalance::{BrokerLoad, PlanSummary, RebalancePhase, RebalanceProgress};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;

use crate::cluster::scaling::wording;
use crate::cluster::validate::InvalidField;
use crate::conditions::{Finding, Findings, whole_seconds};
use crate::events::Notice;
use crate::quorum::rebalance::RebalanceView;
use crate::rebalance::plan::Plan;

/// More than that nobody reads.
const MOVES_SHOWN: usize = 20;

/// What came of the actions of a pass.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Outcome {
    /// The newest plan.
    pub plan: Option<PlanSummary>,
    /// What the quorum has against it.
    pub refused: Option<String>,
    /// How it goes on.
    pub phase: Option<RebalancePhase>,
    /// Why it ended.
    pub why: Option<String>,
    /// The number that the quorum gave it.
    pub rebalance_id: Option<i64>,
    /// When it was written down that it begins.
    pub started_at: Option<Time>,
    /// What it waits for, which comes by itself.
    pub waits: Option<Finding>,
    /// What failed, and will be tried again.
    pub failed: Option<Finding>,
}

/// The status of a Rebalance whose fields are all right.
#[must_use]
pub fn status(
    approved: bool,
    generation: Option<i64>,
    plan: &Plan,
    outcome: &Outcome,
    previous: &RebalanceStatus,
    now: Timestamp,
) -> RebalanceStatus {
    let phase = phase(plan, outcome, previous);
    let summary = outcome.plan.clone().or_else(|| previous.plan.clone());
    let progress = plan.rebalance.as_ref().map(progress);
    let ended = matches!(
        phase,
        Some(RebalancePhase::Completed | RebalancePhase::Cancelled | RebalancePhase::Failed)
    );
    let why = outcome.why.as_ref().or(plan.why.as_ref());
    let message = message(
        approved,
        phase,
        plan,
        outcome,
        summary.as_ref(),
        why,
        previous,
    );
    let findings = findings(phase, plan, outcome, &message);
    let finished = || Time(whole_seconds(now));
    RebalanceStatus {
        observed_generation: generation,
        conditions: findings.conditions(&previous.conditions, generation, now),
        phase,
        message: Some(message),
        plan: summary,
        progress: progress.or_else(|| previous.progress.clone()),
        rebalance_id: outcome.rebalance_id.or(previous.rebalance_id),
        started_at: previous
            .started_at
            .clone()
            .or_else(|| outcome.started_at.clone()),
        finished_at: previous
            .finished_at
            .clone()
            .or_else(|| ended.then(finished)),
    }
}

/// The status of a Rebalance with fields that are wrong.
#[must_use]
pub fn invalid(
    wrong: &[InvalidField],
    generation: Option<i64>,
    previous: &RebalanceStatus,
    now: Timestamp,
) -> RebalanceStatus {
    let sentences: Vec<String> = wrong.iter().map(ToString::to_string).collect();
    let finding = Finding::new("InvalidSpec", sentences.join("; "));
    let findings = Findings {
        not_ready: vec![finding.clone()],
        ready_message: String::new(),
        progressing: Vec::new(),
        degraded: vec![finding.clone()],
    };
    RebalanceStatus {
        observed_generation: generation,
        conditions: findings.conditions(&previous.conditions, generation, now),
        phase: Some(RebalancePhase::Refused),
        message: Some(finding.message),
        ..previous.clone()
    }
}

/// The Event that a change of the phase is worth. What needs a person is one of the conditions'.
#[must_use]
pub fn news(before: &RebalanceStatus, now: &RebalanceStatus) -> Option<Notice> {
    if before.phase == now.phase {
        return None;
    }
    let note = now.message.clone().unwrap_or_default();
    let reason = match now.phase? {
        RebalancePhase::Planned => "Planned",
        RebalancePhase::Running => "Started",
        RebalancePhase::Completed => "Completed",
        RebalancePhase::Cancelled => "Cancelled",
        RebalancePhase::Failed | RebalancePhase::Refused => return None,
    };
    Some(Notice::done(reason, note))
}

/// A plan as the quorum told it.
#[must_use]
pub fn summary(told: PlanTold) -> PlanSummary {
    let load = |load: LoadTold| BrokerLoad {
        broker: load.node_id,
        replicas: load.replicas,
        leaders: load.leaders,
        bytes: load.bytes,
    };
    let moved = |it: &Move| {
        let bytes = wording::bytes(it.bytes);
        format!(
            "{}-{}: {:?} to {:?}, {bytes}",
            it.topic, it.index, it.from, it.to
        )
    };
    PlanSummary {
        moves: told.moves,
        leader_moves: told.leader_moves,
        bytes: told.bytes,
        seconds: (told.seconds >= 0).then_some(told.seconds),
        before: told.before.into_iter().map(load).collect(),
        after: told.after.into_iter().map(load).collect(),
        first_moves: told
            .first_moves
            .iter()
            .take(MOVES_SHOWN)
            .map(moved)
            .collect(),
    }
}

fn phase(plan: &Plan, outcome: &Outcome, previous: &RebalanceStatus) -> Option<RebalancePhase> {
    let decided = outcome.phase.or(plan.phase);
    let before = || match previous.phase {
        // What was refused has a plan now.
        Some(RebalancePhase::Refused) | None if outcome.plan.is_some() => {
            Some(RebalancePhase::Planned)
        }
        before => before,
    };
    decided.or_else(before)
}

fn progress(rebalance: &RebalanceView) -> RebalanceProgress {
    RebalanceProgress {
        moved: rebalance.moves_done,
        left: rebalance.moves_left(),
        bytes_moved: rebalance.bytes_done,
        bytes_left: rebalance.bytes_left(),
        seconds_left: rebalance.seconds_left,
    }
}

fn message(
    approved: bool,
    phase: Option<RebalancePhase>,
    plan: &Plan,
    outcome: &Outcome,
    summary: Option<&PlanSummary>,
    why: Option<&String>,
    previous: &RebalanceStatus,
) -> String {
    use RebalancePhase::{Cancelled, Completed, Failed, Planned, Refused, Running};
    let standing = [&outcome.failed, &plan.blocked, &outcome.waits, &plan.waits];
    if let Some(finding) = standing.into_iter().flatten().next() {
        return finding.message.clone();
    }
    let before = || previous.message.clone().unwrap_or_default();
    match phase {
        Some(Completed | Cancelled | Failed) => why.cloned().unwrap_or_else(before),
        Some(Refused) => outcome.refused.clone().unwrap_or_else(before),
        Some(Running) => match &plan.rebalance {
            Some(rebalance) => wording::progress(rebalance),
            None => "begins to move partitions".to_owned(),
        },
        Some(Planned) | None => match summary {
            None => "is about to be planned".to_owned(),
            Some(summary) => would(summary, approved),
        },
    }
}

fn would(summary: &PlanSummary, approved: bool) -> String {
    if summary.moves == 0 {
        return "nothing would be moved".to_owned();
    }
    let partitions = wording::partitions(summary.moves);
    let bytes = wording::bytes(summary.bytes);
    let estimate = summary.seconds.map(wording::duration);
    let estimate = estimate.map_or_else(String::new, |it| format!(", about {it}"));
    let next = if approved {
        ""
    } else {
        "; spec.approved: true carries it out"
    };
    format!("would move {partitions}, {bytes} to copy{estimate}{next}")
}

fn findings(
    phase: Option<RebalancePhase>,
    plan: &Plan,
    outcome: &Outcome,
    message: &str,
) -> Findings {
    use RebalancePhase::{Cancelled, Completed, Failed, Planned, Refused, Running};
    let waits: Vec<Finding> = outcome.waits.iter().chain(&plan.waits).cloned().collect();
    let mut degraded: Vec<Finding> = outcome
        .failed
        .iter()
        .chain(&plan.blocked)
        .cloned()
        .collect();
    let mut progressing = waits.clone();
    let mut not_ready: Vec<Finding> = degraded.iter().chain(&waits).cloned().collect();
    let finding = |reason| Finding::new(reason, message);
    match phase {
        Some(Refused) => {
            degraded.push(finding("Refused"));
            not_ready.push(finding("Refused"));
        }
        Some(Failed) => {
            degraded.push(finding("Failed"));
            not_ready.push(finding("Failed"));
        }
        Some(Cancelled) => not_ready.push(finding("Cancelled")),
        Some(Running) => {
            progressing.push(finding("Running"));
            not_ready.push(finding("Running"));
        }
        None if not_ready.is_empty() => {
            progressing.push(finding("Planning"));
            not_ready.push(finding("Planning"));
        }
        Some(Planned | Completed) | None => {}
    }
    Findings {
        not_ready,
        ready_message: message.to_owned(),
        progressing,
        degraded,
    }
}
