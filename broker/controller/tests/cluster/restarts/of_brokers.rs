//! Brokers.

use std::time::{Duration, Instant};

use foz_api::v1;
use foz_api::v1::cluster_event::Event;
use foz_api::v1::{AcquireRestartRequest, DeniedReason};
use tonic::Code;

use super::{acquire, denied, end, granted, has_grant, restart_of};
use crate::controllers::{Controllers, eventually};
use crate::fake_broker::FakeBroker;
use crate::support::{
    acquire_operator_epoch, assigned_topic, change_isr, create_this, with_brokers,
};
use crate::watcher::Watcher;

/// Partition 0 has its preferred leader on broker 0, partition 1 on broker 1; both need two in sync.
fn protected_topic() -> v1::create_topics_request::NewTopic {
    let mut topic = assigned_topic("orders", &[&[0, 1, 2], &[1, 2, 0]]);
    let min_insync = ("min.insync.replicas".to_owned(), "2".to_owned());
    topic.config = [min_insync].into();
    topic
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grant_is_for_one_broker_until_its_next_process_is_in_every_isr() {
    let (controllers, brokers) = with_brokers::<3>(Controllers::start(1).await).await;
    let [zero, one, two] = brokers;
    create_this(&controllers, protected_topic()).await;
    let (mut watcher, told) = Watcher::start(&controllers).await;
    assert!(!told.iter().any(|it| matches!(it, Event::GrantChanged(_))));

    let grant = granted(&controllers, restart_of(&zero)).await;
    assert_eq!(grant.unprotected, [""; 0]);
    // Everybody knows by now. It leads nothing any more, and is in sync until it goes.
    for image in [controllers.image(), one.image(), two.image()] {
        assert_eq!(image.partitions_led_by(0).count(), 0);
        assert!(image.broker(0).unwrap().stopping);
        assert!(image.partitions().all(|(_, _, it)| it.isr.contains(&0)));
    }
    let told = watcher.next_that(|event| match event {
        Event::GrantChanged(grant) => Some(grant),
        _ => None,
    });
    let expected = v1::Grant {
        node_id: 0,
        grant_epoch: grant.grant_epoch,
        incarnation: zero.incarnation(),
        reason: "image changed".to_owned(),
        operator_epoch: 0,
        unprotected: Vec::new(),
    };
    assert_eq!(told.await, expected);

    // The answer was lost.
    assert_eq!(granted(&controllers, restart_of(&zero)).await, grant);
    let other_process = AcquireRestartRequest {
        incarnation: vec![7; 16],
        ..restart_of(&zero)
    };
    let (reason, _) = denied(&controllers, other_process).await;
    assert_eq!(reason, DeniedReason::Incarnation);
    let (reason, message) = denied(&controllers, restart_of(&one)).await;
    assert_eq!(reason, DeniedReason::AnotherGrant);
    for part in ["orders-0", "broker 1", "broker 0", "image changed"] {
        assert!(message.contains(part), "{part:?} is not in {message:?}");
    }

    // It goes, and only now the ISRs shrink. Its next process comes into one after the other.
    let next = zero.next_registration();
    zero.want_to_stop();
    eventually("it may stop", || zero.may_stop()).await;
    let image = controllers.image();
    assert!(image.partitions().all(|(_, _, it)| !it.isr.contains(&0)));
    zero.leave().await;
    eventually("it is fenced", || !controllers.image().is_alive(0)).await;
    zero.stop().await;
    let zero = FakeBroker::start_with(&controllers, next).await;
    eventually("it is back", || controllers.image().is_alive(0)).await;
    change_isr(&controllers, ("orders", 1), &one, &[&one, &two, &zero]).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(has_grant(&controllers, 0), "it is not in every ISR");
    let (reason, _) = denied(&controllers, restart_of(&one)).await;
    assert_eq!(reason, DeniedReason::AnotherGrant);
    change_isr(&controllers, ("orders", 0), &one, &[&one, &two, &zero]).await;
    eventually("the grant has ended", || !has_grant(&controllers, 0)).await;
    // In the same transaction it leads again what it is preferred for.
    let leaders: Vec<_> = {
        let image = controllers.image();
        image.partitions().map(|(_, _, it)| it.leader).collect()
    };
    assert_eq!(leaders, [0, 1]);
    let ended = watcher.next_that(|event| match event {
        Event::GrantEnded(node_id) => Some(node_id),
        _ => None,
    });
    assert_eq!(ended.await, 0);
    let next_grant = granted(&controllers, restart_of(&one)).await;
    assert!(next_grant.grant_epoch > grant.grant_epoch);
    for broker in [zero, one, two] {
        broker.stop().await;
    }
    controllers.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grant_ends_by_its_time_limit_and_the_broker_that_did_not_stop_may_lead() {
    const LIMIT: Duration = Duration::from_millis(1500);
    let controllers = Controllers::start_as(1, |config| config.restart_time_limit = LIMIT).await;
    let (controllers, [zero, one]) = with_brokers::<2>(controllers).await;
    let asked = Instant::now();
    let first = granted(&controllers, restart_of(&zero)).await;
    assert!(!controllers.image().can_lead(0));
    eventually("the grant has ended", || !has_grant(&controllers, 0)).await;
    assert!(asked.elapsed() >= LIMIT, "{:?}", asked.elapsed());
    assert!(controllers.image().can_lead(0));
    let second = granted(&controllers, restart_of(&zero)).await;
    assert!(second.grant_epoch > first.grant_epoch);
    for broker in [zero, one] {
        broker.stop().await;
    }
    controllers.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_newest_operator_counts_and_may_call_a_restart_off() {
    let (controllers, [zero, one]) = with_brokers::<2>(Controllers::start(1).await).await;
    create_this(&controllers, assigned_topic("single", &[&[0]])).await;
    let old = acquire_operator_epoch(&controllers, "old").await;
    let new = acquire_operator_epoch(&controllers, "new").await;
    let restart = |operator_epoch, allow_unavailable| AcquireRestartRequest {
        operator_epoch,
        allow_unavailable,
        ..restart_of(&zero)
    };
    let refused = acquire(&controllers, restart(old, true)).await.unwrap_err();
    assert_eq!(refused.code(), Code::Aborted);
    assert!(!has_grant(&controllers, 0));
    let without_reason = AcquireRestartRequest {
        reason: String::new(),
        ..restart_of(&zero)
    };
    let without_incarnation = AcquireRestartRequest {
        incarnation: Vec::new(),
        ..restart_of(&zero)
    };
    for request in [without_reason, without_incarnation] {
        let refused = acquire(&controllers, request).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
    }

    // Nothing can protect a single replica.
    let (reason, message) = denied(&controllers, restart(new, false)).await;
    assert_eq!(reason, DeniedReason::Unavailable);
    assert!(message.contains("single-0"), "{message}");
    let grant = granted(&controllers, restart(new, true)).await;
    assert_eq!(grant.unprotected, ["single-0"]);

    let refused = end(&controllers, 0, grant.grant_epoch, old).await;
    assert_eq!(refused.unwrap_err().code(), Code::Aborted);
    assert!(has_grant(&controllers, 0));
    let other = end(&controllers, 0, grant.grant_epoch + 1, new).await;
    assert!(!other.unwrap());
    assert!(end(&controllers, 0, grant.grant_epoch, new).await.unwrap());
    assert!(!has_grant(&controllers, 0) && controllers.image().can_lead(0));
    assert!(!end(&controllers, 0, grant.grant_epoch, new).await.unwrap());
    for broker in [zero, one] {
        broker.stop().await;
    }
    controllers.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_active_controller_knows_the_grants() {
    let (mut controllers, brokers) = with_brokers::<3>(Controllers::start(3).await).await;
    let [zero, one, two] = brokers;
    create_this(&controllers, protected_topic()).await;
    let grant = granted(&controllers, restart_of(&zero)).await;
    let old = controllers.active().await;
    controllers.stop_one(old, true).await;
    controllers.active().await;
    let (_, told) = Watcher::start(&controllers).await;
    let grants: Vec<_> = told
        .into_iter()
        .filter_map(|event| match event {
            Event::GrantChanged(grant) => Some((grant.node_id, grant.grant_epoch)),
            _ => None,
        })
        .collect();
    assert_eq!(grants, [(0, grant.grant_epoch)]);
    assert_eq!(granted(&controllers, restart_of(&zero)).await, grant);
    let (reason, _) = denied(&controllers, restart_of(&two)).await;
    assert_eq!(reason, DeniedReason::AnotherGrant);
    // It ends grants as well.
    let next = zero.next_registration();
    zero.kill().await;
    eventually("it is fenced", || !controllers.image().is_alive(0)).await;
    let zero = FakeBroker::start_with(&controllers, next).await;
    eventually("it is back", || controllers.image().is_alive(0)).await;
    for index in [0, 1] {
        change_isr(&controllers, ("orders", index), &one, &[&one, &two, &zero]).await;
    }
    eventually("the grant has ended", || !has_grant(&controllers, 0)).await;
    for broker in [zero, one, two] {
        broker.stop().await;
    }
    controllers.stop().await;
}

/// More than one batch holds.
#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_leads_very_much_hands_all_of_it_over() {
    let (controllers, [zero, one]) = with_brokers::<2>(Controllers::start(1).await).await;
    for name in ["a", "b"] {
        let mut topic = assigned_topic(name, &[&[0, 1][..]; 6000]);
        topic.config = [("min.insync.replicas".to_owned(), "1".to_owned())].into();
        create_this(&controllers, topic).await;
    }
    let before = controllers.image().offset();
    let asked = Instant::now();
    let grant = granted(&controllers, restart_of(&zero)).await;
    eprintln!("12,000 leaders moved by a grant: {:?}", asked.elapsed());
    let image = controllers.image();
    assert_eq!(image.grant(0).unwrap().epoch, grant.grant_epoch);
    assert_eq!(image.partitions_led_by(1).count(), 12_000);
    assert_eq!(image.offset(), before + 2);
    // It did not stop.
    assert!(end(&controllers, 0, grant.grant_epoch, 0).await.unwrap());
    assert!(!has_grant(&controllers, 0) && controllers.image().can_lead(0));
    for broker in [zero, one] {
        broker.stop().await;
    }
    controllers.stop().await;
}
