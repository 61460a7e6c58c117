//! The time index may end too early: the entry that closes it was not written, or the index was made anew.

use std::fs::{self, OpenOptions};
use std::path::PathBuf;
use std::sync::Arc;

use foz_log::{LogConfig, PartitionLog};

use crate::support::*;

const HOUR_MS: i64 = 3_600_000;
/// Of the newest record, which no entry of the time index that is left speaks of.
const NEWEST_MS: i64 = NOW_MS + HOUR_MS;
const TIME_ENTRY_BYTES: u64 = 12;

fn config() -> LogConfig {
    LogConfig {
        retention_ms: Some(HOUR_MS),
        ..small_segments(700)
    }
}

fn first_time_index(world: &World) -> PathBuf {
    world.partition_dir().join("00000000000000000000.timeindex")
}

/// Fills the first segment; its last batch is the newest.
fn fill_first_segment(log: &PartitionLog) {
    while log.segment_count() == 1 {
        let is_last = log.size_bytes() + 2 * 69 > 700;
        append(
            log,
            batch_at(&[b"x"], if is_last { NEWEST_MS } else { NOW_MS }),
        );
    }
}

/// Retention goes by the newest record, and a consumer finds it.
fn assert_newest_is_known(log: &Arc<PartitionLog>, what: &str) {
    log.set_high_watermark(log.log_end_offset());
    let found = log.offset_for_timestamp(NEWEST_MS, i64::MAX).unwrap();
    assert_eq!(found.map(|it| it.timestamp_ms), Some(NEWEST_MS), "{what}");
    let before = NEWEST_MS + HOUR_MS;
    assert_eq!(log.apply_retention(before).unwrap(), 0, "{what}");
    assert!(log.apply_retention(before + 1).unwrap() > 0, "{what}");
}

#[test]
fn an_entry_that_is_not_there_at_the_end_takes_no_record_with_it() {
    for is_closed in [true, false] {
        let world = World::new(config());
        let (directory, log) = world.log();
        if is_closed {
            fill_first_segment(&log);
        } else {
            for _ in 0..4 {
                append(&log, batch_at(&[b"x"], NOW_MS));
            }
            append(&log, batch_at(&[b"x"], NEWEST_MS));
        }
        World::stop(directory, log);
        let index = OpenOptions::new()
            .write(true)
            .open(first_time_index(&world))
            .unwrap();
        let length = index.metadata().unwrap().len();
        assert!(length >= 2 * TIME_ENTRY_BYTES, "{length}");
        index.set_len(length - TIME_ENTRY_BYTES).unwrap();
        let (_directory, log) = world.log();
        assert_newest_is_known(&log, if is_closed { "closed" } else { "last" });
    }
}

#[test]
fn an_index_that_was_made_anew_takes_no_record_with_it() {
    let world = World::new(config());
    let (directory, log) = world.log();
    for _ in 0..5 {
        append(&log, batch_at(&[b"x"], NOW_MS));
    }
    append(&log, batch_at(&[b"x"], NEWEST_MS));
    World::stop(directory, log);
    fs::remove_file(first_time_index(&world)).unwrap();
    let (directory, report) = world.open();
    assert_eq!(report.findings.len(), 1, "{report:?}");
    // And it is closed as it should be.
    let log = directory.get(&partition()).unwrap();
    append(&log, batch_at(&[b"x"], NOW_MS));
    World::stop(directory, log);
    let (_directory, log) = world.log();
    assert_newest_is_known(&log, "made anew");
}

#[test]
fn an_entry_that_could_not_be_written_is_written_when_the_segment_is_closed() {
    let world = World::new(config());
    let (directory, log) = world.log();
    for _ in 0..3 {
        append(&log, batch_at(&[b"x"], NOW_MS));
    }
    append(&log, batch_at(&[b"x"], NEWEST_MS));
    // The next entries cannot be written.
    world.handles.close_idle();
    world.handles.close_idle();
    let (index, aside) = (first_time_index(&world), world.dir.path().join("aside"));
    fs::rename(&index, &aside).unwrap();
    fs::create_dir(&index).unwrap();
    for _ in 0..3 {
        append(&log, batch_at(&[b"x"], NOW_MS));
    }
    fs::remove_dir(&index).unwrap();
    fs::rename(&aside, &index).unwrap();
    let length = fs::metadata(&index).unwrap().len();
    while log.segment_count() == 1 {
        append(&log, batch_at(&[b"x"], NOW_MS));
    }
    assert_eq!(
        fs::metadata(&index).unwrap().len(),
        length + TIME_ENTRY_BYTES
    );
    World::stop(directory, log);
    let (_directory, log) = world.log();
    assert_newest_is_known(&log, "not written");
}
