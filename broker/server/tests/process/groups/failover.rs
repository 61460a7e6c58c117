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
use rustix::process::Signal;

use super::{commit, commit_request, committed, coordinator, name};
use crate::testbed::{PATIENCE, Testbed, topic};

const BROKERS: [i32; 3] = [0, 1, 2];
/// `offsets.commit.timeout.ms` and what a busy machine adds.
const COMMIT_FAILS_WITHIN: Duration = Duration::from_secs(12);

fn three_brokers(min_insync_replicas: usize) -> Testbed {
    let mut testbed = Testbed::prepare(1, 3);
    let min_insync_replicas = format!("min.insync.replicas={min_insync_replicas}");
    testbed.controllers[0].configure(&min_insync_replicas);
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

/// Fetches until it is answered with an offset.
async fn fetch(client: &Client, node: i32, group: &str, require_stable: bool) -> i64 {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let fetched = fetch_once(client, node, group, require_stable).await;
        if let Some(Ok(offset)) = fetched {
            return offset;
        }
        assert!(Instant::now() < deadline, "{group}: {fetched:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_of_three_brokers_tells_committed_offsets_and_refuses_new_ones() {
    const OLD: i64 = 100;
    const NEW: i64 = 200;
    // So that nothing is committed while one is missing.
    let mut testbed = three_brokers(3);
    let client = testbed.client().await;
    client.create_topic(&topic("orders", 1)).await.unwrap();
    let quiet: Vec<String> = (0..12).map(|n| format!("quiet-{n}")).collect();
    commit(&client, &quiet[0], OLD).await;
    await_in_sync(&client).await;
    let (mut stays, mut moves) = (Vec::new(), Vec::new());
    for n in 0..12 {
        let (busy, quiet) = (format!("busy-{n}"), &quiet[n]);
        commit(&client, &busy, OLD).await;
        commit(&client, quiet, OLD).await;
        match coordinator(&client, &busy).await {
            0 => stays.push(busy),
            1 => moves.push(busy),
            _ => {}
        }
    }
    assert!(!stays.is_empty() && !moves.is_empty());
    // Followers hear of the high watermark with their next fetch.
    tokio::time::sleep(Duration::from_secs(2)).await;

    // What is committed now reaches broker 0, and not broker 2.
    testbed.brokers[2].signal(Signal::STOP);
    let under_way = |node: i32, groups: &[String]| -> Vec<_> {
        let groups = groups.iter().cloned();
        let commits = groups.map(|group| {
            let client = client.with_own_connections();
            let begun = Instant::now();
            tokio::spawn(async move {
                let outcome = commit_once(&client, node, &group, NEW).await;
                (outcome, begun.elapsed())
            })
        });
        commits.collect()
    };
    let stuck = under_way(0, &stays);
    let cut_off = under_way(1, &moves);
    tokio::time::sleep(Duration::from_secs(1)).await;
    testbed.brokers[1].kill();
    testbed.brokers[2].kill();

    for group in &quiet {
        for require_stable in [false, true] {
            assert_eq!(
                fetch(&client, 0, group, require_stable).await,
                OLD,
                "{group}"
            );
        }
    }
    for commit in cut_off {
        assert_eq!(commit.await.unwrap().0, None, "its coordinator was killed");
    }
    for group in &moves {
        // It may have been acknowledged, for all that broker 0 knows.
        let loading = ErrorCode::CoordinatorLoadInProgress;
        let fetched = fetch_once(&client, 0, group, false).await;
        assert_eq!(fetched, Some(Err(loading)), "{group}");
        let refused = commit_once(&client, 0, group, NEW + 1).await;
        assert_eq!(refused, Some(loading), "{group}");
    }
    for commit in stuck {
        let (outcome, took) = commit.await.unwrap();
        assert_eq!(outcome, Some(ErrorCode::CoordinatorNotAvailable));
        assert!(took < COMMIT_FAILS_WITHIN, "{took:?}");
    }
    for group in quiet.iter().chain(&stays) {
        let begun = Instant::now();
        let refused = commit_once(&client, 0, group, NEW + 1).await;
        assert_eq!(refused, Some(ErrorCode::CoordinatorNotAvailable), "{group}");
        assert!(
            begun.elapsed() < COMMIT_FAILS_WITHIN,
            "{:?}",
            begun.elapsed()
        );
        let fetched = fetch_once(&client, 0, group, true).await;
        assert_eq!(fetched, Some(Ok(OLD)), "{group}: it was not acknowledged");
    }

    testbed.brokers[1].spawn();
    testbed.brokers[2].spawn();
    testbed.wait_ready();
    await_in_sync(&client).await;
    for group in moves.iter().chain(&stays) {
        let deadline = Instant::now() + PATIENCE;
        while committed(&client, group).await.0 != NEW {
            assert!(
                Instant::now() < deadline,
                "{group} has lost what broker 0 had"
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    for group in &quiet {
        assert_eq!(committed(&client, group).await.0, OLD, "{group}");
    }
    for group in moves.iter().chain(&stays).chain(&quiet) {
        commit(&client, group, NEW + 2).await;
        assert_eq!(committed(&client, group).await.0, NEW + 2, "{group}");
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
    let mut testbed = three_brokers(2);
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
