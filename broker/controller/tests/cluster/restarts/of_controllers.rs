//! Controllers.

use std::time::Duration;

use foz_api::v1::{AcquireRestartRequest, DeniedReason};
use uuid::Uuid;

use super::{denied, granted, has_grant};
use crate::controllers::{Controllers, eventually};

fn node_id(at: usize) -> i32 {
    1000 + i32::try_from(at).unwrap()
}

fn restart_of_controller(at: usize, process: u128) -> AcquireRestartRequest {
    AcquireRestartRequest {
        node_id: node_id(at),
        incarnation: Uuid::from_u128(process).as_bytes().to_vec(),
        reason: "image changed".to_owned(),
        ..AcquireRestartRequest::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn controllers_restart_one_at_a_time_and_only_while_the_others_are_a_majority() {
    let mut controllers = Controllers::start(3).await;
    let active = controllers.active().await;
    let [first, second] = [(active + 1) % 3, (active + 2) % 3];
    let grant = granted(&controllers, restart_of_controller(first, 1)).await;
    assert_eq!(grant.unprotected, [""; 0]);
    let (reason, message) = denied(&controllers, restart_of_controller(second, 2)).await;
    assert_eq!(reason, DeniedReason::AnotherGrant);
    let name = format!("controller {}", node_id(first));
    assert!(message.contains(&name), "{message}");

    // It restarts, and the active controller sees that.
    controllers.stop_one(first, false).await;
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert!(has_grant(&controllers, node_id(first)));
    controllers.restart_one(first).await;
    eventually("the grant has ended", || {
        !has_grant(&controllers, node_id(first))
    })
    .await;

    // Without a grant it goes again. Who has just asked would leave no majority, and is told so.
    controllers.stop_one(first, false).await;
    let (reason, message) = denied(&controllers, restart_of_controller(second, 2)).await;
    assert_eq!(reason, DeniedReason::Quorum, "{message}");
    let insisting = AcquireRestartRequest {
        insist: true,
        ..restart_of_controller(second, 2)
    };
    let grant = granted(&controllers, insisting).await;
    assert_eq!(grant.unprotected, ["the metadata quorum"]);
    controllers.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_active_controller_restarts_and_the_next_one_ends_its_grant() {
    let mut controllers = Controllers::start(3).await;
    let old = controllers.active().await;
    let grant = granted(&controllers, restart_of_controller(old, 1)).await;
    assert_eq!(grant.unprotected, [""; 0]);
    controllers.stop_one(old, false).await;
    let new = controllers.active().await;
    let other = 3 - old - new;
    let (reason, _) = denied(&controllers, restart_of_controller(other, 2)).await;
    assert_eq!(reason, DeniedReason::AnotherGrant);
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert!(has_grant(&controllers, node_id(old)), "it is away");
    controllers.restart_one(old).await;
    eventually("the grant has ended", || {
        !has_grant(&controllers, node_id(old))
    })
    .await;
    granted(&controllers, restart_of_controller(other, 2)).await;
    controllers.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quorum_of_one_stops_only_where_that_is_allowed() {
    let controllers = Controllers::start(1).await;
    let (reason, _) = denied(&controllers, restart_of_controller(0, 1)).await;
    assert_eq!(reason, DeniedReason::Unavailable);
    let allowing = AcquireRestartRequest {
        allow_unavailable: true,
        ..restart_of_controller(0, 1)
    };
    let grant = granted(&controllers, allowing).await;
    assert_eq!(grant.unprotected, ["the metadata quorum"]);
    controllers.stop().await;
}
