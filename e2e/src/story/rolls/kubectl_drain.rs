//! `kubectl drain`, as whoever updates a node's kernel runs it: one node after the other.
//!
//! The volumes here are reached from every node, so a pod may come up elsewhere at once. Where they belong to a node it
//! stays Pending until its node takes pods again. The story holds in both cases.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::{await_settled, while_produced};
use crate::external::Output;
use crate::objects::{items, name};
use crate::operator_release;
use crate::progress::seconds;
use crate::story::world::{NAMESPACE, World, pod_is_ready};
use crate::wait::wait_until;

/// kubectl asks again every five seconds where a budget refuses.
const DRAIN_LIMIT: Duration = Duration::from_secs(150);
const DRAIN_TIMEOUT: &str = "--timeout=140s";
/// From the node taking pods again to all being Ready and in sync.
const BACK_LIMIT: Duration = Duration::from_secs(150);
/// Where two pods of a role are on one node, as often one of them is sent elsewhere.
const SPREAD_TRIES: usize = 4;

/// Each node is drained while a Java producer with `acks=all` is at work, and takes pods again. What runs there is
/// evicted with the brokers: controllers, and the operator. Nothing is lost, no send fails, and no partition has fewer
/// than two replicas in sync.
pub(in crate::story) fn each_node(world: &World) -> Result<()> {
    while_produced(world, "kubectl-drain", |_| {
        let nodes = nodes(world)?;
        for node in &nodes {
            drain_and_take_back(world, node).with_context(|| format!("draining {node}"))?;
        }
        Ok(format!("{} nodes drained", nodes.len()))
    })?;
    spread_again(world)
}

fn drain_and_take_back(world: &World, node: &str) -> Result<()> {
    let before = pods_on(world, node)?;
    let of_cluster = before.keys().filter(|(space, _)| space == NAMESPACE);
    ensure!(of_cluster.count() > 0, "nothing of the Cluster is there");
    let begun = Instant::now();
    let cordoned = Cordoned { world, node };
    run(
        world,
        &[
            "drain",
            node,
            "--ignore-daemonsets",
            "--delete-emptydir-data",
            DRAIN_TIMEOUT,
        ],
    )?;
    let drained = begun.elapsed();
    let left = pods_on(world, node)?;
    ensure!(left.is_empty(), "{node} is drained, and has {left:?}");
    cordoned.uncordon()?;
    await_back(world, &before)?;
    await_in_sync(world)?;
    await_settled(world)?;
    let (count, drained) = (before.len(), seconds(drained));
    let line = format!("        {node} with {count} pods was empty after {drained}");
    world.progress.line(&line);
    Ok(())
}

/// A node that takes no pods. It takes them again however the story ends.
struct Cordoned<'world> {
    world: &'world World,
    node: &'world str,
}

impl Cordoned<'_> {
    fn uncordon(&self) -> Result<()> {
        run(self.world, &["uncordon", self.node]).map(drop)
    }
}

impl Drop for Cordoned<'_> {
    fn drop(&mut self) {
        // What failed is told by the story.
        let _ = self.uncordon();
    }
}

fn nodes(world: &World) -> Result<Vec<String>> {
    let nodes = world.kubectl().get_json(["nodes"])?;
    Ok(items(&nodes).map(|node| name(node).to_owned()).collect())
}

/// Namespace and name of a pod.
type Pod = (String, String);

/// The pods of the Cluster and of the operator on this node, and their UIDs.
fn pods_on(world: &World, node: &str) -> Result<BTreeMap<Pod, Value>> {
    let on_node = format!("--field-selector=spec.nodeName={node}");
    let mut found = BTreeMap::new();
    for namespace in [NAMESPACE, operator_release::NAMESPACE] {
        let pods = world
            .kubectl()
            .get_json(["pods", "--namespace", namespace, &on_node])?;
        for pod in items(&pods).filter(|pod| is_running(pod)) {
            let key = (namespace.to_owned(), name(pod).to_owned());
            found.insert(key, pod["metadata"]["uid"].clone());
        }
    }
    Ok(found)
}

fn is_running(pod: &Value) -> bool {
    let phase = &pod["status"]["phase"];
    phase != "Succeeded" && phase != "Failed"
}

/// The Cluster's pods that went are others now and Ready, and so are all pods of the operator, whose names change.
fn await_back(world: &World, before: &BTreeMap<Pod, Value>) -> Result<()> {
    wait_until("every pod to be back", BACK_LIMIT, || {
        let mut missing = Vec::new();
        for namespace in [NAMESPACE, operator_release::NAMESPACE] {
            let pods = world
                .kubectl()
                .get_json(["pods", "--namespace", namespace])?;
            let pods: Vec<&Value> = items(&pods).filter(|pod| is_running(pod)).collect();
            let unready = pods.iter().filter(|pod| !pod_is_ready(pod));
            missing.extend(unready.map(|pod| name(pod).to_owned()));
            if namespace == operator_release::NAMESPACE {
                continue;
            }
            for ((_, gone), uid) in before.iter().filter(|((space, _), _)| space == namespace) {
                let is_another =
                    |pod: &&&Value| name(pod) == gone && pod["metadata"]["uid"] != *uid;
                if !pods.iter().any(|pod| is_another(&pod)) {
                    missing.push(gone.clone());
                }
            }
        }
        Ok(if missing.is_empty() {
            Ok(())
        } else {
            Err(format!("{missing:?} are not Ready"))
        })
    })
}

/// By what brokers say: the Cluster's status may be of an operator that has been evicted meanwhile.
fn await_in_sync(world: &World) -> Result<()> {
    wait_until("every replica to be in sync", BACK_LIMIT, || {
        let said = world.kcat()?.args(["-L", "-J"]).run_any()?;
        let Ok(metadata) = serde_json::from_slice::<Value>(&said.stdout) else {
            return Ok(Err(said.error_text()));
        };
        let behind = out_of_sync(&metadata);
        Ok(match behind.first() {
            None => Ok(()),
            Some(first) => Err(format!(
                "{} partitions have a replica out of sync, for example {first}",
                behind.len()
            )),
        })
    })
}

/// The partitions with a replica out of sync, in what `kcat -L -J` says. Without any topic it says nothing.
fn out_of_sync(metadata: &Value) -> Vec<String> {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let topics = list(&metadata["topics"]);
    if topics.is_empty() {
        return vec!["no topic".to_owned()];
    }
    let mut found = Vec::new();
    for topic in topics {
        for partition in list(&topic["partitions"]) {
            let count = |field: &str| list(&partition[field]).len();
            if count("isrs") < count("replicas") {
                found.push(format!("{}: {partition}", topic["topic"]));
            }
        }
    }
    found
}

/// One broker and one controller on each node, as the stories after this one expect it: the last node that was drained
/// is empty. The scheduler prefers a node without a pod of the role, and is asked by the pod of a node with several.
fn spread_again(world: &World) -> Result<()> {
    let nodes = nodes(world)?.len();
    for role in ["broker", "controller"] {
        for _ in 0..SPREAD_TRIES {
            let of_node = of_node(world, role)?;
            let crowded = of_node.values().find(|pods| pods.len() > 1);
            let Some(pod) = crowded.and_then(|pods| pods.last()) else {
                break;
            };
            if of_node.len() == nodes {
                break;
            }
            let object = format!("pod/{pod}");
            let uid = world.get(&object)?["metadata"]["uid"].clone();
            world.run(&["delete", &object, "--wait=false"])?;
            world.await_new_pod(pod, &uid)?;
            await_in_sync(world)?;
            await_settled(world)?;
        }
    }
    Ok(())
}

fn of_node(world: &World, role: &str) -> Result<BTreeMap<String, Vec<String>>> {
    let selector = format!("app.kubernetes.io/instance=demo,app.kubernetes.io/component={role}");
    let mut of_node: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for pod in world.list("pods", &selector)? {
        let node = pod["spec"]["nodeName"].as_str().context("not scheduled")?;
        let pods = of_node.entry(node.to_owned()).or_default();
        pods.push(name(&pod).to_owned());
    }
    Ok(of_node)
}

fn run(world: &World, words: &[&str]) -> Result<Output> {
    world.kubectl().command(words).limit(DRAIN_LIMIT).run()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn partitions_with_a_replica_out_of_sync_are_found() {
        let ids = |count: i32| (0..count).map(|id| json!({"id": id})).collect::<Vec<_>>();
        let partition = |replicas, isr| json!({"replicas": ids(replicas), "isrs": ids(isr)});
        let mut metadata = json!({"topics": [
            {"topic": "good", "partitions": [partition(3, 3), partition(1, 1)]},
        ]});
        assert!(out_of_sync(&metadata).is_empty());
        metadata["topics"][0]["partitions"][0] = partition(3, 2);
        let found = out_of_sync(&metadata);
        assert!(found.len() == 1 && found[0].contains("good"), "{found:?}");
        assert!(!out_of_sync(&json!({})).is_empty());
    }
}
