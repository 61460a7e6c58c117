//! What a start after a kill leaves to be checked while the log is in service.

use std::fs;
use std::path::PathBuf;

use foz_log::{
    CleanShutdown, LogConfig, LogDirectory, OpenReport, PageCache, PartitionLog, ReadError,
};

use crate::support::*;

fn log_file(world: &World, n: usize) -> PathBuf {
    let dir = world.partition_dir();
    dir.join(&files(&dir, ".log")[n])
}

fn flip(world: &World, n: usize, position: usize) {
    let mut bytes = fs::read(log_file(world, n)).unwrap();
    bytes[position] ^= 1;
    fs::write(log_file(world, n), bytes).unwrap();
}

/// Twenty batches, all of them committed and none of them flushed; then kill -9.
fn killed(config: LogConfig) -> World {
    let world = World::new(config);
    let (directory, log) = world.log();
    append_numbers(&log, 20);
    commit(&directory, &log);
    world
}

fn commit(directory: &LogDirectory, log: &PartitionLog) {
    log.set_high_watermark(log.log_end_offset());
    directory.checkpoint().unwrap();
}

fn start(world: &World) -> (LogDirectory, std::sync::Arc<PartitionLog>) {
    start_after(world, PageCache::Survived).0
}

fn start_after(
    world: &World,
    page_cache: PageCache,
) -> ((LogDirectory, std::sync::Arc<PartitionLog>), OpenReport) {
    let (directory, report) = world.open_after(page_cache);
    assert!(
        report.offline.is_empty() && report.lost.is_empty(),
        "{report:?}"
    );
    let log = directory.get(&partition()).unwrap();
    ((directory, log), report)
}

fn check_all(log: &PartitionLog) {
    while log.has_unchecked_batches() {
        log.check_next(1).unwrap();
    }
}

/// Where a check that goes on finds damage.
fn damaged_from(log: &PartitionLog) -> i64 {
    loop {
        match log.check_next(1) {
            Ok(checked) => assert!(!checked.is_done, "nothing is found"),
            Err(ReadError::Corrupt { offset, .. }) => return offset,
            Err(error) => panic!("{error}"),
        }
    }
}

fn recovery_point(world: &World) -> i64 {
    let path = world.data().join("recovery-point-offset-checkpoint");
    let text = fs::read_to_string(path).unwrap();
    text.rsplit(' ').next().unwrap().trim().parse().unwrap()
}

/// `None`: as far as it was flushed.
fn checked_offset(world: &World) -> Option<i64> {
    let path = world.data().join("checked-offset-checkpoint");
    let text = fs::read_to_string(path).unwrap_or_default();
    let line = text.lines().nth(2)?;
    line.rsplit(' ').next()?.parse().ok()
}

#[test]
fn a_log_is_in_service_while_it_is_checked_and_a_kill_goes_on_where_the_check_was() {
    let world = killed(LogConfig::default());
    let (directory, log) = start(&world);
    // It is neither flushed nor checked, and in service.
    assert_eq!((log.flushed_offset(), log.high_watermark()), (0, 20));
    assert!(log.has_unchecked_batches());
    assert_numbers(&log, 0, 20);
    append_numbers(&log, 5);
    log.flush().unwrap();
    commit(&directory, &log);
    let written = || (recovery_point(&world), checked_offset(&world));
    assert_eq!(written(), (25, Some(0)));
    let length = batch(&[b"0"]).len() as u64;
    for done in 1..=3 {
        let checked = log.check_next(1).unwrap();
        assert_eq!((checked.bytes, checked.is_done), (length, false));
        directory.checkpoint().unwrap();
        assert_eq!(written(), (25, Some(done)));
    }
    drop((directory, log));
    // Once more, with the damage behind it.
    flip(&world, 0, 3 * length as usize + 65);
    let (directory, log) = start(&world);
    assert_eq!(damaged_from(&log), 3);
    drop((directory, log));
    flip(&world, 0, 3 * length as usize + 65);
    let (directory, log) = start(&world);
    check_all(&log);
    assert_eq!(log.check_next(1).unwrap().bytes, 0);
    directory.checkpoint().unwrap();
    assert_eq!(written(), (25, None));
    drop((directory, log));
    let (_directory, log) = start(&world);
    assert!(!log.has_unchecked_batches());
    assert_numbers(&log, 0, 25);
}

#[test]
fn damage_that_is_not_found_yet_is_not_served() {
    let world = killed(LogConfig::default());
    let length = batch(&[b"0"]).len();
    flip(&world, 0, 3 * length + 65);
    let (directory, log) = start(&world);
    append_numbers(&log, 1);
    let read = log.read(0, 1 << 20, i64::MAX, true).unwrap();
    assert_eq!(decode(&read).len(), 3, "up to the damage");
    for _ in 0..2 {
        let read = log.read(3, 1 << 20, i64::MAX, true);
        assert!(
            matches!(read, Err(ReadError::Corrupt { offset: 3, .. })),
            "{read:?}"
        );
        // What is behind it is served, where nobody else has it.
        assert_eq!(read_from(&log, 4).len(), 17);
        assert_eq!(damaged_from(&log), 3);
        assert_eq!(damaged_from(&log), 3, "as long as it is there");
    }
    directory.quarantine(&log, 3, NOW_MS).unwrap();
    assert!(!log.has_unchecked_batches());
    append_numbers(&log, 2);
    log.flush().unwrap();
    directory.checkpoint().unwrap();
    assert_eq!((recovery_point(&world), checked_offset(&world)), (5, None));
    assert_numbers(&log, 0, 5);
}

/// A clean stop waits for no check, and its mark says that all is flushed: so what is unchecked is never a tail.
#[test]
fn a_clean_stop_leaves_the_check_to_the_next_start() {
    for page_cache in [PageCache::Survived, PageCache::Lost] {
        let world = killed(LogConfig::default());
        let length = batch(&[b"0"]).len();
        flip(&world, 0, 3 * length + 65);
        let (directory, log) = start(&world);
        log.check_next(1).unwrap();
        World::stop(directory, log);
        let written = || (recovery_point(&world), checked_offset(&world));
        assert_eq!(written(), (20, Some(1)));
        for _ in 0..2 {
            let ((directory, log), report) = start_after(&world, page_cache);
            let mark = CleanShutdown { broker_epoch: 1 };
            assert_eq!(report.clean_shutdown, Some(mark));
            assert_eq!(report.findings, []);
            assert_eq!((log.flushed_offset(), damaged_from(&log)), (20, 3));
            World::stop(directory, log);
            assert_eq!(written(), (20, Some(3)));
        }
        flip(&world, 0, 3 * length + 65);
        let ((directory, log), _) = start_after(&world, page_cache);
        check_all(&log);
        World::stop(directory, log);
        let (_directory, log) = start_after(&world, page_cache).0;
        assert!(!log.has_unchecked_batches());
        assert_numbers(&log, 0, 20);
    }
}

/// Somebody reads it long after everything was checked.
#[test]
fn damage_that_was_found_in_service_is_known_to_the_next_start() {
    for (page_cache, is_clean) in [
        (PageCache::Survived, true),
        (PageCache::Lost, true),
        (PageCache::Survived, false),
        (PageCache::Lost, false),
    ] {
        let world = killed(LogConfig::default());
        let length = batch(&[b"0"]).len();
        let (mut directory, mut log) = start(&world);
        check_all(&log);
        log.flush().unwrap();
        directory.checkpoint().unwrap();
        let written = || (recovery_point(&world), checked_offset(&world));
        assert_eq!(written(), (20, None));
        flip(&world, 0, 3 * length + 65);
        // The first that is found is not the first that there is.
        for (found, first) in [(7, 7), (3, 3), (5, 3)] {
            log.found_damage(found);
            assert_eq!(log.damaged_from(), Some(first));
        }
        assert!(!log.has_unchecked_batches(), "this process knows it");
        for _ in 0..2 {
            append(&log, batch(&[b"more"]));
            log.flush().unwrap();
            let end = log.log_end_offset();
            if is_clean {
                World::stop(directory, log);
            } else {
                directory.checkpoint().unwrap();
                drop((directory, log));
            }
            assert_eq!(written(), (end, Some(3)));
            let ((found, again), report) = start_after(&world, page_cache);
            assert_eq!(report.clean_shutdown.is_some(), is_clean);
            assert_eq!((again.log_end_offset(), damaged_from(&again)), (end, 3));
            (directory, log) = (found, again);
        }
        // What follows a cut is another log.
        log.found_damage(3);
        directory.truncate(&log, 4, 0).unwrap();
        assert_eq!(log.damaged_from(), Some(3));
        directory.truncate(&log, 3, 0).unwrap();
        assert_eq!(log.damaged_from(), None);
        append_numbers(&log, 3);
        log.flush().unwrap();
        World::stop(directory, log);
        assert_eq!(checked_offset(&world), None);
        let (_directory, log) = start_after(&world, page_cache).0;
        assert!(!log.has_unchecked_batches());
    }
}

#[test]
fn damage_that_was_deleted_is_not_looked_for_where_it_is_not() {
    let world = killed(LogConfig::default());
    let (directory, log) = start(&world);
    check_all(&log);
    log.found_damage(3);
    log.advance_log_start_offset(5).unwrap();
    directory.checkpoint().unwrap();
    let checked = checked_offset(&world);
    assert!(checked.is_some_and(|it| it >= 3), "{checked:?}");
    log.forget_damage();
    directory.checkpoint().unwrap();
    assert_eq!(checked_offset(&world), None);
    // And what begins anew holds none.
    log.found_damage(7);
    directory.reset(&log, 30, 0).unwrap();
    assert_eq!(log.damaged_from(), None);
}

#[test]
fn where_the_log_ends_is_checked_before_it_is_opened() {
    // Two bytes of the last offset delta: the log would end later, or within its last batch.
    for (high_watermark, byte) in [(21, 25), (20, 25), (20, 26)] {
        let world = World::new(LogConfig::default());
        let (directory, log) = world.log();
        append_numbers(&log, 19);
        let before = log.size_bytes() as usize;
        append(&log, batch(&[b"19", b"20"]));
        log.set_high_watermark(high_watermark);
        directory.checkpoint().unwrap();
        drop((directory, log));
        flip(&world, 0, before + byte);
        let (directory, report) = world.open_after(PageCache::Survived);
        assert_eq!(report.offline.len(), 1, "{high_watermark} {byte}");
        assert!(directory.get(&partition()).is_none());
    }
}

/// What no checkpoint calls committed is whole as well, but for the last write.
#[test]
fn what_was_written_since_the_last_checkpoint_is_checked_afterwards() {
    for config in [LogConfig::default(), small_segments(250)] {
        for damaged in [0, 13, 18, 19] {
            let world = World::new(config.clone());
            let (directory, log) = world.log();
            append_numbers(&log, 20);
            drop((directory, log));
            let logs = files(&world.partition_dir(), ".log");
            let bases = logs.iter().map(|name| name[..20].parse::<i64>().unwrap());
            let before = bases.enumerate().filter(|it| it.1 <= damaged);
            let (n, base) = before.fold((0, 0), |_, it| it);
            let length = batch(&[b"0"]).len();
            let position = (damaged - base) as usize * length + 65;
            flip(&world, n, position);
            let (directory, report) = world.open_after(PageCache::Survived);
            let Some(log) = directory.get(&partition()) else {
                panic!("{report:?}");
            };
            if damaged == 19 {
                // The last byte of a record without headers is a zero: in doubt the write was under way.
                assert_eq!(log.log_end_offset(), 19);
                check_all(&log);
                assert_numbers(&log, 0, 19);
                continue;
            }
            assert_eq!((log.flushed_offset(), log.log_end_offset()), (0, 20));
            append_numbers(&log, 1);
            assert_eq!(damaged_from(&log), damaged);
            flip(&world, n, position);
            check_all(&log);
            assert_numbers(&log, 0, 21);
        }
    }
}

#[test]
fn after_a_loss_of_power_all_that_may_be_torn_is_checked_before_it_is_opened() {
    let world = killed(LogConfig::default());
    let (directory, log) = start(&world);
    log.check_next(1).unwrap();
    drop((directory, log));
    let (_directory, log) = start_after(&world, PageCache::Lost).0;
    assert!(!log.has_unchecked_batches());
    assert_numbers(&log, 0, 20);
}

#[test]
fn a_check_goes_through_all_segments_whatever_becomes_of_them() {
    for step in 0..6 {
        // Three or four batches in each.
        let world = killed(small_segments(250));
        let count = files(&world.partition_dir(), ".log").len();
        assert!(count > 4, "{count}");
        let (directory, log) = start(&world);
        log.check_next(1).unwrap();
        let (mut from, mut to) = (0, 20);
        match step {
            0 => {}
            // Damage in the second one.
            1 => {
                flip(&world, 1, 65);
                let second = files(&world.partition_dir(), ".log")[1][..20]
                    .parse::<i64>()
                    .unwrap();
                assert_eq!(damaged_from(&log), second);
                directory.quarantine(&log, second, NOW_MS).unwrap();
                to = second;
            }
            2 => {
                flip(&world, 0, 65 + batch(&[b"0"]).len());
                log.advance_log_start_offset(10).unwrap();
                log.apply_retention(NOW_MS).unwrap();
                from = 10;
            }
            3 => {
                directory.truncate(&log, 8, NOW_MS).unwrap();
                to = 8;
            }
            4 => {
                directory.reset(&log, 50, NOW_MS).unwrap();
                (from, to) = (50, 50);
            }
            _ => {
                directory.truncate(&log, 1, NOW_MS).unwrap();
                assert!(!log.has_unchecked_batches());
                to = 1;
            }
        }
        append_numbers(&log, 6);
        check_all(&log);
        assert_numbers(&log, from, to + 6);
        log.flush().unwrap();
        directory.checkpoint().unwrap();
        let written = (recovery_point(&world), checked_offset(&world));
        assert_eq!(written, (to + 6, None), "{step}");
    }
}

#[test]
fn a_log_that_is_buried_is_checked_when_it_is_back() {
    let world = killed(LogConfig::default());
    flip(&world, 0, 3 * batch(&[b"0"]).len() + 65);
    let (directory, log) = start(&world);
    log.check_next(1).unwrap();
    drop(log);
    assert!(directory.bury(&partition(), TOPIC_ID, NOW_MS));
    assert!(directory.finish_burials().is_empty());
    let unburied = directory.unbury(TOPIC_ID, &partition(), world.config, NOW_MS);
    let (log, findings) = unburied.unwrap().unwrap();
    assert_eq!(findings, []);
    assert_eq!(damaged_from(&log), 3);
}

/// What was flushed is no torn tail, whether somebody has looked at it since or not: neither after power fails nor after
/// another kill, however often, may anything of it go.
#[test]
fn what_was_flushed_and_is_not_checked_is_never_taken_for_a_tail() {
    let length = batch(&[b"0"]).len();
    for (is_found, config) in [
        (true, LogConfig::default()),
        (false, LogConfig::default()),
        (true, small_segments(250)),
    ] {
        let world = killed(config);
        flip(&world, 0, 2 * length + 65);
        let (directory, log) = start(&world);
        if is_found {
            assert_eq!(damaged_from(&log), 2);
        }
        append_numbers(&log, 5);
        log.flush().unwrap();
        commit(&directory, &log);
        let checked = if is_found { 2 } else { 0 };
        assert_eq!(
            (recovery_point(&world), checked_offset(&world)),
            (25, Some(checked))
        );
        drop((directory, log));
        for page_cache in [PageCache::Lost, PageCache::Survived, PageCache::Lost] {
            let ((directory, log), report) = start_after(&world, page_cache);
            assert_eq!(report.findings, [], "{is_found} {page_cache:?}");
            assert_eq!((log.log_start_offset(), log.log_end_offset()), (0, 25));
            assert_eq!(read_from(&log, 3).len(), 22);
            let damaged = log.read(2, 1 << 20, i64::MAX, true);
            assert!(
                matches!(damaged, Err(ReadError::Corrupt { .. })),
                "{damaged:?}"
            );
            assert_eq!(damaged_from(&log), 2);
            directory.checkpoint().unwrap();
            assert_eq!(
                (recovery_point(&world), checked_offset(&world)),
                (25, Some(2))
            );
        }
    }
}

/// A reader of the memory of this process finds nothing at its begin, as one of a bad disk finds nothing in a sector.
#[test]
fn what_cannot_be_read_is_damage_and_so_is_a_file_that_was_cut_short() {
    let length = batch(&[b"0"]).len();
    for is_short in [true, false] {
        let world = killed(LogConfig::default());
        let (directory, log) = start(&world);
        for _ in 0..3 {
            log.check_next(1).unwrap();
        }
        let file = log_file(&world, 0);
        let bytes = fs::read(&file).unwrap();
        if is_short {
            // In the middle of a record: its header is there.
            fs::write(&file, &bytes[..3 * length + 64]).unwrap();
        } else {
            world.handles.close_idle();
            world.handles.close_idle();
            fs::remove_file(&file).unwrap();
            std::os::unix::fs::symlink("/proc/self/mem", &file).unwrap();
        }
        let read = log.check_next(1);
        assert!(
            matches!(read, Err(ReadError::Corrupt { offset: 3, .. })),
            "{is_short}: {read:?}"
        );
        assert_eq!(damaged_from(&log), 3);
        if is_short {
            directory.quarantine(&log, 3, NOW_MS).unwrap();
            append_numbers(&log, 1);
            assert_numbers(&log, 0, 4);
            assert!(!log.has_unchecked_batches());
        } else {
            world.handles.close_idle();
            world.handles.close_idle();
            fs::remove_file(&file).unwrap();
            fs::write(&file, &bytes).unwrap();
            check_all(&log);
        }
    }
}

/// DeleteRecords, or retention: nobody misses it, and what is behind it is looked at.
#[test]
fn a_check_goes_on_behind_damage_that_was_deleted() {
    let world = killed(LogConfig::default());
    let length = batch(&[b"0"]).len();
    flip(&world, 0, 3 * length + 65);
    flip(&world, 0, 12 * length + 65);
    let (directory, log) = start(&world);
    assert_eq!(damaged_from(&log), 3);
    log.advance_log_start_offset(4).unwrap();
    assert_eq!(damaged_from(&log), 12);
    log.advance_log_start_offset(13).unwrap();
    // A crash would bring the damage back.
    directory.checkpoint().unwrap();
    assert!(checked_offset(&world).is_some_and(|checked| checked <= 13));
    check_all(&log);
    log.flush().unwrap();
    directory.checkpoint().unwrap();
    assert_eq!((recovery_point(&world), checked_offset(&world)), (20, None));
    assert_numbers(&log, 13, 20);
}

/// A search by time reads records.
#[test]
fn a_search_by_time_finds_damage() {
    let world = killed(LogConfig::default());
    flip(&world, 0, 3 * batch(&[b"0"]).len() + 65);
    let (_directory, log) = start(&world);
    let found = log.offset_for_timestamp(0, 20).unwrap();
    assert_eq!(found.map(|found| found.offset), Some(0));
    log.advance_log_start_offset(3).unwrap();
    let found = log.offset_for_timestamp(0, 20);
    assert!(
        matches!(found, Err(ReadError::Corrupt { offset: 3, .. })),
        "{found:?}"
    );
}
