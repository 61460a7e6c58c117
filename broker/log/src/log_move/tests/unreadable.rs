//! A log moves away from a disk that does not give all of it.

use std::fs;

use foz_protocol::batch::Batches;

use super::world::*;
use crate::reading_files::bad_sectors;
use crate::{Finished, LogMove, MoveError, PageCache};

const STEP_BYTES: usize = 300;

/// Until it fails: how far it came.
fn copy(world: &World, it: &LogMove, bytes: usize) -> i64 {
    loop {
        match it.copy(&world.directories[1], bytes, NOW_MS) {
            Ok(copied) => assert!(copied > 0),
            Err(MoveError::Unreadable { offset, source }) => {
                assert!(source.is_of_disk() && source.is_failed_read(), "{source}");
                assert_eq!(offset, it.future().log_end_offset());
                return offset;
            }
            Err(error) => panic!("{error}"),
        }
    }
}

/// One batch at a time it is copied as far as can be, and goes on behind it once that is mended.
#[test]
fn what_a_disk_does_not_give_is_named_and_the_rest_is_moved() {
    let root = new_root();
    let world = World::open(root.path(), PageCache::Survived);
    let log = world.create();
    append(&log, 30);
    let mut segments: Vec<_> = fs::read_dir(log.directory()).unwrap().collect();
    segments.retain(|it| {
        let path = it.as_ref().unwrap().path();
        path.extension().is_some_and(|suffix| suffix == "log")
    });
    let mut segments: Vec<_> = segments.into_iter().map(|it| it.unwrap().path()).collect();
    segments.sort();
    let bytes = fs::read(&segments[2]).unwrap();
    let batches = Batches::new(&bytes).map(|batch| batch.unwrap());
    let batches: Vec<_> = batches.map(|(it, bytes)| (it.base_offset, bytes)).collect();
    let (base_offset, third) = (batches[0].0, batches[2].0);
    let before: usize = batches[..2].iter().map(|it| it.1.len()).sum();
    let bad = before as u64 + 65;
    bad_sectors::add(&segments[2], bad..bad + 1);

    let it = world.begin(&log);
    let far = copy(&world, &it, STEP_BYTES);
    assert!((base_offset..third).contains(&far), "{far}");
    assert_eq!(copy(&world, &it, 1), third);
    bad_sectors::mend(&segments[2]);
    assert!(it.copy(&world.directories[1], 1, NOW_MS).unwrap() > 0);
    bad_sectors::add(&segments[2], bad..bad + 1);

    let kept = world.directories[0]
        .quarantine(&log, third, NOW_MS)
        .unwrap();
    assert!(kept.len() == 3 && !log.has_failed(), "{kept:?}");
    // All of this segment is in the page.
    assert_eq!(log.log_end_offset(), base_offset);
    bad_sectors::mend(&segments[2]);
    append(&log, 40);
    let expected = contents(&log);
    world.copy_all(&it);
    assert!(matches!(world.finish(&it).unwrap(), Finished::Moved(_)));
    assert_eq!(contents(&world.find().unwrap().1), expected);
}
