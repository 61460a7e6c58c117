//! Evens out how many replicas brokers have: from the one with most to the one with least, again and again, until
//! those two lie within the tolerance. No other order needs fewer copies: each copy lowers the top and fills the
//! bottom, and the range that remains is reached at the very moment when both sides have given equally.

use std::collections::BTreeSet;

use crate::assignment::{Assignment, Measure};
use crate::quota::{Quota, UNIT};

/// How many replicas that could go are looked at to choose one.
const CHOICES: usize = 24;

/// Which brokers give, which get, and when that ends.
#[derive(Debug)]
pub(crate) struct Levelling<'q> {
    pub(crate) gives: Vec<bool>,
    pub(crate) gets: Vec<bool>,
    /// A difference in excess up to this is even; in units.
    pub(crate) tolerance: i128,
    /// Nobody is filled beyond its share.
    pub(crate) up_to_share: bool,
    /// Only until all lie within the tolerance of the quota, and only where a broker that is too far from the
    /// others at the other end comes closer.
    pub(crate) ends_only: bool,
    pub(crate) replicas: &'q Quota,
    pub(crate) bytes: &'q Quota,
    pub(crate) traffic: &'q Quota,
    pub(crate) leaders: &'q Quota,
}

/// Brokers by excess.
type Ladder = BTreeSet<(i128, usize)>;

/// What happens to one pair of brokers after another.
struct Pairs {
    count: usize,
    /// For each giver and getter: nothing can go from the one to the other.
    blocked: Vec<bool>,
    any_blocked: bool,
    /// For each giver, where the next search begins, so that not the same replicas are looked at each time.
    cursors: Vec<usize>,
}

/// Which pairs of brokers are worth a copy, by the excess of giver and getter.
#[derive(Debug, Clone, Copy)]
enum Side {
    Both,
    /// The giver has more than this.
    Above(i128),
    /// The getter has less than this.
    Below(i128),
}

impl Side {
    fn helps(self, giver: i128, getter: i128) -> bool {
        match self {
            Self::Both => true,
            Self::Above(highest) => giver > highest,
            Self::Below(lowest) => getter < lowest,
        }
    }
}

impl Levelling<'_> {
    pub(crate) fn run(&self, assignment: &mut Assignment<'_>) {
        let count = assignment.cluster.broker_count();
        let ladder = |of: &[bool], assignment: &Assignment<'_>| -> Ladder {
            (0..count)
                .filter(|broker| of[*broker] && self.replicas.compares(*broker))
                .map(|broker| (self.replicas.excess(assignment, broker), broker))
                .collect()
        };
        let mut givers = ladder(&self.gives, assignment);
        let mut getters = ladder(&self.gets, assignment);
        let mut pairs = Pairs {
            count,
            blocked: vec![false; count * count],
            any_blocked: false,
            cursors: vec![0; count],
        };
        // A pair that was blocked may be free again after something moved, so it is asked once more at the end.
        let mut moved_since_blocked = false;
        loop {
            if let Some((giver, getter, slot)) =
                self.next(assignment, &givers, &getters, &mut pairs)
            {
                for broker in [giver, getter] {
                    let old = (self.replicas.excess(assignment, broker), broker);
                    let step = if broker == giver { -UNIT } else { UNIT };
                    for ladder in [&mut givers, &mut getters] {
                        if ladder.remove(&old) {
                            ladder.insert((old.0 + step, broker));
                        }
                    }
                }
                assignment.replace(slot, getter);
                moved_since_blocked |= pairs.any_blocked;
            } else if moved_since_blocked {
                pairs.blocked.fill(false);
                pairs.any_blocked = false;
                moved_since_blocked = false;
            } else {
                return;
            }
        }
    }

    fn next(
        &self,
        assignment: &Assignment<'_>,
        givers: &Ladder,
        getters: &Ladder,
        pairs: &mut Pairs,
    ) -> Option<(usize, usize, usize)> {
        self.sides(givers, getters)
            .into_iter()
            .find_map(|side| self.next_of(assignment, givers, getters, pairs, side))
    }

    fn next_of(
        &self,
        assignment: &Assignment<'_>,
        givers: &Ladder,
        getters: &Ladder,
        pairs: &mut Pairs,
        side: Side,
    ) -> Option<(usize, usize, usize)> {
        for (most, giver) in givers.iter().rev().copied() {
            for (least, getter) in getters.iter().copied() {
                if most - least <= self.tolerance {
                    break;
                }
                let pair = giver * pairs.count + getter;
                let filled = self.up_to_share && self.replicas.lacks(assignment, getter) == 0;
                if filled || pairs.blocked[pair] || !side.helps(most, least) {
                    continue;
                }
                let cursor = &mut pairs.cursors[giver];
                if let Some(slot) = self.choose(assignment, giver, getter, cursor) {
                    return Some((giver, getter, slot));
                }
                pairs.blocked[pair] = true;
                pairs.any_blocked = true;
            }
        }
        None
    }

    /// Which pairs to look for, one kind after the other: at the ends first the one where less has to move.
    fn sides(&self, givers: &Ladder, getters: &Ladder) -> Vec<Side> {
        if !self.ends_only {
            return vec![Side::Both];
        }
        let (Some((most, _)), Some((least, _))) = (givers.last(), getters.first()) else {
            return Vec::new();
        };
        let highest = least + self.replicas.tolerance;
        let lowest = most - self.replicas.tolerance;
        if highest >= *most {
            return Vec::new();
        }
        let above = givers.iter().map(|(excess, _)| (excess - highest).max(0));
        let below = getters.iter().map(|(excess, _)| (lowest - excess).max(0));
        let (high, low) = (Side::Above(highest), Side::Below(lowest));
        if above.sum::<i128>() <= below.sum() {
            vec![high, low]
        } else {
            vec![low, high]
        }
    }

    /// The replica that suits best. Racks first; then the one whose bytes, traffic and leadership are what the two
    /// brokers differ by for each replica that they differ by, so that all become even together.
    fn choose(
        &self,
        assignment: &Assignment<'_>,
        giver: usize,
        getter: usize,
        cursor: &mut usize,
    ) -> Option<usize> {
        let slots = assignment.slots_on(giver);
        let wanted = Wanted::new(self, assignment, giver, getter);
        let mut best: Option<(bool, f64, usize)> = None;
        let mut choices = 0;
        let mut seen = 0;
        let start = *cursor % slots.len().max(1);
        for slot in slots[start..].iter().chain(&slots[..start]) {
            seen += 1;
            let slot = *slot as usize;
            let Some(gain) = assignment.may_go(slot, getter) else {
                continue;
            };
            if !assignment.has_room(getter, assignment.bytes(slot)) {
                continue;
            }
            let rated = (gain < 2, wanted.distance(assignment, slot), slot);
            if best.is_none_or(|best| rated < best) {
                best = Some(rated);
            }
            choices += 1;
            if choices == CHOICES {
                break;
            }
        }
        *cursor = start + seen;
        best.map(|(_, _, slot)| slot)
    }
}

/// The replica that would suit best, if there were one like it.
struct Wanted {
    /// Bytes, leaders, traffic.
    weight: [f64; 3],
    /// What a replica of the mean has of each, to compare them by.
    scale: [f64; 3],
}

impl Wanted {
    fn new(
        levelling: &Levelling<'_>,
        assignment: &Assignment<'_>,
        giver: usize,
        getter: usize,
    ) -> Self {
        let difference = |quota: &Quota| {
            (quota.excess(assignment, giver) - quota.excess(assignment, getter)) as f64
        };
        let replicas = difference(levelling.replicas).max(1.0);
        let mean = |measure: Measure| {
            let sum = |measure| -> f64 {
                [giver, getter]
                    .map(|broker| assignment.load(broker, measure) as f64)
                    .iter()
                    .sum()
            };
            (sum(measure) / sum(Measure::Replicas).max(1.0)).max(f64::MIN_POSITIVE)
        };
        let quotas = [levelling.bytes, levelling.leaders, levelling.traffic];
        Self {
            weight: quotas.map(|quota| (difference(quota) / replicas).max(0.0)),
            scale: quotas.map(|quota| mean(quota.measure())),
        }
    }

    fn distance(&self, assignment: &Assignment<'_>, slot: usize) -> f64 {
        let values = assignment.rough_weight(slot);
        // Leadership can be given to another replica later, without a copy, unless there is no other.
        let alone = assignment
            .cluster
            .slots(assignment.cluster.owner(slot))
            .len()
            == 1;
        let importance = [1.0, if alone { 0.5 } else { 0.02 }, 0.25];
        (0..3)
            .map(|at| {
                let off = (values[at] - self.weight[at]) / self.scale[at];
                importance[at] * off * off
            })
            .sum()
    }
}
