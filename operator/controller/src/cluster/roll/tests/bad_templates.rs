//! Pods that do not come up.

use super::{
    BROKER_0, BROKER_1, CONTROLLER_0, PodState, assert_next, at, crash_loops, deny, edit, edited,
    rolled, said, world,
};
use crate::cluster::roll::{Next, roll};

#[test]
fn what_starts_is_not_called_failed_and_what_fails_is() {
    let fails = |change: fn(&mut PodState)| {
        let mut input = edited();
        rolled(&mut input, &[BROKER_0]);
        let pod = at(&mut input, BROKER_0);
        pod.ready = false;
        change(pod);
        said(&roll(&input))
    };
    assert_eq!(fails(|_| {}), "wait broker-0 NotReady");
    assert_eq!(fails(|pod| pod.running = false), "wait broker-0 NotReady");
    assert_eq!(
        fails(|pod| pod.container_restarts = 1),
        "wait broker-0 NotReady"
    );
    assert_eq!(fails(|pod| pod.container_restarts = 2), "stopped broker-0");
    let trouble = |pod: &mut PodState| {
        pod.running = false;
        pod.trouble = Some(("ErrImagePull".into(), String::new()));
    };
    assert_eq!(fails(trouble), "stopped broker-0");
}

#[test]
fn a_pod_that_does_not_come_up_stops_the_roll_until_the_spec_is_mended() {
    let mut input = edited();
    rolled(&mut input, &[BROKER_0]);
    crash_loops(&mut input, BROKER_0);
    assert_next(&input, "stopped broker-0");
    let Next::Wait(waiting) = roll(&input).next else {
        panic!("it waits")
    };
    assert!(waiting.needs_a_person());
    let finding = waiting.finding();
    assert_eq!(finding.reason, "RollStopped");
    assert!(finding.message.contains("CrashLoopBackOff: no such key"));
    // Mended by another edit, or by taking the edit back: it is of an older template either way.
    for revision in ["newer", "old"] {
        let mut input = input.clone();
        edit(&mut input, revision);
        assert_next(&input, "replace broker-0");
        rolled(&mut input, &[BROKER_0]);
        let expected = if revision == "old" {
            "nothing"
        } else {
            "restart broker-1"
        };
        assert_next(&input, expected);
    }
    // It has come up after all.
    rolled(&mut input, &[BROKER_0]);
    assert_next(&input, "restart broker-1");
}

/// The others run; the one that has died this moment comes back, of the old template, by itself.
#[test]
fn a_bad_template_takes_one_pod_of_its_role() {
    let mut input = edited();
    rolled(&mut input, &[BROKER_0]);
    crash_loops(&mut input, BROKER_0);
    let pod = at(&mut input, BROKER_1);
    (pod.running, pod.ready) = (false, false);
    assert_next(&input, "stopped broker-0");
    // That one does not come back by itself, and a controller has another template.
    crash_loops(&mut input, BROKER_1);
    assert_next(&input, "replace broker-1");
    rolled(&mut input, &[BROKER_1]);
    let pod = at(&mut input, CONTROLLER_0);
    (pod.running, pod.ready) = (false, false);
    assert_next(&input, "replace controller-0");
}

#[test]
fn what_fails_from_the_newest_template_can_be_restarted_by_a_person() {
    let mut input = edited();
    rolled(&mut input, &[BROKER_0]);
    let pod = at(&mut input, BROKER_0);
    pod.ready = false;
    pod.container_restarts = 9;
    pod.restart_asked = true;
    assert_next(&input, "restart broker-0");
    deny(&mut input, BROKER_0, "no");
    assert_next(&input, "denied broker-0");
}

/// Where nothing is to be restarted there is no roll that could stop.
#[test]
fn a_pod_that_fails_after_the_roll_is_no_business_of_the_roll() {
    let mut input = world();
    crash_loops(&mut input, BROKER_0);
    assert_next(&input, "nothing");
}
