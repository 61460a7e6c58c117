//! IncrementalAlterConfigs (44, KIP-339): passed on to the active controller.

use foz_api::v1::admin_client::AdminClient;
use foz_api::v1::alter_configs_request::Resource as ChangedResource;
use foz_api::v1::{self as api, ConfigChange, ConfigOperation, ResourceType};
use foz_protocol::error::ErrorCode;
use kafka_protocol::messages::incremental_alter_configs_request::AlterConfigsResource;
use kafka_protocol::messages::incremental_alter_configs_response::AlterConfigsResourceResponse;
use kafka_protocol::messages::{IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse};

use super::text;
use crate::admin;
use crate::authorizer::{Operation, Resource};
use crate::config_view::{RESOURCE_BROKER, RESOURCE_TOPIC};
use crate::request::RequestContext;

/// The request has no timeout of its own; this is Kafka's `default.api.timeout.ms`.
const TIMEOUT_MS: i32 = 60_000;

pub(crate) async fn handle(
    context: RequestContext,
    request: IncrementalAlterConfigsRequest,
) -> IncrementalAlterConfigsResponse {
    let mut responses = Vec::with_capacity(request.resources.len());
    let mut asked: Vec<(&AlterConfigsResource, ChangedResource)> = Vec::new();
    for resource in &request.resources {
        match checked(&context, resource) {
            Ok(change) => asked.push((resource, change)),
            Err((error, message)) => {
                responses.push(result(resource, error.code(), Some(message)));
            }
        }
    }
    if !asked.is_empty() {
        let message = api::AlterConfigsRequest {
            resources: asked.iter().map(|(_, change)| change.clone()).collect(),
            validate_only: request.validate_only,
            operator_epoch: 0,
        };
        let answer = admin::change(&context.broker, TIMEOUT_MS, |channel| {
            let message = message.clone();
            async move { AdminClient::new(channel).alter_configs(message).await }
        })
        .await;
        match answer {
            Ok(answer) => {
                for ((resource, _), altered) in asked.iter().zip(answer.results) {
                    let (code, message) = admin::outcome(altered.outcome);
                    responses.push(result(resource, code, message));
                }
            }
            Err(error) => responses.extend(asked.iter().map(|(resource, _)| {
                result(resource, error.error.code(), Some(error.message.clone()))
            })),
        }
    }
    IncrementalAlterConfigsResponse::default().with_responses(responses)
}

fn checked(
    context: &RequestContext,
    resource: &AlterConfigsResource,
) -> Result<ChangedResource, (ErrorCode, String)> {
    let name = resource.resource_name.to_string();
    let (kind, allowed) = match resource.resource_type {
        RESOURCE_TOPIC => (
            ResourceType::Topic,
            context.allows(Operation::AlterConfigs, &Resource::Topic(&name)),
        ),
        RESOURCE_BROKER => (
            ResourceType::Broker,
            context.allows(Operation::AlterConfigs, &Resource::Cluster),
        ),
        other => {
            return Err((
                ErrorCode::InvalidRequest,
                format!("resource type {other}: 2 (topic) or 4 (broker) is right"),
            ));
        }
    };
    if !allowed {
        let error = match kind {
            ResourceType::Topic => ErrorCode::TopicAuthorizationFailed,
            _ => ErrorCode::ClusterAuthorizationFailed,
        };
        return Err((error, format!("not allowed to alter the configs of {name}")));
    }
    let changes = resource
        .configs
        .iter()
        .map(|config| {
            let operation =
                ConfigOperation::try_from(i32::from(config.config_operation)).map_err(|_| {
                    let operation = config.config_operation;
                    let key = &config.name;
                    (
                        ErrorCode::InvalidRequest,
                        format!("operation {operation} on {key}: 0 to 3 are right"),
                    )
                })?;
            if config.value.is_none() && operation != ConfigOperation::Delete {
                let message = format!("{} is null: only a deletion has no value", config.name);
                return Err((ErrorCode::InvalidConfig, message));
            }
            Ok(ConfigChange {
                key: config.name.to_string(),
                operation: operation.into(),
                value: config
                    .value
                    .as_ref()
                    .map(ToString::to_string)
                    .unwrap_or_default(),
            })
        })
        .collect::<Result<Vec<_>, _>>()?;
    Ok(ChangedResource {
        r#type: kind.into(),
        name,
        changes,
    })
}

fn result(
    resource: &AlterConfigsResource,
    code: i16,
    message: Option<String>,
) -> AlterConfigsResourceResponse {
    AlterConfigsResourceResponse::default()
        .with_error_code(code)
        .with_error_message(message.map(text))
        .with_resource_type(resource.resource_type)
        .with_resource_name(resource.resource_name.clone())
}
