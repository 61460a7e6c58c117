//! Tests of the status.

use foz_crd::ClusterStatus;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;

use crate::cluster::fixtures::validated;
use crate::cluster::observed::{Observed, QuorumState};
use crate::cluster::plan::plan;
use crate::cluster::plan_tests::{settled, settled_status, view_mut};
use crate::cluster::roll::{Next, Roll, Step, VolumeWait, Waiting};
use crate::cluster::status::{Outcome, invalid, look_again_after, status};
use crate::cluster::validate::{InvalidField, ValidatedCluster};
use crate::conditions::{Finding, find};
use crate::names::Role;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).expect("a time")
}

fn status_of(
    cluster: &ValidatedCluster,
    observed: &Observed,
    outcome: &Outcome,
    previous: &ClusterStatus,
) -> ClusterStatus {
    let plan = plan(cluster, observed, previous);
    status(
        cluster,
        Some(4),
        observed,
        &plan,
        outcome,
        previous,
        at(100),
    )
}

fn condition(status: &ClusterStatus, type_: &str) -> (String, String, String) {
    let condition = find(&status.conditions, type_).expect("the condition");
    (
        condition.status.clone(),
        condition.reason.clone(),
        condition.message.clone(),
    )
}

fn settled_status_of(observed: &Observed) -> ClusterStatus {
    status_of(
        &validated(),
        observed,
        &Outcome::default(),
        &settled_status(&validated()),
    )
}

#[test]
fn a_cluster_that_serves() {
    let found = settled_status_of(&settled(&validated()));
    let yaml = serde_yaml::to_string(&found).expect("YAML");
    insta::assert_snapshot!("status_of_a_cluster_that_serves", yaml);
}

#[test]
fn the_same_world_makes_the_same_status() {
    let observed = settled(&validated());
    let first = settled_status_of(&observed);
    let plan = plan(&validated(), &observed, &first);
    let again = status(
        &validated(),
        Some(4),
        &observed,
        &plan,
        &Outcome::default(),
        &first,
        at(999),
    );
    assert_eq!(first, again);
}

#[test]
fn a_pod_that_is_not_ready_makes_the_cluster_not_ready() {
    let mut observed = settled(&validated());
    observed
        .pods
        .get_mut(&(Role::Broker, 1))
        .expect("a pod")
        .ready = false;
    let found = settled_status_of(&observed);
    assert_eq!(found.ready_replicas, 2);
    let (status, reason, message) = condition(&found, "Ready");
    assert_eq!(
        (status.as_str(), reason.as_str()),
        ("False", "PodsNotReady")
    );
    assert_eq!(message, "2 of 3 brokers are ready");
    assert_eq!(condition(&found, "Progressing").0, "True");
    assert_eq!(condition(&found, "Degraded").0, "False");
}

#[test]
fn a_quorum_that_is_lost_is_degraded_and_one_that_elects_is_not() {
    let mut observed = settled(&validated());
    let QuorumState::Followed(view) = observed.quorum.clone() else {
        panic!()
    };
    observed.quorum = QuorumState::Reconnecting(view);
    assert_eq!(condition(&settled_status_of(&observed), "Ready").0, "True");
    observed.quorum = QuorumState::Lost("connection refused".into());
    let found = settled_status_of(&observed);
    assert_eq!(condition(&found, "Ready").1, "QuorumUnavailable");
    assert!(
        condition(&found, "Degraded")
            .2
            .contains("connection refused")
    );
    assert_eq!(found.cluster_id.as_deref(), Some("cluster-1"));
}

/// Another replica has taken over and has not asked the quorum yet.
#[test]
fn what_is_not_known_yet_changes_nothing() {
    let observed = settled(&validated());
    let before = settled_status_of(&observed);
    let unknown = Observed {
        quorum: QuorumState::Unknown,
        ..observed
    };
    assert_eq!(
        status_of(&validated(), &unknown, &Outcome::default(), &before),
        before
    );
}

#[test]
fn a_quorum_that_has_never_formed_is_forming() {
    let mut observed = settled(&validated());
    for quorum in [QuorumState::Unknown, QuorumState::Lost("refused".into())] {
        observed.quorum = quorum;
        let found = status_of(
            &validated(),
            &observed,
            &Outcome::default(),
            &ClusterStatus::default(),
        );
        let ready = condition(&found, "Ready");
        assert_eq!(ready.1, "QuorumForming");
        let tells = matches!(observed.quorum, QuorumState::Lost(_));
        assert_eq!(ready.2.contains("refused"), tells, "{}", ready.2);
        assert_eq!(condition(&found, "Degraded").0, "False");
    }
}

#[test]
fn partitions_without_a_leader_are_counted() {
    let mut observed = settled(&validated());
    view_mut(&mut observed).offline = 2;
    let found = settled_status_of(&observed);
    assert_eq!(found.offline_partitions, Some(2));
    let (_, reason, message) = condition(&found, "Degraded");
    assert_eq!(reason, "OfflinePartitions");
    assert!(
        message.starts_with("2 of 8 partitions have no leader"),
        "{message}"
    );
}

#[test]
fn replicas_that_a_failed_disk_took_along_are_told_with_their_broker() {
    let mut observed = settled(&validated());
    view_mut(&mut observed).offline_replicas = [(1, 37), (2, 4)].into();
    let found = status_of(
        &validated(),
        &observed,
        &Outcome::default(),
        &settled_status(&validated()),
    );
    assert_eq!(found.offline_replicas, Some(41));
    let (_, reason, message) = condition(&found, "Degraded");
    assert_eq!(reason, "ReplicasOffline");
    assert!(
        message.starts_with("demo-broker-1 cannot use 37 of its replicas, demo-broker-2 cannot use 4 of its replicas: a disk has failed"),
        "{message}"
    );
    assert!(
        message.contains("foz.dev/replace-volume=NUMBER"),
        "{message}"
    );
}

/// Told at once, and a person's business when it lasts; the pass that says so comes by itself.
#[test]
fn under_replication_is_progress_at_first_and_degraded_when_it_lasts() {
    let cluster = validated();
    let mut observed = settled(&cluster);
    let status_at = |observed: &Observed, previous: &ClusterStatus, second: i64| {
        let plan = plan(&cluster, observed, previous);
        let now = at(second);
        let outcome = Outcome::default();
        let found = status(&cluster, Some(4), observed, &plan, &outcome, previous, now);
        let again = look_again_after(&found, now).map(|after| after.as_secs());
        (found, again)
    };
    let (settled, again) = status_at(&observed, &settled_status(&cluster), 100);
    assert_eq!(
        (settled.under_replicated_since.as_ref(), again),
        (None, None)
    );

    let view = view_mut(&mut observed);
    view.under_replicated = 5;
    view.brokers.get_mut(&1).expect("a broker").fenced = true;
    let (first, again) = status_at(&observed, &settled, 110);
    assert_eq!(first.under_replicated_partitions, Some(5));
    assert_eq!(condition(&first, "Degraded").0, "False");
    assert_eq!(condition(&first, "Progressing").1, "UnderReplicated");
    assert_eq!(again, Some(30));

    view_mut(&mut observed).under_replicated = 3;
    let (still, again) = status_at(&observed, &first, 139);
    assert_eq!(condition(&still, "Degraded").0, "False");
    assert_eq!(again, Some(1));

    let (lasts, again) = status_at(&observed, &still, 140);
    let message =
        "3 of 8 partitions have fewer in-sync replicas than replicas; brokers that are down: 1";
    let degraded = ("True".into(), "UnderReplicated".into(), message.into());
    assert_eq!(condition(&lasts, "Degraded"), degraded);
    assert_eq!(condition(&lasts, "Progressing").0, "False");
    assert_eq!(condition(&lasts, "Ready").0, "True");
    assert_eq!(again, None);
    // Nothing new, nothing written.
    assert_eq!(status_at(&observed, &lasts, 999).0, lasts);

    // A quorum that elects or is asked anew does not take back what is known.
    let QuorumState::Followed(view) = observed.quorum.clone() else {
        panic!()
    };
    let electing = Observed {
        quorum: QuorumState::Reconnecting(view),
        ..observed.clone()
    };
    assert_eq!(status_at(&electing, &lasts, 1000).0, lasts);
    let asking = Observed {
        quorum: QuorumState::Unknown,
        ..observed.clone()
    };
    assert_eq!(status_at(&asking, &lasts, 1000).0, lasts);

    view_mut(&mut observed).under_replicated = 0;
    let (back, again) = status_at(&observed, &lasts, 1001);
    assert_eq!(condition(&back, "Degraded").0, "False");
    assert_eq!((back.under_replicated_since, again), (None, None));
}

#[test]
fn a_clock_that_was_set_back_does_not_stretch_the_wait() {
    let cluster = validated();
    let mut observed = settled(&cluster);
    view_mut(&mut observed).under_replicated = 1;
    let previous = ClusterStatus {
        under_replicated_since: Some(Time(at(3700))),
        ..settled_status(&cluster)
    };
    let found = status_of(&cluster, &observed, &Outcome::default(), &previous);
    let again = look_again_after(&found, at(100)).map(|after| after.as_secs());
    assert_eq!(again, Some(30));
    assert_eq!(found.under_replicated_since, Some(Time(at(100))));
}

#[test]
fn a_refused_setting_is_degraded_and_the_cluster_stays_ready() {
    let message =
        "spec.config holds what the brokers refuse: retention.mss: did you mean retention.ms?";
    let outcome = Outcome {
        degraded: vec![Finding::new("ConfigInvalid", message)],
        ..Outcome::default()
    };
    let previous = settled_status(&validated());
    let found = status_of(&validated(), &settled(&validated()), &outcome, &previous);
    assert_eq!(condition(&found, "Ready").0, "True");
    assert_eq!(
        condition(&found, "Degraded"),
        ("True".into(), "ConfigInvalid".into(), message.into())
    );
}

#[test]
fn a_setting_that_needs_a_restart_waits_for_every_process_of_before() {
    let mut observed = settled(&validated());
    let outcome = Outcome {
        needs_restart: ["group.max.size".to_owned()].into(),
        ..Outcome::default()
    };
    let first = status_of(
        &validated(),
        &observed,
        &outcome,
        &settled_status(&validated()),
    );
    assert_eq!(first.config_pending_restart[0].incarnations.len(), 3);
    assert!(
        condition(&first, "Progressing")
            .2
            .contains("group.max.size")
    );
    for id in 0..3 {
        let waiting = status_of(&validated(), &observed, &Outcome::default(), &first);
        assert_eq!(
            waiting.config_pending_restart.len(),
            1,
            "before broker {id} restarts"
        );
        view_mut(&mut observed)
            .brokers
            .get_mut(&id)
            .expect("a broker")
            .incarnation = "new".into();
    }
    let done = status_of(&validated(), &observed, &Outcome::default(), &first);
    assert!(done.config_pending_restart.is_empty());
}

/// `kubectl describe` explains a restart that is denied, and a roll that has stopped.
#[test]
fn a_roll_is_told_in_the_conditions() {
    let found = |next: Next| {
        let left = vec!["demo-broker-0".to_owned(), "demo-broker-2".to_owned()];
        let outcome = Outcome {
            roll: Some(Roll {
                left,
                next,
                stuck: None,
            }),
            ..Outcome::default()
        };
        let previous = settled_status(&validated());
        let found = status_of(&validated(), &settled(&validated()), &outcome, &previous);
        let (_, reason, message) = condition(&found, "Progressing");
        (reason, message, condition(&found, "Degraded"))
    };
    let left = "to be restarted: demo-broker-0, demo-broker-2";
    let restart = Step::Restart {
        node_id: 0,
        incarnation: "i0".into(),
        pod: "demo-broker-0".into(),
        uid: "u".into(),
        reason: "image foz:1 to foz:2".into(),
        insist: false,
        volumes: Vec::new(),
    };
    let (reason, message, degraded) = found(Next::Do(restart));
    let said = format!("demo-broker-0 restarts: image foz:1 to foz:2; {left}");
    assert_eq!((reason.as_str(), message), ("Rolling", said));
    assert_eq!(degraded.0, "False");

    let denied = (
        "demo-broker-0".to_owned(),
        "orders-3 would have 1 of 2".to_owned(),
    );
    let (reason, message, degraded) = found(Next::Wait(Waiting::Denied(vec![denied])));
    let said = format!("demo-broker-0: orders-3 would have 1 of 2; {left}");
    assert_eq!((reason.as_str(), message), ("RestartDenied", said));
    assert_eq!(degraded.0, "False");

    let stopped = Waiting::Stopped {
        pod: "demo-broker-1".into(),
        trouble: "ImagePullBackOff: no such image".into(),
    };
    let (reason, message, degraded) = found(Next::Wait(stopped));
    assert_eq!((reason.as_str(), message.as_str()), ("Rolling", left));
    assert_eq!(
        (degraded.0.as_str(), degraded.1.as_str()),
        ("True", "RollStopped")
    );
    assert!(degraded.2.contains("ImagePullBackOff"), "{degraded:?}");

    let held = Waiting::Held(vec!["demo-broker-0".into()]);
    let (reason, message, _) = found(Next::Wait(held));
    let said =
        "to be restarted, and held: demo-broker-0; to be restarted after that: demo-broker-2";
    assert_eq!((reason.as_str(), message.as_str()), ("RestartHeld", said));
    let all = ["demo-broker-0", "demo-broker-2"].map(str::to_owned);
    let (_, message, _) = found(Next::Wait(Waiting::Held(all.into())));
    assert_eq!(
        message,
        "to be restarted, and held: demo-broker-0, demo-broker-2"
    );
    // Of a claim that is there, something else is told.
    let volume = |wait: VolumeWait| {
        let (reason, message, degraded) = found(Next::Wait(Waiting::Volume {
            pod: "demo-broker-0".into(),
            claim: "data-1-demo-broker-0".into(),
            wait,
        }));
        (reason, message, degraded.1, degraded.2)
    };
    let said =
        "demo-broker-0 is not restarted, and none behind it, for its claim data-1-demo-broker-0";
    let (reason, message, degraded, _) = volume(VolumeWait::Unclaimed(None));
    assert_eq!(
        (reason.as_str(), message, degraded.as_str()),
        (
            "RollWaitsForVolume",
            format!("{said} is not made yet; the Events of its StatefulSet may say why; {left}"),
            "AsExpected"
        )
    );
    let (reason, _, degraded, message) = volume(VolumeWait::Unclaimed(Some("no quota".into())));
    assert_eq!(
        (reason.as_str(), degraded.as_str(), message),
        (
            "Rolling",
            "RollWaitsForVolume",
            format!("{said} cannot be made: no quota")
        )
    );
    assert_eq!(
        volume(VolumeWait::Pending("no class".into())).2,
        "AsExpected"
    );
}

#[test]
fn keys_are_ours_until_they_are_deleted() {
    let mut cluster = validated();
    cluster.config.insert("log.retention.ms".into(), "5".into());
    let observed = settled(&cluster);
    let previous = settled_status(&cluster);
    cluster.config.remove("log.retention.ms");
    let defaults = ["default.replication.factor", "min.insync.replicas"];
    let with = [&defaults[..1], &["log.retention.ms"], &defaults[1..]].concat();
    let tried = status_of(&cluster, &observed, &Outcome::default(), &previous);
    assert_eq!(tried.managed_config_keys, with);
    let deleted = ["log.retention.ms".to_owned()].into();
    let outcome = Outcome {
        deleted,
        ..Outcome::default()
    };
    let done = status_of(&cluster, &observed, &outcome, &previous);
    assert_eq!(done.managed_config_keys, defaults);
}

#[test]
fn controllers_with_another_id_are_another_cluster() {
    let mut observed = settled(&validated());
    view_mut(&mut observed).cluster_id = "cluster-2".into();
    let found = settled_status_of(&observed);
    assert_eq!(found.cluster_id.as_deref(), Some("cluster-1"));
    let (_, reason, message) = condition(&found, "Degraded");
    assert_eq!(reason, "ClusterIdChanged");
    assert!(
        message.contains("cluster-1") && message.contains("cluster-2"),
        "{message}"
    );
}

#[test]
fn brokers_of_several_versions_are_all_told() {
    let mut observed = settled(&validated());
    view_mut(&mut observed)
        .brokers
        .get_mut(&2)
        .expect("a broker")
        .version = "0.2.0".into();
    assert_eq!(
        settled_status_of(&observed).version.as_deref(),
        Some("0.1.0, 0.2.0")
    );
}

#[test]
fn a_wrong_spec_is_said_and_what_runs_is_left() {
    let previous = settled_status_of(&settled(&validated()));
    let wrong = InvalidField {
        field: "spec.replicas".into(),
        value: "0".into(),
        right: "right is 1 to 1000".into(),
    };
    let found = invalid(&[wrong], Some(5), &previous, at(200));
    assert_eq!(condition(&found, "Ready").1, "InvalidSpec");
    assert_eq!(
        condition(&found, "Degraded").2,
        "spec.replicas is 0; right is 1 to 1000"
    );
    assert_eq!(
        (found.ready_replicas, found.observed_generation),
        (3, Some(5))
    );
}

#[test]
fn a_suspended_cluster_says_so_and_nothing_is_wrong_with_it() {
    let cluster = ValidatedCluster {
        suspended: true,
        ..validated()
    };
    let mut observed = settled(&validated());
    view_mut(&mut observed).offline = 4;
    view_mut(&mut observed).under_replicated = 8;
    let previous = settled_status(&validated());
    let stopping = status_of(&cluster, &observed, &Outcome::default(), &previous);
    assert_eq!(condition(&stopping, "Ready").1, "Suspended");
    let (_, reason, message) = condition(&stopping, "Progressing");
    assert_eq!(reason, "Suspending");
    assert!(message.contains("demo-broker-2"), "{message}");
    assert_eq!(condition(&stopping, "Degraded").0, "False");
    assert_eq!(stopping.under_replicated_since, None);

    observed.pods.clear();
    observed.sets.clear();
    // Also to an operator that has just taken over.
    for quorum in [QuorumState::Unknown, QuorumState::Lost("gone".into())] {
        observed.quorum = quorum;
        let stopped = status_of(&cluster, &observed, &Outcome::default(), &stopping);
        assert_eq!(condition(&stopped, "Ready").1, "Suspended");
        assert_eq!(condition(&stopped, "Progressing").0, "False");
        assert_eq!(condition(&stopped, "Degraded").0, "False");
        assert_eq!(stopped.active_controller, None);
        assert_eq!(stopped.cluster_id.as_deref(), Some("cluster-1"));
        assert_eq!(stopped.managed_config_keys, previous.managed_config_keys);
        assert_eq!((stopped.replicas, stopped.ready_replicas), (0, 0));
        assert_eq!(stopped.topics, stopping.topics);
    }
    // Resumed, it is said at once that it is not suspended any more.
    observed.quorum = QuorumState::Unknown;
    let resumed = status_of(&validated(), &observed, &Outcome::default(), &stopping);
    assert_eq!(condition(&resumed, "Ready").1, "PodsNotReady");
    use crate::cluster::suspend::notices;
    let reason = |before: &ClusterStatus, now: &ClusterStatus| {
        notices(&before.conditions, &now.conditions).map(|notice| notice.reason)
    };
    assert_eq!(reason(&previous, &stopping).as_deref(), Some("Suspended"));
    assert_eq!(reason(&stopping, &stopping), None);
    assert_eq!(reason(&stopping, &resumed).as_deref(), Some("Resumed"));
}
