//! What gives room back, where there is none: retention, deletions, DeleteRecords. Needs root, for a small tmpfs.

use std::sync::Arc;

use foz_log::{LogConfig, LogDirectory, PageCache, PartitionLog};

use crate::small_disk::{Disk, is_whole, value};
use crate::support::{NOW_MS, TOPIC_ID, World, append, batch, files, partition, small_segments};

const RETENTION_MS: i64 = 1_000;

/// Full to the last byte, and of files.
fn on_full_disks(story: impl Fn(&Disk, LogDirectory, Arc<PartitionLog>)) {
    for lacks_files in [false, true] {
        let config = LogConfig {
            retention_ms: Some(RETENTION_MS),
            ..small_segments(9_000)
        };
        let disk = Disk::with(config, c"size=512k,nr_inodes=64");
        let (directory, log) = disk.world.log();
        while log.segment_count() < 6 {
            append(&log, batch(&[&value(log.log_end_offset())]));
        }
        log.flush().unwrap();
        log.set_high_watermark(log.log_end_offset());
        directory.checkpoint().unwrap();
        match lacks_files {
            true => disk.fill_with_files(),
            false => disk.fill(),
        }
        story(&disk, directory, log);
    }
}

#[test]
fn retention_removes_all_that_has_expired() {
    on_full_disks(|disk, directory, log| {
        let (end, count) = (log.log_end_offset(), log.segment_count());
        let removed = log.apply_retention(NOW_MS + RETENTION_MS + 1).unwrap();
        assert_eq!(removed, count);
        is_whole(&log, end, end, "it is empty");
        append(&log, batch(&[&value(end)]));
        World::stop(directory, log);
        let (_directory, log) = disk.world.log();
        is_whole(&log, end, end + 1, "and goes on, without more room");
    });
}

#[test]
fn a_deleted_partition_makes_room_for_the_next_of_its_name() {
    on_full_disks(|disk, directory, log| {
        drop(log);
        directory.delete(&partition()).unwrap();
        assert!(directory.get(&partition()).is_none());
        let config = || disk.world.config.clone();
        let create = || directory.create(partition(), TOPIC_ID, config(), NOW_MS);
        assert!(create().unwrap_err().is_shortage(), "nothing has gone yet");
        assert!(directory.remove_deleted(&|| true).unwrap());
        directory.checkpoint().unwrap();
        assert_eq!(files(&disk.world.data(), "-delete"), [""; 0]);
        append(&create().unwrap(), batch(&[&value(0)]));
        drop(directory);
        let (directory, report) = disk.world.open_after(PageCache::Survived);
        assert!(report.lost.is_empty(), "{report:?}");
        is_whole(&directory.get(&partition()).unwrap(), 0, 1, "the new one");
    });
}

/// What was deleted is promised once it is written down, for which the segments that go make room.
#[test]
fn deleted_records_go_and_their_start_is_written_once_there_is_room() {
    on_full_disks(|disk, directory, log| {
        let (end, count) = (log.log_end_offset(), log.segment_count());
        let start = end - 5;
        assert_eq!(log.advance_log_start_offset(start).unwrap(), start);
        let refused = directory.checkpoint_log_starts().unwrap_err();
        assert!(refused.is_shortage(), "{refused}");
        assert_eq!(log.durable_log_start_offset(), 0, "nothing is promised");
        let removed = log.apply_retention(NOW_MS).unwrap();
        assert!(removed > 0 && removed < count, "{removed}");
        directory.checkpoint_log_starts().unwrap();
        assert_eq!(log.durable_log_start_offset(), start);
        drop((directory, log));
        let (_directory, log) = disk.world.log();
        is_whole(&log, start, end, "after a crash");
    });
}
