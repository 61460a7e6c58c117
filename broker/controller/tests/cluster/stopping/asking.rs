//! Brokers whose processes were asked to end ask for a grant, and serve on without one.

use std::time::{Duration, Instant};

use foz_api::v1;
use foz_metadata::image::Grant;

use crate::controllers::{Controllers, eventually};
use crate::fake_broker::FakeBroker;
use crate::support::{admin, assigned_topic, change_isr, create_this, with_brokers};

const MIN_INSYNC: (&str, &str) = ("min.insync.replicas", "2");

async fn three_brokers() -> (Controllers, [FakeBroker; 3]) {
    let controllers = Controllers::start_with(1, &[MIN_INSYNC]).await;
    let (controllers, brokers) = with_brokers::<3>(controllers).await;
    create_this(&controllers, assigned_topic("t", &[&[0, 1, 2]])).await;
    (controllers, brokers)
}

fn isr(controllers: &Controllers) -> Vec<i32> {
    let image = controllers.image();
    image.partition("t", 0).unwrap().isr.clone()
}

fn grant(controllers: &Controllers, node_id: i32) -> Option<Grant> {
    let image = controllers.image();
    image.grant(node_id).map(|grant| Grant::clone(grant))
}

/// The broker goes, and nobody gave it leave.
async fn kill(controllers: &Controllers, broker: FakeBroker) -> v1::RegisterBrokerRequest {
    let (node_id, next) = (broker.node_id(), broker.next_registration());
    broker.kill().await;
    eventually("it is fenced", || !controllers.image().is_alive(node_id)).await;
    next
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_needed_serves_on_until_another_is_back() {
    let (controllers, [zero, one, two]) = three_brokers().await;
    let next = kill(&controllers, two).await;
    zero.want_to_stop();
    eventually("it is told why not", || !zero.denied().is_empty()).await;
    let denied = zero.denied();
    assert!(denied.contains("t-0 would have 1 of 2"), "{denied}");
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(!zero.may_stop());
    let image = controllers.image();
    assert!(image.can_lead(0) && !image.broker(0).unwrap().stopping);
    assert_eq!(image.partition("t", 0).unwrap().leader, 0);
    assert_eq!(grant(&controllers, 0), None);

    let two = FakeBroker::start_with(&controllers, next).await;
    eventually("2 is alive", || controllers.image().is_alive(2)).await;
    assert!(!zero.may_stop(), "it has not caught up");
    change_isr(&controllers, ("t", 0), &zero, &[&zero, &one, &two]).await;
    eventually("it may stop", || zero.may_stop()).await;
    assert_eq!(zero.denied(), "");
    assert_eq!(isr(&controllers), [1, 2]);
    let granted = grant(&controllers, 0).unwrap();
    assert_eq!(granted.reason, "the process was asked to end");
    assert_eq!(granted.incarnation.as_bytes().to_vec(), zero.incarnation());

    // Its grant holds up the next one until it is back.
    one.want_to_stop();
    eventually("1 is told why not", || !one.denied().is_empty()).await;
    assert!(one.denied().contains("restart grant"), "{}", one.denied());
    let next = kill(&controllers, zero).await;
    let zero = FakeBroker::start_with(&controllers, next).await;
    eventually("0 is alive", || controllers.image().is_alive(0)).await;
    change_isr(&controllers, ("t", 0), &one, &[&zero, &one, &two]).await;
    eventually("1 may stop", || one.may_stop()).await;
    assert_eq!(grant(&controllers, 0), None);
    controllers.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_insists_is_let_go_and_what_it_costs_is_named() {
    let (controllers, [zero, _one, two]) = three_brokers().await;
    kill(&controllers, two).await;
    zero.want_to_stop();
    eventually("it is told why not", || !zero.denied().is_empty()).await;
    zero.insist_on_stopping();
    eventually("it may stop", || zero.may_stop()).await;
    assert_eq!(isr(&controllers), [1]);
    assert_eq!(grant(&controllers, 0).unwrap().unprotected, ["t-0"]);
    controllers.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn when_all_are_asking_all_are_let_go() {
    let (controllers, [zero, one, two]) = three_brokers().await;
    let asked = Instant::now();
    // The first of them goes before the others have said anything.
    zero.want_to_stop();
    eventually("0 may stop", || zero.may_stop()).await;
    zero.leave().await;
    eventually("0 is gone", || !controllers.image().is_alive(0)).await;
    one.want_to_stop();
    eventually("1 is told why not", || !one.denied().is_empty()).await;
    assert!(!one.may_stop());
    two.want_to_stop();
    eventually("both may stop", || one.may_stop() && two.may_stop()).await;
    let took = asked.elapsed();
    assert!(took < Duration::from_secs(4), "{took:?}");
    let reason = grant(&controllers, 2).unwrap().reason;
    assert_eq!(reason, "all processes were asked to end");
    controllers.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_is_away_is_waited_for_and_not_for_long() {
    let (controllers, [zero, one, two]) = three_brokers().await;
    kill(&controllers, two).await;
    let asked = Instant::now();
    zero.want_to_stop();
    one.want_to_stop();
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(!zero.may_stop() && !one.may_stop());
    eventually("both may stop", || zero.may_stop() && one.may_stop()).await;
    assert!(asked.elapsed() >= Duration::from_secs(5));
    controllers.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_only_broker_waits_for_nobody() {
    let controllers = Controllers::start(1).await;
    let (controllers, [zero]) = with_brokers::<1>(controllers).await;
    create_this(&controllers, assigned_topic("t", &[&[0]])).await;
    let asked = Instant::now();
    zero.want_to_stop();
    eventually("it may stop", || zero.may_stop()).await;
    assert!(asked.elapsed() < Duration::from_secs(2));
    controllers.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_operator_was_granted_is_not_asked_for_again() {
    let (controllers, [zero, _one, two]) = three_brokers().await;
    let request = v1::AcquireRestartRequest {
        node_id: 0,
        incarnation: zero.incarnation(),
        reason: "image changed".to_owned(),
        ..v1::AcquireRestartRequest::default()
    };
    let mut admin = admin(&controllers).await;
    admin.acquire_restart(request).await.unwrap();
    let granted = grant(&controllers, 0).unwrap();
    // From here on nobody would be granted anything.
    kill(&controllers, two).await;
    zero.want_to_stop();
    eventually("it may stop", || zero.may_stop()).await;
    assert_eq!(grant(&controllers, 0).unwrap(), granted);
    controllers.stop().await;
}

/// It is needed: while it may not stop, it is let in again as any other.
#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_stop_is_unfenced_again() {
    let controllers = Controllers::start(1).await;
    let (controllers, [zero, _one, two]) = with_brokers::<3>(controllers).await;
    create_this(&controllers, assigned_topic("t", &[&[0, 2]])).await;
    kill(&controllers, two).await;
    zero.want_to_stop();
    eventually("it is told why not", || !zero.denied().is_empty()).await;
    zero.pause();
    eventually("it is fenced", || !controllers.image().is_alive(0)).await;
    zero.want_to_stop();
    eventually("it leads again", || {
        controllers.image().partition("t", 0).unwrap().leader == 0
    })
    .await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(!zero.may_stop() && zero.denied().contains("t-0"));
    controllers.stop().await;
}
