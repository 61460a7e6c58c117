//! Who may connect: clients to brokers, brokers to each other's own port, brokers and controllers and the
//! operator to controllers, anybody to the metrics.

use k8s_openapi::api::networking::v1::{
    NetworkPolicy, NetworkPolicyIngressRule, NetworkPolicyPeer, NetworkPolicyPort,
    NetworkPolicySpec,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::cluster::build::metadata;
use crate::cluster::validate::ValidatedCluster;
use crate::names::{CONTROLLER_PORT, HTTP_PORT, KAFKA_PORT, OPERATOR, REPLICATION_PORT, Role};

pub(super) fn build(cluster: &ValidatedCluster, role: Role) -> NetworkPolicy {
    let mut ingress = match role {
        Role::Broker => vec![
            rule(KAFKA_PORT, None),
            rule(
                REPLICATION_PORT,
                Some(vec![pods_of_role(cluster, Role::Broker)]),
            ),
        ],
        Role::Controller => vec![rule(CONTROLLER_PORT, Some(callers_of_controllers(cluster)))],
    };
    ingress.push(rule(HTTP_PORT, None));
    NetworkPolicy {
        metadata: metadata(cluster, role, cluster.name.of_role(role)),
        spec: Some(NetworkPolicySpec {
            pod_selector: Some(labels(cluster.name.selector(role))),
            policy_types: Some(vec!["Ingress".to_owned()]),
            ingress: Some(ingress),
            ..NetworkPolicySpec::default()
        }),
    }
}

fn callers_of_controllers(cluster: &ValidatedCluster) -> Vec<NetworkPolicyPeer> {
    // The operator may run in any namespace.
    let operator = [("app.kubernetes.io/name".to_owned(), OPERATOR.to_owned())].into();
    vec![
        pods_of_role(cluster, Role::Controller),
        pods_of_role(cluster, Role::Broker),
        NetworkPolicyPeer {
            namespace_selector: Some(LabelSelector::default()),
            pod_selector: Some(labels(operator)),
            ..NetworkPolicyPeer::default()
        },
    ]
}

/// In the Cluster's own namespace.
fn pods_of_role(cluster: &ValidatedCluster, role: Role) -> NetworkPolicyPeer {
    NetworkPolicyPeer {
        pod_selector: Some(labels(cluster.name.selector(role))),
        ..NetworkPolicyPeer::default()
    }
}

fn rule(port: i32, from: Option<Vec<NetworkPolicyPeer>>) -> NetworkPolicyIngressRule {
    NetworkPolicyIngressRule {
        from,
        ports: Some(vec![NetworkPolicyPort {
            port: Some(IntOrString::Int(port)),
            protocol: Some("TCP".to_owned()),
            ..NetworkPolicyPort::default()
        }]),
    }
}

fn labels(match_labels: std::collections::BTreeMap<String, String>) -> LabelSelector {
    LabelSelector {
        match_labels: Some(match_labels),
        ..LabelSelector::default()
    }
}
