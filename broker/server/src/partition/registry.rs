//! All partitions of this broker, kept in line with the metadata.

mod applying;
mod burying;
mod compacting;
mod configuring;
mod creating;
mod deleting;
mod moving;
mod opening;
mod repairing;
mod retaining;
mod taking_offline;

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use foz_log::{CleanShutdown, FileHandles, OpenError, StorageError, TopicPartition};
use foz_metadata::Image;
use foz_metadata::image::Topic;
use foz_protocol::error::ErrorCode;
use parking_lot::{Mutex, RwLock};
use tokio::sync::Notify;
use tracing::warn;
use uuid::Uuid;

use super::offline::Offline;
use super::{DataDirectories, DataDirectory, DuePartitions, LogMoves, Partition, Reports, Touched};
use crate::metrics::Metrics;

pub(crate) use compacting::Resting;
pub(crate) use opening::InDoubt;
pub(crate) use repairing::Leave;

/// A partition by topic id and index: a topic that was deleted and made again is another one.
pub(crate) type Key = (Uuid, i32);
type Map = Arc<RwLock<HashMap<Key, Arc<Partition>>>>;
type WeakMap = Weak<RwLock<HashMap<Key, Arc<Partition>>>>;

/// The partitions that have a replica here.
#[derive(Debug)]
pub(crate) struct Partitions {
    directories: DataDirectories,
    handles: Arc<FileHandles>,
    held: Map,
    offline: Offline,
    moves: LogMoves,
    /// See [`Self::keep_in_place`].
    listing: RwLock<()>,
    /// With which `held` is in line. Locked by whoever changes what is held.
    applied: Mutex<Arc<Image>>,
    metrics: Metrics,
    reports: Reports,
}

impl Partitions {
    /// What recovery says of the logs of all directories that are used.
    pub(crate) fn found_in_doubt(&self) -> Vec<InDoubt> {
        let found = self.directories.usable().map(|it| it.found());
        found.flat_map(|it| it.in_doubt.clone()).collect()
    }

    /// Open files, and what is under way with them.
    pub(crate) fn handles(&self) -> &Arc<FileHandles> {
        &self.handles
    }

    pub(crate) fn directories(&self) -> &DataDirectories {
        &self.directories
    }

    /// Every partition with a replica here.
    pub(crate) fn all(&self) -> Vec<Arc<Partition>> {
        self.held.read().values().cloned().collect()
    }

    /// Takes those for which time may change something. Whoever takes them has to [`tick`](Partition::tick) each.
    pub(crate) fn take_awake(&self) -> Vec<Arc<Partition>> {
        self.take(&self.reports.awake, Partition::forget_awake)
    }

    /// What happens to them from now on has them taken again, whatever becomes of those who look at them.
    fn take(&self, touched: &Touched, forget: impl Fn(&Partition)) -> Vec<Arc<Partition>> {
        let keys = touched.take();
        let held = self.held.read();
        let taken = keys.iter().filter_map(|key| held.get(key).cloned());
        taken.inspect(|partition| forget(partition)).collect()
    }

    /// Those whose logs are in this directory.
    pub(crate) fn all_in(&self, directory: &Arc<DataDirectory>) -> Vec<Arc<Partition>> {
        let held = self.held.read();
        let here = held.values().filter(|it| it.is_in(directory));
        here.cloned().collect()
    }

    /// A partition with a replica here.
    pub(crate) fn get(&self, topic_id: Uuid, index: i32) -> Option<Arc<Partition>> {
        self.held.read().get(&(topic_id, index)).cloned()
    }

    /// A partition as a client asks for it.
    ///
    /// # Errors
    /// `UNKNOWN_TOPIC_OR_PARTITION` for an index that the topic does not have, `KAFKA_STORAGE_ERROR`
    /// where the log is here but cannot be used, else `NOT_LEADER_OR_FOLLOWER`.
    pub(crate) fn find(&self, topic: &Topic, index: i32) -> Result<Arc<Partition>, ErrorCode> {
        if topic.partition(index).is_none() {
            return Err(ErrorCode::UnknownTopicOrPartition);
        }
        self.get(topic.id, index).ok_or_else(|| {
            let name = TopicPartition::new(topic.name.to_string(), index);
            if self.offline.contains(&name) {
                ErrorCode::KafkaStorageError
            } else {
                ErrorCode::NotLeaderOrFollower
            }
        })
    }

    /// Its log is to be here, and could not be made yet.
    pub(crate) fn is_not_made(&self, name: &TopicPartition) -> bool {
        self.offline.is_not_made(name)
    }

    /// Woken when damage was found.
    pub(crate) fn damage_found(&self) -> Arc<Notify> {
        Arc::clone(&self.reports.damage)
    }

    /// Partitions whose logs are to be [checked](Partition::check_next) after a crash.
    pub(crate) fn due_checks(&self) -> Arc<DuePartitions> {
        Arc::clone(&self.reports.due_checks)
    }

    /// Writes down what the next start goes by, where it changed.
    pub(crate) fn checkpoint(&self, directory: &DataDirectory) {
        if directory.has_failed() {
            return;
        }
        match directory.logs().checkpoint() {
            // Said where the room is looked at.
            Err(error) if error.is_shortage() => directory.disk_gate().refuse(),
            Err(error) => match directory.logs().logs().iter().find(|log| log.has_failed()) {
                // The mark of its reset, which goes with the checkpoints, may be there or not.
                Some(log) => {
                    let error = OpenError::Storage(error);
                    directory.failure().log_stopped(log.partition(), &error);
                }
                None => {
                    let path = directory.path().display();
                    warn!(%path, %error, "checkpoints not written");
                    directory.failure().storage_failed(&error);
                }
            },
            Ok(()) => {}
        }
    }

    pub(crate) fn begin_writebacks(&self) {
        for partition in self.take(&self.reports.to_write, Partition::forget_growth) {
            partition.log().begin_writeback();
        }
    }

    /// See [`foz_log::Flusher::hold_backlog`].
    pub(crate) fn release_flush_backlogs(&self) {
        for directory in self.directories.all() {
            directory.flusher().release_backlog();
        }
    }

    pub(crate) fn close_idle_files(&self) {
        self.handles.close_idle();
    }

    /// Flushes and closes everything, all directories at once. Leaves the mark of a clean stop in those that hold all that
    /// this node had when it was registered with the epoch that is given for each: not in those that failed.
    pub(crate) fn close(&self, broker_epochs: &[Option<i64>]) -> Result<(), StorageError> {
        for partition in self.held.read().values() {
            partition.resign();
        }
        let directories = self.directories.all().iter().zip(broker_epochs);
        let directories: Vec<_> = directories.collect();
        let closed = for_each_at_once(
            &directories,
            |(directory, broker_epoch)| match **broker_epoch {
                // What is there is as its disk left it.
                _ if directory.has_failed() => Ok(()),
                // What is there is not this directory.
                _ if matches!(directory.identity().is_in_place(), Ok(false)) => Ok(()),
                Some(broker_epoch) => {
                    let mark = CleanShutdown { broker_epoch };
                    directory.logs().close_cleanly(mark)
                }
                None => directory.logs().close_without_mark(),
            },
        );
        closed.into_iter().collect()
    }
}

/// Directories have disks of their own. In their order.
fn for_each_at_once<T: Sync, R: Send>(all: &[T], act: impl Fn(&T) -> R + Sync) -> Vec<R> {
    std::thread::scope(|scope| {
        let act = &act;
        let threads: Vec<_> = all.iter().map(|it| scope.spawn(move || act(it))).collect();
        let results = threads.into_iter().map(|thread| {
            let result = thread.join();
            result.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        });
        results.collect()
    })
}

#[cfg(test)]
mod tests;
