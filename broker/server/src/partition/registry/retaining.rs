//! Drops what is not to be kept.

use std::collections::BTreeSet;
use std::sync::Arc;

use foz_log::StorageError;
use tracing::{error, warn};

use super::{Key, Partitions};
use crate::broker::Broker;
use crate::partition::{DataDirectory, Partition, wall_clock_ms};

impl Partitions {
    /// Drops what retention no longer keeps in one directory, as long as `proceed` says so. It looks into every log, also
    /// those that nobody uses. Blocks.
    pub(crate) fn apply_retention(
        &self,
        directory: &Arc<DataDirectory>,
        proceed: &dyn Fn() -> bool,
    ) {
        // Only of partitions that the metadata has given: before that nobody knows what their topics
        // keep, and Kafka's default would delete what `retention.ms=-1` keeps for ever. Followers drop
        // their own, too.
        for partition in self.all_in(directory) {
            if !proceed() {
                return;
            }
            retain(&partition);
        }
    }

    /// Makes durable where logs of one directory start that moved their start, and has leaders hear of it. What is before
    /// is removed soon. Blocks.
    ///
    /// # Errors
    /// [`StorageError`]: what is not durable yet is due again.
    pub(crate) fn write_due_starts(
        &self,
        broker: &Broker,
        directory: &DataDirectory,
        due: &BTreeSet<Key>,
    ) -> Result<(), StorageError> {
        let partitions: Vec<_> = due.iter().filter_map(|(id, n)| self.get(*id, *n)).collect();
        let written = match partitions.iter().all(is_start_durable) || directory.has_failed() {
            true => Ok(()),
            false => write_starts(directory),
        };
        for partition in &partitions {
            // Whoever deleted records waits for the fetch that says so; another checkpoint may have been faster.
            if is_start_durable(partition) {
                broker.fetchers.fetch_anew(partition.key());
            } else if !directory.has_failed() {
                partition
                    .located()
                    .directory
                    .due_starts()
                    .add(partition.key());
            }
            partition
                .located()
                .directory
                .due_retention()
                .add(partition.key());
        }
        written
    }

    /// Removes what these partitions are not to keep any more. Blocks.
    pub(crate) fn apply_due_retention(&self, due: &BTreeSet<Key>, proceed: &dyn Fn() -> bool) {
        for (id, index) in due {
            if !proceed() {
                return;
            }
            if let Some(partition) = self.get(*id, *index) {
                retain(&partition);
            }
        }
    }

    /// Makes durable what was [deleted](Partition::delete_records) in these partitions, and has whole segments before it
    /// removed soon. Those in whose directory that cannot be written down: it is deleted, but may come back. Blocks.
    pub(crate) fn delete_durably(&self, partitions: &[Arc<Partition>]) -> BTreeSet<Key> {
        for partition in partitions {
            partition
                .located()
                .directory
                .due_retention()
                .add(partition.key());
        }
        let mut may_come_back = BTreeSet::new();
        for directory in self.directories.all() {
            let here = || partitions.iter().filter(|it| it.is_in(directory));
            if !here().all(is_start_durable) && !are_starts_written(directory) {
                may_come_back.extend(here().map(|it| it.key()));
            }
        }
        may_come_back
    }
}

fn are_starts_written(directory: &DataDirectory) -> bool {
    if directory.has_failed() {
        return false;
    }
    let written = write_starts(directory);
    if let Err(reason) = &written {
        let directory = directory.path().display();
        error!(%directory, %reason, "deleted records would come back after a crash");
    }
    written.is_ok()
}

fn write_starts(directory: &DataDirectory) -> Result<(), StorageError> {
    let written = directory.logs().checkpoint_log_starts();
    written.inspect_err(|error| directory.failure().storage_failed(error))
}

fn is_start_durable(partition: &Arc<Partition>) -> bool {
    let log = partition.log();
    log.durable_log_start_offset() >= log.log_start_offset()
}

fn retain(partition: &Partition) {
    let located = partition.located();
    if let Err(error) = located.log.apply_retention(wall_clock_ms()) {
        warn!(partition = partition.name(), %error, "retention not applied");
        located.directory.failure().storage_failed(&error);
    }
}
