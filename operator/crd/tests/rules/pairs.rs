//! Every rule has a folder `rules/<kind>/<what is wanted>` with the YAML of an object that it takes and of one
//! that it refuses, and for a rule about changes the object as it was before. The same files are applied to an
//! API server by a story of `e2e`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use foz_crd::{Cluster, Rebalance, Topic};
use serde_json::Value;

use crate::schemas::{KINDS, RuleAt, broken, rules, schema};

/// The first line of `rejected.yaml` says with which sentence.
const REFUSED: &str = "# refused: ";

struct Pair {
    folder: PathBuf,
    before: Option<Value>,
    accepted: Value,
    rejected: Value,
    /// The sentence of [`REFUSED`].
    refusal: String,
}

fn pairs(kind: &str) -> Vec<Pair> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("rules")
        .join(kind.to_lowercase());
    let mut folders: Vec<PathBuf> = std::fs::read_dir(&folder)
        .expect("the kind has a folder")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    folders.sort();
    folders.into_iter().map(|it| pair(it, kind)).collect()
}

fn pair(folder: PathBuf, kind: &str) -> Pair {
    let read = |file: &str| {
        let path = folder.join(file);
        std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    };
    let object = |file: &str| {
        let object: Value = serde_yaml::from_str(&read(file)).expect("YAML");
        assert_of_kind(&object, kind, &folder.join(file));
        object
    };
    let first_line = read("rejected.yaml").lines().next().map(str::to_owned);
    let refusal = first_line
        .and_then(|line| line.strip_prefix(REFUSED).map(str::to_owned))
        .unwrap_or_else(|| panic!("{} does not begin with {REFUSED:?}", folder.display()));
    Pair {
        before: folder
            .join("before.yaml")
            .exists()
            .then(|| object("before.yaml")),
        accepted: object("accepted.yaml"),
        rejected: object("rejected.yaml"),
        refusal,
        folder,
    }
}

/// Of this kind, and without a field that the kind does not have: the API server would drop one.
fn assert_of_kind(object: &Value, kind: &str, file: &Path) {
    let typed = match kind {
        "Cluster" => serde_json::from_value::<Cluster>(object.clone())
            .map(|cluster| serde_json::to_value(cluster).expect("JSON")),
        "Rebalance" => serde_json::from_value::<Rebalance>(object.clone())
            .map(|rebalance| serde_json::to_value(rebalance).expect("JSON")),
        _ => serde_json::from_value::<Topic>(object.clone())
            .map(|topic| serde_json::to_value(topic).expect("JSON")),
    };
    let typed = typed.unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    assert_contains(&typed, object, &file.display().to_string());
}

fn assert_contains(typed: &Value, object: &Value, path: &str) {
    match object {
        Value::Object(fields) => {
            for (name, value) in fields {
                assert_contains(&typed[name], value, &format!("{path}: {name}"));
            }
        }
        other => assert_eq!(typed, other, "{path}"),
    }
}

#[test]
fn every_rule_takes_one_yaml_and_refuses_another() {
    for kind in KINDS {
        let schema = schema(kind);
        let mut unproved: BTreeMap<RuleAt, Option<PathBuf>> = rules(&schema)
            .into_iter()
            .map(|rule| (rule, None))
            .collect();
        for pair in pairs(kind) {
            let folder = pair.folder.display();
            if let Some(before) = &pair.before {
                assert_eq!(broken(&schema, None, before), [], "{folder}: before");
            }
            let before = pair.before.as_ref();
            assert_eq!(broken(&schema, before, &pair.accepted), [], "{folder}");
            let refused = broken(&schema, before, &pair.rejected);
            let [rule] = refused.as_slice() else {
                panic!("{folder} is to break one rule, and breaks these: {refused:#?}");
            };
            assert_eq!(rule.message, pair.refusal, "{folder}");
            let about_changes = rule.rule.contains("oldSelf");
            assert_eq!(before.is_some(), about_changes, "{folder}: before.yaml");
            let proved = unproved
                .get_mut(rule)
                .unwrap_or_else(|| panic!("{folder} breaks what is no rule: {rule:#?}"));
            let other = proved.replace(pair.folder.clone());
            assert_eq!(other, None, "{folder} is about a rule that has a folder");
        }
        unproved.retain(|_, folder| folder.is_none());
        assert!(
            unproved.is_empty(),
            "without a folder: {:#?}",
            unproved.keys()
        );
    }
}

/// A test that goes through nothing finds nothing wrong.
#[test]
fn there_are_rules_and_pairs() {
    for (kind, least) in [("Cluster", 25), ("Topic", 9), ("Rebalance", 5)] {
        assert!(rules(&schema(kind)).len() >= least, "{kind}");
        assert!(pairs(kind).len() >= least, "{kind}");
    }
}
