//! What else happens to a log while a pass is at work on it.

use std::io;
use std::path::Path;

use super::world::*;
use crate::file_steps::FileStep;
use crate::{Compacted, CompactionError, LogConfig};

const KEYS: i64 = 7;

/// Several segments, of which groups of two become one; what comes after offset 30 is not committed.
fn filled(root: &Path) -> World {
    let world = World::new(root, config(300));
    for n in 0..30 {
        world.append(&batch(n));
    }
    world.commit();
    for n in 30..36 {
        world.append(&batch(n));
    }
    world.log().set_config(config(620));
    world
}

fn batch(offset: i64) -> Vec<u8> {
    let key = format!("key {}", offset % KEYS);
    PLAIN
        .at(offset)
        .data(&[(Some(&key), Some("value"), NOW_MS)])
}

/// Does it before the step of this number, if that is one that writes what is part of nothing yet. `None` when there
/// are no more steps.
fn pass_with(
    world: &World,
    at: usize,
    disturb: &mut dyn FnMut(),
) -> Option<Result<Compacted, CompactionError>> {
    let mut count = 0;
    let mut is_disturbed = false;
    let result = world.compact_watched(MANY_KEYS, NOW_MS, &mut |step, path| {
        let is_beside = matches!(step, FileStep::Create | FileStep::Write | FileStep::Flush)
            && path.to_string_lossy().ends_with(".cleaned");
        if is_beside && count == at {
            is_disturbed = true;
            disturb();
        }
        count += usize::from(is_beside);
        Ok(())
    });
    is_disturbed.then_some(result)
}

/// Nothing of a pass lies about, and another one brings the log to where it should be.
fn check_goes_on(world: &World, what: &str) {
    let rest = |name: &String| name.ends_with(".cleaned") || name.ends_with(".swap");
    let names = file_names(&world.partition_dir());
    assert!(!names.iter().any(rest), "{what}: {names:?}");
    assert!(!world.log().has_failed(), "{what}");
    // So that everything else is closed.
    let end = world.log().log_end_offset();
    world.log().set_config(config(1));
    world.append(&PLAIN.at(end).data(&[(Some("last"), Some("1"), NOW_MS)]));
    world.log().set_config(config(620));
    world.commit();
    world.compact(NOW_MS);
    let start = world.log().log_start_offset();
    let mut offsets: Vec<i64> = world.records().iter().map(|it| it.0).collect();
    offsets.retain(|offset| *offset >= start);
    let newest = (end - KEYS).max(start)..end + 1;
    assert_eq!(offsets, newest.collect::<Vec<_>>(), "{what}");
}

fn is_disturbed(result: &Result<Compacted, CompactionError>) -> bool {
    matches!(result, Err(CompactionError::Disturbed))
}

#[test]
fn a_cut_in_the_middle_ends_the_pass() {
    let mut disturbed = 0;
    for at in 0.. {
        let root = new_root();
        let world = filled(root.path());
        let cut = &mut || world.directory().truncate(world.log(), 32, NOW_MS).unwrap();
        let Some(result) = pass_with(&world, at, cut) else {
            break;
        };
        disturbed += usize::from(is_disturbed(&result));
        let what = format!("before step {at}: {result:?}");
        assert!(is_disturbed(&result), "{what}");
        assert_eq!(world.log().log_end_offset(), 32, "{what}");
        assert_eq!(world.log().compacted_offset(), 0, "{what}");
        check_goes_on(&world, &what);
    }
    assert!(disturbed > 10, "{disturbed}");
}

/// As after an unclean election: what had been committed and was compacted is gone as well.
#[test]
fn a_cut_below_the_high_watermark_ends_the_pass() {
    let mut disturbed = 0;
    for at in 0.. {
        let root = new_root();
        let mut world = filled(root.path());
        let cut = &mut || world.directory().truncate(world.log(), 9, NOW_MS).unwrap();
        let Some(result) = pass_with(&world, at, cut) else {
            break;
        };
        disturbed += 1;
        let what = format!("before step {at}: {result:?}");
        assert!(is_disturbed(&result), "{what}");
        // Where the batches before it end: what came then may be gone already.
        let end = world.log().log_end_offset();
        assert!((1..=9).contains(&end), "{what}: {end}");
        world.directory().checkpoint().unwrap();
        world.kill();
        world.open(crate::PageCache::Survived, NOW_MS);
        assert_eq!(world.log().log_end_offset(), end, "{what}");
        for n in end..end + 2 * KEYS {
            world.append(&batch(n));
        }
        check_goes_on(&world, &what);
    }
    assert!(disturbed > 10, "{disturbed}");
}

#[test]
fn a_log_that_begins_anew_is_left_alone() {
    let root = new_root();
    let world = filled(root.path());
    let reset = &mut || world.directory().reset(world.log(), 50, NOW_MS).unwrap();
    let result = pass_with(&world, 4, reset).unwrap();
    assert!(is_disturbed(&result), "{result:?}");
    for n in 50..60 {
        world.append(&batch(n));
    }
    check_goes_on(&world, "reset");
}

/// The directory is another log's by the end of the pass.
#[test]
fn a_log_that_is_deleted_and_made_again_is_left_alone() {
    for at in 0.. {
        let root = new_root();
        let mut world = filled(root.path());
        let old = std::sync::Arc::clone(world.log());
        let delete = &mut || {
            world.directory().delete(old.partition()).unwrap();
            let id = uuid::Uuid::from_u128(8);
            let config = LogConfig {
                cleanup_compact: true,
                ..config(300)
            };
            let name = old.partition().clone();
            let new = world.directory().create(name, id, config, NOW_MS).unwrap();
            for n in 0..30 {
                new.append_as_follower(&batch(n), LEADER, NOW_MS).unwrap();
            }
        };
        let Some(result) = pass_with(&world, at, delete) else {
            assert!(at > 10, "{at}");
            break;
        };
        assert!(is_disturbed(&result), "before step {at}: {result:?}");
        drop(old);
        world.kill();
        world.open(crate::PageCache::Survived, NOW_MS);
        assert_eq!(world.records().len(), 30);
        check_goes_on(&world, &format!("before step {at}"));
    }
}

/// DeleteRecords and retention: the pass goes on where it can, and what was removed never comes back.
#[test]
fn records_that_are_deleted_meanwhile_stay_deleted() {
    let (mut disturbed, mut done) = (0, 0);
    for at in 0.. {
        let root = new_root();
        let mut world = filled(root.path());
        let delete = &mut || {
            let log = world.log();
            assert_eq!(log.advance_log_start_offset(26).unwrap(), 26);
            assert!(log.apply_retention(NOW_MS).unwrap() > 0);
        };
        let Some(result) = pass_with(&world, at, delete) else {
            break;
        };
        let what = format!("before step {at}: {result:?}");
        match &result {
            Ok(_) => done += 1,
            Err(CompactionError::Disturbed) => disturbed += 1,
            Err(_) => panic!("{what}"),
        }
        assert_eq!(world.log().log_start_offset(), 26, "{what}");
        assert!(world.segments().iter().all(|(_, end)| *end > 26), "{what}");
        world.directory().checkpoint().unwrap();
        world.kill();
        world.open(crate::PageCache::Survived, NOW_MS);
        assert_eq!(world.log().log_start_offset(), 26, "{what}");
        check_goes_on(&world, &what);
    }
    assert!(disturbed > 5 && done > 0, "{disturbed} {done}");
}

/// A writer waits for no pass, and what it writes is not touched by it.
#[test]
fn appends_go_on() {
    let root = new_root();
    let world = filled(root.path());
    let mut offset = 36;
    let append = &mut || {
        for _ in 0..20 {
            world.append(&batch(offset));
            offset += 1;
        }
        world.commit();
    };
    let result = pass_with(&world, 3, append).unwrap();
    assert!(result.unwrap().compacted_offset <= 30);
    assert_eq!(world.log().log_end_offset(), 56);
    check_goes_on(&world, "appends");
}

#[test]
fn there_is_one_pass_at_a_time() {
    let root = new_root();
    let world = filled(root.path());
    let mut second = None;
    let other = &mut || second = Some(world.compact_with(MANY_KEYS, NOW_MS));
    pass_with(&world, 0, other).unwrap().unwrap();
    assert!(matches!(second, Some(Err(CompactionError::Busy))));
}

/// A full disk, or no more open files: the log goes on as it was.
#[test]
fn what_fails_before_the_decision_changes_nothing() {
    let mut failed = 0;
    for at in 0.. {
        let root = new_root();
        let world = filled(root.path());
        let before = world.batches();
        let (mut count, mut is_decided) = (0, false);
        let result = world.compact_watched(MANY_KEYS, NOW_MS, &mut |step, path| {
            is_decided |=
                step == FileStep::Rename && path.to_string_lossy().contains(".log.cleaned");
            count += 1;
            match count - 1 == at && !is_decided {
                true => Err(io::ErrorKind::StorageFull.into()),
                false => Ok(()),
            }
        });
        if is_decided {
            assert!(result.is_ok());
            break;
        }
        failed += 1;
        assert!(result.unwrap_err().is_out_of_space(), "step {at}");
        assert_eq!(world.batches(), before, "step {at}");
        check_goes_on(&world, &format!("step {at}"));
    }
    assert!(failed > 10, "{failed}");
}
