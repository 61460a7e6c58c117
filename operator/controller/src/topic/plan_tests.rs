//! Tests of the plan and of the status that it leads to.

use foz_crd::TopicStatus;
use foz_crd::topic::{AdoptionPolicy, DeletionPolicy};
use k8s_openapi::jiff::Timestamp;

use crate::conditions::{Finding, find};
use crate::quorum::view::TopicView;
use crate::topic::plan::{Action, ClusterState, Observed, Plan, plan, plan_deletion};
use crate::topic::status::{Outcome, status};
use crate::topic::validate::ValidatedTopic;

fn topic() -> ValidatedTopic {
    ValidatedTopic {
        name: "orders".into(),
        partitions: Some(4),
        replication_factor: Some(1),
        config: [("retention.ms".to_owned(), "1000".to_owned())].into(),
        deletion_policy: DeletionPolicy::Retain,
        adoption_policy: AdoptionPolicy::Fail,
    }
}

fn live() -> TopicView {
    TopicView {
        only_copies: Vec::new(),
        id: vec![7; 16],
        partitions: 4,
        replication_factor: 1,
        offline: 0,
        under_replicated: 0,
        config: topic().config,
        internal: false,
        replicas_max: 1,
        on_brokers: vec![(0, 4)],
        moving: 0,
    }
}

fn observed(live: Option<TopicView>) -> Observed {
    Observed {
        finalizer: true,
        cluster: ClusterState::Present,
        live: Some(live),
        brokers_alive: 1,
        ..Observed::default()
    }
}

fn deleting(live: Option<TopicView>) -> Observed {
    Observed {
        deleting: true,
        ..observed(live)
    }
}

/// Of a topic that this object made.
fn known() -> TopicStatus {
    TopicStatus {
        observed_generation: Some(1),
        topic_id: Some(live().id_text()),
        managed_config_keys: vec!["retention.ms".into()],
        ..TopicStatus::default()
    }
}

fn plan_of(topic: &ValidatedTopic, observed: &Observed, status: &TopicStatus) -> Plan {
    plan(topic, "demo", observed, status)
}

fn create(again: bool, replication_factor: i32) -> Action {
    Action::Create {
        again,
        replication_factor,
    }
}

fn blocked(plan: &Plan) -> &'static str {
    assert_eq!(plan.actions, []);
    plan.blocked.first().expect("blocked").reason
}

#[test]
fn a_topic_that_is_as_it_should_be_needs_nothing() {
    assert_eq!(
        plan_of(&topic(), &observed(Some(live())), &known()),
        Plan::default()
    );
}

#[test]
fn a_topic_is_made_after_its_finalizer() {
    let new = Observed {
        finalizer: false,
        ..observed(None)
    };
    let plan = plan_of(&topic(), &new, &TopicStatus::default());
    assert_eq!(plan.actions, [Action::AddFinalizer, create(false, 1)]);
}

#[test]
fn a_topic_that_somebody_deleted_is_made_again() {
    let plan = plan_of(&topic(), &observed(None), &known());
    assert_eq!(plan.actions, [create(true, 1)]);
}

/// The answer to the creation was lost, or the operator died before it wrote the id down.
#[test]
fn a_topic_that_was_being_made_is_claimed_when_it_turns_up() {
    let creating = TopicStatus {
        creating: true,
        ..TopicStatus::default()
    };
    let plan = plan_of(&topic(), &observed(Some(live())), &creating);
    let claim = Action::Claim {
        id: live().id_text(),
        adopted: false,
    };
    // Its settings came with the creation.
    assert_eq!(plan.actions, [claim]);
    let again = plan_of(&topic(), &observed(None), &creating);
    assert_eq!(again.actions, [create(false, 1)]);
}

#[test]
fn a_topic_of_somebody_else_is_left_alone_unless_adoption_is_asked_for() {
    let foreign = observed(Some(TopicView {
        config: [].into(),
        ..live()
    }));
    let refused = plan_of(&topic(), &foreign, &TopicStatus::default());
    assert_eq!(blocked(&refused), "TopicExists");
    assert!(refused.blocked[0].message.contains("adoptionPolicy"));
    let adopting = ValidatedTopic {
        adoption_policy: AdoptionPolicy::Adopt,
        ..topic()
    };
    let plan = plan_of(&adopting, &foreign, &TopicStatus::default());
    let [
        Action::Claim { adopted: true, .. },
        Action::RecordManagedKeys(_),
        Action::AlterConfigs(_),
    ] = plan.actions.as_slice()
    else {
        panic!("{:?}", plan.actions);
    };
}

#[test]
fn internal_topics_are_not_adopted() {
    let adopting = ValidatedTopic {
        adoption_policy: AdoptionPolicy::Adopt,
        ..topic()
    };
    let internal = observed(Some(TopicView {
        internal: true,
        ..live()
    }));
    assert_eq!(
        blocked(&plan_of(&adopting, &internal, &TopicStatus::default())),
        "TopicExists"
    );
}

#[test]
fn a_topic_that_was_made_anew_under_the_name_is_not_silently_taken() {
    let other = observed(Some(TopicView {
        id: vec![8; 16],
        ..live()
    }));
    assert_eq!(
        blocked(&plan_of(&topic(), &other, &known())),
        "TopicReplaced"
    );
    let adopting = ValidatedTopic {
        adoption_policy: AdoptionPolicy::Adopt,
        ..topic()
    };
    let plan = plan_of(&adopting, &other, &known());
    assert!(
        matches!(plan.actions[0], Action::Claim { adopted: true, .. }),
        "{:?}",
        plan.actions
    );
}

#[test]
fn partitions_are_added_and_never_taken_away() {
    let few = observed(Some(TopicView {
        partitions: 2,
        ..live()
    }));
    assert_eq!(
        plan_of(&topic(), &few, &known()).actions,
        [Action::AddPartitions(4)]
    );
    let many = observed(Some(TopicView {
        partitions: 9,
        ..live()
    }));
    let plan = plan_of(&topic(), &many, &known());
    assert_eq!(plan.actions, []);
    assert_eq!(plan.refused[0].reason, "PartitionsDecrease");
    assert!(plan.refused[0].message.ends_with("set it to 9"));
    let unsaid = ValidatedTopic {
        partitions: None,
        ..topic()
    };
    assert_eq!(plan_of(&unsaid, &many, &known()), Plan::default());
}

#[test]
fn a_topic_is_on_as_many_brokers_as_it_says_or_else_as_the_cluster_says() {
    let made = |own: Option<i32>, default: Option<i32>| {
        let topic = ValidatedTopic {
            replication_factor: own,
            ..topic()
        };
        let new = Observed {
            brokers_alive: 3,
            brokers_wanted: 3,
            default_replication_factor: default,
            ..observed(None)
        };
        plan_of(&topic, &new, &TopicStatus::default()).actions
    };
    assert_eq!(made(Some(2), Some(3)), [create(false, 2)]);
    assert_eq!(made(None, Some(3)), [create(false, 3)]);
    assert_eq!(made(None, None), [create(false, -1)]);
}

/// Brokers that start are waited for. That there will never be enough is for the quorum to say.
#[test]
fn a_topic_waits_for_the_brokers_that_it_is_to_be_on() {
    let wanted = ValidatedTopic {
        replication_factor: Some(3),
        ..topic()
    };
    let with = |brokers_alive, brokers_wanted| {
        let new = Observed {
            brokers_alive,
            brokers_wanted,
            ..observed(None)
        };
        plan_of(&wanted, &new, &TopicStatus::default())
    };
    let waits = with(2, 3);
    assert_eq!(blocked(&waits), "WaitingForBrokers");
    assert_eq!(
        waits.blocked[0].message,
        "waits for brokers of Cluster demo: 2 are alive, and each partition is to be on 3"
    );
    assert_eq!(with(3, 3).actions, [create(false, 3)]);
    assert_eq!(with(2, 2).actions, [create(false, 3)]);
    assert_eq!(blocked(&with(0, 2)), "WaitingForBrokers");
}

#[test]
fn another_replication_factor_is_refused_with_what_to_do() {
    let wanted = ValidatedTopic {
        replication_factor: Some(3),
        ..topic()
    };
    let plan = plan_of(&wanted, &observed(Some(live())), &known());
    assert_eq!(plan.actions, []);
    assert_eq!(plan.refused[0].reason, "ReplicationFactorFixed");
    assert!(plan.refused[0].message.ends_with("set it to 1"));
}

#[test]
fn drift_of_settings_is_put_right_and_keys_of_others_stay() {
    let config = [
        ("retention.ms".to_owned(), "5".to_owned()),
        ("others".to_owned(), "1".to_owned()),
    ];
    let drifted = observed(Some(TopicView {
        config: config.into(),
        ..live()
    }));
    let plan = plan_of(&topic(), &drifted, &known());
    let [Action::AlterConfigs(diff)] = plan.actions.as_slice() else {
        panic!("{plan:?}")
    };
    assert_eq!(diff.keys(), "retention.ms");
    let without = ValidatedTopic {
        config: [].into(),
        ..topic()
    };
    let plan = plan_of(&without, &drifted, &known());
    let [Action::AlterConfigs(diff)] = plan.actions.as_slice() else {
        panic!("{plan:?}")
    };
    assert_eq!(diff.delete.iter().collect::<Vec<_>>(), ["retention.ms"]);
}

#[test]
fn the_older_object_wins_and_the_other_says_so() {
    let rival = Observed {
        rival: Some("orders-old".into()),
        ..observed(Some(live()))
    };
    let plan = plan_of(&topic(), &rival, &TopicStatus::default());
    assert_eq!(blocked(&plan), "NameConflict");
    assert!(plan.blocked[0].message.contains("orders-old"));
}

#[test]
fn without_its_cluster_a_topic_says_so() {
    let missing = Observed {
        cluster: ClusterState::Missing,
        ..observed(None)
    };
    assert_eq!(
        blocked(&plan_of(&topic(), &missing, &TopicStatus::default())),
        "ClusterNotFound"
    );
    let paused = Observed {
        cluster: ClusterState::Paused,
        ..observed(None)
    };
    assert_eq!(
        blocked(&plan_of(&topic(), &paused, &known())),
        "ClusterPaused"
    );
    let suspended = Observed {
        cluster: ClusterState::Suspended,
        ..observed(None)
    };
    assert_eq!(
        blocked(&plan_of(&topic(), &suspended, &known())),
        "ClusterSuspended"
    );
    let unknown = Observed {
        live: None,
        ..observed(None)
    };
    assert_eq!(
        blocked(&plan_of(&topic(), &unknown, &known())),
        "WaitingForQuorum"
    );
}

mod deletion {
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
            let creating = TopicStatus {
                creating: true,
                ..TopicStatus::default()
            };
            for status in [known(), creating, TopicStatus::default()] {
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
    fn a_topic_that_was_perhaps_made_is_deleted_and_one_that_is_gone_is_let_go() {
        let creating = TopicStatus {
            creating: true,
            ..TopicStatus::default()
        };
        let plan = plan_of(DeletionPolicy::Delete, &deleting(Some(live())), &creating);
        assert_eq!(
            plan.actions,
            [Action::Delete(vec![7; 16]), Action::RemoveFinalizer]
        );
        let gone = plan_of(DeletionPolicy::Delete, &deleting(None), &known());
        assert_eq!(gone.actions, [Action::RemoveFinalizer]);
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
}

fn status_of(observed: &Observed, outcome: &Outcome, previous: &TopicStatus) -> TopicStatus {
    let plan = plan_of(&topic(), observed, previous);
    let now = Timestamp::from_second(100).expect("a time");
    status(&topic(), Some(1), observed, &plan, outcome, previous, now)
}

fn condition(status: &TopicStatus, type_: &str) -> (String, String) {
    let condition = find(&status.conditions, type_).expect("the condition");
    (condition.status.clone(), condition.reason.clone())
}

#[test]
fn the_status_of_a_topic_that_serves_does_not_change_by_itself() {
    let first = status_of(&observed(Some(live())), &Outcome::default(), &known());
    assert_eq!(condition(&first, "Ready"), ("True".into(), "Ready".into()));
    assert_eq!(
        (first.partitions, first.replication_factor),
        (Some(4), Some(1))
    );
    assert_eq!(
        status_of(&observed(Some(live())), &Outcome::default(), &first),
        first
    );
    // Nor because the quorum is silent for a while.
    let silent = Observed {
        live: None,
        ..observed(None)
    };
    assert_eq!(status_of(&silent, &Outcome::default(), &first), first);
}

#[test]
fn a_topic_that_was_just_made_is_ready_with_its_id() {
    let creating = TopicStatus {
        creating: true,
        ..TopicStatus::default()
    };
    let outcome = Outcome {
        topic: Some(live()),
        topic_id: Some(live().id_text()),
        creating: Some(false),
        managed: Some(vec!["retention.ms".into()]),
        ..Outcome::default()
    };
    let found = status_of(&observed(None), &outcome, &creating);
    assert_eq!(condition(&found, "Ready").0, "True");
    assert_eq!(found.topic_id, Some(live().id_text()));
    assert!(!found.creating);
    assert_eq!(found.managed_config_keys, ["retention.ms"]);
}

#[test]
fn a_lost_answer_keeps_the_intent() {
    let outcome = Outcome {
        failed: vec![Finding::new("QuorumCallFailed", "no answer")],
        creating: Some(true),
        ..Outcome::default()
    };
    let found = status_of(&observed(None), &outcome, &TopicStatus::default());
    assert!(found.creating);
    assert_eq!(
        condition(&found, "Ready"),
        ("False".into(), "QuorumCallFailed".into())
    );
}

#[test]
fn partitions_without_a_leader_make_the_topic_not_ready() {
    let dark = observed(Some(TopicView {
        offline: 1,
        ..live()
    }));
    let found = status_of(&dark, &Outcome::default(), &known());
    assert_eq!(
        condition(&found, "Ready"),
        ("False".into(), "OfflinePartitions".into())
    );
    assert_eq!(found.offline_partitions, Some(1));
}

#[test]
fn numbers_of_a_topic_that_is_not_this_objects_are_not_shown() {
    let found = status_of(
        &observed(Some(live())),
        &Outcome::default(),
        &TopicStatus::default(),
    );
    assert_eq!(condition(&found, "Degraded").1, "TopicExists");
    assert_eq!((found.partitions, found.topic_id), (None, None));
}

#[test]
fn a_topic_is_not_made_before_there_is_a_broker() {
    let early = Observed {
        brokers_alive: 0,
        ..observed(None)
    };
    let plan = plan_of(&topic(), &early, &TopicStatus::default());
    assert_eq!(blocked(&plan), "WaitingForBrokers");
    assert_eq!(plan.actions, []);
    let gone = Observed {
        brokers_alive: 0,
        ..observed(Some(live()))
    };
    assert!(
        plan_of(&topic(), &gone, &known()).blocked.is_empty(),
        "it is there already"
    );
}
