//! Controllers whose processes were asked to end.

use std::time::{Duration, Instant};

use foz_api::v1::{AcquireRestartRequest, AskToStopRequest, AskToStopResponse};
use foz_controller::LetGo;
use tokio::sync::watch;
use tonic::Code;
use uuid::Uuid;

use crate::controllers::{Controllers, eventually};
use crate::support::{admin, assigned_topic, change_isr, create_this, with_brokers};

fn node_id(at: usize) -> i32 {
    1000 + i32::try_from(at).unwrap()
}

fn question(at: usize) -> AskToStopRequest {
    AskToStopRequest {
        node_id: node_id(at),
        incarnation: Uuid::from_u128(7).as_bytes().to_vec(),
        insist: false,
    }
}

async fn ask(controllers: &Controllers, at: usize) -> AskToStopResponse {
    let mut node = controllers.node().await;
    node.ask_to_stop(question(at)).await.unwrap().into_inner()
}

fn granted(controllers: &Controllers) -> Vec<i32> {
    let image = controllers.image();
    image.grants().map(|grant| grant.node_id).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_is_let_go_and_the_next_waits_until_it_is_back() {
    let mut controllers = Controllers::start(3).await;
    let active = controllers.active().await;
    let [first, second] = [(active + 1) % 3, (active + 2) % 3];
    let (_insist, insists) = watch::channel(false);
    let let_go = controllers.handle(first).may_stop(insists.clone()).await;
    assert_eq!(let_go, LetGo::Granted);
    assert_eq!(granted(&controllers), [node_id(first)]);

    let waits = tokio::spawn(controllers.handle(second).may_stop(insists));
    let answer = ask(&controllers, second).await;
    let holder = format!("controller {}", node_id(first));
    assert!(answer.denied.contains(&holder), "{answer:?}");
    assert!(!answer.all_are_asking);
    assert!(!waits.is_finished());
    // So quickly that its absence goes unnoticed.
    controllers.stop_one(first, false).await;
    controllers.restart_one(first).await;
    let let_go = tokio::time::timeout(Duration::from_secs(10), waits).await;
    assert_eq!(let_go.unwrap().unwrap(), LetGo::Granted);
    assert_eq!(granted(&controllers), [node_id(second)]);
    controllers.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_grant_that_an_operator_acquired_for_the_pod_is_the_process_s_too() {
    let controllers = Controllers::start(3).await;
    let active = controllers.active().await;
    let at = (active + 1) % 3;
    let pod = Uuid::from_u128(99);
    let request = AcquireRestartRequest {
        node_id: node_id(at),
        incarnation: pod.as_bytes().to_vec(),
        reason: "image changed".to_owned(),
        ..AcquireRestartRequest::default()
    };
    // What the start says of itself has been heard by then.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let mut admin = admin(&controllers).await;
    admin.acquire_restart(request).await.unwrap();
    let asked = Instant::now();
    let answer = ask(&controllers, at).await;
    assert_eq!(answer.denied, "");
    assert!(asked.elapsed() < Duration::from_millis(400), "at once");
    let image = controllers.image();
    assert_eq!(image.grant(node_id(at)).unwrap().incarnation, pod);
    controllers.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn when_all_are_asking_all_are_let_go_and_brokers_go_first() {
    let (controllers, [zero, one]) = with_brokers::<2>(Controllers::start(3).await).await;
    create_this(&controllers, assigned_topic("t", &[&[0, 1]])).await;
    change_isr(&controllers, ("t", 0), &zero, &[&zero]).await;
    let asked = Instant::now();
    let (_insist, insists) = watch::channel(false);
    let waiting: Vec<_> = (0..3)
        .map(|at| tokio::spawn(controllers.handle(at).may_stop(insists.clone())))
        .collect();
    let mut let_go = Vec::new();
    for waits in waiting {
        let_go.push(waits.await.unwrap());
    }
    // Whoever asked first may have been let go alone.
    let with_all = let_go.iter().filter(|it| **it == LetGo::WithAll).count();
    assert!(with_all >= 2, "{let_go:?}");
    assert!(asked.elapsed() < Duration::from_secs(3));

    // With the controllers that go, each broker that asks may go too, though the other one stays.
    zero.want_to_stop();
    eventually("0 may stop", || zero.may_stop()).await;
    assert_eq!(granted(&controllers), [0, 1000, 1001, 1002]);
    let mut waits = Box::pin(controllers.handle(0).wait_for_brokers());
    let early = tokio::time::timeout(Duration::from_millis(2500), &mut waits).await;
    assert!(early.is_err(), "a broker is about to stop");
    let began = Instant::now();
    zero.kill().await;
    waits.await;
    assert!(began.elapsed() < Duration::from_secs(2));
    let began = Instant::now();
    controllers.handle(0).wait_for_brokers().await;
    assert!(
        began.elapsed() < Duration::from_secs(2),
        "the other one stays"
    );
    one.stop().await;
    controllers.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_insists_does_not_wait() {
    let mut controllers = Controllers::start(3).await;
    let active = controllers.active().await;
    let [first, second] = [(active + 1) % 3, (active + 2) % 3];
    controllers.stop_one(first, true).await;
    let (insist, insists) = watch::channel(false);
    let waits = tokio::spawn(controllers.handle(second).may_stop(insists));
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(!waits.is_finished(), "there would be no majority");
    insist.send_replace(true);
    let told = Instant::now();
    assert_eq!(waits.await.unwrap(), LetGo::Insists);
    assert!(told.elapsed() < Duration::from_secs(2));
    let image = controllers.image();
    let grant = image.grant(node_id(second)).unwrap();
    assert_eq!(grant.unprotected, ["the metadata quorum"]);
    controllers.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_active_controller_nothing_is_waited_for_long() {
    let mut controllers = Controllers::start(3).await;
    controllers.stop_one(0, true).await;
    controllers.stop_one(1, true).await;
    let (_insist, insists) = watch::channel(false);
    let asked = Instant::now();
    let let_go = controllers.handle(2).may_stop(insists).await;
    assert_eq!(let_go, LetGo::NobodyActive);
    let took = asked.elapsed();
    assert!(took > Duration::from_secs(4), "{took:?}");
    assert!(took < Duration::from_secs(10), "{took:?}");
    controllers.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_else_is_answered() {
    let controllers = Controllers::start(1).await;
    let mut node = controllers.node().await;
    let status = node.ask_to_stop(question(5)).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound);
    controllers.stop().await;
}
