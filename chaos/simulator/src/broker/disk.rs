//! What a broker's volume holds.

use std::collections::BTreeMap;

use uuid::Uuid;

use super::log::Log;
use crate::scenario::CLUSTER_ID;

#[derive(Debug, Clone)]
pub(crate) struct Disk {
    pub(crate) directory: Uuid,
    /// With which epoch it was registered last; -1: never.
    pub(crate) epoch: i64,
    /// The boot of the kernel at that time.
    pub(crate) boot: u64,
    /// The mark of a clean stop: the broker epoch of it.
    pub(crate) clean_stop: Option<i64>,
    /// By partition.
    pub(crate) logs: BTreeMap<i32, Log>,
}

impl Disk {
    pub(crate) fn empty(directory: Uuid) -> Self {
        Self {
            directory,
            epoch: -1,
            boot: 0,
            clean_stop: None,
            logs: BTreeMap::new(),
        }
    }

    pub(crate) fn cluster_id(&self) -> String {
        if self.epoch < 0 {
            String::new()
        } else {
            CLUSTER_ID.to_owned()
        }
    }

    /// Registered: durable before anything else is done.
    pub(crate) fn join(&mut self, epoch: i64, boot: u64) {
        self.epoch = epoch;
        self.boot = boot;
    }

    /// A process opens it: whether nothing of what it held is missing.
    pub(crate) fn open(&mut self, boot: u64) -> bool {
        let stopped_cleanly = self.clean_stop.take() == Some(self.epoch);
        stopped_cleanly || self.boot == boot
    }
}
