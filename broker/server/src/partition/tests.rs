use foz_log::TopicPartition;
use foz_log::{
    FileHandles, FlushObserver, Flusher, LogConfig, LogDirectory, PageCache, StorageError,
};
use foz_protocol::codec::Compression;
use foz_protocol::record::{BatchBuilder, RecordToWrite};
use foz_replication::{Assignment, Settings};
use uuid::Uuid;

use super::*;
use crate::disk_space::Space;
use crate::identity::claim_all;

struct Unheard;

impl FlushObserver for Unheard {
    fn flushed(&self, _: &Arc<PartitionLog>, _: i64) {}
    fn failed(&self, _: &Arc<PartitionLog>, error: &StorageError) {
        panic!("{error}");
    }
}

fn batch() -> BytesMut {
    let mut builder = BatchBuilder::new(Compression::None);
    builder.push(&RecordToWrite {
        timestamp_ms: wall_clock_ms(),
        value: Some(b"one"),
        ..RecordToWrite::default()
    });
    BytesMut::from(builder.build().unwrap().as_slice())
}

/// Leads alone.
fn lead(partition: &Arc<Partition>, leader_epoch: i32) {
    let assignment = Assignment {
        replicas: vec![0],
        isr: vec![0],
        leader: 0,
        leader_epoch,
        partition_epoch: leader_epoch,
    };
    let settings = Settings {
        min_insync: 1,
        lag_time_max_ms: 30_000,
    };
    partition.lead(0, &assignment, settings, 0);
}

/// Nobody tells it what was flushed.
fn partition(path: &std::path::Path) -> Arc<Partition> {
    partition_of(path, "orders")
}

fn partition_of(path: &std::path::Path, topic: &str) -> Arc<Partition> {
    let claims = claim_all(&[path.to_owned()], 0).unwrap();
    let opening = Openings::new(claims, mpsc::channel(1).0).usable.remove(0);
    let handles = FileHandles::new(10);
    let config = |_: &TopicPartition, _| LogConfig::default();
    let (lost, now_ms) = (PageCache::Lost, wall_clock_ms());
    let (directory, _) =
        LogDirectory::open(path, lost, 1, &handles, now_ms, &config, &|_| {}).unwrap();
    let flushing = LogConfig {
        flush_before_acknowledge: true,
        ..LogConfig::default()
    };
    let name = TopicPartition::new(topic.to_owned(), 0);
    let log = directory.create(name, Uuid::from_u128(1), flushing, wall_clock_ms());
    let flusher = Flusher::start(Arc::new(Unheard)).unwrap();
    let reports = Reports {
        proposals: mpsc::unbounded_channel().0,
        damage: Arc::default(),
        due_checks: Arc::default(),
        awake: Arc::default(),
        to_write: Arc::default(),
        led: IntGauge::new("led", "Tests.").unwrap(),
        broker_epoch: Arc::default(),
    };
    let found = data_directory::Found {
        disk_epoch: -1,
        has_all_written: false,
        in_doubt: Vec::new(),
        logs: Mutex::default(),
    };
    let directory = DataDirectory::new(opening, directory, flusher, found);
    Arc::new(Partition::new(
        log.unwrap(),
        Arc::new(directory),
        1,
        reports,
    ))
}

#[test]
fn who_asks_for_the_role_does_not_wait_for_a_follower_that_writes() {
    let dir = tempfile::tempdir().unwrap();
    let partition = partition(dir.path());
    assert!(partition.follow(1, 1));
    // As long as a cut of the log may take.
    let writing = partition.role_change.lock();
    let (resigned, has_resigned) = std::sync::mpsc::channel();
    std::thread::spawn({
        let partition = Arc::clone(&partition);
        move || {
            partition.resign();
            resigned.send(())
        }
    });
    let early = has_resigned.recv_timeout(Duration::from_millis(20));
    assert!(early.is_err(), "in the middle of a write");
    assert_eq!(partition.leader(0), Some((1, 1)));
    drop(writing);
    has_resigned.recv().unwrap();
    assert_eq!(partition.leader(0), None);
}

#[test]
fn without_room_nothing_is_appended_but_what_brokers_write_for_themselves() {
    for (topic, takes) in [
        ("orders", [false, false]),
        ("__consumer_offsets", [true, false]),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let partition = partition_of(dir.path(), topic);
        lead(&partition, 1);
        partition
            .append(&Image::default(), ACKS_ALL, batch())
            .unwrap();
        for (space, takes) in [Space::Low, Space::Full].into_iter().zip(takes) {
            partition.located().directory.disk_gate().set(space);
            let before = partition.log().log_end_offset();
            match partition.append(&Image::default(), ACKS_ALL, batch()) {
                Ok(produced) => assert!(takes && produced.base_offset == before),
                Err(refused) => {
                    assert!(!takes && matches!(refused, ProduceError::NoRoom));
                    assert_eq!(partition.log().log_end_offset(), before);
                }
            }
        }
        partition.located().directory.disk_gate().set(Space::Roomy);
        partition
            .append(&Image::default(), ACKS_ALL, batch())
            .unwrap();
    }
}

#[test]
fn who_rests_is_looked_at_again_when_something_is_appended() {
    let dir = tempfile::tempdir().unwrap();
    let partition = partition(dir.path());
    let Reports {
        awake,
        to_write,
        led,
        ..
    } = &partition.reports;
    let append = || {
        let appended = partition.append(&Image::default(), ACKS_ALL, batch());
        appended.unwrap();
    };
    let look = || {
        let keys = awake.take();
        partition.forget_awake();
        partition.tick(&Image::default(), 0);
        keys
    };
    for epoch in [1, 1, 2] {
        lead(&partition, epoch);
        assert_eq!((led.get(), look()), (1, vec![partition.key()]));
        assert!(look().is_empty(), "it has nothing to do");
        for _ in 0..2 {
            append();
            append();
            assert_eq!(to_write.take(), [partition.key()]);
            partition.forget_growth();
        }
        // The flusher may be as fast as this test, and tells nobody here.
        let is_flushed = || partition.log().flushed_offset() == partition.log().log_end_offset();
        for _ in 0..2 {
            let (was_flushed, looked_at) = (is_flushed(), look());
            assert!(was_flushed || is_flushed() || looked_at == [partition.key()]);
        }
        let was_flushed = is_flushed();
        partition.log().flush().unwrap();
        partition.flushed();
        let looked_at = look();
        assert!(was_flushed || looked_at == [partition.key()]);
        assert!(look().is_empty());
        assert!(to_write.take().is_empty());
    }
    partition.resign();
    assert_eq!(led.get(), 0);
}

#[test]
fn who_coordinated_in_an_earlier_epoch_adds_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let partition = partition(dir.path());
    lead(&partition, 1);
    partition.append_in_epoch(1, batch()).unwrap();
    lead(&partition, 2);
    let refused = partition.append_in_epoch(1, batch()).unwrap_err();
    assert!(matches!(refused, ProduceError::NotLeader), "{refused:?}");
    assert_eq!(
        partition.append_in_epoch(2, batch()).unwrap().base_offset,
        1
    );
}

#[tokio::test]
async fn all_is_acknowledged_when_the_last_append_is() {
    let dir = tempfile::tempdir().unwrap();
    let partition = partition(dir.path());
    lead(&partition, 1);
    partition
        .append(&Image::default(), ACKS_ALL, batch())
        .unwrap();
    partition
        .append(&Image::default(), ACKS_ALL, batch())
        .unwrap();
    let waiting = tokio::spawn({
        let partition = Arc::clone(&partition);
        async move { partition.all_acknowledged(1).await }
    });
    tokio::task::yield_now().await;
    partition.flushed();
    tokio::task::yield_now().await;
    assert!(!waiting.is_finished(), "nothing is on the disk yet");
    partition.log().flush().unwrap();
    partition.flushed();
    waiting.await.unwrap().unwrap();
    partition
        .append(&Image::default(), ACKS_ALL, batch())
        .unwrap();
    let waiting = partition.all_acknowledged(1);
    partition.resign();
    assert_eq!(waiting.await, Err(ErrorCode::NotLeaderOrFollower));
}
