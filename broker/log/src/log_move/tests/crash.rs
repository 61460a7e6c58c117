//! A crash before each step of the end of a move, and before each step of the start after it.

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
        let (source, copy) = (END - FLUSHED, END - self.copied_flushed);
        for path in paths(again.path()) {
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
        Some(again)
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
