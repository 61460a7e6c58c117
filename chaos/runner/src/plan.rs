//! The faults of a run, one after the other, from its seed.

use crate::fault::{Fault, Kind};
use crate::seed::Choices;

/// What comes next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Step {
    /// Wait until every replica is in sync before it.
    pub(crate) settle: bool,
    /// And then so long.
    pub(crate) gap_ms: u64,
    pub(crate) fault: Fault,
    /// Another fault that begins so long after the first, while that may still last.
    pub(crate) companion: Option<(u64, Fault)>,
}

/// All steps of a seed, without end. Kinds are dealt like cards: each comes once before any comes twice.
#[derive(Debug)]
pub(crate) struct Plan {
    choices: Choices,
    kinds: Vec<Kind>,
    deck: Vec<Kind>,
    next_id: u64,
}

impl Plan {
    /// At least one kind.
    pub(crate) fn new(seed: u64, kinds: Vec<Kind>) -> Self {
        assert!(!kinds.is_empty(), "a plan needs kinds");
        Self {
            choices: Choices::of(seed),
            kinds,
            deck: Vec::new(),
            next_id: 1,
        }
    }

    fn deal(&mut self) -> Kind {
        if self.deck.is_empty() {
            self.deck = self.kinds.clone();
            self.choices.shuffle(&mut self.deck);
        }
        self.deck.pop().expect("it was filled just now")
    }

    fn draw(&mut self, kind: Kind) -> Fault {
        let id = self.next_id;
        self.next_id += 1;
        let choices = &mut self.choices;
        Fault {
            id,
            kind,
            pick: choices.number(),
            // Short ones end before anybody noticed, long ones after everybody did.
            hold_ms: choices.between(1_000, 10_000),
            away_ms: choices.between(0, 5_000),
            percent: choices.between(5, 30) as u8,
            from_clients: choices.chance(50),
        }
    }

    fn companion(&mut self, first: Kind) -> Option<(u64, Fault)> {
        let alone = |kind: Kind| kind.loses_data() || kind.strikes_many();
        if alone(first) || !self.choices.chance(30) {
            return None;
        }
        let with: Vec<Kind> = self
            .kinds
            .iter()
            .copied()
            .filter(|kind| !alone(*kind))
            .collect();
        if with.is_empty() {
            return None;
        }
        let at = self.choices.between(0, with.len() as u64 - 1) as usize;
        let after_ms = self.choices.between(0, 3_000);
        Some((after_ms, self.draw(with[at])))
    }
}

impl Iterator for Plan {
    type Item = Step;

    fn next(&mut self) -> Option<Step> {
        let kind = self.deal();
        let fault = self.draw(kind);
        let companion = self.companion(kind);
        Some(Step {
            settle: kind.loses_data() || self.choices.chance(60),
            gap_ms: self.choices.between(200, 2_000),
            fault,
            companion,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::fault::FaultSet;

    fn steps(seed: u64, count: usize) -> Vec<Step> {
        Plan::new(seed, FaultSet::All.kinds()).take(count).collect()
    }

    #[test]
    fn a_seed_is_a_plan() {
        assert_eq!(steps(5, 100), steps(5, 100));
        assert_ne!(steps(5, 100), steps(6, 100));
    }

    #[test]
    fn every_kind_comes_equally_often() {
        let mut times: BTreeMap<Kind, usize> = BTreeMap::new();
        for step in steps(9, Kind::ALL.len() * 5) {
            *times.entry(step.fault.kind).or_default() += 1;
        }
        assert_eq!(times.len(), Kind::ALL.len());
        assert!(times.values().all(|times| *times == 5), "{times:?}");
    }

    #[test]
    fn ids_are_unique_and_what_loses_data_is_alone_and_begins_in_sync() {
        let steps = steps(2, 400);
        let mut ids: Vec<u64> = Vec::new();
        let mut accompanied = 0;
        for step in &steps {
            ids.push(step.fault.id);
            if step.fault.kind.loses_data() {
                assert!(step.settle && step.companion.is_none(), "{step:?}");
            }
            if let Some((_, companion)) = &step.companion {
                assert!(!companion.kind.loses_data(), "{step:?}");
                ids.push(companion.id);
                accompanied += 1;
            }
        }
        assert!(accompanied > 50);
        ids.sort_unstable();
        assert!(ids.windows(2).all(|pair| pair[0] < pair[1]));
    }
}
