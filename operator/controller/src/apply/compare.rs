//! Is an object as it should be? Pure: compares what we want with what is.
//!
//! An object that is as it should be gets no write: server-side apply of the same content would still
//! be a request that counts. We want only some fields; the API server adds defaults and others add
//! theirs, so the question is whether every field that we set is there, with our value:
//! - quantities are equal in value (`1024Mi` comes back as `1Gi`);
//! - lists that Kubernetes merges by a key (containers, ports, env …) are compared by that key;
//! - selectors are whole: one label more chooses other pods.

use serde_json::{Map, Value, json};

use foz_crd::quantity::quantity_millis;

/// What to do so that an object becomes what it should be.
#[derive(Debug, Clone, PartialEq)]
pub enum Difference {
    /// Nothing.
    None,
    /// Server-side apply is enough. The path of the first field that differs.
    Fields(String),
    /// A list of ours holds entries that are not ours. Server-side apply would leave them, beside ours
    /// or in conflict with them: the merge patch puts the lists back first.
    ForeignEntries {
        /// The path of the first such list.
        path: String,
        /// A JSON merge patch with the whole of each such list.
        patch: Value,
    },
}

/// Compares `wanted` with `live`.
#[must_use]
pub fn difference(wanted: &Value, live: &Value) -> Difference {
    let mut foreign = Vec::new();
    let first = first_difference(wanted, live, &mut Vec::new(), &mut foreign);
    match (foreign.first(), first) {
        (Some(path), _) => Difference::ForeignEntries {
            path: path.join("."),
            patch: lists_patch(wanted, &foreign),
        },
        (None, Some(path)) => Difference::Fields(path),
        (None, None) => Difference::None,
    }
}

/// The keys by which Kubernetes tells the entries of a list apart, by the field's name.
fn merge_keys(field: &str, in_metadata: bool) -> Option<&'static [&'static str]> {
    Some(match field {
        "containers" | "env" | "volumes" | "imagePullSecrets" => &["name"],
        "volumeMounts" => &["mountPath"],
        "topologySpreadConstraints" => &["topologyKey", "whenUnsatisfiable"],
        "ports" => &["port", "containerPort", "protocol"],
        "ownerReferences" if in_metadata => &["uid"],
        _ => return None,
    })
}

/// Maps that Kubernetes treats as one value.
fn is_whole(field: &str) -> bool {
    matches!(
        field,
        "selector" | "labelSelector" | "podSelector" | "nodeSelector" | "matchLabels"
    )
}

fn first_difference(
    wanted: &Value,
    live: &Value,
    path: &mut Vec<String>,
    foreign: &mut Vec<Vec<String>>,
) -> Option<String> {
    match (wanted, live) {
        (Value::Object(wanted), Value::Object(live)) => {
            let whole = path.last().is_some_and(|field| is_whole(field));
            if whole && wanted.len() != live.len() {
                return Some(path.join("."));
            }
            first_in_map(wanted, live, path, foreign)
        }
        (Value::Array(wanted), Value::Array(live)) => first_in_list(wanted, live, path, foreign),
        _ if scalars_equal(wanted, live, path) => None,
        _ => Some(path.join(".")),
    }
}

fn first_in_map(
    wanted: &Map<String, Value>,
    live: &Map<String, Value>,
    path: &mut Vec<String>,
    foreign: &mut Vec<Vec<String>>,
) -> Option<String> {
    let mut first = None;
    for (field, wanted) in wanted {
        path.push(field.clone());
        let found = match live.get(field) {
            Some(live) => first_difference(wanted, live, path, foreign),
            None if is_empty(wanted) => None,
            None => Some(path.join(".")),
        };
        path.pop();
        first = first.or(found);
    }
    first
}

fn first_in_list(
    wanted: &[Value],
    live: &[Value],
    path: &mut Vec<String>,
    foreign: &mut Vec<Vec<String>>,
) -> Option<String> {
    let in_metadata = path.first().is_some_and(|field| field == "metadata");
    let Some(keys) = path.last().and_then(|field| merge_keys(field, in_metadata)) else {
        if wanted.len() != live.len() {
            return Some(path.join("."));
        }
        let pairs = wanted.iter().zip(live).enumerate();
        return pairs.fold(None, |first, (index, (wanted, live))| {
            path.push(index.to_string());
            // A list without keys is one value: it is never mended entry by entry.
            let found = first_difference(wanted, live, path, &mut Vec::new());
            path.pop();
            first.or(found)
        });
    };
    let is_ours = |live: &Value| wanted.iter().any(|wanted| same_entry(wanted, live, keys));
    if !in_metadata && !live.iter().all(is_ours) {
        foreign.push(path.clone());
    }
    let mut first = None;
    for (index, wanted) in wanted.iter().enumerate() {
        path.push(index.to_string());
        let found = match live.iter().find(|live| same_entry(wanted, live, keys)) {
            Some(live) => first_difference(wanted, live, path, foreign),
            None => Some(path.join(".")),
        };
        path.pop();
        first = first.or(found);
    }
    first
}

/// A key that we leave out has a default (`protocol`), which does not tell entries of ours apart.
fn same_entry(wanted: &Value, live: &Value, keys: &[&str]) -> bool {
    keys.iter().all(|key| {
        wanted
            .get(key)
            .is_none_or(|wanted| live.get(key) == Some(wanted))
    })
}

fn scalars_equal(wanted: &Value, live: &Value, path: &[String]) -> bool {
    if wanted == live {
        return true;
    }
    let is_quantity = path
        .iter()
        .any(|field| matches!(field.as_str(), "requests" | "limits"))
        || path.last().is_some_and(|field| field == "sizeLimit");
    let value = |value: &Value| match value {
        Value::String(text) => quantity_millis(text).ok(),
        Value::Number(number) => quantity_millis(&number.to_string()).ok(),
        _ => None,
    };
    is_quantity && value(wanted).is_some() && value(wanted) == value(live)
}

/// The API server drops empty maps and lists; an empty selector (`{}`) it keeps.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(fields) => fields.values().all(is_empty),
        Value::Array(entries) => entries.is_empty(),
        _ => false,
    }
}

/// A merge patch with the lists at `paths`. It replaces whole lists, so that of nested ones the
/// outermost counts.
fn lists_patch(wanted: &Value, paths: &[Vec<String>]) -> Value {
    let mut patch = json!({});
    for path in paths {
        let mut from = wanted;
        let mut to = &mut patch;
        for field in path {
            let Some(next) = from.get(field) else { break };
            if next.is_array() {
                to[field] = next.clone();
                break;
            }
            if to.get(field).is_none() {
                to[field] = json!({});
            }
            to = &mut to[field];
            from = next;
        }
    }
    patch
}

#[cfg(test)]
mod tests {
    use super::{Difference, difference};
    use serde_json::{Value, json};

    fn at(wanted: &Value, live: &Value) -> String {
        match difference(wanted, live) {
            Difference::None => "same".into(),
            Difference::Fields(path) => path,
            Difference::ForeignEntries { path, .. } => format!("foreign {path}"),
        }
    }

    #[test]
    fn what_the_api_server_adds_is_no_difference() {
        let wanted = json!({"spec": {
            "replicas": 3,
            "template": {"spec": {
                "containers": [{"name": "foz", "ports": [{"containerPort": 9092}], "env": [{"name": "A", "value": "1"}]}],
                "volumes": [{"name": "config", "configMap": {"name": "demo"}}, {"name": "tmp", "emptyDir": {}}],
            }},
        }});
        let live = json!({"status": {}, "spec": {
            "replicas": 3, "revisionHistoryLimit": 10,
            "template": {"metadata": {"creationTimestamp": null}, "spec": {
                "dnsPolicy": "ClusterFirst",
                "containers": [{"name": "foz", "imagePullPolicy": "IfNotPresent",
                    "ports": [{"containerPort": 9092, "protocol": "TCP"}], "env": [{"name": "A", "value": "1"}]}],
                "volumes": [{"name": "tmp", "emptyDir": {}}, {"name": "config", "configMap": {"name": "demo", "defaultMode": 420}}],
            }},
        }});
        assert_eq!(at(&wanted, &live), "same");
    }

    #[test]
    fn the_first_changed_field_is_named() {
        let wanted = json!({"spec": {"replicas": 3, "serviceName": "demo"}});
        assert_eq!(
            at(
                &wanted,
                &json!({"spec": {"replicas": 2, "serviceName": "demo"}})
            ),
            "spec.replicas"
        );
        assert_eq!(
            at(&wanted, &json!({"spec": {"replicas": 3}})),
            "spec.serviceName"
        );
        assert_eq!(at(&wanted, &json!({})), "spec");
        let rules = json!({"spec": {"ingress": [{"ports": [{"port": 1}]}]}});
        assert_eq!(
            at(
                &rules,
                &json!({"spec": {"ingress": [{"ports": [{"port": 1}]}, {}]}})
            ),
            "spec.ingress"
        );
        assert_eq!(
            at(
                &rules,
                &json!({"spec": {"ingress": [{"ports": [{"port": 2}]}]}})
            ),
            "spec.ingress.0.ports.0"
        );
    }

    #[test]
    fn quantities_compare_by_value_and_other_texts_do_not() {
        let with = |key: &str, text: Value| json!({"spec": {"resources": {"requests": {"memory": text}}, "size": key}});
        assert_eq!(
            at(&with("1", json!("1024Mi")), &with("1", json!("1Gi"))),
            "same"
        );
        assert_eq!(
            at(&with("1", json!("0.5")), &with("1", json!("500m"))),
            "same"
        );
        assert_eq!(
            at(&with("1", json!("1Gi")), &with("1", json!("1G"))),
            "spec.resources.requests.memory"
        );
        assert_eq!(
            at(&with("1024Mi", json!("1")), &with("1Gi", json!("1"))),
            "spec.size"
        );
    }

    #[test]
    fn a_selector_is_whole() {
        let wanted = json!({"spec": {"selector": {"app": "foz"}}});
        assert_eq!(
            at(
                &wanted,
                &json!({"spec": {"selector": {"app": "foz", "extra": "x"}}})
            ),
            "spec.selector"
        );
        let wanted = json!({"spec": {"selector": {"matchLabels": {"app": "foz"}}}});
        let live = json!({"spec": {"selector": {"matchLabels": {"app": "foz", "extra": "x"}}}});
        assert_eq!(at(&wanted, &live), "spec.selector.matchLabels");
        let wanted = json!({"metadata": {"labels": {"app": "foz"}}});
        assert_eq!(
            at(
                &wanted,
                &json!({"metadata": {"labels": {"app": "foz", "extra": "x"}}})
            ),
            "same"
        );
    }

    #[test]
    fn entries_that_are_not_ours_are_put_back_by_a_patch_of_the_list() {
        let wanted =
            json!({"spec": {"ports": [{"name": "kafka", "port": 9092}], "type": "ClusterIP"}});
        let live = json!({"spec": {"ports": [{"name": "kafka", "port": 9999, "protocol": "TCP"}], "type": "ClusterIP"}});
        let Difference::ForeignEntries { path, patch } = difference(&wanted, &live) else {
            panic!("a foreign entry");
        };
        assert_eq!(path, "spec.ports");
        assert_eq!(
            patch,
            json!({"spec": {"ports": [{"name": "kafka", "port": 9092}]}})
        );
    }

    #[test]
    fn a_foreign_entry_deep_inside_patches_the_outermost_list() {
        let wanted = json!({"spec": {"containers": [{"name": "foz", "env": [{"name": "A", "value": "1"}]}]}});
        let live = json!({"spec": {"containers": [{"name": "foz", "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]}]}});
        let Difference::ForeignEntries { patch, .. } = difference(&wanted, &live) else {
            panic!("a foreign entry");
        };
        assert_eq!(patch, wanted);
    }

    #[test]
    fn owner_references_of_others_are_left_alone() {
        let wanted = json!({"metadata": {"ownerReferences": [{"uid": "1", "name": "demo"}]}});
        let live = json!({"metadata": {"ownerReferences": [{"uid": "2"}, {"uid": "1", "name": "demo", "controller": true}]}});
        assert_eq!(at(&wanted, &live), "same");
        let live = json!({"metadata": {"ownerReferences": [{"uid": "2"}]}});
        assert_eq!(at(&wanted, &live), "metadata.ownerReferences.0");
    }
}
