//! Logs of deleted topics: out of service, with their files kept until the topic is brought back or given up.
//!
//! A buried log is a directory `topic-N.<topic id>-deleted`. Nothing of it is in memory but its name and its time, and a
//! start leaves it alone. [`BurialMark`] in it says what it is to be opened with.
//!
//! On the way there its directory keeps its name: it is flushed, gets its mark, the checkpoints forget it, and then it is
//! renamed. So whatever stops in between, it is an ordinary log, or one that a mark speaks of. The way back is the
//! opposite: [`LogDirectory::unbury`].

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use uuid::Uuid;

use super::LogDirectory;
use crate::burial_mark::BurialMark;
use crate::error::{StorageContext, StorageError};
use crate::names::{TopicPartition, buried_directory_name, stray_directory_name};
use crate::partition_log::PartitionLog;
use crate::recovery::OpenState;

/// Threads that bury logs; they mostly wait for the disk.
const BURYING_THREADS: usize = 8;

/// Logs that are out of service and still have their names, by these.
pub(super) type Burials = HashMap<TopicPartition, Arc<Burial>>;

/// One of them.
#[derive(Debug)]
pub(super) struct Burial {
    pub(super) topic_id: Uuid,
    grace_ends_at_ms: i64,
    pub(super) what: What,
    /// Held by whoever takes it further, or back.
    pub(super) step: Mutex<Step>,
    /// Its mark is durable: the checkpoints need not speak of it any more.
    is_marked: AtomicBool,
}

#[derive(Debug)]
pub(super) enum What {
    Log(Arc<PartitionLog>),
    /// It could not be opened, and this is what is known of it.
    Offline(OpenState),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Begun,
    /// Closed, flushed, with its mark.
    Marked,
    /// It has its new name, or was called back, or given up.
    Over,
}

/// A buried log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Buried {
    pub(super) path: PathBuf,
    /// `None`: its mark does not tell.
    pub(super) grace_ends_at_ms: Option<i64>,
}

impl LogDirectory {
    /// Takes a partition of a deleted topic out of service, online or not, and keeps its files. False where it is not here.
    /// What is left to do blocks, and is done by [`Self::finish_burials`]; or by the next start, for a crash before leaves it
    /// as it was.
    ///
    /// `grace_ends_at_ms` is for a start that finds it unknown to everybody else.
    pub fn bury(&self, partition: &TopicPartition, topic_id: Uuid, grace_ends_at_ms: i64) -> bool {
        // Whoever gathers checkpoints finds it in one place at least.
        let mut offline = self.offline.write();
        let mut burials = self.burials.lock();
        let what = match self.logs.write().remove(partition) {
            Some(log) => What::Log(log),
            None => match offline.remove(partition) {
                Some(offline) => What::Offline(offline.state),
                None => return false,
            },
        };
        let burial = Burial {
            topic_id,
            grace_ends_at_ms,
            what,
            step: Mutex::new(Step::Begun),
            is_marked: AtomicBool::new(false),
        };
        burials.insert(partition.clone(), Arc::new(burial));
        true
    }

    /// Closes, flushes and renames what [`Self::bury`] took out of service. Blocks; to be called in the background after
    /// that, and again while something is left. Returns what is left, and why.
    ///
    /// Where a flush failed, [`StorageError::is_failed_flush`] or [`Self::has_failed_flush`] says so: it must not be called
    /// again then.
    pub fn finish_burials(&self) -> Vec<(TopicPartition, StorageError)> {
        let all = self.burials.lock().clone();
        self.finish(all.into_iter().collect())
    }

    /// How many of those are left.
    #[must_use]
    pub fn unfinished_burials(&self) -> usize {
        self.burials.lock().len()
    }

    /// Whether what is left of another topic has this name.
    #[must_use]
    pub fn is_being_buried(&self, partition: &TopicPartition) -> bool {
        self.burials.lock().contains_key(partition)
    }

    /// Every buried log, by topic id and the partition's number, with the end of its grace where its mark tells.
    #[must_use]
    pub fn buried(&self) -> Vec<((Uuid, i32), Option<i64>)> {
        let buried = self.buried.lock();
        let buried = buried.iter();
        buried
            .map(|(key, it)| (*key, it.grace_ends_at_ms))
            .collect()
    }

    /// Whether such a log is kept, buried or on its way there.
    #[must_use]
    pub fn is_buried(&self, topic_id: Uuid, partition: i32) -> bool {
        self.buried.lock().contains_key(&(topic_id, partition))
            || self.find_burial(topic_id, partition).is_some()
    }

    /// A log has failed to flush: see [`PartitionLog::has_failed_flush`]. Also one that is being buried; or the names here.
    #[must_use]
    pub fn has_failed_flush(&self) -> bool {
        let burials = self.burials.lock();
        let mut buried = burials.values();
        let failed = buried.any(|it| matches!(&it.what, What::Log(log) if log.has_failed_flush()));
        failed
            || self.deleted.lock().has_failed_flush
            || self
                .logs_and_copies()
                .iter()
                .any(|it| it.has_failed_flush())
    }

    /// Of a partition that is here, online or not, where its files tell.
    #[must_use]
    pub fn topic_id_of(&self, partition: &TopicPartition) -> Option<Uuid> {
        let log = self.get(partition).map(|log| log.topic_id());
        log.or_else(|| self.topic_id_of_offline(partition))
    }

    /// Of a partition that is offline, where its files told when it was to be opened: a disk that has failed since says
    /// nothing.
    #[must_use]
    pub fn topic_id_of_offline(&self, partition: &TopicPartition) -> Option<Uuid> {
        self.offline.read().get(partition)?.topic_id
    }

    /// Deletes what is kept of a topic, or of one of its partitions; it is fine when that is nothing. Files are there until
    /// [`Self::remove_deleted`], or that of the next start.
    ///
    /// # Errors
    /// [`StorageError`]: some are left, and are kept, or tried again by [`Self::remove_deleted`].
    pub fn remove_buried(
        &self,
        topic_id: Uuid,
        partition: Option<i32>,
    ) -> Result<(), StorageError> {
        for (name, burial) in self.find_burials(topic_id, partition) {
            let mut step = burial.step.lock();
            if *step != Step::Over {
                if let What::Log(log) = &burial.what {
                    log.retire();
                }
                let topic_id = Some(burial.topic_id);
                self.deleted.lock().add_unnamed(name.clone(), topic_id);
                self.burials.lock().remove(&name);
                *step = Step::Over;
                self.rename_deleted(&name)?;
            }
        }
        for (key, Buried { path, .. }) in self.find_buried(topic_id, partition) {
            self.rename_buried_to_delete(key, &path)?;
        }
        Ok(())
    }

    /// A buried log that nobody asked to remove stays, as Kafka's strays do: see [`Self::set_aside`]. `None` where it is
    /// not here.
    ///
    /// # Errors
    /// [`StorageError`].
    pub fn set_buried_aside(
        &self,
        topic_id: Uuid,
        partition: i32,
    ) -> Result<Option<PathBuf>, StorageError> {
        let Some((key, Buried { path, .. })) = self.find_buried(topic_id, Some(partition)).pop()
        else {
            return Ok(None);
        };
        let target = set_directory_aside(&self.path, key, &path)?;
        self.buried.lock().remove(&key);
        self.flush_names()?;
        Ok(Some(target))
    }

    /// Nothing that is being buried has this name from now on.
    pub(super) fn free_name(&self, partition: &TopicPartition) -> Result<(), StorageError> {
        let burial = self.burials.lock().get(partition).cloned();
        match burial {
            Some(burial) => self.finish_one(partition.clone(), burial),
            None => Ok(()),
        }
    }

    pub(super) fn finish_one(
        &self,
        partition: TopicPartition,
        burial: Arc<Burial>,
    ) -> Result<(), StorageError> {
        let failed = self.finish(vec![(partition, burial)]).pop();
        failed.map_or(Ok(()), |(_, error)| Err(error))
    }

    pub(super) fn find_burial(
        &self,
        topic_id: Uuid,
        partition: i32,
    ) -> Option<(TopicPartition, Arc<Burial>)> {
        self.find_burials(topic_id, Some(partition)).pop()
    }

    fn find_burials(
        &self,
        topic_id: Uuid,
        partition: Option<i32>,
    ) -> Vec<(TopicPartition, Arc<Burial>)> {
        let burials = self.burials.lock();
        let found = burials.iter().filter(|(name, burial)| {
            burial.topic_id == topic_id && partition.is_none_or(|it| it == name.partition)
        });
        found
            .map(|(name, burial)| (name.clone(), Arc::clone(burial)))
            .collect()
    }

    fn find_buried(&self, topic_id: Uuid, partition: Option<i32>) -> Vec<((Uuid, i32), Buried)> {
        let range = match partition {
            Some(partition) => (topic_id, partition)..=(topic_id, partition),
            None => (topic_id, 0)..=(topic_id, i32::MAX),
        };
        let buried = self.buried.lock();
        let found = buried.range(range);
        found.map(|(key, it)| (*key, it.clone())).collect()
    }

    /// One checkpoint for all of them.
    fn finish(
        &self,
        burials: Vec<(TopicPartition, Arc<Burial>)>,
    ) -> Vec<(TopicPartition, StorageError)> {
        let (marked, mut failed) = self.mark_all(burials);
        let Some((first, _)) = marked.first() else {
            return failed;
        };
        let first = first.clone();
        // Marks of other logs are not this one's to remove.
        let checkpoint = self.write_checkpoints(&mut self.written.lock(), None);
        if let Err(error) = checkpoint {
            failed.push((first, error));
            return failed;
        }
        for (name, burial) in marked {
            let mut step = burial.step.lock();
            if *step != Step::Marked {
                continue;
            }
            match self.move_away(&name, &burial) {
                Ok(()) => {
                    *step = Step::Over;
                    self.burials.lock().remove(&name);
                }
                Err(error) => failed.push((name, error)),
            }
        }
        if let Err(error) = self.flush_names() {
            failed.push((first, error));
        }
        failed
    }

    /// Those that have their marks now, and those that failed.
    #[expect(clippy::type_complexity, reason = "two lists of the same kind")]
    fn mark_all(
        &self,
        burials: Vec<(TopicPartition, Arc<Burial>)>,
    ) -> (
        Vec<(TopicPartition, Arc<Burial>)>,
        Vec<(TopicPartition, StorageError)>,
    ) {
        let threads = burials.len().min(BURYING_THREADS);
        let left = Mutex::new(burials.into_iter());
        let (marked, failed) = (Mutex::default(), Mutex::default());
        let mark = || {
            loop {
                let Some((name, burial)) = left.lock().next() else {
                    return;
                };
                let mut step = burial.step.lock();
                let result = match *step {
                    Step::Begun => self.mark(&name, &burial),
                    Step::Marked => Ok(()),
                    Step::Over => continue,
                };
                match result {
                    Ok(()) => {
                        *step = Step::Marked;
                        drop(step);
                        Vec::push(&mut marked.lock(), (name, burial));
                    }
                    Err(error) => Vec::push(&mut failed.lock(), (name, error)),
                }
            }
        };
        match threads {
            0 | 1 => mark(),
            _ => std::thread::scope(|scope| {
                for _ in 0..threads {
                    scope.spawn(mark);
                }
            }),
        }
        (marked.into_inner(), failed.into_inner())
    }

    fn mark(&self, name: &TopicPartition, burial: &Burial) -> Result<(), StorageError> {
        let mark = match &burial.what {
            What::Log(log) => log.close_for_burial()?,
            What::Offline(state) => BurialMark::of_unopened(*state),
        };
        let mark = BurialMark {
            grace_ends_at_ms: burial.grace_ends_at_ms,
            ..mark
        };
        mark.write(&self.path.join(name.to_string()))?;
        burial.is_marked.store(true, Ordering::Release);
        Ok(())
    }

    fn move_away(&self, name: &TopicPartition, burial: &Burial) -> Result<(), StorageError> {
        let key = (burial.topic_id, name.partition);
        let earlier = self.buried.lock().get(&key).cloned();
        if let Some(Buried { path, .. }) = earlier {
            // This one was in service since.
            set_directory_aside(&self.path, key, &path)?;
            self.buried.lock().remove(&key);
        }
        if let What::Log(log) = &burial.what {
            log.retire();
        }
        let directory = self.path.join(name.to_string());
        let path = self.path.join(buried_directory_name(name, burial.topic_id));
        fs::rename(&directory, &path).at("rename", &directory)?;
        let buried = Buried {
            path,
            grace_ends_at_ms: Some(burial.grace_ends_at_ms),
        };
        self.buried.lock().insert(key, buried);
        Ok(())
    }
}

impl Burial {
    pub(super) fn is_marked(&self) -> bool {
        self.is_marked.load(Ordering::Acquire)
    }
}

/// Nobody looks for it under its name any more.
pub(super) fn name_of((topic_id, partition): (Uuid, i32)) -> TopicPartition {
    TopicPartition::new(topic_id.simple().to_string(), partition)
}

pub(super) fn set_directory_aside(
    data: &Path,
    key: (Uuid, i32),
    path: &Path,
) -> Result<PathBuf, StorageError> {
    let target = data.join(stray_directory_name(&name_of(key), Uuid::new_v4()));
    fs::rename(path, &target).at("rename", path)?;
    Ok(target)
}
