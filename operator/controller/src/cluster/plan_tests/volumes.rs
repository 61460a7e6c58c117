//! Volumes that grow, and those that are gone.

use serde_json::{Value, json};

use super::{applied, key, plan_of, pod, settled, view_mut};
use crate::cluster::fixtures::validated;
use crate::cluster::observed::{ClaimState, Observed, PodState, StorageAnswer};
use crate::cluster::owned::Owned;
use crate::cluster::plan::{Action, Plan};
use crate::cluster::validate::ValidatedCluster;
use crate::cluster::volumes::without_set;
use crate::names::Role;
use crate::quorum::view::GrantView;
use crate::volume_id::VolumeId;
use crate::world::warnings::Warning;

/// Brokers are to have 20Gi each, and have 10.
fn grown() -> ValidatedCluster {
    let mut cluster = validated();
    cluster.broker_volume.size.0 = "20Gi".into();
    cluster
}

fn claims() -> Vec<String> {
    let claim = |ordinal: i32| format!("data-demo-broker-{ordinal}");
    (0..3).map(claim).collect()
}

fn orphaned(plan: &Plan) -> Vec<(&str, &str)> {
    let mut orphans = Vec::new();
    for action in &plan.actions {
        if let Action::Orphan { name, uid, .. } = action {
            orphans.push((name.as_str(), uid.as_str()));
        }
    }
    orphans
}

fn claim_mut(observed: &mut Observed, ordinal: i32) -> &mut ClaimState {
    let claim = observed
        .claims
        .get_mut(&(Role::Broker, ordinal, VolumeId::FIRST));
    claim.expect("a claim")
}

fn answer(reason: &str, message: &str, failed: bool) -> StorageAnswer {
    StorageAnswer {
        reason: reason.into(),
        message: message.into(),
        failed,
    }
}

#[test]
fn claims_grow_and_the_set_is_made_anew_around_its_pods() {
    let plan = plan_of(&grown(), &settled(&validated()));
    let [
        Action::Orphan { name, uid, reason },
        Action::ExpandVolumes { claims: grow, size },
    ] = plan.actions.as_slice()
    else {
        panic!("{:#?}", plan.actions);
    };
    assert_eq!((name.as_str(), uid.as_str()), ("demo-broker", "some"));
    assert_eq!(reason, "new volumes are to have 20Gi in place of 10Gi");
    assert_eq!((grow, size.as_str()), (&claims(), "20Gi"));

    // It is gone: made anew with the new templates, and with the pods' template of before.
    let mut observed = settled(&validated());
    let set = key(Owned::StatefulSet, "demo-broker");
    let before = observed.live.remove(&set).expect("settled");
    let pods = observed
        .pods
        .iter()
        .filter(|((of, _), _)| *of == Role::Broker);
    let left = without_set(pods.map(|((_, ordinal), pod)| (*ordinal, pod)));
    observed.sets.insert(Role::Broker, left.expect("pods"));
    let plan = plan_of(&grown(), &observed);
    let Some(Action::Apply {
        manifest,
        missing: true,
        ..
    }) = plan.actions.first()
    else {
        panic!("{:#?}", plan.actions);
    };
    let sizes = |set: &Value| set["spec"]["volumeClaimTemplates"][0]["spec"]["resources"].clone();
    assert_eq!(sizes(manifest), json!({"requests": {"storage": "20Gi"}}));
    let mut template = before["spec"]["template"].clone();
    template["spec"]["containers"][0]
        .as_object_mut()
        .expect("a container")
        .remove("imagePullPolicy");
    assert_eq!(manifest["spec"]["template"], template);
    assert_eq!(plan.roll, None);
}

#[test]
fn a_set_with_the_new_size_stays() {
    let mut observed = settled(&grown());
    for ordinal in 0..3 {
        claim_mut(&mut observed, ordinal).requested = "20Gi".into();
    }
    let plan = plan_of(&grown(), &observed);
    assert_eq!(plan.actions, []);
    let finding = &plan.progressing[0];
    assert_eq!(finding.reason, "VolumesGrowing");
    assert!(
        finding
            .message
            .starts_with("volumes grow: data-demo-broker-0 from 10Gi to 20Gi, data"),
        "{}",
        finding.message
    );
}

/// A pod that goes while there is no StatefulSet would not come back.
#[test]
fn the_set_stays_while_a_pod_is_away_or_about_to_be() {
    let disturbances: [fn(&mut Observed); 5] = [
        |observed| {
            observed.pods.remove(&(Role::Broker, 2));
        },
        |observed| {
            let pod = observed.pods.get_mut(&(Role::Broker, 1));
            pod.expect("a pod").deleting = true;
        },
        |observed| {
            observed.pods.insert((Role::Broker, 0), pod("old", true));
        },
        |observed| {
            let grants = &mut view_mut(observed).grants;
            grants.insert(1000, GrantView::default());
        },
        |observed| {
            let set = observed.sets.get_mut(&Role::Broker).expect("a set");
            set.update_revision = None;
        },
    ];
    for (number, disturb) in disturbances.into_iter().enumerate() {
        let mut observed = settled(&validated());
        disturb(&mut observed);
        let plan = plan_of(&grown(), &observed);
        assert_eq!(orphaned(&plan), [], "{number}");
        assert_eq!(applied(&plan), [] as [String; 0], "{number}");
        let why = plan.progressing.iter();
        let why: Vec<_> = why
            .filter(|it| it.reason == "VolumeTemplateWaits")
            .collect();
        assert_eq!(why.len(), 1, "{number}");
        // The claims do not wait.
        assert!(
            plan.actions
                .iter()
                .any(|action| matches!(action, Action::ExpandVolumes { .. })),
            "{number}"
        );
    }
}

/// An edit of both: the set is made anew with all of it, and brokers that are added have the new size.
#[test]
fn an_edit_of_size_and_more_goes_into_the_new_set() {
    let mut cluster = grown();
    cluster.image = "foz-broker:2".into();
    cluster.brokers = 5;
    let plan = plan_of(&cluster, &settled(&validated()));
    assert_eq!(orphaned(&plan), [("demo-broker", "some")]);
    // The controllers' has another image; the brokers' is not applied in the old form.
    let sets: Vec<String> = applied(&plan);
    let sets: Vec<&String> = sets
        .iter()
        .filter(|it| it.starts_with("Stateful"))
        .collect();
    assert_eq!(sets.len(), 1, "{sets:?}");
    assert!(sets[0].starts_with("StatefulSet/demo-controller"));
}

#[test]
fn pods_say_how_many_there_are_while_there_is_no_set() {
    let pods = |deleting: [bool; 3]| {
        let mut pods = [0, 1, 4].map(|ordinal| (ordinal, pod("new", true)));
        for (it, deleting) in pods.iter_mut().zip(deleting) {
            it.1.deleting = deleting;
        }
        let found = without_set(pods.iter().map(|(ordinal, pod)| (*ordinal, pod)));
        found.map(|set| set.replicas)
    };
    assert_eq!(pods([false; 3]), Some(5));
    assert_eq!(pods([false, false, true]), Some(2));
    assert_eq!(pods([true; 3]), None);
    // Nobody is taken down by a number that was lowered meanwhile, although the quorum is silent.
    let mut observed = settled(&validated());
    observed.quorum = crate::cluster::observed::QuorumState::Unknown;
    let set = key(Owned::StatefulSet, "demo-broker");
    observed.live.remove(&set);
    let of_brokers = observed
        .pods
        .iter()
        .filter(|((of, _), _)| *of == Role::Broker);
    let left = without_set(of_brokers.map(|((_, ordinal), pod)| (*ordinal, pod)));
    observed.sets.insert(Role::Broker, left.expect("pods"));
    let cluster = ValidatedCluster {
        brokers: 1,
        ..validated()
    };
    let plan = plan_of(&cluster, &observed);
    let Some(Action::Apply { manifest, .. }) = plan.actions.first() else {
        panic!("{:#?}", plan.actions);
    };
    assert_eq!(manifest["spec"]["replicas"], 3);
}

#[test]
fn a_volume_that_somebody_grew_is_left_alone() {
    let cluster = validated();
    let mut observed = settled(&cluster);
    for (ordinal, size) in [(0, "20Gi"), (2, "10240Mi")] {
        let claim = claim_mut(&mut observed, ordinal);
        claim.requested = size.into();
        claim.capacity = Some(size.into());
    }
    assert_eq!(
        plan_of(&cluster, &observed),
        Plan {
            brokers: 3,
            staying: 3,
            ..Plan::default()
        }
    );
}

#[test]
fn what_the_storage_says_is_told() {
    let cluster = grown();
    let found = |change: &dyn Fn(&mut ClaimState)| {
        let mut observed = settled(&cluster);
        for ordinal in 0..3 {
            let claim = claim_mut(&mut observed, ordinal);
            claim.requested = "20Gi".into();
            claim.capacity = Some("20Gi".into());
        }
        change(claim_mut(&mut observed, 1));
        let plan = plan_of(&cluster, &observed);
        assert_eq!(plan.actions, []);
        let all = plan.progressing.iter().chain(&plan.degraded);
        let all: Vec<String> = all
            .map(|it| format!("{}: {}", it.reason, it.message))
            .collect();
        (all.join("\n"), plan.degraded.len())
    };
    assert_eq!(found(&|_| {}), (String::new(), 0));
    let pending = answer("FileSystemResizePending", "waits for the node", false);
    let (text, degraded) = found(&|claim| {
        claim.capacity = Some("10Gi".into());
        claim.answers = vec![pending.clone()];
    });
    assert_eq!(
        (text.as_str(), degraded),
        (
            "VolumesGrowing: volumes grow: data-demo-broker-1 from 10Gi to 20Gi (FileSystemResizePending: waits for the node)",
            0
        )
    );
    let (text, degraded) = found(&|claim| {
        claim.capacity = Some("10Gi".into());
        claim.answers = vec![
            pending.clone(),
            answer("ControllerResizeError", "no room", true),
        ];
    });
    assert_eq!(
        (text.as_str(), degraded),
        (
            "VolumeResizeFailed: data-demo-broker-1 from 10Gi to 20Gi does not grow: ControllerResizeError: no room",
            1
        )
    );
    let warning = Warning {
        reason: "VolumeResizeFailed".into(),
        message: "quota".into(),
        at: k8s_openapi::jiff::Timestamp::UNIX_EPOCH,
    };
    let (text, _) = found(&|claim| {
        claim.capacity = Some("10Gi".into());
        claim.warning = Some(warning.clone());
    });
    assert!(
        text.ends_with("does not grow: VolumeResizeFailed: quota"),
        "{text}"
    );
    // It has grown since.
    assert_eq!(found(&|claim| claim.warning = Some(warning.clone())).0, "");
    let (text, _) = found(&|claim| {
        (claim.capacity, claim.phase) = (None, Some("Pending".into()));
        claim.warning = Some(warning.clone());
    });
    assert_eq!(
        text,
        "VolumeMissing: data-demo-broker-1 (20Gi) has no volume: VolumeResizeFailed: quota"
    );
}

#[test]
fn a_volume_that_is_gone_or_goes_is_told_with_what_to_do() {
    let cluster = validated();
    let found = |change: &dyn Fn(&mut ClaimState, &mut PodState)| {
        let mut observed = settled(&cluster);
        let mut pod = pod("new", true);
        change(claim_mut(&mut observed, 1), &mut pod);
        observed.pods.insert((Role::Broker, 1), pod);
        let plan = plan_of(&cluster, &observed);
        assert_eq!(plan.actions, []);
        let volume = plan.degraded.into_iter();
        let volume = volume.filter(|it| it.reason.starts_with("Volume"));
        volume
            .map(|it| format!("{}: {}", it.reason, it.message))
            .collect::<Vec<_>>()
            .join("\n")
    };
    let text = found(&|claim, _| claim.deleting = true);
    assert!(
        text.starts_with(
            "VolumeDeleting: data-demo-broker-1 is being deleted: demo-broker-1 loses"
        ),
        "{text}"
    );
    let text = found(&|claim, _| claim.phase = Some("Lost".into()));
    assert!(
        text.starts_with("VolumeLost: the volume of data-demo-broker-1"),
        "{text}"
    );
    let stuck = |claim: &mut ClaimState, pod: &mut PodState| {
        (claim.node, claim.node_is_gone) = (Some("node-7".into()), true);
        (pod.ready, pod.running) = (false, false);
        let words = "0/3 nodes are available: 3 node(s) had volume node affinity conflict";
        pod.trouble = Some(("Unschedulable".into(), words.into()));
    };
    let text = found(&stuck);
    assert!(
        text.starts_with("VolumeUnreachable: demo-broker-1 cannot run where its volume data-demo-broker-1 is (node node-7, which is not there any more): 0/3 nodes"),
        "{text}"
    );
    assert!(text.contains("foz.dev/replace-volume"), "{text}");
    let text = found(&|claim, pod| {
        stuck(claim, pod);
        pod.trouble = Some(("Unschedulable".into(), "no room".into()));
    });
    assert_eq!(text, "");
}

#[test]
fn why_a_pod_cannot_be_made_is_told_until_it_is() {
    let cluster = validated();
    let mut observed = settled(&cluster);
    let warning = |pod: &str| Warning {
        reason: "FailedCreate".into(),
        message: format!(
            "create Pod {pod} in StatefulSet demo-broker failed error: exceeded quota"
        ),
        at: k8s_openapi::jiff::Timestamp::UNIX_EPOCH,
    };
    let set = observed.sets.get_mut(&Role::Broker).expect("a set");
    set.warnings = vec![warning("demo-broker-1")];
    let told = |observed: &Observed| plan_of(&cluster, observed).degraded;
    assert_eq!(told(&observed), []);
    observed.pods.remove(&(Role::Broker, 2));
    assert_eq!(told(&observed), []);
    observed.pods.remove(&(Role::Broker, 1));
    let found = told(&observed);
    assert_eq!(found[0].reason, "PodNotCreated");
    assert_eq!(
        found[0].message,
        "demo-broker-1 cannot be made: create Pod demo-broker-1 in StatefulSet demo-broker failed error: exceeded quota"
    );
}
