//! Every CEL rule, with a sample that it accepts and one that it rejects.

use std::collections::BTreeSet;

use kube::core::cel::{Validator, apply_defaults};
use serde_json::{Value, json};

/// A change of an object (or its creation) and the sentence it is refused with, if it is.
struct Sample {
    kind: &'static str,
    name: &'static str,
    before: Option<Value>,
    after: Value,
    refused: Option<&'static str>,
}

fn created(kind: &'static str, name: &'static str, spec: Value) -> Sample {
    Sample {
        kind,
        name,
        before: None,
        after: spec,
        refused: None,
    }
}

fn changed(kind: &'static str, before: Value, after: Value) -> Sample {
    Sample {
        kind,
        name: "demo",
        before: Some(before),
        after,
        refused: None,
    }
}

impl Sample {
    fn refused(mut self, message: &'static str) -> Self {
        self.refused = Some(message);
        self
    }
}

/// The smallest Cluster, with fields laid over it.
fn cluster(over: Value) -> Value {
    over_base(json!({"storage": {"size": "10Gi"}}), over)
}

/// The smallest Topic, with fields laid over it.
fn topic(over: Value) -> Value {
    over_base(json!({"clusterRef": {"name": "demo"}}), over)
}

fn over_base(mut base: Value, over: Value) -> Value {
    let Value::Object(fields) = over else {
        panic!("an object")
    };
    for (name, value) in fields {
        base[name] = value;
    }
    base
}

const NAME: &str = "metadata.name must start with a letter";
const SIZE: &str = "size must be a quantity above zero";
const SHRINK: &str = "storage.size cannot shrink";
const CLASS: &str = "storage.className cannot change";
const CONTROLLER_SHRINK: &str = "controllers.storage.size cannot shrink";
const CONTROLLER_CLASS: &str = "controllers.storage.className cannot change";
const CONTROLLERS: &str = "controllers.replicas must be 1, 3 or 5";
const CONTROLLERS_CHANGE: &str = "controllers.replicas cannot change";
const LONG_NAME: &str = "metadata.name is longer than the 249 characters";
const RENAME: &str = "spec.topicName cannot change";
const MOVE: &str = "clusterRef cannot change";
const FEWER: &str = "partitions cannot decrease or be unset";
const ILLEGAL: &str = "topicName must have 1 to 249 characters";
const INTERNAL: &str = "topicName is that of an internal topic";

fn cluster_samples() -> Vec<Sample> {
    let create = |over| created("Cluster", "demo", cluster(over));
    let change = |before, after| changed("Cluster", cluster(before), cluster(after));
    let named = |name| created("Cluster", name, cluster(json!({})));
    let size = |size| json!({"storage": {"size": size}});
    let class = |class| json!({"storage": {"size": "10Gi", "className": class}});
    let controllers = |replicas| json!({"controllers": {"replicas": replicas}});
    let controller_size = |size| json!({"controllers": {"storage": {"size": size}}});
    let controller_class =
        |class| json!({"controllers": {"storage": {"size": "1Gi", "className": class}}});
    vec![
        named("demo"),
        named("a"),
        named("a234567890123456789012345678901234567890"),
        named("a2345678901234567890123456789012345678901").refused(NAME),
        named("1demo").refused(NAME),
        named("de.mo").refused(NAME),
        named("demo-").refused(NAME),
        create(size("1.5Ti")),
        create(size("10GiB")).refused(SIZE),
        create(size("0")).refused(SIZE),
        create(size("-1Gi")).refused(SIZE),
        create(controller_size("none")).refused(SIZE),
        change(size("1Gi"), size("1024Mi")),
        change(size("1Gi"), size("2Gi")),
        change(size("1Gi"), size("1023Mi")).refused(SHRINK),
        change(size("2G"), size("1.9Gi")),
        change(class("fast"), class("fast")),
        change(class("fast"), class("slow")).refused(CLASS),
        change(class("fast"), size("10Gi")).refused(CLASS),
        change(size("10Gi"), class("fast")).refused(CLASS),
        change(controller_size("1Gi"), controller_size("2Gi")),
        change(controller_size("2Gi"), controller_size("1Gi")).refused(CONTROLLER_SHRINK),
        // Unset is the default of 1Gi.
        change(controller_size("2Gi"), json!({})).refused(CONTROLLER_SHRINK),
        change(controller_class("fast"), controller_class("fast")),
        change(controller_class("fast"), json!({})).refused(CONTROLLER_CLASS),
        create(controllers(1)),
        create(controllers(3)),
        create(controllers(5)),
        create(controllers(0)).refused(CONTROLLERS),
        create(controllers(2)).refused(CONTROLLERS),
        create(controllers(7)).refused(CONTROLLERS),
        change(controllers(3), json!({})),
        change(controllers(1), controllers(1)),
        change(controllers(1), controllers(3)).refused(CONTROLLERS_CHANGE),
        change(controllers(1), json!({})).refused(CONTROLLERS_CHANGE),
        // What the rules must not stand in the way of.
        change(json!({"replicas": 3}), json!({"replicas": 5})),
        change(json!({"replicas": 5}), json!({"replicas": 3})),
        change(
            json!({}),
            json!({"config": {"min.insync.replicas": "2"}, "image": "foz:2"}),
        ),
    ]
}

fn topic_samples() -> Vec<Sample> {
    let create = |over| created("Topic", "demo", topic(over));
    let change = |before, after| changed("Topic", topic(before), topic(after));
    let named = |name| json!({"topicName": name});
    let partitions = |count| json!({"partitions": count});
    let long: &'static str = Box::leak("a".repeat(250).into_boxed_str());
    let fits: &'static str = Box::leak("a".repeat(249).into_boxed_str());
    vec![
        created("Topic", fits, topic(json!({}))),
        created("Topic", long, topic(json!({}))).refused(LONG_NAME),
        created("Topic", long, topic(named("short"))),
        create(named("Orders_2.v1-EU")),
        create(named("...")),
        create(named(fits)),
        create(named(long)).refused(ILLEGAL),
        create(named("")).refused(ILLEGAL),
        create(named(".")).refused(ILLEGAL),
        create(named("..")).refused(ILLEGAL),
        create(named("a b")).refused(ILLEGAL),
        create(named("größe")).refused(ILLEGAL),
        create(named("a/b")).refused(ILLEGAL),
        create(named("a\n")).refused(ILLEGAL),
        create(named("__mine")),
        create(named("__consumer_offsets")).refused(INTERNAL),
        create(named("__transaction_state")).refused(INTERNAL),
        change(named("orders"), named("orders")),
        // The object's name is the default: saying it out loud changes nothing.
        change(json!({}), named("demo")),
        change(named("demo"), json!({})),
        change(named("orders"), named("bills")).refused(RENAME),
        change(named("orders"), json!({})).refused(RENAME),
        change(json!({}), named("orders")).refused(RENAME),
        change(json!({}), json!({"clusterRef": {"name": "demo"}})),
        change(json!({}), json!({"clusterRef": {"name": "other"}})).refused(MOVE),
        change(partitions(3), partitions(3)),
        change(partitions(3), partitions(4)),
        change(json!({}), partitions(1)),
        change(partitions(3), partitions(2)).refused(FEWER),
        change(partitions(3), json!({})).refused(FEWER),
        change(
            json!({}),
            json!({"deletionPolicy": "Delete", "config": {"retention.ms": "1"}}),
        ),
    ]
}

#[test]
fn samples_are_accepted_and_refused_as_they_should_be() {
    for sample in cluster_samples().into_iter().chain(topic_samples()) {
        let found = messages(&sample);
        let what = format!(
            "{} {}: {:?} -> {}",
            sample.kind, sample.name, sample.before, sample.after
        );
        match sample.refused {
            None => assert!(found.is_empty(), "{what} was refused: {found:?}"),
            Some(message) => assert!(
                found.iter().any(|found| found.contains(message)),
                "{what} was not refused with {message:?}: {found:?}"
            ),
        }
    }
}

/// A rule without a rejected sample may be one that never rejects.
#[test]
fn every_rule_has_a_rejected_sample() {
    let refusals: BTreeSet<&str> = cluster_samples()
        .iter()
        .chain(&topic_samples())
        .filter_map(|sample| sample.refused)
        .collect();
    for kind in ["Cluster", "Topic"] {
        for message in rule_messages(&schema(kind)) {
            assert!(
                refusals.iter().any(|refusal| message.starts_with(refusal)),
                "no sample is rejected with {message:?}"
            );
        }
    }
}

/// Bounds that are plain schema, which the API server enforces beside the rules.
#[test]
fn bounds_are_in_the_schema() {
    let cluster = &schema("Cluster")["properties"]["spec"]["properties"];
    assert_eq!(cluster["replicas"]["minimum"].as_f64(), Some(1.0));
    // Controllers have the ids from 1000 on.
    assert_eq!(cluster["replicas"]["maximum"].as_f64(), Some(1000.0));
    let topic = &schema("Topic")["properties"]["spec"]["properties"];
    assert_eq!(topic["partitions"]["minimum"].as_f64(), Some(1.0));
    assert_eq!(topic["replicationFactor"]["minimum"].as_f64(), Some(1.0));
    assert_eq!(
        topic["replicationFactor"]["maximum"].as_f64(),
        Some(32_767.0)
    );
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
    assert_eq!(
        defaulted["spec"]["controllers"],
        json!({"replicas": 3, "storage": {"size": "1Gi"}})
    );
}

fn messages(sample: &Sample) -> Vec<String> {
    let schema = schema(sample.kind);
    let object = |spec: &Value| {
        let object = json!({"metadata": {"name": sample.name}, "spec": spec});
        apply_defaults(&schema, &object)
    };
    let before = sample.before.as_ref().map(object);
    match Validator::new().validate(&schema, &object(&sample.after), before.as_ref()) {
        Ok(()) => Vec::new(),
        Err(errors) => errors.iter().map(ToString::to_string).collect(),
    }
}

fn schema(kind: &str) -> Value {
    let definition = foz_crd::definitions()
        .into_iter()
        .find(|definition| definition.spec.names.kind == kind)
        .expect("the kind");
    let schema = definition.spec.versions[0]
        .schema
        .clone()
        .expect("a schema");
    serde_json::to_value(schema.open_api_v3_schema).expect("JSON")
}

fn rule_messages(schema: &Value) -> Vec<String> {
    let mut found = Vec::new();
    match schema {
        Value::Object(fields) => {
            for rule in fields
                .get("x-kubernetes-validations")
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
            {
                found.push(
                    rule["message"]
                        .as_str()
                        .expect("every rule has a message")
                        .to_owned(),
                );
            }
            found.extend(fields.values().flat_map(rule_messages));
        }
        Value::Array(values) => found.extend(values.iter().flat_map(rule_messages)),
        _ => {}
    }
    found
}
