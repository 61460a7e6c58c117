//! Volumes that are added to the brokers, and those that a Cluster does not name any more.

use serde_json::{Value, json};

use super::{applied, key, plan_of, pod, settled, view_mut};
use crate::cluster::fixtures::{validated, validated_with_volumes};
use crate::cluster::observed::{ClaimState, Observed, QuorumState, SetState};
use crate::cluster::owned::Owned;
use crate::cluster::plan::{Action, Plan};
use crate::cluster::roll::{Next, roll};
use crate::cluster::validate::{ValidatedCluster, VolumeSpec};
use crate::cluster::volumes::without_set;
use crate::names::Role;
use crate::quorum::view::GrantView;
use crate::volume_id::VolumeId;

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
    let [Action::Orphan { name, uid, reason }] = plan.actions.as_slice() else {
        panic!("{:#?}", plan.actions);
    };
    assert_eq!((name.as_str(), uid.as_str()), ("demo-broker", "some"));
    assert_eq!(reason, "volume 1 (20Gi) is added, volume 4 (30Gi) is added");
    assert_eq!(plan.roll, None);

    without_the_set(&mut observed);
    let plan = plan_of(&cluster, &observed);
    let expected = [
        "ConfigMap/demo-broker: data.server.properties differs",
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
    let disturbances: [fn(&mut Observed); 4] = [
        |observed| drop(observed.pods.remove(&(Role::Broker, 2))),
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

#[test]
fn one_that_the_cluster_does_not_name_any_more_stays() {
    let had = validated_with_volumes();
    let mut cluster = had.clone();
    cluster.further_volumes.remove(&id(1));
    let plan = plan_of(&cluster, &settled(&had));
    assert_eq!(plan.actions, []);
    assert_eq!(plan.roll, None);
    let [finding] = plan.degraded.as_slice() else {
        panic!("{:?}", plan.degraded);
    };
    assert_eq!(finding.reason, "VolumeStays");
    assert!(
        finding
            .message
            .contains("does not name volume 1, and brokers have it"),
        "{}",
        finding.message
    );
    // It is made anew with all of them: in the middle of something, or from scratch over what was kept.
    for pods_are_there in [true, false] {
        let mut observed = settled(&had);
        if !pods_are_there {
            observed
                .pods
                .retain(|(role, _), _| *role == Role::Controller);
        }
        without_the_set(&mut observed);
        let plan = plan_of(&cluster, &observed);
        let set = manifest(&plan, "StatefulSet").expect("it is made");
        assert_eq!(templates(set), ["data", "data-1", "data-4"]);
        let kept = &set["spec"]["volumeClaimTemplates"][1]["spec"];
        assert_eq!(kept["storageClassName"], "fast");
        assert_eq!(kept["resources"]["requests"]["storage"], "20Gi");
        assert_eq!(manifest(&plan, "ConfigMap"), None);
        assert_eq!(plan.degraded[0].reason, "VolumeStays");
    }
    // A claim that no volume was made for holds nothing, and one that is deleted will not.
    let gone: [fn(&mut ClaimState); 2] = [
        |claim| claim.phase = Some("Pending".into()),
        |claim| claim.deleting = true,
    ];
    for change in gone {
        let mut observed = settled(&had);
        observed
            .pods
            .retain(|(role, _), _| *role == Role::Controller);
        without_the_set(&mut observed);
        for ordinal in 0..3 {
            let claim = observed.claims.get_mut(&(Role::Broker, ordinal, id(1)));
            change(claim.expect("a claim"));
        }
        let plan = plan_of(&cluster, &observed);
        let set = manifest(&plan, "StatefulSet").expect("it is made");
        assert_eq!(templates(set), ["data", "data-4"]);
    }
}

/// Stored before the schema refused it.
#[test]
fn another_class_and_a_smaller_size_change_nothing() {
    let had = validated_with_volumes();
    let change = |id: i32, size: &str, class: Option<&str>| {
        let mut cluster = had.clone();
        let volume = VolumeSpec {
            size: k8s_openapi::apimachinery::pkg::api::resource::Quantity(size.into()),
            class_name: class.map(str::to_owned),
        };
        match id {
            0 => cluster.broker_volume = volume,
            _ => drop(cluster.further_volumes.insert(self::id(id), volume)),
        }
        plan_of(&cluster, &settled(&had))
    };
    for (number, size, class) in [
        (1, "20Gi", Some("slow")),
        (1, "20Gi", None),
        (0, "10Gi", Some("slow")),
    ] {
        let plan = change(number, size, class);
        assert_eq!(plan.actions, [], "{number}");
        assert_eq!(reasons(&plan), ["VolumeClassStays"], "{number}");
    }
    let plan = change(1, "1Gi", Some("fast"));
    assert_eq!((plan.actions.len(), plan.degraded.len()), (0, 0));
    // What grows at the same time does, in the class that it has.
    let plan = change(1, "25Gi", Some("slow"));
    let labels: Vec<&str> = plan.actions.iter().map(Action::label).collect();
    assert_eq!(labels, ["orphan_pods", "expand_volumes"]);
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
    without_the_set(&mut observed);
    let plan = plan_of(&cluster, &observed);
    let set = manifest(&plan, "StatefulSet").expect("it is made");
    assert_eq!(templates(set).len(), 3);
    assert_eq!(set["spec"]["replicas"], 5);

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

#[test]
fn an_annotation_that_does_not_say_which_volume_is_told() {
    let told = |cluster: &ValidatedCluster, value: &str| {
        let mut observed = settled(cluster);
        let pod = observed.pods.get_mut(&(Role::Broker, 1)).expect("a pod");
        pod.replace_asked = Some(value.to_owned());
        let plan = plan_of(cluster, &observed);
        let found = plan.degraded.iter();
        let found = found
            .map(|it| format!("{}: {}", it.reason, it.message))
            .collect::<Vec<_>>();
        (found.join("; "), plan.roll.is_some())
    };
    let message = "ReplaceVolumeUnclear: foz.dev/replace-volume on pod demo-broker-1 is \"\"; right are numbers of its volumes (0, 1, 4) with commas between, or all";
    let several = validated_with_volumes();
    assert_eq!(told(&several, ""), (message.to_owned(), false));
    assert_eq!(told(&several, "4"), (String::new(), true));
    assert_eq!(told(&validated(), ""), (String::new(), true));
    assert!(told(&validated(), "1").0.contains("its volumes (0) with"));
}

#[test]
fn what_is_told_of_a_volume_names_the_annotation_for_it_alone() {
    let cluster = validated_with_volumes();
    let mut observed = settled(&cluster);
    let claim = observed.claims.get_mut(&(Role::Broker, 1, id(4)));
    claim.expect("a claim").phase = Some("Lost".into());
    let plan = plan_of(&cluster, &observed);
    let [finding] = plan.degraded.as_slice() else {
        panic!("{:?}", plan.degraded);
    };
    assert_eq!(finding.reason, "VolumeLost");
    assert!(
        finding.message.contains("data-4-demo-broker-1")
            && finding
                .message
                .contains("foz.dev/replace-volume=4 on pod demo-broker-1"),
        "{}",
        finding.message
    );
    // The scheduler names no volume: the one whose node is gone is meant.
    let mut observed = settled(&cluster);
    let stuck = observed.pods.get_mut(&(Role::Broker, 1)).expect("a pod");
    (stuck.ready, stuck.running) = (false, false);
    let words = "3 node(s) had volume node affinity conflict";
    stuck.trouble = Some(("Unschedulable".into(), words.into()));
    let unreachable = |observed: &Observed| {
        let plan = plan_of(&cluster, observed);
        let found = plan.degraded.iter();
        found.filter(|it| it.reason == "VolumeUnreachable").count()
    };
    assert_eq!(unreachable(&observed), 3);
    let claim = observed.claims.get_mut(&(Role::Broker, 1, id(1)));
    claim.expect("a claim").node_is_gone = true;
    assert_eq!(unreachable(&observed), 1);
}
