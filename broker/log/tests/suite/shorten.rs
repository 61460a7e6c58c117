use foz_log::{LogConfig, ReadError};

use crate::support::*;

const HOUR_MS: i64 = 3_600_000;

#[test]
fn old_segments_go_by_time() {
    let world = World::new(LogConfig {
        retention_ms: Some(HOUR_MS),
        ..small_segments(250)
    });
    let (directory, log) = world.log();
    for n in 0..20 {
        append(&log, batch_at(&[b"x"], NOW_MS + n * 60_000));
    }
    log.set_high_watermark(20);
    assert_eq!(log.apply_retention(NOW_MS + HOUR_MS).unwrap(), 0);
    let gone = log.apply_retention(NOW_MS + HOUR_MS + 10 * 60_000).unwrap();
    assert!(gone > 0);
    let start = log.log_start_offset();
    assert!(
        (1..=10).contains(&start),
        "what is 60 minutes old at most stays: {start}"
    );
    assert!(matches!(
        log.read(0, 100, i64::MAX, true),
        Err(ReadError::OffsetOutOfRange { end: 20, .. })
    ));
    assert_eq!(read_from(&log, start).len() as i64, 20 - start);

    // Everything is old: the end of the log stays known.
    log.apply_retention(NOW_MS + 3 * HOUR_MS).unwrap();
    assert_eq!(
        (
            log.log_start_offset(),
            log.log_end_offset(),
            log.size_bytes()
        ),
        (20, 20, 0)
    );
    assert_eq!(log.apply_retention(NOW_MS + 9 * HOUR_MS).unwrap(), 0);
    assert_eq!(
        files(&world.partition_dir(), ".log"),
        ["00000000000000000020.log"]
    );
    drop((directory, log));
    let (_directory, log) = world.log();
    assert_eq!((log.log_start_offset(), log.log_end_offset()), (20, 20));
    append_numbers(&log, 2);
    assert_numbers(&log, 20, 22);
}

/// As on a full disk, where nothing can be made before something has gone.
#[test]
fn a_log_that_is_old_altogether_makes_room_for_its_new_segment_first() {
    let world = World::new(LogConfig {
        retention_ms: Some(HOUR_MS),
        ..small_segments(250)
    });
    let (directory, log) = world.log();
    append_numbers(&log, 20);
    log.set_high_watermark(20);
    assert!(log.segment_count() > 2);
    let in_the_way = world.partition_dir().join("00000000000000000020.log");
    std::fs::create_dir(&in_the_way).unwrap();
    for _ in 0..2 {
        log.apply_retention(NOW_MS + 2 * HOUR_MS).unwrap_err();
        assert_eq!(log.segment_count(), 1);
    }
    let start = log.log_start_offset();
    assert!((10..20).contains(&start), "{start}");
    assert_numbers(&log, start, 20);
    std::fs::remove_dir(&in_the_way).unwrap();
    drop((directory, log));
    let (_directory, log) = world.log();
    assert_numbers(&log, start, 20);
    log.set_high_watermark(20);
    assert_eq!(log.apply_retention(NOW_MS + 2 * HOUR_MS).unwrap(), 1);
    assert_numbers(&log, 20, 20);
}

#[test]
fn old_segments_go_by_size() {
    let config = LogConfig {
        retention_ms: None,
        retention_bytes: Some(500),
        ..small_segments(250)
    };
    let world = World::new(config.clone());
    let (_directory, log) = world.log();
    append_numbers(&log, 30);
    log.set_high_watermark(30);
    log.apply_retention(NOW_MS).unwrap();
    assert!(
        (500..750).contains(&log.size_bytes()),
        "{}",
        log.size_bytes()
    );
    let start = log.log_start_offset();
    assert_numbers(&log, start, 30);

    log.set_config(LogConfig {
        cleanup_delete: false,
        retention_bytes: Some(0),
        ..config
    });
    assert_eq!(
        log.apply_retention(NOW_MS).unwrap(),
        0,
        "cleanup.policy has no delete"
    );
}

#[test]
fn nothing_above_the_high_watermark_goes() {
    let world = World::new(LogConfig {
        retention_ms: Some(0),
        ..small_segments(250)
    });
    let (_directory, log) = world.log();
    append_numbers(&log, 20);
    log.set_high_watermark(5);
    log.apply_retention(NOW_MS + 1).unwrap();
    let start = log.log_start_offset();
    assert!((1..=5).contains(&start), "{start}");
    assert_numbers(&log, start, 20);
}

#[test]
fn deleted_records_stay_deleted() {
    let world = World::new(small_segments(250));
    let (directory, log) = world.log();
    append_numbers(&log, 20);
    log.set_high_watermark(15);
    assert!(
        log.advance_log_start_offset(16).is_err(),
        "above the high watermark"
    );
    assert!(log.advance_log_start_offset(-1).is_err());
    assert_eq!(log.advance_log_start_offset(10).unwrap(), 10);
    assert_eq!(
        log.advance_log_start_offset(4).unwrap(),
        10,
        "it never goes back"
    );
    let before = log.segment_count();
    assert!(
        log.apply_retention(NOW_MS).unwrap() > 0,
        "whole segments before the start go"
    );
    assert!(log.segment_count() < before);
    log.flush().unwrap();
    directory.checkpoint().unwrap();
    drop((directory, log));
    let (_directory, log) = world.log();
    assert_numbers(&log, 10, 20);
}

#[test]
fn a_log_is_truncated_at_any_offset_and_goes_on() {
    for offset in 0..=21 {
        let world = World::new(small_segments(400));
        let (directory, log) = world.log();
        for n in 0..20 {
            append(&log, idempotent(5, 0, n, &[n.to_string().as_bytes()]));
        }
        log.flush().unwrap();
        directory.checkpoint().unwrap();
        directory.truncate(&log, offset, NOW_MS).unwrap();
        let end = offset.min(20);
        assert_numbers(&log, 0, end);
        assert_eq!(log.flushed_offset(), end);
        let value = end.to_string();
        if offset > 0 {
            let wrong = idempotent(5, 0, end as i32 + 1, &[b"x"]);
            assert!(
                log.append_as_leader(&mut wrong.clone(), 0, NOW_MS).is_err(),
                "{offset}"
            );
        }
        append(&log, idempotent(5, 0, end as i32, &[value.as_bytes()]));
        assert_numbers(&log, 0, end + 1);
        drop((directory, log));

        let (directory, log) = world.log();
        assert_numbers(&log, 0, end + 1);
        World::stop(directory, log);
        let (_directory, log) = world.log();
        assert_numbers(&log, 0, end + 1);
    }
}

#[test]
fn a_batch_is_truncated_as_a_whole() {
    let world = World::new(LogConfig::default());
    let (directory, log) = world.log();
    append(&log, batch(&[b"0", b"1"]));
    append(&log, batch(&[b"2", b"3", b"4"]));
    directory.truncate(&log, 3, NOW_MS).unwrap();
    assert_numbers(&log, 0, 2);
    log.append_as_leader(&mut batch(&[b"2"]), 3, NOW_MS)
        .unwrap();
    assert_eq!(log.end_offset_for_epoch(0), Some((0, 2)));
    assert_numbers(&log, 0, 3);
}

#[test]
fn records_without_timestamps_are_as_old_as_their_file() {
    let world = World::new(LogConfig {
        retention_ms: Some(HOUR_MS),
        ..LogConfig::default()
    });
    let (_directory, log) = world.log();
    append(&log, batch_at(&[b"x"], -1));
    log.set_high_watermark(1);
    let since = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    let now_ms = since.as_millis() as i64;
    assert_eq!(log.apply_retention(now_ms + HOUR_MS / 2).unwrap(), 0);
    assert_eq!(log.apply_retention(now_ms + HOUR_MS * 2).unwrap(), 1);
}
