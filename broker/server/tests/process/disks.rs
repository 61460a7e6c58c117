//! Disks that refuse, and what the next start may believe of them.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use foz_protocol::error::ErrorCode;
use kafka_protocol::messages::ProduceRequest;
use rustix::process::{Pid, Signal, kill_process};

use crate::testbed::{Node, PATIENCE, Testbed, pause, sorted};
use crate::versions::connection::{Answered, Connection, batch, error, produce_request};

fn data(broker: &Node, name: &str) -> PathBuf {
    broker.directory.join("data").join(name)
}

/// What the broker said of its logs in its newest registration.
pub(crate) fn is_log_intact(broker: &Node) -> bool {
    let log = broker.log();
    let (_, said) = log.rsplit_once("log_intact").expect("it has registered");
    let value = said.trim_start_matches(|c: char| !c.is_ascii_lowercase() || c == 'm');
    value.starts_with("true")
}

/// Recovered, and asking in vain for a quorum.
fn wait_recovered(broker: &Node) {
    let deadline = Instant::now() + PATIENCE;
    while !broker
        .http("/readyz")
        .is_some_and(|answer| answer.contains("not yet registered"))
    {
        assert!(Instant::now() < deadline, "not recovered\n{}", broker.log());
        pause();
    }
}

#[test]
fn who_never_registered_leaves_the_mark_of_the_clean_stop() {
    let mut testbed = Testbed::start(1, 1);
    let answered = Answered::default();
    let mut connection = Connection::open(&testbed.brokers[0], &answered);
    let orders = connection.create_topic("orders", 1);
    connection.produce(&orders, 0, batch(1, &["a"]));
    drop(connection);
    assert!(testbed.brokers[0].stop());
    assert!(testbed.controllers[0].stop());
    let mark = data(&testbed.brokers[0], ".kafka_cleanshutdown");
    let left = fs::read_to_string(&mark).unwrap();
    assert!(!left.contains("-1"), "{left}");

    let broker = &mut testbed.brokers[0];
    for kills in [false, true, false] {
        broker.spawn();
        wait_recovered(broker);
        if kills {
            broker.kill();
        } else {
            assert!(broker.stop());
        }
        assert_eq!(fs::read_to_string(&mark).unwrap(), left, "{kills}");
    }
    // Another boot: only the mark says that all is there.
    let properties = data(broker, "meta.properties");
    let text = fs::read_to_string(&properties).unwrap();
    let lines = text.lines().filter(|line| !line.starts_with("foz.boot.id"));
    fs::write(&properties, lines.collect::<Vec<_>>().join("\n")).unwrap();
    testbed.nodes().for_each(Node::spawn);
    testbed.wait_ready();
    assert!(!mark.exists(), "a crash from now on must be seen as one");
    assert!(is_log_intact(&testbed.brokers[0]));
}

#[test]
fn a_log_that_cannot_be_made_holds_nobody_up() {
    let testbed = Testbed::start(1, 3);
    let answered = Answered::default();
    let mut connection = Connection::open(&testbed.brokers[1], &answered);
    let min_insync = [("min.insync.replicas", "2")];
    connection.create_on("other", &[0, 1], &min_insync);
    let in_the_way = data(&testbed.brokers[0], "late-0");
    fs::write(&in_the_way, "no directory").unwrap();
    let late = connection.create_on("late", &[0, 1, 2], &min_insync);
    connection.await_partition("late", |it| {
        it.leader_id == 1 && sorted(&it.isr_nodes) == [1, 2]
    });
    connection.produce(&late, 0, batch(1, &["a"]));
    // It has lost nothing, and has its place in everything else.
    connection.await_partition("other", |it| sorted(&it.isr_nodes) == [0, 1]);
    assert!(is_log_intact(&testbed.brokers[0]));
    let log = testbed.brokers[0].log();
    assert_eq!(log.matches("log cannot be created").count(), 2, "{log}");

    fs::remove_file(&in_the_way).unwrap();
    connection.await_partition("late", |it| sorted(&it.isr_nodes) == [0, 1, 2]);
    connection.produce(&late, 0, batch(1, &["b"]));
}

/// What is not on the disk may still be shown by the kernel: it counts for nothing.
#[test]
fn after_a_failed_flush_the_next_start_believes_nothing() {
    let mut testbed = Testbed::start(1, 2);
    let answered = Answered::default();
    let mut connection = Connection::open(&testbed.brokers[0], &answered);
    let orders = connection.create_on("orders", &[0, 1], &[]);
    connection.await_partition("orders", |it| sorted(&it.isr_nodes) == [0, 1]);
    connection.produce(&orders, 0, batch(1, &["a"]));
    drop(connection);

    let broker = &mut testbed.brokers[0];
    let properties = data(broker, "meta.properties");
    // Nothing can be flushed with this in the way.
    let in_the_way = data(broker, "orders-0/leader-epoch-checkpoint.tmp");
    for takes_the_word in [true, false] {
        fs::create_dir(&in_the_way).unwrap();
        let of_properties = properties.with_extension("properties.tmp");
        if !takes_the_word {
            fs::create_dir(&of_properties).unwrap();
        }
        assert!(broker.stop());
        assert!(!data(broker, ".kafka_cleanshutdown").exists());
        let text = fs::read_to_string(&properties).unwrap();
        assert_eq!(text.contains("foz.boot.id"), !takes_the_word, "{text}");
        let told = "the quorum knows that data here may be missing";
        assert_eq!(broker.log().contains(told), !takes_the_word);
        fs::remove_dir(&in_the_way).unwrap();
        if takes_the_word {
            broker.spawn();
            broker.wait_ready();
            assert!(!is_log_intact(broker));
        } else {
            fs::remove_dir(&of_properties).unwrap();
        }
    }
}

/// After a crash of the machine all that is found is flushed before anybody relies on it.
#[test]
fn a_flush_that_fails_during_recovery_ends_the_start() {
    let mut testbed = Testbed::start(1, 1);
    let answered = Answered::default();
    let mut connection = Connection::open(&testbed.brokers[0], &answered);
    connection.create_topic("orders", 1);
    drop(connection);
    let broker = &mut testbed.brokers[0];
    broker.kill();
    let segment = data(broker, "orders-0/00000000000000000000.log");
    fs::remove_file(&segment).unwrap();
    // As empty as the log, and nothing that could be flushed.
    symlink("/dev/null", &segment).unwrap();
    let properties = data(broker, "meta.properties");
    let text = fs::read_to_string(&properties).unwrap();
    let lines = text.lines().map(|line| match line.split_once('=') {
        Some(("foz.boot.id", _)) => "foz.boot.id=another",
        _ => line,
    });
    let of_another_boot: Vec<&str> = lines.collect();
    fs::write(&properties, of_another_boot.join("\n")).unwrap();
    broker.spawn();
    let log = broker.wait_failure();
    assert!(log.contains("orders-0 cannot be flushed"), "{log}");
    let text = fs::read_to_string(&properties).unwrap();
    assert!(!text.contains("foz.boot.id"), "{text}");
    fs::remove_file(&segment).unwrap();
    fs::write(&segment, b"").unwrap();
    broker.spawn();
    broker.wait_ready();
    assert!(!is_log_intact(broker));
}

/// One log of ten is damaged below what was replicated. Of the others nobody doubts anything: they are led at once.
#[test]
fn a_damaged_log_takes_no_other_along() {
    const DAMAGED: usize = 4;
    let mut testbed = Testbed::start(1, 2);
    let answered = Answered::default();
    let mut connection = Connection::open(&testbed.brokers[0], &answered);
    let min_insync = [("min.insync.replicas", "2")];
    let names: Vec<String> = (0..10).map(|number| format!("orders-{number}")).collect();
    for name in &names {
        let orders = connection.create_on(name, &[0, 1], &min_insync);
        connection.await_partition(name, |it| sorted(&it.isr_nodes) == [0, 1]);
        for value in ["a", "b", "c"] {
            connection.produce(&orders, 0, batch(1, &[value]));
        }
    }
    drop(connection);
    let deadline = Instant::now() + PATIENCE;
    let replicated = data(&testbed.brokers[0], "replication-offset-checkpoint");
    let is_replicated = |name: &String| {
        let text = fs::read_to_string(&replicated).unwrap_or_default();
        text.lines().any(|line| *line == format!("{name} 0 3"))
    };
    while !names.iter().all(is_replicated) {
        assert!(Instant::now() < deadline, "{}", testbed.brokers[0].log());
        pause();
    }

    testbed.brokers[1].kill();
    let mut connection = Connection::open(&testbed.brokers[0], &answered);
    for name in &names {
        connection.await_partition(name, |it| sorted(&it.isr_nodes) == [0]);
    }
    drop(connection);
    testbed.brokers[0].kill();
    let segment = format!("{}-0/00000000000000000000.log", names[DAMAGED]);
    let segment = data(&testbed.brokers[0], &segment);
    let mut bytes = fs::read(&segment).unwrap();
    // The length of the second of three batches: the start finds that, while what is in a batch is checked later.
    let second = bytes.len() / 3;
    bytes[second + 8] ^= 1;
    fs::write(&segment, bytes).unwrap();

    testbed.brokers[0].spawn();
    testbed.brokers[0].wait_ready();
    assert!(is_log_intact(&testbed.brokers[0]));
    assert_eq!(testbed.brokers[0].logs_in_doubt(), "1");
    let mut connection = Connection::open(&testbed.brokers[0], &answered);
    for (number, name) in names.iter().enumerate() {
        let leader = if number == DAMAGED { -1 } else { 0 };
        connection.await_partition(name, |it| it.leader_id == leader);
        if number != DAMAGED {
            assert_eq!(connection.latest_offset(name, 0), Ok(3), "{name}");
        }
    }
    drop(connection);

    testbed.brokers[1].spawn();
    testbed.brokers[1].wait_ready();
    let mut connection = Connection::open(&testbed.brokers[1], &answered);
    for (number, name) in names.iter().enumerate() {
        let leader = i32::from(number == DAMAGED);
        connection.await_partition(name, |it| {
            it.leader_id == leader && sorted(&it.isr_nodes) == [0, 1]
        });
    }
    assert_eq!(connection.latest_offset(&names[DAMAGED], 0), Ok(3));
    let log = testbed.brokers[0].log();
    assert_eq!(log.matches("log is offline").count(), 1, "{log}");
    assert!(log.contains("damaged data was set aside"), "{log}");
}

/// Whoever writes there stands still in the kernel, while the process beats on.
#[test]
fn a_disk_that_hangs_leads_nothing_until_it_answers() {
    let testbed = Testbed::start(1, 3);
    let answered = Answered::default();
    let mut connection = Connection::open(&testbed.brokers[1], &answered);
    let min_insync = [("min.insync.replicas", "2")];
    let orders = connection.create_on("orders", &[0, 1, 2], &min_insync);
    connection.await_partition("orders", |it| {
        it.leader_id == 0 && sorted(&it.isr_nodes) == [0, 1, 2]
    });
    let broker = &testbed.brokers[0];
    let segment = data(broker, "orders-0/00000000000000000000.log");
    let hanging = HangingWrites::of(broker, &segment);
    let mut producer = Connection::open(broker, &answered);
    let request = produce_request(9, &orders, -1, &[(0, Some(batch(1, &["a"])))]);
    producer.send(9, &request);
    connection.await_partition("orders", |it| {
        it.leader_id == 1 && sorted(&it.isr_nodes) == [1, 2]
    });
    let log = broker.log();
    assert!(log.contains("the disk does not answer"), "{log}");
    connection.produce(&orders, 0, batch(1, &["b"]));

    drop(hanging);
    let response = producer.receive::<ProduceRequest>(9);
    let refused = &response.responses[0].partition_responses[0];
    assert_eq!(error(refused.error_code), ErrorCode::NotLeaderOrFollower);
    // What it wrote in the end is not what the others have.
    connection.await_partition("orders", |it| sorted(&it.isr_nodes) == [0, 1, 2]);
    assert_eq!(connection.latest_offset("orders", 0), Ok(1));
    let log = broker.log();
    assert_eq!(log.matches("the disk does not answer").count(), 1, "{log}");
    assert_eq!(log.matches("the disk answers again").count(), 1, "{log}");
    assert_eq!(
        log.matches("log_intact").count(),
        1,
        "no data is lost: {log}"
    );
}

/// strace, which holds up every write to one file of a node, until this is dropped.
struct HangingWrites(Child);

impl HangingWrites {
    fn of(node: &Node, path: &Path) -> Self {
        let tracer = Command::new("strace")
            .args(["-f", "-qq", "-e", "trace=pwrite64"])
            .args(["-e", "inject=pwrite64:delay_enter=600s"])
            .arg("-P")
            .arg(path)
            .args(["-o", "/dev/null", "-p", &node.process_id().to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("strace must be installed: {error}"));
        let mut this = Self(tracer);
        let deadline = Instant::now() + PATIENCE;
        while !is_traced(node.process_id()) {
            let ended = this.0.try_wait().unwrap();
            assert!(ended.is_none(), "strace cannot attach: {ended:?}");
            assert!(Instant::now() < deadline, "strace does not attach");
            pause();
        }
        this
    }
}

impl Drop for HangingWrites {
    fn drop(&mut self) {
        // SIGTERM makes strace let go of the process; SIGKILL would end that, too.
        let _ = kill_process(Pid::from_child(&self.0), Signal::TERM);
        let _ = self.0.wait();
    }
}

/// Every thread.
fn is_traced(pid: u32) -> bool {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    threads
        .filter_map(|thread| fs::read_to_string(thread.ok()?.path().join("status")).ok())
        .all(|status| !status.contains("TracerPid:\t0\n"))
}
