//! AlterConfigs (33), which Kafka's own clients have given up for IncrementalAlterConfigs (KIP-339) and others still send:
//! what is set on the resource and not named goes back to its default.

use foz_api::v1::{ConfigChange, ConfigOperation};
use kafka_protocol::messages::alter_configs_request::AlterConfigsResource;
use kafka_protocol::messages::alter_configs_response::AlterConfigsResourceResponse;
use kafka_protocol::messages::{AlterConfigsRequest, AlterConfigsResponse};

use super::config_changes::{self, Refused};
use super::text;
use crate::request::RequestContext;

pub(crate) async fn handle(
    context: RequestContext,
    request: AlterConfigsRequest,
) -> AlterConfigsResponse {
    let changed = config_changes::checked(&context, &request.resources, id, values);
    let outcomes = config_changes::change(&context, changed, true, request.validate_only).await;
    let responses = request.resources.into_iter().zip(outcomes);
    let responses = responses.map(|(resource, (code, message))| {
        AlterConfigsResourceResponse::default()
            .with_error_code(code)
            .with_error_message(message.map(text))
            .with_resource_type(resource.resource_type)
            .with_resource_name(resource.resource_name)
    });
    AlterConfigsResponse::default().with_responses(responses.collect())
}

fn id(resource: &AlterConfigsResource) -> (i8, &str) {
    (resource.resource_type, &resource.resource_name)
}

fn values(resource: &AlterConfigsResource) -> Result<Vec<ConfigChange>, Refused> {
    let configs = resource.configs.iter();
    let changes = configs.map(|config| match &config.value {
        Some(value) => Ok(ConfigChange {
            key: config.name.to_string(),
            operation: ConfigOperation::Set.into(),
            value: value.to_string(),
        }),
        None => Err(config_changes::null_value(&config.name)),
    });
    changes.collect()
}
