//! Controlled shutdowns: leadership first, the process after it.

mod asking;
mod controllers;

use std::time::{Duration, Instant};

use foz_api::v1;
use foz_metadata::Image;

use crate::controllers::{Controllers, eventually};
use crate::fake_broker::FakeBroker;
use crate::support::{assigned_topic, create_this, new_topic, with_brokers};

fn leads(image: &Image, node_id: i32) -> usize {
    image.partitions_led_by(node_id).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_stops_hands_over_and_may_stop_when_all_know() {
    let (controllers, brokers) = with_brokers::<3>(Controllers::start(3).await).await;
    let [zero, one, two] = brokers;
    let wanted = assigned_topic("t", &[&[0, 1, 2], &[0, 2, 1], &[1, 0, 2]]);
    create_this(&controllers, wanted).await;
    // Nobody else can lead this one.
    create_this(&controllers, assigned_topic("single", &[&[0]])).await;
    assert!(!zero.may_stop());

    let asked = Instant::now();
    zero.want_to_stop();
    while !zero.may_stop() {
        tokio::time::sleep(Duration::from_millis(1)).await;
        assert!(asked.elapsed() < Duration::from_secs(5));
    }
    let took = asked.elapsed();
    eprintln!("from the wish to stop until everybody knows: {took:?}");
    // Not the 500 ms that brokers which do not answer would be waited for.
    assert!(took < Duration::from_millis(400), "{took:?}");
    for image in [controllers.image(), one.image(), two.image()] {
        assert_eq!(leads(&image, 0), 1);
        let broker = image.broker(0).unwrap();
        assert!(broker.stopping && !broker.fenced);
        for index in 0..3 {
            let partition = image.partition("t", index).unwrap();
            assert!(!partition.isr.contains(&0), "{partition:?}");
        }
    }

    // It stays, and takes its word back: that makes no difference, and nothing new is put on it.
    zero.resume();
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(controllers.image().broker(0).unwrap().stopping);
    let topic = create_this(&controllers, new_topic("new", 6)).await;
    assert!(topic.partitions.iter().all(|it| it.replicas != [0]));

    // The next process of the node begins anew, on a disk that lost nothing.
    let next = zero.next_registration();
    zero.leave().await;
    eventually("it is fenced", || !controllers.image().is_alive(0)).await;
    zero.stop().await;
    let zero = FakeBroker::start_with(&controllers, next).await;
    eventually("it is back", || controllers.image().can_lead(0)).await;
    assert_eq!(leads(&controllers.image(), 0), 1);
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(!zero.may_stop(), "the wish was of the process before");
    for broker in [zero, one, two] {
        broker.stop().await;
    }
    controllers.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_can_lead_later_is_handed_over_later() {
    let (controllers, [zero, one]) = with_brokers::<2>(Controllers::start(1).await).await;
    create_this(&controllers, assigned_topic("t", &[&[0, 1]])).await;
    let next = one.next_registration();
    one.kill().await;
    eventually("0 is alone", || {
        let image = controllers.image();
        image.partition("t", 0).unwrap().isr == [0]
    })
    .await;
    zero.want_to_stop();
    eventually("it may stop", || zero.may_stop()).await;
    assert_eq!(leads(&controllers.image(), 0), 1, "nobody else can");

    // The follower comes, catches up, and its leader, though it stops, lets it in.
    let one = FakeBroker::start_with(&controllers, next).await;
    eventually("1 is alive", || controllers.image().is_alive(1)).await;
    let (topic_id, partition) = {
        let image = controllers.image();
        let topic = image.topic("t").unwrap();
        (topic.id, topic.partitions[0].clone())
    };
    let member = |broker: &FakeBroker| v1::isr_change::Member {
        node_id: broker.node_id(),
        broker_epoch: broker.epoch(),
    };
    let request = v1::AlterPartitionsRequest {
        node_id: 0,
        broker_epoch: zero.epoch(),
        partitions: vec![v1::IsrChange {
            topic_id: topic_id.as_bytes().to_vec(),
            index: 0,
            leader_epoch: partition.leader_epoch,
            partition_epoch: partition.partition_epoch,
            new_isr: vec![member(&zero), member(&one)],
        }],
    };
    controllers
        .node()
        .await
        .alter_partitions(request)
        .await
        .unwrap();
    eventually("1 leads", || leads(&controllers.image(), 1) == 1).await;
    eventually("0 may stop", || zero.may_stop()).await;
    zero.stop().await;
    one.stop().await;
    controllers.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_controller_that_takes_over_hears_the_wish_and_grants_it() {
    let (mut controllers, [zero, one]) = with_brokers::<2>(Controllers::start(3).await).await;
    create_this(&controllers, assigned_topic("t", &[&[0, 1]])).await;
    zero.want_to_stop();
    let old = controllers.active().await;
    controllers.stop_one(old, true).await;
    let new = controllers.active().await;
    eventually("it may stop", || zero.may_stop()).await;
    assert_eq!(leads(&controllers.image_of(new), 0), 0);
    assert_eq!(leads(&controllers.image_of(new), 1), 1);

    // The one after it knows from the metadata, and still waits for the wish.
    controllers.restart_one(old).await;
    eventually("the old one is back", || {
        controllers
            .image_of(old)
            .broker(0)
            .is_some_and(|it| it.stopping)
    })
    .await;
    zero.resume();
    controllers.stop_one(new, true).await;
    controllers.active().await;
    eventually("it has not said so yet", || !zero.may_stop()).await;
    zero.want_to_stop();
    eventually("it may stop", || zero.may_stop()).await;
    zero.stop().await;
    one.stop().await;
    controllers.stop().await;
}
