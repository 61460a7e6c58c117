//! The identity of the pods of a role. Brokers and controllers never call the API server: no token.

use k8s_openapi::api::core::v1::ServiceAccount;

use crate::cluster::build::metadata;
use crate::cluster::validate::ValidatedCluster;
use crate::names::Role;

pub(super) fn build(cluster: &ValidatedCluster, role: Role) -> ServiceAccount {
    ServiceAccount {
        metadata: metadata(cluster, role, cluster.name.of_role(role)),
        automount_service_account_token: Some(false),
        ..ServiceAccount::default()
    }
}
