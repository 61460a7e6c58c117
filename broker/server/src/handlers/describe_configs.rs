//! DescribeConfigs (32): every key with the value that counts and where it comes from.

use foz_protocol::error::ErrorCode;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsResult, DescribeConfigsSynonym,
};
use kafka_protocol::messages::{DescribeConfigsRequest, DescribeConfigsResponse};

use super::text;
use crate::authorizer::{Operation, Resource};
use crate::config_view::{self, Entry, RESOURCE_BROKER, RESOURCE_GROUP, RESOURCE_TOPIC};
use crate::request::RequestContext;

pub(crate) async fn handle(
    context: RequestContext,
    request: DescribeConfigsRequest,
) -> DescribeConfigsResponse {
    let results = request
        .resources
        .iter()
        .map(|resource| {
            let result = DescribeConfigsResult::default()
                .with_resource_type(resource.resource_type)
                .with_resource_name(resource.resource_name.clone());
            match entries(&context, resource) {
                Ok(entries) => result.with_configs(selected(&request, resource, entries)),
                Err((error, message)) => result
                    .with_error_code(error.code())
                    .with_error_message(Some(text(message))),
            }
        })
        .collect();
    DescribeConfigsResponse::default().with_results(results)
}

fn entries(
    context: &RequestContext,
    resource: &DescribeConfigsResource,
) -> Result<Vec<Entry>, (ErrorCode, String)> {
    let name = resource.resource_name.as_str();
    match resource.resource_type {
        RESOURCE_TOPIC => topic_entries(context, name),
        RESOURCE_BROKER => broker_entries(context, name),
        RESOURCE_GROUP => group_entries(context, name),
        other => Err((
            ErrorCode::InvalidRequest,
            format!("resource type {other}: 2 (topic), 4 (broker) or 32 (group) is right"),
        )),
    }
}

fn topic_entries(context: &RequestContext, name: &str) -> Result<Vec<Entry>, (ErrorCode, String)> {
    if !context.allows(Operation::DescribeConfigs, &Resource::Topic(name)) {
        let message = format!("not allowed to see the configs of topic {name}");
        return Err((ErrorCode::TopicAuthorizationFailed, message));
    }
    if let Err(error) = foz_metadata::topic_name::validate(name) {
        return Err((ErrorCode::InvalidTopicException, error.to_string()));
    }
    if context.broker.image().topic(name).is_none() {
        return Err((
            ErrorCode::UnknownTopicOrPartition,
            format!("there is no topic {name}"),
        ));
    }
    Ok(config_view::topic_configs(
        &context.broker,
        name,
        &Default::default(),
    ))
}

fn broker_entries(context: &RequestContext, name: &str) -> Result<Vec<Entry>, (ErrorCode, String)> {
    if !context.allows(Operation::DescribeConfigs, &Resource::Cluster) {
        let message = "not allowed to see the configs of brokers".to_owned();
        return Err((ErrorCode::ClusterAuthorizationFailed, message));
    }
    if name.is_empty() {
        return Ok(config_view::default_broker_configs(&context.broker));
    }
    // Only the broker itself knows its file; clients send such a request to that broker.
    if name == context.broker.node_id.to_string() {
        Ok(config_view::broker_configs(&context.broker))
    } else {
        let own = context.broker.node_id;
        Err((
            ErrorCode::InvalidRequest,
            format!("broker {name}'s configs were asked of broker {own}: ask broker {name}"),
        ))
    }
}

/// Of a group that is not there, too: it may come.
fn group_entries(context: &RequestContext, name: &str) -> Result<Vec<Entry>, (ErrorCode, String)> {
    if !context.allows(Operation::DescribeConfigs, &Resource::Group(name)) {
        let message = format!("not allowed to see the configs of group {name}");
        return Err((ErrorCode::GroupAuthorizationFailed, message));
    }
    if name.is_empty() {
        let message = "the group id is empty".to_owned();
        return Err((ErrorCode::InvalidRequest, message));
    }
    Ok(config_view::group_configs(&context.broker, name))
}

fn selected(
    request: &DescribeConfigsRequest,
    resource: &DescribeConfigsResource,
    entries: Vec<Entry>,
) -> Vec<DescribeConfigsResourceResult> {
    let wanted = |entry: &Entry| match &resource.configuration_keys {
        // An empty list means all, as Kafka's broker takes it.
        Some(keys) if !keys.is_empty() => keys.iter().any(|key| key.as_str() == entry.name),
        _ => true,
    };
    entries
        .into_iter()
        .filter(wanted)
        .map(|entry| {
            let synonyms = entry
                .synonyms
                .into_iter()
                .filter(|_| request.include_synonyms)
                .map(|(name, value, source)| {
                    DescribeConfigsSynonym::default()
                        .with_name(text(name))
                        .with_value(Some(text(value)))
                        .with_source(source)
                })
                .collect();
            DescribeConfigsResourceResult::default()
                .with_name(text(entry.name))
                .with_value(entry.value.map(text))
                .with_read_only(entry.read_only)
                .with_config_source(entry.source)
                .with_is_sensitive(entry.sensitive)
                .with_synonyms(synonyms)
                .with_config_type(entry.config_type)
                .with_documentation(
                    request
                        .include_documentation
                        .then(|| text(entry.documentation)),
                )
        })
        .collect()
}
