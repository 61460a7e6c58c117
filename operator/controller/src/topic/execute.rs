//! Apply: does what was planned, in order, until something fails.

use foz_api::v1::create_partitions_request::Increase;
use foz_api::v1::create_topics_request::NewTopic;
use foz_api::v1::create_topics_response::Result as CreateResult;
use foz_api::v1::{
    CreatePartitionsRequest, CreateTopicsRequest, DeleteTopicsRequest, Outcome as KafkaOutcome,
    ResourceType, TopicRef,
};
use foz_crd::{Topic, TopicStatus};
use kube::api::{Patch, PatchParams};
use kube::{Api, Resource as _};
use serde_json::json;
use tonic::{Response, Status};

use crate::conditions::Finding;
use crate::config_diff::ConfigDiff;
use crate::error::ReconcileError;
use crate::events::Notice;
use crate::names::OPERATOR;
use crate::quorum::QuorumError;
use crate::quorum::view::{TopicView, id_text, topic_view};
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
    /// The object was let go: there is no status to write.
    pub(super) let_go: bool,
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
            ) => create(pass, topic, *again, *replication_factor, &mut executed).await,
            (Action::Claim { id, adopted }, _) => {
                executed.outcome.topic_id = Some(id.clone());
                executed.outcome.creating = Some(false);
                if *adopted {
                    let note = format!("topic {} with the id {id}", pass.topic_name);
                    executed.notices.push(Notice::done("TopicAdopted", note));
                }
                Ok(true)
            }
            (Action::AddPartitions(count), _) => add_partitions(pass, *count, &mut executed).await,
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
            (Action::AlterConfigs(diff), _) => alter(pass, diff, &mut executed).await,
            (Action::Delete(id), _) => delete(pass, id, &mut executed).await,
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

/// Makes the topic. First without effect: what is refused anyway needs no intent written down. Then
/// the intent is: if the answer is lost, the topic that turns up is this object's.
async fn create(
    pass: &Pass<'_>,
    topic: &ValidatedTopic,
    again: bool,
    replication_factor: i32,
    executed: &mut Executed,
) -> Result<bool, ReconcileError> {
    let tried = call_create(pass, topic, replication_factor, true).await?;
    let (code, message) = outcome_of(tried.outcome);
    if code != 0 {
        executed.outcome.creating = pass
            .previous
            .creating
            .then_some(code == TOPIC_ALREADY_EXISTS);
        executed
            .outcome
            .failed
            .push(Finding::new(reason_of(code), message));
        return Ok(false);
    }
    if !pass.previous.creating {
        let status = TopicStatus {
            creating: true,
            ..pass.previous.clone()
        };
        pass.write_status(&status).await?;
        executed.outcome.creating = Some(true);
    }
    let made = call_create(pass, topic, replication_factor, false).await?;
    let (code, message) = outcome_of(made.outcome);
    if code != 0 {
        // That it exists is about another's, unless an earlier attempt may have made it: then the
        // stream will tell of it.
        let may_be_ours = pass.previous.creating && code == TOPIC_ALREADY_EXISTS;
        executed.outcome.creating = Some(may_be_ours);
        executed
            .outcome
            .failed
            .push(Finding::new(reason_of(code), message));
        return Ok(false);
    }
    let made = made.topic.map(topic_view);
    let partitions = made.as_ref().map_or(0, |made| made.partitions);
    let note = format!("topic {}, partitions: {partitions}", topic.name);
    executed.notices.push(if again {
        // It is empty now: whoever deleted it deleted its records.
        let note = format!("{note}; it had been deleted by other means, with its records");
        Notice::warning("TopicRecreated", note)
    } else {
        Notice::done("TopicCreated", note)
    });
    executed.outcome.creating = Some(false);
    executed.outcome.topic_id = made.as_ref().map(TopicView::id_text);
    executed.outcome.managed = Some(topic.config.keys().cloned().collect());
    executed.outcome.topic = made;
    Ok(true)
}

async fn call_create(
    pass: &Pass<'_>,
    topic: &ValidatedTopic,
    replication_factor: i32,
    validate_only: bool,
) -> Result<CreateResult, ReconcileError> {
    let request = CreateTopicsRequest {
        topics: vec![NewTopic {
            name: topic.name.clone(),
            partitions: topic.partitions.unwrap_or(-1),
            replication_factor,
            config: topic.config.clone().into_iter().collect(),
            ..NewTopic::default()
        }],
        validate_only,
        operator_epoch: 0,
    };
    let answer = pass
        .quorum()?
        .change(|mut client, operator_epoch| {
            let request = CreateTopicsRequest {
                operator_epoch,
                ..request.clone()
            };
            async move { client.create_topics(request).await }
        })
        .await?;
    Ok(answer
        .into_inner()
        .results
        .into_iter()
        .next()
        .unwrap_or_default())
}

async fn add_partitions(
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

async fn alter(
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

async fn delete(
    pass: &Pass<'_>,
    id: &[u8],
    executed: &mut Executed,
) -> Result<bool, ReconcileError> {
    let request = DeleteTopicsRequest {
        topics: vec![TopicRef {
            name: pass.topic_name.clone(),
            id: id.to_vec(),
        }],
        ..DeleteTopicsRequest::default()
    };
    let answer = pass
        .quorum()?
        .change(|mut client, operator_epoch| {
            let request = DeleteTopicsRequest {
                operator_epoch,
                ..request.clone()
            };
            async move { client.delete_topics(request).await }
        })
        .await
        .map(Response::into_inner)?;
    let (code, message) = outcome_of(
        answer
            .results
            .into_iter()
            .next()
            .unwrap_or_default()
            .outcome,
    );
    match code {
        0 => {
            let note = format!("topic {} with the id {}", pass.topic_name, id_text(id));
            executed.notices.push(Notice::done("TopicDeleted", note));
            Ok(true)
        }
        // Gone already.
        UNKNOWN_TOPIC_OR_PARTITION | UNKNOWN_TOPIC_ID => Ok(true),
        _ => {
            let status = Status::failed_precondition(message);
            let error = foz_api::CallError::Answered(Box::new(status));
            Err(QuorumError::Call(error).into())
        }
    }
}

/// Sets which of the object's finalizers are ours. Those of others stay: the API server knows whose
/// each is.
async fn finalizers(pass: &Pass<'_>, ours: &[&str]) -> Result<(), ReconcileError> {
    let api: Api<Topic> = Api::namespaced(pass.context.client.clone(), &pass.cluster.namespace);
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
