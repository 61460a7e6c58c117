#[path = "../../tests/group/small_disk.rs"]
mod small_disk;

use std::fs;
use std::path::Path;

use raft::eraftpb::{ConfState, Entry, HardState};
use raft::{GetEntriesContext, Storage as _};

use small_disk::SmallDisk;

use super::snapshot_file::{self, StoredSnapshot};
use super::{LogStore, QuorumDirectory, StorageError};
use crate::disk::Step;
use crate::disk::refusal::refuse;
use crate::entries::SnapshotMeta;

fn entry(index: u64, term: u64) -> Entry {
    let data = format!("entry {index} of term {term}").into();
    Entry {
        index,
        term,
        data,
        ..Entry::default()
    }
}

fn entries(range: std::ops::RangeInclusive<u64>, term: u64) -> Vec<Entry> {
    range.map(|index| entry(index, term)).collect()
}

fn hard_state(term: u64, vote: u64, commit: u64) -> HardState {
    HardState {
        term,
        vote,
        commit,
        ..HardState::default()
    }
}

fn snapshot(index: u64, term: u64) -> StoredSnapshot {
    StoredSnapshot {
        meta: SnapshotMeta { index, term },
        conf_state: ConfState::from((vec![1, 2], vec![3])),
        data: format!("state at {index}").into(),
    }
}

fn open(path: &Path) -> Result<(LogStore, Option<StoredSnapshot>), StorageError> {
    QuorumDirectory::open(path.to_owned())?.open_log(true)
}

/// As one that was founded: a snapshot at index 1, then 2..=6.
fn founded(path: &Path) -> LogStore {
    let mut directory = QuorumDirectory::open(path.to_owned()).unwrap();
    directory.found(&snapshot(1, 1)).unwrap();
    let (mut store, _) = directory.open_log(true).unwrap();
    for index in 2..=6 {
        let state = hard_state(2, 7, index - 1);
        store
            .append(Some(&state), &mut entries(index..=index, 2))
            .unwrap();
    }
    store
}

fn all(store: &LogStore) -> Vec<Entry> {
    let (first, last) = (store.first(), store.last());
    store
        .entries(first, last + 1, None, GetEntriesContext::empty(false))
        .unwrap()
}

fn state(store: &LogStore) -> HardState {
    store.initial_state().unwrap().hard_state
}

fn names(path: &Path, suffix: &str) -> Vec<String> {
    let files = fs::read_dir(path)
        .unwrap()
        .map(|file| file.unwrap().file_name());
    let mut names: Vec<String> = files
        .map(|name| name.to_string_lossy().into_owned())
        .filter(|name| name.ends_with(suffix))
        .collect();
    names.sort();
    names
}

#[test]
fn what_was_appended_is_there_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let mut store = founded(directory.path());
    // A new leader's entries take the place of those it does not have.
    store
        .append(Some(&hard_state(3, 9, 4)), &mut entries(5..=5, 3))
        .unwrap();
    store.append(None, &mut vec![]).unwrap();
    let before = (all(&store), state(&store));
    drop(store);
    let (store, newest) = open(directory.path()).unwrap();
    assert_eq!((all(&store), state(&store)), before);
    assert_eq!(newest, Some(snapshot(1, 1)));
    assert_eq!(before.0, [entries(2..=4, 2), entries(5..=5, 3)].concat());
    assert_eq!(before.1, hard_state(3, 9, 4));
    assert_eq!(
        (store.term(1), store.term(4), store.term(5)),
        (Ok(1), Ok(2), Ok(3))
    );
}

#[test]
fn entries_are_given_up_to_a_size_and_at_least_one() {
    let directory = tempfile::tempdir().unwrap();
    let store = founded(directory.path());
    let get = |bytes| {
        store
            .entries(2, 7, bytes, GetEntriesContext::empty(false))
            .unwrap()
            .len()
    };
    assert_eq!((get(0), get(60), get(u64::MAX)), (1, 2, 5));
}

#[test]
fn a_log_torn_at_any_byte_keeps_what_was_durable_before() {
    let directory = tempfile::tempdir().unwrap();
    let mut store = founded(directory.path());
    let log = directory.path().join(&names(directory.path(), ".log")[0]);
    let durable = fs::metadata(&log).unwrap().len();
    store
        .append(Some(&hard_state(5, 1, 6)), &mut entries(7..=9, 5))
        .unwrap();
    drop(store);
    let whole = fs::read(&log).unwrap();
    for length in usize::try_from(durable).unwrap()..whole.len() {
        for filler in [0_usize, 40] {
            let mut torn = whole[..length].to_vec();
            torn.resize((length + filler).min(whole.len()), 0);
            if torn == whole {
                continue;
            }
            fs::write(&log, &torn).unwrap();
            let (mut store, _) = open(directory.path()).unwrap();
            assert_eq!(all(&store), entries(2..=6, 2), "cut at {length}");
            assert_eq!(state(&store), hard_state(2, 7, 5));
            store
                .append(Some(&hard_state(6, 2, 6)), &mut entries(7..=7, 6))
                .unwrap();
            drop(store);
            let (store, _) = open(directory.path()).unwrap();
            assert_eq!(
                (store.last(), state(&store).term),
                (7, 6),
                "cut at {length}"
            );
        }
    }
}

#[test]
fn damage_in_the_middle_of_the_log_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    drop(founded(directory.path()));
    let log = directory.path().join(&names(directory.path(), ".log")[0]);
    let whole = fs::read(&log).unwrap();
    // The last frame has one entry; everything before it must be as it was.
    let last_frame = whole.len() - 24 - 50;
    for byte in (0..last_frame).step_by(7) {
        let mut damaged = whole.clone();
        damaged[byte] ^= 0x10;
        fs::write(&log, &damaged).unwrap();
        let error = open(directory.path()).unwrap_err();
        let text = error.to_string();
        assert!(
            matches!(
                error,
                StorageError::Corrupt { .. } | StorageError::Version { .. }
            ) && text.contains(log.to_str().unwrap()),
            "byte {byte}: {text}"
        );
        assert_eq!(
            fs::read(&log).unwrap(),
            damaged,
            "a damaged file is left as it is"
        );
    }
}

#[test]
fn snapshots_let_the_log_before_the_older_one_go() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let mut store = founded(path);
    for index in [6, 9, 12] {
        let last = store.last();
        if last < index {
            store
                .append(
                    Some(&hard_state(2, 7, index)),
                    &mut entries(last + 1..=index, 2),
                )
                .unwrap();
        }
        let written = snapshot_file::write(path, &snapshot(index, 2)).unwrap();
        store
            .snapshot_written(written, snapshot(index, 2).conf_state)
            .unwrap();
        assert_eq!(store.bytes_since_snapshot(), 0);
    }
    store
        .append(Some(&hard_state(2, 7, 12)), &mut entries(13..=14, 2))
        .unwrap();
    assert_eq!(
        (store.first(), store.last(), store.newest_snapshot().index),
        (10, 14, 12)
    );
    assert_eq!((store.term(9), store.term(12)), (Ok(2), Ok(2)));
    assert!(store.term(8).is_err() && store.snapshot(13, 1).is_err());
    assert!(store.take_snapshot_wanted());
    for member in 1..=3 {
        assert_eq!(
            store.snapshot(12, member).unwrap(),
            snapshot(12, 2).into_raft()
        );
    }
    assert!(!store.take_snapshot_wanted());
    assert!(
        store.snapshot(12, 4).is_err(),
        "it is from before 4 was a member"
    );
    assert!(store.take_snapshot_wanted());
    assert_eq!(names(path, ".snapshot").len(), 2);
    assert_eq!(names(path, ".log").len(), 2);
    drop(store);
    let (store, newest) = open(path).unwrap();
    assert_eq!(newest, Some(snapshot(12, 2)));
    assert_eq!(all(&store), entries(13..=14, 2));
    assert_eq!(
        store.initial_state().unwrap().conf_state,
        snapshot(12, 2).conf_state
    );
}

#[test]
fn a_damaged_newest_snapshot_falls_back_to_the_older_one_and_the_log() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let mut store = founded(path);
    let written = snapshot_file::write(path, &snapshot(4, 2)).unwrap();
    store
        .snapshot_written(written, snapshot(4, 2).conf_state)
        .unwrap();
    drop(store);
    let newest = path.join(&names(path, ".snapshot")[1]);
    let whole = fs::read(&newest).unwrap();
    for byte in 0..whole.len() {
        let mut damaged = whole.clone();
        damaged[byte] ^= 1;
        fs::write(&newest, &damaged).unwrap();
        let (store, found) = open(path).unwrap();
        assert_eq!(
            (found, all(&store)),
            (Some(snapshot(1, 1)), entries(2..=6, 2)),
            "byte {byte}"
        );
        assert!(!newest.exists());
    }
}

#[test]
fn a_damaged_snapshot_that_nothing_replaces_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let mut store = founded(path);
    store
        .install(&snapshot(20, 3).into_raft(), Some(&hard_state(3, 0, 20)))
        .unwrap();
    store.append(None, &mut entries(21..=22, 3)).unwrap();
    drop(store);
    let newest = path.join(&names(path, ".snapshot")[1]);
    let mut bytes = fs::read(&newest).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&newest, bytes).unwrap();
    assert!(matches!(open(path), Err(StorageError::Corrupt { .. })));
    fs::remove_file(newest).unwrap();
    assert!(matches!(open(path), Err(StorageError::Missing { .. })));
}

#[test]
fn the_leaders_snapshot_takes_the_place_of_the_log() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let mut store = founded(path);
    store
        .install(&snapshot(20, 3).into_raft(), Some(&hard_state(3, 0, 20)))
        .unwrap();
    assert_eq!((store.first(), store.last()), (21, 20));
    assert_eq!(store.term(20), Ok(3));
    drop(store);
    let (store, newest) = open(path).unwrap();
    assert_eq!(newest, Some(snapshot(20, 3)));
    assert_eq!((all(&store), state(&store)), (vec![], hard_state(3, 0, 20)));
}

#[test]
fn a_crash_before_the_log_is_begun_anew_behind_the_leaders_snapshot() {
    // The log ends before the snapshot; it contradicts it; it has it.
    let cases = [
        ((20, 5), vec![]),
        ((4, 3), vec![]),
        ((4, 2), entries(5..=6, 2)),
    ];
    for ((index, term), expected) in cases {
        let directory = tempfile::tempdir().unwrap();
        drop(founded(directory.path()));
        snapshot_file::write(directory.path(), &snapshot(index, term)).unwrap();
        let (store, newest) = open(directory.path()).unwrap();
        assert_eq!(newest.unwrap().meta, SnapshotMeta { index, term });
        assert_eq!(all(&store), expected);
        let state = state(&store);
        assert!(state.term >= term && state.commit >= index, "{state:?}");
    }
}

#[test]
fn a_directory_is_used_by_one_and_holds_nothing_half_made() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let held = QuorumDirectory::open(path.to_owned()).unwrap();
    assert!(matches!(open(path), Err(StorageError::Locked { .. })));
    drop(held);
    fs::write(path.join("00000000000000000001.log.tmp"), "half").unwrap();
    let opened = QuorumDirectory::open(path.to_owned()).unwrap();
    assert!(opened.is_empty());
    assert!(names(path, ".tmp").is_empty());
}

#[test]
fn a_log_that_is_gone_is_not_begun_anew_by_one_that_may_have_voted() {
    let directory = tempfile::tempdir().unwrap();
    drop(founded(directory.path()));
    fs::remove_file(directory.path().join(&names(directory.path(), ".log")[0])).unwrap();
    let opened = QuorumDirectory::open(directory.path().to_owned()).unwrap();
    assert!(matches!(
        opened.open_log(false),
        Err(StorageError::Missing { .. })
    ));
}

/// Needs root, for a small tmpfs.
#[test]
fn without_room_nothing_is_half_written_and_the_next_try_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let disk = SmallDisk::on(directory.path());
    let path = directory.path().join("quorum");
    let mut store = founded(&path);
    for round in 0..4_u64 {
        disk.fill();
        let first = store.last() + 1;
        let mut large: Vec<Entry> = entries(first..=first + 40, 2 + round);
        for entry in &mut large {
            entry.data = vec![b'x'; 1_000].into();
        }
        let state = hard_state(2 + round, 7, first - 1);
        for _ in 0..3 {
            let refused = store.append(Some(&state), &mut large).unwrap_err();
            assert!(refused.is_shortage(), "{refused}");
        }
        assert_eq!((store.last() + 1, large.len()), (first, 41));
        disk.free();
        store.append(Some(&state), &mut large).unwrap();
        assert_eq!(large, []);
        let expected = all(&store);
        drop(store);
        (store, _) = open(&path).unwrap();
        assert_eq!(all(&store), expected);
        assert_eq!(store.last(), first + 40);
    }
    assert!(names(&path, ".tmp").is_empty());
}

#[test]
fn a_snapshot_without_room_leaves_nothing_and_the_log_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let disk = SmallDisk::on(directory.path());
    let path = directory.path().join("quorum");
    let mut store = founded(&path);
    let large = StoredSnapshot {
        data: vec![b's'; 20_000].into(),
        ..snapshot(5, 2)
    };
    disk.fill();
    let refused = snapshot_file::write(&path, &large).unwrap_err();
    assert!(refused.is_shortage(), "{refused}");
    assert!(names(&path, ".tmp").is_empty());
    let refused = store.install(&large.clone().into_raft(), None).unwrap_err();
    assert!(refused.is_shortage(), "{refused}");
    assert_eq!(store.last(), 6, "the log is as it was");
    disk.free();
    // A snapshot that found room is good without another segment, for which there is none.
    snapshot_file::write(&path, &large).unwrap();
    disk.fill();
    store
        .snapshot_written(large.meta, ConfState::default())
        .unwrap();
    assert_eq!(names(&path, ".log").len(), 1);
    disk.free();
    store.append(None, &mut entries(7..=8, 2)).unwrap();
    drop(store);
    let (store, found) = open(&path).unwrap();
    assert_eq!((found.unwrap().meta, store.last()), (large.meta, 8));
}

/// Behind the rest of it nothing may be written: the next start would cut that off, acknowledged as it is. Needs root.
#[test]
fn a_half_written_frame_that_stays_is_no_shortage() {
    let directory = tempfile::tempdir().unwrap();
    let disk = SmallDisk::on(directory.path());
    let path = directory.path().join("quorum");
    let mut store = founded(&path);
    let mut large = entries(7..=7, 3);
    large[0].data = vec![b'x'; 10_000].into();
    disk.fill();
    refuse(Some(Step::CutBack));
    let error = store.append(Some(&hard_state(3, 9, 6)), &mut large);
    refuse(None);
    let error = error.unwrap_err();
    assert!(!error.is_shortage(), "{error}");
    disk.free();
    drop(store);
    let (store, _) = open(&path).unwrap();
    assert_eq!((store.last(), state(&store)), (6, hard_state(2, 7, 5)));
}

/// As where room is found only when a file is flushed: nobody knows what of it is on the disk.
#[test]
fn a_failed_fsync_is_no_shortage() {
    let directory = tempfile::tempdir().unwrap();
    let mut store = founded(directory.path());
    refuse(Some(Step::SyncData));
    let appended = store.append(Some(&hard_state(3, 9, 6)), &mut entries(7..=7, 3));
    refuse(None);
    let error = appended.unwrap_err();
    assert!(!error.is_shortage(), "{error}");
}

/// A segment that has its name, durable or not, is the last one to the next start: votes in the one before it would be
/// forgotten.
#[test]
fn a_name_that_may_be_there_is_no_shortage() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let mut store = founded(path);
    refuse(Some(Step::SyncDirectory));
    let refused = snapshot_file::write(path, &snapshot(4, 2)).unwrap_err();
    assert!(!refused.is_shortage(), "{refused}");
    let installed = store.install(&snapshot(20, 3).into_raft(), None);
    let refused = installed.unwrap_err();
    assert!(!refused.is_shortage(), "{refused}");
    let rolled = store.snapshot_written(snapshot(4, 2).meta, ConfState::default());
    refuse(None);
    let refused = rolled.unwrap_err();
    assert!(!refused.is_shortage(), "{refused}");
}

/// As on a file system that copies on write.
#[test]
fn what_finds_no_room_to_be_removed_goes_later() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let mut store = founded(path);
    refuse(Some(Step::Remove));
    for index in [3, 4, 5] {
        let written = snapshot_file::write(path, &snapshot(index, 2)).unwrap();
        store
            .snapshot_written(written, snapshot(index, 2).conf_state)
            .unwrap();
    }
    assert_eq!(names(path, ".snapshot").len(), 4);
    assert_eq!(names(path, ".log").len(), 4);
    // The log must be gone before anything follows the leader's snapshot.
    let leaders = snapshot(20, 3).into_raft();
    for _ in 0..3 {
        let installed = store.install(&leaders, Some(&hard_state(3, 9, 20)));
        let refused = installed.unwrap_err();
        assert!(refused.is_shortage(), "{refused}");
        assert_eq!(names(path, ".log").len(), 5, "it is not begun anew again");
    }
    refuse(None);
    store
        .install(&leaders, Some(&hard_state(3, 9, 20)))
        .unwrap();
    assert_eq!(names(path, ".snapshot").len(), 2);
    assert_eq!(names(path, ".log").len(), 1);
    store.append(None, &mut entries(21..=22, 3)).unwrap();
    drop(store);
    let (store, newest) = open(path).unwrap();
    assert_eq!(newest, Some(snapshot(20, 3)));
    assert_eq!(all(&store), entries(21..=22, 3));
    assert_eq!(state(&store), hard_state(3, 9, 20));
}
