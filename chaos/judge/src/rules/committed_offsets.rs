//! committed-offset-regression: a group reads back what it committed last, never something older.
//!
//! A committed offset is a register: a read may return any commit that is not older than another one which had
//! succeeded before the read was asked for. Rewinding on purpose is a commit like any other.

use std::collections::HashMap;

use crate::anomaly::{Anomaly, Kind};
use crate::event::{CommittedOffset, OffsetCommit, Outcome};
use crate::findings::Findings;
use crate::tables::Tables;

#[derive(Debug, Clone, Default)]
pub(crate) struct CommittedOffsets {
    registers: HashMap<(String, u32), Register>,
}

#[derive(Debug, Clone, Default)]
struct Register {
    commits: Vec<Commit>,
    reads: Vec<Read>,
}

#[derive(Debug, Clone, Copy)]
struct Commit {
    asked_us: u64,
    /// The end of time where nobody knows.
    done_us: u64,
    offset: i64,
    event: u32,
}

#[derive(Debug, Clone, Copy)]
struct Read {
    asked_us: u64,
    done_us: u64,
    offset: Option<i64>,
    event: u32,
}

impl CommittedOffsets {
    pub(crate) fn committed(&mut self, partition: u32, commit: &OffsetCommit, event: u32) {
        let done_us = match commit.outcome {
            Outcome::Ok => commit.t_us,
            Outcome::Unknown => u64::MAX,
            Outcome::Failed => return,
        };
        let asked_us = commit.asked_us.unwrap_or(commit.t_us);
        let register = self
            .registers
            .entry((commit.group.clone(), partition))
            .or_default();
        register.commits.push(Commit {
            asked_us,
            done_us,
            offset: commit.offset,
            event,
        });
    }

    pub(crate) fn read(&mut self, partition: u32, read: &CommittedOffset, event: u32) {
        let asked_us = read.asked_us.unwrap_or(read.t_us);
        let register = self
            .registers
            .entry((read.group.clone(), partition))
            .or_default();
        register.reads.push(Read {
            asked_us,
            done_us: read.t_us,
            offset: read.offset,
            event,
        });
    }

    pub(crate) fn finish(self, tables: &Tables, findings: &mut Findings) {
        let mut registers: Vec<_> = self.registers.into_iter().collect();
        registers.sort_by(|left, right| left.0.cmp(&right.0));
        for ((group, partition), register) in registers {
            for read in &register.reads {
                let Some(newer) = register.older_than(read) else {
                    continue;
                };
                findings.add(Kind::CommittedOffsetRegression, || {
                    let got = read
                        .offset
                        .map_or("none".to_owned(), |offset| offset.to_string());
                    let says = format!(
                        "group {group} had committed {}, and was then told {got}",
                        newer.offset
                    );
                    Anomaly::new(Kind::CommittedOffsetRegression, says)
                        .partition(tables, partition)
                        .offset(read.offset.unwrap_or(-1))
                        .events([newer.event, read.event])
                });
            }
        }
    }
}

impl Register {
    /// The commit that the read should have seen instead, if it is wrong.
    fn older_than(&self, read: &Read) -> Option<Commit> {
        let newest = self
            .commits
            .iter()
            .filter(|commit| commit.done_us < read.asked_us)
            .max_by_key(|commit| commit.asked_us)?;
        let allowed = self.commits.iter().any(|commit| {
            Some(commit.offset) == read.offset
                && commit.asked_us <= read.done_us
                && commit.done_us >= newest.asked_us
        });
        let older = read.offset.is_none_or(|offset| offset < newest.offset);
        (older && !allowed).then_some(*newest)
    }
}
