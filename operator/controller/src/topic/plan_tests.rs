//! Tests of the plan; [`status`] of the status that it leads to.

use foz_crd::TopicStatus;
use foz_crd::topic::{AdoptionPolicy, DeletionPolicy};
use k8s_openapi::jiff::Timestamp;

use crate::conditions::{Finding, find};
use crate::quorum::view::{Factor, Room, TopicView};
use crate::topic::plan::{Action, ClusterState, Observed, Plan, plan, plan_deletion};
use crate::topic::status::{Outcome, status};
use crate::topic::topic_id::topic_id;
use crate::topic::validate::ValidatedTopic;

mod deletion;
mod restoring;
mod status;

const UID: &str = "3f2b8c1e-9a44-4c0d-8f6e-5b1a2c3d4e5f";

fn topic() -> ValidatedTopic {
    ValidatedTopic {
        name: "orders".into(),
        partitions: Some(4),
        replication_factor: Some(1),
        config: [("retention.ms".to_owned(), "1000".to_owned())].into(),
        deletion_policy: DeletionPolicy::Retain,
        adoption_policy: AdoptionPolicy::Fail,
        restore_deleted: None,
    }
}

fn live() -> TopicView {
    TopicView {
        only_copies: Vec::new(),
        id: vec![7; 16],
        partitions: 4,
        replication_factor: 1,
        factors: vec![factor(1, 1, 4)],
        offline: 0,
        under_replicated: 0,
        config: topic().config,
        internal: false,
        replicas_max: 1,
        on_brokers: vec![(0, 4)],
        offline_replicas: Vec::new(),
        moving: 0,
    }
}

fn factor(now: i32, target: i32, partitions: i32) -> Factor {
    Factor {
        now,
        target,
        moving: now != target,
        partitions,
    }
}

/// As this object makes it.
fn made() -> TopicView {
    TopicView {
        id: topic_id(UID, None),
        ..live()
    }
}

fn observed(live: Option<TopicView>) -> Observed {
    Observed {
        uid: UID.into(),
        namespace: "kafka".into(),
        finalizer: true,
        cluster: ClusterState::Present,
        live: Some(live),
        room: room(1, 1),
        ..Observed::default()
    }
}

/// So many brokers get replicas, and so many of them are alive.
fn room(brokers: usize, alive: usize) -> Room {
    Room { brokers, alive }
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
    let deleting = ValidatedTopic {
        deletion_policy: DeletionPolicy::Delete,
        ..topic()
    };
    let plan = plan_of(&deleting, &new, &TopicStatus::default());
    assert_eq!(plan.actions, [Action::AddFinalizer, create(false, 1)]);
    // What is left behind anyway needs none.
    let plan = plan_of(&topic(), &new, &TopicStatus::default());
    assert_eq!(plan.actions, [create(false, 1)]);
    let kept = Observed {
        finalizer: false,
        ..observed(Some(live()))
    };
    assert_eq!(plan_of(&topic(), &kept, &known()), Plan::default());
    let plan = plan_of(&deleting, &kept, &known());
    assert_eq!(plan.actions, [Action::AddFinalizer]);
}

#[test]
fn a_topic_that_somebody_deleted_is_made_again() {
    let plan = plan_of(&topic(), &observed(None), &known());
    assert_eq!(plan.actions, [create(true, 1)]);
}

/// The answer to the creation was lost, or the operator died before it wrote the id down.
#[test]
fn a_topic_that_this_object_made_is_known_by_its_id() {
    let plan = plan_of(&topic(), &observed(Some(made())), &TopicStatus::default());
    let claim = Action::Claim {
        id: made().id_text(),
        adopted: false,
    };
    // Its settings came with the creation.
    assert_eq!(plan.actions, [claim]);
    // And the next one, after somebody deleted the first.
    let next = TopicView {
        id: topic_id(UID, Some(&live().id_text())),
        ..live()
    };
    let plan = plan_of(&topic(), &observed(Some(next)), &known());
    assert!(matches!(
        plan.actions[..],
        [Action::Claim { adopted: false, .. }]
    ));
    let other = Observed {
        uid: UID.replace('3', "4"),
        ..observed(Some(made()))
    };
    let refused = plan_of(&topic(), &other, &TopicStatus::default());
    assert_eq!(blocked(&refused), "TopicExists");
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
            room: room(3, 3),
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
    let with = |brokers, alive, brokers_wanted| {
        let new = Observed {
            room: room(brokers, alive),
            brokers_wanted,
            ..observed(None)
        };
        plan_of(&wanted, &new, &TopicStatus::default())
    };
    let waits = with(2, 2, 3);
    assert_eq!(blocked(&waits), "WaitingForBrokers");
    assert_eq!(
        waits.blocked[0].message,
        "waits for brokers of Cluster demo: 2 have registered, and each partition is to be on 3"
    );
    assert_eq!(with(3, 3, 3).actions, [create(false, 3)]);
    assert_eq!(with(2, 2, 2).actions, [create(false, 3)]);
    assert_eq!(blocked(&with(0, 0, 2)), "WaitingForBrokers");
    // Who is away for a moment gets its replicas when it is back.
    assert_eq!(with(3, 2, 3).actions, [create(false, 3)]);
    assert_eq!(with(3, 1, 3).actions, [create(false, 3)]);
    let waits = with(3, 0, 3);
    assert_eq!(
        waits.blocked[0].message,
        "waits for brokers of Cluster demo: none is alive that could lead partitions"
    );
}

fn wants(replication_factor: i32) -> ValidatedTopic {
    ValidatedTopic {
        replication_factor: Some(replication_factor),
        ..topic()
    }
}

fn with_factors(factors: &[Factor]) -> Observed {
    Observed {
        room: room(3, 3),
        brokers_wanted: 3,
        ..observed(Some(TopicView {
            replication_factor: factors.iter().map(|it| it.now).min().unwrap_or(0),
            factors: factors.to_vec(),
            ..live()
        }))
    }
}

fn change(from: i32, to: i32) -> Action {
    Action::ChangeReplicationFactor {
        id: vec![7; 16],
        from,
        to,
    }
}

#[test]
fn another_replication_factor_is_asked_for_once() {
    let plan = plan_of(&wants(3), &with_factors(&[factor(1, 1, 4)]), &known());
    assert_eq!(plan.actions, [change(1, 3)]);
    let asked = TopicStatus {
        replication_factor_under_way: Some(3),
        ..known()
    };
    let half = with_factors(&[factor(1, 3, 3), factor(3, 3, 1)]);
    assert_eq!(plan_of(&wants(3), &half, &asked), Plan::default());
    // Edited back.
    assert_eq!(plan_of(&wants(1), &half, &asked).actions, [change(1, 1)]);
    // What somebody else is doing is not fought with, and drift is put back only where a number is wanted.
    assert_eq!(plan_of(&wants(1), &half, &known()), Plan::default());
    let drifted = with_factors(&[factor(1, 1, 3), factor(2, 2, 1)]);
    assert_eq!(
        plan_of(&wants(1), &drifted, &known()).actions,
        [change(1, 1)]
    );
    let unsaid = ValidatedTopic {
        replication_factor: None,
        ..topic()
    };
    assert_eq!(plan_of(&unsaid, &drifted, &known()), Plan::default());
}

#[test]
fn more_replicas_wait_for_brokers_that_are_to_come() {
    let few = Observed {
        room: room(2, 2),
        ..with_factors(&[factor(1, 1, 4)])
    };
    let plan = plan_of(&wants(3), &few, &known());
    assert_eq!((plan.actions, plan.blocked), (vec![], vec![]));
    assert_eq!(plan.waits[0].reason, "WaitingForBrokers");
    let away = Observed {
        room: room(3, 1),
        ..with_factors(&[factor(1, 1, 4)])
    };
    assert_eq!(plan_of(&wants(3), &away, &known()).actions, [change(1, 3)]);
    // There will never be so many: the quorum says so.
    assert_eq!(plan_of(&wants(4), &few, &known()).actions, [change(1, 4)]);
    // Fewer need nobody.
    let many = Observed {
        room: room(1, 1),
        ..with_factors(&[factor(3, 3, 4)])
    };
    assert_eq!(plan_of(&wants(2), &many, &known()).actions, [change(3, 2)]);
}

#[test]
fn partitions_come_after_replicas_and_a_lower_minimum_before_fewer() {
    let wanted = |replication_factor| ValidatedTopic {
        partitions: Some(8),
        config: [("min.insync.replicas".to_owned(), "2".to_owned())].into(),
        ..wants(replication_factor)
    };
    let kinds = |from, to| -> Vec<&'static str> {
        let plan = plan_of(
            &wanted(to),
            &with_factors(&[factor(from, from, 4)]),
            &known(),
        );
        plan.actions.iter().map(Action::label).collect()
    };
    let (keys, settings) = ("record_managed_keys", "alter_configs");
    let (replicas, partitions) = ("change_replication_factor", "add_partitions");
    assert_eq!(kinds(1, 3), [replicas, partitions, keys, settings]);
    assert_eq!(kinds(3, 2), [keys, settings, replicas, partitions]);
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
    let unseen = Observed {
        cluster: ClusterState::Unseen,
        ..observed(None)
    };
    assert_eq!(
        blocked(&plan_of(&topic(), &unseen, &known())),
        "WaitingForCluster"
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

#[test]
fn a_cluster_of_another_namespace_has_to_allow_it() {
    let told = |cluster, status: &TopicStatus| {
        let observed = Observed {
            cluster,
            finalizer: false,
            ..observed(Some(live()))
        };
        let plan = plan(&topic(), "infra/demo", &observed, status);
        (blocked(&plan), plan.blocked[0].message.clone())
    };
    let (reason, message) = told(ClusterState::NotAllowed, &known());
    assert_eq!(reason, "NamespaceNotAllowed");
    assert!(
        message.contains("infra/demo") && message.contains("has to name kafka"),
        "{message}"
    );
    // Strangers are not told whether there is such a Cluster.
    let stranger = TopicStatus::default();
    assert_eq!(
        told(ClusterState::Missing, &stranger),
        told(ClusterState::NotAllowed, &stranger)
    );
    assert_eq!(told(ClusterState::Missing, &known()).0, "ClusterNotFound");
}
