//! Damage to what had been flushed: it is seen, kept aside, cut off on request, and fetched again.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;

use foz_log::{Finding, LogConfig, PartitionLog, ReadError};
use foz_protocol::batch::Batches;

use crate::small_disk::no_room_once;
use crate::support::*;

/// Twenty batches, flushed, and the recovery point on disk says so; small segments of four each.
fn filled() -> (World, Vec<u8>) {
    let world = World::new(small_segments(300));
    let (directory, log) = world.log();
    append_numbers(&log, 20);
    log.flush().unwrap();
    directory.checkpoint().unwrap();
    let mut bytes = Vec::new();
    while let Some(next) = next_offset(&bytes).filter(|next| *next < 20) {
        bytes.extend(log.read(next, 1 << 20, i64::MAX, true).unwrap());
    }
    (world, bytes)
}

fn next_offset(bytes: &[u8]) -> Option<i64> {
    let last = Batches::new(bytes).last();
    Some(last.map_or(0, |last| last.unwrap().0.next_offset()))
}

fn overwrite(path: &Path, at: u64, bytes: &[u8]) {
    let file = OpenOptions::new().write(true).open(path).unwrap();
    file.write_all_at(bytes, at).unwrap();
}

/// As if it came from another replica.
fn fetch_again(log: &PartitionLog, whole: &[u8]) {
    let end = log.log_end_offset();
    let mut from = 0;
    for parsed in Batches::new(whole) {
        let (header, batch) = parsed.unwrap();
        if header.base_offset >= end {
            break;
        }
        from += batch.len();
    }
    log.append_as_follower(&whole[from..], LEADER, NOW_MS)
        .unwrap();
}

fn second_log(world: &World) -> std::path::PathBuf {
    let dir = world.partition_dir();
    dir.join(&files(&dir, ".log")[1])
}

/// Offset of its first batch, and where its second batch begins.
fn second_batch(path: &Path) -> (i64, u64) {
    let bytes = fs::read(path).unwrap();
    let (header, batch) = Batches::new(&bytes).next().unwrap().unwrap();
    (header.base_offset, batch.len() as u64)
}

#[test]
fn a_reader_that_meets_damage_is_told_where_and_the_rest_is_fetched_again() {
    // Magic; length that is too small, too great; base offset too small, far too great; negative delta.
    let damages: [(u64, &[u8]); 6] = [
        (16, &[1]),
        (8, &[0, 0, 0, 1]),
        (8, &[0x7f, 0, 0, 0]),
        (0, &[0, 0, 0, 0, 0, 0, 0, 0]),
        (0, &[0x10]),
        (23, &[0xff]),
    ];
    for (at, bytes) in damages {
        let (world, whole) = filled();
        let (directory, log) = world.log();
        let path = second_log(&world);
        let (first, second) = second_batch(&path);
        let original = fs::read(&path).unwrap();
        overwrite(&path, second + at, bytes);
        let damaged = fs::read(&path).unwrap();

        let before = log.read(first, 1, i64::MAX, true).unwrap();
        assert_eq!(decode(&before).len(), 1, "what comes before is served");
        let error = log.read(first + 1, 1 << 20, i64::MAX, true).unwrap_err();
        let ReadError::Corrupt {
            offset, position, ..
        } = error
        else {
            panic!("{error}")
        };
        assert_eq!((offset, position), (first + 1, second), "{error}");

        let kept = directory.quarantine(&log, offset, NOW_MS).unwrap();
        assert_eq!(kept.len(), 4, "{kept:?}");
        assert_eq!(fs::read(&kept[0]).unwrap(), damaged);
        assert_numbers(&log, 0, first + 1);
        assert!(log.flushed_offset() <= first + 1);
        fetch_again(&log, &whole);
        assert_numbers(&log, 0, 20);
        drop((directory, log));
        let (_directory, log) = world.log();
        assert_numbers(&log, 0, 20);
        assert_eq!(&fs::read(&path).unwrap()[..original.len()], original);
        assert_eq!(fs::read(&kept[0]).unwrap(), damaged, "copies stay");
        assert_eq!(files(&world.partition_dir(), ".quarantined").len(), 4);
    }
}

#[test]
fn nothing_is_quarantined_behind_the_end() {
    let (world, _) = filled();
    let (directory, log) = world.log();
    assert!(directory.quarantine(&log, 20, NOW_MS).unwrap().is_empty());
    assert_numbers(&log, 0, 20);
}

#[test]
fn a_partition_that_is_offline_opens_up_to_its_damage() {
    // In the middle only a CRC tells, which is looked at once asked.
    for damage_middle_too in [false, true] {
        let (world, whole) = filled();
        let dir = world.partition_dir();
        let last = dir.join(files(&dir, ".log").pop().unwrap());
        let length = fs::metadata(&last).unwrap().len();
        if damage_middle_too {
            overwrite(&second_log(&world), 64, &[0xee]);
        }
        fs::write(&last, &fs::read(&last).unwrap()[..length as usize - 1]).unwrap();
        let (directory, report) = world.open();
        assert_eq!(report.offline.len(), 1, "{report:?}");
        assert!(directory.get(&partition()).is_none());

        let (log, findings) = directory
            .open_quarantined(&partition(), world.config.clone(), NOW_MS)
            .unwrap();
        let end = log.log_end_offset();
        let expected = match damage_middle_too {
            false => 19,
            true => second_batch(&second_log(&world).with_extension("log.quarantined")).0,
        };
        assert_eq!(end, expected);
        let [
            Finding::Quarantined {
                log_end_offset,
                recovery_offset: 20,
                kept,
                ..
            },
        ] = &findings[..]
        else {
            panic!("{findings:?}")
        };
        assert_eq!(*log_end_offset, end);
        assert_eq!(kept.len(), if damage_middle_too { 4 } else { 1 });
        assert_numbers(&log, 0, end);
        assert!(directory.get(&partition()).is_some());
        assert!(
            directory
                .open_quarantined(&partition(), world.config.clone(), NOW_MS)
                .is_err(),
            "it is online"
        );
        fetch_again(&log, &whole);
        assert_numbers(&log, 0, 20);
        World::stop(directory, log);
        let (_directory, report) = world.open();
        assert!(report.offline.is_empty() && report.clean_shutdown.is_some());
    }
}

/// A sector that the disk gave back as zeros looks like space allocated ahead.
#[test]
fn flushed_batches_that_became_zeros_are_missed() {
    let world = World::new(LogConfig {
        flush_before_acknowledge: true,
        ..LogConfig::default()
    });
    let (directory, log) = world.log();
    append_numbers(&log, 5);
    log.flush().unwrap();
    directory.checkpoint().unwrap();
    drop((directory, log));
    let path = world.partition_dir().join("00000000000000000000.log");
    let length = batch(&[b"0"]).len();
    overwrite(&path, 3 * length as u64, &vec![0; 2 * length]);
    let (directory, report) = world.open();
    assert_eq!(report.offline.len(), 1, "{report:?}");
    let (log, findings) = directory
        .open_quarantined(&partition(), world.config, NOW_MS)
        .unwrap();
    assert!(
        matches!(
            &findings[..],
            [Finding::Quarantined {
                log_end_offset: 3,
                ..
            }]
        ),
        "{findings:?}"
    );
    assert_numbers(&log, 0, 3);
}

/// Damage and then a crash before the checkpoints said so: it is just as offline as before.
#[test]
fn opening_quarantined_can_be_repeated() {
    let (world, _) = filled();
    let dir = world.partition_dir();
    let last = dir.join(files(&dir, ".log").pop().unwrap());
    let length = fs::metadata(&last).unwrap().len();
    fs::write(&last, &fs::read(&last).unwrap()[..length as usize - 1]).unwrap();
    let checkpoint = world.data().join("recovery-point-offset-checkpoint");
    let before = fs::read(&checkpoint).unwrap();
    for round in 0..2 {
        let (directory, report) = world.open();
        assert_eq!(report.offline.len(), 1, "{report:?}");
        let (log, findings) = directory
            .open_quarantined(&partition(), world.config.clone(), NOW_MS)
            .unwrap();
        assert_eq!(findings.len(), 1, "{findings:?}");
        assert_numbers(&log, 0, 19);
        drop((directory, log));
        if round == 0 {
            fs::write(&checkpoint, &before).unwrap();
        }
    }
    let (_directory, log) = world.log();
    assert_numbers(&log, 0, 19);
}

/// The checkpoints come later, and until then a start finds it as it was.
#[test]
fn a_log_that_is_opened_quarantined_without_room_for_checkpoints_is_online() {
    for (crashes, fails) in [(false, false), (true, false), (false, true)] {
        let (world, whole) = filled();
        let dir = world.partition_dir();
        let last = dir.join(files(&dir, ".log").pop().unwrap());
        let length = fs::metadata(&last).unwrap().len();
        fs::write(&last, &fs::read(&last).unwrap()[..length as usize - 1]).unwrap();
        let (directory, report) = world.open();
        assert_eq!(report.offline.len(), 1, "{report:?}");
        let open = || directory.open_quarantined(&partition(), world.config.clone(), NOW_MS);
        let checkpoint = "recovery-point-offset-checkpoint";
        if fails {
            let in_the_way = world.data().join(format!("{checkpoint}.tmp"));
            fs::create_dir(&in_the_way).unwrap();
            assert!(!open().unwrap_err().is_shortage());
            assert!(directory.get(&partition()).is_none(), "it stays offline");
            fs::remove_dir(&in_the_way).unwrap();
        } else {
            no_room_once(&world, checkpoint);
        }
        let (log, _) = open().unwrap();
        assert!(directory.get(&partition()).is_some());
        assert_numbers(&log, 0, 19);
        if crashes {
            drop((directory, log));
            let (_directory, report) = world.open();
            assert_eq!(report.offline.len(), 1, "{report:?}");
            continue;
        }
        fetch_again(&log, &whole);
        World::stop(directory, log);
        let (directory, report) = world.open();
        assert!(
            report.lost.is_empty() && report.offline.is_empty(),
            "{report:?}"
        );
        assert_numbers(&directory.get(&partition()).unwrap(), 0, 20);
    }
}

/// Nobody is given a batch of a closed segment that is not what was written, and what is whole before it is.
#[test]
fn a_flipped_bit_in_a_closed_segment_is_not_served() {
    let (world, _) = filled();
    let path = second_log(&world);
    let (base_offset, second_at) = second_batch(&path);
    let whole = fs::read(&path).unwrap();
    for at in second_at + 17..second_at * 2 {
        let mut flipped = whole.clone();
        flipped[at as usize] ^= 1;
        fs::write(&path, &flipped).unwrap();
        let (directory, report) = world.open();
        assert!(report.offline.is_empty(), "closed segments are not walked");
        let log = directory.get(&partition()).unwrap();
        let before = log.read(base_offset, 1 << 20, i64::MAX, true).unwrap();
        assert_eq!(next_offset(&before), Some(base_offset + 1), "byte {at}");
        let refused = log.read(base_offset + 1, 1 << 20, i64::MAX, true);
        let Err(ReadError::Corrupt { offset, .. }) = refused else {
            panic!("byte {at}: {refused:?}")
        };
        assert_eq!(offset, base_offset + 1, "byte {at}");
    }
}
