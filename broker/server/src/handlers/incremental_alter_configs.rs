//! IncrementalAlterConfigs (44, KIP-339): passed on to the active controller.

use foz_api::v1::{ConfigChange, ConfigOperation};
use foz_protocol::error::ErrorCode;
use kafka_protocol::messages::incremental_alter_configs_request::{
    AlterConfigsResource, AlterableConfig,
};
use kafka_protocol::messages::incremental_alter_configs_response::AlterConfigsResourceResponse;
use kafka_protocol::messages::{IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse};

use super::config_changes::{self, Refused};
use super::text;
use crate::request::RequestContext;

pub(crate) async fn handle(
    context: RequestContext,
    request: IncrementalAlterConfigsRequest,
) -> IncrementalAlterConfigsResponse {
    let changed = config_changes::checked(&context, &request.resources, id, changes);
    let outcomes = config_changes::change(&context, changed, false, request.validate_only).await;
    let responses = request.resources.into_iter().zip(outcomes);
    let responses = responses.map(|(resource, (code, message))| {
        AlterConfigsResourceResponse::default()
            .with_error_code(code)
            .with_error_message(message.map(text))
            .with_resource_type(resource.resource_type)
            .with_resource_name(resource.resource_name)
    });
    IncrementalAlterConfigsResponse::default().with_responses(responses.collect())
}

fn id(resource: &AlterConfigsResource) -> (i8, &str) {
    (resource.resource_type, &resource.resource_name)
}

fn changes(resource: &AlterConfigsResource) -> Result<Vec<ConfigChange>, Refused> {
    resource.configs.iter().map(change).collect()
}

fn change(config: &AlterableConfig) -> Result<ConfigChange, Refused> {
    let (key, operation) = (&config.name, config.config_operation);
    let operation = ConfigOperation::try_from(i32::from(operation)).map_err(|_| {
        let message = format!("operation {operation} on {key}: 0 to 3 are right");
        (ErrorCode::InvalidRequest, message)
    })?;
    if config.value.is_none() && operation != ConfigOperation::Delete {
        return Err(config_changes::null_value(key));
    }
    Ok(ConfigChange {
        key: key.to_string(),
        operation: operation.into(),
        value: config.value.as_deref().unwrap_or_default().to_owned(),
    })
}
