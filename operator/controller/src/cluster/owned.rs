//! The kinds of objects that the operator owns.

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{ConfigMap, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::Resource as _;
use kube::api::ApiResource;

/// A kind of object that the operator owns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Owned {
    /// Configuration that a start needs.
    ConfigMap,
    /// Who may connect.
    NetworkPolicy,
    /// How many may leave their node at once.
    PodDisruptionBudget,
    /// Addresses.
    Service,
    /// The identity of pods (without a token).
    ServiceAccount,
    /// The pods and their volumes.
    StatefulSet,
}

/// One owned object of a Cluster; the namespace is the Cluster's.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKey {
    /// Its kind.
    pub kind: Owned,
    /// Its name.
    pub name: String,
}

impl std::fmt::Display for ObjectKey {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{:?}/{}", self.kind, self.name)
    }
}

impl Owned {
    /// Where the API server keeps objects of this kind.
    #[must_use]
    pub fn api_resource(self) -> ApiResource {
        match self {
            Self::ConfigMap => ApiResource::erase::<ConfigMap>(&()),
            Self::NetworkPolicy => ApiResource::erase::<NetworkPolicy>(&()),
            Self::PodDisruptionBudget => ApiResource::erase::<PodDisruptionBudget>(&()),
            Self::Service => ApiResource::erase::<Service>(&()),
            Self::ServiceAccount => ApiResource::erase::<ServiceAccount>(&()),
            Self::StatefulSet => ApiResource::erase::<StatefulSet>(&()),
        }
    }

    /// The `apiVersion` of this kind.
    #[must_use]
    pub fn api_version(self) -> String {
        match self {
            Self::ConfigMap => ConfigMap::api_version(&()),
            Self::NetworkPolicy => NetworkPolicy::api_version(&()),
            Self::PodDisruptionBudget => PodDisruptionBudget::api_version(&()),
            Self::Service => Service::api_version(&()),
            Self::ServiceAccount => ServiceAccount::api_version(&()),
            Self::StatefulSet => StatefulSet::api_version(&()),
        }
        .into_owned()
    }
}
