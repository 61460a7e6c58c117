//! A data directory that missed what was done in one that is away now.

use std::fs;
use std::path::PathBuf;

use foz_protocol::error::ErrorCode;
use kafka_protocol::messages::{AlterPartitionReassignmentsRequest, BrokerId};

use crate::directories::{keep_in, logs_in};
use crate::full_disk::gauge;
use crate::reassignments::target;
use crate::testbed::{Node, Testbed, sorted};
use crate::versions::connection::{Answered, Connection, Topic, batch, error};

/// Nobody can make a directory there.
const DEAD: &str = "/sys/dead-disk";

fn produce(connection: &mut Connection, topics: &[Topic], value: &str) {
    for topic in topics {
        connection.produce(topic, 0, batch(1, &[value]));
    }
}

fn reassign(connection: &mut Connection, topic: &str, replicas: &[i32]) {
    let request = AlterPartitionReassignmentsRequest::default()
        .with_timeout_ms(30_000)
        .with_allow_replication_factor_change(true)
        .with_topics(vec![target(topic, &[(0, Some(replicas))])]);
    let answer = connection.call(1, &request);
    let outcome = error(answer.responses[0].partitions[0].error_code);
    assert_eq!(outcome, ErrorCode::None);
}

fn properties(broker: &Node, directory: &str) -> String {
    fs::read_to_string(broker.directory.join(directory).join("meta.properties")).unwrap()
}

/// `b` dies, one of its replicas is made anew in `a`, `a` dies, and `b` is mended.
#[test]
fn it_is_not_used_and_what_it_has_counts_for_nothing() {
    let mut testbed = Testbed::prepare(1, 2);
    keep_in(&testbed.brokers[0], &["a", "b"]);
    testbed.start_all();
    let answered = Answered::default();
    let [broker, other] = &mut testbed.brokers[..] else {
        panic!("two brokers");
    };
    let mut of_other = Connection::open(other, &answered);
    let names = ["one", "two"];
    let config = [("min.insync.replicas", "1")];
    let topics = names.map(|name| of_other.create_on(name, &[1, 0], &config));
    let alone = ["alone-x", "alone-y"].map(|name| of_other.create_on(name, &[0], &[]));
    for name in names {
        of_other.await_partition(name, |it| sorted(&it.isr_nodes) == [0, 1]);
    }
    produce(&mut of_other, &topics, "old");
    produce(&mut Connection::open(broker, &answered), &alone, "kept");
    let in_b = |name: &&str| !logs_in(broker, "b", name).is_empty();
    let stale = names.into_iter().find(in_b).expect("they are spread");

    assert!(broker.stop());
    keep_in(broker, &["a", DEAD]);
    broker.spawn();
    broker.wait_ready();
    of_other.await_partition(stale, |it| it.offline_replicas == [BrokerId(0)]);
    reassign(&mut of_other, stale, &[1]);
    of_other.await_partition(stale, |it| it.replica_nodes == [BrokerId(1)]);
    reassign(&mut of_other, stale, &[1, 0]);
    of_other.await_partition(stale, |it| sorted(&it.isr_nodes) == [0, 1]);
    assert_eq!(logs_in(broker, "a", stale), [0]);
    produce(&mut of_other, &topics, "new");
    drop(of_other);
    assert!(other.stop());
    // Alone in sync, with what only `a` has.
    let mut connection = Connection::open(broker, &answered);
    connection.await_partition(stale, |it| sorted(&it.isr_nodes) == [0]);
    produce(&mut connection, &topics, "newest");
    drop(connection);
    assert!(broker.stop());

    keep_in(broker, &["b", DEAD]);
    let before = properties(broker, "b");
    for _ in 0..2 {
        broker.spawn();
        let log = broker.wait_failure();
        assert!(
            log.contains("/b is older than a directory that cannot be used now: bring that one back, or take it out of log.dirs"),
            "{log}"
        );
    }
    keep_in(broker, &["b", DEAD, "c"]);
    for _ in 0..2 {
        broker.spawn();
        broker.wait_ready();
        assert_eq!(gauge(broker, "foz_offline_log_directories"), Some(2.0));
        let mut connection = Connection::open(broker, &answered);
        for name in ["one", "two", "alone-x", "alone-y"] {
            connection.await_partition(name, |it| it.leader_id == -1);
            assert!(logs_in(broker, "c", name).is_empty(), "{name}");
        }
        drop(connection);
        assert!(broker.stop());
    }
    assert_eq!(properties(broker, "b"), before, "nothing is said of it");
    assert_eq!(logs_in(broker, "b", stale), [0]);

    // All are back.
    keep_in(broker, &["a", "b", "c"]);
    broker.spawn();
    broker.wait_ready();
    let mut connection = Connection::open(broker, &answered);
    for name in names {
        connection.await_partition(name, |it| it.leader_id == 0);
        assert_eq!(connection.latest_offset(name, 0), Ok(3), "{name}");
    }
    for name in ["alone-x", "alone-y"] {
        connection.await_partition(name, |it| it.leader_id == 0);
        assert_eq!(connection.latest_offset(name, 0), Ok(1), "{name}");
    }
    assert!(logs_in(broker, "b", stale).is_empty(), "set aside");
}

/// Another directory is in its place, and what it holds is kept beside it.
fn take_away(broker: &Node, directory: &str) {
    let (path, kept) = (broker.directory.join(directory), kept(broker, directory));
    fs::rename(&path, kept).unwrap();
    fs::create_dir(path).unwrap();
}

fn put_back(broker: &Node, directory: &str) {
    let path = broker.directory.join(directory);
    fs::remove_dir_all(&path).unwrap();
    fs::rename(kept(broker, directory), path).unwrap();
}

fn kept(broker: &Node, directory: &str) -> PathBuf {
    broker.directory.join(format!("{directory}.kept"))
}

/// As above, in one process.
#[test]
fn one_that_failed_in_the_same_process_before_the_other_is_not_used_either() {
    let names = ["a", "b", "c"];
    let mut testbed = Testbed::prepare(1, 2);
    keep_in(&testbed.brokers[0], &names);
    testbed.start_all();
    let answered = Answered::default();
    let [broker, other] = &mut testbed.brokers[..] else {
        panic!("two brokers");
    };
    let place = |broker: &Node| {
        let holds = |name: &&str| !logs_in(broker, name, "one").is_empty();
        names.into_iter().find(holds).unwrap()
    };
    let mut of_other = Connection::open(other, &answered);
    let one = [of_other.create_on("one", &[1, 0], &[("min.insync.replicas", "1")])];
    of_other.await_partition("one", |it| sorted(&it.isr_nodes) == [0, 1]);
    produce(&mut of_other, &one, "old");

    let first = place(broker);
    take_away(broker, first);
    of_other.await_partition("one", |it| it.offline_replicas == [BrokerId(0)]);
    reassign(&mut of_other, "one", &[1]);
    of_other.await_partition("one", |it| it.replica_nodes == [BrokerId(1)]);
    reassign(&mut of_other, "one", &[1, 0]);
    of_other.await_partition("one", |it| sorted(&it.isr_nodes) == [0, 1]);
    let second = place(broker);
    assert_ne!(first, second);
    produce(&mut of_other, &one, "new");
    drop(of_other);
    assert!(other.stop());
    // Alone in sync, with what only the second has.
    let mut connection = Connection::open(broker, &answered);
    connection.await_partition("one", |it| sorted(&it.isr_nodes) == [0]);
    produce(&mut connection, &one, "newest");
    take_away(broker, second);
    connection.await_partition("one", |it| it.leader_id == -1);
    drop(connection);
    assert!(broker.stop());

    put_back(broker, first);
    let left = names.map(|name| if name == second { DEAD } else { name });
    keep_in(broker, &left);
    broker.spawn();
    broker.wait_ready();
    assert_eq!(gauge(broker, "foz_offline_log_directories"), Some(2.0));
    let mut connection = Connection::open(broker, &answered);
    connection.await_partition("one", |it| it.leader_id == -1);
    drop(connection);
    assert!(broker.stop());

    put_back(broker, second);
    keep_in(broker, &names);
    broker.spawn();
    broker.wait_ready();
    let mut connection = Connection::open(broker, &answered);
    connection.await_partition("one", |it| it.leader_id == 0);
    assert_eq!(connection.latest_offset("one", 0), Ok(3));
    assert!(logs_in(broker, first, "one").is_empty(), "set aside");
}
