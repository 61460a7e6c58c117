//! Several data directories of one broker: what each of them holds, held against the others. Pure.
//!
//! Directories come and go between two starts: one was left out of `log.dirs` for a while, or somebody moved logs from one
//! to another while the broker was stopped. There must never be two logs of one replica in service.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use uuid::Uuid;

use crate::log_directory::{LogDirectory, OpenReport};
use crate::names::TopicPartition;

/// What was found in one data directory.
#[derive(Debug, Clone, Default)]
pub struct FoundDirectory {
    /// Where it is.
    pub path: PathBuf,
    /// Of the newest registration that it was part of; -1: none.
    pub broker_epoch: i64,
    /// Logs that are in service, or would be if they could be opened.
    pub logs: Vec<FoundLog>,
    /// Logs of deleted topics.
    pub buried: Vec<(Uuid, i32)>,
    /// Of which there is nothing where there should be, with the end that was known of each.
    pub missing: Vec<(TopicPartition, i64)>,
}

/// A log in service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundLog {
    /// Which partition.
    pub partition: TopicPartition,
    /// `None`: its files do not tell.
    pub topic_id: Option<Uuid>,
    /// `None`: it cannot be opened.
    pub end_offset: Option<i64>,
}

/// What is to be done before anything is served. Directories are named by their place in what was asked about.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Reconciled {
    /// Logs to be set aside: another directory has that replica.
    pub superseded: Vec<(usize, TopicPartition)>,
    /// The same of buried logs.
    pub superseded_buried: Vec<(usize, (Uuid, i32))>,
    /// Logs that are not missing in the one directory: they are in the other.
    pub moved: Vec<(usize, usize, TopicPartition)>,
}

/// Nobody can say which of two logs is the right one.
#[derive(Debug, thiserror::Error)]
#[error(
    "{partition} is in {one} and in {other}, and both were in use last: move one of the two away, the shorter one if nothing else tells",
    one = one.display(),
    other = other.display()
)]
pub struct TwoLogs {
    /// Which partition.
    pub partition: TopicPartition,
    /// One of the data directories.
    pub one: PathBuf,
    /// The other.
    pub other: PathBuf,
}

/// Says what to do with replicas of which there is more than one log, and what is not missing after all.
///
/// Of two logs of one replica the one counts whose directory was registered later: the other directory was away
/// meanwhile, and the replica was made anew. But one that never held a record gives way to one that does. A log of another
/// topic under the same name is no second one.
///
/// # Errors
/// [`TwoLogs`] where both directories were registered the last time.
pub fn reconcile(found: &[FoundDirectory]) -> Result<Reconciled, TwoLogs> {
    let mut by_name: BTreeMap<&TopicPartition, Vec<(usize, &FoundLog)>> = BTreeMap::new();
    for (at, directory) in found.iter().enumerate() {
        for log in &directory.logs {
            by_name.entry(&log.partition).or_default().push((at, log));
        }
    }
    let buried = Buried::of(found);
    let epoch_of = |at: usize| found[at].broker_epoch;
    let mut reconciled = Reconciled::default();
    for (name, logs) in &mut by_name {
        let last = logs.iter().map(|(at, _)| epoch_of(*at)).max();
        let newest: Vec<_> = logs
            .iter()
            .filter(|it| Some(epoch_of(it.0)) == last)
            .collect();
        refuse_two(found, name, &newest)?;
        let all = logs.clone();
        let is_superseded = |(at, log): &(usize, &FoundLog)| {
            let mut others = all.iter().filter(|(other, _)| other != at);
            let beats = |other: usize, it| {
                let by_epoch = epoch_of(other).cmp(&epoch_of(*at));
                gives_way(log, it, by_epoch)
            };
            others.any(|(other, it)| may_be_same(log, it) && beats(*other, it))
                || buried
                    .of_log(log)
                    .any(|other| epoch_of(other) > epoch_of(*at))
        };
        let superseded = logs.extract_if(.., |it| is_superseded(it));
        let superseded = superseded.map(|(at, _)| (at, (*name).clone()));
        reconciled.superseded.extend(superseded);
        refuse_two(found, name, &logs.iter().collect::<Vec<_>>())?;
        // What is in service has what was written since.
        for (_, log) in logs.iter() {
            buried.of_log(log).for_each(|at| {
                let key = log.topic_id.map(|id| (id, log.partition.partition));
                reconciled
                    .superseded_buried
                    .extend(key.map(|key| (at, key)));
            });
        }
    }
    let twice = buried.twice(epoch_of).into_iter();
    let twice: Vec<_> = twice
        .filter(|it| !reconciled.superseded_buried.contains(it))
        .collect();
    reconciled.superseded_buried.extend(twice);
    for (at, directory) in found.iter().enumerate() {
        for (name, known_offset) in &directory.missing {
            let mut logs = by_name.get(name).into_iter().flatten();
            // One from before this directory's newest registration may be of an earlier topic of that name.
            let elsewhere = logs.find(|(other, log)| {
                *other != at
                    && epoch_of(*other) >= directory.broker_epoch
                    && log.end_offset.is_some_and(|end| end >= *known_offset)
            });
            let moved = elsewhere.map(|(to, _)| (at, *to, name.clone()));
            reconciled.moved.extend(moved);
        }
    }
    Ok(reconciled)
}

fn refuse_two(
    found: &[FoundDirectory],
    name: &TopicPartition,
    logs: &[&(usize, &FoundLog)],
) -> Result<(), TwoLogs> {
    for (n, (one, log)) in logs.iter().enumerate() {
        let mut others = logs[n + 1..].iter();
        if let Some((other, _)) = others.find(|(_, it)| may_be_same(log, it)) {
            return Err(TwoLogs {
                partition: name.clone(),
                one: found[*one].path.clone(),
                other: found[*other].path.clone(),
            });
        }
    }
    Ok(())
}

/// `by_epoch` compares when the directory of `other` was registered last with when that of `log` was.
fn gives_way(log: &FoundLog, other: &FoundLog, by_epoch: Ordering) -> bool {
    match (log.end_offset == Some(0), other.end_offset == Some(0)) {
        // What was made anew and never came to hold a record is worth nothing beside what comes back.
        (true, false) => by_epoch.is_ne(),
        (false, true) => false,
        _ => by_epoch.is_gt(),
    }
}

/// What has no id may be of any topic.
fn may_be_same(one: &FoundLog, other: &FoundLog) -> bool {
    match (one.topic_id, other.topic_id) {
        (Some(one), Some(other)) => one == other,
        _ => true,
    }
}

/// In which directories a replica is buried.
struct Buried(BTreeMap<(Uuid, i32), Vec<usize>>);

impl Buried {
    fn of(found: &[FoundDirectory]) -> Self {
        let mut buried: BTreeMap<_, Vec<usize>> = BTreeMap::new();
        for (at, directory) in found.iter().enumerate() {
            for key in &directory.buried {
                buried.entry(*key).or_default().push(at);
            }
        }
        Self(buried)
    }

    fn of_log(&self, log: &FoundLog) -> impl Iterator<Item = usize> {
        let key = log.topic_id.map(|id| (id, log.partition.partition));
        let places = key.and_then(|key| self.0.get(&key));
        places.into_iter().flatten().copied()
    }

    /// Those besides the one that counts: of the directory that was registered last, and among equals the first.
    fn twice(&self, epoch_of: impl Fn(usize) -> i64) -> Vec<(usize, (Uuid, i32))> {
        let mut twice = Vec::new();
        for (key, places) in &self.0 {
            let counts = places.iter().rev().max_by_key(|at| epoch_of(**at));
            let others = places.iter().filter(|at| Some(*at) != counts);
            twice.extend(others.map(|at| (*at, *key)));
        }
        twice
    }
}

impl FoundDirectory {
    /// What `report` says of a directory that was opened, and what is in it.
    #[must_use]
    pub fn of(directory: &LogDirectory, report: &OpenReport, broker_epoch: i64) -> Self {
        let online = directory.logs().into_iter().map(|log| FoundLog {
            partition: log.partition().clone(),
            topic_id: Some(log.topic_id()),
            end_offset: Some(log.log_end_offset()),
        });
        let offline = report.offline.iter().map(|log| FoundLog {
            partition: log.partition.clone(),
            topic_id: log.topic_id,
            end_offset: None,
        });
        let missing = report.lost.iter().filter(|it| it.found_offset.is_none());
        let buried = directory.buried().into_iter();
        Self {
            path: Path::to_owned(directory.path()),
            broker_epoch,
            logs: online.chain(offline).collect(),
            buried: buried.map(|(key, _)| key).collect(),
            missing: missing
                .map(|it| (it.partition.clone(), it.known_offset))
                .collect(),
        }
    }
}
