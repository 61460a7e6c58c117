//! A clean stop and what comes after it: nothing that was there may be gone, and what is gone must be seen.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};

use foz_log::{
    CleanShutdown, FileHandles, LogConfig, LogDirectory, LostData, OpenError, PageCache,
    TopicPartition,
};

use crate::support::*;

const MARK: CleanShutdown = CleanShutdown { broker_epoch: 1 };

/// Files of zero bytes under a mark of a clean stop are no empty log.
#[test]
fn a_log_that_was_emptied_after_a_clean_stop_is_missed() {
    for segment_bytes in [300, 1 << 20] {
        let world = World::new(small_segments(segment_bytes));
        let (directory, log) = world.log();
        append_numbers(&log, 20);
        World::stop(directory, log);
        let dir = world.partition_dir();
        for name in files(&dir, "") {
            if name.starts_with('0') {
                fs::write(dir.join(name), b"").unwrap();
            }
        }
        let (directory, report) = world.open();
        let [offline] = &report.offline[..] else {
            panic!("{report:?}")
        };
        assert!(
            matches!(
                offline.error,
                OpenError::Corrupt {
                    recovery_offset: 20,
                    ..
                }
            ),
            "{}",
            offline.error
        );
        assert!(directory.get(&partition()).is_none());
    }
}

#[test]
fn segments_that_are_gone_after_a_clean_stop_are_missed() {
    for (gone, is_seen) in [(0, false), (2, false), (usize::MAX, true)] {
        let world = World::new(small_segments(300));
        let (directory, log) = world.log();
        append_numbers(&log, 20);
        World::stop(directory, log);
        let dir = world.partition_dir();
        let logs = files(&dir, ".log");
        let gone = gone.min(logs.len() - 1);
        // Emptied, the closed ones are missed as well; removed, they look like what retention took and like
        // what compaction leaves.
        for (emptied, is_seen) in [(true, true), (false, is_seen)] {
            let bytes = fs::read(dir.join(&logs[gone])).unwrap();
            if emptied {
                fs::write(dir.join(&logs[gone]), b"").unwrap();
            } else {
                fs::remove_file(dir.join(&logs[gone])).unwrap();
            }
            let (directory, report) = world.open();
            assert_eq!(report.offline.len() == 1, is_seen, "{gone} {report:?}");
            drop(directory);
            fs::write(dir.join(&logs[gone]), bytes).unwrap();
        }
    }
}

#[test]
fn a_volume_that_lost_its_partitions_says_so() {
    let world = World::new(LogConfig::default());
    let (directory, log) = world.log();
    append_numbers(&log, 3);
    World::stop(directory, log);
    fs::remove_dir_all(world.partition_dir()).unwrap();
    let (_directory, report) = world.open();
    let lost = LostData {
        partition: partition(),
        known_offset: 3,
        found_offset: None,
        was_on_disk: true,
    };
    assert_eq!(report.lost, [lost]);
}

#[test]
fn every_kind_of_log_is_the_same_after_many_clean_stops() {
    for flush_before_acknowledge in [false, true] {
        let world = World::new(LogConfig {
            flush_before_acknowledge,
            ..small_segments(300)
        });
        let (directory, log) = world.log();
        World::stop(directory, log);
        let mut end = 0;
        for round in 0..6 {
            let (directory, log) = world.log();
            let start = log.log_start_offset();
            assert_numbers(&log, start, end);
            match round {
                0 | 2 | 4 => append_numbers(&log, 7),
                // The active segment is empty after this.
                1 => {
                    log.set_high_watermark(end);
                    log.set_config(LogConfig {
                        retention_ms: Some(0),
                        ..world.config.clone()
                    });
                    log.apply_retention(NOW_MS + 1).unwrap();
                    assert_eq!(log.size_bytes(), 0);
                }
                3 => directory.truncate(&log, end - 2, NOW_MS).unwrap(),
                _ => directory.reset(&log, 50, NOW_MS).unwrap(),
            }
            end = log.log_end_offset();
            World::stop(directory, log);
        }
        let (_directory, log) = world.log();
        assert_numbers(&log, 50, 50);
    }
}

/// A second SIGTERM, appends, retention and checkpoints that have not heard of the stop yet, and a new
/// process that comes too early.
#[test]
fn closing_in_the_middle_of_everything_loses_nothing() {
    for round in 0..20 {
        let world = World::new(LogConfig {
            flush_before_acknowledge: round % 2 == 0,
            ..small_segments(400)
        });
        let (directory, log) = world.log();
        append_numbers(&log, 5);
        let stopped = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let appender = scope.spawn(|| {
                while !stopped.load(Ordering::Acquire) {
                    let value = log.log_end_offset().to_string();
                    let mut bytes = batch(&[value.as_bytes()]);
                    if log.append_as_leader(&mut bytes, 0, NOW_MS).is_err() {
                        return;
                    }
                }
            });
            scope.spawn(|| {
                while !stopped.load(Ordering::Acquire) {
                    log.set_high_watermark(log.log_end_offset());
                    log.apply_retention(NOW_MS).unwrap();
                    directory.checkpoint().unwrap();
                    log.flush().unwrap();
                    world.handles.close_idle();
                }
            });
            scope.spawn(|| {
                let opened = || {
                    let handles = FileHandles::new(4);
                    let config_of = |_: &_, _| LogConfig::default();
                    let (data, lost) = (world.data(), PageCache::Lost);
                    LogDirectory::open(&data, lost, 1, &handles, NOW_MS, &config_of, &|_| {})
                };
                while !stopped.load(Ordering::Acquire) {
                    assert!(matches!(opened(), Err(OpenError::InUse(_))));
                }
            });
            while log.log_end_offset() < 20 + round {
                std::hint::spin_loop();
            }
            let closers: Vec<_> = (0..2)
                .map(|_| scope.spawn(|| directory.close_cleanly(MARK)))
                .collect();
            let closed: Vec<_> = closers.into_iter().map(|it| it.join()).collect();
            stopped.store(true, Ordering::Release);
            closed.into_iter().for_each(|it| it.unwrap().unwrap());
            appender.join().unwrap();
        });
        let end = log.log_end_offset();
        drop((directory, log));
        let (directory, report) = world.open();
        assert!(
            report.clean_shutdown.is_some() && report.findings.is_empty(),
            "{report:?}"
        );
        let log = directory.get(&partition()).unwrap();
        assert_numbers(&log, 0, end);
    }
}

/// What the index says decides over nothing: records of today are not taken for those of 1970.
#[test]
fn retention_does_not_believe_a_time_index_of_zeros() {
    let world = World::new(LogConfig {
        retention_ms: Some(3_600_000),
        ..small_segments(300)
    });
    let (directory, log) = world.log();
    append_numbers(&log, 20);
    World::stop(directory, log);
    for name in files(&world.partition_dir(), ".timeindex") {
        let path = world.partition_dir().join(name);
        let length = fs::read(&path).unwrap().len();
        fs::write(&path, vec![0; length]).unwrap();
    }
    let (_directory, log) = world.log();
    log.set_high_watermark(20);
    assert_eq!(log.apply_retention(NOW_MS).unwrap(), 0);
    assert_numbers(&log, 0, 20);
    assert!(log.apply_retention(NOW_MS + 3_600_001).unwrap() > 0);
    assert_eq!(log.log_start_offset(), 20);
}

/// The file that a failed roll leaves lies in the middle of the segment that goes on, which may be the last one.
#[test]
fn the_rest_of_a_failed_roll_hides_nothing() {
    let stops = [
        Some(PageCache::Lost),
        Some(PageCache::Survived),
        // In good order.
        None,
    ];
    for (stop, is_in_last) in stops.into_iter().flat_map(|it| [(it, false), (it, true)]) {
        let world = World::new(small_segments(300));
        let (directory, log) = world.log();
        append_numbers(&log, 20);
        let dir = world.partition_dir();
        let last: i64 = files(&dir, ".log").last().unwrap()[..20].parse().unwrap();
        assert!(last + 1 < 20);
        match stop {
            Some(_) => drop((directory, log)),
            None => World::stop(directory, log),
        }
        let rest = if is_in_last { last + 1 } else { 2 };
        let rest = dir.join(format!("{rest:020}.log"));
        fs::write(&rest, b"").unwrap();
        // A roll writes it first.
        let snapshot = dir.join(format!("{last:020}.snapshot"));
        fs::copy(snapshot, rest.with_extension("snapshot")).unwrap();
        let page_cache = stop.unwrap_or(PageCache::Lost);
        let (directory, _) = world.open_after(page_cache);
        let log = directory.get(&partition()).unwrap();
        assert_numbers(&log, 0, 20);
        assert!(!rest.exists());
        assert_eq!(log.segment_count(), files(&dir, ".log").len());
        // Nor does anybody look for it when it is flushed, or when the log goes on.
        assert_eq!(log.flush().unwrap(), 20);
        append_numbers(&log, 10);
        assert_eq!(log.flush().unwrap(), 30);
        World::stop(directory, log);
        let (_directory, log) = world.log();
        assert_numbers(&log, 0, 30);
    }
}

/// A power failure can lose a segment that was not flushed and keep the next one.
#[test]
fn a_hole_in_what_was_not_flushed_ends_the_log() {
    for emptied in [true, false] {
        let world = World::new(small_segments(300));
        let (directory, log) = world.log();
        append_numbers(&log, 20);
        drop((directory, log));
        let dir = world.partition_dir();
        let logs = files(&dir, ".log");
        let second = dir.join(&logs[1]);
        let bytes = fs::read(&second).unwrap();
        let length = batch(&[b"0"]).len();
        fs::write(&second, if emptied { &[] } else { &bytes[..length] }).unwrap();
        let (directory, report) = world.open();
        let log = directory.get(&partition()).unwrap();
        let base: i64 = logs[1][..20].parse().unwrap();
        assert_numbers(&log, 0, base + i64::from(!emptied));
        assert_eq!(report.findings.len(), 1, "{report:?}");
    }
}

#[test]
fn a_stray_is_kept_aside() {
    let world = World::new(LogConfig::default());
    let (directory, log) = world.log();
    append_numbers(&log, 5);
    let aside = directory.set_aside(&partition()).unwrap();
    assert!(log.read(0, 100, i64::MAX, true).is_err());
    assert!(directory.get(&partition()).is_none() && !world.partition_dir().exists());
    let name = aside.file_name().unwrap().to_str().unwrap();
    assert!(
        name.starts_with("orders-0.") && name.ends_with("-stray"),
        "{name}"
    );
    let of_that_name = directory
        .create(partition(), TOPIC_ID, world.config.clone(), NOW_MS)
        .unwrap();
    append_numbers(&of_that_name, 1);
    drop((directory, log, of_that_name));
    let (directory, report) = world.open();
    assert_eq!(report.ignored, std::slice::from_ref(&aside));
    assert_eq!(directory.logs().len(), 1);
    assert!(
        fs::metadata(aside.join("00000000000000000000.log"))
            .unwrap()
            .len()
            > 0
    );
}

fn open_keeping_mark(world: &World) -> (LogDirectory, foz_log::OpenReport) {
    let (data, handles) = (world.data(), &world.handles);
    let config_of = |_: &TopicPartition, _| world.config.clone();
    let lost = PageCache::Lost;
    LogDirectory::open_keeping_mark(&data, lost, 1, handles, NOW_MS, &config_of, &|_| {}).unwrap()
}

#[test]
fn the_mark_stays_until_something_is_to_be_changed() {
    let world = World::new(LogConfig::default());
    let (directory, log) = world.log();
    append_numbers(&log, 3);
    World::stop(directory, log);
    let mark = world.data().join(".kafka_cleanshutdown");
    // Killed, or stopped, before there was anything to write.
    for stops in [false, true, false] {
        let (directory, report) = open_keeping_mark(&world);
        assert_eq!(report.clean_shutdown, Some(MARK));
        directory.checkpoint().unwrap();
        if stops {
            directory.close_without_mark().unwrap();
        }
        assert!(mark.exists());
    }
    let (directory, report) = open_keeping_mark(&world);
    assert_eq!(report.clean_shutdown, Some(MARK));
    directory.take_mark_away().unwrap();
    assert!(!mark.exists());
    directory.take_mark_away().unwrap();
    drop(directory);
    assert_eq!(open_keeping_mark(&world).1.clean_shutdown, None);
}

/// The next opening must not take them for what the clean stop left.
#[test]
fn no_mark_stays_where_files_are_not_as_the_stop_left_them() {
    type Harm = fn(&std::path::Path);
    let harms: [(&str, Harm); 3] = [
        ("the directory is gone", |dir| {
            fs::remove_dir_all(dir).unwrap()
        }),
        ("a segment is empty", |dir| {
            fs::write(dir.join("00000000000000000000.log"), b"").unwrap();
        }),
        ("the snapshot is gone", |dir| {
            let snapshots = files(dir, ".snapshot");
            assert!(!snapshots.is_empty());
            for name in snapshots {
                fs::remove_file(dir.join(name)).unwrap();
            }
        }),
    ];
    for (what, harm) in harms {
        let world = World::new(LogConfig::default());
        let (directory, log) = world.log();
        append_numbers(&log, 3);
        World::stop(directory, log);
        harm(&world.partition_dir());
        let (_directory, report) = open_keeping_mark(&world);
        assert_eq!(report.clean_shutdown, Some(MARK), "{what}");
        assert!(
            !world.data().join(".kafka_cleanshutdown").exists(),
            "{what}"
        );
    }
}
