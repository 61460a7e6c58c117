//! Several data directories of one broker.

use std::fs;

use foz_log::{
    FoundDirectory, FoundLog, LogConfig, PageCache, Reconciled, TopicPartition, reconcile,
};
use uuid::Uuid;

use crate::support::*;

const TOPIC: Uuid = Uuid::from_u128(1);
const EARLIER: Uuid = Uuid::from_u128(2);

fn orders(index: i32) -> TopicPartition {
    TopicPartition::new("orders", index)
}

/// Of `orders-0`.
fn log(topic_id: Option<Uuid>, end_offset: Option<i64>) -> Vec<FoundLog> {
    vec![FoundLog {
        partition: orders(0),
        topic_id,
        end_offset,
    }]
}

fn whole(end_offset: i64) -> Vec<FoundLog> {
    log(Some(TOPIC), Some(end_offset))
}

fn found(broker_epoch: i64, logs: Vec<FoundLog>) -> FoundDirectory {
    FoundDirectory {
        path: format!("/data/of-{broker_epoch}").into(),
        broker_epoch,
        logs,
        ..FoundDirectory::default()
    }
}

fn buries(broker_epoch: i64) -> FoundDirectory {
    FoundDirectory {
        buried: vec![(TOPIC, 0)],
        ..found(broker_epoch, Vec::new())
    }
}

fn misses(broker_epoch: i64, known_offset: i64) -> FoundDirectory {
    FoundDirectory {
        missing: vec![(orders(0), known_offset)],
        ..found(broker_epoch, Vec::new())
    }
}

#[test]
fn of_two_logs_of_a_replica_the_one_counts_whose_directory_was_registered_later() {
    let cannot_be_opened = || log(Some(TOPIC), None);
    let says_nothing = || log(None, None);
    for (directories, superseded) in [
        (vec![found(7, whole(9)), found(8, whole(2))], vec![0]),
        (vec![found(8, whole(2)), found(7, whole(9))], vec![1]),
        (vec![found(-1, whole(9)), found(8, whole(2))], vec![0]),
        // Whatever is wrong with it.
        (
            vec![found(8, cannot_be_opened()), found(7, whole(9))],
            vec![1],
        ),
        (vec![found(7, says_nothing()), found(8, whole(9))], vec![0]),
        (vec![found(8, says_nothing()), found(7, whole(9))], vec![1]),
        // Two that were away together.
        (
            vec![found(7, whole(1)), found(9, whole(2)), found(7, whole(3))],
            vec![0, 2],
        ),
        // Of what comes back there is more than nothing.
        (vec![found(7, whole(9)), found(8, whole(0))], vec![1]),
        (
            vec![found(8, whole(0)), found(7, cannot_be_opened())],
            vec![0],
        ),
        (
            vec![found(5, whole(9)), found(8, whole(0)), found(7, whole(1))],
            vec![0, 1],
        ),
        (vec![found(7, whole(0)), found(8, whole(0))], vec![0]),
        (
            vec![found(7, whole(0)), found(8, cannot_be_opened())],
            vec![0],
        ),
        // Its topic was deleted while the other directory was away.
        (vec![found(7, whole(9)), buries(8)], vec![0]),
        // Another topic of that name.
        (
            vec![found(7, log(Some(EARLIER), Some(9))), found(8, whole(2))],
            vec![],
        ),
        (
            vec![found(8, log(Some(EARLIER), Some(9))), found(8, whole(2))],
            vec![],
        ),
        (vec![found(7, whole(9)), found(8, Vec::new())], vec![]),
    ] {
        let reconciled = reconcile(&directories).unwrap();
        let expected: Vec<_> = superseded.into_iter().map(|at| (at, orders(0))).collect();
        assert_eq!(reconciled.superseded, expected, "{directories:?}");
        assert_eq!(reconciled.superseded_buried, [], "{directories:?}");
    }
}

#[test]
fn where_both_were_in_use_last_a_person_decides() {
    for (one, other) in [
        (whole(9), whole(2)),
        (whole(9), whole(0)),
        (whole(9), log(Some(TOPIC), None)),
        (whole(9), log(None, None)),
        (log(None, None), log(None, None)),
    ] {
        let mut directories = [found(8, one), found(7, whole(1)), found(8, other)];
        directories[2].path = "/other".into();
        let error = reconcile(&directories).unwrap_err().to_string();
        for part in ["orders-0", "/data/of-8", "/other"] {
            assert!(error.contains(part), "{error} lacks {part}");
        }
    }
}

#[test]
fn what_is_buried_gives_way_to_what_was_in_service_since() {
    for (directories, superseded) in [
        (vec![buries(7), found(8, whole(2))], vec![0]),
        (vec![buries(8), found(8, whole(2))], vec![0]),
        (vec![found(8, whole(2)), buries(8), buries(7)], vec![1, 2]),
        (vec![buries(7), buries(8)], vec![0]),
        (vec![buries(8), buries(8)], vec![1]),
        (
            vec![buries(8), found(8, log(Some(EARLIER), Some(2)))],
            vec![],
        ),
        (vec![buries(8), found(7, whole(2))], vec![]),
    ] {
        let reconciled = reconcile(&directories).unwrap();
        let expected: Vec<_> = superseded.into_iter().map(|at| (at, (TOPIC, 0))).collect();
        assert_eq!(reconciled.superseded_buried, expected, "{directories:?}");
    }
}

#[test]
fn a_log_that_was_moved_by_hand_is_not_missing() {
    for (directories, is_elsewhere) in [
        ([misses(8, 5), found(8, whole(5))], true),
        ([misses(7, 5), found(8, whole(9))], true),
        ([misses(8, 5), found(8, whole(4))], false),
        ([misses(8, 5), found(8, log(Some(TOPIC), None))], false),
        // It may be of a topic that was deleted before the other directory came.
        ([misses(8, 5), found(7, whole(9))], false),
        ([misses(8, 5), found(8, Vec::new())], false),
    ] {
        let reconciled = reconcile(&directories).unwrap();
        let expected = Vec::from_iter(is_elsewhere.then(|| (0, 1, orders(0))));
        assert_eq!(reconciled.moved, expected, "{directories:?}");
    }
    let own = FoundDirectory {
        logs: whole(9),
        ..misses(8, 5)
    };
    assert_eq!(reconcile(&[own]).unwrap(), Reconciled::default());
    assert_eq!(reconcile(&[]).unwrap(), Reconciled::default());
}

/// With the files that there are.
#[test]
fn what_is_in_a_directory_is_told() {
    let (here, there) = (
        World::new(LogConfig::default()),
        World::new(LogConfig::default()),
    );
    let (directory, log) = here.log();
    append_numbers(&log, 12);
    log.set_high_watermark(9);
    log.advance_log_start_offset(5).unwrap();
    World::stop(directory, log);
    fs::create_dir(there.data()).unwrap();
    let moved = there.data().join(partition().to_string());
    fs::rename(here.partition_dir(), moved).unwrap();
    let opened = [&here, &there].map(|world| world.open_after(PageCache::Survived));
    let found = opened
        .each_ref()
        .map(|(d, it)| FoundDirectory::of(d, it, 8));
    assert_eq!(found[0].missing, [(partition(), 12)]);
    assert_eq!(opened[0].1.unknown, []);
    assert_eq!(found[0].path, here.data());
    assert_eq!(found[1].logs[0].end_offset, Some(12));
    let reconciled = reconcile(&found).unwrap();
    assert_eq!(reconciled.moved, [(0, 1, partition())]);
    assert_eq!(reconciled.superseded, []);
    // What was deleted stays deleted.
    let [(from, _), (to, _)] = opened;
    let log = to.get(&partition()).unwrap();
    assert_eq!((log.log_start_offset(), log.high_watermark()), (0, 0));
    from.tell_of_moved(&log);
    assert_eq!((log.log_start_offset(), log.high_watermark()), (5, 9));
    to.checkpoint_log_starts().unwrap();
    drop((to, log));
    let (to, _) = there.open_after(PageCache::Survived);
    assert_eq!(to.get(&partition()).unwrap().log_start_offset(), 5);
}

#[test]
fn a_damaged_log_and_a_buried_one_are_told_with_their_topics() {
    let world = World::new(LogConfig::default());
    let (directory, log) = world.log();
    let keep = |name: &TopicPartition| {
        let config = world.config.clone();
        directory
            .create(name.clone(), TOPIC_ID, config, NOW_MS)
            .unwrap()
    };
    drop(keep(&orders(1)));
    directory.bury(&orders(1), TOPIC_ID, 5);
    assert!(directory.finish_burials().is_empty());
    append_numbers(&log, 12);
    log.flush().unwrap();
    directory.checkpoint().unwrap();
    drop((directory, log));
    let segment = world.partition_dir().join("00000000000000000000.log");
    let mut bytes = fs::read(&segment).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&segment, bytes).unwrap();
    let (directory, report) = world.open();
    assert_eq!(directory.offline(), [partition()]);
    assert!(directory.is_offline(&partition()) && !directory.is_offline(&orders(1)));
    let found = FoundDirectory::of(&directory, &report, 8);
    let damaged = FoundLog {
        partition: partition(),
        topic_id: Some(TOPIC_ID),
        end_offset: None,
    };
    assert_eq!(found.logs, [damaged]);
    // Its disk has failed since.
    fs::remove_file(world.partition_dir().join("partition.metadata")).unwrap();
    let id = directory.topic_id_of_offline(&partition());
    assert_eq!(id, Some(TOPIC_ID));
    assert!(directory.listed().contains(&(TOPIC_ID, 0)));
    assert_eq!(found.buried, [(TOPIC_ID, 1)]);
    assert_eq!(found.missing, []);
}

/// Nobody knows what became of it where it was.
#[test]
fn a_log_that_comes_after_a_clean_stop_is_unknown() {
    for stops_cleanly in [true, false] {
        let (here, there) = (
            World::new(LogConfig::default()),
            World::new(LogConfig::default()),
        );
        let (directory, log) = here.log();
        append_numbers(&log, 12);
        World::stop(directory, log);
        let (directory, _) = there.open();
        let own = directory.create(orders(1), TOPIC_ID, there.config.clone(), NOW_MS);
        if stops_cleanly {
            World::stop(directory, own.unwrap());
        } else {
            drop((directory, own));
        }
        let moved = there.data().join(partition().to_string());
        fs::rename(here.partition_dir(), moved).unwrap();
        // After a crash it may be one that was just made.
        let expected = Vec::from_iter(stops_cleanly.then(partition));
        // And again, until whoever counts on it has heard of that.
        for has_heard in [false, true] {
            let (directory, report) = there.open_after(PageCache::Survived);
            assert_eq!(report.unknown, expected);
            assert_eq!(directory.logs().len(), 2);
            directory.checkpoint().unwrap();
            if has_heard {
                directory.forget_lost();
            } else if !stops_cleanly {
                continue;
            }
            directory
                .close_cleanly(foz_log::CleanShutdown { broker_epoch: 2 })
                .unwrap();
        }
        assert_eq!(there.open().1.unknown, [], "it is known now");
    }
}

/// A deletion that a power failure takes back would leave two logs of one replica.
#[test]
fn a_deletion_is_durable_before_the_log_is_made_elsewhere() {
    let world = World::new(LogConfig::default());
    let aside = world.dir.path().join("aside");
    for is_set_aside in [false, true] {
        let (directory, log) = world.log();
        drop(log);
        // Where nothing can be flushed.
        let hide = || fs::rename(world.data(), &aside).unwrap();
        let show = || fs::rename(&aside, world.data()).unwrap();
        if is_set_aside {
            directory.set_aside(&partition()).unwrap();
            hide();
            directory.vacate(&partition()).unwrap();
            show();
            continue;
        }
        // By who removes the files.
        directory.delete(&partition()).unwrap();
        assert!(directory.remove_deleted(&|| true).unwrap());
        hide();
        directory.vacate(&partition()).unwrap();
        show();
        // What has no files left is flushed by nobody else.
        let create = || {
            let log = directory.create(partition(), TOPIC_ID, world.config.clone(), NOW_MS);
            drop(log.unwrap());
        };
        create();
        directory.delete(&partition()).unwrap();
        directory.vacate(&partition()).unwrap();
        hide();
        directory.vacate(&partition()).unwrap();
        show();
        create();
        directory.delete(&partition()).unwrap();
        hide();
        directory.vacate(&orders(3)).unwrap();
        assert!(
            directory
                .vacate(&partition())
                .unwrap_err()
                .is_failed_flush()
        );
        show();
        // The kernel may have dropped it, and say nothing of it the next time.
        assert!(
            directory
                .vacate(&partition())
                .unwrap_err()
                .is_failed_flush()
        );
        let removed = directory.remove_deleted(&|| true);
        assert!(removed.unwrap_err().is_failed_flush());
        directory.vacate(&orders(3)).unwrap();
    }
}

/// Or a log that comes here later would be opened by what is said of it.
#[test]
fn no_checkpoint_speaks_of_a_log_that_is_made_elsewhere() {
    let world = World::new(LogConfig::default());
    let (directory, log) = world.log();
    append_numbers(&log, 5);
    log.flush().unwrap();
    drop(log);
    directory.checkpoint().unwrap();
    let says = || {
        let file = world.data().join("recovery-point-offset-checkpoint");
        fs::read_to_string(file).unwrap().contains("orders 0 5")
    };
    assert!(says());
    directory.delete(&partition()).unwrap();
    directory.vacate(&partition()).unwrap();
    assert!(!says());
}

#[test]
fn a_log_that_is_here_keeps_another_from_being_made_elsewhere() {
    let world = World::new(LogConfig::default());
    let (directory, log) = world.log();
    append_numbers(&log, 5);
    drop(log);
    // It cannot be set aside.
    let aside = world.dir.path().join("aside");
    fs::rename(world.data(), &aside).unwrap();
    directory.set_aside(&partition()).unwrap_err();
    fs::rename(&aside, world.data()).unwrap();
    for _ in 0..2 {
        let refused = directory.vacate(&partition()).unwrap_err().to_string();
        assert!(refused.contains("orders-0 exists already"), "{refused}");
    }
    directory.set_aside(&partition()).unwrap();
    directory.vacate(&partition()).unwrap();
}

#[test]
fn the_rest_of_a_creation_gives_way_and_what_is_in_use_does_not() {
    let world = World::new(LogConfig::default());
    let (directory, log) = world.log();
    let rest = world.data().join("orders-1");
    fs::create_dir(&rest).unwrap();
    fs::write(rest.join("00000000000000000000.log"), "").unwrap();
    for index in 1..3 {
        directory.vacate(&orders(index)).unwrap();
    }
    assert!(!rest.exists());
    directory.vacate(&partition()).unwrap_err();
    append_numbers(&log, 1);
    assert_eq!(log.log_end_offset(), 1);
    directory.bury(&partition(), TOPIC_ID, 5);
    directory.vacate(&partition()).unwrap();
    assert!(!world.partition_dir().exists());
    assert_eq!(directory.buried().len(), 1);
}
