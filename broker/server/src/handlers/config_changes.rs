//! What AlterConfigs and IncrementalAlterConfigs share: the way to the active controller.

use std::collections::HashMap;

use foz_api::v1::admin_client::AdminClient;
use foz_api::v1::alter_configs_request::Resource as ChangedResource;
use foz_api::v1::{self as api, ConfigChange, ResourceType};
use foz_protocol::error::ErrorCode;

use crate::admin;
use crate::authorizer::{Operation, Resource};
use crate::config_view::{RESOURCE_BROKER, RESOURCE_GROUP, RESOURCE_TOPIC};
use crate::request::RequestContext;

/// The requests have no timeout of their own; this is Kafka's `default.api.timeout.ms`.
const TIMEOUT_MS: i32 = 60_000;

/// Why a resource is not changed.
pub(super) type Refused = (ErrorCode, String);

/// Resources as a request names them, by type and name.
struct Named<'a>(HashMap<(i8, &'a str), usize>);

impl<'a> Named<'a> {
    pub(super) fn of(resources: impl Iterator<Item = (i8, &'a str)>) -> Self {
        let mut times = HashMap::new();
        for resource in resources {
            *times.entry(resource).or_default() += 1;
        }
        Self(times)
    }

    /// Kafka refuses what is named twice before it looks at anything else: else one of them could be wrong, and the other
    /// one count.
    pub(super) fn check_once(&self, resource_type: i8, name: &str) -> Result<(), Refused> {
        if self.0.get(&(resource_type, name)).is_some_and(|it| *it > 1) {
            let message = format!("{name:?} (type {resource_type}) must appear at most once");
            return Err((ErrorCode::InvalidRequest, message));
        }
        Ok(())
    }
}

/// A resource that may be changed by who asks.
fn resource(
    context: &RequestContext,
    resource_type: i8,
    name: &str,
    changes: Vec<ConfigChange>,
) -> Result<ChangedResource, Refused> {
    let (kind, acted_on, error) = match resource_type {
        RESOURCE_TOPIC => (
            ResourceType::Topic,
            Resource::Topic(name),
            ErrorCode::TopicAuthorizationFailed,
        ),
        RESOURCE_BROKER => (
            ResourceType::Broker,
            Resource::Cluster,
            ErrorCode::ClusterAuthorizationFailed,
        ),
        RESOURCE_GROUP => (
            ResourceType::Group,
            Resource::Group(name),
            ErrorCode::GroupAuthorizationFailed,
        ),
        other => {
            return Err((
                ErrorCode::InvalidRequest,
                format!("resource type {other}: 2 (topic), 4 (broker) or 32 (group) is right"),
            ));
        }
    };
    if !context.allows(Operation::AlterConfigs, &acted_on) {
        return Err((error, format!("not allowed to alter the configs of {name}")));
    }
    Ok(ChangedResource {
        r#type: kind.into(),
        name: name.to_owned(),
        changes,
    })
}

/// The resources of a request, each named once. `id` tells the type and the name of one.
pub(super) fn checked<R>(
    context: &RequestContext,
    resources: &[R],
    id: fn(&R) -> (i8, &str),
    changes: fn(&R) -> Result<Vec<ConfigChange>, Refused>,
) -> Vec<Result<ChangedResource, Refused>> {
    let named = Named::of(resources.iter().map(id));
    let changed = resources.iter().map(|it| {
        let (kind, name) = id(it);
        named.check_once(kind, name)?;
        resource(context, kind, name, changes(it)?)
    });
    changed.collect()
}

/// Kafka's error for a key without a value, where it needs one.
pub(super) fn null_value(key: &str) -> Refused {
    let message = format!("{key} is null: only a deletion has no value");
    (ErrorCode::InvalidRequest, message)
}

/// Has the active controller change what was not refused; error code and message of each resource, in their order.
pub(super) async fn change(
    context: &RequestContext,
    resources: Vec<Result<ChangedResource, Refused>>,
    replaces: bool,
    validate_only: bool,
) -> Vec<(i16, Option<String>)> {
    let message = api::AlterConfigsRequest {
        resources: resources.iter().flatten().cloned().collect(),
        validate_only,
        operator_epoch: 0,
        replaces,
    };
    let asked = message.resources.len();
    let mut outcomes = match asked {
        0 => Vec::new(),
        _ => changed(context, message, asked).await,
    }
    .into_iter();
    resources
        .into_iter()
        .map(|resource| match resource {
            Ok(_) => outcomes.next().unwrap_or_else(|| admin::outcome(None)),
            Err((error, message)) => (error.code(), Some(message)),
        })
        .collect()
}

async fn changed(
    context: &RequestContext,
    message: api::AlterConfigsRequest,
    asked: usize,
) -> Vec<(i16, Option<String>)> {
    let answer = admin::change(&context.broker, TIMEOUT_MS, |channel| {
        let message = message.clone();
        async move { AdminClient::new(channel).alter_configs(message).await }
    })
    .await;
    match answer {
        Ok(answer) => {
            let results = answer.results.into_iter();
            results.map(|it| admin::outcome(it.outcome)).collect()
        }
        Err(failed) => vec![(failed.error.code(), Some(failed.message)); asked],
    }
}
