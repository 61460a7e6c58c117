//! Suspended Clusters.

use serde_json::Value;

use super::{applied, key, plan_of, pod, settled, settled_status, view_mut};
use crate::cluster::fixtures::validated;
use crate::cluster::observed::{Observed, QuorumState};
use crate::cluster::owned::Owned;
use crate::cluster::plan::{Action, Plan, plan};
use crate::cluster::validate::ValidatedCluster;
use crate::names::Role;

fn suspended() -> ValidatedCluster {
    ValidatedCluster {
        suspended: true,
        ..validated()
    }
}

/// The replicas of StatefulSets that are applied, by name.
fn replicas(plan: &Plan) -> Vec<(String, Value)> {
    let set = |action: &Action| match action {
        Action::Apply { key, manifest, .. } if key.kind == Owned::StatefulSet => {
            Some((key.name.clone(), manifest["spec"]["replicas"].clone()))
        }
        _ => None,
    };
    plan.actions.iter().filter_map(set).collect()
}

/// The set has no pods and is asked for none.
fn stop(observed: &mut Observed, role: Role, pods_too: bool) {
    let set = key(Owned::StatefulSet, &format!("demo-{}", role.as_str()));
    observed.live.get_mut(&set).expect("settled")["spec"]["replicas"] = 0.into();
    observed.sets.get_mut(&role).expect("settled").replicas = 0;
    if pods_too {
        observed.pods.retain(|(of, _), _| *of != role);
    }
}

#[test]
fn brokers_stop_all_at_once_and_controllers_when_no_broker_is_left() {
    let mut observed = settled(&validated());
    let plan = plan_of(&suspended(), &observed);
    assert_eq!(replicas(&plan), [("demo-broker".into(), 0.into())]);
    assert_eq!(
        applied(&plan),
        ["StatefulSet/demo-broker: spec.suspend is true"]
    );
    // They are on their way out.
    stop(&mut observed, Role::Broker, false);
    for ordinal in 0..3 {
        let pod = observed.pods.get_mut(&(Role::Broker, ordinal));
        pod.expect("a pod").deleting = true;
        assert_eq!(plan_of(&suspended(), &observed).actions, []);
    }
    // One that nobody counts any more: the Cluster was made smaller meanwhile.
    stop(&mut observed, Role::Broker, true);
    observed.pods.insert((Role::Broker, 4), pod("new", true));
    assert_eq!(plan_of(&suspended(), &observed).actions, []);
    observed.pods.remove(&(Role::Broker, 4));
    let plan = plan_of(&suspended(), &observed);
    assert_eq!(replicas(&plan), [("demo-controller".into(), 0.into())]);
    stop(&mut observed, Role::Controller, true);
    observed.quorum = QuorumState::Lost("gone".into());
    assert_eq!(plan_of(&suspended(), &observed), Plan::default());
}

#[test]
fn nothing_rolls_scales_or_is_set_meanwhile() {
    let mut observed = settled(&validated());
    stop(&mut observed, Role::Broker, false);
    observed.pods.insert((Role::Broker, 1), pod("old", true));
    observed.zones.insert("node-1".into(), "zone-b".into());
    view_mut(&mut observed).broker_config.clear();
    for brokers in [1, 5] {
        let cluster = ValidatedCluster {
            brokers,
            ..suspended()
        };
        let plan = plan_of(&cluster, &observed);
        assert_eq!(
            (replicas(&plan), plan.roll),
            (Vec::new(), None),
            "{brokers}"
        );
        assert_eq!(plan.degraded, []);
        let changed = |action: &&Action| !matches!(action, Action::Apply { .. });
        assert_eq!(plan.actions.iter().find(changed), None, "{brokers}");
    }
}

#[test]
fn what_is_deleted_by_hand_comes_back_and_volumes_grow() {
    let mut observed = settled(&validated());
    for role in [Role::Broker, Role::Controller] {
        stop(&mut observed, role, true);
    }
    observed.quorum = QuorumState::Unknown;
    let service = key(Owned::Service, "demo-bootstrap");
    observed.live.remove(&service);
    let mut cluster = suspended();
    cluster.broker_volume.size.0 = "20Gi".into();
    let plan = plan_of(&cluster, &observed);
    assert_eq!(applied(&plan), ["Service/demo-bootstrap: is missing"]);
    let rest: Vec<&str> = plan.actions.iter().skip(1).map(Action::label).collect();
    assert_eq!(rest, ["orphan_pods", "expand_volumes"]);
}

#[test]
fn resumed_everything_has_its_pods_again() {
    let mut observed = settled(&validated());
    for role in [Role::Broker, Role::Controller] {
        stop(&mut observed, role, true);
    }
    for quorum in [QuorumState::Unknown, QuorumState::Lost("gone".into())] {
        observed.quorum = quorum;
        let plan = plan_of(&validated(), &observed);
        assert_eq!(
            replicas(&plan),
            [
                ("demo-controller".into(), 3.into()),
                ("demo-broker".into(), 3.into())
            ]
        );
        assert_eq!(plan.degraded, []);
        assert_eq!(
            applied(&plan),
            [
                "StatefulSet/demo-controller: spec.suspend is not true",
                "StatefulSet/demo-broker: spec.suspend is not true"
            ]
        );
    }
}

#[test]
fn paused_it_stays_as_it_is() {
    let cluster = ValidatedCluster {
        paused: true,
        ..suspended()
    };
    let plan = plan(
        &cluster,
        &settled(&validated()),
        &settled_status(&validated()),
    );
    assert_eq!(plan.actions, []);
    assert_eq!(plan.progressing[0].reason, "Paused");
}
