//! The files under `crds/` are what the types say.

use std::collections::BTreeMap;
use std::path::Path;

#[test]
fn the_files_under_crds_are_what_the_types_say() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../crds");
    let found: BTreeMap<String, String> = std::fs::read_dir(&folder)
        .expect("crds/ exists")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "yaml")
        })
        .map(|path| {
            let name = path
                .file_name()
                .expect("a name")
                .to_string_lossy()
                .into_owned();
            (name, std::fs::read_to_string(&path).expect("a text"))
        })
        .collect();
    let expected: BTreeMap<String, String> = foz_crd::rendered()
        .expect("definitions")
        .into_iter()
        .collect();
    assert!(
        found == expected,
        "crds/ differs from the types; write it anew: cargo run -p foz-crd --bin foz-crdgen -- crds"
    );
}

/// Helm keeps a release in a Secret of at most 1 MiB, and the API server has to compile them.
#[test]
fn each_definition_stays_small() {
    for (name, yaml) in foz_crd::rendered().expect("definitions") {
        assert!(yaml.len() < 64 * 1024, "{name} has {} bytes", yaml.len());
    }
}

/// `kubectl scale` and autoscalers read and write these; the selector finds the pods that metrics are of.
#[test]
fn a_cluster_can_be_scaled() {
    let definitions = foz_crd::definitions();
    let scale = |kind: &str| {
        let definition = definitions.iter().find(|it| it.spec.names.kind == kind);
        let version = &definition.expect("a definition").spec.versions[0];
        version.subresources.as_ref()?.scale.clone()
    };
    let of_cluster = scale("Cluster").expect("the scale subresource");
    assert_eq!(of_cluster.spec_replicas_path, ".spec.replicas");
    assert_eq!(of_cluster.status_replicas_path, ".status.replicas");
    let selector = of_cluster.label_selector_path;
    assert_eq!(selector.as_deref(), Some(".status.selector"));
    assert_eq!(scale("Topic"), None);
}

/// `kubectl explain` has a sentence for every field.
#[test]
fn every_field_has_a_description() {
    for definition in foz_crd::definitions() {
        let kind = definition.spec.names.kind.clone();
        let schema = definition.spec.versions[0]
            .schema
            .clone()
            .expect("a schema");
        let schema = serde_json::to_value(schema.open_api_v3_schema).expect("JSON");
        for root in ["spec", "status"] {
            let path = format!("{kind}.{root}");
            assert_described(&schema["properties"][root]["properties"], &path);
        }
    }
}

fn assert_described(properties: &serde_json::Value, path: &str) {
    for (name, field) in properties.as_object().into_iter().flatten() {
        let path = format!("{path}.{name}");
        let description = field["description"].as_str().unwrap_or_default();
        assert!(!description.trim().is_empty(), "{path} has no description");
        assert_described(&field["properties"], &path);
        assert_described(&field["items"]["properties"], &format!("{path}[]"));
    }
}
