//! What the operator may do in Kubernetes: each verb that it uses, and why. The chart grants exactly
//! this; `foz-operator permissions` prints it as the rules of a Role.

use k8s_openapi::api::rbac::v1::PolicyRule;

/// Where a permission is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// In every namespace whose Clusters the operator looks after.
    WatchedNamespaces,
    /// In the namespace of the operator itself.
    OwnNamespace,
    /// On objects without a namespace.
    Cluster,
}

/// Verbs on resources of one API group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Permission {
    /// Where it is needed.
    pub scope: Scope,
    /// The API group; empty for the core group.
    pub api_group: &'static str,
    /// Resources, in the plural; `resource/subresource` for a subresource.
    pub resources: &'static [&'static str],
    /// Verbs.
    pub verbs: &'static [&'static str],
    /// What it is used for.
    pub reason: &'static str,
}

/// Server-side apply of an object that may not be there needs `create` beside `patch`; `get` tells an
/// object of somebody else from one that is not there.
const OWNED: &[&str] = &["get", "list", "watch", "create", "patch"];
const SEEN: &[&str] = &["list", "watch"];

/// Everything that the operator uses.
pub const PERMISSIONS: &[Permission] = &[
    Permission {
        scope: Scope::WatchedNamespaces,
        api_group: "foz.dev",
        resources: &["clusters"],
        verbs: SEEN,
        reason: "sees Clusters",
    },
    Permission {
        scope: Scope::WatchedNamespaces,
        api_group: "foz.dev",
        resources: &["topics"],
        verbs: &["list", "watch", "patch"],
        reason: "sees Topics; sets and removes their finalizer",
    },
    Permission {
        scope: Scope::WatchedNamespaces,
        api_group: "foz.dev",
        resources: &["rebalances"],
        verbs: &["list", "watch", "patch"],
        reason: "sees Rebalances; sets and removes their finalizer",
    },
    Permission {
        scope: Scope::WatchedNamespaces,
        api_group: "foz.dev",
        resources: &["clusters/status", "topics/status", "rebalances/status"],
        verbs: &["patch"],
        reason: "reports what it sees",
    },
    Permission {
        scope: Scope::WatchedNamespaces,
        api_group: "foz.dev",
        resources: &["clusters/finalizers"],
        verbs: &["update"],
        reason: "owner references that block deletion, where the admission plugin OwnerReferencesPermissionEnforcement is on",
    },
    Permission {
        scope: Scope::WatchedNamespaces,
        api_group: "apps",
        resources: &["statefulsets"],
        verbs: &["get", "list", "watch", "create", "patch", "delete"],
        reason: "runs brokers and controllers; makes a StatefulSet anew around its pods when the size of volumes changes, which cannot be changed in one",
    },
    Permission {
        scope: Scope::WatchedNamespaces,
        api_group: "",
        resources: &["services", "configmaps", "serviceaccounts"],
        verbs: OWNED,
        reason: "addresses, configuration and identities of the pods",
    },
    Permission {
        scope: Scope::WatchedNamespaces,
        api_group: "",
        resources: &["services"],
        verbs: &["delete"],
        reason: "takes away the address of a broker that has left for good",
    },
    Permission {
        scope: Scope::WatchedNamespaces,
        api_group: "policy",
        resources: &["poddisruptionbudgets"],
        verbs: OWNED,
        reason: "one pod of a role at a time leaves its node",
    },
    Permission {
        scope: Scope::WatchedNamespaces,
        api_group: "networking.k8s.io",
        resources: &["networkpolicies"],
        verbs: OWNED,
        reason: "who may connect to the pods",
    },
    Permission {
        scope: Scope::WatchedNamespaces,
        api_group: "",
        resources: &["pods"],
        verbs: &["list", "watch", "delete"],
        reason: "sees pods; restarts them one after the other, with the quorum's grant or when their container does not run",
    },
    Permission {
        scope: Scope::WatchedNamespaces,
        api_group: "",
        resources: &["persistentvolumeclaims"],
        verbs: &["list", "watch", "patch", "delete"],
        reason: "grows volumes; deletes one only where foz.dev/replace-volume on its pod asks for it and everything on it is in sync elsewhere",
    },
    Permission {
        scope: Scope::WatchedNamespaces,
        api_group: "",
        resources: &["events"],
        verbs: SEEN,
        reason: "tells why a pod cannot be made, or a volume does not come or grow",
    },
    Permission {
        scope: Scope::WatchedNamespaces,
        api_group: "events.k8s.io",
        resources: &["events"],
        verbs: &["create", "patch"],
        reason: "says what it does and what it refuses",
    },
    Permission {
        scope: Scope::Cluster,
        api_group: "",
        resources: &["nodes"],
        verbs: SEEN,
        reason: "the zones of nodes are the racks of brokers; without it brokers have no rack",
    },
    Permission {
        scope: Scope::Cluster,
        api_group: "storage.k8s.io",
        resources: &["storageclasses"],
        verbs: SEEN,
        reason: "a volume is added to brokers in a class that is there, and none is stopped for a volume that may never come; without it none is added",
    },
    Permission {
        scope: Scope::OwnNamespace,
        api_group: "coordination.k8s.io",
        resources: &["leases"],
        verbs: &["get", "list", "watch", "create", "update"],
        reason: "one operator acts, the others stand by",
    },
];

/// The permissions of a scope as rules of a Role or ClusterRole.
#[must_use]
pub fn rules(scope: Scope) -> Vec<PolicyRule> {
    let owned = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect();
    let rule = |permission: &Permission| PolicyRule {
        api_groups: Some(vec![permission.api_group.to_owned()]),
        resources: Some(owned(permission.resources)),
        verbs: owned(permission.verbs),
        ..PolicyRule::default()
    };
    PERMISSIONS
        .iter()
        .filter(|permission| permission.scope == scope)
        .map(rule)
        .collect()
}
