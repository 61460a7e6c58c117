//! Volumes that a Cluster does not name any more, or names with another class.

use serde_json::json;

use super::{
    Disturbance, id, manifest, max_unavailable, mounts, orphaned, pod_mut, reasons, templates,
    without_the_set,
};
use crate::cluster::fixtures::validated_with_volumes;
use crate::cluster::observed::{ClaimState, Observed};
use crate::cluster::plan::Action;
use crate::cluster::plan_tests::{plan_of, pod, settled};
use crate::cluster::validate::VolumeSpec;
use crate::names::Role;
use crate::volume_id::VolumeId;

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
            .ends_with("name it again: {id: 1, size: 20Gi, className: fast}"),
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
        // Of the first one nobody could change it.
        let expected: &[&str] = if number == 0 { &[] } else { &["VolumeStays"] };
        assert_eq!(reasons(&plan), expected, "{number}");
    }
    let plan = change(1, "1Gi", Some("fast"));
    assert_eq!((plan.actions.len(), plan.degraded.len()), (0, 0));
    // What grows at the same time does, in the class that it has.
    let plan = change(1, "25Gi", Some("slow"));
    let labels: Vec<&str> = plan.actions.iter().map(Action::label).collect();
    assert_eq!(labels, ["orphan_pods", "expand_volumes"]);
    assert_eq!(
        plan.degraded[0].message,
        "volume 1 stays in the class that brokers have it in; write it again: {id: 1, size: 25Gi, className: fast}"
    );
    // And has it still when it is made anew; with no pods it is made from what the Cluster says.
    let mut cluster = had.clone();
    let volume = cluster.further_volumes.get_mut(&id(1)).expect("1");
    volume.class_name = Some("slow".into());
    let mut observed = settled(&had);
    without_the_set(&mut observed);
    let class = |observed: &Observed| {
        let plan = plan_of(&cluster, observed);
        let set = manifest(&plan, "StatefulSet").expect("it is made");
        set["spec"]["volumeClaimTemplates"][1]["spec"]["storageClassName"].clone()
    };
    assert_eq!(class(&observed), "fast");
    let first = observed.claims.get_mut(&(Role::Broker, 0, id(1)));
    let first = first.expect("a claim");
    (first.phase, first.class_name) = (Some("Pending".into()), Some("other".into()));
    assert_eq!(class(&observed), "fast");
    observed.pods.clear();
    without_the_set(&mut observed);
    assert_eq!(class(&observed), "slow");
}

/// The admission of Kubernetes writes the default class into claims.
#[test]
fn a_volume_of_the_default_class_is_made_anew_without_one() {
    let mut cluster = validated_with_volumes();
    cluster.broker_volume.class_name = None;
    for volume in cluster.further_volumes.values_mut() {
        volume.class_name = None;
    }
    let mut observed = settled(&cluster);
    for claim in observed.claims.values_mut() {
        claim.class_name = Some("standard".into());
    }
    without_the_set(&mut observed);
    let plan = plan_of(&cluster, &observed);
    assert!(!reasons(&plan).contains(&"VolumeStays"), "{plan:#?}");
    let set = manifest(&plan, "StatefulSet").expect("it is made");
    assert_eq!(templates(set), ["data", "data-1", "data-4"]);
    for template in 0..3 {
        let spec = &set["spec"]["volumeClaimTemplates"][template]["spec"];
        assert!(spec["storageClassName"].is_null(), "{spec}");
    }
}

/// All wait for a volume of which nobody has any.
fn lacking_volume_1() -> Observed {
    let cluster = validated_with_volumes();
    let mut observed = settled(&cluster);
    for ordinal in 0..3 {
        let mut old = pod("old", true);
        old.volumes.insert(id(4));
        observed.pods.insert((Role::Broker, ordinal), old);
        let claim = observed.claims.get_mut(&(Role::Broker, ordinal, id(1)));
        let claim = claim.expect("a claim");
        (claim.phase, claim.capacity) = (Some("Pending".into()), None);
    }
    *max_unavailable(&mut observed) = json!(0);
    observed
}

#[test]
fn what_holds_nothing_may_be_taken_back() {
    let mut cluster = validated_with_volumes();
    let waits = plan_of(&cluster, &lacking_volume_1());
    assert_eq!(waits.actions, []);
    cluster.further_volumes.remove(&id(1));
    // An edit of something else, as what mends it.
    cluster.image = "foz-broker:2".into();
    let mut observed = lacking_volume_1();
    let plan = plan_of(&cluster, &observed);
    let orphan = plan.actions.last();
    let Some(Action::Orphan { reason, .. }) = orphan.filter(|_| orphaned(&plan) == 1) else {
        panic!("{:#?}", plan.actions);
    };
    assert_eq!(reason, "volume 1, which holds nothing, is taken back");
    assert_eq!(manifest(&plan, "PodDisruptionBudget"), None, "it stays 0");
    assert!(!reasons(&plan).contains(&"VolumeStays"));
    without_the_set(&mut observed);
    let plan = plan_of(&cluster, &observed);
    let set = manifest(&plan, "StatefulSet").expect("it is made");
    assert_eq!(templates(set), ["data", "data-4"]);
    assert_eq!(mounts(set), ["data", "data-4"]);
    // Also where a pod was made with it, and waits for it.
    let mut waits = lacking_volume_1();
    *pod_mut(&mut waits, 0) = pod("new", false);
    pod_mut(&mut waits, 0).volumes = [VolumeId::FIRST, id(1), id(4)].into();
    assert_eq!(orphaned(&plan_of(&cluster, &waits)), 1);
}

#[test]
fn what_may_hold_something_is_not_taken_back() {
    let disturbances: [Disturbance; 5] = [
        ("VolumeStays", |observed| {
            let claim = observed.claims.get_mut(&(Role::Broker, 2, id(1)));
            claim.expect("a claim").phase = Some("Bound".into());
        }),
        ("VolumeStays", |observed| {
            let claim = observed.claims.get_mut(&(Role::Broker, 2, id(1)));
            claim.expect("a claim").phase = Some("Lost".into());
        }),
        // That its claim is bound may not be told yet.
        ("VolumeStays", |observed| {
            pod_mut(observed, 1).volumes.insert(id(1));
        }),
        ("VolumeTemplateWaits", |observed| {
            pod_mut(observed, 1).deleting = true;
        }),
        ("VolumeTemplateWaits", |observed| {
            pod_mut(observed, 0).force_asked = true;
        }),
    ];
    let mut without = validated_with_volumes();
    without.further_volumes.remove(&id(1));
    let mut other = validated_with_volumes();
    let volume = other.further_volumes.get_mut(&id(1)).expect("1");
    volume.class_name = Some("standard".into());
    for (number, (reason, disturb)) in disturbances.into_iter().enumerate() {
        let mut observed = lacking_volume_1();
        disturb(&mut observed);
        for cluster in [&without, &other] {
            let plan = plan_of(cluster, &observed);
            assert_eq!(orphaned(&plan), 0, "{number}");
            assert!(reasons(&plan).contains(&reason), "{number}: {plan:#?}");
        }
    }
}

#[test]
fn a_class_of_which_there_is_no_volume_may_be_changed() {
    let mut cluster = validated_with_volumes();
    let volume = cluster.further_volumes.get_mut(&id(1)).expect("1");
    volume.class_name = Some("fsat".into());
    let mut observed = lacking_volume_1();
    let plan = plan_of(&cluster, &observed);
    assert_eq!(orphaned(&plan), 0);
    let waits = plan
        .progressing
        .iter()
        .find(|it| it.reason == "VolumeTemplateWaits");
    assert!(
        waits.is_some_and(|it| it.message.contains("StorageClass fsat is there")),
        "{plan:?}"
    );
    observed
        .storage_classes
        .insert("fsat".into(), Default::default());
    let plan = plan_of(&cluster, &observed);
    let Some(Action::Orphan { reason, .. }) = plan.actions.last() else {
        panic!("{:#?}", plan.actions);
    };
    assert_eq!(
        reason,
        "volume 1, which holds nothing, is to be of StorageClass fsat in place of fast"
    );
    // The claim is of the other one still.
    let found = plan.degraded.iter().map(|it| it.message.as_str());
    let found: Vec<&str> = found.collect();
    assert!(
        found[0].contains("is of StorageClass fast where fsat is wanted: delete it"),
        "{found:?}"
    );
}
