//! end-offset-regression and latest-backwards: the end that ListOffsets tells only goes up, for one client
//! and for all, and lies behind everything that was acknowledged (acks=all) or read before the question was
//! asked. KIP-207 makes that hold through a change of leader.

use std::collections::{HashMap, VecDeque};

use crate::anomaly::{Anomaly, Kind};
use crate::event::OffsetRead;
use crate::findings::Findings;
use crate::tables::Tables;

/// What is remembered of a partition's end: steps, seconds of them at full load. A question asked longer ago
/// is compared with the same client's answers only.
const STEPS_MAX: usize = 8192;

#[derive(Debug, Clone, Default)]
pub(crate) struct EndOffsets {
    /// By partition and isolation.
    known: HashMap<(u32, bool), VecDeque<Step>>,
    /// By client, partition and isolation: the last answer and its event.
    answers: HashMap<(u32, u32, bool), (i64, u32)>,
}

/// From `t_us` on somebody knew that the partition reaches to `end`.
#[derive(Debug, Clone, Copy)]
struct Step {
    t_us: u64,
    end: i64,
    event: u32,
}

impl EndOffsets {
    /// Acknowledged or read.
    pub(crate) fn reaches(&mut self, partition: u32, end: i64, t_us: u64, event: u32) {
        self.step(partition, false, Step { t_us, end, event });
    }

    pub(crate) fn answered(
        &mut self,
        tables: &Tables,
        findings: &mut Findings,
        (client, partition): (u32, u32),
        read: &OffsetRead,
        event: u32,
    ) {
        let asked_us = read.asked_us.unwrap_or(read.t_us);
        let end = read.offset;
        let mine = self
            .answers
            .insert((client, partition, read.read_committed), (end, event));
        let number = tables.clients[client as usize].number;
        if let Some((last, at)) = mine
            && end < last
        {
            findings.add(Kind::EndOffsetRegression, || {
                let says = format!("client {number} was told {last} before, and now {end}");
                Anomaly::new(Kind::EndOffsetRegression, says)
                    .partition(tables, partition)
                    .offset(end)
                    .events([at, event])
            });
        } else if let Some(step) = self.known_at(partition, read.read_committed, asked_us)
            && end < step.end
        {
            findings.add(Kind::LatestBackwards, || {
                let says = format!(
                    "client {number} was told {end}, but the partition reached to {} before it asked",
                    step.end
                );
                Anomaly::new(Kind::LatestBackwards, says)
                    .partition(tables, partition)
                    .offset(end)
                    .events([step.event, event])
            });
        }
        self.step(
            partition,
            read.read_committed,
            Step {
                t_us: read.t_us,
                end,
                event,
            },
        );
    }

    fn known_at(&self, partition: u32, read_committed: bool, asked_us: u64) -> Option<Step> {
        let steps = self.known.get(&(partition, read_committed))?;
        let before = steps.partition_point(|step| step.t_us < asked_us);
        steps.get(before.checked_sub(1)?).copied()
    }

    fn step(&mut self, partition: u32, read_committed: bool, step: Step) {
        let steps = self.known.entry((partition, read_committed)).or_default();
        if steps
            .back()
            .is_some_and(|last| step.end <= last.end || step.t_us < last.t_us)
        {
            return;
        }
        if steps.len() == STEPS_MAX {
            steps.pop_front();
        }
        steps.push_back(step);
    }
}
