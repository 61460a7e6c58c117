//! Committed offsets on three replicas, of which brokers are killed: what was acknowledged can be fetched and
//! never goes back, and what cannot be replicated is refused in time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use foz_cli::client::{Client, Target};
use foz_protocol::error::ErrorCode;
use kafka_protocol::messages::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopics,
};
use kafka_protocol::messages::{ApiKey, GroupId, OffsetFetchRequest, TopicName};

use super::{commit, commit_request, committed, coordinator, name};
use crate::testbed::{PATIENCE, Testbed, topic};

const BROKERS: [i32; 3] = [0, 1, 2];
/// `offsets.commit.timeout.ms` and what a busy machine adds.
const COMMIT_FAILS_WITHIN: Duration = Duration::from_secs(12);

/// With `min.insync.replicas=2`.
fn three_brokers() -> Testbed {
    let mut testbed = Testbed::prepare(1, 3);
    testbed.controllers[0].configure("min.insync.replicas=2");
    for broker in &testbed.brokers {
        broker.configure("offsets.topic.num.partitions=6");
    }
    testbed.start_all();
    testbed
}

/// One attempt.
async fn commit_once(client: &Client, node: i32, group: &str, offset: i64) -> Option<ErrorCode> {
    let request = commit_request(group, offset);
    let api = ApiKey::OffsetCommit;
    let answer = client.request(Target::Node(node), api, 8, &request).await;
    let code = answer.ok()?.topics[0].partitions[0].error_code;
    Some(ErrorCode::from(code))
}

/// One attempt; the offset.
async fn fetch_once(
    client: &Client,
    node: i32,
    group: &str,
    require_stable: bool,
) -> Option<Result<i64, ErrorCode>> {
    let topic = OffsetFetchRequestTopics::default()
        .with_name(TopicName(name("orders")))
        .with_partition_indexes(vec![0]);
    let wanted = OffsetFetchRequestGroup::default()
        .with_group_id(GroupId(name(group)))
        .with_topics(Some(vec![topic]));
    let request = OffsetFetchRequest::default()
        .with_require_stable(require_stable)
        .with_groups(vec![wanted]);
    let api = ApiKey::OffsetFetch;
    let answer = client.request(Target::Node(node), api, 8, &request).await;
    let group = answer.ok()?.groups.remove(0);
    Some(match group.error_code {
        0 => Ok(group.topics[0].partitions[0].committed_offset),
        code => Err(ErrorCode::from(code)),
    })
}

/// All replicas of `__consumer_offsets` are in sync.
async fn await_in_sync(client: &Client) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let topic = "__consumer_offsets";
        let cluster = client.refresh(Some(&[topic])).await;
        let is_in_sync = cluster.is_ok_and(|cluster| {
            cluster.topics.get(topic).is_some_and(|topic| {
                let mut partitions = topic.partitions.values();
                partitions.all(|partition| partition.isr.len() == BROKERS.len())
            })
        });
        if is_in_sync {
            return;
        }
        assert!(
            Instant::now() < deadline,
            "__consumer_offsets is not in sync"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_of_three_brokers_tells_committed_offsets_and_refuses_new_ones() {
    let mut testbed = three_brokers();
    let client = testbed.client().await;
    client.create_topic(&topic("orders", 1)).await.unwrap();
    let groups: Vec<String> = (0..12).map(|n| format!("group-{n}")).collect();
    commit(&client, &groups[0], 1).await;
    await_in_sync(&client).await;
    let mut coordinators = Vec::new();
    for (offset, group) in (100..).zip(&groups) {
        commit(&client, group, offset).await;
        coordinators.push(coordinator(&client, group).await);
    }
    assert!(BROKERS.iter().all(|broker| coordinators.contains(broker)));
    // Followers hear of the high watermark with their next fetch.
    tokio::time::sleep(Duration::from_secs(2)).await;
    testbed.brokers[1].kill();
    testbed.brokers[2].kill();

    let deadline = Instant::now() + PATIENCE;
    for (offset, group) in (100..).zip(&groups) {
        for require_stable in [false, true] {
            loop {
                let fetched = fetch_once(&client, 0, group, require_stable).await;
                if let Some(Ok(fetched)) = fetched {
                    assert_eq!(fetched, offset, "{group}");
                    break;
                }
                assert!(Instant::now() < deadline, "{group}: {fetched:?}");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
    for (offset, group) in (100..).zip(&groups) {
        let begun = Instant::now();
        let refused = commit_once(&client, 0, group, offset + 100).await;
        assert_eq!(refused, Some(ErrorCode::CoordinatorNotAvailable), "{group}");
        assert!(
            begun.elapsed() < COMMIT_FAILS_WITHIN,
            "{:?}",
            begun.elapsed()
        );
        let fetched = fetch_once(&client, 0, group, true).await;
        assert_eq!(fetched, Some(Ok(offset)), "{group}: it was refused");
    }

    testbed.brokers[2].spawn();
    testbed.wait_ready();
    for (offset, group) in (300..).zip(&groups) {
        commit(&client, group, offset).await;
        assert_eq!(committed(&client, group).await.0, offset, "{group}");
    }
}

/// What one group commits, one offset after the other, and what it reads between.
async fn commit_and_fetch(client: Client, group: String, is_over: Arc<AtomicBool>) -> i64 {
    let (mut acknowledged, mut seen) = (0, 0);
    let mut node = coordinator(&client, &group).await;
    for offset in 1.. {
        if is_over.load(Ordering::Relaxed) {
            break;
        }
        match commit_once(&client, node, &group, offset).await {
            Some(ErrorCode::None) => acknowledged = offset,
            Some(ErrorCode::CoordinatorLoadInProgress) => {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            _ => node = coordinator(&client, &group).await,
        }
        if let Some(Ok(fetched)) = fetch_once(&client, node, &group, offset % 2 == 0).await {
            let known = acknowledged.max(seen);
            assert!(fetched >= known, "{group}: {known} went back to {fetched}");
            assert!(fetched <= offset, "{group}: {fetched} was never committed");
            seen = fetched;
        }
    }
    let known = acknowledged.max(seen);
    let fetched = committed(&client, &group).await.0;
    assert!(fetched >= known, "{group}: {known} went back to {fetched}");
    acknowledged
}

#[tokio::test(flavor = "multi_thread")]
async fn acknowledged_offsets_never_go_back_when_their_coordinator_is_killed() {
    let mut testbed = three_brokers();
    let client = testbed.client().await;
    client.create_topic(&topic("orders", 1)).await.unwrap();
    commit(&client, "group-0", 0).await;
    await_in_sync(&client).await;
    let is_over = Arc::new(AtomicBool::new(false));
    let committers: Vec<_> = (0..8)
        .map(|n| {
            let group = format!("group-{n}");
            let client = client.with_own_connections();
            tokio::spawn(commit_and_fetch(client, group, Arc::clone(&is_over)))
        })
        .collect();
    for round in 0..4 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let killed = coordinator(&client, "group-0").await as usize;
        testbed.brokers[killed].kill();
        tokio::time::sleep(Duration::from_secs(2)).await;
        let next = coordinator(&client, "group-0").await as usize;
        assert_ne!(killed, next, "round {round}");
        testbed.brokers[killed].spawn();
        testbed.wait_ready();
        await_in_sync(&client).await;
    }
    is_over.store(true, Ordering::Relaxed);
    for committer in committers {
        let acknowledged = committer.await.unwrap();
        assert!(acknowledged > 20, "it got on: {acknowledged}");
    }
}
