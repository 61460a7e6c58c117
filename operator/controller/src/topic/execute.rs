//! Apply: does what was planned, in order, until something fails.

mod change;
mod create;
mod delete;
mod restore;

use foz_api::v1::Outcome as KafkaOutcome;
use foz_crd::{Topic, TopicStatus};
use kube::api::{Patch, PatchParams};
use kube::{Api, Resource as _};
use serde_json::json;

use crate::conditions::Finding;
use crate::error::ReconcileError;
use crate::events::Notice;
use crate::names::OPERATOR;
use crate::topic::FINALIZER;
use crate::topic::plan::Action;
use crate::topic::reconcile::Pass;
use crate::topic::status::Outcome;
use crate::topic::validate::ValidatedTopic;

/// Kafka's codes (https://kafka.apache.org/protocol#protocol_error_codes).
const UNKNOWN_TOPIC_OR_PARTITION: i32 = 3;
const TOPIC_ALREADY_EXISTS: i32 = 36;
const INVALID_PARTITIONS: i32 = 37;
const INVALID_REPLICATION_FACTOR: i32 = 38;
const INVALID_CONFIG: i32 = 40;
const UNKNOWN_TOPIC_ID: i32 = 100;

/// What came of a plan.
#[derive(Debug, Default)]
pub(super) struct Executed {
    pub(super) outcome: Outcome,
    pub(super) notices: Vec<Notice>,
    /// The pass has to come again, and why.
    pub(super) retry: Option<ReconcileError>,
    /// The topic is being deleted, and the object waits for this.
    pub(super) deleting: Option<Finding>,
    /// The object was let go: there is no status to write.
    pub(super) let_go: bool,
}

impl Executed {
    /// Nothing was done and nothing failed.
    pub(super) fn is_quiet(&self) -> bool {
        self.notices.is_empty()
            && self.retry.is_none()
            && self.deleting.is_none()
            && self.outcome == Outcome::default()
    }
}

/// Does it. `topic` is absent for an object that is being deleted.
pub(super) async fn execute(
    pass: &Pass<'_>,
    topic: Option<&ValidatedTopic>,
    actions: &[Action],
) -> Executed {
    let mut executed = Executed::default();
    for action in actions {
        pass.context.metrics.acted("Topic", action.label());
        tracing::info!(topic = pass.topic_name, action = action.label(), "acts");
        let done = match (action, topic) {
            (Action::AddFinalizer, _) => finalizers(pass, &[FINALIZER]).await.map(|()| true),
            (Action::RemoveFinalizer, _) => {
                executed.let_go = true;
                finalizers(pass, &[]).await.map(|()| true)
            }
            (
                Action::Create {
                    again,
                    replication_factor,
                },
                Some(topic),
            ) => create::create(pass, topic, *again, *replication_factor, &mut executed).await,
            (Action::Restore(which), _) => restore::restore(pass, which, &mut executed).await,
            (Action::Claim { id, adopted }, _) => {
                executed.outcome.topic_id = Some(id.clone());
                if *adopted {
                    let note = format!("topic {} with the id {id}", pass.topic_name);
                    executed.notices.push(Notice::done("TopicAdopted", note));
                }
                Ok(true)
            }
            (Action::ChangeReplicationFactor { id, from, to }, _) => {
                change::replication_factor(pass, id, (*from, *to), &mut executed).await
            }
            (Action::AddPartitions(count), _) => {
                change::partitions(pass, *count, &mut executed).await
            }
            (Action::RecordManagedKeys(keys), _) => {
                executed.outcome.managed = Some(keys.clone());
                let status = TopicStatus {
                    managed_config_keys: keys.clone(),
                    topic_id: executed
                        .outcome
                        .topic_id
                        .clone()
                        .or(pass.previous.topic_id.clone()),
                    ..pass.previous.clone()
                };
                pass.write_status(&status).await.map(|()| true)
            }
            (Action::AlterConfigs(diff), _) => change::settings(pass, diff, &mut executed).await,
            (Action::Delete(id), _) => delete::delete(pass, id, &mut executed).await,
            (Action::Create { .. }, None) => Ok(false),
        };
        match done {
            Ok(true) => {}
            Ok(false) => break,
            Err(error) => {
                tracing::warn!(topic = pass.topic_name, action = action.label(), %error, "an action failed");
                executed
                    .outcome
                    .failed
                    .push(Finding::new(error.reason(), error.to_string()));
                executed.retry = Some(error);
                break;
            }
        }
    }
    executed
}

/// Sets which of the object's finalizers are ours. Those of others stay: the API server knows whose
/// each is.
async fn finalizers(pass: &Pass<'_>, ours: &[&str]) -> Result<(), ReconcileError> {
    let api: Api<Topic> = Api::namespaced(pass.context.client.clone(), &pass.namespace);
    let object = json!({
        "apiVersion": Topic::api_version(&()),
        "kind": Topic::kind(&()),
        "metadata": {"uid": pass.uid, "finalizers": ours},
    });
    let parameters = PatchParams::apply(OPERATOR).force();
    match api
        .patch(&pass.object_name, &parameters, &Patch::Apply(&object))
        .await
    {
        Ok(_) => Ok(()),
        // The object is gone: the write would have made another one, without its uid.
        Err(kube::Error::Api(status)) if is_gone(&status) && ours.is_empty() => Ok(()),
        Err(error) => Err(ReconcileError::kubernetes(
            "the finalizer".to_owned(),
            error,
        )),
    }
}

fn is_gone(status: &kube::core::Status) -> bool {
    status.is_not_found() || status.is_conflict()
}

fn outcome_of(outcome: Option<KafkaOutcome>) -> (i32, String) {
    outcome.map_or((0, String::new()), |outcome| {
        (outcome.kafka_code, outcome.message)
    })
}

fn reason_of(kafka_code: i32) -> &'static str {
    match kafka_code {
        INVALID_PARTITIONS => "InvalidPartitions",
        INVALID_REPLICATION_FACTOR => "InvalidReplicationFactor",
        INVALID_CONFIG => "ConfigInvalid",
        TOPIC_ALREADY_EXISTS => "TopicExists",
        _ => "Refused",
    }
}
