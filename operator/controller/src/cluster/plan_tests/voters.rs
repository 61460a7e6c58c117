//! How controllers become more and fewer.

use foz_crd::ClusterStatus;
use serde_json::json;

use super::{applied, key, plan_of, pod, settled, view_mut};
use crate::cluster::fixtures::validated;
use crate::cluster::observed::{Observed, QuorumState, SetState};
use crate::cluster::owned::Owned;
use crate::cluster::plan::{Action, Plan, plan};
use crate::cluster::roll::{Next, Step, roll};
use crate::cluster::validate::{ControllerCount, ValidatedCluster};
use crate::names::Role;
use crate::quorum::view::GrantView;

fn with(controllers: i32) -> ValidatedCluster {
    ValidatedCluster {
        controllers: ControllerCount::new(controllers).expect("1, 3 or 5"),
        ..validated()
    }
}

fn removals(plan: &Plan) -> Vec<i32> {
    let removal = |action: &Action| match action {
        Action::RemoveVoter { node_id, .. } => Some(*node_id),
        _ => None,
    };
    plan.actions.iter().filter_map(removal).collect()
}

fn additions(plan: &Plan) -> Vec<i32> {
    let addition = |action: &Action| match action {
        Action::AddVoters(node_ids) => Some(node_ids.clone()),
        _ => None,
    };
    plan.actions.iter().filter_map(addition).flatten().collect()
}

/// What is under way, in words.
fn waits(plan: &Plan) -> String {
    let mut scaling = plan.progressing.iter();
    let finding = scaling.find(|finding| finding.reason == "ControllersScaling");
    finding.map(|it| it.message.clone()).unwrap_or_default()
}

/// The quorum has removed it.
fn leaves(observed: &mut Observed, node_id: i32) {
    let voters = &mut view_mut(observed).voters;
    voters.voters.remove(&node_id);
    voters.learners.remove(&node_id);
    voters.removed.insert(node_id);
}

#[test]
fn more_controllers_are_named_to_all_and_made_and_nobody_is_restarted() {
    let mut observed = settled(&with(1));
    let plan = plan_of(&with(3), &observed);
    assert_eq!(
        applied(&plan),
        [
            "ConfigMap/demo-controller: data.server.properties differs",
            "ConfigMap/demo-broker: data.server.properties differs",
            "StatefulSet/demo-controller: spec.replicas differs",
        ]
    );
    assert_eq!(plan.roll, None);
    // The objects are there, and the new ones not in the quorum yet.
    let one = observed.quorum.clone();
    observed = settled(&with(3));
    observed.quorum = one;
    let plan = plan_of(&with(3), &observed);
    assert_eq!((plan.actions.len(), plan.progressing.len()), (0, 0));
}

#[test]
fn fewer_controllers_leave_the_quorum_one_by_one_and_then_the_set_shrinks() {
    let mut observed = settled(&with(5));
    for (node_id, to_go) in [(1004, 2), (1003, 1)] {
        let plan = plan_of(&with(3), &observed);
        assert_eq!(removals(&plan), [node_id]);
        assert_eq!(plan.actions.len(), 1);
        assert_eq!(
            waits(&plan),
            format!(
                "the controllers become 3: demo-controller-{} leaves the quorum, {to_go} to go",
                node_id - 1000
            )
        );
        leaves(&mut observed, node_id);
        // It runs on, and is of no use to anybody.
        let place = (Role::Controller, node_id - 1000);
        observed.pods.get_mut(&place).expect("settled").ready = false;
    }
    let plan = plan_of(&with(3), &observed);
    assert_eq!(removals(&plan), [0_i32; 0]);
    assert_eq!(
        applied(&plan),
        [
            "ConfigMap/demo-controller: data.server.properties differs",
            "ConfigMap/demo-broker: data.server.properties differs",
            "StatefulSet/demo-controller: spec.replicas differs",
        ]
    );
    let voters = view_mut(&mut observed).voters.clone();
    let mut observed = settled(&with(3));
    view_mut(&mut observed).voters = voters;
    let plan = plan_of(&with(3), &observed);
    assert_eq!(plan, plan_of(&with(3), &settled(&with(3))));
}

#[test]
fn one_that_has_not_joined_yet_is_removed_all_the_same() {
    let mut observed = settled(&with(3));
    view_mut(&mut observed).voters.voters = [1000].into();
    view_mut(&mut observed).voters.learners = [1001].into();
    for node_id in [1002, 1001] {
        let plan = plan_of(&with(1), &observed);
        assert_eq!((removals(&plan), applied(&plan).len()), (vec![node_id], 0));
        leaves(&mut observed, node_id);
    }
    assert_eq!(applied(&plan_of(&with(1), &observed)).len(), 3);
}

#[test]
fn nobody_leaves_while_one_that_stays_is_away_or_may_stop() {
    let waits_for = |change: &dyn Fn(&mut Observed), why: &str| {
        let mut observed = settled(&with(5));
        change(&mut observed);
        let plan = plan_of(&with(3), &observed);
        assert_eq!(plan.actions, []);
        assert_eq!(
            waits(&plan),
            format!("to go from 5 controllers to 3 waits: {why}")
        );
    };
    waits_for(
        &|observed| {
            let place = (Role::Controller, 1);
            observed.pods.insert(place, pod("new", false));
        },
        "demo-controller-1 is not ready",
    );
    waits_for(
        &|observed| {
            view_mut(observed).voters.voters.remove(&1002);
        },
        "demo-controller-2 does not vote",
    );
    waits_for(
        &|observed| {
            let grant = GrantView::default();
            view_mut(observed).grants.insert(1004, grant);
        },
        "demo-controller-4 may be restarted",
    );
    // One that is to leave anyway need not be well.
    let mut observed = settled(&with(5));
    observed.pods.remove(&(Role::Controller, 4));
    view_mut(&mut observed)
        .grants
        .insert(1, GrantView::default());
    assert_eq!(removals(&plan_of(&with(3), &observed)), [1004]);
}

#[test]
fn to_raise_the_number_again_lets_them_in_again() {
    let mut observed = settled(&with(5));
    leaves(&mut observed, 1004);
    let plan = plan_of(&with(5), &observed);
    assert_eq!((additions(&plan), plan.actions.len()), (vec![1004], 1));
    assert_eq!(
        waits(&plan),
        "the controllers become 5: demo-controller-4 does not vote yet"
    );
    // Much later, with volumes of then.
    let mut observed = settled(&with(3));
    view_mut(&mut observed).voters.removed = [1003, 1004].into();
    let plan = plan_of(&with(5), &observed);
    assert_eq!(additions(&plan), [1003, 1004]);
    assert_eq!(applied(&plan).len(), 3);
}

#[test]
fn what_the_quorum_does_not_tell_is_not_guessed() {
    let mut observed = settled(&with(5));
    let view = view_mut(&mut observed).clone();
    for quorum in [
        QuorumState::Unknown,
        QuorumState::Lost("gone".into()),
        QuorumState::Reconnecting(Box::new(view.clone())),
        // Of controllers that do not say.
        QuorumState::Followed(Box::new(crate::cluster::observed::QuorumView {
            voters: Default::default(),
            ..view
        })),
    ] {
        observed.quorum = quorum;
        let plan = plan_of(&with(3), &observed);
        assert_eq!(plan.actions, []);
        assert!(waits(&plan).contains("waits for the metadata quorum"));
        // More of them do no harm.
        let mut fewer = settled(&with(1));
        fewer.quorum = observed.quorum.clone();
        assert_eq!(applied(&plan_of(&with(3), &fewer)).len(), 3);
    }
}

/// Founders must agree on who they are.
#[test]
fn nothing_changes_before_there_has_been_a_quorum() {
    let mut observed = settled(&with(3));
    observed.quorum = QuorumState::Unknown;
    for wanted in [1, 5] {
        let plan = plan(&with(wanted), &observed, &ClusterStatus::default());
        assert_eq!(plan.actions, []);
        assert_eq!(
            waits(&plan),
            format!(
                "the controllers become {wanted} when the 3 that there are have formed a quorum"
            )
        );
    }
    let plan = plan(&with(5), &Observed::default(), &ClusterStatus::default());
    assert!(
        format!("{plan:?}").contains("1004@"),
        "a new Cluster has them all"
    );
}

/// The volumes know of a quorum of as many, which no single one of them makes up.
#[test]
fn made_anew_over_volumes_it_begins_with_as_many_controllers_as_there_were() {
    let begins_with = |wanted: i32, controller_volumes: i32| {
        let observed = Observed {
            controller_volumes,
            ..Observed::default()
        };
        let plan = plan(&with(wanted), &observed, &ClusterStatus::default());
        let named = |id: &i32| format!("{plan:?}").contains(&format!("{id}@"));
        ((1000..1009).filter(named).count(), waits(&plan))
    };
    let why = "the controllers become 1 when the 3 that there are have formed a quorum";
    assert_eq!(begins_with(1, 3), (3, why.to_owned()));
    assert_eq!(begins_with(3, 1).0, 1);
    // One volume of three or five is gone.
    assert_eq!((begins_with(1, 2).0, begins_with(1, 4).0), (3, 5));
    for (wanted, volumes, controllers) in [(1, 0, 1), (5, 0, 5), (3, 3, 3), (5, 5, 5)] {
        let begins = begins_with(wanted, volumes);
        assert_eq!(begins, (controllers, String::new()));
    }
    // They are there: one after the other leaves.
    let mut observed = settled(&with(3));
    observed.controller_volumes = 3;
    assert_eq!(removals(&plan_of(&with(1), &observed)), [1002]);
}

#[test]
fn a_set_that_a_hand_has_scaled_is_put_right_and_no_voter_goes_with_it() {
    let set = key(Owned::StatefulSet, "demo-controller");
    for (wanted, by_hand) in [(3, 1), (3, 5), (3, 4), (3, 0), (1, 0)] {
        let mut observed = settled(&with(wanted));
        observed.live.get_mut(&set).expect("settled")["spec"]["replicas"] = json!(by_hand);
        let state = SetState {
            replicas: by_hand,
            update_revision: Some("new".into()),
            ..SetState::default()
        };
        observed.sets.insert(Role::Controller, state);
        let plan = plan_of(&with(wanted), &observed);
        let applied = applied(&plan);
        assert_eq!(applied.len(), 1, "{applied:?}");
        assert!(applied[0].starts_with("StatefulSet/demo-controller: "));
        assert!(format!("{plan:?}").contains(&format!(r#""replicas": Number({wanted})"#)));
        assert_eq!(removals(&plan), [0_i32; 0]);
    }
    // In the middle of going from 5 to 3: those that vote still are brought back.
    let mut observed = settled(&with(5));
    observed.live.get_mut(&set).expect("settled")["spec"]["replicas"] = json!(3);
    let plan = plan_of(&with(3), &observed);
    assert_eq!(
        applied(&plan),
        ["StatefulSet/demo-controller: spec.replicas differs"]
    );
    assert!(format!("{plan:?}").contains(r#""replicas": Number(5)"#));
}

/// No pod that votes goes because of it.
#[test]
fn a_config_map_that_a_hand_has_edited_takes_nobody_away() {
    let map = key(Owned::ConfigMap, "demo-controller");
    let view = view_mut(&mut settled(&with(3))).clone();
    for (quorum, removed) in [
        (QuorumState::Followed(Box::new(view.clone())), vec![1002]),
        (QuorumState::Reconnecting(Box::new(view)), vec![]),
        (QuorumState::Lost("gone".into()), vec![]),
        (QuorumState::Unknown, vec![]),
    ] {
        let mut observed = settled(&with(3));
        let one = settled(&with(1)).live[&map].clone();
        observed.live.insert(map.clone(), one);
        observed.quorum = quorum;
        let plan = plan_of(&with(1), &observed);
        assert_eq!(
            applied(&plan),
            ["ConfigMap/demo-controller: data.server.properties differs"]
        );
        assert!(format!("{plan:?}").contains("1002@"));
        assert_eq!(removals(&plan), removed);
    }
    // Where they are to be three, it is put right, and that is all.
    let mut observed = settled(&with(3));
    let one = settled(&with(1)).live[&map].clone();
    observed.live.insert(map, one);
    let plan = plan_of(&with(3), &observed);
    assert_eq!((plan.actions.len(), removals(&plan).len()), (1, 0));
}

/// They hold up nobody else's restart, and get no grant of their own.
#[test]
fn controllers_that_were_removed_are_neither_restarted_nor_waited_for() {
    let cluster = with(3);
    let mut observed = settled(&with(5));
    leaves(&mut observed, 1004);
    let left = observed.pods.get_mut(&(Role::Controller, 4));
    let left = left.expect("settled");
    (left.ready, left.revision) = (false, Some("old".into()));
    assert_eq!(plan_of(&cluster, &observed).roll, None);
    let due = observed.pods.get_mut(&(Role::Controller, 1));
    let due = due.expect("settled");
    (due.ready, due.restart_asked) = (false, true);
    let input = plan_of(&cluster, &observed).roll.expect("one is due");
    let roll = roll(&input);
    assert_eq!(roll.left, ["demo-controller-1"]);
    assert!(matches!(
        roll.next,
        Next::Do(Step::Restart { node_id: 1001, .. })
    ));
}

/// The others have not joined, so nobody else has the metadata.
#[test]
fn the_only_voter_keeps_its_volume_while_others_are_about_to_join() {
    let mut observed = settled(&with(3));
    let asked = observed.pods.get_mut(&(Role::Controller, 0));
    asked.expect("settled").replace_asked = Some(String::new());
    let next = |observed: &Observed| {
        let input = plan_of(&with(3), observed).roll.expect("one is due");
        roll(&input).next
    };
    assert!(matches!(next(&observed), Next::Do(_)));
    view_mut(&mut observed).voters.voters = [1000].into();
    let Next::Wait(waiting) = next(&observed) else {
        panic!("the metadata would be lost");
    };
    assert!(format!("{waiting:?}").contains("it keeps its volume"));
}

/// Else it would come back with one controller of three, and without a quorum.
#[test]
fn a_suspended_cluster_remembers_how_many_there_are() {
    let mut observed = settled(&with(3));
    observed.quorum = QuorumState::Lost("suspended".into());
    let cluster = ValidatedCluster {
        suspended: true,
        ..with(1)
    };
    let named = |plan: &Plan| {
        applied(plan)
            .into_iter()
            .filter(|object| object.starts_with("ConfigMap"))
            .count()
    };
    assert_eq!(named(&plan_of(&cluster, &observed)), 0);
    let more = ValidatedCluster {
        suspended: true,
        ..with(5)
    };
    assert_eq!(named(&plan_of(&more, &observed)), 2);
}

/// As when the operator died between the two: the ConfigMap says who may have started.
#[test]
fn a_config_map_that_names_more_than_run_counts() {
    let mut observed = settled(&with(5));
    observed.sets.clear();
    observed
        .live
        .retain(|key, _| key.kind != Owned::StatefulSet);
    view_mut(&mut observed).voters.voters = (1000..1003).collect();
    assert_eq!(removals(&plan_of(&with(3), &observed)), [1004]);
    // It is gone, too: the set says it.
    let mut observed = settled(&with(5));
    observed
        .live
        .remove(&key(Owned::ConfigMap, "demo-controller"));
    assert_eq!(removals(&plan_of(&with(3), &observed)), [1004]);
}

/// A voter whose pod is no more.
#[test]
fn a_voter_above_those_that_are_wanted_is_removed() {
    let mut observed = settled(&with(3));
    view_mut(&mut observed).voters.voters.insert(1003);
    let plan = plan_of(&with(3), &observed);
    assert_eq!((removals(&plan), plan.actions.len()), (vec![1003], 1));
}
