//! Logs move to other data directories.

mod damage;

use std::cell::RefCell;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::RecvTimeoutError;

use bytes::BytesMut;
use foz_log::{MoveError, ReadError, StorageError};
use foz_protocol::batch::Batches;
use foz_protocol::record::{Records, record_bytes};

use super::directories::{deletion, place, spread, topic, world_of};
use super::failing_directory::fail;
use super::*;
use crate::disk_space::Space;
use crate::partition::{ACKS_ALL, FailedRead, Next};

/// So that a move of [`MANY`] records takes several steps.
const STEP_BYTES: usize = 10 << 10;
const MANY: i64 = 1000;
/// A move that failed is left alone for so long, and for less where it has to wait.
const AFTER_FAILURE: Duration = Duration::from_secs(30);
/// Between two records that are appended meanwhile.
const PAUSE: Duration = Duration::from_micros(200);

/// The log of `orders-0` is in the first of so many directories.
fn world(directories: usize) -> (World, Arc<Partition>) {
    let mut world = world_of(directories);
    world.commit(topic(TOPIC_ID, 1));
    assert_eq!(place(&world, 0), 0);
    let partition = world.partitions().get(TOPIC_ID, 0).unwrap();
    (world, partition)
}

fn batch(value: i64) -> BytesMut {
    let mut builder = BatchBuilder::new(Compression::None);
    let value = format!("{value:1000}");
    builder.push(&RecordToWrite {
        value: Some(value.as_bytes()),
        ..RecordToWrite::default()
    });
    BytesMut::from(builder.build().unwrap().as_slice())
}

/// Each record says its offset.
fn append(partition: &Arc<Partition>, image: &Image, records: i64) {
    for _ in 0..records {
        let offset = partition.log_end_offset();
        let produced = partition.append(image, ACKS_ALL, batch(offset)).unwrap();
        assert_eq!(produced.base_offset, offset);
    }
}

fn values(partition: &Partition, from: i64) -> Vec<i64> {
    let read = |log: &foz_log::PartitionLog| log.read(from, 1 << 20, i64::MAX, true);
    let bytes = partition.read_log(read).unwrap();
    let mut values = Vec::new();
    for batch in Batches::new(&bytes) {
        let (header, batch) = batch.unwrap();
        let records = record_bytes(&header, batch, 1 << 20).unwrap();
        for record in Records::new(&header, &records) {
            let value = record.unwrap().value.unwrap();
            values.push(str::from_utf8(value).unwrap().trim().parse().unwrap());
        }
    }
    values
}

/// Every record, each one time.
fn check(partition: &Partition, records: i64) {
    let mut read = Vec::new();
    while (read.len() as i64) < partition.log_end_offset() {
        read.extend(values(partition, read.len() as i64));
    }
    assert_eq!(read, (0..records).collect::<Vec<_>>());
}

impl World {
    fn ask(&self, target: usize) -> Result<(), ErrorCode> {
        let partition = self.partitions().get(TOPIC_ID, 0).unwrap();
        let target = &self.partitions().directories().all()[target];
        self.partitions().move_log(&partition, target)
    }

    /// One step of the move that comes first there. `None`: there is nothing to move.
    fn step(&self, target: usize) -> Option<Next> {
        let target = &self.partitions().directories().all()[target];
        let wanted = (self.partitions().moves()).first_to(target, &[].into())?;
        Some(self.partitions().move_on(&wanted, STEP_BYTES).next)
    }

    /// Until it is over.
    fn finish_moving(&self, target: usize) {
        for _ in 0..10_000 {
            match self.step(target) {
                None => return,
                Some(Next::Over | Next::Same(_)) => {}
                // Others flush at the same time.
                Some(Next::Others(pause)) if pause < AFTER_FAILURE => {
                    std::thread::park_timeout(pause);
                }
                Some(next) => panic!("{next:?}"),
            }
        }
        panic!("it does not end");
    }

    /// However long others are at the same files.
    fn step_when_free(&self, target: usize) -> Option<Next> {
        loop {
            match self.step(target) {
                Some(Next::Same(pause)) => std::thread::park_timeout(pause),
                Some(Next::Others(pause)) if pause < AFTER_FAILURE => {
                    std::thread::park_timeout(pause);
                }
                next => return next,
            }
        }
    }

    fn remove_all_deleted(&self) {
        for directory in self.partitions().directories().all() {
            assert!(self.partitions().remove_deleted(directory, &|| true));
            self.partitions().checkpoint(directory);
        }
    }

    /// How many logs are there, and on their way.
    fn moving(&self) -> i64 {
        self.broker.metrics.log_moves.get()
    }

    async fn reopened(self) -> Self {
        let world = self.restart(|_| {}).await;
        let image = Arc::clone(&world.image);
        world.partitions().set_strays_aside(&image, 0);
        let changes = Changes::between(&Image::default(), &image);
        world.partitions().apply(&world.broker, &image, &changes);
        world
    }
}

fn only_there(target: usize, directories: usize) -> Vec<Vec<String>> {
    let mut expected = vec![Vec::new(); directories];
    expected[target].push("orders-0".to_owned());
    expected
}

#[tokio::test]
async fn a_log_moves_while_it_is_written_and_read() {
    let (mut world, partition) = world(2);
    append(&partition, &world.image, 100);
    let (image, done) = (Arc::clone(&world.image), AtomicBool::new(false));
    let appended = std::thread::scope(|scope| {
        let (stop, stopped) = std::sync::mpsc::channel::<()>();
        let (appended, image) = (&partition, &image);
        let appending = scope.spawn(move || {
            while stopped.recv_timeout(PAUSE) == Err(RecvTimeoutError::Timeout) {
                append(appended, image, 1);
            }
            append(appended, image, 10);
            appended.log_end_offset()
        });
        let reading = scope.spawn(|| {
            let (mut from, mut reads) = (0, 0_u64);
            while !done.load(Ordering::Acquire) {
                let read = values(&partition, from);
                let end = from + read.len() as i64;
                assert_eq!(read, (from..end).collect::<Vec<_>>());
                from = if end > 200 { 0 } else { end };
                reads += 1;
            }
            reads
        });
        for round in 0..20 {
            let target = 1 - round % 2;
            world.ask(target).unwrap();
            assert_eq!(world.moving(), 1);
            world.finish_moving(target);
            assert_eq!(place(&world, 0), target);
            world.remove_all_deleted();
        }
        drop(stop);
        done.store(true, Ordering::Release);
        assert!(reading.join().unwrap() > 20);
        appending.join().unwrap()
    });
    assert_eq!(world.moving(), 0);
    check(&partition, appended);
    assert_eq!(spread(&world), only_there(0, 2));
    assert!(world.broker.metrics.log_moved_bytes.get() > 100_000);
    assert!(world.fatal.try_recv().is_err());
    drop(partition);
    let world = world.reopened().await;
    check(&world.partitions().get(TOPIC_ID, 0).unwrap(), appended);
}

/// Who waits for a flush of the old log is told of the new one's.
#[tokio::test]
async fn who_waits_for_a_flush_hears_of_the_move() {
    let (world, partition) = world(2);
    append(&partition, &world.image, 1);
    world.ask(1).unwrap();
    // By whom it is flushed, the old flusher, the new one or the move, does not matter.
    let config = foz_log::LogConfig {
        flush_before_acknowledge: true,
        ..foz_log::LogConfig::clone(&partition.log().config())
    };
    partition.log().set_config(Arc::new(config));
    let image = Arc::clone(&world.image);
    let waiting = {
        let partition = Arc::clone(&partition);
        tokio::spawn(async move {
            let appended = partition.append(&image, ACKS_ALL, batch(1)).unwrap();
            partition.acknowledged(&appended).await
        })
    };
    tokio::task::yield_now().await;
    world.finish_moving(1);
    let acknowledged = tokio::time::timeout(Duration::from_secs(5), waiting).await;
    assert_eq!(acknowledged.unwrap().unwrap(), Ok(()));
    assert_eq!(partition.log().high_watermark(), 2);
}

#[tokio::test]
async fn who_began_to_read_before_the_move_reads_where_the_log_is_now() {
    let (world, partition) = world(2);
    append(&partition, &world.image, 10);
    world.ask(1).unwrap();
    let mut reads = 0;
    let read = RefCell::new(|log: &foz_log::PartitionLog| {
        reads += 1;
        world.finish_moving(1);
        log.read(0, 1 << 20, i64::MAX, true)
    });
    let read = partition.read_log(|log| (read.borrow_mut())(log));
    assert!(!read.unwrap().is_empty());
    assert_eq!((reads, place(&world, 0)), (2, 1));
    // One that was deleted is not looked for elsewhere.
    partition.log().read(0, 1, 0, true).unwrap();
    world.partitions().directories().all()[1].logs().abandon();
    let refused = partition.read_log(|log| log.read(0, 1 << 20, i64::MAX, true));
    let reason = refused.map_err(|it| it.reason);
    assert!(matches!(reason, Err(ReadError::Unusable(..))));
}

#[tokio::test]
async fn the_directory_that_it_is_in_cancels_a_move() {
    let (world, partition) = world(2);
    append(&partition, &world.image, MANY);
    world.ask(0).unwrap();
    assert_eq!((world.moving(), world.step(1)), (0, None), "it is there");
    for _ in 0..2 {
        world.ask(1).unwrap();
        world.ask(1).unwrap();
        for _ in 0..3 {
            assert_eq!(world.step(1), Some(Next::Same(Duration::ZERO)));
        }
        let there = &spread(&world)[1];
        assert!(there.iter().any(|it| it.ends_with("-future")), "{there:?}");
        world.ask(0).unwrap();
        assert_eq!((world.moving(), world.step(1)), (0, None));
        world.remove_all_deleted();
        assert_eq!(spread(&world), only_there(0, 2));
    }
    append(&partition, &world.image, 10);
    check(&partition, MANY + 10);
    world.ask(1).unwrap();
    world.finish_moving(1);
    check(&partition, MANY + 10);
}

#[tokio::test]
async fn another_directory_begins_it_anew() {
    let (world, partition) = world(3);
    append(&partition, &world.image, MANY);
    world.ask(1).unwrap();
    world.step(1);
    world.ask(2).unwrap();
    assert_eq!((world.moving(), world.step(1)), (1, None));
    world.finish_moving(2);
    world.remove_all_deleted();
    assert_eq!(spread(&world), only_there(2, 3));
    check(&partition, MANY);
}

#[tokio::test]
async fn a_log_that_goes_takes_its_copy_along() {
    for (records, is_kept) in [(vec![deletion(TOPIC_ID)], true), (vec![], false)] {
        let (mut world, partition) = world(2);
        append(&partition, &world.image, MANY);
        world.ask(1).unwrap();
        world.step(1);
        match is_kept {
            true => world.commit(records),
            false => world.change(moved_to(&[1, 2], 1)),
        }
        assert_eq!((world.moving(), world.step(1)), (0, None));
        world.remove_all_deleted();
        let left = spread(&world);
        assert!(left[1].is_empty(), "{left:?}");
        assert!(world.fatal.try_recv().is_err());
    }
}

#[tokio::test]
async fn a_start_goes_on_with_a_move() {
    let (world, partition) = world(2);
    append(&partition, &world.image, MANY);
    world.ask(1).unwrap();
    for _ in 0..4 {
        world.step(1);
    }
    let target = &world.partitions().directories().all()[1];
    let copied = target.logs().futures()[0].log_end_offset();
    assert!((20..100).contains(&copied), "{copied}");
    drop(partition);
    let mut world = world.reopened().await;
    assert_eq!((world.moving(), place(&world, 0)), (1, 0));
    let partition = world.partitions().get(TOPIC_ID, 0).unwrap();
    append(&partition, &world.image, 10);
    // The step that begins it copies nothing, and nothing begins anew.
    world.step(1);
    let target = &world.partitions().directories().all()[1];
    assert_eq!(target.logs().futures()[0].log_end_offset(), copied);
    world.finish_moving(1);
    world.remove_all_deleted();
    assert_eq!(spread(&world), only_there(1, 2));
    check(&partition, MANY + 10);
    assert!(world.fatal.try_recv().is_err());
}

#[tokio::test]
async fn without_room_it_waits() {
    let (world, partition) = world(2);
    append(&partition, &world.image, MANY);
    world.ask(1).unwrap();
    let target = &world.partitions().directories().all()[1];
    target.disk_gate().set(Space::Full);
    for _ in 0..3 {
        assert!(matches!(world.step(1), Some(Next::Others(_))));
    }
    assert_eq!(target.logs().futures()[0].log_end_offset(), 0);
    target.disk_gate().set(Space::Roomy);
    world.finish_moving(1);
    check(&partition, MANY);
}

#[tokio::test]
async fn a_target_that_fails_takes_the_copy_and_not_the_log() {
    let (mut world, partition) = world(3);
    append(&partition, &world.image, MANY);
    world.ask(1).unwrap();
    world.step(1);
    fail(&world, 1);
    assert_eq!(world.step(1), Some(Next::Over));
    assert_eq!((world.moving(), world.step(1)), (0, None));
    assert_eq!(world.ask(1), Err(ErrorCode::KafkaStorageError));
    append(&partition, &world.image, 10);
    world.ask(2).unwrap();
    world.finish_moving(2);
    assert_eq!(place(&world, 0), 2);
    check(&partition, MANY + 10);
    assert!(world.fatal.try_recv().is_err());
}

#[tokio::test]
async fn where_the_log_fails_its_copy_stays_and_nobody_makes_it_the_log() {
    let (mut world, partition) = world(2);
    append(&partition, &world.image, MANY);
    world.ask(1).unwrap();
    world.step(1);
    fail(&world, 0);
    assert_eq!(world.step(1), Some(Next::Over));
    assert_eq!((world.moving(), world.step(1)), (0, None));
    assert!(world.partitions().get(TOPIC_ID, 0).is_none());
    let failed = world.partitions().failed_replicas();
    assert_eq!(failed.into_iter().collect::<Vec<_>>(), [(TOPIC_ID, 0)]);
    assert!(spread(&world)[1][0].ends_with("-future"));
    // Other brokers have it: the copy is of no use.
    world.change(moved_to(&[1, 2], 1));
    assert!(
        world.partitions().directories().all()[1]
            .logs()
            .futures()
            .is_empty()
    );
    assert!(world.fatal.try_recv().is_err());
}

/// The log has no name any more, and its copy gets none: that directory has failed, and the replica with it.
#[tokio::test]
async fn a_target_that_fails_at_the_very_end_takes_the_log_along() {
    let (world, partition) = world(3);
    append(&partition, &world.image, 100);
    world.ask(1).unwrap();
    let all = world.partitions().directories().all();
    let (before, target) = (partition.located(), &all[1]);
    let in_the_way = target.path().join("orders-0");
    std::os::unix::fs::symlink("nowhere", &in_the_way).unwrap();
    assert_eq!(world.step_when_free(1), Some(Next::Over));
    assert!(target.has_failed());
    // A flush that was asked for before finds nothing wrong where it came from.
    before.log.flush().unwrap();
    assert!(!before.directory.logs().has_failed_flush() && !all[0].has_failed());
    drop(before);
    assert_eq!(place(&world, 0), 1);
    let refused = partition.append(&world.image, ACKS_ALL, batch(100));
    assert!(refused.is_err(), "{refused:?}");
    fail(&world, 1);
    assert!(world.partitions().get(TOPIC_ID, 0).is_none());
    let failed = world.partitions().failed_replicas();
    assert_eq!(failed.into_iter().collect::<Vec<_>>(), [(TOPIC_ID, 0)]);
    let left = spread(&world);
    assert!(left[0][0].ends_with("-moved"), "{left:?}");
    drop(partition);
    fs::remove_file(in_the_way).unwrap();
    let world = world.reopened().await;
    assert_eq!(place(&world, 0), 1);
    check(&world.partitions().get(TOPIC_ID, 0).unwrap(), 100);
    world.remove_all_deleted();
    assert_eq!(spread(&world), only_there(1, 3));
}

/// Its last step has a passing trouble of its own at the same time.
#[tokio::test]
async fn a_source_that_fails_does_not_take_the_target_along() {
    let (mut world, partition) = world(3);
    append(&partition, &world.image, MANY);
    world.ask(1).unwrap();
    world.step(1);
    let target = &world.partitions().directories().all()[1];
    let wanted = (world.partitions().moves()).first_to(target, &[].into());
    let wanted = wanted.unwrap();
    let located = partition.located.load_full();
    let checkpoint = "recovery-point-offset-checkpoint.tmp";
    fs::create_dir(located.directory.path().join(checkpoint)).unwrap();
    let stopped = (located.directory.logs()).reset(&located.log, 5, 0);
    assert!(stopped.is_err() && located.log.has_failed());
    for errno in [24, 28] {
        let error = MoveError::Copy(foz_log::OpenError::Storage(StorageError {
            action: "create",
            path: "orders-0".into(),
            source: std::io::Error::from_raw_os_error(errno),
        }));
        let next = (world.partitions()).move_failed(&wanted, &partition, &located, &error);
        assert_eq!(next, Next::Over, "{errno}");
        assert!(!target.has_failed(), "{errno}");
    }
    assert!(world.fatal.try_recv().is_err());
}

/// The second of two who ask at the same time is not told that it is done before anything is.
#[tokio::test]
async fn who_asks_while_a_move_is_being_cancelled_waits_for_that() {
    let (world, partition) = world(3);
    append(&partition, &world.image, MANY);
    world.ask(1).unwrap();
    world.step(1);
    let partitions = world.partitions();
    let all = partitions.directories().all();
    let wanted = partitions.moves().first_to(&all[1], &[].into()).unwrap();
    let at_a_step = wanted.state.lock();
    std::thread::scope(|scope| {
        let cancelling = scope.spawn(|| partitions.move_log(&partition, &all[0]));
        while !wanted.is_over() {
            std::thread::park_timeout(PAUSE);
        }
        let asking = scope.spawn(|| partitions.move_log(&partition, &all[2]));
        std::thread::park_timeout(Duration::from_millis(200));
        assert!(!asking.is_finished() && !cancelling.is_finished());
        drop(at_a_step);
        assert_eq!(cancelling.join().unwrap(), Ok(()));
        assert_eq!(asking.join().unwrap(), Ok(()));
    });
    assert_eq!(all[2].logs().futures().len(), 1, "a restart knows of it");
    world.finish_moving(2);
    assert_eq!(place(&world, 0), 2);
}

/// Nobody knows whether it has all that it had, and an empty log takes its place only where the quorum knows.
#[tokio::test]
async fn what_a_move_has_left_alone_is_set_aside_and_told() {
    let (world, partition) = world(2);
    append(&partition, &world.image, 10);
    drop(partition);
    let rename = |data: &Path| {
        let left = format!("orders-0.{}-moved", Uuid::from_u128(1).simple());
        let data = data.join("data-0");
        fs::rename(data.join("orders-0"), data.join(left)).unwrap();
    };
    let world = world.restart(rename).await;
    let left = spread(&world);
    assert!(left[0][0].ends_with("-stray"), "{left:?}");
    let in_doubt = world.partitions().found_in_doubt();
    let told = in_doubt.iter();
    let told: Vec<_> = told
        .map(|it| (it.name.to_string(), it.topic_id, it.is_missing))
        .collect();
    assert_eq!(told, [("orders-0".to_owned(), Some(TOPIC_ID), true)]);
}
