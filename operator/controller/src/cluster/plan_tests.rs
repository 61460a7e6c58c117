//! Tests of the plan.

use std::collections::BTreeMap;

use foz_crd::ClusterStatus;
use serde_json::{Value, json};

use crate::cluster::build::desired;
use crate::cluster::defaults::with_defaults;
use crate::cluster::fixtures::{validated, validated_with_overrides, validated_with_volumes};
use crate::cluster::observed::{ClaimState, Observed, PodState, QuorumState, QuorumView, SetState};
use crate::cluster::owned::{ObjectKey, Owned};
use crate::cluster::plan::{Action, Plan, Scaled, plan};
use crate::cluster::storage_classes::StorageClassState;
use crate::cluster::validate::ValidatedCluster;
use crate::names::Role;
use crate::quorum::view::{BrokerView, VotersView};
use crate::volume_id::VolumeId;

mod feature_levels;
mod further_volumes;
mod restarts;
mod settings;
mod suspend;
mod volumes;
mod voters;

/// A world in which the Cluster is as it should be.
pub(super) fn settled(cluster: &ValidatedCluster) -> Observed {
    let live = desired(cluster)
        .into_iter()
        .map(|object| (object.key, as_served(object.manifest)));
    let mut observed = Observed {
        live: live.collect(),
        ..Observed::default()
    };
    let sizes = [
        (Role::Broker, cluster.brokers, "10Gi"),
        (Role::Controller, cluster.controllers.get(), "1Gi"),
    ];
    for (role, replicas, size) in sizes {
        let volumes = cluster.volumes_of(role);
        let set = SetState {
            replicas,
            update_revision: Some("new".into()),
            volumes: volumes.keys().copied().collect(),
            ..SetState::default()
        };
        for ordinal in 0..replicas {
            let mut pod = pod("new", true);
            pod.volumes = set.volumes.clone();
            observed.pods.insert((role, ordinal), pod);
            for (id, volume) in &volumes {
                let size = match *id {
                    VolumeId::FIRST => size,
                    _ => volume.size.0.as_str(),
                };
                let claim = ClaimState {
                    requested: size.into(),
                    class_name: volume.class_name.clone(),
                    capacity: Some(size.into()),
                    phase: Some("Bound".into()),
                    ..ClaimState::default()
                };
                observed.claims.insert((role, ordinal, *id), claim);
            }
        }
        observed.sets.insert(role, set);
    }
    let broker = |id: i32| BrokerView {
        incarnation: format!("i{id}"),
        rack: Some("zone-a".into()),
        fenced: false,
        version: "0.1.0".into(),
        cordoned: false,
        foz_version_max: 1,
    };
    observed.zones.insert("node-1".into(), "zone-a".into());
    let class = |is_default| StorageClassState {
        is_default,
        ..StorageClassState::default()
    };
    let classes = [("standard", class(true)), ("fast", class(false))];
    observed.storage_classes = classes.map(|(name, class)| (name.to_owned(), class)).into();
    observed.quorum = QuorumState::Followed(Box::new(QuorumView {
        cluster_id: "cluster-1".into(),
        active_node_id: 1001,
        brokers: (0..cluster.brokers).map(|id| (id, broker(id))).collect(),
        broker_config: config(cluster),
        voters: VotersView {
            voters: (1000..1000 + cluster.controllers.get()).collect(),
            ..VotersView::default()
        },
        features: [("foz.version".to_owned(), 1)].into(),
        topics: 2,
        partitions: 8,
        replicas: (0..cluster.brokers).map(|id| (id, 8)).collect(),
        ..QuorumView::default()
    }));
    observed
}

pub(super) fn settled_status(cluster: &ValidatedCluster) -> ClusterStatus {
    ClusterStatus {
        managed_config_keys: config(cluster).into_keys().collect(),
        cluster_id: Some("cluster-1".into()),
        ..ClusterStatus::default()
    }
}

/// What is set for all brokers.
fn config(cluster: &ValidatedCluster) -> BTreeMap<String, String> {
    with_defaults(&cluster.config, cluster.brokers, &[], &BTreeMap::new())
}

pub(super) fn view_mut(observed: &mut Observed) -> &mut QuorumView {
    match &mut observed.quorum {
        QuorumState::Followed(view) => view,
        other => panic!("not followed: {other:?}"),
    }
}

pub(super) fn pod(revision: &str, running: bool) -> PodState {
    PodState {
        uid: "pod-uid".into(),
        revision: Some(revision.into()),
        ready: running,
        running,
        node: Some("node-1".into()),
        ip: Some("10.0.0.1".into()),
        volumes: [VolumeId::FIRST].into(),
        ..PodState::default()
    }
}

/// What the API server gives back: with defaults, counters and fields of others.
fn as_served(mut manifest: Value) -> Value {
    manifest["metadata"]["resourceVersion"] = json!("17");
    manifest["metadata"]["uid"] = json!("some");
    manifest["metadata"]["annotations"] = json!({"added-by": "another"});
    match manifest["kind"].as_str() {
        Some("Service") => manifest["spec"]["sessionAffinity"] = json!("None"),
        Some("StatefulSet") => {
            manifest["spec"]["revisionHistoryLimit"] = json!(10);
            manifest["spec"]["template"]["spec"]["containers"][0]["imagePullPolicy"] =
                json!("IfNotPresent");
            manifest["spec"]["volumeClaimTemplates"][0]["spec"]["volumeMode"] = json!("Filesystem");
            manifest["status"] = json!({"replicas": 3});
        }
        _ => {}
    }
    manifest
}

fn plan_of(cluster: &ValidatedCluster, observed: &Observed) -> Plan {
    plan(cluster, observed, &settled_status(cluster))
}

fn key(kind: Owned, name: &str) -> ObjectKey {
    ObjectKey {
        kind,
        name: name.into(),
    }
}

fn applied(plan: &Plan) -> Vec<String> {
    let object = |action: &Action| match action {
        Action::Apply { key, reason, .. } => Some(format!("{key}: {reason}")),
        _ => None,
    };
    plan.actions.iter().filter_map(object).collect()
}

fn scaled(plan: &Plan) -> Vec<Scaled> {
    let scaled = |action: &Action| match action {
        Action::Apply { scaled, .. } => *scaled,
        _ => None,
    };
    plan.actions.iter().filter_map(scaled).collect()
}

#[test]
fn a_world_that_is_as_it_should_be_needs_nothing() {
    for cluster in [
        validated(),
        validated_with_overrides(),
        validated_with_volumes(),
    ] {
        let plan = plan_of(&cluster, &settled(&cluster));
        assert_eq!(
            plan,
            Plan {
                brokers: 3,
                staying: 3,
                ..Plan::default()
            }
        );
    }
}

#[test]
fn in_an_empty_world_everything_is_made_and_the_pods_come_last() {
    let plan = plan_of(&validated(), &Observed::default());
    let kinds: Vec<Owned> = plan
        .actions
        .iter()
        .map(|action| match action {
            Action::Apply {
                key, missing: true, ..
            } => key.kind,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(kinds.len(), 16);
    assert_eq!(kinds[14..], [Owned::StatefulSet, Owned::StatefulSet]);
    assert!(!kinds[..14].contains(&Owned::StatefulSet));
}

#[test]
fn each_object_that_is_deleted_by_hand_is_made_again() {
    let cluster = validated();
    for gone in settled(&cluster).live.into_keys() {
        let mut observed = settled(&cluster);
        observed.live.remove(&gone);
        assert_eq!(
            applied(&plan_of(&cluster, &observed)),
            [format!("{gone}: is missing")]
        );
    }
}

/// Every scalar that we set, in every object, one at a time: the most thorough hand there is.
#[test]
fn each_field_that_is_changed_by_hand_is_put_right() {
    let cluster = validated();
    let mut changes = 0;
    for object in desired(&cluster) {
        let mut paths = Vec::new();
        scalar_paths(&object.manifest, "", &mut paths);
        for path in paths {
            let fixed = [
                "/apiVersion",
                "/kind",
                "/metadata/name",
                "/metadata/namespace",
            ];
            let claims = path.starts_with("/spec/volumeClaimTemplates");
            if fixed.contains(&path.as_str()) || path.contains("ownerReferences") || claims {
                continue;
            }
            let mut observed = settled(&cluster);
            let live = observed.live.get_mut(&object.key).expect("settled");
            let field = live.pointer_mut(&path).expect("the field");
            *field = match &*field {
                Value::Bool(value) => json!(!*value),
                Value::Number(value) => json!(value.as_i64().expect("an integer") + 1),
                _ => json!("other"),
            };
            let found = applied(&plan_of(&cluster, &observed));
            assert_eq!(found.len(), 1, "{} {path}: {found:?}", object.key);
            changes += 1;
        }
    }
    assert!(changes > 300, "{changes}");
}

fn scalar_paths(value: &Value, path: &str, paths: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                let name = name.replace('~', "~0").replace('/', "~1");
                scalar_paths(value, &format!("{path}/{name}"), paths);
            }
        }
        Value::Array(entries) => {
            for (index, value) in entries.iter().enumerate() {
                scalar_paths(value, &format!("{path}/{index}"), paths);
            }
        }
        _ => paths.push(path.to_owned()),
    }
}

#[test]
fn objects_of_a_cluster_that_is_gone_are_waited_for() {
    let cluster = validated();
    let mut observed = settled(&cluster);
    let service = key(Owned::Service, "demo-bootstrap");
    let live = observed.live.get_mut(&service).expect("settled");
    live["metadata"]["ownerReferences"][0]["uid"] = json!("uid-of-before");
    let plan = plan_of(&cluster, &observed);
    assert_eq!(plan.actions, []);
    assert_eq!(plan.progressing[0].reason, "WaitingForDeletion");
    assert!(
        plan.progressing[0]
            .message
            .contains("Service/demo-bootstrap")
    );
}

#[test]
fn scaling_up_raises_the_set_and_makes_services() {
    let observed = settled(&validated());
    let cluster = ValidatedCluster {
        brokers: 5,
        ..validated()
    };
    let plan = plan_of(&cluster, &observed);
    assert_eq!(
        applied(&plan),
        [
            "Service/demo-broker-3: is missing",
            "Service/demo-broker-4: is missing",
            "StatefulSet/demo-broker: spec.replicas differs",
        ]
    );
    assert_eq!(scaled(&plan), [Scaled { from: 3, to: 5 }]);
    assert!(plan.degraded.is_empty());
}

/// A hand has scaled the StatefulSet: no broker is new, one that was taken away comes back.
#[test]
fn a_broker_that_a_hand_took_away_comes_back_and_is_not_called_a_scale_up() {
    let cluster = validated();
    let mut observed = settled(&cluster);
    let set = key(Owned::StatefulSet, "demo-broker");
    observed.live.get_mut(&set).expect("settled")["spec"]["replicas"] = json!(2);
    observed
        .sets
        .get_mut(&Role::Broker)
        .expect("settled")
        .replicas = 2;
    let plan = plan_of(&cluster, &observed);
    assert_eq!(
        applied(&plan),
        ["StatefulSet/demo-broker: spec.replicas differs"]
    );
    assert_eq!(scaled(&plan), []);
}

/// A cluster that grows while another of its objects is put right: only the growing is called so.
#[test]
fn a_scale_up_is_of_the_brokers_set_alone() {
    let mut observed = settled(&validated());
    let bootstrap = key(Owned::Service, "demo-bootstrap");
    observed.live.get_mut(&bootstrap).expect("settled")["spec"]["type"] = json!("NodePort");
    let cluster = ValidatedCluster {
        brokers: 4,
        ..validated()
    };
    assert_eq!(
        scaled(&plan_of(&cluster, &observed)),
        [Scaled { from: 3, to: 4 }]
    );
}

/// A Cluster made again with fewer brokers than have registered: their partitions are on the volumes
/// that are left.
#[test]
fn brokers_that_hold_something_are_run() {
    let mut observed = settled(&validated());
    observed.sets.clear();
    observed
        .live
        .retain(|key, _| key.kind != Owned::StatefulSet);
    observed.pods.clear();
    let cluster = ValidatedCluster {
        brokers: 2,
        ..validated()
    };
    assert_eq!(plan_of(&cluster, &observed).brokers, 3);
    // Nothing of it would be missed.
    view_mut(&mut observed).replicas.remove(&2);
    assert_eq!(plan_of(&cluster, &observed).brokers, 2);
}

#[test]
fn racks_follow_the_zones_of_nodes() {
    let cluster = validated();
    let mut observed = settled(&cluster);
    observed.zones.insert("node-2".into(), "zone-b".into());
    let moved = PodState {
        node: Some("node-2".into()),
        ..pod("new", true)
    };
    observed.pods.insert((Role::Broker, 2), moved);
    let nowhere = PodState {
        node: Some("node-3".into()),
        ..pod("new", true)
    };
    observed.pods.insert((Role::Broker, 1), nowhere);
    let plan = plan_of(&cluster, &observed);
    assert_eq!(
        plan.actions,
        [Action::AssignRacks(BTreeMap::from([(
            2,
            "zone-b".to_owned()
        )]))]
    );
    view_mut(&mut observed).brokers.remove(&2);
    assert_eq!(plan_of(&cluster, &observed).actions, []);
}

#[test]
fn nothing_is_asked_of_a_quorum_that_does_not_answer() {
    let mut cluster = validated();
    cluster.config.insert("a".into(), "1".into());
    let mut observed = settled(&validated());
    let QuorumState::Followed(view) = std::mem::take(&mut observed.quorum) else {
        panic!()
    };
    for quorum in [
        QuorumState::Unknown,
        QuorumState::Lost("gone".into()),
        QuorumState::Reconnecting(view),
    ] {
        observed.quorum = quorum;
        assert_eq!(plan_of(&cluster, &observed).actions, []);
    }
}

#[test]
fn a_paused_cluster_is_left_as_it_is() {
    let cluster = ValidatedCluster {
        paused: true,
        ..validated()
    };
    let plan = plan_of(&cluster, &Observed::default());
    assert_eq!(plan.actions, []);
    assert_eq!(plan.progressing[0].reason, "Paused");
}

#[test]
fn what_keeps_a_pod_from_running_is_told() {
    let cluster = validated();
    let mut observed = settled(&cluster);
    let trouble = Some(("ImagePullBackOff".to_owned(), "no such image".to_owned()));
    observed.pods.insert(
        (Role::Broker, 1),
        PodState {
            trouble,
            ..pod("new", false)
        },
    );
    let plan = plan_of(&cluster, &observed);
    assert_eq!(
        plan.degraded[0].message,
        "demo-broker-1: ImagePullBackOff: no such image"
    );
}
