//! What others do while a move comes to its end, and what a start has left to be checked.

use std::fs;
use std::io;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use foz_protocol::batch::Batches;
use uuid::Uuid;

use super::world::*;
use crate::file_steps::FileStep;
use crate::{
    CleanShutdown, Finished, MoveAct, MoveError, MoveProgress, OpenError, PageCache, TopicPartition,
};

/// A kill leaves it in the page cache, and the start as well: the log is deleted for it, so it is flushed first.
#[test]
fn a_copy_that_a_start_left_unflushed_is_flushed_before_it_is_the_log() {
    let root = new_root();
    let world = World::open(root.path(), PageCache::Survived);
    let log = world.create();
    append(&log, 19);
    world.copy_all(&world.begin(&log));
    for directory in &world.directories {
        directory.checkpoint().unwrap();
    }
    drop((log, world));
    let world = World::open(root.path(), PageCache::Survived);
    let (_, log) = world.find().unwrap();
    let it = world.begin(&log);
    let copy = it.future().log_end_offset();
    assert_eq!((it.future().flushed_offset(), copy), (0, 19));
    assert!(it.seen(true).unwrap().unflushed_bytes > 0);
    world.copy_all(&it);
    assert_eq!(world.handles.flushes.take().len(), 0);
    assert!(matches!(world.finish(&it).unwrap(), Finished::Moved(_)));
    let flushed = world.handles.flushes.take();
    let future = it.future().log.directory();
    let logs = flushed.iter().filter(|path| {
        path.starts_with(future) && path.extension().is_some_and(|suffix| suffix == "log")
    });
    let (place, moved) = world.find().unwrap();
    assert_eq!((place, moved.flushed_offset()), (1, 19));
    assert_eq!(logs.count(), moved.segment_count());
    let checkpoint = root.path().join("b/recovery-point-offset-checkpoint");
    let text = fs::read_to_string(checkpoint).unwrap();
    assert!(text.ends_with("orders 0 19\n"), "{text}");
}

#[test]
fn a_copy_is_not_given_up_while_it_becomes_the_log() {
    let root = new_root();
    let world = World::open(root.path(), PageCache::Survived);
    let log = world.create();
    append(&log, 9);
    let it = world.begin(&log);
    world.copy_all(&it);
    let (ask, asked) = mpsc::channel();
    let (answer, answered) = mpsc::channel();
    let result = std::thread::scope(|scope| {
        let target = &world.directories[1];
        scope.spawn(move || {
            asked.recv().unwrap();
            answer.send(target.give_up_future(&partition())).unwrap();
        });
        let result = world.finish_watched(&it, &mut |step, _| {
            // The copy is flushed.
            if step == FileStep::Write {
                ask.send(()).unwrap();
                let early = answered.recv_timeout(Duration::from_millis(200));
                assert!(early.is_err(), "it is given up: {early:?}");
                // Nor does another one come to where it is to be.
                let (tell, told) = mpsc::channel();
                scope.spawn(move || {
                    let other = Uuid::from_u128(99);
                    let _ = tell.send(target.create(partition(), other, config(), NOW_MS));
                });
                let other = told.recv_timeout(Duration::from_secs(5));
                let other = other.expect("it waits for the move, and takes the name then");
                assert!(matches!(other, Err(OpenError::Exists(_))), "{other:?}");
            }
            Ok(())
        });
        // Where it did not come to that.
        let _ = ask.send(());
        result
    });
    assert!(matches!(result.unwrap(), Finished::Moved(_)));
    answered.recv().unwrap().unwrap();
    let (place, moved) = world.find().unwrap();
    assert_eq!((place, moved.log_end_offset()), (1, 9));
    assert_eq!(names(&root.path().join("b")), ["orders-0"]);
}

/// What a producer appends is not missing from a read that came before it.
#[test]
fn what_is_appended_during_a_read_is_no_damage() {
    let root = new_root();
    let world = World::open(root.path(), PageCache::Survived);
    let log = world.create();
    let it = world.begin(&log);
    let until = Instant::now() + Duration::from_secs(1);
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            while Instant::now() < until {
                append(&log, 1);
            }
        });
        while !writer.is_finished() {
            it.copy(&world.directories[1], 1 << 20, NOW_MS).unwrap();
        }
    });
    assert!(log.log_end_offset() > 100);
    world.copy_all(&it);
    assert_eq!(contents(&log), contents(&it.future.log));
}

#[test]
fn the_rest_of_a_failed_creation_is_not_in_the_way_of_a_move() {
    let root = new_root();
    let world = World::open(root.path(), PageCache::Survived);
    let log = world.create();
    append(&log, 9);
    let it = world.begin(&log);
    world.copy_all(&it);
    let home = root.path().join("b/orders-0");
    fs::create_dir(&home).unwrap();
    fs::write(home.join("00000000000000000000.log"), "records?").unwrap();
    let error = world.finish(&it).unwrap_err();
    let is_taken = matches!(&error, MoveError::Copy(OpenError::Exists(path)) if *path == home);
    assert!(is_taken, "{error}");
    fs::write(home.join("00000000000000000000.log"), "").unwrap();
    assert!(matches!(world.finish(&it).unwrap(), Finished::Moved(_)));
    assert_eq!(world.find().unwrap().1.log_end_offset(), 9);
}

/// The log goes for its copy, so what a start has put off comes before that.
#[test]
fn a_copy_is_checked_before_it_becomes_the_log() {
    for is_damaged in [false, true] {
        let root = new_root();
        let world = World::open(root.path(), PageCache::Survived);
        let log = world.create();
        append(&log, 9);
        log.set_high_watermark(9);
        let it = world.begin(&log);
        world.copy_all(&it);
        // What is committed and not flushed is put off where the page cache has survived.
        for directory in &world.directories {
            directory.checkpoint().unwrap();
        }
        let copy = it.future.log.directory().to_path_buf();
        drop((it, log, world));
        if is_damaged {
            let path = copy.join("00000000000000000000.log");
            let mut bytes = fs::read(&path).unwrap();
            let first = Batches::new(&bytes).next().unwrap().unwrap().1.len();
            bytes[first - 2] ^= 1;
            fs::write(&path, bytes).unwrap();
        }
        let world = World::open(root.path(), PageCache::Survived);
        let (_, log) = world.find().unwrap();
        let it = world.begin(&log);
        assert!(it.future.log.has_unchecked_batches());
        assert_eq!(it.future.log.log_end_offset(), 9);
        let result = world.finish(&it).unwrap();
        assert!(matches!(result, Finished::NotYet(why) if why.contains("not checked")));
        let mut progress = MoveProgress::default();
        while progress.next(it.seen(true).unwrap()) == MoveAct::Check {
            it.check(&world.directories[1], 100, NOW_MS).unwrap();
        }
        assert_eq!(it.future.log.log_end_offset() == 9, !is_damaged);
        world.copy_all(&it);
        assert!(matches!(world.finish(&it).unwrap(), Finished::Moved(_)));
        let moved = world.find().unwrap().1;
        assert_eq!(moved.log_end_offset(), 9);
        assert!(!moved.has_unchecked_batches());
        contents(&moved);
    }
}

/// A copy whose files cannot be read begins anew, whatever it is that cannot be read.
#[test]
fn a_copy_that_does_not_even_tell_its_topic_begins_anew() {
    let root = new_root();
    let world = World::open(root.path(), PageCache::Survived);
    let log = world.create();
    append(&log, 9);
    let it = world.begin(&log);
    world.copy_all(&it);
    let copy = it.future.log.directory().to_path_buf();
    drop((it, log, world));
    fs::write(copy.join("deleted-topic-checkpoint"), "?").unwrap();
    let world = World::open(root.path(), PageCache::Survived);
    world.assert_nothing_is_missed("a copy is no log");
    let future = world.directories[1].future(&partition()).unwrap();
    assert_eq!((future.topic_id(), future.log_end_offset()), (TOPIC_ID, 0));
}

/// Nothing but the copy is in its directory.
#[test]
fn checkpoints_speak_of_copies_as_they_are() {
    let root = new_root();
    let world = World::open(root.path(), PageCache::Survived);
    let log = world.create();
    let it = world.begin(&log);
    for count in [9, 18] {
        append(&log, 9);
        world.copy_all(&it);
        it.flush().unwrap();
        world.directories[1].checkpoint().unwrap();
        let file = root.path().join("b/recovery-point-offset-checkpoint");
        let text = fs::read_to_string(file).unwrap();
        let TopicPartition { topic, .. } = partition();
        assert!(text.contains(&format!("{topic} 0 {count}\n")), "{text}");
    }
}

/// The directory that the log is in has failed, and the other one is well: it stops in good order.
#[test]
fn a_source_that_fails_at_the_end_of_a_move_leaves_the_copy_as_it_is() {
    let root = new_root();
    let world = World::open(root.path(), PageCache::Survived);
    let log = world.create();
    append(&log, 9);
    let it = world.begin(&log);
    world.copy_all(&it);
    let refused = world.finish_watched(&it, &mut |step, _| match step {
        FileStep::Rename => Err(dead()),
        _ => Ok(()),
    });
    assert!(matches!(refused, Err(MoveError::Source(_))), "{refused:?}");
    assert!(log.has_failed() && !it.future().has_failed());
    let mark = CleanShutdown { broker_epoch: 7 };
    for directory in &world.directories {
        directory.close_cleanly(mark).unwrap();
    }
    drop((it, log, world));
    let world = World::open(root.path(), PageCache::Lost);
    let marks = world.reports.iter().map(|it| it.clean_shutdown);
    assert_eq!(marks.collect::<Vec<_>>(), [None, Some(mark)]);
    let (place, log) = world.find().unwrap();
    assert_eq!((place, log.log_end_offset()), (0, 9));
    world.move_all(&log);
    assert_eq!(world.find().unwrap().0, 1);
}

const ENOMEM: i32 = 12;
const ENOSPC: i32 = 28;

fn out_of(errno: i32) -> io::Error {
    io::Error::from_raw_os_error(errno)
}

/// Neither directory is to blame, and the log goes on where it was.
#[test]
fn a_renaming_without_room_or_memory_undoes_the_end_of_a_move() {
    for (at, errno) in [(1, ENOSPC), (1, ENOMEM), (2, ENOSPC), (2, ENOMEM)] {
        let root = new_root();
        let world = World::open(root.path(), PageCache::Survived);
        let log = world.create();
        append(&log, 9);
        let it = world.begin(&log);
        world.copy_all(&it);
        let (mut renamings, mut unflushed) = (0, false);
        let refused = world.finish_watched(&it, &mut |step, _| {
            match step {
                FileStep::Rename => {
                    renamings += 1;
                    if renamings == at {
                        return Err(out_of(errno));
                    }
                    unflushed = true;
                }
                FileStep::FlushDirectory => unflushed = false,
                _ => {}
            }
            Ok(())
        });
        let is_expected = match &refused {
            Err(MoveError::Source(_)) => at == 1,
            Err(MoveError::Undone(_)) => at == 2,
            _ => false,
        };
        assert!(is_expected && !unflushed, "{at} {errno}: {refused:?}");
        assert!(!log.has_failed() && !log.is_deleted() && !it.future().has_failed());
        assert_eq!(names(&root.path().join("a")), ["orders-0"]);
        append(&log, 3);
        contents(&log);
        world.copy_all(&it);
        assert!(matches!(world.finish(&it).unwrap(), Finished::Moved(_)));
        assert_eq!(world.find().unwrap().1.log_end_offset(), 12);
    }
}

/// The log has no name, or may have none after a crash: only a start finds out.
#[test]
fn what_cannot_be_undone_stops_what_is_to_blame() {
    // The renaming back, and its flush.
    for (renamings_max, flushes_max) in [(2, 9), (9, 1)] {
        let root = new_root();
        let world = World::open(root.path(), PageCache::Survived);
        let log = world.create();
        append(&log, 9);
        let it = world.begin(&log);
        world.copy_all(&it);
        let (mut renamings, mut flushes) = (0, 0);
        let refused = world.finish_watched(&it, &mut |step, _| {
            match step {
                FileStep::Rename => {
                    renamings += 1;
                    if renamings == 2 {
                        return Err(out_of(ENOSPC));
                    }
                }
                FileStep::FlushDirectory => flushes += 1,
                _ => {}
            }
            match renamings > renamings_max || flushes > flushes_max {
                true => Err(dead()),
                false => Ok(()),
            }
        });
        let (place, there) = world.find().unwrap();
        match &refused {
            // The copy, and the disk that it is on, are well.
            Err(MoveError::Source(error)) => {
                assert_eq!(error.is_failed_flush(), flushes_max == 1);
                assert_eq!(place, 0);
                assert!(there.has_failed() && !it.future().has_failed());
            }
            other => panic!("{other:?}"),
        }
        drop((it, log, there, world));
        let world = World::open(root.path(), PageCache::Survived);
        let (_, log) = world.find().unwrap();
        assert_eq!(log.log_end_offset(), 9);
        world.assert_nothing_is_missed("what a move has left half-way");
    }
}

/// They are full at the same moment, and one of them gets room again.
#[test]
fn where_neither_gets_its_name_at_first_it_is_tried_again() {
    // The renamings that work: the copy's, the log's own, none.
    for (works, is_moved) in [(Some(4), true), (Some(5), false), (None, false)] {
        let root = new_root();
        let world = World::open(root.path(), PageCache::Survived);
        let log = world.create();
        append(&log, 9);
        let it = world.begin(&log);
        world.copy_all(&it);
        let mut renamings = 0;
        let result = world.finish_watched(&it, &mut |step, _| {
            renamings += i32::from(step == FileStep::Rename);
            let is_refused = step == FileStep::Rename
                && renamings > 1
                && works.is_none_or(|works| renamings < works);
            match is_refused {
                true => Err(out_of(ENOSPC)),
                false => Ok(()),
            }
        });
        let (place, there) = world.find().unwrap();
        match (&result, works) {
            (Ok(Finished::Moved(_)), Some(4)) => {}
            (Err(MoveError::Undone(error)), Some(5)) => assert!(error.is_shortage()),
            // Nothing but a start helps, and it is the copy that has no name.
            (Err(MoveError::Copy(error)), None) => {
                assert!(error.is_shortage() && there.has_failed() && log.is_deleted());
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(place, usize::from(is_moved || works.is_none()));
        if works.is_some() {
            append(&there, 3);
            assert_eq!(contents(&there).0, 0);
            drop((log, there));
            continue;
        }
        drop((it, log, there, world));
        let world = World::open(root.path(), PageCache::Survived);
        let (place, log) = world.find().unwrap();
        assert_eq!((place, log.log_end_offset()), (1, 9));
        world.assert_nothing_is_missed("two full disks");
    }
}

/// So do FUSE, NFS and overlay.
#[test]
fn a_renaming_that_says_it_was_not_done_is_looked_at() {
    for at in [1, 2] {
        let root = new_root();
        let world = World::open(root.path(), PageCache::Survived);
        let log = world.create();
        append(&log, 9);
        let it = world.begin(&log);
        world.copy_all(&it);
        let moved = crate::names::moved_directory_name(&partition(), it.future.unique);
        let to = [
            root.path().join("a").join(moved),
            root.path().join("b/orders-0"),
        ];
        let mut renamings = 0;
        let result = world.finish_watched(&it, &mut |step, path| {
            renamings += usize::from(step == FileStep::Rename);
            if step != FileStep::Rename || renamings != at {
                return Ok(());
            }
            fs::rename(path, &to[at - 1]).unwrap();
            Err(out_of(ENOMEM))
        });
        assert!(matches!(result, Ok(Finished::Moved(_))), "{at} {result:?}");
        assert_eq!(names(&root.path().join("b")), ["orders-0"]);
        drop((it, log, world));
        let world = World::open(root.path(), PageCache::Survived);
        let (place, log) = world.find().unwrap();
        assert_eq!((place, log.log_end_offset()), (1, 9));
    }
}

/// What has its new name is flushed, however many files are open by then.
#[test]
fn the_end_of_a_move_opens_nothing_once_names_change() {
    let root = new_root();
    let world = World::open(root.path(), PageCache::Survived);
    let log = world.create();
    append(&log, 9);
    let it = world.begin(&log);
    world.copy_all(&it);
    let away = root.path().join("away");
    let mut was = None;
    let moved = world.finish_watched(&it, &mut |step, path| {
        if let Some(was) = was.take() {
            fs::rename(&away, was).unwrap();
        }
        if step == FileStep::FlushDirectory {
            fs::rename(path, &away).unwrap();
            was = Some(path.to_path_buf());
        }
        Ok(())
    });
    assert!(matches!(moved.unwrap(), Finished::Moved(_)));
    assert_eq!(world.find().unwrap().0, 1);
}

/// Writers are kept out for as long.
#[test]
fn the_end_of_a_move_does_not_wait_for_a_long_flush() {
    let root = new_root();
    let world = World::open(root.path(), PageCache::Survived);
    let log = world.create();
    append(&log, 9);
    let it = world.begin(&log);
    world.copy_all(&it);
    let other = TopicPartition::new("payments", 0);
    let other = world.directories[0].create(other, TOPIC_ID, config(), NOW_MS);
    let other = other.unwrap();
    let of_other = world.begin(&other);
    let flushing = log.change().unwrap();
    let result = world.finish(&it).unwrap();
    assert!(matches!(result, Finished::NotYet(why) if why.contains("flushed")));
    drop(flushing);
    let mut in_it = None;
    let (source, target) = (&world.directories[0], &world.directories[1]);
    let publish = |_: &_| in_it = Some(source.finish_move(target, &of_other, NOW_MS, |_| {}));
    let moved = source.finish_move(target, &it, NOW_MS, publish).unwrap();
    assert!(matches!(moved, Finished::Moved(_)));
    let in_it = in_it.unwrap().unwrap();
    assert!(matches!(in_it, Finished::NotYet(why) if why.contains("checkpoints")));
    assert!(matches!(
        world.finish(&of_other).unwrap(),
        Finished::Moved(_)
    ));
}

/// Nobody waits for ever for what a panic has left half-way.
#[test]
fn a_panic_in_the_middle_of_a_change_stops_the_log() {
    let root = new_root();
    let world = World::open(root.path(), PageCache::Survived);
    let log = world.create();
    append(&log, 9);
    let panicked = std::thread::scope(|scope| {
        let change = || {
            let change = log.change().unwrap();
            change.hold_readers();
            assert!(log.log_end_offset() != 9, "half-way");
        };
        scope.spawn(change).join()
    });
    assert!(panicked.is_err());
    let (tell, told) = mpsc::channel();
    let reader = std::sync::Arc::clone(&log);
    std::thread::spawn(move || tell.send(reader.offset_of_max_timestamp(9).is_err()));
    assert_eq!(told.recv_timeout(Duration::from_secs(5)), Ok(true));
    assert!(log.has_failed());
}
