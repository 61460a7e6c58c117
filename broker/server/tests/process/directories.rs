//! Several `log.dirs`.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use foz_cli::client::{Client, OffsetAt};
use foz_protocol::error::ErrorCode;
use kafka_protocol::messages::alter_replica_log_dirs_request::{
    AlterReplicaLogDir, AlterReplicaLogDirTopic,
};
use kafka_protocol::messages::describe_log_dirs_request::DescribableLogDirTopic;
use kafka_protocol::messages::{
    AlterReplicaLogDirsRequest, DescribeLogDirsRequest, DescribeLogDirsResponse,
};

use crate::testbed::{Node, PATIENCE, Testbed, pause, read_all, sorted};
use crate::versions::connection::{Answered, Connection, batch, error, text, topic_name};
use crate::versions::deleting_records::delete_request;

/// As `log.dirs` names them.
fn path(broker: &Node, name: &str) -> PathBuf {
    broker.directory.join(name)
}

/// From the next start on.
pub(crate) fn keep_in(broker: &Node, names: &[&str]) {
    let paths = names
        .iter()
        .map(|name| path(broker, name).display().to_string());
    let paths: Vec<_> = paths.collect();
    broker.configure(&format!("log.dirs={}", paths.join(",")));
}

/// The logs of this topic in a directory.
pub(crate) fn logs_in(broker: &Node, name: &str, topic: &str) -> Vec<i32> {
    let entries = fs::read_dir(path(broker, name)).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let indexes =
        names.filter_map(|name| name.strip_prefix(topic)?.strip_prefix('-')?.parse().ok());
    let mut indexes: Vec<i32> = indexes.collect();
    indexes.sort_unstable();
    indexes
}

pub(crate) fn describe(
    connection: &mut Connection,
    topics: Option<&[&str]>,
) -> DescribeLogDirsResponse {
    let topics = topics.map(|topics| {
        let topics = topics.iter().map(|topic| {
            DescribableLogDirTopic::default()
                .with_topic(topic_name(topic))
                .with_partitions((0..100).collect())
        });
        topics.collect()
    });
    connection.call(4, &DescribeLogDirsRequest::default().with_topics(topics))
}

/// Of all partitions of a topic that a broker tells of, with the directory that it tells.
fn sizes(connection: &mut Connection, topic: &str) -> BTreeMap<i32, (String, i64)> {
    let mut sizes = BTreeMap::new();
    for directory in describe(connection, Some(&[topic])).results {
        assert_eq!(error(directory.error_code), ErrorCode::None);
        let path = directory.log_dir.to_string();
        for partition in directory.topics.iter().flat_map(|it| &it.partitions) {
            let found = (path.clone(), partition.partition_size);
            let other = sizes.insert(partition.partition_index, found);
            assert_eq!(other, None, "a log is in one directory");
        }
    }
    sizes
}

pub(crate) fn leaders(connection: &mut Connection, topic: &str) -> BTreeMap<i32, i32> {
    let partitions = connection.topic(13, topic).partitions;
    let leaders = partitions
        .iter()
        .map(|it| (it.partition_index, it.leader_id.0));
    leaders.collect()
}

fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "{what}");
        pause();
    }
}

fn both(testbed: &mut Testbed) -> (&mut Node, &mut Node) {
    let [one, other] = &mut testbed.brokers[..] else {
        panic!("two brokers");
    };
    (one, other)
}

#[tokio::test]
async fn logs_are_spread_over_all_directories_and_come_back_from_each() {
    let mut testbed = Testbed::prepare(1, 1);
    let names = ["a", "b", "c"];
    keep_in(&testbed.brokers[0], &names);
    testbed.start_all();
    let answered = Answered::default();
    let mut connection = Connection::open(&testbed.brokers[0], &answered);
    let orders = connection.create_topic("orders", 60);
    for index in 0..60 {
        connection.produce(&orders, index, batch(1, &[&format!("value-{index}")]));
    }
    drop(connection);
    let spread = |broker: &Node| names.map(|name| logs_in(broker, name, "orders"));
    let before = spread(&testbed.brokers[0]);
    assert!(before.iter().all(|it| it.len() == 20), "{before:?}");
    for (kills, round) in [(false, 1), (true, 2), (true, 3), (false, 4)] {
        let broker = &mut testbed.brokers[0];
        if kills {
            broker.kill();
        } else {
            assert!(broker.stop());
        }
        for name in names {
            let mark = path(broker, name).join(".kafka_cleanshutdown");
            assert_eq!(mark.exists(), !kills, "{name}");
        }
        broker.spawn();
        broker.wait_ready();
        assert_eq!(spread(&testbed.brokers[0]), before);
        let client = testbed.client().await;
        let found = read_all(&client, "orders").await;
        assert_eq!(found.len(), 60 * round, "nothing is lost");
        let mut connection = Connection::open(&testbed.brokers[0], &answered);
        for index in 0..60 {
            connection.produce(&orders, index, batch(1, &[&format!("value-{round}")]));
        }
    }
}

/// Deletions, checkpoints and the removal of files go by directory.
#[tokio::test]
async fn every_directory_is_looked_after() {
    let mut testbed = Testbed::prepare(1, 1);
    let names = ["a", "b", "c"];
    keep_in(&testbed.brokers[0], &names);
    testbed.brokers[0].configure("replica.high.watermark.checkpoint.interval.ms=100");
    testbed.start_all();
    let answered = Answered::default();
    let mut connection = Connection::open(&testbed.brokers[0], &answered);
    let orders = connection.create_topic("orders", 6);
    for index in 0..6 {
        connection.produce(&orders, index, batch(1, &["a"]));
        connection.produce(&orders, index, batch(1, &["b"]));
    }
    for name in names {
        let checkpoint = "recovery-point-offset-checkpoint";
        let checkpoint = path(&testbed.brokers[0], name).join(checkpoint);
        eventually("each has its checkpoints", || {
            fs::read_to_string(&checkpoint).is_ok_and(|it| it.matches("orders").count() == 2)
        });
    }
    let before = [0, 1, 2, 3, 4, 5].map(|index| (index, 1));
    let request = delete_request(30_000, &[("orders", &before)]);
    for partition in &connection.call(2, &request).topics[0].partitions {
        let told = (error(partition.error_code), partition.low_watermark);
        assert_eq!(told, (ErrorCode::None, 1));
    }
    drop(connection);
    // What was answered is on the disk of each.
    testbed.brokers[0].kill();
    testbed.brokers[0].spawn();
    testbed.wait_ready();
    let client = testbed.client().await;
    assert_eq!(starts(&client).await, [1; 6]);
    client.delete_topic("orders").await.unwrap();
    let left = |broker: &Node| {
        let left = names.map(|name| {
            let entries = fs::read_dir(path(broker, name)).unwrap();
            let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
            let left: Vec<_> = names.filter(|name| name.starts_with("orders-")).collect();
            left
        });
        left.map(|left| (left.len(), left.iter().all(|it| it.ends_with("-deleted"))))
    };
    eventually("all are buried", || {
        left(&testbed.brokers[0]) == [(2, true); 3]
    });
}

/// Where the partitions of `orders` begin.
async fn starts(client: &Client) -> Vec<i64> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let found = async {
            let partitions = client.partitions_of("orders", PATIENCE).await?;
            let at = OffsetAt::Earliest;
            client.offsets("orders", &partitions, at).await
        };
        match found.await {
            Ok(starts) => return starts.into_values().collect(),
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[test]
fn each_directory_tells_of_itself() {
    let mut testbed = Testbed::prepare(1, 1);
    keep_in(&testbed.brokers[0], &["b", "a"]);
    testbed.start_all();
    let broker = &testbed.brokers[0];
    let answered = Answered::default();
    let mut connection = Connection::open(broker, &answered);
    connection.create_topic("orders", 6);
    let paths = ["b", "a"].map(|name| path(broker, name).display().to_string());
    let response = describe(&mut connection, None);
    let told: Vec<_> = response
        .results
        .iter()
        .map(|it| it.log_dir.to_string())
        .collect();
    assert_eq!(told, paths, "in their order");
    for directory in &response.results {
        assert_eq!(error(directory.error_code), ErrorCode::None);
        assert!(0 < directory.usable_bytes && directory.usable_bytes <= directory.total_bytes);
        assert_eq!(directory.topics.len(), 1, "{directory:?}");
        assert_eq!(directory.topics[0].partitions.len(), 3);
    }
    let response = describe(&mut connection, Some(&["nowhere"]));
    assert_eq!(response.results.len(), 2, "{response:?}");
    assert!(response.results.iter().all(|it| it.topics.is_empty()));
    let metrics = broker.http("/metrics").unwrap();
    assert!(metrics.contains("foz_log_directories 2"), "{metrics}");
    for path in &paths {
        for name in ["total_bytes", "available_bytes", "refusing_writes"] {
            let line = format!("foz_disk_{name}{{directory=\"{path}\"}}");
            assert!(metrics.contains(&line), "{line} is not in {metrics}");
        }
    }
    let orders = sizes(&mut connection, "orders");
    let here = &orders[&0].0;
    for (path, topic, index, expected) in [
        (here.as_str(), "orders", 0, ErrorCode::None),
        ("/elsewhere", "orders", 0, ErrorCode::LogDirNotFound),
        (here, "orders", 6, ErrorCode::UnknownTopicOrPartition),
        (here, "nowhere", 0, ErrorCode::UnknownTopicOrPartition),
    ] {
        let outcome = put(&mut connection, path, topic, index);
        assert_eq!(outcome, expected, "{topic}-{index} in {path}");
    }
}

/// Asks for one replica.
pub(crate) fn put(connection: &mut Connection, path: &str, topic: &str, index: i32) -> ErrorCode {
    put_in_turn(connection, &[path], topic, index)
}

/// Asks for one replica in several directories with one request.
pub(crate) fn put_in_turn(
    connection: &mut Connection,
    paths: &[&str],
    topic: &str,
    index: i32,
) -> ErrorCode {
    let topics = AlterReplicaLogDirTopic::default()
        .with_name(topic_name(topic))
        .with_partitions(vec![index]);
    let directories = paths.iter().map(|path| {
        AlterReplicaLogDir::default()
            .with_path(text(path))
            .with_topics(vec![topics.clone()])
    });
    let request = AlterReplicaLogDirsRequest::default().with_dirs(directories.collect());
    let response = connection.call(2, &request);
    assert_eq!(response.results.len(), 1);
    assert_eq!(response.results[0].partitions.len(), 1);
    error(response.results[0].partitions[0].error_code)
}

/// A broker whose disk is not the one that was counted on does not lead what it alone had; one that has more than it had
/// does.
#[test]
fn a_directory_that_is_added_takes_no_replica_out_of_anything() {
    let mut testbed = Testbed::prepare(1, 2);
    keep_in(&testbed.brokers[0], &["a"]);
    testbed.start_all();
    let answered = Answered::default();
    let (broker, other) = both(&mut testbed);
    let mut connection = Connection::open(broker, &answered);
    let orders = connection.create_on("orders", &[0, 1], &[("min.insync.replicas", "1")]);
    connection.await_partition("orders", |it| sorted(&it.isr_nodes) == [0, 1]);
    assert!(other.stop());
    connection.await_partition("orders", |it| sorted(&it.isr_nodes) == [0]);
    connection.produce(&orders, 0, batch(1, &["a", "b"]));
    drop(connection);
    for kills in [false, true] {
        if kills {
            broker.kill();
        } else {
            assert!(broker.stop());
        }
        let all: &[&str] = if kills { &["c", "a", "b"] } else { &["a", "b"] };
        keep_in(broker, all);
        broker.spawn();
        broker.wait_ready();
        let mut connection = Connection::open(broker, &answered);
        connection.await_partition("orders", |it| it.leader_id == 0);
        eventually("it has all it had", || {
            connection.latest_offset("orders", 0) == Ok(2)
        });
    }
    other.spawn();
    let mut connection = Connection::open(broker, &answered);
    connection.await_partition("orders", |it| sorted(&it.isr_nodes) == [0, 1]);
    // New logs go where there are fewest.
    for n in 0..5 {
        connection.create_on(&format!("later-{n}"), &[0], &[]);
    }
    let later = (0..5).map(|n| format!("later-{n}"));
    let later: Vec<_> = later
        .map(|topic| ["a", "b", "c"].map(|name| logs_in(broker, name, &topic).len()))
        .collect();
    let sum = |at: usize| later.iter().map(|of_topic| of_topic[at]).sum::<usize>();
    assert_eq!([sum(0), sum(1), sum(2)], [1, 2, 2], "{later:?}");
}

/// Broker 0 alone is in sync, and half of what it has is gone.
#[tokio::test]
async fn what_was_in_a_directory_that_was_swapped_is_led_by_nobody_and_the_rest_goes_on() {
    let mut testbed = Testbed::prepare(1, 2);
    keep_in(&testbed.brokers[0], &["a", "b"]);
    testbed.start_all();
    let answered = Answered::default();
    let (broker, other) = both(&mut testbed);
    let mut connection = Connection::open(broker, &answered);
    let names = ["one", "two", "three", "four"];
    let topics =
        names.map(|name| connection.create_on(name, &[0, 1], &[("min.insync.replicas", "1")]));
    let alone = ["alone-x", "alone-y"].map(|name| connection.create_on(name, &[0], &[]));
    for name in names {
        connection.await_partition(name, |it| sorted(&it.isr_nodes) == [0, 1]);
    }
    let in_b: Vec<_> = names
        .into_iter()
        .filter(|name| !logs_in(broker, "b", name).is_empty())
        .collect();
    assert_eq!(in_b.len(), 2, "{in_b:?}");
    for topic in &topics {
        connection.produce(topic, 0, batch(1, &["both"]));
    }
    assert!(other.stop());
    for (name, topic) in names.iter().zip(&topics) {
        connection.await_partition(name, |it| sorted(&it.isr_nodes) == [0]);
        connection.produce(topic, 0, batch(1, &["one alone"]));
    }
    for topic in &alone {
        connection.produce(topic, 0, batch(1, &["kept"]));
    }
    drop(connection);
    assert!(broker.stop());
    let (b, away) = (path(broker, "b"), path(broker, "b-away"));
    fs::rename(&b, &away).unwrap();
    broker.spawn();
    broker.wait_ready();
    other.spawn();
    other.wait_ready();
    let mut connection = Connection::open(broker, &answered);
    for name in names {
        if in_b.contains(&name) {
            let found = connection.await_partition(name, |it| it.leader_id == -1);
            assert_eq!(sorted(&found.isr_nodes), Vec::<i32>::new(), "{found:?}");
        } else {
            connection.await_partition(name, |it| it.leader_id == 0);
            connection.await_partition(name, |it| sorted(&it.isr_nodes) == [0, 1]);
            assert_eq!(connection.latest_offset(name, 0), Ok(2));
        }
    }
    // Nobody cuts what the other one has.
    let mut of_other = Connection::open(other, &answered);
    for name in &in_b {
        assert!(sizes(&mut of_other, name)[&0].1 > 0, "{name}");
        assert_eq!(sizes(&mut connection, name)[&0].1, 0, "{name}");
    }
    drop((connection, of_other));
    // The disk that was away, in the place of the one that was swapped for it.
    assert!(broker.stop());
    fs::remove_dir_all(&b).unwrap();
    fs::rename(&away, &b).unwrap();
    broker.spawn();
    broker.wait_ready();
    let mut connection = Connection::open(broker, &answered);
    for name in &in_b {
        assert!(
            sizes(&mut connection, name)[&0].1 > 0,
            "its log is back: {name}"
        );
    }
    for topic in ["alone-x", "alone-y"] {
        eventually("a single replica leads again", || {
            leaders(&mut connection, topic)[&0] == 0
        });
        eventually("with what it had", || {
            connection.latest_offset(topic, 0) == Ok(1)
        });
    }
    drop(connection);
    let client = testbed.client().await;
    assert_eq!(read_all(&client, "alone-x").await.len(), 1);
}

/// It was out of `log.dirs` for a while, and the others have its replicas by now.
#[test]
fn what_was_made_anew_meanwhile_is_kept_and_the_older_log_set_aside() {
    let mut testbed = Testbed::prepare(1, 2);
    keep_in(&testbed.brokers[0], &["a", "b"]);
    testbed.start_all();
    let answered = Answered::default();
    let (broker, other) = both(&mut testbed);
    let mut connection = Connection::open(other, &answered);
    let names = ["one", "two"];
    let topics = names.map(|name| connection.create_on(name, &[1, 0], &[]));
    for (name, topic) in names.iter().zip(&topics) {
        connection.await_partition(name, |it| sorted(&it.isr_nodes) == [0, 1]);
        connection.produce(topic, 0, batch(1, &["a"]));
    }
    let in_b = names
        .into_iter()
        .find(|name| !logs_in(broker, "b", name).is_empty());
    let in_b = in_b.expect("they are spread");
    assert!(broker.stop());
    keep_in(broker, &["a"]);
    broker.spawn();
    broker.wait_ready();
    for (name, topic) in names.iter().zip(&topics) {
        connection.await_partition(name, |it| sorted(&it.isr_nodes) == [0, 1]);
        connection.produce(topic, 0, batch(1, &["b"]));
    }
    assert_eq!(logs_in(broker, "a", in_b), [0]);
    assert!(broker.stop());
    keep_in(broker, &["b", "a"]);
    broker.spawn();
    broker.wait_ready();
    assert_eq!(logs_in(broker, "b", in_b), Vec::<i32>::new());
    let entries = fs::read_dir(path(broker, "b")).unwrap();
    let mut names_in_b = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert!(names_in_b.any(|it| it.starts_with(in_b) && it.ends_with("-stray")));
    for name in names {
        connection.await_partition(name, |it| sorted(&it.isr_nodes) == [0, 1]);
        assert_eq!(connection.latest_offset(name, 0), Ok(2));
    }
    assert_eq!(broker.logs_in_doubt(), "0");
}

#[test]
fn a_log_that_was_moved_by_hand_is_as_good_as_before() {
    let mut testbed = Testbed::prepare(1, 1);
    keep_in(&testbed.brokers[0], &["a", "b"]);
    testbed.start_all();
    let answered = Answered::default();
    let mut connection = Connection::open(&testbed.brokers[0], &answered);
    let orders = connection.create_topic("orders", 4);
    for index in 0..4 {
        connection.produce(&orders, index, batch(1, &["a", "b"]));
    }
    drop(connection);
    let broker = &mut testbed.brokers[0];
    assert!(broker.stop());
    for index in logs_in(broker, "a", "orders") {
        let name = format!("orders-{index}");
        fs::rename(path(broker, "a").join(&name), path(broker, "b").join(&name)).unwrap();
    }
    broker.spawn();
    broker.wait_ready();
    assert_eq!(broker.logs_in_doubt(), "0");
    let mut connection = Connection::open(&testbed.brokers[0], &answered);
    for index in 0..4 {
        eventually("all is there", || {
            connection.latest_offset("orders", index) == Ok(2)
        });
        connection.produce(&orders, index, batch(1, &["c"]));
    }
    drop(connection);
    // What was in a directory that does not vouch for it may have lost its end there.
    let broker = &mut testbed.brokers[0];
    assert!(broker.stop());
    fs::create_dir(path(broker, "a-failing")).unwrap();
    for entry in fs::read_dir(path(broker, "b")).unwrap() {
        let entry = entry.unwrap();
        fs::rename(
            entry.path(),
            path(broker, "a-failing").join(entry.file_name()),
        )
        .unwrap();
    }
    let moved = logs_in(broker, "a-failing", "orders");
    assert_eq!(moved.len(), 4, "they were all moved there");
    for index in moved {
        let name = format!("orders-{index}");
        let from = path(broker, "a-failing").join(&name);
        fs::rename(from, path(broker, "a").join(&name)).unwrap();
    }
    keep_in(broker, &["a"]);
    broker.spawn();
    broker.wait_ready();
    assert_eq!(broker.logs_in_doubt(), "4");
    let mut connection = Connection::open(&testbed.brokers[0], &answered);
    for index in 0..4 {
        eventually("single replicas lead again", || {
            connection.latest_offset("orders", index) == Ok(3)
        });
    }
    drop(connection);
    let broker = &mut testbed.brokers[0];
    assert!(broker.stop());
    fs::remove_dir_all(path(broker, "b")).unwrap();
    keep_in(broker, &["a", "b"]);
    broker.spawn();
    broker.wait_ready();
    assert_eq!(broker.logs_in_doubt(), "0", "it vouches for them by now");
    // Two of them: somebody copied where he should have moved.
    let broker = &mut testbed.brokers[0];
    assert!(broker.stop());
    let (from, to) = (
        path(broker, "a").join("orders-0"),
        path(broker, "b").join("orders-0"),
    );
    fs::create_dir(&to).unwrap();
    for entry in fs::read_dir(&from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
    broker.spawn();
    let said = broker.wait_failure();
    for part in ["orders-0 is in", "move one of the two away"] {
        assert!(said.contains(part), "{said}");
    }
    fs::remove_dir_all(&to).unwrap();
    broker.spawn();
    broker.wait_ready();
    assert_eq!(broker.logs_in_doubt(), "0");
}
