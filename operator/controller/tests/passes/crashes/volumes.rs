//! Crashes while volumes grow, are added, and are given up.

use foz_operator::names::Role;
use serde_json::{Value, json};

use super::{Begins, Scenario, crash_everywhere, edit_spec, is_even, is_settled};
use crate::api_server::ApiServer;
use crate::kubernetes::{claim_path, further_claim_path, pod_path, set_path};

#[tokio::test]
async fn while_volumes_grow() {
    crash_everywhere(Scenario {
        number: 96,
        edit: |server| edit_spec(server, |spec| spec["storage"]["size"] = json!("2Gi")),
        is_done: |server, _| {
            let set = server.get(&set_path(Role::Broker)).unwrap_or_default();
            let template = &set["spec"]["volumeClaimTemplates"][0]["spec"];
            let has_grown = |ordinal: i32| {
                let claim = server.get(&claim_path(&format!("demo-broker-{ordinal}")));
                claim.is_some_and(|claim| claim["status"]["capacity"]["storage"] == "2Gi")
            };
            template["resources"]["requests"]["storage"] == "2Gi"
                && (0..3).all(has_grown)
                && is_settled(server)
        },
        ..Scenario::WELL
    })
    .await;
}

#[tokio::test]
async fn while_a_volume_is_replaced() {
    crash_everywhere(Scenario {
        number: 98,
        edit: |server| {
            let path = pod_path("demo-broker-1");
            let mut pod = server.get(&path).expect("the pod");
            pod["metadata"]["annotations"]["foz.dev/replace-volume"] = json!("");
            server.put(&path, pod);
            let path = claim_path("demo-broker-1");
            let mut claim = server.get(&path).expect("the claim");
            claim["metadata"]["annotations"]["old"] = json!("yes");
            server.put(&path, claim);
        },
        is_done: |server, _| {
            let claim = server.get(&claim_path("demo-broker-1"));
            claim.is_some_and(|claim| claim["metadata"]["annotations"]["old"].is_null())
                && is_settled(server)
        },
        away_most: 1,
        ..Scenario::WELL
    })
    .await;
}

/// The StatefulSet and each pod have volumes 0 and 1.
pub(crate) fn have_volume_1(server: &ApiServer, brokers: i32) -> bool {
    let set = server.get(&set_path(Role::Broker)).unwrap_or_default();
    let has = |volumes: &Value| {
        let name = |it: &Value| it["name"] == "data-1" || it["metadata"]["name"] == "data-1";
        volumes.as_array().is_some_and(|all| all.iter().any(name))
    };
    let pod_has = |ordinal: i32| {
        let pod = server.get(&pod_path(&format!("demo-broker-{ordinal}")));
        pod.is_some_and(|pod| has(&pod["spec"]["volumes"]))
    };
    has(&set["spec"]["volumeClaimTemplates"]) && (0..brokers).all(pod_has)
}

#[tokio::test]
async fn while_a_volume_is_added() {
    crash_everywhere(Scenario {
        number: 110,
        edit: |server| {
            edit_spec(server, |spec| {
                spec["storage"]["volumes"] = json!([{"id": 1, "size": "2Gi"}]);
            });
        },
        is_done: |server, _| have_volume_1(server, 3) && is_settled(server),
        writes_least: 6,
        away_most: 1,
        ..Scenario::WELL
    })
    .await;
}

/// The new brokers come behind those that lack the volume.
#[tokio::test]
async fn while_a_volume_and_brokers_are_added() {
    crash_everywhere(Scenario {
        number: 111,
        begins: Begins::Even(3),
        edit: |server| {
            edit_spec(server, |spec| {
                spec["storage"]["volumes"] = json!([{"id": 1, "size": "2Gi"}]);
                spec["replicas"] = json!(5);
            });
        },
        is_done: |server, quorum| have_volume_1(server, 5) && is_even(server, quorum, 5),
        writes_least: 6,
        away_most: 1,
        ..Scenario::WELL
    })
    .await;
}

/// The claims of broker 1 are marked, and its pod asks for empty volumes.
fn replace(server: &ApiServer, which: &str) {
    for path in [
        claim_path("demo-broker-1"),
        further_claim_path(1, "demo-broker-1"),
    ] {
        let mut claim = server.get(&path).expect("the claim");
        claim["metadata"]["annotations"]["old"] = json!("yes");
        server.put(&path, claim);
    }
    let path = pod_path("demo-broker-1");
    let mut pod = server.get(&path).expect("the pod");
    pod["metadata"]["annotations"]["foz.dev/replace-volume"] = json!(which);
    server.put(&path, pod);
}

fn is_old(server: &ApiServer, path: &str) -> Option<bool> {
    let claim = server.get(path)?;
    Some(claim["metadata"]["annotations"]["old"] == "yes")
}

#[tokio::test]
async fn while_one_volume_of_several_is_replaced() {
    crash_everywhere(Scenario {
        number: 112,
        begins: Begins::Volumes,
        edit: |server| replace(server, "1"),
        is_done: |server, _| {
            // The first one is left alone.
            assert_eq!(is_old(server, &claim_path("demo-broker-1")), Some(true));
            is_old(server, &further_claim_path(1, "demo-broker-1")) == Some(false)
                && is_settled(server)
        },
        away_most: 1,
        ..Scenario::WELL
    })
    .await;
}

/// Killed between one claim and the other.
#[tokio::test]
async fn while_all_volumes_of_a_broker_are_replaced() {
    crash_everywhere(Scenario {
        number: 113,
        begins: Begins::Volumes,
        edit: |server| replace(server, "all"),
        is_done: |server, _| {
            let is_new = |path: &str| is_old(server, path) == Some(false);
            is_new(&claim_path("demo-broker-1"))
                && is_new(&further_claim_path(1, "demo-broker-1"))
                && is_settled(server)
        },
        away_most: 1,
        ..Scenario::WELL
    })
    .await;
}
