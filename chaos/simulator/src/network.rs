//! What lies between the nodes.

use std::collections::{BTreeMap, BTreeSet};

use crate::chance::Chance;
use crate::message::Message;
use crate::scenario::Scenario;

#[derive(Debug, Default)]
pub(crate) struct Network {
    /// From, to: nothing gets through.
    cut: BTreeSet<(i32, i32)>,
    /// When the newest message of a stream arrives.
    ordered: BTreeMap<(i32, i32), i64>,
    /// Faults are over.
    pub(crate) is_calm: bool,
}

impl Network {
    pub(crate) fn cut(&mut self, from: i32, to: i32) {
        self.cut.insert((from, to));
    }

    pub(crate) fn join(&mut self, from: i32, to: i32) {
        self.cut.remove(&(from, to));
    }

    pub(crate) fn heal(&mut self) {
        self.cut.clear();
        self.is_calm = true;
    }

    pub(crate) fn is_cut(&self, from: i32, to: i32) -> bool {
        self.cut.contains(&(from, to))
    }

    /// When a message arrives; never, or twice, too.
    pub(crate) fn arrivals(
        &mut self,
        (from, to): (i32, i32),
        message: &Message,
        scenario: &Scenario,
        chance: &mut Chance,
        now_ms: i64,
    ) -> Vec<i64> {
        if from == to {
            return vec![now_ms];
        }
        if self.is_cut(from, to) {
            return Vec::new();
        }
        if message.is_ordered() {
            let arrives = now_ms + self.delay(message, scenario, chance);
            let newest = self.ordered.entry((from, to)).or_insert(0);
            *newest = arrives.max(*newest);
            return vec![*newest];
        }
        if !self.is_calm && chance.permille(scenario.loss_permille) {
            return Vec::new();
        }
        let mut arrivals = vec![now_ms + self.delay(message, scenario, chance)];
        if !self.is_calm && message.may_repeat() && chance.permille(scenario.duplicate_permille) {
            arrivals.push(now_ms + self.delay(message, scenario, chance));
        }
        arrivals
    }

    fn delay(&self, message: &Message, scenario: &Scenario, chance: &mut Chance) -> i64 {
        // What is asked of the controllers matters most when it comes late.
        let times = if message.is_call() { 4 } else { 1 };
        if !self.is_calm && chance.permille(times * scenario.slow_permille) {
            chance.between(20, 800)
        } else {
            chance.between(1, 4)
        }
    }
}
