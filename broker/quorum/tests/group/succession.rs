//! How soon there is another leader when the leader's process ends, and that a leader that lives stays.

use std::time::{Duration, Instant};

use crate::harness::{Group, batches};
use crate::proxy::Proxies;

/// What Raft's timeout alone takes at least: a follower waits for so long from the last heartbeat on, and
/// heartbeats are 100 ms apart.
const TIMEOUT_LEAST: Duration = Duration::from_millis(400);
const ROUNDS: usize = 5;

#[tokio::test(flavor = "multi_thread")]
async fn when_the_leaders_process_ends_nobody_waits_for_the_election_timeout() {
    let mut group = Group::started(3).await;
    let mut took = Vec::new();
    let mut wanted = Vec::new();
    for round in 0..ROUNDS {
        let (leader, term) = group.leader().await;
        wanted.push(format!("round {round}"));
        group.propose([format!("round {round}")]).await;
        group.all_have(&wanted).await;
        let ended = Instant::now();
        group.kill(leader).await;
        let (next, next_term) = group.leader().await;
        took.push(ended.elapsed());
        assert_ne!(next, leader);
        assert!(next_term > term);
        group.start(leader).await;
    }
    group.all_have(&wanted).await;
    took.sort();
    eprintln!("from the end of the process to a leader that all know: {took:?}");
    assert!(took[ROUNDS / 2] < TIMEOUT_LEAST, "{took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_only_loses_its_connections_stays() {
    let mut group = Group::new(3);
    let proxies = Proxies::before(&mut group).await;
    group.start_all().await;
    let (leader, term) = group.leader().await;
    group.propose(batches(0..10)).await;
    for round in 1..=5 {
        proxies.break_all();
        // Long enough for whoever would stand for election because of it.
        tokio::time::sleep(Duration::from_millis(200)).await;
        group.propose(batches(10 * round..10 * round + 10)).await;
        assert_eq!(group.leader().await, (leader, term), "round {round}");
    }
    assert!(proxies.broken() >= 5 * 6, "{}", proxies.broken());
    group.all_have(&batches(0..60)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_hears_the_leader_follows_it_though_it_cannot_answer() {
    let mut group = Group::new(3);
    let proxies = Proxies::before(&mut group).await;
    group.start_all().await;
    let (leader, term) = group.leader().await;
    let follower = (leader + 1) % 3;
    let mut leadership = group.node(follower).quorum.leadership();
    leadership.mark_unchanged();
    proxies.refuse(follower, leader);
    tokio::time::sleep(Duration::from_millis(600)).await;
    group.propose(batches(0..10)).await;
    assert!(!leadership.has_changed().unwrap());
    assert_eq!(group.leader().await, (leader, term));
}

/// Else an election that falls into this time finds two followers of which one cannot speak to the other.
#[tokio::test(flavor = "multi_thread")]
async fn a_controller_that_was_away_for_long_is_spoken_to_as_soon_as_it_is_back() {
    let mut group = Group::started(3).await;
    let mut took = Vec::new();
    for _ in 0..3 {
        let (leader, _) = group.leader().await;
        let follower = (leader + 1) % 3;
        group.kill(follower).await;
        // The others ask for it ever less often.
        tokio::time::sleep(Duration::from_millis(1400)).await;
        let began = Instant::now();
        group.start(follower).await;
        group.leader().await;
        took.push(began.elapsed());
    }
    took.sort();
    eprintln!("from the start of the process until it hears the leader: {took:?}");
    assert!(took[1] < TIMEOUT_LEAST, "{took:?}");
}
