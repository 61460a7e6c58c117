//! poll-skip, nonmonotonic-poll and the same inside one poll: a consumer's positions only go on, and go past
//! nothing that is there.

use std::collections::HashMap;

use crate::anomaly::{Anomaly, Kind};
use crate::event::Poll;
use crate::findings::Findings;
use crate::rules::transactions::Transactions;
use crate::tables::{Offset, Tables};

/// Gaps that wait for the end; a transaction's marker makes one.
const GAPS_MAX: usize = 1 << 22;

#[derive(Debug, Clone, Default)]
pub(crate) struct PollOrder {
    positions: HashMap<(u32, u32), Position>,
    gaps: Vec<Gap>,
    gaps_unkept: u64,
}

#[derive(Debug, Clone, Copy)]
struct Position {
    next: i64,
    event: u32,
}

/// Offsets that a consumer went past: nothing is wrong if no record is there.
#[derive(Debug, Clone, Copy)]
struct Gap {
    client: u32,
    partition: u32,
    from: i64,
    to: i64,
    before: u32,
    event: u32,
    inside: bool,
}

impl PollOrder {
    /// Assigned or revoked: the next poll may begin anywhere.
    pub(crate) fn forget(&mut self, client: u32, partition: u32) {
        self.positions.remove(&(client, partition));
    }

    pub(crate) fn seek(&mut self, client: u32, partition: u32, offset: i64, event: u32) {
        // Negative ones stand for begin and end.
        if offset < 0 {
            self.forget(client, partition);
        } else {
            self.positions.insert(
                (client, partition),
                Position {
                    next: offset,
                    event,
                },
            );
        }
    }

    pub(crate) fn polled(
        &mut self,
        tables: &Tables,
        findings: &mut Findings,
        (client, partition): (u32, u32),
        poll: &Poll,
        event: u32,
    ) {
        let mut position = self.positions.get(&(client, partition)).copied();
        let mut inside = false;
        let befores = poll.position_before.map(|offset| (offset, false));
        let afters = poll.position_after.map(|offset| (offset, false));
        let records = poll.records.offsets.iter().map(|offset| (*offset, true));
        for (offset, is_record) in befores.into_iter().chain(records).chain(afters) {
            if let Some(Position {
                next,
                event: before,
            }) = position
            {
                if offset < next {
                    back(
                        tables,
                        findings,
                        (client, partition),
                        (next, offset),
                        [before, event],
                        inside,
                    );
                } else if offset > next {
                    self.gap(Gap {
                        client,
                        partition,
                        from: next,
                        to: offset,
                        before,
                        event,
                        inside,
                    });
                }
            }
            position = Some(Position {
                next: offset.saturating_add(i64::from(is_record)),
                event,
            });
            inside |= is_record;
        }
        if let Some(position) = position {
            self.positions.insert((client, partition), position);
        }
    }

    pub(crate) fn finish(
        self,
        tables: &Tables,
        transactions: &Transactions,
        findings: &mut Findings,
    ) {
        if self.gaps_unkept > 0 {
            findings.incomplete(format!(
                "{} gaps between polls were not judged",
                self.gaps_unkept
            ));
        }
        for gap in self.gaps {
            let Some((offset, skipped)) = first_skipped(tables, transactions, gap) else {
                continue;
            };
            let kind = if gap.inside {
                Kind::IntPollSkip
            } else {
                Kind::PollSkip
            };
            findings.add(kind, || {
                let client = tables.clients[gap.client as usize].number;
                let says = format!(
                    "client {client} went from {} to {} past a record that others read",
                    gap.from, gap.to
                );
                Anomaly::new(kind, says)
                    .partition(tables, gap.partition)
                    .offset(offset as i64)
                    .value(skipped.value)
                    .events([gap.before, gap.event, skipped.event])
            });
        }
    }

    fn gap(&mut self, gap: Gap) {
        if self.gaps.len() < GAPS_MAX {
            self.gaps.push(gap);
        } else {
            self.gaps_unkept += 1;
        }
    }
}

fn back(
    tables: &Tables,
    findings: &mut Findings,
    (client, partition): (u32, u32),
    (next, offset): (i64, i64),
    events: [u32; 2],
    inside: bool,
) {
    let kind = if inside {
        Kind::IntNonmonotonicPoll
    } else {
        Kind::NonmonotonicPoll
    };
    findings.add(kind, || {
        let client = tables.clients[client as usize].number;
        let says = format!("client {client} was at {next} and went back without seek or rebalance");
        Anomaly::new(kind, says)
            .partition(tables, partition)
            .offset(offset)
            .events(events)
    });
}

/// The first record in the gap that the consumer should have had.
fn first_skipped(tables: &Tables, transactions: &Transactions, gap: Gap) -> Option<(u64, Offset)> {
    let partition = &tables.partitions[gap.partition as usize];
    let committed_only = tables.clients[gap.client as usize].read_committed;
    let mut from = gap.from;
    if tables.topics[partition.topic as usize].deletes {
        from = from.max(partition.begin_offset);
    }
    let (from, to) = (u64::try_from(from).ok()?, u64::try_from(gap.to).ok()?);
    partition
        .offsets
        .range(from, to)
        .find(|(_, slot)| {
            let value = tables.value(gap.partition, slot.value);
            slot.event != 0
                && slot.is(Offset::READ)
                && !slot.is(Offset::MISMATCH)
                && !(committed_only
                    && value.is_some_and(|value| !transactions.must_be_visible(value)))
        })
        .map(|(offset, slot)| (offset, *slot))
}
