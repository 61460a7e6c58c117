//! DescribeCluster (60): the cluster's id and its brokers.

use foz_protocol::error::ErrorCode;
use kafka_protocol::messages::describe_cluster_response::DescribeClusterBroker;
use kafka_protocol::messages::{BrokerId, DescribeClusterRequest, DescribeClusterResponse};

use super::{authorized_operations, metadata, text};
use crate::authorizer::Resource;
use crate::request::RequestContext;

/// KIP-919: the client wants the brokers, not the controllers.
const ENDPOINT_TYPE_BROKERS: i8 = 1;
const ENDPOINT_TYPE_CONTROLLERS: i8 = 2;

pub(crate) async fn handle(
    context: RequestContext,
    request: DescribeClusterRequest,
) -> DescribeClusterResponse {
    let response = DescribeClusterResponse::default().with_endpoint_type(ENDPOINT_TYPE_BROKERS);
    if context.version >= 1 && request.endpoint_type != ENDPOINT_TYPE_BROKERS {
        let error = match request.endpoint_type {
            ENDPOINT_TYPE_CONTROLLERS => ErrorCode::MismatchedEndpointType,
            _ => ErrorCode::UnsupportedEndpointType,
        };
        return response
            .with_error_code(error.code())
            .with_error_message(Some(text(format!(
                "endpoint type {} was asked of a broker: 1 is right here",
                request.endpoint_type
            ))));
    }
    let image = context.broker.image();
    let brokers = image
        .brokers()
        .filter(|broker| !broker.fenced || request.include_fenced_brokers)
        .map(|broker| {
            DescribeClusterBroker::default()
                .with_broker_id(BrokerId(broker.node_id))
                .with_host(text(&broker.host))
                .with_port(i32::from(broker.port))
                .with_rack(image.rack(broker.node_id).map(text))
                .with_is_fenced(broker.fenced && context.version >= 2)
        })
        .collect();
    response
        .with_cluster_id(text(image.cluster_id()))
        .with_controller_id(BrokerId(metadata::controller_id(&image)))
        .with_brokers(brokers)
        .with_cluster_authorized_operations(authorized_operations::bits(
            &context,
            &Resource::Cluster,
            request.include_cluster_authorized_operations,
        ))
}
