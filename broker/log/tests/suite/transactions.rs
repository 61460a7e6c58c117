//! Transactions from the begin to what readers see of them.

mod starts;

use std::fs;
use std::sync::Arc;

use foz_log::{
    AbortedTransaction, ActiveProducer, AppendError, AppendOrigin, Appended, LogConfig,
    LogDirectory, OpenError, PageCache, PartitionLog, TimestampType, TransactionMarker,
};
use foz_protocol::batch::{BatchHeader, Batches};
use foz_protocol::codec::Compression;
use foz_protocol::error::ErrorCode;
use foz_protocol::record::BatchBuilder;

use crate::support::*;

pub(crate) fn transactional(id: i64, epoch: i16, sequence: i32, values: &[&[u8]]) -> Vec<u8> {
    let builder = BatchBuilder::new(Compression::None).idempotent(id, epoch, sequence);
    let records: Vec<_> = values.iter().map(|value| (NOW_MS, *value)).collect();
    build(builder.transactional(), &records)
}

/// Confirmed by the coordinator where it is to be asked.
pub(crate) fn append_verified(
    log: &PartitionLog,
    leader_epoch: i32,
    mut bytes: Vec<u8>,
) -> Result<Appended, AppendError> {
    let header = BatchHeader::parse(&bytes).unwrap();
    let guard = log.begin_verification(&header, false, NOW_MS)?;
    log.append_from(
        AppendOrigin::Client(guard),
        &mut bytes,
        leader_epoch,
        NOW_MS,
    )
}

/// One record.
pub(crate) fn write(log: &PartitionLog, id: i64, sequence: i32) -> i64 {
    let bytes = transactional(id, 0, sequence, &[b"value"]);
    append_verified(log, 0, bytes).unwrap().first_offset
}

pub(crate) fn end(log: &PartitionLog, id: i64, is_commit: bool) -> i64 {
    let marker = TransactionMarker {
        producer_id: id,
        producer_epoch: 0,
        coordinator_epoch: 5,
        is_commit,
    };
    log.append_marker(marker, 1, 0, NOW_MS)
        .unwrap()
        .first_offset
}

fn commit_all(log: &PartitionLog) {
    log.set_high_watermark(log.log_end_offset());
}

fn aborted(producer_id: i64, first: i64, marker: i64, stable: i64) -> AbortedTransaction {
    AbortedTransaction {
        producer_id,
        first_offset: first,
        marker_offset: marker,
        last_stable_offset: stable,
    }
}

pub(crate) fn follow(leader: &PartitionLog, follower: &PartitionLog) {
    loop {
        let from = follower.log_end_offset();
        let bytes = leader.read(from, 500, i64::MAX, true).unwrap();
        if bytes.is_empty() {
            return;
        }
        follower.append_as_follower(&bytes, LEADER, NOW_MS).unwrap();
    }
}

#[test]
fn the_last_stable_offset_waits_for_the_end_of_every_transaction_and_for_its_replicas() {
    let world = World::new(LogConfig::default());
    let (_directory, log) = world.log();
    append_numbers(&log, 2);
    commit_all(&log);
    assert_eq!(log.last_stable_offset(), 2);
    assert_eq!((write(&log, 1, 0), write(&log, 2, 0)), (2, 3));
    append_numbers(&log, 1);
    assert_eq!(log.last_stable_offset(), 2);
    commit_all(&log);
    assert_eq!((log.high_watermark(), log.last_stable_offset()), (5, 2));
    assert_eq!(end(&log, 1, true), 5);
    assert_eq!(log.last_stable_offset(), 2, "no replica has the marker");
    log.set_high_watermark(5);
    assert_eq!(
        log.last_stable_offset(),
        2,
        "what is before the marker is not enough"
    );
    log.set_high_watermark(6);
    assert_eq!(log.last_stable_offset(), 3);
    assert_eq!(end(&log, 2, false), 6);
    commit_all(&log);
    assert_eq!(log.last_stable_offset(), 7);
    assert_eq!(log.aborted_in(0, 7).unwrap(), [aborted(2, 3, 6, 7)]);
    // The same marker once more changes nothing for readers.
    end(&log, 2, false);
    commit_all(&log);
    assert_eq!(log.last_stable_offset(), 8);
    assert_eq!(log.aborted_in(0, 8).unwrap(), [aborted(2, 3, 6, 7)]);
}

#[test]
fn what_a_reader_gets_overlaps_with_what_it_reads() {
    let world = World::new(small_segments(400));
    let (_directory, log) = world.log();
    // Begins in the first segment and ends in a later one.
    write(&log, 1, 0);
    for n in 0..6 {
        write(&log, 2, n);
        end(&log, 2, n % 2 == 0);
    }
    append_numbers(&log, 9);
    end(&log, 1, false);
    commit_all(&log);
    assert!(log.segment_count() > 3);
    let short = [(2, 3, 4), (2, 7, 8), (2, 11, 12)]
        .map(|(id, first, marker)| aborted(id, first, marker, 0));
    let long = aborted(1, 0, 22, 23);
    let found = |from, to| log.aborted_in(from, to).unwrap();
    assert_eq!(
        found(0, 23),
        [short[0], short[1], short[2], long],
        "by markers"
    );
    assert_eq!(
        found(0, 1),
        [short[0]][..0]
            .iter()
            .copied()
            .chain([long])
            .collect::<Vec<_>>()
    );
    assert_eq!(found(8, 9), [short[1], long]);
    assert_eq!(found(9, 11), [long]);
    assert_eq!(found(23, 23), []);
    let indexes = files(&world.partition_dir(), ".txnindex");
    assert!(
        indexes.len() < log.segment_count(),
        "only where there are any: {indexes:?}"
    );
}

#[test]
fn the_first_batch_needs_a_guard_that_nothing_has_ended() {
    let world = World::new(LogConfig::default());
    let (_directory, log) = world.log();
    let first = transactional(1, 0, 0, &[b"a"]);
    let header = BatchHeader::parse(&first).unwrap();
    let refused = |guard| {
        let mut bytes = first.clone();
        let origin = AppendOrigin::Client(guard);
        let error = log.append_from(origin, &mut bytes, 0, NOW_MS).unwrap_err();
        assert_eq!(error.error_code(), ErrorCode::InvalidTxnState, "{error}");
    };
    refused(None);
    let guard = log.begin_verification(&header, false, NOW_MS).unwrap();
    assert!(guard.is_some());
    // The transaction is aborted between the answer of the coordinator and the append.
    end(&log, 1, false);
    refused(guard);
    let guard = log.begin_verification(&header, false, NOW_MS).unwrap();
    let mut bytes = first.clone();
    let origin = AppendOrigin::Client(guard);
    log.append_from(origin, &mut bytes, 0, NOW_MS).unwrap();
    let second = transactional(1, 0, 1, &[b"b"]);
    let header = BatchHeader::parse(&second).unwrap();
    assert_eq!(
        log.begin_verification(&header, false, NOW_MS).unwrap(),
        None
    );
    append(&log, second);
    // As it came before: a duplicate.
    assert!(append(&log, first.clone()).duplicate);
    assert_eq!(log.log_end_offset(), 3);
}

#[test]
fn a_coordinator_appends_to_the_transaction_of_a_producer() {
    let world = World::new(LogConfig::default());
    let (_directory, log) = world.log();
    let offsets = transactional(1, 0, -1, &[b"offset"]);
    let header = BatchHeader::parse(&offsets).unwrap();
    let append = |guard| {
        let mut bytes = offsets.clone();
        log.append_from(AppendOrigin::Coordinator(guard), &mut bytes, 0, NOW_MS)
    };
    assert_eq!(
        append(None).unwrap_err().error_code(),
        ErrorCode::InvalidTxnState
    );
    let guard = log.begin_verification(&header, true, NOW_MS).unwrap();
    assert!(!append(guard).unwrap().duplicate);
    assert!(!append(None).unwrap().duplicate);
    commit_all(&log);
    assert_eq!(log.last_stable_offset(), 0);
    end(&log, 1, true);
    commit_all(&log);
    assert_eq!(log.last_stable_offset(), 3);
}

#[test]
fn markers_that_come_too_late_change_nothing() {
    let world = World::new(LogConfig::default());
    let (_directory, log) = world.log();
    write(&log, 1, 0);
    let marker = TransactionMarker {
        producer_id: 1,
        producer_epoch: 1,
        coordinator_epoch: 5,
        is_commit: true,
    };
    let end = |marker, version| log.append_marker(marker, version, 0, NOW_MS);
    let code = |marker, version| end(marker, version).unwrap_err().error_code();
    let of_epoch = |producer_epoch| TransactionMarker {
        producer_epoch,
        ..marker
    };
    assert_eq!(code(of_epoch(0), 2), ErrorCode::InvalidProducerEpoch);
    assert_eq!(code(of_epoch(-1), 1), ErrorCode::InvalidRecord);
    assert_eq!(log.log_end_offset(), 1);
    assert_eq!(end(marker, 2).unwrap().last_offset, 1);
    // The answer was lost.
    assert_eq!(end(marker, 2).unwrap().last_offset, 2);
    let older = TransactionMarker {
        coordinator_epoch: 4,
        ..marker
    };
    assert_eq!(code(older, 2), ErrorCode::TransactionCoordinatorFenced);
    assert_eq!(code(of_epoch(0), 1), ErrorCode::InvalidProducerEpoch);
    let error = log.append_marker(marker, 2, -1, NOW_MS).unwrap_err();
    assert_eq!(error.error_code(), ErrorCode::NotLeaderOrFollower);
    assert_eq!(log.log_end_offset(), 3);
    // The epoch that the marker began is the producer's now.
    let zombie = append_verified(&log, 0, transactional(1, 0, 1, &[b"a"])).unwrap_err();
    assert_eq!(zombie.error_code(), ErrorCode::InvalidProducerEpoch);
    append_verified(&log, 0, transactional(1, 1, 0, &[b"a"])).unwrap();
}

#[test]
fn markers_take_the_clock_of_the_broker_where_records_do() {
    let world = World::new(LogConfig {
        message_timestamp_type: TimestampType::LogAppendTime,
        ..LogConfig::default()
    });
    let (_directory, log) = world.log();
    write(&log, 1, 0);
    let marker = end(&log, 1, true);
    let bytes = log.read(marker, 1000, i64::MAX, true).unwrap();
    let (header, batch) = Batches::new(&bytes).next().unwrap().unwrap();
    header.check_crc(batch).unwrap();
    assert!(header.is_log_append_time() && header.is_control());
}

#[test]
fn followers_know_what_the_leader_knows() {
    let (leading, following) = (
        World::new(small_segments(500)),
        World::new(small_segments(500)),
    );
    let ((_a, leader), (b, follower)) = (leading.log(), following.log());
    for n in 0..12 {
        write(&leader, 1, n);
        write(&leader, 2, n);
        end(&leader, 2, n % 3 == 0);
        if n % 4 == 1 {
            end(&leader, 1, false);
        }
        if n % 2 == 0 {
            follow(&leader, &follower);
        }
    }
    follow(&leader, &follower);
    let same = |follower: &PartitionLog| {
        let end = leader.log_end_offset();
        for at in 0..=end {
            leader.set_high_watermark(at);
            follower.set_high_watermark(at);
            assert_eq!(
                follower.last_stable_offset(),
                leader.last_stable_offset(),
                "{at}"
            );
        }
        let all = leader.aborted_in(0, end).unwrap();
        assert!(all.len() > 8);
        assert_eq!(follower.aborted_in(0, end).unwrap(), all);
        assert_eq!(follower.active_producers(), leader.active_producers());
    };
    same(&follower);
    let compare_files = || {
        for name in files(&leading.partition_dir(), ".txnindex") {
            let read = |world: &World| fs::read(world.partition_dir().join(&name)).unwrap();
            assert_eq!(read(&leading), read(&following), "{name}");
        }
    };
    compare_files();
    World::stop(b, follower);
    let (_b, follower) = following.log();
    same(&follower);
}

/// What a log knows of transactions, wherever the high watermark is.
pub(crate) fn knows(log: &PartitionLog) -> (Vec<AbortedTransaction>, i64, Vec<ActiveProducer>) {
    commit_all(log);
    let end = log.log_end_offset();
    let aborted = log.aborted_in(log.log_start_offset(), end).unwrap();
    (aborted, log.last_stable_offset(), log.active_producers())
}

pub(crate) fn fill(log: &PartitionLog) {
    for n in 0..10 {
        write(log, 1, n);
        end(log, 1, n % 2 == 0);
    }
    write(log, 2, 0);
    append_numbers(log, 3);
}

type Open = (LogDirectory, Arc<PartitionLog>);

fn reopened(world: &World, page_cache: PageCache) -> Open {
    let (directory, report) = world.open_after(page_cache);
    assert!(
        report.offline.is_empty() && report.lost.is_empty(),
        "{report:?}"
    );
    let log = directory.get(&partition()).unwrap();
    (directory, log)
}

#[test]
fn a_cut_takes_markers_and_what_they_said() {
    let world = World::new(small_segments(400));
    let (directory, log) = world.log();
    write(&log, 1, 0);
    end(&log, 1, false);
    write(&log, 1, 1);
    write(&log, 2, 0);
    append_numbers(&log, 2);
    end(&log, 1, false);
    end(&log, 2, true);
    log.set_high_watermark(2);
    let all = [aborted(1, 0, 1, 2), aborted(1, 2, 6, 3)];
    assert_eq!(log.aborted_in(0, 8).unwrap(), all);
    let before = log.last_stable_offset();
    // The marker of 2, then that of 1, then its record.
    for (to, aborted, stable) in [(7, &all[..], 3), (6, &all[..1], 2), (2, &all[..1], 2)] {
        directory.truncate(&log, to, NOW_MS).unwrap();
        assert_eq!(log.aborted_in(0, 8).unwrap(), aborted, "{to}");
        assert!(log.last_stable_offset() >= before);
        log.set_high_watermark(log.log_end_offset());
        assert_eq!(log.last_stable_offset(), stable, "{to}");
        world.handles.close_idle();
    }
    directory.truncate(&log, 1, NOW_MS).unwrap();
    assert_eq!(log.aborted_in(0, 8).unwrap(), []);
    assert_eq!(log.last_stable_offset(), 0);
    end(&log, 1, true);
    commit_all(&log);
    assert_eq!(
        (log.last_stable_offset(), log.aborted_in(0, 8).unwrap()),
        (2, vec![])
    );
}

#[test]
fn a_log_that_begins_anew_has_no_transactions() {
    let world = World::new(LogConfig::default());
    let (directory, log) = world.log();
    fill(&log);
    commit_all(&log);
    assert_eq!(log.last_stable_offset(), 20);
    directory.reset(&log, 100, NOW_MS).unwrap();
    assert_eq!(log.last_stable_offset(), 100);
    assert_eq!(log.aborted_in(0, 200).unwrap(), []);
    assert_eq!(files(&world.partition_dir(), ".txnindex"), [""; 0]);
    write(&log, 2, 0);
    commit_all(&log);
    assert_eq!(log.last_stable_offset(), 100);
}

#[test]
fn deleting_into_an_open_transaction_never_takes_the_stable_offset_back() {
    let world = World::new(small_segments(300));
    let (directory, log) = world.log();
    write(&log, 1, 0);
    append_numbers(&log, 12);
    commit_all(&log);
    assert_eq!(log.last_stable_offset(), 0);
    log.advance_log_start_offset(7).unwrap();
    assert_eq!(log.last_stable_offset(), 7);
    assert!(log.apply_retention(NOW_MS).unwrap() > 0);
    assert_eq!((log.log_start_offset(), log.last_stable_offset()), (7, 7));
    directory.checkpoint().unwrap();
    World::stop(directory, log);
    let (_directory, log) = world.log();
    assert_eq!(log.last_stable_offset(), 7);
    let marker = end(&log, 1, false);
    commit_all(&log);
    assert_eq!(log.last_stable_offset(), marker + 1);
    // Nobody finds the begin any more.
    assert_eq!(
        log.aborted_in(7, 99).unwrap(),
        [aborted(1, 0, marker, marker + 1)]
    );
}

#[test]
fn retention_takes_the_index_with_the_segment() {
    let world = World::new(LogConfig {
        retention_bytes: Some(1),
        ..small_segments(300)
    });
    let (_directory, log) = world.log();
    fill(&log);
    end(&log, 2, true);
    commit_all(&log);
    assert!(log.apply_retention(NOW_MS).unwrap() > 3);
    // Who has read the first segment must not take its records for committed.
    let error = log.aborted_in(0, 9).unwrap_err();
    assert_eq!(error.error_code(), ErrorCode::OffsetOutOfRange, "{error}");
    assert_eq!(log.aborted_in(log.log_start_offset(), 99).unwrap(), []);
    assert_eq!(files(&world.partition_dir(), ".txnindex"), [""; 0]);
    assert_eq!(log.last_stable_offset(), log.log_end_offset());
}

/// Nobody would miss the index: what it says of would be served as if it were committed.
#[test]
fn retention_that_stops_in_the_middle_leaves_no_segment_without_its_index() {
    let world = World::new(LogConfig {
        retention_bytes: Some(1),
        ..small_segments(300)
    });
    let (directory, log) = world.log();
    fill(&log);
    commit_all(&log);
    // No start walks over it again.
    log.flush().unwrap();
    directory.checkpoint().unwrap();
    let before = log.aborted_in(0, log.log_end_offset()).unwrap();
    // Of a segment with a whole transaction.
    let index = world
        .partition_dir()
        .join(&files(&world.partition_dir(), ".txnindex")[1]);
    let (file, aside) = (index.with_extension("log"), world.dir.path().join("aside"));
    // What cannot be removed.
    fs::rename(&file, &aside).unwrap();
    fs::create_dir(&file).unwrap();
    log.apply_retention(NOW_MS).unwrap_err();
    assert!(index.exists());
    drop((directory, log));
    fs::remove_dir(&file).unwrap();
    fs::rename(&aside, &file).unwrap();
    let (_directory, log) = reopened(&world, PageCache::Survived);
    commit_all(&log);
    let (start, end) = (log.log_start_offset(), log.log_end_offset());
    assert_eq!(start, 6);
    let left = before.into_iter().filter(|it| it.marker_offset >= start);
    assert_eq!(
        log.aborted_in(start, end).unwrap(),
        left.collect::<Vec<_>>()
    );
}

#[test]
fn a_marker_that_finds_no_room_is_not_there() {
    let world = World::new(LogConfig::default());
    let (directory, log) = world.log();
    write(&log, 1, 0);
    // No file can be made under that name.
    let path = world.partition_dir().join("00000000000000000000.txnindex");
    fs::create_dir(&path).unwrap();
    let marker = TransactionMarker {
        producer_id: 1,
        producer_epoch: 0,
        coordinator_epoch: 5,
        is_commit: false,
    };
    let error = log.append_marker(marker, 1, 0, NOW_MS).unwrap_err();
    assert_eq!(error.error_code(), ErrorCode::KafkaStorageError);
    commit_all(&log);
    assert_eq!((log.log_end_offset(), log.last_stable_offset()), (1, 0));
    fs::remove_dir(&path).unwrap();
    log.append_marker(marker, 1, 0, NOW_MS).unwrap();
    commit_all(&log);
    let expected = [aborted(1, 0, 1, 2)];
    assert_eq!(log.aborted_in(0, 2).unwrap(), expected);
    World::stop(directory, log);
    let (_directory, log) = world.log();
    assert_eq!(log.aborted_in(0, 2).unwrap(), expected);
}
