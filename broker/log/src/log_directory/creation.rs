//! Making partitions, many at the same time: nobody who looks for another one waits for the disk.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use uuid::Uuid;

use super::{LogDirectory, open};
use crate::config::LogConfig;
use crate::error::{OpenError, StorageContext, StorageError};
use crate::names::TopicPartition;
use crate::partition_log::PartitionLog;

impl LogDirectory {
    /// A new, empty log.
    ///
    /// # Errors
    /// [`OpenError::Exists`] also for a partition that is offline, or that another thread is making;
    /// [`OpenError::Storage`].
    pub fn create(
        &self,
        partition: TopicPartition,
        topic_id: Uuid,
        config: impl Into<Arc<LogConfig>>,
        now_ms: i64,
    ) -> Result<Arc<PartitionLog>, OpenError> {
        let _creating = self.claim_name(&partition)?;
        let created = self.create_claimed(&partition, topic_id, &config.into(), now_ms);
        if let Ok(log) = &created {
            self.logs.write().insert(partition, Arc::clone(log));
        }
        created
    }

    /// Nobody else makes anything of that name meanwhile.
    pub(super) fn claim_name(
        &self,
        partition: &TopicPartition,
    ) -> Result<ClaimedName<'_>, OpenError> {
        if !self.creating.lock().insert(partition.clone()) {
            return Err(self.exists(partition));
        }
        Ok(ClaimedName {
            directory: self,
            partition: partition.clone(),
        })
    }

    fn create_claimed(
        &self,
        partition: &TopicPartition,
        topic_id: Uuid,
        config: &Arc<LogConfig>,
        now_ms: i64,
    ) -> Result<Arc<PartitionLog>, OpenError> {
        if self.logs.read().contains_key(partition) || self.offline.read().contains_key(partition) {
            return Err(self.exists(partition));
        }
        self.free_name(partition)?;
        // What it is a copy of is another log.
        self.give_up_future(partition)?;
        self.rename_deleted(partition)?;
        self.forget_earlier(partition)?;
        let create = || {
            let (name, config) = (partition.clone(), Arc::clone(config));
            PartitionLog::create(&self.path, name, topic_id, config, &self.handles, now_ms)
        };
        let created = match create() {
            Err(OpenError::Exists(directory)) if remove_rest_of_creation(&directory)? => create(),
            created => created,
        };
        created.map(Arc::new)
    }

    /// What the checkpoints say about an earlier partition of that name must not be taken for this one's.
    pub(super) fn forget_earlier(&self, partition: &TopicPartition) -> Result<(), StorageError> {
        self.missing.write().remove(partition);
        let mut written = self.written.lock();
        if written.speak_of(partition) {
            self.write_checkpoints(&mut written, None)?;
        }
        Ok(())
    }

    pub(super) fn exists(&self, partition: &TopicPartition) -> OpenError {
        OpenError::Exists(self.path.join(partition.to_string()))
    }
}

/// Of a log that is being made, or comes from another data directory.
pub(super) struct ClaimedName<'a> {
    directory: &'a LogDirectory,
    partition: TopicPartition,
}

impl Drop for ClaimedName<'_> {
    fn drop(&mut self) {
        self.directory.creating.lock().remove(&self.partition);
    }
}

/// What a creation had made when it failed, or another one of that name that never came to hold a record. Whether it
/// was that.
pub(super) fn remove_rest_of_creation(directory: &Path) -> Result<bool, StorageError> {
    let is_rest = directory.is_dir() && open::holds_no_records(directory)?;
    if is_rest {
        fs::remove_dir_all(directory).at("remove", directory)?;
    }
    Ok(is_rest)
}
