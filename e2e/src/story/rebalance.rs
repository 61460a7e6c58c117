//! Replicas that are moved because a person says so.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::scaling::{replicas, scale, settles_at, told};
use super::world::{CLUSTER, NAMESPACE, World, lines};
use crate::foz::ensure_same_messages;
use crate::objects::await_gone;

const PLANNED_LIMIT: Duration = Duration::from_secs(30);
const MOVED_LIMIT: Duration = Duration::from_secs(180);
const GONE_LIMIT: Duration = Duration::from_secs(30);
const EVENLY: &str = "rebalance.foz.dev/evenly";
const EMPTY: &str = "rebalance.foz.dev/empty-broker-0";

/// A fourth broker gets nothing by itself, then what the Rebalance says; then a broker is emptied, and gets replicas
/// again when nobody asks for that any more.
pub(super) fn by_hand(world: &World) -> Result<()> {
    policy(world, "Manual")?;
    let told_and_done = moved(world);
    // However it ended: others do not expect it.
    world.run(&[
        "delete",
        EVENLY,
        EMPTY,
        "--ignore-not-found",
        "--timeout=30s",
    ])?;
    policy(world, "Automatic")?;
    scale(world, 3)?;
    settles_at(world, 3)?;
    world.run(&[
        "delete",
        "pvc/data-demo-broker-3",
        "--ignore-not-found",
        "--wait=false",
    ])?;
    told_and_done
}

fn moved(world: &World) -> Result<()> {
    let topic = world.fresh_topic("by-hand", 12)?;
    let sent = lines("by-hand", 100);
    world.foz().produce(&topic, &sent)?;
    scale(world, 4)?;
    world.await_object(
        CLUSTER,
        "with 4 brokers, suggesting a Rebalance",
        MOVED_LIMIT,
        |cluster| {
            let progressing = crate::objects::condition(cluster, "Progressing");
            cluster["status"]["readyReplicas"] == 4
                && progressing.is_some_and(|it| it["reason"] == "RebalanceSuggested")
        },
    )?;
    ensure!(
        !replicas(world, None)?.contains_key(&3),
        "replicas moved onto broker 3 by themselves"
    );

    world.apply(&manifest("evenly", "Full", ""))?;
    let planned = phase(world, EVENLY, "Planned", PLANNED_LIMIT)?;
    let moves = planned["status"]["plan"]["moves"].as_i64();
    let moves = moves.context("no plan in the status")?;
    ensure!(moves > 0, "nothing would be moved: {planned}");
    let after = planned["status"]["plan"]["after"]
        .as_array()
        .context("no loads")?;
    let of_new = after.iter().find(|load| load["broker"] == 3);
    let expected = of_new.and_then(|load| load["replicas"].as_i64());
    world.run(&[
        "patch",
        EVENLY,
        "--type=merge",
        "-p",
        r#"{"spec":{"approved":true}}"#,
    ])?;
    phase(world, EVENLY, "Completed", MOVED_LIMIT)?;
    told(world, "Completed", "partitions")?;
    let counts = replicas(world, None)?;
    ensure!(
        counts.get(&3).copied() == expected,
        "broker 3 was to have {expected:?} replicas: {counts:?}"
    );
    let refused = world.run(&[
        "patch",
        EVENLY,
        "--type=merge",
        "-p",
        r#"{"spec":{"approved":false}}"#,
    ]);
    ensure!(refused.is_err(), "an approval was taken back");

    world.apply(&manifest(
        "empty-broker-0",
        "DrainBrokers",
        "brokers: [0], approved: true",
    ))?;
    phase(world, EMPTY, "Completed", MOVED_LIMIT)?;
    ensure!(
        !replicas(world, None)?.contains_key(&0),
        "broker 0 has replicas still"
    );
    ensure_same_messages(&sent, &world.foz().consume(&topic)?)?;
    world.run(&["delete", EMPTY, "--timeout=30s"])?;
    await_gone(world.kubectl(), NAMESPACE, EMPTY, GONE_LIMIT)?;
    told(world, "BrokersUncordoned", "broker 0")
}

fn policy(world: &World, mode: &str) -> Result<()> {
    let patch = format!(r#"{{"spec":{{"rebalance":{{"mode":"{mode}"}}}}}}"#);
    world
        .run(&["patch", CLUSTER, "--type=merge", "-p", &patch])
        .map(drop)
}

fn phase(world: &World, object: &str, phase: &str, limit: Duration) -> Result<Value> {
    world.await_object(object, phase, limit, |object| {
        object["status"]["phase"] == phase
    })
}

fn manifest(name: &str, mode: &str, more: &str) -> String {
    format!(
        "apiVersion: foz.dev/v1alpha1\n\
         kind: Rebalance\n\
         metadata: {{name: {name}}}\n\
         spec: {{clusterRef: {{name: demo}}, mode: {mode}, {more}}}\n"
    )
}
