//! More brokers, and no fewer.

use std::time::Duration;

use anyhow::Result;

use super::world::{CLUSTER, NAMESPACE, READY_LIMIT, World, lines};
use crate::foz::ensure_same_messages;
use crate::objects::{condition, items};
use crate::wait::wait_until;

const TOLD_LIMIT: Duration = Duration::from_secs(30);

pub(super) fn scale(world: &World) -> Result<()> {
    world.run(&["scale", CLUSTER, "--replicas=4"])?;
    world.await_object(CLUSTER, "of 4 ready brokers", READY_LIMIT, |cluster| {
        cluster["status"]["readyReplicas"] == 4
    })?;
    world.await_ready(CLUSTER)?;
    wait_until("an Event that tells of the scale-up", TOLD_LIMIT, || {
        let events = world.kubectl().get_json([
            "events",
            "--namespace",
            NAMESPACE,
            "--field-selector=reason=ScaledUp",
        ])?;
        let told = items(&events).any(|event| event["message"] == "from 3 to 4 brokers");
        Ok(if told {
            Ok(())
        } else {
            Err(events.to_string())
        })
    })?;
    // A topic made now has partitions on the new broker.
    let topic = world.fresh_topic("after-scaling", 8)?;
    let sent = lines("scaled", 40);
    world.foz_in("demo-broker-3").produce(&topic, &sent)?;
    ensure_same_messages(&sent, &world.foz().consume(&topic)?)?;

    world.run(&["scale", CLUSTER, "--replicas=3"])?;
    world.await_object(
        CLUSTER,
        "refusing to scale down, with the reason",
        TOLD_LIMIT,
        |cluster| {
            condition(cluster, "Degraded").is_some_and(|it| {
                let message = it["message"].as_str().unwrap_or_default();
                it["status"] == "True" && message.contains("set replicas back to 4")
            })
        },
    )?;
    let pods = world.pods("broker")?;
    anyhow::ensure!(pods.len() == 4, "a broker was taken away: {pods:?}");
    world.run(&["scale", CLUSTER, "--replicas=4"])?;
    world
        .await_object(CLUSTER, "at ease again", TOLD_LIMIT, |cluster| {
            condition(cluster, "Degraded").is_some_and(|it| it["status"] == "False")
        })
        .map(drop)
}
