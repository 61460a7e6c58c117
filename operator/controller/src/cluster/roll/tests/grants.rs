//! Grants that are there when a pass begins.

use super::{
    BROKER_0, BROKER_1, BROKER_2, CONTROLLER_0, assert_next, at, crash_loops, edited, grant,
    quorum, reason, rolled, world,
};
use crate::quorum::view::{BrokerView, GrantView};

/// The answer was lost, or the operator that asked is gone.
#[test]
fn a_restart_that_was_begun_is_finished_first() {
    let mut input = edited();
    grant(&mut input, BROKER_2, 5);
    assert_next(&input, "restart broker-2");
    at(&mut input, BROKER_2).deleting = true;
    assert_next(&input, "wait broker-2 Leaving");
    // The next pod starts, and the quorum knows the process before it still.
    rolled(&mut input, &[BROKER_2]);
    at(&mut input, BROKER_2).ready = false;
    quorum(&mut input).brokers.get_mut(&2).expect("2").fenced = true;
    assert_next(&input, "wait broker-2 NotReady");
    // It is registered, and not back in every ISR.
    let broker = BrokerView {
        incarnation: "process-2-1".into(),
        ..BrokerView::default()
    };
    quorum(&mut input).brokers.insert(2, broker);
    rolled(&mut input, &[BROKER_2]);
    assert_next(&input, "wait grant broker-2");
    quorum(&mut input).grants.clear();
    assert_next(&input, "restart broker-0");
}

/// Somebody has crashed between the grant and the deletion: asked again, the quorum would not weigh it again.
#[test]
fn a_restart_that_was_begun_is_weighed_anew_when_another_is_away() {
    for place in [BROKER_0, CONTROLLER_0] {
        let mut input = edited();
        grant(&mut input, BROKER_2, 5);
        at(&mut input, place).ready = false;
        assert_next(&input, "release 2");
    }
    let mut input = edited();
    grant(&mut input, BROKER_2, 5);
    input.pods.remove(&BROKER_0);
    assert_eq!(reason(&input), "demo-broker-0 is away");
}

#[test]
fn a_grant_that_nobody_needs_any_more_is_given_back() {
    // The edit was taken back between the grant and the deletion.
    let mut input = world();
    grant(&mut input, BROKER_1, 5);
    assert_next(&input, "release 1");
    assert_eq!(reason(&input), "it is not to be restarted any more");
    let mut input = edited();
    grant(&mut input, BROKER_1, 5);
    input.hold.insert("demo-broker-1".into());
    assert_eq!(reason(&input), "its pod is held");
    let mut input = edited();
    rolled(&mut input, &[BROKER_0]);
    crash_loops(&mut input, BROKER_0);
    grant(&mut input, BROKER_1, 5);
    assert_eq!(reason(&input), "the roll has stopped");
    // Asked for by the process: it is about to stop.
    let mut input = world();
    grant(&mut input, BROKER_1, 0);
    assert_next(&input, "nothing");
}

/// A broker whose next pod does not come up still has the grant of the process before.
#[test]
fn the_grant_of_a_broker_that_is_down_is_not_given_back() {
    let mut input = edited();
    grant(&mut input, BROKER_0, 5);
    rolled(&mut input, &[BROKER_0]);
    crash_loops(&mut input, BROKER_0);
    assert_next(&input, "stopped broker-0");
    let mut input = world();
    grant(&mut input, BROKER_0, 5);
    at(&mut input, BROKER_0).ready = false;
    assert_next(&input, "nothing");
}

/// The quorum knows nothing of controllers' processes: their grants are given back here.
#[test]
fn the_grant_of_a_controller_that_is_back_is_given_back() {
    for operator_epoch in [0, 5] {
        let mut input = edited();
        rolled(&mut input, &[BROKER_0, BROKER_1, BROKER_2]);
        grant(&mut input, CONTROLLER_0, operator_epoch);
        let begun = if operator_epoch > 0 {
            "restart controller-0"
        } else {
            "wait grant controller-0"
        };
        assert_next(&input, begun);
        rolled(&mut input, &[CONTROLLER_0]);
        at(&mut input, CONTROLLER_0).ready = false;
        assert_next(&input, "wait controller-0 NotReady");
        at(&mut input, CONTROLLER_0).ready = true;
        assert_next(&input, "release 1000");
        quorum(&mut input).grants.clear();
        assert_next(&input, "restart controller-2");
    }
}

#[test]
fn a_grant_of_a_node_without_a_pod_is_waited_for() {
    let mut input = edited();
    let grant = GrantView {
        operator_epoch: 5,
        ..GrantView::default()
    };
    quorum(&mut input).grants.insert(7, grant);
    assert_next(&input, "wait grant node 7");
}
