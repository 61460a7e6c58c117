//! What a start does with what moves have left. Pure.

use std::collections::BTreeSet;
use std::path::PathBuf;

use uuid::Uuid;

use crate::names::TopicPartition;

/// A topic by its id, and the number of a partition.
pub(crate) type ReplicaKey = (Uuid, i32);

/// A directory that a move has to do with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    /// Which of the data directories it is in.
    pub(crate) data: usize,
    pub(crate) path: PathBuf,
    pub(crate) kind: Kind,
    /// `None` where it cannot be read.
    pub(crate) topic_id: Option<Uuid>,
    /// Of a log that was moved only what its name has kept.
    pub(crate) partition: TopicPartition,
    pub(crate) records: Records,
}

/// What a directory holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Records {
    /// It is empty, and begins at offset 0.
    NeverAny,
    Some,
    /// It cannot be read.
    Unknown,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Log,
    /// A copy, with what makes it unique.
    Future(Uuid),
    /// A log that was moved, with what its copy was called.
    Moved(Uuid),
}

/// In this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum MoveStep {
    /// What was renamed in this data directory before stays so: the process before may have ended without having seen to
    /// it, and the next step takes away what a power failure would need to undo it.
    Flush(usize),
    /// The copy is the log.
    GiveName(Found),
    Remove(Found),
    /// Kept for people, as Kafka's strays are.
    SetAside(Found),
}

#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Decided {
    pub(crate) steps: Vec<MoveStep>,
    /// What is set aside may be all that there is.
    pub(crate) in_doubt: BTreeSet<ReplicaKey>,
    /// The log is in a directory that cannot be used, or nobody can say which of several is the log.
    pub(crate) waiting: BTreeSet<ReplicaKey>,
    /// There is a log, and a copy of it that is not whole yet.
    pub(crate) going_on: BTreeSet<ReplicaKey>,
}

/// What there is of a replica besides what a move has left.
enum Logs<'a> {
    None,
    /// At least this one.
    Some(&'a Found),
    /// A directory of that name does not tell whose it is.
    Unknown,
}

/// `found` has every copy and every log that was moved, and the logs of their partitions.
pub(crate) fn decide(found: &[Found], all_usable: bool) -> Decided {
    let mut decided = Decided::default();
    let moved = found.iter().filter_map(|it| match it.kind {
        Kind::Moved(unique) => Some((it, unique)),
        _ => None,
    });
    for (moved, unique) in moved.clone() {
        let copy = found.iter().find(|it| it.kind == Kind::Future(unique));
        let topic_id = moved.topic_id.or(copy.and_then(|copy| copy.topic_id));
        // Without an id nobody knows whose they are: they stay.
        if let Some(topic_id) = topic_id {
            decided.decide_moved(found, moved, copy, topic_id, all_usable);
        }
    }
    let futures = found.iter().filter(|it| match it.kind {
        Kind::Future(unique) => moved.clone().all(|(_, of_moved)| of_moved != unique),
        _ => false,
    });
    let mut going_on: Vec<(ReplicaKey, &Found)> = Vec::new();
    for copy in futures {
        if let Some(topic_id) = copy.topic_id {
            let key = (topic_id, copy.partition.partition);
            if decided.decide_future(found, copy, key, all_usable) {
                going_on.push((key, copy));
            }
        }
    }
    for (key, copy) in &going_on {
        let is_only = going_on.iter().filter(|(other, _)| other == key).count() == 1;
        if is_only {
            decided.going_on.insert(*key);
        } else {
            // Which of them was asked for last nobody knows.
            decided.remove(copy);
        }
    }
    decided
}

impl Decided {
    /// Each of which something is set aside.
    pub(crate) fn named_in_doubt(&self) -> Vec<(Uuid, TopicPartition)> {
        let named = self.in_doubt.iter().filter_map(|(topic_id, index)| {
            let mut set_aside = self.steps.iter().filter_map(|step| match step {
                MoveStep::SetAside(it) => Some(it),
                _ => None,
            });
            let of_it = set_aside.find(|it| {
                it.partition.partition == *index && it.topic_id.is_none_or(|id| id == *topic_id)
            })?;
            Some((*topic_id, of_it.partition.clone()))
        });
        named.collect()
    }

    fn decide_moved(
        &mut self,
        found: &[Found],
        moved: &Found,
        copy: Option<&Found>,
        topic_id: Uuid,
        all_usable: bool,
    ) {
        let key = (topic_id, moved.partition.partition);
        let name = copy.map_or(&moved.partition, |copy| &copy.partition);
        let logs = logs_of(found, topic_id, name, copy.is_some());
        let whole_name = match logs {
            Logs::Some(log) => &log.partition,
            _ => name,
        };
        let moved = &Found {
            partition: whole_name.clone(),
            ..moved.clone()
        };
        // The copy first: without it the other is still known for what it is.
        let both = copy.into_iter().chain([moved]);
        match (copy, logs) {
            (_, Logs::Unknown) => drop(self.waiting.insert(key)),
            (Some(copy), Logs::None) if is_name_free(found, copy) => {
                self.steps.push(MoveStep::Flush(moved.data));
                self.steps.push(MoveStep::GiveName(copy.clone()));
                self.remove(moved);
            }
            (None, Logs::None) if !all_usable => drop(self.waiting.insert(key)),
            (_, Logs::None) => {
                both.for_each(|it| self.steps.push(MoveStep::SetAside(it.clone())));
                self.in_doubt.insert(key);
            }
            (_, Logs::Some(log)) => {
                self.steps.push(MoveStep::Flush(log.data));
                both.for_each(|it| self.remove_for(log, it));
            }
        }
    }

    /// Whether the move goes on.
    fn decide_future(
        &mut self,
        found: &[Found],
        copy: &Found,
        key: ReplicaKey,
        all_usable: bool,
    ) -> bool {
        let is_name_free = is_name_free(found, copy);
        match logs_of(found, key.0, &copy.partition, true) {
            Logs::Some(_) if is_name_free => return true,
            Logs::Some(log) => {
                self.steps.push(MoveStep::Flush(log.data));
                self.remove_for(log, copy);
            }
            // Nobody has looked at it: somebody may have taken the log's disk out, and there may be nothing else.
            Logs::None if all_usable || !is_name_free => {
                self.steps.push(MoveStep::SetAside(copy.clone()));
                self.in_doubt.insert(key);
            }
            Logs::None | Logs::Unknown => drop(self.waiting.insert(key)),
        }
        false
    }

    /// One that was made anew and never came to hold a record is worth nothing beside what a move has left
    /// ([`crate::reconcile`] goes by the same).
    fn remove_for(&mut self, log: &Found, it: &Found) {
        match log.records == Records::Some || it.records == Records::NeverAny {
            true => self.remove(it),
            false => self.steps.push(MoveStep::SetAside(it.clone())),
        }
    }

    fn remove(&mut self, it: &Found) {
        self.steps.push(MoveStep::Remove(it.clone()));
    }
}

/// `is_whole`: `name` is the partition's, and not what is left of a long one.
fn logs_of<'a>(
    found: &'a [Found],
    topic_id: Uuid,
    name: &TopicPartition,
    is_whole: bool,
) -> Logs<'a> {
    let is_named = |log: &&Found| match is_whole {
        true => log.partition == *name,
        false => {
            log.partition.partition == name.partition
                && log.partition.topic.starts_with(&name.topic)
        }
    };
    let logs = found.iter().filter(|it| it.kind == Kind::Log);
    let named: Vec<_> = logs.filter(is_named).collect();
    let with = |topic_id: Option<Uuid>| named.iter().find(|log| log.topic_id == topic_id);
    match (with(Some(topic_id)), with(None)) {
        (Some(log), _) => Logs::Some(log),
        (None, Some(_)) => Logs::Unknown,
        (None, None) => Logs::None,
    }
}

/// No log has the name that the copy would get, whatever its topic.
fn is_name_free(found: &[Found], copy: &Found) -> bool {
    let is_it = |it: &Found| it.data == copy.data && it.partition == copy.partition;
    !found.iter().any(|it| it.kind == Kind::Log && is_it(it))
}
