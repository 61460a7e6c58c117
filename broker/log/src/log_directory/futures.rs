//! Copies of logs that are to be moved here: `topic-N.<unique>-future`. They are in the checkpoints like logs, for there
//! is never a log of their partition in the same directory; and they are given up where one comes.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use uuid::Uuid;

use super::LogDirectory;
use crate::atomic_file::{self, read_small};
use crate::config::LogConfig;
use crate::error::{OpenError, StorageContext, StorageError};
use crate::log_move::{Claim, FutureLog, LogMove, MoveError};
use crate::names::{
    FILE_NAME_BYTES_MAX, FUTURE_DIRECTORY_SUFFIX, TopicPartition, delete_directory_name,
    future_directory_name, parse_numbered_directory_name,
};
use crate::partition_log::PartitionLog;
use crate::partition_metadata;

/// Whose copy it is, where that is too long for the name of the directory.
pub(super) const PARTITION_NAME_FILE: &str = "partition-name";
const PARTITION_NAME_VERSION: &str = "version: 0\n";

/// What the directory of a copy tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FutureDirectory {
    pub(crate) partition: TopicPartition,
    pub(crate) unique: Uuid,
}

impl LogDirectory {
    /// Begins to move `source`, which is in another data directory, to this one; or goes on where there is a copy of it
    /// already, of before a restart too. But a log that is compacted is copied anew: while no [`LogMove`] was held, a tombstone
    /// may have gone from it whose key the copy still has.
    ///
    /// # Errors
    /// [`MoveError::UnderWay`]. [`MoveError::Copy`] with [`OpenError::Exists`] where a log of that partition is in this
    /// directory.
    pub fn begin_move(
        &self,
        source: &Arc<PartitionLog>,
        now_ms: i64,
    ) -> Result<LogMove, MoveError> {
        let partition = source.partition();
        // First: from here on compaction takes nothing away that the copy needs.
        let claim = Claim::of(source).ok_or_else(|| MoveError::UnderWay(partition.to_string()))?;
        if let Some(future) = self.future(partition) {
            let is_of_it = future.topic_id() == source.topic_id() && future.log.is_alive();
            if is_of_it && !may_have_been_compacted(source) {
                let it = LogMove::new(claim, future);
                it.future.log.set_config(source.config());
                // What is cut from now on is told again.
                let _ = source.take_lowest_cut();
                it.find_common_end(self, now_ms)?;
                return Ok(it);
            }
            let given_up = self.give_up_future(partition);
            given_up.map_err(|error| MoveError::Copy(error.into()))?;
        }
        let _ = source.take_lowest_cut();
        let compacted_offset = source.compacted_offset();
        let created = self.create_future(
            partition,
            source.topic_id(),
            source.config(),
            compacted_offset,
            now_ms,
        );
        let future = created.map_err(MoveError::Copy)?;
        Ok(LogMove::new(claim, future))
    }

    /// Every copy that is here.
    #[must_use]
    pub fn futures(&self) -> Vec<Arc<FutureLog>> {
        self.futures.read().values().cloned().collect()
    }

    /// The copy of a partition.
    #[must_use]
    pub fn future(&self, partition: &TopicPartition) -> Option<Arc<FutureLog>> {
        self.futures.read().get(partition).cloned()
    }

    /// Cancels a move: the copy is deleted, its files with [`Self::remove_deleted`]. It is fine when there is none, and
    /// where a move has come to its end meanwhile nothing happens. To be called before a move to a third directory begins, and
    /// before the log is deleted or buried: a start keeps a copy without a log.
    ///
    /// # Errors
    /// [`StorageError`]: nothing goes on with it, and this is to be asked again.
    pub fn give_up_future(&self, partition: &TopicPartition) -> Result<(), StorageError> {
        if self.future(partition).is_none() {
            return match self.copy_may_come_back(partition) {
                true => self.flush_names(),
                false => Ok(()),
            };
        }
        // Whoever has it brings a move to its end: then the copy is the log.
        let _written = self.written.lock();
        let Some(future) = self.future(partition) else {
            return Ok(());
        };
        future.log.retire();
        let target = rename_to_delete(&self.path, future.log.directory(), partition)?;
        // First: the checkpoints do not speak of it any more when the last of it goes.
        self.futures.write().remove(partition);
        let mut deleted = self.deleted.lock();
        deleted.add_full(target);
        deleted.add_unflushed_copy(partition.clone());
        drop(deleted);
        // Two copies of one log would both be gone on with.
        self.flush_names()
    }

    pub(super) fn create_future(
        &self,
        partition: &TopicPartition,
        topic_id: Uuid,
        config: Arc<LogConfig>,
        compacted_offset: i64,
        now_ms: i64,
    ) -> Result<Arc<FutureLog>, OpenError> {
        let _creating = self.claim_name(partition)?;
        let unique = Uuid::new_v4();
        let created = self.create_future_claimed(partition, unique, topic_id, config, now_ms);
        created.map(|log| {
            let future = Arc::new(FutureLog::new(Arc::new(log), unique, compacted_offset));
            (self.futures.write()).insert(partition.clone(), Arc::clone(&future));
            future
        })
    }

    fn create_future_claimed(
        &self,
        partition: &TopicPartition,
        unique: Uuid,
        topic_id: Uuid,
        config: Arc<LogConfig>,
        now_ms: i64,
    ) -> Result<PartitionLog, OpenError> {
        if self.logs.read().contains_key(partition)
            || self.offline.read().contains_key(partition)
            || self.future(partition).is_some()
        {
            return Err(self.exists(partition));
        }
        self.free_name(partition)?;
        self.rename_deleted(partition)?;
        self.forget_earlier(partition)?;
        let name = future_directory_name(partition, unique);
        let directory = self.path.join(&name);
        let create = || {
            let handles = &self.handles;
            let (path, named) = (directory.clone(), partition.clone());
            let log = PartitionLog::create_in(path, named, topic_id, config, handles, now_ms)?;
            write_partition_name(&directory, partition)?;
            // Before a checkpoint speaks of it: what is not there would look like a loss.
            log.flush()?;
            Ok(log)
        };
        create().inspect_err(|_| {
            // Else the next start does.
            let _ = fs::remove_dir_all(&directory);
        })
    }
}

/// Or may be any time: what compaction did before the last start the log tells by how far it came.
fn may_have_been_compacted(log: &PartitionLog) -> bool {
    log.config().cleanup_compact || log.compacted_offset() > 0
}

/// `None` where it is the rest of one that was never begun, or nobody can say whose it is.
pub(crate) fn read_future_directory(path: &Path) -> Result<Option<FutureDirectory>, StorageError> {
    let name = path.file_name().and_then(|name| name.to_str());
    let Some(name) = name else { return Ok(None) };
    let parsed = parse_numbered_directory_name(name, FUTURE_DIRECTORY_SUFFIX);
    let Some((stem, unique)) = parsed else {
        return Ok(None);
    };
    let partition = match is_cut(name) {
        true => read_partition_name(path)?.filter(|it| it.partition == stem.partition),
        false => Some(stem),
    };
    Ok(partition.map(|partition| FutureDirectory { partition, unique }))
}

/// The topic's id of a directory, where it can be read.
pub(crate) fn read_topic_id(path: &Path) -> Result<Option<Uuid>, StorageError> {
    match partition_metadata::read(path) {
        Ok(topic_id) => Ok(topic_id),
        Err(OpenError::Storage(error)) => Err(error),
        Err(_) => Ok(None),
    }
}

/// It has its log's name, which tells the same. Where it stays it does no harm.
pub(crate) fn remove_partition_name(directory: &Path) {
    let _ = fs::remove_file(directory.join(PARTITION_NAME_FILE));
}

/// A name of this length may have lost something of the partition's.
fn is_cut(name: &str) -> bool {
    name.len() == FILE_NAME_BYTES_MAX
}

/// Durable before the directory's own name is.
fn write_partition_name(directory: &Path, partition: &TopicPartition) -> Result<(), StorageError> {
    let name = directory.file_name().and_then(|name| name.to_str());
    if !name.is_some_and(is_cut) {
        return Ok(());
    }
    let text = format!("{PARTITION_NAME_VERSION}partition: {partition}\n");
    atomic_file::replace(&directory.join(PARTITION_NAME_FILE), text.as_bytes())
}

fn read_partition_name(directory: &Path) -> Result<Option<TopicPartition>, StorageError> {
    let contents = read_small(&directory.join(PARTITION_NAME_FILE))?;
    let parse = |text: &str| {
        let name = text.strip_prefix(PARTITION_NAME_VERSION)?;
        let name = name.strip_prefix("partition: ")?.strip_suffix('\n')?;
        TopicPartition::from_directory_name(name)
    };
    Ok(contents.and_then(|contents| parse(str::from_utf8(&contents).ok()?)))
}

/// Out of the way, as what was deleted is.
pub(super) fn rename_to_delete(
    data: &Path,
    path: &Path,
    partition: &TopicPartition,
) -> Result<PathBuf, StorageError> {
    let target = data.join(delete_directory_name(partition, Uuid::new_v4()));
    fs::rename(path, &target).at("rename", path)?;
    Ok(target)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{FileHandles, LogConfig, PageCache};

    const NOW_MS: i64 = 1_700_000_000_000;

    /// Else nothing says that a power failure may bring it back.
    #[test]
    fn a_copy_that_was_given_up_is_given_up_again_until_that_is_flushed() {
        let root = tempfile::tempdir().unwrap();
        let (data, away) = (root.path().join("a"), root.path().join("away"));
        fs::create_dir(&data).unwrap();
        let config_of = |_: &TopicPartition, _| LogConfig::default();
        let (survived, handles) = (PageCache::Survived, FileHandles::new(8));
        let nothing = &|_| {};
        let (directory, _) =
            LogDirectory::open(&data, survived, 1, &handles, NOW_MS, &config_of, nothing).unwrap();
        let partition = TopicPartition::new("orders", 0);
        let (topic_id, config) = (Uuid::from_u128(7), Arc::new(LogConfig::default()));
        (directory.create_future(&partition, topic_id, config, 0, NOW_MS)).unwrap();
        directory.give_up_future(&partition).unwrap();
        assert!(!directory.copy_may_come_back(&partition), "it is flushed");
        // As when there were no open files left for the flush.
        (directory.deleted.lock()).add_unflushed_copy(partition.clone());
        fs::rename(&data, &away).unwrap();
        directory.give_up_future(&partition).unwrap_err();
        assert!(directory.copy_may_come_back(&partition));
        fs::rename(&away, &data).unwrap();
        // Another flush is not to be believed after that one.
        directory.deleted.lock().has_failed_flush = false;
        directory.give_up_future(&partition).unwrap();
        assert!(!directory.copy_may_come_back(&partition));
    }
}
