//! Another program fills the disk to its last byte, at any moment and for as long as it likes: what was appended is
//! there, what was refused is not, and everything goes on once there is room. Needs root, for a small tmpfs.

use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use foz_log::{
    CleanShutdown, FlushObserver, Flusher, LogConfig, LogDirectory, OpenError, PageCache,
    PartitionLog, StorageError, TopicPartition,
};

use crate::small_disk::{Disk, is_whole, no_room_once, value};
use crate::support::{
    NOW_MS, TOPIC_ID, World, append, batch, batch_at, files, partition, read_from, small_segments,
};

const CHECKPOINT: &str = "recovery-point-offset-checkpoint";
/// The longest that a flush may take to be tried again.
const PATIENCE: Duration = Duration::from_secs(30);

struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005);
        self.0 = self.0.wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

struct Walk {
    disk: Disk,
    opened: Option<(LogDirectory, Arc<PartitionLog>)>,
    start: i64,
    end: i64,
    is_full: bool,
    refused: usize,
}

impl Walk {
    fn new() -> Self {
        let disk = Disk::new(small_segments(9_000));
        let opened = Some(disk.world.log());
        Self {
            disk,
            opened,
            start: 0,
            end: 0,
            is_full: false,
            refused: 0,
        }
    }

    fn log(&self) -> (&LogDirectory, &PartitionLog) {
        let (directory, log) = self.opened.as_ref().expect("it is open");
        (directory, log)
    }

    /// Whatever is refused is refused for want of room.
    fn short(&mut self, is_shortage: bool, why: &str) {
        assert!(self.is_full && is_shortage, "{why}");
        self.refused += 1;
    }

    fn append(&mut self) {
        let (_, log) = self.log();
        let mut bytes = batch(&[&value(self.end)]);
        match log.append_as_leader(&mut bytes, 0, NOW_MS) {
            Ok(appended) => {
                assert_eq!(appended.first_offset, self.end);
                self.end += 1;
            }
            Err(error) => {
                let waits = matches!(error, foz_log::AppendError::Unusable(..));
                self.short(error.is_shortage() || waits, &error.to_string());
            }
        }
    }

    fn flush(&mut self) {
        let flushed = self.log().1.flush();
        if let Err(error) = flushed {
            self.short(error.is_shortage(), &error.to_string());
        }
        assert!(!self.log().1.has_failed(), "nothing is in doubt");
    }

    fn checkpoint(&mut self) {
        if let Err(error) = self.log().0.checkpoint() {
            self.short(error.is_shortage(), &error.to_string());
        }
    }

    fn truncate(&mut self, random: &mut Random) {
        let to = self.start + random.below((self.end - self.start + 1) as u64) as i64;
        let (directory, log) = self.log();
        match directory.truncate(log, to, NOW_MS) {
            Ok(()) => self.end = to,
            Err(error) => self.change_refused(&error),
        }
    }

    fn reset(&mut self, random: &mut Random) {
        let to = self.end + random.below(5) as i64;
        let (directory, log) = self.log();
        match directory.reset(log, to, NOW_MS) {
            Ok(()) => (self.start, self.end) = (to, to),
            Err(error) => self.change_refused(&error),
        }
    }

    fn change_refused(&mut self, error: &OpenError) {
        let waits = matches!(error, OpenError::Unusable(..));
        self.short(error.is_shortage() || waits, &error.to_string());
        assert!(!self.log().1.has_failed(), "{error}");
    }

    fn stop(&mut self, cleanly: bool) {
        let (directory, log) = self.opened.take().expect("it is open");
        drop(log);
        if cleanly {
            let closed = directory.close_cleanly(CleanShutdown { broker_epoch: 1 });
            if let Err(error) = closed {
                self.short(error.is_shortage(), &error.to_string());
            }
            let doubts = directory.logs().iter().any(|log| log.has_failed_flush());
            assert!(!doubts, "a close without room puts nothing in doubt");
        }
        drop(directory);
        let (directory, report) = self.disk.world.open_after(PageCache::Survived);
        assert!(report.offline.is_empty(), "{:?}", report.offline);
        assert!(report.lost.is_empty(), "{:?}", report.lost);
        let log = directory.get(&partition()).expect("it was there");
        self.opened = Some((directory, log));
    }

    fn step(&mut self, random: &mut Random) -> u64 {
        let step = random.below(20);
        match step {
            0..9 => self.append(),
            9..11 => self.flush(),
            11 => self.checkpoint(),
            12 => self.truncate(random),
            13 => self.reset(random),
            14 => self.stop(true),
            15 => self.stop(false),
            16 | 17 => {
                self.disk.fill();
                self.is_full = true;
            }
            _ => {
                self.disk.free();
                self.is_full = false;
            }
        }
        step
    }
}

#[test]
fn a_disk_that_is_full_now_and_then_loses_nothing_and_stops_nothing() {
    let mut refused = 0;
    for seed in 0..60 {
        let mut random = Random(seed);
        let mut walk = Walk::new();
        let mut steps = Vec::new();
        for _ in 0..120 {
            steps.push(walk.step(&mut random));
            let why = format!("seed {seed}, steps {steps:?}");
            is_whole(walk.log().1, walk.start, walk.end, &why);
        }
        // There is room again: everything goes on, the next time it is asked.
        walk.disk.free();
        walk.is_full = false;
        walk.checkpoint();
        for _ in 0..30 {
            walk.append();
        }
        walk.flush();
        let (directory, log) = walk.log();
        assert_eq!(log.flushed_offset(), walk.end);
        directory.checkpoint().unwrap();
        assert_eq!(files(&walk.disk.world.partition_dir(), ".tmp"), [""; 0]);
        walk.stop(true);
        is_whole(walk.log().1, walk.start, walk.end, "at the end");
        refused += walk.refused;
    }
    assert!(refused > 500, "{refused}");
}

/// Retention goes by the greatest timestamp of a segment, and after a start that is only in its index.
#[test]
fn a_roll_that_is_refused_keeps_the_greatest_timestamp() {
    let disk = Disk::new(small_segments(9_000));
    let (directory, log) = disk.world.log();
    while log.segment_count() == 1 && log.log_end_offset() < 11 {
        append(&log, batch(&[&value(log.log_end_offset())]));
    }
    // The active segment is nearly full; with the next one it rolls.
    disk.fill();
    let mut refused = 0;
    for _ in 0..20 {
        let mut bytes = batch(&[&value(0)]);
        refused += usize::from(log.append_as_leader(&mut bytes, 0, NOW_MS).is_err());
    }
    assert!(refused > 0);
    disk.free();
    while log.segment_count() == 1 {
        append(&log, batch(&[&value(log.log_end_offset())]));
    }
    log.flush().unwrap();
    World::stop(directory, log);
    let path = disk
        .world
        .partition_dir()
        .join("00000000000000000000.timeindex");
    let times = std::fs::read(path).unwrap();
    let last = times.len() - 12;
    assert_eq!(times[last..last + 8], NOW_MS.to_be_bytes());
}

/// How often there was no room, and up to where all is flushed.
#[derive(Default)]
struct Heard {
    said: Mutex<(usize, i64)>,
    changed: Condvar,
}

impl Heard {
    fn hear(&self, change: impl FnOnce(&mut (usize, i64))) {
        change(&mut self.said.lock().unwrap());
        self.changed.notify_all();
    }

    fn wait(&self, until: impl Fn(&(usize, i64)) -> bool) {
        let mut said = self.said.lock().unwrap();
        while !until(&said) {
            let waited = self.changed.wait_timeout(said, PATIENCE).unwrap();
            assert!(!waited.1.timed_out(), "still {:?}", waited.0);
            said = waited.0;
        }
    }
}

impl FlushObserver for Heard {
    fn flushed(&self, _: &Arc<PartitionLog>, flushed_offset: i64) {
        self.hear(|said| said.1 = said.1.max(flushed_offset));
    }

    fn failed(&self, _: &Arc<PartitionLog>, error: &StorageError) {
        panic!("no flush failed: {error}");
    }

    fn short(&self, _: &Arc<PartitionLog>, error: &StorageError) {
        assert!(error.is_shortage(), "{error}");
        self.hear(|said| said.0 += 1);
    }
}

/// Who acknowledges from the disk waits, and hears of it when there is room.
#[test]
fn a_flush_without_room_is_tried_again() {
    let disk = Disk::new(small_segments(9_000));
    let (directory, log) = disk.world.log();
    let heard = Arc::new(Heard::default());
    let flusher = Flusher::start(heard.clone()).unwrap();
    // Closed segments are flushed with the epochs, which take a file.
    while log.segment_count() < 3 {
        append(&log, batch(&[&value(log.log_end_offset())]));
    }
    disk.fill();
    flusher.request(&log);
    heard.wait(|(shortages, _)| *shortages > 0);
    assert!(log.flushed_offset() < log.log_end_offset());
    disk.free();
    heard.wait(|(_, flushed)| *flushed == log.log_end_offset());
    assert!(!log.has_failed());
    drop(flusher);
    World::stop(directory, log);
}

/// Nobody waits for closed segments, and what is behind them is not flushed for their sake.
#[test]
fn a_flush_of_closed_segments_without_room_is_tried_again_as_such() {
    let disk = Disk::new(small_segments(9_000));
    let (directory, log) = disk.world.log();
    let heard = Arc::new(Heard::default());
    let flusher = Flusher::start(heard.clone()).unwrap();
    while log.segment_count() < 3 {
        append(&log, batch(&[&value(log.log_end_offset())]));
    }
    let active_offset = log.log_end_offset() - 1;
    disk.fill();
    flusher.appended(&log);
    heard.wait(|(shortages, _)| *shortages > 1);
    assert_eq!(log.flushed_offset(), 0);
    disk.free();
    heard.wait(|(_, flushed)| *flushed == active_offset);
    assert_eq!(log.flushed_offset(), active_offset);
    // Nor does the end wait for room.
    disk.fill();
    for _ in 0..20 {
        let _ = log.append_as_leader(&mut batch(&[&value(0)]), 0, NOW_MS);
    }
    flusher.appended(&log);
    drop(flusher);
    disk.free();
    World::stop(directory, log);
}

#[test]
fn a_partition_that_had_no_room_is_made_later() {
    let disk = Disk::new(small_segments(9_000));
    let (directory, _) = disk.world.open();
    disk.fill();
    let create = || directory.create(partition(), TOPIC_ID, disk.world.config.clone(), NOW_MS);
    assert!(create().unwrap_err().is_shortage());
    assert!(create().unwrap_err().is_shortage());
    disk.free();
    append(&create().unwrap(), batch(&[b"a"]));
}

/// Each file takes room even when it is empty. Indexes are hints: the log is what it was without them, and gets them
/// when there is room.
#[test]
fn a_log_without_room_for_its_indexes_is_searched_and_goes_on() {
    let disk = Disk::with(small_segments(9_000), c"size=512k,nr_inodes=64");
    let (directory, log) = disk.world.log();
    while log.segment_count() < 3 {
        let number = log.log_end_offset();
        append(&log, batch_at(&[&value(number)], NOW_MS + number));
    }
    let (end, base) = (log.log_end_offset(), log.log_end_offset() - 1);
    append(&log, batch_at(&[&value(end)], NOW_MS + end));
    drop((directory, log));
    for suffix in ["index", "timeindex"] {
        for name in files(&disk.world.partition_dir(), &format!(".{suffix}")) {
            std::fs::remove_file(disk.world.partition_dir().join(name)).unwrap();
        }
    }
    disk.fill_with_files();

    let (directory, report) = disk.world.open_after(PageCache::Survived);
    assert!(report.offline.is_empty(), "{:?}", report.offline);
    assert_eq!(files(&disk.world.partition_dir(), ".timeindex"), [""; 0]);
    let log = directory.get(&partition()).unwrap();
    for number in [0, 1, base - 1, base, end] {
        let found = log.offset_for_timestamp(NOW_MS + number, i64::MAX).unwrap();
        assert_eq!(found.map(|it| it.offset), Some(number));
    }
    let newest = log.offset_of_max_timestamp(i64::MAX).unwrap();
    assert_eq!(newest.map(|it| it.offset), Some(end));
    append(&log, batch_at(&[&value(end + 1)], NOW_MS + end + 1));

    disk.free();
    let before = log.segment_count();
    while log.segment_count() == before {
        let number = log.log_end_offset();
        append(&log, batch_at(&[&value(number)], NOW_MS + number));
    }
    log.flush().unwrap();
    is_whole(&log, 0, log.log_end_offset(), "it goes on");
    World::stop(directory, log);
}

/// Nobody knows whether the mark is gone: if it came back it would take away what was appended.
#[test]
fn a_reset_whose_mark_may_come_back_takes_no_records() {
    let world = World::new(LogConfig::default());
    let (directory, log) = world.log();
    append(&log, batch(&[b"a"]));
    log.flush().unwrap();
    directory.checkpoint().unwrap();
    no_room_once(&world, CHECKPOINT);
    directory.reset(&log, 5, NOW_MS).unwrap();
    let refused = || {
        log.append_as_leader(&mut batch(&[b"b"]), 0, NOW_MS)
            .is_err()
    };
    assert!(refused() && !log.has_failed(), "it waits");

    let elsewhere = world.data().join("elsewhere");
    std::fs::rename(world.partition_dir(), &elsewhere).unwrap();
    let failed = directory.checkpoint().unwrap_err();
    assert!(failed.is_failed_flush(), "{failed}");
    std::fs::rename(&elsewhere, world.partition_dir()).unwrap();
    for _ in 0..2 {
        let _ = directory.checkpoint();
        assert!(refused() && log.has_failed_flush());
    }
}

/// Another log's flush is not to blame, and whoever looks after the checkpoints hears of it.
#[test]
fn a_reset_is_finished_by_nobody_else() {
    let world = World::new(LogConfig::default());
    let (directory, log) = world.log();
    let name = TopicPartition::new("orders", 1);
    let other = directory.create(name, TOPIC_ID, world.config.clone(), NOW_MS);
    let other = other.unwrap();
    for _ in 0..3 {
        append(&other, batch(&[b"a"]));
    }
    other.flush().unwrap();
    directory.checkpoint().unwrap();
    no_room_once(&world, CHECKPOINT);
    directory.reset(&log, 5, NOW_MS).unwrap();
    let elsewhere = world.data().join("elsewhere");
    std::fs::rename(world.partition_dir(), &elsewhere).unwrap();
    directory.truncate(&other, 1, NOW_MS).unwrap();
    assert!(!log.has_failed() && !other.has_failed());
    std::fs::rename(&elsewhere, world.partition_dir()).unwrap();
    directory.checkpoint().unwrap();
    append(&log, batch(&[b"b"]));
}

/// What is cut off goes by what is on the disk.
#[test]
fn a_checkpoint_that_has_room_for_some_of_its_files_is_known_as_it_is() {
    let world = World::new(LogConfig::default());
    let (directory, log) = world.log();
    let append_to = |end| {
        while log.log_end_offset() < end {
            append(&log, batch(&[&value(log.log_end_offset())]));
        }
        log.flush().unwrap();
        log.set_high_watermark(end);
    };
    append_to(10);
    directory.checkpoint().unwrap();
    append_to(20);
    // The third of four.
    no_room_once(&world, "replication-offset-checkpoint");
    assert!(directory.checkpoint().unwrap_err().is_shortage());
    directory.truncate(&log, 12, NOW_MS).unwrap();
    drop((directory, log));
    let (directory, report) = world.open_after(PageCache::Survived);
    assert!(report.offline.is_empty(), "{:?}", report.offline);
    assert!(report.lost.is_empty(), "{:?}", report.lost);
    is_whole(&directory.get(&partition()).unwrap(), 0, 12, "it was cut");
}

/// What has no room is not damaged.
#[test]
fn a_log_that_cannot_be_opened_for_want_of_room_is_opened_later() {
    let disk = Disk::with(LogConfig::default(), c"size=512k,nr_inodes=64");
    let (directory, log) = disk.world.log();
    append(&log, batch(&[b"a"]));
    log.flush().unwrap();
    directory.checkpoint().unwrap();
    no_room_once(&disk.world, CHECKPOINT);
    directory.reset(&log, 5, NOW_MS).unwrap();
    drop((directory, log));
    // A crash in the middle of the reset, which is carried out by the start: nothing that it could remove for room.
    for suffix in [".log", ".index", ".timeindex", "leader-epoch-checkpoint"] {
        for name in files(&disk.world.partition_dir(), suffix) {
            std::fs::remove_file(disk.world.partition_dir().join(name)).unwrap();
        }
    }
    disk.fill_with_files();
    let refused = disk.world.try_open(PageCache::Survived).unwrap_err();
    assert!(refused.is_shortage(), "{refused}");
    disk.free();
    let (_directory, log) = disk.world.log();
    assert_eq!((log.log_start_offset(), log.log_end_offset()), (5, 5));
    append(&log, batch(&[b"b"]));
}

/// Each waits for the checkpoints, and all go on with the same.
#[test]
fn several_resets_without_room_are_finished_together() {
    for crashes in [false, true] {
        let world = World::new(LogConfig::default());
        let (directory, first) = world.log();
        let name = TopicPartition::new("orders", 1);
        let second = directory.create(name.clone(), TOPIC_ID, world.config.clone(), NOW_MS);
        let second = second.unwrap();
        for log in [&first, &second] {
            append(log, batch(&[b"a"]));
            log.flush().unwrap();
        }
        directory.checkpoint().unwrap();
        for (log, offset) in [(&first, 5), (&second, 7)] {
            no_room_once(&world, CHECKPOINT);
            directory.reset(log, offset, NOW_MS).unwrap();
        }
        for log in [&first, &second] {
            assert!(
                log.append_as_leader(&mut batch(&[b"b"]), 0, NOW_MS)
                    .is_err()
            );
            assert!(!log.has_failed());
        }
        let (directory, logs) = if crashes {
            drop((directory, first, second));
            let (directory, report) = world.open();
            assert!(report.lost.is_empty(), "{report:?}");
            let logs = [partition(), name.clone()].map(|it| directory.get(&it).unwrap());
            (directory, logs)
        } else {
            directory.checkpoint().unwrap();
            (directory, [first, second])
        };
        for (log, offset) in logs.iter().zip([5, 7]) {
            append(log, batch(&[b"b"]));
            log.flush().unwrap();
            let found = (log.log_start_offset(), log.log_end_offset());
            assert_eq!(found, (offset, offset + 1));
        }
        drop((directory, logs));
        let (directory, report) = world.open();
        assert!(report.findings.is_empty(), "{report:?}");
        for (name, offset) in [(partition(), 5), (name, 7)] {
            let log = directory.get(&name).unwrap();
            assert_eq!(read_from(&log, offset), [(offset, b"b".to_vec())]);
        }
    }
}
