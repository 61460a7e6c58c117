//! Which restarts a plan leads to; how they go is the roll's to test.

use foz_crd::ClusterStatus;
use foz_crd::cluster::PendingRestart;
use serde_json::json;

use super::{applied, key, plan_of, pod, settled, settled_status};
use crate::cluster::fixtures::validated;
use crate::cluster::observed::{Observed, QuorumState};
use crate::cluster::owned::Owned;
use crate::cluster::plan::{Plan, plan};
use crate::cluster::roll::input::Denial;
use crate::cluster::roll::{Next, Roll, Step, Waiting, roll};
use crate::cluster::validate::ValidatedCluster;
use crate::names::Role;

fn rolls(plan: &Plan) -> Roll {
    roll(plan.roll.as_ref().expect("a pod is to be restarted"))
}

/// Broker 1 is of an older template.
fn edited() -> Observed {
    let mut observed = settled(&validated());
    observed.pods.insert((Role::Broker, 1), pod("old", true));
    observed
}

#[test]
fn pods_of_an_older_template_are_restarted() {
    let mut observed = edited();
    observed
        .pods
        .insert((Role::Controller, 0), pod("old", true));
    let plan = plan_of(&validated(), &observed);
    assert_eq!(plan.actions, []);
    let roll = rolls(&plan);
    assert_eq!(roll.left, ["demo-broker-1", "demo-controller-0"]);
    let Next::Do(Step::Restart {
        node_id,
        incarnation,
        insist,
        ..
    }) = roll.next
    else {
        panic!("{:?}", roll.next);
    };
    assert_eq!((node_id, incarnation.as_str(), insist), (1, "i1", false));
}

#[test]
fn settings_that_wait_for_a_restart_cause_it() {
    let status = ClusterStatus {
        config_pending_restart: vec![PendingRestart {
            key: "group.max.size".into(),
            incarnations: [("2".to_owned(), "i2".to_owned())].into(),
        }],
        ..settled_status(&validated())
    };
    let plan = plan(&validated(), &settled(&validated()), &status);
    assert_eq!(rolls(&plan).left, ["demo-broker-2"]);
}

/// What Kubernetes calls the newest template is about to be the one before.
#[test]
fn nothing_is_restarted_while_the_set_is_about_to_change() {
    let template_is_waited_for = |cluster: &ValidatedCluster, observed: &Observed| {
        let next = rolls(&plan_of(cluster, observed)).next;
        assert_eq!(next, Next::Wait(Waiting::Template(Role::Broker)));
    };
    let mut observed = edited();
    // A pod that is asked for is due without any template.
    let asked = observed.pods.get_mut(&(Role::Broker, 0)).expect("settled");
    asked.restart_asked = true;
    let set = key(Owned::StatefulSet, "demo-broker");
    observed.live.get_mut(&set).expect("settled")["metadata"]["labels"] = json!({});
    assert_eq!(applied(&plan_of(&validated(), &observed)).len(), 1);
    template_is_waited_for(&validated(), &observed);
    // The set of a Cluster of the same name that is gone.
    let mut observed = edited();
    let asked = observed.pods.get_mut(&(Role::Broker, 0)).expect("settled");
    asked.restart_asked = true;
    let live = observed.live.get_mut(&set).expect("settled");
    live["metadata"]["ownerReferences"][0]["uid"] = json!("uid-of-before");
    assert_eq!(plan_of(&validated(), &observed).actions, []);
    template_is_waited_for(&validated(), &observed);
}

#[test]
fn a_revision_that_is_not_known_makes_no_pod_old() {
    let mut observed = edited();
    let set = observed.sets.get_mut(&Role::Broker).expect("settled");
    set.update_revision = None;
    assert_eq!(plan_of(&validated(), &observed).roll, None);
}

#[test]
fn what_is_known_of_the_quorum_is_what_is_told_now() {
    let mut observed = edited();
    let denial = Denial {
        incarnation: "i1".into(),
        message: "orders-3 would have 1 of 2".into(),
    };
    observed.denied.insert(1, denial);
    let next = rolls(&plan_of(&validated(), &observed)).next;
    assert!(matches!(next, Next::Wait(Waiting::Denied(_))), "{next:?}");
    let QuorumState::Followed(view) = observed.quorum.clone() else {
        panic!()
    };
    observed.quorum = QuorumState::Reconnecting(view);
    let next = rolls(&plan_of(&validated(), &observed)).next;
    assert_eq!(next, Next::Wait(Waiting::Quorum));
}

#[test]
fn pods_that_are_held_are_left_alone() {
    let mut cluster = validated();
    cluster.hold.insert("demo-broker-1".into());
    let next = rolls(&plan_of(&cluster, &edited())).next;
    assert_eq!(
        next,
        Next::Wait(Waiting::Held(vec!["demo-broker-1".into()]))
    );
}

#[test]
fn a_paused_cluster_restarts_nothing() {
    let cluster = ValidatedCluster {
        paused: true,
        ..validated()
    };
    assert_eq!(plan_of(&cluster, &edited()).roll, None);
}

fn for_monday() -> ValidatedCluster {
    let mut cluster = validated();
    cluster.restarted_for = Role::ALL.map(|role| (role, "monday".to_owned())).into();
    cluster
}

#[test]
fn the_annotation_for_a_restart_changes_both_templates() {
    let found = applied(&plan_of(&for_monday(), &settled(&validated())));
    let path = "spec.template.metadata.annotations.foz.dev/restarted-for";
    assert_eq!(
        found,
        [
            format!("StatefulSet/demo-controller: {path} differs"),
            format!("StatefulSet/demo-broker: {path} differs"),
        ]
    );
}

/// Taking it out of the template would restart every pod once more.
#[test]
fn the_annotation_may_be_taken_away_again() {
    let mut observed = settled(&for_monday());
    for set in observed.sets.values_mut() {
        set.restarted_for = Some("monday".into());
    }
    let plan = plan_of(&validated(), &observed);
    assert_eq!((plan.actions.len(), plan.roll), (0, None));
    // A hand has deleted the sets: their pods are of the same template still.
    observed.sets.clear();
    observed
        .live
        .retain(|key, _| key.kind != Owned::StatefulSet);
    for pod in observed.pods.values_mut() {
        pod.restarted_for = Some("monday".into());
    }
    let plan = plan_of(&validated(), &observed);
    assert_eq!(plan.actions.len(), 2);
    for action in plan.actions {
        let manifest = format!("{action:?}");
        assert!(manifest.contains("monday"), "{manifest}");
    }
}
