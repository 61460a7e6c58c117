//! What a start after a kill leaves to be flushed.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use foz_protocol::codec::Compression;
use foz_protocol::record::{BatchBuilder, RecordToWrite};
use uuid::Uuid;

use crate::burial_mark::BurialMark;
use crate::{
    CleanShutdown, FileHandles, FlushObserver, Flusher, LogConfig, LogDirectory, OpenReport,
    PageCache, PartitionLog, StorageError, TopicPartition,
};

mod behind;
mod transactions;

const NOW_MS: i64 = 1_700_000_000_000;
const TOPIC_ID: Uuid = Uuid::from_u128(7);
/// Up to here it was flushed before the kill, in the middle of a segment.
const FLUSHED: i64 = 8;
const END: i64 = 20;
const PATIENCE: Duration = Duration::from_secs(20);

/// A data directory with one log of small segments.
struct World {
    root: tempfile::TempDir,
    handles: Arc<FileHandles>,
}

/// As it is open.
struct Open {
    directory: LogDirectory,
    log: Arc<PartitionLog>,
    report: OpenReport,
}

/// Passes on what it hears: up to where it is flushed, or why not.
struct Heard(mpsc::Sender<Result<i64, String>>);

impl FlushObserver for Heard {
    fn flushed(&self, _: &Arc<PartitionLog>, flushed_offset: i64) {
        let _ = self.0.send(Ok(flushed_offset));
    }

    fn failed(&self, _: &Arc<PartitionLog>, error: &StorageError) {
        let _ = self.0.send(Err(error.to_string()));
    }
}

fn partition() -> TopicPartition {
    TopicPartition::new("orders", 0)
}

fn flusher() -> (Flusher, mpsc::Receiver<Result<i64, String>>) {
    let (heard, hears) = mpsc::channel();
    (Flusher::start(Arc::new(Heard(heard))).unwrap(), hears)
}

fn append(log: &PartitionLog, count: i64) {
    for _ in 0..count {
        let value = log.log_end_offset().to_string();
        let mut builder = BatchBuilder::new(Compression::None);
        builder.push(&RecordToWrite {
            timestamp_ms: NOW_MS,
            value: Some(value.as_bytes()),
            ..RecordToWrite::default()
        });
        let mut batch = builder.build().unwrap();
        log.append_as_leader(&mut batch, 3, NOW_MS).unwrap();
    }
}

fn copy_files(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

impl World {
    /// All committed, and flushed as far as [`FLUSHED`]; then kill -9. What the disk has of the log is in [`World::disk`].
    fn killed() -> Self {
        let world = Self {
            root: tempfile::tempdir().unwrap(),
            handles: FileHandles::new(16),
        };
        let Open { directory, log, .. } = world.open(PageCache::Survived);
        append(&log, FLUSHED);
        log.flush().unwrap();
        world.save_what_is_flushed();
        append(&log, END - FLUSHED);
        log.set_high_watermark(END);
        directory.checkpoint().unwrap();
        assert!(log.segment_count() > 4);
        drop((directory, log));
        world.handles.flushes.take();
        world
    }

    fn data(&self) -> PathBuf {
        self.root.path().join("data")
    }

    fn log_path(&self) -> PathBuf {
        self.data().join(partition().to_string())
    }

    fn disk(&self) -> PathBuf {
        self.root.path().join("disk")
    }

    fn save_what_is_flushed(&self) {
        let _ = fs::remove_dir_all(self.disk());
        copy_files(&self.log_path(), &self.disk());
    }

    /// The checkpoints stay: they were flushed when they were written.
    fn lose_power(&self) {
        fs::remove_dir_all(self.log_path()).unwrap();
        copy_files(&self.disk(), &self.log_path());
    }

    fn open(&self, page_cache: PageCache) -> Open {
        let config = LogConfig {
            segment_bytes: 250,
            index_interval_bytes: 100,
            ..LogConfig::default()
        };
        let config_of = |_: &TopicPartition, _| config.clone();
        let (data, handles) = (self.data(), &self.handles);
        let (directory, report) =
            LogDirectory::open(&data, page_cache, 1, handles, NOW_MS, &config_of, &|_| {}).unwrap();
        assert!(report.offline.is_empty(), "{report:?}");
        let log = directory.get(&partition()).unwrap_or_else(|| {
            let created = directory.create(partition(), TOPIC_ID, config.clone(), NOW_MS);
            created.unwrap()
        });
        Open {
            directory,
            log,
            report,
        }
    }

    fn recovery_point(&self) -> i64 {
        let path = self.data().join("recovery-point-offset-checkpoint");
        let text = fs::read_to_string(path).unwrap();
        text.rsplit(' ').next().unwrap().trim().parse().unwrap()
    }

    /// Of logs and indexes since the last time.
    fn flushed_files(&self) -> BTreeSet<String> {
        let paths = self.handles.flushes.take().into_iter();
        let names = paths.map(|path| path.file_name().unwrap().to_string_lossy().into_owned());
        names.collect()
    }

    fn log_files(&self) -> BTreeSet<String> {
        let entries = fs::read_dir(self.log_path()).unwrap().map(Result::unwrap);
        let names = entries.map(|it| it.file_name().into_string().unwrap());
        names.filter(|name| name.ends_with(".log")).collect()
    }
}

impl Open {
    fn assert_offsets(&self, flushed_offset: i64, log_end_offset: i64) {
        let found = (self.log.flushed_offset(), self.log.log_end_offset());
        assert_eq!(found, (flushed_offset, log_end_offset));
    }
}

#[test]
fn a_start_after_a_kill_flushes_nothing_and_says_so_until_it_is_done() {
    let world = World::killed();
    // However often.
    for _ in 0..2 {
        let open = world.open(PageCache::Survived);
        assert_eq!(world.flushed_files(), BTreeSet::new());
        open.assert_offsets(FLUSHED, END);
        assert_eq!(open.log.high_watermark(), END);
        open.directory.checkpoint().unwrap();
        assert_eq!(world.recovery_point(), FLUSHED);
    }
    let open = world.open(PageCache::Survived);
    let (flusher, hears) = flusher();
    // Whoever holds the log says so, whether anything is appended or not.
    flusher.appended(&open.log);
    assert_eq!(hears.recv_timeout(PATIENCE).unwrap(), Ok(END));
    open.assert_offsets(END, END);
    assert!(!open.log.has_backlog());
    let (flushed, logs) = (world.flushed_files(), world.log_files());
    // The first ones had been flushed before the kill.
    let unflushed: BTreeSet<_> = logs.iter().skip(2).cloned().collect();
    assert!(flushed.is_superset(&unflushed), "{flushed:?}");
    let closed = unflushed.iter().rev().skip(1);
    for index in closed.map(|log| log.replace(".log", ".index")) {
        assert!(flushed.contains(&index), "{flushed:?}");
    }
    open.directory.checkpoint().unwrap();
    assert_eq!(world.recovery_point(), END);
    // What comes then is as it always was: the active segment waits.
    append(&open.log, 1);
    flusher.appended(&open.log);
    drop((flusher, open));
    world.open(PageCache::Survived).assert_offsets(END, END + 1);
}

#[test]
fn where_the_page_cache_is_lost_the_opening_flushes() {
    let world = World::killed();
    let open = world.open(PageCache::Lost);
    open.assert_offsets(END, END);
    assert!(world.flushed_files().is_superset(&BTreeSet::from([
        "00000000000000000006.log".to_owned(),
        "00000000000000000018.log".to_owned()
    ])));
    assert!(!open.log.has_backlog());
}

/// Nothing but the flush raises what a checkpoint claims: a failure of power before it takes what it would have taken without
/// the kill, and is no damage.
#[test]
fn a_power_failure_before_the_flush_finds_what_was_flushed() {
    for appends in [0, 5] {
        let world = World::killed();
        let open = world.open(PageCache::Survived);
        while open.log.has_unchecked_batches() {
            open.log.check_next(1).unwrap();
        }
        append(&open.log, appends);
        open.log.set_high_watermark(END + appends);
        open.directory.checkpoint().unwrap();
        drop(open);
        world.lose_power();
        let open = world.open(PageCache::Lost);
        open.assert_offsets(FLUSHED, FLUSHED);
        let [lost] = &open.report.lost[..] else {
            panic!("{:?}", open.report)
        };
        // Of what the high watermark says it is known, and not of what the recovery point says.
        assert_eq!(lost.known_offset, END + appends);
        assert!(!lost.was_on_disk);
        append(&open.log, 1);
    }
}

#[test]
fn a_power_failure_after_the_flush_takes_nothing() {
    let world = World::killed();
    let open = world.open(PageCache::Survived);
    open.log.flush_backlog().unwrap();
    world.save_what_is_flushed();
    append(&open.log, 5);
    open.directory.checkpoint().unwrap();
    drop(open);
    world.lose_power();
    world.open(PageCache::Lost).assert_offsets(END, END);
}

#[test]
fn it_waits_until_it_is_released_or_the_flusher_ends() {
    for is_released in [true, false] {
        let world = World::killed();
        let open = world.open(PageCache::Survived);
        let (flusher, hears) = flusher();
        flusher.hold_backlog();
        flusher.appended(&open.log);
        let nothing = hears.recv_timeout(Duration::from_millis(300));
        assert_eq!(nothing, Err(mpsc::RecvTimeoutError::Timeout));
        // Nor was it begun.
        assert_eq!(world.flushed_files(), BTreeSet::new());
        open.assert_offsets(FLUSHED, END);
        match is_released {
            true => flusher.release_backlog(),
            false => drop(flusher),
        }
        assert_eq!(hears.recv_timeout(PATIENCE).unwrap(), Ok(END));
    }
}

#[test]
fn a_flush_that_fails_then_takes_the_log_out_of_service() {
    let world = World::killed();
    let open = world.open(PageCache::Survived);
    *world.handles.flushes.failing.lock() = Some(".log");
    let (flusher, hears) = flusher();
    flusher.appended(&open.log);
    let failed = hears.recv_timeout(PATIENCE).unwrap().unwrap_err();
    assert!(failed.contains("flush"), "{failed}");
    *world.handles.flushes.failing.lock() = None;
    assert!(open.log.has_failed_flush() && open.log.flush().is_err());
    open.assert_offsets(FLUSHED, END);
    let mark = CleanShutdown { broker_epoch: 1 };
    open.directory.close_cleanly(mark).unwrap();
    assert_eq!(world.recovery_point(), FLUSHED);
    drop((flusher, open));
    let open = world.open(PageCache::Survived);
    assert_eq!(open.report.clean_shutdown, None);
    open.assert_offsets(FLUSHED, END);
}

#[test]
fn a_clean_stop_flushes_what_is_left() {
    let world = World::killed();
    let open = world.open(PageCache::Survived);
    let mark = CleanShutdown { broker_epoch: 1 };
    open.directory.close_cleanly(mark).unwrap();
    assert_eq!(world.recovery_point(), END);
    let (flushed, logs) = (world.flushed_files(), world.log_files());
    assert!(logs.iter().skip(2).all(|log| flushed.contains(log)));
    drop(open);
    world.save_what_is_flushed();
    world.lose_power();
    let open = world.open(PageCache::Lost);
    assert_eq!(open.report.clean_shutdown, Some(mark));
    open.assert_offsets(END, END);
    assert_eq!(open.report.lost, []);
}

/// What is cut off is not waited for, and what begins anew has nothing of it.
#[test]
fn a_cut_leaves_less_to_flush() {
    for (cut_to, flushed, is_due) in [(FLUSHED - 3, FLUSHED - 3, false), (END - 3, FLUSHED, true)] {
        let world = World::killed();
        let open = world.open(PageCache::Survived);
        open.directory.truncate(&open.log, cut_to, NOW_MS).unwrap();
        open.assert_offsets(flushed, cut_to);
        assert_eq!(open.log.has_backlog(), is_due);
        append(&open.log, 1);
        open.log.flush_backlog().unwrap();
        let end = if is_due { cut_to + 1 } else { flushed };
        open.assert_offsets(end, cut_to + 1);
    }
    for offset in [2, 100] {
        let world = World::killed();
        let open = world.open(PageCache::Survived);
        open.directory.reset(&open.log, offset, NOW_MS).unwrap();
        open.assert_offsets(offset, offset);
        assert!(!open.log.has_backlog());
    }
}

/// Its mark says what is flushed, so that is done first.
#[test]
fn a_log_that_is_buried_is_flushed() {
    let world = World::killed();
    let open = world.open(PageCache::Survived);
    assert!(open.directory.bury(&partition(), TOPIC_ID, NOW_MS));
    assert!(open.directory.finish_burials().is_empty());
    assert!(world.flushed_files().contains("00000000000000000018.log"));
    let back = (open.directory).unbury(TOPIC_ID, &partition(), LogConfig::default(), NOW_MS);
    let (log, _) = back.unwrap().unwrap();
    assert_eq!((log.flushed_offset(), log.log_end_offset()), (END, END));
}

/// So is one whose mark is not that of a clean close, before it is in service: nothing of it is to become a torn tail.
#[test]
fn a_log_that_is_brought_back_is_flushed_at_once() {
    for failing in [None, Some(".log")] {
        let world = World::killed();
        let open = world.open(PageCache::Survived);
        assert!(open.directory.bury(&partition(), TOPIC_ID, NOW_MS));
        assert!(open.directory.finish_burials().is_empty());
        let entries = fs::read_dir(world.data()).unwrap().map(Result::unwrap);
        let mut buried = entries.map(|it| it.path()).filter(|it| it.is_dir());
        let buried = buried.find(|it| BurialMark::exists(it)).unwrap();
        let mark = BurialMark {
            is_clean: false,
            recovery_point: FLUSHED,
            ..BurialMark::read(&buried).unwrap().unwrap()
        };
        mark.write(&buried).unwrap();
        world.flushed_files();
        *world.handles.flushes.failing.lock() = failing;
        let back = (open.directory).unbury(TOPIC_ID, &partition(), LogConfig::default(), NOW_MS);
        if failing.is_some() {
            back.unwrap_err();
            assert!(open.directory.is_offline(&partition()));
            assert!(open.directory.get(&partition()).is_none());
            continue;
        }
        let (log, _) = back.unwrap().unwrap();
        assert!(world.flushed_files().contains("00000000000000000018.log"));
        assert_eq!((log.flushed_offset(), log.log_end_offset()), (END, END));
    }
}

/// No later recovery would look at what lies before the recovery point, so the indexes that were made anew there do not wait.
#[test]
fn what_no_later_flush_would_take_along_is_flushed_at_once() {
    let world = World::killed();
    let epochs = world.log_path().join("leader-epoch-checkpoint");
    fs::remove_file(&epochs).unwrap();
    let open = world.open(PageCache::Survived);
    open.assert_offsets(FLUSHED, END);
    let logs = world.log_files();
    let before = logs
        .iter()
        .take(2)
        .flat_map(|log| [".log", ".index", ".timeindex"].map(|suffix| log.replace(".log", suffix)));
    assert_eq!(world.flushed_files(), before.collect());
    assert!(fs::read_to_string(epochs).unwrap().ends_with("\n3 0\n"));
}

/// Nor those of a segment that is not even walked.
#[test]
fn an_index_that_was_missing_is_flushed_at_once() {
    let world = World::killed();
    let index = "00000000000000000000.index";
    fs::remove_file(world.log_path().join(index)).unwrap();
    let open = world.open(PageCache::Survived);
    open.assert_offsets(FLUSHED, END);
    assert!(world.log_path().join(index).exists());
    let flushed = world.flushed_files();
    assert!(flushed.contains(index), "{flushed:?}");
    assert!(!flushed.iter().any(|file| file.ends_with(".log")));
}

/// The process before has removed segments, and nobody has flushed that.
#[test]
fn where_the_log_starts_is_not_promised_before_it_is_written_down() {
    let world = World::killed();
    let open = world.open(PageCache::Survived);
    open.log.advance_log_start_offset(FLUSHED).unwrap();
    assert!(open.log.apply_retention(NOW_MS).unwrap() > 0);
    let start = open.log.first_base_offset();
    assert!(start > 0);
    drop(open);
    let open = world.open(PageCache::Survived);
    let starts = || {
        (
            open.log.log_start_offset(),
            open.log.durable_log_start_offset(),
        )
    };
    assert_eq!(starts(), (start, 0));
    open.directory.checkpoint().unwrap();
    assert_eq!(starts(), (start, start));
}
