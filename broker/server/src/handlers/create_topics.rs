//! CreateTopics (19): passed on to the active controller.

use foz_api::v1::admin_client::AdminClient;
use foz_api::v1::create_topics_request::NewTopic;
use foz_api::v1::{self as api, Assignment};
use foz_protocol::error::ErrorCode;
use kafka_protocol::messages::create_topics_request::{CreatableReplicaAssignment, CreatableTopic};
use kafka_protocol::messages::create_topics_response::{
    CreatableTopicConfigs, CreatableTopicResult,
};
use kafka_protocol::messages::{CreateTopicsRequest, CreateTopicsResponse, TopicName};
use uuid::Uuid;

use super::text;
use crate::admin;
use crate::authorizer::{Operation, Resource};
use crate::config_view;
use crate::request::RequestContext;

pub(crate) async fn handle(
    context: RequestContext,
    request: CreateTopicsRequest,
) -> CreateTopicsResponse {
    let mut results: Vec<CreatableTopicResult> = Vec::with_capacity(request.topics.len());
    let mut asked = Vec::new();
    for topic in &request.topics {
        match checked(&context, topic) {
            Ok(new) => asked.push(new),
            Err((error, message)) => {
                results.push(failed(&topic.name.0, error.code(), Some(message)));
            }
        }
    }
    results.extend(create(&context, &request, asked).await);
    CreateTopicsResponse::default().with_topics(results)
}

async fn create(
    context: &RequestContext,
    request: &CreateTopicsRequest,
    topics: Vec<NewTopic>,
) -> Vec<CreatableTopicResult> {
    if topics.is_empty() {
        return Vec::new();
    }
    let names: Vec<String> = topics.iter().map(|topic| topic.name.clone()).collect();
    let message = api::CreateTopicsRequest {
        topics,
        validate_only: request.validate_only,
        operator_epoch: 0,
    };
    let answer = admin::change(&context.broker, request.timeout_ms, |channel| {
        let message = message.clone();
        async move { AdminClient::new(channel).create_topics(message).await }
    })
    .await;
    match answer {
        Ok(answer) => names
            .iter()
            .zip(answer.results)
            .map(|(name, result)| {
                let (code, reason) = admin::outcome(result.outcome);
                match result.topic {
                    Some(topic) if code == 0 => created(context, &topic),
                    _ => failed(name, code, reason),
                }
            })
            .collect(),
        Err(error) => names
            .iter()
            .map(|name| failed(name, error.error.code(), Some(error.message.clone())))
            .collect(),
    }
}

fn checked(
    context: &RequestContext,
    topic: &CreatableTopic,
) -> Result<NewTopic, (ErrorCode, String)> {
    let name = topic.name.to_string();
    if !context.allows(Operation::Create, &Resource::Cluster)
        && !context.allows(Operation::Create, &Resource::Topic(&name))
    {
        return Err((
            ErrorCode::TopicAuthorizationFailed,
            format!("not allowed to create {name}"),
        ));
    }
    let mut config = std::collections::BTreeMap::new();
    for entry in &topic.configs {
        let Some(value) = &entry.value else {
            return Err((
                ErrorCode::InvalidConfig,
                format!(
                    "config {} of topic {name} is null: give it a value",
                    entry.name
                ),
            ));
        };
        config.insert(entry.name.to_string(), value.to_string());
    }
    Ok(NewTopic {
        partitions: topic.num_partitions,
        replication_factor: i32::from(topic.replication_factor),
        assignments: assignments(&name, &topic.assignments)?,
        config,
        internal: crate::internal_topics::is_internal(&name),
        name,
        ..NewTopic::default()
    })
}

/// The protocol lists assignments by partition in any order; the contract wants them in order.
fn assignments(
    name: &str,
    assignments: &[CreatableReplicaAssignment],
) -> Result<Vec<Assignment>, (ErrorCode, String)> {
    let mut sorted: Vec<&CreatableReplicaAssignment> = assignments.iter().collect();
    sorted.sort_by_key(|assignment| assignment.partition_index);
    for (expected, assignment) in (0..).zip(&sorted) {
        if assignment.partition_index != expected {
            return Err((
                ErrorCode::InvalidReplicaAssignment,
                format!(
                    "topic {name} assigns partition {}: partitions must be 0 to {} without gaps",
                    assignment.partition_index,
                    assignments.len() - 1
                ),
            ));
        }
    }
    Ok(sorted
        .into_iter()
        .map(|assignment| Assignment {
            replicas: assignment.broker_ids.iter().map(|id| id.0).collect(),
        })
        .collect())
}

fn created(context: &RequestContext, topic: &api::Topic) -> CreatableTopicResult {
    let configs = config_view::topic_configs(&context.broker, &topic.name, &topic.config)
        .into_iter()
        .map(|entry| {
            CreatableTopicConfigs::default()
                .with_name(text(entry.name))
                .with_value(entry.value.map(text))
                .with_read_only(entry.read_only)
                .with_config_source(entry.source)
                .with_is_sensitive(entry.sensitive)
        })
        .collect();
    let replicas = topic
        .partitions
        .first()
        .map_or(0, |partition| partition.replicas.len());
    CreatableTopicResult::default()
        .with_name(TopicName(text(&topic.name)))
        .with_topic_id(Uuid::from_slice(&topic.id).unwrap_or_default())
        .with_num_partitions(topic.partitions.len() as i32)
        .with_replication_factor(replicas as i16)
        .with_configs(Some(configs))
}

fn failed(name: &str, code: i16, message: Option<String>) -> CreatableTopicResult {
    CreatableTopicResult::default()
        .with_name(TopicName(text(name)))
        .with_error_code(code)
        .with_error_message(message.map(text))
        .with_num_partitions(-1)
        .with_replication_factor(-1)
        .with_configs(Some(Vec::new()))
}
