use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use foz_log::{Finding, LogConfig, OpenError, PartitionLog};

use crate::support::*;

const FIRST: &str = "00000000000000000000.log";

fn first_log(world: &World) -> PathBuf {
    world.partition_dir().join(FIRST)
}

fn flip(path: &PathBuf, at: u64) {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 0x10], at).unwrap();
}

/// Appends, flushes and lets the recovery point on disk know.
fn append_durably(world: &World, count: i64) {
    let (directory, log) = world.log();
    append_numbers(&log, count);
    log.flush().unwrap();
    directory.checkpoint().unwrap();
}

#[test]
fn a_log_cut_at_any_byte_of_its_last_batch_keeps_the_others() {
    let world = World::new(LogConfig::default());
    let length = batch(&[b"0"]).len() as u64;
    let (directory, log) = world.log();
    append_numbers(&log, 4);
    drop((directory, log));
    let whole = fs::read(first_log(&world)).unwrap();
    for cut in 3 * length..4 * length {
        fs::write(first_log(&world), &whole[..cut as usize]).unwrap();
        let (directory, report) = world.open();
        let log = directory.get(&partition()).unwrap();
        assert_numbers(&log, 0, 3);
        match report.findings.as_slice() {
            // The first bytes of the last batch are its base offset: zeros.
            [] => assert!(cut - 3 * length < 8),
            [
                (
                    _,
                    Finding::TailTruncated {
                        position,
                        bytes,
                        log_end_offset,
                        ..
                    },
                ),
            ] => {
                assert_eq!((*position, *bytes), (3 * length, cut - 3 * length));
                assert_eq!(*log_end_offset, 3);
            }
            other => panic!("{other:?}"),
        }
        append_numbers(&log, 1);
        assert_numbers(&log, 0, 4);
    }
}

#[test]
fn any_flipped_bit_of_the_unflushed_tail_cuts_it_off() {
    let world = World::new(LogConfig::default());
    let length = batch(&[b"0"]).len() as u64;
    append_durably(&world, 2);
    let (directory, log) = world.log();
    append_numbers(&log, 1);
    drop((directory, log));
    let whole = fs::read(first_log(&world)).unwrap();
    // The leader epoch is neither in the CRC nor does anything else tell what it was.
    for at in (2 * length..3 * length).filter(|at| !(12..16).contains(&(at - 2 * length))) {
        fs::write(first_log(&world), &whole).unwrap();
        flip(&first_log(&world), at);
        let (directory, report) = world.open();
        let log = directory.get(&partition()).unwrap();
        if at - 2 * length < 8 && log.log_end_offset() > 2 {
            // A base offset that rose is a gap, as compaction leaves them.
            continue;
        }
        assert_numbers(&log, 0, 2);
        assert_eq!(report.findings.len(), 1, "byte {at}");
    }
}

#[test]
fn damage_to_what_was_flushed_takes_the_partition_offline_until_it_is_mended() {
    let world = World::new(small_segments(250));
    append_durably(&world, 20);
    let damaged = fs::read(first_log(&world)).unwrap();
    // Damage lies in the segment that recovery walks: the one with the recovery point.
    let last = files(&world.partition_dir(), ".log").pop().unwrap();
    let path = world.partition_dir().join(&last);
    let before = fs::read(&path).unwrap();
    fs::write(&path, &before[..before.len() - 1]).unwrap();

    for _ in 0..2 {
        let (directory, report) = world.open();
        assert!(directory.get(&partition()).is_none());
        let [offline] = report.offline.as_slice() else {
            panic!("{report:?}")
        };
        assert_eq!(
            (&offline.partition, offline.topic_id),
            (&partition(), Some(TOPIC_ID))
        );
        let error = offline.error.to_string();
        assert!(
            error.contains(&last) && error.contains("before offset 20"),
            "{error}"
        );
        // It must not be forgotten what had been flushed, nor a clean stop be believed.
        directory.checkpoint().unwrap();
        directory
            .close_cleanly(foz_log::CleanShutdown { broker_epoch: 1 })
            .unwrap();
    }
    fs::write(&path, &before).unwrap();
    assert_eq!(
        fs::read(first_log(&world)).unwrap(),
        damaged,
        "nothing was changed"
    );
    let (_directory, log) = world.log();
    assert_numbers(&log, 0, 20);
}

#[test]
fn flushed_batches_that_are_gone_are_missed() {
    let world = World::new(LogConfig::default());
    append_durably(&world, 5);
    let length = batch(&[b"0"]).len() as u64;
    OpenOptions::new()
        .write(true)
        .open(first_log(&world))
        .unwrap()
        .set_len(3 * length)
        .unwrap();
    let (_directory, report) = world.open();
    let OpenError::Corrupt {
        position,
        recovery_offset,
        reason,
        ..
    } = &report.offline[0].error
    else {
        panic!("{report:?}")
    };
    assert_eq!((*position, *recovery_offset), (3 * length, 5));
    assert_eq!(reason, "the log ends at offset 3");
}

#[test]
fn space_allocated_ahead_is_no_loss_and_goes_at_a_clean_stop() {
    let config = LogConfig {
        flush_before_acknowledge: true,
        ..LogConfig::default()
    };
    let world = World::new(config);
    let (directory, log) = world.log();
    append_numbers(&log, 3);
    log.flush().unwrap();
    assert_eq!(fs::metadata(first_log(&world)).unwrap().len(), 64 << 10);
    drop((directory, log));

    let (directory, report) = world.open();
    assert!(
        report.findings.is_empty() && report.clean_shutdown.is_none(),
        "{report:?}"
    );
    let log = directory.get(&partition()).unwrap();
    append_numbers(&log, 2);
    assert_numbers(&log, 0, 5);
    World::stop(directory, log);
    let length = batch(&[b"0"]).len() as u64;
    assert_eq!(fs::metadata(first_log(&world)).unwrap().len(), 5 * length);

    let (_directory, report) = world.open();
    assert!(
        report.findings.is_empty() && report.clean_shutdown.is_some(),
        "{report:?}"
    );
}

#[test]
fn allocated_space_grows_within_the_segment() {
    let world = World::new(LogConfig {
        flush_before_acknowledge: true,
        segment_bytes: 1 << 20,
        ..LogConfig::default()
    });
    let (_directory, log) = world.log();
    let value = vec![7; 50_000];
    let mut lengths = Vec::new();
    for _ in 0..20 {
        append(&log, batch(&[&value]));
        lengths.push(fs::metadata(first_log(&world)).unwrap().len() >> 10);
    }
    lengths.dedup();
    assert_eq!(lengths, [64, 192, 448, 960, 1024]);
    append(&log, batch(&[&value]));
    assert_eq!(log.segment_count(), 2);
    assert!(
        fs::metadata(first_log(&world)).unwrap().len() < 1_048_576,
        "trimmed when rolled"
    );
}

#[test]
fn a_torn_segment_takes_later_ones_with_it() {
    let world = World::new(small_segments(250));
    let (directory, log) = world.log();
    append_numbers(&log, 12);
    drop((directory, log));
    let logs = files(&world.partition_dir(), ".log");
    let second = world.partition_dir().join(&logs[1]);
    flip(&second, 100);
    let (directory, report) = world.open();
    let log = directory.get(&partition()).unwrap();
    let end = log.log_end_offset();
    assert_numbers(&log, 0, end);
    assert!((3..12).contains(&end));
    assert_eq!(files(&world.partition_dir(), ".log"), logs[..2]);
    assert_eq!(files(&world.partition_dir(), ".timeindex").len(), 2);
    let [(_, Finding::TailTruncated { bytes, .. })] = &report.findings[..] else {
        panic!("{report:?}")
    };
    assert_eq!(
        *bytes,
        (12 - end) as u64 * batch(&[b"0"]).len() as u64 + 2,
        "10 and 11 are longer"
    );
    append_numbers(&log, 12 - end);
    assert_numbers(&log, 0, 12);
}

#[test]
fn indexes_are_made_anew_as_they_were() {
    for after_clean_stop in [true, false] {
        let world = World::new(small_segments(1000));
        let (directory, log) = world.log();
        append_numbers(&log, 40);
        if after_clean_stop {
            World::stop(directory, log);
        } else {
            log.flush().unwrap();
            directory.checkpoint().unwrap();
            drop((directory, log));
        }
        let dir = world.partition_dir();
        let indexes = [files(&dir, ".index"), files(&dir, ".timeindex")].concat();
        assert!(indexes.len() >= 6);
        let read_all = || -> Vec<Vec<u8>> {
            indexes
                .iter()
                .map(|name| fs::read(dir.join(name)).unwrap())
                .collect()
        };
        let before = read_all();
        assert!(
            before
                .iter()
                .all(|bytes| !bytes.is_empty() || !after_clean_stop)
        );
        for (n, name) in indexes.iter().enumerate() {
            if n % 2 == 0 {
                fs::remove_file(dir.join(name)).unwrap();
            } else {
                fs::write(dir.join(name), [1; 7]).unwrap();
            }
        }
        let (directory, log) = world.log();
        assert_numbers(&log, 0, 40);
        World::stop(directory, log);
        let after = read_all();
        if after_clean_stop {
            assert_eq!(after, before);
        } else {
            // The clean stop has closed the time index of the last segment.
            assert_eq!(after[..after.len() - 1], before[..before.len() - 1]);
        }
    }
}

/// Thousands of partitions may have nothing in them.
#[test]
fn indexes_come_with_the_first_batch() {
    let world = World::new(LogConfig::default());
    let dir = world.partition_dir();
    let indexes = || [files(&dir, ".index"), files(&dir, ".timeindex")].concat();
    let (directory, log) = world.log();
    assert_numbers(&log, 0, 0);
    log.flush().unwrap();
    assert_eq!(indexes().len(), 0);
    World::stop(directory, log);
    // What another life left there says nothing of an empty log.
    fs::write(dir.join("00000000000000000000.index"), [1; 80]).unwrap();
    let (directory, log) = world.log();
    append_numbers(&log, 3);
    assert_numbers(&log, 0, 3);
    assert_eq!(indexes().len(), 2);
    World::stop(directory, log);

    // Without entries they are there all the same: nothing is made anew at each start.
    let (_directory, report) = world.open();
    assert_eq!(report.findings, []);
    assert_eq!(
        fs::read(dir.join("00000000000000000000.index")).unwrap(),
        []
    );
}

#[test]
fn an_index_that_lies_is_not_believed() {
    let world = World::new(LogConfig {
        index_interval_bytes: 100,
        ..LogConfig::default()
    });
    let (directory, log) = world.log();
    append_numbers(&log, 30);
    World::stop(directory, log);
    let index = world.partition_dir().join("00000000000000000000.index");
    let mut bytes = fs::read(&index).unwrap();
    for entry in bytes.chunks_exact_mut(8) {
        entry[7] ^= 1; // positions that are not the beginning of a batch
    }
    fs::write(&index, bytes).unwrap();
    let (_directory, log) = world.log();
    for offset in 0..30 {
        assert_eq!(read_from(&log, offset).len() as i64, 30 - offset);
    }
}

#[test]
fn epochs_are_found_in_the_batches() {
    let world = World::new(small_segments(300));
    let (directory, log) = world.log();
    for (epoch, count) in [(1, 3), (4, 10), (9, 2)] {
        for _ in 0..count {
            log.append_as_leader(&mut batch(&[b"x"]), epoch, NOW_MS)
                .unwrap();
        }
    }
    World::stop(directory, log);
    let path = world.partition_dir().join("leader-epoch-checkpoint");
    assert_eq!(fs::read_to_string(&path).unwrap(), "0\n3\n1 0\n4 3\n9 13\n");
    let known = |log: &PartitionLog| [1, 4, 9].map(|epoch| log.end_offset_for_epoch(epoch));
    let expected = [Some((1, 3)), Some((4, 13)), Some((9, 15))];

    fs::write(&path, "garbage").unwrap();
    let (directory, report) = world.open();
    assert!(
        matches!(&report.findings[..], [(_, Finding::Rebuilt { .. })]),
        "{report:?}"
    );
    assert_eq!(known(&directory.get(&partition()).unwrap()), expected);
    drop(directory);

    fs::remove_file(&path).ok();
    let (_directory, log) = world.log();
    assert_eq!(known(&log), expected);
}

#[test]
fn a_damaged_snapshot_is_replaced_by_the_log_itself() {
    let world = World::new(small_segments(400));
    let (directory, log) = world.log();
    for n in 0..20 {
        append(&log, idempotent(5, 0, n, &[b"x"]));
    }
    World::stop(directory, log);
    for name in files(&world.partition_dir(), ".snapshot") {
        fs::write(world.partition_dir().join(name), b"garbage").unwrap();
    }
    let (_directory, log) = world.log();
    assert!(append(&log, idempotent(5, 0, 19, &[b"x"])).duplicate);
    assert!(append(&log, idempotent(5, 0, 15, &[b"x"])).duplicate);
    assert_eq!(log.log_end_offset(), 20);
}

#[test]
fn leftovers_of_interrupted_steps_go() {
    let world = World::new(LogConfig::default());
    let (directory, log) = world.log();
    append_numbers(&log, 2);
    drop((directory, log));
    let dir = world.partition_dir();
    for name in [
        "partition.metadata.tmp",
        "leader-epoch-checkpoint.tmp",
        "00000000000000000009.index",
        "00000000000000000009.timeindex",
        "00000000000000000009.log.deleted",
    ] {
        fs::write(dir.join(name), b"x").unwrap();
    }
    let (_directory, log) = world.log();
    assert_numbers(&log, 0, 2);
    let mut left = files(&dir, "");
    left.retain(|name| !name.starts_with("00000000000000000000"));
    assert_eq!(left, ["partition.metadata"]);
}

#[test]
fn a_segment_that_overlaps_the_one_before_goes() {
    let world = World::new(small_segments(250));
    let (directory, log) = world.log();
    append_numbers(&log, 12);
    drop((directory, log));
    let dir = world.partition_dir();
    let logs = files(&dir, ".log");
    fs::rename(dir.join(&logs[2]), dir.join("00000000000000000004.log")).unwrap();
    let (directory, report) = world.open();
    let log = directory.get(&partition()).unwrap();
    let end = log.log_end_offset();
    assert!(
        (3..12).contains(&end) && !report.findings.is_empty(),
        "{report:?}"
    );
    assert_numbers(&log, 0, end);
    append_numbers(&log, 12 - end);
    assert_numbers(&log, 0, 12);
}

#[test]
fn nothing_changes_on_disk_when_nothing_changes() {
    let world = World::new(small_segments(250));
    let (directory, log) = world.log();
    append_numbers(&log, 12);
    World::stop(directory, log);
    let list = || -> Vec<_> {
        let dir = world.partition_dir();
        let of = |name: String| {
            (
                fs::metadata(dir.join(&name)).unwrap().modified().unwrap(),
                name,
            )
        };
        files(&dir, "").into_iter().map(of).collect()
    };
    let before = list();
    let (directory, log) = world.log();
    assert_numbers(&log, 0, 12);
    World::stop(directory, log);
    assert_eq!(list(), before);
}
