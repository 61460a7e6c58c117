use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use foz_log::{
    CleanShutdown, FileHandles, Finished, LogConfig, LogDirectory, LogMove, MoveAct, MoveError,
    MoveProgress, OpenReport, PageCache, PartitionLog, ReadError, Seen, TopicPartition,
    finish_moves,
};
use uuid::Uuid;

use crate::burying::without_room;
use crate::move_compaction::LIMITS;
use crate::support::*;

/// Two data directories of a broker.
pub(crate) struct Disks {
    root: tempfile::TempDir,
    handles: Arc<FileHandles>,
    pub(crate) config: LogConfig,
}

pub(crate) type Opened = (Vec<LogDirectory>, Vec<OpenReport>);

impl Disks {
    pub(crate) fn new(config: LogConfig) -> Self {
        Self {
            // In memory where that can be: thousands of flushes are no test of a disk.
            root: tempfile::tempdir_in("/dev/shm").unwrap_or_else(|_| tempfile::tempdir().unwrap()),
            handles: FileHandles::new(64),
            config,
        }
    }

    pub(crate) fn paths(&self) -> Vec<PathBuf> {
        ["a", "b"].map(|name| self.root.path().join(name)).to_vec()
    }

    pub(crate) fn open(&self, page_cache: PageCache) -> Opened {
        finish_moves(&self.paths(), true).unwrap();
        let open = |path: PathBuf| self.open_directory(&path, page_cache);
        self.paths().into_iter().map(open).unzip()
    }

    /// The other one cannot be used.
    pub(crate) fn open_one(
        &self,
        path: &PathBuf,
        page_cache: PageCache,
    ) -> (LogDirectory, OpenReport) {
        finish_moves(std::slice::from_ref(path), false).unwrap();
        self.open_directory(path, page_cache)
    }

    fn open_directory(&self, path: &Path, page_cache: PageCache) -> (LogDirectory, OpenReport) {
        let config_of = |_: &TopicPartition, _| self.config.clone();
        let handles = &self.handles;
        LogDirectory::open(path, page_cache, 1, handles, NOW_MS, &config_of, &|_| {}).unwrap()
    }

    pub(crate) fn start(&self) -> (Vec<LogDirectory>, Arc<PartitionLog>) {
        let (directories, _) = self.open(PageCache::Lost);
        let log = directories[0].create(partition(), TOPIC_ID, self.config.clone(), NOW_MS);
        (directories, log.unwrap())
    }
}

pub(crate) fn copy_all(target: &LogDirectory, it: &LogMove) {
    for _ in 0..10_000 {
        let Seen {
            is_cut,
            is_unchecked,
            ..
        } = it.seen(true).unwrap();
        if is_unchecked {
            it.check(target, 400, NOW_MS).unwrap();
            continue;
        }
        if !is_cut && it.future().log_end_offset() == it.source().log_end_offset() {
            return;
        }
        it.copy(target, 400, NOW_MS).unwrap();
    }
    panic!("the copy does not come to the end of its log");
}

pub(crate) fn finish(
    source: &LogDirectory,
    target: &LogDirectory,
    it: &LogMove,
) -> Arc<PartitionLog> {
    for _ in 0..5 {
        copy_all(target, it);
        if let Finished::Moved(log) = source.finish_move(target, it, NOW_MS, |_| {}).unwrap() {
            return log;
        }
    }
    panic!("the move does not end");
}

pub(crate) fn finished(
    source: &LogDirectory,
    target: &LogDirectory,
    it: &LogMove,
) -> Arc<PartitionLog> {
    match source.finish_move(target, it, NOW_MS, |_| {}).unwrap() {
        Finished::Moved(log) => log,
        Finished::NotYet(why) => panic!("{why}"),
    }
}

fn names(directory: &LogDirectory) -> Vec<String> {
    let mut names = files(directory.path(), "");
    names.retain(|name| directory.path().join(name).is_dir());
    names
}

#[test]
fn a_log_moves_and_is_the_same_in_the_other_directory() {
    let disks = Disks::new(small_segments(500));
    let (directories, log) = disks.start();
    let [a, b] = &directories[..] else { panic!() };
    append_numbers(&log, 30);
    log.set_high_watermark(25);
    log.advance_log_start_offset(7).unwrap();
    let it = b.begin_move(&log, NOW_MS).unwrap();
    let mut progress = MoveProgress::default();
    let moved = loop {
        match progress.next(it.seen(true).unwrap()) {
            MoveAct::Cut => it.follow_cuts(b, NOW_MS).unwrap(),
            MoveAct::Check => panic!("there was no crash"),
            MoveAct::Copy => drop(it.copy(b, 300, NOW_MS).unwrap()),
            MoveAct::Flush => it.flush().unwrap(),
            MoveAct::Wait => panic!("nothing is to be waited for"),
            MoveAct::Swap => break finished(a, b, &it),
        }
    };
    assert_numbers(&moved, 7, 30);
    assert_eq!((moved.flushed_offset(), moved.high_watermark()), (30, 25));
    assert!(a.get(&partition()).is_none() && b.futures().is_empty());
    assert!(Arc::ptr_eq(&b.get(&partition()).unwrap(), &moved));
    assert_eq!(moved.directory(), b.path().join("orders-0"));
    let error = log.read(7, 100, 30, true).unwrap_err();
    assert!(matches!(error, ReadError::Unusable(..)), "{error}");
    // Whoever waits for it to be flushed where it was is not told less than is true.
    assert_eq!((log.flush().unwrap(), log.flushed_offset()), (30, 30));
    assert!(matches!(it.seen(true).unwrap_err(), MoveError::Over(..)));
    append_numbers(&moved, 5);
    assert!(a.remove_deleted(&|| true).unwrap());
    a.checkpoint().unwrap();
    assert_eq!((names(a), names(b)), (vec![], vec!["orders-0".to_owned()]));
    drop((it, log, moved));
    for directory in &directories {
        directory
            .close_cleanly(CleanShutdown { broker_epoch: 1 })
            .unwrap();
    }
    drop(directories);
    let (directories, reports) = disks.open(PageCache::Lost);
    assert!(
        reports
            .iter()
            .all(|it| it.clean_shutdown.is_some() && it.lost.is_empty())
    );
    assert_numbers(&directories[1].get(&partition()).unwrap(), 7, 35);
}

/// The records before it were deleted, and the batch that holds them is there.
#[test]
fn a_log_that_starts_within_a_batch_moves_at_once() {
    for copies_first in [false, true] {
        let disks = Disks::new(LogConfig::default());
        let (directories, log) = disks.start();
        let [a, b] = &directories[..] else { panic!() };
        append(&log, batch(&[b"0", b"1", b"2", b"3"]));
        append_numbers(&log, 3);
        log.set_high_watermark(7);
        log.advance_log_start_offset(2).unwrap();
        let it = b.begin_move(&log, NOW_MS).unwrap();
        let mut progress = MoveProgress::default();
        assert_eq!(progress.next(it.seen(true).unwrap()), MoveAct::Cut);
        it.follow_cuts(b, NOW_MS).unwrap();
        if copies_first {
            it.copy(b, 100, NOW_MS).unwrap();
        }
        assert_eq!(progress.next(it.seen(true).unwrap()), MoveAct::Swap);
        assert_numbers(&finished(a, b, &it), 2, 7);
    }
}

#[test]
fn an_empty_log_moves_and_the_longest_name_too() {
    for (name, start) in [
        (partition(), 0),
        (TopicPartition::new("t".repeat(249), 12345), 40),
    ] {
        let disks = Disks::new(LogConfig::default());
        let (directories, _) = disks.open(PageCache::Lost);
        let [a, b] = &directories[..] else { panic!() };
        let log = a
            .create(name.clone(), TOPIC_ID, disks.config.clone(), NOW_MS)
            .unwrap();
        a.reset(&log, start, NOW_MS).unwrap();
        let it = b.begin_move(&log, NOW_MS).unwrap();
        it.copy(b, 100, NOW_MS).unwrap();
        drop((it, log, directories));
        let (directories, reports) = disks.open(PageCache::Lost);
        assert!(reports.iter().all(|it| it.lost.is_empty()), "{reports:?}");
        let [a, b] = &directories[..] else { panic!() };
        assert_eq!(b.futures()[0].partition(), &name);
        let log = a.get(&name).unwrap();
        let it = b.begin_move(&log, NOW_MS).unwrap();
        let moved = finish(a, b, &it);
        assert_eq!(
            (moved.log_start_offset(), moved.log_end_offset()),
            (start, start)
        );
        append_numbers(&moved, 3);
        a.checkpoint().unwrap();
        drop((it, log, moved, directories));
        let (directories, reports) = disks.open(PageCache::Survived);
        assert!(reports.iter().all(|it| it.lost.is_empty()), "{reports:?}");
        assert_numbers(&directories[1].get(&name).unwrap(), start, start + 3);
    }
}

#[test]
fn nothing_is_copied_from_a_damaged_batch_on() {
    // In a closed segment, and in what is appended to.
    for (segment_bytes, chunk_bytes, copied) in [(500, 100, 3), (100_000, 1_000, 0)] {
        let at = 3;
        let disks = Disks::new(small_segments(segment_bytes));
        let (directories, log) = disks.start();
        let [a, b] = &directories[..] else { panic!() };
        append_numbers(&log, 30);
        let path = log.directory().join("00000000000000000000.log");
        let mut bytes = std::fs::read(&path).unwrap();
        let batches: Vec<usize> = foz_protocol::batch::Batches::new(&bytes)
            .map_while(|it| Some(it.ok()?.1.len()))
            .collect();
        let position: usize = batches[..at].iter().sum();
        bytes[position + batches[at] - 2] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        let it = b.begin_move(&log, NOW_MS).unwrap();
        let error = (0..30)
            .find_map(|_| it.copy(b, chunk_bytes, NOW_MS).err())
            .unwrap();
        assert!(
            matches!(error, MoveError::Damaged { offset: 3, .. }),
            "{error}"
        );
        assert!(error.to_string().contains("CRC-32C"), "{error}");
        assert_eq!(it.future().log_end_offset(), copied);
        let error = a
            .finish_move(b, &it, NOW_MS, |_| panic!("moved"))
            .unwrap_err();
        assert!(
            matches!(error, MoveError::Damaged { offset: 3, .. }),
            "{error}"
        );
        assert!(!log.has_failed() && a.get(&partition()).is_some());
        // It is mended, and goes on.
        a.quarantine(&log, 3, NOW_MS).unwrap();
        append_numbers(&log, 4);
        let moved = finish(a, b, &it);
        assert_numbers(&moved, 0, 7);
    }
}

#[test]
fn readers_wait_for_the_end_of_a_move_and_see_no_error_but_that_it_is_over() {
    let disks = Disks::new(small_segments(2_000));
    let (directories, log) = disks.start();
    let [a, b] = &directories[..] else { panic!() };
    append_numbers(&log, 200);
    let it = b.begin_move(&log, NOW_MS).unwrap();
    copy_all(b, &it);
    let (is_published, is_over) = (AtomicBool::new(false), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let readers = (0..3).map(|n| {
            let (log, is_published, is_over) = (&log, &is_published, &is_over);
            let handles = &disks.handles;
            scope.spawn(move || {
                let mut offset = n * 50;
                while !is_over.load(Ordering::Acquire) {
                    // What is closed is opened by its name.
                    handles.close_idle();
                    match log.read(offset, 100, 200, true) {
                        Ok(bytes) => assert!(!bytes.is_empty()),
                        Err(ReadError::Unusable(..)) => {
                            assert!(
                                is_published.load(Ordering::Acquire),
                                "nobody knows where it is"
                            );
                            return;
                        }
                        Err(error) => panic!("{error}"),
                    }
                    offset = (offset + 7) % 200;
                }
            })
        });
        let readers: Vec<_> = readers.collect();
        let publish = |moved: &Arc<PartitionLog>| {
            assert_numbers(moved, 0, 200);
            is_published.store(true, Ordering::Release);
        };
        let finished = a.finish_move(b, &it, NOW_MS, publish).unwrap();
        assert!(matches!(finished, Finished::Moved(_)));
        readers.into_iter().for_each(|it| it.join().unwrap());
        is_over.store(true, Ordering::Release);
    });
}

#[test]
fn what_the_log_knows_beside_its_batches_moves_with_it() {
    let disks = Disks::new(small_segments(300));
    let (directories, log) = disks.start();
    let [a, b] = &directories[..] else { panic!() };
    // A producer of which no batch is left, and a leader that wrote nothing.
    append(&log, idempotent(5, 0, 0, &[b"gone"]));
    append_numbers(&log, 20);
    log.set_high_watermark(20);
    log.advance_log_start_offset(15).unwrap();
    log.apply_retention(NOW_MS).unwrap();
    assert!(log.read(0, 1, 20, true).is_err());
    log.assign_leader_epoch(4, NOW_MS);
    let it = b.begin_move(&log, NOW_MS).unwrap();
    let moved = finish(a, b, &it);
    assert_numbers(&moved, 15, 21);
    assert_eq!(moved.latest_epoch(), Some(4));
    assert_eq!(moved.end_offset_for_epoch(4), Some((4, 21)));
    let mut again = idempotent(5, 0, 0, &[b"gone"]);
    let appended = moved.append_as_leader(&mut again, 4, NOW_MS).unwrap();
    assert_eq!((appended.duplicate, appended.first_offset), (true, 0));
    assert_eq!(moved.durable_log_start_offset(), 15);
}

#[test]
fn a_move_is_given_up_or_begins_anew() {
    let disks = Disks::new(small_segments(300));
    let (directories, log) = disks.start();
    let [a, b] = &directories[..] else { panic!() };
    append_numbers(&log, 20);
    let it = b.begin_move(&log, NOW_MS).unwrap();
    copy_all(b, &it);
    let error = b.begin_move(&log, NOW_MS).unwrap_err();
    assert!(matches!(error, MoveError::UnderWay(_)), "{error}");
    // It is left, and gone on with.
    drop(it);
    let error = a.begin_move(&log, NOW_MS).unwrap_err();
    assert!(error.to_string().contains("exists already"), "{error}");
    let it = b.begin_move(&log, NOW_MS).unwrap();
    assert_eq!(it.future().log_end_offset(), 20);
    b.give_up_future(&partition()).unwrap();
    b.give_up_future(&partition()).unwrap();
    assert!(b.futures().is_empty());
    assert!(matches!(
        it.copy(b, 100, NOW_MS).unwrap_err(),
        MoveError::Over(..)
    ));
    let over = a.finish_move(b, &it, NOW_MS, |_| {}).unwrap_err();
    assert!(matches!(over, MoveError::Over(..)), "{over}");
    drop(it);
    let it = b.begin_move(&log, NOW_MS).unwrap();
    assert_eq!(it.future().log_end_offset(), 0);
    copy_all(b, &it);
    // Another topic of that name comes here.
    drop(it);
    let id = Uuid::from_u128(99);
    let other = b
        .create(partition(), id, disks.config.clone(), NOW_MS)
        .unwrap();
    append_numbers(&other, 2);
    assert!(b.futures().is_empty());
    b.checkpoint().unwrap();
    assert!(b.remove_deleted(&|| true).unwrap());
    b.checkpoint().unwrap();
    assert_eq!(names(b), ["orders-0"]);
    drop((other, log, directories));
    let (directories, reports) = disks.open(PageCache::Survived);
    assert!(reports.iter().all(|it| it.lost.is_empty()), "{reports:?}");
    assert_numbers(&directories[0].get(&partition()).unwrap(), 0, 20);
    assert_numbers(&directories[1].get(&partition()).unwrap(), 0, 2);
}

#[test]
fn a_copy_of_the_topic_before_is_not_gone_on_with() {
    let disks = Disks::new(LogConfig::default());
    let (directories, log) = disks.start();
    let [a, b] = &directories[..] else { panic!() };
    append_numbers(&log, 20);
    let it = b.begin_move(&log, NOW_MS).unwrap();
    copy_all(b, &it);
    drop(it);
    a.delete(&partition()).unwrap();
    let id = Uuid::from_u128(99);
    let anew = a.create(partition(), id, disks.config, NOW_MS).unwrap();
    append_numbers(&anew, 3);
    let it = b.begin_move(&anew, NOW_MS).unwrap();
    assert_eq!(
        (it.future().topic_id(), it.future().log_end_offset()),
        (id, 0)
    );
    let moved = finish(a, b, &it);
    assert_numbers(&moved, 0, 3);
}

#[test]
fn a_damaged_copy_is_begun_anew_by_the_start() {
    let disks = Disks::new(small_segments(300));
    let (directories, log) = disks.start();
    append_numbers(&log, 20);
    let it = directories[1].begin_move(&log, NOW_MS).unwrap();
    copy_all(&directories[1], &it);
    it.flush().unwrap();
    directories.iter().for_each(|it| it.checkpoint().unwrap());
    let name = names(&directories[1]).pop().unwrap();
    let copy = directories[1].path().join(name);
    let file = copy.join(files(&copy, ".log").pop().unwrap());
    drop((it, log, directories));
    let mut bytes = std::fs::read(&file).unwrap();
    bytes.truncate(10);
    std::fs::write(&file, bytes).unwrap();
    let (directories, reports) = disks.open(PageCache::Lost);
    let is_well = |it: &OpenReport| it.lost.is_empty() && it.offline.is_empty();
    assert!(reports.iter().all(is_well), "{reports:?}");
    let [a, b] = &directories[..] else { panic!() };
    assert_eq!(b.futures()[0].log_end_offset(), 0);
    let log = a.get(&partition()).unwrap();
    let it = b.begin_move(&log, NOW_MS).unwrap();
    assert_numbers(&finish(a, b, &it), 0, 20);
}

#[test]
fn a_log_that_grows_is_moved_when_what_is_missing_is_little() {
    let disks = Disks::new(LogConfig::default());
    let (directories, log) = disks.start();
    let [a, b] = &directories[..] else { panic!() };
    let large = vec![7; 900 << 10];
    for _ in 0..5 {
        append(&log, batch(&[&large]));
    }
    let it = b.begin_move(&log, NOW_MS).unwrap();
    let result = a.finish_move(b, &it, NOW_MS, |_| panic!("moved")).unwrap();
    assert!(matches!(result, Finished::NotYet(why) if why.contains("too much")));
    append(&log, batch(&[b"it goes on"]));
    copy_all(b, &it);
    it.flush().unwrap();
    append(&log, batch(&[b"and the last"]));
    assert_eq!(finished(a, b, &it).log_end_offset(), 7);
}

/// The end of a move tells the copy of leaders that wrote nothing, and comes to nothing itself.
#[test]
fn a_leader_that_the_log_has_forgotten_is_no_damage() {
    let disks = Disks::new(LogConfig::default());
    let (directories, log) = disks.start();
    let [a, b] = &directories[..] else { panic!() };
    append_numbers(&log, 5);
    log.assign_leader_epoch(7, NOW_MS);
    let it = b.begin_move(&log, NOW_MS).unwrap();
    copy_all(b, &it);
    let no_room = b.path().join("recovery-point-offset-checkpoint.tmp");
    without_room(&no_room);
    let error = a
        .finish_move(b, &it, NOW_MS, |_| panic!("moved"))
        .unwrap_err();
    assert!(error.is_shortage(), "{error}");
    std::fs::remove_file(&no_room).ok();
    // The next leader was elected without having heard of that one.
    a.truncate(&log, 5, NOW_MS).unwrap();
    assert_eq!(log.latest_epoch(), Some(0));
    let mut next = batch(&[b"5"]);
    log.append_as_leader(&mut next, 6, NOW_MS).unwrap();
    let moved = finish(a, b, &it);
    assert_numbers(&moved, 0, 6);
    assert_eq!(moved.latest_epoch(), Some(6));
}

#[test]
fn without_room_a_move_waits_and_nothing_has_failed() {
    let disks = Disks::new(LogConfig::default());
    let (directories, log) = disks.start();
    let [a, b] = &directories[..] else { panic!() };
    append_numbers(&log, 5);
    let it = b.begin_move(&log, NOW_MS).unwrap();
    copy_all(b, &it);
    let no_room = b.path().join("recovery-point-offset-checkpoint.tmp");
    without_room(&no_room);
    let error = a
        .finish_move(b, &it, NOW_MS, |_| panic!("moved"))
        .unwrap_err();
    assert!(error.is_shortage(), "{error}");
    // Compaction does not wait for room elsewhere.
    let go_on = &mut |_| ControlFlow::Continue(());
    log.compact(LIMITS, NOW_MS, go_on).unwrap();
    // The log goes on, and its copy too, which is begun anew with a mark of it.
    append_numbers(&log, 1);
    a.reset(&log, 40, NOW_MS).unwrap();
    without_room(&no_room);
    it.follow_cuts(b, NOW_MS).unwrap();
    append_numbers(&log, 1);
    assert_eq!(it.copy(b, 100, NOW_MS).unwrap(), 0);
    a.reset(&log, 40, NOW_MS).unwrap();
    let seen = it.seen(true).unwrap();
    assert!(!seen.has_room && !seen.is_cut);
    assert_eq!(MoveProgress::default().next(seen), MoveAct::Wait);
    match a.finish_move(b, &it, NOW_MS, |_| panic!("moved")).unwrap() {
        Finished::NotYet(why) => assert!(why.contains("checkpoints"), "{why}"),
        Finished::Moved(_) => panic!("what is appended now goes with a crash"),
    }
    std::fs::remove_file(&no_room).ok();
    b.checkpoint().unwrap();
    let moved = finish(a, b, &it);
    append_numbers(&moved, 3);
    drop((it, log, moved, directories));
    let (directories, reports) = disks.open(PageCache::Survived);
    assert!(reports.iter().all(|it| it.lost.is_empty()), "{reports:?}");
    assert_numbers(&directories[1].get(&partition()).unwrap(), 40, 43);
}

#[test]
fn a_log_that_waits_for_checkpoints_is_not_moved_before_them() {
    let disks = Disks::new(LogConfig::default());
    let (directories, log) = disks.start();
    let [a, b] = &directories[..] else { panic!() };
    append_numbers(&log, 5);
    let it = b.begin_move(&log, NOW_MS).unwrap();
    copy_all(b, &it);
    let no_room = a.path().join("recovery-point-offset-checkpoint.tmp");
    without_room(&no_room);
    a.reset(&log, 40, NOW_MS).unwrap();
    let mut progress = MoveProgress::default();
    assert_eq!(progress.next(it.seen(true).unwrap()), MoveAct::Cut);
    it.follow_cuts(b, NOW_MS).unwrap();
    let seen = it.seen(true).unwrap();
    assert!(seen.waits_for_checkpoint && !seen.has_room, "{seen:?}");
    assert_eq!(progress.next(seen), MoveAct::Wait);
    std::fs::remove_file(&no_room).ok();
    a.checkpoint().unwrap();
    assert_eq!(progress.next(it.seen(true).unwrap()), MoveAct::Swap);
    append_numbers(&log, 3);
    assert_numbers(&finish(a, b, &it), 40, 43);
}
