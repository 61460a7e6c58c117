//! Brokers that get a further volume: Kubernetes makes no pod behind one that lacks it.

use k8s_openapi::jiff::Timestamp;

use super::{
    BROKER_0, BROKER_1, BROKER_2, CONTROLLER_0, Place, assert_next, at, crash_loops, deny, edit,
    grant, quorum, reason, rolled, world,
};
use crate::cluster::observed::ClaimState;
use crate::cluster::roll::input::RollInput;
use crate::cluster::roll::{Next, VolumeWait, Waiting, roll};
use crate::cluster::storage_classes::StorageClassState;
use crate::names::Role;
use crate::volume_id::VolumeId;
use crate::world::warnings::Warning;

fn further() -> VolumeId {
    VolumeId::new(1).expect("an id")
}

/// The newest template of the brokers has a second volume.
fn added() -> RollInput {
    let mut input = world();
    let controllers = input.sets[&Role::Controller].clone();
    edit(&mut input, "new");
    input.sets.insert(Role::Controller, controllers);
    let set = input.sets.get_mut(&Role::Broker).expect("a set");
    set.volumes = [VolumeId::FIRST, further()].into();
    for place in [BROKER_0, BROKER_1, BROKER_2] {
        at(&mut input, place).volumes = [VolumeId::FIRST].into();
        // Kubernetes makes the claims of all, though it can add them to none.
        for volume in [VolumeId::FIRST, further()] {
            let claim = ClaimState {
                phase: Some("Bound".into()),
                ..ClaimState::default()
            };
            input.claims.insert((place.0, place.1, volume), claim);
        }
    }
    input
}

fn claim(input: &mut RollInput) -> &mut ClaimState {
    let claim = input.claims.get_mut(&(Role::Broker, 0, further()));
    claim.expect("a claim")
}

fn warning(reason: &str, message: &str) -> Warning {
    Warning {
        reason: reason.into(),
        message: message.into(),
        at: Timestamp::UNIX_EPOCH,
    }
}

fn stuck(input: &RollInput) -> String {
    let (_, needs_a_person) = roll(input).findings();
    let found = needs_a_person.iter();
    let found = found.filter(|it| it.reason == "PodsWaitForVolumes");
    found
        .map(|it| it.message.clone())
        .collect::<Vec<_>>()
        .join(";;")
}

fn has_it(input: &mut RollInput, places: &[Place]) {
    rolled(input, places);
    for place in places {
        at(input, *place).volumes = [VolumeId::FIRST, further()].into();
    }
}

#[test]
fn they_are_restarted_in_the_order_of_their_numbers() {
    let mut input = added();
    assert_eq!(roll(&input).left.len(), 3);
    assert_next(&input, "restart broker-0");
    assert_eq!(
        reason(&input),
        "it lacks volume 1; image foz:old to foz:new"
    );
    let mut alone = input.clone();
    let set = alone.sets.get_mut(&Role::Broker).expect("a set");
    set.image = Some("foz:old".into());
    assert_eq!(reason(&alone), "it lacks volume 1");
    has_it(&mut input, &[BROKER_0]);
    assert_next(&input, "restart broker-1");
    has_it(&mut input, &[BROKER_1]);
    assert_next(&input, "restart broker-2");
    has_it(&mut input, &[BROKER_2]);
    assert_next(&input, "nothing");
}

/// Whoever went before its turn would not come back.
#[test]
fn none_goes_before_its_turn() {
    let mut denied = added();
    deny(
        &mut denied,
        BROKER_0,
        "orders-3 has 2 in-sync replicas and needs 2",
    );
    assert_next(&denied, "denied broker-0");
    let mut failing = added();
    crash_loops(&mut failing, BROKER_2);
    assert_next(&failing, "restart broker-0");
    let mut forced = added();
    at(&mut forced, BROKER_1).force_asked = true;
    assert_next(&forced, "restart broker-0");
    has_it(&mut forced, &[BROKER_0]);
    assert_next(&forced, "insist broker-1");
    let mut held = added();
    held.hold.insert("demo-broker-0".into());
    assert_next(&held, "held broker-0");
    assert_eq!(roll(&held).left.len(), 3);
    // Controllers have a set of their own.
    crash_loops(&mut held, CONTROLLER_0);
    at(&mut held, CONTROLLER_0).restart_asked = true;
    assert_next(&held, "replace controller-0");
    let mut granted = added();
    grant(&mut granted, BROKER_1, 5);
    assert_next(&granted, "release 1");
    let mut granted = added();
    grant(&mut granted, BROKER_0, 5);
    assert_next(&granted, "restart broker-0");
}

/// It was evicted, or is to be a new broker: it comes when those before it have been restarted.
#[test]
fn what_is_missing_behind_is_not_waited_for() {
    let mut input = added();
    input.pods.remove(&BROKER_2);
    assert_next(&input, "restart broker-0");
    grant(&mut input, BROKER_0, 5);
    assert_next(&input, "restart broker-0");
    quorum(&mut input).grants.clear();
    has_it(&mut input, &[BROKER_0]);
    assert_next(&input, "restart broker-1");
    has_it(&mut input, &[BROKER_1]);
    assert_next(&input, "nothing");
    // Then it comes, and whoever else is to be restarted waits for it.
    at(&mut input, BROKER_0).restart_asked = true;
    assert_next(&input, "wait broker-2 Missing");
    // One that is in its turn is waited for.
    let mut input = added();
    has_it(&mut input, &[BROKER_0]);
    input.pods.remove(&BROKER_0);
    assert_next(&input, "wait broker-0 Missing");
    // And one that is still there, and goes.
    let mut input = added();
    at(&mut input, BROKER_2).deleting = true;
    assert_next(&input, "wait broker-2 Leaving");
}

/// Of a revision that the newest template has, it would never be restarted, and block all others.
#[test]
fn what_lacks_a_volume_is_restarted_whatever_its_revision() {
    let mut input = added();
    has_it(&mut input, &[BROKER_0, BROKER_1, BROKER_2]);
    at(&mut input, BROKER_1).volumes.remove(&further());
    assert_next(&input, "restart broker-1");
}

/// It would be stopped, and not made anew: and nobody may take the volume out of the Cluster again.
#[test]
fn none_is_stopped_for_a_volume_that_it_would_not_get() {
    let wait = |input: &RollInput| match roll(input).next {
        Next::Wait(Waiting::Volume { pod, claim, wait }) => {
            assert_eq!(
                (pod.as_str(), claim.as_str()),
                ("demo-broker-0", "data-1-demo-broker-0")
            );
            wait
        }
        other => panic!("{other:?}"),
    };
    let mut input = added();
    input.claims.remove(&(Role::Broker, 0, further()));
    assert_eq!(wait(&input), VolumeWait::Unclaimed(None));
    let quota = "create Claim data-1-demo-broker-0 for Pod demo-broker-0 in StatefulSet demo-broker failed error: exceeded quota";
    let set = input.sets.get_mut(&Role::Broker).expect("a set");
    // Of another claim something else is told, be it newer or not.
    let other = quota.replace("broker-0", "broker-1");
    set.warnings = vec![
        warning("FailedCreate", &other),
        warning("FailedCreate", quota),
    ];
    assert_eq!(wait(&input), VolumeWait::Unclaimed(Some(quota.into())));
    // Also not when its process does not run, or it may stop already; but when a person insists.
    let mut ends = input.clone();
    crash_loops(&mut ends, BROKER_0);
    assert_eq!(wait(&ends), VolumeWait::Unclaimed(Some(quota.into())));
    let mut granted = input.clone();
    grant(&mut granted, BROKER_0, 5);
    assert_next(&granted, "release 0");
    at(&mut input, BROKER_0).force_asked = true;
    assert_next(&input, "insist broker-0");

    let mut input = added();
    claim(&mut input).deleting = true;
    assert_eq!(wait(&input), VolumeWait::Unclaimed(None));
    // Whatever is not known to come, also where Kubernetes warns of nothing.
    let mut input = added();
    claim(&mut input).phase = Some("Pending".into());
    claim(&mut input).created = Some(Timestamp::MIN);
    // Controllers come after all brokers.
    at(&mut input, CONTROLLER_0).restart_asked = true;
    let class = |waits_for_pod| StorageClassState {
        waits_for_pod,
        is_default: true,
    };
    for (is_of, is_seen, waits_for_pod, goes) in [
        (false, false, true, false),
        (false, true, true, false),
        (true, false, true, false),
        (true, true, false, false),
        (true, true, true, true),
    ] {
        claim(&mut input).class_name = is_of.then(|| "fast".into());
        input.storage_classes.clear();
        if is_seen {
            let name = "fast".to_owned();
            input.storage_classes.insert(name, class(waits_for_pod));
        }
        for warned in [None, Some(warning("ProvisioningFailed", "no such class"))] {
            claim(&mut input).warning = warned;
            if goes {
                assert_next(&input, "restart broker-0");
            } else {
                assert!(matches!(wait(&input), VolumeWait::Pending(_)));
            }
        }
    }
    claim(&mut input).phase = None;
    input.storage_classes.clear();
    assert!(matches!(wait(&input), VolumeWait::Pending(_)), "not told");

    let mut input = added();
    claim(&mut input).phase = Some("Lost".into());
    assert_eq!(wait(&input), VolumeWait::Lost);
    at(&mut input, BROKER_0).replace_asked = Some("1".into());
    assert_next(&input, "restart broker-0");
}

/// The quorum denies the one that has to go first, for want of one that is not made before that.
#[test]
fn a_person_is_told_what_does_not_go_on_by_itself() {
    let mut input = added();
    assert_eq!(stuck(&input), "");
    deny(&mut input, BROKER_0, "orders-3 would have 1 of 2");
    assert_eq!(stuck(&input), "", "all serve");
    let mut missing = input.clone();
    missing.pods.remove(&BROKER_2);
    let said = stuck(&missing);
    assert!(
        said.contains("its restart is denied; these do not serve")
            && said.contains(": demo-broker-2; where")
            && said.contains("foz.dev/force-restart on pod demo-broker-0"),
        "{said}"
    );
    let mut ends = input.clone();
    crash_loops(&mut ends, BROKER_1);
    assert!(stuck(&ends).contains(": demo-broker-1; where"));
    // A claim that somebody deletes goes with its pod, whatever forces it.
    let mut loses = missing.clone();
    let first = loses.claims.get_mut(&(Role::Broker, 0, VolumeId::FIRST));
    first.expect("a claim").deleting = true;
    assert_eq!(stuck(&loses), "");
    // Those that are added in the same edit are to be missing.
    let mut grows = input.clone();
    grows.sets.get_mut(&Role::Broker).expect("a set").replicas = 5;
    assert_eq!(stuck(&grows), "");
    quorum(&mut grows).brokers.insert(4, Default::default());
    assert!(stuck(&grows).contains(": demo-broker-4; where"));
    // Not denied yet.
    missing.denied.clear();
    assert_eq!(stuck(&missing), "");
    missing.hold.insert("demo-broker-0".into());
    let said = stuck(&missing);
    assert!(
        said.contains("it is held") && said.ends_with("take demo-broker-0 off spec.hold"),
        "{said}"
    );
    // One before it that is away is waited for as always.
    let mut before = added();
    has_it(&mut before, &[BROKER_0]);
    before.pods.remove(&BROKER_0);
    deny(&mut before, BROKER_1, "no");
    assert_eq!(stuck(&before), "");
}

/// The denial of another has an Event of its own.
#[test]
fn a_claim_that_cannot_be_made_is_told_also_where_another_broker_is_denied() {
    let mut input = added();
    has_it(&mut input, &[BROKER_0]);
    at(&mut input, BROKER_0).restart_asked = true;
    deny(&mut input, BROKER_0, "orders-3 would have 1 of 2");
    input.claims.remove(&(Role::Broker, 1, further()));
    assert_next(&input, "denied broker-0");
    let quota = "create Claim data-1-demo-broker-1 for Pod demo-broker-1 in StatefulSet demo-broker failed error: exceeded quota";
    let set = input.sets.get_mut(&Role::Broker).expect("a set");
    set.warnings = vec![warning("FailedCreate", quota)];
    let (_, needs_a_person) = roll(&input).findings();
    assert_eq!(needs_a_person[0].reason, "RollWaitsForVolume");
}

/// They are no longer held up than the brokers are.
#[test]
fn behind_one_that_is_held_the_others_and_the_controllers_wait() {
    let mut input = added();
    input.hold.insert("demo-broker-0".into());
    at(&mut input, CONTROLLER_0).restart_asked = true;
    assert_next(&input, "held broker-0");
    let (under_way, _) = roll(&input).findings();
    let said: Vec<&str> = under_way.iter().map(|it| it.message.as_str()).collect();
    assert_eq!(
        said,
        [
            "to be restarted, and held: demo-broker-0",
            "to be restarted after that: demo-broker-1, demo-broker-2, demo-controller-0"
        ]
    );
    // With none behind it, they do not wait for one that is held.
    has_it(&mut input, &[BROKER_1, BROKER_2]);
    assert_next(&input, "restart controller-0");
}
