//! Tests of a Topic that is being deleted.

use super::*;

fn plan_of(policy: DeletionPolicy, observed: &Observed, status: &TopicStatus) -> Plan {
    plan_deletion("orders", policy, observed, status)
}

#[test]
fn retain_lets_go_and_leaves_the_topic() {
    let plan = plan_of(DeletionPolicy::Retain, &deleting(Some(live())), &known());
    assert_eq!(plan.actions, [Action::RemoveFinalizer]);
    assert_eq!(plan.left_alone, None);
}

#[test]
fn delete_deletes_by_id_and_then_lets_go() {
    let plan = plan_of(DeletionPolicy::Delete, &deleting(Some(live())), &known());
    assert_eq!(
        plan.actions,
        [Action::Delete(vec![7; 16]), Action::RemoveFinalizer]
    );
}

#[test]
fn a_topic_that_is_not_this_objects_is_never_deleted() {
    let other = deleting(Some(TopicView {
        id: vec![8; 16],
        ..live()
    }));
    let plan = plan_of(DeletionPolicy::Delete, &other, &known());
    assert_eq!(plan.actions, [Action::RemoveFinalizer]);
    assert!(plan.left_alone.is_some());
    // One that it refused to adopt.
    let never = plan_of(
        DeletionPolicy::Delete,
        &deleting(Some(live())),
        &TopicStatus::default(),
    );
    assert_eq!(never.actions, [Action::RemoveFinalizer]);
    let rival = Observed {
        rival: Some("other".into()),
        ..deleting(Some(live()))
    };
    let named_twice = plan_of(DeletionPolicy::Delete, &rival, &known());
    assert_eq!(named_twice.actions, [Action::RemoveFinalizer]);
}

#[test]
fn the_object_is_let_go_when_the_cluster_is_gone() {
    for policy in [DeletionPolicy::Retain, DeletionPolicy::Delete] {
        for status in [known(), TopicStatus::default()] {
            let gone = Observed {
                cluster: ClusterState::Missing,
                live: None,
                ..deleting(None)
            };
            let plan = plan_of(policy, &gone, &status);
            assert_eq!(
                plan.actions,
                [Action::RemoveFinalizer],
                "{policy:?} {status:?}"
            );
        }
    }
}

#[test]
fn a_deletion_waits_for_a_quorum_that_does_not_answer() {
    let silent = Observed {
        live: None,
        ..deleting(None)
    };
    assert_eq!(
        blocked(&plan_of(DeletionPolicy::Delete, &silent, &known())),
        "WaitingForQuorum"
    );
    let retained = plan_of(DeletionPolicy::Retain, &silent, &known());
    assert_eq!(retained.actions, [Action::RemoveFinalizer]);
}

#[test]
fn a_topic_that_was_made_unknown_to_us_is_deleted() {
    let plan = plan_of(
        DeletionPolicy::Delete,
        &deleting(Some(made())),
        &TopicStatus::default(),
    );
    assert_eq!(
        plan.actions,
        [Action::Delete(made().id), Action::RemoveFinalizer]
    );
}

/// The object goes when every broker knows: the quorum is asked also when the metadata does not tell of it any more.
#[test]
fn a_topic_that_the_metadata_has_no_more_is_asked_after() {
    for status in [known(), TopicStatus::default()] {
        let plan = plan_of(DeletionPolicy::Delete, &deleting(None), &status);
        let next = topic_id(UID, status.topic_id.as_deref());
        assert_eq!(
            plan.actions,
            [Action::Delete(next), Action::RemoveFinalizer]
        );
    }
}

#[test]
fn a_paused_cluster_keeps_its_topics_and_one_that_does_not_allow_us_too() {
    let of = |cluster| Observed {
        cluster,
        ..deleting(Some(live()))
    };
    let plan = |cluster| plan_of(DeletionPolicy::Delete, &of(cluster), &known());
    assert_eq!(blocked(&plan(ClusterState::Paused)), "ClusterPaused");
    assert_eq!(blocked(&plan(ClusterState::Unseen)), "WaitingForCluster");
    let not_allowed = plan(ClusterState::NotAllowed);
    assert_eq!(not_allowed.actions, [Action::RemoveFinalizer]);
    assert!(
        not_allowed
            .left_alone
            .expect("why")
            .contains("does not allow")
    );
    let retained = plan_of(DeletionPolicy::Retain, &of(ClusterState::Paused), &known());
    assert_eq!(retained.actions, [Action::RemoveFinalizer]);
}

#[test]
fn without_our_finalizer_there_is_nothing_to_do() {
    let free = Observed {
        finalizer: false,
        ..deleting(Some(live()))
    };
    assert_eq!(
        plan_of(DeletionPolicy::Delete, &free, &known()),
        Plan::default()
    );
}
