//! Without room for what a burial writes.

use super::*;

#[test]
fn without_room_a_burial_waits_and_nothing_has_failed() {
    let world = World::new(LogConfig::default());
    let (directory, log) = world.log();
    fill(&directory, &log);
    drop(log);
    let no_room = world.partition_dir().join("deleted-topic-checkpoint.tmp");
    // It goes with the attempt, as what is half written does.
    for _ in 0..2 {
        directory.bury(&partition(), TOPIC_ID, GRACE_END);
        without_room(&no_room);
        assert_eq!(finish(&directory).len(), 1);
        assert_eq!(directory.unfinished_burials(), 1);
        assert!(!directory.has_failed_flush());
    }
    assert!(directory.get(&partition()).is_none());
    assert!(directory.is_buried(TOPIC_ID, 0) && directory.is_being_buried(&partition()));
    // The checkpoints go on to speak of it.
    directory.checkpoint().unwrap();
    drop(directory);
    let (directory, log) = world.log();
    assert_eq!((log.log_start_offset(), log.high_watermark()), (2, 7));
    drop(log);
    directory.bury(&partition(), TOPIC_ID, GRACE_END);
    without_room(&no_room);
    assert_eq!(finish(&directory).len(), 1);
    assert_eq!(finish(&directory), [""; 0], "there is room again");
    let (log, _) = unbury(&world, &directory, &partition());
    assert_numbers(&log, 2, 10);
}

#[test]
fn a_log_that_cannot_be_closed_for_want_of_room_is_recovered_when_it_comes_back() {
    let world = World::new(LogConfig::default());
    let (directory, log) = world.log();
    fill(&directory, &log);
    without_room(&world.partition_dir().join("00000000000000000010.snapshot"));
    bury(&directory);
    assert!(!log.has_failed_flush());
    let (log, _) = unbury(&world, &directory, &partition());
    assert_eq!(log.high_watermark(), 7);
    assert_numbers(&log, 2, 10);
    append_numbers(&log, 1);
}

#[test]
fn on_a_full_disk_what_is_deleted_waits_for_room_or_gives_it() {
    let disk = Disk::new(small_segments(9_000));
    let (directory, log) = disk.world.log();
    for number in 0..30 {
        append(&log, batch(&[&value(number)]));
    }
    drop(log);
    for gives_room in [false, true] {
        disk.fill();
        assert!(directory.bury(&partition(), TOPIC_ID, GRACE_END));
        let left = directory.finish_burials();
        assert!(!left.is_empty() && left.iter().all(|(_, error)| error.is_shortage()));
        assert!(!directory.has_failed_flush());
        if gives_room {
            directory.remove_buried(TOPIC_ID, None).unwrap();
            assert!(directory.remove_deleted(&|| true).unwrap());
            directory.checkpoint().unwrap();
            assert!(!disk.world.partition_dir().exists());
            continue;
        }
        disk.free();
        assert_eq!(finish(&directory), [""; 0]);
        let (log, _) = unbury(&disk.world, &directory, &partition());
        is_whole(&log, 0, 30, "it is back");
    }
}
