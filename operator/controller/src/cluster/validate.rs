//! Validate: from what a person wrote to a type that cannot be wrong. Pure.
//!
//! The API server has enforced the schema and its rules already; what is checked here again is what a
//! Cluster that was stored under an older schema could still hold, and what a schema cannot say.

use std::collections::{BTreeMap, BTreeSet};

use foz_crd::Cluster;
use foz_crd::balancing::RebalancePolicy;
use foz_crd::cluster::{PodOverrides, Resources, Unavailable};
use foz_crd::quantity::quantity_millis;
use foz_crd::storage::BrokerStorageSpec;
use k8s_openapi::api::core::v1::ResourceRequirements;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::ResourceExt as _;

use crate::names::{CONTROLLER_NODE_ID_BASE, ClusterName, RESTART_ANNOTATION, Role};
use crate::volume_id::VolumeId;

/// A Cluster whose fields have all been checked.
#[derive(Debug, Clone, PartialEq)]
pub struct ValidatedCluster {
    /// Namespace and name.
    pub name: ClusterName,
    /// The object's uid.
    pub uid: String,
    /// How many brokers; at least 1, below the first controller's node id.
    pub brokers: i32,
    /// How many controllers.
    pub controllers: ControllerCount,
    /// The image of both.
    pub image: String,
    /// The first volume of each broker.
    pub broker_volume: VolumeSpec,
    /// Its further ones.
    pub further_volumes: BTreeMap<VolumeId, VolumeSpec>,
    /// The volume of each controller.
    pub controller_volume: VolumeSpec,
    /// Processor and memory of each broker.
    pub broker_resources: ResourceRequirements,
    /// Processor and memory of each controller.
    pub controller_resources: ResourceRequirements,
    /// Settings of all brokers.
    pub config: BTreeMap<String, String>,
    /// Additions to the pods.
    pub pod_overrides: PodOverrides,
    /// What about partitions that no waiting would keep available.
    pub unavailable: Unavailable,
    /// When replicas are moved by themselves.
    pub rebalance: RebalancePolicy,
    /// Pods that are not restarted and not waited for.
    pub hold: BTreeSet<String>,
    /// By role: what [`RESTART_ANNOTATION`] on the Cluster says.
    pub restarted_for: BTreeMap<Role, String>,
    /// Change nothing.
    pub paused: bool,
    /// No pod is to run.
    pub suspended: bool,
    /// Roles of which no pod is to run now: see [`crate::cluster::suspend`].
    pub stopped: BTreeSet<Role>,
    /// No broker may be evicted: see [`crate::cluster::further_volumes`].
    pub brokers_stay: bool,
}

impl ValidatedCluster {
    /// The volumes of each pod of a role.
    #[must_use]
    pub fn volumes_of(&self, role: Role) -> BTreeMap<VolumeId, &VolumeSpec> {
        let (first, further) = match role {
            Role::Broker => (&self.broker_volume, Some(&self.further_volumes)),
            Role::Controller => (&self.controller_volume, None),
        };
        let further = further.into_iter().flatten().map(|(id, it)| (*id, it));
        [(VolumeId::FIRST, first)]
            .into_iter()
            .chain(further)
            .collect()
    }
}

/// 1, 3 or 5.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ControllerCount(i32);

impl ControllerCount {
    /// No Cluster has more.
    pub const MAX: i32 = 5;

    /// `None` for a number that is not 1, 3 or 5.
    #[must_use]
    pub fn new(count: i32) -> Option<Self> {
        matches!(count, 1 | 3 | 5).then_some(Self(count))
    }

    /// The smallest possible one that is not below `count`; 5 where there is none.
    #[must_use]
    pub const fn at_least(count: i32) -> Self {
        Self(match count {
            ..=1 => 1,
            2..=3 => 3,
            4.. => 5,
        })
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> i32 {
        self.0
    }
}

/// The volume of each pod of a role. The size is a quantity above zero.
#[derive(Debug, Clone, PartialEq)]
pub struct VolumeSpec {
    /// Size.
    pub size: Quantity,
    /// Storage class; `None` for the default one.
    pub class_name: Option<String>,
}

/// A field that is wrong, its value, and what would be right.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field} is {value}; {right}")]
pub struct InvalidField {
    /// Its path in the object.
    pub field: String,
    /// What it holds.
    pub value: String,
    /// What would be right.
    pub right: String,
}

/// Checks every field and reports all that are wrong.
///
/// # Errors
/// Every field that is wrong; at least one.
pub fn validate(
    cluster: &Cluster,
    default_image: &str,
) -> Result<ValidatedCluster, Vec<InvalidField>> {
    let spec = &cluster.spec;
    let mut wrong = Vec::new();
    let name = ClusterName {
        namespace: cluster.namespace().unwrap_or_default(),
        name: cluster.name_any(),
    };
    if !is_cluster_name(&name.name) {
        wrong.push(invalid(
            "metadata.name",
            &name.name,
            "right is a letter, then lower case letters, digits and '-', 40 characters at most",
        ));
    }
    if !(1..=CONTROLLER_NODE_ID_BASE).contains(&spec.replicas) {
        wrong.push(invalid(
            "spec.replicas",
            &spec.replicas,
            "right is 1 to 1000",
        ));
    }
    let controllers = ControllerCount::new(spec.controllers.replicas).unwrap_or_else(|| {
        let right = "right is 1, 3 or 5";
        wrong.push(invalid(
            "spec.controllers.replicas",
            &spec.controllers.replicas,
            right,
        ));
        ControllerCount(1)
    });
    let image = spec
        .image
        .clone()
        .unwrap_or_else(|| default_image.to_owned());
    if image.trim().is_empty() {
        wrong.push(invalid(
            "spec.image",
            &format!("{image:?}"),
            "right is the name of an image",
        ));
    }
    for pod in spec.hold.iter().filter(|pod| !is_pod(&name, pod)) {
        let right = format!(
            "right is the name of a pod of this Cluster, for example {}",
            name.pod(Role::Broker, 0)
        );
        wrong.push(invalid("spec.hold", pod, &right));
    }
    let restart = cluster.annotations().get(RESTART_ANNOTATION);
    let restarted_for = |role| Some((role, restart?.clone()));
    let validated = ValidatedCluster {
        name,
        uid: cluster.uid().unwrap_or_default(),
        brokers: spec.replicas,
        controllers,
        image,
        broker_volume: volume(
            "spec.storage",
            &spec.storage.size,
            spec.storage.class_name.as_ref(),
            &mut wrong,
        ),
        further_volumes: further_volumes(&spec.storage, &mut wrong),
        controller_volume: volume(
            "spec.controllers.storage",
            &spec.controllers.storage.size,
            spec.controllers.storage.class_name.as_ref(),
            &mut wrong,
        ),
        broker_resources: resources(
            "spec.resources",
            spec.resources.as_ref(),
            || requirements("250m", "256Mi", "1Gi"),
            &mut wrong,
        ),
        controller_resources: resources(
            "spec.controllers.resources",
            spec.controllers.resources.as_ref(),
            || requirements("100m", "128Mi", "512Mi"),
            &mut wrong,
        ),
        config: spec.config.clone(),
        pod_overrides: spec.pod_overrides.clone().unwrap_or_default(),
        unavailable: spec.rollout.unavailable,
        rebalance: RebalancePolicy {
            threshold: spec.rebalance.threshold.clamp(1, 100),
            mode: spec.rebalance.mode,
        },
        hold: spec.hold.iter().cloned().collect(),
        restarted_for: Role::ALL.into_iter().filter_map(restarted_for).collect(),
        paused: spec.paused,
        suspended: spec.suspend,
        stopped: BTreeSet::new(),
        brokers_stay: false,
    };
    if wrong.is_empty() {
        Ok(validated)
    } else {
        Err(wrong)
    }
}

fn is_cluster_name(name: &str) -> bool {
    let edge = |character: char| character.is_ascii_lowercase() || character.is_ascii_digit();
    name.len() <= 40
        && name.starts_with(|first: char| first.is_ascii_lowercase())
        && name.ends_with(edge)
        && name
            .chars()
            .all(|character| edge(character) || character == '-')
}

/// It need not be there: a Cluster may have had it, or will.
fn is_pod(cluster: &ClusterName, name: &str) -> bool {
    Role::ALL.iter().any(|role| {
        let ordinal = name.strip_prefix(&format!("{}-", cluster.of_role(*role)));
        ordinal.is_some_and(|ordinal| {
            let number = ordinal.parse::<i32>();
            number.is_ok_and(|number| number >= 0 && number.to_string() == ordinal)
        })
    })
}

fn volume(
    field: &str,
    size: &str,
    class_name: Option<&String>,
    wrong: &mut Vec<InvalidField>,
) -> VolumeSpec {
    if !quantity_millis(size).is_ok_and(|millis| millis > 0) {
        let right = "right is a quantity above zero, for example 10Gi";
        wrong.push(invalid(&format!("{field}.size"), size, right));
    }
    VolumeSpec {
        size: Quantity(size.to_owned()),
        class_name: class_name.cloned(),
    }
}

fn further_volumes(
    storage: &BrokerStorageSpec,
    wrong: &mut Vec<InvalidField>,
) -> BTreeMap<VolumeId, VolumeSpec> {
    let mut volumes = BTreeMap::new();
    for (index, entry) in storage.volumes.iter().enumerate() {
        let field = format!("spec.storage.volumes[{index}]");
        let found = volume(&field, &entry.size, entry.class_name.as_ref(), wrong);
        let id = VolumeId::new(entry.id).filter(|id| *id != VolumeId::FIRST);
        let right = match id.map(|id| volumes.insert(id, found)) {
            Some(None) => continue,
            Some(Some(_)) => "right is an id that no other entry has",
            None => "right is 1 to 15",
        };
        wrong.push(invalid(&format!("{field}.id"), &entry.id, right));
    }
    volumes
}

/// What is given replaces the default as a whole: half of each would be a mixture nobody asked for.
fn resources(
    field: &str,
    given: Option<&Resources>,
    default: impl Fn() -> ResourceRequirements,
    wrong: &mut Vec<InvalidField>,
) -> ResourceRequirements {
    let Some(given) = given else { return default() };
    for (part, quantities) in [("requests", &given.requests), ("limits", &given.limits)] {
        for (name, quantity) in quantities {
            if !quantity_millis(&quantity.0).is_ok_and(|millis| millis >= 0) {
                let right = "right is a quantity, for example 500m or 1Gi";
                wrong.push(invalid(
                    &format!("{field}.{part}.{name}"),
                    &quantity.0,
                    right,
                ));
            }
        }
    }
    for (name, request) in &given.requests {
        let value = |quantity: &Quantity| quantity_millis(&quantity.0).ok();
        let limit = given.limits.get(name);
        if let Some(limit) = limit.filter(|limit| value(request) > value(limit)) {
            let right = format!("right is at most the limit, {}", limit.0);
            wrong.push(invalid(
                &format!("{field}.requests.{name}"),
                &request.0,
                &right,
            ));
        }
    }
    let part = |quantities: &BTreeMap<String, Quantity>| {
        (!quantities.is_empty()).then(|| quantities.clone())
    };
    ResourceRequirements {
        requests: part(&given.requests),
        limits: part(&given.limits),
        ..ResourceRequirements::default()
    }
}

/// Memory has a limit, so that one process does not take its node down; the processor has none, so
/// that an idle one is used.
fn requirements(cpu: &str, memory: &str, memory_limit: &str) -> ResourceRequirements {
    let quantity = |name: &str, text: &str| (name.to_owned(), Quantity(text.to_owned()));
    ResourceRequirements {
        requests: Some([quantity("cpu", cpu), quantity("memory", memory)].into()),
        limits: Some([quantity("memory", memory_limit)].into()),
        ..ResourceRequirements::default()
    }
}

fn invalid(field: &str, value: &(impl ToString + ?Sized), right: &str) -> InvalidField {
    InvalidField {
        field: field.to_owned(),
        value: value.to_string(),
        right: right.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::validate;
    use crate::cluster::fixtures;
    use crate::names::Role;
    use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

    fn refusals(change: impl FnOnce(&mut foz_crd::Cluster)) -> String {
        let mut cluster = fixtures::cluster();
        change(&mut cluster);
        match validate(&cluster, "foz-broker:1") {
            Ok(_) => String::new(),
            Err(wrong) => wrong
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join("\n"),
        }
    }

    #[test]
    fn a_good_cluster_passes_with_the_defaults() {
        let validated = validate(&fixtures::cluster(), "foz-broker:1").expect("good");
        assert_eq!(validated.image, "foz-broker:1");
        assert_eq!(validated.controllers.get(), 3);
        assert_eq!(validated.controller_volume.size, Quantity("1Gi".into()));
    }

    #[test]
    fn every_wrong_field_is_named_with_its_value_and_what_would_be_right() {
        for replicas in [0, -1, 1001] {
            let found = refusals(|cluster| cluster.spec.replicas = replicas);
            assert_eq!(
                found,
                format!("spec.replicas is {replicas}; right is 1 to 1000")
            );
        }
        for count in [0, 2, 4, 6, -3] {
            let found = refusals(|cluster| cluster.spec.controllers.replicas = count);
            assert_eq!(
                found,
                format!("spec.controllers.replicas is {count}; right is 1, 3 or 5")
            );
        }
        for size in ["", "0", "-1Gi", "ten"] {
            let found = refusals(|cluster| cluster.spec.storage.size = size.into());
            assert!(
                found.starts_with(&format!("spec.storage.size is {size}; right")),
                "{found}"
            );
        }
        for name in ["", "Demo", "1demo", "demo-", "de.mo", &"a".repeat(41)] {
            let found = refusals(|cluster| cluster.metadata.name = Some(name.into()));
            assert!(
                found.starts_with(&format!("metadata.name is {name};")),
                "{found}"
            );
        }
        assert!(
            refusals(|cluster| cluster.spec.image = Some(" ".into())).starts_with("spec.image")
        );
    }

    #[test]
    fn further_volumes_have_ids_of_their_own() {
        let with = |volumes: &[(i32, &str)]| {
            let volumes = volumes
                .iter()
                .map(|(id, size)| foz_crd::storage::FurtherVolumeSpec {
                    id: *id,
                    size: (*size).to_owned(),
                    class_name: None,
                });
            let volumes = volumes.collect();
            refusals(|cluster| cluster.spec.storage.volumes = volumes)
        };
        assert_eq!(with(&[(15, "1Gi"), (1, "2Gi")]), "");
        for id in [0, -1, 16, 300] {
            assert_eq!(
                with(&[(1, "1Gi"), (id, "1Gi")]),
                format!("spec.storage.volumes[1].id is {id}; right is 1 to 15")
            );
        }
        assert_eq!(
            with(&[(1, "1Gi"), (2, "1Gi"), (1, "1Gi")]),
            "spec.storage.volumes[2].id is 1; right is an id that no other entry has"
        );
        let found = with(&[(1, "ten")]);
        assert!(
            found.starts_with("spec.storage.volumes[0].size is ten; right"),
            "{found}"
        );
    }

    #[test]
    fn resources_are_checked_and_replace_the_default_as_a_whole() {
        let given = |requests: &str, limits: &str| {
            let quantity = |text: &str| [("memory".to_owned(), Quantity(text.to_owned()))].into();
            foz_crd::cluster::Resources {
                requests: quantity(requests),
                limits: quantity(limits),
            }
        };
        let found = refusals(|cluster| cluster.spec.resources = Some(given("2Gi", "1Gi")));
        assert_eq!(
            found,
            "spec.resources.requests.memory is 2Gi; right is at most the limit, 1Gi"
        );
        let found =
            refusals(|cluster| cluster.spec.controllers.resources = Some(given("x", "1Gi")));
        assert!(
            found.starts_with("spec.controllers.resources.requests.memory is x;"),
            "{found}"
        );
        let mut cluster = fixtures::cluster();
        cluster.spec.resources = Some(given("1Gi", "1Gi"));
        let validated = validate(&cluster, "foz-broker:1").expect("good");
        assert_eq!(
            validated.broker_resources.requests.expect("requests").len(),
            1
        );
    }

    /// A name that is mistyped would hold nothing.
    #[test]
    fn only_pods_of_the_cluster_can_be_held() {
        let hold = |pod: &str| refusals(|cluster| cluster.spec.hold = vec![pod.into()]);
        for right in ["demo-broker-0", "demo-controller-2", "demo-broker-77"] {
            assert_eq!(hold(right), "");
        }
        for wrong in [
            "demo-broker-00",
            "demo-broker--1",
            "demo-broker-",
            "demo-x-broker-1",
            "other-broker-1",
        ] {
            let right = "right is the name of a pod of this Cluster, for example demo-broker-0";
            assert_eq!(hold(wrong), format!("spec.hold is {wrong}; {right}"));
        }
    }

    #[test]
    fn the_annotation_for_a_restart_is_of_both_roles() {
        let mut cluster = fixtures::cluster();
        let validated = validate(&cluster, "foz-broker:1").expect("good");
        assert!(validated.restarted_for.is_empty());
        cluster.metadata.annotations =
            Some([("foz.dev/restart".to_owned(), "monday".to_owned())].into());
        let validated = validate(&cluster, "foz-broker:1").expect("good");
        let both = Role::ALL.map(|role| (role, "monday".to_owned()));
        assert_eq!(validated.restarted_for, both.into());
    }

    #[test]
    fn all_that_is_wrong_is_said_at_once() {
        let found = refusals(|cluster| {
            cluster.spec.replicas = 0;
            cluster.spec.controllers.replicas = 2;
        });
        assert_eq!(found.lines().count(), 2, "{found}");
    }
}
