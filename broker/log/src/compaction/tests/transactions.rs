//! What a pass does to transaction indexes, and what a start makes of what it leaves.

use std::fs;
use std::path::{Path, PathBuf};

use foz_protocol::batch::assign;

use super::world::*;
use crate::reading_files::bad_sectors;
use crate::{PageCache, TransactionMarker, producer_snapshot};

/// One record of a transaction.
fn data(producer: i64, offset: i64, key: &str) -> Vec<u8> {
    let spec = PLAIN.at(offset).transactional(producer, offset as i32);
    spec.data(&[(Some(key), Some("value"), NOW_MS)])
}

fn plain(world: &World, offset: i64, key: &str) {
    let records = [(Some(key), Some("value"), NOW_MS)];
    world.append(&PLAIN.at(offset).data(&records));
}

/// First offset and marker of each entry.
fn aborted(world: &World) -> Vec<(i64, i64)> {
    let log = world.log();
    let found = log.aborted_in(0, log.log_end_offset()).unwrap();
    found
        .iter()
        .map(|it| (it.first_offset, it.marker_offset))
        .collect()
}

/// The same from the files.
fn entries(world: &World) -> Vec<(i64, i64)> {
    let names = file_names(&world.partition_dir()).into_iter();
    let indexes = names.filter(|name| name.ends_with(".txnindex"));
    let bytes = indexes.flat_map(|name| fs::read(world.partition_dir().join(name)).unwrap());
    let bytes: Vec<u8> = bytes.collect();
    let offset =
        |entry: &[u8], at: usize| i64::from_be_bytes(entry[at..at + 8].try_into().unwrap());
    let entries = bytes.chunks(34);
    entries
        .map(|entry| (offset(entry, 10), offset(entry, 18)))
        .collect()
}

#[test]
fn an_entry_stays_as_long_as_its_marker() {
    let root = new_root();
    // Three or four batches in a segment.
    let mut world = World::new(root.path(), config(300));
    for n in 0..6 {
        world.append(&data(5, n * 3, "a"));
        world.append(&PLAIN.at(n * 3 + 1).marker(5, n % 2 == 0, NOW_MS));
        plain(&world, n * 3 + 2, "x");
    }
    // Others of that producer, so that none of these is the last one of it.
    for offset in 18..26 {
        world.append(&data(5, offset, "b"));
    }
    world.append(&PLAIN.at(26).marker(5, true, NOW_MS));
    plain(&world, 27, "x");
    plain(&world, 28, "x");
    world.commit();
    let all = [(3, 4), (9, 10), (15, 16)];
    assert_eq!(aborted(&world), all);
    let indexes = |world: &World| {
        let names = file_names(&world.partition_dir());
        names
            .iter()
            .filter(|name| name.ends_with(".txnindex"))
            .count()
    };
    assert_eq!(indexes(&world), 3);

    // Segments become one, and so do their indexes. Markers stay for what this pass has taken.
    world.log().set_config(config(4000));
    let compacted = world.compact(NOW_MS);
    assert!(
        compacted.segments_before > 3 && compacted.segments_after == 1,
        "{compacted:?}"
    );
    assert_eq!(
        (aborted(&world), entries(&world)),
        (all.to_vec(), all.to_vec())
    );
    world.directory().checkpoint().unwrap();
    world.kill();
    world.open(PageCache::Lost, NOW_MS);
    assert_eq!(aborted(&world), all);

    // Then they get their horizon, and then they go.
    for (n, now_ms) in [(0, NOW_MS), (1, NOW_MS + DELETE_RETENTION_MS)] {
        world.log().set_config(config(300));
        for offset in 0..6 {
            plain(&world, 29 + n * 6 + offset, "x");
        }
        world.commit();
        world.log().set_config(config(4000));
        world.compact(now_ms);
        let left = if n == 0 { &all[..] } else { &[] };
        assert_eq!(
            (&aborted(&world)[..], &entries(&world)[..]),
            (left, left),
            "{n}"
        );
    }
    world.directory().checkpoint().unwrap();
    world.kill();
    world.open(PageCache::Lost, NOW_MS);
    assert_eq!(aborted(&world), []);
    assert_eq!(
        world.log().last_stable_offset(),
        world.log().high_watermark()
    );
}

/// A reader would wait for it to say that the transaction ends there.
#[test]
fn what_is_left_of_a_marker_where_a_segment_ends_has_no_entry() {
    let root = new_root();
    let world = World::new(root.path(), config(300));
    plain(&world, 0, "x");
    world.append(&data(5, 1, "a"));
    world.append(&PLAIN.at(2).marker(5, false, NOW_MS));
    for offset in 3..9 {
        world.append(&data(5, offset, "x"));
    }
    world.append(&PLAIN.at(9).marker(5, true, NOW_MS));
    assert_eq!(world.segments()[1].0, 3);
    compact_as_it_goes_on(&world, 10, 4);
    let left = world
        .batches()
        .into_iter()
        .find(|(it, _)| it.base_offset == 2);
    assert!(left.is_some_and(|(it, _)| it.is_control() && it.record_count == 0));
    assert_eq!((aborted(&world), entries(&world)), (vec![], vec![]));
}

/// The checkpoint is older than what was compacted, and the snapshot that recovery begins with says that a transaction is open
/// whose marker is gone.
#[test]
fn a_transaction_whose_marker_is_gone_does_not_open_again() {
    let root = new_root();
    let mut world = World::new(root.path(), config(300));
    // The first batch of an epoch stays, and so would the marker.
    plain(&world, 0, "x");
    world.append(&data(5, 1, "a"));
    plain(&world, 2, "x");
    // In the second segment.
    plain(&world, 3, "x");
    world.commit();
    world.directory().checkpoint().unwrap();
    world.append(&PLAIN.at(4).marker(5, false, NOW_MS));
    // Of no transaction, which would end that one as well.
    for offset in 5..13 {
        let producer = Some((5, offset as i32));
        let spec = Spec {
            producer,
            ..PLAIN.at(offset)
        };
        world.append(&spec.data(&[(Some("x"), Some("value"), NOW_MS)]));
    }
    plain(&world, 13, "x");
    compact_as_it_goes_on(&world, 14, 6);
    let snapshot = world.partition_dir().join("00000000000000000003.snapshot");
    assert!(snapshot.exists());
    let markers: Vec<_> = world
        .batches()
        .into_iter()
        .filter(|(header, _)| header.is_control() && header.record_count > 0)
        .map(|(header, _)| header.base_offset)
        .collect();
    assert!(!markers.contains(&4), "{markers:?}");
    let end = world.log().log_end_offset();
    assert_eq!(world.log().last_stable_offset(), end);
    world.kill();
    for page_cache in [PageCache::Survived, PageCache::Lost] {
        world.open(page_cache, NOW_MS);
        world.log().set_high_watermark(end);
        assert_eq!(world.log().last_stable_offset(), end, "{page_cache:?}");
        world.kill();
    }
}

/// As [`a_transaction_whose_marker_is_gone_does_not_open_again`]: the snapshot knows the epoch before.
#[test]
fn what_is_left_of_a_marker_tells_the_epoch_after_a_start() {
    let root = new_root();
    let mut world = World::new(root.path(), config(300));
    plain(&world, 0, "x");
    world.append(&data(5, 1, "a"));
    plain(&world, 2, "x");
    plain(&world, 3, "x");
    world.commit();
    world.directory().checkpoint().unwrap();
    plain(&world, 4, "x");
    let marker = TransactionMarker {
        producer_id: 5,
        producer_epoch: 1,
        coordinator_epoch: 0,
        is_commit: false,
    };
    let mut marker = marker.to_batch(NOW_MS).unwrap();
    assign(&mut marker, 5, 0);
    world.append(&marker);
    compact_as_it_goes_on(&world, 6, 4);
    let left = world
        .batches()
        .into_iter()
        .find(|(it, _)| it.base_offset == 5);
    assert!(left.is_some_and(|(it, _)| it.record_count == 0));
    world.kill();
    world.open(PageCache::Survived, NOW_MS);
    let producers = world.log().active_producers();
    let epochs: Vec<_> = producers
        .iter()
        .map(|it| (it.producer_id, it.producer_epoch))
        .collect();
    assert_eq!(epochs, [(5, 1)]);
}

/// The marker goes from a later segment, and the one in between stays as it was, with its snapshot.
#[test]
fn nor_does_one_that_a_snapshot_between_says_to_be_open() {
    // What is known to be compacted may come from another log.
    for compacted_before in [0, 6] {
        let root = new_root();
        let world = with_open_between(root.path());
        let snapshot = snapshot_between(&world);
        let has_open = || {
            let bytes = fs::read(&snapshot).unwrap();
            producer_snapshot::without_transactions(&bytes).is_some()
        };
        assert!(has_open());
        let before = fs::read(snapshot.with_extension("log")).unwrap();
        world.log().raise_compacted_offset(compacted_before);
        world.compact(NOW_MS);
        assert_eq!(fs::read(snapshot.with_extension("log")).unwrap(), before);
        assert!(!has_open(), "{compacted_before}");
    }
}

#[test]
fn a_snapshot_that_the_disk_does_not_give_holds_up_no_pass() {
    let root = new_root();
    let world = with_open_between(root.path());
    let snapshot = snapshot_between(&world);
    bad_sectors::add(&snapshot, 0..10);
    world.compact(NOW_MS);
    assert!(!snapshot.exists());
}

fn snapshot_between(world: &World) -> PathBuf {
    world.partition_dir().join("00000000000000000003.snapshot")
}

/// A transaction begins in the first segment and ends in the third; nothing of the second one goes.
fn with_open_between(root: &Path) -> World {
    let world = World::new(root, config(300));
    plain(&world, 0, "x");
    world.append(&data(5, 1, "a"));
    plain(&world, 2, "x");
    for offset in 3..6 {
        plain(&world, offset, &format!("k{offset}"));
    }
    world.append(&PLAIN.at(6).marker(5, false, NOW_MS));
    for offset in 7..13 {
        let producer = Some((5, offset as i32));
        let spec = Spec {
            producer,
            ..PLAIN.at(offset)
        };
        world.append(&spec.data(&[(Some("x"), Some("value"), NOW_MS)]));
    }
    assert_eq!(world.segments()[1..3], [(3, 6), (6, 9)]);
    world.commit();
    world.log().set_config(config(1));
    world
}

/// Four passes, as far apart as markers are kept, with so many records of no transaction before each, from `offset` on.
fn compact_as_it_goes_on(world: &World, offset: i64, count: i64) {
    for n in 0..4 {
        world.log().set_config(config(300));
        for at in 0..count {
            plain(world, offset + n * count + at, "x");
        }
        world.commit();
        // No two segments become one.
        world.log().set_config(config(1));
        world.compact(NOW_MS + n * DELETE_RETENTION_MS);
    }
}
