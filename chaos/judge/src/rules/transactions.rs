//! What became of transactions, and aborted-read, precommitted-read, torn-transaction, circular-flow and
//! write-cycle.

use std::collections::HashMap;

use crate::anomaly::{Anomaly, Kind};
use crate::event::{Transaction as Step, TransactionStep};
use crate::findings::Findings;
use crate::rules::cycles;
use crate::tables::{Tables, Value};

#[derive(Debug, Clone, Default)]
pub(crate) struct Transactions {
    all: Vec<Transaction>,
    indexes: HashMap<u64, u32>,
    /// Writer, reader, the event of the read: the reader read what the writer wrote.
    reads: Vec<(u32, u32, u32)>,
}

#[derive(Debug, Clone, Copy)]
struct Transaction {
    id: u64,
    outcome: Outcome,
    /// When and in which event the commit was asked for.
    committing: Option<(u64, u32)>,
    ended: u32,
    first_read: Option<FirstRead>,
}

/// The first read of one of its values by a reader of isolation read_committed.
#[derive(Debug, Clone, Copy)]
struct FirstRead {
    t_us: u64,
    event: u32,
    partition: u32,
    offset: i64,
    value: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Open,
    Committed,
    Aborted,
    Unknown,
}

impl Transactions {
    pub(crate) fn index(&mut self, id: u64) -> u32 {
        let next = self.all.len() as u32;
        let index = *self.indexes.entry(id).or_insert(next);
        if index == next {
            self.all.push(Transaction {
                id,
                outcome: Outcome::Open,
                committing: None,
                ended: 0,
                first_read: None,
            });
        }
        index
    }

    pub(crate) fn stepped(&mut self, step: &Step, event: u32) {
        let index = self.index(step.transaction) as usize;
        let transaction = &mut self.all[index];
        match step.step {
            TransactionStep::Committing => transaction.committing = Some((step.t_us, event)),
            TransactionStep::Aborting => {}
            TransactionStep::Committed => transaction.outcome = Outcome::Committed,
            TransactionStep::Aborted => transaction.outcome = Outcome::Aborted,
            TransactionStep::Unknown => transaction.outcome = Outcome::Unknown,
        }
        if transaction.outcome != Outcome::Open {
            transaction.ended = event;
        }
    }

    /// A value was read, by a reader of isolation read_committed or inside the transaction `within`.
    pub(crate) fn was_read(
        &mut self,
        slot: &Value,
        committed: bool,
        within: Option<u32>,
        (t_us, event): (u64, u32),
        (offset, value): (i64, u64),
    ) {
        let Some(writer) = slot.transaction.checked_sub(1) else {
            return;
        };
        let transaction = &mut self.all[writer as usize];
        if committed && transaction.first_read.is_none_or(|first| t_us < first.t_us) {
            let partition = slot.partition;
            transaction.first_read = Some(FirstRead {
                t_us,
                event,
                partition,
                offset,
                value,
            });
        }
        if let Some(reader) = within
            && reader != writer
            && self
                .reads
                .last()
                .is_none_or(|last| (last.0, last.1) != (writer, reader))
        {
            self.reads.push((writer, reader, event));
        }
    }

    /// Outside any transaction, or of one that was committed for certain.
    pub(crate) fn must_be_visible(&self, slot: &Value) -> bool {
        self.of(slot)
            .is_none_or(|transaction| transaction.outcome == Outcome::Committed)
    }

    pub(crate) fn finish(&self, tables: &Tables, findings: &mut Findings, write_cycles: bool) {
        self.aborted_reads(tables, findings);
        if self.all.is_empty() {
            return;
        }
        self.precommitted_reads(tables, findings);
        self.torn(tables, findings);
        self.circular_flow(findings);
        if write_cycles {
            self.write_cycles(tables, findings);
        }
    }

    fn of(&self, slot: &Value) -> Option<&Transaction> {
        Some(&self.all[slot.transaction.checked_sub(1)? as usize])
    }

    fn aborted_reads(&self, tables: &Tables, findings: &mut Findings) {
        for (value, slot) in tables.sent_values() {
            let failed = slot.is(Value::DEFINITE) && slot.is(Value::READ);
            let aborted = self.of(slot).filter(|transaction| {
                transaction.outcome == Outcome::Aborted && slot.is(Value::READ_COMMITTED)
            });
            if !failed && aborted.is_none() {
                continue;
            }
            findings.add(Kind::AbortedRead, || {
                let (says, ended) = match aborted {
                    Some(t) => (
                        format!("transaction {} was aborted, but it was read", t.id),
                        t.ended,
                    ),
                    None => ("its send failed for certain, but it was read".to_owned(), 0),
                };
                Anomaly::new(Kind::AbortedRead, says)
                    .partition(tables, slot.partition)
                    .offset(slot.offset)
                    .value(value)
                    .events([slot.sent, slot.answered, ended, slot.read])
            });
        }
    }

    fn precommitted_reads(&self, tables: &Tables, findings: &mut Findings) {
        for transaction in &self.all {
            let Some(read) = transaction.first_read else {
                continue;
            };
            let (from_us, asked) = transaction.committing.unwrap_or((u64::MAX, 0));
            if read.t_us >= from_us || transaction.outcome == Outcome::Aborted {
                continue;
            }
            findings.add(Kind::PrecommittedRead, || {
                let says = format!("read before transaction {} began to commit", transaction.id);
                Anomaly::new(Kind::PrecommittedRead, says)
                    .partition(tables, read.partition)
                    .offset(read.offset)
                    .value(read.value)
                    .events([read.event, asked])
            });
        }
    }

    /// Nobody knows whether it was committed, but it must be one or the other. (A committed one that lacks
    /// values is a lost write.)
    fn torn(&self, tables: &Tables, findings: &mut Findings) {
        // Of each transaction a value that is visible, and one that is not.
        let mut sides = vec![(None, None); self.all.len()];
        for (value, slot) in tables.sent_values() {
            let Some(index) = slot.transaction.checked_sub(1) else {
                continue;
            };
            let side = &mut sides[index as usize];
            if slot.is(Value::READ_COMMITTED) {
                side.0.get_or_insert((value, *slot));
            } else if slot.is(Value::PROMISED) && would_be_read(tables, slot) {
                side.1.get_or_insert((value, *slot));
            }
        }
        for (transaction, side) in self.all.iter().zip(sides) {
            let (Outcome::Unknown | Outcome::Open, (Some((seen, there)), Some((value, missing)))) =
                (transaction.outcome, side)
            else {
                continue;
            };
            findings.add(Kind::TornTransaction, || {
                let says = format!(
                    "of transaction {} value {seen} is visible in {} and this one is not",
                    transaction.id,
                    tables.name(there.partition)
                );
                Anomaly::new(Kind::TornTransaction, says)
                    .partition(tables, missing.partition)
                    .offset(missing.offset)
                    .value(value)
                    .events([
                        missing.sent,
                        missing.answered,
                        there.read,
                        transaction.ended,
                    ])
            });
        }
    }

    fn circular_flow(&self, findings: &mut Findings) {
        let committed = |index: u32| self.all[index as usize].outcome == Outcome::Committed;
        let edges: Vec<(u32, u32, u32)> = self
            .reads
            .iter()
            .copied()
            .filter(|(writer, reader, _)| committed(*writer) && committed(*reader))
            .collect();
        self.circles(
            &edges,
            Kind::CircularFlow,
            "read each other's writes in a circle",
            findings,
        );
    }

    fn write_cycles(&self, tables: &Tables, findings: &mut Findings) {
        let mut edges = Vec::new();
        for (index, partition) in tables.partitions.iter().enumerate() {
            let mut last = None;
            for (_, slot) in partition.offsets.iter().filter(|(_, slot)| slot.event != 0) {
                let writer = tables
                    .value(index as u32, slot.value)
                    .and_then(|value| value.transaction.checked_sub(1));
                let Some(writer) = writer else { continue };
                if let Some(before) = last
                    && before != writer
                {
                    edges.push((before, writer, slot.event));
                }
                last = Some(writer);
            }
        }
        self.circles(
            &edges,
            Kind::WriteCycle,
            "wrote around each other",
            findings,
        );
    }

    fn circles(&self, edges: &[(u32, u32, u32)], kind: Kind, what: &str, findings: &mut Findings) {
        let pairs: Vec<(u32, u32)> = edges.iter().map(|(from, to, _)| (*from, *to)).collect();
        for circle in cycles::circles(self.all.len(), &pairs) {
            findings.add(kind, || {
                let ids: Vec<u64> = circle
                    .iter()
                    .map(|index| self.all[*index as usize].id)
                    .collect();
                let mut anomaly = Anomaly::new(kind, format!("transactions {ids:?} {what}"));
                anomaly.events = edges
                    .iter()
                    .filter(|(from, to, _)| circle.contains(from) && circle.contains(to))
                    .map(|(_, _, event)| *event)
                    .take(10)
                    .collect();
                anomaly
            });
        }
    }
}

/// Whether the final read had shown the value if it were visible.
fn would_be_read(tables: &Tables, slot: &Value) -> bool {
    let partition = &tables.partitions[slot.partition as usize];
    let deleted = tables.topic_of(slot.partition).deletes && slot.offset < partition.begin_offset;
    partition.final_committed && !deleted
}
