//! ListConfigResources (74, KIP-1142): what DescribeConfigs can be asked for; of groups, those on which something is set.

use foz_metadata::Image;
use foz_protocol::error::ErrorCode;
use kafka_protocol::messages::list_config_resources_response::ConfigResource;
use kafka_protocol::messages::{ListConfigResourcesRequest, ListConfigResourcesResponse};

use super::text;
use crate::authorizer::{Operation, Resource};
use crate::config_view::{RESOURCE_BROKER, RESOURCE_GROUP, RESOURCE_TOPIC};
use crate::request::RequestContext;

/// Of these there are none here.
const RESOURCE_BROKER_LOGGER: i8 = 8;
const RESOURCE_CLIENT_METRICS: i8 = 16;

/// Version 0 is for client metrics alone (KIP-1000).
const TYPES_FROM: i16 = 1;

pub(crate) async fn handle(
    context: RequestContext,
    request: ListConfigResourcesRequest,
) -> ListConfigResourcesResponse {
    let response = ListConfigResourcesResponse::default();
    if !context.allows(Operation::DescribeConfigs, &Resource::Cluster) {
        return response.with_error_code(ErrorCode::ClusterAuthorizationFailed.code());
    }
    let image = context.broker.image();
    match listed(&image, context.version, &request.resource_types) {
        Ok(resources) => response.with_config_resources(resources),
        Err(error) => response.with_error_code(error.code()),
    }
}

fn listed(image: &Image, version: i16, asked: &[i8]) -> Result<Vec<ConfigResource>, ErrorCode> {
    let known: &[i8] = if version < TYPES_FROM {
        &[RESOURCE_CLIENT_METRICS]
    } else {
        &[
            RESOURCE_TOPIC,
            RESOURCE_BROKER,
            RESOURCE_BROKER_LOGGER,
            RESOURCE_CLIENT_METRICS,
            RESOURCE_GROUP,
        ]
    };
    if asked.iter().any(|kind| !known.contains(kind)) {
        return Err(ErrorCode::UnsupportedVersion);
    }
    // No types stand for all of them.
    let kinds = if asked.is_empty() { known } else { asked };
    let resource = |kind, name: String| {
        ConfigResource::default()
            .with_resource_type(kind)
            .with_resource_name(text(name))
    };
    let mut resources = Vec::new();
    if kinds.contains(&RESOURCE_BROKER) {
        let brokers = image.brokers().map(|broker| broker.node_id.to_string());
        resources.extend(brokers.map(|name| resource(RESOURCE_BROKER, name)));
    }
    if kinds.contains(&RESOURCE_TOPIC) {
        let topics = image.topics().map(|topic| topic.name.to_string());
        resources.extend(topics.map(|name| resource(RESOURCE_TOPIC, name)));
    }
    if kinds.contains(&RESOURCE_GROUP) {
        let groups = image
            .configured_groups()
            .map(|group_id| group_id.to_string());
        resources.extend(groups.map(|name| resource(RESOURCE_GROUP, name)));
    }
    Ok(resources)
}
