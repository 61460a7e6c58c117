//! Apply: does what was planned, in order, until something fails or is refused.

use std::time::Instant;

use foz_crd::rebalance::RebalancePhase;
use foz_crd::{Rebalance, RebalanceStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Patch, PatchParams};
use kube::{Api, Resource as _};
use serde_json::json;

use crate::cluster::scaling::asked::Answer;
use crate::conditions::{Finding, whole_seconds};
use crate::error::ReconcileError;
use crate::names::OPERATOR;
use crate::quorum::rebalance::{Goal, Started};
use crate::rebalance::FINALIZER;
use crate::rebalance::plan::Action;
use crate::rebalance::reconcile::Pass;
use crate::rebalance::status::{Outcome, summary};

/// What came of a plan.
#[derive(Debug, Default)]
pub(super) struct Executed {
    pub(super) outcome: Outcome,
    /// The pass has to come again, and why.
    pub(super) retry: Option<ReconcileError>,
    /// The object was let go: there is no status to write.
    pub(super) let_go: bool,
    /// Something was refused that may be allowed in a while, of which no watch tells.
    pub(super) ask_again: bool,
}

/// Does it. `goal` is absent for an object with fields that are wrong, and then nothing is begun.
pub(super) async fn execute(
    pass: &Pass<'_>,
    goal: Option<&Goal>,
    deleting: bool,
    actions: &[Action],
) -> Executed {
    let mut executed = Executed::default();
    for action in actions {
        pass.context.metrics.acted("Rebalance", action.label());
        tracing::info!(
            rebalance = pass.object_name,
            action = action.label(),
            "acts"
        );
        let done = match (action, goal) {
            (Action::AddFinalizer, _) => finalizers(pass, &[FINALIZER]).await.map(|()| true),
            (Action::RemoveFinalizer, _) => {
                executed.let_go = deleting;
                finalizers(pass, &[]).await.map(|()| true)
            }
            (Action::MakePlan, Some(goal)) => make_plan(pass, goal, &mut executed).await,
            (Action::RecordStart, _) => record_start(pass, &mut executed).await,
            (Action::Start, Some(goal)) => start(pass, goal, &mut executed).await,
            (Action::Cancel(id), _) => match pass.quorum() {
                Ok(quorum) => quorum
                    .cancel_rebalance(*id)
                    .await
                    .map(|_| true)
                    .map_err(Into::into),
                Err(error) => Err(error),
            },
            (Action::MakePlan | Action::Start, None) => Ok(false),
        };
        match done {
            Ok(true) => {}
            Ok(false) => break,
            Err(error) => {
                tracing::warn!(rebalance = pass.object_name, action = action.label(), %error, "an action failed");
                let finding = Finding::new(error.reason(), error.to_string());
                executed.outcome.failed = Some(finding);
                executed.retry = Some(error);
                break;
            }
        }
    }
    executed
}

async fn make_plan(
    pass: &Pass<'_>,
    goal: &Goal,
    executed: &mut Executed,
) -> Result<bool, ReconcileError> {
    let quorum = pass.quorum()?;
    // What it is compared with later is at least as old as what the plan was made from.
    let before = quorum.state();
    let answer = quorum.plan_rebalance(goal, pass.threshold_percent).await?;
    if let Some(view) = before.current() {
        let planned = &pass.context.planned;
        let refused = answer.is_err();
        planned.remember(&pass.uid, pass.generation, view, refused, Instant::now());
    }
    match answer {
        Ok(plan) => {
            executed.outcome.plan = Some(summary(plan));
            Ok(true)
        }
        Err(why) => {
            executed.outcome.refused = Some(why);
            executed.outcome.phase = Some(RebalancePhase::Refused);
            executed.ask_again = true;
            Ok(false)
        }
    }
}

async fn record_start(pass: &Pass<'_>, executed: &mut Executed) -> Result<bool, ReconcileError> {
    let started_at = Time(whole_seconds(Timestamp::now()));
    let plan = executed.outcome.plan.clone();
    let status = RebalanceStatus {
        phase: Some(RebalancePhase::Running),
        started_at: Some(started_at.clone()),
        plan: plan.or_else(|| pass.previous.plan.clone()),
        ..pass.previous.clone()
    };
    pass.write_status(&status).await?;
    executed.outcome.phase = Some(RebalancePhase::Running);
    executed.outcome.started_at = Some(started_at);
    Ok(true)
}

async fn start(
    pass: &Pass<'_>,
    goal: &Goal,
    executed: &mut Executed,
) -> Result<bool, ReconcileError> {
    let quorum = pass.quorum()?;
    let outcome = &mut executed.outcome;
    // Somebody wants it, and knows why.
    let started = quorum.start_rebalance(goal, pass.threshold_percent, false);
    match started.await? {
        Started::Yes { id, .. } => outcome.rebalance_id = Some(id),
        Started::NothingToDo => {
            outcome.phase = Some(RebalancePhase::Completed);
            outcome.why = Some("nothing is to be moved".to_owned());
        }
        Started::Refused(why) => {
            // It has not begun: its turn may come later.
            outcome.phase = Some(RebalancePhase::Planned);
            outcome.waits = Some(Finding::new("StartRefused", why.clone()));
            executed.ask_again = true;
            if let Some(view) = quorum.state().told() {
                let asked = &pass.context.asked;
                asked.remember(&pass.uid, goal, Answer::Refused(why), view, Instant::now());
            }
        }
    }
    Ok(true)
}

/// Sets which of the object's finalizers are ours. Those of others stay: the API server knows whose
/// each is.
async fn finalizers(pass: &Pass<'_>, ours: &[&str]) -> Result<(), ReconcileError> {
    let api: Api<Rebalance> = Api::namespaced(pass.context.client.clone(), &pass.cluster.namespace);
    let object = json!({
        "apiVersion": Rebalance::api_version(&()),
        "kind": Rebalance::kind(&()),
        "metadata": {"uid": pass.uid, "finalizers": ours},
    });
    let parameters = PatchParams::apply(OPERATOR).force();
    match api
        .patch(&pass.object_name, &parameters, &Patch::Apply(&object))
        .await
    {
        Ok(_) => Ok(()),
        // The object is gone: the write would have made another one, without its uid.
        Err(kube::Error::Api(status))
            if (status.is_not_found() || status.is_conflict()) && ours.is_empty() =>
        {
            Ok(())
        }
        Err(error) => Err(ReconcileError::kubernetes(
            "the finalizer".to_owned(),
            error,
        )),
    }
}
