//! Logs of deleted topics are kept, and come back as they were; whatever stops in the middle.

mod full_disk;

use std::fs;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use foz_log::{LogConfig, LogDirectory, OpenError, PageCache, TopicPartition};
use uuid::Uuid;

use crate::small_disk::{Disk, is_whole, value};
use crate::support::*;

const GRACE_END: i64 = NOW_MS + 1;

fn buried_dir(world: &World) -> std::path::PathBuf {
    let name = format!("{}.{}-deleted", partition(), TOPIC_ID.simple());
    world.data().join(name)
}

/// Ten records, of which the first two are deleted and seven are committed.
fn fill(directory: &LogDirectory, log: &foz_log::PartitionLog) {
    append_numbers(log, 10);
    log.set_high_watermark(7);
    log.advance_log_start_offset(2).unwrap();
    // The checkpoints speak of it.
    directory.checkpoint().unwrap();
}

fn bury(directory: &LogDirectory) {
    assert!(directory.bury(&partition(), TOPIC_ID, GRACE_END));
    assert_eq!(finish(directory), [""; 0]);
}

/// What could not be finished.
fn finish(directory: &LogDirectory) -> Vec<String> {
    let left = directory.finish_burials().into_iter();
    left.map(|(name, error)| format!("{name}: {error}"))
        .collect()
}

fn unbury(world: &World, directory: &LogDirectory, name: &TopicPartition) -> foz_log::Unburied {
    let unburied = directory.unbury(TOPIC_ID, name, world.config.clone(), NOW_MS);
    let unburied = unburied.unwrap().unwrap();
    directory.checkpoint().unwrap();
    unburied
}

#[test]
fn a_buried_log_comes_back_as_it_was_under_another_name() {
    let world = World::new(small_segments(1 << 20));
    let (directory, log) = world.log();
    fill(&directory, &log);
    bury(&directory);
    assert!(!directory.bury(&partition(), TOPIC_ID, GRACE_END), "again");
    assert!(directory.get(&partition()).is_none());
    assert_eq!(directory.buried(), [((TOPIC_ID, 0), Some(GRACE_END))]);
    assert!(buried_dir(&world).is_dir() && !world.partition_dir().exists());
    log.append_as_leader(&mut batch(&[b"late"]), 0, NOW_MS)
        .unwrap_err();

    // The name is free.
    let other = Uuid::from_u128(9);
    let new = directory.create(partition(), other, world.config.clone(), NOW_MS);
    append_numbers(&new.unwrap(), 3);
    let taken = directory.unbury(TOPIC_ID, &partition(), world.config.clone(), NOW_MS);
    assert!(matches!(taken, Err(OpenError::Exists(_))), "{taken:?}");
    assert!(directory.is_buried(TOPIC_ID, 0));

    let name = TopicPartition::new("old", 0);
    let (log, findings) = unbury(&world, &directory, &name);
    assert_eq!(findings, []);
    assert_eq!(log.topic_id(), TOPIC_ID);
    assert_eq!(log.high_watermark(), 7);
    assert_numbers(&log, 2, 10);
    assert_eq!(directory.buried(), []);
    append_numbers(&log, 1);
    assert_numbers(&log, 2, 11);
    assert_numbers(&directory.get(&partition()).unwrap(), 0, 3);
    let unknown = directory.unbury(other, &name, world.config, NOW_MS);
    assert!(unknown.unwrap().is_none());
}

#[test]
fn deleted_records_stay_away_when_a_crash_follows_at_once() {
    let world = World::new(LogConfig::default());
    let (directory, log) = world.log();
    fill(&directory, &log);
    bury(&directory);
    let unburied = directory.unbury(TOPIC_ID, &partition(), world.config.clone(), NOW_MS);
    let (log, _) = unburied.unwrap().unwrap();
    // The checkpoints know nothing of it, so its mark is there and it takes nothing.
    log.append_as_leader(&mut batch(&[b"early"]), 0, NOW_MS)
        .unwrap_err();
    drop((directory, log));
    let (directory, report) = world.open();
    assert_eq!(report.lost, []);
    let log = directory.get(&partition()).unwrap();
    assert_eq!(log.high_watermark(), 7);
    assert_numbers(&log, 2, 10);
    append_numbers(&log, 1);
    drop((directory, log));

    let (directory, log) = world.log();
    bury(&directory);
    drop(log);
    let (log, _) = unbury(&world, &directory, &partition());
    assert_eq!(log.durable_log_start_offset(), 2);
    append_numbers(&log, 1);
    // No checkpoint was written since.
    drop((directory, log));
    let (_directory, log) = world.log();
    assert_numbers(&log, 2, 12);
}

#[test]
fn a_start_leaves_what_is_buried_alone() {
    let world = World::new(LogConfig::default());
    let (directory, log) = world.log();
    fill(&directory, &log);
    bury(&directory);
    // A crash: the checkpoints still speak of it.
    drop((directory, log));
    for _ in 0..2 {
        let (directory, report) = world.open();
        assert_eq!(report.lost, []);
        assert!(report.ignored.is_empty() && report.offline.is_empty());
        assert!(directory.logs().is_empty());
        assert_eq!(directory.buried(), [((TOPIC_ID, 0), Some(GRACE_END))]);
    }
    let (directory, _) = world.open();
    let (log, findings) = unbury(&world, &directory, &partition());
    assert_eq!((findings.len(), log.high_watermark()), (0, 7));
    assert_numbers(&log, 2, 10);
    // It is an ordinary log again.
    append_numbers(&log, 5);
    World::stop(directory, log);
    let (directory, log) = world.log();
    assert_numbers(&log, 2, 15);
    assert!(directory.buried().is_empty());
}

/// Both are alike: the mark is written and the directory has its old name.
#[test]
fn a_burial_or_its_end_that_stopped_half_way_loses_nothing() {
    for page_cache in [PageCache::Lost, PageCache::Survived] {
        let world = World::new(LogConfig::default());
        let (directory, log) = world.log();
        fill(&directory, &log);
        bury(&directory);
        // They speak of it no more, as if it had been buried for days.
        directory.checkpoint().unwrap();
        drop((directory, log));
        fs::rename(buried_dir(&world), world.partition_dir()).unwrap();

        let (directory, report) = world.open_after(page_cache);
        assert!(report.findings.is_empty() && report.lost.is_empty());
        let log = directory.get(&partition()).unwrap();
        assert_eq!(log.high_watermark(), 7);
        assert_numbers(&log, 2, 10);
        // From now on the checkpoints count, not what the mark said.
        directory.truncate(&log, 8, NOW_MS).unwrap();
        drop((directory, log));
        let (directory, report) = world.open_after(page_cache);
        assert!(report.offline.is_empty() && report.lost.is_empty());
        let log = directory.get(&partition()).unwrap();
        assert_numbers(&log, 2, 8);
    }
}

#[test]
fn what_is_given_up_is_removed_and_missed_by_nobody() {
    let world = World::new(LogConfig::default());
    let (directory, log) = world.log();
    fill(&directory, &log);
    let second = TopicPartition::new("orders", 1);
    let other = directory.create(second.clone(), TOPIC_ID, world.config.clone(), NOW_MS);
    append_numbers(&other.unwrap(), 3);
    directory.checkpoint().unwrap();
    for name in [partition(), second] {
        assert!(directory.bury(&name, TOPIC_ID, GRACE_END));
    }
    assert_eq!(finish(&directory), [""; 0]);
    directory.remove_buried(TOPIC_ID, Some(1)).unwrap();
    assert_eq!(directory.buried(), [((TOPIC_ID, 0), Some(GRACE_END))]);
    directory.remove_buried(TOPIC_ID, None).unwrap();
    directory.remove_buried(TOPIC_ID, None).unwrap();
    assert_eq!(directory.buried(), []);
    assert!(!buried_dir(&world).exists());
    assert!(directory.remove_deleted(&|| true).unwrap());
    drop((directory, log));
    let (_, report) = world.open();
    assert_eq!(report.lost, []);
}

#[test]
fn what_nobody_asked_to_remove_is_set_aside() {
    let world = World::new(LogConfig::default());
    let (directory, log) = world.log();
    fill(&directory, &log);
    bury(&directory);
    let path = directory.set_buried_aside(TOPIC_ID, 0).unwrap().unwrap();
    assert!(path.to_string_lossy().ends_with("-stray"));
    assert!(path.is_dir() && !buried_dir(&world).exists());
    assert_eq!(directory.set_buried_aside(TOPIC_ID, 0).unwrap(), None);
}

#[test]
fn damage_is_not_buried_with_a_log() {
    let world = World::new(LogConfig::default());
    let (directory, log) = world.log();
    fill(&directory, &log);
    log.flush().unwrap();
    directory.checkpoint().unwrap();
    drop((directory, log));
    let file = world.partition_dir().join("00000000000000000000.log");
    let bytes = fs::read(&file).unwrap();
    fs::write(&file, &bytes[..bytes.len() / 2]).unwrap();

    let (directory, report) = world.open();
    assert_eq!(report.offline.len(), 1);
    bury(&directory);
    let refused = directory.unbury(TOPIC_ID, &partition(), world.config.clone(), NOW_MS);
    assert!(
        matches!(refused, Err(OpenError::Corrupt { .. })),
        "{refused:?}"
    );
    // Offline, as it was: what is whole can be had.
    let (log, findings) = directory
        .open_quarantined(&partition(), world.config.clone(), NOW_MS)
        .unwrap();
    assert!(log.log_end_offset() < 10 && !findings.is_empty());
    log.append_as_leader(&mut batch(&[b"early"]), 0, NOW_MS)
        .unwrap_err();
    directory.checkpoint().unwrap();
    // From now on the checkpoints count, not what a mark says.
    append_numbers(&log, 9);
    let end = log.log_end_offset();
    log.set_high_watermark(end);
    log.advance_log_start_offset(4).unwrap();
    log.flush().unwrap();
    directory.checkpoint().unwrap();
    drop((directory, log));
    let (_directory, log) = world.log();
    assert_eq!((log.log_start_offset(), log.high_watermark()), (4, end));
}

#[test]
fn a_mark_that_says_nothing_is_named() {
    let world = World::new(LogConfig::default());
    let (directory, log) = world.log();
    fill(&directory, &log);
    bury(&directory);
    fs::write(buried_dir(&world).join("deleted-topic-checkpoint"), "?").unwrap();
    let refused = directory.unbury(TOPIC_ID, &partition(), world.config.clone(), NOW_MS);
    let error = refused.unwrap_err().to_string();
    assert!(error.contains("deleted-topic-checkpoint"), "{error}");
    drop((directory, log));
    let (_, report) = world.open();
    assert_eq!(report.offline.len(), 1, "it is not taken for a whole one");
}

/// Nothing can be written there: the disk is full.
pub(crate) fn without_room(path: &std::path::Path) {
    std::os::unix::fs::symlink("/dev/full", path).unwrap();
}

#[test]
fn a_log_whose_flush_failed_is_not_buried() {
    let world = World::new(LogConfig::default());
    let (directory, log) = world.log();
    fill(&directory, &log);
    fs::rename(world.partition_dir(), world.data().join("elsewhere")).unwrap();
    log.flush().unwrap_err();
    fs::rename(world.data().join("elsewhere"), world.partition_dir()).unwrap();
    assert!(directory.bury(&partition(), TOPIC_ID, GRACE_END));
    let (_, error) = directory.finish_burials().pop().unwrap();
    assert!(error.is_failed_flush() && directory.has_failed_flush());
    assert!(world.partition_dir().is_dir());
}

/// What comes before it is done, in the background.
#[test]
fn what_is_still_on_its_way_is_called_back_renamed_replaced_and_given_up() {
    let world = World::new(LogConfig::default());
    let (directory, log) = world.log();
    fill(&directory, &log);
    directory.bury(&partition(), TOPIC_ID, GRACE_END);
    assert_eq!(directory.listed(), [(TOPIC_ID, 0)]);
    let (log, _) = unbury(&world, &directory, &partition());
    assert_eq!(directory.listed(), [(TOPIC_ID, 0)]);
    append_numbers(&log, 1);
    assert_numbers(&log, 2, 11);

    directory.bury(&partition(), TOPIC_ID, GRACE_END);
    let old = TopicPartition::new("old", 0);
    let (log, _) = unbury(&world, &directory, &old);
    assert_numbers(&log, 2, 11);
    assert!(!world.partition_dir().exists());

    // A new one of the name, which goes too; and the old one wants its name back.
    let other = Uuid::from_u128(9);
    let new = directory
        .create(partition(), other, world.config.clone(), NOW_MS)
        .unwrap();
    append_numbers(&new, 3);
    directory.bury(&partition(), other, GRACE_END);
    directory.bury(&old, TOPIC_ID, GRACE_END);
    let (log, _) = unbury(&world, &directory, &partition());
    assert_numbers(&log, 2, 11);
    directory.bury(&partition(), TOPIC_ID, GRACE_END);
    let third = directory
        .create(
            partition(),
            Uuid::from_u128(10),
            world.config.clone(),
            NOW_MS,
        )
        .unwrap();
    assert_eq!(third.log_end_offset(), 0);
    assert!(directory.is_buried(other, 0) && directory.is_buried(TOPIC_ID, 0));
    let mut all = [TOPIC_ID, other, Uuid::from_u128(10)].map(|id| (id, 0));
    all.sort_unstable();
    assert_eq!(directory.listed(), all);

    directory.bury(&partition(), Uuid::from_u128(10), GRACE_END);
    directory.remove_buried(Uuid::from_u128(10), None).unwrap();
    assert_eq!(directory.unfinished_burials(), 0);
    assert!(!world.partition_dir().exists());
    assert!(directory.remove_deleted(&|| true).unwrap());
    drop((directory, log));
    let (directory, report) = world.open();
    assert_eq!(report.lost, []);
    assert_eq!(directory.buried().len(), 2);
}

/// Whoever lists the logs meanwhile misses none: one that is missed counts as lost.
#[test]
fn a_log_is_listed_on_its_whole_way_there_and_back() {
    const ROUNDS: usize = 100;
    let world = World::new(LogConfig::default());
    let (directory, log) = world.log();
    fill(&directory, &log);
    drop(log);
    let (is_over, listings) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        let lister = scope.spawn(|| {
            while !is_over.load(Ordering::Acquire) {
                assert_eq!(directory.listed(), [(TOPIC_ID, 0)]);
                listings.fetch_add(1, Ordering::AcqRel);
            }
        });
        // No listing sees it go and come back.
        let next_listing = || {
            let seen = listings.load(Ordering::Acquire);
            while listings.load(Ordering::Acquire) == seen && !lister.is_finished() {
                std::thread::yield_now();
            }
        };
        for round in 0..ROUNDS {
            directory.bury(&partition(), TOPIC_ID, GRACE_END);
            if round % 2 == 0 {
                assert_eq!(finish(&directory), [""; 0]);
            }
            next_listing();
            unbury(&world, &directory, &partition());
            next_listing();
        }
        is_over.store(true, Ordering::Release);
    });
}

#[test]
fn a_burial_that_cannot_be_renamed_is_tried_again() {
    let world = World::new(LogConfig::default());
    let (directory, log) = world.log();
    fill(&directory, &log);
    drop(log);
    let in_the_way = buried_dir(&world).join("something");
    fs::create_dir_all(&in_the_way).unwrap();
    directory.bury(&partition(), TOPIC_ID, GRACE_END);
    assert_eq!(finish(&directory).len(), 1);
    let new = directory.create(
        partition(),
        Uuid::from_u128(9),
        world.config.clone(),
        NOW_MS,
    );
    assert!(matches!(new, Err(OpenError::Storage(_))), "{new:?}");
    fs::remove_dir_all(buried_dir(&world)).unwrap();
    assert_eq!(finish(&directory), [""; 0]);
    let (log, _) = unbury(&world, &directory, &partition());
    assert_numbers(&log, 2, 10);
}

#[test]
fn what_cannot_be_buried_keeps_nothing_else_from_being_closed() {
    let world = World::new(LogConfig::default());
    let (directory, log) = world.log();
    fill(&directory, &log);
    drop(log);
    let name = TopicPartition::new("other", 0);
    let other = directory.create(name, Uuid::from_u128(9), world.config.clone(), NOW_MS);
    append_numbers(&other.unwrap(), 3);
    fs::create_dir_all(buried_dir(&world).join("something")).unwrap();
    directory.bury(&partition(), TOPIC_ID, GRACE_END);
    let closed = directory.close_without_mark();
    assert!(!closed.unwrap_err().is_shortage());
    let recovery_points = world.data().join("recovery-point-offset-checkpoint");
    let recovery_points = fs::read_to_string(recovery_points).unwrap();
    assert!(recovery_points.contains("other 0 3"), "{recovery_points}");
}

#[test]
fn the_rest_of_a_creation_does_not_keep_a_log_buried() {
    let world = World::new(LogConfig::default());
    let (directory, log) = world.log();
    fill(&directory, &log);
    drop(log);
    bury(&directory);
    fs::create_dir(world.partition_dir()).unwrap();
    fs::write(world.partition_dir().join("00000000000000000000.log"), b"").unwrap();
    let (log, _) = unbury(&world, &directory, &partition());
    assert_numbers(&log, 2, 10);
}

#[test]
fn a_stop_finishes_what_is_on_its_way() {
    let world = World::new(LogConfig::default());
    let (directory, log) = world.log();
    fill(&directory, &log);
    directory.bury(&partition(), TOPIC_ID, GRACE_END);
    World::stop(directory, log);
    let (directory, report) = world.open();
    assert!(report.clean_shutdown.is_some());
    assert_eq!(directory.buried(), [((TOPIC_ID, 0), Some(GRACE_END))]);
    let (log, _) = unbury(&world, &directory, &partition());

    without_room(&world.partition_dir().join("deleted-topic-checkpoint.tmp"));
    directory.bury(&partition(), TOPIC_ID, GRACE_END);
    drop(log);
    let stopped = directory.close_cleanly(foz_log::CleanShutdown { broker_epoch: 1 });
    assert!(stopped.unwrap_err().is_shortage());
    drop(directory);
    let (directory, report) = world.open();
    assert!(report.clean_shutdown.is_none());
    assert_numbers(&directory.get(&partition()).unwrap(), 2, 10);
}

#[test]
fn what_was_appended_after_a_reset_that_was_buried_stays() {
    let world = World::new(LogConfig::default());
    let (directory, log) = world.log();
    fill(&directory, &log);
    drop(log);
    bury(&directory);
    // As a reset leaves it that had no room for its last step.
    fs::write(
        buried_dir(&world).join("reset-offset-checkpoint"),
        "0\n1\n20\n",
    )
    .unwrap();
    let (log, findings) = unbury(&world, &directory, &partition());
    assert_eq!((log.log_end_offset(), findings.len()), (20, 1));
    append_numbers(&log, 5);
    drop((directory, log));
    let (_directory, log) = world.log();
    assert_numbers(&log, 20, 25);
}

#[test]
fn a_log_of_another_topic_is_not_served() {
    let world = World::new(LogConfig::default());
    let (directory, log) = world.log();
    fill(&directory, &log);
    bury(&directory);
    let other = Uuid::from_u128(9);
    let name = format!("{}.{}-deleted", partition(), other.simple());
    drop((directory, log));
    fs::rename(buried_dir(&world), world.data().join(name)).unwrap();
    let (directory, _) = world.open();
    assert!(directory.is_buried(other, 0));
    let unburied = directory.unbury(other, &partition(), world.config.clone(), NOW_MS);
    assert!(unburied.unwrap().is_none());
    assert!(!directory.is_buried(other, 0) && !world.partition_dir().exists());
    assert_eq!(strays(&world), 1);
}

fn strays(world: &World) -> usize {
    let entries = fs::read_dir(world.data()).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.ends_with("-stray")).count()
}

fn copy_directory(from: &std::path::Path, to: &std::path::Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
    }
}

#[test]
fn of_two_logs_of_one_partition_one_is_set_aside() {
    let world = World::new(LogConfig::default());
    let (directory, log) = world.log();
    fill(&directory, &log);
    bury(&directory);
    drop((directory, log));
    let old = format!("old-0.{}-deleted", TOPIC_ID.simple());
    copy_directory(&buried_dir(&world), &world.data().join(&old));
    let (directory, _) = world.open();
    assert_eq!((directory.buried().len(), strays(&world)), (1, 1));
    drop(directory);
    // What is in service has what was written since.
    let buried = match buried_dir(&world).exists() {
        true => buried_dir(&world),
        false => world.data().join(&old),
    };
    copy_directory(&buried, &world.partition_dir());
    let (directory, _) = world.open();
    assert_eq!((directory.buried().len(), strays(&world)), (0, 2));
    assert_numbers(&directory.get(&partition()).unwrap(), 2, 10);
}

#[test]
fn a_buried_log_is_no_excuse_for_the_loss_of_another() {
    let world = World::new(LogConfig::default());
    let (directory, log) = world.log();
    fill(&directory, &log);
    bury(&directory);
    let new = directory
        .create(
            partition(),
            Uuid::from_u128(9),
            world.config.clone(),
            NOW_MS,
        )
        .unwrap();
    append_numbers(&new, 3);
    new.flush().unwrap();
    directory.checkpoint().unwrap();
    drop((directory, log, new));
    fs::remove_dir_all(world.partition_dir()).unwrap();
    let (_, report) = world.open();
    assert_eq!(report.lost.len(), 1);
    assert_eq!(report.lost[0].found_offset, None);
}
