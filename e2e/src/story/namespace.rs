//! A namespace that is deleted with a Cluster and Topics in it.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::world::{READY_LIMIT, World};
use crate::objects::{await_gone, await_ready};
use crate::progress::seconds;

const NAME: &str = "passing";
const GONE_LIMIT: Duration = Duration::from_secs(30);
const TOPICS: usize = 10;

/// Nothing hangs: neither the Topics' finalizers, nor brokers that ask one another whether they may stop.
pub(super) fn is_deleted(world: &World) -> Result<()> {
    let kubectl = world.kubectl();
    kubectl.apply(NAME, manifest()).map(drop)?;
    await_ready(kubectl, NAME, "cluster.foz.dev/short", READY_LIMIT)?;
    for number in 0..TOPICS {
        let topic = format!("topic.foz.dev/t{number}");
        await_ready(kubectl, NAME, &topic, READY_LIMIT)?;
    }
    let begun = Instant::now();
    kubectl.run(["delete", "namespace", NAME, "--wait=false"])?;
    await_gone(kubectl, "default", &format!("namespace/{NAME}"), GONE_LIMIT)?;
    let took = seconds(begun.elapsed());
    world
        .progress
        .line(&format!("        the namespace was gone after {took}"));
    Ok(())
}

/// Two brokers, which a small machine has room for beside the other Cluster.
fn manifest() -> String {
    let mut manifest = format!(
        "apiVersion: v1\n\
         kind: Namespace\n\
         metadata: {{name: {NAME}}}\n\
         ---\n\
         apiVersion: foz.dev/v1alpha1\n\
         kind: Cluster\n\
         metadata: {{name: short, namespace: {NAME}}}\n\
         spec: {{replicas: 2, controllers: {{replicas: 1}}, storage: {{size: 64Mi}}}}\n"
    );
    for number in 0..TOPICS {
        let policy = ["Retain", "Delete"][number % 2];
        manifest += &format!(
            "---\n\
             apiVersion: foz.dev/v1alpha1\n\
             kind: Topic\n\
             metadata: {{name: t{number}, namespace: {NAME}}}\n\
             spec: {{clusterRef: {{name: short}}, partitions: 2, replicationFactor: 2, deletionPolicy: {policy}}}\n"
        );
    }
    manifest
}
