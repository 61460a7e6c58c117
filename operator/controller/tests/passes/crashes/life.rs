//! Crashes while a Cluster is put to sleep, is woken, and goes.

use serde_json::json;

use super::{Begins, Scenario, condition, crash_everywhere, edit_spec, is_made, is_suspended};
use crate::api_server::ApiServer;
use crate::quorum::Quorum;
use crate::{CLUSTER, TOPIC};

#[tokio::test]
async fn while_a_cluster_is_suspended() {
    crash_everywhere(Scenario {
        number: 97,
        edit: |server| edit_spec(server, |spec| spec["suspend"] = json!(true)),
        is_done: |server, _| is_suspended(server),
        away_most: 3,
        ..Scenario::WELL
    })
    .await;
}

#[tokio::test]
async fn while_a_cluster_is_resumed() {
    crash_everywhere(Scenario {
        number: 101,
        begins: Begins::Suspended,
        edit: |server| edit_spec(server, |spec| spec["suspend"] = json!(false)),
        is_done: |server, _| is_made(server),
        away_most: 3,
        ..Scenario::WELL
    })
    .await;
}

/// Resumed before all of it sleeps: some pods are there still.
#[tokio::test]
async fn while_a_cluster_is_resumed_before_it_sleeps() {
    crash_everywhere(Scenario {
        number: 102,
        edit: |server| edit_spec(server, |spec| spec["suspend"] = json!(true)),
        meanwhile: |server, _| {
            let is_half_asleep = server.paths("/pods/demo-broker-").is_empty();
            let cluster = server.get(CLUSTER).unwrap_or_default();
            if is_half_asleep && cluster["spec"]["suspend"] == true {
                edit_spec(server, |spec| spec["suspend"] = json!(false));
            }
        },
        is_done: |server, _| is_made(server),
        away_most: 3,
        ..Scenario::WELL
    })
    .await;
}

/// With `kubectl delete --cascade=foreground` the object stays until all that it owns is gone: none of that is made
/// again, and the drain that is under way is of no interest any more. The Topic is deleted after it.
#[tokio::test]
async fn while_a_cluster_is_deleted_in_the_middle_of_a_drain() {
    crash_everywhere(Scenario {
        number: 103,
        begins: Begins::Even(4),
        edit: |server| edit_spec(server, |spec| spec["replicas"] = json!(3)),
        meanwhile: |server, quorum| {
            let Some(mut cluster) = server.get(CLUSTER) else {
                return delete_topic(server);
            };
            let is_going = !cluster["metadata"]["deletionTimestamp"].is_null();
            if is_half_drained(quorum) && !is_going {
                cluster["metadata"]["deletionTimestamp"] = json!("2026-01-02T00:00:00Z");
                cluster["metadata"]["finalizers"] = json!(["foregroundDeletion"]);
                server.put(CLUSTER, cluster);
            } else if !is_going {
                quorum.move_one();
            }
        },
        is_done: |server, _| is_gone(server),
        away_most: 3,
        ..Scenario::WELL
    })
    .await;
}

/// The object is gone at once, and Kubernetes collects what it owned.
#[tokio::test]
async fn while_a_cluster_is_gone_at_once() {
    crash_everywhere(Scenario {
        number: 104,
        edit: |server| server.delete(CLUSTER),
        meanwhile: |server, _| {
            if server.paths("/pods/").is_empty() {
                delete_topic(server);
            }
        },
        is_done: |server, _| is_gone(server),
        writes_least: 2,
        away_most: 3,
        ..Scenario::WELL
    })
    .await;
}

pub(super) fn is_half_drained(quorum: &Quorum) -> bool {
    let running = quorum.running();
    running.is_some_and(|it| {
        it.goal() == foz_api::v1::RebalanceGoal::DrainBrokers && it.moves_done >= 2
    })
}

/// Once the Topic has said that its Cluster is gone.
fn delete_topic(server: &ApiServer) {
    let says_so = condition(server, TOPIC, "Ready").is_some_and(|it| it.1 == "ClusterNotFound");
    if let Some(mut topic) = server.get(TOPIC).filter(|_| says_so)
        && topic["metadata"]["deletionTimestamp"].is_null()
    {
        topic["metadata"]["deletionTimestamp"] = json!("2026-01-02T00:00:00Z");
        server.put(TOPIC, topic);
    }
}

/// Only volumes are left, and the class that is not the Cluster's.
fn is_gone(server: &ApiServer) -> bool {
    let left = server.paths("/").into_iter();
    let mut left = left.filter(|path| !path.contains("/events/"));
    left.all(|path| path.contains("/persistentvolumeclaims/") || path.contains("/storageclasses/"))
}
