//! Brokers that get a further volume: Kubernetes makes no pod behind one that lacks it.

use super::{
    BROKER_0, BROKER_1, BROKER_2, CONTROLLER_0, Place, assert_next, at, crash_loops, deny, edit,
    grant, quorum, reason, rolled, world,
};
use crate::cluster::roll::input::RollInput;
use crate::cluster::roll::roll;
use crate::names::Role;
use crate::volume_id::VolumeId;

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
    }
    input
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
    assert_eq!(reason(&input), "it lacks volume 1");
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
