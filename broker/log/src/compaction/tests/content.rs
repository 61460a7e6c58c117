//! Batches that are whole, and are not what they should be; indexes that have no room.

use foz_protocol::batch::assign_log_append_time;
use foz_protocol::record::RecordError;

use super::world::*;
use crate::{CompactionError, LogConfig, PageCache};

const HEADER_BYTES: usize = 61;
const RECORD_COUNT_AT: usize = 57;

/// The CRC is made right again.
fn changed(mut batch: Vec<u8>, change: impl FnOnce(&mut [u8])) -> Vec<u8> {
    change(&mut batch);
    assign_log_append_time(&mut batch, NOW_MS);
    batch
}

fn two_records(offset: i64) -> Vec<u8> {
    let records = [
        (Some("k"), Some("1"), NOW_MS),
        (Some("l"), Some("2"), NOW_MS),
    ];
    PLAIN.at(offset).data(&records)
}

/// What a client may send to a topic that is not compacted is no damage when it is compacted later: all replicas
/// have it, and the next pass meets it again.
#[test]
fn a_batch_with_wrong_content_ends_the_pass_and_stays() {
    let count = changed(two_records(4), |bytes| bytes[RECORD_COUNT_AT + 3] = 3);
    // Length, attributes and timestamp take a byte each, as the offset does.
    let offset_delta = changed(two_records(4), |bytes| {
        let second = HEADER_BYTES + 1 + usize::from(bytes[HEADER_BYTES] / 2);
        assert_eq!(bytes[second + 3], 2, "offset 1, zigzag");
        bytes[second + 3] = 0;
    });
    for (wrong, is_of_count) in [(count, true), (offset_delta, false)] {
        let root = new_root();
        let world = World::new(root.path(), config(200));
        for offset in [0, 2] {
            world.append(&two_records(offset));
        }
        world.append(&wrong);
        for offset in [6, 8, 10, 12] {
            world.append(&two_records(offset));
        }
        world.commit();
        let before = world.batches();
        for _ in 0..2 {
            let error = world.compact_with(MANY_KEYS, NOW_MS).unwrap_err();
            let CompactionError::Malformed { offset: 4, source } = &error else {
                panic!("{error}");
            };
            match source {
                RecordError::Count { .. } => assert!(is_of_count),
                RecordError::OffsetDelta { .. } => assert!(!is_of_count),
                _ => panic!("{error}"),
            }
            assert!(!world.log().has_failed());
            assert_eq!(world.batches(), before);
        }
    }
}

/// After a start the last entry is all that tells how young the records are: retention goes by it.
#[test]
fn the_greatest_timestamp_is_known_after_a_start_however_small_the_index() {
    let root = new_root();
    let small = |segment_bytes| LogConfig {
        segment_index_bytes: 24,
        ..config(segment_bytes)
    };
    // Without room for entries no segment is begun for want of it: the setting came later.
    let mut world = World::new(root.path(), config(100_000));
    for n in 0..200 {
        let key = format!("key {}", n % 150);
        let record = [(Some(key.as_str()), Some("value"), NOW_MS + n)];
        world.append(&PLAIN.at(n).data(&record));
    }
    world.log().set_config(config(1));
    world.append(&PLAIN.at(200).data(&[(Some("last"), Some("1"), 5)]));
    world.commit();
    world.log().set_config(small(100_000));
    let done = world.compact(NOW_MS);
    assert!(done.bytes_after < done.bytes_before, "{done:?}");
    world.config = small(100_000);
    world.kill();
    world.open(PageCache::Survived, NOW_MS);
    let newest = world
        .log()
        .offset_of_max_timestamp(i64::MAX)
        .unwrap()
        .unwrap();
    assert_eq!((newest.timestamp_ms, newest.offset), (NOW_MS + 199, 199));
    let late = world
        .log()
        .offset_for_timestamp(NOW_MS + 190, i64::MAX)
        .unwrap();
    assert_eq!(late.map(|it| it.offset), Some(190));
}
