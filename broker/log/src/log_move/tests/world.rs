//! Two data directories, and a log that moves from one to the other.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use foz_protocol::batch::Batches;
use foz_protocol::codec::Compression;
use foz_protocol::record::{BatchBuilder, RecordToWrite};
use uuid::Uuid;

use crate::file_steps::{FileStep, FileSteps};
use crate::log_directory::FinishedMoves;
use crate::{
    FileHandles, Finished, LogConfig, LogDirectory, LogMove, MoveError, OpenReport, PageCache,
    PartitionLog, TopicPartition, finish_moves,
};

pub(super) const NOW_MS: i64 = 1_700_000_000_000;
pub(super) const TOPIC_ID: Uuid = Uuid::from_u128(7);
const EPOCH: i32 = 3;

pub(super) fn partition() -> TopicPartition {
    TopicPartition::new("orders", 0)
}

pub(super) fn config() -> LogConfig {
    LogConfig {
        segment_bytes: 500,
        index_interval_bytes: 100,
        ..LogConfig::default()
    }
}

/// In memory where that can be: tens of thousands of flushes are no test of a disk.
pub(super) fn new_root() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").unwrap_or_else(|_| tempfile::tempdir().unwrap())
}

/// Both directories, open.
pub(super) struct World {
    pub(super) handles: Arc<FileHandles>,
    pub(super) directories: Vec<LogDirectory>,
    pub(super) reports: Vec<OpenReport>,
    pub(super) moves: FinishedMoves,
}

impl World {
    pub(super) fn open(root: &Path, page_cache: PageCache) -> Self {
        let paths = paths(root);
        let moves = finish_moves(&paths, true).unwrap();
        Self::open_only(root, page_cache, moves)
    }

    pub(super) fn open_only(root: &Path, page_cache: PageCache, moves: FinishedMoves) -> Self {
        let handles = FileHandles::new(64);
        let config_of = |_: &TopicPartition, _| config();
        let opened = paths(root).into_iter().map(|path| {
            let nothing = &|_| {};
            LogDirectory::open(&path, page_cache, 1, &handles, NOW_MS, &config_of, nothing).unwrap()
        });
        let (directories, reports) = opened.unzip();
        Self {
            handles,
            directories,
            reports,
            moves,
        }
    }

    pub(super) fn create(&self) -> Arc<PartitionLog> {
        let created = self.directories[0].create(partition(), TOPIC_ID, config(), NOW_MS);
        created.unwrap()
    }

    /// With the directory that it is in. There is one at most.
    pub(super) fn find(&self) -> Option<(usize, Arc<PartitionLog>)> {
        let logs = self.directories.iter().enumerate();
        let logs = logs.filter_map(|(n, it)| Some((n, it.get(&partition())?)));
        let mut logs: Vec<_> = logs.collect();
        assert!(logs.len() <= 1, "two logs");
        logs.pop()
    }

    pub(super) fn begin(&self, source: &Arc<PartitionLog>) -> LogMove {
        self.directories[1].begin_move(source, NOW_MS).unwrap()
    }

    pub(super) fn copy_all(&self, it: &LogMove) {
        while it.seen(true).unwrap().is_unchecked {
            it.check(&self.directories[1], 300, NOW_MS).unwrap();
        }
        while it.source().log_end_offset() > it.future().log_end_offset()
            || it.seen(true).unwrap().is_cut
        {
            it.copy(&self.directories[1], 300, NOW_MS).unwrap();
        }
    }

    pub(super) fn finish(&self, it: &LogMove) -> Result<Finished, MoveError> {
        self.directories[0].finish_move(&self.directories[1], it, NOW_MS, |_| {})
    }

    pub(super) fn finish_watched(
        &self,
        it: &LogMove,
        watch: &mut dyn FnMut(FileStep, &Path) -> io::Result<()>,
    ) -> Result<Finished, MoveError> {
        let steps = FileSteps::watched(self.handles.operations(), watch);
        let (source, target) = (&self.directories[0], &self.directories[1]);
        source.finish_move_in_steps(target, it, NOW_MS, |_| {}, steps)
    }

    /// From the begin, or from where it is.
    pub(super) fn move_all(&self, source: &Arc<PartitionLog>) -> Arc<PartitionLog> {
        let it = self.begin(source);
        self.copy_all(&it);
        match self.finish(&it).unwrap() {
            Finished::Moved(log) => log,
            Finished::NotYet(why) => panic!("{why}"),
        }
    }

    /// Nothing is said to be lost, and nothing is offline.
    pub(super) fn assert_nothing_is_missed(&self, what: &str) {
        for report in &self.reports {
            let is_well = report.lost.is_empty() && report.offline.is_empty();
            assert!(is_well, "{what}: {report:?}");
        }
    }
}

pub(super) fn paths(root: &Path) -> Vec<PathBuf> {
    ["a", "b"].map(|name| root.join(name)).to_vec()
}

pub(super) fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap().map(Result::unwrap);
    let directories = entries.filter(|it| it.file_type().unwrap().is_dir());
    let mut names: Vec<_> = directories
        .map(|it| it.file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

pub(super) fn append(log: &PartitionLog, count: i64) {
    for _ in 0..count {
        let end = log.log_end_offset();
        let mut builder = BatchBuilder::new(Compression::None).idempotent(9, 0, end as i32);
        builder.push(&RecordToWrite {
            timestamp_ms: NOW_MS,
            value: Some(end.to_string().as_bytes()),
            ..RecordToWrite::default()
        });
        let mut batch = builder.build().unwrap();
        log.append_as_leader(&mut batch, EPOCH, NOW_MS).unwrap();
    }
}

/// Every byte from the start on, with CRCs checked.
pub(super) fn contents(log: &PartitionLog) -> (i64, Vec<u8>) {
    let (start, mut bytes) = (log.log_start_offset(), Vec::new());
    let mut offset = start;
    loop {
        let read = log.read(offset, 700, i64::MAX, true).unwrap();
        if read.is_empty() {
            assert_eq!(offset, log.log_end_offset());
            return (start, bytes);
        }
        for parsed in Batches::new(&read) {
            let (header, batch) = parsed.unwrap();
            header.check_crc(batch).unwrap();
            offset = header.next_offset();
        }
        bytes.extend(read);
    }
}

pub(super) fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy_tree(&entry.path(), &target),
            false => drop(fs::copy(entry.path(), target).unwrap()),
        }
    }
}

pub(super) fn dead() -> io::Error {
    io::Error::other("dead")
}
