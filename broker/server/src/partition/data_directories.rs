//! All of `log.dirs`, in their order.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use foz_log::{LogConfig, OpenError, PartitionLog, TopicPartition};
use parking_lot::Mutex;
use uuid::Uuid;

use super::data_directory::InFailed;
use super::placing::{Placing, Room};
use super::{DataDirectory, Key, wall_clock_ms};
use crate::disk_space::Space;
use crate::identity::OfflineDirectory;

/// So long one look at all logs and disks counts for where new logs go.
const PLACING_AGE_MAX: Duration = Duration::from_secs(1);

/// So long a directory in which a log could not be made comes after the others.
const REFUSED_PAUSE: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(crate) struct DataDirectories {
    all: Vec<Arc<DataDirectory>>,
    /// Which could not be used when this process began.
    offline: Vec<OfflineDirectory>,
    placing: Mutex<Option<Placed>>,
    /// Where somebody wants logs that are not here yet (KIP-113): it goes with the process, as in Kafka.
    wanted: Mutex<HashMap<Key, usize>>,
    /// When the last log could not be made there, whatever the reason.
    refused: Mutex<HashMap<usize, Instant>>,
}

/// What [`DataDirectories::create`] goes by for a while.
#[derive(Debug)]
struct Placed {
    since: Instant,
    /// Which directories it is about.
    usable: Vec<usize>,
    placing: Placing,
}

impl DataDirectories {
    pub(super) fn new(all: Vec<Arc<DataDirectory>>, offline: Vec<OfflineDirectory>) -> Self {
        Self {
            all,
            offline,
            placing: Mutex::default(),
            wanted: Mutex::default(),
            refused: Mutex::default(),
        }
    }

    /// Which could be opened when this process began.
    pub(crate) fn all(&self) -> &[Arc<DataDirectory>] {
        &self.all
    }

    /// Those of them that have not failed since.
    pub(crate) fn usable(&self) -> impl Iterator<Item = &Arc<DataDirectory>> {
        self.all.iter().filter(|it| !it.has_failed())
    }

    pub(crate) fn failed(&self) -> impl Iterator<Item = &Arc<DataDirectory>> {
        self.all.iter().filter(|it| it.has_failed())
    }

    /// Of `log.dirs` that could not be used from the beginning.
    pub(crate) fn offline_from_start(&self) -> &[OfflineDirectory] {
        &self.offline
    }

    /// It cannot be used, and is named so, from the root on.
    pub(crate) fn is_offline(&self, path: &Path) -> bool {
        let failed = self.failed().map(|it| it.path());
        let mut offline = failed.chain(self.offline.iter().map(|it| it.path.as_path()));
        offline.any(|it| std::path::absolute(it).is_ok_and(|it| it == path))
    }

    /// How many of `log.dirs` cannot be used.
    pub(crate) fn offline_count(&self) -> usize {
        self.offline.len() + self.failed().count()
    }

    /// What those that failed have of a replica.
    pub(super) fn in_failed(&self, name: &TopicPartition, key: Key) -> InFailed {
        let found = self.failed().map(|it| it.in_failed(name, key));
        found.max().unwrap_or(InFailed::Nothing)
    }

    /// The directory that is named so, from the root on.
    pub(crate) fn named(&self, path: &Path) -> Option<usize> {
        let is_it = |directory: &Arc<DataDirectory>| {
            std::path::absolute(directory.path()).is_ok_and(|it| it == path)
        };
        self.all.iter().position(is_it)
    }

    /// The logs of this name that are open and can be used: of one topic there is one at most.
    pub(super) fn open(
        &self,
        name: &TopicPartition,
    ) -> Vec<(&Arc<DataDirectory>, Arc<PartitionLog>)> {
        let found = self.usable().filter_map(|directory| {
            let log = directory.logs().get(name)?;
            Some((directory, log))
        });
        found.collect()
    }

    pub(super) fn is_open(&self, name: &TopicPartition) -> bool {
        self.usable().any(|it| it.logs().get(name).is_some())
    }

    /// Where there is a log of this name that cannot be opened.
    pub(super) fn offline(
        &self,
        name: &TopicPartition,
    ) -> impl Iterator<Item = &Arc<DataDirectory>> {
        self.usable().filter(|it| it.logs().is_offline(name))
    }

    /// Where this log is kept though its topic was deleted.
    pub(super) fn buried(&self, topic_id: Uuid, index: i32) -> Option<&Arc<DataDirectory>> {
        self.usable()
            .find(|it| it.logs().is_buried(topic_id, index))
    }

    /// The log is to be made there once it is made, whatever becomes of the partition on other brokers until then: tools say
    /// so first, and have the replica come afterwards.
    pub(crate) fn want(&self, log: Key, directory: usize) {
        self.wanted.lock().insert(log, directory);
    }

    /// It was to be here, and is not any more.
    pub(super) fn forget_wanted(&self, log: Key) {
        self.wanted.lock().remove(&log);
    }

    /// Nor any of its topic.
    pub(super) fn forget_wanted_of(&self, topic_id: Uuid) {
        self.wanted.lock().retain(|(id, _), _| *id != topic_id);
    }

    #[cfg(test)]
    pub(super) fn wants(&self, log: Key) -> Option<usize> {
        self.wanted.lock().get(&log).copied()
    }

    /// Makes a new log where it has most room. Also where that failed it is told whose disk it was. A flush that failed ends
    /// the use of its directory: what another one says is not to be believed.
    pub(super) fn create(
        &self,
        name: &TopicPartition,
        topic_id: Uuid,
        config: Arc<LogConfig>,
    ) -> (&Arc<DataDirectory>, Result<Arc<PartitionLog>, OpenError>) {
        let (directory, created) = self.create_at(
            self.place((topic_id, name.partition)),
            name,
            topic_id,
            config,
        );
        if let Err(error) = &created {
            directory.failure().open_failed(error);
        }
        (directory, created)
    }

    fn create_at(
        &self,
        at: usize,
        name: &TopicPartition,
        topic_id: Uuid,
        config: Arc<LogConfig>,
    ) -> (&Arc<DataDirectory>, Result<Arc<PartitionLog>, OpenError>) {
        // What is in one that failed is older: nobody is asked to believe that directory.
        let others = self.usable().filter(|it| !Arc::ptr_eq(it, &self.all[at]));
        for other in others {
            if let Err(error) = other.logs().vacate(name) {
                return (other, Err(error));
            }
        }
        let directory = &self.all[at];
        let created = directory
            .logs()
            .create(name.clone(), topic_id, config, wall_clock_ms());
        match &created {
            Ok(_) => self.forget_wanted((topic_id, name.partition)),
            // It is this log's alone: its name is taken, or an earlier topic's log has it and cannot be buried.
            Err(OpenError::Exists(_)) => {}
            Err(_) if directory.logs().is_being_buried(name) => {}
            Err(_) => {
                self.refused.lock().insert(at, Instant::now());
                *self.placing.lock() = None;
            }
        }
        (directory, created)
    }

    fn place(&self, log: Key) -> usize {
        if self.all.len() == 1 {
            return 0;
        }
        let usable = self.all.iter().enumerate();
        let usable = usable.filter(|(_, it)| !it.has_failed());
        let usable: Vec<_> = usable.map(|(at, _)| at).collect();
        let mut placed = self.placing.lock();
        let is_new = |it: &Placed| it.since.elapsed() < PLACING_AGE_MAX && it.usable == usable;
        if !placed.as_ref().is_some_and(is_new) {
            *placed = Some(Placed {
                since: Instant::now(),
                placing: Placing::new(&self.rooms(&usable)),
                usable,
            });
        }
        let wanted = self.wanted.lock().get(&log).copied();
        let at = placed.as_mut().and_then(
            |Placed {
                 usable, placing, ..
             }| {
                let wanted = usable.iter().position(|at| Some(*at) == wanted);
                let place = match wanted {
                    Some(at) if placing.is_roomy(at) => {
                        placing.count_on(at);
                        at
                    }
                    _ => placing.place()?,
                };
                usable.get(place).copied()
            },
        );
        at.unwrap_or(0)
    }

    fn rooms(&self, usable: &[usize]) -> Vec<Room> {
        let mut refused = self.refused.lock();
        refused.retain(|_, at| at.elapsed() < REFUSED_PAUSE);
        let rooms = usable.iter().map(|at| {
            let directory = &self.all[*at];
            let seen = directory.room();
            let bytes_free =
                seen.map_or(0, |it| it.room.bytes_free.saturating_sub(it.reserve_bytes));
            let logs = directory.logs();
            Room {
                bytes_free,
                is_roomy: directory.disk_gate().space() == Space::Roomy
                    && !refused.contains_key(at),
                log_bytes: logs.logs().iter().map(|log| log.size_bytes()).collect(),
            }
        });
        rooms.collect()
    }
}
