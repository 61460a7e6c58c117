//! The schema of each kind, and what its rules say of an object.

use kube::core::cel::{Validator, apply_defaults};
use serde_json::{Map, Value};

pub(crate) const KINDS: [&str; 3] = ["Cluster", "Topic", "Rebalance"];

pub(crate) fn schema(kind: &str) -> Value {
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

/// One rule as it is in a schema.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct RuleAt {
    /// Where it is: `spec.storage`; empty for the object itself.
    pub(crate) path: String,
    pub(crate) message: String,
    pub(crate) rule: String,
}

/// Every rule of a schema, with where it is.
pub(crate) fn rules(schema: &Value) -> Vec<RuleAt> {
    let mut found = Vec::new();
    collect(schema, "", &mut found);
    found
}

fn collect(schema: &Value, path: &str, found: &mut Vec<RuleAt>) {
    let rules = schema["x-kubernetes-validations"].as_array();
    for rule in rules.into_iter().flatten() {
        let text = |field: &str| rule[field].as_str().expect("every rule has it").to_owned();
        found.push(RuleAt {
            path: path.to_owned(),
            message: text("message"),
            rule: text("rule"),
        });
    }
    let none = Map::new();
    for (name, property) in schema["properties"].as_object().unwrap_or(&none) {
        let path = if path.is_empty() {
            name.clone()
        } else {
            format!("{path}.{name}")
        };
        collect(property, &path, found);
    }
    for (field, entry) in [("items", "[]"), ("additionalProperties", "{}")] {
        if schema[field].is_object() {
            collect(&schema[field], &format!("{path}{entry}"), found);
        }
    }
}

/// The rules that an object breaks when it is made, or changed from `before`. Defaults are filled in first, as
/// the API server does.
pub(crate) fn broken(schema: &Value, before: Option<&Value>, object: &Value) -> Vec<RuleAt> {
    let before = before.map(|before| apply_defaults(schema, before));
    let object = apply_defaults(schema, object);
    let Err(errors) = Validator::new().validate(schema, &object, before.as_ref()) else {
        return Vec::new();
    };
    let rule_at = |error: &kube::core::cel::ValidationError| {
        let kind = format!("{:?}", error.kind);
        assert_eq!(
            kind, "ValidationFailure",
            "a rule that cannot be evaluated: {error:?}"
        );
        RuleAt {
            path: without_numbers(&error.field_path),
            message: error.message.clone(),
            rule: error.rule.clone(),
        }
    };
    errors.iter().map(rule_at).collect()
}

/// `volumes[0]` is what [`rules`] calls `volumes[]`.
fn without_numbers(path: &str) -> String {
    let mut parts = path.split('[');
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        plain.push('[');
        plain.push_str(part.trim_start_matches(|character: char| character.is_ascii_digit()));
    }
    plain
}
