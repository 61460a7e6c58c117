//! Evens out one measure between pairs of brokers, without making a more important one worse: gives a replica or a
//! leadership, or exchanges one for a smaller one.

use crate::assignment::{Assignment, Load, MEASURES, Measure};
use crate::quota::{Quota, UNIT};

/// How many brokers with less are tried for one that has too much.
const MOST_PARTNERS: usize = 8;

/// How many of the smaller side are tried for each of the larger: those that fit best first.
const NEIGHBOURS: usize = 4;

/// What is exchanged has to even out at least this part of the tolerance, or it is not worth its copies. Leaders are
/// worth it one by one.
const WORTHWHILE_PART: i128 = 64;

/// For each broker. Every exchange takes away a good part of some difference, so it is far from reached.
const MOST_EXCHANGES: usize = 100;

/// Until no two brokers that could exchange something differ by more than `tolerance`.
pub(crate) fn exchange(
    assignment: &mut Assignment<'_>,
    quotas: &[Quota; MEASURES.len()],
    measure: Measure,
    tolerance: i128,
) {
    let brokers = assignment.cluster.broker_count();
    let search = Search {
        quotas,
        measure,
        windows: MEASURES.map(|measure| window(assignment, &quotas[measure as usize])),
    };
    let quota = &quotas[measure as usize];
    let mut stuck = vec![false; brokers];
    for _ in 0..brokers * MOST_EXCHANGES {
        let giver = quota
            .compared()
            .filter(|broker| !stuck[*broker])
            .max_by_key(|broker| (quota.excess(assignment, *broker), *broker));
        let Some(giver) = giver else {
            return;
        };
        let most = quota.excess(assignment, giver);
        let mut partners: Vec<(i128, usize)> = quota
            .compared()
            .map(|broker| (quota.excess(assignment, broker), broker))
            .filter(|(excess, _)| most - excess > tolerance)
            .collect();
        if partners.is_empty() {
            return;
        }
        partners.sort_unstable();
        let found = partners
            .into_iter()
            .filter_map(|(_, partner)| search.between(assignment, giver, partner))
            .take(MOST_PARTNERS)
            .find_map(|found| found);
        match found {
            Some(chosen) => chosen.apply(assignment),
            None => stuck[giver] = true,
        }
    }
}

struct Search<'q> {
    quotas: &'q [Quota; MEASURES.len()],
    measure: Measure,
    windows: [Option<(i128, i128)>; MEASURES.len()],
}

/// Something that can go from one broker to another.
#[derive(Debug, Clone, Copy)]
struct Piece {
    weight: Load,
    slot: usize,
    /// The broker that gets the replica. `None`: only the leadership goes, to this slot.
    replica_to: Option<usize>,
}

#[derive(Debug, Clone, Copy)]
struct Chosen {
    given: Piece,
    taken: Option<Piece>,
}

impl Chosen {
    fn apply(self, assignment: &mut Assignment<'_>) {
        for piece in [Some(self.given), self.taken].into_iter().flatten() {
            match piece.replica_to {
                Some(to) => assignment.replace(piece.slot, to),
                None => assignment.lead(piece.slot),
            }
        }
    }
}

/// Where a measure is even, brokers may move within this range of excess, and it stays even.
fn window(assignment: &Assignment<'_>, quota: &Quota) -> Option<(i128, i128)> {
    let (least, most) = quota.range(assignment)?;
    let slack = quota.tolerance - (most - least);
    (slack >= 0).then_some((least - slack / 2, most + slack / 2))
}

impl Search<'_> {
    /// `None` where nothing can go from the one to the other at all; `Some(None)` where nothing is worth it.
    fn between(
        &self,
        assignment: &Assignment<'_>,
        giver: usize,
        getter: usize,
    ) -> Option<Option<Chosen>> {
        let value = |piece: &Piece| piece.weight[self.measure as usize];
        let by_value = |pieces: &mut Vec<Piece>| {
            pieces.sort_unstable_by_key(|piece| (value(piece), piece.slot, piece.replica_to));
        };
        let mut given = self.pieces(assignment, giver, getter);
        if given.is_empty() {
            return None;
        }
        by_value(&mut given);
        let mut taken = self.pieces(assignment, getter, giver);
        by_value(&mut taken);
        let quota = &self.quotas[self.measure as usize];
        let gap = quota.excess(assignment, giver) - quota.excess(assignment, getter);
        let mut best: Option<(f64, Chosen)> = None;
        for given in given {
            // What would come back in an exchange that makes the two even.
            let fitting = value(&given) - gap / UNIT / 2;
            let around = taken.partition_point(|piece| value(piece) < fitting);
            let near = around.saturating_sub(NEIGHBOURS)..(around + NEIGHBOURS).min(taken.len());
            let pieces = taken[near].iter().copied().map(Some);
            for taken in std::iter::once(None).chain(pieces) {
                let chosen = Chosen { given, taken };
                let Some(worth) = self.worth(assignment, gap, chosen) else {
                    continue;
                };
                if best.is_none_or(|(best, _)| worth > best)
                    && self.allowed(assignment, giver, getter, chosen)
                {
                    best = Some((worth, chosen));
                }
            }
        }
        Some(best.map(|(_, chosen)| chosen))
    }

    /// What the difference shrinks by, for each copy that it takes.
    fn worth(&self, assignment: &Assignment<'_>, gap: i128, chosen: Chosen) -> Option<f64> {
        let moved = net(chosen)[self.measure as usize] * UNIT;
        let least = match self.measure {
            Measure::Leaders => UNIT,
            _ => self.quotas[self.measure as usize].tolerance / WORTHWHILE_PART,
        };
        if moved < least || gap - moved < least {
            return None;
        }
        let pieces = [Some(chosen.given), chosen.taken].into_iter().flatten();
        let copies: f64 = pieces
            .filter(|piece| piece.replica_to.is_some())
            .map(|piece| {
                // A replica costs one, and a large one more.
                let mean = self.quotas[Measure::Bytes as usize].mean_units().max(1) as f64;
                let bytes = (assignment.bytes(piece.slot) * UNIT) as f64;
                1.0 + bytes / mean
            })
            .sum();
        Some(moved as f64 * (gap - moved) as f64 / (0.1 + copies))
    }

    /// No disk is overfull, and every more important measure stays even, or is no less even than it was.
    fn allowed(
        &self,
        assignment: &Assignment<'_>,
        giver: usize,
        getter: usize,
        chosen: Chosen,
    ) -> bool {
        let net = net(chosen);
        let bytes = net[Measure::Bytes as usize];
        if !assignment.has_room(getter, bytes) || !assignment.has_room(giver, -bytes) {
            return false;
        }
        MEASURES[..self.measure as usize].iter().all(|measure| {
            let at = *measure as usize;
            let moved = net[at] * UNIT;
            if moved == 0 {
                return true;
            }
            let quota = &self.quotas[at];
            let before = [giver, getter].map(|broker| quota.excess(assignment, broker));
            let after = [before[0] - moved, before[1] + moved];
            let within = |least: i128, most: i128| {
                after.iter().all(|excess| (least..=most).contains(excess))
            };
            within(before[0].min(before[1]), before[0].max(before[1]))
                || self.windows[at].is_some_and(|(least, most)| within(least, most))
        })
    }

    fn pieces(&self, assignment: &Assignment<'_>, from: usize, to: usize) -> Vec<Piece> {
        let mut pieces = Vec::new();
        for slot in assignment.slots_on(from).iter().map(|slot| *slot as usize) {
            if assignment.may_go(slot, to).is_some() {
                pieces.push(Piece {
                    weight: assignment.weight(slot),
                    slot,
                    replica_to: Some(to),
                });
            }
            let partition = assignment.cluster.owner(slot);
            if self.measure == Measure::Traffic
                && assignment.leads(slot)
                && !assignment.pinned(partition)
                && let Some(follower) = assignment.replica_on(partition, to)
            {
                pieces.push(Piece {
                    weight: assignment.leading_weight(partition),
                    slot: follower,
                    replica_to: None,
                });
            }
        }
        pieces
    }
}

fn net(chosen: Chosen) -> Load {
    let mut net = chosen.given.weight;
    if let Some(taken) = chosen.taken {
        for (value, back) in net.iter_mut().zip(taken.weight) {
            *value -= back;
        }
    }
    net
}
