//! A topic that was deleted comes back with all its records, whatever happens to brokers meanwhile.

use clap::Parser;
use foz_cli::args::Cli;
use foz_cli::client::{Client, NewTopic, Producer, ProducerConfig};
use foz_cli::message::Message;

use crate::testbed::{Node, Testbed, read_all, topic, until};

/// `foz` as it is typed; what it prints.
async fn foz(testbed: &Testbed, arguments: &[&str]) -> anyhow::Result<String> {
    let controllers = format!("127.0.0.1:{}", testbed.controllers[0].grpc_port);
    let mut line = vec!["foz", "topics"];
    line.extend(arguments);
    line.extend(["--controllers", &controllers]);
    let mut printed = Vec::new();
    foz_cli::commands::run(Cli::try_parse_from(line)?, &mut printed).await?;
    Ok(String::from_utf8(printed)?)
}

async fn create(client: &Client, name: &str) {
    let topic = NewTopic {
        name: name.to_owned(),
        partitions: Some(2),
        replication_factor: Some(3),
        configs: [("min.insync.replicas".to_owned(), "2".to_owned())].into(),
    };
    client.create_topic(&topic).await.unwrap();
}

/// Each is acknowledged.
async fn produce(client: &Client, topic: &str, values: std::ops::Range<u32>) {
    let mut producer = Producer::new(client.clone(), ProducerConfig::default())
        .await
        .unwrap();
    for value in values {
        let message = Message::of(value.to_string());
        producer.send(topic, message).await.unwrap();
    }
    producer.flush().await.unwrap();
}

async fn values(client: &Client, topic: &str) -> Vec<u32> {
    let messages = read_all(client, topic).await;
    let values = messages.iter().map(|it| {
        let value = it.value.as_deref().unwrap();
        std::str::from_utf8(value).unwrap().parse().unwrap()
    });
    let mut values: Vec<u32> = values.collect();
    values.sort_unstable();
    values
}

fn kept(broker: &Node) -> usize {
    let entries = std::fs::read_dir(broker.directory.join("data")).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.ends_with("-deleted")).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_topic_comes_back_though_brokers_were_killed() {
    let mut testbed = Testbed::prepare(1, 3);
    // However full the disk is that this runs on.
    testbed.controllers[0].configure("foz.delete.keep.free.percent=0");
    testbed.start_all();
    let client = testbed.client().await;
    create(&client, "orders").await;
    produce(&client, "orders", 0..200).await;
    // One does not hear of it, one is killed after it has.
    testbed.brokers[2].kill();
    client.delete_topic("orders").await.unwrap();
    until("it is kept", || kept(&testbed.brokers[0]) == 2).await;
    testbed.brokers[0].kill();
    for at in [0, 2] {
        testbed.brokers[at].spawn();
        testbed.brokers[at].wait_ready();
    }
    until("the one that was away keeps it too", || {
        kept(&testbed.brokers[2]) == 2
    })
    .await;
    let client = testbed.client().await;
    create(&client, "orders").await;
    produce(&client, "orders", 1000..1005).await;

    let listed = foz(&testbed, &["deleted"]).await.unwrap();
    assert!(
        listed.contains("orders") && listed.contains("can be restored"),
        "{listed}"
    );
    let metrics = testbed.controllers[0].http("/metrics").unwrap();
    for told in ["foz_deleted_topics 1\n", "foz_deleted_topic_partitions 2\n"] {
        assert!(metrics.contains(told), "{told}");
    }
    let taken = foz(&testbed, &["restore", "orders"]).await.unwrap_err();
    assert!(taken.to_string().contains("exists already"), "{taken}");
    let restored = foz(&testbed, &["restore", "orders", "--as", "old"])
        .await
        .unwrap();
    assert_eq!(restored, "restored topic old (2 partitions)\n");
    assert_eq!(values(&client, "old").await, (0..200).collect::<Vec<_>>());
    produce(&client, "old", 200..210).await;
    for at in [0, 1, 2] {
        testbed.brokers[at].kill();
    }
    for at in [0, 1, 2] {
        testbed.brokers[at].spawn();
    }
    testbed.wait_ready();
    let client = testbed.client().await;
    assert_eq!(values(&client, "old").await, (0..210).collect::<Vec<_>>());
    let new: Vec<u32> = (1000..1005).collect();
    assert_eq!(values(&client, "orders").await, new);

    client.delete_topic("old").await.unwrap();
    until("it is kept again", || kept(&testbed.brokers[1]) == 2).await;
    let purged = foz(&testbed, &["purge", "old"]).await.unwrap();
    assert_eq!(purged, "purged old: 1 deleted topic\n");
    until("nothing is kept", || {
        testbed.brokers.iter().all(|it| kept(it) == 0)
    })
    .await;
    let nothing = foz(&testbed, &["purge", "old"]).await.unwrap_err();
    assert!(
        nothing.to_string().contains("could not be purged"),
        "{nothing}"
    );
    assert_eq!(values(&client, "orders").await, new);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_deleted_goes_before_its_time_where_the_disk_is_nearly_full() {
    let mut testbed = Testbed::prepare(1, 1);
    // Whatever disk this runs on is fuller than that.
    testbed.controllers[0].configure("foz.delete.keep.free.percent=99");
    testbed.start_all();
    let client = testbed.client().await;
    client.create_topic(&topic("orders", 2)).await.unwrap();
    produce(&client, "orders", 0..10).await;
    client.delete_topic("orders").await.unwrap();
    until("it is purged", || {
        let metrics = testbed.controllers[0].http("/metrics").unwrap();
        metrics.contains("foz_deleted_topics_freed_total 1\n")
    })
    .await;
    until("its files are gone", || kept(&testbed.brokers[0]) == 0).await;
    let listed = foz(&testbed, &["deleted"]).await.unwrap();
    assert_eq!(listed, "");
}
