//! Drops what is not to be kept.

use std::collections::BTreeSet;
use std::sync::Arc;

use foz_log::StorageError;
use tracing::warn;

use super::{Key, Partitions};
use crate::broker::Broker;
use crate::partition::{DueRetention, Partition, wall_clock_ms};

impl Partitions {
    /// Drops what retention no longer keeps, as long as `proceed` says so. It looks into every log, also those that
    /// nobody uses. Blocks.
    pub(crate) fn apply_retention(&self, proceed: &dyn Fn() -> bool) {
        // Only of partitions that the metadata has given: before that nobody knows what their topics
        // keep, and Kafka's default would delete what `retention.ms=-1` keeps for ever. Followers drop
        // their own, too.
        for partition in self.all() {
            if !proceed() {
                return;
            }
            retain(&partition);
        }
    }

    /// What waits for [`apply_due_retention`](Self::apply_due_retention).
    pub(crate) fn due_retention(&self) -> Arc<DueRetention> {
        Arc::clone(&self.reports.due_retention)
    }

    /// Makes durable where logs start that moved their start, has leaders hear of it, and removes what is before, or not
    /// to be kept any more.
    ///
    /// # Errors
    /// [`StorageError`]: where logs start is not written, all else is done.
    pub(crate) fn apply_due_retention(
        &self,
        broker: &Broker,
        due: &BTreeSet<Key>,
    ) -> Result<(), StorageError> {
        let partitions: Vec<_> = due.iter().filter_map(|(id, n)| self.get(*id, *n)).collect();
        let moved =
            |it: &&Arc<Partition>| it.log.durable_log_start_offset() < it.log.log_start_offset();
        let moved: Vec<_> = partitions.iter().filter(moved).collect();
        let written = match moved.is_empty() {
            true => Ok(()),
            false => self.directory.checkpoint_log_starts(),
        };
        if written.is_ok() {
            // Whoever deleted records waits for the fetch that says so.
            for partition in moved {
                broker.fetchers.fetch_anew(partition.key());
            }
        }
        for partition in &partitions {
            retain(partition);
        }
        written
    }

    /// Makes durable what was [deleted](Partition::delete_records) in these partitions, and has whole segments before it
    /// removed soon. Blocks.
    ///
    /// # Errors
    /// [`StorageError`]: it is deleted, but may come back.
    pub(crate) fn delete_durably(&self, partitions: &[Arc<Partition>]) -> Result<(), StorageError> {
        let is_durable =
            |it: &Arc<Partition>| it.log.durable_log_start_offset() >= it.log.log_start_offset();
        for partition in partitions {
            self.reports.due_retention.add(partition.key());
        }
        if partitions.iter().all(is_durable) {
            return Ok(());
        }
        self.directory.checkpoint_log_starts()
    }
}

fn retain(partition: &Partition) {
    if let Err(error) = partition.log.apply_retention(wall_clock_ms()) {
        warn!(partition = partition.name(), %error, "retention not applied");
    }
}
