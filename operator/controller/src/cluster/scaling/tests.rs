//! Tests of scaling. How all of it goes together is in [`walk`].

use std::collections::BTreeSet;

use foz_crd::ClusterStatus;
use foz_crd::balancing::{RebalancePolicy, RebalancePolicyMode, ScalingStatus};

use crate::cluster::fixtures::validated;
use crate::cluster::observed::{Observed, PodState, QuorumState, QuorumView};
use crate::cluster::plan::{Action, Plan, plan};
use crate::cluster::plan_tests::{pod, settled, settled_status, view_mut};
use crate::cluster::scaling::asked::Answer;
use crate::cluster::scaling::progress::end;
use crate::cluster::scaling::{Scaling, Step, scaling};
use crate::cluster::validate::ValidatedCluster;
use crate::names::Role;
use crate::quorum::rebalance::{Goal, RebalanceState, RebalanceView};
use crate::quorum::view::{BrokerView, GrantView};

mod even;
mod walk;

fn with(brokers: i32) -> ValidatedCluster {
    ValidatedCluster {
        brokers,
        ..validated()
    }
}

/// So many brokers with 10 replicas each, all of which the Cluster wants.
fn world(brokers: i32) -> Observed {
    let mut observed = settled(&with(brokers));
    let view = view_mut(&mut observed);
    view.replicas = (0..brokers).map(|id| (id, 10)).collect();
    observed.widest_topic = Some(("orders".into(), 3));
    observed
}

fn of(wanted: i32, observed: &Observed) -> Scaling {
    scaling(&with(wanted), observed, &ClusterStatus::default())
}

fn cordon(observed: &mut Observed, brokers: &[i32]) {
    for id in brokers {
        let broker = view_mut(observed).brokers.get_mut(id).expect("a broker");
        broker.cordoned = true;
    }
}

fn empty(observed: &mut Observed, brokers: &[i32]) {
    for id in brokers {
        view_mut(observed).replicas.remove(id);
    }
}

fn rebalance(id: i64, goal: Goal, state: RebalanceState) -> RebalanceView {
    RebalanceView {
        id,
        goal: Some(goal),
        state,
        message: String::new(),
        moves_total: 120,
        moves_done: 34,
        bytes_total: 5_000_000,
        bytes_done: 1_000_000,
        seconds_left: Some(40),
    }
}

fn drain(brokers: &[i32]) -> Goal {
    Goal::DrainBrokers(brokers.iter().copied().collect())
}

fn runs(observed: &mut Observed, id: i64, goal: Goal) {
    let running = rebalance(id, goal, RebalanceState::Running);
    view_mut(observed).rebalances.insert(id, running);
}

fn cordoned(brokers: &[i32], cordoned: bool) -> Step {
    Step::Cordon {
        brokers: brokers.iter().copied().collect(),
        cordoned,
    }
}

#[test]
fn brokers_that_are_to_go_are_cordoned_and_drained_and_run_on() {
    let scaling = of(3, &world(6));
    assert_eq!((scaling.brokers, scaling.staying), (6, 3));
    assert_eq!(
        scaling.steps,
        [cordoned(&[3, 4, 5], true), Step::Start(drain(&[3, 4, 5]))]
    );
    assert!(scaling.degraded.is_empty());
}

#[test]
fn a_drain_that_runs_goes_on_while_some_of_its_brokers_are_empty() {
    let mut observed = world(6);
    cordon(&mut observed, &[3, 4, 5]);
    runs(&mut observed, 7, drain(&[3, 4, 5]));
    assert_eq!(of(3, &observed).steps, []);
    empty(&mut observed, &[3]);
    let scaling = of(3, &observed);
    assert_eq!((scaling.steps.as_slice(), scaling.brokers), (&[][..], 6));
    // Only from the top.
    empty(&mut observed, &[5]);
    assert_eq!(of(3, &observed).brokers, 5);
    empty(&mut observed, &[4]);
    assert_eq!(of(3, &observed).brokers, 3);
}

#[test]
fn the_set_does_not_shrink_before_the_cordon_is_told() {
    let mut observed = world(4);
    empty(&mut observed, &[3]);
    let scaling = of(3, &observed);
    assert_eq!(scaling.brokers, 4);
    assert_eq!(scaling.steps, [cordoned(&[3], true)]);
    cordon(&mut observed, &[3]);
    assert_eq!(of(3, &observed).brokers, 3);
}

#[test]
fn one_that_never_registered_goes_at_once() {
    let mut observed = world(5);
    for id in [3, 4] {
        view_mut(&mut observed).brokers.remove(&id);
        empty(&mut observed, &[id]);
    }
    let scaling = of(3, &observed);
    assert_eq!((scaling.brokers, scaling.steps), (3, vec![]));
}

#[test]
fn raising_the_number_again_cancels() {
    let mut observed = world(6);
    cordon(&mut observed, &[3, 4, 5]);
    runs(&mut observed, 7, drain(&[3, 4, 5]));
    let scaling = of(6, &observed);
    let cancel = Step::Cancel {
        rebalance_id: 7,
        reason: "brokers 3, 4 and 5 stay".into(),
    };
    assert_eq!(scaling.steps, [cancel, cordoned(&[3, 4, 5], false)]);
    assert_eq!(scaling.leaving, None);
    // The set has shrunk half way: broker 5 is away, and comes again.
    let set = observed.sets.get_mut(&Role::Broker).expect("settled");
    set.replicas = 5;
    observed.pods.remove(&(Role::Broker, 5));
    view_mut(&mut observed).brokers.remove(&5);
    empty(&mut observed, &[5]);
    let scaling = of(6, &observed);
    assert_eq!(scaling.brokers, 6);
    assert_eq!(scaling.steps.len(), 2);
}

#[test]
fn raising_it_a_little_drains_the_rest_on() {
    let mut observed = world(6);
    cordon(&mut observed, &[3, 4, 5]);
    runs(&mut observed, 7, drain(&[3, 4, 5]));
    let scaling = of(4, &observed);
    // The new drain takes the place of the old one.
    assert_eq!(
        scaling.steps,
        [Step::Start(drain(&[4, 5])), cordoned(&[3], false)]
    );
    // It does not begin: no more is to be taken off a broker that stays.
    let answer = Answer::Refused("no".into());
    observed.asked.insert(drain(&[4, 5]), answer);
    let scaling = of(4, &observed);
    assert!(
        matches!(&scaling.steps[0], Step::Cancel { rebalance_id: 7, reason } if reason == "broker 3 stays"),
        "{:?}",
        scaling.steps
    );
    assert_eq!(scaling.degraded[0].reason, "DrainRefused");
}

#[test]
fn lowering_it_further_drains_more() {
    let mut observed = world(6);
    cordon(&mut observed, &[5]);
    runs(&mut observed, 7, drain(&[5]));
    let scaling = of(4, &observed);
    assert_eq!(
        scaling.steps,
        [cordoned(&[4], true), Step::Start(drain(&[4, 5]))]
    );
}

#[test]
fn a_rebalance_that_runs_gives_way_to_a_drain() {
    let mut observed = world(6);
    runs(&mut observed, 7, Goal::Full);
    let scaling = of(5, &observed);
    assert_eq!(scaling.steps[1], Step::Start(drain(&[5])));
}

#[test]
fn fewer_brokers_than_a_topic_has_replicas_are_refused() {
    let mut observed = world(5);
    observed.widest_topic = Some(("orders".into(), 4));
    let scaling = of(3, &observed);
    assert_eq!((scaling.brokers, scaling.staying), (5, 5));
    assert_eq!(scaling.steps, []);
    let [refused] = scaling.degraded.as_slice() else {
        panic!("{:?}", scaling.degraded)
    };
    assert_eq!(refused.reason, "ScaleDownRefused");
    assert_eq!(
        refused.message,
        "spec.replicas is 3, and 5 brokers run; 3 brokers would be left, and topic orders has 4 replicas of each partition: lower its replication factor to 3, or set replicas back to 5"
    );
    assert!(of(4, &observed).degraded.is_empty());
    // One that came to be after the drain had begun: what was begun is taken back, what has gone has gone.
    cordon(&mut observed, &[3, 4]);
    runs(&mut observed, 7, drain(&[3, 4]));
    let set = observed.sets.get_mut(&Role::Broker).expect("settled");
    set.replicas = 4;
    empty(&mut observed, &[4]);
    observed.pods.remove(&(Role::Broker, 4));
    view_mut(&mut observed)
        .brokers
        .get_mut(&4)
        .expect("4")
        .fenced = true;
    let scaling = of(3, &observed);
    assert_eq!(scaling.brokers, 4);
    assert!(scaling.steps.contains(&cordoned(&[3], false)));
}

#[test]
fn fewer_brokers_than_must_be_in_sync_are_refused() {
    let mut observed = world(4);
    observed.widest_topic = Some(("orders".into(), 1));
    let config = &mut view_mut(&mut observed).broker_config;
    config.insert("min.insync.replicas".into(), "2".into());
    let refused = of(1, &observed).degraded;
    assert!(
        refused[0]
            .message
            .contains("min.insync.replicas of the brokers is 2: lower it to 1"),
        "{refused:?}"
    );
    // Where the operator has set it, it follows the number of brokers.
    let scaling = scaling(&with(1), &observed, &settled_status(&with(4)));
    assert!(scaling.degraded.is_empty());
}

#[test]
fn nothing_goes_while_the_quorum_does_not_answer() {
    let mut observed = world(6);
    cordon(&mut observed, &[3, 4, 5]);
    empty(&mut observed, &[3, 4, 5]);
    let QuorumState::Followed(view) = std::mem::take(&mut observed.quorum) else {
        panic!()
    };
    for quorum in [
        QuorumState::Unknown,
        QuorumState::Lost("gone".into()),
        QuorumState::Reconnecting(view),
    ] {
        observed.quorum = quorum;
        let scaling = of(3, &observed);
        assert_eq!((scaling.brokers, scaling.steps), (6, vec![]));
        assert_eq!(scaling.progressing[0].reason, "ScalingWaitsForQuorum");
    }
    // Those that have left are not brought back because it knew them.
    let set = observed.sets.get_mut(&Role::Broker).expect("settled");
    set.replicas = 3;
    assert_eq!(of(3, &observed).brokers, 3);
}

#[test]
fn a_set_that_a_hand_lowered_comes_back_while_a_broker_holds_something() {
    let mut observed = world(6);
    cordon(&mut observed, &[3, 4, 5]);
    runs(&mut observed, 7, drain(&[3, 4, 5]));
    let set = observed.sets.get_mut(&Role::Broker).expect("settled");
    set.replicas = 4;
    assert_eq!(of(3, &observed).brokers, 6);
    empty(&mut observed, &[5]);
    assert_eq!(of(3, &observed).brokers, 5);
}

#[test]
fn who_is_gone_is_unregistered_and_its_service_taken_away_last() {
    let mut observed = world(4);
    cordon(&mut observed, &[3]);
    empty(&mut observed, &[3]);
    let set = observed.sets.get_mut(&Role::Broker).expect("settled");
    set.replicas = 3;
    observed.broker_services = [3].into();
    // It stops.
    let scaling = of(3, &observed);
    assert_eq!((scaling.brokers, scaling.steps), (3, vec![]));
    let [finding] = scaling.progressing.as_slice() else {
        panic!("{:?}", scaling.progressing)
    };
    assert_eq!(
        finding.message,
        "from 4 to 3 brokers: nothing is left on these, and they stop: demo-broker-3"
    );
    view_mut(&mut observed)
        .brokers
        .get_mut(&3)
        .expect("3")
        .fenced = true;
    assert_eq!(of(3, &observed).steps, []);
    observed.pods.remove(&(Role::Broker, 3));
    // A drain that names it has not ended.
    runs(&mut observed, 7, drain(&[3]));
    assert_eq!(of(3, &observed).steps, []);
    view_mut(&mut observed).rebalances.clear();
    assert_eq!(of(3, &observed).steps, [Step::Unregister(3)]);
    view_mut(&mut observed).brokers.remove(&3);
    assert_eq!(of(3, &observed).steps, [Step::RemoveService(3)]);
    observed.broker_services.clear();
    let scaling = of(3, &observed);
    assert_eq!((scaling.steps, scaling.leaving), (vec![], None));
}

/// One that is left behind a gap would not be found any more.
#[test]
fn services_go_from_the_highest_number_down() {
    let mut observed = world(3);
    observed.broker_services = [3, 4, 5].into();
    let stays = BrokerView {
        cordoned: true,
        ..BrokerView::default()
    };
    view_mut(&mut observed).brokers.insert(4, stays);
    assert_eq!(of(3, &observed).steps, [Step::RemoveService(5)]);
    view_mut(&mut observed).brokers.remove(&4);
    let removed = [5, 4, 3].map(Step::RemoveService);
    assert_eq!(of(3, &observed).steps, removed);
}

/// It may be on its way back: its volume has everything.
#[test]
fn a_broker_that_is_away_and_holds_something_is_not_forgotten() {
    let mut observed = world(4);
    cordon(&mut observed, &[3]);
    runs(&mut observed, 7, drain(&[3]));
    observed.pods.remove(&(Role::Broker, 3));
    view_mut(&mut observed)
        .brokers
        .get_mut(&3)
        .expect("3")
        .fenced = true;
    let scaling = of(3, &observed);
    assert_eq!((scaling.brokers, scaling.steps), (4, vec![]));
}

#[test]
fn what_rebalances_drain_is_cordoned_and_drained_with_the_rest() {
    let mut observed = world(4);
    observed.drains = [1].into();
    let scaling = of(4, &observed);
    assert_eq!((scaling.brokers, scaling.staying), (4, 4));
    assert_eq!(
        scaling.steps,
        [cordoned(&[1], true), Step::Start(drain(&[1]))]
    );
    assert_eq!(scaling.progressing[0].reason, "Draining");
    cordon(&mut observed, &[1]);
    runs(&mut observed, 7, drain(&[1]));
    assert_eq!(
        of(3, &observed).degraded[0].message,
        "spec.replicas is 3, and 4 brokers run; 2 brokers would be left, as Rebalances empty broker 1, and topic orders has 3 replicas of each partition: lower its replication factor to 2, or set replicas back to 4"
    );
    observed.widest_topic = Some(("orders".into(), 2));
    assert_eq!(
        of(3, &observed).steps,
        [cordoned(&[3], true), Step::Start(drain(&[1, 3]))]
    );
    // The Rebalance is deleted.
    observed.drains.clear();
    assert_eq!(
        of(4, &observed).steps,
        [
            Step::Cancel {
                rebalance_id: 7,
                reason: "broker 1 stays".into()
            },
            cordoned(&[1], false)
        ]
    );
}

#[test]
fn a_cordon_that_a_hand_made_is_taken_back() {
    let mut observed = world(3);
    cordon(&mut observed, &[1]);
    assert_eq!(of(3, &observed).steps, [cordoned(&[1], false)]);
}

#[test]
fn progress_is_told() {
    let mut observed = world(6);
    cordon(&mut observed, &[3, 4, 5]);
    runs(&mut observed, 7, drain(&[3, 4, 5]));
    empty(&mut observed, &[4]);
    let before = ClusterStatus::default();
    let plan = plan(&with(3), &observed, &before);
    let message = "from 6 to 3 brokers: moves partitions off brokers 3, 4 and 5: 34 of 120 moved, about 40 s left";
    assert_eq!(plan.progressing[0].reason, "ScalingDown");
    assert_eq!(plan.progressing[0].message, message);
    let told = ScalingStatus {
        from: 6,
        to: 3,
        draining: vec![3, 5],
        rebalance_id: Some(7),
        moved: Some(34),
        left: Some(86),
        bytes_left: Some(4_000_000),
        seconds_left: Some(40),
        message: message.into(),
    };
    assert_eq!(plan.scaling, Some(told.clone()));
    // Half way, it is still from 6 to 3.
    let before = ClusterStatus {
        scaling: Some(told),
        ..before
    };
    let set = observed.sets.get_mut(&Role::Broker).expect("settled");
    set.replicas = 5;
    view_mut(&mut observed).brokers.remove(&5);
    observed.pods.remove(&(Role::Broker, 5));
    empty(&mut observed, &[5]);
    let scaling = scaling(&with(3), &observed, &before);
    assert_eq!(scaling.leaving.map(|leaving| leaving.from), Some(6));
}

#[test]
fn the_end_of_a_rebalance_is_told_once() {
    let mut view = QuorumView::default();
    let before = ClusterStatus {
        scaling: Some(ScalingStatus {
            rebalance_id: Some(7),
            ..ScalingStatus::default()
        }),
        ..ClusterStatus::default()
    };
    let mut told = |state: RebalanceState, goal: Goal| {
        view.rebalances.insert(7, rebalance(7, goal, state));
        let notice = end(&before, &view);
        notice.map(|notice| (notice.reason, notice.note, notice.warning))
    };
    assert_eq!(told(RebalanceState::Running, Goal::Full), None);
    let completed = told(RebalanceState::Completed, drain(&[3]));
    let note = "moved 34 partitions off broker 3, 1.0 MB".to_owned();
    assert_eq!(completed, Some(("RebalanceCompleted".into(), note, false)));
    let cancelled = told(RebalanceState::Cancelled, Goal::Full).expect("told");
    assert_eq!(cancelled.0, "RebalanceCancelled");
    let failed = told(RebalanceState::Failed, Goal::Full).expect("told");
    assert!(failed.2);
    assert_eq!(end(&ClusterStatus::default(), &view), None);
}

/// With two brokers there are two copies: a topic that is made while the third one leaves has to fit.
#[test]
fn settings_are_for_those_that_stay() {
    let mut observed = world(3);
    observed.widest_topic = Some(("orders".into(), 2));
    let status = settled_status(&with(3));
    let altered = |plan: &Plan| {
        let mut actions = plan.actions.iter();
        actions.find_map(|action| match action {
            Action::AlterConfigs(diff) => diff.set.get("default.replication.factor").cloned(),
            _ => None,
        })
    };
    let mut cluster = with(2);
    cluster.config.clear();
    let found = plan(&cluster, &observed, &status);
    assert_eq!(found.brokers, 3);
    assert_eq!(altered(&found).as_deref(), Some("2"));
    observed.widest_topic = Some(("orders".into(), 3));
    assert_eq!(altered(&plan(&cluster, &observed, &status)), None);
}

#[test]
fn a_paused_cluster_is_not_scaled() {
    let cluster = ValidatedCluster {
        paused: true,
        ..with(3)
    };
    let plan = plan(&cluster, &world(6), &ClusterStatus::default());
    assert_eq!(plan.actions, []);
    assert_eq!(plan.progressing[0].reason, "Paused");
}
