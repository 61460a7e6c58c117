//! Deleting the topic.

use foz_api::v1::TopicRef;
use tonic::Status;

use crate::conditions::Finding;
use crate::error::ReconcileError;
use crate::events::Notice;
use crate::quorum::view::id_text;
use crate::quorum::{Deletion, QuorumError};
use crate::topic::execute::{Executed, UNKNOWN_TOPIC_ID, UNKNOWN_TOPIC_OR_PARTITION, outcome_of};
use crate::topic::reconcile::Pass;

/// Deletes it, and finds out whether that is done: the metadata as this operator follows it does not have the topic any
/// more, and every living broker has applied that. True when it is.
pub(super) async fn delete(
    pass: &Pass<'_>,
    id: &[u8],
    executed: &mut Executed,
) -> Result<bool, ReconcileError> {
    let quorum = pass.quorum()?;
    let topic = TopicRef {
        name: pass.topic_name.clone(),
        id: id.to_vec(),
    };
    let Deletion { result, behind } = quorum.delete_topic(topic).await?;
    let (code, message) = outcome_of(result.outcome);
    match code {
        0 => {
            let note = format!("topic {} with the id {}", pass.topic_name, id_text(id));
            executed.notices.push(Notice::done("TopicDeleted", note));
        }
        // Gone already.
        UNKNOWN_TOPIC_OR_PARTITION | UNKNOWN_TOPIC_ID => {}
        _ => {
            let status = Status::failed_precondition(message);
            let error = foz_api::CallError::Answered(Box::new(status));
            return Err(QuorumError::Call(error).into());
        }
    }
    let is_told = match quorum.topic(&pass.topic_name) {
        Some(Some(topic)) => topic.id != id,
        Some(None) => true,
        None => false,
    };
    let waits_for = match behind.as_slice() {
        _ if !is_told => "the metadata still tells of it".to_owned(),
        [] => return Ok(true),
        behind if pass.deletion_is_overdue => {
            let note = format!(
                "topic {} is deleted; brokers {behind:?} have not heard of it yet, and are waited for no longer",
                pass.topic_name
            );
            executed
                .notices
                .push(Notice::warning("BrokersBehind", note));
            return Ok(true);
        }
        behind => format!("brokers {behind:?} have not heard of it yet"),
    };
    let message = format!("deletes topic {}: {waits_for}", pass.topic_name);
    executed.deleting = Some(Finding::new("Deleting", message));
    Ok(false)
}
