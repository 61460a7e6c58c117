//! One pass over a Rebalance. It reads from memory, writes what has to be written, and never waits for anything to
//! happen: the watches bring it back.

use std::sync::Arc;

use foz_crd::{Rebalance, RebalanceStatus};
use k8s_openapi::jiff::Timestamp;
use kube::runtime::controller::Action as Requeue;
use kube::{Resource as _, ResourceExt as _};

use crate::context::Context;
use crate::error::ReconcileError;
use crate::events;
use crate::names::ClusterName;
use crate::pass::{self, StatusOf};
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
    pass::run(&guarded, &context, pass_over).await
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
            self.context.deleted.remember(&self.uid);
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
            self.context.events.publish(&object, &notices);
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
        let object = StatusOf {
            namespace: &self.cluster.namespace,
            name: &self.object_name,
            uid: &self.uid,
        };
        let latest = &self.context.rebalance_statuses;
        let written = object.write::<Rebalance, _>(status, latest, self.context);
        if written.await? {
            // What it asks of the Cluster may have changed, and whose turn it is.
            self.context.triggers.rebalanced(&self.cluster);
        }
        Ok(())
    }
}
