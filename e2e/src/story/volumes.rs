//! Volumes that grow, one that is given up, and one that is added.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::rolls::{await_settled, uids};
use super::world::{CLUSTER, World, lines, replicated_topic_manifest};
use crate::foz::ensure_same_messages;
use crate::objects::name;
use crate::wait::wait_until;

pub(super) mod added;

const LIMIT: Duration = Duration::from_secs(60);
const SET: &str = "statefulset/demo-broker";
const MEBIBYTE: u64 = 1024 * 1024;
/// Told again, it grows by so much again.
const STEP_MEBIBYTES: u64 = 64;

/// Broker volumes are made larger by an edit of the Cluster. The claims grow, the StatefulSet has new claim templates,
/// and every pod is the one that it was.
pub(super) fn grow(world: &World) -> Result<()> {
    await_settled(world)?;
    let before = uids(world)?;
    let set = world.get(SET)?;
    let revision = |set: &Value| set["status"]["updateRevision"].clone();
    let size = mebibytes(&template_size(&set))? + STEP_MEBIBYTES;
    let size = format!("{size}Mi");
    let change = json!({"spec": {"storage": {"size": size}}}).to_string();
    world.run(&["patch", CLUSTER, "--type=merge", "--patch", &change])?;
    wait_until("claims that have grown", LIMIT, || {
        let has = capacities(world)?;
        let all = has.values().all(|capacity| *capacity == size);
        Ok(if all && has.len() >= 3 {
            Ok(())
        } else {
            Err(format!("{has:?}"))
        })
    })?;
    let now = world.await_object(SET, "of new claim templates", LIMIT, |now| {
        template_size(now) == size && now["status"]["readyReplicas"] == now["spec"]["replicas"]
    })?;
    ensure!(
        now["metadata"]["uid"] != set["metadata"]["uid"],
        "the StatefulSet was not made anew"
    );
    ensure!(
        revision(&now) == revision(&set),
        "the revision of the pods has changed: {now}"
    );
    await_settled(world)?;
    ensure!(uids(world)? == before, "a pod was restarted");
    Ok(())
}

/// A broker gets an empty volume in the place of its own, and copies everything from the others.
pub(super) fn replace(world: &World) -> Result<()> {
    const POD: &str = "demo-broker-1";
    const CLAIM: &str = "persistentvolumeclaim/data-demo-broker-1";
    replicate_all(world)?;
    await_settled(world)?;
    let topic = "volume-replaced";
    world.apply(&replicated_topic_manifest(topic, 6, ""))?;
    world.await_ready(&format!("topic.foz.dev/{topic}"))?;
    let sent = lines("kept", 60);
    world.foz().produce(topic, &sent)?;
    let before = world.get(CLAIM)?;
    let pod = world.get(&format!("pod/{POD}"))?;
    let all = world.foz().consume(topic)?;

    world.run(&["annotate", &format!("pod/{POD}"), "foz.dev/replace-volume="])?;
    let uid = &before["metadata"]["uid"];
    world.await_object(CLAIM, "another one", LIMIT, |claim| {
        claim["metadata"]["uid"] != *uid && claim["status"]["phase"] == "Bound"
    })?;
    world.await_new_pod(POD, &pod["metadata"]["uid"])?;
    await_settled(world)?;
    // Led by the one that was empty.
    ensure_same_messages(&all, &world.foz_in(POD).consume(topic)?)
}

/// Topics of other stories have one replica, which may be on the broker that is to lose its volume: it would keep it.
fn replicate_all(world: &World) -> Result<()> {
    const FACTOR: u32 = 3;
    let change = json!({"spec": {"replicationFactor": FACTOR}}).to_string();
    let topics = world.list("topics.foz.dev", "")?;
    let alone = |topic: &&Value| topic["status"]["replicationFactor"] == 1;
    let alone: Vec<String> = topics
        .iter()
        .filter(alone)
        .map(|topic| format!("topic.foz.dev/{}", name(topic)))
        .collect();
    for object in &alone {
        world.run(&["patch", object, "--type=merge", "--patch", &change])?;
    }
    for object in &alone {
        world.await_object(object, "on three brokers", LIMIT, |topic| {
            topic["status"]["replicationFactor"] == FACTOR
        })?;
    }
    Ok(())
}

fn template_size(set: &Value) -> String {
    let template = &set["spec"]["volumeClaimTemplates"][0]["spec"];
    let size = template["resources"]["requests"]["storage"].as_str();
    size.unwrap_or_default().to_owned()
}

/// Of the brokers' claims, by name.
fn capacities(world: &World) -> Result<BTreeMap<String, String>> {
    let selector = "app.kubernetes.io/instance=demo,app.kubernetes.io/component=broker";
    let claims = world.list("persistentvolumeclaims", selector)?;
    let capacity = |claim: &Value| {
        let capacity = claim["status"]["capacity"]["storage"].as_str();
        (
            name(claim).to_owned(),
            capacity.unwrap_or_default().to_owned(),
        )
    };
    Ok(claims.iter().map(capacity).collect())
}

fn mebibytes(size: &str) -> Result<u64> {
    let units = [("Gi", 1024 * MEBIBYTE), ("Mi", MEBIBYTE), ("", 1)];
    let parse = |(unit, bytes): &(&str, u64)| {
        let number: u64 = size.strip_suffix(unit)?.parse().ok()?;
        Some(number * bytes / MEBIBYTE)
    };
    let found = units.iter().find_map(parse);
    found.with_context(|| format!("{size:?} is no size of these stories"))
}

#[cfg(test)]
mod tests {
    use super::mebibytes;

    #[test]
    fn sizes_are_read() {
        assert_eq!(mebibytes("1Gi").unwrap(), 1024);
        assert_eq!(mebibytes("1088Mi").unwrap(), 1088);
        assert_eq!(mebibytes("1048576").unwrap(), 1);
        assert!(mebibytes("1.5Gi").is_err());
    }
}
