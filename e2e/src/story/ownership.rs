//! The operator's objects in other hands.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::world::{CLUSTER, World};
use crate::objects::name;

/// From the change to the object being right again.
const RIGHT_LIMIT: Duration = Duration::from_secs(5);
const OWNED: &str = "app.kubernetes.io/managed-by=foz-operator,app.kubernetes.io/instance=demo";

/// The kinds of a Cluster's objects and a change that does harm in each.
fn kinds() -> Vec<(&'static str, Value)> {
    let label = json!({"metadata": {"labels": {"app.kubernetes.io/part-of": "changed"}}});
    vec![
        ("configmaps", json!({"data": null})),
        (
            "serviceaccounts",
            json!({"automountServiceAccountToken": true}),
        ),
        (
            "services",
            json!({"spec": {"publishNotReadyAddresses": null, "selector": {"x": "y"}}}),
        ),
        (
            "poddisruptionbudgets",
            json!({"spec": {"selector": {"matchLabels": {"x": "y"}}}}),
        ),
        ("networkpolicies", json!({"spec": {"ingress": null}})),
        ("statefulsets", label),
    ]
}

pub(super) fn put_right(world: &World) -> Result<()> {
    // All of them are tried: one that stays wrong says nothing about the others.
    let mut wrong = Vec::new();
    for (kind, change) in kinds() {
        let objects = world.list(kind, OWNED)?;
        ensure!(!objects.is_empty(), "the Cluster owns no {kind}");
        for object in &objects {
            let object_name = format!("{kind}/{}", name(object));
            for result in [
                edit(world, &object_name, object, &change),
                delete(world, &object_name, object),
            ] {
                wrong.extend(result.err().map(|error| format!("{error:#}")));
            }
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    world.await_ready(CLUSTER).map(drop)
}

fn edit(world: &World, object_name: &str, before: &Value, change: &Value) -> Result<()> {
    let patch = change.to_string();
    world.run(&["patch", object_name, "--type=merge", "--patch", &patch])?;
    world
        .await_object(object_name, "as before its edit", RIGHT_LIMIT, |now| {
            same(before, now)
        })
        .map(drop)
        .with_context(|| format!("the edit was {patch}; before it was {}", essence(before)))
}

fn delete(world: &World, object_name: &str, before: &Value) -> Result<()> {
    world.run(&["delete", object_name, "--cascade=orphan", "--wait=false"])?;
    let uid = &before["metadata"]["uid"];
    world
        .await_object(object_name, "made again as it was", RIGHT_LIMIT, |now| {
            now["metadata"]["uid"] != *uid && same(before, now)
        })
        .map(drop)
}

fn same(before: &Value, now: &Value) -> bool {
    essence(before) == essence(now)
}

/// An object without what differs each time it is made.
fn essence(object: &Value) -> Value {
    let metadata = &object["metadata"];
    let mut essence = json!({
        "labels": metadata["labels"],
        "annotations": metadata["annotations"],
        "ownerReferences": metadata["ownerReferences"],
        "spec": object["spec"],
        "data": object["data"],
        "automountServiceAccountToken": object["automountServiceAccountToken"],
    });
    if let Some(spec) = essence["spec"].as_object_mut() {
        // Given out by the API server anew.
        for given in ["clusterIP", "clusterIPs"] {
            let headless = spec
                .get(given)
                .is_some_and(|it| *it == json!("None") || *it == json!(["None"]));
            if !headless {
                spec.remove(given);
            }
        }
    }
    essence
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_given_address_is_no_difference_but_headless_is() {
        let service =
            |ip: &str| json!({"metadata": {}, "spec": {"clusterIP": ip, "clusterIPs": [ip]}});
        assert!(same(&service("10.96.0.7"), &service("10.96.0.9")));
        assert!(!same(&service("None"), &service("10.96.0.9")));
    }
}
