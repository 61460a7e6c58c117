//! A HorizontalPodAutoscaler of which the target is a Cluster.
//!
//! It needs no metrics to bring a target within its bounds, and no more is asked of it here: what a broker's load is to
//! mean is for whoever writes the autoscaler.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::messages;
use super::producing::while_producing;
use super::scaling::{even, scale, settles_at, shrinks_only_when_empty, told, topics};
use super::world::{CLUSTER, World};
use crate::objects::condition;

const AUTOSCALER: &str = "horizontalpodautoscaler/demo";
/// It looks every two seconds here, and every 15 where nobody says otherwise.
const LOOKED_LIMIT: Duration = Duration::from_secs(60);

/// Its lower bound is above the number of brokers, then its upper bound is below: the Cluster follows, and nobody else
/// does anything.
pub(super) fn follows(world: &World) -> Result<()> {
    let tidy = topics(world)?;
    let (wide, written) = (tidy.wide.name(), tidy.written.name());
    settles_at(world, 3)?;
    let ((), produced) = while_producing(world, written, || up_and_down(world, wide))?;
    messages::verify(world, written, produced)
}

fn up_and_down(world: &World, wide: &str) -> Result<()> {
    let autoscaler = Autoscaler::make(world, 4, 5)?;
    settles_at(world, 4)?;
    even(world, wide, 4)?;
    told(world, "ScaledUp", "from 3 to 4 brokers")?;
    is_content_with_the_target(world)?;

    let lower = json!({"spec": {"minReplicas": 1, "maxReplicas": 3}}).to_string();
    world.run(&["patch", AUTOSCALER, "--type=merge", "--patch", &lower])?;
    shrinks_only_when_empty(world, 3)?;
    settles_at(world, 3)?;
    even(world, wide, 3)?;
    told(world, "BrokerUnregistered", "broker 3 has left")?;
    // It wants what is there.
    world.await_object(AUTOSCALER, "at rest", LOOKED_LIMIT, |it| {
        it["status"]["currentReplicas"] == 3 && it["status"]["desiredReplicas"] == 3
    })?;
    drop(autoscaler);
    Ok(())
}

/// It reads the number of brokers and the selector of their pods from the scale subresource: all that it lacks is a
/// server of metrics.
fn is_content_with_the_target(world: &World) -> Result<()> {
    let looked = world.await_object(AUTOSCALER, "looking", LOOKED_LIMIT, |it| {
        it["status"]["currentReplicas"] == 4 && condition(it, "ScalingActive").is_some()
    })?;
    let able = condition(&looked, "AbleToScale").context("no condition AbleToScale")?;
    ensure!(able["status"] == "True", "it is not able to scale: {able}");
    let active = condition(&looked, "ScalingActive").context("no condition ScalingActive")?;
    ensure!(
        active["reason"] != "InvalidSelector" && active["reason"] != "AmbiguousSelector",
        "it does not know the brokers' pods: {active}"
    );
    let scale = world
        .kubectl()
        .command(["get", "--raw"])
        .arg(format!(
            "/apis/foz.dev/v1alpha1/namespaces/{}/clusters/demo/scale",
            super::world::NAMESPACE
        ))
        .run()?;
    let scale: Value = serde_json::from_slice(&scale.stdout)?;
    let selector = scale["status"]["selector"].as_str().unwrap_or_default();
    let pods = world.list("pods", selector)?;
    ensure!(
        !selector.is_empty() && pods.len() == 4,
        "{selector:?} finds {} pods of 4 brokers",
        pods.len()
    );
    Ok(())
}

/// Gone however the story ends, and with it what it wants.
struct Autoscaler<'world>(&'world World);

impl<'world> Autoscaler<'world> {
    fn make(world: &'world World, least: u32, most: u32) -> Result<Self> {
        let autoscaler = Self(world);
        let manifest = json!({
            "apiVersion": "autoscaling/v2",
            "kind": "HorizontalPodAutoscaler",
            "metadata": {"name": "demo"},
            "spec": {
                "scaleTargetRef": {"apiVersion": "foz.dev/v1alpha1", "kind": "Cluster", "name": "demo"},
                "minReplicas": least,
                "maxReplicas": most,
            },
        });
        world.apply(&manifest.to_string())?;
        Ok(autoscaler)
    }
}

impl Drop for Autoscaler<'_> {
    fn drop(&mut self) {
        let delete = ["delete", AUTOSCALER, "--ignore-not-found", "--timeout=30s"];
        // What failed is told by the story. The stories after it expect three brokers.
        let _ = self.0.run(&delete);
        let brokers = self.0.get(CLUSTER).map(|it| it["spec"]["replicas"].clone());
        if !matches!(brokers, Ok(ref count) if *count == 3) {
            let _ = scale(self.0, 3);
        }
    }
}
