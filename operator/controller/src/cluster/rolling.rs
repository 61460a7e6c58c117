//! Carries a roll on by its next step. Where the quorum denies a restart, the next node is asked for in the same pass, so
//! that a pass ends with a step that was done, or knows all the reasons why there is none.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use foz_api::v1::DeniedReason;
use foz_crd::cluster::Unavailable;

use crate::cluster::execute::{
    Executed, GRACE_OF_POD, GRACE_OF_REPLACED, delete_claim, delete_pod,
};
use crate::cluster::observed::QuorumView;
use crate::cluster::reconcile::Pass;
use crate::cluster::roll::input::{Denial, RollInput};
use crate::cluster::roll::volume::{LostVolume, only_copies};
use crate::cluster::roll::{Next, PodWait, Step, Waiting, roll};
use crate::conditions::Finding;
use crate::error::ReconcileError;
use crate::events::Notice;
use crate::names::CONTROLLER_NODE_ID_BASE;
use crate::quorum::{RestartAnswer, RestartQuestion};

/// A grant that the stream of events does not tell of is asked for again.
const LOOK_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// What came of a step.
enum Done {
    /// It is done, or will be in a pass to come.
    Yes,
    /// The quorum has denied it.
    Denied(i32, Denial),
}

/// Does the next step that is not denied.
pub(super) async fn carry_on(
    pass: &Pass<'_>,
    mut input: RollInput,
    unavailable: Unavailable,
    executed: &mut Executed,
) {
    let mut asked = BTreeSet::new();
    let roll = loop {
        let roll = roll(&input);
        let Next::Do(step) = &roll.next else {
            break roll;
        };
        match take(pass, step, &input, unavailable, executed).await {
            Ok(Done::Yes) => break roll,
            Ok(Done::Denied(node_id, denial)) => {
                input.denied.insert(node_id, denial);
                // What a person insists on, or has begun, does not heed denials.
                if !asked.insert(node_id) {
                    break roll;
                }
            }
            Err(error) => {
                tracing::warn!(?step, %error, "a step of a roll failed");
                let finding = Finding::new(error.reason(), error.to_string());
                executed.outcome.degraded.push(finding);
                executed.retry.get_or_insert(error);
                break roll;
            }
        }
    };
    if let Next::Wait(Waiting::Pod { wait, .. }) = &roll.next
        && *wait == PodWait::JustReady
    {
        executed.look_again.get_or_insert(LOOK_AGAIN_AFTER);
    }
    executed.outcome.roll = Some(roll);
}

async fn take(
    pass: &Pass<'_>,
    step: &Step,
    input: &RollInput,
    unavailable: Unavailable,
    executed: &mut Executed,
) -> Result<Done, ReconcileError> {
    match step {
        Step::Replace {
            pod,
            uid,
            reason,
            volumes,
        } => {
            tracing::info!(pod, reason, "replaces a pod that serves nobody");
            give_up(pass, pod, volumes, executed).await?;
            pass.context.metrics.acted("Cluster", "replace_pod");
            if delete_pod(pass, pod, uid, GRACE_OF_REPLACED).await? {
                let notice = Notice::done("PodReplaced", format!("{pod}: {reason}"));
                executed.notices.push(notice);
            }
            Ok(Done::Yes)
        }
        Step::Restart {
            node_id,
            incarnation,
            pod,
            uid,
            reason,
            insist,
            volumes,
        } => {
            let question = RestartQuestion {
                node_id: *node_id,
                incarnation: incarnation.clone(),
                reason: reason.clone(),
                allow_unavailable: unavailable == Unavailable::Allow,
                insist: *insist,
            };
            let pod = (pod.as_str(), uid.as_str(), volumes.as_slice());
            restart(pass, &question, pod, input, executed).await
        }
        Step::Release {
            node_id,
            grant_epoch,
            reason,
        } => {
            tracing::info!(node_id, grant_epoch, reason, "gives a restart grant back");
            pass.context.metrics.acted("Cluster", "end_restart");
            pass.quorum()?.end_restart(*node_id, *grant_epoch).await?;
            Ok(Done::Yes)
        }
    }
}

async fn restart(
    pass: &Pass<'_>,
    question: &RestartQuestion,
    (pod, uid, volumes): (&str, &str, &[LostVolume]),
    input: &RollInput,
    executed: &mut Executed,
) -> Result<Done, ReconcileError> {
    let (node_id, incarnation) = (question.node_id, &question.incarnation);
    let quorum = pass.quorum()?;
    let (grant_epoch, unprotected) = match quorum.acquire_restart(question).await? {
        RestartAnswer::Granted {
            grant_epoch,
            unprotected,
        } => (grant_epoch, unprotected),
        RestartAnswer::Denied { reason, message } => {
            let denial = Denial {
                incarnation: incarnation.clone(),
                message,
            };
            deny(pass, (node_id, pod), reason, &denial, input, executed);
            return Ok(Done::Denied(node_id, denial));
        }
    };
    pass.context.denials.forget(&pass.uid, node_id);
    pass.context.metrics.restart_granted();
    let tells = quorum.tells_of_grant(node_id, incarnation, grant_epoch);
    if !tells.await && !question.insist {
        tracing::info!(
            pod,
            grant_epoch,
            "has a restart grant that the quorum does not tell of; looks again"
        );
        executed.look_again = Some(LOOK_AGAIN_AFTER);
        return Ok(Done::Yes);
    }
    if !volumes.is_empty() && !question.insist {
        // As of the grant: from here on nobody else may stop who has what this one has.
        let copies = quorum
            .only_copies(node_id)
            .filter(|_| node_id < CONTROLLER_NODE_ID_BASE);
        if let Some(message) = copies.as_deref().and_then(only_copies) {
            tracing::info!(pod, message, "a pod keeps its volumes");
            quorum.end_restart(node_id, grant_epoch).await?;
            executed.look_again = Some(LOOK_AGAIN_AFTER);
            return Ok(Done::Yes);
        }
        give_up(pass, pod, volumes, executed).await?;
    }
    let reason = &question.reason;
    tracing::info!(pod, grant_epoch, reason, ?unprotected, "restarts a pod");
    pass.context.metrics.acted("Cluster", "restart_pod");
    if delete_pod(pass, pod, uid, GRACE_OF_POD).await? {
        let note = format!("{pod}: {reason}");
        executed.notices.push(Notice::done("PodRestarted", note));
        if !unprotected.is_empty() {
            let note = format!(
                "while {pod} restarts, these have too few members in sync: {}",
                unprotected.join(", ")
            );
            executed.notices.push(Notice::warning("Unprotected", note));
        }
    }
    Ok(Done::Yes)
}

/// Deletes the claims of volumes. Kubernetes keeps each until its pod is gone, and makes another for the next pod.
async fn give_up(
    pass: &Pass<'_>,
    pod: &str,
    volumes: &[LostVolume],
    executed: &mut Executed,
) -> Result<(), ReconcileError> {
    for volume in volumes.iter().filter(|volume| volume.delete) {
        let claim = &volume.claim;
        tracing::info!(pod, claim, "gives up a volume");
        pass.context.metrics.acted("Cluster", "replace_volume");
        if delete_claim(pass, claim, &volume.uid).await? {
            let note = format!(
                "{pod} comes back with an empty volume in the place of {claim}, and copies what was on it from the others"
            );
            executed.notices.push(Notice::done("VolumeReplaced", note));
        }
    }
    Ok(())
}

fn deny(
    pass: &Pass<'_>,
    (node_id, pod): (i32, &str),
    reason: DeniedReason,
    denial: &Denial,
    input: &RollInput,
    executed: &mut Executed,
) {
    let message = &denial.message;
    pass.context.metrics.restart_denied(label(reason));
    let silent = QuorumView::default();
    let view = input.quorum.as_ref().unwrap_or(&silent);
    let is_news = pass
        .context
        .denials
        .remember(&pass.uid, node_id, denial, view, Instant::now());
    // The process has just gone by itself: the next pass knows.
    if is_news && reason != DeniedReason::Incarnation {
        tracing::info!(pod, message, "a restart is denied");
        let note = format!("{pod}: {message}");
        executed
            .notices
            .push(Notice::warning("RestartDenied", note));
    }
}

/// For metrics.
const fn label(reason: DeniedReason) -> &'static str {
    match reason {
        DeniedReason::Unspecified => "unknown",
        DeniedReason::Incarnation => "incarnation",
        DeniedReason::MinInsync => "min_insync",
        DeniedReason::AnotherGrant => "another_grant",
        DeniedReason::Unavailable => "unavailable",
        DeniedReason::Quorum => "quorum",
    }
}
