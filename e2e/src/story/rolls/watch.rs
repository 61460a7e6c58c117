//! Watching a roll: which pod goes when, and what stays in sync meanwhile.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::objects::name;
use crate::progress::seconds;
use crate::story::world::{CLUSTER, OF_CLUSTER, World, pod_is_ready};

/// Brokers and controllers on a machine that is busy with a whole cluster.
pub(super) const ROLL_LIMIT: Duration = Duration::from_secs(240);
const LOOK_PAUSE: Duration = Duration::from_millis(200);
/// What a partition of three replicas has in sync at least: the Cluster's `min.insync.replicas`.
const MIN_INSYNC: usize = 2;

/// A pod that was restarted, and who was the active controller just before.
pub(in crate::story) type Restarted = (String, String);

/// The Cluster's pods and their UIDs.
pub(in crate::story) fn uids(world: &World) -> Result<BTreeMap<String, String>> {
    let pods = world.list("pods", OF_CLUSTER)?;
    let uid = |pod: &Value| {
        pod["metadata"]["uid"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    };
    Ok(pods
        .iter()
        .map(|pod| (name(pod).to_owned(), uid(pod)))
        .collect())
}

pub(in crate::story) fn changed(
    before: &BTreeMap<String, String>,
    after: &BTreeMap<String, String>,
) -> Vec<String> {
    let is_other = |(pod, uid): &(&String, &String)| after.get(*pod) != Some(*uid);
    before
        .iter()
        .filter(is_other)
        .map(|(pod, _)| pod.clone())
        .collect()
}

/// Follows a roll until every pod is another one and Ready. No two are away at the same time. Hands back in which order
/// they went.
pub(in crate::story) fn watch_roll(
    world: &World,
    before: &BTreeMap<String, String>,
) -> Result<Vec<Restarted>> {
    let mut order: Vec<Restarted> = Vec::new();
    let mut back: BTreeSet<String> = BTreeSet::new();
    let mut active = active_controller(world)?;
    let deadline = Instant::now() + ROLL_LIMIT;
    while back.len() < before.len() {
        // Before the look at the pods: one that is there after this has not handed its office over.
        let active_now = active_controller(world)?;
        let pods = world.list("pods", OF_CLUSTER)?;
        let mut away = Vec::new();
        for (pod, uid) in before {
            let now = pods.iter().find(|it| name(it) == pod);
            let is_of_before = now.is_some_and(|now| now["metadata"]["uid"] == uid.as_str());
            let is_leaving = now.is_none_or(|now| !now["metadata"]["deletionTimestamp"].is_null());
            if is_of_before && !is_leaving {
                continue;
            }
            if !order.iter().any(|(gone, _)| gone == pod) {
                order.push((pod.clone(), active.clone()));
            }
            // One that is back and is unready for a moment on a busy machine is not restarted by that.
            if now.is_some_and(|now| !is_of_before && pod_is_ready(now)) {
                back.insert(pod.clone());
            }
            if is_leaving || !back.contains(pod) {
                away.push(pod);
            }
        }
        ensure!(
            away.len() <= 1,
            "{away:?} are away at the same time; so far {order:?}"
        );
        ensure!(
            Instant::now() < deadline,
            "only {back:?} have restarted within {}; the Cluster says {}",
            seconds(ROLL_LIMIT),
            world.get(CLUSTER)?["status"]
        );
        active = active_now;
        thread::sleep(LOOK_PAUSE);
    }
    Ok(order)
}

fn active_controller(world: &World) -> Result<String> {
    let cluster = world.get(CLUSTER)?;
    let active = cluster["status"]["activeController"].as_str();
    Ok(active.unwrap_or_default().to_owned())
}

/// Brokers, then controllers, and last the one that was active then.
pub(super) fn check_order(order: &[Restarted]) -> Result<()> {
    let is_controller = |(pod, _): &Restarted| pod.contains("controller");
    let brokers = order.iter().take_while(|it| !is_controller(it)).count();
    let after = &order[brokers..];
    ensure!(
        brokers > 0 && !after.is_empty() && after.iter().all(is_controller),
        "brokers and controllers in turn: {order:?}"
    );
    let (last, active) = order.last().context("no pod was restarted")?;
    // Nobody was active, or the status did not say: then there is nothing to judge.
    ensure!(
        active.is_empty() || last == active,
        "{last} went last, and {active} was active: {order:?}"
    );
    Ok(())
}

/// Looks at the ISR of every partition of three and more replicas, again and again. Says how often.
pub(super) fn watch_isrs(world: &World, rolling: &AtomicBool) -> Result<usize> {
    let mut looks = 0;
    while rolling.load(Ordering::Acquire) {
        // A broker that is asked while it stops says nothing.
        let said = world.kcat()?.args(["-L", "-J"]).run_any();
        let metadata = said.map(|said| serde_json::from_slice::<Value>(&said.stdout));
        if let Ok(Ok(metadata)) = metadata {
            let small = too_small(&metadata);
            ensure!(small.is_empty(), "too few replicas in sync: {small:?}");
            looks += usize::from(
                metadata["topics"]
                    .as_array()
                    .is_some_and(|it| !it.is_empty()),
            );
        }
        thread::sleep(LOOK_PAUSE);
    }
    Ok(looks)
}

/// The partitions with fewer in sync than [`MIN_INSYNC`], in what `kcat -L -J` says.
fn too_small(metadata: &Value) -> Vec<String> {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let mut found = Vec::new();
    for topic in list(&metadata["topics"]) {
        for partition in list(&topic["partitions"]) {
            let (replicas, isr) = (list(&partition["replicas"]), list(&partition["isrs"]));
            if replicas.len() > MIN_INSYNC && isr.len() < MIN_INSYNC {
                found.push(format!("{}: {partition}", topic["topic"]));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn partitions_with_too_few_in_sync_are_found() {
        let ids = |count: i32| (0..count).map(|id| json!({"id": id})).collect::<Vec<_>>();
        let partition = |replicas, isr| json!({"replicas": ids(replicas), "isrs": ids(isr)});
        let metadata = json!({"topics": [
            {"topic": "good", "partitions": [partition(3, 3), partition(3, 2), partition(1, 1)]},
            {"topic": "bad", "partitions": [partition(3, 1)]},
        ]});
        let found = too_small(&metadata);
        assert_eq!(found.len(), 1);
        assert!(found[0].contains("bad"), "{found:?}");
        assert!(too_small(&json!({})).is_empty());
    }

    #[test]
    fn the_order_is_brokers_then_controllers_and_the_active_one_last() {
        let order = |pods: &[&str]| -> Vec<Restarted> {
            let active = "demo-controller-1".to_owned();
            pods.iter()
                .map(|pod| (format!("demo-{pod}"), active.clone()))
                .collect()
        };
        check_order(&order(&["broker-0", "controller-0", "controller-1"])).unwrap();
        for wrong in [
            &["broker-0", "controller-1", "controller-0"][..],
            &["controller-0", "broker-0", "controller-1"],
            &["controller-0", "controller-1"],
            &["broker-0"],
        ] {
            check_order(&order(wrong)).unwrap_err();
        }
    }

    #[test]
    fn pods_that_are_others_are_named() {
        let pods = |uids: &[(&str, &str)]| {
            let pods = uids.iter().map(|(pod, uid)| ((*pod).into(), (*uid).into()));
            pods.collect::<BTreeMap<String, String>>()
        };
        let before = pods(&[("a", "1"), ("b", "2"), ("c", "3")]);
        assert_eq!(
            changed(&before, &pods(&[("a", "1"), ("b", "9")])),
            ["b", "c"]
        );
    }
}
