//! The pods of a role and their volumes.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::{
    StatefulSet, StatefulSetPersistentVolumeClaimRetentionPolicy, StatefulSetSpec,
    StatefulSetUpdateStrategy,
};
use k8s_openapi::api::core::v1::{
    Capabilities, ConfigMapVolumeSource, Container, ContainerPort, EmptyDirVolumeSource, EnvVar,
    EnvVarSource, HTTPGetAction, ObjectFieldSelector, PersistentVolumeClaim,
    PersistentVolumeClaimSpec, PodSecurityContext, PodSpec, PodTemplateSpec, Probe, SeccompProfile,
    SecurityContext, TopologySpreadConstraint, Volume, VolumeMount, VolumeResourceRequirements,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::cluster::build::config_map::{FILE, properties_of_a_process};
use crate::cluster::build::metadata;
use crate::cluster::validate::{ValidatedCluster, VolumeSpec};
use crate::hash::fingerprint;
use crate::names::{
    ANNOTATION_PREFIX, CONTAINER, CONTROLLER_PORT, HTTP_PORT, KAFKA_PORT, REPLICATION_PORT,
    RESTARTED_FOR_ANNOTATION, Role, ZONE_LABEL,
};
use crate::volume_id::VolumeId;

const CONFIG_VOLUME: &str = "config";
const CONFIG_FOLDER: &str = "/etc/foz";
/// Changes when a file changes that is read at start only.
const CONFIG_HASH_ANNOTATION: &str = "foz.dev/config-hash";
/// The user of the images, which is nobody's on any node.
const USER_ID: i64 = 65_532;
/// A process stops in a second, once it may. The rest is for one that is deleted or evicted without a restart grant:
/// it asks for itself, and serves on until the others can do without it. The process is told the time, too.
pub(super) const TERMINATION_GRACE_PERIOD_SECONDS: i64 = 600;

pub(super) fn build(cluster: &ValidatedCluster, role: Role) -> StatefulSet {
    let replicas = match role {
        Role::Broker => cluster.brokers,
        Role::Controller => cluster.controllers.get(),
    };
    let volumes = cluster.volumes_of(role).into_iter();
    let claim_templates = volumes.map(|(id, volume)| claim_template(cluster, role, id, volume));
    StatefulSet {
        metadata: metadata(cluster, role, cluster.name.of_role(role)),
        spec: Some(StatefulSetSpec {
            replicas: Some(if cluster.stopped.contains(&role) {
                0
            } else {
                replicas
            }),
            service_name: Some(cluster.name.headless(role)),
            // A quorum forms from pods that start together, and brokers do not wait for each other.
            pod_management_policy: Some("Parallel".to_owned()),
            // When a pod may stop is decided by what it leads and keeps, which Kubernetes cannot know.
            update_strategy: Some(StatefulSetUpdateStrategy {
                type_: Some("OnDelete".to_owned()),
                ..StatefulSetUpdateStrategy::default()
            }),
            persistent_volume_claim_retention_policy: Some(
                StatefulSetPersistentVolumeClaimRetentionPolicy {
                    when_deleted: Some("Retain".to_owned()),
                    when_scaled: Some("Retain".to_owned()),
                },
            ),
            selector: LabelSelector {
                match_labels: Some(cluster.name.selector(role)),
                ..LabelSelector::default()
            },
            template: pod_template(cluster, role),
            volume_claim_templates: Some(claim_templates.collect()),
            ..StatefulSetSpec::default()
        }),
        ..StatefulSet::default()
    }
}

fn pod_template(cluster: &ValidatedCluster, role: Role) -> PodTemplateSpec {
    let overrides = &cluster.pod_overrides;
    let mut labels = overrides.labels.clone();
    labels.extend(cluster.name.labels(role));
    let mut annotations = overrides.annotations.clone();
    // In a template, what asks for the restart of a pod would ask again with every pod that is made.
    annotations.retain(|key, _| !key.starts_with(ANNOTATION_PREFIX));
    let hash = fingerprint(properties_of_a_process(cluster, role).as_bytes());
    annotations.insert(CONFIG_HASH_ANNOTATION.to_owned(), format!("{hash:016x}"));
    if let Some(value) = cluster.restarted_for.get(&role) {
        annotations.insert(RESTARTED_FOR_ANNOTATION.to_owned(), value.clone());
    }
    PodTemplateSpec {
        metadata: Some(ObjectMeta {
            labels: Some(labels),
            annotations: Some(annotations),
            ..ObjectMeta::default()
        }),
        spec: Some(PodSpec {
            service_account_name: Some(cluster.name.of_role(role)),
            automount_service_account_token: Some(false),
            enable_service_links: Some(false),
            termination_grace_period_seconds: Some(TERMINATION_GRACE_PERIOD_SECONDS),
            security_context: Some(pod_security()),
            containers: vec![container(cluster, role)],
            volumes: Some(volumes(cluster, role)),
            topology_spread_constraints: Some(spread(cluster, role)),
            node_selector: non_empty_map(&overrides.node_selector),
            tolerations: non_empty(&overrides.tolerations),
            priority_class_name: overrides.priority_class_name.clone(),
            image_pull_secrets: non_empty(&overrides.image_pull_secrets),
            ..PodSpec::default()
        }),
    }
}

fn container(cluster: &ValidatedCluster, role: Role) -> Container {
    let resources = match role {
        Role::Broker => &cluster.broker_resources,
        Role::Controller => &cluster.controller_resources,
    };
    let config_file = format!("{CONFIG_FOLDER}/{FILE}");
    let mut ports = match role {
        Role::Broker => vec![
            container_port("kafka", KAFKA_PORT),
            container_port("replication", REPLICATION_PORT),
        ],
        Role::Controller => vec![container_port("controller", CONTROLLER_PORT)],
    };
    ports.push(container_port("http", HTTP_PORT));
    Container {
        name: CONTAINER.to_owned(),
        image: Some(cluster.image.clone()),
        command: Some(vec!["foz-broker".to_owned()]),
        args: Some(
            ["--config", &config_file, "--roles", role.as_str()]
                .map(str::to_owned)
                .into(),
        ),
        env: Some(vec![
            from_field(
                "POD_INDEX",
                "metadata.labels['apps.kubernetes.io/pod-index']",
            ),
            from_field("POD_NAME", "metadata.name"),
            from_field("POD_NAMESPACE", "metadata.namespace"),
        ]),
        ports: Some(ports),
        // A pod counts as soon as it can serve, and no longer than it can.
        readiness_probe: Some(Probe {
            period_seconds: Some(1),
            ..probe("/readyz", 2, 3)
        }),
        // A process that a slow disk holds up for a while is not dead; killing it would help nobody.
        liveness_probe: Some(Probe {
            period_seconds: Some(5),
            ..probe("/healthz", 5, 12)
        }),
        resources: Some(resources.clone()),
        security_context: Some(container_security()),
        termination_message_policy: Some("FallbackToLogsOnError".to_owned()),
        volume_mounts: Some(mounts(cluster, role)),
        ..Container::default()
    }
}

fn mounts(cluster: &ValidatedCluster, role: Role) -> Vec<VolumeMount> {
    let volumes = cluster.volumes_of(role).into_keys();
    let mut mounts: Vec<VolumeMount> = volumes
        .map(|id| mount(&id.template(), &id.folder(), None))
        .collect();
    mounts.push(mount(CONFIG_VOLUME, CONFIG_FOLDER, Some(true)));
    mounts.push(mount("tmp", "/tmp", None));
    mounts
}

fn probe(path: &str, timeout_seconds: i32, failure_threshold: i32) -> Probe {
    Probe {
        http_get: Some(HTTPGetAction {
            path: Some(path.to_owned()),
            port: IntOrString::String("http".to_owned()),
            ..HTTPGetAction::default()
        }),
        timeout_seconds: Some(timeout_seconds),
        failure_threshold: Some(failure_threshold),
        ..Probe::default()
    }
}

/// What the *restricted* Pod Security Standard asks of a pod.
fn pod_security() -> PodSecurityContext {
    PodSecurityContext {
        run_as_non_root: Some(true),
        run_as_user: Some(USER_ID),
        run_as_group: Some(USER_ID),
        fs_group: Some(USER_ID),
        // A volume with many segments would otherwise be walked at every start.
        fs_group_change_policy: Some("OnRootMismatch".to_owned()),
        seccomp_profile: Some(SeccompProfile {
            type_: "RuntimeDefault".to_owned(),
            ..SeccompProfile::default()
        }),
        ..PodSecurityContext::default()
    }
}

/// What the *restricted* Pod Security Standard asks of a container, and a root file system that nobody
/// writes to.
fn container_security() -> SecurityContext {
    SecurityContext {
        allow_privilege_escalation: Some(false),
        read_only_root_filesystem: Some(true),
        capabilities: Some(Capabilities {
            drop: Some(vec!["ALL".to_owned()]),
            ..Capabilities::default()
        }),
        ..SecurityContext::default()
    }
}

/// Pods of a role on different zones and nodes where that is possible; a small cluster runs all the
/// same.
fn spread(cluster: &ValidatedCluster, role: Role) -> Vec<TopologySpreadConstraint> {
    [ZONE_LABEL, "kubernetes.io/hostname"]
        .map(|topology_key| TopologySpreadConstraint {
            max_skew: 1,
            topology_key: topology_key.to_owned(),
            when_unsatisfiable: "ScheduleAnyway".to_owned(),
            label_selector: Some(LabelSelector {
                match_labels: Some(cluster.name.selector(role)),
                ..LabelSelector::default()
            }),
            ..TopologySpreadConstraint::default()
        })
        .into()
}

fn volumes(cluster: &ValidatedCluster, role: Role) -> Vec<Volume> {
    vec![
        Volume {
            name: CONFIG_VOLUME.to_owned(),
            config_map: Some(ConfigMapVolumeSource {
                name: cluster.name.of_role(role),
                ..ConfigMapVolumeSource::default()
            }),
            ..Volume::default()
        },
        Volume {
            name: "tmp".to_owned(),
            empty_dir: Some(EmptyDirVolumeSource {
                size_limit: Some(Quantity("64Mi".to_owned())),
                ..EmptyDirVolumeSource::default()
            }),
            ..Volume::default()
        },
    ]
}

fn claim_template(
    cluster: &ValidatedCluster,
    role: Role,
    id: VolumeId,
    volume: &VolumeSpec,
) -> PersistentVolumeClaim {
    PersistentVolumeClaim {
        metadata: ObjectMeta {
            name: Some(id.template()),
            labels: Some(cluster.name.labels(role)),
            ..ObjectMeta::default()
        },
        spec: Some(PersistentVolumeClaimSpec {
            access_modes: Some(vec!["ReadWriteOnce".to_owned()]),
            storage_class_name: volume.class_name.clone(),
            resources: Some(VolumeResourceRequirements {
                requests: Some([("storage".to_owned(), volume.size.clone())].into()),
                ..VolumeResourceRequirements::default()
            }),
            ..PersistentVolumeClaimSpec::default()
        }),
        ..PersistentVolumeClaim::default()
    }
}

fn from_field(name: &str, path: &str) -> EnvVar {
    EnvVar {
        name: name.to_owned(),
        value_from: Some(EnvVarSource {
            field_ref: Some(ObjectFieldSelector {
                field_path: path.to_owned(),
                ..ObjectFieldSelector::default()
            }),
            ..EnvVarSource::default()
        }),
        ..EnvVar::default()
    }
}

fn container_port(name: &str, port: i32) -> ContainerPort {
    ContainerPort {
        name: Some(name.to_owned()),
        container_port: port,
        protocol: Some("TCP".to_owned()),
        ..ContainerPort::default()
    }
}

fn mount(name: &str, path: &str, read_only: Option<bool>) -> VolumeMount {
    VolumeMount {
        name: name.to_owned(),
        mount_path: path.to_owned(),
        read_only,
        ..VolumeMount::default()
    }
}

fn non_empty<T: Clone>(entries: &[T]) -> Option<Vec<T>> {
    (!entries.is_empty()).then(|| entries.to_vec())
}

fn non_empty_map(entries: &BTreeMap<String, String>) -> Option<BTreeMap<String, String>> {
    (!entries.is_empty()).then(|| entries.clone())
}
