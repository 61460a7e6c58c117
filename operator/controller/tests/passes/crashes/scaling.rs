//! Crashes while brokers come and go.

use foz_operator::names::Role;
use serde_json::json;

use super::life::is_half_drained;
use super::{Begins, Scenario, crash_everywhere, edit_spec, is_even};
use crate::CLUSTER;
use crate::kubernetes::claim_path;

#[tokio::test]
async fn while_brokers_are_added() {
    crash_everywhere(Scenario {
        number: 105,
        begins: Begins::Even(3),
        edit: |server| edit_spec(server, |spec| spec["replicas"] = json!(5)),
        is_done: |server, quorum| is_even(server, quorum, 5),
        ..Scenario::WELL
    })
    .await;
}

/// That a broker holds nothing when it goes is checked when its pod goes.
#[tokio::test]
async fn while_brokers_are_taken_away() {
    crash_everywhere(Scenario {
        number: 106,
        begins: Begins::Even(5),
        edit: |server| edit_spec(server, |spec| spec["replicas"] = json!(3)),
        is_done: |server, quorum| {
            let has_volume = |id: i32| {
                server
                    .get(&claim_path(&format!("demo-broker-{id}")))
                    .is_some()
            };
            is_even(server, quorum, 3) && (0..5).all(has_volume)
        },
        ..Scenario::WELL
    })
    .await;
}

/// No broker goes: their births are compared.
#[tokio::test]
async fn while_a_drain_is_cancelled_half_way() {
    crash_everywhere(Scenario {
        number: 107,
        begins: Begins::Even(5),
        edit: |server| edit_spec(server, |spec| spec["replicas"] = json!(3)),
        meanwhile: |server, quorum| {
            let wants = server.get(CLUSTER).unwrap_or_default()["spec"]["replicas"].clone();
            match is_half_drained(quorum) {
                true if wants == 3 => edit_spec(server, |spec| spec["replicas"] = json!(5)),
                // It stands still until it is cancelled.
                true => {}
                false => quorum.move_one(),
            }
        },
        is_done: |server, quorum| is_even(server, quorum, 5),
        ..Scenario::WELL
    })
    .await;
}

/// One of two has gone when the number is raised again: the other stays, and the first comes back on its volume.
#[tokio::test]
async fn while_a_broker_that_has_gone_is_wanted_back() {
    crash_everywhere(Scenario {
        number: 108,
        begins: Begins::Even(5),
        edit: |server| edit_spec(server, |spec| spec["replicas"] = json!(3)),
        meanwhile: |server, quorum| {
            let wants = server.get(CLUSTER).unwrap_or_default()["spec"]["replicas"].clone();
            let has = server
                .get(&crate::kubernetes::set_path(Role::Broker))
                .unwrap_or_default()["spec"]["replicas"]
                .clone();
            let drains = quorum
                .running()
                .is_some_and(|it| it.broker_ids.contains(&3));
            if wants == 3 && has == 4 {
                edit_spec(server, |spec| spec["replicas"] = json!(5));
            } else if !(drains && quorum.replicas_on(4) == 0) {
                quorum.move_one();
            }
        },
        is_done: |server, quorum| is_even(server, quorum, 5),
        ..Scenario::WELL
    })
    .await;
}
