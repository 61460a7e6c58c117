//! A partition on disk, filled as a follower is: with any batch.

use std::fs;
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use foz_protocol::batch::{BatchHeader, Batches};
use foz_protocol::codec::Compression;
use foz_protocol::record::{BatchBuilder, RecordToWrite, Records, record_bytes};
use uuid::Uuid;

use crate::file_steps::{FileStep, FileSteps};
use crate::{
    CleanShutdown, Compacted, CompactionError, CompactionLimits, FileHandles, FollowedLeader,
    LogConfig, LogDirectory, PageCache, PartitionLog, TopicPartition,
};

pub(super) const NOW_MS: i64 = 1_700_000_000_000;
/// Of which every gap is taken.
pub(super) const LEADER: FollowedLeader = FollowedLeader {
    epoch: 0,
    high_watermark: i64::MAX,
};
pub(super) const DELETE_RETENTION_MS: i64 = 1_000;
pub(super) const MANY_KEYS: CompactionLimits = CompactionLimits { map_bytes: 1 << 20 };

/// A record as a consumer sees it: offset, key, value, timestamp.
pub(super) type Seen = (i64, Option<Vec<u8>>, Option<Vec<u8>>, i64);

pub(super) struct World {
    pub(super) root: PathBuf,
    pub(super) handles: Arc<FileHandles>,
    pub(super) config: LogConfig,
    open: Option<(LogDirectory, Arc<PartitionLog>)>,
}

pub(super) fn config(segment_bytes: u64) -> LogConfig {
    LogConfig {
        segment_bytes,
        index_interval_bytes: 150,
        cleanup_compact: true,
        cleanup_delete: false,
        delete_retention_ms: DELETE_RETENTION_MS,
        ..LogConfig::default()
    }
}

/// In memory where that can be: tens of thousands of flushes are no test of a disk.
pub(super) fn new_root() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").unwrap_or_else(|_| tempfile::tempdir().unwrap())
}

fn partition() -> TopicPartition {
    TopicPartition::new("changes", 0)
}

impl World {
    pub(super) fn new(root: &Path, config: LogConfig) -> Self {
        let mut world = Self::closed(root, config);
        world.open(PageCache::Survived, NOW_MS);
        world
    }

    pub(super) fn closed(root: &Path, config: LogConfig) -> Self {
        Self {
            root: root.to_path_buf(),
            handles: FileHandles::new(64),
            config,
            open: None,
        }
    }

    /// And everything is checked that a start leaves to be checked later.
    pub(super) fn open(&mut self, page_cache: PageCache, now_ms: i64) {
        self.open_unchecked(page_cache, now_ms);
        self.check_all();
    }

    pub(super) fn check_all(&self) {
        while self.log().has_unchecked_batches() {
            self.log().check_next(u64::MAX).unwrap();
        }
    }

    pub(super) fn open_unchecked(&mut self, page_cache: PageCache, now_ms: i64) {
        let config_of = |_: &TopicPartition, _| self.config.clone();
        let (directory, report) = LogDirectory::open(
            &self.root,
            page_cache,
            1,
            &self.handles,
            now_ms,
            &config_of,
            &|_| {},
        )
        .unwrap();
        assert!(
            report.offline.is_empty() && report.findings.is_empty() && report.lost.is_empty(),
            "{report:?}"
        );
        let log = directory.get(&partition()).unwrap_or_else(|| {
            let config = self.config.clone();
            let id = Uuid::from_u128(7);
            directory.create(partition(), id, config, now_ms).unwrap()
        });
        self.open = Some((directory, log));
    }

    pub(super) fn log(&self) -> &Arc<PartitionLog> {
        &self.open.as_ref().unwrap().1
    }

    pub(super) fn directory(&self) -> &LogDirectory {
        &self.open.as_ref().unwrap().0
    }

    pub(super) fn partition_dir(&self) -> PathBuf {
        self.root.join(partition().to_string())
    }

    /// The process ends without a word.
    pub(super) fn kill(&mut self) {
        self.open = None;
    }

    pub(super) fn stop(&mut self) {
        let (directory, log) = self.open.take().unwrap();
        drop(log);
        directory
            .close_cleanly(CleanShutdown { broker_epoch: 1 })
            .unwrap();
    }

    pub(super) fn append(&self, batch: &[u8]) {
        self.log()
            .append_as_follower(batch, LEADER, NOW_MS)
            .unwrap();
    }

    /// Everything is flushed and below the high watermark.
    pub(super) fn commit(&self) {
        self.log().flush().unwrap();
        self.log().set_high_watermark(self.log().log_end_offset());
    }

    pub(super) fn compact(&self, now_ms: i64) -> Compacted {
        self.compact_with(MANY_KEYS, now_ms).unwrap()
    }

    pub(super) fn compact_with(
        &self,
        limits: CompactionLimits,
        now_ms: i64,
    ) -> Result<Compacted, CompactionError> {
        let go_on = &mut |_| ControlFlow::Continue(());
        self.log().compact(limits, now_ms, go_on)
    }

    pub(super) fn compact_watched(
        &self,
        limits: CompactionLimits,
        now_ms: i64,
        watch: &mut dyn FnMut(FileStep, &Path) -> io::Result<()>,
    ) -> Result<Compacted, CompactionError> {
        let mut go_on = |_| ControlFlow::Continue(());
        let steps = FileSteps::watched(self.handles.operations(), watch);
        self.log()
            .compact_in_steps(limits, now_ms, &mut go_on, steps)
    }

    /// Every batch, with its bytes.
    pub(super) fn batches(&self) -> Vec<(BatchHeader, Vec<u8>)> {
        let log = self.log();
        let (mut offset, mut found) = (log.log_start_offset(), Vec::new());
        loop {
            let bytes = log.read(offset, 700, i64::MAX, true).unwrap();
            if bytes.is_empty() {
                return found;
            }
            for parsed in Batches::new(&bytes) {
                let (header, batch) = parsed.unwrap();
                header.check_crc(batch).unwrap();
                assert!(header.last_offset() >= offset);
                offset = header.next_offset();
                found.push((header, batch.to_vec()));
            }
        }
    }

    /// What consumers get, aborted or not.
    pub(super) fn records(&self) -> Vec<Seen> {
        let data = self.batches().into_iter();
        let data = data.filter(|(header, _)| !header.is_control());
        data.flat_map(|(header, batch)| records_of(&header, &batch))
            .collect()
    }

    /// Base offsets and the offsets where they end, from the files.
    pub(super) fn segments(&self) -> Vec<(i64, i64)> {
        let mut names: Vec<_> = file_names(&self.partition_dir());
        names.retain(|name| name.ends_with(".log"));
        let segments = names.iter().map(|name| {
            let base: i64 = name[..20].parse().unwrap();
            let bytes = fs::read(self.partition_dir().join(name)).unwrap();
            let ends = Batches::new(&bytes).map(|parsed| parsed.unwrap().0.next_offset());
            (base, ends.last().unwrap_or(base))
        });
        segments.collect()
    }
}

pub(super) fn file_names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.collect();
    names.sort();
    names
}

pub(super) fn records_of(header: &BatchHeader, batch: &[u8]) -> Vec<Seen> {
    let bytes = record_bytes(header, batch, 1 << 20).unwrap();
    let records = Records::new(header, &bytes).map(|record| {
        let record = record.unwrap();
        (
            record.offset(header),
            record.key.map(<[u8]>::to_vec),
            record.value.map(<[u8]>::to_vec),
            record.timestamp(header),
        )
    });
    records.collect()
}

/// What a test says of a batch.
#[derive(Debug, Clone, Copy)]
pub(super) struct Spec {
    pub(super) offset: i64,
    pub(super) epoch: i32,
    pub(super) codec: Compression,
    /// Its id and the sequence of the first record.
    pub(super) producer: Option<(i64, i32)>,
    pub(super) is_transactional: bool,
}

pub(super) const PLAIN: Spec = Spec {
    offset: 0,
    epoch: 0,
    codec: Compression::None,
    producer: None,
    is_transactional: false,
};

impl Spec {
    pub(super) fn at(self, offset: i64) -> Self {
        Self { offset, ..self }
    }

    pub(super) fn transactional(self, producer: i64, sequence: i32) -> Self {
        Self {
            producer: Some((producer, sequence)),
            is_transactional: true,
            ..self
        }
    }

    fn builder(self) -> BatchBuilder {
        let mut builder = BatchBuilder::new(self.codec).at(self.offset, self.epoch);
        if let Some((id, sequence)) = self.producer {
            builder = builder.idempotent(id, 0, sequence);
        }
        if self.is_transactional {
            builder = builder.transactional();
        }
        builder
    }

    /// `records`: key, value, timestamp.
    pub(super) fn data(self, records: &[(Option<&str>, Option<&str>, i64)]) -> Vec<u8> {
        let mut builder = self.builder();
        for (key, value, timestamp_ms) in records {
            builder.push(&RecordToWrite {
                timestamp_ms: *timestamp_ms,
                key: key.map(str::as_bytes),
                value: value.map(str::as_bytes),
                headers: &[("h", Some(&b"1"[..]))],
            });
        }
        builder.build().unwrap()
    }

    pub(super) fn marker(self, producer: i64, is_commit: bool, timestamp_ms: i64) -> Vec<u8> {
        let spec = self.transactional(producer, -1);
        let mut builder = spec.builder().control();
        builder.push(&RecordToWrite {
            timestamp_ms,
            key: Some(&[0, 0, 0, u8::from(is_commit)]),
            // Version and coordinator epoch.
            value: Some(&[0; 6]),
            headers: &[],
        });
        builder.build().unwrap()
    }
}
