//! What a person is told of a volume that does not come back.

use super::*;

/// Nothing is restarted, so a broker that is evicted meanwhile does not come back.
#[test]
fn of_a_cluster_that_is_paused_a_person_is_told_what_does_not_come_back() {
    let mut cluster = validated_with_volumes();
    cluster.paused = true;
    let mut observed = settled(&cluster);
    observed.pods.insert((Role::Broker, 0), pod("old", true));
    let told = |observed: &Observed| {
        let plan = plan_of(&cluster, observed);
        let found = plan.degraded.iter();
        let found = found.filter(|it| it.reason == "PodsWaitForVolumes");
        found.map(|it| it.message.clone()).collect::<String>()
    };
    assert_eq!(told(&observed), "");
    observed.pods.remove(&(Role::Broker, 2));
    let expected = "Kubernetes makes no pod behind demo-broker-0, which has to be restarted with its new volumes first: demo-broker-2; nothing is restarted while spec.paused is true";
    assert_eq!(told(&observed), expected);
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
        let found = found.filter(|it| it.reason == "VolumeUnreachable");
        let found: Vec<&str> = found.map(|it| it.message.as_str()).collect();
        assert_eq!(found.len(), 1, "{found:?}");
        found.concat()
    };
    let said = unreachable(&observed);
    assert!(
        said.contains("data-demo-broker-1 (another node), data-1-demo-broker-1 (another node), data-4-demo-broker-1 (another node): 3 node(s)")
            && said.contains("foz.dev/replace-volume on the pod, with the number of one of them")
            && !said.contains("made last"),
        "{said}"
    );
    // One that was added long after the others may hold nothing yet; one without a volume is in nobody's way.
    for (volume, second) in [(0, 0), (1, 900), (4, 2)] {
        let claim = observed.claims.get_mut(&(Role::Broker, 1, id(volume)));
        let made = Timestamp::UNIX_EPOCH + SignedDuration::from_secs(second);
        claim.expect("a claim").created = Some(made);
    }
    let said = unreachable(&observed);
    assert!(
        said.contains("; data-1-demo-broker-1 was made last"),
        "{said}"
    );
    let mut pending = observed.clone();
    let claim = pending.claims.get_mut(&(Role::Broker, 1, id(1)));
    claim.expect("a claim").phase = Some("Pending".into());
    assert!(!unreachable(&pending).contains("data-1-demo-broker-1"));
    let claim = observed.claims.get_mut(&(Role::Broker, 1, id(1)));
    claim.expect("a claim").node_is_gone = true;
    let said = unreachable(&observed);
    assert!(
        said.contains("where its volume data-1-demo-broker-1 is")
            && said.contains("foz.dev/replace-volume=1 on the pod"),
        "{said}"
    );
    // It has several, though the claims of the others are gone.
    observed
        .claims
        .retain(|(_, ordinal, volume), _| *ordinal != 1 || *volume == id(1));
    assert!(unreachable(&observed).contains("foz.dev/replace-volume=1 on the pod"));
}
