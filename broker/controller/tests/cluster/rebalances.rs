//! Replicas are rebalanced: asked for, told, cancelled, and taken over by another controller.

use std::time::Duration;

use foz_api::v1;
use foz_api::v1::cluster_event::Event;
use foz_api::v1::rebalance::State;
use foz_api::v1::start_rebalance_response::{Answer, Started};
use foz_api::v1::{CordonBrokersRequest, RebalanceGoal, plan_rebalance_response};
use tonic::{Code, Status};

use crate::controllers::Controllers;
use crate::fake_broker::FakeBroker;
use crate::support::{
    acquire_operator_epoch, admin, assigned_topic, change_isr, create_this, new_topic, with_brokers,
};
use crate::watcher::Watcher;

/// The first plan of a controller does not wait for loads, which these brokers do not tell.
async fn controllers(count: usize) -> Controllers {
    Controllers::start_as(count, |config| {
        config.rebalance.loads_wait = Duration::ZERO;
        config.rebalance.moves_per_broker = 2;
    })
    .await
}

async fn start(
    controllers: &Controllers,
    goal: RebalanceGoal,
    broker_ids: &[i32],
    operator_epoch: i64,
) -> Result<Answer, Status> {
    let request = v1::StartRebalanceRequest {
        goal: goal.into(),
        broker_ids: broker_ids.to_vec(),
        operator_epoch,
        ..v1::StartRebalanceRequest::default()
    };
    let answer = admin(controllers).await.start_rebalance(request).await?;
    Ok(answer.into_inner().answer.unwrap())
}

async fn started(controllers: &Controllers, goal: RebalanceGoal, broker_ids: &[i32]) -> Started {
    match start(controllers, goal, broker_ids, 0).await.unwrap() {
        Answer::Started(started) => started,
        other => panic!("{other:?}"),
    }
}

async fn plan(
    controllers: &Controllers,
    goal: RebalanceGoal,
    broker_ids: &[i32],
) -> plan_rebalance_response::Answer {
    let request = v1::PlanRebalanceRequest {
        goal: goal.into(),
        broker_ids: broker_ids.to_vec(),
        ..v1::PlanRebalanceRequest::default()
    };
    let answer = admin(controllers).await.plan_rebalance(request).await;
    answer.unwrap().into_inner().answer.unwrap()
}

async fn cancel(controllers: &Controllers, rebalance_id: i64, operator_epoch: i64) -> bool {
    let request = v1::CancelRebalanceRequest {
        rebalance_id,
        operator_epoch,
    };
    let answer = admin(controllers).await.cancel_rebalance(request).await;
    answer.unwrap().into_inner().cancelled
}

async fn cordon(controllers: &Controllers, node_id: i32) {
    let request = CordonBrokersRequest {
        node_ids: vec![node_id],
        cordoned: true,
        operator_epoch: 0,
    };
    admin(controllers)
        .await
        .cordon_brokers(request)
        .await
        .unwrap();
}

/// Every replica of what moves is in sync from now on; what moves has to be led by these.
async fn catch_up(controllers: &Controllers, brokers: &[FakeBroker]) {
    let image = controllers.image();
    for (topic, index, partition) in image.reassigning_partitions() {
        let broker = |id: &i32| &brokers[usize::try_from(*id).unwrap()];
        let members: Vec<_> = partition.replicas.iter().map(broker).collect();
        let leader = broker(&partition.leader);
        change_isr(controllers, (&topic.name, index), leader, &members).await;
    }
}

/// Until the rebalance is told to have ended.
async fn run(controllers: &Controllers, brokers: &[FakeBroker]) -> v1::Rebalance {
    let (mut watcher, first) = Watcher::start(controllers).await;
    let newest = first.into_iter().find_map(rebalance);
    let mut newest = newest.expect("it is told first");
    while newest.state() == State::Running {
        catch_up(controllers, brokers).await;
        let told = watcher.next_that(rebalance);
        if let Ok(told) = tokio::time::timeout(Duration::from_millis(100), told).await {
            newest = told;
        }
    }
    newest
}

fn rebalance(event: Event) -> Option<v1::Rebalance> {
    match event {
        Event::RebalanceChanged(rebalance) => Some(rebalance),
        _ => None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_is_drained_and_that_is_told() {
    let (controllers, brokers) = with_brokers::<4>(controllers(1).await).await;
    create_this(&controllers, new_topic("t", 12)).await;
    let before = controllers.image().replica_count(3);
    assert!(before > 0);

    // What it would do, and what is wrong with it: it has to be cordoned first.
    let drain = RebalanceGoal::DrainBrokers;
    let plan_rebalance_response::Answer::Plan(planned) = plan(&controllers, drain, &[3]).await
    else {
        panic!("it is possible");
    };
    assert_eq!(usize::try_from(planned.moves).unwrap(), before);
    assert_eq!((planned.bytes, planned.seconds), (0, -1), "nobody has told");
    let replicas = |loads: &[plan_rebalance_response::BrokerLoad]| {
        let of = loads.iter().map(|load| (load.node_id, load.replicas));
        of.collect::<Vec<_>>()
    };
    assert_eq!(replicas(&planned.before)[3], (3, before as i32));
    assert_eq!(replicas(&planned.after)[3], (3, 0));
    assert_eq!(planned.first_moves.len(), before);
    assert!(planned.first_moves.iter().all(|it| !it.to.contains(&3)));
    let refused = start(&controllers, drain, &[3], 0).await.unwrap();
    assert!(matches!(&refused, Answer::Refused(why) if why.contains("cordon it first")));
    let refused = plan(&controllers, drain, &[9]).await;
    let text = "broker_ids names 9, which is not registered";
    assert_eq!(
        refused,
        plan_rebalance_response::Answer::Refused(text.to_owned())
    );
    assert!(controllers.image().rebalance().is_none());

    cordon(&controllers, 3).await;
    let first = started(&controllers, drain, &[3]).await;
    assert_eq!(usize::try_from(first.moves).unwrap(), before);
    assert_eq!(
        started(&controllers, drain, &[3]).await,
        first,
        "the same one"
    );
    let metrics = controllers.metrics();
    assert!(metrics.contains("foz_rebalance_running 1"), "{metrics}");
    let ended = run(&controllers, &brokers).await;
    assert_eq!(ended.rebalance_id, first.rebalance_id);
    assert_eq!(ended.state(), State::Completed);
    assert_eq!(
        (ended.moves_done, ended.moves_total),
        (first.moves, first.moves)
    );
    let image = controllers.image();
    assert_eq!(image.replica_count(3), 0);
    assert_eq!(image.reassigning_partitions().count(), 0);
    let metrics = controllers.metrics();
    assert!(metrics.contains("foz_rebalance_running 0"), "{metrics}");
    let nothing = start(&controllers, drain, &[3], 0).await.unwrap();
    assert!(matches!(nothing, Answer::NothingToDo(_)));
    for broker in brokers {
        broker.stop().await;
    }
    controllers.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancellation_takes_back_what_is_under_way_and_a_drain_comes_first() {
    let (controllers, brokers) = with_brokers::<4>(controllers(1).await).await;
    create_this(&controllers, new_topic("t", 12)).await;
    let old = acquire_operator_epoch(&controllers, "old").await;
    let new = acquire_operator_epoch(&controllers, "new").await;
    for node_id in [2, 3] {
        cordon(&controllers, node_id).await;
    }
    let drain = RebalanceGoal::DrainBrokers;
    let stale = start(&controllers, drain, &[3], old).await.unwrap_err();
    assert_eq!(stale.code(), Code::Aborted);
    let Answer::Started(first) = start(&controllers, drain, &[3], new).await.unwrap() else {
        panic!("it is possible");
    };
    let refused = start(&controllers, RebalanceGoal::Full, &[], new)
        .await
        .unwrap();
    assert!(matches!(&refused, Answer::Refused(why) if why.contains("the drain of broker 3")));
    let is_moving = || controllers.image().reassigning_partitions().count() > 0;
    crate::controllers::eventually("it moves", is_moving).await;
    // Another drain takes its place.
    let next = started(&controllers, drain, &[2]).await;
    assert!(next.rebalance_id > first.rebalance_id);
    crate::controllers::eventually("it moves", is_moving).await;
    assert!(
        !cancel(&controllers, first.rebalance_id, new).await,
        "that one ended"
    );
    assert!(cancel(&controllers, next.rebalance_id, new).await);
    assert!(!is_moving());
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    assert!(!is_moving(), "nothing begins any more");
    let rebalance = controllers.image().rebalance().cloned().unwrap();
    assert_eq!(rebalance.id, next.rebalance_id);
    assert_eq!(rebalance.message, "it was cancelled by request");
    // Whoever uncordons a broker does not want it drained.
    let third = started(&controllers, drain, &[3]).await;
    let uncordon = CordonBrokersRequest {
        node_ids: vec![3],
        cordoned: false,
        operator_epoch: 0,
    };
    let mut admin = admin(&controllers).await;
    admin.cordon_brokers(uncordon).await.unwrap();
    let ended = run(&controllers, &brokers).await;
    assert_eq!(
        (ended.rebalance_id, ended.state()),
        (third.rebalance_id, State::Failed)
    );
    assert!(
        ended.message.contains("is not cordoned any more"),
        "{ended:?}"
    );
    assert!(!is_moving());
    for broker in brokers {
        broker.stop().await;
    }
    controllers.stop().await;
}

/// Who looks from time to time begins with a reason only; the threshold says what one is, and stays with the rebalance.
#[tokio::test(flavor = "multi_thread")]
async fn a_rebalance_without_a_reason_does_not_begin() {
    let (controllers, brokers) = with_brokers::<3>(controllers(1).await).await;
    create_this(&controllers, new_topic("t", 6)).await;
    let look = async |threshold_percent: i32| {
        let request = v1::StartRebalanceRequest {
            goal: RebalanceGoal::Full.into(),
            threshold_percent,
            only_if_uneven: true,
            ..v1::StartRebalanceRequest::default()
        };
        let answer = admin(&controllers).await.start_rebalance(request).await;
        answer.unwrap().into_inner().answer.unwrap()
    };
    assert!(matches!(look(10).await, Answer::NothingToDo(_)));
    for wrong in [-1, 101] {
        let Answer::Refused(why) = look(wrong).await else {
            panic!("it begins with {wrong}");
        };
        assert!(why.contains("must be from 1 to 100"), "{why}");
    }
    // Broker 0 gets four more than the others, of some ten.
    let on_one = assigned_topic("u", &[[0].as_slice(); 6]);
    create_this(&controllers, on_one).await;
    let uneven = async |threshold_percent| {
        let request = v1::PlanRebalanceRequest {
            goal: RebalanceGoal::Full.into(),
            threshold_percent,
            ..v1::PlanRebalanceRequest::default()
        };
        let answer = admin(&controllers).await.plan_rebalance(request).await;
        match answer.unwrap().into_inner().answer.unwrap() {
            plan_rebalance_response::Answer::Plan(plan) => plan.uneven,
            refused => panic!("{refused:?}"),
        }
    };
    let why = uneven(20).await;
    assert!(
        why.contains("broker 0 has") && why.contains("share of replicas"),
        "{why}"
    );
    assert_eq!(uneven(100).await, "");
    assert!(matches!(look(100).await, Answer::NothingToDo(_)));
    assert!(controllers.image().rebalance().is_none());
    assert!(matches!(look(20).await, Answer::Started(_)));
    let threshold = controllers.image().rebalance().unwrap().threshold_percent;
    assert_eq!(threshold, 20);
    assert_eq!(run(&controllers, &brokers).await.state(), State::Completed);
    assert!(matches!(look(20).await, Answer::NothingToDo(_)));
    for broker in brokers {
        broker.stop().await;
    }
    controllers.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_controller_goes_on_with_it() {
    let (mut controllers, brokers) = with_brokers::<4>(controllers(3).await).await;
    create_this(&controllers, new_topic("t", 12)).await;
    cordon(&controllers, 3).await;
    let first = started(&controllers, RebalanceGoal::DrainBrokers, &[3]).await;
    let is_moving = || controllers.image().reassigning_partitions().count() > 0;
    crate::controllers::eventually("it moves", is_moving).await;
    let active = controllers.active().await;
    controllers.stop_one(active, true).await;
    controllers.active().await;
    let ended = run(&controllers, &brokers).await;
    assert_eq!(ended.rebalance_id, first.rebalance_id);
    assert_eq!(ended.state(), State::Completed);
    assert_eq!(controllers.image().replica_count(3), 0);
    for broker in brokers {
        broker.stop().await;
    }
    controllers.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn loads_are_told_by_registered_brokers_to_the_term_they_know() {
    let (controllers, brokers) = with_brokers::<3>(controllers(1).await).await;
    let topic = create_this(&controllers, new_topic("t", 6)).await;
    let of_each = |bytes| {
        let load = |index| v1::PartitionLoad {
            topic_id: topic.id.clone(),
            index,
            bytes,
            ..v1::PartitionLoad::default()
        };
        (0..6).map(load).collect::<Vec<_>>()
    };
    let report = |broker_epoch, partitions| v1::ReportLoadRequest {
        node_id: 0,
        broker_epoch,
        partitions,
        disk_bytes_total: 1 << 40,
        disk_bytes_free: 1 << 39,
        copies: Vec::new(),
        ..v1::ReportLoadRequest::default()
    };
    let mut node = controllers.node().await;
    let epoch = brokers[0].epoch();
    let stale = node.report_load(report(epoch - 1, of_each(1))).await;
    assert_eq!(stale.unwrap_err().code(), Code::Aborted);
    let many = vec![v1::PartitionLoad::default(); 10_001];
    let many = node.report_load(report(epoch, many)).await;
    assert_eq!(many.unwrap_err().code(), Code::InvalidArgument);
    let answer = node
        .report_load(report(epoch, of_each(1_000)))
        .await
        .unwrap();
    assert!(answer.into_inner().term > 0);
    let joined = FakeBroker::start(&controllers, 3).await;
    let is_alive = || controllers.image().is_alive(3);
    crate::controllers::eventually("it is alive", is_alive).await;
    let added = plan(&controllers, RebalanceGoal::AddedBrokers, &[3]).await;
    let plan_rebalance_response::Answer::Plan(planned) = added else {
        panic!("{added:?}");
    };
    let copies = planned.moves - planned.leader_moves;
    assert!(copies > 0);
    assert_eq!(planned.bytes, i64::from(copies) * 1_000);
    assert_eq!(planned.seconds, -1, "nothing was copied of late");
    joined.stop().await;
    for broker in brokers {
        broker.stop().await;
    }
    controllers.stop().await;
}
