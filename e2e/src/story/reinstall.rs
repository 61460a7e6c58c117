//! Everything taken away but the volumes, and made again.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::messages;
use super::world::{CLUSTER, NAMESPACE, READY_LIMIT, World};
use crate::objects::{await_gone, condition, name};
use crate::operator_release;
use crate::wait::wait_until;

const GONE_LIMIT: Duration = Duration::from_secs(120);

pub(super) fn reinstall(world: &World) -> Result<()> {
    let before = world.get(CLUSTER)?;
    let volumes_before = volumes(world)?;
    // The Cluster first: its Topics' finalizers must let go although it is going.
    world.run(&["delete", CLUSTER, "--wait=false"])?;
    let mut delete_topics = world.kubectl().command(["--namespace", NAMESPACE]);
    delete_topics = delete_topics.args(["delete", "topic.foz.dev", "--all"]);
    delete_topics.limit(GONE_LIMIT).run()?;
    await_gone(world.kubectl(), NAMESPACE, CLUSTER, GONE_LIMIT)?;
    wait_until("the Cluster's pods to go", GONE_LIMIT, || {
        let left = [world.pods("broker")?, world.pods("controller")?].concat();
        Ok(if left.is_empty() {
            Ok(())
        } else {
            Err(format!("{left:?}"))
        })
    })?;
    operator_release::uninstall(&world.kubernetes)?;
    ensure_same_volumes(&volumes_before, &volumes(world)?)?;

    operator_release::install(&world.kubernetes, &world.folders, &world.images)?;
    let manifest = serde_json::json!({
        "apiVersion": "foz.dev/v1alpha1",
        "kind": "Cluster",
        "metadata": {"name": "demo"},
        "spec": before["spec"],
    });
    world.apply(&manifest.to_string())?;
    let after = world.await_object(CLUSTER, "Ready again", READY_LIMIT, |cluster| {
        condition(cluster, "Ready").is_some_and(|ready| ready["status"] == "True")
            && cluster["status"]["readyReplicas"] == before["spec"]["replicas"]
    })?;
    let cluster_id = |cluster: &serde_json::Value| cluster["status"]["clusterId"].clone();
    ensure!(
        cluster_id(&before) == cluster_id(&after),
        "another cluster id: {after}"
    );
    ensure_same_volumes(&volumes_before, &volumes(world)?)?;
    messages::verify(world, messages::TOPIC, messages::COUNT)?;
    stop_for_the_next_story(world)
}

/// The next story reads the files of brokers that were stopped cleanly.
fn stop_for_the_next_story(world: &World) -> Result<()> {
    world.run(&["delete", CLUSTER, "--wait=false"])?;
    await_gone(world.kubectl(), NAMESPACE, CLUSTER, GONE_LIMIT)?;
    wait_until("the brokers to stop", GONE_LIMIT, || {
        let left = world.pods("broker")?;
        Ok(if left.is_empty() {
            Ok(())
        } else {
            Err(format!("{left:?}"))
        })
    })
}

/// What a claim of the same name must be for the Cluster to have its data again.
#[derive(Debug, PartialEq, Eq)]
struct VolumeOfClaim {
    /// A claim that was deleted and made anew has another one.
    claim_uid: String,
    volume: String,
    /// Where the volume's files are, as the volume says.
    source: String,
}

/// By the claims' names.
fn volumes(world: &World) -> Result<BTreeMap<String, VolumeOfClaim>> {
    let claims = world.list("persistentvolumeclaims", "")?;
    claims
        .iter()
        .map(|claim| {
            let name = name(claim).to_owned();
            let volume = claim["spec"]["volumeName"].as_str();
            let volume = volume.with_context(|| format!("claim {name} has no volume"))?;
            let object = world.kubectl().get_json(["persistentvolume", volume])?;
            let of_claim = VolumeOfClaim {
                claim_uid: claim["metadata"]["uid"].to_string(),
                volume: volume.to_owned(),
                source: source(&object),
            };
            Ok((name, of_claim))
        })
        .collect()
}

/// The part of a volume's spec that says where its files are, whatever kind of volume it is.
fn source(volume: &Value) -> String {
    let sources = ["local", "hostPath", "csi", "nfs"];
    let found = sources
        .iter()
        .find(|kind| !volume["spec"][**kind].is_null());
    found.map_or_else(String::new, |kind| volume["spec"][*kind].to_string())
}

fn ensure_same_volumes(
    before: &BTreeMap<String, VolumeOfClaim>,
    now: &BTreeMap<String, VolumeOfClaim>,
) -> Result<()> {
    for (claim, volume) in before {
        let found = now.get(claim);
        ensure!(
            found == Some(volume),
            "the volume of {claim} was {volume:?} and is {found:?}"
        );
    }
    let more: Vec<&String> = now.keys().filter(|it| !before.contains_key(*it)).collect();
    ensure!(
        more.is_empty(),
        "there are more claims than before: {more:?}"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn volumes(claim_uid: &str, path: &str) -> BTreeMap<String, VolumeOfClaim> {
        let object = json!({"spec": {"capacity": {}, "local": {"path": path}}});
        let volume = VolumeOfClaim {
            claim_uid: claim_uid.to_owned(),
            volume: "pvc-1".to_owned(),
            source: source(&object),
        };
        BTreeMap::from([("data-demo-broker-0".to_owned(), volume)])
    }

    #[test]
    fn a_claim_of_the_same_name_is_not_enough() {
        let before = volumes("u1", "/a");
        ensure_same_volumes(&before, &volumes("u1", "/a")).unwrap();
        assert!(ensure_same_volumes(&before, &volumes("u2", "/a")).is_err());
        assert!(ensure_same_volumes(&before, &volumes("u1", "/b")).is_err());
        assert!(ensure_same_volumes(&before, &BTreeMap::new()).is_err());
        assert!(ensure_same_volumes(&BTreeMap::new(), &before).is_err());
    }
}
