//! Ways to change a true history so that it tells of a log that broke its word.

use foz_judge::Event;
use foz_judge::Kind;
use foz_judge::event::*;

use crate::builder::History;
use crate::log_simulation::COMMITTED_READER;

pub(crate) const KINDS: [Kind; 18] = [
    Kind::LostWrite,
    Kind::Unseen,
    Kind::Duplicate,
    Kind::Misplaced,
    Kind::InconsistentOffsets,
    Kind::Phantom,
    Kind::AbortedRead,
    Kind::PrecommittedRead,
    Kind::TornTransaction,
    Kind::IntPollSkip,
    Kind::NonmonotonicPoll,
    Kind::IntNonmonotonicPoll,
    Kind::Reordered,
    Kind::CommittedOffsetRegression,
    Kind::EndOffsetRegression,
    Kind::LatestBackwards,
    Kind::LeaderEpochRegression,
    Kind::ReplicaDivergence,
];

/// An acknowledged record of the idempotent producer or of a transaction that was committed.
#[derive(Debug, Clone, Copy)]
struct Promised {
    client: u32,
    partition: i32,
    offset: i64,
    value: u64,
    transaction: Option<u64>,
    /// In the final read.
    found: bool,
}

/// Changes one thing, chosen by `pick`; false where the history has nothing of the sort.
pub(crate) fn lie(kind: Kind, history: &mut History, pick: usize) -> bool {
    let all = promised(history);
    let found: Vec<Promised> = all.iter().copied().filter(|record| record.found).collect();
    let one = found.get(pick % found.len().max(1)).copied();
    match kind {
        Kind::LostWrite => one.is_some_and(|one| forget_in_finals(history, one)),
        Kind::Unseen => one.is_some_and(|one| cut_finals(history, one)),
        Kind::Duplicate => one.is_some_and(|one| {
            let mut last = None;
            finals(history, |read| {
                if read.partition == one.partition {
                    last = Some((read.end_offset, read.records.leader_epochs.last().copied()));
                }
            });
            let (end, _) = last.unwrap_or_default();
            finals(history, |read| {
                if read.partition == one.partition
                    && read.end_offset == end
                    && end > read.begin_offset
                {
                    read.records.offsets.push(end);
                    read.records.values.push(one.value);
                    read.records.leader_epochs.clear();
                    read.end_offset += 1;
                }
            });
            true
        }),
        Kind::Misplaced => one.is_some_and(|one| {
            acks(history, |ack| {
                for (value, offset) in ack.values.iter().zip(&mut ack.offsets) {
                    if *value == one.value {
                        *offset += 10_000;
                    }
                }
            })
        }),
        Kind::InconsistentOffsets => {
            let Some(one) = one else { return false };
            let Some(other) = found
                .iter()
                .find(|other| other.partition == one.partition && other.value != one.value)
            else {
                return false;
            };
            acks(history, |ack| {
                for (value, offset) in ack.values.iter().zip(&mut ack.offsets) {
                    if *value == other.value {
                        *offset = one.offset;
                    }
                }
            })
        }
        Kind::Phantom => one.is_some_and(|one| {
            finals(history, |read| {
                for value in read
                    .records
                    .values
                    .iter_mut()
                    .filter(|value| **value == one.value)
                {
                    *value = 1_000_000_007;
                }
            });
            true
        }),
        Kind::AbortedRead => one.is_some_and(|one| fail_instead(history, one)),
        Kind::PrecommittedRead => precommitted(history, pick),
        Kind::TornTransaction => torn(history, &found, pick),
        Kind::IntPollSkip => {
            // Only what is still there at the end was skipped for certain.
            let mut polls: Vec<(usize, usize)> = vec![];
            for (at, event) in history.events.iter().enumerate() {
                if let Event::Poll(poll) = event {
                    let values = &poll.records.values;
                    polls.extend(
                        (1..values.len().max(1) - usize::from(!values.is_empty()))
                            .filter(|middle| {
                                found.iter().any(|record| record.value == values[*middle])
                            })
                            .map(|middle| (at, middle)),
                    );
                }
            }
            let Some((at, middle)) = polls.get(pick % polls.len().max(1)) else {
                return false;
            };
            let Event::Poll(poll) = &mut history.events[*at] else {
                return false;
            };
            poll.records.offsets.remove(*middle);
            poll.records.values.remove(*middle);
            poll.records.leader_epochs.remove(*middle);
            true
        }
        Kind::NonmonotonicPoll => {
            let Some(at) = event_at(
                history,
                pick,
                |event| matches!(event, Event::Poll(poll) if !poll.records.offsets.is_empty()),
            ) else {
                return false;
            };
            let again = history.events[at].clone();
            history.events.insert(at, again);
            true
        }
        Kind::IntNonmonotonicPoll => {
            let Some(at) = event_at(
                history,
                pick,
                |event| matches!(event, Event::Poll(poll) if poll.records.offsets.len() > 1),
            ) else {
                return false;
            };
            let Event::Poll(poll) = &mut history.events[at] else {
                return false;
            };
            poll.records.offsets.swap(0, 1);
            poll.records.values.swap(0, 1);
            true
        }
        Kind::Reordered => {
            let Some(one) = one else { return false };
            let other = found.iter().find(|other| {
                (other.client, other.partition) == (one.client, one.partition)
                    && other.value != one.value
            });
            other.is_some_and(|other| swap(history, one, *other))
        }
        Kind::CommittedOffsetRegression => {
            let commit = history.events.iter().rev().find_map(|event| match event {
                Event::OffsetCommit(commit) if commit.outcome == Outcome::Ok => {
                    Some(commit.clone())
                }
                _ => None,
            });
            let Some(commit) = commit else { return false };
            let OffsetCommit {
                client,
                group,
                topic,
                partition,
                ..
            } = commit;
            history.push(|t_us| {
                let (asked_us, offset) = (None, None);
                Event::CommittedOffset(CommittedOffset {
                    t_us,
                    asked_us,
                    client,
                    group,
                    topic,
                    partition,
                    offset,
                })
            });
            true
        }
        Kind::EndOffsetRegression | Kind::LatestBackwards => {
            let told = event_at(
                history,
                pick,
                |event| matches!(event, Event::EndOffset(read) if read.offset > 0),
            );
            let Some(Event::EndOffset(mut told)) = told.map(|at| history.events[at].clone()) else {
                return false;
            };
            told.asked_us = None;
            told.offset -= 1;
            if kind == Kind::LatestBackwards {
                told.client += 100;
            }
            history.push(|t_us| Event::EndOffset(OffsetRead { t_us, ..told }));
            true
        }
        Kind::LeaderEpochRegression => one.is_some_and(|one| {
            let mut behind = false;
            finals(history, |read| {
                for at in 0..read.records.values.len() {
                    if read.records.values[at] == one.value {
                        read.records.leader_epochs[at] += 1000;
                    } else {
                        behind |= read.partition == one.partition
                            && read.records.offsets[at] > one.offset;
                    }
                }
            });
            behind
        }),
        Kind::ReplicaDivergence => {
            let at = event_at(
                history,
                pick,
                |event| matches!(event, Event::ReplicaLog(log) if log.entries.len() > 1),
            );
            let Some(Event::ReplicaLog(log)) = at.map(|at| &mut history.events[at]) else {
                return false;
            };
            // The last ones: all replicas have them.
            let last = log.entries.len() - 1;
            match pick % 3 {
                0 => log.entries[last].crc ^= 1,
                1 => log.entries[last].leader_epoch += 1,
                _ => drop(log.entries.pop()),
            }
            true
        }
        _ => false,
    }
}

fn promised(history: &History) -> Vec<Promised> {
    let mut committed = vec![];
    let mut transactions = std::collections::BTreeMap::new();
    let mut found = std::collections::BTreeSet::new();
    for event in &history.events {
        match event {
            Event::Send(send) => {
                transactions.extend(send.values.iter().map(|value| (*value, send.transaction)));
            }
            Event::Transaction(step) if step.step == TransactionStep::Committed => {
                committed.push(step.transaction);
            }
            Event::FinalRead(read) => found.extend(read.records.values.iter().copied()),
            _ => {}
        }
    }
    let mut all = vec![];
    for event in &history.events {
        // Client 2 is the one without idempotence.
        let Event::Ack(ack) = event else { continue };
        if ack.client == 2 {
            continue;
        }
        for (value, offset) in ack.values.iter().zip(&ack.offsets) {
            let transaction = transactions[value];
            if transaction.is_none_or(|id| committed.contains(&id)) {
                let found = found.contains(value);
                let (client, partition) = (ack.client, ack.partition);
                all.push(Promised {
                    client,
                    partition,
                    offset: *offset,
                    value: *value,
                    transaction,
                    found,
                });
            }
        }
    }
    all
}

fn event_at(history: &History, pick: usize, wanted: impl Fn(&Event) -> bool) -> Option<usize> {
    let all: Vec<usize> = (0..history.events.len())
        .filter(|at| wanted(&history.events[*at]))
        .collect();
    all.get(pick % all.len().max(1)).copied()
}

fn finals(history: &mut History, mut change: impl FnMut(&mut FinalRead)) {
    for event in &mut history.events {
        if let Event::FinalRead(read) = event {
            change(read);
        }
    }
}

fn acks(history: &mut History, mut change: impl FnMut(&mut Ack)) -> bool {
    for event in &mut history.events {
        if let Event::Ack(ack) = event {
            change(ack);
        }
    }
    true
}

fn retain(records: &mut Records, mut keep: impl FnMut(i64, u64) -> bool) {
    let kept: Vec<usize> = (0..records.values.len())
        .filter(|at| keep(records.offsets[*at], records.values[*at]))
        .collect();
    records.offsets = kept.iter().map(|at| records.offsets[*at]).collect();
    records.values = kept.iter().map(|at| records.values[*at]).collect();
    if !records.leader_epochs.is_empty() {
        records.leader_epochs = kept.iter().map(|at| records.leader_epochs[*at]).collect();
    }
}

fn forget_in_finals(history: &mut History, one: Promised) -> bool {
    finals(history, |read| {
        retain(&mut read.records, |_, value| value != one.value)
    });
    true
}

/// The final read ends before the record.
fn cut_finals(history: &mut History, one: Promised) -> bool {
    finals(history, |read| {
        if read.partition == one.partition {
            read.end_offset = read
                .end_offset
                .min(one.offset)
                .max(read.begin_offset.min(one.offset));
            read.begin_offset = read.begin_offset.min(read.end_offset);
            retain(&mut read.records, |offset, _| offset < one.offset);
        }
    });
    true
}

/// The acknowledgement becomes a failure, with nothing written.
fn fail_instead(history: &mut History, one: Promised) -> bool {
    for event in &mut history.events {
        let Event::Ack(ack) = event else { continue };
        if ack.values.contains(&one.value) {
            let Ack {
                t_us,
                client,
                topic,
                partition,
                values,
                ..
            } = ack.clone();
            let error = "refused".into();
            *event = Event::Fail(Fail {
                t_us,
                client,
                topic,
                partition,
                values,
                error,
                definite: true,
            });
            return true;
        }
    }
    false
}

/// A commit is asked for only after its values were read.
fn precommitted(history: &mut History, pick: usize) -> bool {
    let Some(at) = event_at(
        history,
        pick,
        |event| matches!(event, Event::Transaction(step) if step.step == TransactionStep::Committing),
    ) else {
        return false;
    };
    let Event::Transaction(step) = history.events[at].clone() else {
        return false;
    };
    let written: Vec<u64> = history
        .events
        .iter()
        .flat_map(|event| match event {
            Event::Send(send) if send.transaction == Some(step.transaction) => send.values.clone(),
            _ => vec![],
        })
        .collect();
    let read = history.events.iter().any(|event| match event {
        Event::FinalRead(read) => read
            .records
            .values
            .iter()
            .any(|value| written.contains(value)),
        _ => false,
    });
    history.events.remove(at);
    history.push(|t_us| Event::Transaction(Transaction { t_us, ..step }));
    read
}

/// Nobody knows how a transaction ended, and one of its values is nowhere to be read.
fn torn(history: &mut History, found: &[Promised], pick: usize) -> bool {
    let pairs: Vec<Promised> = found
        .iter()
        .copied()
        .filter(|one| {
            one.transaction.is_some()
                && found
                    .iter()
                    .any(|other| other.transaction == one.transaction && other.value != one.value)
        })
        .collect();
    let Some(one) = pairs.get(pick % pairs.len().max(1)).copied() else {
        return false;
    };
    for event in &mut history.events {
        match event {
            Event::Transaction(step)
                if Some(step.transaction) == one.transaction
                    && step.step == TransactionStep::Committed =>
            {
                step.step = TransactionStep::Unknown;
            }
            Event::Poll(poll) if poll.client == COMMITTED_READER => {
                retain(&mut poll.records, |_, value| value != one.value);
            }
            Event::FinalRead(read) => retain(&mut read.records, |_, value| value != one.value),
            _ => {}
        }
    }
    true
}

/// Two values of one producer change places, and everybody agrees on it.
fn swap(history: &mut History, one: Promised, other: Promised) -> bool {
    let swapped = |value: u64| match value {
        value if value == one.value => other.value,
        value if value == other.value => one.value,
        value => value,
    };
    for event in &mut history.events {
        match event {
            Event::Ack(ack) => {
                for (value, offset) in ack.values.iter().zip(&mut ack.offsets) {
                    if *value == one.value {
                        *offset = other.offset;
                    } else if *value == other.value {
                        *offset = one.offset;
                    }
                }
            }
            Event::Poll(poll) => poll
                .records
                .values
                .iter_mut()
                .for_each(|value| *value = swapped(*value)),
            Event::FinalRead(read) => read
                .records
                .values
                .iter_mut()
                .for_each(|value| *value = swapped(*value)),
            Event::ReplicaLog(log) => {
                for entry in &mut log.entries {
                    entry.value = entry.value.map(swapped);
                }
            }
            _ => {}
        }
    }
    true
}
