//! What a start after a kill leaves to be flushed of transactions.

use foz_protocol::batch::BatchHeader;

use super::*;
use crate::reading_files::bad_sectors;
use crate::transaction_index::AbortedTransaction;
use crate::{AppendOrigin, TransactionMarker};

/// One record, and that it does not count.
fn abort(log: &PartitionLog, sequence: i32) {
    let mut builder = BatchBuilder::new(Compression::None)
        .idempotent(9, 0, sequence)
        .transactional();
    builder.push(&RecordToWrite {
        timestamp_ms: NOW_MS,
        ..RecordToWrite::default()
    });
    let mut batch = builder.build().unwrap();
    let header = BatchHeader::parse(&batch).unwrap();
    let guard = log.begin_verification(&header, false, NOW_MS).unwrap();
    log.append_from(AppendOrigin::Client(guard), &mut batch, 3, NOW_MS)
        .unwrap();
    let marker = TransactionMarker {
        producer_id: 9,
        producer_epoch: 0,
        coordinator_epoch: 1,
        is_commit: false,
    };
    log.append_marker(marker, 1, 3, NOW_MS).unwrap();
}

/// As [`World::killed`], but for what was appended.
fn killed() -> (World, Vec<AbortedTransaction>) {
    let world = World {
        root: tempfile::tempdir().unwrap(),
        handles: FileHandles::new(16),
    };
    let Open { directory, log, .. } = world.open(PageCache::Survived);
    for sequence in 0..10 {
        if sequence == FLUSHED as i32 / 2 {
            log.flush().unwrap();
        }
        abort(&log, sequence);
    }
    log.set_high_watermark(END);
    directory.checkpoint().unwrap();
    let aborted = log.aborted_in(0, END).unwrap();
    assert_eq!((aborted.len(), log.log_end_offset()), (10, END));
    drop((directory, log));
    world.handles.flushes.take();
    (world, aborted)
}

fn transaction_indexes(world: &World) -> Vec<String> {
    let logs = world.log_files().into_iter();
    logs.map(|log| log.replace(".log", ".txnindex")).collect()
}

#[test]
fn aborted_transactions_are_flushed_before_anybody_counts_on_them() {
    let (world, aborted) = killed();
    let open = world.open(PageCache::Survived);
    assert_eq!(world.flushed_files(), BTreeSet::new());
    world.handles.flushes.beside.lock().clear();
    open.log.flush_backlog().unwrap();
    let flushed = world.flushed_files();
    let indexes = transaction_indexes(&world);
    let closed = indexes[..indexes.len() - 1].iter();
    let unflushed: Vec<_> = closed
        .filter(|it| base_offset(Path::new(it)) >= FLUSHED)
        .collect();
    assert!(unflushed.len() > 2, "{indexes:?}");
    assert!(unflushed.iter().all(|it| flushed.contains(*it)));
    // Their names, too.
    assert!(
        world
            .handles
            .flushes
            .beside
            .lock()
            .contains(&world.log_path())
    );
    assert_eq!(open.log.aborted_in(0, END).unwrap(), aborted);
}

/// The recovery point stays before the segment whose index is not on the disk: the next start walks over it.
#[test]
fn a_transaction_index_that_cannot_be_flushed_holds_the_recovery_point_back() {
    let (world, aborted) = killed();
    let open = world.open(PageCache::Survived);
    *world.handles.flushes.failing.lock() = Some(".txnindex");
    open.log.flush_backlog().unwrap_err();
    *world.handles.flushes.failing.lock() = None;
    assert_eq!(open.log.flushed_offset(), FLUSHED);
    open.directory.checkpoint().unwrap();
    assert_eq!(world.recovery_point(), FLUSHED);
    drop(open);
    // Those from there on are lost.
    for index in transaction_indexes(&world) {
        if base_offset(Path::new(&index)) >= FLUSHED {
            fs::remove_file(world.log_path().join(index)).unwrap();
        }
    }
    let open = world.open(PageCache::Survived);
    assert_eq!(open.log.aborted_in(0, END).unwrap(), aborted);
}

/// Of a segment that is walked over, and of one that is not.
#[test]
fn a_transaction_index_that_the_disk_does_not_give_is_made_anew() {
    for page_cache in [PageCache::Survived, PageCache::Lost] {
        for at in [0, 3] {
            let (world, aborted) = killed();
            let index = &transaction_indexes(&world)[at];
            let path = world.log_path().join(index);
            let bytes = fs::read(&path).unwrap();
            bad_sectors::add(&path, 0..34);
            let open = world.open(page_cache);
            assert_eq!(open.report.findings.len(), 1, "{:?}", open.report);
            assert_eq!(open.log.aborted_in(0, END).unwrap(), aborted);
            assert_eq!(fs::read(&path).unwrap(), bytes);
        }
    }
}

/// The log knows all that they say.
#[test]
fn snapshots_that_the_disk_does_not_give_are_not_needed() {
    for page_cache in [PageCache::Survived, PageCache::Lost] {
        let (world, aborted) = killed();
        let entries = fs::read_dir(world.log_path()).unwrap();
        for path in entries.map(|it| it.unwrap().path()) {
            if path.extension().is_some_and(|it| it == "snapshot") {
                bad_sectors::add(&path, 0..10);
            }
        }
        let open = world.open(page_cache);
        assert!(!open.report.findings.is_empty());
        assert_eq!(open.log.aborted_in(0, END).unwrap(), aborted);
        open.directory.truncate(&open.log, END - 3, NOW_MS).unwrap();
        let left = aborted.iter().filter(|it| it.marker_offset < END - 3);
        let left: Vec<_> = left.copied().collect();
        assert_eq!(open.log.aborted_in(0, END).unwrap(), left);
        assert_eq!(open.log.last_stable_offset(), END - 4);
    }
}

fn base_offset(path: &Path) -> i64 {
    path.file_stem().unwrap().to_str().unwrap().parse().unwrap()
}
