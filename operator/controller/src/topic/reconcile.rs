//! One pass over a Topic. It reads from memory, writes what has to be written, and never waits for
//! anything to happen: the watches bring it back.

use std::sync::Arc;
use std::time::Duration;

use foz_crd::{Topic, TopicStatus};
use k8s_openapi::jiff::Timestamp;
use kube::runtime::controller::Action as Requeue;
use kube::{Resource as _, ResourceExt as _};

use crate::conditions::READY;
use crate::context::Context;
use crate::error::ReconcileError;
use crate::events::{self, Notice};
use crate::names::ClusterName;
use crate::pass::{self, StatusOf};
use crate::quorum::{Quorum, QuorumError};
use crate::topic::dereference::dereference;
use crate::topic::execute::{Executed, execute};
use crate::topic::index::cluster_of;
use crate::topic::plan::{Plan, plan, plan_deletion};
use crate::topic::status::{blocked, invalid, status};
use crate::topic::validate::validate;
use crate::trigger::GuardedTopic;

/// What the quorum refuses today it may accept tomorrow (with more brokers, say), and tells nobody.
const REFUSED_AGAIN: Duration = Duration::from_secs(60);

/// Brokers hear of a deletion in a moment, and nobody tells of it.
const DELETED_AGAIN: Duration = Duration::from_secs(1);

/// A pass over one Topic.
#[derive(Debug)]
pub(super) struct Pass<'pass> {
    pub(super) context: &'pass Context,
    pub(super) cluster: ClusterName,
    pub(super) namespace: String,
    pub(super) object_name: String,
    pub(super) topic_name: String,
    pub(super) uid: String,
    pub(super) previous: TopicStatus,
    /// Brokers that have not heard of its deletion are not waited for any more.
    pub(super) deletion_is_overdue: bool,
}

/// The pass, for the controller.
///
/// # Errors
/// When something has to be tried again.
pub async fn reconcile(
    guarded: Arc<GuardedTopic>,
    context: Arc<Context>,
) -> Result<Requeue, ReconcileError> {
    pass::run(&guarded, &context, pass_over).await
}

async fn pass_over(topic: &Topic, context: &Context) -> Result<Requeue, ReconcileError> {
    let previous = context.topic_statuses.newer(topic, topic.status.as_ref());
    let now = Timestamp::now();
    let mut observed = dereference(topic, context, &context.triggers, now);
    let pass = Pass {
        context,
        cluster: cluster_of(topic),
        namespace: observed.namespace.clone(),
        object_name: topic.name_any(),
        topic_name: topic.topic_name().to_owned(),
        uid: topic.uid().unwrap_or_default(),
        previous: previous.unwrap_or_default(),
        deletion_is_overdue: observed.deletion_is_overdue,
    };
    let generation = topic.metadata.generation;
    if observed.deleting {
        let policy = topic.spec.deletion_policy;
        let plan = plan_deletion(&pass.topic_name, policy, &observed, &pass.previous);
        let mut executed = execute(&pass, None, &plan.actions).await;
        executed.notices.extend(
            plan.left_alone
                .map(|note| Notice::warning("TopicLeft", note)),
        );
        let mut findings = plan.blocked;
        findings.append(&mut executed.outcome.failed);
        findings.extend(executed.deleting.clone());
        let status = if findings.is_empty() {
            pass.previous.clone()
        } else {
            blocked(findings, generation, &pass.previous, now)
        };
        return pass.finish(topic, &status, executed).await;
    }
    let validated = match validate(topic) {
        Ok(validated) => validated,
        Err(wrong) => {
            let status = invalid(&wrong, generation, &pass.previous, now);
            return pass.finish(topic, &status, Executed::default()).await;
        }
    };
    let plan: Plan = plan(&validated, &pass.cluster_name(), &observed, &pass.previous);
    let executed = execute(&pass, Some(&validated), &plan.actions).await;
    if !plan.actions.is_empty() {
        // What was done is mostly told by now: then one status is enough.
        let quorum = context.quorums.get(&pass.cluster);
        observed.live = quorum.and_then(|quorum| quorum.topic(&pass.topic_name));
    }
    let status = status(
        &validated,
        generation,
        &observed,
        &plan,
        &executed.outcome,
        &pass.previous,
        now,
    );
    pass.finish(topic, &status, executed).await
}

impl Pass<'_> {
    /// The quorum to call.
    pub(super) fn quorum(&self) -> Result<Arc<Quorum>, ReconcileError> {
        let quorum = self.context.quorums.get(&self.cluster);
        quorum.ok_or(ReconcileError::Quorum(QuorumError::NotReachable))
    }

    /// The name of the Cluster, with the namespace if that is another.
    fn cluster_name(&self) -> String {
        let ClusterName { namespace, name } = &self.cluster;
        if *namespace == self.namespace {
            name.clone()
        } else {
            format!("{namespace}/{name}")
        }
    }

    /// Writes the status if it says anything new, then what is worth an Event.
    async fn finish(
        &self,
        topic: &Topic,
        status: &TopicStatus,
        mut executed: Executed,
    ) -> Result<Requeue, ReconcileError> {
        let told = topic.status.as_ref();
        let latest = self
            .context
            .topic_statuses
            .newer(topic, told)
            .unwrap_or_default();
        let let_go = executed.let_go && executed.retry.is_none();
        let can_wait = self.context.pace.wait(&self.uid);
        let can_wait = can_wait.filter(|_| !let_go && differs_in_numbers_only(status, &latest));
        if let Some(wait) = can_wait.filter(|_| executed.is_quiet()) {
            return Ok(Requeue::requeue(wait));
        }
        let written = if let_go {
            self.context.topic_statuses.forget(&self.uid);
            self.context.deleted.remember(&self.uid);
            Ok(())
        } else if *status == latest {
            Ok(())
        } else {
            self.write_status(status).await
        };
        if !let_go {
            let is_new =
                |notice: &Notice| ["TopicCreated", "TopicRestored"].contains(&&*notice.reason);
            let is_new = executed.notices.iter().any(is_new);
            let changed = events::of_conditions(&self.previous.conditions, &status.conditions);
            // Of a topic that was just made that says nothing more.
            let says_more = |notice: &Notice| !(is_new && notice.reason == READY);
            executed
                .notices
                .extend(changed.into_iter().filter(says_more));
        }
        let object = topic.object_ref(&());
        self.context.events.publish(&object, &executed.notices);
        written?;
        if let Some(error) = executed.retry {
            return Err(error);
        }
        if executed.deleting.is_some() {
            return Ok(Requeue::requeue(DELETED_AGAIN));
        }
        let refused = !(executed.outcome.failed.is_empty() && executed.outcome.refused.is_empty());
        Ok(if refused {
            Requeue::requeue(REFUSED_AGAIN)
        } else {
            Requeue::await_change()
        })
    }

    /// Writes the status.
    pub(super) async fn write_status(&self, status: &TopicStatus) -> Result<(), ReconcileError> {
        let object = StatusOf {
            namespace: &self.namespace,
            name: &self.object_name,
            uid: &self.uid,
        };
        let latest = &self.context.topic_statuses;
        let written = object.write::<Topic, _>(status, latest, self.context);
        written.await.map(drop)
    }
}

/// Counts move many times while replicas are copied, or a broker restarts.
fn differs_in_numbers_only(status: &TopicStatus, before: &TopicStatus) -> bool {
    let without_numbers = |status: &TopicStatus| {
        let mut status = status.clone();
        for condition in &mut status.conditions {
            condition.message = events::words(&condition.message).collect();
        }
        TopicStatus {
            partitions: None,
            replication_factor: None,
            offline_partitions: None,
            under_replicated_partitions: None,
            ..status
        }
    };
    status != before && without_numbers(status) == without_numbers(before)
}

#[cfg(test)]
mod tests {
    use super::differs_in_numbers_only;
    use crate::conditions::{Finding, Findings};
    use foz_crd::TopicStatus;
    use k8s_openapi::jiff::Timestamp;

    fn status(done: i32, reason: &'static str) -> TopicStatus {
        let findings = Findings {
            not_ready: vec![Finding::new(reason, format!("{done} of 12"))],
            ready_message: String::new(),
            progressing: Vec::new(),
            degraded: Vec::new(),
        };
        TopicStatus {
            conditions: findings.conditions(&[], Some(1), Timestamp::UNIX_EPOCH),
            under_replicated_partitions: Some(12 - done),
            ..TopicStatus::default()
        }
    }

    #[test]
    fn only_what_is_nothing_but_another_count_can_wait() {
        assert!(differs_in_numbers_only(&status(3, "A"), &status(11, "A")));
        assert!(!differs_in_numbers_only(&status(3, "A"), &status(3, "A")));
        assert!(!differs_in_numbers_only(&status(3, "A"), &status(3, "B")));
        let id = TopicStatus {
            topic_id: Some("x".into()),
            ..status(3, "A")
        };
        assert!(!differs_in_numbers_only(&id, &status(3, "A")));
    }
}
