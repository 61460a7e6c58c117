//! What DeleteRecords deleted stays away, whatever happens to the process, the machine and the topic.

use std::fs;

use foz_log::LogDirectory;

use crate::support::*;

const START_FILE: &str = "log-start-offset-checkpoint";

fn start_file(world: &World) -> String {
    fs::read_to_string(world.data().join(START_FILE)).unwrap()
}

#[test]
fn a_start_is_durable_once_it_is_written_and_not_before() {
    let world = World::new(small_segments(250));
    let (directory, log) = world.log();
    append_numbers(&log, 20);
    log.flush().unwrap();
    log.set_high_watermark(20);
    directory.checkpoint().unwrap();
    log.advance_log_start_offset(7).unwrap();
    assert_eq!(log.durable_log_start_offset(), 0);
    drop((directory, log));
    let (directory, log) = world.log();
    assert_numbers(&log, 0, 20);

    log.set_high_watermark(20);
    log.advance_log_start_offset(7).unwrap();
    directory.checkpoint_log_starts().unwrap();
    assert_eq!(log.durable_log_start_offset(), 7);
    log.advance_log_start_offset(9).unwrap();
    assert_eq!(log.durable_log_start_offset(), 7, "of before");
    drop((directory, log));
    let (directory, log) = world.log();
    assert_numbers(&log, 7, 20);
    assert_eq!(log.durable_log_start_offset(), 7);

    // The checkpoints that are written from time to time do as well.
    log.set_high_watermark(20);
    log.advance_log_start_offset(20).unwrap();
    directory.checkpoint().unwrap();
    assert_eq!(log.durable_log_start_offset(), 20);
    drop((directory, log));
    let (_directory, log) = world.log();
    assert_numbers(&log, 20, 20);
    append_numbers(&log, 1);
    assert_numbers(&log, 20, 21);
}

#[test]
fn a_start_that_cannot_be_written_holds_until_a_crash() {
    let world = World::new(small_segments(250));
    let (directory, log) = world.log();
    append_numbers(&log, 20);
    log.flush().unwrap();
    log.set_high_watermark(20);
    directory.checkpoint().unwrap();
    log.advance_log_start_offset(7).unwrap();
    let in_the_way = world.data().join(START_FILE);
    let _ = fs::remove_file(&in_the_way);
    fs::create_dir(&in_the_way).unwrap();
    let error = directory.checkpoint_log_starts().unwrap_err();
    assert!(error.to_string().contains(START_FILE), "{error}");
    assert_eq!(
        (log.log_start_offset(), log.durable_log_start_offset()),
        (7, 0)
    );
    assert!(
        log.apply_retention(NOW_MS).unwrap() > 0,
        "segments go all the same"
    );
    fs::remove_dir(&in_the_way).unwrap();
    directory.checkpoint_log_starts().unwrap();
    assert_eq!(log.durable_log_start_offset(), 7);
}

/// Files were removed, and the directory was not flushed yet.
#[test]
fn segments_that_a_power_failure_brings_back_hold_nothing_deleted() {
    for is_written_first in [true, false] {
        bring_segments_back(is_written_first);
    }
}

/// Where the log starts is written before the segments before it go, or after that.
fn bring_segments_back(is_written_first: bool) {
    let world = World::new(small_segments(250));
    let (directory, log) = world.log();
    append_numbers(&log, 20);
    log.flush().unwrap();
    log.set_high_watermark(20);
    directory.checkpoint().unwrap();
    let removed: Vec<_> = fs::read_dir(world.partition_dir())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.clone(), fs::read(path).unwrap()))
        .collect();
    // Where a segment begins: then no file begins before the start.
    let names = files(&world.partition_dir(), ".log");
    let start: i64 = names[2].trim_end_matches(".log").parse().unwrap();
    log.advance_log_start_offset(start).unwrap();
    if is_written_first {
        directory.checkpoint_log_starts().unwrap();
    }
    assert_eq!(log.apply_retention(NOW_MS).unwrap(), 2);
    assert_eq!(files(&world.partition_dir(), ".log"), names[2..]);
    for _ in 0..2 {
        directory.checkpoint_log_starts().unwrap();
        assert_eq!(log.durable_log_start_offset(), start);
        directory.checkpoint().unwrap();
    }
    assert_eq!(start_file(&world), format!("0\n1\norders 0 {start}\n"));
    drop((directory, log));
    for (path, bytes) in removed {
        fs::write(path, bytes).unwrap();
    }
    let (_directory, log) = world.log();
    assert_numbers(&log, start, 20);
}

/// What was deleted need not have been flushed.
#[test]
fn a_power_failure_that_takes_all_before_the_start_leaves_an_empty_log_there() {
    let world = World::new(small_segments(1 << 20));
    let (directory, log) = world.log();
    append_numbers(&log, 20);
    log.set_high_watermark(20);
    log.advance_log_start_offset(15).unwrap();
    directory.checkpoint_log_starts().unwrap();
    let file = log.directory().join("00000000000000000000.log");
    drop((directory, log));
    fs::File::options()
        .write(true)
        .open(file)
        .unwrap()
        .set_len(0)
        .unwrap();
    let (_directory, log) = world.log();
    assert_numbers(&log, 15, 15);
    append_numbers(&log, 2);
    assert_numbers(&log, 15, 17);
}

/// The checkpoint of starts may be the only one that speaks of the earlier topic.
#[test]
fn a_topic_that_is_made_again_begins_at_zero() {
    let world = World::new(small_segments(250));
    let (directory, log) = world.log();
    append_numbers(&log, 20);
    log.set_high_watermark(20);
    log.advance_log_start_offset(15).unwrap();
    directory.checkpoint_log_starts().unwrap();
    drop(log);
    directory.delete(&partition()).unwrap();
    let log = directory
        .create(partition(), TOPIC_ID, world.config.clone(), NOW_MS)
        .unwrap();
    append_numbers(&log, 3);
    log.flush().unwrap();
    drop((directory, log));
    let (_directory, log) = world.log();
    assert_numbers(&log, 0, 3);
}

#[test]
fn a_log_that_begins_anew_further_back_promises_no_more_than_that() {
    let world = World::new(small_segments(250));
    let (directory, log) = world.log();
    append_numbers(&log, 20);
    log.set_high_watermark(20);
    log.advance_log_start_offset(15).unwrap();
    directory.checkpoint_log_starts().unwrap();
    directory.reset(&log, 4, NOW_MS).unwrap();
    assert_eq!(
        (log.log_start_offset(), log.durable_log_start_offset()),
        (4, 4)
    );
    append_numbers(&log, 6);
    log.set_high_watermark(10);
    log.advance_log_start_offset(8).unwrap();
    assert_eq!(
        log.durable_log_start_offset(),
        4,
        "the new start is not written"
    );
    drop((directory, log));
    let (_directory, log) = world.log();
    assert_eq!(log.log_start_offset(), 4);
}

/// Each moves its own start, and all are written as often as they like.
#[test]
fn starts_that_move_at_the_same_time_are_all_written() {
    let world = World::new(small_segments(250));
    let (directory, _) = world.log();
    let names: Vec<_> = (1..9)
        .map(|n| foz_log::TopicPartition::new("many", n))
        .collect();
    for name in &names {
        let config = world.config.clone();
        let log = directory
            .create(name.clone(), TOPIC_ID, config, NOW_MS)
            .unwrap();
        append_numbers(&log, 20);
        log.flush().unwrap();
        log.set_high_watermark(20);
    }
    let delete = |directory: &LogDirectory, name: &foz_log::TopicPartition| {
        let log = directory.get(name).unwrap();
        for start in 1..=i64::from(10 + name.partition) {
            log.advance_log_start_offset(start).unwrap();
            directory.checkpoint_log_starts().unwrap();
            assert!(log.durable_log_start_offset() >= start);
        }
    };
    std::thread::scope(|scope| {
        for name in &names {
            scope.spawn(|| delete(&directory, name));
        }
    });
    drop(directory);
    let (directory, _) = world.open();
    for name in &names {
        let log = directory.get(name).unwrap();
        assert_eq!(log.log_start_offset(), i64::from(10 + name.partition));
    }
}
