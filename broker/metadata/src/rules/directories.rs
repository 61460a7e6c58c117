//! What a broker's directories still hold of what the quorum believes that they hold.
//!
//! A directory is judged by its id and by the epoch that it was last part of, a replica by the directory that its log is in.
//! Of a replica without a log nobody knows in which directory it was, so it is as the worst of them: nothing is missing
//! where every directory that may hold something is here and whole, for then there never was a log. While one of these is
//! away, it may be there, and comes back or does not: none is made in its place as long as the broker has a directory
//! that it cannot use.

use std::collections::{BTreeMap, BTreeSet};

use foz_canary::{Canary, sings};
use uuid::Uuid;

use super::partition_change::Replica;
use crate::image::{Broker, Directory, Partition};

/// Registrations without an unfencing in between that a disk may name. So many come only from a broker that cannot
/// start, and then it names the newest of them, or the first.
const PREVIOUS_EPOCHS_MAX: usize = 8;

/// One of `log.dirs` as its broker finds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataDirectory {
    /// Of its `meta.properties`.
    pub id: Uuid,
    /// The epoch of the registration that it was last part of; -1: of none.
    pub disk_epoch: i64,
    /// Whether nothing that was written can be missing: the broker stopped cleanly, or the kernel has kept
    /// what was not flushed (the same boot, the same mount).
    pub intact: bool,
    /// The logs in it, by topic id and index: those that were there when the process started, and those that it made when
    /// it was registered.
    pub logs: Vec<(Uuid, i32)>,
}

/// A log that does not have what it had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogInDoubt {
    /// `None` where its files do not tell: every topic of that name is meant.
    pub topic_id: Option<Uuid>,
    /// The topic's name.
    pub topic: String,
    /// The partition's number.
    pub index: i32,
    /// Nothing is there of a log that was.
    pub missing: bool,
}

/// What there is of what was there, the better first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum ReplicaData {
    /// All of it.
    Whole,
    /// The end of it may be missing.
    EndInDoubt,
    /// It cannot be used, and may come back.
    Offline,
    /// Perhaps nothing.
    Lost,
}

/// All directories of a broker, judged.
#[derive(Debug)]
pub(super) struct Disks<'a> {
    node_id: i32,
    logs: BTreeMap<(Uuid, i32), ReplicaData>,
    without_log: ReplicaData,
    in_doubt: BTreeMap<(LogName<'a>, i32), InDoubt>,
    after: Vec<Directory>,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum LogName<'a> {
    Id(Uuid),
    Name(&'a str),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum InDoubt {
    Here,
    Missing,
}

impl<'a> Disks<'a> {
    /// `epoch` is that of the registration that says so, `known` is the one before it; `offline_directories` of its
    /// `log.dirs` the broker cannot use.
    pub(super) fn judge(
        (node_id, epoch): (i32, i64),
        known: Option<&Broker>,
        directories: &[DataDirectory],
        offline_directories: i32,
        in_doubt: &'a [LogInDoubt],
    ) -> Self {
        let mut disks = Self {
            node_id,
            logs: BTreeMap::new(),
            without_log: ReplicaData::Lost,
            in_doubt: BTreeMap::new(),
            after: Vec::new(),
        };
        let known = known.filter(|known| !known.directories.is_empty());
        let mut without_log = known.map(|_| ReplicaData::Whole);
        let all_known = known.map_or(&[][..], |known| &known.directories);
        let present: BTreeSet<Uuid> = directories.iter().map(|it| it.id).collect();
        let away: Vec<&Directory> = all_known
            .iter()
            .filter(|it| !present.contains(&it.id))
            .collect();
        let of_away = match offline_directories {
            0 => ReplicaData::Lost,
            _ => ReplicaData::Offline,
        };
        for found in directories {
            let before = find(all_known, found.id);
            let data = match known.zip(before) {
                Some((known, before)) => judge(known, before, found),
                None => ReplicaData::Lost,
            };
            // What was made anew while this one was away is in one that is away now.
            let is_outdated =
                before.is_some_and(|before| away.iter().any(|it| it.epoch > before.epoch));
            let of_logs = match is_outdated {
                true => data.max(of_away),
                false => data,
            };
            for log in &found.logs {
                let worst = disks.logs.entry(*log).or_insert(of_logs);
                *worst = of_logs.max(*worst);
            }
            if before.is_some() {
                without_log = without_log.max(Some(data));
            }
            disks.after.push(Directory {
                id: found.id,
                epoch,
                previous_epochs: match before {
                    Some(before) if data != ReplicaData::Lost => previous_epochs(before),
                    _ => Vec::new(),
                },
            });
        }
        if !away.is_empty() {
            without_log = Some(of_away);
        }
        if of_away == ReplicaData::Offline {
            disks.after.extend(away.into_iter().cloned());
        }
        disks.without_log = without_log.unwrap_or(ReplicaData::Lost);
        for log in in_doubt {
            let name = match log.topic_id {
                Some(topic_id) => LogName::Id(topic_id),
                None => LogName::Name(&log.topic),
            };
            let how = match log.missing {
                true => InDoubt::Missing,
                false => InDoubt::Here,
            };
            let worst = disks.in_doubt.entry((name, log.index)).or_insert(how);
            *worst = how.max(*worst);
        }
        disks
    }

    /// What the broker has of a partition that it has a replica of.
    pub(super) fn of_replica(
        &self,
        (topic_id, topic, index): Replica<'a>,
        partition: &Partition,
    ) -> ReplicaData {
        if sings(Canary::RegistrationIgnoresLostDisk) {
            return ReplicaData::Whole;
        }
        let listed = self.logs.get(&(topic_id, index)).copied();
        let in_doubt = [LogName::Id(topic_id), LogName::Name(topic)];
        let in_doubt = in_doubt.map(|name| self.in_doubt.get(&(name, index)).copied());
        let data = listed.unwrap_or(self.without_log);
        let data = match in_doubt.into_iter().max().flatten() {
            None => data,
            // One in a directory that was away is no more than what was before it.
            Some(InDoubt::Missing)
                if listed != Some(ReplicaData::Whole) && data != ReplicaData::Offline =>
            {
                ReplicaData::Lost
            }
            Some(_) => data.max(ReplicaData::EndInDoubt),
        };
        // Nobody counts on it, so it may begin anew.
        let is_new =
            partition.replicas.len() > 1 && partition.never_in_sync.contains(&self.node_id);
        match data {
            ReplicaData::Offline if is_new => ReplicaData::Lost,
            data => data,
        }
    }

    /// What the registration goes down with: the directories that it is of, and those that may come back. As long as one may,
    /// it is not forgotten: what it holds would be taken for what never was.
    pub(super) fn directories(&self) -> &[Directory] {
        &self.after
    }
}

/// An older state of a directory was not part of the newest registration that the directory was part of. A registration
/// that its process never heard of changed no disk: the one before it goes on to count.
///
/// A directory that was not part of the broker's newest registration may have missed what happened since: where the
/// broker was, its replicas were offline.
fn judge(known: &Broker, before: &Directory, found: &DataDirectory) -> ReplicaData {
    let is_newest =
        found.disk_epoch == before.epoch || before.previous_epochs.contains(&found.disk_epoch);
    match (is_newest, found.intact && before.epoch == known.epoch) {
        (true, true) => ReplicaData::Whole,
        (true, false) => ReplicaData::EndInDoubt,
        (false, _) => ReplicaData::Lost,
    }
}

fn find(directories: &[Directory], id: Uuid) -> Option<&Directory> {
    directories.iter().find(|it| it.id == id)
}

/// Those of the next registration.
fn previous_epochs(before: &Directory) -> Vec<i64> {
    let mut epochs = before.previous_epochs.clone();
    epochs.push(before.epoch);
    if epochs.len() > PREVIOUS_EPOCHS_MAX {
        // The first is what the disk was unfenced with.
        epochs.remove(1);
    }
    epochs
}

#[cfg(test)]
mod tests;
