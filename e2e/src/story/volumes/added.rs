//! A Cluster gets a further volume for each broker, and loses it again on one of them.

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::objects::{await_gone, await_object, await_ready, condition, items, name};
use crate::progress::seconds;
use crate::story::messages;
use crate::story::producing::while_producing_at;
use crate::story::world::{READY_LIMIT, World, pod_is_ready};
use crate::wait::wait_until;

/// Its own: a volume stays for as long as its Cluster is there, and other stories count volumes.
const NAMESPACE: &str = "volumes";
const CLUSTER: &str = "cluster.foz.dev/wide";
const BOOTSTRAP: &str = "wide-bootstrap.volumes.svc:9092";
const BROKERS: i32 = 3;
/// The Topic that is written to all the time.
const KEPT: &str = "kept";
/// The Topic that is made when the volume is there.
const LATER: &str = "later";
const PARTITIONS: u32 = 12;
/// Three brokers are restarted one after the other, on a machine that is busy with a whole cluster.
const ROLL_LIMIT: Duration = Duration::from_secs(240);
const GONE_LIMIT: Duration = Duration::from_secs(60);

/// Under a producer that loses nothing, each broker gets a second volume with a restart of its own, while no other is away
/// and no controller restarts. New partitions are on it. Then one broker gets an empty one in its place, and keeps the
/// first.
pub(in crate::story) fn under_load(world: &World) -> Result<()> {
    let kubectl = world.kubectl();
    remove(world)?;
    kubectl.apply(NAMESPACE, manifest()).map(drop)?;
    await_ready(kubectl, NAMESPACE, CLUSTER, READY_LIMIT)?;
    await_topic(world, KEPT)?;
    let before = pods(world)?;
    let begun = Instant::now();
    let ((), produced) = while_producing_at(world, BOOTSTRAP, KEPT, || {
        let volumes = json!([{"id": 1, "size": "64Mi"}]);
        let change = json!({"spec": {"storage": {"volumes": volumes}}}).to_string();
        run(
            world,
            &["patch", CLUSTER, "--type=merge", "--patch", &change],
        )?;
        watch_brokers(world, &before)?;
        await_settled(world)
    })?;
    world.progress.line(&format!(
        "        {BROKERS} brokers have another volume after {}, with {produced} messages meanwhile",
        seconds(begun.elapsed())
    ));
    let after = pods(world)?;
    for (pod, uid) in &before {
        let is_broker = pod.contains("broker");
        let is_same = after.get(pod) == Some(uid);
        ensure!(
            is_broker != is_same,
            "{pod} was {uid}; now there are {after:?}"
        );
    }
    messages::verify_at(world, BOOTSTRAP, KEPT, produced)?;

    kubectl.apply(NAMESPACE, topic(LATER)).map(drop)?;
    await_topic(world, LATER)?;
    for broker in 0..BROKERS {
        let claim = format!("data-1-wide-broker-{broker}");
        let logs = logs_on(world, &claim, LATER)?;
        ensure!(!logs.is_empty(), "{claim} got no partition of {LATER}");
    }
    replace(world)?;
    messages::verify_at(world, BOOTSTRAP, KEPT, produced)?;
    remove(world)
}

/// The second volume of one broker, and not its first.
fn replace(world: &World) -> Result<()> {
    const POD: &str = "pod/wide-broker-1";
    const FIRST: &str = "persistentvolumeclaim/data-wide-broker-1";
    const SECOND: &str = "persistentvolumeclaim/data-1-wide-broker-1";
    let uid = |object: &Value| object["metadata"]["uid"].clone();
    let (first, second) = (uid(&get(world, FIRST)?), uid(&get(world, SECOND)?));
    run(world, &["annotate", POD, "foz.dev/replace-volume=1"])?;
    await_object(
        world.kubectl(),
        NAMESPACE,
        SECOND,
        "another one",
        ROLL_LIMIT,
        |claim| uid(claim) != second && claim["status"]["phase"] == "Bound",
    )?;
    await_settled(world)?;
    ensure!(
        uid(&get(world, FIRST)?) == first,
        "the first volume was replaced as well"
    );
    wait_until("the partitions to be copied to it", ROLL_LIMIT, || {
        let logs = logs_on(world, "data-1-wide-broker-1", "")?;
        Ok(if logs.is_empty() {
            Err("none".to_owned())
        } else {
            Ok(())
        })
    })
}

/// Follows the restarts until every broker has two volumes: no two are away at the same time.
fn watch_brokers(world: &World, before: &BTreeMap<String, String>) -> Result<()> {
    let brokers: Vec<&String> = before.keys().filter(|pod| pod.contains("broker")).collect();
    wait_until("brokers with two volumes", ROLL_LIMIT, || {
        let list = world
            .kubectl()
            .get_json(["pods", "--namespace", NAMESPACE])?;
        let pod = |broker: &String| items(&list).find(|pod| name(pod) == broker);
        let is_ready = |broker: &&&String| pod(broker).is_some_and(pod_is_ready);
        let away: Vec<_> = brokers.iter().filter(|it| !is_ready(it)).collect();
        ensure!(away.len() <= 1, "{away:?} are away at the same time");
        let is_done = |broker: &&String| pod(broker).is_some_and(has_two_volumes);
        let left: Vec<_> = brokers.iter().filter(|it| !is_done(it)).collect();
        let is_met = left.is_empty() && away.is_empty();
        Ok(if is_met {
            Ok(())
        } else {
            Err(format!("{left:?} have one, {away:?} are away"))
        })
    })
}

fn has_two_volumes(pod: &Value) -> bool {
    let volumes = pod["spec"]["volumes"].as_array();
    let claimed = volumes.into_iter().flatten();
    claimed
        .filter(|volume| volume["persistentVolumeClaim"].is_object())
        .count()
        == 2
}

fn await_settled(world: &World) -> Result<()> {
    let what = "settled and in sync";
    await_object(
        world.kubectl(),
        NAMESPACE,
        CLUSTER,
        what,
        ROLL_LIMIT,
        |cluster| {
            let is = |kind: &str, status: &str| {
                condition(cluster, kind).is_some_and(|it| it["status"] == status)
            };
            is("Ready", "True")
                && is("Progressing", "False")
                && is("Degraded", "False")
                && cluster["status"]["underReplicatedPartitions"] == 0
                && cluster["status"]["offlineReplicas"] == 0
        },
    )
    .map(drop)
}

/// The directories of a topic's logs on the volume of a claim; of all topics for none.
fn logs_on(world: &World, claim: &str, topic: &str) -> Result<Vec<String>> {
    let volumes = world.cluster()?.volumes();
    let mut found = Vec::new();
    let uid = get(world, &format!("persistentvolumeclaim/{claim}"))?["metadata"]["uid"].clone();
    let uid = uid.as_str().context("a claim without a UID")?;
    let folder = volumes
        .join(format!("{NAMESPACE}-{claim}-{uid}"))
        .join("data");
    let entries = fs::read_dir(&folder).with_context(|| folder.display().to_string())?;
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let is_log = entry.file_type()?.is_dir() && name.starts_with(topic);
        if is_log {
            found.push(name);
        }
    }
    Ok(found)
}

/// Names and UIDs.
fn pods(world: &World) -> Result<BTreeMap<String, String>> {
    let list = world
        .kubectl()
        .get_json(["pods", "--namespace", NAMESPACE])?;
    let uid = |pod: &Value| {
        pod["metadata"]["uid"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    };
    Ok(items(&list)
        .map(|pod| (name(pod).to_owned(), uid(pod)))
        .collect())
}

fn await_topic(world: &World, topic: &str) -> Result<()> {
    let object = format!("topic.foz.dev/{topic}");
    await_ready(world.kubectl(), NAMESPACE, &object, READY_LIMIT).map(drop)
}

fn get(world: &World, object: &str) -> Result<Value> {
    world.kubectl().get_json([object, "--namespace", NAMESPACE])
}

fn run(world: &World, args: &[&str]) -> Result<()> {
    let command = world.kubectl().command(["--namespace", NAMESPACE]);
    command.args(args).run().map(drop)
}

fn remove(world: &World) -> Result<()> {
    let kubectl = world.kubectl();
    kubectl.run([
        "delete",
        "namespace",
        NAMESPACE,
        "--ignore-not-found",
        "--wait=false",
    ])?;
    await_gone(
        kubectl,
        "default",
        &format!("namespace/{NAMESPACE}"),
        GONE_LIMIT,
    )
}

/// Small: it runs beside the other Cluster.
fn manifest() -> String {
    format!(
        "apiVersion: v1\n\
         kind: Namespace\n\
         metadata: {{name: {NAMESPACE}}}\n\
         ---\n\
         apiVersion: foz.dev/v1alpha1\n\
         kind: Cluster\n\
         metadata: {{name: wide, namespace: {NAMESPACE}}}\n\
         spec:\n  \
           replicas: {BROKERS}\n  \
           controllers: {{replicas: 1}}\n  \
           storage: {{size: 64Mi}}\n  \
           resources: {{requests: {{cpu: 50m, memory: 128Mi}}, limits: {{memory: 1Gi}}}}\n\
         ---\n{}",
        topic(KEPT)
    )
}

fn topic(topic: &str) -> String {
    // Messages are of the year 2023: time must not delete them.
    format!(
        "apiVersion: foz.dev/v1alpha1\n\
         kind: Topic\n\
         metadata: {{name: {topic}, namespace: {NAMESPACE}}}\n\
         spec: {{clusterRef: {{name: wide}}, partitions: {PARTITIONS}, replicationFactor: 3, config: {{retention.ms: '-1'}}}}\n"
    )
}
