//! The objects of a Cluster, built from what was validated. Pure; one file for each kind of object.

mod config_map;
mod disruption_budget;
mod network_policy;
mod service;
mod service_account;
mod stateful_set;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use serde_json::Value;

use crate::cluster::owned::{ObjectKey, Owned};
use crate::cluster::validate::ValidatedCluster;
use crate::names::Role;

pub(super) use config_map::voters_named_in;

/// What an owned object should be.
#[derive(Debug, Clone, PartialEq)]
pub struct Desired {
    /// Which object.
    pub key: ObjectKey,
    /// All fields that the operator sets.
    pub manifest: Value,
}

/// Every object of the Cluster, in the order in which it is best applied: what pods need before the
/// StatefulSets that make them.
#[must_use]
pub fn desired(cluster: &ValidatedCluster) -> Vec<Desired> {
    let mut objects = Vec::new();
    for role in Role::ALL {
        objects.push(Desired::of(
            Owned::ServiceAccount,
            &service_account::build(cluster, role),
        ));
        objects.push(Desired::of(
            Owned::ConfigMap,
            &config_map::build(cluster, role),
        ));
        objects.push(Desired::of(
            Owned::NetworkPolicy,
            &network_policy::build(cluster, role),
        ));
        objects.push(Desired::of(
            Owned::PodDisruptionBudget,
            &disruption_budget::build(cluster, role),
        ));
        objects.push(Desired::of(
            Owned::Service,
            &service::headless(cluster, role),
        ));
    }
    objects.push(Desired::of(Owned::Service, &service::bootstrap(cluster)));
    for ordinal in 0..cluster.brokers {
        objects.push(Desired::of(
            Owned::Service,
            &service::of_broker(cluster, ordinal),
        ));
    }
    for role in Role::ALL {
        objects.push(Desired::of(
            Owned::StatefulSet,
            &stateful_set::build(cluster, role),
        ));
    }
    objects
}

impl Desired {
    fn of<K>(kind: Owned, object: &K) -> Self
    where
        K: kube::Resource<DynamicType = ()> + serde::Serialize,
    {
        let name = object
            .meta()
            .name
            .clone()
            .expect("every builder names its object");
        let manifest = serde_json::to_value(object).expect("an object of Kubernetes is JSON");
        Self {
            key: ObjectKey { kind, name },
            manifest,
        }
    }
}

/// The metadata of an owned object. The owner reference makes Kubernetes collect it when the Cluster
/// is deleted; claims have none and stay.
fn metadata(cluster: &ValidatedCluster, role: Role, name: String) -> ObjectMeta {
    ObjectMeta {
        name: Some(name),
        namespace: Some(cluster.name.namespace.clone()),
        labels: Some(cluster.name.labels(role)),
        owner_references: Some(vec![OwnerReference {
            api_version: format!("{}/{}", foz_crd::GROUP, foz_crd::VERSION),
            kind: "Cluster".to_owned(),
            name: cluster.name.name.clone(),
            uid: cluster.uid.clone(),
            controller: Some(true),
            block_owner_deletion: Some(true),
        }]),
        ..ObjectMeta::default()
    }
}

#[cfg(test)]
mod tests {
    use super::desired;
    use crate::cluster::fixtures;
    use crate::cluster::validate::ControllerCount;
    use crate::names::Role;

    /// One golden file for each object. A change here is a change in every running cluster: one in a
    /// pod template makes its pods wait for a restart.
    #[test]
    fn every_object_is_as_its_golden_file_says() {
        for object in desired(&fixtures::validated()) {
            let yaml = serde_yaml::to_string(&object.manifest).expect("YAML");
            insta::assert_snapshot!(format!("{:?}_{}", object.key.kind, object.key.name), yaml);
        }
    }

    #[test]
    fn overrides_reach_the_pods_and_the_operators_own_labels_win() {
        let objects = desired(&fixtures::validated_with_overrides());
        let pod = |name: &str| {
            let found = objects
                .iter()
                .find(|object| object.key.name == name && object.manifest["kind"] == "StatefulSet");
            found.expect("a StatefulSet").manifest["spec"]["template"].clone()
        };
        for name in ["demo-broker", "demo-controller"] {
            let yaml = serde_yaml::to_string(&pod(name)).expect("YAML");
            insta::assert_snapshot!(format!("overrides_{name}"), yaml);
        }
    }

    /// What else there is of brokers, and all of the controllers, is as with one volume.
    #[test]
    fn further_volumes_are_in_the_set_and_in_the_file_of_brokers_alone() {
        let one: Vec<_> = desired(&fixtures::validated());
        let several = desired(&fixtures::validated_with_volumes());
        let differ: Vec<_> = several.iter().filter(|it| !one.contains(it)).collect();
        let [file, set] = differ.as_slice() else {
            panic!("{differ:?}");
        };
        let text = file.manifest["data"]["server.properties"]
            .as_str()
            .expect("a file");
        let log_dirs = text.lines().find(|line| line.starts_with("log.dirs="));
        let expected = "log.dirs=/var/lib/foz/data,/var/lib/foz-1/data,/var/lib/foz-4/data";
        assert_eq!(log_dirs, Some(expected));
        let yaml = serde_yaml::to_string(&set.manifest["spec"]["volumeClaimTemplates"]);
        insta::assert_snapshot!("further_volumes_claims", yaml.expect("YAML"));
        let mounts = &set.manifest["spec"]["template"]["spec"]["containers"][0]["volumeMounts"];
        let yaml = serde_yaml::to_string(mounts);
        insta::assert_snapshot!("further_volumes_mounts", yaml.expect("YAML"));
    }

    /// The file names a volume before the pods have it: a container that starts again meanwhile finds a folder that cannot be
    /// made, and not a place for data that go with the pod.
    #[test]
    fn nothing_is_written_where_no_volume_is_mounted() {
        for cluster in [fixtures::validated(), fixtures::validated_with_overrides()] {
            for set in desired(&cluster) {
                if set.manifest["kind"] != "StatefulSet" {
                    continue;
                }
                let pod = &set.manifest["spec"]["template"]["spec"];
                assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
                let containers = pod["containers"].as_array().expect("containers");
                for container in containers {
                    let context = &container["securityContext"];
                    assert_eq!(context["readOnlyRootFilesystem"], true, "{container}");
                }
            }
        }
    }

    /// Every pod would ask to be restarted as soon as it is made.
    #[test]
    fn overrides_ask_for_no_restart() {
        let mut cluster = fixtures::validated();
        for key in [
            "foz.dev/restart",
            "foz.dev/force-restart",
            "foz.dev/restarted-for",
        ] {
            let annotations = &mut cluster.pod_overrides.annotations;
            annotations.insert(key.to_owned(), "x".to_owned());
        }
        assert_eq!(desired(&cluster), desired(&fixtures::validated()));
    }

    /// Where the brokers find each other, told to them in one way and opened in three.
    #[test]
    fn the_brokers_own_port_is_open_to_the_clusters_brokers_alone() {
        let objects = desired(&fixtures::validated());
        let manifest = |kind: &str, name: &str| {
            let found = objects
                .iter()
                .find(|object| object.manifest["kind"] == kind && object.key.name == name);
            found.expect("the object").manifest.clone()
        };
        let policy = manifest("NetworkPolicy", "demo-broker");
        let rules = policy["spec"]["ingress"].as_array().expect("rules").clone();
        let of_port: Vec<_> = rules
            .iter()
            .filter(|rule| rule["ports"][0]["port"] == 9091)
            .collect();
        let [rule] = of_port.as_slice() else {
            panic!("{rules:?}");
        };
        let brokers = serde_json::json!([{"podSelector": policy["spec"]["podSelector"]}]);
        assert_eq!(rule["from"], brokers);
        assert_eq!(
            policy["spec"]["podSelector"]["matchLabels"]["app.kubernetes.io/component"],
            "broker"
        );
        let of_controllers = manifest("NetworkPolicy", "demo-controller").to_string();
        assert!(!of_controllers.contains("9091"));
        for service in ["demo-bootstrap", "demo-broker-0"] {
            assert!(!manifest("Service", service).to_string().contains("9091"));
        }
        let headless = manifest("Service", "demo-broker-headless");
        assert_eq!(headless["spec"]["publishNotReadyAddresses"], true);
        let config = manifest("ConfigMap", "demo-broker")["data"]["server.properties"].to_string();
        let address = "REPLICATION://demo-broker-${POD_INDEX}.demo-broker-headless.kafka.svc:9091";
        assert!(config.contains(address), "{config}");
    }

    #[test]
    fn only_what_needs_a_restart_changes_the_pod_template() {
        let template = |cluster| {
            let objects = desired(&cluster);
            let sets = objects
                .into_iter()
                .filter(|object| object.manifest["kind"] == "StatefulSet");
            sets.map(|object| object.manifest["spec"]["template"].clone())
                .collect::<Vec<_>>()
        };
        let before = template(fixtures::validated());
        let mut more_brokers = fixtures::validated();
        more_brokers.brokers = 5;
        assert_eq!(before, template(more_brokers));
        let mut more_controllers = fixtures::validated();
        more_controllers.controllers = ControllerCount::at_least(5);
        assert_eq!(before, template(more_controllers));
        let mut other_config = fixtures::validated();
        other_config
            .config
            .insert("min.insync.replicas".into(), "1".into());
        assert_eq!(before, template(other_config));
        let mut held = fixtures::validated();
        held.hold.insert("demo-broker-0".into());
        assert_eq!(before, template(held));
        let mut restarted = fixtures::validated();
        let value = "monday".to_owned();
        restarted.restarted_for.insert(Role::Broker, value.clone());
        let after = template(restarted);
        assert_eq!(before[0], after[0]);
        let annotations = &after[1]["metadata"]["annotations"];
        assert_eq!(annotations["foz.dev/restarted-for"], value);
        let mut other_image = fixtures::validated();
        other_image.image = "foz-broker:2".into();
        assert_ne!(before, template(other_image));
    }
}
