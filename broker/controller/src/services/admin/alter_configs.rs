use foz_api::v1;
use foz_api::v1::alter_configs_response::{Effect, KeyEffect, Result as ResourceResult};
use foz_metadata::config;
use foz_metadata::rules::{
    self, AlterConfigs, AlterResource, ConfigChange, ConfigOperation, ResourceName,
};
use tonic::Status;

use crate::convert;
use crate::services::calls::Calls;

pub(super) async fn alter_configs(
    calls: &Calls,
    request: v1::AlterConfigsRequest,
) -> Result<v1::AlterConfigsResponse, Status> {
    let request = AlterConfigs {
        resources: request
            .resources
            .into_iter()
            .map(resource)
            .collect::<Result<_, _>>()?,
        replaces: request.replaces,
        validate_only: request.validate_only,
        operator_epoch: request.operator_epoch,
    };
    let shared = calls.shared.clone();
    let rule = move |image: &_| rules::alter_configs(image, &shared.config.properties, &request);
    let results = calls.change(rule).await?;
    let results = results
        .into_iter()
        .map(|result| ResourceResult {
            outcome: Some(convert::outcome(&result)),
            effects: result
                .unwrap_or_default()
                .into_iter()
                .map(key_effect)
                .collect(),
        })
        .collect();
    Ok(v1::AlterConfigsResponse { results })
}

fn resource(resource: v1::alter_configs_request::Resource) -> Result<AlterResource, Status> {
    let name = match resource.r#type() {
        v1::ResourceType::Topic => ResourceName::Topic(resource.name),
        v1::ResourceType::Broker => ResourceName::Broker(resource.name),
        v1::ResourceType::Group => ResourceName::Group(resource.name),
        v1::ResourceType::Unspecified => {
            ResourceName::Other(format!("resource type {}", resource.r#type))
        }
    };
    let changes = resource
        .changes
        .into_iter()
        .map(change)
        .collect::<Result<_, _>>()?;
    Ok(AlterResource { name, changes })
}

fn change(change: v1::ConfigChange) -> Result<ConfigChange, Status> {
    let operation = match v1::ConfigOperation::try_from(change.operation) {
        Ok(v1::ConfigOperation::Set) => ConfigOperation::Set,
        Ok(v1::ConfigOperation::Delete) => ConfigOperation::Delete,
        Ok(v1::ConfigOperation::Append) => ConfigOperation::Append,
        Ok(v1::ConfigOperation::Subtract) => ConfigOperation::Subtract,
        Err(_) => {
            return Err(Status::invalid_argument(format!(
                "operation {} of {} must be 0 (set), 1 (delete), 2 (append) or 3 (subtract)",
                change.operation, change.key
            )));
        }
    };
    Ok(ConfigChange {
        key: change.key,
        operation,
        value: change.value,
    })
}

fn key_effect(effect: rules::KeyEffect) -> KeyEffect {
    let counts = match effect.effect {
        config::Effect::Applied => Effect::Applied,
        // A key of the file cannot be changed by a request, so this one is never answered.
        config::Effect::NeedsRestart | config::Effect::FileOnly => Effect::NeedsRestart,
    };
    KeyEffect {
        key: effect.key.to_owned(),
        effect: counts.into(),
    }
}
