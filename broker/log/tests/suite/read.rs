use std::sync::atomic::{AtomicBool, Ordering};

use foz_log::{LogConfig, PartitionLog, ReadError};
use foz_protocol::error::ErrorCode;

use crate::support::*;

#[test]
fn limits_are_kept() {
    let world = World::new(LogConfig::default());
    let (_directory, log) = world.log();
    append_numbers(&log, 10);
    let length = batch(&[b"0"]).len();
    let count = |offset, max_bytes, upper, minimum_one| {
        decode(&log.read(offset, max_bytes, upper, minimum_one).unwrap()).len()
    };
    assert_eq!(count(0, usize::MAX >> 1, i64::MAX, true), 10);
    assert_eq!(count(0, length * 3, i64::MAX, false), 3);
    assert_eq!(count(0, length * 3 + 1, i64::MAX, false), 3);
    assert_eq!(count(0, length - 1, i64::MAX, false), 0);
    assert_eq!(count(0, length - 1, i64::MAX, true), 1);
    assert_eq!(count(0, 0, i64::MAX, true), 1);
    assert_eq!(count(4, 1 << 20, 7, true), 3);
    assert_eq!(count(7, 1 << 20, 7, true), 0);
    assert_eq!(
        count(9, 1 << 20, 7, true),
        0,
        "above what may be seen, yet within the log"
    );
    assert_eq!(count(10, 1 << 20, i64::MAX, true), 0);
}

#[test]
fn a_batch_is_given_whole_or_not_at_all() {
    let world = World::new(LogConfig::default());
    let (_directory, log) = world.log();
    append(&log, batch(&[b"a", b"b", b"c"]));
    let offsets = |offset, upper| -> Vec<i64> {
        let bytes = log.read(offset, 1 << 20, upper, true).unwrap();
        decode(&bytes)
            .into_iter()
            .map(|(offset, _)| offset)
            .collect()
    };
    assert_eq!(
        offsets(2, i64::MAX),
        [0, 1, 2],
        "an offset within a batch gets the batch"
    );
    assert!(
        offsets(0, 2).is_empty(),
        "its last record may not be seen yet"
    );
}

#[test]
fn offsets_out_of_range_are_named() {
    let world = World::new(LogConfig::default());
    let (_directory, log) = world.log();
    append_numbers(&log, 5);
    log.set_high_watermark(5);
    log.advance_log_start_offset(2).unwrap();
    for offset in [-1, 0, 1, 6, i64::MAX] {
        let error = log.read(offset, 100, i64::MAX, true).unwrap_err();
        assert_eq!(
            (error.error_code(), error.error_code().is_retriable()),
            (ErrorCode::OffsetOutOfRange, false)
        );
        assert!(matches!(
            error,
            ReadError::OffsetOutOfRange {
                start: 2,
                end: 5,
                ..
            }
        ));
    }
    assert_numbers(&log, 2, 5);
}

#[test]
fn reading_goes_on_over_segments() {
    let world = World::new(small_segments(300));
    let (_directory, log) = world.log();
    append_numbers(&log, 50);
    assert!(log.segment_count() > 5);
    for offset in 0..50 {
        assert_eq!(read_from(&log, offset).len() as i64, 50 - offset);
    }
    assert!(world.handles.open_count() <= 16);
}

#[test]
fn readers_see_whole_batches_while_others_append() {
    let world = World::new(small_segments(20_000));
    let (_directory, log) = world.log();
    let written = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| follow(&log, &written));
        }
        append_numbers(&log, 3000);
        written.store(true, Ordering::Release);
    });
    assert!(log.segment_count() > 5);
}

/// Reads until the writer is done and everything was seen.
fn follow(log: &PartitionLog, written: &AtomicBool) {
    let mut next = 0;
    while !(written.load(Ordering::Acquire) && next == log.log_end_offset()) {
        for (offset, value) in decode(&log.read(next, 5000, i64::MAX, true).unwrap()) {
            assert_eq!(offset, next);
            assert_eq!(value, offset.to_string().into_bytes());
            next += 1;
        }
    }
}

#[test]
fn writers_at_the_same_time_get_offsets_of_their_own() {
    let world = World::new(small_segments(20_000));
    let (_directory, log) = world.log();
    let write = |id: i64| -> Vec<i64> {
        let batches = (0..500).map(|sequence| idempotent(id, 0, sequence, &[b"x"]));
        batches
            .map(|batch| append(&log, batch).first_offset)
            .collect()
    };
    let mut offsets = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..3)
            .map(|id| {
                scope.spawn({
                    let write = &write;
                    move || write(id)
                })
            })
            .collect();
        threads
            .into_iter()
            .flat_map(|thread| thread.join().unwrap())
            .collect::<Vec<_>>()
    });
    offsets.sort_unstable();
    assert_eq!(offsets, (0..1500).collect::<Vec<_>>());
    assert_eq!(read_from(&log, 0).len(), 1500);
}

#[test]
fn a_corrupt_length_on_disk_takes_no_memory() {
    let world = World::new(LogConfig::default());
    let (_directory, log) = world.log();
    append_numbers(&log, 3);
    let path = world.partition_dir().join("00000000000000000000.log");
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[8..12].copy_from_slice(&i32::MAX.to_be_bytes());
    std::fs::write(&path, &bytes).unwrap();
    let error = log.read(0, 100, i64::MAX, true).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("00000000000000000000.log is damaged at byte 0"),
        "{error}"
    );
    assert_eq!(
        (error.error_code(), error.error_code().is_retriable()),
        (ErrorCode::KafkaStorageError, true)
    );
}

/// Files are cut and written anew under a reader: it gets whole batches of one history or the other, and no
/// error that would make somebody take the log for damaged.
#[test]
fn readers_are_not_disturbed_by_truncations() {
    let world = World::new(small_segments(500));
    let (directory, log) = world.log();
    append_numbers(&log, 30);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..2)
            .map(|n| {
                let (log, done) = (&log, &done);
                scope.spawn(move || {
                    let mut offset = n;
                    let mut reads = 0_u64;
                    while !done.load(Ordering::Acquire) {
                        offset = (offset + 7) % 30;
                        match log.read(offset, 300, i64::MAX, true) {
                            Ok(bytes) => {
                                for (at, value) in decode(&bytes) {
                                    assert_eq!(value, at.to_string().into_bytes());
                                }
                            }
                            Err(ReadError::OffsetOutOfRange { .. }) => {}
                            Err(error) => panic!("{error}"),
                        }
                        let found = log.offset_for_timestamp(NOW_MS, i64::MAX);
                        assert!(found.unwrap().is_none_or(|found| found.offset == 0));
                        reads += 1;
                    }
                    reads
                })
            })
            .collect();
        for round in 0..100 {
            directory.truncate(&log, round % 30, NOW_MS).unwrap();
            append_numbers(&log, 30 - log.log_end_offset());
        }
        done.store(true, Ordering::Release);
        for reader in readers {
            assert!(reader.join().unwrap() > 0);
        }
    });
    assert_numbers(&log, 0, 30);
}
