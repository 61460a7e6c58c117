//! What the stories share.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use foz_log::{
    Appended, CleanShutdown, FileHandles, FollowedLeader, LogConfig, LogDirectory, OpenError,
    OpenReport, PageCache, PartitionLog, TopicPartition,
};
use foz_protocol::batch::Batches;
use foz_protocol::codec::Compression;
use foz_protocol::record::{BatchBuilder, RecordToWrite, Records, record_bytes};
use uuid::Uuid;

pub(crate) const NOW_MS: i64 = 1_700_000_000_000;
/// Of which no gap is taken.
pub(crate) const LEADER: FollowedLeader = FollowedLeader {
    epoch: 0,
    high_watermark: 0,
};
pub(crate) const TOPIC_ID: Uuid = Uuid::from_u128(0x0102_0304);

/// A data directory with one partition, opened and closed as the story wants.
pub(crate) struct World {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) handles: Arc<FileHandles>,
    pub(crate) config: LogConfig,
}

impl World {
    pub(crate) fn new(config: LogConfig) -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self {
            dir,
            handles: FileHandles::new(16),
            config,
        }
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    pub(crate) fn partition_dir(&self) -> PathBuf {
        self.data().join(partition().to_string())
    }

    /// What was not flushed may be gone.
    pub(crate) fn open(&self) -> (LogDirectory, OpenReport) {
        self.open_after(PageCache::Lost)
    }

    pub(crate) fn open_after(&self, page_cache: PageCache) -> (LogDirectory, OpenReport) {
        self.try_open(page_cache).unwrap()
    }

    pub(crate) fn try_open(
        &self,
        page_cache: PageCache,
    ) -> Result<(LogDirectory, OpenReport), OpenError> {
        let (data, handles) = (self.data(), &self.handles);
        let config_of = |_: &TopicPartition, _| self.config.clone();
        LogDirectory::open(&data, page_cache, 2, handles, NOW_MS, &config_of, &|_| {})
    }

    /// The directory with its one partition, made when it is not there.
    pub(crate) fn log(&self) -> (LogDirectory, Arc<PartitionLog>) {
        let (directory, report) = self.open();
        assert!(report.offline.is_empty(), "{:?}", report.offline);
        let log = directory.get(&partition()).unwrap_or_else(|| {
            directory
                .create(partition(), TOPIC_ID, self.config.clone(), NOW_MS)
                .unwrap()
        });
        (directory, log)
    }

    pub(crate) fn stop(directory: LogDirectory, log: Arc<PartitionLog>) {
        drop(log);
        directory
            .close_cleanly(CleanShutdown { broker_epoch: 1 })
            .unwrap();
        drop(directory);
    }
}

pub(crate) fn partition() -> TopicPartition {
    TopicPartition::new("orders", 0)
}

pub(crate) fn small_segments(segment_bytes: u64) -> LogConfig {
    LogConfig {
        segment_bytes,
        index_interval_bytes: 100,
        ..LogConfig::default()
    }
}

/// One batch with these values, stamped with `NOW_MS`.
pub(crate) fn batch(values: &[&[u8]]) -> Vec<u8> {
    batch_at(values, NOW_MS)
}

pub(crate) fn batch_at(values: &[&[u8]], timestamp_ms: i64) -> Vec<u8> {
    let records: Vec<_> = values.iter().map(|value| (timestamp_ms, *value)).collect();
    build(BatchBuilder::new(Compression::None), &records)
}

pub(crate) fn idempotent(id: i64, epoch: i16, sequence: i32, values: &[&[u8]]) -> Vec<u8> {
    let records: Vec<_> = values.iter().map(|value| (NOW_MS, *value)).collect();
    build(
        BatchBuilder::new(Compression::None).idempotent(id, epoch, sequence),
        &records,
    )
}

pub(crate) fn build(mut builder: BatchBuilder, records: &[(i64, &[u8])]) -> Vec<u8> {
    for (timestamp_ms, value) in records {
        let record = RecordToWrite {
            timestamp_ms: *timestamp_ms,
            value: Some(value),
            ..RecordToWrite::default()
        };
        builder.push(&record);
    }
    builder.build().unwrap()
}

pub(crate) fn append(log: &PartitionLog, mut bytes: Vec<u8>) -> Appended {
    log.append_as_leader(&mut bytes, 0, NOW_MS).unwrap()
}

/// Appends `count` batches of one record each: "0", "1", and so on from the end of the log.
pub(crate) fn append_numbers(log: &PartitionLog, count: i64) {
    for _ in 0..count {
        let value = log.log_end_offset().to_string();
        append(log, batch(&[value.as_bytes()]));
    }
}

/// Every record from `offset` on as (offset, value), with all CRCs checked.
pub(crate) fn read_from(log: &PartitionLog, mut offset: i64) -> Vec<(i64, Vec<u8>)> {
    let mut records = Vec::new();
    loop {
        let bytes = log.read(offset, 300, i64::MAX, true).unwrap();
        if bytes.is_empty() {
            return records;
        }
        records.extend(decode(&bytes).into_iter().filter(|(at, _)| *at >= offset));
        offset = records.last().unwrap().0 + 1;
    }
}

pub(crate) fn decode(bytes: &[u8]) -> Vec<(i64, Vec<u8>)> {
    let mut records = Vec::new();
    for parsed in Batches::new(bytes) {
        let (header, batch) = parsed.unwrap();
        header.check_crc(batch).unwrap();
        let bytes = record_bytes(&header, batch, 1 << 20).unwrap();
        for record in Records::new(&header, &bytes) {
            let record = record.unwrap();
            records.push((record.offset(&header), record.value.unwrap().to_vec()));
        }
    }
    records
}

/// Checks that the log holds exactly what [`append_numbers`] put into it.
pub(crate) fn assert_numbers(log: &PartitionLog, from: i64, to: i64) {
    assert_eq!((log.log_start_offset(), log.log_end_offset()), (from, to));
    let expected: Vec<_> = (from..to)
        .map(|n| (n, n.to_string().into_bytes()))
        .collect();
    assert_eq!(read_from(log, from), expected);
}

/// Names of the files in `dir` that end with `suffix`, sorted.
pub(crate) fn files(dir: &Path, suffix: &str) -> Vec<String> {
    let mut names: Vec<_> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(suffix))
        .collect();
    names.sort();
    names
}
