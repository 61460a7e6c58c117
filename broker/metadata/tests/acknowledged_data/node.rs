//! A broker and its disks, through crashes, copies and exchanges.

use std::collections::{BTreeMap, BTreeSet};

use foz_metadata::image::{Broker, SupportedFeatures};
use foz_metadata::rules::{
    DataDirectory, LogInDoubt, RegisterBroker, ReportOfflineReplicas, register_broker,
    report_offline_replicas,
};
use uuid::Uuid;

use super::{TOPIC, TOPIC_ID, World, common_prefix, id};

/// What a process finds in one of its directories when it starts.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Disk {
    /// What the one before it left, whatever that is.
    Untouched,
    /// As above; where it was taken out, it is back.
    Same,
    /// A new disk.
    Empty,
    /// The copy that was taken last, if there is one.
    Older,
    /// It is not among `log.dirs` any more.
    TakenOut,
    /// It cannot be used.
    Failed,
    /// The log in it is damaged, and ends so many records earlier.
    Damaged { loses: usize },
    /// The log in it is gone, and nothing else.
    Missing,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Node {
    pub(super) is_up: bool,
    /// Nothing that it wrote is missing, as far as the metadata goes.
    pub(super) is_intact: bool,
    /// Its disk was exchanged, or it is new to the partition, and it was not in the ISR since.
    pub(super) may_lack_all: bool,
    /// As above, when it was the only replica: then that is all there is.
    pub(super) lost_as_single: bool,
    /// How many of the records that it had are certainly left, should it have lost some since it was last in sync.
    pub(super) keeps: Option<usize>,
    slots: Vec<Slot>,
    ids: u128,
    incarnation: u128,
    /// Of its newest registration that it heard of.
    pub(super) epoch: i64,
    /// How much of the metadata it has seen: a position in the history.
    pub(super) seen: usize,
    /// Where its log is; `None`: it has none that it can use.
    place: Option<usize>,
    pub(super) log: Vec<u32>,
    /// Where it was last, and how it was.
    home: Option<usize>,
    had: Vec<u32>,
    /// The directory of its log failed while it ran: it makes none in another one.
    failed: bool,
    pub(super) lead: Lead,
}

/// One of its `log.dirs`.
#[derive(Debug, Clone)]
struct Slot {
    directory: u128,
    disk_epoch: i64,
    /// Nothing that was written is missing.
    is_intact: bool,
    is_here: bool,
    has_failed: bool,
    /// Its log is damaged or missing, which every process finds until one is registered.
    doubt: Option<Doubt>,
    /// While nobody uses it.
    log: Option<Vec<u32>>,
    copy: Option<Copied>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Doubt {
    Damaged,
    Missing,
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
    log: Option<Vec<u32>>,
}

impl Node {
    pub(super) fn new(node: usize, directories: usize) -> Self {
        let mut new = Self {
            is_intact: true,
            epoch: -1,
            ids: 1000 * (node as u128 + 1),
            ..Self::default()
        };
        for _ in 0..directories {
            let slot = new.new_slot();
            new.slots.push(slot);
        }
        new
    }

    fn new_slot(&mut self) -> Slot {
        self.ids += 1;
        Slot {
            directory: self.ids,
            disk_epoch: -1,
            is_intact: true,
            is_here: true,
            has_failed: false,
            doubt: None,
            log: None,
            copy: None,
        }
    }

    pub(super) fn place(&self) -> Option<usize> {
        self.place
    }

    pub(super) fn has_log(&self) -> bool {
        self.place.is_some()
    }

    pub(super) fn may_make_log(&self) -> bool {
        self.is_up && !self.failed && !self.has_log()
    }

    /// In a directory that it has.
    pub(super) fn make_log(&mut self) {
        let here = |at: &usize| self.slots[*at].is_here;
        let usable: Vec<usize> = (0..self.slots.len()).filter(here).collect();
        // Not always in the same one.
        let at = usize::try_from(self.incarnation).unwrap() + self.seen;
        self.place = Some(usable[at % usable.len()]);
        self.log.clear();
    }

    pub(super) fn delete_log(&mut self) {
        (self.place, self.home) = (None, None);
        self.log.clear();
        self.had.clear();
    }

    fn put_down(&mut self) {
        if let Some(place) = self.place.take() {
            self.home = Some(place);
            self.had = std::mem::take(&mut self.log);
            self.slots[place].log = Some(self.had.clone());
        }
    }

    /// While it runs. False where it is the last that it can use, with which the process ends.
    fn fail(&mut self, at: usize) -> bool {
        let at = at % self.slots.len();
        let others = self.slots.iter().filter(|slot| slot.is_here).count() > 1;
        let fails = self.is_up && others && self.slots[at].is_here;
        if fails {
            (self.slots[at].is_here, self.slots[at].has_failed) = (false, true);
            if self.place == Some(at) {
                self.put_down();
                (self.failed, self.is_intact) = (true, false);
            }
        }
        fails
    }

    fn has_failed_directory(&self) -> bool {
        self.slots.iter().any(|slot| slot.has_failed)
    }

    pub(super) fn copy(&mut self, at: usize) {
        let at = at % self.slots.len();
        let in_use = (self.place == Some(at)).then(|| self.log.clone());
        let slot = &mut self.slots[at];
        slot.copy = Some(Copied {
            directory: slot.directory,
            disk_epoch: slot.disk_epoch,
            log: in_use.or_else(|| slot.log.clone()),
        });
    }

    fn has_now(&mut self, log: Vec<u32>) {
        let common = common_prefix(&self.log, &log);
        self.keeps = Some(self.keeps.map_or(common, |keeps| keeps.min(common)));
        self.is_intact = false;
        self.log = log;
    }

    /// Something happens to a directory while nobody uses it.
    fn change(&mut self, at: usize, disk: Disk) {
        let is_only_one = self.slots.iter().filter(|slot| slot.is_here).count() == 1;
        let slot = &mut self.slots[at];
        match (disk, slot.copy.clone()) {
            (Disk::Untouched, _) => {}
            (Disk::Empty, _) => {
                let copy = slot.copy.take();
                self.slots[at] = self.new_slot();
                self.slots[at].copy = copy;
            }
            (Disk::Older, Some(copy)) => {
                slot.directory = copy.directory;
                slot.disk_epoch = copy.disk_epoch;
                slot.log = copy.log;
                (slot.is_here, slot.has_failed) = (true, false);
                // Another mount.
                slot.is_intact = false;
                slot.doubt = None;
            }
            (Disk::TakenOut | Disk::Failed, _) if slot.is_here && is_only_one => {}
            (Disk::TakenOut, _) => (slot.is_here, slot.has_failed) = (false, false),
            (Disk::Failed, _) => (slot.is_here, slot.has_failed) = (false, true),
            (Disk::Same | Disk::Older, _) => (slot.is_here, slot.has_failed) = (true, false),
            (Disk::Damaged { loses }, _) => {
                if let Some(log) = &mut slot.log {
                    log.truncate(log.len().saturating_sub(loses));
                    slot.doubt = Some(Doubt::Damaged);
                }
            }
            (Disk::Missing, _) => {
                if slot.log.take().is_some() {
                    slot.doubt = Some(Doubt::Missing);
                }
            }
        }
    }

    /// The next process begins. True where it has something else than the one before it.
    fn find(&mut self) -> bool {
        let slots = self.slots.iter().enumerate();
        let with_log = slots.filter(|(_, slot)| slot.is_here && slot.log.is_some());
        // The others are set aside: they are older.
        let newest = with_log.max_by_key(|(_, slot)| slot.disk_epoch);
        self.place = newest.map(|(at, _)| at);
        let mut log = Vec::new();
        for (at, slot) in self
            .slots
            .iter_mut()
            .enumerate()
            .filter(|(_, it)| it.is_here)
        {
            let found = slot.log.take();
            if self.place == Some(at) {
                log = found.unwrap_or_default();
            }
        }
        if self.place.is_none() && self.home.is_some_and(|home| self.may_come_back(home)) {
            self.is_intact = false;
            return true;
        }
        let is_another = log != self.had || self.place != self.home;
        if is_another {
            self.log = std::mem::take(&mut self.had);
            self.has_now(log);
            self.home = self.place;
        } else {
            self.log = log;
        }
        is_another
    }

    /// Those are not used before somebody brings them back: they are older than one that is away. Whether any is left.
    fn leave_out(&mut self, older: &[Uuid]) -> bool {
        for slot in &mut self.slots {
            if older.contains(&Uuid::from_u128(slot.directory)) {
                (slot.is_here, slot.has_failed) = (false, true);
            }
        }
        let is_left = self.slots.iter().any(|slot| slot.is_here);
        if !is_left {
            // Its process ends, and nobody has what is away.
            self.is_intact = false;
            for slot in &mut self.slots {
                slot.is_here |= older.contains(&Uuid::from_u128(slot.directory));
            }
        }
        is_left
    }

    /// As long as one directory cannot be used, nobody knows what was in which of those that are not here.
    fn may_come_back(&self, at: usize) -> bool {
        !self.slots[at].is_here && self.has_failed_directory()
    }

    /// Of those that may hold something. Of a replica that is marked they hold something.
    fn lacks_one_of(&self, known: &Broker, is_marked: bool) -> bool {
        let slot = |id: Uuid| {
            let mut here = self.slots.iter().filter(|slot| slot.is_here);
            here.find(|slot| Uuid::from_u128(slot.directory) == id)
        };
        let mut found = known.directories.iter().map(|it| slot(it.id));
        let is_away = found.clone().any(|slot| slot.is_none());
        let is_there = |slot: Option<&Slot>| slot.is_some_and(|slot| slot.is_newest(Some(known)));
        let is_missing = is_marked || found.any(|slot| !is_there(slot));
        is_missing && !(is_away && self.has_failed_directory())
    }

    /// What it held may have been made anew in one that is gone since.
    fn is_older_than_gone(&self, at: usize, known: &Broker) -> bool {
        let here = |id: Uuid| {
            let mut here = self.slots.iter().filter(|slot| slot.is_here);
            here.find(|slot| Uuid::from_u128(slot.directory) == id)
        };
        let directory = Uuid::from_u128(self.slots[at].directory);
        let epoch = known.directories.iter().find(|it| it.id == directory);
        let is_gone = |id: Uuid| here(id).is_none_or(|slot| !slot.is_newest(Some(known)));
        let mut gone = known.directories.iter().filter(|it| is_gone(it.id));
        epoch.is_some_and(|epoch| gone.any(|it| it.epoch > epoch.epoch))
    }

    /// That of a directory that has just failed it cannot use, and nobody else knows that yet.
    pub(super) fn log_or_what_failed(&self) -> &[u32] {
        match self.failed {
            true => &self.had,
            false => &self.log,
        }
    }

    fn directories(&self, known: Option<&Broker>) -> Vec<DataDirectory> {
        let slots = self.slots.iter().enumerate();
        let here = slots.filter(|(_, slot)| slot.is_here);
        here.map(|(at, slot)| DataDirectory {
            id: Uuid::from_u128(slot.directory),
            disk_epoch: slot.disk_epoch,
            // Another disk claims to have everything, too.
            intact: slot.is_intact || !slot.is_newest(known),
            logs: match self.place == Some(at) {
                true => vec![(TOPIC_ID, 0)],
                false => Vec::new(),
            },
        })
        .collect()
    }
}

impl Slot {
    /// Whether it is as the newest registration left it.
    fn is_newest(&self, known: Option<&Broker>) -> bool {
        known.is_some_and(|known| {
            let mut directories = known.directories.iter();
            let of_id = directories.find(|it| it.id == Uuid::from_u128(self.directory));
            of_id.is_some_and(|it| {
                it.epoch == self.disk_epoch || it.previous_epochs.contains(&self.disk_epoch)
            })
        })
    }
}

impl World {
    pub(super) fn lose_power(&mut self, node: usize, loses: usize) {
        let crashed = &mut self.nodes[node];
        let mut kept = crashed.log.clone();
        kept.truncate(kept.len().saturating_sub(loses));
        crashed.has_now(kept);
        for slot in &mut crashed.slots {
            slot.is_intact = false;
        }
        self.lost.insert(node);
    }

    pub(super) fn fail(&mut self, node: usize, at: usize) {
        if self.nodes[node].fail(at) {
            self.lost.insert(node);
        }
    }

    pub(super) fn report(&mut self, node: usize) {
        if !self.nodes[node].is_up || !self.nodes[node].failed {
            return;
        }
        let request = ReportOfflineReplicas {
            node_id: id(node),
            broker_epoch: self.nodes[node].epoch,
            replicas: [(TOPIC_ID, 0)].into(),
        };
        let decided = report_offline_replicas(self.image(), &request);
        if self.commit_if_allowed(decided).is_some() {
            self.nodes[node].is_intact = true;
        }
    }

    /// The first is what happened to the directory, the second what happened to the next one.
    pub(super) fn register(&mut self, node: usize, at: usize, disks: [Disk; 2], answer_lost: bool) {
        if self.nodes[node].is_up {
            return;
        }
        let starting = &mut self.nodes[node];
        starting.incarnation += 1;
        starting.put_down();
        let slots = starting.slots.len();
        for (nth, disk) in disks.into_iter().enumerate().take(slots) {
            starting.change((at + nth) % slots, disk);
        }
        // To the metadata a disk put back is another one, whatever is on it.
        let is_same = |disk: &Disk| matches!(disk, Disk::Same | Disk::Untouched);
        if !disks.iter().take(slots).all(is_same) {
            self.lost.insert(node);
        }
        loop {
            let before = self.nodes[node].clone();
            let Err(older) = self.try_register(node, answer_lost) else {
                return;
            };
            self.nodes[node] = before;
            if !self.nodes[node].leave_out(&older) {
                self.lost.insert(node);
                return;
            }
        }
    }

    /// Or else those directories without which it may.
    fn try_register(&mut self, node: usize, answer_lost: bool) -> Result<(), Vec<Uuid>> {
        let known = self.image().broker(id(node)).cloned();
        let known = known.as_deref();
        let starting = &mut self.nodes[node];
        let was_in = starting.home;
        let has_another = starting.find();
        let starting = &self.nodes[node];
        let doubts = starting.slots.iter().filter(|slot| slot.is_here);
        let doubts: Vec<Doubt> = doubts.filter_map(|slot| slot.doubt).collect();
        let is_missing = doubts.contains(&Doubt::Missing) && !starting.has_log();
        // What a disk has that was set back within its newest registration counts as the begin of what it had.
        let is_lost = |at: usize| {
            let slot = &starting.slots[at];
            !starting.may_come_back(at) && (!slot.is_here || !slot.is_newest(known))
        };
        // It was made anew elsewhere since.
        let newer_in = was_in.filter(|was_in| starting.place.is_some_and(|at| at != *was_in));
        let is_stale = newer_in.is_some();
        let may_have_newer = newer_in.is_some_and(|at| starting.may_come_back(at));
        let partition = self.image().partition(TOPIC, 0);
        let is_marked = partition.is_some_and(|it| it.offline.contains(&id(node)));
        let lost_log = match starting.place.or(was_in) {
            _ if is_missing || is_stale => true,
            Some(at) => {
                let is_older = |known| starting.is_older_than_gone(at, known);
                is_lost(at) || starting.has_log() && known.is_some_and(is_older)
            }
            // It had none yet, and nobody can know that.
            None => known.is_some_and(|known| starting.lacks_one_of(known, is_marked)),
        };
        let in_doubt = LogInDoubt {
            topic_id: None,
            topic: TOPIC.to_owned(),
            index: 0,
            missing: is_missing,
        };
        let request = RegisterBroker {
            node_id: id(node),
            incarnation: Uuid::from_u128(1000 * (node as u128 + 1) + starting.incarnation),
            directories: starting.directories(known),
            offline_directories: i32::try_from(
                starting.slots.iter().filter(|it| it.has_failed).count(),
            )
            .unwrap(),
            in_doubt: (!doubts.is_empty())
                .then_some(in_doubt)
                .into_iter()
                .collect(),
            cluster_id: String::new(),
            host: "h".to_owned(),
            port: 9092,
            replication_host: "h".to_owned(),
            replication_port: 9091,
            rack: None,
            version: "1".to_owned(),
            features: SupportedFeatures::of_this_program(),
        };
        // What a single replica has is all there is.
        let is_single = self
            .image()
            .partition(TOPIC, 0)
            .is_some_and(|partition| partition.replicas == [id(node)]);
        let is_known = known.is_some();
        let decided = register_broker(self.image(), &request);
        if let Err(refusal) = &decided
            && !refusal.older_directories.is_empty()
        {
            return Err(refusal.older_directories.clone());
        }
        assert!(
            decided.is_err() || !may_have_newer,
            "it comes with a log in the place of one that may come back: {request:?}"
        );
        if has_another {
            self.lost.insert(node);
        }
        let Some(epoch) = self.commit_if_allowed(decided) else {
            return Ok(());
        };
        let started = &mut self.nodes[node];
        started.may_lack_all |= is_known && lost_log && !is_single;
        started.lost_as_single |= is_known && lost_log && is_single;
        if !answer_lost {
            started.is_up = true;
            started.is_intact = true;
            started.failed = false;
            started.epoch = epoch;
            for slot in started.slots.iter_mut().filter(|slot| slot.is_here) {
                slot.disk_epoch = epoch;
                slot.is_intact = true;
                slot.doubt = None;
            }
            self.see(node, self.history.len() - 1);
        }
        Ok(())
    }
}
