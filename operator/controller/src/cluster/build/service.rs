//! Addresses that outlive pods.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::cluster::build::metadata;
use crate::cluster::validate::ValidatedCluster;
use crate::names::{CONTROLLER_PORT, HTTP_PORT, KAFKA_PORT, REPLICATION_PORT, Role};

/// The names of a role's pods in DNS. Pods are listed before they are ready: controllers and brokers
/// find each other by these names to become so.
pub(super) fn headless(cluster: &ValidatedCluster, role: Role) -> Service {
    let mut ports = match role {
        Role::Broker => vec![
            port("kafka", KAFKA_PORT),
            port("replication", REPLICATION_PORT),
        ],
        Role::Controller => vec![port("controller", CONTROLLER_PORT)],
    };
    ports.push(port("http", HTTP_PORT));
    Service {
        metadata: metadata(cluster, role, cluster.name.headless(role)),
        spec: Some(ServiceSpec {
            cluster_ip: Some("None".to_owned()),
            publish_not_ready_addresses: Some(true),
            ports: Some(ports),
            ..choosing(cluster.name.selector(role))
        }),
        ..Service::default()
    }
}

/// Where clients connect first: brokers that are ready.
pub(super) fn bootstrap(cluster: &ValidatedCluster) -> Service {
    Service {
        metadata: metadata(cluster, Role::Broker, cluster.name.bootstrap()),
        spec: Some(ServiceSpec {
            ports: Some(vec![port("kafka", KAFKA_PORT)]),
            ..choosing(cluster.name.selector(Role::Broker))
        }),
        ..Service::default()
    }
}

/// The address that one broker advertises. A pod's own address changes with every restart, and JVM
/// clients keep what DNS said for 30 s; this one never changes. It answers as soon as the broker does:
/// a broker that is not ready still leads what it leads.
pub(super) fn of_broker(cluster: &ValidatedCluster, ordinal: i32) -> Service {
    let pod = cluster.name.pod(Role::Broker, ordinal);
    let mut selector = cluster.name.selector(Role::Broker);
    selector.insert("statefulset.kubernetes.io/pod-name".to_owned(), pod.clone());
    Service {
        metadata: metadata(cluster, Role::Broker, pod),
        spec: Some(ServiceSpec {
            publish_not_ready_addresses: Some(true),
            ports: Some(vec![port("kafka", KAFKA_PORT)]),
            ..choosing(selector)
        }),
        ..Service::default()
    }
}

fn choosing(selector: BTreeMap<String, String>) -> ServiceSpec {
    ServiceSpec {
        type_: Some("ClusterIP".to_owned()),
        selector: Some(selector),
        ..ServiceSpec::default()
    }
}

/// The target is the container's port of the same name.
fn port(name: &str, port: i32) -> ServicePort {
    ServicePort {
        name: Some(name.to_owned()),
        port,
        protocol: Some("TCP".to_owned()),
        target_port: Some(IntOrString::String(name.to_owned())),
        ..ServicePort::default()
    }
}
