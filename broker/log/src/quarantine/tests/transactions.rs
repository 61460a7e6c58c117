//! Damage among transactions.

use foz_protocol::batch::BatchHeader;

use super::*;
use crate::transaction_index::AbortedTransaction;
use crate::{AppendOrigin, TransactionMarker};

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

/// A log of transactions in one segment.
fn world() -> (tempfile::TempDir, LogDirectory, Arc<PartitionLog>) {
    let data = tempfile::tempdir().unwrap();
    let directory = open(data.path());
    let partition = TopicPartition::new("orders", 0);
    let log = directory.create(partition, Uuid::from_u128(7), LogConfig::default(), NOW_MS);
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
    let (data, directory, log) = world();
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

/// Nobody had come upon it yet.
#[test]
fn a_damaged_marker_before_what_was_found_is_cut_off_with_it() {
    let (data, directory, log) = world();
    let path = path(&data, "log");
    let mut bytes = fs::read(&path).unwrap();
    let lengths: Vec<_> = Batches::new(&bytes)
        .map(|batch| batch.unwrap().1.len())
        .collect();
    let marker_end: usize = lengths[..6].iter().sum();
    bytes[marker_end - 2] ^= 1;
    fs::write(&path, &bytes).unwrap();
    directory.quarantine(&log, 13, NOW_MS).unwrap();
    assert!(!log.has_failed());
    assert_eq!(log.log_end_offset(), 5);
    assert_eq!(log.aborted_in(0, 20).unwrap(), aborted(2));
}
