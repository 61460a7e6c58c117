//! Tests of the roll, edge after edge; [`walk`] goes through whole rolls.

use foz_crd::cluster::PendingRestart;
use k8s_openapi::jiff::{SignedDuration, Timestamp};

use crate::cluster::observed::{PodState, QuorumView, SetState};
use crate::cluster::roll::input::{Denial, RollInput};
use crate::cluster::roll::{Next, PodWait, Roll, Step, Waiting, roll};
use crate::names::{CONTROLLER_NODE_ID_BASE, ClusterName, Role};
use crate::quorum::view::{BrokerView, GrantView};

mod bad_templates;
mod further_volumes;
mod grants;
mod volumes;
mod walk;

type Place = (Role, i32);

const BROKER_0: Place = (Role::Broker, 0);
const BROKER_1: Place = (Role::Broker, 1);
const BROKER_2: Place = (Role::Broker, 2);
const CONTROLLER_0: Place = (Role::Controller, 0);
const CONTROLLER_1: Place = (Role::Controller, 1);
const CONTROLLER_2: Place = (Role::Controller, 2);

/// Three brokers and three controllers of the template `old`, all of them well; 1001 is active.
fn world() -> RollInput {
    let mut pods = std::collections::BTreeMap::new();
    for role in Role::ALL {
        for ordinal in 0..3 {
            pods.insert((role, ordinal), pod(&uid((role, ordinal), 0), "old"));
        }
    }
    let set = SetState {
        replicas: 3,
        update_revision: Some("old".into()),
        image: Some("foz:old".into()),
        ..SetState::default()
    };
    let broker = |id: i32| BrokerView {
        incarnation: format!("process-{id}-0"),
        ..BrokerView::default()
    };
    RollInput {
        now: Timestamp::UNIX_EPOCH,
        name: ClusterName {
            namespace: "kafka".into(),
            name: "demo".into(),
        },
        pods,
        sets: Role::ALL.map(|role| (role, set.clone())).into(),
        quorum: Some(QuorumView {
            active_node_id: CONTROLLER_NODE_ID_BASE + 1,
            brokers: (0..3).map(|id| (id, broker(id))).collect(),
            ..QuorumView::default()
        }),
        config_pending_restart: Vec::new(),
        hold: std::collections::BTreeSet::new(),
        denied: std::collections::BTreeMap::new(),
        claims: std::collections::BTreeMap::new(),
        only_copies: std::collections::BTreeMap::new(),
        storage_classes: std::collections::BTreeMap::new(),
    }
}

fn uid((role, ordinal): Place, birth: i32) -> String {
    format!("uid-{}-{ordinal}-{birth}", role.as_str())
}

fn pod(uid: &str, revision: &str) -> PodState {
    PodState {
        uid: uid.to_owned(),
        revision: Some(revision.to_owned()),
        ready: true,
        running: true,
        image: Some(format!("foz:{revision}")),
        ..PodState::default()
    }
}

/// Everything is of the template `old`, and the newest is another.
fn edited() -> RollInput {
    let mut input = world();
    edit(&mut input, "new");
    input
}

fn edit(input: &mut RollInput, revision: &str) {
    for set in input.sets.values_mut() {
        set.update_revision = Some(revision.to_owned());
        set.image = Some(format!("foz:{revision}"));
    }
}

fn at(input: &mut RollInput, place: Place) -> &mut PodState {
    input.pods.get_mut(&place).expect("a pod")
}

fn quorum(input: &mut RollInput) -> &mut QuorumView {
    input.quorum.as_mut().expect("it answers")
}

/// It is of the newest template and well.
fn rolled(input: &mut RollInput, places: &[Place]) {
    for &place in places {
        let revision = input.sets[&place.0].update_revision.clone();
        *at(input, place) = pod(&uid(place, 1), &revision.expect("known"));
    }
}

fn crash_loops(input: &mut RollInput, place: Place) {
    let pod = at(input, place);
    (pod.running, pod.ready) = (false, false);
    pod.trouble = Some(("CrashLoopBackOff".into(), "no such key".into()));
}

fn grant(input: &mut RollInput, (role, ordinal): Place, operator_epoch: i64) {
    let grant = GrantView {
        incarnation: input.process(role, ordinal).expect("a process"),
        grant_epoch: 70,
        operator_epoch,
        reason: "image changed".into(),
    };
    let node_id = role.node_id_base() + ordinal;
    quorum(input).grants.insert(node_id, grant);
}

fn deny(input: &mut RollInput, (role, ordinal): Place, message: &str) {
    let denial = Denial {
        incarnation: input.process(role, ordinal).expect("a process"),
        message: message.to_owned(),
    };
    input.denied.insert(role.node_id_base() + ordinal, denial);
}

/// What is done, in a word and the pod's name, without the Cluster's.
fn said(roll: &Roll) -> String {
    let short = |name: &str| name.trim_start_matches("demo-").to_owned();
    match &roll.next {
        Next::Nothing => "nothing".into(),
        Next::Do(Step::Replace { pod, .. }) => format!("replace {}", short(pod)),
        Next::Do(Step::Restart { pod, insist, .. }) if *insist => format!("insist {}", short(pod)),
        Next::Do(Step::Restart { pod, .. }) => format!("restart {}", short(pod)),
        Next::Do(Step::Release { node_id, .. }) => format!("release {node_id}"),
        Next::Wait(Waiting::Template(role)) => format!("wait template {}", role.as_str()),
        Next::Wait(Waiting::Quorum) => "wait quorum".into(),
        Next::Wait(Waiting::Pod { pod, wait }) => format!("wait {} {wait:?}", short(pod)),
        Next::Wait(Waiting::Grant { node, .. }) => format!("wait grant {}", short(node)),
        Next::Wait(Waiting::Denied(denied)) => {
            let pods: Vec<String> = denied.iter().map(|(pod, _)| short(pod)).collect();
            format!("denied {}", pods.join(" "))
        }
        Next::Wait(Waiting::Stopped { pod, .. }) => format!("stopped {}", short(pod)),
        Next::Wait(Waiting::Held(pods)) => {
            let pods: Vec<String> = pods.iter().map(|pod| short(pod)).collect();
            format!("held {}", pods.join(" "))
        }
        Next::Wait(Waiting::Volume { pod, wait, .. }) => {
            format!("wait {} {wait:?}", short(pod))
        }
    }
}

fn assert_next(input: &RollInput, expected: &str) {
    assert_eq!(said(&roll(input)), expected, "{input:#?}");
}

fn reason(input: &RollInput) -> String {
    match roll(input).next {
        Next::Do(
            Step::Replace { reason, .. }
            | Step::Restart { reason, .. }
            | Step::Release { reason, .. },
        ) => reason,
        other => panic!("no step: {other:?}"),
    }
}

#[test]
fn a_cluster_as_it_should_be_is_left_alone() {
    let roll = roll(&world());
    assert_eq!((said(&roll).as_str(), roll.left.len()), ("nothing", 0));
}

#[test]
fn brokers_then_controllers_and_the_active_one_last() {
    let mut input = edited();
    let order = [
        (BROKER_0, "broker-0"),
        (BROKER_1, "broker-1"),
        (BROKER_2, "broker-2"),
        (CONTROLLER_0, "controller-0"),
        (CONTROLLER_2, "controller-2"),
        (CONTROLLER_1, "controller-1"),
    ];
    let left = order.map(|(_, name)| format!("demo-{name}"));
    assert_eq!(roll(&input).left, left);
    for (place, name) in order {
        assert_next(&input, &format!("restart {name}"));
        rolled(&mut input, &[place]);
    }
    assert_next(&input, "nothing");
}

#[test]
fn a_restart_says_which_process_of_which_pod_and_why() {
    let mut input = edited();
    let restart = |node_id: i32, incarnation: &str, pod: &str, uid: &str| {
        Next::Do(Step::Restart {
            node_id,
            incarnation: incarnation.into(),
            pod: pod.into(),
            uid: uid.into(),
            reason: "image foz:old to foz:new".into(),
            insist: false,
            volumes: Vec::new(),
        })
    };
    let of_broker = restart(0, "process-0-0", "demo-broker-0", "uid-broker-0-0");
    assert_eq!(roll(&input).next, of_broker);
    rolled(&mut input, &[BROKER_0, BROKER_1, BROKER_2]);
    let of_controller = restart(
        1000,
        "uidcontroller00",
        "demo-controller-0",
        "uid-controller-0-0",
    );
    assert_eq!(roll(&input).next, of_controller);
}

#[test]
fn every_reason_is_told() {
    let mut input = world();
    let set = input.sets.get_mut(&Role::Broker).expect("a set");
    set.update_revision = Some("new".into());
    assert_eq!(reason(&input), "its template is out of date");
    let set = input.sets.get_mut(&Role::Broker).expect("a set");
    set.restarted_for = Some("monday".into());
    assert_eq!(reason(&input), "foz.dev/restart is monday");
    at(&mut input, BROKER_0).restart_asked = true;
    assert_eq!(
        reason(&input),
        "foz.dev/restart is monday; foz.dev/restart is on the pod"
    );
}

#[test]
fn one_pod_is_restarted_when_a_person_asks_for_it() {
    let mut input = world();
    at(&mut input, CONTROLLER_2).restart_asked = true;
    assert_next(&input, "restart controller-2");
    // The annotation goes with the pod.
    rolled(&mut input, &[CONTROLLER_2]);
    assert_next(&input, "nothing");
}

#[test]
fn config_that_waits_for_a_process_restarts_that_process() {
    let mut input = world();
    let pending = |key: &str, incarnation: &str| PendingRestart {
        key: key.into(),
        incarnations: [("1".to_owned(), incarnation.to_owned())].into(),
    };
    input.config_pending_restart = vec![
        pending("group.max.size", "process-1-0"),
        pending("queued.max.requests", "process-1-0"),
        pending("old.news", "an earlier one"),
    ];
    assert_eq!(roll(&input).left, ["demo-broker-1"]);
    assert_eq!(
        reason(&input),
        "config waits for a restart: group.max.size, queued.max.requests"
    );
    let broker = BrokerView {
        incarnation: "process-1-1".into(),
        ..BrokerView::default()
    };
    quorum(&mut input).brokers.insert(1, broker);
    assert_next(&input, "nothing");
}

/// It starts with the new values, or not at all: replacing it would be for nothing, and without end.
#[test]
fn config_restarts_no_broker_that_does_not_come_up() {
    let mut input = world();
    input.config_pending_restart = vec![PendingRestart {
        key: "a".into(),
        incarnations: [("1".to_owned(), "process-1-0".to_owned())].into(),
    }];
    let mut unready = input.clone();
    quorum(&mut unready).brokers.get_mut(&1).expect("1").fenced = true;
    at(&mut unready, BROKER_1).ready = false;
    assert_next(&unready, "nothing");
    crash_loops(&mut input, BROKER_1);
    assert_next(&input, "nothing");
}

#[test]
fn pods_whose_process_does_not_run_go_first_and_need_no_grant() {
    let mut input = edited();
    for place in [BROKER_2, CONTROLLER_2] {
        crash_loops(&mut input, place);
    }
    assert_next(&input, "replace controller-2");
    assert_eq!(
        reason(&input),
        "image foz:old to foz:new; its container does not run"
    );
    // Nor a quorum, nor that the one before is back.
    input.quorum = None;
    rolled(&mut input, &[CONTROLLER_2]);
    at(&mut input, CONTROLLER_2).ready = false;
    assert_next(&input, "replace broker-2");
}

#[test]
fn pods_that_run_and_do_not_serve_go_before_those_that_do() {
    let mut input = edited();
    at(&mut input, BROKER_2).ready = false;
    assert_next(&input, "restart broker-2");
    at(&mut input, CONTROLLER_2).ready = false;
    assert_next(&input, "restart controller-2");
    // Ready, says Kubernetes; without a lease, says the quorum.
    let mut input = edited();
    quorum(&mut input).brokers.get_mut(&1).expect("1").fenced = true;
    assert_next(&input, "restart broker-1");
}

#[test]
fn a_broker_that_the_quorum_does_not_know_holds_nothing() {
    let mut input = edited();
    quorum(&mut input).brokers.remove(&1);
    at(&mut input, BROKER_1).ready = false;
    assert_next(&input, "replace broker-1");
    assert!(reason(&input).contains("the quorum does not know it"));
}

/// What is away is waited for, whatever it is that is away.
#[test]
fn one_at_a_time() {
    type Change = fn(&mut RollInput);
    let cases: [(&str, Change); 6] = [
        ("wait broker-0 NotReady", |input| {
            at(input, BROKER_0).ready = false
        }),
        ("wait broker-0 Leaving", |input| {
            at(input, BROKER_0).deleting = true
        }),
        ("wait broker-0 Missing", |input| {
            drop(input.pods.remove(&BROKER_0))
        }),
        ("wait broker-0 NoLease", |input| {
            quorum(input).brokers.get_mut(&0).expect("0").fenced = true;
        }),
        ("wait grant broker-0", |input| grant(input, BROKER_0, 0)),
        ("wait controller-1 NotReady", |input| {
            rolled(input, &[CONTROLLER_1]);
            at(input, CONTROLLER_1).ready = false;
        }),
    ];
    for (expected, change) in cases {
        let mut input = edited();
        rolled(&mut input, &[BROKER_0]);
        change(&mut input);
        assert_next(&input, expected);
    }
    // A pod of the old template that is on its way out is as good as restarted.
    let mut input = edited();
    at(&mut input, BROKER_1).deleting = true;
    assert_next(&input, "wait broker-1 Leaving");
    assert!(!roll(&input).left.contains(&"demo-broker-1".to_owned()));
}

#[test]
fn a_broker_that_may_not_restart_holds_up_no_other_broker_but_the_controllers() {
    let mut input = edited();
    deny(
        &mut input,
        BROKER_0,
        "orders-3 has 2 in-sync replicas and needs 2",
    );
    assert_next(&input, "restart broker-1");
    rolled(&mut input, &[BROKER_1, BROKER_2]);
    assert_next(&input, "denied broker-0");
    let Next::Wait(waiting) = roll(&input).next else {
        panic!("it waits")
    };
    let finding = waiting.finding();
    assert_eq!(finding.reason, "RestartDenied");
    assert_eq!(
        finding.message,
        "demo-broker-0: orders-3 has 2 in-sync replicas and needs 2"
    );
    // A denial is of one process.
    let broker = BrokerView {
        incarnation: "another".into(),
        ..BrokerView::default()
    };
    quorum(&mut input).brokers.insert(0, broker);
    assert_next(&input, "restart broker-0");
}

#[test]
fn denied_controllers_wait_too() {
    let mut input = edited();
    rolled(&mut input, &[BROKER_0, BROKER_1, BROKER_2]);
    deny(&mut input, CONTROLLER_0, "no majority");
    assert_next(&input, "restart controller-2");
    deny(&mut input, CONTROLLER_2, "no majority");
    deny(&mut input, CONTROLLER_1, "no majority");
    assert_next(&input, "denied controller-0 controller-2 controller-1");
}

#[test]
fn while_the_quorum_is_silent_no_pod_that_serves_is_restarted_but_by_a_person() {
    let mut input = edited();
    let silent = QuorumView {
        active_node_id: -1,
        ..quorum(&mut input).clone()
    };
    for quorum in [None, Some(silent)] {
        let mut input = edited();
        input.quorum = quorum;
        assert_next(&input, "wait quorum");
        for place in [CONTROLLER_0, CONTROLLER_1] {
            at(&mut input, place).force_asked = true;
        }
        assert_next(&input, "replace controller-0");
        // It does not get ready without the other one, which is not held up by that.
        rolled(&mut input, &[CONTROLLER_0]);
        at(&mut input, CONTROLLER_0).ready = false;
        assert_next(&input, "replace controller-1");
    }
}

#[test]
fn a_person_may_insist() {
    let mut input = world();
    at(&mut input, BROKER_1).force_asked = true;
    deny(&mut input, BROKER_1, "orders-3 would be offline");
    at(&mut input, BROKER_0).ready = false;
    assert_next(&input, "insist broker-1");
    // Contradictory: held, and forced. Nothing is done, and that is said.
    input.hold.insert("demo-broker-1".into());
    assert_next(&input, "held broker-1");
}

#[test]
fn what_is_held_is_left_alone_and_not_waited_for() {
    let mut input = edited();
    input.hold.insert("demo-broker-0".into());
    input.hold.insert("no-such-pod".into());
    assert_next(&input, "restart broker-1");
    assert_eq!(
        roll(&input).left.last().expect("it is left"),
        "demo-broker-0"
    );
    crash_loops(&mut input, BROKER_0);
    assert_next(&input, "restart broker-1");
    rolled(
        &mut input,
        &[BROKER_1, BROKER_2, CONTROLLER_0, CONTROLLER_1, CONTROLLER_2],
    );
    assert_next(&input, "held broker-0");
    // One that fails from the newest template stops nobody when it is held.
    let mut input = edited();
    rolled(&mut input, &[BROKER_0]);
    crash_loops(&mut input, BROKER_0);
    input.hold.insert("demo-broker-0".into());
    assert_next(&input, "restart broker-1");
    let pod = at(&mut input, BROKER_1);
    (pod.running, pod.ready) = (false, false);
    assert_next(&input, "replace broker-1");
}

#[test]
fn a_template_that_kubernetes_has_not_seen_is_waited_for() {
    let mut input = world();
    input
        .sets
        .get_mut(&Role::Broker)
        .expect("a set")
        .update_revision = None;
    assert_next(&input, "nothing");
    at(&mut input, CONTROLLER_0).restart_asked = true;
    assert_next(&input, "wait template broker");
    input.sets.remove(&Role::Controller);
    at(&mut input, BROKER_0).restart_asked = true;
    assert_next(&input, "wait template controller");
}

/// Pods beyond the set's number are being taken away, by other rules than these.
#[test]
fn pods_beyond_the_number_of_the_set_are_none_of_the_rolls() {
    let mut input = edited();
    for set in input.sets.values_mut() {
        set.replicas = 0;
    }
    assert_next(&input, "nothing");
}

#[test]
fn every_waiting_has_a_sentence_with_the_pod() {
    let pod = || "demo-broker-1".to_owned();
    let waitings = [
        Waiting::Pod {
            pod: pod(),
            wait: PodWait::Missing,
        },
        Waiting::Pod {
            pod: pod(),
            wait: PodWait::Leaving,
        },
        Waiting::Pod {
            pod: pod(),
            wait: PodWait::NotReady,
        },
        Waiting::Pod {
            pod: pod(),
            wait: PodWait::NoLease,
        },
        Waiting::Grant {
            node: pod(),
            reason: "evicted".into(),
        },
        Waiting::Denied(vec![(pod(), "no".into())]),
        Waiting::Stopped {
            pod: pod(),
            trouble: "it is".into(),
        },
        Waiting::Held(vec![pod()]),
    ];
    for waiting in waitings {
        let finding = waiting.finding();
        assert!(finding.message.contains("demo-broker-1"), "{finding:?}");
        let stopped = matches!(waiting, Waiting::Stopped { .. });
        assert_eq!(waiting.needs_a_person(), stopped, "{waiting:?}");
    }
}

/// Services still send clients that start to the one that has just gone, unless they have had the time to hear of it.
#[test]
fn a_broker_is_not_restarted_just_after_another_has_come_up() {
    let mut input = edited();
    rolled(&mut input, &[BROKER_0]);
    let second = SignedDuration::from_secs(1);
    at(&mut input, BROKER_0).ready_since = Some(input.now - second);
    assert_next(&input, "wait broker-0 JustReady");
    input.now += second;
    assert_next(&input, "restart broker-1");

    // Controllers take no clients.
    rolled(&mut input, &[BROKER_0, BROKER_1, BROKER_2]);
    at(&mut input, BROKER_2).ready_since = Some(input.now);
    assert_next(&input, "restart controller-0");
}
