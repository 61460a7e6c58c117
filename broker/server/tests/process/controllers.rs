//! The metadata quorum loses its leader.

use std::time::{Duration, Instant};

use foz_cli::client::Client;
use foz_protocol::error::ErrorCode;

use crate::testbed::{PATIENCE, Testbed, pause, topic};

/// The index of the active controller.
fn active(testbed: &Testbed) -> usize {
    let deadline = Instant::now() + PATIENCE;
    loop {
        for (index, controller) in testbed.controllers.iter().enumerate() {
            let metrics = controller.http("/metrics").unwrap_or_default();
            if metrics.contains("kafka_controller_kafkacontroller_activecontrollercount 1") {
                return index;
            }
        }
        assert!(Instant::now() < deadline, "no controller is active");
        pause();
    }
}

/// As any client does: a request whose outcome is open is sent again.
async fn create(client: &Client, name: &str, partitions: i32) {
    let deadline = Instant::now() + PATIENCE;
    while let Err(error) = client.create_topic(&topic(name, partitions)).await {
        if error.code() == Some(ErrorCode::TopicAlreadyExists) {
            return;
        }
        assert!(error.is_retriable() && Instant::now() < deadline, "{error}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_controller_takes_over_and_no_broker_is_fenced_for_it() {
    let mut testbed = Testbed::start(3, 2);
    let client = testbed.client().await;
    client.create_topic(&topic("before", 4)).await.unwrap();
    let first = active(&testbed);
    testbed.controllers[first].kill();
    let killed = Instant::now();
    create(&client, "after", 4).await;
    let took = killed.elapsed();
    assert!(took < Duration::from_secs(10), "took {took:?}");
    assert_ne!(active(&testbed), first);
    let cluster = client.refresh(None).await.unwrap();
    for name in ["before", "after"] {
        for partition in 0..4 {
            assert!(
                cluster.leader(name, partition).is_some(),
                "{name}-{partition} has no leader"
            );
        }
    }
    testbed.controllers[first].spawn();
    testbed.controllers[first].wait_ready();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_controller_with_an_empty_disk_joins_again() {
    let mut testbed = Testbed::start(3, 1);
    let client = testbed.client().await;
    client.create_topic(&topic("orders", 1)).await.unwrap();
    testbed.controllers[2].kill();
    std::fs::remove_dir_all(testbed.controllers[2].directory.join("data")).unwrap();
    testbed.controllers[2].spawn();
    testbed.controllers[2].wait_ready();
    // With one of the others gone, the one that came back makes the majority.
    testbed.controllers[0].kill();
    create(&client, "more", 1).await;
    let cluster = client.refresh(None).await.unwrap();
    assert!(cluster.leader("orders", 0).is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn brokers_serve_on_without_controllers_and_without_turning_unready() {
    use foz_cli::client::{Producer, ProducerConfig};
    use foz_cli::message::Message;
    let mut testbed = Testbed::start(1, 1);
    let client = testbed.client().await;
    client.create_topic(&topic("orders", 1)).await.unwrap();
    let mut producer = Producer::new(client.clone(), ProducerConfig::default())
        .await
        .unwrap();
    testbed.controllers[0].kill();
    producer.send("orders", Message::of("alone")).await.unwrap();
    producer.flush().await.unwrap();
    testbed.brokers[0].wait_ready();
    assert_eq!(crate::testbed::read_all(&client, "orders").await.len(), 1);
}
