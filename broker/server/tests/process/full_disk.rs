//! Another program fills the disks of brokers to the last byte. Needs root, for small tmpfs.

use std::fs::{self, File};
use std::io::Write;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use foz_cli::client::{Client, NewTopic, Producer, ProducerConfig};
use foz_cli::message::Message;
use foz_protocol::error::ErrorCode;
use parking_lot::Mutex;
use tokio::time::{Instant, sleep};

use crate::testbed::{Node, PATIENCE, Testbed, read_all, sorted, topic};
use crate::versions::connection::{
    Answered, Connection, batch, error, eventually, produce_request, values,
};
use crate::versions::fetching::{fetch, only};

pub(crate) const TOPIC: &str = "orders";
/// What the goal allows from the moment there is room.
const BACK_WITHIN: Duration = Duration::from_secs(10);
pub(crate) const RESERVE_BYTES: u64 = 2 << 20;

/// What the data of a broker is on, until this is dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn of(node: &Node) -> Self {
        Self::at(node.directory.join("data"))
    }

    fn at(path: PathBuf) -> Self {
        fs::create_dir(&path).unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=48m", "tmpfs"])
            .arg(&path)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&mounted.stderr);
        let is_mounted = mounted.status.success();
        assert!(
            is_mounted,
            "a tmpfs must be mounted, which needs root: {said}"
        );
        Self(path)
    }

    fn filler(&self) -> PathBuf {
        // The broker takes no file for a partition.
        self.0.join("another-program")
    }

    /// To the last byte.
    fn fill(&self) {
        let mut file = File::create(self.filler()).unwrap();
        for size in [1 << 16, 4096, 1] {
            while file.write_all(&vec![7; size]).is_ok() {}
        }
    }

    /// So that only so much is left.
    fn fill_but(&self, bytes: u64) {
        let found = rustix::fs::statvfs(&self.0).unwrap();
        let left = found.f_bavail * found.f_frsize;
        let taken = usize::try_from(left - bytes).unwrap();
        fs::write(self.filler(), vec![7; taken]).unwrap();
    }

    fn free(&self) {
        fs::remove_file(self.filler()).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

fn on_small_disks(brokers: usize) -> (Testbed, Vec<SmallDisk>) {
    let mut testbed = Testbed::prepare(1, brokers);
    let disks = testbed.brokers.iter().map(SmallDisk::of).collect();
    for broker in &testbed.brokers {
        broker.configure(&format!("foz.disk.reserve.bytes={RESERVE_BYTES}"));
    }
    testbed.start_all();
    (testbed, disks)
}

/// One message after the other with acks=all, each with its number; when each was acknowledged.
pub(crate) struct Load {
    acknowledged: Arc<Mutex<Vec<Instant>>>,
    /// How long each was waited for.
    waits: Arc<Mutex<Vec<Duration>>>,
    is_over: Arc<AtomicBool>,
    sending: JoinHandle<()>,
}

impl Load {
    pub(crate) fn on(client: &Client) -> Self {
        let acknowledged = Arc::new(Mutex::new(Vec::new()));
        let waits = Arc::default();
        let is_over = Arc::new(AtomicBool::new(false));
        let (done, ends, client) = (acknowledged.clone(), is_over.clone(), client.clone());
        let waited = Arc::clone(&waits);
        let runtime = tokio::runtime::Handle::current();
        let sending =
            std::thread::spawn(move || runtime.block_on(Self::send(client, &done, &waited, &ends)));
        Self {
            acknowledged,
            waits,
            is_over,
            sending,
        }
    }

    async fn send(
        client: Client,
        done: &Mutex<Vec<Instant>>,
        waits: &Mutex<Vec<Duration>>,
        ends: &AtomicBool,
    ) {
        let config = ProducerConfig {
            delivery_timeout: 4 * PATIENCE,
            ..ProducerConfig::default()
        };
        let mut producer = Producer::new(client, config).await.unwrap();
        let mut number = 0;
        while !ends.load(Ordering::Acquire) {
            let message = Message {
                value: Some(Bytes::from(format!("{number:<2000}"))),
                partition: Some(number % 3),
                ..Message::default()
            };
            let sent = Instant::now();
            producer.send(TOPIC, message).await.unwrap();
            producer.flush().await.unwrap();
            waits.lock().push(sent.elapsed());
            done.lock().push(Instant::now());
            number += 1;
            sleep(Duration::from_millis(10)).await;
        }
    }

    pub(crate) fn count(&self) -> usize {
        self.acknowledged.lock().len()
    }

    /// How long each was waited for, of the first so many, without the very first ones, and of those after them.
    pub(crate) fn waits(&self, first: usize) -> (Vec<Duration>, Vec<Duration>) {
        let waits = self.waits.lock();
        (waits[6.min(first)..first].to_vec(), waits[first..].to_vec())
    }

    /// How long until this many more are acknowledged.
    pub(crate) async fn goes_on(&self) -> Duration {
        let (since, count) = (Instant::now(), self.count());
        while self.count() < count + 6 {
            assert!(since.elapsed() < PATIENCE, "nothing is acknowledged");
            assert!(!self.sending.is_finished(), "the producer gave up");
            sleep(Duration::from_millis(10)).await;
        }
        since.elapsed()
    }

    async fn is_held_up(&self) {
        let count = self.count();
        sleep(Duration::from_secs(3)).await;
        // What was on its way counts, and what the last pages of three logs still took.
        let more = self.count() - count;
        assert!(more <= 1 + 3 * 2, "{more}");
        let count = self.count();
        sleep(Duration::from_secs(1)).await;
        assert_eq!(self.count(), count);
    }

    pub(crate) fn end(self) -> usize {
        self.is_over.store(true, Ordering::Release);
        self.sending.join().unwrap();
        self.acknowledged.lock().len()
    }
}

pub(crate) async fn await_isr(testbed: &Testbed, expected: &[i32]) {
    let is_so = |client: &Client| {
        let cluster = client.cluster();
        let topic = cluster.topics.get(TOPIC)?;
        let mut partitions = topic.partitions.values();
        Some(partitions.all(|it| {
            let mut isr = it.isr.clone();
            isr.sort_unstable();
            isr == expected
        }))
    };
    let client = testbed.client().await;
    let since = Instant::now();
    loop {
        let _ = client.refresh(Some(&[TOPIC])).await;
        if is_so(&client) == Some(true) {
            return;
        }
        let partitions = client.cluster().topics.get(TOPIC).cloned();
        assert!(since.elapsed() < PATIENCE, "{expected:?}: {partitions:?}");
        sleep(Duration::from_millis(50)).await;
    }
}

/// Each broker is the process that it was.
fn still_run(testbed: &mut Testbed, pids: &[u32]) {
    for (broker, pid) in testbed.brokers.iter_mut().zip(pids) {
        assert_eq!(broker.process_id(), *pid);
        broker.wait_ready();
        let log = broker.log();
        assert!(
            !log.contains("cannot be flushed") && !log.contains("half-way"),
            "{log}"
        );
    }
}

pub(crate) fn gauge(broker: &Node, name: &str) -> Option<f64> {
    let metrics = broker.http("/metrics")?;
    let line = metrics.lines().find_map(|line| line.strip_prefix(name))?;
    // After its labels, where it has some.
    line.rsplit(' ').next()?.parse().ok()
}

/// Requests of this kind that were answered.
fn count_of(broker: &Node, api: &str) -> u64 {
    let metrics = broker.http("/metrics").unwrap();
    let of_api = metrics.lines().filter(|line| {
        line.starts_with("kafka_network_request_duration_seconds_count")
            && line.contains(&format!("\"{api}\""))
    });
    let counts = of_api.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok());
    counts.sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn disks_filled_to_the_last_byte_lose_nothing_and_service_is_back_with_the_room() {
    let (mut testbed, disks) = on_small_disks(3);
    let pids: Vec<u32> = testbed.brokers.iter().map(Node::process_id).collect();
    let client = testbed.client().await;
    let configs = [("min.insync.replicas", "2"), ("segment.bytes", "1048576")];
    let orders = NewTopic {
        replication_factor: Some(3),
        configs: configs
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into(),
        ..topic(TOPIC, 3)
    };
    client.create_topic(&orders).await.unwrap();
    await_isr(&testbed, &[0, 1, 2]).await;
    let load = Load::on(&client);
    load.goes_on().await;

    disks[0].fill();
    let moved = load.goes_on().await;
    await_isr(&testbed, &[1, 2]).await;
    load.goes_on().await;
    disks[0].free();
    let since = Instant::now();
    await_isr(&testbed, &[0, 1, 2]).await;
    let rejoined = since.elapsed();

    for at in [0, 1] {
        disks[at].fill();
    }
    load.is_held_up().await;
    for at in [0, 1] {
        disks[at].free();
    }
    let back_from_two = load.goes_on().await;
    await_isr(&testbed, &[0, 1, 2]).await;

    for disk in &disks {
        disk.fill();
    }
    load.is_held_up().await;
    for broker in &testbed.brokers {
        assert_eq!(gauge(broker, "foz_disk_refusing_writes"), Some(1.0));
    }
    // What there is can be read.
    let before = load.count();
    assert!(read_all(&client, TOPIC).await.len() >= before);
    for disk in &disks {
        disk.free();
    }
    let back_from_all = load.goes_on().await;
    eprintln!(
        "one full: acknowledged again after {moved:?}, in sync {rejoined:?} after there was room; \
         after two: {back_from_two:?}; after all: {back_from_all:?}"
    );
    for took in [moved, rejoined, back_from_two, back_from_all] {
        assert!(took <= BACK_WITHIN, "{took:?}");
    }
    await_isr(&testbed, &[0, 1, 2]).await;
    let acknowledged = tokio::task::block_in_place(|| load.end());
    let messages = read_all(&client, TOPIC).await;
    let mut numbers: Vec<usize> = messages
        .iter()
        .map(|message| {
            let value = message.value.as_ref().unwrap();
            String::from_utf8_lossy(value).trim().parse().unwrap()
        })
        .collect();
    numbers.sort_unstable();
    // Each is there once.
    assert_eq!(numbers, (0..acknowledged).collect::<Vec<_>>());
    tokio::task::block_in_place(|| still_run(&mut testbed, &pids));
}

/// One of two: what is on the other goes on, and the quorum knows.
#[test]
fn records_are_refused_for_the_directory_that_is_full_alone() {
    let mut testbed = Testbed::prepare(1, 1);
    let broker = &testbed.brokers[0];
    let small = SmallDisk::at(broker.directory.join("small"));
    let large = broker.directory.join("data");
    broker.configure(&format!("foz.disk.reserve.bytes={RESERVE_BYTES}"));
    broker.configure(&format!(
        "log.dirs={},{}",
        large.display(),
        small.0.display()
    ));
    testbed.start_all();
    let answered = Answered::default();
    let mut connection = Connection::open(&testbed.brokers[0], &answered);
    let topics = ["one", "two"].map(|name| connection.create_topic(name, 1));
    drop(connection);
    assert!(testbed.brokers[0].stop());
    fs::create_dir_all(small.0.join("two-0")).unwrap();
    for entry in fs::read_dir(large.join("two-0")).unwrap() {
        // A renaming does not go from one file system to another.
        let entry = entry.unwrap();
        fs::copy(entry.path(), small.0.join("two-0").join(entry.file_name())).unwrap();
    }
    fs::remove_dir_all(large.join("two-0")).unwrap();
    testbed.brokers[0].spawn();
    testbed.wait_ready();
    let mut connection = Connection::open(&testbed.brokers[0], &answered);
    let mut outcomes = |expected: [ErrorCode; 2]| {
        eventually(|| {
            let found = topics.each_ref().map(|topic| {
                let records = batch(1, &["a"]);
                let request = produce_request(9, topic, -1, &[(0, Some(records))]);
                let response = connection.call(9, &request);
                error(response.responses[0].partition_responses[0].error_code)
            });
            (found == expected)
                .then_some(())
                .ok_or(format!("{found:?}"))
        });
    };
    let (fine, refused) = (ErrorCode::None, ErrorCode::KafkaStorageError);
    let short = |testbed: &Testbed| gauge(&testbed.controllers[0], "foz_brokers_short_of_space");
    outcomes([fine, fine]);
    assert_eq!(short(&testbed), Some(0.0));
    small.fill();
    outcomes([fine, refused]);
    eventually(|| match short(&testbed) {
        Some(1.0) => Ok(()),
        other => Err(format!("{other:?}")),
    });
    outcomes([fine, refused]);
    small.free();
    outcomes([fine, fine]);
    eventually(|| match short(&testbed) {
        Some(0.0) => Ok(()),
        other => Err(format!("{other:?}")),
    });
    let pids = [testbed.brokers[0].process_id()];
    still_run(&mut testbed, &pids);
}

/// Stopped cleanly, started, killed and started again on a disk that stays full.
#[test]
fn a_broker_starts_and_serves_what_it_has_while_its_disk_is_full() {
    let (mut testbed, disks) = on_small_disks(1);
    let answered = Answered::default();
    let mut connection = Connection::open(&testbed.brokers[0], &answered);
    let orders = connection.create_topic(TOPIC, 1);
    connection.produce(&orders, 0, batch(1, &["a"]));
    drop(connection);
    disks[0].fill();
    for is_clean in [true, false] {
        let broker = &mut testbed.brokers[0];
        if is_clean {
            assert!(broker.stop());
            assert!(broker.directory.join("data/.kafka_cleanshutdown").exists());
        } else {
            broker.kill();
        }
        broker.spawn();
        broker.wait_ready();
        let mut connection = Connection::open(broker, &answered);
        let found = eventually(|| {
            let response = connection.call(12, &fetch(12, &orders, &[(0, 0)]));
            let partition = only(&response);
            let found = values(partition.records.as_ref());
            match found.is_empty() {
                true => Err(error(partition.error_code)),
                false => Ok(found),
            }
        });
        assert_eq!(found, [(0, "a".to_owned())]);
        let request = produce_request(9, &orders, -1, &[(0, Some(batch(1, &["b"])))]);
        let response = connection.call(9, &request);
        let refused = &response.responses[0].partition_responses[0];
        assert_eq!(error(refused.error_code), ErrorCode::KafkaStorageError);
        let said = refused.error_message.as_ref().unwrap();
        assert!(said.contains("foz.disk.reserve.bytes"), "{said}");
    }
    disks[0].free();
    let since = Instant::now();
    let mut connection = Connection::open(&testbed.brokers[0], &answered);
    eventually(|| {
        let request = produce_request(9, &orders, -1, &[(0, Some(batch(1, &["b"])))]);
        let response = connection.call(9, &request);
        match error(response.responses[0].partition_responses[0].error_code) {
            ErrorCode::None => Ok(()),
            error => Err(error),
        }
    });
    assert!(since.elapsed() <= BACK_WITHIN, "{:?}", since.elapsed());
}

/// Nothing has failed yet, and others lead.
#[test]
fn below_the_reserve_others_lead() {
    let (testbed, disks) = on_small_disks(2);
    let answered = Answered::default();
    let mut connection = Connection::open(&testbed.brokers[1], &answered);
    let orders = connection.create_on(TOPIC, &[0, 1], &[]);
    connection.await_partition(TOPIC, |it| sorted(&it.isr_nodes) == [0, 1]);
    disks[0].fill_but(RESERVE_BYTES * 3 / 4);
    connection.await_partition(TOPIC, |it| {
        it.leader_id == 1 && sorted(&it.isr_nodes) == [1]
    });
    // What it has no room for it does not ask for one after the other, as fast as it can.
    let many: Vec<_> = (0..12)
        .map(|n| connection.create_on(&format!("more-{n}"), &[1, 0], &[]))
        .collect();
    for more in &many {
        connection.produce(more, 0, batch(1, &["a"]));
    }
    connection.produce(&orders, 0, batch(1, &["a"]));
    let fetches = || count_of(&testbed.brokers[1], "Fetch");
    let before = fetches();
    let since = Instant::now();
    while since.elapsed() < Duration::from_secs(3) {
        std::thread::park_timeout(Duration::from_millis(100));
    }
    let asked = fetches() - before;
    assert!((5..=15).contains(&asked), "{asked}");
    let log = testbed.brokers[0].log();
    assert!(
        log.contains("no records are taken until it has more"),
        "{log}"
    );
    assert!(!log.contains("the disk is full"), "{log}");
    assert_eq!(
        gauge(&testbed.brokers[0], "foz_disk_total_bytes"),
        Some(f64::from(48 << 20))
    );
    disks[0].free();
    connection.await_partition(TOPIC, |it| sorted(&it.isr_nodes) == [0, 1]);
    assert_eq!(
        gauge(&testbed.brokers[0], "foz_disk_refusing_writes"),
        Some(0.0)
    );
}
