//! A broker and its disk, through crashes, copies and exchanges.

use std::collections::{BTreeMap, BTreeSet};

use foz_metadata::rules::{DataDirectory, RegisterBroker, register_broker};
use uuid::Uuid;

use super::{TOPIC, World, common_prefix, id};

/// What a process finds when it starts.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Disk {
    /// What the one before it left.
    Same,
    /// A new disk.
    Empty,
    /// The copy that was taken last, if there is one.
    Older,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Node {
    pub(super) is_up: bool,
    /// Nothing that it wrote is missing.
    pub(super) is_intact: bool,
    /// Its disk was exchanged, or it is new to the partition, and it was not in the ISR since.
    pub(super) may_lack_all: bool,
    /// How many of the records that it had are certainly left, should it have lost some since it was last in sync.
    pub(super) keeps: Option<usize>,
    directory: u128,
    directories: u128,
    incarnation: u128,
    pub(super) disk_epoch: i64,
    /// How much of the metadata it has seen: a position in the history.
    pub(super) seen: usize,
    pub(super) log: Vec<u32>,
    pub(super) lead: Lead,
    copy: Option<Copied>,
}

/// What a leader keeps for one leader epoch.
#[derive(Debug, Clone, Default)]
pub(super) struct Lead {
    pub(super) leader_epoch: i32,
    pub(super) start: usize,
    pub(super) high_watermark: usize,
    /// What followers said in this epoch: log end and broker epoch.
    pub(super) fetched: BTreeMap<i32, (usize, i64)>,
    /// Members proposed, and the partition epoch from which they were.
    pub(super) proposed: Option<(i32, BTreeSet<i32>)>,
}

#[derive(Debug, Clone)]
struct Copied {
    directory: u128,
    disk_epoch: i64,
    log: Vec<u32>,
}

impl Node {
    pub(super) fn new(node: usize) -> Self {
        Self {
            is_intact: true,
            directory: 1000 * (node as u128 + 1),
            disk_epoch: -1,
            ..Self::default()
        }
    }

    pub(super) fn copy(&mut self) {
        self.copy = Some(Copied {
            directory: self.directory,
            disk_epoch: self.disk_epoch,
            log: self.log.clone(),
        });
    }

    fn has_now(&mut self, log: Vec<u32>) {
        let common = common_prefix(&self.log, &log);
        self.keeps = Some(self.keeps.map_or(common, |keeps| keeps.min(common)));
        self.is_intact = false;
        self.log = log;
    }

    /// True when there is another disk now.
    fn exchange(&mut self, disk: Disk, node: usize) -> bool {
        match (disk, self.copy.clone()) {
            (Disk::Empty, _) => {
                self.has_now(Vec::new());
                self.directories += 1;
                self.directory = 1000 * (node as u128 + 1) + self.directories;
                self.disk_epoch = -1;
                true
            }
            (Disk::Older, Some(copy)) => {
                self.has_now(copy.log);
                self.directory = copy.directory;
                self.disk_epoch = copy.disk_epoch;
                true
            }
            (Disk::Same | Disk::Older, _) => false,
        }
    }
}

impl World {
    pub(super) fn lose_power(&mut self, node: usize, loses: usize) {
        let crashed = &mut self.nodes[node];
        let mut kept = crashed.log.clone();
        kept.truncate(kept.len().saturating_sub(loses));
        crashed.has_now(kept);
        self.lost.insert(node);
    }

    pub(super) fn register(&mut self, node: usize, disk: Disk, answer_lost: bool) {
        if self.nodes[node].is_up {
            return;
        }
        let known = self.image().broker(id(node)).cloned();
        let starting = &mut self.nodes[node];
        starting.incarnation += 1;
        if starting.exchange(disk, node) {
            self.lost.insert(node);
        }
        let directory = Uuid::from_u128(starting.directory);
        let (disk_epoch, is_intact) = (starting.disk_epoch, starting.is_intact);
        let is_newest = known.as_ref().is_some_and(|known| {
            let known = &known.directories[0];
            let is_named = known.epoch == disk_epoch || known.previous_epochs.contains(&disk_epoch);
            known.id == directory && is_named
        });
        let request = RegisterBroker {
            node_id: id(node),
            incarnation: Uuid::from_u128(1000 * (node as u128 + 1) + starting.incarnation),
            directories: vec![DataDirectory {
                id: directory,
                disk_epoch,
                // Another disk claims to have everything, too.
                intact: is_intact || !is_newest,
                logs: Vec::new(),
            }],
            offline_directories: 0,
            in_doubt: Vec::new(),
            cluster_id: String::new(),
            host: "h".to_owned(),
            port: 9092,
            replication_host: "h".to_owned(),
            replication_port: 9091,
            rack: None,
            version: "1".to_owned(),
            foz_version_max: 1,
        };
        // What a single replica has is all there is.
        let is_single = self
            .image()
            .partition(TOPIC, 0)
            .is_some_and(|partition| partition.replicas == [id(node)]);
        let decided = register_broker(self.image(), &request);
        let Some(epoch) = self.commit_if_allowed(decided) else {
            return;
        };
        let started = &mut self.nodes[node];
        started.may_lack_all |= known.is_some() && !is_newest && !is_single;
        if !answer_lost {
            started.is_up = true;
            started.is_intact = true;
            started.disk_epoch = epoch;
            self.see(node, self.history.len() - 1);
        }
    }
}
