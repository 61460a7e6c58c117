//! One disk of several fails while the broker runs. Needs root, for file systems on loop devices.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use foz_cli::client::NewTopic;
use foz_protocol::error::ErrorCode;
use tokio::time::{Instant, sleep};

use crate::directories::{describe, keep_in, leaders, logs_in};
use crate::full_disk::{Load, RESERVE_BYTES, TOPIC, await_isr, gauge};
use crate::testbed::{Node, PATIENCE, Testbed, read_all, topic};
use crate::versions::connection::{Answered, Connection, Topic, batch, error, produce_request};

/// From the failure to the next acknowledged record of every partition. The goal is one second on a machine that has
/// nothing else to do.
const BACK_WITHIN: Duration = Duration::from_secs(10);

/// An ext4 in a file, until this is dropped.
struct Disk {
    image: PathBuf,
    path: PathBuf,
}

impl Disk {
    fn of(broker: &Node, name: &str) -> Self {
        let disk = Self {
            image: broker.directory.join(format!("{name}.img")),
            path: broker.directory.join(name),
        };
        let image = fs::File::create(&disk.image).unwrap();
        image.set_len(128 << 20).unwrap();
        fs::create_dir(&disk.path).unwrap();
        run(Command::new("mkfs.ext4").arg("-q").arg(&disk.image));
        disk.mount();
        disk
    }

    fn mount(&self) {
        let options = ["-t", "ext4", "-o", "loop,errors=remount-ro"];
        let mut mount = Command::new("mount");
        run(mount.args(options).arg(&self.image).arg(&self.path));
    }

    /// From now on it refuses everything but to be read.
    fn fail(&self) {
        let source = run(Command::new("findmnt")
            .args(["-n", "-o", "SOURCE"])
            .arg(&self.path));
        let device = source.trim().trim_start_matches("/dev/");
        let trigger = format!("/sys/fs/ext4/{device}/trigger_fs_error");
        fs::write(trigger, "a test").unwrap();
        let refused = fs::write(self.path.join("probe"), "").unwrap_err();
        assert_eq!(refused.kind(), std::io::ErrorKind::ReadOnlyFilesystem);
    }

    /// Somebody has pulled the plug and put it in again.
    fn come_back(&self) {
        run(Command::new("umount").arg(&self.path));
        self.mount();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.path).status();
    }
}

/// What it says, once it is done.
fn run(command: &mut Command) -> String {
    let done = command.output().unwrap();
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{command:?} needs root: {said}");
    String::from_utf8(done.stdout).unwrap()
}

/// Each broker has two disks of its own, `a` and `b`.
fn on_two_disks(brokers: usize) -> (Testbed, Vec<[Disk; 2]>) {
    let mut testbed = Testbed::prepare(1, brokers);
    let disks = testbed.brokers.iter().map(|broker| {
        broker.configure(&format!("foz.disk.reserve.bytes={RESERVE_BYTES}"));
        keep_in(broker, &["a", "b"]);
        ["a", "b"].map(|name| Disk::of(broker, name))
    });
    let disks = disks.collect();
    testbed.start_all();
    (testbed, disks)
}

async fn eventually(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let since = Instant::now();
    while !is_so().await {
        assert!(since.elapsed() < PATIENCE, "{what}");
        sleep(Duration::from_millis(20)).await;
    }
}

/// Partitions with the brokers whose replica of them is offline.
fn offline(broker: &Node) -> BTreeSet<(i32, i32)> {
    let answered = Answered::default();
    let mut connection = Connection::open(broker, &answered);
    let partitions = connection.topic(13, TOPIC).partitions;
    let offline = partitions.iter().flat_map(|it| {
        let nodes = it.offline_replicas.iter();
        nodes.map(|node| (it.partition_index, node.0))
    });
    offline.collect()
}

fn try_produce(connection: &mut Connection, topic: &Topic, index: i32, value: &str) -> ErrorCode {
    let records = Some(batch(1, &[value]));
    let request = produce_request(9, topic, -1, &[(index, records)]);
    let response = connection.call(9, &request);
    error(response.responses[0].partition_responses[0].error_code)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_fails_takes_its_replicas_along_and_nothing_that_was_acknowledged() {
    let (mut testbed, disks) = on_two_disks(3);
    let pid = testbed.brokers[0].process_id();
    let client = testbed.client().await;
    let orders = NewTopic {
        replication_factor: Some(3),
        configs: [("min.insync.replicas".to_owned(), "2".to_owned())].into(),
        ..topic(TOPIC, 3)
    };
    client.create_topic(&orders).await.unwrap();
    await_isr(&testbed, &[0, 1, 2]).await;
    let load = Load::on(&client);
    load.goes_on().await;
    let gone: BTreeSet<_> = logs_in(&testbed.brokers[0], "b", TOPIC)
        .into_iter()
        .collect();
    assert!(!gone.is_empty() && gone.len() < 3, "{gone:?}");

    disks[0][1].fail();
    let took = load.goes_on().await;
    let expected: BTreeSet<_> = gone.iter().map(|index| (*index, 0)).collect();
    eventually("the quorum knows", async || {
        tokio::task::block_in_place(|| offline(&testbed.brokers[1])) == expected
    })
    .await;
    load.goes_on().await;
    let broker = &testbed.brokers[0];
    assert_eq!(broker.process_id(), pid);
    assert_eq!(gauge(broker, "foz_offline_log_directories"), Some(1.0));
    assert_eq!(gauge(broker, "foz_log_directories"), Some(1.0));
    assert_eq!(gauge(broker, "foz_offline_logs"), Some(gone.len() as f64));
    eprintln!("acknowledged again {took:?} after the disk failed");
    assert!(took <= BACK_WITHIN, "{took:?}");

    // What is whole is in sync, and what failed is not.
    client.refresh(Some(&[TOPIC])).await.unwrap();
    let cluster = client.cluster();
    for (index, partition) in &cluster.topics[TOPIC].partitions {
        let is_in_sync = partition.isr.contains(&0);
        assert_eq!(is_in_sync, !gone.contains(index), "{index}: {partition:?}");
    }

    // Back, after a restart: it may lack the end of what it had.
    let broker = &mut testbed.brokers[0];
    tokio::task::block_in_place(|| {
        assert!(broker.stop());
        disks[0][1].come_back();
        broker.spawn();
        broker.wait_ready();
    });
    await_isr(&testbed, &[0, 1, 2]).await;
    let left = tokio::task::block_in_place(|| offline(&testbed.brokers[1]));
    assert_eq!(left, BTreeSet::new());
    load.goes_on().await;
    let acknowledged = tokio::task::block_in_place(|| load.end());
    let numbers = read_all(&client, TOPIC).await.into_iter().map(|message| {
        let value = message.value.unwrap();
        let number = String::from_utf8_lossy(&value).trim().parse::<usize>();
        number.unwrap()
    });
    let numbers: BTreeSet<_> = numbers.collect();
    assert_eq!(numbers, (0..acknowledged).collect());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_single_replica_is_offline_until_its_disk_is_back_with_all_that_it_had() {
    let (mut testbed, disks) = on_two_disks(1);
    let answered = Answered::default();
    let mut connection = Connection::open(&testbed.brokers[0], &answered);
    let orders = connection.create_topic("orders", 4);
    for index in 0..4 {
        connection.produce(&orders, index, batch(1, &["one"]));
    }
    let gone = logs_in(&testbed.brokers[0], "b", "orders");
    assert_eq!(gone.len(), 2);
    disks[0][1].fail();
    let state = |connection: &mut Connection| {
        let leaders = leaders(connection, "orders");
        let without = leaders.iter().filter(|(_, id)| **id == -1);
        let without: Vec<_> = without.map(|(index, _)| *index).collect();
        let directories = describe(connection, None).results;
        let errors = directories.iter().map(|it| error(it.error_code));
        (without, errors.collect::<Vec<_>>())
    };
    let offline = (
        gone.clone(),
        vec![ErrorCode::None, ErrorCode::KafkaStorageError],
    );
    // Somebody has to write for it to be seen.
    eventually("nobody leads what failed", async || {
        tokio::task::block_in_place(|| {
            try_produce(&mut connection, &orders, gone[0], "unheard");
            state(&mut connection) == offline
        })
    })
    .await;
    let healthy: Vec<i32> = (0..4).filter(|index| !gone.contains(index)).collect();
    for index in &healthy {
        connection.produce(&orders, *index, batch(1, &["two"]));
    }
    for index in &gone {
        let outcome = try_produce(&mut connection, &orders, *index, "two");
        assert_ne!(outcome, ErrorCode::None);
    }
    // A topic that is made now has all its logs on the other disk.
    let later = connection.create_topic("later", 4);
    for index in 0..4 {
        connection.produce(&later, index, batch(1, &["later"]));
    }

    // A start with the dead disk, in whatever way the process came to its end.
    drop(connection);
    for kills in [true, false] {
        tokio::task::block_in_place(|| {
            let broker = &mut testbed.brokers[0];
            if kills {
                broker.kill();
            } else {
                assert!(broker.stop());
            }
            broker.spawn();
            broker.wait_ready();
        });
        let mut connection = Connection::open(&testbed.brokers[0], &answered);
        eventually("the rest is led", async || {
            tokio::task::block_in_place(|| state(&mut connection) == offline)
        })
        .await;
        assert_eq!(logs_in(&testbed.brokers[0], "a", "orders"), healthy);
    }

    tokio::task::block_in_place(|| {
        let broker = &mut testbed.brokers[0];
        assert!(broker.stop());
        disks[0][1].come_back();
        broker.spawn();
        broker.wait_ready();
    });
    let mut connection = Connection::open(&testbed.brokers[0], &answered);
    let online = (Vec::new(), vec![ErrorCode::None; 2]);
    eventually("everything is led", async || {
        tokio::task::block_in_place(|| state(&mut connection) == online)
    })
    .await;
    let client = testbed.client().await;
    let found = read_all(&client, "orders").await;
    let with = |value: &str| {
        let found = found
            .iter()
            .filter(|it| it.value.as_deref() == Some(value.as_bytes()));
        found.count()
    };
    assert_eq!((with("one"), with("two")), (4, 2));
    assert_eq!(read_all(&client, "later").await.len(), 4);
    assert_eq!(logs_in(&testbed.brokers[0], "b", "orders"), gone);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_disk_takes_the_process_along() {
    let (mut testbed, disks) = on_two_disks(1);
    let client = testbed.client().await;
    client.create_topic(&topic(TOPIC, 3)).await.unwrap();
    let load = Load::on(&client);
    load.goes_on().await;
    for disk in &disks[0] {
        disk.fail();
    }
    let log = tokio::task::block_in_place(|| testbed.brokers[0].wait_failure());
    assert!(log.contains("a data directory has failed"), "{log}");
    drop(load);
}
