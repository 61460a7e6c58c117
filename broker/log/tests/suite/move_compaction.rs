//! Moves of logs that are compacted.

use std::ops::ControlFlow;

use foz_log::{
    CompactionError, CompactionLimits, Finished, LogConfig, MoveAct, MoveProgress, PartitionLog,
};

use crate::move_model::{append_keyed, records};
use crate::moves::{Disks, copy_all, finish, finished};
use crate::support::*;

pub(crate) const LIMITS: CompactionLimits = CompactionLimits { map_bytes: 1 << 16 };

#[test]
fn compaction_and_the_end_of_a_move_keep_out_of_each_others_way() {
    let disks = Disks::new(LogConfig {
        cleanup_compact: true,
        ..small_segments(300)
    });
    let (directories, log) = disks.start();
    let [a, b] = &directories[..] else { panic!() };
    for n in 0..300 {
        append_keyed(&log, 0, n, &[(n % 7, true)]);
    }
    log.flush().unwrap();
    log.set_high_watermark(300);
    let it = b.begin_move(&log, NOW_MS).unwrap();
    copy_all(b, &it);
    let mut asked = 0;
    let mut proceed = |_| {
        asked += 1;
        assert!(it.seen(true).unwrap().is_compacted);
        let mut progress = MoveProgress::default();
        assert_eq!(progress.next(it.seen(true).unwrap()), MoveAct::Wait);
        let result = a.finish_move(b, &it, NOW_MS, |_| panic!("moved")).unwrap();
        assert!(matches!(result, Finished::NotYet(_)));
        ControlFlow::Continue(())
    };
    log.compact(LIMITS, NOW_MS, &mut proceed).unwrap();
    assert!(asked > 0);
    // None begins now.
    let error = log.compact(LIMITS, NOW_MS, &mut |_| ControlFlow::Continue(()));
    assert!(matches!(error, Err(CompactionError::Busy)));
    // But where something else comes first after all.
    it.rest();
    log.compact(LIMITS, NOW_MS, &mut |_| ControlFlow::Continue(()))
        .unwrap();
    let moved = finished(a, b, &it);
    drop(it);
    moved
        .compact(LIMITS, NOW_MS, &mut |_| ControlFlow::Continue(()))
        .unwrap();
    // A move that is given up holds up nothing.
    let back = a.begin_move(&moved, NOW_MS).unwrap();
    drop(back);
    moved
        .compact(LIMITS, NOW_MS, &mut |_| ControlFlow::Continue(()))
        .unwrap();
}

/// What a tombstone deleted is in the copy already, and the tombstone is not.
#[test]
fn a_copy_that_takes_long_brings_no_deleted_key_back() {
    let disks = Disks::new(LogConfig {
        cleanup_compact: true,
        delete_retention_ms: 10,
        ..small_segments(100)
    });
    let (directories, log) = disks.start();
    let [a, b] = &directories[..] else { panic!() };
    append_keyed(&log, 0, 0, &[(1, true)]);
    let it = b.begin_move(&log, NOW_MS).unwrap();
    it.copy(b, 10, NOW_MS).unwrap();
    assert_eq!(it.future().log_end_offset(), 1);
    for (n, (key, is_value)) in [(1, false), (2, true), (3, true)].into_iter().enumerate() {
        append_keyed(&log, 0, 1 + n as i64, &[(key, is_value)]);
    }
    log.flush().unwrap();
    log.set_high_watermark(4);
    let go_on = &mut |_| ControlFlow::Continue(());
    let has_tombstone =
        |log: &PartitionLog| records(log).iter().any(|it| it.1 == 1 && it.2.is_none());
    log.compact(LIMITS, NOW_MS, go_on).unwrap();
    append_keyed(&log, 0, 4, &[(5, true)]);
    log.flush().unwrap();
    log.set_high_watermark(5);
    log.compact(LIMITS, NOW_MS + 1_000, go_on).unwrap();
    assert!(
        has_tombstone(&log),
        "it is older than delete.retention.ms, and needed"
    );
    let moved = finish(a, b, &it);
    assert!(has_tombstone(&moved));
    drop(it);
    append_keyed(&moved, 0, 5, &[(6, true)]);
    moved.flush().unwrap();
    moved.set_high_watermark(6);
    moved.compact(LIMITS, NOW_MS + 2_000, go_on).unwrap();
    append_keyed(&moved, 0, 6, &[(7, true)]);
    moved.flush().unwrap();
    moved.set_high_watermark(7);
    moved.compact(LIMITS, NOW_MS + 4_000, go_on).unwrap();
    assert!(!has_tombstone(&moved), "it goes afterwards");
    assert!(records(&moved).iter().all(|it| it.1 != 1));
}

/// It has gone from the log while nobody held the move, so the copy never hears of it.
#[test]
fn a_move_that_is_left_for_a_while_brings_no_deleted_key_back() {
    for is_compacted_still in [true, false] {
        let disks = Disks::new(LogConfig {
            cleanup_compact: true,
            delete_retention_ms: 10,
            ..small_segments(100)
        });
        let (directories, log) = disks.start();
        let [a, b] = &directories[..] else { panic!() };
        let append = |producer, key, is_value| {
            append_keyed(&log, 0, producer, &[(key, is_value)]);
            log.flush().unwrap();
            log.set_high_watermark(log.log_end_offset());
        };
        append(0, 1, true);
        let it = b.begin_move(&log, NOW_MS).unwrap();
        it.copy(b, 10, NOW_MS).unwrap();
        assert_eq!(it.future().log_end_offset(), 1);
        drop(it);
        for (producer, key, is_value) in [(1, 1, false), (2, 2, true), (3, 3, true)] {
            append(producer, key, is_value);
        }
        for n in 0..3 {
            let go_on = &mut |_| ControlFlow::Continue(());
            log.compact(LIMITS, NOW_MS + 1_000 * n, go_on).unwrap();
            append(4 + n, 4 + n, true);
        }
        let of_deleted = |log: &PartitionLog| {
            let found = records(log).into_iter();
            found.filter(|it| it.1 == 1).count()
        };
        assert_eq!(of_deleted(&log), 0, "the tombstone is gone");
        if !is_compacted_still {
            log.set_config(small_segments(100));
        }
        let it = b.begin_move(&log, NOW_MS).unwrap();
        let moved = finish(a, b, &it);
        assert_eq!(of_deleted(&moved), 0);
    }
}
