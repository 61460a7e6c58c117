//! Who said that which value is where: acknowledgements and reads, put together in the tables.
//!
//! Lines of different clients may come in any order: what is read or acknowledged before its send is known
//! waits for the end. duplicate, misplaced, inconsistent-offsets, phantom and wild-offset come from here.

use std::collections::{HashMap, HashSet};

use crate::anomaly::{Anomaly, Kind};
use crate::findings::Findings;
use crate::tables::{Offset, Tables, Value};

/// Claims that are remembered apart because they contradict or come early.
const APART_MAX: usize = 1 << 20;

#[derive(Debug, Clone, Copy)]
pub(crate) struct Read {
    pub partition: u32,
    pub offset: i64,
    pub value: u64,
    /// -1: not known.
    pub leader_epoch: i32,
    pub event: u32,
    /// By a reader of isolation read_committed.
    pub committed: bool,
    pub in_final: bool,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Claims {
    /// Reads of values that nobody is known to have sent (yet).
    early: Vec<Read>,
    early_unkept: u64,
    /// Places beside a value's own: partition, value, offset; and the event.
    elsewhere: HashMap<(u32, u64, i64), u32>,
    /// Contradictions that were told.
    told: HashSet<(u32, i64, u64)>,
    /// More than one copy of a value whose producer is not idempotent.
    pub duplicates_allowed: u64,
}

impl Claims {
    /// An acknowledgement with acks=all; the value's slot is known to be sent and in this partition.
    pub(crate) fn acknowledged(
        &mut self,
        tables: &mut Tables,
        findings: &mut Findings,
        partition: u32,
        offset: i64,
        value: u64,
        event: u32,
    ) {
        if !self.claim(tables, findings, partition, offset, value, event, None) {
            return;
        }
        let Some(slot) = tables.value_mut(partition, value) else {
            return;
        };
        let (was, read) = (slot.offset, slot.read);
        slot.offset = offset;
        slot.flags |= Value::ACK_OFFSET;
        if was >= 0 && was != offset {
            // It had been read before, elsewhere.
            slot.flags &= !Value::READ_THERE;
            self.elsewhere(partition, value, was, read);
            if self.elsewhere.contains_key(&(partition, value, offset)) {
                slot.flags |= Value::READ_THERE;
            }
        }
    }

    pub(crate) fn read(&mut self, tables: &mut Tables, findings: &mut Findings, read: Read) {
        if tables.value(read.partition, read.value).is_none() {
            if self.early.len() < APART_MAX {
                self.early.push(read);
            } else {
                self.early_unkept += 1;
            }
            return;
        }
        self.read_of_sent(tables, findings, read);
    }

    /// When every send is known: what was early, and what contradicts.
    pub(crate) fn finish(&mut self, tables: &mut Tables, findings: &mut Findings) {
        for read in std::mem::take(&mut self.early) {
            if tables.value(read.partition, read.value).is_some() {
                self.read_of_sent(tables, findings, read);
            } else {
                self.phantom(tables, findings, read, None);
            }
        }
        if self.early_unkept > 0 {
            findings.incomplete(format!(
                "{} reads came before their sends and were not kept",
                self.early_unkept
            ));
        }
        self.elsewhere_told(tables, findings);
    }

    fn read_of_sent(&mut self, tables: &mut Tables, findings: &mut Findings, read: Read) {
        let sent_to = tables
            .value(read.partition, read.value)
            .map_or(0, |slot| slot.partition);
        if sent_to != read.partition {
            self.phantom(tables, findings, read, Some(sent_to));
            return;
        }
        let Read {
            partition,
            offset,
            value,
            event,
            ..
        } = read;
        let epoch = Some(read.leader_epoch);
        if !self.claim(tables, findings, partition, offset, value, event, epoch) {
            return;
        }
        let Some(slot) = tables.value_mut(partition, value) else {
            return;
        };
        if slot.read == 0 {
            slot.read = event;
        }
        slot.flags |= Value::READ;
        if read.committed {
            slot.flags |= Value::READ_COMMITTED;
        }
        if read.in_final {
            slot.flags |= Value::IN_FINAL;
        }
        if slot.offset < 0 {
            slot.offset = offset;
        }
        if slot.offset == offset {
            slot.flags |= Value::READ_THERE;
        } else {
            self.elsewhere(partition, value, offset, event);
        }
    }

    /// Writes the value into its offset's slot, or says that another is there. False: no such offset.
    fn claim(
        &mut self,
        tables: &mut Tables,
        findings: &mut Findings,
        partition: u32,
        offset: i64,
        value: u64,
        event: u32,
        read_epoch: Option<i32>,
    ) -> bool {
        let Some(slot) = tables.offset_slot(partition, offset) else {
            findings.add(Kind::WildOffset, || {
                let says = "an offset that is negative or far beyond all that was sent".to_owned();
                Anomaly::new(Kind::WildOffset, says)
                    .partition(tables, partition)
                    .offset(offset)
                    .value(value)
                    .events([event])
            });
            return false;
        };
        let before = *slot;
        if before.event == 0 || (before.value != value && !before.is(Offset::READ)) {
            // What was read says more than what was acknowledged.
            if before.event == 0 || read_epoch.is_some() {
                *slot = Offset {
                    value,
                    event,
                    leader_epoch: -1,
                    flags: before.flags,
                };
            }
        }
        if slot.value == value
            && let Some(epoch) = read_epoch
        {
            slot.flags |= Offset::READ;
            if slot.leader_epoch < 0 {
                slot.leader_epoch = epoch;
            }
        }
        let known_epoch = slot.leader_epoch;
        if before.event != 0 && before.value != value {
            self.contradiction(tables, findings, partition, offset, (before, value, event));
        } else if let Some(epoch) = read_epoch
            && epoch >= 0
            && epoch != known_epoch
            && self.tell(partition, offset, value)
        {
            findings.add(Kind::LeaderEpochRegression, || {
                let says = format!("one record read with leader epoch {known_epoch} and {epoch}");
                Anomaly::new(Kind::LeaderEpochRegression, says)
                    .partition(tables, partition)
                    .offset(offset)
                    .value(value)
                    .events([before.event, event])
            });
        }
        true
    }

    fn contradiction(
        &mut self,
        tables: &Tables,
        findings: &mut Findings,
        partition: u32,
        offset: i64,
        (before, value, event): (Offset, u64, u32),
    ) {
        let (low, high) = (value.min(before.value), value.max(before.value));
        // Every reader meets it again.
        if !self.tell(partition, offset, low ^ high.rotate_left(32)) {
            return;
        }
        findings.add(Kind::InconsistentOffsets, || {
            let other = before.value;
            let says = format!("values {other} and {value} were both acknowledged or read there");
            Anomaly::new(Kind::InconsistentOffsets, says)
                .partition(tables, partition)
                .offset(offset)
                .value(value)
                .events([before.event, event])
        });
    }

    fn tell(&mut self, partition: u32, offset: i64, what: u64) -> bool {
        self.told.len() >= APART_MAX || self.told.insert((partition, offset, what))
    }

    fn elsewhere(&mut self, partition: u32, value: u64, offset: i64, event: u32) {
        if self.elsewhere.len() < APART_MAX {
            self.elsewhere
                .entry((partition, value, offset))
                .or_insert(event);
        }
    }

    fn phantom(
        &mut self,
        tables: &Tables,
        findings: &mut Findings,
        read: Read,
        sent_to: Option<u32>,
    ) {
        if !self.tell(read.partition, read.offset, read.value) {
            return;
        }
        findings.add(Kind::Phantom, || {
            let says = match sent_to {
                Some(other) => format!("it was sent to {} only", tables.name(other)),
                None => "nobody sent this value".to_owned(),
            };
            Anomaly::new(Kind::Phantom, says)
                .partition(tables, read.partition)
                .offset(read.offset)
                .value(read.value)
                .events([read.event])
        });
    }

    fn elsewhere_told(&mut self, tables: &Tables, findings: &mut Findings) {
        let mut elsewhere: Vec<_> = self.elsewhere.drain().collect();
        elsewhere.sort_unstable();
        for copies in
            elsewhere.chunk_by(|left, right| (left.0.0, left.0.1) == (right.0.0, right.0.1))
        {
            let ((partition, value, offset), event) = copies[0];
            let Some(slot) = tables.value(partition, value) else {
                continue;
            };
            if !tables.clients[slot.client as usize].idempotent {
                self.duplicates_allowed += copies.len() as u64;
                continue;
            }
            let twice = slot.is(Value::READ_THERE) || copies.len() > 1;
            let kind = if twice {
                Kind::Duplicate
            } else {
                Kind::Misplaced
            };
            findings.add(kind, || {
                let offsets: Vec<String> = copies
                    .iter()
                    .map(|((_, _, offset), _)| offset.to_string())
                    .collect();
                let offsets = offsets.join(", ");
                let own = slot.offset;
                let says = match (kind, slot.is(Value::READ_THERE)) {
                    (Kind::Misplaced, _) => format!("acknowledged at {own}, found at {offsets}"),
                    (_, true) => format!("one value at offsets {own} and {offsets}"),
                    (_, false) => format!("acknowledged at {own}, found at offsets {offsets}"),
                };
                let there = if slot.is(Value::ACK_OFFSET) {
                    slot.answered
                } else {
                    slot.read
                };
                Anomaly::new(kind, says)
                    .partition(tables, partition)
                    .offset(offset)
                    .value(value)
                    .events([slot.sent, there, event])
            });
        }
    }
}
