//! The chart grants what the operator uses, and nothing else.

use std::collections::BTreeSet;
use std::path::Path;

use foz_operator::permissions::{Scope, rules};
use serde_json::Value;

/// `group/resource verb` of every grant.
fn grants(rules: &Value) -> BTreeSet<String> {
    let texts = |value: &Value| -> Vec<String> {
        let texts = value.as_array().into_iter().flatten();
        texts
            .map(|text| text.as_str().expect("a text").to_owned())
            .collect()
    };
    let mut grants = BTreeSet::new();
    for rule in rules.as_array().expect("rules") {
        for group in texts(&rule["apiGroups"]) {
            for resource in texts(&rule["resources"]) {
                for verb in texts(&rule["verbs"]) {
                    grants.insert(format!("{group}/{resource} {verb}"));
                }
            }
        }
    }
    grants
}

fn used(scope: Scope) -> BTreeSet<String> {
    grants(&serde_json::to_value(rules(scope)).expect("JSON"))
}

/// The lists of rules in the template: those that stand in YAML as they are, without templating.
fn granted() -> Vec<BTreeSet<String>> {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../charts/foz-operator/templates/rbac.yaml");
    let template = std::fs::read_to_string(path).expect("the chart's template");
    let mut lists: Vec<String> = vec![String::new()];
    for line in template.lines() {
        let trimmed = line.trim_start();
        let is_rule = trimmed.starts_with("- apiGroups:")
            || trimmed.starts_with("resources:")
            || trimmed.starts_with("verbs:");
        if is_rule {
            let indent = if trimmed.starts_with('-') { "" } else { "  " };
            let list = lists.last_mut().expect("one at least");
            list.push_str(&format!("{indent}{trimmed}\n"));
        } else if lists.last().is_some_and(|list| !list.is_empty()) {
            lists.push(String::new());
        }
    }
    lists
        .iter()
        .filter(|list| !list.is_empty())
        .map(|list| grants(&serde_yaml::from_str(list).expect("YAML")))
        .collect()
}

#[test]
fn the_chart_grants_what_the_operator_uses_and_nothing_else() {
    let granted = granted();
    for scope in [
        Scope::WatchedNamespaces,
        Scope::OwnNamespace,
        Scope::Cluster,
    ] {
        let used = used(scope);
        assert!(
            granted.contains(&used),
            "no list of rules in the chart is that of {scope:?}:\n{used:#?}\nthe chart has:\n{granted:#?}"
        );
    }
    assert_eq!(granted.len(), 3, "{granted:#?}");
}
