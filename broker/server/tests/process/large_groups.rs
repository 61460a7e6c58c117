//! Groups of 1,000 members, each with a connection of its own, that send a heartbeat every 500 ms: how soon all have
//! what the last join gave them, and what a coordinator costs that is killed on the way there.

mod board;
mod classic;
mod consumer;
mod member;

use std::sync::Arc;
use std::time::{Duration, Instant};

use foz_cli::client::{Client, NewTopic, Target};
use kafka_protocol::messages::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopics,
};
use kafka_protocol::messages::{ApiKey, GroupId, OffsetFetchRequest, TopicName};
use tokio::sync::{Mutex, watch};
use tokio::task::JoinSet;

use crate::groups::coordinator;
use crate::testbed::{PATIENCE, Testbed, topic};
use board::Board;
use member::{Member, Protocol, TOPIC, name};

const MEMBERS: usize = 1_000;
/// After the last join.
const STABLE_WITHIN: Duration = Duration::from_secs(2);
/// The median of so many tries in a row counts.
const COUNTED: usize = 3;
/// A machine that does something else at the moment gets more of them.
const TRIES: usize = 10;
/// Two such groups at a time would be in each other's way.
static ALONE: Mutex<()> = Mutex::const_new(());

/// The members that run; all end with it.
struct Members {
    group: Arc<str>,
    board: Arc<Board>,
    /// Where the coordinator is.
    port: watch::Sender<u16>,
    running: JoinSet<()>,
    protocol: Protocol,
    commits: bool,
}

impl Members {
    fn new(group: &str, protocol: Protocol, port: u16, commits: bool) -> Self {
        Self {
            group: Arc::from(group),
            board: Arc::new(Board::new(MEMBERS)),
            port: watch::Sender::new(port),
            running: JoinSet::new(),
            protocol,
            commits,
        }
    }

    fn join(&mut self, count: usize) {
        for _ in 0..count {
            let index = self.running.len();
            let (group, board) = (Arc::clone(&self.group), Arc::clone(&self.board));
            let member = Member::new(group, index, self.port.subscribe(), board, self.commits);
            match self.protocol {
                Protocol::Classic => self.running.spawn(classic::run(member)),
                Protocol::Consumer => self.running.spawn(consumer::run(member)),
            };
        }
    }

    /// All of them have what one generation gave them, and every partition has one owner; how long it took from the
    /// last join.
    async fn stable(&mut self) -> Duration {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        let count = self.running.len();
        loop {
            if let Some(took) = self.board.stable(count) {
                return took;
            }
            tokio::select! {
                () = self.board.changed() => {}
                ended = self.running.join_next() => panic!("a member ended: {ended:?}"),
                () = tokio::time::sleep_until(deadline) => panic!("not stable: {}", self.board.say()),
            }
        }
    }
}

fn prepare(brokers: usize, offsets_partitions: &str) -> Testbed {
    let testbed = Testbed::prepare(1, brokers);
    for broker in &testbed.brokers {
        broker.configure(offsets_partitions);
        broker.configure("group.consumer.heartbeat.interval.ms=500");
        broker.configure("group.consumer.min.heartbeat.interval.ms=500");
    }
    testbed
}

async fn coordinator_port(testbed: &Testbed, client: &Client, group: &str) -> u16 {
    let node = coordinator(client, group).await;
    testbed.brokers[node as usize].kafka_port
}

async fn becomes_stable(protocol: Protocol) {
    let _alone = ALONE.lock().await;
    let mut testbed = prepare(1, "offsets.topic.num.partitions=1");
    testbed.start_all();
    let client = testbed.client().await;
    let orders = topic(TOPIC, MEMBERS as i32);
    client.create_topic(&orders).await.unwrap();
    let mut took = [Vec::new(), Vec::new()];
    for attempt in 0..TRIES {
        let group = format!("{protocol:?}-{attempt}");
        let port = coordinator_port(&testbed, &client, &group).await;
        let mut members = Members::new(&group, protocol, port, false);
        members.join(MEMBERS - 1);
        took[0].push(members.stable().await);
        members.join(1);
        took[1].push(members.stable().await);
        let is_soon =
            |took: &Vec<Duration>| last_median(took).is_some_and(|took| took < STABLE_WITHIN);
        if took.iter().all(is_soon) {
            eprintln!("{protocol:?}: all but one at once, and the last one: {took:?}");
            return;
        }
    }
    panic!("stable after {took:?}; {STABLE_WITHIN:?} is promised");
}

/// Of the last tries, when there were enough.
fn last_median(took: &[Duration]) -> Option<Duration> {
    let mut counted = took.last_chunk::<COUNTED>()?.to_owned();
    counted.sort_unstable();
    Some(counted[COUNTED / 2])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_classic_group_of_a_thousand_is_stable_within_two_seconds() {
    becomes_stable(Protocol::Classic).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_group_of_a_thousand_is_stable_within_two_seconds() {
    becomes_stable(Protocol::Consumer).await;
}

/// The committed offset of each partition.
async fn committed(client: &Client, group: &str) -> Vec<i64> {
    let topic = OffsetFetchRequestTopics::default()
        .with_name(TopicName(name(TOPIC)))
        .with_partition_indexes((0..MEMBERS as i32).collect());
    let wanted = OffsetFetchRequestGroup::default()
        .with_group_id(GroupId(name(group)))
        .with_topics(Some(vec![topic]));
    let request = OffsetFetchRequest::default()
        .with_require_stable(true)
        .with_groups(vec![wanted]);
    let deadline = Instant::now() + PATIENCE;
    loop {
        let node = Target::Node(coordinator(client, group).await);
        let answer = client.request(node, ApiKey::OffsetFetch, 8, &request).await;
        if let Ok(answer) = answer
            && answer.groups[0].error_code == 0
        {
            let mut offsets = vec![-1; MEMBERS];
            for partition in &answer.groups[0].topics[0].partitions {
                offsets[partition.partition_index as usize] = partition.committed_offset;
            }
            return offsets;
        }
        assert!(Instant::now() < deadline, "no committed offsets");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// One joins a group that commits, and the coordinator is killed when some have heard of it and others have not.
async fn loses_no_offset(protocol: Protocol) {
    const GROUP: &str = "committing";
    let _alone = ALONE.lock().await;
    let mut testbed = prepare(3, "offsets.topic.num.partitions=1");
    testbed.controllers[0].configure("min.insync.replicas=2");
    testbed.start_all();
    let client = testbed.client().await;
    let topic = NewTopic {
        replication_factor: Some(1),
        ..topic(TOPIC, MEMBERS as i32)
    };
    client.create_topic(&topic).await.unwrap();
    let port = coordinator_port(&testbed, &client, GROUP).await;
    let mut members = Members::new(GROUP, protocol, port, true);
    members.join(MEMBERS - 1);
    members.stable().await;
    members.board.have_committed(MEMBERS / 2).await;

    let killed = coordinator(&client, GROUP).await as usize;
    members.join(1);
    members.board.are_told(MEMBERS / 4).await;
    testbed.brokers[killed].kill();
    assert!(
        members.board.stable(MEMBERS).is_none(),
        "it was done before"
    );
    let at_kill = members.board.acknowledged();
    let deadline = Instant::now() + PATIENCE;
    let next = loop {
        let next = coordinator(&client, GROUP).await as usize;
        if next != killed {
            break next;
        }
        assert!(Instant::now() < deadline, "nobody takes over");
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    // Before any member commits there.
    for (partition, (now, then)) in committed(&client, GROUP)
        .await
        .iter()
        .zip(&at_kill)
        .enumerate()
    {
        assert!(now >= then, "{partition}: {then} went back to {now}");
    }
    members.port.send_replace(testbed.brokers[next].kafka_port);
    let begun = Instant::now();
    members.stable().await;
    eprintln!(
        "{protocol:?}: stable {:?} after the next coordinator was known",
        begun.elapsed()
    );
    let at_stable = members.board.acknowledged();
    members.board.have_committed(MEMBERS / 2).await;
    for (partition, (now, then)) in committed(&client, GROUP)
        .await
        .iter()
        .zip(&at_stable)
        .enumerate()
    {
        assert!(now >= then, "{partition}: {then} went back to {now}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_coordinator_killed_while_a_classic_group_rebalances_costs_no_offset() {
    loses_no_offset(Protocol::Classic).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_coordinator_killed_while_a_consumer_group_rebalances_costs_no_offset() {
    loses_no_offset(Protocol::Consumer).await;
}
