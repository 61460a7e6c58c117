//! A deleted partition is away at once; its files go in the background.

use std::cell::Cell;
use std::fs;
use std::path::PathBuf;

use foz_log::{LogConfig, LogDirectory, OpenError, PageCache};
use uuid::Uuid;

use crate::support::*;

/// Directories of deleted partitions, with how many files each has.
fn doomed(world: &World) -> Vec<usize> {
    let names = files(&world.data(), "-delete");
    let counts = names
        .iter()
        .map(|name| files(&world.data().join(name), "").len());
    counts.collect()
}

/// As where the new name needs more room than there is.
#[test]
fn what_could_not_be_set_aside_is_set_aside_when_that_is_asked_again() {
    let world = World::new(LogConfig::default());
    let (directory, log) = world.log();
    append_numbers(&log, 3);
    let elsewhere = world.data().join("elsewhere");
    fs::rename(world.partition_dir(), &elsewhere).unwrap();
    directory.set_aside(&partition()).unwrap_err();
    fs::rename(&elsewhere, world.partition_dir()).unwrap();
    assert!(log.is_deleted(), "it takes nothing");
    let (config, id) = (world.config, Uuid::from_u128(9));
    let refused = directory.create(partition(), id, config.clone(), NOW_MS);
    assert!(matches!(refused, Err(OpenError::Exists(_))));
    assert!(
        directory
            .get(&partition())
            .is_some_and(|it| it.is_deleted())
    );
    assert!(directory.set_aside(&partition()).unwrap().exists());
    append_numbers(
        &directory.create(partition(), id, config, NOW_MS).unwrap(),
        1,
    );
}

#[test]
fn what_was_taken_away_may_come_back_until_that_is_flushed() {
    for is_deleted in [true, false] {
        let world = World::new(LogConfig::default());
        let (directory, _log) = world.log();
        let may_come_back = |id| directory.may_come_back(&partition(), id);
        assert!(!may_come_back(TOPIC_ID));
        if is_deleted {
            directory.delete(&partition()).unwrap();
            assert!(may_come_back(TOPIC_ID));
            assert!(!may_come_back(Uuid::from_u128(9)), "another topic");
            assert!(directory.remove_deleted(&|| true).unwrap());
        } else {
            directory.set_aside(&partition()).unwrap();
        }
        assert!(!may_come_back(TOPIC_ID));
    }
}

#[test]
fn files_go_one_by_one_for_as_long_as_they_may_and_the_next_start_goes_on() {
    let world = World::new(small_segments(250));
    let (directory, log) = world.log();
    append_numbers(&log, 20);
    log.flush().unwrap();
    directory.checkpoint().unwrap();
    directory.delete(&partition()).unwrap();
    assert!(!world.partition_dir().exists());
    let [all] = doomed(&world)[..] else {
        panic!("nothing has gone yet");
    };

    let left = Cell::new(3);
    let three = || left.replace(left.get() - 1) > 0;
    assert!(!directory.remove_deleted(&three).unwrap());
    assert_eq!(doomed(&world), [all - 3]);
    // A new one of that name is not held up, and has nothing of the old one.
    let config = world.config.clone();
    let new = directory
        .create(partition(), Uuid::from_u128(9), config, NOW_MS)
        .unwrap();
    append_numbers(&new, 2);
    drop((directory, log, new));

    let (directory, report) = world.open_after(PageCache::Survived);
    assert!(
        report.lost.is_empty() && report.offline.is_empty(),
        "{report:?}"
    );
    assert_eq!(
        (report.being_deleted.len(), doomed(&world)),
        (1, vec![all - 3])
    );
    assert!(directory.remove_deleted(&|| true).unwrap());
    assert_eq!(doomed(&world), [0]);
    directory.checkpoint().unwrap();
    assert!(doomed(&world).is_empty());
    assert!(directory.remove_deleted(&|| true).unwrap());
    assert_numbers(&directory.get(&partition()).unwrap(), 0, 2);
}

/// Its name gets longer than a path may be.
#[test]
fn one_that_cannot_be_renamed_is_away_all_the_same_and_tried_again() {
    let world = World::new(LogConfig::default());
    let mut data = world.dir.path().to_path_buf();
    while data.as_os_str().len() < 4_050 {
        let left = 4_050 - data.as_os_str().len();
        data.push("d".repeat((left - 1).clamp(1, 200)));
    }
    let open = |path: &PathBuf| {
        let (config_of, lost) = (|_: &_, _| LogConfig::default(), PageCache::Lost);
        LogDirectory::open(path, lost, 1, &world.handles, NOW_MS, &config_of, &|_| {}).unwrap()
    };
    let (directory, _) = open(&data);
    let create = || directory.create(partition(), TOPIC_ID, LogConfig::default(), NOW_MS);
    append_numbers(&create().unwrap(), 3);
    let refused = directory.delete(&partition()).unwrap_err().to_string();
    assert!(
        refused.contains("rename") && refused.contains("orders-0"),
        "{refused}"
    );
    assert!(directory.get(&partition()).is_none());
    directory.remove_deleted(&|| true).unwrap_err();
    let in_the_way = create().unwrap_err();
    assert!(matches!(in_the_way, OpenError::Storage(_)), "{in_the_way}");

    fs::remove_dir_all(data.join("orders-0")).unwrap();
    assert!(directory.remove_deleted(&|| true).unwrap());
    assert_numbers(&create().unwrap(), 0, 0);
}

/// It is somebody's mount, for example.
#[test]
fn what_cannot_be_removed_holds_up_no_other() {
    let world = World::new(LogConfig::default());
    let (directory, _) = world.log();
    let second = foz_log::TopicPartition::new("orders", 1);
    let config = world.config.clone();
    directory
        .create(second.clone(), TOPIC_ID, config, NOW_MS)
        .unwrap();
    directory.delete(&partition()).unwrap();
    let first = world.data().join(&files(&world.data(), "-delete")[0]);
    directory.delete(&second).unwrap();
    // A file is no directory that could be listed.
    let aside = world.dir.path().join("aside");
    fs::rename(&first, &aside).unwrap();
    fs::write(&first, "").unwrap();
    let error = directory.remove_deleted(&|| true).unwrap_err();
    assert!(error.path == first, "{error}");
    directory.checkpoint().unwrap();
    assert_eq!(files(&world.data(), "-delete").len(), 1);
    fs::remove_file(&first).unwrap();
    fs::rename(&aside, &first).unwrap();
    assert!(directory.remove_deleted(&|| true).unwrap());
    directory.checkpoint().unwrap();
    assert!(files(&world.data(), "-delete").is_empty());
}
