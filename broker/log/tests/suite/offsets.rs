use foz_log::{LogConfig, TimestampType};
use foz_protocol::codec::Compression;
use foz_protocol::record::BatchBuilder;

use crate::support::*;

#[test]
fn the_first_record_at_or_after_a_time_is_found_in_every_codec() {
    for codec in Compression::ALL {
        let world = World::new(small_segments(400));
        let (_directory, log) = world.log();
        // Times fall and rise: 100 105 103 | 110 115 113 | ...
        let mut times = Vec::new();
        for n in 0..20 {
            let batch_times = [NOW_MS + n * 10, NOW_MS + n * 10 + 5, NOW_MS + n * 10 + 3];
            let records: Vec<_> = batch_times.iter().map(|ms| (*ms, &b"v"[..])).collect();
            append(&log, build(BatchBuilder::new(codec), &records));
            times.extend(batch_times);
        }
        assert!(log.segment_count() > 3);
        for ms in NOW_MS - 2..NOW_MS + 200 {
            let expected = times.iter().position(|t| *t >= ms);
            let found = log.offset_for_timestamp(ms, i64::MAX).unwrap();
            assert_eq!(found.map(|f| f.offset as usize), expected, "{codec:?} {ms}");
            assert_eq!(found.map(|f| f.timestamp_ms), expected.map(|at| times[at]));
        }
        let greatest = log.offset_of_max_timestamp(i64::MAX).unwrap().unwrap();
        assert_eq!((greatest.offset, greatest.timestamp_ms), (58, NOW_MS + 195));
        let greatest = log.offset_of_max_timestamp(30).unwrap().unwrap();
        assert_eq!((greatest.offset, greatest.timestamp_ms), (28, NOW_MS + 95));
        assert_eq!(log.offset_for_timestamp(NOW_MS + 150, 30).unwrap(), None);
    }
}

#[test]
fn records_before_the_start_are_not_found() {
    let world = World::new(LogConfig::default());
    let (_directory, log) = world.log();
    assert_eq!(log.offset_for_timestamp(0, i64::MAX).unwrap(), None);
    assert_eq!(log.offset_of_max_timestamp(i64::MAX).unwrap(), None);
    for n in 0..10 {
        append(&log, batch_at(&[b"x"], NOW_MS - n));
    }
    log.set_high_watermark(10);
    log.advance_log_start_offset(4).unwrap();
    let found = log.offset_for_timestamp(0, i64::MAX).unwrap().unwrap();
    assert_eq!(
        (found.offset, found.timestamp_ms, found.leader_epoch),
        (4, NOW_MS - 4, 0)
    );
    let greatest = log.offset_of_max_timestamp(i64::MAX).unwrap().unwrap();
    assert_eq!((greatest.offset, greatest.timestamp_ms), (4, NOW_MS - 4));
}

#[test]
fn the_brokers_time_is_the_time_of_every_record() {
    let world = World::new(LogConfig {
        message_timestamp_type: TimestampType::LogAppendTime,
        ..LogConfig::default()
    });
    let (_directory, log) = world.log();
    for ms in [100, 200] {
        log.append_as_leader(&mut batch_at(&[b"a", b"b"], 5), 0, ms)
            .unwrap();
    }
    let found = log.offset_for_timestamp(101, i64::MAX).unwrap().unwrap();
    assert_eq!((found.offset, found.timestamp_ms), (2, 200));
}

#[test]
fn times_are_known_after_a_restart_of_either_kind() {
    let world = World::new(small_segments(400));
    for round in 0..4 {
        let (directory, log) = world.log();
        for n in 0..7 {
            append(&log, batch_at(&[b"x"], NOW_MS + round * 100 + n));
        }
        let greatest = log.offset_of_max_timestamp(i64::MAX).unwrap().unwrap();
        assert_eq!(
            (greatest.offset, greatest.timestamp_ms),
            (round * 7 + 6, NOW_MS + round * 100 + 6)
        );
        let found = log
            .offset_for_timestamp(NOW_MS + round * 100, i64::MAX)
            .unwrap()
            .unwrap();
        assert_eq!(found.offset, round * 7);
        if round % 2 == 0 {
            World::stop(directory, log);
        }
    }
}
