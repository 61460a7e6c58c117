//! Names, labels and ports of a Cluster's objects. Pods, volumes and Services of a Cluster that is made
//! again get the same names, so that it finds its volumes.

use std::collections::BTreeMap;

use crate::volume_id::VolumeId;

/// What Kafka clients connect to.
pub const KAFKA_PORT: i32 = 9092;
/// What the brokers of a Cluster fetch from each other on.
pub const REPLICATION_PORT: i32 = 9091;
/// What brokers, controllers and the operator call on a controller (gRPC).
pub const CONTROLLER_PORT: i32 = 9093;
/// `/healthz`, `/readyz` and `/metrics`.
pub const HTTP_PORT: i32 = 9644;
/// Controllers' node ids start here, brokers' at 0.
pub const CONTROLLER_NODE_ID_BASE: i32 = 1000;

/// The field manager of everything the operator applies, and the `managed-by` label's value.
pub const OPERATOR: &str = "foz-operator";
/// The field manager of statuses.
pub const STATUS_MANAGER: &str = "foz-operator-status";

/// Chooses everything that the operator made.
pub const MANAGED_BY_SELECTOR: &str = "app.kubernetes.io/managed-by=foz-operator";
/// The label whose value is the Cluster's name.
pub const INSTANCE_LABEL: &str = "app.kubernetes.io/instance";
/// The label that a node's failure domain is read from.
pub const ZONE_LABEL: &str = "topology.kubernetes.io/zone";

/// On a Cluster: restart every pod, one after the other, whenever the value changes. On a pod: restart it. Both
/// only when that does no harm.
pub const RESTART_ANNOTATION: &str = "foz.dev/restart";
/// On a pod: restart it now, whatever that costs.
pub const FORCE_RESTART_ANNOTATION: &str = "foz.dev/force-restart";
/// On a pod: give it an empty volume in the place of the one that it has, when nothing is lost by that. Of several, its
/// value says which.
pub const REPLACE_VOLUME_ANNOTATION: &str = "foz.dev/replace-volume";
/// On a Topic: where the cluster has no topic of its name, this deleted one comes back in its place, `latest` or an id.
pub const RESTORE_DELETED_ANNOTATION: &str = "foz.dev/restore-deleted";
/// In the templates of pods: the value of [`RESTART_ANNOTATION`] on the Cluster. It has a name of its own, as
/// pods that ask to be restarted by being made would be restarted without end.
pub const RESTARTED_FOR_ANNOTATION: &str = "foz.dev/restarted-for";
/// Annotations of which keys begin so are the operator's.
pub const ANNOTATION_PREFIX: &str = "foz.dev/";

/// The container that the broker or the controller runs in. Others may be injected beside it.
pub const CONTAINER: &str = "foz";

/// What a pod of a Cluster does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Keeps the metadata.
    Controller,
    /// Keeps the records.
    Broker,
}

impl Role {
    /// Controllers first: brokers are of no use without them.
    pub const ALL: [Self; 2] = [Self::Controller, Self::Broker];

    /// As in labels, in names of objects and in `--roles`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Controller => "controller",
            Self::Broker => "broker",
        }
    }

    /// The node id of ordinal 0.
    #[must_use]
    pub const fn node_id_base(self) -> i32 {
        match self {
            Self::Controller => CONTROLLER_NODE_ID_BASE,
            Self::Broker => 0,
        }
    }
}

/// The names of the objects of one Cluster.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClusterName {
    /// The Cluster's namespace.
    pub namespace: String,
    /// The Cluster's name.
    pub name: String,
}

impl ClusterName {
    /// The name of what there is once for each role: StatefulSet, ConfigMap, PodDisruptionBudget,
    /// ServiceAccount and NetworkPolicy.
    #[must_use]
    pub fn of_role(&self, role: Role) -> String {
        format!("{}-{}", self.name, role.as_str())
    }

    /// The headless Service of a role.
    #[must_use]
    pub fn headless(&self, role: Role) -> String {
        format!("{}-headless", self.of_role(role))
    }

    /// The Service that clients connect to first.
    #[must_use]
    pub fn bootstrap(&self) -> String {
        format!("{}-bootstrap", self.name)
    }

    /// `host:port` of the bootstrap Service. No cluster domain: it is not the same everywhere.
    #[must_use]
    pub fn bootstrap_address(&self) -> String {
        format!("{}.{}.svc:{KAFKA_PORT}", self.bootstrap(), self.namespace)
    }

    /// A pod; of a broker also its own Service.
    #[must_use]
    pub fn pod(&self, role: Role, ordinal: i32) -> String {
        format!("{}-{ordinal}", self.of_role(role))
    }

    /// The claim of a pod's volume.
    #[must_use]
    pub fn claim(&self, role: Role, ordinal: i32, volume: VolumeId) -> String {
        format!("{}-{}", volume.template(), self.pod(role, ordinal))
    }

    /// `id@host:port` of each controller, as `controller.quorum.voters` wants it.
    #[must_use]
    pub fn quorum_voters(&self, controllers: i32) -> String {
        let voter = |ordinal: i32| {
            format!(
                "{}@{}.{}.{}.svc:{CONTROLLER_PORT}",
                CONTROLLER_NODE_ID_BASE + ordinal,
                self.pod(Role::Controller, ordinal),
                self.headless(Role::Controller),
                self.namespace,
            )
        };
        (0..controllers).map(voter).collect::<Vec<_>>().join(",")
    }

    /// The labels that choose the pods of a role. They never change: a StatefulSet's selector cannot.
    #[must_use]
    pub fn selector(&self, role: Role) -> BTreeMap<String, String> {
        [
            ("app.kubernetes.io/name", "foz"),
            (INSTANCE_LABEL, self.name.as_str()),
            ("app.kubernetes.io/component", role.as_str()),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into()
    }

    /// The labels of every object of a role.
    #[must_use]
    pub fn labels(&self, role: Role) -> BTreeMap<String, String> {
        let mut labels = self.selector(role);
        labels.insert(
            "app.kubernetes.io/managed-by".to_owned(),
            OPERATOR.to_owned(),
        );
        labels.insert("app.kubernetes.io/part-of".to_owned(), "foz".to_owned());
        labels
    }
}
