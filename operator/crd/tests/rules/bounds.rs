//! Bounds that are plain schema, and defaults.

use kube::core::cel::apply_defaults;
use serde_json::{Value, json};

use crate::schemas::{KINDS, schema};

/// The API server enforces them beside the rules.
#[test]
fn bounds_are_in_the_schema() {
    let cluster = &schema("Cluster")["properties"]["spec"]["properties"];
    assert_eq!(cluster["replicas"]["minimum"].as_f64(), Some(1.0));
    // Controllers have the ids from 1000 on.
    assert_eq!(cluster["replicas"]["maximum"].as_f64(), Some(1000.0));
    let unavailable = &cluster["rollout"]["properties"]["unavailable"];
    assert_eq!(unavailable["enum"], json!(["Allow", "Deny"]));
    assert_eq!(unavailable["default"], "Allow");
    assert_eq!(cluster["hold"]["x-kubernetes-list-type"], "set");
    assert_eq!(cluster["hold"]["items"]["maxLength"], 63);
    let volumes = &cluster["storage"]["properties"]["volumes"];
    assert_eq!(volumes["x-kubernetes-list-type"], "map");
    assert_eq!(volumes["x-kubernetes-list-map-keys"], json!(["id"]));
    assert_eq!(volumes["maxItems"], 15);
    let id = &volumes["items"]["properties"]["id"];
    assert_eq!(id["minimum"].as_f64(), Some(1.0));
    assert_eq!(id["maximum"].as_f64(), Some(15.0));
    assert_eq!(volumes["items"]["required"], json!(["id", "size"]));
    let policy = &cluster["rebalance"]["properties"];
    assert_eq!(policy["mode"]["enum"], json!(["Automatic", "Manual"]));
    assert_eq!(policy["threshold"]["minimum"].as_f64(), Some(1.0));
    assert_eq!(policy["threshold"]["maximum"].as_f64(), Some(100.0));
    let rebalance = &schema("Rebalance")["properties"]["spec"]["properties"];
    let modes = json!(["Full", "AddedBrokers", "DrainBrokers"]);
    assert_eq!(rebalance["mode"]["enum"], modes);
    assert_eq!(
        rebalance["brokers"]["items"]["maximum"].as_f64(),
        Some(999.0)
    );
    let topic = &schema("Topic")["properties"]["spec"]["properties"];
    assert_eq!(topic["partitions"]["minimum"].as_f64(), Some(1.0));
    assert_eq!(topic["replicationFactor"]["minimum"].as_f64(), Some(1.0));
    // As many as a Cluster can have brokers.
    assert_eq!(topic["replicationFactor"]["maximum"].as_f64(), Some(1000.0));
    assert_eq!(topic["deletionPolicy"]["enum"], json!(["Retain", "Delete"]));
    assert_eq!(topic["deletionPolicy"]["default"], "Retain");
    assert_eq!(topic["adoptionPolicy"]["enum"], json!(["Fail", "Adopt"]));
    assert_eq!(topic["adoptionPolicy"]["default"], "Fail");
}

#[test]
fn absent_fields_get_their_defaults() {
    let object = json!({"metadata": {"name": "demo"}, "spec": {"storage": {"size": "10Gi"}}});
    let defaulted = apply_defaults(&schema("Cluster"), &object);
    assert_eq!(defaulted["spec"]["replicas"], 3);
    let policy = json!({"mode": "Automatic", "threshold": 10});
    assert_eq!(defaulted["spec"]["rebalance"], policy);
    assert_eq!(
        defaulted["spec"]["controllers"],
        json!({"replicas": 3, "storage": {"size": "1Gi"}})
    );
}

/// The API server refuses a definition with a rule whose cost it cannot bound: what a rule is on, and what it
/// goes through, has a greatest size.
#[test]
fn what_a_rule_is_on_has_a_bound() {
    for kind in KINDS {
        assert_bounded(&schema(kind), kind);
    }
}

fn assert_bounded(schema: &Value, path: &str) {
    let bound = match schema["type"].as_str() {
        Some("string") => Some("maxLength"),
        Some("array") => Some("maxItems"),
        Some("object") if schema["additionalProperties"].is_object() => Some("maxProperties"),
        _ => None,
    };
    if let Some(bound) = bound.filter(|_| schema["x-kubernetes-validations"].is_array()) {
        assert!(schema[bound].is_u64(), "{path} has a rule and no {bound}");
    }
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        assert_bounded(property, &format!("{path}.{name}"));
    }
    for field in ["items", "additionalProperties"] {
        if schema[field].is_object() {
            assert_bounded(&schema[field], &format!("{path}[]"));
        }
    }
}
