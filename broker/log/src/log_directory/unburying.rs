//! Logs of topics that were brought back.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use uuid::Uuid;

use super::burying::{Buried, Step, What};
use super::creation::remove_rest_of_creation;
use super::{LogDirectory, Offline, open};
use crate::atomic_file::flush_directory;
use crate::burial_mark::BurialMark;
use crate::config::LogConfig;
use crate::error::{OpenError, StorageContext};
use crate::names::TopicPartition;
use crate::partition_log::PartitionLog;
use crate::partition_metadata;
use crate::recovery::{Finding, OpenState, PageCache};

/// A buried log that is in service again, and what was not as it was left.
pub type Unburied = (Arc<PartitionLog>, Vec<Finding>);

impl LogDirectory {
    /// Brings a buried log back under a name that is free, perhaps another one. `None` where it is not here.
    ///
    /// It takes no records before the next [`Self::checkpoint`], after which its mark is gone; so many are brought back
    /// with one.
    ///
    /// # Errors
    /// [`OpenError::Exists`] where something has that name, [`OpenError::Storage`] of the renaming, and a
    /// [shortage](OpenError::is_shortage): it stays buried, and that is to be tried again. Otherwise it has its name and is
    /// offline, like one that cannot be opened at a start.
    pub fn unbury(
        &self,
        topic_id: Uuid,
        partition: &TopicPartition,
        config: impl Into<Arc<LogConfig>>,
        now_ms: i64,
    ) -> Result<Option<Unburied>, OpenError> {
        let config = config.into();
        if let Some(log) = self.call_back(topic_id, partition, &config)? {
            return Ok(Some((log, Vec::new())));
        }
        let key = (topic_id, partition.partition);
        let Some(buried) = self.buried.lock().get(&key).cloned() else {
            return Ok(None);
        };
        let other = partition_metadata::read(&buried.path).ok().flatten();
        if let Some(other) = other.filter(|id| *id != topic_id) {
            let path = self.set_buried_aside(topic_id, partition.partition)?;
            tracing::error!(%topic_id, %other, ?path, "log set aside: it is of another topic than its name says");
            return Ok(None);
        }
        self.free_name(partition)?;
        self.give_up_future(partition)?;
        self.rename_deleted(partition)?;
        let directory = self.path.join(partition.to_string());
        let is_known =
            self.logs.read().contains_key(partition) || self.offline.read().contains_key(partition);
        if directory.exists() && (is_known || !remove_rest_of_creation(&directory)?) {
            return Err(OpenError::Exists(directory));
        }
        self.forget_earlier(partition)?;
        let Buried { path, .. } = &buried;
        fs::rename(path, &directory).at("rename", path)?;
        self.coming_back.lock().insert(key);
        self.buried.lock().remove(&key);
        let opened = self.open_unburied(&directory, partition, config, now_ms);
        let unburied = match opened {
            Err((_, error)) if error.is_shortage() && fs::rename(&directory, path).is_ok() => {
                self.buried.lock().insert(key, buried);
                Err(error)
            }
            Err((state, error)) => {
                let topic_id = Some(topic_id);
                let offline = Offline { state, topic_id };
                self.offline.write().insert(partition.clone(), offline);
                Err(error)
            }
            Ok(unburied) => Ok(Some(unburied)),
        };
        self.coming_back.lock().remove(&key);
        unburied
    }

    /// One that is still on its way to be buried, to which nothing was done yet. Another is buried then.
    fn call_back(
        &self,
        topic_id: Uuid,
        partition: &TopicPartition,
        config: &Arc<LogConfig>,
    ) -> Result<Option<Arc<PartitionLog>>, OpenError> {
        let Some((name, burial)) = self.find_burial(topic_id, partition.partition) else {
            return Ok(None);
        };
        if let What::Log(log) = &burial.what
            && name == *partition
        {
            let mut step = burial.step.lock();
            if *step == Step::Begun && log.is_usable() {
                log.set_config(Arc::clone(config));
                let mut burials = self.burials.lock();
                self.logs.write().insert(name.clone(), Arc::clone(log));
                burials.remove(&name);
                *step = Step::Over;
                return Ok(Some(Arc::clone(log)));
            }
        }
        self.finish_one(name, burial)?;
        Ok(None)
    }

    /// With what is known of it where it fails.
    fn open_unburied(
        &self,
        directory: &Path,
        partition: &TopicPartition,
        config: Arc<LogConfig>,
        now_ms: i64,
    ) -> Result<Unburied, (OpenState, OpenError)> {
        // What cannot be read says nothing.
        let mark = BurialMark::read(directory);
        // What was closed in good order was flushed. Of anything else, nothing may be taken for a torn tail.
        let known = mark.as_ref().ok().and_then(Option::as_ref);
        let state = known.map_or_else(OpenState::default, |mark| {
            mark.open_state(PageCache::Survived)
        });
        let open = || {
            mark?;
            flush_directory(&self.path)?;
            open::open_partition(
                directory,
                partition,
                |_| config,
                &self.handles,
                state,
                now_ms,
            )
            .map_err(|(_, error)| error)
        };
        let (log, findings) = open().map_err(|error| (state, error))?;
        // Until it is flushed a failure of power could make a torn tail of it. No start waits for this.
        log.flush().map_err(|error| (state, error.into()))?;
        let log = Arc::new(log);
        // A checkpoint that is being written knows nothing of it, and must not take its mark away.
        let _written = self.written.lock();
        self.logs
            .write()
            .insert(partition.clone(), Arc::clone(&log));
        Ok((log, findings))
    }
}
