//! A Cluster to test with.

use foz_crd::Cluster;
use serde_json::json;

use crate::cluster::validate::{ValidatedCluster, validate};

pub(crate) fn cluster() -> Cluster {
    serde_json::from_value(json!({
        "apiVersion": "foz.dev/v1alpha1",
        "kind": "Cluster",
        "metadata": {"name": "demo", "namespace": "kafka", "uid": "uid-1", "generation": 4},
        "spec": {
            "replicas": 3,
            "storage": {"size": "10Gi"},
            "config": {"min.insync.replicas": "2"},
        },
    }))
    .expect("a Cluster")
}

pub(crate) fn validated() -> ValidatedCluster {
    validate(&cluster(), "localhost/foz-broker:0.1.0").expect("a good Cluster")
}

/// With volumes 1 and 4.
pub(crate) fn validated_with_volumes() -> ValidatedCluster {
    let mut cluster = cluster();
    cluster.spec.storage.volumes = serde_json::from_value(json!([
        {"id": 4, "size": "30Gi"}, {"id": 1, "size": "20Gi", "className": "fast"},
    ]))
    .expect("volumes");
    validate(&cluster, "localhost/foz-broker:0.1.0").expect("a good Cluster")
}

pub(crate) fn validated_with_overrides() -> ValidatedCluster {
    let mut cluster = cluster();
    cluster.spec.pod_overrides = serde_json::from_value(json!({
        "labels": {"team": "rivers", "app.kubernetes.io/instance": "other"},
        "annotations": {"example.com/scrape": "yes", "foz.dev/config-hash": "mine"},
        "nodeSelector": {"disk": "ssd"},
        "tolerations": [{"key": "kafka", "operator": "Exists", "effect": "NoSchedule"}],
        "priorityClassName": "high",
        "imagePullSecrets": [{"name": "registry"}],
    }))
    .expect("overrides");
    cluster.spec.resources =
        serde_json::from_value(json!({"requests": {"cpu": 1, "memory": "2Gi"}}))
            .expect("resources");
    validate(&cluster, "localhost/foz-broker:0.1.0").expect("a good Cluster")
}
