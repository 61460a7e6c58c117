//! Damage among transactions.

use foz_protocol::batch::BatchHeader;

use super::*;
use crate::transaction_index::AbortedTransaction;
use crate::{AppendOrigin, OpenError, TransactionMarker};

const PRODUCER: i64 = 9;
/// How many transactions were aborted, of a record and a marker each.
const TRANSACTIONS: i64 = 10;

fn abort(log: &PartitionLog, sequence: i32) {
    let mut builder = BatchBuilder::new(Compression::None)
        .idempotent(PRODUCER, 0, sequence)
        .transactional();
    builder.push(&RecordToWrite {
        timestamp_ms: NOW_MS,
        value: Some(&[1; 300]),
        ..RecordToWrite::default()
    });
    let mut batch = builder.build().unwrap();
    let header = BatchHeader::parse(&batch).unwrap();
    let guard = log.begin_verification(&header, false, NOW_MS).unwrap();
    log.append_from(AppendOrigin::Client(guard), &mut batch, 1, NOW_MS)
        .unwrap();
    let marker = TransactionMarker {
        producer_id: PRODUCER,
        producer_epoch: 0,
        coordinator_epoch: 1,
        is_commit: false,
    };
    log.append_marker(marker, 1, 1, NOW_MS).unwrap();
}

/// A log of transactions, one segment for so many bytes.
fn world(segment_bytes: u64) -> (tempfile::TempDir, LogDirectory, Arc<PartitionLog>) {
    let data = tempfile::tempdir().unwrap();
    let directory = open(data.path());
    let partition = TopicPartition::new("orders", 0);
    let config = LogConfig {
        segment_bytes,
        ..LogConfig::default()
    };
    let log = directory.create(partition, Uuid::from_u128(7), config, NOW_MS);
    let log = log.unwrap();
    for sequence in 0..TRANSACTIONS as i32 {
        abort(&log, sequence);
    }
    log.flush().unwrap();
    directory.checkpoint().unwrap();
    (data, directory, log)
}

fn path(data: &tempfile::TempDir, suffix: &str) -> PathBuf {
    data.path()
        .join(format!("orders-0/00000000000000000000.{suffix}"))
}

fn aborted(count: i64) -> Vec<AbortedTransaction> {
    let aborted = |first_offset| AbortedTransaction {
        producer_id: PRODUCER,
        first_offset,
        marker_offset: first_offset + 1,
        last_stable_offset: first_offset + 2,
    };
    (0..count).map(|n| aborted(2 * n)).collect()
}

#[test]
fn a_transaction_index_that_the_disk_does_not_give_is_made_anew_by_a_cut() {
    let (data, directory, log) = world(1 << 20);
    bad_sectors::add(&path(&data, "txnindex"), 0..PAGE_BYTES);
    log.aborted_in(0, 20).unwrap_err();
    directory.quarantine(&log, 13, NOW_MS).unwrap();
    assert_eq!(log.log_end_offset(), 13);
    // What is written anew can be read.
    bad_sectors::mend(&path(&data, "txnindex"));
    assert_eq!(log.aborted_in(0, 20).unwrap(), aborted(6));
    // The seventh is open again.
    log.set_high_watermark(13);
    assert_eq!(log.last_stable_offset(), 12);
    assert!(!log.has_failed());
    drop((directory, log));
    let directory = open(data.path());
    let log = directory.get(&TopicPartition::new("orders", 0)).unwrap();
    assert_eq!(log.aborted_in(0, 20).unwrap(), aborted(6));
}

#[test]
fn a_transaction_index_that_the_disk_does_not_give_any_more_is_made_anew() {
    let (data, _directory, log) = world(2600);
    let path = path(&data, "txnindex");
    assert!(!log.rebuild_transaction_index(&path).unwrap());
    bad_sectors::add(&path, 0..PAGE_BYTES);
    let ReadError::TransactionIndex(error) = log.aborted_in(0, 20).unwrap_err() else {
        panic!("the log can be read")
    };
    assert_eq!(error.path, path);
    assert!(log.rebuild_transaction_index(&path).unwrap());
    // What is written anew can be read.
    bad_sectors::mend(&path);
    assert_eq!(log.aborted_in(0, 20).unwrap(), aborted(TRANSACTIONS));
    assert!(!log.rebuild_transaction_index(&path).unwrap());
    // Nobody can say it where the log is damaged as well, and nothing has happened.
    bad_sectors::add(&path, 0..PAGE_BYTES);
    damage_marker(&data);
    let error = log.rebuild_transaction_index(&path).unwrap_err();
    assert!(
        matches!(error, OpenError::Damaged { offset: 5, .. }),
        "{error}"
    );
    assert!(!log.has_failed());
    assert!(!log.rebuild_transaction_index(&path).unwrap(), "not again");
    for other in [path.with_extension("log"), path.with_file_name("x")] {
        assert!(!log.rebuild_transaction_index(&other).unwrap());
    }
}

/// Of the transaction that begins at 4, in the first segment.
fn damage_marker(data: &tempfile::TempDir) {
    let path = path(data, "log");
    let mut bytes = fs::read(&path).unwrap();
    let lengths: Vec<_> = Batches::new(&bytes)
        .map(|batch| batch.unwrap().1.len())
        .collect();
    let marker_end: usize = lengths[..6].iter().sum();
    bytes[marker_end - 2] ^= 1;
    fs::write(&path, &bytes).unwrap();
}

/// Nobody had come upon it yet. It is before the cut, in the same segment or where the walk begins for want of a snapshot.
#[test]
fn a_cut_behind_a_damaged_marker_changes_nothing_and_says_where_it_is() {
    for segment_bytes in [1 << 20, 2600] {
        for is_unreadable in [false, true] {
            let (data, directory, log) = world(segment_bytes);
            let segments = log.segment_count();
            assert_eq!(segments > 1, segment_bytes < 1 << 20);
            damage_marker(&data);
            if is_unreadable {
                bad_sectors::add(&path(&data, "log"), 0..PAGE_BYTES);
            }
            let entries = fs::read_dir(data.path().join("orders-0")).unwrap();
            let files: Vec<_> = entries.map(|it| it.unwrap().path()).collect();
            let snapshots = files
                .iter()
                .filter(|it| it.extension().is_some_and(|it| it == "snapshot"));
            snapshots.for_each(|it| fs::remove_file(it).unwrap());
            let error = directory.truncate(&log, 17, NOW_MS).unwrap_err();
            let OpenError::Damaged { offset, .. } = error else {
                panic!("{error}")
            };
            assert!(if is_unreadable {
                offset <= 17
            } else {
                offset == 5
            });
            assert!(!log.has_failed());
            assert_eq!((log.log_end_offset(), log.segment_count()), (20, segments));
            // It is cut before that instead.
            directory.quarantine(&log, 17, NOW_MS).unwrap();
            assert!(!log.has_failed());
            let end = if is_unreadable { 0 } else { 5 };
            assert_eq!(log.log_end_offset(), end);
            assert_eq!(log.aborted_in(0, 20).unwrap(), aborted(end / 2));
            bad_sectors::mend(&path(&data, "log"));
            // It goes on.
            abort(&log, if is_unreadable { 0 } else { 3 });
        }
    }
}

/// A header that lies about its place is damage where it lies: what it says of offsets nobody can go by.
#[test]
fn a_cut_behind_a_batch_out_of_place_says_where_it_is() {
    for segment_bytes in [1 << 20, 2600] {
        for base_offset in [2_i64, i64::MAX / 2] {
            let (data, directory, log) = world(segment_bytes);
            let log_path = path(&data, "log");
            let mut bytes = fs::read(&log_path).unwrap();
            let lengths = Batches::new(&bytes).map(|batch| batch.unwrap().1.len());
            let marker_starts: usize = lengths.take(5).sum();
            bytes[marker_starts..marker_starts + 8].copy_from_slice(&base_offset.to_be_bytes());
            fs::write(&log_path, &bytes).unwrap();
            let entries = fs::read_dir(data.path().join("orders-0")).unwrap();
            for path in entries.map(|it| it.unwrap().path()) {
                if path.extension().is_some_and(|it| it == "snapshot") {
                    fs::remove_file(path).unwrap();
                }
            }
            let error = directory.truncate(&log, 17, NOW_MS).unwrap_err();
            let OpenError::Damaged { offset, .. } = error else {
                panic!("{error}")
            };
            assert_eq!((offset, log.log_end_offset()), (5, 20));
            directory.quarantine(&log, 17, NOW_MS).unwrap();
            assert_eq!(log.log_end_offset(), 5);
        }
    }
}

/// DeleteRecords ended in the middle of the segment: what is before the start is damaged, and goes with what is not.
#[test]
fn damage_before_the_start_takes_the_rest_of_its_segment_along() {
    let (data, directory, log) = world(1 << 20);
    damage_marker(&data);
    log.set_high_watermark(20);
    log.advance_log_start_offset(10).unwrap();
    let error = directory.truncate(&log, 17, NOW_MS).unwrap_err();
    assert!(
        matches!(error, OpenError::Damaged { offset: 5, .. }),
        "{error}"
    );
    directory
        .quarantine(&log, log.log_start_offset(), NOW_MS)
        .unwrap();
    assert_eq!((log.log_start_offset(), log.log_end_offset()), (10, 10));
    assert!(!log.has_failed());
    abort(&log, 0);
}

/// Where nothing of it has to be read, it is as before.
#[test]
fn a_cut_goes_by_the_snapshot_of_its_segment() {
    let (data, directory, log) = world(2600);
    damage_marker(&data);
    directory.truncate(&log, 17, NOW_MS).unwrap();
    assert_eq!(log.log_end_offset(), 17);
    assert_eq!(log.aborted_in(0, 20).unwrap(), aborted(8));
}
