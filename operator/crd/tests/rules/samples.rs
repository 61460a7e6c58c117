//! The rules at their edges: samples that are accepted, and samples that are refused and with what.

use serde_json::{Value, json};

use crate::schemas::{broken, schema};

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

/// The smallest Rebalance, with fields laid over it.
fn rebalance(over: Value) -> Value {
    over_base(
        json!({"clusterRef": {"name": "demo"}, "mode": "Full"}),
        over,
    )
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
const SIZE: &str = "size must be a quantity of at least 16Mi";
const SHRINK: &str = "storage.size cannot shrink";
const CLASS: &str = "storage.className cannot change";
const CONTROLLER_SHRINK: &str = "controllers.storage.size cannot shrink";
const CONTROLLER_CLASS: &str = "controllers.storage.className cannot change";
const VOLUME_SHRINK: &str = "the size of storage.volumes cannot shrink";
const CONTROLLERS: &str = "controllers.replicas must be 1, 3 or 5";
const CLASS_NAME: &str = "className must be the name of a storage class";
const IMAGE: &str = "image must be the name of an image";
const KEY: &str = "config holds a key that no setting can have";
const OWN_KEY: &str = "config holds a key that the operator gives to each pod itself";
const MIN_ABOVE_DEFAULT: &str = "config: min.insync.replicas is above default.replication.factor";
const DEFAULT_ABOVE_BROKERS: &str = "config: default.replication.factor is above replicas";
const MIN_ABOVE_BROKERS: &str = "config: min.insync.replicas is above replicas";
const RESOURCE: &str = "resources must be cpu, memory";
const ABOVE_LIMIT: &str = "a request is above its limit";
const LITTLE_MEMORY: &str = "limits.memory must be at least 32Mi";
const LABELS: &str = "labels holds what is not a label";
const NODE_SELECTOR: &str = "nodeSelector holds what is not a label";
const ANNOTATIONS: &str = "annotations holds a key that is none";
const TOLERATIONS: &str = "tolerations: operator must be Exists or Equal";
const PRIORITY: &str = "priorityClassName must be";
const SECRETS: &str = "imagePullSecrets: an entry names no Secret";
const HOLD: &str = "hold must name pods of this Cluster";
const CLUSTER_NAME: &str = "clusterRef.name must be a name that a Cluster can have";
const MIN_ABOVE_FACTOR: &str = "config: min.insync.replicas is above replicationFactor";
const LONG_NAME: &str = "metadata.name is longer than the 249 characters";
const RENAME: &str = "spec.topicName cannot change";
const MOVE: &str = "clusterRef cannot change";
const FEWER: &str = "partitions cannot decrease or be unset";
const ILLEGAL: &str = "topicName must have 1 to 249 characters";
const BROKERS: &str = "brokers names which brokers";
const NO_WAY_BACK: &str = "approved cannot be taken back";
const APPROVED: &str = "mode and brokers cannot change once it is approved";
const REBALANCE_MOVE: &str = "clusterRef cannot change: make another Rebalance";
const INTERNAL: &str = "topicName is that of an internal topic";

fn cluster_samples() -> Vec<Sample> {
    let create = |over| created("Cluster", "demo", cluster(over));
    let change = |before, after| changed("Cluster", cluster(before), cluster(after));
    let named = |name| created("Cluster", name, cluster(json!({})));
    let size = |size| json!({"storage": {"size": size}});
    let class = |class| json!({"storage": {"size": "10Gi", "className": class}});
    let volumes = |volumes: Value| json!({"storage": {"size": "10Gi", "volumes": volumes}});
    let config = |key: &str, value: &str| json!({"config": {key: value}});
    let copies = |min: &str, default: &str, brokers: i32| {
        let keys = json!({"min.insync.replicas": min, "default.replication.factor": default});
        json!({"replicas": brokers, "config": keys})
    };
    let resources = |requests: Value, limits: Value| json!({"resources": {"requests": requests, "limits": limits}});
    let pods = |overrides: Value| json!({"podOverrides": overrides});
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
        create(size("10")).refused(SIZE),
        create(size("1e3")).refused(SIZE),
        create(size("16383Ki")).refused(SIZE),
        create(size("16Mi")),
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
        create(volumes(json!([]))),
        create(volumes(
            json!([{"id": 15, "size": "1Gi"}, {"id": 1, "size": "16Mi", "className": "gp3"}]),
        )),
        create(volumes(
            json!([{"id": 1, "size": "1Gi"}, {"id": 2, "size": "none"}]),
        ))
        .refused(SIZE),
        create(volumes(json!([{"id": 1, "size": "1Gi", "className": ""}]))).refused(CLASS_NAME),
        change(size("10Gi"), volumes(json!([{"id": 1, "size": "1Gi"}]))),
        change(volumes(json!([])), size("10Gi")),
        change(
            volumes(json!([{"id": 1, "size": "1Gi"}])),
            volumes(json!([{"id": 3, "size": "1Gi"}, {"id": 1, "size": "1024Mi"}])),
        ),
        // The operator keeps those that brokers have, and what has no volume may be put right.
        change(volumes(json!([{"id": 1, "size": "1Gi"}])), size("10Gi")),
        change(
            volumes(json!([{"id": 1, "size": "1Gi"}])),
            volumes(json!([{"id": 2, "size": "1Gi"}])),
        ),
        change(
            volumes(json!([{"id": 1, "size": "1Gi"}, {"id": 2, "size": "2Gi"}])),
            volumes(json!([{"id": 2, "size": "2Gi"}, {"id": 1, "size": "1023Mi"}])),
        )
        .refused(VOLUME_SHRINK),
        change(
            volumes(json!([{"id": 1, "size": "1Gi"}])),
            volumes(json!([{"id": 1, "size": "1Gi", "className": "fast"}])),
        ),
        change(
            volumes(json!([{"id": 1, "size": "1Gi", "className": "fast"}])),
            volumes(json!([{"id": 1, "size": "1Gi", "className": "slow"}])),
        ),
        create(controllers(1)),
        create(controllers(3)),
        create(controllers(5)),
        create(controllers(0)).refused(CONTROLLERS),
        create(controllers(2)).refused(CONTROLLERS),
        create(controllers(7)).refused(CONTROLLERS),
        change(controllers(3), json!({})),
        change(controllers(1), controllers(1)),
        change(controllers(1), controllers(3)),
        change(controllers(5), controllers(1)),
        change(controllers(1), json!({})),
        change(controllers(3), controllers(4)).refused(CONTROLLERS),
        create(class("gp3.eu-west")),
        create(class("")).refused(CLASS_NAME),
        create(class("Fast")).refused(CLASS_NAME),
        create(class("-fast")).refused(CLASS_NAME),
        create(json!({"image": "foz"})),
        create(json!({"image": "localhost:5000/a/foz-broker@sha256:0123abcd"})),
        create(json!({"image": "foz broker"})).refused(IMAGE),
        create(json!({"image": "foz-broker:"})).refused(IMAGE),
        create(json!({"image": "foz-broker:1\n"})).refused(IMAGE),
        create(json!({"image": "/foz"})).refused(IMAGE),
        create(config("auto.create.topics.enable", "false")),
        // A value is for the brokers to judge.
        create(config("min.insync.replicas", "two")),
        create(config("min.insync.replicas", "0")),
        create(config("", "1")).refused(KEY),
        create(config(" retention.ms", "1")).refused(KEY),
        create(config("retention.ms=1", "")).refused(KEY),
        create(config("retention ms", "1")).refused(KEY),
        create(config("größe", "1")).refused(KEY),
        create(config(".ms", "1")).refused(KEY),
        create(config("node.id", "1")).refused(OWN_KEY),
        create(config("listeners", "PLAINTEXT://:9092")).refused(OWN_KEY),
        create(config("broker.rack", "a")).refused(OWN_KEY),
        create(config("node.ids", "1")),
        create(copies("2", "2", 3)),
        create(copies("2", "3", 3)),
        create(copies("3", "2", 3)).refused(MIN_ABOVE_DEFAULT),
        // As numbers, not as texts.
        create(copies("9", "10", 10)),
        create(copies("10", "9", 10)).refused(MIN_ABOVE_DEFAULT),
        create(copies("1", "4", 3)).refused(DEFAULT_ABOVE_BROKERS),
        create(copies("1", "many", 3)),
        change(copies("1", "5", 5), copies("1", "5", 3)).refused(DEFAULT_ABOVE_BROKERS),
        create(config("min.insync.replicas", "3")),
        create(config("min.insync.replicas", "4")).refused(MIN_ABOVE_BROKERS),
        create(config("min.insync.replicas", "99999")).refused(MIN_ABOVE_BROKERS),
        // Longer than any number: for the brokers to judge, as it is no number that a rule could read.
        create(config("min.insync.replicas", "99999999999999999999")),
        create(resources(
            json!({"cpu": 1, "memory": "1Gi"}),
            json!({"cpu": "1", "memory": "1Gi"}),
        )),
        create(resources(json!({"cpu": "1500m"}), json!({"cpu": 1}))).refused(ABOVE_LIMIT),
        create(resources(
            json!({"memory": "1025Mi"}),
            json!({"memory": "1Gi"}),
        ))
        .refused(ABOVE_LIMIT),
        create(resources(json!({"memory": "2Gi"}), json!({"cpu": 1}))),
        create(resources(json!({"memory": "2Gi"}), json!({}))),
        create(resources(json!({}), json!({"memory": "512m"}))).refused(LITTLE_MEMORY),
        create(resources(json!({}), json!({"memory": 512}))).refused(LITTLE_MEMORY),
        create(resources(
            json!({"example.com/disk": 1, "hugepages-2Mi": "4Mi"}),
            json!({}),
        )),
        create(resources(json!({"mem": "1Gi"}), json!({}))).refused(RESOURCE),
        create(resources(json!({}), json!({"CPU": 1}))).refused(RESOURCE),
        create(json!({"controllers": {"replicas": 3, "resources": {"requests": {"mem": 1}}}}))
            .refused(RESOURCE),
        create(pods(
            json!({"labels": {"example.com/team": "rivers", "tier": ""}}),
        )),
        create(pods(json!({"labels": {"team": "two words"}}))).refused(LABELS),
        create(pods(json!({"labels": {"a/b/c": "x"}}))).refused(LABELS),
        create(pods(json!({"nodeSelector": {"": "ssd"}}))).refused(NODE_SELECTOR),
        create(pods(
            json!({"annotations": {"example.com/note": "two words\nand a line"}}),
        )),
        create(pods(json!({"annotations": {"two words": "x"}}))).refused(ANNOTATIONS),
        create(pods(
            json!({"tolerations": [{"key": "a", "operator": "Exists"}, {"effect": "NoExecute"}]}),
        )),
        create(pods(
            json!({"tolerations": [{"key": "a", "operator": "exists"}]}),
        ))
        .refused(TOLERATIONS),
        create(pods(
            json!({"tolerations": [{"key": "a"}, {"effect": "Never"}]}),
        ))
        .refused(TOLERATIONS),
        create(pods(json!({"priorityClassName": "system-node-critical"}))),
        create(pods(json!({"priorityClassName": "High"}))).refused(PRIORITY),
        create(pods(json!({"imagePullSecrets": [{"name": "registry"}]}))),
        create(pods(
            json!({"imagePullSecrets": [{"name": "registry"}, {"name": ""}]}),
        ))
        .refused(SECRETS),
        create(json!({"hold": ["demo-broker-1", "demo-controller-0", "a-b-broker-999"]})),
        create(json!({"hold": []})),
        create(json!({"hold": ["demo-broker"]})).refused(HOLD),
        create(json!({"hold": ["demo-broker-1", "node-1"]})).refused(HOLD),
        create(json!({"hold": ["demo-broker-01"]})).refused(HOLD),
        create(json!({"hold": [""]})).refused(HOLD),
        create(json!({"rollout": {"unavailable": "Deny"}})),
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
    let in_sync = |min: &str, factor: i32| json!({"config": {"min.insync.replicas": min}, "replicationFactor": factor});
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
        change(
            json!({}),
            json!({"clusterRef": {"name": "demo", "namespace": "kafka"}}),
        )
        .refused(MOVE),
        change(
            json!({"clusterRef": {"name": "demo", "namespace": "kafka"}}),
            json!({}),
        )
        .refused(MOVE),
        change(
            json!({"clusterRef": {"name": "demo", "namespace": "kafka"}}),
            json!({"clusterRef": {"name": "demo", "namespace": "other"}}),
        )
        .refused(MOVE),
        change(
            json!({"clusterRef": {"name": "demo", "namespace": "kafka"}}),
            json!({"clusterRef": {"name": "demo", "namespace": "kafka"}}),
        ),
        create(json!({"clusterRef": {"name": "Demo"}})).refused(CLUSTER_NAME),
        create(json!({"clusterRef": {"name": "kafka/demo"}})).refused(CLUSTER_NAME),
        create(json!({"config": {"Retention ms": "1"}})).refused(KEY),
        create(json!({"config": {"retention.ms": "1"}, "replicationFactor": 3})),
        create(in_sync("2", 3)),
        create(in_sync("3", 3)),
        create(in_sync("4", 3)).refused(MIN_ABOVE_FACTOR),
        create(in_sync("10", 9)).refused(MIN_ABOVE_FACTOR),
        create(in_sync("-1", 3)),
        // Without a replication factor it is the cluster's, which no rule sees.
        create(json!({"config": {"min.insync.replicas": "4"}})),
        change(in_sync("2", 3), in_sync("2", 1)).refused(MIN_ABOVE_FACTOR),
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

fn rebalance_samples() -> Vec<Sample> {
    let create = |over| created("Rebalance", "evenly", rebalance(over));
    let change = |before, after| changed("Rebalance", rebalance(before), rebalance(after));
    let of = |mode: &str, brokers: Value, approved: bool| json!({"mode": mode, "brokers": brokers, "approved": approved});
    vec![
        create(json!({})),
        create(of("Full", json!([]), true)),
        create(of("Full", json!([1]), false)).refused(BROKERS),
        create(of("AddedBrokers", json!([3, 4]), true)),
        create(of("AddedBrokers", json!([]), false)).refused(BROKERS),
        create(json!({"mode": "DrainBrokers"})).refused(BROKERS),
        create(json!({"clusterRef": {"name": "de.mo"}})).refused(CLUSTER_NAME),
        // Before it is approved all of it may change.
        change(json!({}), of("DrainBrokers", json!([1]), false)),
        change(json!({}), of("DrainBrokers", json!([1]), true)),
        change(of("DrainBrokers", json!([1]), false), json!({})),
        change(json!({}), json!({"approved": true})),
        change(json!({"approved": true}), json!({"approved": true})),
        change(json!({"approved": true}), json!({})).refused(NO_WAY_BACK),
        change(
            of("DrainBrokers", json!([1]), true),
            of("DrainBrokers", json!([1, 2]), true),
        )
        .refused(APPROVED),
        change(
            of("DrainBrokers", json!([1]), true),
            of("AddedBrokers", json!([1]), true),
        )
        .refused(APPROVED),
        change(
            of("DrainBrokers", json!([1]), true),
            of("Full", json!([]), true),
        )
        .refused(APPROVED),
        change(json!({}), json!({"clusterRef": {"name": "other"}})).refused(REBALANCE_MOVE),
    ]
}

#[test]
fn samples_are_accepted_and_refused_as_they_should_be() {
    let samples = [cluster_samples(), topic_samples(), rebalance_samples()];
    for sample in samples.into_iter().flatten() {
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

fn messages(sample: &Sample) -> Vec<String> {
    let object = |spec: &Value| json!({"metadata": {"name": sample.name}, "spec": spec});
    let before = sample.before.as_ref().map(object);
    let broken = broken(
        &schema(sample.kind),
        before.as_ref(),
        &object(&sample.after),
    );
    broken.into_iter().map(|rule| rule.message).collect()
}
