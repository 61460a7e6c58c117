//! Logs move between the data directories of a broker (AlterReplicaLogDirs).

use std::collections::BTreeSet;
use std::time::Duration;

use foz_cli::client::{Client, NewTopic};
use foz_protocol::error::ErrorCode;
use kafka_protocol::messages::describe_log_dirs_response::DescribeLogDirsPartition;
use tokio::task::block_in_place;
use tokio::time::{Instant, sleep};

use crate::directories::{describe, keep_in, leaders, logs_in, put, put_in_turn};
use crate::failing_directory::on_disks;
use crate::full_disk::{Load, TOPIC, await_isr, gauge};
use crate::testbed::{Node, PATIENCE, Testbed, read_all, topic};
use crate::versions::connection::{Answered, Connection, Topic, batch, error};

const RATE: &str = "replica.alter.log.dirs.io.max.bytes.per.second";
const PARTITIONS: i32 = 3;

fn prepare(brokers: usize) -> Testbed {
    let testbed = Testbed::prepare(1, brokers);
    for broker in &testbed.brokers {
        keep_in(broker, &["a", "b"]);
    }
    testbed
}

async fn create(client: &Client, replicas: i16) {
    let min_insync = if replicas > 1 { "2" } else { "1" };
    let orders = NewTopic {
        replication_factor: Some(replicas),
        configs: [
            ("min.insync.replicas".to_owned(), min_insync.to_owned()),
            // What is filled in is old.
            ("retention.ms".to_owned(), "-1".to_owned()),
        ]
        .into(),
        ..topic(TOPIC, PARTITIONS)
    };
    client.create_topic(&orders).await.unwrap();
}

/// So many MiB in each partition, in records that are no numbers.
fn fill(testbed: &Testbed, mib: usize) {
    let answered = Answered::default();
    let mut connections: Vec<_> = (testbed.brokers.iter())
        .map(|broker| Connection::open(broker, &answered))
        .collect();
    let connection = &mut connections[0];
    let leaders = leaders(connection, TOPIC);
    let id = connection.topic(13, TOPIC).topic_id;
    let orders = Topic {
        name: TOPIC.to_owned(),
        id,
    };
    let value = "x".repeat(512 << 10);
    for index in 0..PARTITIONS {
        for _ in 0..2 * mib {
            let leader = &mut connections[leaders[&index] as usize];
            leader.produce(&orders, index, batch(1, &[&value]));
        }
    }
}

/// Where the log of this partition is.
fn place(broker: &Node, index: i32) -> &'static str {
    let places = ["a", "b"].into_iter();
    let mut places = places.filter(|name| logs_in(broker, name, TOPIC).contains(&index));
    let place = places.next().unwrap();
    assert_eq!(places.next(), None, "a log is in one directory");
    place
}

fn other(place: &str) -> &'static str {
    if place == "a" { "b" } else { "a" }
}

fn ask(broker: &Node, index: i32, place: &str) -> ErrorCode {
    let answered = Answered::default();
    let mut connection = Connection::open(broker, &answered);
    let path = broker.directory.join(place).display().to_string();
    put(&mut connection, &path, TOPIC, index)
}

/// What a broker tells of copies.
fn copies(broker: &Node) -> Vec<DescribeLogDirsPartition> {
    let answered = Answered::default();
    let mut connection = Connection::open(broker, &answered);
    let described = describe(&mut connection, Some(&[TOPIC])).results;
    let mut copies = Vec::new();
    for directory in described {
        assert_eq!(error(directory.error_code), ErrorCode::None);
        let partitions = directory.topics.into_iter().flat_map(|it| it.partitions);
        copies.extend(partitions.filter(|it| it.is_future_key));
    }
    copies
}

async fn until_moved(broker: &Node) {
    let since = Instant::now();
    while gauge(broker, "foz_log_moves") != Some(0.0) {
        assert!(since.elapsed() < PATIENCE, "{:?}", copies(broker));
        sleep(Duration::from_millis(10)).await;
    }
}

/// Each record that was acknowledged, and none that nobody sent.
async fn check(client: &Client, acknowledged: usize) {
    let numbers = read_all(client, TOPIC).await.into_iter();
    let numbers = numbers.filter_map(|message| {
        let value = message.value.unwrap();
        let value = String::from_utf8_lossy(&value).trim().to_owned();
        value.parse::<usize>().ok()
    });
    let numbers: Vec<_> = numbers.collect();
    assert_eq!(numbers.len(), acknowledged, "each once");
    let numbers: BTreeSet<_> = numbers.into_iter().collect();
    assert_eq!(numbers, (0..acknowledged).collect());
}

/// How long writers were kept out, by what the broker says of each move.
fn held_up(broker: &Node) -> Vec<Duration> {
    let log = broker.log();
    let said = log.split("held_up_us").skip(1).map(|said| {
        // In colours.
        let number = said.split_whitespace().next().unwrap().rsplit(['m', '=']);
        Duration::from_micros(number.into_iter().next().unwrap().parse().unwrap())
    });
    said.collect()
}

fn said(mut times: Vec<Duration>) -> String {
    times.sort_unstable();
    let at = |part: usize| times[(times.len() - 1) * part / 100];
    let (count, half, most) = (times.len(), at(50), at(100));
    format!("{count}: {half:?} (p50) {:?} (p99) {most:?} (most)", at(99))
}

/// Every log of every broker to and fro, leaders and followers. How long producers waited is said.
async fn move_all_under_load(brokers: usize, rounds: usize) {
    let mut testbed = prepare(brokers);
    testbed.start_all();
    let client = testbed.client().await;
    create(&client, i16::try_from(brokers).unwrap()).await;
    let all: Vec<_> = (0..i32::try_from(brokers).unwrap()).collect();
    await_isr(&testbed, &all).await;
    let load = Load::on(&client);
    load.goes_on().await;
    sleep(Duration::from_secs(2)).await;
    let before = load.count();
    for _ in 0..rounds {
        for broker in &testbed.brokers {
            let targets = block_in_place(|| {
                let targets = (0..PARTITIONS).map(|index| other(place(broker, index)));
                let targets: Vec<_> = targets.collect();
                for (index, target) in (0..).zip(&targets) {
                    assert_eq!(ask(broker, index, target), ErrorCode::None);
                }
                targets
            });
            until_moved(broker).await;
            let places: Vec<_> = (0..PARTITIONS).map(|it| place(broker, it)).collect();
            assert_eq!(places, targets);
        }
    }
    load.goes_on().await;
    await_isr(&testbed, &all).await;
    let (calm, moving) = load.waits(before);
    let moves = rounds * brokers * PARTITIONS as usize;
    eprintln!("without moves: {}", said(calm));
    eprintln!("with {moves} moves: {}", said(moving));
    let held_up: Vec<_> = testbed.brokers.iter().flat_map(held_up).collect();
    assert_eq!(held_up.len(), moves);
    eprintln!("held up: {}", said(held_up));
    let acknowledged = block_in_place(|| load.end());
    check(&client, acknowledged).await;
    for broker in &mut testbed.brokers {
        block_in_place(|| {
            assert!(broker.stop());
            let log = broker.log();
            assert!(!log.contains(" ERROR "), "{log}");
        });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn single_replicas_move_under_load() {
    move_all_under_load(1, 30).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn leaders_and_followers_move_under_load() {
    move_all_under_load(3, 10).await;
}

/// In the middle of moves, wherever that is; and so after a clean stop.
#[tokio::test(flavor = "multi_thread")]
async fn a_move_goes_on_after_a_kill_and_nothing_is_lost() {
    let mut testbed = prepare(1);
    testbed.brokers[0].configure(&format!("{RATE}={}", 8 << 20));
    testbed.start_all();
    let client = testbed.client().await;
    create(&client, 1).await;
    await_isr(&testbed, &[0]).await;
    block_in_place(|| fill(&testbed, 4));
    let load = Load::on(&client);
    let mut went_on = 0;
    for round in 0..10 {
        load.goes_on().await;
        let broker = &mut testbed.brokers[0];
        let targets = block_in_place(|| {
            let targets = (0..PARTITIONS).map(|index| other(place(broker, index)));
            let targets: Vec<_> = targets.collect();
            for (index, target) in (0..).zip(&targets) {
                assert_eq!(ask(broker, index, target), ErrorCode::None);
            }
            targets
        });
        // Twelve MiB take a second and a half.
        sleep(Duration::from_millis(40 + 170 * round)).await;
        block_in_place(|| {
            if round % 4 == 3 {
                assert!(broker.stop());
            } else {
                broker.kill();
            }
            broker.spawn();
            broker.wait_ready();
        });
        went_on += usize::from(gauge(broker, "foz_log_moves") > Some(0.0));
        until_moved(broker).await;
        let places: Vec<_> = (0..PARTITIONS).map(|it| place(broker, it)).collect();
        assert_eq!(places, targets);
    }
    assert!(went_on >= 5, "{went_on}");
    load.goes_on().await;
    let acknowledged = block_in_place(|| load.end());
    check(&client, acknowledged).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_move_takes_its_time_and_can_be_cancelled() {
    let mut testbed = prepare(1);
    testbed.brokers[0].configure(&format!("{RATE}={}", 4 << 20));
    testbed.start_all();
    let client = testbed.client().await;
    create(&client, 1).await;
    await_isr(&testbed, &[0]).await;
    let broker = &testbed.brokers[0];
    let from = block_in_place(|| {
        fill(&testbed, 12);
        place(broker, 0)
    });
    block_in_place(|| {
        assert_eq!(ask(broker, 0, other(from)), ErrorCode::None);
        assert_eq!(ask(broker, 0, other(from)), ErrorCode::None, "again");
    });
    sleep(Duration::from_millis(1500)).await;
    let copied = block_in_place(|| copies(broker));
    let [copy] = &copied[..] else {
        panic!("{copied:?}");
    };
    assert_eq!(copy.partition_index, 0);
    assert!((1..24).contains(&copy.offset_lag), "{copy:?}");
    assert!(
        (2 << 20..11 << 20).contains(&copy.partition_size),
        "{copy:?}"
    );
    assert_eq!(gauge(broker, "foz_log_moves"), Some(1.0));
    // Where it is: that cancels it.
    assert_eq!(block_in_place(|| ask(broker, 0, from)), ErrorCode::None);
    assert_eq!(gauge(broker, "foz_log_moves"), Some(0.0));
    assert_eq!(block_in_place(|| copies(broker)), []);
    assert_eq!(place(broker, 0), from);
    // Of two in one request the last one counts.
    for (paths, moves) in [([other(from), from], 0.0), ([from, other(from)], 1.0)] {
        let answered = block_in_place(|| {
            let answered = Answered::default();
            let mut connection = Connection::open(broker, &answered);
            let paths = paths.map(|it| broker.directory.join(it).display().to_string());
            let paths = [paths[0].as_str(), paths[1].as_str()];
            put_in_turn(&mut connection, &paths, TOPIC, 0)
        });
        assert_eq!(answered, ErrorCode::None);
        assert_eq!(gauge(broker, "foz_log_moves"), Some(moves));
    }
    assert_eq!(block_in_place(|| ask(broker, 0, from)), ErrorCode::None);
    // What was copied meanwhile is waited for.
    sleep(Duration::from_millis(500)).await;

    let moved = |broker: &Node| gauge(broker, "foz_log_moved_bytes_total").unwrap();
    let (before, since) = (moved(broker), Instant::now());
    assert_eq!(
        block_in_place(|| ask(broker, 0, other(from))),
        ErrorCode::None
    );
    until_moved(broker).await;
    let took = since.elapsed().as_secs_f64();
    let expected = (moved(broker) - before) / f64::from(4 << 20);
    eprintln!("12 MiB at 4 MiB/s: {took:.2} s");
    assert!((11.0..13.0).contains(&((moved(broker) - before) / f64::from(1 << 20))));
    assert!(
        took > 0.85 * expected && took < 1.3 * expected + 0.5,
        "{took}"
    );
    assert_eq!(place(broker, 0), other(from));
    assert_eq!(read_all(&client, TOPIC).await.len(), 24 * 3);
}

/// The disk of the target, or of the log, fails in the middle of a move. Needs root, as `failing_directory`.
#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_fails_ends_the_moves_to_it_and_from_it() {
    let (mut testbed, disks) = on_disks(3, &["a", "b"]);
    testbed.brokers[0].configure(&format!("{RATE}={}", 1 << 20));
    testbed.start_all();
    let client = testbed.client().await;
    create(&client, 3).await;
    await_isr(&testbed, &[0, 1, 2]).await;
    block_in_place(|| fill(&testbed, 4));
    let load = Load::on(&client);
    load.goes_on().await;
    let broker = &testbed.brokers[0];
    let before: Vec<_> = (0..PARTITIONS).map(|it| place(broker, it)).collect();
    // Both ways at once.
    block_in_place(|| {
        for (index, place) in (0..).zip(&before) {
            assert_eq!(ask(broker, index, other(place)), ErrorCode::None);
        }
    });
    sleep(Duration::from_secs(1)).await;
    assert_eq!(gauge(broker, "foz_log_moves"), Some(3.0));
    disks[1].fail();
    load.goes_on().await;
    until_moved(broker).await;
    for (index, place) in (0..).zip(before) {
        let is_here = logs_in(broker, "a", TOPIC).contains(&index);
        assert_eq!(is_here, place == "a", "{index}");
    }
    assert_eq!(gauge(broker, "foz_offline_log_directories"), Some(1.0));
    // Back, and nothing of what was left is in the way.
    let broker = &mut testbed.brokers[0];
    block_in_place(|| {
        assert!(broker.stop());
        disks[1].come_back();
        broker.configure(&format!("{RATE}={}", 100 << 20));
        broker.spawn();
        broker.wait_ready();
    });
    await_isr(&testbed, &[0, 1, 2]).await;
    until_moved(&testbed.brokers[0]).await;
    load.goes_on().await;
    let acknowledged = block_in_place(|| load.end());
    check(&client, acknowledged).await;
}
