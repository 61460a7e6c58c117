//! One pod of a role at a time may be evicted; no broker while one might not be made anew.

use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::cluster::build::metadata;
use crate::cluster::validate::ValidatedCluster;
use crate::names::Role;

pub(super) fn build(cluster: &ValidatedCluster, role: Role) -> PodDisruptionBudget {
    let none = role == Role::Broker && cluster.brokers_stay;
    PodDisruptionBudget {
        metadata: metadata(cluster, role, cluster.name.of_role(role)),
        spec: Some(PodDisruptionBudgetSpec {
            max_unavailable: Some(IntOrString::Int(i32::from(!none))),
            selector: Some(LabelSelector {
                match_labels: Some(cluster.name.selector(role)),
                ..LabelSelector::default()
            }),
            ..PodDisruptionBudgetSpec::default()
        }),
        ..PodDisruptionBudget::default()
    }
}
