//! Topics as clients make and change them.

use std::collections::{BTreeMap, BTreeSet};

use foz_cli::client::{ConfigChange, NewTopic, OffsetAt, Target};
use foz_protocol::error::ErrorCode;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::{ApiKey, MetadataRequest, TopicName};
use kafka_protocol::protocol::StrBytes;

use crate::testbed::{Node, PATIENCE, Testbed, topic, until};

#[tokio::test(flavor = "multi_thread")]
async fn topics_are_made_changed_and_deleted() {
    let testbed = Testbed::start(1, 3);
    let client = testbed.client().await;
    client.create_topic(&topic("orders", 6)).await.unwrap();
    let cluster = client.refresh(None).await.unwrap();
    let leaders: BTreeSet<_> = (0..6)
        .filter_map(|index| cluster.leader("orders", index))
        .collect();
    assert_eq!(leaders.len(), 3, "leaders are spread over the brokers");

    let exists = client.create_topic(&topic("orders", 1)).await.unwrap_err();
    assert_eq!(exists.code(), Some(ErrorCode::TopicAlreadyExists));
    let illegal = client
        .create_topic(&topic("no spaces", 1))
        .await
        .unwrap_err();
    assert_eq!(illegal.code(), Some(ErrorCode::InvalidTopicException));

    client.create_partitions("orders", 8).await.unwrap();
    let fewer = client.create_partitions("orders", 2).await.unwrap_err();
    assert_eq!(fewer.code(), Some(ErrorCode::InvalidPartitions));
    assert_eq!(
        client
            .partitions_of("orders", PATIENCE)
            .await
            .unwrap()
            .len(),
        8
    );

    let set = ConfigChange::Set("retention.ms".to_owned(), "1000".to_owned());
    client.alter_topic_configs("orders", &[set]).await.unwrap();
    let configs = client.topic_configs("orders").await.unwrap();
    let retention = configs
        .iter()
        .find(|entry| entry.name == "retention.ms")
        .unwrap();
    assert_eq!(retention.value.as_deref(), Some("1000"));
    assert!(retention.is_set_on_topic);
    let typo = ConfigChange::Set("retention.m".to_owned(), "1000".to_owned());
    let typo = client
        .alter_topic_configs("orders", &[typo])
        .await
        .unwrap_err();
    assert!(
        typo.to_string().contains("retention.ms"),
        "suggests the nearest: {typo}"
    );

    client.delete_topic("orders").await.unwrap();
    let gone = client.delete_topic("orders").await.unwrap_err();
    assert_eq!(gone.code(), Some(ErrorCode::UnknownTopicOrPartition));
    for broker in &testbed.brokers {
        let is_left = || {
            let entries = std::fs::read_dir(broker.directory.join("data")).unwrap();
            let mut names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
            names.any(|name| name.starts_with("orders-") && !name.ends_with("-deleted"))
        };
        until("no log has its name", || !is_left()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn more_replicas_than_brokers_are_refused_clearly() {
    let testbed = Testbed::start(1, 2);
    let client = testbed.client().await;
    let wanted = NewTopic {
        name: "orders".to_owned(),
        partitions: Some(1),
        replication_factor: Some(3),
        configs: BTreeMap::new(),
    };
    let refused = client.create_topic(&wanted).await.unwrap_err();
    assert_eq!(refused.code(), Some(ErrorCode::InvalidReplicationFactor));
    assert!(
        client
            .refresh(None)
            .await
            .unwrap()
            .leader("orders", 0)
            .is_none()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_asks_first_the_groups_topic_is_made_as_the_groups_need_it() {
    let testbed = Testbed::start(1, 1);
    let client = testbed.client().await;
    let name = TopicName(StrBytes::from_static_str("__consumer_offsets"));
    let wanted = MetadataRequestTopic::default().with_name(Some(name));
    let request = MetadataRequest::default()
        .with_topics(Some(vec![wanted]))
        .with_allow_auto_topic_creation(true);
    let made = client
        .request(Target::Any, ApiKey::Metadata, 9, &request)
        .await
        .unwrap();
    assert_eq!(made.topics[0].error_code, 0);
    assert_eq!(made.topics[0].partitions.len(), 50);
    assert!(made.topics[0].is_internal);
    let configs = client.topic_configs("__consumer_offsets").await.unwrap();
    let cleanup = configs.iter().find(|entry| entry.name == "cleanup.policy");
    assert_eq!(cleanup.unwrap().value.as_deref(), Some("compact"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_is_deleted_takes_its_damaged_partition_along() {
    let mut testbed = Testbed::start(1, 1);
    let client = testbed.client().await;
    client.create_topic(&topic("orders", 2)).await.unwrap();
    let broker = &mut testbed.brokers[0];
    broker.stop();
    let damaged = broker.directory.join("data/orders-1");
    std::fs::write(damaged.join("partition.metadata"), "nothing").unwrap();
    broker.spawn();
    broker.wait_ready();
    let offline = |broker: &Node, count: i32| {
        let metrics = broker.http("/metrics").unwrap();
        assert!(
            metrics.contains(&format!("foz_offline_logs {count}\n")),
            "{metrics}"
        );
    };
    offline(&testbed.brokers[0], 1);
    let client = testbed.client().await;
    client.refresh(None).await.unwrap();
    let unusable = client
        .offsets("orders", &[1], OffsetAt::Latest)
        .await
        .unwrap_err();
    assert_eq!(unusable.code(), Some(ErrorCode::KafkaStorageError));
    client
        .offsets("orders", &[0], OffsetAt::Latest)
        .await
        .unwrap();
    client.delete_topic("orders").await.unwrap();
    offline(&testbed.brokers[0], 0);
    until("it does not have its name", || !damaged.exists()).await;
    client.create_topic(&topic("orders", 2)).await.unwrap();
    offline(&testbed.brokers[0], 0);
}
