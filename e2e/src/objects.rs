//! Clusters and Topics: applying them and waiting for what their status says.

use std::time::Duration;

use anyhow::Result;
use serde_json::Value;

use crate::cluster::kubectl::Kubectl;
use crate::wait::{Look, wait_for};

/// Waits until the object is Ready for what its spec says now, and hands it back.
pub fn await_ready(
    kubectl: &Kubectl,
    namespace: &str,
    object: &str,
    limit: Duration,
) -> Result<Value> {
    await_object(kubectl, namespace, object, "Ready", limit, |object| {
        let ready = condition(object, "Ready");
        let current = object["status"]["observedGeneration"] == object["metadata"]["generation"];
        current && ready.is_some_and(|it| it["status"] == "True")
    })
}

/// Waits until the object is as `wanted` describes it; `what` names that for the error.
pub fn await_object(
    kubectl: &Kubectl,
    namespace: &str,
    object: &str,
    what: &str,
    limit: Duration,
    wanted: impl Fn(&Value) -> bool,
) -> Result<Value> {
    wait_for(&format!("{object} to be {what}"), limit, || {
        let output = kubectl
            .command(["get", object, "--namespace", namespace, "--output=json"])
            .run_any()?;
        if !output.status.success() {
            return Ok(Look::NotYet(output.error_text()));
        }
        let object: Value = serde_json::from_slice(&output.stdout)?;
        Ok(if wanted(&object) {
            Look::Found(object)
        } else {
            Look::NotYet(summary(&object))
        })
    })
}

/// Waits until the object does not exist.
pub fn await_gone(kubectl: &Kubectl, namespace: &str, object: &str, limit: Duration) -> Result<()> {
    wait_for(&format!("{object} to be gone"), limit, || {
        let get = [
            "get",
            object,
            "--namespace",
            namespace,
            "--ignore-not-found",
            "--output=name",
        ];
        let left = kubectl.run(get)?.text();
        Ok(if left.is_empty() {
            Look::Found(())
        } else {
            Look::NotYet(left)
        })
    })
}

/// The condition of this type.
#[must_use]
pub fn condition<'a>(object: &'a Value, kind: &str) -> Option<&'a Value> {
    let conditions = object["status"]["conditions"].as_array()?;
    conditions
        .iter()
        .find(|condition| condition["type"] == kind)
}

/// The elements of a list of objects.
pub fn items(list: &Value) -> impl Iterator<Item = &Value> {
    list["items"].as_array().into_iter().flatten()
}

/// An object's name.
#[must_use]
pub fn name(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap_or_default()
}

/// What an error shows of an object: what it wants and what it has.
fn summary(object: &Value) -> String {
    format!("spec {} status {}", object["spec"], object["status"])
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_condition_is_found_by_its_type() {
        let object = json!({"status": {"conditions": [
            {"type": "Degraded", "status": "False"}, {"type": "Ready", "status": "True"},
        ]}});
        assert_eq!(condition(&object, "Ready").unwrap()["status"], "True");
        assert_eq!(condition(&object, "Progressing"), None);
        assert_eq!(condition(&json!({}), "Ready"), None);
    }
}
