//! A crash before each step of the end of a move, and before each step of the start after it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::world::*;
use crate::file_steps::{FileStep, FileSteps};
use crate::log_directory::finish_moves_in_steps;
use crate::{DiskOperations, FileHandles, LogDirectory, PageCache, TopicPartition, finish_moves};

/// Deleted from, half flushed, and copied but for the end.
const COPIED: i64 = 30;
const FLUSHED: i64 = 34;
const END: i64 = 40;
const START: i64 = 5;

/// What the process leaves that died before step `at`; `None` when there are no more steps.
fn died_before(at: usize) -> Option<Left> {
    let root = new_root();
    let world = World::open(root.path(), PageCache::Survived);
    let log = world.create();
    append(&log, COPIED);
    log.set_high_watermark(COPIED);
    let it = world.begin(&log);
    world.copy_all(&it);
    append(&log, FLUSHED - COPIED);
    log.flush().unwrap();
    append(&log, END - FLUSHED);
    world
        .directories
        .iter()
        .for_each(|it| it.checkpoint().unwrap());
    // The copy hears of it at the very end.
    log.advance_log_start_offset(START).unwrap();
    world.directories[0].checkpoint_log_starts().unwrap();
    let expected = contents(&log);
    let mut count = 0;
    let mut unflushed_name = None;
    let result = world.finish_watched(&it, &mut |step, path| {
        count += 1;
        if count > at {
            return Err(dead());
        }
        match step {
            FileStep::Rename => {
                assert_eq!(unflushed_name, None, "two names are in doubt");
                unflushed_name = Some(path.to_path_buf());
            }
            FileStep::FlushDirectory => unflushed_name = None,
            _ => {}
        }
        Ok(())
    });
    let has_failed = result.is_err();
    let left = Left {
        copied_flushed: it.future.log.flushed_offset(),
        root,
        expected,
        unflushed_name,
    };
    (has_failed || count > at).then_some(left)
}

struct Left {
    root: tempfile::TempDir,
    expected: (i64, Vec<u8>),
    /// Up to here the copy was flushed.
    copied_flushed: i64,
    /// Of a renaming that the power failure may take back.
    unflushed_name: Option<PathBuf>,
}

impl Left {
    fn again(&self) -> tempfile::TempDir {
        let again = new_root();
        copy_tree(self.root.path(), again.path());
        again
    }

    /// Everything that was not flushed is gone.
    fn without_power(&self, takes_name_back: bool) -> Option<tempfile::TempDir> {
        let again = self.again();
        let name = self.unflushed_name.as_ref().filter(|_| takes_name_back);
        if takes_name_back {
            let old = again
                .path()
                .join(name?.strip_prefix(self.root.path()).unwrap());
            let directory = old.parent().unwrap();
            let is_it =
                |it: &String| it.ends_with("-moved") || it.ends_with("-delete") || it == "orders-0";
            let new = names(directory).into_iter().find(is_it).unwrap();
            fs::rename(directory.join(new), &old).unwrap();
        }
        self.lose_ends(again.path());
        Some(again)
    }

    fn lose_ends(&self, root: &Path) {
        let (source, copy) = (END - FLUSHED, END - self.copied_flushed);
        for path in paths(root) {
            for name in names(&path) {
                let is_copy = path.ends_with("b");
                let lost = if is_copy { copy } else { source };
                // What is moved away counts no more.
                if !name.ends_with("-delete") && lost > 0 {
                    cut_file(
                        &path.join(name),
                        if is_copy {
                            self.copied_flushed
                        } else {
                            FLUSHED
                        },
                    );
                }
            }
        }
    }

    /// A start, up to and without this step of it. What was renamed and not flushed, by it or by the process before: the first
    /// of its names, by directory. Whether it came to its end.
    fn start(&self, root: &Path, up_to: usize) -> (BTreeMap<PathBuf, PathBuf>, bool) {
        let mut unflushed = BTreeMap::new();
        if let Some(name) = &self.unflushed_name {
            let name = root.join(name.strip_prefix(self.root.path()).unwrap());
            unflushed.insert(name.parent().unwrap().to_path_buf(), name);
        }
        let mut count = 0;
        let mut watch = |step: FileStep, path: &Path| {
            count += 1;
            if count > up_to {
                return Err(dead());
            }
            match step {
                FileStep::Rename => {
                    let directory = path.parent().unwrap().to_path_buf();
                    unflushed.entry(directory).or_insert(path.to_path_buf());
                }
                FileStep::FlushDirectory => drop(unflushed.remove(path)),
                _ => {}
            }
            Ok(())
        };
        let operations = DiskOperations::default();
        let steps = FileSteps::watched(&operations, &mut watch);
        let is_over = finish_moves_in_steps(&paths(root), true, steps).is_ok();
        (unflushed, is_over)
    }

    /// The log is there once, with all that it must have, and can be moved again.
    fn check(&self, root: &Path, page_cache: PageCache, what: &str) {
        let world = World::open(root, page_cache);
        world.assert_nothing_is_missed(what);
        assert!(
            world.moves.in_doubt.is_empty() && world.moves.waiting.is_empty(),
            "{what}"
        );
        let (place, log) = world.find().unwrap_or_else(|| panic!("{what}: no log"));
        let (start, bytes) = contents(&log);
        assert_eq!(start, START, "{what}");
        assert!(self.expected.1.starts_with(&bytes), "{what}");
        let end = log.log_end_offset();
        match page_cache {
            PageCache::Survived => assert_eq!(end, END, "{what}"),
            PageCache::Lost => assert!(end >= FLUSHED, "{what}: {end}"),
        }
        assert_eq!(log.latest_epoch(), Some(3), "{what}");
        append(&log, 3);
        let expected = contents(&log);
        let log = match place {
            0 => world.move_all(&log),
            _ => log,
        };
        assert_eq!(contents(&log), expected, "{what}");
        assert!(world.directories[1].futures().is_empty(), "{what}");
        for directory in &world.directories {
            directory.remove_deleted(&|| true).unwrap();
            directory.checkpoint().unwrap();
        }
        drop((log, world));
        let world = World::open(root, PageCache::Survived);
        world.assert_nothing_is_missed(what);
        assert_eq!(contents(&world.find().unwrap().1), expected, "{what}");
        assert_eq!(names(&root.join("a")), [""; 0], "{what}");
        assert_eq!(names(&root.join("b")), ["orders-0"], "{what}");
    }
}

/// Each batch is of one record.
fn cut_file(directory: &Path, end: i64) {
    let Ok(entries) = fs::read_dir(directory) else {
        return;
    };
    for entry in entries {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let Some(base) = name.strip_suffix(".log") else {
            continue;
        };
        let base: i64 = base.parse().unwrap();
        let bytes = fs::read(&path).unwrap();
        let batches = foz_protocol::batch::Batches::new(&bytes).map_while(Result::ok);
        let whole = batches.take_while(|(header, _)| header.base_offset < end);
        let length: usize = whole.map(|(_, batch)| batch.len()).sum();
        if base > end {
            fs::remove_file(&path).unwrap();
        } else {
            fs::OpenOptions::new()
                .write(true)
                .open(&path)
                .unwrap()
                .set_len(length as u64)
                .unwrap();
        }
    }
}

#[test]
fn a_crash_before_any_step_leaves_one_log_with_all_that_was_in_it() {
    let mut at = 0;
    let mut places = Vec::new();
    while let Some(left) = died_before(at) {
        let what = format!("before step {at}, killed");
        let again = left.again();
        places.push(names(&again.path().join("b")).contains(&"orders-0".to_owned()));
        left.check(again.path(), PageCache::Survived, &what);
        for takes_name_back in [false, true] {
            let what = format!("before step {at}, without power, name back: {takes_name_back}");
            if let Some(again) = left.without_power(takes_name_back) {
                left.check(again.path(), PageCache::Lost, &what);
            }
        }
        at += 1;
    }
    assert!(at >= 7, "only {at} steps were seen");
    assert!(
        places.contains(&true) && places.contains(&false),
        "{places:?}"
    );
}

#[test]
fn a_crash_of_the_start_after_a_crash_changes_nothing() {
    let mut at = 0;
    let mut interrupted = 0;
    while let Some(left) = died_before(at) {
        for start_at in 0.. {
            let again = left.again();
            let operations = DiskOperations::default();
            let mut count = 0;
            let mut watch = |_: FileStep, _: &Path| {
                count += 1;
                if count > start_at {
                    Err(dead())
                } else {
                    Ok(())
                }
            };
            let steps = FileSteps::watched(&operations, &mut watch);
            if finish_moves_in_steps(&paths(again.path()), true, steps).is_ok() {
                break;
            }
            interrupted += 1;
            let what = format!("before step {at}, then before {start_at}");
            left.check(again.path(), PageCache::Survived, &what);
        }
        at += 1;
    }
    assert!(
        interrupted >= 4,
        "only {interrupted} starts were interrupted"
    );
}

/// The page cache has survived the first, and a start goes by names that may be nowhere else.
#[test]
fn a_power_failure_after_the_start_after_a_crash_takes_nothing() {
    let mut at = 0;
    let mut taken_back = 0;
    while let Some(left) = died_before(at) {
        for start_at in 0.. {
            let again = left.again();
            let (unflushed, is_over) = left.start(again.path(), start_at);
            // Each directory by itself.
            for chosen in 0..1_u32 << unflushed.len() {
                let powerless = new_root();
                copy_tree(again.path(), powerless.path());
                let chosen = (0..)
                    .zip(&unflushed)
                    .filter(|(n, _)| chosen & (1 << n) != 0);
                for (_, (directory, old)) in chosen {
                    let here = |path: &Path| {
                        let path = path.strip_prefix(again.path()).unwrap();
                        powerless.path().join(path)
                    };
                    let directory = here(directory);
                    let now = names(&directory);
                    assert_eq!(now.len(), 1, "{now:?}");
                    fs::rename(directory.join(&now[0]), here(old)).unwrap();
                    taken_back += 1;
                }
                left.lose_ends(powerless.path());
                let what = format!(
                    "killed before step {at}, start up to {start_at}, {} left of {unflushed:?}",
                    powerless.path().display()
                );
                left.check(powerless.path(), PageCache::Lost, &what);
            }
            if is_over {
                break;
            }
        }
        at += 1;
    }
    assert!(taken_back >= 8, "only {taken_back} names were taken back");
}

/// It was decided, and the directory that the log is in now cannot be used.
#[test]
fn a_log_that_has_moved_to_where_nobody_can_look_is_not_missed() {
    let mut seen = 0;
    let mut at = 0;
    while let Some(left) = died_before(at) {
        at += 1;
        let only = [left.root.path().join("a")];
        if !names(&only[0]).iter().any(|it| it.ends_with("-moved")) {
            continue;
        }
        seen += 1;
        let moves = finish_moves(&only, false).unwrap();
        assert_eq!(moves.waiting, [(TOPIC_ID, 0)]);
        let handles = FileHandles::new(8);
        let config_of = |_: &TopicPartition, _| config();
        let survived = PageCache::Survived;
        let (_, report) =
            LogDirectory::open(&only[0], survived, 1, &handles, NOW_MS, &config_of, &|_| {})
                .unwrap();
        assert!(report.lost.is_empty(), "{report:?}");
        left.check(left.root.path(), survived, "it is back");
    }
    assert!(seen >= 3, "only {seen} steps left one");
}
