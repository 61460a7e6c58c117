//! All of `log.dirs`, in their order.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use foz_log::{LogConfig, OpenError, PartitionLog, TopicPartition};
use parking_lot::Mutex;
use uuid::Uuid;

use super::placing::{Placing, Room};
use super::{DataDirectory, wall_clock_ms};
use crate::disk_space::Space;

/// So long one look at all logs and disks counts for where new logs go.
const PLACING_AGE_MAX: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(crate) struct DataDirectories {
    all: Vec<Arc<DataDirectory>>,
    placing: Mutex<Option<(Instant, Placing)>>,
    /// Where somebody wants logs that are not here yet (KIP-113): it goes with the process, as in Kafka.
    wanted: Mutex<HashMap<TopicPartition, usize>>,
}

impl DataDirectories {
    pub(super) fn new(all: Vec<Arc<DataDirectory>>) -> Self {
        Self {
            all,
            placing: Mutex::default(),
            wanted: Mutex::default(),
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

    pub(super) fn is_being_buried(&self, name: &TopicPartition) -> bool {
        self.all.iter().any(|it| it.logs().is_being_buried(name))
    }

    /// The log is to be made there once it is made.
    pub(crate) fn want(&self, name: TopicPartition, directory: usize) {
        self.wanted.lock().insert(name, directory);
    }

    /// Nobody makes it here any more.
    pub(super) fn forget_wanted(&self, name: &TopicPartition) {
        self.wanted.lock().remove(name);
    }

    /// Makes a new log where it has most room. Also where that failed it is told whose disk it was.
    pub(super) fn create(
        &self,
        name: &TopicPartition,
        topic_id: Uuid,
        config: Arc<LogConfig>,
    ) -> (&Arc<DataDirectory>, Result<Arc<PartitionLog>, OpenError>) {
        let at = self.place(name);
        for other in self.all.iter().filter(|it| !Arc::ptr_eq(it, &self.all[at])) {
            if let Err(error) = other.logs().vacate(name) {
                return (other, Err(error.into()));
            }
        }
        let directory = &self.all[at];
        let created = directory
            .logs()
            .create(name.clone(), topic_id, config, wall_clock_ms());
        match created {
            Ok(_) => self.forget_wanted(name),
            // Its disk may be another's to try next.
            Err(_) => *self.placing.lock() = None,
        }
        (directory, created)
    }

    fn place(&self, name: &TopicPartition) -> usize {
        if self.all.len() == 1 {
            return 0;
        }
        let mut placing = self.placing.lock();
        let is_new = |(at, _): &(Instant, Placing)| at.elapsed() < PLACING_AGE_MAX;
        if !placing.as_ref().is_some_and(is_new) {
            *placing = Some((Instant::now(), Placing::new(&self.rooms())));
        }
        let placing = placing.as_mut().map(|(_, placing)| placing);
        let wanted = self.wanted.lock().get(name).copied();
        let at = placing.and_then(|placing| match wanted {
            Some(at) => {
                placing.count_on(at);
                Some(at)
            }
            None => placing.place(),
        });
        at.unwrap_or(0)
    }

    fn rooms(&self) -> Vec<Room> {
        let rooms = self.all.iter().map(|directory| {
            let seen = directory.room();
            let bytes_free =
                seen.map_or(0, |it| it.room.bytes_free.saturating_sub(it.reserve_bytes));
            let logs = directory.logs().logs();
            Room {
                bytes_free,
                is_roomy: directory.disk_gate().space() == Space::Roomy,
                log_bytes: logs.iter().map(|log| log.size_bytes()).collect(),
            }
        });
        rooms.collect()
    }
}
