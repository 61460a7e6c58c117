//! Volumes that are added to the brokers.

mod taken_back;
mod told;

use k8s_openapi::jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::{applied, key, plan_of, pod, settled, view_mut};
use crate::cluster::fixtures::{validated, validated_with_volumes};
use crate::cluster::observed::{Observed, PodState, QuorumState, SetState};
use crate::cluster::owned::Owned;
use crate::cluster::plan::{Action, Plan};
use crate::cluster::roll::{Next, roll};
use crate::cluster::validate::ValidatedCluster;
use crate::cluster::volumes::without_set;
use crate::conditions::Finding;
use crate::names::Role;
use crate::quorum::view::GrantView;
use crate::volume_id::VolumeId;

/// What is said then, and what happens.
type Disturbance = (&'static str, fn(&mut Observed));

const LOG_DIRS: &str = "/var/lib/foz/data,/var/lib/foz-1/data,/var/lib/foz-4/data";

fn id(id: i32) -> VolumeId {
    VolumeId::new(id).expect("an id")
}

fn manifest<'plan>(plan: &'plan Plan, kind: &str) -> Option<&'plan Value> {
    plan.actions.iter().find_map(|action| match action {
        Action::Apply { manifest, .. }
            if manifest["kind"] == kind && manifest["metadata"]["name"] == "demo-broker" =>
        {
            Some(manifest)
        }
        _ => None,
    })
}

fn log_dirs(config_map: &Value) -> String {
    let text = config_map["data"]["server.properties"].as_str();
    let mut lines = text.expect("a file").lines();
    let line = lines.find_map(|line| line.strip_prefix("log.dirs="));
    line.expect("it is set").to_owned()
}

fn templates(set: &Value) -> Vec<String> {
    let templates = set["spec"]["volumeClaimTemplates"].as_array();
    let name = |it: &Value| it["metadata"]["name"].as_str().expect("a name").to_owned();
    templates.expect("templates").iter().map(name).collect()
}

/// Of the pods' template, but for those that are no claims.
fn mounts(set: &Value) -> Vec<String> {
    let mounts = &set["spec"]["template"]["spec"]["containers"][0]["volumeMounts"];
    let name = |it: &Value| it["name"].as_str().expect("a name").to_owned();
    let names = mounts.as_array().expect("mounts").iter().map(name);
    names.filter(|it| it != "config" && it != "tmp").collect()
}

/// The set was deleted around its pods.
fn without_the_set(observed: &mut Observed) {
    observed
        .live
        .remove(&key(Owned::StatefulSet, "demo-broker"));
    let of_brokers = observed
        .pods
        .iter()
        .filter(|((of, _), _)| *of == Role::Broker);
    let left = without_set(of_brokers.map(|((_, ordinal), pod)| (*ordinal, pod)));
    match left {
        Some(set) => observed.sets.insert(Role::Broker, set),
        None => observed.sets.remove(&Role::Broker),
    };
}

fn reasons(plan: &Plan) -> Vec<&str> {
    let all = plan.degraded.iter().chain(&plan.progressing);
    all.map(|finding| finding.reason).collect()
}

#[test]
fn a_volume_is_added_to_the_set_and_then_to_the_file_and_the_pods() {
    let cluster = validated_with_volumes();
    let mut observed = settled(&validated());
    let plan = plan_of(&cluster, &observed);
    let [budget, Action::Orphan { name, uid, reason }] = plan.actions.as_slice() else {
        panic!("{:#?}", plan.actions);
    };
    assert_eq!(budget.label(), "apply");
    assert_eq!((name.as_str(), uid.as_str()), ("demo-broker", "some"));
    assert_eq!(reason, "volume 1 (20Gi) is added, volume 4 (30Gi) is added");
    assert_eq!(plan.roll, None);

    // It goes when the garbage collector has let go of the pods.
    let mut leaving = settled(&validated());
    *max_unavailable(&mut leaving) = json!(0);
    let set = leaving
        .live
        .get_mut(&key(Owned::StatefulSet, "demo-broker"));
    set.expect("settled")["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    let plan = plan_of(&cluster, &leaving);
    assert_eq!(manifest(&plan, "PodDisruptionBudget"), None, "it stays 0");

    without_the_set(&mut observed);
    let plan = plan_of(&cluster, &observed);
    let expected = [
        "ConfigMap/demo-broker: data.server.properties differs",
        "PodDisruptionBudget/demo-broker: spec.maxUnavailable differs",
        "StatefulSet/demo-broker: is missing",
    ];
    assert_eq!(applied(&plan), expected);
    assert_eq!(plan.roll, None);
    assert_eq!(
        log_dirs(manifest(&plan, "ConfigMap").expect("a file")),
        LOG_DIRS
    );
    let set = manifest(&plan, "StatefulSet").expect("a set");
    assert_eq!(templates(set), ["data", "data-1", "data-4"]);
    assert_eq!(mounts(set), ["data", "data-1", "data-4"]);
    assert_eq!(
        set["spec"]["volumeClaimTemplates"][1]["spec"]["storageClassName"],
        "fast"
    );

    // Made; now the pods, one by one.
    let mut observed = settled(&cluster);
    for ordinal in 0..3 {
        observed
            .pods
            .insert((Role::Broker, ordinal), pod("old", true));
    }
    *max_unavailable(&mut observed) = json!(0);
    let plan = plan_of(&cluster, &observed);
    assert_eq!(plan.actions, []);
    let roll = roll(plan.roll.as_ref().expect("they are to be restarted"));
    assert_eq!(
        roll.left,
        ["demo-broker-0", "demo-broker-1", "demo-broker-2"]
    );
    assert!(matches!(roll.next, Next::Do(_)), "{roll:?}");
}

/// Pods with a mount that there is no claim for could not be made.
#[test]
fn while_the_set_has_to_stay_nothing_speaks_of_the_new_volume() {
    let disturbances: [fn(&mut Observed); 10] = [
        |observed| drop(observed.pods.remove(&(Role::Broker, 2))),
        |observed| pod_mut(observed, 1).ready = false,
        |observed| pod_mut(observed, 1).running = false,
        |observed| view_mut(observed).brokers.get_mut(&1).expect("1").fenced = true,
        |observed| drop(view_mut(observed).brokers.remove(&2)),
        |observed| view_mut(observed).under_replicated = 1,
        |observed| {
            let view = view_mut(observed).clone();
            observed.quorum = QuorumState::Reconnecting(Box::new(view));
        },
        |observed| {
            // Another change rolls.
            observed.pods.insert((Role::Broker, 0), pod("old", true));
        },
        |observed| {
            let grants = &mut view_mut(observed).grants;
            grants.insert(1, GrantView::default());
        },
        |observed| {
            let set = observed.sets.get_mut(&Role::Broker).expect("a set");
            set.update_revision = None;
        },
    ];
    for (number, disturb) in disturbances.into_iter().enumerate() {
        let mut observed = settled(&validated());
        disturb(&mut observed);
        let plan = plan_of(&validated_with_volumes(), &observed);
        assert_eq!(plan.actions, [], "{number}");
        assert!(reasons(&plan).contains(&"VolumeTemplateWaits"), "{number}");
        // An edit of something else goes on as if the volume was not there.
        let mut cluster = validated_with_volumes();
        cluster.image = "foz-broker:2".into();
        let plan = plan_of(&cluster, &observed);
        let set = manifest(&plan, "StatefulSet").expect("it is changed");
        let container = &set["spec"]["template"]["spec"]["containers"][0];
        assert_eq!(container["image"], "foz-broker:2", "{number}");
        assert_eq!(
            (templates(set), mounts(set)),
            (vec!["data".into()], vec!["data".into()])
        );
        assert_eq!(manifest(&plan, "ConfigMap"), None, "{number}");
    }
}

fn orphaned(plan: &Plan) -> usize {
    let orphans = plan.actions.iter();
    orphans
        .filter(|action| matches!(action, Action::Orphan { .. }))
        .count()
}

/// What the disruption budget of the brokers has.
fn max_unavailable(observed: &mut Observed) -> &mut Value {
    let budget = key(Owned::PodDisruptionBudget, "demo-broker");
    let budget = observed.live.get_mut(&budget).expect("settled");
    &mut budget["spec"]["maxUnavailable"]
}

fn pod_mut(observed: &mut Observed, ordinal: i32) -> &mut PodState {
    let pod = observed.pods.get_mut(&(Role::Broker, ordinal));
    pod.expect("a pod")
}

/// It would hold up those behind it, and with them what mends one that does not serve; a larger volume holds up nobody.
#[test]
fn a_volume_is_added_while_all_is_well_and_grows_also_when_it_is_not() {
    let unwell: [Disturbance; 6] = [
        (
            "StorageClass fast is there (there are standard)",
            |observed| {
                observed.storage_classes.remove("fast");
            },
        ),
        ("a default StorageClass is there (there are fast)", |it| {
            it.storage_classes.remove("standard");
        }),
        ("demo-broker-1 is ready", |observed| {
            pod_mut(observed, 1).ready = false;
        }),
        ("demo-broker-1 has a lease of the quorum", |observed| {
            view_mut(observed).brokers.get_mut(&1).expect("1").fenced = true;
        }),
        ("every replica is in sync (7 partitions lack some)", |it| {
            view_mut(it).under_replicated = 7;
        }),
        ("the metadata quorum answers", |observed| {
            observed.quorum = QuorumState::Lost("gone".into());
        }),
    ];
    let mut larger = validated();
    larger.broker_volume.size.0 = "20Gi".into();
    for (words, disturb) in unwell {
        let mut observed = settled(&validated());
        disturb(&mut observed);
        let plan = plan_of(&validated_with_volumes(), &observed);
        let said = plan.progressing.iter();
        let said: Vec<&str> = said
            .filter(|it| it.reason == "VolumeTemplateWaits")
            .map(|it| it.message.as_str())
            .collect();
        let expected = format!(
            "StatefulSet demo-broker is made anew around its pods when {words}: volume 1 (20Gi) is added, volume 4 (30Gi) is added"
        );
        assert_eq!(said, [expected]);
        assert_eq!(orphaned(&plan), 0, "{words}");
        assert_eq!(orphaned(&plan_of(&larger, &observed)), 1, "{words}");
    }
}

/// What it lacks would not come before those of smaller numbers have been restarted.
#[test]
fn no_volume_is_added_while_a_broker_is_held() {
    let mut cluster = validated_with_volumes();
    cluster.hold.insert("demo-broker-1".into());
    let plan = plan_of(&cluster, &settled(&validated()));
    assert_eq!(orphaned(&plan), 0);
    let words = "when demo-broker-1 is off spec.hold: volume 1";
    assert!(plan.progressing[0].message.contains(words), "{plan:?}");
}

/// A hand deleted it, or the operator ended after it had.
#[test]
fn without_its_set_nothing_is_added_while_all_is_not_well() {
    let disturbances: [fn(&mut Observed); 9] = [
        |observed| drop(observed.pods.remove(&(Role::Broker, 1))),
        |observed| drop(observed.pods.remove(&(Role::Broker, 2))),
        |observed| pod_mut(observed, 2).deleting = true,
        |observed| pod_mut(observed, 0).ready = false,
        |observed| view_mut(observed).brokers.get_mut(&1).expect("1").fenced = true,
        |observed| view_mut(observed).under_replicated = 1,
        |observed| observed.quorum = QuorumState::Unknown,
        |observed| observed.storage_classes.clear(),
        |observed| {
            let grants = &mut view_mut(observed).grants;
            grants.insert(1, GrantView::default());
        },
    ];
    let cluster = validated_with_volumes();
    for (number, disturb) in disturbances.into_iter().enumerate() {
        let mut observed = settled(&validated());
        disturb(&mut observed);
        without_the_set(&mut observed);
        let plan = plan_of(&cluster, &observed);
        let set = manifest(&plan, "StatefulSet").expect("it is made");
        assert_eq!(templates(set), ["data"], "{number}");
        assert_eq!(mounts(set), ["data"], "{number}");
        assert_eq!(manifest(&plan, "ConfigMap"), None, "{number}");
        // Those that hold something are kept all the same.
        let mut had = settled(&cluster);
        disturb(&mut had);
        without_the_set(&mut had);
        let plan = plan_of(&cluster, &had);
        let set = manifest(&plan, "StatefulSet").expect("it is made");
        assert_eq!(templates(set).len(), 3, "{number}");
    }
}

/// Also while it has to be said why the roll does not go on.
#[test]
fn that_no_broker_may_be_evicted_is_told() {
    let mut cluster = validated_with_volumes();
    let mut observed = settled(&cluster);
    let told = |cluster: &ValidatedCluster, observed: &Observed| {
        let plan = plan_of(cluster, observed);
        let words = |findings: &[Finding]| {
            let found = findings.iter().filter(|it| it.reason == "EvictionsWait");
            found.map(|it| it.message.clone()).collect::<String>()
        };
        (words(&plan.progressing), words(&plan.degraded))
    };
    let none = || (String::new(), String::new());
    assert_eq!(told(&cluster, &observed), none());
    let message = "no broker may be evicted until demo-broker-2 has volume 1";
    observed.pods.insert((Role::Broker, 2), pod("old", true));
    assert_eq!(told(&cluster, &observed), (message.into(), String::new()));
    cluster.hold.insert("demo-broker-2".into());
    assert_eq!(told(&cluster, &observed), (String::new(), message.into()));
    cluster.hold.clear();
    cluster.paused = true;
    assert_eq!(told(&cluster, &observed), (String::new(), message.into()));
    // All have it, and the budget cannot be put right.
    let mut observed = settled(&cluster);
    assert_eq!(told(&cluster, &observed), none());
    *max_unavailable(&mut observed) = json!(0);
    let (_, said) = told(&cluster, &observed);
    assert!(said.contains("while spec.paused is true"), "{said}");
}

/// A broker that is evicted might not be made anew.
#[test]
fn no_broker_is_evicted_while_one_lacks_a_volume() {
    let budget = |plan: &Plan| {
        let manifest = manifest(plan, "PodDisruptionBudget")?;
        manifest["spec"]["maxUnavailable"].as_i64()
    };
    let cluster = validated_with_volumes();
    let mut observed = settled(&validated());
    // Nothing lacks what the set does not have yet; but the set goes.
    let plan = plan_of(&cluster, &observed);
    let labels: Vec<&str> = plan.actions.iter().map(Action::label).collect();
    assert_eq!(
        (budget(&plan), labels),
        (Some(0), vec!["apply", "orphan_pods"])
    );
    let mut larger = validated();
    larger.broker_volume.size.0 = "20Gi".into();
    assert_eq!(budget(&plan_of(&larger, &observed)), None);
    let mut waits = observed.clone();
    pod_mut(&mut waits, 1).ready = false;
    assert_eq!(budget(&plan_of(&cluster, &waits)), None);
    without_the_set(&mut observed);
    let plan = plan_of(&cluster, &observed);
    assert_eq!(budget(&plan), Some(0));
    let applied = applied(&plan);
    let place = |kind: &str| applied.iter().position(|it| it.starts_with(kind));
    assert!(
        place("PodDisruptionBudget") < place("StatefulSet"),
        "{applied:?}"
    );
    // The last one lacks it until it is gone.
    let mut observed = settled(&cluster);
    observed.pods.insert((Role::Broker, 2), pod("old", true));
    pod_mut(&mut observed, 2).deleting = true;
    assert_eq!(budget(&plan_of(&cluster, &observed)), Some(0));
    *max_unavailable(&mut observed) = json!(0);
    assert_eq!(budget(&plan_of(&cluster, &observed)), None);
    observed.pods = settled(&cluster).pods;
    assert_eq!(budget(&plan_of(&cluster, &observed)), Some(1));
}

#[test]
fn a_further_volume_grows_by_itself() {
    let mut cluster = validated_with_volumes();
    cluster.further_volumes.get_mut(&id(4)).expect("4").size.0 = "40Gi".into();
    let plan = plan_of(&cluster, &settled(&validated_with_volumes()));
    let [
        Action::Orphan { reason, .. },
        Action::ExpandVolumes { claims, size },
    ] = plan.actions.as_slice()
    else {
        panic!("{:#?}", plan.actions);
    };
    assert_eq!(reason, "new volumes 4 are to have 40Gi in place of 30Gi");
    let expected = [0, 1, 2].map(|ordinal| format!("data-4-demo-broker-{ordinal}"));
    assert_eq!(
        (claims.as_slice(), size.as_str()),
        (expected.as_slice(), "40Gi")
    );
}

/// New brokers come when the others have been restarted: Kubernetes makes none behind one that lacks a volume.
#[test]
fn added_in_one_edit_with_more_brokers() {
    let mut cluster = validated_with_volumes();
    cluster.brokers = 5;
    let mut observed = settled(&validated());
    let plan = plan_of(&cluster, &observed);
    assert!(matches!(plan.actions.last(), Some(Action::Orphan { .. })));
    // An operator that begins now does not add them before it knows that the volume can be added.
    let mut begins = observed.clone();
    begins.quorum = QuorumState::Unknown;
    assert_eq!(manifest(&plan_of(&cluster, &begins), "StatefulSet"), None);
    // That they are kept few is no scaling, though another edit is applied.
    let mut edited = cluster.clone();
    edited.image = "foz-broker:2".into();
    let plan = plan_of(&edited, &begins);
    let set = plan.actions.iter().find_map(|action| match action {
        Action::Apply {
            manifest, scaled, ..
        } if manifest["kind"] == "StatefulSet" => Some((&manifest["spec"]["replicas"], scaled)),
        _ => None,
    });
    assert_eq!(set, Some((&json!(3), &None)));
    begins.quorum = QuorumState::Lost("gone".into());
    let plan = plan_of(&cluster, &begins);
    let set = manifest(&plan, "StatefulSet").expect("they are added");
    assert_eq!(
        (templates(set).len(), &set["spec"]["replicas"]),
        (1, &json!(5))
    );
    without_the_set(&mut observed);
    let plan = plan_of(&cluster, &observed);
    let set = manifest(&plan, "StatefulSet").expect("it is made");
    assert_eq!(templates(set).len(), 3);
    assert_eq!(set["spec"]["replicas"], 5);
    // Nor does one that begins where the last one ended.
    observed.quorum = QuorumState::Unknown;
    let plan = plan_of(&cluster, &observed);
    let set = manifest(&plan, "StatefulSet").expect("it is made");
    assert_eq!(
        (templates(set).len(), &set["spec"]["replicas"]),
        (1, &json!(3))
    );

    let mut observed = settled(&cluster);
    view_mut(&mut observed).brokers.retain(|id, _| *id < 3);
    for ordinal in 0..5 {
        observed
            .pods
            .insert((Role::Broker, ordinal), pod("old", true));
    }
    for ordinal in [3, 4] {
        observed.pods.remove(&(Role::Broker, ordinal));
    }
    let plan = plan_of(&cluster, &observed);
    let waits = plan.progressing.iter();
    let waits: Vec<_> = waits
        .filter(|it| it.reason == "PodsWaitForVolumes")
        .collect();
    assert_eq!(
        waits[0].message,
        "Kubernetes makes no pod behind demo-broker-0, which has to be restarted with its new volumes first: demo-broker-3, demo-broker-4"
    );
    let roll = roll(plan.roll.as_ref().expect("a roll"));
    assert!(matches!(roll.next, Next::Do(_)), "{roll:?}");
}

#[test]
fn added_while_it_sleeps() {
    let mut cluster = validated_with_volumes();
    cluster.suspended = true;
    let mut observed = settled(&validated());
    observed.pods.clear();
    observed.quorum = QuorumState::Unknown;
    for role in Role::ALL {
        let set = key(Owned::StatefulSet, &cluster.name.of_role(role));
        observed.live.get_mut(&set).expect("a set")["spec"]["replicas"] = json!(0);
        let set = observed.sets.get_mut(&role).expect("a set");
        *set = SetState {
            replicas: 0,
            ..set.clone()
        };
    }
    let plan = plan_of(&cluster, &observed);
    let labels: Vec<&str> = plan.actions.iter().map(Action::label).collect();
    assert_eq!(labels, ["orphan_pods"]);
    without_the_set(&mut observed);
    let plan = plan_of(&cluster, &observed);
    let set = manifest(&plan, "StatefulSet").expect("it is made");
    assert_eq!(
        (templates(set).len(), &set["spec"]["replicas"]),
        (3, &json!(0))
    );
}
