//! One disk of several fails while the broker runs. Needs root, for file systems on loop devices.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use foz_cli::client::{Client, NewTopic};
use foz_protocol::error::ErrorCode;
use rustix::process::Signal;
use tokio::time::{Instant, sleep};

use crate::directories::{describe, keep_in, leaders, logs_in};
use crate::disks::is_log_intact;
use crate::full_disk::{Load, RESERVE_BYTES, TOPIC, await_isr, gauge};
use crate::groups::{commit, committed};
use crate::testbed::{Node, PATIENCE, Testbed, read_all, topic, until};
use crate::versions::connection::{Answered, Connection, Topic, batch, error, produce_request};

/// From the failure to the next acknowledged record of every partition. The goal is one second on a machine that has
/// nothing else to do.
const BACK_WITHIN: Duration = Duration::from_secs(10);

/// An ext4 in a file, until this is dropped.
pub(crate) struct Disk {
    image: PathBuf,
    path: PathBuf,
}

impl Disk {
    fn of(broker: &Node, name: &str) -> Self {
        let disk = Self {
            image: broker.directory.join(format!("{name}.img")),
            path: broker.directory.join(name),
        };
        fs::create_dir(&disk.path).unwrap();
        disk.mount_empty();
        disk
    }

    fn mount_empty(&self) {
        let image = fs::File::create(&self.image).unwrap();
        image.set_len(128 << 20).unwrap();
        run(Command::new("mkfs.ext4").arg("-q").arg(&self.image));
        self.mount();
    }

    fn mount(&self) {
        let options = ["-t", "ext4", "-o", "loop,errors=remount-ro"];
        let mut mount = Command::new("mount");
        run(mount.args(options).arg(&self.image).arg(&self.path));
    }

    /// From now on it refuses everything but to be read.
    pub(crate) fn fail(&self) {
        let source = run(Command::new("findmnt")
            .args(["-n", "-o", "SOURCE"])
            .arg(&self.path));
        let device = source.trim().trim_start_matches("/dev/");
        let trigger = format!("/sys/fs/ext4/{device}/trigger_fs_error");
        fs::write(trigger, "a test").unwrap();
        let refused = fs::write(self.path.join("probe"), "").unwrap_err();
        assert_eq!(refused.kind(), std::io::ErrorKind::ReadOnlyFilesystem);
    }

    /// It refuses to be read, too, and what was not flushed is gone (`EXT4_IOC_SHUTDOWN`).
    fn die(&self) {
        const SHUT_DOWN: &str = r#"
            open(my $root, "<", $ARGV[0]) or die "open: $!";
            my $without_the_journal = pack("L", 2);
            ioctl($root, 0x8004587D, $without_the_journal) or die "ioctl: $!";
        "#;
        run(Command::new("perl").args(["-e", SHUT_DOWN]).arg(&self.path));
        let refused = fs::write(self.path.join("probe"), "").unwrap_err();
        assert_eq!(refused.raw_os_error(), Some(5));
    }

    /// Somebody has pulled the plug and put it in again.
    pub(crate) fn come_back(&self) {
        run(Command::new("umount").arg(&self.path));
        self.mount();
    }

    /// Another one is in its place.
    fn is_replaced(&self) {
        run(Command::new("umount").arg(&self.path));
        self.mount_empty();
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

/// None is started. The directories of the first broker have these names, and each is a disk.
pub(crate) fn on_disks(brokers: usize, names: &[&str]) -> (Testbed, Vec<Disk>) {
    let testbed = Testbed::prepare(1, brokers);
    let broker = &testbed.brokers[0];
    broker.configure(&format!("foz.disk.reserve.bytes={RESERVE_BYTES}"));
    keep_in(broker, names);
    let disks = names.iter().map(|name| Disk::of(broker, name)).collect();
    (testbed, disks)
}

/// A topic with a replica on each of three brokers, and whoever writes to it.
async fn load_on(testbed: &Testbed, client: &Client, min_insync_replicas: &str) -> Load {
    let key = "min.insync.replicas".to_owned();
    let orders = NewTopic {
        replication_factor: Some(3),
        configs: [(key, min_insync_replicas.to_owned())].into(),
        ..topic(TOPIC, 3)
    };
    client.create_topic(&orders).await.unwrap();
    await_isr(testbed, &[0, 1, 2]).await;
    let load = Load::on(client);
    load.goes_on().await;
    load
}

/// What was acknowledged is there.
async fn assert_nothing_lost(client: &Client, load: Load) {
    let acknowledged = tokio::task::block_in_place(|| load.end());
    let numbers = read_all(client, TOPIC).await.into_iter().map(|message| {
        let value = message.value.unwrap();
        let number = String::from_utf8_lossy(&value).trim().parse::<usize>();
        number.unwrap()
    });
    let numbers: BTreeSet<_> = numbers.collect();
    assert_eq!(numbers, (0..acknowledged).collect());
}

/// The partitions of the load in directories of the first broker: some, and not all.
fn in_directories(testbed: &Testbed, names: &[&str]) -> Vec<i32> {
    let broker = &testbed.brokers[0];
    let logs = names.iter().flat_map(|name| logs_in(broker, name, TOPIC));
    let logs: Vec<_> = logs.collect();
    assert!(!logs.is_empty() && logs.len() < 3, "{logs:?}");
    logs
}

/// The quorum knows of all replicas that are offline, which are these of the first broker.
async fn await_offline(testbed: &Testbed, gone: &[i32]) {
    let expected: BTreeSet<_> = gone.iter().map(|index| (*index, 0)).collect();
    eventually("the quorum knows", async || {
        tokio::task::block_in_place(|| offline(&testbed.brokers[1])) == expected
    })
    .await;
}

async fn await_out_of_service(broker: &Node) {
    let said = "the replicas of a data directory that failed are out of service";
    until(said, || broker.log().contains(said)).await;
}

/// In whatever way it came to its end, it is ready again.
fn start_again(broker: &mut Node) {
    broker.spawn();
    broker.wait_ready();
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
    let (mut testbed, disks) = on_disks(3, &["a", "b"]);
    testbed.start_all();
    let pid = testbed.brokers[0].process_id();
    let client = testbed.client().await;
    let load = load_on(&testbed, &client, "2").await;
    let gone = in_directories(&testbed, &["b"]);

    disks[1].fail();
    let took = load.goes_on().await;
    await_offline(&testbed, &gone).await;
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
        disks[1].come_back();
        start_again(broker);
    });
    await_isr(&testbed, &[0, 1, 2]).await;
    await_offline(&testbed, &[]).await;
    load.goes_on().await;
    assert_nothing_lost(&client, load).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_single_replica_is_offline_until_its_disk_is_back_with_all_that_it_had() {
    let (mut testbed, disks) = on_disks(1, &["a", "b"]);
    testbed.start_all();
    let answered = Answered::default();
    let mut connection = Connection::open(&testbed.brokers[0], &answered);
    let orders = connection.create_topic("orders", 4);
    for index in 0..4 {
        connection.produce(&orders, index, batch(1, &["one"]));
    }
    let gone = logs_in(&testbed.brokers[0], "b", "orders");
    assert_eq!(gone.len(), 2);
    disks[1].die();
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
            start_again(broker);
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
        disks[1].come_back();
        start_again(broker);
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
    let (mut testbed, disks) = on_disks(1, &["a", "b"]);
    testbed.start_all();
    let client = testbed.client().await;
    client.create_topic(&topic(TOPIC, 3)).await.unwrap();
    let load = Load::on(&client);
    load.goes_on().await;
    for disk in &disks {
        disk.fail();
    }
    let log = tokio::task::block_in_place(|| testbed.brokers[0].wait_failure());
    assert!(log.contains("a data directory has failed"), "{log}");
    drop(load);
}

/// A coordinator's log is there too. The controllers hear of it when they are back.
#[tokio::test(flavor = "multi_thread")]
async fn groups_go_on_though_nobody_could_be_told_for_a_while() {
    const OFFSETS: &str = "__consumer_offsets";
    let (mut testbed, disks) = on_disks(3, &["a", "b"]);
    testbed.controllers[0].configure("min.insync.replicas=2");
    for broker in &testbed.brokers {
        broker.configure("offsets.topic.num.partitions=6");
    }
    testbed.start_all();
    let client = testbed.client().await;
    let load = load_on(&testbed, &client, "2").await;
    let groups: Vec<String> = (0..12).map(|n| format!("group-{n}")).collect();
    for group in &groups {
        commit(&client, group, 100).await;
    }
    let answered = Answered::default();
    let mut connection = Connection::open(&testbed.brokers[0], &answered);
    let leads = leaders(&mut connection, OFFSETS);
    let coordinates = |index: &i32| leads[index] == 0;
    let logs = logs_in(&testbed.brokers[0], "b", OFFSETS);
    assert!(logs.iter().any(coordinates), "{logs:?} {leads:?}");
    let gone = in_directories(&testbed, &["b"]);

    testbed.controllers[0].kill();
    disks[1].die();
    await_out_of_service(&testbed.brokers[0]).await;
    let orders = Topic {
        name: TOPIC.to_owned(),
        id: connection.topic(13, TOPIC).topic_id,
    };
    for index in &gone {
        let refused = try_produce(&mut connection, &orders, *index, "in vain");
        assert_eq!(refused, ErrorCode::KafkaStorageError);
    }
    drop(connection);
    assert_eq!(offline(&testbed.brokers[1]), BTreeSet::new());
    // Longer than one attempt takes.
    let in_vain = "the quorum does not know yet which replicas are offline";
    until(in_vain, || testbed.brokers[0].log().contains(in_vain)).await;

    testbed.controllers[0].spawn();
    load.goes_on().await;
    await_offline(&testbed, &gone).await;
    for group in &groups {
        assert_eq!(committed(&client, group).await.0, 100, "{group}");
        commit(&client, group, 200).await;
        assert_eq!(committed(&client, group).await.0, 200, "{group}");
    }
    assert_nothing_lost(&client, load).await;
}

/// Its disk looks as if nothing had happened: only another one knows.
#[tokio::test(flavor = "multi_thread")]
async fn who_is_killed_before_it_could_tell_anybody_does_not_believe_its_disk_afterwards() {
    let (mut testbed, disks) = on_disks(3, &["a", "b"]);
    testbed.start_all();
    let client = testbed.client().await;
    let load = load_on(&testbed, &client, "2").await;
    testbed.controllers[0].kill();
    disks[1].fail();
    let broker = &mut testbed.brokers[0];
    await_out_of_service(broker).await;
    broker.kill();
    let says = |broker: &Node, what: &str| {
        let properties = broker.directory.join("a/meta.properties");
        fs::read_to_string(properties).unwrap().contains(what)
    };
    assert!(says(broker, "foz.doubted.directories"));
    disks[1].come_back();
    testbed.controllers[0].spawn();
    load.goes_on().await;

    let broker = &mut testbed.brokers[0];
    start_again(broker);
    assert!(!is_log_intact(broker));
    assert!(
        !says(broker, "foz.doubted.directories"),
        "it was said with the registration"
    );
    await_isr(&testbed, &[0, 1, 2]).await;
    load.goes_on().await;
    assert_nothing_lost(&client, load).await;
}

/// The second one held what was known of the first.
#[tokio::test(flavor = "multi_thread")]
async fn two_disks_of_three_fail_one_after_the_other() {
    let names = ["a", "b", "c"];
    let (mut testbed, disks) = on_disks(3, &names);
    testbed.start_all();
    let pid = testbed.brokers[0].process_id();
    let client = testbed.client().await;
    let load = load_on(&testbed, &client, "2").await;
    for failed in 1..=2 {
        match failed {
            1 => disks[0].fail(),
            _ => disks[1].die(),
        }
        load.goes_on().await;
        let gone = in_directories(&testbed, &names[..failed]);
        await_offline(&testbed, &gone).await;
        load.goes_on().await;
        let broker = &testbed.brokers[0];
        let offline = gauge(broker, "foz_offline_log_directories");
        assert_eq!(offline, Some(failed as f64));
        let doubts = broker.directory.join("c/meta.properties");
        let doubts = fs::read_to_string(doubts).unwrap();
        let doubts = doubts.lines().find(|it| it.contains("doubted"));
        // Until the second one fails that one knows of the first.
        let ids = doubts.map_or(0, |it| it.split(',').count());
        assert_eq!(ids, if failed == 1 { 0 } else { 2 }, "{doubts:?}");
    }
    assert_eq!(testbed.brokers[0].process_id(), pid);
    let answered = Answered::default();
    let mut connection = Connection::open(&testbed.brokers[0], &answered);
    for number in 0..4 {
        let later = connection.create_on(&format!("later-{number}"), &[0], &[]);
        connection.await_partition(&later.name, |it| it.leader_id == 0);
        assert_eq!(logs_in(&testbed.brokers[0], "c", &later.name), [0]);
    }
    drop(connection);
    let broker = &mut testbed.brokers[0];
    broker.kill();
    for disk in &disks[..2] {
        disk.come_back();
    }
    start_again(broker);
    assert!(!is_log_intact(broker));
    await_isr(&testbed, &[0, 1, 2]).await;
    await_offline(&testbed, &[]).await;
    load.goes_on().await;
    assert_nothing_lost(&client, load).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_disk_in_its_place_is_filled_by_the_other_brokers() {
    let (mut testbed, disks) = on_disks(3, &["a", "b"]);
    testbed.start_all();
    let client = testbed.client().await;
    let load = load_on(&testbed, &client, "2").await;
    let gone = in_directories(&testbed, &["b"]);
    let answered = Answered::default();
    let mut connection = Connection::open(&testbed.brokers[0], &answered);
    let singles = [0, 1, 2, 3].map(|number| {
        let single = connection.create_on(&format!("single-{number}"), &[0], &[]);
        connection.await_partition(&single.name, |it| it.leader_id == 0);
        connection.produce(&single, 0, batch(1, &["one"]));
        let is_lost = !logs_in(&testbed.brokers[0], "b", &single.name).is_empty();
        (single, is_lost)
    });
    let lost = singles.iter().filter(|(_, is_lost)| *is_lost).count();
    assert!((1..4).contains(&lost), "{singles:?}");
    drop(connection);

    disks[1].die();
    load.goes_on().await;
    await_offline(&testbed, &gone).await;
    let broker = &mut testbed.brokers[0];
    assert!(broker.stop());
    disks[1].is_replaced();
    start_again(broker);
    await_isr(&testbed, &[0, 1, 2]).await;
    await_offline(&testbed, &[]).await;
    load.goes_on().await;
    // Of what had no other replica nothing is left, and it goes on.
    let mut connection = Connection::open(&testbed.brokers[0], &answered);
    for (single, is_lost) in &singles {
        connection.await_partition(&single.name, |it| it.leader_id == 0);
        let kept = i64::from(!is_lost);
        assert_eq!(connection.latest_offset(&single.name, 0), Ok(kept));
        let offset = connection.produce(single, 0, batch(1, &["two"]));
        assert_eq!(offset, kept, "{}", single.name);
    }
    assert_nothing_lost(&client, load).await;
}

/// Each of them waits for a grant, for ever if need be.
#[tokio::test(flavor = "multi_thread")]
async fn a_whole_roll_goes_through_while_a_replica_is_offline() {
    let (mut testbed, disks) = on_disks(3, &["a", "b"]);
    for broker in &testbed.brokers {
        broker.configure("foz.shutdown.grace.ms=600000");
    }
    testbed.start_all();
    let client = testbed.client().await;
    let load = load_on(&testbed, &client, "1").await;
    let gone = in_directories(&testbed, &["b"]);
    disks[1].die();
    load.goes_on().await;
    await_offline(&testbed, &gone).await;
    // In the other directory. Of this one nobody may stop before the one that stopped last is done with its restart.
    let answered = Answered::default();
    let mut connection = Connection::open(&testbed.brokers[1], &answered);
    connection.create_on("later", &[0, 1, 2], &[("min.insync.replicas", "2")]);
    connection.await_partition("later", |it| it.isr_nodes.len() == 3);
    drop(connection);
    for broker in &mut testbed.brokers {
        assert!(broker.stop());
        start_again(broker);
        assert!(!broker.log().contains("stops without waiting"));
        load.goes_on().await;
    }
    await_offline(&testbed, &gone).await;
    assert_nothing_lost(&client, load).await;
}

/// Of two that are needed none is to spare.
#[tokio::test(flavor = "multi_thread")]
async fn who_is_needed_since_a_disk_failed_stops_when_the_disk_is_back() {
    let (mut testbed, disks) = on_disks(3, &["a", "b"]);
    for broker in &testbed.brokers {
        broker.configure("foz.shutdown.grace.ms=600000");
    }
    testbed.start_all();
    let client = testbed.client().await;
    let load = load_on(&testbed, &client, "2").await;
    let gone = in_directories(&testbed, &["b"]);
    disks[1].fail();
    load.goes_on().await;
    await_offline(&testbed, &gone).await;
    let [mended, needed, _] = &mut testbed.brokers[..] else {
        panic!("three");
    };
    needed.signal(Signal::TERM);
    let denied = "would have 1 of 2 in-sync replicas";
    until(denied, || needed.log().contains(denied)).await;
    load.goes_on().await;

    assert!(mended.stop(), "nobody waits for what is offline");
    disks[1].come_back();
    start_again(mended);
    assert!(needed.wait_end());
    start_again(needed);
    await_isr(&testbed, &[0, 1, 2]).await;
    assert_nothing_lost(&client, load).await;
}
