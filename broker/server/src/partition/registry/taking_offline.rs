//! A data directory has failed: what it held neither leads nor follows any more.

use std::collections::BTreeSet;
use std::sync::Arc;

use tracing::warn;

use super::{Key, Partitions};
use crate::broker::Broker;
use crate::partition::{DataDirectory, Partition};

impl Partitions {
    /// Takes every replica of a directory that failed out of service, and touches no file of it. No log is made in the place
    /// of any of them. Returns those that are to be [put to rest](Self::put_to_rest): who writes there may hang, and
    /// nobody waits for that here.
    #[must_use]
    pub(crate) fn take_offline(
        &self,
        broker: &Broker,
        directory: &Arc<DataDirectory>,
    ) -> Vec<Arc<Partition>> {
        // Nobody opens anything meanwhile, and what comes afterwards knows that the directory has failed.
        let _applied = self.applied.lock();
        let held = self.all_in(directory);
        for partition in &held {
            broker.fetchers.leave(partition.key());
            // Before it is not found: who asks is told why.
            self.offline.add_offline(partition.topic_partition());
            self.held.write().remove(&partition.key());
        }
        for name in directory.logs().offline() {
            if self.directories.offline(&name).next().is_none() {
                self.offline.remove(&name);
                self.offline.add_offline(&name);
            }
        }
        let (path, replicas) = (directory.path().display(), held.len());
        warn!(directory = %path, replicas, "the replicas of a data directory that failed are out of service");
        // What could not be made there is made in another.
        self.reports.damage.notify_one();
        held
    }

    /// Tells those who wait for these partitions, which nobody finds any more. Blocks until nobody writes in their directory.
    pub(crate) fn put_to_rest(directory: &DataDirectory, held: &[Arc<Partition>]) {
        for partition in held {
            partition.resign();
        }
        directory.logs().abandon();
    }

    /// Replicas that this broker cannot use, as their directories have failed. None of which another directory has the log:
    /// that is what counts, and each registration would take back what was told.
    pub(crate) fn failed_replicas(&self) -> BTreeSet<Key> {
        let failed = self.directories.failed();
        let mut replicas: BTreeSet<_> = failed.flat_map(|it| it.failed_replicas()).collect();
        for key in self.directories.usable().flat_map(|it| it.logs().listed()) {
            replicas.remove(&key);
        }
        replicas
    }
}
