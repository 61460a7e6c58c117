//! Evens out replicas where they cannot go straight: from a broker to a second, while another partition's replica
//! goes from the second to a third. Needed where few partitions or narrow racks leave little choice.

use std::collections::VecDeque;

use crate::assignment::Assignment;
use crate::quota::Quota;

/// How many replicas are looked at, all searches together: some tenths of a second. Small clusters never need as
/// many, and in large ones what is left without is little.
const MOST_LOOKS: usize = 20_000_000;

/// What is known about going straight from one broker to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Unknown,
    Open,
    Closed,
}

struct Ways {
    count: usize,
    ways: Vec<Way>,
    looks_left: usize,
}

pub(crate) fn level_by_detours(assignment: &mut Assignment<'_>, quota: &Quota) {
    let count = assignment.cluster.broker_count();
    let mut ways = Ways {
        count,
        ways: vec![Way::Unknown; count * count],
        looks_left: MOST_LOOKS,
    };
    // A broker whose search led nowhere is not searched from again.
    let mut stuck = vec![false; count];
    loop {
        let giver = quota
            .compared()
            .filter(|broker| !stuck[*broker])
            .max_by_key(|broker| (quota.excess(assignment, *broker), *broker));
        let (Some(giver), Some((least, _))) = (giver, quota.range(assignment)) else {
            return;
        };
        if quota.excess(assignment, giver) - least <= quota.tolerance || ways.looks_left == 0 {
            return;
        }
        let walked = ways
            .find(assignment, quota, giver)
            .is_some_and(|path| ways.walk(assignment, &path));
        stuck[giver] = !walked;
    }
}

impl Ways {
    /// The shortest way from `giver` to a broker that has so much less that a replica is worth it.
    fn find(
        &mut self,
        assignment: &Assignment<'_>,
        quota: &Quota,
        giver: usize,
    ) -> Option<Vec<usize>> {
        let most = quota.excess(assignment, giver);
        let mut come_from = vec![None; self.count];
        let mut queue = VecDeque::from([giver]);
        while let Some(at) = queue.pop_front() {
            let mut reached = Vec::new();
            for to in quota.compared() {
                if to != giver && come_from[to].is_none() && self.open(assignment, at, to) {
                    come_from[to] = Some(at);
                    reached.push(to);
                }
            }
            let lowest = reached
                .iter()
                .copied()
                .min_by_key(|to| (quota.excess(assignment, *to), *to));
            if let Some(to) = lowest
                && most - quota.excess(assignment, to) > quota.tolerance
            {
                let mut path = vec![to];
                while let Some(from) = come_from[path[path.len() - 1]] {
                    path.push(from);
                }
                path.reverse();
                return Some(path);
            }
            queue.extend(reached);
        }
        None
    }

    /// Moves one replica over each step, the last first. When a step is no longer possible after the others, all
    /// are taken back.
    fn walk(&mut self, assignment: &mut Assignment<'_>, path: &[usize]) -> bool {
        let mut walked: Vec<(usize, usize)> = Vec::new();
        for step in path.windows(2).rev() {
            let [from, to] = [step[0], step[1]];
            let taken = |slot: usize| walked.iter().any(|(other, _)| *other == slot);
            let slot = self
                .candidates(assignment, from, to)
                .find(|slot| !taken(*slot));
            let Some(slot) = slot else {
                for (slot, from) in walked.into_iter().rev() {
                    assignment.replace(slot, from);
                }
                return false;
            };
            assignment.replace(slot, to);
            walked.push((slot, from));
        }
        for (slot, from) in walked {
            self.forget(from);
            for other in assignment.cluster.slots(assignment.cluster.owner(slot)) {
                self.forget(assignment.broker(other));
            }
        }
        true
    }

    fn open(&mut self, assignment: &Assignment<'_>, from: usize, to: usize) -> bool {
        let at = from * self.count + to;
        if self.ways[at] == Way::Unknown && self.looks_left > 0 {
            let first = self.candidates(assignment, from, to).next();
            let looks = assignment.slots_on(from).len();
            self.looks_left = self.looks_left.saturating_sub(looks.max(1));
            self.ways[at] = if first.is_some() {
                Way::Open
            } else {
                Way::Closed
            };
        }
        self.ways[at] == Way::Open
    }

    /// In the order of slots, so that what is chosen does not depend on what happened before.
    fn candidates(
        &self,
        assignment: &Assignment<'_>,
        from: usize,
        to: usize,
    ) -> impl Iterator<Item = usize> {
        let mut slots: Vec<usize> = assignment
            .slots_on(from)
            .iter()
            .map(|slot| *slot as usize)
            .filter(|slot| {
                assignment.may_go(*slot, to).is_some()
                    && assignment.has_room(to, assignment.bytes(*slot))
            })
            .collect();
        slots.sort_unstable();
        slots.into_iter()
    }

    fn forget(&mut self, from: usize) {
        self.ways[from * self.count..][..self.count].fill(Way::Unknown);
    }
}
