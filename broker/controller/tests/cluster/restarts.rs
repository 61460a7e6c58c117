//! Restart grants: who may stop, and when a grant ends.

mod of_brokers;
mod of_controllers;

use foz_api::v1::acquire_restart_response::{Answer, Denied, Granted};
use foz_api::v1::{AcquireRestartRequest, DeniedReason, EndRestartRequest};
use tonic::Status;

use crate::controllers::Controllers;
use crate::fake_broker::FakeBroker;
use crate::support::admin;

fn restart_of(broker: &FakeBroker) -> AcquireRestartRequest {
    AcquireRestartRequest {
        node_id: broker.node_id(),
        incarnation: broker.incarnation(),
        reason: "image changed".to_owned(),
        ..AcquireRestartRequest::default()
    }
}

async fn acquire(
    controllers: &Controllers,
    request: AcquireRestartRequest,
) -> Result<Answer, Status> {
    let answer = admin(controllers).await.acquire_restart(request).await?;
    Ok(answer.into_inner().answer.unwrap())
}

async fn granted(controllers: &Controllers, request: AcquireRestartRequest) -> Granted {
    match acquire(controllers, request).await.unwrap() {
        Answer::Granted(granted) => granted,
        Answer::Denied(denied) => panic!("{denied:?}"),
    }
}

async fn denied(
    controllers: &Controllers,
    request: AcquireRestartRequest,
) -> (DeniedReason, String) {
    match acquire(controllers, request).await.unwrap() {
        Answer::Denied(denied @ Denied { .. }) => (denied.reason(), denied.message),
        Answer::Granted(granted) => panic!("{granted:?}"),
    }
}

async fn end(
    controllers: &Controllers,
    node_id: i32,
    grant_epoch: i64,
    operator_epoch: i64,
) -> Result<bool, Status> {
    let request = EndRestartRequest {
        node_id,
        grant_epoch,
        operator_epoch,
    };
    let ended = admin(controllers).await.end_restart(request).await?;
    Ok(ended.into_inner().ended)
}

fn has_grant(controllers: &Controllers, node_id: i32) -> bool {
    controllers.image().grant(node_id).is_some()
}
