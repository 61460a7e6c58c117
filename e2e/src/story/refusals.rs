//! Bad input: refused at `kubectl apply`, or told in the status; never half done.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::world::{NAMESPACE, World};
use crate::objects::condition;

/// A spec that is wrong and a word that the refusal must hold.
type Wrong = (&'static str, &'static str);

const WRONG_CLUSTERS: [Wrong; 5] = [
    ("{replicas: 0, storage: {size: 1Gi}}", "replicas"),
    ("{replicas: -1, storage: {size: 1Gi}}", "replicas"),
    (
        "{controllers: {replicas: 2}, storage: {size: 1Gi}}",
        "controllers",
    ),
    ("{replicas: 3}", "storage"),
    ("{storage: {size: lots}}", "size"),
];
const WRONG_TOPICS: [Wrong; 3] = [
    ("{partitions: 1, replicationFactor: 1}", "clusterRef"),
    (
        "{clusterRef: {name: demo}, topicName: 'a b', partitions: 1, replicationFactor: 1}",
        "topicName",
    ),
    (
        "{clusterRef: {name: demo}, partitions: 0, replicationFactor: 1}",
        "partitions",
    ),
];
/// Changes of what exists.
const WRONG_CHANGES: [(&str, &str, &str); 4] = [
    (
        "cluster.foz.dev/demo",
        r#"{"spec":{"storage":{"size":"1Mi"}}}"#,
        "size",
    ),
    (
        "cluster.foz.dev/demo",
        r#"{"spec":{"storage":{"className":"other"}}}"#,
        "class",
    ),
    (
        "topic.foz.dev/orders",
        r#"{"spec":{"partitions":1}}"#,
        "partitions",
    ),
    (
        "topic.foz.dev/orders",
        r#"{"spec":{"topicName":"other"}}"#,
        "topicName",
    ),
];

const TOLD_LIMIT: Duration = Duration::from_secs(30);

pub(super) fn admission(world: &World) -> Result<()> {
    for (kind, wrong) in WRONG_CLUSTERS
        .iter()
        .map(|wrong| ("Cluster", wrong))
        .chain(WRONG_TOPICS.iter().map(|wrong| ("Topic", wrong)))
    {
        refuse(world, kind, wrong)?;
    }
    for (object, patch, word) in WRONG_CHANGES {
        let patch = [
            "patch",
            object,
            "--type=merge",
            "--patch",
            patch,
            "--namespace",
            NAMESPACE,
        ];
        let answer = world.kubectl().command(patch).run_any()?;
        check_refusal(patch[4], &answer, word)?;
    }
    told_in_status(
        world,
        "misspelt",
        "config: {retention.mss: '1'}",
        "retention.ms",
    )?;
    let at_most = "it can be at most 3";
    told_in_status(world, "replicated", "replicationFactor: 30", at_most)?;
    told_in_status(world, "orders-again", "topicName: orders", "orders")
}

fn refuse(world: &World, kind: &str, (spec, word): &Wrong) -> Result<()> {
    let manifest = format!(
        "{{apiVersion: foz.dev/v1alpha1, kind: {kind}, metadata: {{name: wrong}}, spec: {spec}}}"
    );
    let apply = world
        .kubectl()
        .command(["apply", "--namespace", NAMESPACE, "-f", "-"]);
    let answer = apply.stdin(manifest.clone()).run_any()?;
    check_refusal(&manifest, &answer, word)
}

fn check_refusal(what: &str, answer: &crate::external::Output, word: &str) -> Result<()> {
    ensure!(!answer.status.success(), "{what} was taken");
    let said = answer.error_text();
    ensure!(
        said.contains(word),
        "the refusal of {what} does not say {word:?}: {said}"
    );
    Ok(())
}

/// What only the cluster can judge is taken, and the Topic is not Ready and says why.
fn told_in_status(world: &World, name: &str, field: &str, word: &str) -> Result<()> {
    let factor = if field.contains("replicationFactor") {
        ""
    } else {
        "\n  replicationFactor: 1"
    };
    world.apply(&format!(
        "apiVersion: foz.dev/v1alpha1\n\
         kind: Topic\n\
         metadata: {{name: {name}}}\n\
         spec:\n  clusterRef: {{name: demo}}\n  partitions: 1{factor}\n  {field}\n"
    ))?;
    let object = format!("topic.foz.dev/{name}");
    world.await_object(&object, "refused in its status", TOLD_LIMIT, |topic| {
        let ready = condition(topic, "Ready");
        ready.is_some_and(|it| {
            it["status"] == "False" && it["message"].as_str().is_some_and(|it| it.contains(word))
        })
    })?;
    world.run(&["delete", &object, "--timeout=30s"]).map(drop)
}
