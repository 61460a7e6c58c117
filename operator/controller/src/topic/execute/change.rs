//! Changing a topic that is there.

use foz_api::v1::change_replication_factor_request::Change;
use foz_api::v1::create_partitions_request::Increase;
use foz_api::v1::{ChangeReplicationFactorRequest, CreatePartitionsRequest, ResourceType};
use tonic::Response;

use crate::conditions::Finding;
use crate::config_diff::ConfigDiff;
use crate::error::ReconcileError;
use crate::events::Notice;
use crate::topic::execute::{Executed, outcome_of, reason_of};
use crate::topic::reconcile::Pass;

/// Has each partition brought to another number of replicas. When that is refused, the topic serves as it is.
pub(super) async fn replication_factor(
    pass: &Pass<'_>,
    id: &[u8],
    (from, to): (i32, i32),
    executed: &mut Executed,
) -> Result<bool, ReconcileError> {
    // Whatever becomes of the answer: what is on its way there is ours.
    executed.outcome.replication_factor_asked = Some(to);
    let change = Change {
        name: pass.topic_name.clone(),
        id: id.to_vec(),
        replication_factor: to,
    };
    let answer = pass
        .quorum()?
        .change(|mut client, operator_epoch| {
            let request = ChangeReplicationFactorRequest {
                topics: vec![change.clone()],
                validate_only: false,
                operator_epoch,
            };
            async move { client.change_replication_factor(request).await }
        })
        .await
        .map(Response::into_inner)?;
    let (code, message) = outcome_of(answer.results.into_iter().next());
    if code != 0 {
        executed.outcome.replication_factor_asked = None;
        executed
            .outcome
            .refused
            .push(Finding::new(reason_of(code), message));
        return Ok(true);
    }
    if pass.previous.replication_factor_under_way != Some(to) {
        let note = format!(
            "topic {}: replication factor {from} becomes {to}",
            pass.topic_name
        );
        let notice = Notice::done("ReplicationFactorChanging", note);
        executed.notices.push(notice);
    }
    Ok(true)
}

/// Adds partitions.
pub(super) async fn partitions(
    pass: &Pass<'_>,
    count: i32,
    executed: &mut Executed,
) -> Result<bool, ReconcileError> {
    let request = CreatePartitionsRequest {
        topics: vec![Increase {
            name: pass.topic_name.clone(),
            count,
            assignments: Vec::new(),
        }],
        ..CreatePartitionsRequest::default()
    };
    let answer = pass
        .quorum()?
        .change(|mut client, operator_epoch| {
            let request = CreatePartitionsRequest {
                operator_epoch,
                ..request.clone()
            };
            async move { client.create_partitions(request).await }
        })
        .await
        .map(Response::into_inner)?;
    let (code, message) = outcome_of(answer.results.into_iter().next());
    if code != 0 {
        executed
            .outcome
            .failed
            .push(Finding::new(reason_of(code), message));
        return Ok(true);
    }
    let note = format!("topic {} has {count} partitions now", pass.topic_name);
    executed.notices.push(Notice::done("PartitionsAdded", note));
    Ok(true)
}

/// Changes settings.
pub(super) async fn settings(
    pass: &Pass<'_>,
    diff: &ConfigDiff,
    executed: &mut Executed,
) -> Result<bool, ReconcileError> {
    let altered = pass
        .quorum()?
        .alter(ResourceType::Topic, &pass.topic_name, diff)
        .await?;
    if !altered.refused.is_empty() {
        let message = format!(
            "spec.config holds what the brokers refuse: {}",
            altered.refused.join("; ")
        );
        executed
            .outcome
            .refused
            .push(Finding::new("ConfigInvalid", message));
    }
    if !altered.changed.is_empty() {
        let keys: Vec<String> = altered.changed.into_iter().collect();
        let note = format!("topic {}: {}", pass.topic_name, keys.join(", "));
        executed.notices.push(Notice::done("ConfigChanged", note));
    }
    Ok(true)
}
