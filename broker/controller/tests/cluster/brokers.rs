//! Brokers register, live by their lease, and are fenced.

use std::time::{Duration, Instant};

use foz_api::v1;
use foz_api::v1::admin_client::AdminClient;
use foz_metadata::image::NO_LEADER;
use tonic::Code;
use uuid::Uuid;

use crate::controllers::{Controllers, eventually};
use crate::fake_broker::FakeBroker;
use crate::support::{create, create_one, new_topic, with_one_broker, with_two_brokers};

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_registers_is_unfenced_and_sees_topics_when_they_are_answered() {
    let controllers = Controllers::start(1).await;
    let broker = FakeBroker::start(&controllers, 0).await;
    eventually("the broker is unfenced", || broker.image().is_alive(0)).await;
    assert_eq!(
        broker.image().cluster_id(),
        controllers.image().cluster_id()
    );

    let topic = create_one(&controllers, "orders", 3).await;
    assert_eq!((topic.partitions.len(), topic.partitions[0].leader), (3, 0));
    // Read your own writes: the broker has it now, not later.
    let seen = broker.image();
    assert_eq!(
        seen.topic("orders").unwrap().id.as_bytes().to_vec(),
        topic.id
    );
    assert_eq!(*seen, *controllers.image());
    let scraped = controllers.metrics();
    for (name, value) in [
        ("activecontrollercount", 1),
        ("globalpartitioncount", 3),
        ("offlinepartitionscount", 0),
        ("activebrokercount", 1),
    ] {
        let line = format!("\nkafka_controller_kafkacontroller_{name} {value}\n");
        assert!(scraped.contains(&line), "{line} is not in {scraped}");
    }

    let refused = create(&controllers, vec![new_topic("orders", 1)])
        .await
        .remove(0);
    assert_eq!(
        (refused.outcome.unwrap().kafka_code, refused.topic),
        (36, None)
    );

    let request = v1::DeleteTopicsRequest {
        topics: vec![v1::TopicRef {
            name: "orders".to_owned(),
            id: topic.id.clone(),
        }],
        operator_epoch: 0,
    };
    let mut admin = AdminClient::new(controllers.channel().await);
    let deleted = admin
        .delete_topics(request)
        .await
        .unwrap()
        .into_inner()
        .results
        .remove(0);
    assert_eq!(
        (deleted.outcome.unwrap().kafka_code, deleted.id),
        (0, topic.id)
    );
    assert!(broker.image().topic("orders").is_none());
    broker.stop().await;
    controllers.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_falls_silent_or_disconnects_or_leaves_is_fenced() {
    let (controllers, [broker, other]) = with_two_brokers(1).await;
    create_one(&controllers, "t", 2).await;
    let led = |node_id| controllers.image().partitions_led_by(node_id).count();
    assert_eq!((led(0), led(1)), (1, 1));

    // Silent on an open stream: the lease of 600 ms has to end.
    broker.pause();
    let silent_since = Instant::now();
    eventually("the silent broker is fenced", || {
        !controllers.image().is_alive(0)
    })
    .await;
    let fenced_after = silent_since.elapsed();
    assert!(
        fenced_after > Duration::from_millis(350),
        "{fenced_after:?}"
    );
    assert_eq!((led(0), led(1), led(NO_LEADER)), (0, 1, 1));
    broker.resume();
    eventually("it is back", || controllers.image().is_alive(0)).await;
    assert_eq!((led(0), led(1)), (1, 1));
    let (_, _, partition) = controllers
        .image()
        .partitions_led_by(0)
        .next()
        .map(|(topic, index, partition)| (topic.clone(), index, partition.clone()))
        .unwrap();
    assert_eq!(partition.leader_epoch, 2);

    // The process died: its connection closes, and nobody waits for the lease.
    let killed = Instant::now();
    broker.kill().await;
    eventually("the killed broker is fenced", || {
        !controllers.image().is_alive(0)
    })
    .await;
    assert!(
        killed.elapsed() < Duration::from_millis(450),
        "{:?}",
        killed.elapsed()
    );

    // A broker that stops says so.
    other.leave().await;
    eventually("the leaving broker is fenced", || {
        !controllers.image().is_alive(1)
    })
    .await;
    controllers.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_replaces_a_killed_one_need_not_wait_and_one_beside_it_is_refused() {
    let (controllers, first) = with_one_broker(1).await;
    let twin = FakeBroker::registration(0);
    let refused = controllers
        .node()
        .await
        .register_broker(twin)
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::AlreadyExists);

    first.kill().await;
    let second = FakeBroker::start(&controllers, 0).await;
    eventually("the new process is unfenced", || second.image().is_alive(0)).await;

    let mut foreign = FakeBroker::registration(1);
    foreign.cluster_id = "another-cluster".to_owned();
    let refused = controllers
        .node()
        .await
        .register_broker(foreign)
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    let cluster_id = controllers.image().cluster_id().to_owned();
    assert!(
        refused.message().contains("another-cluster") && refused.message().contains(&cluster_id)
    );
    second.stop().await;
    controllers.stop().await;
}

/// More than gRPC takes by default, which is 4 MiB.
#[tokio::test(flavor = "multi_thread")]
async fn a_registration_may_name_very_many_logs() {
    let controllers = Controllers::start(1).await;
    let mut registration = FakeBroker::registration(0);
    let logs = (0..200_000_u128).map(|topic| v1::TopicLogs {
        topic_id: Uuid::from_u128(topic).as_bytes().to_vec(),
        indexes: vec![0, 1],
    });
    registration.directories[0].logs = logs.collect();
    let broker = FakeBroker::start_with(&controllers, registration).await;
    eventually("the broker is unfenced", || broker.image().is_alive(0)).await;
    broker.stop().await;
    controllers.stop().await;
}
