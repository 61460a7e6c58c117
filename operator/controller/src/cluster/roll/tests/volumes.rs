//! Pods that lose their volume.

use super::{
    BROKER_0, BROKER_1, CONTROLLER_0, Place, assert_next, at, crash_loops, edit, grant, quorum,
    reason, world,
};
use crate::cluster::observed::ClaimState;
use crate::cluster::roll::input::RollInput;
use crate::cluster::roll::volume::{LostVolume, meant, only_copies};
use crate::cluster::roll::{Next, Step, Waiting, roll};
use crate::names::Role;
use crate::volume_id::VolumeId;

fn claim(input: &mut RollInput, place: Place, deleting: bool) {
    let claim = ClaimState {
        uid: format!("claim-{}", place.1),
        deleting,
        ..ClaimState::default()
    };
    let (role, ordinal) = place;
    input.claims.insert((role, ordinal, VolumeId::FIRST), claim);
}

/// A person wants an empty volume for broker 1.
fn asked() -> RollInput {
    let mut input = world();
    for place in [BROKER_0, BROKER_1, CONTROLLER_0] {
        claim(&mut input, place, false);
    }
    at(&mut input, BROKER_1).replace_asked = Some(String::new());
    input
}

fn volumes(input: &RollInput) -> Vec<LostVolume> {
    match roll(input).next {
        Next::Do(Step::Restart { volumes, .. } | Step::Replace { volumes, .. }) => volumes,
        other => panic!("{other:?}"),
    }
}

fn denial(input: &RollInput) -> String {
    match roll(input).next {
        Next::Wait(Waiting::Denied(denied)) => denied[0].1.clone(),
        other => panic!("{other:?}"),
    }
}

fn lost(ordinal: i32, delete: bool) -> Vec<LostVolume> {
    vec![LostVolume {
        claim: format!("data-demo-broker-{ordinal}"),
        uid: format!("claim-{ordinal}"),
        delete,
    }]
}

#[test]
fn a_pod_that_is_to_have_an_empty_volume_is_restarted_with_a_grant() {
    let mut input = asked();
    assert_next(&input, "restart broker-1");
    assert_eq!(reason(&input), "foz.dev/replace-volume is on the pod");
    assert_eq!(volumes(&input), lost(1, true));
    // Also when its process does not run: others must not stop meanwhile.
    crash_loops(&mut input, BROKER_1);
    quorum(&mut input)
        .brokers
        .get_mut(&1)
        .expect("known")
        .fenced = true;
    assert_next(&input, "restart broker-1");
    assert_eq!(volumes(&input), lost(1, true));
    input.quorum = None;
    assert_next(&input, "wait quorum");
    // Others keep theirs.
    let mut input = asked();
    at(&mut input, BROKER_0).restart_asked = true;
    assert_next(&input, "restart broker-0");
    assert_eq!(volumes(&input), []);
}

#[test]
fn what_is_nowhere_else_in_sync_is_kept() {
    let mut input = asked();
    let copies = ["a-0", "a-1", "b-0", "b-1", "b-2"].map(str::to_owned);
    input.only_copies.insert(1, copies.to_vec());
    let sentence = "it keeps its volume: no other broker has these partitions in sync: a-0, a-1, b-0 and 2 more; wait for their replicas, give their topics another replica, or delete them";
    assert_eq!(denial(&input), sentence);
    // It holds up nobody else, while it serves.
    at(&mut input, BROKER_0).restart_asked = true;
    assert_next(&input, "restart broker-0");
    crash_loops(&mut input, BROKER_1);
    assert_eq!(denial(&input), sentence);
    // It may have become so since the grant.
    let mut granted = asked();
    grant(&mut granted, BROKER_1, 5);
    assert_next(&granted, "restart broker-1");
    granted.only_copies.insert(1, vec!["a-0".into()]);
    assert_next(&granted, "release 1");
    assert_eq!(only_copies(&[]), None);
}

/// With the pod goes the volume: whoever restarts the pod for another reason would lose it all the same.
#[test]
fn a_claim_that_is_being_deleted_is_lost_with_any_restart() {
    let mut input = asked();
    at(&mut input, BROKER_1).replace_asked = None;
    claim(&mut input, BROKER_1, true);
    assert_next(&input, "nothing");
    at(&mut input, BROKER_1).restart_asked = true;
    assert_next(&input, "restart broker-1");
    assert_eq!(volumes(&input), lost(1, false));
    input.only_copies.insert(1, vec!["a-0".into()]);
    assert_next(&input, "denied broker-1");
    let mut input = asked();
    claim(&mut input, BROKER_1, true);
    edit(&mut input, "new");
    crash_loops(&mut input, BROKER_1);
    input.only_copies.insert(1, vec!["a-0".into()]);
    assert_next(&input, "restart broker-0");
}

#[test]
fn a_forced_restart_leaves_the_volume_alone() {
    let mut input = asked();
    input.only_copies.insert(1, vec!["a-0".into()]);
    at(&mut input, BROKER_1).force_asked = true;
    assert_next(&input, "insist broker-1");
    assert_eq!(volumes(&input), []);
}

#[test]
fn a_claim_that_is_not_there_comes_back_with_the_pod() {
    let mut input = asked();
    input.claims.clear();
    assert!(!volumes(&input)[0].delete);
}

#[test]
fn a_broker_that_the_quorum_does_not_know_has_nothing_to_lose() {
    let mut input = asked();
    quorum(&mut input).brokers.remove(&1);
    assert_next(&input, "replace broker-1");
    assert_eq!(volumes(&input), lost(1, true));
}

#[test]
fn a_controller_gets_an_empty_volume_where_there_are_others() {
    let mut input = world();
    claim(&mut input, CONTROLLER_0, false);
    at(&mut input, CONTROLLER_0).replace_asked = Some(String::new());
    assert_next(&input, "restart controller-0");
    assert!(volumes(&input)[0].delete);
    crash_loops(&mut input, CONTROLLER_0);
    assert_next(&input, "restart controller-0");
    let set = input.sets.get_mut(&Role::Controller).expect("a set");
    set.replicas = 1;
    input
        .pods
        .retain(|(role, ordinal), _| *role == Role::Broker || *ordinal == 0);
    quorum(&mut input).active_node_id = 1000;
    let sentence = denial(&input);
    assert!(sentence.contains("the only controller"), "{sentence}");
}

#[test]
fn a_held_pod_keeps_its_volume() {
    let mut input = asked();
    input.hold.insert("demo-broker-1".into());
    assert_next(&input, "held broker-1");
}

fn id(id: i32) -> VolumeId {
    VolumeId::new(id).expect("an id")
}

/// Each broker has volumes 0, 1 and 4, and broker 1 is asked to replace some.
fn asked_of_several(value: &str) -> RollInput {
    let mut input = asked();
    for ordinal in 0..3 {
        for volume in [0, 1, 4] {
            let claim = ClaimState {
                uid: format!("claim-{volume}-{ordinal}"),
                ..ClaimState::default()
            };
            let place = (Role::Broker, ordinal, id(volume));
            input.claims.insert(place, claim);
        }
    }
    at(&mut input, BROKER_1).replace_asked = Some(value.to_owned());
    input
}

fn lost_claims(input: &RollInput) -> Vec<(String, bool)> {
    let lost = volumes(input).into_iter();
    lost.map(|it| (it.claim, it.delete)).collect()
}

#[test]
fn of_several_volumes_those_that_are_named_are_replaced() {
    let of_1 = ("data-1-demo-broker-1".to_owned(), true);
    let of_0 = ("data-demo-broker-1".to_owned(), true);
    let of_4 = ("data-4-demo-broker-1".to_owned(), true);
    let input = asked_of_several("1");
    assert_next(&input, "restart broker-1");
    assert_eq!(lost_claims(&input), std::slice::from_ref(&of_1));
    assert_eq!(volumes(&input)[0].uid, "claim-1-1");
    assert_eq!(
        reason(&input),
        "foz.dev/replace-volume is on the pod for volume 1"
    );
    let input = asked_of_several("4, 0");
    assert_eq!(lost_claims(&input), [of_0.clone(), of_4.clone()]);
    let input = asked_of_several("all");
    assert_eq!(lost_claims(&input), [of_0, of_1.clone(), of_4]);
    // One is deleted already: the others are to be still.
    let mut input = asked_of_several("1,4");
    let claim = input.claims.get_mut(&(Role::Broker, 1, id(4)));
    claim.expect("a claim").deleting = true;
    let going = ("data-4-demo-broker-1".to_owned(), false);
    assert_eq!(lost_claims(&input), [of_1, going]);
    // What the broker has on the others counts, too.
    let mut input = asked_of_several("1");
    input.only_copies.insert(1, vec!["a-0".into()]);
    assert_next(&input, "denied broker-1");
}

#[test]
fn while_it_is_not_clear_which_volume_none_is_replaced() {
    for value in ["", "yes", "2", "1,2", "-1", "1;4", "0x1", "16"] {
        assert_next(&asked_of_several(value), "nothing");
    }
    // By its claims it has one; the pod says that it has more.
    let mut input = asked();
    at(&mut input, BROKER_1).volumes = [id(0), id(1)].into();
    assert_next(&input, "nothing");
}

#[test]
fn what_the_value_of_the_annotation_means() {
    let one = [id(0)].into();
    let two = [id(0), id(1)].into();
    for value in ["", "0", " 0 ", "all", "true", "yes"] {
        assert_eq!(meant(value, &one), Some([id(0)].into()), "{value}");
    }
    // Somebody means a volume that is not there.
    for value in ["1", "0,1", "15", "99", "-1", "1,", "0;1"] {
        assert_eq!(meant(value, &one), None, "{value}");
    }
    assert_eq!(meant("1", &two), Some([id(1)].into()));
    assert_eq!(meant("1,0,1", &two), Some([id(0), id(1)].into()));
    assert_eq!(meant("all", &two), Some([id(0), id(1)].into()));
    for value in ["", "true", "2", "0,", "ALL"] {
        assert_eq!(meant(value, &two), None, "{value}");
    }
}
