//! Replicas that are evened out.

use super::*;

fn uneven(counts: &[i64]) -> Observed {
    let brokers = i32::try_from(counts.len()).expect("few");
    let mut observed = world(brokers);
    view_mut(&mut observed).replicas = (0..)
        .zip(counts.iter().copied())
        .filter(|(_, count)| *count > 0)
        .collect();
    observed
}

fn plan_even(observed: &Observed, policy: &RebalancePolicy) -> Plan {
    let view = observed.quorum.current().expect("followed");
    let cluster = ValidatedCluster {
        rebalance: policy.clone(),
        ..with(i32::try_from(view.brokers.len()).expect("few"))
    };
    plan(&cluster, observed, &settled_status(&cluster))
}

/// What is begun.
fn begun(observed: &Observed) -> Option<Goal> {
    let plan = plan_even(observed, &RebalancePolicy::default());
    match plan.actions.as_slice() {
        [] => None,
        [Action::Scale(Step::Start(goal))] => Some(goal.clone()),
        other => panic!("{other:?}"),
    }
}

fn added(brokers: &[i32]) -> Option<Goal> {
    Some(Goal::AddedBrokers(brokers.iter().copied().collect()))
}

#[test]
fn what_is_as_even_as_can_be_is_left_alone() {
    for counts in [
        &[10, 10, 10][..],
        &[0, 0, 0],
        // 10 percent, and what rounding leaves.
        &[100, 100, 91],
        &[2, 1, 1],
        &[1, 0, 0],
        &[1, 1, 0],
        &[3, 2, 2, 2],
        &[7],
    ] {
        assert_eq!(begun(&uneven(counts)), None, "{counts:?}");
    }
}

#[test]
fn brokers_that_were_added_are_filled_and_others_evened_out() {
    assert_eq!(begun(&uneven(&[20, 20, 20, 0, 0])), added(&[3, 4]));
    assert_eq!(begun(&uneven(&[2, 0])), added(&[1]));
    // Half full: it is not new, and the others may give to each other too.
    assert_eq!(begun(&uneven(&[20, 20, 12])), Some(Goal::Full));
    assert_eq!(begun(&uneven(&[30, 20, 20])), Some(Goal::Full));
    assert_eq!(begun(&uneven(&[100, 100, 89])), None);
    assert_eq!(begun(&uneven(&[100, 100, 80])), Some(Goal::Full));
}

#[test]
fn what_was_answered_is_not_asked_again() {
    let mut observed = uneven(&[20, 20, 0]);
    let goal = added(&[2]).expect("a goal");
    assert_eq!(begun(&observed), Some(goal.clone()));
    observed.asked.insert(goal, Answer::NothingToDo);
    assert_eq!(begun(&observed), Some(Goal::Full));
    observed.asked.insert(Goal::Full, Answer::NothingToDo);
    assert_eq!(begun(&observed), None);
    let refused = Answer::Refused("not now".into());
    observed.asked.insert(Goal::Full, refused);
    assert_eq!(begun(&observed), None);
    let plan = plan_even(&observed, &RebalancePolicy::default());
    assert_eq!(plan.progressing[0].reason, "RebalanceRefused");
    assert_eq!(plan.progressing[0].message, "not now");
}

/// What is uneven in bytes and traffic, the quorum knows.
#[test]
fn where_replicas_are_even_the_quorum_is_asked_from_time_to_time() {
    let mut observed = uneven(&[20, 20, 20]);
    assert_eq!(begun(&observed), None);
    observed.look_is_due = true;
    assert_eq!(begun(&observed), Some(Goal::Full));
    // What it answered was about replicas as they are; what is asked now is about more.
    observed.asked.insert(Goal::Full, Answer::NothingToDo);
    assert_eq!(begun(&observed), Some(Goal::Full));
    let manual = RebalancePolicy {
        mode: RebalancePolicyMode::Manual,
        ..RebalancePolicy::default()
    };
    assert_eq!(plan_even(&observed, &manual).actions, []);
    // New brokers are filled first, and a refusal is waited for.
    let mut observed = uneven(&[20, 20, 0]);
    observed.look_is_due = true;
    assert_eq!(begun(&observed), added(&[2]));
    let mut observed = uneven(&[20, 20, 12]);
    observed.look_is_due = true;
    let refused = Answer::Refused("not now".into());
    observed.asked.insert(Goal::Full, refused);
    assert_eq!(begun(&observed), None);
}

#[test]
fn nothing_is_evened_out_while_anything_else_goes_on() {
    let mut calm = uneven(&[20, 20, 0]);
    calm.look_is_due = true;
    assert!(begun(&calm).is_some());
    let change = |change: &dyn Fn(&mut Observed)| {
        let mut observed = calm.clone();
        change(&mut observed);
        observed
    };
    let down = |it: &mut Observed| {
        let broker = view_mut(it).brokers.get_mut(&0);
        broker.expect("settled").fenced = true;
    };
    let granted = |it: &mut Observed| {
        let grants = &mut view_mut(it).grants;
        grants.insert(1000, GrantView::default());
    };
    let not_registered = |it: &mut Observed| drop(view_mut(it).brokers.remove(&2));
    let restarted = |it: &mut Observed| drop(it.pods.insert((Role::Broker, 1), pod("old", true)));
    let busy = [
        ("a rebalance", change(&|it| runs(it, 7, Goal::Full))),
        ("a move", change(&|it| view_mut(it).moving = 1)),
        (
            "a partition offline",
            change(&|it| view_mut(it).offline = 1),
        ),
        (
            "no controller",
            change(&|it| view_mut(it).active_node_id = -1),
        ),
        ("a broker that is down", change(&down)),
        ("a grant", change(&granted)),
        (
            "a Rebalance",
            change(&|it| it.rebalance_pending = Some("evenly".into())),
        ),
        ("a broker that is not there yet", change(&not_registered)),
        ("a restart", change(&restarted)),
    ];
    for (what, observed) in busy {
        let cluster = with(3);
        let plan = plan(&cluster, &observed, &settled_status(&cluster));
        let begins = |action: &&Action| matches!(action, Action::Scale(Step::Start(_)));
        assert_eq!(plan.actions.iter().find(begins), None, "{what}");
    }
}

/// Nobody knows when there will be room for it.
#[test]
fn a_broker_that_cannot_start_is_not_waited_for() {
    let mut observed = uneven(&[20, 20, 0, 0]);
    view_mut(&mut observed).brokers.remove(&3);
    let stuck = PodState {
        trouble: Some(("Unschedulable".into(), "no room".into())),
        ..pod("new", false)
    };
    let cluster = with(4);
    let begins = |observed: &Observed| {
        let plan = plan(&cluster, observed, &settled_status(&cluster));
        let start = Action::Scale(Step::Start(Goal::AddedBrokers([2].into())));
        plan.actions.contains(&start)
    };
    assert!(!begins(&observed));
    observed.pods.insert((Role::Broker, 3), stuck);
    assert!(begins(&observed));
}

#[test]
fn brokers_that_are_drained_are_no_part_of_it() {
    let mut observed = uneven(&[20, 20, 0]);
    observed.drains = [2].into();
    cordon(&mut observed, &[2]);
    assert_eq!(begun(&observed), None);
}

#[test]
fn by_hand_the_status_says_what_would_help() {
    let policy = |threshold| RebalancePolicy {
        mode: RebalancePolicyMode::Manual,
        threshold,
    };
    let plan = plan_even(&uneven(&[20, 20, 0]), &policy(10));
    assert_eq!(plan.actions, []);
    assert_eq!(plan.progressing[0].reason, "RebalanceSuggested");
    assert_eq!(
        plan.progressing[0].message,
        "replicas are uneven, broker 0 has 20, broker 1 has 20, broker 2 has 0: a Rebalance with mode AddedBrokers and brokers [2] would move some onto broker 2"
    );
    let plan = plan_even(&uneven(&[30, 20, 20]), &policy(10));
    let message = &plan.progressing[0].message;
    assert!(message.ends_with("a Rebalance with mode Full would even them out"));
    let plan = plan_even(&uneven(&[30, 20, 20]), &policy(50));
    assert_eq!(plan.progressing, []);
}
