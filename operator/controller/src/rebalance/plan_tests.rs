//! Tests of the plan, and of the status that comes of it.

use foz_crd::RebalanceStatus;
use foz_crd::rebalance::{PlanSummary, RebalancePhase};
use k8s_openapi::jiff::Timestamp;

use crate::cluster::observed::QuorumView;
use crate::conditions::find;
use crate::quorum::rebalance::{Goal, RebalanceState, RebalanceView};
use crate::quorum::view::BrokerView;
use crate::rebalance::plan::{Action, Observed, Plan, plan, plan_deletion};
use crate::rebalance::status::{Outcome, news, status};
use crate::topic::plan::ClusterState;

fn rebalance(id: i64, goal: Goal, state: RebalanceState) -> RebalanceView {
    RebalanceView {
        id,
        goal: Some(goal),
        state,
        message: String::new(),
        moves_total: 10,
        moves_done: 4,
        bytes_total: 100,
        bytes_done: 40,
        seconds_left: None,
    }
}

/// Three brokers with something on them.
fn observed() -> Observed {
    let brokers = (0..3).map(|id| (id, BrokerView::default()));
    Observed {
        cluster: ClusterState::Present,
        view: Some(QuorumView {
            brokers: brokers.collect(),
            replicas: (0..3).map(|id| (id, 10)).collect(),
            ..QuorumView::default()
        }),
        plan_is_current: true,
        ..Observed::default()
    }
}

fn approved() -> Observed {
    Observed {
        approved: true,
        ..observed()
    }
}

fn view_mut(observed: &mut Observed) -> &mut QuorumView {
    observed.view.as_mut().expect("followed")
}

fn tells(mut observed: Observed, told: RebalanceView) -> Observed {
    view_mut(&mut observed).rebalances.insert(told.id, told);
    observed
}

fn drain() -> Goal {
    Goal::DrainBrokers([1].into())
}

fn planned() -> RebalanceStatus {
    RebalanceStatus {
        phase: Some(RebalancePhase::Planned),
        plan: Some(PlanSummary {
            moves: 10,
            bytes: 1_500_000,
            seconds: Some(90),
            ..PlanSummary::default()
        }),
        ..RebalanceStatus::default()
    }
}

fn running(id: Option<i64>) -> RebalanceStatus {
    RebalanceStatus {
        phase: Some(RebalancePhase::Running),
        rebalance_id: id,
        ..planned()
    }
}

fn of(goal: &Goal, observed: &Observed, status: &RebalanceStatus) -> Plan {
    plan(goal, "demo", observed, status)
}

fn waits(plan: &Plan) -> &'static str {
    plan.waits.as_ref().map_or("", |finding| finding.reason)
}

fn condition(status: &RebalanceStatus, type_: &str) -> (String, String) {
    let condition = find(&status.conditions, type_).expect("the condition");
    (condition.status.clone(), condition.reason.clone())
}

fn status_of(approved: bool, plan: &Plan, previous: &RebalanceStatus) -> RebalanceStatus {
    let now = Timestamp::UNIX_EPOCH;
    status(approved, Some(1), plan, &Outcome::default(), previous, now)
}

#[test]
fn it_is_planned_and_again_when_replicas_are_elsewhere() {
    let fresh = Observed {
        plan_is_current: false,
        ..observed()
    };
    let before = RebalanceStatus::default();
    assert_eq!(of(&Goal::Full, &fresh, &before).actions, [Action::MakePlan]);
    let plan = of(&Goal::Full, &observed(), &planned());
    assert_eq!(plan, Plan::default());
    let status = status_of(false, &plan, &planned());
    assert_eq!(condition(&status, "Ready").0, "True");
    assert_eq!(
        status.message.as_deref(),
        Some(
            "would move 10 partitions, 1.5 MB to copy, about 90 s; spec.approved: true carries it out"
        )
    );
    assert_eq!(
        of(&Goal::Full, &fresh, &planned()).actions,
        [Action::MakePlan]
    );
    // Not while they are on their way.
    let mut moving = fresh.clone();
    view_mut(&mut moving).moving = 1;
    assert_eq!(of(&Goal::Full, &moving, &planned()).actions, []);
    let other = rebalance(3, Goal::Full, RebalanceState::Running);
    assert_eq!(of(&drain(), &tells(fresh, other), &planned()).actions, []);
}

#[test]
fn what_is_approved_begins_and_is_let_go_only_through_us() {
    let plan = of(&Goal::Full, &approved(), &planned());
    let begins = [Action::AddFinalizer, Action::RecordStart, Action::Start];
    assert_eq!(plan.actions, begins);
    // Approved at once: the plan is shown all the same.
    let fresh = Observed {
        plan_is_current: false,
        finalizer: true,
        ..approved()
    };
    let plan = of(&Goal::Full, &fresh, &RebalanceStatus::default());
    assert_eq!(
        plan.actions,
        [Action::MakePlan, Action::RecordStart, Action::Start]
    );
}

#[test]
fn a_drain_is_the_clusters_to_begin() {
    let plan = of(&drain(), &approved(), &planned());
    assert_eq!(plan.actions, [Action::MakePlan, Action::RecordStart]);
}

#[test]
fn each_waits_for_its_turn_and_says_for_what() {
    let waiting = |change: &dyn Fn(&mut Observed)| {
        let mut observed = approved();
        change(&mut observed);
        let plan = of(&Goal::Full, &observed, &planned());
        assert_eq!(plan.actions, []);
        let status = status_of(true, &plan, &planned());
        assert_eq!(condition(&status, "Progressing").0, "True");
        assert_eq!(condition(&status, "Degraded").0, "False");
        assert_eq!(status.phase, Some(RebalancePhase::Planned));
        (waits(&plan), status.message.expect("a message"))
    };
    let (reason, message) = waiting(&|it| it.ahead = Some("first".into()));
    assert_eq!(reason, "WaitingForRebalance");
    assert_eq!(
        message,
        "begins when Rebalance first has ended or is deleted"
    );
    assert_eq!(
        waiting(&|it| it.scales_down_to = Some(2)).0,
        "WaitingForScaling"
    );
    assert_eq!(
        waiting(&|it| it.refused = Some("no".into())).0,
        "StartRefused"
    );
    assert_eq!(waiting(&|it| it.view = None).0, "WaitingForQuorum");
    assert_eq!(
        waiting(&|it| it.cluster = ClusterState::Paused).0,
        "ClusterPaused"
    );
    let other = rebalance(3, drain(), RebalanceState::Running);
    let (reason, message) = waiting(&|it| *it = tells(it.clone(), other.clone()));
    assert_eq!(reason, "WaitingForRebalance");
    assert!(message.contains("moves partitions off broker 1: 4 of 10 moved"));
    // One for the same is taken over.
    let same = rebalance(3, Goal::Full, RebalanceState::Running);
    let plan = of(&Goal::Full, &tells(approved(), same), &planned());
    assert!(plan.actions.contains(&Action::Start));
}

#[test]
fn it_follows_what_runs_for_it_to_its_end() {
    let found = |state: RebalanceState| {
        let observed = tells(approved(), rebalance(7, Goal::Full, state));
        let plan = of(&Goal::Full, &observed, &running(Some(7)));
        assert_eq!(plan.actions, []);
        status_of(true, &plan, &running(Some(7)))
    };
    let status = found(RebalanceState::Running);
    assert_eq!(status.phase, Some(RebalancePhase::Running));
    let progress = status.progress.expect("progress");
    assert_eq!(
        (progress.moved, progress.left, progress.bytes_left),
        (4, 6, 60)
    );
    let status = found(RebalanceState::Completed);
    assert_eq!(status.phase, Some(RebalancePhase::Completed));
    assert_eq!(condition(&status, "Ready").0, "True");
    assert!(status.finished_at.is_some());
    assert_eq!(
        status.message.as_deref(),
        Some("4 partitions moved, 40 bytes copied")
    );
    let completed = news(&running(Some(7)), &status).expect("an Event");
    assert_eq!(
        (completed.reason.as_str(), completed.warning),
        ("Completed", false)
    );
    let status = found(RebalanceState::Cancelled);
    assert_eq!(
        condition(&status, "Ready"),
        ("False".into(), "Cancelled".into())
    );
    assert_eq!(condition(&status, "Degraded").0, "False");
    let status = found(RebalanceState::Failed);
    assert_eq!(
        condition(&status, "Degraded"),
        ("True".into(), "Failed".into())
    );
}

#[test]
fn one_whose_end_was_not_told_was_replaced() {
    let newer = rebalance(9, Goal::Full, RebalanceState::Running);
    let plan = of(&Goal::Full, &tells(approved(), newer), &running(Some(7)));
    assert_eq!(plan.phase, Some(RebalancePhase::Cancelled));
    let older = rebalance(3, Goal::Full, RebalanceState::Completed);
    let plan = of(&Goal::Full, &tells(approved(), older), &running(Some(7)));
    assert_eq!(plan, Plan::default());
}

#[test]
fn one_whose_answer_was_lost_is_asked_for_again() {
    let plan = of(&Goal::Full, &approved(), &running(None));
    assert_eq!(plan.actions, [Action::Start]);
}

#[test]
fn a_drain_has_ended_when_nothing_is_left_and_nothing_can_come() {
    let mut observed = approved();
    let plan = of(&drain(), &observed, &running(None));
    assert_eq!((plan.phase, plan.actions), (None, vec![]));
    // Together with what scaling drains.
    let both = Goal::DrainBrokers([1, 2].into());
    observed = tells(observed, rebalance(7, both, RebalanceState::Running));
    let plan = of(&drain(), &observed, &running(None));
    assert_eq!(plan.rebalance.map(|it| it.id), Some(7));
    let mut failed = observed.clone();
    let view = view_mut(&mut failed);
    let of_both = view.rebalances.get_mut(&7).expect("told");
    of_both.state = RebalanceState::Failed;
    of_both.message = "the disks are full".into();
    let plan = of(&drain(), &failed, &running(None));
    assert_eq!(plan.blocked.expect("blocked").reason, "DrainRefused");
    view_mut(&mut observed).replicas.remove(&1);
    assert_eq!(of(&drain(), &observed, &running(None)).phase, None);
    let broker = view_mut(&mut observed).brokers.get_mut(&1);
    broker.expect("a broker").cordoned = true;
    let plan = of(&drain(), &observed, &running(None));
    assert_eq!(plan.phase, Some(RebalancePhase::Completed));
}

#[test]
fn what_has_ended_stays_as_it_is_and_holds_nobody() {
    for phase in [
        RebalancePhase::Completed,
        RebalancePhase::Cancelled,
        RebalancePhase::Failed,
    ] {
        let ended = RebalanceStatus {
            phase: Some(phase),
            ..planned()
        };
        let mut observed = Observed {
            finalizer: true,
            plan_is_current: false,
            ..approved()
        };
        let plan = of(&Goal::Full, &observed, &ended);
        assert_eq!(plan.actions, [Action::RemoveFinalizer]);
        observed.finalizer = false;
        observed.cluster = ClusterState::Missing;
        assert_eq!(of(&Goal::Full, &observed, &ended), Plan::default());
    }
}

#[test]
fn a_refusal_is_told_and_asked_for_again_when_something_has_changed() {
    let refused = RebalanceStatus {
        phase: Some(RebalancePhase::Refused),
        message: Some("broker 9 is not registered".into()),
        ..RebalanceStatus::default()
    };
    let plan = of(&drain(), &approved(), &refused);
    assert_eq!(plan.actions, []);
    let status = status_of(true, &plan, &refused);
    assert_eq!(
        condition(&status, "Degraded"),
        ("True".into(), "Refused".into())
    );
    assert_eq!(status.message, refused.message);
    let changed = Observed {
        plan_is_current: false,
        ..approved()
    };
    let plan = of(&drain(), &changed, &refused);
    assert_eq!(plan.actions, [Action::MakePlan, Action::RecordStart]);
}

#[test]
fn a_cluster_that_is_not_there_is_named() {
    let observed = Observed {
        cluster: ClusterState::Missing,
        ..approved()
    };
    let plan = of(&Goal::Full, &observed, &RebalanceStatus::default());
    assert_eq!(plan.blocked.expect("blocked").reason, "ClusterNotFound");
}

#[test]
fn deleting_it_cancels_what_runs_for_it_and_never_hangs() {
    let let_go = [Action::RemoveFinalizer];
    let deleting = Observed {
        deleting: true,
        finalizer: true,
        ..approved()
    };
    let ours = rebalance(7, Goal::Full, RebalanceState::Running);
    let runs = tells(deleting.clone(), ours);
    let of = |observed: &Observed, status: &RebalanceStatus| {
        plan_deletion(Some(&Goal::Full), observed, status).actions
    };
    let cancelled = [Action::Cancel(7), Action::RemoveFinalizer];
    assert_eq!(of(&runs, &running(Some(7))), cancelled);
    // It was about to begin.
    assert_eq!(of(&runs, &running(None)), cancelled);
    assert_eq!(of(&runs, &running(Some(3))), let_go);
    assert_eq!(of(&runs, &planned()), let_go);
    let other = rebalance(7, drain(), RebalanceState::Running);
    let of_other = tells(deleting.clone(), other);
    assert_eq!(of(&of_other, &running(None)), let_go);
    let mut silent = deleting.clone();
    silent.view = None;
    let plan = plan_deletion(Some(&Goal::Full), &silent, &running(Some(7)));
    assert_eq!(
        (plan.actions.as_slice(), waits(&plan)),
        (&[][..], "WaitingForQuorum")
    );
    silent.cluster = ClusterState::Missing;
    assert_eq!(of(&silent, &running(Some(7))), let_go);
    let without = Observed {
        finalizer: false,
        ..deleting
    };
    assert_eq!(of(&without, &running(Some(7))), []);
}
