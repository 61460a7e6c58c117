//! One pass over a Cluster. It reads from memory, writes what has to be written, and never waits for
//! anything to happen: the watch brings it back.

use std::sync::Arc;
use std::time::{Duration, Instant};

use foz_crd::balancing::RebalancePolicyMode;
use foz_crd::{Cluster, ClusterStatus};
use k8s_openapi::jiff::Timestamp;
use kube::runtime::controller::Action as Requeue;
use kube::{Resource as _, ResourceExt as _};

use crate::cluster::dereference::dereference;
use crate::cluster::execute::execute;
use crate::cluster::observed::Observed;
use crate::cluster::plan::plan;
use crate::cluster::rolling::carry_on;
use crate::cluster::status::{invalid, look_again_after, status};
use crate::cluster::suspend;
use crate::cluster::validate::validate;
use crate::context::{Context, REFUSAL_COUNTS};
use crate::error::ReconcileError;
use crate::events::{self, Notice};
use crate::names::{CONTROLLER_PORT, ClusterName, Role};
use crate::pass::{self, StatusOf};
use crate::quorum::{Quorum, QuorumError};
use crate::trigger::GuardedCluster;

/// A pass over one Cluster.
#[derive(Debug)]
pub(super) struct Pass<'pass> {
    pub(super) context: &'pass Context,
    pub(super) name: ClusterName,
    pub(super) uid: String,
    pub(super) previous: ClusterStatus,
    /// By how many percent the replicas of a broker may differ from its share.
    pub(super) threshold_percent: i32,
}

/// The pass, for the controller.
///
/// # Errors
/// When something has to be tried again.
pub async fn reconcile(
    guarded: Arc<GuardedCluster>,
    context: Arc<Context>,
) -> Result<Requeue, ReconcileError> {
    pass::run(&guarded, &context, pass_over).await
}

async fn pass_over(cluster: &Cluster, context: &Context) -> Result<Requeue, ReconcileError> {
    if cluster.metadata.deletion_timestamp.is_some() {
        // Kubernetes collects what the Cluster owns; the volumes stay.
        return Ok(Requeue::await_change());
    }
    let previous = context
        .cluster_statuses
        .newer(cluster, cluster.status.as_ref());
    let pass = Pass {
        context,
        name: ClusterName {
            namespace: cluster.namespace().unwrap_or_default(),
            name: cluster.name_any(),
        },
        uid: cluster.uid().unwrap_or_default(),
        previous: previous.unwrap_or_default(),
        threshold_percent: cluster.spec.rebalance.threshold,
    };
    let generation = cluster.metadata.generation;
    let observed = dereference(cluster, context);
    follow_quorum(&pass, &observed);
    let validated = match validate(cluster, &context.broker_image) {
        Ok(validated) => validated,
        Err(wrong) => {
            let status = invalid(&wrong, generation, &pass.previous, Timestamp::now());
            pass.finish(cluster, &status, Vec::new()).await?;
            return Ok(Requeue::await_change());
        }
    };
    let plan = plan(&validated, &observed, &pass.previous);
    let mut executed = execute(&pass, &plan.actions).await;
    executed.notices.extend(plan.notices.iter().cloned());
    if let Some(input) = plan.roll.clone() {
        carry_on(&pass, input, validated.unavailable, &mut executed).await;
    }
    let now = Timestamp::now();
    let outcome = &executed.outcome;
    context.metrics.saw(
        &pass.name,
        outcome.roll.as_ref().map_or(0, |roll| roll.left.len()),
        validated.hold.len(),
        validated.suspended,
    );
    let status = status(
        &validated,
        generation,
        &observed,
        &plan,
        outcome,
        &pass.previous,
        now,
    );
    let written_in = pass.finish(cluster, &status, executed.notices).await?;
    if let Some(error) = executed.retry {
        return Err(error);
    }
    let ask_again = executed.ask_again.then_some(REFUSAL_COUNTS);
    let view = observed.quorum.current();
    let denials_end = view.and_then(|view| {
        let denials = &context.denials;
        denials.recent(&pass.uid, view, Instant::now()).1
    });
    let refusals_end = view.and_then(|view| {
        let asked = &context.asked;
        asked.recent(&pass.uid, view, Instant::now()).1
    });
    let is_automatic = validated.rebalance.mode == RebalancePolicyMode::Automatic;
    let next_look = view.filter(|_| is_automatic).and_then(|_| {
        let due_in = context.looks.due_in(&pass.uid, Instant::now());
        // One that is due waits for something that a watch tells of.
        (!due_in.is_zero()).then_some(due_in)
    });
    let again = look_again_after(&status, now)
        .into_iter()
        .chain(next_look)
        .chain(ask_again)
        .chain(denials_end)
        .chain(refusals_end)
        .chain(executed.look_again)
        .chain(written_in);
    Ok(again
        .min()
        .map_or_else(Requeue::await_change, Requeue::requeue))
}

/// Calls go to the addresses of the pods: names in DNS come a while after them.
fn follow_quorum(pass: &Pass<'_>, observed: &Observed) {
    let controllers = observed
        .pods
        .iter()
        .filter(|((role, _), pod)| *role == Role::Controller && pod.running && !pod.deleting);
    let address = |ip: &String| {
        if ip.contains(':') {
            format!("[{ip}]:{CONTROLLER_PORT}")
        } else {
            format!("{ip}:{CONTROLLER_PORT}")
        }
    };
    let addresses = controllers
        .filter_map(|(_, pod)| pod.ip.as_ref().map(address))
        .collect();
    pass.context
        .quorums
        .follow(&pass.name, &pass.uid, addresses);
}

impl Pass<'_> {
    /// The quorum to call.
    pub(super) fn quorum(&self) -> Result<Arc<Quorum>, ReconcileError> {
        let quorum = self.context.quorums.get(&self.name);
        quorum.ok_or(ReconcileError::Quorum(QuorumError::NotReachable))
    }

    /// Writes the status if it says anything new, then what is worth an Event. Hands back when it is to be written where
    /// that can wait.
    async fn finish(
        &self,
        cluster: &Cluster,
        status: &ClusterStatus,
        mut notices: Vec<Notice>,
    ) -> Result<Option<Duration>, ReconcileError> {
        let latest = self.latest(cluster);
        let can_wait = self.context.pace.wait(&self.uid);
        let can_wait = can_wait.filter(|_| differs_in_counts_only(status, &latest));
        let written = if *status == latest || can_wait.is_some() {
            Ok(())
        } else {
            self.write_status(status).await
        };
        notices.extend(events::of_conditions(
            &self.previous.conditions,
            &status.conditions,
        ));
        notices.extend(suspend::notices(
            &self.previous.conditions,
            &status.conditions,
        ));
        let object = cluster.object_ref(&());
        self.context.events.publish(&object, &notices);
        written.map(|()| can_wait)
    }

    /// The status as it is now: an action may have written it in this pass.
    fn latest(&self, cluster: &Cluster) -> ClusterStatus {
        let told = cluster.status.as_ref();
        self.context
            .cluster_statuses
            .newer(cluster, told)
            .unwrap_or_default()
    }

    /// Writes the status.
    pub(super) async fn write_status(&self, status: &ClusterStatus) -> Result<(), ReconcileError> {
        let object = StatusOf {
            namespace: &self.name.namespace,
            name: &self.name.name,
            uid: &self.uid,
        };
        let latest = &self.context.cluster_statuses;
        let written = object.write::<Cluster, _>(status, latest, self.context);
        written.await.map(drop)
    }
}

/// Hundreds of topics may be made one after the other, and each is one more. That there are partitions which lack replicas
/// or a leader is told at once, and that there are none any more.
fn differs_in_counts_only(status: &ClusterStatus, before: &ClusterStatus) -> bool {
    let some_or_none = |count: Option<i64>| count.map(i64::signum);
    let without_counts = |status: &ClusterStatus| ClusterStatus {
        topics: None,
        partitions: None,
        offline_partitions: some_or_none(status.offline_partitions),
        under_replicated_partitions: some_or_none(status.under_replicated_partitions),
        ..status.clone()
    };
    status != before && without_counts(status) == without_counts(before)
}

#[cfg(test)]
mod tests {
    use foz_crd::ClusterStatus;

    use super::differs_in_counts_only;

    #[test]
    fn only_counts_of_what_was_there_before_can_wait() {
        let status = |topics, under_replicated| ClusterStatus {
            topics: Some(topics),
            partitions: Some(topics),
            under_replicated_partitions: Some(under_replicated),
            ..ClusterStatus::default()
        };
        assert!(differs_in_counts_only(&status(4, 0), &status(3, 0)));
        assert!(differs_in_counts_only(&status(4, 7), &status(3, 8)));
        assert!(!differs_in_counts_only(&status(3, 0), &status(3, 0)));
        assert!(!differs_in_counts_only(&status(4, 1), &status(3, 0)));
        assert!(!differs_in_counts_only(&status(4, 0), &status(3, 1)));
        let fewer_ready = ClusterStatus {
            ready_replicas: 2,
            ..status(4, 0)
        };
        assert!(!differs_in_counts_only(&fewer_ready, &status(3, 0)));
    }
}
