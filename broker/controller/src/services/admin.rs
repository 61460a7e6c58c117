//! What administrators ask.

mod acquire_operator_epoch;
mod acquire_restart;
mod add_voter;
mod alter_configs;
mod alter_partition_reassignments;
mod as_outcome;
mod assign_racks;
mod cancel_rebalance;
mod change_replication_factor;
mod cordon_brokers;
mod create_partitions;
mod create_topics;
mod delete_topics;
mod describe_quorum;
mod elect_leaders;
mod end_restart;
mod list_deleted_topics;
mod plan_rebalance;
mod purge_deleted_topics;
mod rebalances;
mod remove_voter;
mod restore_topic;
mod start_rebalance;
mod unregister_broker;
mod update_features;
mod watch_cluster;

use std::sync::Arc;

use foz_api::v1;
use foz_api::v1::admin_server::Admin;
use tonic::{Request, Response, Status};

use super::calls::{AnswerStream, Calls};

pub(crate) struct AdminService(pub(crate) Arc<Calls>);

#[tonic::async_trait]
impl Admin for AdminService {
    type WatchClusterStream = AnswerStream<v1::ClusterEvent>;

    async fn describe_quorum(
        &self,
        _: Request<v1::DescribeQuorumRequest>,
    ) -> Result<Response<v1::DescribeQuorumResponse>, Status> {
        Ok(Response::new(describe_quorum::describe_quorum(&self.0)))
    }

    async fn acquire_operator_epoch(
        &self,
        request: Request<v1::AcquireOperatorEpochRequest>,
    ) -> Result<Response<v1::AcquireOperatorEpochResponse>, Status> {
        acquire_operator_epoch::acquire_operator_epoch(&self.0, request.into_inner())
            .await
            .map(Response::new)
    }

    async fn watch_cluster(
        &self,
        _: Request<v1::WatchClusterRequest>,
    ) -> Result<Response<Self::WatchClusterStream>, Status> {
        watch_cluster::watch_cluster(&self.0)
            .await
            .map(Response::new)
    }

    async fn create_topics(
        &self,
        request: Request<v1::CreateTopicsRequest>,
    ) -> Result<Response<v1::CreateTopicsResponse>, Status> {
        create_topics::create_topics(&self.0, request.into_inner())
            .await
            .map(Response::new)
    }

    async fn delete_topics(
        &self,
        request: Request<v1::DeleteTopicsRequest>,
    ) -> Result<Response<v1::DeleteTopicsResponse>, Status> {
        delete_topics::delete_topics(&self.0, request.into_inner())
            .await
            .map(Response::new)
    }

    async fn create_partitions(
        &self,
        request: Request<v1::CreatePartitionsRequest>,
    ) -> Result<Response<v1::CreatePartitionsResponse>, Status> {
        create_partitions::create_partitions(&self.0, request.into_inner())
            .await
            .map(Response::new)
    }

    async fn alter_configs(
        &self,
        request: Request<v1::AlterConfigsRequest>,
    ) -> Result<Response<v1::AlterConfigsResponse>, Status> {
        alter_configs::alter_configs(&self.0, request.into_inner())
            .await
            .map(Response::new)
    }

    async fn assign_racks(
        &self,
        request: Request<v1::AssignRacksRequest>,
    ) -> Result<Response<v1::AssignRacksResponse>, Status> {
        assign_racks::assign_racks(&self.0, request.into_inner())
            .await
            .map(Response::new)
    }

    async fn elect_leaders(
        &self,
        request: Request<v1::ElectLeadersRequest>,
    ) -> Result<Response<v1::ElectLeadersResponse>, Status> {
        elect_leaders::elect_leaders(&self.0, request.into_inner())
            .await
            .map(Response::new)
    }
    async fn acquire_restart(
        &self,
        request: Request<v1::AcquireRestartRequest>,
    ) -> Result<Response<v1::AcquireRestartResponse>, Status> {
        acquire_restart::acquire_restart(&self.0, request.into_inner())
            .await
            .map(Response::new)
    }

    async fn end_restart(
        &self,
        request: Request<v1::EndRestartRequest>,
    ) -> Result<Response<v1::EndRestartResponse>, Status> {
        end_restart::end_restart(&self.0, request.into_inner())
            .await
            .map(Response::new)
    }

    async fn alter_partition_reassignments(
        &self,
        request: Request<v1::AlterPartitionReassignmentsRequest>,
    ) -> Result<Response<v1::AlterPartitionReassignmentsResponse>, Status> {
        alter_partition_reassignments::alter_partition_reassignments(&self.0, request.into_inner())
            .await
            .map(Response::new)
    }

    async fn change_replication_factor(
        &self,
        request: Request<v1::ChangeReplicationFactorRequest>,
    ) -> Result<Response<v1::ChangeReplicationFactorResponse>, Status> {
        change_replication_factor::change_replication_factor(&self.0, request.into_inner())
            .await
            .map(Response::new)
    }

    async fn cordon_brokers(
        &self,
        request: Request<v1::CordonBrokersRequest>,
    ) -> Result<Response<v1::CordonBrokersResponse>, Status> {
        cordon_brokers::cordon_brokers(&self.0, request.into_inner())
            .await
            .map(Response::new)
    }

    async fn update_features(
        &self,
        request: Request<v1::UpdateFeaturesRequest>,
    ) -> Result<Response<v1::UpdateFeaturesResponse>, Status> {
        update_features::update_features(&self.0, request.into_inner())
            .await
            .map(Response::new)
    }

    async fn remove_voter(
        &self,
        request: Request<v1::RemoveVoterRequest>,
    ) -> Result<Response<v1::RemoveVoterResponse>, Status> {
        remove_voter::remove_voter(&self.0, request.into_inner())
            .await
            .map(Response::new)
    }

    async fn add_voter(
        &self,
        request: Request<v1::AddVoterRequest>,
    ) -> Result<Response<v1::AddVoterResponse>, Status> {
        add_voter::add_voter(&self.0, request.into_inner())
            .await
            .map(Response::new)
    }

    async fn unregister_broker(
        &self,
        request: Request<v1::UnregisterBrokerRequest>,
    ) -> Result<Response<v1::UnregisterBrokerResponse>, Status> {
        unregister_broker::unregister_broker(&self.0, request.into_inner())
            .await
            .map(Response::new)
    }

    async fn plan_rebalance(
        &self,
        request: Request<v1::PlanRebalanceRequest>,
    ) -> Result<Response<v1::PlanRebalanceResponse>, Status> {
        plan_rebalance::plan_rebalance(&self.0, request.into_inner())
            .await
            .map(Response::new)
    }

    async fn start_rebalance(
        &self,
        request: Request<v1::StartRebalanceRequest>,
    ) -> Result<Response<v1::StartRebalanceResponse>, Status> {
        start_rebalance::start_rebalance(&self.0, request.into_inner())
            .await
            .map(Response::new)
    }

    async fn cancel_rebalance(
        &self,
        request: Request<v1::CancelRebalanceRequest>,
    ) -> Result<Response<v1::CancelRebalanceResponse>, Status> {
        cancel_rebalance::cancel_rebalance(&self.0, request.into_inner())
            .await
            .map(Response::new)
    }

    async fn list_deleted_topics(
        &self,
        request: Request<v1::ListDeletedTopicsRequest>,
    ) -> Result<Response<v1::ListDeletedTopicsResponse>, Status> {
        list_deleted_topics::list_deleted_topics(&self.0, request.into_inner())
            .await
            .map(Response::new)
    }

    async fn restore_topic(
        &self,
        request: Request<v1::RestoreTopicRequest>,
    ) -> Result<Response<v1::RestoreTopicResponse>, Status> {
        restore_topic::restore_topic(&self.0, request.into_inner())
            .await
            .map(Response::new)
    }

    async fn purge_deleted_topics(
        &self,
        request: Request<v1::PurgeDeletedTopicsRequest>,
    ) -> Result<Response<v1::PurgeDeletedTopicsResponse>, Status> {
        purge_deleted_topics::purge_deleted_topics(&self.0, request.into_inner())
            .await
            .map(Response::new)
    }
}
