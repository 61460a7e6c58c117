//! Figures: how long writers had to wait.
//!
//! A wait is a time in which something was sent and not answered, and nothing was acknowledged. After a fault
//! a partition has recovered with the first acknowledgement of a record that was sent after the fault began:
//! what was in flight says nothing.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::event::{Fault, FaultPhase};
use crate::tables::Tables;

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Availability {
    pub longest_waits: Vec<LongestWait>,
    pub faults: Vec<FaultFigures>,
}

/// The longest wait of one partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LongestWait {
    pub topic: String,
    pub partition: i32,
    pub wait_us: u64,
    pub from_us: u64,
}

/// From a fault's begin until a partition it touched is written again; over all faults of one kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FaultFigures {
    pub kind: String,
    pub faults: u64,
    pub on_loaded_leader: u64,
    /// Partitions that were written again, summed over the faults.
    pub recovered: u64,
    /// Partitions that were sent to afterwards, and never acknowledged any of it.
    pub not_recovered: u64,
    pub p50_us: u64,
    pub p99_us: u64,
    pub max_us: u64,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Waits {
    partitions: Vec<Wait>,
    kinds: BTreeMap<String, Samples>,
    faults: Vec<OpenFault>,
    ids: BTreeSet<u64>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Wait {
    outstanding: i64,
    since_us: u64,
    longest_us: u64,
    longest_from_us: u64,
    last_sent: u32,
}

#[derive(Debug, Clone, Default)]
struct Samples {
    faults: u64,
    on_loaded_leader: u64,
    not_recovered: u64,
    times_us: Vec<u64>,
}

#[derive(Debug, Clone)]
struct OpenFault {
    id: u64,
    kind: String,
    t_us: u64,
    event: u32,
    waiting: BTreeSet<u32>,
}

impl Waits {
    pub(crate) fn sent(&mut self, partition: u32, records: usize, t_us: u64, event: u32) {
        let wait = self.wait(partition);
        if wait.outstanding <= 0 {
            wait.since_us = t_us;
        }
        wait.outstanding += records as i64;
        wait.last_sent = event;
    }

    /// `sent_last` is the event of the latest send among what is acknowledged.
    pub(crate) fn acknowledged(
        &mut self,
        partition: u32,
        records: usize,
        t_us: u64,
        sent_last: u32,
    ) {
        let wait = self.wait(partition);
        wait.until(t_us);
        wait.since_us = t_us;
        wait.outstanding -= records as i64;
        for fault in &mut self.faults {
            if fault.event < sent_last && fault.waiting.remove(&partition) {
                let samples = self.kinds.entry(fault.kind.clone()).or_default();
                samples.times_us.push(t_us.saturating_sub(fault.t_us));
            }
        }
        self.faults.retain(|fault| !fault.waiting.is_empty());
    }

    pub(crate) fn failed(&mut self, partition: u32, records: usize, t_us: u64) {
        let wait = self.wait(partition);
        wait.until(t_us);
        wait.outstanding -= records as i64;
    }

    /// `touched` are the fault's partitions; all, if it names none. False: the fault was told twice.
    pub(crate) fn fault(&mut self, fault: &Fault, touched: BTreeSet<u32>, event: u32) -> bool {
        if fault.phase == FaultPhase::End {
            return self.ids.contains(&fault.id);
        }
        let samples = self.kinds.entry(fault.kind.clone()).or_default();
        samples.faults += 1;
        samples.on_loaded_leader += u64::from(fault.loaded_leader);
        self.faults.push(OpenFault {
            id: fault.id,
            kind: fault.kind.clone(),
            t_us: fault.t_us,
            event,
            waiting: touched,
        });
        self.ids.insert(fault.id)
    }

    /// The figures, and a sentence for each fault that something did not recover from.
    pub(crate) fn finish(mut self, tables: &Tables) -> (Availability, Vec<String>) {
        let mut stuck = Vec::new();
        for fault in &self.faults {
            for partition in &fault.waiting {
                let Some(wait) = self.partitions.get(*partition as usize) else {
                    continue;
                };
                if wait.last_sent <= fault.event {
                    continue;
                }
                self.kinds
                    .entry(fault.kind.clone())
                    .or_default()
                    .not_recovered += 1;
                stuck.push(format!(
                    "after fault {} ({}) nothing that was sent to {} was acknowledged any more",
                    fault.id,
                    fault.kind,
                    tables.name(*partition)
                ));
            }
        }
        let longest_waits = self
            .partitions
            .iter()
            .enumerate()
            .filter(|(_, wait)| wait.last_sent != 0)
            .map(|(index, wait)| LongestWait {
                topic: tables.topic_of(index as u32).name.clone(),
                partition: tables.partitions[index].number,
                wait_us: wait.longest_us,
                from_us: wait.longest_from_us,
            })
            .collect();
        let faults = self
            .kinds
            .into_iter()
            .map(|(kind, samples)| samples.figures(kind))
            .collect();
        (
            Availability {
                longest_waits,
                faults,
            },
            stuck,
        )
    }

    fn wait(&mut self, partition: u32) -> &mut Wait {
        let at = partition as usize;
        if self.partitions.len() <= at {
            self.partitions.resize(at + 1, Wait::default());
        }
        &mut self.partitions[at]
    }
}

impl Wait {
    fn until(&mut self, t_us: u64) {
        let waited_us = t_us.saturating_sub(self.since_us);
        if self.outstanding > 0 && waited_us > self.longest_us {
            self.longest_us = waited_us;
            self.longest_from_us = self.since_us;
        }
    }
}

impl Samples {
    fn figures(mut self, kind: String) -> FaultFigures {
        self.times_us.sort_unstable();
        FaultFigures {
            kind,
            faults: self.faults,
            on_loaded_leader: self.on_loaded_leader,
            recovered: self.times_us.len() as u64,
            not_recovered: self.not_recovered,
            p50_us: percentile(&self.times_us, 50),
            p99_us: percentile(&self.times_us, 99),
            max_us: percentile(&self.times_us, 100),
        }
    }
}

/// The smallest of the sorted times that `percent` of them do not exceed; 0 of none.
fn percentile(sorted: &[u64], percent: usize) -> u64 {
    let rank = (sorted.len() * percent).div_ceil(100);
    rank.checked_sub(1)
        .and_then(|at| sorted.get(at))
        .copied()
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::percentile;

    #[test]
    fn percentiles() {
        assert_eq!(percentile(&[], 99), 0);
        assert_eq!(percentile(&[7], 50), 7);
        let hundred: Vec<u64> = (1..=100).collect();
        assert_eq!(percentile(&hundred, 50), 50);
        assert_eq!(percentile(&hundred, 99), 99);
        assert_eq!(percentile(&hundred, 100), 100);
        assert_eq!(percentile(&[1, 2, 3], 99), 3);
    }
}
