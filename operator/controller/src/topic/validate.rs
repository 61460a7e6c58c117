//! Validate: from what a person wrote to a type that cannot be wrong. Pure.

use std::collections::BTreeMap;

use foz_crd::Topic;
use foz_crd::topic::{AdoptionPolicy, DeletionPolicy};
use kube::ResourceExt as _;

use crate::cluster::validate::InvalidField;
use crate::names::{CONTROLLER_NODE_ID_BASE, RESTORE_DELETED_ANNOTATION};
use crate::topic::topic_id::parse_topic_id;

/// Kafka's limit (KIP-190 and `Topic.MAX_NAME_LENGTH`): the name has to fit a folder's with the
/// partition's number.
const NAME_LENGTH_MAX: usize = 249;
const PARTITIONS_MAX: i32 = 100_000;
/// What the brokers make and keep themselves.
const INTERNAL: [&str; 2] = ["__consumer_offsets", "__transaction_state"];

/// A Topic whose fields have all been checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ValidatedTopic {
    /// Its name in Kafka.
    pub name: String,
    /// At least 1; `None` for the cluster's default.
    pub partitions: Option<i32>,
    /// At least 1; `None` for the cluster's default.
    pub replication_factor: Option<i32>,
    /// Settings.
    pub config: BTreeMap<String, String>,
    /// What deleting the object does to the topic.
    pub deletion_policy: DeletionPolicy,
    /// What happens when the topic is there already.
    pub adoption_policy: AdoptionPolicy,
    /// Comes back where the cluster has no topic of this name; `None`: an empty one is made.
    pub restore_deleted: Option<RestoreDeleted>,
}

/// One of the deleted topics that had a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RestoreDeleted {
    /// The one that was deleted last.
    Latest,
    /// The one with this id, 16 bytes.
    Id(Vec<u8>),
}

impl RestoreDeleted {
    const LATEST: &str = "latest";

    fn parse(text: &str) -> Option<Self> {
        match text {
            Self::LATEST => Some(Self::Latest),
            id => parse_topic_id(id).map(Self::Id),
        }
    }
}

/// Checks every field and reports all that are wrong.
///
/// # Errors
/// Every field that is wrong; at least one.
pub fn validate(topic: &Topic) -> Result<ValidatedTopic, Vec<InvalidField>> {
    let spec = &topic.spec;
    let mut wrong = Vec::new();
    let mut invalid = |field: &str, value: String, right: &str| {
        wrong.push(InvalidField {
            field: field.to_owned(),
            value,
            right: right.to_owned(),
        });
    };
    let name = topic.topic_name();
    let field = if spec.topic_name.is_some() {
        "spec.topicName"
    } else {
        "metadata.name"
    };
    if !is_topic_name(name) {
        invalid(
            field,
            name.to_owned(),
            "right is 1 to 249 characters of a-z, A-Z, 0-9, '.', '_' and '-', but not '.' or '..'",
        );
    }
    if INTERNAL.contains(&name) {
        invalid(
            field,
            name.to_owned(),
            "an internal topic, which the brokers make and keep themselves",
        );
    }
    if let Some(count) = spec
        .partitions
        .filter(|count| !(1..=PARTITIONS_MAX).contains(count))
    {
        invalid("spec.partitions", count.to_string(), "right is 1 to 100000");
    }
    let factor = spec.replication_factor;
    // A Cluster has no more brokers: controllers' ids begin there.
    if let Some(factor) = factor.filter(|factor| !(1..=CONTROLLER_NODE_ID_BASE).contains(factor)) {
        invalid(
            "spec.replicationFactor",
            factor.to_string(),
            "right is 1 to 1000",
        );
    }
    let restore_deleted = topic.annotations().get(RESTORE_DELETED_ANNOTATION);
    let restore_deleted = restore_deleted.and_then(|text| {
        let read = RestoreDeleted::parse(text);
        if read.is_none() {
            invalid(
                &format!("metadata.annotations[{RESTORE_DELETED_ANNOTATION}]"),
                text.clone(),
                "right is latest, or the id of a deleted topic as `foz topics deleted` prints it",
            );
        }
        read
    });
    if !wrong.is_empty() {
        return Err(wrong);
    }
    Ok(ValidatedTopic {
        name: name.to_owned(),
        partitions: spec.partitions,
        replication_factor: spec.replication_factor,
        config: spec.config.clone(),
        deletion_policy: spec.deletion_policy,
        adoption_policy: spec.adoption_policy,
        restore_deleted,
    })
}

fn is_topic_name(name: &str) -> bool {
    let legal = |character: char| character.is_ascii_alphanumeric() || "._-".contains(character);
    (1..=NAME_LENGTH_MAX).contains(&name.len())
        && name != "."
        && name != ".."
        && name.chars().all(legal)
}

#[cfg(test)]
mod tests {
    use super::{RestoreDeleted, validate};
    use crate::quorum::view::id_text;
    use foz_crd::Topic;
    use serde_json::{Value, json};

    fn refusals(spec: Value) -> String {
        let mut spec = spec;
        spec["clusterRef"] = json!({"name": "demo"});
        let topic: Topic = serde_json::from_value(json!({
            "apiVersion": "foz.dev/v1alpha1", "kind": "Topic",
            "metadata": {"name": "orders", "namespace": "kafka"}, "spec": spec,
        }))
        .expect("a Topic");
        match validate(&topic) {
            Ok(_) => String::new(),
            Err(wrong) => wrong
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join("\n"),
        }
    }

    #[test]
    fn every_wrong_field_is_named() {
        assert_eq!(refusals(json!({})), "");
        assert_eq!(
            refusals(json!({"topicName": "Orders_2.x-y", "partitions": 1})),
            ""
        );
        for name in ["", ".", "..", "a b", "ä", &"a".repeat(250), "a/b"] {
            let found = refusals(json!({"topicName": name}));
            assert!(
                found.starts_with(&format!("spec.topicName is {name}; right is")),
                "{found}"
            );
        }
        assert!(refusals(json!({"topicName": "__consumer_offsets"})).contains("internal"));
        assert_eq!(
            refusals(json!({"partitions": 0})),
            "spec.partitions is 0; right is 1 to 100000"
        );
        for factor in [0, -1, 1001] {
            assert_eq!(
                refusals(json!({"replicationFactor": factor})),
                format!("spec.replicationFactor is {factor}; right is 1 to 1000")
            );
        }
        let found = refusals(json!({"partitions": -1, "replicationFactor": 0}));
        assert_eq!(found.lines().count(), 2, "{found}");
    }

    #[test]
    fn what_is_to_come_back_is_the_latest_or_has_an_id() {
        let read = |text: &str| {
            let topic: Topic = serde_json::from_value(json!({
                "apiVersion": "foz.dev/v1alpha1", "kind": "Topic",
                "metadata": {"name": "orders", "annotations": {"foz.dev/restore-deleted": text}},
                "spec": {"clusterRef": {"name": "demo"}},
            }))
            .expect("a Topic");
            validate(&topic).map(|topic| topic.restore_deleted)
        };
        assert_eq!(read("latest"), Ok(Some(RestoreDeleted::Latest)));
        let id = b"0123456789abcdef".to_vec();
        let by_id = Ok(Some(RestoreDeleted::Id(id.clone())));
        assert_eq!(read(&id_text(&id)), by_id);
        assert_eq!(read("30313233-3435-3637-3839-616263646566"), by_id);
        for wrong in ["", "Latest", "orders"] {
            let refused = read(wrong).expect_err("no id");
            let found = refused[0].to_string();
            let field = format!("metadata.annotations[foz.dev/restore-deleted] is {wrong}; right");
            assert!(found.starts_with(&field), "{found}");
        }
    }
}
