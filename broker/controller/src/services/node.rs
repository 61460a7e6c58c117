//! What brokers ask, and controllers of the active one.

mod allocate_producer_ids;
mod alter_partitions;
pub(crate) mod ask_to_stop;
pub(crate) mod controller_started;
mod lease;
mod register_broker;
mod report_load;
mod report_offline_replicas;
mod watch_metadata;

use std::sync::Arc;

use foz_api::v1;
use foz_api::v1::node_server::Node;
use tonic::{Request, Response, Status, Streaming};

use super::calls::{AnswerStream, Calls};

pub(crate) struct NodeService(pub(crate) Arc<Calls>);

#[tonic::async_trait]
impl Node for NodeService {
    type LeaseStream = AnswerStream<v1::LeaseAnswer>;
    type WatchMetadataStream = AnswerStream<v1::MetadataFrame>;

    async fn register_broker(
        &self,
        request: Request<v1::RegisterBrokerRequest>,
    ) -> Result<Response<v1::RegisterBrokerResponse>, Status> {
        register_broker::register_broker(&self.0, request.into_inner())
            .await
            .map(Response::new)
    }

    async fn lease(
        &self,
        request: Request<Streaming<v1::LeaseBeat>>,
    ) -> Result<Response<Self::LeaseStream>, Status> {
        lease::lease(&self.0, request.into_inner())
            .await
            .map(Response::new)
    }

    async fn watch_metadata(
        &self,
        request: Request<v1::WatchMetadataRequest>,
    ) -> Result<Response<Self::WatchMetadataStream>, Status> {
        watch_metadata::watch_metadata(&self.0, request.into_inner())
            .await
            .map(Response::new)
    }

    async fn alter_partitions(
        &self,
        request: Request<v1::AlterPartitionsRequest>,
    ) -> Result<Response<v1::AlterPartitionsResponse>, Status> {
        alter_partitions::alter_partitions(&self.0, request.into_inner())
            .await
            .map(Response::new)
    }

    async fn allocate_producer_ids(
        &self,
        request: Request<v1::AllocateProducerIdsRequest>,
    ) -> Result<Response<v1::AllocateProducerIdsResponse>, Status> {
        allocate_producer_ids::allocate_producer_ids(&self.0, request.into_inner())
            .await
            .map(Response::new)
    }

    async fn report_load(
        &self,
        request: Request<v1::ReportLoadRequest>,
    ) -> Result<Response<v1::ReportLoadResponse>, Status> {
        report_load::report_load(&self.0, request.into_inner())
            .await
            .map(Response::new)
    }

    async fn report_offline_replicas(
        &self,
        request: Request<v1::ReportOfflineReplicasRequest>,
    ) -> Result<Response<v1::ReportOfflineReplicasResponse>, Status> {
        report_offline_replicas::report_offline_replicas(&self.0, request.into_inner())
            .await
            .map(Response::new)
    }

    async fn ask_to_stop(
        &self,
        request: Request<v1::AskToStopRequest>,
    ) -> Result<Response<v1::AskToStopResponse>, Status> {
        ask_to_stop::ask_to_stop(&self.0, request.into_inner())
            .await
            .map(Response::new)
    }

    async fn controller_started(
        &self,
        request: Request<v1::ControllerStartedRequest>,
    ) -> Result<Response<v1::ControllerStartedResponse>, Status> {
        controller_started::controller_started(&self.0, request.into_inner())
            .await
            .map(Response::new)
    }
}
