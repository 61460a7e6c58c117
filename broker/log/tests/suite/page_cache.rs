//! What is told apart after a crash: the tail that it tore, and damage. It depends on whether the page cache
//! survived.

use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};

use foz_log::{
    Finding, LogConfig, LogDirectory, LostData, OpenError, OpenReport, PageCache, PartitionLog,
    ReadError,
};

use crate::support::*;

const EACH: [PageCache; 2] = [PageCache::Survived, PageCache::Lost];

fn first_log(world: &World) -> PathBuf {
    world.partition_dir().join("00000000000000000000.log")
}

fn lost(known_offset: i64, found_offset: Option<i64>) -> LostData {
    LostData {
        partition: partition(),
        known_offset,
        found_offset,
        was_on_disk: false,
    }
}

/// `count` batches that nobody has flushed, the first `committed` below the checkpointed high watermark;
/// then kill -9.
fn killed(config: LogConfig, count: i64, committed: i64) -> World {
    let world = World::new(config);
    let (directory, log) = world.log();
    append_numbers(&log, count);
    log.set_high_watermark(committed);
    directory.checkpoint().unwrap();
    world
}

fn assert_intact(report: &OpenReport) {
    assert!(
        report.offline.is_empty() && report.lost.is_empty(),
        "{report:?}"
    );
}

/// The offset up to which the one partition, offline, had had everything.
fn offline_before(report: &OpenReport) -> i64 {
    let [offline] = &report.offline[..] else {
        panic!("{report:?}")
    };
    match &offline.error {
        OpenError::Corrupt {
            recovery_offset, ..
        } => *recovery_offset,
        other => panic!("{other}"),
    }
}

fn recovery_point(world: &World) -> i64 {
    let path = world.data().join("recovery-point-offset-checkpoint");
    let text = fs::read_to_string(path).unwrap();
    text.rsplit(' ').next().unwrap().trim().parse().unwrap()
}

/// Where the check that follows the opening finds damage.
fn damaged_from(log: &PartitionLog) -> i64 {
    for _ in 0..1_000 {
        match log.check_next(1) {
            Ok(checked) => assert!(!checked.is_done, "nothing is found"),
            Err(ReadError::Corrupt { offset, .. }) => return offset,
            Err(error) => panic!("{error}"),
        }
    }
    panic!("the check does not get on");
}

fn set_length(path: &Path, length: u64) {
    let file = OpenOptions::new().write(true).open(path).unwrap();
    file.set_len(length).unwrap();
}

#[test]
fn a_write_that_a_kill_cut_short_is_a_tail() {
    let length = batch(&[b"0"]).len();
    for preallocated in [0, 3 * length, 1 << 20] {
        let world = killed(LogConfig::default(), 4, 3);
        let whole = fs::read(first_log(&world)).unwrap();
        for cut in 3 * length..=4 * length {
            let mut left = whole[..cut].to_vec();
            left.resize(cut.max(preallocated), 0);
            fs::write(first_log(&world), &left).unwrap();
            let (directory, report) = world.open_after(PageCache::Survived);
            assert_intact(&report);
            let log = directory.get(&partition()).unwrap();
            // A record without headers ends with a zero.
            let is_whole = left.len() >= 4 * length && cut + 1 >= 4 * length;
            assert_numbers(&log, 0, if is_whole { 4 } else { 3 });
        }
    }
}

#[test]
fn a_write_of_many_batches_that_a_kill_cut_short_is_a_tail() {
    let world = killed(LogConfig::default(), 3, 3);
    let before = fs::read(first_log(&world)).unwrap();
    let (directory, log) = world.log();
    append_numbers(&log, 3);
    drop((directory, log));
    let whole = fs::read(first_log(&world)).unwrap();
    for cut in before.len()..whole.len() {
        fs::write(first_log(&world), &whole[..cut]).unwrap();
        let (directory, report) = world.open_after(PageCache::Survived);
        assert_intact(&report);
        let end = directory.get(&partition()).unwrap().log_end_offset();
        assert_eq!(end as usize, cut / (whole.len() / 6));
    }
}

#[test]
fn a_flipped_bit_is_damage_where_the_page_cache_survived() {
    let length = batch(&[b"0"]).len();
    for committed in [0, 5] {
        let world = killed(LogConfig::default(), 5, committed);
        let whole = fs::read(first_log(&world)).unwrap();
        let mut found_later = 0;
        // The leader epoch is not in the CRC; a base offset that rises is a gap, as compaction leaves them.
        for at in (8..length).filter(|at| !(12..16).contains(at)) {
            let mut flipped = whole.clone();
            flipped[2 * length + at] ^= 0x40;
            fs::write(first_log(&world), &flipped).unwrap();
            let (directory, report) = world.open_after(PageCache::Survived);
            if (9..12).contains(&at) && committed == 0 {
                // A length that goes beyond the end of the file: that may be a tail.
                continue;
            }
            if let Some(log) = directory.get(&partition()) {
                // Where the chain of headers is whole, all but the last batch is checked soon after.
                assert_eq!(damaged_from(&log), 2, "byte {at}");
                found_later += 1;
            } else {
                assert_eq!(offline_before(&report), committed.max(3), "byte {at}");
            }
            directory.checkpoint().unwrap();
            let open = directory.get(&partition());
            let is_open = open.is_some();
            // Opening has flushed nothing. That is done later; how much was checked is another matter.
            assert_eq!(recovery_point(&world), 0, "byte {at}");
            if let Some(log) = open {
                log.flush_backlog().unwrap();
                directory.checkpoint().unwrap();
                assert_eq!(recovery_point(&world), 5, "byte {at}");
            }
            let checked = world.data().join("checked-offset-checkpoint");
            let text = fs::read_to_string(&checked).unwrap_or_default();
            assert_eq!(
                text.ends_with("\n1\norders 0 2\n"),
                is_open,
                "byte {at}: {text}"
            );
            // As before, for the next one.
            drop(directory);
            let recovery_points = world.data().join("recovery-point-offset-checkpoint");
            fs::write(recovery_points, "0\n1\norders 0 0\n").unwrap();
            if is_open {
                fs::remove_file(&checked).unwrap();
            }
            assert_eq!(fs::read(first_log(&world)).unwrap(), flipped, "byte {at}");
        }
        // The CRC itself, what it covers of the header, and the record.
        assert!(found_later > 40, "{found_later}");
        // In the record, and in the magic of the header.
        let position = match committed {
            5 => 2 * length + 65,
            _ => 2 * length + 16,
        };
        let mut flipped = whole.clone();
        flipped[position] ^= 1;
        fs::write(first_log(&world), &flipped).unwrap();
        let (directory, _) = world.open_after(PageCache::Survived);
        assert_eq!(directory.get(&partition()).is_some(), committed == 5);
        if let Some(log) = directory.get(&partition()) {
            assert_eq!(damaged_from(&log), 2);
            let kept = directory.quarantine(&log, 2, NOW_MS).unwrap();
            assert_eq!(fs::read(&kept[0]).unwrap(), flipped);
            assert!(!log.has_unchecked_batches());
            append_numbers(&log, 1);
            drop((directory, log));
            let (directory, report) = world.open_after(PageCache::Survived);
            assert_intact(&report);
            assert_numbers(&directory.get(&partition()).unwrap(), 0, 3);
            continue;
        }
        let (log, findings) = directory
            .open_quarantined(&partition(), world.config.clone(), NOW_MS)
            .unwrap();
        assert_numbers(&log, 0, 2);
        let [Finding::Quarantined { kept, .. }] = &findings[..] else {
            panic!("{findings:?}")
        };
        assert_eq!(fs::read(&kept[0]).unwrap(), flipped);
        append_numbers(&log, 1);
        drop((directory, log));
        let (directory, report) = world.open_after(PageCache::Survived);
        assert_intact(&report);
        assert_numbers(&directory.get(&partition()).unwrap(), 0, 3);
    }
}

#[test]
fn a_flipped_bit_is_a_tail_where_the_page_cache_is_lost() {
    let world = killed(LogConfig::default(), 5, 4);
    let length = batch(&[b"0"]).len();
    let mut flipped = fs::read(first_log(&world)).unwrap();
    flipped[2 * length + 65] ^= 1;
    fs::write(first_log(&world), &flipped).unwrap();
    let (directory, report) = world.open();
    assert!(report.offline.is_empty(), "{report:?}");
    assert_eq!(report.lost, [lost(4, Some(2))]);
    let log = directory.get(&partition()).unwrap();
    assert_numbers(&log, 0, 2);
    append_numbers(&log, 1);
    // Killed before the next checkpoint: what was lost with the page cache is not lost once more.
    drop((directory, log));
    let (directory, report) = world.open_after(PageCache::Survived);
    assert_intact(&report);
    assert_numbers(&directory.get(&partition()).unwrap(), 0, 3);
}

#[test]
fn whole_batches_that_are_gone_are_missed_up_to_the_high_watermark() {
    let length = batch(&[b"0"]).len() as u64;
    for left in 0..=5 {
        for page_cache in EACH {
            let world = killed(LogConfig::default(), 5, 3);
            set_length(&first_log(&world), left * length);
            let (directory, report) = world.open_after(page_cache);
            let left = left as i64;
            match page_cache {
                _ if left >= 3 => assert_intact(&report),
                PageCache::Survived => {
                    assert_eq!(offline_before(&report), 3);
                    continue;
                }
                PageCache::Lost => assert_eq!(report.lost, [lost(3, Some(left))]),
            }
            assert_numbers(&directory.get(&partition()).unwrap(), 0, left);
        }
    }
}

#[test]
fn what_lies_before_whole_segments_is_never_a_tail() {
    let world = killed(small_segments(250), 12, 0);
    let dir = world.partition_dir();
    let second = dir.join(&files(&dir, ".log")[1]);
    let whole = fs::read(&second).unwrap();
    let base = files(&dir, ".log")[1][..20].parse::<i64>().unwrap();
    set_length(&second, whole.len() as u64 - 1);
    let (_directory, report) = world.open_after(PageCache::Survived);
    assert!(offline_before(&report) > base, "{report:?}");
    drop(_directory);
    // A batch less is a hole.
    set_length(&second, whole.len() as u64 / 3 * 2);
    let (_directory, report) = world.open_after(PageCache::Survived);
    assert!(offline_before(&report) > base, "{report:?}");
    drop(_directory);
    let (directory, report) = world.open();
    assert_intact(&report);
    let end = directory.get(&partition()).unwrap().log_end_offset();
    assert!((base..12).contains(&end), "{end}");
}

#[test]
fn a_log_that_was_cut_or_begun_anew_is_whole() {
    for step in 0..3 {
        let world = World::new(LogConfig::default());
        let (directory, log) = world.log();
        append_numbers(&log, 9);
        log.set_high_watermark(9);
        directory.checkpoint().unwrap();
        match step {
            0 => directory.truncate(&log, 4, NOW_MS).unwrap(),
            1 => directory.reset(&log, 4, NOW_MS).unwrap(),
            _ => drop(directory.quarantine(&log, 4, NOW_MS).unwrap()),
        }
        drop((directory, log));
        let (directory, report) = world.open_after(PageCache::Survived);
        assert_intact(&report);
        let log = directory.get(&partition()).unwrap();
        assert_eq!(log.log_end_offset(), 4);
    }
}

/// A reset that a crash cut short is no loss: it had been asked for.
#[test]
fn a_reset_that_is_finished_at_the_start_is_no_loss() {
    let world = killed(LogConfig::default(), 9, 9);
    let mark = world.partition_dir().join("reset-offset-checkpoint");
    fs::write(mark, "0\n1\n4\n").unwrap();
    for _ in 0..2 {
        let (directory, report) = world.open_after(PageCache::Survived);
        assert_intact(&report);
        assert_numbers(&directory.get(&partition()).unwrap(), 4, 4);
    }
}

#[test]
fn a_partition_without_a_directory_is_missed_until_that_is_known() {
    for (high_watermark, page_cache) in [
        (3, PageCache::Survived),
        (3, PageCache::Lost),
        (0, PageCache::Survived),
    ] {
        let world = killed(LogConfig::default(), 3, high_watermark);
        fs::remove_dir_all(world.partition_dir()).unwrap();
        for _ in 0..2 {
            let (directory, report) = world.open_after(page_cache);
            let was_on_disk = page_cache == PageCache::Survived;
            let lost = lost(high_watermark, None);
            assert_eq!(
                report.lost,
                [LostData {
                    was_on_disk,
                    ..lost
                }]
            );
            directory.checkpoint().unwrap();
        }
        let (directory, _) = world.open_after(page_cache);
        directory.forget_lost();
        directory.checkpoint().unwrap();
        drop(directory);
        let (_directory, report) = world.open_after(page_cache);
        assert_intact(&report);
    }
    // What was flushed no power failure takes.
    let world = World::new(LogConfig::default());
    let (directory, log) = world.log();
    append_numbers(&log, 3);
    log.flush().unwrap();
    directory.checkpoint().unwrap();
    drop((directory, log));
    fs::remove_dir_all(world.partition_dir()).unwrap();
    assert!(world.open().1.lost[0].was_on_disk);
    // Nothing was in it that a power failure would leave.
    let world = killed(LogConfig::default(), 0, 0);
    fs::remove_dir_all(world.partition_dir()).unwrap();
    assert_intact(&world.open().1);
}

#[test]
fn a_partition_that_is_made_anew_is_not_measured_by_the_one_that_is_gone() {
    let world = killed(LogConfig::default(), 9, 9);
    fs::remove_dir_all(world.partition_dir()).unwrap();
    let (directory, log) = world.log();
    append_numbers(&log, 2);
    drop((directory, log));
    let (directory, report) = world.open_after(PageCache::Survived);
    assert_intact(&report);
    assert_numbers(&directory.get(&partition()).unwrap(), 0, 2);
}

#[test]
fn a_partition_that_was_deleted_or_set_aside_right_before_the_crash_is_not_missed() {
    let leave = |directory: &LogDirectory, step| match step {
        0 => directory.delete(&partition()).unwrap(),
        _ => drop(directory.set_aside(&partition()).unwrap()),
    };
    for step in 0..2 {
        let world = killed(LogConfig::default(), 9, 9);
        let (directory, log) = world.log();
        leave(&directory, step);
        drop((directory, log));
        let (directory, report) = world.open_after(PageCache::Survived);
        assert_intact(&report);
        directory.checkpoint().unwrap();
        drop(directory);
        assert_intact(&world.open_after(PageCache::Survived).1);
    }
}

#[test]
fn nothing_is_left_of_a_deleted_partition() {
    let world = killed(LogConfig::default(), 9, 9);
    let (directory, _log) = world.log();
    directory.delete(&partition()).unwrap();
    assert!(directory.remove_deleted(&|| true).unwrap());
    let left: Vec<_> = files(&world.data(), "-delete");
    let [emptied] = &left[..] else {
        panic!("{left:?}")
    };
    assert!(files(&world.data().join(emptied), "").is_empty());
    directory.checkpoint().unwrap();
    assert!(files(&world.data(), "-delete").is_empty());
}
