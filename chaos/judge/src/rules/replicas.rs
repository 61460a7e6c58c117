//! replica-divergence: when all is quiet, the replicas of a partition are identical, and hold what clients
//! read.

use std::collections::{BTreeMap, HashMap};

use crate::anomaly::{Anomaly, Kind};
use crate::event::{ReplicaDigest, ReplicaLog};
use crate::findings::Findings;
use crate::paged::Paged;
use crate::tables::{Offset, Tables};

/// Replicas of one partition that are told apart.
const NODES_MAX: usize = 32;

#[derive(Debug, Clone, Default)]
pub(crate) struct Replicas {
    partitions: BTreeMap<u32, Logs>,
}

#[derive(Debug, Clone)]
struct Logs {
    /// Node, start, end, last event. In the order in which they came.
    nodes: Vec<(i32, i64, i64, u32)>,
    entries: Paged<Entry>,
    /// By start of the range: end, digest, node, event.
    digests: HashMap<i64, (i64, u64, i32, u32)>,
}

/// What the first replica that told of this offset has.
#[derive(Debug, Clone, Copy, Default)]
struct Entry {
    value: Option<u64>,
    leader_epoch: i32,
    crc: u32,
    event: u32,
    /// Bits: replicas that have the offset at all.
    holders: u32,
}

impl Replicas {
    /// Replicas whose logs were compared, of all partitions.
    pub(crate) fn compared(&self) -> u64 {
        self.partitions
            .values()
            .map(|logs| logs.nodes.len() as u64)
            .sum()
    }

    pub(crate) fn log(
        &mut self,
        tables: &Tables,
        findings: &mut Findings,
        partition: u32,
        log: &ReplicaLog,
        event: u32,
    ) {
        let logs = self.partitions.entry(partition).or_insert_with(Logs::new);
        let Some(node) = logs.node(log.node, log.start_offset, log.end_offset, event) else {
            findings.incomplete(format!("{} has too many replicas", tables.name(partition)));
            return;
        };
        let slots_max = (1 << 18) + 8 * tables.values_sent;
        for told in &log.entries {
            let slot = u64::try_from(told.offset)
                .ok()
                .and_then(|offset| logs.entries.slot(offset, slots_max));
            let Some(slot) = slot else {
                findings.add(Kind::WildOffset, || {
                    let says = format!("node {} has an offset far beyond all others", log.node);
                    Anomaly::new(Kind::WildOffset, says)
                        .partition(tables, partition)
                        .offset(told.offset)
                        .events([event])
                });
                continue;
            };
            if slot.holders == 0 {
                *slot = Entry {
                    value: told.value,
                    leader_epoch: told.leader_epoch,
                    crc: told.crc,
                    event,
                    holders: 1 << node,
                };
                continue;
            }
            let first = *slot;
            slot.holders |= 1 << node;
            if (first.value, first.leader_epoch, first.crc)
                == (told.value, told.leader_epoch, told.crc)
            {
                continue;
            }
            findings.add(Kind::ReplicaDivergence, || {
                let other = logs.nodes[first.holders.trailing_zeros() as usize].0;
                let says = format!(
                    "node {other} has value {:?}, leader epoch {}, crc {:#010x}; node {} has {:?}, \
                     {}, {:#010x}",
                    first.value,
                    first.leader_epoch,
                    first.crc,
                    log.node,
                    told.value,
                    told.leader_epoch,
                    told.crc
                );
                Anomaly::new(Kind::ReplicaDivergence, says)
                    .partition(tables, partition)
                    .offset(told.offset)
                    .events([first.event, event])
            });
        }
    }

    pub(crate) fn digest(
        &mut self,
        tables: &Tables,
        findings: &mut Findings,
        partition: u32,
        told: &ReplicaDigest,
        event: u32,
    ) {
        let logs = self.partitions.entry(partition).or_insert_with(Logs::new);
        if logs
            .node(told.node, told.start_offset, told.end_offset, event)
            .is_none()
        {
            findings.incomplete(format!("{} has too many replicas", tables.name(partition)));
            return;
        }
        let first = *logs.digests.entry(told.start_offset).or_insert((
            told.end_offset,
            told.digest,
            told.node,
            event,
        ));
        if first.0 != told.end_offset {
            findings.incomplete(format!(
                "digests of {} from {} end at {} and {}: cut all replicas at the same offsets",
                tables.name(partition),
                told.start_offset,
                first.0,
                told.end_offset
            ));
        } else if first.1 != told.digest {
            findings.add(Kind::ReplicaDivergence, || {
                let says = format!(
                    "nodes {} and {} differ between {} and {}",
                    first.2, told.node, told.start_offset, told.end_offset
                );
                Anomaly::new(Kind::ReplicaDivergence, says)
                    .partition(tables, partition)
                    .offset(told.start_offset)
                    .events([first.3, event])
            });
        }
    }

    pub(crate) fn finish(&self, tables: &Tables, findings: &mut Findings) {
        for (partition, logs) in &self.partitions {
            logs.ends(tables, *partition, findings);
            if !logs.digests.is_empty() {
                continue; // a replica may have told its digest instead
            }
            for (offset, entry) in logs.entries.iter().filter(|(_, entry)| entry.holders != 0) {
                logs.holes(tables, *partition, (offset, entry), findings);
                read_otherwise(tables, *partition, (offset, entry), findings);
            }
        }
    }
}

impl Logs {
    fn new() -> Self {
        Logs {
            nodes: Vec::new(),
            entries: Paged::new(),
            digests: HashMap::new(),
        }
    }

    /// The node's place among the replicas.
    fn node(&mut self, node: i32, start: i64, end: i64, event: u32) -> Option<usize> {
        if let Some(at) = self.nodes.iter().position(|(other, ..)| *other == node) {
            let known = &mut self.nodes[at];
            *known = (node, known.1.min(start), known.2.max(end), event);
            return Some(at);
        }
        self.nodes.push((node, start, end, event));
        (self.nodes.len() <= NODES_MAX).then(|| self.nodes.len() - 1)
    }

    fn ends(&self, tables: &Tables, partition: u32, findings: &mut Findings) {
        let Some((node, _, end, event)) = self.nodes.first() else {
            return;
        };
        for (other, _, other_end, other_event) in &self.nodes[1..] {
            if end == other_end {
                continue;
            }
            findings.add(Kind::ReplicaDivergence, || {
                let says = format!("node {node} ends at {end}, node {other} at {other_end}");
                Anomaly::new(Kind::ReplicaDivergence, says)
                    .partition(tables, partition)
                    .offset(*end.min(other_end))
                    .events([*event, *other_event])
            });
        }
    }

    /// What one has and another, whose log covers the offset, has not.
    fn holes(
        &self,
        tables: &Tables,
        partition: u32,
        (offset, entry): (u64, &Entry),
        findings: &mut Findings,
    ) {
        for (at, (node, start, end, event)) in self.nodes.iter().enumerate().take(NODES_MAX) {
            let covered = (*start..*end).contains(&(offset as i64));
            if !covered || entry.holders & (1 << at) != 0 {
                continue;
            }
            findings.add(Kind::ReplicaDivergence, || {
                let says = format!("node {node} lacks a record that another replica has");
                Anomaly::new(Kind::ReplicaDivergence, says)
                    .partition(tables, partition)
                    .offset(offset as i64)
                    .events([entry.event, *event])
            });
        }
    }
}

fn read_otherwise(
    tables: &Tables,
    partition: u32,
    (offset, entry): (u64, &Entry),
    findings: &mut Findings,
) {
    let read = tables.partitions[partition as usize].offsets.get(offset);
    let Some(read) = read.filter(|read| read.event != 0 && read.is(Offset::READ)) else {
        return;
    };
    if entry.value == Some(read.value) {
        return;
    }
    findings.add(Kind::ReplicaDivergence, || {
        let says = format!(
            "clients read value {}, a replica has {:?}",
            read.value, entry.value
        );
        Anomaly::new(Kind::ReplicaDivergence, says)
            .partition(tables, partition)
            .offset(offset as i64)
            .value(read.value)
            .events([read.event, entry.event])
    });
}
