//! Transactions of logs that move to another data directory, or come back when their topic was deleted.

use foz_log::{CleanShutdown, PageCache, PartitionLog, TopicPartition};

use crate::moves::{Disks, copy_all, finish};
use crate::support::*;
use crate::transactions::{end, fill, knows, write};

/// Half of it is copied when transactions end that are open there.
#[test]
fn a_log_that_moves_takes_its_transactions_along() {
    for page_cache in [None, Some(PageCache::Survived), Some(PageCache::Lost)] {
        let disks = Disks::new(small_segments(400));
        let (directories, log) = disks.start();
        let [a, b] = &directories[..] else { panic!() };
        fill(&log);
        let it = b.begin_move(&log, NOW_MS).unwrap();
        copy_all(b, &it);
        end(&log, 2, false);
        write(&log, 1, 10);
        write(&log, 3, 0);
        end(&log, 1, true);
        // Not every replica has the last marker.
        log.set_high_watermark(log.log_end_offset() - 1);
        let unstable = log.last_stable_offset();
        let moved = finish(a, b, &it);
        assert_eq!(moved.last_stable_offset(), unstable);
        drop(it);
        let expected = knows(&moved);
        assert_eq!((expected.0.len(), expected.1), (6, 26));
        assert_eq!(expected.2, log.active_producers());
        drop(log);
        let Some(page_cache) = page_cache else {
            go_on(&moved);
            continue;
        };
        drop((moved, directories));
        let (directories, reports) = disks.open(page_cache);
        assert!(
            reports.iter().all(|it| it.findings.is_empty()),
            "{reports:?}"
        );
        let moved = directories[1].get(&partition()).unwrap();
        assert_eq!(knows(&moved), expected);
        go_on(&moved);
    }
}

/// Nothing in the copy tells of it.
#[test]
fn a_transaction_whose_begin_was_deleted_stays_open_when_its_log_moves() {
    let disks = Disks::new(small_segments(300));
    let (directories, log) = disks.start();
    let [a, b] = &directories[..] else { panic!() };
    write(&log, 3, 0);
    append_numbers(&log, 12);
    log.set_high_watermark(13);
    log.advance_log_start_offset(7).unwrap();
    assert!(log.apply_retention(NOW_MS).unwrap() > 0);
    let it = b.begin_move(&log, NOW_MS).unwrap();
    let moved = finish(a, b, &it);
    assert_eq!(
        (moved.log_start_offset(), moved.last_stable_offset()),
        (7, 7)
    );
    drop(it);
    go_on(&moved);
}

/// The open transaction ends.
fn go_on(log: &PartitionLog) {
    let marker = end(log, 3, false);
    let (aborted, stable, _) = knows(log);
    assert_eq!(stable, marker + 1);
    assert_eq!(aborted.last().unwrap().marker_offset, marker);
}

#[test]
fn a_log_that_comes_back_brings_its_transactions() {
    for restarts in [false, true] {
        let world = World::new(small_segments(400));
        let (directory, log) = world.log();
        fill(&log);
        write(&log, 3, 0);
        let expected = knows(&log);
        drop(log);
        directory.checkpoint().unwrap();
        assert!(directory.bury(&partition(), TOPIC_ID, NOW_MS + 1));
        assert!(directory.finish_burials().is_empty());
        let directory = match restarts {
            false => directory,
            true => {
                directory
                    .close_cleanly(CleanShutdown { broker_epoch: 1 })
                    .unwrap();
                drop(directory);
                world.open().0
            }
        };
        let name = TopicPartition::new("old", 0);
        let back = directory.unbury(TOPIC_ID, &name, world.config.clone(), NOW_MS);
        let (log, findings) = back.unwrap().unwrap();
        assert_eq!(findings, []);
        directory.checkpoint().unwrap();
        assert_eq!(knows(&log), expected, "{restarts}");
        end(&log, 2, true);
        go_on(&log);
    }
}
