//! One pass over a Rebalance. It reads from memory, writes what has to be written, and never waits for anything to
//! happen: the watches bring it back.

use std::sync::Arc;
use std::time::Instant;

use foz_crd::{Rebalance, RebalanceStatus};
use k8s_openapi::jiff::Timestamp;
use kube::api::{Patch, PatchParams};
use kube::runtime::controller::Action as Requeue;
use kube::{Api, Resource as _, ResourceExt as _};
use serde_json::json;

use crate::context::Context;
use crate::error::{ReconcileError, retry_after};
use crate::events;
use crate::names::{ClusterName, STATUS_MANAGER};
use crate::quorum::{Quorum, QuorumError};
use crate::rebalance::claim::cluster_of;
use crate::rebalance::dereference::dereference;
use crate::rebalance::execute::{Executed, execute};
use crate::rebalance::plan::{plan, plan_deletion};
use crate::rebalance::planned::REFUSAL_COUNTS;
use crate::rebalance::status::{invalid, news, status};
use crate::rebalance::validate::validate;
use crate::trigger::GuardedRebalance;

/// A pass over one Rebalance.
#[derive(Debug)]
pub(super) struct Pass<'pass> {
    pub(super) context: &'pass Context,
    pub(super) cluster: ClusterName,
    pub(super) object_name: String,
    pub(super) uid: String,
    pub(super) generation: i64,
    pub(super) previous: RebalanceStatus,
    /// As its Cluster says.
    pub(super) threshold_percent: i32,
}

/// The pass, for the controller.
///
/// # Errors
/// When something has to be tried again.
pub async fn reconcile(
    guarded: Arc<GuardedRebalance>,
    context: Arc<Context>,
) -> Result<Requeue, ReconcileError> {
    let started = Instant::now();
    let result = match &guarded.0 {
        Ok(rebalance) => pass_over(rebalance, &context).await,
        Err(error) => {
            tracing::error!(rebalance = guarded.name_any(), %error, "this Rebalance cannot be read; its definition may be of another version");
            context.metrics.failed("Rebalance", "unreadable");
            Ok(Requeue::await_change())
        }
    };
    context.metrics.reconciled("Rebalance", started.elapsed());
    if result.is_ok() {
        context
            .failures
            .clear("Rebalance", &guarded.uid().unwrap_or_default());
    }
    result
}

/// When to try again.
#[must_use]
pub fn error_policy(
    guarded: &GuardedRebalance,
    error: &ReconcileError,
    context: &Context,
) -> Requeue {
    let uid = guarded.uid().unwrap_or_default();
    context.metrics.failed("Rebalance", error.metric_label());
    tracing::warn!(rebalance = guarded.name_any(), namespace = guarded.namespace(), %error, "a pass has to come again");
    Requeue::requeue(retry_after(&uid, context.failures.count("Rebalance", &uid)))
}

async fn pass_over(rebalance: &Rebalance, context: &Context) -> Result<Requeue, ReconcileError> {
    let told = rebalance.status.as_ref();
    let previous = context.rebalance_statuses.newer(rebalance, told);
    let pass = Pass {
        context,
        threshold_percent: threshold_percent(&cluster_of(rebalance), context),
        cluster: cluster_of(rebalance),
        object_name: rebalance.name_any(),
        uid: rebalance.uid().unwrap_or_default(),
        generation: rebalance.metadata.generation.unwrap_or_default(),
        previous: previous.unwrap_or_default(),
    };
    let validated = validate(rebalance);
    let goal = validated.as_ref().ok();
    let observed = dereference(rebalance, goal, &pass.previous, context);
    let generation = rebalance.metadata.generation;
    let now = Timestamp::now();
    let plan = match (&validated, observed.deleting) {
        (_, true) => plan_deletion(goal, &observed, &pass.previous),
        (Ok(goal), false) => plan(goal, &pass.cluster.name, &observed, &pass.previous),
        (Err(wrong), false) => {
            let status = invalid(wrong, generation, &pass.previous, now);
            return pass.finish(rebalance, &status, Executed::default()).await;
        }
    };
    let executed = execute(&pass, goal, observed.deleting, &plan.actions).await;
    let status = status(
        observed.approved,
        generation,
        &plan,
        &executed.outcome,
        &pass.previous,
        now,
    );
    pass.finish(rebalance, &status, executed).await
}

/// 0 while the Cluster is not known: then nobody is asked for anything either.
fn threshold_percent(cluster: &ClusterName, context: &Context) -> i32 {
    let found = context.world.cluster(cluster);
    let found = found.as_deref().and_then(|guarded| guarded.0.as_ref().ok());
    found.map_or(0, |cluster| cluster.spec.rebalance.threshold)
}

impl Pass<'_> {
    /// The quorum to call.
    pub(super) fn quorum(&self) -> Result<Arc<Quorum>, ReconcileError> {
        let quorum = self.context.quorums.get(&self.cluster);
        quorum.ok_or(ReconcileError::Quorum(QuorumError::NotReachable))
    }

    /// Writes the status if it says anything new, then what is worth an Event.
    async fn finish(
        &self,
        rebalance: &Rebalance,
        status: &RebalanceStatus,
        executed: Executed,
    ) -> Result<Requeue, ReconcileError> {
        let told = rebalance.status.as_ref();
        let latest = self.context.rebalance_statuses.newer(rebalance, told);
        let written = if executed.let_go && executed.retry.is_none() {
            self.context.rebalance_statuses.forget(&self.uid);
            Ok(())
        } else {
            let notices: Vec<_> = news(&self.previous, status)
                .into_iter()
                .chain(events::of_conditions(
                    &self.previous.conditions,
                    &status.conditions,
                ))
                // That it is ready says less than its phase.
                .filter(|notice| notice.reason != crate::conditions::READY)
                .collect();
            let object = rebalance.object_ref(&());
            events::publish(&self.context.recorder, &object, &notices).await;
            if *status == latest.unwrap_or_default() {
                Ok(())
            } else {
                self.write_status(status).await
            }
        };
        written?;
        if let Some(error) = executed.retry {
            return Err(error);
        }
        Ok(if executed.ask_again {
            Requeue::requeue(REFUSAL_COUNTS)
        } else {
            Requeue::await_change()
        })
    }

    /// Writes the status.
    pub(super) async fn write_status(
        &self,
        status: &RebalanceStatus,
    ) -> Result<(), ReconcileError> {
        let api: Api<Rebalance> =
            Api::namespaced(self.context.client.clone(), &self.cluster.namespace);
        // With the uid the write is of this object, or of none.
        let object = json!({
            "apiVersion": Rebalance::api_version(&()),
            "kind": Rebalance::kind(&()),
            "metadata": {"uid": self.uid},
            "status": status,
        });
        let parameters = PatchParams::apply(STATUS_MANAGER).force();
        let written = match api
            .patch_status(&self.object_name, &parameters, &Patch::Apply(&object))
            .await
        {
            Ok(written) => written,
            // The object is gone: nobody would read this.
            Err(kube::Error::Api(status)) if status.is_not_found() => return Ok(()),
            Err(error) => return Err(ReconcileError::kubernetes("the status".to_owned(), error)),
        };
        self.context.metrics.acted("Rebalance", "write_status");
        self.context
            .rebalance_statuses
            .wrote(&written, status.clone());
        // What it asks of the Cluster may have changed, and whose turn it is.
        self.context.triggers.rebalanced(&self.cluster);
        Ok(())
    }
}
