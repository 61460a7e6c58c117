//! What a schedule is played on: as different from seed to seed as clusters are.

use crate::chance::Chance;
use crate::mutation::Mutation;

/// Node ids of controllers begin here.
pub(crate) const FIRST_CONTROLLER: i32 = 1000;
/// All clients together.
pub(crate) const CLIENTS: i32 = 2000;
pub(crate) const CONTROLLERS: usize = 3;
pub(crate) const TOPIC: &str = "t";
pub(crate) const CLUSTER_ID: &str = "simulated";

#[derive(Debug, Clone)]
pub(crate) struct Scenario {
    pub(crate) brokers: usize,
    pub(crate) partitions: i32,
    pub(crate) replication_factor: usize,
    pub(crate) min_insync: usize,
    /// Records are flushed before they are acknowledged.
    pub(crate) flushes_each: bool,
    /// Otherwise: the longest time that records wait to be flushed.
    pub(crate) flush_every_ms: i64,
    /// At most so many brokers at once lose what they did not flush, or their disk. More: everything goes.
    pub(crate) losses_max: usize,
    pub(crate) snapshot_every_entries: u64,
    /// Messages lost while faults are on, in a thousand.
    pub(crate) loss_permille: u32,
    pub(crate) duplicate_permille: u32,
    /// Messages that take long.
    pub(crate) slow_permille: u32,
    /// Until when faults begin.
    pub(crate) faults_end_ms: i64,
    pub(crate) fault_pause_ms: i64,
    pub(crate) produce_pause_ms: i64,
    pub(crate) mutation: Option<Mutation>,
    /// What goes wrong more often, so that a bug that seldom shows takes tens of schedules and not hundreds.
    pub(crate) focus: Option<Focus>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Focus {
    /// Controllers end in the middle of elections.
    Elections,
    /// Followers lose what they have while they do not reach the other brokers.
    LossBehindCuts,
}

impl Scenario {
    pub(crate) fn of(chance: &mut Chance, mutation: Option<Mutation>) -> Self {
        let brokers = if chance.permille(600) { 3 } else { 4 };
        let min_insync = if chance.permille(800) { 2 } else { 1 };
        let keeps_bound = chance.permille(700);
        let is_rough = chance.permille(500);
        Self {
            brokers,
            partitions: chance.between(1, 2) as i32,
            replication_factor: 3,
            min_insync,
            flushes_each: chance.permille(250)
                || mutation == Some(Mutation::AcknowledgedBeforeFlushed),
            flush_every_ms: chance.between(50, 4_000),
            losses_max: if keeps_bound {
                min_insync - 1
            } else {
                usize::MAX
            },
            snapshot_every_entries: chance.between(10, 80) as u64,
            loss_permille: if is_rough { 30 } else { 2 },
            duplicate_permille: if is_rough { 20 } else { 0 },
            slow_permille: if is_rough { 50 } else { 5 },
            faults_end_ms: 20_000,
            fault_pause_ms: chance.between(200, 1_200),
            produce_pause_ms: chance.between(20, 120),
            mutation,
            focus: match mutation {
                Some(Mutation::VoteNotFlushed) => Some(Focus::Elections),
                Some(Mutation::BrokerEpochNotChecked) => Some(Focus::LossBehindCuts),
                _ => None,
            },
        }
    }

    pub(crate) fn has(&self, mutation: Mutation) -> bool {
        self.mutation == Some(mutation)
    }

    pub(crate) fn broker_ids(&self) -> std::ops::Range<i32> {
        0..self.brokers as i32
    }

    pub(crate) fn controller_ids(&self) -> std::ops::Range<i32> {
        FIRST_CONTROLLER..FIRST_CONTROLLER + CONTROLLERS as i32
    }
}
