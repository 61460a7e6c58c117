//! What a broker's directories still hold of what the quorum believes that they hold.
//!
//! A directory is judged by its id and by the epoch that it was last part of, a replica by the directory that its log is in.
//! Of a replica without a log nobody knows in which directory it was, so it is as the worst of them: nothing is missing
//! where every directory that may hold something is here and whole, for then there never was a log. While one of these is
//! away, it may be there, and comes back or does not: none is made in its place as long as the broker has a directory
//! that it cannot use. Until then no directory is used that is older than one that is away.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use foz_canary::{Canary, sings};
use uuid::Uuid;

use super::partition_change::Replica;
use crate::image::{Broker, Directory, Partition};

/// Registrations without an unfencing in between that a disk may name. So many come only from a broker that cannot
/// start, and then it names the newest of them, or the first.
const PREVIOUS_EPOCHS_MAX: usize = 8;
/// What a disk names that was part of no registration.
const NEVER_REGISTERED: i64 = -1;

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
    logs: BTreeMap<(Uuid, i32), Listed>,
    without_log: ReplicaData,
    /// Of what a directory that is away may hold.
    of_away: Option<ReplicaData>,
    /// The newest registration that one of those was part of, or one that lost what it held.
    newest_gone: Option<i64>,
    in_doubt: BTreeMap<(LogName<'a>, i32), InDoubt>,
    after: Vec<Directory>,
}

/// A log in a directory.
#[derive(Debug, Clone, Copy)]
struct Listed {
    disk_epoch: i64,
    data: ReplicaData,
    /// The newest registration that the directory was part of, where that is not the broker's.
    was_away_since: Option<i64>,
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
        let known = known.filter(|known| !known.directories.is_empty());
        let all_known = known.map_or(&[][..], |known| &known.directories);
        let away = away(all_known, directories);
        let of_away = match offline_directories {
            0 => ReplicaData::Lost,
            _ => ReplicaData::Offline,
        };
        let mut disks = Self {
            node_id,
            logs: BTreeMap::new(),
            without_log: ReplicaData::Lost,
            of_away: (!away.is_empty()).then_some(of_away),
            newest_gone: newest(&away),
            in_doubt: BTreeMap::new(),
            after: Vec::new(),
        };
        let mut without_log = known.map(|_| ReplicaData::Whole);
        for found in directories {
            let before = find(all_known, found.id);
            let data = match known.zip(before) {
                Some((known, before)) => judge(known, before, found),
                None => ReplicaData::Lost,
            };
            if data == ReplicaData::Lost {
                disks.newest_gone = disks.newest_gone.max(before.map(|it| it.epoch));
            }
            let listed = Listed {
                disk_epoch: found.disk_epoch,
                data,
                was_away_since: known.zip(before).and_then(|(known, before)| {
                    (before.epoch != known.epoch).then_some(before.epoch)
                }),
            };
            for log in &found.logs {
                let known = disks.logs.entry(*log).or_insert(listed);
                *known = known.or(listed);
            }
            // Nothing was ever made in one that its process never heard to be registered.
            let is_unused = found.disk_epoch == NEVER_REGISTERED
                && found.logs.is_empty()
                && data != ReplicaData::Lost;
            if before.is_some() && !is_unused {
                without_log = without_log.max(Some(data));
            }
            disks.after.push(Directory {
                id: found.id,
                epoch,
                previous_epochs: match before {
                    Some(before) if data != ReplicaData::Lost => previous_epochs(before),
                    Some(_) => Vec::new(),
                    None => vec![NEVER_REGISTERED],
                },
            });
        }
        if of_away == ReplicaData::Offline {
            disks.after.extend(away.into_iter().cloned());
        }
        disks.without_log = disks.of_away.or(without_log).unwrap_or(ReplicaData::Lost);
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
    pub(super) fn of_replica(&self, replica: Replica<'a>, partition: &Partition) -> ReplicaData {
        let (topic_id, topic, _) = replica;
        self.of_any(
            replica,
            partition,
            [LogName::Id(topic_id), LogName::Name(topic)],
        )
    }

    /// Of one of a deleted topic. The log of which nobody knows the topic is another one where this one's is known.
    pub(super) fn of_deleted_replica(
        &self,
        replica: Replica<'a>,
        partition: &Partition,
    ) -> ReplicaData {
        let (topic_id, topic, index) = replica;
        let name = match self.logs.contains_key(&(topic_id, index)) {
            true => LogName::Id(topic_id),
            false => LogName::Name(topic),
        };
        self.of_any(replica, partition, [LogName::Id(topic_id), name])
    }

    fn of_any(
        &self,
        (topic_id, _, index): Replica<'a>,
        partition: &Partition,
        names: [LogName<'a>; 2],
    ) -> ReplicaData {
        if sings(Canary::RegistrationIgnoresLostDisk) {
            return ReplicaData::Whole;
        }
        let listed = self.logs.get(&(topic_id, index));
        let listed = listed.map(|listed| self.of_listed(*listed, partition));
        let in_doubt = names.map(|name| self.in_doubt.get(&(name, index)).copied());
        // Of one that was offline there was a log, and where nothing is away, it is in none of the directories that may hold it.
        let without_log = match self.of_away.is_none() && partition.offline.contains(&self.node_id)
        {
            true => ReplicaData::Lost,
            false => self.without_log,
        };
        let data = listed.unwrap_or(without_log);
        let in_doubt = in_doubt.into_iter().max().flatten();
        let is_missing = listed.is_none() && in_doubt == Some(InDoubt::Missing);
        let data = match in_doubt {
            _ if is_missing && data != ReplicaData::Offline => ReplicaData::Lost,
            Some(_) => data.max(ReplicaData::EndInDoubt),
            None => data,
        };
        // Nobody counts on it, or it was in a directory that is here, so it may begin anew. What a single one has, wherever
        // that may be, is all there is.
        let is_gone = is_missing || partition.never_in_sync.contains(&self.node_id);
        match data {
            ReplicaData::Offline if is_gone && partition.replicas.len() > 1 => ReplicaData::Lost,
            data => data,
        }
    }

    /// A replica whose log was away is offline in the metadata. One that is not had another log since, made anew in a
    /// directory of a newer registration. Where such a one is gone, the mark may be of what it held.
    fn of_listed(&self, listed: Listed, partition: &Partition) -> ReplicaData {
        let Some(since) = listed.was_away_since else {
            return listed.data;
        };
        let is_older = self.newest_gone > Some(since);
        match partition.offline.contains(&self.node_id) && !is_older {
            true => listed.data,
            false => ReplicaData::Lost,
        }
    }

    /// What the registration goes down with: the directories that it is of, and those that may come back. As long as one may,
    /// it is not forgotten: what it holds would be taken for what never was.
    pub(super) fn directories(&self) -> &[Directory] {
        &self.after
    }
}

impl Listed {
    /// Of two logs of the same replica the one counts whose directory was part of the newer registration, and the other is
    /// set aside.
    fn or(self, other: Self) -> Self {
        match self.disk_epoch.cmp(&other.disk_epoch) {
            Ordering::Greater => self,
            Ordering::Less => other,
            Ordering::Equal => Self {
                data: self.data.max(other.data),
                was_away_since: self.was_away_since.or(other.was_away_since),
                ..self
            },
        }
    }
}

/// An older state of a directory was not part of the newest registration that the directory was part of. A registration
/// that its process never heard of changed no disk: the one before it goes on to count.
///
/// A directory that was not part of the broker's newest registration may have missed what happened since: where the
/// broker was, its replicas were offline.
fn judge(known: &Broker, before: &Directory, found: &DataDirectory) -> ReplicaData {
    match (
        is_newest(before, found),
        found.intact && before.epoch == known.epoch,
    ) {
        (true, true) => ReplicaData::Whole,
        (true, false) => ReplicaData::EndInDoubt,
        (false, _) => ReplicaData::Lost,
    }
}

fn is_newest(before: &Directory, found: &DataDirectory) -> bool {
    found.disk_epoch == before.epoch || before.previous_epochs.contains(&found.disk_epoch)
}

/// Those of them that must not be used while others are away: one of these was part of a newer registration. What is
/// in an older one may have been made anew there since, and the next registration would make the older one the newest.
/// So it is with an older state of a directory, and with one that was taken out before.
pub(super) fn older_than_away(known: &Broker, directories: &[DataDirectory]) -> Vec<Uuid> {
    let newest_away = newest(&away(&known.directories, directories));
    let epoch_of = |found: &DataDirectory| match find(&known.directories, found.id) {
        Some(before) if is_newest(before, found) => before.epoch,
        _ => found.disk_epoch,
    };
    let was_used = |it: &&DataDirectory| it.disk_epoch != NEVER_REGISTERED;
    let found = directories.iter().filter(was_used);
    let older = found.filter(|it| newest_away > Some(epoch_of(it)));
    older.map(|it| it.id).collect()
}

fn away<'a>(known: &'a [Directory], found: &[DataDirectory]) -> Vec<&'a Directory> {
    let found: BTreeSet<Uuid> = found.iter().map(|it| it.id).collect();
    known.iter().filter(|it| !found.contains(&it.id)).collect()
}

fn newest(directories: &[&Directory]) -> Option<i64> {
    directories.iter().map(|it| it.epoch).max()
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
