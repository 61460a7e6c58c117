use std::path::{Path, PathBuf};

use super::*;
use crate::identity::{claim, claim_all};

fn failed(action: &'static str) -> StorageError {
    StorageError {
        action,
        path: PathBuf::from("orders-0"),
        source: io::Error::from_raw_os_error(5),
    }
}

fn is_believed(data_dir: &Path) -> bool {
    claim(data_dir, 0).unwrap().page_cache_survived
}

fn partition() -> TopicPartition {
    TopicPartition::new("orders", 0)
}

/// Nothing can be put beside its `meta.properties`.
fn refuse(data_dir: &Path) {
    let in_the_way = format!("{}.tmp", foz_quorum::meta_properties::FILE_NAME);
    std::fs::create_dir(data_dir.join(in_the_way)).unwrap();
}

/// Several, each registered.
struct World {
    _dir: tempfile::TempDir,
    data_dirs: Vec<PathBuf>,
    all: Vec<DirectoryFailure>,
    heard: mpsc::Receiver<String>,
}

impl World {
    fn of(count: usize) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let data_dirs = (0..count).map(|n| dir.path().join(format!("data-{n}")));
        let data_dirs: Vec<_> = data_dirs.collect();
        let (all, heard) = DirectoryFailure::of_these(&data_dirs);
        for failure in &all {
            failure.identity().join("A", 7).unwrap();
        }
        Self {
            _dir: dir,
            data_dirs,
            all,
            heard,
        }
    }

    /// What the next process believes.
    fn believed(&self) -> Vec<bool> {
        let claims = claim_all(&self.data_dirs, 0).unwrap();
        let believed = claims.usable.iter();
        believed
            .map(|it| it.page_cache_survived && !it.is_doubted)
            .collect()
    }

    fn fail(&self, at: usize) -> bool {
        let goes_on = self.all[at].fail("the disk is gone".to_owned(), false);
        while goes_on && !self.all[at].distrusts_page_cache() {
            // Another thread writes that down.
            std::thread::yield_now();
        }
        goes_on
    }
}

#[test]
fn a_failed_flush_stops_the_process_and_is_known_to_the_next() {
    for is_of_change in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let (failure, mut heard) = DirectoryFailure::of(dir.path());
        failure.identity().join("A", 7).unwrap();
        assert!(is_believed(dir.path()));
        let error = failed("flush");
        if is_of_change {
            failure.log_stopped(&partition(), &OpenError::Storage(error));
        } else {
            failure.flush_failed(&partition(), &error);
        }
        assert!(!is_believed(dir.path()));
        let reason = heard.try_recv().unwrap();
        assert!(reason.contains("orders-0 cannot be flushed"), "{reason}");
    }
}

#[test]
fn a_change_left_half_way_stops_the_process_and_takes_nothing_from_the_page_cache() {
    let dir = tempfile::tempdir().unwrap();
    let (failure, mut heard) = DirectoryFailure::of(dir.path());
    failure.identity().join("A", 7).unwrap();
    for _ in 0..2 {
        failure.log_stopped(&partition(), &OpenError::Storage(failed("write")));
    }
    assert!(is_believed(dir.path()));
    let reason = heard.try_recv().unwrap();
    assert!(reason.contains("orders-0 was left half-way"), "{reason}");
    assert!(heard.try_recv().is_err(), "once");
}

#[test]
fn a_disk_that_takes_nothing_stops_the_process_all_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let (failure, mut heard) = DirectoryFailure::of(dir.path());
    refuse(dir.path());
    assert!(!failure.distrusts_page_cache());
    assert!(!failure.distrust_page_cache());
    assert!(failure.distrusts_page_cache());
    failure.flush_failed(&partition(), &failed("flush"));
    assert!(heard.try_recv().is_ok());
}

#[test]
fn one_that_is_left_out_is_as_it_was_to_the_next_process() {
    let mut world = World::of(2);
    let properties = || {
        let read = |dir: &PathBuf| std::fs::read_to_string(dir.join("meta.properties")).unwrap();
        world.data_dirs.iter().map(read).collect::<Vec<_>>()
    };
    let before = properties();
    for _ in 0..2 {
        assert!(world.all[0].leave_out("it is older"));
        assert!(world.all[0].has_failed());
        assert!(world.all[0].doubt(), "there is nothing to say");
    }
    assert!(!world.all[1].leave_out("it is the last one"));
    assert!(!world.all[1].has_failed());
    assert_eq!(properties(), before);
    assert!(world.heard.try_recv().is_err());
    assert_eq!(world.believed(), [true; 2]);
}

#[tokio::test]
async fn one_of_several_fails_once_and_another_says_so() {
    let mut world = World::of(3);
    assert_eq!(world.believed(), [true; 3]);
    // Not even that it failed.
    refuse(&world.data_dirs[1]);
    assert!(world.fail(1) && world.fail(1));
    world.all[1].news().notified().await;
    let failed: Vec<_> = world.all.iter().map(|it| it.has_failed()).collect();
    assert_eq!(failed, [false, true, false]);
    assert!(world.heard.try_recv().is_err(), "the broker goes on");
    std::fs::remove_dir(world.data_dirs[1].join("meta.properties.tmp")).unwrap();
    assert_eq!(world.believed(), [true, false, true]);
}

/// The first is known to the one that fails next.
#[test]
fn what_a_directory_knew_of_others_is_known_to_the_next_one_when_it_fails() {
    let world = World::of(4);
    for at in 0..3 {
        refuse(&world.data_dirs[at]);
        assert!(world.fail(at));
    }
    for data_dir in &world.data_dirs[..3] {
        std::fs::remove_dir(data_dir.join("meta.properties.tmp")).unwrap();
    }
    let first_and_last = [&world.data_dirs[0], &world.data_dirs[3]].map(Clone::clone);
    let claims = claim_all(&first_and_last, 0).unwrap();
    let is_doubted = |it: &Claimed| it.is_doubted;
    let doubted: Vec<_> = claims.usable.iter().map(is_doubted).collect();
    assert_eq!(doubted, [true, false], "the others are still away");
    // Also where that was not possible at once.
    let world = World::of(3);
    refuse(&world.data_dirs[0]);
    assert!(world.fail(0));
    for at in [1, 2] {
        refuse(&world.data_dirs[at]);
    }
    assert!(world.fail(1));
    assert!(!world.all[0].doubt() && !world.all[1].doubt());
    for data_dir in &world.data_dirs {
        std::fs::remove_dir(data_dir.join("meta.properties.tmp")).unwrap();
    }
    assert!(world.all[0].doubt() && world.all[1].doubt());
    assert_eq!(world.believed(), [false, false, true]);
}

#[test]
fn the_last_one_stops_the_process() {
    let mut world = World::of(2);
    assert!(world.fail(0));
    assert!(world.heard.try_recv().is_err());
    world.all[1].flush_failed(&partition(), &failed("flush"));
    assert!(!world.all[1].has_failed(), "in use until the process ends");
    assert!(world.heard.try_recv().is_ok());
    assert_eq!(world.believed(), [false, false]);
}

#[test]
fn of_two_at_once_one_is_the_last() {
    for _ in 0..20 {
        let mut world = World::of(2);
        let goes_on = std::thread::scope(|scope| {
            let threads = [0, 1].map(|at| {
                let world = &world;
                scope.spawn(move || world.fail(at))
            });
            threads.map(|thread| thread.join().unwrap())
        });
        assert_eq!(goes_on.iter().filter(|it| **it).count(), 1, "{goes_on:?}");
        assert!(world.heard.try_recv().is_ok());
    }
}

/// Each may have said of the other what goes with it.
#[test]
fn of_three_two_at_once_are_known_to_the_third() {
    for _ in 0..50 {
        let world = World::of(3);
        std::thread::scope(|scope| {
            for at in [0, 1] {
                let world = &world;
                scope.spawn(move || assert!(world.fail(at)));
            }
        });
        let known = std::fs::read_to_string(world.data_dirs[2].join("meta.properties")).unwrap();
        for failure in &world.all[..2] {
            let id = failure.identity().directory_id().to_string();
            let doubts = known.lines().find(|it| it.starts_with("foz.doubted"));
            assert!(doubts.is_some_and(|it| it.contains(&id)), "{known}");
        }
    }
}

#[test]
fn where_no_other_one_has_a_place_for_it_it_is_known_to_be_unsaid() {
    let world = World::of(2);
    refuse(&world.data_dirs[1]);
    assert!(world.fail(0));
    assert!(!world.all[0].doubt());
    std::fs::remove_dir(world.data_dirs[1].join("meta.properties.tmp")).unwrap();
    assert!(world.all[0].doubt());
}

#[test]
fn what_cannot_be_read_on_a_disk_that_can_be_written_is_damage() {
    let world = World::of(3);
    world.all[0].storage_failed(&failed("read"));
    assert!(!world.all[0].has_failed());
    let left = std::fs::read_dir(&world.data_dirs[0]).unwrap();
    let left: Vec<_> = left.map(|it| it.unwrap().file_name()).collect();
    assert_eq!(left, ["meta.properties"], "the probe is gone");
    // What was found is believed for a while.
    *world.all[0].all.probed[0].lock() = Some((Instant::now(), false));
    world.all[0].storage_failed(&failed("read"));
    assert!(world.all[0].has_failed());

    let no_room = StorageError {
        source: io::Error::from_raw_os_error(28),
        ..failed("write")
    };
    world.all[1].storage_failed(&no_room);
    assert!(!world.all[1].has_failed());
    world.all[1].storage_failed(&failed("write"));
    assert!(world.all[1].has_failed());
}

/// What is below a mount point would be taken for the directory, with nothing in it.
#[test]
fn nothing_is_written_where_its_disk_was_taken_away() {
    for count in [1, 2] {
        let world = World::of(count);
        let data_dir = &world.data_dirs[0];
        std::fs::rename(data_dir, data_dir.with_extension("away")).unwrap();
        std::fs::create_dir(data_dir).unwrap();
        let goes_on = world.all[0].fail("its disk is gone".to_owned(), true);
        assert_eq!(goes_on, count > 1);
        while !world.all[0].distrusts_page_cache() {
            std::thread::yield_now();
        }
        let identity = world.all[0].identity();
        let refused = identity.join("A", 8).unwrap_err().to_string();
        assert!(refused.contains("was taken away"), "{refused}");
        assert!(identity.doubt(identity.directory_id()).is_err());
        assert_eq!(std::fs::read_dir(data_dir).unwrap().count(), 0);
    }
}
