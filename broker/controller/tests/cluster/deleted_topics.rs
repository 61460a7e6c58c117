//! Topics are deleted, listed, brought back and given up, by hand and by the clock.

use std::time::Duration;

use foz_api::v1;
use foz_api::v1::admin_client::AdminClient;
use tonic::transport::Channel;

use crate::controllers::{Controllers, eventually};
use crate::fake_broker::FakeBroker;
use crate::support::{
    admin, assigned_topic, create_one, create_this, new_topic, with_one_broker, with_two_brokers,
};

const TOPIC_ALREADY_EXISTS: i32 = 36;
const UNKNOWN_TOPIC_ID: i32 = 100;

fn by_name(name: &str) -> v1::TopicRef {
    v1::TopicRef {
        name: name.to_owned(),
        ..v1::TopicRef::default()
    }
}

async fn delete(admin: &mut AdminClient<Channel>, name: &str) {
    let request = v1::DeleteTopicsRequest {
        topics: vec![by_name(name)],
        ..v1::DeleteTopicsRequest::default()
    };
    let results = admin.delete_topics(request).await.unwrap().into_inner();
    assert_eq!(results.results[0].outcome.as_ref().unwrap().kafka_code, 0);
}

async fn list(
    admin: &mut AdminClient<Channel>,
) -> Vec<v1::list_deleted_topics_response::DeletedTopic> {
    list_named(admin, &[]).await
}

async fn list_named(
    admin: &mut AdminClient<Channel>,
    names: &[&str],
) -> Vec<v1::list_deleted_topics_response::DeletedTopic> {
    let names = names.iter().map(|name| (*name).to_owned()).collect();
    let request = v1::ListDeletedTopicsRequest { names };
    let answer = admin.list_deleted_topics(request).await.unwrap();
    answer.into_inner().topics
}

async fn restore(
    admin: &mut AdminClient<Channel>,
    topic: v1::TopicRef,
    new_name: &str,
) -> Result<v1::Topic, i32> {
    let request = v1::RestoreTopicRequest {
        topic: Some(topic),
        new_name: new_name.to_owned(),
        operator_epoch: 0,
    };
    let answer = admin.restore_topic(request).await.unwrap().into_inner();
    let outcome = answer.outcome.unwrap();
    answer.topic.ok_or(outcome.kafka_code)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_topic_is_listed_brought_back_and_given_up() {
    let (controllers, broker) = with_one_broker(1).await;
    let mut admin = admin(&controllers).await;
    let mut topic = new_topic("t", 2);
    topic.config.insert("retention.ms".into(), "7".into());
    let made = create_this(&controllers, topic).await;
    delete(&mut admin, "t").await;
    let again = create_one(&controllers, "t", 1).await;
    delete(&mut admin, "t").await;
    let listed = list(&mut admin).await;
    let ids: Vec<_> = listed.iter().map(|it| it.id.clone()).collect();
    assert_eq!(ids, [again.id.clone(), made.id.clone()], "the newest first");
    assert_eq!(list_named(&mut admin, &["s", "t"]).await, listed);
    assert_eq!(list_named(&mut admin, &["s"]).await, []);
    let first = &listed[1];
    assert_eq!((&*first.name, first.partitions), ("t", 2));
    assert_eq!(first.grace_ends_at_ms - first.deleted_at_ms, 86_400_000);
    assert!(
        first.deleted_at_ms > 1_600_000_000_000,
        "it is the wall clock"
    );
    assert!(!first.by_operator);
    assert_eq!(first.lost_partition, -1);

    let wanted = v1::TopicRef {
        id: made.id.clone(),
        ..v1::TopicRef::default()
    };
    create_one(&controllers, "t", 1).await;
    let refused = restore(&mut admin, wanted.clone(), "").await;
    assert_eq!(refused.unwrap_err(), TOPIC_ALREADY_EXISTS);
    let restored = restore(&mut admin, wanted.clone(), "old").await.unwrap();
    assert_eq!((&*restored.name, &restored.id), ("old", &made.id));
    assert_eq!(restored.config, made.config);
    assert_eq!(restored.partitions.len(), 2);
    assert_eq!(restored.partitions[0].leader, 0);
    assert!(controllers.image().topic("old").is_some());
    let refused = restore(&mut admin, wanted, "").await;
    assert_eq!(refused.unwrap_err(), UNKNOWN_TOPIC_ID);

    let request = v1::PurgeDeletedTopicsRequest {
        topics: vec![by_name("t"), by_name("u")],
        operator_epoch: 0,
    };
    let answer = admin.purge_deleted_topics(request).await.unwrap();
    let results = answer.into_inner().results;
    let counts: Vec<_> = results
        .iter()
        .map(|it| (it.outcome.as_ref().unwrap().kafka_code, it.purged))
        .collect();
    assert_eq!(counts, [(0, 1), (3, 0)]);
    assert!(list(&mut admin).await.is_empty());

    let nothing = v1::RestoreTopicRequest::default();
    let status = admin.restore_topic(nothing).await.unwrap_err();
    assert!(status.message().contains("topic"), "{status}");
    broker.stop().await;
    controllers.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_clock_ends_the_grace() {
    let (controllers, broker) = with_one_broker(1).await;
    let mut admin = admin(&controllers).await;
    for (name, grace_ms) in [("short", "1"), ("long", "86400000"), ("none", "0")] {
        let mut topic = new_topic(name, 1);
        topic
            .config
            .insert("foz.delete.grace.ms".into(), grace_ms.into());
        create_this(&controllers, topic).await;
        delete(&mut admin, name).await;
    }
    eventually("what is over is purged", || {
        controllers.image().deleted_topic_count() == 1
    })
    .await;
    assert_eq!(list(&mut admin).await[0].name, "long");
    broker.stop().await;
    controllers.stop().await;
}

/// A broker tells how much of its disk is free.
async fn tell(controllers: &Controllers, broker: &FakeBroker, node_id: i32, free_percent: i64) {
    let report = v1::ReportLoadRequest {
        node_id,
        broker_epoch: broker.epoch(),
        // Its other disks are empty.
        disk_bytes_total: 1 << 40,
        disk_bytes_free: 1 << 40,
        fullest_disk_bytes_total: 1_000,
        fullest_disk_bytes_free: 10 * free_percent,
        ..v1::ReportLoadRequest::default()
    };
    controllers.node().await.report_load(report).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_oldest_goes_before_its_time_where_a_disk_is_nearly_full() {
    let (controllers, brokers) = with_two_brokers(1).await;
    let mut admin = admin(&controllers).await;
    for (name, broker) in [("elsewhere", 1), ("older", 0), ("newer", 0)] {
        create_this(&controllers, assigned_topic(name, &[&[broker]])).await;
        delete(&mut admin, name).await;
        // Each in a millisecond of its own.
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let left = || controllers.image().deleted_topic_count();
    for (node_id, broker) in (0..).zip(&brokers) {
        tell(&controllers, broker, node_id, 10).await;
    }
    // The duty looks every second.
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    assert_eq!(left(), 3);
    tell(&controllers, &brokers[0], 0, 9).await;
    eventually("one is purged", || left() < 3).await;
    // What it told before says nothing of what that brought; and what it tells at once, too little.
    for _ in 0..2 {
        tokio::time::sleep(Duration::from_millis(1_200)).await;
        tell(&controllers, &brokers[0], 0, 9).await;
    }
    let names: Vec<_> = list(&mut admin)
        .await
        .into_iter()
        .map(|it| it.name)
        .collect();
    assert_eq!(names, ["elsewhere", "newer"]);
    for broker in brokers {
        broker.stop().await;
    }
    controllers.stop().await;
}
