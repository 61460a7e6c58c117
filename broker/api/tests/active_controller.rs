//! The client finds the controller that answers, past those that do not.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::pin::Pin;
use std::time::{Duration, Instant};

use foz_api::v1::node_client::NodeClient;
use foz_api::v1::node_server::{Node, NodeServer};
use foz_api::{ActiveController, CallError, not_active, v1};
use tokio::net::TcpListener;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Server};
use tonic::{Code, Request, Response, Status, Streaming};

/// A controller that hands out producer ids from `first_id`, or says who is active.
struct Fake(Result<i64, String>);

type Answers<T> = Pin<Box<dyn tokio_stream::Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl Node for Fake {
    type LeaseStream = Answers<v1::LeaseAnswer>;
    type WatchMetadataStream = Answers<v1::MetadataFrame>;

    async fn register_broker(
        &self,
        _: Request<v1::RegisterBrokerRequest>,
    ) -> Result<Response<v1::RegisterBrokerResponse>, Status> {
        Err(Status::unimplemented("not of this test"))
    }

    async fn lease(
        &self,
        _: Request<Streaming<v1::LeaseBeat>>,
    ) -> Result<Response<Self::LeaseStream>, Status> {
        Err(Status::unimplemented("not of this test"))
    }

    async fn ask_to_stop(
        &self,
        _: Request<v1::AskToStopRequest>,
    ) -> Result<Response<v1::AskToStopResponse>, Status> {
        Err(Status::unimplemented("not of this test"))
    }

    async fn controller_started(
        &self,
        _: Request<v1::ControllerStartedRequest>,
    ) -> Result<Response<v1::ControllerStartedResponse>, Status> {
        Err(Status::unimplemented("not of this test"))
    }

    async fn watch_metadata(
        &self,
        _: Request<v1::WatchMetadataRequest>,
    ) -> Result<Response<Self::WatchMetadataStream>, Status> {
        Err(Status::unimplemented("not of this test"))
    }

    async fn alter_partitions(
        &self,
        _: Request<v1::AlterPartitionsRequest>,
    ) -> Result<Response<v1::AlterPartitionsResponse>, Status> {
        Err(Status::unimplemented("not of this test"))
    }

    async fn report_load(
        &self,
        _: Request<v1::ReportLoadRequest>,
    ) -> Result<Response<v1::ReportLoadResponse>, Status> {
        Err(Status::unimplemented("not of this test"))
    }

    async fn report_offline_replicas(
        &self,
        _: Request<v1::ReportOfflineReplicasRequest>,
    ) -> Result<Response<v1::ReportOfflineReplicasResponse>, Status> {
        Err(Status::unimplemented("not of this test"))
    }

    async fn allocate_producer_ids(
        &self,
        _: Request<v1::AllocateProducerIdsRequest>,
    ) -> Result<Response<v1::AllocateProducerIdsResponse>, Status> {
        match &self.0 {
            Ok(first_id) => Ok(Response::new(v1::AllocateProducerIdsResponse {
                first_id: *first_id,
                count: 1,
            })),
            Err(active) => Err(not_active(Some(active))),
        }
    }
}

async fn listen() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    (listener, address)
}

fn serve(listener: TcpListener, fake: Fake) {
    let server = Server::builder().add_service(NodeServer::new(fake));
    tokio::spawn(server.serve_with_incoming(TcpIncoming::from(listener)));
}

async fn first_id(client: &ActiveController) -> Result<i64, CallError> {
    let call = |channel: Channel| async move {
        let request = v1::AllocateProducerIdsRequest::default();
        NodeClient::new(channel)
            .allocate_producer_ids(request)
            .await
    };
    Ok(client.call(call).await?.into_inner().first_id)
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_is_not_active_names_the_one_that_is() {
    let (active, active_address) = listen().await;
    let (other, other_address) = listen().await;
    serve(active, Fake(Ok(7)));
    serve(other, Fake(Err(active_address)));
    // The active one is known by the hint alone.
    let client = ActiveController::new(vec![other_address]);
    assert_eq!(first_id(&client).await.unwrap(), 7);
    assert_eq!(first_id(&client).await.unwrap(), 7);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_stands_still_is_noticed_and_tried_last() {
    // Its kernel takes connections, and nobody ever reads from them: as after a SIGSTOP.
    let (_silent, silent_address) = listen().await;
    let (active, active_address) = listen().await;
    serve(active, Fake(Ok(7)));
    let client = ActiveController::new(vec![silent_address, active_address]);
    let began = Instant::now();
    let CallError::Answered(status) = first_id(&client).await.unwrap_err() else {
        panic!("the outcome of a call that broke is open");
    };
    let noticed_after = began.elapsed();
    assert_eq!(status.code(), Code::Unavailable);
    assert!(noticed_after < Duration::from_secs(4), "{noticed_after:?}");
    let began = Instant::now();
    assert_eq!(first_id(&client).await.unwrap(), 7);
    assert!(began.elapsed() < Duration::from_secs(1));
    eprintln!("noticed after {noticed_after:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_is_gone_is_passed_over() {
    let (gone, gone_address) = listen().await;
    drop(gone);
    let (active, active_address) = listen().await;
    serve(active, Fake(Ok(7)));
    let client = ActiveController::new(vec![gone_address, active_address]);
    assert_eq!(first_id(&client).await.unwrap(), 7);
}

/// The quorum grew, and the first controllers are gone since.
#[tokio::test(flavor = "multi_thread")]
async fn one_that_was_learned_of_is_found_without_those_that_were_configured() {
    let (gone, gone_address) = listen().await;
    drop(gone);
    let (active, active_address) = listen().await;
    serve(active, Fake(Ok(7)));
    let client = ActiveController::new(vec![gone_address.clone()]);
    let other = client.with_own_channel();
    client.learn(&[active_address.clone(), gone_address.clone()]);
    assert_eq!(first_id(&other).await.unwrap(), 7);
    assert_eq!(other.addresses(), [&*gone_address, &*active_address]);
    client.learn(&[]);
    assert_eq!(client.addresses().len(), 2, "no news");
    client.learn(&["localhost:1".to_owned()]);
    assert_eq!(other.addresses(), [&*gone_address, "localhost:1"]);
}
