//! Each rule by itself, on a log of a few records.

use foz_protocol::batch::{BatchHeader, assign_log_append_time};
use foz_protocol::codec::Compression;

use super::world::*;
use crate::{CompactionError, CompactionLimits, LogConfig, PageCache, ReadError};

/// Each batch gets a segment of its own.
fn world(root: &tempfile::TempDir) -> World {
    World::new(root.path(), config(1))
}

fn one(spec: Spec, key: &str, value: Option<&str>) -> Vec<u8> {
    spec.data(&[(Some(key), value, NOW_MS)])
}

fn offsets(world: &World) -> Vec<i64> {
    world.records().iter().map(|record| record.0).collect()
}

fn headers(world: &World) -> Vec<BatchHeader> {
    world.batches().iter().map(|(header, _)| *header).collect()
}

#[test]
fn the_newest_record_of_each_key_stays_where_it_was() {
    let root = tempfile::tempdir().unwrap();
    let world = world(&root);
    let records = [(Some("a"), Some("1"), 5), (Some("b"), Some("2"), 9)];
    world.append(&PLAIN.data(&records));
    let records = [(Some("a"), Some("3"), 7), (None, Some("no key"), 8)];
    world.append(&PLAIN.at(2).data(&records));
    world.append(&one(PLAIN.at(4), "a", Some("active")));
    world.commit();
    let compacted = world.compact(NOW_MS);
    assert_eq!(compacted.compacted_offset, 4);
    assert_eq!(
        (compacted.segments_before, compacted.segments_after),
        (2, 2)
    );
    let expected = [
        (1, Some(b"b".to_vec()), Some(b"2".to_vec()), 9),
        (2, Some(b"a".to_vec()), Some(b"3".to_vec()), 7),
        (4, Some(b"a".to_vec()), Some(b"active".to_vec()), NOW_MS),
    ];
    assert_eq!(world.records(), expected);
    let headers = headers(&world);
    let covered: Vec<_> = headers
        .iter()
        .map(|it| (it.base_offset, it.last_offset_delta, it.record_count))
        .collect();
    assert_eq!(covered, [(0, 1, 1), (2, 1, 1), (4, 0, 1)]);
    assert_eq!((headers[0].max_timestamp, headers[1].max_timestamp), (9, 7));
    let log = world.log();
    assert_eq!((log.log_start_offset(), log.log_end_offset()), (0, 5));
    assert_eq!(log.compaction_need(NOW_MS).unwrap(), None);
}

#[test]
fn a_tombstone_goes_when_its_time_after_the_first_pass_is_over() {
    let root = tempfile::tempdir().unwrap();
    let world = world(&root);
    world.append(&one(PLAIN, "a", Some("1")));
    let records = [(Some("a"), None, 20), (Some("b"), Some("2"), 10)];
    world.append(&PLAIN.at(1).data(&records));
    world.append(&one(PLAIN.at(3), "x", Some("1")));
    world.append(&one(PLAIN.at(4), "x", Some("2")));
    world.commit();
    world.compact(NOW_MS);
    assert_eq!(offsets(&world), [1, 2, 3, 4]);
    let header = headers(&world)[1];
    assert!(header.has_delete_horizon());
    assert_eq!(header.base_timestamp, NOW_MS + DELETE_RETENTION_MS);
    assert_eq!(header.max_timestamp, 20);
    assert_eq!(
        world.records()[0].3,
        20,
        "timestamps count from the horizon"
    );
    assert_eq!(world.records()[1].3, 10);

    // Something new, so that there is a pass at all.
    let append_and_compact = |offset, now_ms| {
        world.append(&one(PLAIN.at(offset), "x", Some("3")));
        world.commit();
        world.compact(now_ms);
    };
    append_and_compact(5, NOW_MS + DELETE_RETENTION_MS - 1);
    assert_eq!(offsets(&world)[..2], [1, 2]);
    append_and_compact(6, NOW_MS + DELETE_RETENTION_MS);
    assert_eq!(offsets(&world)[..1], [2]);
    assert_eq!(world.records()[0].3, 10);
}

#[test]
fn aborted_records_go_and_their_marker_later() {
    let root = tempfile::tempdir().unwrap();
    let world = world(&root);
    world.append(&one(PLAIN, "a", Some("committed")));
    world.append(&one(PLAIN.at(1).transactional(5, 0), "a", Some("aborted")));
    world.append(&one(PLAIN.at(2).transactional(6, 0), "b", Some("kept")));
    world.append(&PLAIN.at(3).marker(5, false, NOW_MS));
    world.append(&PLAIN.at(4).marker(6, true, NOW_MS));
    world.append(&one(PLAIN.at(5).transactional(5, 1), "c", Some("open")));
    world.append(&one(PLAIN.at(6), "d", Some("1")));
    world.append(&one(PLAIN.at(7), "d", Some("2")));
    world.commit();
    let markers = || {
        let control = headers(&world).into_iter().filter(BatchHeader::is_control);
        control.map(|it| it.base_offset).collect::<Vec<_>>()
    };
    assert_eq!(world.compact(NOW_MS).compacted_offset, 5, "one is open");
    assert_eq!(offsets(&world), [0, 2, 5, 6, 7]);
    assert_eq!(markers(), [3, 4]);
    assert!(!headers(&world).iter().any(BatchHeader::has_delete_horizon));

    world.append(&PLAIN.at(8).marker(5, true, NOW_MS));
    // Its last batches are these, so that nothing of the aborted transaction has to stay.
    for offset in 9..14 {
        let producer = Some((5, offset as i32 - 7));
        let spec = Spec {
            producer,
            ..PLAIN.at(offset)
        };
        world.append(&one(spec, "e", Some("1")));
    }
    world.append(&one(PLAIN.at(14), "e", Some("1")));
    world.commit();
    // The segment of the aborted batch ends with its empty header, which goes when segments become one.
    let mut one_segment = config(100_000);
    world.log().set_config(one_segment.clone());
    assert_eq!(world.compact(NOW_MS).compacted_offset, 14);
    assert_eq!(markers(), [3, 4, 8], "an empty batch was still there");
    one_segment.segment_bytes = 1;
    world.log().set_config(one_segment);
    let again = |offset, now_ms| {
        world.append(&one(PLAIN.at(offset), "e", Some("2")));
        world.commit();
        world.compact(now_ms);
    };
    again(15, NOW_MS);
    assert_eq!(markers(), [3, 4, 8], "it has its horizon now");
    again(16, NOW_MS + DELETE_RETENTION_MS);
    assert_eq!(markers(), [4, 8], "of the others there are records");
}

#[test]
fn what_nobody_has_checked_since_a_kill_is_not_compacted() {
    let root = tempfile::tempdir().unwrap();
    let length = one(PLAIN, "a", Some("1")).len() as u64;
    let mut world = World::new(root.path(), config(2 * length));
    for offset in 0..7 {
        world.append(&one(PLAIN.at(offset), "a", Some("1")));
    }
    world.log().set_high_watermark(7);
    world.directory().checkpoint().unwrap();
    world.kill();
    world.open_unchecked(PageCache::Survived, NOW_MS);
    world.log().check_next(1).unwrap();
    assert_eq!(world.log().flushed_offset(), 0);
    assert!(world.compact(NOW_MS).compacted_offset <= 1);
    // Of what is not flushed nothing is compacted either.
    assert_eq!(world.log().flushed_offset(), 7);
    assert_eq!(offsets(&world), [0, 1, 2, 3, 4, 5, 6]);
    world.check_all();
    assert_eq!(world.compact(NOW_MS).compacted_offset, 6);
    assert_eq!(offsets(&world), [5, 6]);
}

/// A bit makes an abort of a commit.
#[test]
fn a_damaged_marker_ends_no_transaction() {
    let root = tempfile::tempdir().unwrap();
    let world = world(&root);
    world.append(&one(PLAIN.transactional(5, 0), "a", Some("committed")));
    world.append(&PLAIN.at(1).marker(5, true, NOW_MS));
    world.commit();
    let data = world.partition_dir().join("00000000000000000000.log");
    let committed = std::fs::read(&data).unwrap();
    let file = world.partition_dir().join("00000000000000000001.log");
    let mut bytes = std::fs::read(&file).unwrap();
    let kind = 69;
    assert_eq!(bytes[kind - 4..=kind], [8, 0, 0, 0, 1], "the marker's key");
    bytes[kind] ^= 1;
    std::fs::write(&file, bytes).unwrap();
    let compacted = world.compact_with(MANY_KEYS, NOW_MS);
    assert!(
        matches!(
            compacted,
            Err(CompactionError::Read(ReadError::Corrupt { offset: 1, .. }))
        ),
        "{compacted:?}"
    );
    assert_eq!(std::fs::read(&data).unwrap(), committed);
}

#[test]
fn the_last_batch_of_a_producer_stays_as_a_header() {
    let root = tempfile::tempdir().unwrap();
    let mut world = World::new(root.path(), config(400));
    let idempotent = |offset, producer, sequence| Spec {
        producer: Some((producer, sequence)),
        ..PLAIN.at(offset)
    };
    let two = |spec: Spec, value| {
        spec.data(&[
            (Some("a"), Some(value), NOW_MS),
            (Some("b"), Some(value), NOW_MS),
        ])
    };
    world.append(&two(idempotent(0, 1, 10), "1"));
    world.append(&two(idempotent(2, 2, 20), "2"));
    world.append(&two(idempotent(4, 1, 12), "3"));
    for n in 0..8 {
        world.append(&two(PLAIN.at(6 + 2 * n), "4"));
    }
    world.commit();
    world.compact(NOW_MS);
    let kept: Vec<_> = headers(&world)
        .into_iter()
        .filter(|it| it.has_producer_id())
        .map(|it| (it.base_offset, it.record_count, it.last_sequence()))
        .collect();
    // The first one begins the leader's epoch.
    assert_eq!(kept, [(0, 0, 11), (2, 0, 21), (4, 0, 13)]);
    let known = world.log().last_of_producers();
    world.kill();
    for name in file_names(&world.partition_dir()) {
        if name.ends_with(".snapshot") {
            std::fs::remove_file(world.partition_dir().join(name)).unwrap();
        }
    }
    world.open(crate::PageCache::Survived, NOW_MS);
    assert_eq!(world.log().last_of_producers(), known);
}

/// A client has up to five batches under way, and sends all of them again that it has heard nothing of.
#[test]
fn a_batch_that_comes_again_is_known_after_a_pass_and_a_start() {
    let root = tempfile::tempdir().unwrap();
    let mut world = World::new(root.path(), config(300));
    let batch = |sequence: i32| {
        let producer = Some((1, sequence));
        one(Spec { producer, ..PLAIN }, "a", Some("1"))
    };
    let append = |world: &World, sequence| {
        let log = world.log();
        log.append_as_leader(&mut batch(sequence), 0, NOW_MS)
    };
    for sequence in 0..8 {
        append(&world, sequence).unwrap();
    }
    for _ in 0..8 {
        let mut other = one(PLAIN, "a", Some("2"));
        world.log().append_as_leader(&mut other, 0, NOW_MS).unwrap();
    }
    world.commit();
    world.log().set_config(config(100_000));
    world.compact(NOW_MS);
    let left: Vec<_> = headers(&world)
        .iter()
        .filter(|it| it.has_producer_id())
        .map(|it| (it.base_sequence, it.record_count))
        .collect();
    // The first one begins the leader's epoch.
    assert_eq!(left, [(0, 0), (3, 0), (4, 0), (5, 0), (6, 0), (7, 0)]);
    world.stop();
    world.open(crate::PageCache::Lost, NOW_MS);
    for sequence in 3..8 {
        let again = append(&world, sequence).unwrap();
        assert!(again.duplicate, "{sequence}");
        assert_eq!(again.first_offset, i64::from(sequence));
    }
    let error = append(&world, 2).unwrap_err();
    assert!(
        matches!(error, crate::AppendError::OutOfOrderSequence { .. }),
        "{error}"
    );
    assert!(!append(&world, 8).unwrap().duplicate);
}

#[test]
fn the_first_batch_of_an_epoch_stays_as_a_header() {
    let root = tempfile::tempdir().unwrap();
    let world = World::new(root.path(), config(400));
    for n in 0..12_i64 {
        let epoch = (n / 4) as i32;
        world.append(&one(
            Spec {
                epoch,
                ..PLAIN.at(n)
            },
            "a",
            Some("1"),
        ));
    }
    world.commit();
    world.compact(NOW_MS);
    let first = |epoch| {
        let of_epoch = |it: &&BatchHeader| it.partition_leader_epoch == epoch;
        headers(&world).iter().find(of_epoch).unwrap().base_offset
    };
    assert_eq!((first(0), first(1), first(2)), (0, 4, 8));
}

#[test]
fn codecs_and_timestamps_of_the_broker_stay() {
    for codec in Compression::ALL {
        let root = tempfile::tempdir().unwrap();
        let world = world(&root);
        let spec = Spec { codec, ..PLAIN };
        let records = [
            (Some("a"), Some("1"), 5),
            (Some("b"), None, 9),
            (Some("c"), Some("2"), 2),
        ];
        let mut stamped = spec.data(&records);
        assign_log_append_time(&mut stamped, 77);
        world.append(&stamped);
        world.append(&spec.at(3).data(&records));
        world.append(&one(PLAIN.at(6), "a", Some("3")));
        world.append(&one(PLAIN.at(7), "c", Some("3")));
        world.append(&one(PLAIN.at(8), "x", Some("3")));
        world.commit();
        world.compact(NOW_MS);
        let headers = headers(&world);
        assert_eq!((headers[0].record_count, headers[0].max_timestamp), (0, 77));
        assert_eq!(
            (headers[1].record_count, headers[1].compression()),
            (1, Some(codec))
        );
        assert!(headers[1].has_delete_horizon());
        assert_eq!(world.records()[0], (4, Some(b"b".to_vec()), None, 9));
    }
}

#[test]
fn what_does_not_change_is_not_written() {
    let root = tempfile::tempdir().unwrap();
    let world = World::new(root.path(), config(1));
    world.append(&one(PLAIN, "a", Some("1")));
    world.append(&one(PLAIN.at(1), "b", Some("1")));
    world.append(&one(PLAIN.at(2), "c", Some("1")));
    world.commit();
    let names = file_names(&world.partition_dir());
    let compacted = world.compact(NOW_MS);
    assert_eq!(compacted.compacted_offset, 2);
    assert_eq!((compacted.segments_before, compacted.written_bytes), (0, 0));
    assert_eq!(file_names(&world.partition_dir()), names);
}

#[test]
fn a_small_map_takes_several_passes() {
    let root = tempfile::tempdir().unwrap();
    let world = world(&root);
    for n in 0..40_i64 {
        world.append(&one(PLAIN.at(n), &format!("key {}", n % 20), Some("1")));
    }
    world.append(&one(PLAIN.at(40), "x", Some("1")));
    world.commit();
    // Nine keys.
    let limits = CompactionLimits { map_bytes: 240 };
    let mut reached = Vec::new();
    while world.log().compaction_need(NOW_MS).unwrap().is_some() {
        let compacted = world.compact_with(limits, NOW_MS).unwrap();
        reached.push(compacted.compacted_offset);
        assert!(compacted.map_bytes <= 240);
    }
    assert_eq!(reached, [9, 18, 27, 36, 40]);
    assert_eq!(offsets(&world), (20..41).collect::<Vec<_>>());
    world.append(
        &PLAIN
            .at(41)
            .data(&[(Some("a"), None, 0), (Some("b"), None, 0)]),
    );
    world.append(&one(PLAIN.at(43), "x", Some("1")));
    world.commit();
    let none = CompactionLimits { map_bytes: 0 };
    world.compact_with(none, NOW_MS).unwrap();
    let error = world.compact_with(none, NOW_MS).unwrap_err();
    assert!(error.to_string().contains("offset 41"), "{error}");
}

#[test]
fn damage_is_never_made_good() {
    let root = tempfile::tempdir().unwrap();
    let world = world(&root);
    world.append(&one(PLAIN, "a", Some("1")));
    world.append(&one(PLAIN.at(1), "a", Some("2")));
    world.append(&one(PLAIN.at(2), "b", Some("3")));
    world.commit();
    let path = world.partition_dir().join("00000000000000000000.log");
    let mut bytes = std::fs::read(&path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    let error = world.compact_with(MANY_KEYS, NOW_MS).unwrap_err();
    assert!(error.to_string().contains("offset 0"), "{error}");
    assert_eq!(std::fs::read(&path).unwrap(), bytes);
    assert!(!world.log().has_failed());
    assert_eq!(world.log().compacted_offset(), 0);
    let rest = |name: &String| name.contains("cleaned") || name.contains("swap");
    assert!(!file_names(&world.partition_dir()).iter().any(rest));
}

#[test]
fn a_cut_lowers_what_counts_as_compacted() {
    let root = tempfile::tempdir().unwrap();
    let mut world = world(&root);
    for n in 0..6 {
        world.append(&one(PLAIN.at(n), "a", Some("1")));
    }
    world.commit();
    world.compact(NOW_MS);
    world.directory().checkpoint().unwrap();
    let checkpoint = world.root.join("cleaner-offset-checkpoint");
    let written = || std::fs::read_to_string(&checkpoint).unwrap();
    assert_eq!(written(), "0\n1\nchanges 0 5\n");
    world.directory().truncate(world.log(), 3, NOW_MS).unwrap();
    assert_eq!(world.log().compacted_offset(), 3);
    assert_eq!(
        written(),
        "0\n1\nchanges 0 3\n",
        "before anything is appended"
    );
    world.kill();
    world.open(crate::PageCache::Survived, NOW_MS);
    assert_eq!(world.log().compacted_offset(), 3);
}

#[test]
fn who_holds_a_segment_reads_on_in_it() {
    let root = tempfile::tempdir().unwrap();
    let world = World::new(root.path(), config(300));
    for n in 0..20 {
        world.append(&one(PLAIN.at(n), "a", Some("1")));
    }
    world.commit();
    let log = world.log();
    let held = log.closed_segments().segments;
    assert!(held.len() > 2);
    for _ in 0..2 {
        world.handles.close_idle();
    }
    log.set_config(config(100_000));
    world.compact(NOW_MS);
    assert_eq!(log.segment_count(), 2);
    for _ in 0..2 {
        world.handles.close_idle();
    }
    for segment in &held {
        let first = segment.find(segment.base_offset).unwrap().unwrap();
        assert_eq!(first.header.base_offset, segment.base_offset);
        let bytes = segment.read_batch(&first).unwrap();
        first.header.check_crc(&bytes).unwrap();
        assert_eq!(records_of(&first.header, &bytes).len(), 1);
    }
    drop(held);
    for _ in 0..2 {
        world.handles.close_idle();
    }
    assert_eq!(world.handles.open_count(), 0);
    assert_eq!(offsets(&world).last(), Some(&19));
}

#[test]
fn compaction_stops_when_it_is_told() {
    let root = tempfile::tempdir().unwrap();
    let world = World::new(root.path(), config(1 << 20));
    let value = "v".repeat(100_000);
    for n in 0..12 {
        world.append(&one(PLAIN.at(n), "a", Some(&value)));
    }
    world.commit();
    let before = world.records();
    let mut left = 3;
    let mut proceed = |io: crate::CompactionIo| {
        assert!(io.read_bytes + io.written_bytes >= 64 << 10);
        left -= 1;
        match left {
            0 => std::ops::ControlFlow::Break(()),
            _ => std::ops::ControlFlow::Continue(()),
        }
    };
    let stopped = world.log().compact(MANY_KEYS, NOW_MS, &mut proceed);
    assert!(matches!(stopped, Err(crate::CompactionError::Stopped)));
    assert_eq!(world.records(), before);
    world.compact(NOW_MS);
    assert!(world.records().len() < before.len());
}

#[test]
fn the_need_counts_what_is_new_and_how_long_it_waits() {
    let root = tempfile::tempdir().unwrap();
    let mut lag = config(1);
    lag.max_compaction_lag_ms = 500;
    let world = World::new(root.path(), lag);
    let need = |now_ms| world.log().compaction_need(now_ms).unwrap();
    assert_eq!(need(NOW_MS), None);
    for n in 0..4 {
        world.append(&one(PLAIN.at(n), &n.to_string(), Some("1")));
    }
    assert_eq!(need(NOW_MS), None, "nothing is committed");
    world.commit();
    let found = need(NOW_MS).unwrap();
    assert!(found.is_due && !found.is_overdue && found.dirty_ratio > 0.99);
    world.compact(NOW_MS);
    world.append(&one(PLAIN.at(4), "4", Some("1")));
    world.commit();
    let found = need(NOW_MS + 500).unwrap();
    assert!(!found.is_due && !found.is_overdue, "{found:?}");
    assert!((0.2..0.3).contains(&found.dirty_ratio), "{found:?}");
    assert!(need(NOW_MS + 501).unwrap().is_overdue);
    world.log().set_config(LogConfig {
        cleanup_compact: false,
        ..config(1)
    });
    assert_eq!(need(NOW_MS), None);
}
