//! A crash before each step of a pass, and before each step of the start after it.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::world::*;
use crate::compaction::finish_interrupted;
use crate::file_steps::{FileStep, FileSteps};
use crate::{FileHandles, PageCache};

/// Tombstones, transactions, and segments of which some become one.
fn fill(world: &World) {
    let one = |spec: Spec, key: &str, value| spec.data(&[(Some(key), value, NOW_MS)]);
    for n in 0..30_i64 {
        let key = format!("key {}", n % 7);
        let batch = match n % 10 {
            3 => one(PLAIN.at(n), &key, None),
            5 => one(
                PLAIN.at(n).transactional(9, n as i32),
                &key,
                Some("aborted"),
            ),
            6 => PLAIN.at(n).marker(9, false, NOW_MS),
            _ => one(PLAIN.at(n), &key, Some("value")),
        };
        world.append(&batch);
    }
    world.commit();
    world.directory().checkpoint().unwrap();
}

fn filled(root: &Path) -> World {
    // Four batches each at first, and then room for eight.
    let world = World::new(root, config(300));
    fill(&world);
    world.log().set_config(config(620));
    world
}

fn reopened(root: &Path, page_cache: PageCache) -> World {
    let mut world = World::closed(root, config(620));
    world.open(page_cache, NOW_MS);
    world
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

fn dead() -> io::Error {
    io::Error::other("dead")
}

/// The same files, the process having died before step `at`; `None` when the pass takes no more steps.
fn died_before(at: usize) -> Option<tempfile::TempDir> {
    let root = new_root();
    let mut world = filled(root.path());
    let mut count = 0;
    let result = world.compact_watched(MANY_KEYS, NOW_MS, &mut |_, _| {
        count += 1;
        if count > at { Err(dead()) } else { Ok(()) }
    });
    world.kill();
    result.is_err().then_some(root)
}

struct Contents {
    before: Vec<Seen>,
    after: Vec<Seen>,
    /// Where a group of segments may end.
    bounds: Vec<i64>,
}

fn contents() -> Contents {
    let root = new_root();
    let world = filled(root.path());
    let before = world.records();
    let mut bounds: Vec<_> = world.segments().iter().map(|(base, _)| *base).collect();
    bounds.push(i64::MAX);
    let compacted = world.compact(NOW_MS);
    assert!(compacted.segments_after > 1 && compacted.segments_before > 4);
    let after = world.records();
    assert!(after.len() < before.len());
    Contents {
        before,
        after,
        bounds,
    }
}

impl Contents {
    /// Each group of segments is as it was or as it should be; those in front come first.
    fn check(&self, records: &[Seen], what: &str) {
        let is_one_of = self.bounds.iter().any(|bound| {
            let new = self.after.iter().filter(|it| it.0 < *bound);
            let old = self.before.iter().filter(|it| it.0 >= *bound);
            new.chain(old).eq(records)
        });
        assert!(is_one_of, "{what}: {records:?}");
    }
}

/// What is left of aborted transactions is known to be of such.
fn check_aborted(world: &World, records: &[Seen], what: &str) {
    let log = world.log();
    for (offset, _, value, _) in records {
        let known = log.aborted_in(*offset, offset + 1).unwrap();
        let is_aborted = value.as_deref() == Some(b"aborted");
        assert_eq!(
            known.len(),
            usize::from(is_aborted),
            "{what}: {offset} {known:?}"
        );
    }
}

fn check_opened(root: &Path, page_cache: PageCache, contents: &Contents, what: &str) {
    let world = reopened(root, page_cache);
    let records = world.records();
    contents.check(&records, what);
    check_aborted(&world, &records, what);
    let rest = |name: &String| name.ends_with(".cleaned") || name.ends_with(".swap");
    let names = file_names(&world.partition_dir());
    assert!(!names.iter().any(rest), "{what}: {names:?}");
    world.commit();
    world.compact(NOW_MS);
    assert_eq!(world.records(), contents.after, "{what}");
    let segments = world.segments();
    let is_whole = segments.windows(2).all(|two| two[0].1 == two[1].0);
    assert!(is_whole, "{what}: {segments:?}");
}

#[test]
fn a_crash_before_any_step_leaves_what_was_or_what_should_be() {
    let contents = contents();
    let mut at = 0;
    while let Some(root) = died_before(at) {
        for page_cache in [PageCache::Survived, PageCache::Lost] {
            let again = new_root();
            copy(root.path(), again.path());
            let what = format!("before step {at}, page cache {page_cache:?}");
            check_opened(again.path(), page_cache, &contents, &what);
        }
        at += 1;
    }
    assert!(at > 30, "only {at} steps were seen");
}

#[test]
fn a_crash_of_the_start_after_a_crash_changes_nothing() {
    let contents = contents();
    let mut at = 0;
    let mut interrupted = 0;
    while let Some(root) = died_before(at) {
        for start_at in 0.. {
            let again = new_root();
            copy(root.path(), again.path());
            let handles = FileHandles::new(4);
            let mut count = 0;
            let mut watch = |_: FileStep, _: &Path| {
                count += 1;
                if count > start_at {
                    Err(dead())
                } else {
                    Ok(())
                }
            };
            let mut steps = FileSteps::watched(handles.operations(), &mut watch);
            let partition = again.path().join("changes-0");
            if finish_interrupted(&mut steps, &partition, false).is_ok() {
                break;
            }
            interrupted += 1;
            let what = format!("before step {at}, then before {start_at}");
            check_opened(again.path(), PageCache::Survived, &contents, &what);
        }
        at += 1;
    }
    assert!(
        interrupted > 30,
        "only {interrupted} starts were interrupted"
    );
}

/// What a power failure takes is what was not flushed: so nothing is decided before it is durable.
#[test]
fn every_step_is_durable_before_the_next_counts_on_it() {
    let root = new_root();
    let world = filled(root.path());
    let mut unflushed: HashSet<PathBuf> = HashSet::new();
    let (mut is_decided, mut is_directory_flushed, mut is_removing) = (false, false, false);
    // With a name that is not durable yet.
    let mut has_new_index = false;
    let mut removed = 0;
    world
        .compact_watched(MANY_KEYS, NOW_MS, &mut |step, path| {
            let name = path.file_name().unwrap().to_str().unwrap();
            match step {
                FileStep::Rename if name.contains(".log") => assert!(!has_new_index, "{name}"),
                FileStep::Rename => has_new_index = true,
                FileStep::FlushDirectory => has_new_index = false,
                _ => {}
            }
            match step {
                FileStep::Create | FileStep::Write => {
                    assert!(name.ends_with(".cleaned"), "{name}");
                    unflushed.insert(path.to_path_buf());
                }
                FileStep::Flush => assert!(unflushed.remove(path), "{name}"),
                FileStep::FlushDirectory => {
                    is_directory_flushed = true;
                    is_removing = false;
                }
                FileStep::Rename if name.ends_with(".cleaned") => {
                    assert!(unflushed.is_empty(), "{unflushed:?}");
                    is_decided = name.contains(".log");
                    is_directory_flushed = false;
                }
                FileStep::Rename => {
                    assert!(name.ends_with(".swap"), "{name}");
                    assert!(is_decided && is_directory_flushed, "{name}");
                }
                FileStep::Remove => {
                    let may_go = is_directory_flushed || is_removing;
                    assert!(is_decided && may_go, "{name}");
                    is_directory_flushed = false;
                    is_removing = true;
                    removed += 1;
                }
            }
            Ok(())
        })
        .unwrap();
    assert!(removed > 0 && is_directory_flushed && unflushed.is_empty());
}

#[test]
fn a_segment_that_was_decided_on_and_is_damaged_is_not_used() {
    let mut at = 0;
    let swap = |root: &Path| {
        let partition = root.join("changes-0");
        let mut names = file_names(&partition).into_iter();
        let found = names.find(|name| name.ends_with(".log.swap"))?;
        Some(partition.join(found))
    };
    let (root, path) = loop {
        let root = died_before(at).expect("there is a step after the decision");
        if let Some(path) = swap(root.path()) {
            break (root, path);
        }
        at += 1;
    };
    let mut bytes = fs::read(&path).unwrap();
    // The magic of the first batch.
    bytes[16] = 9;
    fs::write(&path, &bytes).unwrap();
    let handles = FileHandles::new(4);
    let mut steps = FileSteps::new(handles.operations());
    let partition = root.path().join("changes-0");
    let names = file_names(&partition);
    let error = finish_interrupted(&mut steps, &partition, false).unwrap_err();
    assert!(error.to_string().contains(".log.swap"), "{error}");
    assert_eq!(file_names(&partition), names, "nothing was touched");
    // Whoever asks for what is left of it gets that, as of any damaged segment.
    finish_interrupted(&mut steps, &partition, true).unwrap();
    assert!(!path.exists());
}
