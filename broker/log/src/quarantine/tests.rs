//! Segments that the disk does not give as a whole.

use std::sync::Arc;

use foz_protocol::batch::Batches;
use foz_protocol::codec::Compression;
use foz_protocol::record::{BatchBuilder, RecordToWrite};
use uuid::Uuid;

use super::*;
use crate::error::ReadError;
use crate::reading_files::bad_sectors;
use crate::{FileHandles, LogConfig, LogDirectory, PageCache, PartitionLog, TopicPartition};

mod transactions;

const NOW_MS: i64 = 1_700_000_000_000;
/// Of a record: a page has the end of one batch and the beginning of another.
const VALUE_BYTES: usize = 5000;
const COUNT: i64 = 40;

struct World {
    data: tempfile::TempDir,
    directory: LogDirectory,
    log: Arc<PartitionLog>,
    path: PathBuf,
    /// Where each batch begins.
    begins: Vec<u64>,
    bytes: Vec<u8>,
}

fn append(log: &PartitionLog, count: i64) {
    for _ in 0..count {
        let mut builder = BatchBuilder::new(Compression::None);
        let value = [log.log_end_offset() as u8; VALUE_BYTES];
        builder.push(&RecordToWrite {
            timestamp_ms: NOW_MS,
            value: Some(&value),
            ..RecordToWrite::default()
        });
        let mut batch = builder.build().unwrap();
        log.append_as_leader(&mut batch, 1, NOW_MS).unwrap();
    }
}

fn open(data: &Path) -> LogDirectory {
    let config_of = |_: &TopicPartition, _| LogConfig::default();
    let (lost, handles) = (PageCache::Survived, FileHandles::new(8));
    let opened = LogDirectory::open(data, lost, 1, &handles, NOW_MS, &config_of, &|_| {});
    opened.unwrap().0
}

impl World {
    /// One segment.
    fn new() -> Self {
        let data = tempfile::tempdir().unwrap();
        let directory = open(data.path());
        let partition = TopicPartition::new("orders", 0);
        let config = LogConfig::default();
        let log = directory.create(partition, Uuid::from_u128(7), config, NOW_MS);
        let log = log.unwrap();
        append(&log, COUNT);
        log.flush().unwrap();
        directory.checkpoint().unwrap();
        let path = data.path().join("orders-0/00000000000000000000.log");
        let bytes = fs::read(&path).unwrap();
        let mut begins = vec![0];
        for batch in Batches::new(&bytes) {
            begins.push(begins.last().unwrap() + batch.unwrap().1.len() as u64);
        }
        Self {
            data,
            directory,
            log,
            path,
            begins,
            bytes,
        }
    }

    /// Around this byte.
    fn lose_page(&self, at: u64) -> Range<u64> {
        let from = at / PAGE_BYTES * PAGE_BYTES;
        bad_sectors::add(&self.path, from..from + PAGE_BYTES);
        from..from + PAGE_BYTES
    }

    fn assert_unreadable(&self, offset: i64) {
        let error = self.log.read(offset, 1, i64::MAX, true).unwrap_err();
        let ReadError::Storage(error) = error else {
            panic!("{error}")
        };
        assert!(error.is_of_disk() && error.is_failed_read(), "{error}");
    }

    /// It ends there, and goes on; the copy has all but these bytes.
    fn check(&self, from_offset: i64, end: i64, bad: Range<u64>) {
        let kept = self.directory.quarantine(&self.log, from_offset, NOW_MS);
        let kept = kept.unwrap();
        assert_eq!(kept.len(), 1, "{kept:?}");
        assert!(!self.log.has_failed());
        assert_eq!(self.log.log_end_offset(), end);
        let cut = fs::metadata(&self.path).unwrap().len();
        assert_eq!(cut, self.begins[end as usize]);
        // To cut a page, or to write to it, in part the kernel reads it.
        let is_in_it = cut > bad.start && cut < bad.end;
        assert!(!is_in_it, "{cut} {bad:?}");
        let mut expected = self.bytes.clone();
        let in_file = bad.start as usize..expected.len().min(bad.end as usize);
        expected[in_file].fill(0);
        assert!(fs::read(&kept[0]).unwrap() == expected);
        bad_sectors::mend(&self.path);
        append(&self.log, 3);
        self.log.flush().unwrap();
        self.directory.checkpoint().unwrap();
    }

    /// As a start finds it.
    fn reopened(self, end: i64) {
        drop((self.directory, self.log));
        let directory = open(self.data.path());
        let log = directory.get(&TopicPartition::new("orders", 0)).unwrap();
        assert_eq!(log.log_end_offset(), end);
        let mut offset = 0;
        while offset < end {
            for batch in Batches::new(&log.read(offset, 1 << 20, end, true).unwrap()) {
                let (header, batch) = batch.unwrap();
                header.check_crc(batch).unwrap();
                offset = header.next_offset();
            }
        }
    }
}

#[test]
fn a_sector_among_the_records_of_a_batch_is_cut_off_and_left_out() {
    for at in [0, 1, 17, COUNT - 1] {
        let world = World::new();
        let begin = world.begins[at as usize];
        let bad = world.lose_page(begin + PAGE_BYTES);
        world.assert_unreadable(at);
        world.check(at, at, bad);
        world.reopened(at + 3);
    }
}

/// What reaches into that page before it goes as well.
#[test]
fn a_sector_under_the_header_of_a_batch_is_cut_off_and_left_out() {
    for at in [1, 2, 17, COUNT - 1] {
        let world = World::new();
        let begin = world.begins[at as usize];
        assert!(
            !begin.is_multiple_of(PAGE_BYTES)
                && world.begins[at as usize - 1] < begin / PAGE_BYTES * PAGE_BYTES
        );
        let bad = world.lose_page(begin);
        world.assert_unreadable(at);
        world.check(at, at - 1, bad);
        world.reopened(at + 2);
    }
    // The whole segment.
    let world = World::new();
    let bad = world.lose_page(0);
    world.assert_unreadable(0);
    world.check(0, 0, bad);
    world.reopened(3);
}

/// Whoever walks over the log meets it.
#[test]
fn a_sector_before_what_was_found_is_cut_off_with_it() {
    let world = World::new();
    let bad = world.lose_page(world.begins[5]);
    world.check(30, 4, bad);
    world.reopened(7);
}

#[test]
fn a_header_that_is_damaged_before_what_was_found_is_cut_off_with_it() {
    let world = World::new();
    let file = fs::OpenOptions::new().write(true).open(&world.path);
    file.unwrap()
        .write_all_at(&[9], world.begins[5] + 16)
        .unwrap();
    let kept = world.directory.quarantine(&world.log, 30, NOW_MS).unwrap();
    assert_eq!((kept.len(), world.log.log_end_offset()), (1, 5));
    assert!(!world.log.has_failed());
}

#[test]
fn an_index_that_the_disk_does_not_give_is_not_needed() {
    let world = World::new();
    let index = world.path.with_extension("index");
    assert!(fs::metadata(&index).unwrap().len() > 0);
    bad_sectors::add(&index, 0..1 << 20);
    let by_time = world.path.with_extension("timeindex");
    bad_sectors::add(&by_time, 0..1 << 20);
    let found = world.log.offset_for_timestamp(NOW_MS, i64::MAX).unwrap();
    assert_eq!(found.map(|it| it.offset), Some(0));
    assert!(world.log.bytes_from(20).unwrap() >= world.begins[40] - world.begins[20]);
    for offset in [39, 20, 1] {
        let read = world.log.read(offset, 1, i64::MAX, true).unwrap();
        let (header, _) = Batches::new(&read).next().unwrap().unwrap();
        assert_eq!(header.base_offset, offset);
    }
    // Where reading ended.
    assert_eq!(
        world.log.bytes_from(21).unwrap(),
        world.begins[40] - world.begins[21]
    );
}

/// Two spots, and what lies behind each is kept.
#[test]
fn all_that_can_be_read_is_kept() {
    let data = tempfile::tempdir().unwrap();
    let (from, to) = (data.path().join("from"), data.path().join("to"));
    let bytes = vec![7; (5 * CHUNK_BYTES + 100) as usize];
    fs::write(&from, &bytes).unwrap();
    let spot = u64::from(FAILED_READS_MAX) / 2 * PAGE_BYTES;
    let mut expected = bytes;
    for begins in [CHUNK_BYTES - PAGE_BYTES, 3 * CHUNK_BYTES] {
        bad_sectors::add(&from, begins..begins + spot);
        expected[begins as usize..(begins + spot) as usize].fill(0);
    }
    copy_durably(&from, &to).unwrap();
    assert!(fs::read(&to).unwrap() == expected);
}

/// The cut that it was for is not made then: the segment is all that there is.
#[test]
fn a_disk_that_gives_next_to_nothing_is_not_asked_for_ever() {
    let data = tempfile::tempdir().unwrap();
    let (from, to) = (data.path().join("from"), data.path().join("to"));
    fs::write(&from, vec![7; 4 * CHUNK_BYTES as usize]).unwrap();
    let spot = (u64::from(FAILED_READS_MAX) + 1) * PAGE_BYTES;
    bad_sectors::add(&from, CHUNK_BYTES..CHUNK_BYTES + spot);
    let failed = copy_durably(&from, &to).unwrap_err();
    assert_eq!(failed.action, "copy");
    assert!(failed.is_of_disk() && !failed.is_failed_read());
    // And whoever writes is to hear of it.
    bad_sectors::mend(&from);
    let missing = copy_durably(&from, &data.path().join("nowhere/to")).unwrap_err();
    assert_eq!(missing.action, "copy");
    bad_sectors::add(&from, 0..PAGE_BYTES);
    let missing = copy_durably(&from, &data.path().join("nowhere/to")).unwrap_err();
    assert_eq!(missing.action, "create");
}
