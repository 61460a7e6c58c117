//! Committed offsets survive, and groups find their coordinator again.

mod consumer_groups;
mod failover;
mod migration;

use std::time::{Duration, Instant};

use foz_cli::client::{Client, Target};
use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopics,
};
use kafka_protocol::messages::{
    ApiKey, FindCoordinatorRequest, GroupId, OffsetCommitRequest, OffsetFetchRequest, TopicName,
};
use kafka_protocol::protocol::StrBytes;

use crate::testbed::{PATIENCE, Testbed, topic};

fn name(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

pub(crate) async fn coordinator(client: &Client, group: &str) -> i32 {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let request = FindCoordinatorRequest::default().with_coordinator_keys(vec![name(group)]);
        let answer = client
            .request(Target::Any, ApiKey::FindCoordinator, 4, &request)
            .await;
        if let Ok(answer) = answer
            && answer.coordinators[0].error_code == 0
        {
            client.refresh(None).await.unwrap();
            return answer.coordinators[0].node_id.0;
        }
        assert!(Instant::now() < deadline, "no coordinator for {group}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// From a consumer that assigns itself.
fn commit_request(group: &str, offset: i64) -> OffsetCommitRequest {
    let partition = OffsetCommitRequestPartition::default()
        .with_partition_index(0)
        .with_committed_offset(offset)
        .with_committed_metadata(Some(name("note")));
    let topic = OffsetCommitRequestTopic::default()
        .with_name(TopicName(name("orders")))
        .with_partitions(vec![partition]);
    OffsetCommitRequest::default()
        .with_group_id(GroupId(name(group)))
        .with_generation_id_or_member_epoch(-1)
        .with_topics(vec![topic])
}

pub(crate) async fn commit(client: &Client, group: &str, offset: i64) {
    let request = commit_request(group, offset);
    let deadline = Instant::now() + PATIENCE;
    loop {
        let node = Target::Node(coordinator(client, group).await);
        let answer = client
            .request(node, ApiKey::OffsetCommit, 8, &request)
            .await;
        if answer.is_ok_and(|answer| answer.topics[0].partitions[0].error_code == 0) {
            return;
        }
        assert!(Instant::now() < deadline, "{group} cannot commit");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

pub(crate) async fn committed(client: &Client, group: &str) -> (i64, String) {
    let topic = OffsetFetchRequestTopics::default()
        .with_name(TopicName(name("orders")))
        .with_partition_indexes(vec![0]);
    let wanted = OffsetFetchRequestGroup::default()
        .with_group_id(GroupId(name(group)))
        .with_topics(Some(vec![topic]));
    let request = OffsetFetchRequest::default().with_groups(vec![wanted]);
    let deadline = Instant::now() + PATIENCE;
    loop {
        let node = Target::Node(coordinator(client, group).await);
        let answer = client.request(node, ApiKey::OffsetFetch, 8, &request).await;
        if let Ok(answer) = answer
            && answer.groups[0].error_code == 0
        {
            let partition = &answer.groups[0].topics[0].partitions[0];
            let note = partition
                .metadata
                .as_ref()
                .map(ToString::to_string)
                .unwrap_or_default();
            return (partition.committed_offset, note);
        }
        assert!(
            Instant::now() < deadline,
            "{group} cannot fetch its offsets"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn committed_offsets_survive_kill_of_everything() {
    let mut testbed = Testbed::start(1, 2);
    let client = testbed.client().await;
    client.create_topic(&topic("orders", 1)).await.unwrap();
    let groups: Vec<String> = (0..20).map(|n| format!("group-{n}")).collect();
    for (offset, group) in (100..).zip(&groups) {
        commit(&client, group, offset).await;
    }
    testbed.nodes().for_each(|node| node.kill());
    testbed.nodes().for_each(|node| node.spawn());
    testbed.wait_ready();
    let client = testbed.client().await;
    for (offset, group) in (100..).zip(&groups) {
        assert_eq!(
            committed(&client, group).await,
            (offset, "note".to_owned()),
            "{group}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn offsets_of_a_topic_that_does_not_exist_are_refused() {
    let testbed = Testbed::start(1, 1);
    let client = testbed.client().await;
    let partition = OffsetCommitRequestPartition::default().with_committed_offset(5);
    let topic = OffsetCommitRequestTopic::default()
        .with_name(TopicName(name("nowhere")))
        .with_partitions(vec![partition]);
    let request = OffsetCommitRequest::default()
        .with_group_id(GroupId(name("group")))
        .with_generation_id_or_member_epoch(-1)
        .with_topics(vec![topic]);
    let node = Target::Node(coordinator(&client, "group").await);
    let answer = client
        .request(node, ApiKey::OffsetCommit, 8, &request)
        .await
        .unwrap();
    assert_eq!(answer.topics[0].partitions[0].error_code, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn offsets_of_a_topic_deleted_while_nobody_coordinated_are_forgotten() {
    let mut testbed = Testbed::start(1, 2);
    let client = testbed.client().await;
    client.create_topic(&topic("orders", 1)).await.unwrap();
    let groups: Vec<String> = (0..10).map(|n| format!("group-{n}")).collect();
    let mut away = Vec::new();
    for group in groups {
        commit(&client, &group, 100).await;
        if coordinator(&client, &group).await == 1 {
            away.push(group);
        }
    }
    assert!(!away.is_empty(), "some groups are of broker 1");
    testbed.brokers[1].kill();
    client.delete_topic("orders").await.unwrap();
    testbed.brokers[1].spawn();
    testbed.wait_ready();
    for group in &away {
        let deadline = Instant::now() + PATIENCE;
        while committed(&client, group).await.0 != -1 {
            assert!(Instant::now() < deadline, "{group} keeps its offset");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}
