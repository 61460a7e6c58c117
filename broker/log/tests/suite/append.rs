use foz_log::{AppendError, CleanShutdown, LogConfig, TimestampType, TopicPartition};
use foz_protocol::batch::BatchHeader;
use foz_protocol::error::ErrorCode;

use crate::support::*;

#[test]
fn offsets_and_epoch_are_assigned_and_the_rest_stays() {
    let world = World::new(LogConfig::default());
    let (_directory, log) = world.log();
    let mut bytes = [batch(&[b"a", b"b"]), batch(&[b"c"])].concat();
    let sent = bytes.clone();
    let appended = log.append_as_leader(&mut bytes, 7, NOW_MS).unwrap();
    assert_eq!((appended.first_offset, appended.last_offset), (0, 2));
    assert_eq!(
        (appended.log_append_time_ms, appended.duplicate),
        (-1, false)
    );
    let appended = append_with_epoch(&log, 7);
    assert_eq!((appended.first_offset, appended.log_start_offset), (3, 0));

    let stored = log.read(0, 1 << 20, i64::MAX, true).unwrap();
    let header = BatchHeader::parse(&stored).unwrap();
    assert_eq!((header.base_offset, header.partition_leader_epoch), (0, 7));
    assert_eq!(
        stored[16..header.total_length()],
        sent[16..header.total_length()]
    );
    let values: Vec<_> = read_from(&log, 0)
        .into_iter()
        .map(|(_, value)| value)
        .collect();
    assert_eq!(values, [b"a", b"b", b"c", b"z"]);
}

fn append_with_epoch(log: &foz_log::PartitionLog, epoch: i32) -> foz_log::Appended {
    log.append_as_leader(&mut batch(&[b"z"]), epoch, NOW_MS)
        .unwrap()
}

#[test]
fn an_older_leader_is_refused() {
    let world = World::new(LogConfig::default());
    let (directory, log) = world.log();
    append_with_epoch(&log, 7);
    let error = log
        .append_as_leader(&mut batch(&[b"x"]), 6, NOW_MS)
        .unwrap_err();
    assert_eq!(
        (error.error_code(), error.error_code().is_retriable()),
        (ErrorCode::NotLeaderOrFollower, true)
    );
    log.assign_leader_epoch(9, NOW_MS);
    assert!(
        log.append_as_leader(&mut batch(&[b"x"]), 8, NOW_MS)
            .is_err()
    );
    append_with_epoch(&log, 9);
    log.assign_leader_epoch(12, NOW_MS);
    World::stop(directory, log);

    let (_directory, log) = world.log();
    assert_eq!(log.end_offset_for_epoch(7), Some((7, 1)));
    assert_eq!(log.end_offset_for_epoch(8), Some((7, 1)));
    assert_eq!(log.end_offset_for_epoch(9), Some((9, 2)));
    assert_eq!(
        log.end_offset_for_epoch(12),
        Some((12, 2)),
        "it has written nothing yet"
    );
    assert!(
        log.append_as_leader(&mut batch(&[b"x"]), 8, NOW_MS)
            .is_err()
    );
}

#[test]
fn duplicates_are_answered_with_their_offsets() {
    let world = World::new(LogConfig::default());
    let (_directory, log) = world.log();
    append(&log, batch(&[b"other"]));
    for n in 0..6 {
        append(&log, idempotent(5, 0, n * 2, &[b"x", b"y"]));
    }
    let again = append(&log, idempotent(5, 0, 4, &[b"x", b"y"]));
    assert!(again.duplicate);
    assert_eq!((again.first_offset, again.last_offset), (5, 6));
    assert_eq!(log.log_end_offset(), 13);
    let error = log
        .append_as_leader(&mut idempotent(5, 0, 14, &[b"x"]), 0, NOW_MS)
        .unwrap_err();
    assert!(matches!(
        error,
        AppendError::OutOfOrderSequence {
            expected: 12,
            found: 14,
            ..
        }
    ));
    assert_eq!(log.log_end_offset(), 13, "what is refused is not there");
}

#[test]
fn producers_survive_a_clean_stop_and_a_kill() {
    let world = World::new(small_segments(400));
    let (directory, log) = world.log();
    for n in 0..20 {
        append(&log, idempotent(5, 1, n, &[b"x"]));
    }
    World::stop(directory, log);

    let (directory, log) = world.log();
    assert!(append(&log, idempotent(5, 1, 19, &[b"x"])).duplicate);
    for n in 20..30 {
        append(&log, idempotent(5, 1, n, &[b"x"]));
    }
    drop((directory, log));

    let (_directory, log) = world.log();
    assert_eq!(log.log_end_offset(), 30);
    let last = append(&log, idempotent(5, 1, 29, &[b"x"]));
    assert!(last.duplicate);
    assert_eq!(last.first_offset, 29);
    let error = log
        .append_as_leader(&mut idempotent(5, 0, 30, &[b"x"]), 0, NOW_MS)
        .unwrap_err();
    assert_eq!(error.error_code(), ErrorCode::InvalidProducerEpoch);
    append(&log, idempotent(5, 1, 30, &[b"x"]));
}

#[test]
fn all_batches_under_way_are_known_after_a_kill() {
    let world = World::new(LogConfig::default());
    let (directory, log) = world.log();
    for n in 0..5 {
        append(&log, idempotent(5, 0, n, &[b"x"]));
        log.flush().unwrap();
        directory.checkpoint().unwrap();
    }
    drop((directory, log));
    let (_directory, log) = world.log();
    for n in 0..5 {
        let again = append(&log, idempotent(5, 0, n, &[b"x"]));
        assert_eq!((again.duplicate, again.first_offset), (true, i64::from(n)));
    }
}

/// A snapshot holds the last batch of each producer alone.
#[test]
fn all_batches_under_way_are_known_after_a_clean_stop_and_a_truncation() {
    for (segment_bytes, others) in [(1 << 20, 0), (1 << 20, 1000), (400, 3)] {
        let world = World::new(small_segments(segment_bytes));
        let (directory, log) = world.log();
        let mut offsets = Vec::new();
        for n in 0..7 {
            let appended = append(&log, idempotent(5, 0, n * 2, &[b"x", b"y"]));
            offsets.push(appended.first_offset);
            append(&log, idempotent(6, 0, n, &[b"x"]));
            append_numbers(&log, others);
        }
        let cut = append_and_roll(&log, &world.config);
        append(&log, idempotent(5, 0, 14, &[b"x", b"y"]));
        World::stop(directory, log);

        for truncated in [false, true] {
            let (directory, log) = world.log();
            if truncated {
                directory.truncate(&log, cut, NOW_MS).unwrap();
            }
            let first = if truncated { 2 } else { 3 };
            let end = log.log_end_offset();
            for n in first..7 {
                let again = append(&log, idempotent(5, 0, n * 2, &[b"x", b"y"]));
                let known = (again.duplicate, again.first_offset);
                assert_eq!(known, (true, offsets[n as usize]), "{n} {truncated}");
            }
            let sequence = (first - 1) * 2;
            let error = log
                .append_as_leader(&mut idempotent(5, 0, sequence, &[b"x", b"y"]), 0, NOW_MS)
                .unwrap_err();
            assert_eq!(error.error_code(), ErrorCode::OutOfOrderSequenceNumber);
            assert_eq!(log.log_end_offset(), end);
            World::stop(directory, log);
        }
    }
}

/// A segment ends, so that there is a snapshot in the middle of the log. Returns where.
fn append_and_roll(log: &foz_log::PartitionLog, config: &LogConfig) -> i64 {
    log.set_config(LogConfig {
        segment_bytes: 300,
        ..config.clone()
    });
    while !append(log, batch(&[b"other"])).rolled {}
    log.set_config(config.clone());
    log.log_end_offset() - 1
}

#[test]
fn the_brokers_clock_can_stamp() {
    let world = World::new(LogConfig {
        message_timestamp_type: TimestampType::LogAppendTime,
        ..LogConfig::default()
    });
    let (_directory, log) = world.log();
    let mut bytes = idempotent(5, 0, 0, &[b"x"]);
    let appended = log.append_as_leader(&mut bytes.clone(), 0, 77).unwrap();
    assert_eq!(appended.log_append_time_ms, 77);
    let again = log.append_as_leader(&mut bytes, 0, 99).unwrap();
    assert_eq!((again.duplicate, again.log_append_time_ms), (true, 77));
    let header = BatchHeader::parse(&log.read(0, 0, i64::MAX, true).unwrap()).unwrap();
    assert_eq!(
        (header.is_log_append_time(), header.max_timestamp),
        (true, 77)
    );
}

#[test]
fn segments_roll_by_size_time_and_index() {
    let world = World::new(small_segments(250));
    let (_directory, log) = world.log();
    append_numbers(&log, 10);
    let length = batch(&[b"0"]).len() as i64;
    assert_eq!(
        log.segment_count() as i64,
        10 / (250 / length) + i64::from(10 % (250 / length) > 0)
    );
    assert_numbers(&log, 0, 10);

    let world = World::new(LogConfig {
        segment_ms: 1000,
        ..LogConfig::default()
    });
    let (_directory, log) = world.log();
    for ms in [0, 1000, 1001, 1500] {
        append(&log, batch_at(&[b"x"], NOW_MS + ms));
    }
    assert_eq!(
        files(&world.partition_dir(), ".log"),
        ["00000000000000000000.log", "00000000000000000002.log"]
    );

    let world = World::new(LogConfig {
        segment_index_bytes: 36, // three entries of the time index, one of them for the end
        index_interval_bytes: 1,
        ..LogConfig::default()
    });
    let (_directory, log) = world.log();
    for n in 0..9 {
        let rolled = append(&log, batch_at(&[b"x"], NOW_MS + n)).rolled;
        assert_eq!(rolled, n > 0 && n % 3 == 0, "{n}");
    }
    assert_eq!(log.segment_count(), 3);
}

/// Each log takes another part of `segment.jitter.ms`, and on each replica the same.
#[test]
fn segments_that_begin_together_do_not_end_together() {
    let ages = || -> Vec<i64> { (0..20).map(age_at_roll).collect() };
    let all = ages();
    assert_eq!(all, ages());
    assert!(all.iter().all(|ms| (501..=1001).contains(ms)), "{all:?}");
    let (least, most) = (all.iter().min().unwrap(), all.iter().max().unwrap());
    assert!(most - least > 200, "{all:?}");
}

/// When the first segment of this partition ends, with `segment.ms` 1000 and `segment.jitter.ms` 500.
fn age_at_roll(index: i32) -> i64 {
    let config = LogConfig {
        segment_ms: 1000,
        segment_jitter_ms: 500,
        ..LogConfig::default()
    };
    let world = World::new(config.clone());
    let (directory, _) = world.open();
    let partition = TopicPartition::new("jitter", index);
    let log = directory
        .create(partition, TOPIC_ID, config, NOW_MS)
        .unwrap();
    append(&log, batch_at(&[b"x"], NOW_MS));
    let rolls = |ms: &i64| append(&log, batch_at(&[b"x"], NOW_MS + ms)).rolled;
    (1..2000).find(rolls).unwrap()
}

#[test]
fn a_closed_log_takes_nothing_but_can_be_read() {
    let world = World::new(LogConfig::default());
    let (directory, log) = world.log();
    append_numbers(&log, 3);
    let mark = CleanShutdown { broker_epoch: 1 };
    directory.close_cleanly(mark).unwrap();
    let error = log
        .append_as_leader(&mut batch(&[b"x"]), 0, NOW_MS)
        .unwrap_err();
    assert_eq!(error.error_code(), ErrorCode::KafkaStorageError);
    assert!(error.to_string().contains("orders-0 is closed"), "{error}");
    assert_numbers(&log, 0, 3);
    directory.close_cleanly(mark).unwrap();
}

#[test]
fn a_config_change_counts_from_the_next_append() {
    let world = World::new(LogConfig::default());
    let (_directory, log) = world.log();
    append_numbers(&log, 1);
    log.set_config(LogConfig {
        max_message_bytes: 10,
        ..LogConfig::default()
    });
    let error = log
        .append_as_leader(&mut batch(&[b"x"]), 0, NOW_MS)
        .unwrap_err();
    assert!(matches!(
        error,
        AppendError::MessageTooLarge { max: 10, .. }
    ));
}

#[test]
fn a_write_that_fails_leaves_the_log_as_it_was() {
    let world = World::new(LogConfig::default());
    let (directory, log) = world.log();
    append(&log, idempotent(5, 0, 0, &[b"0"]));
    world.handles.close_idle();
    world.handles.close_idle();
    let path = world.partition_dir().join("00000000000000000000.log");
    let aside = world.dir.path().join("aside");
    std::fs::rename(&path, &aside).unwrap();
    let next = idempotent(5, 0, 1, &[b"1"]);
    let error = log
        .append_as_leader(&mut next.clone(), 0, NOW_MS)
        .unwrap_err();
    assert_eq!(
        (error.error_code(), error.error_code().is_retriable()),
        (ErrorCode::KafkaStorageError, true)
    );
    assert_eq!(log.log_end_offset(), 1);
    std::fs::rename(&aside, &path).unwrap();
    let appended = append(&log, next);
    assert_eq!((appended.first_offset, appended.duplicate), (1, false));
    assert_numbers(&log, 0, 2);
    drop((directory, log));
    let (_directory, log) = world.log();
    assert_numbers(&log, 0, 2);
}
