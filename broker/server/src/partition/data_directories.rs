//! All of `log.dirs`, in their order.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use foz_log::{LogConfig, OpenError, PartitionLog, TopicPartition};
use parking_lot::Mutex;
use uuid::Uuid;

use super::placing::{Placing, Room};
use super::{DataDirectory, Key, wall_clock_ms};
use crate::disk_space::Space;

/// So long one look at all logs and disks counts for where new logs go.
const PLACING_AGE_MAX: Duration = Duration::from_secs(1);

/// So long a directory in which a log could not be made comes after the others.
const REFUSED_PAUSE: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(crate) struct DataDirectories {
    all: Vec<Arc<DataDirectory>>,
    placing: Mutex<Option<(Instant, Placing)>>,
    /// Where somebody wants logs that are not here yet (KIP-113): it goes with the process, as in Kafka.
    wanted: Mutex<HashMap<Key, usize>>,
    /// When the last log could not be made there, whatever the reason.
    refused: Mutex<HashMap<usize, Instant>>,
}

impl DataDirectories {
    pub(super) fn new(all: Vec<Arc<DataDirectory>>) -> Self {
        Self {
            all,
            placing: Mutex::default(),
            wanted: Mutex::default(),
            refused: Mutex::default(),
        }
    }

    pub(crate) fn all(&self) -> &[Arc<DataDirectory>] {
        &self.all
    }

    /// The directory that is named so, from the root on.
    pub(crate) fn named(&self, path: &Path) -> Option<usize> {
        let is_it = |directory: &Arc<DataDirectory>| {
            std::path::absolute(directory.path()).is_ok_and(|it| it == path)
        };
        self.all.iter().position(is_it)
    }

    /// The logs of this name that are open: of one topic there is one at most.
    pub(super) fn open(
        &self,
        name: &TopicPartition,
    ) -> Vec<(&Arc<DataDirectory>, Arc<PartitionLog>)> {
        let found = self.all.iter().filter_map(|directory| {
            let log = directory.logs().get(name)?;
            Some((directory, log))
        });
        found.collect()
    }

    pub(super) fn is_open(&self, name: &TopicPartition) -> bool {
        self.all.iter().any(|it| it.logs().get(name).is_some())
    }

    /// Where there is a log of this name that cannot be used.
    pub(super) fn offline(
        &self,
        name: &TopicPartition,
    ) -> impl Iterator<Item = &Arc<DataDirectory>> {
        self.all.iter().filter(|it| it.logs().is_offline(name))
    }

    /// Where this log is kept though its topic was deleted.
    pub(super) fn buried(&self, topic_id: Uuid, index: i32) -> Option<&Arc<DataDirectory>> {
        self.all
            .iter()
            .find(|it| it.logs().is_buried(topic_id, index))
    }

    /// The log is to be made there once it is made.
    pub(crate) fn want(&self, log: Key, directory: usize) {
        self.wanted.lock().insert(log, directory);
    }

    /// Nobody makes it here any more.
    pub(super) fn forget_wanted(&self, log: Key) {
        self.wanted.lock().remove(&log);
    }

    /// Nor any of its topic.
    pub(super) fn forget_wanted_of(&self, topic_id: Uuid) {
        self.wanted.lock().retain(|(id, _), _| *id != topic_id);
    }

    /// Makes a new log where it has most room. Also where that failed it is told whose disk it was. A flush that failed ends
    /// the process: what another one says is not to be believed.
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
        if let Err(error) = &created
            && error.is_failed_flush()
        {
            directory.fail_stop().log_stopped(name, error);
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
        for other in self.all.iter().filter(|it| !Arc::ptr_eq(it, &self.all[at])) {
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
            // It is this log's alone.
            Err(OpenError::Exists(_)) => {}
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
        let mut placing = self.placing.lock();
        let is_new = |(at, _): &(Instant, Placing)| at.elapsed() < PLACING_AGE_MAX;
        if !placing.as_ref().is_some_and(is_new) {
            *placing = Some((Instant::now(), Placing::new(&self.rooms())));
        }
        let placing = placing.as_mut().map(|(_, placing)| placing);
        let wanted = self.wanted.lock().get(&log).copied();
        let at = placing.and_then(|placing| match wanted {
            Some(at) if placing.is_roomy(at) => {
                placing.count_on(at);
                Some(at)
            }
            _ => placing.place(),
        });
        at.unwrap_or(0)
    }

    fn rooms(&self) -> Vec<Room> {
        let mut refused = self.refused.lock();
        refused.retain(|_, at| at.elapsed() < REFUSED_PAUSE);
        let rooms = self.all.iter().enumerate().map(|(at, directory)| {
            let seen = directory.room();
            let bytes_free =
                seen.map_or(0, |it| it.room.bytes_free.saturating_sub(it.reserve_bytes));
            let logs = directory.logs().logs();
            Room {
                bytes_free,
                is_roomy: directory.disk_gate().space() == Space::Roomy
                    && !refused.contains_key(&at),
                log_bytes: logs.iter().map(|log| log.size_bytes()).collect(),
            }
        });
        rooms.collect()
    }
}
