//! Controllers stop, start and hand over, and nothing acknowledged is lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use foz_api::v1;
use foz_api::v1::admin_client::AdminClient;
use foz_api::v1::node_client::NodeClient;
use tonic::Code;

use crate::controllers::{Controllers, eventually};
use crate::fake_broker::FakeBroker;
use crate::support::{
    create_one, is_unknown, new_topic, try_create, with_one_broker, with_two_brokers,
};

#[tokio::test(flavor = "multi_thread")]
async fn when_the_active_controller_stops_another_takes_over_and_nobody_is_fenced() {
    let (mut controllers, brokers) = with_two_brokers(3).await;
    create_one(&controllers, "before", 4).await;
    let epochs = |image: &foz_metadata::Image| {
        image
            .topic("before")
            .unwrap()
            .partitions
            .iter()
            .map(|p| p.leader_epoch)
            .collect::<Vec<_>>()
    };

    for hard in [false, true] {
        let old = controllers.active().await;
        controllers.stop_one(old, hard).await;
        let began = Instant::now();
        let new = controllers.active().await;
        assert_ne!(new, old);
        let name = format!("after-{hard}");
        let topic = create_one(&controllers, &name, 2).await;
        eprintln!(
            "a topic {:?} after the controller was stopped (hard: {hard})",
            began.elapsed()
        );
        // Longer than the lease.
        tokio::time::sleep(Duration::from_millis(900)).await;
        let image = controllers.image_of(new);
        assert_eq!(image.alive_brokers().count(), 2);
        assert_eq!(epochs(&image), [0; 4], "nobody lost a leadership");
        eventually("the brokers follow", || {
            brokers
                .iter()
                .all(|broker| broker.image().topic(&topic.name).is_some())
        })
        .await;
        controllers.restart_one(old).await;
        eventually("the stopped one catches up", || {
            controllers.image_of(old).topic(&topic.name).is_some()
        })
        .await;
    }
    for broker in brokers {
        broker.stop().await;
    }
    controllers.stop().await;
}

/// Every answer is the truth: "made" is there afterwards, and "nothing happened" left nothing behind, or
/// the client's next attempt would find its own topic.
#[tokio::test(flavor = "multi_thread")]
async fn a_takeover_in_the_middle_of_many_changes_answers_each_of_them_truly() {
    let (mut controllers, broker) = with_one_broker(3).await;
    let is_over = Arc::new(AtomicBool::new(false));
    let made_by_all = Arc::new(AtomicUsize::new(0));
    let mut calls = Vec::new();
    for worker in 0..8 {
        let (client, is_over) = (controllers.client.clone(), is_over.clone());
        let made_by_all = made_by_all.clone();
        calls.push(tokio::spawn(async move {
            let mut made = Vec::new();
            for number in 0.. {
                if is_over.load(Ordering::Relaxed) {
                    break;
                }
                let name = format!("topic-{worker}-{number}");
                let topics = vec![new_topic(&name, 1)];
                match try_create(&client, topics).await {
                    Ok(mut results) => {
                        let outcome = results.remove(0).outcome.unwrap();
                        assert_eq!(outcome.message, "", "{name}");
                        made.push(name);
                        made_by_all.fetch_add(1, Ordering::Relaxed);
                    }
                    Err(error) => assert!(is_unknown(&error), "{name}: {error}"),
                }
            }
            made
        }));
    }
    for (hard, count) in [(true, 40), (false, 80)] {
        eventually("changes are under way", || {
            made_by_all.load(Ordering::Relaxed) > count
        })
        .await;
        let active = controllers.active().await;
        controllers.stop_one(active, hard).await;
        controllers.restart_one(active).await;
    }
    eventually("changes are made again", || {
        made_by_all.load(Ordering::Relaxed) > 120
    })
    .await;
    is_over.store(true, Ordering::Relaxed);
    let mut made = Vec::new();
    for call in calls {
        made.extend(call.await.unwrap());
    }
    eprintln!("{} topics were made", made.len());
    controllers.active().await;
    let image = controllers.image();
    for name in &made {
        assert!(
            image.topic(name).is_some(),
            "{name} was acknowledged and is gone"
        );
    }
    eventually("the broker follows", || {
        *broker.image() == *controllers.image()
    })
    .await;
    broker.stop().await;
    controllers.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_from_disk_keeps_everything_and_the_broker_comes_back() {
    let (mut controllers, broker) = with_one_broker(1).await;
    let topic = create_one(&controllers, "kept", 2).await;
    let cluster_id = controllers.image().cluster_id().to_owned();
    controllers.stop_one(0, true).await;
    controllers.restart_one(0).await;
    eventually("the topic is there", || {
        controllers.image().topic("kept").is_some()
    })
    .await;
    let image = controllers.image();
    assert_eq!(
        image.topic("kept").unwrap().id.as_bytes().to_vec(),
        topic.id
    );
    assert_eq!(image.cluster_id(), cluster_id);
    let after = create_one(&controllers, "new", 1).await;
    assert_eq!(after.partitions[0].leader, 0);
    eventually("the broker sees it", || {
        broker.image().topic("new").is_some()
    })
    .await;
    broker.stop().await;
    controllers.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_controller_that_is_not_active_says_who_is() {
    let controllers = Controllers::start(3).await;
    let active = controllers.active().await;
    let other = (active + 1) % 3;
    eventually("it has heard", || controllers.knows_active(other)).await;
    let channel = controllers.channel_to(other).await;
    let request = v1::CreateTopicsRequest::default();
    let refused = AdminClient::new(channel.clone())
        .create_topics(request)
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    let hint = refused
        .metadata()
        .get(foz_api::ACTIVE_CONTROLLER_KEY)
        .unwrap();
    assert_eq!(hint.to_str().unwrap(), controllers.address(active));
    let described = AdminClient::new(channel.clone())
        .describe_quorum(v1::DescribeQuorumRequest {})
        .await
        .unwrap()
        .into_inner();
    assert_eq!(described.voters.len(), 3);
    assert_eq!(described.active_address, controllers.address(active));
    let watch = v1::WatchMetadataRequest {
        node_id: 0,
        from_offset: -1,
        incarnation: vec![7; 16],
    };
    let refused = NodeClient::new(channel)
        .watch_metadata(watch)
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    controllers.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_in_the_middle_of_an_election_is_told_who_won() {
    let mut controllers = Controllers::start(3).await;
    let old = controllers.active().await;
    let others = [(old + 1) % 3, (old + 2) % 3];
    for other in others {
        eventually("it has heard", || controllers.knows_active(other)).await;
    }
    let old_address = controllers.address(old).to_owned();
    let mut asking = Vec::new();
    for other in others {
        let mut admin = AdminClient::new(controllers.channel_to(other).await);
        let old_address = old_address.clone();
        asking.push(tokio::spawn(async move {
            loop {
                let asked = Instant::now();
                let request = v1::CreateTopicsRequest::default();
                let Err(refused) = admin.create_topics(request).await else {
                    return true;
                };
                assert_eq!(refused.code(), Code::FailedPrecondition, "{refused}");
                let hint = refused.metadata().get(foz_api::ACTIVE_CONTROLLER_KEY);
                let Some(hint) = hint else {
                    // On a busy machine the election may take longer than a call waits for it.
                    assert!(asked.elapsed() >= Duration::from_millis(290), "{refused}");
                    continue;
                };
                if hint.to_str().unwrap() != old_address {
                    return false;
                }
                // Without a rest the two keep the machine from electing.
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }));
    }
    controllers.stop_one(old, true).await;
    let mut made = Vec::new();
    for asking in asking {
        made.push(asking.await.unwrap());
    }
    made.sort_unstable();
    assert_eq!(made, [false, true], "one of them carried it out");

    // Without a majority nobody will ever win: it is not waited for long.
    let active = controllers.active().await;
    let last = others.into_iter().find(|other| *other != active).unwrap();
    let mut admin = AdminClient::new(controllers.channel_to(last).await);
    controllers.stop_one(active, true).await;
    eventually("it knows of no leader", || !controllers.knows_active(last)).await;
    let began = Instant::now();
    let request = v1::CreateTopicsRequest::default();
    let refused = admin.create_topics(request).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(began.elapsed() >= Duration::from_millis(290));
    assert!(began.elapsed() < Duration::from_secs(5));
    controllers.stop().await;
}

/// As after a power failure, or in a process of both roles that was killed.
#[tokio::test(flavor = "multi_thread")]
async fn who_died_with_the_controller_comes_back_to_its_disk_without_waiting_for_the_lease() {
    let mut controllers = Controllers::start_as(1, |config| {
        config.lease = Duration::from_secs(30);
        config.reconnect_grace = Duration::from_millis(100);
    })
    .await;
    let broker = FakeBroker::start(&controllers, 0).await;
    eventually("it is unfenced", || broker.image().is_alive(0)).await;
    let next = broker.next_registration();
    controllers.stop_one(0, true).await;
    broker.kill().await;
    controllers.restart_one(0).await;

    let began = Instant::now();
    let broker = FakeBroker::start_with(&controllers, next).await;
    eventually("the new process is unfenced", || broker.image().is_alive(0)).await;
    let took = began.elapsed();
    assert!(took < Duration::from_secs(5), "{took:?}");

    // Another disk is no proof that the process before has ended.
    broker.kill().await;
    controllers.stop_one(0, true).await;
    controllers.restart_one(0).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let twin = FakeBroker::registration(0);
    let refused = controllers.node().await.register_broker(twin).await;
    assert_eq!(refused.unwrap_err().code(), Code::AlreadyExists);
    controllers.stop().await;
}
