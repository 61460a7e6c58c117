//! Taking partitions away: at once from who reads and writes, and from the disk in the background.
//!
//! A deleted partition's directory gets Kafka's suffix `-delete`, which is all that whoever deletes it waits for. Its
//! files go with [`LogDirectory::remove_deleted`]; an empty directory stays until the checkpoints do not speak of the
//! partition any more, and says to an opening after a crash that nothing was lost.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use uuid::Uuid;

use super::LogDirectory;
use super::burying::name_of;
use super::creation::remove_rest_of_creation;
use crate::atomic_file::flush_directory;
use crate::error::{OpenError, StorageContext, StorageError};
use crate::names::{TopicPartition, delete_directory_name, stray_directory_name};

/// What is left of deleted partitions.
#[derive(Debug, Default)]
pub(super) struct Deleted {
    /// Whose directories still have their names: no partition of that name can be made before they are renamed. With the
    /// topic's id where it is known.
    unnamed: HashMap<TopicPartition, Option<Uuid>>,
    /// Whose directories have new names, or are gone, and a power failure may bring them back.
    unflushed: HashMap<TopicPartition, Unflushed>,
    /// Copies that were given up, and a power failure may bring them back; by which change that was.
    unflushed_copies: HashMap<TopicPartition, u64>,
    /// The number of the newest of those changes.
    changes: u64,
    /// What another flush says is not to be believed.
    pub(super) has_failed_flush: bool,
    /// Directories with files.
    full: HashSet<PathBuf>,
    /// Directories without.
    pub(super) emptied: Vec<PathBuf>,
}

#[derive(Debug)]
struct Unflushed {
    /// By which change that was.
    change: u64,
    /// Where it is known.
    topic_id: Option<Uuid>,
}

impl Deleted {
    /// One that nobody serves any more, under its old name.
    pub(super) fn add_unnamed(&mut self, partition: TopicPartition, topic_id: Option<Uuid>) {
        self.unnamed.insert(partition, topic_id);
    }

    /// A directory that has its new name.
    pub(super) fn add_full(&mut self, directory: PathBuf) {
        self.full.insert(directory);
    }

    fn add_unflushed(&mut self, partition: TopicPartition, topic_id: Option<Uuid>) {
        self.changes += 1;
        let change = self.changes;
        let unflushed = Unflushed { change, topic_id };
        self.unflushed.insert(partition, unflushed);
    }

    pub(super) fn add_unflushed_copy(&mut self, partition: TopicPartition) {
        self.changes += 1;
        self.unflushed_copies.insert(partition, self.changes);
    }

    /// Begins with what an opening found.
    pub(super) fn found(full: &[PathBuf]) -> Self {
        Self {
            full: full.iter().cloned().collect(),
            ..Self::default()
        }
    }
}

impl LogDirectory {
    /// Deletes a partition, online or not; it is fine when it is gone already. Its files are there until
    /// [`Self::remove_deleted`], or that of the next start.
    ///
    /// # Errors
    /// [`StorageError`]: its directory still has its name, and [`Self::remove_deleted`] tries again. It is not served
    /// all the same.
    pub fn delete(&self, partition: &TopicPartition) -> Result<(), StorageError> {
        // Who looks for another log does not wait until this one is at rest.
        let log = self.logs.write().remove(partition);
        let topic_id = match log {
            Some(log) => {
                log.retire();
                Some(log.topic_id())
            }
            None => match self.offline.write().remove(partition) {
                Some(offline) => offline.topic_id,
                None => return Ok(()),
            },
        };
        let mut deleted = self.deleted.lock();
        deleted.add_unnamed(partition.clone(), topic_id);
        drop(deleted);
        self.rename_deleted(partition)
    }

    /// Removes the files of what was deleted, now or by the process before this one. Blocks for as long as that takes;
    /// to be called in the background after each deletion. `proceed` is asked before each file: what is left when it
    /// says no is left to the next call, or to the next start. Whether nothing is left.
    ///
    /// # Errors
    /// The first [`StorageError`]. Whatever else can be removed is removed, and the next call tries the rest again.
    pub fn remove_deleted(&self, proceed: &dyn Fn() -> bool) -> Result<bool, StorageError> {
        let _one_at_a_time = self.removing.lock();
        let mut failed = None;
        let unnamed: Vec<_> = self.deleted.lock().unnamed.keys().cloned().collect();
        for partition in unnamed {
            failed = failed.or(self.rename_deleted(&partition).err());
        }
        let doomed = self.deleted.lock().full.clone();
        if !doomed.is_empty() {
            // If a power failure took the name back, files would be missing in a partition.
            self.flush_names()?;
        }
        for directory in doomed {
            match empty(&directory, proceed) {
                Ok(true) => {
                    let mut deleted = self.deleted.lock();
                    deleted.full.remove(&directory);
                    deleted.emptied.push(directory);
                }
                Ok(false) => return failed.map_or(Ok(false), Err),
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        failed.map_or(Ok(true), Err)
    }

    /// This topic's log of that name was taken away, and its disk may not know that yet.
    #[must_use]
    pub fn may_come_back(&self, partition: &TopicPartition, topic_id: Uuid) -> bool {
        let deleted = self.deleted.lock();
        let unflushed = deleted.unflushed.get(partition).map(|it| it.topic_id);
        let topic_ids = [deleted.unnamed.get(partition).copied(), unflushed];
        let mut topic_ids = topic_ids.into_iter().flatten();
        topic_ids.any(|it| it.is_none_or(|it| it == topic_id))
    }

    /// A copy of that name was given up, and its disk may not know that yet: [`Self::give_up_future`] is to be asked again.
    #[must_use]
    pub fn copy_may_come_back(&self, partition: &TopicPartition) -> bool {
        self.deleted.lock().unflushed_copies.contains_key(partition)
    }

    /// Nothing of this name is here, a power failure brings nothing back, and the checkpoints do not speak of it: what was
    /// deleted, what waits to be buried, and the rest of a creation that failed. To be called before a log of it is made in
    /// another data directory, or a start would find two.
    ///
    /// # Errors
    /// [`OpenError::Exists`] for a log that is here, online or not, also where it could not be set aside.
    /// [`OpenError::Storage`]: something may come back. Not to be asked again after [`OpenError::is_failed_flush`].
    pub fn vacate(&self, partition: &TopicPartition) -> Result<(), OpenError> {
        if self.logs.read().contains_key(partition) || self.is_offline(partition) {
            return Err(self.exists(partition));
        }
        self.free_name(partition)?;
        self.rename_deleted(partition)?;
        let directory = self.path.join(partition.to_string());
        // A file that somebody has put there is none.
        if directory.is_dir() {
            if !remove_rest_of_creation(&directory)? {
                return Err(self.exists(partition));
            }
            let mut deleted = self.deleted.lock();
            deleted.add_unflushed(partition.clone(), None);
        }
        if self.deleted.lock().unflushed.contains_key(partition) {
            self.flush_names()?;
        }
        Ok(self.forget_earlier(partition)?)
    }

    /// Takes a partition that the metadata does not know out of service, but keeps its files: the
    /// directory gets Kafka's suffix `-stray` and is left alone from then on. Returns it. Metadata that was
    /// lost must not take the data with it.
    ///
    /// # Errors
    /// [`StorageError`]: it is out of service all the same, and this is to be asked again. `NotFound` also for a partition
    /// that is not here.
    pub fn set_aside(&self, partition: &TopicPartition) -> Result<PathBuf, StorageError> {
        let log = self.get(partition);
        if let Some(log) = &log {
            log.retire();
        }
        let target = stray_directory_name(partition, Uuid::new_v4());
        let target = self.rename(partition, &target)?;
        self.logs.write().remove(partition);
        let offline = self.offline.write().remove(partition);
        let topic_id = log.map(|log| log.topic_id());
        let topic_id = topic_id.or_else(|| offline?.topic_id);
        let mut deleted = self.deleted.lock();
        deleted.add_unflushed(partition.clone(), topic_id);
        drop(deleted);
        self.flush_names()?;
        Ok(target)
    }

    /// Where it was deleted and still has its name.
    pub(super) fn rename_deleted(&self, partition: &TopicPartition) -> Result<(), StorageError> {
        let _one_at_a_time = self.renaming.lock();
        let unnamed = self.deleted.lock().unnamed.get(partition).copied();
        if let Some(topic_id) = unnamed {
            let target = delete_directory_name(partition, Uuid::new_v4());
            let renamed = self.rename(partition, &target);
            if renamed.is_err() && self.path.join(partition.to_string()).exists() {
                return renamed.map(|_| ());
            }
            let mut deleted = self.deleted.lock();
            // Otherwise somebody was faster.
            if let Ok(target) = renamed {
                deleted.full.insert(target);
                deleted.add_unflushed(partition.clone(), topic_id);
            }
            deleted.unnamed.remove(partition);
        }
        Ok(())
    }

    pub(super) fn rename_buried_to_delete(
        &self,
        key: (Uuid, i32),
        path: &Path,
    ) -> Result<(), StorageError> {
        let target = delete_directory_name(&name_of(key), Uuid::new_v4());
        let target = self.path.join(target);
        fs::rename(path, &target).at("rename", path)?;
        self.buried.lock().remove(&key);
        self.deleted.lock().add_full(target);
        Ok(())
    }

    /// What was renamed and removed until now stays so. A flush that failed is none that another makes good: the kernel may
    /// have dropped what it could not write.
    pub(super) fn flush_names(&self) -> Result<(), StorageError> {
        let (until, has_failed) = {
            let deleted = self.deleted.lock();
            (deleted.changes, deleted.has_failed_flush)
        };
        let flushed = match has_failed {
            true => Err(io::Error::other("it failed before")).at("flush", &self.path),
            false => flush_directory(&self.path),
        };
        let mut deleted = self.deleted.lock();
        match &flushed {
            Ok(()) => {
                deleted.unflushed.retain(|_, it| it.change > until);
                deleted.unflushed_copies.retain(|_, it| *it > until);
            }
            Err(error) => deleted.has_failed_flush |= !error.is_passing(),
        }
        flushed
    }

    fn rename(&self, partition: &TopicPartition, name: &str) -> Result<PathBuf, StorageError> {
        let directory = self.path.join(partition.to_string());
        let target = self.path.join(name);
        fs::rename(&directory, &target).at("rename", &directory)?;
        Ok(target)
    }
}

/// Whether nothing is left in `directory`.
fn empty(directory: &Path, proceed: &dyn Fn() -> bool) -> Result<bool, StorageError> {
    for entry in fs::read_dir(directory).at("list", directory)? {
        if !proceed() {
            return Ok(false);
        }
        let path = entry.at("list", directory)?.path();
        if path.is_dir() {
            // Not ours, but whoever put it there.
            fs::remove_dir_all(&path).at("remove", &path)?;
        } else {
            fs::remove_file(&path).at("remove", &path)?;
        }
    }
    Ok(true)
}
